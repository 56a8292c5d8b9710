//! `FindCommits`: lists the commits that changed a path, from a commit back to the first.

use howdah_api::pfs_v2 as pfs;
use howdah_api::pfs_v2::find_commits_response::Result as Found;
use howdah_model::{ContentHash, TreeRoot};
use howdah_store::FileTree;
use tonic::Status;

use crate::metadata::Core;
use crate::services::reply::{self, StreamReply};
use crate::services::status::IntoStatus;
use crate::services::{find, wire};

pub(super) fn find_commits(core: &Core, request: pfs::FindCommitsRequest) -> StreamReply<pfs::FindCommitsResponse> {
    let reference = wire::commit_ref(request.start.as_ref())?;
    let state = core.state();
    let start = find::commit(&state, &reference)?.clone();
    let core = core.clone();
    reply::from_task(move |sender| async move {
        let (mut found, mut searched) = (0, 0);
        let mut commit = start;
        // An open commit has staged edits: without folding them in, their paths would not be found.
        let folded = core.staging().fold(&commit.key).await;
        let content = folded.map_err(IntoStatus::into_status)?;
        let mut root = content.map_or(commit.content.root, |content| content.root);
        loop {
            let parent = commit
                .parent
                .and_then(|id| state.commit(&commit.key.repo.commit(id)))
                .cloned();
            searched += 1;
            let root_before = parent.as_ref().and_then(|parent| parent.content.root);
            let before = hash(&core, root_before, &request.file_path).await?;
            if hash(&core, root, &request.file_path).await? != before {
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
                Some(parent) if !enough => (commit, root) = (parent, root_before),
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

/// Returns the hash of a path in a tree, if the tree has the path.
async fn hash(core: &Core, root: Option<TreeRoot>, path: &str) -> Result<Option<ContentHash>, Status> {
    let node = FileTree::new(core.store(), root).inspect(path).await;
    Ok(node.map_err(IntoStatus::into_status)?.map(|node| node.hash))
}
