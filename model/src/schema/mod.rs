//! Tables: their columns, and how their keys become bytes.
//!
//! - The **partition key's bytes** are Cassandra's: one column gives its value as it is, several give for each the length
//!   (16 bits, big-endian), the value and a zero byte. Tokens are computed from them, and partitions that compare equal as
//!   values but differ in bytes are different partitions.
//! - The **clustering key's bytes** sort as CQL sorts: `docs/semantics/clustering-order.md`.
//! - Column ids are never reused: [`Schema::next_column`] only grows, and a dropped column stays listed.

mod alter;
mod builder;
mod codec;
mod keyspace;
#[cfg(test)]
mod tests;

pub use alter::Alteration;
pub use builder::SchemaBuilder;
pub use keyspace::{Keyspace, TypeAlteration};

use std::collections::BTreeMap;

use crate::clustering::{decode_component, decode_component_into, encode_component};
use crate::{ColumnId, CqlType, ModelError, RowRef, TTL_MAX, TableId};

/// The most bytes of a partition key, and of each clustering value.
pub const KEY_BYTES_MAX: usize = 65_535;
/// The most characters of a keyspace's or a table's name.
pub const NAME_CHARS_MAX: usize = 48;

/// A column.
///
/// [`Schema`] has them.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Column {
    /// Its number in stored rows.
    pub id: ColumnId,
    /// Its name, as written after folding.
    pub name: String,
    /// Its type.
    pub ty: CqlType,
}

/// A column of the clustering key.
///
/// [`Schema`] has them.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ClusteringColumn {
    /// The column.
    pub column: Column,
    /// `DESC`: the largest value first.
    pub descending: bool,
}

/// A column that was dropped: cells with its id are no longer shown.
///
/// [`Schema`] has them.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct DroppedColumn {
    /// The column as it was.
    pub column: Column,
    /// Whether it was static.
    pub is_static: bool,
    /// When it was dropped, in microseconds since the Unix epoch.
    pub dropped_at: i64,
}

/// How blocks of the table's files are compressed.
///
/// [`TableOptions`] has it.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
#[non_exhaustive]
pub enum Compression {
    /// Whole blocks, LZ4.
    #[default]
    Lz4,
    /// Not at all.
    None,
}

/// What `WITH` sets.
///
/// [`SchemaBuilder::options`](crate::SchemaBuilder::options) sets them.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct TableOptions {
    /// How long tombstones are kept at least, in seconds (10 days).
    pub gc_grace_seconds: u32,
    /// The TTL of writes that set none, in seconds; 0 for ever.
    pub default_ttl: u32,
    /// Of the table's files.
    pub compression: Compression,
    /// How the table's files are compacted: the map of CQL, by name, `class` included; empty for the default. Checked by whoever
    /// compacts.
    pub compaction: BTreeMap<String, String>,
    /// Free text.
    pub comment: String,
    /// With more tombstones than this in one page a read is warned about; `None`: as the node has it.
    pub tombstone_warn_threshold: Option<u32>,
    /// With more tombstones than this in one page a read fails; `None`: as the node has it.
    pub tombstone_failure_threshold: Option<u32>,
    /// Everything else that was set and must be shown again, by name, in the text form of CQL.
    pub other: Vec<(String, String)>,
}

impl Default for TableOptions {
    fn default() -> Self {
        TableOptions {
            gc_grace_seconds: 864_000,
            default_ttl: 0,
            compression: Compression::default(),
            compaction: BTreeMap::new(),
            comment: String::new(),
            tombstone_warn_threshold: None,
            tombstone_failure_threshold: None,
            other: Vec::new(),
        }
    }
}

/// A table's definition.
///
/// [`SchemaBuilder`](crate::SchemaBuilder) shows how to define one.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Schema {
    /// The table's number in stored bytes; 0 until it is assigned.
    pub id: TableId,
    /// The keyspace's name.
    pub keyspace: String,
    /// The table's name.
    pub name: String,
    /// At least one column.
    pub partition_key: Vec<Column>,
    /// In order; may be empty.
    pub clustering: Vec<ClusteringColumn>,
    /// One value per partition; only where there are clustering columns.
    pub statics: Vec<Column>,
    /// One value per row.
    pub regulars: Vec<Column>,
    /// Dropped columns.
    pub dropped: Vec<DroppedColumn>,
    /// The id that the next new column gets.
    pub next_column: ColumnId,
    /// What `WITH` sets.
    pub options: TableOptions,
}

