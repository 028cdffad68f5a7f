//! Rows as bytes: the cells of one clustering key, canonical and self-contained.
//!
//! The byte table stands in `docs/format/row.md`. In short:
//!
//! ```text
//! flags        1     LIVENESS 0x01, EXPIRING 0x02, DELETION 0x04, CELLS 0x08, UNIFORM 0x10, PLAIN 0x20
//! base         8     if flags != 0: timestamp of the liveness, else of the deletion, else of the first cell
//! ttl          var   EXPIRING: seconds, not 0            | liveness
//! expires_at   4     EXPIRING: seconds since the epoch   |
//! delta        var   LIVENESS and DELETION: the deletion's timestamp less base, zigzag
//! local time   4     DELETION
//! cells              until the end, by (column, path), complex deletion first
//!   head       1     kind 0x03, BASE_TIME 0x04, PATH 0x08, ROW_EXPIRY 0x10, column delta 0xE0 (7: 7 + varint follows)
//!   delta      var   unless BASE_TIME: timestamp less base, zigzag, not 0
//!   path             PATH: length-prefixed
//!   ttl, expires_at  expiring, unless ROW_EXPIRY (both as the liveness has them)
//!   local time 4     tombstone, complex deletion
//!   value            live, expiring: length-prefixed
//! ```
//!
//! UNIFORM says that there are cells and all have the base's timestamp, PLAIN that there are cells and all are live without
//! expiry: what an `INSERT` of a message gives. Most questions about such a row are answered without looking at its cells.
//!
//! **Invariants.** Equal rows are equal bytes: every number has one form, cells are sorted and unique, and nothing is kept
//! that a deletion of the same row already shadows. [`RowRef::parse`] refuses everything else.

mod builder;
mod cell;
mod check;
mod encode;
mod header;
mod live;
mod merge;
mod purge;
#[cfg(test)]
pub(crate) mod testing;
#[cfg(test)]
mod tests;

pub use builder::RowBuilder;
pub use cell::{CellIter, CellKind, CellRef};
pub use header::Liveness;
pub use live::{Columns, Live, LiveRow, ReadTime, live_row};
pub(crate) use merge::{Coverage, coverage, shadow_row_counted};
pub use merge::{Shadowed, merge_rows, shadow_row};
pub use purge::{PurgeRule, purge_row};

use crate::{ColumnId, Deletion, ModelError};
pub(crate) use encode::Encoder;
use header::Header;

pub(crate) const LIVENESS: u8 = 0x01;
pub(crate) const EXPIRING: u8 = 0x02;
pub(crate) const DELETION: u8 = 0x04;
pub(crate) const CELLS: u8 = 0x08;
pub(crate) const UNIFORM: u8 = 0x10;
pub(crate) const PLAIN: u8 = 0x20;

pub(crate) const KIND_LIVE: u8 = 0;
pub(crate) const KIND_EXPIRING: u8 = 1;
pub(crate) const KIND_TOMBSTONE: u8 = 2;
pub(crate) const KIND_COMPLEX: u8 = 3;
pub(crate) const KIND_MASK: u8 = 0x03;
pub(crate) const BASE_TIME: u8 = 0x04;
pub(crate) const PATH: u8 = 0x08;
pub(crate) const ROW_EXPIRY: u8 = 0x10;
pub(crate) const COLUMN_SHIFT: u8 = 5;
pub(crate) const COLUMN_ESCAPE: u32 = 7;

/// An encoded row, borrowed.
///
/// Equal rows have equal bytes, so `==` on the bytes is equality of rows.
///
/// [`RowBuilder`] shows how to make the bytes of one.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct RowRef<'a> {
    bytes: &'a [u8],
}

impl<'a> RowRef<'a> {
    /// The row without liveness, deletion and cells.
    pub const EMPTY: RowRef<'static> = RowRef { bytes: &[0] };

    /// Checks `bytes` completely, against every rule of the format, and gives the row in them. Allocates nothing.
    ///
    /// # Errors
    /// [`ModelError::Corrupt`] if the bytes are not exactly one canonical row.
    pub fn parse(bytes: &'a [u8]) -> Result<RowRef<'a>, ModelError> {
        check::check(bytes)?;
        Ok(RowRef { bytes })
    }

    /// Takes bytes that were checked before. Others give a wrong row, never a panic.
    #[inline]
    pub const fn trusted(bytes: &'a [u8]) -> RowRef<'a> {
        RowRef { bytes }
    }

    /// The encoded row.
    #[inline]
    pub const fn bytes(&self) -> &'a [u8] {
        self.bytes
    }

    #[inline]
    pub(crate) fn split(&self) -> (Header, CellIter<'a>) {
        let mut rest = self.bytes;
        match Header::read(&mut rest) {
            Some(header) => (header, CellIter::new(&header, rest)),
            None => (Header::EMPTY, CellIter::new(&Header::EMPTY, &[])),
        }
    }

    /// Whether the row has a liveness of its own, expired or not.
    #[inline]
    pub fn has_liveness(&self) -> bool {
        self.bytes.first().is_some_and(|flags| flags & LIVENESS != 0)
    }

    /// The row's own liveness, expired or not.
    #[inline]
    pub fn liveness(&self) -> Option<Liveness> {
        self.split().0.liveness
    }

    /// The row's tombstone, or `LIVE`.
    #[inline]
    pub fn deletion(&self) -> Deletion {
        self.split().0.deletion
    }

    /// The cells by (column, path), each collection's deletion before its elements.
    #[inline]
    pub fn cells(&self) -> CellIter<'a> {
        self.split().1
    }

