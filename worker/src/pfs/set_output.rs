//! Where the output of a set is gathered until it is stored.

use std::sync::{Mutex, MutexGuard, PoisonError};

use futures::future::try_join_all;
use howdah_protocol::objects::{DatumResult, OutputFile};
use howdah_store::{PackWriter, Store, StoreError};

/// Where output is gathered: new bytes go through one writer, references beside it.
pub(crate) struct Gathering {
    /// Writes new bytes; the tag is the datum's place in the set, and the path.
    pub pack: PackWriter<(usize, String)>,
    /// Files that are in the store already.
    pub references: Vec<(usize, OutputFile)>,
}

/// The output of a set: as many writers as slots have had output at the same time, so that small files of many datums
/// share chunks, and no slot waits for another.
pub(crate) struct SetOutput {
    store: Store,
    free: Mutex<Vec<Gathering>>,
}

impl SetOutput {
    /// Begins without output.
    pub fn new(store: &Store) -> Self {
        Self {
            store: store.clone(),
            free: Mutex::default(),
        }
    }

    /// Takes a writer for the output of one datum.
    pub fn take(&self) -> Gathering {
        let free = self.lock().pop();
        free.unwrap_or_else(|| Gathering {
            pack: PackWriter::new(&self.store),
            references: Vec::new(),
        })
    }

    /// Gives a writer back. One that is not given back takes its output with it.
    pub fn give_back(&self, output: Gathering) {
        self.lock().push(output);
    }

    /// Stores everything to its end and tells each result its files, in order of their paths.
    ///
    /// # Errors
    /// When something could not be stored.
    pub async fn store(&self, results: &mut [DatumResult]) -> Result<(), StoreError> {
        let all = std::mem::take(&mut *self.lock());
        let finished = all.into_iter().map(|Gathering { pack, references }| async move {
            let written = pack.finish().await?;
            let new = written
                .into_iter()
                .map(|((place, path), content)| (place, OutputFile { path, content }));
            Ok::<_, StoreError>(new.chain(references).collect::<Vec<_>>())
        });
        for (place, file) in try_join_all(finished).await?.into_iter().flatten() {
            if let Some(result) = results.get_mut(place) {
                result.outputs.push(file);
            }
        }
        for result in results {
            result.outputs.sort_unstable_by(|a, b| a.path.cmp(&b.path));
        }
        Ok(())
    }

    fn lock(&self) -> MutexGuard<'_, Vec<Gathering>> {
        self.free.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
