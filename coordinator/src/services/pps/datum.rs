//! Calls about datums: those of a job, and those that an input would make.

use std::collections::HashMap;

use futures::{StreamExt, TryStreamExt, stream};
use howdah_api::convert::millis_to_duration;
use howdah_api::{pfs_v2 as pfs, pps_v2 as pps};
use howdah_model::{BranchName, CommitKey, CommitRef, Content, DatumId, JobKey, Rejection, RepoKey, State};
use howdah_protocol::messages::RestartDatum;
use howdah_protocol::objects::{Datum, DatumInput, DatumOutcome, DatumStats};
use howdah_queue::CoordinatorQueue;
use howdah_spec::Input;
use tonic::codegen::BoxStream;
use tonic::{Response, Status, Streaming};

use super::checked_spec::filled_input;
use super::datum_page::{DatumInfos, DatumPage};
use super::known_datums::{DatumProgress, JobDatums, KnownDatum, KnownDatums};
use crate::job::plan::{InputCommit, enumerate, repo_of};
use crate::metadata::Core;
use crate::services::reply::{self, ReplySender, StreamError, StreamReply, UnaryReply};
use crate::services::status::IntoStatus;
use crate::services::wire::signed;
use crate::services::{find, wire};

/// Datums of a batch if the client does not say how many.
const DEFAULT_BATCH: usize = 100;

pub(super) async fn inspect_datum(core: &Core, request: pps::InspectDatumRequest) -> UnaryReply<pps::DatumInfo> {
    let datum = request.datum.as_ref().ok_or_else(|| wire::missing("datum"))?;
    let key = wire::job_key(datum.job.as_ref())?;
    let state = core.state();
    let job = find::job(&state, &key)?;
    let unknown = || Status::unknown(format!("datum {} not found in job {key}", datum.id));
    let id: DatumId = datum.id.parse().map_err(|_| unknown())?;
    let known = JobDatums::of_job(core.store(), &state, job).find(&id).await?;
    known
        .map(|known| Response::new(info(&job.key, &id, &known)))
        .ok_or_else(unknown)
}

fn info(job: &JobKey, id: &DatumId, known: &KnownDatum) -> pps::DatumInfo {
    let ran_in = JobKey {
        pipeline: job.pipeline.clone(),
        id: known.earlier_job.unwrap_or(job.id),
    };
    pps::DatumInfo {
        datum: Some(pps::Datum {
            job: Some(wire::job(&ran_in)),
            id: id.to_string(),
        }),
        state: state(known) as i32,
        stats: Some(stats(&known.stats)),
        pfs_state: Some(wire::file(&ran_in.meta_commit(), format!("/pfs/{id}/"))),
        data: known.inputs.iter().map(input_file).collect(),
        image_id: known.image.clone().unwrap_or_default(),
        reason: known.reason.clone().unwrap_or_default(),
    }
}

fn state(known: &KnownDatum) -> pps::DatumState {
    match known.state {
        DatumProgress::Starting => pps::DatumState::Starting,
        DatumProgress::Skipped => pps::DatumState::Skipped,
        DatumProgress::Done(DatumOutcome::Success) => pps::DatumState::Success,
        DatumProgress::Done(DatumOutcome::Failed) => pps::DatumState::Failed,
        DatumProgress::Done(DatumOutcome::Recovered) => pps::DatumState::Recovered,
    }
}

fn stats(stats: &DatumStats) -> pps::ProcessStats {
    pps::ProcessStats {
        download_time: Some(millis_to_duration(stats.download_ms)),
        process_time: Some(millis_to_duration(stats.process_ms)),
        upload_time: Some(millis_to_duration(stats.upload_ms)),
        download_bytes: signed(stats.download_bytes),
        upload_bytes: signed(stats.upload_bytes),
    }
}

