//! The embedded NATS server: a child process on loopback, restarted when it dies.
//!
//! The server needs no durable storage: its folder may be deleted at any time, because the coordinator recreates the
//! streams and publishes unfinished work again. Its log is `nats.log` in this folder. A start fails when no free port
//! is found, or when the program ends or does not accept connections in time.
//!
//! Only the coordinator and workers can use it: each has a user with a random password (`nats_users`).

use std::fs::File;
use std::net::{Ipv4Addr, TcpListener};
use std::os::unix::fs::OpenOptionsExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use howdah_store::{PRIVATE_FILE_MODE, make_private_folder};
use tokio::net::TcpStream;
use tokio::process::{Child, Command};
use tokio_util::sync::CancellationToken;

use super::nats_users::NatsUsers;

/// Longest time from the start of a server until it accepts connections.
const START_LIMIT: Duration = Duration::from_secs(10);
/// Ports to try: between the choice of a port and the start of the server another process may bind it.
const START_ATTEMPTS: u32 = 3;
/// Pause before a dead server is started again.
const RESTART_DELAY: Duration = Duration::from_millis(200);

/// Finds the `nats-server` program: the given one, or the first one in `PATH`.
pub(super) fn find(given: Option<&Path>) -> anyhow::Result<PathBuf> {
    if let Some(path) = given {
        if path.is_file() {
            return Ok(path.to_owned());
        }
        bail!("there is no nats-server at {} (--nats-server)", path.display());
    }
    let paths = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&paths)
        .chain([PathBuf::from("/usr/sbin"), PathBuf::from("/usr/local/bin")])
        .map(|folder| folder.join("nats-server"))
        .find(|candidate| candidate.is_file())
        .context(
            "no nats-server found in PATH. Howdah sends work to its workers through NATS: install it \
             (Debian and Ubuntu: apt-get install nats-server), or name the program with --nats-server",
        )
}

/// A running server, and what is needed to start it again.
pub(super) struct EmbeddedNats {
    program: PathBuf,
    folder: PathBuf,
    users: NatsUsers,
    port: u16,
    child: Child,
}

impl EmbeddedNats {
    /// Starts the server with its files under `folder` and waits until it answers.
    pub(super) async fn start(program: PathBuf, folder: PathBuf) -> anyhow::Result<Self> {
        make_private_folder(&folder, &["nats.log"])
            .with_context(|| format!("cannot make the folder {}", folder.display()))?;
        let users = NatsUsers::make(&folder)?;
        remove_old_stream(&folder);
        let mut attempts = 1;
        loop {
            let port = free_port()?;
            let mut server = Self {
                child: spawn(&program, &folder, &users, port)?,
                program: program.clone(),
                folder: folder.clone(),
                users: users.clone(),
                port,
            };
            let Err(error) = server.wait_until_up().await else {
                return Ok(server);
            };
            // A server that ended has probably found its port taken; one that runs but does not answer has not.
            let ended = server.child.try_wait()?.is_some();
            if !ended || attempts == START_ATTEMPTS {
                return Err(error);
            }
            tracing::debug!(error = format!("{error:#}"), port, "trying another port");
            attempts += 1;
        }
    }

    /// Returns the URL that clients connect to. It stays the same over restarts.
    pub(super) fn url(&self) -> String {
        format!("nats://127.0.0.1:{}", self.port)
    }

    /// Returns the files for its users.
    pub(super) fn users(&self) -> &NatsUsers {
        &self.users
    }

    /// Restarts the server whenever it dies. Stops the server and returns when `shutdown` is cancelled.
    pub(super) async fn supervise(mut self, shutdown: CancellationToken) -> anyhow::Result<()> {
        loop {
            tokio::select! {
                () = shutdown.cancelled() => return self.stop().await,
                status = self.child.wait() => {
                    let status = status.context("cannot wait for nats-server")?;
                    tracing::warn!(%status, "nats-server ended, starting it again");
                    // The delay keeps a server that dies at once from using all processor time.
                    tokio::time::sleep(RESTART_DELAY).await;
                    self.child = spawn(&self.program, &self.folder, &self.users, self.port)?;
                    if let Err(error) = self.wait_until_up().await {
                        tracing::error!(error = format!("{error:#}"), "nats-server did not come back, trying again");
                    }
                }
            }
        }
    }

