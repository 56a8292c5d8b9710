//! Training tables and patients, read from files.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
use serde::{Deserialize, Serialize};

/// Selected columns of one or more tables, with the rows of all tables.
#[derive(Debug, PartialEq)]
pub struct TrainingTable {
    /// The columns, in the order asked for.
    pub columns: Vec<Vec<f64>>,
}

impl TrainingTable {
    /// Reads the columns `names` from every CSV file under `path`, in the order of their paths.
    pub fn read(path: &Path, names: &[&str]) -> anyhow::Result<Self> {
        let files = files_under(path)?;
        let is_csv = |p: &PathBuf| p.extension().is_some_and(|e| e.eq_ignore_ascii_case("csv"));
        let files: Vec<PathBuf> = files.into_iter().filter(is_csv).collect();
        if files.is_empty() {
            bail!("there is no CSV file under {}", path.display());
        }
        let mut table = Self {
            columns: vec![Vec::new(); names.len()],
        };
        for file in files {
            let text = fs::File::open(&file).with_context(|| file.display().to_string())?;
            table.append(text, names).with_context(|| file.display().to_string())?;
        }
        Ok(table)
    }

    fn append(&mut self, text: impl io::Read, names: &[&str]) -> anyhow::Result<()> {
        let mut reader = csv::ReaderBuilder::new().trim(csv::Trim::All).from_reader(text);
        let header = reader.headers()?.clone();
        let mut places = Vec::new();
        for name in names {
            match header.iter().position(|column| column == *name) {
                Some(place) => places.push(place),
                None => {
                    let found: Vec<&str> = header.iter().collect();
                    bail!("there is no column {name:?}; the header has {}", found.join(", "));
                }
            }
        }
        for row in reader.records() {
            let row = row?;
            let line = row.position().map_or(0, csv::Position::line);
            for (column, (place, name)) in self.columns.iter_mut().zip(places.iter().zip(names)) {
                let field = row.get(*place).unwrap_or_default();
                let value = field.parse().ok().filter(|v: &f64| v.is_finite());
                let value = value.with_context(|| format!("line {line}: {name} is {field:?}, expected a number"))?;
                column.push(value);
            }
        }
        Ok(())
    }
}

/// One patient, as in the files of the repository `attributes`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Patient {
    /// The known variables.
    pub independent_variables: Vec<Variable>,
}

/// A named value.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Variable {
    /// Name, as in the header of the training table.
    pub name: String,
    /// Value.
    pub value: f64,
}

/// Reads a JSON file.
pub fn read_json<T: serde::de::DeserializeOwned>(path: &Path) -> anyhow::Result<T> {
    let text = fs::read(path).with_context(|| path.display().to_string())?;
    serde_json::from_slice(&text).with_context(|| path.display().to_string())
}

/// Writes a value as indented JSON with a newline at its end.
pub fn write_json(path: &Path, value: &impl Serialize) -> anyhow::Result<()> {
    let mut text = serde_json::to_string_pretty(value)?;
    text.push('\n');
    fs::write(path, text).with_context(|| format!("cannot write {}", path.display()))
}

/// Returns every file at or under `path`, sorted. Follows symbolic links, because inputs are symbolic links.
pub fn files_under(path: &Path) -> anyhow::Result<Vec<PathBuf>> {
    let meta = fs::metadata(path).with_context(|| format!("cannot read {}", path.display()))?;
    if !meta.is_dir() {
        return Ok(vec![path.to_owned()]);
    }
    let mut files = Vec::new();
    for entry in fs::read_dir(path).with_context(|| path.display().to_string())? {
        let entry = entry.with_context(|| path.display().to_string())?;
        files.extend(files_under(&entry.path())?);
    }
    files.sort();
    Ok(files)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> anyhow::Result<TrainingTable> {
        let mut table = TrainingTable {
            columns: vec![Vec::new(); 2],
        };
        table.append(text.as_bytes(), &["y", "x"])?;
        Ok(table)
    }

    #[test]
    fn columns_are_found_by_name() {
        let table = read("x, other ,y\n1,a,2\n 3 ,b,4e1\n").unwrap();
        assert_eq!(table.columns, [vec![2.0, 40.0], vec![1.0, 3.0]]);
    }

    #[test]
    fn bad_tables_are_refused_with_place_and_reason() {
        for (text, expected) in [
            ("x,z\n1,2\n", "there is no column \"y\"; the header has x, z"),
            ("x,y\n1,2\n1,two\n", "line 3: y is \"two\", expected a number"),
            ("x,y\n1,\n", "line 2: y is \"\", expected a number"),
            ("x,y\nNaN,1\n", "line 2: x is \"NaN\", expected a number"),
        ] {
            assert_eq!(read(text).unwrap_err().to_string(), expected);
        }
        assert!(read("x,y\n1,2,3\n").is_err());
    }
}
