//! The part of a writer that looks at every byte: hashes files and finds where chunks end.

use std::fmt;
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::sync::LazyLock;
use std::thread;

use howdah_model::ContentHash;
use rayon::{ThreadPool, ThreadPoolBuilder};

use super::MAX_CHUNK_FILES;
use super::batch::{Batch, Mark, Part};
use super::buffers::{Buffer, Buffers};
use super::gear::CutFinder;
use crate::chunk::HEADER;

/// Bytes that are taken in at a time: few enough to be still in the processor's cache when they are looked at again.
const STEP: usize = 128 << 10;

/// Stretches that are in a file are read and hashed in steps of this size, while cuts are looked for in the step before.
const FILE_STEP: usize = 512 << 10;

/// A chunk, and where in the stream it begins.
pub(super) struct Piece {
    pub(super) start: u64,
    /// About how many files ended in it.
    pub(super) files: usize,
    /// Room for the header of a stored object, then the bytes.
    framed: Buffer,
}

impl Piece {
    /// Returns the bytes.
    pub(super) fn bytes(&self) -> &[u8] {
        &self.framed.as_ref()[HEADER..]
    }

    /// Returns room for a header, followed by the bytes.
    pub(super) fn into_framed(self) -> Buffer {
        self.framed
    }
}

impl fmt::Debug for Piece {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Piece of {} bytes at {}", self.bytes().len(), self.start)
    }
}

/// Bytes of a file of this machine that are still to be read.
struct Stretch<'a> {
    file: &'a File,
    next: u64,
    end: u64,
    hasher: blake3::Hasher,
}

impl Stretch<'_> {
    fn left(&self) -> u64 {
        self.end - self.next
    }

    /// Reads and hashes the next bytes, as many as there is room for.
    fn read(&mut self, room: &mut [u8]) -> io::Result<()> {
        self.file.read_exact_at(room, self.next)?;
        self.hasher.update(room);
        self.next += room.len() as u64;
        Ok(())
    }
}

/// Hashes files and finds cuts; keeps what lies behind the last cut.
#[derive(Debug)]
pub(super) struct Cutter {
    /// The chunk that is being gathered: room for a header, then its bytes.
    chunk: Buffer,
    buffers: Buffers,
    finder: CutFinder,
    /// Where in the stream the chunk begins.
    start: u64,
    /// Files that have ended since the last cut was found.
    files: usize,
    hasher: blake3::Hasher,
    /// Hashes of the files that have ended.
    pub(super) hashes: Vec<ContentHash>,
}

impl Cutter {
    /// Begins a stream. Its chunks are gathered in these buffers.
    pub(super) fn new(buffers: &Buffers) -> Self {
        Cutter {
            chunk: first_of(buffers, &[]),
            buffers: buffers.clone(),
            finder: CutFinder::default(),
            start: 0,
            files: 0,
            hasher: blake3::Hasher::new(),
            hashes: Vec::new(),
        }
    }

    /// Returns the number of bytes behind the last cut.
    pub(super) fn waiting(&self) -> usize {
        self.chunk.len() - HEADER
    }

    /// Takes the next stretch of the stream and returns the chunks that are complete.
    ///
    /// # Errors
    /// When bytes that are in a file cannot be read. The cutter is of no use any more then.
    pub(super) fn cut(&mut self, batch: Batch, last: bool) -> io::Result<Vec<Piece>> {
        let mut pieces = Vec::new();
        let (parts, marks) = batch.into_parts();
        let mut marks = marks.into_iter().peekable();
        let mut at = 0;
        for mut part in parts {
            while part.len() > 0 {
                while let Some((_, mark)) = marks.next_if(|(place, _)| *place <= at) {
                    self.pass(mark, &mut pieces);
                }
                let until_mark = marks.peek().map_or(usize::MAX, |(place, _)| *place - at);
                let step = match part {
                    Part::Here(_) => STEP,
                    Part::InFile { .. } => usize::MAX,
                };
                let now = part.split_to(part.len().min(until_mark).min(step));
                at += now.len();
                self.take_in(&now, &mut pieces)?;
            }
        }
        for (_, mark) in marks {
            self.pass(mark, &mut pieces);
        }
        if last {
            self.cut_to_the_end(&mut pieces);
        }
        Ok(pieces)
    }

    fn pass(&mut self, mark: Mark, pieces: &mut Vec<Piece>) {
        match mark {
            Mark::Begin(None) => {
                self.hasher.reset();
            }
            Mark::Begin(Some(hasher)) => self.hasher = *hasher,
            Mark::End => {
                self.hashes.push(ContentHash::new(*self.hasher.finalize().as_bytes()));
                self.files += 1;
                if self.files >= MAX_CHUNK_FILES {
                    self.cut_to_the_end(pieces);
                }
            }
            Mark::Cut => self.cut_to_the_end(pieces),
        }
    }

    fn take_in(&mut self, part: &Part, pieces: &mut Vec<Piece>) -> io::Result<()> {
        match part {
            Part::Here(bytes) => {
                self.hasher.update(bytes);
                self.chunk.extend(bytes);
                // Many small files are searched together.
                if self.waiting() - self.finder.searched() >= STEP {
                    let found = self.finder.find(&self.chunk.as_ref()[HEADER..]);
                    self.split_all(found, pieces);
                }
                Ok(())
            }
            Part::InFile { file, offset, length } => {
                let end = offset + *length as u64;
                let mut stretch = Stretch {
                    file,
                    next: *offset,
                    end,
                    hasher: std::mem::take(&mut self.hasher),
                };
                let taken = match &*THREADS {
                    Some(threads) => threads.install(|| self.take_stretch(&mut stretch, pieces)),
                    None => self.take_stretch(&mut stretch, pieces),
                };
                self.hasher = stretch.hasher;
                taken
            }
        }
    }

