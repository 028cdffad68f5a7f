//! Reading a file of chat with the ids its lines get, and checking the whole of it before anything is written.

use super::{
    input::Input,
    line::ChatLine,
    lines::{LINE_BYTES_MAX, Line, Lines},
};
use crate::failure::{Done, Failure};
use messages::{Epoch, Error, ImportIds, MessageId, OrderScan};
use std::{
    cell::Cell,
    io,
    path::{Path, PathBuf},
    rc::Rc,
};
use xxhash_rust::xxh3::Xxh3;

/// Bad lines that are named.
const NAMED_MAX: usize = 20;

/// A line judged.
#[derive(Debug)]
pub enum Entry<'a> {
    /// To be imported. The id is missing only in a first pass, behind the first line out of order.
    Chat(ChatLine<'a>, Option<MessageId>),
    /// Bad, for this reason.
    Bad(String),
}

/// One pass over a file of chat.
pub struct Reader {
    path: PathBuf,
    lines: Lines,
    epoch: Epoch,
    order: OrderScan,
    ids: Option<ImportIds>,
    lateness_known: bool,
    digest: Xxh3,
    line_number: u64,
    done: Rc<Cell<u64>>,
    len: u64,
}

impl Reader {
    /// Opens the file for a pass. `lateness_ms` is what a pass before has found, none in the first.
    pub fn open(path: &Path, epoch: Epoch, lateness_ms: Option<u64>) -> Done<Reader> {
        let input = Input::open(path)?;
        Ok(Reader {
            path: path.to_owned(),
            lines: Lines::new(input.bytes),
            epoch,
            order: OrderScan::default(),
            ids: Some(ImportIds::new(epoch, lateness_ms.unwrap_or(0))),
            lateness_known: lateness_ms.is_some(),
            digest: Xxh3::new(),
            line_number: 0,
            done: input.done,
            len: input.len,
        })
    }

    /// The number of the line that [`next`](Self::next) gave last, from 1.
    pub fn line_number(&self) -> u64 {
        self.line_number
    }

    /// How much of the file has been read, and how much there is, bytes.
    pub fn progress(&self) -> (u64, u64) {
        (self.done.get(), self.len)
    }

    /// What was read so far, to compare two passes by.
    pub fn digest(&self) -> u64 {
        self.digest.digest()
    }

    /// The next line, none at the end.
    pub fn next(&mut self) -> Done<Option<Entry<'_>>> {
        let line_number = self.line_number;
        let line = match self.lines.next() {
            Ok(Some(line)) => line,
            Ok(None) => return Ok(None),
            Err(error) => return Err(unreadable(&self.path, line_number, &error)),
        };
        self.line_number += 1;
        let (Line::Whole(bytes) | Line::TooLong(bytes)) = line;
        self.digest.update(bytes);
        self.digest.update(b"\n");
        let Line::Whole(bytes) = line else {
            return Ok(Some(Entry::Bad(format!("longer than {} MiB", LINE_BYTES_MAX >> 20))));
        };
        let chat = match ChatLine::parse(bytes) {
            Ok(chat) => chat,
            Err(bad) => {
                if let Some(ts_ms) = bad.ts_ms {
                    // The line keeps its place; whatever is wrong with the time, its other fault is told.
                    let _ = place(self.epoch, &mut self.order, &mut self.ids, self.lateness_known, ts_ms);
                }
                return Ok(Some(Entry::Bad(bad.reason)));
            }
        };
        match place(
            self.epoch,
            &mut self.order,
            &mut self.ids,
            self.lateness_known,
            chat.ts_ms,
        ) {
            Ok(id) => Ok(Some(Entry::Chat(chat, id))),
            Err(error @ (Error::OutOfOrder { .. } | Error::FileChanged)) => {
                Err(Failure::file(&self.path, "cannot be imported", error))
            }
            Err(error) => Ok(Some(Entry::Bad(error.to_string()))),
        }
    }
}

/// The id of a line with this time; none when it is not known any more how late lines come.
fn place(
    epoch: Epoch,
    order: &mut OrderScan,
    ids: &mut Option<ImportIds>,
    known: bool,
    ts_ms: i64,
) -> messages::Result<Option<MessageId>> {
    order.line(epoch.since(ts_ms)?);
    if !known && order.lateness_ms() > 0 {
        *ids = None;
    }
    ids.as_mut().map(|ids| ids.next(ts_ms)).transpose()
}

fn unreadable(path: &Path, lines: u64, error: &io::Error) -> Failure {
    let what = match error.kind() {
        io::ErrorKind::UnexpectedEof => format!("the gzip data is cut short after line {lines}"),
        io::ErrorKind::InvalidInput | io::ErrorKind::InvalidData => {
            format!("the gzip data is damaged after line {lines}")
        }
        _ => format!("cannot be read after line {lines}: {error}"),
    };
    Failure::new(format_args!("{}: {what}", path.display()))
}

