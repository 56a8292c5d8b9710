//! Evaluation of an expression for one input.
//!
//! [`eval`] appends the results to a list. When it fails, what was appended before are the results before the error, as
//! in jq, where the results come one by one.

use std::borrow::Cow;

use serde_json::Value;

use super::budget::{Budget, EvalError, Item, type_name};
use super::expr::{Binary, Call, Comparison, Expr, Step, StepKind};
use super::functions::{eval_binary, eval_plain, eval_test};
use super::order::{compare, copy, is_true, owned};

/// Appends the results of an expression.
pub(crate) fn eval<'a>(
    expr: &'a Expr,
    input: &Item<'a>,
    budget: &mut Budget,
    results: &mut Vec<Item<'a>>,
) -> Result<(), EvalError> {
    budget.steps(1)?;
    match expr {
        Expr::Identity => results.push(copy(input, budget)?),
        Expr::Literal(value) => results.push(Cow::Borrowed(value)),
        Expr::Path(base, steps) => return path(base, steps, input, budget, results),
        Expr::List(inner) => results.push(Cow::Owned(list(inner.as_deref(), input, budget)?)),
        Expr::Try(inner) => match eval(inner, input, budget, results) {
            Err(error) if error.is_over_budget() => return Err(error),
            _ => {}
        },
        Expr::Pipe(stages) => return pipe(stages, input, budget, results),
        Expr::Comma(parts) => {
            for part in parts {
                eval(part, input, budget, results)?;
            }
        }
        Expr::Alternative(parts) => return alternative(parts, input, budget, results),
        Expr::Or(parts) => return connect(parts, true, input, budget, results),
        Expr::And(parts) => return connect(parts, false, input, budget, results),
        Expr::Compare(comparison, left, right) => {
            return compare_all(*comparison, left, right, input, budget, results);
        }
        Expr::Call(call) => return eval_call(call, input, budget, results),
    }
    Ok(())
}

/// Calls `then` for each result of an expression, then returns the expression's own error.
fn for_each<'a>(
    expr: &'a Expr,
    input: &Item<'a>,
    budget: &mut Budget,
    mut then: impl FnMut(Item<'a>, &mut Budget) -> Result<(), EvalError>,
) -> Result<(), EvalError> {
    let mut found = Vec::new();
    let ended = eval(expr, input, budget, &mut found);
    for item in found {
        budget.steps(1)?;
        then(item, budget)?;
    }
    ended
}

fn path<'a>(
    base: &'a Expr,
    steps: &'a [Step],
    input: &Item<'a>,
    budget: &mut Budget,
    results: &mut Vec<Item<'a>>,
) -> Result<(), EvalError> {
    let mut current = Vec::new();
    let mut ended = eval(base, input, budget, &mut current);
    for step in steps {
        let mut next = Vec::new();
        for item in current {
            budget.steps(1)?;
            match follow(&step.kind, item, input, budget, &mut next) {
                Err(error) if error.is_over_budget() => return Err(error),
                Err(error) if !step.optional => {
                    ended = Err(error);
                    break;
                }
                _ => {}
            }
        }
        current = next;
    }
    results.append(&mut current);
    ended
}

fn follow<'a>(
    step: &'a StepKind,
    item: Item<'a>,
    input: &Item<'a>,
    budget: &mut Budget,
    next: &mut Vec<Item<'a>>,
) -> Result<(), EvalError> {
    match step {
        StepKind::Field(name) => next.push(field(&item, name, budget)?),
        StepKind::Index(index) => for_each(index, input, budget, |index, budget| {
            let found = match &*index {
                Value::String(name) => field(&item, name, budget)?,
                Value::Number(number) => element(&item, number.as_f64().unwrap_or_default(), budget)?,
                other => {
                    return Err(EvalError::failed(format!(
                        "an index cannot be of type {}",
                        type_name(other)
                    )));
                }
            };
            next.push(found);
            Ok(())
        })?,
        StepKind::Each => match item {
            Cow::Borrowed(Value::Array(list)) => {
                budget.steps(list.len())?;
                next.extend(list.iter().map(Cow::Borrowed));
            }
            Cow::Borrowed(Value::Object(map)) => {
                budget.steps(map.len())?;
                next.extend(map.values().map(Cow::Borrowed));
            }
            Cow::Owned(Value::Array(list)) => {
                budget.steps(list.len())?;
                next.extend(list.into_iter().map(Cow::Owned));
            }
            Cow::Owned(Value::Object(map)) => {
                budget.steps(map.len())?;
                next.extend(map.into_iter().map(|(_, value)| Cow::Owned(value)));
            }
            other => return Err(EvalError::unfit("[]", &other)),
        },
    }
    Ok(())
}

