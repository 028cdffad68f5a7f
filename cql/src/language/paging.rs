//! Where a page of a `SELECT` ended, as bytes that a client keeps and gives back.
//!
//! # Format, version 1
//!
//! | offset | bytes | what |
//! |---|---|---|
//! | 0 | 1 | version, 1 |
//! | 1 | 4 | CRC-32 of all that follows, little-endian |
//! | 5 | 4 | table id, little-endian |
//! | 9 | 1 | flags: 1 a position follows, 2 the partition has given a row |
//! | 10 | 4 | rows that may still be given, little-endian; 2^32 - 1: without limit |
//! | 14 | 4 | rows that may still be given of the partition |
//! | 18 | 2 | length of the partition key, little-endian |
//! | 20 | | the partition key, then the position where the next page begins |
//!
//! The bytes come back from outside. The checksum finds what is damaged or invented, not what is forged: so they say only where a page
//! of the same statement begins, never what it may see.

use super::error::{Error, Result};
use model::TableId;

const VERSION: u8 = 1;
const HEADER_LEN: usize = 20;
/// Longer ones are none: key and position are 65,535 bytes at most, and the position's escapes double them.
const LEN_MAX: usize = HEADER_LEN + 65_536 * 17;
const HAS_POSITION: u8 = 1;
const HAS_GIVEN: u8 = 2;

/// Where the next page begins. See the module's page for its bytes.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct PagingState {
    /// Of which table.
    pub table: TableId,
    /// The partition in which it begins, or behind which if there is no position.
    pub key: Vec<u8>,
    /// Where in the partition; `None`: it is done.
    pub position: Option<Vec<u8>>,
    /// The partition has given a row, so that its static row is not given alone.
    pub has_given: bool,
    /// Rows that may still be given.
    pub remaining: Option<u32>,
    /// Rows of the partition that may still be given.
    pub remaining_in_partition: Option<u32>,
}

impl PagingState {
    /// The bytes to give to the client.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut flags = if self.position.is_some() { HAS_POSITION } else { 0 };
        flags |= if self.has_given { HAS_GIVEN } else { 0 };
        let mut out = vec![VERSION, 0, 0, 0, 0];
        out.extend_from_slice(&self.table.0.to_le_bytes());
        out.push(flags);
        out.extend_from_slice(&self.remaining.unwrap_or(u32::MAX).to_le_bytes());
        out.extend_from_slice(&self.remaining_in_partition.unwrap_or(u32::MAX).to_le_bytes());
        let len = u16::try_from(self.key.len()).expect("a partition key has at most 65,535 bytes");
        out.extend_from_slice(&len.to_le_bytes());
        out.extend_from_slice(&self.key);
        out.extend_from_slice(self.position.as_deref().unwrap_or_default());
        let crc = crc32fast::hash(&out[5..]);
        out[1..5].copy_from_slice(&crc.to_le_bytes());
        out
    }

    /// Reads bytes that a client gives back for a statement on `table`.
    ///
    /// # Errors
    /// [`Error::Protocol`]: they are none of this version, damaged, or of another table.
    pub fn from_bytes(bytes: &[u8], table: TableId) -> Result<PagingState> {
        let refused = || Error::Protocol("Invalid value for the paging state".to_owned());
        if !(HEADER_LEN..=LEN_MAX).contains(&bytes.len()) || bytes[0] != VERSION {
            return Err(refused());
        }
        let word = |at: usize| u32::from_le_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]]);
        if crc32fast::hash(&bytes[5..]) != word(1) || word(5) != table.0 {
            return Err(refused());
        }
        let flags = bytes[9];
        if flags & !(HAS_POSITION | HAS_GIVEN) != 0 {
            return Err(refused());
        }
        let limit = |at: usize| Some(word(at)).filter(|limit| *limit != u32::MAX);
        let len = usize::from(u16::from_le_bytes([bytes[18], bytes[19]]));
        let (key, position) = bytes[HEADER_LEN..].split_at_checked(len).ok_or_else(refused)?;
        let has_position = flags & HAS_POSITION != 0;
        if key.is_empty() || (!has_position && !position.is_empty()) {
            return Err(refused());
        }
        Ok(PagingState {
            table,
            key: key.to_vec(),
            position: has_position.then(|| position.to_vec()),
            has_given: flags & HAS_GIVEN != 0,
            remaining: limit(10),
            remaining_in_partition: limit(14),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn state() -> PagingState {
        PagingState {
            table: TableId(7),
            key: b"key".to_vec(),
            position: Some(b"position".to_vec()),
            has_given: true,
            remaining: Some(5),
            remaining_in_partition: None,
        }
    }

    #[test]
    fn is_read_as_it_was_written_and_refused_if_changed() {
        let bytes = state().to_bytes();
        assert_eq!(PagingState::from_bytes(&bytes, TableId(7)), Ok(state()));
        let done = PagingState {
            position: None,
            ..state()
        };
        assert_eq!(PagingState::from_bytes(&done.to_bytes(), TableId(7)), Ok(done));
        assert!(PagingState::from_bytes(&bytes, TableId(8)).is_err(), "of another table");
        for len in 0..bytes.len() {
            assert!(
                PagingState::from_bytes(&bytes[..len], TableId(7)).is_err(),
                "cut to {len}"
            );
        }
        for at in 0..bytes.len() * 8 {
            let mut flipped = bytes.clone();
            flipped[at / 8] ^= 1 << (at % 8);
            assert!(PagingState::from_bytes(&flipped, TableId(7)).is_err(), "bit {at}");
        }
    }
}
