//! A Howdah for one benchmark: `howdah up` over a temporary folder.

use std::fs::File;
use std::net::{Ipv4Addr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, bail, ensure};
use howdah_api::{convert, pfs_v2, pps_v2};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tempfile::TempDir;

use crate::api::Api;
use crate::options::CommonOptions;

/// Longest time for a start or a stop.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

/// A running `howdah up`. Dropping it stops it.
pub(crate) struct BenchServer {
    child: Child,
    api: Api,
    log: PathBuf,
    program: PathBuf,
    folder: PathBuf,
    workers: Vec<Child>,
}

/// The times of one job.
#[derive(Clone, Copy)]
pub(crate) struct JobTimes {
    /// From the job's start to the finished output commit.
    pub job: Duration,
    /// From the finished input commit to the finished output commit.
    pub commit: Duration,
}

impl JobTimes {
    /// Computes the times of a job from the messages of the server.
    pub(crate) fn of(
        commit: &pfs_v2::CommitInfo,
        job: &pps_v2::JobInfo,
        output: &pfs_v2::CommitInfo,
    ) -> anyhow::Result<Self> {
        let time = |what: &str, time: &Option<prost_types::Timestamp>| {
            time.as_ref()
                .and_then(convert::from_timestamp)
                .with_context(|| format!("the server gave no time for: {what}"))
        };
        let end = time("output commit finished", &output.finished)?;
        let since =
            |start| Duration::try_from(end.duration_since(start)).context("an output commit finished before its job");
        Ok(Self {
            job: since(time("job started", &job.started)?)?,
            commit: since(time("input commit finished", &commit.finished)?)?,
        })
    }
}

/// Returns an empty folder that is removed when dropped.
pub(crate) fn scratch_folder(common: &CommonOptions) -> anyhow::Result<TempDir> {
    let mut builder = tempfile::Builder::new();
    builder.prefix("howdah-loadtest.");
    match &common.scratch {
        Some(folder) => builder
            .tempdir_in(folder)
            .with_context(|| format!("cannot make a folder in {}", folder.display())),
        None => builder.tempdir().context("cannot make a temporary folder"),
    }
}

impl BenchServer {
    /// Starts it over `<folder>/howdah` with a worker and waits until it answers.
    pub(crate) async fn start(common: &CommonOptions, folder: &Path, slots: u32) -> anyhow::Result<Self> {
        Self::start_with(common, folder, &["--slots", &slots.to_string()]).await
    }

    /// Starts it over `<folder>/howdah` with further arguments and waits until it answers.
    pub(crate) async fn start_with(common: &CommonOptions, folder: &Path, arguments: &[&str]) -> anyhow::Result<Self> {
        let program = find_howdah(common)?;
        let port = free_port()?;
        let log = folder.join("up.log");
        let output = File::create(&log).with_context(|| format!("cannot write {}", log.display()))?;
        let mut command = Command::new(&program);
        command
            .args(["up", "--port", &port.to_string(), "--log", "warn", "--data"])
            .arg(folder.join("howdah"))
            .args(arguments)
            .stdin(Stdio::null())
            .stdout(output.try_clone().context("cannot duplicate a file handle")?)
            .stderr(output);
        without_settings(&mut command);
        let mut child = command
            .spawn()
            .with_context(|| format!("cannot start {}", program.display()))?;
        match connect(&mut child, port).await {
            Ok(api) => Ok(Self {
                child,
                api,
                log,
                program,
                folder: folder.to_owned(),
                workers: Vec::new(),
            }),
            Err(error) => {
                stop(&mut child);
                let log = std::fs::read_to_string(&log).unwrap_or_default();
                Err(error.context(format!("`howdah up` did not come up; it printed:\n{log}")))
            }
        }
    }

    /// Returns the id of its process.
    pub(crate) fn process(&self) -> u32 {
        self.child.id()
    }

