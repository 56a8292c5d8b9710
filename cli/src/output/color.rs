//! The meanings that have a colour.

use console::Style;

/// The meaning of a coloured word. The word alone has the same meaning: colours add no information.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Tone {
    /// Finished without error, or running normally.
    Good,
    /// In progress.
    Busy,
    /// Failed.
    Bad,
}

/// Paints text when colours are on.
pub fn paint(text: &str, tone: Tone, colored: bool) -> String {
    if !colored {
        return text.to_owned();
    }
    let style = match tone {
        Tone::Good => Style::new().green(),
        Tone::Busy => Style::new().yellow(),
        Tone::Bad => Style::new().red(),
    };
    style.force_styling(true).apply_to(text).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn plain_text_stays_plain() {
        assert_eq!(paint("success", Tone::Good, false), "success");
        assert_eq!(paint("success", Tone::Good, true), "\u{1b}[32msuccess\u{1b}[0m");
    }
}
