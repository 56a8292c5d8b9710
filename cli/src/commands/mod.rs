//! The commands, one module per family, and the dispatch from a parsed command line to its function.
//!
//! Each function reads its arguments, sends requests and prints the answer. Modules that several families share lie
//! below them: `commit_lookup`, `views`, `states`, `pipeline_view`, `job_view`, `unfinished`, `trouble`.

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
mod repos;
mod secrets;
mod sets;
mod specs;
mod split;
mod states;
mod transactions;
mod trouble;
mod unfinished;
mod unpack;
mod views;
mod walk;

use crate::args::verbs::{
    Check, Copy, Create, Delete, Diff, Draw, Edit, Extract, Find, Finish, Flush, Get, Glob, Inspect, List, Next, Put,
    Rerun, Restart, Resume, Run, Squash, Start, Stop, Subscribe, Update, Validate, Verb, Wait,
};
use crate::context::Ctx;
use crate::error::CliResult;

/// Runs a command.
pub async fn run(verb: Verb, ctx: &Ctx) -> CliResult {
    match verb {
        // The caller runs it, because it handles Ctrl-C itself.
        Verb::Up(_) => Ok(()),
        Verb::Connect(arguments) => contexts::connect(ctx, &arguments),
        Verb::Create(noun) => create(noun, ctx).await,
        Verb::Update(noun) => update(noun, ctx).await,
        Verb::Edit(Edit::Pipeline(arguments)) => specs::edit(ctx, &arguments).await,
        Verb::Edit(Edit::Metadata(_)) => absent::not_yet("edit metadata"),
        Verb::Inspect(noun) => inspect(noun, ctx).await,
        Verb::List(noun) => list(noun, ctx).await,
        Verb::Delete(noun) => delete(noun, ctx).await,
        Verb::Put(Put::File(arguments)) => put::run(ctx, arguments).await,
        Verb::Get(Get::File(arguments)) => get::run(ctx, &arguments).await,
        Verb::Get(Get::Object(_) | Get::Tag(_)) => absent::objects(),
        Verb::Copy(Copy::File(arguments)) => copy::run(ctx, &arguments).await,
        Verb::Glob(Glob::File(arguments)) => files::glob(ctx, &arguments).await,
        Verb::Diff(Diff::File(arguments)) => diff::run(ctx, &arguments).await,
        Verb::Start(Start::Commit(arguments)) => commits::start(ctx, &arguments).await,
        Verb::Start(Start::Pipeline(arguments)) => pipelines::start(ctx, &arguments).await,
        Verb::Start(Start::Transaction(_)) => transactions::start(ctx).await,
        Verb::Finish(Finish::Commit(arguments)) => commits::finish(ctx, &arguments).await,
        Verb::Finish(Finish::Transaction(arguments)) => transactions::finish(ctx, &arguments).await,
        Verb::Stop(Stop::Pipeline(arguments)) => pipelines::stop(ctx, &arguments).await,
        Verb::Stop(Stop::Job(arguments)) => jobs::stop(ctx, &arguments).await,
        Verb::Stop(Stop::Transaction(_)) => transactions::stop(ctx),
        Verb::Resume(Resume::Transaction(arguments)) => transactions::resume(ctx, &arguments).await,
        Verb::Rerun(Rerun::Pipeline(arguments)) => pipelines::rerun(ctx, &arguments).await,
        Verb::Run(Run::Cron(arguments)) => pipelines::run_cron(ctx, &arguments).await,
        Verb::Run(Run::Pipeline(_)) => absent::run_pipeline(ctx),
        Verb::Run(Run::PfsLoadTest(_)) => absent::not_yet("run pfs-load-test"),
        Verb::Run(Run::PpsLoadTest(_)) => absent::not_yet("run pps-load-test"),
        Verb::Restart(Restart::Datum(arguments)) => datums::restart(ctx, &arguments).await,
        Verb::Restart(Restart::Cluster(_)) => absent::kubernetes("restart cluster"),
        Verb::Wait(Wait::Commit(arguments)) => sets::wait_commit(ctx, &arguments).await,
        Verb::Wait(Wait::Job(arguments)) => jobs::wait(ctx, &arguments).await,
        Verb::Subscribe(Subscribe::Commit(arguments)) => commits::subscribe(ctx, &arguments).await,
        Verb::Find(Find::Commit(arguments)) => commits::find(ctx, &arguments).await,
        Verb::Squash(Squash::Commit(arguments)) => sets::squash(ctx, &arguments).await,
        Verb::Squash(Squash::CommitV2(arguments)) => sets::squash_one(ctx, &arguments).await,
        Verb::Draw(Draw::Pipeline(arguments)) => draw::run(ctx, &arguments).await,
        Verb::Validate(Validate::Pipeline(arguments)) => specs::validate(ctx, &arguments).await,
        Verb::Check(Check::Status(arguments)) => pipelines::check_status(ctx, &arguments).await,
        Verb::Next(Next::Datum(arguments)) => datums::next(ctx, &arguments).await,
        Verb::Logs(arguments) => logs::run(ctx, arguments).await,
        Verb::Fsck(arguments) => cluster::fsck(ctx, &arguments).await,
        Verb::Version(arguments) => cluster::version(ctx, &arguments).await,
        Verb::Config(verb) => contexts::config(ctx, verb),
        Verb::Completion(arguments) => completion::run(ctx, &arguments),
        Verb::Buildinfo(_) => cluster::build_info(ctx),
        Verb::HelpMarkdown(_) => Ok(ctx
            .printer
            .text(crate::markdown::reference(crate::args::command(&ctx.program)))?),
        Verb::Extract(Extract::Pipeline(arguments)) => pipelines::extract(ctx, &arguments).await,
        Verb::Flush(Flush::Commit(arguments)) => sets::flush_commit(ctx, &arguments).await,
        Verb::Flush(Flush::Job(arguments)) => jobs::flush(ctx, &arguments).await,
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

async fn create(noun: Create, ctx: &Ctx) -> CliResult {
    match noun {
        Create::Project(arguments) => projects::write(ctx, &arguments, false).await,
        Create::Repo(arguments) => repos::write(ctx, &arguments, false).await,
        Create::Branch(arguments) => branches::create(ctx, &arguments).await,
        Create::Pipeline(arguments) => specs::create(ctx, &arguments).await,
        Create::Secret(arguments) => secrets::create(ctx, &arguments).await,
        Create::Defaults(arguments) => defaults::write(ctx, &arguments).await,
        Create::Job(_) => absent::create_job(ctx),
        Create::Snapshot(_) => absent::not_yet("create snapshot"),
    }
}

async fn update(noun: Update, ctx: &Ctx) -> CliResult {
    match noun {
        Update::Project(arguments) => projects::write(ctx, &arguments, true).await,
        Update::Repo(arguments) => repos::write(ctx, &arguments, true).await,
        Update::Pipeline(arguments) => specs::update(ctx, &arguments).await,
        Update::Defaults(arguments) => defaults::write(ctx, &arguments).await,
    }
}

async fn inspect(noun: Inspect, ctx: &Ctx) -> CliResult {
    match noun {
        Inspect::Project(arguments) => projects::inspect(ctx, &arguments).await,
        Inspect::Repo(arguments) => repos::inspect(ctx, &arguments).await,
        Inspect::Branch(arguments) => branches::inspect(ctx, &arguments).await,
        Inspect::Commit(arguments) => commits::inspect(ctx, &arguments).await,
        Inspect::File(arguments) => files::inspect(ctx, &arguments).await,
        Inspect::Pipeline(arguments) => pipelines::inspect(ctx, &arguments).await,
        Inspect::Job(arguments) => jobs::inspect(ctx, &arguments).await,
        Inspect::Datum(arguments) => datums::inspect(ctx, &arguments).await,
        Inspect::Secret(arguments) => secrets::inspect(ctx, &arguments).await,
        Inspect::Transaction(arguments) => transactions::inspect(ctx, &arguments).await,
        Inspect::Cluster(_) => cluster::inspect(ctx).await,
        Inspect::Defaults(arguments) => defaults::inspect(ctx, &arguments).await,
        Inspect::Snapshot(_) => absent::not_yet("inspect snapshot"),
    }
}

async fn list(noun: List, ctx: &Ctx) -> CliResult {
    match noun {
        List::Project(arguments) => projects::list(ctx, &arguments).await,
        List::Repo(arguments) => repos::list(ctx, &arguments).await,
        List::Branch(arguments) => branches::list(ctx, &arguments).await,
        List::Commit(arguments) => commits::list(ctx, &arguments).await,
        List::File(arguments) => files::list(ctx, &arguments).await,
        List::Pipeline(arguments) => pipelines::list(ctx, &arguments).await,
        List::Job(arguments) => jobs::list(ctx, &arguments).await,
        List::Datum(arguments) => datums::list(ctx, &arguments).await,
        List::Secret(_) => secrets::list(ctx).await,
        List::Transaction(arguments) => transactions::list(ctx, &arguments).await,
        List::Task(_) => absent::not_yet("list task"),
        List::Snapshot(_) => absent::not_yet("list snapshot"),
    }
}

async fn delete(noun: Delete, ctx: &Ctx) -> CliResult {
    match noun {
        Delete::Project(arguments) => projects::delete(ctx, &arguments).await,
        Delete::Repo(arguments) => repos::delete(ctx, &arguments).await,
        Delete::Branch(arguments) => branches::delete(ctx, &arguments).await,
        Delete::Commit(arguments) => sets::delete(ctx, &arguments).await,
        Delete::CommitV2(arguments) => sets::delete_one(ctx, &arguments).await,
        Delete::File(arguments) => files::delete(ctx, &arguments).await,
        Delete::Pipeline(arguments) => pipelines::delete(ctx, &arguments).await,
        Delete::Job(arguments) => jobs::delete(ctx, &arguments).await,
        Delete::Secret(arguments) => secrets::delete(ctx, &arguments).await,
        Delete::Transaction(arguments) => transactions::delete(ctx, &arguments).await,
        Delete::Defaults(arguments) => defaults::delete(ctx, &arguments).await,
        Delete::All(arguments) => delete_all::run(ctx, &arguments).await,
        Delete::Snapshot(_) => absent::not_yet("delete snapshot"),
    }
}
