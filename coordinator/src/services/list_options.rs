//! Options that requests of several services share: a page of a list, and the projects that a deletion covers.

use howdah_api::pfs_v2 as pfs;
use howdah_model::ProjectName;
use tonic::Status;

use super::wire;

/// Cuts one page out of a list; a size of 0 is the whole list.
pub(super) fn one_page<T>(items: Vec<T>, size: i64, index: i64) -> Result<Vec<T>, Status> {
    let bad = || Status::invalid_argument("page_size and page_index cannot be negative");
    let size = usize::try_from(size).map_err(|_| bad())?;
    let index = usize::try_from(index).map_err(|_| bad())?;
    if size == 0 {
        return Ok(items);
    }
    let start = size.saturating_mul(index);
    Ok(items.into_iter().skip(start).take(size).collect())
}

/// Reads how many items are wanted; 0 is all.
pub(super) fn limit(number: i64) -> Result<usize, Status> {
    match usize::try_from(number) {
        Ok(0) => Ok(usize::MAX),
        Ok(number) => Ok(number),
        Err(_) => Err(Status::invalid_argument("number cannot be negative")),
    }
}

/// Projects that a deletion covers.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum ProjectSelection {
    /// The request names no project: nothing is deleted.
    Nothing,
    /// Every project.
    All,
    /// These projects.
    Named(Vec<ProjectName>),
}

impl ProjectSelection {
    /// Reads the two fields in which requests carry it.
    pub(super) fn new(all: bool, projects: &[pfs::Project]) -> Result<Self, Status> {
        match (all, projects) {
            (true, _) => Ok(Self::All),
            (false, []) => Ok(Self::Nothing),
            (false, projects) => wire::project_names(projects).map(Self::Named),
        }
    }

    /// Returns the selection as commands have it: `None` = nothing is deleted, `Some(None)` = every project.
    pub(super) fn for_command(self) -> Option<Option<Vec<ProjectName>>> {
        match self {
            Self::Nothing => None,
            Self::All => Some(None),
            Self::Named(projects) => Some(Some(projects)),
        }
    }
}
