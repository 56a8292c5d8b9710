//! The hyphenated commands of 1.x, rewritten to the present ones.
//!
//! `put-file images master x.png -f x.png` becomes `put file images@master:x.png -f x.png`. The
//! rewriting is a pure function of the arguments: [`table`] lists the commands, [`grammar`] has the types of its rows,
//! this module reads the flags. Where a hyphenated command differs from its successor (naming of files, reprocessing),
//! the command itself makes the difference; it gets the old name.

mod grammar;
mod table;
#[cfg(test)]
mod tests;

use std::ffi::OsString;

use grammar::{FlagUse, LegacyArguments, LegacyCommand, LegacyFlag};

/// A rewritten command line.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Rewritten {
    /// Present command lines, without the program's name, to be run one after another.
    pub commands: Vec<Vec<OsString>>,
    /// The hyphenated name; none for a present command.
    pub name: Option<&'static str>,
}

/// Why a hyphenated command cannot be run.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum RewriteError {
    /// The user asked for its help.
    Help(String),
    /// Its arguments or flags are wrong.
    Usage {
        /// What is wrong.
        message: String,
        /// The usage line.
        usage: String,
    },
    /// The command is not provided any more.
    NotProvided {
        /// What replaces it.
        message: String,
    },
}

/// Flags of every command; they may precede the name of the command.
const GLOBAL: &[LegacyFlag] = &[
    LegacyFlag {
        long: "verbose",
        short: Some('v'),
        takes_value: false,
        flag_use: FlagUse::Keep,
    },
    LegacyFlag {
        long: "no-color",
        short: None,
        takes_value: false,
        flag_use: FlagUse::Keep,
    },
    LegacyFlag {
        long: "no-metrics",
        short: None,
        takes_value: false,
        flag_use: FlagUse::Ignore,
    },
    LegacyFlag {
        long: "rpc-timeout",
        short: None,
        takes_value: true,
        flag_use: FlagUse::Keep,
    },
];

/// Rewrites a command line without the name of the program; present commands are returned unchanged.
pub(crate) fn rewrite(program: &str, arguments: &[OsString]) -> Result<Rewritten, RewriteError> {
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
    let wrong = |message: String| RewriteError::Usage {
        message,
        usage: usage.clone(),
    };
    let mut words = texts[..at].to_vec();
    words.extend_from_slice(&texts[at + 1..]);
    let Some(given) = read(command, &words).map_err(wrong)? else {
        return Err(RewriteError::Help(help(program, command)));
    };
    let count = given.arguments.len();
    if count < command.least || count > command.most {
        return Err(wrong(crate::arity::arity(command.least, command.most, count)));
    }
    let lines = (command.convert)(&given).map_err(|message| RewriteError::NotProvided {
        message: message.replace("{program}", program),
    })?;
    let last = lines.len().saturating_sub(1);
    let commands = lines
        .into_iter()
        .enumerate()
        .map(|(index, mut line)| {
            if index == last {
                // Words behind `--` are arguments, so the flags go before it.
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
pub(crate) fn names() -> impl Iterator<Item = &'static str> {
    table::COMMANDS.iter().map(|command| command.name)
}

/// Finds the name of the command: the first word that is not a global flag.
fn find(words: &[String]) -> Option<(usize, &'static LegacyCommand)> {
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

/// Reads arguments and flags; none if the user asks for help.
fn read(command: &LegacyCommand, words: &[String]) -> Result<Option<LegacyArguments>, String> {
    let mut given = LegacyArguments::default();
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
    given: &mut LegacyArguments,
    flag: &LegacyFlag,
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
    given.flags.push((flag.long, flag.flag_use, value));
    Ok(())
}

fn usage(program: &str, command: &LegacyCommand) -> String {
    let space = if command.arguments.is_empty() { "" } else { " " };
    format!("Usage: {program} {}{space}{} [flags]", command.name, command.arguments)
}

fn help(program: &str, command: &LegacyCommand) -> String {
    let mut text = format!("{}\n", usage(program, command));
    if !command.flags.is_empty() {
        text.push_str("\nFlags:\n");
    }
    for flag in command.flags {
        let short = flag.short.map_or("    ".to_owned(), |short| format!("-{short}, "));
        let value = if flag.takes_value { " VALUE" } else { "" };
        let effect = if flag.flag_use == FlagUse::Ignore {
            "   (no effect any more)"
        } else {
            ""
        };
        text.push_str(&format!("  {short}--{}{value}{effect}\n", flag.long));
    }
    if !command.notes.is_empty() {
        text.push_str(&format!("\n{}\n", command.notes));
    }
    let (verb, noun) = command.name.split_once('-').unwrap_or((command.name, ""));
    text.push_str(&format!(
        "\nThis is a command of 1.x. `{program} {verb} --help` and `{program} {verb} {noun} --help` show the present commands.\n"
    ));
    text
}
