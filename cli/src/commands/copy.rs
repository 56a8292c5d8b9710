//! `copy file`, within and between repos.

use howdah_api::pfs_v2;

use super::files::{set_commit, write_error};
use crate::args::files::CopyFile;
use crate::args::shared::ProjectArg;
use crate::context::Ctx;
use crate::error::CliResult;
use crate::{refs, wire};

/// `copy file`.
pub async fn run(ctx: &Ctx, arguments: &CopyFile) -> CliResult {
    let project_of = |own: &Option<String>| {
        let project = own.clone().or_else(|| arguments.project.project.clone());
        ctx.project(&ProjectArg { project })
    };
    let source = refs::file(&arguments.source)?;
    let target = refs::file(&arguments.target)?;
    let source_path = source.path.clone().unwrap_or_default();
    // Without a path in the target the copy keeps the path of the source.
    let dst = target
        .path
        .clone()
        .filter(|path| !path.is_empty())
        .unwrap_or(source_path);
    let src = wire::file(&project_of(&arguments.src_project)?, &source);
    let mut pfs = ctx.client().await?.pfs();
    // The server accepts a source that does not exist and copies nothing. For a user it is an error.
    let inspect = pfs_v2::InspectFileRequest {
        file: Some(src.clone()),
    };
    pfs.inspect_file(inspect).await?;
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
        Err(status) => Err(write_error(ctx, status)),
    }
}
