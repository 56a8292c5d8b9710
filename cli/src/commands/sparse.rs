//! Sparse files in PAX archives: an entry has the parts with data, and a map says where they lie in the file.
//!
//! GNU tar and libarchive write them, in three forms. The `tar` crate reads only the older GNU form, and would give the
//! stored parts as if they were the file.
//!
//! | form | map | size of the file |
//! | --- | --- | --- |
//! | 0.0 | pairs of `GNU.sparse.offset`, `GNU.sparse.numbytes` | `GNU.sparse.size` |
//! | 0.1 | `GNU.sparse.map`: numbers with commas between | `GNU.sparse.size` |
//! | 1.0 | decimal lines in front of the data, filled up to whole blocks | `GNU.sparse.realsize` |
//!
//! [`SparseHeader`] reads the records of an entry, [`SparseReader`] its bytes. A map that contradicts itself or the
//! entry is an error.

use std::io::{self, Read};

/// Bytes of a block of an archive.
const BLOCK: usize = 512;
/// Most parts of one file: the map is kept in memory.
const MOST_PARTS: usize = 1 << 20;

/// What the records of an entry say about a sparse file.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct SparseHeader {
    /// The name of the file, if the entry itself has a made-up one.
    pub name: Option<Vec<u8>>,
    size: Option<u64>,
    /// Form 1.0: the map is in front of the data.
    map_in_data: bool,
    /// Offsets and lengths in turn; empty in form 1.0.
    map: Vec<u64>,
}

impl SparseHeader {
    /// Reads the records of an entry; none if it is no sparse file.
    pub(super) fn read<'a>(
        records: impl IntoIterator<Item = (&'a [u8], &'a [u8])>,
    ) -> io::Result<Option<SparseHeader>> {
        let mut header = SparseHeader::default();
        let mut is_sparse = false;
        for (key, value) in records {
            let Some(field) = key.strip_prefix(b"GNU.sparse.") else {
                continue;
            };
            is_sparse = true;
            match field {
                b"name" => header.name = Some(value.to_vec()),
                b"size" | b"realsize" => header.size = Some(number(value)?),
                b"offset" | b"numbytes" => header.push(value)?,
                b"map" => {
                    for value in value.split(|byte| *byte == b',').filter(|value| !value.is_empty()) {
                        header.push(value)?;
                    }
                }
                b"major" => header.map_in_data = number(value)? > 0,
                // `minor`, `numblocks`: nothing else follows from them.
                _ => {}
            }
        }
        Ok(is_sparse.then_some(header))
    }

    fn push(&mut self, value: &[u8]) -> io::Result<()> {
        if self.map.len() >= 2 * MOST_PARTS {
            return Err(damaged("a sparse file has too many parts"));
        }
        self.map.push(number(value)?);
        Ok(())
    }
}

/// Reads a sparse file as it was: with zeros between the parts that an entry has.
#[derive(Debug)]
pub(super) struct SparseReader<R> {
    data: R,
    /// Offset and length of each part; ascending, without overlaps.
    parts: std::vec::IntoIter<(u64, u64)>,
    /// Bytes of zeros before the next byte of the present part.
    zeros: u64,
    /// Bytes of the present part that are not read.
    in_part: u64,
    /// End of the present part in the file.
    end: u64,
    size: u64,
    finished: bool,
}

impl<R: Read> SparseReader<R> {
    /// Begins to read the bytes of an entry.
    pub(super) fn new(header: SparseHeader, mut data: R) -> io::Result<Self> {
        let size = header.size.ok_or_else(|| damaged("a sparse file has no size"))?;
        let map = match header.map_in_data {
            true => read_map(&mut data)?,
            false => header.map,
        };
        if map.len() % 2 != 0 {
            return Err(damaged("the map of a sparse file is not complete"));
        }
        let mut parts = Vec::with_capacity(map.len() / 2);
        let mut end = 0;
        for part in map.chunks_exact(2) {
            if let [offset, length] = *part {
                let next = offset.checked_add(length).filter(|next| *next <= size);
                end = next
                    .filter(|_| offset >= end)
                    .ok_or_else(|| damaged("the map of a sparse file contradicts itself"))?;
                parts.push((offset, length));
            }
        }
        Ok(SparseReader {
            data,
            parts: parts.into_iter(),
            zeros: 0,
            in_part: 0,
            end: 0,
            size,
            finished: false,
        })
    }

