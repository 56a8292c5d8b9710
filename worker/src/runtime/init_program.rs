//! The embedded `stage-init` program, and the file that stage containers mount.
//!
//! `build.rs` compiles the program; [`install`] writes it into a folder of the worker. The only
//! errors are those of the file system.

use std::fs::{self, Permissions};
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

/// The static program, compiled by `build.rs`.
static PROGRAM: &[u8] = include_bytes!(env!("HOWDAH_STAGE_INIT"));

/// Writes the program into `dir` unless it exists there already, and returns its path.
///
/// The file name contains a hash of the content. So workers of different versions can share a
/// folder, and no file changes that a running container has mounted.
pub fn install(dir: &Path) -> io::Result<PathBuf> {
    let path = dir.join(format!("stage-init-{:016x}", fingerprint(PROGRAM)));
    if is_intact(&path) {
        return Ok(path);
    }
    fs::create_dir_all(dir)?;
    // Written under another name first: a crash in the middle, or another worker that starts now,
    // must not find half a program under the final name.
    let temporary = dir.join(format!(".stage-init-{}", uuid::Uuid::new_v4().simple()));
    let result = fs::write(&temporary, PROGRAM)
        .and_then(|()| fs::set_permissions(&temporary, Permissions::from_mode(0o755)))
        .and_then(|()| fs::rename(&temporary, &path));
    if result.is_err() {
        let _ = fs::remove_file(&temporary);
    }
    result.map(|()| path)
}

fn is_intact(path: &Path) -> bool {
    let executable = fs::metadata(path).is_ok_and(|m| m.permissions().mode() & 0o777 == 0o755);
    executable && fs::read(path).is_ok_and(|bytes| bytes == PROGRAM)
}

/// Returns the FNV-1a hash, which distinguishes builds. [`is_intact`] compares the bytes.
fn fingerprint(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01b3)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_program_is_written_once_and_repaired_when_damaged() {
        let dir = tempfile::tempdir().unwrap();
        let dir = dir.path().join("bin");
        let path = install(&dir).unwrap();
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o755);
        let written = fs::metadata(&path).unwrap().modified().unwrap();
        assert_eq!(install(&dir).unwrap(), path);
        assert_eq!(fs::metadata(&path).unwrap().modified().unwrap(), written);

        fs::write(&path, b"half").unwrap();
        assert_eq!(install(&dir).unwrap(), path);
        assert_eq!(fs::read(&path).unwrap(), PROGRAM);
        assert_eq!(fs::read_dir(&dir).unwrap().count(), 1);
    }

    #[test]
    fn the_program_runs_and_rejects_missing_arguments() {
        let dir = tempfile::tempdir().unwrap();
        let path = install(dir.path()).unwrap();
        let status = std::process::Command::new(path).status().unwrap();
        assert_eq!(status.code(), Some(64));
    }
}
