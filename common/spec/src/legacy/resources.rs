//! Translates `parallelism`, strategies and coefficients, `resource_spec`, and `gpu` given as a number.

use super::fields::{LegacyWarning, ensure_object, has, object, rename, take};
use crate::error::SpecError;
use crate::node::{SourceEntry, SourceNode, SourceValue};
use crate::number;
use crate::options::ParseOptions;

/// Translates parallelism and resources.
pub(super) fn translate(
    fields: &mut Vec<SourceEntry>,
    options: &ParseOptions,
    warnings: &mut Vec<LegacyWarning>,
) -> Result<(), SpecError> {
    // First, because it produces the `parallelism_spec` that `strategy` reads.
    plain_parallelism(fields)?;
    if let Some(spec) = object(fields, "parallelism_spec") {
        strategy(spec, options, warnings)?;
    }
    // Remembered before the renaming removes it: only the old field implied a limit on devices.
    let had_resource_spec = fields
        .iter()
        .any(|entry| matches!(entry.key.as_str(), "resource_spec" | "resourceSpec"));
    rename(fields, "resource_spec", "resource_requests")?;
    for name in [
        "resource_requests",
        "resource_limits",
        "sidecar_resource_requests",
        "sidecar_resource_limits",
    ] {
        if let Some(resources) = object(fields, name) {
            plain_gpu(resources);
        }
    }
    if had_resource_spec {
        gpu_limit(fields);
    }
    Ok(())
}

/// Replaces `parallelism: N` by `parallelism_spec: {constant: N}`.
fn plain_parallelism(fields: &mut Vec<SourceEntry>) -> Result<(), SpecError> {
    const NAME: &str = "parallelism";
    let Some(entry) = take(fields, NAME)?.filter(|entry| !entry.value.is_null()) else {
        return Ok(());
    };
    if has(fields, "parallelism_spec") {
        let what = "parallelism is the old form of parallelism_spec, and both are given";
        let error = SpecError::conflict("", what).at(entry.pos);
        return Err(error.help("keep parallelism_spec"));
    }
    let pos = entry.value.pos;
    let number = match &entry.value.value {
        SourceValue::Number(text) | SourceValue::Text(text) => number::whole(text),
        _ => None,
    };
    let Some(number) = number.filter(|number| *number >= 0) else {
        let expected = "a whole number, not negative";
        return Err(SpecError::mismatch(NAME, expected, entry.value.describe()).at(pos));
    };
    fields.retain(|entry| !matches!(entry.key.as_str(), "parallelism_spec" | "parallelismSpec"));
    let constant = SourceNode::new(pos, SourceValue::Number(number.max(1).to_string()));
    let spec = SourceNode::object(pos, "constant", constant);
    fields.push(SourceEntry::new(entry.pos, "parallelism_spec", spec));
    Ok(())
}

/// The values of `strategy` in 1.2-1.4.
#[derive(PartialEq)]
enum Strategy {
    Constant,
    Coefficient,
}

