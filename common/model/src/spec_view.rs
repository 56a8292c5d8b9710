//! What the state needs to know of a pipeline spec: keys instead of strings.

use howdah_spec::{Input, PipelineSpec};

use crate::entities::{PipelineKind, Trigger};
use crate::names::{
    BranchKey, BranchName, NameError, PipelineKey, PipelineName, ProjectName, RepoKey, RepoName, RepoType,
};

/// One leaf of a spec's input.
#[derive(Clone, Debug, PartialEq)]
pub struct InputLeaf {
    /// Name of the input.
    pub name: String,
    /// Branch it follows.
    pub branch: BranchKey,
    /// Whether it is a clock, whose repository belongs to the pipeline.
    pub cron: bool,
    /// Trigger its branch should have.
    pub trigger: Option<Trigger>,
}

/// Gives the key of the pipeline a spec is for.
///
/// # Errors
/// When project or name are not legal.
pub fn pipeline_key(spec: &PipelineSpec) -> Result<PipelineKey, NameError> {
    let project = project_or(&spec.pipeline.project, &ProjectName::default_project())?;
    Ok(PipelineKey {
        project,
        name: PipelineName::new(&spec.pipeline.name)?,
    })
}

fn project_or(name: &str, default: &ProjectName) -> Result<ProjectName, NameError> {
    if name.is_empty() {
        Ok(default.clone())
    } else {
        ProjectName::new(name)
    }
}

/// Gives the leaves of a spec's input in order; none without an input.
///
/// # Errors
/// When a name in an input is not legal.
pub fn input_leaves(spec: &PipelineSpec) -> Result<Vec<InputLeaf>, NameError> {
    let key = pipeline_key(spec)?;
    let leaves = spec.input.as_ref().map(Input::leaves).unwrap_or_default();
    leaves
        .into_iter()
        .filter_map(|leaf| input_leaf(leaf, &key).transpose())
        .collect()
}

fn input_leaf(input: &Input, pipeline: &PipelineKey) -> Result<Option<InputLeaf>, NameError> {
    match input {
        Input::Pfs(pfs) => {
            let kind = match pfs.repo_type {
                howdah_spec::InputRepoType::User => RepoType::User,
                howdah_spec::InputRepoType::Meta => RepoType::Meta,
                howdah_spec::InputRepoType::Spec => RepoType::Spec,
            };
            let repo = RepoKey {
                project: project_or(&pfs.project, &pipeline.project)?,
                name: RepoName::new(&pfs.repo)?,
                kind,
            };
            let trigger = pfs.trigger.as_ref().map(trigger).transpose()?;
            Ok(Some(InputLeaf {
                name: if pfs.name.is_empty() {
                    pfs.repo.clone()
                } else {
                    pfs.name.clone()
                },
                branch: repo.branch(branch_or_master(&pfs.branch)?),
                cron: false,
                trigger,
            }))
        }
        Input::Cron(cron) => {
            let name = if cron.repo.is_empty() {
                format!("{}_{}", pipeline.name, cron.name)
            } else {
                cron.repo.clone()
            };
            let project = project_or(&cron.project, &pipeline.project)?;
            let repo = RepoKey::user(project, RepoName::new(&name)?);
            Ok(Some(InputLeaf {
                name: cron.name.clone(),
                branch: repo.branch(BranchName::master()),
                cron: true,
                trigger: None,
            }))
        }
        // An empty compound input has no leaves; the spec's own rules refuse it.
        Input::Cross(_) | Input::Union(_) | Input::Join(_) | Input::Group(_) => Ok(None),
    }
}

fn branch_or_master(name: &str) -> Result<BranchName, NameError> {
    if name.is_empty() {
        Ok(BranchName::master())
    } else {
        BranchName::new(name)
    }
}

fn trigger(trigger: &howdah_spec::TriggerSpec) -> Result<Trigger, NameError> {
    Ok(Trigger {
        branch: branch_or_master(&trigger.branch)?,
        all: trigger.all,
        rate_limit_spec: trigger.rate_limit_spec.clone(),
        size: trigger.size.clone(),
        commits: i64::try_from(trigger.commits).unwrap_or(i64::MAX),
        cron_spec: trigger.cron_spec.clone(),
    })
}

/// Gives the branch a spec writes to; `master` if it names none that is legal.
#[must_use]
pub fn output_branch(spec: &PipelineSpec) -> BranchName {
    BranchName::new(&spec.output_branch).unwrap_or_else(|_| BranchName::master())
}

/// Tells what a pipeline of this spec does.
#[must_use]
pub fn kind(spec: &PipelineSpec) -> PipelineKind {
    if spec.spout.is_some() {
        PipelineKind::Spout
    } else if spec.service.is_some() {
        PipelineKind::Service
    } else {
        PipelineKind::Transform
    }
}
