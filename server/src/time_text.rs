//! Times as RFC 3339 writes them, read and written in Unix milliseconds.

use std::{fmt, str::FromStr};

/// An instant in Unix milliseconds.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Timestamp(pub i64);

const DAY_MS: i64 = 86_400_000;

impl FromStr for Timestamp {
    type Err = String;

    fn from_str(text: &str) -> Result<Timestamp, String> {
        parse(text)
            .map(Timestamp)
            .ok_or_else(|| "a time is written as in 2004-01-01T00:00:00Z (RFC 3339)".to_owned())
    }
}

/// `YYYY-MM-DDTHH:MM:SS[.fraction](Z|±HH:MM)`; digits of the fraction beyond milliseconds are dropped.
fn parse(text: &str) -> Option<i64> {
    let bytes = text.as_bytes();
    let number = |from: usize, len: usize| -> Option<i64> {
        let digits = bytes.get(from..from + len)?;
        digits
            .iter()
            .all(u8::is_ascii_digit)
            .then(|| digits.iter().fold(0, |n, d| n * 10 + i64::from(d - b'0')))
    };
    let is = |at: usize, allowed: &[u8]| bytes.get(at).is_some_and(|b| allowed.contains(b));
    let (year, month, day) = (number(0, 4)?, number(5, 2)?, number(8, 2)?);
    let (hour, minute, second) = (number(11, 2)?, number(14, 2)?, number(17, 2)?);
    if !(is(4, b"-") && is(7, b"-") && is(10, b"Tt ") && is(13, b":") && is(16, b":")) {
        return None;
    }
    if !(1..=12).contains(&month)
        || day < 1
        || day > days_in_month(year, month)
        || hour > 23
        || minute > 59
        || second > 59
    {
        return None;
    }
    let mut at = 19;
    let mut milliseconds = 0;
    if is(at, b".") {
        let digits = bytes[at + 1..].iter().take_while(|b| b.is_ascii_digit()).count();
        if digits == 0 {
            return None;
        }
        for place in 0..3 {
            milliseconds = milliseconds * 10
                + if place < digits {
                    i64::from(bytes[at + 1 + place] - b'0')
                } else {
                    0
                };
        }
        at += 1 + digits;
    }
    let offset_minutes = if is(at, b"Zz") && bytes.len() == at + 1 {
        0
    } else if is(at, b"+-") && is(at + 3, b":") && bytes.len() == at + 6 {
        let (hours, minutes) = (number(at + 1, 2)?, number(at + 4, 2)?);
        if hours > 23 || minutes > 59 {
            return None;
        }
        (hours * 60 + minutes) * if is(at, b"-") { -1 } else { 1 }
    } else {
        return None;
    };
    let seconds = (hour * 60 + minute - offset_minutes) * 60 + second;
    Some(days_from_civil(year, month, day) * DAY_MS + seconds * 1000 + milliseconds)
}

impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (year, month, day) = civil_from_days(self.0.div_euclid(DAY_MS));
        let ms = self.0.rem_euclid(DAY_MS);
        let (hour, minute, second) = (ms / 3_600_000, ms / 60_000 % 60, ms / 1000 % 60);
        write!(f, "{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}")?;
        if ms % 1000 != 0 {
            write!(f, ".{:03}", ms % 1000)?;
        }
        f.write_str("Z")
    }
}

fn days_in_month(year: i64, month: i64) -> i64 {
    let (next_year, next_month) = if month == 12 { (year + 1, 1) } else { (year, month + 1) };
    days_from_civil(next_year, next_month, 1) - days_from_civil(year, month, 1)
}

/// Days since 1970-01-01 of a date in the Gregorian calendar; years are counted from March, in eras of 400 years
/// (Howard Hinnant, "chrono-compatible low-level date algorithms").
fn days_from_civil(year: i64, month: i64, day: i64) -> i64 {
    let year = if month <= 2 { year - 1 } else { year };
    let (era, year_of_era) = (year.div_euclid(400), year.rem_euclid(400));
    let day_of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    era * 146_097 + year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year - 719_468
}

fn civil_from_days(days: i64) -> (i64, i64, i64) {
    let days = days + 719_468;
    let (era, day_of_era) = (days.div_euclid(146_097), days.rem_euclid(146_097));
    let year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted_month = (5 * day_of_year + 2) / 153;
    let month = (shifted_month + 2) % 12 + 1;
    (
        era * 400 + year_of_era + i64::from(month <= 2),
        month,
        day_of_year - (153 * shifted_month + 2) / 5 + 1,
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_the_examples_of_the_rfc() {
        for (text, ms) in [
            ("1970-01-01T00:00:00Z", 0),
            ("1985-04-12T23:20:50.52Z", 482_196_050_520),
            ("1996-12-19T16:39:57-08:00", 851_042_397_000),
            ("1937-01-01T12:00:27.87+00:20", -1_041_337_172_130),
            ("2004-01-01T00:00:00Z", 1_072_915_200_000),
            ("2015-01-01T00:00:00Z", 1_420_070_400_000),
            ("2000-02-29t23:59:59.999999999z", 951_868_799_999),
        ] {
            assert_eq!(text.parse::<Timestamp>(), Ok(Timestamp(ms)), "{text}");
        }
        for text in [
            "",
            "now",
            "2004",
            "2004-01-01",
            "2004-01-01T00:00:00",
            "2004-13-01T00:00:00Z",
            "2004-02-30T00:00:00Z",
            "2100-02-29T00:00:00Z",
            "2004-01-01T24:00:00Z",
            "2004-01-01T00:60:00Z",
            "2004-01-01T00:00:61Z",
            "2004-01-01T00:00:00.Z",
            "2004-01-01T00:00:00+1:00",
            "2004-01-01T00:00:00Zx",
            "+004-01-01T00:00:00Z",
            "20040101T000000Z",
        ] {
            assert!(text.parse::<Timestamp>().is_err(), "{text}");
        }
    }

    #[test]
    fn writes_what_it_reads() {
        for day in (-719_528..2_932_896).step_by(97) {
            let ms = day * DAY_MS + day.rem_euclid(DAY_MS) * 7919 % DAY_MS;
            assert_eq!(
                Timestamp(ms).to_string().parse(),
                Ok(Timestamp(ms)),
                "{}",
                Timestamp(ms)
            );
        }
        assert_eq!(Timestamp(1_100_521_080_200).to_string(), "2004-11-15T12:18:00.200Z");
    }
}
