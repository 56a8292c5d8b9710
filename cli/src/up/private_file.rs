//! Files that only the user of `howdah up` can read.

use std::fs::{self, File};
use std::io::{ErrorKind, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use anyhow::Context;
use howdah_store::PRIVATE_FILE_MODE;

/// Replaces a file at once: a reader finds the old content or the new one, also after a crash.
///
/// # Errors
/// When the file cannot be written.
pub(super) fn write(file: &Path, text: &str) -> anyhow::Result<()> {
    let new = file.with_extension("new");
    let written = (|| {
        // An earlier file would keep its mode.
        match fs::remove_file(&new) {
            Err(error) if error.kind() != ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        let mut options = File::options();
        let mut opened = options
            .write(true)
            .create_new(true)
            .mode(PRIVATE_FILE_MODE)
            .open(&new)?;
        opened.write_all(text.as_bytes())?;
        opened.sync_all()?;
        fs::rename(&new, file)
    })();
    written.with_context(|| format!("cannot write {}", file.display()))
}
