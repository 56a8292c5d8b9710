//! The wire API: protobuf messages, gRPC services, their JSON form, and a client.
//!
//! - [`pfs_v2`], [`pps_v2`] and the other packages: messages, clients and server traits, generated
//!   from `proto/`. The names and numbers are those of the Pachyderm 2.12 API, so that existing
//!   clients work unchanged.
//! - [`json`]: any message as canonical protobuf JSON, and back.
//! - [`address`], [`config`], [`client`]: which server to talk to, and talking to it.
//! - [`lend`]: letting a server on the same machine read a file instead of sending its bytes.
//! - [`convert`]: small constructors and conversions for times and names;
//!   [`pipeline`]: between a pipeline specification and the messages that carry one.
//!
//! Nothing here prints, decides or keeps state: servers and command lines do that.

pub mod address;
pub mod client;
pub mod config;
pub mod convert;
pub mod file_broker;
pub mod json;
pub mod pipeline;

mod generated {
    #![allow(missing_docs, clippy::all, clippy::pedantic)]
    include!(concat!(env!("OUT_DIR"), "/howdah_api.rs"));
}

pub use generated::*;

/// The largest gRPC message that either side accepts: 20 MiB.
pub const MAX_MESSAGE_BYTES: usize = 20 << 20;

/// The most file data put into one streamed message: 19 MiB, which leaves room for the frame.
pub const MAX_CHUNK_BYTES: usize = 19 << 20;

/// The port clients use when an address names none.
pub const DEFAULT_PORT: u16 = 30650;

/// The API version that the server says it has.
pub const API_VERSION: (u32, u32, u32) = (2, 12, 2);

/// Header of the answer to `GetVersion` with the version of Howdah itself; the message has no place for it that other
/// clients would not take for a part of the API's version.
pub const HOWDAH_VERSION_HEADER: &str = "howdah-version";
