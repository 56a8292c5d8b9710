//! The changes to the files of the base, and the files that two datums wrote.

use std::collections::HashSet;
use std::sync::{Arc, Mutex, PoisonError};

use futures::{Stream, TryStreamExt, stream};
use howdah_model::DatumId;
use howdah_store::{FileEntry, FileTree, StoreError, TreeEdit, TreeValue};

use super::edit_sorter::SortedEdits;

/// Streams edits: of those with equal keys the last one, so that a value wins over a removal.
pub(super) fn last_of_each_key(edits: &SortedEdits) -> impl Stream<Item = Result<TreeEdit, StoreError>> + Send + use<> {
    let mut edits = edits.iter().peekable();
    stream::iter(std::iter::from_fn(move || {
        loop {
            let edit = edits.next()?;
            match (edit, edits.peek()) {
                (Ok(edit), Some(Ok(next))) if edit.key == next.key => {}
                (edit, _) => return Some(edit.map_err(StoreError::scratch)),
            }
        }
    }))
}

/// The changes to the files of the base.
pub(super) struct FileChanges {
    /// Files to add and to remove, by path.
    pub(super) sorted: SortedEdits,
    /// The files that are changed.
    pub(super) base: FileTree,
    /// Datums of the base whose files are removed.
    pub(super) dropped: Arc<HashSet<DatumId>>,
    /// The first path found that two datums wrote, as the reason of the failure.
    pub(super) duplicate: Arc<Mutex<Option<String>>>,
}

impl FileChanges {
    /// Streams the changes. Of two files with the same path the first is kept and [`Self::duplicate`] is set; a file of the
    /// base is kept in the same way if its datum was taken over.
    pub(super) fn stream(&self) -> impl Stream<Item = Result<TreeEdit, StoreError>> + Send + use<> {
        let base = self.base.clone();
        let (dropped, duplicate) = (self.dropped.clone(), self.duplicate.clone());
        let kept = last_of_each_file(&self.sorted, duplicate.clone());
        kept.try_filter_map(move |edit| {
            let (base, dropped, duplicate) = (base.clone(), dropped.clone(), duplicate.clone());
            async move {
                let Some(owner) = edit.value.as_ref().and_then(owner) else {
                    return Ok(Some(edit));
                };
                let before = match base.tree().root() {
                    None => None,
                    Some(_) => base.tree().get(&edit.key).await?,
                };
                match before.as_ref().and_then(self::owner) {
                    // A file of the base whose datum neither ran again nor is gone: it stays in the output.
                    Some(other) if other != owner && !dropped.contains(&other) => {
                        note_duplicate(&duplicate, &edit.key, &other, &owner);
                        Ok(None)
                    }
                    _ => Ok(Some(edit)),
                }
            }
        })
    }
}

/// Like [`last_of_each_key`], but of several files with one path the first is kept, and the duplicate is noted.
fn last_of_each_file(
    edits: &SortedEdits,
    duplicate: Arc<Mutex<Option<String>>>,
) -> impl Stream<Item = Result<TreeEdit, StoreError>> + Send + use<> {
    let mut edits = edits.iter().peekable();
    stream::iter(std::iter::from_fn(move || {
        let mut kept = match edits.next()? {
            Ok(edit) => edit,
            Err(error) => return Some(Err(StoreError::scratch(error))),
        };
        while let Some(Ok(next)) = edits.next_if(|next| next.as_ref().is_ok_and(|next| next.key == kept.key)) {
            match (kept.value.as_ref().and_then(owner), next.value.as_ref().and_then(owner)) {
                (Some(one), Some(other)) => note_duplicate(&duplicate, &kept.key, &one, &other),
                _ => kept = next,
            }
        }
        Some(Ok(kept))
    }))
}

/// Returns the datum that wrote a file.
fn owner(value: &TreeValue) -> Option<DatumId> {
    FileEntry::decode(value).ok()?.datum
}

/// Keeps the reason of the first duplicate. Later ones are most often more of the same kind.
fn note_duplicate(duplicate: &Mutex<Option<String>>, path: &[u8], one: &DatumId, other: &DatumId) {
    let path = String::from_utf8_lossy(path);
    duplicate
        .lock()
        .unwrap_or_else(PoisonError::into_inner)
        .get_or_insert_with(|| duplicate_reason(&path, one, other));
}

/// Writes the reason of the failure.
fn duplicate_reason(path: &str, one: &DatumId, other: &DatumId) -> String {
    format!(
        "duplicate path output by different datums: {path} was written by datum {one} and by datum {other}; let each datum write its own file names"
    )
}