fn input_file(input: &DatumInput) -> pfs::FileInfo {
    let file_type = if input.is_dir {
        pfs::FileType::Dir
    } else {
        pfs::FileType::File
    };
    pfs::FileInfo {
        file: Some(wire::file(&input.repo.commit(input.commit), &*input.path)),
        file_type: file_type as i32,
        committed: None,
        size_bytes: signed(input.size),
        hash: input.hash.as_bytes().to_vec(),
    }
}

pub(super) fn list_datum(core: &Core, request: &pps::ListDatumRequest) -> StreamReply<pps::DatumInfo> {
    let page = DatumPage::new(request)?;
    let budget = core.live().reply_memory.clone();
    match (&request.job, &request.input) {
        (Some(_), Some(_)) => Err(Status::invalid_argument(
            "job and input cannot both be set: a job has its own input",
        )),
        (None, None) => Err(wire::missing("job or input")),
        (Some(job), None) => {
            let key = wire::job_key(Some(job))?;
            let now = core.state();
            let datums = JobDatums::of_job(core.store(), &now, find::job(&now, &key)?);
            match datums.in_order(page.marker.as_ref(), page.reverse) {
                Some(ordered) => reply::from_stream(page.cut(infos(key, ordered)).map_ok(|(_, info)| info)),
                None => {
                    let write = move |id: &DatumId, known: &KnownDatum| info(&key, id, known);
                    reply::from_stream(page.sort(datums.all(), state, write, budget))
                }
            }
        }
        (None, Some(input)) => {
            let datums = datums_of_input(core, input)?.map_ok(|datum| (datum.id, datum)).boxed();
            let write = |_: &DatumId, datum: &Datum| hypothetical(datum);
            reply::from_stream(page.sort(datums, |_| pps::DatumState::Unknown, write, budget))
        }
    }
}

/// Writes datums of a job.
fn infos(job: JobKey, datums: KnownDatums) -> DatumInfos {
    datums.map_ok(move |(id, known)| (id, info(&job, &id, &known))).boxed()
}

/// Writes a datum that belongs to no job.
fn hypothetical(datum: &Datum) -> pps::DatumInfo {
    pps::DatumInfo {
        datum: Some(pps::Datum {
            job: None,
            id: datum.id.to_string(),
        }),
        state: pps::DatumState::Unknown as i32,
        data: datum.inputs.iter().map(input_file).collect(),
        ..Default::default()
    }
}

/// Streams the datums that an input would make, from the heads of its branches or from the commits that it names.
fn datums_of_input(core: &Core, input: &pps::Input) -> Result<BoxStream<Datum>, Status> {
    let input = filled_input(input)?;
    let state = core.state();
    let commits = commits_of_input(&state, &input)?;
    let store = core.store().clone();
    let datums = async move {
        let lookup = |repo: &RepoKey, branch: &BranchName| commits.get(&repo.branch(branch.clone())).cloned();
        let datums = enumerate(&store, &input, &lookup, "".into()).await;
        let datums = datums.map_err(IntoStatus::into_status)?;
        Ok::<_, Status>(datums.map_err(IntoStatus::into_status))
    };
    Ok(stream::once(datums).try_flatten().boxed())
}

type InputCommits = HashMap<howdah_model::BranchKey, InputCommit>;

fn commits_of_input(state: &State, input: &Input) -> Result<InputCommits, Status> {
    let mut commits = InputCommits::new();
    for leaf in input.leaves() {
        let pfs = match leaf {
            Input::Pfs(pfs) => pfs,
            Input::Cron(_) => {
                return Err(Status::invalid_argument(
                    "datums of a cron input cannot be listed: cron inputs are not supported yet; name the repository of \
                     its ticks as a pfs input",
                ));
            }
            _ => continue,
        };
        let repo = repo_of(pfs).map_err(IntoStatus::into_status)?;
        let branch = BranchName::new(&pfs.branch).map_err(wire::bad_name)?;
        let reference = match pfs.commit.as_str() {
            "" => CommitRef::branch(repo.clone(), branch.clone()),
            commit => CommitRef::text(repo.clone(), commit),
        };
        let commit = find::commit(state, &reference)?;
        if commit.finished.is_none() {
            return Err(Rejection::CommitNotFinished(commit.key.clone()).into_status());
        }
        commits.insert(repo.branch(branch), input_commit(&commit.key, commit.content));
    }
    Ok(commits)
}

