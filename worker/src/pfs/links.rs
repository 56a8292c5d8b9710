//! Following symbolic links as a stage container sees them.
//!
//! The worker's kernel must not follow a link that user code made: a link to `/etc/passwd` would read the worker's
//! file. So [`LinkResolver::resolve`] walks a path step by step, maps each step to the worker's side and reads links
//! itself.

use std::collections::VecDeque;
use std::ffi::OsString;
use std::fs;
use std::io;
use std::path::{Component, Path, PathBuf};

use crate::pfs::layout::{PfsLayout, SCRATCH};

/// Links that may be followed for one path, as in the kernel.
const MAX_LINKS: usize = 40;

/// Resolves paths of a container to paths on the worker's side.
#[derive(Clone, Debug)]
pub struct LinkResolver {
    pfs: PathBuf,
    inputs: PathBuf,
    /// Name of the running try's folder below `.scratch`.
    current: String,
    /// Whether inputs are read-only, so that they are as the store has them.
    unmodified: bool,
}

/// A resolved path.
#[derive(Clone, Debug)]
pub struct LinkTarget {
    /// Path on the worker's side; no component of it is a link.
    pub real: PathBuf,
    /// Name of the input and path in its commit, if it is part of an unmodified input.
    pub in_input: Option<(String, String)>,
}

/// Why a path cannot be resolved.
#[derive(Debug, thiserror::Error)]
pub enum LinkError {
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
        /// The path on the worker's side.
        path: PathBuf,
        /// The system's error.
        #[source]
        source: io::Error,
    },
}

impl LinkResolver {
    /// Makes a resolver for the running try of a workspace.
    pub fn new(layout: &PfsLayout) -> Self {
        let inputs = layout.inputs();
        let current = inputs.file_name().map(|name| name.to_string_lossy().into_owned());
        Self {
            pfs: layout.dirs.pfs.clone(),
            inputs: layout.dirs.inputs.clone(),
            current: current.unwrap_or_default(),
            unmodified: !layout.writable,
        }
    }

    /// Resolves a path of the container, following all links.
    pub fn resolve(&self, path: &str) -> Result<LinkTarget, LinkError> {
        let mut ahead: VecDeque<OsString> = components(Path::new(path));
        let mut resolved = PathBuf::from("/");
        let mut links = 0;
        while let Some(component) = ahead.pop_front() {
            if component == ".." {
                // Applied to the resolved path, as the kernel does: `link/..` is the parent of the link's target.
                resolved.pop();
                continue;
            }
            let next = resolved.join(&component);
            let Some(real) = self.real(&next) else {
                // A folder above /pfs may still lead into it; everything else is outside.
                if Path::new("/pfs").starts_with(&next) {
                    resolved = next;
                    continue;
                }
                return Err(LinkError::Outside);
            };
            let meta = fs::symlink_metadata(&real).map_err(|source| match source.kind() {
                io::ErrorKind::NotFound | io::ErrorKind::NotADirectory => LinkError::Dangling {
                    target: self.shown(&next, &ahead),
                },
                _ => LinkError::Io {
                    path: real.clone(),
                    source,
                },
            })?;
            if !meta.is_symlink() {
                resolved = next;
                continue;
            }
            links += 1;
            if links > MAX_LINKS {
                return Err(LinkError::TooManyLinks);
            }
            let target = fs::read_link(&real).map_err(|source| LinkError::Io {
                path: real.clone(),
                source,
            })?;
            if target.is_absolute() {
                resolved = PathBuf::from("/");
            }
            let mut inserted = components(&target);
            inserted.append(&mut ahead);
            ahead = inserted;
        }
        let Some(real) = self.real(&resolved) else {
            return Err(LinkError::Outside);
        };
        Ok(LinkTarget {
            real,
            in_input: self.in_input(&resolved),
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

    /// Maps a path of the container to the worker's side; `None` outside of `/pfs`.
    fn real(&self, path: &Path) -> Option<PathBuf> {
        let rest = path.strip_prefix("/pfs").ok()?;
        Some(match rest.strip_prefix(SCRATCH) {
            Ok(inside) => self.inputs.join(inside),
            Err(_) => self.pfs.join(rest),
        })
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
