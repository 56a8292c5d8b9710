//! From a pipeline's spec to what a worker needs to run its container. Pure.

use howdah_model::{ImagePin, PipelineVersion};
use howdah_protocol::objects::StageSpec;
use howdah_spec::{Isolation, PipelineSpec, Transform};

/// Returns the stage of a pipeline version with a pinned image.
pub fn stage_spec(version: &PipelineVersion, image: ImagePin) -> StageSpec {
    // Every field by name, here and below: a new one does not compile until it is decided whether a worker needs it.
    let PipelineSpec {
        transform,
        datum_tries,
        datum_timeout,
        resource_limits,
        metadata,
        // Used by the coordinator.
        pipeline: _,
        description: _,
        parallelism: _,
        input: _,
        output_branch: _,
        update: _,
        reprocess: _,
        dry_run: _,
        reprocess_spec: _,
        salt: _,
        job_timeout: _,
        datum_set_spec: _,
        // Stored, or not supported yet.
        s3_out: _,
        egress: _,
        autoscaling: _,
        resource_requests: _,
        sidecar_resource_requests: _,
        sidecar_resource_limits: _,
        scheduling_spec: _,
        tolerations: _,
        pod_spec: _,
        pod_patch: _,
        service: _,
        spout: _,
        maximum_expected_uptime: _,
        determined: _,
        spec_commit: _,
    } = &*version.spec;
    let Transform {
        cmd,
        stdin,
        err_cmd,
        err_stdin,
        env,
        accept_return_code,
        user,
        working_dir,
        writable_inputs,
        isolation,
        // The pinned image takes its place.
        image: _,
        // Stored, or not supported yet.
        secrets: _,
        image_pull_secrets: _,
        debug: _,
        dockerfile: _,
        memory_volume: _,
        datum_batching: _,
    } = transform;
    let text = |text: &String| (!text.is_empty()).then(|| text.clone());
    let lines = |lines: &Vec<String>| (!lines.is_empty()).then(|| lines.clone());
    let limits = resource_limits.as_ref();
    StageSpec {
        image,
        cmd: cmd.clone(),
        stdin: lines(stdin),
        err_cmd: lines(err_cmd),
        err_stdin: lines(err_stdin),
        env: env.clone(),
        accept_return_code: accept_return_code.clone(),
        user: text(user),
        working_dir: text(working_dir),
        datum_tries: (*datum_tries).max(1),
        datum_timeout_ms: datum_timeout.map(|limit| u64::try_from(limit.as_millis()).unwrap_or(u64::MAX)),
        writable_inputs: *writable_inputs,
        new_stage_for_each_try: *isolation == Isolation::Strict,
        memory_bytes: limits.and_then(|limits| howdah_spec::quantity::bytes(&limits.memory).ok()),
        cpus: limits.map(|limits| limits.cpu).filter(|cpus| *cpus > 0.0),
        labels: metadata
            .as_ref()
            .map(|metadata| metadata.labels.clone())
            .unwrap_or_default(),
    }
}
