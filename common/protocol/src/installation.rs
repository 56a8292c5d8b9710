//! The identity of an installation: an id for names, and a key that authenticates messages.
//!
//! Both are objects of the store ([`howdah_store::keys::CLUSTER_ID`], [`howdah_store::keys::QUEUE_KEY`]) that the first
//! coordinator over the store makes. Workers read them.

use std::fmt;

/// Longest id.
const MAX_ID_BYTES: usize = 64;

/// Number of bytes of the key.
pub const QUEUE_KEY_BYTES: usize = 32;

/// The identity of an installation. Coordinators and workers over one store have the same.
#[derive(Clone, PartialEq, Eq)]
pub struct Installation {
    cluster: String,
    key: [u8; QUEUE_KEY_BYTES],
}

/// Why the objects of an installation cannot be read.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[non_exhaustive]
pub enum InstallationError {
    /// The id has other characters than letters, digits, `-` and `_`, or is empty or too long.
    #[error("the id of the installation is damaged: expected letters, digits, - and _")]
    Id,
    /// The key is not of 64 hexadecimal digits.
    #[error("the key of the installation is damaged: expected 64 hexadecimal digits")]
    Key,
}

impl Installation {
    /// Makes an identity.
    ///
    /// # Errors
    /// When the id is not a legal part of the name of a subject.
    pub fn new(cluster: &str, key: [u8; QUEUE_KEY_BYTES]) -> Result<Self, InstallationError> {
        let legal = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
        if cluster.is_empty() || cluster.len() > MAX_ID_BYTES || !cluster.chars().all(legal) {
            return Err(InstallationError::Id);
        }
        Ok(Self {
            cluster: cluster.to_owned(),
            key,
        })
    }

    /// Reads the content of the two objects.
    ///
    /// # Errors
    /// When one of them is damaged.
    pub fn parse(cluster: &[u8], key: &[u8]) -> Result<Self, InstallationError> {
        let cluster = std::str::from_utf8(cluster).map_err(|_| InstallationError::Id)?;
        let mut bytes = [0; QUEUE_KEY_BYTES];
        hex::decode_to_slice(key.trim_ascii(), &mut bytes).map_err(|_| InstallationError::Key)?;
        Self::new(cluster.trim(), bytes)
    }

    /// Returns the content of the object that holds the key.
    pub fn encode_key(key: &[u8; QUEUE_KEY_BYTES]) -> String {
        hex::encode(key)
    }

    /// Returns the id: letters, digits, `-` and `_`.
    pub fn cluster(&self) -> &str {
        &self.cluster
    }

    /// Returns the key for the authentication of messages.
    pub fn key(&self) -> &[u8; QUEUE_KEY_BYTES] {
        &self.key
    }
}

impl fmt::Debug for Installation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Installation")
            .field("cluster", &self.cluster)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read_and_the_key_is_not_shown() {
        let key = [0xab; QUEUE_KEY_BYTES];
        let text = Installation::encode_key(&key);
        let read = Installation::parse(b"0123abcd\n", text.as_bytes()).unwrap();
        assert_eq!(read, Installation::new("0123abcd", key).unwrap());
        assert!(!format!("{read:?}").contains("171") && !format!("{read:?}").contains("ab, "));
    }

    #[test]
    fn damaged_objects_are_refused() {
        let key = Installation::encode_key(&[1; QUEUE_KEY_BYTES]);
        for id in [&b""[..], b"a.b", b"a b", b"*", b">", b"\xff", &[b'a'; 65]] {
            assert_eq!(Installation::parse(id, key.as_bytes()), Err(InstallationError::Id));
        }
        for damaged in [&b""[..], b"xyz", &key.as_bytes()[2..]] {
            assert_eq!(Installation::parse(b"a", damaged), Err(InstallationError::Key));
        }
    }
}
