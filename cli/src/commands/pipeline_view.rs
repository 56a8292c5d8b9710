//! Pipelines as table rows and as descriptions.

use howdah_api::json;
use howdah_api::pps_v2::{self, Input};
use prost::{Message, Name};
use serde_json::Value;

use super::states;
use crate::output::age::Clock;
use crate::output::color::Tone;
use crate::output::fields::Fields;
use crate::output::printer::Printer;
use crate::wire;

/// The columns of a table of pipelines.
pub(super) const HEADER: &[&str] = &[
    "PROJECT",
    "NAME",
    "VERSION",
    "INPUT",
    "CREATED",
    "STATE / LAST JOB",
    "ALERTS",
    "DESCRIPTION",
];

/// Returns the row of a pipeline.
pub(super) fn row(info: &pps_v2::PipelineInfo, clock: &Clock, printer: &Printer) -> Vec<String> {
    let project = wire::pipeline_project(info.pipeline.as_ref());
    let details = info.details.clone().unwrap_or_default();
    let state = printer.paint(
        states::pipeline_state(info.state()),
        states::pipeline_tone(info.state()),
    );
    let last = info.last_job_state();
    let last = printer.paint(states::job_state(last), states::job_tone(last));
    vec![
        project.to_owned(),
        wire::pipeline_name(info.pipeline.as_ref()).to_owned(),
        info.version.to_string(),
        short_input(details.input.as_ref(), project),
        clock.moment(wire::moment(details.created_at.as_ref())),
        format!("{state} / {last}"),
        if has_alert(&details, clock) { "*" } else { "" }.to_owned(),
        details.description,
    ]
}

/// Returns whether the last job of a pipeline has failed.
pub(super) fn last_job_failed(info: &pps_v2::PipelineInfo) -> bool {
    states::job_tone(info.last_job_state()) == Tone::Bad
}

/// Returns whether the workers have been running longer than the spec expects.
fn has_alert(details: &pps_v2::pipeline_info::Details, clock: &Clock) -> bool {
    let started = wire::moment(details.workers_started_at.as_ref());
    let limit = details
        .maximum_expected_uptime
        .as_ref()
        .map(howdah_api::convert::from_duration);
    match (started, limit) {
        (Some(started), Some(limit)) if !limit.is_zero() => {
            jiff::SignedDuration::try_from(limit).is_ok_and(|limit| clock.now.duration_since(started) > limit)
        }
        _ => false,
    }
}

/// Returns an input in shorthand: `project/repo:glob`, `(a ⨯ b)`, `name:schedule`, `none`.
fn short_input(input: Option<&Input>, project: &str) -> String {
    let Some(input) = input else { return "none".to_owned() };
    let joined = |parts: &[Input], sign: &str| {
        let parts: Vec<_> = parts.iter().map(|part| short_input(Some(part), project)).collect();
        parts.join(sign)
    };
    if let Some(pfs) = &input.pfs {
        let project = if pfs.project.is_empty() { project } else { &pfs.project };
        format!("{project}/{}:{}", pfs.repo, pfs.glob)
    } else if let Some(cron) = &input.cron {
        format!("{}:{}", cron.name, cron.spec)
    } else if !input.cross.is_empty() {
        format!("({})", joined(&input.cross, " ⨯ "))
    } else if !input.join.is_empty() {
        format!("({})", joined(&input.join, " ⋈ "))
    } else if !input.union.is_empty() {
        format!("({})", joined(&input.union, " ∪ "))
    } else if !input.group.is_empty() {
        format!("(Group: {})", joined(&input.group, ", "))
    } else {
        "none".to_owned()
    }
}

/// Returns a message as indented JSON; empty without a message.
pub(super) fn pretty<M: Message + Name>(message: Option<&M>) -> String {
    message
        .and_then(|message| json::to_json(message).ok())
        .map_or(String::new(), |value| format!("{value:#}"))
}

