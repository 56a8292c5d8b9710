//! Which file of a crate imports which.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use crate::source::{Segments, Source};

/// The files of one crate as modules (`a::b`; the crate's root is `lib` or `main`), and what they import of each other.
pub(crate) struct Graph {
    edges: BTreeMap<String, BTreeSet<String>>,
}

impl Graph {
    /// Reads all files below `root`, the folder with `lib.rs` or `main.rs`.
    pub(crate) fn read(root: &Path) -> Self {
        let mut sources = BTreeMap::new();
        collect(root, &mut Vec::new(), &mut sources);
        let files = Files(sources);
        let mut edges: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
        for (module, source) in &files.0 {
            let targets = edges.entry(name(module)).or_default();
            for path in &source.uses {
                if let Some(target) = files.target(path, 0)
                    && target != module
                {
                    targets.insert(name(target));
                }
            }
        }
        Self { edges }
    }

    /// Goes through all files.
    pub(crate) fn files(&self) -> impl Iterator<Item = &str> {
        self.edges.keys().map(String::as_str)
    }

    /// Goes through all imports: the importing file, the imported one.
    pub(crate) fn edges(&self) -> impl Iterator<Item = (&str, &str)> {
        let edges = self.edges.iter();
        edges.flat_map(|(from, targets)| targets.iter().map(move |to| (from.as_str(), to.as_str())))
    }

    /// Returns the groups of files that reach each other, each sorted.
    pub(crate) fn cycles(&self) -> Vec<Vec<String>> {
        let mut cycles = BTreeSet::new();
        for from in self.edges.keys() {
            let reached = self.reached(from);
            if reached.contains(from.as_str()) {
                let together = reached
                    .iter()
                    .filter(|other| self.reached(other).contains(from.as_str()));
                cycles.insert(together.map(|file| (*file).to_owned()).collect::<Vec<_>>());
            }
        }
        cycles.into_iter().collect()
    }

    fn reached(&self, from: &str) -> BTreeSet<&str> {
        let mut reached = BTreeSet::new();
        let mut open = vec![from];
        while let Some(file) = open.pop() {
            for target in self.edges.get(file).into_iter().flatten() {
                if reached.insert(target.as_str()) {
                    open.push(target);
                }
            }
        }
        reached
    }
}

fn name(module: &[String]) -> String {
    match module {
        [] => "lib".to_owned(),
        _ => module.join("::"),
    }
}

/// Reads the files below a folder, those of tests left out.
fn collect(folder: &Path, module: &mut Vec<String>, sources: &mut BTreeMap<Segments, Source>) {
    let entries = std::fs::read_dir(folder).unwrap();
    for entry in entries.map(Result::unwrap) {
        let path = entry.path();
        let name = path.file_stem().unwrap().to_str().unwrap().to_owned();
        if name == "tests" || name == "testing" {
            continue;
        }
        if path.is_dir() {
            module.push(name);
            collect(&path, module, sources);
            module.pop();
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            let mut own = module.clone();
            match name.as_str() {
                "mod" | "lib" => {}
                // The program of a crate that also has a library.
                "main" if folder.join("lib.rs").exists() => own.push(name),
                "main" => {}
                _ => own.push(name),
            }
            let source = Source::read(&path, &own);
            sources.insert(own, source);
        }
    }
}

struct Files(BTreeMap<Segments, Source>);

impl Files {
    /// Finds the file that defines what a path names, through re-exports; `None` if the crate has no such file.
    fn target(&self, path: &[String], depth: usize) -> Option<&Segments> {
        // Re-exports that lead back to themselves would be refused by the compiler; be safe anyway.
        if depth > 16 {
            return None;
        }
        let length = (0..=path.len())
            .rev()
            .find(|length| self.0.contains_key(&path[..*length]))?;
        let (module, source) = self.0.get_key_value(&path[..length])?;
        let Some(next) = path.get(length) else {
            return Some(module);
        };
        if source.names.contains(next) {
            return Some(module);
        }
        let through = |base: &Segments, rest: &[String]| {
            let path: Segments = base.iter().chain(rest).cloned().collect();
            self.target(&path, depth + 1)
        };
        if let Some(export) = source.exports.get(next) {
            return through(export, &path[length + 1..]);
        }
        let found = source.globs.iter().find_map(|glob| {
            let target = through(glob, &path[length..])?;
            self.0[target].names.contains(next).then_some(target)
        });
        found.or(Some(module))
    }
}
