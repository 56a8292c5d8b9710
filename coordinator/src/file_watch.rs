//! Notices when files change, by looking at them from time to time.
//!
//! A file may be replaced, also through a symbolic link (as Kubernetes does with mounted secrets), or be on a file system
//! without notifications: so nothing but their state counts.

use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Pause between two looks.
const INTERVAL: Duration = Duration::from_secs(2);

/// Device, number, size, and times of modification and change of a file; `None` if it cannot be looked at.
type FileState = Option<(u64, u64, u64, (i64, i64), (i64, i64))>;

/// Files that are watched.
#[derive(Debug)]
pub(crate) struct FileWatch {
    files: Vec<PathBuf>,
    seen: Vec<FileState>,
}

impl FileWatch {
    /// Watches files from now on. Read them after this: a change between the two is then noticed.
    pub(crate) fn new(files: impl IntoIterator<Item = PathBuf>) -> Self {
        let files: Vec<PathBuf> = files.into_iter().collect();
        let seen = states(&files);
        Self { files, seen }
    }

    /// Waits until one of the files has changed.
    pub(crate) async fn changed(&mut self) {
        loop {
            tokio::time::sleep(INTERVAL).await;
            let now = states(&self.files);
            if now != self.seen {
                self.seen = now;
                return;
            }
        }
    }
}

fn states(files: &[PathBuf]) -> Vec<FileState> {
    files.iter().map(|file| state(file)).collect()
}

fn state(file: &Path) -> FileState {
    let metadata = std::fs::metadata(file).ok()?;
    Some((
        metadata.dev(),
        metadata.ino(),
        metadata.size(),
        (metadata.mtime(), metadata.mtime_nsec()),
        (metadata.ctime(), metadata.ctime_nsec()),
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn changes_replacements_and_removals_are_noticed() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("file");
        std::fs::write(&file, "one").unwrap();
        let mut watch = FileWatch::new([file.clone()]);
        std::fs::write(&file, "longer").unwrap();
        watch.changed().await;
        let other = folder.path().join("other");
        std::fs::write(&other, "LONGER").unwrap();
        std::fs::rename(&other, &file).unwrap();
        watch.changed().await;
        std::fs::remove_file(&file).unwrap();
        watch.changed().await;
        let quiet = tokio::time::timeout(Duration::from_secs(60), watch.changed());
        assert!(quiet.await.is_err(), "nothing has changed");
    }
}
