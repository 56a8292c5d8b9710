//! Errors of commands: one line that says what is wrong and, where it is known, what to do.
//!
//! Three origins: the user (wrong usage, a refused command), the environment (files, streams, connection) and the
//! server. The server's messages are printed as they are; hints are added here.

use std::io;

use thiserror::Error;

use crate::refs::ArgumentError;

/// Prefix of the server's message about something that it recognises but does not implement.
const NOT_SUPPORTED_YET: &str = "not supported yet: ";

/// What every command returns.
pub(crate) type CliResult = Result<(), CliError>;

/// Why a command failed.
#[derive(Debug, Error)]
pub(crate) enum CliError {
    /// The command line is wrong; the usage is printed below the message.
    #[error("{message}")]
    Usage {
        /// What is wrong with it.
        message: String,
        /// The usage lines.
        usage: String,
    },
    /// Something that the user can correct.
    #[error("{message}")]
    Refused {
        /// What is wrong.
        message: String,
        /// What to do about it.
        hint: Option<String>,
    },
    /// The server cannot be reached.
    #[error("cannot connect to {address} ({origin}): {reason}")]
    Connect {
        /// The address that was tried.
        address: String,
        /// Where the address came from, for instance the name of the context.
        origin: String,
        /// The error of the network.
        reason: String,
    },
    /// The server answered with an error.
    #[error("{}", status_message(.0))]
    Server(Box<tonic::Status>),
    /// A local file or stream failed.
    #[error("{what}: {source}")]
    Io {
        /// What was being done.
        what: String,
        /// The error of the system.
        source: io::Error,
    },
    /// Results cannot be written to standard output.
    #[error("cannot write to standard output: {0}")]
    Output(io::Error),
    /// The user pressed Ctrl-C.
    #[error("interrupted")]
    Interrupted,
}

impl CliError {
    /// Makes an error from a message.
    pub(crate) fn refused(message: impl Into<String>) -> CliError {
        CliError::Refused {
            message: message.into(),
            hint: None,
        }
    }

    /// Makes an error from a message and a hint that says what to do.
    pub(crate) fn hinted(message: impl Into<String>, hint: impl Into<String>) -> CliError {
        CliError::Refused {
            message: message.into(),
            hint: Some(hint.into()),
        }
    }

    /// Returns a closure for `map_err`; `what` names the action and the file, as in `cannot read x.csv`.
    pub(crate) fn io(what: impl Into<String>) -> impl FnOnce(io::Error) -> CliError {
        let what = what.into();
        move |source| CliError::Io { what, source }
    }

    /// Returns whether the reader of standard output has closed it, which is no failure of the command.
    pub(crate) fn is_broken_pipe(&self) -> bool {
        matches!(self, CliError::Output(source) if source.kind() == io::ErrorKind::BrokenPipe)
    }

    /// Returns message and hint in one line.
    pub(crate) fn line(&self, program: &str) -> String {
        let message = one_line(&self.to_string());
        match self.hint(program) {
            Some(hint) => format!("{}; {}", message.trim_end_matches('.'), one_line(&hint)),
            None => message,
        }
    }

    /// Returns what the user can do about it, where that is known.
    fn hint(&self, program: &str) -> Option<String> {
        match self {
            CliError::Refused { hint, .. } => hint.clone(),
            // The variable overrides the context, so `connect` would have no effect.
            CliError::Connect { origin, .. } if origin.contains("environment") => Some(format!(
                "start a server here with `{program} up`, or name another one in PACHD_ADDRESS"
            )),
            CliError::Connect { .. } => Some(format!(
                "start a server here with `{program} up`, or name another one with `{program} connect ADDRESS`"
            )),
            CliError::Server(status) => server_hint(status, program),
            _ => None,
        }
    }
}

/// Returns the server's message.
fn status_message(status: &tonic::Status) -> String {
    one_line(&howdah_api::client::ClientError::from(status.clone()).to_string())
}

fn one_line(text: &str) -> String {
    let lines = text.lines().map(str::trim).filter(|line| !line.is_empty());
    lines.collect::<Vec<_>>().join(" ")
}

fn server_hint(status: &tonic::Status, program: &str) -> Option<String> {
    match status.code() {
        tonic::Code::Unimplemented => match status.message().split_once(NOT_SUPPORTED_YET) {
            // The server implements the call, but not the fields that the message lists.
            Some((_, what)) => {
                let only_fields = what.split(", ").all(|field| !field.contains(' '));
                only_fields.then(|| "docs/pipeline-spec.md says which fields of a spec work".to_owned())
            }
            None if status.message().contains(" is not supported by this server") => Some(format!(
                "`{program} version` shows the versions of this program and of the server"
            )),
            None => None,
        },
        tonic::Code::DeadlineExceeded | tonic::Code::Cancelled if status.message().contains("imeout") => {
            Some("--rpc-timeout sets how long an answer may take".to_owned())
        }
        _ => None,
    }
}

impl From<tonic::Status> for CliError {
    fn from(status: tonic::Status) -> CliError {
        CliError::Server(Box::new(status))
    }
}

impl From<ArgumentError> for CliError {
    fn from(error: ArgumentError) -> CliError {
        CliError::refused(error.to_string())
    }
}

/// Converts errors of writing results. Errors of local files need a name and are made with [`CliError::io`].
impl From<io::Error> for CliError {
    fn from(source: io::Error) -> CliError {
        CliError::Output(source)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn server_errors_are_one_line_of_the_servers_message() {
        let error = CliError::from(tonic::Status::not_found("repo default/images not found"));
        assert_eq!(error.to_string(), "repo default/images not found");
        let error = CliError::from(tonic::Status::unknown("first\n  second"));
        assert_eq!(error.to_string(), "first second");
    }

    #[test]
    fn connection_errors_say_what_to_do() {
        let error = CliError::Connect {
            address: "grpc://localhost:30650".to_owned(),
            origin: "context \"local\"".to_owned(),
            reason: "connection refused".to_owned(),
        };
        assert_eq!(
            error.to_string(),
            "cannot connect to grpc://localhost:30650 (context \"local\"): connection refused"
        );
        assert_eq!(
            error.line("pachctl"),
            "cannot connect to grpc://localhost:30650 (context \"local\"): connection refused; start a server here \
             with `pachctl up`, or name another one with `pachctl connect ADDRESS`"
        );
    }

    #[test]
    fn every_error_is_one_line() {
        let error = CliError::hinted("first\n  second.", "do\nthis");
        assert_eq!(error.line("howdah"), "first second; do this");
        assert_eq!(CliError::refused("a\n\nb").line("howdah"), "a b");
    }

    #[test]
    fn fields_that_do_not_work_yet_point_to_the_list_of_those_that_do() {
        let line = |text: &str| CliError::from(tonic::Status::unimplemented(text)).line("howdah");
        assert_eq!(
            line("not supported yet: spout"),
            "not supported yet: spout; docs/pipeline-spec.md says which fields of a spec work"
        );
        let url = "not supported yet: put file from a URL (http://x); fetch it and put the file";
        assert_eq!(line(url), url);
        assert!(line("pps_v2.API/RunLoadTest is not supported by this server").contains("`howdah version`"));
    }
}
