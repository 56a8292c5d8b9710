//! Imports run downward only: between the folders of a crate, in the order of [`order::LAYERS`], and between files,
//! without any loop.
//!
//! The test reads the source as text: `use` lines and paths in code count alike, code under `#[cfg(test)]` does not.
//! A `pub use` of a module's own children is a table of contents, not an import.

#![allow(clippy::unwrap_used, reason = "a panic with a line number is how a test fails")]

mod graph;
mod order;
mod source;

use std::path::Path;

use graph::Graph;
use order::LAYERS;

/// The folder that holds the workspace.
fn workspace() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap()
}

#[test]
fn folders_import_downward_only() {
    let mut wrong = Vec::new();
    for layers in LAYERS {
        let graph = Graph::read(&workspace().join(layers.root));
        for (from, to) in graph.edges() {
            let (above, below) = (layers.of(from), layers.of(to));
            if above > below {
                wrong.push(format!("{}: {from} imports {to}, which is above it", layers.root));
            }
        }
        for file in graph.files() {
            if layers.of(file) == usize::MAX {
                wrong.push(format!("{}: {file} has no layer; name it in order.rs", layers.root));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn files_do_not_import_each_other_in_a_loop() {
    let mut wrong = Vec::new();
    for layers in LAYERS {
        let graph = Graph::read(&workspace().join(layers.root));
        for cycle in graph.cycles() {
            if !layers.allows(&cycle) {
                wrong.push(format!(
                    "{}: these files import each other: {}",
                    layers.root,
                    cycle.join(", ")
                ));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn a_loop_is_found() {
    let folder = tempfile::tempdir().unwrap();
    let write = |name: &str, text: &str| std::fs::write(folder.path().join(name), text).unwrap();
    std::fs::create_dir(folder.path().join("b")).unwrap();
    write("lib.rs", "pub mod a;\npub mod b;\npub use a::A;\n");
    write("a.rs", "pub struct A;\nfn f() { let _ = crate::b::inner::g; }\n");
    write("b/mod.rs", "pub mod inner;\npub use inner::g;\n");
    write(
        "b/inner.rs",
        "#[cfg(test)]\nmod tests { use crate::a::A; }\npub fn g() {}\n",
    );
    let graph = Graph::read(folder.path());
    assert_eq!(graph.edges().collect::<Vec<_>>(), [("a", "b::inner")]);
    assert!(graph.cycles().is_empty(), "an import by a test is none");

    write("b/inner.rs", "use super::super::A;\npub fn g(_: A) {}\n");
    let graph = Graph::read(folder.path());
    assert_eq!(graph.cycles(), [["a", "b::inner"]], "also through a re-export");
}
