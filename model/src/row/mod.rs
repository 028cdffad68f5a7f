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
mod encode;
mod live;
mod merge;
#[cfg(test)]
pub(crate) mod testing;
#[cfg(test)]
mod tests;

pub use builder::RowBuilder;
pub use live::{Columns, Live, LiveRow, live_row};
pub(crate) use merge::{Coverage, coverage, shadow_row_counted};
pub use merge::{Shadowed, merge_rows, shadow_row};

use crate::{ColumnId, Deletion, ModelError, varint};
pub(crate) use encode::Encoder;

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

/// That a row exists although it may have no cells: what `INSERT` writes and `UPDATE` does not.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Liveness {
    /// Microseconds since the Unix epoch.
    pub timestamp: i64,
    /// Seconds to live as asked for by the writer; 0 for ever.
    pub ttl: u32,
    /// When it ends, in seconds since the Unix epoch; `u32::MAX` if `ttl` is 0.
    pub expires_at: u32,
}

impl Liveness {
    /// The `ttl` that marks a liveness as expired from the start: it beats others of its timestamp and is never live.
    /// (Cassandra's marker for rows of materialised views; nothing here writes it yet, the merge rule knows it.)
    pub const EXPIRED_TTL: u32 = i32::MAX as u32;

    /// A liveness that does not expire.
    pub const fn new(timestamp: i64) -> Liveness {
        Liveness {
            timestamp,
            ttl: 0,
            expires_at: u32::MAX,
        }
    }

    /// A liveness that ends at `expires_at`; with `ttl` 0 it does not expire.
    pub const fn expiring(timestamp: i64, ttl: u32, expires_at: u32) -> Liveness {
        if ttl == 0 {
            Liveness::new(timestamp)
        } else {
            Liveness {
                timestamp,
                ttl,
                expires_at,
            }
        }
    }

    /// Whether it holds at `now_s`.
    #[inline]
    pub const fn is_live(&self, now_s: u32) -> bool {
        self.ttl == 0 || (self.ttl != Self::EXPIRED_TTL && now_s < self.expires_at)
    }
}

/// One cell, or the deletion of a whole collection.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct CellRef<'a> {
    /// The column.
    pub column: ColumnId,
    /// The element of a non-frozen collection: its key in the order-preserving encoding of
    /// `docs/semantics/clustering-order.md` (set element, map key, list timeuuid), so that elements sort as bytes.
    pub path: Option<&'a [u8]>,
    /// Microseconds since the Unix epoch.
    pub timestamp: i64,
    /// What it says.
    pub kind: CellKind<'a>,
}

/// What a cell says.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum CellKind<'a> {
    /// A value (CQL bytes).
    Live(&'a [u8]),
    /// A value that ends.
    Expiring {
        /// CQL bytes.
        value: &'a [u8],
        /// Seconds to live as asked for by the writer, not 0.
        ttl: u32,
        /// When it ends, in seconds since the Unix epoch.
        expires_at: u32,
    },
    /// The cell was deleted.
    Tombstone {
        /// When, by the deleting node's clock, in seconds since the Unix epoch.
        local_deletion_time: u32,
    },
    /// Everything of this collection written at or before the deletion's timestamp (which is also the cell's) is gone.
    ComplexDeletion(Deletion),
}

impl<'a> CellRef<'a> {
    /// Whether the cell holds a value at `now_s`.
    #[inline]
    pub const fn is_live(&self, now_s: u32) -> bool {
        match self.kind {
            CellKind::Live(_) => true,
            CellKind::Expiring { expires_at, .. } => now_s < expires_at,
            CellKind::Tombstone { .. } | CellKind::ComplexDeletion(_) => false,
        }
    }

    /// The value's bytes, expired or not; `None` for tombstones.
    #[inline]
    pub const fn value(&self) -> Option<&'a [u8]> {
        match self.kind {
            CellKind::Live(value) | CellKind::Expiring { value, .. } => Some(value),
            CellKind::Tombstone { .. } | CellKind::ComplexDeletion(_) => None,
        }
    }

    /// What cells of a row are sorted by: the column, the complex deletion first, then the path.
    #[inline]
    pub(crate) fn place(&self) -> (ColumnId, bool, Option<&'a [u8]>) {
        (
            self.column,
            !matches!(self.kind, CellKind::ComplexDeletion(_)),
            self.path,
        )
    }
}

/// An encoded row, borrowed.
///
/// Equal rows have equal bytes, so `==` on the bytes is equality of rows.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct RowRef<'a> {
    bytes: &'a [u8],
}

/// What stands before the cells.
#[derive(Clone, Copy)]
pub(crate) struct Header {
    pub(crate) flags: u8,
    pub(crate) liveness: Option<Liveness>,
    pub(crate) deletion: Deletion,
    pub(crate) base: i64,
}

