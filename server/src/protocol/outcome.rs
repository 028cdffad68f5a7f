//! What a conditional statement that was not applied shows: `ModificationStatement.buildCasResultSet`.

use super::fail::{Done, Failure};
use super::modify::Outcome;
use cql::language::{ColumnRef, Conditions, Place, Present, RowView, Write, all_columns};
use model::{RowRef, Schema};
use std::sync::Arc;

/// The most bytes that are shown: far below the 256 MiB of a frame.
const SHOWN_BYTES_MAX: usize = 64 << 20;

/// The columns that are shown, and their values where there is a row.
///
/// - `IF NOT EXISTS`: the whole row. Conditions of columns: those columns. `IF EXISTS`: nothing, for there is none.
/// - In a batch the primary key comes first, and there is a line for each row that was read.
pub(super) fn of(
    table: &Arc<Schema>,
    key: &[u8],
    writes: &[Write<'_>],
    is_batch: bool,
    present: &dyn Present,
) -> Done<Outcome> {
    let mut columns: Vec<ColumnRef> = Vec::new();
    let all = all_columns(table);
    let mut add = |column: &ColumnRef| {
        if columns.iter().all(|present| present.name != column.name) {
            columns.push(column.clone());
        }
    };
    if is_batch {
        all.iter().filter(|column| column.place.is_key()).for_each(&mut add);
    }
    for write in writes {
        match &write.modification().conditions {
            Conditions::NotExists => all.iter().for_each(&mut add),
            conditions => conditions.columns().into_iter().for_each(&mut add),
        }
    }
    let parts = table.split_partition_key(key).map_err(cql::language::Error::from)?;
    let mut rows = Vec::new();
    let mut bytes = 0;
    let mut seen: Vec<Vec<u8>> = Vec::new();
    for write in writes.iter().filter(|write| !write.modification().conditions.is_none()) {
        let named = write.rows()?.into_iter().next();
        let statics_alone = named.is_none();
        let place = named.unwrap_or_default();
        if seen.contains(&place) {
            continue;
        }
        let row = present.row(&place);
        let statics = present.statics();
        // A condition of static columns is shown also where there is no row, and so is what IF NOT EXISTS found of them alone.
        let of_statics = write
            .modification()
            .conditions
            .columns()
            .iter()
            .any(|column| matches!(column.place, Place::Static(_)));
        let exists = row.is_some() || ((of_statics || statics_alone) && statics.is_some());
        if !exists {
            continue;
        }
        let clustering = match row {
            Some(row) => table
                .clustering_values(&place, row)
                .map_err(cql::language::Error::from)?,
            None => Vec::new(),
        };
        let view = RowView {
            key: &parts,
            clustering: &clustering,
            row: row.unwrap_or(RowRef::EMPTY),
            statics: statics.unwrap_or(RowRef::EMPTY),
        };
        let mut values = Vec::with_capacity(columns.len());
        for column in &columns {
            let value = view.value(column).map(|value| value.into_owned());
            bytes += value.as_ref().map_or(0, Vec::len);
            values.push(value);
        }
        if bytes > SHOWN_BYTES_MAX {
            return Err(Failure::invalid(
                "the rows that were found are longer than 64 MiB, and nothing was written; put fewer conditions into one batch",
            ));
        }
        rows.push(values);
        seen.push(place);
    }
    if rows.is_empty() {
        columns.clear();
    }
    Ok(Outcome {
        applied: false,
        columns: columns.into_iter().map(|column| (column.name, column.ty)).collect(),
        rows,
    })
}
