//! Where the store is and how much memory it may use.

use std::fmt;

use crate::error::StoreError;

/// Everything needed to open a [`crate::Store`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoreConfig {
    /// Where the objects are: `file:///path`, `s3://bucket/prefix` or `memory://`.
    pub url: String,
    /// How to reach an S3-compatible server; ignored by the other kinds.
    pub s3: S3Config,
    /// How much memory to use.
    pub limits: Limits,
}

impl StoreConfig {
    /// Names a store by its URL, with the defaults for everything else.
    #[must_use]
    pub fn new(url: impl Into<String>) -> Self {
        StoreConfig {
            url: url.into(),
            s3: S3Config::default(),
            limits: Limits::default(),
        }
    }
}

/// How to reach an S3-compatible server. What is `None` comes from the usual `AWS_*` variables,
/// profile files and instance metadata.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct S3Config {
    /// Address of the server, such as `http://127.0.0.1:9000`; `None` = Amazon's.
    pub endpoint: Option<String>,
    /// Region; `us-east-1` if nothing names another.
    pub region: Option<String>,
    /// Public half of the credentials.
    pub access_key: Option<String>,
    /// Secret half of the credentials.
    pub secret_key: Option<String>,
    /// Puts the bucket into the host name instead of the path.
    pub virtual_host_style: bool,
}

impl fmt::Debug for S3Config {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // The secret must never reach a log.
        f.debug_struct("S3Config")
            .field("endpoint", &self.endpoint)
            .field("region", &self.region)
            .field("access_key", &self.access_key)
            .field("secret_key", &self.secret_key.as_ref().map(|_| "***"))
            .field("virtual_host_style", &self.virtual_host_style)
            .finish()
    }
}

/// Bounds on the memory and the concurrency of one open store.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Decoded tree nodes kept in memory, in bytes.
    pub node_cache_bytes: usize,
    /// Decoded chunks kept in memory, in bytes.
    pub chunk_cache_bytes: usize,
    /// Chunks on their way into the store, over all writers, in bytes.
    pub write_buffer_bytes: usize,
    /// Names and indexes being sorted in one place, in bytes; more goes to temporary files.
    pub sort_buffer_bytes: usize,
    /// Objects written at the same time by one operation.
    pub write_concurrency: usize,
    /// Chunks read ahead by one sequential reader.
    pub read_ahead: usize,
    /// Tree nodes read ahead by one sequential reader, at most: it begins with few and doubles from node to node.
    pub nodes_ahead: usize,
}

impl Default for Limits {
    /// 64 MiB of nodes, 64 MiB of chunks, 32 MiB of writes under way, 16 MiB of sorting, 16 writes at once, 4 chunks or
    /// 32 nodes read ahead.
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

/// A storage URL, taken apart.
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
    fn urls_are_taken_apart() {
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

    #[test]
    fn secrets_are_not_shown() {
        let s3 = S3Config {
            secret_key: Some("hunter2".into()),
            ..S3Config::default()
        };
        assert!(!format!("{s3:?}").contains("hunter2"));
    }
}
