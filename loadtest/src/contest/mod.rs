//! Contests: the same phases of work done by Howdah and by other programs, round by round.
//!
//! ```text
//! round 1:  howdah put get again   restic put get again   cp put get
//! round 2:  restic ...             cp ...                 howdah ...       (whoever was second begins)
//! ```
//!
//! Writing to disks is erratic: in every round each contestant starts from nothing, what earlier ones wrote is
//! flushed before the clock starts, and what counts is the median. Every contestant is run as a user would run it,
//! from its command line.

pub mod contestants;
pub mod measure;
pub mod scores;

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::Context;
use howdah_api::address::Address;

use crate::Common;
use crate::harness::Up;
use contestants::{Contestant, Howdah};
use measure::{Measured, run};
use scores::Scores;

/// File systems may avoid what was deleted a moment ago (ext4 steps over such inodes for five seconds, one by one, and
/// takes ten times as long to make a file): after many files were deleted, nothing is measured for so long.
const FORGETTING: Duration = Duration::from_secs(8);

/// A kind of work that every contestant is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Phase {
    /// Stores the input.
    Put,
    /// Lists every file that is stored.
    List,
    /// Lists the children of one folder.
    ListFolder,
    /// Writes everything to an empty folder.
    Get,
    /// Stores the input again after a small part of it has changed.
    PutAgain,
}

impl Phase {
    /// Returns the phase's name in tables and JSON.
    pub fn name(self) -> &'static str {
        match self {
            Phase::Put => "put",
            Phase::List => "list",
            Phase::ListFolder => "list_folder",
            Phase::Get => "get",
            Phase::PutAgain => "put_again",
        }
    }
}

/// Where a contestant finds and leaves things in one round.
#[derive(Debug)]
pub struct Place {
    /// What is to be stored: a folder.
    pub source: PathBuf,
    /// A folder in the source, by its name there.
    pub folder: String,
    /// The contestant's own empty folder.
    pub own: PathBuf,
    /// Where what is got is written; not there yet.
    pub out: PathBuf,
    /// Where Howdah answers, for the contestant that is Howdah.
    pub address: Option<Address>,
}

impl Place {
    /// Makes a place for a work below a folder.
    pub fn make(folder: &Path, work: &dyn Work, address: Option<Address>) -> anyhow::Result<Self> {
        let (source, inner) = work.source();
        let own = folder.join("own");
        std::fs::create_dir(&own).with_context(|| format!("cannot make the folder {}", own.display()))?;
        Ok(Self {
            source: source.to_owned(),
            folder: inner.to_owned(),
            own,
            out: folder.join("out"),
            address,
        })
    }
}

/// The work of a contest.
pub trait Work {
    /// Which phases there are, in order; `Put` comes first.
    fn phases(&self) -> &[Phase];
    /// Returns the folder to store, and a folder in it.
    fn source(&self) -> (&Path, &str);
    /// Tells whether there are so many files that deleting them would disturb who comes next.
    fn has_many_files(&self) -> bool;
    /// Changes a small part of the source; called before [`Phase::PutAgain`].
    fn change(&self) -> anyhow::Result<()>;
    /// Undoes the change.
    fn restore(&self) -> anyhow::Result<()>;
    /// Makes sure that what was got is what was stored.
    fn check(&self, out: &Path) -> anyhow::Result<()>;
}

/// Runs a contest of Howdah and those of `peers` that are installed.
pub async fn contest(
    common: &Common,
    scratch: &Path,
    work: &dyn Work,
    peers: &[Box<dyn Contestant>],
    rounds: u32,
) -> anyhow::Result<Scores> {
    let mut scores = Scores::default();
    let howdah: Box<dyn Contestant> = Box::new(Howdah::new(common)?);
    let mut there: Vec<&dyn Contestant> = vec![&*howdah];
    for peer in peers {
        match peer.version() {
            Ok(version) => {
                scores.version(peer.name(), version);
                there.push(&**peer);
            }
            Err(remedy) => scores.skip(peer.name(), remedy),
        }
    }
    for round in 0..rounds {
        let mut used = Vec::new();
        for turn in 0..there.len() {
            let contestant = there[(turn + round as usize) % there.len()];
            let folder = tempfile::tempdir_in(scratch).context("cannot make a folder for a round")?;
            take_part(common, contestant, work, folder.path(), &mut scores)
                .await
                .with_context(|| format!("{} in round {}", contestant.name(), round + 1))?;
            if work.has_many_files() {
                used.push(folder);
            }
        }
        if !used.is_empty() && round + 1 < rounds {
            drop(used);
            tokio::time::sleep(FORGETTING).await;
        }
    }
    Ok(scores)
}

/// Lets one contestant go through all phases.
async fn take_part(
    common: &Common,
    contestant: &dyn Contestant,
    work: &dyn Work,
    folder: &Path,
    scores: &mut Scores,
) -> anyhow::Result<()> {
    let up = match contestant.needs_server() {
        true => Some(Up::start(common, folder, 1).await?),
        false => None,
    };
    let place = Place::make(folder, work, up.as_ref().map(|up| up.address()))?;
    let log = folder.join("output");
    for mut command in contestant.setup(&place) {
        run(&mut command, &log)?;
    }
    for phase in work.phases() {
        let Some(mut command) = contestant.command(*phase, &place) else {
            continue;
        };
        if *phase == Phase::PutAgain {
            work.change()?;
        }
        nix::unistd::sync();
        if let Some(up) = &up {
            crate::process::reset_peak(up.process())?;
        }
        let measured = run(&mut command, &log).with_context(|| format!("cannot {}", phase.name()));
        if *phase == Phase::PutAgain {
            work.restore()?;
        }
        let Measured { took, peak_bytes } = measured?;
        scores.add(contestant.name(), *phase, took);
        if let Some(up) = &up {
            let server = crate::process::peak(up.process()).context("cannot read the server's peak of memory")?;
            scores.memory(*phase, peak_bytes, server);
        }
        if *phase == Phase::Get {
            work.check(&contestant.got(&place))?;
        }
    }
    if let Some(up) = up {
        up.stop();
    }
    Ok(())
}