/// Replaces a coefficient by the constant that it means on this installation.
fn strategy(
    spec: &mut Vec<SourceEntry>,
    options: &ParseOptions,
    warnings: &mut Vec<LegacyWarning>,
) -> Result<(), SpecError> {
    const PATH: &str = "parallelism_spec";
    let strategy = match take(spec, "strategy")?.filter(|entry| !entry.value.is_null()) {
        None => None,
        Some(entry) => Some((strategy_of(&entry.value)?, entry.pos)),
    };
    let coefficient = match take(spec, "coefficient")?.filter(|entry| !entry.value.is_null()) {
        None => None,
        Some(entry) => Some((coefficient_of(&entry.value)?, entry.pos)).filter(|(number, _)| *number > 0.0),
    };
    let has_constant = spec
        .iter()
        .any(|entry| entry.key == "constant" && !is_zero(&entry.value));
    let (pos, coefficient) = match (strategy, coefficient) {
        (_, Some((_, pos))) if has_constant => {
            let error = SpecError::conflict(PATH, "both constant and coefficient are given").at(pos);
            return Err(error.help("keep constant"));
        }
        (Some((Strategy::Constant, _)), Some((_, pos))) => {
            let error = SpecError::conflict(PATH, "the strategy CONSTANT needs constant, not coefficient").at(pos);
            return Err(error.help("write {\"constant\": N}"));
        }
        (Some((Strategy::Coefficient, pos)), None) => {
            let error = SpecError::conflict(PATH, "the strategy COEFFICIENT needs a coefficient above 0").at(pos);
            return Err(error.help("write {\"constant\": N}"));
        }
        (_, None) => return Ok(()),
        (_, Some((coefficient, pos))) => (pos, coefficient),
    };
    let (count, of) = if options.nodes > 1 {
        (options.nodes, "worker machines")
    } else {
        (options.cores.max(1), "usable cores of this machine")
    };
    // `as` saturates, so a huge coefficient gives a huge constant and not a wrapped one.
    let constant = ((coefficient * count as f64) as u64).max(1);
    let text = format!("became constant: {constant} ({coefficient} times {count} {of})");
    warnings.push(LegacyWarning::new(pos, format!("{PATH}.coefficient"), text));
    spec.retain(|entry| entry.key != "constant");
    let value = SourceNode::new(pos, SourceValue::Number(constant.to_string()));
    spec.push(SourceEntry::new(pos, "constant", value));
    Ok(())
}

fn strategy_of(node: &SourceNode) -> Result<Strategy, SpecError> {
    match &node.value {
        SourceValue::Text(text) | SourceValue::Number(text) => match text.as_str() {
            "CONSTANT" | "0" => return Ok(Strategy::Constant),
            "COEFFICIENT" | "1" => return Ok(Strategy::Coefficient),
            _ => {}
        },
        _ => {}
    }
    let expected = "one of CONSTANT, COEFFICIENT";
    Err(SpecError::mismatch("parallelism_spec.strategy", expected, node.describe()).at(node.pos))
}

fn coefficient_of(node: &SourceNode) -> Result<f64, SpecError> {
    let number = match &node.value {
        SourceValue::Number(text) | SourceValue::Text(text) => number::float(text),
        _ => None,
    };
    number.filter(|number| *number >= 0.0).ok_or_else(|| {
        let expected = "a number, not negative";
        SpecError::mismatch("parallelism_spec.coefficient", expected, node.describe()).at(node.pos)
    })
}

fn is_zero(node: &SourceNode) -> bool {
    match &node.value {
        SourceValue::Null => true,
        SourceValue::Number(text) | SourceValue::Text(text) => number::whole(text) == Some(0),
        _ => false,
    }
}

/// Replaces `gpu: 1` by its object form and removes `gpu: 0`.
fn plain_gpu(resources: &mut Vec<SourceEntry>) {
    let Some(index) = resources.iter().position(|entry| entry.key == "gpu") else {
        return;
    };
    let value = &mut resources[index].value;
    let (SourceValue::Number(text) | SourceValue::Text(text)) = &value.value else {
        return;
    };
    match number::whole(text) {
        Some(0) => drop(resources.remove(index)),
        Some(_) => {
            let number = value.clone();
            let kind = SourceNode::text(number.pos, "nvidia.com/gpu");
            let entries = vec![
                SourceEntry::new(number.pos, "type", kind),
                SourceEntry::new(number.pos, "number", number),
            ];
            value.value = SourceValue::Map(entries);
        }
        None => {}
    }
}

/// Copies the devices of the requests into the limits, because `resource_spec` implied both.
fn gpu_limit(fields: &mut Vec<SourceEntry>) {
    let requested = object(fields, "resource_requests");
    let Some(gpu) = requested.and_then(|requests| requests.iter().find(|entry| entry.key == "gpu").cloned()) else {
        return;
    };
    if gpu.value.is_null() {
        return;
    }
    if let Some(limits) = ensure_object(fields, "resource_limits", gpu.pos)
        && !has(limits, "gpu")
    {
        limits.retain(|entry| entry.key != "gpu");
        limits.push(gpu);
    }
}