fn input_commit(key: &CommitKey, content: Content) -> InputCommit {
    InputCommit { id: key.id, content }
}

pub(super) async fn create_datum(
    core: &Core,
    mut requests: Streaming<pps::CreateDatumRequest>,
) -> StreamReply<pps::DatumInfo> {
    use pps::create_datum_request::Body;
    let first = requests.next().await.transpose()?;
    let Some(Body::Start(start)) = first.and_then(|request| request.body) else {
        return Err(Status::invalid_argument(
            "validate recv: the first request must be a start",
        ));
    };
    let input = start.input.as_ref().ok_or_else(|| wire::missing("input"))?;
    let datums = datums_of_input(core, input)?;
    let first_batch = batch_size(start.number)?;
    reply::from_task(move |sender| send_batches(datums, first_batch, requests, sender))
}

/// Sends as many datums as each request asks for, until there are no more.
async fn send_batches(
    datums: BoxStream<Datum>,
    first_batch: usize,
    mut requests: Streaming<pps::CreateDatumRequest>,
    sender: ReplySender<pps::DatumInfo>,
) -> Result<(), StreamError> {
    use pps::create_datum_request::Body;
    let mut datums = datums.peekable();
    let mut batch = first_batch;
    loop {
        while batch > 0 {
            let Some(datum) = datums.try_next().await? else { break };
            sender.send(hypothetical(&datum)).await?;
            batch -= 1;
        }
        if std::pin::Pin::new(&mut datums).peek().await.is_none() {
            // Some clients never end their side, so the call does not wait for that.
            return Ok(());
        }
        let next = tokio::select! {
            next = requests.next() => next,
            () = sender.client_gone() => return Err(StreamError::ClientGone),
        };
        batch = match next.transpose()?.map(|request| request.body) {
            None => return Ok(()),
            Some(Some(Body::Continue(more))) => batch_size(more.number)?,
            Some(_) => {
                return Err(Status::invalid_argument(
                    "validate recv: every request after the first must be a continue",
                )
                .into());
            }
        };
    }
}

fn batch_size(number: i32) -> Result<usize, Status> {
    match usize::try_from(number) {
        Ok(0) => Ok(DEFAULT_BATCH),
        Ok(number) => Ok(number),
        Err(_) => Err(Status::invalid_argument("number cannot be negative")),
    }
}

/// Makes workers begin again with the running datums that the filters select.
pub(super) async fn restart_datum(
    core: &Core,
    queue: &CoordinatorQueue,
    request: pps::RestartDatumRequest,
) -> UnaryReply<()> {
    let key = wire::job_key(request.job.as_ref())?;
    let state = core.state();
    let job = find::job(&state, &key)?;
    if job.state.is_final() {
        return Err(Rejection::JobOver(key).into_status());
    }
    let filters = request.data_filters;
    let mut datums = JobDatums::of_job(core.store(), &state, job).all();
    let is_meant = |known: &KnownDatum| known.state == DatumProgress::Starting && known.matches(&filters);
    let mut is_found = false;
    while !is_found && let Some((_, known)) = datums.try_next().await? {
        is_found = is_meant(&known);
    }
    if !is_found {
        return Err(Status::unknown(format!(
            "datum matching filter [{}] could not be found for job ID {}",
            filters.join(" "),
            key.id
        )));
    }
    let restart = RestartDatum {
        pipeline: key.pipeline,
        job: key.id,
        filters,
    };
    queue
        .restart_datums(&restart)
        .await
        .map_err(|error| Status::unavailable(howdah_telemetry::error_chain(&error)))?;
    Ok(Response::new(()))
}
