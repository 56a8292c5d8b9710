//! Replaces symbolic links by copies of what they lead to.
//!
//! A link in the output may lead to a file of the image, which only a process in the container
//! sees. The worker has it replaced by the content, and then finds an ordinary file. This runs as
//! a command like any other: as the user of the datum, who may read what that user may read, with
//! a time limit, and killed with all that it started.

use std::ffi::OsStr;
use std::fs::{self, Metadata};
use std::io::{self, Read};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

/// Error number of "too many links".
const ELOOP: i32 = 40;

/// Replaces the links whose absolute paths come in, separated by zero bytes.
///
/// Directories are copied with everything in them, links followed. Pipes, sockets and devices have
/// no content: a link to one is removed. The error is a text for the user.
pub fn replace(mut paths: impl Read) -> Result<(), String> {
    let mut list = Vec::new();
    paths
        .read_to_end(&mut list)
        .map_err(|e| format!("cannot read which links to follow: {e}"))?;
    for path in list.split(|byte| *byte == 0).filter(|path| !path.is_empty()) {
        let link = Path::new(OsStr::from_bytes(path));
        let fault = |what| format!("link at {}: {what}", link.display());
        let is_link = fs::symlink_metadata(link)
            .map_err(|e| fault(e.to_string()))?
            .is_symlink();
        // It may be part of a folder that a link before it was replaced by.
        if is_link {
            replace_one(link).map_err(fault)?;
        }
    }
    Ok(())
}

fn replace_one(link: &Path) -> Result<(), String> {
    let (target, meta) = follow(link)?;
    let mut above = Vec::new();
    let folder = link.parent().unwrap_or(Path::new("/"));
    let folder = fs::canonicalize(folder).map_err(|e| format!("its folder cannot be found: {e}"))?;
    for folder in folder.ancestors() {
        let meta = fs::metadata(folder).map_err(|e| format!("cannot look at {}: {e}", folder.display()))?;
        above.push(identity(&meta));
    }
    fs::remove_file(link).map_err(|e| format!("it cannot be replaced by its target: {e}"))?;
    copy(&target, &meta, link, &mut above)
}

/// Follows a path to its end.
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

/// Copies what `from`, which is no link, is to `to`, which does not exist.
fn copy(from: &Path, meta: &Metadata, to: &Path, above: &mut Vec<(u64, u64)>) -> Result<(), String> {
    let failed = |e: io::Error| format!("its target {} cannot be copied: {e}", from.display());
    if meta.is_file() {
        let mut source = fs::File::open(from).map_err(failed)?;
        let mut copy = fs::File::create_new(to).map_err(failed)?;
        return io::copy(&mut source, &mut copy).map(drop).map_err(failed);
    }
    if !meta.is_dir() {
        return Ok(());
    }
    if above.contains(&identity(meta)) {
        return Err(format!("its target {} leads back to a folder above it", from.display()));
    }
    above.push(identity(meta));
    fs::create_dir(to).map_err(failed)?;
    for entry in fs::read_dir(from).map_err(failed)? {
        let name = entry.map_err(failed)?.file_name();
        let (target, meta) = follow(&from.join(&name))
            .map_err(|what| format!("in its target, {}: {what}", from.join(&name).display()))?;
        copy(&target, &meta, &to.join(&name), above)?;
    }
    above.pop();
    Ok(())
}

fn identity(meta: &Metadata) -> (u64, u64) {
    (meta.dev(), meta.ino())
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    struct Place(PathBuf);

    impl Place {
        fn new(name: &str) -> Self {
            let folder = std::env::temp_dir().join(format!("howdah-links-{}-{name}", std::process::id()));
            fs::create_dir_all(folder.join("out")).unwrap();
            fs::create_dir_all(folder.join("image/deep")).unwrap();
            Self(fs::canonicalize(folder).unwrap())
        }

        fn at(&self, path: &str) -> PathBuf {
            self.0.join(path)
        }

        fn replace(&self, names: &[&str]) -> Result<(), String> {
            let list: Vec<Vec<u8>> = names
                .iter()
                .map(|name| self.at(name).into_os_string().into_encoded_bytes())
                .collect();
            replace(list.join(&0).as_slice())
        }
    }

    impl Drop for Place {
        fn drop(&mut self) {
            let _ = fs::remove_dir_all(&self.0);
        }
    }

    #[test]
    fn files_and_folders_take_the_place_of_links() {
        let place = Place::new("copies");
        fs::write(place.at("image/file"), "content").unwrap();
        fs::write(place.at("image/deep/er"), "deeper").unwrap();
        symlink("../file", place.at("image/deep/link")).unwrap();
        symlink("../image/file", place.at("out/relative")).unwrap();
        symlink(place.at("image"), place.at("out/folder")).unwrap();
        symlink("folder/deep/link", place.at("out/through")).unwrap();
        symlink("/dev/null", place.at("out/device")).unwrap();
        place
            .replace(&["out/relative", "out/folder", "out/through", "out/device"])
            .unwrap();
        for (path, content) in [
            ("out/relative", "content"),
            ("out/folder/file", "content"),
            ("out/folder/deep/er", "deeper"),
            ("out/folder/deep/link", "content"),
            ("out/through", "content"),
        ] {
            assert!(!place.at(path).is_symlink(), "{path}");
            assert_eq!(fs::read_to_string(place.at(path)).unwrap(), content, "{path}");
        }
        assert!(!place.at("out/device").exists());
        place.replace(&["out/relative"]).unwrap();
    }

    #[test]
    fn links_that_lead_nowhere_are_named() {
        let place = Place::new("faults");
        symlink("/no/such/file", place.at("out/dangling")).unwrap();
        symlink("loop", place.at("out/loop")).unwrap();
        symlink("/", place.at("out/root")).unwrap();
        symlink("..", place.at("image/deep/up")).unwrap();
        symlink(place.at("image"), place.at("out/round")).unwrap();
        for (name, expected) in [
            ("dangling", "its target /no/such/file does not exist"),
            ("loop", "leads through too many other links"),
            ("root", "its target / leads back to a folder above it"),
            ("round", "leads back to a folder above it"),
        ] {
            let error = place.replace(&[&format!("out/{name}")]).unwrap_err();
            let link = place.at(&format!("out/{name}"));
            assert!(error.starts_with(&format!("link at {}: ", link.display())), "{error}");
            assert!(error.contains(expected), "{name}: {error}");
        }
    }
}
