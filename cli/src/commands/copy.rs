//! `copy file`, within and between repos.
//!
//! The server decides what a copy does. Here a missing source is refused, and a refused copy onto a folder gets a hint.

use howdah_api::pfs_v2;

use super::files::{set_commit, write_error};
use crate::args::files::CopyFile;
use crate::args::shared::ProjectArg;
use crate::context::Ctx;
use crate::error::{CliError, CliResult};
use crate::{refs, wire};

/// `copy file`.
pub(super) async fn run(ctx: &Ctx, arguments: &CopyFile) -> CliResult {
    let project_of = |own: &Option<String>| {
        let project = own.clone().or_else(|| arguments.project.project.clone());
        ctx.project(&ProjectArg { project })
    };
    let source = refs::file(&arguments.source)?;
    let target = refs::file(&arguments.target)?;
    let source_path = source.path.clone().unwrap_or_default();
    // Without a path in the target the copy keeps the path of the source. Its slash at the end is dropped: in a target
    // it would mean the folder to copy a file into.
    let dst = match target.path.as_deref().filter(|path| !path.is_empty()) {
        Some(path) => path.to_owned(),
        None => crate::naming::rooted(&source_path),
    };
    let src = wire::file(&project_of(&arguments.src_project)?, &source);
    let mut pfs = ctx.client().await?.pfs();
    // The server accepts a source that does not exist and copies nothing. For a user it is an error.
    let inspect = pfs_v2::InspectFileRequest {
        file: Some(src.clone()),
    };
    let found = pfs.inspect_file(inspect).await?.into_inner();
    let is_file = found.file_type() == pfs_v2::FileType::File;
    let copy = pfs_v2::CopyFile {
        dst,
        datum: String::new(),
        src: Some(src),
        append: arguments.append,
    };
    let requests = vec![
        set_commit(wire::commit(&project_of(&arguments.dest_project)?, &target.commit)),
        pfs_v2::ModifyFileRequest {
            body: Some(pfs_v2::modify_file_request::Body::CopyFile(copy)),
        },
    ];
    match pfs.modify_file(tokio_stream::iter(requests)).await {
        Ok(_) => Ok(()),
        Err(status) if is_file && is_folder(&status, target.path.as_deref()) => Err(CliError::hinted(
            status.message(),
            format!("a / at the end copies into the folder: {}/", arguments.target),
        )),
        Err(status) => Err(write_error(ctx, status)),
    }
}

/// Returns whether a copy was refused because the path given as its target is a folder.
fn is_folder(status: &tonic::Status, path: Option<&str>) -> bool {
    let Some(path) = path.filter(|path| !path.is_empty() && !path.ends_with('/')) else {
        return false;
    };
    let what = format!("{:?} cannot be a file", crate::naming::rooted(path));
    status.message().contains("path collision") && status.message().contains(&what)
}
