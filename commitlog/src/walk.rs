//! Validating the bytes of a segment, without I/O: one record at a time, and the search for headers behind a broken one.

use crate::LogPosition;
use crate::format::{BLOCK, Decoded, FIRST_RECORD, Kind, RECORD_HEADER_LEN, RecordHeader, SegmentHeader, SegmentName};

/// One valid data record.
#[derive(Clone, Copy, Debug)]
pub struct Record<'a> {
    /// Its header.
    pub header: RecordHeader,
    /// The caller's bytes.
    pub payload: &'a [u8],
}

impl Record<'_> {
    /// The position after the record.
    pub fn end(&self) -> LogPosition {
        LogPosition {
            segment: self.header.at.segment,
            offset: self.header.at.offset + self.header.record_len() as u32,
        }
    }
}

/// What lies at a walker's place.
#[derive(Debug)]
pub enum Step<'a> {
    /// A data record; the walker now stands behind it.
    Record(Record<'a>),
    /// A fill; the walker now stands behind it, at a block border.
    Fill(RecordHeader),
    /// Give at least this many bytes from [`Walker::offset`] on; never more than the segment has.
    Need(usize),
    /// The end of a full segment.
    End,
    /// No valid record: here the log ends, or is damaged.
    Invalid(&'static str),
    /// Bytes with a right checksum that no writer of this version writes: damaged, or foreign.
    Unknown(&'static str),
}

/// Goes through the records of one segment, whose header was already checked.
#[derive(Debug)]
pub struct Walker {
    name: SegmentName,
    segment_bytes: u32,
    offset: u32,
    checksums: bool,
}

impl Walker {
    /// At the first record. Without `checksums` wrong checksums are passed over: only for showing what a damaged file holds.
    pub fn new(header: &SegmentHeader, checksums: bool) -> Walker {
        Walker {
            name: header.name,
            segment_bytes: header.segment_bytes,
            offset: FIRST_RECORD,
            checksums,
        }
    }

    /// Where the next record begins.
    pub fn offset(&self) -> u32 {
        self.offset
    }

    /// The same as a position.
    pub fn position(&self) -> LogPosition {
        LogPosition {
            segment: self.name.id,
            offset: self.offset,
        }
    }

    /// Reads the record at [`offset`](Self::offset); `bytes` begin there and may end before the segment does.
    pub fn step<'a>(&mut self, bytes: &'a [u8]) -> Step<'a> {
        let left = (self.segment_bytes - self.offset) as usize;
        if left == 0 {
            return Step::End;
        }
        if left < RECORD_HEADER_LEN {
            return Step::Invalid("no place for a record before the end of the segment");
        }
        let Some((head, rest)) = bytes.split_first_chunk::<RECORD_HEADER_LEN>() else {
            return Step::Need(RECORD_HEADER_LEN);
        };
        let header = match RecordHeader::decode(head, self.name, self.offset, self.checksums) {
            Decoded::Header(header) => header,
            Decoded::Invalid(what) => return Step::Invalid(what),
            Decoded::Unknown(what) => return Step::Unknown(what),
        };
        if header.record_len() > left as u64 {
            return Step::Unknown("record longer than the rest of its segment");
        }
        let end = header.end_offset() as u32;
        let Some(payload) = rest.get(..header.payload_len as usize) else {
            return Step::Need(header.record_len() as usize);
        };
        match header.kind {
            Kind::Data => {
                if self.checksums && crc32fast::hash(payload) != header.payload_checksum {
                    return Step::Invalid("wrong checksum of a record");
                }
                self.offset = end;
                Step::Record(Record { header, payload })
            }
            Kind::Fill => {
                if !(end as usize).is_multiple_of(BLOCK) || header.payload_checksum != 0 {
                    return Step::Unknown("fill that does not end at a block border");
                }
                if self.checksums && payload.iter().any(|&b| b != 0) {
                    return Step::Invalid("fill that is not zero");
                }
                self.offset = end;
                Step::Fill(header)
            }
        }
    }
}

/// What the search behind the end of a log has found.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Traces {
    /// Valid record headers.
    pub headers: u64,
    /// The highest position they vouch for.
    pub vouched: LogPosition,
    /// In the segment that was searched last: the offset behind the last of these records.
    pub end_offset: u64,
}

/// How many bytes two pieces given to [`Traces::search`] must overlap by, so that no header falls between them.
pub const SEARCH_OVERLAP: usize = RECORD_HEADER_LEN - 1;

impl Traces {
    /// Adds the valid record headers that lie wholly inside `bytes`, which begin at `offset` of the segment. Looks at every
    /// offset: lengths that may be damaged are not relied on.
    pub fn search(&mut self, bytes: &[u8], offset: u32, name: SegmentName) {
        for (i, window) in bytes.windows(RECORD_HEADER_LEN).enumerate() {
            let at = offset.wrapping_add(i as u32);
            // The header's own offset rules out nearly all places at the cost of one comparison.
            if u32::from_le_bytes([window[12], window[13], window[14], window[15]]) != at {
                continue;
            }
            let head = window.first_chunk().expect("a window is one header long");
            if let Decoded::Header(header) = RecordHeader::decode(head, name, at, true) {
                self.headers += 1;
                self.vouched = self.vouched.max(header.vouched);
                self.end_offset = self.end_offset.max(header.end_offset());
            }
        }
    }
}

/// Whether `bytes`, found at `offset` where no valid record is, are what a write of this segment left half done. In a recycled
/// file stale records of earlier segments lie at the same offsets, so offset and id must both be ours.
pub fn begins_here(bytes: &[u8], offset: u32, name: SegmentName) -> bool {
    let field = |at: usize, want: &[u8]| bytes.get(at..at + want.len()) == Some(want);
    !(offset as usize).is_multiple_of(BLOCK) || (field(12, &offset.to_le_bytes()) && field(16, &name.id.to_le_bytes()))
}
