//! The metadata log with failures, rival writers and damage.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a panic with a line number is how a test fails"
)]
#![allow(missing_docs)]

mod support;

use std::sync::{Arc, Mutex};

use bytes::Bytes;
use howdah_store::backend::fault::{Fault, FaultBackend, Operation};
use howdah_store::backend::{Backend, MemoryBackend};
use howdah_store::{AppendError, AppendOutcome, LogContents, MetaLog, Store, StoreError, keys, newest_claim};
use proptest::collection::vec;
use proptest::prelude::*;
use support::run;

async fn plain(backend: &Arc<MemoryBackend>) -> Store {
    Store::with_backend(Arc::clone(backend) as Arc<dyn Backend>, Default::default())
        .await
        .unwrap()
}

/// Returns the events of all records that a start would replay.
async fn payloads(store: &Store) -> Vec<u32> {
    events(&LogContents::read(store).await.unwrap())
}

/// Returns the state that a coordinator would have: the list in the snapshot, and all events after it.
async fn state(store: &Store) -> Vec<u32> {
    let contents = LogContents::read(store).await.unwrap();
    let snapshot = contents.snapshot.as_ref();
    let mut state: Vec<u32> = snapshot.map_or(Vec::new(), |snapshot| serde_json::from_slice(&snapshot.bytes).unwrap());
    state.extend(events(&contents));
    state
}

fn events(contents: &LogContents) -> Vec<u32> {
    let records = contents.records.iter();
    records.flat_map(|record| record.events::<u32>().unwrap()).collect()
}

/// Stores the state that the log contains now as a snapshot, and prunes to the newest snapshot.
async fn snapshot_and_prune(store: &Store) {
    let bytes = serde_json::to_vec(&state(store).await).unwrap();
    let last = LogContents::read(store).await.unwrap().last;
    MetaLog::write_snapshot(store, last, &bytes).await.unwrap();
    MetaLog::prune(store, 1).await.unwrap();
}

/// One step of a test run.
#[derive(Debug, Clone)]
enum Step {
    Append,
    /// Drop the log and open it again, as after a crash.
    Reopen,
    Snapshot,
    /// Another coordinator appends a record.
    Rival,
}

fn fault() -> impl Strategy<Value = Fault> {
    prop_oneof![4 => Just(Fault::None), 2 => Just(Fault::Before), 2 => Just(Fault::After)]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(60))]

    #[test]
    fn no_acknowledged_record_is_lost_and_none_is_there_twice(
        steps in vec(prop_oneof![8 => Just(Step::Append), 2 => Just(Step::Reopen), 1 => Just(Step::Snapshot), 1 => Just(Step::Rival)], 1..25),
        faults in vec(fault(), 1..200),
    ) {
        run(async {
            let backend = Arc::new(MemoryBackend::default());
            let sound = plain(&backend).await;
            let mut faults = faults.into_iter();
            let faulty = FaultBackend::new(Arc::clone(&backend) as _, move |operation, key| {
                let ours = key.starts_with(keys::LOG) && matches!(operation, Operation::PutIfAbsent | Operation::Read);
                if ours { faults.next().unwrap_or(Fault::None) } else { Fault::None }
            });
            let faulty = Store::with_backend(Arc::new(faulty), Default::default()).await.unwrap();
            // What must be in the log, in order; the state a coordinator would have built of it.
            let mut expected: Vec<u32> = Vec::new();
            let mut log = MetaLog::open(&sound).await.unwrap().log;
            let mut attached = false;
            for (event, step) in (0..).zip(steps) {
                match step {
                    Step::Append => {
                        if !attached {
                            // Opening is done in peace; what fails is writing.
                            log = loop {
                                if let Ok(opened) = MetaLog::open(&faulty).await { break opened.log; }
                            };
                            attached = true;
                        }
                        match log.append_events(&[event]).await {
                            Ok(_) => expected.push(event),
                            Err(AppendError::Fenced { .. }) => attached = false,
                            Err(AppendError::InDoubt { .. }) => loop {
                                let refused = log.append_events(&[event]).await;
                                assert!(matches!(refused, Err(AppendError::Unresolved { .. })));
                                match log.resolve_in_doubt().await {
                                    Ok(AppendOutcome::Written(_)) => { expected.push(event); break; }
                                    Ok(AppendOutcome::NotWritten) => break,
                                    Err(AppendError::InDoubt { .. }) => {}
                                    Err(error) => panic!("{error}"),
                                }
                            },
                            Err(error) => panic!("{error}"),
                        }
                    }
                    Step::Reopen => attached = false,
                    Step::Snapshot => {
                        prop_assert_eq!(&state(&sound).await, &expected);
                        snapshot_and_prune(&sound).await;
                    }
                    Step::Rival => {
                        let mut rival = MetaLog::open(&sound).await.unwrap().log;
                        rival.append_events(&[event]).await.unwrap();
                        expected.push(event);
                        if attached {
                            // A writer with the old state cannot append any more.
                            let stale = log.append_events(&[u32::MAX]).await;
                            match stale {
                                Err(AppendError::Fenced { .. }) => {}
                                Err(AppendError::InDoubt { .. }) => loop {
                                    match log.resolve_in_doubt().await {
                                        Err(AppendError::Fenced { .. }) => break,
                                        Err(AppendError::InDoubt { .. }) => {}
                                        other => panic!("{other:?}"),
                                    }
                                },
                                other => panic!("{other:?}"),
                            }
                            assert!(matches!(log.append_events(&[event]).await, Err(AppendError::Fenced { .. })));
                            attached = false;
                        }
                    }
                }
                prop_assert_eq!(&state(&sound).await, &expected);
            }
            Ok(())
        })?;
    }
}

