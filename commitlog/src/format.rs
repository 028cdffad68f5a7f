//! The bytes of a segment, version 1: names, the header block and record headers, as codecs on byte slices.
//!
//! `docs/format/commitlog.md` is the reference; the tables there and the constants here must say the same.
//!
//! | header block | | record header | |
//! |---|---|---|---|
//! | 0..8 | `magic` | 0..4 | `header_checksum` of 0..32 |
//! | 8..10 | `version` | 4..8 | `payload_len` |
//! | 10..12 | `shard` | 8..12 | `payload_checksum` |
//! | 12..16 | `salt` | 12..16 | `offset` |
//! | 16..24 | `segment` | 16..24 | `segment` |
//! | 24..32 | `oldest` | 24..28 | `vouched_offset` |
//! | 32..36 | `segment_bytes` | 28..30 | `vouched_back` |
//! | 36..40 | `flags` | 30 | `kind` |
//! | 40..56 | `host_id` | 31 | `reserved` |
//! | 56..60 | `reserved` | | |
//! | 60..64 | `checksum` of 0..60 | | |

use std::fmt;

use crate::LogPosition;

/// The unit of writing: groups begin and end at multiples of it.
pub const BLOCK: usize = 4096;
/// The first bytes of every segment.
pub const MAGIC: [u8; 8] = *b"SBCMTLOG";
/// The version written, and the newest that is read.
pub const VERSION: u16 = 1;
/// Bytes of the segment header that are not zero.
pub const HEADER_LEN: usize = 64;
/// Bytes before a record's payload.
pub const RECORD_HEADER_LEN: usize = 32;
/// Where the first record of a segment begins.
pub const FIRST_RECORD: u32 = BLOCK as u32;

const _: () = assert!(BLOCK == runtime::disk::BLOCK);
const _: () = assert!(HEADER_LEN == 8 + 2 + 2 + 4 + 8 + 8 + 4 + 4 + 16 + 4 + 4);
const _: () = assert!(RECORD_HEADER_LEN == 4 + 4 + 4 + 4 + 8 + 4 + 2 + 1 + 1);
const _: () = assert!(BLOCK.is_multiple_of(RECORD_HEADER_LEN) && HEADER_LEN <= BLOCK);

/// What a segment is called: its id, and the salt that goes into its records' checksums.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct SegmentName {
    /// The segment's number.
    pub id: u64,
    /// Random bits, drawn when the segment was prepared.
    pub salt: u32,
}

impl SegmentName {
    /// Reads `0000000000000007-9f03a1c4.log`; `None` for any other name.
    pub fn parse(file_name: &str) -> Option<SegmentName> {
        let (id, salt) = file_name.strip_suffix(".log")?.split_once('-')?;
        Some(SegmentName {
            id: hex(id, 16)?,
            salt: u32::try_from(hex(salt, 8)?).ok()?,
        })
    }

    /// The name while the segment is being prepared: `0000000000000007-9f03a1c4.spare`.
    pub fn spare(self) -> String {
        format!("{:016x}-{:08x}.spare", self.id, self.salt)
    }

    /// Whether this is the name of a segment whose preparation was not finished.
    pub fn is_spare(file_name: &str) -> bool {
        let parse = || {
            let (id, salt) = file_name.strip_suffix(".spare")?.split_once('-')?;
            hex(id, 16).and(hex(salt, 8))
        };
        parse().is_some()
    }
}

impl fmt::Display for SegmentName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}-{:08x}.log", self.id, self.salt)
    }
}

/// Exactly `digits` lower-case hexadecimal digits: one spelling per name.
fn hex(text: &str, digits: usize) -> Option<u64> {
    let plain = text.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'));
    if text.len() == digits && plain {
        u64::from_str_radix(text, 16).ok()
    } else {
        None
    }
}

/// The header of a segment.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct SegmentHeader {
    /// Id and salt, as in the file's name.
    pub name: SegmentName,
    /// The lowest segment still needed when this one was prepared.
    pub oldest: u64,
    /// Length of the file, a multiple of [`BLOCK`].
    pub segment_bytes: u32,
    /// The shard that wrote it.
    pub shard: u16,
    /// The node that wrote it.
    pub host_id: [u8; 16],
}

/// Why a header block is refused.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum HeaderError {
    /// The bytes contradict the format.
    Corrupt(&'static str),
    /// Written by a newer release: its version.
    TooNew(u16),
}

impl SegmentHeader {
    /// The header block as it is written.
    pub fn encode(&self) -> [u8; BLOCK] {
        let mut block = [0; BLOCK];
        self.encode_into(&mut block);
        block
    }

