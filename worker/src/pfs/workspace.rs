//! The folder that one stage container sees as `/pfs`, datum after datum.
//!
//! ```text
//! on the worker            in the container
//! inputs/<n>/images/a/1    /pfs/.scratch/<n>/images/a/1   read-only
//! pfs/images               /pfs/images -> .scratch/<n>/images
//! pfs/out                  /pfs/out                       writable, empty
//! pfs/.env                 /pfs/.env
//! ```
//!
//! With private copies (`writable_inputs`) the inputs are below `/pfs/.writable/<n>` instead. The
//! number rises whenever the folders are made anew; between datums of the same shape only
//! the files in them change (`reset`). All functions here block.

use std::fs;
use std::io;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;

use crate::cache::scratch::Scratch;
use crate::error::Trouble;
use crate::pfs::workspace_reuse::{Given, Standing, Wanted, Whole, remove_with_parents, reset, reuse_inputs};
use crate::runtime::SlotDirs;

/// Name of the read-only mount within `/pfs`.
pub const SCRATCH: &str = ".scratch";
/// Name of the folder of private copies within `/pfs`.
pub const WRITABLE: &str = ".writable";

/// The folders of one stage container.
pub struct Workspace {
    dirs: SlotDirs,
    scratch: Scratch,
    number: u64,
    writable: bool,
    /// What the running try was given; `None` for private copies, of which the command makes what it wants.
    given: Option<Given>,
}

/// A small input file to be written.
pub struct SmallFile {
    /// Name of the input.
    pub input: Arc<str>,
    /// Path in its commit, beginning with `/`.
    pub path: String,
    /// Its bytes.
    pub bytes: Bytes,
}

impl Workspace {
    /// Takes fresh folders into use.
    pub fn new(dirs: SlotDirs, scratch: Scratch) -> Self {
        Self {
            dirs,
            scratch,
            number: 0,
            writable: false,
            given: None,
        }
    }

    /// Returns the folders.
    pub fn dirs(&self) -> &SlotDirs {
        &self.dirs
    }

    /// Returns the folder that holds this try's inputs.
    pub fn inputs(&self) -> PathBuf {
        if self.writable {
            self.dirs.pfs.join(WRITABLE).join(self.number.to_string())
        } else {
            self.dirs.inputs.join(self.number.to_string())
        }
    }

    /// Returns where an input file belongs on the worker's side.
    pub fn input_path(&self, input: &str, path: &str) -> PathBuf {
        self.inputs().join(input).join(path.trim_start_matches('/'))
    }

    /// Returns the output folder on the worker's side.
    pub fn out(&self) -> PathBuf {
        self.dirs.pfs.join("out")
    }

    /// Says whether inputs are private copies.
    pub fn writable(&self) -> bool {
        self.writable
    }

    /// Clears what the try before left and makes everything for the next one but its files. Returns which inputs
    /// stand as an earlier commit had them: there only the differences are to be made.
    pub fn begin(&mut self, wanted: &Wanted, writable: bool, env: &str) -> Result<Standing, Trouble> {
        let given = self.given.take().filter(|_| !writable);
        let reused = match given {
            Some(given) => {
                let pfs_is_new = reset(self, &given, env);
                // An error is no trouble yet: clearing everything meets it again if it is one.
                let reused = reuse_inputs(self, given, wanted, |path| self.scratch.discard(path));
                reused.ok().flatten().map(|reused| (pfs_is_new, reused))
            }
            None => None,
        };
        let Some((pfs_is_new, (given, standing))) = reused else {
            self.clear()?;
            self.number += 1;
            self.writable = writable;
            self.make_inputs(wanted)?;
            self.make_pfs(wanted, env)?;
            self.given = (!writable).then(|| Given::new(wanted.keys()));
            return Ok(Standing::new());
        };
        if !pfs_is_new {
            self.clear_pfs()?;
            self.make_pfs(wanted, env)?;
        }
        self.given = Some(given);
        Ok(standing)
    }

