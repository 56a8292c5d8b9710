//! The envelope around everything this crate writes: kind, version, body.
//!
//! `{"kind":"set_result","v":1,"body":{...}}`. A reader checks kind and version before it looks at
//! the body, so that old programs refuse new data by name instead of guessing.

use serde::de::{DeserializeOwned, IgnoredAny};
use serde::{Deserialize, Serialize};

/// A type that is written with its kind and version.
pub trait Wire: Serialize + DeserializeOwned {
    /// Name of the type on the wire; never changes.
    const KIND: &'static str;
    /// Version this program writes. Older versions that it still reads are listed in
    /// [`Wire::READS`].
    const VERSION: u32 = 1;
    /// Versions that this program understands.
    const READS: &'static [u32] = &[1];
}

/// Why bytes were not accepted.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum WireError {
    /// They are not in the envelope at all.
    #[error("expected a {expected} message, found something else")]
    NotAMessage {
        /// Kind that was expected.
        expected: &'static str,
        /// What the reader stumbled over.
        #[source]
        source: serde_json::Error,
    },
    /// They hold another kind of message.
    #[error("expected a {expected} message, found a {found} message")]
    OtherKind {
        /// Kind that was expected.
        expected: &'static str,
        /// Kind that was found.
        found: String,
    },
    /// Kind is right, version unknown.
    #[error(
        "{kind} message has version {found}, this program understands version {understood}: \
         run the same release of Howdah everywhere"
    )]
    UnknownVersion {
        /// Kind of the message.
        kind: &'static str,
        /// Version that was found.
        found: u32,
        /// Newest version that would have been understood.
        understood: u32,
    },
    /// Kind and version are right, the body is not.
    #[error("{kind} message cannot be read")]
    BadBody {
        /// Kind of the message.
        kind: &'static str,
        /// What the reader stumbled over.
        #[source]
        source: serde_json::Error,
    },
}

#[derive(Serialize)]
struct Written<'a, T> {
    kind: &'static str,
    v: u32,
    body: &'a T,
}

#[derive(Deserialize)]
struct Header {
    kind: String,
    v: u32,
    #[serde(rename = "body")]
    _body: Option<IgnoredAny>,
}

#[derive(Deserialize)]
struct Body<T> {
    body: T,
}

/// Writes a value with its kind and version.
pub fn encode<T: Wire>(value: &T) -> Vec<u8> {
    let written = Written {
        kind: T::KIND,
        v: T::VERSION,
        body: value,
    };
    serde_json::to_vec(&written).expect("types of this crate have string keys and cannot fail")
}

/// Reads a value, refusing other kinds and unknown versions by name.
pub fn decode<T: Wire>(bytes: &[u8]) -> Result<T, WireError> {
    let header: Header = serde_json::from_slice(bytes).map_err(|source| WireError::NotAMessage {
        expected: T::KIND,
        source,
    })?;
    if header.kind != T::KIND {
        return Err(WireError::OtherKind {
            expected: T::KIND,
            found: header.kind,
        });
    }
    if !T::READS.contains(&header.v) {
        return Err(WireError::UnknownVersion {
            kind: T::KIND,
            found: header.v,
            understood: T::VERSION,
        });
    }
    let body: Body<T> = serde_json::from_slice(bytes).map_err(|source| WireError::BadBody { kind: T::KIND, source })?;
    Ok(body.body)
}

/// Returns the kind that bytes say they are, without reading the rest.
pub fn kind_of(bytes: &[u8]) -> Option<String> {
    serde_json::from_slice::<Header>(bytes).ok().map(|h| h.kind)
}

#[cfg(test)]
mod tests {
    use super::{WireError, decode, encode};
    use crate::job::DatumSet;
    use crate::messages::WakeUp;

    #[test]
    fn what_is_written_can_be_read() {
        let set = DatumSet {
            set: 3,
            datums: Vec::new(),
        };
        let bytes = encode(&set);
        assert_eq!(
            String::from_utf8(bytes.clone()).unwrap(),
            r#"{"kind":"datum_set","v":1,"body":{"set":3,"datums":[]}}"#
        );
        assert_eq!(decode::<DatumSet>(&bytes).unwrap(), set);
    }

    #[test]
    fn everything_else_is_refused_by_name() {
        let other = decode::<DatumSet>(&encode(&WakeUp {})).unwrap_err();
        assert_eq!(
            other.to_string(),
            "expected a datum_set message, found a wake_up message"
        );
        let newer = decode::<DatumSet>(br#"{"kind":"datum_set","v":2,"body":[1,{}]}"#);
        assert!(matches!(newer, Err(WireError::UnknownVersion { found: 2, .. })));
        let broken = decode::<DatumSet>(br#"{"kind":"datum_set","v":1,"body":{"set":"x"}}"#);
        assert!(matches!(broken, Err(WireError::BadBody { .. })));
        for garbage in [&b""[..], b"garbage", b"[]", b"{}"] {
            let error = decode::<DatumSet>(garbage).unwrap_err();
            assert!(matches!(error, WireError::NotAMessage { .. }));
        }
    }
}
