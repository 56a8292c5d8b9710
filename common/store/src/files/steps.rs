//! Steps as records of a [`crate::sort::Sorter`], and what they come to for each path.

use std::io;
use std::iter::Peekable;

use bytes::Bytes;

use super::edits::StepNumber;
use crate::error::{Result, StoreError};
use crate::format::content::FileEntry;
use crate::sort::{Record, Records};
use crate::tree::Value;

/// One step; its path is the key of the record.
pub(super) enum StepKind<'a> {
    /// The file goes.
    Remove,
    /// The file becomes this encoded entry.
    Put(&'a Value),
    /// The content of this encoded entry comes at the end of the file.
    Append(&'a Value),
    /// The file becomes this [`Part`].
    PutPart(&'a [u8]),
    /// The content of this [`Part`] comes at the end of the file.
    AppendPart(&'a [u8]),
    /// Everything in the directory goes; the path ends with a slash.
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
        let length = |value: &Value| u32::try_from(value.data.len()).unwrap_or(u32::MAX).to_le_bytes();
        match self {
            StepKind::Remove => write(&[&number, &[REMOVE]]),
            StepKind::Clear => write(&[&number, &[CLEAR]]),
            StepKind::Put(value) => write(&[&number, &[PUT], &length(value), &value.data, &value.placement]),
            StepKind::Append(value) => write(&[&number, &[APPEND], &length(value), &value.data, &value.placement]),
            StepKind::PutPart(part) => write(&[&number, &[PUT], part]),
            StepKind::AppendPart(part) => write(&[&number, &[APPEND], part]),
        }
    }
}

/// What becomes of a single file, in the end.
#[derive(Debug)]
pub(super) enum Change {
    Remove,
    Write(Write),
}

#[derive(Debug)]
pub(super) struct Write {
    /// What the base holds stays in front.
    pub(super) after_base: bool,
    /// Contents to be joined.
    pub(super) parts: Vec<Part>,
}

/// An encoded entry: length of the data (4 bytes), data, placement.
#[derive(Debug)]
pub(super) struct Part(Bytes);

impl Part {
    /// Returns it as [`StepKind::PutPart`] and [`StepKind::AppendPart`] take it.
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
        let value = Value {
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

/// What steps come to.
#[derive(Debug)]
pub(super) enum Folded {
    /// Of this directory nothing remains but what follows. No cleared directory lies in another.
    Cleared(Bytes),
    /// What becomes of the file of this path.
    File(Bytes, Change),
}

/// Goes through sorted steps; gives paths in ascending order.
pub(super) struct FoldedSteps {
    steps: Peekable<Records>,
    /// Cleared directories that the current path lies in, outermost first, each with the number of the last step
    /// that cleared it or one around it.
    cleared: Vec<(Bytes, StepNumber)>,
}

impl FoldedSteps {
    pub(super) fn new(steps: Records) -> Self {
        FoldedSteps {
            steps: steps.peekable(),
            cleared: Vec::new(),
        }
    }

    /// Takes note of a cleared directory; tells whether it lies in no other.
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

    /// Works out what all steps of one path come to; none if a later step has cleared a directory around it.
    fn fold(&mut self, first: Record) -> Result<Option<Change>> {
        let cleared = self.cleared.last().map(|(_, number)| *number);
        let path = first.key.clone();
        let (mut change, mut step) = (None, Some(first));
        while let Some(Record { rest, .. }) = step {
            let (number, kind) = head(&rest)?;
            if cleared.is_none_or(|cleared| number > cleared) {
                let part = || Part(rest.slice(HEAD..));
                change = Some(match (kind, change) {
                    (REMOVE, _) => Change::Remove,
                    (APPEND, Some(Change::Write(mut write))) => {
                        write.parts.push(part());
                        Change::Write(write)
                    }
                    (APPEND, before) => Change::Write(Write {
                        after_base: before.is_none() && cleared.is_none(),
                        parts: vec![part()],
                    }),
                    _ => Change::Write(Write {
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

    fn step(&mut self) -> Result<Option<Folded>> {
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
                    return Ok(Some(Folded::Cleared(record.key)));
                }
            } else {
                let path = record.key.clone();
                if let Some(change) = self.fold(record)? {
                    return Ok(Some(Folded::File(path, change)));
                }
            }
        }
        Ok(None)
    }
}

impl Iterator for FoldedSteps {
    type Item = Result<Folded>;

    fn next(&mut self) -> Option<Self::Item> {
        self.step().transpose()
    }
}

fn head(rest: &Bytes) -> Result<(StepNumber, u8)> {
    let number = rest.first_chunk().map(|number| StepNumber(u64::from_be_bytes(*number)));
    number.zip(rest.get(HEAD - 1).copied()).ok_or_else(damaged)
}
