//! `big-file`: one large file put, got, and put again with 1 MiB in its middle changed.

use std::fs::File;
use std::io::{BufReader, BufWriter, Read, Write};
use std::os::unix::fs::FileExt;
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

const MEBIBYTE: usize = 1 << 20;
const NAME: &str = "big.bin";

/// Arguments of the benchmark.
#[derive(Debug, Clone, Args)]
pub(crate) struct Arguments {
    /// Size of the file in MiB
    #[arg(long, value_name = "MIB", default_value_t = 2048, value_parser = clap::value_parser!(u64).range(3..))]
    size: u64,
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
            size: 2048,
            rounds: 3,
            alone: false,
        }
    }
}

/// Runs the benchmark.
pub(crate) async fn run(common: &CommonOptions, arguments: &Arguments) -> anyhow::Result<Printed> {
    let scratch = scratch_folder(common)?;
    let big = Big {
        folder: scratch.path().join("in"),
        mebibytes: arguments.size,
    };
    big.write()?;
    let peers = if arguments.alone { Vec::new() } else { peers() };
    let scores = contest(common, scratch.path(), &big, &peers, arguments.rounds).await?;
    let title = format!(
        "One file of {} MiB of noise, 1 MiB in its middle changed before it is put again",
        arguments.size
    );
    let parameters = json!({"mebibytes": arguments.size, "rounds": arguments.rounds});
    Ok(Printed {
        text: scores.text(&title),
        json: scores.json("big-file", &parameters),
    })
}

/// The file: noise, in which each MiB depends only on its number.
struct Big {
    folder: PathBuf,
    mebibytes: u64,
}

impl Big {
    fn path(&self) -> PathBuf {
        self.folder.join(NAME)
    }

    fn write(&self) -> anyhow::Result<()> {
        let path = self.path();
        let context = || format!("cannot write {}", path.display());
        std::fs::create_dir_all(&self.folder).with_context(context)?;
        let mut file = BufWriter::new(File::create(&path).with_context(context)?);
        let mut part = vec![0; MEBIBYTE];
        for number in 0..self.mebibytes {
            Noise::new(number).fill(&mut part);
            file.write_all(&part).with_context(context)?;
        }
        file.flush().with_context(context)
    }

    /// Overwrites the MiB in the middle.
    fn write_middle(&self, seed: u64) -> anyhow::Result<()> {
        let path = self.path();
        let context = || format!("cannot change {}", path.display());
        let mut part = vec![0; MEBIBYTE];
        Noise::new(seed).fill(&mut part);
        let file = File::options().write(true).open(&path).with_context(context)?;
        file.write_all_at(&part, self.mebibytes / 2 * MEBIBYTE as u64)
            .with_context(context)
    }
}

impl ContestWork for Big {
    fn phases(&self) -> &[Phase] {
        &[Phase::Put, Phase::Get, Phase::PutAgain]
    }

    fn source(&self) -> (&Path, &str) {
        (&self.folder, "")
    }

    fn has_many_files(&self) -> bool {
        false
    }

    fn change(&self) -> anyhow::Result<()> {
        self.write_middle(u64::MAX)
    }

    fn restore(&self) -> anyhow::Result<()> {
        self.write_middle(self.mebibytes / 2)
    }

    fn check(&self, out: &Path) -> anyhow::Result<()> {
        let path = out.join(NAME);
        let context = || format!("cannot read {}", path.display());
        let mut file = BufReader::new(File::open(&path).with_context(context)?);
        let (mut expected, mut found) = (vec![0; MEBIBYTE], vec![0; MEBIBYTE]);
        for number in 0..self.mebibytes {
            Noise::new(number).fill(&mut expected);
            file.read_exact(&mut found).with_context(context)?;
            ensure!(
                expected == found,
                "MiB {number} of {} came back changed",
                path.display()
            );
        }
        ensure!(file.read(&mut found)? == 0, "{} came back longer", path.display());
        Ok(())
    }
}
