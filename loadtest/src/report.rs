//! The result of a benchmark: rows of a table, ratios, and the same as one line of JSON.

use std::fmt::Write as _;
use std::time::Duration;

use serde::Serialize;
use serde_json::{Map, Value, json};

/// The result of one benchmark.
#[derive(Debug)]
pub(crate) struct Report {
    benchmark: &'static str,
    title: String,
    /// Plural of the name of an item of work.
    unit: &'static str,
    /// Name of the row that the others are compared with.
    floor: &'static str,
    parameters: Value,
    rows: Vec<Row>,
    skipped: Vec<Skipped>,
    ratios: Vec<Ratio>,
    values: Vec<(String, u64)>,
    notes: Vec<String>,
}

/// A finished report, ready to be printed.
#[derive(Debug)]
pub(crate) struct Printed {
    /// For people.
    pub text: String,
    /// For machines: one line.
    pub json: String,
}

/// One contestant: its time for an amount of work.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Row {
    /// Name of the contestant.
    pub name: String,
    /// Items of work done.
    pub items: u64,
    /// Seconds for all of them.
    pub seconds: f64,
}

/// A contestant that is not installed.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Skipped {
    /// Name of the contestant.
    pub name: String,
    /// Why, and what to do about it.
    pub reason: String,
}

/// How many times as fast one row is as another.
#[derive(Debug)]
struct Ratio {
    key: String,
    sentence: String,
    value: f64,
}

impl Row {
    /// Makes a row of a measured time.
    pub(crate) fn new(name: impl Into<String>, items: u64, time: Duration) -> Self {
        Self {
            name: name.into(),
            items,
            seconds: time.as_secs_f64(),
        }
    }

    /// Returns the milliseconds that one item took.
    pub(crate) fn milliseconds_per_item(&self) -> f64 {
        self.seconds * 1e3 / self.items.max(1) as f64
    }

    /// Returns the items done in a second.
    pub(crate) fn items_per_second(&self) -> f64 {
        self.items as f64 / self.seconds.max(1e-9)
    }
}

impl Report {
    /// Starts a report whose rows are compared with the row named `floor`.
    pub(crate) fn new(
        benchmark: &'static str,
        title: impl Into<String>,
        unit: &'static str,
        floor: &'static str,
        parameters: Value,
    ) -> Self {
        Self {
            benchmark,
            title: title.into(),
            unit,
            floor,
            parameters,
            rows: Vec::new(),
            skipped: Vec::new(),
            ratios: Vec::new(),
            values: Vec::new(),
            notes: Vec::new(),
        }
    }

    /// Adds a contestant.
    pub(crate) fn row(&mut self, row: Row) {
        self.rows.push(row);
    }

    /// Adds a contestant that could not be measured.
    pub(crate) fn skip(&mut self, name: impl Into<String>, reason: impl Into<String>) {
        self.skipped.push(Skipped {
            name: name.into(),
            reason: reason.into(),
        });
    }

    /// Adds a number other than a time; its name contains the unit.
    pub(crate) fn value(&mut self, name: impl Into<String>, value: u64) {
        self.values.push((name.into(), value));
    }

    /// Adds a sentence below the table.
    pub(crate) fn note(&mut self, note: impl Into<String>) {
        self.notes.push(note.into());
    }

    /// Adds the ratio of two rows, named `key` in the JSON. Does nothing if a row is missing.
    pub(crate) fn ratio(&mut self, key: &str, fast: &str, slow: &str) {
        let (Some(left), Some(right)) = (self.find(fast), self.find(slow)) else {
            return;
        };
        let value = right.milliseconds_per_item() / left.milliseconds_per_item().max(1e-9);
        let sentence = format!("{fast} runs at {value:.2} times the rate of {slow}");
        self.ratios.push(Ratio {
            key: key.to_owned(),
            sentence,
            value,
        });
    }

    fn find(&self, name: &str) -> Option<&Row> {
        self.rows.iter().find(|row| row.name == name)
    }

    /// Returns the report in both forms.
    pub(crate) fn print(&self) -> Printed {
        Printed {
            text: self.text(),
            json: self.json(),
        }
    }

