//! Which path in the repo each source of a `put file` gets.
//!
//! A pure function of the target, the flags and the text of the source.

/// Which part of a source's text names its target when the target's path does not.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Naming {
    /// The base name.
    Base,
    /// The whole text (`--full-path`).
    Full,
    /// The whole text, as in the hyphenated commands. With a path and one folder, the folder's own
    /// name is dropped.
    Hyphenated,
}

/// How one request names its targets.
#[derive(Debug, Clone, Copy)]
pub(crate) struct NamingRule<'a> {
    /// The path given with the branch.
    pub target: Option<&'a str>,
    /// Which part of the source names the target.
    pub naming: Naming,
    /// Whether sources are folders.
    pub recursive: bool,
    /// Whether there is more than one source.
    pub several: bool,
}

/// Returns whether a source is fetched by the server.
pub(crate) fn is_url(source: &str) -> bool {
    source.split_once("://").is_some_and(|(scheme, _)| {
        !scheme.is_empty() && scheme.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'+')
    })
}

impl NamingRule<'_> {
    /// Returns the target of a file, or the folder for the files of a folder.
    ///
    /// The result starts with `/` and does not end with one, unless it is the root.
    pub(crate) fn place(&self, source: &str) -> String {
        let own = self.own_name(source);
        let target = self.target.filter(|target| !target.is_empty());
        match target {
            None => rooted(&own),
            Some(target) if self.several => rooted(&format!("{target}/{own}")),
            Some(target) if self.recursive && self.naming == Naming::Full => rooted(&format!("{target}/{own}")),
            Some(target) if !self.recursive && target.ends_with('/') => rooted(&format!("{target}/{own}")),
            Some(target) => rooted(target),
        }
    }

    fn own_name(&self, source: &str) -> String {
        let path = match source.split_once("://") {
            Some((_, rest)) if is_url(source) => {
                let rest = rest.split(['?', '#']).next().unwrap_or(rest);
                rest.split_once('/').map_or("", |(_, path)| path)
            }
            _ => source,
        };
        match self.naming {
            Naming::Base => {
                let clean = rooted(path);
                clean.rsplit('/').next().unwrap_or_default().to_owned()
            }
            Naming::Full | Naming::Hyphenated => path.to_owned(),
        }
    }
}

/// Cleans a path relative to the root: no `.`, no empty parts; `..` at the root is dropped.
pub(crate) fn rooted(path: &str) -> String {
    let mut parts: Vec<&str> = Vec::new();
    for part in path.split('/') {
        match part {
            "" | "." => {}
            ".." => {
                parts.pop();
            }
            part => parts.push(part),
        }
    }
    format!("/{}", parts.join("/"))
}

/// Joins a folder and a path relative to it.
pub(crate) fn below(place: &str, relative: &str) -> String {
    rooted(&format!("{place}/{relative}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Case {
        target: Option<&'static str>,
        naming: Naming,
        recursive: bool,
        several: bool,
        source: &'static str,
        place: &'static str,
    }

    #[test]
    fn every_row_of_the_naming_table() {
        use Naming::{Base, Full, Hyphenated};
        let case = |target, naming, recursive, several, source, place| Case {
            target,
            naming,
            recursive,
            several,
            source,
            place,
        };
        let cases = [
            // No path: the root, by the source's name.
            case(None, Base, false, false, "data/x.csv", "/x.csv"),
            case(None, Full, false, false, "data/x.csv", "/data/x.csv"),
            case(None, Full, false, false, "./data/x.csv", "/data/x.csv"),
            case(None, Base, true, false, ".", "/"),
            case(None, Base, true, false, "dir", "/dir"),
            case(None, Base, true, false, "a/dir/", "/dir"),
            case(None, Base, false, true, "a/b", "/b"),
            case(None, Base, false, false, "https://host/p/q.png?x=1", "/q.png"),
            case(None, Full, false, false, "https://host/p/q.png", "/p/q.png"),
            // A path and one source.
            case(Some("p"), Base, false, false, "data/x.csv", "/p"),
            case(Some("p/"), Base, false, false, "data/x.csv", "/p/x.csv"),
            case(Some("p/"), Full, false, false, "data/x.csv", "/p/data/x.csv"),
            case(Some("/"), Base, false, false, "data/x.csv", "/x.csv"),
            case(Some("p"), Base, true, false, "dir", "/p"),
            case(Some("/"), Base, true, false, "dir", "/"),
            case(Some("p"), Full, true, false, "dir", "/p/dir"),
            // A path and several sources.
            case(Some("p"), Base, false, true, "data/x.csv", "/p/x.csv"),
            case(Some("p"), Full, false, true, "data/x.csv", "/p/data/x.csv"),
            case(Some("p"), Base, true, true, "a/dir", "/p/dir"),
            // The hyphenated form keeps the whole text.
            case(None, Hyphenated, false, false, "data/x.csv", "/data/x.csv"),
            case(None, Hyphenated, false, false, "./x.csv", "/x.csv"),
            case(None, Hyphenated, false, false, "/tmp/x.csv", "/tmp/x.csv"),
            case(None, Hyphenated, false, false, "../x.csv", "/x.csv"),
            case(None, Hyphenated, true, false, ".", "/"),
            case(None, Hyphenated, true, false, "dir", "/dir"),
            case(Some("p"), Hyphenated, true, false, "dir", "/p"),
            case(Some("p"), Hyphenated, false, false, "dir/x", "/p"),
            case(Some("p"), Hyphenated, false, true, "dir/x", "/p/dir/x"),
        ];
        for case in cases {
            let rule = NamingRule {
                target: case.target,
                naming: case.naming,
                recursive: case.recursive,
                several: case.several,
            };
            assert_eq!(rule.place(case.source), case.place, "{} with {rule:?}", case.source);
        }
    }

    #[test]
    fn schemes_make_urls() {
        assert!(is_url("https://host/x"));
        assert!(is_url("s3://bucket/x"));
        assert!(!is_url("data/x.csv"));
        assert!(!is_url("://x"));
    }
}
