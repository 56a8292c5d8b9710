//! The hyphenated commands of 1.x, rewritten into the present ones.
//!
//! `put-file images master x.png -f x.png` becomes `put file images@master:x.png -f x.png`. The
//! rewriting is a pure function of the arguments; [`table`] lists the commands, this module reads
//! their flags. What a hyphenated command does differently from its successor (naming of files,
//! reprocessing) is decided by the command itself, which is told the old name.

mod table;
#[cfg(test)]
mod tests;

use std::ffi::OsString;

/// What a command line means now.
#[derive(Debug, PartialEq, Eq)]
pub struct Rewritten {
    /// Present command lines, without the program's name, to be run one after another.
    pub commands: Vec<Vec<OsString>>,
    /// The hyphenated name that was used, if one was.
    pub name: Option<&'static str>,
}

/// Why a hyphenated command cannot be run.
#[derive(Debug, PartialEq, Eq)]
pub enum Refusal {
    /// Its help is asked for.
    Help(String),
    /// It is written wrongly.
    Usage {
        /// What is wrong.
        message: String,
        /// How it is written.
        usage: String,
    },
    /// It does not exist any more.
    Gone {
        /// What to use instead.
        message: String,
    },
}

/// What becomes of a flag.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fate {
    /// It is passed on under its own name.
    Keep,
    /// It is passed on under another name.
    Rename(&'static str),
    /// It has no effect any more.
    Ignore,
    /// The command's own rewriting looks at it.
    Read,
}

/// A flag of a hyphenated command.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Flag {
    pub long: &'static str,
    pub short: Option<char>,
    pub takes_value: bool,
    pub fate: Fate,
}

/// A hyphenated command.
pub(crate) struct Legacy {
    pub name: &'static str,
    /// Names of the arguments, as the usage shows them.
    pub arguments: &'static str,
    pub least: usize,
    pub most: usize,
    pub flags: &'static [Flag],
    /// What its help says beyond its usage.
    pub notes: &'static str,
    /// Makes the present command lines out of the arguments; flags that are passed on are added.
    pub convert: fn(&Given) -> Result<Vec<Vec<String>>, String>,
}

/// The arguments and flags that were given to a hyphenated command.
#[derive(Debug, Default)]
pub(crate) struct Given {
    pub arguments: Vec<String>,
    flags: Vec<(&'static str, Fate, Option<String>)>,
}

impl Given {
    fn argument(&self, index: usize) -> &str {
        self.arguments.get(index).map_or("", String::as_str)
    }

    fn has(&self, long: &str) -> bool {
        self.flags.iter().any(|(name, _, _)| *name == long)
    }

    fn value<'a>(&'a self, long: &'a str) -> Option<&'a str> {
        self.values(long).next()
    }

    fn values<'a>(&'a self, long: &'a str) -> impl Iterator<Item = &'a str> {
        self.flags
            .iter()
            .filter(move |(name, _, _)| *name == long)
            .filter_map(|(_, _, value)| value.as_deref())
    }

    fn passed_on(&self) -> impl Iterator<Item = String> {
        self.flags.iter().filter_map(|(long, fate, value)| {
            let name = match fate {
                Fate::Keep => long,
                Fate::Rename(name) => name,
                Fate::Ignore | Fate::Read => return None,
            };
            Some(match value {
                Some(value) => format!("--{name}={value}"),
                None => format!("--{name}"),
            })
        })
    }
}

/// Flags that stand before any command, and that every command takes.
const GLOBAL: &[Flag] = &[
    Flag {
        long: "verbose",
        short: Some('v'),
        takes_value: false,
        fate: Fate::Keep,
    },
    Flag {
        long: "no-color",
        short: None,
        takes_value: false,
        fate: Fate::Keep,
    },
    Flag {
        long: "no-metrics",
        short: None,
        takes_value: false,
        fate: Fate::Ignore,
    },
    Flag {
        long: "rpc-timeout",
        short: None,
        takes_value: true,
        fate: Fate::Keep,
    },
];

/// Rewrites a command line (without the program's name); anything not hyphenated stays as it is.
pub fn rewrite(program: &str, arguments: &[OsString]) -> Result<Rewritten, Refusal> {
    let texts: Vec<String> = arguments
        .iter()
        .map(|text| text.to_string_lossy().into_owned())
        .collect();
    let Some((at, command)) = find(&texts) else {
        return Ok(Rewritten {
            commands: vec![arguments.to_vec()],
            name: None,
        });
    };
    let usage = usage(program, command);
    let wrong = |message: String| Refusal::Usage {
        message,
        usage: usage.clone(),
    };
    let mut words = texts[..at].to_vec();
    words.extend_from_slice(&texts[at + 1..]);
    let Some(given) = read(command, &words).map_err(wrong)? else {
        return Err(Refusal::Help(help(program, command)));
    };
    let count = given.arguments.len();
    if count < command.least || count > command.most {
        return Err(wrong(crate::usage::arity(command.least, command.most, count)));
    }
    let lines = (command.convert)(&given).map_err(|message| Refusal::Gone {
        message: message.replace("{program}", program),
    })?;
    let last = lines.len().saturating_sub(1);
    let commands = lines
        .into_iter()
        .enumerate()
        .map(|(index, mut line)| {
            if index == last {
                // Behind `--` flags would be arguments.
                let at = line.iter().position(|word| word == "--").unwrap_or(line.len());
                line.splice(at..at, given.passed_on());
            }
            line.into_iter().map(OsString::from).collect()
        })
        .collect();
    Ok(Rewritten {
        commands,
        name: Some(command.name),
    })
}

/// Returns the names of all hyphenated commands.
pub fn names() -> impl Iterator<Item = &'static str> {
    table::COMMANDS.iter().map(|command| command.name)
}

