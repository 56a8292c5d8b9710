//! Rules for the tree of inputs.

use std::collections::BTreeMap;

use super::names;
use crate::cron::Schedule;
use crate::error::SpecError;
use crate::quantity;
use crate::types::{CronInput, Input, PfsInput, PipelineId, RepoType, TriggerSpec};
use howdah_glob::Glob;

/// Checks an input and its parts at every depth.
pub(super) fn check(input: &Input, pipeline: &PipelineId) -> Result<(), SpecError> {
    let mut leaves = Vec::new();
    collect(input, "input", None, &mut leaves)?;
    for leaf in &leaves {
        match leaf.input {
            Input::Pfs(pfs) => pfs_leaf(leaf, pfs, pipeline)?,
            Input::Cron(cron) => cron_leaf(leaf, cron)?,
            _ => {}
        }
    }
    unique_names(input, "input", &mut BTreeMap::new())?;
    one_branch_per_repo(&leaves)
}

/// An input without parts, with what the rules need to know about its place in the tree.
struct PlacedLeaf<'a> {
    input: &'a Input,
    path: String,
    /// The kind of the nearest compound input above that is not a cross.
    mixed_in: Option<&'static str>,
}

fn collect<'a>(
    input: &'a Input,
    path: &str,
    mixed_in: Option<&'static str>,
    leaves: &mut Vec<PlacedLeaf<'a>>,
) -> Result<(), SpecError> {
    let kind = input.kind();
    let path = format!("{path}.{kind}");
    if matches!(input, Input::Pfs(_) | Input::Cron(_)) {
        leaves.push(PlacedLeaf { input, path, mixed_in });
        return Ok(());
    }
    if input.parts().is_empty() {
        let error = SpecError::missing(path, format!("a {kind} of no inputs"));
        return Err(error.help("list at least one input, such as {\"pfs\": {...}}"));
    }
    let mixed_in = if kind == "cross" { mixed_in } else { Some(kind) };
    for (index, part) in input.parts().iter().enumerate() {
        collect(part, &format!("{path}[{index}]"), mixed_in, leaves)?;
    }
    Ok(())
}

fn pfs_leaf(leaf: &PlacedLeaf<'_>, pfs: &PfsInput, pipeline: &PipelineId) -> Result<(), SpecError> {
    let path = |field: &str| format!("{}.{field}", leaf.path);
    if pfs.repo.is_empty() {
        return Err(SpecError::missing(path("repo"), "the input has no repo").help("name the repo to read"));
    }
    names::word(&path("repo"), "repo", &pfs.repo)?;
    if !pfs.project.is_empty() {
        names::long(&path("project"), "project", &pfs.project)?;
    }
    if pfs.repo == "out" && pfs.name == "out" {
        let error = SpecError::invalid(path("name"), "an input from a repo called \"out\" needs another name");
        return Err(error.help("/pfs/out is where output goes; add \"name\""));
    }
    names::input(&path("name"), &pfs.name)?;
    if !pfs.commit.is_empty() {
        let error = SpecError::invalid(path("commit"), "a pipeline follows a branch, not a commit");
        return Err(error.help("remove commit; name a branch with \"branch\""));
    }
    if !pfs.branch.is_empty() {
        names::branch(&path("branch"), &pfs.branch)?;
    }
    if pfs.glob.is_empty() {
        let error = SpecError::missing(path("glob"), "an input must give a glob");
        return Err(error.help("write \"glob\": \"/*\" for a datum per top-level entry, or \"/\" for one datum"));
    }
    Glob::new(&pfs.glob).map_err(|error| SpecError::invalid(path("glob"), error.to_string()))?;
    if pfs.s3 {
        s3(leaf, pfs)?;
    }
    if let Some(trigger) = &pfs.trigger {
        trigger_rules(&path("trigger"), trigger, &pfs.branch)?;
    }
    let is_own = pfs.project == pipeline.project && pfs.repo == pipeline.name && pfs.repo_type != RepoType::Spec;
    if is_own {
        let error = SpecError::conflict(
            path("repo"),
            "the input is the pipeline's own output, which would be a cycle",
        );
        return Err(error.help("read another repo, or give the pipeline another name"));
    }
    Ok(())
}

