//! Machine output: JSON objects or YAML documents, one after another.

use std::io::Write;

use howdah_api::json;
use prost::{Message, Name};
use serde_json::Value;

use crate::args::shared::Encoding;
use crate::error::CliError;

/// Writes messages in machine form.
#[derive(Debug)]
pub(crate) struct Raw {
    encoding: Encoding,
    first: bool,
}

impl Raw {
    /// Makes a writer.
    pub(crate) fn new(encoding: Encoding) -> Raw {
        Raw { encoding, first: true }
    }

    /// Writes a message.
    pub(crate) fn message<M: Message + Name>(&mut self, out: &mut impl Write, message: &M) -> Result<(), CliError> {
        let value = json::to_json(message).map_err(|error| CliError::refused(error.to_string()))?;
        self.value(out, &value)
    }

    /// Writes a JSON value.
    pub(crate) fn value(&mut self, out: &mut impl Write, value: &Value) -> Result<(), CliError> {
        match self.encoding {
            Encoding::Json => writeln!(out, "{value:#}")?,
            Encoding::Yaml => {
                if !std::mem::take(&mut self.first) {
                    writeln!(out, "---")?;
                }
                out.write_all(howdah_spec::to_yaml(value).as_bytes())?;
            }
        }
        Ok(())
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
