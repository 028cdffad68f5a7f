//! Builds one row from cells in any order.

use std::ops::Range;

use super::{CellKind, CellRef, Encoder, Liveness};
#[cfg(doc)]
use crate::Schema;
use crate::{ColumnId, Deletion};

/// Collects what a statement writes into one row and encodes it; reusable, so that a busy writer allocates nothing.
///
/// Cells may come in any order and repeatedly; two for one place are reconciled by `docs/semantics/conflicts.md`, and what
/// a deletion of the same row shadows is left out, so that the result is canonical.
///
/// ```
/// use scrollback_model::{ColumnId, RowBuilder, RowRef};
///
/// let mut builder = RowBuilder::new();
/// builder.liveness(1_000).cell(ColumnId(1), 1_000, b"hello");
/// let row = RowRef::parse(builder.finish()).unwrap();
/// assert!(row.is_live(0));
/// ```
///
/// # Panics
/// All methods: if a timestamp is `i64::MIN`, which stands for "none"; the statement's check refuses it earlier.
#[derive(Default)]
pub struct RowBuilder {
    liveness: Option<Liveness>,
    deletion: Deletion,
    cells: Vec<Cell>,
    /// Values and paths.
    bytes: Vec<u8>,
    sorted: bool,
    out: Vec<u8>,
}

#[derive(Clone)]
struct Cell {
    column: ColumnId,
    timestamp: i64,
    path: Option<Range<usize>>,
    value: Range<usize>,
    kind: Kind,
}

#[derive(Clone, Copy)]
enum Kind {
    Live,
    Expiring { ttl: u32, expires_at: u32 },
    Tombstone { local_deletion_time: u32 },
    Complex { local_deletion_time: u32 },
}

impl Cell {
    #[inline]
    fn view<'a>(&self, bytes: &'a [u8]) -> CellRef<'a> {
        let value = &bytes[self.value.clone()];
        let kind = match self.kind {
            Kind::Live => CellKind::Live(value),
            Kind::Expiring { ttl, expires_at } => CellKind::Expiring { value, ttl, expires_at },
            Kind::Tombstone { local_deletion_time } => CellKind::Tombstone { local_deletion_time },
            Kind::Complex { local_deletion_time } => CellKind::ComplexDeletion(Deletion {
                timestamp: self.timestamp,
                local_deletion_time,
            }),
        };
        let path = self.path.clone().map(|range| &bytes[range]);
        CellRef {
            column: self.column,
            path,
            timestamp: self.timestamp,
            kind,
        }
    }
}

impl RowBuilder {
    /// An empty row.
    pub fn new() -> RowBuilder {
        RowBuilder {
            sorted: true,
            ..RowBuilder::default()
        }
    }

    /// Starts a new row; the memory is kept.
    pub fn clear(&mut self) -> &mut Self {
        self.liveness = None;
        self.deletion = Deletion::LIVE;
        self.cells.clear();
        self.bytes.clear();
        self.sorted = true;
        self
    }

    /// The row exists from `timestamp` on, as `INSERT` says.
    pub fn liveness(&mut self, timestamp: i64) -> &mut Self {
        self.set_liveness(Liveness::new(timestamp))
    }

    /// The row exists until `expires_at` (seconds since the Unix epoch); `ttl` 0 means for ever.
    pub fn liveness_ttl(&mut self, timestamp: i64, ttl: u32, expires_at: u32) -> &mut Self {
        self.set_liveness(Liveness::expiring(timestamp, ttl, expires_at))
    }

    fn set_liveness(&mut self, liveness: Liveness) -> &mut Self {
        assert!(liveness.timestamp != i64::MIN, "the timestamp i64::MIN stands for none");
        self.liveness = super::merge::stronger_liveness(self.liveness, Some(liveness));
        self
    }

    /// The row is deleted as of `deletion`.
    pub fn deletion(&mut self, deletion: Deletion) -> &mut Self {
        self.deletion = self.deletion.max(deletion);
        self
    }

    /// A value.
    #[inline]
    pub fn cell(&mut self, column: ColumnId, timestamp: i64, value: &[u8]) -> &mut Self {
        self.push(column, timestamp, None, value, Kind::Live)
    }

    /// The forms of the clustering values that the key does not show, as [`Schema::key_forms`] finds them.
    pub fn key_forms(&mut self, timestamp: i64, forms: &[(ColumnId, &[u8])]) -> &mut Self {
        for (at, form) in forms {
            self.cell(*at, timestamp, form);
        }
        self
    }

    /// A value that ends at `expires_at` (seconds since the Unix epoch); `ttl` 0 means never.
    pub fn cell_ttl(&mut self, column: ColumnId, timestamp: i64, value: &[u8], ttl: u32, expires_at: u32) -> &mut Self {
        self.push(column, timestamp, None, value, Kind::expiring(ttl, expires_at))
    }

    /// The column is deleted, at `local_deletion_time` (seconds since the Unix epoch) by our clock.
    pub fn tombstone(&mut self, column: ColumnId, timestamp: i64, local_deletion_time: u32) -> &mut Self {
        self.push(column, timestamp, None, &[], Kind::Tombstone { local_deletion_time })
    }

