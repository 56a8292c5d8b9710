//! `pps_v2.API`: pipelines, jobs, datums, logs, secrets, defaults.
//!
//! A file imports only files below it in this list:
//!
//! - [`create`], [`datum`], [`defaults`], [`job`], [`logs`], [`pipeline`], [`secret`]: the calls, by noun.
//! - [`requests`]: requests as commands and back.
//! - [`datum_page`], and below it [`datum_sorter`]: pages of lists of datums.
//! - [`checked_spec`]: specifications. [`known_datums`]: the datums of a job. [`jq`]: filters of lists.
//!   [`convert`]: the state as messages.

mod checked_spec;
mod convert;
mod create;
mod datum;
mod datum_page;
mod datum_sorter;
mod defaults;
mod job;
mod jq;
mod known_datums;
mod logs;
mod pipeline;
pub(super) mod requests;
mod secret;

use howdah_api::pps_v2 as pps;
use howdah_api::pps_v2::api_server::Api;
use howdah_queue::CoordinatorQueue;
use tonic::{Request, Status, Streaming};

use super::reply::{StreamReply, UnaryReply};
use crate::metadata::Core;

/// Answers `pps_v2.API`. The file of its noun answers each call.
pub struct PpsService {
    core: Core,
    /// The connection to the workers, if there is one.
    queue: Option<CoordinatorQueue>,
}

impl PpsService {
    /// Makes the service.
    pub fn new(core: Core, queue: Option<CoordinatorQueue>) -> Self {
        Self { core, queue }
    }
}

#[tonic::async_trait]
impl Api for PpsService {
    async fn inspect_job(&self, request: Request<pps::InspectJobRequest>) -> UnaryReply<pps::JobInfo> {
        job::inspect_job(&self.core, request.into_inner()).await
    }

    async fn inspect_job_set(&self, request: Request<pps::InspectJobSetRequest>) -> StreamReply<pps::JobInfo> {
        job::inspect_job_set(&self.core, request.get_ref())
    }

    async fn list_job(&self, request: Request<pps::ListJobRequest>) -> StreamReply<pps::JobInfo> {
        job::list_job(&self.core, request.get_ref())
    }

    async fn list_job_set(&self, request: Request<pps::ListJobSetRequest>) -> StreamReply<pps::JobSetInfo> {
        job::list_job_set(&self.core, request.get_ref())
    }

    async fn subscribe_job(&self, request: Request<pps::SubscribeJobRequest>) -> StreamReply<pps::JobInfo> {
        job::subscribe_job(&self.core, request.get_ref())
    }

    async fn delete_job(&self, request: Request<pps::DeleteJobRequest>) -> UnaryReply<()> {
        job::delete_job(&self.core, request.into_inner()).await
    }

    async fn stop_job(&self, request: Request<pps::StopJobRequest>) -> UnaryReply<()> {
        let (metadata, _, request) = request.into_parts();
        job::stop_job(&self.core, &metadata, request).await
    }

    async fn inspect_datum(&self, request: Request<pps::InspectDatumRequest>) -> UnaryReply<pps::DatumInfo> {
        datum::inspect_datum(&self.core, request.into_inner()).await
    }

    async fn list_datum(&self, request: Request<pps::ListDatumRequest>) -> StreamReply<pps::DatumInfo> {
        datum::list_datum(&self.core, request.get_ref())
    }

    async fn create_datum(&self, request: Request<Streaming<pps::CreateDatumRequest>>) -> StreamReply<pps::DatumInfo> {
        datum::create_datum(&self.core, request.into_inner()).await
    }

    async fn restart_datum(&self, request: Request<pps::RestartDatumRequest>) -> UnaryReply<()> {
        match &self.queue {
            Some(queue) => datum::restart_datum(&self.core, queue, request.into_inner()).await,
            None => Err(Status::unavailable("this server has no connection to its workers")),
        }
    }

    async fn rerun_pipeline(&self, request: Request<pps::RerunPipelineRequest>) -> UnaryReply<()> {
        pipeline::rerun_pipeline(&self.core, request.into_inner()).await
    }

    async fn create_pipeline(&self, request: Request<pps::CreatePipelineRequest>) -> UnaryReply<()> {
        let (metadata, _, request) = request.into_parts();
        create::create_pipeline(&self.core, &metadata, request).await
    }

