//! Writing large files with direct I/O, past the page cache of the kernel.
//!
//! Through the page cache, the kernel finds, fills and later clears one page of memory for each 4 KiB of a file, which
//! costs more than all hashing, and it evicts pages that other processes still read. With `O_DIRECT` the disk takes the
//! bytes from the buffer they are in. Addresses, lengths and offsets must then be whole blocks: bytes at another
//! address are copied through a few aligned buffers, and the last incomplete block is written the ordinary way.
//!
//! A file system that refuses direct I/O is asked once; from then on all files are written the ordinary way.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use nix::errno::Errno;
use nix::fcntl::{FcntlArg, OFlag, fcntl};

/// Fewest bytes of a file that is written directly.
const DIRECT_FROM: usize = 1 << 20;
/// Addresses, lengths and offsets are multiples of this. A file system that needs larger blocks refuses, and gets
/// ordinary writes.
const BLOCK: usize = 4 << 10;
/// Bytes that fit into one aligned buffer.
const BUFFER_BYTES: usize = 1 << 20;
/// Buffers that are kept for later files.
const KEPT_BUFFERS: usize = 4;

/// Writes new files, large ones directly where the file system can do it.
#[derive(Debug, Default)]
pub(super) struct DirectWriter {
    /// Free buffers, each with [`BUFFER_BYTES`] bytes after its first multiple of [`BLOCK`].
    buffers: Mutex<Vec<Vec<u8>>>,
    /// The file system has refused direct I/O.
    refused: AtomicBool,
}

impl DirectWriter {
    /// Makes a file with these bytes. They are durable after the caller has synced the file.
    ///
    /// # Errors
    /// When the file exists, or cannot be made or written.
    pub(super) fn write_new(&self, path: &Path, bytes: &[u8]) -> io::Result<File> {
        let mut options = OpenOptions::new();
        options.write(true).create_new(true);
        if bytes.len() >= DIRECT_FROM && !self.refused.load(Ordering::Relaxed) {
            match options.custom_flags(OFlag::O_DIRECT.bits()).open(path) {
                Ok(file) => {
                    let written = self.write_blocks(&file, bytes)?;
                    // The rest is not a whole block. With the flag still set, its write would fail.
                    fcntl(&file, FcntlArg::F_SETFL(OFlag::empty()))?;
                    file.write_all_at(&bytes[written..], written as u64)?;
                    return Ok(file);
                }
                Err(error) if is_refusal(&error) => {
                    self.refused.store(true, Ordering::Relaxed);
                    // Some file systems make the file before they refuse: `create_new` would then find our own file.
                    // The name is unique to this process, so nothing else can be overwritten.
                    options.custom_flags(0).create_new(false).create(true).truncate(true);
                }
                Err(error) => return Err(error),
            }
        }
        let file = options.open(path)?;
        file.write_all_at(bytes, 0)?;
        Ok(file)
    }

    /// Writes whole blocks directly, as many as the file system takes, and returns their length.
    fn write_blocks(&self, file: &File, bytes: &[u8]) -> io::Result<usize> {
        let end = bytes.len() / BLOCK * BLOCK;
        if bytes.as_ptr().align_offset(BLOCK) == 0 {
            return self.write_at(file, &bytes[..end], 0);
        }
        let mut buffer = self.kept().pop().unwrap_or_else(|| vec![0; BUFFER_BYTES + BLOCK]);
        let start = buffer.as_ptr().align_offset(BLOCK);
        let mut written = 0;
        for part in bytes[..end].chunks(BUFFER_BYTES) {
            let step = &mut buffer[start..start + part.len()];
            step.copy_from_slice(part);
            let now = self.write_at(file, step, written)?;
            written += now;
            // The file system took less than whole blocks. The next direct write would begin inside a block and fail,
            // so the caller writes the rest the ordinary way.
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

    /// Writes whole blocks at an offset that is a whole block, until all are written or the file system takes no more,
    /// and returns the number of bytes written.
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
    fn files_of_all_lengths_are_written_completely() {
        let folder = tempfile::tempdir().unwrap();
        let writer = DirectWriter::default();
        let all = noise(1, 3 << 20);
        let around = |length: usize| [length - 1, length, length + 1];
        let lengths = [0, 1].into_iter().chain(
            [BLOCK, DIRECT_FROM, 2 * BUFFER_BYTES, (2 << 20) + BLOCK]
                .into_iter()
                .flat_map(around),
        );
        for length in lengths {
            // At most one of the two is aligned.
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
    fn ordinary_writes_follow_a_refusal_of_direct_ones() {
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
