//! The simple model: a naive map of cells, and what a reader may see of it.
//!
//! Nothing is ever dropped: the map keeps, per cell, what wins by the rules below, and every deletion beside it. What is
//! live is found out anew at each look. The rules, after CQL.md §6:
//!
//! 1. Of two writes of one cell the higher timestamp wins; at one timestamp a deletion beats a value, a value that ends beats one
//!    that does not, a later end an earlier one, and else the larger bytes win. (Equal timestamps and ends are equal TTLs here.)
//! 2. A deletion of a row, a range, a partition or a collection covers everything in it that is as old as itself or older.
//! 3. A row exists if its insert is not covered and has not ended, or if any of its cells is live. Of two inserts the higher
//!    timestamp wins; then one that ends, and the later end.
//! 4. Static cells belong to the partition: only its deletion covers them.
//! 5. What ends at a second is no more seen in that second; it wins and loses against others as before.
//! 6. Cells of columns that the table does not have at this moment are not seen, and keep no row.

use std::collections::BTreeMap;

use super::data::{Ask, CellEdit, CellView, Change, Column, Key, PageView, RowEdit, RowView, Span, Val};
use super::layout::{Held, Layout, is_seen};

#[derive(Clone, Debug)]
struct Cell {
    timestamp: i64,
    /// `None`: deleted.
    value: Option<Vec<u8>>,
    ends: Option<u32>,
}

/// When somebody looks: the clock, and what the table is then.
#[derive(Clone, Copy)]
pub(crate) struct Moment<'a> {
    pub now_s: u32,
    pub layout: &'a Layout,
}

/// Whether what ends then is still there.
fn lasts(ends: Option<u32>, now_s: u32) -> bool {
    ends.is_none_or(|ends| now_s < ends)
}

#[derive(Clone, Default, Debug)]
struct Row {
    /// Timestamp and end.
    inserted: Option<(i64, Option<u32>)>,
    deleted: Option<i64>,
    collections_deleted: BTreeMap<Column, i64>,
    cells: BTreeMap<(Column, Option<Val>), Cell>,
}

/// All that was ever written to one partition.
#[derive(Clone, Default, Debug)]
pub(crate) struct Partition {
    deleted: Option<i64>,
    ranges: Vec<(Span, i64)>,
    statics: Row,
    rows: BTreeMap<Key, Row>,
}

fn raise(slot: &mut Option<i64>, timestamp: Option<i64>) {
    *slot = (*slot).max(timestamp);
}

impl Row {
    fn apply(&mut self, edit: &RowEdit) {
        self.inserted = self.inserted.max(edit.inserted.map(|timestamp| (timestamp, edit.ends)));
        raise(&mut self.deleted, edit.deleted);
        for cell in &edit.cells {
            match cell {
                CellEdit::Put {
                    column,
                    element,
                    timestamp,
                    value,
                    ends,
                } => {
                    self.put(
                        (*column, element.clone()),
                        Cell {
                            timestamp: *timestamp,
                            value: Some(value.clone()),
                            ends: *ends,
                        },
                    );
                }
                CellEdit::Delete {
                    column,
                    element,
                    timestamp,
                } => {
                    self.put(
                        (*column, element.clone()),
                        Cell {
                            timestamp: *timestamp,
                            value: None,
                            ends: None,
                        },
                    );
                }
                CellEdit::DeleteCollection { column, timestamp } => {
                    let newest = self.collections_deleted.entry(*column).or_insert(*timestamp);
                    *newest = (*newest).max(*timestamp);
                }
            }
        }
    }

    fn put(&mut self, name: (Column, Option<Val>), new: Cell) {
        let wins = self.cells.get(&name).is_none_or(|old| {
            let strength = |cell: &Cell| (cell.timestamp, cell.value.is_none(), cell.ends, cell.value.clone());
            strength(&new) > strength(old)
        });
        if wins {
            self.cells.insert(name, new);
        }
    }

    /// What is live of it under a deletion from above.
    fn view(&self, key: &Key, above: Option<i64>, columns: &[Held], now_s: u32) -> Option<RowView> {
        let deleted = above.max(self.deleted);
        let inserted = self
            .inserted
            .filter(|(timestamp, ends)| Some(*timestamp) > deleted && lasts(*ends, now_s))
            .map(|(timestamp, _)| timestamp);
        let cells: Vec<CellView> = self
            .cells
            .iter()
            .filter(|((column, _), _)| is_seen(columns, *column))
            .filter_map(|((column, element), cell)| {
                let collection = self
                    .collections_deleted
                    .get(column)
                    .copied()
                    .filter(|_| element.is_some());
                let value = cell
                    .value
                    .clone()
                    .filter(|_| Some(cell.timestamp) > deleted.max(collection) && lasts(cell.ends, now_s))?;
                Some(CellView {
                    column: *column,
                    element: element.clone(),
                    timestamp: cell.timestamp,
                    value,
                })
            })
            .collect();
        let exists = inserted.is_some() || !cells.is_empty();
        exists.then(|| RowView {
            key: key.clone(),
            inserted,
            cells,
        })
    }
}

