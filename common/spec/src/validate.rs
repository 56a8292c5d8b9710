//! The rules of a spec that do not depend on a running system.

use std::collections::BTreeMap;

use crate::error::SpecError;
use crate::quantity;
use crate::types::{Egress, PipelineSpec, ResourceSpec, SecretMount, Service, SqlDatabaseEgress, TolerationOperator};

mod inputs;
mod names;
mod support;

pub use support::unsupported;

/// Checks an effective spec; field paths of errors are in snake case.
///
/// A spec with `update` set may have no input; the pipeline then never runs. A caller that knows of an update from
/// another source (a flag, a request) sets the field first.
pub fn validate(spec: &PipelineSpec) -> Result<(), SpecError> {
    by_itself(spec)?;
    image(spec)?;
    needs(spec)
}

/// Checks the rules that do not depend on defaults.
pub(crate) fn by_itself(spec: &PipelineSpec) -> Result<(), SpecError> {
    names::pipeline(&spec.pipeline)?;
    names::branch("output_branch", &spec.output_branch)?;
    clashes(spec)?;
    spec.transform
        .secrets
        .iter()
        .enumerate()
        .try_for_each(|(index, secret)| secret_mount(index, secret))?;
    environment(&spec.transform.env)?;
    resources("resource_requests", spec.resource_requests.as_ref())?;
    resources("resource_limits", spec.resource_limits.as_ref())?;
    resources("sidecar_resource_requests", spec.sidecar_resource_requests.as_ref())?;
    resources("sidecar_resource_limits", spec.sidecar_resource_limits.as_ref())?;
    pods(spec)?;
    egress(spec.egress.as_ref())?;
    match &spec.input {
        Some(input) => inputs::check(input, &spec.pipeline),
        None => Ok(()),
    }
}

fn image(spec: &PipelineSpec) -> Result<(), SpecError> {
    let image = &spec.transform.image;
    if image.is_empty() {
        let error = SpecError::missing("transform.image", "no image specified");
        return Err(error.help("name the container image to run"));
    }
    if image.contains(|c: char| c.is_whitespace() || c.is_control()) {
        let what = format!("{image:?} is no image name: it contains white space");
        return Err(SpecError::invalid("transform.image", what));
    }
    Ok(())
}

/// Checks for kinds of pipeline that exclude each other, independent of defaults.
fn clashes(spec: &PipelineSpec) -> Result<(), SpecError> {
    let both = |field: &str, what: &str, help: &str| {
        let what = format!("cannot be combined with {what}");
        Err(SpecError::conflict(field, what).help(help))
    };
    let remove = "remove one of them";
    if spec.spout.is_some() && spec.service.is_some() {
        return both("service", "spout", "use spout.service to give the spout an address");
    }
    if spec.spout.is_some() && spec.autoscaling {
        return both("autoscaling", "spout, which never is idle", remove);
    }
    if spec.spout.is_some() && spec.s3_out {
        return both("s3_out", "spout", remove);
    }
    if spec.service.is_some() && spec.s3_out {
        return both("s3_out", "service, which has no output", remove);
    }
    if spec.service.is_some() && spec.parallelism != 1 {
        let what = format!("a service runs in exactly one worker, not {}", spec.parallelism);
        let error = SpecError::conflict("parallelism_spec.constant", what);
        return Err(error.help("write 1, or remove it"));
    }
    if spec.spec_commit.is_some() && spec.update {
        return both("spec_commit", "update", "it is only for restoring; remove it");
    }
    Ok(())
}

/// Checks for fields that a kind of pipeline requires and that may come from defaults.
fn needs(spec: &PipelineSpec) -> Result<(), SpecError> {
    match &spec.spout {
        Some(spout) if spec.input.is_some() && spout.service.is_none() => {
            let what = "a spout has no input unless it has a service";
            let error = SpecError::conflict("input", what);
            return Err(error.help("remove input, or add spout.service"));
        }
        None if spec.input.is_none() && !spec.update => {
            let error = SpecError::missing("input", "no input set");
            let help = "add \"input\": {\"pfs\": {\"repo\": \"...\", \"glob\": \"/*\"}}";
            return Err(error.help(help));
        }
        _ => {}
    }
    if spec.maximum_expected_uptime.is_some() && !spec.autoscaling {
        let what = "only makes sense together with autoscaling";
        let error = SpecError::conflict("maximum_expected_uptime", what);
        return Err(error.help("set autoscaling to true, or remove it"));
    }
    if let Some(service) = &spec.service {
        ports("service", service)?;
    }
    match spec.spout.as_ref().and_then(|spout| spout.service.as_ref()) {
        Some(service) => ports("spout.service", service),
        None => Ok(()),
    }
}

fn ports(path: &str, service: &Service) -> Result<(), SpecError> {
    if service.internal_port == 0 {
        let error = SpecError::missing(
            format!("{path}.internal_port"),
            "a service needs the port its code listens on",
        );
        return Err(error.help("write \"internal_port\": 8080 or the like"));
    }
    Ok(())
}

