//! One cell of a row, and the walk over all of them.

use super::header::Header;
use super::{
    BASE_TIME, COLUMN_ESCAPE, COLUMN_SHIFT, KIND_EXPIRING, KIND_LIVE, KIND_MASK, KIND_TOMBSTONE, PATH, ROW_EXPIRY,
};
use crate::{ColumnId, Deletion, varint};

/// One cell, or the deletion of a whole collection.
///
/// [`RowRef::cells`](crate::RowRef::cells) gives them.
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
///
/// [`CellRef`] has it as a field.
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

    /// When the cell died, as Cassandra has it, if it is dead at `now_s`: the local time of its deletion, or of its write if it
    /// has expired.
    #[inline]
    pub const fn dead_since(&self, now_s: u32) -> Option<u32> {
        match self.kind {
            CellKind::Live(_) => None,
            CellKind::Expiring { ttl, expires_at, .. } => {
                if now_s < expires_at {
                    None
                } else {
                    Some(expires_at.saturating_sub(ttl))
                }
            }
            CellKind::Tombstone { local_deletion_time } => Some(local_deletion_time),
            CellKind::ComplexDeletion(deletion) => Some(deletion.local_deletion_time),
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

/// The cells of a row, in order.
///
/// [`RowRef::cells`](crate::RowRef::cells) gives it.
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
    pub(super) fn new(header: &Header, rest: &'a [u8]) -> CellIter<'a> {
        let expiry = header.liveness.map_or((0, 0), |l| (l.ttl, l.expires_at));
        CellIter {
            rest,
            base: header.base,
            column: 0,
            expiry,
        }
    }

    /// Whether no bytes are left.
    #[inline]
    pub(super) fn is_at_end(&self) -> bool {
        self.rest.is_empty()
    }

    /// The next cell; `None` if the bytes are not one (`rest` is then not empty).
    #[inline]
    pub(super) fn decode(&mut self) -> Option<CellRef<'a>> {
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