/// What a writer does in the test of stale writers.
#[derive(Debug, Clone)]
enum Act {
    /// A new coordinator starts.
    Open,
    /// One of the coordinators, also an old one, appends; its number is taken modulo the number of coordinators.
    Append(usize),
    /// One of them resolves its doubt, if it has one.
    Resolve(usize),
    /// One of them stores the state that it knows as a snapshot, and prunes the log. An old one may do it late.
    Prune(usize),
    /// A coordinator reads the log, others act, and then it claims what it has read.
    SlowOpen(Vec<Act>),
}

fn acts() -> impl Strategy<Value = Vec<Act>> {
    let act = prop_oneof![
        2 => Just(Act::Open),
        6 => any::<usize>().prop_map(Act::Append),
        1 => any::<usize>().prop_map(Act::Resolve),
        2 => any::<usize>().prop_map(Act::Prune),
    ];
    let slow = vec(act.clone(), 0..8).prop_map(Act::SlowOpen);
    vec(prop_oneof![8 => act, 1 => slow], 1..40)
}

/// Coordinators that never stop, one store.
struct Coordinators {
    sound: Store,
    faulty: Store,
    logs: Vec<MetaLog>,
    /// What each knows to be in the log, up to its last record.
    views: Vec<Vec<u32>>,
    /// Event of the append of each that is in doubt.
    in_doubt: Vec<Option<u32>>,
    acknowledged: Vec<u32>,
    next_event: u32,
}

impl Coordinators {
    /// Lets a coordinator claim the log that it has read up to `last`, through the store that fails at times.
    async fn claim(&mut self, last: u64, view: Vec<u32>) {
        // A claim that fails may exist: the coordinators before it are fenced, and this one does not lead.
        if let Ok(Some(log)) = MetaLog::claim(&self.faulty, last, "a:1").await {
            self.logs.push(log);
            self.views.push(view);
            self.in_doubt.push(None);
        }
    }

    /// Returns the number of the last record and the state.
    async fn read(&self) -> (u64, Vec<u32>) {
        (
            LogContents::read(&self.sound).await.unwrap().last,
            state(&self.sound).await,
        )
    }

