//! The bytes of a manifest record: `docs/format/manifest.md`, version 1.
//!
//! | offset | size | field | meaning |
//! |---|---|---|---|
//! | 0 | 4 | `checksum` | CRC-32 (IEEE) of bytes 4..`padded_len` |
//! | 4 | 4 | `magic` | `SBMF` |
//! | 8 | 2 | `version` | 1; a reader refuses what it does not know |
//! | 10 | 2 | `kind` | 1 edits, 2 vouch |
//! | 12 | 4 | `padded_len` | of the whole record, a multiple of 4096 |
//! | 16 | 4 | `payload_len` | bytes of the payload; the rest up to `padded_len` is zero |
//! | 20 | 4 | `reserved` | zero |
//! | 24 | 8 | `manifest_id` | drawn anew for each file; bytes of another file never pass for this one's |
//! | 32 | 8 | `sequence` | 0, 1, 2, … |
//! | 40 | 8 | `offset` | where the record stands; everything before it was durable when it was written |
//! | 48 | … | payload | edits, each a tag (varint), a length (varint) and its bytes |
//!
//! Invariant: a record is written only when all before it are durable, and an edit counts only once the vouch behind
//! it is durable too. So the first invalid record is a torn tail only if no valid record of the same file follows it;
//! otherwise it is damage.

use model::varint;

/// Alignment and smallest size of a record, bytes.
pub const RECORD_ALIGN: usize = 4096;
/// Largest record a reader allocates for, bytes.
pub const RECORD_MAX: usize = 64 << 20;
/// The format version that this release writes.
pub const VERSION: u16 = 1;
/// Bytes before the payload.
pub const HEADER_LEN: usize = 48;
const MAGIC: [u8; 4] = *b"SBMF";
const _: () = assert!(HEADER_LEN == 4 + 4 + 2 + 2 + 4 + 4 + 4 + 8 + 8 + 8);

/// What a record is for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum RecordKind {
    /// Edits of the store's state, applied together.
    Edits,
    /// Says that everything before it is durable; carries nothing.
    Vouch,
}

/// One parsed record.
#[derive(Clone, Copy, Debug)]
pub struct Record<'a> {
    /// What it is for.
    pub kind: RecordKind,
    /// The file it belongs to.
    pub manifest_id: u64,
    /// Its place in the row of records.
    pub sequence: u64,
    /// Bytes of the whole record, padding included.
    pub padded_len: usize,
    /// The edits.
    pub payload: &'a [u8],
}

/// Why bytes are not a record.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Invalid {
    /// Not a whole, checked record: never written, torn, or damaged.
    Bytes(&'static str),
    /// A checked record of a version that this release does not know.
    Version(u16),
}

fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_le_bytes(bytes.get(at..at + 4)?.try_into().ok()?))
}

fn u64_at(bytes: &[u8], at: usize) -> Option<u64> {
    Some(u64::from_le_bytes(bytes.get(at..at + 8)?.try_into().ok()?))
}

/// Length of the record that holds `payload_len` bytes of payload.
#[must_use]
pub fn padded_len(payload_len: usize) -> usize {
    (HEADER_LEN + payload_len).next_multiple_of(RECORD_ALIGN)
}

/// Writes one record into `out`, which is zero and exactly [`padded_len`] long.
///
/// # Panics
/// If `out` has another length or the payload exceeds [`RECORD_MAX`].
pub fn encode(kind: RecordKind, manifest_id: u64, sequence: u64, offset: u64, payload: &[u8], out: &mut [u8]) {
    assert_eq!(
        out.len(),
        padded_len(payload.len()),
        "a manifest record has exactly its padded length"
    );
    assert!(out.len() <= RECORD_MAX, "a manifest record of {} bytes", out.len());
    out[4..8].copy_from_slice(&MAGIC);
    out[8..10].copy_from_slice(&VERSION.to_le_bytes());
    let kind: u16 = match kind {
        RecordKind::Edits => 1,
        RecordKind::Vouch => 2,
    };
    out[10..12].copy_from_slice(&kind.to_le_bytes());
    let len = u32::try_from(out.len()).expect("at most RECORD_MAX");
    out[12..16].copy_from_slice(&len.to_le_bytes());
    let len = u32::try_from(payload.len()).expect("at most RECORD_MAX");
    out[16..20].copy_from_slice(&len.to_le_bytes());
    out[24..32].copy_from_slice(&manifest_id.to_le_bytes());
    out[32..40].copy_from_slice(&sequence.to_le_bytes());
    out[40..48].copy_from_slice(&offset.to_le_bytes());
    out[HEADER_LEN..HEADER_LEN + payload.len()].copy_from_slice(payload);
    let checksum = crc32fast::hash(&out[4..]);
    out[0..4].copy_from_slice(&checksum.to_le_bytes());
}

