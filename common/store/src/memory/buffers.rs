//! Memory that chunks are gathered in, used again.
//!
//! A large file passes through a thousand buffers of some megabytes. Taken from the allocator each time, most would be
//! fresh memory of the kernel, which has to find and clear it page by page. Large buffers begin where a page does, so
//! that they can be written to a disk as they are.

use std::sync::{Arc, Mutex, PoisonError};

use crate::pack::AVERAGE_CHUNK;

/// Buffers that are kept, over all writers.
const KEPT: usize = 8;
/// Length of buffers that are kept. Most chunks fit into one.
const LARGE: usize = 2 * AVERAGE_CHUNK + PAGE;
/// Chunks of more bytes are given a large buffer.
const SMALL: usize = 128 << 10;
const PAGE: usize = 4 << 10;

/// The large buffers of a store that are free. Clones share them.
#[derive(Debug, Clone, Default)]
pub(crate) struct Buffers(Arc<Mutex<Vec<Vec<u8>>>>);

/// Bytes that grow at their end. Their memory becomes free when they are dropped.
#[derive(Debug)]
pub(crate) struct Buffer {
    memory: Vec<u8>,
    /// Where in `memory` the bytes are.
    start: usize,
    length: usize,
    home: Buffers,
}

impl Buffers {
    /// Begins without bytes.
    pub(crate) fn take(&self) -> Buffer {
        Buffer {
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

impl Buffer {
    pub(crate) fn len(&self) -> usize {
        self.length
    }

    /// Adds bytes.
    pub(crate) fn extend(&mut self, bytes: &[u8]) {
        self.room(bytes.len()).copy_from_slice(bytes);
        self.length += bytes.len();
    }

    /// Returns room for so many more bytes. Once it is filled, [`Buffer::grow`] makes it part of the bytes.
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

    /// Takes so many of the bytes behind as its own.
    pub(crate) fn grow(&mut self, more: usize) {
        self.length = (self.length + more).min(self.memory.len() - self.start);
    }

    pub(crate) fn truncate(&mut self, length: usize) {
        self.length = self.length.min(length);
    }
}

impl Drop for Buffer {
    fn drop(&mut self) {
        self.home.give_back(std::mem::take(&mut self.memory));
    }
}

impl AsRef<[u8]> for Buffer {
    fn as_ref(&self) -> &[u8] {
        &self.memory[self.start..self.start + self.length]
    }
}

impl AsMut<[u8]> for Buffer {
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
        let buffers = Buffers::default();
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
        let buffers = Buffers::default();
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