    async fn act(&mut self, act: &Act) {
        match act {
            Act::Open => {
                let (last, view) = self.read().await;
                self.claim(last, view).await;
            }
            Act::SlowOpen(meanwhile) => {
                let (last, view) = self.read().await;
                for act in meanwhile {
                    Box::pin(self.act(act)).await;
                }
                self.claim(last, view).await;
            }
            Act::Append(writer) if !self.logs.is_empty() => {
                let writer = writer % self.logs.len();
                let event = self.next_event;
                self.next_event += 1;
                match self.logs[writer].append_events(&[event]).await {
                    Ok(_) => {
                        self.acknowledged.push(event);
                        self.views[writer].push(event);
                    }
                    Err(AppendError::InDoubt { .. }) => self.in_doubt[writer] = Some(event),
                    Err(AppendError::Fenced { .. } | AppendError::Unresolved { .. }) => {}
                    Err(error) => panic!("{error}"),
                }
            }
            Act::Resolve(writer) if !self.logs.is_empty() => {
                let writer = writer % self.logs.len();
                match self.logs[writer].resolve_in_doubt().await {
                    Ok(AppendOutcome::Written(_)) => {
                        let event = self.in_doubt[writer].take();
                        self.acknowledged.extend(event);
                        self.views[writer].extend(event);
                    }
                    Ok(AppendOutcome::NotWritten) => {
                        if let Some(event) = self.in_doubt[writer].take() {
                            let state = state(&self.sound).await;
                            assert!(!state.contains(&event), "{event} was reported as not written");
                        }
                    }
                    Err(AppendError::Fenced { .. } | AppendError::InDoubt { .. }) => {}
                    Err(error) => panic!("{error}"),
                }
            }
            Act::Prune(writer) if !self.logs.is_empty() => {
                let writer = writer % self.logs.len();
                let bytes = serde_json::to_vec(&self.views[writer]).unwrap();
                let last = self.logs[writer].last();
                MetaLog::write_snapshot(&self.sound, last, &bytes).await.unwrap();
                MetaLog::prune(&self.sound, 1).await.unwrap();
            }
            Act::Append(_) | Act::Resolve(_) | Act::Prune(_) => {}
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(100))]

    #[test]
    fn what_any_writer_acknowledged_is_in_every_later_state(acts in acts(), faults in vec(fault(), 0..100)) {
        run(async {
            let backend = Arc::new(MemoryBackend::default());
            let mut faults = faults.into_iter();
            let faulty = FaultBackend::new(Arc::clone(&backend) as _, move |operation, key| {
                let ours = key.starts_with(keys::LOG) && matches!(operation, Operation::PutIfAbsent | Operation::Read);
                if ours { faults.next().unwrap_or(Fault::None) } else { Fault::None }
            });
            let mut coordinators = Coordinators {
                sound: plain(&backend).await,
                faulty: Store::with_backend(Arc::new(faulty), Default::default()).await.unwrap(),
                logs: Vec::new(),
                views: Vec::new(),
                in_doubt: Vec::new(),
                acknowledged: Vec::new(),
                next_event: 0,
            };
            for act in &acts {
                coordinators.act(act).await;
                let state = state(&coordinators.sound).await;
                for event in &coordinators.acknowledged {
                    let count = state.iter().filter(|found| *found == event).count();
                    prop_assert_eq!(count, 1, "event {} after {:?}", event, act);
                }
            }
            Ok(())
        })?;
    }
}

#[test]
fn of_concurrent_starts_only_the_last_can_append() {
    run(async {
        let backend = Arc::new(MemoryBackend::default());
        let store = plain(&backend).await;
        for round in 0..20u32 {
            let starts = (0..8).map(|_| {
                let store = store.clone();
                tokio::spawn(async move { MetaLog::open(&store).await.unwrap().log })
            });
            let mut logs: Vec<MetaLog> = futures::future::join_all(starts)
                .await
                .into_iter()
                .map(Result::unwrap)
                .collect();
            logs.sort_by_key(MetaLog::epoch);
            logs.dedup_by_key(|log| log.epoch());
            assert_eq!(logs.len(), 8, "every epoch is of one writer");
            let last = logs.len() - 1;
            for (number, log) in logs.iter_mut().enumerate() {
                assert_eq!(log.append_events(&[round]).await.is_ok(), number == last);
            }
        }
        assert_eq!(payloads(&store).await, (0..20).collect::<Vec<_>>());
    });
}

