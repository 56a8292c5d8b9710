//! Listings: files and the directories that contain them, in both directions, page by page.
//!
//! The tree has files only. A directory is found when the listing passes between two files: going forward, the
//! directories of a file that do not contain the file before it begin there; going backward, those that do not contain
//! the next one.

use std::collections::VecDeque;

use futures::{Stream, StreamExt, TryStreamExt, stream};
use howdah_glob::Glob;

use super::entry::{decode_file, path_of};
use super::file_node::FileNode;
use super::matching::NameMatcher;
use super::path::{as_directory, clean_path, depth, without_slash};
use super::view::FileTree;
use crate::error::Result;
use crate::format::node::NodeEntry;
use crate::tree::{Cursor, KeyRange, TreeEntry};

/// Which part of a listing is returned.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ListingPage {
    /// The page begins after this path (before it, if `reverse`); `None` = at the first one.
    pub marker: Option<String>,
    /// Most files and directories; `None` = all.
    pub limit: Option<usize>,
    /// In descending order.
    pub reverse: bool,
}

impl ListingPage {
    /// Returns the page of everything.
    #[must_use]
    pub fn all() -> Self {
        ListingPage::default()
    }
}

/// A file or directory of a listing.
#[derive(Debug)]
enum Listed {
    File(NodeEntry),
    Directory(String),
}

/// What a listing covers.
#[derive(Debug)]
struct ListingRange {
    range: KeyRange,
    /// Directories with shorter paths than this are left out.
    shortest: usize,
    /// Most elements of a path. Deeper files are skipped without being read.
    deepest: usize,
    /// Only paths after this one are returned, or before it in descending order.
    marker: Option<String>,
}

impl FileTree {
    /// Streams the children of a directory; for a file, the file itself; for a path that does not exist, nothing.
    pub fn list(&self, path: &str, page: &ListingPage) -> impl Stream<Item = Result<FileNode>> + Send + use<> {
        let directory = as_directory(&clean_path(path));
        let plan = ListingRange {
            range: KeyRange::prefix(directory.as_bytes()),
            // One more than the directory itself, which is not its own child.
            shortest: directory.len() + 1,
            deepest: depth(&directory) + 1,
            marker: page.marker.as_deref().map(clean_marker),
        };
        self.at_or_below(path, plan, page)
    }

    /// Streams a path and everything below it; for a path that does not exist, nothing.
    pub fn walk(&self, path: &str, page: &ListingPage) -> impl Stream<Item = Result<FileNode>> + Send + use<> {
        let directory = as_directory(&clean_path(path));
        let plan = ListingRange {
            range: KeyRange::prefix(directory.as_bytes()),
            shortest: directory.len(),
            deepest: usize::MAX,
            marker: page.marker.as_deref().map(clean_marker),
        };
        self.at_or_below(path, plan, page)
    }

    /// Streams every file and directory that a glob matches. Ends with [`StoreError::CostlyGlob`] when matching takes
    /// too many steps.
    ///
    /// [`StoreError::CostlyGlob`]: crate::StoreError::CostlyGlob
    pub fn glob(&self, glob: &Glob) -> impl Stream<Item = Result<FileNode>> + Send + use<> {
        let plan = ListingRange {
            range: KeyRange::prefix(glob.literal_prefix().as_bytes()),
            shortest: 0,
            deepest: glob.max_depth().unwrap_or(usize::MAX),
            marker: None,
        };
        let names = forward(self.clone(), plan).boxed();
        let steps = stream::try_unfold((names, NameMatcher::new(glob)), |(mut names, mut matcher)| async move {
            while let Some(name) = names.try_next().await? {
                let path = match &name {
                    Listed::File(item) => path_of(&item.key)?,
                    Listed::Directory(path) => without_slash(path),
                };
                if matcher.is_match(path).await? {
                    return Ok(Some((name, (names, matcher))));
                }
            }
            Ok(None)
        });
        self.nodes(steps)
    }

    fn at_or_below(
        &self,
        path: &str,
        plan: ListingRange,
        page: &ListingPage,
    ) -> impl Stream<Item = Result<FileNode>> + Send + use<> {
        let (files, path) = (self.clone(), clean_path(path));
        let ListingPage { limit, reverse, .. } = *page;
        let marker = plan.marker.clone();
        stream::once(async move {
            if let Some(entry) = files.file(&path).await? {
                let shown = marker.is_none_or(|marker| if reverse { path < marker } else { path > marker });
                let node = shown.then(|| Ok(FileNode::of_file(path, entry)));
                return Ok(stream::iter(node).boxed());
            }
            let steps = if reverse {
                backward(files.clone(), plan).boxed()
            } else {
                forward(files.clone(), plan).boxed()
            };
            Ok(files.nodes(steps).boxed())
        })
        .try_flatten()
        .take(limit.unwrap_or(usize::MAX))
    }

    /// Adds sizes and hashes.
    fn nodes<S>(&self, steps: S) -> impl Stream<Item = Result<FileNode>> + Send + use<S>
    where
        S: Stream<Item = Result<Listed>> + Send,
    {
        let files = self.clone();
        steps.try_filter_map(move |step| {
            let files = files.clone();
            async move {
                match step {
                    Listed::Directory(path) => files.directory(&path).await,
                    Listed::File(item) => {
                        let (path, entry) = decode_file(&TreeEntry::from(item))?;
                        Ok(Some(FileNode::of_file(path, entry)))
                    }
                }
            }
        })
    }
}

fn clean_marker(marker: &str) -> String {
    let clean = clean_path(marker);
    if marker.ends_with('/') {
        as_directory(&clean)
    } else {
        clean
    }
}

