//! What `WITH compaction = {…}` says: names, defaults, bounds and messages of Apache Cassandra 4.
//!
//! The checks and their order are those of `CompactionParams.validate`, `AbstractCompactionStrategy.validateOptions`,
//! `SizeTieredCompactionStrategyOptions.validateOptions` and `TimeWindowCompactionStrategyOptions.validateOptions`. Three things differ:
//!
//! - A number that is not one is reported with the name of its option; Cassandra names `bucket_low` and `bucket_high` by
//!   their default values ("for 0.5") there.
//! - NaN, infinities and hexadecimal numbers are no numbers.
//! - [`TIME_TIERED`] is ours.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

/// Class of the size-tiered strategy, as Cassandra has it.
pub const SIZE_TIERED: &str = "SizeTieredCompactionStrategy";
/// Class of the time-window strategy, as Cassandra has it.
pub const TIME_WINDOW: &str = "TimeWindowCompactionStrategy";
/// Class of the time-tiered strategy, which Cassandra does not have.
pub const TIME_TIERED: &str = "TimeTieredCompactionStrategy";

/// Where Cassandra's classes live: a class may be named with it or without.
const PACKAGE: &str = "org.apache.cassandra.db.compaction.";

/// An option that cannot be taken; the statement must be corrected. Its message is Cassandra's.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct OptionError {
    what: String,
}

impl fmt::Display for OptionError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.what)
    }
}

impl std::error::Error for OptionError {}

type Result<T> = std::result::Result<T, OptionError>;

pub(crate) fn refuse<T>(what: String) -> Result<T> {
    Err(OptionError { what })
}

/// How a table is compacted.
#[derive(Clone, PartialEq, Debug)]
pub struct Options {
    /// Which files are merged.
    pub strategy: Strategy,
    /// `enabled` (true): whether anything is done in the background.
    pub enabled: bool,
    /// `min_threshold` (4, at least 2): with fewer files of a size nothing is merged.
    pub min_threshold: usize,
    /// `max_threshold` (32, at least `min_threshold`): the most files of one job. A run counts as one.
    pub max_threshold: usize,
    /// When a file is rewritten for its tombstones alone.
    pub tombstones: TombstoneOptions,
    /// `only_purge_repaired_tombstones` (false): there is no repair yet, so that with it nothing is ever purged: no file is
    /// dropped or rewritten for what is dead in it. The merge must keep tombstones, too.
    pub only_purge_repaired_tombstones: bool,
    /// `provide_overlapping_tombstones` (`NONE`): kept and shown; nothing acts on it.
    pub provide_overlapping_tombstones: OverlappingTombstones,
    /// `log_all` (false): whether each decision is logged, by who carries it out.
    pub log_all: bool,
}

/// Which files are merged.
#[derive(Clone, PartialEq, Debug)]
pub enum Strategy {
    /// Files of similar size.
    SizeTiered(Tiers),
    /// Files of one epoch of the clustering key's time.
    TimeTiered(TimeTiered),
    /// Files whose newest timestamp lies in one window.
    TimeWindow(TimeWindow),
}

/// What is of similar size.
#[derive(Clone, PartialEq, Debug)]
pub struct Tiers {
    /// `bucket_low` (0.5): a file belongs to a bucket if it is larger than this times its average …
    pub bucket_low: f64,
    /// `bucket_high` (1.5, more than `bucket_low`): … and smaller than this times it.
    pub bucket_high: f64,
    /// `min_sstable_size` (50 MiB), bytes: all files smaller than this are of one size.
    pub min_sstable_size: u64,
}

