//! Steps: encoding them as records of a [`RecordSorter`](crate::sort::RecordSorter), and folding the sorted ones.
//!
//! Records are sorted by path, then by number of the step. Folding reads them once, in this order, and combines all
//! steps of a path into one change. A cleared directory needs no list of its files: its path ends with a slash and is a
//! prefix of everything in it, so its records come before all records of its files.

use std::io;
use std::iter::Peekable;

use bytes::Bytes;

use super::entry::FileEntry;
use crate::error::{Result, StoreError};
use crate::sort::{MergedRecords, SortRecord};
use crate::tree::TreeValue;

/// The position of a step among the others.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct StepNumber(pub(super) u64);

/// What a step does. Its path is the key of the record.
pub(super) enum StepKind<'a> {
    /// Removes the file.
    Remove,
    /// Replaces the file by this entry.
    Put(&'a TreeValue),
    /// Adds the content of this entry at the end of the file.
    Append(&'a TreeValue),
    /// Replaces the file by this [`EncodedEntry`].
    PutEncoded(&'a [u8]),
    /// Adds the content of this [`EncodedEntry`] at the end of the file.
    AppendEncoded(&'a [u8]),
    /// Removes everything in the directory; the path ends with a slash.
    Clear,
}

const REMOVE: u8 = 0;
const PUT: u8 = 1;
const APPEND: u8 = 2;
const CLEAR: u8 = 3;

/// Bytes of number and kind.
const HEAD: usize = 9;
/// Bytes of the length of the data.
const LENGTH: usize = 4;

impl StepKind<'_> {
    /// Encodes number (8 bytes, so that they sort), kind (1), and of a value length of the data (4), data and
    /// placement.
    pub(super) fn encode(&self, number: StepNumber, write: impl FnOnce(&[&[u8]])) {
        let number = number.0.to_be_bytes();
        let length = |value: &TreeValue| u32::try_from(value.data.len()).unwrap_or(u32::MAX).to_le_bytes();
        match self {
            StepKind::Remove => write(&[&number, &[REMOVE]]),
            StepKind::Clear => write(&[&number, &[CLEAR]]),
            StepKind::Put(value) => write(&[&number, &[PUT], &length(value), &value.data, &value.placement]),
            StepKind::Append(value) => write(&[&number, &[APPEND], &length(value), &value.data, &value.placement]),
            StepKind::PutEncoded(part) => write(&[&number, &[PUT], part]),
            StepKind::AppendEncoded(part) => write(&[&number, &[APPEND], part]),
        }
    }
}

/// The effect of all steps on one file.
#[derive(Debug)]
pub(super) enum FileChange {
    Remove,
    Write(FileWrite),
}

#[derive(Debug)]
pub(super) struct FileWrite {
    /// The content in the base remains, before the parts.
    pub(super) after_base: bool,
    /// Contents that are joined, in order.
    pub(super) parts: Vec<EncodedEntry>,
}

/// An encoded entry: length of the data (4 bytes), data, placement.
#[derive(Debug)]
pub(super) struct EncodedEntry(Bytes);

impl EncodedEntry {
    /// Returns the bytes for [`StepKind::PutEncoded`] and [`StepKind::AppendEncoded`].
    pub(super) fn encoded(&self) -> &[u8] {
        &self.0
    }

    /// Decodes it.
    pub(super) fn entry(&self) -> Result<FileEntry> {
        let length = self.0.first_chunk().map(|length| u32::from_le_bytes(*length) as usize);
        let end = LENGTH + length.ok_or_else(damaged)?;
        if self.0.len() < end {
            return Err(damaged());
        }
        let value = TreeValue {
            data: self.0.slice(LENGTH..end),
            placement: self.0.slice(end..),
            weight: 0,
        };
        FileEntry::decode(&value).map_err(|_| damaged())
    }
}

fn damaged() -> StoreError {
    StoreError::scratch(io::Error::new(
        io::ErrorKind::InvalidData,
        "it does not hold what was written to it",
    ))
}

/// One result of folding steps.
#[derive(Debug)]
pub(super) enum FoldedStep {
    /// Everything that the base has in this directory is removed. Never in another cleared directory.
    Cleared(Bytes),
    /// The change of the file of this path.
    File(Bytes, FileChange),
}

/// Folds sorted steps; returns paths in ascending order.
pub(super) struct FoldedSteps {
    steps: Peekable<MergedRecords>,
    /// Cleared directories that contain the current path, outermost first, each with the number of the last step that
    /// cleared it or a directory around it.
    cleared: Vec<(Bytes, StepNumber)>,
}

impl FoldedSteps {
    pub(super) fn new(steps: MergedRecords) -> Self {
        FoldedSteps {
            steps: steps.peekable(),
            cleared: Vec::new(),
        }
    }

    /// Notes a cleared directory; returns whether it is in no other cleared one.
    fn clear(&mut self, directory: Bytes, number: StepNumber) -> bool {
        match self.cleared.last_mut() {
            None => {
                self.cleared.push((directory, number));
                true
            }
            Some((last, last_number)) if *last == directory => {
                *last_number = number.max(*last_number);
                false
            }
            Some((_, last_number)) => {
                let number = number.max(*last_number);
                self.cleared.push((directory, number));
                false
            }
        }
    }

    /// Folds all steps of one path; `None` if a later step has cleared a directory around it.
    fn fold(&mut self, first: SortRecord) -> Result<Option<FileChange>> {
        let cleared = self.cleared.last().map(|(_, number)| *number);
        let path = first.key.clone();
        let (mut change, mut step) = (None, Some(first));
        while let Some(SortRecord { rest, .. }) = step {
            let (number, kind) = head(&rest)?;
            // A step before the last clearing of a directory around it has no effect, although it is sorted after that.
            if cleared.is_none_or(|cleared| number > cleared) {
                let part = || EncodedEntry(rest.slice(HEAD..));
                change = Some(match (kind, change) {
                    (REMOVE, _) => FileChange::Remove,
                    (APPEND, Some(FileChange::Write(mut write))) => {
                        write.parts.push(part());
                        FileChange::Write(write)
                    }
                    (APPEND, before) => FileChange::Write(FileWrite {
                        // Neither after a removal nor in a cleared directory: the base has the file, but these edits
                        // have removed it before.
                        after_base: before.is_none() && cleared.is_none(),
                        parts: vec![part()],
                    }),
                    _ => FileChange::Write(FileWrite {
                        after_base: false,
                        parts: vec![part()],
                    }),
                });
            }
            let next = self
                .steps
                .next_if(|next| next.as_ref().is_ok_and(|next| next.key == path));
            step = next.transpose().map_err(StoreError::scratch)?;
        }
        Ok(change)
    }

    fn step(&mut self) -> Result<Option<FoldedStep>> {
        while let Some(step) = self.steps.next() {
            let record = step.map_err(StoreError::scratch)?;
            while self
                .cleared
                .last()
                .is_some_and(|(directory, _)| !record.key.starts_with(directory))
            {
                self.cleared.pop();
            }
            let (number, kind) = head(&record.rest)?;
            if kind == CLEAR {
                if self.clear(record.key.clone(), number) {
                    return Ok(Some(FoldedStep::Cleared(record.key)));
                }
            } else {
                let path = record.key.clone();
                if let Some(change) = self.fold(record)? {
                    return Ok(Some(FoldedStep::File(path, change)));
                }
            }
        }
        Ok(None)
    }
}

impl Iterator for FoldedSteps {
    type Item = Result<FoldedStep>;

    fn next(&mut self) -> Option<Self::Item> {
        self.step().transpose()
    }
}

fn head(rest: &Bytes) -> Result<(StepNumber, u8)> {
    let number = rest.first_chunk().map(|number| StepNumber(u64::from_be_bytes(*number)));
    number.zip(rest.get(HEAD - 1).copied()).ok_or_else(damaged)
}
