//! The envelope of every object and message of this crate: kind, version, body.
//!
//! ```text
//! text    {"kind":"job_plan","v":1,"body":{...}}
//! binary  "HWD" 0x00 | length of kind (1 byte) | kind | version (4 bytes, least significant first) | body
//! ```
//!
//! [`encode`] writes it, [`decode`] reads it. A reader checks kind and version before it reads the body: an old
//! program refuses new data and names the version. [`WireError`] says what is wrong.
//!
//! Types of which there are few are text (JSON), so that operators can read them. Types that hold something for each
//! datum are binary (postcard), which takes a fifth of the bytes and of the time.

use serde::de::{DeserializeOwned, IgnoredAny};
use serde::{Deserialize, Serialize};

/// A type with an envelope.
pub trait Wire: Serialize + DeserializeOwned {
    /// Name of the type on the wire; never changes.
    const KIND: &'static str;
    /// Version that this program writes. [`Wire::READS`] has the older ones that it can read.
    const VERSION: u32 = 1;
    /// Versions that this program can read.
    const READS: &'static [u32] = &[Self::VERSION];
    /// Whether the body is binary. Such a body has no field names: every change of the fields needs a new version.
    const BINARY: bool = false;

    /// Reads a binary body of a version in [`Wire::READS`] other than [`Wire::VERSION`].
    ///
    /// # Errors
    /// When the body is not of that version.
    fn decode_older(_version: u32, body: &[u8]) -> Result<Self, BodyError> {
        Ok(postcard::from_bytes(body)?)
    }
}

/// First bytes of a binary envelope. No JSON text begins with them.
const MAGIC: &[u8; 4] = b"HWD\0";

/// Why bytes cannot be read as a value.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum WireError {
    /// They have no envelope.
    #[error("expected a {expected} message, found something else")]
    NotAMessage {
        /// Kind that was expected.
        expected: &'static str,
        /// Cause.
        #[source]
        source: BodyError,
    },
    /// They are of another kind.
    #[error("expected a {expected} message, found a {found} message")]
    OtherKind {
        /// Kind that was expected.
        expected: &'static str,
        /// Kind that was found.
        found: String,
    },
    /// The kind is right, the version is unknown.
    #[error(
        "{kind} message has version {found}, this program understands version {understood}: \
         run the same release of Howdah everywhere"
    )]
    UnknownVersion {
        /// Kind of the message.
        kind: &'static str,
        /// Version that was found.
        found: u32,
        /// Newest version that this program can read.
        understood: u32,
    },
    /// Kind and version are right, the body cannot be read.
    #[error("{kind} message cannot be read")]
    BadBody {
        /// Kind of the message.
        kind: &'static str,
        /// Cause.
        #[source]
        source: BodyError,
    },
}

/// Why an envelope or a body cannot be read.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum BodyError {
    /// The text is not the expected JSON.
    #[error(transparent)]
    Text(#[from] serde_json::Error),
    /// The binary body is not the expected type.
    #[error(transparent)]
    Binary(#[from] postcard::Error),
    /// The header of a binary envelope is cut off, or its kind is not UTF-8.
    #[error("the header is damaged")]
    Header,
}

#[derive(Serialize)]
struct TextEnvelope<'a, T> {
    kind: &'static str,
    v: u32,
    body: &'a T,
}

#[derive(Deserialize)]
struct TextHeader {
    kind: String,
    v: u32,
    #[serde(rename = "body")]
    _body: Option<IgnoredAny>,
}

#[derive(Deserialize)]
struct TextBody<T> {
    body: T,
}

/// Writes a value with its kind and version.
pub fn encode<T: Wire>(value: &T) -> Vec<u8> {
    if T::BINARY {
        let kind_length = u8::try_from(T::KIND.len()).expect("kinds are short words");
        let mut out = MAGIC.to_vec();
        out.push(kind_length);
        out.extend_from_slice(T::KIND.as_bytes());
        out.extend_from_slice(&T::VERSION.to_le_bytes());
        return postcard::to_extend(value, out).expect("types of this crate know the lengths of their lists");
    }
    let written = TextEnvelope {
        kind: T::KIND,
        v: T::VERSION,
        body: value,
    };
    serde_json::to_vec(&written).expect("types of this crate have string keys and cannot fail")
}

