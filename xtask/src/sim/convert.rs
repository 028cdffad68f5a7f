//! The clients' tables, changes and reads in the engine's terms, and its pages in the clients'.

use engine::{Page, PastTombstones, Read};
use model::{
    CellKind, Compression, CqlType, Deletion, Direction, Mutation, MutationBuilder, RowBuilder, RowRef, Schema, Slice,
    TableOptions,
};

use super::data::{
    Ask, CellEdit, CellView, Change, Column, Edge, Key, Name, PageView, Part, PartitionKey, RowEdit, RowView, Shape,
    TABLES, Table, Ty, Val,
};
use super::layout::{Alteration, DEFAULT_TTL_S, Held, Layout, OPTIONS};
use super::node::Trouble;
use super::plan::{GRACE_PERIODS, PERIOD_S};

/// Keyspace of the simulated tables.
pub(crate) const KEYSPACE: &str = "sim";

fn key_type(ty: Ty) -> CqlType {
    match ty {
        Ty::BigInt => CqlType::BigInt,
        Ty::Int => CqlType::Int,
        Ty::Text => CqlType::Text,
        Ty::TimeUuid => CqlType::TimeUuid,
    }
}

fn column_type(shape: Shape) -> CqlType {
    match shape {
        Shape::BigInt => CqlType::BigInt,
        Shape::Text => CqlType::Text,
        Shape::Blob => CqlType::Blob,
        Shape::SetOfText => CqlType::Text.set(),
        Shape::MapOfTextToBigInt => CqlType::Text.map(CqlType::BigInt),
        Shape::ListOfText => CqlType::Text.list(),
    }
}

/// What a column holds that has this type.
fn shape(ty: &CqlType) -> Option<Shape> {
    let shape = match ty {
        CqlType::BigInt => Shape::BigInt,
        CqlType::Text => Shape::Text,
        CqlType::Blob => Shape::Blob,
        CqlType::Set(_) => Shape::SetOfText,
        CqlType::Map(..) => Shape::MapOfTextToBigInt,
        CqlType::List(_) => Shape::ListOfText,
        _ => return None,
    };
    Some(shape)
}

/// More than a page meets.
pub(crate) const MANY_TOMBSTONES: u32 = 100_000;

/// Until what is deleted can be purged: half a period before [`GRACE_PERIODS`] have passed.
const GRACE_SECONDS: u32 = GRACE_PERIODS * PERIOD_S - PERIOD_S / 2;

/// Thirty hours before the nodes' clock begins, milliseconds: their first messages, from the hundredth on, are of its time.
const SNOWFLAKE_EPOCH_MS: &str = "1703959200000";
/// What an id of a message is as a snowflake: a quarter of an hour each.
const SNOWFLAKES_PER_ID: i64 = 900_000 << 22;

/// Whether ids of the table are told to the engine as snowflakes.
fn is_of_messages(table: &str) -> bool {
    table == TABLES[0].name
}

/// The definition of a table, to be created.
pub(crate) fn schema(table: &Table, with: usize) -> Schema {
    let mut builder = Schema::builder(KEYSPACE, table.name);
    for (nth, ty) in table.partition_key.iter().enumerate() {
        builder = builder.partition_key(&key_name(nth, false), key_type(*ty));
    }
    for (nth, (ty, descending)) in (table.partition_key.len()..).zip(table.clustering) {
        let (name, ty) = (key_name(nth, false), key_type(*ty));
        builder = if *descending {
            builder.clustering_desc(&name, ty)
        } else {
            builder.clustering(&name, ty)
        };
    }
    for (nth, shape) in table.statics.iter().enumerate() {
        builder = builder.static_column(&column_name(true, nth), column_type(*shape));
    }
    for (nth, shape) in table.regulars.iter().enumerate() {
        builder = builder.regular(&column_name(false, nth), column_type(*shape));
    }
    builder
        .options(options(with, is_of_messages(table.name)))
        .build()
        .expect("the simulated tables are well defined")
}

fn key_name(nth: usize, renamed: bool) -> String {
    format!("k{nth}{}", if renamed { "_renamed" } else { "" })
}

fn column_name(is_static: bool, name: Name) -> String {
    format!("{}{name}", if is_static { "s" } else { "c" })
}

