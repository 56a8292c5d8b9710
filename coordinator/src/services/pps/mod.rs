//! `pps_v2.API`: pipelines, jobs, datums, logs, secrets, defaults.

mod convert;
mod create;
mod datum;
mod defaults;
mod job;
mod jq;
mod known_datums;
mod logs;
mod pipeline;
pub mod requests;
mod secret;

use howdah_api::pps_v2 as pps;
use howdah_api::pps_v2::api_server::Api;
use howdah_queue::Queue;
use tonic::codegen::BoxStream;
use tonic::{Request, Response, Status, Streaming};

use crate::core::Core;

/// Answers `pps_v2.API`. Every call is handed to the module of its noun.
pub struct Pps {
    core: Core,
    /// The way to the workers, where there is one.
    queue: Option<Queue>,
}

impl Pps {
    /// Makes the service.
    pub fn new(core: Core, queue: Option<Queue>) -> Self {
        Self { core, queue }
    }
}

type Answer<T> = Result<Response<T>, Status>;
type Streamed<T> = Result<Response<BoxStream<T>>, Status>;

#[tonic::async_trait]
impl Api for Pps {
    async fn inspect_job(&self, request: Request<pps::InspectJobRequest>) -> Answer<pps::JobInfo> {
        job::inspect_job(&self.core, request.into_inner()).await
    }

    async fn inspect_job_set(&self, request: Request<pps::InspectJobSetRequest>) -> Streamed<pps::JobInfo> {
        job::inspect_job_set(&self.core, request.get_ref())
    }

    async fn list_job(&self, request: Request<pps::ListJobRequest>) -> Streamed<pps::JobInfo> {
        job::list_job(&self.core, request.get_ref())
    }

    async fn list_job_set(&self, request: Request<pps::ListJobSetRequest>) -> Streamed<pps::JobSetInfo> {
        job::list_job_set(&self.core, request.get_ref())
    }

    async fn subscribe_job(&self, request: Request<pps::SubscribeJobRequest>) -> Streamed<pps::JobInfo> {
        job::subscribe_job(&self.core, request.get_ref())
    }

    async fn delete_job(&self, request: Request<pps::DeleteJobRequest>) -> Answer<()> {
        job::delete_job(&self.core, request.into_inner()).await
    }

    async fn stop_job(&self, request: Request<pps::StopJobRequest>) -> Answer<()> {
        let (metadata, _, request) = request.into_parts();
        job::stop_job(&self.core, &metadata, request).await
    }

    async fn inspect_datum(&self, request: Request<pps::InspectDatumRequest>) -> Answer<pps::DatumInfo> {
        datum::inspect_datum(&self.core, request.into_inner()).await
    }

    async fn list_datum(&self, request: Request<pps::ListDatumRequest>) -> Streamed<pps::DatumInfo> {
        datum::list_datum(&self.core, request.into_inner()).await
    }

    async fn create_datum(&self, request: Request<Streaming<pps::CreateDatumRequest>>) -> Streamed<pps::DatumInfo> {
        datum::create_datum(&self.core, request.into_inner()).await
    }

    async fn restart_datum(&self, request: Request<pps::RestartDatumRequest>) -> Answer<()> {
        match &self.queue {
            Some(queue) => datum::restart_datum(&self.core, queue, request.into_inner()).await,
            None => Err(Status::unavailable("this server has no way to its workers")),
        }
    }

    async fn rerun_pipeline(&self, request: Request<pps::RerunPipelineRequest>) -> Answer<()> {
        pipeline::rerun_pipeline(&self.core, request.into_inner()).await
    }

    async fn create_pipeline(&self, request: Request<pps::CreatePipelineRequest>) -> Answer<()> {
        let (metadata, _, request) = request.into_parts();
        create::create_pipeline(&self.core, &metadata, request).await
    }

