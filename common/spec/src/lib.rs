//! Pipeline specifications: from the text of a user to one validated type, and back.
//!
//! The path of a spec through this crate:
//!
//! ```text
//! text ── split ──► source nodes ── legacy ──► current form ── decode ──► canonical JSON  (the user spec)
//!                   (positions)                (warnings)                      │ merge over defaults, fill in
//!                                                                              ▼
//!                                               to_json ◄── validate ──── PipelineSpec    (the effective spec)
//! ```
//!
//! * [`parse`] reads a whole source: JSON, YAML, several specs, all forms since 1.0.
//! * [`effective`] and [`from_effective`] merge a user spec over the defaults and return the typed result.
//! * [`validate`] checks all rules that do not depend on a running system; [`unsupported`] returns the fields that
//!   are accepted but not implemented.
//! * [`from_yaml`] and [`to_yaml`] read and print YAML documents that are not specs.
//! * [`cron`], [`duration`] and [`quantity`] parse the notations inside a spec.
//!
//! Every mistake is a [`SpecError`] with its position in the source. The crate is pure: no files, no network, no
//! clock; it does not know which repositories exist. One exception: a schedule with a time zone reads the time zone
//! database of the system.
//!
//! A file imports only from files later in this list: `parse`, `defaults`, `legacy`,
//! `split`, `decode`, `validate`, `print`, `types`, `schema`, `document`, `yaml`, `json`, `number`, `cron`, `quantity`,
//! `duration`, `error`, `node`, `options`.

pub mod cron;
mod decode;
mod defaults;
mod document;
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
pub use document::{from_yaml, to_yaml};
pub use error::{Problem, SpecError};
pub use options::ParseOptions;
pub use parse::{ParsedSpec, parse};
pub use print::{to_json, to_text};
pub use types::*;
pub use validate::{unsupported, validate};