/// Refuses a name that no keyspace and no table has.
fn check_name(what: &str, name: &str) -> Result<(), ModelError> {
    let legal = (1..=NAME_CHARS_MAX).contains(&name.len())
        && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_');
    if legal {
        return Ok(());
    }
    Err(ModelError::Schema {
        what: format!("{what} name {name:?} is not 1 to {NAME_CHARS_MAX} letters, digits and underscores"),
    })
}

impl Schema {
    /// The table's name with its keyspace: `keyspace.name`.
    pub fn qualified_name(&self) -> String {
        format!("{}.{}", self.keyspace, self.name)
    }

    /// Starts a definition.
    pub fn builder(keyspace: &str, name: &str) -> SchemaBuilder {
        SchemaBuilder::new(keyspace, name)
    }

    /// All columns in use: partition key, clustering, static, regular.
    pub fn columns(&self) -> impl Iterator<Item = &Column> {
        let clustering = self.clustering.iter().map(|c| &c.column);
        self.partition_key
            .iter()
            .chain(clustering)
            .chain(&self.statics)
            .chain(&self.regulars)
    }

    /// The column of a name.
    pub fn column(&self, name: &str) -> Option<&Column> {
        self.columns().find(|c| c.name == name)
    }

    /// Checks all rules of a definition.
    ///
    /// # Errors
    /// [`ModelError::Schema`], with the first rule that is broken: names of keyspace and table of 1 to 48 letters, digits
    /// and underscores; column names not empty; names and ids unique, ids below `next_column`; at least one partition key
    /// column; key columns not plain collections; static columns only beside clustering columns;
    /// legal types.
    pub fn validate(&self) -> Result<(), ModelError> {
        let refuse = |what: String| Err(ModelError::Schema { what });
        check_name("keyspace", &self.keyspace)?;
        check_name("table", &self.name)?;
        if self.options.default_ttl > TTL_MAX {
            let ttl = self.options.default_ttl;
            return refuse(format!(
                "default_time_to_live is {ttl}, {TTL_MAX} seconds (20 years) are allowed"
            ));
        }
        if self.partition_key.is_empty() {
            return refuse(format!("{} has no partition key column", self.name));
        }
        if !self.statics.is_empty() && self.clustering.is_empty() {
            return refuse(format!("{} has static columns but no clustering column", self.name));
        }
        if self.next_column > ColumnId::KEY_FORMS {
            return refuse(format!("{} has given out all column ids", self.name));
        }
        let mut seen: Vec<(&str, ColumnId)> = Vec::new();
        for column in self.columns() {
            if column.name.is_empty() || column.name.len() > KEY_BYTES_MAX {
                return refuse(format!("column name {:?} is empty or too long", column.name));
            }
            if let Some(what) = column.ty.fault() {
                return refuse(format!("the type {} of column {} {what}", column.ty, column.name));
            }
            if column.id >= self.next_column {
                return refuse(format!("column {} has an id that was not given out", column.name));
            }
            if let Some((name, id)) = seen.iter().find(|(name, id)| *name == column.name || *id == column.id) {
                let what = if *name == column.name { "name" } else { "id" };
                return refuse(format!(
                    "columns {name} ({}) and {} ({}) share a {what}",
                    id.0, column.name, column.id.0
                ));
            }
            seen.push((&column.name, column.id));
        }
        for dropped in &self.dropped {
            let id = dropped.column.id;
            if id >= self.next_column || seen.iter().any(|(_, seen)| *seen == id) {
                return refuse(format!(
                    "the id {} of dropped column {} is in use again",
                    id.0, dropped.column.name
                ));
            }
        }
        let keys = self
            .partition_key
            .iter()
            .chain(self.clustering.iter().map(|c| &c.column));
        for column in keys {
            if column.ty.has_duration() {
                return refuse(format!(
                    "key column {} has the type {}: a duration has no order",
                    column.name, column.ty
                ));
            }
            if column.ty.is_multi_cell() {
                return refuse(format!(
                    "key column {} has the type {}, which is not frozen",
                    column.name, column.ty
                ));
            }
        }
        Ok(())
    }

