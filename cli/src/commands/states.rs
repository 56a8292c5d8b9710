//! States of pipelines, jobs and datums in words and colours.

use howdah_api::pps_v2::{DatumState, JobInfo, JobState, PipelineState};

use crate::error::CliError;
use crate::output::age::UNKNOWN;
use crate::output::color::Tone;
use crate::output::printer::Printer;

/// Most letters of a reason in a table.
const REASON_LETTERS: usize = 25;

/// Digits of a datum's id in a table.
const ID_DIGITS: usize = 4;

/// Returns a job's state in a word.
pub(super) fn job_state(state: JobState) -> &'static str {
    match state {
        JobState::Unknown => "unknown",
        JobState::JobCreated => UNKNOWN,
        JobState::JobStarting => "starting",
        JobState::JobRunning => "running",
        JobState::JobFailure => "failure",
        JobState::JobSuccess => "success",
        JobState::JobKilled => "killed",
        JobState::JobEgressing => "egressing",
        JobState::JobFinishing => "finishing",
        JobState::JobUnrunnable => "unrunnable",
    }
}

/// Returns the colour of a job's state.
pub(super) fn job_tone(state: JobState) -> Tone {
    match state {
        JobState::JobSuccess => Tone::Good,
        JobState::JobFailure | JobState::JobKilled | JobState::JobUnrunnable => Tone::Bad,
        _ => Tone::Busy,
    }
}

/// Returns whether a job has ended.
pub(super) fn job_is_over(state: JobState) -> bool {
    matches!(
        state,
        JobState::JobSuccess | JobState::JobFailure | JobState::JobKilled | JobState::JobUnrunnable
    )
}

/// Returns a job's state and shortened reason for a table.
pub(super) fn job_state_and_reason(info: &JobInfo, printer: &Printer) -> String {
    let state = info.state();
    let word = printer.paint(job_state(state), job_tone(state));
    if state == JobState::JobSuccess && info.data_total == info.data_skipped {
        return format!("{word}: there were no datums to process");
    }
    if info.reason.is_empty() {
        return word;
    }
    let reason = short_reason(&info.reason);
    let mut letters = reason.chars();
    let short: String = letters.by_ref().take(REASON_LETTERS).collect();
    let more = if letters.next().is_some() { "..." } else { "" };
    format!("{word}: {short}{more}")
}

/// Returns a reason in one line with the cause near its beginning.
///
/// A datum's id is cut to a few digits. Words before the cause that repeat the state, or that every reason has, are
/// omitted.
fn short_reason(text: &str) -> String {
    let words: Vec<&str> = text.split_whitespace().collect();
    let (id, rest) = match words.as_slice() {
        ["datum", id, rest @ ..] if is_datum_id(id) => (id, rest),
        _ => return words.join(" "),
    };
    let short = &id[..ID_DIGITS];
    match rest {
        ["failed:", "command", "exited", "with", "code", code, ..] => {
            format!("datum {short}: exit code {}", code.trim_end_matches(':'))
        }
        ["failed:", "command", "was", "killed", "by", "signal", signal, ..] => {
            format!("datum {short}: signal {signal}")
        }
        ["failed:", "command", "ran", "longer", ..] => format!("datum {short}: timed out"),
        ["failed:", "command", cause @ ..] | ["failed:", cause @ ..] => format!("datum {short}: {}", cause.join(" ")),
        rest => format!("datum {short}... {}", rest.join(" ")),
    }
}

fn is_datum_id(text: &str) -> bool {
    text.len() == 64 && text.bytes().all(|byte| byte.is_ascii_hexdigit())
}

/// Returns a pipeline's state in a word.
pub(super) fn pipeline_state(state: PipelineState) -> &'static str {
    match state {
        PipelineState::Unknown => "unknown",
        PipelineState::PipelineStarting => "starting",
        PipelineState::PipelineRunning => "running",
        PipelineState::PipelineRestarting => "restarting",
        PipelineState::PipelineFailure => "failure",
        PipelineState::PipelinePaused => "paused",
        PipelineState::PipelineStandby => "standby",
        PipelineState::PipelineCrashing => "crashing",
    }
}

/// Returns the colour of a pipeline's state.
pub(super) fn pipeline_tone(state: PipelineState) -> Tone {
    match state {
        PipelineState::PipelineRunning | PipelineState::PipelineStandby => Tone::Good,
        PipelineState::PipelineFailure | PipelineState::PipelineCrashing => Tone::Bad,
        _ => Tone::Busy,
    }
}

/// Returns a datum's state in a word.
pub(super) fn datum_state(state: DatumState) -> &'static str {
    match state {
        DatumState::Unknown => UNKNOWN,
        DatumState::Failed => "failed",
        DatumState::Success => "success",
        DatumState::Skipped => "skipped",
        DatumState::Starting => "starting",
        DatumState::Recovered => "recovered",
    }
}

