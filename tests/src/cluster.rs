//! A running Howdah: `howdah up` alone, or coordinator, workers and NATS server as separate processes.
//!
//! Every part runs over a temporary folder of the test, with ports that no other test uses. Parts can be killed and
//! started again over the same folder and port. Dropping the value stops everything and deletes the folder; the order
//! of the fields is the order in which they are dropped.

use std::path::{Path, PathBuf};
use std::process::Command;

use tempfile::TempDir;

use crate::client::TestClient;
use crate::memory_group::MemoryGroup;
use crate::process::Process;
use crate::tools::{free_port, in_path, program, tool};

/// `howdah up` over a temporary folder.
pub struct Up {
    /// Port of the API.
    pub port: u16,
    /// The process.
    pub process: Process,
    /// Folder for all data of the test. The last field: it must be deleted after the processes that write to it have
    /// stopped.
    pub folder: TestFolder,
}

impl Up {
    /// Starts it and waits until it accepts connections.
    #[must_use]
    pub fn start() -> Self {
        let folder = TestFolder::new();
        let port = free_port();
        let process = Self::spawn(folder.path(), port, &[], None);
        Self { folder, port, process }
    }

    /// Starts it with further arguments.
    #[must_use]
    pub fn start_with(arguments: &[&str]) -> Self {
        let folder = TestFolder::new();
        let port = free_port();
        let process = Self::spawn(folder.path(), port, arguments, None);
        Self { folder, port, process }
    }

    /// Starts it with `DOCKER_HOST` set to a socket that does not exist yet; also returns the path of the socket.
    #[must_use]
    pub fn start_without_engine() -> (Self, PathBuf) {
        let folder = TestFolder::new();
        let port = free_port();
        let socket = folder.path().join("engine.sock");
        let process = Self::spawn(folder.path(), port, &[], Some(&socket));
        (Self { folder, port, process }, socket)
    }

    fn spawn(folder: &Path, port: u16, arguments: &[&str], engine: Option<&Path>) -> Process {
        let mut command = Command::new(program("howdah"));
        command
            .args([
                "up",
                "--port",
                &port.to_string(),
                "--slots",
                "2",
                "--log",
                "info",
                "--data",
            ])
            .arg(folder.join("data"))
            .args(arguments);
        clean_environment(&mut command);
        if let Some(socket) = engine {
            command.env("DOCKER_HOST", format!("unix://{}", socket.display()));
        }
        let mut process = Process::start("up", folder, &mut command);
        process.wait_for_port(port);
        process
    }

    /// Starts it again over the same folder and port, after it was stopped or killed.
    pub fn start_again(&mut self) {
        self.process = Self::spawn(self.folder.path(), self.port, &[], None);
    }

    /// Returns a client for its server.
    #[must_use]
    pub fn client(&self) -> TestClient {
        TestClient::new(self.port, self.folder.path())
    }
}

/// The object store of a [`Cluster`].
pub enum StoreKind {
    /// A local folder.
    Folder,
    /// A bucket of an S3 server, which the cluster starts.
    S3,
}

/// Coordinator, workers and NATS server as separate processes.
pub struct Cluster {
    /// Port of the API.
    pub port: u16,
    nats_port: u16,
    store_arguments: Vec<String>,
    coordinator_arguments: Vec<String>,
    /// The NATS server.
    pub nats: Process,
    /// The coordinator.
    pub coordinator: Process,
    /// Further coordinators, in the order in which they were started.
    pub others: Vec<Process>,
    other_ports: Vec<u16>,
    /// The workers, in the order of their numbers.
    pub workers: Vec<Process>,
    s3: Option<Process>,
    /// Limits the memory of the coordinator. Dropped after the coordinator, because only an empty group can be removed.
    pub group: Option<MemoryGroup>,
    /// Folder for all data of the test. The last field: it must be deleted after the processes that write to it have
    /// stopped.
    pub folder: TestFolder,
}

impl Cluster {
    /// Starts all parts and waits until they accept connections.
    ///
    /// # Panics
    /// When a part does not start.
    #[must_use]
    pub fn start(workers: usize, store: &StoreKind) -> Self {
        Self::start_with(workers, store, &[], None)
    }

