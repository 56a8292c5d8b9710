//! The walk over the trees of all commits, which reads every node and the bytes of every file.
//!
//! The newest commits come first. A node below which nothing is damaged is not entered again, and a file that is whole is not
//! read again, so a long history costs what is different in it. Nodes with damage below them are entered for every commit:
//! this is how the damage becomes known with all commits that it hurts.
//!
//! Objects are read past the caches of the coordinator, which may have good copies of what is damaged on the disk.

use std::collections::HashMap;
use std::sync::atomic::Ordering;

use futures::{FutureExt, StreamExt, stream};
use howdah_model::{Commit, CommitKey, ContentHash, TreeRoot};
use howdah_store::{ChunkHash, FileContent, FileEntry, Store, StoreError, TreeEntry, TreeNode, keys};

use super::damage::{Damage, Fault};
use super::report::Report;
use super::seen::Seen;
use crate::metadata::Core;
use crate::services::reply::StreamError;
use crate::services::status::IntoStatus;

/// Files that are read at the same time.
const FILES_AT_ONCE: usize = 8;
/// Faults of files that are remembered, so that the files are not read again for each commit.
const MOST_FAULTS: usize = 100_000;
/// Chunks of one damaged file that are checked one by one.
const MOST_CHUNKS: usize = 10_000;

/// A deep check that is under way.
pub(super) struct DeepCheck<'a> {
    pub(super) core: &'a Core,
    pub(super) report: &'a Report,
    /// The store with caches of its own.
    pub(super) store: Store,
    pub(super) damage: Damage,
    /// Nodes below which everything is whole.
    pub(super) nodes: Seen,
    /// Chunks that are whole.
    pub(super) chunks: Seen,
    /// Files that are whole.
    files: Seen,
    /// Files that are not.
    faults: HashMap<[u8; 32], Vec<Fault>>,
}

/// What the leaves of a tree hold.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Leaves {
    /// Files by path.
    Files,
    /// Records of datums, or names of their files: nothing that refers to other objects.
    Index,
}

/// A step of the walk over a tree.
enum Step {
    Enter(ContentHash),
    /// Everything below a node was visited. `met` is how often damage had been met before.
    Leave {
        node: ContentHash,
        met: u64,
    },
}

/// A file that is to be read.
struct UnseenFile {
    path: String,
    content: FileContent,
    print: [u8; 32],
}

impl<'a> DeepCheck<'a> {
    /// Makes a check that has not read anything.
    pub(super) fn new(core: &'a Core, report: &'a Report) -> Self {
        Self {
            core,
            report,
            store: core.store().with_empty_caches(),
            damage: Damage::default(),
            nodes: Seen::default(),
            chunks: Seen::default(),
            files: Seen::default(),
            faults: HashMap::new(),
        }
    }

    /// Returns what was found.
    pub(super) fn into_damage(self) -> Damage {
        self.damage
    }

    /// Checks the records and snapshots of the metadata log.
    ///
    /// # Errors
    /// When the store fails.
    pub(super) async fn log(&mut self) -> Result<(), StreamError> {
        let found = self.store.check_log().boxed().await.map_err(IntoStatus::into_status)?;
        for error in found {
            self.damage.add(&Fault::of(&error));
        }
        Ok(())
    }

    /// Checks all commits.
    ///
    /// # Errors
    /// When the store fails, or the client has disconnected.
    pub(super) async fn commits(&mut self) -> Result<(), StreamError> {
        let mut commits: Vec<_> = self.core.state().commits().cloned().collect();
        commits.sort_by_key(|commit| std::cmp::Reverse(commit.seq));
        for commit in commits {
            self.commit(&commit).await?;
            self.report.commits.fetch_add(1, Ordering::Relaxed);
        }
        Ok(())
    }

    async fn commit(&mut self, commit: &Commit) -> Result<(), StreamError> {
        let datums = commit.datums.unwrap_or_default();
        let trees = [
            (commit.content.root, Leaves::Files),
            (datums.outputs, Leaves::Index),
            (datums.records, Leaves::Index),
        ];
        for (root, leaves) in trees {
            if let Some(root) = root {
                self.tree(&commit.key, root, leaves).await?;
            }
        }
        for staged in &commit.staged {
            match self.store.staged(&staged.id, &staged.hash).await {
                Ok(Some(_)) => {}
                // Folded since the state was read, or lost.
                Ok(None) => self.lost_edits(commit, staged.id),
                Err(error) => self.meet(error, &commit.key, "staged edits")?,
            }
        }
        Ok(())
    }

    fn lost_edits(&mut self, commit: &Commit, id: howdah_model::GlobalId) {
        let state = self.core.state();
        if state.commit(&commit.key).is_some_and(|now| now.has_staged(id)) {
            let key = keys::staged(id);
            let fault = Fault::of(&StoreError::Missing { key });
            self.damage.add_use(&fault, &commit.key, "staged edits");
        }
    }

    /// Adds the damage that an error is about. Any other error ends the check.
    fn meet(&mut self, error: StoreError, commit: &CommitKey, file: &str) -> Result<(), StreamError> {
        if !error.is_damage() {
            return Err(error.into_status().into());
        }
        self.damage.add_use(&Fault::of(&error), commit, file);
        Ok(())
    }

