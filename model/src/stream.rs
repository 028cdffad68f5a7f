//! The stream of fragments that flush, reads, compaction and dump share, and the sources of one partition's rows.
//!
//! # Positions
//!
//! Rows of a partition are ordered by their encoded clustering key (`docs/semantics/clustering-order.md`), compared as
//! bytes. A *position* is a place between keys: `P` lies before every key that begins with `P`, `P` followed by 0xFF
//! after all of them; `[]` is the start of the partition and `[0xFF]` its end. A key `K` lies in a slice or a range
//! `[start, end)` iff `start <= K && K < end`, whatever the direction of travel.
//!
//! # Rows and range changes in both directions
//!
//! Range tombstones travel as changes: "from here on, this deletion is in force". A range `[s, e)` with deletion `d` is
//!
//! - [`Forward`](Direction::Forward): a change at `s` to `d`, a change at `e` to `LIVE`. A change at `p` comes *before*
//!   a row at `p` and applies to rows at `p` and after.
//! - [`Reverse`](Direction::Reverse): a change at `e` to `d`, a change at `s` to `LIVE`. A change at `p` comes *after* a
//!   row at `p` and applies to rows before `p`.
//!
//! The two sequences are each other's mirror image, the deletions shifted by one change. Three rows and the range
//! `[b, c)` deleted by `d`:
//!
//! ```text
//! Forward:  row a   change b: d      row b   change c: LIVE   row c
//! Reverse:  row c   change c: d      row b   change b: LIVE   row a
//! ```
//!
//! A source clipped to a slice opens with a change at the slice's first position (in the order of travel) if a range
//! is already open there, and closes what is open with a change to `LIVE` at its last.

use crate::{Deletion, RowRef, Token};

/// The order of travel through a partition.
///
/// [`Merge`](crate::Merge) travels in it.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Direction {
    /// Clustering order; newest first for messages, whose id is `DESC`.
    Forward,
    /// Clustering order backwards.
    Reverse,
}

impl Direction {
    /// Compares two positions in the order of travel.
    #[inline]
    pub fn compare(self, a: &[u8], b: &[u8]) -> std::cmp::Ordering {
        match self {
            Direction::Forward => a.cmp(b),
            Direction::Reverse => b.cmp(a),
        }
    }
}

/// A part of a partition: the keys `K` with `start <= K && K < end`.
///
/// [`Slice::prefix`] gives one.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct Slice {
    /// The position of the smallest key, whatever the direction.
    pub start: Vec<u8>,
    /// The position after the largest key, whatever the direction.
    pub end: Vec<u8>,
}

impl Slice {
    /// The whole partition.
    pub fn all() -> Slice {
        Slice {
            start: Vec::new(),
            end: vec![0xff],
        }
    }

    /// Everything whose encoded key begins with `prefix`; a full key gives one row.
    pub fn prefix(prefix: &[u8]) -> Slice {
        let mut end = Vec::with_capacity(prefix.len() + 1);
        end.extend_from_slice(prefix);
        end.push(0xff);
        Slice {
            start: prefix.to_vec(),
            end,
        }
    }

    /// Whether the key lies in the slice.
    #[inline]
    pub fn contains(&self, clustering: &[u8]) -> bool {
        self.start.as_slice() <= clustering && clustering < self.end.as_slice()
    }

    /// Whether no key can lie in the slice.
    pub fn is_empty(&self) -> bool {
        self.start >= self.end
    }

    /// Where travel through the slice begins.
    pub fn first(&self, direction: Direction) -> &[u8] {
        match direction {
            Direction::Forward => &self.start,
            Direction::Reverse => &self.end,
        }
    }

    /// Where travel through the slice ends.
    pub fn last(&self, direction: Direction) -> &[u8] {
        match direction {
            Direction::Forward => &self.end,
            Direction::Reverse => &self.start,
        }
    }
}

/// One piece of the stream that flush, compaction and dump consume: partitions by (token, key), each with its rows and
/// range changes in [`Direction::Forward`].
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Fragment<'a> {
    /// A partition begins.
    PartitionStart {
        /// The token of `key`.
        token: Token,
        /// The partition key's bytes.
        key: &'a [u8],
        /// The partition's tombstone, or `LIVE`.
        deletion: Deletion,
    },
    /// The partition's static row; at most one, before all rows.
    StaticRow(RowRef<'a>),
    /// A row.
    Row {
        /// The encoded clustering key.
        clustering: &'a [u8],
        /// The row.
        row: RowRef<'a>,
    },
    /// From `position` on, `deletion` is in force (`LIVE`: none).
    RangeChange {
        /// Where.
        position: &'a [u8],
        /// The deletion from there on.
        deletion: Deletion,
    },
    /// The partition ends; no range is open.
    PartitionEnd,
}