impl Partition {
    /// Takes in a change of this partition; doing so twice changes nothing.
    pub(crate) fn apply(&mut self, change: &Change) {
        raise(&mut self.deleted, change.deleted);
        if let Some(edit) = &change.statics {
            self.statics.apply(edit);
        }
        for (key, edit) in &change.rows {
            self.rows.entry(key.clone()).or_default().apply(edit);
        }
        for range in &change.ranges {
            if !self.ranges.contains(range) {
                self.ranges.push(range.clone());
            }
        }
    }

    /// The static row, if it is live.
    pub(crate) fn statics(&self, at: Moment<'_>) -> Option<RowView> {
        self.statics
            .view(&Key::new(), self.deleted, &at.layout.statics, at.now_s)
    }

    /// The live rows of a span, in the order asked for, past `after` if it is given.
    pub(crate) fn rows<'a>(
        &'a self,
        span: &'a Span,
        reverse: bool,
        after: Option<&'a Key>,
        at: Moment<'a>,
    ) -> impl Iterator<Item = RowView> + 'a {
        let all: Box<dyn Iterator<Item = (&Key, &Row)>> = if reverse {
            Box::new(self.rows.iter().rev())
        } else {
            Box::new(self.rows.iter())
        };
        let is_past = move |key: &Key| after.is_none_or(|after| if reverse { key < after } else { key > after });
        all.filter(move |(key, _)| span.contains(key) && is_past(key))
            .filter_map(move |(key, row)| {
                let ranges = self
                    .ranges
                    .iter()
                    .filter(|(span, _)| span.contains(key))
                    .map(|(_, timestamp)| *timestamp);
                row.view(key, self.deleted.max(ranges.max()), &at.layout.regulars, at.now_s)
            })
    }

    /// What is wrong with `page`, taken as the answer to `ask` past `after` at this moment; `None` if nothing is.
    ///
    /// A page may end at any row (its limits are checked by the caller), but only if it says that there may be more.
    pub(crate) fn refutes<R>(
        &self,
        ask: &Ask,
        after: Option<&Key>,
        page: &PageView<R>,
        at: Moment<'_>,
    ) -> Option<String> {
        if self.statics(at) != page.statics {
            return Some(format!(
                "static row: expected {:?}, got {:?}",
                self.statics(at),
                page.statics
            ));
        }
        let mut expected = self.rows(&ask.span, ask.reverse, after, at);
        for (nth, got) in page.rows.iter().enumerate() {
            match expected.next() {
                Some(row) if row == *got => {}
                Some(row) => return Some(format!("row {nth}: expected {row:?}, got {got:?}")),
                None => return Some(format!("row {nth}: expected the end, got {got:?}")),
            }
        }
        match expected.next() {
            Some(row) if page.more.is_none() => Some(format!(
                "the page ends the span after {} rows, but there is {row:?}",
                page.rows.len()
            )),
            Some(row)
                if page.cut_at.is_some()
                    && self.rows(&ask.span, ask.reverse, page.end(), at).next() != Some(row.clone()) =>
            {
                Some(format!("the page is cut at {:?}, past {row:?}", page.cut_at))
            }
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::data::{Edge, Part, TABLES};
    use super::super::layout::Wish;
    use super::*;

    fn key(id: i64) -> Key {
        vec![Part {
            val: Val::Big(id),
            descending: true,
        }]
    }

    fn put(column: Column, timestamp: i64, value: &str) -> CellEdit {
        CellEdit::Put {
            column,
            element: None,
            timestamp,
            value: value.as_bytes().to_vec(),
            ends: None,
        }
    }

    /// An insert with one cell, which ends with it.
    fn ending(timestamp: i64, value: &str, ends: u32) -> RowEdit {
        RowEdit {
            inserted: Some(timestamp),
            ends: Some(ends),
            cells: vec![CellEdit::Put {
                column: 0,
                element: None,
                timestamp,
                value: value.as_bytes().to_vec(),
                ends: Some(ends),
            }],
            ..RowEdit::default()
        }
    }

    fn element(column: Column, name: &str, timestamp: i64) -> CellEdit {
        CellEdit::Put {
            column,
            element: Some(Val::Text(name.to_owned())),
            timestamp,
            value: Vec::new(),
            ends: None,
        }
    }

    fn change() -> Change {
        Change {
            id: 0,
            partition: 0,
            at_s: 0,
            deleted: None,
            statics: None,
            rows: Vec::new(),
            ranges: Vec::new(),
        }
    }

    fn row(id: i64, edit: RowEdit) -> Change {
        Change {
            rows: vec![(key(id), edit)],
            ..change()
        }
    }

    const NOW_S: u32 = 100;

    /// Applies in every order, and each twice; shows the rows as `id:inserted:cells`.
    fn check(changes: &[Change], expected: &str) {
        let (all, layout) = (Span::ALL, Layout::of(&TABLES[1]));
        let at = Moment {
            now_s: NOW_S,
            layout: &layout,
        };
        let show = |partition: &Partition| {
            let rows = partition.rows(&all, false, None, at).map(|row| {
                let cells = row.cells.iter().map(|cell| match &cell.element {
                    Some(element) => format!("c{}[{element:?}]", cell.column),
                    None => format!("c{}={}", cell.column, String::from_utf8_lossy(&cell.value)),
                });
                format!(
                    "{:?}:{}:{}",
                    row.key[0],
                    row.inserted.is_some(),
                    cells.collect::<Vec<_>>().join(",")
                )
            });
            rows.collect::<Vec<_>>().join(" ")
        };
        let mut orders = vec![Vec::new()];
        for (at, _) in changes.iter().enumerate() {
            orders = orders
                .into_iter()
                .flat_map(|order: Vec<usize>| {
                    (0..=order.len()).map(move |place| {
                        let mut order = order.clone();
                        order.insert(place, at);
                        order
                    })
                })
                .collect();
        }
        for order in orders {
            let mut partition = Partition::default();
            for at in order.iter().chain(&order) {
                partition.apply(&changes[*at]);
            }
            assert_eq!(show(&partition), expected, "in the order {order:?}");
        }
    }

    #[test]
    fn higher_timestamp_wins_then_deletion_then_larger_bytes() {
        let write = |edit| {
            row(
                1,
                RowEdit {
                    cells: vec![edit],
                    ..RowEdit::default()
                },
            )
        };
        check(&[write(put(0, 5, "new")), write(put(0, 4, "z-old"))], "1:false:c0=new");
        check(&[write(put(0, 5, "a")), write(put(0, 5, "b"))], "1:false:c0=b");
        let gone = CellEdit::Delete {
            column: 0,
            element: None,
            timestamp: 5,
        };
        check(
            &[write(put(0, 5, "z")), write(gone.clone()), write(put(1, 5, "kept"))],
            "1:false:c1=kept",
        );
        check(&[write(put(0, 6, "later")), write(gone)], "1:false:c0=later");
    }

    #[test]
    fn a_row_lives_by_its_insert_or_by_its_cells() {
        let insert = row(
            1,
            RowEdit {
                inserted: Some(5),
                cells: vec![put(0, 5, "x")],
                ..RowEdit::default()
            },
        );
        let unset = row(
            1,
            RowEdit {
                cells: vec![CellEdit::Delete {
                    column: 0,
                    element: None,
                    timestamp: 6,
                }],
                ..RowEdit::default()
            },
        );
        check(&[insert.clone(), unset.clone()], "1:true:");
        let update = row(
            1,
            RowEdit {
                cells: vec![put(0, 5, "x")],
                ..RowEdit::default()
            },
        );
        check(&[update.clone(), unset], "");
        let delete = row(
            1,
            RowEdit {
                deleted: Some(5),
                ..RowEdit::default()
            },
        );
        check(&[insert.clone(), delete.clone()], "");
        let edit = row(
            1,
            RowEdit {
                cells: vec![put(1, 6, "edited")],
                ..RowEdit::default()
            },
        );
        check(&[insert, delete, edit], "1:false:c1=edited");
    }

    #[test]
    fn ranges_and_partitions_cover_what_is_as_old() {
        let insert = |id, timestamp| {
            row(
                id,
                RowEdit {
                    inserted: Some(timestamp),
                    ..RowEdit::default()
                },
            )
        };
        // Descending: from 3 down to 2.
        let span = Span {
            from: Edge {
                prefix: key(3),
                after: false,
            },
            to: Edge {
                prefix: key(2),
                after: true,
            },
        };
        let range = Change {
            ranges: vec![(span, 5)],
            ..change()
        };
        check(&[insert(1, 4), insert(2, 5), insert(3, 6), range], "3:true: 1:true:");
        let all = Change {
            deleted: Some(5),
            ..change()
        };
        check(&[insert(1, 5), insert(2, 6), all], "2:true:");
    }

    #[test]
    fn a_collection_is_overwritten_as_a_whole_and_changed_by_element() {
        let old = row(
            1,
            RowEdit {
                cells: vec![element(2, "a", 4), element(2, "b", 6)],
                ..RowEdit::default()
            },
        );
        let overwrite = RowEdit {
            cells: vec![
                CellEdit::DeleteCollection {
                    column: 2,
                    timestamp: 5,
                },
                element(2, "c", 6),
            ],
            ..RowEdit::default()
        };
        check(
            &[
                old,
                row(1, overwrite),
                row(
                    1,
                    RowEdit {
                        cells: vec![put(0, 1, "x")],
                        ..RowEdit::default()
                    },
                ),
            ],
            "1:false:c0=x,c2[\"b\"],c2[\"c\"]",
        );
    }

    #[test]
    fn statics_outlive_rows_and_not_their_partition() {
        let mut partition = Partition::default();
        let layout = Layout::of(&TABLES[1]);
        let at = Moment {
            now_s: 0,
            layout: &layout,
        };
        let statics = RowEdit {
            cells: vec![put(0, 5, "topic")],
            ..RowEdit::default()
        };
        partition.apply(&Change {
            statics: Some(statics),
            ranges: vec![(Span::ALL, 9)],
            ..change()
        });
        assert_eq!(partition.statics(at).map(|row| row.cells.len()), Some(1));
        partition.apply(&Change {
            deleted: Some(5),
            ..change()
        });
        assert_eq!(partition.statics(at), None);
    }

    #[test]
    fn what_has_ended_is_not_seen_and_wins_and_loses_as_before() {
        let forever = |timestamp, value| RowEdit {
            inserted: Some(timestamp),
            cells: vec![put(0, timestamp, value)],
            ..RowEdit::default()
        };
        check(&[row(1, ending(1, "x", NOW_S + 1))], "1:true:c0=x");
        check(&[row(1, ending(1, "x", NOW_S))], "");
        check(&[row(1, ending(2, "x", NOW_S)), row(1, forever(1, "z"))], "");
        check(&[row(1, ending(1, "x", NOW_S)), row(1, forever(1, "z"))], "");
        check(&[row(1, ending(1, "x", NOW_S)), row(1, forever(2, "z"))], "1:true:c0=z");
        check(
            &[row(1, ending(1, "x", NOW_S)), row(1, ending(1, "a", NOW_S + 1))],
            "1:true:c0=a",
        );
        let mut update = ending(2, "x", NOW_S);
        update.inserted = None;
        check(&[row(1, forever(1, "z")), row(1, update)], "1:true:");
    }

    #[test]
    fn what_is_in_dropped_columns_is_not_seen_and_keeps_no_row() {
        let mut partition = Partition::default();
        let update = |cells| RowEdit {
            cells,
            ..RowEdit::default()
        };
        partition.apply(&row(1, update(vec![put(0, 5, "dropped")])));
        partition.apply(&row(2, update(vec![put(0, 5, "dropped"), element(2, "kept", 5)])));
        let insert = RowEdit {
            inserted: Some(5),
            cells: vec![put(0, 9, "dropped")],
            ..RowEdit::default()
        };
        partition.apply(&row(3, insert));
        let renewed = Wish::Column {
            is_static: false,
            name: 0,
            renewed: true,
            as_blob: false,
        };
        let (_, layout) = Layout::of(&TABLES[1]).wished(&TABLES[1], &[renewed]);
        // The column that came back, older than what was dropped.
        let back = layout.regulars.len() - 1;
        partition.apply(&row(1, update(vec![put(back, 1, "anew")])));
        let all = Span::ALL;
        let seen = |partition: &Partition| {
            let at = Moment {
                now_s: NOW_S,
                layout: &layout,
            };
            let columns = |row: RowView| row.cells.iter().map(|cell| cell.column).collect::<Vec<_>>();
            let rows = partition.rows(&all, true, None, at).map(columns);
            rows.collect::<Vec<_>>()
        };
        assert_eq!(seen(&partition), [vec![back], vec![2], vec![]]);
    }
}
