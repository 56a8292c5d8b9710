//! `small-files`: many small files put, listed, got, and put again with one of them changed.

use std::path::{Path, PathBuf};

use anyhow::{Context, ensure};
use clap::Args;
use serde_json::json;

use crate::contest::contestants::peers;
use crate::contest::phase::Phase;
use crate::contest::{ContestWork, contest};
use crate::harness::scratch_folder;
use crate::noise::Noise;
use crate::options::CommonOptions;
use crate::report::Printed;

/// Arguments of the benchmark.
#[derive(Debug, Clone, Args)]
pub(crate) struct Arguments {
    /// Number of files
    #[arg(long, value_name = "N", default_value_t = 100_000, value_parser = clap::value_parser!(u32).range(1..))]
    files: u32,
    /// Bytes of each file
    #[arg(long, value_name = "BYTES", default_value_t = 1024)]
    size: usize,
    /// Folders for the files
    #[arg(long, value_name = "N", default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..))]
    folders: u32,
    /// Rounds; the median counts
    #[arg(long, value_name = "N", default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..))]
    rounds: u32,
    /// Measure Howdah only
    #[arg(long)]
    alone: bool,
}

impl Default for Arguments {
    fn default() -> Self {
        Self {
            files: 100_000,
            size: 1024,
            folders: 100,
            rounds: 3,
            alone: false,
        }
    }
}

/// Runs the benchmark.
pub(crate) async fn run(common: &CommonOptions, arguments: &Arguments) -> anyhow::Result<Printed> {
    let scratch = scratch_folder(common)?;
    let files = SmallFileSet::write(
        scratch.path().join("in"),
        arguments.files,
        arguments.size,
        arguments.folders,
    )?;
    let peers = if arguments.alone { Vec::new() } else { peers() };
    let scores = contest(common, scratch.path(), &files, &peers, arguments.rounds).await?;
    let title = format!(
        "{} files of {} bytes in {} folders, one of them changed before they are put again",
        arguments.files, arguments.size, arguments.folders
    );
    let parameters = json!({
        "files": arguments.files,
        "size": arguments.size,
        "folders": arguments.folders,
        "rounds": arguments.rounds,
    });
    Ok(Printed {
        text: scores.text(&title),
        json: scores.json("small-files", &parameters),
    })
}

/// The files of the contest: noise that depends only on the number of the file.
pub(crate) struct SmallFileSet {
    folder: PathBuf,
    files: u32,
    size: usize,
    folders: u32,
}

impl SmallFileSet {
    /// Writes the files to a new folder.
    pub(crate) fn write(folder: PathBuf, files: u32, size: usize, folders: u32) -> anyhow::Result<Self> {
        let this = Self {
            folder,
            files,
            size,
            folders,
        };
        for number in 0..files {
            let path = this.path(number);
            if let Some(folder) = path.parent().filter(|_| number < folders) {
                std::fs::create_dir_all(folder).with_context(|| format!("cannot make {}", folder.display()))?;
            }
            this.write_one(number, 0)?;
        }
        Ok(this)
    }

    fn path(&self, number: u32) -> PathBuf {
        let folder = format!("{:03}", number % self.folders);
        self.folder.join(folder).join(format!("{number:06}.bin"))
    }

    fn content(&self, number: u32, version: u8) -> Vec<u8> {
        let mut content = vec![0; self.size];
        Noise::new(u64::from(number) << 8 | u64::from(version)).fill(&mut content);
        content
    }

    fn write_one(&self, number: u32, version: u8) -> anyhow::Result<()> {
        let path = self.path(number);
        std::fs::write(&path, self.content(number, version)).with_context(|| format!("cannot write {}", path.display()))
    }

    /// Returns the number of the file that is changed.
    fn changed(&self) -> u32 {
        self.files / 2
    }
}

impl ContestWork for SmallFileSet {
    fn phases(&self) -> &[Phase] {
        &[Phase::Put, Phase::List, Phase::ListFolder, Phase::Get, Phase::PutAgain]
    }

    fn source(&self) -> (&Path, &str) {
        (&self.folder, "000")
    }

    fn has_many_files(&self) -> bool {
        true
    }

    fn change(&self) -> anyhow::Result<()> {
        self.write_one(self.changed(), 1)
    }

    fn restore(&self) -> anyhow::Result<()> {
        self.write_one(self.changed(), 0)
    }

    fn check(&self, out: &Path) -> anyhow::Result<()> {
        let mut found = 0;
        for folder in std::fs::read_dir(out).with_context(|| format!("cannot list {}", out.display()))? {
            found += std::fs::read_dir(folder?.path())?.count();
        }
        ensure!(
            found == self.files as usize,
            "{} files were put, {found} came back",
            self.files
        );
        for number in (0..self.files).step_by((self.files as usize / 500).max(1)) {
            let inner = self.path(number);
            let path = out.join(inner.strip_prefix(&self.folder).context("a file outside its folder")?);
            let content = std::fs::read(&path).with_context(|| format!("cannot read {}", path.display()))?;
            ensure!(
                content == self.content(number, 0),
                "{} came back changed",
                path.display()
            );
        }
        Ok(())
    }
}
