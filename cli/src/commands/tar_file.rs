//! The files of a tar archive (`put file --untar`).
//!
//! | entry | what becomes of it |
//! | --- | --- |
//! | file, also a sparse one | a file |
//! | hard link | a file with the bytes of its target; a target that the archive does not have is an error |
//! | symbolic link, named pipe, device | left out and counted, as in a local folder |
//! | folder, label, comment | nothing |
//! | another kind, a name with `..` | an error |
//!
//! A later entry replaces an earlier one of the same path, as when the archive is unpacked.
//!
//! An archive is read twice: [`TarFile::plan`] reads its headers, [`TarFile::read`] its files. Memory holds a few bytes
//! for each entry during the first pass. The bytes of a file with hard links are kept in memory or in a temporary file
//! while they are put at each path.

use std::fs::{File, Metadata};
use std::io::{self, BufReader, Read, Seek};
use std::os::unix::fs::MetadataExt;

use super::sparse::SparseReader;
use super::tar_entry::{TarEntry, TarKind};
use super::tar_plan::{TarPlan, TarScan};
use crate::error::{CliError, CliResult};

/// Most bytes of a file with hard links that are kept in memory.
const IN_MEMORY: usize = 1 << 20;

/// Called with the path of a file and its bytes.
pub(super) type PutTarFile<'a> = dyn FnMut(&str, &mut dyn Read) -> CliResult + 'a;

/// An open archive.
#[derive(Debug)]
pub(super) struct TarFile {
    /// A regular file, so that it can be read again.
    file: File,
    gzip: bool,
    name: String,
}

/// Returns whether a file is an archive, by its name.
pub(super) fn is_archive(name: &str) -> bool {
    name.ends_with(".tar") || is_gzip(name)
}

fn is_gzip(name: &str) -> bool {
    name.ends_with(".tar.gz") || name.ends_with(".tgz")
}

impl TarFile {
    /// Takes an open archive. One that cannot be read twice, such as a pipe, is copied to a temporary file first.
    pub(super) fn new(mut file: File, name: &str) -> Result<TarFile, CliError> {
        let what = || CliError::io(format!("cannot read the archive {name}"));
        if !file.metadata().map_err(what())?.is_file() {
            let mut copy = tempfile::tempfile().map_err(CliError::io("cannot make a temporary file"))?;
            io::copy(&mut file, &mut copy).map_err(CliError::io(format!("cannot copy the archive {name}")))?;
            file = copy;
        }
        Ok(TarFile {
            file,
            gzip: is_gzip(name),
            name: name.to_owned(),
        })
    }

    fn broken(&self, error: io::Error) -> CliError {
        CliError::io(format!("cannot read the archive {}", self.name))(error)
    }

    /// Begins to read the archive.
    fn bytes(&self) -> Result<Box<dyn Read + '_>, CliError> {
        let mut file = &self.file;
        file.rewind().map_err(|error| self.broken(error))?;
        let file = BufReader::new(file);
        Ok(match self.gzip {
            true => Box::new(flate2::read::MultiGzDecoder::new(file)),
            false => Box::new(file),
        })
    }

    /// Reads all headers and returns what to put. `claim` is called with the path of each file.
    pub(super) fn plan(&self, append: bool, claim: &mut dyn FnMut(&str) -> CliResult) -> Result<TarPlan, CliError> {
        let mut scan = TarScan::new(&self.name, append, claim);
        if self.gzip {
            let mut archive = tar::Archive::new(self.bytes()?);
            scan.entries(archive.entries().map_err(|error| self.broken(error))?)?;
        } else {
            let mut file = &self.file;
            file.rewind().map_err(|error| self.broken(error))?;
            let mut archive = tar::Archive::new(file);
            scan.entries(archive.entries_with_seek().map_err(|error| self.broken(error))?)?;
        }
        scan.finish()
    }

    /// Reads all files, in the order of the archive. Returns whether the archive has an end mark; without one it may
    /// have been cut off.
    pub(super) fn read(&self, plan: &TarPlan, put: &mut PutTarFile<'_>) -> Result<bool, CliError> {
        let before = self.file.metadata().map_err(|error| self.broken(error))?;
        let mut archive = tar::Archive::new(self.bytes()?);
        for (number, entry) in (0..).zip(archive.entries().map_err(|error| self.broken(error))?) {
            let mut entry = entry.map_err(|error| self.broken(error))?;
            let TarEntry { path, kind } = TarEntry::look(&mut entry, &self.name)?;
            let paths = plan.paths(number, &path);
            match kind {
                TarKind::File => self.copies(paths, &mut entry, put)?,
                TarKind::Sparse(header) => {
                    let mut content = SparseReader::new(header, entry).map_err(|error| self.broken(error))?;
                    self.copies(paths, &mut content, put)?;
                }
                TarKind::HardLink(_) | TarKind::LeftOut(_) | TarKind::Ignored => {}
            }
        }
        let ended = end_mark(&mut archive.into_inner()).map_err(|error| self.broken(error))?;
        // The numbers in the plan are those of the entries that the first pass has seen.
        if version(&before) != version(&self.file.metadata().map_err(|error| self.broken(error))?) {
            return Err(CliError::refused(format!(
                "the archive {} has changed while it was read",
                self.name
            )));
        }
        Ok(ended)
    }

    /// Puts the bytes of one entry at each of its paths.
    fn copies(&self, paths: &[String], content: &mut dyn Read, put: &mut PutTarFile<'_>) -> CliResult {
        match paths {
            [] => Ok(()),
            [path] => put(path, content),
            paths => {
                let mut copy = tempfile::spooled_tempfile(IN_MEMORY);
                io::copy(content, &mut copy).map_err(|error| self.broken(error))?;
                for path in paths {
                    copy.rewind().map_err(|error| self.broken(error))?;
                    put(path, &mut copy)?;
                }
                Ok(())
            }
        }
    }
}

/// Returns what changes when a file is written to.
fn version(metadata: &Metadata) -> (u64, i64, i64) {
    (metadata.len(), metadata.mtime(), metadata.mtime_nsec())
}

/// Reads what follows the last entry of an archive: at least one more block of zeros is an end mark. Anything else is an
/// error, because it would be lost.
pub(super) fn end_mark(rest: &mut dyn Read) -> io::Result<bool> {
    let mut buffer = [0; 8 << 10];
    let mut found = false;
    loop {
        match rest.read(&mut buffer) {
            Ok(0) => return Ok(found),
            Ok(length) if buffer[..length].iter().all(|byte| *byte == 0) => found = true,
            Ok(_) => {
                return Err(io::Error::new(
                    io::ErrorKind::InvalidData,
                    "it goes on after its end mark; of several archives in one file only the first could be read",
                ));
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
}

#[cfg(test)]
mod tests;
