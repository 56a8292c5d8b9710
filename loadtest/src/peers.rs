//! Other ways to run a program once per file.
//!
//! Every contestant runs the same static program with the same arguments, as many at once as Howdah has slots.

use std::ffi::OsStr;
use std::fs::File;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, bail, ensure};

use crate::image;

/// The work: a program, its input files, a folder for its outputs.
pub(crate) struct PeerWork<'a> {
    /// The program; it takes the output folder and an input file.
    pub program: &'a Path,
    /// The input files.
    pub inputs: &'a [PathBuf],
    /// Folder below which every contestant gets an output folder of its own.
    pub folder: &'a Path,
    /// How many to run at once.
    pub at_once: usize,
}

/// The result of a contestant.
pub(crate) enum PeerOutcome {
    /// It has done the work in this time.
    Took(Duration),
    /// It is not installed; the text says how to install it.
    Missing(String),
}

impl PeerWork<'_> {
    fn output_folder(&self, name: &str) -> anyhow::Result<PathBuf> {
        let folder = self.folder.join(name);
        std::fs::create_dir_all(&folder).with_context(|| format!("cannot make the folder {}", folder.display()))?;
        Ok(folder)
    }

    /// Fork and exec only, with one thread for each slot: the floor.
    pub(crate) fn bare_loop(&self) -> anyhow::Result<Duration> {
        let out = self.output_folder("loop")?;
        let run = |input: &PathBuf| {
            let status = Command::new(self.program)
                .arg(&out)
                .arg(input)
                .stdin(Stdio::null())
                .status();
            match status.with_context(|| format!("cannot start {}", self.program.display()))? {
                status if status.success() => Ok(()),
                status => bail!("{} ended with {status}", self.program.display()),
            }
        };
        let took = in_threads(self.at_once, self.inputs, run)?;
        self.check(&out)?;
        Ok(took)
    }

    /// `xargs -P`.
    pub(crate) fn xargs(&self) -> anyhow::Result<PeerOutcome> {
        let at_once = self.at_once.to_string();
        self.line_driven(
            "xargs",
            "xargs",
            &["-P", &at_once, "-n", "1"],
            "apt-get install findutils",
        )
    }

    /// GNU `parallel -j`.
    pub(crate) fn parallel(&self) -> anyhow::Result<PeerOutcome> {
        let remedy = "apt-get install parallel";
        match Command::new("parallel").arg("--version").stdin(Stdio::null()).output() {
            // moreutils has another program of this name.
            Ok(output) if output.stdout.starts_with(b"GNU parallel") => {}
            _ => {
                return Ok(PeerOutcome::Missing(format!(
                    "GNU parallel is not installed ({remedy})"
                )));
            }
        }
        let at_once = self.at_once.to_string();
        self.line_driven("parallel", "parallel", &["--will-cite", "-j", &at_once], remedy)
    }

    /// Runs a program that reads file names, one a line, and appends each to a command.
    fn line_driven(&self, folder: &str, driver: &str, flags: &[&str], remedy: &str) -> anyhow::Result<PeerOutcome> {
        let out = self.output_folder(folder)?;
        let list = self.folder.join(format!("{folder}.list"));
        let mut file = File::create(&list).with_context(|| format!("cannot write {}", list.display()))?;
        for input in self.inputs {
            writeln!(file, "{}", input.display()).with_context(|| format!("cannot write {}", list.display()))?;
        }
        drop(file);
        let list = File::open(&list).with_context(|| format!("cannot read {}", list.display()))?;
        let start = Instant::now();
        let status = Command::new(driver)
            .args(flags)
            .arg(self.program)
            .arg(&out)
            .stdin(list)
            .status();
        let took = start.elapsed();
        match status {
            Ok(status) => ensure!(status.success(), "{driver} ended with {status}"),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                return Ok(PeerOutcome::Missing(format!("not installed ({remedy})")));
            }
            Err(error) => return Err(error).with_context(|| format!("cannot start {driver}")),
        }
        self.check(&out)?;
        Ok(PeerOutcome::Took(took))
    }

    /// A fresh container for each of the first `sample` files.
    pub(crate) fn docker_run(&self, sample: usize) -> anyhow::Result<Duration> {
        let out = self.output_folder("docker")?;
        let inputs = &self.inputs[..sample.min(self.inputs.len())];
        let folder_of_inputs = inputs
            .first()
            .and_then(|input| input.parent())
            .context("docker run needs a sample")?;
        let mount = |from: &Path, to: &str| format!("{}:{to}", from.display());
        let run = |input: &PathBuf| {
            let name = input
                .file_name()
                .and_then(OsStr::to_str)
                .context("input files have plain names")?;
            let output = Command::new("docker")
                .args([
                    "run",
                    "--rm",
                    "--network",
                    "none",
                    "-v",
                    &mount(folder_of_inputs, "/in:ro"),
                ])
                .args([
                    "-v",
                    &mount(&out, "/out"),
                    image::IMAGE,
                    image::COMMAND,
                    "/out",
                    &format!("/in/{name}"),
                ])
                .stdin(Stdio::null())
                .output()
                .context("cannot start docker")?;
            ensure!(
                output.status.success(),
                "docker run: {}",
                String::from_utf8_lossy(&output.stderr).trim()
            );
            Ok(())
        };
        in_threads(self.at_once, inputs, run)
    }

    /// Checks that a contestant has done all the work.
    fn check(&self, out: &Path) -> anyhow::Result<()> {
        let written = std::fs::read_dir(out)
            .with_context(|| format!("cannot list {}", out.display()))?
            .count();
        ensure!(
            written == self.inputs.len(),
            "{} holds {written} files instead of {}",
            out.display(),
            self.inputs.len()
        );
        Ok(())
    }
}

