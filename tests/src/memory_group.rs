//! A control group with a limit on memory, so that tests see what a limit does.
//!
//! Both versions of control groups are spoken. Making a group needs root, as starting containers does in most
//! set-ups; where it cannot be made, tests fail and say so.

use std::ffi::OsStr;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use nix::sys::statfs::{TMPFS_MAGIC, statfs};

/// Where control groups are found.
const ROOT: &str = "/sys/fs/cgroup";

/// A control group. Dropping it removes it; what ran in it must be over by then.
pub struct MemoryGroup {
    folder: PathBuf,
    version: Version,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Version {
    One,
    Two,
}

impl MemoryGroup {
    /// Makes a group whose processes may have `bytes` bytes of memory together, without swap.
    ///
    /// # Panics
    /// When this machine does not allow it, with what is missing.
    #[must_use]
    pub fn new(bytes: u64) -> Self {
        let (version, parent) = parent();
        let folder = parent.join(format!("howdah-test-{}", std::process::id()));
        fs::create_dir(&folder).unwrap_or_else(|error| cannot(&format!("{}: {error}", folder.display())));
        let group = Self { folder, version };
        let limit = bytes.to_string();
        match version {
            Version::One => {
                group.set("memory.limit_in_bytes", &limit);
                // Where the kernel does not count swap there is no such file.
                group.set_if_there("memory.memsw.limit_in_bytes", &limit);
            }
            Version::Two => {
                group.set("memory.max", &limit);
                group.set_if_there("memory.swap.max", "0");
            }
        }
        group
    }

    /// Returns a command that runs a program in the group.
    #[must_use]
    pub fn command(&self, program: &Path) -> Command {
        let mut command = Command::new("sh");
        // The shell becomes the program, so that the process is the one that was started.
        command
            .args([OsStr::new("-c"), OsStr::new("echo $$ > \"$0\" && exec \"$@\"")])
            .arg(self.folder.join("cgroup.procs"))
            .arg(program);
        command
    }

    /// Returns how many processes of the group were killed because it had no memory left.
    ///
    /// # Panics
    /// When the kernel does not say.
    #[must_use]
    pub fn killed(&self) -> u64 {
        let name = match self.version {
            Version::One => "memory.oom_control",
            Version::Two => "memory.events",
        };
        let text = fs::read_to_string(self.folder.join(name)).expect("the group can be read");
        let line = text.lines().find_map(|line| line.strip_prefix("oom_kill "));
        let count = line.unwrap_or_else(|| panic!("{name} does not count killed processes: {text}"));
        count.trim().parse().expect("a number")
    }

    fn set(&self, name: &str, value: &str) {
        let path = self.folder.join(name);
        fs::write(&path, value).unwrap_or_else(|error| cannot(&format!("{}: {error}", path.display())));
    }

    fn set_if_there(&self, name: &str, value: &str) {
        if self.folder.join(name).exists() {
            self.set(name, value);
        }
    }
}

impl Drop for MemoryGroup {
    fn drop(&mut self) {
        // A group that is left behind is empty and harms nobody.
        let _ = fs::remove_dir(&self.folder);
    }
}

/// Makes sure that files in a folder are not kept in memory, where they would count.
///
/// # Panics
/// When they are.
pub fn expect_disk(folder: &Path) {
    let kind = statfs(folder).expect("the folder is there").filesystem_type();
    assert!(
        kind != TMPFS_MAGIC,
        "{} is kept in memory, which counts towards the limit: name a folder on a disk with TMPDIR",
        folder.display()
    );
}

fn parent() -> (Version, PathBuf) {
    let root = Path::new(ROOT);
    let first = root.join("memory");
    if first.join("memory.limit_in_bytes").exists() {
        return (Version::One, first);
    }
    let controllers = fs::read_to_string(root.join("cgroup.controllers")).unwrap_or_default();
    if !controllers.split_whitespace().any(|name| name == "memory") {
        cannot(&format!("there is no controller of memory under {ROOT}"));
    }
    let control = root.join("cgroup.subtree_control");
    fs::write(&control, "+memory").unwrap_or_else(|error| cannot(&format!("{}: {error}", control.display())));
    (Version::Two, root.to_owned())
}

fn cannot(reason: &str) -> ! {
    panic!("this test needs root and a control group of its own with a limit on memory; that cannot be had: {reason}")
}
