//! Defines a table column by column.

use super::{ClusteringColumn, Column, Schema, TableOptions};
use crate::{ColumnId, CqlType, ModelError, TableId};

/// Collects a table's columns in the order of the statement and gives them ids.
///
/// ```
/// use scrollback_model::{CqlType, Schema};
///
/// let messages = Schema::builder("chat", "messages")
///     .partition_key("channel_id", CqlType::BigInt)
///     .partition_key("bucket_id", CqlType::Int)
///     .clustering_desc("message_id", CqlType::BigInt)
///     .regular("content", CqlType::Text)
///     .build()
///     .unwrap();
/// assert_eq!(messages.regulars[0].name, "content");
/// ```
#[derive(Clone, Debug)]
pub struct SchemaBuilder {
    schema: Schema,
}

impl SchemaBuilder {
    pub(super) fn new(keyspace: &str, name: &str) -> SchemaBuilder {
        SchemaBuilder {
            schema: Schema {
                id: TableId(0),
                keyspace: keyspace.to_string(),
                name: name.to_string(),
                partition_key: Vec::new(),
                clustering: Vec::new(),
                statics: Vec::new(),
                regulars: Vec::new(),
                dropped: Vec::new(),
                next_column: ColumnId(0),
                options: TableOptions::default(),
            },
        }
    }

    fn column(&mut self, name: &str, ty: CqlType) -> Column {
        let id = self.schema.next_column;
        self.schema.next_column = ColumnId(id.0 + 1);
        Column {
            id,
            name: name.to_string(),
            ty,
        }
    }

    /// The table's number; 0 (the default) has it assigned when the table is created.
    pub fn id(mut self, id: TableId) -> Self {
        self.schema.id = id;
        self
    }

    /// The next column of the partition key.
    pub fn partition_key(mut self, name: &str, ty: CqlType) -> Self {
        let column = self.column(name, ty);
        self.schema.partition_key.push(column);
        self
    }

    /// The next column of the clustering key, ascending.
    pub fn clustering(self, name: &str, ty: CqlType) -> Self {
        self.clustering_in(name, ty, false)
    }

    /// The next column of the clustering key, descending.
    pub fn clustering_desc(self, name: &str, ty: CqlType) -> Self {
        self.clustering_in(name, ty, true)
    }

    fn clustering_in(mut self, name: &str, ty: CqlType, descending: bool) -> Self {
        let column = self.column(name, ty);
        self.schema.clustering.push(ClusteringColumn { column, descending });
        self
    }

    /// A static column.
    pub fn static_column(mut self, name: &str, ty: CqlType) -> Self {
        let column = self.column(name, ty);
        self.schema.statics.push(column);
        self
    }

    /// A regular column.
    pub fn regular(mut self, name: &str, ty: CqlType) -> Self {
        let column = self.column(name, ty);
        self.schema.regulars.push(column);
        self
    }

    /// What `WITH` sets.
    pub fn options(mut self, options: TableOptions) -> Self {
        self.schema.options = options;
        self
    }

    /// The definition.
    ///
    /// # Errors
    /// As [`Schema::validate`].
    pub fn build(self) -> Result<Schema, ModelError> {
        self.schema.validate()?;
        Ok(self.schema)
    }
}
