//! Log lines: those stored with finished datum sets, those of running ones, and those to come; and what the
//! coordinator said about a pipeline.

mod inputs;

use std::collections::{BTreeMap, HashSet, VecDeque};
use std::sync::Arc;

use howdah_api::convert::{from_duration, to_timestamp};
use howdah_api::pps_v2 as pps;
use howdah_model::{DatumId, GlobalId, Job, JobKey, PipelineKey, query};
use howdah_protocol::messages::LogBatch;
use howdah_protocol::objects::{LogLine, LogObject, MasterLine, SetResult, master_lines_prefix, result_key};
use jiff::{SignedDuration, Timestamp};
use tokio::sync::broadcast;
use tokio::sync::broadcast::error::RecvError;
use tonic::Status;

use self::inputs::LogInputs;
use super::known_datums as datums;
use super::pipeline::existing;
use crate::core::Core;
use crate::services::pfs::going_down;
use crate::services::reply::{self, Ended, Sender, StreamReply};
use crate::services::status::IntoStatus;
use crate::services::{find, wire};

/// How far back lines go when the client does not say.
const DEFAULT_SINCE: SignedDuration = SignedDuration::from_hours(24);

/// Which lines are wanted.
struct Wanted {
    pipeline: PipelineKey,
    /// Only this job's.
    job: Option<JobKey>,
    /// Only this datum's.
    datum: Option<DatumId>,
    /// Each must match some input file of the line's datum.
    data_filters: Vec<String>,
    /// What the coordinator said about the pipeline, and nothing else.
    master: bool,
    follow: bool,
    /// Only so many, the newest.
    tail: Option<usize>,
    since: Option<Timestamp>,
}

impl Wanted {
    fn line(&self, line: &LogLine) -> bool {
        self.datum.is_none_or(|datum| line.datum == Some(datum)) && self.since.is_none_or(|since| line.ts >= since)
    }

    fn job(&self, key: &JobKey) -> bool {
        key.pipeline == self.pipeline && self.job.as_ref().is_none_or(|job| job == key)
    }
}

pub(super) fn get_logs(core: &Core, request: pps::GetLogsRequest) -> StreamReply<pps::LogMessage> {
    let wanted = read_request(core, request)?;
    if wanted.master {
        let live = wanted.follow.then(|| core.jobs().follow_master_lines());
        let core = core.clone();
        return reply::from_task(move |sender| send_master_lines(core, wanted, live, sender));
    }
    // Subscribed before anything is read: a line is seen twice rather than never.
    let live = wanted.follow.then(|| core.jobs().follow_lines());
    let core = core.clone();
    reply::from_task(move |sender| send_lines(core, wanted, live, sender))
}

fn read_request(core: &Core, request: pps::GetLogsRequest) -> Result<Wanted, Status> {
    let datum_job = request.datum.as_ref().and_then(|datum| datum.job.clone());
    let job = match request.job.or(datum_job) {
        None => None,
        Some(job) => Some(wire::job_key(Some(&job))?),
    };
    let state = core.state();
    let pipeline = match (&job, &request.pipeline) {
        (Some(job), _) => {
            find::job(&state, job)?;
            job.pipeline.clone()
        }
        (None, Some(pipeline)) => existing(&state, &wire::pipeline_key(Some(pipeline))?)?.key.clone(),
        (None, None) if !request.data_filters.is_empty() || request.datum.is_some() => {
            return Err(Status::invalid_argument(
                "filters need a pipeline or a job: the server's own log has no datums",
            ));
        }
        (None, None) => {
            return Err(Status::unimplemented(
                "the server's own log is not available through the API; name a pipeline or a job, \
                 or look at the server's standard error",
            ));
        }
    };
    let datum = match request.datum.as_ref().filter(|datum| !datum.id.is_empty()) {
        None => None,
        Some(datum) => Some(
            datum
                .id
                .parse()
                .map_err(|_| Status::invalid_argument(format!("{:?} is not the id of a datum", datum.id)))?,
        ),
    };
    let since = match (&request.since, &job) {
        (Some(since), _) if since.seconds != 0 || since.nanos != 0 => {
            let since = SignedDuration::try_from(from_duration(since)).unwrap_or(DEFAULT_SINCE);
            Some(Timestamp::now().saturating_sub(since).unwrap_or(Timestamp::MIN))
        }
        // A job's lines are all younger than the job.
        (_, Some(_)) => None,
        (_, None) => Some(Timestamp::now().saturating_sub(DEFAULT_SINCE).unwrap_or(Timestamp::MIN)),
    };
    Ok(Wanted {
        pipeline,
        job,
        datum,
        data_filters: request.data_filters,
        master: request.master,
        follow: request.follow,
        tail: usize::try_from(request.tail).ok().filter(|tail| *tail > 0),
        since,
    })
}

