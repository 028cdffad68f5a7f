//! How a configuration file says a setting of each kind.

use super::{Body, Size, SyncMode};
use std::time::Duration;
use toml::de::DeValue;

/// A value of a configuration file.
pub(super) type Said<'a> = DeValue<'a>;

/// A kind of settings.
pub(super) trait Setting: Sized {
    /// What a file says; else what it must say.
    fn read(said: &Said<'_>) -> Result<Self, String>;

    /// What a file would say; `None`: nothing, it leaves the setting out.
    #[cfg(test)]
    fn say(&self) -> Option<String>;
}

impl<T: Setting> Setting for Option<T> {
    fn read(said: &Said<'_>) -> Result<Self, String> {
        T::read(said).map(Some)
    }

    #[cfg(test)]
    fn say(&self) -> Option<String> {
        self.as_ref().and_then(T::say)
    }
}

impl Setting for bool {
    fn read(said: &Said<'_>) -> Result<Self, String> {
        said.as_bool().ok_or_else(|| "it is true or false".to_owned())
    }

    #[cfg(test)]
    fn say(&self) -> Option<String> {
        Some(self.to_string())
    }
}

/// A whole number, or a size as people write them.
fn number(said: &Said<'_>) -> Result<u64, String> {
    let wrong = || "it is a whole number, or a size as \"64MiB\"".to_owned();
    match said {
        DeValue::Integer(digits) => u64::from_str_radix(digits.as_str(), digits.radix()).map_err(|_| wrong()),
        DeValue::String(text) => text.parse().map(|Size(bytes)| bytes).map_err(|_| wrong()),
        _ => Err(wrong()),
    }
}

macro_rules! numbers {
    ($($kind:ty),+) => {$(
        impl Setting for $kind {
            fn read(said: &Said<'_>) -> Result<Self, String> {
                let number = number(said)?;
                number.try_into().map_err(|_| format!("it is {number}, and at most {}", <$kind>::MAX))
            }

            #[cfg(test)]
            fn say(&self) -> Option<String> {
                let size = Size(u64::try_from(*self).expect("it fits"));
                let text = size.to_string();
                Some(if text.ends_with('B') { format!("\"{text}\"") } else { text })
            }
        }
    )+};
}

numbers!(usize, u32, u64);

/// Units of time, the smallest first, and how many milliseconds they have.
const UNITS: [(&str, u64); 3] = [("ms", 1), ("s", 1000), ("min", 60_000)];

/// A time as `10s`, `250ms` or `2min`.
fn duration(text: &str) -> Option<Duration> {
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let (number, unit) = text.split_at(digits);
    let (_, millis) = UNITS.iter().find(|(name, _)| *name == unit.trim_start())?;
    number
        .parse::<u64>()
        .ok()?
        .checked_mul(*millis)
        .map(Duration::from_millis)
}

impl Setting for Duration {
    fn read(said: &Said<'_>) -> Result<Self, String> {
        let read = said.as_str().and_then(duration);
        read.ok_or_else(|| "it is a time, as \"250ms\", \"10s\" or \"2min\"".to_owned())
    }

    #[cfg(test)]
    fn say(&self) -> Option<String> {
        let whole = UNITS
            .iter()
            .rev()
            .find(|(_, millis)| self.as_millis().is_multiple_of(u128::from(*millis)));
        whole.map(|(unit, millis)| format!("\"{}{unit}\"", self.as_millis() / u128::from(*millis)))
    }
}

impl Setting for SyncMode {
    fn read(said: &Said<'_>) -> Result<Self, String> {
        let wrong = || "it is \"group\", or \"periodic\" and a time, as \"periodic 10ms\"".to_owned();
        let text = said.as_str().ok_or_else(wrong)?;
        match text.split_once(' ') {
            None if text == "group" => Ok(SyncMode::Group),
            Some(("periodic", period)) => {
                let period = duration(period.trim_start()).ok_or_else(wrong)?;
                Ok(SyncMode::Periodic { period })
            }
            _ => Err(wrong()),
        }
    }

    #[cfg(test)]
    fn say(&self) -> Option<String> {
        match self {
            SyncMode::Group => Some("\"group\"".to_owned()),
            SyncMode::Periodic { period } => period
                .say()
                .map(|period| format!("\"periodic {}\"", period.trim_matches('"'))),
        }
    }
}

impl Setting for Body {
    fn read(said: &Said<'_>) -> Result<Self, String> {
        match said.as_str() {
            Some("uring") => Ok(Body::Uring),
            Some("threads") => Ok(Body::Threads),
            _ => Err("it is \"uring\" or \"threads\"".to_owned()),
        }
    }

    #[cfg(test)]
    fn say(&self) -> Option<String> {
        let name = match self {
            Body::Uring => "uring",
            Body::Threads => "threads",
        };
        Some(format!("\"{name}\""))
    }
}
