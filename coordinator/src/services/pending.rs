//! Names of commits that do not exist yet, because the command that starts them waits in a transaction.

use howdah_model::{Command, CommitKey, CommitRef, GlobalId, State};

/// The commands that will take effect together with the one being read.
///
/// One of them may start a commit. That commit is not in the state yet, but later commands may name it: all commits
/// of a transaction have the transaction's id.
pub(super) struct PendingCommands<'a> {
    id: Option<GlobalId>,
    commands: Vec<&'a Command>,
}

impl<'a> PendingCommands<'a> {
    /// Returns the commands of an open transaction; none without an id, or if no transaction has it.
    pub(super) fn of_transaction(state: &'a State, id: Option<GlobalId>) -> Self {
        let transaction = id.and_then(|id| state.transaction(id));
        let commands = transaction
            .map(|transaction| transaction.requests.iter().map(|step| &step.command).collect())
            .unwrap_or_default();
        Self { id, commands }
    }

    /// Returns the commands of a batch that have been read so far.
    pub(super) fn of_batch(id: GlobalId, commands: &'a [Command]) -> Self {
        Self {
            id: Some(id),
            commands: commands.iter().collect(),
        }
    }

    /// Returns the commit that a reference names, if one of the commands starts it.
    pub(super) fn commit(&self, reference: &CommitRef) -> Option<CommitKey> {
        let id = self.id?;
        let key = CommitKey {
            repo: reference.repo.clone(),
            id,
        };
        if reference.id_or_ref == id.to_string() {
            return Some(key);
        }
        let named = match &reference.branch {
            Some(branch) if reference.id_or_ref.is_empty() => branch.as_str(),
            _ => &reference.id_or_ref,
        };
        self.commands
            .iter()
            .any(|command| {
                matches!(command, Command::StartCommit { repo, branch: Some(branch), .. }
                    if *repo == reference.repo && branch.as_str() == named)
            })
            .then_some(key)
    }
}