/// Where lines go: straight to the client, or through a window that keeps the newest.
struct Output {
    sender: Sender<pps::LogMessage>,
    window: Option<(usize, VecDeque<pps::LogMessage>)>,
}

impl Output {
    async fn line(&mut self, message: pps::LogMessage) -> Result<(), Ended> {
        let Some((size, window)) = &mut self.window else {
            return Ok(self.sender.send(message).await?);
        };
        if window.len() == *size {
            window.pop_front();
        }
        window.push_back(message);
        Ok(())
    }

    /// Sends what the window holds; from then on lines pass at once.
    async fn open(&mut self) -> Result<(), Ended> {
        for message in self.window.take().map(|(_, window)| window).unwrap_or_default() {
            self.sender.send(message).await?;
        }
        Ok(())
    }
}

async fn send_lines(
    core: Core,
    wanted: Wanted,
    live: Option<broadcast::Receiver<Arc<LogBatch>>>,
    sender: Sender<pps::LogMessage>,
) -> Result<(), Ended> {
    let state = core.state();
    let jobs: Vec<Arc<Job>> = query::jobs_of_pipeline(&state, &wanted.pipeline)
        .filter(|job| wanted.job(&job.key))
        .filter(|job| match (wanted.since, job.finished) {
            (Some(since), Some(finished)) => finished >= since,
            _ => true,
        })
        .cloned()
        .collect();
    let mut output = Output {
        sender,
        window: wanted.tail.map(|tail| (tail, VecDeque::new())),
    };
    let mut seen = HashSet::new();
    let mut inputs = LogInputs::new(core.store());
    for job in &jobs {
        let matching = matching_datums(&core, &wanted, job).await?;
        let passes = |line: &LogLine| {
            wanted.line(line)
                && matching
                    .as_ref()
                    .is_none_or(|ids| line.datum.is_some_and(|id| ids.contains(&id)))
        };
        // Pending lines are taken first: a set that is stored in between shows up in both places,
        // which can be told, rather than in neither.
        let pending = core.jobs().pending_lines(&job.key);
        for (_, line) in &pending {
            seen.insert(identity(job.key.id, line));
        }
        let mut already_stored = HashSet::new();
        for object in stored(&core, &job.key).await? {
            for line in object.lines.into_iter().filter(&passes) {
                let identity = identity(job.key.id, &line);
                if seen.contains(&identity) {
                    already_stored.insert(identity);
                }
                let data = inputs.of(&job.key, object.set, line.datum).await?;
                output.line(message(&job.key, &object.worker, line, data)).await?;
            }
        }
        for (set, line) in pending.into_iter().filter(|(_, line)| passes(line)) {
            if !already_stored.contains(&identity(job.key.id, &line)) {
                let data = inputs.of(&job.key, set, line.datum).await?;
                output.line(message(&job.key, "", line, data)).await?;
            }
        }
    }
    output.open().await?;
    match live {
        Some(live) => follow(core, wanted, live, seen, inputs, output.sender).await,
        None => Ok(()),
    }
}

/// What tells a line that was sent already from one that is new.
type Identity = (GlobalId, Timestamp, Option<DatumId>, String);

fn identity(job: GlobalId, line: &LogLine) -> Identity {
    (job, line.ts, line.datum, line.message.clone())
}

async fn follow(
    core: Core,
    wanted: Wanted,
    mut live: broadcast::Receiver<Arc<LogBatch>>,
    mut seen: HashSet<Identity>,
    mut inputs: LogInputs,
    sender: Sender<pps::LogMessage>,
) -> Result<(), Ended> {
    loop {
        let batch = tokio::select! {
            batch = live.recv() => batch,
            () = sender.gone() => return Err(Ended::Gone),
        };
        let batch = match batch {
            Ok(batch) => batch,
            // A client too slow for the workers misses lines; they are stored all the same.
            Err(RecvError::Lagged(_)) => continue,
            Err(RecvError::Closed) => return Err(going_down().into()),
        };
        let key = batch.pipeline.job(batch.job);
        if !wanted.job(&key) {
            continue;
        }
        let matching = match core.state().job(&key) {
            Some(job) => matching_datums(&core, &wanted, job).await?,
            None => None,
        };
        for line in &batch.lines {
            let passes = wanted.line(line)
                && matching
                    .as_ref()
                    .is_none_or(|ids| line.datum.is_some_and(|id| ids.contains(&id)));
            let fresh = !seen.remove(&identity(key.id, line));
            if passes && fresh {
                let data = inputs.of(&key, batch.set, line.datum).await?;
                sender.send(message(&key, &batch.worker, line.clone(), data)).await?;
            }
        }
    }
}

/// Returns the datums of a job that the data filters select; none means that all lines pass.
async fn matching_datums(core: &Core, wanted: &Wanted, job: &Job) -> Result<Option<HashSet<DatumId>>, Status> {
    if wanted.data_filters.is_empty() {
        return Ok(None);
    }
    let known = datums::of_job(core.store(), &core.state(), job).await?;
    Ok(Some(
        known
            .iter()
            .filter(|(_, known)| known.matches(&wanted.data_filters))
            .map(|(id, _)| *id)
            .collect(),
    ))
}