/// Options of [`TIME_TIERED`].
#[derive(Clone, PartialEq, Debug)]
pub struct TimeTiered {
    /// Of an open epoch's files, and of late ones.
    pub tiers: Tiers,
    /// `epoch_hours` (240, 1 to 87,600): the length of an epoch. Whoever lists the files numbers their epochs by it.
    pub epoch_hours: u32,
    /// `open_threshold` (16, at least 2): as `min_threshold`, of an open epoch's files, and where it is more than that; bounded by
    /// `max_threshold`. The epoch is rewritten when it settles, whatever was merged before, and its files hardly overlap in
    /// clustering order: merging often would cost writes and save no reads.
    pub open_threshold: usize,
    /// `late_threshold` (0.25, more than 0): late data are merged into their closed epoch when they reach this part of it.
    pub late_threshold: f64,
    /// `freed_threshold` (0.2, more than 0): … or when their deletions free this part of it.
    pub freed_threshold: f64,
    /// `snowflake_epoch_ms` (1,420,070,400,000, the start of 2015): where the milliseconds of a `bigint` clustering key begin, since the
    /// Unix epoch.
    pub snowflake_epoch_ms: i64,
}

/// Options of [`TIME_WINDOW`].
#[derive(Clone, PartialEq, Debug)]
pub struct TimeWindow {
    /// Of the newest window's files.
    pub tiers: Tiers,
    /// `compaction_window_unit` (`DAYS`; `MINUTES`, `HOURS`) times `compaction_window_size` (1, at least 1), in seconds.
    pub window_s: u64,
    /// `timestamp_resolution` (`MICROSECONDS`; `SECONDS`, `MILLISECONDS`, `NANOSECONDS`): how many timestamps a second has.
    pub timestamps_per_second: i64,
    /// `expired_sstable_check_frequency_seconds` (600): see [`Options::expired_check_is_due`].
    pub expired_check_every_s: u64,
    /// `unsafe_aggressive_sstable_expiration` (false): expired files are dropped whatever they shadow. What was deleted or
    /// overwritten can come back by it.
    pub unsafe_aggressive_sstable_expiration: bool,
}

/// When a file is rewritten alone, for its tombstones.
#[derive(Clone, PartialEq, Debug)]
pub struct TombstoneOptions {
    /// Whether that is done at all: always, but in time windows only if one of the options is set (and not to `false`).
    pub enabled: bool,
    /// `tombstone_threshold` (0.2): it must be more than this part of the file that can go.
    pub threshold: f64,
    /// `tombstone_compaction_interval` (86,400), seconds: the file must be as old as that. With 0, a file whose tombstones cannot go
    /// yet is rewritten again and again.
    pub interval_s: u64,
    /// `unchecked_tombstone_compaction` (false): it does not matter what other files hold.
    pub unchecked: bool,
}

/// Values of `provide_overlapping_tombstones`.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum OverlappingTombstones {
    /// `NONE`
    #[default]
    None,
    /// `ROW`
    Row,
    /// `CELL`
    Cell,
}

impl Default for Tiers {
    fn default() -> Self {
        Tiers {
            bucket_low: 0.5,
            bucket_high: 1.5,
            min_sstable_size: 50 << 20,
        }
    }
}

impl Default for TimeTiered {
    fn default() -> Self {
        TimeTiered {
            tiers: Tiers::default(),
            epoch_hours: 240,
            open_threshold: 16,
            late_threshold: 0.25,
            freed_threshold: 0.2,
            snowflake_epoch_ms: 1_420_070_400_000,
        }
    }
}

impl Default for TimeWindow {
    fn default() -> Self {
        TimeWindow {
            tiers: Tiers::default(),
            window_s: 86_400,
            timestamps_per_second: 1_000_000,
            expired_check_every_s: 600,
            unsafe_aggressive_sstable_expiration: false,
        }
    }
}

impl Default for TombstoneOptions {
    fn default() -> Self {
        TombstoneOptions {
            enabled: true,
            threshold: 0.2,
            interval_s: 86_400,
            unchecked: false,
        }
    }
}

impl Default for Options {
    /// Size-tiered, as of a table in Cassandra that says nothing.
    fn default() -> Self {
        Options::of(Strategy::SizeTiered(Tiers::default()))
    }
}

impl Strategy {
    /// Its class, as CQL names it.
    pub fn class(&self) -> &'static str {
        match self {
            Strategy::SizeTiered(_) => SIZE_TIERED,
            Strategy::TimeTiered(_) => TIME_TIERED,
            Strategy::TimeWindow(_) => TIME_WINDOW,
        }
    }
}

