//! Pipeline specifications: from the bytes a user writes to one validated type, and back.
//!
//! The way of a spec through this crate:
//!
//! ```text
//! text ── split ──► Node trees ── legacy ──► current form ── decode ──► canonical JSON  (the user spec)
//!                   (with lines)             (warnings)                      │ merge over defaults, fill in
//!                                                                            ▼
//!                                             to_json ◄── validate ──── PipelineSpec    (the effective spec)
//! ```
//!
//! * [`parse`] reads a whole source: JSON, YAML, several specs, every historic shape.
//! * [`effective`] and [`from_effective`] put a user spec over the defaults and give the typed result.
//! * [`validate`] checks every rule that needs no knowledge of a running system; [`unsupported`] names the
//!   fields that are understood but do not work yet.
//! * [`cron`], [`duration`] and [`quantity`] hold the small languages used inside a spec.
//!
//! The crate is pure: no files, no network, no clock. It does not know whether a repository exists. (One
//! exception: zones named in cron expressions are looked up in the system's time zone database.)

pub mod cron;
mod decode;
mod defaults;
pub mod duration;
mod error;
mod json;
mod legacy;
mod node;
mod number;
mod options;
mod parse;
mod print;
pub mod quantity;
mod schema;
mod split;
mod types;
mod validate;
mod yaml;

pub use defaults::{check_defaults, effective, from_effective, parse_defaults};
pub use error::{Problem, SpecError};
pub use options::ParseOptions;
pub use parse::{ParsedSpec, parse};
pub use print::{to_json, to_text};
pub use types::*;
pub use validate::{unsupported, validate};
