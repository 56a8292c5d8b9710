//! The datums of a job. The state of the job decides where they are recorded.
//!
//! ```text
//!  job has ended       -> the datum index of its meta commit
//!  job is running      -> its plan: the datums of its sets, with the results that exist, and the kept ones of its base
//!  job has no plan yet -> none
//! ```

use std::collections::{BTreeMap, HashMap};

use futures::TryStreamExt;
use howdah_model::{DatumId, Job, State};
use howdah_protocol::objects::{
    Datum, DatumInput, DatumOutcome, DatumRecord, DatumResult, DatumStats, JobPlan, SetResult, result_key,
};
use howdah_protocol::wire::{self as protocol_wire, Wire};
use howdah_store::{Store, Tree};
use tonic::Status;

use crate::job::plan::{self, MergePlan, datum_id_of_key};
use crate::services::status::IntoStatus;

/// What is known of one datum of a job.
#[derive(Debug, Clone)]
pub struct KnownDatum {
    /// What has become of it.
    pub state: DatumProgress,
    /// Its input files.
    pub inputs: Vec<DatumInput>,
    /// Times and bytes; zero until it has been processed.
    pub stats: DatumStats,
    /// Digest of the image it ran in, if it has run.
    pub image: Option<String>,
    /// Why it failed. A recovered datum has its last error here.
    pub reason: Option<String>,
    /// The job that processed it, if that is an earlier one.
    pub earlier_job: Option<howdah_model::GlobalId>,
}

/// What has become of a datum, as seen from one job.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DatumProgress {
    /// Not processed yet.
    Starting,
    /// Processed by this job.
    Done(DatumOutcome),
    /// Processed by an earlier job, whose result this job keeps.
    Skipped,
}

impl KnownDatum {
    /// Returns whether each filter is the path or the content hash of one of the input files.
    pub fn matches(&self, filters: &[String]) -> bool {
        filters.iter().all(|filter| {
            let path = filter.trim_matches('/');
            self.inputs
                .iter()
                .any(|input| input.path.trim_matches('/') == path || input.hash.to_string() == *filter)
        })
    }
}

/// All datums of a job by id.
pub type KnownDatums = BTreeMap<DatumId, KnownDatum>;

/// Reads the datums of a job.
pub async fn of_job(store: &Store, state: &State, job: &Job) -> Result<KnownDatums, Status> {
    let meta = state.commit(&job.key.meta_commit());
    if let Some(index) = meta.and_then(|meta| meta.datums) {
        return recorded(store, job, index.records, &|_| true).await;
    }
    match &job.plan {
        Some(key) => planned(store, job, key).await,
        None => Ok(KnownDatums::new()),
    }
}

/// Reads one datum of a job.
pub async fn find(store: &Store, state: &State, job: &Job, id: &DatumId) -> Result<Option<KnownDatum>, Status> {
    let meta = state.commit(&job.key.meta_commit());
    let Some(index) = meta.and_then(|meta| meta.datums) else {
        return Ok(of_job(store, state, job).await?.remove(id));
    };
    let tree = Tree::new(store, index.records);
    let value = tree.get(id.as_bytes()).await.map_err(IntoStatus::into_status)?;
    let record = value.map(|value| decode::<DatumRecord>(&value.data)).transpose()?;
    Ok(record.map(|record| from_record(job, record)))
}

async fn recorded(
    store: &Store,
    job: &Job,
    records: Option<howdah_model::TreeRoot>,
    is_wanted: &(dyn Fn(&DatumId) -> bool + Sync),
) -> Result<KnownDatums, Status> {
    let mut entries = std::pin::pin!(Tree::new(store, records).prefix(b""));
    let mut datums = KnownDatums::new();
    while let Some(entry) = entries.try_next().await.map_err(IntoStatus::into_status)? {
        let id = datum_id_of_key(&entry.key).map_err(IntoStatus::into_status)?;
        if is_wanted(&id) {
            let record = decode::<DatumRecord>(&entry.value.data)?;
            datums.insert(id, from_record(job, record));
        }
    }
    Ok(datums)
}

fn from_record(job: &Job, record: DatumRecord) -> KnownDatum {
    let earlier_job = (record.job != job.key.id).then_some(record.job);
    KnownDatum {
        state: match earlier_job {
            Some(_) => DatumProgress::Skipped,
            None => DatumProgress::Done(record.state),
        },
        inputs: record.inputs,
        stats: record.stats,
        image: Some(record.image.digest),
        reason: record.reason,
        earlier_job,
    }
}

async fn planned(store: &Store, job: &Job, plan_key: &str) -> Result<KnownDatums, Status> {
    let read_back = plan::read(store, plan_key).await.map_err(IntoStatus::into_status)?;
    let Some((job_plan, merge_plan)): Option<(JobPlan, MergePlan)> = read_back else {
        return Ok(KnownDatums::new());
    };
    let mut datums = match &merge_plan.base {
        None => KnownDatums::new(),
        Some(base) => {
            // The base has every datum of the earlier job. Those that this job drops or runs itself are not its
            // results.
            let taken = |id: &DatumId| merge_plan.dropped.binary_search(id).is_err();
            recorded(store, job, base.datums.records, &taken).await?
        }
    };
    for set in 0..merge_plan.sets {
        let pipeline = &job.key.pipeline;
        let planned = plan::read_set(store, &job_plan, set).await;
        let planned = planned.map_err(IntoStatus::into_status)?;
        let result = store
            .get_opt(&result_key(pipeline, &job.key.id, job_plan.id, set))
            .await
            .map_err(IntoStatus::into_status)?
            .map(|bytes| decode::<SetResult>(&bytes))
            .transpose()?;
        let results = result.map(|result| result.datums).unwrap_or_default();
        let by_id: HashMap<DatumId, &DatumResult> = results.iter().map(|result| (result.id, result)).collect();
        for datum in planned.datums {
            let result = by_id.get(&datum.id).copied();
            datums.insert(datum.id, from_plan(&job_plan, datum, result));
        }
    }
    Ok(datums)
}

fn from_plan(plan: &JobPlan, datum: Datum, result: Option<&DatumResult>) -> KnownDatum {
    KnownDatum {
        state: match result {
            None => DatumProgress::Starting,
            Some(result) => DatumProgress::Done(result.state),
        },
        inputs: datum.inputs,
        stats: result.map(|result| result.stats).unwrap_or_default(),
        image: Some(plan.stage.image.digest.clone()),
        reason: result.and_then(|result| result.reason.clone()),
        earlier_job: None,
    }
}

/// Decodes an object of the store.
pub fn decode<T: Wire>(bytes: &[u8]) -> Result<T, Status> {
    protocol_wire::decode(bytes).map_err(|error| Status::data_loss(howdah_telemetry::error_chain(&error)))
}
