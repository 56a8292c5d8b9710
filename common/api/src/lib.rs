//! The API of the server: protobuf messages, gRPC services, their JSON form, and a client.
//!
//! - [`pfs_v2`], [`pps_v2`] and the other packages: messages, clients and server traits, generated
//!   from `proto/`. The names and numbers are those of the Pachyderm 2.12 API, so that existing
//!   clients work unchanged.
//! - [`json`]: any message as canonical protobuf JSON, and back.
//! - [`address`], [`config`]: the server that a client connects to; [`client`]: the connection;
//!   [`retry`]: repeating calls while another coordinator takes over; [`codec`]: how messages are encoded.
//! - [`file_broker`]: passing an open file to a server on the same machine instead of its bytes.
//! - [`convert`]: small constructors, and conversions of times and names;
//!   [`pipeline`]: conversions between pipeline specs and messages.
//!
//! What can go wrong: [`address::AddressError`], [`config::ConfigError`], [`client::ClientError`] and
//! [`json::JsonError`]. The texts of the first three are for users.
//!
//! The crate prints nothing and contains no business rules: those are in the servers and in the command line.

pub mod address;
pub mod client;
pub mod codec;
pub mod config;
pub mod convert;
pub mod file_broker;
pub mod json;
pub mod pipeline;
pub mod retry;

mod generated {
    #![allow(missing_docs, clippy::all, clippy::pedantic)]
    include!(concat!(env!("OUT_DIR"), "/howdah_api.rs"));
}

pub use generated::*;

/// Largest gRPC message that either side accepts: 20 MiB.
pub const MAX_MESSAGE_BYTES: usize = 20 << 20;

/// Most file data in one streamed message: 19 MiB, which leaves room for the other fields.
pub const MAX_CHUNK_BYTES: usize = 19 << 20;

/// Port of an address without one.
pub const DEFAULT_PORT: u16 = 30650;

/// Version of the API, as the server reports it.
pub const API_VERSION: (u32, u32, u32) = (2, 12, 2);

/// Header of the answer to `GetVersion`: the version of Howdah. The message has no field for it that other clients
/// would not read as a part of the API version.
pub const HOWDAH_VERSION_HEADER: &str = "howdah-version";
