//! The fragments of a table file as JSON objects. Keys, positions and values are hexadecimal; times are the file's own.

use model::{CellKind, CellRef, Deletion, Fragment, RowRef};
use serde_json::{Map, Value, json};

/// Bytes as hexadecimal digits.
pub fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// One fragment.
pub fn object(of: Fragment<'_>) -> Value {
    match of {
        Fragment::PartitionStart { token, key, deletion } => {
            json!({"partition": hex(key), "token": token.0, "deletion": of_deletion(deletion)})
        }
        Fragment::StaticRow(row) => json!({"static": of_row(row)}),
        Fragment::Row { clustering, row } => json!({"position": hex(clustering), "row": of_row(row)}),
        Fragment::RangeChange { position, deletion } => {
            json!({"position": hex(position), "range": of_deletion(deletion)})
        }
        Fragment::PartitionEnd => json!({"end": true}),
    }
}

/// Null for none.
fn of_deletion(deletion: Deletion) -> Value {
    match deletion.is_live() {
        true => Value::Null,
        false => json!({"timestamp": deletion.timestamp, "local_deletion_time": deletion.local_deletion_time}),
    }
}

fn of_row(row: RowRef<'_>) -> Value {
    let mut object = Map::new();
    if let Some(liveness) = row.liveness() {
        object.insert("live".to_owned(), json!(liveness.timestamp));
        if liveness.ttl != 0 {
            object.insert("ttl".to_owned(), json!(liveness.ttl));
            object.insert("expires_at".to_owned(), json!(liveness.expires_at));
        }
    }
    if !row.deletion().is_live() {
        object.insert("deletion".to_owned(), of_deletion(row.deletion()));
    }
    object.insert("cells".to_owned(), row.cells().map(of_cell).collect());
    Value::Object(object)
}

fn of_cell(cell: CellRef<'_>) -> Value {
    let mut object = Map::new();
    let mut put = |name: &str, value: Value| drop(object.insert(name.to_owned(), value));
    put("column", json!(cell.column.0));
    if let Some(path) = cell.path {
        put("path", json!(hex(path)));
    }
    put("timestamp", json!(cell.timestamp));
    match cell.kind {
        CellKind::Live(value) => put("value", json!(hex(value))),
        CellKind::Expiring { value, ttl, expires_at } => {
            put("value", json!(hex(value)));
            put("ttl", json!(ttl));
            put("expires_at", json!(expires_at));
        }
        CellKind::Tombstone { local_deletion_time } => put("deleted_at", json!(local_deletion_time)),
        CellKind::ComplexDeletion(deletion) => put("all_deleted_at", json!(deletion.local_deletion_time)),
    }
    Value::Object(object)
}
