//! A journal on disk of the deliveries that this worker has not acknowledged yet.
//!
//! The queue waits [`howdah_queue::ACK_WAIT`] before it redelivers the sets of a silent worker. A worker that restarts
//! on the same scratch folder need not wait: the folder's lock proves that its predecessor is dead, so it hands the
//! predecessor's sets back at once ([`DeliveryJournal::recover`]). It also counts the end of the predecessor for the
//! sets that ran then (`set_ends`).
//!
//! ```text
//! receipts/<n>       a running set: the delivery's receipt (the queue's address for an answer), and the set's name
//! receipts/crashed   numbers <n> of sets that ended the process by a fault (`crash_mark`)
//! receipts/boot      the start of the machine during which the files were written
//! receipts/ends      how often the process has ended, by set
//! ```
//!
//! Files of running sets are emptied and reused, because some file systems create files slowly right after many
//! deletions. Nothing is synced to disk: after a crash of the machine, the queue's own timeout applies. Errors only
//! cost that speed-up and the counts, and are logged.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use howdah_model::ids::GlobalId;
use howdah_model::names::PipelineKey;
use howdah_protocol::messages::SetMessage;
use howdah_protocol::objects::PlanId;
use howdah_queue::{Delivery, Queue};

use crate::crash_mark::{CrashFile, CrashMark, read_marks};
use crate::intake::set_ends::{ProcessEnd, SetEnds};
use howdah_telemetry::error_chain;

/// Where the kernel tells which start of the machine this is.
const BOOT_ID: &str = "/proc/sys/kernel/random/boot_id";

/// The journal's folder. Clones share it.
#[derive(Clone)]
pub(crate) struct DeliveryJournal {
    folder: Arc<Path>,
    files: Arc<Mutex<JournalFiles>>,
    ends: Arc<SetEnds>,
    /// `None` if it cannot be written.
    crashes: Option<CrashFile>,
    /// What the process before this one has left, until it is recovered.
    left: Arc<Mutex<LeftBehind>>,
}

/// Files that can be used.
#[derive(Default)]
struct JournalFiles {
    empty: Vec<(u64, PathBuf)>,
    /// Name of the next file to be created.
    next: u64,
}

/// What a process that did not stop in order has left behind.
#[derive(Default)]
struct LeftBehind {
    /// Sets that ran when it ended.
    sets: Vec<LeftSet>,
    /// Numbers of the sets that ended it.
    crashed: Vec<u64>,
    /// Whether the machine has been started since.
    rebooted: bool,
}

struct LeftSet {
    number: u64,
    receipt: String,
    /// `None` in files of earlier releases.
    name: Option<String>,
}

/// A recorded delivery; the record is erased when this is dropped.
pub(crate) struct JournalEntry {
    number: u64,
    file: PathBuf,
    files: Arc<Mutex<JournalFiles>>,
    crashes: Option<CrashFile>,
}

impl JournalEntry {
    /// Returns the mark of threads that work on the set.
    pub(crate) fn crash_mark(&self) -> Option<CrashMark> {
        self.crashes.as_ref().map(|crashes| crashes.mark(self.number))
    }
}

/// A set that ended the process, and what is told about it.
#[derive(Debug, PartialEq)]
pub(crate) struct EndedSet {
    /// Its pipeline.
    pub pipeline: PipelineKey,
    /// Its job.
    pub job: GlobalId,
    /// Its plan.
    pub plan: PlanId,
    /// Its number in the plan.
    pub set: u32,
    /// What happened, for the user.
    pub message: String,
}

impl EndedSet {
    /// Reads the name of a set; `None` if it is none.
    fn new(name: &str, message: String) -> Option<Self> {
        let (job, set) = name.rsplit_once('/')?;
        // Without a plan in names of earlier releases.
        let (plan, set) = match set.split_once('.') {
            Some((plan, set)) => (plan.parse().ok()?, set),
            None => (PlanId::EARLIER, set),
        };
        let (pipeline, job) = job.rsplit_once('/')?;
        Some(Self {
            pipeline: pipeline.parse().ok()?,
            job: job.parse().ok()?,
            plan,
            set: set.parse().ok()?,
            message,
        })
    }
}

