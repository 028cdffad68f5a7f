//! What a reader may see of a row.

use super::{Encoder, RowRef};
use crate::{ColumnId, Deletion};

/// The columns that a reader asks for.
///
/// [`live_row`] takes them.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Columns<'a> {
    /// Every column.
    All,
    /// These; ascending.
    Of(&'a [ColumnId]),
    /// Every column but these, which were dropped: as if they had never been written. Ascending.
    Except(&'a [ColumnId]),
}

impl Columns<'_> {
    #[inline]
    pub(super) fn has(&self, column: ColumnId) -> bool {
        match self {
            Columns::All => true,
            Columns::Of(columns) => column.is_key_form() || columns.binary_search(&column).is_ok(),
            Columns::Except(dropped) => dropped.binary_search(&column).is_err(),
        }
    }

    /// Whether a live cell that is not asked for makes the row exist all the same.
    #[inline]
    fn unasked_exists(&self) -> bool {
        matches!(self, Columns::Of(_))
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

/// When a read happens.
///
/// [`live_row`] takes it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct ReadTime {
    /// Seconds since the Unix epoch, by the node's clock: what expires at or before this second is dead.
    pub now_s: u32,
    /// Tombstones of before this second could be purged, and are not counted.
    pub purge_before_s: u32,
}

impl ReadTime {
    /// A read at `now_s` that counts every tombstone.
    pub const fn at(now_s: u32) -> ReadTime {
        ReadTime {
            now_s,
            purge_before_s: 0,
        }
    }
}

/// A row as a reader sees it, and what was dead in it.
///
/// [`live_row`] gives it.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct LiveRow {
    /// The verdict.
    pub live: Live,
    /// What Cassandra counts towards its tombstone limits, purgeable ones left out: cells that are deleted or expired; or 1 if
    /// there are none, and the row is dead by a deletion or by its own expiry.
    pub tombstones: u32,
}

/// Leaves of `row` what is live at the time and asked for. Writes `out` (whose former content is replaced) only for
/// [`Live::Part`], so that a page of plain rows copies nothing.
///
/// The row exists if its liveness holds or any cell of *any* column is live that was not dropped (CQL.md: a `SELECT` of a null
/// column still gives the row), so [`Live::Part`] may be without cells. What is written has no deletions; expiring cells keep their expiry.
pub fn live_row(row: RowRef<'_>, time: ReadTime, columns: Columns<'_>, out: &mut Vec<u8>) -> LiveRow {
    let ReadTime { now_s, purge_before_s } = time;
    out.clear();
    // Nearly all rows.
    if row.is_wholly_live() && columns == Columns::All {
        return LiveRow {
            live: Live::Whole,
            tombstones: 0,
        };
    }
    let (header, cells) = row.split();
    let liveness = header.liveness.filter(|l| l.is_live(now_s));
    let unharmed = header.deletion.is_live() && liveness == header.liveness;
    let (mut dead, mut unasked, mut tombstones) = (0u32, 0u32, 0u32);
    let mut exists = liveness.is_some();
    for cell in cells.clone() {
        if let Some(since) = cell.dead_since(now_s) {
            dead += 1;
            tombstones += u32::from(since >= purge_before_s);
        } else if columns.has(cell.column) {
            exists |= !cell.column.is_key_form();
        } else {
            unasked += 1;
            exists |= columns.unasked_exists();
        }
    }
    if !exists {
        let deleted = !header.deletion.is_live() && header.deletion.local_deletion_time >= purge_before_s;
        let expired = header
            .liveness
            .is_some_and(|l| l.expires_at.saturating_sub(l.ttl) >= purge_before_s);
        return LiveRow {
            live: Live::Dead,
            tombstones: tombstones.max(u32::from(dead == 0 && (deleted || expired))),
        };
    }
    if unharmed && dead + unasked == 0 {
        return LiveRow {
            live: Live::Whole,
            tombstones: 0,
        };
    }
    let mut encoder = Encoder::new(out, liveness, Deletion::LIVE);
    for cell in cells.filter(|c| c.is_live(now_s) && columns.has(c.column)) {
        encoder.cell(&cell);
    }
    let _empty_is_legal = encoder.finish();
    LiveRow {
        live: Live::Part,
        tombstones,
    }
}
