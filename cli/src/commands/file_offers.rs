//! Offers of large files to a server on the same machine, during a put.
//!
//! The server then reads the open file itself, and no byte passes through the connection. The protocol is that of
//! [`howdah_api::file_broker`]. A file is offered in the thread that reads the sources; that thread blocks until the
//! server has read it, so at most one offer is open. Where the server does not accept an offer, the bytes are sent.

use std::fs::File;
use std::net::Shutdown;
use std::os::unix::net::UnixStream;
use std::sync::{Arc, Mutex, PoisonError};

use howdah_api::file_broker::FileOffer;

use crate::output::progress::ProgressCounter;

/// Fewest bytes of a file that is offered: an offer takes as long as sending some hundred KiB.
const MIN_OFFER_BYTES: u64 = 8 << 20;

/// The offers of one put. Dropping it ends the wait for an open offer.
#[derive(Debug)]
pub(super) struct FileOffers {
    offerer: FileOfferer,
}

/// Makes offers in the thread that reads the sources.
#[derive(Debug, Clone)]
pub(super) struct FileOfferer {
    /// Name of the server's socket.
    broker: Arc<str>,
    counter: ProgressCounter,
    open: Arc<Mutex<OpenOffer>>,
}

/// The offer that a thread waits for. Written by this thread and by the drop of [`FileOffers`].
#[derive(Debug, Default)]
struct OpenOffer {
    /// Whether the put has ended; no offer is awaited any more.
    ended: bool,
    /// Shut down to end the wait.
    connection: Option<UnixStream>,
}

impl FileOffers {
    /// Makes offers to the server whose socket has this name; `counter` counts the bytes that the server has read.
    pub(super) fn new(broker: &str, counter: ProgressCounter) -> FileOffers {
        let offerer = FileOfferer {
            broker: broker.into(),
            counter,
            open: Arc::default(),
        };
        FileOffers { offerer }
    }

    /// Returns the part for the reading thread.
    pub(super) fn offerer(&self) -> FileOfferer {
        self.offerer.clone()
    }
}

impl Drop for FileOffers {
    fn drop(&mut self) {
        let mut open = self.offerer.open.lock().unwrap_or_else(PoisonError::into_inner);
        // Set under the lock: a thread that is about to wait either sees it or has stored its connection already.
        open.ended = true;
        if let Some(connection) = open.connection.take() {
            // An error means that the server has closed the connection already.
            let _ = connection.shutdown(Shutdown::Both);
        }
    }
}

impl FileOfferer {
    /// Offers a file of `size` bytes. `None` means: send its bytes, because it is small or the offer was not accepted.
    pub(super) fn offer(&self, file: &File, size: u64) -> Option<FileOffer> {
        if size < MIN_OFFER_BYTES {
            return None;
        }
        let offered = FileOffer::offer(&self.broker, file);
        offered
            .inspect_err(|error| tracing::debug!(%error, "the server does not accept open files"))
            .ok()
    }

    /// Blocks until the server has read the file, or until the [`FileOffers`] are dropped.
    ///
    /// `size` is the size of the file in bytes: the server reports rounded numbers, and the last one may be too high.
    pub(super) fn wait(&self, offer: FileOffer, size: u64) {
        {
            let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
            open.connection = offer.connection().ok();
            // Without a second handle nothing could end the wait; the put itself reports what becomes of the file.
            if open.ended || open.connection.is_none() {
                return;
            }
        }
        let mut left = size;
        offer.wait(|bytes| {
            let read = bytes.min(left);
            left -= read;
            self.counter.add(read);
        });
        self.open.lock().unwrap_or_else(PoisonError::into_inner).connection = None;
    }
}
