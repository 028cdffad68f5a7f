//! Types as bytes: a tag, then the types inside. The numbers are the native protocol's option ids where it has one.

use super::{CqlType, TYPE_DEPTH_MAX, UserField, UserType};
use crate::{ModelError, varint};

/// `docs/format/types.md` lists them all, those reserved for types that are not served yet included.
mod tag {
    pub(super) const ASCII: u8 = 0x01;
    pub(super) const BIGINT: u8 = 0x02;
    pub(super) const BLOB: u8 = 0x03;
    pub(super) const BOOLEAN: u8 = 0x04;
    pub(super) const DECIMAL: u8 = 0x06;
    pub(super) const DOUBLE: u8 = 0x07;
    pub(super) const FLOAT: u8 = 0x08;
    pub(super) const INT: u8 = 0x09;
    pub(super) const TIMESTAMP: u8 = 0x0b;
    pub(super) const UUID: u8 = 0x0c;
    pub(super) const TEXT: u8 = 0x0d;
    pub(super) const VARINT: u8 = 0x0e;
    pub(super) const TIMEUUID: u8 = 0x0f;
    pub(super) const INET: u8 = 0x10;
    pub(super) const DATE: u8 = 0x11;
    pub(super) const TIME: u8 = 0x12;
    pub(super) const SMALLINT: u8 = 0x13;
    pub(super) const TINYINT: u8 = 0x14;
    pub(super) const DURATION: u8 = 0x15;
    pub(super) const LIST: u8 = 0x20;
    pub(super) const MAP: u8 = 0x21;
    pub(super) const SET: u8 = 0x22;
    pub(super) const UDT: u8 = 0x30;
    pub(super) const TUPLE: u8 = 0x31;
    pub(super) const FROZEN: u8 = 0x80;
}

impl CqlType {
    /// The stable tag of the outermost type.
    pub fn tag(&self) -> u8 {
        match self {
            CqlType::Ascii => tag::ASCII,
            CqlType::BigInt => tag::BIGINT,
            CqlType::Blob => tag::BLOB,
            CqlType::Boolean => tag::BOOLEAN,
            CqlType::Double => tag::DOUBLE,
            CqlType::Float => tag::FLOAT,
            CqlType::Int => tag::INT,
            CqlType::Timestamp => tag::TIMESTAMP,
            CqlType::Uuid => tag::UUID,
            CqlType::Text => tag::TEXT,
            CqlType::TimeUuid => tag::TIMEUUID,
            CqlType::SmallInt => tag::SMALLINT,
            CqlType::TinyInt => tag::TINYINT,
            CqlType::Varint => tag::VARINT,
            CqlType::Decimal => tag::DECIMAL,
            CqlType::Inet => tag::INET,
            CqlType::Date => tag::DATE,
            CqlType::Time => tag::TIME,
            CqlType::Duration => tag::DURATION,
            CqlType::List(_) => tag::LIST,
            CqlType::Map(..) => tag::MAP,
            CqlType::Set(_) => tag::SET,
            CqlType::Tuple(_) => tag::TUPLE,
            CqlType::Udt(_) => tag::UDT,
            CqlType::Frozen(_) => tag::FROZEN,
        }
    }

    /// Appends the type's bytes (`docs/format/types.md`).
    pub fn encode(&self, out: &mut Vec<u8>) {
        out.push(self.tag());
        match self {
            CqlType::List(of) | CqlType::Set(of) | CqlType::Frozen(of) => of.encode(out),
            CqlType::Map(key, value) => {
                key.encode(out);
                value.encode(out);
            }
            CqlType::Tuple(types) => {
                varint::put_u64(out, types.len() as u64);
                types.iter().for_each(|ty| ty.encode(out));
            }
            CqlType::Udt(ty) => {
                varint::put_bytes(out, ty.keyspace.as_bytes());
                varint::put_bytes(out, ty.name.as_bytes());
                varint::put_u64(out, ty.fields.len() as u64);
                for field in &ty.fields {
                    varint::put_bytes(out, field.name.as_bytes());
                    field.ty.encode(out);
                }
            }
            _ => {}
        }
    }

    /// Takes a type off the front of `input`.
    ///
    /// # Errors
    /// [`ModelError::UnknownType`] for a tag that this release does not serve, [`ModelError::Corrupt`] if the bytes are
    /// cut or nested more than [`TYPE_DEPTH_MAX`] deep.
    pub fn decode(input: &mut &[u8]) -> Result<CqlType, ModelError> {
        let mut rest = *input;
        let ty = Self::decode_within(&mut rest, TYPE_DEPTH_MAX)?;
        *input = rest;
        Ok(ty)
    }

    fn decode_within(input: &mut &[u8], depth: usize) -> Result<CqlType, ModelError> {
        let (&tag, rest) = input.split_first().ok_or(ModelError::corrupt("type is cut"))?;
        *input = rest;
        let depth = depth
            .checked_sub(1)
            .ok_or(ModelError::corrupt("type is nested too deeply"))?;
        Ok(match tag {
            tag::ASCII => CqlType::Ascii,
            tag::BIGINT => CqlType::BigInt,
            tag::BLOB => CqlType::Blob,
            tag::BOOLEAN => CqlType::Boolean,
            tag::DOUBLE => CqlType::Double,
            tag::FLOAT => CqlType::Float,
            tag::INT => CqlType::Int,
            tag::TIMESTAMP => CqlType::Timestamp,
            tag::UUID => CqlType::Uuid,
            tag::TEXT => CqlType::Text,
            tag::TIMEUUID => CqlType::TimeUuid,
            tag::SMALLINT => CqlType::SmallInt,
            tag::TINYINT => CqlType::TinyInt,
            tag::VARINT => CqlType::Varint,
            tag::DECIMAL => CqlType::Decimal,
            tag::INET => CqlType::Inet,
            tag::DATE => CqlType::Date,
            tag::TIME => CqlType::Time,
            tag::DURATION => CqlType::Duration,
            tag::LIST => Self::decode_within(input, depth)?.list(),
            tag::SET => Self::decode_within(input, depth)?.set(),
            tag::FROZEN => Self::decode_within(input, depth)?.frozen(),
            tag::MAP => {
                let key = Self::decode_within(input, depth)?;
                key.map(Self::decode_within(input, depth)?)
            }
            tag::TUPLE => {
                // Nothing is reserved for the count: each type takes bytes, which must be there.
                let mut types = Vec::new();
                for _ in 0..Self::decode_count(input)? {
                    types.push(Self::decode_within(input, depth)?);
                }
                CqlType::Tuple(types)
            }
            tag::UDT => {
                let (keyspace, name) = (decode_name(input)?, decode_name(input)?);
                let mut fields = Vec::new();
                for _ in 0..Self::decode_count(input)? {
                    let name = decode_name(input)?;
                    let ty = Self::decode_within(input, depth)?;
                    fields.push(UserField { name, ty });
                }
                CqlType::udt(UserType { keyspace, name, fields })
            }
            tag => return Err(ModelError::UnknownType { tag }),
        })
    }

    fn decode_count(input: &mut &[u8]) -> Result<u64, ModelError> {
        varint::get_u64(input).ok_or(ModelError::corrupt("type is cut"))
    }
}

fn decode_name(input: &mut &[u8]) -> Result<String, ModelError> {
    let bytes = varint::get_bytes(input).ok_or(ModelError::corrupt("type is cut"))?;
    let text = std::str::from_utf8(bytes).map_err(|_| ModelError::corrupt("a type's name is not UTF-8"))?;
    Ok(text.to_owned())
}
