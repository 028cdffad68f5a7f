//! Values to order-preserving bytes.

use super::{
    DECIMAL_SIGNS, END_OF_BYTES, END_OF_ELEMENTS, ESCAPE, MARKER_EMPTY, MARKER_NULL, MARKER_VALUE, NAN_32, NAN_64,
    VARINT_LONG, VARINT_ZERO,
};
use crate::types::{Elements, Fields, TIMEUUID_SIGN_FLIP, decimal, integer, reorder_time};
use crate::{CqlType, ModelError};

/// Appends the component of one value; `descending` inverts its order.
///
/// # Errors
/// [`ModelError::Value`] if `value` is not a legal value of `ty`; `out` may then have grown.
#[inline]
pub(crate) fn encode_component(
    ty: &CqlType,
    value: &[u8],
    descending: bool,
    out: &mut Vec<u8>,
) -> Result<(), ModelError> {
    let start = out.len();
    ascending(ty, value, out)?;
    if descending {
        for byte in &mut out[start..] {
            *byte = !*byte;
        }
    }
    Ok(())
}

fn ascending(ty: &CqlType, value: &[u8], out: &mut Vec<u8>) -> Result<(), ModelError> {
    if value.is_empty() {
        out.push(MARKER_EMPTY);
        return Ok(());
    }
    match ty {
        CqlType::Frozen(inner) => return ascending(inner, value, out),
        CqlType::List(of) | CqlType::Set(of) => return elements(ty, value, &[of], out),
        CqlType::Map(key, of) => return elements(ty, value, &[key, of], out),
        CqlType::Tuple(types) => return fields(ty, value, types.iter(), out),
        CqlType::Udt(of) => return fields(ty, value, of.types(), out),
        _ => ty.validate(value)?,
    }
    out.push(MARKER_VALUE);
    match ty {
        CqlType::BigInt | CqlType::Timestamp | CqlType::Int | CqlType::SmallInt | CqlType::TinyInt => {
            out.push(value[0] ^ 0x80);
            out.extend_from_slice(&value[1..]);
        }
        CqlType::Boolean => out.push(u8::from(value[0] != 0)),
        CqlType::Float => {
            let bits = value.iter().fold(0, |bits, &byte| bits << 8 | u32::from(byte));
            let bits = if f32::from_bits(bits).is_nan() { NAN_32 } else { bits };
            let flip = if bits >> 31 == 1 { u32::MAX } else { 1 << 31 };
            out.extend_from_slice(&(bits ^ flip).to_be_bytes());
        }
        CqlType::Double => {
            let bits = value.iter().fold(0, |bits, &byte| bits << 8 | u64::from(byte));
            let bits = if f64::from_bits(bits).is_nan() { NAN_64 } else { bits };
            let flip = if bits >> 63 == 1 { u64::MAX } else { 1 << 63 };
            out.extend_from_slice(&(bits ^ flip).to_be_bytes());
        }
        CqlType::Text | CqlType::Ascii | CqlType::Blob | CqlType::Inet => escaped(value, out),
        CqlType::Date | CqlType::Time => out.extend_from_slice(value),
        CqlType::Varint => varint(value, out),
        CqlType::Decimal => decimal(value, out),
        CqlType::Uuid => {
            let (high, low) = halves(value);
            // The version comes first; the rest of the upper half keeps its order, or is put in the order of time.
            let high = match (high >> 12) & 0xf {
                1 => reorder_time(high),
                version => version << 60 | (high >> 16) << 12 | (high & 0xfff),
            };
            out.extend_from_slice(&high.to_be_bytes());
            out.extend_from_slice(&low.to_be_bytes());
        }
        CqlType::TimeUuid => {
            let (high, low) = halves(value);
            out.extend_from_slice(&reorder_time(high).to_be_bytes());
            out.extend_from_slice(&(low ^ TIMEUUID_SIGN_FLIP).to_be_bytes());
        }
        CqlType::Duration => {
            let what = "without an order, in a key";
            return Err(ModelError::Value { ty: ty.keyword(), what });
        }
        CqlType::List(_) | CqlType::Set(_) | CqlType::Map(..) => {} // done above
        CqlType::Tuple(_) | CqlType::Udt(_) | CqlType::Frozen(_) => {}
    }
    Ok(())
}

fn halves(value: &[u8]) -> (u64, u64) {
    let bits = value.iter().fold(0u128, |bits, &byte| bits << 8 | u128::from(byte));
    ((bits >> 64) as u64, bits as u64)
}

