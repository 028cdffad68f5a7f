//! Which bytes are a value of a type.

use super::{CqlType, Duration, Elements, Fields, decimal};
use crate::ModelError;

/// The last nanosecond of a day.
const DAY_NANOS_MAX: u64 = 86_400_000_000_000 - 1;

impl CqlType {
    /// Whether `value` is a legal value, as Cassandra accepts it: the right length (an empty value is legal everywhere but in a duration),
    /// UTF-8 for `text`, version 1 for `timeuuid`, legal elements without nulls and nothing after them for collections, legal fields,
    /// any of them null or missing at the end, for tuples and user-defined types.
    ///
    /// # Errors
    /// [`ModelError::Value`]: the request must be corrected.
    pub fn validate(&self, value: &[u8]) -> Result<(), ModelError> {
        let refuse = |what| {
            Err(ModelError::Value {
                ty: self.keyword(),
                what,
            })
        };
        if value.is_empty() && *self != CqlType::Duration {
            return Ok(());
        }
        match self {
            CqlType::BigInt | CqlType::Double | CqlType::Timestamp | CqlType::Time if value.len() != 8 => {
                refuse("not 8 bytes")
            }
            CqlType::Int | CqlType::Float | CqlType::Date if value.len() != 4 => refuse("not 4 bytes"),
            CqlType::Inet if ![4, 16].contains(&value.len()) => refuse("not 4 or 16 bytes"),
            CqlType::Time if value > &DAY_NANOS_MAX.to_be_bytes()[..] => refuse("not within a day"),
            CqlType::Duration if Duration::decode(value).is_none() => {
                refuse("not months, days and nanoseconds of one sign")
            }
            CqlType::SmallInt if value.len() != 2 => refuse("not 2 bytes"),
            CqlType::TinyInt | CqlType::Boolean if value.len() != 1 => refuse("not 1 byte"),
            CqlType::Uuid | CqlType::TimeUuid if value.len() != 16 => refuse("not 16 bytes"),
            CqlType::TimeUuid if value[6] >> 4 != 1 => refuse("not a uuid of version 1"),
            CqlType::Text if std::str::from_utf8(value).is_err() => refuse("not UTF-8"),
            CqlType::Ascii if !value.is_ascii() => refuse("a byte above 0x7f"),
            CqlType::List(of) | CqlType::Set(of) => self.validate_elements(value, &[of]),
            CqlType::Map(key, of) => self.validate_elements(value, &[key, of]),
            CqlType::Decimal => decimal::fault(value).map_or(Ok(()), refuse),
            CqlType::Tuple(types) => self.validate_fields(value, types.iter()),
            CqlType::Udt(ty) => self.validate_fields(value, ty.types()),
            CqlType::Frozen(inner) => inner.validate(value),
            _ => Ok(()),
        }
    }

    fn validate_fields<'t>(&self, value: &[u8], types: impl Iterator<Item = &'t CqlType>) -> Result<(), ModelError> {
        let refuse = |what| {
            Err(ModelError::Value {
                ty: self.keyword(),
                what,
            })
        };
        let mut fields = Fields::new(value);
        for ty in types {
            match fields.take() {
                Ok(Some(Some(field))) => ty.validate(field)?,
                Ok(Some(None)) => {}
                Ok(None) => return Ok(()),
                Err(_) => return refuse("a field that is cut"),
            }
        }
        match fields.take() {
            Ok(None) => Ok(()),
            _ => refuse("more after the last field"),
        }
    }

    fn validate_elements(&self, value: &[u8], types: &[&CqlType]) -> Result<(), ModelError> {
        let malformed = ModelError::Value {
            ty: self.keyword(),
            what: "not a count and as many elements",
        };
        let Some(mut elements) = Elements::new(value, types.len() as u64) else {
            return Err(malformed);
        };
        for ty in types.iter().cycle() {
            match elements.take() {
                Ok(Some(element)) => ty.validate(element)?,
                Ok(None) => break,
                Err(_) => return Err(malformed),
            }
        }
        Ok(())
    }
}
