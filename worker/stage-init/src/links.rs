//! Replaces symbolic links by copies of their targets.
//!
//! A link in the output may lead to a file of the image, which only a process in the container
//! sees. The worker runs this as a command in the container and then finds an ordinary file. It
//! runs like any other command: with the permissions of the datum's user and with a time limit.
//!
//! [`replace`] fails at the first link whose target does not exist, cannot be read, or contains the
//! link. The links before it are replaced already. What has no content is counted
//! ([`WithoutContent`]), so that the worker can tell the user.

use std::ffi::OsStr;
use std::fs::{self, Metadata};
use std::io::{self, Read};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

/// Error number of "too many links".
const ELOOP: i32 = 40;

/// Levels of folders in a target that are copied. The worker refuses output that is deeper.
const MAX_DEPTH: usize = 512;
/// Paths that [`WithoutContent`] keeps; further ones are only counted.
const NAMED: usize = 5;

/// Paths at which there is nothing now, because the target was a pipe, a socket or a device.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct WithoutContent {
    /// Number of paths.
    pub count: u64,
    /// The first of them.
    pub first: Vec<String>,
}

impl WithoutContent {
    fn add(&mut self, path: &Path) {
        self.count += 1;
        if self.first.len() < NAMED {
            self.first.push(path.to_string_lossy().into_owned());
        }
    }

    /// Returns the number and the paths as text, separated by zero bytes.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let mut bytes = self.count.to_string().into_bytes();
        for path in &self.first {
            bytes.push(0);
            bytes.extend_from_slice(path.as_bytes());
        }
        bytes
    }

    /// Reads what [`WithoutContent::encode`] returned. Anything else counts as nothing: it is said
    /// inside the container, where the user's code can say it too.
    #[must_use]
    pub fn decode(bytes: &[u8]) -> Self {
        let mut parts = bytes.split(|byte| *byte == 0).map(String::from_utf8_lossy);
        let count: Option<u32> = parts.next().and_then(|number| number.parse().ok());
        WithoutContent {
            count: count.map_or(0, u64::from),
            first: parts.take(NAMED).map(|path| path.into_owned()).collect(),
        }
    }
}

/// Replaces the links whose absolute paths `paths` contains, separated by zero bytes.
///
/// A directory is copied with all its content; links in it are followed. A pipe, a socket and a
/// device have no content: the link is removed, and counted in the answer. The error is a text for
/// the user.
pub fn replace(mut paths: impl Read) -> Result<WithoutContent, String> {
    let mut list = Vec::new();
    let mut without = WithoutContent::default();
    paths
        .read_to_end(&mut list)
        .map_err(|e| format!("cannot read which links to follow: {e}"))?;
    for path in list.split(|byte| *byte == 0).filter(|path| !path.is_empty()) {
        let link = Path::new(OsStr::from_bytes(path));
        let fault = |what| format!("link at {}: {what}", link.display());
        let is_link = fs::symlink_metadata(link)
            .map_err(|e| fault(e.to_string()))?
            .is_symlink();
        // The path may lie in a folder that has just replaced an earlier link of the list. Then it
        // is a file already.
        if is_link {
            replace_one(link, &mut without).map_err(fault)?;
        }
    }
    Ok(without)
}

fn replace_one(link: &Path, without: &mut WithoutContent) -> Result<(), String> {
    let (target, meta) = follow(link)?;
    // The folders above the link: a target among them would be copied into itself without end.
    let mut above = Vec::new();
    let folder = link.parent().unwrap_or(Path::new("/"));
    let folder = fs::canonicalize(folder).map_err(|e| format!("its folder cannot be found: {e}"))?;
    for folder in folder.ancestors() {
        let meta = fs::metadata(folder).map_err(|e| format!("cannot look at {}: {e}", folder.display()))?;
        above.push(inode(&meta));
    }
    fs::remove_file(link).map_err(|e| format!("it cannot be replaced by its target: {e}"))?;
    let outer = above.len();
    copy(&target, &meta, link, &mut above, outer, without)
}

/// Follows all links of a path and returns the target with its metadata.
fn follow(path: &Path) -> Result<(PathBuf, Metadata), String> {
    let found = fs::canonicalize(path).and_then(|target| Ok((fs::metadata(&target)?, target)));
    match found {
        Ok((meta, target)) => Ok((target, meta)),
        Err(e) if e.raw_os_error() == Some(ELOOP) => Err("it leads through too many other links".to_owned()),
        Err(e) => {
            let target = fs::read_link(path).unwrap_or_default();
            let target = target.display();
            Err(match e.kind() {
                io::ErrorKind::NotFound | io::ErrorKind::NotADirectory => format!("its target {target} does not exist"),
                _ => format!("its target {target} cannot be reached: {e}"),
            })
        }
    }
}

