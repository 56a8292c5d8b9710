//! A source of a put and its target, the entries of local folders, and what a put leaves out.

use std::fs::FileType;
use std::io;
use std::path::{Path, PathBuf};

use howdah_telemetry::{LeftOut, kind_of_file};

use crate::error::CliError;

/// A source of a put and its target.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct PutItem {
    /// The source.
    pub from: PutSource,
    /// Path in the repo: of the file, or of the folder for all files below the source.
    pub to: String,
}

/// The origin of bytes.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum PutSource {
    /// Standard input.
    Stdin,
    /// A local file.
    File(PathBuf),
    /// A local folder.
    Folder(PathBuf),
    /// A URL, fetched by the server.
    Url(String),
}

impl PutSource {
    /// Returns the source as messages name it.
    pub(super) fn name(&self) -> String {
        match self {
            PutSource::Stdin => "standard input".to_owned(),
            PutSource::File(path) | PutSource::Folder(path) => path.display().to_string(),
            PutSource::Url(url) => url.clone(),
        }
    }
}

/// An entry of a local folder.
#[derive(Debug)]
pub(super) struct LocalEntry {
    /// Its name.
    pub name: String,
    /// Its path.
    pub path: PathBuf,
    /// Its kind; a link is not followed.
    pub kind: FileType,
}

/// Lists a folder in the order of the names.
pub(super) fn list_folder(
    folder: &Path,
) -> Result<impl Iterator<Item = Result<LocalEntry, CliError>> + use<>, CliError> {
    let what = format!("cannot read {}", folder.display());
    let mut entries: Vec<_> = std::fs::read_dir(folder)
        .and_then(Iterator::collect::<io::Result<_>>)
        .map_err(CliError::io(what.as_str()))?;
    entries.sort_by_key(std::fs::DirEntry::file_name);
    // One after the other: a folder may have very many entries, and a whole path for each takes memory.
    let entry = move |entry: std::fs::DirEntry| -> Result<LocalEntry, CliError> {
        let path = entry.path();
        let name = entry.file_name().into_string();
        let name = name.map_err(|_| CliError::refused(format!("the name of {} is not valid UTF-8", path.display())))?;
        let kind = entry.file_type().map_err(CliError::io(what.as_str()))?;
        Ok(LocalEntry { name, path, kind })
    };
    Ok(entries.into_iter().map(entry))
}

/// Returns whether a folder contains a file at any depth; links are not followed. What is found before the first file
/// and is neither a file nor a folder is added to `left_out`.
pub(super) fn holds_files(folder: &Path, left_out: &mut LeftOut) -> Result<bool, CliError> {
    let what = || CliError::io(format!("cannot read {}", folder.display()));
    for entry in std::fs::read_dir(folder).map_err(what())? {
        let entry = entry.map_err(what())?;
        let kind = entry.file_type().map_err(what())?;
        if kind.is_file() || (kind.is_dir() && holds_files(&entry.path(), left_out)?) {
            return Ok(true);
        }
        if !kind.is_dir() {
            left_out.add(&entry.path().display().to_string(), kind_of_file(kind));
        }
    }
    Ok(false)
}

/// What a put tells the user besides that it has succeeded.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct PutReport {
    /// Sources without bytes that a repo could hold: links, pipes, sockets, devices.
    pub left_out: LeftOut,
    /// Entries of archives that a later entry of the same path has replaced.
    pub replaced: LeftOut,
    /// Archives without an end mark.
    pub cut_off: LeftOut,
}

impl PutReport {
    /// Returns a line for each thing that the user should know.
    pub(super) fn lines(&self) -> Vec<String> {
        let all = [
            (&self.left_out, "left out"),
            (&self.replaced, "replaced by later entries of the same archive"),
            (&self.cut_off, "without an end mark, so perhaps not complete"),
        ];
        let told = all.into_iter().filter(|(what, _)| !what.is_empty());
        told.map(|(what, how)| format!("warning: {} {how}: {what}", what.count()))
            .collect()
    }
}
