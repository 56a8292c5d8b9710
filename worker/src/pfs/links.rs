//! Following symbolic links as a stage container sees them.
//!
//! The worker's kernel must not follow a link that user code made: a link to `/etc/passwd` would read the worker's
//! file. So [`LinkResolver::resolve`] walks a path step by step, maps each step to an open folder of the worker and
//! reads links itself. Each step is opened below that folder without following a link, so that a folder which a process
//! replaces by a link meanwhile is an error.

use std::collections::VecDeque;
use std::ffi::OsString;
use std::fs::File;
use std::io;
use std::path::{Component, Path, PathBuf};

use crate::beneath::{Folder, read_opened_link};
use crate::pfs::layout::SCRATCH;
use crate::pfs::workspace::PfsView;

/// Links that may be followed for one path, as in the kernel.
const MAX_LINKS: usize = 40;

/// Resolves paths of a container to open folders of the worker.
#[derive(Clone, Debug)]
pub(super) struct LinkResolver {
    pfs: Folder,
    inputs: Folder,
    /// Name of the running try's folder below `.scratch`.
    current: String,
    /// Whether inputs are read-only, so that they are as the store has them.
    unmodified: bool,
}

/// A resolved path.
#[derive(Debug)]
pub(super) struct LinkTarget {
    /// Where it is; no component of it is a link.
    pub place: Place,
    /// Name of the input and path in its commit, if it is part of an unmodified input.
    pub in_input: Option<(String, String)>,
    /// It, opened to be looked at only. `None` if the path ends with `..`.
    pub opened: Option<File>,
}

/// A path below one of the two open folders of a workspace.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Place {
    /// Whether it is below the folder of inputs, which the container sees as `/pfs/.scratch`; else below `/pfs`.
    pub below_inputs: bool,
    /// The path from there.
    pub path: PathBuf,
}

/// Why a path cannot be resolved.
#[derive(Debug, thiserror::Error)]
pub(super) enum LinkError {
    /// Nothing is at its end.
    #[error("its target {target} does not exist")]
    Dangling {
        /// Its end, as the container sees it.
        target: String,
    },
    /// It ends in the container's own file system, which the worker does not see.
    #[error("its target is outside of /pfs")]
    Outside,
    /// It has more than [`MAX_LINKS`] links, usually because they form a circle.
    #[error("it leads through too many other links")]
    TooManyLinks,
    /// The worker's disk failed.
    #[error("cannot be followed")]
    Io {
        /// The system's error.
        #[source]
        source: io::Error,
    },
}

impl LinkResolver {
    /// Makes a resolver for the running try of a workspace.
    pub(super) fn new(view: PfsView<'_>) -> Self {
        Self {
            pfs: view.pfs.clone(),
            inputs: view.inputs.clone(),
            current: view.layout.number.to_string(),
            unmodified: !view.layout.writable,
        }
    }

    /// Returns the open folder that a place is below.
    pub(super) fn base(&self, place: &Place) -> &Folder {
        if place.below_inputs { &self.inputs } else { &self.pfs }
    }

    /// Resolves a path of the container, following all links.
    pub(super) fn resolve(&self, path: &Path) -> Result<LinkTarget, LinkError> {
        let mut ahead: VecDeque<OsString> = components(path);
        let mut resolved = PathBuf::from("/");
        let mut opened = None;
        let mut links = 0;
        while let Some(component) = ahead.pop_front() {
            opened = None;
            if component == ".." {
                // Applied to the resolved path, as the kernel does: `link/..` is the parent of the link's target.
                resolved.pop();
                continue;
            }
            let next = resolved.join(&component);
            let Some(place) = place_of(&next) else {
                // A folder above /pfs may still lead into it; everything else is outside.
                if Path::new("/pfs").starts_with(&next) {
                    resolved = next;
                    continue;
                }
                return Err(LinkError::Outside);
            };
            let io = |source| LinkError::Io { source };
            let found = self
                .base(&place)
                .look_at(&place.path)
                .map_err(|source| match source.kind() {
                    io::ErrorKind::NotFound | io::ErrorKind::NotADirectory => LinkError::Dangling {
                        target: self.shown(&next, &ahead),
                    },
                    _ => io(source),
                })?;
            if !found.metadata().map_err(io)?.is_symlink() {
                resolved = next;
                opened = Some(found);
                continue;
            }
            links += 1;
            if links > MAX_LINKS {
                return Err(LinkError::TooManyLinks);
            }
            let target = PathBuf::from(read_opened_link(&found).map_err(io)?);
            if target.is_absolute() {
                resolved = PathBuf::from("/");
            }
            let mut inserted = components(&target);
            inserted.append(&mut ahead);
            ahead = inserted;
        }
        let Some(place) = place_of(&resolved) else {
            return Err(LinkError::Outside);
        };
        Ok(LinkTarget {
            place,
            in_input: self.in_input(&resolved),
            opened,
        })
    }

    /// Formats a path for messages, with inputs under the names that user code knows.
    fn shown(&self, path: &Path, ahead: &VecDeque<OsString>) -> String {
        let mut path = path.to_owned();
        path.extend(ahead);
        let own = Path::new("/pfs").join(SCRATCH).join(&self.current);
        match path.strip_prefix(own) {
            Ok(inside) => Path::new("/pfs").join(inside).display().to_string(),
            Err(_) => path.display().to_string(),
        }
    }

    /// Splits a path below the running try's inputs into the name of the input and the path in its commit.
    fn in_input(&self, path: &Path) -> Option<(String, String)> {
        if !self.unmodified {
            return None;
        }
        let inside = path.strip_prefix(Path::new("/pfs").join(SCRATCH)).ok()?;
        let inside = inside.strip_prefix(&self.current).ok()?.to_str()?;
        let (input, path) = inside.split_once('/').unwrap_or((inside, ""));
        // The folder that holds all inputs belongs to none of them.
        (!input.is_empty()).then(|| {
            let path = if path.is_empty() {
                String::new()
            } else {
                format!("/{path}")
            };
            (input.to_owned(), path)
        })
    }
}

/// Maps a path of the container to a place of the worker; `None` outside of `/pfs`.
fn place_of(path: &Path) -> Option<Place> {
    let rest = path.strip_prefix("/pfs").ok()?;
    Some(match rest.strip_prefix(SCRATCH) {
        Ok(inside) => Place {
            below_inputs: true,
            path: inside.to_owned(),
        },
        Err(_) => Place {
            below_inputs: false,
            path: rest.to_owned(),
        },
    })
}

/// Splits a path into the components that must be walked.
fn components(path: &Path) -> VecDeque<OsString> {
    path.components()
        .filter_map(|component| match component {
            Component::Normal(name) => Some(name.to_owned()),
            Component::ParentDir => Some(OsString::from("..")),
            Component::RootDir | Component::CurDir | Component::Prefix(_) => None,
        })
        .collect()
}
