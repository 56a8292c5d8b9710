//! What a command left in `/pfs/out`.
//!
//! Links are followed as the container would see them, step by step and without ever letting the
//! worker's own kernel follow one: a link to `/etc/passwd` must not read the worker's. A link into
//! an input becomes a reference to the file's stored content, so that moving or regrouping files
//! costs no bytes. Everything here blocks.

use std::ffi::OsString;
use std::fs::{self, File, Metadata};
use std::io::{self, Read};
use std::os::unix::fs::{FileTypeExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use howdah_store::{PathRules, check_path};

use crate::cache::file_cache::SMALL_FILE_BYTES;
use crate::error::Trouble;
use crate::pfs::links::{LinkError, Place, View};

/// Bytes of small files that are read while walking; the rest is read when it is stored.
const READ_ALONG_BYTES: u64 = 8 << 20;

/// One output file.
#[derive(Debug)]
pub struct Found {
    /// Path in the output, beginning with `/`.
    pub path: String,
    /// Where its bytes are.
    pub bytes: Bytes,
}

/// Where the bytes of an output file are.
#[derive(Debug)]
pub enum Bytes {
    /// Here: a small file, already read.
    Read(Vec<u8>),
    /// In this file of the worker's disk, to be opened with [`open`]. There may be more of them than
    /// a process may have open.
    File(PathBuf),
    /// In the store already: an unmodified file of an input.
    Input {
        /// Name of the input.
        input: String,
        /// Path in its commit.
        path: String,
    },
}

/// Why an output was not accepted. Faults of the output fail the try; troubles do not.
#[derive(Debug, thiserror::Error)]
pub enum OutputError {
    /// The output itself is at fault.
    #[error("{0}")]
    Fault(String),
    /// These links, as the container sees them, lead to where only it sees.
    #[error("links of the output lead out of /pfs: {0:?}")]
    Outside(Vec<String>),
    /// This machine is.
    #[error(transparent)]
    Trouble(#[from] Trouble),
}

/// Collects everything below `/pfs/out`, sorted by path.
pub fn collect(view: &View) -> Result<Vec<Found>, OutputError> {
    let out = view.out();
    let mut walk = Walk {
        view,
        found: Vec::new(),
        outside: Vec::new(),
        read_along: 0,
        above: Vec::new(),
    };
    match fs::symlink_metadata(&out) {
        Ok(meta) if meta.is_dir() => walk.folder(&out, "", &meta)?,
        Ok(_) => return Err(fault("/pfs/out is no longer a directory: write files into it")),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            return Err(fault("/pfs/out has been removed: leave it and write files into it"));
        }
        Err(error) => return Err(Trouble::io("look at", &out)(error).into()),
    }
    if !walk.outside.is_empty() {
        return Err(OutputError::Outside(walk.outside));
    }
    let mut found = walk.found;
    found.sort_unstable_by(|a, b| a.path.cmp(&b.path));
    Ok(found)
}

fn fault(text: impl Into<String>) -> OutputError {
    OutputError::Fault(text.into())
}

struct Walk<'a> {
    view: &'a View,
    found: Vec<Found>,
    /// Links that lead to the container's own files.
    outside: Vec<String>,
    read_along: u64,
    /// Device and inode of the folders that we are in, to notice links that lead back.
    above: Vec<(u64, u64)>,
}

