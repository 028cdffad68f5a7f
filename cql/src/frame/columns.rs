//! Columns of results and markers of statements, encoded once and copied into every answer.

use model::CqlType;

use super::read::Reader;
use super::types::{put_type, read_type};
use super::write::{put_i32, put_string};
use super::{Error, Result};

/// A column of a result, or a marker of a statement.
#[derive(Clone, Copy, Debug)]
pub struct Column<'a> {
    /// The keyspace of the table.
    pub keyspace: &'a str,
    /// The table.
    pub table: &'a str,
    /// The column, or what stands for it: an alias, the text of a function call, the name of a marker.
    pub name: &'a str,
    /// The type of its values.
    pub ty: &'a CqlType,
}

pub(super) mod flags {
    pub(crate) const GLOBAL: i32 = 0x0001;
    pub(crate) const MORE: i32 = 0x0002;
    pub(crate) const NO_METADATA: i32 = 0x0004;
}

/// Encoded columns.
///
/// A prepared statement keeps it; each answer copies the bytes.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Metadata {
    count: u32,
    global: bool,
    bytes: Box<[u8]>,
}

impl Metadata {
    /// Encodes columns; the table is named once if it is the same for all.
    ///
    /// # Panics
    /// If there are more than `i32::MAX`.
    #[must_use]
    pub fn new<'a>(columns: impl IntoIterator<Item = Column<'a>, IntoIter: Clone>) -> Metadata {
        let columns = columns.into_iter();
        let first = columns.clone().next();
        let global = first.filter(|first| {
            let same = |of: Column<'_>| (of.keyspace, of.table) == (first.keyspace, first.table);
            columns.clone().all(same)
        });
        let mut bytes = Vec::new();
        if let Some(first) = global {
            put_string(&mut bytes, first.keyspace);
            put_string(&mut bytes, first.table);
        }
        let mut count = 0;
        for column in columns {
            if global.is_none() {
                put_string(&mut bytes, column.keyspace);
                put_string(&mut bytes, column.table);
            }
            put_string(&mut bytes, column.name);
            put_type(&mut bytes, column.ty);
            count += 1;
        }
        assert!(count <= i32::MAX as u32, "columns are counted in 31 bits");
        Metadata {
            count,
            global: global.is_some(),
            bytes: bytes.into(),
        }
    }

    /// How many columns there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.count as usize
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.count == 0
    }

    fn flags(&self) -> i32 {
        if self.global { flags::GLOBAL } else { 0 }
    }

    /// As `Rows` and the result of `Prepared` have it, without pages.
    pub(super) fn put(&self, out: &mut Vec<u8>, skip: bool) {
        if skip {
            put_i32(out, flags::NO_METADATA);
            put_i32(out, self.count as i32);
        } else {
            out.reserve(8 + self.bytes.len());
            put_i32(out, self.flags());
            put_i32(out, self.count as i32);
            out.extend_from_slice(&self.bytes);
        }
    }

    /// As the markers of `Prepared` have it.
    pub(super) fn put_markers(&self, out: &mut Vec<u8>, key: &[u16], marks: i32) {
        put_i32(out, self.flags() | marks);
        put_i32(out, self.count as i32);
        put_i32(out, i32::try_from(key.len()).expect("a key has few columns"));
        for index in key {
            out.extend_from_slice(&index.to_be_bytes());
        }
        out.extend_from_slice(&self.bytes);
    }
}

/// A column that a server named.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct NamedColumn<'a> {
    /// The keyspace of the table.
    pub keyspace: &'a str,
    /// The table.
    pub table: &'a str,
    /// The column.
    pub name: &'a str,
    /// The type of its values; nothing in it is frozen.
    pub ty: CqlType,
}

/// Reads columns, of which at most as many are there as bytes follow.
pub(super) fn read_columns<'a>(reader: &mut Reader<'a>, count: u32, global: bool) -> Result<Vec<NamedColumn<'a>>> {
    let table = if global && count > 0 {
        Some((reader.string()?, reader.string()?))
    } else {
        None
    };
    let mut columns = Vec::new();
    for _ in 0..count {
        let (keyspace, table) = match table {
            Some(table) => table,
            None => (reader.string()?, reader.string()?),
        };
        columns.push(NamedColumn {
            keyspace,
            table,
            name: reader.string()?,
            ty: read_type(reader)?,
        });
    }
    Ok(columns)
}

/// Reads a count that is not negative.
pub(super) fn read_count(reader: &mut Reader<'_>, what: &'static str) -> Result<u32> {
    u32::try_from(reader.i32(what)?).map_err(|_| Error::Malformed("a count is negative"))
}
