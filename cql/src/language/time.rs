//! Moments as text and as time-based UUIDs.

use jiff::civil;

/// 100-ns ticks from 1582-10-15 to the Unix epoch.
const TICKS_BEFORE: i64 = 0x01B2_1DD2_1381_4000;
/// The middle of the days of `date`: 1970-01-01.
const DAY_ZERO: i64 = 1 << 31;
const DAY_MS: i64 = 86_400_000;

/// The milliseconds since the Unix epoch of a time-based UUID; `None` if it is of another version.
#[must_use]
pub fn millis_of(uuid: &[u8]) -> Option<i64> {
    ticks_of(uuid).map(|ticks| ticks.div_euclid(10_000))
}

pub(super) fn ticks_of(uuid: &[u8]) -> Option<i64> {
    let uuid: &[u8; 16] = uuid.try_into().ok()?;
    if uuid[6] >> 4 != 1 {
        return None;
    }
    let ticks = [
        uuid[6] & 0x0F,
        uuid[7],
        uuid[4],
        uuid[5],
        uuid[0],
        uuid[1],
        uuid[2],
        uuid[3],
    ];
    Some(i64::from_be_bytes(ticks) - TICKS_BEFORE)
}

/// A version 1 UUID: 100-ns ticks since the Unix epoch, and the eight bytes behind its time.
#[must_use]
pub fn time_uuid(ticks: i64, rest: [u8; 8]) -> [u8; 16] {
    let ticks = ticks.wrapping_add(TICKS_BEFORE).to_be_bytes();
    let mut uuid = [0; 16];
    uuid[..4].copy_from_slice(&ticks[4..]);
    uuid[4..6].copy_from_slice(&ticks[2..4]);
    uuid[6] = ticks[0] & 0x0F | 0x10;
    uuid[7] = ticks[1];
    uuid[8..].copy_from_slice(&rest);
    uuid
}

/// The smallest time-based UUID of a millisecond, as its comparator has it (`TimeUUID.java`).
#[must_use]
pub fn min_time_uuid(millis: i64) -> [u8; 16] {
    time_uuid(millis.saturating_mul(10_000), [0x80; 8])
}

/// The largest time-based UUID of a millisecond.
#[must_use]
pub fn max_time_uuid(millis: i64) -> [u8; 16] {
    time_uuid(
        millis.saturating_add(1).saturating_mul(10_000).saturating_sub(1),
        [0x7F; 8],
    )
}

/// The `date` of milliseconds since the Unix epoch.
#[must_use]
pub fn date_of_millis(millis: i64) -> u32 {
    u32::try_from(millis.div_euclid(DAY_MS) + DAY_ZERO).unwrap_or(if millis < 0 { 0 } else { u32::MAX })
}

/// The milliseconds since the Unix epoch at which a `date` begins.
#[must_use]
pub fn millis_of_date(date: u32) -> i64 {
    (i64::from(date) - DAY_ZERO) * DAY_MS
}

fn civil_date(text: &str) -> Option<civil::Date> {
    let mut parts = text.splitn(3, '-');
    let part = |part: &str, widths: std::ops::RangeInclusive<usize>| {
        let legal = widths.contains(&part.len()) && part.bytes().all(|byte| byte.is_ascii_digit());
        legal.then(|| part.parse::<i16>().ok()).flatten()
    };
    let year = part(parts.next()?, 4..=4)?;
    let month = part(parts.next()?, 1..=2)?;
    let day = part(parts.next()?, 1..=2)?;
    civil::Date::new(year, i8::try_from(month).ok()?, i8::try_from(day).ok()?).ok()
}

fn days_since_1970(date: civil::Date) -> i64 {
    let epoch = civil::date(1970, 1, 1);
    date.since((jiff::Unit::Day, epoch))
        .map_or(0, |span| i64::from(span.get_days()))
}

/// A `date` from text: `YYYY-MM-DD`.
#[must_use]
pub fn parse_date(text: &str) -> Option<u32> {
    let negative = text.starts_with('-');
    if !negative && let Some(date) = civil_date(text) {
        return u32::try_from(days_since_1970(date) + DAY_ZERO).ok();
    }
    // Raw: days with 1970-01-01 in the middle.
    text.parse::<u32>().ok()
}

