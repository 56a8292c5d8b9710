//! Machine output: JSON objects or YAML documents, one after another.

use std::io::{self, Write};

use howdah_api::json;
use prost::{Message, Name};
use serde_json::Value;

use crate::args::shared::Encoding;
use crate::error::CliError;

/// Writes messages in machine form.
#[derive(Debug)]
pub struct Raw {
    encoding: Encoding,
    first: bool,
}

impl Raw {
    /// Makes a writer.
    pub fn new(encoding: Encoding) -> Raw {
        Raw { encoding, first: true }
    }

    /// Writes a message.
    pub fn message<M: Message + Name>(&mut self, out: &mut impl Write, message: &M) -> Result<(), CliError> {
        let value = json::to_json(message).map_err(|error| CliError::refused(error.to_string()))?;
        self.value(out, &value)
    }

    /// Writes a JSON value.
    pub fn value(&mut self, out: &mut impl Write, value: &Value) -> Result<(), CliError> {
        match self.encoding {
            Encoding::Json => writeln!(out, "{value:#}")?,
            Encoding::Yaml => {
                if !std::mem::take(&mut self.first) {
                    writeln!(out, "---")?;
                }
                out.write_all(yaml(value)?.as_bytes())?;
            }
        }
        Ok(())
    }
}

/// Returns a JSON value as a YAML document.
pub fn yaml(value: &Value) -> Result<String, CliError> {
    serde_yaml_ng::to_string(&to_yaml(value)).map_err(|error| CliError::Output(io::Error::other(error.to_string())))
}

/// Converts value by value: serialised directly, numbers of arbitrary precision would become maps in YAML.
fn to_yaml(value: &Value) -> serde_yaml_ng::Value {
    use serde_yaml_ng::Value as Yaml;
    match value {
        Value::Null => Yaml::Null,
        Value::Bool(flag) => Yaml::Bool(*flag),
        Value::String(text) => Yaml::String(text.clone()),
        Value::Array(items) => Yaml::Sequence(items.iter().map(to_yaml).collect()),
        Value::Object(fields) => Yaml::Mapping(
            fields
                .iter()
                .map(|(key, value)| (Yaml::String(key.clone()), to_yaml(value)))
                .collect(),
        ),
        Value::Number(number) => {
            if let Some(whole) = number.as_u64() {
                Yaml::from(whole)
            } else if let Some(whole) = number.as_i64() {
                Yaml::from(whole)
            } else {
                Yaml::from(number.as_f64().unwrap_or(f64::NAN))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn written(encoding: Encoding) -> String {
        let mut raw = Raw::new(encoding);
        let mut out = Vec::new();
        for value in [
            json!({"size": "5", "n": 1}),
            json!({"path": "/a", "flag": true, "half": 0.5}),
        ] {
            raw.value(&mut out, &value).expect("written");
        }
        String::from_utf8(out).expect("text")
    }

    #[test]
    fn json_objects_follow_one_another() {
        insta::assert_snapshot!(written(Encoding::Json), @r#"
        {
          "n": 1,
          "size": "5"
        }
        {
          "flag": true,
          "half": 0.5,
          "path": "/a"
        }
        "#);
    }

    #[test]
    fn yaml_documents_are_separated() {
        insta::assert_snapshot!(written(Encoding::Yaml), @r"
        n: 1
        size: '5'
        ---
        flag: true
        half: 0.5
        path: /a
        ");
    }
}
