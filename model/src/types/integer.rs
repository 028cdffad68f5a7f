//! `varint`: integers of any length, as big-endian two's complement.

use std::cmp::Ordering;

/// The fewest bytes of the same number.
pub(crate) fn minimal(value: &[u8]) -> &[u8] {
    let mut value = value;
    while let [sign @ (0x00 | 0xff), rest @ ..] = value
        && rest.first().is_some_and(|next| (next ^ sign) & 0x80 == 0)
    {
        value = rest;
    }
    value
}

pub(crate) fn is_negative(value: &[u8]) -> bool {
    value.first().is_some_and(|first| first & 0x80 != 0)
}

/// Compares two of them by number.
pub(crate) fn compare(a: &[u8], b: &[u8]) -> Ordering {
    let (a, b) = (minimal(a), minimal(b));
    match (is_negative(a), is_negative(b)) {
        (false, false) => a.len().cmp(&b.len()).then_with(|| a.cmp(b)),
        (true, true) => b.len().cmp(&a.len()).then_with(|| a.cmp(b)),
        (a, b) => b.cmp(&a),
    }
}
