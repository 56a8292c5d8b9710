//! The pages of `docs/` against the source. Needs no program.

#![allow(clippy::unwrap_used, reason = "a panic with a line number is how a test fails")]

use std::collections::BTreeSet;

const METRICS_PAGE: &str = include_str!("../../docs/metrics.md");
const COORDINATOR_METRICS: &str = include_str!("../../coordinator/src/metrics.rs");
const WORKER_METRICS: &str = include_str!("../../worker/src/metrics.rs");

/// Returns the names of metrics that a text has between two quotation marks.
fn metrics_between(quote: char, text: &str) -> BTreeSet<&str> {
    let of_name = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_';
    let is_name = |part: &&str| part.starts_with("howdah_") && part.chars().all(of_name);
    text.split(quote).filter(is_name).collect()
}

/// Returns the part of a page below a heading, up to the first line after its table.
fn table_below<'a>(page: &'a str, heading: &str) -> &'a str {
    let (_, below) = page.split_once(heading).unwrap();
    let (_, table) = below.split_once("\n| ").unwrap();
    table.split("\n\n").next().unwrap()
}

/// Asserts that the page lists the metrics of a program below a heading.
fn assert_lists(heading: &str, source: &str) {
    let listed = metrics_between('`', table_below(METRICS_PAGE, heading));
    // Every name of a metric is a literal in the file of its program.
    let registered = metrics_between('"', source);
    assert_eq!(listed, registered, "{heading}");
}

#[test]
fn the_page_about_metrics_lists_every_metric_and_no_other() {
    assert_lists("## Coordinator", COORDINATOR_METRICS);
    assert_lists("## Worker", WORKER_METRICS);
}