/// A table's options. What a reader sees does not depend on them, but for where a page is cut; a default TTL is for those who write,
/// who give each change its end.
/// No threshold is low: some readers do not expect to be cut.
fn options(nth: usize, of_messages: bool) -> TableOptions {
    let compaction: &[(&str, &str)] = match nth {
        0 if of_messages => &[
            ("class", "TimeTieredCompactionStrategy"),
            ("epoch_hours", "5"),
            ("snowflake_epoch_ms", SNOWFLAKE_EPOCH_MS),
            ("open_threshold", "2"),
            ("min_threshold", "2"),
        ],
        0 => &[("class", "SizeTieredCompactionStrategy"), ("min_threshold", "2")],
        1 => &[],
        2 => &[
            ("class", "TimeWindowCompactionStrategy"),
            ("timestamp_resolution", "SECONDS"),
            ("compaction_window_unit", "MINUTES"),
            ("compaction_window_size", "10"),
            ("min_threshold", "2"),
        ],
        _ => &[
            ("class", "SizeTieredCompactionStrategy"),
            ("min_threshold", "2"),
            ("max_threshold", "3"),
            ("tombstone_compaction_interval", "0"),
            ("unchecked_tombstone_compaction", "true"),
        ],
    };
    let compaction = compaction
        .iter()
        .map(|&(name, value)| (name.to_owned(), value.to_owned()));
    let options = TableOptions {
        compaction: compaction.collect(),
        gc_grace_seconds: GRACE_SECONDS,
        default_ttl: DEFAULT_TTL_S[nth],
        ..TableOptions::default()
    };
    match nth {
        0 => options,
        1 => TableOptions {
            gc_grace_seconds: 2 * GRACE_SECONDS,
            tombstone_warn_threshold: Some(1),
            ..options
        },
        2 => TableOptions {
            tombstone_failure_threshold: Some(MANY_TOMBSTONES),
            compression: Compression::None,
            ..options
        },
        _ => TableOptions {
            comment: "altered".to_owned(),
            ..options
        },
    }
}

/// All columns that the table has or had, in the order in which they came: ids only grow. And whether each was dropped.
fn columns(schema: &Schema, is_static: bool) -> Vec<(&model::Column, bool)> {
    let there = if is_static { &schema.statics } else { &schema.regulars };
    let dropped = schema.dropped.iter().filter(|of| of.is_static == is_static);
    let dropped = dropped.map(|of| (&of.column, true));
    let mut all: Vec<_> = there.iter().map(|column| (column, false)).chain(dropped).collect();
    all.sort_by_key(|(column, _)| column.id);
    all
}

/// What a definition says, in the clients' terms; `None` if none of their tables can be like that.
pub(crate) fn layout(schema: &Schema) -> Option<Layout> {
    let held = |is_static| {
        let columns = columns(schema, is_static).into_iter();
        let held = columns.map(|(column, dropped)| {
            let name = column.name.get(1..)?.parse().ok()?;
            let shape = shape(&column.ty)?;
            let is_that = column.name == column_name(is_static, name) && column.ty == column_type(shape);
            is_that.then_some(Held { name, shape, dropped })
        });
        held.collect::<Option<Vec<_>>>()
    };
    let key = schema.partition_key.iter();
    let key = key.chain(schema.clustering.iter().map(|of| &of.column)).enumerate();
    let renamed = key.map(|(nth, column)| [false, true].into_iter().find(|of| column.name == key_name(nth, *of)));
    Some(Layout {
        statics: held(true)?,
        regulars: held(false)?,
        renamed: renamed.collect::<Option<_>>()?,
        options: (0..OPTIONS).find(|nth| schema.options == options(*nth, is_of_messages(&schema.name)))?,
    })
}

/// An alteration as the engine takes it.
pub(crate) fn alteration(table: &Table, alteration: &Alteration) -> model::Alteration {
    match *alteration {
        Alteration::Add { is_static, name, shape } => model::Alteration::Add {
            name: column_name(is_static, name),
            ty: column_type(shape),
            is_static,
        },
        Alteration::Drop { is_static, name } => model::Alteration::drop(&column_name(is_static, name)),
        Alteration::Rename { key, renamed } => {
            model::Alteration::rename(&key_name(key, !renamed), &key_name(key, renamed))
        }
        Alteration::Options(nth) => model::Alteration::Options(options(nth, is_of_messages(table.name))),
    }
}

