//! Order-preserving bytes back to values. Only what the encoder writes is read.

use super::{
    DECIMAL_SIGNS, END_OF_BYTES, END_OF_ELEMENTS, ESCAPE, MARKER_EMPTY, MARKER_NULL, MARKER_VALUE, NAN_32, NAN_64,
    VARINT_LONG, VARINT_ZERO,
};
use crate::types::{TIMEUUID_SIGN_FLIP, decimal, integer, put_field, reorder_back_time};
use crate::{CqlType, ModelError};

/// The bytes of a component, inverted on the way if it is `DESC`.
struct Reader<'a> {
    rest: &'a [u8],
    mask: u8,
}

impl Reader<'_> {
    #[inline]
    fn byte(&mut self) -> Option<u8> {
        let (&byte, rest) = self.rest.split_first()?;
        self.rest = rest;
        Some(byte ^ self.mask)
    }

    #[inline]
    fn array<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (bytes, rest) = self.rest.split_first_chunk::<N>()?;
        self.rest = rest;
        Some(bytes.map(|byte| byte ^ self.mask))
    }
}

/// Takes one component off the front of `input` and gives its value.
///
/// # Errors
/// [`ModelError::Corrupt`] if the bytes are not one; `input` is then as it was.
pub(crate) fn decode_component(ty: &CqlType, descending: bool, input: &mut &[u8]) -> Result<Vec<u8>, ModelError> {
    let mut value = Vec::new();
    decode_component_into(ty, descending, input, &mut value)?;
    Ok(value)
}

/// As [`decode_component`], at the end of `out` (which may have grown after an error).
pub(crate) fn decode_component_into(
    ty: &CqlType,
    descending: bool,
    input: &mut &[u8],
    out: &mut Vec<u8>,
) -> Result<(), ModelError> {
    let mut reader = Reader {
        rest: input,
        mask: if descending { 0xff } else { 0 },
    };
    component(ty, &mut reader, out).ok_or(ModelError::corrupt("clustering component"))?;
    *input = reader.rest;
    Ok(())
}

pub(crate) fn decode_path(ty: &CqlType, mut path: &[u8]) -> Result<Vec<u8>, ModelError> {
    let value = decode_component(ty, false, &mut path)?;
    if path.is_empty() {
        Ok(value)
    } else {
        Err(ModelError::corrupt("bytes after the path of an element"))
    }
}

fn component(ty: &CqlType, reader: &mut Reader<'_>, out: &mut Vec<u8>) -> Option<()> {
    let marker = reader.byte()?;
    after_marker(marker, ty, reader, out)
}

fn after_marker(marker: u8, ty: &CqlType, reader: &mut Reader<'_>, out: &mut Vec<u8>) -> Option<()> {
    match marker {
        MARKER_EMPTY => return Some(()),
        MARKER_VALUE => {}
        _ => return None,
    }
    match ty {
        CqlType::BigInt | CqlType::Timestamp => out.extend_from_slice(&integer(reader.array::<8>()?)),
        CqlType::Int => out.extend_from_slice(&integer(reader.array::<4>()?)),
        CqlType::SmallInt => out.extend_from_slice(&integer(reader.array::<2>()?)),
        CqlType::TinyInt => out.extend_from_slice(&integer(reader.array::<1>()?)),
        CqlType::Boolean => match reader.byte()? {
            byte @ (0 | 1) => out.push(byte),
            _ => return None,
        },
        CqlType::Float => {
            let bits = u32::from_be_bytes(reader.array()?);
            let bits = bits ^ if bits >> 31 == 1 { 1 << 31 } else { u32::MAX };
            if f32::from_bits(bits).is_nan() && bits != NAN_32 {
                return None;
            }
            out.extend_from_slice(&bits.to_be_bytes());
        }
        CqlType::Double => {
            let bits = u64::from_be_bytes(reader.array()?);
            let bits = bits ^ if bits >> 63 == 1 { 1 << 63 } else { u64::MAX };
            if f64::from_bits(bits).is_nan() && bits != NAN_64 {
                return None;
            }
            out.extend_from_slice(&bits.to_be_bytes());
        }
        CqlType::Date => out.extend_from_slice(&reader.array::<4>()?),
        CqlType::Time => {
            let nanos = reader.array::<8>()?;
            ty.validate(&nanos).ok()?;
            out.extend_from_slice(&nanos);
        }
        CqlType::Varint => varint(reader, out)?,
        CqlType::Decimal => decimal(reader, out)?,
        CqlType::Tuple(types) => fields(types.iter(), reader, out)?,
        CqlType::Udt(of) => fields(of.types(), reader, out)?,
        CqlType::Duration => return None,
        CqlType::Text | CqlType::Ascii | CqlType::Blob | CqlType::Inet => {
            let start = out.len();
            unescape(reader, out)?;
            let legal = out.len() > start && ty.validate(&out[start..]).is_ok();
            return legal.then_some(());
        }
        CqlType::Uuid => {
            let high = u64::from_be_bytes(reader.array()?);
            let high = match high >> 60 {
                1 => reorder_back_time(high),
                version => ((high >> 12) << 16) | version << 12 | (high & 0xfff),
            };
            out.extend_from_slice(&high.to_be_bytes());
            out.extend_from_slice(&reader.array::<8>()?);
        }
        CqlType::TimeUuid => {
            let high = u64::from_be_bytes(reader.array()?);
            if high >> 60 != 1 {
                return None;
            }
            let low = u64::from_be_bytes(reader.array()?) ^ TIMEUUID_SIGN_FLIP;
            out.extend_from_slice(&reorder_back_time(high).to_be_bytes());
            out.extend_from_slice(&low.to_be_bytes());
        }
        CqlType::List(of) | CqlType::Set(of) => elements(&[of], reader, out)?,
        CqlType::Map(key, value) => elements(&[key, value], reader, out)?,
        CqlType::Frozen(inner) => return after_marker(marker, inner, reader, out),
    }
    Some(())
}

