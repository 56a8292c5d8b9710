//! Laying out the input files of one try.
//!
//! [`lay_out`] readies the workspace, then places the files of all inputs: small files are written from memory in
//! batches, larger ones are linked or copied from the file cache. A large folder that is kept from the try before is
//! brought up to date with the differences of the two trees, so that files already on the disk are neither fetched nor
//! written again.
//!
//! What can go wrong: every error is an [`InfraError`], which ends the set without a result; only a name or path that
//! cannot be laid out fails the try instead. On a full disk the caches are evicted, so that the next delivery of
//! the set may succeed.

use std::sync::{Arc, Mutex};

use futures::{StreamExt, TryStreamExt};
use howdah_model::ids::{ContentHash, TreeRoot};
use howdah_model::names::CommitKey;
use howdah_protocol::objects::{Datum, DatumInput};
use howdah_store::{FileContent, FileDiff, FileTree};

use crate::blocking::short;
use crate::cache::chunks::read_all;
use crate::cache::file_cache::{PlacementMode, SMALL_FILE_BYTES};
use crate::cache::storage::WorkerStorage;
use crate::error::InfraError;
use crate::pfs::workspace::{CommitFolder, DatumInputs, ReusedFolders, SmallFile, Workspace, lock_workspace};

/// Bytes of small files that are read before they are written, to bound memory.
const BATCH_BYTES: u64 = 4 << 20;
/// Number of small files that are read before they are written.
const BATCH_FILES: usize = 1000;
/// Larger files that are fetched concurrently for one datum.
const PARALLEL_FETCHES: usize = 4;
/// Inputs up to this size are laid out without asking for the free space.
const CHECK_SPACE_BYTES: u64 = 16 << 20;
const LISTING: &str = "cannot list an input folder";

/// Lays out a datum's input in a workspace; returns its size in bytes.
pub(crate) async fn lay_out(
    storage: &WorkerStorage,
    workspace: &Arc<Mutex<Workspace>>,
    datum: &Datum,
    writable: bool,
    env: String,
) -> Result<u64, InfraError> {
    let layout = InputLayout {
        storage,
        workspace,
        writable,
        small: Vec::new(),
        small_bytes: 0,
        large: Vec::new(),
    };
    let laid_out = layout.run(datum, env).await;
    if laid_out.is_err() {
        // Another file may still be written after one has failed, on a blocking thread that was given up. The next try
        // must not reuse these folders.
        lock_workspace(workspace).forget();
    }
    match laid_out {
        Err(error) if error.is_disk_full() => {
            let needed = size_of(datum);
            let full = storage.explain(error, needed);
            // This try still fails, because some of its files are missing. The next delivery of the set finds room.
            storage.make_room(needed.max(CHECK_SPACE_BYTES)).await?;
            Err(full)
        }
        Err(error) => Err(error),
        Ok(()) => Ok(size_of(datum)),
    }
}

fn size_of(datum: &Datum) -> u64 {
    datum.inputs.iter().map(|input| input.size).sum()
}

/// Returns the inputs of a datum, each with its folder where it consists of one folder and nothing else.
fn inputs_of(datum: &Datum) -> DatumInputs {
    let mut inputs = DatumInputs::new();
    for input in &datum.inputs {
        let folder = input.is_dir.then(|| CommitFolder {
            path: input.path.clone(),
            root: input.root,
        });
        inputs
            .entry(Arc::clone(&input.name))
            // Several matches of one input: they may overlap, so none of them is the whole input.
            .and_modify(|known| *known = None)
            .or_insert(folder);
    }
    inputs
}

/// Refuses files that cannot fit on the disk, before any of them is fetched.
///
/// At most `most` bytes are needed. `missing` determines how many of them are not in the cache; it takes longer and is
/// called again after files have been evicted.
async fn check_space(
    storage: &WorkerStorage,
    most: u64,
    missing: impl AsyncFn() -> Result<u64, InfraError>,
) -> Result<(), InfraError> {
    if most <= CHECK_SPACE_BYTES || most <= storage.free_bytes()? {
        return Ok(());
    }
    let needed = missing().await?;
    if needed <= storage.free_bytes()? {
        return Ok(());
    }
    storage.make_room(needed).await?;
    // Determined again: files that the datum needs may have been evicted too.
    let needed = missing().await?;
    if needed > storage.free_bytes()? {
        Err(storage.scratch_full(needed))
    } else {
        Ok(())
    }
}