impl Walk<'_> {
    /// Walks a real folder; `path` is its path in the output.
    fn folder(&mut self, folder: &Path, path: &str, meta: &Metadata) -> Result<(), OutputError> {
        let identity = (meta.dev(), meta.ino());
        if self.above.contains(&identity) {
            return Err(fault(format!("link at /pfs/out{path} leads back to a folder above it")));
        }
        self.above.push(identity);
        for name in names_in(folder, path)? {
            let real = folder.join(&name);
            let path = child_path(path, name)?;
            let meta = fs::symlink_metadata(&real).map_err(|error| unreadable("file", &path, error))?;
            self.entry(&real, path, &meta)?;
        }
        self.above.pop();
        Ok(())
    }

    fn entry(&mut self, real: &Path, path: String, meta: &Metadata) -> Result<(), OutputError> {
        let kind = meta.file_type();
        if kind.is_dir() {
            self.folder(real, &path, meta)
        } else if kind.is_file() {
            self.file(real, path)
        } else if kind.is_symlink() {
            self.link(path)
        } else {
            // Pipes, sockets and devices have no content to keep.
            let special = kind.is_fifo() || kind.is_socket();
            tracing::debug!(path, special, "skipped in the output");
            Ok(())
        }
    }

    fn file(&mut self, real: &Path, path: String) -> Result<(), OutputError> {
        check_path(&path, PathRules::Strict).map_err(|error| fault(error.to_string()))?;
        // Also what is only read later is opened now: a file that cannot be read is the datum's fault.
        let mut file = open(real).map_err(|error| unreadable("file", &path, error))?;
        let size = file.metadata().map_err(|error| unreadable("file", &path, error))?.len();
        let bytes = if size <= SMALL_FILE_BYTES && self.read_along + size <= READ_ALONG_BYTES {
            let mut bytes = Vec::with_capacity(usize::try_from(size).unwrap_or(0) + 1);
            file.read_to_end(&mut bytes)
                .map_err(|error| unreadable("file", &path, error))?;
            self.read_along += bytes.len() as u64;
            Bytes::Read(bytes)
        } else {
            Bytes::File(real.to_owned())
        };
        self.found.push(Found { path, bytes });
        Ok(())
    }

    fn link(&mut self, path: String) -> Result<(), OutputError> {
        let place = match self.view.resolve(&format!("/pfs/out{path}")) {
            Ok(place) => place,
            Err(LinkError::Outside) => {
                self.outside.push(format!("/pfs/out{path}"));
                return Ok(());
            }
            Err(LinkError::Io { source, .. }) => return Err(unreadable("target of the link", &path, source)),
            Err(other) => return Err(fault(format!("link at /pfs/out{path}: {other}"))),
        };
        let meta = fs::symlink_metadata(&place.real).map_err(|error| unreadable("target of the link", &path, error))?;
        if meta.is_dir() {
            return self.linked_folder(&place, &path, &meta);
        }
        self.linked_file(&place, path, &meta)
    }

    fn linked_folder(&mut self, place: &Place, path: &str, meta: &Metadata) -> Result<(), OutputError> {
        let Some((input, inside)) = place.in_input.clone() else {
            return self.folder(&place.real, path, meta);
        };
        for name in names_in(&place.real, path)? {
            let below = Place {
                real: place.real.join(&name),
                in_input: Some((input.clone(), child_path(&inside, name.clone())?)),
            };
            let path = child_path(path, name)?;
            let meta = fs::symlink_metadata(&below.real).map_err(|error| unreadable("file", &path, error))?;
            if meta.is_dir() {
                self.linked_folder(&below, &path, &meta)?;
            } else {
                self.linked_file(&below, path, &meta)?;
            }
        }
        Ok(())
    }

    fn linked_file(&mut self, place: &Place, path: String, meta: &Metadata) -> Result<(), OutputError> {
        if !meta.is_file() {
            return self.entry(&place.real, path, meta);
        }
        let Some((input, inside)) = place.in_input.clone() else {
            return self.file(&place.real, path);
        };
        check_path(&path, PathRules::Strict).map_err(|error| fault(error.to_string()))?;
        let bytes = Bytes::Input { input, path: inside };
        self.found.push(Found { path, bytes });
        Ok(())
    }
}

fn child_path(folder: &str, name: OsString) -> Result<String, OutputError> {
    let name = name.into_string().map_err(|name| {
        let shown = name.to_string_lossy().into_owned();
        fault(format!(
            "path \"{folder}/{shown}\" invalid: only printable ASCII characters allowed, \
             found bytes that are not text"
        ))
    })?;
    Ok(format!("{folder}/{name}"))
}

/// Lists a folder and closes it again, so that a deep tree does not hold as many folders open.
fn names_in(folder: &Path, path: &str) -> Result<Vec<OsString>, OutputError> {
    fs::read_dir(folder)
        .and_then(|entries| entries.map(|entry| Ok(entry?.file_name())).collect())
        .map_err(|error| unreadable("folder", path, error))
}

/// Opens an output file, and nothing that has taken its place since: not what a link leads to, and
/// without waiting for the other end of a pipe.
pub fn open(real: &Path) -> io::Result<File> {
    fs::OpenOptions::new()
        .read(true)
        .custom_flags(libc::O_NOFOLLOW | libc::O_NONBLOCK)
        .open(real)
}

