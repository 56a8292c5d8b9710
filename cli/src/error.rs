//! What went wrong, told in one line that also says what to do when we know it.

use std::io;

use thiserror::Error;

use crate::refs::RefError;

/// How the server begins to say that it recognises a field, and does not act on it.
const NOT_SUPPORTED_YET: &str = "not supported yet: ";

/// Why a command failed.
#[derive(Debug, Error)]
pub enum CliError {
    /// The command line is wrong; the usage is printed below the message.
    #[error("{message}")]
    Usage {
        /// What is wrong with it.
        message: String,
        /// The usage lines.
        usage: String,
    },
    /// Something the user can put right.
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
        /// What the network said.
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
        /// What the system said.
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
    /// Makes an error of a sentence.
    pub fn refused(message: impl Into<String>) -> CliError {
        CliError::Refused {
            message: message.into(),
            hint: None,
        }
    }

    /// Makes an error of a sentence and one that says what to do.
    pub fn hinted(message: impl Into<String>, hint: impl Into<String>) -> CliError {
        CliError::Refused {
            message: message.into(),
            hint: Some(hint.into()),
        }
    }

    /// Returns a closure for `map_err` that says what was being done with which file.
    pub fn io(what: impl Into<String>) -> impl FnOnce(io::Error) -> CliError {
        let what = what.into();
        move |source| CliError::Io { what, source }
    }

    /// Returns whether the reader of our output has gone, which is no failure of ours.
    pub fn is_broken_pipe(&self) -> bool {
        matches!(self, CliError::Output(source) if source.kind() == io::ErrorKind::BrokenPipe)
    }

    /// Returns everything there is to say, in one line.
    pub fn line(&self, program: &str) -> String {
        let message = one_line(&self.to_string());
        match self.hint(program) {
            Some(hint) => format!("{}; {}", message.trim_end_matches('.'), one_line(&hint)),
            None => message,
        }
    }

    /// Returns what to do about it, if that is known.
    fn hint(&self, program: &str) -> Option<String> {
        match self {
            CliError::Refused { hint, .. } => hint.clone(),
            // A context cannot help as long as the variable overrides it.
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

/// Returns the server's own words.
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
            // The server knows the call, only not everything that can be asked of it.
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

impl From<RefError> for CliError {
    fn from(error: RefError) -> CliError {
        CliError::refused(error.to_string())
    }
}

/// Errors of writing results become [`CliError::Output`].
///
/// Local files have a name, so their errors are made with [`CliError::io`] instead.
impl From<io::Error> for CliError {
    fn from(source: io::Error) -> CliError {
        CliError::Output(source)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn server_errors_are_one_line_of_the_servers_words() {
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
    fn whatever_is_told_is_one_line() {
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