/// The layout of one try while it is made.
struct InputLayout<'a> {
    storage: &'a WorkerStorage,
    workspace: &'a Arc<Mutex<Workspace>>,
    writable: bool,
    /// Small files that are read and not written yet.
    small: Vec<SmallFile>,
    small_bytes: u64,
    /// Larger files, to be placed last.
    large: Vec<LargeFile>,
}

/// A file that is placed by the file cache.
struct LargeFile {
    input: Arc<str>,
    commit: CommitKey,
    path: String,
    content: FileContent,
}

/// Returns the commit of an input.
fn commit_of(input: &DatumInput) -> CommitKey {
    input.repo.commit(input.commit)
}

impl InputLayout<'_> {
    async fn run(mut self, datum: &Datum, env: String) -> Result<(), InfraError> {
        let inputs = inputs_of(datum);
        let reused = self.begin(&inputs, env).await?;
        let new = || datum.inputs.iter().filter(|input| !reused.contains_key(&input.name));
        let most = new().map(|input| input.size).sum();
        check_space(self.storage, most, async || {
            let mut missing = 0;
            for input in new() {
                missing += self.missing(input).await?;
            }
            Ok(missing)
        })
        .await?;
        for (input, content) in datum.files() {
            match (reused.get(&input.name), content) {
                (Some(before), _) if *before == input.root => {}
                (Some(before), _) => self.apply_differences(input, *before).await?,
                (None, Some(content)) => self.add(input, input.path.clone(), content).await?,
                (None, None) => self.add_all(input).await?,
            }
        }
        self.write_small().await?;
        self.place_large().await?;
        // Last, when every file is in place: a folder that is marked as complete is reused without a check.
        let mut workspace = lock_workspace(self.workspace);
        for (name, folder) in inputs {
            if let Some(folder) = folder {
                workspace.complete(&name, folder);
            }
        }
        Ok(())
    }

    /// Returns the bytes of an input that are not in the cache, or must be copied.
    async fn missing(&self, input: &DatumInput) -> Result<u64, InfraError> {
        if !input.is_dir {
            return Ok(self.missing_of(&input.hash, input.size));
        }
        let tree = FileTree::new(&self.storage.store, Some(input.root));
        let mut files = std::pin::pin!(tree.files(&input.path));
        let mut missing = 0;
        while let Some((_, entry)) = files.try_next().await.map_err(InfraError::store(LISTING))? {
            missing += self.missing_of(&entry.content.hash, entry.content.size);
        }
        Ok(missing)
    }

    fn missing_of(&self, hash: &ContentHash, size: u64) -> u64 {
        let linked = !self.writable && size > SMALL_FILE_BYTES && self.storage.files.has(hash);
        if linked { 0 } else { size }
    }

    async fn begin(&self, inputs: &DatumInputs, env: String) -> Result<ReusedFolders, InfraError> {
        let (workspace, inputs, writable) = (Arc::clone(self.workspace), inputs.clone(), self.writable);
        short(move || lock_workspace(&workspace).begin(&inputs, writable, &env)).await?
    }

    /// Adds all files of an input.
    async fn add_all(&mut self, input: &DatumInput) -> Result<(), InfraError> {
        let tree = FileTree::new(&self.storage.store, Some(input.root));
        if !input.is_dir {
            let entry = tree
                .file(&input.path)
                .await
                .map_err(InfraError::store("cannot look up an input file"))?
                .ok_or_else(|| InfraError::InputMissing {
                    path: input.path.clone(),
                    commit: commit_of(input).to_string(),
                })?;
            return self.add(input, input.path.clone(), entry.content).await;
        }
        let mut files = std::pin::pin!(tree.files(&input.path));
        while let Some((path, entry)) = files.try_next().await.map_err(InfraError::store(LISTING))? {
            self.add(input, path, entry.content).await?;
        }
        Ok(())
    }

    /// Turns a folder with the files of the tree `before` into the folder of the input's own commit.
    async fn apply_differences(&mut self, input: &DatumInput, before: TreeRoot) -> Result<(), InfraError> {
        let trees = [before, input.root].map(|root| FileTree::new(&self.storage.store, Some(root)));
        let mut added_bytes = 0;
        let mut removed = Vec::new();
        let mut changes = std::pin::pin!(FileTree::changed_files(&trees[0], &trees[1], &input.path));
        // All removals come before the first addition: a file may have become a folder, or a folder a file.
        while let Some(FileDiff { old, new }) = changes.try_next().await.map_err(InfraError::store(LISTING))? {
            added_bytes += new.map_or(0, |file| file.size);
            removed.extend(old.map(|file| file.path));
            if removed.len() >= BATCH_FILES {
                self.remove(input, std::mem::take(&mut removed)).await?;
            }
        }
        self.remove(input, removed).await?;
        check_space(self.storage, added_bytes, async || {
            let mut missing = 0;
            let mut changes = std::pin::pin!(FileTree::changed_files(&trees[0], &trees[1], &input.path));
            while let Some(FileDiff { new, .. }) = changes.try_next().await.map_err(InfraError::store(LISTING))? {
                missing += new.map_or(0, |file| self.missing_of(&file.hash, file.size));
            }
            Ok(missing)
        })
        .await?;
        let mut changes = std::pin::pin!(FileTree::changed_files(&trees[0], &trees[1], &input.path));
        while let Some(FileDiff { new, .. }) = changes.try_next().await.map_err(InfraError::store(LISTING))? {
            if let Some((path, entry)) = new.and_then(|file| file.entry.map(|entry| (file.path, entry))) {
                self.add(input, path, entry.content).await?;
            }
        }
        Ok(())
    }

    async fn remove(&self, input: &DatumInput, paths: Vec<String>) -> Result<(), InfraError> {
        let (workspace, name) = (Arc::clone(self.workspace), Arc::clone(&input.name));
        short(move || lock_workspace(&workspace).remove(&name, &paths)).await?
    }

    /// Reads a small file, or remembers a larger one for [`InputLayout::place_large`].
    async fn add(&mut self, input: &DatumInput, path: String, content: FileContent) -> Result<(), InfraError> {
        if content.size > SMALL_FILE_BYTES {
            self.large.push(LargeFile {
                input: Arc::clone(&input.name),
                commit: commit_of(input),
                path,
                content,
            });
            return Ok(());
        }
        let bytes = read_all(&self.storage.chunks, &content)
            .await
            .map_err(|source| InfraError::Input {
                path: path.clone(),
                commit: commit_of(input).to_string(),
                source,
            })?;
        self.small_bytes += content.size;
        self.small.push(SmallFile {
            input: Arc::clone(&input.name),
            path,
            bytes,
        });
        if self.small_bytes >= BATCH_BYTES || self.small.len() >= BATCH_FILES {
            self.write_small().await?;
        }
        Ok(())
    }

    async fn write_small(&mut self) -> Result<(), InfraError> {
        let workspace = Arc::clone(self.workspace);
        let files = std::mem::take(&mut self.small);
        self.small_bytes = 0;
        short(move || lock_workspace(&workspace).write(&files)).await?
    }

    async fn place_large(&mut self) -> Result<(), InfraError> {
        if self.large.is_empty() {
            return Ok(());
        }
        let mode = if self.writable {
            PlacementMode::Copy
        } else {
            PlacementMode::Link
        };
        // All of them are recorded before the first is placed, and the lock is not held while they are fetched.
        let targets: Vec<_> = {
            let mut workspace = lock_workspace(self.workspace);
            let target = |file: LargeFile| Ok((workspace.expect_file(&file.input, &file.path)?, file));
            let large = std::mem::take(&mut self.large);
            large.into_iter().map(target).collect::<Result<_, InfraError>>()?
        };
        let storage = self.storage;
        futures::stream::iter(targets)
            .map(|(target, file)| async move {
                let placed = storage.files.place(&storage.chunks, &file.content, target, mode).await;
                placed.map_err(|error| error.of_input(&file.path, &file.commit))
            })
            .buffer_unordered(PARALLEL_FETCHES)
            .try_collect::<()>()
            .await
    }
}

/// Returns the stored content of a file of the datum's input, or `None` if the input has no such file.
pub(crate) async fn content_of(
    storage: &WorkerStorage,
    datum: &Datum,
    name: &str,
    path: &str,
) -> Result<Option<FileContent>, InfraError> {
    let holds = |(input, _): &(&DatumInput, _)| {
        *input.name == *name
            && if input.is_dir {
                path.starts_with(&*input.path)
            } else {
                path == input.path
            }
    };
    let input = match datum.files().find(holds) {
        None => return Ok(None),
        Some((_, Some(content))) => return Ok(Some(content)),
        Some((input, None)) => input,
    };
    let tree = FileTree::new(&storage.store, Some(input.root));
    let entry = tree
        .file(path)
        .await
        .map_err(InfraError::store("cannot look up an input file"))?;
    Ok(entry.map(|entry| entry.content))
}