/// Calls `run` for every item in several threads and returns the time for all of them.
fn in_threads<T: Sync>(
    threads: usize,
    items: &[T],
    run: impl Fn(&T) -> anyhow::Result<()> + Sync,
) -> anyhow::Result<Duration> {
    let next = AtomicUsize::new(0);
    let work = || {
        while let Some(item) = items.get(next.fetch_add(1, Ordering::Relaxed)) {
            run(item)?;
        }
        anyhow::Ok(())
    };
    let start = Instant::now();
    std::thread::scope(|scope| {
        let threads: Vec<_> = (0..threads.max(1)).map(|_| scope.spawn(work)).collect();
        threads.into_iter().try_for_each(|thread| match thread.join() {
            Ok(result) => result,
            Err(panic) => std::panic::resume_unwind(panic),
        })
    })?;
    Ok(start.elapsed())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_contestant_does_the_same_work() {
        let folder = tempfile::tempdir().unwrap();
        let program = image::write_program(folder.path()).unwrap();
        let input = folder.path().join("in");
        std::fs::create_dir(&input).unwrap();
        let inputs: Vec<PathBuf> = (0..20).map(|number| input.join(format!("{number}"))).collect();
        for path in &inputs {
            std::fs::write(path, path.display().to_string()).unwrap();
        }
        let work = PeerWork {
            program: &program,
            inputs: &inputs,
            folder: folder.path(),
            at_once: 2,
        };
        work.bare_loop().unwrap();
        let PeerOutcome::Took(_) = work.xargs().unwrap() else {
            panic!("xargs is on every machine")
        };
        for input in &inputs {
            let read = |folder_name: &str| {
                std::fs::read(folder.path().join(folder_name).join(input.file_name().unwrap())).unwrap()
            };
            assert!(!read("loop").is_empty());
            assert_eq!(read("loop"), read("xargs"));
        }
    }

    #[test]
    fn a_failing_program_ends_the_contest() {
        let folder = tempfile::tempdir().unwrap();
        let program = image::write_program(folder.path()).unwrap();
        let inputs = [folder.path().join("missing")];
        let work = PeerWork {
            program: &program,
            inputs: &inputs,
            folder: folder.path(),
            at_once: 2,
        };
        assert!(
            work.bare_loop()
                .unwrap_err()
                .to_string()
                .contains("ended with exit status: 1")
        );
    }
}
