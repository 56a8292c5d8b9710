//! `transaction_v2.API`: requests that are collected under one id, and take effect together or not at all.
//!
//! An open transaction is part of the state: it has the commands, and the replies that they had when they were
//! appended. A batch is a transaction in one call. Both end as one command of the log.

use howdah_api::convert::to_timestamp;
use howdah_api::transaction_v2 as tx;
use howdah_api::transaction_v2::api_server::Api;
use howdah_api::{pfs_v2 as pfs, pps_v2 as pps};
use howdah_model::{Command, GlobalId, Rejection, Reply, Transaction, TransactionStep};
use tonic::{Request, Response, Status};

use super::change::apply;
use super::pending::PendingCommands;
use super::pfs::requests as pfs_requests;
use super::pps::requests as pps_requests;
use super::reply::UnaryReply;
use super::status::IntoStatus;
use super::wire;
use crate::fresh_id::fresh_id;
use crate::metadata::Core;

/// Answers `transaction_v2.API`.
pub(super) struct TransactionService {
    core: Core,
}

impl TransactionService {
    /// Makes the service.
    pub(super) fn new(core: Core) -> Self {
        Self { core }
    }
}

fn id_of(transaction: Option<&tx::Transaction>) -> Result<GlobalId, Status> {
    let transaction = transaction.ok_or_else(|| wire::missing("transaction"))?;
    wire::global_id(&transaction.id, || {
        Status::not_found(format!("transactions {} not found", transaction.id))
    })
}

fn message(id: GlobalId) -> tx::Transaction {
    tx::Transaction { id: id.to_string() }
}

fn info(transaction: &Transaction) -> tx::TransactionInfo {
    tx::TransactionInfo {
        started: Some(to_timestamp(transaction.started)),
        ..info_of_steps(transaction.id, &transaction.requests)
    }
}

fn info_of_steps(id: GlobalId, steps: &[TransactionStep]) -> tx::TransactionInfo {
    tx::TransactionInfo {
        transaction: Some(message(id)),
        requests: steps.iter().map(|step| request_of(&step.command)).collect(),
        responses: steps.iter().map(|step| response_of(&step.reply)).collect(),
        started: None,
        version: steps.len() as u64,
    }
}

fn response_of(reply: &Reply) -> tx::TransactionResponse {
    let commit = match reply {
        Reply::Commit(key) => Some(wire::commit(key)),
        _ => None,
    };
    tx::TransactionResponse { commit }
}

/// Writes a command as the request that it came from.
fn request_of(command: &Command) -> tx::TransactionRequest {
    let mut request = tx::TransactionRequest::default();
    match command {
        Command::CreateRepo { .. } => request.create_repo = pfs_requests::create_repo_request(command),
        Command::DeleteRepo { .. } => request.delete_repo = pfs_requests::delete_repo_request(command),
        Command::StartCommit { .. } => request.start_commit = pfs_requests::start_commit_request(command),
        Command::FinishCommit { .. } => {
            request.finish_commit = pfs_requests::finish_commit_request(command);
        }
        Command::SquashCommitSet { id } => {
            request.squash_commit_set = Some(pfs::SquashCommitSetRequest {
                commit_set: Some(pfs::CommitSet { id: id.to_string() }),
            });
        }
        Command::CreateBranch { .. } => {
            request.create_branch = pfs_requests::create_branch_request(command);
        }
        Command::DeleteBranch { branch, force } => {
            request.delete_branch = Some(pfs::DeleteBranchRequest {
                branch: Some(wire::branch(branch)),
                force: *force,
            });
        }
        Command::StopJob { job, reason } => {
            request.stop_job = Some(pps::StopJobRequest {
                job: Some(wire::job(job)),
                reason: reason.clone(),
            });
        }
        Command::CreatePipeline { .. } => {
            request.create_pipeline_v2 = pps_requests::create_pipeline_request(command);
        }
        // No other command can be part of a transaction.
        _ => {}
    }
    request
}