/// Returns the colour of a datum's state.
pub(super) fn datum_tone(state: DatumState) -> Tone {
    match state {
        DatumState::Success | DatumState::Skipped => Tone::Good,
        DatumState::Failed => Tone::Bad,
        _ => Tone::Busy,
    }
}

/// Makes the filter for jobs in one of the named states; empty if none are named.
pub(super) fn job_filter(names: &[String]) -> Result<String, CliError> {
    let known = [
        "created",
        "starting",
        "running",
        "egressing",
        "finishing",
        "success",
        "failure",
        "killed",
        "unrunnable",
    ];
    filter(
        names,
        "JOB",
        &known,
        |name| if name == "egress" { "egressing" } else { name },
    )
}

/// Makes the filter for pipelines in one of the named states; empty if none are named.
pub(super) fn pipeline_filter(names: &[String]) -> Result<String, CliError> {
    let known = [
        "starting",
        "running",
        "restarting",
        "failure",
        "paused",
        "standby",
        "crashing",
    ];
    filter(names, "PIPELINE", &known, |name| name)
}

fn filter(names: &[String], prefix: &str, known: &[&str], alias: impl Fn(&str) -> &str) -> Result<String, CliError> {
    let mut terms = Vec::new();
    for name in names.iter().flat_map(|name| name.split(',')) {
        let lower = name.to_ascii_lowercase();
        let plain = lower
            .strip_prefix(&format!("{}_", prefix.to_ascii_lowercase()))
            .unwrap_or(&lower);
        let state = alias(plain);
        if !known.contains(&state) {
            return Err(CliError::refused(format!(
                "unknown state {name:?}: expected one of {}",
                known.join(", ")
            )));
        }
        terms.push(format!(".state == \"{prefix}_{}\"", state.to_ascii_uppercase()));
    }
    Ok(terms.join(" or "))
}

#[cfg(test)]
mod tests {
    use super::*;

    const PLAIN: Printer = Printer {
        colored: false,
        stdout_terminal: false,
        stderr_terminal: false,
    };

    #[test]
    fn reasons_are_cut() {
        let mut info = JobInfo {
            state: JobState::JobFailure as i32,
            reason: "an input commit of the job has an error".to_owned(),
            ..Default::default()
        };
        assert_eq!(
            job_state_and_reason(&info, &PLAIN),
            "failure: an input commit of the jo..."
        );
        info.reason = "job stopped".to_owned();
        assert_eq!(job_state_and_reason(&info, &PLAIN), "failure: job stopped");
    }

    #[test]
    fn the_cause_of_a_failed_datum_fits_into_the_table() {
        let shown = |cause: &str| {
            let info = JobInfo {
                state: JobState::JobFailure as i32,
                reason: format!("datum {} failed{cause}", "1f3c5e7a".repeat(8)),
                ..Default::default()
            };
            job_state_and_reason(&info, &PLAIN)
        };
        assert_eq!(shown(""), "failure: datum 1f3c... failed");
        assert_eq!(
            shown(": command exited with code 3"),
            "failure: datum 1f3c: exit code 3"
        );
        assert_eq!(
            shown(": command exited with code 127: boom:\nno such thing"),
            "failure: datum 1f3c: exit code 127"
        );
        assert_eq!(
            shown(": command was killed by signal 9 (SIGKILL)"),
            "failure: datum 1f3c: signal 9"
        );
        assert_eq!(
            shown(": command ran longer than datum_timeout allows (1.5s)"),
            "failure: datum 1f3c: timed out"
        );
    }

    #[test]
    fn success_without_work_says_so() {
        let mut info = JobInfo {
            state: JobState::JobSuccess as i32,
            ..Default::default()
        };
        assert_eq!(
            job_state_and_reason(&info, &PLAIN),
            "success: there were no datums to process"
        );
        info.data_total = 2;
        info.data_processed = 2;
        assert_eq!(job_state_and_reason(&info, &PLAIN), "success");
        info.state = JobState::JobCreated as i32;
        assert_eq!(job_state_and_reason(&info, &PLAIN), "-");
    }

    #[test]
    fn states_become_filters() {
        let names = |text: &[&str]| text.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>();
        assert_eq!(
            job_filter(&names(&["Failure", "egress"])).expect("a filter"),
            ".state == \"JOB_FAILURE\" or .state == \"JOB_EGRESSING\""
        );
        assert_eq!(job_filter(&[]).expect("a filter"), "");
        assert_eq!(
            pipeline_filter(&names(&["PIPELINE_PAUSED"])).expect("a filter"),
            ".state == \"PIPELINE_PAUSED\""
        );
        assert!(
            job_filter(&names(&["done"]))
                .unwrap_err()
                .to_string()
                .contains("expected one of created")
        );
    }
}
