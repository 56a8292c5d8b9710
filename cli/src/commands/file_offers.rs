//! Lending large files to a server on this machine while they are put.

use std::fs::File;
use std::net::Shutdown;
use std::os::unix::net::UnixStream;
use std::sync::{Arc, Mutex, PoisonError};

use howdah_api::file_broker::FileOffer;

use crate::output::progress::Counter;

/// Smaller files are sent: to lend one takes as long as to send some hundred KiB.
const WORTH_LENDING: u64 = 8 << 20;

/// Lends files one after the other. When it is dropped, the thread that waits for one waits no longer.
#[derive(Debug)]
pub struct Lender {
    loans: Loans,
}

/// The part of a [`Lender`] that is in the thread that reads what is put.
#[derive(Debug, Clone)]
pub struct Loans {
    desk: Arc<str>,
    counter: Counter,
    /// What to shut down to end the wait for the file that is on loan.
    current: Arc<Mutex<Current>>,
}

#[derive(Debug, Default)]
struct Current {
    over: bool,
    connection: Option<UnixStream>,
}

impl Lender {
    /// Lends at the desk of this name; the counter is told of what the server has read.
    pub fn new(desk: &str, counter: Counter) -> Lender {
        let loans = Loans {
            desk: desk.into(),
            counter,
            current: Arc::default(),
        };
        Lender { loans }
    }

    /// Returns what lends.
    pub fn loans(&self) -> Loans {
        self.loans.clone()
    }
}

impl Drop for Lender {
    fn drop(&mut self) {
        let mut current = self.loans.current.lock().unwrap_or_else(PoisonError::into_inner);
        current.over = true;
        if let Some(connection) = current.connection.take() {
            // It may be over already.
            let _ = connection.shutdown(Shutdown::Both);
        }
    }
}

impl Loans {
    /// Offers a file of `size` bytes to the server. `None` = send its bytes: it is small, or the server does not take it.
    pub fn offer(&self, file: &File, size: u64) -> Option<FileOffer> {
        if size < WORTH_LENDING {
            return None;
        }
        let offered = FileOffer::offer(&self.desk, file);
        offered
            .inspect_err(|error| tracing::debug!(%error, "the server does not take files on loan"))
            .ok()
    }

    /// Blocks until the server has read the file, or nobody waits for the put any more.
    ///
    /// `size` is that of the file, in bytes: the server reports in round numbers, and its last one may be too high.
    pub fn wait(&self, loan: FileOffer, size: u64) {
        {
            let mut current = self.current.lock().unwrap_or_else(PoisonError::into_inner);
            current.connection = loan.connection().ok();
            if current.over || current.connection.is_none() {
                return;
            }
        }
        let mut left = size;
        loan.wait(|bytes| {
            let read = bytes.min(left);
            left -= read;
            self.counter.add(read);
        });
        self.current.lock().unwrap_or_else(PoisonError::into_inner).connection = None;
    }
}
