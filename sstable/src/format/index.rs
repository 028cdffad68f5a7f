//! Index frames and the top index: what a reader must know of a block without reading it.
//!
//! | part | content |
//! |---|---|
//! | entries | `token`, `key`, `position`, `flags`, then the varints of [`IndexEntry`] |
//! | offsets | 4 bytes for each entry |
//! | `entry_count` | 4 bytes |

use std::cmp::Ordering;

use model::{Deletion, KeyDigest, Token, varint};

use super::footer::Place;
use super::tally::Tally;
use super::{What, get_deletion, put_deletion, take, u32_at};

const STARTS: u16 = 1 << 0;
const RANGE_CHANGES: u16 = 1 << 1;
const STATIC: u16 = 1 << 2;
const SEVERAL: u16 = 1 << 3;
const TIMESTAMPS: u16 = 1 << 4;
const DELETION: u16 = 1 << 5;
const OPEN: u16 = 1 << 6;
const PARTITION_DELETION: u16 = 1 << 7;
const KNOWN: u16 = 0xFF;

/// Where a block begins. Orders as the file does: at one partition, its start comes before any position.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct First<'a> {
    pub(crate) token: Token,
    pub(crate) key: &'a [u8],
    /// `None`: a partition start.
    pub(crate) position: Option<&'a [u8]>,
}

impl First<'_> {
    /// Whether the block begins in, or with, this partition.
    pub(crate) fn is_of(&self, token: Token, key: &[u8]) -> bool {
        (self.token, self.key) == (token, key)
    }
}

impl Ord for First<'_> {
    fn cmp(&self, other: &Self) -> Ordering {
        // `None` sorts before `Some`, as a partition start does before what is in it.
        (self.token, self.key, self.position).cmp(&(other.token, other.key, other.position))
    }
}

impl PartialOrd for First<'_> {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

/// One entry: a data frame, or an index frame for all its data frames.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct IndexEntry<'a> {
    pub(crate) first: First<'a>,
    pub(crate) place: Place,
    pub(crate) raw_len: u64,
    pub(crate) partitions: u64,
    pub(crate) rows: u64,
    pub(crate) dead_rows: u64,
    pub(crate) tombstones: u64,
    pub(crate) range_changes: bool,
    /// Whether the partition that the block begins with has a static row.
    pub(crate) static_row: bool,
    /// Whether more than one partition lies in the block; if so, the rows of its first and of its last.
    pub(crate) several: Option<(u64, u64)>,
    /// Smallest and largest.
    pub(crate) timestamps: Option<(i64, i64)>,
    /// Largest deletion timestamp, largest local deletion time.
    pub(crate) deletion: Option<(i64, u32)>,
    /// The range deletion in force at the block's start.
    pub(crate) open: Deletion,
    /// The deletion of the partition `first` is in.
    pub(crate) partition_deletion: Deletion,
    /// Of the keys of the rows that are more than a row tombstone, and of those that are not; empty unless
    /// [`has_digests`](Self::has_digests).
    pub(crate) alive_digest: KeyDigest,
    pub(crate) dead_digest: KeyDigest,
}

impl<'a> IndexEntry<'a> {
    pub(crate) fn from_tally(
        first: First<'a>,
        static_row: bool,
        open: Deletion,
        partition_deletion: Deletion,
        place: Place,
        raw_len: u64,
        tally: &Tally,
    ) -> Self {
        let entry = IndexEntry {
            first,
            place,
            raw_len,
            partitions: tally.partitions,
            rows: tally.rows,
            dead_rows: tally.dead_rows,
            tombstones: tally.tombstones(),
            range_changes: tally.range_changes,
            static_row: first.position.is_none() && static_row,
            several: (tally.parts > 1).then_some((tally.rows_first, tally.rows_last)),
            timestamps: (tally.max_timestamp != i64::MIN).then_some((tally.min_timestamp, tally.max_timestamp)),
            deletion: (tally.deletion_timestamp != i64::MIN)
                .then_some((tally.deletion_timestamp, tally.deletion_local_time)),
            open,
            partition_deletion,
            alive_digest: KeyDigest::EMPTY,
            dead_digest: KeyDigest::EMPTY,
        };
        if !entry.has_digests() {
            return entry;
        }
        IndexEntry {
            alive_digest: tally.alive_digest,
            dead_digest: tally.dead_digest,
            ..entry
        }
    }

    /// Whether the keys are summed up: they are of one partition, and nothing but rows lies between them.
    pub(crate) fn has_digests(&self) -> bool {
        self.several.is_none() && !self.range_changes
    }

    /// Rows that are more than a row tombstone.
    pub(crate) fn alive_rows(&self) -> u64 {
        self.rows.saturating_sub(self.dead_rows)
    }

