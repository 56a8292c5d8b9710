//! The programs as a pipeline runs them, on the example's own data.

#![expect(clippy::unwrap_used, reason = "a panic with a line number is how a test fails")]

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use linear_regression::model::{LinearModel, Prediction};

const TRAIN_SINGLE: &str = env!("CARGO_BIN_EXE_train-single");
const TRAIN_MULTI: &str = env!("CARGO_BIN_EXE_train-multi");
const PREDICT: &str = env!("CARGO_BIN_EXE_predict");

fn data() -> PathBuf {
    Path::new(&std::env::var("CARGO_MANIFEST_DIR").expect("cargo says where the package is")).join("../data")
}

fn flag(name: &str, path: &Path) -> String {
    format!("-{name}={}", path.display())
}

fn train(program: &str, input: &Path, out: &Path) -> Output {
    Command::new(program)
        .args([flag("in", input), flag("out", out)])
        .output()
        .unwrap()
}

fn assert_success(output: &Output) {
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{stderr}");
}

fn read<T: serde::de::DeserializeOwned>(path: &Path) -> T {
    serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap()
}

fn rounded(value: f64) -> String {
    format!("{value:.4}")
}

fn trained(program: &str) -> (tempfile::TempDir, LinearModel, String) {
    let out = tempfile::tempdir().unwrap();
    let output = train(program, &data().join("diabetes.csv"), out.path());
    assert_success(&output);
    let model = read(&out.path().join("model.json"));
    (out, model, String::from_utf8(output.stdout).unwrap())
}

#[test]
fn the_single_model_has_the_known_figures() {
    let (_out, model, printed) = trained(TRAIN_SINGLE);
    assert_eq!(model.observations, 442);
    assert_eq!(rounded(model.intercept), "152.1335");
    assert_eq!(model.coefficients.len(), 1);
    assert_eq!(model.coefficients[0].name, "bmi");
    assert_eq!(rounded(model.coefficients[0].coefficient), "949.4353");
    assert_eq!(printed, "y = 152.1335 + 949.4353 bmi (from 442 observations)\n");
}

#[test]
fn the_multiple_model_has_the_known_figures() {
    let (_out, model, _) = trained(TRAIN_MULTI);
    assert_eq!(rounded(model.intercept), "152.1335");
    let got: Vec<(String, String)> = model
        .coefficients
        .into_iter()
        .map(|c| (c.name, rounded(c.coefficient)))
        .collect();
    assert_eq!(
        got,
        [
            ("bmi".to_owned(), "675.0698".to_owned()),
            ("ltg".to_owned(), "614.9505".to_owned())
        ]
    );
}

#[test]
fn training_reads_every_table_at_any_depth() {
    // The same rows split over two files in a tree give the same model.
    let dir = tempfile::tempdir().unwrap();
    let text = std::fs::read_to_string(data().join("diabetes.csv")).unwrap();
    let (header, rows) = text.split_once('\n').unwrap();
    let rows: Vec<&str> = rows.lines().collect();
    let (first, second) = rows.split_at(100);
    std::fs::create_dir(dir.path().join("b")).unwrap();
    let write = |name: &str, rows: &[&str]| {
        let text = format!("{header}\n{}\n", rows.join("\n"));
        std::fs::write(dir.path().join(name), text).unwrap();
    };
    write("a.csv", first);
    write("b/c.CSV", second);
    std::fs::write(dir.path().join("notes.txt"), "not a table").unwrap();
    let out = tempfile::tempdir().unwrap();
    assert_success(&train(TRAIN_SINGLE, dir.path(), out.path()));
    let model: LinearModel = read(&out.path().join("model.json"));
    assert_eq!(model, trained(TRAIN_SINGLE).1);
}

#[test]
fn predictions_follow_from_model_and_patient() {
    let (model_dir, model, _) = trained(TRAIN_MULTI);
    let patient = data().join("attributes/1.json");
    let out = tempfile::tempdir().unwrap();
    // As Howdah runs it: the datum's path is in the variable named after the input.
    let output = Command::new(PREDICT)
        .args([flag("model", model_dir.path()), flag("out", out.path())])
        .env("attributes", &patient)
        .output()
        .unwrap();
    assert_success(&output);
    let got: Prediction = read(&out.path().join("1.json"));
    let [bmi, ltg] = &got.independent_variables[..] else {
        panic!("{got:?}")
    };
    let expected =
        model.intercept + model.coefficients[0].coefficient * bmi.value + model.coefficients[1].coefficient * ltg.value;
    assert!((got.prediction - expected).abs() < 1e-9);
    assert_eq!(rounded(got.prediction), "206.0254");
    let text = std::fs::read_to_string(out.path().join("1.json")).unwrap();
    assert!(
        text.starts_with("{\n  \"independent_variables\"") && text.ends_with("}\n"),
        "{text}"
    );
}

#[test]
fn every_patient_of_the_example_can_be_predicted() {
    let (model_dir, _, _) = trained(TRAIN_SINGLE);
    let out = tempfile::tempdir().unwrap();
    for input in ["attributes", "more"] {
        let output = Command::new(PREDICT)
            .args([
                flag("in", &data().join(input)),
                flag("model", &model_dir.path().join("model.json")),
                flag("out", out.path()),
            ])
            .output()
            .unwrap();
        assert_success(&output);
    }
    for name in ["1.json", "2.json", "3.json", "4.json"] {
        let _: Prediction = read(&out.path().join(name));
    }
}

#[test]
fn bad_input_is_explained() {
    let dir = tempfile::tempdir().unwrap();
    let explain = |output: Output| {
        assert!(!output.status.success());
        String::from_utf8(output.stderr).unwrap()
    };
    let printed = explain(train(TRAIN_SINGLE, dir.path(), dir.path()));
    assert!(printed.contains("there is no CSV file under"), "{printed}");
    let table = dir.path().join("t.csv");
    std::fs::write(&table, "bmi,y\n1,2\n1,3\n1,x\n").unwrap();
    let printed = explain(train(TRAIN_SINGLE, dir.path(), dir.path()));
    assert!(
        printed.contains("t.csv: line 4: y is \"x\", expected a number"),
        "{printed}"
    );
    std::fs::write(&table, "bmi,y\n1,2\n1,3\n").unwrap();
    let printed = explain(train(TRAIN_SINGLE, dir.path(), dir.path()));
    assert!(printed.contains("bmi does not vary independently"), "{printed}");
    std::fs::write(&table, "bmi,y\n1,2\n").unwrap();
    let printed = explain(train(TRAIN_SINGLE, dir.path(), dir.path()));
    assert!(printed.contains("1 rows cannot determine 2 unknowns"), "{printed}");

    let predict = |patient: &str, model: &Path| {
        let file = dir.path().join("p.json");
        std::fs::write(&file, patient).unwrap();
        Command::new(PREDICT)
            .args([flag("in", &file), flag("model", model), flag("out", dir.path())])
            .output()
            .unwrap()
    };
    let printed = explain(predict("{}", &dir.path().join("none.json")));
    assert!(
        printed.contains("cannot read the model") && printed.contains("none.json"),
        "{printed}"
    );
    let (model, _, _) = trained(TRAIN_SINGLE);
    let printed = explain(predict("{\"independent_variables\": []}", model.path()));
    assert!(printed.contains("p.json") && printed.contains("\"bmi\""), "{printed}");
    let printed = explain(predict("[", model.path()));
    assert!(printed.contains("cannot read a patient"), "{printed}");
}
