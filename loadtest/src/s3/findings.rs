//! The result of the benchmark: a table of requests, whether the bound holds, and the same as one line of JSON.

use std::fmt::Write as _;

use serde_json::{Map, Value, json};

use super::traffic::{RequestKind, TrafficTotals};
use crate::report::Printed;

/// Most objects for each commit, in addition to its data.
const OBJECTS_PER_COMMIT: u64 = 10;
/// Bytes of data for each further object.
const BYTES_PER_OBJECT: u64 = 1 << 20;

/// The requests of one kind of work.
pub(super) struct TrafficRow {
    /// Its name in table and JSON.
    pub name: &'static str,
    /// The unit of work for which requests are counted.
    pub unit: &'static str,
    /// Number of units.
    pub items: f64,
    /// Commits that were made.
    pub commits: u64,
    /// Bytes of new data.
    pub bytes: u64,
    /// Time in seconds.
    pub seconds: f64,
    /// Requests one after the other.
    pub in_sequence: u64,
    /// The requests.
    pub sum: TrafficTotals,
}

impl TrafficRow {
    /// Returns how many objects the bound allows.
    fn allowed(&self) -> u64 {
        self.bytes.div_ceil(BYTES_PER_OBJECT) + OBJECTS_PER_COMMIT * self.commits
    }

    /// Returns the objects for each commit, without one for each MiB of data; none without commits.
    fn objects_per_commit(&self) -> Option<f64> {
        let beyond = self.sum.objects.saturating_sub(self.bytes.div_ceil(BYTES_PER_OBJECT));
        (self.commits > 0).then(|| beyond as f64 / self.commits as f64)
    }

    fn exceeds_bound(&self) -> bool {
        self.sum.objects > self.allowed()
    }

    fn requests_per_item(&self) -> f64 {
        self.sum.requests as f64 / self.items
    }
}

/// The result of the benchmark.
pub(super) struct Findings {
    title: String,
    parameters: Value,
    rows: Vec<TrafficRow>,
    skipped: Option<String>,
}

impl Findings {
    /// Makes a result without rows.
    pub(super) fn new(title: String, parameters: Value) -> Self {
        Self {
            title,
            parameters,
            rows: Vec::new(),
            skipped: None,
        }
    }

    /// Adds the requests of one kind of work.
    pub(super) fn row(&mut self, row: TrafficRow) {
        self.rows.push(row);
    }

    /// Sets the reason why nothing could be measured.
    pub(super) fn skip(&mut self, reason: String) {
        self.skipped = Some(reason);
    }

    /// Returns the result in both forms.
    pub(super) fn print(&self) -> Printed {
        Printed {
            text: self.text(),
            json: self.json(),
        }
    }

    fn text(&self) -> String {
        let mut text = format!("{}\n\n", self.title);
        if let Some(reason) = &self.skipped {
            let _ = writeln!(text, "Skipped: {reason}");
            return text;
        }
        let _ = writeln!(
            text,
            "{:12}  {:>8}  {:>8}  {:>11}  {:>5}  {:>5}  {:>5}  {:>5}  {:>7}  {:>7}  {:>10}  {:>12}",
            "WORK",
            "SECONDS",
            "REQUESTS",
            "IN SEQUENCE",
            "GET",
            "HEAD",
            "LIST",
            "PUT",
            "OBJECTS",
            "ALLOWED",
            "PER COMMIT",
            "REQUESTS PER",
        );
        for row in &self.rows {
            let allowed = match row.commits {
                0 => "-".to_owned(),
                _ => row.allowed().to_string(),
            };
            let per_commit = row
                .objects_per_commit()
                .map_or_else(|| "-".to_owned(), |objects| format!("{objects:.1}"));
            let kind = |kind| row.sum.kind(kind);
            let _ = writeln!(
                text,
                "{:12}  {:>8.2}  {:>8}  {:>11}  {:>5}  {:>5}  {:>5}  {:>5}  {:>7}  {allowed:>7}  {per_commit:>10}  {:.1} per {}",
                row.name,
                row.seconds,
                row.sum.requests,
                row.in_sequence,
                kind(RequestKind::Get),
                kind(RequestKind::Head),
                kind(RequestKind::List),
                kind(RequestKind::Put),
                row.sum.objects,
                row.requests_per_item(),
                row.unit,
            );
        }
        text.push('\n');
        for row in &self.rows {
            let _ = writeln!(text, "{}: {}.", row.name, parts(&row.sum));
        }
        text.push_str(
            "\nSECONDS and IN SEQUENCE are of one change, the others of all. IN SEQUENCE: requests that began when the one \
             before had ended.\nOBJECTS: writes that found nothing in their place. PER COMMIT: objects beyond one for each \
             MiB of data, for each commit.\n",
        );
        let over: Vec<&str> = self
            .rows
            .iter()
            .filter(|row| row.exceeds_bound())
            .map(|row| row.name)
            .collect();
        let bound = format!("an object for each MiB of data and {OBJECTS_PER_COMMIT} for each commit");
        let _ = match over[..] {
            [] => writeln!(text, "The bound holds: at most {bound}."),
            _ => writeln!(text, "Bound exceeded by {}: {bound} are allowed.", over.join(", ")),
        };
        text
    }

    fn json(&self) -> String {
        let rows: Map<String, Value> = self
            .rows
            .iter()
            .map(|row| (row.name.to_owned(), row_json(row)))
            .collect();
        json!({
            "benchmark": "s3",
            "parameters": self.parameters,
            "rows": rows,
            "bound_exceeded": self.rows.iter().any(TrafficRow::exceeds_bound),
            "skipped": self.skipped,
        })
        .to_string()
    }
}

fn row_json(row: &TrafficRow) -> Value {
    json!({
        "seconds": rounded(row.seconds),
        "in_sequence": row.in_sequence,
        "requests_per": row.unit,
        "requests_per_item": rounded(row.requests_per_item()),
        "commits": row.commits,
        "objects_allowed": row.allowed(),
        "objects_per_commit": row.objects_per_commit().map(rounded),
        "bound_exceeded": row.exceeds_bound(),
        "traffic": row.sum,
    })
}

/// Rounds to four decimals, more than the precision of the measurements.
fn rounded(value: f64) -> f64 {
    (value * 1e4).round() / 1e4
}

/// Returns the number of requests by kind and part of the store, as a sentence.
fn parts(sum: &TrafficTotals) -> String {
    let kinds = sum.parts.iter().map(|(kind, parts)| {
        let parts: Vec<String> = parts
            .iter()
            .map(|(part, count)| {
                if part.is_empty() {
                    count.to_string()
                } else {
                    format!("{count} {part}")
                }
            })
            .collect();
        format!("{} {}", format!("{kind:?}").to_lowercase(), parts.join(", "))
    });
    kinds.collect::<Vec<_>>().join("; ")
}
