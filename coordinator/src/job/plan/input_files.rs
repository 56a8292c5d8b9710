//! The files of datums: which commit a file input reads, and how files become a datum.

use std::sync::Arc;

use howdah_glob::Glob;
use howdah_model::datum::{DatumPart, datum_hash, datum_id};
use howdah_model::{BranchName, Content, ContentHash, DatumId, GlobalId, ProjectName, RepoKey, RepoName, TreeRoot};
use howdah_protocol::objects::{Datum, DatumInput};
use howdah_spec::PfsInput;
use howdah_store::{FileNode, Slice};

use super::error::PlanError;

/// A commit that an input reads, with its files.
#[derive(Debug, Clone)]
pub struct InputCommit {
    /// Id of the commit.
    pub id: GlobalId,
    /// Its file tree.
    pub content: Content,
}

/// Finds the commit that a job reads of a branch, if there is one.
pub type CommitLookup<'a> = dyn Fn(&RepoKey, &BranchName) -> Option<InputCommit> + Sync + 'a;

/// Where the files that one file input selects come from; shared by all of them.
#[derive(Debug)]
pub(super) struct InputOrigin {
    name: Arc<str>,
    repo: RepoKey,
    branch: BranchName,
    commit: GlobalId,
    root: TreeRoot,
    /// Whether the hash of a datum leaves out their content.
    reference: bool,
}

/// One file of a datum that is being put together. A cross holds every file that its sides select, so this is small.
#[derive(Debug, Clone)]
pub(super) struct InputFile {
    origin: Arc<InputOrigin>,
    path: Box<str>,
    is_dir: bool,
    size: u64,
    hash: ContentHash,
    /// Where the bytes of a file are, if they are in one piece.
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

/// The files of one datum that is being put together.
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

/// A file input together with the commit that it reads.
#[derive(Clone)]
pub(super) struct FileInput {
    /// Where its files come from; `None` if the commit has no files.
    origin: Option<Arc<InputOrigin>>,
    reference: bool,
    pub(super) glob: Glob,
    pub(super) commit: InputCommit,
}

impl FileInput {
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
            Arc::new(InputOrigin {
                name: pfs.name.as_str().into(),
                repo,
                branch,
                commit: commit.id,
                root,
                reference: pfs.reference,
            })
        });
        Ok(FileInput {
            origin,
            glob: Glob::new(&pfs.glob).map_err(|error| bad(error.to_string()))?,
            reference: pfs.reference,
            commit,
        })
    }

    /// Describes a file or directory of the commit; `None` if the commit has no files.
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

    /// Tells whether a change of content makes another datum hash, and not only a change of paths.
    pub(super) fn depends_on_content(&self) -> bool {
        !self.reference
    }
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
        kind: pfs.repo_type,
    })
}
