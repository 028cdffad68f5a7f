//! The files whose bits are flipped, and what must become of each flip.

use std::ffi::OsStr;
use std::path::PathBuf;

use commitlog::LogPosition;
use commitlog::format::SegmentName;
use commitlog::inspect::{Entry, InspectedLog, inspect_log};
use engine::manifest;
use engine::manifest::state::{State, encode_edits};

use super::store::{self, Contents, Files, Opened};

/// An sstable's first bytes: a constant that names the format. Whoever opens a table reads it from the end; verification
/// looks at them.
const SSTABLE_HEAD_BYTES: usize = 8;

/// What kind of file.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Kind {
    Log,
    Sstable,
    Manifest,
}

impl Kind {
    pub(crate) const ALL: [Kind; 3] = [Kind::Log, Kind::Sstable, Kind::Manifest];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Kind::Log => "log",
            Kind::Sstable => "sstable",
            Kind::Manifest => "manifest",
        }
    }
}

/// What became of one flip.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Fate {
    /// It was found.
    Detected,
    /// It lies behind the last position that is vouched for, and took nothing from before it.
    AfterVouched,
    /// Nobody has to read the byte, and everything came back as it was.
    Unread,
}

/// A file to be damaged.
pub(crate) struct Victim {
    pub kind: Kind,
    /// Its place in [`Image::files`].
    pub nth: usize,
    /// From here on nothing is vouched for.
    vouched: usize,
}

/// The files of a store, and what is in it.
pub(crate) struct Image {
    pub files: Files,
    pub victims: Vec<Victim>,
    /// What the store shows, and what it shows if it lost unvouched records from its end.
    whole: Contents,
    less: Vec<Contents>,
    log_floor: u64,
    records: Vec<Vec<u8>>,
    /// What the manifest says.
    edits: Vec<u8>,
}

type Read = Result<(Vec<Vec<u8>>, InspectedLog), String>;

/// Reads a log from its segments, as replay does; what it delivers.
fn read_log(segments: &[(SegmentName, &[u8])], floor: u64) -> Read {
    let mut records = Vec::new();
    let found = inspect_log(segments, floor, |_, entry| {
        if let Entry::Record(record) = entry {
            records.push(record.payload.to_vec());
        }
    });
    found
        .map(|found| (records, found))
        .map_err(|damage| format!("{damage:?}"))
}

fn edits_of(state: &State) -> Vec<u8> {
    encode_edits(&state.edits())
}

fn segment_of(path: &std::path::Path) -> Option<SegmentName> {
    SegmentName::parse(path.file_name()?.to_str()?)
}