    /// The cell of a column that is not a collection.
    pub fn cell(&self, column: ColumnId) -> Option<CellRef<'a>> {
        self.cells()
            .find(|c| c.column >= column)
            .filter(|c| c.column == column && c.path.is_none())
    }

    /// Whether the row has no liveness, no deletion and no cells.
    #[inline]
    pub fn is_empty(&self) -> bool {
        matches!(self.bytes, [] | [0])
    }

    /// Whether the row says nothing but that something is deleted.
    pub fn is_tombstone_only(&self) -> bool {
        let (header, mut cells) = self.split();
        !self.is_empty() && header.liveness.is_none() && cells.all(|c| c.value().is_none())
    }

    /// Whether the row is a row tombstone and nothing else.
    #[inline]
    pub fn is_row_tombstone(&self) -> bool {
        let flags = self.bytes.first().copied().unwrap_or_default();
        flags & (LIVENESS | DELETION | CELLS) == DELETION
    }

    /// Whether every reader sees all of the row, whatever the time: it was inserted, and nothing in it ends or is deleted.
    /// Told by its first byte.
    #[inline]
    pub fn is_wholly_live(&self) -> bool {
        let flags = self.bytes.first().copied().unwrap_or_default();
        flags & (LIVENESS | DELETION | EXPIRING) == LIVENESS && flags & (CELLS | PLAIN) != CELLS
    }

    /// Whether the row exists at `now_s`: its liveness holds, or any cell is live (CQL: what `INSERT` wrote stays a row
    /// when all its columns are deleted; what only `UPDATE` wrote vanishes with its last value).
    pub fn is_live(&self, now_s: u32) -> bool {
        let (header, mut cells) = self.split();
        let exists = |c: CellRef<'_>| c.is_live(now_s) && !c.column.is_key_form();
        header.liveness.is_some_and(|l| l.is_live(now_s)) || cells.any(exists) // a plain row: the first
    }

    /// The smallest timestamp of anything in the row; `i64::MAX` if it is empty.
    pub fn min_timestamp(&self) -> i64 {
        self.timestamps(i64::MAX, i64::min)
    }

    /// The largest timestamp of anything in the row; `i64::MIN` if it is empty.
    pub fn max_timestamp(&self) -> i64 {
        self.timestamps(i64::MIN, i64::max)
    }

    #[inline]
    fn timestamps(&self, none: i64, choose: fn(i64, i64) -> i64) -> i64 {
        let (header, cells) = self.split();
        let mut chosen = if header.flags == 0 { none } else { header.base };
        if !header.deletion.is_live() {
            chosen = choose(chosen, header.deletion.timestamp);
        }
        if header.is_uniform() {
            chosen
        } else {
            cells.map(|c| c.timestamp).fold(chosen, choose)
        }
    }

    /// When the first thing in the row died or will, in seconds since the Unix epoch; `u32::MAX` if nothing does.
    pub fn min_local_deletion(&self) -> u32 {
        self.local_deletions(true).fold(u32::MAX, u32::min)
    }

    /// When the last thing in the row died or will, in seconds since the Unix epoch; `u32::MAX` if something lives for
    /// ever, 0 if the row is empty.
    pub fn max_local_deletion(&self) -> u32 {
        self.local_deletions(false).fold(0, u32::max)
    }

    /// Of everything in the row; without the cells of a plain one if they do not matter.
    fn local_deletions(&self, only_deaths: bool) -> impl Iterator<Item = u32> {
        let (header, mut cells) = self.split();
        if only_deaths && header.is_plain() {
            cells = CellIter::new(&header, &[]);
        }
        let deletion = (!header.deletion.is_live()).then_some(header.deletion.local_deletion_time);
        header
            .liveness
            .map(|l| l.expires_at)
            .into_iter()
            .chain(deletion)
            .chain(cells.map(|c| match c.kind {
                CellKind::Live(_) => u32::MAX,
                CellKind::Expiring { expires_at, .. } => expires_at,
                CellKind::Tombstone { local_deletion_time } => local_deletion_time,
                CellKind::ComplexDeletion(deletion) => deletion.local_deletion_time,
            }))
    }
}

impl std::fmt::Debug for RowRef<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Row")
            .field("liveness", &self.liveness())
            .field("deletion", &self.deletion())
            .field("cells", &self.cells().collect::<Vec<_>>())
            .finish()
    }
}
