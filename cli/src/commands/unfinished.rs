//! Notes about commits that are not finished.
//!
//! Reading an unfinished commit is allowed and returns its present content. Commands that read files print a note, with
//! the command that finishes the commit or waits for it.

use howdah_api::pfs_v2::{Commit, CommitInfo, CommitState, OriginKind};

use crate::context::Ctx;
use crate::error::CliError;
use crate::wire;

/// Prints a note after a read if the commit is not finished.
///
/// Sends one more request, whose failure is ignored: the read itself has succeeded.
pub(super) async fn note(ctx: &Ctx, commit: Option<&Commit>) {
    if let Some(sentence) = sentence(ctx, commit).await {
        ctx.printer.note(sentence);
    }
}

/// Adds a hint to the error of a read if the commit is not finished.
pub(super) async fn explain(ctx: &Ctx, commit: Option<&Commit>, error: CliError) -> CliError {
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
    let info = super::commit_lookup::inspect_one(ctx, commit.clone(), CommitState::Unknown as i32)
        .await
        .ok()?;
    describe(&info, &ctx.program)
}

/// Returns the note about a commit; none if it is finished.
fn describe(info: &CommitInfo, program: &str) -> Option<String> {
    if info.finished.is_some() {
        return None;
    }
    let name = wire::commit_name(info.commit.as_ref()?);
    // A commit of a user is finished by the user, an output commit by its job.
    let by_user = info
        .origin
        .as_ref()
        .is_some_and(|origin| origin.kind() == OriginKind::User);
    let (verb, effect) = if by_user {
        ("finish", "finishes it")
    } else {
        ("wait", "waits for it")
    };
    Some(format!(
        "commit {name} is not finished; `{program} {verb} commit {name}` {effect}"
    ))
}

#[cfg(test)]
mod tests {
    use howdah_api::convert;
    use howdah_api::pfs_v2::CommitOrigin;

    use super::*;

    #[test]
    fn the_hint_depends_on_the_origin_of_the_commit() {
        let mut info = CommitInfo {
            commit: Some(convert::commit(convert::repo("default", "edges"), "0123")),
            origin: Some(CommitOrigin {
                kind: OriginKind::Auto as i32,
            }),
            ..Default::default()
        };
        assert_eq!(
            describe(&info, "howdah").as_deref(),
            Some("commit edges@0123 is not finished; `howdah wait commit edges@0123` waits for it")
        );
        info.origin = Some(CommitOrigin {
            kind: OriginKind::User as i32,
        });
        assert_eq!(
            describe(&info, "pachctl").as_deref(),
            Some("commit edges@0123 is not finished; `pachctl finish commit edges@0123` finishes it")
        );
        info.finished = Some(convert::to_timestamp(jiff::Timestamp::UNIX_EPOCH));
        assert_eq!(describe(&info, "howdah"), None);
    }
}
