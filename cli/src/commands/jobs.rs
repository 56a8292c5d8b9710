//! Commands that list, inspect, await, stop and delete jobs.

use howdah_api::{convert, pfs_v2, pps_v2, transaction_v2};

use super::job_view::{JOB_SETS, JOBS, describe, job_row, job_set_row};
use super::sets::Downstream;
use super::{pipelines, states, trouble};
use crate::args::history::FlushJob;
use crate::args::jobs::{InspectJob, JobName, ListJob, WaitJob};
use crate::args::shared::{ProjectArg, ViewArgs};
use crate::context::Ctx;
use crate::error::{CliError, CliResult};
use crate::output::age::Clock;
use crate::output::list::MessageList;
use crate::output::progress::ProgressDisplay;
use crate::output::raw::Raw;
use crate::{refs, wire};

/// A printed list of jobs.
struct JobList<'a> {
    ctx: &'a Ctx,
    list: MessageList,
    clock: Clock,
}

impl<'a> JobList<'a> {
    fn begin(ctx: &'a Ctx, view: &ViewArgs, paged: bool) -> Result<JobList<'a>, CliError> {
        let list = MessageList::begin(&ctx.printer, view.raw.encoding()?, JOBS, paged);
        Ok(JobList {
            ctx,
            list,
            clock: Clock::now(view.full_timestamps),
        })
    }

    fn push(&mut self, info: &pps_v2::JobInfo) -> CliResult {
        self.list
            .push(info, |info| job_row(info, &self.clock, &self.ctx.printer))
    }

    fn finish(self) -> CliResult {
        self.list.finish()
    }
}

/// `list job`: of everything, of a set, or of a pipeline.
pub(super) async fn list(ctx: &Ctx, arguments: &ListJob) -> CliResult {
    let filtered = !arguments.state.is_empty() || !arguments.input.is_empty() || arguments.history.is_some();
    let single = arguments.expand || arguments.pipeline.is_some();
    if filtered && !single {
        return Err(CliError::refused("--state, --input and --history need -x or -p"));
    }
    match &arguments.id {
        Some(_) if arguments.pipeline.is_some() => {
            Err(CliError::refused("cannot use an id together with --pipeline (-p)"))
        }
        Some(id) => list_set(ctx, arguments, id).await,
        None if single || arguments.output_commit.is_some() => list_single(ctx, arguments).await,
        None => list_sets(ctx, arguments).await,
    }
}

async fn list_sets(ctx: &Ctx, arguments: &ListJob) -> CliResult {
    let encoding = arguments.view.raw.encoding()?;
    let request = pps_v2::ListJobSetRequest {
        projects: projects(ctx, arguments)?,
        ..Default::default()
    };
    let mut stream = ctx.client().await?.pps().list_job_set(request).await?.into_inner();
    let clock = Clock::now(arguments.view.full_timestamps);
    let mut list = MessageList::begin(&ctx.printer, encoding, JOB_SETS, !arguments.pager.no_pager);
    while let Some(set) = stream.message().await? {
        list.push(&set, |set| job_set_row(set, &clock, &ctx.printer))?;
    }
    list.finish()
}

fn projects(ctx: &Ctx, arguments: &ListJob) -> Result<Vec<pfs_v2::Project>, CliError> {
    if arguments.all_projects {
        return Ok(Vec::new());
    }
    Ok(vec![convert::project(ctx.project(&arguments.project)?)])
}

async fn list_set(ctx: &Ctx, arguments: &ListJob, id: &str) -> CliResult {
    let id = match id.split_once('@') {
        Some(_) => refs::job(id)?.id,
        None => id.to_owned(),
    };
    let infos = jobs_of_set(ctx, &id, false).await?;
    if infos.is_empty() && !refs::is_id(&id) {
        return Err(CliError::hinted(
            format!("{id:?} is not the id of a set of jobs"),
            format!("`{} list job -p {id}` lists the jobs of a pipeline", ctx.program),
        ));
    }
    let mut list = JobList::begin(ctx, &arguments.view, !arguments.pager.no_pager)?;
    for info in infos {
        list.push(&info)?;
    }
    list.finish()
}

async fn list_single(ctx: &Ctx, arguments: &ListJob) -> CliResult {
    let project = ctx.project(&arguments.project)?;
    let mut input_commit = Vec::new();
    for input in &arguments.input {
        input_commit.push(wire::commit(&project, &refs::commit(input)?));
    }
    let output = match &arguments.output_commit {
        Some(commit) => Some(output_of(ctx, &project, commit).await?),
        None => None,
    };
    let request = pps_v2::ListJobRequest {
        pipeline: arguments
            .pipeline
            .as_ref()
            .map(|name| convert::pipeline(&project, name)),
        input_commit,
        history: pipelines::history(arguments.history.as_deref().unwrap_or("none"))?,
        details: true,
        jq_filter: states::job_filter(&arguments.state)?,
        projects: projects(ctx, arguments)?,
        ..Default::default()
    };
    let mut stream = ctx.client().await?.pps().list_job(request).await?.into_inner();
    let mut list = JobList::begin(ctx, &arguments.view, !arguments.pager.no_pager)?;
    while let Some(info) = stream.message().await? {
        if output
            .as_ref()
            .is_none_or(|output| wire::job_name(info.job.as_ref()) == *output)
        {
            list.push(&info)?;
        }
    }
    list.finish()
}

/// Returns the name of the job that made a commit; it equals the name of the commit.
async fn output_of(ctx: &Ctx, project: &str, text: &str) -> Result<String, CliError> {
    let commit = wire::commit(project, &refs::commit(text)?);
    let info = super::commit_lookup::inspect_one(ctx, commit, 0).await?;
    Ok(info.commit.as_ref().map_or(String::new(), wire::commit_name))
}

/// Returns the jobs of a set; with `wait` after all of them have ended.
pub(super) async fn jobs_of_set(ctx: &Ctx, id: &str, wait: bool) -> Result<Vec<pps_v2::JobInfo>, CliError> {
    let request = |wait| pps_v2::InspectJobSetRequest {
        job_set: Some(pps_v2::JobSet { id: id.to_owned() }),
        wait,
        details: true,
    };
    let client = ctx.client().await?;
    let mut infos = Vec::new();
    let mut stream = client.pps().inspect_job_set(request(false)).await?.into_inner();
    while let Some(info) = stream.message().await? {
        infos.push(info);
    }
    if !wait || infos.iter().all(|info| states::job_is_over(info.state())) {
        return Ok(infos);
    }
    let mut progress = ProgressDisplay::steps(ctx.printer.stderr_terminal, infos.len() as u64);
    progress.describe("waiting for jobs");
    let total = infos.len() as u64;
    infos.clear();
    let mut stream = client.pps().inspect_job_set(request(true)).await?.into_inner();
    while let Some(info) = stream.message().await? {
        infos.push(info);
        progress.set(infos.len() as u64, total.max(infos.len() as u64));
    }
    Ok(infos)
}

/// The jobs that an argument names: one, or all of a set.
pub(super) enum NamedJobs {
    /// One job.
    One(pps_v2::Job),
    /// The jobs of a set.
    Set(Vec<pps_v2::JobInfo>),
}

/// Finds the jobs that an argument names. An id that only one pipeline has a job for names this job.
pub(super) async fn find(ctx: &Ctx, text: &str, project: &ProjectArg) -> Result<NamedJobs, CliError> {
    if text.contains('@') {
        let project = ctx.project(project)?;
        return Ok(NamedJobs::One(wire::job(&project, &refs::job(text)?)));
    }
    let infos = jobs_of_set(ctx, text, false).await?;
    match infos.as_slice() {
        [] => Err(CliError::hinted(
            format!("no job found with id {text}"),
            if refs::is_id(text) {
                format!("`{} list job` lists them; one job is written PIPELINE@ID", ctx.program)
            } else {
                format!(
                    "`{} list job -p {text}` lists those of a pipeline; one job is written PIPELINE@ID",
                    ctx.program
                )
            },
        )),
        [info] => Ok(NamedJobs::One(info.job.clone().unwrap_or_default())),
        _ => Ok(NamedJobs::Set(infos)),
    }
}

/// Finds the one job that an argument names.
pub(super) async fn find_one(ctx: &Ctx, text: &str, project: &ProjectArg) -> Result<pps_v2::Job, CliError> {
    match find(ctx, text, project).await? {
        NamedJobs::One(job) => Ok(job),
        NamedJobs::Set(infos) => {
            let names: Vec<_> = infos.iter().map(|info| wire::job_name(info.job.as_ref())).collect();
            Err(CliError::refused(format!(
                "{text} is a set of jobs; name one of them: {}",
                names.join(", ")
            )))
        }
    }
}

/// `inspect job`. An id of several jobs lists them.
pub(super) async fn inspect(ctx: &Ctx, arguments: &InspectJob) -> CliResult {
    let encoding = arguments.view.raw.encoding()?;
    let job = match find(ctx, &arguments.job, &arguments.project).await? {
        NamedJobs::One(job) => job,
        NamedJobs::Set(_) => {
            ctx.printer.note(format!(
                "{0} is a set of jobs (`{1} list job {0}`); `{1} inspect job PIPELINE@{0}` shows one of them",
                arguments.job, ctx.program
            ));
            return print_set(ctx, &arguments.job, &arguments.view, arguments.block).await;
        }
    };
    let request = pps_v2::InspectJobRequest {
        job: Some(job),
        wait: arguments.block,
        details: true,
    };
    let info = ctx.client().await?.pps().inspect_job(request).await?.into_inner();
    if let Some(encoding) = encoding {
        let mut out = ctx.printer.list(false);
        Raw::new(encoding).message(&mut out, &info)?;
        return Ok(out.close()?);
    }
    let clock = Clock::now(arguments.view.full_timestamps);
    Ok(ctx.printer.text(describe(&info, &clock, &ctx.printer))?)
}

async fn print_set(ctx: &Ctx, id: &str, view: &ViewArgs, wait: bool) -> CliResult {
    let mut list = JobList::begin(ctx, view, false)?;
    for info in jobs_of_set(ctx, id, wait).await? {
        list.push(&info)?;
    }
    list.finish()
}

/// `wait job`.
pub(super) async fn wait(ctx: &Ctx, arguments: &WaitJob) -> CliResult {
    let paged = !arguments.pager.no_pager;
    let infos = if arguments.job.contains('@') {
        let project = ctx.project(&arguments.project)?;
        let job = Some(wire::job(&project, &refs::job(&arguments.job)?));
        let pipeline = job.as_ref().and_then(|job| job.pipeline.clone());
        vec![Box::pin(trouble::wait_for(ctx, pipeline, wait_one(ctx, job))).await?]
    } else {
        let infos = jobs_of_set(ctx, &arguments.job, true).await?;
        if infos.is_empty() {
            return Err(CliError::refused(format!("no job found with id {}", arguments.job)));
        }
        infos
    };
    let mut list = JobList::begin(ctx, &arguments.view, paged)?;
    for info in infos {
        list.push(&info)?;
    }
    list.finish()
}

/// Waits for one job and shows how many datums are done.
async fn wait_one(ctx: &Ctx, job: Option<pps_v2::Job>) -> Result<pps_v2::JobInfo, CliError> {
    let request = |wait| pps_v2::InspectJobRequest {
        job: job.clone(),
        wait,
        details: true,
    };
    let client = ctx.client().await?;
    let mut pps = client.pps();
    let ended = pps.inspect_job(request(true));
    tokio::pin!(ended);
    let mut progress = ProgressDisplay::steps(ctx.printer.stderr_terminal, 1);
    progress.describe("waiting for the job");
    let mut tick = tokio::time::interval(std::time::Duration::from_millis(500));
    loop {
        tokio::select! {
            response = &mut ended => return Ok(response?.into_inner()),
            _ = tick.tick(), if ctx.printer.stderr_terminal => {
                let info = client.pps().inspect_job(request(false)).await?.into_inner();
                let done = info.data_processed + info.data_skipped + info.data_failed + info.data_recovered;
                progress.set(done.unsigned_abs(), info.data_total.unsigned_abs().max(1));
            }
        }
    }
}

/// `flush job` of 1.x: waits for the jobs that follow from commits and prints them.
pub(super) async fn flush(ctx: &Ctx, arguments: &FlushJob) -> CliResult {
    let mut list = JobList::begin(ctx, &arguments.view, false)?;
    let downstream = Downstream::of(ctx, &arguments.commits, &arguments.project).await?;
    for id in &downstream.ids {
        for info in jobs_of_set(ctx, id, true).await? {
            let pipeline = info.job.as_ref().and_then(|job| job.pipeline.as_ref());
            let name = wire::pipeline_name(pipeline).to_owned();
            let wanted = arguments.pipeline.is_empty() || arguments.pipeline.contains(&name);
            // A job and its output commit have the same name.
            if wanted && downstream.holds(id, &wire::job_name(info.job.as_ref())) {
                list.push(&info)?;
            }
        }
    }
    list.finish()
}

/// `stop job`: one job, or all jobs of a set in one transaction.
pub(super) async fn stop(ctx: &Ctx, arguments: &JobName) -> CliResult {
    let stop = |job: Option<pps_v2::Job>| pps_v2::StopJobRequest {
        job,
        reason: "job stopped".to_owned(),
    };
    let client = ctx.client().await?;
    match find(ctx, &arguments.job, &arguments.project).await? {
        NamedJobs::One(job) => {
            client.pps().stop_job(stop(Some(job))).await?;
            ctx.note_added()
        }
        NamedJobs::Set(infos) => {
            let requests = infos
                .into_iter()
                .map(|info| transaction_v2::TransactionRequest {
                    stop_job: Some(stop(info.job)),
                    ..Default::default()
                })
                .collect();
            client
                .transactions()
                .batch_transaction(transaction_v2::BatchTransactionRequest { requests })
                .await?;
            Ok(())
        }
    }
}

/// `delete job`: one job, or every job of a set.
pub(super) async fn delete(ctx: &Ctx, arguments: &JobName) -> CliResult {
    let mut pps = ctx.client().await?.pps();
    let jobs = match find(ctx, &arguments.job, &arguments.project).await? {
        NamedJobs::One(job) => vec![job],
        NamedJobs::Set(infos) => infos.into_iter().filter_map(|info| info.job).collect(),
    };
    for job in jobs {
        pps.delete_job(pps_v2::DeleteJobRequest { job: Some(job) }).await?;
    }
    Ok(())
}
