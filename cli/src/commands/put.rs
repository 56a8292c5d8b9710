//! Putting files: everything named by one command goes into one request, so into one commit.
//!
//! A thread walks and reads the sources and hands over batches of messages through a short channel, so memory does not
//! grow with the data. The request's stream ends only after an explicit
//! last step: whatever goes wrong before that (a file that vanishes, Ctrl-C) breaks the request
//! instead of ending it, and the server keeps nothing.

use std::path::{Path, PathBuf};

use futures::stream::{self, Stream};
use howdah_api::pfs_v2;
use howdah_api::pfs_v2::modify_file_request::Body;
use tokio::sync::mpsc;
use tokio::time::timeout;
use tonic::codec::CompressionEncoding;

use super::Done;
use super::file_offers::Lender;
use super::files::{set_commit, write_error};
use super::outbox::{QUEUE, Step};
use super::walk::{self, Reader};
use crate::args::files::{PutFile, Split};
use crate::context::Ctx;
use crate::error::CliError;
use crate::naming::{Naming, Rule, is_url};
use crate::output::progress::{Counter, PATIENCE, Progress};
use crate::{refs, source, wire};

/// Something to put, and where.
#[derive(Debug, PartialEq, Eq)]
pub struct Item {
    /// What is read.
    pub from: From,
    /// Path in the repo: of the file, or of the folder for the files below.
    pub to: String,
}

/// Where bytes come from.
#[derive(Debug, PartialEq, Eq)]
pub enum From {
    /// Standard input.
    Stdin,
    /// A local file.
    File(PathBuf),
    /// A local folder.
    Folder(PathBuf),
    /// A URL, fetched by the server.
    Url(String),
}

/// `put file`.
pub async fn run(ctx: &Ctx, mut arguments: PutFile) -> Done {
    let project = ctx.project(&arguments.project)?;
    let target = refs::file(&arguments.target)?;
    if let Some(path) = target.path.as_deref()
        && path.split('/').any(|element| element == "..")
    {
        return Err(CliError::refused(format!(
            "the path {path} leaves its repository: give it without \"..\""
        )));
    }
    let commit = wire::commit(&project, &target.commit);
    let sources = sources(&mut arguments).await?;
    let naming = match (ctx.hyphenated, arguments.full_path) {
        (Some(_), _) => Naming::Hyphenated,
        (None, true) => Naming::Full,
        (None, false) => Naming::Base,
    };
    let rule = Rule {
        target: target.path.as_deref().filter(|path| !path.is_empty()),
        naming,
        recursive: arguments.recursive,
        several: sources.len() > 1,
    };
    if matches!(arguments.split, Some(Split::Csv | Split::Sql)) {
        return Err(CliError::refused(
            "--split csv and --split sql are not provided; line and json are",
        ));
    }
    let items = plan(&sources, &rule)?;
    if nothing_to_put(&items)? {
        ctx.printer.note(format!(
            "nothing to put: there are no files in {}; no commit was made",
            sources.join(", ")
        ));
        return Ok(());
    }
    let total = total_bytes(&items)?;
    if arguments.commit {
        refuse_open_head(ctx, &commit).await?;
    }
    let shown = ctx.printer.stderr_terminal && arguments.progress != Some(false);
    let progress = Progress::bytes(shown, total);
    if shown && total == 0 {
        count_ahead(&items, progress.counter());
    }
    let archive_prefix = rule.target.unwrap_or_default().to_owned();
    let reader = Reader::new(&arguments, archive_prefix);
    send(ctx, commit, items, reader, progress, arguments.compress).await
}

