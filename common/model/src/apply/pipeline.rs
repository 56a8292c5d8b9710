//! Pipelines, their versions, and the index of cron repositories.

use std::sync::Arc;

use jiff::Timestamp;

use crate::entities::{ImagePin, Pipeline, PipelineKind, PipelineState, PipelineVersion};
use crate::names::PipelineKey;
use crate::spec_view;
use crate::state::State;

impl State {
    pub(super) fn edit_pipeline(&mut self, key: &PipelineKey, edit: impl FnOnce(&mut Pipeline)) {
        if let Some(pipeline) = self.pipelines.get_mut(key) {
            edit(Arc::make_mut(pipeline));
        }
    }

    pub(super) fn set_stopped(&mut self, key: &PipelineKey, stopped: bool, state: PipelineState, at: Timestamp) {
        self.edit_pipeline(key, |pipeline| {
            pipeline.stopped = stopped;
            pipeline.state = state;
            pipeline.reason = Arc::from("");
            pipeline.updated = at;
        });
    }

    pub(super) fn pin_image(&mut self, key: &PipelineKey, version: u64, pin: &ImagePin) {
        self.edit_pipeline(key, |pipeline| {
            let wanted = |v: &&mut Arc<PipelineVersion>| v.version == version;
            if let Some(version) = pipeline.versions.iter_mut().find(wanted) {
                Arc::make_mut(version).image = Some(pin.clone());
            }
        });
    }

    /// Adds a version, and the pipeline with its first one.
    pub(super) fn add_version(&mut self, key: &PipelineKey, kind: PipelineKind, version: PipelineVersion) {
        let at = version.created;
        let leaves = spec_view::input_leaves(&version.spec).unwrap_or_default();
        let version = Arc::new(version);
        if self.pipelines.contains_key(key) {
            self.edit_pipeline(key, |pipeline| {
                pipeline.versions.push(version);
                pipeline.kind = kind;
                pipeline.updated = at;
                if !pipeline.stopped {
                    pipeline.state = PipelineState::Starting;
                    pipeline.reason = Arc::from("");
                }
            });
        } else {
            let pipeline = Pipeline {
                key: key.clone(),
                kind,
                stopped: false,
                state: PipelineState::Starting,
                reason: Arc::from(""),
                created: at,
                updated: at,
                seq: self.take_seq(),
                versions: vec![version],
                job_counts: [0; 10],
                last_job_state: None,
            };
            self.pipelines.insert(key.clone(), Arc::new(pipeline));
        }
        for leaf in leaves {
            if leaf.cron {
                self.cron_repos.entry(leaf.branch.repo).or_default().insert(key.clone());
            }
        }
    }

    pub(super) fn remove_pipeline(&mut self, key: &PipelineKey) {
        let jobs = self.pipeline_jobs.get(key).cloned().unwrap_or_default();
        for id in jobs.values() {
            self.remove_job(&key.job(*id));
        }
        self.pipelines.remove(key);
        let owned: Vec<_> = self
            .cron_repos
            .iter()
            .filter(|(_, owners)| owners.contains(key))
            .map(|(repo, _)| repo.clone())
            .collect();
        for repo in owned {
            if let Some(owners) = self.cron_repos.get_mut(&repo) {
                owners.remove(key);
                if owners.is_empty() {
                    self.cron_repos.remove(&repo);
                }
            }
        }
    }
}
