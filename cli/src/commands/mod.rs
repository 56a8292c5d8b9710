//! The commands, one module per family, and the dispatch from a parsed command line to its function.
//!
//! Each function reads its arguments, sends requests and prints the answer. Modules that several families share lie
//! below them: `commit_lookup`, `views`, `states`, `pipeline_view`, `job_view`, `unfinished`, `trouble`. `put` has its
//! parts in `walk` (reading sources), `put_item`, `targets`, `tar_*` and `sparse` (archives), `split`, `outbox` and
//! `file_offers`.

mod absent;
mod branches;
mod cluster;
mod commit_lookup;
mod commits;
mod completion;
mod contexts;
mod copy;
mod datums;
mod defaults;
mod delete_all;
mod diff;
mod draw;
mod file_offers;
mod files;
mod get;
mod job_view;
mod jobs;
mod logs;
mod origin;
mod outbox;
mod pipeline_view;
mod pipelines;
mod projects;
mod put;
mod put_item;
mod repos;
mod secrets;
mod sets;
mod sparse;
mod specs;
mod split;
mod states;
mod tar_entry;
mod tar_file;
mod tar_plan;
mod targets;
mod transactions;
mod trouble;
mod unfinished;
mod unpack;
mod views;
mod walk;

use crate::args::verbs::{
    CheckNoun, CopyNoun, CreateNoun, DeleteNoun, DiffNoun, DrawNoun, EditNoun, ExtractNoun, FindNoun, FinishNoun,
    FlushNoun, GetNoun, GlobNoun, InspectNoun, ListNoun, NextNoun, PutNoun, RerunNoun, RestartNoun, ResumeNoun,
    RunNoun, SquashNoun, StartNoun, StopNoun, SubscribeNoun, UpdateNoun, ValidateNoun, Verb, WaitNoun,
};
use crate::context::Ctx;
use crate::error::CliResult;

