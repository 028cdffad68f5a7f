//! Writes the row format from a header and cells that come in order.

use super::{
    BASE_TIME, CELLS, COLUMN_ESCAPE, COLUMN_SHIFT, CellKind, CellRef, DELETION, EXPIRING, KIND_COMPLEX, KIND_EXPIRING,
    KIND_LIVE, KIND_TOMBSTONE, LIVENESS, Liveness, PATH, PLAIN, ROW_EXPIRY, UNIFORM,
};
use crate::{Deletion, varint};

/// Encodes one row at the end of a buffer.
///
/// The caller gives what the canonical form holds: cells in order, each place once, nothing shadowed.
pub(crate) struct Encoder<'o> {
    out: &'o mut Vec<u8>,
    start: usize,
    /// `None` until something fixes it.
    base: Option<i64>,
    expiry: (u32, u32),
    column: u32,
    flags: u8,
}

impl<'o> Encoder<'o> {
    #[inline]
    pub(crate) fn new(out: &'o mut Vec<u8>, liveness: Option<Liveness>, deletion: Deletion) -> Encoder<'o> {
        let start = out.len();
        let mut encoder = Encoder {
            out,
            start,
            base: None,
            expiry: (0, 0),
            column: 0,
            flags: 0,
        };
        encoder.out.push(0);
        if let Some(liveness) = liveness {
            debug_assert!(
                !deletion.covers(liveness.timestamp),
                "a shadowed liveness is not encoded"
            );
            encoder.set_base(liveness.timestamp);
            encoder.flags |= LIVENESS;
            if liveness.ttl != 0 {
                encoder.flags |= EXPIRING;
                encoder.expiry = (liveness.ttl, liveness.expires_at);
                varint::put_u64(encoder.out, u64::from(liveness.ttl));
                encoder.out.extend_from_slice(&liveness.expires_at.to_le_bytes());
            }
        }
        if !deletion.is_live() {
            encoder.flags |= DELETION;
            match encoder.base {
                Some(base) => varint::put_i64(encoder.out, deletion.timestamp.wrapping_sub(base)),
                None => encoder.set_base(deletion.timestamp),
            }
            encoder
                .out
                .extend_from_slice(&deletion.local_deletion_time.to_le_bytes());
        }
        encoder
    }

    #[inline]
    fn set_base(&mut self, timestamp: i64) {
        self.base = Some(timestamp);
        self.out.extend_from_slice(&timestamp.to_le_bytes());
    }

    /// Appends a cell, which comes after those before it.
    #[inline]
    pub(crate) fn cell(&mut self, cell: &CellRef<'_>) {
        if self.flags & CELLS == 0 {
            self.flags |= CELLS | UNIFORM | PLAIN;
        }
        let base = match self.base {
            Some(base) => base,
            None => {
                self.set_base(cell.timestamp);
                cell.timestamp
            }
        };
        let delta = cell.column.0 - self.column;
        self.column = cell.column.0;
        if let CellKind::Live(value) = cell.kind
            && cell.timestamp == base
            && delta < COLUMN_ESCAPE
            && cell.path.is_none()
            && value.len() < 0x80
        {
            // Nearly every cell: two bytes and the value.
            self.out
                .extend_from_slice(&[KIND_LIVE | BASE_TIME | (delta as u8) << COLUMN_SHIFT, value.len() as u8]);
            self.out.extend_from_slice(value);
        } else {
            self.any_cell(cell, base, delta);
        }
    }

    fn any_cell(&mut self, cell: &CellRef<'_>, base: i64, delta: u32) {
        let (mut head, value) = match cell.kind {
            CellKind::Live(value) => (KIND_LIVE, Some(value)),
            CellKind::Expiring { value, ttl, expires_at } if (ttl, expires_at) == self.expiry => {
                (KIND_EXPIRING | ROW_EXPIRY, Some(value))
            }
            CellKind::Expiring { value, .. } => (KIND_EXPIRING, Some(value)),
            CellKind::Tombstone { .. } => (KIND_TOMBSTONE, None),
            CellKind::ComplexDeletion(_) => (KIND_COMPLEX, None),
        };
        if !matches!(cell.kind, CellKind::Live(_)) {
            self.flags &= !PLAIN;
        }
        if cell.timestamp == base {
            head |= BASE_TIME;
        } else {
            self.flags &= !UNIFORM;
        }
        if cell.path.is_some() {
            head |= PATH;
        }
        self.out.push(head | (delta.min(COLUMN_ESCAPE) as u8) << COLUMN_SHIFT);
        if delta >= COLUMN_ESCAPE {
            varint::put_u64(self.out, u64::from(delta - COLUMN_ESCAPE));
        }
        if head & BASE_TIME == 0 {
            varint::put_i64(self.out, cell.timestamp.wrapping_sub(base));
        }
        if let Some(path) = cell.path {
            varint::put_bytes(self.out, path);
        }
        match cell.kind {
            CellKind::Expiring { ttl, expires_at, .. } if head & ROW_EXPIRY == 0 => {
                varint::put_u64(self.out, u64::from(ttl));
                self.out.extend_from_slice(&expires_at.to_le_bytes());
            }
            CellKind::Tombstone { local_deletion_time }
            | CellKind::ComplexDeletion(Deletion {
                local_deletion_time, ..
            }) => {
                self.out.extend_from_slice(&local_deletion_time.to_le_bytes());
            }
            CellKind::Live(_) | CellKind::Expiring { .. } => {}
        }
        if let Some(value) = value {
            varint::put_bytes(self.out, value);
        }
    }

    /// Completes the row. Gives whether there is anything in it: liveness, deletion or a cell.
    #[inline]
    #[must_use]
    pub(crate) fn finish(self) -> bool {
        self.out[self.start] = self.flags;
        self.flags != 0
    }
}
