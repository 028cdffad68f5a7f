//! `duration`: months, days and nanoseconds, each a vint of the native protocol, none of another sign than the others.

/// A duration of the calendar; it has no order, for a month has no fixed length.
///
/// [`Value`](crate::Value) has it as a variant.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct Duration {
    /// Months.
    pub months: i32,
    /// Days.
    pub days: i32,
    /// Nanoseconds.
    pub nanos: i64,
}

/// Longest vint, bytes.
const VINT_BYTES_MAX: usize = 9;

impl Duration {
    /// Whether no part has another sign than the others.
    fn is_of_one_sign(self) -> bool {
        let parts = [i64::from(self.months), i64::from(self.days), self.nanos];
        parts.iter().all(|&part| part >= 0) || parts.iter().all(|&part| part <= 0)
    }

    /// The value's bytes.
    pub fn encode(self) -> Vec<u8> {
        let mut out = Vec::with_capacity(3 * VINT_BYTES_MAX);
        for part in [i64::from(self.months), i64::from(self.days), self.nanos] {
            put_vint(&mut out, part);
        }
        out
    }

    /// Reads a value; `None` if the bytes are none.
    pub fn decode(mut bytes: &[u8]) -> Option<Duration> {
        let duration = Duration {
            months: take_vint(&mut bytes)?.try_into().ok()?,
            days: take_vint(&mut bytes)?.try_into().ok()?,
            nanos: take_vint(&mut bytes)?,
        };
        (bytes.is_empty() && duration.is_of_one_sign()).then_some(duration)
    }
}

/// The number of bytes after the first stands in the first as its leading ones; the sign is folded into the lowest bit.
fn put_vint(out: &mut Vec<u8>, value: i64) {
    let folded = ((value << 1) ^ (value >> 63)) as u64;
    let bits = 64 - folded.leading_zeros() as usize;
    // Each byte more costs a bit of the first; nine bytes hold all 64.
    let more = (0..VINT_BYTES_MAX - 1)
        .find(|more| bits <= 7 + 7 * more)
        .unwrap_or(VINT_BYTES_MAX - 1);
    let ones = (!(0xff_u16 >> more) & 0xff) as u8;
    let bytes = folded.to_be_bytes();
    match bytes.get(7usize.wrapping_sub(more)) {
        Some(first) => out.push(ones | first),
        None => out.push(ones),
    }
    out.extend_from_slice(&bytes[8 - more..]);
}

fn take_vint(bytes: &mut &[u8]) -> Option<i64> {
    let (&first, rest) = bytes.split_first()?;
    let more = first.leading_ones() as usize;
    let (low, rest) = rest.split_at_checked(more)?;
    *bytes = rest;
    let high = if more < 8 { u64::from(first) & (0xff >> more) } else { 0 };
    let folded = low.iter().fold(high, |value, &byte| value << 8 | u64::from(byte));
    Some((folded >> 1) as i64 ^ -((folded & 1) as i64))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// From the examples of Cassandra's own tests of its vints, and by hand.
    #[test]
    fn known_bytes() {
        for (months, days, nanos, bytes) in [
            (0, 0, 0, &[0, 0, 0][..]),
            (1, 2, 3, &[2, 4, 6]),
            (-1, -2, -3, &[1, 3, 5]),
            (0, 0, 64, &[0, 0, 0x80, 0x80]),
            (0, 0, 10_000, &[0, 0, 0xc0, 0x4e, 0x20]),
            (i32::MAX, 0, 0, &[0xf0, 0xff, 0xff, 0xff, 0xfe, 0, 0]),
            (
                0,
                0,
                i64::MAX,
                &[0, 0, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xfe],
            ),
            (
                0,
                0,
                i64::MIN,
                &[0, 0, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff],
            ),
        ] {
            let duration = Duration { months, days, nanos };
            assert_eq!(duration.encode(), bytes, "{duration:?}");
            assert_eq!(Duration::decode(bytes), Some(duration));
        }
    }

    #[test]
    fn rejects_what_is_none() {
        let parts = |parts: &[i64]| {
            let mut out = Vec::new();
            parts.iter().for_each(|part| put_vint(&mut out, *part));
            out
        };
        for bytes in [
            &[][..],
            &[0, 0],
            &[0, 0, 0, 0],
            &[0, 0, 0x80],
            &[0xff],
            &parts(&[1, -1, 0]),
            &parts(&[0, 1, -1]),
            &parts(&[1 << 31, 0, 0]),
            &parts(&[0, -(1 << 31) - 1, 0]),
        ] {
            assert_eq!(Duration::decode(bytes), None, "{bytes:02x?}");
        }
    }

    proptest! {
        #[test]
        fn prop_durations_read_back(months: u32, days: u32, nanos: u64, negative: bool) {
            let sign = if negative { -1 } else { 1 };
            let duration = Duration {
                months: (months >> 1) as i32 * sign,
                days: (days >> 1) as i32 * sign,
                nanos: (nanos >> 1) as i64 * i64::from(sign),
            };
            prop_assert_eq!(Duration::decode(&duration.encode()), Some(duration));
        }

        #[test]
        fn prop_decode_never_panics(bytes in proptest::collection::vec(any::<u8>(), 0..30)) {
            if let Some(duration) = Duration::decode(&bytes) {
                prop_assert_eq!(Duration::decode(&duration.encode()), Some(duration));
            }
        }
    }
}