/// The position of a listing.
struct ListingCursor {
    cursor: Cursor,
    plan: ListingRange,
    /// The last file passed, in the order of the listing.
    passed: Option<String>,
    /// Found, but not yet returned.
    ready: VecDeque<Listed>,
    done: bool,
}

impl ListingCursor {
    async fn begin(files: &FileTree, plan: ListingRange) -> Result<Option<ListingCursor>> {
        let cursor = files.tree().cursor().await?;
        Ok(cursor.map(|mut cursor| {
            cursor.until(plan.range.end.clone());
            ListingCursor {
                cursor,
                plan,
                passed: None,
                ready: VecDeque::new(),
                done: false,
            }
        }))
    }

    /// Lists the directories of a file that are in the listing and do not contain `neighbour`, the outermost first,
    /// down to the deepest level of the listing.
    fn new_directories(&self, file: &str, neighbour: Option<&str>, shown: impl Fn(&str) -> bool) -> Vec<String> {
        super::path::directories(file)
            .take(self.plan.deepest.saturating_add(1))
            .filter(|directory| directory.len() >= self.plan.shortest)
            .filter(|directory| neighbour.is_none_or(|neighbour| !neighbour.starts_with(directory)))
            .filter(|directory| shown(directory))
            .map(str::to_owned)
            .collect()
    }

    /// Returns the directory on the deepest level that contains a file which is deeper than the listing.
    fn cut_directory<'a>(&self, file: &'a str) -> Option<&'a str> {
        super::path::directories(file).nth(self.plan.deepest)
    }

    /// Returns the current file of the cursor, if it is in the range.
    fn current(&self) -> Result<Option<(String, NodeEntry)>> {
        match self.cursor.item() {
            Some(item) if self.plan.range.contains(&item.key) => {
                let path = path_of(&item.key)?.to_owned();
                Ok(Some((path, item)))
            }
            _ => Ok(None),
        }
    }

    async fn next_forward(&mut self) -> Result<Option<Listed>> {
        while self.ready.is_empty() && !self.done {
            let Some((path, item)) = self.current()? else {
                self.done = true;
                break;
            };
            let marker = self.plan.marker.as_deref();
            let shown = |path: &str| marker.is_none_or(|marker| path > marker);
            let directories = self.new_directories(&path, self.passed.as_deref(), shown);
            let cut = self.cut_directory(&path);
            let show_file = cut.is_none() && shown(&path);
            self.ready.extend(directories.into_iter().map(Listed::Directory));
            if show_file {
                self.ready.push_back(Listed::File(item));
            }
            match cut.and_then(|directory| crate::tree::end_of_prefix(directory.as_bytes())) {
                Some(end) => self.cursor.seek(&end).await?,
                None => self.cursor.next().await?,
            }
            self.passed = Some(path);
        }
        Ok(self.ready.pop_front())
    }

    async fn next_backward(&mut self) -> Result<Option<Listed>> {
        while self.ready.is_empty() && !self.done {
            // The cursor is after the next file; `passed` is its current one, if any.
            let found = self.cursor.previous().await?;
            let current = if found { self.current()? } else { None };
            let marker = self.plan.marker.clone();
            let shown = |path: &str| marker.as_deref().is_none_or(|marker| path < marker);
            if let Some(passed) = &self.passed {
                let neighbour = current.as_ref().map(|(path, _)| path.as_str());
                let directories = self.new_directories(passed, neighbour, shown);
                self.ready.extend(directories.into_iter().rev().map(Listed::Directory));
            }
            let Some((path, item)) = current else {
                self.done = true;
                break;
            };
            match self.cut_directory(&path) {
                None if shown(&path) => self.ready.push_back(Listed::File(item)),
                None => {}
                Some(directory) => {
                    // Move to the first file of the directory, so that the next step leaves it.
                    let first = directory.as_bytes().to_vec();
                    self.cursor.seek(&first).await?;
                }
            }
            self.passed = Some(path);
        }
        Ok(self.ready.pop_front())
    }
}

fn forward(files: FileTree, plan: ListingRange) -> impl Stream<Item = Result<Listed>> + Send {
    stream::once(async move {
        let mut walk = ListingCursor::begin(&files, plan).await?;
        if let Some(walk) = &mut walk {
            let from = walk.plan.marker.as_deref().unwrap_or("").as_bytes();
            let start = walk.plan.range.start.clone();
            walk.cursor.seek(from.max(&start)).await?;
        }
        Ok(stream::try_unfold(walk, |walk| async move {
            let Some(mut walk) = walk else { return Ok(None) };
            let step = walk.next_forward().await?;
            Ok(step.map(|step| (step, Some(walk))))
        }))
    })
    .try_flatten()
}

fn backward(files: FileTree, plan: ListingRange) -> impl Stream<Item = Result<Listed>> + Send {
    stream::once(async move {
        let mut walk = ListingCursor::begin(&files, plan).await?;
        if let Some(walk) = &mut walk {
            let end = walk.plan.range.end.clone();
            let marker = walk.plan.marker.clone().map(bytes::Bytes::from);
            match marker.into_iter().chain(end).min() {
                Some(end) => walk.cursor.seek(&end).await?,
                None => walk.cursor.seek_end().await?,
            }
            // Directories of the first file after the marker may come before the marker themselves.
            walk.passed = walk.current()?.map(|(path, _)| path);
        }
        Ok(stream::try_unfold(walk, |walk| async move {
            let Some(mut walk) = walk else { return Ok(None) };
            let step = walk.next_backward().await?;
            Ok(step.map(|step| (step, Some(walk))))
        }))
    })
    .try_flatten()
}
