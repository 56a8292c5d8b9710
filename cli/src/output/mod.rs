//! Output of commands: tables, ages, sizes, machine forms, colours, the pager, progress, escapes for terminals.
//!
//! Modules here convert values to text, and [`printer`] writes text. Nothing here sends a request.

pub(crate) mod age;
pub(crate) mod color;
pub(crate) mod fields;
pub(crate) mod list;
pub(crate) mod pager;
pub(crate) mod printer;
pub(crate) mod progress;
pub(crate) mod raw;
pub(crate) mod size;
pub(crate) mod table;
pub(crate) mod terminal;
