//! The buffers in which chunks are gathered, kept and used again.
//!
//! A large file passes through a thousand buffers of some megabytes. If each came from the allocator, most would be
//! fresh memory of the kernel, which finds and clears it page by page. The bytes of a large buffer begin at the begin
//! of a page, so that direct I/O can write them without a copy.

use std::sync::{Arc, Mutex, PoisonError};

use crate::format::chunk::AVERAGE_CHUNK;

/// Buffers that are kept, over all writers.
const KEPT: usize = 8;
/// Length of the buffers that are kept. Most chunks fit into one.
const LARGE: usize = 2 * AVERAGE_CHUNK + PAGE;
/// Chunks of more bytes get a large buffer.
const SMALL: usize = 128 << 10;
const PAGE: usize = 4 << 10;

/// The free large buffers of a store. Clones share them.
#[derive(Debug, Clone, Default)]
pub(crate) struct ChunkBuffers(Arc<Mutex<Vec<Vec<u8>>>>);

/// Bytes that grow at their end. When they are dropped, their memory is free for others.
#[derive(Debug)]
pub(crate) struct ChunkBuffer {
    memory: Vec<u8>,
    /// Offset in `memory` at which the bytes begin.
    start: usize,
    length: usize,
    /// Takes the memory back.
    home: ChunkBuffers,
}

impl ChunkBuffers {
    /// Returns a buffer without bytes.
    pub(crate) fn take(&self) -> ChunkBuffer {
        ChunkBuffer {
            memory: Vec::new(),
            start: 0,
            length: 0,
            home: self.clone(),
        }
    }

    fn memory(&self, length: usize) -> Vec<u8> {
        if length <= SMALL {
            return vec![0; length.next_power_of_two()];
        }
        if length + PAGE > LARGE {
            return vec![0; length + length / 2 + PAGE];
        }
        let free = self.0.lock().unwrap_or_else(PoisonError::into_inner).pop();
        free.unwrap_or_else(|| vec![0; LARGE])
    }

    fn give_back(&self, memory: Vec<u8>) {
        if memory.len() == LARGE {
            let mut free = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            if free.len() < KEPT {
                free.push(memory);
            }
        }
    }
}

impl ChunkBuffer {
    pub(crate) fn len(&self) -> usize {
        self.length
    }

    /// Adds bytes.
    pub(crate) fn extend(&mut self, bytes: &[u8]) {
        self.room(bytes.len()).copy_from_slice(bytes);
        self.length += bytes.len();
    }

    /// Returns room for `more` bytes. After the caller has filled it, [`ChunkBuffer::grow`] adds it to the bytes.
    pub(crate) fn room(&mut self, more: usize) -> &mut [u8] {
        let end = self.length + more;
        if self.start + end > self.memory.len() {
            let mut memory = self.home.memory(end);
            let start = if memory.len() > SMALL {
                memory.as_ptr().align_offset(PAGE)
            } else {
                0
            };
            memory[start..start + self.length].copy_from_slice(self.as_ref());
            self.start = start;
            self.home.give_back(std::mem::replace(&mut self.memory, memory));
        }
        &mut self.memory[self.start..][self.length..end]
    }

    /// Adds the first `more` bytes of the room.
    pub(crate) fn grow(&mut self, more: usize) {
        self.length = (self.length + more).min(self.memory.len() - self.start);
    }

    pub(crate) fn truncate(&mut self, length: usize) {
        self.length = self.length.min(length);
    }
}

impl Drop for ChunkBuffer {
    fn drop(&mut self) {
        self.home.give_back(std::mem::take(&mut self.memory));
    }
}

impl AsRef<[u8]> for ChunkBuffer {
    fn as_ref(&self) -> &[u8] {
        &self.memory[self.start..self.start + self.length]
    }
}

impl AsMut<[u8]> for ChunkBuffer {
    fn as_mut(&mut self) -> &mut [u8] {
        &mut self.memory[self.start..self.start + self.length]
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::noise;

    #[test]
    fn bytes_stay_while_a_buffer_grows() {
        let buffers = ChunkBuffers::default();
        let all = noise(1, 6 << 20);
        let mut buffer = buffers.take();
        for part in all.chunks(333_333) {
            buffer.extend(part);
            assert!(buffer.as_ref() == &all[..buffer.len()]);
        }
        buffer.room(3).copy_from_slice(b"end");
        buffer.grow(3);
        assert!(buffer.as_ref().ends_with(b"end"));
        buffer.truncate(10);
        assert_eq!(buffer.as_ref(), &all[..10]);
    }

    #[test]
    fn large_buffers_begin_with_a_page_and_are_used_again() {
        let buffers = ChunkBuffers::default();
        let mut addresses = Vec::new();
        for _ in 0..3 {
            let mut buffer = buffers.take();
            buffer.extend(&[1; 300_000]);
            addresses.push(buffer.as_ref().as_ptr() as usize);
        }
        assert!(addresses.iter().all(|address| address % PAGE == 0));
        assert!(addresses.windows(2).all(|pair| pair[0] == pair[1]), "{addresses:?}");
    }
}
