//! The keys of all objects.
//!
//! Three things are made elsewhere: the suffix `-merge` of a plan in the coordinator (`job/plan/stored.rs`), the suffix
//! `-<worker>` of log lines in `howdah-protocol` (`objects/keys.rs`), and `meta/probe` in `backend/remote.rs`.
//!
//! ```text
//! meta/format                                        version marker
//! meta/cluster-id                                    id of the installation, made when its store is new
//! meta/queue-key                                     key that authenticates messages of the queue, made with the id
//! meta/peer-key                                      secret by which coordinators over this store know each other
//! meta/probe                                         written to an S3 server to learn what a conditional write does
//! meta/log/<20-digit sequence>                       metadata log
//! meta/claims/<20-digit sequence>                    marks that record as a claim
//! meta/snapshot/<20-digit sequence>                  state after that record
//! chunks/<aa>/<hash>                                 file bytes
//! nodes/<aa>/<hash>                                  tree nodes
//! staged/<id>                                        staged edits: one write to an open commit, until it is applied
//! jobs/<project>/<pipeline>/<job>/plan               plan of a job; that of a small job has its datums, too
//! jobs/<project>/<pipeline>/<job>/plan-merge         what only the coordinator needs of a plan of several objects
//! jobs/<project>/<pipeline>/<job>/sets/<n>           datums of one set, unless the plan holds them
//! jobs/<project>/<pipeline>/<job>/results/<n>        result of one set
//! logs/<project>/<pipeline>/<job>/<set>-<worker>-<microseconds>   log lines of one run of a set
//! logs/<project>/<pipeline>/<job>/<set>-<worker>     the same, in stores of earlier releases
//! logs/<project>/<pipeline>/master/<20-digit time>    log lines of the coordinator about a pipeline
//! provenance/<project>/<repo>/<commit>               record of a finished commit
//! damaged/<key>                                      damaged object that was moved away by `fsck --fix`
//! ```

use std::fmt::Display;

use howdah_model::ContentHash;

/// Version marker of the whole store.
pub const FORMAT: &str = "meta/format";
/// Id of the installation.
pub const CLUSTER_ID: &str = "meta/cluster-id";
/// Key that authenticates the messages of the queue.
pub const QUEUE_KEY: &str = "meta/queue-key";
/// Secret of the coordinators.
pub const PEER_KEY: &str = "meta/peer-key";
/// Prefix of log records.
pub const LOG: &str = "meta/log/";
/// Prefix of the marks of claims.
pub const CLAIMS: &str = "meta/claims/";
/// Prefix of snapshots.
pub const SNAPSHOTS: &str = "meta/snapshot/";
/// Prefix of chunks.
pub const CHUNKS: &str = "chunks/";
/// Prefix of tree nodes.
pub const NODES: &str = "nodes/";
/// Prefix of staged edits.
pub const STAGED: &str = "staged/";

/// An object whose key is made of the hash of its content.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum ContentKey {
    /// A chunk of file bytes.
    Chunk(ContentHash),
    /// A node of a tree.
    Node(ContentHash),
}

impl ContentKey {
    /// Returns the key of the object.
    pub(crate) fn object_key(&self) -> String {
        match self {
            ContentKey::Chunk(hash) => chunk(hash),
            ContentKey::Node(hash) => node(hash),
        }
    }

    /// Returns what an object key names; `None` for the key of another kind of object.
    pub(crate) fn of_object(key: &str) -> Option<Self> {
        let hash = key.rsplit('/').next()?.parse().ok()?;
        let content = if key.starts_with(CHUNKS) {
            ContentKey::Chunk(hash)
        } else {
            ContentKey::Node(hash)
        };
        (content.object_key() == key).then_some(content)
    }
}

/// Returns the key under which a damaged object is kept.
#[must_use]
pub fn damaged(key: &str) -> String {
    format!("damaged/{key}")
}

/// Returns the key of a chunk.
#[must_use]
pub fn chunk(hash: &ContentHash) -> String {
    sharded(CHUNKS, hash)
}

/// Returns the key of a tree node.
#[must_use]
pub fn node(hash: &ContentHash) -> String {
    sharded(NODES, hash)
}