fn secret_mount(index: usize, secret: &SecretMount) -> Result<(), SpecError> {
    let path = |field: &str| format!("transform.secrets[{index}]{field}");
    if secret.name.is_empty() {
        return Err(SpecError::missing(path(".name"), "the secret has no name"));
    }
    if !secret.env_var.is_empty() && secret.key.is_empty() {
        let error = SpecError::missing(path(".key"), "env_var needs the key whose value the variable gets");
        return Err(error.help("add \"key\": \"...\""));
    }
    if secret.env_var.is_empty() && secret.mount_path.is_empty() {
        let error = SpecError::missing(path(""), "the secret goes nowhere");
        return Err(error.help("add env_var (with key) or mount_path"));
    }
    Ok(())
}

fn environment(env: &BTreeMap<String, String>) -> Result<(), SpecError> {
    match env.keys().find(|name| name.is_empty() || name.contains(['=', '\0'])) {
        None => Ok(()),
        Some(name) => {
            let what = format!("{name:?} is no name for a variable: it must not be empty or contain '='");
            Err(SpecError::invalid("transform.env", what))
        }
    }
}

fn resources(path: &str, spec: Option<&ResourceSpec>) -> Result<(), SpecError> {
    let Some(spec) = spec else { return Ok(()) };
    if spec.cpu < 0.0 || !spec.cpu.is_finite() {
        return Err(SpecError::invalid(
            format!("{path}.cpu"),
            "an amount may not be negative",
        ));
    }
    for (field, text) in [("memory", &spec.memory), ("disk", &spec.disk)] {
        if text.is_empty() {
            continue;
        }
        if let Err(error) = quantity::bytes(text) {
            let expected = "a quantity, such as \"64Mi\" or \"1G\"";
            let found = format!("{text:?} ({error})");
            let error = SpecError::mismatch(format!("{path}.{field}"), expected, found);
            let help = "units are Ki Mi Gi Ti Pi Ei (powers of 1024) and k M G T P E (powers of 1000)";
            return Err(error.help(help));
        }
    }
    Ok(())
}

/// Checks the fields that are for Kubernetes pods only.
fn pods(spec: &PipelineSpec) -> Result<(), SpecError> {
    let json = |field: &str, text: &str, expected: &str, fits: fn(&serde_json::Value) -> bool| {
        if text.is_empty() {
            return Ok(());
        }
        match serde_json::from_str::<serde_json::Value>(text) {
            Ok(value) if fits(&value) => Ok(()),
            Ok(_) => Err(SpecError::mismatch(field, expected, "other JSON")),
            Err(error) => Err(SpecError::mismatch(
                field,
                expected,
                format!("what is not JSON: {error}"),
            )),
        }
    };
    json(
        "pod_spec",
        &spec.pod_spec,
        "a string that holds a JSON object",
        |value| value.is_object(),
    )?;
    json(
        "pod_patch",
        &spec.pod_patch,
        "a string that holds a JSON patch, which is an array",
        |value| value.is_array(),
    )?;
    let unset = spec
        .tolerations
        .iter()
        .position(|toleration| toleration.operator == TolerationOperator::Empty);
    match unset {
        None => Ok(()),
        Some(index) => {
            let error = SpecError::missing(
                format!("tolerations[{index}].operator"),
                "the toleration has no operator",
            );
            Err(error.help("write EXISTS or EQUAL"))
        }
    }
}

const SCHEMES: [&str; 7] = ["s3", "gs", "gcs", "azblob", "wasb", "minio", "file"];

fn egress(egress: Option<&Egress>) -> Result<(), SpecError> {
    let (path, url) = match egress {
        None => return Ok(()),
        Some(Egress::SqlDatabase(sql)) => return sql_egress(sql),
        Some(Egress::Url(url)) => ("egress.URL", url),
        Some(Egress::ObjectStorage(target)) => ("egress.object_storage.url", &target.url),
    };
    let scheme = url.split_once("://").map(|(scheme, _)| scheme);
    if scheme.is_some_and(|scheme| SCHEMES.contains(&scheme)) {
        return Ok(());
    }
    let schemes = SCHEMES.map(|scheme| format!("{scheme}://")).join(", ");
    let error = SpecError::mismatch(
        path,
        "an object storage URL, such as \"s3://bucket/prefix\"",
        format!("{url:?}"),
    );
    Err(error.help(format!("it must begin with one of {schemes}")))
}

fn sql_egress(sql: &SqlDatabaseEgress) -> Result<(), SpecError> {
    const PATH: &str = "egress.sql_database";
    if sql.url.is_empty() {
        return Err(SpecError::missing(format!("{PATH}.url"), "the database has no URL"));
    }
    let secret = sql.secret.clone().unwrap_or_default();
    if secret.name.is_empty() || secret.key.is_empty() {
        let error = SpecError::missing(
            format!("{PATH}.secret"),
            "the password's secret needs both name and key",
        );
        return Err(error.help("write \"secret\": {\"name\": \"...\", \"key\": \"...\"}"));
    }
    Ok(())
}
