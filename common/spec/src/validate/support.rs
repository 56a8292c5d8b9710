//! Fields that are accepted but not implemented.

use crate::types::{Input, PfsInput, PipelineSpec};

/// Returns the fields of a spec that are not implemented, in the order of the documentation.
///
/// A pipeline with such a field is refused with the name of the field; it must not run without it.
pub fn unsupported(spec: &PipelineSpec) -> Vec<&'static str> {
    let gpu = spec.resource_limits.as_ref().and_then(|limits| limits.gpu.as_ref());
    let transform = &spec.transform;
    let mut fields: Vec<&'static str> = [
        ("transform.secrets", !transform.secrets.is_empty()),
        ("transform.datum_batching", transform.datum_batching),
    ]
    .into_iter()
    .filter_map(given)
    .collect();
    if let Some(input) = &spec.input {
        input.visit(&mut |input| match input {
            Input::Pfs(pfs) => fields.extend(pfs_fields(pfs)),
            Input::Cross(_) | Input::Union(_) => {}
            Input::Join(_) => fields.push("input.join"),
            Input::Group(_) => fields.push("input.group"),
            Input::Cron(_) => fields.push("input.cron"),
        });
    }
    let rest = [
        ("s3_out", spec.s3_out),
        ("egress", spec.egress.is_some()),
        ("autoscaling", spec.autoscaling),
        ("resource_limits.gpu", gpu.is_some_and(|gpu| gpu.number > 0)),
        ("service", spec.service.is_some()),
        ("spout", spec.spout.is_some()),
        ("maximum_expected_uptime", spec.maximum_expected_uptime.is_some()),
        ("spec_commit", spec.spec_commit.is_some()),
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

fn pfs_fields(pfs: &PfsInput) -> impl Iterator<Item = &'static str> {
    let never = pfs.propagation_spec.is_some_and(|spec| spec.never);
    [
        ("input.pfs.lazy", pfs.lazy),
        ("input.pfs.empty_files", pfs.empty_files),
        ("input.pfs.s3", pfs.s3),
        ("input.pfs.trigger", pfs.trigger.is_some()),
        ("input.pfs.propagation_spec", never),
        ("input.pfs.reference", pfs.reference),
    ]
    .into_iter()
    .filter_map(given)
}
