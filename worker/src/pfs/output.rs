//! Listing what a command left in `/pfs/out`.
//!
//! [`collect`] walks the folder and returns a [`CollectedFile`] per output file. Links are followed as the container
//! sees them (`links`). A link into an unmodified input becomes a reference to the file's stored content, so that
//! moving or regrouping files stores no bytes. Files that are not small are only named here and read when they are
//! stored (`stored_file`). Pipes, sockets and devices have no content: they are counted, so that the datum's log can
//! name them.
//!
//! The command has ended, but a process of the container may still change `/pfs`, for instance a thread that it planted
//! in the first process. So folders are opened below the open `/pfs` without following a link in any element, files
//! below their open folder, and what was opened is what is looked at and read. One folder is open at a time, and the
//! folders that are still to be walked are a list, not a recursion: their depth is the command's choice.
//!
//! What can go wrong: output that cannot be accepted is [`OutputError::Rejected`] and fails the try; links that only
//! the container can follow are returned as [`OutputError::Outside`]; failures of this machine are
//! [`OutputError::Infra`]. All functions block.

use std::ffi::CStr;
use std::fs::File;
use std::io::{self, Read};
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;
use std::rc::Rc;

use howdah_store::{PathRules, check_path};
use howdah_telemetry::kind_of_file;

use crate::beneath::{DirBuffer, EntryKind, Folder};
use crate::cache::file_cache::SMALL_FILE_BYTES;
use crate::config::OutputLimits;
use crate::error::InfraError;
use crate::pfs::collected::{
    CollectedFile, CollectedOutput, ContentSource, OutputError, rejected, shortened, text_of, unreadable,
};
use crate::pfs::layout::OUT;
use crate::pfs::links::{LinkError, LinkResolver, LinkTarget, Place};
use crate::pfs::output_time::OutputTime;
use crate::pfs::stored_file::DiskFile;
use crate::pfs::workspace::PfsView;

/// Total size of small files that are read while walking; further files are read when they are stored.
const READ_AHEAD_BYTES: u64 = 8 << 20;
/// Longest path of a file in a commit.
const MAX_PATH: usize = 4095;

/// Collects everything below `/pfs/out`.
pub(crate) fn collect(
    view: PfsView<'_>,
    limits: OutputLimits,
    time: OutputTime,
) -> Result<CollectedOutput, OutputError> {
    let mut walk = OutputWalk {
        links: LinkResolver::new(view),
        limits,
        time,
        waiting: Vec::new(),
        output: CollectedOutput::default(),
        outside: Vec::new(),
        entries: 0,
        bytes: 0,
        read_ahead: 0,
        buffer: DirBuffer::new(),
    };
    let out = match view.pfs.folder(OUT) {
        Ok(out) => out,
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            return Err(rejected("/pfs/out has been removed: leave it and write files into it"));
        }
        // A file or a link has replaced it.
        Err(error) if matches!(error.raw_os_error(), Some(libc::ENOTDIR | libc::ELOOP)) => {
            return Err(rejected("/pfs/out is no longer a directory: write files into it"));
        }
        Err(error) => return Err(InfraError::io("look at", view.pfs.shown().join(OUT))(error).into()),
    };
    let place = Place {
        below_inputs: false,
        path: PathBuf::from(OUT),
    };
    walk.folder(&out, &Rc::new(WalkedFolder::top(place)))?;
    while let Some(next) = walk.waiting.pop() {
        let base = walk.links.base(&next.place).clone();
        let opened = base.folder(&next.place.path);
        let opened = opened.map_err(|error| unreadable("folder", &next.path, error))?;
        walk.folder(&opened, &next)?;
    }
    if !walk.outside.is_empty() {
        return Err(OutputError::Outside(walk.outside));
    }
    let mut output = walk.output;
    output.files.sort_unstable_by(|a, b| a.path.cmp(&b.path));
    Ok(output)
}

/// A folder of the walk.
struct WalkedFolder {
    place: Place,
    /// Its path in the output; empty for the output folder itself.
    path: String,
    /// Number of folders around it, up to the output folder.
    depth: usize,
    /// Name of the input and path in its commit, if it is part of an unmodified input.
    in_input: Option<(String, String)>,
    /// The folder that it was found in. `None` for the output folder.
    above: Option<Rc<WalkedFolder>>,
    /// Whether it or one of the folders around it was found through a link. Only then can it contain itself.
    through_link: bool,
}

impl WalkedFolder {
    fn top(place: Place) -> Self {
        Self {
            place,
            path: String::new(),
            depth: 0,
            in_input: None,
            above: None,
            through_link: false,
        }
    }

