//! The footer: the last 104 bytes of a file.
//!
//! | offset | size | field |
//! |---|---|---|
//! | 0 | 8 | `file_bytes` |
//! | 8 | 8 | `generation` |
//! | 16 | 16 | `host_id` |
//! | 32 | 4 | `table_id` |
//! | 36 | 4 | `flags` |
//! | 40 | 12 | top index frame: offset (8), length (4) |
//! | 52 | 12 | filter frame |
//! | 64 | 12 | statistics frame |
//! | 76 | 1 | `compression` |
//! | 77 | 11 | zero |
//! | 88 | 2 | `footer_len` |
//! | 90 | 2 | `version` |
//! | 92 | 4 | CRC-32 of bytes 0..92 |
//! | 96 | 8 | magic |

use super::frame::{Compression, Identity};
use super::{HEAD, MAGIC, VERSION, u32_at, u64_at};
use crate::error::Damage;

pub(crate) const FOOTER_LEN: usize = 104;
const _: () = assert!(FOOTER_LEN == 8 + 8 + 16 + 4 + 4 + 3 * 12 + 1 + 11 + 2 + 2 + 4 + 8);

/// Footer flag: some partition has a deletion or a static row.
pub(crate) const PARTITION_HEADS: u32 = 1;

/// Where a frame lies.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(crate) struct Place {
    pub(crate) offset: u64,
    pub(crate) len: u32,
}

impl Place {
    pub(crate) fn end(&self) -> u64 {
        self.offset.saturating_add(u64::from(self.len))
    }
}

/// What the footer says.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Footer {
    pub(crate) file_bytes: u64,
    pub(crate) generation: u64,
    pub(crate) host_id: [u8; 16],
    pub(crate) table_id: u32,
    pub(crate) flags: u32,
    pub(crate) top: Place,
    pub(crate) filter: Place,
    pub(crate) statistics: Place,
    pub(crate) compression: Compression,
}

impl Footer {
    pub(crate) fn identity(&self) -> Identity {
        Identity::new(&self.host_id, self.generation)
    }

    pub(crate) fn encode(&self) -> [u8; FOOTER_LEN] {
        let mut out = Vec::with_capacity(FOOTER_LEN);
        out.extend_from_slice(&self.file_bytes.to_le_bytes());
        out.extend_from_slice(&self.generation.to_le_bytes());
        out.extend_from_slice(&self.host_id);
        out.extend_from_slice(&self.table_id.to_le_bytes());
        out.extend_from_slice(&self.flags.to_le_bytes());
        for place in [self.top, self.filter, self.statistics] {
            out.extend_from_slice(&place.offset.to_le_bytes());
            out.extend_from_slice(&place.len.to_le_bytes());
        }
        out.push(match self.compression {
            Compression::None => 0,
            Compression::Lz4 => 1,
        });
        out.extend_from_slice(&[0; 11]);
        out.extend_from_slice(&(FOOTER_LEN as u16).to_le_bytes());
        out.extend_from_slice(&VERSION.to_le_bytes());
        out.extend_from_slice(&crc32fast::hash(&out).to_le_bytes());
        out.extend_from_slice(&MAGIC);
        let mut footer = [0; FOOTER_LEN];
        footer.copy_from_slice(&out);
        footer
    }

