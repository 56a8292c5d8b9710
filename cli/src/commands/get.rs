//! `get file`: one file to standard output or to a file, or a folder as a tree.
//!
//! Files are written by a blocking thread, which gets the server's messages through a channel of [`QUEUE`] places, so
//! that reading and writing overlap and memory stays bounded.

use std::io::{Seek, SeekFrom, Write};
use std::path::Path;

use bytes::Bytes;
use howdah_api::pfs_v2;
use tokio::sync::mpsc;

use super::unfinished;
use super::unpack::{ChannelReader, StrippedPrefix, unpack};
use crate::args::files::GetFile;
use crate::context::Ctx;
use crate::error::{CliError, CliResult};
use crate::naming::is_url;
use crate::output::progress::ProgressDisplay;
use crate::{refs, wire};

/// Messages between the connection and the writing thread. A message of the server has at most about 2 MiB.
const QUEUE: usize = 8;

/// `get file`.
pub(super) async fn run(ctx: &Ctx, arguments: &GetFile) -> CliResult {
    let project = ctx.project(&arguments.project)?;
    let reference = refs::file(&arguments.file)?;
    let file = wire::file(&project, &reference);
    let output = arguments.output.as_deref().filter(|output| *output != "-");
    let commit = file.commit.clone();
    let got = match output {
        Some(url) if is_url(url) => export(ctx, file, url).await,
        Some(path) if arguments.recursive => tree(ctx, arguments, file, Path::new(path)).await,
        None if arguments.recursive => Err(CliError::hinted(
            "-r needs -o, the folder to write to",
            format!("for instance `{} get file -r {} -o .`", ctx.program, arguments.file),
        )),
        Some(path) => to_file(ctx, arguments, file, Path::new(path)).await,
        None => to_stdout(ctx, arguments, file).await,
    };
    match got {
        Ok(()) => {
            unfinished::note(ctx, commit.as_ref()).await;
            Ok(())
        }
        Err(error) => Err(unfinished::explain(ctx, commit.as_ref(), error).await),
    }
}

/// Lets the server write to an object store.
async fn export(ctx: &Ctx, file: pfs_v2::File, url: &str) -> CliResult {
    let request = pfs_v2::GetFileRequest {
        file: Some(file),
        url: url.to_owned(),
        ..Default::default()
    };
    let mut stream = ctx.client().await?.pfs().get_file_tar(request).await?.into_inner();
    while stream.message().await?.is_some() {}
    Ok(())
}

fn request(file: pfs_v2::File, offset: u64) -> Result<pfs_v2::GetFileRequest, CliError> {
    let offset = i64::try_from(offset).map_err(|_| CliError::refused(format!("offset {offset} is too large")))?;
    Ok(pfs_v2::GetFileRequest {
        file: Some(file),
        offset,
        ..Default::default()
    })
}

/// Translates the server's hint from calls of the API to flags of the command line.
fn one_file_only(file: &str, status: tonic::Status) -> CliError {
    if status.message().contains("Use GetFileTAR instead") {
        return CliError::hinted(
            format!("{file} is a folder, or matches several files"),
            "-r together with -o FOLDER gets all of it",
        );
    }
    status.into()
}

/// Makes a progress bar. Its length is known if the path names one file or folder.
async fn bar(ctx: &Ctx, arguments: &GetFile, file: &pfs_v2::File, done: u64) -> ProgressDisplay {
    // A bar on the terminal would mix with the content of the file.
    let to_terminal = ctx.printer.stdout_terminal && arguments.output.is_none();
    let shown = ctx.printer.stderr_terminal && arguments.progress != Some(false) && !to_terminal;
    let progress = ProgressDisplay::bytes(shown, if shown { size(ctx, file).await } else { 0 });
    progress.describe(&arguments.file);
    progress.skip(done);
    progress
}

/// Returns the size of a file or folder; zero (unknown) if the path is a pattern.
async fn size(ctx: &Ctx, file: &pfs_v2::File) -> u64 {
    let Ok(client) = ctx.client().await else { return 0 };
    let request = pfs_v2::InspectFileRequest {
        file: Some(file.clone()),
    };
    let answer = client.pfs().inspect_file(request).await;
    answer.map_or(0, |info| u64::try_from(info.get_ref().size_bytes).unwrap_or(0))
}