    /// The partition key's bytes of one value per partition key column.
    ///
    /// # Errors
    /// [`ModelError::Key`] for a wrong number of values, a single empty value, or a key that is too long;
    /// [`ModelError::Value`] for a value that is not legal.
    pub fn partition_key_bytes(&self, values: &[&[u8]]) -> Result<Vec<u8>, ModelError> {
        let mut out = Vec::new();
        self.put_partition_key(values, &mut out)?;
        Ok(out)
    }

    /// As [`partition_key_bytes`](Self::partition_key_bytes), at the end of `out` (which may have grown after an error).
    ///
    /// # Errors
    /// As there.
    pub fn put_partition_key(&self, values: &[&[u8]], out: &mut Vec<u8>) -> Result<(), ModelError> {
        if values.len() != self.partition_key.len() {
            return Err(ModelError::Key {
                what: "not one value for each partition key column",
            });
        }
        for (column, value) in self.partition_key.iter().zip(values) {
            column.ty.validate(value)?;
        }
        let start = out.len();
        match values {
            [[]] => {
                return Err(ModelError::Key {
                    what: "the partition key may not be empty",
                });
            }
            [value] => out.extend_from_slice(value),
            values => {
                for value in values {
                    let len = u16::try_from(value.len()).map_err(|_| ModelError::Key {
                        what: "a partition key value above 65535 bytes",
                    })?;
                    out.extend_from_slice(&len.to_be_bytes());
                    out.extend_from_slice(value);
                    out.push(0);
                }
            }
        }
        if out.len() - start > KEY_BYTES_MAX {
            return Err(ModelError::Key {
                what: "a partition key above 65535 bytes",
            });
        }
        Ok(())
    }

