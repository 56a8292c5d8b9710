//! Messages for command lines that clap does not accept, in the form that users of 2.x know.
//!
//! Counts arguments, suggests commands and flags, and prints help for a verb or a noun alone.

use std::ffi::OsString;

use clap::error::{ContextKind, ContextValue, ErrorKind};
use clap::{Arg, ArgAction, Command};

use crate::arity::arity;
use crate::error::CliError;
use crate::suggest::nearest;

/// The nouns of commands, with their plurals.
const NOUNS: &[(&str, &str)] = &[
    ("branch", "branches"),
    ("commit", "commits"),
    ("datum", "datums"),
    ("file", "files"),
    ("job", "jobs"),
    ("pipeline", "pipelines"),
    ("project", "projects"),
    ("repo", "repos"),
    ("secret", "secrets"),
    ("transaction", "transactions"),
];

/// What is done about an error of clap.
pub(crate) enum Verdict {
    /// Help or version text, which goes to standard output.
    Show(String),
    /// An error.
    Fail(CliError),
}

/// Converts an error of clap into a message or a text to print.
pub(crate) fn explain(error: &clap::Error, root: &Command, words: &[OsString]) -> Verdict {
    let mut built = root.clone();
    built.build();
    let leaf = leaf(&built, words);
    match error.kind() {
        ErrorKind::DisplayHelp | ErrorKind::DisplayVersion | ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand => {
            Verdict::Show(error.render().to_string())
        }
        ErrorKind::MissingSubcommand => Verdict::Show(leaf.clone().render_help().to_string()),
        _ => Verdict::Fail(CliError::Usage {
            message: message(error, root, leaf, words),
            usage: leaf.clone().render_usage().to_string(),
        }),
    }
}

fn message(error: &clap::Error, root: &Command, leaf: &Command, words: &[OsString]) -> String {
    let text = |kind| match error.get(kind) {
        Some(ContextValue::String(text)) => Some(text.clone()),
        Some(ContextValue::Strings(texts)) => texts.first().cloned(),
        _ => None,
    };
    match error.kind() {
        ErrorKind::InvalidSubcommand => {
            let name = text(ContextKind::InvalidSubcommand).unwrap_or_default();
            let parent = leaf.get_bin_name().unwrap_or_else(|| leaf.get_name());
            let known = leaf.get_subcommands().filter(|command| !command.is_hide_set());
            let mut known: Vec<&str> = known.map(Command::get_name).collect();
            // A word with a hyphen is compared with the commands of 1.x too.
            if name.contains('-') && leaf.get_name() == root.get_name() {
                for command in crate::legacy::names() {
                    known.push(command);
                }
            }
            let advice = match nearest(&name, known) {
                Some(similar) => format!("; did you mean {similar:?}?"),
                None => String::new(),
            };
            format!("unknown command {name:?} for {parent:?}{advice}")
        }
        ErrorKind::UnknownArgument => {
            let name = text(ContextKind::InvalidArg).unwrap_or_default();
            if name.starts_with('-') {
                let typed = name.trim_start_matches('-').split('=').next().unwrap_or_default();
                let known = leaf.get_arguments().filter(|arg| !arg.is_hide_set());
                let advice = match nearest(typed, known.filter_map(Arg::get_long)) {
                    Some(similar) => format!("; did you mean --{similar}?"),
                    None => String::new(),
                };
                format!("unknown flag: {name}{advice}")
            } else {
                count(root, leaf, words).unwrap_or_else(|| plain(error))
            }
        }
        ErrorKind::MissingRequiredArgument | ErrorKind::TooManyValues | ErrorKind::WrongNumberOfValues => {
            count(root, leaf, words).unwrap_or_else(|| plain(error))
        }
        _ => plain(error),
    }
}

/// Returns clap's message in one line, without the label `error:`.
fn plain(error: &clap::Error) -> String {
    let rendered = error.render().to_string();
    let body = rendered.split("\n\n").next().unwrap_or_default();
    let body = body.strip_prefix("error: ").unwrap_or(body);
    body.lines()
        .map(str::trim)
        .filter(|line| !line.is_empty())
        .collect::<Vec<_>>()
        .join(" ")
}

/// Returns the complaint about the number of arguments; none if the number is right.
fn count(root: &Command, leaf: &Command, words: &[OsString]) -> Option<String> {
    let positionals: Vec<&Arg> = leaf.get_positionals().collect();
    let least = positionals.iter().filter(|arg| arg.is_required_set()).count();
    let open = positionals
        .iter()
        .any(|arg| matches!(arg.get_action(), ArgAction::Append));
    let most = if open {
        usize::MAX
    } else {
        positionals.iter().filter(|arg| !arg.is_hide_set()).count()
    };
    let argv = std::iter::once(OsString::from("x")).chain(words.iter().cloned());
    let matches = relax(root).ignore_errors(true).try_get_matches_from(argv).ok()?;
    let mut at = &matches;
    while let Some((_, inner)) = at.subcommand() {
        at = inner;
    }
    let got = at.get_many::<String>(WORDS).map_or(0, |words| words.count());
    (got < least || got > most).then(|| arity(least, most, got))
}

