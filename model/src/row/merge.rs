//! The merge rule: `docs/semantics/conflicts.md`, where it is written out with its reasons.
//!
//! 1. Liveness, row deletion, each collection's deletion and each cell are reconciled place by place; each has a total order
//!    and the stronger stays: [`stronger_liveness`], [`Deletion::max`], [`compare_cells`].
//! 2. Then a deletion removes what it covers: timestamps up to and including its own.
//!
//! Step 2 only ever removes what would lose to the same deletion in any other merge too, so the result does not depend on
//! the order of arrival: merging is commutative, associative and idempotent, and shadowing distributes over it.

use std::cmp::Ordering;
use std::iter::Peekable;

use super::{CellIter, CellKind, CellRef, Encoder, Liveness, RowRef};
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
    for cell in MergedCells::new(a_cells, b_cells) {
        if shadow.admits(&cell) {
            encoder.cell(&cell);
        }
    }
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

/// The cells of two rows in order, the stronger where both have one.
struct MergedCells<'a> {
    a: Peekable<CellIter<'a>>,
    b: Peekable<CellIter<'a>>,
}

impl<'a> MergedCells<'a> {
    fn new(a: CellIter<'a>, b: CellIter<'a>) -> Self {
        MergedCells {
            a: a.peekable(),
            b: b.peekable(),
        }
    }
}

impl<'a> Iterator for MergedCells<'a> {
    type Item = CellRef<'a>;

    #[inline]
    fn next(&mut self) -> Option<CellRef<'a>> {
        let (Some(a), Some(b)) = (self.a.peek(), self.b.peek()) else {
            return self.a.next().or_else(|| self.b.next());
        };
        match a.place().cmp(&b.place()) {
            Ordering::Less => self.a.next(),
            Ordering::Greater => self.b.next(),
            Ordering::Equal => {
                let a_wins = compare_cells(a, b) != Ordering::Less;
                let (a, b) = (self.a.next(), self.b.next());
                if a_wins { a } else { b }
            }
        }
    }
}

/// Drops from `row` what `by` covers. `out`'s former content is replaced: by what is left if something changed.
pub fn shadow_row(row: RowRef<'_>, by: Deletion, out: &mut Vec<u8>) -> Shadowed {
    shadow_row_counted(row, by, out).0
}

/// As [`shadow_row`], with the number of cells (live or not) that were dropped.
pub(crate) fn shadow_row_counted(row: RowRef<'_>, by: Deletion, out: &mut Vec<u8>) -> (Shadowed, u64) {
    out.clear();
    let (header, cells) = row.split();
    // A canonical row holds nothing at or below its own deletion.
    if by.is_live() || header.deletion.timestamp > by.timestamp {
        return (Shadowed::Unchanged, 0);
    }
    let deletion = Deletion::LIVE;
    let liveness = header.liveness.filter(|l| !by.covers(l.timestamp));
    let dropped = cells.clone().filter(|c| by.covers(c.timestamp)).count() as u64;
    if dropped == 0 && liveness == header.liveness && deletion == header.deletion {
        return (
            if row.is_empty() {
                Shadowed::Gone
            } else {
                Shadowed::Unchanged
            },
            0,
        );
    }
    let mut encoder = Encoder::new(out, liveness, deletion);
    for cell in cells.filter(|c| !by.covers(c.timestamp)) {
        encoder.cell(&cell);
    }
    if encoder.is_empty() {
        out.clear();
        return (Shadowed::Gone, dropped);
    }
    (Shadowed::Changed, dropped)
}
