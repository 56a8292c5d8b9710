//! The metadata log with failures, rival writers and damage.

#![allow(clippy::unwrap_used, reason = "a panic with a line number is how a test fails")]
#![allow(missing_docs)]

mod support;

use std::sync::{Arc, Mutex};

use bytes::Bytes;
use howdah_store::backend::fault::{Fault, FaultBackend, Operation};
use howdah_store::backend::{Backend, MemoryBackend};
use howdah_store::{AppendError, AppendOutcome, MetaLog, Store, keys};
use proptest::collection::vec;
use proptest::prelude::*;
use support::run;

async fn plain(backend: &Arc<MemoryBackend>) -> Store {
    Store::with_backend(Arc::clone(backend) as Arc<dyn Backend>, Default::default())
        .await
        .unwrap()
}

async fn payloads(store: &Store) -> Vec<u32> {
    let opened = MetaLog::open(store).await.unwrap();
    opened
        .records
        .iter()
        .flat_map(|record| record.events::<u32>().unwrap())
        .collect()
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
                        let opened = MetaLog::open(&sound).await.unwrap();
                        let mut state: Vec<u32> =
                            opened.snapshot.map_or(Vec::new(), |snapshot| serde_json::from_slice(&snapshot.bytes).unwrap());
                        state.extend(opened.records.iter().flat_map(|record| record.events::<u32>().unwrap()));
                        prop_assert_eq!(&state, &expected);
                        let bytes = serde_json::to_vec(&state).unwrap();
                        opened.log.snapshot(opened.log.last(), &bytes).await.unwrap();
                        MetaLog::prune(&sound, 1).await.unwrap();
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
                let opened = MetaLog::open(&sound).await.unwrap();
                let mut state: Vec<u32> =
                    opened.snapshot.map_or(Vec::new(), |snapshot| serde_json::from_slice(&snapshot.bytes).unwrap());
                state.extend(opened.records.iter().flat_map(|record| record.events::<u32>().unwrap()));
                prop_assert_eq!(&state, &expected);
            }
            Ok(())
        })?;
    }
}

#[test]
fn of_concurrent_writers_exactly_one_wins_each_number() {
    run(async {
        let backend = Arc::new(MemoryBackend::default());
        let store = plain(&backend).await;
        for round in 0..20u32 {
            let mut logs = Vec::new();
            for _ in 0..8 {
                logs.push(MetaLog::open(&store).await.unwrap().log);
            }
            let writers = logs
                .into_iter()
                .map(|mut log| tokio::spawn(async move { log.append_events(&[round]).await.is_ok() }));
            let won: Vec<bool> = futures::future::join_all(writers)
                .await
                .into_iter()
                .map(Result::unwrap)
                .collect();
            assert_eq!(won.iter().filter(|won| **won).count(), 1);
        }
        assert_eq!(payloads(&store).await, (0..20).collect::<Vec<_>>());
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
        assert_eq!(log.append_events(&[7]).await.unwrap(), 1);
        assert_eq!(log.append_events(&[8]).await.unwrap(), 2);
        assert_eq!(*attempts.lock().unwrap(), 3);
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
            let error = MetaLog::open(&store).await.expect_err("damage was not noticed");
            assert!(
                error.is_damage() && error.to_string().contains(&victim),
                "{error} for {bytes:?}"
            );
        }
        store.delete(&victim).await.unwrap();
        let error = MetaLog::open(&store).await.unwrap_err();
        assert!(error.is_damage() && error.to_string().contains(&victim), "{error}");
        store.put(&victim, whole).await.unwrap();
        assert_eq!(payloads(&store).await, [0, 1, 2, 3, 4]);
        // The first record is not an exception.
        store.delete(&keys::log_record(1)).await.unwrap();
        assert!(
            MetaLog::open(&store)
                .await
                .unwrap_err()
                .to_string()
                .contains(&keys::log_record(1))
        );
    });
}

#[test]
fn damaged_snapshots_are_reported_by_name() {
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
            // A flipped bit may hit something without meaning in the compressed form.
            match MetaLog::open(&store).await {
                Err(error) => assert!(error.is_damage() && error.to_string().contains(&key), "{error}"),
                Ok(opened) => assert_eq!(opened.snapshot.unwrap().bytes, b"a state of some length, ".repeat(50)),
            }
        }
    });
}

#[test]
fn pruning_keeps_what_the_kept_snapshots_need() {
    run(async {
        let backend = Arc::new(MemoryBackend::default());
        let store = plain(&backend).await;
        let mut log = MetaLog::open(&store).await.unwrap().log;
        for event in 1..=10u64 {
            log.append_events(&[event]).await.unwrap();
            if event % 3 == 0 {
                log.snapshot(event, event.to_string().as_bytes()).await.unwrap();
            }
        }
        // Snapshots 3, 6, 9; keeping two drops 3 and the records 1 to 6.
        assert_eq!(MetaLog::prune(&store, 2).await.unwrap(), 7);
        assert_eq!(MetaLog::prune(&store, 2).await.unwrap(), 0);
        let opened = MetaLog::open(&store).await.unwrap();
        assert_eq!(opened.snapshot.unwrap().seq, 9);
        assert_eq!(opened.records.len(), 1);
        // Without the newest snapshot the one before still does.
        store.delete(&keys::snapshot(9)).await.unwrap();
        let opened = MetaLog::open(&store).await.unwrap();
        assert_eq!((opened.snapshot.unwrap().seq, opened.records.len()), (6, 4));
        assert_eq!(opened.log.last(), 10);
    });
}