#[test]
fn a_writer_that_slept_through_snapshots_is_fenced() {
    run(async {
        let backend = Arc::new(MemoryBackend::default());
        let store = plain(&backend).await;
        let mut sleeper = MetaLog::open(&store).await.unwrap().log;
        sleeper.append_events(&[1]).await.unwrap();
        for round in 0..5u32 {
            let mut log = MetaLog::open(&store).await.unwrap().log;
            for event in 0..10 {
                log.append_events(&[10 + 10 * round + event]).await.unwrap();
            }
            snapshot_and_prune(&store).await;
        }
        let before = state(&store).await;
        let error = sleeper.append_events(&[2]).await.unwrap_err();
        assert!(matches!(error, AppendError::Fenced { .. }), "{error}");
        assert_eq!(state(&store).await, before);
    });
}

#[test]
fn an_append_in_doubt_that_a_successor_has_replayed_and_pruned_is_not_reported_as_lost() {
    run(async {
        let backend = Arc::new(MemoryBackend::default());
        let fails = Arc::new(Mutex::new(false));
        let switch = Arc::clone(&fails);
        let faulty = FaultBackend::new(Arc::clone(&backend) as _, move |operation, _| {
            let fault = *switch.lock().unwrap() && operation == Operation::PutIfAbsent;
            if fault { Fault::After } else { Fault::None }
        });
        let faulty = Store::with_backend(Arc::new(faulty), Default::default()).await.unwrap();
        let store = plain(&backend).await;
        let mut log = MetaLog::open(&faulty).await.unwrap().log;
        *fails.lock().unwrap() = true;
        let error = log.append_events(&[1]).await.unwrap_err();
        assert!(matches!(error, AppendError::InDoubt { .. }), "{error}");
        *fails.lock().unwrap() = false;
        let mut successor = MetaLog::open(&store).await.unwrap().log;
        successor.append_events(&[2]).await.unwrap();
        snapshot_and_prune(&store).await;
        assert_eq!(state(&store).await, [1, 2]);
        let error = log.resolve_in_doubt().await.unwrap_err();
        assert!(matches!(error, AppendError::Fenced { .. }), "{error}");
    });
}

#[test]
fn the_newest_claim_shows_where_the_leader_is() {
    run(async {
        let backend = Arc::new(MemoryBackend::default());
        let store = plain(&backend).await;
        assert_eq!(newest_claim(&store).await.unwrap(), None);
        let first = MetaLog::claim(&store, 0, "first:1").await.unwrap().unwrap();
        let mut second = MetaLog::claim(&store, 1, "second:1").await.unwrap().unwrap();
        // The mark of a coordinator that came too late.
        assert!(MetaLog::claim(&store, 1, "late:1").await.unwrap().is_none());
        let newest = newest_claim(&store).await.unwrap().unwrap();
        assert_eq!((newest.epoch, &*newest.address), (2, "second:1"));
        assert!(!first.leadership().holds(first.last()).await.unwrap());
        let before = second.last();
        second.append_events(&[1]).await.unwrap();
        assert!(
            second.leadership().holds(before).await.unwrap(),
            "its own record is no rival"
        );
        assert!(second.leadership().holds(second.last()).await.unwrap());
    });
}

