//! Bounds on the texts that clients give. The state and the log keep them for good.
//!
//! Only commands are checked, before they are decided. Events of an older log may have longer texts and stay readable.
//! Reasons that the system writes itself are not checked: they are short, and refusing them would keep a job open.

use crate::command::{Command, Transaction};
use crate::limits::{
    MAX_NAME_BYTES, MAX_PROVENANCE, MAX_REFERENCE_BYTES, MAX_SEALED_BYTES, MAX_SPEC_BYTES, MAX_TEXT_BYTES,
    MAX_TRANSACTION_BYTES, MAX_TRANSACTION_REQUESTS,
};
use crate::refs::CommitRef;
use crate::rejection::Rejection;

/// A text of a command.
struct Text<'a> {
    field: &'static str,
    text: &'a str,
    limit: usize,
}

impl<'a> Text<'a> {
    fn name(field: &'static str, text: &'a str) -> Self {
        let limit = MAX_NAME_BYTES;
        Self { field, text, limit }
    }

    fn reference(field: &'static str, reference: &'a CommitRef) -> Self {
        let (text, limit) = (reference.id_or_ref.as_str(), MAX_REFERENCE_BYTES);
        Self { field, text, limit }
    }

    fn free(field: &'static str, text: &'a str) -> Self {
        let limit = MAX_TEXT_BYTES;
        Self { field, text, limit }
    }

    fn spec(field: &'static str, text: &'a str) -> Self {
        let limit = MAX_SPEC_BYTES;
        Self { field, text, limit }
    }
}

/// Checks the size of a command.
pub(super) fn check(command: &Command) -> Result<(), Rejection> {
    match command {
        Command::AppendTransaction { command, .. } => check(command),
        Command::Batch { commands } => {
            check_transaction(commands.len(), commands.iter().map(bytes).sum())?;
            commands.iter().try_for_each(check)
        }
        Command::CreateBranch { provenance, .. } if provenance.len() > MAX_PROVENANCE => {
            Err(Rejection::Invalid(format!(
                "provenance has {} branches, at most {MAX_PROVENANCE} are allowed",
                provenance.len()
            )))
        }
        command => texts(command).into_iter().try_for_each(|text| {
            if text.text.len() <= text.limit {
                return Ok(());
            }
            Err(Rejection::TooLong {
                field: text.field,
                bytes: text.text.len(),
                limit: text.limit,
            })
        }),
    }
}

/// Checks that one more command fits an open transaction.
pub(super) fn check_append(transaction: &Transaction, command: &Command) -> Result<(), Rejection> {
    let known: usize = transaction.requests.iter().map(|step| bytes(&step.command)).sum();
    check_transaction(transaction.requests.len() + 1, known + bytes(command))
}

fn check_transaction(requests: usize, bytes: usize) -> Result<(), Rejection> {
    if requests <= MAX_TRANSACTION_REQUESTS && bytes <= MAX_TRANSACTION_BYTES {
        return Ok(());
    }
    Err(Rejection::TransactionFull { requests, bytes })
}

fn bytes(command: &Command) -> usize {
    texts(command).iter().map(|text| text.text.len()).sum()
}

