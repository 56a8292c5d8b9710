//! Errors of the layers below as gRPC statuses, with their codes. Services choose the codes of errors of their own.

use std::io::ErrorKind;

use howdah_api::json::JsonError;
use howdah_api::retry::RetryHint;
use howdah_model::{Rejection, RejectionKind};
use howdah_spec::SpecError;
use howdah_store::{EditError, StoreError};
use prost::Message;
use tonic::{Code, Status};

use super::panicked::internal;
use crate::job::plan::PlanError;
use crate::memory_budget::BudgetExhausted;
use crate::metadata::StagingError;
use crate::metadata::SubmitError;
use howdah_telemetry::error_chain;

/// Returns the status of a wait that ends because the server does.
pub(super) fn shutting_down() -> Status {
    SubmitError::ShuttingDown.into_status()
}

/// Turns any error of the layers below into the status that clients expect.
pub(super) trait IntoStatus {
    /// Returns the status.
    fn into_status(self) -> Status;
}

impl IntoStatus for Rejection {
    fn into_status(self) -> Status {
        if let Rejection::CommitNotFinished(commit) = &self {
            return commit_not_finished(&commit.id.to_string(), &self.to_string());
        }
        let code = match self.kind() {
            RejectionKind::NotFound => Code::NotFound,
            RejectionKind::AlreadyExists => Code::AlreadyExists,
            RejectionKind::InvalidArgument => Code::InvalidArgument,
            RejectionKind::FailedPrecondition => Code::FailedPrecondition,
            RejectionKind::Conflict => Code::Aborted,
            RejectionKind::Unknown => Code::Unknown,
        };
        Status::new(code, self.to_string())
    }
}

impl IntoStatus for SubmitError {
    fn into_status(self) -> Status {
        match self {
            Self::Rejected(rejection) => rejection.into_status(),
            Self::Unavailable(_) => Status::unavailable(self.to_string()),
            Self::ShuttingDown => RetryHint::IfRead.mark(Status::unavailable(self.to_string())),
            Self::Panicked(panic) => internal(&panic),
        }
    }
}

impl IntoStatus for BudgetExhausted {
    fn into_status(self) -> Status {
        Status::resource_exhausted(self.to_string())
    }
}

impl IntoStatus for EditError {
    fn into_status(self) -> Status {
        match self {
            Self::Store(error) => error.into_status(),
            // A bad path or a collision. Clients recognise them by the text, not by the code.
            error => Status::unknown(error.to_string()),
        }
    }
}

impl IntoStatus for StagingError {
    fn into_status(self) -> Status {
        match self {
            Self::Edit(error) => error.into_status(),
            Self::Submit(error) => error.into_status(),
            lost @ Self::Lost(..) => Status::data_loss(lost.to_string()),
        }
    }
}

impl IntoStatus for StoreError {
    fn into_status(self) -> Status {
        let text = error_chain(&self);
        if let Self::CostlyGlob { .. } = &self {
            return Status::invalid_argument(text);
        }
        let code = match &self {
            Self::Full { .. } => Code::ResourceExhausted,
            Self::Scratch { source, .. } if source.kind() == ErrorKind::StorageFull => Code::ResourceExhausted,
            error if error.is_damage() => Code::DataLoss,
            _ => Code::Internal,
        };
        tracing::warn!(error = %text, "the store failed during a call");
        Status::new(code, text)
    }
}

impl IntoStatus for PlanError {
    fn into_status(self) -> Status {
        match self {
            Self::Unsupported(_) => Status::unimplemented(self.to_string()),
            Self::Input { .. } | Self::TooMany { .. } => Status::invalid_argument(self.to_string()),
            Self::Store(error) | Self::CostlyGlob(error) => error.into_status(),
            Self::Base(_) | Self::Wire(_) => Status::data_loss(error_chain(&self)),
        }
    }
}

impl IntoStatus for SpecError {
    fn into_status(self) -> Status {
        Status::invalid_argument(self.to_string())
    }
}

impl IntoStatus for JsonError {
    fn into_status(self) -> Status {
        Status::invalid_argument(self.to_string())
    }
}

/// Returns the status for a commit that must be finished first. Other clients read its detail.
fn commit_not_finished(id: &str, text: &str) -> Status {
    let resource = ResourceInfo {
        resource_type: "pfs:commit".to_owned(),
        resource_name: id.to_owned(),
        owner: String::new(),
        description: "commit not finished".to_owned(),
    };
    let details = RpcStatus {
        code: Code::Unavailable as i32,
        message: text.to_owned(),
        details: vec![prost_types::Any {
            type_url: "type.googleapis.com/google.rpc.ResourceInfo".to_owned(),
            value: resource.encode_to_vec(),
        }],
    };
    Status::with_details(Code::Unavailable, text, details.encode_to_vec().into())
}

/// `google.rpc.Status`, which carries the details of an error.
#[derive(Clone, PartialEq, Message)]
struct RpcStatus {
    #[prost(int32, tag = "1")]
    code: i32,
    #[prost(string, tag = "2")]
    message: String,
    #[prost(message, repeated, tag = "3")]
    details: Vec<prost_types::Any>,
}

/// `google.rpc.ResourceInfo`.
#[derive(Clone, PartialEq, Message)]
struct ResourceInfo {
    #[prost(string, tag = "1")]
    resource_type: String,
    #[prost(string, tag = "2")]
    resource_name: String,
    #[prost(string, tag = "3")]
    owner: String,
    #[prost(string, tag = "4")]
    description: String,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clients_get_the_codes_and_texts_that_they_rely_on() {
        let repo: howdah_model::RepoKey = "default/images".parse().expect("a repo");
        let status = Rejection::NoRepo(repo.clone()).into_status();
        assert_eq!(status.code(), Code::NotFound);
        assert_eq!(status.message(), "repo default/images not found");
        let status = Rejection::RepoExists(repo.clone()).into_status();
        assert_eq!(status.code(), Code::AlreadyExists);

        let commit = repo.commit(howdah_model::GlobalId::from_number(1));
        let status = Rejection::ParentOpen(commit.clone()).into_status();
        assert_eq!(status.code(), Code::Unknown);
        let status = Rejection::CommitNotFinished(commit.clone()).into_status();
        assert_eq!(status.code(), Code::Unavailable);
        let details = RpcStatus::decode(status.details()).expect("details");
        let info = ResourceInfo::decode(&details.details[0].value[..]).expect("a resource");
        assert_eq!(info.resource_type, "pfs:commit");
        assert_eq!(info.resource_name, commit.id.to_string());
        assert_eq!(info.description, "commit not finished");
    }
}
