//! Conversions between pipeline specs and messages.
//!
//! Both have the same canonical JSON: a spec is written as JSON and read as a [`CreatePipelineRequest`]. A field that
//! only Howdah has (`transform.writableInputs`) is not in the message; the JSON texts of
//! [`PipelineInfo`](pps_v2::PipelineInfo) have it.

use howdah_spec::PipelineSpec;
use serde_json::Value;

use crate::json::{self, JsonError};
use crate::pps_v2::{self, CreatePipelineRequest};

/// Returns the request that creates a pipeline with this spec.
pub fn request_of_spec(spec: &PipelineSpec) -> Result<CreatePipelineRequest, JsonError> {
    json::from_json_lenient(&howdah_spec::to_json(spec))
}

/// Returns the spec of a request as JSON, as a user would write it.
///
/// Some clients always send a service, without ports. It is left out.
pub fn request_to_json(request: &CreatePipelineRequest) -> Result<Value, JsonError> {
    let mut request = request.clone();
    if request.service.as_ref().is_some_and(without_ports) {
        request.service = None;
    }
    if let Some(spout) = &mut request.spout
        && spout.service.as_ref().is_some_and(without_ports)
    {
        spout.service = None;
    }
    json::to_json(&request)
}

fn without_ports(service: &pps_v2::Service) -> bool {
    service.internal_port == 0 && service.external_port == 0
}

/// Returns the input of a spec as a message.
pub fn input_of_spec(spec: &PipelineSpec) -> Result<Option<pps_v2::Input>, JsonError> {
    Ok(request_of_spec(spec)?.input)
}

/// Returns the message of an input as the JSON of `input` in a spec.
pub fn input_to_json(input: &pps_v2::Input) -> Result<Value, JsonError> {
    json::to_json(input)
}

/// Returns the details of a pipeline that come from its spec.
pub fn pipeline_details(request: CreatePipelineRequest) -> pps_v2::pipeline_info::Details {
    pps_v2::pipeline_info::Details {
        transform: request.transform,
        tf_job: request.tf_job,
        parallelism_spec: request.parallelism_spec,
        egress: request.egress,
        output_branch: request.output_branch,
        resource_requests: request.resource_requests,
        resource_limits: request.resource_limits,
        sidecar_resource_limits: request.sidecar_resource_limits,
        sidecar_resource_requests: request.sidecar_resource_requests,
        input: request.input,
        description: request.description,
        salt: request.salt,
        service: request.service,
        spout: request.spout,
        datum_set_spec: request.datum_set_spec,
        datum_timeout: request.datum_timeout,
        job_timeout: request.job_timeout,
        datum_tries: request.datum_tries,
        scheduling_spec: request.scheduling_spec,
        pod_spec: request.pod_spec,
        pod_patch: request.pod_patch,
        s3_out: request.s3_out,
        metadata: request.metadata,
        reprocess_spec: request.reprocess_spec,
        autoscaling: request.autoscaling,
        tolerations: request.tolerations,
        determined: request.determined,
        maximum_expected_uptime: request.maximum_expected_uptime,
        ..Default::default()
    }
}

/// Returns the details of a job that come from the spec of its pipeline.
pub fn job_details(request: CreatePipelineRequest) -> pps_v2::job_info::Details {
    pps_v2::job_info::Details {
        transform: request.transform,
        parallelism_spec: request.parallelism_spec,
        egress: request.egress,
        service: request.service,
        spout: request.spout,
        worker_status: Vec::new(),
        resource_requests: request.resource_requests,
        resource_limits: request.resource_limits,
        sidecar_resource_limits: request.sidecar_resource_limits,
        sidecar_resource_requests: request.sidecar_resource_requests,
        input: request.input,
        salt: request.salt,
        datum_set_spec: request.datum_set_spec,
        datum_timeout: request.datum_timeout,
        job_timeout: request.job_timeout,
        datum_tries: request.datum_tries,
        scheduling_spec: request.scheduling_spec,
        pod_spec: request.pod_spec,
        pod_patch: request.pod_patch,
    }
}
