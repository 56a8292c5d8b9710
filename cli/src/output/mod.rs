//! Output of commands: tables, ages, sizes, machine forms, colours, the pager, progress, escapes for terminals.
//!
//! Modules here convert values to text, and [`printer`] writes text. Nothing here sends a request.

pub mod age;
pub mod color;
pub mod fields;
pub mod list;
pub mod pager;
pub mod printer;
pub mod progress;
pub mod raw;
pub mod size;
pub mod table;
pub mod terminal;
