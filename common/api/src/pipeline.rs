//! Between a pipeline specification and the messages that carry one.
//!
//! Both sides have the same canonical JSON, so that is the bridge: a specification is written as
//! JSON and read as a [`CreatePipelineRequest`]. What only our specifications can say
//! (`transform.writableInputs`) has no place on the wire and is left out there; it stays visible in
//! the JSON texts of [`PipelineInfo`](pps_v2::PipelineInfo).

use howdah_spec::PipelineSpec;
use serde_json::Value;

use crate::json::{self, JsonError};
use crate::pps_v2::{self, CreatePipelineRequest};

/// Turns a specification into the request that would create it.
pub fn request_of_spec(spec: &PipelineSpec) -> Result<CreatePipelineRequest, JsonError> {
    json::from_json_lenient(&howdah_spec::to_json(spec))
}

/// Turns a request into the JSON of a user's specification.
///
/// A service without ports, which some clients always send, is the same as none.
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

/// Returns the input tree of a specification as its message.
pub fn input_of_spec(spec: &PipelineSpec) -> Result<Option<pps_v2::Input>, JsonError> {
    Ok(request_of_spec(spec)?.input)
}

/// Turns an input tree's message into the JSON of a specification's `input`.
pub fn input_to_json(input: &pps_v2::Input) -> Result<Value, JsonError> {
    json::to_json(input)
}

/// Returns the part of a pipeline's details that its specification decides.
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

/// Returns the part of a job's details that its pipeline's specification decides.
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