    /// Starts all parts over a folder; coordinators get further arguments.
    ///
    /// # Panics
    /// When a part does not start.
    #[must_use]
    pub fn start_with_arguments(workers: usize, arguments: &[&str]) -> Self {
        Self::start_with(workers, &StoreKind::Folder, arguments, None)
    }

    /// Starts all parts over a folder; the coordinator gets further arguments and runs in the group.
    ///
    /// # Panics
    /// When a part does not start.
    #[must_use]
    pub fn start_limited(workers: usize, arguments: &[&str], group: MemoryGroup) -> Self {
        Self::start_with(workers, &StoreKind::Folder, arguments, Some(group))
    }

    fn start_with(workers: usize, store: &StoreKind, arguments: &[&str], group: Option<MemoryGroup>) -> Self {
        let folder = TestFolder::new();
        let (port, nats_port) = (free_port(), free_port());
        // In the order of dependencies: the coordinator needs NATS and the store when it starts. Workers connect by
        // themselves whenever the others are there.
        let nats = start_nats(folder.path(), nats_port);
        let (store_arguments, s3) = match store {
            StoreKind::Folder => (
                vec![
                    "--store".to_owned(),
                    format!("file://{}/store", folder.path().display()),
                ],
                None,
            ),
            StoreKind::S3 => start_s3(folder.path()),
        };
        let mut coordinator_arguments = store_arguments.clone();
        coordinator_arguments.extend(arguments.iter().map(ToString::to_string));
        let coordinator = start_coordinator(folder.path(), port, nats_port, &coordinator_arguments, group.as_ref());
        let mut cluster = Self {
            folder,
            port,
            nats_port,
            store_arguments,
            coordinator_arguments,
            nats,
            coordinator,
            others: Vec::new(),
            other_ports: Vec::new(),
            workers: Vec::new(),
            s3,
            group,
        };
        for _ in 0..workers {
            cluster.add_worker();
        }
        cluster
    }

    /// Starts one more worker with two slots.
    pub fn add_worker(&mut self) {
        let name = format!("worker-{}", self.workers.len());
        let worker = self.spawn_worker(&name);
        self.workers.push(worker);
    }

    fn spawn_worker(&self, name: &str) -> Process {
        let mut command = Command::new(program("howdah-worker"));
        command
            .args([
                "--nats-url",
                &format!("nats://127.0.0.1:{}", self.nats_port),
                "--slots",
                "2",
                "--scratch",
            ])
            .arg(self.folder.path().join(format!("scratch-{name}")))
            .args(&self.store_arguments);
        clean_environment(&mut command);
        Process::start(name, self.folder.path(), &mut command)
    }

    /// Starts a stopped or killed worker again, over the same scratch folder.
    pub fn start_worker_again(&mut self, index: usize) {
        self.workers[index] = self.spawn_worker(&format!("worker-{index}"));
    }

    /// Starts the coordinator again over the same store and port.
    pub fn start_coordinator_again(&mut self) {
        self.coordinator = start_coordinator(
            self.folder.path(),
            self.port,
            self.nats_port,
            &self.coordinator_arguments,
            self.group.as_ref(),
        );
    }

    /// Starts another coordinator over the same store, and returns its port.
    pub fn add_coordinator(&mut self) -> u16 {
        let port = free_port();
        let coordinator = self.spawn_other(self.others.len(), port);
        self.others.push(coordinator);
        self.other_ports.push(port);
        port
    }

    /// Starts one of the further coordinators again, on its port.
    pub fn start_other_again(&mut self, index: usize) {
        self.others[index] = self.spawn_other(index, self.other_ports[index]);
    }

    fn spawn_other(&self, index: usize, port: u16) -> Process {
        start_named_coordinator(
            &format!("coordinator-{}", index + 1),
            self.folder.path(),
            port,
            self.nats_port,
            &self.coordinator_arguments,
            None,
        )
    }

    /// Returns the URL of the NATS server.
    #[must_use]
    pub fn nats_url(&self) -> String {
        format!("nats://127.0.0.1:{}", self.nats_port)
    }

    /// Returns a client for the coordinator at `port`.
    #[must_use]
    pub fn client_at(&self, port: u16) -> TestClient {
        TestClient::new(port, self.folder.path())
    }

