//! The environment variables of user code. Pure functions without errors.

use howdah_protocol::objects::{Datum, JobPlan};
use howdah_stage_init::explain::DEFAULT_PATH;

use crate::context::DatumLocation;

/// Returns the variables of the datum and its job, which are also the content of `/pfs/.env`. Of several variables with
/// one name the last is valid.
pub(super) fn of_datum(plan: &JobPlan, datum: &Datum, location: &DatumLocation) -> Vec<(String, String)> {
    let mut vars: Vec<(String, String)> = plan
        .stage
        .env
        .iter()
        .map(|(name, value)| (name.clone(), value.clone()))
        .collect();
    let mut set = |name: &str, value: String| vars.push((name.to_owned(), value));
    set("PACH_IN_WORKER", "true".to_owned());
    set("PPS_PROJECT_NAME", plan.pipeline.project.to_string());
    set("PPS_PIPELINE_NAME", plan.pipeline.name.to_string());
    if let Some(commit) = &plan.spec_commit {
        set("PPS_SPEC_COMMIT", commit.to_string());
    }
    // For code that was written for Pachyderm on Kubernetes: there is no namespace or pod, so these have the nearest
    // value. Addresses of services that do not exist are not set.
    set("PACH_NAMESPACE", "default".to_owned());
    set("PPS_NAMESPACE", "default".to_owned());
    set("PPS_POD_NAME", location.worker.clone());
    set("PPS_WORKER_IP", location.host.clone());
    for input in &datum.inputs {
        let path = format!("/pfs/{}{}", input.name, input.path);
        set(&input.name, path.trim_end_matches('/').to_owned());
        set(&format!("{}_COMMIT", input.name), input.commit.to_string());
        for (kind, key) in [("JOIN_ON", &input.join_on), ("GROUP_BY", &input.group_by)] {
            if !key.is_empty() {
                set(&format!("PACH_DATUM_{}_{kind}", input.name), key.clone());
            }
        }
    }
    if !datum.inputs.is_empty() {
        set("PACH_DATUM_ID", datum.id.to_string());
    }
    set("PACH_JOB_ID", plan.job.to_string());
    set("PACH_OUTPUT_COMMIT_ID", plan.output_commit.to_string());
    if let Some(file_set) = &plan.file_set {
        set("FILESET_ID", file_set.clone());
    }
    vars
}

/// Returns the complete environment of a command: defaults, then the image's variables, then the datum's.
pub(super) fn of_command(
    image: &[(String, String)],
    datum: &[(String, String)],
    user: Option<&str>,
) -> Vec<(String, String)> {
    let mut vars = Vec::with_capacity(image.len() + datum.len() + 2);
    vars.push(("PATH".to_owned(), DEFAULT_PATH.to_owned()));
    vars.push(("HOME".to_owned(), home_of(user).to_owned()));
    vars.extend_from_slice(image);
    vars.extend_from_slice(datum);
    vars
}

/// Returns a value for `HOME`, because many programs fail without it.
fn home_of(user: Option<&str>) -> &'static str {
    let name = user.map(|user| user.split(':').next().unwrap_or(user));
    match name {
        None | Some("" | "0" | "root") => "/root",
        Some(_) => "/",
    }
}

/// Formats variables as `NAME=value` lines.
pub(super) fn as_lines(vars: &[(String, String)]) -> String {
    let mut lines = String::new();
    for (name, value) in vars {
        lines.push_str(name);
        lines.push('=');
        lines.push_str(value);
        lines.push('\n');
    }
    lines
}

#[cfg(test)]
mod tests {
    use howdah_protocol::testing::{datum, file_input, plan};

    use super::*;

    #[test]
    fn of_several_variables_with_one_name_the_last_is_valid() {
        let mut plan = plan("edges", 1, &["true"]);
        plan.stage.env.insert("images".into(), "overridden".into());
        plan.stage.env.insert("MODE".into(), "fast".into());
        let mut inputs = vec![file_input("images", "/a/1"), file_input("all", "/")];
        inputs[0].join_on = "k".into();
        let datum = datum(1, inputs);
        let location = DatumLocation {
            worker: "w".into(),
            host: "h".into(),
        };
        let vars = of_datum(&plan, &datum, &location);
        let last = |name: &str| {
            let found = vars.iter().rev().find(|(n, _)| n == name);
            found.map(|(_, value)| value.as_str())
        };
        assert_eq!(last("images"), Some("/pfs/images/a/1"));
        assert_eq!(last("all"), Some("/pfs/all"));
        assert_eq!(last("images_COMMIT"), Some(datum.inputs[0].commit.to_string().as_str()));
        assert_eq!(last("MODE"), Some("fast"));
        assert_eq!(last("PACH_DATUM_images_JOIN_ON"), Some("k"));
        assert_eq!(last("PACH_DATUM_images_GROUP_BY"), None);
        assert_eq!(last("PACH_IN_WORKER"), Some("true"));
        assert_eq!(last("PPS_PIPELINE_NAME"), Some("edges"));
        assert_eq!(last("PACH_DATUM_ID"), Some(datum.id.to_string().as_str()));
        assert_eq!(last("PACH_JOB_ID"), Some(plan.job.to_string().as_str()));
        assert!(as_lines(&vars).contains("\nPACH_IN_WORKER=true\n"));
    }

    #[test]
    fn the_image_may_set_path_and_home() {
        let image = [("PATH".to_owned(), "/opt".to_owned())];
        let vars = of_command(&image, &[], Some("joe"));
        assert_eq!(vars.last().unwrap().1, "/opt");
        assert!(vars.contains(&("HOME".to_owned(), "/".to_owned())));
    }
}
