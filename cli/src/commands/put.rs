//! `put file`: all sources of one command go into one request, so into one commit.
//!
//! ```text
//! reading thread                      channel              connection
//!   SourceReader: walks, reads  -->   batches       -->    ModifyFile stream
//!   FileOffers: offers large files, which the server reads itself
//! ```
//!
//! The channel is short, so memory does not grow with the data. The stream ends only after [`PutEvent::End`]: an error
//! before that (a file that vanishes, Ctrl-C) breaks the request instead of ending it, and the server keeps nothing.
//! Local sources are checked before the first message is sent. A message lists what is left out, after all else is stored.

use std::collections::HashSet;
use std::path::{Path, PathBuf};

use futures::stream::{self, Stream};
use howdah_api::pfs_v2;
use howdah_api::pfs_v2::modify_file_request::Body;
use tokio::sync::mpsc;
use tokio::time::timeout;
use tonic::codec::CompressionEncoding;

use super::file_offers::FileOffers;
use super::files::{set_commit, write_error};
use super::outbox::{PutEvent, QUEUE};
use super::put_item::{PutItem, PutReport, PutSource, holds_files};
use super::targets::refuse_shared_targets;
use super::walk::SourceReader;
use crate::args::files::{PutFile, Split};
use crate::context::Ctx;
use crate::error::{CliError, CliResult};
use crate::naming::{Naming, NamingRule, is_url};
use crate::output::progress::{PATIENCE, ProgressCounter, ProgressDisplay};
use crate::{refs, source, wire};

/// `put file`.
pub(super) async fn run(ctx: &Ctx, mut arguments: PutFile) -> CliResult {
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
    let rule = NamingRule {
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
    let mut items = plan(&sources, &rule)?;
    if !arguments.append {
        // The same source twice is one file.
        let mut known = HashSet::new();
        items.retain(|item| known.insert(item.from.name()));
        // The reader does this for archives, whose files are not known yet.
        if !arguments.untar {
            refuse_shared_targets(&items)?;
        }
    }
    if let Some(report) = nothing_to_put(&items)? {
        tell(ctx, &report);
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
    let progress = ProgressDisplay::bytes(shown, total);
    if shown && total == 0 {
        count_ahead(&items, progress.counter());
    }
    let archive_prefix = rule.target.unwrap_or_default().to_owned();
    let reader = SourceReader::new(&arguments, archive_prefix);
    send(ctx, commit, items, reader, progress, arguments.compress).await
}

/// Returns the sources that flags and lists name; standard input without any.
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

/// Splits a list at its commas, unless the whole text names an existing file.
fn split_list(text: &str) -> Vec<String> {
    if !text.contains(',') || is_url(text) || Path::new(text).exists() {
        return vec![text.to_owned()];
    }
    text.split(',')
        .filter(|part| !part.is_empty())
        .map(str::to_owned)
        .collect()
}

/// Returns the target of each source. Fails if a local source does not exist.
fn plan(sources: &[String], rule: &NamingRule<'_>) -> Result<Vec<PutItem>, CliError> {
    sources.iter().map(|source| plan_one(source, rule)).collect()
}

fn plan_one(source: &str, rule: &NamingRule<'_>) -> Result<PutItem, CliError> {
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
        return Ok(PutItem {
            from: PutSource::Stdin,
            to: crate::naming::rooted(target),
        });
    }
    let to = rule.place(source);
    if is_url(source) {
        return Ok(PutItem {
            from: PutSource::Url(source.to_owned()),
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
        (true, true) => Ok(PutItem {
            from: PutSource::Folder(path),
            to,
        }),
        (false, _) => Ok(PutItem {
            from: PutSource::File(path),
            to,
        }),
    }
}

/// Returns what is left out if all items are folders without files.
fn nothing_to_put(items: &[PutItem]) -> Result<Option<PutReport>, CliError> {
    let mut report = PutReport::default();
    for item in items {
        match &item.from {
            PutSource::Folder(path) if !holds_files(path, &mut report.left_out)? => {}
            _ => return Ok(None),
        }
    }
    Ok((!items.is_empty()).then_some(report))
}

/// Tells the user what the data in the repo does not show.
fn tell(ctx: &Ctx, report: &PutReport) {
    for line in report.lines() {
        ctx.printer.note(line);
    }
}

/// Returns the total size if all items are files, else zero (unknown).
fn total_bytes(items: &[PutItem]) -> Result<u64, CliError> {
    let mut total = 0;
    for item in items {
        match &item.from {
            PutSource::File(path) => {
                let what = format!("cannot read {}", path.display());
                total += std::fs::metadata(path).map_err(CliError::io(what))?.len();
            }
            _ => return Ok(0),
        }
    }
    Ok(total)
}

/// Adds up the sizes of files and folders in the background, for a progress bar with an end.
///
/// Does nothing if a size is unknown, as with standard input. It reads every folder once more, so it is called only if
/// the bar is shown.
fn count_ahead(items: &[PutItem], counter: ProgressCounter) {
    let mut paths = Vec::new();
    for item in items {
        match &item.from {
            PutSource::File(path) | PutSource::Folder(path) => paths.push(path.clone()),
            PutSource::Stdin | PutSource::Url(_) => return,
        }
    }
    // Detached: the put does not depend on it, and it ends with the process at the latest.
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

/// Fails if the head of the branch is open: `-c` of the hyphenated form needs a commit of its own.
async fn refuse_open_head(ctx: &Ctx, commit: &pfs_v2::Commit) -> CliResult {
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
                "omit -c to add to the open commit, or finish it first",
            ))
        }
        Ok(_) => Ok(()),
        // Without the branch there is no open head; the put creates the branch.
        Err(status) if status.code() == tonic::Code::NotFound => Ok(()),
        Err(status) => Err(status.into()),
    }
}

