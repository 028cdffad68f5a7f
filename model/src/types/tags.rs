//! Types as bytes: a tag, then the types inside. The numbers are the native protocol's option ids where it has one.

use super::{CqlType, TYPE_DEPTH_MAX};
use crate::ModelError;

/// `docs/format/types.md` lists them all, those reserved for types that are not served yet included.
mod tag {
    pub(super) const ASCII: u8 = 0x01;
    pub(super) const BIGINT: u8 = 0x02;
    pub(super) const BLOB: u8 = 0x03;
    pub(super) const BOOLEAN: u8 = 0x04;
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
            CqlType::Inet => tag::INET,
            CqlType::Date => tag::DATE,
            CqlType::Time => tag::TIME,
            CqlType::Duration => tag::DURATION,
            CqlType::List(_) => tag::LIST,
            CqlType::Map(..) => tag::MAP,
            CqlType::Set(_) => tag::SET,
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
            tag => return Err(ModelError::UnknownType { tag }),
        })
    }
}
