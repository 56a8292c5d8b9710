//! Identifiers: global ids, content hashes, datum ids and hashes.
//!
//! All are byte arrays of a fixed size that print and parse as lower-case hexadecimal digits. Serialised, they are
//! those digits in text formats and bare bytes in binary ones. No function here draws an id: callers pass them in, so
//! that `decide` stays deterministic.

use std::fmt;
use std::str::FromStr;

use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// Why a text is not an id.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum IdError {
    /// The text is not the hex form of a version-4 UUID.
    #[error("{0:?} is not an id: expected 32 lower-case hexadecimal digits, the 13th of them 4")]
    Global(String),
    /// The text is not a 256-bit hash.
    #[error("{0:?} is not a hash: expected 64 hexadecimal digits")]
    Hash(String),
}

/// The id of a change and of everything that follows from it: commits, the commit set, jobs, a transaction.
///
/// A version-4 UUID, written as 32 lower-case hexadecimal digits without dashes.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct GlobalId([u8; 16]);

impl GlobalId {
    /// Returns the id made of 16 random bytes of the caller. Six bits are replaced by version and variant of a UUID.
    #[must_use]
    pub fn from_random_bytes(mut bytes: [u8; 16]) -> Self {
        bytes[6] = (bytes[6] & 0x0f) | 0x40;
        bytes[8] = (bytes[8] & 0x3f) | 0x80;
        Self(bytes)
    }

    /// Returns the id made of a number, for tests that need predictable ids.
    #[must_use]
    pub fn from_number(number: u64) -> Self {
        let mut bytes = [0; 16];
        bytes[8..].copy_from_slice(&number.to_be_bytes());
        Self::from_random_bytes(bytes)
    }

    /// Returns the bytes.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8; 16] {
        &self.0
    }

    /// Returns whether a text has the shape of an id: 32 hexadecimal digits, the 13th of them `4`.
    #[must_use]
    pub fn is_id_shaped(text: &str) -> bool {
        text.len() == 32 && text.bytes().all(|b| b.is_ascii_hexdigit()) && text.as_bytes()[12] == b'4'
    }
}

impl fmt::Display for GlobalId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&hex::encode(self.0))
    }
}

impl fmt::Debug for GlobalId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for GlobalId {
    type Err = IdError;

    fn from_str(text: &str) -> Result<Self, IdError> {
        let mut bytes = [0; 16];
        if !Self::is_id_shaped(text) || hex::decode_to_slice(text, &mut bytes).is_err() {
            return Err(IdError::Global(text.to_owned()));
        }
        Ok(Self(bytes))
    }
}

impl Serialize for GlobalId {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        if serializer.is_human_readable() {
            serializer.collect_str(self)
        } else {
            self.0.serialize(serializer)
        }
    }
}

impl<'de> Deserialize<'de> for GlobalId {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        if !deserializer.is_human_readable() {
            return Deserialize::deserialize(deserializer).map(Self);
        }
        let text = <std::borrow::Cow<'de, str>>::deserialize(deserializer)?;
        text.parse().map_err(D::Error::custom)
    }
}

macro_rules! hash_type {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name([u8; 32]);

        impl $name {
            /// Returns the hash with these bytes.
            #[must_use]
            pub const fn new(bytes: [u8; 32]) -> Self {
                Self(bytes)
            }

            /// Returns the bytes.
            #[must_use]
            pub const fn as_bytes(&self) -> &[u8; 32] {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&hex::encode(self.0))
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Display::fmt(self, f)
            }
        }

        impl FromStr for $name {
            type Err = IdError;

            fn from_str(text: &str) -> Result<Self, IdError> {
                let mut bytes = [0; 32];
                hex::decode_to_slice(text, &mut bytes)
                    .map_err(|_| IdError::Hash(text.to_owned()))?;
                Ok(Self(bytes))
            }
        }

        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                if serializer.is_human_readable() {
                    serializer.collect_str(self)
                } else {
                    self.0.serialize(serializer)
                }
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                if !deserializer.is_human_readable() {
                    return Deserialize::deserialize(deserializer).map(Self);
                }
                let text = <std::borrow::Cow<'de, str>>::deserialize(deserializer)?;
                text.parse().map_err(D::Error::custom)
            }
        }
    };
}

hash_type! {
    /// BLAKE3 hash of bytes.
    ContentHash
}
hash_type! {
    /// Identity of a datum without content: which files of which inputs.
    DatumId
}
hash_type! {
    /// Identity of a datum with content: its id, the content of its files, and the salt of the pipeline.
    DatumHash
}

/// The hash of the top node of a stored tree. Trees with the same content have the same root.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct TreeRoot(pub ContentHash);

impl TreeRoot {
    /// Returns the root whose top node has this hash.
    #[must_use]
    pub const fn new(bytes: [u8; 32]) -> Self {
        Self(ContentHash::new(bytes))
    }
}

impl fmt::Display for TreeRoot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, f)
    }
}

impl FromStr for TreeRoot {
    type Err = IdError;

    fn from_str(text: &str) -> Result<Self, IdError> {
        text.parse().map(Self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_print_and_parse_as_version_four() {
        let id = GlobalId::from_number(7);
        let text = id.to_string();
        assert_eq!(text.len(), 32);
        assert_eq!(&text[12..13], "4");
        assert_eq!(text.parse(), Ok(id));
        let id = GlobalId::from_random_bytes([0xff; 16]);
        assert_eq!(id.to_string(), "ffffffffffff4fffbfffffffffffffff");
        assert!(GlobalId::is_id_shaped(&id.to_string()));
    }

    #[test]
    fn other_shapes_are_refused() {
        for text in ["", "master", "0123456789ab5def0123456789abcdef", "0123456789ab4def"] {
            assert!(text.parse::<GlobalId>().is_err(), "{text}");
        }
        assert!("zz".repeat(32).parse::<ContentHash>().is_err());
    }
}
