//! Reading an output file when it is stored.
//!
//! [`DiskFile`] remembers which file was found when the output was collected. It is opened again below its open folder
//! without following a link, and refused if it is another file by then. [`DiskFileReader`] returns its bytes in pieces,
//! and the holes of a sparse file as lengths. All functions block.

use std::fs::{File, Metadata};
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;

use rustix::buffer::spare_capacity;
use rustix::fs::{SeekFrom, seek};
use rustix::io::{Errno, pread};

use crate::beneath::Folder;

/// An output file on the worker's disk.
#[derive(Clone, Debug)]
pub(crate) struct DiskFile {
    folder: Folder,
    path: PathBuf,
    /// Device and inode of the file that was found.
    identity: (u64, u64),
    /// Its size then. Bytes that are added later are not part of the output.
    size: u64,
    is_sparse: bool,
}

impl DiskFile {
    /// Remembers a file that has just been opened at a path below a folder.
    pub(crate) fn new(folder: &Folder, path: PathBuf, meta: &Metadata) -> Self {
        Self {
            folder: folder.clone(),
            path,
            identity: identity(meta),
            size: meta.len(),
            is_sparse: meta.blocks() * 512 < meta.len(),
        }
    }

    /// Returns its size when it was found.
    #[cfg(test)]
    pub(crate) fn size(&self) -> u64 {
        self.size
    }

    /// Opens it for reading.
    ///
    /// # Errors
    /// [`io::ErrorKind::NotFound`] if another file is there by now.
    pub(crate) fn open(&self) -> io::Result<DiskFileReader> {
        let file = self.folder.open_file(&self.path)?;
        let meta = file.metadata()?;
        if !meta.is_file() || identity(&meta) != self.identity {
            return Err(io::Error::new(
                io::ErrorKind::NotFound,
                "the file was replaced by another one",
            ));
        }
        Ok(DiskFileReader {
            file,
            at: 0,
            size: self.size,
            data_end: if self.is_sparse { 0 } else { self.size },
        })
    }
}

fn identity(meta: &Metadata) -> (u64, u64) {
    (meta.dev(), meta.ino())
}

/// An output file that is being read.
#[derive(Debug)]
pub(crate) struct DiskFileReader {
    file: File,
    /// Offset of the next byte.
    at: u64,
    size: u64,
    /// Offset up to which the file is known to have no hole.
    data_end: u64,
}

/// The next bytes of a file.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum FilePiece {
    /// These bytes.
    Bytes(Vec<u8>),
    /// So many zero bytes, which take no space on the disk.
    Hole(u64),
    /// The file has ended.
    End,
}

impl DiskFileReader {
    /// Reads the next bytes, at most so many unless they are a hole.
    pub(crate) fn next(&mut self, most: usize) -> io::Result<FilePiece> {
        if self.at >= self.size {
            return Ok(FilePiece::End);
        }
        if self.at >= self.data_end {
            let data = self.find_data()?;
            if data > self.at {
                let hole = data - self.at;
                self.at = data;
                return Ok(FilePiece::Hole(hole));
            }
        }
        let left = self.data_end - self.at;
        let wanted = usize::try_from(left).unwrap_or(usize::MAX).min(most);
        let mut bytes = Vec::with_capacity(wanted);
        while let Err(error) = pread(&self.file, spare_capacity(&mut bytes), self.at) {
            if error != Errno::INTR {
                return Err(error.into());
            }
        }
        bytes.truncate(wanted);
        if bytes.is_empty() {
            // It was shortened meanwhile.
            self.size = self.at;
            return Ok(FilePiece::End);
        }
        self.at += bytes.len() as u64;
        Ok(FilePiece::Bytes(bytes))
    }