    fn make_inputs(&self, wanted: &Wanted) -> Result<(), Trouble> {
        let folder = self.inputs();
        if self.writable {
            make_open(&self.dirs.pfs.join(WRITABLE))?;
        }
        make(&folder)?;
        for input in wanted.keys() {
            let own = folder.join(&**input);
            make(&own)?;
            if self.writable {
                open_for_all(&own)?;
            }
        }
        Ok(())
    }

    fn make_pfs(&self, wanted: &Wanted, env: &str) -> Result<(), Trouble> {
        for input in wanted.keys() {
            let link = self.dirs.pfs.join(&**input);
            symlink(self.link_target(input), &link).map_err(Trouble::io("make the link", &link))?;
        }
        make_open(&self.out())?;
        let env_file = self.dirs.pfs.join(".env");
        fs::write(&env_file, env).map_err(Trouble::io("write", &env_file))
    }

    /// Returns what the link of an input in `/pfs` says.
    pub(crate) fn link_target(&self, input: &str) -> String {
        let home = if self.writable { WRITABLE } else { SCRATCH };
        format!("{home}/{}/{input}", self.number)
    }

    /// Remembers a file that is about to be placed by somebody else; returns where it belongs.
    pub fn expect_file(&mut self, input: &str, path: &str) -> PathBuf {
        let target = self.input_path(input, path);
        if let Some(given) = &mut self.given {
            given.add(input, target.clone());
        }
        target
    }

    /// Remembers that a folder has been laid out to the end.
    pub fn complete(&mut self, input: &str, whole: Whole) {
        if let Some(given) = &mut self.given {
            given.complete(input, whole);
        }
    }

    /// Makes sure that the next try builds on nothing that this one was given.
    pub fn forget(&mut self) {
        self.given = None;
    }

    /// Removes everything of the last try.
    pub fn clear(&mut self) -> Result<(), Trouble> {
        self.given = None;
        self.clear_folder(&self.dirs.inputs)?;
        self.clear_pfs()
    }

    fn clear_pfs(&self) -> Result<(), Trouble> {
        self.clear_folder(&self.dirs.pfs)
    }

    fn clear_folder(&self, folder: &Path) -> Result<(), Trouble> {
        let entries = fs::read_dir(folder).map_err(Trouble::io("read the folder", folder))?;
        for entry in entries {
            let entry = entry.map_err(Trouble::io("read the folder", folder))?;
            if entry.file_name() == SCRATCH && folder == self.dirs.pfs {
                continue;
            }
            let path = entry.path();
            self.scratch.discard(&path).map_err(Trouble::io("clear away", &path))?;
        }
        Ok(())
    }

    /// Writes small input files.
    pub fn write(&mut self, files: &[SmallFile]) -> Result<(), Trouble> {
        let mode = if self.writable { 0o666 } else { 0o444 };
        for file in files {
            let target = self.expect_file(&file.input, &file.path);
            write_with_parents(&target, &file.bytes, mode).map_err(Trouble::io("write the input file", &target))?;
        }
        Ok(())
    }

    /// Removes files of an input that stands, and the folders that held nothing else.
    pub fn remove(&self, input: &str, paths: &[String]) -> Result<(), Trouble> {
        let inputs = self.inputs();
        for path in paths {
            let target = self.input_path(input, path);
            remove_with_parents(&target, &inputs).map_err(Trouble::io("remove the input file", &target))?;
        }
        Ok(())
    }

    /// Lets everybody write into the folders of private copies.
    pub fn open_folders(&self) -> Result<(), Trouble> {
        fn walk(folder: &Path) -> Result<(), Trouble> {
            open_for_all(folder)?;
            let entries = fs::read_dir(folder).map_err(Trouble::io("read the folder", folder))?;
            for entry in entries.flatten() {
                if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
                    walk(&entry.path())?;
                }
            }
            Ok(())
        }
        if self.writable { walk(&self.inputs()) } else { Ok(()) }
    }

    /// Gives the folders up for removal.
    pub fn give_up(&self) {
        if let Err(error) = self.scratch.discard_slot(&self.dirs) {
            tracing::warn!(folder = %self.dirs.pfs.display(), %error, "slot folder left behind");
        }
    }
}

