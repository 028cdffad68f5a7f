//! Lines of bytes, in bounded memory whatever the file holds.

use std::io::{self, BufRead};

/// Longest line that is looked at: the largest content, each byte written as `\u00XX`, and names.
pub const LINE_BYTES_MAX: usize = 8 << 20;

/// The lines of a file.
pub struct Lines {
    bytes: Box<dyn BufRead>,
    line: Vec<u8>,
}

/// One line, without its end.
#[derive(Debug, PartialEq, Eq)]
pub enum Line<'a> {
    /// Its bytes.
    Whole(&'a [u8]),
    /// More than [`LINE_BYTES_MAX`] bytes, passed over; the first few.
    TooLong(&'a [u8]),
}

impl Lines {
    /// The lines of `bytes`.
    pub fn new(bytes: Box<dyn BufRead>) -> Lines {
        Lines {
            bytes,
            line: Vec::new(),
        }
    }

    /// The next line; none at the end. What follows the last newline is a line if it is not empty.
    pub fn next(&mut self) -> io::Result<Option<Line<'_>>> {
        self.line.clear();
        if self.line.capacity() > 1 << 20 {
            self.line.shrink_to(1 << 16);
        }
        let mut too_long = false;
        let mut any = false;
        loop {
            let buffer = match self.bytes.fill_buf() {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                other => other?,
            };
            if buffer.is_empty() {
                break;
            }
            any = true;
            let end = buffer.iter().position(|b| *b == b'\n');
            let part = &buffer[..end.unwrap_or(buffer.len())];
            if self.line.len() + part.len() <= LINE_BYTES_MAX {
                self.line.extend_from_slice(part);
            } else {
                too_long = true;
                self.line.truncate(64);
            }
            let used = end.map_or(buffer.len(), |end| end + 1);
            self.bytes.consume(used);
            if end.is_some() {
                break;
            }
        }
        Ok(match (any, too_long) {
            (false, _) => None,
            (true, false) => Some(Line::Whole(&self.line)),
            (true, true) => Some(Line::TooLong(&self.line)),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::{BufReader, Cursor, Read};

    fn lines(text: Vec<u8>, buffer: usize) -> Vec<Result<Vec<u8>, ()>> {
        let mut lines = Lines::new(Box::new(BufReader::with_capacity(buffer, Cursor::new(text))));
        let mut all = Vec::new();
        while let Some(line) = lines.next().unwrap() {
            all.push(match line {
                Line::Whole(bytes) => Ok(bytes.to_vec()),
                Line::TooLong(_) => Err(()),
            });
        }
        all
    }

    #[test]
    fn splits_as_text_tools_do() {
        let whole = |texts: &[&str]| texts.iter().map(|t| Ok(t.as_bytes().to_vec())).collect::<Vec<_>>();
        for (text, expected) in [
            ("", vec![]),
            ("\n", vec![""]),
            ("a", vec!["a"]),
            ("a\n", vec!["a"]),
            ("a\n\nb\r\n", vec!["a", "", "b\r"]),
            ("a\nbc", vec!["a", "bc"]),
        ] {
            for buffer in [1, 2, 3, 100] {
                assert_eq!(lines(text.into(), buffer), whole(&expected), "{text:?} {buffer}");
            }
        }
    }

    #[test]
    fn passes_over_an_endless_line_in_bounded_memory() {
        let text = Cursor::new(b"first\n")
            .chain(io::repeat(b'x').take(100 << 20))
            .chain(Cursor::new(b"\nlast\n"));
        let mut lines = Lines::new(Box::new(BufReader::with_capacity(1 << 16, text)));
        assert_eq!(lines.next().unwrap(), Some(Line::Whole(b"first")));
        assert!(matches!(lines.next().unwrap(), Some(Line::TooLong(_))));
        assert!(lines.line.capacity() <= 2 * LINE_BYTES_MAX);
        assert_eq!(lines.next().unwrap(), Some(Line::Whole(b"last")));
        assert_eq!(lines.next().unwrap(), None);
        let exactly = vec![b'x'; LINE_BYTES_MAX];
        assert_eq!(super::tests::lines(exactly.clone(), 1 << 16), [Ok(exactly)]);
        assert_eq!(super::tests::lines(vec![b'x'; LINE_BYTES_MAX + 1], 1 << 16), [Err(())]);
    }
}
