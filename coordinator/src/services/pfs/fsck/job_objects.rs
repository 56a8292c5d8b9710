//! The objects of ended jobs: plans, sets, results, logs, and the records of what made their output.
//!
//! They have no hash, so damage shows only if they cannot be decoded. Objects of a job that has not ended are being written,
//! and are left out. Of a job, the results are read before the list of its logs: a result names a log that was stored before.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use howdah_model::{Job, JobKey};
use howdah_protocol::objects::{DatumSet, JobPlan, LogObject, SetResult, results_prefix};
use howdah_protocol::wire::{self, Wire, WireError};
use howdah_store::{StoreError, keys};

use super::damage::Fault;
use super::deep::DeepCheck;
use crate::job::plan::MergePlan;
use crate::job::provenance::{self, ProvenanceReadError};
use crate::services::reply::StreamError;
use crate::services::status::IntoStatus;
use howdah_telemetry::error_chain;

/// Checks that bytes can be decoded.
type Decode = fn(&[u8]) -> Result<(), WireError>;

fn decode<T: Wire>(bytes: &[u8]) -> Result<(), WireError> {
    wire::decode::<T>(bytes).map(drop)
}

impl DeepCheck<'_> {
    /// Checks the objects of all jobs that have ended.
    ///
    /// # Errors
    /// When the store fails.
    pub(super) async fn jobs(&mut self) -> Result<(), StreamError> {
        // Collected first: a filter that is kept across an `await` makes the future of the call unfit for a task.
        let state = self.core.state();
        let ended = state.jobs().filter(|job| job.state.is_final());
        let jobs: Vec<Arc<Job>> = ended.cloned().collect();
        for job in jobs {
            self.job(&job.key).await?;
        }
        Ok(())
    }

    async fn job(&mut self, job: &JobKey) -> Result<(), StreamError> {
        let (pipeline, id) = (&job.pipeline, &job.id);
        let all = keys::job(&pipeline.project, &pipeline.name, id);
        let results = results_prefix(pipeline, id);
        let logs = format!("logs/{}/{}/{id}/", pipeline.project, pipeline.name);
        let probe = keys::job_probe(&pipeline.project, &pipeline.name, *id);
        for prefix in [&all, &logs] {
            let listed = self.store.list(prefix).await.map_err(IntoStatus::into_status)?;
            for object in listed {
                let key = object.key;
                // Left over from a look whether the store works.
                if key == probe {
                    continue;
                }
                let decode: Decode = if key.starts_with(&logs) {
                    decode::<LogObject>
                } else if key.starts_with(&results) {
                    decode::<SetResult>
                } else if key.ends_with("/plan") {
                    decode::<JobPlan>
                } else if key.ends_with("/plan-merge") {
                    decode::<MergePlan>
                } else {
                    decode::<DatumSet>
                };
                self.job_object(job, &key, decode).await?;
            }
        }
        self.provenance(job).await
    }

    async fn job_object(&mut self, job: &JobKey, key: &str, decode: Decode) -> Result<(), StreamError> {
        self.report.objects.fetch_add(1, Ordering::Relaxed);
        let stored = self.store.get_opt(key).await.map_err(IntoStatus::into_status)?;
        // Removed with its job since it was listed.
        let Some(stored) = stored else { return Ok(()) };
        if let Err(error) = decode(&stored) {
            let reason = format!("object {key} of job {job} is corrupt: {}", error_chain(&error));
            self.damage.add(&Fault::new(key, reason));
        }
        Ok(())
    }

    async fn provenance(&mut self, job: &JobKey) -> Result<(), StreamError> {
        let commit = job.output_commit();
        match provenance::read(&self.store, &commit).await {
            Ok(_) => Ok(()),
            Err(ProvenanceReadError::Wire(error)) => {
                let key = provenance::key(&commit);
                let reason = format!(
                    "record {key} of what made commit {commit} is corrupt: {}",
                    error_chain(&error)
                );
                self.damage.add(&Fault::new(key, reason));
                Ok(())
            }
            Err(ProvenanceReadError::Store(StoreError::Missing { .. })) => Ok(()),
            Err(ProvenanceReadError::Store(error)) => Err(error.into_status().into()),
        }
    }
}