impl Image {
    /// Makes a store and looks at its files.
    pub(crate) fn make() -> Result<Self, String> {
        let mut files = store::made()?;
        let place_of = |files: &Files, path: &PathBuf| files.iter().position(|(other, _)| other == path);
        let at = place_of(&files, &store::manifest()).ok_or("the store has no manifest")?;
        let (state, found) = manifest::parse(&files[at].1).map_err(|damage| format!("the manifest: {damage:?}"))?;
        // The rest of a manifest is preallocated zeros: two blocks of them show what a flip in them does.
        let end = usize::try_from(found.end).map_err(|e| e.to_string())?;
        files[at].1.truncate(end + 2 * manifest::format::RECORD_ALIGN);
        let mut victims = vec![Victim {
            kind: Kind::Manifest,
            nth: at,
            vouched: usize::try_from(found.vouched).map_err(|e| e.to_string())?,
        }];
        let log_floor = state.logs.get(&0).map_or(1, |log| log.floor);
        let mut segments = Vec::new();
        for (nth, (path, bytes)) in files.iter().enumerate() {
            if path.extension() == Some(OsStr::new("sst")) {
                victims.push(Victim {
                    kind: Kind::Sstable,
                    nth,
                    vouched: bytes.len(),
                });
            } else if let Some(name) = segment_of(path).filter(|name| name.id >= log_floor) {
                segments.push((nth, name));
            }
        }
        let views: Vec<_> = segments
            .iter()
            .map(|(nth, name)| (*name, files[*nth].1.as_slice()))
            .collect();
        let (records, log) = read_log(&views, log_floor)?;
        for (nth, name) in &segments {
            let vouched = match name.id.cmp(&log.vouched.segment) {
                std::cmp::Ordering::Less => files[*nth].1.len(),
                std::cmp::Ordering::Equal => log.vouched.offset as usize,
                std::cmp::Ordering::Greater => 0,
            };
            // A segment that nothing was written to yet is no file whose records can be damaged.
            if name.id <= log.end.segment {
                victims.push(Victim {
                    kind: Kind::Log,
                    nth: *nth,
                    vouched,
                });
            }
        }
        let whole = match store::open(&files) {
            Opened::Whole { contents, torn: false } => contents,
            other => return Err(format!("the store does not open as it was left: {other:?}")),
        };
        let mut image = Self {
            files,
            victims,
            whole,
            less: Vec::new(),
            log_floor,
            records,
            edits: edits_of(&state),
        };
        image.less = image.cut_short(log.vouched)?;
        for kind in Kind::ALL {
            if image.victims.iter().all(|victim| victim.kind != kind) {
                return Err(format!("the store has no {}", kind.name()));
            }
        }
        Ok(image)
    }

    /// What the store shows without its last records, down to those that are vouched for.
    fn cut_short(&self, vouched: LogPosition) -> Result<Vec<Contents>, String> {
        let mut ends = Vec::new();
        let _ = inspect_log(&self.segments(&self.files), self.log_floor, |_, entry| {
            if let Entry::Record(record) = entry {
                ends.push((record.header.at, record.end()));
            }
        });
        let mut less = Vec::new();
        for (begin, _) in ends.into_iter().rev().take_while(|(_, end)| *end > vouched) {
            let mut files = self.files.clone();
            for (path, bytes) in &mut files {
                match segment_of(path) {
                    Some(name) if name.id == begin.segment => bytes[begin.offset as usize..].fill(0),
                    _ => {}
                }
            }
            match store::open(&files) {
                Opened::Whole { contents, .. } => less.push(contents),
                other => return Err(format!("the store without the record at {begin}: {other:?}")),
            }
        }
        Ok(less)
    }

