//! Log lines on their way to followers.
//!
//! A follower that is slower than the workers falls behind; the batches that it has not read wait in one ring for all
//! followers. The ring is bounded in bytes and in batches: a follower that is further behind misses the oldest, and is
//! told how many. Without followers nothing is kept.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use howdah_protocol::bounded_log::LINE_OVERHEAD;
use howdah_protocol::messages::LogBatch;
use tokio::sync::watch;

/// Bytes of batches that wait for followers.
const MAX_BYTES: usize = 32 << 20;
/// Batches that wait for followers.
const MAX_BATCHES: usize = 4096;
/// Bytes that a batch takes besides its lines.
const BATCH_OVERHEAD: usize = 512;

/// The ring. Clones share it.
#[derive(Clone, Debug)]
pub(super) struct LogFeed {
    shared: Arc<FeedShared>,
}

#[derive(Debug)]
struct FeedShared {
    ring: Mutex<FeedRing>,
    /// Number of batches so far. Followers wait for its changes.
    count: watch::Sender<u64>,
}

#[derive(Debug, Default)]
struct FeedRing {
    /// The newest batches, each with its size.
    batches: VecDeque<(Arc<LogBatch>, usize)>,
    bytes: usize,
    /// Number of batches so far, those that are gone included.
    count: u64,
}

impl Default for LogFeed {
    fn default() -> Self {
        Self {
            shared: Arc::new(FeedShared {
                ring: Mutex::default(),
                count: watch::Sender::new(0),
            }),
        }
    }
}

impl LogFeed {
    /// Adds a batch.
    pub(super) fn send(&self, batch: LogBatch) {
        let lines = batch.lines.iter().map(|line| line.message.len() + LINE_OVERHEAD);
        let size = lines.sum::<usize>() + BATCH_OVERHEAD;
        let count = {
            let mut ring = self.shared.lock();
            ring.count += 1;
            if self.shared.count.receiver_count() == 0 {
                ring.batches.clear();
                ring.bytes = 0;
            } else {
                ring.bytes += size;
                ring.batches.push_back((Arc::new(batch), size));
                while ring.bytes > MAX_BYTES || ring.batches.len() > MAX_BATCHES {
                    let Some((_, size)) = ring.batches.pop_front() else {
                        break;
                    };
                    ring.bytes -= size;
                }
            }
            ring.count
        };
        self.shared.count.send_replace(count);
    }

    /// Follows the batches that are added from now on.
    pub(super) fn follow(&self) -> LogFollower {
        // Subscribed first: a batch that is added in between is kept because of it.
        let changes = self.shared.count.subscribe();
        let next = self.shared.lock().count;
        LogFollower {
            shared: Arc::clone(&self.shared),
            changes,
            next,
        }
    }
}

impl FeedShared {
    fn lock(&self) -> MutexGuard<'_, FeedRing> {
        // The lines are for display: a ring that a panicking task left half-changed is still usable.
        self.ring.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A follower of log lines.
#[derive(Debug)]
pub struct LogFollower {
    shared: Arc<FeedShared>,
    changes: watch::Receiver<u64>,
    /// Number of the next batch that it reads.
    next: u64,
}

/// What a follower reads.
#[derive(Clone, Debug)]
pub enum FollowedLogs {
    /// The next batch.
    Batch(Arc<LogBatch>),
    /// So many batches were dropped before it read them.
    Missed(u64),
}

impl LogFollower {
    /// Returns the next batch, and waits for it. The future may be dropped at any time.
    pub async fn next(&mut self) -> FollowedLogs {
        loop {
            // Marked before the ring is looked at, so that no batch in between is waited for.
            self.changes.borrow_and_update();
            if let Some(read) = self.try_next() {
                return read;
            }
            if self.changes.changed().await.is_err() {
                // Cannot happen: `shared` keeps the sender.
                std::future::pending::<()>().await;
            }
        }
    }

    /// Returns the next batch if there is one.
    pub fn try_next(&mut self) -> Option<FollowedLogs> {
        let ring = self.shared.lock();
        let oldest = ring.count - ring.batches.len() as u64;
        if self.next < oldest {
            let missed = oldest - self.next;
            self.next = oldest;
            return Some(FollowedLogs::Missed(missed));
        }
        let place = usize::try_from(self.next - oldest).ok()?;
        let (batch, _) = ring.batches.get(place)?;
        self.next += 1;
        Some(FollowedLogs::Batch(Arc::clone(batch)))
    }
}

#[cfg(test)]
mod tests {
    use howdah_model::GlobalId;
    use howdah_protocol::objects::LogLine;
    use jiff::Timestamp;

    use super::*;

    fn batch(number: usize, bytes: usize) -> LogBatch {
        LogBatch {
            pipeline: "default/edges".parse().unwrap(),
            job: GlobalId::from_number(1),
            set: u32::try_from(number).unwrap(),
            worker: "w".to_owned(),
            run: None,
            stored: false,
            lines: vec![LogLine {
                ts: Timestamp::UNIX_EPOCH,
                datum: None,
                user: true,
                message: "x".repeat(bytes),
            }],
        }
    }

    /// Reads everything; returns the numbers of the batches and how many were missed.
    fn read_all(follower: &mut LogFollower) -> (Vec<u32>, u64) {
        let (mut sets, mut missed) = (Vec::new(), 0);
        while let Some(read) = follower.try_next() {
            match read {
                FollowedLogs::Batch(batch) => sets.push(batch.set),
                FollowedLogs::Missed(count) => missed += count,
            }
        }
        (sets, missed)
    }

    #[test]
    fn a_slow_follower_misses_the_oldest_batches_and_no_other_does() {
        const MISSED: usize = 5;
        let feed = LogFeed::default();
        let (mut slow, mut quick) = (feed.follow(), feed.follow());
        for number in 0..MAX_BATCHES + MISSED {
            feed.send(batch(number, 1));
            assert_eq!(read_all(&mut quick), (vec![number as u32], 0));
        }
        let expected: Vec<u32> = (MISSED as u32..(MAX_BATCHES + MISSED) as u32).collect();
        assert_eq!(read_all(&mut slow), (expected, MISSED as u64));
    }

    #[test]
    fn the_bytes_that_wait_are_bounded() {
        const LARGE: usize = 1 << 20;
        let feed = LogFeed::default();
        let mut slow = feed.follow();
        for number in 0..100 {
            feed.send(batch(number, LARGE));
        }
        assert!(feed.shared.lock().bytes <= MAX_BYTES);
        let (sets, missed) = read_all(&mut slow);
        assert_eq!(sets.len() as u64 + missed, 100);
        assert_eq!(sets.len(), MAX_BYTES / (LARGE + BATCH_OVERHEAD + LINE_OVERHEAD));
        drop(slow);
        feed.send(batch(100, LARGE));
        assert_eq!(feed.shared.lock().bytes, 0, "nothing is kept without followers");
    }

    #[tokio::test]
    async fn a_follower_waits_for_the_next_batch() {
        let feed = LogFeed::default();
        let mut follower = feed.follow();
        let sender = feed.clone();
        let sending = tokio::spawn(async move {
            for number in 0..100 {
                sender.send(batch(number, 1));
                tokio::task::yield_now().await;
            }
        });
        for number in 0..100 {
            match follower.next().await {
                FollowedLogs::Batch(batch) => assert_eq!(batch.set, number),
                FollowedLogs::Missed(count) => panic!("{count} batches missed"),
            }
        }
        sending.await.unwrap();
    }
}