    /// Starts the NATS server again; with `wipe` without its stored data.
    ///
    /// # Panics
    /// When its folder cannot be deleted.
    pub fn start_nats_again(&mut self, wipe: bool) {
        if wipe {
            std::fs::remove_dir_all(self.folder.path().join("nats")).expect("the folder can be deleted");
        }
        self.nats = start_nats(self.folder.path(), self.nats_port);
    }

    /// Returns a client for its server.
    #[must_use]
    pub fn client(&self) -> TestClient {
        TestClient::new(self.port, self.folder.path())
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        // Workers first: to return their work and remove their containers they need coordinator and NATS, whose fields
        // would otherwise be dropped before them.
        self.workers.clear();
        self.s3.take();
    }
}

/// A temporary folder, which is deleted with this value.
pub struct TestFolder(TempDir);

impl TestFolder {
    fn new() -> Self {
        let folder = tempfile::Builder::new().prefix("howdah-test.").tempdir();
        Self(folder.expect("a temporary folder can be made"))
    }

    /// Returns its path.
    #[must_use]
    pub fn path(&self) -> &Path {
        self.0.path()
    }
}

impl Drop for TestFolder {
    /// Removes folders of any depth. The removal by `TempDir` calls itself for each level and overflows its stack.
    fn drop(&mut self) {
        let _ = Command::new("rm").arg("-rf").arg(self.0.path()).status();
    }
}

/// Removes Howdah's settings from the environment of a command, so that those of the user have no effect.
fn clean_environment(command: &mut Command) {
    for (name, _) in std::env::vars_os() {
        if name.to_string_lossy().starts_with("HOWDAH_") {
            command.env_remove(name);
        }
    }
}

fn start_nats(folder: &Path, port: u16) -> Process {
    let mut command = Command::new(in_path("nats-server"));
    command
        .args([
            "--addr",
            "127.0.0.1",
            "--port",
            &port.to_string(),
            "--jetstream",
            "--store_dir",
        ])
        .arg(folder.join("nats"));
    let mut process = Process::start("nats", folder, &mut command);
    process.wait_for_port(port);
    process
}

fn start_coordinator(
    folder: &Path,
    port: u16,
    nats_port: u16,
    arguments: &[String],
    group: Option<&MemoryGroup>,
) -> Process {
    start_named_coordinator("coordinator", folder, port, nats_port, arguments, group)
}

fn start_named_coordinator(
    name: &str,
    folder: &Path,
    port: u16,
    nats_port: u16,
    arguments: &[String],
    group: Option<&MemoryGroup>,
) -> Process {
    let program = program("howdah-coordinator");
    let mut command = match group {
        Some(group) => group.command(&program),
        None => Command::new(program),
    };
    command
        .args([
            "--port",
            &port.to_string(),
            "--nats-url",
            &format!("nats://127.0.0.1:{nats_port}"),
        ])
        .args(arguments);
    clean_environment(&mut command);
    let mut process = Process::start(name, folder, &mut command);
    process.wait_for_port(port);
    process
}

/// Starts an S3 server with one bucket; returns the arguments that name the store, and the process.
fn start_s3(folder: &Path) -> (Vec<String>, Option<Process>) {
    let port = free_port();
    let root: PathBuf = folder.join("s3");
    std::fs::create_dir_all(root.join("howdah")).expect("the test's folder is writable");
    let mut command = Command::new(tool("HOWDAH_TEST_S3_SERVER", "s3s-fs"));
    command
        .args([
            "--host",
            "127.0.0.1",
            "--port",
            &port.to_string(),
            "--access-key",
            "test-key",
            "--secret-key",
            "test-secret",
        ])
        .arg(&root);
    let mut process = Process::start("s3", folder, &mut command);
    process.wait_for_port(port);
    let endpoint = format!("http://127.0.0.1:{port}");
    let arguments = [
        "--store",
        "s3://howdah/test",
        "--s3-endpoint",
        &endpoint,
        "--s3-region",
        "us-east-1",
        "--s3-access-key",
        "test-key",
        "--s3-secret-key",
        "test-secret",
    ];
    (arguments.map(str::to_owned).to_vec(), Some(process))
}
