//! Repositories: creation and description.

use crate::command::Reply;
use crate::event::Event;
use crate::names::{RepoKey, RepoType};
use crate::rejection::Rejection;

use super::builder::{CommandResult, DecisionBuilder};

impl DecisionBuilder {
    pub(super) fn require_repo(&self, repo: &RepoKey) -> Result<(), Rejection> {
        if self.state.repos.contains_key(repo) {
            return Ok(());
        }
        Err(Rejection::NoRepo(repo.clone()))
    }

    pub(super) fn create_repo(&mut self, repo: &RepoKey, description: &str, update: bool) -> CommandResult {
        if repo.kind != RepoType::User {
            return Err(Rejection::SystemRepo(repo.clone()));
        }
        self.require_project(&repo.project)?;
        if self.state.repos.contains_key(repo) && !update {
            return Err(Rejection::RepoExists(repo.clone()));
        }
        self.put_repo(repo, description);
        Ok(Reply::Done)
    }

    /// Creates a repository if it is missing, and sets its description.
    pub(super) fn put_repo(&mut self, repo: &RepoKey, description: &str) {
        match self.state.repos.get(repo) {
            None => self.emit(Event::RepoCreated {
                repo: repo.clone(),
                description: description.to_owned(),
                at: self.at,
            }),
            Some(present) if *present.description != *description => self.emit(Event::RepoUpdated {
                repo: repo.clone(),
                description: description.to_owned(),
            }),
            Some(_) => {}
        }
    }
}
