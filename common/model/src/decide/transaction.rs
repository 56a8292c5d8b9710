//! Transactions: each command has a trial run when it is appended; all run as one when it finishes (semantics 9).
//!
//! An open transaction changes nothing: the log only holds its commands and the answers of the trial runs.

use crate::command::{Command, Reply, Transaction};
use crate::event::Event;
use crate::ids::GlobalId;
use crate::rejection::Rejection;

use super::builder::{CommandResult, DecisionBuilder};
use super::texts::check_append;

impl DecisionBuilder {
    fn require_transaction(&self, id: GlobalId) -> Result<std::sync::Arc<Transaction>, Rejection> {
        self.state
            .transactions
            .get(&id)
            .cloned()
            .ok_or(Rejection::NoTransaction(id))
    }

    pub(super) fn start_transaction(&mut self) -> CommandResult {
        if self.id_taken || self.state.transactions.contains_key(&self.id) {
            return Err(Rejection::IdInUse(self.id));
        }
        self.emit(Event::TransactionStarted {
            id: self.id,
            at: self.at,
        });
        Ok(Reply::Transaction(self.id))
    }

    pub(super) fn append_transaction(&mut self, id: GlobalId, command: &Command) -> CommandResult {
        let transaction = self.require_transaction(id)?;
        if !command.fits_transaction() {
            return Err(Rejection::NotInTransaction(command.name()));
        }
        check_append(&transaction, command)?;
        // On a decision of its own, which is dropped. With the id of the transaction, so that answers have the ids that
        // the commits will get.
        let mut trial = Self::new(&self.state, self.at, id);
        for step in &transaction.requests {
            trial.run(&step.command)?;
        }
        let reply = trial.run(command)?;
        trial.propagate()?;
        let command = command.clone();
        self.emit(Event::TransactionAppended {
            id,
            command,
            reply: reply.clone(),
        });
        Ok(reply)
    }

    pub(super) fn finish_transaction(&mut self, id: GlobalId) -> CommandResult {
        let transaction = self.require_transaction(id)?;
        self.id = id;
        self.id_taken = self.state.sets.contains_key(&id);
        for (index, step) in transaction.requests.iter().enumerate() {
            // The client has acted on the answer of the trial run. With another one, such as another parent, the
            // command is not what it asked for.
            if self.run(&step.command)? != step.reply {
                return Err(Rejection::TransactionMoved { id, index });
            }
        }
        self.emit(Event::TransactionClosed { id, finished: true });
        Ok(Reply::TransactionFinished {
            id,
            steps: transaction.requests.clone(),
        })
    }

    pub(super) fn delete_transaction(&mut self, id: GlobalId) -> CommandResult {
        self.require_transaction(id)?;
        self.emit(Event::TransactionClosed { id, finished: false });
        Ok(Reply::Done)
    }

    pub(super) fn delete_transactions(&mut self) -> Reply {
        let ids: Vec<_> = self.state.transactions.keys().copied().collect();
        for id in ids {
            self.emit(Event::TransactionClosed { id, finished: false });
        }
        Reply::Done
    }
}
