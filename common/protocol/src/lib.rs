//! What coordinator and workers exchange: the objects they keep in the store and the messages they send.
//!
//! - [`objects`]: objects in the store. A job's plan ([`objects::JobPlan`]), its datum sets ([`objects::DatumSet`]),
//!   their results ([`objects::SetResult`]), the record of each datum ([`objects::DatumRecord`]) and log lines
//!   ([`objects::LogObject`]), with the functions that make their keys.
//! - [`messages`]: messages over the queue. Work ([`messages::SetMessage`]), set events, presence, live log lines,
//!   control.
//! - [`wire`]: the envelope around all of them, with kind and version.
//!
//! The crate holds types and their encoding. It opens no connection and reads no object: the store and the queue do
//! that. A reader refuses an unknown kind or version by name ([`wire::WireError`]).

pub mod messages;
pub mod objects;
pub mod wire;
