//! A table's definition as bytes for the manifest: `docs/format/schema.md`.
//!
//! ```text
//! version        1     1
//! table          var
//! keyspace       length-prefixed
//! name           length-prefixed
//! next column    var
//! partition key  var count, then columns
//! clustering     var count, then columns, each followed by 1 byte: 1 if descending
//! statics        var count, then columns
//! regulars       var count, then columns
//! dropped        var count, then columns, each followed by 1 byte: 1 if static, and its time 8
//! options        until the end: tag 1 (strictly ascending), length-prefixed bytes
//! column         id var, name length-prefixed, type (tags)
//! ```

use super::{ClusteringColumn, Column, Compression, DroppedColumn, Schema, TableOptions};
use crate::{ColumnId, CqlType, ModelError, TableId, varint};

const VERSION: u8 = 1;

mod option {
    pub(super) const GC_GRACE: u8 = 1;
    pub(super) const DEFAULT_TTL: u8 = 2;
    pub(super) const COMPRESSION: u8 = 3;
    pub(super) const COMMENT: u8 = 4;
    pub(super) const OTHER: u8 = 5;
    pub(super) const TOMBSTONE_WARN: u8 = 6;
    pub(super) const TOMBSTONE_FAILURE: u8 = 7;
    pub(super) const COMPACTION: u8 = 8;
    pub(super) const LAST: u8 = COMPACTION;
}

impl Schema {
    /// The definition as bytes, for the manifest.
    pub fn encode(&self) -> Vec<u8> {
        let mut out = vec![VERSION];
        varint::put_u64(&mut out, u64::from(self.id.0));
        varint::put_bytes(&mut out, self.keyspace.as_bytes());
        varint::put_bytes(&mut out, self.name.as_bytes());
        varint::put_u64(&mut out, u64::from(self.next_column.0));
        put_all(&mut out, &self.partition_key, put_column);
        put_all(&mut out, &self.clustering, |out, c| {
            put_column(out, &c.column);
            out.push(u8::from(c.descending));
        });
        put_all(&mut out, &self.statics, put_column);
        put_all(&mut out, &self.regulars, put_column);
        put_all(&mut out, &self.dropped, |out, c| {
            put_column(out, &c.column);
            out.push(u8::from(c.is_static));
            out.extend_from_slice(&c.dropped_at.to_le_bytes());
        });
        let mut option = |tag: u8, put: &dyn Fn(&mut Vec<u8>)| {
            let mut bytes = Vec::new();
            put(&mut bytes);
            out.push(tag);
            varint::put_bytes(&mut out, &bytes);
        };
        let o = &self.options;
        option(option::GC_GRACE, &|b| varint::put_u64(b, u64::from(o.gc_grace_seconds)));
        option(option::DEFAULT_TTL, &|b| varint::put_u64(b, u64::from(o.default_ttl)));
        option(option::COMPRESSION, &|b| b.push(compression_tag(o.compression)));
        option(option::COMMENT, &|b| b.extend_from_slice(o.comment.as_bytes()));
        option(option::OTHER, &|b| {
            put_all(b, &o.other, |b, (name, value)| {
                varint::put_bytes(b, name.as_bytes());
                varint::put_bytes(b, value.as_bytes());
            });
        });
        for (tag, threshold) in [
            (option::TOMBSTONE_WARN, o.tombstone_warn_threshold),
            (option::TOMBSTONE_FAILURE, o.tombstone_failure_threshold),
        ] {
            if let Some(threshold) = threshold {
                option(tag, &|b| varint::put_u64(b, u64::from(threshold)));
            }
        }
        if !o.compaction.is_empty() {
            option(option::COMPACTION, &|b| {
                put_all(b, &Vec::from_iter(&o.compaction), |b, (name, value)| {
                    varint::put_bytes(b, name.as_bytes());
                    varint::put_bytes(b, value.as_bytes());
                });
            });
        }
        out
    }

    /// Reads a definition, and checks it as [`validate`](Self::validate) does.
    ///
    /// # Errors
    /// [`ModelError::Corrupt`] if the bytes are not exactly one definition; [`ModelError::TooNew`] and
    /// [`ModelError::UnknownType`] if a newer release wrote it; [`ModelError::Schema`] if it breaks a rule.
    pub fn decode(bytes: &[u8]) -> Result<Schema, ModelError> {
        let input = &mut &*bytes;
        let [version] = varint::get_array(input).ok_or(cut())?;
        check_version("schema", version, VERSION)?;
        let schema = Schema {
            id: TableId(varint::get_u32(input).ok_or(cut())?),
            keyspace: get_string(input)?,
            name: get_string(input)?,
            next_column: ColumnId(varint::get_u32(input).ok_or(cut())?),
            partition_key: get_all(input, get_column)?,
            clustering: get_all(input, |input| {
                Ok(ClusteringColumn {
                    column: get_column(input)?,
                    descending: get_bool(input)?,
                })
            })?,
            statics: get_all(input, get_column)?,
            regulars: get_all(input, get_column)?,
            dropped: get_all(input, |input| {
                let (column, is_static) = (get_column(input)?, get_bool(input)?);
                let dropped_at = i64::from_le_bytes(varint::get_array(input).ok_or(cut())?);
                Ok(DroppedColumn {
                    column,
                    is_static,
                    dropped_at,
                })
            })?,
            options: get_options(input)?,
        };
        schema.validate()?;
        Ok(schema)
    }
}

