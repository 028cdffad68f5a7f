//! Where a page ended, as bytes that a client keeps and gives back.
//!
//! # Format, version 1
//!
//! | offset | bytes | what |
//! |---|---|---|
//! | 0 | 1 | version, 1 |
//! | 1 | 4 | CRC-32 of all that follows, little-endian |
//! | 5 | 4 | table id, little-endian |
//! | 9 | 1 | direction: 0 forward, 1 reverse |
//! | 10 | 2 | length of the partition key, little-endian |
//! | 12 | | the partition key, then the position where the next page begins |
//!
//! The bytes come back from outside. The checksum finds what is damaged or invented, not what is forged: so they say only where a
//! page of the same read begins, never what it may see. What is given back for another table, partition or direction is refused.

use crate::error::{Error, Result};
use crate::page::{Page, Read};
use model::{Direction, TableId};

const VERSION: u8 = 1;
/// Up to the key.
const HEADER_LEN: usize = 12;
/// Longer ones are none: key and position are 65,535 bytes at most, and the position's escapes double them.
const LEN_MAX: usize = HEADER_LEN + 3 * 65_536;

/// Where the next page of a read begins. See the module's page for its bytes.
///
/// ```no_run
/// # async fn example(store: scrollback_engine::Store) -> scrollback_engine::Result<()> {
/// use scrollback_engine::{PagingState, Read};
///
/// let table = store.table("chat", "messages").expect("it was created");
/// let read = Read::partition(table.id, b"general");
/// let page = store.read(read.clone()).await?;
/// if let Some(state) = PagingState::after(&read, &page) {
///     let for_the_client = state.to_bytes();
///     // Later, from whoever has it: checked before it is followed.
///     let rest = PagingState::from_bytes(&for_the_client)?.resume(read)?;
///     store.read(rest).await?;
/// }
/// # Ok(())
/// # }
/// ```
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct PagingState {
    table: TableId,
    direction: Direction,
    key: Vec<u8>,
    position: Vec<u8>,
}

impl PagingState {
    /// Where the page behind `page`, which `read` gave, begins; `None`: there is none.
    ///
    /// ```
    /// use scrollback_engine::{Page, PagingState, Read};
    ///
    /// /// The bytes to give to a client with a page, if there is more.
    /// fn to_client(read: &Read, page: &Page) -> Option<Vec<u8>> {
    ///     PagingState::after(read, page).map(|state| state.to_bytes())
    /// }
    ///
    /// /// The same read, from where the client left off.
    /// fn from_client(read: Read, bytes: &[u8]) -> scrollback_engine::Result<Read> {
    ///     PagingState::from_bytes(bytes)?.resume(read)
    /// }
    /// ```
    #[must_use]
    pub fn after(read: &Read, page: &Page) -> Option<PagingState> {
        let rest = page.more()?;
        Some(PagingState {
            table: read.table,
            direction: read.direction,
            key: read.key.clone(),
            position: rest.first(read.direction).to_vec(),
        })
    }

