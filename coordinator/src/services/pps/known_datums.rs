//! The datums of a job. The state of the job decides where they are recorded.
//!
//! ```text
//!  job has ended       -> the datum index of its meta commit
//!  job is running      -> its plan: the datums of its sets, with the results that exist, and the kept ones of its base
//!  job has no plan yet -> none
//! ```
//!
//! Datums are streamed: a job may have more of them than fit into memory.

use std::collections::HashMap;
use std::sync::Arc;

use futures::stream::{self, BoxStream};
use futures::{Stream, StreamExt, TryStreamExt};
use howdah_model::{DatumId, Job, JobKey, State, TreeRoot};
use howdah_protocol::objects::{
    Datum, DatumInput, DatumOutcome, DatumRecord, DatumResult, DatumStats, JobPlan, SetResult, result_key,
};
use howdah_protocol::wire::{self as protocol_wire, Wire};
use howdah_store::{KeyRange, Store, Tree, TreeEntry};
use prost::bytes::Bytes;
use tonic::Status;

use crate::job::plan::{self, MergePlan, datum_id_of_key};
use crate::services::status::IntoStatus;

/// What is known of one datum of a job.
#[derive(Debug, Clone)]
pub(super) struct KnownDatum {
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
pub(super) enum DatumProgress {
    /// Not processed yet.
    Starting,
    /// Processed by this job.
    Done(DatumOutcome),
    /// Processed by an earlier job, whose result this job keeps.
    Skipped,
}

impl KnownDatum {
    /// Returns whether each filter is the path or the content hash of one of the input files.
    pub(super) fn matches(&self, filters: &[String]) -> bool {
        filters.iter().all(|filter| {
            let path = filter.trim_matches('/');
            self.inputs
                .iter()
                .any(|input| input.path.trim_matches('/') == path || input.hash.to_string() == *filter)
        })
    }
}

/// Datums with their ids.
pub(super) type KnownDatums = BoxStream<'static, Result<(DatumId, KnownDatum), Status>>;

/// The datums of one job, not read yet.
pub(super) struct JobDatums {
    store: Store,
    job: JobKey,
    records: DatumRecords,
}

/// Where the datums of a job are recorded.
enum DatumRecords {
    /// In an index by id.
    Index(Option<TreeRoot>),
    /// In the plan with this key.
    Plan(Arc<str>),
    /// Nowhere.
    None,
}

impl JobDatums {
    /// Finds out where the datums of a job are.
    pub(super) fn of_job(store: &Store, state: &State, job: &Job) -> Self {
        let meta = state.commit(&job.key.meta_commit());
        let records = match (meta.and_then(|meta| meta.datums), &job.plan) {
            (Some(index), _) => DatumRecords::Index(index.records),
            (None, Some(plan)) => DatumRecords::Plan(plan.clone()),
            (None, None) => DatumRecords::None,
        };
        Self {
            store: store.clone(),
            job: job.key.clone(),
            records,
        }
    }

    /// Returns whether the datums are in an index by id.
    pub(super) fn has_index(&self) -> bool {
        matches!(self.records, DatumRecords::Index(_))
    }

    /// Streams all datums, in no certain order.
    pub(super) fn all(&self) -> KnownDatums {
        match &self.records {
            DatumRecords::Index(root) => recorded(&self.store, *root, &self.job, KeyRange::all()),
            DatumRecords::Plan(key) => planned(self.store.clone(), self.job.clone(), key.clone()),
            DatumRecords::None => stream::empty().boxed(),
        }
    }

    /// Streams the datums after `marker` by ascending id or, with `reverse`, those before it by descending id. Returns
    /// `None` if they would have to be sorted.
    pub(super) fn in_order(&self, marker: Option<&DatumId>, reverse: bool) -> Option<KnownDatums> {
        let DatumRecords::Index(root) = self.records else {
            return None;
        };
        let range = match (marker, reverse) {
            (None, _) => KeyRange::all(),
            (Some(marker), false) => KeyRange::after(marker.as_bytes()),
            (Some(marker), true) => KeyRange::between(Bytes::new(), marker.as_bytes().to_vec()),
        };
        if reverse {
            let entries = Tree::new(&self.store, root).range_rev(range);
            return Some(decoded(entries, self.job.clone()).boxed());
        }
        Some(recorded(&self.store, root, &self.job, range))
    }