/// Runs a command.
pub(crate) async fn run(verb: Verb, ctx: &Ctx) -> CliResult {
    match verb {
        // The caller runs it, because it handles Ctrl-C itself.
        Verb::Up(_) => Ok(()),
        Verb::Connect(arguments) => contexts::connect(ctx, &arguments),
        Verb::Create(noun) => create(noun, ctx).await,
        Verb::Update(noun) => update(noun, ctx).await,
        Verb::Edit(EditNoun::Pipeline(arguments)) => specs::edit(ctx, &arguments).await,
        Verb::Edit(EditNoun::Metadata(_)) => absent::not_yet("edit metadata"),
        Verb::Inspect(noun) => inspect(noun, ctx).await,
        Verb::List(noun) => list(noun, ctx).await,
        Verb::Delete(noun) => delete(noun, ctx).await,
        Verb::Put(PutNoun::File(arguments)) => put::run(ctx, arguments).await,
        Verb::Get(GetNoun::File(arguments)) => get::run(ctx, &arguments).await,
        Verb::Get(GetNoun::Object(_) | GetNoun::Tag(_)) => absent::objects(),
        Verb::Copy(CopyNoun::File(arguments)) => copy::run(ctx, &arguments).await,
        Verb::Glob(GlobNoun::File(arguments)) => files::glob(ctx, &arguments).await,
        Verb::Diff(DiffNoun::File(arguments)) => diff::run(ctx, &arguments).await,
        Verb::Start(StartNoun::Commit(arguments)) => commits::start(ctx, &arguments).await,
        Verb::Start(StartNoun::Pipeline(arguments)) => pipelines::start(ctx, &arguments).await,
        Verb::Start(StartNoun::Transaction(_)) => transactions::start(ctx).await,
        Verb::Finish(FinishNoun::Commit(arguments)) => commits::finish(ctx, &arguments).await,
        Verb::Finish(FinishNoun::Transaction(arguments)) => transactions::finish(ctx, &arguments).await,
        Verb::Stop(StopNoun::Pipeline(arguments)) => pipelines::stop(ctx, &arguments).await,
        Verb::Stop(StopNoun::Job(arguments)) => jobs::stop(ctx, &arguments).await,
        Verb::Stop(StopNoun::Transaction(_)) => transactions::stop(ctx),
        Verb::Resume(ResumeNoun::Transaction(arguments)) => transactions::resume(ctx, &arguments).await,
        Verb::Rerun(RerunNoun::Pipeline(arguments)) => pipelines::rerun(ctx, &arguments).await,
        Verb::Run(RunNoun::Cron(arguments)) => pipelines::run_cron(ctx, &arguments).await,
        Verb::Run(RunNoun::Pipeline(_)) => absent::run_pipeline(ctx),
        Verb::Run(RunNoun::PfsLoadTest(_)) => absent::not_yet("run pfs-load-test"),
        Verb::Run(RunNoun::PpsLoadTest(_)) => absent::not_yet("run pps-load-test"),
        Verb::Restart(RestartNoun::Datum(arguments)) => datums::restart(ctx, &arguments).await,
        Verb::Restart(RestartNoun::Cluster(_)) => absent::kubernetes("restart cluster"),
        Verb::Wait(WaitNoun::Commit(arguments)) => sets::wait_commit(ctx, &arguments).await,
        Verb::Wait(WaitNoun::Job(arguments)) => jobs::wait(ctx, &arguments).await,
        Verb::Subscribe(SubscribeNoun::Commit(arguments)) => commits::subscribe(ctx, &arguments).await,
        Verb::Find(FindNoun::Commit(arguments)) => commits::find(ctx, &arguments).await,
        Verb::Squash(SquashNoun::Commit(arguments)) => sets::squash(ctx, &arguments).await,
        Verb::Squash(SquashNoun::CommitV2(arguments)) => sets::squash_one(ctx, &arguments).await,
        Verb::Draw(DrawNoun::Pipeline(arguments)) => draw::run(ctx, &arguments).await,
        Verb::Validate(ValidateNoun::Pipeline(arguments)) => specs::validate(ctx, &arguments).await,
        Verb::Check(CheckNoun::Status(arguments)) => pipelines::check_status(ctx, &arguments).await,
        Verb::Next(NextNoun::Datum(arguments)) => datums::next(ctx, &arguments).await,
        Verb::Logs(arguments) => logs::run(ctx, arguments).await,
        Verb::Fsck(arguments) => cluster::fsck(ctx, &arguments).await,
        Verb::Version(arguments) => cluster::version(ctx, &arguments).await,
        Verb::Config(verb) => contexts::config(ctx, verb),
        Verb::Completion(arguments) => completion::run(ctx, &arguments),
        Verb::Buildinfo(_) => cluster::build_info(ctx),
        Verb::HelpMarkdown(_) => Ok(ctx
            .printer
            .text(crate::markdown::reference(crate::args::command(&ctx.program)))?),
        Verb::Extract(ExtractNoun::Pipeline(arguments)) => pipelines::extract(ctx, &arguments).await,
        Verb::Flush(FlushNoun::Commit(arguments)) => sets::flush_commit(ctx, &arguments).await,
        Verb::Flush(FlushNoun::Job(arguments)) => jobs::flush(ctx, &arguments).await,
        Verb::PortForward(_) => absent::port_forward(ctx),
        Verb::KubeEvents(_) => absent::kubernetes("kube-events"),
        Verb::Loki(_) => absent::kubernetes("loki"),
        Verb::Auth(_) => absent::access_control("auth"),
        Verb::Idp(_) => absent::access_control("idp"),
        Verb::Enterprise(_) => absent::enterprise("enterprise"),
        Verb::License(_) => absent::enterprise("license"),
        Verb::GarbageCollect(_) => absent::not_yet("garbage-collect"),
        Verb::Shell(_) => absent::not_yet("shell"),
        Verb::Mount(_) => absent::not_yet("mount"),
        Verb::Unmount(_) => absent::not_yet("unmount"),
        Verb::Debug(_) => absent::not_yet("debug"),
        Verb::Deploy(_) => absent::installation("deploy"),
        Verb::Undeploy(_) => absent::installation("undeploy"),
        Verb::Restore(_) => absent::restore(),
    }
}

async fn create(noun: CreateNoun, ctx: &Ctx) -> CliResult {
    match noun {
        CreateNoun::Project(arguments) => projects::write(ctx, &arguments, false).await,
        CreateNoun::Repo(arguments) => repos::write(ctx, &arguments, false).await,
        CreateNoun::Branch(arguments) => branches::create(ctx, &arguments).await,
        CreateNoun::Pipeline(arguments) => specs::create(ctx, &arguments).await,
        CreateNoun::Secret(arguments) => secrets::create(ctx, &arguments).await,
        CreateNoun::Defaults(arguments) => defaults::write(ctx, &arguments).await,
        CreateNoun::Job(_) => absent::create_job(ctx),
        CreateNoun::Snapshot(_) => absent::not_yet("create snapshot"),
    }
}

