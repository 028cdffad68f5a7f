//! Sizes as people write them: `4096`, `64KiB`, `1MiB`, `2G`.

use std::{fmt, str::FromStr};

/// A number of bytes.
///
/// [`Config`](crate::Config) takes them.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Size(pub u64);

impl Size {
    /// The size for memory.
    pub fn as_usize(self) -> usize {
        usize::try_from(self.0).unwrap_or(usize::MAX)
    }
}

impl FromStr for Size {
    type Err = String;

    fn from_str(text: &str) -> Result<Size, String> {
        let digits = text.bytes().take_while(u8::is_ascii_digit).count();
        let (number, unit) = text.split_at(digits);
        let shift = match unit.trim_start().to_ascii_lowercase().as_str() {
            "" | "b" => 0,
            "k" | "kib" => 10,
            "m" | "mib" => 20,
            "g" | "gib" => 30,
            "t" | "tib" => 40,
            _ => {
                return Err(
                    "a size is a number of bytes, or one with KiB, MiB, GiB or TiB after it, as in 64MiB".to_owned(),
                );
            }
        };
        let number: u64 = number
            .parse()
            .map_err(|_| "a size begins with a whole number, as in 64MiB".to_owned())?;
        number
            .checked_mul(1 << shift)
            .map(Size)
            .ok_or_else(|| "this size is larger than any memory".to_owned())
    }
}

impl fmt::Display for Size {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const UNITS: [(u32, &str); 4] = [(40, "TiB"), (30, "GiB"), (20, "MiB"), (10, "KiB")];
        match UNITS
            .iter()
            .find(|(shift, _)| self.0 != 0 && self.0.trailing_zeros() >= *shift)
        {
            Some((shift, unit)) => write!(f, "{}{unit}", self.0 >> shift),
            None => write!(f, "{}", self.0),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_sizes_and_writes_them_back() {
        for (text, bytes, back) in [
            ("0", 0, "0"),
            ("1", 1, "1"),
            ("4096", 4096, "4KiB"),
            ("64KiB", 65_536, "64KiB"),
            ("64k", 65_536, "64KiB"),
            ("1MiB", 1 << 20, "1MiB"),
            ("1 mib", 1 << 20, "1MiB"),
            ("3GiB", 3 << 30, "3GiB"),
            ("1025KiB", 1025 << 10, "1025KiB"),
            ("16777215TiB", 16_777_215 << 40, "16777215TiB"),
        ] {
            assert_eq!(text.parse::<Size>(), Ok(Size(bytes)), "{text}");
            assert_eq!(Size(bytes).to_string(), back);
        }
        for text in [
            "",
            "KiB",
            "-1",
            "1.5MiB",
            "1MB",
            "1 xyz",
            "18446744073709551616",
            "16777216TiB",
            "1e3",
        ] {
            assert!(text.parse::<Size>().is_err(), "{text}");
        }
    }
}
