//! What this coordinator is at the moment.

use std::time::Duration;

use axum::Router;
use tokio::sync::watch;

/// Longest time that a call waits for a leader while there is none. Longer than a takeover takes.
const LEADER_PATIENCE: Duration = Duration::from_secs(12);

/// Who answers calls.
#[derive(Clone)]
pub enum Role {
    /// Nobody yet: this coordinator starts, or the leader is silent.
    Waiting,
    /// This coordinator.
    Leader {
        /// Number of its claim.
        epoch: u64,
        /// Answers calls.
        routes: Router,
    },
    /// Another coordinator.
    Standby {
        /// Number of the leader's claim.
        epoch: u64,
        /// Where the leader is.
        leader: String,
    },
}

/// The role, for whoever answers calls. A clone is cheap.
#[derive(Clone)]
pub struct RoleReader(watch::Receiver<Role>);

/// Makes the role, which is [`Role::Waiting`] at first.
pub fn role() -> (watch::Sender<Role>, RoleReader) {
    let (sender, receiver) = watch::channel(Role::Waiting);
    (sender, RoleReader(receiver))
}

impl RoleReader {
    /// Returns the role now.
    pub fn now(&self) -> Role {
        self.0.borrow().clone()
    }

    /// Waits until somebody answers calls, at most [`LEADER_PATIENCE`]; then returns what is.
    pub async fn wait_for_leader(&self) -> Role {
        let mut roles = self.0.clone();
        let waited = roles.wait_for(|role| !matches!(role, Role::Waiting));
        match tokio::time::timeout(LEADER_PATIENCE, waited).await {
            Ok(Ok(role)) => role.clone(),
            Ok(Err(_)) | Err(_) => Role::Waiting,
        }
    }
}
