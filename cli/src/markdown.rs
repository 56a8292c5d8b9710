//! The command reference as Markdown, made from the command tree.

use std::fmt::Write;

use clap::{Arg, Command};

/// Writes the reference of every command that is not hidden.
pub(crate) fn reference(mut root: Command) -> String {
    root.build();
    let name = root.get_name().to_owned();
    let mut text = format!(
        "# Command reference\n\n\
         This page is made by `{name} help-markdown`; change the command tree, not the page.\n\n\
         `{name} VERB NOUN [ARGUMENTS] [FLAGS]`. Flags may precede or follow arguments. Nouns have plurals\n\
         (`list repos`). `{name} VERB --help` and `{name} VERB NOUN --help` print the same texts.\n\n\
         ## Flags of every command\n\n"
    );
    flags(&mut text, root.get_arguments().filter(|arg| arg.get_id() != "version"));
    let _ = writeln!(text, "\n## Commands\n");
    for verb in shown(&root) {
        section(&mut text, verb, &name);
    }
    text
}

fn shown(command: &Command) -> impl Iterator<Item = &Command> {
    command
        .get_subcommands()
        .filter(|inner| !inner.is_hide_set() && inner.get_name() != "help")
}

fn section(text: &mut String, command: &Command, path: &str) {
    let path = format!("{path} {}", command.get_name());
    if shown(command).next().is_some() {
        for inner in shown(command) {
            section(text, inner, &path);
        }
        return;
    }
    let about = command.get_about().map(ToString::to_string).unwrap_or_default();
    let usage = command.clone().render_usage().to_string();
    let usage = usage.trim_start_matches("Usage:").trim();
    let _ = writeln!(text, "### `{path}`\n\n{about}.\n\n```\n{usage}\n```\n");
    let mut positionals = command.get_positionals().filter(|arg| !arg.is_hide_set()).peekable();
    if positionals.peek().is_some() {
        for arg in positionals {
            let _ = writeln!(text, "- `{}`: {}", value_names(arg), help(arg));
        }
        text.push('\n');
    }
    let own = command
        .get_arguments()
        .filter(|arg| !arg.is_positional() && !arg.is_global_set());
    let before = text.len();
    flags(text, own.filter(|arg| arg.get_id() != "help"));
    if text.len() > before {
        text.push('\n');
    }
}

fn flags<'a>(text: &mut String, args: impl Iterator<Item = &'a Arg>) {
    for arg in args.filter(|arg| !arg.is_positional() && !arg.is_hide_set()) {
        let mut names = Vec::new();
        names.extend(arg.get_short().map(|short| format!("-{short}")));
        names.extend(arg.get_long().map(|long| format!("--{long}")));
        let value = if arg.get_action().takes_values() {
            format!(" {}", value_names(arg))
        } else {
            String::new()
        };
        let default: Vec<_> = arg
            .get_default_values()
            .iter()
            .map(|value| value.to_string_lossy())
            .collect();
        let default = if default.is_empty() || arg.is_hide_default_value_set() || !arg.get_action().takes_values() {
            String::new()
        } else {
            format!(" [default: {}]", default.join(", "))
        };
        let _ = writeln!(text, "- `{}{value}`: {}{default}", names.join(", "), help(arg));
    }
}

fn value_names(arg: &Arg) -> String {
    match arg.get_value_names() {
        Some(names) => names.iter().map(|name| name.as_str()).collect::<Vec<_>>().join(" "),
        None => arg.get_id().as_str().to_uppercase(),
    }
}

fn help(arg: &Arg) -> String {
    arg.get_help().map(ToString::to_string).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    #[test]
    fn every_shown_command_has_a_section() {
        let text = super::reference(crate::args::command("howdah"));
        for command in ["create repo", "put file", "list job", "config get active-context", "up"] {
            assert!(
                text.contains(&format!("### `howdah {command}`")),
                "{command} is missing"
            );
        }
        assert!(!text.contains("flush commit"));
        assert!(text.contains("- `-f, --file SOURCE`:"));
    }
}