/// Returns a part of a value: shared with a borrowed one, copied from an owned one.
fn part<'a>(
    item: &Item<'a>,
    find: impl Fn(&Value) -> Option<&Value>,
    budget: &mut Budget,
) -> Result<Item<'a>, EvalError> {
    match item {
        Cow::Borrowed(value) => Ok(find(value).map_or(Cow::Owned(Value::Null), Cow::Borrowed)),
        Cow::Owned(value) => match find(value) {
            Some(found) => Ok(Cow::Owned(owned(found, budget)?)),
            None => Ok(Cow::Owned(Value::Null)),
        },
    }
}

fn field<'a>(item: &Item<'a>, name: &str, budget: &mut Budget) -> Result<Item<'a>, EvalError> {
    match &**item {
        Value::Object(_) | Value::Null => part(item, |value| value.get(name), budget),
        other => Err(EvalError::failed(format!(
            "a value of type {} has no field {name:?}",
            type_name(other)
        ))),
    }
}

fn element<'a>(item: &Item<'a>, index: f64, budget: &mut Budget) -> Result<Item<'a>, EvalError> {
    match &**item {
        Value::Array(list) => {
            let index = index.floor();
            let from_start = if index < 0.0 { index + list.len() as f64 } else { index };
            let inside = from_start >= 0.0 && from_start < list.len() as f64;
            // In the range of the list, so the conversion loses nothing.
            let position = inside.then_some(from_start as usize);
            part(item, |value| position.and_then(|position| value.get(position)), budget)
        }
        Value::Null => Ok(Cow::Owned(Value::Null)),
        other => Err(EvalError::failed(format!(
            "a value of type {} has no elements",
            type_name(other)
        ))),
    }
}

fn list<'a>(inner: Option<&'a Expr>, input: &Item<'a>, budget: &mut Budget) -> Result<Value, EvalError> {
    let mut elements = Vec::new();
    if let Some(inner) = inner {
        collect(inner, input, budget, &mut elements)?;
    }
    array(elements, budget)
}

/// Adds copies of the results of an expression to a list.
fn collect<'a>(
    inner: &'a Expr,
    input: &Item<'a>,
    budget: &mut Budget,
    elements: &mut Vec<Value>,
) -> Result<(), EvalError> {
    let mut found = Vec::new();
    eval(inner, input, budget, &mut found)?;
    for item in found {
        elements.push(match item {
            Cow::Borrowed(value) => owned(value, budget)?,
            Cow::Owned(value) => value,
        });
    }
    Ok(())
}

/// Makes the value of a list.
fn array(elements: Vec<Value>, budget: &mut Budget) -> Result<Value, EvalError> {
    budget.bytes(elements.len().saturating_add(1).saturating_mul(size_of::<Value>()))?;
    Ok(Value::Array(elements))
}

fn pipe<'a>(
    stages: &'a [Expr],
    input: &Item<'a>,
    budget: &mut Budget,
    results: &mut Vec<Item<'a>>,
) -> Result<(), EvalError> {
    let mut current = vec![copy(input, budget)?];
    let mut ended = Ok(());
    for stage in stages {
        let mut next = Vec::new();
        for item in current {
            match eval(stage, &item, budget, &mut next) {
                Err(error) if error.is_over_budget() => return Err(error),
                // The results of later stages for what comes before the error are results before the error, too.
                Err(error) => {
                    ended = Err(error);
                    break;
                }
                Ok(()) => {}
            }
        }
        current = next;
    }
    results.append(&mut current);
    ended
}

/// Appends the true results of the first part that has some; without any, all results of the last part.
fn alternative<'a>(
    parts: &'a [Expr],
    input: &Item<'a>,
    budget: &mut Budget,
    results: &mut Vec<Item<'a>>,
) -> Result<(), EvalError> {
    let Some((last, others)) = parts.split_last() else {
        return Ok(());
    };
    for part in others {
        let mut found = Vec::new();
        match eval(part, input, budget, &mut found) {
            Err(error) if error.is_over_budget() => return Err(error),
            _ => found.retain(|item| is_true(item)),
        }
        if !found.is_empty() {
            results.append(&mut found);
            return Ok(());
        }
    }
    eval(last, input, budget, results)
}

