//! Leader and standby: of all coordinators over one store, one leads.
//!
//! ```text
//!            claims the log                      another claims the log,
//!            (the leader is silent,              or this one finds that out
//!             or there is none)
//!  standby ------------------------> leader ------------------------------> standby
//!     |                                 |
//!     | forwards every call             | answers calls, drives jobs
//! ```
//!
//! - [`role`]: what this coordinator is at the moment, for the server.
//! - [`standby`]: reads the log, asks the leader every half second whether it is there, and claims the log when it is silent.
//! - [`lease`]: while this coordinator leads, checks every second that it still does.
//! - [`probe`]: the question and its answer, over HTTP.
//! - [`peer_key`]: the secret by which coordinators over one store know each other.
//! - [`forward`]: sends a call to the leader and its answer back.
//!
//! **Safety comes from the log alone**: a claim ends the right of every earlier coordinator to append. Silence is only the
//! reason to claim; a leader that is wrongly thought dead is deposed, and nothing is lost. A coordinator that has been deposed
//! finds out at its next append, at the next check of the lease, or from a message that carries a higher epoch, and stops
//! everything that it does as a leader.

pub mod forward;
pub mod lease;
pub mod peer_key;
pub mod probe;
pub mod role;
pub mod standby;
