//! `load-shapes`: commits of many modifications of many files, every byte read back and compared with a plain model.
//!
//! ```text
//! commit 1 ── modification 1, 2, ... ── finish      each modification is one ModifyFile call into the open commit
//! commit 2 ── ...                                    that adds, overwrites and deletes files
//! ...
//! last commit and a sample of earlier ones: get all files ── compare with the model
//! ```

mod model;
mod verify;

use std::io::ErrorKind;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::Context;
use clap::Args;
use serde_json::json;

use crate::harness::{BenchServer, scratch_folder};
use crate::options::CommonOptions;
use crate::process::{peak, reset_peak};
use crate::report::{Report, Row};
use model::{Modifications, Shape};

/// Arguments of the benchmark.
#[derive(Debug, Clone, Args)]
pub(crate) struct Arguments {
    /// Commits of each shape [default: 5; 25 with --full]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    commits: Option<u32>,
    /// Modifications of each commit [default: 5; 25 with --full]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    modifications: Option<u32>,
    /// Small files (100 bytes to 10 KB) written by each modification
    #[arg(long, value_name = "N", default_value_t = 10_000, value_parser = clap::value_parser!(u32).range(1..))]
    files: u32,
    /// Large files (100 KB to 10 MB) written by each modification
    #[arg(long, value_name = "N", default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..))]
    large_files: u32,
    /// Of the large files, the bytes of the largest
    #[arg(long, value_name = "BYTES", default_value_t = 10_000_000, value_parser = clap::value_parser!(u64).range(1..))]
    largest: u64,
    /// Random seed
    #[arg(long, value_name = "N", default_value_t = 1)]
    seed: u64,
    /// One shape only: 25 commits of 25 modifications of small files
    #[arg(long)]
    full: bool,
}

impl Default for Arguments {
    fn default() -> Self {
        Self {
            commits: None,
            modifications: None,
            files: 10_000,
            large_files: 100,
            largest: 10_000_000,
            seed: 1,
            full: false,
        }
    }
}

impl Arguments {
    fn shapes(&self) -> Vec<Shape> {
        let small = Shape {
            name: "flat",
            files: self.files,
            smallest: 100,
            largest: 10_000,
            depth: 0,
        };
        if self.full {
            return vec![Shape { name: "full", ..small }];
        }
        let nested = Shape {
            name: "nested",
            depth: 3,
            ..small
        };
        let large = Shape {
            name: "large",
            files: self.large_files,
            smallest: 100_000.min(self.largest),
            largest: self.largest,
            ..small
        };
        vec![small, nested, large]
    }
}

/// The result of one shape.
struct ShapeOutcome {
    put_files: u64,
    put_bytes: u64,
    put: Duration,
    verified_files: u64,
    verified_bytes: u64,
    verify: Duration,
    stored_bytes: u64,
    server_peak: u64,
    client_peak: u64,
}

/// Runs the benchmark.
pub(crate) async fn run(common: &CommonOptions, arguments: &Arguments) -> anyhow::Result<Report> {
    let default = if arguments.full { 25 } else { 5 };
    let commits = arguments.commits.unwrap_or(default);
    let modifications = arguments.modifications.unwrap_or(default);
    let mut report = Report::new(
        "load-shapes",
        format!("{commits} commits of {modifications} modifications, every byte read back and compared"),
        "files",
        if arguments.full { "full: put" } else { "flat: put" },
        json!({
            "commits": commits,
            "modifications": modifications,
            "files": arguments.files,
            "large_files": arguments.large_files,
            "largest": arguments.largest,
            "seed": arguments.seed,
            "full": arguments.full,
        }),
    );
    let (mut server, mut client) = (0, 0);
    for shape in arguments.shapes() {
        let outcome = load(common, &shape, commits, modifications, arguments.seed)
            .await
            .with_context(|| format!("shape {}", shape.name))?;
        let name = shape.name;
        report.row(Row::new(format!("{name}: put"), outcome.put_files, outcome.put));
        report.row(Row::new(
            format!("{name}: verify"),
            outcome.verified_files,
            outcome.verify,
        ));
        let rate = |bytes: u64, time: Duration| bytes as f64 / 1e6 / time.as_secs_f64().max(1e-9);
        report.note(format!(
            "{name}: {} files of {} to {} bytes for each modification; put {:.1} MB/s, verify {:.1} MB/s; {:.1} KB on \
             disk for each modification beside the bytes of files; peak of the server {} MiB, of the client {} MiB.",
            shape.files,
            shape.smallest,
            shape.largest,
            rate(outcome.put_bytes, outcome.put),
            rate(outcome.verified_bytes, outcome.verify),
            outcome.stored_bytes.saturating_sub(outcome.put_bytes) as f64 / 1e3 / f64::from(commits * modifications),
            outcome.server_peak >> 20,
            outcome.client_peak >> 20,
        ));
        report.value(shape.key("put_bytes"), outcome.put_bytes);
        report.value(shape.key("verified_bytes"), outcome.verified_bytes);
        report.value(shape.key("stored_bytes"), outcome.stored_bytes);
        report.value(shape.key("server_mib"), outcome.server_peak >> 20);
        report.value(shape.key("client_mib"), outcome.client_peak >> 20);
        server = outcome.server_peak.max(server);
        client = outcome.client_peak.max(client);
    }
    report.note(format!(
        "The first, the middle and the last commit were read back as a whole: every file and every byte is as expected, \
         and there are no other files. Memory stayed bounded: the server never had more than {} MiB resident, \
         the client {} MiB.",
        server >> 20,
        client >> 20
    ));
    Ok(report)
}