    /// The whole collection is deleted.
    pub fn complex_deletion(&mut self, column: ColumnId, deletion: Deletion) -> &mut Self {
        if deletion.is_live() {
            return self;
        }
        let kind = Kind::Complex {
            local_deletion_time: deletion.local_deletion_time,
        };
        self.push(column, deletion.timestamp, None, &[], kind)
    }

    /// An element of a collection; `path` as in [`CellRef::path`].
    pub fn element(&mut self, column: ColumnId, path: &[u8], timestamp: i64, value: &[u8]) -> &mut Self {
        self.push(column, timestamp, Some(path), value, Kind::Live)
    }

    /// An element of a collection that ends; `ttl` 0 means never.
    pub fn element_ttl(
        &mut self,
        column: ColumnId,
        path: &[u8],
        timestamp: i64,
        value: &[u8],
        ttl: u32,
        expires_at: u32,
    ) -> &mut Self {
        self.push(column, timestamp, Some(path), value, Kind::expiring(ttl, expires_at))
    }

    /// An element of a collection is deleted.
    pub fn element_tombstone(
        &mut self,
        column: ColumnId,
        path: &[u8],
        timestamp: i64,
        local_deletion_time: u32,
    ) -> &mut Self {
        self.push(
            column,
            timestamp,
            Some(path),
            &[],
            Kind::Tombstone { local_deletion_time },
        )
    }

    /// A cell as a row gives it.
    pub fn push_cell(&mut self, cell: &CellRef<'_>) -> &mut Self {
        let (value, kind) = match cell.kind {
            CellKind::Live(value) => (value, Kind::Live),
            CellKind::Expiring { value, ttl, expires_at } => (value, Kind::expiring(ttl, expires_at)),
            CellKind::Tombstone { local_deletion_time } => (&[][..], Kind::Tombstone { local_deletion_time }),
            CellKind::ComplexDeletion(deletion) => return self.complex_deletion(cell.column, deletion),
        };
        self.push(cell.column, cell.timestamp, cell.path, value, kind)
    }

    #[inline]
    fn push(&mut self, column: ColumnId, timestamp: i64, path: Option<&[u8]>, value: &[u8], kind: Kind) -> &mut Self {
        assert!(timestamp != i64::MIN, "the timestamp i64::MIN stands for none");
        let path = path.map(|path| self.keep(path));
        let value = self.keep(value);
        let cell = Cell {
            column,
            timestamp,
            path,
            value,
            kind,
        };
        if let Some(last) = self.cells.last() {
            let in_order = last.column < column
                || (last.column == column && last.view(&self.bytes).place() < cell.view(&self.bytes).place());
            self.sorted &= in_order;
        }
        self.cells.push(cell);
        self
    }

    #[inline]
    fn keep(&mut self, bytes: &[u8]) -> Range<usize> {
        let start = self.bytes.len();
        self.bytes.extend_from_slice(bytes);
        start..self.bytes.len()
    }

    /// Whether nothing was written.
    pub fn is_empty(&self) -> bool {
        self.liveness.is_none() && self.deletion.is_live() && self.cells.is_empty()
    }

    /// Encodes the row; it stays, and may be added to, until [`clear`](Self::clear).
    pub fn finish(&mut self) -> &[u8] {
        let mut out = std::mem::take(&mut self.out);
        out.clear();
        self.append_to(&mut out);
        self.out = out;
        &self.out
    }

    /// Encodes the row at the end of `out`.
    pub fn append_to(&mut self, out: &mut Vec<u8>) {
        if !self.sorted {
            self.sort();
        }
        let deletion = self.deletion;
        let liveness = self.liveness.filter(|l| !deletion.covers(l.timestamp));
        let mut encoder = Encoder::new(out, liveness, deletion);
        let mut shadow = (ColumnId(0), deletion);
        for cell in &self.cells {
            let cell = cell.view(&self.bytes);
            if shadow.0 != cell.column {
                shadow = (cell.column, deletion);
            }
            if shadow.1.covers(cell.timestamp) {
                continue;
            }
            if let CellKind::ComplexDeletion(complex) = cell.kind {
                shadow.1 = complex;
            }
            encoder.cell(&cell);
        }
        let _empty_is_legal = encoder.finish();
    }

    /// Sorts the cells and keeps the stronger of each place.
    fn sort(&mut self) {
        let bytes = &self.bytes;
        self.cells.sort_by(|a, b| {
            let (a, b) = (a.view(bytes), b.view(bytes));
            a.place()
                .cmp(&b.place())
                .then_with(|| super::merge::compare_cells(&b, &a))
        });
        self.cells
            .dedup_by(|later, kept| later.view(bytes).place() == kept.view(bytes).place());
        self.sorted = true;
    }
}

impl Kind {
    fn expiring(ttl: u32, expires_at: u32) -> Kind {
        if ttl == 0 {
            Kind::Live
        } else {
            Kind::Expiring { ttl, expires_at }
        }
    }
}

impl std::fmt::Debug for RowBuilder {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("RowBuilder")
            .field("liveness", &self.liveness)
            .field("deletion", &self.deletion)
            .field(
                "cells",
                &self.cells.iter().map(|c| c.view(&self.bytes)).collect::<Vec<_>>(),
            )
            .finish()
    }
}
