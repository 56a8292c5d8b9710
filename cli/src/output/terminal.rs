//! Text for a terminal: control characters are escaped, marks of colours become codes.
//!
//! Log lines, names, reasons and descriptions come from user code and from other users. A terminal obeys control codes in
//! them: they can change its title, move the cursor over earlier output, or type. So each control character except newline
//! and tab is shown as `\u001b`, and so are characters that reverse the direction of text. This form is also valid in
//! JSON strings.
//!
//! Only what goes to a terminal is changed: a file or a pipe gets the text as it is.

use std::borrow::Cow;
use std::fmt::Write;

use super::color;

/// Which colour codes in a text stay.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Colors {
    /// Those that this program marked.
    Own,
    /// Those, and codes for colours in the text: it is the output of a program that colours.
    All,
}

/// Returns a text as a terminal should get it.
pub(crate) fn escape(text: &str, colors: Colors) -> Cow<'_, str> {
    let Some(first) = text.find(|c| is_control(c) || color::code(c).is_some()) else {
        return Cow::Borrowed(text);
    };
    let (plain, rest) = text.split_at(first);
    let mut shown = plain.to_owned();
    let mut rest = rest.chars();
    while let Some(c) = rest.next() {
        if let Some(code) = color::code(c) {
            shown.push_str(code);
        } else if !is_control(c) {
            shown.push(c);
        } else if let Some(length) = color_code(c, rest.as_str()).filter(|_| colors == Colors::All) {
            let (code, after) = rest.as_str().split_at(length);
            shown.push(c);
            shown.push_str(code);
            rest = after.chars();
        } else {
            // Writing to a string cannot fail.
            let _ = write!(shown, "\\u{:04x}", u32::from(c));
        }
    }
    Cow::Owned(shown)
}

/// Returns whether a character must not reach a terminal.
fn is_control(c: char) -> bool {
    match c {
        '\n' | '\t' => false,
        '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' => true,
        _ => c.is_control(),
    }
}

/// Returns how many bytes of `rest` form a code for colours together with the character before it.
fn color_code(c: char, rest: &str) -> Option<usize> {
    if c != '\u{1b}' {
        return None;
    }
    let numbers = rest.strip_prefix('[')?;
    let end = numbers.find(|c: char| !c.is_ascii_digit() && c != ';')?;
    numbers[end..].starts_with('m').then_some(end + 2)
}

#[cfg(test)]
mod tests {
    use super::super::color::{Tone, paint};
    use super::*;

    #[test]
    fn codes_of_others_are_escaped_and_own_colours_stay() {
        let text = format!(
            "{}\tname\u{1b}]0;title\u{7}\u{1b}[31mred\r\u{9b}2J\u{202e}x\u{7f}\nline",
            paint("ok", Tone::Good, true)
        );
        assert_eq!(
            escape(&text, Colors::Own),
            "\u{1b}[32mok\u{1b}[0m\tname\\u001b]0;title\\u0007\\u001b[31mred\\u000d\\u009b2J\\u202ex\\u007f\nline"
        );
        assert!(matches!(escape("plain ü\n", Colors::Own), Cow::Borrowed(_)));
    }

    #[test]
    fn the_output_of_a_colouring_program_keeps_colours_only() {
        let text = "\u{1b}[1;31m-old\u{1b}[m\u{1b}[2J\u{1b}[\u{1b}";
        assert_eq!(
            escape(text, Colors::All),
            "\u{1b}[1;31m-old\u{1b}[m\\u001b[2J\\u001b[\\u001b"
        );
    }

    #[test]
    fn json_stays_json() {
        let json = serde_json::json!({"name": "a\u{1b}b\u{9b}c\u{202e}"});
        let shown = escape(&json.to_string(), Colors::Own).into_owned();
        assert!(!shown.chars().any(is_control));
        assert_eq!(serde_json::from_str::<serde_json::Value>(&shown).unwrap(), json);
    }
}
