//! `FindCommits`: which commits touched a path?

use std::sync::Arc;

use howdah_api::pfs_v2 as pfs;
use howdah_api::pfs_v2::find_commits_response::Result as Found;
use howdah_model::Commit;
use howdah_store::FileTree;
use tonic::Status;

use crate::core::Core;
use crate::services::status::IntoStatus;
use crate::services::stream::{self, StreamReply};
use crate::services::{find, wire};

pub(super) fn find_commits(core: &Core, request: pfs::FindCommitsRequest) -> StreamReply<pfs::FindCommitsResponse> {
    let reference = wire::commit_ref(request.start.as_ref())?;
    let state = core.state();
    let start = find::commit(&state, &reference)?.clone();
    let core = core.clone();
    stream::from_task(move |sender| async move {
        let (mut found, mut searched) = (0, 0);
        let mut commit = start;
        loop {
            let parent = commit
                .parent
                .and_then(|id| state.commit(&commit.key.repo.commit(id)))
                .cloned();
            searched += 1;
            let before = hash(&core, parent.as_ref(), &request.file_path).await?;
            if hash(&core, Some(&commit), &request.file_path).await? != before {
                found += 1;
                sender
                    .send(pfs::FindCommitsResponse {
                        commits_searched: searched,
                        result: Some(Found::FoundCommit(wire::commit(&commit.key))),
                    })
                    .await?;
            }
            let enough = request.limit != 0 && found == request.limit;
            match parent {
                Some(parent) if !enough => commit = parent,
                _ => break,
            }
        }
        sender
            .send(pfs::FindCommitsResponse {
                commits_searched: searched,
                result: Some(Found::LastSearchedCommit(wire::commit(&commit.key))),
            })
            .await?;
        Ok(())
    })
}

/// Returns the hash of a path in a commit; none if there is no such path.
async fn hash(
    core: &Core,
    commit: Option<&Arc<Commit>>,
    path: &str,
) -> Result<Option<howdah_model::ContentHash>, Status> {
    let root = commit.and_then(|commit| commit.content.root);
    let node = FileTree::new(core.store(), root).inspect(path).await;
    Ok(node.map_err(IntoStatus::into_status)?.map(|node| node.hash))
}
