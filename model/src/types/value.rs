//! Values as Rust data, for tests, the command line and the embedded API; the write path works on bytes.

use std::net::IpAddr;

use super::elements::{Elements, put_elements};
use super::fields::put_field;
use super::{CqlType, Duration, Fields};
use crate::ModelError;

/// A value of some type.
///
/// [`ToCql`](crate::ToCql) and [`FromCql`](crate::FromCql) turn Rust values into it and back.
#[derive(Clone, PartialEq, Debug)]
#[non_exhaustive]
pub enum Value {
    /// No bytes: legal in every type. For text, ascii and blob it reads back as their empty value.
    Empty,
    /// `bigint`
    BigInt(i64),
    /// `int`
    Int(i32),
    /// `smallint`
    SmallInt(i16),
    /// `tinyint`
    TinyInt(i8),
    /// `boolean`
    Boolean(bool),
    /// `float`
    Float(f32),
    /// `double`
    Double(f64),
    /// `text`
    Text(String),
    /// `ascii`
    Ascii(String),
    /// `blob`
    Blob(Vec<u8>),
    /// `uuid`
    Uuid(uuid::Uuid),
    /// `timeuuid`
    TimeUuid(uuid::Uuid),
    /// `timestamp`: milliseconds since the Unix epoch
    Timestamp(i64),
    /// `date`: days, 1970-01-01 being 2^31
    Date(u32),
    /// `time`: nanoseconds since midnight
    Time(i64),
    /// `inet`
    Inet(IpAddr),
    /// `varint`: big-endian two's complement, as it came
    Varint(Vec<u8>),
    /// `decimal`: `unscaled * 10^-scale`
    Decimal {
        /// Digits behind the point.
        scale: i32,
        /// Big-endian two's complement, as it came.
        unscaled: Vec<u8>,
    },
    /// `duration`
    Duration(Duration),
    /// `list<>`, frozen or not
    List(Vec<Value>),
    /// `set<>`, frozen or not
    Set(Vec<Value>),
    /// `map<>`, frozen or not
    Map(Vec<(Value, Value)>),
    /// `tuple<>` or a user-defined type: its fields; those missing at the end are null.
    Tuple(Vec<Option<Value>>),
}

impl Value {
    /// The value's CQL bytes, sets and maps sorted, each element once.
    ///
    /// # Errors
    /// [`ModelError::Value`] if it is not a legal value of `ty`.
    pub fn encode(&self, ty: &CqlType) -> Result<Vec<u8>, ModelError> {
        let bytes = self.bytes(ty)?;
        Ok(ty.canonical(&bytes)?.into_owned())
    }

    fn bytes(&self, ty: &CqlType) -> Result<Vec<u8>, ModelError> {
        Ok(match (self, ty.unfrozen()) {
            (Value::Empty, _) => Vec::new(),
            (Value::BigInt(v), CqlType::BigInt) | (Value::Timestamp(v), CqlType::Timestamp) => v.to_be_bytes().to_vec(),
            (Value::Int(v), CqlType::Int) => v.to_be_bytes().to_vec(),
            (Value::SmallInt(v), CqlType::SmallInt) => v.to_be_bytes().to_vec(),
            (Value::TinyInt(v), CqlType::TinyInt) => v.to_be_bytes().to_vec(),
            (Value::Boolean(v), CqlType::Boolean) => vec![u8::from(*v)],
            (Value::Float(v), CqlType::Float) => v.to_be_bytes().to_vec(),
            (Value::Double(v), CqlType::Double) => v.to_be_bytes().to_vec(),
            (Value::Text(v), CqlType::Text) | (Value::Ascii(v), CqlType::Ascii) => v.as_bytes().to_vec(),
            (Value::Blob(v), CqlType::Blob) => v.clone(),
            (Value::Uuid(v), CqlType::Uuid) | (Value::TimeUuid(v), CqlType::TimeUuid) => v.as_bytes().to_vec(),
            (Value::Date(v), CqlType::Date) => v.to_be_bytes().to_vec(),
            (Value::Time(v), CqlType::Time) => v.to_be_bytes().to_vec(),
            (Value::Inet(IpAddr::V4(v)), CqlType::Inet) => v.octets().to_vec(),
            (Value::Inet(IpAddr::V6(v)), CqlType::Inet) => v.octets().to_vec(),
            (Value::Varint(v), CqlType::Varint) => v.clone(),
            (Value::Duration(v), CqlType::Duration) => v.encode(),
            (Value::Decimal { scale, unscaled }, CqlType::Decimal) => [&scale.to_be_bytes()[..], unscaled].concat(),
            (Value::Tuple(fields), of @ (CqlType::Tuple(_) | CqlType::Udt(_))) => {
                let types = of.fields().unwrap_or_default();
                if fields.len() > types.len() {
                    return Err(ModelError::Value {
                        ty: ty.keyword(),
                        what: "more after the last field",
                    });
                }
                let mut out = Vec::new();
                for (field, ty) in fields.iter().zip(types) {
                    let bytes = field.as_ref().map(|field| field.bytes(ty)).transpose()?;
                    put_field(&mut out, bytes.as_deref());
                }
                out
            }
            (Value::List(elements), CqlType::List(of)) | (Value::Set(elements), CqlType::Set(of)) => {
                let elements = elements.iter().map(|e| e.bytes(of)).collect::<Result<Vec<_>, _>>()?;
                collection(elements.len(), &elements)
            }
            (Value::Map(entries), CqlType::Map(key, value)) => {
                let mut elements = Vec::with_capacity(entries.len() * 2);
                for (k, v) in entries {
                    elements.push(k.bytes(key)?);
                    elements.push(v.bytes(value)?);
                }
                collection(entries.len(), &elements)
            }
            _ => {
                return Err(ModelError::Value {
                    ty: ty.keyword(),
                    what: "a value of another type",
                });
            }
        })
    }