    async fn stop(&mut self) -> anyhow::Result<()> {
        if let Some(pid) = self.child.id().and_then(|pid| i32::try_from(pid).ok()) {
            // An error means that the process has ended already.
            let _ = nix::sys::signal::kill(nix::unistd::Pid::from_raw(pid), nix::sys::signal::Signal::SIGTERM);
        }
        if tokio::time::timeout(Duration::from_secs(5), self.child.wait())
            .await
            .is_err()
        {
            self.child.kill().await.context("cannot stop nats-server")?;
        }
        Ok(())
    }

    async fn wait_until_up(&mut self) -> anyhow::Result<()> {
        let deadline = Instant::now() + START_LIMIT;
        loop {
            if TcpStream::connect((Ipv4Addr::LOCALHOST, self.port)).await.is_ok() {
                return Ok(());
            }
            if let Some(status) = self.child.try_wait()? {
                bail!(
                    "nats-server ended at once ({status}); its log: {}",
                    self.folder.join("nats.log").display()
                );
            }
            if Instant::now() > deadline {
                bail!(
                    "nats-server did not answer within {} s; its log: {}",
                    START_LIMIT.as_secs(),
                    self.folder.join("nats.log").display()
                );
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }
}

/// Removes the stream of earlier releases, which had no id of the installation in its name. Nothing reads it any more.
fn remove_old_stream(folder: &Path) {
    let old = folder.join("jetstream/$G/streams/HOWDAH_DATUMS");
    match std::fs::remove_dir_all(&old) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            tracing::warn!(folder = %old.display(), %error, "the stream of an earlier release was not removed");
        }
        _ => {}
    }
}

/// Returns a port that is free now. Another process may bind it before the server does.
fn free_port() -> anyhow::Result<u16> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).context("no free port on 127.0.0.1 for nats-server")?;
    Ok(listener.local_addr()?.port())
}

fn spawn(program: &Path, folder: &Path, users: &NatsUsers, port: u16) -> anyhow::Result<Child> {
    let log_path = folder.join("nats.log");
    let log = File::options()
        .create(true)
        .append(true)
        .mode(PRIVATE_FILE_MODE)
        .open(&log_path)
        .with_context(|| format!("cannot write {}", log_path.display()))?;
    let mut command = std::process::Command::new(program);
    command
        .arg("--config")
        .arg(&users.server_config)
        .args([
            "--addr",
            "127.0.0.1",
            "--port",
            &port.to_string(),
            "--jetstream",
            "--store_dir",
        ])
        .arg(folder)
        .stdin(Stdio::null())
        .stdout(log.try_clone()?)
        .stderr(log)
        // A terminal sends Ctrl-C to its whole process group; the server must run until the worker has stopped.
        .process_group(0);
    // The server needs no settings and no keys of this process.
    for (name, _) in std::env::vars_os() {
        let text = name.to_string_lossy();
        if text.starts_with("HOWDAH_") || text.starts_with("AWS_") {
            command.env_remove(&name);
        }
    }
    // SAFETY: prctl is async-signal-safe and changes no memory of this process. The child gets SIGTERM when its parent
    // dies; without it a `kill -9` of the parent would leave the server running.
    unsafe {
        command.pre_exec(|| {
            nix::libc::prctl(nix::libc::PR_SET_PDEATHSIG, nix::libc::SIGTERM);
            Ok(())
        });
    }
    Command::from(command)
        .kill_on_drop(true)
        .spawn()
        .with_context(|| format!("cannot start {}", program.display()))
}
