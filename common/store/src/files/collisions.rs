//! Paths that would be both a file and a directory.

use super::entry::path_of;
use super::path::directories;
use crate::error::Result;
use crate::tree::{Cursor, Tree};

/// A path that is both a file and a directory.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "file / directory path collision: {file:?} cannot be a file while {member:?} lies in a folder of that name: \
     delete one of them first"
)]
pub struct Collision {
    /// The file.
    pub file: String,
    /// A file below it.
    pub member: String,
}

/// Finds paths that are both a file and a directory, among all files of a tree.
pub(super) struct CollisionFinder {
    cursor: Option<Cursor>,
    /// A directory of which it is known that neither it nor a directory above it is a file. Paths ascend, so the next
    /// path is often in the same directory.
    checked: Option<String>,
}

impl CollisionFinder {
    pub(super) async fn new(tree: &Tree) -> Result<Self> {
        Ok(CollisionFinder {
            cursor: tree.cursor().await?,
            checked: None,
        })
    }

    /// Checks a path that has been written. Fastest for ascending paths.
    pub(super) async fn check(&mut self, path: &str) -> Result<Option<Collision>> {
        let Some(cursor) = &mut self.cursor else {
            return Ok(None);
        };
        if let Some(member) = member_of(cursor, path).await? {
            // The path was written, but a later step of the same edits may have removed it: then only the directory
            // exists.
            cursor.seek(path.as_bytes()).await?;
            if cursor.key() == Some(path.as_bytes()) {
                let file = path.to_owned();
                return Ok(Some(Collision { file, member }));
            }
        }
        self.check_parents(path).await
    }

    /// Checks a path that is going to be written to this tree. Fastest for ascending paths.
    pub(super) async fn check_planned(&mut self, path: &str) -> Result<Option<Collision>> {
        let Some(cursor) = &mut self.cursor else {
            return Ok(None);
        };
        if let Some(member) = member_of(cursor, path).await? {
            let file = path.to_owned();
            return Ok(Some(Collision { file, member }));
        }
        self.check_parents(path).await
    }

    async fn check_parents(&mut self, path: &str) -> Result<Option<Collision>> {
        let Some(cursor) = &mut self.cursor else {
            return Ok(None);
        };
        let Some(parent) = directories(path).next_back().filter(|parent| parent.len() > 1) else {
            return Ok(None);
        };
        if self.checked.as_deref() == Some(parent) {
            return Ok(None);
        }
        for directory in directories(path).skip(1) {
            let file = &directory[..directory.len() - 1];
            cursor.seek(file.as_bytes()).await?;
            if cursor.key() == Some(file.as_bytes()) {
                return Ok(Some(Collision {
                    file: file.to_owned(),
                    member: path.to_owned(),
                }));
            }
        }
        self.checked = Some(parent.to_owned());
        Ok(None)
    }
}

/// Returns a file below a path, if there is one.
///
/// Looking at the entry after the path is not enough: `/a-b` sorts between the file `/a` and the member `/a/c`.
async fn member_of(cursor: &mut Cursor, path: &str) -> Result<Option<String>> {
    let prefix = format!("{path}/");
    cursor.seek(prefix.as_bytes()).await?;
    let member = cursor.key().filter(|key| key.starts_with(prefix.as_bytes()));
    Ok(member.map(path_of).transpose()?.map(str::to_owned))
}
