//! The phases of a contest, and where a contestant works.

use std::path::{Path, PathBuf};

use anyhow::Context;
use howdah_api::address::Address;

/// A kind of work that every contestant does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Phase {
    /// Stores the input.
    Put,
    /// Lists every file that is stored.
    List,
    /// Lists the children of one folder.
    ListFolder,
    /// Writes everything to an empty folder.
    Get,
    /// Stores the input again after a small part of it has changed.
    PutAgain,
}

impl Phase {
    /// Returns the phase's name in tables and JSON.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Phase::Put => "put",
            Phase::List => "list",
            Phase::ListFolder => "list_folder",
            Phase::Get => "get",
            Phase::PutAgain => "put_again",
        }
    }
}

/// The folders of a contestant in one round.
#[derive(Debug)]
pub(crate) struct ContestPlace {
    /// The folder to store.
    pub source: PathBuf,
    /// Name of a folder in the source.
    pub folder: String,
    /// The contestant's own empty folder.
    pub own: PathBuf,
    /// Folder for the files that are got; it does not exist yet.
    pub out: PathBuf,
    /// Address of the Howdah server; only for Howdah itself.
    pub address: Option<Address>,
}

impl ContestPlace {
    /// Makes the folders below `folder`. `source` is the folder to store and the name of a folder in it.
    pub(crate) fn make(folder: &Path, source: (&Path, &str), address: Option<Address>) -> anyhow::Result<Self> {
        let (source, inner) = source;
        let own = folder.join("own");
        std::fs::create_dir(&own).with_context(|| format!("cannot make the folder {}", own.display()))?;
        Ok(Self {
            source: source.to_owned(),
            folder: inner.to_owned(),
            own,
            out: folder.join("out"),
            address,
        })
    }
}