/// Reads the stored lines of a job, set by set.
///
/// A set that ran twice has left lines twice: those count that its result names.
async fn stored(core: &Core, job: &JobKey) -> Result<Vec<LogObject>, Status> {
    let store = core.store();
    let prefix = format!("logs/{}/{}/{}/", job.pipeline.project, job.pipeline.name, job.id);
    let objects = store.list(&prefix).await.map_err(IntoStatus::into_status)?;
    let mut sets: BTreeMap<u32, Vec<String>> = BTreeMap::new();
    for object in objects {
        let set = set_of_key(&object.key)
            .ok_or_else(|| Status::data_loss(format!("object {} is not named like a log", object.key)))?;
        sets.entry(set).or_default().push(object.key);
    }
    let mut found = Vec::new();
    for (set, mut keys) in sets {
        if keys.len() > 1 {
            let result = store
                .get_opt(&result_key(&job.pipeline, &job.id, set))
                .await
                .map_err(IntoStatus::into_status)?;
            let named = match result {
                Some(bytes) => datums::decode::<SetResult>(&bytes)?.log_key,
                None => None,
            };
            keys.retain(|key| named.as_ref().is_none_or(|named| named == key));
        }
        for key in keys {
            let bytes = store.get(&key).await.map_err(IntoStatus::into_status)?;
            found.push(datums::decode::<LogObject>(&bytes)?);
        }
    }
    Ok(found)
}

/// Reads the number of the set from the key of its log.
fn set_of_key(key: &str) -> Option<u32> {
    let (_, name) = key.rsplit_once('/')?;
    let digits = name.split_once('-').map_or(name, |(digits, _)| digits);
    digits.parse().ok()
}

/// Sends what the coordinator said about a pipeline since it was made, then, for a follower, what it says.
async fn send_master_lines(
    core: Core,
    wanted: Wanted,
    live: Option<broadcast::Receiver<Arc<MasterLine>>>,
    sender: Sender<pps::LogMessage>,
) -> Result<(), Ended> {
    let state = core.state();
    let created = find::pipeline(&state, &wanted.pipeline)?.created;
    // Another pipeline may have had the name before.
    let since = wanted.since.map_or(created, |since| since.max(created));
    let objects = core.store().list(&master_lines_prefix(&wanted.pipeline)).await;
    let mut output = Output {
        sender,
        window: wanted.tail.map(|tail| (tail, VecDeque::new())),
    };
    let mut newest = None;
    for object in objects.map_err(IntoStatus::into_status)? {
        let bytes = core.store().get(&object.key).await.map_err(IntoStatus::into_status)?;
        let line = datums::decode::<MasterLine>(&bytes)?;
        newest = Some(line.ts);
        if line.ts >= since {
            output.line(master_message(&line)).await?;
        }
    }
    output.open().await?;
    let Some(mut live) = live else { return Ok(()) };
    loop {
        let line = tokio::select! {
            line = live.recv() => line,
            () = output.sender.gone() => return Err(Ended::Gone),
        };
        match line {
            Ok(line) if line.pipeline == wanted.pipeline && newest.is_none_or(|newest| line.ts > newest) => {
                output.sender.send(master_message(&line)).await?;
            }
            Ok(_) | Err(RecvError::Lagged(_)) => {}
            Err(RecvError::Closed) => return Err(going_down().into()),
        }
    }
}

fn master_message(line: &MasterLine) -> pps::LogMessage {
    pps::LogMessage {
        pipeline_name: line.pipeline.name.to_string(),
        project_name: line.pipeline.project.to_string(),
        master: true,
        ts: Some(to_timestamp(line.ts)),
        message: line.message.clone(),
        ..Default::default()
    }
}

fn message(job: &JobKey, worker: &str, line: LogLine, data: Vec<pps::InputFile>) -> pps::LogMessage {
    pps::LogMessage {
        pipeline_name: job.pipeline.name.to_string(),
        project_name: job.pipeline.project.to_string(),
        job_id: job.id.to_string(),
        worker_id: worker.to_owned(),
        datum_id: line.datum.map(|id| id.to_string()).unwrap_or_default(),
        master: false,
        data,
        user: line.user,
        ts: Some(to_timestamp(line.ts)),
        message: line.message,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_set_is_in_the_key_whatever_the_worker_is_called() {
        let pipeline: PipelineKey = "default/edges".parse().expect("a pipeline");
        let id = howdah_model::GlobalId::from_number(1);
        let key = howdah_protocol::objects::log_key(&pipeline, &id, 12, "host-1-2");
        assert_eq!(set_of_key(&key), Some(12));
        assert_eq!(set_of_key("logs/x"), None);
    }
}