impl Options {
    /// A strategy, everything else by default.
    pub fn of(strategy: Strategy) -> Options {
        let tombstones = TombstoneOptions {
            enabled: !matches!(strategy, Strategy::TimeWindow(_)),
            ..TombstoneOptions::default()
        };
        Options {
            strategy,
            enabled: true,
            min_threshold: 4,
            max_threshold: 32,
            tombstones,
            only_purge_repaired_tombstones: false,
            provide_overlapping_tombstones: OverlappingTombstones::default(),
            log_all: false,
        }
    }

    /// Reads the map of CQL's `compaction` option, `class` included.
    ///
    /// `unsafe_expiration_allowed`: whether the node lets a table ask for `unsafe_aggressive_sstable_expiration`.
    ///
    /// # Errors
    /// The first thing that is wrong, in the order and with the message of Cassandra.
    ///
    /// ```
    /// use scrollback_compaction::Options;
    ///
    /// let of = |pairs: &[(&str, &str)]| {
    ///     let map = pairs.iter().map(|(name, value)| (name.to_string(), value.to_string())).collect();
    ///     Options::parse(&map, false)
    /// };
    /// let options = of(&[("class", "SizeTieredCompactionStrategy"), ("min_threshold", "8")])?;
    /// assert_eq!(options.min_threshold, 8);
    /// let refused = of(&[("class", "SizeTieredCompactionStrategy"), ("min_threshold", "1")]).unwrap_err();
    /// assert_eq!(refused.to_string(), "Min compaction threshold cannot be less than 2 (got 1)");
    /// # Ok::<(), scrollback_compaction::OptionError>(())
    /// ```
    pub fn parse(map: &BTreeMap<String, String>, unsafe_expiration_allowed: bool) -> Result<Options> {
        let mut asked = Asked {
            map,
            unknown: map.clone(),
        };
        let Some(class) = asked.take("class") else {
            return refuse("Missing sub-option 'class' for the 'compaction' option".to_owned());
        };
        let class = class.strip_prefix(PACKAGE).unwrap_or(class);
        if ![SIZE_TIERED, TIME_WINDOW, TIME_TIERED].contains(&class) {
            let package = if class.contains('.') { "" } else { PACKAGE };
            return refuse(format!("Unable to find compaction strategy class '{package}{class}'"));
        }
        let provide_overlapping_tombstones = asked.overlapping_tombstones()?;
        let mut tombstones = asked.tombstones()?;
        let log_all = asked.flag("log_all", |value| {
            format!("'log_all' should either be 'true' or 'false', not {value}")
        })?;
        let enabled = asked.flag("enabled", |value| {
            format!("enabled should either be 'true' or 'false', not {value}")
        })?;
        let repaired = asked.take("only_purge_repaired_tombstones");
        let strategy = match class {
            SIZE_TIERED => Strategy::SizeTiered(asked.tiers()?),
            TIME_TIERED => Strategy::TimeTiered(asked.time_tiered()?),
            _ => {
                let names = [
                    "unchecked_tombstone_compaction",
                    "tombstone_compaction_interval",
                    "tombstone_threshold",
                ];
                tombstones.enabled = names
                    .iter()
                    .filter_map(|name| map.get(*name))
                    .any(|value| value != "false");
                Strategy::TimeWindow(asked.time_window(unsafe_expiration_allowed)?)
            }
        };
        let (min, max) = (asked.take("min_threshold"), asked.take("max_threshold"));
        if !asked.unknown.is_empty() {
            let names: Vec<&str> = asked.unknown.keys().map(String::as_str).collect();
            return refuse(format!(
                "Properties specified [{}] are not understood by {class}",
                names.join(", ")
            ));
        }
        let (min_threshold, max_threshold) = thresholds(min, max)?;
        Ok(Options {
            enabled: enabled.unwrap_or(true),
            min_threshold,
            max_threshold,
            tombstones,
            only_purge_repaired_tombstones: repaired.is_some_and(|value| value.eq_ignore_ascii_case("true")),
            provide_overlapping_tombstones,
            log_all: log_all.unwrap_or(false),
            ..Options::of(strategy)
        })
    }

