//! From an input and the commits it stands for to datums (semantics 11 and 12).

use std::collections::HashSet;
use std::sync::Arc;

use futures::future::BoxFuture;
use futures::stream::{self, BoxStream};
use futures::{FutureExt, StreamExt, TryStreamExt};
use howdah_glob::Glob;
use howdah_model::datum::{DatumPart, datum_hash, datum_id};
use howdah_model::{
    BranchName, Content, ContentHash, DatumId, GlobalId, ProjectName, RepoKey, RepoName, RepoType, TreeRoot,
};
use howdah_protocol::objects::{Datum, DatumInput};
use howdah_spec::{Input, PfsInput};
use howdah_store::{FileNode, FileTree, Slice, Store};

use super::PlanError;

/// Most datums of one cross: beyond this somebody has forgotten to narrow a glob.
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

/// Streams every datum of `input`, in the input's order, without duplicates.
///
/// The datums' hashes take in `salt`. One file input is streamed as its tree is read; a cross holds the
/// files that each of its sides selects, not their combinations.
pub async fn enumerate(
    store: &Store,
    input: &Input,
    commits: &CommitLookup<'_>,
    salt: Arc<str>,
) -> Result<BoxStream<'static, Result<Datum, PlanError>>, PlanError> {
    let lists = combine(store, input, commits).await?;
    let mut seen = has_union(input).then(HashSet::new);
    let datums = lists.try_filter_map(move |files| {
        let id = id_of(&files);
        let is_new = seen.as_mut().is_none_or(|seen: &mut HashSet<DatumId>| seen.insert(id));
        std::future::ready(Ok(is_new.then(|| datum(id, files, &salt))))
    });
    Ok(datums.boxed())
}

/// Only a union can give the same datum twice.
fn has_union(input: &Input) -> bool {
    match input {
        Input::Union(_) => true,
        Input::Cross(inputs) | Input::Join(inputs) | Input::Group(inputs) => inputs.iter().any(has_union),
        Input::Pfs(_) | Input::Cron(_) => false,
    }
}

/// Which commit a file of a datum comes from, shared by all that one input selects.
#[derive(Debug)]
pub(super) struct Origin {
    name: Arc<str>,
    repo: RepoKey,
    branch: BranchName,
    commit: GlobalId,
    root: TreeRoot,
    /// Content is left out of the datum's hash.
    reference: bool,
}

/// One file of a datum in the making: crosses hold all that their sides select, so it is kept small.
#[derive(Debug, Clone)]
pub(super) struct InputFile {
    origin: Arc<Origin>,
    path: Box<str>,
    is_dir: bool,
    size: u64,
    hash: ContentHash,
    /// Where the bytes of a file lie, if in one piece.
    slice: Option<Slice>,
}

impl From<InputFile> for DatumInput {
    fn from(file: InputFile) -> Self {
        let origin = file.origin;
        DatumInput {
            name: Arc::clone(&origin.name),
            repo: origin.repo.clone(),
            branch: origin.branch.clone(),
            commit: origin.commit,
            root: origin.root,
            path: file.path.into(),
            is_dir: file.is_dir,
            size: file.size,
            hash: file.hash,
            join_on: String::new(),
            group_by: String::new(),
        }
    }
}

/// The files of one datum in the making.
pub(super) type InputFiles = Vec<InputFile>;

/// Returns the id of the datum that consists of `files`.
pub(super) fn id_of(files: &[InputFile]) -> DatumId {
    let parts: Vec<DatumPart<'_>> = files
        .iter()
        .map(|file| DatumPart {
            name: &file.origin.name,
            repo: &file.origin.repo.name,
            branch: &file.origin.branch,
            path: &file.path,
        })
        .collect();
    datum_id(&parts)
}

/// Completes a datum whose id is known.
pub(super) fn datum(id: DatumId, files: InputFiles, salt: &str) -> Datum {
    let contents: Vec<_> = files
        .iter()
        .filter(|file| !file.origin.reference)
        .map(|file| file.hash)
        .collect();
    Datum {
        id,
        hash: datum_hash(&id, &contents, salt),
        slices: files.iter().map(|file| file.slice).collect(),
        inputs: files.into_iter().map(DatumInput::from).collect(),
    }
}

/// What an input selects.
type Lists = BoxStream<'static, Result<InputFiles, PlanError>>;

/// Streams what an input selects, as lists of files, with duplicates.
fn combine<'a>(
    store: &'a Store,
    input: &'a Input,
    commits: &'a CommitLookup<'a>,
) -> BoxFuture<'a, Result<Lists, PlanError>> {
    async move {
        match input {
            Input::Pfs(pfs) => Ok(matches(store, &Leaf::new(pfs, commits)?)),
            Input::Union(inputs) => {
                let mut lists = Vec::with_capacity(inputs.len());
                for input in inputs {
                    lists.push(combine(store, input, commits).await?);
                }
                Ok(stream::iter(lists).flatten().boxed())
            }
            Input::Cross(inputs) => {
                let mut sides = Vec::with_capacity(inputs.len());
                for input in inputs {
                    sides.push(Side::from(select(store, input, commits).await?));
                }
                Ok(stream::iter(cross(sides)?).map(Ok).boxed())
            }
            other => Err(unsupported(other)),
        }
    }
    .boxed()
}

