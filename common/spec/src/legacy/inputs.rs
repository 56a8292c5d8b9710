//! Translates `inputs`, `atom` and `method`; refuses `git` and the specs of single jobs.

use super::fields::{LegacyWarning, has, is_unset, take};
use crate::error::{Problem, SpecError};
use crate::node::{SourceEntry, SourceNode, SourceValue, join};

/// Translates the inputs of a spec.
pub(super) fn translate(fields: &mut Vec<SourceEntry>, warnings: &mut Vec<LegacyWarning>) -> Result<(), SpecError> {
    if let Some(old) = take(fields, "inputs")?.filter(|entry| !entry.value.is_null()) {
        if has(fields, "input") {
            let what = "inputs is the old form of input, and both are given";
            return Err(SpecError::conflict("", what).at(old.pos).help("keep input"));
        }
        fields.retain(|entry| entry.key != "input");
        if let Some(input) = from_list(&old, warnings)? {
            fields.push(SourceEntry::new(old.pos, "input", input));
        }
    }
    match fields.iter_mut().find(|entry| entry.key == "input") {
        Some(entry) => tree(&mut entry.value, "input", warnings),
        None => Ok(()),
    }
}

/// Converts the list of the 1.0-1.6 form: one item becomes a pfs input, several become a cross, none becomes `None`.
fn from_list(old: &SourceEntry, warnings: &mut Vec<LegacyWarning>) -> Result<Option<SourceNode>, SpecError> {
    let SourceValue::List(items) = &old.value.value else {
        let error = SpecError::mismatch("inputs", "a list of inputs", old.value.describe());
        return Err(error.at(old.value.pos));
    };
    let mut inputs = Vec::new();
    for (index, item) in items.iter().enumerate() {
        inputs.push(from_item(item, &format!("inputs[{index}]"), warnings)?);
    }
    Ok(match inputs.len() {
        0 => None,
        1 => inputs.pop(),
        _ => {
            let list = SourceNode::new(old.value.pos, SourceValue::List(inputs));
            Some(SourceNode::object(old.value.pos, "cross", list))
        }
    })
}

/// Converts one item of the list.
fn from_item(item: &SourceNode, path: &str, warnings: &mut Vec<LegacyWarning>) -> Result<SourceNode, SpecError> {
    let mut item = item.clone();
    let pos = item.pos;
    let found = item.describe();
    let Some(fields) = item.as_map_mut() else {
        return Err(SpecError::mismatch(path, "an object with repo and glob", found).at(pos));
    };
    let commit = fields.iter().find(|entry| entry.key == "commit");
    if let Some(commit) = commit.filter(|entry| entry.value.as_map().is_some()) {
        let error = SpecError::refused(
            join(path, "commit"),
            "specs of single jobs (create-job) are not supported",
        );
        return Err(error
            .at(commit.pos)
            .help("create a pipeline; it runs a job for every commit of its inputs"));
    }
    plain_repo(fields, path)?;
    for name in ["from", "from_commit"] {
        drop_start(fields, name, path, warnings)?;
    }
    take(fields, "run_empty")?;
    let method = take(fields, "method")?;
    let glob = match &method {
        None => "/*",
        Some(method) => method_glob(&method.value, &join(path, "method"))?,
    };
    // An explicit glob wins over the method, as it did when both existed.
    if !has(fields, "glob") {
        fields.retain(|entry| entry.key != "glob");
        let pos = method.map_or(pos, |method| method.pos);
        fields.push(SourceEntry::new(pos, "glob", SourceNode::text(pos, glob)));
    }
    Ok(SourceNode::object(pos, "pfs", item))
}

/// Replaces `repo: {name: x}` by `repo: x`.
fn plain_repo(fields: &mut [SourceEntry], path: &str) -> Result<(), SpecError> {
    let Some(repo) = fields.iter_mut().find(|entry| entry.key == "repo") else {
        return Ok(());
    };
    let Some(inside) = repo.value.as_map() else {
        return Ok(());
    };
    let path = join(path, "repo");
    if let Some(other) = inside.iter().find(|entry| entry.key != "name") {
        let problem = Problem::UnknownField {
            name: other.key.clone(),
        };
        return Err(SpecError::new(path, problem)
            .at(other.pos)
            .help("a repo has only a name here"));
    }
    let Some(name) = inside.first() else {
        return Err(SpecError::missing(path, "the repo has no name").at(repo.value.pos));
    };
    repo.value = name.value.clone();
    Ok(())
}