    /// Returns the report as a table for people.
    pub(crate) fn text(&self) -> String {
        let name_width = self
            .rows
            .iter()
            .map(|row| row.name.chars().count())
            .max()
            .unwrap_or(0)
            .max(4);
        let floor = self.find(self.floor).map(Row::milliseconds_per_item);
        let mut text = format!("{}\n\n", self.title);
        let per_second = format!("{}/s", self.unit).to_uppercase();
        let _ = writeln!(
            text,
            "{:name_width$}  {per_second:>12}  {:>10}  {:>10}",
            "NAME", "MS EACH", "MULTIPLE"
        );
        for row in &self.rows {
            let multiple = floor.map_or_else(
                || "-".to_owned(),
                |floor| format!("{:.2}", row.milliseconds_per_item() / floor),
            );
            let _ = writeln!(
                text,
                "{:name_width$}  {:>12.1}  {:>10.3}  {multiple:>10}",
                row.name,
                row.items_per_second(),
                row.milliseconds_per_item()
            );
        }
        let _ = writeln!(
            text,
            "\nMULTIPLE: time per item as a multiple of that of {:?}.",
            self.floor
        );
        for (name, value) in &self.values {
            let _ = writeln!(text, "{name}: {value}");
        }
        for note in &self.notes {
            let _ = writeln!(text, "{note}");
        }
        for Skipped { name, reason } in &self.skipped {
            let _ = writeln!(text, "Skipped: {name}: {reason}");
        }
        for ratio in &self.ratios {
            let _ = writeln!(text, "{}.", ratio.sentence);
        }
        text
    }

    /// Returns the report as one line of JSON.
    pub(crate) fn json(&self) -> String {
        let rows: Vec<Value> = self
            .rows
            .iter()
            .map(|row| {
                json!({
                    "name": row.name,
                    "items": row.items,
                    "seconds": rounded(row.seconds),
                    "items_per_second": rounded(row.items_per_second()),
                    "ms_per_item": rounded(row.milliseconds_per_item()),
                })
            })
            .collect();
        let ratios: Map<String, Value> = self
            .ratios
            .iter()
            .map(|ratio| (ratio.key.clone(), json!(rounded(ratio.value))))
            .collect();
        json!({
            "benchmark": self.benchmark,
            "parameters": self.parameters,
            "rows": rows,
            "skipped": self.skipped,
            "ratios": ratios,
            "values": self.values.iter().map(|(name, value)| (name.clone(), json!(value))).collect::<Map<_, _>>(),
        })
        .to_string()
    }
}

/// Rounds to four decimals, more than the precision of the measurements.
fn rounded(value: f64) -> f64 {
    (value * 1e4).round() / 1e4
}

#[cfg(test)]
mod tests {
    use super::*;

    fn report() -> Report {
        let mut report = Report::new("datums", "Two contestants", "datums", "loop", json!({"datums": 1000}));
        report.row(Row::new("howdah", 1000, Duration::from_secs(2)));
        report.row(Row::new("loop", 1000, Duration::from_secs(1)));
        report.row(Row::new("docker run", 20, Duration::from_secs(5)));
        report.skip("parallel", "not installed: apt-get install parallel");
        report.ratio("to_docker_run", "howdah", "docker run");
        report.ratio("to_parallel", "howdah", "parallel");
        report
    }

    #[test]
    fn people_see_a_table_the_ratios_and_what_is_missing() {
        let expected = "\
Two contestants

NAME            DATUMS/S     MS EACH    MULTIPLE
howdah             500.0       2.000        2.00
loop              1000.0       1.000        1.00
docker run           4.0     250.000      250.00

MULTIPLE: time per item as a multiple of that of \"loop\".
Skipped: parallel: not installed: apt-get install parallel
howdah runs at 125.00 times the rate of docker run.
";
        assert_eq!(report().text(), expected);
    }

    #[test]
    fn machines_get_one_line() {
        let line = report().json();
        assert!(!line.contains('\n'));
        let value: Value = serde_json::from_str(&line).unwrap();
        assert_eq!(value["ratios"].to_string(), r#"{"to_docker_run":125.0}"#);
        assert_eq!(value["rows"][0]["name"], "howdah");
        assert_eq!(value["rows"][0]["ms_per_item"].to_string(), "2.0");
        assert_eq!(value["skipped"][0]["name"], "parallel");
    }
}
