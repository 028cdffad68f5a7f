//! Types as `[option]`s (specification, section 4.2.5.2). What is frozen looks as what is not.

use model::{CqlType, TYPE_DEPTH_MAX, UserField, UserType};

use super::read::Reader;
use super::write::{put_string, put_u16, short_count};
use super::{Error, Result};

/// `duration` has a number of its own from version 5 on; before, Cassandra names its class.
const DURATION_CLASS: &str = "org.apache.cassandra.db.marshal.DurationType";
const CUSTOM: u16 = 0x0000;

/// Appends a type.
///
/// # Panics
/// If a tuple or user-defined type has more than 65535 fields: no schema has.
pub fn put_type(out: &mut Vec<u8>, ty: &CqlType) {
    let code = match ty {
        CqlType::Ascii => 0x0001,
        CqlType::BigInt => 0x0002,
        CqlType::Blob => 0x0003,
        CqlType::Boolean => 0x0004,
        CqlType::Decimal => 0x0006,
        CqlType::Double => 0x0007,
        CqlType::Float => 0x0008,
        CqlType::Int => 0x0009,
        CqlType::Timestamp => 0x000b,
        CqlType::Uuid => 0x000c,
        CqlType::Text => 0x000d,
        CqlType::Varint => 0x000e,
        CqlType::TimeUuid => 0x000f,
        CqlType::Inet => 0x0010,
        CqlType::Date => 0x0011,
        CqlType::Time => 0x0012,
        CqlType::SmallInt => 0x0013,
        CqlType::TinyInt => 0x0014,
        CqlType::Duration => {
            put_u16(out, CUSTOM);
            return put_string(out, DURATION_CLASS);
        }
        CqlType::List(of) => {
            put_u16(out, 0x0020);
            return put_type(out, of);
        }
        CqlType::Map(key, value) => {
            put_u16(out, 0x0021);
            put_type(out, key);
            return put_type(out, value);
        }
        CqlType::Set(of) => {
            put_u16(out, 0x0022);
            return put_type(out, of);
        }
        CqlType::Udt(of) => {
            put_u16(out, 0x0030);
            put_string(out, &of.keyspace);
            put_string(out, &of.name);
            put_u16(out, short_count(of.fields.len()));
            for field in &of.fields {
                put_string(out, &field.name);
                put_type(out, &field.ty);
            }
            return;
        }
        CqlType::Tuple(types) => {
            put_u16(out, 0x0031);
            put_u16(out, short_count(types.len()));
            return types.iter().for_each(|of| put_type(out, of));
        }
        CqlType::Frozen(of) => return put_type(out, of),
        // What is not known here is given as it is stored.
        _ => 0x0003,
    };
    put_u16(out, code);
}

/// Reads a type; nothing in it is frozen.
pub(super) fn read_type(reader: &mut Reader<'_>) -> Result<CqlType> {
    read(reader, TYPE_DEPTH_MAX)
}

fn read(reader: &mut Reader<'_>, depth: usize) -> Result<CqlType> {
    const WHAT: &str = "a type";
    let depth = depth
        .checked_sub(1)
        .ok_or(Error::Malformed("a type is nested too deeply"))?;
    Ok(match reader.u16(WHAT)? {
        CUSTOM => match reader.string()? {
            DURATION_CLASS => CqlType::Duration,
            _ => return Err(Error::Malformed("a custom type")),
        },
        0x0001 => CqlType::Ascii,
        0x0002 => CqlType::BigInt,
        0x0003 => CqlType::Blob,
        0x0004 => CqlType::Boolean,
        0x0006 => CqlType::Decimal,
        0x0007 => CqlType::Double,
        0x0008 => CqlType::Float,
        0x0009 => CqlType::Int,
        0x000b => CqlType::Timestamp,
        0x000c => CqlType::Uuid,
        0x000a | 0x000d => CqlType::Text,
        0x000e => CqlType::Varint,
        0x000f => CqlType::TimeUuid,
        0x0010 => CqlType::Inet,
        0x0011 => CqlType::Date,
        0x0012 => CqlType::Time,
        0x0013 => CqlType::SmallInt,
        0x0014 => CqlType::TinyInt,
        0x0015 => CqlType::Duration,
        0x0020 => read(reader, depth)?.list(),
        0x0021 => {
            let key = read(reader, depth)?;
            key.map(read(reader, depth)?)
        }
        0x0022 => read(reader, depth)?.set(),
        0x0030 => {
            let (keyspace, name) = (reader.string()?.to_owned(), reader.string()?.to_owned());
            let count = reader.u16(WHAT)?;
            let fields = (0..count).map(|_| {
                Ok(UserField {
                    name: reader.string()?.to_owned(),
                    ty: read(reader, depth)?,
                })
            });
            let fields = fields.collect::<Result<_>>()?;
            CqlType::udt(UserType { keyspace, name, fields })
        }
        0x0031 => {
            let count = reader.u16(WHAT)?;
            let types = (0..count).map(|_| read(reader, depth));
            CqlType::Tuple(types.collect::<Result<_>>()?)
        }
        _ => return Err(Error::Malformed("an unknown type")),
    })
}
