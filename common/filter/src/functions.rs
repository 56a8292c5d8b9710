//! The functions: names, arguments, meaning.

use std::borrow::Cow;

use regex::RegexBuilder;
use serde_json::{Number, Value};

use super::budget::{Budget, EvalError, Item, type_name};
use super::expr::{Binary, Call, Expr, Plain, Step, StepKind};
use super::order::{contains, copy, size};

/// The functions that a filter may call, with the number of their arguments.
pub const FUNCTIONS: &[(&str, usize)] = &[
    ("IN", 1),
    ("all", 0),
    ("all", 1),
    ("all", 2),
    ("any", 0),
    ("any", 1),
    ("any", 2),
    ("ascii_downcase", 0),
    ("ascii_upcase", 0),
    ("contains", 1),
    ("empty", 0),
    ("endswith", 1),
    ("has", 1),
    ("in", 1),
    ("inside", 1),
    ("keys", 0),
    ("length", 0),
    ("map", 1),
    ("not", 0),
    ("select", 1),
    ("startswith", 1),
    ("test", 1),
    ("test", 2),
    ("tonumber", 0),
    ("tostring", 0),
    ("type", 0),
];

/// Most bytes of a compiled regular expression. With it, the time for one byte of text is bounded.
const REGEX_BYTES: usize = 64 << 10;

/// Most groups of a regular expression inside one another.
const REGEX_NESTING: u32 = 32;

/// Steps for one byte of text that a regular expression looks at.
const REGEX_STEPS: usize = 8;

/// Finds a function and gives it its arguments. Without such a function: `None`. With arguments that it cannot have:
/// the reason.
pub(crate) fn call(name: &str, mut arguments: Vec<Expr>) -> Option<Result<Call, String>> {
    if !FUNCTIONS.contains(&(name, arguments.len())) {
        return None;
    }
    let each = || Expr::Path(Box::new(Expr::Identity), vec![each_step()]);
    if name == "test" {
        return Some(test(&arguments));
    }
    let last = arguments.pop().map(Box::new);
    let first = arguments.pop().map(Box::new);
    let identity = || Box::new(Expr::Identity);
    let call = match (name, last) {
        ("select", Some(condition)) => Call::Select(condition),
        ("map", Some(inner)) => Call::Map(inner),
        ("any" | "all", condition) => Call::Quantifier {
            any: name == "any",
            values: first.unwrap_or_else(|| Box::new(each())),
            condition: condition.unwrap_or_else(identity),
        },
        (name, Some(argument)) => Call::Binary(binary(name)?, argument),
        (name, None) => Call::Plain(plain(name)?),
    };
    Some(Ok(call))
}

fn each_step() -> Step {
    Step {
        kind: StepKind::Each,
        optional: false,
    }
}

fn plain(name: &str) -> Option<Plain> {
    Some(match name {
        "empty" => Plain::Empty,
        "not" => Plain::Not,
        "length" => Plain::Length,
        "keys" => Plain::Keys,
        "type" => Plain::Type,
        "tonumber" => Plain::ToNumber,
        "tostring" => Plain::ToString,
        "ascii_downcase" => Plain::AsciiDowncase,
        "ascii_upcase" => Plain::AsciiUpcase,
        _ => return None,
    })
}

fn binary(name: &str) -> Option<Binary> {
    Some(match name {
        "IN" => Binary::OneOf,
        "has" => Binary::Has,
        "in" => Binary::In,
        "contains" => Binary::Contains,
        "inside" => Binary::Inside,
        "startswith" => Binary::StartsWith,
        "endswith" => Binary::EndsWith,
        _ => return None,
    })
}

/// Compiles the regular expression of a `test`.
fn test(arguments: &[Expr]) -> Result<Call, String> {
    let literal = |expr: &Expr| match expr {
        Expr::Literal(Value::String(text)) => Ok(text.clone()),
        _ => Err("the arguments of test must be string literals".to_owned()),
    };
    let mut texts = arguments
        .iter()
        .map(literal)
        .collect::<Result<Vec<_>, _>>()?
        .into_iter();
    let (pattern, flags) = (texts.next().unwrap_or_default(), texts.next().unwrap_or_default());
    let mut builder = RegexBuilder::new(&pattern);
    builder.size_limit(REGEX_BYTES).nest_limit(REGEX_NESTING);
    for flag in flags.chars() {
        match flag {
            'i' => builder.case_insensitive(true),
            'x' => builder.ignore_whitespace(true),
            's' => builder.dot_matches_new_line(true),
            'g' | 'n' => &mut builder,
            other => return Err(format!("test has no flag {other:?}")),
        };
    }
    let regex = builder
        .build()
        .map_err(|error| format!("the regular expression cannot be used: {error}"))?;
    Ok(Call::Test(regex))
}