impl Header {
    const EMPTY: Header = Header {
        flags: 0,
        liveness: None,
        deletion: Deletion::LIVE,
        base: 0,
    };

    /// Whether the cells, if there are any, all have the base's timestamp.
    #[inline]
    pub(crate) fn is_uniform(&self) -> bool {
        self.flags & (CELLS | UNIFORM) != CELLS
    }

    /// Whether the cells, if there are any, are all live without expiry.
    #[inline]
    pub(crate) fn is_plain(&self) -> bool {
        self.flags & (CELLS | PLAIN) != CELLS
    }

    /// Reads the header and leaves the cells in `input`; `None` if the bytes are not one.
    #[inline]
    fn read(input: &mut &[u8]) -> Option<Header> {
        let [flags] = varint::get_array(input)?;
        let mut header = Header { flags, ..Header::EMPTY };
        if flags == 0 {
            return input.is_empty().then_some(header);
        }
        header.base = i64::from_le_bytes(varint::get_array(input)?);
        let impossible = flags & !(LIVENESS | EXPIRING | DELETION | CELLS | UNIFORM | PLAIN) != 0
            || flags & (LIVENESS | EXPIRING) == EXPIRING
            || (flags & CELLS == 0 && flags & (UNIFORM | PLAIN) != 0)
            || header.base == i64::MIN;
        if impossible {
            return None;
        }
        if flags & LIVENESS != 0 {
            let mut liveness = Liveness::new(header.base);
            if flags & EXPIRING != 0 {
                liveness.ttl = varint::get_u32(input)?;
                liveness.expires_at = u32::from_le_bytes(varint::get_array(input)?);
                if liveness.ttl == 0 {
                    return None;
                }
            }
            header.liveness = Some(liveness);
        }
        if flags & DELETION != 0 {
            let timestamp = match header.liveness {
                Some(_) => header.base.wrapping_add(varint::get_i64(input)?),
                None => header.base,
            };
            let local_deletion_time = u32::from_le_bytes(varint::get_array(input)?);
            if timestamp == i64::MIN {
                return None;
            }
            header.deletion = Deletion {
                timestamp,
                local_deletion_time,
            };
        }
        Some(header)
    }
}

impl<'a> RowRef<'a> {
    /// The row without liveness, deletion and cells.
    pub const EMPTY: RowRef<'static> = RowRef { bytes: &[0] };