/// Removes the commit from which an input started, with a warning.
fn drop_start(
    fields: &mut Vec<SourceEntry>,
    name: &str,
    path: &str,
    warnings: &mut Vec<LegacyWarning>,
) -> Result<(), SpecError> {
    if let Some(entry) = take(fields, name)?
        && !is_unset(&entry.value)
    {
        let text = "dropped: a pipeline always begins with the head of its branch";
        warnings.push(LegacyWarning::new(entry.pos, join(path, name), text));
    }
    Ok(())
}

/// Returns the glob that is equivalent to a method of 1.0-1.3.
fn method_glob(method: &SourceNode, path: &str) -> Result<&'static str, SpecError> {
    let unknown = |path: String, node: &SourceNode, names: &str| {
        SpecError::mismatch(path, format!("one of {names}"), node.describe()).at(node.pos)
    };
    match &method.value {
        SourceValue::Null => Ok("/*"),
        SourceValue::Text(name) => match name.to_ascii_lowercase().as_str() {
            "map" | "reduce" => Ok("/*"),
            "global" => Ok("/"),
            _ => Err(unknown(path.to_owned(), method, "map, reduce, global")),
        },
        SourceValue::Map(entries) => {
            let mut glob = "/*";
            for entry in entries {
                let path = join(path, &entry.key);
                match entry.key.as_str() {
                    "partition" => {
                        let names = "BLOCK, FILE, REPO";
                        let partition = partition_glob(&entry.value);
                        glob = partition.ok_or_else(|| unknown(path, &entry.value, names))?;
                    }
                    "incremental" => {}
                    name => {
                        let problem = Problem::UnknownField { name: name.to_owned() };
                        let error = SpecError::new(path, problem).at(entry.pos);
                        return Err(error.help("a method has only partition and incremental"));
                    }
                }
            }
            Ok(glob)
        }
        _ => Err(unknown(path.to_owned(), method, "map, reduce, global")),
    }
}

fn partition_glob(partition: &SourceNode) -> Option<&'static str> {
    let name = match &partition.value {
        SourceValue::Null => return Some("/*"),
        SourceValue::Text(text) | SourceValue::Number(text) => text.to_ascii_uppercase(),
        _ => return None,
    };
    match name.as_str() {
        "BLOCK" | "FILE" | "0" | "1" => Some("/*"),
        "REPO" | "2" => Some("/"),
        _ => None,
    }
}

/// Translates an input and its parts at every depth.
fn tree(input: &mut SourceNode, path: &str, warnings: &mut Vec<LegacyWarning>) -> Result<(), SpecError> {
    let Some(fields) = input.as_map_mut() else {
        return Ok(());
    };
    if let Some(git) = take(fields, "git")?.filter(|entry| !entry.value.is_null()) {
        let error = SpecError::refused(join(path, "git"), "git inputs are not supported").at(git.pos);
        return Err(error.help("use a cron input or a spout whose code clones the repository"));
    }
    if let Some(mut atom) = take(fields, "atom")? {
        let path = join(path, "atom");
        if has(fields, "pfs") {
            let what = "atom is the old name of pfs, and both are given";
            return Err(SpecError::conflict(path, what).at(atom.pos).help("keep one of them"));
        }
        // A `pfs: null` beside the atom would become a duplicate field.
        fields.retain(|entry| entry.key != "pfs");
        if let Some(fields) = atom.value.as_map_mut() {
            plain_repo(fields, &path)?;
            drop_start(fields, "from_commit", &path, warnings)?;
        }
        fields.push(SourceEntry::new(atom.pos, "pfs", atom.value));
    }
    for entry in fields {
        let path = join(path, &entry.key);
        if let ("cross" | "union" | "join" | "group", SourceValue::List(items)) =
            (entry.key.as_str(), &mut entry.value.value)
        {
            for (index, item) in items.iter_mut().enumerate() {
                tree(item, &format!("{path}[{index}]"), warnings)?;
            }
        }
    }
    Ok(())
}