async fn to_stdout(ctx: &Ctx, arguments: &GetFile, file: pfs_v2::File) -> CliResult {
    let fail = |status| one_file_only(&arguments.file, status);
    let mut progress = bar(ctx, arguments, &file, arguments.offset).await;
    let request = request(file, arguments.offset)?;
    let mut stream = ctx
        .client()
        .await?
        .pfs()
        .get_file(request)
        .await
        .map_err(fail)?
        .into_inner();
    let mut out = ctx.printer.bytes();
    while let Some(bytes) = stream.message().await.map_err(fail)? {
        out.write_all(&bytes)?;
        progress.add(bytes.len() as u64);
    }
    Ok(out.flush()?)
}

/// Writes a file; with `--retry` appends the part that an earlier attempt did not write.
async fn to_file(ctx: &Ctx, arguments: &GetFile, file: pfs_v2::File, path: &Path) -> CliResult {
    let fail = |status| one_file_only(&arguments.file, status);
    let cannot_write = || CliError::io(format!("cannot write {}", path.display()));
    if path.is_dir() {
        return Err(CliError::hinted(
            format!("cannot write {}: it is a folder", path.display()),
            "-o names the file to write; with -r it names a folder",
        ));
    }
    let have = match (arguments.retry, tokio::fs::metadata(path).await) {
        (true, Ok(metadata)) => metadata.len(),
        _ => 0,
    };
    let mut progress = bar(ctx, arguments, &file, arguments.offset + have).await;
    let request = request(file, arguments.offset + have)?;
    let mut stream = ctx
        .client()
        .await?
        .pfs()
        .get_file(request)
        .await
        .map_err(fail)?
        .into_inner();
    // Opened after the first answer: a file that the server does not have must not truncate the local one.
    let mut next = stream.message().await.map_err(fail)?;
    let mut options = std::fs::OpenOptions::new();
    options.create(true).write(true).truncate(!arguments.retry);
    let mut out = options.open(path).map_err(cannot_write())?;
    out.seek(SeekFrom::Start(have)).map_err(cannot_write())?;
    // A blocking thread writes while the next message arrives.
    let (sender, mut receiver) = mpsc::channel::<Bytes>(QUEUE);
    let writing = tokio::task::spawn_blocking(move || {
        while let Some(bytes) = receiver.blocking_recv() {
            out.write_all(&bytes)?;
        }
        out.flush()
    });
    while let Some(bytes) = next {
        progress.add(bytes.len() as u64);
        // A closed channel means that the writer has failed; its error is returned below.
        if sender.send(bytes).await.is_err() {
            break;
        }
        next = stream.message().await.map_err(fail)?;
    }
    drop(sender);
    writing
        .await
        .map_err(|panic| CliError::refused(format!("writing the file failed: {panic}")))?
        .map_err(cannot_write())
}

/// Writes everything that matches below a folder.
async fn tree(ctx: &Ctx, arguments: &GetFile, file: pfs_v2::File, folder: &Path) -> CliResult {
    if arguments.offset > 0 || arguments.retry {
        return Err(CliError::refused(
            "--offset and --retry are for single files and cannot be used with -r",
        ));
    }
    let base = StrippedPrefix::of(&file.path);
    let mut progress = bar(ctx, arguments, &file, 0).await;
    let request = request(file, 0)?;
    let mut stream = ctx.client().await?.pfs().get_file_tar(request).await?.into_inner();
    let mut next = stream.message().await?;
    let (sender, receiver) = mpsc::channel::<Bytes>(QUEUE);
    let root = folder.to_owned();
    let counter = progress.counter();
    let writing = tokio::task::spawn_blocking(move || unpack(ChannelReader::new(receiver), &base, &root, &counter));
    while let Some(bytes) = next {
        // Only shows the bar. The writer counts bytes, because an archive is longer than its files.
        progress.add(0);
        // A closed channel means that the writer has failed; its error is returned below.
        if sender.send(bytes).await.is_err() {
            break;
        }
        next = stream.message().await?;
    }
    drop(sender);
    writing
        .await
        .map_err(|panic| CliError::refused(format!("writing the files failed: {panic}")))?
}