    async fn create_pipeline_v2(
        &self,
        request: Request<pps::CreatePipelineV2Request>,
    ) -> Answer<pps::CreatePipelineV2Response> {
        let (metadata, _, request) = request.into_parts();
        create::create_pipeline_v2(&self.core, &metadata, request).await
    }

    async fn inspect_pipeline(&self, request: Request<pps::InspectPipelineRequest>) -> Answer<pps::PipelineInfo> {
        pipeline::inspect_pipeline(&self.core, request.get_ref())
    }

    async fn list_pipeline(&self, request: Request<pps::ListPipelineRequest>) -> Streamed<pps::PipelineInfo> {
        pipeline::list_pipeline(&self.core, request.get_ref())
    }

    async fn delete_pipeline(&self, request: Request<pps::DeletePipelineRequest>) -> Answer<()> {
        pipeline::delete_pipeline(&self.core, request.into_inner()).await
    }

    async fn delete_pipelines(
        &self,
        request: Request<pps::DeletePipelinesRequest>,
    ) -> Answer<pps::DeletePipelinesResponse> {
        pipeline::delete_pipelines(&self.core, request.into_inner()).await
    }

    async fn start_pipeline(&self, request: Request<pps::StartPipelineRequest>) -> Answer<()> {
        pipeline::start_pipeline(&self.core, request.into_inner()).await
    }

    async fn stop_pipeline(&self, request: Request<pps::StopPipelineRequest>) -> Answer<()> {
        pipeline::stop_pipeline(&self.core, request.into_inner()).await
    }

    async fn run_cron(&self, request: Request<pps::RunCronRequest>) -> Answer<()> {
        pipeline::run_cron(&self.core, request.get_ref())
    }

    async fn create_secret(&self, request: Request<pps::CreateSecretRequest>) -> Answer<()> {
        secret::create_secret(&self.core, request.into_inner()).await
    }

    async fn delete_secret(&self, request: Request<pps::DeleteSecretRequest>) -> Answer<()> {
        secret::delete_secret(&self.core, request.into_inner()).await
    }

    async fn list_secret(&self, _: Request<()>) -> Answer<pps::SecretInfos> {
        Ok(secret::list_secret(&self.core))
    }

    async fn inspect_secret(&self, request: Request<pps::InspectSecretRequest>) -> Answer<pps::SecretInfo> {
        secret::inspect_secret(&self.core, request.get_ref())
    }

    async fn delete_all(&self, _: Request<()>) -> Answer<()> {
        pipeline::delete_all(&self.core).await
    }

    async fn get_logs(&self, request: Request<pps::GetLogsRequest>) -> Streamed<pps::LogMessage> {
        logs::get_logs(&self.core, request.into_inner())
    }

    async fn get_cluster_defaults(
        &self,
        _: Request<pps::GetClusterDefaultsRequest>,
    ) -> Answer<pps::GetClusterDefaultsResponse> {
        Ok(defaults::get_cluster_defaults(&self.core))
    }

    async fn set_cluster_defaults(
        &self,
        request: Request<pps::SetClusterDefaultsRequest>,
    ) -> Answer<pps::SetClusterDefaultsResponse> {
        defaults::set_cluster_defaults(&self.core, request.into_inner()).await
    }

    async fn get_project_defaults(
        &self,
        request: Request<pps::GetProjectDefaultsRequest>,
    ) -> Answer<pps::GetProjectDefaultsResponse> {
        defaults::get_project_defaults(&self.core, request.get_ref())
    }

    async fn set_project_defaults(
        &self,
        request: Request<pps::SetProjectDefaultsRequest>,
    ) -> Answer<pps::SetProjectDefaultsResponse> {
        defaults::set_project_defaults(&self.core, request.into_inner()).await
    }

    async fn pipelines_summary(
        &self,
        request: Request<pps::PipelinesSummaryRequest>,
    ) -> Answer<pps::PipelinesSummaryResponse> {
        pipeline::pipelines_summary(&self.core, request.get_ref())
    }
}
