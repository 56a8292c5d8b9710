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

/// Input files of the datums of one set.
type SetInputs = HashMap<DatumId, Vec<pps::InputFile>>;

/// Looks up input files, and keeps those of the last sets.
pub struct LogInputs {
    store: Store,
    sets: HashMap<(JobKey, u32), Arc<SetInputs>>,
}

impl LogInputs {
    /// Makes a look-up that has read nothing.
    pub fn new(store: &Store) -> Self {
        Self {
            store: store.clone(),
            sets: HashMap::new(),
        }
    }

    /// Returns the input files of a datum; none without a datum, for a line about a whole set, and for a set that does
    /// not exist.
    pub async fn of(&mut self, job: &JobKey, set: u32, datum: Option<DatumId>) -> Result<Vec<pps::InputFile>, Status> {
        let Some(datum) = datum else { return Ok(Vec::new()) };
        let place = (job.clone(), set);
        let inputs = match self.sets.get(&place) {
            Some(known) => known.clone(),
            None => {
                let inputs = Arc::new(self.read(job, set).await?);
                if self.sets.len() >= REMEMBERED_SETS {
                    self.sets.clear();
                }
                self.sets.insert(place, inputs.clone());
                inputs
            }
        };
        Ok(inputs.get(&datum).cloned().unwrap_or_default())
    }

    /// Finds a set: it is an object of its own, or part of the job's plan.
    async fn find(&self, job: &JobKey, set: u32) -> Result<Option<DatumSet>, Status> {
        let get = async |key: String| self.store.get_opt(&key).await.map_err(IntoStatus::into_status);
        if let Some(bytes) = get(set_key(&job.pipeline, &job.id, set)).await? {
            return decode(&bytes).map(Some);
        }
        let Some(bytes) = get(plan_key(&job.pipeline, &job.id)).await? else {
            return Ok(None);
        };
        let plan: JobPlan = decode(&bytes)?;
        let only = plan.single_object.and_then(|single| single.set);
        Ok(only.filter(|only| only.set == set))
    }

    async fn read(&self, job: &JobKey, set: u32) -> Result<SetInputs, Status> {
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