    /// Reads a stretch into the chunk, and hashes each step of it while the step before is searched.
    fn take_stretch(&mut self, stretch: &mut Stretch<'_>, pieces: &mut Vec<Piece>) -> io::Result<()> {
        loop {
            let step = stretch.left().min(FILE_STEP as u64) as usize;
            let (known, room) = self.chunk.with_room(step);
            let finder = &mut self.finder;
            let mut read = || stretch.read(room);
            let mut search = || finder.find(&known[HEADER..]);
            let (read, found) = match rayon::current_thread_index() {
                Some(_) => rayon::join(read, search),
                None => (read(), search()),
            };
            read?;
            self.chunk.grow(step);
            self.split_all(found, pieces);
            if step == 0 {
                return Ok(());
            }
        }
    }

    /// Takes the chunk whose length was found, and those that are complete behind it.
    fn split_all(&mut self, mut found: Option<usize>, pieces: &mut Vec<Piece>) {
        while let Some(length) = found {
            pieces.push(self.split(length));
            found = self.finder.find(&self.chunk.as_ref()[HEADER..]);
        }
    }

    fn cut_to_the_end(&mut self, pieces: &mut Vec<Piece>) {
        self.files = if self.waiting() == 0 { 0 } else { self.files };
        while self.waiting() > 0 {
            let length = self
                .finder
                .find(&self.chunk.as_ref()[HEADER..])
                .unwrap_or(self.waiting());
            pieces.push(self.split(length));
        }
    }

    /// Takes the first bytes as a chunk; what is behind them begins the next one.
    fn split(&mut self, length: usize) -> Piece {
        let end = HEADER + length;
        let next = first_of(&self.buffers, &self.chunk.as_ref()[end..]);
        self.chunk.truncate(end);
        let framed = std::mem::replace(&mut self.chunk, next);
        let start = self.start;
        self.start += length as u64;
        self.finder = CutFinder::default();
        let files = std::mem::take(&mut self.files);
        Piece { start, files, framed }
    }
}

/// Begins a chunk with its first bytes.
fn first_of(buffers: &Buffers, bytes: &[u8]) -> Buffer {
    let mut chunk = buffers.take();
    chunk.extend(&[0; HEADER]);
    chunk.extend(bytes);
    chunk
}

/// Threads for files of this machine, or `None` where none can be had. A few more than there is work for: a file may lie
/// on a disk that is slow to answer.
static THREADS: LazyLock<Option<ThreadPool>> = LazyLock::new(|| {
    let cores = thread::available_parallelism().map_or(1, usize::from);
    let pool = ThreadPoolBuilder::new()
        .num_threads(cores.max(4))
        .thread_name(|_| "chunks".to_owned());
    pool.build().ok()
});

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pack::MAX_CHUNK;
    use crate::testing::noise;

    impl PartialEq for Piece {
        fn eq(&self, other: &Self) -> bool {
            (self.start, self.files, self.bytes()) == (other.start, other.files, other.bytes())
        }
    }

    fn batch(bytes: &[u8]) -> Batch {
        let mut batch = Batch::default();
        batch.copy(bytes);
        batch
    }

    #[test]
    fn cuts_do_not_depend_on_how_the_stream_arrives() {
        let bytes = noise(1, 24 << 20);
        let mut whole = Cutter::new(&Buffers::default());
        let expected = whole.cut(batch(&bytes), true).unwrap();
        assert!(expected.len() > 4, "{}", expected.len());
        assert!(expected.iter().all(|piece| piece.bytes().len() <= MAX_CHUNK));
        for step in [777_777, 4 << 20] {
            let mut cutter = Cutter::new(&Buffers::default());
            let mut pieces = Vec::new();
            for part in bytes.chunks(step) {
                pieces.extend(cutter.cut(batch(part), false).unwrap());
            }
            pieces.extend(cutter.cut(Batch::default(), true).unwrap());
            assert_eq!(pieces, expected);
        }
    }

    #[test]
    fn a_change_moves_only_the_cuts_around_it() {
        let mut bytes = noise(2, 24 << 20);
        let before = Cutter::new(&Buffers::default()).cut(batch(&bytes), true).unwrap();
        bytes.splice(12 << 20..12 << 20, *b"inserted");
        let after = Cutter::new(&Buffers::default()).cut(batch(&bytes), true).unwrap();
        let kept = after
            .iter()
            .filter(|new| before.iter().any(|old| old.bytes() == new.bytes()))
            .count();
        assert!(kept + 3 >= after.len(), "{kept} of {}", after.len());
    }

    #[test]
    fn files_are_hashed_and_cut_where_they_are_marked() {
        let mut whole = Batch::default();
        whole.mark(Mark::Begin(None));
        whole.copy(b"first");
        whole.mark(Mark::End);
        whole.mark(Mark::Begin(None));
        whole.copy(b"second");
        let front = whole.take_before(5);
        whole.cut_at(0);
        whole.mark(Mark::End);
        let mut cutter = Cutter::new(&Buffers::default());
        let mut pieces = cutter.cut(front, false).unwrap();
        pieces.extend(cutter.cut(whole, true).unwrap());
        let lengths: Vec<usize> = pieces.iter().map(|piece| piece.bytes().len()).collect();
        assert_eq!(lengths, [5, 6]);
        let hash = |bytes: &[u8]| ContentHash::new(*blake3::hash(bytes).as_bytes());
        assert_eq!(cutter.hashes, [hash(b"first"), hash(b"second")]);
    }
}