/// Reads one request of a batch.
async fn command_of(
    core: &Core,
    pending: &PendingCommands<'_>,
    request: &tx::TransactionRequest,
) -> Result<Command, Status> {
    if let Some(request) = &request.create_repo {
        pfs_requests::create_repo_command(request)
    } else if let Some(request) = &request.delete_repo {
        pfs_requests::delete_repo_command(request)
    } else if let Some(request) = &request.start_commit {
        pfs_requests::start_commit_command(request)
    } else if let Some(request) = &request.finish_commit {
        pfs_requests::finish_commit_command(&core.state(), pending, request)
    } else if let Some(request) = &request.squash_commit_set {
        pfs_requests::squash_set_command(request)
    } else if let Some(request) = &request.create_branch {
        pfs_requests::create_branch_command(request)
    } else if let Some(request) = &request.delete_branch {
        pfs_requests::delete_branch_command(request)
    } else if let Some(request) = &request.stop_job {
        pps_requests::stop_job_command(request)
    } else if let Some(request) = &request.create_pipeline_v2 {
        pps_requests::create_pipeline_command(core, request).await
    } else if request.update_job_state.is_some() {
        Err(Status::unimplemented("not supported: update_job_state"))
    } else {
        Err(Status::invalid_argument(
            "validate request: a request of the transaction is empty",
        ))
    }
}

#[tonic::async_trait]
impl Api for TransactionService {
    async fn batch_transaction(
        &self,
        request: Request<tx::BatchTransactionRequest>,
    ) -> UnaryReply<tx::TransactionInfo> {
        let id = fresh_id();
        let mut commands = Vec::new();
        for request in &request.into_inner().requests {
            // A request may name a commit that an earlier one starts, so each is read with those before it.
            let pending = PendingCommands::of_batch(id, &commands);
            let command = command_of(&self.core, &pending, request).await?;
            commands.push(command);
        }
        let batch = Command::Batch {
            commands: commands.clone(),
        };
        // Under the id that `pending` has used: the commits of the batch get it, and requests may name them by it.
        let replies = match self.core.staging().submit_folding_first(id, batch).await {
            Ok(Reply::Batch(replies)) => replies,
            Ok(_) => return Err(Status::internal("a batch answered something else")),
            Err(error) => return Err(error.into_status()),
        };
        let steps: Vec<TransactionStep> = commands
            .into_iter()
            .zip(replies)
            .map(|(command, reply)| TransactionStep { command, reply })
            .collect();
        Ok(Response::new(info_of_steps(id, &steps)))
    }

    async fn start_transaction(&self, _: Request<tx::StartTransactionRequest>) -> UnaryReply<tx::Transaction> {
        match apply(&self.core, Command::StartTransaction).await? {
            Reply::Transaction(id) => Ok(Response::new(message(id))),
            _ => Err(Status::internal("starting a transaction answered no id")),
        }
    }

    async fn inspect_transaction(
        &self,
        request: Request<tx::InspectTransactionRequest>,
    ) -> UnaryReply<tx::TransactionInfo> {
        let id = id_of(request.get_ref().transaction.as_ref())?;
        match self.core.state().transaction(id) {
            Some(transaction) => Ok(Response::new(info(transaction))),
            None => Err(Rejection::NoTransaction(id).into_status()),
        }
    }

    async fn delete_transaction(&self, request: Request<tx::DeleteTransactionRequest>) -> UnaryReply<()> {
        let id = id_of(request.get_ref().transaction.as_ref())?;
        apply(&self.core, Command::DeleteTransaction { id }).await?;
        Ok(Response::new(()))
    }

    async fn list_transaction(&self, _: Request<tx::ListTransactionRequest>) -> UnaryReply<tx::TransactionInfos> {
        let state = self.core.state();
        let mut transactions: Vec<_> = state.transactions().collect();
        transactions.sort_by_key(|transaction| transaction.started);
        Ok(Response::new(tx::TransactionInfos {
            transaction_info: transactions.into_iter().map(|one| info(one)).collect(),
        }))
    }

    async fn finish_transaction(
        &self,
        request: Request<tx::FinishTransactionRequest>,
    ) -> UnaryReply<tx::TransactionInfo> {
        let id = id_of(request.get_ref().transaction.as_ref())?;
        // Read first: the transaction is no part of the state any more when it has finished.
        let started = self.core.state().transaction(id).map(|one| one.started);
        match apply(&self.core, Command::FinishTransaction { id }).await? {
            Reply::TransactionFinished { id, steps } => Ok(Response::new(tx::TransactionInfo {
                started: started.map(to_timestamp),
                ..info_of_steps(id, &steps)
            })),
            _ => Err(Status::internal("finishing a transaction answered nothing")),
        }
    }

    async fn delete_all(&self, _: Request<tx::DeleteAllRequest>) -> UnaryReply<()> {
        apply(&self.core, Command::DeleteTransactions).await?;
        Ok(Response::new(()))
    }
}