/// Loads one shape into a Howdah of its own and reads it back.
async fn load(
    common: &CommonOptions,
    shape: &Shape,
    commits: u32,
    modifications: u32,
    seed: u64,
) -> anyhow::Result<ShapeOutcome> {
    const REPO: &str = "files";
    let folder = scratch_folder(common)?;
    let up = BenchServer::start_with(common, folder.path(), &["--no-worker"]).await?;
    let own = std::process::id();
    reset_peak(own)?;
    up.create_repo(REPO).await?;
    let mut files = Modifications::new(shape, seed);
    let (mut put_files, mut put_bytes, mut put) = (0, 0, Duration::ZERO);
    let mut kept = Vec::new();
    for number in 1..=commits {
        let began = Instant::now();
        let commit = up.start_commit(REPO).await?;
        for _ in 0..modifications {
            let steps = files.modify();
            for step in &steps {
                put_files += u64::from(step.write.is_some());
                put_bytes += step.write.map_or(0, |content| content.length);
            }
            up.modify(&commit, steps.into_iter().flat_map(model::bodies)).await?;
        }
        up.finish_commit(&commit).await?;
        put += began.elapsed();
        // The first, one in the middle and the last are read back.
        if number == 1 || number == commits || number == commits / 2 {
            kept.push((commit, files.model().clone()));
        }
    }
    let began = Instant::now();
    let (mut verified_files, mut verified_bytes) = (0, 0);
    for (commit, model) in &kept {
        verified_bytes += verify::all(&up, commit, model).await?;
        verified_files += model.count() as u64;
    }
    let outcome = ShapeOutcome {
        put_files,
        put_bytes,
        put,
        verified_files,
        verified_bytes,
        verify: began.elapsed(),
        stored_bytes: bytes_below(&folder.path().join("howdah"))?,
        server_peak: peak(up.process()).context("the process has ended")?,
        client_peak: peak(own).context("this process has no peak of memory")?,
    };
    up.stop();
    Ok(outcome)
}

/// Returns the bytes of all files below a folder.
fn bytes_below(folder: &Path) -> anyhow::Result<u64> {
    let mut bytes = 0;
    for entry in std::fs::read_dir(folder).with_context(|| format!("cannot list {}", folder.display()))? {
        let entry = entry?;
        bytes += match entry.metadata() {
            Ok(found) if found.is_dir() => bytes_below(&entry.path())?,
            Ok(found) => found.len(),
            // The server may remove a file between listing and reading.
            Err(error) if error.kind() == ErrorKind::NotFound => 0,
            Err(error) => return Err(error.into()),
        };
    }
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_full_run_is_one_shape_of_small_files() {
        let names = |full| -> Vec<&str> {
            let arguments = Arguments {
                full,
                ..Arguments::default()
            };
            arguments.shapes().iter().map(|shape| shape.name).collect()
        };
        assert_eq!(names(false), ["flat", "nested", "large"]);
        assert_eq!(names(true), ["full"]);
    }
}
