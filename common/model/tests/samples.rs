//! Compatibility of the log: every release reads the events of all earlier ones.
//!
//! `samples/<event>.json` holds events as a release wrote them. A sample is never changed. When an event gets a field,
//! a sample with that field is added.
#![allow(clippy::unwrap_used)]

use std::collections::BTreeSet;
use std::path::Path;

use howdah_model::{Command, Event};

/// Returns the name of an event. The match has no wildcard, so a new event does not compile without a name here.
fn name(event: &Event) -> &'static str {
    macro_rules! names {
        ($($name:ident),* $(,)?) => {
            match event { $(Event::$name { .. } => stringify!($name)),* }
        };
    }
    names!(
        ProjectCreated,
        ProjectUpdated,
        ProjectDeleted,
        RepoCreated,
        RepoUpdated,
        RepoDeleted,
        BranchSet,
        BranchDeleted,
        CommitStarted,
        CommitWritten,
        ContentSet,
        EditsStaged,
        EditsSettled,
        CommitFinished,
        Propagated,
        CommitsRemoved,
        PipelineVersionAdded,
        PipelineStopped,
        PipelineStarted,
        PipelineStateSet,
        ImagePinned,
        PipelineDeleted,
        JobStarted,
        JobPlanned,
        JobStateSet,
        JobRestarted,
        JobFinished,
        JobDeleted,
        TransactionStarted,
        TransactionAppended,
        TransactionClosed,
        SecretSet,
        SecretDeleted,
        DefaultsSet,
        AllDeleted,
    )
}

const EVENTS: usize = 35;

#[test]
fn every_sample_parses_and_prints_as_it_was() {
    let folder =
        Path::new(&std::env::var("CARGO_MANIFEST_DIR").expect("cargo says where the package is")).join("tests/samples");
    let mut seen = BTreeSet::new();
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let stem = path.file_stem().unwrap().to_str().unwrap().to_owned();
        let text = std::fs::read_to_string(&path).unwrap();
        let events: Vec<Event> = serde_json::from_str(&text).unwrap_or_else(|error| panic!("{stem}: {error}"));
        assert!(!events.is_empty(), "{stem}: no sample");
        for event in &events {
            assert_eq!(name(event), stem);
        }
        let printed = serde_json::to_value(&events).unwrap();
        let written: serde_json::Value = serde_json::from_str(&text).unwrap();
        assert_eq!(printed, written, "{stem}");
        seen.insert(stem);
    }
    assert_eq!(seen.len(), EVENTS, "an event has no sample: {seen:?}");
}

#[test]
fn every_command_of_a_transaction_has_a_sample() {
    let text = include_str!("samples/TransactionAppended.json");
    let events: Vec<Event> = serde_json::from_str(text).unwrap();
    let commands: BTreeSet<_> = events
        .iter()
        .filter_map(|event| match event {
            Event::TransactionAppended { command, .. } => Some(command),
            _ => None,
        })
        .filter(|command: &&Command| command.fits_transaction())
        .map(Command::name)
        .collect();
    assert_eq!(commands.len(), 11);
}

#[test]
fn unknown_events_are_refused_by_name() {
    let error = serde_json::from_str::<Event>("{\"Unheard\":{}}")
        .unwrap_err()
        .to_string();
    assert!(error.contains("Unheard"), "{error}");
}
