//! Ranges of keys.

use bytes::Bytes;

/// A range of keys: from `start`, which is included, to `end`, which is not.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct KeyRange {
    /// The least key that may be in it.
    pub start: Bytes,
    /// The least key after it; `None` = up to the last key.
    pub end: Option<Bytes>,
}

impl KeyRange {
    /// Returns the range of all keys.
    #[must_use]
    pub fn all() -> Self {
        KeyRange::default()
    }

    /// Returns the range from `start` to the end.
    pub fn from(start: impl Into<Bytes>) -> Self {
        KeyRange {
            start: start.into(),
            end: None,
        }
    }

    /// Returns the range of the keys after `key`.
    #[must_use]
    pub fn after(key: &[u8]) -> Self {
        KeyRange::from(successor(key))
    }

    /// Returns the range from `start`, which is included, to `end`, which is not.
    pub fn between(start: impl Into<Bytes>, end: impl Into<Bytes>) -> Self {
        KeyRange {
            start: start.into(),
            end: Some(end.into()),
        }
    }

    /// Returns the range of the keys that begin with `prefix`.
    #[must_use]
    pub fn prefix(prefix: &[u8]) -> Self {
        KeyRange {
            start: Bytes::copy_from_slice(prefix),
            end: end_of_prefix(prefix),
        }
    }

    /// Removes the keys before `start`.
    #[must_use]
    pub fn not_before(mut self, start: impl Into<Bytes>) -> Self {
        self.start = self.start.max(start.into());
        self
    }

    /// Removes `end` and the keys after it.
    #[must_use]
    pub fn below(mut self, end: impl Into<Bytes>) -> Self {
        let end = end.into();
        self.end = Some(self.end.map_or(end.clone(), |own| own.min(end)));
        self
    }

    /// Tells whether a key is in the range.
    #[must_use]
    pub fn contains(&self, key: &[u8]) -> bool {
        key >= &self.start[..] && !self.is_past(key)
    }

    /// Tells whether a key is after the range.
    pub(crate) fn is_past(&self, key: &[u8]) -> bool {
        self.end.as_ref().is_some_and(|end| key >= &end[..])
    }
}

/// Returns the least key above `key`.
pub(crate) fn successor(key: &[u8]) -> Bytes {
    let mut next = Vec::with_capacity(key.len() + 1);
    next.extend_from_slice(key);
    next.push(0);
    next.into()
}

/// Returns the least key above all that begin with `prefix`; `None` if there is no such key.
pub(crate) fn end_of_prefix(prefix: &[u8]) -> Option<Bytes> {
    let last = prefix.iter().rposition(|byte| *byte != 0xff)?;
    let mut end = prefix[..=last].to_vec();
    end[last] += 1;
    Some(end.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ends_of_prefixes() {
        assert_eq!(end_of_prefix(b"/a/").unwrap(), "/a0");
        assert_eq!(end_of_prefix(&[1, 0xff, 0xff]).unwrap(), Bytes::from_static(&[2]));
        assert_eq!(end_of_prefix(&[0xff]), None);
        assert_eq!(end_of_prefix(b""), None);
        assert!(KeyRange::prefix(b"/a/").contains(b"/a/x"));
        assert!(!KeyRange::after(b"/a").contains(b"/a"));
    }
}