    /// Writes the header block over `block`.
    ///
    /// # Panics
    /// If `block` is not one block long.
    pub fn encode_into(&self, block: &mut [u8]) {
        assert_eq!(block.len(), BLOCK, "a header is one block");
        block.fill(0);
        block[0..8].copy_from_slice(&MAGIC);
        block[8..10].copy_from_slice(&VERSION.to_le_bytes());
        block[10..12].copy_from_slice(&self.shard.to_le_bytes());
        block[12..16].copy_from_slice(&self.name.salt.to_le_bytes());
        block[16..24].copy_from_slice(&self.name.id.to_le_bytes());
        block[24..32].copy_from_slice(&self.oldest.to_le_bytes());
        block[32..36].copy_from_slice(&self.segment_bytes.to_le_bytes());
        block[40..56].copy_from_slice(&self.host_id);
        let checksum = crc32fast::hash(&block[..60]);
        block[60..64].copy_from_slice(&checksum.to_le_bytes());
    }

    /// Reads and checks a header block, all of its bytes.
    pub fn decode(block: &[u8]) -> Result<SegmentHeader, HeaderError> {
        use HeaderError::{Corrupt, TooNew};
        let block: &[u8; BLOCK] = block.first_chunk().ok_or(Corrupt("shorter than its header block"))?;
        if block[0..8] != MAGIC {
            return Err(Corrupt("not a commit log segment"));
        }
        // The place of version and checksum is the same in every version, so that damage and a newer release are told apart.
        if crc32fast::hash(&block[..60]) != u32_at(block, 60) {
            return Err(Corrupt("wrong checksum of the segment header"));
        }
        let version = u16_at(block, 8);
        if version > VERSION {
            return Err(TooNew(version));
        }
        if version == 0 {
            return Err(Corrupt("segment of version 0"));
        }
        if u32_at(block, 36) != 0 || u32_at(block, 56) != 0 {
            return Err(Corrupt("unknown flags in the segment header"));
        }
        if block[HEADER_LEN..].iter().any(|&b| b != 0) {
            return Err(Corrupt("header block not zero behind the header"));
        }
        let segment_bytes = u32_at(block, 32);
        if !(segment_bytes as usize).is_multiple_of(BLOCK) || (segment_bytes as usize) < 2 * BLOCK {
            return Err(Corrupt("impossible segment length in the header"));
        }
        let mut host_id = [0; 16];
        host_id.copy_from_slice(&block[40..56]);
        let header = SegmentHeader {
            name: SegmentName {
                id: u64_at(block, 16),
                salt: u32_at(block, 12),
            },
            oldest: u64_at(block, 24),
            segment_bytes,
            shard: u16_at(block, 10),
            host_id,
        };
        if header.oldest > header.name.id {
            return Err(Corrupt("segment header needs a later segment"));
        }
        Ok(header)
    }
}

/// What a record is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Kind {
    /// The caller's bytes.
    Data = 1,
    /// Zeros up to a block border; vouches like any record.
    Fill = 2,
}

/// The header of one record, checked.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct RecordHeader {
    /// Where the record begins.
    pub at: LogPosition,
    /// Data or fill.
    pub kind: Kind,
    /// Bytes of payload.
    pub payload_len: u32,
    /// CRC-32 of the payload; 0 in a fill.
    pub payload_checksum: u32,
    /// Everything below was durable when the record was made.
    pub vouched: LogPosition,
}

impl RecordHeader {
    /// Bytes of header and payload.
    pub fn record_len(&self) -> u64 {
        RECORD_HEADER_LEN as u64 + u64::from(self.payload_len)
    }

    /// The offset after the record.
    pub fn end_offset(&self) -> u64 {
        u64::from(self.at.offset) + self.record_len()
    }

    fn encode(&self, salt: u32) -> [u8; RECORD_HEADER_LEN] {
        assert!(
            self.vouched <= self.at,
            "record at {} vouches for {}, which is behind it",
            self.at,
            self.vouched
        );
        let back = u16::try_from(self.at.segment - self.vouched.segment);
        let back = back.expect("the durable position is at most 65535 segments back: the log's size is bounded");
        let mut bytes = [0; RECORD_HEADER_LEN];
        bytes[4..8].copy_from_slice(&self.payload_len.to_le_bytes());
        bytes[8..12].copy_from_slice(&self.payload_checksum.to_le_bytes());
        bytes[12..16].copy_from_slice(&self.at.offset.to_le_bytes());
        bytes[16..24].copy_from_slice(&self.at.segment.to_le_bytes());
        bytes[24..28].copy_from_slice(&self.vouched.offset.to_le_bytes());
        bytes[28..30].copy_from_slice(&back.to_le_bytes());
        bytes[30] = self.kind as u8;
        let checksum = header_checksum(&bytes, salt);
        bytes[0..4].copy_from_slice(&checksum.to_le_bytes());
        bytes
    }

