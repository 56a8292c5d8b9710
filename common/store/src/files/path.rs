//! The rules of paths.

/// Why a path cannot be written to.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PathError {
    /// It has a character that is not printable ASCII.
    #[error("path {path:?} invalid: only printable ASCII characters allowed, found {found:?}")]
    NotPrintable {
        /// The path.
        path: String,
        /// The first such character.
        found: char,
    },
    /// It has a character with a meaning in globs or references.
    #[error("path {path:?} invalid: character {found:?} not allowed in path")]
    Forbidden {
        /// The path.
        path: String,
        /// The first such character.
        found: char,
    },
    /// It has an element `.` or `..`.
    #[error("path {path:?} invalid: element {element:?} not allowed in path")]
    Dots {
        /// The path.
        path: String,
        /// The element.
        element: String,
    },
    /// It, or an element of it, is longer than file systems allow.
    #[error("path {path:?} invalid: paths have at most 4,095 bytes and their elements at most 255")]
    TooLong {
        /// The path.
        path: String,
    },
    /// It names the root, which is always a directory.
    #[error("path {path:?} invalid: it names the root directory, a file needs a name")]
    Root {
        /// The path as given.
        path: String,
    },
}

/// Which characters are allowed in paths.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum PathRules {
    /// Printable ASCII without `* ? [ ] { } ! ( ) @ + ^`.
    #[default]
    Strict,
    /// Any text without control characters. Globs must escape their special characters.
    Relaxed,
}

const MAX_PATH: usize = 4095;
const MAX_ELEMENT: usize = 255;
const FORBIDDEN: &str = "*?[]{}!()@+^";

/// Returns a path in its clean form: a slash at the begin, single slashes, none at the end. The root is `/`.
#[must_use]
pub fn clean_path(path: &str) -> String {
    let mut clean = String::with_capacity(path.len() + 1);
    for element in path.split('/').filter(|element| !element.is_empty()) {
        clean.push('/');
        clean.push_str(element);
    }
    if clean.is_empty() {
        clean.push('/');
    }
    clean
}

/// Checks that a clean path can be the path of a file.
///
/// # Errors
/// The first character or element that the rules refuse.
pub fn check_path(path: &str, rules: PathRules) -> Result<(), PathError> {
    let owned = || path.to_owned();
    if path == "/" || path.is_empty() {
        return Err(PathError::Root { path: owned() });
    }
    let printable = |c: char| match rules {
        PathRules::Strict => (' '..='~').contains(&c),
        PathRules::Relaxed => !c.is_control(),
    };
    if let Some(found) = path.chars().find(|c| !printable(*c)) {
        return Err(PathError::NotPrintable { path: owned(), found });
    }
    if rules == PathRules::Strict
        && let Some(found) = path.chars().find(|c| FORBIDDEN.contains(*c))
    {
        return Err(PathError::Forbidden { path: owned(), found });
    }
    for element in path.split('/') {
        if element == "." || element == ".." {
            return Err(PathError::Dots {
                path: owned(),
                element: element.to_owned(),
            });
        }
        if element.len() > MAX_ELEMENT {
            return Err(PathError::TooLong { path: owned() });
        }
    }
    if path.len() > MAX_PATH {
        Err(PathError::TooLong { path: owned() })
    } else {
        Ok(())
    }
}

/// Returns a clean path as a directory: with a slash at the end.
pub(super) fn as_directory(clean: &str) -> String {
    if clean.ends_with('/') {
        clean.to_owned()
    } else {
        format!("{clean}/")
    }
}

/// Returns the number of elements: `/` has none, `/a`, `/a/` one.
pub(super) fn depth(path: &str) -> usize {
    path.split('/').filter(|element| !element.is_empty()).count()
}

/// Lists the directories that contain a file, from the root down, each with a slash at the end.
pub(super) fn directories(path: &str) -> impl DoubleEndedIterator<Item = &str> {
    path.match_indices('/').map(|(at, _)| &path[..=at])
}

/// Returns a directory as globs see it: without the slash at the end, the root as `/`.
pub(super) fn without_slash(directory: &str) -> &str {
    if directory.len() > 1 {
        directory.trim_end_matches('/')
    } else {
        directory
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_cleaned() {
        for (given, clean) in [
            ("", "/"),
            ("/", "/"),
            ("a", "/a"),
            ("//a///b/", "/a/b"),
            ("/a b", "/a b"),
            ("a/./b", "/a/./b"),
        ] {
            assert_eq!(clean_path(given), clean);
        }
    }

    #[test]
    fn strict_rules_name_what_they_refuse() {
        assert_eq!(check_path("/a/b-c_d.e\\f g~", PathRules::Strict), Ok(()));
        for c in FORBIDDEN.chars() {
            let message = check_path(&format!("/a{c}"), PathRules::Strict)
                .unwrap_err()
                .to_string();
            assert!(
                message.contains("not allowed in path") && message.contains(c),
                "{message}"
            );
            assert_eq!(check_path(&format!("/a{c}"), PathRules::Relaxed), Ok(()));
        }
        for path in ["/\u{e9}", "/a\tb", "/\u{7f}"] {
            let message = check_path(path, PathRules::Strict).unwrap_err().to_string();
            assert!(message.contains("only printable ASCII characters allowed"), "{message}");
        }
        assert_eq!(check_path("/\u{e9}", PathRules::Relaxed), Ok(()));
        for path in ["/a/../b", "/.", "/..", "/a/.", "/", "", "/a\n"] {
            for rules in [PathRules::Strict, PathRules::Relaxed] {
                assert!(check_path(path, rules).is_err(), "{path:?}");
            }
        }
        assert!(check_path(&format!("/{}", "x".repeat(256)), PathRules::Relaxed).is_err());
        assert_eq!(check_path("/..a/...", PathRules::Strict), Ok(()));
    }

    #[test]
    fn directories_of_a_file() {
        assert_eq!(directories("/a/b/c").collect::<Vec<_>>(), ["/", "/a/", "/a/b/"]);
        assert_eq!((depth("/"), depth("/a/"), depth("/a/b")), (0, 1, 2));
    }
}
