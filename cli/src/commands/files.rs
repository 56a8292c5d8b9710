//! Commands that list, inspect and delete files.

use howdah_api::pfs_v2;

use super::{origin, unfinished};
use crate::args::files::{DeleteFile, GlobFile, OneFile};
use crate::args::shared::Encoding;
use crate::context::Ctx;
use crate::error::{CliError, CliResult};
use crate::output::fields::Fields;
use crate::output::list::MessageList;
use crate::output::raw::Raw;
use crate::output::size;
use crate::{refs, wire};

const HEADER: &[&str] = &["SIZE", "NAME"];

/// `list file`.
pub(super) async fn list(ctx: &Ctx, arguments: &OneFile) -> CliResult {
    let encoding = arguments.view.raw.encoding()?;
    let project = ctx.project(&arguments.project)?;
    let file = wire::file(&project, &refs::file(&arguments.file)?);
    let commit = file.commit.clone();
    let request = pfs_v2::ListFileRequest {
        file: Some(file),
        ..Default::default()
    };
    let answer = ctx.client().await?.pfs().list_file(request).await;
    print(ctx, encoding, commit, answer).await
}

/// Prints files as they arrive, and a note if the commit is not finished.
async fn print(
    ctx: &Ctx,
    encoding: Option<Encoding>,
    commit: Option<pfs_v2::Commit>,
    answer: Result<tonic::Response<tonic::Streaming<pfs_v2::FileInfo>>, tonic::Status>,
) -> CliResult {
    let mut list = MessageList::begin(&ctx.printer, encoding, HEADER, false);
    let mut committed = false;
    let read = async {
        let mut stream = answer?.into_inner();
        while let Some(info) = stream.message().await? {
            committed |= info.committed.is_some();
            list.push(&info, row)?;
        }
        Ok(())
    };
    if let Err(error) = read.await {
        return Err(unfinished::explain(ctx, commit.as_ref(), error).await);
    }
    list.finish()?;
    if !committed {
        unfinished::note(ctx, commit.as_ref()).await;
    }
    Ok(())
}

/// `glob file`.
pub(super) async fn glob(ctx: &Ctx, arguments: &GlobFile) -> CliResult {
    let encoding = arguments.view.raw.encoding()?;
    let project = ctx.project(&arguments.project)?;
    let file = refs::file(&arguments.pattern)?;
    let commit = Some(wire::commit(&project, &file.commit));
    let request = pfs_v2::GlobFileRequest {
        commit: commit.clone(),
        pattern: file.path.unwrap_or_default(),
        ..Default::default()
    };
    let answer = ctx.client().await?.pfs().glob_file(request).await;
    print(ctx, encoding, commit, answer).await
}

fn row(info: &pfs_v2::FileInfo) -> Vec<String> {
    vec![
        size::wire_size(info.size_bytes),
        info.file.as_ref().map_or(String::new(), |file| file.path.clone()),
    ]
}

/// `inspect file`: the file, and for an output of a pipeline what made it.
pub(super) async fn inspect(ctx: &Ctx, arguments: &OneFile) -> CliResult {
    let encoding = arguments.view.raw.encoding()?;
    let project = ctx.project(&arguments.project)?;
    let file = wire::file(&project, &refs::file(&arguments.file)?);
    let commit = file.commit.clone();
    let request = pfs_v2::InspectFileRequest { file: Some(file) };
    let info = match ctx.client().await?.pfs().inspect_file(request).await {
        Ok(answer) => answer.into_inner(),
        Err(status) => return Err(unfinished::explain(ctx, commit.as_ref(), status.into()).await),
    };
    if info.committed.is_none() {
        unfinished::note(ctx, commit.as_ref()).await;
    }
    if let Some(encoding) = encoding {
        let mut out = ctx.printer.list(false);
        Raw::new(encoding).message(&mut out, &info)?;
        return Ok(out.close()?);
    }
    let file = info.file.clone().unwrap_or_default();
    let kind = match info.file_type() {
        pfs_v2::FileType::Dir => "dir",
        _ => "file",
    };
    let mut fields = Fields::new();
    fields
        .line("Path", &file.path)
        .line("Datum", &file.datum)
        .line("Type", kind)
        .line("Size", size::wire_size(info.size_bytes));
    if !file.datum.is_empty() {
        match origin::find(ctx, &file).await {
            Ok(origin) => origin.describe(&mut fields),
            Err(error) => ctx
                .printer
                .note(format!("warning: what made this file cannot be shown: {error}")),
        }
    }
    Ok(ctx.printer.text(fields.text())?)
}

