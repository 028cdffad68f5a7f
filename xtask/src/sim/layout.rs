//! What a table is at one moment, as its clients know it, and how `ALTER TABLE` changes it.
//!
//! A layout lists all columns that the table ever had, static ones and others, in the order in which they came. A [`Column`] is a
//! place in such a list: what comes back under the name of a dropped column is another column, and what is said of one is said of
//! it for good, whatever the table becomes.

use std::sync::Arc;

use super::data::{CellEdit, Change, Column, NEVER, Name, RowEdit, Shape, TABLES, Table};
use super::plan::PERIOD_S;

/// A column that a table has or had.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Held {
    pub name: Name,
    pub shape: Shape,
    pub dropped: bool,
}

/// A table's definition.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Layout {
    pub statics: Vec<Held>,
    pub regulars: Vec<Held>,
    /// Of the key's columns, those of the partition key first: whether it has its other name.
    pub renamed: Vec<bool>,
    /// Which of the adapter's sets of options.
    pub options: usize,
}

/// What somebody wants of a table, whatever it is when he comes to it.
#[derive(Clone, Debug)]
pub(crate) enum Wish {
    /// The column is added if it is not there, and dropped if it is; with `renewed`, dropped and added in one statement. A column
    /// of one value may come back as a blob.
    Column {
        is_static: bool,
        name: Name,
        renewed: bool,
        as_blob: bool,
    },
    /// The column of the key gets its other name.
    Rename {
        key: usize,
    },
    Options(usize),
}

/// One change of a layout.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum Alteration {
    Add {
        is_static: bool,
        name: Name,
        shape: Shape,
    },
    Drop {
        is_static: bool,
        name: Name,
    },
    /// The column of the key that has this place; whether it has its other name from now on.
    Rename {
        key: usize,
        renamed: bool,
    },
    Options(usize),
}

/// How many sets of options there are.
pub(crate) const OPTIONS: usize = 4;
/// The one with a default TTL.
pub(crate) const OPTIONS_WITH_TTL: usize = 3;

/// The default TTL of each set of options, seconds; 0: what names no end has none. It ends within a period, as what is named does,
/// and at another moment of it: things that end in one second would have to have one TTL.
pub(crate) const DEFAULT_TTL_S: [u32; OPTIONS] = [0, 0, 0, PERIOD_S + PERIOD_S / 5 * 2];

impl Layout {
    /// The table as it is created.
    pub(crate) fn of(table: &Table) -> Layout {
        let held = |shapes: &[Shape]| {
            let columns = shapes.iter().enumerate();
            let held = columns.map(|(name, shape)| Held {
                name,
                shape: *shape,
                dropped: false,
            });
            held.collect()
        };
        Layout {
            statics: held(table.statics),
            regulars: held(table.regulars),
            renamed: vec![false; table.partition_key.len() + table.clustering.len()],
            options: 0,
        }
    }

    /// All tables as they are created with these options.
    pub(crate) fn of_all(options: [usize; TABLES.len()]) -> [Layout; TABLES.len()] {
        std::array::from_fn(|table| Layout {
            options: options[table],
            ..Layout::of(&TABLES[table])
        })
    }

    fn columns(&self, is_static: bool) -> &Vec<Held> {
        if is_static { &self.statics } else { &self.regulars }
    }

    fn columns_mut(&mut self, is_static: bool) -> &mut Vec<Held> {
        if is_static {
            &mut self.statics
        } else {
            &mut self.regulars
        }
    }

    /// What makes the table into what is wished, and what it is then.
    pub(crate) fn wished(&self, table: &Table, wishes: &[Wish]) -> (Vec<Alteration>, Layout) {
        let mut after = self.clone();
        let mut alterations = Vec::new();
        for wish in wishes {
            let before = alterations.len();
            match *wish {
                Wish::Column {
                    is_static,
                    name,
                    renewed,
                    as_blob,
                } => {
                    let last = after.columns(is_static).iter().rfind(|column| column.name == name);
                    let is_there = last.is_some_and(|column| !column.dropped);
                    let shape = last.map_or_else(|| table.shape(is_static, name), |column| column.shape);
                    let as_blob = as_blob && shape.element().is_none();
                    let shape = if as_blob { Shape::Blob } else { shape };
                    let drop = Alteration::Drop { is_static, name };
                    let add = Alteration::Add { is_static, name, shape };
                    alterations.extend(is_there.then_some(drop));
                    alterations.extend((!is_there || renewed).then_some(add));
                }
                Wish::Rename { key } => {
                    let renamed = !after.renamed[key];
                    alterations.push(Alteration::Rename { key, renamed });
                }
                Wish::Options(options) => alterations.push(Alteration::Options(options)),
            }
            for alteration in &alterations[before..] {
                after.alter(alteration);
            }
        }
        (alterations, after)
    }

    pub(crate) fn alter(&mut self, alteration: &Alteration) {
        match *alteration {
            Alteration::Add { is_static, name, shape } => self.columns_mut(is_static).push(Held {
                name,
                shape,
                dropped: false,
            }),
            Alteration::Drop { is_static, name } => {
                let columns = self.columns_mut(is_static).iter_mut();
                columns
                    .filter(|column| column.name == name)
                    .for_each(|column| column.dropped = true);
            }
            Alteration::Rename { key, renamed } => self.renamed[key] = renamed,
            Alteration::Options(options) => self.options = options,
        }
    }

