//! Rules for the names of projects, repos, branches, pipelines and inputs.

use crate::error::SpecError;
use crate::types::PipelineId;

/// The longest name of a project or pipeline, in characters.
const LONGEST: usize = 51;

/// Names under `/pfs` that have another meaning.
const RESERVED: [&str; 6] = ["out", ".env", ".scratch", ".writable", ".", ".."];

/// The longest name of an input, in bytes: the limit of file systems for a directory name.
const LONGEST_INPUT: usize = 255;

pub(super) fn pipeline(id: &PipelineId) -> Result<(), SpecError> {
    long("pipeline.name", "pipeline", &id.name)?;
    match id.project.as_str() {
        "" => Ok(()),
        project => long("pipeline.project.name", "project", project),
    }
}

/// Checks the name of a project or pipeline.
pub(super) fn long(path: &str, what: &str, name: &str) -> Result<(), SpecError> {
    word(path, what, name)?;
    if name.starts_with(['-', '_']) {
        let text = format!("{name:?} is no name for a {what}: it must begin with a letter or digit");
        return Err(SpecError::invalid(path, text));
    }
    if name.len() > LONGEST {
        let text = format!(
            "{name:?} is no name for a {what}: it has {} characters, at most {LONGEST} are allowed",
            name.len()
        );
        return Err(SpecError::invalid(path, text));
    }
    Ok(())
}

/// Checks the characters of a name.
pub(super) fn word(path: &str, what: &str, name: &str) -> Result<(), SpecError> {
    let wrong = name
        .chars()
        .find(|c| !c.is_ascii_alphanumeric() && !matches!(c, '_' | '-'));
    match wrong {
        _ if name.is_empty() => Err(SpecError::missing(path, format!("no {what} name specified"))),
        None => Ok(()),
        Some(c) => {
            let text = format!(
                "{name:?} is no name for a {what}: it contains {c:?}, only a-z, A-Z, 0-9, '_' and '-' are allowed"
            );
            Err(SpecError::invalid(path, text))
        }
    }
}

/// Checks the name of a branch; a name that looks like a commit id would be ambiguous in every command.
pub(super) fn branch(path: &str, name: &str) -> Result<(), SpecError> {
    word(path, "branch", name)?;
    let hex = |b: u8| matches!(b, b'0'..=b'9' | b'a'..=b'f');
    if name.len() == 32 && name.bytes().all(hex) && name.as_bytes()[12] == b'4' {
        let text = format!("{name:?} is no name for a branch: it looks like a commit id");
        return Err(SpecError::invalid(path, text).help("a pipeline follows branches, not commits"));
    }
    Ok(())
}

/// Checks the name of an input, which is the name of a directory under `/pfs` and of a variable.
pub(super) fn input(path: &str, name: &str) -> Result<(), SpecError> {
    if name.is_empty() {
        return Err(SpecError::missing(path, "the input has no name"));
    }
    if RESERVED.contains(&name) {
        let error = SpecError::invalid(
            path,
            format!("an input may not be called {name:?}: /pfs/{name} is taken"),
        );
        return Err(error.help("give it another name with \"name\""));
    }
    if name.len() > LONGEST_INPUT {
        let shown: String = name.chars().take(32).collect();
        let text = format!(
            "\"{shown}...\" is no name for an input: it has {} bytes, at most {LONGEST_INPUT} are allowed",
            name.len()
        );
        return Err(SpecError::invalid(path, text).help("it becomes a directory under /pfs and a variable"));
    }
    match name.chars().find(|c| matches!(c, '/' | '=') || c.is_control()) {
        None => Ok(()),
        Some(c) => {
            let text = format!("{name:?} is no name for an input: it contains {c:?}");
            Err(SpecError::invalid(path, text).help("it becomes a directory under /pfs and a variable"))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_inputs_are_valid_directory_names() {
        for good in ["images", "a b", &"x".repeat(LONGEST_INPUT)] {
            assert!(input("p", good).is_ok(), "{good}");
        }
        for bad in ["", "out", ".writable", "..", "a/b", "a=b", &"\u{e4}".repeat(128)] {
            assert!(input("p", bad).is_err(), "{bad}");
        }
    }
}
