//! The meanings that have a colour.
//!
//! A coloured word is marked here, and the printer turns the marks into colour codes when it writes to a terminal
//! ([`super::terminal`]). So a code that comes from anywhere else, such as a log line, is not one of this program.

/// The meaning of a coloured word. The word alone has the same meaning: colours add no information.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Tone {
    /// Finished without error, or running normally.
    Good,
    /// In progress.
    Busy,
    /// Failed.
    Bad,
}

// Characters that no text has: Unicode reserves them for the inside of programs.
const GOOD: char = '\u{fdd0}';
const BUSY: char = '\u{fdd1}';
const BAD: char = '\u{fdd2}';
const END: char = '\u{fdd3}';

/// Marks text as coloured when colours are on.
pub(crate) fn paint(text: &str, tone: Tone, colored: bool) -> String {
    if !colored {
        return text.to_owned();
    }
    let begin = match tone {
        Tone::Good => GOOD,
        Tone::Busy => BUSY,
        Tone::Bad => BAD,
    };
    format!("{begin}{text}{END}")
}

/// Returns the terminal code for a mark, or `None` if the character is not a mark.
pub(crate) fn code(mark: char) -> Option<&'static str> {
    match mark {
        GOOD => Some("\u{1b}[32m"),
        BUSY => Some("\u{1b}[33m"),
        BAD => Some("\u{1b}[31m"),
        END => Some("\u{1b}[0m"),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn plain_text_stays_plain() {
        assert_eq!(paint("success", Tone::Good, false), "success");
        let painted = paint("success", Tone::Good, true);
        let (first, last) = (painted.chars().next().unwrap(), painted.chars().last().unwrap());
        assert_eq!(
            (code(first), code(last), code('s')),
            (Some("\u{1b}[32m"), Some("\u{1b}[0m"), None)
        );
    }
}