pub(super) fn unsupported(input: &Input) -> PlanError {
    PlanError::Unsupported(match input {
        Input::Join(_) => "input.join",
        Input::Group(_) => "input.group",
        _ => "input.cron",
    })
}

/// Collects what an input selects.
pub(super) async fn select(
    store: &Store,
    input: &Input,
    commits: &CommitLookup<'_>,
) -> Result<Vec<InputFiles>, PlanError> {
    combine(store, input, commits).await?.try_collect().await
}

/// A side of a cross: what it selects, and which of that take part, by their places.
#[derive(Clone)]
pub(super) struct Side {
    /// What it selects.
    pub(super) lists: Arc<[InputFiles]>,
    /// Places of those that take part; `None` = all.
    pub(super) chosen: Option<Arc<[u32]>>,
}

impl Side {
    fn len(&self) -> usize {
        self.chosen.as_ref().map_or(self.lists.len(), |chosen| chosen.len())
    }

    fn get(&self, number: usize) -> &InputFiles {
        match &self.chosen {
            Some(chosen) => &self.lists[chosen[number] as usize],
            None => &self.lists[number],
        }
    }
}

impl From<Vec<InputFiles>> for Side {
    fn from(lists: Vec<InputFiles>) -> Self {
        Side {
            lists: lists.into(),
            chosen: None,
        }
    }
}

/// Counts the combinations of sides; an error if there are too many.
pub(super) fn count(sides: &[Side]) -> Result<usize, PlanError> {
    let count = sides.iter().map(Side::len).fold(1, usize::saturating_mul);
    within_limit(count)?;
    Ok(count)
}

/// Refuses so many combinations if they are too many.
pub(super) fn within_limit(count: usize) -> Result<(), PlanError> {
    let limit = MAX_DATUMS;
    if count > limit {
        return Err(PlanError::TooMany { count, limit });
    }
    Ok(())
}

/// Combines each list of every side with each list of the others, the first side outermost.
pub(super) fn cross(sides: Vec<Side>) -> Result<impl Iterator<Item = InputFiles> + Send + use<>, PlanError> {
    Ok((0..count(&sides)?).map(move |number| {
        // The number is read as digits, one for each side, the last changing fastest.
        let mut rest = number;
        let mut digits: Vec<usize> = sides.iter().rev().map(|side| digit(&mut rest, side.len())).collect();
        digits.reverse();
        let lists = sides.iter().zip(digits).map(|(side, digit)| side.get(digit));
        lists.flatten().cloned().collect()
    }))
}

fn digit(rest: &mut usize, base: usize) -> usize {
    let digit = *rest % base;
    *rest /= base;
    digit
}

/// A file input together with the commit that it reads.
#[derive(Clone)]
pub(super) struct Leaf {
    /// Where its files come from; `None` if the commit has none.
    origin: Option<Arc<Origin>>,
    reference: bool,
    pub(super) glob: Glob,
    pub(super) commit: InputCommit,
}

impl Leaf {
    pub(super) fn new(pfs: &PfsInput, commits: &CommitLookup<'_>) -> Result<Self, PlanError> {
        let bad = |message: String| PlanError::Input {
            name: pfs.name.clone(),
            message,
        };
        let repo = repo_of(pfs)?;
        let branch = BranchName::new(&pfs.branch).map_err(|error| bad(error.to_string()))?;
        let commit =
            commits(&repo, &branch).ok_or_else(|| bad(format!("branch {branch} of repo {repo} has no commit")))?;
        let origin = commit.content.root.map(|root| {
            Arc::new(Origin {
                name: pfs.name.as_str().into(),
                repo,
                branch,
                commit: commit.id,
                root,
                reference: pfs.reference,
            })
        });
        Ok(Leaf {
            origin,
            glob: Glob::new(&pfs.glob).map_err(|error| bad(error.to_string()))?,
            reference: pfs.reference,
            commit,
        })
    }

    /// Describes a file or directory of the commit; `None` if that is empty, so that the file cannot be of it.
    pub(super) fn file(&self, node: FileNode) -> Option<InputFile> {
        Some(InputFile {
            origin: Arc::clone(self.origin.as_ref()?),
            is_dir: node.is_directory(),
            slice: node.entry.and_then(|entry| entry.content.single_slice()),
            path: node.path.into(),
            size: node.size,
            hash: node.hash,
        })
    }

    /// Whether a change of content, and not only of paths, makes another datum.
    pub(super) fn minds_content(&self) -> bool {
        !self.reference
    }
}

/// Streams what the glob of one file input selects.
fn matches(store: &Store, leaf: &Leaf) -> Lists {
    let Some(root) = leaf.commit.content.root else {
        return stream::empty().boxed();
    };
    let nodes = FileTree::new(store, Some(root)).glob(&leaf.glob);
    let leaf = leaf.clone();
    nodes
        .map_ok(move |node| leaf.file(node).into_iter().collect())
        .map_err(PlanError::from)
        .boxed()
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