/// Id of the argument that takes every word in a relaxed command tree.
const WORDS: &str = "every-word";

/// Copies a command tree; in the copy each command takes any number of arguments.
fn relax(command: &Command) -> Command {
    let flags = command
        .get_arguments()
        .filter(|arg| !arg.is_positional())
        .map(|arg| arg.clone().required(false));
    let mut copy = Command::new(command.get_name().to_owned())
        .aliases(command.get_all_aliases().map(str::to_owned).collect::<Vec<_>>())
        .args(flags)
        .subcommands(command.get_subcommands().map(relax));
    if command.get_subcommands().next().is_none() {
        copy = copy.arg(Arg::new(WORDS).num_args(0..).action(ArgAction::Append));
    }
    copy
}

/// Returns the command that the words lead to, or the last one that exists on the way.
fn leaf<'a>(root: &'a Command, words: &[OsString]) -> &'a Command {
    let mut at = root;
    let mut skip = false;
    for word in words.iter().map(|word| word.to_string_lossy()) {
        if std::mem::take(&mut skip) {
            continue;
        }
        if word == "--" {
            break;
        }
        if word.starts_with('-') {
            skip = takes_next(at, &word);
            continue;
        }
        match at.find_subcommand(word.as_ref()) {
            Some(next) => at = next,
            None => break,
        }
    }
    at
}

fn takes_next(command: &Command, word: &str) -> bool {
    command.get_arguments().any(|arg| {
        arg.get_action().takes_values()
            && (arg.get_long().is_some_and(|long| word == format!("--{long}"))
                || arg.get_short().is_some_and(|short| word == format!("-{short}")))
    })
}

/// Resolves `--flag=true` and `--flag=false`, which clap does not accept for flags without values.
pub(crate) fn resolve_switches(root: &Command, words: Vec<OsString>) -> Vec<OsString> {
    let mut built = root.clone();
    built.build();
    let leaf = leaf(&built, &words);
    let is_switch = |name: &str| {
        leaf.get_arguments().any(|arg| {
            matches!(arg.get_action(), ArgAction::SetTrue)
                && (arg.get_long() == Some(name)
                    || arg.get_all_aliases().is_some_and(|aliases| aliases.contains(&name)))
        })
    };
    let mut plain = false;
    words
        .into_iter()
        .filter_map(|word| {
            plain |= word == "--";
            let text = word.to_str()?.to_owned();
            let Some((name, value)) = text.strip_prefix("--").and_then(|rest| rest.split_once('=')) else {
                return Some(word);
            };
            if plain || !is_switch(name) {
                return Some(word);
            }
            match value.to_ascii_lowercase().as_str() {
                "true" | "1" | "t" => Some(OsString::from(format!("--{name}"))),
                "false" | "0" | "f" => None,
                _ => Some(word),
            }
        })
        .collect()
}

/// Returns the help for a noun without a verb: the commands with this noun.
pub(crate) fn noun_help(root: &Command, words: &[OsString]) -> Option<String> {
    let plain: Vec<_> = words
        .iter()
        .filter(|word| !word.to_string_lossy().starts_with('-'))
        .collect();
    let [word] = plain.as_slice() else { return None };
    let (noun, plural) = NOUNS.iter().find(|(noun, plural)| *word == noun || *word == plural)?;
    let program = root.get_bin_name().unwrap_or_else(|| root.get_name());
    let mut text = format!("Commands for {plural}:\n\n");
    for verb in root.get_subcommands().filter(|verb| !verb.is_hide_set()) {
        if let Some(command) = verb.find_subcommand(noun).filter(|command| !command.is_hide_set()) {
            let about = command.get_about().map(ToString::to_string).unwrap_or_default();
            text.push_str(&format!(
                "  {:28} {about}\n",
                format!("{program} {} {noun}", verb.get_name())
            ));
        }
    }
    Some(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(text: &str) -> Vec<OsString> {
        text.split(' ').map(OsString::from).collect()
    }

    #[test]
    fn switches_take_true_and_false() {
        let root = crate::args::command("howdah");
        let resolve = |text: &str| {
            let resolved = resolve_switches(&root, words(text));
            resolved
                .iter()
                .map(|word| word.to_string_lossy().into_owned())
                .collect::<Vec<_>>()
                .join(" ")
        };
        assert_eq!(resolve("list repo --raw=true --all=false"), "list repo --raw");
        assert_eq!(
            resolve("put file a@b -f=x --recursive=true"),
            "put file a@b -f=x --recursive"
        );
        assert_eq!(resolve("list repo --type=true"), "list repo --type=true");
        assert_eq!(resolve("list repo -- --raw=false"), "list repo -- --raw=false");
    }

    #[test]
    fn a_noun_alone_lists_its_commands() {
        let root = crate::args::command("pachctl");
        insta::assert_snapshot!(noun_help(&root, &words("branches")).expect("help"), @r"
        Commands for branches:

          pachctl create branch        Make a branch, or change its head, provenance and trigger
          pachctl inspect branch       Show a branch
          pachctl list branch          List the branches of a repo
          pachctl delete branch        Delete a branch, not its commits
        ");
        assert_eq!(noun_help(&root, &words("list branches")), None);
    }
}
