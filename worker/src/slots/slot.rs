//! [`Slot`]: a place for one stage container on a worker, with the stage that runs there now.
//!
//! A slot starts, checks, clears and stops its own stage. Only starting can fail ([`InfraError`]). The pool decides
//! which slot a stage gets.

use std::sync::Arc;
use std::time::Instant;

use howdah_protocol::objects::StageSpec;

use crate::blocking::blocking;
use crate::error::InfraError;
use crate::pfs::workspace::lock_workspace;
use crate::slots::running_stage::{RunningStage, StageKey, StageStarter};

/// Room for one datum at a time. A slot is owned by one task, or by the pool while it is idle.
pub(crate) struct Slot {
    /// Number of the slot, for logs and container names.
    pub index: usize,
    pub(super) running: Option<RunningStage>,
    pub(super) idle_since: Instant,
    /// Whether the stage's folders have been cleared since the slot became idle.
    pub(super) cleared: bool,
    /// The stage that the slot was taken for.
    pub(super) taken_for: Option<StageKey>,
    /// Whether it was taken only to prewarm its stage.
    pub(super) prewarming: bool,
    /// Whether its stage must still be started.
    pub(super) starting: bool,
}

impl Slot {
    /// Makes an idle slot without a stage.
    pub(super) fn new(index: usize) -> Self {
        Self {
            index,
            running: None,
            idle_since: Instant::now(),
            cleared: true,
            taken_for: None,
            prewarming: false,
            starting: false,
        }
    }

    /// Returns whether its stage must still be started.
    pub(crate) fn is_starting(&self) -> bool {
        self.starting
    }

    /// Returns whether it has a certain stage.
    pub(super) fn has(&self, key: &StageKey) -> bool {
        self.running.as_ref().is_some_and(|running| running.key == *key)
    }

    /// Returns a stage that matches the specification, starting it if necessary. The future may be dropped at any time.
    ///
    /// # Errors
    /// As [`StageStarter::start`].
    pub(crate) async fn ensure_stage(
        &mut self,
        key: &StageKey,
        spec: &StageSpec,
        starter: &StageStarter,
    ) -> Result<&mut RunningStage, InfraError> {
        let usable = match &mut self.running {
            Some(running) if running.key == *key && running.matches(spec) => running.stage.alive().await,
            _ => false,
        };
        if !usable {
            // Stopped before the other starts, so that a slot never has two containers.
            if let Some(former) = self.running.take() {
                starter.stop(former).await;
            }
            self.running = Some(starter.start(self.index, key, spec).await?);
        }
        self.running.as_mut().ok_or(InfraError::Task)
    }

    /// Clears the folders of the stage. A stage that is dead, or whose folders cannot be cleared, is stopped instead.
    pub(super) async fn clear(&mut self) {
        if let Some(running) = &mut self.running {
            let workspace = Arc::clone(&running.workspace);
            let cleared = blocking(move || lock_workspace(&workspace).clear()).await;
            self.cleared = true;
            if !running.stage.alive().await || !matches!(cleared, Ok(Ok(()))) {
                self.stop().await;
            }
        }
    }

    /// Stops the stage if a try has begun in it.
    pub(crate) async fn stop_used(&mut self) {
        if self.running.as_ref().is_some_and(|running| running.used) {
            self.stop().await;
        }
    }

    /// Stops the stage, if there is one.
    pub(crate) async fn stop(&mut self) {
        if let Some(running) = self.running.take() {
            running.stop().await;
        }
    }
}
