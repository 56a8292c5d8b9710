//! The input files that lines of log belong to, looked up in the job's datum sets.

use std::collections::HashMap;
use std::sync::Arc;

use howdah_api::pps_v2 as pps;
use howdah_model::{DatumId, JobKey};
use howdah_protocol::objects::{DatumSet, JobPlan, plan_key, set_key};
use howdah_store::Store;
use tonic::Status;

use crate::services::pps::known_datums as datums;
use crate::services::status::IntoStatus;

/// Sets that are remembered; lines come set by set, or while followed from as many as workers have slots.
const REMEMBERED_SETS: usize = 64;

/// Input files of the datums of one set.
type SetInputs = HashMap<DatumId, Vec<pps::InputFile>>;

/// Looks up input files, a set at a time.
pub struct LogInputs {
    store: Store,
    sets: HashMap<(JobKey, u32), Arc<SetInputs>>,
}

impl LogInputs {
    /// Makes a look-up that has nothing read yet.
    pub fn new(store: &Store) -> Self {
        Self {
            store: store.clone(),
            sets: HashMap::new(),
        }
    }

    /// Returns the input files of a datum; none for lines about a whole set, and for a set that is not there.
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

    /// Finds a set where it is, in an object of its own or in the job's plan.
    async fn find(&self, job: &JobKey, set: u32) -> Result<Option<DatumSet>, Status> {
        let get = async |key: String| self.store.get_opt(&key).await.map_err(IntoStatus::into_status);
        if let Some(bytes) = get(set_key(&job.pipeline, &job.id, set)).await? {
            return datums::decode(&bytes).map(Some);
        }
        let Some(bytes) = get(plan_key(&job.pipeline, &job.id)).await? else {
            return Ok(None);
        };
        let plan: JobPlan = datums::decode(&bytes)?;
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
