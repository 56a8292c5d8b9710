//! How often the worker's process has ended while a datum set ran.
//!
//! A set that ends the process is delivered again and would end it again, for ever. So the ends are counted in the
//! scratch folder, and a set that has ended the process [`MAX_CRASHES`] times is not run again.
//!
//! Which set ended the process is known only if the process ended itself (`crash_mark`): then that set is counted, and
//! the others that ran are not. A process that was killed gives no hint: an operator may have killed it, or the system,
//! because a set took all memory. Then every set that ran is counted, with a limit ([`MAX_KILLS`]) that sets which are
//! innocent do not reach. A restart of the machine is counted for none.
//!
//! Errors of the disk cost the counts and are logged.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};

use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};

/// Ends of the process by one set, after which it is not run again.
pub(super) const MAX_CRASHES: u32 = 2;
/// Kills of the process during one set, after which it is not run again.
pub(super) const MAX_KILLS: u32 = 10;
/// Sets that are remembered at most.
const MAX_SETS: usize = 1_000;
/// Time after which a set is forgotten: its job has ended otherwise.
const FORGET_AFTER: SignedDuration = SignedDuration::from_hours(7 * 24);

/// How a process ended while a set ran.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ProcessEnd {
    /// By a fault on a thread that worked on the set.
    Crash,
    /// From outside.
    Kill,
}

/// The counts of one set.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct EndCounts {
    #[serde(default)]
    pub crashes: u32,
    #[serde(default)]
    pub kills: u32,
    last: Timestamp,
}

impl EndCounts {
    /// Returns why the set is not run again, if it is not.
    pub(super) fn refusal(&self) -> Option<String> {
        let Self { crashes, kills, .. } = self;
        if *crashes >= MAX_CRASHES {
            return Some(format!(
                "not tried again: the worker's process ended {crashes} times by a fault while it worked on this datum \
                 set; the worker's log before its last start says more. Change the command, for example to write less \
                 or flatter output, and run the job again"
            ));
        }
        (*kills >= MAX_KILLS).then(|| {
            format!(
                "not tried again: the worker's process was killed {kills} times while it worked on this datum set. If \
                 the system killed it for want of memory, give the worker more memory or the command less output, and \
                 run the job again"
            )
        })
    }
}

/// The counts of all sets, in a file.
pub(super) struct SetEnds {
    file: PathBuf,
    counts: Mutex<BTreeMap<String, EndCounts>>,
}

impl SetEnds {
    /// Reads the file, if there is one.
    pub(super) fn open(file: PathBuf) -> Self {
        let counts = match read(&file) {
            Ok(counts) => counts,
            Err(error) => {
                tracing::warn!(file = %file.display(), %error, "counts of ended processes cannot be read");
                BTreeMap::new()
            }
        };
        Self {
            file,
            counts: Mutex::new(counts),
        }
    }

    /// Counts an end of the process for sets, and returns the counts of each.
    pub(super) fn add(&self, sets: &[(String, ProcessEnd)]) -> Vec<EndCounts> {
        let now = Timestamp::now();
        let mut counts = self.lock();
        let mut changed = Vec::new();
        for (set, end) in sets {
            let count = counts.entry(set.clone()).or_insert(EndCounts {
                crashes: 0,
                kills: 0,
                last: now,
            });
            count.last = now;
            match end {
                ProcessEnd::Crash => count.crashes += 1,
                ProcessEnd::Kill => count.kills += 1,
            }
            changed.push(count.clone());
        }
        counts.retain(|_, count| now.duration_since(count.last) < FORGET_AFTER);
        while counts.len() > MAX_SETS {
            let oldest = counts.iter().min_by_key(|(_, count)| count.last);
            let Some(set) = oldest.map(|(set, _)| set.clone()) else {
                break;
            };
            counts.remove(&set);
        }
        self.save(&counts);
        changed
    }

    /// Returns why a set is not run again, if it is not.
    pub(super) fn refusal(&self, set: &str) -> Option<String> {
        self.lock().get(set)?.refusal()
    }

    /// Forgets a set that has ended.
    pub(super) fn remove(&self, set: &str) {
        let mut counts = self.lock();
        if counts.remove(set).is_some() {
            self.save(&counts);
        }
    }

    fn save(&self, counts: &BTreeMap<String, EndCounts>) {
        if let Err(error) = write(&self.file, counts) {
            tracing::warn!(file = %self.file.display(), %error, "counts of ended processes cannot be written");
        }
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<String, EndCounts>> {
        self.counts.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn read(file: &Path) -> io::Result<BTreeMap<String, EndCounts>> {
    match fs::read(file) {
        Ok(bytes) => serde_json::from_slice(&bytes).map_err(io::Error::from),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(BTreeMap::new()),
        Err(error) => Err(error),
    }
}

fn write(file: &Path, counts: &BTreeMap<String, EndCounts>) -> io::Result<()> {
    let new = file.with_extension("new");
    fs::write(&new, serde_json::to_vec(counts)?)?;
    // Renamed, so that a process that ends in the middle leaves the counts before.
    fs::rename(&new, file)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_survive_restarts_and_a_set_is_refused_at_its_limit() {
        let folder = tempfile::tempdir().unwrap();
        let open = || SetEnds::open(folder.path().join("ends"));
        let end = |set: &str, end| open().add(&[(set.to_owned(), end)]);
        for number in 1..=MAX_CRASHES {
            assert_eq!(open().refusal("crashing"), None);
            assert_eq!(end("crashing", ProcessEnd::Crash)[0].crashes, number);
        }
        for number in 1..=MAX_KILLS {
            assert_eq!(open().refusal("killed"), None);
            assert_eq!(end("killed", ProcessEnd::Kill)[0].kills, number);
        }
        let ends = open();
        assert!(ends.refusal("crashing").unwrap().contains("ended 2 times by a fault"));
        assert!(ends.refusal("killed").unwrap().contains("was killed 10 times"));
        assert_eq!(ends.refusal("other"), None);
        ends.remove("crashing");
        assert_eq!(open().refusal("crashing"), None);
    }

    #[test]
    fn the_number_of_sets_is_bounded_and_a_damaged_file_is_no_obstacle() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("ends");
        fs::write(&file, "{").unwrap();
        let ends = SetEnds::open(file.clone());
        let sets: Vec<_> = (0..MAX_SETS + 10)
            .map(|number| (number.to_string(), ProcessEnd::Kill))
            .collect();
        ends.add(&sets);
        assert_eq!(read(&file).unwrap().len(), MAX_SETS);
    }
}