/// The length, then the fewest bytes of the number: a longer one is further from zero. Of negative ones the length is inverted.
fn varint(value: &[u8], out: &mut Vec<u8>) {
    let value = integer::minimal(value);
    let start = out.len();
    match u8::try_from(value.len()).ok().filter(|len| *len < VARINT_LONG) {
        Some(len) => out.push(VARINT_ZERO + len),
        None => {
            out.push(VARINT_ZERO + VARINT_LONG);
            out.extend_from_slice(&(value.len() as u32).to_be_bytes());
        }
    }
    if integer::is_negative(value) {
        out[start..].iter_mut().for_each(|byte| *byte = !*byte);
    }
    out.extend_from_slice(value);
}

/// The sign, then exponent and digits; of negative ones these are inverted.
fn decimal(value: &[u8], out: &mut Vec<u8>) {
    let [below, zero, above] = DECIMAL_SIGNS;
    let Some(number) = decimal::digits(value) else {
        return out.push(zero);
    };
    out.push(if number.negative { below } else { above });
    let start = out.len();
    out.extend_from_slice(&(number.exponent ^ i32::MIN).to_be_bytes());
    out.extend(number.digits.iter().map(|digit| digit + 1));
    out.push(END_OF_BYTES);
    if number.negative {
        out[start..].iter_mut().for_each(|byte| *byte = !*byte);
    }
}

fn fields<'t>(
    ty: &CqlType,
    value: &[u8],
    types: impl Iterator<Item = &'t CqlType>,
    out: &mut Vec<u8>,
) -> Result<(), ModelError> {
    let malformed = |what| ModelError::Value { ty: ty.keyword(), what };
    out.push(MARKER_VALUE);
    let mut fields = Fields::new(value);
    let mut nulls = 0;
    for ty in types {
        match fields.take() {
            Ok(Some(Some(field))) => {
                out.extend(std::iter::repeat_n(MARKER_NULL, std::mem::take(&mut nulls)));
                ascending(ty, field, out)?;
            }
            Ok(Some(None)) => nulls += 1,
            Ok(None) => break,
            Err(_) => return Err(malformed("a field that is cut")),
        }
    }
    if !matches!(fields.take(), Ok(None)) {
        return Err(malformed("more after the last field"));
    }
    out.push(END_OF_ELEMENTS);
    Ok(())
}

fn escaped(value: &[u8], out: &mut Vec<u8>) {
    if value.iter().all(|&byte| byte > ESCAPE) {
        out.extend_from_slice(value);
    } else {
        for &byte in value {
            if byte <= ESCAPE {
                out.extend_from_slice(&[ESCAPE, byte + 1]);
            } else {
                out.push(byte);
            }
        }
    }
    out.push(END_OF_BYTES);
}

fn elements(ty: &CqlType, value: &[u8], types: &[&CqlType], out: &mut Vec<u8>) -> Result<(), ModelError> {
    let malformed = ModelError::Value {
        ty: ty.keyword(),
        what: "not a count and as many elements",
    };
    out.push(MARKER_VALUE);
    let Some(mut elements) = Elements::new(value, types.len() as u64) else {
        return Err(malformed);
    };
    for ty in types.iter().cycle() {
        match elements.take() {
            Ok(Some(element)) => ascending(ty, element, out)?,
            Ok(None) => break,
            Err(_) => return Err(malformed),
        }
    }
    out.push(END_OF_ELEMENTS);
    Ok(())
}

impl CqlType {
    /// Appends the path of a collection's element (`CellRef::path`): `value` in the order-preserving encoding, so that
    /// elements sort as the type's comparator has them. `self` is the element's type: a set's, a map's keys', or
    /// `timeuuid` for a list.
    ///
    /// # Errors
    /// [`ModelError::Value`] if `value` is not a legal value of the type; `out` may then have grown.
    pub fn encode_path(&self, value: &[u8], out: &mut Vec<u8>) -> Result<(), ModelError> {
        encode_component(self, value, false, out)
    }

    /// The value of a path.
    ///
    /// # Errors
    /// [`ModelError::Corrupt`] if `path` is not exactly one encoded value of the type.
    pub fn decode_path(&self, path: &[u8]) -> Result<Vec<u8>, ModelError> {
        super::decode_path(self, path)
    }
}
