//! Table rows and progress bars that several commands share.

use howdah_api::pfs_v2;

use crate::output::age::{self, Clock};
use crate::output::color::Tone;
use crate::output::printer::Printer;
use crate::output::size;
use crate::wire;

/// The columns of a table of commits.
pub(super) const COMMITS: &[&str] = &[
    "PROJECT",
    "REPO",
    "COMMIT",
    "FINISHED",
    "SIZE",
    "ORIGIN",
    "CREATOR",
    "DESCRIPTION",
];

/// The columns of a table of sets of commits.
pub(super) const COMMIT_SETS: &[&str] = &["ID", "SUBCOMMITS", "PROGRESS", "CREATED", "MODIFIED"];

/// Blocks of a set's progress bar.
const BLOCKS: usize = 8;

/// Returns the row of a commit.
pub(super) fn commit_row(info: &pfs_v2::CommitInfo, clock: &Clock) -> Vec<String> {
    let commit = info.commit.clone().unwrap_or_default();
    let repo = wire::commit_repo(&commit);
    let creator = if info.created_by.is_empty() {
        age::UNKNOWN
    } else {
        &info.created_by
    };
    vec![
        wire::repo_project(repo),
        wire::repo_name(repo),
        commit.id.clone(),
        clock.moment(wire::moment(info.finished.as_ref())),
        commit_size(info),
        origin(info).to_owned(),
        creator.to_owned(),
        info.description.clone(),
    ]
}

/// Returns a commit's size, or its upper bound while the size is unknown.
pub(super) fn commit_size(info: &pfs_v2::CommitInfo) -> String {
    match &info.details {
        Some(details) => size::wire_size(details.size_bytes),
        None => size::upper_bound(info.size_bytes_upper_bound),
    }
}

fn origin(info: &pfs_v2::CommitInfo) -> &'static str {
    match info.origin.as_ref().map(pfs_v2::CommitOrigin::kind) {
        Some(pfs_v2::OriginKind::User) => "USER",
        Some(pfs_v2::OriginKind::Auto) => "AUTO",
        Some(pfs_v2::OriginKind::Fsck) => "FSCK",
        _ => age::UNKNOWN,
    }
}

/// Returns the row of a set of commits.
pub(super) fn commit_set_row(set: &pfs_v2::CommitSetInfo, clock: &Clock, printer: &Printer) -> Vec<String> {
    let failed = set.commits.iter().filter(|commit| !commit.error.is_empty()).count();
    let done = set
        .commits
        .iter()
        .filter(|commit| commit.error.is_empty() && commit.finished.is_some())
        .count();
    let created = set
        .commits
        .iter()
        .filter_map(|commit| wire::moment(commit.started.as_ref()))
        .min();
    let modified = set
        .commits
        .iter()
        .filter_map(|commit| wire::moment(commit.finished.as_ref().or(commit.started.as_ref())))
        .max();
    vec![
        set.commit_set.as_ref().map_or(String::new(), |set| set.id.clone()),
        set.commits.len().to_string(),
        progress(done, failed, set.commits.len(), printer),
        clock.moment(created),
        clock.moment(modified),
    ]
}

/// Draws progress as eight blocks: done, open, failed; at least one failed block if anything failed.
pub(super) fn progress(done: usize, failed: usize, total: usize, printer: &Printer) -> String {
    let total = total.max(1);
    let bad = if failed == 0 {
        0
    } else {
        (failed * BLOCKS / total).max(1)
    };
    let good = (done * BLOCKS / total).min(BLOCKS - bad);
    let open = BLOCKS - bad - good;
    format!(
        "{}{}{}",
        printer.paint(&"▇".repeat(good), Tone::Good),
        printer.paint(&"░".repeat(open), Tone::Busy),
        printer.paint(&"▓".repeat(bad), Tone::Bad)
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use howdah_api::convert;

    const PLAIN: Printer = Printer {
        colored: false,
        stdout_terminal: false,
        stderr_terminal: false,
    };

    #[test]
    fn progress_shows_every_failure() {
        assert_eq!(progress(4, 0, 4, &PLAIN), "▇▇▇▇▇▇▇▇");
        assert_eq!(progress(1, 0, 2, &PLAIN), "▇▇▇▇░░░░");
        assert_eq!(progress(99, 1, 100, &PLAIN), "▇▇▇▇▇▇▇▓");
        assert_eq!(progress(0, 3, 3, &PLAIN), "▓▓▓▓▓▓▓▓");
        assert_eq!(progress(0, 0, 0, &PLAIN), "░░░░░░░░");
    }

    #[test]
    fn commits_fill_their_columns() {
        let now = "2026-11-24T06:00:00Z".parse().expect("a time");
        let clock = Clock { now, full: false };
        let mut info = pfs_v2::CommitInfo {
            commit: Some(convert::commit(
                convert::repo("default", "images"),
                "0123456789ab4def0123456789abcdef",
            )),
            origin: Some(pfs_v2::CommitOrigin {
                kind: pfs_v2::OriginKind::User as i32,
            }),
            size_bytes_upper_bound: 1024,
            description: "first".to_owned(),
            ..Default::default()
        };
        let open = commit_row(&info, &clock);
        info.finished = Some(convert::to_timestamp(now));
        info.details = Some(pfs_v2::commit_info::Details {
            size_bytes: 1024,
            ..Default::default()
        });
        let finished = commit_row(&info, &clock);
        insta::assert_snapshot!(crate::output::table::render(COMMITS, vec![open, finished]), @r"
        PROJECT REPO   COMMIT                           FINISHED               SIZE   ORIGIN CREATOR DESCRIPTION
        default images 0123456789ab4def0123456789abcdef -                      ≤ 1KiB USER   -       first
        default images 0123456789ab4def0123456789abcdef Less than a second ago 1KiB   USER   -       first
        ");
    }
}
