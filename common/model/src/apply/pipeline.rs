//! Pipelines and their versions.

use std::sync::Arc;

use crate::entities::{Pipeline, PipelineState, PipelineVersion};
use crate::event::Event;
use crate::names::PipelineKey;
use crate::spec_view;
use crate::state::State;

pub(super) fn apply(state: &mut State, event: &Event) {
    match event {
        Event::PipelineVersionAdded { .. } => state.add_version(event),
        Event::PipelineStopped { pipeline, at } => state.edit_pipeline(pipeline, |pipeline| {
            pipeline.stopped = true;
            pipeline.state = PipelineState::Paused;
            pipeline.reason = Arc::from("");
            pipeline.updated = *at;
        }),
        Event::PipelineStarted { pipeline, at } => state.edit_pipeline(pipeline, |pipeline| {
            pipeline.stopped = false;
            pipeline.state = PipelineState::Starting;
            pipeline.reason = Arc::from("");
            pipeline.updated = *at;
        }),
        Event::PipelineStateSet {
            pipeline,
            state: new,
            reason,
        } => {
            state.edit_pipeline(pipeline, |pipeline| {
                pipeline.state = *new;
                pipeline.reason = Arc::from(reason.as_str());
            });
        }
        Event::ImagePinned { pipeline, version, pin } => {
            state.edit_pipeline(pipeline, |pipeline| {
                let wanted = |v: &&mut Arc<PipelineVersion>| v.version == *version;
                if let Some(version) = pipeline.versions.iter_mut().find(wanted) {
                    Arc::make_mut(version).image = Some(pin.clone());
                }
            });
        }
        Event::PipelineDeleted { pipeline } => state.remove_pipeline(pipeline),
        _ => {}
    }
}

impl State {
    fn edit_pipeline(&mut self, key: &PipelineKey, edit: impl FnOnce(&mut Pipeline)) {
        if let Some(pipeline) = self.pipelines.get_mut(key) {
            edit(Arc::make_mut(pipeline));
        }
    }

    fn add_version(&mut self, event: &Event) {
        let Event::PipelineVersionAdded {
            pipeline: key,
            kind,
            version,
            spec,
            user_json,
            effective_json,
            salt,
            spec_commit,
            at,
        } = event
        else {
            return;
        };
        let entry = Arc::new(PipelineVersion {
            version: *version,
            spec: spec.clone(),
            user_json: Arc::from(user_json.as_str()),
            effective_json: Arc::from(effective_json.as_str()),
            salt: Arc::from(salt.as_str()),
            image: None,
            spec_commit: *spec_commit,
            created: *at,
        });
        if self.pipelines.contains_key(key) {
            self.edit_pipeline(key, |pipeline| {
                pipeline.versions.push(entry);
                pipeline.kind = *kind;
                pipeline.updated = *at;
                if !pipeline.stopped {
                    pipeline.state = PipelineState::Starting;
                    pipeline.reason = Arc::from("");
                }
            });
        } else {
            let pipeline = Pipeline {
                key: key.clone(),
                kind: *kind,
                stopped: false,
                state: PipelineState::Starting,
                reason: Arc::from(""),
                created: *at,
                updated: *at,
                seq: self.take_seq(),
                versions: vec![entry],
                job_counts: [0; 10],
                last_job_state: None,
            };
            self.pipelines.insert(key.clone(), Arc::new(pipeline));
        }
        for leaf in spec_view::input_leaves(spec).unwrap_or_default() {
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
