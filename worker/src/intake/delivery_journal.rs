//! What a killed worker had: so that it can be handed back when the worker starts again.
//!
//! The server waits [`howdah_queue::ACK_WAIT`] before it takes a silent worker for dead. A worker
//! that starts again over the same scratch folder knows it at once: its predecessor is dead, for
//! only one at a time holds the folder. Each set leaves its receipt in a file until it is acknowledged.
//! Files are emptied and used again: a file system that has just deleted many is slow to make new ones.
//! Not synced to the disk: after a crash of the machine the server's patience serves.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use howdah_queue::{Delivery, Queue};

use crate::cache::file_cache::blocking;
use howdah_telemetry::error_chain;

/// The folder of receipts. Clones share it.
#[derive(Clone)]
pub(crate) struct Receipts {
    folder: Arc<Path>,
    free: Arc<Mutex<Free>>,
}

/// Files that can be used.
#[derive(Default)]
struct Free {
    empty: Vec<PathBuf>,
    /// Number of the next one to be made.
    next: u64,
}

/// A receipt on the disk, for as long as this lives.
pub(crate) struct Kept {
    file: PathBuf,
    free: Arc<Mutex<Free>>,
}

impl Receipts {
    /// Takes the folder into use; [`Receipts::redeem`] comes before the first [`Receipts::keep`].
    pub fn open(scratch: &Path) -> io::Result<Self> {
        let folder = scratch.join("receipts");
        fs::create_dir_all(&folder)?;
        Ok(Self {
            folder: folder.into(),
            free: Arc::default(),
        })
    }

    /// Notes that this worker is on a set, until the value returned is dropped.
    pub fn keep(&self, delivery: &Delivery) -> Kept {
        let file = {
            let mut free = lock(&self.free);
            let number = free.next;
            free.empty.pop().unwrap_or_else(|| {
                free.next += 1;
                self.folder.join(number.to_string())
            })
        };
        if let Err(error) = fs::write(&file, delivery.receipt()) {
            // Only a quicker return of the set after a crash depends on it.
            tracing::debug!(file = %file.display(), %error, "receipt of a datum set not kept");
        }
        Kept {
            file,
            free: Arc::clone(&self.free),
        }
    }

    /// Hands back what an earlier worker on this folder had when it was killed.
    pub async fn redeem(&self, queue: &Queue) {
        let folder = Arc::clone(&self.folder);
        let Ok(Ok(receipts)) = blocking(move || take_all(&folder)).await else {
            return;
        };
        for receipt in &receipts {
            if let Err(error) = queue.hand_back(receipt).await {
                tracing::debug!(error = %error_chain(&error), "set of a killed worker not handed back");
            }
        }
        if !receipts.is_empty() {
            tracing::info!(sets = receipts.len(), "handed back what a killed worker had");
        }
    }
}

impl Drop for Kept {
    fn drop(&mut self) {
        // One that cannot be emptied is not used again, and hands back a set that is done: that does no harm.
        if fs::write(&self.file, "").is_ok() {
            lock(&self.free).empty.push(std::mem::take(&mut self.file));
        }
    }
}

fn lock(free: &Mutex<Free>) -> MutexGuard<'_, Free> {
    free.lock().unwrap_or_else(PoisonError::into_inner)
}

fn take_all(folder: &Path) -> io::Result<Vec<String>> {
    let mut receipts = Vec::new();
    for entry in fs::read_dir(folder)? {
        let file = entry?.path();
        receipts.extend(fs::read_to_string(&file).ok().filter(|text| !text.is_empty()));
        fs::remove_file(&file)?;
    }
    Ok(receipts)
}
