//! [`LeftOut`]: what a program leaves out, counted and named for a message.

use std::fmt;
use std::fs::FileType;
use std::os::unix::fs::FileTypeExt;

/// Names that are kept; further ones are only counted.
const NAMED: usize = 5;

/// Things that a program leaves out: their number, and the names of the first of them.
///
/// Formatted, it is the end of a sentence: `a/link (symbolic link), a/pipe (named pipe) and 7 more`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct LeftOut {
    count: u64,
    named: Vec<String>,
}

impl LeftOut {
    /// Adds one thing: its name and why it is left out, such as its kind.
    ///
    /// Control characters in the name are escaped: file names come from strangers and may hold codes for a terminal.
    pub fn add(&mut self, name: &str, why: &str) {
        if self.named.len() < NAMED {
            let mut text = String::with_capacity(name.len() + why.len() + 3);
            for c in name.chars() {
                match c.is_control() {
                    true => text.extend(c.escape_default()),
                    false => text.push(c),
                }
            }
            self.named.push(format!("{text} ({why})"));
        }
        self.count += 1;
    }

    /// Adds things without a name.
    pub fn add_unnamed(&mut self, count: u64) {
        self.count = self.count.saturating_add(count);
    }

    /// Adds all that another part of the work has left out.
    pub fn merge(&mut self, other: LeftOut) {
        let room = NAMED - self.named.len();
        self.named.extend(other.named.into_iter().take(room));
        self.add_unnamed(other.count);
    }

    /// Returns the number of things.
    #[must_use]
    pub fn count(&self) -> u64 {
        self.count
    }

    /// Tells whether nothing was left out.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.count == 0
    }
}

impl fmt::Display for LeftOut {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.named.join(", "))?;
        match self.count - self.named.len() as u64 {
            0 => Ok(()),
            more if self.named.is_empty() => write!(f, "{more} without a name"),
            more => write!(f, " and {more} more"),
        }
    }
}

/// Returns the name of a kind of file, for messages.
#[must_use]
pub fn kind_of_file(kind: FileType) -> &'static str {
    if kind.is_file() {
        "file"
    } else if kind.is_dir() {
        "folder"
    } else if kind.is_symlink() {
        "symbolic link"
    } else if kind.is_fifo() {
        "named pipe"
    } else if kind.is_socket() {
        "socket"
    } else if kind.is_block_device() {
        "block device"
    } else if kind.is_char_device() {
        "character device"
    } else {
        "special file"
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_names_are_kept_and_all_are_counted() {
        let mut left_out = LeftOut::default();
        assert!(left_out.is_empty());
        left_out.add("a", "socket");
        assert_eq!(left_out.to_string(), "a (socket)");
        for number in 0..NAMED {
            left_out.add(&number.to_string(), "link");
        }
        let mut all = LeftOut::default();
        all.add("\u{1b}[2Jx\ny", "named pipe");
        all.merge(left_out);
        all.add_unnamed(10);
        assert_eq!(all.count(), NAMED as u64 + 12);
        let text = all.to_string();
        assert!(
            text.starts_with("\\u{1b}[2Jx\\ny (named pipe), a (socket), 0 (link), "),
            "{text}"
        );
        assert!(text.ends_with(" and 12 more"), "{text}");
    }
}
