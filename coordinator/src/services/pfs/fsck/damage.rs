//! What a check has found: damaged objects, each with the commits and files that need it.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use howdah_model::{CommitKey, ContentHash, PipelineKey, State};
use howdah_store::StoreError;
use howdah_telemetry::error_chain;

/// Damaged objects that are kept; further ones are counted.
const MOST_OBJECTS: usize = 10_000;
/// Commits that are kept for each object; further ones are counted. The newest come first.
const MOST_COMMITS: usize = 100;
/// Files that are shown for each object and commit; further ones are counted.
const MOST_FILES: usize = 3;
/// Nodes that are kept because they refer to damaged objects.
const MOST_NODES: usize = 100_000;

/// One piece of damage: the object, or the file, and what is wrong with it.
#[derive(Debug, Clone)]
pub(super) struct Fault {
    /// Key of the object; for a file whose chunks are whole, `file with hash <hash>`.
    pub object: Arc<str>,
    /// What is wrong.
    pub reason: Arc<str>,
}

impl Fault {
    /// Describes an error of the store that is about damage.
    pub(super) fn of(error: &StoreError) -> Self {
        let object = match error {
            StoreError::Missing { key } | StoreError::Corrupt { key, .. } | StoreError::LogGap { key } => key.clone(),
            StoreError::ObjectFormat { key, .. } => key.clone(),
            StoreError::WrongFile { hash } => format!("file with hash {hash}"),
            other => error_chain(other),
        };
        Self::new(object, error_chain(error))
    }

    /// Describes an object that another part found to be damaged.
    pub(super) fn new(object: impl Into<Arc<str>>, reason: impl Into<Arc<str>>) -> Self {
        Self {
            object: object.into(),
            reason: reason.into(),
        }
    }
}

/// All damage of a check.
#[derive(Default)]
pub(super) struct Damage {
    objects: BTreeMap<Arc<str>, DamagedObject>,
    /// Damaged objects that had no room.
    left_out: u64,
    /// How often damage was met, by any file of any commit.
    met: u64,
    /// Leaves with entries that refer to damaged objects.
    nodes: BTreeSet<ContentHash>,
}

/// An object with what needs it.
pub(super) struct DamagedObject {
    reason: Arc<str>,
    uses: Vec<Use>,
    further_commits: BTreeSet<CommitKey>,
    left_out_commits: u64,
}

/// The files of one commit that need an object.
struct Use {
    commit: CommitKey,
    files: Vec<String>,
    further_files: u64,
}

impl Damage {
    /// Adds a fault that no commit is known to be hurt by.
    pub(super) fn add(&mut self, fault: &Fault) {
        self.met += 1;
        self.object(fault);
    }

    /// Adds a fault of a commit, and the file that needs the object if it is known.
    pub(super) fn add_use(&mut self, fault: &Fault, commit: &CommitKey, file: &str) {
        self.met += 1;
        let Some(object) = self.object(fault) else { return };
        let place = match object.uses.iter().position(|known| known.commit == *commit) {
            Some(place) => place,
            None if object.uses.len() < MOST_COMMITS => {
                object.uses.push(Use {
                    commit: commit.clone(),
                    files: Vec::new(),
                    further_files: 0,
                });
                object.uses.len() - 1
            }
            None => {
                // Counted once as long as there is room to know it.
                if object.further_commits.len() >= MOST_COMMITS || object.further_commits.insert(commit.clone()) {
                    object.left_out_commits += 1;
                }
                return;
            }
        };
        if let Some(known) = object.uses.get_mut(place) {
            if known.files.len() < MOST_FILES {
                known.files.push(file.to_owned());
            } else {
                known.further_files += 1;
            }
        }
    }

    /// Notes a leaf that refers to a damaged object.
    pub(super) fn add_node(&mut self, node: ContentHash) {
        if self.nodes.len() < MOST_NODES {
            self.nodes.insert(node);
        }
    }

    fn object(&mut self, fault: &Fault) -> Option<&mut DamagedObject> {
        if !self.objects.contains_key(&fault.object) && self.objects.len() >= MOST_OBJECTS {
            self.left_out += 1;
            return None;
        }
        let new = || DamagedObject {
            reason: Arc::clone(&fault.reason),
            uses: Vec::new(),
            further_commits: BTreeSet::new(),
            left_out_commits: 0,
        };
        Some(self.objects.entry(Arc::clone(&fault.object)).or_insert_with(new))
    }

