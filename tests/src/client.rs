//! The command line, called as a user calls it.

use std::ffi::OsStr;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::tools::program;

/// A user's shell: the server, the configuration file, the working directory and the name of the program.
pub struct TestClient {
    address: String,
    config: PathBuf,
    folder: PathBuf,
    program: PathBuf,
}

/// The output and the exit code of a command.
#[derive(Debug, Clone)]
pub struct CommandOutput {
    /// The command, for messages.
    pub command: String,
    /// Standard output.
    pub stdout: String,
    /// Standard error.
    pub stderr: String,
    /// Exit code; -1 after a signal.
    pub code: i32,
}

impl TestClient {
    /// Makes a client for the server at `port`, with its configuration file in `folder`.
    #[must_use]
    pub fn new(port: u16, folder: &Path) -> Self {
        Self {
            address: format!("grpc://127.0.0.1:{port}"),
            config: folder.join("client-config.json"),
            folder: folder.to_owned(),
            program: program("howdah"),
        }
    }

    /// Returns a client that works in another folder.
    #[must_use]
    pub fn in_folder(&self, folder: &Path) -> Self {
        Self {
            address: self.address.clone(),
            config: self.config.clone(),
            folder: folder.to_owned(),
            program: self.program.clone(),
        }
    }

    /// Returns a client that calls the program `pachctl`, through a link in `folder`.
    ///
    /// # Panics
    /// When the link cannot be made.
    #[must_use]
    pub fn called_pachctl(&self, folder: &Path) -> Self {
        let link = folder.join("pachctl");
        if !link.exists() {
            std::os::unix::fs::symlink(&self.program, &link).expect("a link can be made");
        }
        Self {
            address: self.address.clone(),
            config: self.config.clone(),
            folder: self.folder.clone(),
            program: link,
        }
    }

    /// Runs a command, given as one line with words separated by blanks.
    pub fn run(&self, line: &str) -> CommandOutput {
        self.run_with(line.split_whitespace(), b"")
    }

    /// Runs a command with standard input.
    ///
    /// # Panics
    /// When the program cannot be started.
    pub fn run_with(&self, arguments: impl IntoIterator<Item = impl AsRef<OsStr>>, input: &[u8]) -> CommandOutput {
        let mut command = Command::new(&self.program);
        command
            .args(arguments)
            .env_clear()
            .env("PATH", std::env::var_os("PATH").unwrap_or_default())
            .env("HOME", &self.folder)
            .env("PACH_CONFIG", &self.config)
            .env("PACHD_ADDRESS", &self.address)
            .current_dir(&self.folder)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        let mut child = command.spawn().expect("the program can be started");
        // An error means that the command ended without reading its input, which is not an error of the test.
        let _ = child.stdin.take().expect("standard input is a pipe").write_all(input);
        let done = child.wait_with_output().expect("the program can be waited for");
        CommandOutput {
            command: format!("{command:?}"),
            stdout: String::from_utf8_lossy(&done.stdout).into_owned(),
            stderr: String::from_utf8_lossy(&done.stderr).into_owned(),
            code: done.status.code().unwrap_or(-1),
        }
    }

    /// Runs a command that must succeed and returns its standard output.
    ///
    /// # Panics
    /// When it fails.
    pub fn ok(&self, line: &str) -> String {
        self.run(line).expect_ok().stdout
    }

    /// Runs a command that must fail and returns its standard error.
    ///
    /// # Panics
    /// When it succeeds.
    pub fn fails(&self, line: &str) -> String {
        let output = self.run(line);
        assert_ne!(output.code, 0, "should have failed: {output:?}");
        output.stderr
    }

    /// Runs a command with `--raw` that must succeed and returns its JSON objects.
    ///
    /// # Panics
    /// When it fails or prints something else.
    pub fn raw(&self, line: &str) -> Vec<serde_json::Value> {
        let text = self.ok(&format!("{line} --raw"));
        serde_json::Deserializer::from_str(&text)
            .into_iter()
            .collect::<Result<_, _>>()
            .unwrap_or_else(|error| panic!("{line} --raw printed no JSON ({error}): {text}"))
    }
}

impl CommandOutput {
    /// Returns itself if the command succeeded.
    ///
    /// # Panics
    /// When it failed.
    #[must_use]
    pub fn expect_ok(self) -> Self {
        assert_eq!(self.code, 0, "should have succeeded: {self:#?}");
        self
    }
}