/// Collects the sources that flags and lists name; standard input if there are none.
async fn sources(arguments: &mut PutFile) -> Result<Vec<String>, CliError> {
    let mut sources: Vec<String> = arguments.file.iter().flat_map(|text| split_list(text)).collect();
    if let Some(list) = &arguments.input_file {
        let text = source::read(list).await?;
        let lines = String::from_utf8(text.text)
            .map_err(|_| CliError::refused(format!("the list {} is not text", text.name)))?;
        sources.extend(
            lines
                .lines()
                .map(str::trim)
                .filter(|line| !line.is_empty())
                .map(str::to_owned),
        );
    } else if sources.is_empty() {
        sources.push("-".to_owned());
    }
    Ok(sources)
}

/// Splits a list at its commas, unless a file has just that name.
fn split_list(text: &str) -> Vec<String> {
    if !text.contains(',') || is_url(text) || Path::new(text).exists() {
        return vec![text.to_owned()];
    }
    text.split(',')
        .filter(|part| !part.is_empty())
        .map(str::to_owned)
        .collect()
}

/// Decides what goes where; every local source must exist.
fn plan(sources: &[String], rule: &Rule<'_>) -> Result<Vec<Item>, CliError> {
    sources.iter().map(|source| plan_one(source, rule)).collect()
}

fn plan_one(source: &str, rule: &Rule<'_>) -> Result<Item, CliError> {
    if source == "-" {
        if rule.recursive {
            return Err(CliError::refused("cannot use -r with standard input (-f -)"));
        }
        let target = rule.target.filter(|path| !path.ends_with('/'));
        let Some(target) = target.filter(|_| !rule.several) else {
            return Err(CliError::hinted(
                "must specify filename when reading data from stdin",
                "write it as REPO@BRANCH:PATH, or name the sources with -f",
            ));
        };
        return Ok(Item {
            from: From::Stdin,
            to: crate::naming::rooted(target),
        });
    }
    let to = rule.place(source);
    if is_url(source) {
        return Ok(Item {
            from: From::Url(source.to_owned()),
            to,
        });
    }
    let path = PathBuf::from(source);
    let metadata = std::fs::metadata(&path).map_err(CliError::io(format!("cannot read {source}")))?;
    match (metadata.is_dir(), rule.recursive) {
        (true, false) => Err(CliError::hinted(
            format!("{source} is a folder"),
            "-r puts a folder and everything in it",
        )),
        (true, true) => Ok(Item {
            from: From::Folder(path),
            to,
        }),
        (false, _) => Ok(Item {
            from: From::File(path),
            to,
        }),
    }
}

/// Returns whether the items are folders, and none of them holds a file that would be put.
fn nothing_to_put(items: &[Item]) -> Result<bool, CliError> {
    for item in items {
        match &item.from {
            From::Folder(path) if !walk::holds_files(path)? => {}
            _ => return Ok(false),
        }
    }
    Ok(!items.is_empty())
}

/// Sums the sizes of plain files; zero (unknown) if anything else is among the sources.
fn total_bytes(items: &[Item]) -> Result<u64, CliError> {
    let mut total = 0;
    for item in items {
        match &item.from {
            From::File(path) => {
                let what = format!("cannot read {}", path.display());
                total += std::fs::metadata(path).map_err(CliError::io(what))?.len();
            }
            _ => return Ok(0),
        }
    }
    Ok(total)
}

/// Adds up the sizes of files and folders while they are being put, so that the bar can tell what is left; gives up in
/// silence where that cannot be told, as with standard input. Only worth its price if somebody looks.
fn count_ahead(items: &[Item], counter: Counter) {
    let mut paths = Vec::new();
    for item in items {
        match &item.from {
            From::File(path) | From::Folder(path) => paths.push(path.clone()),
            From::Stdin | From::Url(_) => return,
        }
    }
    // Not waited for: it ends with the program at the latest.
    std::thread::spawn(move || {
        if let Ok(total) = paths.iter().map(|path| bytes_below(path)).sum() {
            counter.total_bytes(total);
        }
    });
}

