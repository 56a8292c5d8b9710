//! Messages about failed runs of a command, for users. Pure functions.

use std::time::Duration;

use howdah_protocol::objects::StageSpec;

use crate::runtime::{RunOutcome, RuntimeError};

/// Returns the message for a container that ended while the command ran.
pub(crate) fn of_loss(error: &RuntimeError) -> String {
    format!("the container ended while the command ran: did it kill process 1 or run out of memory? ({error})")
}

/// Returns the message for a failed run, with advice that the end of its standard error suggests.
pub(crate) fn of_run(stage: &StageSpec, outcome: &RunOutcome, stderr_tail: &str) -> String {
    let mut reason = match outcome {
        RunOutcome::Exited(code) => format!("command exited with code {code}"),
        RunOutcome::Signaled(signal) => {
            let mut text = format!("command was killed by signal {signal}{}", signal_name(*signal));
            if *signal == libc::SIGKILL
                && let Some(limit) = stage.memory_bytes
            {
                let mib = limit >> 20;
                text.push_str(&format!(
                    "; it may have needed more than its memory limit of {mib} MiB \
                     (resource_limits.memory)"
                ));
            }
            text
        }
        RunOutcome::TimedOut => {
            let limit = Duration::from_millis(stage.datum_timeout_ms.unwrap_or(0));
            format!("command ran longer than datum_timeout allows ({limit:?})")
        }
        RunOutcome::Cancelled => "command was stopped".to_owned(),
        RunOutcome::SpawnFailed(text) | RunOutcome::NotEmptied(text) => text.clone(),
    };
    if let Some(last) = stderr_tail.lines().rev().find(|line| !line.trim().is_empty()) {
        let shown: String = last.trim().chars().take(300).collect();
        reason.push_str(&format!(": {shown}"));
    }
    if !stage.writable_inputs && stderr_tail.contains("Read-only file system") {
        reason.push_str(
            " (inputs are read-only: write below /pfs/out or /tmp, or set \
             transform.writable_inputs: true to get private copies)",
        );
    }
    reason
}

fn signal_name(signal: i32) -> String {
    nix::sys::signal::Signal::try_from(signal).map_or_else(|_| String::new(), |signal| format!(" ({signal})"))
}

#[cfg(test)]
mod tests {
    use howdah_protocol::testing::plan;

    use super::*;

    #[test]
    fn messages_name_cause_and_advice() {
        let mut stage = plan("edges", 1, &["x"]).stage;
        stage.datum_timeout_ms = Some(1500);
        let case = |outcome, errors| of_run(&stage, &outcome, errors);
        assert_eq!(case(RunOutcome::Exited(3), ""), "command exited with code 3");
        assert_eq!(
            case(RunOutcome::Exited(1), "warming up\nboom: no such thing\n\n"),
            "command exited with code 1: boom: no such thing"
        );
        assert_eq!(
            case(RunOutcome::Signaled(9), ""),
            "command was killed by signal 9 (SIGKILL)"
        );
        assert_eq!(
            case(RunOutcome::TimedOut, ""),
            "command ran longer than datum_timeout allows (1.5s)"
        );
        assert_eq!(
            case(RunOutcome::Exited(1), "touch: /pfs/in/x: Read-only file system\n"),
            "command exited with code 1: touch: /pfs/in/x: Read-only file system (inputs are \
             read-only: write below /pfs/out or /tmp, or set transform.writable_inputs: true \
             to get private copies)"
        );
        stage.memory_bytes = Some(64 << 20);
        assert!(of_run(&stage, &RunOutcome::Signaled(9), "").contains("memory limit of 64 MiB"));
    }
}
