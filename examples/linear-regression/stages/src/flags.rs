//! Flags in the forms of old pipeline specs: `-name=value`, `--name=value`, `-name value`.

use std::collections::BTreeMap;
use std::path::PathBuf;

/// The paths given on a command line.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct PathFlags(BTreeMap<String, PathBuf>);

impl PathFlags {
    /// Reads `args` (without the program's name); only flags in `known` are accepted.
    pub fn parse(args: impl IntoIterator<Item = String>, known: &[&str]) -> anyhow::Result<Self> {
        let mut flags = BTreeMap::new();
        let mut args = args.into_iter();
        while let Some(arg) = args.next() {
            let usage = || format!("known flags: -{}=PATH", known.join("=PATH -"));
            let Some(flag) = arg.strip_prefix('-') else {
                anyhow::bail!("unexpected argument {arg:?}; {}", usage());
            };
            let flag = flag.strip_prefix('-').unwrap_or(flag);
            let (name, value) = match flag.split_once('=') {
                Some((name, value)) => (name, Some(value.to_owned())),
                None => (flag, None),
            };
            if !known.contains(&name) {
                anyhow::bail!("unknown flag -{name}; {}", usage());
            }
            let value = value.or_else(|| args.next()).filter(|v| !v.is_empty());
            let Some(value) = value else {
                anyhow::bail!("flag -{name} needs a path; {}", usage());
            };
            flags.insert(name.to_owned(), value.into());
        }
        Ok(Self(flags))
    }

    /// Returns the path given for a flag, else the default.
    pub fn path(&self, name: &str, default: &str) -> PathBuf {
        self.0.get(name).cloned().unwrap_or_else(|| default.into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(args: &[&str]) -> anyhow::Result<PathFlags> {
        PathFlags::parse(args.iter().map(|a| (*a).to_owned()), &["in", "out"])
    }

    #[test]
    fn every_spelling_is_understood() {
        for args in [&["-in=/a"][..], &["--in=/a"], &["-in", "/a"], &["--in", "/a"]] {
            let flags = parse(args).unwrap();
            assert_eq!(flags.path("in", "/x"), PathBuf::from("/a"));
            assert_eq!(flags.path("out", "/x"), PathBuf::from("/x"));
        }
    }

    #[test]
    fn mistakes_are_explained() {
        for (args, expected) in [
            (&["-model=/a"][..], "unknown flag -model"),
            (&["/a"], "unexpected argument \"/a\""),
            (&["-in"], "flag -in needs a path"),
            (&["-in="], "flag -in needs a path"),
        ] {
            let text = parse(args).unwrap_err().to_string();
            assert!(text.starts_with(expected), "{text}");
            assert!(text.ends_with("known flags: -in=PATH -out=PATH"), "{text}");
        }
    }
}