/// `delete file`.
pub(super) async fn delete(ctx: &Ctx, arguments: &DeleteFile) -> CliResult {
    let project = ctx.project(&arguments.project)?;
    let file = refs::file(&arguments.file)?;
    let Some(mut path) = file.path.clone().filter(|path| !path.is_empty()) else {
        return Err(CliError::hinted(
            format!("invalid file {:?}: the path is missing", arguments.file),
            "REPO@BRANCH:/ with -r deletes every file",
        ));
    };
    // Deleting a folder needs no flag in 1.x.
    let recursive = arguments.recursive || ctx.hyphenated.is_some();
    if !recursive && !path.ends_with('/') {
        refuse_folder(ctx, &arguments.file, wire::file(&project, &file)).await?;
    }
    if recursive && !path.ends_with('/') {
        path.push('/');
    }
    let paths = if recursive && path != "/" {
        // With -r the path may name a folder or a file: delete both forms.
        vec![path.trim_end_matches('/').to_owned(), path]
    } else {
        vec![path]
    };
    let mut requests = vec![set_commit(wire::commit(&project, &file.commit))];
    requests.extend(paths.into_iter().map(|path| delete_path(&path)));
    let mut pfs = ctx.client().await?.pfs();
    match pfs.modify_file(tokio_stream::iter(requests)).await {
        Ok(_) => Ok(()),
        Err(status) => Err(write_error(ctx, status)),
    }
}

/// Refuses to delete a folder without -r. The server would accept it and delete nothing.
async fn refuse_folder(ctx: &Ctx, argument: &str, file: pfs_v2::File) -> CliResult {
    let request = pfs_v2::InspectFileRequest { file: Some(file) };
    match ctx.client().await?.pfs().inspect_file(request).await {
        Ok(answer) if answer.get_ref().file_type() == pfs_v2::FileType::Dir => Err(CliError::hinted(
            format!("{argument} is a folder"),
            "-r deletes a folder and everything in it",
        )),
        // Other errors are those of the deletion itself.
        _ => Ok(()),
    }
}

/// Returns the error of a write. "Not found" gets a hint if a transaction is active, which may create the repo later.
pub(super) fn write_error(ctx: &Ctx, status: tonic::Status) -> CliError {
    let error = CliError::from(status);
    match (&error, ctx.transaction()) {
        (CliError::Server(status), Ok(Some(id))) if status.code() == tonic::Code::NotFound => CliError::hinted(
            error.to_string(),
            format!(
                "files are written outside of transactions: `{} finish transaction` first ({id} is active)",
                ctx.program
            ),
        ),
        _ => error,
    }
}

/// Makes the first message of a modification.
pub(super) fn set_commit(commit: pfs_v2::Commit) -> pfs_v2::ModifyFileRequest {
    pfs_v2::ModifyFileRequest {
        body: Some(pfs_v2::modify_file_request::Body::SetCommit(commit)),
    }
}

/// Makes the message that deletes a path.
pub(super) fn delete_path(path: &str) -> pfs_v2::ModifyFileRequest {
    let delete = pfs_v2::DeleteFile {
        path: path.to_owned(),
        datum: String::new(),
    };
    pfs_v2::ModifyFileRequest {
        body: Some(pfs_v2::modify_file_request::Body::DeleteFile(delete)),
    }
}
