//! What this coordinator is at the moment.

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use howdah_queue::CoordinatorQueue;
use tokio::sync::watch;

use crate::metadata::Core;

/// Longest time that a call waits for a leader while there is none. Longer than a takeover takes.
const LEADER_PATIENCE: Duration = Duration::from_secs(12);

/// Which coordinator answers calls.
#[derive(Clone)]
pub enum Role {
    /// None: this coordinator starts, or the leader is silent.
    Waiting,
    /// This coordinator.
    Leader(Arc<Leader>),
    /// Another coordinator.
    Standby {
        /// Number of the leader's claim.
        epoch: u64,
        /// Where the leader is.
        leader: String,
    },
}

/// What a coordinator has while it leads. Every call clones the role, so all of it is shared.
pub struct Leader {
    /// Number of its claim.
    pub epoch: u64,
    /// Answers calls.
    pub routes: Router,
    /// State and store.
    pub core: Core,
    /// Connection to the workers.
    pub queue: CoordinatorQueue,
}

/// The role, for the code that answers calls. A clone is cheap.
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

    /// Waits until a coordinator answers calls, without a limit.
    pub async fn has_leader(&self) {
        let mut roles = self.0.clone();
        if roles.wait_for(|role| !matches!(role, Role::Waiting)).await.is_err() {
            // Nothing will ever lead: the coordinator ends.
            std::future::pending::<()>().await;
        }
    }

    /// Waits until a coordinator answers calls, at most [`LEADER_PATIENCE`]; then returns [`Role::Waiting`].
    pub async fn wait_for_leader(&self) -> Role {
        let mut roles = self.0.clone();
        let waited = roles.wait_for(|role| !matches!(role, Role::Waiting));
        match tokio::time::timeout(LEADER_PATIENCE, waited).await {
            Ok(Ok(role)) => role.clone(),
            Ok(Err(_)) | Err(_) => Role::Waiting,
        }
    }
}
