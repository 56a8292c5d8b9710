//! Real nats-server children for the tests of this crate and of those above it.
//!
//! Tests use the server from PATH. Tests that run against several servers add the executables in
//! `HOWDAH_TEST_NATS_SERVERS`, separated by colons. There is no replacement: without a nats-server the tests fail.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use howdah_protocol::installation::{Installation, QUEUE_KEY_BYTES};

use crate::client::{CoordinatorQueue, Queue, QueueOptions};

/// Returns the installation of tests.
///
/// # Panics
///
/// Never: its id is legal.
pub fn installation() -> Installation {
    Installation::new("test", [7; QUEUE_KEY_BYTES]).expect("a legal id")
}

/// Connects as the leader with epoch 1 of [`installation`].
///
/// # Panics
///
/// If the server does not answer.
pub async fn coordinator(url: &str) -> CoordinatorQueue {
    let options = QueueOptions::coordinator(url, installation());
    let queue = Queue::connect(&options).await.expect("the server answers");
    queue.lead(1, None)
}

/// Connects as a worker of [`installation`].
///
/// # Panics
///
/// If the server does not answer.
pub async fn worker(url: &str, name: &str) -> Queue {
    let options = QueueOptions::worker(url, name, installation());
    Queue::connect(&options).await.expect("the server answers")
}

/// Returns every nats-server to test with: the one in PATH first.
///
/// # Panics
///
/// If PATH has none, or a listed executable does not exist.
pub fn executables() -> Vec<PathBuf> {
    let mut found = vec![in_path()];
    for listed in std::env::var("HOWDAH_TEST_NATS_SERVERS")
        .unwrap_or_default()
        .split(':')
        .filter(|one| !one.is_empty())
    {
        let listed = PathBuf::from(listed);
        assert!(
            listed.is_file(),
            "HOWDAH_TEST_NATS_SERVERS names {}, which is no file",
            listed.display()
        );
        found.push(listed);
    }
    found
}

/// Returns the nats-server in PATH (Debian keeps it in `/usr/sbin`).
///
/// # Panics
///
/// If PATH has none.
pub fn in_path() -> PathBuf {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path)
        .chain([PathBuf::from("/usr/sbin")])
        .map(|folder| folder.join("nats-server"))
        .find(|candidate| candidate.is_file())
        .expect("nats-server is not in PATH: install it (apt-get install nats-server)")
}

/// A nats-server on its own loopback port. Dropping it kills the server.
pub struct NatsServer {
    executable: PathBuf,
    folder: tempfile::TempDir,
    child: Option<Child>,
    port: u16,
}

impl NatsServer {
    /// Starts the server from PATH.
    pub fn start() -> Self {
        Self::start_with(&in_path(), &[])
    }

    /// Starts the given server with extra lines of configuration.
    ///
    /// # Panics
    ///
    /// If it does not accept connections within 20 seconds.
    pub fn start_with(executable: &Path, config: &[&str]) -> Self {
        Self::configured(executable, config, true)
    }

    /// Starts the given server with JetStream switched off.
    ///
    /// # Panics
    ///
    /// If it does not accept connections within 20 seconds.
    pub fn start_without_jetstream(executable: &Path) -> Self {
        Self::configured(executable, &[], false)
    }

    fn configured(executable: &Path, config: &[&str], jetstream: bool) -> Self {
        let folder = tempfile::tempdir().expect("a temporary folder can be made");
        let mut lines = vec![
            "host: 127.0.0.1".to_owned(),
            format!("ports_file_dir: {:?}", folder.path()),
        ];
        if jetstream {
            let store = folder.path().join("store");
            lines.push(format!("jetstream {{ store_dir: {store:?} }}"));
        }
        lines.extend(config.iter().map(|line| (*line).to_owned()));
        std::fs::write(folder.path().join("nats.conf"), lines.join("\n")).expect("the configuration can be written");
        let mut server = Self {
            executable: executable.to_owned(),
            folder,
            child: None,
            port: 0,
        };
        server.launch();
        server
    }

    /// Returns the address for clients.
    pub fn url(&self) -> String {
        format!("nats://127.0.0.1:{}", self.port)
    }

    /// Returns the folder that JetStream writes to.
    pub fn store_dir(&self) -> PathBuf {
        self.folder.path().join("store")
    }

    /// Kills the server without warning (SIGKILL to its process id).
    pub fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            let _ = child.kill();
            let _ = child.wait();
        }
    }

    /// Deletes the store of JetStream.
    pub fn wipe(&self) {
        let _ = std::fs::remove_dir_all(self.store_dir());
    }

    /// Starts the server again on the same port.
    pub fn restart(&mut self) {
        self.kill();
        self.launch();
    }

    fn launch(&mut self) {
        let port = if self.port == 0 {
            "-1".to_owned()
        } else {
            self.port.to_string()
        };
        let log = std::fs::File::create(self.folder.path().join("log")).expect("the log file can be made");
        let child = Command::new(&self.executable)
            .arg("-c")
            .arg(self.folder.path().join("nats.conf"))
            .args(["-p", &port])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()
            .expect("the server can be started");
        let ports_file = self.folder.path().join(format!(
            "{}_{}.ports",
            self.executable
                .file_name()
                .map_or_else(|| "nats-server".into(), |name| name.to_string_lossy().into_owned()),
            child.id()
        ));
        self.child = Some(child);
        let deadline = Instant::now() + Duration::from_secs(20);
        loop {
            if self.port == 0 {
                self.port = read_port(&ports_file).unwrap_or(0);
            }
            if self.port != 0 && std::net::TcpStream::connect(("127.0.0.1", self.port)).is_ok() {
                return;
            }
            assert!(
                Instant::now() < deadline,
                "nats-server did not come up:\n{}",
                std::fs::read_to_string(self.folder.path().join("log")).unwrap_or_default()
            );
            std::thread::sleep(Duration::from_millis(5));
        }
    }
}

impl Drop for NatsServer {
    fn drop(&mut self) {
        self.kill();
    }
}

fn read_port(file: &Path) -> Option<u16> {
    let text = std::fs::read_to_string(file).ok()?;
    let ports: serde_json::Value = serde_json::from_str(&text).ok()?;
    let url = ports.get("nats")?.get(0)?.as_str()?.to_owned();
    url.rsplit_once(':')?.1.parse().ok()
}