/// Copies `from`, which is not a link, to `to`, which must not exist.
///
/// `above` lists the folders that contain the copy; the first `outer` of them contain the link.
/// `without` gets what cannot be copied.
fn copy(
    from: &Path,
    meta: &Metadata,
    to: &Path,
    above: &mut Vec<(u64, u64)>,
    outer: usize,
    without: &mut WithoutContent,
) -> Result<(), String> {
    let failed = |e: io::Error| format!("its target {} cannot be copied: {e}", from.display());
    if meta.is_file() {
        let mut source = fs::File::open(from).map_err(failed)?;
        let mut copy = fs::File::create_new(to).map_err(failed)?;
        return io::copy(&mut source, &mut copy).map(drop).map_err(failed);
    }
    if !meta.is_dir() {
        without.add(to);
        return Ok(());
    }
    if above.contains(&inode(meta)) {
        return Err(format!("its target {} leads back to a folder above it", from.display()));
    }
    if above.len() - outer >= MAX_DEPTH {
        return Err(format!(
            "its target has folders nested more than {MAX_DEPTH} levels deep"
        ));
    }
    above.push(inode(meta));
    fs::create_dir(to).map_err(failed)?;
    // Listed as a whole, so that the folder is not open while those in it are copied.
    let listed = fs::read_dir(from).and_then(|entries| entries.map(|entry| Ok(entry?.file_name())).collect());
    let names: Vec<std::ffi::OsString> = listed.map_err(failed)?;
    for name in names {
        let (target, meta) = follow(&from.join(&name))
            .map_err(|what| format!("in its target, {}: {what}", from.join(&name).display()))?;
        copy(&target, &meta, &to.join(&name), above, outer, without)?;
    }
    above.pop();
    Ok(())
}

/// Returns device and inode number, which identify a file on this machine.
fn inode(meta: &Metadata) -> (u64, u64) {
    (meta.dev(), meta.ino())
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    /// A temporary folder with `out` and `image`, removed at the end of the test.
    struct LinkFolders(PathBuf);

    impl LinkFolders {
        fn new(name: &str) -> Self {
            let folder = std::env::temp_dir().join(format!("howdah-links-{}-{name}", std::process::id()));
            fs::create_dir_all(folder.join("out")).unwrap();
            fs::create_dir_all(folder.join("image/deep")).unwrap();
            Self(fs::canonicalize(folder).unwrap())
        }

        fn at(&self, path: &str) -> PathBuf {
            self.0.join(path)
        }

        fn replace(&self, names: &[&str]) -> Result<WithoutContent, String> {
            let list: Vec<Vec<u8>> = names
                .iter()
                .map(|name| self.at(name).into_os_string().into_encoded_bytes())
                .collect();
            replace(list.join(&0).as_slice())
        }
    }

    impl Drop for LinkFolders {
        fn drop(&mut self) {
            let _ = fs::remove_dir_all(&self.0);
        }
    }

    #[test]
    fn links_are_replaced_by_files_and_folders() {
        let folders = LinkFolders::new("copies");
        fs::write(folders.at("image/file"), "content").unwrap();
        fs::write(folders.at("image/deep/er"), "deeper").unwrap();
        symlink("../file", folders.at("image/deep/link")).unwrap();
        symlink("../image/file", folders.at("out/relative")).unwrap();
        symlink(folders.at("image"), folders.at("out/folder")).unwrap();
        symlink("folder/deep/link", folders.at("out/through")).unwrap();
        symlink("/dev/null", folders.at("out/device")).unwrap();
        let _socket = std::os::unix::net::UnixListener::bind(folders.at("image/deep/socket")).unwrap();
        let without = folders
            .replace(&["out/relative", "out/folder", "out/through", "out/device"])
            .unwrap();
        assert_eq!(without.count, 2);
        let socket = folders.at("out/folder/deep/socket").display().to_string();
        let device = folders.at("out/device").display().to_string();
        assert_eq!(without.first, [socket, device]);
        assert_eq!(WithoutContent::decode(&without.encode()), without);
        for (path, content) in [
            ("out/relative", "content"),
            ("out/folder/file", "content"),
            ("out/folder/deep/er", "deeper"),
            ("out/folder/deep/link", "content"),
            ("out/through", "content"),
        ] {
            assert!(!folders.at(path).is_symlink(), "{path}");
            assert_eq!(fs::read_to_string(folders.at(path)).unwrap(), content, "{path}");
        }
        assert!(!folders.at("out/device").exists());
        assert_eq!(folders.replace(&["out/relative"]), Ok(WithoutContent::default()));
        for nonsense in [&b""[..], b"many", b"-1\0/x", b"18446744073709551616"] {
            assert_eq!(WithoutContent::decode(nonsense).count, 0);
        }
    }

    #[test]
    fn a_target_that_is_nested_too_deeply_is_refused() {
        let folders = LinkFolders::new("deep");
        let mut deep = folders.at("image/deep");
        for _ in 0..MAX_DEPTH {
            deep.push("d");
        }
        fs::create_dir_all(&deep).unwrap();
        symlink(folders.at("image/deep/d"), folders.at("out/fits")).unwrap();
        symlink(folders.at("image/deep"), folders.at("out/deep")).unwrap();
        folders.replace(&["out/fits"]).unwrap();
        let error = folders.replace(&["out/deep"]).unwrap_err();
        assert!(error.ends_with("nested more than 512 levels deep"), "{error}");
    }

    #[test]
    fn errors_contain_the_link_and_its_target() {
        let folders = LinkFolders::new("faults");
        symlink("/no/such/file", folders.at("out/dangling")).unwrap();
        symlink("loop", folders.at("out/loop")).unwrap();
        symlink("/", folders.at("out/root")).unwrap();
        symlink("..", folders.at("image/deep/up")).unwrap();
        symlink(folders.at("image"), folders.at("out/round")).unwrap();
        for (name, expected) in [
            ("dangling", "its target /no/such/file does not exist"),
            ("loop", "leads through too many other links"),
            ("root", "its target / leads back to a folder above it"),
            ("round", "leads back to a folder above it"),
        ] {
            let error = folders.replace(&[&format!("out/{name}")]).unwrap_err();
            let link = folders.at(&format!("out/{name}"));
            assert!(error.starts_with(&format!("link at {}: ", link.display())), "{error}");
            assert!(error.contains(expected), "{name}: {error}");
        }
    }
}