    /// Reads a value from its CQL bytes.
    ///
    /// # Errors
    /// [`ModelError::Value`] if `bytes` are not a legal value of `ty`.
    pub fn decode(ty: &CqlType, bytes: &[u8]) -> Result<Value, ModelError> {
        ty.validate(bytes)?;
        Self::read(ty, bytes).ok_or(ModelError::Value {
            ty: ty.keyword(),
            what: "not a value of the type",
        })
    }

    fn read(ty: &CqlType, bytes: &[u8]) -> Option<Value> {
        let text = || String::from_utf8(bytes.to_vec()).ok();
        Some(match ty.unfrozen() {
            CqlType::Text => Value::Text(text()?),
            CqlType::Ascii => Value::Ascii(text()?),
            CqlType::Blob => Value::Blob(bytes.to_vec()),
            _ if bytes.is_empty() => Value::Empty,
            CqlType::BigInt => Value::BigInt(i64::from_be_bytes(bytes.try_into().ok()?)),
            CqlType::Timestamp => Value::Timestamp(i64::from_be_bytes(bytes.try_into().ok()?)),
            CqlType::Int => Value::Int(i32::from_be_bytes(bytes.try_into().ok()?)),
            CqlType::SmallInt => Value::SmallInt(i16::from_be_bytes(bytes.try_into().ok()?)),
            CqlType::TinyInt => Value::TinyInt(i8::from_be_bytes(bytes.try_into().ok()?)),
            CqlType::Boolean => Value::Boolean(*bytes.first()? != 0),
            CqlType::Float => Value::Float(f32::from_be_bytes(bytes.try_into().ok()?)),
            CqlType::Double => Value::Double(f64::from_be_bytes(bytes.try_into().ok()?)),
            CqlType::Uuid => Value::Uuid(uuid::Uuid::from_slice(bytes).ok()?),
            CqlType::TimeUuid => Value::TimeUuid(uuid::Uuid::from_slice(bytes).ok()?),
            CqlType::Date => Value::Date(u32::from_be_bytes(bytes.try_into().ok()?)),
            CqlType::Time => Value::Time(i64::from_be_bytes(bytes.try_into().ok()?)),
            CqlType::Inet => Value::Inet(match <[u8; 4]>::try_from(bytes) {
                Ok(v4) => IpAddr::from(v4),
                Err(_) => IpAddr::from(<[u8; 16]>::try_from(bytes).ok()?),
            }),
            CqlType::Varint => Value::Varint(bytes.to_vec()),
            CqlType::Decimal => {
                let (scale, unscaled) = bytes.split_first_chunk::<4>()?;
                Value::Decimal {
                    scale: i32::from_be_bytes(*scale),
                    unscaled: unscaled.to_vec(),
                }
            }
            of @ (CqlType::Tuple(_) | CqlType::Udt(_)) => {
                let (mut rest, mut fields) = (Fields::new(bytes), Vec::new());
                for ty in of.fields().unwrap_or_default() {
                    match rest.take().ok()? {
                        Some(Some(field)) => fields.push(Some(Value::read(ty, field)?)),
                        Some(None) => fields.push(None),
                        None => break,
                    }
                }
                Value::Tuple(fields)
            }
            CqlType::Duration => Value::Duration(Duration::decode(bytes)?),
            CqlType::List(of) => Value::List(read_elements(bytes, &[of])?),
            CqlType::Set(of) => Value::Set(read_elements(bytes, &[of])?),
            CqlType::Map(key, value) => {
                let mut elements = read_elements(bytes, &[key, value])?.into_iter();
                let mut entries = Vec::with_capacity(elements.len() / 2);
                while let (Some(key), Some(value)) = (elements.next(), elements.next()) {
                    entries.push((key, value));
                }
                Value::Map(entries)
            }
            CqlType::Frozen(_) => return None, // `unfrozen` leaves none
        })
    }
}

fn collection(count: usize, elements: &[Vec<u8>]) -> Vec<u8> {
    let mut out = Vec::new();
    put_elements(&mut out, count, elements.iter().map(Vec::as_slice));
    out
}

fn read_elements(bytes: &[u8], types: &[&CqlType]) -> Option<Vec<Value>> {
    let mut elements = Elements::new(bytes, types.len() as u64)?;
    let mut values = Vec::new();
    for ty in types.iter().cycle() {
        match elements.take().ok()? {
            Some(element) => values.push(Value::read(ty, element)?),
            None => break,
        }
    }
    Some(values)
}