/// Returns resources in words: `cpu: 1, memory: 64M`.
pub(super) fn resources(spec: Option<&pps_v2::ResourceSpec>) -> String {
    let Some(spec) = spec else { return String::new() };
    let mut parts = Vec::new();
    if spec.cpu > 0.0 {
        parts.push(format!("cpu: {}", spec.cpu));
    }
    if !spec.memory.is_empty() {
        parts.push(format!("memory: {}", spec.memory));
    }
    if !spec.disk.is_empty() {
        parts.push(format!("disk: {}", spec.disk));
    }
    if let Some(gpu) = &spec.gpu {
        parts.push(format!("gpu: {} {}", gpu.number, gpu.r#type));
    }
    parts.join(", ")
}

/// Returns the description of a pipeline, a line or a block for each property.
pub(super) fn describe(info: &pps_v2::PipelineInfo, clock: &Clock, printer: &Printer) -> String {
    let details = info.details.clone().unwrap_or_default();
    let reason = if info.reason.is_empty() {
        &details.reason
    } else {
        &info.reason
    };
    let mut fields = Fields::new();
    fields
        .line("Name", wire::pipeline_name(info.pipeline.as_ref()))
        .maybe("Description", &details.description)
        .line("Version", info.version.to_string())
        .line("Created", clock.moment(wire::moment(details.created_at.as_ref())))
        .line(
            "State",
            printer.paint(
                states::pipeline_state(info.state()),
                states::pipeline_tone(info.state()),
            ),
        )
        .maybe("Reason", reason)
        .line(
            "Workers Available",
            format!("{}/{}", details.workers_available, details.workers_requested),
        )
        .line("Stopped", info.stopped.to_string());
    if let Some(parallelism) = &details.parallelism_spec {
        fields.line("Parallelism Spec", format!("constant: {}", parallelism.constant.max(1)));
    }
    fields
        .maybe("Resource Requests", resources(details.resource_requests.as_ref()))
        .maybe("Resource Limits", resources(details.resource_limits.as_ref()))
        .maybe(
            "Sidecar Resource Requests",
            resources(details.sidecar_resource_requests.as_ref()),
        )
        .maybe(
            "Sidecar Resource Limits",
            resources(details.sidecar_resource_limits.as_ref()),
        )
        .line("Datum Timeout", limit(details.datum_timeout.as_ref()))
        .line("Job Timeout", limit(details.job_timeout.as_ref()));
    block(&mut fields, "Input", pretty(details.input.as_ref()));
    fields.line("Output Branch", &details.output_branch);
    block(&mut fields, "Transform", pretty(details.transform.as_ref()));
    block(&mut fields, "Egress", pretty(details.egress.as_ref()));
    fields.maybe("Recent Error", &details.recent_error);
    block(&mut fields, "User Spec", reformat(&info.user_spec_json));
    block(&mut fields, "Effective Spec", reformat(&info.effective_spec_json));
    fields.text().to_owned()
}

/// Returns a time limit in words; `-` if there is none.
pub(super) fn limit(duration: Option<&prost_types::Duration>) -> String {
    wire::duration(duration.filter(|duration| duration.seconds != 0 || duration.nanos != 0))
}

/// Adds a block unless it is empty.
pub(super) fn block(fields: &mut Fields, name: &str, text: String) {
    if !text.is_empty() {
        fields.block(name, text);
    }
}

/// Indents JSON text; returns other text unchanged.
fn reformat(text: &str) -> String {
    serde_json::from_str::<Value>(text).map_or(text.to_owned(), |value| format!("{value:#}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use howdah_api::convert;

    const PLAIN: Printer = Printer {
        colored: false,
        stdout_terminal: false,
        stderr_terminal: false,
    };

    fn pfs(repo: &str, glob: &str) -> Input {
        Input {
            pfs: Some(pps_v2::PfsInput {
                repo: repo.to_owned(),
                glob: glob.to_owned(),
                ..Default::default()
            }),
            ..Default::default()
        }
    }

    #[test]
    fn inputs_have_a_shorthand() {
        let cross = Input {
            cross: vec![pfs("a", "/"), pfs("b", "/*")],
            ..Default::default()
        };
        assert_eq!(short_input(Some(&cross), "default"), "(default/a:/ ⨯ default/b:/*)");
        let group = Input {
            group: vec![pfs("a", "/(*)")],
            ..Default::default()
        };
        let union = Input {
            union: vec![cross, group],
            ..Default::default()
        };
        assert_eq!(
            short_input(Some(&union), "vision"),
            "((vision/a:/ ⨯ vision/b:/*) ∪ (Group: vision/a:/(*)))"
        );
        let cron = pps_v2::CronInput {
            name: "tick".to_owned(),
            spec: "@daily".to_owned(),
            ..Default::default()
        };
        assert_eq!(
            short_input(
                Some(&Input {
                    cron: Some(cron),
                    ..Default::default()
                }),
                "default"
            ),
            "tick:@daily"
        );
        assert_eq!(short_input(None, "default"), "none");
    }

    #[test]
    fn a_pipeline_is_listed_and_described() {
        let now = "2026-11-24T06:00:00Z".parse().expect("a time");
        let clock = Clock { now, full: false };
        let info = pps_v2::PipelineInfo {
            pipeline: Some(convert::pipeline("default", "edges")),
            version: 2,
            state: pps_v2::PipelineState::PipelineCrashing as i32,
            reason: "image edges:1 cannot be pulled: no such image".to_owned(),
            last_job_state: pps_v2::JobState::JobSuccess as i32,
            details: Some(pps_v2::pipeline_info::Details {
                created_at: Some(convert::to_timestamp(now)),
                input: Some(pfs("images", "/*")),
                output_branch: "master".to_owned(),
                workers_requested: 1,
                transform: Some(pps_v2::Transform {
                    image: "edges:1".to_owned(),
                    ..Default::default()
                }),
                ..Default::default()
            }),
            user_spec_json: "{\"pipeline\":{\"name\":\"edges\"}}".to_owned(),
            ..Default::default()
        };
        insta::assert_snapshot!(crate::output::table::render(HEADER, vec![row(&info, &clock, &PLAIN)]), @r"
        PROJECT NAME  VERSION INPUT             CREATED                STATE / LAST JOB   ALERTS DESCRIPTION
        default edges 2       default/images:/* Less than a second ago crashing / success
        ");
        insta::assert_snapshot!(describe(&info, &clock, &PLAIN));
    }
}
