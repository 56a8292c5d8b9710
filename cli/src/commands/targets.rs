//! Two sources of one put that would become the same file.
//!
//! The later one would replace the earlier one without a word, so the put is refused and both are named. With `--append`
//! nothing is lost: the bytes of both follow each other.
//!
//! Before anything is sent, [`refuse_shared_targets`] compares the sources. It lists local folders only if their targets
//! overlap. What is in archives is known later: the reader claims each path of theirs in [`Targets`].

use std::collections::hash_map::{Entry, RandomState};
use std::collections::{BTreeSet, HashMap};
use std::hash::BuildHasher;
use std::ops::Bound;
use std::path::Path;

use super::put_item::{PutItem, PutSource, list_folder};
use crate::error::{CliError, CliResult};
use crate::naming;

/// Hashes paths to numbers that take less memory. They are so wide that two paths never have the same number.
#[derive(Debug, Default)]
pub(super) struct PathHasher([RandomState; 2]);

impl PathHasher {
    /// Returns the number of a path.
    pub(super) fn key(&self, path: &str) -> u128 {
        let [high, low] = &self.0;
        (u128::from(high.hash_one(path)) << 64) | u128::from(low.hash_one(path))
    }
}

/// The files of a put so far, and where each comes from.
#[derive(Debug, Default)]
pub(super) struct Targets {
    hasher: PathHasher,
    seen: HashMap<u128, u32>,
    sources: Vec<TargetSource>,
}

/// A source of files.
#[derive(Debug)]
struct TargetSource {
    /// Its name.
    name: String,
    /// The folder in the repo that its files go below; none if it is one file.
    below: Option<String>,
}

impl TargetSource {
    /// Returns the name of the file that goes to a path.
    fn name_of(&self, to: &str) -> String {
        let below = self.below.as_deref().map(|below| below.trim_end_matches('/'));
        match below.and_then(|below| to.strip_prefix(below)) {
            Some(inside) => format!("{}{inside}", self.name.trim_end_matches('/')),
            None => self.name.clone(),
        }
    }
}

impl Targets {
    /// Adds a source of one file, or of the files below a folder of the repo, and returns its number.
    pub(super) fn source(&mut self, name: &str, below: Option<&str>) -> u32 {
        let number = u32::try_from(self.sources.len()).unwrap_or(u32::MAX);
        self.sources.push(TargetSource {
            name: name.to_owned(),
            below: below.map(str::to_owned),
        });
        number
    }

    /// Notes that a source makes the file of a path. Fails if another source makes it too.
    pub(super) fn claim(&mut self, to: &str, source: u32) -> CliResult {
        let first = match self.seen.entry(self.hasher.key(to)) {
            Entry::Vacant(place) => {
                place.insert(source);
                return Ok(());
            }
            Entry::Occupied(place) => *place.get(),
        };
        if first == source {
            return Ok(());
        }
        let name = |number: u32| {
            let source = self.sources.get(number as usize);
            source.map_or_else(String::new, |source| source.name_of(to))
        };
        Err(CliError::hinted(
            format!(
                "two sources for one target: {} and {} would both become {to}",
                name(first),
                name(source)
            ),
            "put them to different paths (--full-path keeps the folders of the sources), or join them with --append",
        ))
    }
}

/// Refuses two sources that would become the same file.
pub(super) fn refuse_shared_targets(items: &[PutItem]) -> CliResult {
    if items.len() < 2 {
        return Ok(());
    }
    let mut targets = Targets::default();
    let overlaps = Overlaps::of(items);
    for item in items {
        match &item.from {
            PutSource::Folder(folder) if overlaps.contain(&item.to) => {
                let source = targets.source(&item.from.name(), Some(&item.to));
                claim_folder(&mut targets, source, folder, &item.to)?;
            }
            PutSource::Folder(_) => {}
            PutSource::Stdin | PutSource::File(_) | PutSource::Url(_) => {
                let source = targets.source(&item.from.name(), None);
                targets.claim(&item.to, source)?;
            }
        }
    }
    Ok(())
}

/// Claims the files of a folder at their paths in the repo.
fn claim_folder(targets: &mut Targets, source: u32, folder: &Path, to: &str) -> CliResult {
    for entry in list_folder(folder)? {
        let entry = entry?;
        let to = naming::below(to, &entry.name);
        if entry.kind.is_dir() {
            claim_folder(targets, source, &entry.path, &to)?;
        } else if entry.kind.is_file() {
            targets.claim(&to, source)?;
        }
    }
    Ok(())
}

/// Finds folders whose files could meet those of another source.
struct Overlaps<'a> {
    /// Number of folders with each target.
    folders: HashMap<&'a str, usize>,
    /// Targets of all sources.
    all: BTreeSet<&'a str>,
}