/// Returns the texts of a command that come from a client.
fn texts(command: &Command) -> Vec<Text<'_>> {
    use Command as C;
    match command {
        C::CreateProject { description, .. } => vec![Text::free("description", description)],
        C::CreateRepo { repo, description, .. } => vec![
            Text::name("repo.name", repo.name.as_str()),
            Text::free("description", description),
        ],
        C::StartCommit {
            branch,
            parent,
            description,
            ..
        } => {
            let branch = branch.iter().map(|name| Text::name("branch.name", name.as_str()));
            let parent = parent.iter().map(|parent| Text::reference("parent.id", parent));
            let description = [Text::free("description", description)];
            branch.chain(parent).chain(description).collect()
        }
        C::WriteCommit {
            branch, description, ..
        } => vec![
            Text::name("branch.name", branch.name.as_str()),
            Text::free("description", description),
        ],
        C::FinishCommit { description, error, .. } => {
            let error = error.iter().map(|error| Text::free("error", error));
            error.chain([Text::free("description", description)]).collect()
        }
        C::CreateBranch {
            branch, head, trigger, ..
        } => {
            let mut texts = vec![Text::name("branch.name", branch.name.as_str())];
            texts.extend(head.iter().map(|head| Text::reference("head.id", head)));
            if let Some(trigger) = trigger {
                texts.push(Text::name("trigger.branch", trigger.branch.as_str()));
                texts.push(Text::name("trigger.rate_limit_spec", &trigger.rate_limit_spec));
                texts.push(Text::name("trigger.size", &trigger.size));
            }
            texts
        }
        C::CreatePipeline {
            user_json,
            effective_json,
            ..
        } => vec![
            Text::spec("the specification", user_json),
            Text::spec("the effective specification", effective_json),
        ],
        C::StopJob { reason, .. } | C::StopJobSet { reason, .. } => vec![Text::free("reason", reason)],
        C::CreateSecret { name, kind, data } => vec![
            Text::name("secret.metadata.name", name),
            Text::name("secret.type", kind),
            Text {
                field: "the secret",
                text: data,
                limit: MAX_SEALED_BYTES,
            },
        ],
        C::SetDefaults { json, .. } => vec![Text::spec("the defaults", json)],
        // Ids, keys of what exists, and texts of the system. By name: a new command does not compile until it is decided
        // whether it has texts.
        C::DeleteProject { .. }
        | C::DeleteRepo { .. }
        | C::DeleteRepos { .. }
        | C::SetContent { .. }
        | C::StageEdits { .. }
        | C::SettleEdits { .. }
        | C::ClearCommit { .. }
        | C::SquashCommitSet { .. }
        | C::DropCommitSet { .. }
        | C::SquashCommit { .. }
        | C::DropCommit { .. }
        | C::DeleteBranch { .. }
        | C::DeletePipeline { .. }
        | C::DeletePipelines { .. }
        | C::StartPipeline { .. }
        | C::StopPipeline { .. }
        | C::RerunPipeline { .. }
        | C::SetPipelineState { .. }
        | C::PinImage { .. }
        | C::StartJob { .. }
        | C::PlanJob { .. }
        | C::SetJobState { .. }
        | C::RestartJob { .. }
        | C::FinishJob { .. }
        | C::DeleteJob { .. }
        | C::StartTransaction
        | C::AppendTransaction { .. }
        | C::FinishTransaction { .. }
        | C::DeleteTransaction { .. }
        | C::DeleteTransactions
        | C::Batch { .. }
        | C::SealSecrets { .. }
        | C::DeleteSecret { .. }
        | C::DeleteAll { .. } => Vec::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::names::{BranchKey, RepoKey};

    fn create_repo(name: &str, description: String) -> Command {
        let repo: RepoKey = format!("default/{name}").parse().unwrap();
        Command::CreateRepo {
            repo,
            description,
            update: false,
        }
    }

    #[test]
    fn a_text_up_to_its_limit_is_accepted_and_the_error_names_field_size_and_limit() {
        let name = "n".repeat(MAX_NAME_BYTES);
        assert_eq!(check(&create_repo(&name, "x".repeat(MAX_TEXT_BYTES))), Ok(()));
        let error = check(&create_repo("a", "x".repeat(MAX_TEXT_BYTES + 1))).unwrap_err();
        assert_eq!(
            error.to_string(),
            "description is too long: it has 65537 bytes, at most 65536 are allowed"
        );
        let error = check(&create_repo(&"n".repeat(256), String::new())).unwrap_err();
        assert!(error.to_string().starts_with("repo.name is too long: it has 256 bytes"));
    }

    #[test]
    fn a_branch_has_a_bounded_number_of_inputs() {
        let branch: BranchKey = "default/a@master".parse().unwrap();
        let command = |number| Command::CreateBranch {
            branch: branch.clone(),
            head: None,
            provenance: vec![branch.clone(); number],
            trigger: None,
        };
        assert_eq!(check(&command(MAX_PROVENANCE)), Ok(()));
        assert!(check(&command(MAX_PROVENANCE + 1)).is_err());
    }

    #[test]
    fn a_batch_is_bounded_in_requests_and_in_bytes() {
        let batch = |number, bytes| Command::Batch {
            commands: vec![create_repo("a", "x".repeat(bytes)); number],
        };
        assert_eq!(check(&batch(MAX_TRANSACTION_REQUESTS, 10)), Ok(()));
        assert!(check(&batch(MAX_TRANSACTION_REQUESTS + 1, 0)).is_err());
        let error = check(&batch(300, MAX_TEXT_BYTES)).unwrap_err();
        assert!(
            error.to_string().contains("at most 1000 requests and 16777216 bytes"),
            "{error}"
        );
        assert!(check(&batch(1, MAX_TEXT_BYTES + 1)).is_err());
    }
}
