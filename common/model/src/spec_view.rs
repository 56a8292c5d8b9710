//! The parts of a pipeline spec that the state needs, as keys instead of strings.

use howdah_spec::{Input, PipelineSpec};

use crate::entities::{BranchTrigger, PipelineKind};
use crate::names::{BranchKey, BranchName, NameError, PipelineKey, PipelineName, ProjectName, RepoKey, RepoName};

/// One leaf of the input of a spec.
#[derive(Clone, Debug, PartialEq)]
pub struct InputLeaf {
    /// Name of the input.
    pub name: String,
    /// Branch that it reads.
    pub branch: BranchKey,
    /// Whether it is a cron input: its repository belongs to the pipeline.
    pub cron: bool,
    /// Trigger of its branch, if the spec asks for one.
    pub trigger: Option<BranchTrigger>,
}

/// Returns the key of the pipeline of a spec.
///
/// # Errors
/// When the name of the project or pipeline is not legal.
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

/// Returns the leaves of the input of a spec, in order; empty without an input.
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
            let repo = RepoKey {
                project: project_or(&pfs.project, &pipeline.project)?,
                name: RepoName::new(&pfs.repo)?,
                kind: pfs.repo_type,
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
        // An empty compound input has no leaves. The validation of specs rejects it.
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

fn trigger(trigger: &howdah_spec::TriggerSpec) -> Result<BranchTrigger, NameError> {
    Ok(BranchTrigger {
        branch: branch_or_master(&trigger.branch)?,
        all: trigger.all,
        rate_limit_spec: trigger.rate_limit_spec.clone(),
        size: trigger.size.clone(),
        commits: i64::try_from(trigger.commits).unwrap_or(i64::MAX),
        cron_spec: trigger.cron_spec.clone(),
    })
}

/// Returns the kind of a pipeline with this spec.
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