    /// Goes on to the next part, or to the zeros at the end of the file.
    fn next_part(&mut self) -> io::Result<()> {
        if let Some((offset, length)) = self.parts.next() {
            self.zeros = offset - self.end;
            self.in_part = length;
            self.end = offset + length;
        } else if self.end < self.size {
            self.zeros = self.size - self.end;
            self.end = self.size;
        } else {
            self.finished = true;
            if self.data.read(&mut [0])? > 0 {
                return Err(damaged("a sparse file has more data than its map says"));
            }
        }
        Ok(())
    }
}

impl<R: Read> Read for SparseReader<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if buffer.is_empty() {
            return Ok(0);
        }
        while !self.finished {
            if self.zeros > 0 {
                let length = shorter(buffer.len(), self.zeros);
                buffer[..length].fill(0);
                self.zeros -= length as u64;
                return Ok(length);
            }
            if self.in_part > 0 {
                let length = shorter(buffer.len(), self.in_part);
                let read = self.data.read(&mut buffer[..length])?;
                if read == 0 {
                    return Err(damaged("a sparse file has less data than its map says"));
                }
                self.in_part -= read as u64;
                return Ok(read);
            }
            self.next_part()?;
        }
        Ok(0)
    }
}

fn shorter(length: usize, left: u64) -> usize {
    usize::try_from(left).map_or(length, |left| left.min(length))
}

/// Reads the map of form 1.0, and the rest of its last block.
fn read_map(data: &mut impl Read) -> io::Result<Vec<u64>> {
    let mut lines = MapLines {
        data,
        block: [0; BLOCK],
        place: BLOCK,
    };
    let parts = lines.number()?;
    let parts = usize::try_from(parts).unwrap_or(usize::MAX);
    if parts > MOST_PARTS {
        return Err(damaged("a sparse file has too many parts"));
    }
    (0..2 * parts).map(|_| lines.number()).collect()
}

/// The lines of a map, read in whole blocks.
struct MapLines<'a, R> {
    data: &'a mut R,
    block: [u8; BLOCK],
    place: usize,
}

impl<R: Read> MapLines<'_, R> {
    fn number(&mut self) -> io::Result<u64> {
        let mut line = Vec::new();
        loop {
            if self.place == BLOCK {
                self.data.read_exact(&mut self.block)?;
                self.place = 0;
            }
            let byte = self.block[self.place];
            self.place += 1;
            match byte {
                b'\n' => return number(&line),
                // More digits do not fit a number; without a limit, damaged data would be read to its end.
                _ if line.len() == 20 => return Err(damaged("the map of a sparse file is not made of numbers")),
                byte => line.push(byte),
            }
        }
    }
}

fn number(digits: &[u8]) -> io::Result<u64> {
    let text = std::str::from_utf8(digits).ok();
    let value = text.and_then(|text| text.parse().ok());
    value.ok_or_else(|| damaged("the map of a sparse file is not made of numbers"))
}

