//! `decimal`: an integer of any length, and how many of its digits stand behind the point.
//!
//! Bytes: the scale, 32 bits signed, big-endian; then the unscaled integer, big-endian two's complement, at least one byte. The
//! number is `unscaled * 10^-scale`.
//!
//! Numbers are compared, and put into keys, by their digits to the base of 100. That takes time that grows with the square of the
//! digits, so they are bounded: no shard computes longer than its turn over one value.

use num_bigint::{BigInt, BigUint, Sign};

/// The most bytes of the unscaled integer: 616 decimal digits.
pub(crate) const UNSCALED_BYTES_MAX: usize = 256;
/// No decimal has more digits to the base of 100.
pub(crate) const DIGITS_MAX: usize = 310;

/// A number other than 0 as `0.d1 d2 d3 ... * 100^exponent`, in digits to the base of 100 of which neither the first nor the last
/// is 0: equal numbers have equal digits.
#[derive(PartialEq, Eq, Debug)]
pub(crate) struct Digits {
    pub(crate) negative: bool,
    pub(crate) exponent: i32,
    pub(crate) digits: Vec<u8>,
}

/// What is wrong with the bytes of a decimal.
pub(crate) fn fault(value: &[u8]) -> Option<&'static str> {
    match value.len() {
        0..5 => Some("not a scale of 4 bytes and an integer"),
        len if len > 4 + UNSCALED_BYTES_MAX => Some("an integer above 256 bytes"),
        _ => None,
    }
}

/// The digits of a legal decimal; `None` of 0.
pub(crate) fn digits(value: &[u8]) -> Option<Digits> {
    let (scale, unscaled) = value.split_first_chunk::<4>()?;
    let mut scale = i64::from(i32::from_be_bytes(*scale));
    let (sign, mut number) = BigInt::from_signed_bytes_be(unscaled).into_parts();
    if sign == Sign::NoSign {
        return None;
    }
    // Pairs of digits start at the point.
    if scale % 2 != 0 {
        number *= 10u32;
        scale += 1;
    }
    let mut digits = number.to_radix_be(100);
    let exponent = digits.len() as i64 - scale / 2;
    let kept = digits.iter().rposition(|digit| *digit != 0)? + 1;
    digits.truncate(kept);
    Some(Digits {
        negative: sign == Sign::Minus,
        exponent: i32::try_from(exponent).ok()?,
        digits,
    })
}

impl Digits {
    /// The decimal of these digits with the smallest scale; `None` if there is none.
    pub(crate) fn to_value(&self) -> Option<Vec<u8>> {
        let (first, last) = (self.digits.first()?, self.digits.last()?);
        if *first == 0 || *last == 0 || self.digits.len() > DIGITS_MAX {
            return None;
        }
        let mut number = BigUint::from_radix_be(&self.digits, 100)?;
        let mut scale = 2 * (self.digits.len() as i64 - i64::from(self.exponent));
        if last % 10 == 0 {
            number /= 10u32;
            scale -= 1;
        }
        // A scale below the smallest there is: the zeros stay in the number.
        let zeros = i64::from(i32::MIN) - scale;
        if zeros > 0 {
            let zeros = u32::try_from(zeros)
                .ok()
                .filter(|zeros| *zeros < 2 * DIGITS_MAX as u32)?;
            number *= BigUint::from(10u32).pow(zeros);
            scale = i64::from(i32::MIN);
        }
        let sign = if self.negative { Sign::Minus } else { Sign::Plus };
        let unscaled = BigInt::from_biguint(sign, number).to_signed_bytes_be();
        let value = [&i32::try_from(scale).ok()?.to_be_bytes()[..], &unscaled].concat();
        fault(&value).is_none().then_some(value)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn decimal(scale: i32, unscaled: i64) -> Vec<u8> {
        let unscaled = BigInt::from(unscaled).to_signed_bytes_be();
        [&scale.to_be_bytes()[..], &unscaled].concat()
    }

    #[test]
    fn known_digits() {
        let of = |scale, unscaled| {
            let found = digits(&decimal(scale, unscaled))?;
            Some((found.negative, found.exponent, found.digits))
        };
        assert_eq!(of(0, 0), None);
        assert_eq!(of(7, 0), None);
        assert_eq!(of(0, 1), Some((false, 1, vec![1])));
        assert_eq!(of(2, 100), Some((false, 1, vec![1])), "1.00 is 1");
        assert_eq!(of(1, 5), Some((false, 0, vec![50])), "0.5");
        assert_eq!(of(2, -12345), Some((true, 2, vec![1, 23, 45])));
        assert_eq!(of(-2, 1), Some((false, 2, vec![1])), "100");
        assert_eq!(of(-1, 1), Some((false, 1, vec![10])), "10");
        assert_eq!(of(i32::MAX, 1), Some((false, 1 - (1 << 30), vec![10])));
        assert_eq!(of(i32::MIN, 1), Some((false, 1 + (1 << 30), vec![1])));
    }

    #[test]
    fn the_smallest_scale_is_shown() {
        let shown = |scale, unscaled| digits(&decimal(scale, unscaled)).and_then(|digits| digits.to_value());
        assert_eq!(shown(2, 100), Some(decimal(0, 1)));
        assert_eq!(shown(0, 1200), Some(decimal(-2, 12)));
        assert_eq!(shown(i32::MAX, -1), Some(decimal(i32::MAX, -1)));
        assert_eq!(shown(i32::MIN, 3000), Some(decimal(i32::MIN, 3000)), "no smaller scale");
    }

    #[test]
    fn impossible_digits_are_no_value() {
        let none = |exponent, digits: &[u8]| {
            let digits = Digits {
                negative: false,
                exponent,
                digits: digits.to_vec(),
            };
            assert_eq!(digits.to_value(), None, "{digits:?}");
        };
        none(1, &[]);
        none(1, &[0, 1]);
        none(1, &[1, 0]);
        none(i32::MAX, &[1]);
        none(i32::MIN, &[1]);
        none(1, &[100]);
        none(1, &[1; DIGITS_MAX + 1]);
        none(1, &[99; DIGITS_MAX]);
    }
}
