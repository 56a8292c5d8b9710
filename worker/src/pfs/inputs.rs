//! Laying out the input of one try.
//!
//! A large folder that stands from the try before, of another commit or the same, is brought up to date with what
//! differs between the two trees: what is already on the disk is neither fetched nor written again.

use std::sync::{Arc, Mutex};

use futures::{StreamExt, TryStreamExt};
use howdah_model::ids::{ContentHash, TreeRoot};
use howdah_protocol::objects::{Datum, DatumInput};
use howdah_store::{FileContent, FileDiff, FileTree};

use crate::cache::chunks::read_all;
use crate::cache::file_cache::{Manner, SMALL_FILE_BYTES, blocking};
use crate::context::Kit;
use crate::error::Trouble;
use crate::execute::slot_thread::short;
use crate::pfs::workspace::{SmallFile, Workspace};
use crate::pfs::workspace_reuse::{Standing, Wanted, Whole};
use crate::slots::lock;

/// Small files are written in batches of so many bytes, or files, to bound memory.
const BATCH_BYTES: u64 = 4 << 20;
const BATCH_FILES: usize = 1000;
/// Big files that are fetched at once for one datum.
const PARALLEL_FETCHES: usize = 4;
/// Inputs smaller than this are laid out without asking for free space first.
const CHECK_SPACE_BYTES: u64 = 16 << 20;
const LISTING: &str = "cannot list an input folder";

/// Lays out a datum's input in folders that are readied first; returns its bytes.
pub(crate) async fn lay_out(
    kit: &Kit,
    space: &Arc<Mutex<Workspace>>,
    datum: &Datum,
    writable: bool,
    env: String,
) -> Result<u64, Trouble> {
    let layout = Layout {
        kit,
        space,
        writable,
        small: Vec::new(),
        small_bytes: 0,
        big: Vec::new(),
    };
    let laid_out = layout.run(datum, env).await;
    if laid_out.is_err() {
        // What was on its way when another file failed may still arrive: nothing of this try is built upon.
        lock(space).forget();
    }
    match laid_out {
        Err(error) if error.is_disk_full() => {
            let needed = bytes_of(datum);
            let full = kit.explain(error, needed);
            // For the next attempt.
            kit.make_room(needed.max(CHECK_SPACE_BYTES)).await?;
            Err(full)
        }
        Err(error) => Err(error),
        Ok(()) => Ok(bytes_of(datum)),
    }
}

fn bytes_of(datum: &Datum) -> u64 {
    datum.inputs.iter().map(|input| input.size).sum()
}

/// Names the inputs of a datum, each with its folder where it consists of one and nothing else.
fn wanted(datum: &Datum) -> Wanted {
    let mut wanted = Wanted::new();
    for input in &datum.inputs {
        let whole = input.is_dir.then(|| Whole {
            path: input.path.clone(),
            root: input.root,
        });
        wanted
            .entry(Arc::clone(&input.name))
            // Matches of one input may overlap.
            .and_modify(|known| *known = None)
            .or_insert(whole);
    }
    wanted
}

/// Refuses an input that cannot fit, cache or no cache, before anything of it is fetched.
///
/// There are `most` bytes to come; `missing` finds out how many of them are not in the cache, which takes longer, and is
/// asked again once the cache has made room.
async fn check_space(kit: &Kit, most: u64, missing: impl AsyncFn() -> Result<u64, Trouble>) -> Result<(), Trouble> {
    let scratch = &kit.starter.scratch;
    let free = || {
        scratch
            .free_bytes()
            .map_err(Trouble::io("ask for the free space of", scratch.root()))
    };
    if most <= CHECK_SPACE_BYTES || most <= free()? {
        return Ok(());
    }
    let needed = missing().await?;
    if needed <= free()? {
        return Ok(());
    }
    kit.make_room(needed).await?;
    // Files of the datum itself may have gone too.
    let needed = missing().await?;
    if needed > free()? {
        Err(kit.scratch_full(needed))
    } else {
        Ok(())
    }
}

