//! Transactions: requests collected under one id, done together or not at all.

use howdah_api::convert::to_timestamp;
use howdah_api::transaction_v2 as tx;
use howdah_api::transaction_v2::api_server::Api;
use howdah_api::{pfs_v2 as pfs, pps_v2 as pps};
use howdah_model::{Command, CommitKey, CommitRef, GlobalId, Rejection, Reply, State, Transaction, TransactionStep};
use tonic::{Request, Response, Status};

use super::change::apply;
use super::pfs::requests as pfs_requests;
use super::pps::requests as pps_requests;
use super::status::IntoStatus;
use super::wire;
use crate::core::Core;
use crate::fresh_id::fresh_id;
use crate::staging::submit_settled;

/// The commands that will take effect together with the one being read.
///
/// A commit started by one of them does not exist yet, but later ones may name it.
pub struct Pending<'a> {
    id: Option<GlobalId>,
    commands: Vec<&'a Command>,
}

impl<'a> Pending<'a> {
    /// Nothing is pending.
    pub fn none() -> Self {
        Self {
            id: None,
            commands: Vec::new(),
        }
    }

    /// The commands of an open transaction, if there is one.
    pub fn of_open(state: &'a State, id: Option<GlobalId>) -> Self {
        let transaction = id.and_then(|id| state.transaction(id));
        let commands = transaction
            .map(|transaction| transaction.requests.iter().map(|step| &step.command).collect())
            .unwrap_or_default();
        Self { id, commands }
    }

    /// The commands of a batch that have been read so far.
    pub fn of_batch(id: GlobalId, commands: &'a [Command]) -> Self {
        Self {
            id: Some(id),
            commands: commands.iter().collect(),
        }
    }

    /// Returns the commit that a reference means, if one of the commands starts it.
    pub fn commit(&self, reference: &CommitRef) -> Option<CommitKey> {
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

/// Answers `transaction_v2.API`.
pub struct Transactions {
    core: Core,
}

impl Transactions {
    /// Makes the service.
    pub fn new(core: Core) -> Self {
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
        Command::CreateRepo { .. } => request.create_repo = pfs_requests::create_repo(command),
        Command::DeleteRepo { .. } => request.delete_repo = pfs_requests::delete_repo(command),
        Command::StartCommit { .. } => request.start_commit = pfs_requests::start_commit(command),
        Command::FinishCommit { .. } => {
            request.finish_commit = pfs_requests::finish_commit(command);
        }
        Command::SquashCommitSet { id } => {
            request.squash_commit_set = Some(pfs::SquashCommitSetRequest {
                commit_set: Some(pfs::CommitSet { id: id.to_string() }),
            });
        }
        Command::CreateBranch { .. } => {
            request.create_branch = pfs_requests::create_branch(command);
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
            request.create_pipeline_v2 = pps_requests::create_pipeline(command);
        }
        // Nothing else can be appended.
        _ => {}
    }
    request
}

/// Reads one request of a batch.
async fn command_of(core: &Core, pending: &Pending<'_>, request: &tx::TransactionRequest) -> Result<Command, Status> {
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
impl Api for Transactions {
    async fn batch_transaction(
        &self,
        request: Request<tx::BatchTransactionRequest>,
    ) -> Result<Response<tx::TransactionInfo>, Status> {
        let id = fresh_id();
        let mut commands = Vec::new();
        for request in &request.into_inner().requests {
            let pending = Pending::of_batch(id, &commands);
            let command = command_of(&self.core, &pending, request).await?;
            commands.push(command);
        }
        let batch = Command::Batch {
            commands: commands.clone(),
        };
        let replies = match submit_settled(&self.core, id, batch).await {
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

    async fn start_transaction(
        &self,
        _: Request<tx::StartTransactionRequest>,
    ) -> Result<Response<tx::Transaction>, Status> {
        match apply(&self.core, Command::StartTransaction).await? {
            Reply::Transaction(id) => Ok(Response::new(message(id))),
            _ => Err(Status::internal("starting a transaction answered no id")),
        }
    }

    async fn inspect_transaction(
        &self,
        request: Request<tx::InspectTransactionRequest>,
    ) -> Result<Response<tx::TransactionInfo>, Status> {
        let id = id_of(request.get_ref().transaction.as_ref())?;
        match self.core.state().transaction(id) {
            Some(transaction) => Ok(Response::new(info(transaction))),
            None => Err(Rejection::NoTransaction(id).into_status()),
        }
    }

    async fn delete_transaction(&self, request: Request<tx::DeleteTransactionRequest>) -> Result<Response<()>, Status> {
        let id = id_of(request.get_ref().transaction.as_ref())?;
        apply(&self.core, Command::DeleteTransaction { id }).await?;
        Ok(Response::new(()))
    }

    async fn list_transaction(
        &self,
        _: Request<tx::ListTransactionRequest>,
    ) -> Result<Response<tx::TransactionInfos>, Status> {
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
    ) -> Result<Response<tx::TransactionInfo>, Status> {
        let id = id_of(request.get_ref().transaction.as_ref())?;
        let started = self.core.state().transaction(id).map(|one| one.started);
        match apply(&self.core, Command::FinishTransaction { id }).await? {
            Reply::TransactionFinished { id, steps } => Ok(Response::new(tx::TransactionInfo {
                started: started.map(to_timestamp),
                ..info_of_steps(id, &steps)
            })),
            _ => Err(Status::internal("finishing a transaction answered nothing")),
        }
    }

    async fn delete_all(&self, _: Request<tx::DeleteAllRequest>) -> Result<Response<()>, Status> {
        apply(&self.core, Command::DeleteTransactions).await?;
        Ok(Response::new(()))
    }
}
