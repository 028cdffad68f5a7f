//! Durations as CQL writes them: `1h30m`, `P1Y2M`, `P4W`, `P0001-02-03T04:05:06`.

use model::Duration;

/// Nanoseconds, days or months of each unit; longer names first, for they begin alike.
const UNITS: &[(&str, Unit)] = &[
    ("mo", Unit::Months(1)),
    ("ms", Unit::Nanos(1_000_000)),
    ("us", Unit::Nanos(1_000)),
    ("µs", Unit::Nanos(1_000)),
    ("ns", Unit::Nanos(1)),
    ("y", Unit::Months(12)),
    ("w", Unit::Days(7)),
    ("d", Unit::Days(1)),
    ("h", Unit::Nanos(3_600_000_000_000)),
    ("m", Unit::Nanos(60_000_000_000)),
    ("s", Unit::Nanos(1_000_000_000)),
];

#[derive(Clone, Copy)]
enum Unit {
    Months(i64),
    Days(i64),
    Nanos(i64),
}

#[derive(Default)]
struct Sum {
    months: i64,
    days: i64,
    nanos: i64,
}

impl Sum {
    fn add(&mut self, count: i64, unit: Unit) -> Option<()> {
        let (sum, of_each) = match unit {
            Unit::Months(of_each) => (&mut self.months, of_each),
            Unit::Days(of_each) => (&mut self.days, of_each),
            Unit::Nanos(of_each) => (&mut self.nanos, of_each),
        };
        *sum = sum.checked_add(count.checked_mul(of_each)?)?;
        Some(())
    }

    fn finish(self) -> Option<Duration> {
        Some(Duration {
            months: i32::try_from(self.months).ok()?,
            days: i32::try_from(self.days).ok()?,
            nanos: self.nanos,
        })
    }
}

fn unit_at(text: &str) -> Option<(usize, Unit)> {
    UNITS.iter().find_map(|(name, unit)| {
        let head = text.get(..name.len())?;
        head.to_lowercase().eq(name).then_some((name.len(), *unit))
    })
}

/// A number and its unit at the beginning of `text`, and their length.
fn part(text: &str) -> Option<(&str, Unit, usize)> {
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    if digits == 0 {
        return None;
    }
    let (len, unit) = unit_at(&text[digits..])?;
    Some((&text[..digits], unit, digits + len))
}

/// The length of the numbers with units at the beginning of `text`, if no word goes on behind them.
pub(super) fn units_len(text: &str) -> Option<usize> {
    let mut len = 0;
    while let Some((_, _, part)) = part(&text[len..]) {
        len += part;
    }
    let ends = !text[len..].starts_with(|next: char| next.is_ascii_alphanumeric() || next == '_');
    (len > 0 && ends).then_some(len)
}

/// A duration without a sign, in any of its forms.
fn parse_unsigned(text: &str) -> Option<Duration> {
    if text.starts_with(['P', 'p']) {
        return parse_iso(text);
    }
    let (mut sum, mut rest) = (Sum::default(), text);
    while !rest.is_empty() {
        let (number, unit, len) = part(rest)?;
        sum.add(number.parse().ok()?, unit)?;
        rest = &rest[len..];
    }
    sum.finish().filter(|_| !text.is_empty())
}

/// The ISO 8601 forms: with designators, with weeks, and with places.
pub(super) fn parse_iso(text: &str) -> Option<Duration> {
    let body = text.strip_prefix(['P', 'p'])?;
    if body.contains('-') {
        return parse_places(body);
    }
    let (date, time) = match body.find(['T', 't']) {
        Some(at) => (&body[..at], Some(&body[at + 1..])),
        None => (body, None),
    };
    let mut sum = Sum::default();
    let mut parts = 0;
    let date_units = [
        ('Y', Unit::Months(12)),
        ('M', Unit::Months(1)),
        ('W', Unit::Days(7)),
        ('D', Unit::Days(1)),
    ];
    let nanos = |seconds: i64| Unit::Nanos(seconds * 1_000_000_000);
    let time_units = [('H', nanos(3600)), ('M', nanos(60)), ('S', nanos(1))];
    let halves: [(&str, &[(char, Unit)]); 2] = [(date, &date_units), (time.unwrap_or_default(), &time_units)];
    for (mut rest, units) in halves {
        let mut next = 0;
        while !rest.is_empty() {
            let digits = rest.bytes().take_while(u8::is_ascii_digit).count();
            let designator = rest[digits..].chars().next()?.to_ascii_uppercase();
            let at = units[next..].iter().position(|(of, _)| *of == designator)? + next;
            sum.add(rest[..digits].parse().ok()?, units[at].1)?;
            next = at + 1;
            rest = &rest[digits + 1..];
            parts += 1;
        }
    }
    let complete = parts > 0 && time != Some("");
    sum.finish().filter(|_| complete)
}

/// `YYYY-MM-DDThh:mm:ss`.
fn parse_places(body: &str) -> Option<Duration> {
    let (date, time) = body.split_once(['T', 't'])?;
    let mut sum = Sum::default();
    let mut take = |part: Option<&str>, width: usize, unit: Unit| {
        let part = part.filter(|part| part.len() == width && part.bytes().all(|byte| byte.is_ascii_digit()))?;
        sum.add(part.parse().ok()?, unit)
    };
    let mut parts = date.split('-');
    take(parts.next(), 4, Unit::Months(12))?;
    take(parts.next(), 2, Unit::Months(1))?;
    take(parts.next(), 2, Unit::Days(1))?;
    let mut times = time.split(':');
    take(times.next(), 2, Unit::Nanos(3_600_000_000_000))?;
    take(times.next(), 2, Unit::Nanos(60_000_000_000))?;
    take(times.next(), 2, Unit::Nanos(1_000_000_000))?;
    let ends = parts.next().is_none() && times.next().is_none();
    sum.finish().filter(|_| ends)
}

/// A duration as text; `None` if it is none.
#[must_use]
pub fn parse(text: &str) -> Option<Duration> {
    match text.strip_prefix('-') {
        Some(rest) => {
            let Duration { months, days, nanos } = parse_unsigned(rest)?;
            Some(Duration {
                months: -months,
                days: -days,
                nanos: -nanos,
            })
        }
        None => parse_unsigned(text),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_every_form() {
        let is = |text: &str, months, days, nanos| {
            assert_eq!(parse(text), Some(Duration { months, days, nanos }), "{text}");
        };
        is("1y2mo3w4d5h6m7s8ms9us10ns", 14, 25, 18_367_008_009_010);
        is("-12h", 0, 0, -43_200_000_000_000);
        is("P1Y2M10DT2H30M", 14, 10, 9_000_000_000_000);
        is("P4W", 0, 28, 0);
        is("PT5S", 0, 0, 5_000_000_000);
        is("P0001-02-03T04:05:06", 14, 3, 14_706_000_000_000);
        for wrong in [
            "",
            "1",
            "1x",
            "P",
            "PT",
            "P1H",
            "P1D1Y",
            "99999999999y",
            "P1-1-1T1:1:1",
            "1h3",
        ] {
            assert_eq!(parse(wrong), None, "{wrong}");
        }
    }
}
