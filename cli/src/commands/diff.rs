//! `diff file`: comparing files of two commits.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Command;

use howdah_api::pfs_v2;

use crate::args::files::DiffFile;
use crate::args::shared::ProjectArg;
use crate::context::Ctx;
use crate::error::{CliError, CliResult};
use crate::output::list::MessageList;
use crate::output::pager::in_path;
use crate::output::printer::PrinterOutput;
use crate::output::size;
use crate::{refs, wire};

const HEADER: &[&str] = &["OP", "SIZE", "NAME"];

/// `diff file`.
pub(super) async fn run(ctx: &Ctx, arguments: &DiffFile) -> CliResult {
    let project = ctx.project(&arguments.project)?;
    let new_file = wire::file(&project, &refs::file(&arguments.new)?);
    let old_file = match &arguments.old {
        Some(old) => {
            let project = match &arguments.old_project {
                Some(_) => ctx.project(&ProjectArg {
                    project: arguments.old_project.clone(),
                })?,
                None => project,
            };
            Some(wire::file(&project, &refs::file(old)?))
        }
        None => None,
    };
    let root = crate::naming::rooted(&new_file.path);
    let request = pfs_v2::DiffFileRequest {
        new_file: Some(new_file),
        old_file,
        shallow: arguments.shallow,
    };
    let mut stream = ctx.client().await?.pfs().diff_file(request).await?.into_inner();
    let mut pairs = Vec::new();
    while let Some(pair) = stream.message().await? {
        if !arguments.shallow || is_near(&pair, &root) {
            pairs.push(pair);
        }
    }
    if ctx.hyphenated.is_some() {
        return sections(ctx, &pairs);
    }
    if arguments.name_only {
        return names(ctx, arguments, &pairs);
    }
    contents(ctx, arguments, &pairs).await
}

fn path_of(info: &pfs_v2::FileInfo) -> &str {
    info.file.as_ref().map_or("", |file| &file.path)
}

/// Returns whether a pair is the folder itself or lies directly in it, for `--shallow`.
fn is_near(pair: &pfs_v2::DiffFileResponse, root: &str) -> bool {
    let Some(info) = pair.new_file.as_ref().or(pair.old_file.as_ref()) else {
        return false;
    };
    let below = path_of(info)
        .trim_end_matches('/')
        .strip_prefix(root.trim_end_matches('/'))
        .unwrap_or_default();
    !below.trim_start_matches('/').contains('/')
}

fn names(ctx: &Ctx, arguments: &DiffFile, pairs: &[pfs_v2::DiffFileResponse]) -> CliResult {
    let mut list = MessageList::begin(&ctx.printer, None, HEADER, !arguments.pager.no_pager);
    let row = |mark: &str, info: &pfs_v2::FileInfo| {
        vec![
            mark.to_owned(),
            size::wire_size(info.size_bytes),
            path_of(info).to_owned(),
        ]
    };
    for pair in pairs {
        if let Some(new) = &pair.new_file {
            list.push(new, |info| row("+", info))?;
        }
        if let Some(old) = &pair.old_file {
            list.push(old, |info| row("-", info))?;
        }
    }
    list.finish()
}

/// Prints names below the headings of `diff-file`.
fn sections(ctx: &Ctx, pairs: &[pfs_v2::DiffFileResponse]) -> CliResult {
    let print = |heading: &str, infos: Vec<&pfs_v2::FileInfo>| -> CliResult {
        if !infos.is_empty() {
            ctx.printer.line(heading)?;
            for info in infos {
                ctx.printer.line(path_of(info))?;
            }
        }
        Ok(())
    };
    print(
        "New Files:",
        pairs.iter().filter_map(|pair| pair.new_file.as_ref()).collect(),
    )?;
    print(
        "Old Files:",
        pairs.iter().filter_map(|pair| pair.old_file.as_ref()).collect(),
    )
}

/// Runs the diff program on every pair of files.
async fn contents(ctx: &Ctx, arguments: &DiffFile, pairs: &[pfs_v2::DiffFileResponse]) -> CliResult {
    let program = program(arguments.diff_command.as_deref(), ctx.printer.colored);
    let mut out = ctx.printer.colored_list(!arguments.pager.no_pager);
    let is_folder = |info: &pfs_v2::FileInfo| info.file_type() == pfs_v2::FileType::Dir;
    for pair in pairs {
        if pair.new_file.as_ref().or(pair.old_file.as_ref()).is_none_or(is_folder) {
            continue;
        }
        let folder = tempfile::tempdir().map_err(CliError::io("cannot make a temporary folder"))?;
        let old = fetch(ctx, pair.old_file.as_ref(), folder.path(), "old").await?;
        let new = fetch(ctx, pair.new_file.as_ref(), folder.path(), "new").await?;
        compare(&program, folder.path(), [&old, &new], &mut out)?;
    }
    Ok(out.close()?)
}

