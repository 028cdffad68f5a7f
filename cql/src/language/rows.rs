//! A row as a statement sees it: its columns' values, in the protocol's bytes.

use super::columns::{ColumnRef, Place};
use super::expr::put_value;
use model::{CellIter, CellRef, ColumnId, CqlType, RowRef};
use std::borrow::Cow;

/// One row with the key of its partition and the partition's static row.
#[derive(Clone, Copy, Debug)]
pub struct RowView<'a> {
    /// The values of the partition key's columns.
    pub key: &'a [&'a [u8]],
    /// The values of the clustering columns; empty for a partition without rows.
    pub clustering: &'a [Vec<u8>],
    /// Its live cells.
    pub row: RowRef<'a>,
    /// Those of the static row.
    pub statics: RowRef<'a>,
}

impl<'a> RowView<'a> {
    /// The row that has a column's cells.
    fn cells_of(&self, place: Place) -> Option<(RowRef<'a>, ColumnId)> {
        match place {
            Place::Static(id) => Some((self.statics, id)),
            Place::Regular(id) => Some((self.row, id)),
            _ => None,
        }
    }

    /// The value of a column; a collection that is not frozen is put together. `None` is null.
    #[must_use]
    pub fn value(&self, column: &ColumnRef) -> Option<Cow<'a, [u8]>> {
        match column.place {
            Place::Partition(at) => self.key.get(at).map(|value| Cow::Borrowed(*value)),
            Place::Clustering(at) => self.clustering.get(at).map(|value| Cow::Borrowed(value.as_slice())),
            Place::Static(id) | Place::Regular(id) => {
                let (row, _) = self.cells_of(column.place)?;
                if column.ty.is_multi_cell() {
                    let mut out = Vec::new();
                    return put_collection(row, id, &column.ty, &mut out).then_some(Cow::Owned(out));
                }
                row.cell(id).and_then(|cell| cell.value()).map(Cow::Borrowed)
            }
        }
    }

    /// The cells of a column that are live, in order.
    pub fn cells(&self, column: &ColumnRef) -> impl Iterator<Item = CellRef<'a>> {
        let of = self.cells_of(column.place);
        let row = of.map_or(RowRef::EMPTY, |(row, _)| row);
        let id = of.map(|(_, id)| id);
        row.cells()
            .filter(move |cell| Some(cell.column) == id && cell.value().is_some())
    }
}

/// The cells of a row as a statement's columns ask for them, mostly in their order: then the row is gone through once.
pub struct Cells<'a> {
    row: RowRef<'a>,
    rest: CellIter<'a>,
    /// The first cell that was not passed by; `None`: there is none, or nothing was asked for yet.
    next: Option<CellRef<'a>>,
    asked: Option<ColumnId>,
}

impl<'a> Cells<'a> {
    /// Those of a row.
    #[inline]
    #[must_use]
    pub fn of(row: RowRef<'a>) -> Cells<'a> {
        Cells {
            row,
            rest: row.cells(),
            next: None,
            asked: None,
        }
    }

    /// The value of a column that is not a collection; `None` is null.
    #[inline]
    pub(super) fn value(&mut self, column: ColumnId) -> Option<&'a [u8]> {
        if self.asked.is_none_or(|asked| asked > column) {
            self.rest = self.row.cells();
            self.next = self.rest.next();
        }
        self.asked = Some(column);
        while self.next.is_some_and(|cell| cell.column < column) {
            self.next = self.rest.next();
        }
        let cell = self.next.filter(|cell| cell.column == column && cell.path.is_none());
        cell.and_then(|cell| cell.value())
    }
}

/// Puts the live elements of a collection, or the fields of a user-defined type, together as one value; false if there are none.
pub(super) fn put_collection(row: RowRef<'_>, id: ColumnId, ty: &CqlType, out: &mut Vec<u8>) -> bool {
    let cells = || {
        row.cells()
            .filter(move |cell| cell.column == id)
            .filter_map(|cell| Some((cell.path?, cell.value()?)))
    };
    if let CqlType::Udt(of) = ty {
        let mut fields: Vec<Option<&[u8]>> = vec![None; of.fields.len()];
        let mut any = false;
        for (path, value) in cells() {
            if let Some(field) = field_of(path).and_then(|at| fields.get_mut(at)) {
                *field = Some(value);
                any = true;
            }
        }
        for field in fields {
            put_value(out, field).expect("a field is shorter than a row");
        }
        return any;
    }
    let start = out.len();
    out.extend_from_slice(&[0; 4]);
    let mut count = 0_i32;
    for (path, value) in cells() {
        let put =
            |out: &mut Vec<u8>, value: &[u8]| put_value(out, Some(value)).expect("an element is shorter than a row");
        // What is on the disk was checked when it was written.
        match ty {
            CqlType::List(_) => put(out, value),
            CqlType::Set(of) => put(out, &of.decode_path(path).unwrap_or_default()),
            CqlType::Map(key, _) => {
                put(out, &key.decode_path(path).unwrap_or_default());
                put(out, value);
            }
            _ => continue,
        }
        count += 1;
    }
    if count == 0 {
        out.truncate(start);
        return false;
    }
    out[start..start + 4].copy_from_slice(&count.to_be_bytes());
    true
}

/// Which field of a user-defined type a cell's path names.
pub(super) fn field_of(path: &[u8]) -> Option<usize> {
    let position = CqlType::SmallInt.decode_path(path).ok()?;
    usize::try_from(i16::from_be_bytes(position.try_into().ok()?)).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use model::RowBuilder;

    #[test]
    fn cells_are_found_in_whatever_order_they_are_asked_for() {
        let mut row = RowBuilder::new();
        row.liveness(7);
        row.cell(ColumnId(3), 7, b"three");
        row.tombstone(ColumnId(5), 8, 1);
        row.cell(ColumnId(9), 6, b"");
        let row = RowRef::trusted(row.finish());
        for first in 0..11 {
            for second in 0..11 {
                let mut cells = Cells::of(row);
                for id in [first, second, second, first].map(ColumnId) {
                    let expected = row.cell(id).and_then(|cell| cell.value());
                    assert_eq!(cells.value(id), expected, "{id:?} after {first}");
                }
            }
        }
    }
}