    /// Whether everything in the block is as old as `timestamp` or older.
    pub(crate) fn is_covered(&self, timestamp: i64) -> bool {
        self.timestamps.is_none_or(|(_, max)| max <= timestamp)
    }

    fn encode(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.first.token.0.to_le_bytes());
        varint::put_bytes(out, self.first.key);
        varint::put_bytes(out, self.first.position.unwrap_or(&[]));
        let mut flags = 0;
        for (on, flag) in [
            (self.first.position.is_none(), STARTS),
            (self.range_changes, RANGE_CHANGES),
            (self.static_row, STATIC),
            (self.several.is_some(), SEVERAL),
            (self.timestamps.is_some(), TIMESTAMPS),
            (self.deletion.is_some(), DELETION),
            (!self.open.is_live(), OPEN),
            (!self.partition_deletion.is_live(), PARTITION_DELETION),
        ] {
            flags |= if on { flag } else { 0 };
        }
        out.extend_from_slice(&flags.to_le_bytes());
        for value in [
            self.place.offset,
            u64::from(self.place.len),
            self.raw_len,
            self.partitions,
            self.rows,
            self.dead_rows,
            self.tombstones,
        ] {
            varint::put_u64(out, value);
        }
        if let Some((first, last)) = self.several {
            varint::put_u64(out, first);
            varint::put_u64(out, last);
        }
        if let Some((min, max)) = self.timestamps {
            varint::put_i64(out, min);
            varint::put_u64(out, max.wrapping_sub(min) as u64);
        }
        if let Some((timestamp, local_time)) = self.deletion {
            varint::put_i64(out, timestamp);
            varint::put_u64(out, u64::from(local_time));
        }
        for deletion in [self.open, self.partition_deletion] {
            if !deletion.is_live() {
                put_deletion(out, deletion);
            }
        }
        for (digest, rows) in [
            (self.alive_digest, self.alive_rows()),
            (self.dead_digest, self.dead_rows),
        ] {
            if self.has_digests() && rows > 0 {
                out.extend_from_slice(&digest.to_bytes());
            }
        }
    }

    fn decode(input: &mut &'a [u8]) -> Option<IndexEntry<'a>> {
        let (first, flags) = head(input)?;
        if flags & !KNOWN != 0 || flags & (STARTS | STATIC) == STATIC {
            return None;
        }
        let offset = varint::get_u64(input)?;
        let len = varint::get_u32(input)?;
        let raw_len = varint::get_u64(input)?;
        let partitions = varint::get_u64(input)?;
        let rows = varint::get_u64(input)?;
        let dead_rows = varint::get_u64(input)?;
        let tombstones = varint::get_u64(input)?;
        let several = if flags & SEVERAL != 0 {
            Some((varint::get_u64(input)?, varint::get_u64(input)?))
        } else {
            None
        };
        let timestamps = if flags & TIMESTAMPS != 0 {
            let min = varint::get_i64(input)?;
            let spread = varint::get_u64(input)?;
            Some((min, min.checked_add_unsigned(spread)?))
        } else {
            None
        };
        let deletion = if flags & DELETION != 0 {
            Some((varint::get_i64(input)?, varint::get_u32(input)?))
        } else {
            None
        };
        let open = if flags & OPEN != 0 {
            get_deletion(input)?
        } else {
            Deletion::LIVE
        };
        let partition_deletion = if flags & PARTITION_DELETION != 0 {
            get_deletion(input)?
        } else {
            Deletion::LIVE
        };
        if dead_rows > rows {
            return None;
        }
        let mut entry = IndexEntry {
            first,
            place: Place { offset, len },
            raw_len,
            partitions,
            rows,
            dead_rows,
            tombstones,
            range_changes: flags & RANGE_CHANGES != 0,
            static_row: flags & STATIC != 0,
            several,
            timestamps,
            deletion,
            open,
            partition_deletion,
            alive_digest: KeyDigest::EMPTY,
            dead_digest: KeyDigest::EMPTY,
        };
        if entry.has_digests() && entry.alive_rows() > 0 {
            entry.alive_digest = KeyDigest::from_bytes(take(input)?);
        }
        if entry.has_digests() && dead_rows > 0 {
            entry.dead_digest = KeyDigest::from_bytes(take(input)?);
        }
        Some(entry)
    }
}

#[inline]
fn head<'a>(input: &mut &'a [u8]) -> Option<(First<'a>, u16)> {
    let token = Token(i64::from_le_bytes(take(input)?));
    let key = varint::get_bytes(input)?;
    let position = varint::get_bytes(input)?;
    let flags = u16::from_le_bytes(take(input)?);
    let starts = flags & STARTS != 0;
    if starts && !position.is_empty() {
        return None;
    }
    Some((
        First {
            token,
            key,
            position: (!starts).then_some(position),
        },
        flags,
    ))
}

