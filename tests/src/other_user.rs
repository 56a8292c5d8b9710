//! The command line, called by another user of the machine. The test must run as root.

use std::os::unix::fs::{PermissionsExt, chown};
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Command, Stdio};

use tempfile::TempDir;

use crate::client::CommandOutput;
use crate::tools::program;

/// The user. It needs no entry in the list of users.
pub const OTHER_USER: u32 = 12_345;

/// Another user with a home folder of its own.
pub struct OtherUser {
    home: TempDir,
    program: PathBuf,
}

impl OtherUser {
    /// Makes the home folder, with the program in it: the folder of the build may be closed to other users.
    ///
    /// # Panics
    /// When the test does not run as root.
    #[must_use]
    pub fn new() -> Self {
        assert!(
            nix::unistd::geteuid().is_root(),
            "this test needs root, to act as another user"
        );
        let home = tempfile::tempdir().expect("a temporary folder can be made");
        let own = home.path().join("howdah");
        if std::fs::hard_link(program("howdah"), &own).is_err() {
            std::fs::copy(program("howdah"), &own).expect("the program can be copied");
        }
        chown(home.path(), Some(OTHER_USER), Some(OTHER_USER)).expect("root may do this");
        std::fs::set_permissions(home.path(), std::fs::Permissions::from_mode(0o755)).expect("root may do this");
        Self { home, program: own }
    }

    /// Writes a file that the user may read, and returns its path.
    ///
    /// # Panics
    /// When it cannot be written.
    #[must_use]
    pub fn file(&self, name: &str, text: &str) -> PathBuf {
        let path = self.home.path().join(name);
        std::fs::write(&path, text).expect("the folder is writable");
        chown(&path, Some(OTHER_USER), Some(OTHER_USER)).expect("root may do this");
        path
    }

    /// Runs a command for the server at `port`, given as one line with words separated by blanks.
    ///
    /// # Panics
    /// When the program cannot be started.
    #[must_use]
    pub fn run(&self, port: u16, line: &str) -> CommandOutput {
        let mut command = Command::new(&self.program);
        command
            .args(line.split_whitespace())
            .env_clear()
            .env("HOME", self.home.path())
            .env("PACHD_ADDRESS", format!("grpc://127.0.0.1:{port}"))
            .current_dir(self.home.path())
            .uid(OTHER_USER)
            .gid(OTHER_USER)
            .stdin(Stdio::null());
        let done = command.output().expect("the program can be started");
        CommandOutput {
            command: format!("{command:?}"),
            stdout: String::from_utf8_lossy(&done.stdout).into_owned(),
            stderr: String::from_utf8_lossy(&done.stderr).into_owned(),
            code: done.status.code().unwrap_or(-1),
        }
    }
}

impl Default for OtherUser {
    fn default() -> Self {
        Self::new()
    }
}
