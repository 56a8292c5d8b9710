//! From an input and the commits it stands for to datums (semantics 11 and 12).

use std::collections::HashSet;
use std::sync::Arc;

use futures::future::BoxFuture;
use futures::{FutureExt, TryStreamExt};
use howdah_model::datum::{DatumPart, datum_hash, datum_id};
use howdah_model::{BranchName, Content, GlobalId, ProjectName, RepoKey, RepoName, RepoType};
use howdah_queue::job::{Datum, DatumInput};
use howdah_spec::glob::Glob;
use howdah_spec::{Input, PfsInput};
use howdah_store::{FileTree, Store};

use super::PlanError;

/// Most datums of one job: what a coordinator can hold in memory without endangering everything else.
const MAX_DATUMS: usize = 5_000_000;

/// A commit that an input reads, with its files.
#[derive(Debug, Clone)]
pub struct InputCommit {
    /// Id of the commit.
    pub id: GlobalId,
    /// Its file tree.
    pub content: Content,
}

/// Finds the commit that stands for a branch, when there is one.
pub type CommitLookup<'a> = dyn Fn(&RepoKey, &BranchName) -> Option<InputCommit> + Sync + 'a;

/// Computes every datum of `input`, in the input's order, without duplicates.
///
/// The datums' hashes take in `salt`. Memory grows with the number of datums, not with the files below
/// their directories.
pub async fn enumerate(
    store: &Store,
    input: &Input,
    commits: &CommitLookup<'_>,
    salt: &str,
) -> Result<Vec<Datum>, PlanError> {
    let lists = combine(store, input, commits).await?;
    let mut seen = HashSet::with_capacity(lists.len());
    let mut datums = Vec::with_capacity(lists.len());
    for files in lists {
        let parts: Vec<DatumPart<'_>> = files
            .iter()
            .map(|file| DatumPart {
                name: &file.input.name,
                repo: &file.input.repo.name,
                branch: &file.input.branch,
                path: &file.input.path,
            })
            .collect();
        let id = datum_id(&parts);
        if !seen.insert(id) {
            continue;
        }
        let contents: Vec<_> = files
            .iter()
            .filter(|file| !file.reference)
            .map(|file| file.input.hash)
            .collect();
        let hash = datum_hash(&id, &contents, salt);
        datums.push(Datum {
            id,
            hash,
            inputs: files.into_iter().map(|file| file.input).collect(),
        });
    }
    Ok(datums)
}

/// One file of a datum in the making.
#[derive(Debug, Clone)]
struct InputFile {
    input: DatumInput,
    /// Its content is left out of the datum's hash.
    reference: bool,
}

fn combine<'a>(
    store: &'a Store,
    input: &'a Input,
    commits: &'a CommitLookup<'a>,
) -> BoxFuture<'a, Result<Vec<Vec<InputFile>>, PlanError>> {
    async move {
        match input {
            Input::Pfs(pfs) => Ok(matches(store, pfs, commits)
                .await?
                .into_iter()
                .map(|file| vec![file])
                .collect()),
            Input::Union(inputs) => {
                let mut all = Vec::new();
                for input in inputs {
                    all.append(&mut combine(store, input, commits).await?);
                }
                Ok(all)
            }
            Input::Cross(inputs) => {
                let mut product = vec![Vec::new()];
                for input in inputs {
                    let right = combine(store, input, commits).await?;
                    let count = product.len().saturating_mul(right.len());
                    if count > MAX_DATUMS {
                        return Err(PlanError::TooMany {
                            count,
                            limit: MAX_DATUMS,
                        });
                    }
                    product = cross(&product, &right);
                }
                Ok(product)
            }
            Input::Join(_) => Err(PlanError::Unsupported("input.join")),
            Input::Group(_) => Err(PlanError::Unsupported("input.group")),
            Input::Cron(_) => Err(PlanError::Unsupported("input.cron")),
        }
    }
    .boxed()
}

fn cross(left: &[Vec<InputFile>], right: &[Vec<InputFile>]) -> Vec<Vec<InputFile>> {
    left.iter()
        .flat_map(|l| right.iter().map(move |r| l.iter().chain(r).cloned().collect()))
        .collect()
}

/// Lists what the glob of one PFS input selects.
async fn matches(store: &Store, pfs: &PfsInput, commits: &CommitLookup<'_>) -> Result<Vec<InputFile>, PlanError> {
    let repo = repo_of(pfs)?;
    let branch = BranchName::new(&pfs.branch).map_err(|error| PlanError::Input {
        name: pfs.name.clone(),
        message: error.to_string(),
    })?;
    let commit = commits(&repo, &branch).ok_or_else(|| PlanError::Input {
        name: pfs.name.clone(),
        message: format!("branch {branch} of repo {repo} has no commit"),
    })?;
    let Some(root) = commit.content.root else {
        return Ok(Vec::new());
    };
    let glob = Glob::new(&pfs.glob).map_err(|error| PlanError::Input {
        name: pfs.name.clone(),
        message: error.to_string(),
    })?;
    let name: Arc<str> = pfs.name.as_str().into();
    let tree = FileTree::new(store, commit.content.root);
    let nodes = tree.glob(&glob);
    let files = nodes
        .map_ok(|node| InputFile {
            reference: pfs.reference,
            input: DatumInput {
                name: name.clone(),
                repo: repo.clone(),
                branch: branch.clone(),
                commit: commit.id,
                root,
                is_dir: node.is_directory(),
                path: node.path,
                size: node.size,
                hash: node.hash,
                join_on: String::new(),
                group_by: String::new(),
            },
        })
        .try_collect()
        .await?;
    Ok(files)
}

/// Returns the repo that a filled-in PFS input reads.
pub fn repo_of(pfs: &PfsInput) -> Result<RepoKey, PlanError> {
    let bad = |error: &dyn std::error::Error| PlanError::Input {
        name: pfs.name.clone(),
        message: error.to_string(),
    };
    Ok(RepoKey {
        project: ProjectName::new(&pfs.project).map_err(|e| bad(&e))?,
        name: RepoName::new(&pfs.repo).map_err(|e| bad(&e))?,
        kind: match pfs.repo_type {
            howdah_spec::RepoType::User => RepoType::User,
            howdah_spec::RepoType::Meta => RepoType::Meta,
            howdah_spec::RepoType::Spec => RepoType::Spec,
        },
    })
}
