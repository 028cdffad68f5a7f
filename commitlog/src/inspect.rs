//! The log read from bytes in memory: for verification offline and for tests that damage every bit.
//!
//! The verdict is the one of [`replay`](crate::replay): both go through [`walk`](crate::walk) and the same plan.

use std::io;

use crate::LogPosition;
use crate::format::{BLOCK, FIRST_RECORD, HeaderError, RecordHeader, SegmentHeader, SegmentName, VERSION};
use crate::plan::{Listed, Plan, Refusal};
use crate::walk::{Record, Step, Traces, Walker, begins_here};

/// What is wrong with a segment, and where.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Damage {
    /// Bytes from the start of the file.
    pub offset: u64,
    /// A short phrase.
    pub what: &'static str,
}

/// What one segment holds.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Inspected {
    /// The header, if it is valid.
    pub header: Option<SegmentHeader>,
    /// Valid data records from the start up to the first invalid place.
    pub records: u64,
    /// Bytes of their payloads.
    pub payload_bytes: u64,
    /// Where the valid records end; the length of the file if the segment is full.
    pub end_offset: u32,
    /// Whether records and fills reach the end of the file.
    pub full: bool,
    /// The highest position that any valid record of this segment vouches for, behind the end too.
    pub vouched: LogPosition,
    /// Why they end before the end of the file; `None` in a full segment.
    pub stopped: Option<&'static str>,
    /// Whether bytes of this segment's records lie behind its end.
    pub torn: bool,
    /// What contradicts the format, as far as this one segment can tell; damage that only a later segment proves is
    /// found by [`inspect_log`].
    pub damage: Option<Damage>,
}

/// One thing met in a segment.
#[derive(Clone, Copy, Debug)]
pub enum Entry<'a> {
    /// A data record.
    Record(Record<'a>),
    /// A fill: the end of a group, or a vouching record.
    Fill(RecordHeader),
}

/// Reads one segment, called `name`, from all of its bytes; `each` gets its entries in order.
pub fn inspect<'a>(name: SegmentName, bytes: &'a [u8], mut each: impl FnMut(Entry<'a>)) -> Inspected {
    let mut found = Inspected {
        header: None,
        records: 0,
        payload_bytes: 0,
        end_offset: 0,
        full: false,
        stopped: None,
        vouched: LogPosition::default(),
        torn: false,
        damage: None,
    };
    let mut plan = Plan::new(u64::MAX);
    let listed = Listed {
        name,
        file_len: bytes.len() as u64,
    };
    let header = SegmentHeader::decode(bytes);
    if let Err(refusal) = plan.take(listed, header) {
        found.damage = Some(match refusal {
            Refusal::Corrupt { offset, what, .. } => Damage { offset, what },
            Refusal::TooNew { .. } => Damage {
                offset: 8,
                what: "written by a newer release",
            },
            Refusal::Missing { .. } | Refusal::Stale { .. } => unreachable!("one segment has no neighbours"),
        });
        return found;
    }
    let header = header.expect("the plan took the header");
    found.header = Some(header);
    let mut walker = Walker::new(&header, true);
    loop {
        let offset = walker.offset();
        match walker.step(&bytes[offset as usize..]) {
            Step::Record(record) => {
                found.records += 1;
                found.payload_bytes += record.payload.len() as u64;
                found.vouched = found.vouched.max(record.header.vouched);
                each(Entry::Record(record));
            }
            Step::Fill(fill) => {
                found.vouched = found.vouched.max(fill.vouched);
                each(Entry::Fill(fill));
            }
            Step::End => {
                found.full = true;
                break;
            }
            Step::Need(_) => unreachable!("the whole segment was given"),
            Step::Unknown(what) => {
                found.stopped = Some(what);
                found.damage = Some(Damage {
                    offset: u64::from(offset),
                    what,
                });
                break;
            }
            Step::Invalid(what) => {
                found.stopped = Some(what);
                let rest = &bytes[offset as usize..];
                let mut traces = Traces::default();
                traces.search(rest, offset, name);
                found.vouched = found.vouched.max(traces.vouched);
                found.torn = traces.headers > 0 || begins_here(rest, offset, name);
                if traces.vouched > walker.position() {
                    found.damage = Some(Damage {
                        offset: u64::from(offset),
                        what,
                    });
                }
                break;
            }
        }
    }
    found.end_offset = walker.offset();
    found
}

/// Writes a segment as text, one line per record.
///
/// # Errors
/// Those of `out`.
pub fn dump(name: SegmentName, bytes: &[u8], out: &mut dyn io::Write) -> io::Result<()> {
    /// Bytes of a payload that are shown.
    const SHOWN: usize = 24;
    let mut lines = Vec::new();
    let found = inspect(name, bytes, |entry| lines.push(entry));
    writeln!(out, "{name}")?;
    match found.header {
        None => writeln!(out, "  no valid header")?,
        Some(SegmentHeader {
            oldest,
            segment_bytes,
            shard,
            host_id,
            ..
        }) => {
            let host: String = host_id.iter().map(|byte| format!("{byte:02x}")).collect();
            writeln!(
                out,
                "  shard {shard}, host {host}, oldest {oldest}, {segment_bytes} bytes"
            )?;
        }
    }
    for entry in lines {
        match entry {
            Entry::Record(Record { header, payload }) => {
                let shown: String = payload.iter().take(SHOWN).map(|byte| format!("{byte:02x}")).collect();
                let (at, vouched) = (header.at.offset, header.vouched);
                writeln!(out, "  {at} vouches {vouched}: data {} {shown}", payload.len())?;
            }
            Entry::Fill(header) => {
                writeln!(
                    out,
                    "  {} vouches {}: fill {}",
                    header.at.offset, header.vouched, header.payload_len
                )?;
            }
        }
    }
    let state = if found.full { "full" } else { "open" };
    let torn = if found.torn { ", torn" } else { "" };
    let Inspected {
        end_offset,
        records,
        vouched,
        ..
    } = found;
    writeln!(
        out,
        "  {state} at {end_offset}{torn}, {records} records, vouched {vouched}"
    )?;
    match found.damage {
        Some(Damage { offset, what }) => writeln!(out, "  damaged at {offset}: {what}"),
        None => Ok(()),
    }
}