    /// The bytes to keep.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        let key_len = u16::try_from(self.key.len()).expect("a partition key has at most 65,535 bytes");
        let mut bytes = vec![VERSION, 0, 0, 0, 0];
        bytes.extend_from_slice(&self.table.0.to_le_bytes());
        bytes.push(u8::from(self.direction == Direction::Reverse));
        bytes.extend_from_slice(&key_len.to_le_bytes());
        bytes.extend_from_slice(&self.key);
        bytes.extend_from_slice(&self.position);
        let crc = crc32fast::hash(&bytes[5..]);
        bytes[1..5].copy_from_slice(&crc.to_le_bytes());
        bytes
    }

    /// Reads bytes that a client gives back.
    ///
    /// # Errors
    /// [`Error::Invalid`]: they are no paging state of this version, or damaged.
    pub fn from_bytes(bytes: &[u8]) -> Result<PagingState> {
        let damaged = || Error::invalid("the paging state is damaged; begin from the first page");
        match bytes.first() {
            Some(&VERSION) => {}
            Some(version) => {
                return Err(Error::invalid(format!(
                    "a paging state of version {version}, this release knows {VERSION}; begin from the first page"
                )));
            }
            None => return Err(damaged()),
        }
        if !(HEADER_LEN..=LEN_MAX).contains(&bytes.len()) {
            return Err(damaged());
        }
        let (header, rest) = bytes.split_at(HEADER_LEN);
        let word = |at: usize| u32::from_le_bytes([header[at], header[at + 1], header[at + 2], header[at + 3]]);
        if crc32fast::hash(&bytes[5..]) != word(1) {
            return Err(damaged());
        }
        let direction = match header[9] {
            0 => Direction::Forward,
            1 => Direction::Reverse,
            _ => return Err(damaged()),
        };
        let key_len = usize::from(u16::from_le_bytes([header[10], header[11]]));
        let (key, position) = rest.split_at_checked(key_len).ok_or_else(damaged)?;
        Ok(PagingState {
            table: TableId(word(5)),
            direction,
            key: key.to_vec(),
            position: position.to_vec(),
        })
    }

    /// The read that gives the next page of `read`, which is what it was for the first one.
    ///
    /// # Errors
    /// [`Error::Invalid`]: the state is that of another table, partition or direction, or lies outside of the slice.
    pub fn resume(self, mut read: Read) -> Result<Read> {
        let other = |what: &str| Error::invalid(format!("the paging state is of {what}; begin from the first page"));
        if self.table != read.table {
            return Err(other("another table"));
        }
        if self.key != read.key {
            return Err(other("another partition"));
        }
        if self.direction != read.direction {
            return Err(other("a read in the other direction"));
        }
        let slice = &mut read.slice;
        if self.position < slice.start || self.position > slice.end {
            return Err(other("a read of other rows"));
        }
        match self.direction {
            Direction::Forward => slice.start = self.position,
            Direction::Reverse => slice.end = self.position,
        }
        Ok(read)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use model::Slice;

    fn state(direction: Direction) -> PagingState {
        let (key, position) = (b"channel".to_vec(), b"m".to_vec());
        PagingState {
            table: TableId(7),
            direction,
            key,
            position,
        }
    }

    fn read(direction: Direction) -> Read {
        Read {
            direction,
            ..Read::partition(TableId(7), b"channel")
        }
    }

    #[test]
    fn goes_on_where_the_page_ended_and_nowhere_else() {
        for direction in [Direction::Forward, Direction::Reverse] {
            let again = PagingState::from_bytes(&state(direction).to_bytes()).expect("its own bytes");
            assert_eq!(again, state(direction));
            let Slice { start, end } = again.resume(read(direction)).expect("the same read").slice;
            match direction {
                Direction::Forward => assert_eq!((start, end), (b"m".to_vec(), vec![0xFF])),
                Direction::Reverse => assert_eq!((start, end), (vec![], b"m".to_vec())),
            }
        }
        let resume = |change: fn(&mut Read)| {
            let mut read = read(Direction::Forward);
            change(&mut read);
            state(Direction::Forward).resume(read).expect_err("refused").to_string()
        };
        assert!(resume(|read| read.table = TableId(8)).contains("another table"));
        assert!(resume(|read| read.key = b"other".to_vec()).contains("another partition"));
        assert!(resume(|read| read.direction = Direction::Reverse).contains("the other direction"));
        assert!(resume(|read| read.slice.start = b"n".to_vec()).contains("other rows"));
        assert!(resume(|read| read.slice.end = b"l".to_vec()).contains("other rows"));
    }

    #[test]
    fn whatever_comes_from_outside_is_refused_or_a_state() {
        let good = state(Direction::Forward).to_bytes();
        for len in 0..good.len() {
            assert!(PagingState::from_bytes(&good[..len]).is_err(), "cut to {len}");
        }
        for at in 0..good.len() * 8 {
            let mut flipped = good.clone();
            flipped[at / 8] ^= 1 << (at % 8);
            assert!(PagingState::from_bytes(&flipped).is_err(), "bit {at}");
        }
        assert!(PagingState::from_bytes(&[good.as_slice(), b"x"].concat()).is_err());
        assert!(PagingState::from_bytes(&vec![VERSION; LEN_MAX + 1]).is_err());
        let newer = PagingState::from_bytes(&[2; 40])
            .expect_err("of another version")
            .to_string();
        assert!(newer.contains("version 2"), "{newer}");
        let sealed = |mut bytes: Vec<u8>| {
            let crc = crc32fast::hash(&bytes[5..]);
            bytes[1..5].copy_from_slice(&crc.to_le_bytes());
            PagingState::from_bytes(&bytes)
        };
        let mut lies = good.clone();
        lies[10..12].copy_from_slice(&u16::MAX.to_le_bytes());
        assert!(sealed(lies).is_err(), "a key longer than the bytes");
        let mut lies = good;
        lies[9] = 2;
        assert!(sealed(lies).is_err(), "no direction");
    }

    proptest::proptest! {
        #[test]
        fn prop_random_bytes_never_panic(bytes in proptest::collection::vec(proptest::num::u8::ANY, 0..200)) {
            if let Ok(state) = PagingState::from_bytes(&bytes) {
                proptest::prop_assert_eq!(state.to_bytes(), bytes);
            }
        }
    }
}
