//! Unsigned LEB128 integers, zigzag for signed ones, and length-prefixed bytes.
//!
//! Seven bits a byte, lowest first, the top bit says that more follow; at most ten bytes. Only the shortest form of a
//! number is read back, so that equal numbers are equal bytes (the row format relies on it).

/// The most bytes one number takes.
pub const LEN_MAX: usize = 10;

/// Appends `value`.
#[inline]
pub fn put_u64(out: &mut Vec<u8>, value: u64) {
    if value < 0x80 {
        out.push(value as u8);
    } else {
        put_long(out, value);
    }
}

fn put_long(out: &mut Vec<u8>, mut value: u64) {
    let mut bytes = [0u8; LEN_MAX];
    let mut len = 0;
    while value >= 0x80 {
        bytes[len] = value as u8 | 0x80;
        value >>= 7;
        len += 1;
    }
    bytes[len] = value as u8;
    out.extend_from_slice(&bytes[..=len]);
}

/// Takes a number off the front of `input`; `None` (and `input` untouched) if it is cut, longer than need be, or above 64 bits.
#[inline]
pub fn get_u64(input: &mut &[u8]) -> Option<u64> {
    let first = *input.first()?;
    if first < 0x80 {
        *input = &input[1..];
        return Some(u64::from(first));
    }
    get_long(input)
}

fn get_long(input: &mut &[u8]) -> Option<u64> {
    let mut value = 0u64;
    for (index, &byte) in input.iter().take(LEN_MAX).enumerate() {
        let bits = u64::from(byte & 0x7f);
        if index == LEN_MAX - 1 && bits > 1 {
            return None;
        }
        value |= bits << (7 * index);
        if byte < 0x80 {
            if byte == 0 {
                return None; // a shorter form exists (a lone zero byte is read by `get_u64`)
            }
            *input = &input[index + 1..];
            return Some(value);
        }
    }
    None
}

/// Takes a number that must fit 32 bits.
#[inline]
pub fn get_u32(input: &mut &[u8]) -> Option<u32> {
    let mut rest = *input;
    let value = u32::try_from(get_u64(&mut rest)?).ok()?;
    *input = rest;
    Some(value)
}

/// Appends a signed number, small absolute values short.
#[inline]
pub fn put_i64(out: &mut Vec<u8>, value: i64) {
    put_u64(out, ((value << 1) ^ (value >> 63)) as u64);
}

/// Takes a signed number.
#[inline]
pub fn get_i64(input: &mut &[u8]) -> Option<i64> {
    let raw = get_u64(input)?;
    Some((raw >> 1) as i64 ^ -((raw & 1) as i64))
}

/// Appends the length of `bytes`, then the bytes.
#[inline]
pub fn put_bytes(out: &mut Vec<u8>, bytes: &[u8]) {
    put_u64(out, bytes.len() as u64);
    out.extend_from_slice(bytes);
}

/// Takes length-prefixed bytes, borrowed from `input`; `None` (and `input` untouched) if they are not all there.
#[inline]
pub fn get_bytes<'a>(input: &mut &'a [u8]) -> Option<&'a [u8]> {
    let mut rest = *input;
    let len = usize::try_from(get_u64(&mut rest)?).ok()?;
    let (bytes, rest) = rest.split_at_checked(len)?;
    *input = rest;
    Some(bytes)
}

/// Takes `N` bytes as they are.
#[inline]
pub(crate) fn get_array<const N: usize>(input: &mut &[u8]) -> Option<[u8; N]> {
    let (bytes, rest) = input.split_first_chunk::<N>()?;
    *input = rest;
    Some(*bytes)
}

/// The number of bytes that [`put_u64`] appends.
#[inline]
pub fn len_u64(value: u64) -> usize {
    (64 - (value | 1).leading_zeros() as usize).div_ceil(7)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn known_bytes() {
        for (value, bytes) in [
            (0u64, &[0u8][..]),
            (127, &[0x7f]),
            (128, &[0x80, 1]),
            (300, &[0xac, 2]),
            (u64::MAX, &[0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 1]),
        ] {
            let mut out = Vec::new();
            put_u64(&mut out, value);
            assert_eq!(out, bytes);
            assert_eq!(len_u64(value), bytes.len());
            assert_eq!(get_u64(&mut &out[..]), Some(value));
        }
        let mut out = Vec::new();
        for value in [0, -1, 1, i64::MIN, i64::MAX] {
            out.clear();
            put_i64(&mut out, value);
            assert_eq!(get_i64(&mut &out[..]), Some(value));
        }
        out.clear();
        put_i64(&mut out, -1);
        assert_eq!(out, [1]);
    }

    #[test]
    fn refuses_long_forms_and_overflow() {
        assert_eq!(get_u64(&mut &[0x80, 0][..]), None);
        assert_eq!(get_u64(&mut &[0xff, 0x80, 0][..]), None);
        assert_eq!(get_u64(&mut &[0x80][..]), None);
        assert_eq!(get_u64(&mut &[][..]), None);
        assert_eq!(
            get_u64(&mut &[0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 2][..]),
            None
        );
        assert_eq!(get_u64(&mut &[0xff; 12][..]), None);
        let mut cut = &[5, 1, 2][..];
        assert_eq!(get_bytes(&mut cut), None);
        assert_eq!(cut.len(), 3, "a failed read takes nothing");
    }
}
