//! Submits the commands of calls: at once, or appended to the transaction that the headers of the call name.

use howdah_api::client::TRANSACTION_HEADER;
use howdah_model::{Command, GlobalId, Reply};
use tonic::Status;
use tonic::metadata::MetadataMap;

use super::status::IntoStatus;
use crate::fresh_id::fresh_id;
use crate::metadata::Core;

/// Returns the transaction that the headers of a call name, if they name one.
///
/// An empty value counts as none: some clients send it after their transaction has ended.
///
/// # Errors
/// When the headers name several transactions, or what they name is no id.
pub(super) fn transaction_of(metadata: &MetadataMap) -> Result<Option<GlobalId>, Status> {
    let mut values = metadata
        .get_all(TRANSACTION_HEADER)
        .iter()
        .filter(|value| !value.is_empty());
    let Some(value) = values.next() else {
        return Ok(None);
    };
    if values.next().is_some() {
        return Err(Status::invalid_argument(
            "more than one transaction in the request's headers",
        ));
    }
    let text = value.to_str().unwrap_or_default();
    text.parse()
        .map(Some)
        .map_err(|_| Status::not_found(format!("transactions {text} not found")))
}

/// Submits a command at once, outside any transaction.
///
/// # Errors
/// When the command is refused, or the store or the log fails.
pub(super) async fn apply(core: &Core, command: Command) -> Result<Reply, Status> {
    let done = core.staging().submit_folding_first(fresh_id(), command).await;
    done.map_err(IntoStatus::into_status)
}

/// Submits a command, or appends it to the transaction that the headers name.
///
/// The reply is the same in both cases, because a command is tried when it is appended.
pub(super) async fn apply_or_append(core: &Core, metadata: &MetadataMap, command: Command) -> Result<Reply, Status> {
    match transaction_of(metadata)? {
        None => apply(core, command).await,
        Some(id) => {
            let command = Box::new(command);
            apply(core, Command::AppendTransaction { id, command }).await
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_empty_transaction_is_none_and_two_are_an_error() {
        let mut metadata = MetadataMap::new();
        assert_eq!(transaction_of(&metadata).unwrap(), None);
        metadata.insert(TRANSACTION_HEADER, "".parse().unwrap());
        assert_eq!(transaction_of(&metadata).unwrap(), None);
        let id = GlobalId::from_number(1);
        metadata.append(TRANSACTION_HEADER, id.to_string().parse().unwrap());
        assert_eq!(transaction_of(&metadata).unwrap(), Some(id));
        metadata.append(TRANSACTION_HEADER, id.to_string().parse().unwrap());
        assert!(transaction_of(&metadata).is_err());
        metadata.insert(TRANSACTION_HEADER, "nonsense".parse().unwrap());
        let status = transaction_of(&metadata).unwrap_err();
        assert_eq!(status.code(), tonic::Code::NotFound);
        assert_eq!(status.message(), "transactions nonsense not found");
    }
}
