//! The lease: while a coordinator leads, it checks every second in the log that it still does.
//!
//! An append finds out by itself. The lease is for a leader that appends nothing, and for actions that are no appends: a
//! coordinator that was frozen must not cancel jobs or remove consumers when it wakes up and does not know that it has a
//! successor.

use std::time::Duration;

use howdah_store::Leadership;
use tokio::sync::watch;
use tokio::time::{Instant, MissedTickBehavior};

use crate::metadata::Core;

/// Pause between two checks.
const INTERVAL: Duration = Duration::from_secs(1);
/// How long a check counts, from its start. A standby takes over no sooner than this after the leader was last heard of.
const VALID: Duration = Duration::from_millis(1_900);

/// Permission to act as a leader. A clone is cheap.
#[derive(Clone)]
pub struct Lease(watch::Receiver<Instant>);

/// Keeps a lease valid.
pub struct LeaseKeeper {
    leadership: Leadership,
    core: Core,
    checked: watch::Sender<Instant>,
}

impl LeaseKeeper {
    /// Makes the keeper of a coordinator that has just claimed the log, and its lease.
    pub fn new(leadership: Leadership, core: Core) -> (Self, Lease) {
        let (checked, receiver) = watch::channel(Instant::now());
        let keeper = Self {
            leadership,
            core,
            checked,
        };
        (keeper, Lease(receiver))
    }

    /// Checks until another coordinator has claimed the log, then returns.
    pub async fn run(self) {
        let mut ticks = tokio::time::interval(INTERVAL);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            ticks.tick().await;
            let started = Instant::now();
            let last = self.core.log_status().last;
            match tokio::time::timeout(VALID, self.leadership.holds(last)).await {
                Ok(Ok(true)) => {
                    self.checked.send_replace(started);
                }
                Ok(Ok(false)) => return,
                // Without the store nothing can be decided, and no other coordinator can take over either.
                Ok(Err(error)) => {
                    tracing::warn!(
                        error = howdah_telemetry::error_chain(&error),
                        "the store does not say who leads"
                    );
                }
                Err(_) => tracing::warn!("the store does not say who leads: it does not answer"),
            }
        }
    }
}

impl Lease {
    /// Waits until this coordinator is known to lead. Never returns if it does not lead any more: what it does as a leader is
    /// about to be stopped.
    pub async fn hold(&self) {
        let mut checked = self.0.clone();
        let valid = checked.wait_for(|checked| checked.elapsed() < VALID);
        if valid.await.is_err() {
            std::future::pending::<()>().await;
        }
    }
}