impl<'a> Overlaps<'a> {
    fn of(items: &'a [PutItem]) -> Overlaps<'a> {
        let mut folders = HashMap::new();
        for item in items {
            if matches!(item.from, PutSource::Folder(_)) {
                *folders.entry(item.to.as_str()).or_default() += 1;
            }
        }
        Overlaps {
            folders,
            all: items.iter().map(|item| item.to.as_str()).collect(),
        }
    }

    /// Returns whether another source goes to the folder, below it, or is a folder that goes above it.
    fn contain(&self, to: &str) -> bool {
        if self.folders.get(to).is_some_and(|folders| *folders > 1) {
            return true;
        }
        let inside = format!("{}/", to.trim_end_matches('/'));
        let range = (Bound::Excluded(inside.as_str()), Bound::Unbounded);
        let below = self.all.range::<str, _>(range).next();
        if below.is_some_and(|below| below.starts_with(&inside)) {
            return true;
        }
        let mut above = to
            .match_indices('/')
            .map(|(at, _)| if at == 0 { "/" } else { &to[..at] });
        above.any(|above| above != to && self.folders.contains_key(above))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    fn item(from: PutSource, to: &str) -> PutItem {
        PutItem {
            from,
            to: to.to_owned(),
        }
    }

    fn refusal(items: &[PutItem]) -> String {
        refuse_shared_targets(items).expect_err("a refusal").to_string()
    }

    #[test]
    fn two_files_for_one_target_are_named() {
        let file = |from: &str, to: &str| item(PutSource::File(from.into()), to);
        let items = [file("p/x", "/x"), file("p/y", "/y"), file("q/x", "/x")];
        assert_eq!(
            refusal(&items),
            "two sources for one target: p/x and q/x would both become /x"
        );
        let url = item(PutSource::Url("https://host/x".to_owned()), "/x");
        assert!(refusal(&[url, file("x", "/x")]).contains("https://host/x and x would both become /x"));
        assert!(refuse_shared_targets(&[file("p/x", "/x"), file("q/x", "/X")]).is_ok());
    }

    #[test]
    fn folders_are_compared_file_by_file_where_they_overlap() {
        let root = tempfile::tempdir().expect("a folder");
        for file in ["one/same", "one/sub/deep", "two/same2", "two/sub/deep"] {
            let path = root.path().join(file);
            fs::create_dir_all(path.parent().expect("a folder")).expect("made");
            fs::write(path, "").expect("written");
        }
        let folder = |name: &str, to: &str| item(PutSource::Folder(root.path().join(name)), to);
        let file = |to: &str| item(PutSource::File("f".into()), to);
        let both = |first: &str, second: &str| {
            let at = root.path().display();
            format!("{at}/{first} and {at}/{second}")
        };
        let error = refusal(&[folder("one", "/"), folder("two", "/")]);
        assert!(error.contains(&both("one/sub/deep", "two/sub/deep")), "{error}");
        // One goes below the other.
        let error = refusal(&[folder("one/sub", "/p/sub"), folder("two", "/p")]);
        assert!(error.contains(&both("one/sub/deep", "two/sub/deep")), "{error}");
        let error = refusal(&[folder("two", "/p"), folder("one/sub", "/p/sub")]);
        assert!(error.contains(&both("two/sub/deep", "one/sub/deep")), "{error}");
        let error = refusal(&[file("/p/sub/deep"), folder("one", "/p")]);
        assert!(error.contains("would both become /p/sub/deep"), "{error}");
        // Different files, and targets that only look alike.
        for items in [
            [folder("one", "/one"), folder("two", "/two")],
            [folder("one", "/"), file("/other")],
            [folder("one", "/p"), folder("one", "/p-q")],
            [folder("one/sub", "/p"), folder("two", "/p")],
        ] {
            assert!(refuse_shared_targets(&items).is_ok(), "{items:?}");
        }
    }

    #[test]
    fn only_overlapping_folders_are_listed() {
        let folder = |to: &str| item(PutSource::Folder("does/not/exist".into()), to);
        let items = [folder("/a"), folder("/a-b"), folder("/b/c")];
        assert!(refuse_shared_targets(&items).is_ok());
        let overlaps = Overlaps::of(&items);
        for (to, expected) in [
            ("/a", false),
            ("/b", true),
            ("/", true),
            ("/b/c/d", true),
            ("/c", false),
        ] {
            assert_eq!(overlaps.contain(to), expected, "{to}");
        }
        assert!(refuse_shared_targets(&[folder("/a"), folder("/a")]).is_err());
    }
}