    /// Whether it is time to look for expired files again: `last_s` is when that was done last, `now_s` is now, in seconds since
    /// the Unix epoch. Every 10 minutes, or as `expired_sstable_check_frequency_seconds` says.
    pub fn expired_check_is_due(&self, last_s: Option<u32>, now_s: u32) -> bool {
        let every_s = match &self.strategy {
            Strategy::TimeWindow(window) => window.expired_check_every_s,
            _ => TimeWindow::default().expired_check_every_s,
        };
        last_s.is_none_or(|last_s| u64::from(now_s.saturating_sub(last_s)) > every_s || now_s < last_s)
    }
}

fn thresholds(min: Option<&str>, max: Option<&str>) -> Result<(usize, usize)> {
    let read = |name: &str, value: Option<&str>, default: i32| match value {
        None => Ok(default),
        Some(value) => {
            let number = value.bytes().all(|byte| byte.is_ascii_digit()).then(|| value.parse());
            match number {
                Some(Ok(number)) => Ok(number),
                _ => refuse(format!(
                    "Invalid value {value} for '{name}' compaction sub-option - must be an integer"
                )),
            }
        }
    };
    let (min, max) = (read("min_threshold", min, 4)?, read("max_threshold", max, 32)?);
    if min == 0 || max == 0 {
        return refuse(
            "Disabling compaction by setting compaction thresholds to 0 has been removed, set the compaction option 'enabled' to \
             false instead."
                .to_owned(),
        );
    }
    if min == 1 {
        return refuse(format!("Min compaction threshold cannot be less than 2 (got {min})"));
    }
    if min > max {
        return refuse(format!(
            "Min compaction threshold (got {min}) cannot be greater than max compaction threshold (got {max})"
        ));
    }
    Ok((min as usize, max as usize))
}

/// The map that was given, and which of its names nobody has taken yet.
struct Asked<'a> {
    map: &'a BTreeMap<String, String>,
    unknown: BTreeMap<String, String>,
}

