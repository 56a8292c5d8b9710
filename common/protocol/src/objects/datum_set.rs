//! Datum sets: the unit of delivery, with the datums and input files in it.

use std::sync::Arc;

use howdah_model::ids::{ContentHash, DatumHash, DatumId, GlobalId, TreeRoot};
use howdah_model::names::{BranchName, RepoKey};
use howdah_store::{FileContent, Slice};
use serde::{Deserialize, Serialize};

use crate::wire::{BodyError, Wire};

/// The unit of delivery and acknowledgement: several datums, which share that cost.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DatumSet {
    /// Number of the set within its job, from 0.
    pub set: u32,
    /// Its datums. [`super::SetConcurrency`] says how many run at a time.
    pub datums: Vec<Datum>,
}

impl Wire for DatumSet {
    const KIND: &'static str = "datum_set";
    const VERSION: u32 = 3;
    const READS: &'static [u32] = &[2, Self::VERSION];
    const BINARY: bool = true;

    fn decode_older(_version: u32, body: &[u8]) -> Result<Self, BodyError> {
        Ok(postcard::from_bytes::<DatumSetV2>(body)?.into())
    }
}

/// Version 2 of [`DatumSet`]: without the location of files in the store.
#[derive(Deserialize)]
pub(crate) struct DatumSetV2 {
    set: u32,
    datums: Vec<DatumV2>,
}

#[derive(Deserialize)]
struct DatumV2 {
    id: DatumId,
    hash: DatumHash,
    inputs: Vec<DatumInput>,
}

impl From<DatumSetV2> for DatumSet {
    fn from(older: DatumSetV2) -> Self {
        let datum = |DatumV2 { id, hash, inputs }| Datum {
            id,
            hash,
            inputs,
            slices: Vec::new(),
        };
        DatumSet {
            set: older.set,
            datums: older.datums.into_iter().map(datum).collect(),
        }
    }
}

/// The input files that one run of the command sees.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Datum {
    /// Identity without content: names, repositories, branches and paths of the inputs.
    pub id: DatumId,
    /// Identity with content: the id, the content hashes and the salt.
    pub hash: DatumHash,
    /// Input files, in the order of which `id` is computed.
    pub inputs: Vec<DatumInput>,
    /// Where the bytes of each input are in the store, one entry for each input: `None` for a directory, an empty file
    /// or a file that is not in one slice. An empty list means unknown: read the file trees for all inputs.
    #[serde(default)]
    pub slices: Vec<Option<Slice>>,
}

impl Datum {
    /// Returns the inputs, each with its content if the datum holds its location.
    pub fn files(&self) -> impl Iterator<Item = (&DatumInput, Option<FileContent>)> {
        self.inputs.iter().enumerate().map(|(place, input)| {
            let slice = self.slices.get(place).copied().flatten();
            let content = (!input.is_dir).then(|| FileContent::in_one_slice(input.size, input.hash, slice));
            (input, content.flatten())
        })
    }
}

/// One input file or directory of a datum.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DatumInput {
    /// Name of the input, which is its folder below `/pfs`.
    pub name: Arc<str>,
    /// Repository.
    pub repo: RepoKey,
    /// Branch.
    pub branch: BranchName,
    /// Commit.
    pub commit: GlobalId,
    /// Root of the file tree of that commit.
    pub root: TreeRoot,
    /// Path in the commit. It begins with `/`; that of a directory ends with `/`.
    pub path: String,
    /// Whether it is a directory: the datum then sees everything below it.
    pub is_dir: bool,
    /// Size of the file, or of all files below the directory, in bytes.
    pub size: u64,
    /// Content hash of the file or directory.
    pub hash: ContentHash,
    /// Expanded `join_on` key, if any.
    pub join_on: String,
    /// Expanded `group_by` key, if any.
    pub group_by: String,
}
