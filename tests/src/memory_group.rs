//! A control group with a limit on memory, for tests under a limit.
//!
//! Works with both versions of control groups. Creating a group needs root, like starting containers in most
//! installations; where that fails, the test fails with the reason.

use std::ffi::OsStr;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use nix::sys::statfs::{TMPFS_MAGIC, statfs};

/// Mount point of control groups.
const ROOT: &str = "/sys/fs/cgroup";

/// A control group. Dropping it removes it; its processes must have ended before.
pub struct MemoryGroup {
    folder: PathBuf,
    version: CgroupVersion,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum CgroupVersion {
    One,
    Two,
}

impl MemoryGroup {
    /// Makes a group whose processes together may use `bytes` bytes of memory and no swap.
    ///
    /// # Panics
    /// When the group cannot be created, with the reason.
    #[must_use]
    pub fn new(bytes: u64) -> Self {
        let (version, parent) = parent();
        let folder = parent.join(format!("howdah-test-{}", std::process::id()));
        fs::create_dir(&folder).unwrap_or_else(|error| cannot(&format!("{}: {error}", folder.display())));
        let group = Self { folder, version };
        let limit = bytes.to_string();
        match version {
            CgroupVersion::One => {
                group.set("memory.limit_in_bytes", &limit);
                // The file exists only if the kernel counts swap.
                group.set_if_there("memory.memsw.limit_in_bytes", &limit);
            }
            CgroupVersion::Two => {
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
        // The shell enters the group and then replaces itself by the program: so the process id is that of the program,
        // and the program is in the group from its start.
        command
            .args([OsStr::new("-c"), OsStr::new("echo $$ > \"$0\" && exec \"$@\"")])
            .arg(self.folder.join("cgroup.procs"))
            .arg(program);
        command
    }

    /// Returns how many processes of the group were killed because it had no memory left.
    ///
    /// # Panics
    /// When the kernel does not count them.
    #[must_use]
    pub fn killed(&self) -> u64 {
        let name = match self.version {
            CgroupVersion::One => "memory.oom_control",
            CgroupVersion::Two => "memory.events",
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
        // If this fails, an empty group remains, which has no effect.
        let _ = fs::remove_dir(&self.folder);
    }
}

/// Checks that a folder is on a disk: files of a tmpfs would count towards the limit.
///
/// # Panics
/// When the folder is on a tmpfs.
pub fn expect_disk(folder: &Path) {
    let kind = statfs(folder).expect("the folder is there").filesystem_type();
    assert!(
        kind != TMPFS_MAGIC,
        "{} is kept in memory, which counts towards the limit: name a folder on a disk with TMPDIR",
        folder.display()
    );
}

fn parent() -> (CgroupVersion, PathBuf) {
    let root = Path::new(ROOT);
    let first = root.join("memory");
    if first.join("memory.limit_in_bytes").exists() {
        return (CgroupVersion::One, first);
    }
    let controllers = fs::read_to_string(root.join("cgroup.controllers")).unwrap_or_default();
    if !controllers.split_whitespace().any(|name| name == "memory") {
        cannot(&format!("there is no controller of memory under {ROOT}"));
    }
    let control = root.join("cgroup.subtree_control");
    fs::write(&control, "+memory").unwrap_or_else(|error| cannot(&format!("{}: {error}", control.display())));
    (CgroupVersion::Two, root.to_owned())
}

fn cannot(reason: &str) -> ! {
    panic!("this test needs root and a control group of its own with a limit on memory; that cannot be had: {reason}")
}