fn integer<const N: usize>(mut bytes: [u8; N]) -> [u8; N] {
    bytes[0] ^= 0x80;
    bytes
}

fn varint(reader: &mut Reader<'_>, out: &mut Vec<u8>) -> Option<()> {
    let first = reader.byte()?;
    let flip = if first < VARINT_ZERO { 0xff } else { 0 };
    let len = match (first ^ flip) - VARINT_ZERO {
        VARINT_LONG => {
            let len = u32::from_be_bytes(reader.array::<4>()?.map(|byte| byte ^ flip));
            usize::try_from(len)
                .ok()
                .filter(|len| *len >= usize::from(VARINT_LONG))?
        }
        len => usize::from(len),
    };
    if len == 0 || len > reader.rest.len() {
        return None;
    }
    let start = out.len();
    for _ in 0..len {
        out.push(reader.byte()?);
    }
    let value = &out[start..];
    (integer::minimal(value) == value && integer::is_negative(value) == (flip != 0)).then_some(())
}

fn decimal(reader: &mut Reader<'_>, out: &mut Vec<u8>) -> Option<()> {
    let [below, zero, above] = DECIMAL_SIGNS;
    let negative = match reader.byte()? {
        sign if sign == zero => {
            out.extend_from_slice(&[0; 5]);
            return Some(());
        }
        sign if sign == below => true,
        sign if sign == above => false,
        _ => return None,
    };
    let flip = if negative { 0xff } else { 0 };
    let exponent = i32::from_be_bytes(reader.array::<4>()?.map(|byte| byte ^ flip)) ^ i32::MIN;
    let mut digits = Vec::new();
    loop {
        match reader.byte()? ^ flip {
            END_OF_BYTES => break,
            digit @ 1..=100 if digits.len() < decimal::DIGITS_MAX => digits.push(digit - 1),
            _ => return None,
        }
    }
    let number = decimal::Digits {
        negative,
        exponent,
        digits,
    };
    out.extend_from_slice(&number.to_value()?);
    Some(())
}

fn fields<'t>(mut types: impl Iterator<Item = &'t CqlType>, reader: &mut Reader<'_>, out: &mut Vec<u8>) -> Option<()> {
    let (start, mut ends_with_null) = (out.len(), false);
    loop {
        let marker = reader.byte()?;
        if marker == END_OF_ELEMENTS {
            if out.len() == start {
                put_field(out, None); // no bytes at all are another value
            }
            return (!ends_with_null).then_some(());
        }
        let ty = types.next()?;
        ends_with_null = marker == MARKER_NULL;
        if ends_with_null {
            put_field(out, None);
            continue;
        }
        let len_at = out.len();
        out.extend_from_slice(&[0; 4]);
        after_marker(marker, ty, reader, out)?;
        let len = i32::try_from(out.len() - len_at - 4).ok()?;
        out[len_at..len_at + 4].copy_from_slice(&len.to_be_bytes());
    }
}

fn unescape(reader: &mut Reader<'_>, out: &mut Vec<u8>) -> Option<()> {
    loop {
        match reader.byte()? {
            END_OF_BYTES => return Some(()),
            ESCAPE => match reader.byte()? {
                byte @ (1 | 2) => out.push(byte - 1),
                _ => return None,
            },
            byte => out.push(byte),
        }
    }
}

fn elements(types: &[&CqlType], reader: &mut Reader<'_>, out: &mut Vec<u8>) -> Option<()> {
    let count_at = out.len();
    out.extend_from_slice(&[0; 4]);
    let mut taken = 0usize;
    loop {
        let marker = reader.byte()?;
        if marker == END_OF_ELEMENTS && taken.is_multiple_of(types.len()) {
            break;
        }
        let len_at = out.len();
        out.extend_from_slice(&[0; 4]);
        after_marker(marker, types[taken % types.len()], reader, out)?;
        let len = i32::try_from(out.len() - len_at - 4).ok()?;
        out[len_at..len_at + 4].copy_from_slice(&len.to_be_bytes());
        taken += 1;
    }
    let count = i32::try_from(taken / types.len()).ok()?;
    out[count_at..count_at + 4].copy_from_slice(&count.to_be_bytes());
    Some(())
}
