//! What one entry of a tar archive is, and its path in a repo.

use std::io::{self, Read};

use super::sparse::SparseHeader;
use crate::error::CliError;
use crate::naming;

/// What becomes of an entry.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum TarKind {
    /// A file.
    File,
    /// A file of which the archive has only the parts with data.
    Sparse(SparseHeader),
    /// A file with the bytes of the entry at this path.
    HardLink(String),
    /// It has no bytes that a repo could hold; the text names its kind.
    LeftOut(&'static str),
    /// It is no file: a folder, a label, a comment.
    Ignored,
}

/// An entry that has been looked at; its bytes are not read.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct TarEntry {
    /// Path below the folder that the archive is put into, beginning with `/`.
    pub path: String,
    /// What becomes of it.
    pub kind: TarKind,
}

impl TarEntry {
    /// Looks at an entry. `archive` is the name of the archive, for messages.
    ///
    /// Fails if the entry cannot be put at the path that it names, or if its kind is not known: its bytes would be lost.
    pub(super) fn look<R: Read>(entry: &mut tar::Entry<'_, R>, archive: &str) -> Result<TarEntry, CliError> {
        let broken = |error| CliError::io(format!("cannot read the archive {archive}"))(error);
        let kind = entry.header().entry_type().as_byte();
        if kind == b'g' {
            return global_records(entry, archive);
        }
        let sparse = sparse_header(entry).map_err(broken)?;
        let name = match sparse.as_ref().and_then(|header| header.name.clone()) {
            Some(name) => name,
            None => entry.path_bytes().into_owned(),
        };
        let kind = match kind {
            // Archives of the oldest form have a folder as an empty file whose name ends with a slash.
            b'0' | b'7' if name.ends_with(b"/") && entry.size() == 0 => TarKind::Ignored,
            b'0' | b'7' | b'S' => sparse.map_or(TarKind::File, TarKind::Sparse),
            // An archive may have the bytes of a file once more with each hard link.
            b'1' if entry.size() > 0 => TarKind::File,
            b'1' => TarKind::HardLink(clean(&entry.link_name_bytes().unwrap_or_default(), archive)?),
            b'2' => TarKind::LeftOut("symbolic link"),
            b'3' => TarKind::LeftOut("character device"),
            b'4' => TarKind::LeftOut("block device"),
            b'6' => TarKind::LeftOut("named pipe"),
            // Folder; folder of an incremental archive; label of the archive.
            b'5' | b'D' | b'V' => TarKind::Ignored,
            other => {
                return Err(CliError::refused(format!(
                    "the entry {:?} of the archive {archive} is of a kind that is not supported: {:?}",
                    String::from_utf8_lossy(&name),
                    char::from(other)
                )));
            }
        };
        let path = match kind {
            // A label is any text.
            TarKind::Ignored => String::new(),
            _ => clean(&name, archive)?,
        };
        Ok(TarEntry { path, kind })
    }
}

/// Looks at records for all entries that follow. Most archives have a comment there; a record that changes the entries
/// is refused, because the `tar` crate does not apply it.
fn global_records<R: Read>(entry: &mut tar::Entry<'_, R>, archive: &str) -> Result<TarEntry, CliError> {
    let broken = CliError::io(format!("cannot read the archive {archive}"));
    let records = entry.pax_extensions().map_err(broken)?;
    for record in records.into_iter().flatten().flatten() {
        let key = String::from_utf8_lossy(record.key_bytes());
        if matches!(&*key, "path" | "linkpath" | "size") || key.starts_with("GNU.sparse.") {
            return Err(CliError::refused(format!(
                "the archive {archive} has a record {key:?} for all its entries, which is not supported"
            )));
        }
    }
    Ok(TarEntry {
        path: String::new(),
        kind: TarKind::Ignored,
    })
}

/// Reads the records of a sparse file; none for all other entries.
fn sparse_header<R: Read>(entry: &mut tar::Entry<'_, R>) -> io::Result<Option<SparseHeader>> {
    // A record that cannot be read is passed over, as the `tar` crate does: values may be any bytes.
    let records = entry.pax_extensions()?.into_iter().flatten().flatten();
    SparseHeader::read(records.map(|record| (record.key_bytes(), record.value_bytes())))
}

/// Returns a name in an archive as a path that begins with `/`.
fn clean(name: &[u8], archive: &str) -> Result<String, CliError> {
    let refused = |what: &str| {
        let name = String::from_utf8_lossy(name);
        CliError::refused(format!("the entry {name:?} of the archive {archive} {what}"))
    };
    let text = std::str::from_utf8(name).map_err(|_| refused("has a name that is not valid UTF-8"))?;
    if text.split('/').any(|element| element == "..") {
        return Err(refused("leads out of the archive: its name contains \"..\""));
    }
    match naming::rooted(text) {
        root if root == "/" => Err(refused("has no name")),
        path => Ok(path),
    }
}