    async fn create_pipeline_v2(
        &self,
        request: Request<pps::CreatePipelineV2Request>,
    ) -> UnaryReply<pps::CreatePipelineV2Response> {
        let (metadata, _, request) = request.into_parts();
        create::create_pipeline_v2(&self.core, &metadata, request).await
    }

    async fn inspect_pipeline(&self, request: Request<pps::InspectPipelineRequest>) -> UnaryReply<pps::PipelineInfo> {
        pipeline::inspect_pipeline(&self.core, request.get_ref())
    }

    async fn list_pipeline(&self, request: Request<pps::ListPipelineRequest>) -> StreamReply<pps::PipelineInfo> {
        pipeline::list_pipeline(&self.core, request.get_ref())
    }

    async fn delete_pipeline(&self, request: Request<pps::DeletePipelineRequest>) -> UnaryReply<()> {
        pipeline::delete_pipeline(&self.core, request.into_inner()).await
    }

    async fn delete_pipelines(
        &self,
        request: Request<pps::DeletePipelinesRequest>,
    ) -> UnaryReply<pps::DeletePipelinesResponse> {
        pipeline::delete_pipelines(&self.core, request.into_inner()).await
    }

    async fn start_pipeline(&self, request: Request<pps::StartPipelineRequest>) -> UnaryReply<()> {
        pipeline::start_pipeline(&self.core, request.into_inner()).await
    }

    async fn stop_pipeline(&self, request: Request<pps::StopPipelineRequest>) -> UnaryReply<()> {
        pipeline::stop_pipeline(&self.core, request.into_inner()).await
    }

    async fn run_cron(&self, request: Request<pps::RunCronRequest>) -> UnaryReply<()> {
        pipeline::run_cron(&self.core, request.get_ref())
    }

    async fn create_secret(&self, request: Request<pps::CreateSecretRequest>) -> UnaryReply<()> {
        secret::create_secret(&self.core, request.into_inner()).await
    }

    async fn delete_secret(&self, request: Request<pps::DeleteSecretRequest>) -> UnaryReply<()> {
        secret::delete_secret(&self.core, request.into_inner()).await
    }

    async fn list_secret(&self, _: Request<()>) -> UnaryReply<pps::SecretInfos> {
        Ok(secret::list_secret(&self.core))
    }

    async fn inspect_secret(&self, request: Request<pps::InspectSecretRequest>) -> UnaryReply<pps::SecretInfo> {
        secret::inspect_secret(&self.core, request.get_ref())
    }

    async fn delete_all(&self, _: Request<()>) -> UnaryReply<()> {
        pipeline::delete_all(&self.core).await
    }

    async fn get_logs(&self, request: Request<pps::GetLogsRequest>) -> StreamReply<pps::LogMessage> {
        logs::get_logs(&self.core, request.into_inner()).await
    }

    async fn get_cluster_defaults(
        &self,
        _: Request<pps::GetClusterDefaultsRequest>,
    ) -> UnaryReply<pps::GetClusterDefaultsResponse> {
        Ok(defaults::get_cluster_defaults(&self.core))
    }

    async fn set_cluster_defaults(
        &self,
        request: Request<pps::SetClusterDefaultsRequest>,
    ) -> UnaryReply<pps::SetClusterDefaultsResponse> {
        defaults::set_cluster_defaults(&self.core, request.into_inner()).await
    }

    async fn get_project_defaults(
        &self,
        request: Request<pps::GetProjectDefaultsRequest>,
    ) -> UnaryReply<pps::GetProjectDefaultsResponse> {
        defaults::get_project_defaults(&self.core, request.get_ref())
    }

    async fn set_project_defaults(
        &self,
        request: Request<pps::SetProjectDefaultsRequest>,
    ) -> UnaryReply<pps::SetProjectDefaultsResponse> {
        defaults::set_project_defaults(&self.core, request.into_inner()).await
    }

    async fn pipelines_summary(
        &self,
        request: Request<pps::PipelinesSummaryRequest>,
    ) -> UnaryReply<pps::PipelinesSummaryResponse> {
        pipeline::pipelines_summary(&self.core, request.get_ref())
    }
}
