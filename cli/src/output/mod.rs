//! What commands show: tables, ages, sizes, machine forms, colours, the pager, progress.
//!
//! Everything here turns values into text or writes text somewhere; nothing here talks to a server.

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