impl<'a> Asked<'a> {
    fn take(&mut self, name: &str) -> Option<&'a str> {
        self.unknown.remove(name);
        self.map.get(name).map(String::as_str)
    }

    fn flag(&mut self, name: &str, message: impl Fn(&str) -> String) -> Result<Option<bool>> {
        match self.take(name) {
            None => Ok(None),
            Some(value) if value.eq_ignore_ascii_case("true") => Ok(Some(true)),
            Some(value) if value.eq_ignore_ascii_case("false") => Ok(Some(false)),
            Some(value) => refuse(message(value)),
        }
    }

    /// A number, `default` if it is not given.
    fn number<T>(&mut self, name: &str, default: T, read: impl Fn(&str) -> Option<T>) -> Result<T> {
        let Some(value) = self.take(name) else {
            return Ok(default);
        };
        match read(value) {
            Some(number) => Ok(number),
            None => refuse(format!("{value} is not a parsable int (base10) for {name}")),
        }
    }

    fn overlapping_tombstones(&mut self) -> Result<OverlappingTombstones> {
        let name = "provide_overlapping_tombstones";
        let value = self.take(name).unwrap_or("NONE").to_uppercase();
        match value.as_str() {
            "NONE" => Ok(OverlappingTombstones::None),
            "ROW" => Ok(OverlappingTombstones::Row),
            "CELL" => Ok(OverlappingTombstones::Cell),
            _ => refuse(format!(
                "Invalid value {value} for '{name}' compaction sub-option - must be one of the following [NONE, ROW, CELL]."
            )),
        }
    }

    fn tombstones(&mut self) -> Result<TombstoneOptions> {
        let default = TombstoneOptions::default();
        let threshold = self.number("tombstone_threshold", default.threshold, decimal)?;
        if threshold < 0.0 {
            return refuse(format!(
                "tombstone_threshold must be greater than 0, but was {threshold:.6}"
            ));
        }
        let interval_s = self.number("tombstone_compaction_interval", default.interval_s as i64, integer)?;
        let Ok(interval_s) = u64::try_from(interval_s) else {
            return refuse(format!(
                "tombstone_compaction_interval must be greater than 0, but was {interval_s}"
            ));
        };
        let unchecked = self.flag("unchecked_tombstone_compaction", |value| {
            format!("'unchecked_tombstone_compaction' should be either 'true' or 'false', not '{value}'")
        })?;
        Ok(TombstoneOptions {
            enabled: true,
            threshold,
            interval_s,
            unchecked: unchecked.unwrap_or(default.unchecked),
        })
    }

    fn tiers(&mut self) -> Result<Tiers> {
        let default = Tiers::default();
        let min_sstable_size = self.number("min_sstable_size", default.min_sstable_size as i64, integer)?;
        let Ok(min_sstable_size) = u64::try_from(min_sstable_size) else {
            return refuse(format!("min_sstable_size must be non negative: {min_sstable_size}"));
        };
        let bucket_low = self.number("bucket_low", default.bucket_low, decimal)?;
        let bucket_high = self.number("bucket_high", default.bucket_high, decimal)?;
        if bucket_high <= bucket_low {
            return refuse(format!(
                "Bucket high value ({bucket_high:?}) is less than or equal bucket low value ({bucket_low:?})"
            ));
        }
        Ok(Tiers {
            bucket_low,
            bucket_high,
            min_sstable_size,
        })
    }

    fn time_tiered(&mut self) -> Result<TimeTiered> {
        let default = TimeTiered::default();
        let epoch_hours = self.number("epoch_hours", i64::from(default.epoch_hours), integer)?;
        if !(1..=87_600).contains(&epoch_hours) {
            return refuse(format!("epoch_hours must be from 1 to 87600, but was {epoch_hours}"));
        }
        let open_threshold: i32 = self.number("open_threshold", default.open_threshold as i32, integer)?;
        if open_threshold < 2 {
            return refuse(format!("open_threshold must be at least 2, but was {open_threshold}"));
        }
        let late_threshold = self.number("late_threshold", default.late_threshold, decimal)?;
        let freed_threshold = self.number("freed_threshold", default.freed_threshold, decimal)?;
        for (name, value) in [("late_threshold", late_threshold), ("freed_threshold", freed_threshold)] {
            if value <= 0.0 {
                return refuse(format!("{name} must be greater than 0, but was {value:.6}"));
            }
        }
        let snowflake_epoch_ms = self.number("snowflake_epoch_ms", default.snowflake_epoch_ms, integer)?;
        Ok(TimeTiered {
            tiers: self.tiers()?,
            epoch_hours: epoch_hours as u32,
            open_threshold: open_threshold as usize,
            late_threshold,
            freed_threshold,
            snowflake_epoch_ms,
        })
    }

    fn time_window(&mut self, unsafe_expiration_allowed: bool) -> Result<TimeWindow> {
        let invalid = |name: &str, value: &str| refuse(format!("{value} is not valid for {name}"));
        let name = "timestamp_resolution";
        let timestamps_per_second = match self.take(name).unwrap_or("MICROSECONDS") {
            "SECONDS" => 1,
            "MILLISECONDS" => 1_000,
            "MICROSECONDS" => 1_000_000,
            "NANOSECONDS" => 1_000_000_000,
            value => return invalid(name, value),
        };
        let name = "compaction_window_unit";
        let unit_s = match self.take(name).unwrap_or("DAYS") {
            "MINUTES" => 60,
            "HOURS" => 3_600,
            "DAYS" => 86_400,
            value => return invalid(name, value),
        };
        let name = "compaction_window_size";
        let size: i32 = self.number(name, 1, integer)?;
        if size < 1 {
            return refuse(format!("{size} must be greater than 1 for {name}"));
        }
        let name = "expired_sstable_check_frequency_seconds";
        let every_s: i64 = self.number(name, 600, integer)?;
        let Ok(expired_check_every_s) = u64::try_from(every_s) else {
            return refuse(format!("{name} must not be negative, but was {every_s}"));
        };
        let name = "unsafe_aggressive_sstable_expiration";
        let aggressive = self.flag(name, |value| format!("{name} is not 'true' or 'false' ({value})"))?;
        if aggressive == Some(true) && !unsafe_expiration_allowed {
            return refuse(format!(
                "{name} is requested but not allowed, restart with allow_{name} = true to allow it"
            ));
        }
        Ok(TimeWindow {
            tiers: self.tiers()?,
            window_s: unit_s * size as u64,
            timestamps_per_second,
            expired_check_every_s,
            unsafe_aggressive_sstable_expiration: aggressive.unwrap_or(false),
        })
    }
}

