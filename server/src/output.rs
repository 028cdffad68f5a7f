//! Results on standard output: tables for people, JSON lines for programs.

use crate::failure::{Done, Failure};
use clap::ValueEnum;
use serde::Serialize;
use std::io::{self, IsTerminal, Write};

/// How results are written.
#[derive(ValueEnum, Clone, Copy, PartialEq, Eq, Debug)]
pub enum Format {
    /// For people.
    Table,
    /// One JSON object a line, the summary last.
    Jsonl,
}

impl Format {
    /// The format asked for, or the one that fits where standard output goes.
    pub fn choose(asked: Option<Format>) -> Format {
        asked.unwrap_or(if io::stdout().is_terminal() {
            Format::Table
        } else {
            Format::Jsonl
        })
    }
}

/// Standard output, buffered.
pub struct Output {
    out: io::BufWriter<io::Stdout>,
}

impl Output {
    /// Standard output.
    pub fn new() -> Output {
        Output {
            out: io::BufWriter::with_capacity(1 << 16, io::stdout()),
        }
    }

    /// One JSON object on a line of its own.
    pub fn object(&mut self, object: &impl Serialize) -> Done {
        serde_json::to_writer(&mut self.out, object)
            .map_err(io::Error::from)
            .map_err(closed)?;
        self.out.write_all(b"\n").map_err(closed)
    }

    /// One line of text.
    pub fn line(&mut self, line: impl std::fmt::Display) -> Done {
        writeln!(self.out, "{line}").map_err(closed)
    }

    /// A table: a header, and rows of as many cells; numbers stand to the right.
    pub fn table(&mut self, header: &[&str], rows: &[Vec<String>]) -> Done {
        let width = |text: &str| text.chars().count();
        let mut widths: Vec<usize> = header.iter().map(|h| width(h)).collect();
        for row in rows {
            widths
                .iter_mut()
                .zip(row)
                .for_each(|(w, cell)| *w = (*w).max(width(cell)));
        }
        let is_number = |column: usize| {
            rows.iter().all(|row| {
                row.get(column)
                    .is_some_and(|c| c.starts_with(|c: char| c.is_ascii_digit()) && !c.contains('T'))
            })
        };
        let right: Vec<bool> = (0..header.len()).map(is_number).collect();
        let header: Vec<String> = header.iter().map(|h| (*h).to_owned()).collect();
        for row in std::iter::once(&header).chain(rows) {
            let mut line = String::new();
            for (column, cell) in row.iter().enumerate() {
                let pad = " ".repeat(widths.get(column).map_or(0, |w| w.saturating_sub(width(cell))));
                let (before, after) = if right[column] {
                    (pad.as_str(), "")
                } else {
                    ("", pad.as_str())
                };
                line.extend([if column == 0 { "" } else { "  " }, before, cell, after]);
            }
            self.line(line.trim_end())?;
        }
        Ok(())
    }

    /// Hands everything on.
    pub fn flush(&mut self) -> Done {
        self.out.flush().map_err(closed)
    }
}

/// The bytes go to `output` as they are; used where others write the text.
impl Write for Output {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.out.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.out.flush()
    }
}

/// A reader that has gone away, as `head` does, is no failure worth a sentence.
fn closed(error: io::Error) -> Failure {
    match error.kind() {
        io::ErrorKind::BrokenPipe => Failure::told(),
        _ => Failure::new(format_args!("standard output: {error}")),
    }
}

/// Text for a terminal: control characters, which could move the cursor, are shown as `\u{1b}`.
pub fn visible(text: &str) -> String {
    text.chars().fold(String::with_capacity(text.len()), |mut out, c| {
        if c.is_control() {
            out.extend(c.escape_default())
        } else {
            out.push(c)
        }
        out
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn control_characters_are_shown_not_sent() {
        assert_eq!(visible("a\x1b[2Jb\nc\u{7f}é"), "a\\u{1b}[2Jb\\nc\\u{7f}é");
    }
}
