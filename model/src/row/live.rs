//! What a reader may see of a row.

use super::{Encoder, RowRef};
use crate::{ColumnId, Deletion};

/// The columns that a reader asks for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Columns<'a> {
    /// Every column.
    All,
    /// These; ascending.
    Of(&'a [ColumnId]),
}

impl Columns<'_> {
    #[inline]
    fn has(&self, column: ColumnId) -> bool {
        match self {
            Columns::All => true,
            Columns::Of(columns) => columns.binary_search(&column).is_ok(),
        }
    }
}

/// What [`live_row`] found.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Live {
    /// The row does not exist for the reader.
    Dead,
    /// All of the row is live and asked for: it stands as it is, nothing was written.
    Whole,
    /// `out` holds the live part that was asked for.
    Part,
}

/// A row as a reader sees it, and what was dead in it.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct LiveRow {
    /// The verdict.
    pub live: Live,
    /// What Cassandra counts towards its tombstone limits: cells that are deleted or expired, or 1 if there are none but
    /// the row is deleted.
    pub dead: u32,
}

/// Leaves of `row` what is live at `now_s` and asked for. Writes `out` (whose former content is replaced) only for
/// [`Live::Part`], so that a page of plain rows copies nothing.
///
/// The row exists if its liveness holds or any cell of *any* column is live (CQL.md: a `SELECT` of a null column still gives
/// the row), so [`Live::Part`] may be without cells. What is written has no deletions; expiring cells keep their expiry.
pub fn live_row(row: RowRef<'_>, now_s: u32, columns: Columns<'_>, out: &mut Vec<u8>) -> LiveRow {
    out.clear();
    let (header, cells) = row.split();
    let liveness = header.liveness.filter(|l| l.is_live(now_s));
    let unharmed = header.deletion.is_live() && liveness == header.liveness;
    if unharmed && header.is_plain() && header.flags != 0 && columns == Columns::All {
        return LiveRow {
            live: Live::Whole,
            dead: 0,
        };
    }
    let (mut live, mut dead, mut unasked) = (0u32, 0u32, 0u32);
    for cell in cells.clone() {
        if !cell.is_live(now_s) {
            dead += 1;
        } else if columns.has(cell.column) {
            live += 1;
        } else {
            unasked += 1;
        }
    }
    let dead_counted = dead.max(u32::from(!unharmed));
    if liveness.is_none() && live + unasked == 0 {
        return LiveRow {
            live: Live::Dead,
            dead: dead_counted,
        };
    }
    if unharmed && dead + unasked == 0 {
        return LiveRow {
            live: Live::Whole,
            dead: 0,
        };
    }
    let mut encoder = Encoder::new(out, liveness, Deletion::LIVE);
    for cell in cells.filter(|c| c.is_live(now_s) && columns.has(c.column)) {
        encoder.cell(&cell);
    }
    let _empty_is_legal = encoder.finish();
    LiveRow {
        live: Live::Part,
        dead: dead_counted,
    }
}
