//! A journal on disk of the deliveries that this worker has not acknowledged yet.
//!
//! The queue waits [`howdah_queue::ACK_WAIT`] before it redelivers the sets of a silent worker. A worker that restarts
//! on the same scratch folder need not wait: the folder's lock proves that its predecessor is dead, so it hands the
//! predecessor's sets back at once ([`DeliveryJournal::recover`]).
//!
//! Each running set has one file, which holds the delivery's receipt (the queue's address for an answer). Files are
//! emptied and reused, because some file systems create files slowly right after many deletions. Nothing is synced to
//! disk: after a crash of the machine, the queue's own timeout applies. Errors only cost that speed-up and are logged.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use howdah_queue::{Delivery, Queue};

use crate::blocking::blocking;
use howdah_telemetry::error_chain;

/// The journal's folder. Clones share it.
#[derive(Clone)]
pub(crate) struct DeliveryJournal {
    folder: Arc<Path>,
    files: Arc<Mutex<JournalFiles>>,
}

/// Files that can be used.
#[derive(Default)]
struct JournalFiles {
    empty: Vec<PathBuf>,
    /// Name of the next file to be created.
    next: u64,
}

/// A recorded delivery; the record is erased when this is dropped.
pub(crate) struct JournalEntry {
    file: PathBuf,
    files: Arc<Mutex<JournalFiles>>,
}

impl DeliveryJournal {
    /// Opens the journal in a scratch folder. Call [`DeliveryJournal::recover`] before the first
    /// [`DeliveryJournal::record`].
    pub fn open(scratch: &Path) -> io::Result<Self> {
        let folder = scratch.join("receipts");
        fs::create_dir_all(&folder)?;
        Ok(Self {
            folder: folder.into(),
            files: Arc::default(),
        })
    }

    /// Records that this worker has a delivery, until the returned entry is dropped.
    pub fn record(&self, delivery: &Delivery) -> JournalEntry {
        let file = {
            let mut files = lock(&self.files);
            let number = files.next;
            files.empty.pop().unwrap_or_else(|| {
                files.next += 1;
                self.folder.join(number.to_string())
            })
        };
        if let Err(error) = fs::write(&file, delivery.receipt()) {
            tracing::debug!(file = %file.display(), %error, "receipt of a datum set not recorded");
        }
        JournalEntry {
            file,
            files: Arc::clone(&self.files),
        }
    }

    /// Hands back the sets that an earlier worker on this folder had when it was killed.
    pub async fn recover(&self, queue: &Queue) {
        let folder = Arc::clone(&self.folder);
        let Ok(Ok(receipts)) = blocking(move || take_all(&folder)).await else {
            return;
        };
        for receipt in &receipts {
            if let Err(error) = queue.hand_back(receipt).await {
                tracing::debug!(error = %error_chain(&error), "datum set of a killed worker not handed back");
            }
        }
        if !receipts.is_empty() {
            tracing::info!(sets = receipts.len(), "handed back the datum sets of a killed worker");
        }
    }
}

impl Drop for JournalEntry {
    fn drop(&mut self) {
        // A file that cannot be emptied is not reused. Its receipt is handed back after a restart although the set is
        // acknowledged by then; that is harmless.
        if fs::write(&self.file, "").is_ok() {
            lock(&self.files).empty.push(std::mem::take(&mut self.file));
        }
    }
}

fn lock(files: &Mutex<JournalFiles>) -> MutexGuard<'_, JournalFiles> {
    files.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Reads all receipts and removes their files.
fn take_all(folder: &Path) -> io::Result<Vec<String>> {
    let mut receipts = Vec::new();
    for entry in fs::read_dir(folder)? {
        let file = entry?.path();
        receipts.extend(fs::read_to_string(&file).ok().filter(|text| !text.is_empty()));
        // Removed before the receipts are used. A crash in between loses the speed-up and nothing else; with the other
        // order the next start would hand back again what another worker may run by then.
        fs::remove_file(&file)?;
    }
    Ok(receipts)
}