/// Reads the items in a blocking thread and sends them.
async fn send(
    ctx: &Ctx,
    commit: pfs_v2::Commit,
    items: Vec<PutItem>,
    reader: SourceReader,
    progress: ProgressDisplay,
    compress: bool,
) -> CliResult {
    let mut pfs = ctx.client().await?.pfs();
    if compress {
        pfs = pfs.send_compressed(CompressionEncoding::Gzip);
    }
    // Dropped when this function returns or is cancelled. That ends the wait for an open offer: otherwise the reading
    // thread would block for ever, because a blocking thread cannot be cancelled.
    let offers = ctx
        .file_broker()
        .map(|broker| FileOffers::new(broker, progress.counter()));
    let reader = reader.with_offers(offers.as_ref());
    let (sender, receiver) = mpsc::channel(QUEUE);
    let call = async {
        let answer = pfs.modify_file(messages(set_commit(commit), receiver, progress)).await;
        answer.map(|_| ()).map_err(|status| write_error(ctx, status))
    };
    tokio::pin!(call);
    let mut reading = tokio::task::spawn_blocking(move || reader.read_all(items, &sender));
    let (answered, read) = tokio::select! {
        answer = &mut call => {
            // The request ends before the reader only if it fails. Its error is the cause; the reader then fails with a
            // closed channel, which says nothing. A request that succeeds has all messages: the reader is done too.
            answer?;
            (true, (&mut reading).await)
        }
        read = &mut reading => (false, read),
    };
    // Returning an error drops the request without its end, so the server discards what it has received.
    let report = read.map_err(|panic| CliError::refused(format!("reading the files failed: {panic}")))??;
    if !answered {
        // Everything is in the channel, but not yet sent.
        call.await?;
    }
    tell(ctx, &report);
    Ok(())
}

/// Converts events to the messages of the request. The stream ends only at [`PutEvent::End`].
fn messages(
    first: pfs_v2::ModifyFileRequest,
    receiver: mpsc::Receiver<PutEvent>,
    progress: ProgressDisplay,
) -> impl Stream<Item = pfs_v2::ModifyFileRequest> {
    let batches = stream::unfold((receiver, progress), |(mut receiver, mut progress)| async move {
        // While the server reads an offered file, no event arrives for a long time: show the bar meanwhile.
        let event = match timeout(PATIENCE, receiver.recv()).await {
            Ok(event) => event,
            Err(_) => {
                progress.add(0);
                receiver.recv().await
            }
        };
        match event {
            Some(PutEvent::Messages(messages)) => {
                show(&messages, &mut progress);
                Some((stream::iter(messages), (receiver, progress)))
            }
            Some(PutEvent::End) => None,
            // The reader has failed and dropped its sender. Ending the stream here would commit the part that was sent,
            // so the stream stays pending until the caller drops the request.
            None => std::future::pending().await,
        }
    });
    let rest = futures::StreamExt::flatten(batches);
    futures::StreamExt::chain(stream::iter([first]), rest)
}

/// Shows the messages of a batch in the progress bar.
fn show(messages: &[pfs_v2::ModifyFileRequest], progress: &mut ProgressDisplay) {
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

    fn rule(target: Option<&'static str>, recursive: bool) -> NamingRule<'static> {
        NamingRule {
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
            [PutItem {
                from: PutSource::Stdin,
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
        let item = || PutItem {
            from: PutSource::Folder(folder.path().to_owned()),
            to: "/".to_owned(),
        };
        let report = nothing_to_put(&[item(), item()])
            .expect("read")
            .expect("nothing to put");
        let link = format!("{}/link (symbolic link)", folder.path().display());
        assert_eq!(report.lines(), [format!("warning: 2 left out: {link}, {link}")]);
        fs::write(folder.path().join("a/b/file"), "").expect("written");
        assert_eq!(nothing_to_put(&[item()]).expect("read"), None);
        let stdin = PutItem {
            from: PutSource::Stdin,
            to: "/x".to_owned(),
        };
        assert_eq!(nothing_to_put(&[stdin]).expect("read"), None);
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
    async fn a_reader_that_fails_never_ends_the_request() {
        let (sender, receiver) = mpsc::channel(1);
        let first = set_commit(pfs_v2::Commit::default());
        let stream = messages(first, receiver, ProgressDisplay::bytes(false, 0));
        tokio::pin!(stream);
        assert!(futures::StreamExt::next(&mut stream).await.is_some());
        drop(sender);
        assert!(futures::FutureExt::now_or_never(futures::StreamExt::next(&mut stream)).is_none());
    }

    #[tokio::test]
    async fn the_end_event_ends_the_request() {
        let (sender, receiver) = mpsc::channel(1);
        let stream = messages(
            set_commit(pfs_v2::Commit::default()),
            receiver,
            ProgressDisplay::bytes(false, 0),
        );
        sender.send(PutEvent::End).await.expect("sent");
        assert_eq!(futures::StreamExt::count(stream).await, 1);
    }
}
