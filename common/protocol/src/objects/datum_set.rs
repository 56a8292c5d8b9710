//! Datum sets: the unit of delivery, with the datums and input files in it.

use std::sync::Arc;

use howdah_model::ids::{ContentHash, DatumHash, DatumId, GlobalId, TreeRoot};
use howdah_model::names::{BranchName, RepoKey};
use howdah_store::{FileContent, Slice};
use serde::{Deserialize, Serialize};

use crate::wire::{BodyError, Wire};

/// The unit of work that is handed to a worker.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DatumSet {
    /// Number of the set within its job, from 0.
    pub set: u32,
    /// Its datums, processed one after the other.
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

/// A [`DatumSet`] that does not say where files lie.
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

/// One datum: the input files that one run of the command sees.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Datum {
    /// Identity, independent of content.
    pub id: DatumId,
    /// Identity with content and salt.
    pub hash: DatumHash,
    /// Input files in the order that the identity was computed from.
    pub inputs: Vec<DatumInput>,
    /// Where the bytes of the inputs lie, one entry for each: `None` for directories, and for files that are empty or
    /// do not lie in one piece. Nothing here means that the trees have to be asked for all of them.
    #[serde(default)]
    pub slices: Vec<Option<Slice>>,
}

impl Datum {
    /// Goes through the inputs, each with its content where the datum says where that lies.
    pub fn files(&self) -> impl Iterator<Item = (&DatumInput, Option<FileContent>)> {
        self.inputs.iter().enumerate().map(|(place, input)| {
            let slice = self.slices.get(place).copied().flatten();
            let content = (!input.is_dir).then(|| FileContent::in_one_slice(input.size, input.hash, slice));
            (input, content.flatten())
        })
    }
}

/// One input file (or directory) of a datum.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DatumInput {
    /// Name of the input: the folder below `/pfs`.
    pub name: Arc<str>,
    /// Repository it comes from.
    pub repo: RepoKey,
    /// Branch it comes from.
    pub branch: BranchName,
    /// Commit it comes from.
    pub commit: GlobalId,
    /// File tree of that commit.
    pub root: TreeRoot,
    /// Path in the commit, beginning with `/`; directories end in `/`.
    pub path: String,
    /// Whether the match is a directory, which stands for everything below it.
    pub is_dir: bool,
    /// Bytes in the file or below the directory.
    pub size: u64,
    /// Content hash of the file or directory.
    pub hash: ContentHash,
    /// Expanded `join_on` key, if any.
    pub join_on: String,
    /// Expanded `group_by` key, if any.
    pub group_by: String,
}
