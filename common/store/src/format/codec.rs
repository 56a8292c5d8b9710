//! Numbers and lengths of the binary formats, and a reader that never panics.
//!
//! A number has seven bits in each byte, the least significant first; the high bit says that another byte follows
//! (LEB128, unsigned).

/// Appends a number.
pub(crate) fn put_number(out: &mut Vec<u8>, mut number: u64) {
    while number >= 0x80 {
        out.push(number as u8 | 0x80);
        number >>= 7;
    }
    out.push(number as u8);
}

/// Appends a length and that many bytes.
pub(crate) fn put_bytes(out: &mut Vec<u8>, bytes: &[u8]) {
    put_number(out, bytes.len() as u64);
    out.extend_from_slice(bytes);
}

/// Why stored bytes cannot be decoded. The caller, which knows the key, makes a [`StoreError`](crate::StoreError) of
/// it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum DecodeError {
    /// The bytes end inside of a field.
    #[error("it ends too early")]
    Truncated,
    /// Bytes follow after the last field.
    #[error("it has surplus bytes at the end")]
    Surplus,
    /// The first byte is a format version that this program does not know.
    #[error("its format version {0} is unknown")]
    Version(u8),
    /// A number or length is out of range.
    #[error("a number in it is out of range")]
    Range,
}

/// Reads fields of stored bytes from front to back. Every error leaves memory and position valid.
#[derive(Debug, Clone, Copy)]
pub(crate) struct FieldReader<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> FieldReader<'a> {
    pub(crate) fn new(bytes: &'a [u8]) -> Self {
        FieldReader { bytes, at: 0 }
    }

    /// Returns the number of bytes that have been read.
    pub(crate) fn position(&self) -> usize {
        self.at
    }

    pub(crate) fn byte(&mut self) -> Result<u8, DecodeError> {
        let byte = *self.bytes.get(self.at).ok_or(DecodeError::Truncated)?;
        self.at += 1;
        Ok(byte)
    }

    pub(crate) fn number(&mut self) -> Result<u64, DecodeError> {
        let mut number = 0u64;
        for shift in (0..).step_by(7) {
            let byte = self.byte()?;
            let bits = u64::from(byte & 0x7f);
            if shift > 63 || (shift == 63 && bits > 1) {
                return Err(DecodeError::Range);
            }
            number |= bits << shift;
            if byte & 0x80 == 0 {
                break;
            }
        }
        Ok(number)
    }

    pub(crate) fn length(&mut self) -> Result<usize, DecodeError> {
        usize::try_from(self.number()?).map_err(|_| DecodeError::Range)
    }

    pub(crate) fn take(&mut self, length: usize) -> Result<&'a [u8], DecodeError> {
        let end = self.at.checked_add(length).ok_or(DecodeError::Range)?;
        let bytes = self.bytes.get(self.at..end).ok_or(DecodeError::Truncated)?;
        self.at = end;
        Ok(bytes)
    }

    /// Reads a length and that many bytes, as [`put_bytes`] writes them.
    pub(crate) fn take_prefixed(&mut self) -> Result<&'a [u8], DecodeError> {
        let length = self.length()?;
        self.take(length)
    }

    pub(crate) fn hash(&mut self) -> Result<[u8; 32], DecodeError> {
        let bytes = self.take(32)?;
        bytes.try_into().map_err(|_| DecodeError::Truncated)
    }

    pub(crate) fn finish(self) -> Result<(), DecodeError> {
        if self.at == self.bytes.len() {
            Ok(())
        } else {
            Err(DecodeError::Surplus)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn numbers_survive_a_round_trip(number: u64) {
            let mut out = Vec::new();
            put_number(&mut out, number);
            let mut reader = FieldReader::new(&out);
            prop_assert_eq!(reader.number(), Ok(number));
            prop_assert_eq!(reader.finish(), Ok(()));
        }

        #[test]
        fn no_bytes_make_it_panic(bytes: Vec<u8>) {
            let mut reader = FieldReader::new(&bytes);
            while reader.number().is_ok() {}
        }
    }

    #[test]
    fn truncated_and_overlong_numbers_are_refused() {
        assert_eq!(FieldReader::new(&[0x80]).number(), Err(DecodeError::Truncated));
        assert_eq!(FieldReader::new(&[0xff; 11]).number(), Err(DecodeError::Range));
    }
}
