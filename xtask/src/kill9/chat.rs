//! A file of chat: a real one, or one made up from a seed.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{BufRead, BufReader, BufWriter, Read, Write};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::rng::Rng;

/// One line.
#[derive(Clone, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
pub(crate) struct Line {
    pub ts_ms: i64,
    pub channel: String,
    pub author: String,
    pub content: String,
}

/// A file and its lines.
pub(crate) struct Chat {
    pub path: PathBuf,
    pub lines: Vec<Line>,
}

impl Chat {
    /// Reads a file of JSON lines, plain or gzip.
    pub(crate) fn read(path: &Path) -> Result<Self, String> {
        let unreadable = |e| format!("{}: it cannot be read: {e}", path.display());
        #[expect(clippy::disallowed_methods, reason = "reads the input of a check, off every shard")]
        let mut file = BufReader::new(File::open(path).map_err(unreadable)?);
        let is_gzip = file.fill_buf().map_err(unreadable)?.starts_with(&[0x1f, 0x8b]);
        let bytes: Box<dyn Read> = if is_gzip {
            Box::new(flate2::bufread::MultiGzDecoder::new(file))
        } else {
            Box::new(file)
        };
        let mut lines = Vec::new();
        for (nth, line) in BufReader::new(bytes).lines().enumerate() {
            let bad = |e: &dyn std::fmt::Display| format!("{}: line {}: {e}", path.display(), nth + 1);
            let line = line.map_err(|e| bad(&e))?;
            lines.push(serde_json::from_str(&line).map_err(|e| bad(&e))?);
        }
        Ok(Self {
            path: path.to_owned(),
            lines,
        })
    }

    /// Makes up `count` lines and writes them into the file at `path`.
    pub(crate) fn make_up(path: &Path, count: usize, rng: &mut Rng) -> Result<Self, String> {
        let lines = lines(count, rng);
        let failed = |e| format!("{}: it cannot be written: {e}", path.display());
        #[expect(clippy::disallowed_methods, reason = "writes the input of a check, off every shard")]
        let mut file = BufWriter::new(File::create(path).map_err(failed)?);
        for line in &lines {
            let text = serde_json::to_string(line).map_err(|e| failed(e.into()))?;
            writeln!(file, "{text}").map_err(failed)?;
        }
        file.flush().map_err(failed)?;
        Ok(Self {
            path: path.to_owned(),
            lines,
        })
    }

    /// The lines of each channel by their number (from 0), in the order in which history must show them, oldest first:
    /// by time, and within a millisecond as in the file.
    pub(crate) fn channels(&self) -> BTreeMap<&str, Vec<usize>> {
        let mut channels: BTreeMap<&str, Vec<usize>> = BTreeMap::new();
        for (nth, line) in self.lines.iter().enumerate() {
            channels.entry(&line.channel).or_default().push(nth);
        }
        for lines in channels.values_mut() {
            lines.sort_by_key(|nth| self.lines[*nth].ts_ms);
        }
        channels
    }
}

/// A few channels have most of the traffic; several lines share a millisecond; some come late.
fn lines(count: usize, rng: &mut Rng) -> Vec<Line> {
    const CHANNELS: [&str; 5] = ["#general", "#ubuntu", "#späti", "#quiet", "with \"quotes\""];
    const WORDS: [&str; 12] = [
        "the",
        "shard",
        "is",
        "history",
        "lol",
        "ok",
        "a \"quote\"",
        "tab\tbed",
        "two\nlines",
        "naïve",
        "\u{1f642}",
        "disk",
    ];
    let mut now_ms = 1_400_000_000_000;
    let line = |_| {
        if rng.chance(2, 3) {
            now_ms += rng.below(20_000) as i64;
        }
        let late_ms = if rng.chance(1, 100) {
            rng.below(60_000) as i64
        } else {
            0
        };
        let channel = rng
            .below(CHANNELS.len())
            .min(rng.below(CHANNELS.len()))
            .min(rng.below(CHANNELS.len()));
        let words = if rng.chance(1, 500) { 400 } else { rng.below(24) };
        let words: Vec<&str> = (0..words).map(|_| *rng.pick(&WORDS)).collect();
        Line {
            ts_ms: now_ms - late_ms,
            channel: CHANNELS[channel].to_owned(),
            author: format!("author {}", rng.below(300)),
            content: words.join(" "),
        }
    };
    (0..count).map(line).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn made_up_chat_is_read_back_and_has_what_is_awkward() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("chat.jsonl");
        let made = Chat::make_up(&path, 5000, &mut Rng::new(1)).unwrap();
        assert_eq!(Chat::read(&path).unwrap().lines, made.lines);
        assert_eq!(made.lines, lines(5000, &mut Rng::new(1)));
        let pairs = || made.lines.windows(2);
        assert!(pairs().any(|pair| pair[0].ts_ms > pair[1].ts_ms), "some come late");
        assert!(
            pairs().any(|pair| pair[0].ts_ms == pair[1].ts_ms),
            "some share a millisecond"
        );
        assert!(made.lines.iter().any(|line| line.content.is_empty()));
        assert_eq!(made.channels().len(), 5);
    }
}
