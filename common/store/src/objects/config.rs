//! Where the store is and how much memory it may use.

use crate::backend::S3Config;
use crate::error::StoreError;

/// Everything that is needed to open a store.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoreConfig {
    /// Where the objects are: `file:///path`, `s3://bucket/prefix` or `memory://`.
    pub url: String,
    /// How to reach an S3-compatible server; ignored for the other kinds of stores.
    pub s3: S3Config,
    /// How much memory to use.
    pub limits: Limits,
}

impl StoreConfig {
    /// Returns the configuration of a URL, with the defaults for everything else.
    #[must_use]
    pub fn new(url: impl Into<String>) -> Self {
        StoreConfig {
            url: url.into(),
            s3: S3Config::default(),
            limits: Limits::default(),
        }
    }
}

/// Bounds on the memory and the concurrency of one open store.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Decoded tree nodes in memory, in bytes.
    pub node_cache_bytes: usize,
    /// Decoded chunks in memory, in bytes.
    pub chunk_cache_bytes: usize,
    /// Chunks that are being stored, over all writers, in bytes.
    pub write_buffer_bytes: usize,
    /// Memory of one sorter of paths or edits, in bytes; more is written to temporary files.
    pub sort_buffer_bytes: usize,
    /// Objects written at the same time by one operation.
    pub write_concurrency: usize,
    /// Chunks read ahead by one sequential reader.
    pub read_ahead: usize,
    /// Most tree nodes read ahead by one sequential reader: it begins with two and doubles from node to node.
    pub nodes_ahead: usize,
}

impl Default for Limits {
    /// Returns 64 MiB of nodes, 64 MiB of chunks, 32 MiB of chunks being stored, 16 MiB for a sorter, 16 writes at
    /// once, and 4 chunks or 32 nodes read ahead.
    fn default() -> Self {
        Limits {
            node_cache_bytes: 64 << 20,
            chunk_cache_bytes: 64 << 20,
            write_buffer_bytes: 32 << 20,
            sort_buffer_bytes: 16 << 20,
            write_concurrency: 16,
            read_ahead: 4,
            nodes_ahead: 32,
        }
    }
}

/// The parts of a storage URL.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Location {
    Memory,
    Folder(std::path::PathBuf),
    Bucket { bucket: String, prefix: String },
}

impl Location {
    pub(crate) fn parse(url: &str) -> Result<Self, StoreError> {
        let bad = |reason: &str| StoreError::BadUrl {
            url: url.to_owned(),
            reason: reason.to_owned(),
        };
        let Some((scheme, rest)) = url.split_once("://") else {
            return Err(bad("expected file:///path, s3://bucket/prefix or memory://"));
        };
        match scheme {
            "memory" => Ok(Location::Memory),
            "file" if rest.starts_with('/') => Ok(Location::Folder(rest.into())),
            "file" => Err(bad("the path must be absolute: file:///path, with three slashes")),
            "s3" => {
                let (bucket, prefix) = rest.split_once('/').unwrap_or((rest, ""));
                if bucket.is_empty() {
                    return Err(bad("expected s3://bucket or s3://bucket/prefix"));
                }
                let prefix = prefix.trim_matches('/');
                Ok(Location::Bucket {
                    bucket: bucket.to_owned(),
                    prefix: prefix.to_owned(),
                })
            }
            _ => Err(bad("unknown kind of store; expected file, s3 or memory")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_are_parsed() {
        assert_eq!(Location::parse("memory://").unwrap(), Location::Memory);
        assert_eq!(Location::parse("file:///a/b").unwrap(), Location::Folder("/a/b".into()));
        assert_eq!(
            Location::parse("s3://data/team/a/").unwrap(),
            Location::Bucket {
                bucket: "data".into(),
                prefix: "team/a".into()
            }
        );
        for bad in ["/a/b", "file://a", "s3:///x", "gs://x"] {
            let error = Location::parse(bad).unwrap_err().to_string();
            assert!(error.contains(bad), "{error}");
        }
    }
}