/// Reads the record at `offset` of a whole manifest.
///
/// # Errors
/// [`Invalid::Bytes`] if no whole checked record stands there, [`Invalid::Version`] if it was written by a newer
/// release.
pub fn parse(file: &[u8], offset: usize) -> Result<Record<'_>, Invalid> {
    let bytes = file.get(offset..).unwrap_or_default();
    if bytes.len() < RECORD_ALIGN {
        return Err(Invalid::Bytes("the file ends before the record"));
    }
    if bytes[4..8] != MAGIC {
        return Err(Invalid::Bytes("no manifest record"));
    }
    let whole = Invalid::Bytes("a record's length is impossible");
    let padded = u32_at(bytes, 12).ok_or(whole)? as usize;
    let payload_len = u32_at(bytes, 16).ok_or(whole)? as usize;
    if padded > RECORD_MAX || payload_len > padded || padded != padded_len(payload_len) {
        return Err(whole);
    }
    let bytes = bytes
        .get(..padded)
        .ok_or(Invalid::Bytes("the file ends inside the record"))?;
    // Fuzz targets are to reach what stands behind it.
    if !cfg!(fuzzing) && u32_at(bytes, 0) != Some(crc32fast::hash(&bytes[4..])) {
        return Err(Invalid::Bytes("a record's checksum does not match"));
    }
    let version = u16::from_le_bytes([bytes[8], bytes[9]]);
    if version != VERSION {
        return Err(Invalid::Version(version));
    }
    let kind = match u16::from_le_bytes([bytes[10], bytes[11]]) {
        1 => RecordKind::Edits,
        2 => RecordKind::Vouch,
        _ => return Err(Invalid::Bytes("a record of unknown kind")),
    };
    if u64_at(bytes, 40) != Some(offset as u64) {
        return Err(Invalid::Bytes("a record stands at another place than it says"));
    }
    Ok(Record {
        kind,
        manifest_id: u64_at(bytes, 24).ok_or(whole)?,
        sequence: u64_at(bytes, 32).ok_or(whole)?,
        padded_len: padded,
        payload: &bytes[HEADER_LEN..HEADER_LEN + payload_len],
    })
}

/// What a walk over a whole manifest found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Inspection {
    /// The file's own id.
    pub manifest_id: u64,
    /// Valid records from the start.
    pub records: u64,
    /// Where the valid records end.
    pub end: u64,
    /// Everything below was durable before something later was written: damage below it is told from a torn tail.
    pub vouched: u64,
    /// Bytes other than zero behind `end`: a record that a crash cut off.
    pub torn: bool,
}

/// Why a manifest cannot be used.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Damage {
    /// Where, in bytes from the start of the file.
    pub offset: u64,
    /// What is wrong there.
    pub what: Invalid,
}

/// Walks a whole manifest, giving each valid record to `each` in order, and tells a torn tail from damage.
///
/// # Errors
/// The first damage; nothing behind it is looked at.
pub fn inspect<'a>(
    file: &'a [u8],
    mut each: impl FnMut(&Record<'a>) -> Result<(), &'static str>,
) -> Result<Inspection, Damage> {
    let first = parse(file, 0).map_err(|what| Damage { offset: 0, what })?;
    let mut found = Inspection {
        manifest_id: first.manifest_id,
        records: 0,
        end: 0,
        vouched: 0,
        torn: false,
    };
    let mut at = 0;
    let why = loop {
        match parse(file, at) {
            Ok(record) if record.manifest_id == found.manifest_id && record.sequence == found.records => {
                each(&record).map_err(|what| Damage {
                    offset: at as u64,
                    what: Invalid::Bytes(what),
                })?;
                found.vouched = at as u64;
                found.records += 1;
                at += record.padded_len;
                found.end = at as u64;
            }
            Ok(_) => break Invalid::Bytes("a record of another manifest"),
            Err(what) => break what,
        }
    };
    if let Invalid::Version(_) = why {
        return Err(Damage {
            offset: at as u64,
            what: why,
        });
    }
    let mut later = at;
    while later + RECORD_ALIGN <= file.len() {
        let valid = parse(file, later).is_ok_and(|record| record.manifest_id == found.manifest_id);
        if valid {
            return Err(Damage {
                offset: at as u64,
                what: why,
            });
        }
        later += RECORD_ALIGN;
    }
    found.torn = file.get(at..).unwrap_or_default().iter().any(|&byte| byte != 0);
    Ok(found)
}