async fn update(noun: UpdateNoun, ctx: &Ctx) -> CliResult {
    match noun {
        UpdateNoun::Project(arguments) => projects::write(ctx, &arguments, true).await,
        UpdateNoun::Repo(arguments) => repos::write(ctx, &arguments, true).await,
        UpdateNoun::Pipeline(arguments) => specs::update(ctx, &arguments).await,
        UpdateNoun::Defaults(arguments) => defaults::write(ctx, &arguments).await,
    }
}

async fn inspect(noun: InspectNoun, ctx: &Ctx) -> CliResult {
    match noun {
        InspectNoun::Project(arguments) => projects::inspect(ctx, &arguments).await,
        InspectNoun::Repo(arguments) => repos::inspect(ctx, &arguments).await,
        InspectNoun::Branch(arguments) => branches::inspect(ctx, &arguments).await,
        InspectNoun::Commit(arguments) => commits::inspect(ctx, &arguments).await,
        InspectNoun::File(arguments) => files::inspect(ctx, &arguments).await,
        InspectNoun::Pipeline(arguments) => pipelines::inspect(ctx, &arguments).await,
        InspectNoun::Job(arguments) => jobs::inspect(ctx, &arguments).await,
        InspectNoun::Datum(arguments) => datums::inspect(ctx, &arguments).await,
        InspectNoun::Secret(arguments) => secrets::inspect(ctx, &arguments).await,
        InspectNoun::Transaction(arguments) => transactions::inspect(ctx, &arguments).await,
        InspectNoun::Cluster(_) => cluster::inspect(ctx).await,
        InspectNoun::Defaults(arguments) => defaults::inspect(ctx, &arguments).await,
        InspectNoun::Snapshot(_) => absent::not_yet("inspect snapshot"),
    }
}

async fn list(noun: ListNoun, ctx: &Ctx) -> CliResult {
    match noun {
        ListNoun::Project(arguments) => projects::list(ctx, &arguments).await,
        ListNoun::Repo(arguments) => repos::list(ctx, &arguments).await,
        ListNoun::Branch(arguments) => branches::list(ctx, &arguments).await,
        ListNoun::Commit(arguments) => commits::list(ctx, &arguments).await,
        ListNoun::File(arguments) => files::list(ctx, &arguments).await,
        ListNoun::Pipeline(arguments) => pipelines::list(ctx, &arguments).await,
        ListNoun::Job(arguments) => jobs::list(ctx, &arguments).await,
        ListNoun::Datum(arguments) => datums::list(ctx, &arguments).await,
        ListNoun::Secret(_) => secrets::list(ctx).await,
        ListNoun::Transaction(arguments) => transactions::list(ctx, &arguments).await,
        ListNoun::Task(_) => absent::not_yet("list task"),
        ListNoun::Snapshot(_) => absent::not_yet("list snapshot"),
    }
}

async fn delete(noun: DeleteNoun, ctx: &Ctx) -> CliResult {
    match noun {
        DeleteNoun::Project(arguments) => projects::delete(ctx, &arguments).await,
        DeleteNoun::Repo(arguments) => repos::delete(ctx, &arguments).await,
        DeleteNoun::Branch(arguments) => branches::delete(ctx, &arguments).await,
        DeleteNoun::Commit(arguments) => sets::delete(ctx, &arguments).await,
        DeleteNoun::CommitV2(arguments) => sets::delete_one(ctx, &arguments).await,
        DeleteNoun::File(arguments) => files::delete(ctx, &arguments).await,
        DeleteNoun::Pipeline(arguments) => pipelines::delete(ctx, &arguments).await,
        DeleteNoun::Job(arguments) => jobs::delete(ctx, &arguments).await,
        DeleteNoun::Secret(arguments) => secrets::delete(ctx, &arguments).await,
        DeleteNoun::Transaction(arguments) => transactions::delete(ctx, &arguments).await,
        DeleteNoun::Defaults(arguments) => defaults::delete(ctx, &arguments).await,
        DeleteNoun::All(arguments) => delete_all::run(ctx, &arguments).await,
        DeleteNoun::Snapshot(_) => absent::not_yet("delete snapshot"),
    }
}
