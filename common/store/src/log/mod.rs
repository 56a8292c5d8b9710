//! The metadata log: numbered records, each written once, and snapshots that bound what must be replayed.
//!
//! ```text
//!              covered by the snapshot          replayed at start
//! meta/log/    1  2  3  4  5  6  7  8  9  |  10  11  12     13 ← next number: created by one writer only
//! meta/snapshot/                       9
//! ```
//!
//! * `header`: the header line of the log's objects. `record`, `snapshot`: the two kinds of objects.
//! * [`MetaLog`]: the writing end; opens the log, appends records, and resolves appends that are in doubt.
//!
//! **The fence between two coordinators.** Record N is created with put-if-absent. While record N exists, no other
//! writer can create it: the second writer gets [`AppendError::Fenced`] at its next append and must stop, because its
//! state lacks a record. This holds for every record that has not been pruned. It does not hold for pruned records: a
//! writer whose next number is at or below the oldest kept snapshot finds that number free and creates it again. Such a
//! stale writer gets success for records that no later [`MetaLog::open`] reads, since the log is read from the newest
//! snapshot on; it is fenced only when its numbers reach a record that still exists. So a writer that may have slept
//! through a snapshot and a prune must open the log again before it continues; the log does not notice this by itself.
//!
//! On a backend without atomic conditional writes (`Capabilities::put_if_absent` is false) there is no fence at all.
//!
//! **An append that fails is in doubt**: the record may exist. The log then refuses appends until
//! [`MetaLog::resolve_in_doubt`] has found out.
//!
//! Damage (a record whose hash differs, a number that is missing while later ones exist) is an error that names the
//! object; nothing is skipped. The log does not know what its payloads mean.

mod header;
mod meta_log;
mod record;
mod snapshot;

pub use meta_log::{AppendError, AppendOutcome, MetaLog, OpenedLog};
pub use record::LogRecord;
pub use snapshot::Snapshot;
