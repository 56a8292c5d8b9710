//! The calls of the API that benchmarks share.

use anyhow::{Context, ensure};
use bytes::Bytes;
use howdah_api::address::Address;
use howdah_api::client::{Client, ClientOptions};
use howdah_api::pfs_v2::modify_file_request::Body;
use howdah_api::{convert, pfs_v2, pps_v2};
use serde_json::Value;

/// Project that benchmarks work in.
const PROJECT: &str = "default";

/// A connection to a Howdah.
pub(crate) struct Api {
    client: Client,
}

impl Api {
    /// Connects to a port of this machine; fails if no server answers.
    pub(crate) async fn connect(port: u16) -> anyhow::Result<Self> {
        let client = Client::connect(&Address::tcp("127.0.0.1", port), ClientOptions::default()).await?;
        Ok(Self { client })
    }

    /// Returns the address of the server.
    pub(crate) fn address(&self) -> Address {
        self.client.address().clone()
    }

    /// Makes a repo.
    pub(crate) async fn create_repo(&self, name: &str) -> anyhow::Result<()> {
        let request = pfs_v2::CreateRepoRequest {
            repo: Some(convert::repo(PROJECT, name)),
            ..Default::default()
        };
        self.client
            .pfs()
            .create_repo(request)
            .await
            .with_context(|| format!("cannot create the repo {name}"))?;
        Ok(())
    }

    /// Puts files into the branch `master` in one commit and returns it.
    pub(crate) async fn put_files(
        &self,
        repo: &str,
        files: impl IntoIterator<Item = (String, Bytes), IntoIter: Send + 'static>,
    ) -> anyhow::Result<pfs_v2::CommitInfo> {
        let head = convert::head(convert::repo(PROJECT, repo), "master");
        // Without the deletion the bytes would be appended to those of an earlier commit.
        let steps = files.into_iter().flat_map(|(path, bytes)| {
            let delete = Body::DeleteFile(pfs_v2::DeleteFile {
                path: path.clone(),
                datum: String::new(),
            });
            let add = Body::AddFile(pfs_v2::AddFile {
                path,
                datum: String::new(),
                source: Some(pfs_v2::add_file::Source::Raw(bytes)),
            });
            [delete, add]
        });
        self.modify(&head, steps)
            .await
            .with_context(|| format!("cannot put files into {repo}"))?;
        self.finished_commit(head).await
    }

    /// Creates a pipeline from its JSON specification.
    pub(crate) async fn create_pipeline(&self, spec: &Value) -> anyhow::Result<()> {
        let request = pps_v2::CreatePipelineV2Request {
            create_pipeline_request_json: spec.to_string(),
            ..Default::default()
        };
        self.client
            .pps()
            .create_pipeline_v2(request)
            .await
            .context("cannot create the pipeline")?;
        Ok(())
    }

    /// Waits until the job of a commit's set has succeeded; returns the job and its output commit.
    pub(crate) async fn job_of(
        &self,
        pipeline: &str,
        commit: &pfs_v2::CommitInfo,
    ) -> anyhow::Result<(pps_v2::JobInfo, pfs_v2::CommitInfo)> {
        let id = commit
            .commit
            .as_ref()
            .map(|commit| commit.id.clone())
            .unwrap_or_default();
        let output = self
            .finished_commit(convert::commit(convert::repo(PROJECT, pipeline), &id))
            .await?;
        let job = convert::job(convert::pipeline(PROJECT, pipeline), &id);
        let request = pps_v2::InspectJobRequest {
            job: Some(job),
            wait: true,
            details: false,
        };
        let job = self
            .client
            .pps()
            .inspect_job(request)
            .await
            .context("cannot inspect the job")?
            .into_inner();
        ensure!(
            job.state() == pps_v2::JobState::JobSuccess,
            "the job {pipeline}@{id} ended as {}: {}",
            job.state().as_str_name(),
            job.reason
        );
        Ok((job, output))
    }

    /// Makes a commit without files.
    pub(crate) async fn empty_commit(&self, repo: &str) -> anyhow::Result<()> {
        let commit = self.start_commit(repo).await?;
        self.finish_commit(&commit).await
    }

    /// Starts a commit on the branch `master`.
    pub(crate) async fn start_commit(&self, repo: &str) -> anyhow::Result<pfs_v2::Commit> {
        let start = pfs_v2::StartCommitRequest {
            branch: Some(convert::branch(PROJECT, repo, "master")),
            ..Default::default()
        };
        let commit = self
            .client
            .pfs()
            .start_commit(start)
            .await
            .context("cannot start a commit")?;
        Ok(commit.into_inner())
    }

