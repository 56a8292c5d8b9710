//! Opening paths below a folder without following links.
//!
//! Linux 5.6 and later resolve a path below a folder by themselves (`openat2`). Elsewhere, or where a filter of system
//! calls forbids that, each element is opened by itself.

use std::fs::File;
use std::io;
use std::os::fd::AsFd;
use std::path::{Component, Path};
use std::sync::OnceLock;

use rustix::fs::{CWD, Mode, OFlags, ResolveFlags, openat, openat2};
use rustix::io::Errno;

/// Attempts to open a path while other processes rename folders in it.
const ATTEMPTS: usize = 16;
/// Longest name of a file or folder in bytes.
const MAX_NAME: usize = 255;

/// No link, and nothing outside of the folder.
const BENEATH: ResolveFlags = ResolveFlags::BENEATH
    .union(ResolveFlags::NO_SYMLINKS)
    .union(ResolveFlags::NO_MAGICLINKS);

/// Returns whether a text is the name of one file or folder: not empty, not `.` or `..`, without slash and zero byte,
/// at most 255 bytes.
pub(crate) fn is_file_name(name: &str) -> bool {
    !matches!(name, "" | "." | "..") && name.len() <= MAX_NAME && !name.bytes().any(|byte| matches!(byte, b'/' | 0))
}

/// Opens a path below a folder. The last element is not followed either; with [`OFlags::PATH`] a link itself is opened.
///
/// An empty path is the folder itself. `mode` is for a file that is created.
pub(super) fn open_beneath(folder: impl AsFd, path: &Path, flags: OFlags, mode: Mode) -> io::Result<File> {
    check(path)?;
    let path = if path.as_os_str().is_empty() {
        Path::new(".")
    } else {
        path
    };
    let flags = flags | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    if !has_openat2() {
        return open_by_elements(folder, path, flags, mode);
    }
    for _ in 0..ATTEMPTS {
        match openat2(folder.as_fd(), path, flags, mode, BENEATH) {
            Ok(file) => return Ok(file.into()),
            // A folder was renamed meanwhile, so the kernel cannot say whether the path stays below the folder.
            Err(Errno::AGAIN) => {}
            Err(Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
    }
    Err(Errno::AGAIN.into())
}

/// Returns whether the kernel has `openat2` and allows it.
fn has_openat2() -> bool {
    static AVAILABLE: OnceLock<bool> = OnceLock::new();
    *AVAILABLE.get_or_init(|| {
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        openat2(CWD, "/", flags, Mode::empty(), ResolveFlags::NO_MAGICLINKS).is_ok()
    })
}

/// Opens a path as [`open_beneath`] does, with one call for each element.
fn open_by_elements(folder: impl AsFd, path: &Path, flags: OFlags, mode: Mode) -> io::Result<File> {
    let through = OFlags::PATH | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let mut elements = path.components().peekable();
    let mut opened: Option<File> = None;
    while let Some(element) = elements.next() {
        let (flags, mode) = match elements.peek() {
            Some(_) => (through, Mode::empty()),
            None => (flags, mode),
        };
        let next = match &opened {
            Some(above) => openat(above, element.as_os_str(), flags, mode)?,
            None => openat(folder.as_fd(), element.as_os_str(), flags, mode)?,
        };
        opened = Some(next.into());
    }
    opened.ok_or_else(|| invalid(path))
}

/// Refuses paths that are absolute or have an element `..`.
fn check(path: &Path) -> io::Result<()> {
    let stays = |element: Component<'_>| matches!(element, Component::Normal(_) | Component::CurDir);
    if path.components().all(stays) {
        Ok(())
    } else {
        Err(invalid(path))
    }
}

/// Returns the error for a path that does not stay below its folder.
pub(super) fn invalid(path: &Path) -> io::Error {
    io::Error::new(
        io::ErrorKind::InvalidInput,
        format!("{path:?} is not a path below a folder"),
    )
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::io::Read;
    use std::os::unix::fs::symlink;

    use super::*;

    #[test]
    fn names_are_single_elements() {
        for good in ["a", "a b", "..a", "...", "\u{e9}"] {
            assert!(is_file_name(good), "{good:?}");
        }
        for bad in ["", ".", "..", "a/b", "/", "a\0b", &"x".repeat(256)] {
            assert!(!is_file_name(bad), "{bad:?}");
        }
    }

    #[test]
    fn no_element_of_a_path_is_followed_or_climbs() {
        let outside = tempfile::tempdir().unwrap();
        fs::write(outside.path().join("secret"), "secret").unwrap();
        let folder = tempfile::tempdir().unwrap();
        fs::create_dir_all(folder.path().join("a/b")).unwrap();
        fs::write(folder.path().join("a/b/file"), "inside").unwrap();
        symlink(outside.path(), folder.path().join("a/link")).unwrap();
        symlink("b/file", folder.path().join("a/near")).unwrap();
        symlink("/proc/self/root", folder.path().join("magic")).unwrap();
        let root = File::open(folder.path()).unwrap();
        let by_kernel = |path: &str| open_beneath(&root, Path::new(path), OFlags::RDONLY, Mode::empty());
        let by_elements = |path: &str| {
            check(Path::new(path))?;
            let flags = OFlags::RDONLY | OFlags::NOFOLLOW;
            open_by_elements(&root, Path::new(path), flags, Mode::empty())
        };
        type Open<'a> = &'a dyn Fn(&str) -> io::Result<File>;
        let ways: [Open<'_>; 2] = [&by_kernel, &by_elements];
        for open in ways {
            let mut text = String::new();
            open("a/b/file").unwrap().read_to_string(&mut text).unwrap();
            assert_eq!(text, "inside");
            assert!(open("a").unwrap().metadata().unwrap().is_dir());
            for path in [
                "a/link/secret",
                "a/link",
                "a/near",
                "magic/etc/passwd",
                "../x",
                "a/../../x",
                "a/..",
                "/etc/passwd",
                "a/none",
            ] {
                assert!(open(path).is_err(), "{path} was opened");
            }
        }
        assert!(by_kernel("").unwrap().metadata().unwrap().is_dir());
    }
}