/// Reads a value.
///
/// # Errors
/// When the bytes are of another kind, of an unknown version, or damaged.
pub fn decode<T: Wire>(bytes: &[u8]) -> Result<T, WireError> {
    let header = header(bytes).map_err(|source| WireError::NotAMessage {
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
    // `READS` has no older version of any text type: those only ever get fields with a default.
    let body = match header.binary_body {
        // Postcard has no field names and reads a shorter body as garbage or as a short list. An older version is
        // therefore read by its own type, never by the current one.
        Some(at) if header.v != T::VERSION => T::decode_older(header.v, &bytes[at..]),
        Some(at) => postcard::from_bytes(&bytes[at..]).map_err(BodyError::from),
        None => serde_json::from_slice::<TextBody<T>>(bytes)
            .map(|written| written.body)
            .map_err(BodyError::from),
    };
    body.map_err(|source| WireError::BadBody { kind: T::KIND, source })
}

/// Kind and version of an envelope.
struct Header {
    kind: String,
    v: u32,
    /// Offset of the body in a binary envelope; `None` for text.
    binary_body: Option<usize>,
}

fn header(bytes: &[u8]) -> Result<Header, BodyError> {
    let Some(rest) = bytes.strip_prefix(MAGIC) else {
        let TextHeader { kind, v, .. } = serde_json::from_slice(bytes)?;
        return Ok(Header {
            kind,
            v,
            binary_body: None,
        });
    };
    let (length, rest) = rest.split_first().ok_or(BodyError::Header)?;
    let (kind, rest) = rest.split_at_checked(usize::from(*length)).ok_or(BodyError::Header)?;
    let (version, body) = rest.split_first_chunk().ok_or(BodyError::Header)?;
    Ok(Header {
        kind: std::str::from_utf8(kind).map_err(|_| BodyError::Header)?.to_owned(),
        v: u32::from_le_bytes(*version),
        binary_body: Some(bytes.len() - body.len()),
    })
}

/// Returns the kind in the envelope, without reading the body; `None` without an envelope.
pub fn kind_of(bytes: &[u8]) -> Option<String> {
    header(bytes).ok().map(|found| found.kind)
}

#[cfg(test)]
mod tests {
    use super::{Wire, WireError, decode, encode, kind_of};
    use howdah_model::ids::{ContentHash, GlobalId, TreeRoot};

    use crate::messages::{SetMessage, WakeUp};
    use crate::objects::{DatumInput, DatumSet, PlanId};

    #[test]
    fn encoded_values_decode_to_themselves() {
        let set = DatumSet {
            set: 3,
            datums: Vec::new(),
        };
        let bytes = encode(&set);
        assert_eq!(bytes, b"HWD\0\x09datum_set\x03\0\0\0\x03\0");
        assert_eq!(decode::<DatumSet>(&bytes).unwrap(), set);
        assert_eq!(kind_of(&bytes).unwrap(), DatumSet::KIND);

        let text = encode(&WakeUp {});
        assert_eq!(
            String::from_utf8(text.clone()).unwrap(),
            r#"{"kind":"wake_up","v":1,"body":{}}"#
        );
        assert_eq!(decode::<WakeUp>(&text).unwrap(), WakeUp {});
    }

    #[test]
    fn version_2_sets_without_slices_decode() {
        let mut old = b"HWD\0\x09datum_set\x02\0\0\0\x03\x01".to_vec();
        // One datum: its id, its hash, one input.
        let input = input();
        old.extend_from_slice(&[[7; 32], [8; 32]].concat());
        old.push(1);
        old.extend_from_slice(&postcard::to_stdvec(&input).unwrap());
        let set = decode::<DatumSet>(&old).unwrap();
        assert_eq!((set.set, set.datums.len()), (3, 1));
        let datum = &set.datums[0];
        assert_eq!((datum.id.as_bytes(), datum.hash.as_bytes()), (&[7; 32], &[8; 32]));
        assert_eq!((&datum.inputs[..], &datum.slices[..]), (&[input][..], &[][..]));

        // The same set in a message of an older coordinator that still waits in the stream.
        let mut sent = older_message(2);
        sent.extend_from_slice(&old[b"HWD\0\x09datum_set\x02\0\0\0".len()..]);
        assert_eq!(decode::<SetMessage>(&sent).unwrap(), message(set.clone()));
        // Version 3 has the set as it is now.
        let mut sent = older_message(3);
        sent.extend_from_slice(&postcard::to_stdvec(&set).unwrap());
        assert_eq!(decode::<SetMessage>(&sent).unwrap(), message(set));

        old.pop();
        assert!(matches!(decode::<DatumSet>(&old), Err(WireError::BadBody { .. })));
    }

    /// Returns a message of an older version that names objects, up to the set in it.
    fn older_message(version: u8) -> Vec<u8> {
        let mut sent = b"HWD\0\x0edatum_set_work".to_vec();
        sent.extend_from_slice(&[version, 0, 0, 0]);
        let SetMessage {
            pipeline,
            version,
            job,
            set,
            attempt,
            ..
        } = message(DatumSet {
            set: 3,
            datums: Vec::new(),
        });
        let fields = (pipeline, version, job, set, attempt, "plan", "/etc/set");
        sent.extend_from_slice(&postcard::to_stdvec(&fields).unwrap());
        sent.push(1);
        sent
    }

    /// Returns what is read of it.
    fn message(inline: DatumSet) -> SetMessage {
        SetMessage {
            pipeline: "default/edges".parse().unwrap(),
            version: 5,
            job: GlobalId::from_number(1),
            plan: PlanId::EARLIER,
            set: 3,
            attempt: 1,
            inline: Some(inline),
        }
    }

    fn input() -> DatumInput {
        DatumInput {
            name: "in".into(),
            repo: "default/data".parse().unwrap(),
            branch: "master".parse().unwrap(),
            commit: GlobalId::from_number(9),
            root: TreeRoot::new([1; 32]),
            path: "/a".to_owned(),
            is_dir: false,
            size: 5,
            hash: ContentHash::new([2; 32]),
            join_on: String::new(),
            group_by: String::new(),
        }
    }

    #[test]
    fn other_kinds_and_versions_are_refused_by_name() {
        let other = decode::<DatumSet>(&encode(&WakeUp {})).unwrap_err();
        assert_eq!(
            other.to_string(),
            "expected a datum_set message, found a wake_up message"
        );
        let newer = decode::<WakeUp>(br#"{"kind":"wake_up","v":2,"body":[1,{}]}"#);
        assert!(matches!(newer, Err(WireError::UnknownVersion { found: 2, .. })));
        let newer = decode::<DatumSet>(b"HWD\0\x09datum_set\x04\0\0\0\x03\0");
        assert!(matches!(newer, Err(WireError::UnknownVersion { found: 4, .. })));
        let older = decode::<DatumSet>(br#"{"kind":"datum_set","v":1,"body":{"set":3,"datums":[]}}"#);
        assert!(matches!(older, Err(WireError::UnknownVersion { found: 1, .. })));
        let broken = decode::<WakeUp>(br#"{"kind":"wake_up","v":1,"body":7}"#);
        assert!(matches!(broken, Err(WireError::BadBody { .. })));
        for garbage in [&b""[..], b"garbage", b"[]", b"{}", b"HWD\0", b"HWD\0\x09datum"] {
            let error = decode::<DatumSet>(garbage).unwrap_err();
            assert!(matches!(error, WireError::NotAMessage { .. }));
        }
    }

    #[test]
    fn binary_bodies_that_are_cut_off_are_refused() {
        let whole = encode(&DatumSet {
            set: 300,
            datums: Vec::new(),
        });
        for length in 0..whole.len() {
            assert!(decode::<DatumSet>(&whole[..length]).is_err(), "{length}");
        }
    }
}
