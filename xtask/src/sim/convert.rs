//! The clients' tables, changes and reads in the engine's terms, and its pages in the clients'.

use std::sync::Arc;

use engine::{Page, PastTombstones, Read};
use model::{
    CellKind, CqlType, Deletion, Direction, Mutation, MutationBuilder, RowBuilder, RowRef, Schema, Slice, TableOptions,
};

use super::data::{
    Ask, CellEdit, CellView, Change, Column, Edge, Key, PageView, Part, PartitionKey, RowEdit, RowView, Shape, TABLES,
    Table, Ty, Val,
};
use super::node::Trouble;

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

/// A year.
const GRACE_SECONDS: u32 = 31_536_000;

/// The definition of a table, to be created.
pub(crate) fn schema(table: &Table) -> Schema {
    let mut builder = Schema::builder(KEYSPACE, table.name);
    for (nth, ty) in table.partition_key.iter().enumerate() {
        builder = builder.partition_key(&format!("p{nth}"), key_type(*ty));
    }
    for (nth, (ty, descending)) in table.clustering.iter().enumerate() {
        let (name, ty) = (format!("k{nth}"), key_type(*ty));
        builder = if *descending {
            builder.clustering_desc(&name, ty)
        } else {
            builder.clustering(&name, ty)
        };
    }
    for (nth, shape) in table.statics.iter().enumerate() {
        builder = builder.static_column(&format!("s{nth}"), column_type(*shape));
    }
    for (nth, shape) in table.regulars.iter().enumerate() {
        builder = builder.regular(&format!("c{nth}"), column_type(*shape));
    }
    // The clients' clocks are weeks behind the nodes', and their tombstones are to count.
    let options = TableOptions {
        gc_grace_seconds: GRACE_SECONDS,
        ..TableOptions::default()
    };
    builder
        .options(options)
        .build()
        .expect("the simulated tables are well defined")
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

fn deletion(timestamp: i64) -> Deletion {
    Deletion {
        timestamp,
        local_deletion_time: local_time(timestamp),
    }
}

/// The deleting client's clock, seconds.
fn local_time(timestamp: i64) -> u32 {
    u32::try_from(timestamp / 1_000_000).expect("the clients live before 2106")
}

fn clustering(schema: &Schema, key: &[Part]) -> Vec<u8> {
    let values: Vec<Vec<u8>> = key.iter().map(|part| part.val.cql()).collect();
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
fn element_type(shape: Shape) -> CqlType {
    key_type(shape.element().expect("only collections have elements"))
}

fn row_body(columns: &[model::Column], shapes: &[Shape], edit: &RowEdit) -> Vec<u8> {
    let mut row = RowBuilder::new();
    if let Some(timestamp) = edit.inserted {
        match edit.ends {
            None => row.liveness(timestamp),
            Some(ends) => row.liveness_ttl(timestamp, ends - local_time(timestamp), ends),
        };
    }
    if let Some(timestamp) = edit.deleted {
        row.deletion(deletion(timestamp));
    }
    let path = |column: Column, element: &Val| {
        let mut path = Vec::new();
        element_type(shapes[column])
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
                let (id, ttl) = (
                    columns[*column].id,
                    ends.map(|ends| (ends - local_time(*timestamp), ends)),
                );
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
                let (id, path) = (columns[*column].id, path(*column, element));
                match ends {
                    None => row.element(id, &path, *timestamp, value),
                    Some(ends) => row.element_ttl(id, &path, *timestamp, value, ends - local_time(*timestamp), *ends),
                };
            }
            CellEdit::Delete {
                column,
                element: None,
                timestamp,
            } => {
                row.tombstone(columns[*column].id, *timestamp, local_time(*timestamp));
            }
            CellEdit::Delete {
                column,
                element: Some(element),
                timestamp,
            } => {
                let path = path(*column, element);
                row.element_tombstone(columns[*column].id, &path, *timestamp, local_time(*timestamp));
            }
            CellEdit::DeleteCollection { column, timestamp } => {
                row.complex_deletion(columns[*column].id, deletion(*timestamp));
            }
        }
    }
    row.finish().to_vec()
}

/// A change as the mutation that makes it.
pub(crate) fn mutation(schema: &Schema, partition: &PartitionKey, change: &Change) -> Mutation {
    let table = &TABLES[partition.table];
    let mut mutation = MutationBuilder::new(schema.id, &partition_key(partition));
    if let Some(timestamp) = change.deleted {
        mutation.delete_partition(deletion(timestamp));
    }
    if let Some(edit) = &change.statics {
        mutation.static_row(&row_body(&schema.statics, table.statics, edit));
    }
    for (key, edit) in &change.rows {
        mutation.row(
            &clustering(schema, key),
            &row_body(&schema.regulars, table.regulars, edit),
        );
    }
    for (span, timestamp) in &change.ranges {
        mutation.delete_range(
            &position(schema, &span.from),
            &position(schema, &span.to),
            deletion(*timestamp),
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
        .map(|row| row_view(Key::new(), &schema.statics, table.statics, row));
    let key = |bytes: &[u8]| {
        let values = schema
            .decode_clustering(bytes)
            .map_err(|e| wrong(format!("a clustering key: {e}")))?;
        let parts = values.iter().zip(table.clustering).map(|(value, (ty, descending))| {
            let val = Val::from_cql(*ty, value).ok_or_else(|| wrong(format!("a clustering value of {value:?}")))?;
            Ok(Part {
                val,
                descending: *descending,
            })
        });
        parts.collect::<Result<Key, Trouble>>()
    };
    let rows = page
        .rows()
        .map(|(bytes, row)| row_view(key(bytes)?, &schema.regulars, table.regulars, row));
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

fn row_view(key: Key, columns: &[model::Column], shapes: &[Shape], row: RowRef<'_>) -> Result<RowView, Trouble> {
    let row = RowRef::parse(row.bytes()).map_err(|e| wrong(format!("a row that is none: {e}")))?;
    if !row.deletion().is_live() {
        return Err(wrong("a row with its deletion".to_owned()));
    }
    let cells = row.cells().map(|cell| {
        let column = columns.iter().position(|column| column.id == cell.column);
        let column = column.ok_or_else(|| wrong(format!("a cell of the unknown column {:?}", cell.column)))?;
        // Whether it should have ended by now is the oracle's question.
        let (CellKind::Live(value) | CellKind::Expiring { value, .. }) = cell.kind else {
            return Err(wrong(format!("a cell that is not live: {:?}", cell.kind)));
        };
        let element = cell.path.map(|path| {
            let ty = shapes[column]
                .element()
                .ok_or_else(|| wrong("an element of no collection".to_owned()))?;
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

/// The definitions in force, in the order of [`TABLES`].
pub(crate) type Schemas = Arc<Vec<Arc<Schema>>>;
