//! The result of a contest: a table of medians, ratios, and the same as one line of JSON.

use std::fmt::Write as _;
use std::time::Duration;

use serde_json::{Map, Value, json};

use super::phase::Phase;

/// Times of all contestants in all phases and rounds.
#[derive(Debug, Default)]
pub(crate) struct Scores {
    times: Vec<(&'static str, Phase, Vec<f64>)>,
    versions: Vec<(&'static str, String)>,
    skipped: Vec<(&'static str, String)>,
    /// Peaks of Howdah's client and server, in bytes.
    memory: Vec<(Phase, u64, u64)>,
}

/// How many times as fast Howdah is as another contestant in one phase.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct ContestRatio {
    /// Its name in JSON.
    pub key: String,
    /// The sentence for people.
    pub sentence: String,
    /// The other's median divided by Howdah's.
    pub value: f64,
}

/// Name of Howdah among the contestants.
const HOWDAH: &str = "howdah";
/// Contestants without history, checks and syncs: floors, not peers.
const FLOORS: [&str; 2] = ["cp -r", "tar"];

impl Scores {
    /// Adds the time of one phase in one round.
    pub(crate) fn add(&mut self, name: &'static str, phase: Phase, took: Duration) {
        let seconds = took.as_secs_f64();
        let known = |(other, its, _): &&mut (&'static str, Phase, Vec<f64>)| *other == name && *its == phase;
        match self.times.iter_mut().find(known) {
            Some((_, _, times)) => times.push(seconds),
            None => self.times.push((name, phase, vec![seconds])),
        }
    }

    /// Adds the version of a contestant.
    pub(crate) fn version(&mut self, name: &'static str, version: String) {
        if !version.is_empty() {
            self.versions.push((name, version));
        }
    }

    /// Adds a contestant that is not installed.
    pub(crate) fn skip(&mut self, name: &'static str, reason: String) {
        self.skipped.push((name, reason));
    }

    /// Adds peaks of memory; the largest of all rounds is kept.
    pub(crate) fn memory(&mut self, phase: Phase, client: u64, server: u64) {
        match self.memory.iter_mut().find(|(other, ..)| *other == phase) {
            Some(peaks) => *peaks = (phase, peaks.1.max(client), peaks.2.max(server)),
            None => self.memory.push((phase, client, server)),
        }
    }

    fn times(&self, name: &str, phase: Phase) -> Option<&[f64]> {
        let found = self
            .times
            .iter()
            .find(|(other, its, _)| *other == name && *its == phase);
        found.map(|(_, _, times)| times.as_slice())
    }

    fn median(&self, name: &str, phase: Phase) -> Option<f64> {
        self.times(name, phase).map(median)
    }

    fn names(&self) -> Vec<&'static str> {
        let mut names: Vec<&'static str> = Vec::new();
        for (name, ..) in &self.times {
            if !names.contains(name) {
                names.push(name);
            }
        }
        // The order of the rounds changes, that of the table does not.
        names.sort_by_key(|name| (*name != HOWDAH, FLOORS.contains(name)));
        names
    }

    fn phases(&self) -> Vec<Phase> {
        let mut phases = Vec::new();
        for (_, phase, _) in &self.times {
            if !phases.contains(phase) {
                phases.push(*phase);
            }
        }
        phases
    }

    /// Compares Howdah with every contestant in every phase, and with the best peer.
    pub(crate) fn ratios(&self) -> Vec<ContestRatio> {
        let mut ratios = Vec::new();
        for phase in self.phases() {
            let Some(own) = self.median(HOWDAH, phase) else {
                continue;
            };
            let mut best: Option<(&str, f64)> = None;
            for name in self.names() {
                let Some(its) = self.median(name, phase).filter(|_| name != HOWDAH) else {
                    continue;
                };
                let value = its / own.max(1e-9);
                ratios.push(ContestRatio {
                    key: format!("{}_to_{}", phase.name(), name.replace(" -r", "")),
                    sentence: format!("{}: {value:.2} times as fast as {name}", phase.name()),
                    value,
                });
                if !FLOORS.contains(&name) && best.is_none_or(|(_, best)| value < best) {
                    best = Some((name, value));
                }
            }
            if let Some((name, value)) = best {
                ratios.push(ContestRatio {
                    key: format!("{}_to_best_peer", phase.name()),
                    sentence: format!("{}: {value:.2} times as fast as the best peer, {name}", phase.name()),
                    value,
                });
            }
        }
        ratios
    }

    /// Returns the scores as a table for people.
    pub(crate) fn text(&self, title: &str) -> String {
        let names = self.names();
        let phases = self.phases();
        let width = names.iter().map(|name| name.len()).max().unwrap_or(0).max(4);
        let mut text = format!("{title}\n\n{:width$}", "NAME");
        for phase in &phases {
            let _ = write!(text, "  {:>22}", phase.name().replace('_', " ").to_uppercase());
        }
        text.push('\n');
        for name in names {
            let _ = write!(text, "{name:width$}");
            for phase in &phases {
                let _ = write!(text, "  {:>22}", self.times(name, *phase).map_or("-".to_owned(), cell));
            }
            text.push('\n');
        }
        text.push_str("\nSeconds: the median, and the range over all rounds.\n");
        for (phase, client, server) in &self.memory {
            let _ = writeln!(
                text,
                "Peak memory of {}: client {} MiB, server {} MiB.",
                phase.name(),
                client >> 20,
                server >> 20
            );
        }
        for (name, reason) in &self.skipped {
            let _ = writeln!(text, "Skipped: {name}: {reason}");
        }
        for ratio in self.ratios() {
            let _ = writeln!(text, "{}.", ratio.sentence);
        }
        text
    }

    /// Returns the scores as one line of JSON.
    pub(crate) fn json(&self, benchmark: &str, parameters: &Value) -> String {
        let rows: Vec<Value> = self
            .times
            .iter()
            .map(|(name, phase, times)| {
                json!({
                    "name": name,
                    "phase": phase.name(),
                    "seconds": rounded(median(times)),
                    "rounds": times.iter().map(|time| rounded(*time)).collect::<Vec<_>>(),
                })
            })
            .collect();
        let ratios: Map<String, Value> = self
            .ratios()
            .into_iter()
            .map(|ratio| (ratio.key, json!(rounded(ratio.value))))
            .collect();
        let memory: Map<String, Value> = self
            .memory
            .iter()
            .map(|(phase, client, server)| {
                let peaks = json!({"client_bytes": client, "server_bytes": server});
                (phase.name().to_owned(), peaks)
            })
            .collect();
        let texts = |list: &[(&'static str, String)]| -> Map<String, Value> {
            list.iter()
                .map(|(name, text)| ((*name).to_owned(), json!(text)))
                .collect()
        };
        json!({
            "benchmark": benchmark,
            "parameters": parameters,
            "rows": rows,
            "memory": memory,
            "versions": texts(&self.versions),
            "skipped": texts(&self.skipped),
            "ratios": ratios,
        })
        .to_string()
    }
}

fn median(times: &[f64]) -> f64 {
    let mut sorted = times.to_vec();
    sorted.sort_by(f64::total_cmp);
    let middle = sorted.len() / 2;
    match sorted.len() {
        0 => 0.0,
        even if even % 2 == 0 => f64::midpoint(sorted[middle - 1], sorted[middle]),
        _ => sorted[middle],
    }
}

fn cell(times: &[f64]) -> String {
    let least = times.iter().copied().fold(f64::INFINITY, f64::min);
    let most = times.iter().copied().fold(0.0, f64::max);
    format!("{:.2} ({least:.2}-{most:.2})", median(times))
}

/// Rounds to four decimals, more than the precision of the measurements.
fn rounded(value: f64) -> f64 {
    (value * 1e4).round() / 1e4
}

#[cfg(test)]
mod tests {
    use super::*;

    fn scores() -> Scores {
        let mut scores = Scores::default();
        for (name, seconds) in [
            ("cp -r", 1),
            ("howdah", 4),
            ("restic", 8),
            ("borg", 6),
            ("howdah", 2),
            ("howdah", 3),
        ] {
            scores.add(name, Phase::Put, Duration::from_secs(seconds));
        }
        scores.add("howdah", Phase::Get, Duration::from_secs(5));
        scores.memory(Phase::Put, 10 << 20, 20 << 20);
        scores.memory(Phase::Put, 5 << 20, 30 << 20);
        scores.skip("rustic", "not installed (cargo install rustic-rs)".to_owned());
        scores
    }

    #[test]
    fn people_see_medians_ranges_memory_and_ratios() {
        let expected = "\
A contest

NAME                       PUT                     GET
howdah        3.00 (2.00-4.00)        5.00 (5.00-5.00)
restic        8.00 (8.00-8.00)                       -
borg          6.00 (6.00-6.00)                       -
cp -r         1.00 (1.00-1.00)                       -

Seconds: the median, and the range over all rounds.
Peak memory of put: client 10 MiB, server 30 MiB.
Skipped: rustic: not installed (cargo install rustic-rs)
put: 2.67 times as fast as restic.
put: 2.00 times as fast as borg.
put: 0.33 times as fast as cp -r.
put: 2.00 times as fast as the best peer, borg.
";
        assert_eq!(scores().text("A contest"), expected);
    }

    #[test]
    fn machines_get_one_line() {
        let line = scores().json("contest", &json!({"files": 3}));
        assert!(!line.contains('\n'));
        let value: Value = serde_json::from_str(&line).unwrap();
        assert_eq!(value["ratios"]["put_to_best_peer"].to_string(), "2.0");
        assert_eq!(value["memory"]["put"]["server_bytes"], 30 << 20);
        assert_eq!(value["rows"][1]["rounds"].as_array().unwrap().len(), 3);
    }

    #[test]
    fn medians() {
        assert_eq!((median(&[3.0, 1.0, 2.0]), median(&[1.0, 2.0])), (2.0, 1.5));
    }
}
