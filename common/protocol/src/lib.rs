//! The protocol between coordinator and workers: the objects they keep in the store and the messages they send.
//!
//! - [`objects`]: objects in the store. A job's plan ([`objects::JobPlan`]), its datum sets ([`objects::DatumSet`]),
//!   their results ([`objects::SetResult`]), the record of each datum ([`objects::DatumRecord`]) and log lines
//!   ([`objects::LogObject`]), with the functions that make their keys.
//! - [`messages`]: messages over the queue. Datum sets ([`messages::SetMessage`]), set events, presence, live log
//!   lines, control, image references.
//! - [`bounded_log`]: log lines within limits, as workers keep them for the store and the coordinator until they are
//!   stored.
//! - [`installation`]: the id and the key that all messages of one installation share.
//! - [`wire`]: the envelope around all of them, with kind and version.
//!
//! What can go wrong: bytes are of another kind, of an unknown version, or damaged ([`wire::WireError`]). The error
//! names the kind.
//!
//! The crate holds types, their encoding and their limits. It opens no connection and reads no object: `howdah-queue`
//! and `howdah-store` do that.

pub mod bounded_log;
pub mod installation;
pub mod messages;
pub mod objects;
#[cfg(feature = "test-util")]
pub mod testing;
pub mod wire;