/// What a check has found.
#[derive(Debug, PartialEq, Eq)]
pub struct Checked {
    /// Lines in the file.
    pub lines: u64,
    /// Those that cannot be imported.
    pub bad: u64,
    /// The first of them: number and reason.
    pub named: Vec<(u64, String)>,
    /// How far behind the latest line before it a line comes.
    pub lateness_ms: u64,
    /// Of all bytes.
    pub digest: u64,
}

/// Reads the whole file and judges each line. `progress` is told bytes read and bytes there are, now and then.
pub fn check(path: &Path, epoch: Epoch, mut progress: impl FnMut(u64, u64)) -> Done<Checked> {
    let first = pass(path, epoch, None, &mut progress)?;
    if first.lateness_ms == 0 {
        return Ok(first);
    }
    let again = pass(path, epoch, Some(first.lateness_ms), &mut progress)?;
    if again.digest != first.digest {
        return Err(Failure::new(format_args!(
            "{}: it changed while it was read",
            path.display()
        )));
    }
    Ok(again)
}

fn pass(path: &Path, epoch: Epoch, lateness_ms: Option<u64>, progress: &mut impl FnMut(u64, u64)) -> Done<Checked> {
    let mut reader = Reader::open(path, epoch, lateness_ms)?;
    let mut checked = Checked {
        lines: 0,
        bad: 0,
        named: Vec::new(),
        lateness_ms: 0,
        digest: 0,
    };
    loop {
        let reason = match reader.next()? {
            None => break,
            Some(Entry::Chat(..)) => None,
            Some(Entry::Bad(reason)) => Some(reason),
        };
        if let Some(reason) = reason {
            checked.bad += 1;
            if checked.named.len() < NAMED_MAX {
                checked.named.push((reader.line_number(), reason));
            }
        }
        if reader.line_number() % 1024 == 0 {
            let (done, len) = reader.progress();
            progress(done, len);
        }
    }
    checked.lines = reader.line_number();
    checked.lateness_ms = reader.order.lateness_ms();
    checked.digest = reader.digest();
    Ok(checked)
}

#[cfg(test)]
mod tests {
    use super::*;
    use flate2::{Compression, write::GzEncoder};
    use std::io::Write;

    const E: i64 = Epoch::DEFAULT.unix_ms();

    #[expect(clippy::disallowed_methods, reason = "a test's own file")]
    fn file(name: &str, bytes: &[u8]) -> (tempfile::TempDir, PathBuf) {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join(name);
        std::fs::write(&path, bytes).unwrap();
        (dir, path)
    }

    fn chat(ts_ms: i64, content: &str) -> String {
        format!("{{\"ts_ms\":{ts_ms},\"channel\":\"c\",\"author\":\"a\",\"content\":\"{content}\"}}\n")
    }

    fn gzip(bytes: &[u8]) -> Vec<u8> {
        let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
        encoder.write_all(bytes).unwrap();
        encoder.finish().unwrap()
    }

    fn ids(path: &Path, lateness_ms: u64) -> Vec<Result<i64, String>> {
        let mut reader = Reader::open(path, Epoch::DEFAULT, Some(lateness_ms)).unwrap();
        let mut all = Vec::new();
        while let Some(entry) = reader.next().unwrap() {
            all.push(match entry {
                Entry::Chat(_, id) => Ok(id.unwrap().get()),
                Entry::Bad(reason) => Err(reason),
            });
        }
        all
    }

    fn sentence(result: Done<Checked>, dir: &Path) -> String {
        result
            .unwrap_err()
            .sentence
            .unwrap()
            .replace(&format!("{}/", dir.display()), "")
    }

    #[test]
    fn plain_and_gzip_are_told_apart_by_content() {
        let text = [chat(E + 1, "x"), chat(E + 1, "y")].concat();
        let members = [gzip(chat(E + 1, "x").as_bytes()), gzip(chat(E + 1, "y").as_bytes())].concat();
        let expected = Checked {
            lines: 2,
            bad: 0,
            named: vec![],
            lateness_ms: 0,
            digest: 0,
        };
        let mut digests = Vec::new();
        for (name, bytes) in [
            ("a.jsonl", text.as_bytes()),
            ("a.jsonl", &gzip(text.as_bytes())),
            ("a.gz", &members),
        ] {
            let (_dir, path) = file(name, bytes);
            let checked = check(&path, Epoch::DEFAULT, |_, _| ()).unwrap();
            digests.push(checked.digest);
            assert_eq!(Checked { digest: 0, ..checked }, expected);
        }
        assert!(digests.iter().all(|d| *d == digests[0]));
    }

