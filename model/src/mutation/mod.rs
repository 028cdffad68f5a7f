//! What one write changes in one partition of one table, as self-contained bytes: the payload of the commit log.
//!
//! The byte table stands in `docs/format/mutation.md`. In short:
//!
//! ```text
//! version      1     1
//! table        var
//! key          length-prefixed, not empty
//! entries      until the end, tags ascending:
//!   0x01  partition deletion   timestamp 8, local time 4
//!   0x02  static row           length-prefixed row
//!   0x03  row                  length-prefixed clustering key, length-prefixed row; keys strictly ascending
//!   0x04  range                length-prefixed start, length-prefixed end, timestamp 8, local time 4; (start, end) strictly ascending
//! ```
//!
//! There are no counts, so that a writer appends to one buffer; the bytes' own end is known to whoever stores them.

mod builder;
#[cfg(test)]
mod tests;

pub use builder::MutationBuilder;

use bytes::Bytes;

use crate::{Deletion, ModelError, RowRef, TableId, Token, token_of, varint};

pub(crate) const VERSION: u8 = 1;
pub(crate) const TAG_PARTITION: u8 = 1;
pub(crate) const TAG_STATIC: u8 = 2;
pub(crate) const TAG_ROW: u8 = 3;
pub(crate) const TAG_RANGE: u8 = 4;

/// An owned mutation; cheap to clone and to send.
///
/// [`MutationBuilder`] shows how to make one.
#[derive(Clone, PartialEq, Eq)]
pub struct Mutation(Bytes);

impl Mutation {
    /// Checks bytes from outside completely.
    ///
    /// # Errors
    /// As [`MutationRef::parse`].
    pub fn parse(bytes: Bytes) -> Result<Mutation, ModelError> {
        MutationRef::parse(&bytes)?;
        Ok(Mutation(bytes))
    }

    /// Takes bytes that were checked before.
    pub fn trusted(bytes: Bytes) -> Mutation {
        Mutation(bytes)
    }

    /// The encoded mutation.
    #[inline]
    pub fn bytes(&self) -> &Bytes {
        &self.0
    }

    /// The encoded mutation, without a copy.
    pub fn into_bytes(self) -> Bytes {
        self.0
    }

    /// The mutation, borrowed.
    #[inline]
    pub fn as_ref(&self) -> MutationRef<'_> {
        MutationRef::trusted(&self.0)
    }
}

impl std::fmt::Debug for Mutation {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.as_ref().fmt(f)
    }
}

/// An encoded mutation, borrowed.
///
/// [`Mutation::as_ref`] gives it.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct MutationRef<'a> {
    bytes: &'a [u8],
    table: TableId,
    key: &'a [u8],
    entries: &'a [u8],
}

/// One entry.
enum Entry<'a> {
    Partition(Deletion),
    Static(&'a [u8]),
    Row(&'a [u8], &'a [u8]),
    Range(&'a [u8], &'a [u8], Deletion),
}

impl<'a> Entry<'a> {
    #[inline]
    fn take(input: &mut &'a [u8]) -> Option<Entry<'a>> {
        let [tag] = varint::get_array(input)?;
        Some(match tag {
            TAG_PARTITION => Entry::Partition(Deletion::get(input)?),
            TAG_STATIC => Entry::Static(varint::get_bytes(input)?),
            TAG_ROW => Entry::Row(varint::get_bytes(input)?, varint::get_bytes(input)?),
            TAG_RANGE => Entry::Range(
                varint::get_bytes(input)?,
                varint::get_bytes(input)?,
                Deletion::get(input)?,
            ),
            _ => return None,
        })
    }

    /// What entries are sorted by.
    #[inline]
    fn place(&self) -> (u8, &'a [u8], &'a [u8]) {
        match *self {
            Entry::Partition(_) => (TAG_PARTITION, &[], &[]),
            Entry::Static(_) => (TAG_STATIC, &[], &[]),
            Entry::Row(clustering, _) => (TAG_ROW, clustering, &[]),
            Entry::Range(start, end, _) => (TAG_RANGE, start, end),
        }
    }
}

/// Whether a row may have this key: empty (a table without clustering columns), or beginning with a component's marker.
fn is_key(bytes: &[u8]) -> bool {
    !matches!(bytes.first(), Some(0 | 0xff))
}

/// Whether this can be a position: as a key, or the end of the partition.
fn is_position(bytes: &[u8]) -> bool {
    is_key(bytes) || bytes == [0xff]
}

impl<'a> MutationRef<'a> {
    /// Checks `bytes` completely, rows included, and gives the mutation in them. Allocates nothing.
    ///
    /// Whether columns and clustering keys fit the table is for the engine to check, which has the schema.
    ///
    /// # Errors
    /// [`ModelError::Corrupt`] if the bytes are not exactly one canonical mutation, [`ModelError::TooNew`] for a version
    /// that this release does not know.
    pub fn parse(bytes: &'a [u8]) -> Result<MutationRef<'a>, ModelError> {
        match bytes.first() {
            Some(&VERSION) => {}
            None | Some(0) => return Err(ModelError::corrupt("mutation version")),
            Some(&found) => {
                return Err(ModelError::TooNew {
                    what: "mutation",
                    found,
                    newest_known: VERSION,
                });
            }
        }
        let mutation = Self::split(bytes).ok_or(ModelError::corrupt("mutation header"))?;
        if mutation.key.is_empty() {
            return Err(ModelError::corrupt("mutation with an empty partition key"));
        }
        let mut rest = mutation.entries;
        let mut last = (0, &[][..], &[][..]);
        while !rest.is_empty() {
            let entry = Entry::take(&mut rest).ok_or(ModelError::corrupt("mutation entry"))?;
            let place = entry.place();
            if place <= last {
                return Err(ModelError::corrupt("mutation entries out of order"));
            }
            last = place;
            match entry {
                Entry::Partition(_) => {}
                Entry::Static(row) => drop(RowRef::parse(row)?),
                Entry::Row(clustering, row) => {
                    if !is_key(clustering) {
                        return Err(ModelError::corrupt("mutation row at a place that is no key"));
                    }
                    RowRef::parse(row)?;
                }
                Entry::Range(start, end, _) => {
                    if start >= end || !is_position(start) || !is_position(end) {
                        return Err(ModelError::corrupt("mutation range bounds"));
                    }
                }
            }
        }
        Ok(mutation)
    }

    /// Takes bytes that were checked before. Others give a wrong mutation, never a panic.
    #[inline]
    pub fn trusted(bytes: &'a [u8]) -> MutationRef<'a> {
        Self::split(bytes).unwrap_or(MutationRef {
            bytes,
            table: TableId(0),
            key: &[],
            entries: &[],
        })
    }

    #[inline]
    fn split(bytes: &'a [u8]) -> Option<MutationRef<'a>> {
        let mut rest = bytes.get(1..)?;
        let table = TableId(varint::get_u32(&mut rest)?);
        let key = varint::get_bytes(&mut rest)?;
        Some(MutationRef {
            bytes,
            table,
            key,
            entries: rest,
        })
    }

    /// The encoded mutation.
    #[inline]
    pub const fn bytes(&self) -> &'a [u8] {
        self.bytes
    }

    /// The table written to.
    #[inline]
    pub const fn table(&self) -> TableId {
        self.table
    }

    /// The partition key's bytes.
    #[inline]
    pub const fn key(&self) -> &'a [u8] {
        self.key
    }

    /// The token of the key, computed anew at each call (about 10 ns).
    #[inline]
    pub fn token(&self) -> Token {
        token_of(self.key)
    }

    /// The partition's tombstone, or `LIVE`.
    #[inline]
    pub fn partition_deletion(&self) -> Deletion {
        match Entry::take(&mut &*self.entries) {
            Some(Entry::Partition(deletion)) => deletion,
            _ => Deletion::LIVE,
        }
    }

    /// The static row, if one is written.
    #[inline]
    pub fn static_row(&self) -> Option<RowRef<'a>> {
        let mut rest = self.entries;
        match Entry::take(&mut rest)? {
            Entry::Static(row) => Some(RowRef::trusted(row)),
            Entry::Partition(_) => match Entry::take(&mut rest)? {
                Entry::Static(row) => Some(RowRef::trusted(row)),
                _ => None,
            },
            _ => None,
        }
    }