    /// Returns how often damage was met so far.
    pub(super) fn met(&self) -> u64 {
        self.met
    }

    /// Returns the damaged objects.
    pub(super) fn objects(&self) -> impl Iterator<Item = (&Arc<str>, &DamagedObject)> {
        self.objects.iter()
    }

    /// Returns the leaves that refer to damaged objects.
    pub(super) fn nodes(&self) -> impl Iterator<Item = &ContentHash> {
        self.nodes.iter()
    }

    /// Returns one sentence for each damaged object: what is wrong, and the files, commits and pipelines that it hurts.
    pub(super) fn lines(&self, state: &State) -> Vec<String> {
        let mut lines: Vec<_> = self
            .objects
            .iter()
            .map(|(key, object)| object.line(key, state))
            .collect();
        if self.left_out > 0 {
            lines.push(format!(
                "damage was met {} further times in other objects",
                self.left_out
            ));
        }
        lines
    }
}

impl DamagedObject {
    /// Returns the commits that need it, as far as they are kept.
    pub(super) fn commits(&self) -> impl Iterator<Item = &CommitKey> {
        self.uses.iter().map(|known| &known.commit)
    }

    fn line(&self, key: &str, state: &State) -> String {
        let mut line = self.reason.to_string();
        if !line.contains(key) {
            line = format!("{key}: {line}");
        }
        if self.uses.is_empty() {
            return line;
        }
        let uses: Vec<_> = self.uses.iter().map(Use::text).collect();
        line.push_str("; hurts ");
        line.push_str(&uses.join("; "));
        if self.left_out_commits > 0 {
            line.push_str(&format!("; and {} further commits", self.left_out_commits));
        }
        let pipelines: BTreeSet<_> = self.commits().flat_map(|commit| pipelines_of(state, commit)).collect();
        if !pipelines.is_empty() {
            let names: Vec<_> = pipelines.iter().map(ToString::to_string).collect();
            line.push_str(&format!("; pipelines: {}", names.join(", ")));
        }
        line
    }
}

impl Use {
    fn text(&self) -> String {
        let mut text = format!("commit {}: {}", self.commit, self.files.join(", "));
        if self.further_files > 0 {
            text.push_str(&format!(" and {} more", self.further_files));
        }
        text
    }
}

/// Returns the pipeline that made a commit, and those that read it.
fn pipelines_of(state: &State, commit: &CommitKey) -> Vec<PipelineKey> {
    let readers = state
        .commit(commit)
        .into_iter()
        .flat_map(|found| found.subvenance.iter());
    let repos = readers.map(|reader| &reader.repo).chain([&commit.repo]);
    let pipelines = repos.filter_map(|repo| repo.pipeline());
    pipelines
        .filter(|pipeline| state.pipeline(pipeline).is_some())
        .collect()
}

#[cfg(test)]
mod tests {
    use howdah_model::GlobalId;

    use super::*;

    #[test]
    fn what_is_kept_of_damage_is_bounded_and_the_rest_is_counted() {
        let repo: howdah_model::RepoKey = "default/images".parse().expect("a repo");
        let fault = Fault::new("chunks/aa/x", "object chunks/aa/x is missing");
        let mut damage = Damage::default();
        for commit in 0..MOST_COMMITS as u64 + 7 {
            for file in 0..5 {
                let key = repo.commit(GlobalId::from_number(commit));
                damage.add_use(&fault, &key, &format!("/{file}"));
            }
        }
        for object in 0..MOST_OBJECTS + 9 {
            damage.add(&Fault::new(format!("chunks/{object}"), "missing"));
        }
        let lines = damage.lines(&State::new());
        assert_eq!(lines.len(), MOST_OBJECTS + 1);
        let line = lines.iter().find(|line| line.contains("aa/x")).expect("a line");
        assert!(line.contains(": /0, /1, /2 and 2 more;"), "{line}");
        assert!(line.ends_with("; and 7 further commits"), "{line}");
        assert_eq!(
            lines.last().expect("a line"),
            "damage was met 10 further times in other objects"
        );
    }
}
