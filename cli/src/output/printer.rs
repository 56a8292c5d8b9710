//! The only place of this program that writes to standard output and standard error.
//!
//! Results go to standard output; warnings, questions, progress and errors go to standard error. The printer decides
//! once, at the start, whether standard output may carry colours and whether a pager may run. What it writes to a terminal
//! has its control characters escaped ([`super::terminal`]); only the content of files is written as it is.

use std::borrow::Cow;
use std::io::{self, BufWriter, IsTerminal, Stdout, StdoutLock, Write};

use super::color::{self, Tone};
use super::pager::{self, Pager};
use super::terminal::{self, Colors};

/// Writes results to standard output and everything else to standard error.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Printer {
    /// Whether standard output may carry colour codes.
    pub colored: bool,
    /// Whether standard output is a terminal.
    pub stdout_terminal: bool,
    /// Whether standard error is a terminal.
    pub stderr_terminal: bool,
}

impl Printer {
    /// Decides by the flag, the environment and the streams.
    pub(crate) fn detect(no_color: bool) -> Printer {
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
    pub(crate) fn paint(&self, text: &str, tone: Tone) -> String {
        color::paint(text, tone, self.colored)
    }

    /// Prints one line of a result.
    pub(crate) fn line(&self, text: impl AsRef<str>) -> io::Result<()> {
        writeln!(io::stdout(), "{}", self.for_stdout(text.as_ref()))
    }

    /// Prints text of a result, without a newline at its end.
    pub(crate) fn text(&self, text: impl AsRef<str>) -> io::Result<()> {
        let mut out = io::stdout();
        out.write_all(self.for_stdout(text.as_ref()).as_bytes())?;
        out.flush()
    }

    /// Returns standard output for the content of files, which is never changed.
    pub(crate) fn bytes(&self) -> StdoutLock<'static> {
        io::stdout().lock()
    }

    /// Prints a line on standard error.
    pub(crate) fn note(&self, text: impl AsRef<str>) {
        // An error here means that standard error is closed: no stream is left to report it on.
        let _ = writeln!(io::stderr(), "{}", self.for_stderr(text.as_ref()));
    }

    /// Prints a question on standard error and leaves the cursor behind it.
    pub(crate) fn ask(&self, question: &str) {
        let mut errors = io::stderr();
        // With standard error closed the question is invisible; the answer still counts.
        let _ = write!(errors, "{}", self.for_stderr(question)).and_then(|()| errors.flush());
    }

    fn for_stdout<'a>(&self, text: &'a str) -> Cow<'a, str> {
        if self.stdout_terminal {
            terminal::escape(text, Colors::Own)
        } else {
            Cow::Borrowed(text)
        }
    }

    fn for_stderr<'a>(&self, text: &'a str) -> Cow<'a, str> {
        if self.stderr_terminal {
            terminal::escape(text, Colors::Own)
        } else {
            Cow::Borrowed(text)
        }
    }

    /// Opens standard output for the output of a program that colours, see [`Printer::list`].
    pub(crate) fn colored_list(&self, paged: bool) -> PrinterOutput {
        PrinterOutput {
            escape: self.stdout_terminal.then_some(Colors::All),
            ..self.list(paged)
        }
    }

    /// Opens standard output for a list. A `paged` list goes through the pager if standard output is a terminal.
    pub(crate) fn list(&self, paged: bool) -> PrinterOutput {
        if paged {
            let wish = std::env::var("PAGER").ok();
            let words = pager::choose(wish.as_deref(), self.stdout_terminal, pager::in_path);
            if let Some(pager) = words.and_then(|words| Pager::start(&words)) {
                return PrinterOutput::new(Sink::Pager(pager), self.stdout_terminal);
            }
        }
        PrinterOutput::new(Sink::Plain(BufWriter::new(io::stdout())), self.stdout_terminal)
    }
}

/// Where a list is written to. Each write must hold whole characters.
#[derive(Debug)]
pub(crate) struct PrinterOutput {
    sink: Sink,
    /// Set if the text ends on a terminal.
    escape: Option<Colors>,
}

#[derive(Debug)]
enum Sink {
    /// Standard output.
    Plain(BufWriter<Stdout>),
    /// A pager.
    Pager(Pager),
}

impl PrinterOutput {
    fn new(sink: Sink, on_terminal: bool) -> Self {
        let escape = on_terminal.then_some(Colors::Own);
        Self { sink, escape }
    }

    /// Writes what is buffered and waits until the pager, if there is one, has ended.
    pub(crate) fn close(self) -> io::Result<()> {
        match self.sink {
            Sink::Plain(mut out) => out.flush(),
            Sink::Pager(pager) => pager.wait(),
        }
    }
}

impl Write for Sink {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Sink::Plain(out) => out.write(bytes),
            Sink::Pager(pager) => pager.write(bytes),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        match self {
            Sink::Plain(out) => out.flush(),
            Sink::Pager(pager) => pager.flush(),
        }
    }
}

impl Write for PrinterOutput {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let Some(colors) = self.escape else {
            return self.sink.write(bytes);
        };
        let text = String::from_utf8_lossy(bytes);
        self.sink.write_all(terminal::escape(&text, colors).as_bytes())?;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.sink.flush()
    }
}