/// Builds the raw section of one index frame, or of the top index.
#[derive(Default)]
pub(crate) struct IndexBuilder {
    pub(crate) bytes: Vec<u8>,
    offsets: Vec<u32>,
}

impl IndexBuilder {
    pub(crate) fn is_empty(&self) -> bool {
        self.offsets.is_empty()
    }

    pub(crate) fn push(&mut self, entry: &IndexEntry<'_>) {
        self.offsets.push(self.bytes.len() as u32);
        entry.encode(&mut self.bytes);
    }

    /// Appends offsets and count; `bytes` is then the section.
    pub(crate) fn finish(&mut self) {
        for offset in &self.offsets {
            self.bytes.extend_from_slice(&offset.to_le_bytes());
        }
        self.bytes.extend_from_slice(&(self.offsets.len() as u32).to_le_bytes());
        self.offsets.clear();
    }
}

/// A checked index frame in memory.
pub(crate) struct IndexBlock {
    bytes: Vec<u8>,
    entries_len: usize,
    count: usize,
}

impl IndexBlock {
    /// Checks that every entry can be read and that they ascend.
    pub(crate) fn parse(bytes: Vec<u8>) -> Result<IndexBlock, What> {
        let trailer = bytes.len().checked_sub(4).ok_or("an index has no trailer")?;
        let count = u32_at(&bytes, trailer).unwrap_or(0) as usize;
        let entries_len = (trailer as u64)
            .checked_sub(count as u64 * 4)
            .ok_or("an index's offsets do not fit it")?;
        let block = IndexBlock {
            bytes,
            entries_len: entries_len as usize,
            count,
        };
        let mut input = &block.bytes[..block.entries_len];
        let mut last: Option<First<'_>> = None;
        for i in 0..count {
            if block.offset(i) != Some(block.entries_len - input.len()) {
                return Err("an index offset points to the wrong place");
            }
            let entry = IndexEntry::decode(&mut input).ok_or("an index entry is not one")?;
            if last.is_some_and(|last| last >= entry.first) {
                return Err("index entries are out of order");
            }
            last = Some(entry.first);
        }
        if !input.is_empty() {
            return Err("bytes follow the last index entry");
        }
        Ok(block)
    }

    pub(crate) fn len(&self) -> usize {
        self.count
    }

    pub(crate) fn memory_bytes(&self) -> usize {
        self.bytes.capacity() + size_of::<Self>()
    }

    fn offset(&self, i: usize) -> Option<usize> {
        if i >= self.count {
            return None;
        }
        u32_at(&self.bytes, self.entries_len + 4 * i).map(|o| o as usize)
    }

    fn at(&self, i: usize) -> Option<&[u8]> {
        self.bytes.get(self.offset(i)?..self.entries_len)
    }

    /// Entry `i`, if there is one.
    pub(crate) fn get(&self, i: usize) -> Option<IndexEntry<'_>> {
        IndexEntry::decode(&mut self.at(i)?)
    }

    /// Where entry `i`'s block begins.
    pub(crate) fn first(&self, i: usize) -> Option<First<'_>> {
        head(&mut self.at(i)?).map(|(first, _)| first)
    }

    /// How many entries come before `target` (at it too, if `inclusive`).
    fn count_before(&self, target: First<'_>, inclusive: bool) -> usize {
        let (mut low, mut high) = (0, self.count);
        while low < high {
            let mid = low + (high - low) / 2;
            let before = self.first(mid).is_some_and(|first| match first.cmp(&target) {
                Ordering::Less => true,
                Ordering::Equal => inclusive,
                Ordering::Greater => false,
            });
            if before {
                low = mid + 1;
            } else {
                high = mid;
            }
        }
        low
    }

    /// The last entry that begins at `target` or before.
    pub(crate) fn last_at(&self, target: First<'_>) -> Option<usize> {
        self.count_before(target, true).checked_sub(1)
    }

    /// The last entry that begins with `token` or one before it.
    pub(crate) fn last_up_to(&self, token: Token) -> Option<usize> {
        let next = token.0.checked_add(1).map(|next| First {
            token: Token(next),
            key: &[],
            position: None,
        });
        match next {
            Some(next) => self.last_before(next),
            None => self.count.checked_sub(1),
        }
    }

    /// The last entry that begins before `target`.
    pub(crate) fn last_before(&self, target: First<'_>) -> Option<usize> {
        self.count_before(target, false).checked_sub(1)
    }
}