#[test]
fn a_claim_of_what_was_read_long_ago_is_refused() {
    run(async {
        let backend = Arc::new(MemoryBackend::default());
        let store = plain(&backend).await;
        let mut leader = MetaLog::open(&store).await.unwrap().log;
        let read = LogContents::read(&store).await.unwrap().last;
        leader.append_events(&[1]).await.unwrap();
        leader.append_events(&[2]).await.unwrap();
        assert!(
            MetaLog::claim(&store, read, "a:1").await.unwrap().is_none(),
            "a record is there"
        );
        snapshot_and_prune(&store).await;
        assert!(
            MetaLog::claim(&store, read, "a:1").await.unwrap().is_none(),
            "the record was pruned"
        );
        leader.append_events(&[3]).await.unwrap();
        assert_eq!(state(&store).await, [1, 2, 3]);
    });
}

#[test]
fn an_answer_lost_after_the_store_acted_makes_no_second_record() {
    run(async {
        let backend = Arc::new(MemoryBackend::default());
        let attempts = Arc::new(Mutex::new(0));
        let counter = Arc::clone(&attempts);
        let faulty = FaultBackend::new(Arc::clone(&backend) as _, move |operation, _| {
            if operation != Operation::PutIfAbsent {
                return Fault::None;
            }
            *counter.lock().unwrap() += 1;
            if *counter.lock().unwrap() == 1 {
                Fault::After
            } else {
                Fault::None
            }
        });
        let store = Store::with_backend(Arc::new(faulty), Default::default()).await.unwrap();
        let mut log = MetaLog::open(&store).await.unwrap().log;
        // The first attempt was the one to create the claim, record 1.
        assert_eq!(log.append_events(&[7]).await.unwrap(), 2);
        assert_eq!(log.append_events(&[8]).await.unwrap(), 3);
        assert_eq!(*attempts.lock().unwrap(), 4);
        assert_eq!(payloads(&plain(&backend).await).await, [7, 8]);
    });
}

#[test]
fn damage_is_reported_by_name_and_never_skipped() {
    run(async {
        let backend = Arc::new(MemoryBackend::default());
        let store = plain(&backend).await;
        let mut log = MetaLog::open(&store).await.unwrap().log;
        for event in 0..5 {
            log.append_events(&[event]).await.unwrap();
        }
        let victim = keys::log_record(3);
        let whole = store.get(&victim).await.unwrap();
        let mut damaged: Vec<Bytes> = (0..whole.len()).step_by(3).map(|cut| whole.slice(..cut)).collect();
        for at in 0..whole.len() {
            let mut bytes = whole.to_vec();
            bytes[at] ^= 4;
            damaged.push(bytes.into());
        }
        // Another record under this name is damage too.
        damaged.push(store.get(&keys::log_record(2)).await.unwrap());
        for bytes in damaged {
            store.put(&victim, bytes.clone()).await.unwrap();
            let error = LogContents::read(&store).await.expect_err("damage was not noticed");
            // A flipped bit in the version looks like a newer format, which is refused as well.
            let refused = error.is_damage() || matches!(error, StoreError::ObjectFormat { .. });
            assert!(refused && error.to_string().contains(&victim), "{error} for {bytes:?}");
        }
        store.delete(&victim).await.unwrap();
        let error = LogContents::read(&store).await.unwrap_err();
        assert!(error.is_damage() && error.to_string().contains(&victim), "{error}");
        store.put(&victim, whole).await.unwrap();
        assert_eq!(payloads(&store).await, [0, 1, 2, 3, 4]);
        // The first record is not an exception.
        store.delete(&keys::log_record(1)).await.unwrap();
        let error = LogContents::read(&store).await.unwrap_err();
        assert!(error.to_string().contains(&keys::log_record(1)));
        assert!(MetaLog::open(&store).await.is_err(), "a damaged log cannot be claimed");
    });
}