fn damaged(what: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, what)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn header(records: &[(&str, &str)]) -> io::Result<SparseHeader> {
        let records = records.iter().map(|(key, value)| (key.as_bytes(), value.as_bytes()));
        Ok(SparseHeader::read(records)?.expect("a sparse file"))
    }

    /// Reads a sparse file with small reads and with large ones.
    fn content(records: &[(&str, &str)], data: &[u8]) -> io::Result<Vec<u8>> {
        let mut whole = Vec::new();
        SparseReader::new(header(records)?, data)?.read_to_end(&mut whole)?;
        let mut reader = SparseReader::new(header(records)?, data)?;
        let (mut pieces, mut piece) = (Vec::new(), [7; 3]);
        loop {
            match reader.read(&mut piece)? {
                0 => break,
                read => pieces.extend_from_slice(&piece[..read]),
            }
        }
        assert_eq!(pieces, whole);
        Ok(whole)
    }

    #[test]
    fn all_three_forms_have_the_same_content() {
        let expected = b"\0\0abc\0\0de\0";
        let zero = [
            ("GNU.sparse.size", "10"),
            ("GNU.sparse.numblocks", "2"),
            ("GNU.sparse.offset", "2"),
            ("GNU.sparse.numbytes", "3"),
            ("GNU.sparse.offset", "7"),
            ("GNU.sparse.numbytes", "2"),
        ];
        assert_eq!(content(&zero, b"abcde").expect("read"), expected);
        let one = [
            ("GNU.sparse.size", "10"),
            ("GNU.sparse.map", "2,3,7,2"),
            ("GNU.sparse.name", "real"),
        ];
        assert_eq!(content(&one, b"abcde").expect("read"), expected);
        assert_eq!(header(&one).expect("read").name.as_deref(), Some(&b"real"[..]));
        let in_data = [
            ("GNU.sparse.major", "1"),
            ("GNU.sparse.minor", "0"),
            ("GNU.sparse.realsize", "10"),
        ];
        let mut data = b"2\n2\n3\n7\n2\n".to_vec();
        data.resize(BLOCK, 0);
        data.extend_from_slice(b"abcde");
        assert_eq!(content(&in_data, &data).expect("read"), expected);
        // Only holes.
        let mut data = b"0\n".to_vec();
        data.resize(BLOCK, 0);
        assert_eq!(content(&in_data, &data).expect("read"), [0; 10]);
    }

    #[test]
    fn a_map_may_be_longer_than_a_block() {
        let parts = 300;
        let mut data = format!("{parts}\n").into_bytes();
        let mut expected = Vec::new();
        for number in 0..parts {
            data.extend(format!("{}\n1\n", number * 1000 + 999).bytes());
            expected.extend([0; 999]);
            expected.push(b'x');
        }
        data.resize(data.len().next_multiple_of(BLOCK), 0);
        data.extend(vec![b'x'; parts]);
        let size = expected.len().to_string();
        let records = [("GNU.sparse.major", "1"), ("GNU.sparse.realsize", size.as_str())];
        assert!(content(&records, &data).expect("read") == expected);
    }

    #[test]
    fn maps_that_contradict_the_entry_are_errors() {
        let with = |size: &str, map: &str, data: &str| {
            let records = [("GNU.sparse.size", size), ("GNU.sparse.map", map)];
            content(&records, data.as_bytes()).expect_err("an error").to_string()
        };
        assert!(with("10", "2,3,4,2", "abcde").contains("contradicts itself"));
        assert!(with("10", "8,3", "abc").contains("contradicts itself"));
        assert!(with("10", "18446744073709551615,3", "abc").contains("contradicts itself"));
        assert!(with("10", "2,3,4", "abc").contains("not complete"));
        assert!(with("10", "2,x", "abc").contains("not made of numbers"));
        assert!(with("10", "2,3", "ab").contains("less data"));
        assert!(with("10", "2,3", "abcd").contains("more data"));
        let no_size = SparseReader::new(header(&[("GNU.sparse.map", "0,0")]).expect("read"), &b""[..]);
        assert!(no_size.expect_err("an error").to_string().contains("no size"));
        let endless = [("GNU.sparse.major", "1"), ("GNU.sparse.realsize", "10")];
        assert!(content(&endless, &[b'1'; 4 * BLOCK]).is_err());
        assert!(content(&endless, b"1\n").is_err());
        let none = SparseHeader::read([(&b"path"[..], &b"x"[..])]).expect("read");
        assert_eq!(none, None);
    }
}
