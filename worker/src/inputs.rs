//! Laying out the input of one try.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex};

use futures::{StreamExt, TryStreamExt};
use howdah_queue::job::{Datum, DatumInput};
use howdah_store::{FileContent, FileTree};

use crate::chunks::read_all;
use crate::error::Trouble;
use crate::file_cache::{Manner, SMALL_FILE_BYTES, blocking};
use crate::kit::Kit;
use crate::slot_thread::short;
use crate::slots::lock;
use crate::workspace::{SmallFile, Workspace};

/// Small files are written in batches of so many bytes, or files, to bound memory.
const BATCH_BYTES: u64 = 4 << 20;
const BATCH_FILES: usize = 1000;
/// Big files that are fetched at once for one datum.
const PARALLEL_FETCHES: usize = 4;
/// Inputs smaller than this are laid out without asking for free space first.
const CHECK_SPACE_BYTES: u64 = 16 << 20;

/// Lays out a datum's input in folders that are cleared first; returns its bytes.
pub(crate) async fn lay_out(
    kit: &Kit,
    space: &Arc<Mutex<Workspace>>,
    datum: &Datum,
    writable: bool,
    env: String,
) -> Result<u64, Trouble> {
    let needed = datum.inputs.iter().map(|input| input.size).sum();
    if needed > CHECK_SPACE_BYTES {
        check_space(kit, datum, writable).await?;
    }
    let layout = Layout {
        kit,
        space,
        writable,
        start: Some(Start {
            names: datum.inputs.iter().map(|input| Arc::clone(&input.name)).collect(),
            env,
        }),
        small: Vec::new(),
        small_bytes: 0,
        big: Vec::new(),
        bytes: 0,
    };
    match layout.run(datum).await {
        Err(error) if error.is_disk_full() => {
            let full = kit.explain(error, needed);
            // For the next attempt.
            kit.make_room(needed.max(CHECK_SPACE_BYTES)).await?;
            Err(full)
        }
        other => other,
    }
}

/// Refuses an input that cannot fit, cache or no cache, before anything of it is fetched.
async fn check_space(kit: &Kit, datum: &Datum, writable: bool) -> Result<(), Trouble> {
    let new = |input: &&DatumInput| writable || !(input.is_dir || kit.files.has(&input.hash));
    let needed = || -> u64 { datum.inputs.iter().filter(new).map(|input| input.size).sum() };
    let scratch = &kit.starter.scratch;
    let free = || {
        scratch
            .free_bytes()
            .map_err(Trouble::io("ask for the free space of", scratch.root()))
    };
    if needed() <= free()? {
        return Ok(());
    }
    kit.make_room(needed()).await?;
    // Files of the datum itself may have gone too.
    let needed = needed();
    if needed > free()? {
        Err(kit.scratch_full(needed))
    } else {
        Ok(())
    }
}

struct Start {
    names: BTreeSet<Arc<str>>,
    env: String,
}

struct Layout<'a> {
    kit: &'a Kit,
    space: &'a Arc<Mutex<Workspace>>,
    writable: bool,
    /// Taken by the first batch, so that a trivial datum costs one visit to a blocking thread.
    start: Option<Start>,
    small: Vec<SmallFile>,
    small_bytes: u64,
    big: Vec<(Arc<str>, String, FileContent)>,
    bytes: u64,
}

impl Layout<'_> {
    async fn run(mut self, datum: &Datum) -> Result<u64, Trouble> {
        for input in &datum.inputs {
            let tree = FileTree::new(&self.kit.store, Some(input.root));
            if input.is_dir {
                let mut files = std::pin::pin!(tree.files(&input.path));
                while let Some((path, entry)) = files
                    .try_next()
                    .await
                    .map_err(Trouble::store("cannot list an input folder"))?
                {
                    self.add(input, path, entry.content).await?;
                }
            } else {
                let entry = tree
                    .file(&input.path)
                    .await
                    .map_err(Trouble::store("cannot look up an input file"))?
                    .ok_or_else(|| missing(input, &input.path))?;
                self.add(input, input.path.clone(), entry.content).await?;
            }
        }
        self.write_small(true).await?;
        self.place_big().await?;
        Ok(self.bytes)
    }

    async fn add(&mut self, input: &DatumInput, path: String, content: FileContent) -> Result<(), Trouble> {
        self.bytes += content.size;
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
        let start = self.start.take();
        let writable = self.writable;
        let open = last && writable && self.big.is_empty();
        short(move || {
            let mut space = lock(&space);
            if let Some(start) = start {
                space.begin(&start.names, writable, &start.env)?;
            }
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
            let target = |(input, path, content): (Arc<str>, String, FileContent)| {
                let target = space.input_path(&input, &path);
                space.expect_file(&target);
                (target, content)
            };
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
    let holds = |input: &&DatumInput| {
        *input.name == *name
            && if input.is_dir {
                path.starts_with(&*input.path)
            } else {
                path == input.path
            }
    };
    let Some(input) = datum.inputs.iter().find(holds) else {
        return Ok(None);
    };
    let tree = FileTree::new(&kit.store, Some(input.root));
    let entry = tree
        .file(path)
        .await
        .map_err(Trouble::store("cannot look up an input file"))?;
    Ok(entry.map(|entry| entry.content))
}
