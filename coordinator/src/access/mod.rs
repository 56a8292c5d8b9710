//! Who may call: the one layer through which every request passes before it is answered or forwarded.
//!
//! ```text
//!  request --> host of this server? --> page: answered
//!                                   --> gRPC over HTTP/2, no web page? --> rule of the method --> caller --> answered
//! ```
//!
//! - [`gate`]: the layer. [`request_form`]: what a request must look like, against web pages.
//! - [`table`]: the rule of each method. [`hosts`]: the names of this server.
//! - [`tokens`]: the tokens and their owners. [`callers`]: finds the caller of a connection.
//! - [`body`]: bounds the silence of a client in the middle of a call, and notes the end of the call.

pub mod body;
pub mod callers;
pub mod gate;
pub mod hosts;
pub mod request_form;
pub mod table;
pub mod tokens;
