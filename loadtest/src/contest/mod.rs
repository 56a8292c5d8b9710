//! Contests: the same phases of work done by Howdah and by other programs, round by round.
//!
//! ```text
//! round 1:  howdah put get again   restic put get again   cp put get
//! round 2:  restic ...             cp ...                 howdah ...       (the second one begins)
//! ```
//!
//! The speed of disks varies: in every round each contestant starts with an empty folder, earlier writes are flushed
//! before the clock starts, and the median counts. Every contestant runs through its command line, as for a user.

pub(crate) mod contestants;
pub(crate) mod measure;
pub(crate) mod phase;
pub(crate) mod scores;

use std::path::Path;
use std::time::Duration;

use anyhow::Context;

use crate::harness::BenchServer;
use crate::options::CommonOptions;
use contestants::{Contestant, Howdah};
use measure::{Measured, run};
use phase::{ContestPlace, Phase};
use scores::Scores;

/// Pause after many files were deleted. For five seconds ext4 steps over recently deleted inodes one by one, which makes
/// the creation of a file ten times slower.
const PAUSE_AFTER_DELETION: Duration = Duration::from_secs(8);

/// The work of a contest.
pub(crate) trait ContestWork {
    /// Returns the phases in order; `Put` is the first.
    fn phases(&self) -> &[Phase];
    /// Returns the folder to store, and a folder in it.
    fn source(&self) -> (&Path, &str);
    /// Returns whether there are so many files that deleting them slows the next contestant down.
    fn has_many_files(&self) -> bool;
    /// Changes a small part of the source; called before [`Phase::PutAgain`].
    fn change(&self) -> anyhow::Result<()>;
    /// Undoes the change.
    fn restore(&self) -> anyhow::Result<()>;
    /// Checks that the files in `out` are those that were stored.
    fn check(&self, out: &Path) -> anyhow::Result<()>;
}

/// Runs a contest of Howdah and those of `peers` that are installed.
pub(crate) async fn contest(
    common: &CommonOptions,
    scratch: &Path,
    work: &dyn ContestWork,
    peers: &[Box<dyn Contestant>],
    rounds: u32,
) -> anyhow::Result<Scores> {
    let mut scores = Scores::default();
    let howdah: Box<dyn Contestant> = Box::new(Howdah::new(common)?);
    let mut contestants: Vec<&dyn Contestant> = vec![&*howdah];
    for peer in peers {
        match peer.version() {
            Ok(version) => {
                scores.version(peer.name(), version);
                contestants.push(&**peer);
            }
            Err(remedy) => scores.skip(peer.name(), remedy),
        }
    }
    for round in 0..rounds {
        let mut used = Vec::new();
        for turn in 0..contestants.len() {
            let contestant = contestants[(turn + round as usize) % contestants.len()];
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
            tokio::time::sleep(PAUSE_AFTER_DELETION).await;
        }
    }
    Ok(scores)
}

/// Runs all phases of one contestant.
async fn take_part(
    common: &CommonOptions,
    contestant: &dyn Contestant,
    work: &dyn ContestWork,
    folder: &Path,
    scores: &mut Scores,
) -> anyhow::Result<()> {
    let up = match contestant.needs_server() {
        true => Some(BenchServer::start(common, folder, 1).await?),
        false => None,
    };
    let place = ContestPlace::make(folder, work.source(), up.as_ref().map(|up| up.address()))?;
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
