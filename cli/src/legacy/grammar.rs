//! What a hyphenated command looks like: its arguments, its flags, and how it becomes a present command.
//!
//! The table of commands and the reader of command lines both use these types.

/// What happens to a flag of a hyphenated command.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum FlagUse {
    /// It is passed on under its own name.
    Keep,
    /// It is passed on under another name.
    Rename(&'static str),
    /// It is accepted and has no effect.
    Ignore,
    /// The command's own conversion reads it.
    Read,
}

/// A flag of a hyphenated command.
#[derive(Debug, Clone, Copy)]
pub(super) struct LegacyFlag {
    pub long: &'static str,
    pub short: Option<char>,
    pub takes_value: bool,
    pub flag_use: FlagUse,
}

/// A hyphenated command.
pub(super) struct LegacyCommand {
    pub name: &'static str,
    /// Names of the arguments, as the usage shows them.
    pub arguments: &'static str,
    /// Fewest arguments.
    pub least: usize,
    /// Most arguments.
    pub most: usize,
    pub flags: &'static [LegacyFlag],
    /// Further text of the help, below the flags.
    pub notes: &'static str,
    /// Makes the present command lines from the arguments. The caller adds the flags that are passed on.
    pub convert: fn(&LegacyArguments) -> Result<Vec<Vec<String>>, String>,
}

/// The arguments and flags of one hyphenated command line.
#[derive(Debug, Default)]
pub(super) struct LegacyArguments {
    pub arguments: Vec<String>,
    /// Long name, use and value of each flag, in the order of the command line.
    pub flags: Vec<(&'static str, FlagUse, Option<String>)>,
}

impl LegacyArguments {
    /// Returns an argument; empty if there is none at this place.
    pub(super) fn argument(&self, index: usize) -> &str {
        self.arguments.get(index).map_or("", String::as_str)
    }

    /// Returns whether a flag was used.
    pub(super) fn has(&self, long: &str) -> bool {
        self.flags.iter().any(|(name, _, _)| *name == long)
    }

    /// Returns the first value of a flag.
    pub(super) fn value<'a>(&'a self, long: &'a str) -> Option<&'a str> {
        self.values(long).next()
    }

    /// Returns the values of a flag that may be repeated.
    pub(super) fn values<'a>(&'a self, long: &'a str) -> impl Iterator<Item = &'a str> {
        self.flags
            .iter()
            .filter(move |(name, _, _)| *name == long)
            .filter_map(|(_, _, value)| value.as_deref())
    }

    /// Returns the flags that the present command gets, as `--name` or `--name=value`.
    pub(super) fn passed_on(&self) -> impl Iterator<Item = String> {
        self.flags.iter().filter_map(|(long, flag_use, value)| {
            let name = match flag_use {
                FlagUse::Keep => long,
                FlagUse::Rename(name) => name,
                FlagUse::Ignore | FlagUse::Read => return None,
            };
            Some(match value {
                Some(value) => format!("--{name}={value}"),
                None => format!("--{name}"),
            })
        })
    }
}