impl DeliveryJournal {
    /// Opens the journal in a scratch folder. Call [`DeliveryJournal::recover`] before the first
    /// [`DeliveryJournal::record`].
    pub(crate) fn open(scratch: &Path) -> io::Result<Self> {
        let folder = scratch.join("receipts");
        fs::create_dir_all(&folder)?;
        let crashed = folder.join("crashed");
        let boot = folder.join("boot");
        let this_boot = fs::read_to_string(BOOT_ID).unwrap_or_default();
        let left = LeftBehind {
            sets: take_all(&folder)?,
            // Read before the file is emptied for this process.
            crashed: read_marks(&crashed).unwrap_or_default(),
            rebooted: fs::read_to_string(&boot).is_ok_and(|before| before != this_boot),
        };
        if let Err(error) = fs::write(&boot, &this_boot) {
            tracing::debug!(file = %boot.display(), %error, "start of the machine not recorded");
        }
        let crashes = CrashFile::create(&crashed)
            .inspect_err(|error| tracing::warn!(file = %crashed.display(), %error, "crashes cannot be recorded"))
            .ok();
        Ok(Self {
            ends: Arc::new(SetEnds::open(folder.join("ends"))),
            folder: folder.into(),
            files: Arc::default(),
            crashes,
            left: Arc::new(Mutex::new(left)),
        })
    }

    /// Records that this worker has a delivery, until the returned entry is dropped.
    pub(crate) fn record(&self, delivery: &Delivery) -> JournalEntry {
        let (number, file) = {
            let mut files = lock(&self.files);
            let number = files.next;
            files.empty.pop().unwrap_or_else(|| {
                files.next += 1;
                (number, self.folder.join(number.to_string()))
            })
        };
        let record = format!("{}\n{}", delivery.receipt(), set_name(&delivery.set));
        if let Err(error) = fs::write(&file, record) {
            tracing::debug!(file = %file.display(), %error, "receipt of a datum set not recorded");
        }
        JournalEntry {
            number,
            file,
            files: Arc::clone(&self.files),
            crashes: self.crashes.clone(),
        }
    }

    /// Hands back the sets that an earlier worker on this folder had when it was killed, and counts its end for them.
    /// Returns the sets that ended it by a fault.
    pub(crate) async fn recover(&self, queue: &Queue) -> Vec<EndedSet> {
        let left = std::mem::take(&mut *lock(&self.left));
        for set in &left.sets {
            if let Err(error) = queue.hand_back(&set.receipt).await {
                tracing::debug!(error = %error_chain(&error), "datum set of a killed worker not handed back");
            }
        }
        if !left.sets.is_empty() {
            tracing::info!(sets = left.sets.len(), "handed back the datum sets of a killed worker");
        }
        self.count_ends(&left)
    }

    fn count_ends(&self, left: &LeftBehind) -> Vec<EndedSet> {
        if left.rebooted {
            return Vec::new();
        }
        let is_guilty = |set: &LeftSet| left.crashed.contains(&set.number);
        let by_fault = left.sets.iter().any(is_guilty);
        // Where the process ended itself, the other sets are innocent.
        let end = if by_fault { ProcessEnd::Crash } else { ProcessEnd::Kill };
        let counted: Vec<(String, ProcessEnd)> = left
            .sets
            .iter()
            .filter(|set| !by_fault || is_guilty(set))
            .filter_map(|set| Some((set.name.clone()?, end)))
            .collect();
        if counted.is_empty() {
            return Vec::new();
        }
        let counts = self.ends.add(&counted);
        let ended = counted.into_iter().zip(counts);
        ended
            .filter(|((_, end), _)| *end == ProcessEnd::Crash)
            .filter_map(|((name, _), counts)| {
                let message = counts.refusal().unwrap_or_else(|| {
                    "the worker's process ended by a fault while it worked on this datum set, which is tried once \
                     more; the worker's log before its last start says more"
                        .to_owned()
                });
                tracing::error!(
                    set = name,
                    crashes = counts.crashes,
                    "a datum set ended the worker's process"
                );
                EndedSet::new(&name, message)
            })
            .collect()
    }

    /// Returns why a set is not run again, if it has ended the process too often.
    pub(crate) fn refusal(&self, set: &SetMessage) -> Option<String> {
        self.ends.refusal(&set_name(set))
    }

    /// Forgets how often the process has ended while a set ran, because its result is stored.
    pub(crate) fn forget(&self, set: &SetMessage) {
        self.ends.remove(&set_name(set));
    }
}

/// Returns the name of a set, by which its ends are counted.
pub(super) fn set_name(set: &SetMessage) -> String {
    let job = format!("{}/{}", set.pipeline, set.job);
    if set.plan.is_earlier() {
        // As an earlier release has counted it.
        return format!("{job}/{}", set.set);
    }
    format!("{job}/{}.{}", set.plan, set.set)
}

impl Drop for JournalEntry {
    fn drop(&mut self) {
        // A file that cannot be emptied is not reused. Its receipt is handed back after a restart although the set is
        // acknowledged by then; that is harmless.
        if fs::write(&self.file, "").is_ok() {
            let file = std::mem::take(&mut self.file);
            lock(&self.files).empty.push((self.number, file));
        }
    }
}