fn make(folder: &Path) -> Result<(), Trouble> {
    match fs::create_dir(folder) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => {
            Err(Trouble::io("make the folder", folder)(error))
        }
        _ => Ok(()),
    }
}

/// Makes a folder that any user may write to: commands may run as anybody.
fn make_open(folder: &Path) -> Result<(), Trouble> {
    make(folder)?;
    open_for_all(folder)
}

fn open_for_all(folder: &Path) -> Result<(), Trouble> {
    fs::set_permissions(folder, fs::Permissions::from_mode(0o777)).map_err(Trouble::io("set the mode of", folder))
}

fn write_with_parents(target: &Path, bytes: &[u8], mode: u32) -> io::Result<()> {
    use std::io::Write;
    use std::os::unix::fs::OpenOptionsExt;
    let open = || {
        fs::OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(mode)
            .open(target)
    };
    let mut file = match open() {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            if let Some(folder) = target.parent() {
                fs::create_dir_all(folder)?;
            }
            open()?
        }
        // Two matches of one datum overlap: the same file of the same commit.
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => return Ok(()),
        other => other?,
    };
    file.write_all(bytes)?;
    if mode == 0o666 {
        // The process's umask has taken the right to write from others.
        file.set_permissions(fs::Permissions::from_mode(mode))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(folder: &Path) -> Vec<String> {
        let mut names: Vec<_> = fs::read_dir(folder)
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        names
    }

    /// Tells a folder from one made later, which may get the number of one that is gone.
    fn birth(folder: &Path) -> std::time::SystemTime {
        fs::metadata(folder).unwrap().created().unwrap()
    }

    #[test]
    fn every_try_finds_only_its_own_things() {
        let folder = tempfile::tempdir().unwrap();
        let scratch = Scratch::open(folder.path()).unwrap();
        let mut space = Workspace::new(scratch.slot_dirs(0).unwrap(), scratch);
        let inputs = Wanted::from([(Arc::from("a"), None), (Arc::from("b"), None)]);
        let file = |text: &str| SmallFile {
            input: Arc::from("a"),
            path: "/x/y".into(),
            bytes: Bytes::copy_from_slice(text.as_bytes()),
        };
        for (number, writable) in [(1, false), (2, true), (3, false)] {
            space.begin(&inputs, writable, "A=1\n").unwrap();
            space.write(&[file("one")]).unwrap();
            space.open_folders().unwrap();
            let pfs = space.dirs().pfs.clone();
            let mut expected = vec![".env", ".scratch", "a", "b", "out"];
            if writable {
                expected.insert(2, ".writable");
            }
            assert_eq!(names(&pfs), expected);
            assert_eq!(names(&pfs.join("out")), Vec::<String>::new());
            let home = if writable { ".writable" } else { ".scratch" };
            let link = fs::read_link(pfs.join("a")).unwrap();
            assert_eq!(link, PathBuf::from(format!("{home}/{number}/a")));
            assert_eq!(fs::read(space.input_path("a", "/x/y")).unwrap(), b"one");
            // What user code leaves lying about.
            fs::write(pfs.join("out/result"), "r").unwrap();
            fs::create_dir_all(pfs.join("rubbish/deep")).unwrap();
            symlink("/etc/passwd", pfs.join("link")).unwrap();
        }
        space.clear().unwrap();
        assert_eq!(names(&space.dirs().pfs), [".scratch"]);
        assert_eq!(names(&space.dirs().inputs), Vec::<String>::new());
    }

    #[test]
    fn between_trivial_tries_only_files_change() {
        type Mischief<'a> = &'a dyn Fn(&Workspace);
        let pfs = |space: &Workspace, name: &str| space.dirs().pfs.join(name);
        // What user code may do, and whether the folders can stay.
        let cases: [(&str, bool, Mischief<'_>); 9] = [
            ("nothing", true, &|_| {}),
            ("output", true, &|s| fs::write(s.out().join("o"), "o").unwrap()),
            ("link in the output", true, &|s| {
                symlink("/etc", s.out().join("l")).unwrap()
            }),
            ("folder in the output", false, &|s| {
                fs::create_dir(s.out().join("d")).unwrap()
            }),
            ("closed output", false, &|s| {
                fs::set_permissions(s.out(), fs::Permissions::from_mode(0o500)).unwrap();
            }),
            ("something in /pfs", false, &|s| fs::write(pfs(s, "x"), "x").unwrap()),
            ("another link", false, &|s| {
                fs::remove_file(pfs(s, "a")).unwrap();
                symlink("/etc", pfs(s, "a")).unwrap();
            }),
            ("variables linked", false, &|s| {
                fs::remove_file(pfs(s, ".env")).unwrap();
                symlink("/dev/null", pfs(s, ".env")).unwrap();
            }),
            ("variables hidden", false, &|s| {
                fs::set_permissions(pfs(s, ".env"), fs::Permissions::from_mode(0o200)).unwrap();
            }),
        ];
        let folder = tempfile::tempdir().unwrap();
        let scratch = Scratch::open(folder.path()).unwrap();
        let inputs = Wanted::from([(Arc::from("a"), None)]);
        let file = |path: &str| SmallFile {
            input: Arc::from("a"),
            path: path.into(),
            bytes: Bytes::from_static(b"bytes"),
        };
        for (name, stays, mischief) in cases {
            let mut space = Workspace::new(scratch.slot_dirs(0).unwrap(), scratch.clone());
            space.begin(&inputs, false, "A=long value\n").unwrap();
            space
                .write(&[file("/x/y/one"), file("/x/two"), file("/three")])
                .unwrap();
            mischief(&space);
            let before = space.inputs();
            let out = birth(&space.out());
            space.begin(&inputs, false, "A=1\n").unwrap();
            assert_eq!(birth(&space.out()) == out, stays, "{name}");
            assert_eq!(space.inputs(), before, "{name}: commands cannot write to inputs");
            assert_eq!(names(&space.dirs().pfs), [".env", ".scratch", "a", "out"], "{name}");
            assert_eq!(names(&space.out()), Vec::<String>::new(), "{name}");
            assert_eq!(names(&space.inputs()), ["a"], "{name}");
            assert_eq!(names(&space.inputs().join("a")), Vec::<String>::new(), "{name}");
            assert_eq!(fs::read(pfs(&space, ".env")).unwrap(), b"A=1\n", "{name}");
        }
    }

    #[test]
    fn what_arrives_late_for_a_try_that_failed_does_not_reach_the_next() {
        let folder = tempfile::tempdir().unwrap();
        let scratch = Scratch::open(folder.path()).unwrap();
        let mut space = Workspace::new(scratch.slot_dirs(0).unwrap(), scratch);
        let whole = Whole {
            path: "/".into(),
            root: howdah_model::ids::TreeRoot::new([1; 32]),
        };
        let inputs = Wanted::from([(Arc::from("a"), Some(whole))]);
        space.begin(&inputs, false, "").unwrap();
        let late = space.expect_file("a", "/late");
        space.forget();
        assert!(space.begin(&inputs, false, "").unwrap().is_empty());
        fs::create_dir_all(late.parent().unwrap()).unwrap();
        fs::write(&late, "late").unwrap();
        assert_eq!(names(&space.inputs().join("a")), Vec::<String>::new());
        // And it goes with the next that starts from nothing.
        space.clear().unwrap();
        assert_eq!(names(&space.dirs().inputs), Vec::<String>::new());
    }
}