    /// Decodes the footer of a file of `file_bytes` bytes, of which `tail` is the end (at least [`FOOTER_LEN`] bytes, or all).
    pub(crate) fn decode(tail: &[u8], file_bytes: u64) -> Result<Footer, Damage> {
        let start = file_bytes.saturating_sub(FOOTER_LEN as u64);
        if file_bytes < (HEAD.len() + FOOTER_LEN) as u64 || tail.len() < FOOTER_LEN {
            return Err(Damage::new(0, "the file is too short to be an sstable"));
        }
        let end = &tail[tail.len() - 16..];
        if end[8..] != MAGIC {
            return Err(Damage::new(
                file_bytes - 8,
                "no footer at the end: cut short, never finished, or not an sstable",
            ));
        }
        let len = usize::from(u16::from_le_bytes([end[0], end[1]]));
        let version = u16::from_le_bytes([end[2], end[3]]);
        let checked =
            |footer: &[u8]| Some(crc32fast::hash(&footer[..footer.len() - 12])) == u32_at(footer, footer.len() - 12);
        if version > VERSION && len >= 16 && len <= tail.len() && checked(&tail[tail.len() - len..]) {
            return Err(Damage {
                offset: start,
                what: "the file is of a newer version",
                too_new: Some(version),
            });
        }
        let footer = &tail[tail.len() - FOOTER_LEN..];
        // Fuzz targets are to reach what stands behind it.
        if !cfg!(fuzzing) && !checked(footer) {
            return Err(Damage::new(start, "the footer's checksum is wrong"));
        }
        if version != VERSION || len != FOOTER_LEN {
            return Err(Damage::new(start, "the footer has an impossible version or length"));
        }
        let place = |at| Place {
            offset: u64_at(footer, at).unwrap_or(0),
            len: u32_at(footer, at + 8).unwrap_or(0),
        };
        let mut host_id = [0; 16];
        host_id.copy_from_slice(&footer[16..32]);
        let compression = match footer[76] {
            0 => Compression::None,
            1 => Compression::Lz4,
            _ => return Err(Damage::new(start, "the footer names an unknown compression")),
        };
        let footer = Footer {
            file_bytes: u64_at(footer, 0).unwrap_or(0),
            generation: u64_at(footer, 8).unwrap_or(0),
            host_id,
            table_id: u32_at(footer, 32).unwrap_or(0),
            flags: u32_at(footer, 36).unwrap_or(0),
            top: place(40),
            filter: place(52),
            statistics: place(64),
            compression,
        };
        if tail[tail.len() - FOOTER_LEN..][77..88] != [0; 11] {
            return Err(Damage::new(start, "reserved bytes of the footer are not zero"));
        }
        if footer.flags & !PARTITION_HEADS != 0 {
            return Err(Damage::new(start, "the footer has an unknown flag"));
        }
        if footer.file_bytes != file_bytes {
            return Err(Damage::new(start, "the file's length is not what its footer says"));
        }
        let tiled = footer.top.offset >= HEAD.len() as u64
            && footer.top.end() == footer.filter.offset
            && footer.filter.end() == footer.statistics.offset
            && footer.statistics.end() == start;
        if !tiled {
            return Err(Damage::new(start, "the footer's sections do not follow each other"));
        }
        Ok(footer)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample() -> (Footer, Vec<u8>) {
        let footer = Footer {
            file_bytes: 8 + 100 + 200 + 50 + 104,
            generation: 7,
            host_id: [9; 16],
            table_id: 3,
            flags: PARTITION_HEADS,
            top: Place { offset: 8, len: 100 },
            filter: Place { offset: 108, len: 200 },
            statistics: Place { offset: 308, len: 50 },
            compression: Compression::Lz4,
        };
        let bytes = footer.encode().to_vec();
        (footer, bytes)
    }

    #[test]
    fn round_trip() {
        let (footer, bytes) = sample();
        assert_eq!(Footer::decode(&bytes, footer.file_bytes), Ok(footer));
    }

    #[test]
    fn every_bit_flip_is_found() {
        let (footer, bytes) = sample();
        for bit in 0..bytes.len() * 8 {
            let mut bad = bytes.clone();
            bad[bit / 8] ^= 1 << (bit % 8);
            let found = Footer::decode(&bad, footer.file_bytes);
            assert!(found.is_err(), "bit {bit}");
            assert_eq!(
                found.unwrap_err().too_new,
                None,
                "bit {bit} is damage, not a newer version"
            );
        }
    }

    #[test]
    fn a_newer_version_is_refused_as_newer() {
        let (footer, mut bytes) = sample();
        // A longer footer of version 2, as a later release might write it.
        bytes.splice(0..0, [5; 24]);
        let len = bytes.len();
        bytes[len - 16..len - 14].copy_from_slice(&(len as u16).to_le_bytes());
        bytes[len - 14..len - 12].copy_from_slice(&2u16.to_le_bytes());
        let crc = crc32fast::hash(&bytes[..len - 12]);
        bytes[len - 12..len - 8].copy_from_slice(&crc.to_le_bytes());
        assert_eq!(
            Footer::decode(&bytes, footer.file_bytes + 24).unwrap_err().too_new,
            Some(2)
        );
    }

    #[test]
    fn a_cut_file_and_zeros_are_told_apart_from_flips() {
        let (footer, bytes) = sample();
        let cut = Footer::decode(&bytes[..], footer.file_bytes - 1).unwrap_err();
        assert_eq!(cut.what, "the file's length is not what its footer says");
        let zeros = Footer::decode(&[0; 200], 5000).unwrap_err();
        assert!(zeros.what.starts_with("no footer at the end"));
        assert!(Footer::decode(&bytes[..50], 50).is_err());
    }
}