    /// The values in a partition key's bytes, one per partition key column.
    ///
    /// # Errors
    /// [`ModelError::Corrupt`] if the bytes are not a key of this table.
    pub fn split_partition_key<'k>(&self, key: &'k [u8]) -> Result<Vec<&'k [u8]>, ModelError> {
        let malformed = ModelError::corrupt("partition key");
        let mut values = Vec::with_capacity(self.partition_key.len());
        if self.partition_key.len() == 1 {
            values.push(key);
        } else {
            let mut rest = key;
            for _ in &self.partition_key {
                let len = crate::varint::get_array(&mut rest)
                    .map(u16::from_be_bytes)
                    .ok_or(malformed.clone())?;
                let (value, after) = rest.split_at_checked(usize::from(len)).ok_or(malformed.clone())?;
                values.push(value);
                rest = after.strip_prefix(&[0]).ok_or(malformed.clone())?;
            }
            if !rest.is_empty() {
                return Err(malformed);
            }
        }
        let legal = !key.is_empty()
            && key.len() <= KEY_BYTES_MAX
            && self
                .partition_key
                .iter()
                .zip(&values)
                .all(|(column, value)| column.ty.validate(value).is_ok());
        if legal { Ok(values) } else { Err(malformed) }
    }

    /// The position of the given clustering values: a full key, or a prefix, which lies before everything that begins
    /// with it.
    ///
    /// # Errors
    /// [`ModelError::Key`] for too many values or one above 65535 bytes, [`ModelError::Value`] for one that is not legal.
    pub fn encode_clustering(&self, values: &[&[u8]]) -> Result<Vec<u8>, ModelError> {
        let mut out = Vec::with_capacity(values.iter().map(|v| v.len() + 2).sum());
        self.put_clustering(values, &mut out)?;
        Ok(out)
    }

    /// As [`encode_clustering`](Self::encode_clustering), at the end of `out` (which may have grown after an error).
    ///
    /// # Errors
    /// As there.
    #[inline]
    pub fn put_clustering(&self, values: &[&[u8]], out: &mut Vec<u8>) -> Result<(), ModelError> {
        if values.len() > self.clustering.len() {
            return Err(ModelError::Key {
                what: "more values than clustering columns",
            });
        }
        for (column, value) in self.clustering.iter().zip(values) {
            if value.len() > KEY_BYTES_MAX {
                return Err(ModelError::Key {
                    what: "a clustering value above 65535 bytes",
                });
            }
            encode_component(&column.column.ty, value, column.descending, out)?;
        }
        Ok(())
    }

    /// The values in a clustering key or a prefix of one.
    ///
    /// # Errors
    /// [`ModelError::Corrupt`] if the bytes are not what [`encode_clustering`](Self::encode_clustering) gives.
    pub fn decode_clustering(&self, bytes: &[u8]) -> Result<Vec<Vec<u8>>, ModelError> {
        let mut rest = bytes;
        let mut values = Vec::new();
        for column in &self.clustering {
            if rest.is_empty() {
                return Ok(values);
            }
            values.push(decode_component(&column.column.ty, column.descending, &mut rest)?);
        }
        if rest.is_empty() {
            Ok(values)
        } else {
            Err(ModelError::corrupt("bytes after the clustering key"))
        }
    }

    /// The clustering values whose key shows another form of the same value (a decimal's 1.00, a longer varint, missing fields of a
    /// tuple): what a row keeps, so that it can be shown as it was written.
    /// [`RowBuilder::key_forms`](crate::RowBuilder::key_forms) puts them into a row.
    ///
    /// # Errors
    /// As [`encode_clustering`](Self::encode_clustering).
    pub fn key_forms<'v>(&self, values: &[&'v [u8]]) -> Result<Vec<(ColumnId, &'v [u8])>, ModelError> {
        let mut forms = Vec::new();
        let mut component = Vec::new();
        for (at, (column, value)) in (0..).zip(self.clustering.iter().zip(values)) {
            let ty = &column.column.ty;
            if !ty.has_forms() {
                continue;
            }
            component.clear();
            encode_component(ty, value, false, &mut component)?;
            if decode_component(ty, false, &mut &component[..])? != *value {
                forms.push((ColumnId::key_form(at), *value));
            }
        }
        Ok(forms)
    }

    /// The values of a row's clustering key, each in the form that `row` keeps of it, if it keeps one: that of the last write whose
    /// form was not the key's own.
    ///
    /// # Errors
    /// [`ModelError::Corrupt`] if the bytes are no clustering key of this table.
    pub fn clustering_values(&self, clustering: &[u8], row: RowRef<'_>) -> Result<Vec<Vec<u8>>, ModelError> {
        let mut values = Vec::new();
        self.put_clustering_values(clustering, row, &mut values)?;
        Ok(values)
    }

    /// As [`clustering_values`](Self::clustering_values), in place of what is in `values`, whose memory is used again.
    ///
    /// # Errors
    /// As there; `values` then has anything.
    pub fn put_clustering_values(
        &self,
        clustering: &[u8],
        row: RowRef<'_>,
        values: &mut Vec<Vec<u8>>,
    ) -> Result<(), ModelError> {
        let mut rest = clustering;
        let mut count = 0;
        for column in &self.clustering {
            if rest.is_empty() {
                break;
            }
            if values.len() == count {
                values.push(Vec::new());
            }
            values[count].clear();
            decode_component_into(&column.column.ty, column.descending, &mut rest, &mut values[count])?;
            count += 1;
        }
        if !rest.is_empty() {
            return Err(ModelError::corrupt("bytes after the clustering key"));
        }
        values.truncate(count);
        for (at, (value, column)) in (0..).zip(values.iter_mut().zip(&self.clustering)) {
            if !column.column.ty.has_forms() {
                continue;
            }
            let form = row.cell(ColumnId::key_form(at)).and_then(|cell| cell.value());
            // Only what is the same value: the key decides which it is.
            if let Some(form) = form.filter(|form| column.column.ty.validate(form).is_ok())
                && column.column.ty.compare(form, value).is_eq()
            {
                *value = form.to_vec();
            }
        }
        Ok(())
    }

    /// The values in a position, and whether it lies after everything that begins with them.
    ///
    /// # Errors
    /// [`ModelError::Corrupt`] if the bytes are not a position of this table.
    pub fn decode_position(&self, position: &[u8]) -> Result<(Vec<Vec<u8>>, bool), ModelError> {
        if let Ok(values) = self.decode_clustering(position) {
            return Ok((values, false));
        }
        match position.split_last() {
            Some((0xff, prefix)) => Ok((self.decode_clustering(prefix)?, true)),
            _ => Err(ModelError::corrupt("position")),
        }
    }

    /// Whether the bytes are a full clustering key of this table.
    pub fn is_clustering_key(&self, bytes: &[u8]) -> bool {
        self.decode_clustering(bytes)
            .is_ok_and(|values| values.len() == self.clustering.len())
    }
}