    /// When what is written now ends, by what it names.
    fn ends(&self, named: Option<u32>, now_s: u32) -> Option<u32> {
        match (named, DEFAULT_TTL_S[self.options]) {
            (Some(NEVER), _) | (None, 0) => None,
            (None, ttl_s) => Some(now_s + ttl_s),
            (named, _) => named,
        }
    }

    /// A change drawn by names, as somebody makes it now who knows the table like this: of the columns that it has, with its default
    /// TTL. `None` if nothing is left to be said.
    pub(crate) fn known(&self, drawn: &Change, now_s: u32) -> Option<Arc<Change>> {
        let ends = |named| self.ends(named, now_s);
        let statics = drawn.statics.as_ref();
        let statics = statics.and_then(|edit| known(&self.statics, edit, ends));
        let rows = drawn.rows.iter();
        let rows: Vec<_> = rows
            .filter_map(|(key, edit)| Some((key.clone(), known(&self.regulars, edit, ends)?)))
            .collect();
        let says = drawn.deleted.is_some() || statics.is_some() || !rows.is_empty() || !drawn.ranges.is_empty();
        says.then(|| {
            Arc::new(Change {
                at_s: now_s,
                statics,
                rows,
                ranges: drawn.ranges.clone(),
                ..*drawn
            })
        })
    }
}

fn known(columns: &[Held], drawn: &RowEdit, ends_of: impl Fn(Option<u32>) -> Option<u32>) -> Option<RowEdit> {
    let there = |name: Name| columns.iter().position(|column| column.name == name && !column.dropped);
    let cells = drawn.cells.iter().filter_map(|cell| {
        let mut cell = cell.clone();
        *cell.column_mut() = there(cell.column())?;
        if let CellEdit::Put { ends, .. } = &mut cell {
            *ends = ends_of(*ends);
        }
        Some(cell)
    });
    let edit = RowEdit {
        ends: ends_of(drawn.ends),
        cells: cells.collect(),
        ..*drawn
    };
    let says = edit.inserted.is_some() || edit.deleted.is_some() || !edit.cells.is_empty();
    says.then_some(edit)
}

/// Whether the column is one that is seen: it was added, and not dropped.
pub(crate) fn is_seen(columns: &[Held], column: Column) -> bool {
    columns.get(column).is_some_and(|held| !held.dropped)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn column(name: Name, renewed: bool) -> Wish {
        Wish::Column {
            is_static: false,
            name,
            renewed,
            as_blob: true,
        }
    }

    #[test]
    fn a_column_that_comes_back_is_another_one() {
        let first = Layout::of(&TABLES[0]);
        let (drop, without) = first.wished(&TABLES[0], &[column(1, false)]);
        assert_eq!(
            drop,
            [Alteration::Drop {
                is_static: false,
                name: 1
            }]
        );
        let (add, again) = without.wished(&TABLES[0], &[column(1, false)]);
        assert_eq!(
            add,
            [Alteration::Add {
                is_static: false,
                name: 1,
                shape: Shape::Blob
            }]
        );
        assert_eq!(first.wished(&TABLES[0], &[column(1, true)]).1, again);
        let edit = RowEdit {
            cells: vec![CellEdit::Delete {
                column: 1,
                element: None,
                timestamp: 5,
            }],
            ..RowEdit::default()
        };
        let columns = [&first, &without, &again].map(|layout| {
            let edit = known(&layout.regulars, &edit, |ends| ends)?;
            Some(edit.cells[0].column())
        });
        assert_eq!(columns, [Some(1), None, Some(first.regulars.len())]);
        assert!(!is_seen(&again.regulars, 1) && is_seen(&again.regulars, first.regulars.len()));
    }

    #[test]
    fn what_names_no_end_ends_by_the_table() {
        const NOW_S: u32 = 1000;
        let drawn = |ends| Change {
            id: 1,
            partition: 0,
            at_s: 0,
            deleted: None,
            statics: None,
            rows: vec![(
                Vec::new(),
                RowEdit {
                    inserted: Some(5),
                    ends,
                    cells: vec![CellEdit::Put {
                        column: 0,
                        element: None,
                        timestamp: 5,
                        value: Vec::new(),
                        ends,
                    }],
                    ..RowEdit::default()
                },
            )],
            ranges: Vec::new(),
        };
        for (options, ttl_s) in DEFAULT_TTL_S.into_iter().enumerate() {
            let layout = Layout {
                options,
                ..Layout::of(&TABLES[0])
            };
            let by_table = (ttl_s > 0).then_some(NOW_S + ttl_s);
            for (named, ends) in [(None, by_table), (Some(NEVER), None), (Some(7), Some(7))] {
                let known = layout.known(&drawn(named), NOW_S).expect("something is said");
                let expected = Change {
                    at_s: NOW_S,
                    ..drawn(ends)
                };
                assert_eq!(*known, expected, "options {options}, named {named:?}");
            }
        }
    }
}