/// Appends one edit: tag, length, bytes.
pub(crate) fn put_edit(out: &mut Vec<u8>, tag: u64, body: &[u8]) {
    varint::put_u64(out, tag);
    varint::put_bytes(out, body);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(records: &[(RecordKind, &[u8])]) -> Vec<u8> {
        let mut file = Vec::new();
        for (sequence, (kind, payload)) in records.iter().enumerate() {
            let at = file.len();
            let mut record = vec![0; padded_len(payload.len())];
            encode(*kind, 77, sequence as u64, at as u64, payload, &mut record);
            file.extend_from_slice(&record);
        }
        file.resize(file.len() + 4 * RECORD_ALIGN, 0);
        file
    }

    fn walk(file: &[u8]) -> Result<Inspection, Damage> {
        inspect(file, |_| Ok(()))
    }

    #[test]
    fn reads_back_what_was_written() {
        let file = file(&[
            (RecordKind::Edits, b"one"),
            (RecordKind::Vouch, b""),
            (RecordKind::Edits, &[7; 9000]),
        ]);
        let mut payloads = Vec::new();
        let found = inspect(&file, |record| {
            payloads.push(record.payload.to_vec());
            Ok(())
        });
        assert_eq!(found.as_ref().map(|f| (f.records, f.torn)), Ok((3, false)));
        assert_eq!(payloads, [b"one".to_vec(), Vec::new(), vec![7; 9000]]);
    }

    #[test]
    fn tells_a_torn_tail_from_damage() {
        let whole = file(&[
            (RecordKind::Edits, b"one"),
            (RecordKind::Vouch, b""),
            (RecordKind::Edits, b"two"),
        ]);
        let mut torn = whole.clone();
        torn[2 * RECORD_ALIGN + 50] ^= 1;
        let found = walk(&torn).expect("the last record may be torn");
        assert_eq!(
            (found.records, found.torn, found.vouched),
            (2, true, RECORD_ALIGN as u64)
        );
        let mut damaged = whole;
        damaged[RECORD_ALIGN + 50] ^= 1;
        assert_eq!(walk(&damaged).map_err(|d| d.offset), Err(RECORD_ALIGN as u64));
    }

    #[test]
    fn refuses_a_newer_version() {
        let mut newer = file(&[(RecordKind::Edits, b"one")]);
        newer[8] = 9;
        let checksum = crc32fast::hash(&newer[4..RECORD_ALIGN]);
        newer[0..4].copy_from_slice(&checksum.to_le_bytes());
        assert_eq!(walk(&newer).map_err(|d| d.what), Err(Invalid::Version(9)));
    }

    #[test]
    fn every_flip_is_found_or_behind_the_vouched_end() {
        let whole = file(&[
            (RecordKind::Edits, b"one"),
            (RecordKind::Vouch, b""),
            (RecordKind::Edits, b"two"),
            (RecordKind::Vouch, b""),
        ]);
        let clean = walk(&whole).expect("clean");
        for byte in 0..whole.len() {
            for bit in 0..8 {
                let mut flipped = whole.clone();
                flipped[byte] ^= 1 << bit;
                match walk(&flipped) {
                    Err(_) => {}
                    Ok(found) => assert!(
                        byte as u64 >= clean.vouched && found.torn,
                        "flip of bit {bit} of byte {byte}"
                    ),
                }
                if byte > 64 && byte % 4096 > 64 {
                    break; // one bit a byte is enough inside payload and padding
                }
            }
        }
    }
}