#[test]
fn a_damaged_snapshot_is_reported_by_name_if_no_older_one_helps() {
    run(async {
        let backend = Arc::new(MemoryBackend::default());
        let store = plain(&backend).await;
        let mut log = MetaLog::open(&store).await.unwrap().log;
        log.append_events(&[1]).await.unwrap();
        log.snapshot(1, &b"a state of some length, ".repeat(50)).await.unwrap();
        let key = keys::snapshot(1);
        let whole = store.get(&key).await.unwrap();
        for at in 0..whole.len() {
            let mut bytes = whole.to_vec();
            bytes[at] ^= 1;
            store.put(&key, bytes.into()).await.unwrap();
            // A flipped bit may hit something without meaning in the compressed form, or the version.
            match LogContents::read(&store).await {
                Err(error) => {
                    let refused = error.is_damage() || matches!(error, StoreError::ObjectFormat { .. });
                    assert!(refused && error.to_string().contains(&key), "{error}");
                }
                Ok(contents) => assert_eq!(contents.snapshot.unwrap().bytes, b"a state of some length, ".repeat(50)),
            }
        }
    });
}

#[test]
fn the_older_snapshot_is_used_when_the_newest_is_damaged() {
    run(async {
        let backend = Arc::new(MemoryBackend::default());
        let store = plain(&backend).await;
        let mut log = MetaLog::open(&store).await.unwrap().log;
        for event in 2..=9u64 {
            let seq = log.append_events(&[event]).await.unwrap();
            if event % 3 == 0 {
                log.snapshot(seq, seq.to_string().as_bytes()).await.unwrap();
                MetaLog::prune(&store, 2).await.unwrap();
            }
        }
        let newest = keys::snapshot(9);
        let whole = store.get(&newest).await.unwrap();
        store.put(&newest, whole.slice(..whole.len() - 3)).await.unwrap();
        let contents = LogContents::read(&store).await.unwrap();
        assert_eq!(contents.snapshot.unwrap().seq, 6);
        assert_eq!((contents.records.len(), contents.last), (3, 9));
        // Without the records that the older one needs, the damage is what is reported.
        store.delete(&keys::log_record(7)).await.unwrap();
        let error = LogContents::read(&store).await.unwrap_err();
        assert!(error.is_damage() && error.to_string().contains(&newest), "{error}");
    });
}

#[test]
fn a_snapshot_of_a_newer_program_is_refused() {
    run(async {
        let backend = Arc::new(MemoryBackend::default());
        let store = plain(&backend).await;
        let mut log = MetaLog::open(&store).await.unwrap().log;
        let seq = log.append_events(&[1]).await.unwrap();
        log.snapshot(seq, b"state").await.unwrap();
        let key = keys::snapshot(seq);
        let whole = store.get(&key).await.unwrap();
        let newer = [&b"{\"v\":3"[..], &whole[6..]].concat();
        store.put(&key, newer.into()).await.unwrap();
        let error = MetaLog::open(&store).await.unwrap_err();
        assert!(matches!(error, StoreError::ObjectFormat { found: 3, .. }), "{error}");
    });
}

#[test]
fn pruning_keeps_claims_and_what_the_kept_snapshots_need() {
    run(async {
        let backend = Arc::new(MemoryBackend::default());
        let store = plain(&backend).await;
        let mut log = MetaLog::open(&store).await.unwrap().log;
        for event in 2..=10u64 {
            log.append_events(&[event]).await.unwrap();
            if event % 3 == 0 {
                log.snapshot(event, event.to_string().as_bytes()).await.unwrap();
            }
        }
        // Snapshots 3, 6, 9; keeping two drops 3 and the records 2 to 6. Record 1 is the claim.
        assert_eq!(MetaLog::prune(&store, 2).await.unwrap(), 6);
        assert_eq!(MetaLog::prune(&store, 2).await.unwrap(), 0);
        assert!(store.get_opt(&keys::log_record(1)).await.unwrap().is_some());
        let contents = LogContents::read(&store).await.unwrap();
        assert_eq!(contents.snapshot.unwrap().seq, 9);
        assert_eq!(contents.records.len(), 1);
        // Without the newest snapshot the one before still does.
        store.delete(&keys::snapshot(9)).await.unwrap();
        let contents = LogContents::read(&store).await.unwrap();
        assert_eq!((contents.snapshot.unwrap().seq, contents.records.len()), (6, 4));
        assert_eq!(contents.last, 10);
    });
}