/// Nanoseconds of a day from text: `hh:mm:ss[.fffffffff]`.
#[must_use]
pub fn parse_time(text: &str) -> Option<i64> {
    let (clock, fraction) = match text.split_once('.') {
        Some((clock, fraction)) => (clock, fraction),
        None => (text, ""),
    };
    let parts: Vec<&str> = clock.split(':').collect();
    let [hour, minute, second] = parts.as_slice() else {
        return text
            .parse::<i64>()
            .ok()
            .filter(|nanos| (0..86_400_000_000_000).contains(nanos));
    };
    let number = |part: &str, below: i64| {
        let legal = (1..=2).contains(&part.len()) && part.bytes().all(|byte| byte.is_ascii_digit());
        part.parse::<i64>().ok().filter(|number| legal && *number < below)
    };
    let seconds = number(hour, 24)? * 3600 + number(minute, 60)? * 60 + number(second, 60)?;
    Some(seconds * 1_000_000_000 + nanos_of_fraction(fraction)?)
}

fn nanos_of_fraction(fraction: &str) -> Option<i64> {
    let legal = fraction.len() <= 9 && fraction.bytes().all(|byte| byte.is_ascii_digit());
    legal.then(|| format!("{fraction:0<9}").parse().ok()).flatten()
}

/// Milliseconds since the Unix epoch from text: an integer, or `YYYY-MM-DD[(T| )hh:mm[:ss[.fff]]][ ][zone]`, in UTC if it names no zone.
#[must_use]
pub fn parse_timestamp(text: &str) -> Option<i64> {
    let text = text.trim();
    if let Ok(millis) = text.parse::<i64>() {
        return Some(millis);
    }
    let date_len = text
        .find(|c: char| !(c.is_ascii_digit() || c == '-'))
        .unwrap_or(text.len())
        .min(10);
    let (date, rest) = text.split_at_checked(date_len)?;
    let days = days_since_1970(civil_date(date)?);
    let (clock, zone) = match rest.strip_prefix(['T', 't', ' ']) {
        Some(rest) if rest.starts_with(|c: char| c.is_ascii_digit()) => {
            let end = rest
                .find(|c: char| !(c.is_ascii_digit() || matches!(c, ':' | '.')))
                .unwrap_or(rest.len());
            rest.split_at(end)
        }
        _ => ("", rest),
    };
    let mut millis = days.checked_mul(DAY_MS)?;
    if !clock.is_empty() {
        let whole = match clock.split(':').count() {
            2 => format!("{clock}:00"),
            _ => clock.to_owned(),
        };
        if !whole.contains(':') {
            return None;
        }
        millis += parse_time(&whole)? / 1_000_000;
    }
    Some(millis - zone_seconds(zone.trim())? * 1000)
}

/// Seconds east of Greenwich.
fn zone_seconds(zone: &str) -> Option<i64> {
    if zone.is_empty() || zone.eq_ignore_ascii_case("z") || ["UTC", "GMT"].contains(&zone) {
        return Some(0);
    }
    let (sign, digits) = match zone.split_at_checked(1)? {
        ("+", digits) => (1, digits),
        ("-", digits) => (-1, digits),
        _ => return None,
    };
    let digits = digits.replace(':', "");
    let legal = digits.bytes().all(|byte| byte.is_ascii_digit()) && (digits.len() == 2 || digits.len() == 4);
    let hours = legal.then(|| digits[..2].parse::<i64>().ok()).flatten()?;
    let minutes = digits
        .get(2..)
        .filter(|rest| !rest.is_empty())
        .map_or(Some(0), |rest| rest.parse().ok())?;
    (hours <= 18 && minutes < 60).then_some(sign * (hours * 3600 + minutes * 60))
}

