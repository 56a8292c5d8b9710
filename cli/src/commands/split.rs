//! Cutting a file into records (`put file --split` of 1.x).

use std::io::BufRead;

use serde_json::value::RawValue;

use crate::args::files::Split;
use crate::error::CliError;

/// Limits of one file of records.
#[derive(Debug, Clone, Copy)]
pub(super) struct Cut {
    /// Records per file; zero means no limit.
    pub records: u64,
    /// Bytes per file; zero means no limit. Without any limit each record is a file.
    pub bytes: u64,
    /// Leading records that are repeated at the beginning of every file.
    pub header: u64,
}

/// Reads records and passes the content of one file after the other to `emit`.
pub(super) fn split(
    mut reader: impl BufRead,
    kind: Split,
    cut: &Cut,
    name: &str,
    emit: &mut dyn FnMut(&[u8]) -> Result<(), CliError>,
) -> Result<(), CliError> {
    let mut files = RecordFiles {
        cut: *cut,
        header: Vec::new(),
        headers: 0,
        content: Vec::new(),
        records: 0,
    };
    match kind {
        Split::Json => {
            for value in serde_json::Deserializer::from_reader(reader).into_iter::<Box<RawValue>>() {
                let value = value
                    .map_err(|error| CliError::refused(format!("{name} is not a sequence of JSON values: {error}")))?;
                files.add(format!("{}\n", value.get()).as_bytes(), emit)?;
            }
        }
        Split::Line | Split::Sql | Split::Csv => loop {
            let mut line = Vec::new();
            let read = reader
                .read_until(b'\n', &mut line)
                .map_err(CliError::io(format!("cannot read {name}")))?;
            if read == 0 {
                break;
            }
            files.add(&line, emit)?;
        },
    }
    files.close(emit)
}

/// Collects records into files.
struct RecordFiles {
    cut: Cut,
    header: Vec<u8>,
    headers: u64,
    content: Vec<u8>,
    records: u64,
}

impl RecordFiles {
    fn add(&mut self, record: &[u8], emit: &mut dyn FnMut(&[u8]) -> Result<(), CliError>) -> Result<(), CliError> {
        if self.headers < self.cut.header {
            self.headers += 1;
            self.header.extend_from_slice(record);
            return Ok(());
        }
        self.content.extend_from_slice(record);
        self.records += 1;
        let enough_records = self.cut.records > 0 && self.records >= self.cut.records;
        let enough_bytes = self.cut.bytes > 0 && self.content.len() as u64 >= self.cut.bytes;
        let no_limit = self.cut.records == 0 && self.cut.bytes == 0;
        if enough_records || enough_bytes || no_limit {
            self.close(emit)
        } else {
            Ok(())
        }
    }

    fn close(&mut self, emit: &mut dyn FnMut(&[u8]) -> Result<(), CliError>) -> Result<(), CliError> {
        if self.records == 0 {
            return Ok(());
        }
        let file = [self.header.as_slice(), self.content.as_slice()].concat();
        self.content.clear();
        self.records = 0;
        emit(&file)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn files(text: &str, kind: Split, records: u64, bytes: u64, header: u64) -> Vec<String> {
        let mut files = Vec::new();
        split(
            text.as_bytes(),
            kind,
            &Cut { records, bytes, header },
            "x",
            &mut |file| {
                files.push(String::from_utf8_lossy(file).into_owned());
                Ok(())
            },
        )
        .expect("split");
        files
    }

    #[test]
    fn lines_are_split_by_count_size_and_header() {
        assert_eq!(files("a\nb\nc", Split::Line, 0, 0, 0), ["a\n", "b\n", "c"]);
        assert_eq!(files("a\nb\nc\n", Split::Line, 2, 0, 0), ["a\nb\n", "c\n"]);
        assert_eq!(files("a\nb\nc\n", Split::Line, 0, 3, 0), ["a\nb\n", "c\n"]);
        assert_eq!(files("h\na\nb\n", Split::Line, 1, 0, 1), ["h\na\n", "h\nb\n"]);
        assert_eq!(files("", Split::Line, 1, 0, 0), Vec::<String>::new());
    }

    #[test]
    fn json_values_keep_their_text() {
        assert_eq!(
            files("{\"b\": 1, \"a\": 1.50}[2]\n3", Split::Json, 0, 0, 0),
            ["{\"b\": 1, \"a\": 1.50}\n", "[2]\n", "3\n"]
        );
    }
}