    /// Returns the URL of its NATS server, for further workers.
    ///
    /// Reads the summary, which is printed shortly after the server accepts clients.
    pub(crate) async fn nats_url(&self) -> anyhow::Result<String> {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let log =
                std::fs::read_to_string(&self.log).with_context(|| format!("cannot read {}", self.log.display()))?;
            if let Some(url) = log.split_whitespace().find(|word| word.starts_with("nats://")) {
                return Ok(url.to_owned());
            }
            ensure!(
                Instant::now() < deadline,
                "`howdah up` did not print the address of its NATS server"
            );
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    /// Kills it as a crash would.
    pub(crate) fn kill(mut self) -> anyhow::Result<()> {
        self.child.kill().context("cannot kill `howdah up`")?;
        self.child.wait().context("cannot wait for `howdah up`")?;
        Ok(())
    }

    /// Stops it and waits until it has ended.
    pub(crate) fn stop(self) {
        drop(self);
    }

    /// Starts one more worker, with the arguments that `howdah up` prints for it.
    pub(crate) async fn add_worker(&mut self, slots: u32) -> anyhow::Result<()> {
        let number = self.workers.len() + 1;
        let advice = self.advice().await?;
        let log = self.folder.join(format!("worker-{number}.log"));
        let output = File::create(&log).with_context(|| format!("cannot write {}", log.display()))?;
        let mut command = Command::new(self.program.with_file_name("howdah-worker"));
        command
            .args(advice.split(' '))
            .args(["--slots", &slots.to_string(), "--scratch"])
            .arg(self.folder.join(format!("scratch-{number}")))
            .stdin(Stdio::null())
            .stdout(output.try_clone().context("cannot duplicate a file handle")?)
            .stderr(output);
        without_settings(&mut command);
        self.workers
            .push(command.spawn().context("cannot start howdah-worker")?);
        Ok(())
    }

    /// Returns the arguments for one more worker.
    ///
    /// Reads the summary, which is printed shortly after the server accepts clients.
    async fn advice(&self) -> anyhow::Result<String> {
        let log = &self.log;
        let deadline = Instant::now() + PATIENCE;
        loop {
            let printed = std::fs::read_to_string(log).with_context(|| format!("cannot read {}", log.display()))?;
            let arguments = printed
                .lines()
                .find_map(|line| line.split_once("howdah-worker ")?.1.strip_suffix(" --scratch FOLDER"));
            if let Some(arguments) = arguments {
                return Ok(arguments.to_owned());
            }
            ensure!(
                Instant::now() < deadline,
                "`howdah up` did not print how to start one more worker; it printed:\n{printed}"
            );
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
}

impl std::ops::Deref for BenchServer {
    type Target = Api;

    fn deref(&self) -> &Api {
        &self.api
    }
}

impl Drop for BenchServer {
    /// Stops the workers first and in parallel: each removes its containers.
    fn drop(&mut self) {
        for worker in &mut self.workers {
            terminate(worker);
        }
        self.workers.iter_mut().for_each(stop);
        stop(&mut self.child);
    }
}

/// Returns the time between two times of the server; zero if the second is the earlier one.
pub(crate) fn between(
    from: &Option<prost_types::Timestamp>,
    to: &Option<prost_types::Timestamp>,
) -> anyhow::Result<Duration> {
    let moment = |moment: &Option<prost_types::Timestamp>| {
        let found = moment.as_ref().and_then(convert::from_timestamp);
        found.context("a time is missing in a message of the server")
    };
    let (from, to) = (moment(from)?, moment(to)?);
    Ok(Duration::try_from(to.duration_since(from)).unwrap_or_default())
}

/// Returns the median of some times; none without times.
pub(crate) fn median(mut times: Vec<Duration>) -> Option<Duration> {
    times.sort_unstable();
    times.get(times.len() / 2).copied()
}

/// Removes Howdah's settings from the environment of a command, so that those of the user have no effect.
pub(crate) fn without_settings(command: &mut Command) {
    for (name, _) in std::env::vars_os() {
        if name.to_string_lossy().starts_with("HOWDAH_") {
            command.env_remove(name);
        }
    }
}

/// Returns the `howdah` program to measure.
pub(crate) fn find_howdah(common: &CommonOptions) -> anyhow::Result<PathBuf> {
    if let Some(path) = &common.howdah {
        return Ok(path.clone());
    }
    let own = std::env::current_exe().context("cannot find the path of this program")?;
    let path = own.with_file_name("howdah");
    ensure!(
        path.is_file(),
        "there is no {}: build it first (`cargo build --bins`), or name the program with --howdah",
        path.display()
    );
    Ok(path)
}

/// Returns a port of 127.0.0.1 that is free now.
pub(crate) fn free_port() -> anyhow::Result<u16> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).context("no free port on 127.0.0.1")?;
    Ok(listener.local_addr()?.port())
}

/// Waits until a new coordinator answers. Fails if its process ends or the time is over.
pub(crate) async fn connect(child: &mut Child, port: u16) -> anyhow::Result<Api> {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let error = match Api::connect(port).await {
            Ok(api) => return Ok(api),
            Err(error) => error,
        };
        if let Some(status) = child.try_wait()? {
            bail!("it ended with {status}");
        }
        if Instant::now() > deadline {
            return Err(error);
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// Sends SIGTERM to a process that runs.
fn terminate(child: &mut Child) {
    let Ok(pid) = i32::try_from(child.id()) else { return };
    if matches!(child.try_wait(), Ok(None)) {
        // An error means that the process has ended already.
        let _ = kill(Pid::from_raw(pid), Signal::SIGTERM);
    }
}

/// Stops a process with SIGTERM, after [`PATIENCE`] with SIGKILL.
pub(crate) fn stop(child: &mut Child) {
    terminate(child);
    let deadline = Instant::now() + PATIENCE;
    while matches!(child.try_wait(), Ok(None)) {
        if Instant::now() > deadline {
            let _ = child.kill();
            let _ = child.wait();
            return;
        }
        std::thread::sleep(Duration::from_millis(10));
    }
}
