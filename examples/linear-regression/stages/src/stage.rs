//! The two stages: training and prediction.

#![expect(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a stage reports its result and its errors as lines of its log"
)]

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::Context;

use crate::data::{self, Patient, TrainingTable};
use crate::flags::PathFlags;
use crate::least_squares::{self, NoFit};
use crate::model::{Coefficient, LinearModel};

/// Name of the file that training writes.
const MODEL_FILE: &str = "model.json";

/// The column that is predicted.
const RESPONSE: &str = "y";

/// Runs a stage as a program.
pub fn main(stage: impl FnOnce() -> anyhow::Result<String>) -> ExitCode {
    match stage() {
        Ok(summary) => {
            println!("{summary}");
            ExitCode::SUCCESS
        }
        Err(e) => {
            eprintln!("{e:#}");
            ExitCode::FAILURE
        }
    }
}

/// Fits a model of `variables` to every CSV file under `/pfs/training` and writes `model.json`.
///
/// Flags: `-in` for the input, `-out` for the output directory or file.
pub fn train(args: impl Iterator<Item = String>, variables: &[&str]) -> anyhow::Result<String> {
    let flags = PathFlags::parse(args, &["in", "out"])?;
    let input = flags.path("in", "/pfs/training");
    let model = fit(&input, variables).with_context(|| "cannot train")?;
    let out = file_in(flags.path("out", "/pfs/out"), MODEL_FILE);
    data::write_json(&out, &model)?;
    let mut formula = format!("{RESPONSE} = {:.4}", model.intercept);
    for Coefficient { name, coefficient } in &model.coefficients {
        let sign = if *coefficient < 0.0 { '-' } else { '+' };
        formula.push_str(&format!(" {sign} {:.4} {name}", coefficient.abs()));
    }
    Ok(format!("{formula} (from {} observations)", model.observations))
}

/// Fits a model of `variables` to every CSV file under `input`.
pub fn fit(input: &Path, variables: &[&str]) -> anyhow::Result<LinearModel> {
    let mut names = variables.to_vec();
    names.push(RESPONSE);
    let mut columns = TrainingTable::read(input, &names)?.columns;
    let response = columns.pop().context("a table has at least one column")?;
    let observations = response.len();
    columns.insert(0, vec![1.0; observations]);
    let solution = least_squares::solve(columns, response).map_err(|e| match e {
        NoFit::TooFewRows { .. } => anyhow::anyhow!("{}: {e}", input.display()),
        NoFit::Dependent { column } => anyhow::anyhow!(
            "{}: {} does not vary independently of the other columns",
            input.display(),
            column.checked_sub(1).map_or("the intercept", |i| variables[i])
        ),
    })?;
    let named = variables.iter().zip(&solution[1..]);
    Ok(LinearModel {
        intercept: solution[0],
        coefficients: named
            .map(|(name, coefficient)| Coefficient {
                name: (*name).to_owned(),
                coefficient: *coefficient,
            })
            .collect(),
        observations,
    })
}

/// Predicts for the patients of one datum; each prediction has the file name of its patient.
///
/// The variable `attributes` names the input (Howdah sets it to the path of the datum). Flags:
/// `-in`, `-model` (directory or file), `-out` (directory).
pub fn predict(args: impl Iterator<Item = String>, attributes: Option<&str>) -> anyhow::Result<String> {
    let flags = PathFlags::parse(args, &["in", "model", "out"])?;
    let input = flags.path("in", attributes.unwrap_or("/pfs/attributes"));
    let out = flags.path("out", "/pfs/out");
    let model = file_in(flags.path("model", "/pfs/model"), MODEL_FILE);
    let model: LinearModel = data::read_json(&model).context("cannot read the model")?;
    let mut lines = Vec::new();
    for file in data::files_under(&input)? {
        let patient: Patient = data::read_json(&file).context("cannot read a patient")?;
        let prediction = model.predict(patient).with_context(|| file.display().to_string())?;
        let name = file
            .file_name()
            .with_context(|| format!("{} has no file name", file.display()))?;
        data::write_json(&out.join(name), &prediction)?;
        lines.push(format!("{}: {:.4}", name.display(), prediction.prediction));
    }
    anyhow::ensure!(!lines.is_empty(), "there is no file under {}", input.display());
    Ok(lines.join("\n"))
}

/// Returns `name` in `path` where that is a directory, else `path` itself.
fn file_in(path: PathBuf, name: &str) -> PathBuf {
    if path.is_dir() { path.join(name) } else { path }
}