fn bytes_below(path: &Path) -> std::io::Result<u64> {
    let metadata = std::fs::symlink_metadata(path)?;
    if !metadata.is_dir() {
        return Ok(if metadata.is_file() { metadata.len() } else { 0 });
    }
    std::fs::read_dir(path)?.map(|entry| bytes_below(&entry?.path())).sum()
}

/// Makes sure that a commit of its own can be made: `-c` of the hyphenated form asks for one.
async fn refuse_open_head(ctx: &Ctx, commit: &pfs_v2::Commit) -> Done {
    let request = pfs_v2::InspectCommitRequest {
        commit: Some(commit.clone()),
        wait: 0,
    };
    match ctx.client().await?.pfs().inspect_commit(request).await {
        Ok(response) if response.get_ref().finished.is_none() && response.get_ref().finishing.is_none() => {
            Err(CliError::hinted(
                format!(
                    "-c asks for a commit of its own, but commit {} is still open",
                    response
                        .get_ref()
                        .commit
                        .as_ref()
                        .map_or(String::new(), wire::commit_name)
                ),
                "leave -c away to add to the open commit, or finish it first",
            ))
        }
        Ok(_) => Ok(()),
        // No branch yet: the put makes it.
        Err(status) if status.code() == tonic::Code::NotFound => Ok(()),
        Err(status) => Err(status.into()),
    }
}

/// Reads the items in a thread of its own and sends them.
async fn send(
    ctx: &Ctx,
    commit: pfs_v2::Commit,
    items: Vec<Item>,
    reader: Reader,
    progress: Progress,
    compress: bool,
) -> Done {
    let mut pfs = ctx.client().await?.pfs();
    if compress {
        pfs = pfs.send_compressed(CompressionEncoding::Gzip);
    }
    // Ends the wait for a file on loan when this returns early.
    let lender = ctx.lending_desk().map(|desk| Lender::new(desk, progress.counter()));
    let reader = reader.lending_by(lender.as_ref());
    let (sender, receiver) = mpsc::channel(QUEUE);
    let call = async {
        let answer = pfs.modify_file(messages(set_commit(commit), receiver, progress)).await;
        answer.map(|_| ()).map_err(|status| write_error(ctx, status))
    };
    tokio::pin!(call);
    let reading = tokio::task::spawn_blocking(move || reader.read_all(items, &sender));
    let read = tokio::select! {
        answer = &mut call => return answer,
        read = reading => read,
    };
    match read {
        Ok(Ok(())) => call.await,
        Ok(Err(error)) => Err(error),
        Err(panic) => Err(CliError::refused(format!("reading the files failed: {panic}"))),
    }
}

/// Turns steps into the request's messages; ends only at [`Step::End`].
fn messages(
    first: pfs_v2::ModifyFileRequest,
    receiver: mpsc::Receiver<Step>,
    progress: Progress,
) -> impl Stream<Item = pfs_v2::ModifyFileRequest> {
    let batches = stream::unfold((receiver, progress), |(mut receiver, mut progress)| async move {
        // While a file on loan is read, nothing comes for long.
        let step = match timeout(PATIENCE, receiver.recv()).await {
            Ok(step) => step,
            Err(_) => {
                progress.add(0);
                receiver.recv().await
            }
        };
        match step {
            Some(Step::Messages(messages)) => {
                show(&messages, &mut progress);
                Some((stream::iter(messages), (receiver, progress)))
            }
            Some(Step::End) => None,
            // The reader gave up. Ending the stream would make a commit of the part that was sent.
            None => std::future::pending().await,
        }
    });
    let rest = futures::StreamExt::flatten(batches);
    futures::StreamExt::chain(stream::iter([first]), rest)
}

