//! The pager for long lists on a terminal.

use std::io::{self, Write};
use std::path::Path;
use std::process::{Child, Command, Stdio};

/// Decides which pager to run: none unless standard output is a terminal.
///
/// `find` returns whether a program with this name can be run.
pub(crate) fn choose(pager: Option<&str>, terminal: bool, find: impl Fn(&str) -> bool) -> Option<Vec<String>> {
    if !terminal {
        return None;
    }
    let words: Vec<String> = match pager {
        Some(text) => text.split_whitespace().map(str::to_owned).collect(),
        None => vec!["less".to_owned(), "-RFX".to_owned()],
    };
    let program = words.first()?;
    (program != "cat" && find(program)).then_some(words)
}

/// Returns whether a program of that name is in `PATH`, or is itself a path to a file.
pub(crate) fn in_path(program: &str) -> bool {
    if program.contains('/') {
        return Path::new(program).is_file();
    }
    std::env::var_os("PATH")
        .is_some_and(|path| std::env::split_paths(&path).any(|folder| folder.join(program).is_file()))
}

/// A running pager, which shows the text that is written to it.
#[derive(Debug)]
pub(crate) struct Pager {
    child: Child,
}

impl Pager {
    /// Starts a pager; none if it cannot be started, in which case the list is printed without one.
    pub(crate) fn start(words: &[String]) -> Option<Pager> {
        let (program, arguments) = words.split_first()?;
        let child = Command::new(program)
            .args(arguments)
            .stdin(Stdio::piped())
            .spawn()
            .ok()?;
        Some(Pager { child })
    }

    /// Closes the pager's input and waits until the user quits it.
    pub(crate) fn wait(mut self) -> io::Result<()> {
        drop(self.child.stdin.take());
        self.child.wait().map(|_| ())
    }
}

impl Write for Pager {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match &mut self.child.stdin {
            Some(pipe) => pipe.write(bytes),
            None => Ok(bytes.len()),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        match &mut self.child.stdin {
            Some(pipe) => pipe.flush(),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pager_needs_a_terminal_and_a_program() {
        let all = |_: &str| true;
        let words = |text: &[&str]| Some(text.iter().map(|word| (*word).to_owned()).collect::<Vec<_>>());
        assert_eq!(choose(None, true, all), words(&["less", "-RFX"]));
        assert_eq!(choose(Some("more -s"), true, all), words(&["more", "-s"]));
        assert_eq!(choose(None, false, all), None);
        assert_eq!(choose(None, true, |_| false), None);
        assert_eq!(choose(Some(""), true, all), None);
        assert_eq!(choose(Some("cat"), true, all), None);
    }
}
