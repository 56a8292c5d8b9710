//! Kills and freezes parts of a running cluster with two coordinators at random moments.
//!
//! `HOWDAH_CAMPAIGN_ROUNDS` says how many moments, `HOWDAH_CAMPAIGN_SEED` repeats a run; the seed is printed. `make campaign`
//! runs 200.

#![allow(clippy::unwrap_used, reason = "a panic with a line number is how a test fails")]

use std::collections::BTreeMap;
use std::time::Duration;

use howdah_tests::rounds::{assert_outputs, create_pipeline, try_put_round};
use howdah_tests::tools::wait_for;
use howdah_tests::{Cluster, StoreKind, TestClient};
use nix::sys::signal::Signal;
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

/// Moments of a run without `HOWDAH_CAMPAIGN_ROUNDS`.
const ROUNDS: usize = 6;

/// What happens to which part.
#[derive(Debug, Clone, Copy)]
enum Victim {
    /// One of the two coordinators: the leader or the standby.
    Coordinator(usize),
    Worker,
    Nats,
}

#[derive(Debug, Clone, Copy)]
enum Harm {
    Kill,
    Freeze,
}

/// One moment of the campaign.
#[derive(Debug)]
struct Moment {
    victim: Victim,
    harm: Harm,
    /// From the beginning of the put; a short one meets the put itself.
    after: Duration,
    /// How long the victim is away.
    away: Duration,
}

impl Moment {
    fn draw(random: &mut StdRng) -> Self {
        let victim = match random.random_range(0..10) {
            0..4 => Victim::Coordinator(0),
            4..8 => Victim::Coordinator(1),
            8 => Victim::Worker,
            _ => Victim::Nats,
        };
        let harm = if random.random_bool(0.5) {
            Harm::Kill
        } else {
            Harm::Freeze
        };
        Self {
            victim,
            harm,
            after: Duration::from_millis(random.random_range(0..1_500)),
            away: Duration::from_millis(random.random_range(0..6_000)),
        }
    }
}

fn setting<T: std::str::FromStr>(name: &str) -> Option<T> {
    std::env::var(name).ok()?.parse().ok()
}

/// Kills or freezes the victim, waits, and brings it back.
fn harm(cluster: &mut Cluster, moment: &Moment) {
    std::thread::sleep(moment.after);
    let part = match moment.victim {
        Victim::Coordinator(0) => &mut cluster.coordinator,
        Victim::Coordinator(_) => &mut cluster.others[0],
        Victim::Worker => &mut cluster.workers[0],
        Victim::Nats => &mut cluster.nats,
    };
    match moment.harm {
        Harm::Kill => part.kill_hard(),
        Harm::Freeze => part.signal(Signal::SIGSTOP),
    }
    std::thread::sleep(moment.away);
    match (moment.harm, moment.victim) {
        (Harm::Freeze, _) => part.signal(Signal::SIGCONT),
        (Harm::Kill, Victim::Coordinator(0)) => cluster.start_coordinator_again(),
        (Harm::Kill, Victim::Coordinator(_)) => cluster.start_other_again(0),
        (Harm::Kill, Victim::Worker) => cluster.start_worker_again(0),
        (Harm::Kill, Victim::Nats) => cluster.start_nats_again(false),
    }
}

#[test]
fn nothing_acknowledged_is_lost_whatever_is_killed_or_frozen() {
    let rounds = setting("HOWDAH_CAMPAIGN_ROUNDS").unwrap_or(ROUNDS);
    let seed = setting("HOWDAH_CAMPAIGN_SEED").unwrap_or_else(|| rand::rng().random());
    eprintln!("HOWDAH_CAMPAIGN_SEED={seed}");
    let mut random = StdRng::seed_from_u64(seed);
    let mut cluster = Cluster::start(1, &StoreKind::Folder);
    let port = cluster.add_coordinator();
    let clients: [TestClient; 2] = [cluster.client(), cluster.client_at(port)];
    create_pipeline(&clients[0]);
    let mut acknowledged = BTreeMap::new();
    for round in 0..rounds {
        let moment = Moment::draw(&mut random);
        eprintln!("round {round}: {moment:?}");
        // The client of the coordinator that nothing happens to: calls through it succeed, at most after a repetition.
        let client = match moment.victim {
            Victim::Coordinator(harmed) => &clients[1 - harmed],
            Victim::Worker | Victim::Nats => &clients[random.random_range(0..2)],
        };
        let id = std::thread::scope(|scope| {
            let put = scope.spawn(|| wait_for("the put", || try_put_round(client, round)));
            harm(&mut cluster, &moment);
            put.join().unwrap()
        });
        assert_outputs(client, round, &id);
        acknowledged.insert(id, round);
    }
    // All of them are still there, with their outputs, through both coordinators.
    for client in &clients {
        let known = wait_for("the list of commits", || {
            let listed = client.run("list commit data@master --raw");
            if listed.code == 0 {
                Ok(listed.stdout)
            } else {
                Err(listed.stderr)
            }
        });
        for id in acknowledged.keys() {
            assert!(known.contains(&**id), "commit {id} is lost");
        }
    }
    for (id, round) in acknowledged {
        assert_outputs(&clients[0], round, &id);
    }
}