/// What a whole log holds.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct InspectedLog {
    /// Segments that were read.
    pub segments: u64,
    /// Data records up to the end of the log.
    pub records: u64,
    /// Bytes of their payloads.
    pub payload_bytes: u64,
    /// The position after the last valid record or fill.
    pub end: LogPosition,
    /// The highest position vouched for.
    pub vouched: LogPosition,
    /// Whether records that nobody vouches for begin at `end` and are dropped.
    pub torn: bool,
}

/// Damage of a log: the segment, and the place in it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum LogDamage {
    /// A file contradicts its checksums, its format or the rest of the log.
    Corrupt {
        /// The file's name.
        name: SegmentName,
        /// The place in it.
        damage: Damage,
    },
    /// A segment is not there.
    Missing {
        /// Its id.
        segment: u64,
    },
    /// The manifest is older than the log: a header tells that segments below `oldest`, which are asked for, were given up.
    Stale {
        /// The name of the file with that header.
        name: SegmentName,
        /// The segment from which the log was needed when that file was prepared.
        oldest: u64,
    },
    /// A file was written by a newer release.
    TooNew {
        /// The file's name.
        name: SegmentName,
        /// Its format version; the newest known is [`VERSION`].
        found: u16,
    },
}

impl From<Refusal> for LogDamage {
    fn from(refusal: Refusal) -> Self {
        match refusal {
            Refusal::Corrupt { name, offset, what } => LogDamage::Corrupt {
                name,
                damage: Damage { offset, what },
            },
            Refusal::Missing { segment } => LogDamage::Missing { segment },
            Refusal::Stale { name, oldest } => LogDamage::Stale { name, oldest },
            Refusal::TooNew { name, found } => LogDamage::TooNew { name, found },
        }
    }
}

/// Reads a whole log (its segments in any order) as [`replay`](crate::replay::replay) would, from `from_segment` on.
///
/// # Errors
/// What replay would refuse with.
pub fn inspect_log<'a>(
    segments: &[(SegmentName, &'a [u8])],
    from_segment: u64,
    mut each: impl FnMut(SegmentName, Entry<'a>),
) -> Result<InspectedLog, LogDamage> {
    let mut sorted: Vec<_> = segments.to_vec();
    sorted.sort_by_key(|(name, _)| std::cmp::Reverse(*name));
    let mut plan = Plan::new(from_segment);
    for (name, bytes) in &sorted {
        let listed = Listed {
            name: *name,
            file_len: bytes.len() as u64,
        };
        if plan.wants(&listed) {
            plan.take(listed, SegmentHeader::decode(bytes))?;
        }
    }
    let headers = plan.finish()?;
    let bytes_of = |name: SegmentName| {
        let found = sorted.iter().find(|(other, _)| *other == name);
        found
            .map(|(_, bytes)| *bytes)
            .expect("the plan has only segments that were given")
    };
    let mut log = InspectedLog {
        segments: headers.len() as u64,
        ..InspectedLog::default()
    };
    // Where and why the records stop; what is found behind decides whether it is damage.
    let mut stop: Option<(SegmentName, u32, &'static str)> = None;
    for header in &headers {
        let name = header.name;
        let bytes = bytes_of(name);
        let Some((at, offset, what)) = stop else {
            let found = inspect(name, bytes, |entry| each(name, entry));
            log.records += found.records;
            log.payload_bytes += found.payload_bytes;
            log.end = LogPosition {
                segment: name.id,
                offset: found.end_offset,
            };
            log.vouched = log.vouched.max(found.vouched);
            if let Some(damage) = found.damage {
                return Err(LogDamage::Corrupt { name, damage });
            }
            if let Some(what) = found.stopped {
                log.torn = found.torn;
                stop = Some((name, found.end_offset, what));
            }
            continue;
        };
        let mut traces = Traces::default();
        traces.search(&bytes[BLOCK..], FIRST_RECORD, name);
        log.vouched = log.vouched.max(traces.vouched);
        log.torn |= traces.headers > 0;
        if traces.vouched > log.end {
            return Err(LogDamage::Corrupt {
                name: at,
                damage: Damage {
                    offset: u64::from(offset),
                    what,
                },
            });
        }
    }
    Ok(log)
}

/// Reads the header block of a segment.
///
/// # Errors
/// Why it is refused, in words, with the newer version if it is one.
pub fn header(bytes: &[u8]) -> Result<SegmentHeader, String> {
    SegmentHeader::decode(bytes).map_err(|error| match error {
        HeaderError::Corrupt(what) => what.to_string(),
        HeaderError::TooNew(found) => format!("format version {found}, this release reads up to {VERSION}"),
    })
}