/// Returns the key of staged edits.
#[must_use]
pub fn staged(id: impl Display) -> String {
    format!("{STAGED}{id}")
}

/// Returns the key of a log record.
#[must_use]
pub fn log_record(seq: u64) -> String {
    format!("{LOG}{seq:020}")
}

/// Returns the key of the mark that record `seq` of the log is a claim.
#[must_use]
pub fn claim(seq: u64) -> String {
    format!("{CLAIMS}{seq:020}")
}

/// Returns the key of a snapshot.
#[must_use]
pub fn snapshot(seq: u64) -> String {
    format!("{SNAPSHOTS}{seq:020}")
}

/// Returns the prefix of all objects of a job.
#[must_use]
pub fn job(project: impl Display, pipeline: impl Display, job: impl Display) -> String {
    format!("jobs/{project}/{pipeline}/{job}/")
}

/// Tells whether an object belongs to a job: a plan, a datum set or a result. All of them can be made again.
#[must_use]
pub fn is_of_job(key: &str) -> bool {
    key.starts_with("jobs/")
}

/// Returns the key of an object that is written to find out whether the store works. It is removed at once.
#[must_use]
pub fn job_probe(project: impl Display, pipeline: impl Display, id: impl Display) -> String {
    job(project, pipeline, id) + "probe"
}

/// Returns the key of a job's plan.
#[must_use]
pub fn job_plan(project: impl Display, pipeline: impl Display, id: impl Display) -> String {
    job(project, pipeline, id) + "plan"
}

/// Returns the prefix of the datum sets of a job. Those of one plan are in a folder of their own below it.
#[must_use]
pub fn job_sets(project: impl Display, pipeline: impl Display, id: impl Display) -> String {
    job(project, pipeline, id) + "sets/"
}

/// Returns the prefix of the results of a job. Those of one plan are in a folder of their own below it.
#[must_use]
pub fn job_results(project: impl Display, pipeline: impl Display, id: impl Display) -> String {
    job(project, pipeline, id) + "results/"
}

/// Returns the name of a set or result within its folder; names sort by number.
#[must_use]
pub fn set_name(set: u32) -> String {
    format!("{set:010}")
}

/// Returns the key of the log lines of one set.
#[must_use]
pub fn job_log(project: impl Display, pipeline: impl Display, id: impl Display, set: u32) -> String {
    format!("logs/{project}/{pipeline}/{id}/{set:010}")
}

/// Returns the prefix of the log lines of the coordinator about a pipeline. No job is called `master`.
#[must_use]
pub fn master_lines(project: impl Display, pipeline: impl Display) -> String {
    format!("logs/{project}/{pipeline}/master/")
}

/// Returns the key of the provenance record of a commit.
#[must_use]
pub fn provenance(project: impl Display, repo: impl Display, commit: impl Display) -> String {
    format!("provenance/{project}/{repo}/{commit}")
}

/// Returns the number at the end of a key that one of the functions above made.
#[must_use]
pub fn trailing_number(key: &str) -> Option<u64> {
    let digits = key.rsplit('/').next()?;
    digits.parse().ok()
}

fn sharded(folder: &str, hash: &ContentHash) -> String {
    // Two digits: 256 folders. A local store of a million chunks then has some four thousand entries in each.
    let hex = hash.to_string();
    format!("{folder}{}/{hex}", &hex[..2])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_sort_by_number() {
        assert!(log_record(9) < log_record(10));
        assert!(set_name(9) < set_name(10));
        assert_eq!(trailing_number(&log_record(42)), Some(42));
    }

    #[test]
    fn content_is_sharded() {
        let hash = ContentHash::new([0xab; 32]);
        assert_eq!(chunk(&hash), format!("chunks/ab/{}", "ab".repeat(32)));
        for content in [ContentKey::Chunk(hash), ContentKey::Node(hash)] {
            assert_eq!(ContentKey::of_object(&content.object_key()), Some(content));
        }
        assert_eq!(ContentKey::of_object(&damaged(&chunk(&hash))), None);
        assert_eq!(ContentKey::of_object("meta/log/1"), None);
    }
}
