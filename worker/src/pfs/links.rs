//! Following symbolic links as a stage container sees them.

use std::collections::VecDeque;
use std::ffi::OsString;
use std::fs;
use std::io;
use std::path::{Component, Path, PathBuf};

use crate::pfs::workspace::{SCRATCH, Workspace};

/// Links that may be followed for one path, as in the kernel.
const MAX_LINKS: usize = 40;

/// Where the folders of a container are on the worker's side.
#[derive(Clone, Debug)]
pub struct View {
    pfs: PathBuf,
    inputs: PathBuf,
    /// The running try's folder below `.scratch`.
    current: String,
    /// Inputs are shared with the cache, so nobody can have changed them.
    unmodified: bool,
}

/// What a link leads to.
#[derive(Clone, Debug)]
pub struct Place {
    /// Path on the worker's side; no part of it is a link.
    pub real: PathBuf,
    /// Input and path within it, if it is part of an unmodified input.
    pub in_input: Option<(String, String)>,
}

/// Why a link leads nowhere.
#[derive(Debug, thiserror::Error)]
pub enum LinkError {
    /// Nothing is there.
    #[error("its target {target} does not exist")]
    Dangling {
        /// Where it leads, as the container sees it.
        target: String,
    },
    /// It leads to the container's own file system, which the worker does not see.
    #[error("its target is outside of /pfs")]
    Outside,
    /// It goes in circles.
    #[error("it leads through too many other links")]
    TooManyLinks,
    /// The worker's disk failed.
    #[error("cannot be followed")]
    Io {
        /// Where.
        path: PathBuf,
        /// The system's error.
        #[source]
        source: io::Error,
    },
}

impl View {
    /// Returns the view of the running try.
    pub fn of(space: &Workspace) -> Self {
        let inputs = space.inputs();
        let current = inputs.file_name().map(|name| name.to_string_lossy().into_owned());
        Self {
            pfs: space.dirs().pfs.clone(),
            inputs: space.dirs().inputs.clone(),
            current: current.unwrap_or_default(),
            unmodified: !space.writable(),
        }
    }

    /// Returns the output folder on the worker's side.
    pub fn out(&self) -> PathBuf {
        self.pfs.join("out")
    }

    /// Follows a path of the container, links included, to the end.
    pub fn resolve(&self, path: &str) -> Result<Place, LinkError> {
        let mut ahead: VecDeque<OsString> = parts(Path::new(path));
        let mut here = PathBuf::from("/");
        let mut links = 0;
        while let Some(part) = ahead.pop_front() {
            if part == ".." {
                here.pop();
                continue;
            }
            let next = here.join(&part);
            let Some(real) = self.real(&next) else {
                // The way to /pfs itself, or somewhere else.
                if Path::new("/pfs").starts_with(&next) {
                    here = next;
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
                here = next;
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
                here = PathBuf::from("/");
            }
            let mut through = parts(&target);
            through.append(&mut ahead);
            ahead = through;
        }
        let Some(real) = self.real(&here) else {
            return Err(LinkError::Outside);
        };
        Ok(Place {
            real,
            in_input: self.in_input(&here),
        })
    }

    /// Writes a path for people: inputs under the names that user code knows.
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

    /// Reads input and path from a path below the running try's inputs.
    fn in_input(&self, path: &Path) -> Option<(String, String)> {
        if !self.unmodified {
            return None;
        }
        let inside = path.strip_prefix(Path::new("/pfs").join(SCRATCH)).ok()?;
        let inside = inside.strip_prefix(&self.current).ok()?.to_str()?;
        let (input, path) = inside.split_once('/').unwrap_or((inside, ""));
        // The folder of all inputs is none of them.
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

/// Splits a path into what is still to be walked.
fn parts(path: &Path) -> VecDeque<OsString> {
    path.components()
        .filter_map(|part| match part {
            Component::Normal(name) => Some(name.to_owned()),
            Component::ParentDir => Some(OsString::from("..")),
            Component::RootDir | Component::CurDir | Component::Prefix(_) => None,
        })
        .collect()
}