/// Bytes of a partition key: Cassandra's, one value as it is, several each with its length and a zero.
pub(crate) fn partition_key(partition: &PartitionKey) -> Vec<u8> {
    match partition.key.as_slice() {
        [one] => one.cql(),
        several => several
            .iter()
            .flat_map(|val| {
                let bytes = val.cql();
                let length = u16::try_from(bytes.len()).expect("keys are short");
                [&length.to_be_bytes()[..], &bytes, &[0]].concat()
            })
            .collect(),
    }
}

/// The TTL with which something ends that was written at `at_s`, or up to a period earlier: it may have ended before it is written.
fn ttl(at_s: u32, ends: u32) -> u32 {
    ends.saturating_sub(at_s.saturating_sub(PERIOD_S)).max(1)
}

fn clustering(schema: &Schema, key: &[Part]) -> Vec<u8> {
    let value = |part: &Part| match part.val {
        Val::Big(id) if is_of_messages(&schema.name) => Val::Big(id * SNOWFLAKES_PER_ID).cql(),
        _ => part.val.cql(),
    };
    let values: Vec<Vec<u8>> = key.iter().map(value).collect();
    let values: Vec<&[u8]> = values.iter().map(Vec::as_slice).collect();
    schema
        .encode_clustering(&values)
        .expect("the clients' keys are well formed")
}

fn position(schema: &Schema, edge: &Edge) -> Vec<u8> {
    let mut position = clustering(schema, &edge.prefix);
    if edge.after {
        position.push(0xFF);
    }
    position
}

/// The type of the names of a collection's elements.
fn element_type(column: &model::Column) -> Option<Ty> {
    shape(&column.ty)?.element()
}

fn row_body(columns: &[(&model::Column, bool)], edit: &RowEdit, at_s: u32) -> Vec<u8> {
    let id = |column: Column| columns[column].0.id;
    let mut row = RowBuilder::new();
    if let Some(timestamp) = edit.inserted {
        match edit.ends {
            None => row.liveness(timestamp),
            Some(ends) => row.liveness_ttl(timestamp, ttl(at_s, ends), ends),
        };
    }
    if let Some(timestamp) = edit.deleted {
        row.deletion(Deletion::new(timestamp, at_s));
    }
    let path = |column: Column, element: &Val| {
        let mut path = Vec::new();
        let ty = element_type(columns[column].0).expect("only collections have elements");
        key_type(ty)
            .encode_path(&element.cql(), &mut path)
            .expect("the clients' elements are well formed");
        path
    };
    for cell in &edit.cells {
        match cell {
            CellEdit::Put {
                column,
                element: None,
                timestamp,
                value,
                ends,
            } => {
                let (id, ttl) = (id(*column), ends.map(|ends| (ttl(at_s, ends), ends)));
                match ttl {
                    None => row.cell(id, *timestamp, value),
                    Some((ttl, ends)) => row.cell_ttl(id, *timestamp, value, ttl, ends),
                };
            }
            CellEdit::Put {
                column,
                element: Some(element),
                timestamp,
                value,
                ends,
            } => {
                let (id, path) = (id(*column), path(*column, element));
                match ends {
                    None => row.element(id, &path, *timestamp, value),
                    Some(ends) => row.element_ttl(id, &path, *timestamp, value, ttl(at_s, *ends), *ends),
                };
            }
            CellEdit::Delete {
                column,
                element: None,
                timestamp,
            } => {
                row.tombstone(id(*column), *timestamp, at_s);
            }
            CellEdit::Delete {
                column,
                element: Some(element),
                timestamp,
            } => {
                let path = path(*column, element);
                row.element_tombstone(id(*column), &path, *timestamp, at_s);
            }
            CellEdit::DeleteCollection { column, timestamp } => {
                row.complex_deletion(id(*column), Deletion::new(*timestamp, at_s));
            }
        }
    }
    row.finish().to_vec()
}

/// A change as the mutation that makes it.
pub(crate) fn mutation(schema: &Schema, partition: &PartitionKey, change: &Change) -> Mutation {
    let regulars = columns(schema, false);
    let mut mutation = MutationBuilder::new(schema.id, &partition_key(partition));
    if let Some(timestamp) = change.deleted {
        mutation.delete_partition(Deletion::new(timestamp, change.at_s));
    }
    if let Some(edit) = &change.statics {
        mutation.static_row(&row_body(&columns(schema, true), edit, change.at_s));
    }
    for (key, edit) in &change.rows {
        mutation.row(&clustering(schema, key), &row_body(&regulars, edit, change.at_s));
    }
    for (span, timestamp) in &change.ranges {
        mutation.delete_range(
            &position(schema, &span.from),
            &position(schema, &span.to),
            Deletion::new(*timestamp, change.at_s),
        );
    }
    mutation.build()
}

