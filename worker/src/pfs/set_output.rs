//! The output of a datum set on its way to the store.
//!
//! Small files of many datums share chunks, so the datums of a set share writers. A slot takes a writer for one datum
//! and returns it ([`SetOutput::take`], [`SetOutput::give_back`]); there are as many writers as slots had output at the
//! same time, so no slot waits for another. Nothing is visible in the store as output before [`SetOutput::store`]
//! succeeds and the set's result is stored.

use std::collections::HashSet;
use std::sync::{Mutex, MutexGuard, PoisonError};

use futures::future::try_join_all;
use howdah_protocol::objects::{DatumResult, OutputFile};
use howdah_store::{PackWriter, Store, StoreError};

/// Collects output of several datums, one after the other.
pub(crate) struct OutputWriter {
    /// Writes new bytes.
    pub pack: PackWriter<OutputTag>,
    /// Files that are in the store already, with their datum's index in the set.
    pub references: Vec<(usize, OutputFile)>,
    /// Number of tries that have begun to write.
    tries: u32,
    /// Tries whose output does not count although a part of it is written.
    discarded: HashSet<u32>,
}

/// Which file of which try a piece of new output is.
#[derive(Debug)]
pub(crate) struct OutputTag {
    /// Its datum's index in the set.
    pub datum: usize,
    /// Number of the try, from [`OutputWriter::begin_try`].
    pub written_by: u32,
    /// Path in the output.
    pub path: String,
}

impl OutputWriter {
    /// Numbers a try that begins to write.
    pub(crate) fn begin_try(&mut self) -> u32 {
        self.tries += 1;
        self.tries
    }

    /// Drops what a try has written. The chunks stay in the store without a reference.
    pub(crate) fn discard(&mut self, written_by: u32) {
        self.discarded.insert(written_by);
    }
}

/// The output of a set. Shared by the slots that run its datums.
pub(crate) struct SetOutput {
    store: Store,
    /// Writers that no slot uses now.
    idle: Mutex<Vec<OutputWriter>>,
}

impl SetOutput {
    /// Starts without output.
    pub(crate) fn new(store: &Store) -> Self {
        Self {
            store: store.clone(),
            idle: Mutex::default(),
        }
    }

    /// Takes a writer for the output of one datum.
    pub(crate) fn take(&self) -> OutputWriter {
        let idle = self.lock().pop();
        idle.unwrap_or_else(|| OutputWriter {
            pack: PackWriter::new(&self.store),
            references: Vec::new(),
            tries: 0,
            discarded: HashSet::new(),
        })
    }

    /// Returns a writer. The output of a writer that is dropped instead is lost, for all datums that used it; the set
    /// must fail then.
    pub(crate) fn give_back(&self, writer: OutputWriter) {
        self.lock().push(writer);
    }

    /// Stores all output and adds to each result its files, sorted by path.
    ///
    /// # Errors
    /// If anything could not be stored.
    pub(crate) async fn store(&self, results: &mut [DatumResult]) -> Result<(), StoreError> {
        let all = std::mem::take(&mut *self.lock());
        let finished = all.into_iter().map(|writer| async move {
            let written = writer.pack.finish().await?;
            let new = written
                .into_iter()
                .filter(|(tag, _)| !writer.discarded.contains(&tag.written_by))
                .map(|(tag, content)| {
                    (
                        tag.datum,
                        OutputFile {
                            path: tag.path,
                            content,
                        },
                    )
                });
            Ok::<_, StoreError>(new.chain(writer.references).collect::<Vec<_>>())
        });
        for (index, file) in try_join_all(finished).await?.into_iter().flatten() {
            if let Some(result) = results.get_mut(index) {
                result.outputs.push(file);
            }
        }
        for result in results {
            result.outputs.sort_unstable_by(|a, b| a.path.cmp(&b.path));
        }
        Ok(())
    }

    fn lock(&self) -> MutexGuard<'_, Vec<OutputWriter>> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