/// Appends the results of `or` and `and`: a part that equals `decisive` decides, otherwise the next part does.
fn connect<'a>(
    parts: &'a [Expr],
    decisive: bool,
    input: &Item<'a>,
    budget: &mut Budget,
    results: &mut Vec<Item<'a>>,
) -> Result<(), EvalError> {
    // One open question at first: no part has decided.
    let mut answers = vec![!decisive];
    let mut ended = Ok(());
    for part in parts {
        let mut next = Vec::new();
        for answer in answers {
            if answer == decisive {
                next.push(answer);
                continue;
            }
            let asked = for_each(part, input, budget, |item, _| {
                next.push(is_true(&item));
                Ok(())
            });
            match asked {
                Err(error) if error.is_over_budget() => return Err(error),
                Err(error) => {
                    ended = Err(error);
                    break;
                }
                Ok(()) => {}
            }
        }
        answers = next;
    }
    results.extend(answers.into_iter().map(|answer| Cow::Owned(Value::Bool(answer))));
    ended
}

fn compare_all<'a>(
    comparison: Comparison,
    left: &'a Expr,
    right: &'a Expr,
    input: &Item<'a>,
    budget: &mut Budget,
    results: &mut Vec<Item<'a>>,
) -> Result<(), EvalError> {
    for_each(right, input, budget, |right, budget| {
        for_each(left, input, budget, |left, budget| {
            let order = compare(&left, &right, budget)?;
            let holds = match comparison {
                Comparison::Equal => order.is_eq(),
                Comparison::NotEqual => order.is_ne(),
                Comparison::Less => order.is_lt(),
                Comparison::LessOrEqual => order.is_le(),
                Comparison::Greater => order.is_gt(),
                Comparison::GreaterOrEqual => order.is_ge(),
            };
            results.push(Cow::Owned(Value::Bool(holds)));
            Ok(())
        })
    })
}

fn eval_call<'a>(
    call: &'a Call,
    input: &Item<'a>,
    budget: &mut Budget,
    results: &mut Vec<Item<'a>>,
) -> Result<(), EvalError> {
    match call {
        Call::Plain(function) => results.extend(eval_plain(*function, input, budget)?),
        Call::Binary(Binary::OneOf, candidates) => {
            let mut found = Vec::new();
            let ended = eval(candidates, input, budget, &mut found);
            for candidate in &found {
                if compare(input, candidate, budget)?.is_eq() {
                    results.push(Cow::Owned(Value::Bool(true)));
                    return Ok(());
                }
            }
            ended?;
            results.push(Cow::Owned(Value::Bool(false)));
        }
        Call::Binary(function, argument) => for_each(argument, input, budget, |argument, budget| {
            let answer = eval_binary(*function, input, &argument, budget)?;
            results.push(Cow::Owned(Value::Bool(answer)));
            Ok(())
        })?,
        Call::Select(condition) => for_each(condition, input, budget, |answer, budget| {
            if is_true(&answer) {
                results.push(copy(input, budget)?);
            }
            Ok(())
        })?,
        Call::Map(inner) => {
            let mut elements = Vec::new();
            follow(&StepKind::Each, copy(input, budget)?, input, budget, &mut elements)?;
            let mut mapped = Vec::new();
            for element in &elements {
                collect(inner, element, budget, &mut mapped)?;
            }
            results.push(Cow::Owned(array(mapped, budget)?));
        }
        Call::Quantifier { any, values, condition } => {
            let answer = quantify(*any, values, condition, input, budget)?;
            results.push(Cow::Owned(Value::Bool(answer)));
        }
        Call::Test(regex) => results.push(Cow::Owned(Value::Bool(eval_test(regex, input, budget)?))),
    }
    Ok(())
}

/// Tells whether one (or, without `any`, each) of the values meets the condition; the first that decides ends it.
fn quantify<'a>(
    any: bool,
    values: &'a Expr,
    condition: &'a Expr,
    input: &Item<'a>,
    budget: &mut Budget,
) -> Result<bool, EvalError> {
    let mut found = Vec::new();
    let ended = eval(values, input, budget, &mut found);
    for value in &found {
        let mut answers = Vec::new();
        let asked = eval(condition, value, budget, &mut answers);
        if answers.iter().any(|answer| is_true(answer) == any) {
            return Ok(any);
        }
        asked?;
    }
    ended?;
    Ok(!any)
}
