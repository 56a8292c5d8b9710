//! Writing large files past the file system's cache.
//!
//! Whoever puts gigabytes would otherwise have the kernel find, fill and later clear a page of memory for each 4 KiB of
//! them, which costs more than all hashing, and throw out of its cache what others still read. Written directly, bytes go
//! to the disk from the buffer they are in. That asks for addresses, lengths and places in whole blocks: bytes that do not
//! begin at such an address pass through a few buffers that do, and the last incomplete block is written the ordinary way.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use nix::errno::Errno;
use nix::fcntl::{FcntlArg, OFlag, fcntl};

/// Files of so many bytes are written directly.
const DIRECT_FROM: usize = 1 << 20;
/// What addresses, lengths and places must be multiples of: no file system asks for more, short of exotic ones, which
/// refuse and get ordinary writes.
const BLOCK: usize = 4 << 10;
/// Bytes that a buffer has room for.
const STEP: usize = 1 << 20;
/// Buffers that are kept for the next file.
const KEPT_BUFFERS: usize = 4;

/// Writes new files, large ones directly where the file system can do it.
#[derive(Debug, Default)]
pub(super) struct DirectWriter {
    /// Each has room for [`STEP`] bytes from a multiple of [`BLOCK`] on.
    buffers: Mutex<Vec<Vec<u8>>>,
    /// The file system has refused once.
    refused: AtomicBool,
}

impl DirectWriter {
    /// Makes a file with the bytes given, which are not on the disk before the file is synced.
    ///
    /// # Errors
    /// Those of opening and writing it, also when it exists.
    pub(super) fn write_new(&self, path: &Path, bytes: &[u8]) -> io::Result<File> {
        let mut options = OpenOptions::new();
        options.write(true).create_new(true);
        if bytes.len() >= DIRECT_FROM && !self.refused.load(Ordering::Relaxed) {
            match options.custom_flags(OFlag::O_DIRECT.bits()).open(path) {
                Ok(file) => {
                    let written = self.write_blocks(&file, bytes)?;
                    fcntl(&file, FcntlArg::F_SETFL(OFlag::empty()))?;
                    file.write_all_at(&bytes[written..], written as u64)?;
                    return Ok(file);
                }
                Err(error) if is_refusal(&error) => {
                    self.refused.store(true, Ordering::Relaxed);
                    // Some file systems make the file before they refuse.
                    options.custom_flags(0).create_new(false).create(true).truncate(true);
                }
                Err(error) => return Err(error),
            }
        }
        let file = options.open(path)?;
        file.write_all_at(bytes, 0)?;
        Ok(file)
    }

    /// Writes as many whole blocks as the file system takes directly, and returns their length.
    fn write_blocks(&self, file: &File, bytes: &[u8]) -> io::Result<usize> {
        let end = bytes.len() / BLOCK * BLOCK;
        if bytes.as_ptr().align_offset(BLOCK) == 0 {
            return self.write_at(file, &bytes[..end], 0);
        }
        let mut buffer = self.kept().pop().unwrap_or_else(|| vec![0; STEP + BLOCK]);
        let start = buffer.as_ptr().align_offset(BLOCK);
        let mut written = 0;
        for part in bytes[..end].chunks(STEP) {
            let step = &mut buffer[start..start + part.len()];
            step.copy_from_slice(part);
            let now = self.write_at(file, step, written)?;
            written += now;
            if now < part.len() {
                break;
            }
        }
        let mut kept = self.kept();
        if kept.len() < KEPT_BUFFERS {
            kept.push(buffer);
        }
        Ok(written)
    }

    /// Writes whole blocks from a whole block on until all are written, or the file system does not take more of them, and
    /// returns the length of what is written.
    fn write_at(&self, file: &File, blocks: &[u8], offset: usize) -> io::Result<usize> {
        let mut written = 0;
        while written < blocks.len() && written % BLOCK == 0 {
            match file.write_at(&blocks[written..], (offset + written) as u64) {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(length) => written += length,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) if is_refusal(&error) => {
                    self.refused.store(true, Ordering::Relaxed);
                    break;
                }
                Err(error) => return Err(error),
            }
        }
        Ok(written)
    }

    fn kept(&self) -> MutexGuard<'_, Vec<Vec<u8>>> {
        self.buffers.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn is_refusal(error: &io::Error) -> bool {
    [Errno::EINVAL, Errno::EOPNOTSUPP]
        .map(|errno| Some(errno as i32))
        .contains(&error.raw_os_error())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::noise;

    #[test]
    fn files_of_all_lengths_come_out_whole() {
        let folder = tempfile::tempdir().unwrap();
        let writer = DirectWriter::default();
        let all = noise(1, 3 << 20);
        let around = |length: usize| [length - 1, length, length + 1];
        let lengths = [0, 1].into_iter().chain(
            [BLOCK, DIRECT_FROM, 2 * STEP, (2 << 20) + BLOCK]
                .into_iter()
                .flat_map(around),
        );
        for length in lengths {
            // At most one of the two begins with a block.
            for start in [0, 8] {
                let path = folder.path().join(format!("{length} from {start}"));
                let bytes = &all[start..start + length];
                writer.write_new(&path, bytes).unwrap().sync_all().unwrap();
                assert!(std::fs::read(&path).unwrap() == bytes, "{length} bytes");
            }
        }
        assert!(writer.buffers.lock().unwrap().len() <= 1, "buffers are used again");
    }

    #[test]
    fn where_direct_writes_are_refused_ordinary_ones_do() {
        let folder = tempfile::tempdir().unwrap();
        let writer = DirectWriter {
            refused: AtomicBool::new(true),
            ..DirectWriter::default()
        };
        let bytes = noise(2, 2 << 20);
        let path = folder.path().join("file");
        writer.write_new(&path, &bytes).unwrap();
        assert!(std::fs::read(&path).unwrap() == bytes);
        let error = writer.write_new(&path, &bytes).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::AlreadyExists);
    }
}