    /// Reads one datum.
    pub(super) async fn find(&self, id: &DatumId) -> Result<Option<KnownDatum>, Status> {
        if let DatumRecords::Index(root) = self.records {
            let value = Tree::new(&self.store, root).get(id.as_bytes()).await;
            let value = value.map_err(IntoStatus::into_status)?;
            let record = value.map(|value| decode::<DatumRecord>(&value.data)).transpose()?;
            return Ok(record.map(|record| from_record(&self.job, record)));
        }
        let mut all = self.all();
        while let Some((found, known)) = all.try_next().await? {
            if found == *id {
                return Ok(Some(known));
            }
        }
        Ok(None)
    }
}

/// Streams a range of a datum index.
fn recorded(store: &Store, records: Option<TreeRoot>, job: &JobKey, range: KeyRange) -> KnownDatums {
    decoded(Tree::new(store, records).range(range), job.clone()).boxed()
}

fn decoded(
    entries: impl Stream<Item = howdah_store::Result<TreeEntry>> + Send,
    job: JobKey,
) -> impl Stream<Item = Result<(DatumId, KnownDatum), Status>> + Send {
    entries.map(move |entry| {
        let entry = entry.map_err(IntoStatus::into_status)?;
        let id = datum_id_of_key(&entry.key).map_err(IntoStatus::into_status)?;
        let record = decode::<DatumRecord>(&entry.value.data)?;
        Ok((id, from_record(&job, record)))
    })
}

fn from_record(job: &JobKey, record: DatumRecord) -> KnownDatum {
    let earlier_job = (record.job != job.id).then_some(record.job);
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

/// Streams the datums of a plan: first those that the job keeps of its base, then those of one set after the other.
fn planned(store: Store, job: JobKey, plan_key: Arc<str>) -> KnownDatums {
    let datums = async move {
        let read_back = plan::read(&store, &plan_key).await.map_err(IntoStatus::into_status)?;
        let Some((job_plan, merge_plan)): Option<(JobPlan, MergePlan)> = read_back else {
            return Ok(stream::empty().boxed());
        };
        let kept = match &merge_plan.base {
            None => stream::empty().boxed(),
            Some(base) => {
                // The base has every datum of the earlier job. Those that this job drops or runs itself are not its
                // results.
                let dropped = merge_plan.dropped;
                let all = recorded(&store, base.datums.records, &job, KeyRange::all());
                all.try_filter(move |(id, _)| std::future::ready(dropped.binary_search(id).is_err()))
                    .boxed()
            }
        };
        let job_plan = Arc::new(job_plan);
        let sets = stream::iter(0..merge_plan.sets).then(move |set| {
            let (store, job, job_plan) = (store.clone(), job.clone(), job_plan.clone());
            async move {
                let datums = of_set(&store, &job, &job_plan, set).await?;
                Ok::<_, Status>(stream::iter(datums.into_iter().map(Ok)))
            }
        });
        Ok::<_, Status>(kept.chain(sets.try_flatten()).boxed())
    };
    stream::once(datums).try_flatten().boxed()
}

/// Reads the datums of a set, with the results that exist.
async fn of_set(
    store: &Store,
    job: &JobKey,
    job_plan: &JobPlan,
    set: u32,
) -> Result<Vec<(DatumId, KnownDatum)>, Status> {
    let planned = plan::read_set(store, job_plan, set).await;
    let planned = planned.map_err(IntoStatus::into_status)?;
    let result = store
        .get_opt(&result_key(&job.pipeline, &job.id, job_plan.id, set))
        .await
        .map_err(IntoStatus::into_status)?
        .map(|bytes| decode::<SetResult>(&bytes))
        .transpose()?;
    let results = result.map(|result| result.datums).unwrap_or_default();
    let by_id: HashMap<DatumId, &DatumResult> = results.iter().map(|result| (result.id, result)).collect();
    let datums = planned.datums.into_iter().map(|datum| {
        let result = by_id.get(&datum.id).copied();
        (datum.id, from_plan(job_plan, datum, result))
    });
    Ok(datums.collect())
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
pub(super) fn decode<T: Wire>(bytes: &[u8]) -> Result<T, Status> {
    protocol_wire::decode(bytes).map_err(|error| Status::data_loss(howdah_telemetry::error_chain(&error)))
}
