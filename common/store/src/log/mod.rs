//! The metadata log: numbered records, each written once, and snapshots that bound what must be replayed.
//!
//! ```text
//!              covered by the snapshot          replayed at start
//! meta/log/    1  2  3  4  5  6  7  8  9  |  10  11  12     13 ← next number: created by one writer only
//! meta/snapshot/                       9
//! ```
//!
//! * `header`: the header line of the log's objects. `record`, `snapshot`: the two kinds of objects.
//! * `create`: creates one record under its number. `claim`: the records by which a writer takes over.
//! * `read`: [`LogContents`], a snapshot and the records after it. `prune`: removes what no start needs.
//! * `check`: every object of the log compared with its hash.
//! * [`MetaLog`]: the writing end; claims the log, appends records, and resolves appends that are in doubt.
//!
//! **The fence between two coordinators.** Record N is created with put-if-absent, and a writer creates its records one
//! after the other. A successor creates a claim as its first record, under the first number that its predecessor has
//! not used, and claims are not pruned. So the predecessor's next append, however late, finds its number taken, gets
//! [`AppendError::Fenced`] and must stop. `claim` says which claims are pruned after all: a writer that sleeps for more
//! than a day, and through more than a thousand successors, is not fenced.
//!
//! On a backend without atomic conditional writes (`Capabilities::put_if_absent` is false) there is no fence at all.
//!
//! **An append that fails is in doubt**: the record may exist. The log then refuses appends until
//! [`MetaLog::resolve_in_doubt`] has found out.
//!
//! Damage (a record whose hash differs, a number that is missing while later ones exist) is an error that names the
//! object; nothing is skipped. The log does not know what its payloads mean.

mod check;
mod claim;
mod create;
#[cfg(fuzzing)]
pub(crate) mod fuzzing;
mod header;
mod meta_log;
mod prune;
mod read;
mod record;
mod snapshot;

pub(crate) use check::check;
pub use claim::{Claim, newest_claim};
pub use meta_log::{AppendError, AppendOutcome, Leadership, MetaLog, OpenedLog};
pub use read::LogContents;
pub use record::LogRecord;
pub use snapshot::Snapshot;