/// Evaluates a function of the input alone; `None` is no result.
pub(crate) fn eval_plain<'a>(
    function: Plain,
    input: &Item<'a>,
    budget: &mut Budget,
) -> Result<Option<Item<'a>>, EvalError> {
    let value = match (function, &**input) {
        (Plain::Empty, _) => return Ok(None),
        (Plain::Not, value) => Value::Bool(matches!(value, Value::Null | Value::Bool(false))),
        (Plain::Length, value) => length(value, budget)?,
        (Plain::Keys, Value::Object(map)) => {
            budget.steps(map.len())?;
            let mut keys: Vec<&String> = map.keys().collect();
            keys.sort_unstable();
            budget.bytes(keys.iter().map(|key| key.len() + size_of::<Value>()).sum())?;
            Value::Array(keys.into_iter().cloned().map(Value::String).collect())
        }
        (Plain::Keys, Value::Array(list)) => {
            budget.bytes(list.len().saturating_mul(size_of::<Value>()))?;
            Value::Array((0..list.len()).map(Value::from).collect())
        }
        (Plain::Type, value) => Value::from(type_name(value)),
        (Plain::ToNumber, Value::Number(number)) => Value::Number(number.clone()),
        (Plain::ToNumber, Value::String(text)) => {
            budget.steps(text.len())?;
            let number: Result<Number, _> = text.trim().parse();
            Value::Number(number.map_err(|_| EvalError::failed("tonumber: the string is not a number"))?)
        }
        (Plain::ToString, Value::String(_)) => return copy(input, budget).map(Some),
        (Plain::ToString, value) => {
            let bytes = size(value, budget)?;
            budget.bytes(bytes)?;
            Value::String(value.to_string())
        }
        (Plain::AsciiDowncase, Value::String(text)) => {
            budget.bytes(text.len())?;
            Value::String(text.to_ascii_lowercase())
        }
        (Plain::AsciiUpcase, Value::String(text)) => {
            budget.bytes(text.len())?;
            Value::String(text.to_ascii_uppercase())
        }
        (Plain::Keys, value) => return Err(EvalError::unfit("keys", value)),
        (Plain::ToNumber, value) => return Err(EvalError::unfit("tonumber", value)),
        (Plain::AsciiDowncase, value) => return Err(EvalError::unfit("ascii_downcase", value)),
        (Plain::AsciiUpcase, value) => return Err(EvalError::unfit("ascii_upcase", value)),
    };
    Ok(Some(Cow::Owned(value)))
}

fn length(value: &Value, budget: &mut Budget) -> Result<Value, EvalError> {
    Ok(match value {
        Value::Null => Value::from(0),
        Value::Bool(_) => return Err(EvalError::unfit("length", value)),
        Value::Number(number) => match number.as_u64() {
            Some(number) => Value::from(number),
            None => Value::from(number.as_f64().unwrap_or_default().abs()),
        },
        Value::String(text) => {
            budget.scan(text.len())?;
            Value::from(text.chars().count())
        }
        Value::Array(list) => Value::from(list.len()),
        Value::Object(map) => Value::from(map.len()),
    })
}

/// Evaluates a function of the input and one result of its argument. [`Binary::OneOf`] is a comparison and not here.
pub(crate) fn eval_binary(
    function: Binary,
    input: &Value,
    argument: &Value,
    budget: &mut Budget,
) -> Result<bool, EvalError> {
    match function {
        Binary::Has => has(input, argument),
        Binary::In => has(argument, input),
        Binary::Contains => contains(input, argument, budget),
        Binary::Inside => contains(argument, input, budget),
        Binary::StartsWith | Binary::EndsWith => match (input, argument) {
            (Value::String(text), Value::String(part)) => {
                budget.scan(part.len())?;
                Ok(if function == Binary::StartsWith {
                    text.starts_with(part.as_str())
                } else {
                    text.ends_with(part.as_str())
                })
            }
            _ => Err(EvalError::failed("startswith and endswith need two strings")),
        },
        Binary::OneOf => Ok(super::order::compare(input, argument, budget)?.is_eq()),
    }
}

fn has(container: &Value, key: &Value) -> Result<bool, EvalError> {
    match (container, key) {
        (Value::Object(map), Value::String(key)) => Ok(map.contains_key(key)),
        (Value::Array(list), Value::Number(index)) => Ok(index
            .as_f64()
            .is_some_and(|index| index >= 0.0 && index < list.len() as f64)),
        _ => Err(EvalError::failed(format!(
            "has: a value of type {} has no keys of type {}",
            type_name(container),
            type_name(key)
        ))),
    }
}

/// Evaluates a `test`.
pub(crate) fn eval_test(regex: &regex::Regex, input: &Value, budget: &mut Budget) -> Result<bool, EvalError> {
    match input {
        Value::String(text) => {
            budget.steps(text.len().saturating_mul(REGEX_STEPS))?;
            Ok(regex.is_match(text))
        }
        other => Err(EvalError::unfit("test", other)),
    }
}
