//! Lists of messages: a table for people, messages for programs.

use std::io::Write;

use prost::{Message, Name};

use super::printer::{Output, Printer};
use super::raw::Raw;
use super::table::Table;
use crate::args::shared::Encoding;
use crate::error::CliError;

/// A list that is being printed.
#[derive(Debug)]
pub enum List {
    /// For programs.
    Raw(Raw, Output),
    /// For people.
    Table(Table<Output>),
}

impl List {
    /// Begins a list; `paged` lists go through the pager when a person is watching.
    pub fn begin(printer: &Printer, encoding: Option<Encoding>, header: &[&str], paged: bool) -> List {
        match encoding {
            Some(encoding) => List::Raw(Raw::new(encoding), printer.list(false)),
            None => List::Table(Table::new(printer.list(paged), header)),
        }
    }

    /// Adds a message.
    pub fn push<M: Message + Name>(
        &mut self,
        message: &M,
        row: impl FnOnce(&M) -> Vec<String>,
    ) -> Result<(), CliError> {
        match self {
            List::Raw(raw, out) => raw.message(out, message),
            List::Table(table) => Ok(table.row(row(message))?),
        }
    }

    /// Writes what is held back; for lists without an end.
    pub fn flush(&mut self) -> Result<(), CliError> {
        match self {
            List::Raw(_, out) => Ok(out.flush()?),
            List::Table(table) => Ok(table.flush_rows()?),
        }
    }

    /// Ends the list.
    pub fn finish(self) -> Result<(), CliError> {
        match self {
            List::Raw(_, out) => Ok(out.close()?),
            List::Table(table) => Ok(table.finish()?.close()?),
        }
    }
}