fn lock<T>(shared: &Mutex<T>) -> MutexGuard<'_, T> {
    shared.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Reads the records of all running sets and removes their files.
fn take_all(folder: &Path) -> io::Result<Vec<LeftSet>> {
    let mut sets = Vec::new();
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        let Some(number) = entry.file_name().to_str().and_then(|name| name.parse().ok()) else {
            continue;
        };
        let text = fs::read_to_string(entry.path()).unwrap_or_default();
        let mut lines = text.lines();
        if let Some(receipt) = lines.next().filter(|receipt| !receipt.is_empty()) {
            sets.push(LeftSet {
                number,
                receipt: receipt.to_owned(),
                name: lines.next().map(str::to_owned),
            });
        }
        // Removed before the receipts are used. A crash in between loses the speed-up and nothing else; with the other
        // order the next start would hand back again what another worker may run by then.
        fs::remove_file(entry.path())?;
    }
    Ok(sets)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(set: u32) -> String {
        format!("default/edges/{}/{set}", GlobalId::from_number(1))
    }

    /// Writes what a process leaves that ran two sets.
    fn leave(folder: &Path, crashed: &[u64], boot: Option<&str>) {
        let receipts = folder.join("receipts");
        fs::create_dir_all(&receipts).unwrap();
        for number in [0, 1] {
            fs::write(receipts.join(number.to_string()), format!("receipt\n{}", name(number))).unwrap();
        }
        fs::write(receipts.join("2"), "").unwrap();
        let marks: Vec<u8> = crashed.iter().flat_map(|number| number.to_le_bytes()).collect();
        fs::write(receipts.join("crashed"), marks).unwrap();
        let this_boot = fs::read_to_string(BOOT_ID).unwrap();
        fs::write(receipts.join("boot"), boot.unwrap_or(&this_boot)).unwrap();
    }

    /// Returns the sets that ended the process, and why each of the two is refused.
    fn recovered(folder: &Path) -> (Vec<u32>, [Option<String>; 2]) {
        let journal = DeliveryJournal::open(folder).unwrap();
        let left = std::mem::take(&mut *lock(&journal.left));
        assert_eq!(left.sets.len(), 2);
        let ended = journal.count_ends(&left).into_iter().map(|ended| ended.set).collect();
        (ended, [0, 1].map(|set| journal.ends.refusal(&name(set))))
    }

    #[test]
    fn the_name_of_a_set_is_read_back() {
        let mut set = SetMessage {
            pipeline: "default/edges".parse().unwrap(),
            version: 1,
            job: GlobalId::from_number(1),
            plan: PlanId::from_random(0xabc),
            set: 7,
            attempt: 0,
            inline: None,
        };
        for plan in [set.plan, PlanId::EARLIER] {
            set.plan = plan;
            let ended = EndedSet::new(&set_name(&set), String::new()).unwrap();
            assert_eq!((ended.pipeline, ended.job), (set.pipeline.clone(), set.job));
            assert_eq!((ended.plan, ended.set), (plan, 7));
        }
    }

    #[test]
    fn only_the_set_that_ended_the_process_is_counted() {
        let folder = tempfile::tempdir().unwrap();
        leave(folder.path(), &[1], None);
        assert_eq!(recovered(folder.path()), (vec![1], [None, None]));
        leave(folder.path(), &[1], None);
        let (ended, [other, guilty]) = recovered(folder.path());
        assert_eq!((ended, other), (vec![1], None));
        assert!(guilty.unwrap().contains("ended 2 times by a fault"));
    }

    #[test]
    fn kills_and_restarts_of_the_machine_do_not_fail_good_sets() {
        let folder = tempfile::tempdir().unwrap();
        for _ in 0..5 {
            leave(folder.path(), &[], None);
            assert_eq!(recovered(folder.path()), (vec![], [None, None]));
            leave(folder.path(), &[0, 1], Some("another start"));
            assert_eq!(recovered(folder.path()), (vec![], [None, None]));
            // A mark of an entry that no set has is of no set.
            leave(folder.path(), &[7], None);
            assert_eq!(recovered(folder.path()), (vec![], [None, None]), "two kills in all");
            fs::remove_file(folder.path().join("receipts/ends")).unwrap();
        }
    }

    #[test]
    fn a_set_during_which_the_process_is_killed_again_and_again_is_refused_in_the_end() {
        let folder = tempfile::tempdir().unwrap();
        for _ in 0..9 {
            leave(folder.path(), &[], None);
            assert_eq!(recovered(folder.path()).1, [None, None]);
        }
        leave(folder.path(), &[], None);
        assert!(
            recovered(folder.path()).1[0]
                .as_ref()
                .unwrap()
                .contains("was killed 10 times")
        );
    }
}
