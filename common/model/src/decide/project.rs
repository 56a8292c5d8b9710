//! Projects, defaults and secrets.

use crate::command::{Reply, SealedSecret};
use crate::event::Event;
use crate::names::ProjectName;
use crate::rejection::Rejection;

use super::builder::{CommandResult, DecisionBuilder};

impl DecisionBuilder {
    pub(super) fn require_project(&self, name: &ProjectName) -> Result<(), Rejection> {
        if self.state.projects.contains_key(name) {
            return Ok(());
        }
        Err(Rejection::NoProject(name.clone()))
    }

    pub(super) fn create_project(&mut self, name: &ProjectName, description: &str, update: bool) -> CommandResult {
        let description = description.to_owned();
        match self.state.projects.get(name) {
            None => {
                let name = name.clone();
                self.emit(Event::ProjectCreated {
                    name,
                    description,
                    at: self.at,
                });
            }
            Some(_) if !update => return Err(Rejection::ProjectExists(name.clone())),
            Some(project) if project.description != description => {
                self.emit(Event::ProjectUpdated {
                    name: name.clone(),
                    description,
                });
            }
            Some(_) => {}
        }
        Ok(Reply::Done)
    }

    pub(super) fn delete_project(&mut self, name: &ProjectName, force: bool) -> CommandResult {
        self.require_project(name)?;
        if *name == ProjectName::default_project() {
            return Err(Rejection::PermanentProject(name.clone()));
        }
        if force {
            let projects = std::slice::from_ref(name);
            self.delete_pipelines(Some(projects), true, false)?;
            self.delete_repos(Some(projects), true)?;
        }
        if let Some(repo) = self.state.repos.keys().find(|repo| repo.project == *name) {
            return Err(Rejection::ProjectNotEmpty {
                project: name.clone(),
                repo: repo.clone(),
            });
        }
        self.emit(Event::ProjectDeleted { name: name.clone() });
        Ok(Reply::Done)
    }

    pub(super) fn set_defaults(&mut self, project: Option<&ProjectName>, json: &str) -> CommandResult {
        if let Some(name) = project {
            self.require_project(name)?;
        }
        match serde_json::from_str(json) {
            Ok(serde_json::Value::Object(_)) => {}
            Ok(_) => return Err(Rejection::Invalid("defaults must be a JSON object".to_owned())),
            Err(error) => {
                return Err(Rejection::Invalid(format!("defaults are not valid JSON: {error}")));
            }
        }
        self.emit(Event::DefaultsSet {
            project: project.cloned(),
            json: json.to_owned(),
        });
        Ok(Reply::Done)
    }

    pub(super) fn create_secret(&mut self, name: &str, kind: &str, data: &str) -> CommandResult {
        if name.is_empty() {
            return Err(Rejection::Invalid("a secret needs a name (metadata.name)".to_owned()));
        }
        self.emit(Event::SecretSet {
            name: name.to_owned(),
            kind: kind.to_owned(),
            data: data.to_owned(),
            at: self.at,
        });
        Ok(Reply::Done)
    }

    pub(super) fn seal_secrets(&mut self, secrets: &[SealedSecret]) -> CommandResult {
        for sealed in secrets {
            let SealedSecret { name, created, data } = sealed;
            let Some(secret) = self.state.secrets.get(name).filter(|secret| secret.created == *created) else {
                continue;
            };
            let kind = secret.kind.clone();
            self.emit(Event::SecretSet {
                name: name.clone(),
                kind,
                data: data.clone(),
                // It is the same secret: it keeps the time at which it was created.
                at: *created,
            });
        }
        Ok(Reply::Done)
    }

    pub(super) fn delete_secret(&mut self, name: &str) -> CommandResult {
        if !self.state.secrets.contains_key(name) {
            return Err(Rejection::NoSecret(name.to_owned()));
        }
        self.emit(Event::SecretDeleted { name: name.to_owned() });
        Ok(Reply::Done)
    }

    /// Deletes all pipelines and secrets.
    pub(super) fn delete_all_pipelines(&mut self) -> CommandResult {
        self.delete_pipelines(None, true, false)?;
        let secrets: Vec<_> = self.state.secrets.keys().cloned().collect();
        for name in secrets {
            self.emit(Event::SecretDeleted { name });
        }
        Ok(Reply::Done)
    }
}
