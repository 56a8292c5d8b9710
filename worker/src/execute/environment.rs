//! The variables that user code sees: pure.

use howdah_protocol::objects::{Datum, JobPlan};

/// Search path where the image sets none.
const DEFAULT_PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// Facts about the worker that user code may ask for.
#[derive(Clone, Debug)]
pub struct Whereabouts {
    /// The worker's name.
    pub worker: String,
    /// The machine's name.
    pub host: String,
}

/// Returns the variables that belong to the datum and its job, later ones winning. This is what
/// `/pfs/.env` holds.
pub fn of_datum(plan: &JobPlan, datum: &Datum, place: &Whereabouts) -> Vec<(String, String)> {
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
    // There is no namespace, pod or etcd; code written for them finds what it can use. Ports of
    // services that do not exist are not announced.
    set("PACH_NAMESPACE", "default".to_owned());
    set("PPS_NAMESPACE", "default".to_owned());
    set("PPS_POD_NAME", place.worker.clone());
    set("PPS_WORKER_IP", place.host.clone());
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

/// Returns the complete environment of the command: the image's, then the datum's.
pub fn of_command(image: &[(String, String)], datum: &[(String, String)], user: Option<&str>) -> Vec<(String, String)> {
    let mut vars = Vec::with_capacity(image.len() + datum.len() + 2);
    vars.push(("PATH".to_owned(), DEFAULT_PATH.to_owned()));
    vars.push(("HOME".to_owned(), home_of(user).to_owned()));
    vars.extend_from_slice(image);
    vars.extend_from_slice(datum);
    vars
}

/// Guesses a home folder, for the many programs that fail without the variable.
fn home_of(user: Option<&str>) -> &'static str {
    let name = user.map(|user| user.split(':').next().unwrap_or(user));
    match name {
        None | Some("" | "0" | "root") => "/root",
        Some(_) => "/",
    }
}

/// Writes variables as `NAME=value` lines.
pub fn as_lines(vars: &[(String, String)]) -> String {
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
    use super::*;
    use crate::testing::{datum, file_input, plan};

    #[test]
    fn variables_come_in_order_and_the_last_wins() {
        let mut plan = plan("default/edges", &["true"]);
        plan.stage.env.insert("images".into(), "overridden".into());
        plan.stage.env.insert("MODE".into(), "fast".into());
        let mut inputs = vec![file_input("images", "/a/1"), file_input("all", "/")];
        inputs[0].join_on = "k".into();
        let datum = datum(1, inputs);
        let place = Whereabouts {
            worker: "w".into(),
            host: "h".into(),
        };
        let vars = of_datum(&plan, &datum, &place);
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