    async fn tree(&mut self, commit: &CommitKey, root: TreeRoot, leaves: Leaves) -> Result<(), StreamError> {
        let mut steps = vec![Step::Enter(root.0)];
        while let Some(step) = steps.pop() {
            match step {
                Step::Leave { node, met } if self.damage.met() == met => self.nodes.add(node.as_bytes()),
                Step::Leave { .. } => {}
                Step::Enter(node) if self.nodes.has(node.as_bytes()) => {}
                Step::Enter(node) => {
                    let met = self.damage.met();
                    match self.store.tree_node(&node).await {
                        Ok(TreeNode::Inner(children)) => {
                            steps.push(Step::Leave { node, met });
                            steps.extend(children.into_iter().rev().map(Step::Enter));
                        }
                        Ok(TreeNode::Leaf(entries)) => {
                            self.leaf(commit, leaves, entries).await?;
                            if self.damage.met() == met {
                                self.nodes.add(node.as_bytes());
                            } else {
                                self.damage.add_node(node);
                            }
                        }
                        Err(error) => self.meet(error, commit, "the files listed in this node")?,
                    }
                    self.report.objects.fetch_add(1, Ordering::Relaxed);
                }
            }
        }
        Ok(())
    }

    async fn leaf(&mut self, commit: &CommitKey, leaves: Leaves, entries: Vec<TreeEntry>) -> Result<(), StreamError> {
        if leaves == Leaves::Index {
            return Ok(());
        }
        let mut unseen = Vec::new();
        for entry in entries {
            let path = String::from_utf8_lossy(&entry.key).into_owned();
            match FileEntry::decode(&entry.value) {
                Ok(file) => self.enter_file(commit, path, file.content, &mut unseen),
                Err(reason) => {
                    let fault = Fault::new(format!("entry {path}"), reason.to_string());
                    self.damage.add_use(&fault, commit, &path);
                }
            }
        }
        let store = self.store.clone();
        let reads = unseen.into_iter().map(|file| {
            let store = store.clone();
            async move {
                let found = read_through(&store, &file.content).await;
                (file, found)
            }
            .boxed()
        });
        let mut reads = stream::iter(reads).buffered(FILES_AT_ONCE).boxed();
        while let Some((file, found)) = reads.next().await {
            let found = found.map_err(IntoStatus::into_status)?;
            self.leave_file(commit, &file, found);
        }
        Ok(())
    }

    /// Adds what is known of a file; or the file to those that must be read.
    fn enter_file(&mut self, commit: &CommitKey, path: String, content: FileContent, unseen: &mut Vec<UnseenFile>) {
        let print = *content.fingerprint().as_bytes();
        if self.files.has(&print) {
            return;
        }
        match self.faults.get(&print) {
            Some(faults) => {
                for fault in faults {
                    self.damage.add_use(fault, commit, &path);
                }
            }
            None => unseen.push(UnseenFile { path, content, print }),
        }
    }

    fn leave_file(&mut self, commit: &CommitKey, file: &UnseenFile, found: FoundFile) {
        self.report.files.fetch_add(1, Ordering::Relaxed);
        match found {
            FoundFile::Whole(chunks) => {
                self.report.bytes.fetch_add(file.content.size, Ordering::Relaxed);
                self.files.add(&file.print);
                for chunk in chunks {
                    self.chunks.add(chunk.0.as_bytes());
                }
            }
            FoundFile::Damaged(faults) => {
                for fault in &faults {
                    self.damage.add_use(fault, commit, &file.path);
                }
                if self.faults.len() < MOST_FAULTS {
                    self.faults.insert(file.print, faults);
                }
            }
        }
    }
}

/// What reading a file has shown.
enum FoundFile {
    /// It is whole, and so are its chunks.
    Whole(Vec<ChunkHash>),
    Damaged(Vec<Fault>),
}

/// Reads a whole file. Of a damaged one, checks all chunks.
async fn read_through(store: &Store, content: &FileContent) -> Result<FoundFile, StoreError> {
    let mut bytes = store.read_file(content, 0).boxed();
    let read = loop {
        match bytes.next().await {
            Some(Ok(_)) => {}
            Some(Err(error)) => break Err(error),
            None => break Ok(()),
        }
    };
    match read {
        Ok(()) => Ok(FoundFile::Whole(store.chunks_of(content).await?)),
        Err(error) if error.is_damage() => {
            let mut faults = vec![Fault::of(&error)];
            for chunk in store
                .chunks_of(content)
                .await
                .unwrap_or_default()
                .iter()
                .take(MOST_CHUNKS)
            {
                let key = keys::chunk(&chunk.0);
                if *key == *faults[0].object {
                    continue;
                }
                match store.check_object(&key).await {
                    Ok(()) => {}
                    Err(error) if error.is_damage() => faults.push(Fault::of(&error)),
                    Err(error) => return Err(error),
                }
            }
            Ok(FoundFile::Damaged(faults))
        }
        Err(error) => Err(error),
    }
}
