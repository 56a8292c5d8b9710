//! Says that a commit is still being written: reading it is allowed, but shows only what it holds so far.

use howdah_api::pfs_v2::{Commit, CommitInfo, CommitState, OriginKind};

use crate::context::Ctx;
use crate::error::CliError;
use crate::wire;

/// Says on standard error, after a read, that the commit is not finished, if it is not.
///
/// Asks the server once more. A read that worked does not fail for it.
pub async fn tell(ctx: &Ctx, commit: Option<&Commit>) {
    if let Some(sentence) = sentence(ctx, commit).await {
        ctx.printer.note(sentence);
    }
}

/// Adds to the error of a read that the commit is not finished, if that is so.
pub async fn explain(ctx: &Ctx, commit: Option<&Commit>, error: CliError) -> CliError {
    let CliError::Server(status) = &error else { return error };
    if status.code() != tonic::Code::NotFound && !status.message().ends_with(" unfinished") {
        return error;
    }
    match sentence(ctx, commit).await {
        Some(sentence) => CliError::hinted(error.to_string(), sentence),
        None => error,
    }
}

async fn sentence(ctx: &Ctx, commit: Option<&Commit>) -> Option<String> {
    let commit = commit?;
    let info = super::commits::inspect_one(ctx, commit.clone(), CommitState::Unknown as i32)
        .await
        .ok()?;
    describe(&info, &ctx.program)
}

/// Returns the sentence about a commit; none if it is finished.
fn describe(info: &CommitInfo, program: &str) -> Option<String> {
    if info.finished.is_some() {
        return None;
    }
    let name = wire::commit_name(info.commit.as_ref()?);
    // What a user began, only a user ends; what a job writes comes by itself.
    let by_user = info
        .origin
        .as_ref()
        .is_some_and(|origin| origin.kind() == OriginKind::User);
    let verb = if by_user { "finish" } else { "wait" };
    Some(format!(
        "commit {name} is not finished; `{program} {verb} commit {name}`"
    ))
}

#[cfg(test)]
mod tests {
    use howdah_api::convert;
    use howdah_api::pfs_v2::CommitOrigin;

    use super::*;

    #[test]
    fn what_to_do_depends_on_who_writes_the_commit() {
        let mut info = CommitInfo {
            commit: Some(convert::commit(convert::repo("default", "edges"), "0123")),
            origin: Some(CommitOrigin {
                kind: OriginKind::Auto as i32,
            }),
            ..Default::default()
        };
        assert_eq!(
            describe(&info, "howdah").as_deref(),
            Some("commit edges@0123 is not finished; `howdah wait commit edges@0123`")
        );
        info.origin = Some(CommitOrigin {
            kind: OriginKind::User as i32,
        });
        assert_eq!(
            describe(&info, "pachctl").as_deref(),
            Some("commit edges@0123 is not finished; `pachctl finish commit edges@0123`")
        );
        info.finished = Some(convert::to_timestamp(jiff::Timestamp::UNIX_EPOCH));
        assert_eq!(describe(&info, "howdah"), None);
    }
}