pub(super) fn cut() -> ModelError {
    ModelError::corrupt("schema is cut or malformed")
}

pub(super) fn check_version(what: &'static str, found: u8, newest_known: u8) -> Result<(), ModelError> {
    match found {
        0 => Err(ModelError::corrupt("schema version")),
        found if found > newest_known => Err(ModelError::TooNew {
            what,
            found,
            newest_known,
        }),
        _ => Ok(()),
    }
}

fn compression_tag(compression: Compression) -> u8 {
    match compression {
        Compression::None => 0,
        Compression::Lz4 => 1,
    }
}

pub(super) fn put_all<T>(out: &mut Vec<u8>, items: &[T], put: impl Fn(&mut Vec<u8>, &T)) {
    varint::put_u64(out, items.len() as u64);
    for item in items {
        put(out, item);
    }
}

/// Reads a count and as many items. Nothing is reserved for the count: each item takes bytes, which must be there.
pub(super) fn get_all<T>(
    input: &mut &[u8],
    get: impl Fn(&mut &[u8]) -> Result<T, ModelError>,
) -> Result<Vec<T>, ModelError> {
    let count = varint::get_u64(input).ok_or(cut())?;
    let mut items = Vec::new();
    for _ in 0..count {
        items.push(get(input)?);
    }
    Ok(items)
}

fn put_column(out: &mut Vec<u8>, column: &Column) {
    varint::put_u64(out, u64::from(column.id.0));
    varint::put_bytes(out, column.name.as_bytes());
    column.ty.encode(out);
}

fn get_column(input: &mut &[u8]) -> Result<Column, ModelError> {
    let id = ColumnId(varint::get_u32(input).ok_or(cut())?);
    Ok(Column {
        id,
        name: get_string(input)?,
        ty: CqlType::decode(input)?,
    })
}

pub(super) fn get_string(input: &mut &[u8]) -> Result<String, ModelError> {
    let bytes = varint::get_bytes(input).ok_or(cut())?;
    std::str::from_utf8(bytes)
        .map(str::to_string)
        .map_err(|_| ModelError::corrupt("schema text is not UTF-8"))
}

pub(super) fn get_bool(input: &mut &[u8]) -> Result<bool, ModelError> {
    match varint::get_array(input) {
        Some([0]) => Ok(false),
        Some([1]) => Ok(true),
        _ => Err(cut()),
    }
}

fn get_options(input: &mut &[u8]) -> Result<TableOptions, ModelError> {
    let mut options = TableOptions::default();
    let mut last = 0;
    while !input.is_empty() {
        let [tag] = varint::get_array(input).ok_or(cut())?;
        let mut bytes = varint::get_bytes(input).ok_or(cut())?;
        if tag <= last {
            return Err(ModelError::corrupt("schema options out of order"));
        }
        last = tag;
        let bytes = &mut bytes;
        match tag {
            option::GC_GRACE => options.gc_grace_seconds = varint::get_u32(bytes).ok_or(cut())?,
            option::DEFAULT_TTL => options.default_ttl = varint::get_u32(bytes).ok_or(cut())?,
            option::COMPRESSION => {
                options.compression = match varint::get_array(bytes) {
                    Some([0]) => Compression::None,
                    Some([1]) => Compression::Lz4,
                    _ => return Err(ModelError::corrupt("schema names an unknown compression")),
                }
            }
            option::COMMENT => {
                let text = std::str::from_utf8(bytes).map_err(|_| ModelError::corrupt("schema text is not UTF-8"))?;
                options.comment = text.to_string();
                *bytes = &[];
            }
            option::OTHER => {
                options.other = get_all(bytes, |bytes| Ok((get_string(bytes)?, get_string(bytes)?)))?;
            }
            option::TOMBSTONE_WARN => {
                options.tombstone_warn_threshold = Some(varint::get_u32(bytes).ok_or(cut())?);
            }
            option::TOMBSTONE_FAILURE => {
                options.tombstone_failure_threshold = Some(varint::get_u32(bytes).ok_or(cut())?);
            }
            option::COMPACTION => {
                let pairs = get_all(bytes, |bytes| Ok((get_string(bytes)?, get_string(bytes)?)))?;
                if !pairs.is_sorted_by(|a, b| a.0 < b.0) {
                    return Err(ModelError::corrupt("schema's compaction options out of order"));
                }
                options.compaction = pairs.into_iter().collect();
            }
            found => {
                return Err(ModelError::TooNew {
                    what: "schema option",
                    found,
                    newest_known: option::LAST,
                });
            }
        }
        if !bytes.is_empty() {
            return Err(cut());
        }
    }
    Ok(options)
}