/// As Java's `Integer.parseInt` and `Long.parseLong` read it: digits with or without a sign.
fn integer<T: FromStr>(value: &str) -> Option<T> {
    value.parse().ok()
}

/// As Java's `Double.parseDouble` reads a decimal number: blanks around it and a `d` or `f` behind it do not matter.
fn decimal(value: &str) -> Option<f64> {
    let value = value.trim();
    let value = value.strip_suffix(['d', 'D', 'f', 'F']).unwrap_or(value);
    let legal = |c: char| c.is_ascii_digit() || "+-.eE".contains(c);
    value
        .chars()
        .all(legal)
        .then(|| value.parse().ok())
        .flatten()
        .filter(|number: &f64| number.is_finite())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> std::result::Result<Options, String> {
        let pairs = text.split_terminator(',').map(|pair| pair.split_once('=').unwrap());
        let map = pairs.map(|(name, value)| (name.to_owned(), value.to_owned())).collect();
        Options::parse(&map, false).map_err(|error| error.to_string())
    }

    #[test]
    fn defaults_are_cassandras() {
        assert_eq!(parse("class=SizeTieredCompactionStrategy"), Ok(Options::default()));
        let window = parse("class=org.apache.cassandra.db.compaction.TimeWindowCompactionStrategy").unwrap();
        assert_eq!(window, Options::of(Strategy::TimeWindow(TimeWindow::default())));
        assert!(!window.tombstones.enabled, "in time windows only if asked for");
        let tiered = parse("class=TimeTieredCompactionStrategy").unwrap();
        assert_eq!(tiered, Options::of(Strategy::TimeTiered(TimeTiered::default())));
        for options in [window, tiered] {
            let class = format!("class={}", options.strategy.class());
            assert_eq!(parse(&class), Ok(options));
        }
    }

    #[test]
    fn all_options_are_read() {
        let options = parse(
            "class=SizeTieredCompactionStrategy,min_threshold=2,max_threshold=64,bucket_low=0.25,bucket_high= 2f ,min_sstable_size=0,\
             tombstone_threshold=0.5,tombstone_compaction_interval=60,unchecked_tombstone_compaction=TRUE,enabled=false,log_all=true,\
             only_purge_repaired_tombstones=true,provide_overlapping_tombstones=row",
        );
        let tiers = Tiers {
            bucket_low: 0.25,
            bucket_high: 2.0,
            min_sstable_size: 0,
        };
        let expected = Options {
            strategy: Strategy::SizeTiered(tiers.clone()),
            enabled: false,
            min_threshold: 2,
            max_threshold: 64,
            tombstones: TombstoneOptions {
                enabled: true,
                threshold: 0.5,
                interval_s: 60,
                unchecked: true,
            },
            only_purge_repaired_tombstones: true,
            provide_overlapping_tombstones: OverlappingTombstones::Row,
            log_all: true,
        };
        assert_eq!(options, Ok(expected));

        let options = parse(
            "class=TimeWindowCompactionStrategy,compaction_window_unit=HOURS,compaction_window_size=6,timestamp_resolution=MILLISECONDS,\
             expired_sstable_check_frequency_seconds=0,unsafe_aggressive_sstable_expiration=false,bucket_low=0.25,bucket_high=2,\
             min_sstable_size=0",
        );
        let expected = TimeWindow {
            tiers: tiers.clone(),
            window_s: 6 * 3600,
            timestamps_per_second: 1000,
            expired_check_every_s: 0,
            unsafe_aggressive_sstable_expiration: false,
        };
        assert_eq!(options.unwrap().strategy, Strategy::TimeWindow(expected));

        let options = parse(
            "class=TimeTieredCompactionStrategy,epoch_hours=24,open_threshold=5,late_threshold=0.5,freed_threshold=0.1,snowflake_epoch_ms=7,bucket_low=0.25,bucket_high=2,\
             min_sstable_size=0",
        );
        let expected = TimeTiered {
            tiers,
            epoch_hours: 24,
            open_threshold: 5,
            late_threshold: 0.5,
            freed_threshold: 0.1,
            snowflake_epoch_ms: 7,
        };
        assert_eq!(options.unwrap().strategy, Strategy::TimeTiered(expected));
    }

    #[test]
    fn refusals_have_cassandras_words() {
        let size = "class=SizeTieredCompactionStrategy,";
        let window = "class=TimeWindowCompactionStrategy,";
        let tiered = "class=TimeTieredCompactionStrategy,";
        let cases = [
            ("", "", "Missing sub-option 'class' for the 'compaction' option"),
            (
                "",
                "class=LeveledCompactionStrategy",
                "Unable to find compaction strategy class 'org.apache.cassandra.db.compaction.LeveledCompactionStrategy'",
            ),
            (
                "",
                "class=com.example.Mine",
                "Unable to find compaction strategy class 'com.example.Mine'",
            ),
            (
                size,
                "min_threshold=x",
                "Invalid value x for 'min_threshold' compaction sub-option - must be an integer",
            ),
            (
                size,
                "max_threshold=-1",
                "Invalid value -1 for 'max_threshold' compaction sub-option - must be an integer",
            ),
            (
                size,
                "max_threshold=",
                "Invalid value  for 'max_threshold' compaction sub-option - must be an integer",
            ),
            (
                size,
                "max_threshold=99999999999",
                "Invalid value 99999999999 for 'max_threshold' compaction sub-option - must be an integer",
            ),
            (
                size,
                "min_threshold=0",
                "Disabling compaction by setting compaction thresholds to 0 has been removed, set the compaction option 'enabled' to false instead.",
            ),
            (
                size,
                "min_threshold=1",
                "Min compaction threshold cannot be less than 2 (got 1)",
            ),
            (
                size,
                "max_threshold=3",
                "Min compaction threshold (got 4) cannot be greater than max compaction threshold (got 3)",
            ),
            (size, "min_sstable_size=-5", "min_sstable_size must be non negative: -5"),
            (
                size,
                "min_sstable_size=50MB",
                "50MB is not a parsable int (base10) for min_sstable_size",
            ),
            (
                size,
                "bucket_low=low",
                "low is not a parsable int (base10) for bucket_low",
            ),
            (
                size,
                "bucket_high=NaN",
                "NaN is not a parsable int (base10) for bucket_high",
            ),
            (
                size,
                "bucket_low=1.5",
                "Bucket high value (1.5) is less than or equal bucket low value (1.5)",
            ),
            (
                size,
                "bucket_low=2",
                "Bucket high value (1.5) is less than or equal bucket low value (2.0)",
            ),
            (
                size,
                "tombstone_threshold=-0.5",
                "tombstone_threshold must be greater than 0, but was -0.500000",
            ),
            (
                size,
                "tombstone_threshold=a",
                "a is not a parsable int (base10) for tombstone_threshold",
            ),
            (
                size,
                "tombstone_compaction_interval=-1",
                "tombstone_compaction_interval must be greater than 0, but was -1",
            ),
            (
                size,
                "tombstone_compaction_interval=1.5",
                "1.5 is not a parsable int (base10) for tombstone_compaction_interval",
            ),
            (
                size,
                "unchecked_tombstone_compaction=yes",
                "'unchecked_tombstone_compaction' should be either 'true' or 'false', not 'yes'",
            ),
            (size, "log_all=1", "'log_all' should either be 'true' or 'false', not 1"),
            (size, "enabled=on", "enabled should either be 'true' or 'false', not on"),
            (
                size,
                "provide_overlapping_tombstones=all",
                "Invalid value ALL for 'provide_overlapping_tombstones' compaction sub-option - must be one of the following [NONE, ROW, CELL].",
            ),
            (
                size,
                "sstable_size_in_mb=160,b=1",
                "Properties specified [b, sstable_size_in_mb] are not understood by SizeTieredCompactionStrategy",
            ),
            (
                size,
                "compaction_window_size=1",
                "Properties specified [compaction_window_size] are not understood by SizeTieredCompactionStrategy",
            ),
            (
                window,
                "timestamp_resolution=MINUTES",
                "MINUTES is not valid for timestamp_resolution",
            ),
            (
                window,
                "compaction_window_unit=days",
                "days is not valid for compaction_window_unit",
            ),
            (
                window,
                "compaction_window_unit=SECONDS",
                "SECONDS is not valid for compaction_window_unit",
            ),
            (
                window,
                "compaction_window_size=0",
                "0 must be greater than 1 for compaction_window_size",
            ),
            (
                window,
                "compaction_window_size=a",
                "a is not a parsable int (base10) for compaction_window_size",
            ),
            (
                window,
                "expired_sstable_check_frequency_seconds=-1",
                "expired_sstable_check_frequency_seconds must not be negative, but was -1",
            ),
            (
                window,
                "expired_sstable_check_frequency_seconds=",
                " is not a parsable int (base10) for expired_sstable_check_frequency_seconds",
            ),
            (
                window,
                "unsafe_aggressive_sstable_expiration=1",
                "unsafe_aggressive_sstable_expiration is not 'true' or 'false' (1)",
            ),
            (
                window,
                "unsafe_aggressive_sstable_expiration=true",
                "unsafe_aggressive_sstable_expiration is requested but not allowed, restart with allow_unsafe_aggressive_sstable_expiration = true to allow it",
            ),
            (
                window,
                "bucket_high=0.1",
                "Bucket high value (0.1) is less than or equal bucket low value (0.5)",
            ),
            (
                tiered,
                "epoch_hours=0",
                "epoch_hours must be from 1 to 87600, but was 0",
            ),
            (
                tiered,
                "open_threshold=1",
                "open_threshold must be at least 2, but was 1",
            ),
            (
                tiered,
                "late_threshold=0",
                "late_threshold must be greater than 0, but was 0.000000",
            ),
            (
                tiered,
                "freed_threshold=-1",
                "freed_threshold must be greater than 0, but was -1.000000",
            ),
        ];
        for (class, text, message) in cases {
            assert_eq!(
                parse(&format!("{class}{text}")),
                Err(message.to_owned()),
                "{class}{text}"
            );
        }
    }

    #[test]
    fn unsafe_expiration_needs_leave_of_the_node() {
        let pairs = [("class", TIME_WINDOW), ("unsafe_aggressive_sstable_expiration", "TRUE")];
        let map = BTreeMap::from(pairs.map(|(name, value)| (name.to_owned(), value.to_owned())));
        assert!(Options::parse(&map, false).is_err());
        let Ok(Strategy::TimeWindow(window)) = Options::parse(&map, true).map(|options| options.strategy) else {
            panic!("it is allowed");
        };
        assert!(window.unsafe_aggressive_sstable_expiration);
    }

    #[test]
    fn tombstones_of_time_windows_are_compacted_if_an_option_says_so() {
        let of = |text: &str| {
            parse(&format!("class=TimeWindowCompactionStrategy,{text}"))
                .unwrap()
                .tombstones
                .enabled
        };
        assert!(
            of("tombstone_threshold=0.2")
                && of("tombstone_compaction_interval=1")
                && of("unchecked_tombstone_compaction=true")
        );
        assert!(!of("unchecked_tombstone_compaction=false") && !of("log_all=true"));
    }

    #[test]
    fn expired_files_are_looked_for_now_and_then() {
        let options = Options::default();
        assert!(options.expired_check_is_due(None, 0));
        assert!(!options.expired_check_is_due(Some(1000), 1600));
        assert!(options.expired_check_is_due(Some(1000), 1601));
        assert!(options.expired_check_is_due(Some(1000), 999), "the clock was set back");
    }
}