/// Finds the command's name: the first word that is no global flag.
fn find(words: &[String]) -> Option<(usize, &'static Legacy)> {
    let mut skip = false;
    for (index, word) in words.iter().enumerate() {
        if std::mem::take(&mut skip) {
            continue;
        }
        if word.starts_with('-') {
            skip = word == "--rpc-timeout";
            continue;
        }
        return table::COMMANDS
            .iter()
            .find(|command| command.name == word)
            .map(|command| (index, command));
    }
    None
}

/// Reads arguments and flags; nothing if help is asked for.
fn read(command: &Legacy, words: &[String]) -> Result<Option<Given>, String> {
    let mut given = Given::default();
    let mut words = words.iter();
    let known = || command.flags.iter().chain(GLOBAL);
    while let Some(word) = words.next() {
        if word == "--" {
            given.arguments.extend(words.cloned());
            break;
        } else if let Some(long) = word.strip_prefix("--") {
            let (name, attached) = match long.split_once('=') {
                Some((name, value)) => (name, Some(value.to_owned())),
                None => (long, None),
            };
            if name == "help" {
                return Ok(None);
            }
            let flag = known()
                .find(|flag| flag.long == name)
                .ok_or(format!("unknown flag: --{name}"))?;
            take(&mut given, flag, attached, &mut words, &format!("--{name}"))?;
        } else if word.len() > 1 && word.starts_with('-') {
            let mut rest = &word[1..];
            while let Some(short) = rest.chars().next() {
                rest = &rest[short.len_utf8()..];
                if short == 'h' && !known().any(|flag| flag.short == Some('h')) {
                    return Ok(None);
                }
                let flag = known()
                    .find(|flag| flag.short == Some(short))
                    .ok_or(format!("unknown shorthand flag: -{short} in {word}"))?;
                let attached = if flag.takes_value && !rest.is_empty() {
                    let value = rest.strip_prefix('=').unwrap_or(rest).to_owned();
                    rest = "";
                    Some(value)
                } else if let Some(value) = rest.strip_prefix('=') {
                    rest = "";
                    Some(value.to_owned())
                } else {
                    None
                };
                take(&mut given, flag, attached, &mut words, &format!("-{short}"))?;
            }
        } else {
            given.arguments.push(word.clone());
        }
    }
    Ok(Some(given))
}

fn take<'a>(
    given: &mut Given,
    flag: &Flag,
    attached: Option<String>,
    words: &mut impl Iterator<Item = &'a String>,
    spelled: &str,
) -> Result<(), String> {
    let value = if flag.takes_value {
        match attached {
            Some(value) => Some(value),
            None => Some(
                words
                    .next()
                    .cloned()
                    .ok_or(format!("flag needs an argument: {spelled}"))?,
            ),
        }
    } else {
        match attached.as_deref() {
            Some("false" | "0" | "f") => return Ok(()),
            _ => None,
        }
    };
    given.flags.push((flag.long, flag.fate, value));
    Ok(())
}

fn usage(program: &str, command: &Legacy) -> String {
    let space = if command.arguments.is_empty() { "" } else { " " };
    format!("Usage: {program} {}{space}{} [flags]", command.name, command.arguments)
}

fn help(program: &str, command: &Legacy) -> String {
    let mut text = format!("{}\n", usage(program, command));
    if !command.flags.is_empty() {
        text.push_str("\nFlags:\n");
    }
    for flag in command.flags {
        let short = flag.short.map_or("    ".to_owned(), |short| format!("-{short}, "));
        let value = if flag.takes_value { " VALUE" } else { "" };
        let fate = if flag.fate == Fate::Ignore {
            "   (no effect any more)"
        } else {
            ""
        };
        text.push_str(&format!("  {short}--{}{value}{fate}\n", flag.long));
    }
    if !command.notes.is_empty() {
        text.push_str(&format!("\n{}\n", command.notes));
    }
    let (verb, noun) = command.name.split_once('-').unwrap_or((command.name, ""));
    text.push_str(&format!(
        "\nThis is a command of 1.x. `{program} {verb} --help` and `{program} {verb} {noun} --help` show what there is now.\n"
    ));
    text
}