    /// Returns the offset of the next data, and notes where it ends.
    fn find_data(&mut self) -> io::Result<u64> {
        let data = match seek(&self.file, SeekFrom::Data(self.at)) {
            Ok(data) => data.min(self.size),
            // Only a hole is left.
            Err(Errno::NXIO) => self.size,
            // A file system without holes.
            Err(Errno::INVAL) => {
                self.data_end = self.size;
                return Ok(self.at);
            }
            Err(error) => return Err(error.into()),
        };
        if data < self.size {
            let hole = match seek(&self.file, SeekFrom::Hole(data)) {
                Ok(hole) => hole.min(self.size),
                Err(_) => self.size,
            };
            // A file that changes at this moment may give an end before its data.
            self.data_end = hole.max(data + 1);
        }
        Ok(data)
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::io::Write;
    use std::os::unix::fs::{FileExt, symlink};
    use std::path::Path;

    use super::*;

    fn found(folder: &Path, name: &str) -> DiskFile {
        let open = Folder::open(folder).unwrap();
        let meta = open.open_file(Path::new(name)).unwrap().metadata().unwrap();
        DiskFile::new(&open, name.into(), &meta)
    }

    fn pieces(file: &DiskFile) -> Vec<FilePiece> {
        let mut reader = file.open().unwrap();
        let mut pieces = Vec::new();
        loop {
            match reader.next(1 << 20).unwrap() {
                FilePiece::End => return pieces,
                piece => pieces.push(piece),
            }
        }
    }

    #[test]
    fn pieces_and_holes_are_the_bytes_of_the_file() {
        const MIB: usize = 1 << 20;
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("sparse");
        let sparse = File::create(&path).unwrap();
        sparse.set_len(64 << 20).unwrap();
        sparse.write_all_at(&[7; 3 * MIB / 2], 16 << 20).unwrap();
        sparse.write_all_at(b"end", (48 << 20) - 1).unwrap();
        fs::write(folder.path().join("full"), vec![5; 3 * MIB]).unwrap();
        for name in ["sparse", "full"] {
            let pieces = pieces(&found(folder.path(), name));
            let mut bytes = Vec::new();
            let mut read = 0;
            for piece in &pieces {
                match piece {
                    FilePiece::Bytes(piece) => {
                        read += piece.len();
                        bytes.extend_from_slice(piece);
                    }
                    FilePiece::Hole(length) => bytes.resize(bytes.len() + usize::try_from(*length).unwrap(), 0),
                    FilePiece::End => {}
                }
            }
            assert!(bytes == fs::read(folder.path().join(name)).unwrap(), "{name}");
            assert!(read < 4 * MIB, "{name}: {read} bytes were read");
        }
    }

    #[test]
    fn a_terabyte_without_data_is_one_hole() {
        let folder = tempfile::tempdir().unwrap();
        let huge = File::create(folder.path().join("huge")).unwrap();
        huge.set_len(1 << 40).unwrap();
        let file = found(folder.path(), "huge");
        assert_eq!(pieces(&file), [FilePiece::Hole(1 << 40)]);
    }

    #[test]
    fn what_is_added_is_not_read_and_what_is_cut_off_ends_the_file() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("f");
        fs::write(&path, "as found").unwrap();
        let file = found(folder.path(), "f");
        let mut more = File::options().append(true).open(&path).unwrap();
        more.write_all(b" and more").unwrap();
        assert_eq!(pieces(&file), [FilePiece::Bytes(b"as found".to_vec())]);
        more.set_len(2).unwrap();
        assert_eq!(pieces(&file), [FilePiece::Bytes(b"as".to_vec())]);
    }

    #[test]
    fn another_file_at_its_path_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let secret = tempfile::NamedTempFile::new().unwrap();
        fs::create_dir(folder.path().join("d")).unwrap();
        let path = folder.path().join("d/f");
        let replace: [(&str, &dyn Fn()); 3] = [
            ("file", &|| {
                fs::write(folder.path().join("new"), "new").unwrap();
                fs::rename(folder.path().join("new"), &path).unwrap();
            }),
            ("link", &|| {
                fs::remove_file(&path).unwrap();
                symlink(secret.path(), &path).unwrap();
            }),
            ("folder", &|| {
                fs::rename(folder.path().join("d"), folder.path().join("e")).unwrap();
                symlink(secret.path().parent().unwrap(), folder.path().join("d")).unwrap();
            }),
        ];
        for (name, replace) in replace {
            let _ = fs::remove_file(&path);
            fs::write(&path, "as found").unwrap();
            let file = found(folder.path(), "d/f");
            replace();
            assert!(file.open().is_err(), "{name}");
        }
    }
}
