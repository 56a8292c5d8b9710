//! Folders that only their owner may enter.
//!
//! Files of pipelines may have the set-uid bit, and everything that users store lies in them. So a folder of Howdah is
//! closed to other users of the machine when it is made, and tightened when it is opened.

use std::fs::{self, DirBuilder, Permissions};
use std::io;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, PermissionsExt};
use std::path::Path;

/// Mode of a folder.
const FOLDER_MODE: u32 = 0o700;
/// Mode of a file.
pub const PRIVATE_FILE_MODE: u32 = 0o600;

/// Makes a folder, with those above it, that only its owner may enter.
///
/// A folder that exists is tightened if it is empty, or if it contains one of `marks`, names that show that it is
/// Howdah's. Any other folder keeps its mode, because other programs may need it (`/tmp`). Both cases are logged.
///
/// # Errors
/// When the folder cannot be made or read.
pub fn make_private_folder(folder: &Path, marks: &[&str]) -> io::Result<()> {
    if let Some(parent) = folder.parent() {
        fs::create_dir_all(parent)?;
    }
    match DirBuilder::new().mode(FOLDER_MODE).create(folder) {
        Ok(()) => return Ok(()),
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists && folder.is_dir() => {}
        Err(error) => return Err(error),
    }
    let mode = fs::metadata(folder)?.mode() & 0o7777;
    if mode & 0o077 == 0 {
        return Ok(());
    }
    let shown = folder.display();
    let is_ours = marks.iter().any(|mark| folder.join(mark).exists()) || fs::read_dir(folder)?.next().is_none();
    if !is_ours {
        tracing::warn!(
            "other users may enter {shown} (mode {mode:o}); it has other files too, so its mode stays: use a folder of its own"
        );
        return Ok(());
    }
    match fs::set_permissions(folder, Permissions::from_mode(FOLDER_MODE)) {
        Ok(()) => tracing::warn!("other users could enter {shown} (mode {mode:o}): it has mode {FOLDER_MODE:o} now"),
        Err(error) => {
            tracing::warn!(%error, "other users may enter {shown} (mode {mode:o}), and its mode cannot be changed")
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mode(path: &Path) -> u32 {
        fs::metadata(path).unwrap().mode() & 0o7777
    }

    fn open_to_all(path: &Path) {
        fs::set_permissions(path, Permissions::from_mode(0o755)).unwrap();
    }

    #[test]
    fn folders_of_our_own_are_closed_and_others_stay() {
        let folder = tempfile::tempdir().unwrap();
        let made = folder.path().join("a/b");
        make_private_folder(&made, &["mark"]).unwrap();
        assert_eq!(mode(&made), 0o700);

        open_to_all(&made);
        make_private_folder(&made, &["mark"]).unwrap();
        assert_eq!(mode(&made), 0o700, "it is empty");

        fs::write(made.join("mark"), "").unwrap();
        open_to_all(&made);
        make_private_folder(&made, &["mark"]).unwrap();
        assert_eq!(mode(&made), 0o700, "it has the mark");

        fs::remove_file(made.join("mark")).unwrap();
        fs::write(made.join("other"), "").unwrap();
        open_to_all(&made);
        make_private_folder(&made, &["mark"]).unwrap();
        assert_eq!(mode(&made), 0o755, "it may be somebody's");

        let file = folder.path().join("file");
        fs::write(&file, "").unwrap();
        make_private_folder(&file, &[]).unwrap_err();
    }
}
