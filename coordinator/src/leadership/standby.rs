//! Waits until this coordinator should lead, and claims the log then.
//!
//! The newest claim says who leads, and where. The standby asks there every [`PROBE_INTERVAL`]. While the leader answers, the
//! standby reads what the leader has appended, so that a takeover has little left to read. When the leader has not answered
//! for [`SILENCE`], the standby claims the log. Of several that do, one succeeds; the others find its claim.

use std::sync::Arc;
use std::time::Duration;

use howdah_store::{Claim, MetaLog, Store, newest_claim};
use rustls::ClientConfig;
use tokio::sync::watch;
use tokio::time::Instant;

use super::probe;
use super::role::Role;
use crate::metadata::LogTail;

/// Pause between two questions to the leader.
const PROBE_INTERVAL: Duration = Duration::from_millis(500);
/// Time without an answer after which the leader counts as gone. Longer than a lease is valid.
const SILENCE: Duration = Duration::from_secs(2);
/// Pause after a failure of the store.
const STORE_PAUSE: Duration = Duration::from_secs(1);
/// First pause of a coordinator that was deposed, before it may lead again; doubles up to [`MAX_REST`].
const FIRST_REST: Duration = Duration::from_secs(5);
/// Longest such pause.
const MAX_REST: Duration = Duration::from_secs(120);
/// A coordinator that led for this long rests for [`FIRST_REST`] again.
const STEADY: Duration = Duration::from_secs(600);

/// A coordinator that does not lead.
pub struct Standby {
    store: Store,
    /// Where other coordinators reach this one.
    address: String,
    /// How other coordinators are connected to, if they have TLS.
    tls: Option<Arc<ClientConfig>>,
    roles: watch::Sender<Role>,
    rest: Rest,
}

/// How long a deposed coordinator waits. Without it, two coordinators that cannot reach each other would depose each other
/// every few seconds.
struct Rest {
    next: Duration,
    until: Instant,
}

/// Why the standby no longer watches a leader.
enum WatchEnd {
    /// It is silent.
    Silent,
    /// Another one leads.
    OtherLeader,
}

impl Standby {
    /// Makes a standby; `address` is its own, as it is written into a claim.
    pub fn new(store: Store, address: String, tls: Option<Arc<ClientConfig>>, roles: watch::Sender<Role>) -> Self {
        let rest = Rest {
            next: FIRST_REST,
            until: Instant::now(),
        };
        Self {
            store,
            address,
            tls,
            roles,
            rest,
        }
    }

    /// Notes that this coordinator was deposed after it had led for `led`.
    pub fn was_deposed(&mut self, led: Duration) {
        if led > STEADY {
            self.rest.next = FIRST_REST;
        }
        self.rest.until = Instant::now() + self.rest.next;
        self.rest.next = (self.rest.next * 2).min(MAX_REST);
    }

    /// Waits until there is no leader, and claims the log. Returns what was claimed.
    ///
    /// # Errors
    /// When the log is damaged. Failures of the store are waited out.
    pub async fn take_over(&mut self, mut tail: LogTail) -> anyhow::Result<(LogTail, MetaLog)> {
        loop {
            let Some(newest) = self.newest_claim().await? else {
                continue;
            };
            let known_epoch = newest.as_ref().map_or(0, |claim| claim.epoch);
            if let Some(claim) = newest
                && self.may_be_alive(&claim)
            {
                tracing::info!(
                    leader = claim.address,
                    epoch = claim.epoch,
                    "another coordinator leads, standing by"
                );
                match self.watch(&claim, &mut tail).await? {
                    WatchEnd::OtherLeader => continue,
                    WatchEnd::Silent => {
                        tracing::warn!(
                            leader = claim.address,
                            epoch = claim.epoch,
                            "the leading coordinator does not answer"
                        );
                        self.show_none();
                    }
                }
            }
            tail.catch_up().await?;
            // After catching up: what was read may end with the claim of another standby that was faster. If its claim is made
            // after this look, ours finds the number taken.
            let Some(now) = self.newest_claim().await? else {
                continue;
            };
            if now.is_some_and(|claim| claim.epoch > known_epoch) {
                continue;
            }
            match tail.claim(&self.address).await {
                Ok(Some(log)) => {
                    tracing::info!(epoch = log.epoch(), "this coordinator leads");
                    return Ok((tail, log));
                }
                Ok(None) => {}
                Err(error) => {
                    tracing::warn!(
                        error = howdah_telemetry::error_chain(&error),
                        "the metadata log cannot be claimed"
                    );
                    tokio::time::sleep(STORE_PAUSE).await;
                }
            }
        }
    }

    /// Returns the newest claim, which is `None` in a new log. Returns `None` if the store fails, after a pause.
    ///
    /// # Errors
    /// When the claim is damaged.
    async fn newest_claim(&self) -> anyhow::Result<Option<Option<Claim>>> {
        match newest_claim(&self.store).await {
            Ok(newest) => Ok(Some(newest)),
            Err(error) if error.is_damage() => Err(error.into()),
            Err(error) => {
                tracing::warn!(
                    error = howdah_telemetry::error_chain(&error),
                    "the store does not say who leads"
                );
                tokio::time::sleep(STORE_PAUSE).await;
                Ok(None)
            }
        }
    }

    /// Returns whether the coordinator that made a claim may still lead. An earlier run of this program does not: its port is
    /// this one's now.
    fn may_be_alive(&self, claim: &Claim) -> bool {
        let deposed = Instant::now() < self.rest.until;
        !claim.address.is_empty() && (claim.address != self.address || deposed)
    }

    /// Follows a leader until it is silent, or another one leads.
    async fn watch(&self, claim: &Claim, tail: &mut LogTail) -> anyhow::Result<WatchEnd> {
        let mut heard = Instant::now();
        loop {
            let next = Instant::now() + PROBE_INTERVAL;
            match probe::ask(&claim.address, self.tls.as_ref()).await {
                Some(answer) if answer.epoch == claim.epoch => {
                    heard = Instant::now();
                    self.show(claim);
                    if answer.last > tail.last() {
                        tail.catch_up().await?;
                    }
                }
                Some(answer) if answer.epoch > claim.epoch => return Ok(WatchEnd::OtherLeader),
                // Calls wait from now on, instead of being sent to a leader that may be gone.
                _ => self.show_none(),
            }
            if heard.elapsed() >= SILENCE && Instant::now() >= self.rest.until {
                return Ok(WatchEnd::Silent);
            }
            // Another standby may have been faster: its claim is the newest then.
            if heard.elapsed() >= PROBE_INTERVAL * 2 {
                let newest = newest_claim(&self.store).await;
                if newest.is_ok_and(|newest| newest.is_some_and(|newest| newest.epoch > claim.epoch)) {
                    return Ok(WatchEnd::OtherLeader);
                }
            }
            tokio::time::sleep_until(next).await;
        }
    }

    /// Shows that no coordinator answers calls.
    fn show_none(&self) {
        self.roles.send_if_modified(|role| {
            let is_new = !matches!(role, Role::Waiting);
            *role = Role::Waiting;
            is_new
        });
    }

    /// Shows that calls are forwarded to a leader.
    fn show(&self, claim: &Claim) {
        self.roles.send_if_modified(|role| {
            let is_new = !matches!(role, Role::Standby { epoch, .. } if *epoch == claim.epoch);
            if is_new {
                *role = Role::Standby {
                    epoch: claim.epoch,
                    leader: claim.address.clone(),
                };
            }
            is_new
        });
    }
}
