//! The order of values, containment, sizes and copies. Each walk over a value is paid from the budget.

use std::borrow::Cow;
use std::cmp::Ordering;

use serde_json::{Map, Number, Value};

use super::budget::{Budget, EvalError, Item, type_name};

/// Compares two values: null, false, true, numbers, strings, arrays, objects.
pub(crate) fn compare(left: &Value, right: &Value, budget: &mut Budget) -> Result<Ordering, EvalError> {
    budget.steps(1)?;
    match (left, right) {
        (Value::Number(left), Value::Number(right)) => Ok(compare_numbers(left, right)),
        (Value::String(left), Value::String(right)) => {
            budget.scan(left.len().min(right.len()))?;
            Ok(left.cmp(right))
        }
        (Value::Array(left), Value::Array(right)) => {
            for (left, right) in left.iter().zip(right) {
                let order = compare(left, right, budget)?;
                if order.is_ne() {
                    return Ok(order);
                }
            }
            Ok(left.len().cmp(&right.len()))
        }
        (Value::Object(left), Value::Object(right)) => compare_objects(left, right, budget),
        _ => Ok(rank(left).cmp(&rank(right))),
    }
}

fn rank(value: &Value) -> u8 {
    match value {
        Value::Null => 0,
        Value::Bool(false) => 1,
        Value::Bool(true) => 2,
        Value::Number(_) => 3,
        Value::String(_) => 4,
        Value::Array(_) => 5,
        Value::Object(_) => 6,
    }
}

fn compare_numbers(left: &Number, right: &Number) -> Ordering {
    match (left.as_i64(), right.as_i64(), left.as_u64(), right.as_u64()) {
        (Some(left), Some(right), ..) => left.cmp(&right),
        (_, _, Some(left), Some(right)) => left.cmp(&right),
        _ => {
            let float = |number: &Number| number.as_f64().unwrap_or_default();
            float(left).total_cmp(&float(right))
        }
    }
}

/// Compares first the sorted keys, then the values in the order of the keys.
fn compare_objects(
    left: &Map<String, Value>,
    right: &Map<String, Value>,
    budget: &mut Budget,
) -> Result<Ordering, EvalError> {
    let mut sorted = |map: &Map<String, Value>| -> Result<Vec<String>, EvalError> {
        budget.steps(map.len())?;
        budget.bytes(map.keys().map(String::len).sum())?;
        let mut keys: Vec<String> = map.keys().cloned().collect();
        keys.sort_unstable();
        Ok(keys)
    };
    let (left_keys, right_keys) = (sorted(left)?, sorted(right)?);
    let order = left_keys.cmp(&right_keys);
    if order.is_ne() {
        return Ok(order);
    }
    for key in &left_keys {
        let order = compare(&left[key], &right[key], budget)?;
        if order.is_ne() {
            return Ok(order);
        }
    }
    Ok(Ordering::Equal)
}

/// Tells whether one value contains another: strings their parts, arrays and objects what their elements contain.
pub(crate) fn contains(outer: &Value, inner: &Value, budget: &mut Budget) -> Result<bool, EvalError> {
    budget.steps(1)?;
    match (outer, inner) {
        (Value::String(outer), Value::String(inner)) => {
            budget.scan(outer.len())?;
            Ok(outer.contains(inner.as_str()))
        }
        (Value::Array(outer), Value::Array(inner)) => {
            for wanted in inner {
                let mut found = false;
                for element in outer {
                    if type_name(element) == type_name(wanted) && contains(element, wanted, budget)? {
                        found = true;
                        break;
                    }
                    budget.steps(1)?;
                }
                if !found {
                    return Ok(false);
                }
            }
            Ok(true)
        }
        (Value::Object(outer), Value::Object(inner)) => {
            for (key, wanted) in inner {
                match outer.get(key) {
                    Some(element) if contains(element, wanted, budget)? => {}
                    _ => return Ok(false),
                }
            }
            Ok(true)
        }
        _ if type_name(outer) == type_name(inner) => Ok(compare(outer, inner, budget)?.is_eq()),
        _ => Err(EvalError::failed(format!(
            "contains: a value of type {} cannot contain one of type {}",
            type_name(outer),
            type_name(inner)
        ))),
    }
}

/// Returns about how many bytes a value takes.
pub(crate) fn size(value: &Value, budget: &mut Budget) -> Result<usize, EvalError> {
    budget.steps(1)?;
    let mut bytes = size_of::<Value>();
    match value {
        Value::String(text) => bytes += text.len(),
        Value::Array(list) => {
            for element in list {
                bytes = bytes.saturating_add(size(element, budget)?);
            }
        }
        Value::Object(map) => {
            for (key, element) in map {
                bytes = bytes.saturating_add(key.len()).saturating_add(size(element, budget)?);
            }
        }
        Value::Null | Value::Bool(_) | Value::Number(_) => {}
    }
    Ok(bytes)
}

/// Tells whether a value counts as true.
pub(crate) fn is_true(value: &Value) -> bool {
    !matches!(value, Value::Null | Value::Bool(false))
}

/// Copies a value. A borrowed one is shared.
pub(crate) fn copy<'a>(item: &Item<'a>, budget: &mut Budget) -> Result<Item<'a>, EvalError> {
    match item {
        Cow::Borrowed(value) => Ok(Cow::Borrowed(value)),
        Cow::Owned(value) => Ok(Cow::Owned(owned(value, budget)?)),
    }
}

/// Copies a value with everything in it.
pub(crate) fn owned(value: &Value, budget: &mut Budget) -> Result<Value, EvalError> {
    let bytes = size(value, budget)?;
    budget.bytes(bytes)?;
    Ok(value.clone())
}