/// Explains why something in the output cannot be read: its own mode, or this machine.
fn unreadable(what: &str, path: &str, error: io::Error) -> OutputError {
    if let Some(libc::EMFILE | libc::ENFILE | libc::EIO | libc::ENOMEM) = error.raw_os_error() {
        return Trouble::io("read the output", format!("/pfs/out{path}"))(error).into();
    }
    fault(format!(
        "cannot read the {what} /pfs/out{path}: {error}{}",
        if error.kind() == io::ErrorKind::PermissionDenied {
            " (the worker does not run as root: files in /pfs/out must be readable for all)"
        } else {
            ""
        }
    ))
}

/// Reads the next piece of an output file.
pub fn read_piece(mut file: File, piece_bytes: usize) -> io::Result<(File, Vec<u8>)> {
    let mut piece = Vec::with_capacity(piece_bytes);
    (&mut file).take(piece_bytes as u64).read_to_end(&mut piece)?;
    Ok((file, piece))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;
    use std::path::PathBuf;
    use std::sync::Arc;

    use super::*;
    use crate::cache::scratch::Scratch;
    use crate::pfs::workspace::{SmallFile, Workspace};

    struct Bench {
        _folder: tempfile::TempDir,
        space: Workspace,
    }

    impl Bench {
        fn new(writable: bool) -> Self {
            let folder = tempfile::tempdir().unwrap();
            let scratch = Scratch::open(folder.path()).unwrap();
            let mut space = Workspace::new(scratch.slot_dirs(0).unwrap(), scratch);
            space.begin(&[(Arc::from("in"), None)].into(), writable, "").unwrap();
            let file = |path: &str| SmallFile {
                input: Arc::from("in"),
                path: path.into(),
                bytes: b"input".as_slice().into(),
            };
            space.write(&[file("/d/one"), file("/d/two"), file("/x")]).unwrap();
            Self { _folder: folder, space }
        }

        fn out(&self, path: &str) -> PathBuf {
            let path = self.space.out().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            path
        }

        fn collect(&self) -> Result<Vec<String>, String> {
            let found = collect(&View::of(&self.space)).map_err(|error| error.to_string())?;
            let shown = |found: Found| match found.bytes {
                Bytes::Read(bytes) => {
                    format!("{} = {}", found.path, String::from_utf8(bytes).unwrap())
                }
                Bytes::File(file) => {
                    format!("{} of {}", found.path, fs::metadata(file).unwrap().len())
                }
                Bytes::Input { input, path } => format!("{} -> {input}:{path}", found.path),
            };
            Ok(found.into_iter().map(shown).collect())
        }
    }

    #[test]
    fn regular_files_at_any_depth_are_output_and_nothing_else_is() {
        let bench = Bench::new(false);
        fs::write(bench.out("b"), "B").unwrap();
        fs::write(bench.out("a/deep/er"), "E").unwrap();
        fs::write(bench.out("big"), vec![0; 100_000]).unwrap();
        fs::create_dir(bench.out("empty")).unwrap();
        nix::unistd::mkfifo(&bench.out("pipe"), nix::sys::stat::Mode::S_IRWXU).unwrap();
        let _socket = std::os::unix::net::UnixListener::bind(bench.out("s")).unwrap();
        assert_eq!(bench.collect().unwrap(), ["/a/deep/er = E", "/b = B", "/big of 100000"]);
    }

    #[test]
    fn links_into_inputs_become_references() {
        let bench = Bench::new(false);
        symlink("/pfs/in/x", bench.out("absolute")).unwrap();
        symlink("../in/d/one", bench.out("relative")).unwrap();
        symlink("relative", bench.out("twice")).unwrap();
        symlink("/pfs/in/d", bench.out("folder")).unwrap();
        symlink("../../in/../in/./x", bench.out("sub/crooked")).unwrap();
        fs::write(bench.out("own"), "O").unwrap();
        symlink("own", bench.out("copy")).unwrap();
        assert_eq!(
            bench.collect().unwrap(),
            [
                "/absolute -> in:/x",
                "/copy = O",
                "/folder/one -> in:/d/one",
                "/folder/two -> in:/d/two",
                "/own = O",
                "/relative -> in:/d/one",
                "/sub/crooked -> in:/x",
                "/twice -> in:/d/one",
            ]
        );
    }

    #[test]
    fn links_that_only_the_container_can_follow_are_listed() {
        let bench = Bench::new(false);
        symlink("/etc/passwd", bench.out("a")).unwrap();
        symlink("../../../usr/lib/x", bench.out("sub/b")).unwrap();
        symlink("/", bench.out("c")).unwrap();
        symlink("/pfs/in/x", bench.out("d")).unwrap();
        match collect(&View::of(&bench.space)) {
            Err(OutputError::Outside(mut links)) => {
                links.sort();
                assert_eq!(links, ["/pfs/out/a", "/pfs/out/c", "/pfs/out/sub/b"]);
            }
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn links_into_private_copies_are_stored_as_they_are_now() {
        let bench = Bench::new(true);
        fs::write(bench.space.input_path("in", "/x"), "changed").unwrap();
        symlink("/pfs/in/x", bench.out("link")).unwrap();
        assert_eq!(bench.collect().unwrap(), ["/link = changed"]);
    }

    #[test]
    fn files_that_wait_to_be_stored_are_not_held_open() {
        let bench = Bench::new(false);
        let bytes = vec![1; usize::try_from(SMALL_FILE_BYTES).unwrap() + 1];
        for number in 0..50 {
            fs::write(bench.out(&format!("f{number}")), &bytes).unwrap();
        }
        let found = collect(&View::of(&bench.space)).unwrap();
        let held = fs::read_dir("/proc/self/fd")
            .unwrap()
            .flatten()
            .filter_map(|fd| fs::read_link(fd.path()).ok())
            .filter(|target| target.starts_with(bench.space.out()))
            .count();
        assert_eq!(held, 0);
        let Bytes::File(path) = &found[0].bytes else {
            panic!("{:?} is too big to be read along", found[0]);
        };
        assert_eq!(read_piece(open(path).unwrap(), 1 << 20).unwrap().1, bytes);
        fs::remove_file(path).unwrap();
        symlink("/etc/passwd", path).unwrap();
        assert!(open(path).is_err(), "a link must not be followed");
    }

    #[test]
    fn the_machines_troubles_are_not_the_outputs_fault() {
        let error = |code| unreadable("file", "/x", io::Error::from_raw_os_error(code));
        for code in [libc::EMFILE, libc::ENFILE, libc::EIO, libc::ENOMEM] {
            assert!(matches!(error(code), OutputError::Trouble(_)), "{code}");
        }
        assert!(matches!(error(libc::EACCES), OutputError::Fault(_)));
    }

    #[test]
    fn bad_output_is_named() {
        type Prepare<'a> = &'a dyn Fn(&Bench);
        let cases: [(&str, Prepare<'_>, &str); 7] = [
            (
                "dangling",
                &|b| symlink("/pfs/in/none", b.out("l")).unwrap(),
                "link at /pfs/out/l: its target /pfs/in/none does not exist",
            ),
            (
                "too long",
                &|b| symlink(format!("/pfs/in/{}", "x".repeat(300)), b.out("l")).unwrap(),
                "cannot read the target of the link /pfs/out/l: File name too long",
            ),
            (
                "loop",
                &|b| symlink("l", b.out("l")).unwrap(),
                "link at /pfs/out/l: it leads through too many other links",
            ),
            (
                "back",
                &|b| symlink("..", b.out("d/l")).unwrap(),
                "link at /pfs/out/d/l leads back to a folder above it",
            ),
            (
                "name",
                &|b| fs::write(b.out("a*b"), "").unwrap(),
                "path \"/a*b\" invalid: character '*' not allowed in path",
            ),
            (
                "text",
                &|b| {
                    use std::os::unix::ffi::OsStringExt;
                    let name = OsString::from_vec(vec![b'x', 0xff]);
                    fs::write(b.space.out().join(name), "").unwrap();
                },
                "found bytes that are not text",
            ),
            (
                "gone",
                &|b| fs::remove_dir(b.space.out()).unwrap(),
                "/pfs/out has been removed",
            ),
        ];
        for (name, prepare, expected) in cases {
            let bench = Bench::new(false);
            prepare(&bench);
            let error = bench.collect().unwrap_err();
            assert!(error.contains(expected), "{name}: {error}");
        }
    }
}