    /// Returns whether a folder is this one or one of those around it.
    fn is_within(&self, place: &Place) -> bool {
        let mut folder = Some(self);
        while let Some(this) = folder {
            if this.place == *place {
                return true;
            }
            folder = this.above.as_deref();
        }
        false
    }
}

/// A walk through the output folder.
struct OutputWalk {
    links: LinkResolver,
    limits: OutputLimits,
    time: OutputTime,
    /// Folders that are found and not walked yet.
    waiting: Vec<Rc<WalkedFolder>>,
    output: CollectedOutput,
    /// Links that lead into the container's own file system.
    outside: Vec<String>,
    /// Files, folders and links so far.
    entries: u64,
    /// Sum of the sizes of the files so far, without those of inputs.
    bytes: u64,
    /// Bytes of small files that have been read.
    read_ahead: u64,
    buffer: DirBuffer,
}

impl OutputWalk {
    /// Collects the files of an open folder, and notes the folders in it.
    fn folder(&mut self, opened: &Folder, folder: &Rc<WalkedFolder>) -> Result<(), OutputError> {
        // Taken out meanwhile: the listing borrows it, and the entries borrow the walk.
        let mut buffer = std::mem::replace(&mut self.buffer, DirBuffer::empty());
        let listed = opened.for_each_entry(&mut buffer, |name, kind| self.entry(opened, folder, name, kind));
        self.buffer = buffer;
        listed.map_err(|end| match end {
            WalkEnd::Listing(error) => unreadable("folder", &folder.path, error),
            WalkEnd::Output(error) => error,
        })
    }

    fn entry(
        &mut self,
        opened: &Folder,
        folder: &Rc<WalkedFolder>,
        name: &CStr,
        kind: EntryKind,
    ) -> Result<(), WalkEnd> {
        self.time.check_step().map_err(OutputError::from)?;
        let name_text = text_of(&folder.path, name)?;
        let path = format!("{}/{name_text}", folder.path);
        self.count(&path)?;
        let in_input = folder.in_input.as_ref();
        let in_input = in_input.map(|(input, inside)| (input.clone(), format!("{inside}/{name_text}")));
        match (kind, in_input) {
            (EntryKind::Folder, in_input) => {
                let place = Place {
                    below_inputs: folder.place.below_inputs,
                    path: folder.place.path.join(name_text),
                };
                self.note_folder(folder, place, path, in_input, false)?;
            }
            (EntryKind::File, Some((input, inside))) => self.reference(path, input, inside)?,
            (EntryKind::File, None) => {
                let place = Place {
                    below_inputs: folder.place.below_inputs,
                    path: folder.place.path.join(name_text),
                };
                self.file(opened.open_entry(name), place, path)?;
            }
            (EntryKind::Link, None) => self.link(folder, path)?,
            // The worker makes no links in inputs.
            (EntryKind::Link, Some(_)) => self.leave_out(&path, "symbolic link"),
            (EntryKind::Special(what), _) => self.leave_out(&path, what),
        }
        Ok(())
    }

    /// Counts something that has no content.
    fn leave_out(&mut self, path: &str, what: &str) {
        self.output.left_out.add(&format!("/pfs/out{}", shortened(path)), what);
    }

    /// Counts an entry of the output.
    fn count(&mut self, path: &str) -> Result<(), OutputError> {
        self.entries += 1;
        let limit = self.limits.files;
        if self.entries > limit {
            return Err(rejected(format!(
                "the output has more than {limit} files and folders (the next is /pfs/out{}): write fewer, for example \
                 one archive, or start the worker with a higher --max-output-files",
                shortened(path)
            )));
        }
        Ok(())
    }

    /// Notes a folder that is to be walked.
    fn note_folder(
        &mut self,
        above: &Rc<WalkedFolder>,
        place: Place,
        path: String,
        in_input: Option<(String, String)>,
        is_link: bool,
    ) -> Result<(), OutputError> {
        let (depth, limit) = (above.depth + 1, self.limits.depth);
        if depth > limit {
            return Err(rejected(format!(
                "the output has folders nested more than {limit} levels deep (/pfs/out{}): write fewer levels, or \
                 start the worker with a higher --max-output-depth",
                shortened(&path)
            )));
        }
        if path.len() > MAX_PATH || place.path.as_os_str().len() > MAX_PATH {
            return Err(rejected(format!(
                "the path of the folder /pfs/out{} has more than {MAX_PATH} bytes: no file in it could be stored",
                shortened(&path)
            )));
        }
        let through_link = is_link || above.through_link;
        if through_link && above.is_within(&place) {
            return Err(rejected(format!(
                "link at /pfs/out{path} leads back to a folder above it"
            )));
        }
        self.waiting.push(Rc::new(WalkedFolder {
            place,
            path,
            depth,
            in_input,
            above: Some(Rc::clone(above)),
            through_link,
        }));
        Ok(())
    }