/// Shows what is being sent.
fn show(messages: &[pfs_v2::ModifyFileRequest], progress: &mut Progress) {
    let adds = messages.iter().filter_map(|message| match &message.body {
        Some(Body::AddFile(add)) => Some(add),
        _ => None,
    });
    let (mut bytes, mut last) = (0, None);
    for add in adds {
        last = Some(add);
        if let Some(pfs_v2::add_file::Source::Raw(raw)) = &add.source {
            bytes += raw.len() as u64;
        }
    }
    if let Some(add) = last {
        progress.describe(&add.path);
    }
    progress.add(bytes);
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    fn rule(target: Option<&'static str>, recursive: bool) -> Rule<'static> {
        Rule {
            target,
            naming: Naming::Base,
            recursive,
            several: false,
        }
    }

    #[test]
    fn standard_input_needs_a_path() {
        let error = plan(&["-".to_owned()], &rule(None, false)).unwrap_err();
        assert_eq!(error.to_string(), "must specify filename when reading data from stdin");
        assert!(plan(&["-".to_owned()], &rule(Some("x"), true)).is_err());
        let items = plan(&["-".to_owned()], &rule(Some("x"), false)).expect("a plan");
        assert_eq!(
            items,
            [Item {
                from: From::Stdin,
                to: "/x".to_owned()
            }]
        );
    }

    #[test]
    fn a_missing_file_is_named() {
        let error = plan(&["/nowhere/x.csv".to_owned()], &rule(None, false)).unwrap_err();
        assert!(error.to_string().starts_with("cannot read /nowhere/x.csv:"), "{error}");
    }

    #[test]
    fn folders_need_the_recursive_flag() {
        let folder = tempfile::tempdir().expect("a folder");
        let source = folder.path().display().to_string();
        let error = plan(std::slice::from_ref(&source), &rule(None, false)).unwrap_err();
        assert_eq!(error.to_string(), format!("{source} is a folder"));
        assert!(plan(&[source], &rule(None, true)).is_ok());
    }

    #[test]
    fn folders_without_files_are_nothing_to_put() {
        let folder = tempfile::tempdir().expect("a folder");
        fs::create_dir_all(folder.path().join("a/b")).expect("made");
        std::os::unix::fs::symlink("/etc/hostname", folder.path().join("link")).expect("made");
        let item = || Item {
            from: From::Folder(folder.path().to_owned()),
            to: "/".to_owned(),
        };
        assert!(nothing_to_put(&[item(), item()]).expect("read"));
        fs::write(folder.path().join("a/b/file"), "").expect("written");
        assert!(!nothing_to_put(&[item()]).expect("read"));
        let stdin = Item {
            from: From::Stdin,
            to: "/x".to_owned(),
        };
        assert!(!nothing_to_put(&[stdin]).expect("read"));
    }

    #[test]
    fn lists_are_split_unless_a_file_has_that_name() {
        let folder = tempfile::tempdir().expect("a folder");
        let odd = folder.path().join("a,b");
        fs::write(&odd, "x").expect("written");
        let odd = odd.display().to_string();
        assert_eq!(split_list("a.csv,b.csv"), ["a.csv", "b.csv"]);
        assert_eq!(split_list(&odd), std::slice::from_ref(&odd));
        assert_eq!(split_list("https://host/a,b"), ["https://host/a,b"]);
    }

    #[tokio::test]
    async fn a_reader_that_gives_up_never_ends_the_request() {
        let (sender, receiver) = mpsc::channel(1);
        let first = set_commit(pfs_v2::Commit::default());
        let stream = messages(first, receiver, Progress::bytes(false, 0));
        tokio::pin!(stream);
        assert!(futures::StreamExt::next(&mut stream).await.is_some());
        drop(sender);
        assert!(futures::FutureExt::now_or_never(futures::StreamExt::next(&mut stream)).is_none());
    }

    #[tokio::test]
    async fn the_last_step_ends_the_request() {
        let (sender, receiver) = mpsc::channel(1);
        let stream = messages(
            set_commit(pfs_v2::Commit::default()),
            receiver,
            Progress::bytes(false, 0),
        );
        sender.send(Step::End).await.expect("sent");
        assert_eq!(futures::StreamExt::count(stream).await, 1);
    }
}