/// The read of the page that begins at `rest`, or at the span's first row.
pub(crate) fn read(
    schema: &Schema,
    partition: &PartitionKey,
    ask: &Ask,
    rest: Option<&Slice>,
    past_tombstones: PastTombstones,
) -> Read {
    let whole = || Slice {
        start: position(schema, &ask.span.from),
        end: position(schema, &ask.span.to),
    };
    Read {
        table: schema.id,
        key: partition_key(partition),
        slice: rest.cloned().unwrap_or_else(whole),
        direction: if ask.reverse {
            Direction::Reverse
        } else {
            Direction::Forward
        },
        limit_rows: ask.limit_rows,
        limit_bytes: ask.limit_bytes,
        include_dead: false,
        past_tombstones,
    }
}

/// A page as the clients see it.
///
/// # Errors
/// What does not belong into a page of live rows is wrong.
pub(crate) fn page(schema: &Schema, table: &Table, page: &Page) -> Result<PageView<Slice>, Trouble> {
    let statics = page
        .static_row()
        .map(|row| row_view(Key::new(), &columns(schema, true), row));
    let regulars = columns(schema, false);
    let key = |bytes: &[u8]| {
        let values = schema
            .decode_clustering(bytes)
            .map_err(|e| wrong(format!("a clustering key: {e}")))?;
        let parts = values.iter().zip(table.clustering).map(|(value, (ty, descending))| {
            let val = Val::from_cql(*ty, value).ok_or_else(|| wrong(format!("a clustering value of {value:?}")))?;
            let val = match val {
                Val::Big(id) if is_of_messages(&schema.name) => Val::Big(id / SNOWFLAKES_PER_ID),
                val => val,
            };
            Ok(Part {
                val,
                descending: *descending,
            })
        });
        parts.collect::<Result<Key, Trouble>>()
    };
    let rows = page.rows().map(|(bytes, row)| row_view(key(bytes)?, &regulars, row));
    Ok(PageView {
        statics: statics.transpose()?,
        rows: rows.collect::<Result<_, _>>()?,
        more: page.more().cloned(),
        cut_at: page.cut_at().map(key).transpose()?,
    })
}

fn wrong(what: String) -> Trouble {
    Trouble::Wrong(format!("a page holds {what}"))
}

/// Cells of dropped columns are shown as such, if the store gave any: whether it may is the oracle's question.
fn row_view(key: Key, columns: &[(&model::Column, bool)], row: RowRef<'_>) -> Result<RowView, Trouble> {
    let row = RowRef::parse(row.bytes()).map_err(|e| wrong(format!("a row that is none: {e}")))?;
    if !row.deletion().is_live() {
        return Err(wrong("a row with its deletion".to_owned()));
    }
    let cells = row.cells().map(|cell| {
        let column = columns.iter().position(|(column, _)| column.id == cell.column);
        let column = column.ok_or_else(|| wrong(format!("a cell of the unknown column {:?}", cell.column)))?;
        // Whether it should have ended by now is the oracle's question.
        let (CellKind::Live(value) | CellKind::Expiring { value, .. }) = cell.kind else {
            return Err(wrong(format!("a cell that is not live: {:?}", cell.kind)));
        };
        let element = cell.path.map(|path| {
            let ty = element_type(columns[column].0).ok_or_else(|| wrong("an element of no collection".to_owned()))?;
            let name = key_type(ty)
                .decode_path(path)
                .map_err(|e| wrong(format!("an element's name: {e}")))?;
            Val::from_cql(ty, &name).ok_or_else(|| wrong(format!("an element's name {name:?}")))
        });
        Ok(CellView {
            column,
            element: element.transpose()?,
            timestamp: cell.timestamp,
            value: value.to_vec(),
        })
    });
    let mut cells = cells.collect::<Result<Vec<_>, _>>()?;
    // Elements come in the order of their paths, which is not asked for here.
    cells.sort();
    Ok(RowView {
        key,
        inserted: row.liveness().map(|liveness| liveness.timestamp),
        cells,
    })
}