fn s3(leaf: &PlacedLeaf<'_>, pfs: &PfsInput) -> Result<(), SpecError> {
    let path = |field: &str| format!("{}.{field}", leaf.path);
    if pfs.glob != "/" {
        let what = format!(
            "an s3 input is read whole, so its glob must be \"/\", not {:?}",
            pfs.glob
        );
        return Err(SpecError::conflict(path("glob"), what));
    }
    for (field, set) in [("lazy", pfs.lazy), ("empty_files", pfs.empty_files)] {
        if set {
            let error = SpecError::conflict(path(field), "cannot be combined with s3, which gives no files");
            return Err(error.help("remove one of them"));
        }
    }
    match leaf.mixed_in {
        None => Ok(()),
        Some(kind) => {
            let error = SpecError::conflict(path("s3"), format!("an s3 input cannot be part of a {kind}"));
            Err(error.help("it may stand alone or in a cross"))
        }
    }
}

fn trigger_rules(path: &str, trigger: &TriggerSpec, branch: &str) -> Result<(), SpecError> {
    names::branch(&format!("{path}.branch"), &trigger.branch)?;
    if trigger.branch == branch {
        let what = format!("the branch {branch:?} cannot be triggered by itself");
        let error = SpecError::conflict(format!("{path}.branch"), what);
        return Err(error.help("remove the input's branch, or name another"));
    }
    if !trigger.size.is_empty() {
        quantity::size(&trigger.size).map_err(|error| {
            let found = format!("{:?} ({error})", trigger.size);
            SpecError::mismatch(format!("{path}.size"), "a size, such as \"100M\" or \"100MiB\"", found)
        })?;
    }
    for (field, text) in [
        ("rate_limit_spec", &trigger.rate_limit_spec),
        ("cron_spec", &trigger.cron_spec),
    ] {
        if !text.is_empty() {
            schedule(&format!("{path}.{field}"), text)?;
        }
    }
    Ok(())
}

fn cron_leaf(leaf: &PlacedLeaf<'_>, cron: &CronInput) -> Result<(), SpecError> {
    let path = |field: &str| format!("{}.{field}", leaf.path);
    names::input(&path("name"), &cron.name)?;
    names::word(&path("repo"), "repo", &cron.repo)?;
    if cron.spec.is_empty() {
        let error = SpecError::missing(path("spec"), "a cron input must give a schedule");
        return Err(error.help("write \"spec\": \"@every 10m\" or five cron fields"));
    }
    schedule(&path("spec"), &cron.spec)
}

fn schedule(path: &str, text: &str) -> Result<(), SpecError> {
    match Schedule::parse(text) {
        Ok(_) => Ok(()),
        Err(error) => Err(SpecError::invalid(path, format!("{text:?} is no schedule: {error}"))),
    }
}

/// Checks that no name is used twice; the alternatives of a union may share names, because a datum has one of them.
fn unique_names(input: &Input, path: &str, taken: &mut BTreeMap<String, String>) -> Result<(), SpecError> {
    let path = format!("{path}.{}", input.kind());
    if matches!(input, Input::Pfs(_) | Input::Cron(_)) {
        let name = input.name();
        let Some(first) = taken.insert(name.to_owned(), path.clone()) else {
            return Ok(());
        };
        let what = format!("the name {name:?} is taken already by {first}");
        let error = SpecError::conflict(format!("{path}.name"), what);
        return Err(error.help("give one of them another name with \"name\""));
    }
    let before = matches!(input, Input::Union(_)).then(|| taken.clone());
    for (index, part) in input.parts().iter().enumerate() {
        let path = format!("{path}[{index}]");
        match &before {
            None => unique_names(part, &path, taken)?,
            // Each alternative starts from the names before the union, and all their names count after it. With one
            // common set, two alternatives could not share a name; without the union of all, a later part could.
            Some(before) => {
                let mut alternative = before.clone();
                unique_names(part, &path, &mut alternative)?;
                taken.extend(alternative);
            }
        }
    }
    Ok(())
}

fn one_branch_per_repo(leaves: &[PlacedLeaf<'_>]) -> Result<(), SpecError> {
    let mut branches: BTreeMap<(&str, &str, RepoType), &str> = BTreeMap::new();
    for leaf in leaves {
        let Input::Pfs(pfs) = leaf.input else { continue };
        // In a user spec the branch of a trigger is still empty; it gets its name when derived fields are filled in.
        let key = (pfs.project.as_str(), pfs.repo.as_str(), pfs.repo_type);
        match branches.insert(key, &pfs.branch) {
            Some(other) if other != pfs.branch => {
                let what = format!(
                    "multiple branches from the same repo cannot take part in one DAG: {other:?} and {:?} of {:?}",
                    pfs.branch, pfs.repo
                );
                return Err(SpecError::conflict(format!("{}.branch", leaf.path), what));
            }
            _ => {}
        }
    }
    Ok(())
}
