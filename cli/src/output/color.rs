//! The few meanings that have a colour.

use console::Style;

/// What a coloured word says. The word itself always says it too.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Tone {
    /// Done, or running as it should.
    Good,
    /// On its way.
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
