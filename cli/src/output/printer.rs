//! The only place of this program that writes to standard output and standard error.
//!
//! Results go to standard output; warnings, questions, progress and errors go to standard error. The printer decides
//! once, at the start, whether standard output may carry colours and whether a pager may run.

use std::io::{self, BufWriter, IsTerminal, Stdout, StdoutLock, Write};

use super::color::{self, Tone};
use super::pager::{self, Pager};

/// Writes results to standard output and everything else to standard error.
#[derive(Debug, Clone, Copy)]
pub struct Printer {
    /// Whether standard output may carry colour codes.
    pub colored: bool,
    /// Whether standard output is a terminal.
    pub stdout_terminal: bool,
    /// Whether standard error is a terminal.
    pub stderr_terminal: bool,
}

impl Printer {
    /// Decides by the flag, the environment and the streams.
    pub fn detect(no_color: bool) -> Printer {
        let stdout_terminal = io::stdout().is_terminal();
        let refused = no_color || std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
        let dumb = std::env::var_os("TERM").is_some_and(|value| value == "dumb");
        Printer {
            colored: stdout_terminal && !refused && !dumb,
            stdout_terminal,
            stderr_terminal: io::stderr().is_terminal(),
        }
    }

    /// Colours a word if colours are on.
    pub fn paint(&self, text: &str, tone: Tone) -> String {
        color::paint(text, tone, self.colored)
    }

    /// Prints one line of a result.
    pub fn line(&self, text: impl AsRef<str>) -> io::Result<()> {
        writeln!(io::stdout(), "{}", text.as_ref())
    }

    /// Prints text of a result as it is.
    pub fn text(&self, text: impl AsRef<str>) -> io::Result<()> {
        let mut out = io::stdout();
        out.write_all(text.as_ref().as_bytes())?;
        out.flush()
    }

    /// Returns standard output for a result of bytes, or for a result that is longer than memory.
    pub fn bytes(&self) -> StdoutLock<'static> {
        io::stdout().lock()
    }

    /// Prints a line on standard error.
    pub fn note(&self, text: impl AsRef<str>) {
        // An error here means that standard error is closed: no stream is left to report it on.
        let _ = writeln!(io::stderr(), "{}", text.as_ref());
    }

    /// Prints a question on standard error and leaves the cursor behind it.
    pub fn ask(&self, question: &str) {
        let mut errors = io::stderr();
        // With standard error closed the question is invisible; the answer still counts.
        let _ = write!(errors, "{question}").and_then(|()| errors.flush());
    }

    /// Opens standard output for a list. A `paged` list goes through the pager if standard output is a terminal.
    pub fn list(&self, paged: bool) -> PrinterOutput {
        if paged {
            let wish = std::env::var("PAGER").ok();
            let words = pager::choose(wish.as_deref(), self.stdout_terminal, pager::in_path);
            if let Some(pager) = words.and_then(|words| Pager::start(&words)) {
                return PrinterOutput::Pager(pager);
            }
        }
        PrinterOutput::Plain(BufWriter::new(io::stdout()))
    }
}

/// Where a list is written to.
#[derive(Debug)]
pub enum PrinterOutput {
    /// Standard output.
    Plain(BufWriter<Stdout>),
    /// A pager.
    Pager(Pager),
}

impl PrinterOutput {
    /// Writes what is buffered and waits until the pager, if there is one, has ended.
    pub fn close(self) -> io::Result<()> {
        match self {
            PrinterOutput::Plain(mut out) => out.flush(),
            PrinterOutput::Pager(pager) => pager.wait(),
        }
    }
}

impl Write for PrinterOutput {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            PrinterOutput::Plain(out) => out.write(bytes),
            PrinterOutput::Pager(pager) => pager.write(bytes),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        match self {
            PrinterOutput::Plain(out) => out.flush(),
            PrinterOutput::Pager(pager) => pager.flush(),
        }
    }
}
