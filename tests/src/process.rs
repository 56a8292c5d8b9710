//! Child processes whose output goes to a file and which end with the test.

#![expect(clippy::print_stderr, reason = "a failing test prints the logs of its processes")]

use std::fs::File;
use std::net::{Ipv4Addr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::tools::wait_for;

/// A running program whose output goes to a file.
pub struct Process {
    name: String,
    child: Child,
    log: PathBuf,
}

impl Process {
    /// Starts a program; standard output and error are appended to `<folder>/<name>.log`.
    ///
    /// # Panics
    /// When it cannot be started.
    #[must_use]
    pub fn start(name: &str, folder: &Path, command: &mut Command) -> Self {
        let log = folder.join(format!("{name}.log"));
        let file = File::options()
            .create(true)
            .append(true)
            .open(&log)
            .expect("the test's folder is writable");
        let child = command
            .stdin(Stdio::null())
            .stdout(file.try_clone().expect("a file can be duplicated"))
            .stderr(file)
            .spawn()
            .unwrap_or_else(|error| panic!("{name} could not be started: {error}"));
        Self {
            name: name.to_owned(),
            child,
            log,
        }
    }

    /// Returns its process id.
    #[must_use]
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// Sends a signal.
    pub fn signal(&self, signal: Signal) {
        let pid = i32::try_from(self.child.id()).expect("process ids fit");
        // An error means that the process has ended already.
        let _ = kill(Pid::from_raw(pid), signal);
    }

    /// Sends a signal to the only thread of a name.
    ///
    /// # Panics
    /// When there is no such thread, or there are several.
    pub fn signal_thread(&self, name: &str, signal: Signal) {
        let process = self.child.id();
        let tasks = std::fs::read_dir(format!("/proc/{process}/task")).expect("the process runs");
        let named: Vec<i32> = tasks
            .flatten()
            .filter(|task| {
                let comm = std::fs::read_to_string(task.path().join("comm"));
                comm.is_ok_and(|comm| comm.trim_end() == name)
            })
            .filter_map(|task| task.file_name().to_str()?.parse().ok())
            .collect();
        let [thread] = named[..] else {
            panic!("{} threads of {} are called {name}", named.len(), self.name);
        };
        // SAFETY: the call touches no memory of this process.
        let sent = unsafe { nix::libc::syscall(nix::libc::SYS_tgkill, process, thread, signal as i32) };
        assert_eq!(sent, 0, "{}", std::io::Error::last_os_error());
    }

    /// Kills it with SIGKILL and waits until it has ended.
    pub fn kill_hard(&mut self) {
        self.signal(Signal::SIGKILL);
        let _ = self.child.wait();
    }

    /// Asks it to stop and returns its exit status.
    ///
    /// # Panics
    /// When it does not stop.
    pub fn stop(&mut self) -> ExitStatus {
        self.signal(Signal::SIGTERM);
        self.wait()
    }

    /// Waits until it ends.
    ///
    /// # Panics
    /// When it does not end.
    pub fn wait(&mut self) -> ExitStatus {
        let name = self.name.clone();
        wait_for(&format!("{name} to end"), || match self.child.try_wait() {
            Ok(Some(status)) => Ok(status),
            Ok(None) => Err(format!("still running; its log: {}", self.log())),
            Err(error) => Err(error.to_string()),
        })
    }

    /// Returns everything it has printed.
    #[must_use]
    pub fn log(&self) -> String {
        std::fs::read_to_string(&self.log).unwrap_or_default()
    }

    /// Waits until a port of 127.0.0.1 accepts connections.
    ///
    /// # Panics
    /// When the process ends first, with its log.
    pub fn wait_for_port(&mut self, port: u16) {
        let name = self.name.clone();
        wait_for(&format!("{name} on port {port}"), || {
            if let Ok(Some(status)) = self.child.try_wait() {
                panic!("{name} ended ({status}): {}", self.log());
            }
            TcpStream::connect((Ipv4Addr::LOCALHOST, port))
                .map(drop)
                .map_err(|error| error.to_string())
        });
    }

    /// Waits until the log contains a text.
    ///
    /// # Panics
    /// When the process ends first, with its log.
    pub fn wait_for_log(&mut self, text: &str) {
        let name = self.name.clone();
        wait_for(&format!("{name} to print {text:?}"), || {
            let log = self.log();
            if log.contains(text) {
                return Ok(());
            }
            if let Ok(Some(status)) = self.child.try_wait() {
                panic!("{name} ended ({status}): {log}");
            }
            Err(log)
        });
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("--- log of {} ---\n{}", self.name, self.log());
        }
        if matches!(self.child.try_wait(), Ok(None)) {
            self.signal(Signal::SIGTERM);
            for _ in 0..200 {
                if !matches!(self.child.try_wait(), Ok(None)) {
                    return;
                }
                std::thread::sleep(std::time::Duration::from_millis(25));
            }
            self.kill_hard();
        }
    }
}