    /// Reads the header at `offset` of the segment called `name`.
    pub fn decode(bytes: &[u8; RECORD_HEADER_LEN], name: SegmentName, offset: u32, checksums: bool) -> Decoded {
        if u64_at(bytes, 16) != name.id {
            return Decoded::Invalid("not a record of this segment");
        }
        if u32_at(bytes, 12) != offset {
            return Decoded::Invalid("record of another offset");
        }
        if checksums && header_checksum(bytes, name.salt) != u32_at(bytes, 0) {
            return Decoded::Invalid("wrong checksum of a record header");
        }
        let kind = match bytes[30] {
            1 => Kind::Data,
            2 => Kind::Fill,
            _ => return Decoded::Unknown("record of an unknown kind"),
        };
        if bytes[31] != 0 {
            return Decoded::Unknown("unknown flags in a record header");
        }
        let at = LogPosition {
            segment: name.id,
            offset,
        };
        let Some(vouched_segment) = name.id.checked_sub(u64::from(u16_at(bytes, 28))) else {
            return Decoded::Unknown("record vouches for a segment below zero");
        };
        let vouched = LogPosition {
            segment: vouched_segment,
            offset: u32_at(bytes, 24),
        };
        if vouched > at {
            return Decoded::Unknown("record vouches for what lies behind it");
        }
        Decoded::Header(RecordHeader {
            at,
            kind,
            payload_len: u32_at(bytes, 4),
            payload_checksum: u32_at(bytes, 8),
            vouched,
        })
    }

    /// Reads a header that this process has just written: no checksum is computed.
    pub(crate) fn trusted(bytes: &[u8]) -> (Kind, usize) {
        let kind = if bytes[30] == Kind::Data as u8 {
            Kind::Data
        } else {
            Kind::Fill
        };
        (kind, u32_at(bytes, 4) as usize)
    }
}

/// The outcome of reading a record header.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Decoded {
    /// A valid header.
    Header(RecordHeader),
    /// Not a record of this segment and place: the end of the log, torn or damaged.
    Invalid(&'static str),
    /// Its checksum is right, but it says what no writer of this version says: never a torn tail.
    Unknown(&'static str),
}

/// Writes a data record over `out`, which is exactly as long as the record.
///
/// # Panics
/// If `out` has another length, or `vouched` lies behind `at`.
pub fn encode_record(out: &mut [u8], salt: u32, at: LogPosition, vouched: LogPosition, payload: &[u8]) {
    assert_eq!(
        out.len(),
        RECORD_HEADER_LEN + payload.len(),
        "a record is its header and its payload"
    );
    let header = RecordHeader {
        at,
        kind: Kind::Data,
        payload_len: u32::try_from(payload.len()).expect("records are shorter than segments"),
        payload_checksum: crc32fast::hash(payload),
        vouched,
    };
    let (head, body) = out.split_at_mut(RECORD_HEADER_LEN);
    head.copy_from_slice(&header.encode(salt));
    body.copy_from_slice(payload);
}

/// Writes a fill over all of `out`.
///
/// # Panics
/// If `out` is shorter than a record header, the fill does not end at a block border, or `vouched` lies behind `at`.
pub fn encode_fill(out: &mut [u8], salt: u32, at: LogPosition, vouched: LogPosition) {
    assert!(
        (at.offset as usize + out.len()).is_multiple_of(BLOCK),
        "a fill ends at a block border"
    );
    let (head, body) = out.split_at_mut(RECORD_HEADER_LEN);
    let header = RecordHeader {
        at,
        kind: Kind::Fill,
        payload_len: u32::try_from(body.len()).expect("fills are shorter than segments"),
        payload_checksum: 0,
        vouched,
    };
    head.copy_from_slice(&header.encode(salt));
    body.fill(0);
}

/// Where the group that holds records up to `end` (not included) must be filled to.
pub fn group_end(end: usize) -> usize {
    let border = end.next_multiple_of(BLOCK);
    // A fill needs its header: in the last bytes of a block there is no place for one.
    if end < border && border - end < RECORD_HEADER_LEN {
        border + BLOCK
    } else {
        border
    }
}

/// The checksum of a record's header: CRC-32 (IEEE) of its 32 bytes, with the segment's salt in the place of the checksum.
///
/// (So it is two whole rounds of the table-driven CRC, which takes sixteen bytes at a time and single ones for a rest.)
pub fn header_checksum(header: &[u8; RECORD_HEADER_LEN], salt: u32) -> u32 {
    let mut salted = *header;
    salted[0..4].copy_from_slice(&salt.to_le_bytes());
    crc32fast::hash(&salted)
}

fn u16_at(bytes: &[u8], at: usize) -> u16 {
    u16::from_le_bytes([bytes[at], bytes[at + 1]])
}

fn u32_at(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]])
}

fn u64_at(bytes: &[u8], at: usize) -> u64 {
    u64::from(u32_at(bytes, at)) | u64::from(u32_at(bytes, at + 4)) << 32
}
