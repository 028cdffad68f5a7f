//! The order of values, as Cassandra's comparators have it.
//!
//! An empty value sorts before all others. Then: integers and timestamps by number; booleans false first, any byte but 0
//! being true; floats as Java compares them (-0.0 below 0.0, every NaN equal and above infinity); text, ascii and blobs by
//! unsigned bytes, as dates, times and addresses; varints by number; uuids by version, then time (version 1 only), then unsigned bytes; timeuuids by time, then the lower
//! eight bytes as *signed* bytes; decimals by number; collections element by element, then the shorter first; tuples and
//! user-defined types field by field, null first, missing fields being null.

use std::cmp::Ordering;

use super::{CqlType, Elements, Fields, decimal, integer};

/// Flips the sign bits of the lower eight bytes of a timeuuid, so that signed bytes sort as unsigned ones.
pub(crate) const TIMEUUID_SIGN_FLIP: u64 = 0x8080_8080_8080_8080;

/// The upper eight bytes of a version 1 uuid with the highest part of the time in front (the version above it).
#[inline]
pub(crate) const fn reorder_time(high: u64) -> u64 {
    (high << 48) | ((high << 16) & 0xffff_0000_0000) | (high >> 32)
}

/// Undoes [`reorder_time`].
#[inline]
pub(crate) const fn reorder_back_time(high: u64) -> u64 {
    (high << 32) | ((high >> 16) & 0xffff_0000) | (high >> 48)
}

impl CqlType {
    /// Compares two legal values by the type's comparator. (Bytes that are not legal compare as bytes, without a panic.)
    pub fn compare(&self, a: &[u8], b: &[u8]) -> Ordering {
        if a.is_empty() || b.is_empty() {
            return b.is_empty().cmp(&a.is_empty());
        }
        match self {
            CqlType::BigInt | CqlType::Timestamp => by(a, b, i64::from_be_bytes, Ord::cmp),
            CqlType::Int => by(a, b, i32::from_be_bytes, Ord::cmp),
            CqlType::SmallInt => by(a, b, i16::from_be_bytes, Ord::cmp),
            CqlType::TinyInt => by(a, b, i8::from_be_bytes, Ord::cmp),
            CqlType::Boolean => by(a, b, |[byte]: [u8; 1]| byte != 0, Ord::cmp),
            CqlType::Float => by(a, b, f32::from_be_bytes, |a, b| match (a.is_nan(), b.is_nan()) {
                (false, false) => a.total_cmp(b),
                (a, b) => a.cmp(&b),
            }),
            CqlType::Double => by(a, b, f64::from_be_bytes, |a, b| match (a.is_nan(), b.is_nan()) {
                (false, false) => a.total_cmp(b),
                (a, b) => a.cmp(&b),
            }),
            CqlType::Text | CqlType::Ascii | CqlType::Blob | CqlType::Date | CqlType::Time | CqlType::Inet => a.cmp(b),
            CqlType::Varint => integer::compare(a, b),
            CqlType::Decimal => compare_decimals(a, b),
            CqlType::Duration => a.cmp(b), // has no order of its own
            CqlType::Uuid => by(a, b, u128::from_be_bytes, |&a, &b| compare_uuids(a, b)),
            CqlType::TimeUuid => by(a, b, u128::from_be_bytes, |&a, &b| {
                let key = |uuid: u128| (reorder_time((uuid >> 64) as u64), uuid as u64 ^ TIMEUUID_SIGN_FLIP);
                key(a).cmp(&key(b))
            }),
            CqlType::List(of) | CqlType::Set(of) => compare_elements(a, b, &[of]),
            CqlType::Map(key, value) => compare_elements(a, b, &[key, value]),
            CqlType::Tuple(types) => compare_fields(a, b, types.iter()),
            CqlType::Udt(ty) => compare_fields(a, b, ty.types()),
            CqlType::Frozen(inner) => inner.compare(a, b),
        }
    }
}

#[inline]
fn by<const N: usize, T>(
    a: &[u8],
    b: &[u8],
    read: impl Fn([u8; N]) -> T,
    compare: impl Fn(&T, &T) -> Ordering,
) -> Ordering {
    match (a.try_into(), b.try_into()) {
        (Ok(a), Ok(b)) => compare(&read(a), &read(b)),
        _ => a.cmp(b),
    }
}

fn compare_uuids(a: u128, b: u128) -> Ordering {
    let version = |uuid: u128| (uuid >> 76) & 0xf;
    let key = |uuid: u128| match version(uuid) {
        1 => (version(uuid), reorder_time((uuid >> 64) as u64), uuid as u64),
        version => (version, (uuid >> 64) as u64, uuid as u64),
    };
    key(a).cmp(&key(b))
}

fn compare_elements(a: &[u8], b: &[u8], types: &[&CqlType]) -> Ordering {
    let per_entry = types.len() as u64;
    let (Some(mut left), Some(mut right)) = (Elements::new(a, per_entry), Elements::new(b, per_entry)) else {
        return a.cmp(b);
    };
    let mut index = 0;
    loop {
        match (left.take(), right.take()) {
            (Ok(Some(left)), Ok(Some(right))) => {
                let order = types[index % types.len()].compare(left, right);
                if order != Ordering::Equal {
                    return order;
                }
            }
            (Ok(left), Ok(right)) => return left.is_some().cmp(&right.is_some()),
            _ => return a.cmp(b),
        }
        index += 1;
    }
}

fn compare_fields<'t>(a: &[u8], b: &[u8], types: impl Iterator<Item = &'t CqlType>) -> Ordering {
    let (mut left, mut right) = (Fields::new(a), Fields::new(b));
    for ty in types {
        let order = match (left.take(), right.take()) {
            (Ok(Some(Some(left))), Ok(Some(Some(right)))) => ty.compare(left, right),
            (Ok(left), Ok(right)) => left.flatten().is_some().cmp(&right.flatten().is_some()),
            _ => return a.cmp(b),
        };
        if order != Ordering::Equal {
            return order;
        }
    }
    Ordering::Equal
}

fn compare_decimals(a: &[u8], b: &[u8]) -> Ordering {
    if decimal::fault(a).or(decimal::fault(b)).is_some() {
        return a.cmp(b);
    }
    let key = |value: &[u8]| match decimal::digits(value) {
        None => (0, 0, Vec::new()),
        Some(of) => {
            let sign = if of.negative { -1 } else { 1 };
            (sign, of.exponent, of.digits)
        }
    };
    let ((sign, a_exponent, a_digits), (b_sign, b_exponent, b_digits)) = (key(a), key(b));
    let larger = (a_exponent, a_digits).cmp(&(b_exponent, b_digits));
    sign.cmp(&b_sign).then(if sign < 0 { larger.reverse() } else { larger })
}