fn program(wish: Option<&str>, colored: bool) -> Vec<String> {
    if let Some(text) = wish {
        let mut words: Vec<String> = text.split_whitespace().map(str::to_owned).collect();
        // The program runs in another working directory, so its path must be absolute.
        if let Some(name) = words.first_mut().filter(|name| name.contains('/'))
            && let Ok(path) = std::path::absolute(&*name)
        {
            *name = path.display().to_string();
        }
        return words;
    }
    let words: &[&str] = match (in_path("git"), colored) {
        (true, true) => &["git", "-c", "color.ui=always", "--no-pager", "diff", "--no-index"],
        (true, false) => &["git", "-c", "color.ui=never", "--no-pager", "diff", "--no-index"],
        (false, _) => &["diff", "-u"],
    };
    words.iter().map(|word| (*word).to_owned()).collect()
}

/// Gets one side of a pair into a folder; a missing side is an empty file.
///
/// Returns its path relative to the folder.
async fn fetch(ctx: &Ctx, info: Option<&pfs_v2::FileInfo>, folder: &Path, side: &str) -> Result<PathBuf, CliError> {
    let Some(file) = info.and_then(|info| info.file.clone()) else {
        return Ok(PathBuf::from("/dev/null"));
    };
    let relative = Path::new(side).join(crate::naming::rooted(&file.path).trim_start_matches('/'));
    let path = folder.join(&relative);
    let cannot_write = || CliError::io(format!("cannot write {}", path.display()));
    if let Some(parent) = path.parent() {
        std::fs::create_dir_all(parent).map_err(cannot_write())?;
    }
    let mut out = std::fs::File::create(&path).map_err(cannot_write())?;
    let literal = pfs_v2::File {
        path: escape(&file.path),
        ..file
    };
    let request = pfs_v2::GetFileRequest {
        file: Some(literal),
        ..Default::default()
    };
    let mut stream = ctx.client().await?.pfs().get_file(request).await?.into_inner();
    while let Some(bytes) = stream.message().await? {
        out.write_all(&bytes).map_err(cannot_write())?;
    }
    Ok(relative)
}

/// Escapes the characters that have a meaning in a glob.
fn escape(path: &str) -> String {
    let mut escaped = String::with_capacity(path.len());
    for letter in path.chars() {
        if "*?[]{}!()@+^\\".contains(letter) {
            escaped.push('\\');
        }
        escaped.push(letter);
    }
    escaped
}

fn compare(program: &[String], folder: &Path, sides: [&Path; 2], out: &mut PrinterOutput) -> CliResult {
    let Some((name, arguments)) = program.split_first() else {
        return Err(CliError::refused("--diff-command is empty"));
    };
    let result = Command::new(name)
        .args(arguments)
        .args(sides)
        .current_dir(folder)
        .output()
        .map_err(CliError::io(format!("cannot run {name}")))?;
    out.write_all(&result.stdout)?;
    // Exit code 1 means that the files differ.
    if matches!(result.status.code(), Some(0 | 1)) {
        return Ok(());
    }
    Err(CliError::refused(format!(
        "{name} failed: {}",
        String::from_utf8_lossy(&result.stderr).trim()
    )))
}

#[cfg(test)]
mod tests {
    use super::*;
    use howdah_api::convert;

    #[test]
    fn shallow_keeps_only_direct_children() {
        let pair = |path: &str| pfs_v2::DiffFileResponse {
            new_file: Some(pfs_v2::FileInfo {
                file: Some(convert::file(convert::commit(convert::repo("default", "r"), "c"), path)),
                ..Default::default()
            }),
            old_file: None,
        };
        assert!(is_near(&pair("/dir/a"), "/dir"));
        assert!(is_near(&pair("/dir/sub/"), "/dir"));
        assert!(!is_near(&pair("/dir/sub/a"), "/dir"));
        assert!(is_near(&pair("/a"), "/"));
    }

    #[test]
    fn paths_are_escaped_for_globs() {
        assert_eq!(escape("/a*b"), r"/a\*b");
    }
}
