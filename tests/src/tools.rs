//! Programs, ports, conditions.

use std::fs::{self, File};
use std::net::{Ipv4Addr, TcpListener};
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::{LazyLock, Mutex, PoisonError};
use std::time::{Duration, Instant};

/// Longest wait for any condition of a test.
pub const PATIENCE: Duration = Duration::from_secs(120);

/// Returns the path of a program of this workspace.
///
/// # Panics
/// When it has not been built; `make test` builds it first.
#[must_use]
pub fn program(name: &str) -> PathBuf {
    let folder = std::env::var_os("HOWDAH_TEST_BIN_DIR").map_or_else(folder_of_this_build, PathBuf::from);
    let path = folder.join(name);
    assert!(
        path.is_file(),
        "{} is not built: run `make build` first",
        path.display()
    );
    path
}

/// Test executables live in `<target>/<profile>/deps`, programs one level above.
fn folder_of_this_build() -> PathBuf {
    let executable = std::env::current_exe().expect("a running program has a path");
    let deps = executable.parent().expect("an executable lies in a folder");
    deps.parent().unwrap_or(deps).to_owned()
}

/// Returns the path of a tool that `make setup` installs.
///
/// # Panics
/// When it does not exist.
#[must_use]
pub fn tool(variable: &str, name: &str) -> PathBuf {
    if let Some(path) = std::env::var_os(variable) {
        return PathBuf::from(path);
    }
    let cache = std::env::var_os("HOWDAH_CACHE").map_or_else(default_cache, PathBuf::from);
    let path = cache.join("tools/bin").join(name);
    assert!(
        path.is_file(),
        "{} is missing: run `make setup` first (or set {variable})",
        path.display()
    );
    path
}

fn default_cache() -> PathBuf {
    let home = PathBuf::from(std::env::var_os("HOME").expect("HOME is set"));
    std::env::var_os("XDG_CACHE_HOME")
        .map_or_else(|| home.join(".cache"), PathBuf::from)
        .join("howdah")
}

/// Finds an ordinary program in `PATH`.
///
/// # Panics
/// When it is not in `PATH`.
#[must_use]
pub fn in_path(name: &str) -> PathBuf {
    let paths = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&paths)
        .chain([PathBuf::from("/usr/sbin")])
        .map(|folder| folder.join(name))
        .find(|path| path.is_file())
        .unwrap_or_else(|| panic!("{name} is not in PATH: run `make setup` first"))
}

/// Returns the folder of the checkout.
#[must_use]
pub fn checkout() -> &'static Path {
    // Read at run time: a test that was compiled for one checkout may run in another one with the same cache.
    static FOLDER: LazyLock<PathBuf> = LazyLock::new(|| {
        let package = std::env::var_os("CARGO_MANIFEST_DIR").expect("cargo and nextest say where the package is");
        Path::new(&package).join("..")
    });
    &FOLDER
}

/// Ports for servers. They are below the ports of outgoing connections: such a connection could take a port before the
/// server binds it.
const PORTS: Range<u16> = 20_000..32_000;
/// Distance between the first ports of two processes with consecutive ids.
const PORTS_APART: u32 = 16;

/// Returns a free port of 127.0.0.1, reserved until the end of this process.
///
/// Tests are separate processes, so a lock file for each port reserves it among them.
///
/// # Panics
/// When the machine has none.
#[must_use]
pub fn free_port() -> u16 {
    static KEPT: Mutex<Vec<File>> = Mutex::new(Vec::new());
    let folder = folder_of_this_build().join("test-ports");
    fs::create_dir_all(&folder).expect("a folder for the locks of ports");
    let offset = std::process::id().wrapping_mul(PORTS_APART) % PORTS.len() as u32;
    let port = (0..PORTS.len() as u32)
        .map(|step| PORTS.start + ((offset + step) % PORTS.len() as u32) as u16)
        .find(|port| {
            let lock = File::create(folder.join(port.to_string())).expect("a lock of a port");
            let ours = lock.try_lock().is_ok() && TcpListener::bind((Ipv4Addr::LOCALHOST, *port)).is_ok();
            if ours {
                KEPT.lock().unwrap_or_else(PoisonError::into_inner).push(lock);
            }
            ours
        });
    port.expect("a free port")
}

/// Waits until `condition` returns a value and returns it.
///
/// # Panics
/// After [`PATIENCE`], with the name of the condition and its last error.
pub fn wait_for<T>(what: &str, mut condition: impl FnMut() -> Result<T, String>) -> T {
    let deadline = Instant::now() + PATIENCE;
    // Most conditions start a program. Growing pauses leave the processor to the work that the test waits for.
    let mut pause = Duration::from_millis(10);
    loop {
        match condition() {
            Ok(value) => return value,
            Err(last) => assert!(
                Instant::now() < deadline,
                "waited {} s for {what}; last seen: {last}",
                PATIENCE.as_secs()
            ),
        }
        std::thread::sleep(pause);
        pause = (pause * 3 / 2).min(Duration::from_millis(250));
    }
}
