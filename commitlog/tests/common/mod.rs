//! What several tests share: segments made with the codec alone.
#![allow(dead_code, reason = "each test uses its part")]

use commitlog::LogPosition;
use commitlog::format::{self, BLOCK, FIRST_RECORD, RECORD_HEADER_LEN, SegmentHeader, SegmentName};

pub fn at(segment: u64, offset: u32) -> LogPosition {
    LogPosition { segment, offset }
}

/// A segment written without a log: what the format says, and nothing else.
pub struct Image {
    pub header: SegmentHeader,
    pub bytes: Vec<u8>,
    /// Where the next group begins.
    pub offset: usize,
}

impl Image {
    pub fn new(id: u64, salt: u32, oldest: u64, segment_bytes: u32) -> Image {
        let name = SegmentName { id, salt };
        let header = SegmentHeader {
            name,
            oldest,
            segment_bytes,
            shard: 3,
            host_id: *b"host-of-a-golden",
        };
        let mut bytes = vec![0; segment_bytes as usize];
        bytes[..BLOCK].copy_from_slice(&header.encode());
        Image {
            header,
            bytes,
            offset: FIRST_RECORD as usize,
        }
    }

    pub fn name(&self) -> SegmentName {
        self.header.name
    }

    /// Writes the header again, after a change.
    pub fn write_header(&mut self) {
        self.bytes[..BLOCK].copy_from_slice(&self.header.encode());
    }

    /// Writes one group. Every record vouches for `vouched`, the fill for `sealed`. Returns the group's start and end.
    pub fn group(
        &mut self,
        records: &[&[u8]],
        vouched: LogPosition,
        sealed: LogPosition,
    ) -> (LogPosition, LogPosition) {
        let SegmentName { id, salt } = self.name();
        let start = self.offset;
        let mut offset = start;
        for record in records {
            let end = offset + RECORD_HEADER_LEN + record.len();
            format::encode_record(
                &mut self.bytes[offset..end],
                salt,
                at(id, offset as u32),
                vouched,
                record,
            );
            offset = end;
        }
        let end = if records.is_empty() {
            offset + BLOCK
        } else {
            format::group_end(offset)
        };
        if offset < end {
            format::encode_fill(&mut self.bytes[offset..end], salt, at(id, offset as u32), sealed);
        }
        self.offset = end;
        (at(id, start as u32), at(id, end as u32))
    }

    /// Fills the rest of the segment.
    pub fn fill(&mut self, vouched: LogPosition) {
        let SegmentName { id, salt } = self.name();
        let offset = self.offset;
        format::encode_fill(&mut self.bytes[offset..], salt, at(id, offset as u32), vouched);
        self.offset = self.bytes.len();
    }
}

/// Two segments as a closed log leaves them: the first full, the second with a vouching fill behind its last group and the stale
/// bytes of an earlier life behind that. Returns them with all records, and the last vouched position.
pub fn closed_log() -> (Vec<Image>, Vec<Vec<u8>>, LogPosition) {
    let records: Vec<Vec<u8>> = vec![
        b"hello".to_vec(),
        Vec::new(),
        (0..=255).collect(),
        vec![0; 300],
        // Ends 20 bytes before a block border: the fill needs the next block.
        vec![b'x'; BLOCK - 20 - RECORD_HEADER_LEN],
        // Ends exactly at a border: no fill.
        vec![b'y'; BLOCK - RECORD_HEADER_LEN],
        b"first of the second segment".to_vec(),
        (0..5000u32).map(|i| (i * 7) as u8).collect(),
        b"last".to_vec(),
    ];
    let r = |i: usize| records[i].as_slice();
    let mut one = Image::new(7, 0x9f03_a1c4, 7, 8 * BLOCK as u32);
    let start = at(7, FIRST_RECORD);
    let (_, a) = one.group(&[r(0), r(1), r(2), r(3)], start, start);
    let (_, b) = one.group(&[r(4)], start, a);
    let (_, c) = one.group(&[r(5)], a, a);
    one.fill(b);
    let mut two = Image::new(8, 0x0000_00b7, 7, 8 * BLOCK as u32);
    let full = at(7, 8 * BLOCK as u32);
    let (_, d) = two.group(&[r(6), r(7)], c, full);
    let (_, e) = two.group(&[r(8)], d, d);
    two.group(&[], e, e);
    // An earlier life of the file, as segment 5.
    let mut stale = Image::new(5, 0x1122_3344, 5, 8 * BLOCK as u32);
    while stale.offset < 8 * BLOCK {
        stale.group(&[b"stale"], at(5, FIRST_RECORD), at(5, FIRST_RECORD));
    }
    let offset = two.offset;
    two.bytes[offset..].copy_from_slice(&stale.bytes[offset..]);
    (vec![one, two], records, e)
}