    /// Checks `bytes` completely, against every rule of the format, and gives the row in them. Allocates nothing.
    ///
    /// # Errors
    /// [`ModelError::Corrupt`] if the bytes are not exactly one canonical row.
    pub fn parse(bytes: &'a [u8]) -> Result<RowRef<'a>, ModelError> {
        let mut rest = bytes;
        let header = Header::read(&mut rest).ok_or(ModelError::corrupt("row header"))?;
        if header.liveness.is_some_and(|l| header.deletion.covers(l.timestamp)) {
            return Err(ModelError::corrupt("row liveness under the row's own deletion"));
        }
        if (header.flags & CELLS != 0) == rest.is_empty() {
            return Err(ModelError::corrupt("row flags and cells disagree"));
        }
        if header.is_uniform() && header.is_plain() && !header.deletion.covers(header.base) && check_simple(rest) {
            return Ok(RowRef { bytes });
        }
        check_cells(&header, rest)?;
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

    /// Whether the row exists at `now_s`: its liveness holds, or any cell is live (CQL: what `INSERT` wrote stays a row
    /// when all its columns are deleted; what only `UPDATE` wrote vanishes with its last value).
    pub fn is_live(&self, now_s: u32) -> bool {
        let (header, mut cells) = self.split();
        header.liveness.is_some_and(|l| l.is_live(now_s)) || cells.any(|c| c.is_live(now_s)) // a plain row: the first
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
            cells.rest = &[];
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

/// Whether the bytes are cells that are simple, live and of the base's timestamp, each of a later column: what nearly every
/// row is made of. If not, they may still be legal.
#[inline]
fn check_simple(mut rest: &[u8]) -> bool {
    let mut column = 0u32;
    let mut first = true;
    while let Some((&head, after)) = rest.split_first() {
        rest = after;
        let delta = u32::from(head >> COLUMN_SHIFT);
        if head & ((1 << COLUMN_SHIFT) - 1) != KIND_LIVE | BASE_TIME || delta == COLUMN_ESCAPE || (delta == 0 && !first)
        {
            return false;
        }
        column += delta; // at most 6 for each byte of the row
        first = false;
        if varint::get_bytes(&mut rest).is_none() {
            return false;
        }
    }
    column < u32::MAX
}

/// Checks the cells of a row, whatever they are.
fn check_cells(header: &Header, rest: &[u8]) -> Result<(), ModelError> {
    let mut cells = CellIter::new(header, rest);
    let mut last: Option<CellRef<'_>> = None;
    let mut complex = header.deletion;
    let mut seen = header.flags & CELLS;
    if seen != 0 {
        seen |= UNIFORM | PLAIN;
    }
    while !cells.rest.is_empty() {
        let cell = cells.decode().ok_or(ModelError::corrupt("row cell"))?;
        if let Some(last) = last {
            if cell.place() <= last.place() {
                return Err(ModelError::corrupt("row cells out of order"));
            }
            if cell.column != last.column {
                complex = header.deletion;
            }
        } else if header.flags & (LIVENESS | DELETION) == 0 && cell.timestamp != header.base {
            return Err(ModelError::corrupt("row base is not the first cell's timestamp"));
        }
        if complex.covers(cell.timestamp) {
            return Err(ModelError::corrupt("row cell under the row's own deletion"));
        }
        if let CellKind::ComplexDeletion(deletion) = cell.kind {
            complex = deletion;
        }
        if cell.timestamp != header.base {
            seen &= !UNIFORM;
        }
        if !matches!(cell.kind, CellKind::Live(_)) {
            seen &= !PLAIN;
        }
        last = Some(cell);
    }
    if seen != header.flags & (CELLS | UNIFORM | PLAIN) {
        return Err(ModelError::corrupt("row flags and cells disagree"));
    }
    Ok(())
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

/// The cells of a row, in order.
#[derive(Clone)]
pub struct CellIter<'a> {
    rest: &'a [u8],
    base: i64,
    /// The column of the last cell; 0 before the first.
    column: u32,
    /// Of the liveness; `(0, _)` if it does not expire.
    expiry: (u32, u32),
}

impl<'a> CellIter<'a> {
    #[inline]
    fn new(header: &Header, rest: &'a [u8]) -> CellIter<'a> {
        let expiry = header.liveness.map_or((0, 0), |l| (l.ttl, l.expires_at));
        CellIter {
            rest,
            base: header.base,
            column: 0,
            expiry,
        }
    }

    /// The next cell; `None` if the bytes are not one (`rest` is then not empty).
    #[inline]
    fn decode(&mut self) -> Option<CellRef<'a>> {
        let mut rest = self.rest;
        let [head] = varint::get_array(&mut rest)?;
        let mut delta = u32::from(head >> COLUMN_SHIFT);
        if delta == COLUMN_ESCAPE {
            delta = varint::get_u32(&mut rest)?.checked_add(COLUMN_ESCAPE)?;
        }
        let column = self.column.checked_add(delta)?;
        let timestamp = if head & BASE_TIME != 0 {
            self.base
        } else {
            let delta = varint::get_i64(&mut rest)?;
            let timestamp = self.base.wrapping_add(delta);
            if delta == 0 || timestamp == i64::MIN {
                return None;
            }
            timestamp
        };
        let path = if head & PATH != 0 {
            Some(varint::get_bytes(&mut rest)?)
        } else {
            None
        };
        let kind = head & KIND_MASK;
        if head & ROW_EXPIRY != 0 && (kind != KIND_EXPIRING || self.expiry.0 == 0) {
            return None;
        }
        let kind = match kind {
            KIND_LIVE => CellKind::Live(varint::get_bytes(&mut rest)?),
            KIND_EXPIRING => {
                let (ttl, expires_at) = if head & ROW_EXPIRY != 0 {
                    self.expiry
                } else {
                    let own = (
                        varint::get_u32(&mut rest)?,
                        u32::from_le_bytes(varint::get_array(&mut rest)?),
                    );
                    if own.0 == 0 || own == self.expiry {
                        return None;
                    }
                    own
                };
                CellKind::Expiring {
                    value: varint::get_bytes(&mut rest)?,
                    ttl,
                    expires_at,
                }
            }
            KIND_TOMBSTONE => CellKind::Tombstone {
                local_deletion_time: u32::from_le_bytes(varint::get_array(&mut rest)?),
            },
            _ => {
                if path.is_some() {
                    return None;
                }
                let local_deletion_time = u32::from_le_bytes(varint::get_array(&mut rest)?);
                CellKind::ComplexDeletion(Deletion {
                    timestamp,
                    local_deletion_time,
                })
            }
        };
        self.rest = rest;
        self.column = column;
        Some(CellRef {
            column: ColumnId(column),
            path,
            timestamp,
            kind,
        })
    }
}

impl<'a> Iterator for CellIter<'a> {
    type Item = CellRef<'a>;

    #[inline]
    fn next(&mut self) -> Option<CellRef<'a>> {
        if self.rest.is_empty() {
            return None;
        }
        let cell = self.decode();
        if cell.is_none() {
            self.rest = &[]; // damage in bytes that were called checked: end here, do not loop
        }
        cell
    }
}
