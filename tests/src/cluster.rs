//! A running Howdah.

use std::path::{Path, PathBuf};
use std::process::Command;

use tempfile::TempDir;

use crate::client::Client;
use crate::memory_group::MemoryGroup;
use crate::process::Process;
use crate::tools::{free_port, in_path, program, tool};

/// `howdah up` over a folder of its own.
pub struct Up {
    /// Port of the API.
    pub port: u16,
    /// The process.
    pub process: Process,
    /// Folder for everything of the test. Last, so that it is deleted when nobody writes into it any more.
    pub folder: TempDir,
}

impl Up {
    /// Starts it and waits until it is up.
    #[must_use]
    pub fn start() -> Self {
        let folder = test_folder();
        let port = free_port();
        let process = Self::spawn(folder.path(), port, None);
        Self { folder, port, process }
    }

    /// Starts it with the container engine expected at a socket in the test's folder, where there is none yet;
    /// returns the path of the socket as well.
    #[must_use]
    pub fn start_without_engine() -> (Self, PathBuf) {
        let folder = test_folder();
        let port = free_port();
        let socket = folder.path().join("engine.sock");
        let process = Self::spawn(folder.path(), port, Some(&socket));
        (Self { folder, port, process }, socket)
    }

    fn spawn(folder: &Path, port: u16, engine: Option<&Path>) -> Process {
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
            .arg(folder.join("data"));
        clean_environment(&mut command);
        if let Some(socket) = engine {
            command.env("DOCKER_HOST", format!("unix://{}", socket.display()));
        }
        let mut process = Process::start("up", folder, &mut command);
        process.wait_for_port(port);
        process
    }

    /// Starts it again over the same folder, after it was stopped or killed.
    pub fn start_again(&mut self) {
        self.process = Self::spawn(self.folder.path(), self.port, None);
    }

    /// Returns a client for it.
    #[must_use]
    pub fn client(&self) -> Client {
        Client::new(self.port, self.folder.path())
    }
}

/// Which object store a [`Cluster`] uses.
pub enum StoreKind {
    /// A local folder.
    Folder,
    /// A bucket of an S3 server that is started along.
    S3,
}

/// Coordinator, workers and NATS server as processes of their own.
pub struct Cluster {
    /// Port of the API.
    pub port: u16,
    nats_port: u16,
    store_arguments: Vec<String>,
    coordinator_arguments: Vec<String>,
    /// NATS server.
    pub nats: Process,
    /// Coordinator.
    pub coordinator: Process,
    /// Workers.
    pub workers: Vec<Process>,
    s3: Option<Process>,
    /// What limits the memory of the coordinator, if anything does. After the process that runs in it.
    pub group: Option<MemoryGroup>,
    /// Folder for everything of the test. Last, so that it is deleted when nobody writes into it any more.
    pub folder: TempDir,
}

impl Cluster {
    /// Starts everything and waits until it answers.
    ///
    /// # Panics
    /// When a part does not come up.
    #[must_use]
    pub fn start(workers: usize, store: &StoreKind) -> Self {
        Self::start_with(workers, store, &[], None)
    }

    /// Starts everything over a folder, the coordinator with further arguments and within the group.
    ///
    /// # Panics
    /// When a part does not come up.
    #[must_use]
    pub fn start_limited(workers: usize, arguments: &[&str], group: MemoryGroup) -> Self {
        Self::start_with(workers, &StoreKind::Folder, arguments, Some(group))
    }

    fn start_with(workers: usize, store: &StoreKind, arguments: &[&str], group: Option<MemoryGroup>) -> Self {
        let folder = test_folder();
        let (port, nats_port) = (free_port(), free_port());
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

    /// Starts a worker again that was stopped or killed, over the same scratch folder.
    pub fn start_worker_again(&mut self, index: usize) {
        self.workers[index] = self.spawn_worker(&format!("worker-{index}"));
    }

    /// Starts the coordinator again.
    pub fn start_coordinator_again(&mut self) {
        self.coordinator = start_coordinator(
            self.folder.path(),
            self.port,
            self.nats_port,
            &self.coordinator_arguments,
            self.group.as_ref(),
        );
    }

    /// Starts the NATS server again, after deleting everything it had stored if asked to.
    ///
    /// # Panics
    /// When its folder cannot be deleted.
    pub fn start_nats_again(&mut self, wipe: bool) {
        if wipe {
            std::fs::remove_dir_all(self.folder.path().join("nats")).expect("the folder can be deleted");
        }
        self.nats = start_nats(self.folder.path(), self.nats_port);
    }

    /// Returns a client for it.
    #[must_use]
    pub fn client(&self) -> Client {
        Client::new(self.port, self.folder.path())
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        // Workers first: they hand their work back and remove their containers.
        self.workers.clear();
        self.s3.take();
    }
}

fn test_folder() -> TempDir {
    tempfile::Builder::new()
        .prefix("howdah-test.")
        .tempdir()
        .expect("a temporary folder can be made")
}

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
    let mut process = Process::start("coordinator", folder, &mut command);
    process.wait_for_port(port);
    process
}

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
