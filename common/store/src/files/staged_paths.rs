//! Paths of staged edits, and collisions among them.
//!
//! Two sets of staged edits, or staged edits and a commit, must not make a path both a file and a directory. The check
//! looks at paths only. It finds every collision, and may also report one that does not exist: a file or directory that
//! staged edits remove counts as if it remained. After a report the edits are applied to the tree instead of being
//! staged; applying them gives the exact answer.

use std::collections::BTreeSet;
use std::sync::Arc;

use howdah_model::GlobalId;

use super::collisions::{Collision, CollisionFinder};
use super::path::{as_directory, directories, without_slash};
use super::view::FileTree;
use crate::error::Result;
use crate::memory::cache::{Cache, Weighted};

/// The files that staged edits write, and the directories that contain them.
#[derive(Debug)]
pub struct StagedPaths {
    /// Ascending.
    files: Vec<Box<str>>,
    /// Without the slash at the end and without the root; ascending.
    directories: Vec<Box<str>>,
    /// In bytes, about.
    memory: usize,
}

#[derive(Default)]
pub(super) struct StagedPathsBuilder {
    files: Vec<Box<str>>,
    directories: BTreeSet<Box<str>>,
    /// Directory of the last file, with the slash at the end.
    last: Box<str>,
}

impl StagedPathsBuilder {
    /// Adds a file. Files must ascend: only the directory of the last one is compared.
    pub(super) fn add(&mut self, path: &str) {
        let parent = directories(path).next_back().unwrap_or_default();
        if *parent != *self.last {
            let known = directories(path).skip(1).map(without_slash);
            self.directories.extend(known.map(Box::from));
            self.last = parent.into();
        }
        self.files.push(path.into());
    }

    pub(super) fn finish(self) -> StagedPaths {
        let paths = self.files.iter().chain(&self.directories);
        let memory = paths.map(|path| path.len() + 2 * size_of::<Box<str>>()).sum();
        StagedPaths {
            memory,
            files: self.files,
            directories: self.directories.into_iter().collect(),
        }
    }
}

impl StagedPaths {
    /// Finds a path that is a file in one set and a directory in the other. Both may be the same set.
    #[must_use]
    pub fn collision_with(&self, other: &StagedPaths) -> Option<Collision> {
        self.file_in(other).or_else(|| other.file_in(self))
    }

    /// Finds a path that is a file in `self` and a directory in `other`.
    fn file_in(&self, other: &StagedPaths) -> Option<Collision> {
        // The paths of the smaller set are looked up in the larger one.
        let (few, many) = match self.files.len() < other.directories.len() {
            true => (&self.files, &other.directories),
            false => (&other.directories, &self.files),
        };
        let directory = few.iter().find(|path| many.binary_search(path).is_ok())?;
        // `other` has a file in this directory: the directories are those of its files.
        let prefix = as_directory(directory);
        let at = other.files.partition_point(|file| **file < *prefix);
        Some(Collision {
            file: directory.to_string(),
            member: other.files.get(at)?.to_string(),
        })
    }

    /// Finds a path that is a file here and a directory in a commit, or the reverse.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn collision_in(&self, files: &FileTree) -> Result<Option<Collision>> {
        let mut finder = CollisionFinder::new(files.tree()).await?;
        for path in &self.files {
            let collision = finder.check_planned(path).await?;
            if collision.is_some() {
                return Ok(collision);
            }
        }
        Ok(None)
    }
}

/// The paths of staged edits that were written or read last, by the id of the edits.
///
/// A new write is compared with them without reading their objects. Losing an entry costs a read of an object.
#[derive(Debug)]
pub struct StagedPathsCache(Cache<GlobalId, Arc<StagedPaths>>);

impl Weighted for Arc<StagedPaths> {
    fn weight(&self) -> usize {
        self.memory
    }
}

impl StagedPathsCache {
    /// Makes a cache for paths of so many bytes in all.
    #[must_use]
    pub fn new(bytes: usize) -> Self {
        Self(Cache::new(bytes))
    }

    /// Adds the paths of staged edits and drops the oldest entries that no longer fit.
    pub fn put(&self, id: GlobalId, paths: Arc<StagedPaths>) {
        self.0.insert(id, paths);
    }

    /// Returns the paths of staged edits, if they are cached.
    #[must_use]
    pub fn get(&self, id: &GlobalId) -> Option<Arc<StagedPaths>> {
        self.0.get(id)
    }

    /// Drops the paths of staged edits.
    pub fn remove(&self, id: &GlobalId) {
        self.0.remove(id);
    }
}