    /// Adds a file that is not one of an input.
    fn file(&mut self, opened: io::Result<File>, place: Place, path: String) -> Result<(), OutputError> {
        check_path(&path, PathRules::Strict).map_err(|error| rejected(error.to_string()))?;
        // Opened now even if it is read later: a file that cannot be read must fail the try, while an error during the
        // later read counts as an error of this machine.
        let mut file = opened.map_err(|error| unreadable("file", &path, error))?;
        let meta = file.metadata().map_err(|error| unreadable("file", &path, error))?;
        if !meta.is_file() {
            return Err(rejected(format!("/pfs/out{path} changed while it was collected")));
        }
        let size = meta.len();
        self.bytes = self.bytes.saturating_add(size);
        let limit = self.limits.bytes;
        if self.bytes > limit {
            return Err(rejected(format!(
                "the output has more than {limit} bytes (/pfs/out{} alone has {size}): write less, or start the worker \
                 with a higher --max-output-bytes",
                shortened(&path)
            )));
        }
        let content = if size <= SMALL_FILE_BYTES && self.read_ahead + size <= READ_AHEAD_BYTES {
            let mut bytes = Vec::with_capacity(usize::try_from(size).unwrap_or(0) + 1);
            (&mut file)
                .take(size)
                .read_to_end(&mut bytes)
                .map_err(|error| unreadable("file", &path, error))?;
            self.read_ahead += bytes.len() as u64;
            ContentSource::Memory(bytes)
        } else {
            // In blocks of 512 bytes, whatever the file system uses.
            self.output.disk_bytes += meta.blocks() * 512;
            ContentSource::Disk(DiskFile::new(self.links.base(&place), place.path, &meta))
        };
        self.output.files.push(CollectedFile { path, content });
        Ok(())
    }

    /// Adds a file of an unmodified input.
    fn reference(&mut self, path: String, input: String, inside: String) -> Result<(), OutputError> {
        check_path(&path, PathRules::Strict).map_err(|error| rejected(error.to_string()))?;
        let content = ContentSource::Input { input, path: inside };
        self.output.files.push(CollectedFile { path, content });
        Ok(())
    }

    fn link(&mut self, folder: &Rc<WalkedFolder>, path: String) -> Result<(), OutputError> {
        // By its place, not by its path in the output, which may lead through other links.
        let place = if folder.place.below_inputs {
            "/pfs/.scratch"
        } else {
            "/pfs"
        };
        let name = path.rsplit('/').next().unwrap_or_default();
        let at = PathBuf::from(place).join(&folder.place.path).join(name);
        let target = match self.links.resolve(&at) {
            Ok(target) => target,
            Err(LinkError::Outside) => {
                self.outside.push(format!("/pfs/out{path}"));
                return Ok(());
            }
            Err(LinkError::Io { source }) => return Err(unreadable("target of the link", &path, source)),
            Err(other) => return Err(rejected(format!("link at /pfs/out{path}: {other}"))),
        };
        self.link_target(folder, target, path)
    }

    fn link_target(&mut self, folder: &Rc<WalkedFolder>, target: LinkTarget, path: String) -> Result<(), OutputError> {
        let LinkTarget {
            place,
            in_input,
            opened,
        } = target;
        let meta = match opened {
            Some(opened) => opened.metadata(),
            None => self
                .links
                .base(&place)
                .look_at(&place.path)
                .and_then(|opened| opened.metadata()),
        };
        let kind = meta
            .map_err(|error| unreadable("target of the link", &path, error))?
            .file_type();
        if kind.is_dir() {
            return self.note_folder(folder, place, path, in_input, true);
        }
        match in_input {
            _ if !kind.is_file() => self.leave_out(&path, kind_of_file(kind)),
            Some((input, inside)) => self.reference(path, input, inside)?,
            None => {
                let opened = self.links.base(&place).open_file(&place.path);
                self.file(opened, place, path)?;
            }
        }
        Ok(())
    }
}

/// Why the walk through a folder ended early.
enum WalkEnd {
    /// The folder cannot be listed.
    Listing(io::Error),
    /// Something in it cannot be accepted.
    Output(OutputError),
}

impl From<io::Error> for WalkEnd {
    fn from(error: io::Error) -> Self {
        Self::Listing(error)
    }
}

impl From<OutputError> for WalkEnd {
    fn from(error: OutputError) -> Self {
        Self::Output(error)
    }
}

#[cfg(test)]
mod tests;
