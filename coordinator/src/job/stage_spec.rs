//! From a pipeline's spec to what a worker needs to run its container. Pure.

use howdah_model::{ImagePin, PipelineVersion};
use howdah_protocol::objects::StageSpec;

/// Returns the stage of a pipeline version with a pinned image.
pub fn stage_spec(version: &PipelineVersion, image: ImagePin) -> StageSpec {
    let spec = &version.spec;
    let transform = &spec.transform;
    let text = |text: &String| (!text.is_empty()).then(|| text.clone());
    let lines = |lines: &Vec<String>| (!lines.is_empty()).then(|| lines.clone());
    let limits = spec.resource_limits.as_ref();
    StageSpec {
        image,
        cmd: transform.cmd.clone(),
        stdin: lines(&transform.stdin),
        err_cmd: lines(&transform.err_cmd),
        err_stdin: lines(&transform.err_stdin),
        env: transform.env.clone(),
        accept_return_code: transform.accept_return_code.clone(),
        user: text(&transform.user),
        working_dir: text(&transform.working_dir),
        datum_tries: spec.datum_tries.max(1),
        datum_timeout_ms: spec
            .datum_timeout
            .map(|limit| u64::try_from(limit.as_millis()).unwrap_or(u64::MAX)),
        writable_inputs: transform.writable_inputs,
        memory_bytes: limits.and_then(|limits| howdah_spec::quantity::bytes(&limits.memory).ok()),
        cpus: limits.map(|limits| limits.cpu).filter(|cpus| *cpus > 0.0),
        labels: spec
            .metadata
            .as_ref()
            .map(|metadata| metadata.labels.clone())
            .unwrap_or_default(),
    }
}
