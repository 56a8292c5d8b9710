//! Tables: columns padded with blanks, at least one blank between two columns.
//!
//! A table is written in blocks of fifty rows, each below the header, so that a list of any length
//! costs the memory of one block. Columns never get narrower from block to block. Table crates render a whole table at
//! once; with them the blocks and the widths that the blocks share would still be code of this module.

use std::io::{self, Write};

use super::color;

/// Rows between two headers.
const BLOCK_ROWS: usize = 50;

/// Writes rows as an aligned table.
#[derive(Debug)]
pub(crate) struct TextTable<W: Write> {
    out: W,
    header: Vec<String>,
    widths: Vec<usize>,
    rows: Vec<Vec<String>>,
    blocks: usize,
}

impl<W: Write> TextTable<W> {
    /// Makes a table with the given column titles.
    pub(crate) fn new(out: W, header: &[&str]) -> TextTable<W> {
        TextTable {
            out,
            header: header.iter().map(|title| (*title).to_owned()).collect(),
            widths: header.iter().map(|title| title.chars().count()).collect(),
            rows: Vec::new(),
            blocks: 0,
        }
    }

    /// Adds a row; cells may carry marks of colours, which take no width.
    pub(crate) fn row(&mut self, cells: Vec<String>) -> io::Result<()> {
        self.rows.push(cells);
        if self.rows.len() == BLOCK_ROWS {
            self.flush_block()
        } else {
            Ok(())
        }
    }

    /// Writes the rows that are buffered; for commands that stream without an end.
    pub(crate) fn flush_rows(&mut self) -> io::Result<()> {
        self.measure();
        if self.blocks == 0 {
            self.write_header()?;
            self.blocks = 1;
        }
        for cells in std::mem::take(&mut self.rows) {
            write_line(&mut self.out, &cells, &self.widths)?;
        }
        self.out.flush()
    }

    /// Writes the remaining rows. A table without rows is only its header.
    pub(crate) fn finish(mut self) -> io::Result<W> {
        if !self.rows.is_empty() || self.blocks == 0 {
            self.flush_block()?;
        }
        self.out.flush()?;
        Ok(self.out)
    }

    fn flush_block(&mut self) -> io::Result<()> {
        self.measure();
        self.write_header()?;
        self.blocks += 1;
        for cells in std::mem::take(&mut self.rows) {
            write_line(&mut self.out, &cells, &self.widths)?;
        }
        Ok(())
    }

    fn measure(&mut self) {
        for cells in &self.rows {
            for (width, cell) in self.widths.iter_mut().zip(cells) {
                *width = (*width).max(width_of(cell));
            }
        }
    }

    fn write_header(&mut self) -> io::Result<()> {
        write_line(&mut self.out, &self.header, &self.widths)
    }
}

/// Returns the columns that a cell takes, without marks of colours.
fn width_of(cell: &str) -> usize {
    let text: String = cell.chars().filter(|c| color::code(*c).is_none()).collect();
    console::measure_text_width(&text)
}

fn write_line(out: &mut impl Write, cells: &[String], widths: &[usize]) -> io::Result<()> {
    let mut line = String::new();
    for (index, cell) in cells.iter().enumerate() {
        line.push_str(cell);
        if index + 1 < cells.len() {
            let used = width_of(cell);
            let width = widths.get(index).copied().unwrap_or(used).max(used);
            line.extend(std::iter::repeat_n(' ', width - used + 1));
        }
    }
    writeln!(out, "{}", line.trim_end())
}

/// Renders a small table to a string.
pub(crate) fn render(header: &[&str], rows: Vec<Vec<String>>) -> String {
    let mut table = TextTable::new(Vec::new(), header);
    let written = rows
        .into_iter()
        .try_for_each(|row| table.row(row))
        .and_then(|()| table.finish());
    // Writing to memory cannot fail.
    String::from_utf8_lossy(&written.unwrap_or_default()).into_owned()
}

#[cfg(test)]
mod tests {
    use super::super::color::{Tone, paint};
    use super::*;

    fn row(cells: &[&str]) -> Vec<String> {
        cells.iter().map(|cell| (*cell).to_owned()).collect()
    }

    #[test]
    fn columns_are_aligned() {
        let text = render(
            &["ID", "FILES", "STATUS"],
            vec![
                row(&["1", "images@abc:/liberty.png", "success"]),
                row(&["1234", &paint("-", Tone::Bad, true), &paint("failed", Tone::Bad, true)]),
            ],
        );
        let text = text.replace(|c| color::code(c).is_some(), "");
        insta::assert_snapshot!(text, @r"
        ID   FILES                   STATUS
        1    images@abc:/liberty.png success
        1234 -                       failed
        ");
    }

    #[test]
    fn no_rows_print_the_header() {
        assert_eq!(render(&["SIZE", "NAME"], Vec::new()), "SIZE NAME\n");
    }

    #[test]
    fn the_header_is_repeated_after_fifty_rows() {
        let text = render(&["N", "X"], (0..120).map(|n| row(&[&n.to_string(), "x"])).collect());
        let headers: Vec<_> = text
            .lines()
            .enumerate()
            .filter(|(_, line)| line.starts_with('N'))
            .map(|(at, _)| at)
            .collect();
        assert_eq!(headers, [0, 51, 102]);
        assert_eq!(text.lines().count(), 123);
    }

    #[test]
    fn a_streaming_table_shows_every_row_at_once() {
        let mut table = TextTable::new(Vec::new(), &["A", "B"]);
        table.row(row(&["long cell", "1"])).expect("written");
        table.flush_rows().expect("written");
        table.row(row(&["x", "2"])).expect("written");
        table.flush_rows().expect("written");
        let text = String::from_utf8(table.finish().expect("written")).expect("text");
        assert_eq!(text, "A         B\nlong cell 1\nx         2\n");
    }
}