/// A row or a range change inside one partition.
///
/// [`RowSource`] gives them.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Item<'a> {
    /// A row.
    Row {
        /// The encoded clustering key.
        clustering: &'a [u8],
        /// The row.
        row: RowRef<'a>,
    },
    /// From `position` on, in the order of travel, `deletion` is in force (`LIVE`: none). See the module's page.
    RangeChange {
        /// Where.
        position: &'a [u8],
        /// The deletion from there on.
        deletion: Deletion,
    },
}

impl<'a> Item<'a> {
    /// The position of the row or of the change.
    #[inline]
    pub fn position(&self) -> &'a [u8] {
        match *self {
            Item::Row { clustering, .. } => clustering,
            Item::RangeChange { position, .. } => position,
        }
    }
}

impl<'a> From<Item<'a>> for Fragment<'a> {
    fn from(item: Item<'a>) -> Fragment<'a> {
        match item {
            Item::Row { clustering, row } => Fragment::Row { clustering, row },
            Item::RangeChange { position, deletion } => Fragment::RangeChange { position, deletion },
        }
    }
}

/// What a source has next.
///
/// [`RowSource::peek`] gives it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Peek<'a> {
    /// This.
    Item(Item<'a>),
    /// Not known without I/O: the source must be filled.
    Pending {
        /// Nothing of this source comes before it, in the order of travel.
        position: &'a [u8],
    },
    /// Nothing more.
    End,
}

/// One source of a partition's rows and range changes, in one direction, each position once.
///
/// [`Merge`](crate::Merge) merges several.
pub trait RowSource {
    /// What comes next; the same until [`advance`](Self::advance), [`skip_covered`](Self::skip_covered) or a fill.
    fn peek(&self) -> Peek<'_>;

    /// Passes over what [`peek`](Self::peek) shows, which is an item.
    fn advance(&mut self);

    /// Passes over rows, or whole blocks of them without reading them, in which everything is as old as `timestamp` or
    /// older, and which come before a change at `until` in the order of travel (Forward: keys below `until`; Reverse:
    /// keys at or above it; `None`: no bound). Stops at any range change of this source. May do nothing.
    /// Returns the number of rows passed over.
    fn skip_covered(&mut self, timestamp: i64, until: Option<&[u8]>) -> u64;

    /// Passes over a dead run, rows or whole unread blocks of rows that are row tombstones and nothing else
    /// ([`RowRef::is_row_tombstone`](crate::RowRef::is_row_tombstone)); `until` as above. Stops at any range change of this
    /// source. May do nothing. Returns the number of rows passed over.
    fn skip_dead(&mut self, _until: Option<&[u8]>) -> u64 {
        0
    }

    /// Gives rows and passes over them, as long as they are [wholly live](RowRef::is_wholly_live), come before `until` in the
    /// order of travel, which is `direction`, and `give` asks for more. Stops at any range change, and where it is pending.
    /// Returns the number of rows given.
    fn give_live(
        &mut self,
        direction: Direction,
        until: Option<&[u8]>,
        give: &mut impl FnMut(&[u8], RowRef<'_>) -> bool,
    ) -> u64 {
        let mut given = 0;
        loop {
            let more = match self.peek() {
                Peek::Item(Item::Row { clustering, row })
                    if row.is_wholly_live() && comes(direction, clustering, until) =>
                {
                    give(clustering, row)
                }
                _ => return given,
            };
            self.advance();
            given += 1;
            if !more {
                return given;
            }
        }
    }
}

/// So that a merge can borrow sources that outlive it.
impl<S: RowSource + ?Sized> RowSource for &mut S {
    #[inline]
    fn peek(&self) -> Peek<'_> {
        (**self).peek()
    }

    #[inline]
    fn advance(&mut self) {
        (**self).advance();
    }

    fn skip_covered(&mut self, timestamp: i64, until: Option<&[u8]>) -> u64 {
        (**self).skip_covered(timestamp, until)
    }

    fn skip_dead(&mut self, until: Option<&[u8]>) -> u64 {
        (**self).skip_dead(until)
    }

    fn give_live(
        &mut self,
        direction: Direction,
        until: Option<&[u8]>,
        give: &mut impl FnMut(&[u8], RowRef<'_>) -> bool,
    ) -> u64 {
        (**self).give_live(direction, until, give)
    }
}

/// Whether a row comes before `until` in the order of travel.
#[inline]
fn comes(direction: Direction, clustering: &[u8], until: Option<&[u8]>) -> bool {
    until.is_none_or(|until| direction.compare(clustering, until) == std::cmp::Ordering::Less)
}
