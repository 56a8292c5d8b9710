//! Claims: the records by which a coordinator takes the log over.
//!
//! A coordinator that has replayed all records creates one more, its *claim*, before it appends anything. Its number is
//! the coordinator's *epoch*. A claim is never pruned as other records are. So a writer that was paused, however long,
//! finds a record at its next number: the claim of its first successor. It is fenced by that.
//!
//! ```text
//! meta/log/      7 8 9 10c 11 12   c = claim. A writer that paused after 9 tries to create 10 and finds it taken,
//!                                  also when 7, 8, 9, 11 and 12 have been pruned.
//! meta/claims/   10                marks record 10 as a claim, so that pruning need not read records
//! ```
//!
//! [`claim`] itself may be late: between reading the log and creating the claim, the process may sleep while others
//! write and prune. Then it creates a claim under a pruned number. So it looks for a newer snapshot afterwards: a
//! record is pruned only after a snapshot that covers it is stored, and no snapshot covers a number that was free.

use std::collections::HashSet;
use std::time::{Duration, SystemTime};

use bytes::Bytes;

use super::create::{Creation, create};
use super::record::{self, RecordKind};
use super::snapshot;
use crate::error::{Result, StoreError};
use crate::objects::{ObjectStore, keys};

/// So many of the newest claims are never pruned.
const KEPT_CLAIMS: usize = 1_000;
/// No claim younger than this is pruned.
const KEPT_CLAIM_AGE: Duration = Duration::from_secs(24 * 60 * 60);

/// Whose claim a record is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Claim {
    /// Number of the record. It rises from each coordinator that leads to the next.
    pub epoch: u64,
    /// Where the coordinator can be reached; empty if it did not say.
    pub address: String,
}

/// Returns the newest claim; `None` in a log that was never claimed.
///
/// # Errors
/// When the store fails, or the claim is damaged.
pub async fn newest_claim(store: &ObjectStore) -> Result<Option<Claim>> {
    let marks = store.list(keys::CLAIMS).await?;
    // A mark is stored before its claim, so the claim of the newest marks may be missing.
    for mark in marks.iter().rev() {
        let Some(epoch) = keys::trailing_number(&mark.key) else {
            return Err(StoreError::corrupt(&*mark.key, "its name is not that of a claim"));
        };
        if let Some(writer) = record::read_writer(store, epoch).await? {
            let address = writer.split_once('@').map_or("", |(_, address)| address).to_owned();
            return Ok(Some(Claim { epoch, address }));
        }
    }
    Ok(None)
}

/// Makes the name of a writer. It is random, so that the writer's records differ from those of any other writer with the
/// same payload, and ends with the address.
pub(super) fn writer_name(address: &str) -> String {
    format!("{:032x}@{address}", rand::random::<u128>())
}

/// Tries to create the claim after record `last`. Returns whether `writer` leads now: no other writer can append any more.
///
/// It does not lead if a record appeared after `last`: then the log must be read again.
///
/// # Errors
/// When the store fails. The claim may exist then; it only keeps one record from being pruned.
pub(super) async fn claim(store: &ObjectStore, last: u64, writer: &str) -> Result<bool> {
    let seq = last + 1;
    // Before the claim: a claim without a mark could be pruned. A mark without a claim only keeps one record longer.
    store.put(&keys::claim(seq), Bytes::new()).await?;
    match create(store, seq, &encode(seq, writer)).await? {
        Creation::Ours => {}
        Creation::Taken(_) => return Ok(false),
    }
    let newest = snapshot::numbers(store).await?.pop();
    Ok(newest.is_none_or(|newest| newest < seq))
}

/// Encodes the claim. Its payload is an empty list of events, so that programs that know no claims can read it.
fn encode(seq: u64, writer: &str) -> Bytes {
    record::encode(seq, writer, RecordKind::Claim, b"[]")
}

/// Which claims pruning keeps, and which it removes with their marks.
pub(super) struct Claims {
    kept: HashSet<u64>,
    expired: Vec<u64>,
}

impl Claims {
    /// Lists the marks. List records before this: a claim that is among them has its mark then.
    pub(super) async fn list(store: &ObjectStore, now: SystemTime) -> Result<Self> {
        let marks = store.list(keys::CLAIMS).await?;
        let surplus = marks.len().saturating_sub(KEPT_CLAIMS);
        let mut claims = Claims {
            kept: HashSet::new(),
            expired: Vec::new(),
        };
        for (position, mark) in marks.iter().enumerate() {
            let Some(seq) = keys::trailing_number(&mark.key) else {
                continue;
            };
            let age = mark.modified.and_then(|modified| now.duration_since(modified).ok());
            if position < surplus && age.is_some_and(|age| age > KEPT_CLAIM_AGE) {
                claims.expired.push(seq);
            } else {
                claims.kept.insert(seq);
            }
        }
        Ok(claims)
    }

    /// Returns whether record `seq` must stay.
    pub(super) fn keep(&self, seq: u64) -> bool {
        self.kept.contains(&seq)
    }

    /// Returns the numbers of claims that may go, oldest first.
    pub(super) fn expired(&self) -> &[u64] {
        &self.expired
    }
}