    /// The rows, by clustering key.
    #[inline]
    pub fn rows(&self) -> RowIter<'a> {
        RowIter { rest: self.entries }
    }

    /// The range deletions, by (start, end); they may overlap.
    #[inline]
    pub fn ranges(&self) -> RangeIter<'a> {
        RangeIter { rest: self.entries }
    }

    /// Whether nothing is written.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// The largest timestamp of anything in the mutation; `i64::MIN` if it is empty.
    pub fn max_timestamp(&self) -> i64 {
        let of_each = self.timestamps(|row| row.max_timestamp());
        of_each.fold(i64::MIN, i64::max)
    }

    /// The smallest timestamp of anything in the mutation; `i64::MAX` if it is empty.
    pub fn min_timestamp(&self) -> i64 {
        let of_each = self.timestamps(|row| row.min_timestamp());
        of_each.fold(i64::MAX, i64::min)
    }

    fn timestamps(&self, of_row: fn(RowRef<'a>) -> i64) -> impl Iterator<Item = i64> {
        let mut rest = self.entries;
        std::iter::from_fn(move || Entry::take(&mut rest)).map(move |entry| match entry {
            Entry::Partition(deletion) | Entry::Range(_, _, deletion) => deletion.timestamp,
            Entry::Static(row) | Entry::Row(_, row) => of_row(RowRef::trusted(row)),
        })
    }
}

impl std::fmt::Debug for MutationRef<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Mutation")
            .field("table", &self.table)
            .field("key", &self.key)
            .field("partition_deletion", &self.partition_deletion())
            .field("static_row", &self.static_row())
            .field("rows", &self.rows().collect::<Vec<_>>())
            .field("ranges", &self.ranges().collect::<Vec<_>>())
            .finish()
    }
}

/// The rows of a mutation: (clustering key, row).
///
/// [`MutationRef::rows`] gives it.
#[derive(Clone)]
pub struct RowIter<'a> {
    rest: &'a [u8],
}

impl<'a> Iterator for RowIter<'a> {
    type Item = (&'a [u8], RowRef<'a>);

    #[inline]
    fn next(&mut self) -> Option<Self::Item> {
        loop {
            match Entry::take(&mut self.rest) {
                Some(Entry::Row(clustering, row)) => return Some((clustering, RowRef::trusted(row))),
                Some(Entry::Partition(_) | Entry::Static(_)) => {}
                Some(Entry::Range(..)) | None => {
                    self.rest = &[];
                    return None;
                }
            }
        }
    }
}

/// The range deletions of a mutation: (start, end, deletion).
///
/// [`MutationRef::ranges`] gives it.
#[derive(Clone)]
pub struct RangeIter<'a> {
    rest: &'a [u8],
}

impl<'a> Iterator for RangeIter<'a> {
    type Item = (&'a [u8], &'a [u8], Deletion);

    #[inline]
    fn next(&mut self) -> Option<Self::Item> {
        loop {
            match Entry::take(&mut self.rest) {
                Some(Entry::Range(start, end, deletion)) => return Some((start, end, deletion)),
                Some(_) => {}
                None => {
                    self.rest = &[];
                    return None;
                }
            }
        }
    }
}
