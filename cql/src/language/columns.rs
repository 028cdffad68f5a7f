//! Where a column stands, and what a row has of it.

use super::error::{Error, Result};
use super::types::quoted;
use model::{Column, ColumnId, CqlType, Schema};

/// Where a column stands.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Place {
    /// Which column of the partition key.
    Partition(usize),
    /// Which clustering column.
    Clustering(usize),
    /// A static column.
    Static(ColumnId),
    /// A regular column.
    Regular(ColumnId),
}

impl Place {
    /// Whether it is of the primary key.
    #[must_use]
    pub fn is_key(self) -> bool {
        matches!(self, Place::Partition(_) | Place::Clustering(_))
    }
}

/// A column of a table.
#[derive(Clone, PartialEq, Debug)]
pub struct ColumnRef {
    /// Where it stands.
    pub place: Place,
    /// Its name.
    pub name: String,
    /// Its type.
    pub ty: CqlType,
}

/// The column of a name.
///
/// # Errors
/// [`Error::Invalid`]: there is none.
pub fn find(schema: &Schema, name: &str) -> Result<ColumnRef> {
    let of = |columns: &[Column]| columns.iter().position(|column| column.name == name);
    let place = if let Some(at) = of(&schema.partition_key) {
        Place::Partition(at)
    } else if let Some(at) = schema.clustering.iter().position(|of| of.column.name == name) {
        Place::Clustering(at)
    } else if let Some(at) = of(&schema.statics) {
        Place::Static(schema.statics[at].id)
    } else if let Some(at) = of(&schema.regulars) {
        Place::Regular(schema.regulars[at].id)
    } else {
        return Err(undefined(schema, name));
    };
    let column = schema.column(name).expect("found above");
    Ok(ColumnRef {
        place,
        name: name.to_owned(),
        ty: column.ty.clone(),
    })
}

/// There is no such column.
pub fn undefined(schema: &Schema, name: &str) -> Error {
    Error::invalid(format!(
        "Undefined column name {} in table {}.{}",
        quoted(name),
        quoted(&schema.keyspace),
        quoted(&schema.name)
    ))
}

/// All columns as `*` gives them: partition key, clustering columns, then static and regular ones, each by name.
#[must_use]
pub fn all(schema: &Schema) -> Vec<ColumnRef> {
    let mut all = Vec::new();
    let mut add = |place: Place, column: &Column| {
        all.push(ColumnRef {
            place,
            name: column.name.clone(),
            ty: column.ty.clone(),
        });
    };
    for (at, column) in schema.partition_key.iter().enumerate() {
        add(Place::Partition(at), column);
    }
    for (at, of) in schema.clustering.iter().enumerate() {
        add(Place::Clustering(at), &of.column);
    }
    let by_name = |columns: &[Column]| {
        let mut columns = columns.to_vec();
        columns.sort_by(|a, b| a.name.cmp(&b.name));
        columns
    };
    for column in &by_name(&schema.statics) {
        add(Place::Static(column.id), column);
    }
    for column in &by_name(&schema.regulars) {
        add(Place::Regular(column.id), column);
    }
    all
}