    /// Finishes a commit.
    pub(crate) async fn finish_commit(&self, commit: &pfs_v2::Commit) -> anyhow::Result<()> {
        let finish = pfs_v2::FinishCommitRequest {
            commit: Some(commit.clone()),
            ..Default::default()
        };
        self.client
            .pfs()
            .finish_commit(finish)
            .await
            .context("cannot finish a commit")?;
        Ok(())
    }

    /// Changes files of a commit, or of the head of a branch, in one call.
    pub(crate) async fn modify(
        &self,
        commit: &pfs_v2::Commit,
        bodies: impl IntoIterator<Item = Body, IntoIter: Send + 'static>,
    ) -> anyhow::Result<()> {
        let bodies = std::iter::once(Body::SetCommit(commit.clone())).chain(bodies);
        let requests = futures::stream::iter(bodies.map(|body| pfs_v2::ModifyFileRequest { body: Some(body) }));
        self.client
            .pfs()
            .modify_file(requests)
            .await
            .context("cannot change files")?;
        Ok(())
    }

    /// Gets all files of a commit as one archive.
    pub(crate) async fn archive(&self, commit: &pfs_v2::Commit) -> anyhow::Result<tonic::Streaming<Bytes>> {
        let request = pfs_v2::GetFileRequest {
            file: Some(convert::file(commit.clone(), "/")),
            ..Default::default()
        };
        let archive = self.client.pfs().get_file_tar(request).await;
        Ok(archive.context("cannot get files")?.into_inner())
    }

    /// Waits until the head of the branch `master` is finished.
    pub(crate) async fn head_of(&self, repo: &str) -> anyhow::Result<pfs_v2::CommitInfo> {
        self.finished_commit(convert::head(convert::repo(PROJECT, repo), "master"))
            .await
    }

    /// Waits until the commit of a repo in the set of another commit is finished.
    pub(crate) async fn commit_of(
        &self,
        repo: &str,
        commit: &pfs_v2::CommitInfo,
    ) -> anyhow::Result<pfs_v2::CommitInfo> {
        let id = commit
            .commit
            .as_ref()
            .map(|commit| commit.id.clone())
            .unwrap_or_default();
        self.finished_commit(convert::commit(convert::repo(PROJECT, repo), &id))
            .await
    }

    /// Waits until a commit is finished.
    async fn finished_commit(&self, commit: pfs_v2::Commit) -> anyhow::Result<pfs_v2::CommitInfo> {
        let request = pfs_v2::InspectCommitRequest {
            commit: Some(commit),
            wait: pfs_v2::CommitState::Finished.into(),
        };
        let info = self
            .client
            .pfs()
            .inspect_commit(request)
            .await
            .context("cannot wait for a commit")?
            .into_inner();
        Ok(info)
    }

    /// Returns the content of a file at the head of the branch `master`.
    pub(crate) async fn get_file(&self, repo: &str, path: &str) -> anyhow::Result<Vec<u8>> {
        let file = convert::file(convert::head(convert::repo(PROJECT, repo), "master"), path);
        let request = pfs_v2::GetFileRequest {
            file: Some(file),
            ..Default::default()
        };
        let context = || format!("cannot get {repo}@master:{path}");
        let mut stream = self
            .client
            .pfs()
            .get_file(request)
            .await
            .with_context(context)?
            .into_inner();
        let mut content = Vec::new();
        while let Some(part) = stream.message().await.with_context(context)? {
            content.extend_from_slice(&part);
        }
        Ok(content)
    }

    /// Counts the entries in the root folder at the head of the branch `master`.
    pub(crate) async fn count_files(&self, repo: &str) -> anyhow::Result<usize> {
        let file = convert::file(convert::head(convert::repo(PROJECT, repo), "master"), "/");
        let request = pfs_v2::ListFileRequest {
            file: Some(file),
            ..Default::default()
        };
        let context = || format!("cannot list {repo}@master");
        let mut stream = self
            .client
            .pfs()
            .list_file(request)
            .await
            .with_context(context)?
            .into_inner();
        let mut count = 0;
        while stream.message().await.with_context(context)?.is_some() {
            count += 1;
        }
        Ok(count)
    }
}
