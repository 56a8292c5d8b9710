//! Connections to the port: their number, the time they may be silent, and the user at the other end.
//!
//! ```text
//!  port --accept--> register --spawn--> owner of the socket, TLS --> HTTP server
//!                      |                                               |
//!                      +------- sweeper: closes what is silent <-------+ (facts of each connection)
//! ```
//!
//! - [`accept`]: the loop that accepts connections. [`stream`]: the bytes of one.
//! - [`registry`]: all connections, and which one makes room for a new one. [`facts`]: the rules, as pure functions.
//! - [`socket_owner`]: the user at the other end of a connection within this machine.
//! - [`descriptors`]: the limit of open files.
//!
//! A connection whose caller is known may be silent for as long as it likes, as long as there is room. A connection of a
//! stranger is closed after a while without a call, and there are few of them at a time.

pub mod accept;
pub mod descriptors;
pub mod facts;
pub mod registry;
pub mod socket_owner;
pub mod stream;
