//! Lists of messages: a table for people, JSON or YAML for programs.

use std::io::Write;

use prost::{Message, Name};

use super::printer::{Printer, PrinterOutput};
use super::raw::Raw;
use super::table::TextTable;
use crate::args::shared::Encoding;
use crate::error::CliError;

/// A list that is being printed.
#[derive(Debug)]
pub(crate) enum MessageList {
    /// For programs.
    Raw(Raw, PrinterOutput),
    /// For people.
    TextTable(TextTable<PrinterOutput>),
}

impl MessageList {
    /// Begins a list. A `paged` table goes through the pager if standard output is a terminal.
    pub(crate) fn begin(printer: &Printer, encoding: Option<Encoding>, header: &[&str], paged: bool) -> MessageList {
        match encoding {
            Some(encoding) => MessageList::Raw(Raw::new(encoding), printer.list(false)),
            None => MessageList::TextTable(TextTable::new(printer.list(paged), header)),
        }
    }

    /// Adds a message.
    pub(crate) fn push<M: Message + Name>(
        &mut self,
        message: &M,
        row: impl FnOnce(&M) -> Vec<String>,
    ) -> Result<(), CliError> {
        match self {
            MessageList::Raw(raw, out) => raw.message(out, message),
            MessageList::TextTable(table) => Ok(table.row(row(message))?),
        }
    }

    /// Writes the rows that are buffered; for lists without an end.
    pub(crate) fn flush(&mut self) -> Result<(), CliError> {
        match self {
            MessageList::Raw(_, out) => Ok(out.flush()?),
            MessageList::TextTable(table) => Ok(table.flush_rows()?),
        }
    }

    /// Ends the list.
    pub(crate) fn finish(self) -> Result<(), CliError> {
        match self {
            MessageList::Raw(_, out) => Ok(out.close()?),
            MessageList::TextTable(table) => Ok(table.finish()?.close()?),
        }
    }
}
