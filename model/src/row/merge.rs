//! The merge rule: `docs/semantics/conflicts.md`, where it is written out with its reasons.
//!
//! 1. Liveness, row deletion, each collection's deletion and each cell are reconciled place by place; each has a total order
//!    and the stronger stays: [`stronger_liveness`], [`Deletion::max`], [`compare_cells`].
//! 2. Then a deletion removes what it covers: timestamps up to and including its own.
//!
//! Step 2 only ever removes what would lose to the same deletion in any other merge too, so the result does not depend on
//! the order of arrival: merging is commutative, associative and idempotent, and shadowing distributes over it.

use std::cmp::Ordering;

use super::{CellKind, CellRef, Encoder, Liveness, RowRef};
use crate::{ColumnId, Deletion};

/// What [`shadow_row`] found.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Shadowed {
    /// Nothing of the row is covered; `out` is empty, the row stands as it is.
    Unchanged,
    /// `out` holds what is left.
    Changed,
    /// Nothing is left.
    Gone,
}

/// The stronger of two livenesses: the higher timestamp; then the one marked as expired; then the one that expires; then
/// the later end; then the smaller TTL (it was written later).
pub(crate) fn stronger_liveness(a: Option<Liveness>, b: Option<Liveness>) -> Option<Liveness> {
    let rank = |l: &Liveness| {
        let class = match l.ttl {
            0 => 0,
            Liveness::EXPIRED_TTL => 2,
            _ => 1,
        };
        (l.timestamp, class, l.expires_at, u32::MAX - l.ttl)
    };
    match (a, b) {
        (Some(a), Some(b)) => Some(if rank(&b) > rank(&a) { b } else { a }),
        (a, b) => a.or(b),
    }
}

/// The total order of cells of one place; the greater wins.
///
/// The higher timestamp; then a tombstone over an expiring value over a plain one; then the later local deletion time or
/// expiry; then the smaller TTL (it was written later); then the larger value by unsigned bytes.
pub(crate) fn compare_cells(a: &CellRef<'_>, b: &CellRef<'_>) -> Ordering {
    let rank = |kind: &CellKind<'_>| match *kind {
        CellKind::Live(_) => (0, 0, 0),
        CellKind::Expiring { ttl, expires_at, .. } => (1, expires_at, u32::MAX - ttl),
        CellKind::Tombstone { local_deletion_time } => (2, local_deletion_time, 0),
        CellKind::ComplexDeletion(deletion) => (2, deletion.local_deletion_time, 0),
    };
    a.timestamp
        .cmp(&b.timestamp)
        .then_with(|| rank(&a.kind).cmp(&rank(&b.kind)))
        .then_with(|| a.value().cmp(&b.value()))
}

/// Merges two rows of one key into `out`, whose former content is replaced.
///
/// Commutative, associative and idempotent (`docs/semantics/conflicts.md`).
///
/// [`RowBuilder`](crate::RowBuilder) shows how to come by rows.
pub fn merge_rows(a: RowRef<'_>, b: RowRef<'_>, out: &mut Vec<u8>) {
    out.clear();
    if a.bytes() == b.bytes() {
        out.extend_from_slice(a.bytes());
        return;
    }
    let ((a, a_cells), (b, b_cells)) = (a.split(), b.split());
    let deletion = a.deletion.max(b.deletion);
    let liveness = stronger_liveness(a.liveness, b.liveness).filter(|l| !deletion.covers(l.timestamp));
    let mut encoder = Encoder::new(out, liveness, deletion);
    let mut shadow = Shadow::new(deletion);
    let mut keep = |cell: &CellRef<'_>| {
        if shadow.admits(cell) {
            encoder.cell(cell);
        }
    };
    let (mut a_cells, mut b_cells) = (a_cells, b_cells);
    let (mut left, mut right) = (a_cells.next(), b_cells.next());
    while let (Some(a), Some(b)) = (&left, &right) {
        let place = a.column.cmp(&b.column).then_with(|| a.place().cmp(&b.place()));
        let stronger = place.is_eq() && compare_cells(a, b).is_lt();
        keep(if place.is_gt() || stronger { b } else { a });
        if place.is_le() {
            left = a_cells.next();
        }
        if place.is_ge() {
            right = b_cells.next();
        }
    }
    left.iter().chain(&right).for_each(&mut keep);
    a_cells.chain(b_cells).for_each(|cell| keep(&cell));
    let _empty_is_legal = encoder.finish();
}

/// The deletion that cells of a row lie under, as one goes through them in order.
struct Shadow {
    row: Deletion,
    column: ColumnId,
    now: Deletion,
}

impl Shadow {
    #[inline]
    fn new(row: Deletion) -> Shadow {
        Shadow {
            row,
            column: ColumnId(0),
            now: row,
        }
    }

    /// Whether the cell stays; a collection's deletion that stays covers what follows of its column.
    #[inline]
    fn admits(&mut self, cell: &CellRef<'_>) -> bool {
        if cell.column != self.column {
            self.column = cell.column;
            self.now = self.row;
        }
        if self.now.covers(cell.timestamp) {
            return false;
        }
        if let CellKind::ComplexDeletion(deletion) = cell.kind {
            self.now = deletion;
        }
        true
    }
}

/// How much of a row a deletion covers.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Coverage {
    Nothing,
    Part,
    Everything,
}

/// How much of `row` the deletion `by` covers; for a row of one timestamp without a look at its cells.
#[inline]
pub(crate) fn coverage(row: RowRef<'_>, by: Deletion) -> Coverage {
    let (header, mut cells) = row.split();
    // A canonical row holds nothing at or below its own deletion.
    if by.is_live() || header.deletion.timestamp > by.timestamp {
        return Coverage::Nothing;
    }
    if header.flags == 0 {
        return Coverage::Everything;
    }
    let covered = by.covers(header.base);
    let has_deletion = !header.deletion.is_live();
    let differs = |found: bool| found != covered;
    // A deletion in the row is covered here, whatever the base is.
    if differs(has_deletion || covered) || (!header.is_uniform() && cells.any(|c| differs(by.covers(c.timestamp)))) {
        Coverage::Part
    } else if covered {
        Coverage::Everything
    } else {
        Coverage::Nothing
    }
}

/// Drops from `row` what `by` covers. `out`'s former content is replaced: by what is left if something changed.
///
/// [`Shadowed`] says what is left.
pub fn shadow_row(row: RowRef<'_>, by: Deletion, out: &mut Vec<u8>) -> Shadowed {
    shadow_row_counted(row, by, out).0
}

/// As [`shadow_row`], with the number of cells (live or not) that were dropped.
pub(crate) fn shadow_row_counted(row: RowRef<'_>, by: Deletion, out: &mut Vec<u8>) -> (Shadowed, u64) {
    out.clear();
    match coverage(row, by) {
        Coverage::Nothing => return (Shadowed::Unchanged, 0),
        Coverage::Everything => return (Shadowed::Gone, row.cells().count() as u64),
        Coverage::Part => {}
    }
    // Its own deletion is covered: something younger would have been left out of the row.
    let (header, cells) = row.split();
    let liveness = header.liveness.filter(|l| !by.covers(l.timestamp));
    let mut encoder = Encoder::new(out, liveness, Deletion::LIVE);
    let mut dropped = 0;
    for cell in cells {
        if by.covers(cell.timestamp) {
            dropped += 1;
        } else {
            encoder.cell(&cell);
        }
    }
    if !encoder.finish() {
        out.clear(); // only if the row's bytes were never checked
        return (Shadowed::Gone, dropped);
    }
    (Shadowed::Changed, dropped)
}