struct Layout<'a> {
    kit: &'a Kit,
    space: &'a Arc<Mutex<Workspace>>,
    writable: bool,
    small: Vec<SmallFile>,
    small_bytes: u64,
    big: Vec<(Arc<str>, String, FileContent)>,
}

impl Layout<'_> {
    async fn run(mut self, datum: &Datum, env: String) -> Result<(), Trouble> {
        let wanted = wanted(datum);
        let standing = self.begin(&wanted, env).await?;
        let new = || datum.inputs.iter().filter(|input| !standing.contains_key(&input.name));
        let most = new().map(|input| input.size).sum();
        check_space(self.kit, most, async || {
            let mut missing = 0;
            for input in new() {
                missing += self.missing(input).await?;
            }
            Ok(missing)
        })
        .await?;
        for (input, content) in datum.files() {
            match (standing.get(&input.name), content) {
                (Some(before), _) if *before == input.root => {}
                (Some(before), _) => self.bring_up_to_date(input, *before).await?,
                (None, Some(content)) => self.add(input, input.path.clone(), content).await?,
                (None, None) => self.add_all(input).await?,
            }
        }
        self.write_small(true).await?;
        self.place_big().await?;
        let mut space = lock(self.space);
        for (name, whole) in wanted {
            if let Some(whole) = whole {
                space.complete(&name, whole);
            }
        }
        Ok(())
    }

    /// Returns the bytes of an input that are not in the cache, or must be copied.
    async fn missing(&self, input: &DatumInput) -> Result<u64, Trouble> {
        if !input.is_dir {
            return Ok(self.missing_of(&input.hash, input.size));
        }
        let tree = FileTree::new(&self.kit.store, Some(input.root));
        let mut files = std::pin::pin!(tree.files(&input.path));
        let mut missing = 0;
        while let Some((_, entry)) = files.try_next().await.map_err(Trouble::store(LISTING))? {
            missing += self.missing_of(&entry.content.hash, entry.content.size);
        }
        Ok(missing)
    }

    fn missing_of(&self, hash: &ContentHash, size: u64) -> u64 {
        let linked = !self.writable && size > SMALL_FILE_BYTES && self.kit.files.has(hash);
        if linked { 0 } else { size }
    }

    async fn begin(&self, wanted: &Wanted, env: String) -> Result<Standing, Trouble> {
        let (space, wanted, writable) = (Arc::clone(self.space), wanted.clone(), self.writable);
        short(move || lock(&space).begin(&wanted, writable, &env)).await?
    }

    async fn add_all(&mut self, input: &DatumInput) -> Result<(), Trouble> {
        let tree = FileTree::new(&self.kit.store, Some(input.root));
        if !input.is_dir {
            let entry = tree
                .file(&input.path)
                .await
                .map_err(Trouble::store("cannot look up an input file"))?
                .ok_or_else(|| missing(input, &input.path))?;
            return self.add(input, input.path.clone(), entry.content).await;
        }
        let mut files = std::pin::pin!(tree.files(&input.path));
        while let Some((path, entry)) = files.try_next().await.map_err(Trouble::store(LISTING))? {
            self.add(input, path, entry.content).await?;
        }
        Ok(())
    }

    /// Makes what stands from the commit with the tree `before` what the input's own commit has.
    ///
    /// All that goes, goes first: a file may have become a folder, and a folder a file.
    async fn bring_up_to_date(&mut self, input: &DatumInput, before: TreeRoot) -> Result<(), Trouble> {
        let trees = [before, input.root].map(|root| FileTree::new(&self.kit.store, Some(root)));
        let mut coming = 0;
        let mut going = Vec::new();
        let mut changes = std::pin::pin!(FileTree::changed_files(&trees[0], &trees[1], &input.path));
        while let Some(FileDiff { old, new }) = changes.try_next().await.map_err(Trouble::store(LISTING))? {
            coming += new.map_or(0, |file| file.size);
            going.extend(old.map(|file| file.path));
            if going.len() >= BATCH_FILES {
                self.remove(input, std::mem::take(&mut going)).await?;
            }
        }
        self.remove(input, going).await?;
        check_space(self.kit, coming, async || {
            let mut missing = 0;
            let mut changes = std::pin::pin!(FileTree::changed_files(&trees[0], &trees[1], &input.path));
            while let Some(FileDiff { new, .. }) = changes.try_next().await.map_err(Trouble::store(LISTING))? {
                missing += new.map_or(0, |file| self.missing_of(&file.hash, file.size));
            }
            Ok(missing)
        })
        .await?;
        let mut changes = std::pin::pin!(FileTree::changed_files(&trees[0], &trees[1], &input.path));
        while let Some(FileDiff { new, .. }) = changes.try_next().await.map_err(Trouble::store(LISTING))? {
            if let Some((path, entry)) = new.and_then(|file| file.entry.map(|entry| (file.path, entry))) {
                self.add(input, path, entry.content).await?;
            }
        }
        Ok(())
    }

    async fn remove(&self, input: &DatumInput, paths: Vec<String>) -> Result<(), Trouble> {
        let (space, name) = (Arc::clone(self.space), Arc::clone(&input.name));
        short(move || lock(&space).remove(&name, &paths)).await?
    }

    async fn add(&mut self, input: &DatumInput, path: String, content: FileContent) -> Result<(), Trouble> {
        if content.size > SMALL_FILE_BYTES {
            self.big.push((Arc::clone(&input.name), path, content));
            return Ok(());
        }
        let bytes = read_all(&self.kit.source, &content)
            .await
            .map_err(Trouble::store("cannot read an input file"))?;
        self.small_bytes += content.size;
        self.small.push(SmallFile {
            input: Arc::clone(&input.name),
            path,
            bytes,
        });
        if self.small_bytes >= BATCH_BYTES || self.small.len() >= BATCH_FILES {
            self.write_small(false).await?;
        }
        Ok(())
    }

    async fn write_small(&mut self, last: bool) -> Result<(), Trouble> {
        let space = Arc::clone(self.space);
        let files = std::mem::take(&mut self.small);
        self.small_bytes = 0;
        let writable = self.writable;
        let open = last && writable && self.big.is_empty();
        short(move || {
            let mut space = lock(&space);
            space.write(&files)?;
            if open { space.open_folders() } else { Ok(()) }
        })
        .await?
    }

    async fn place_big(&mut self) -> Result<(), Trouble> {
        if self.big.is_empty() {
            return Ok(());
        }
        let manner = if self.writable { Manner::Copy } else { Manner::Link };
        let targets: Vec<_> = {
            let mut space = lock(self.space);
            let target =
                |(input, path, content): (Arc<str>, String, FileContent)| (space.expect_file(&input, &path), content);
            std::mem::take(&mut self.big).into_iter().map(target).collect()
        };
        let kit = self.kit;
        futures::stream::iter(targets)
            .map(|(target, content)| async move { kit.files.place(&kit.source, &content, target, manner).await })
            .buffer_unordered(PARALLEL_FETCHES)
            .try_collect::<()>()
            .await?;
        if !self.writable {
            return Ok(());
        }
        let space = Arc::clone(self.space);
        blocking(move || lock(&space).open_folders()).await?
    }
}

fn missing(input: &DatumInput, path: &str) -> Trouble {
    Trouble::InputMissing {
        path: path.to_owned(),
        commit: format!("{}@{}", input.repo, input.commit),
    }
}

/// Returns the stored content of an input file that an output link leads to.
pub(crate) async fn content_of(
    kit: &Kit,
    datum: &Datum,
    name: &str,
    path: &str,
) -> Result<Option<FileContent>, Trouble> {
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
    let tree = FileTree::new(&kit.store, Some(input.root));
    let entry = tree
        .file(path)
        .await
        .map_err(Trouble::store("cannot look up an input file"))?;
    Ok(entry.map(|entry| entry.content))
}
