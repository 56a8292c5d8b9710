//! The input files of the datums that log lines are about, looked up in the datum sets of the job.

use std::collections::HashMap;
use std::sync::Arc;

use howdah_api::pps_v2 as pps;
use howdah_model::{DatumId, JobKey};
use howdah_protocol::objects::{DatumSet, JobPlan, plan_key, set_key};
use howdah_store::Store;
use tonic::Status;

use crate::services::pps::known_datums::decode;
use crate::services::status::IntoStatus;

/// Sets that are kept in memory. Stored lines come set by set; live lines come from as many sets as workers have slots.
const REMEMBERED_SETS: usize = 64;
/// Bytes of the sets that are kept in memory, unless one of them is larger.
const REMEMBERED_BYTES: usize = 8 << 20;
/// Bytes that an input file takes besides its path.
const FILE_OVERHEAD: usize = 128;

/// Input files of the datums of one set.
type SetInputs = HashMap<DatumId, Vec<pps::InputFile>>;

/// Returns about how many bytes the input files of a set take.
fn size(inputs: &SetInputs) -> usize {
    let files = inputs.values().flatten();
    files.map(|file| file.path.len() + FILE_OVERHEAD).sum()
}

/// Looks up input files, and keeps those of the last sets.
pub(super) struct LogInputs {
    store: Store,
    sets: HashMap<(JobKey, u32), Arc<SetInputs>>,
    /// The plan that was read last, with its job.
    plan: Option<(JobKey, Arc<JobPlan>)>,
    bytes: usize,
}

impl LogInputs {
    /// Makes a look-up that has read nothing.
    pub(super) fn new(store: &Store) -> Self {
        Self {
            store: store.clone(),
            sets: HashMap::new(),
            plan: None,
            bytes: 0,
        }
    }

    /// Returns the input files of a datum; none without a datum, for a line about a whole set, and for a set that does
    /// not exist.
    pub(super) async fn of(
        &mut self,
        job: &JobKey,
        set: u32,
        datum: Option<DatumId>,
    ) -> Result<Vec<pps::InputFile>, Status> {
        let Some(datum) = datum else { return Ok(Vec::new()) };
        let place = (job.clone(), set);
        let inputs = match self.sets.get(&place) {
            Some(known) => known.clone(),
            None => {
                let inputs = Arc::new(self.read(job, set).await?);
                let bytes = size(&inputs);
                if self.sets.len() >= REMEMBERED_SETS || self.bytes + bytes > REMEMBERED_BYTES {
                    self.sets.clear();
                    self.bytes = 0;
                }
                self.bytes += bytes;
                self.sets.insert(place, inputs.clone());
                inputs
            }
        };
        Ok(inputs.get(&datum).cloned().unwrap_or_default())
    }

    /// Finds a set. If the plan that was read before has no such set, the job may have been planned anew.
    async fn find(&mut self, job: &JobKey, set: u32) -> Result<Option<DatumSet>, Status> {
        let was_known = self.plan.as_ref().is_some_and(|(of, _)| of == job);
        let found = self.find_in_plan(job, set).await?;
        if found.is_some() || !was_known {
            return Ok(found);
        }
        self.plan = None;
        self.find_in_plan(job, set).await
    }

    /// Finds a set of a job's plan: it is part of that object, or one of its own.
    async fn find_in_plan(&mut self, job: &JobKey, set: u32) -> Result<Option<DatumSet>, Status> {
        let Some(plan) = self.plan(job).await? else {
            return Ok(None);
        };
        let only = plan.single_object.as_ref().and_then(|single| single.set.as_ref());
        if let Some(only) = only.filter(|only| only.set == set) {
            return Ok(Some(only.clone()));
        }
        let key = set_key(&job.pipeline, &job.id, plan.id, set);
        let stored = self.store.get_opt(&key).await.map_err(IntoStatus::into_status)?;
        stored.map(|bytes| decode(&bytes)).transpose()
    }

    /// Reads the plan of a job, unless it is that of the last set that was read.
    async fn plan(&mut self, job: &JobKey) -> Result<Option<Arc<JobPlan>>, Status> {
        if let Some((_, plan)) = self.plan.as_ref().filter(|(of, _)| of == job) {
            return Ok(Some(Arc::clone(plan)));
        }
        let key = plan_key(&job.pipeline, &job.id);
        let Some(bytes) = self.store.get_opt(&key).await.map_err(IntoStatus::into_status)? else {
            return Ok(None);
        };
        let plan = Arc::new(decode::<JobPlan>(&bytes)?);
        self.plan = Some((job.clone(), Arc::clone(&plan)));
        Ok(Some(plan))
    }

    async fn read(&mut self, job: &JobKey, set: u32) -> Result<SetInputs, Status> {
        let Some(set) = self.find(job, set).await? else {
            return Ok(SetInputs::new());
        };
        let files = |datum: &howdah_protocol::objects::Datum| {
            let file = |input: &howdah_protocol::objects::DatumInput| pps::InputFile {
                path: input.path.clone(),
                hash: input.hash.as_bytes().to_vec(),
            };
            datum.inputs.iter().map(file).collect()
        };
        Ok(set.datums.iter().map(|datum| (datum.id, files(datum))).collect())
    }
}
