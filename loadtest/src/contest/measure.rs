//! Running a program and measuring its time and memory.

use std::fs::File;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, bail};

use crate::process;

/// Time between two readings of a program's memory.
const READ_EVERY: Duration = Duration::from_millis(5);

/// Time and memory of one run.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Measured {
    /// From start to exit.
    pub took: Duration,
    /// The highest resident memory that was read, in bytes.
    pub peak_bytes: u64,
}

/// Runs a program to its end. Its standard error goes to the file `log`; an error quotes it.
pub(crate) fn run(command: &mut Command, log: &Path) -> anyhow::Result<Measured> {
    let program = command.get_program().to_string_lossy().into_owned();
    let errors = File::create(log).with_context(|| format!("cannot write {}", log.display()))?;
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(errors);
    let start = Instant::now();
    let mut child = command.spawn().with_context(|| format!("cannot start {program}"))?;
    let pid = child.id();
    let over = AtomicBool::new(false);
    let (status, took, peak_bytes) = std::thread::scope(|scope| {
        let watcher = scope.spawn(|| {
            let mut most = 0;
            while !over.load(Ordering::Relaxed) {
                // A process that has just ended has no readable peak: keep the last one.
                most = process::peak(pid).unwrap_or(0).max(most);
                std::thread::park_timeout(READ_EVERY);
            }
            most
        });
        let status = child.wait();
        let took = start.elapsed();
        over.store(true, Ordering::Relaxed);
        watcher.thread().unpark();
        (status, took, watcher.join().unwrap_or(0))
    });
    let status = status.with_context(|| format!("cannot wait for {program}"))?;
    if !status.success() {
        let printed = std::fs::read_to_string(log).unwrap_or_default();
        bail!("{program} ended with {status}: {}", printed.trim());
    }
    Ok(Measured { took, peak_bytes })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_program_that_fails_is_quoted() {
        let folder = tempfile::tempdir().unwrap();
        let mut command = Command::new("sh");
        command.args(["-c", "echo no luck >&2; exit 3"]);
        let error = run(&mut command, &folder.path().join("log")).unwrap_err().to_string();
        assert!(error.contains("exit status: 3") && error.contains("no luck"), "{error}");
    }
}
