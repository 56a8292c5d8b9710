//! Messages to the client of a check: findings, repairs, and how far the check is.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use howdah_api::pfs_v2 as pfs;

use crate::services::reply::{ReplySender, StreamError};

/// Pause between two messages about the progress.
const INTERVAL: Duration = Duration::from_secs(2);

/// Sends the messages of one check and counts what was checked.
pub(super) struct Report {
    sender: ReplySender<pfs::FsckResponse>,
    pub commits: AtomicU64,
    pub files: AtomicU64,
    pub objects: AtomicU64,
    pub bytes: AtomicU64,
}

/// Returns the message of a finding.
pub(super) fn error(text: String) -> pfs::FsckResponse {
    pfs::FsckResponse {
        error: text,
        ..Default::default()
    }
}

impl Report {
    /// Makes a report of which nothing is sent yet.
    pub(super) fn new(sender: ReplySender<pfs::FsckResponse>) -> Self {
        Self {
            sender,
            commits: AtomicU64::new(0),
            files: AtomicU64::new(0),
            objects: AtomicU64::new(0),
            bytes: AtomicU64::new(0),
        }
    }

    /// Sends a finding.
    ///
    /// # Errors
    /// When the client has disconnected.
    pub(super) async fn error(&self, text: String) -> Result<(), StreamError> {
        self.sender.send(error(text)).await
    }

    /// Sends what was repaired.
    ///
    /// # Errors
    /// When the client has disconnected.
    pub(super) async fn fixed(&self, text: String) -> Result<(), StreamError> {
        let message = pfs::FsckResponse {
            fix: text,
            ..Default::default()
        };
        self.sender.send(message).await
    }

    /// Sends how much was checked so far.
    ///
    /// # Errors
    /// When the client has disconnected.
    pub(super) async fn progress(&self) -> Result<(), StreamError> {
        let count = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        let text = format!(
            "checked {} commits, {} files with {} MiB, {} other objects",
            count(&self.commits),
            count(&self.files),
            count(&self.bytes) >> 20,
            count(&self.objects),
        );
        let message = pfs::FsckResponse {
            progress: text,
            ..Default::default()
        };
        self.sender.send(message).await
    }

    /// Sends the progress again and again; ends only when the client has disconnected.
    ///
    /// # Errors
    /// When the client has disconnected.
    pub(super) async fn tell_progress(&self) -> Result<(), StreamError> {
        loop {
            tokio::time::sleep(INTERVAL).await;
            self.progress().await?;
        }
    }

    /// Completes when the client has disconnected.
    pub(super) async fn client_gone(&self) {
        self.sender.client_gone().await;
    }
}
