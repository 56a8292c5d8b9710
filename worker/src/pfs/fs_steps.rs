//! Single file-system operations of workspaces. All of them block.

use std::fs;
use std::io::{self, Write};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::Path;

use crate::error::InfraError;

/// Makes a folder, unless it exists.
pub(super) fn make_folder(folder: &Path) -> Result<(), InfraError> {
    match fs::create_dir(folder) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => {
            Err(InfraError::io("make the folder", folder)(error))
        }
        _ => Ok(()),
    }
}

/// Makes a folder that every user may write to, because commands may run as any user.
pub(super) fn make_open_folder(folder: &Path) -> Result<(), InfraError> {
    make_folder(folder)?;
    open_for_all(folder)
}

/// Lets every user write to a folder.
pub(super) fn open_for_all(folder: &Path) -> Result<(), InfraError> {
    fs::set_permissions(folder, fs::Permissions::from_mode(0o777)).map_err(InfraError::io("set the mode of", folder))
}

/// Lets every user write to a folder and to all folders below it.
pub(super) fn open_tree_for_all(folder: &Path) -> Result<(), InfraError> {
    open_for_all(folder)?;
    let entries = fs::read_dir(folder).map_err(InfraError::io("read the folder", folder))?;
    for entry in entries.flatten() {
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            open_tree_for_all(&entry.path())?;
        }
    }
    Ok(())
}

/// Writes a new file, making its folder if necessary. A file that exists already stays as it is.
pub(super) fn write_with_parents(target: &Path, bytes: &[u8], mode: u32) -> io::Result<()> {
    let open = || {
        fs::OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(mode)
            .open(target)
    };
    let mut file = match open() {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            if let Some(folder) = target.parent() {
                fs::create_dir_all(folder)?;
            }
            open()?
        }
        // Two matches of one datum overlap: it is the same file of the same commit.
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => return Ok(()),
        other => other?,
    };
    file.write_all(bytes)?;
    if mode == 0o666 {
        // The umask of the process has removed write permission for others.
        file.set_permissions(fs::Permissions::from_mode(mode))?;
    }
    Ok(())
}

/// Removes an input file and the folders that become empty, up to the input's own folder, which stays.
pub(super) fn remove_with_parents(file: &Path, inputs: &Path) -> io::Result<()> {
    match fs::remove_file(file) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let mut folder = file.parent();
    while let Some(parent) = folder {
        // `inputs/<input>` itself stays.
        if parent == inputs || parent.parent() == Some(inputs) {
            return Ok(());
        }
        match fs::remove_dir(parent) {
            Ok(()) => folder = parent.parent(),
            // Not empty: another file is still to be removed. Not found: it was removed with a file before.
            Err(error) if matches!(error.kind(), io::ErrorKind::DirectoryNotEmpty | io::ErrorKind::NotFound) => {
                folder = (error.kind() == io::ErrorKind::NotFound)
                    .then(|| parent.parent())
                    .flatten();
            }
            Err(error) => return Err(error),
        }
    }
    Ok(())
}