    fn segments<'a>(&self, files: &'a Files) -> Vec<(SegmentName, &'a [u8])> {
        let named = files
            .iter()
            .filter_map(|(path, bytes)| Some((segment_of(path)?, bytes.as_slice())));
        named.filter(|(name, _)| name.id >= self.log_floor).collect()
    }

    /// What verification says of the files, of which `victim` was flipped at `byte`.
    ///
    /// # Errors
    /// If it says nothing, or what is not so.
    pub(crate) fn verify(&self, files: &Files, victim: &Victim, byte: usize) -> Result<Fate, String> {
        let (path, bytes) = &files[victim.nth];
        let behind = byte >= victim.vouched;
        match victim.kind {
            Kind::Sstable => match sstable::offline::verify(bytes) {
                Err(_) => Ok(Fate::Detected),
                Ok(_) => Err("verification finds the file whole".to_owned()),
            },
            Kind::Manifest => match manifest::parse(bytes) {
                Err(_) => Ok(Fate::Detected),
                Ok((_, found)) if !behind => Err(format!("it reads as {found:?}")),
                Ok((_, found)) if !found.torn => Err("the flip is not reported".to_owned()),
                Ok((state, _)) if edits_of(&state) == self.edits => Ok(Fate::AfterVouched),
                Ok(_) => Err("the state is another one".to_owned()),
            },
            Kind::Log => match read_log(&self.segments(files), self.log_floor) {
                Err(_) => Ok(Fate::Detected),
                Ok(_) if !behind => Err(format!("{}: the log reads as if it were whole", path.display())),
                Ok((records, found)) => {
                    let (has, had) = (records.len(), self.records.len());
                    if !self.records.starts_with(&records) || had - has > self.less.len() {
                        Err(format!("{has} of {had} records are read"))
                    } else if has < had && !found.torn {
                        Err(format!("{has} of {had} records are read, and no torn tail is reported"))
                    } else {
                        Ok(Fate::AfterVouched)
                    }
                }
            },
        }
    }

    /// The same of the store's own way: what it says when it is opened on these files and read.
    ///
    /// # Errors
    /// As [`verify`](Self::verify).
    pub(crate) fn judge(&self, opened: Opened, victim: &Victim, byte: usize) -> Result<Fate, String> {
        match opened {
            Opened::Refused(_) => Ok(Fate::Detected),
            Opened::Wrong(what) => Err(what),
            Opened::Whole { contents, torn } => {
                let behind = byte >= victim.vouched;
                if contents == self.whole {
                    match victim.kind {
                        Kind::Sstable if byte < SSTABLE_HEAD_BYTES => Ok(Fate::Unread),
                        Kind::Log | Kind::Manifest if behind => Ok(Fate::AfterVouched),
                        _ => Err("the store opens and shows all, and says nothing".to_owned()),
                    }
                } else if victim.kind == Kind::Log && behind && torn && self.less.contains(&contents) {
                    Ok(Fate::AfterVouched)
                } else {
                    Err(format!(
                        "the store shows what it must not show (a torn tail is reported: {torn})"
                    ))
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn image() -> Image {
        Image::make().unwrap()
    }

    fn victim(image: &Image, kind: Kind) -> &Victim {
        image.victims.iter().find(|victim| victim.kind == kind).unwrap()
    }

    #[test]
    fn the_store_has_all_that_can_be_damaged() {
        let image = image();
        let count = |kind| image.victims.iter().filter(|victim| victim.kind == kind).count();
        let counts = Kind::ALL.map(count);
        assert_eq!(counts, [2, 1, 1], "segments, sstables, manifests");
        assert!(!image.less.is_empty(), "the last records are not vouched for");
        let sstable = &image.files[victim(&image, Kind::Sstable).nth].1;
        let stats = sstable::offline::stats(sstable).unwrap();
        let statistics = stats.statistics;
        assert!(statistics.partition_heads && statistics.static_rows > 0 && statistics.row_tombstones > 0);
        assert!(
            statistics.range_tombstones > 0 && statistics.cell_tombstones > 0 && statistics.partition_tombstones > 0
        );
        assert!(statistics.sizes.data_frames >= 4 && statistics.sizes.index_frames >= 1);
    }

    #[test]
    fn a_flip_that_nobody_notices_is_no_fate() {
        let image = image();
        let whole = || Opened::Whole {
            contents: image.whole.clone(),
            torn: false,
        };
        for kind in Kind::ALL {
            let victim = victim(&image, kind);
            let byte = victim.vouched / 2;
            // The files as they are: whoever claims that a byte of them was flipped sees that nothing was found.
            assert!(image.verify(&image.files, victim, byte).is_err(), "{kind:?}");
            assert!(image.judge(whole(), victim, byte).is_err(), "{kind:?}");
            assert_eq!(
                image.judge(Opened::Refused(String::new()), victim, byte),
                Ok(Fate::Detected)
            );
            assert!(image.judge(Opened::Wrong(String::new()), victim, byte).is_err());
        }
        let log = image.victims.iter().rfind(|victim| victim.kind == Kind::Log).unwrap();
        let less = |torn| Opened::Whole {
            contents: image.less[0].clone(),
            torn,
        };
        assert_eq!(image.judge(less(true), log, log.vouched), Ok(Fate::AfterVouched));
        assert!(
            image.judge(less(false), log, log.vouched).is_err(),
            "lost and not reported"
        );
        assert!(
            image.judge(less(true), log, log.vouched - 1).is_err(),
            "lost although vouched for"
        );
    }
}