    #[test]
    fn refuses_gzip_that_is_cut_short_damaged_or_none() {
        let text: String = (0..2_000)
            .map(|i| chat(E + i, &format!("message {}", i * 7919 % 1000)))
            .collect();
        let whole = gzip(text.as_bytes());
        for cut in [3, 12, 1_000, whole.len() - 9, whole.len() - 1] {
            let (dir, path) = file("a.gz", &whole[..cut]);
            let sentence = sentence(check(&path, Epoch::DEFAULT, |_, _| ()), dir.path());
            assert!(
                sentence.starts_with("a.gz: the gzip data is cut short after line "),
                "{cut}: {sentence}"
            );
        }
        let mut flipped = whole.clone();
        let at = flipped.len() - 6; // the checksum
        flipped[at] ^= 1;
        let (dir, path) = file("a.gz", &flipped);
        assert_eq!(
            sentence(check(&path, Epoch::DEFAULT, |_, _| ()), dir.path()),
            "a.gz: the gzip data is damaged after line 2000"
        );
        let (dir, path) = file("a.gz", &[&whole[..], b"more than a header"].concat());
        assert_eq!(
            sentence(check(&path, Epoch::DEFAULT, |_, _| ()), dir.path()),
            "a.gz: the gzip data is damaged after line 2000"
        );
        for bytes in [&b""[..], b"\x1f", text.as_bytes()] {
            let (dir, path) = file("a.gz", bytes);
            assert_eq!(
                sentence(check(&path, Epoch::DEFAULT, |_, _| ()), dir.path()),
                "a.gz: named as gzip, but its content is not gzip"
            );
        }
        let dir = tempfile::tempdir().unwrap();
        assert_eq!(
            sentence(check(dir.path(), Epoch::DEFAULT, |_, _| ()), dir.path()),
            format!("{}: cannot be opened: is a directory", dir.path().display())
        );
    }

    #[test]
    fn names_bad_lines_by_number() {
        let text = [
            "\n".to_owned(),
            chat(E, "ok"),
            chat(E - 1, "early"),
            chat(E + (1 << 41), "late"),
            "{\n".to_owned(),
            chat(E + 1, "ok"),
        ]
        .concat();
        let (_dir, path) = file("a.jsonl", &[text.as_bytes(), b"\xff"].concat());
        let checked = check(&path, Epoch::DEFAULT, |_, _| ()).unwrap();
        assert_eq!((checked.lines, checked.bad), (7, 5));
        let named: Vec<_> = checked.named.iter().map(|(n, r)| format!("{n} {r}")).collect();
        assert_eq!(named[0], "1 empty");
        assert!(
            named[1].starts_with("3 the time 1420070399999 ms lies before"),
            "{}",
            named[1]
        );
        assert!(
            named[2].starts_with("4 the time 3619093655552 ms is beyond"),
            "{}",
            named[2]
        );
        assert_eq!(named[3], "5 JSON cut short at column 1");
        assert_eq!(named[4], "7 not UTF-8 from its byte 1 on");
    }

    /// Found in review: it panicked.
    #[test]
    fn a_file_that_is_put_out_of_order_after_its_check_is_refused() {
        let (dir, path) = file("a.jsonl", [chat(E, "a"), chat(E + 9, "b")].concat().as_bytes());
        let checked = check(&path, Epoch::DEFAULT, |_, _| ()).unwrap();
        #[expect(clippy::disallowed_methods, reason = "a test's own file")]
        std::fs::write(&path, [chat(E + 9, "b"), chat(E, "a")].concat()).unwrap();
        let mut reader = Reader::open(&path, Epoch::DEFAULT, Some(checked.lateness_ms)).unwrap();
        assert!(matches!(reader.next().unwrap(), Some(Entry::Chat(_, Some(_)))));
        let failure = reader.next().unwrap_err();
        assert_eq!(failure.status, 1);
        assert_eq!(
            failure
                .sentence
                .unwrap()
                .replace(&format!("{}/", dir.path().display()), ""),
            "a.jsonl: cannot be imported: the file changed during the import; run it again when nobody writes to it"
        );
    }

    #[test]
    fn places_count_over_the_whole_file_whatever_its_order() {
        let text = [
            chat(E + 5, "a"),
            chat(E + 9, "b"),
            chat(E + 5, "c"),
            "{\"ts_ms\":1420070400009}\n".to_owned(),
            chat(E + 9, "d"),
            chat(E + 5, "e"),
        ]
        .concat();
        let (_dir, path) = file("a.jsonl", text.as_bytes());
        let checked = check(&path, Epoch::DEFAULT, |_, _| ()).unwrap();
        assert_eq!((checked.lateness_ms, checked.bad), (4, 1));
        let id = |ms, place| Ok(messages::import_id(Epoch::DEFAULT, E + ms, place).unwrap().get());
        let bad = Err("\"channel\" is missing".to_owned());
        assert_eq!(
            ids(&path, checked.lateness_ms),
            [id(5, 0), id(9, 0), id(5, 1), bad, id(9, 2), id(5, 2)]
        );
    }
}
