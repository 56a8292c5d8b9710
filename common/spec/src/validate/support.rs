//! Fields that are accepted but not implemented.

use crate::types::{Input, PfsInput, PipelineSpec, ResourceSpec, Transform};

/// Returns the fields of a spec that are not implemented, in the order of the documentation.
///
/// A pipeline with such a field is refused with the name of the field; it must not run without it.
pub fn unsupported(spec: &PipelineSpec) -> Vec<&'static str> {
    // Every field by name, here and below: a new one does not compile until it is decided whether it is implemented.
    let PipelineSpec {
        transform,
        input,
        s3_out,
        egress,
        autoscaling,
        resource_limits,
        service,
        spout,
        maximum_expected_uptime,
        spec_commit,
        // Implemented.
        pipeline: _,
        description: _,
        metadata: _,
        parallelism: _,
        output_branch: _,
        update: _,
        reprocess: _,
        dry_run: _,
        reprocess_spec: _,
        salt: _,
        datum_tries: _,
        datum_timeout: _,
        job_timeout: _,
        datum_set_spec: _,
        // Stored for Kubernetes or for another product.
        resource_requests: _,
        sidecar_resource_requests: _,
        sidecar_resource_limits: _,
        scheduling_spec: _,
        tolerations: _,
        pod_spec: _,
        pod_patch: _,
        determined: _,
    } = spec;
    let Transform {
        secrets,
        datum_batching,
        // Implemented.
        image: _,
        cmd: _,
        stdin: _,
        err_cmd: _,
        err_stdin: _,
        env: _,
        accept_return_code: _,
        user: _,
        working_dir: _,
        writable_inputs: _,
        isolation: _,
        // Stored.
        image_pull_secrets: _,
        debug: _,
        dockerfile: _,
        memory_volume: _,
    } = transform;
    let mut fields: Vec<&'static str> = [
        ("transform.secrets", !secrets.is_empty()),
        ("transform.datum_batching", *datum_batching),
    ]
    .into_iter()
    .filter_map(given)
    .collect();
    if let Some(input) = input {
        input.visit(&mut |input| match input {
            Input::Pfs(pfs) => fields.extend(pfs_fields(pfs)),
            Input::Cross(_) | Input::Union(_) => {}
            Input::Join(_) => fields.push("input.join"),
            Input::Group(_) => fields.push("input.group"),
            Input::Cron(_) => fields.push("input.cron"),
        });
    }
    let rest = [
        ("s3_out", *s3_out),
        ("egress", egress.is_some()),
        ("autoscaling", *autoscaling),
        ("resource_limits.gpu", resource_limits.as_ref().is_some_and(limits_gpus)),
        ("service", service.is_some()),
        ("spout", spout.is_some()),
        ("maximum_expected_uptime", maximum_expected_uptime.is_some()),
        ("spec_commit", spec_commit.is_some()),
    ];
    fields.extend(rest.into_iter().filter_map(given));
    let mut seen = Vec::new();
    fields.retain(|field| {
        let new = !seen.contains(field);
        seen.push(*field);
        new
    });
    fields
}

fn given((field, given): (&'static str, bool)) -> Option<&'static str> {
    given.then_some(field)
}

fn limits_gpus(limits: &ResourceSpec) -> bool {
    let ResourceSpec {
        gpu,
        // Implemented, or stored.
        cpu: _,
        memory: _,
        disk: _,
    } = limits;
    gpu.as_ref().is_some_and(|gpu| gpu.number > 0)
}

fn pfs_fields(pfs: &PfsInput) -> impl Iterator<Item = &'static str> {
    let PfsInput {
        lazy,
        empty_files,
        s3,
        trigger,
        propagation_spec,
        reference,
        // Implemented.
        project: _,
        name: _,
        repo: _,
        repo_type: _,
        branch: _,
        glob: _,
        // Refused by the validation.
        commit: _,
        // Only joins and groups use them.
        join_on: _,
        outer_join: _,
        group_by: _,
    } = pfs;
    let never = propagation_spec.is_some_and(|spec| spec.never);
    [
        ("input.pfs.lazy", *lazy),
        ("input.pfs.empty_files", *empty_files),
        ("input.pfs.s3", *s3),
        ("input.pfs.trigger", trigger.is_some()),
        ("input.pfs.propagation_spec", never),
        ("input.pfs.reference", *reference),
    ]
    .into_iter()
    .filter_map(given)
}
