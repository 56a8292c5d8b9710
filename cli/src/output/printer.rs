//! The one value that knows where text goes and whether it may be coloured.

use std::io::{self, BufWriter, IsTerminal, Stdout, Write};

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
    /// Decides from the flag, the environment and the streams.
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

    /// Prints a warning or a remark on standard error.
    pub fn note(&self, text: impl AsRef<str>) {
        // Nobody can be told that standard error is gone.
        let _ = writeln!(io::stderr(), "{}", text.as_ref());
    }

    /// Opens standard output for a list, through the pager if a person is watching.
    pub fn list(&self, paged: bool) -> Output {
        if paged {
            let wish = std::env::var("PAGER").ok();
            let words = pager::choose(wish.as_deref(), self.stdout_terminal, pager::in_path);
            if let Some(pager) = words.and_then(|words| Pager::start(&words)) {
                return Output::Pager(pager);
            }
        }
        Output::Plain(BufWriter::new(io::stdout()))
    }
}

/// Where a list is written to.
#[derive(Debug)]
pub enum Output {
    /// Standard output.
    Plain(BufWriter<Stdout>),
    /// A pager.
    Pager(Pager),
}

impl Output {
    /// Writes what is left and waits for the pager, if there is one.
    pub fn close(self) -> io::Result<()> {
        match self {
            Output::Plain(mut out) => out.flush(),
            Output::Pager(pager) => pager.wait(),
        }
    }
}

impl Write for Output {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Output::Plain(out) => out.write(bytes),
            Output::Pager(pager) => pager.write(bytes),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        match self {
            Output::Plain(out) => out.flush(),
            Output::Pager(pager) => pager.flush(),
        }
    }
}
