//! Whether bytes are a canonical row.

use super::header::Header;
use super::{
    BASE_TIME, CELLS, COLUMN_ESCAPE, COLUMN_SHIFT, CellIter, CellKind, CellRef, DELETION, KIND_LIVE, LIVENESS, PLAIN,
    UNIFORM,
};
use crate::{ModelError, varint};

/// Checks `bytes` against every rule of the format (`docs/format/row.md`).
///
/// # Errors
/// [`ModelError::Corrupt`] if they are not exactly one canonical row.
pub(super) fn check(bytes: &[u8]) -> Result<(), ModelError> {
    let mut rest = bytes;
    let header = Header::read(&mut rest).ok_or(ModelError::corrupt("row header"))?;
    if header.liveness.is_some_and(|l| header.deletion.covers(l.timestamp)) {
        return Err(ModelError::corrupt("row liveness under the row's own deletion"));
    }
    if (header.flags & CELLS != 0) == rest.is_empty() {
        return Err(ModelError::corrupt("row flags and cells disagree"));
    }
    if header.is_uniform() && header.is_plain() && !header.deletion.covers(header.base) && check_simple(rest) {
        return Ok(());
    }
    check_cells(&header, rest)
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
    while !cells.is_at_end() {
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