/// Milliseconds since the Unix epoch as text, as `cast(… as text)` has them: `2026-11-25T10:00:00.000Z`.
#[must_use]
pub fn format_timestamp(millis: i64) -> String {
    match jiff::Timestamp::from_millisecond(millis) {
        Ok(timestamp) => {
            let at = jiff::tz::Offset::UTC.to_datetime(timestamp);
            format!("{}T{}.{:03}Z", at.date(), format_clock(at), at.millisecond())
        }
        Err(_) => millis.to_string(),
    }
}

fn format_clock(at: civil::DateTime) -> String {
    format!("{:02}:{:02}:{:02}", at.hour(), at.minute(), at.second())
}

/// A `date` as text.
#[must_use]
pub fn format_date(date: u32) -> String {
    match jiff::Timestamp::from_millisecond(millis_of_date(date)) {
        Ok(timestamp) => jiff::tz::Offset::UTC.to_datetime(timestamp).date().to_string(),
        Err(_) => date.to_string(),
    }
}

/// Nanoseconds of a day as text.
#[must_use]
pub fn format_time(nanos: i64) -> String {
    let seconds = nanos / 1_000_000_000;
    format!(
        "{:02}:{:02}:{:02}.{:09}",
        seconds / 3600,
        seconds / 60 % 60,
        seconds % 60,
        nanos % 1_000_000_000
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn timestamps_of_every_form() {
        for (text, millis) in [
            ("1234", 1234),
            ("-5", -5),
            ("2011-02-03", 1_296_691_200_000),
            ("2011-02-03 04:05", 1_296_705_900_000),
            ("2011-02-03T04:05:00", 1_296_705_900_000),
            ("2011-02-03 04:05:00.123", 1_296_705_900_123),
            ("2011-02-03T04:05:00.123Z", 1_296_705_900_123),
            ("2011-02-03 04:05+0000", 1_296_705_900_000),
            ("2011-02-03T04:05:00+01:30", 1_296_700_500_000),
            ("2011-02-03 -0100", 1_296_694_800_000),
            ("1969-12-31T23:59:59.999Z", -1),
        ] {
            assert_eq!(parse_timestamp(text), Some(millis), "{text}");
        }
        for wrong in [
            "",
            "x",
            "2011-13-01",
            "2011-02-30",
            "2011-02-03T25:00",
            "2011-02-03 04",
            "2011-02-03 04:05 nowhere",
        ] {
            assert_eq!(parse_timestamp(wrong), None, "{wrong}");
        }
        assert_eq!(format_timestamp(1_296_705_900_123), "2011-02-03T04:05:00.123Z");
    }

    #[test]
    fn dates_and_times() {
        assert_eq!(parse_date("1970-01-02"), Some((1 << 31) + 1));
        assert_eq!(parse_date("2147483649"), Some((1 << 31) + 1));
        assert_eq!(format_date((1 << 31) + 1), "1970-01-02");
        assert_eq!(parse_time("08:12:54.123"), Some(29_574_123_000_000));
        assert_eq!(format_time(29_574_123_000_000), "08:12:54.123000000");
        for wrong in ["24:00:00", "1:2", "08:12:54.1234567890", "-1"] {
            assert_eq!(parse_time(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn time_based_uuids_keep_their_time() {
        let millis = 1_700_000_000_123;
        let (first, last) = (min_time_uuid(millis), max_time_uuid(millis));
        assert_eq!((millis_of(&first), millis_of(&last)), (Some(millis), Some(millis)));
        let next = min_time_uuid(millis + 1);
        let compare = |a: &[u8], b: &[u8]| model::CqlType::TimeUuid.compare(a, b);
        assert!(compare(&first, &last).is_lt() && compare(&last, &next).is_lt());
        assert_eq!(millis_of(&[0; 16]), None);
        // Any number may be asked for.
        for millis in [i64::MIN, i64::MAX] {
            assert_eq!((min_time_uuid(millis)[6] >> 4, max_time_uuid(millis)[6] >> 4), (1, 1));
        }
        let text = uuid::Uuid::from_bytes(min_time_uuid(0)).to_string();
        assert_eq!(text, "13814000-1dd2-11b2-8080-808080808080");
    }
}
