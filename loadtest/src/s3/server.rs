//! A Howdah over a bucket: S3 server, NATS server, coordinator and worker as separate processes, and the proxy.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use tokio::net::TcpStream;

use super::proxy::Proxy;
use super::traffic::{BUCKET, PREFIX};
use crate::api::Api;
use crate::harness::{PATIENCE, connect, find_howdah, free_port, stop, without_settings};
use crate::options::CommonOptions;
use crate::scripted::{BUCKET_KEY, ScriptedWorker};

/// Programs that must be installed.
pub(super) struct Programs {
    s3_server: PathBuf,
    nats_server: PathBuf,
}

impl Programs {
    /// Finds the programs; the error names the missing one and how to install it.
    pub(super) fn find(s3_server: Option<&Path>) -> Result<Self, String> {
        let s3_server = match s3_server {
            Some(given) if given.is_file() => Ok(given.to_owned()),
            Some(given) => Err(format!(
                "there is no S3 server at {}: --s3-server and HOWDAH_TEST_S3_SERVER name the program s3s-fs",
                given.display()
            )),
            None => in_path("s3s-fs").ok_or_else(|| {
                "s3s-fs is not installed: cargo install s3s-fs --features binary, or name the program with --s3-server"
                    .to_owned()
            }),
        }?;
        let nats_server = in_path("nats-server")
            .ok_or_else(|| "nats-server is not installed: apt-get install nats-server".to_owned())?;
        Ok(Self { s3_server, nats_server })
    }
}

fn in_path(name: &str) -> Option<PathBuf> {
    let paths = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&paths)
        .chain([PathBuf::from("/usr/sbin"), PathBuf::from("/usr/local/bin")])
        .map(|folder| folder.join(name))
        .find(|path| path.is_file())
}

/// All running parts. Dropping it stops them.
pub(super) struct Bucket {
    // Fields are dropped in this order, so this is the order in which the parts stop.
    _worker: ScriptedWorker,
    coordinator: BenchCoordinator,
    _nats: ServerProcess,
    _s3: ServerProcess,
    proxy: Proxy,
}

/// The coordinator, and the command that starts it.
struct BenchCoordinator {
    command: Command,
    folder: PathBuf,
    port: u16,
    process: ServerProcess,
    api: Api,
}

impl Bucket {
    /// Starts everything in a folder, with `latency` added to each request to the S3 server.
    pub(super) async fn start(
        common: &CommonOptions,
        programs: &Programs,
        folder: &Path,
        latency: Duration,
    ) -> anyhow::Result<Self> {
        let root = folder.join("s3");
        std::fs::create_dir_all(root.join(BUCKET)).with_context(|| format!("cannot make {}", root.display()))?;
        let s3_port = free_port()?;
        let mut command = Command::new(&programs.s3_server);
        command
            .args(["--host", "127.0.0.1", "--port", &s3_port.to_string()])
            .args(["--access-key", BUCKET_KEY, "--secret-key", BUCKET_KEY])
            .arg(&root);
        let s3 = ServerProcess::start("s3", folder, &mut command, s3_port).await?;
        let proxy = Proxy::start(s3_port, latency).await?;

        let nats_port = free_port()?;
        let mut command = Command::new(&programs.nats_server);
        command
            .args([
                "--addr",
                "127.0.0.1",
                "--port",
                &nats_port.to_string(),
                "--jetstream",
                "--store_dir",
            ])
            .arg(folder.join("nats"));
        let nats = ServerProcess::start("nats", folder, &mut command, nats_port).await?;

        let store = format!("s3://{BUCKET}/{PREFIX}");
        let (url, nats_url) = (proxy.url(), format!("nats://127.0.0.1:{nats_port}"));
        let place = ["--store", &store, "--s3-endpoint", &url];
        let port = free_port()?;
        let mut command = Command::new(find_howdah(common)?.with_file_name("howdah-coordinator"));
        command
            .args(["--port", &port.to_string(), "--nats-url", &nats_url, "--log", "warn"])
            .args(["--s3-access-key", BUCKET_KEY, "--s3-secret-key", BUCKET_KEY])
            .args(place);
        let coordinator = BenchCoordinator::start(command, folder, port).await?;
        let worker = ScriptedWorker::start_over(folder, &nats_url, 2, &place)?;
        Ok(Self {
            _worker: worker,
            coordinator,
            _nats: nats,
            _s3: s3,
            proxy,
        })
    }

    /// Returns the proxy in front of the S3 server.
    pub(super) fn proxy(&self) -> &Proxy {
        &self.proxy
    }

    /// Returns a connection to the coordinator.
    pub(super) fn api(&self) -> &Api {
        &self.coordinator.api
    }

    /// Restarts the coordinator, which empties its caches.
    pub(super) async fn restart_coordinator(&mut self) -> anyhow::Result<()> {
        self.coordinator.restart().await
    }
}

impl BenchCoordinator {
    async fn start(mut command: Command, folder: &Path, port: u16) -> anyhow::Result<Self> {
        let (process, api) = Self::run(&mut command, folder, port).await?;
        Ok(Self {
            command,
            folder: folder.to_owned(),
            port,
            process,
            api,
        })
    }

    async fn restart(&mut self) -> anyhow::Result<()> {
        stop(&mut self.process.child);
        (self.process, self.api) = Self::run(&mut self.command, &self.folder, self.port).await?;
        Ok(())
    }

    async fn run(command: &mut Command, folder: &Path, port: u16) -> anyhow::Result<(ServerProcess, Api)> {
        let mut process = ServerProcess::spawn("coordinator", folder, command)?;
        let api = connect(&mut process.child, port).await;
        let api =
            api.with_context(|| format!("the coordinator did not come up; it printed:\n{}", process.printed()))?;
        Ok((process, api))
    }
}

/// A program in the background whose output goes to a file. Dropping it stops it.
struct ServerProcess {
    child: Child,
    log: PathBuf,
}

impl ServerProcess {
    fn spawn(name: &str, folder: &Path, command: &mut Command) -> anyhow::Result<Self> {
        let log = folder.join(format!("{name}.log"));
        let output = File::create(&log).with_context(|| format!("cannot write {}", log.display()))?;
        command
            .stdin(Stdio::null())
            .stdout(output.try_clone().context("cannot duplicate a file handle")?)
            .stderr(output);
        without_settings(command);
        let program = command.get_program().to_string_lossy().into_owned();
        let child = command.spawn().with_context(|| format!("cannot start {program}"))?;
        Ok(Self { child, log })
    }

    /// Starts a program and waits until it listens on a port.
    async fn start(name: &str, folder: &Path, command: &mut Command, port: u16) -> anyhow::Result<Self> {
        let mut process = Self::spawn(name, folder, command)?;
        let deadline = Instant::now() + PATIENCE;
        while TcpStream::connect(("127.0.0.1", port)).await.is_err() {
            let ended = process.child.try_wait()?;
            ensure!(
                ended.is_none() && Instant::now() < deadline,
                "{name} did not come up; it printed:\n{}",
                process.printed()
            );
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        Ok(process)
    }

    fn printed(&self) -> String {
        std::fs::read_to_string(&self.log).unwrap_or_default()
    }
}

impl Drop for ServerProcess {
    fn drop(&mut self) {
        stop(&mut self.child);
    }
}
