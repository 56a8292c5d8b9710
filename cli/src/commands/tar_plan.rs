//! The first pass over a tar archive: which files it makes.
//!
//! Reads every header, checks it, and finds out what one entry alone does not tell: the entry whose bytes a hard link
//! has, and the entries that a later entry of the same path replaces. Nothing has been sent when it fails.

use std::collections::HashMap;
use std::io::Read;

use howdah_telemetry::LeftOut;

use super::tar_entry::{TarEntry, TarKind};
use super::targets::PathHasher;
use crate::error::{CliError, CliResult};

/// Most links from one hard link to the next, where each comes before its target.
const MOST_LINKS: usize = 40;

/// What the second pass has to do.
#[derive(Debug, Default)]
pub(super) struct TarPlan {
    /// Paths of the files with the bytes of an entry, by its number. An entry that is not here makes one file, at its
    /// own path.
    special: HashMap<u64, Vec<String>>,
    /// Entries that make no file.
    pub left_out: LeftOut,
    /// Entries that a later entry of the same path replaces.
    pub replaced: LeftOut,
}

impl TarPlan {
    /// Returns the paths of the files with the bytes of an entry; `own` is its own path.
    pub(super) fn paths<'a>(&'a self, number: u64, own: &'a String) -> &'a [String] {
        let special = self.special.get(&number).map(Vec::as_slice);
        special.unwrap_or(std::slice::from_ref(own))
    }
}

/// What is known about a path.
#[derive(Debug, Clone, Copy)]
enum Seen {
    /// It is a file with the bytes of this entry.
    File(u64),
    /// It makes no file, because it is of this kind.
    LeftOut(&'static str),
    /// It is a hard link whose target has not been seen: its place in the list of such links.
    Waiting(usize),
}

/// A hard link that comes before its target.
#[derive(Debug)]
struct WaitingLink {
    path: String,
    target: String,
}

/// Makes a plan from the entries of an archive, one after the other.
pub(super) struct TarScan<'a> {
    archive: &'a str,
    /// All entries of a path are put, one behind the other.
    append: bool,
    /// Called with the path of each file; its error ends the pass.
    claim: &'a mut dyn FnMut(&str) -> CliResult,
    hasher: PathHasher,
    seen: HashMap<u128, Seen>,
    waiting: Vec<WaitingLink>,
    next: u64,
    plan: TarPlan,
}

impl<'a> TarScan<'a> {
    /// Makes a scan that has seen nothing. `archive` is the name of the archive, for messages.
    pub(super) fn new(archive: &'a str, append: bool, claim: &'a mut dyn FnMut(&str) -> CliResult) -> TarScan<'a> {
        TarScan {
            archive,
            append,
            claim,
            hasher: PathHasher::default(),
            seen: HashMap::new(),
            waiting: Vec::new(),
            next: 0,
            plan: TarPlan::default(),
        }
    }

    /// Looks at all entries of the archive.
    pub(super) fn entries<R: Read>(&mut self, entries: tar::Entries<'_, R>) -> CliResult {
        for entry in entries {
            let broken = |error| CliError::io(format!("cannot read the archive {}", self.archive))(error);
            let entry = TarEntry::look(&mut entry.map_err(broken)?, self.archive)?;
            let number = self.next;
            self.next += 1;
            match entry.kind {
                TarKind::Ignored => {}
                TarKind::File | TarKind::Sparse(_) => self.set(&entry.path, Seen::File(number))?,
                TarKind::LeftOut(kind) => {
                    self.leave_out(&entry.path, kind);
                    self.set(&entry.path, Seen::LeftOut(kind))?;
                }
                TarKind::HardLink(target) => {
                    let path = entry.path;
                    if !self.link(&path, &target)? {
                        self.set(&path, Seen::Waiting(self.waiting.len()))?;
                        self.waiting.push(WaitingLink { path, target });
                    }
                }
            }
        }
        Ok(())
    }

    /// Finds the targets of the links that came before them, and returns the plan.
    pub(super) fn finish(mut self) -> Result<TarPlan, CliError> {
        let waiting = std::mem::take(&mut self.waiting);
        let mut open: Vec<(usize, &WaitingLink)> = waiting.iter().enumerate().rev().collect();
        // The links of a chain find their target one after the other.
        for _ in 0..MOST_LINKS {
            let mut left = Vec::new();
            for (place, link) in std::mem::take(&mut open) {
                // A later entry may have replaced the link.
                let waits = matches!(self.get(&link.path), Some(Seen::Waiting(own)) if own == place);
                if waits && !self.link(&link.path, &link.target)? {
                    left.push((place, link));
                }
            }
            open = left;
            if open.is_empty() {
                return Ok(self.plan);
            }
        }
        match open.last() {
            None => Ok(self.plan),
            Some((_, WaitingLink { path, target })) => Err(CliError::refused(format!(
                "the hard link {path:?} of the archive {} has no file to link to: {target:?} is not in the archive",
                self.archive
            ))),
        }
    }

    /// Makes a hard link a file with the bytes of its target, or leaves it out with the target. Returns whether the
    /// target is known.
    fn link(&mut self, path: &str, target: &str) -> Result<bool, CliError> {
        match self.get(target) {
            Some(Seen::File(number)) => {
                // Without links so far, the path of the target is the entry's own.
                let own = || vec![target.to_owned()];
                self.plan.special.entry(number).or_insert_with(own);
                // Before the path is added: this removes it from an entry that had it.
                self.set(path, Seen::File(number))?;
                self.plan.special.entry(number).or_default().push(path.to_owned());
            }
            Some(Seen::LeftOut(kind)) => {
                self.leave_out(path, &format!("hard link to a {kind}"));
                self.set(path, Seen::LeftOut(kind))?;
            }
            Some(Seen::Waiting(_)) | None => return Ok(false),
        }
        Ok(true)
    }

    fn leave_out(&mut self, path: &str, kind: &str) {
        self.plan.left_out.add(&format!("{}:{path}", self.archive), kind);
    }

    fn get(&self, path: &str) -> Option<Seen> {
        self.seen.get(&self.hasher.key(path)).copied()
    }

    /// Sets what a path is now. A file that it was before is not put there any more.
    fn set(&mut self, path: &str, new: Seen) -> CliResult {
        let old = self.seen.insert(self.hasher.key(path), new);
        if let Some(Seen::File(number)) = old
            && !self.append
        {
            let own = || vec![path.to_owned()];
            let paths = self.plan.special.entry(number).or_insert_with(own);
            paths.retain(|known| known != path);
            self.plan
                .replaced
                .add(&format!("{}:{path}", self.archive), "its path occurs again");
        }
        match new {
            Seen::File(_) => (self.claim)(path),
            Seen::LeftOut(_) | Seen::Waiting(_) => Ok(()),
        }
    }
}
