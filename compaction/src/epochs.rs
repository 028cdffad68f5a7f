//! Epochs: spans of the clustering key's own time, and where in a partition each begins.
//!
//! The first clustering column tells the time: a `timestamp`, a `timeuuid`, or a `bigint` that is a snowflake, with milliseconds since
//! `snowflake_epoch_ms` in its upper 41 bits. Epochs are numbered from the Unix epoch, those of snowflakes from theirs, so that they
//! are aligned with windows that are counted from there.

use model::{CqlType, Schema};

use crate::options::{OptionError, TimeTiered, refuse};
use crate::{Epoch, EpochShare};

/// Bits of a snowflake below its milliseconds.
const SNOWFLAKE_SHIFT: u32 = 22;
/// From the start of the Gregorian calendar to the Unix epoch, in the 100 ns of a timeuuid.
const GREGORIAN_TICKS: i64 = 0x01B2_1DD2_1381_4000;
const TICKS_PER_MS: i64 = 10_000;
/// Ticks of a timeuuid have so many bits.
const TICKS_MAX: i64 = (1 << 60) - 1;

/// What the first clustering column is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Clock {
    Snowflake { epoch_ms: i64 },
    Timestamp,
    TimeUuid,
}

/// How a table's clustering key is divided into epochs.
#[derive(Clone, Debug)]
pub struct Epochs {
    /// Whose columns encode keys.
    schema: Schema,
    clock: Clock,
    descending: bool,
    hours: u32,
    span_ms: i64,
}

impl Epochs {
    /// Of a table with these options.
    ///
    /// # Errors
    /// If its first clustering column has no time.
    pub fn new(schema: &Schema, tiered: &TimeTiered) -> Result<Epochs, OptionError> {
        let Some(first) = schema.clustering.first() else {
            return refuse(format!(
                "{} needs a clustering column, and {} has none",
                crate::TIME_TIERED,
                schema.qualified_name()
            ));
        };
        let clock = match first.column.ty {
            CqlType::BigInt => Clock::Snowflake {
                epoch_ms: tiered.snowflake_epoch_ms,
            },
            CqlType::Timestamp => Clock::Timestamp,
            CqlType::TimeUuid => Clock::TimeUuid,
            _ => {
                return refuse(format!(
                    "{} needs a first clustering column of type timestamp, timeuuid or bigint (a snowflake), and {} is of type {}",
                    crate::TIME_TIERED,
                    first.column.name,
                    first.column.ty
                ));
            }
        };
        Ok(Epochs {
            schema: schema.clone(),
            clock,
            descending: first.descending,
            hours: tiered.epoch_hours,
            span_ms: i64::from(tiered.epoch_hours) * 3_600_000,
        })
    }

    /// Length of an epoch, hours.
    pub fn hours(&self) -> u32 {
        self.hours
    }

    /// Whether the latest epoch comes first in a partition.
    pub fn is_descending(&self) -> bool {
        self.descending
    }

    /// The epoch of a moment, in milliseconds since the Unix epoch.
    pub fn at(&self, unix_ms: i64) -> Epoch {
        let since = match self.clock {
            Clock::Snowflake { epoch_ms } => unix_ms.saturating_sub(epoch_ms),
            Clock::Timestamp | Clock::TimeUuid => unix_ms,
        };
        Epoch(since.div_euclid(self.span_ms))
    }

    /// When an epoch begins, in milliseconds since the Unix epoch.
    pub fn first_ms(&self, epoch: Epoch) -> i64 {
        let since = epoch.0.saturating_mul(self.span_ms);
        match self.clock {
            Clock::Snowflake { epoch_ms } => since.saturating_add(epoch_ms),
            Clock::Timestamp | Clock::TimeUuid => since,
        }
    }

    /// The epoch of a row.
    pub fn of(&self, clustering: &[u8]) -> Epoch {
        let value = match self.schema.decode_position(clustering) {
            Ok((values, _)) => values.into_iter().next().unwrap_or_default(),
            Err(_) => Vec::new(),
        };
        let ms = match (self.clock, &value[..]) {
            (Clock::Snowflake { .. }, &[a, b, c, d, e, f, g, h]) => {
                i64::from_be_bytes([a, b, c, d, e, f, g, h]) >> SNOWFLAKE_SHIFT
            }
            (Clock::Timestamp, &[a, b, c, d, e, f, g, h]) => i64::from_be_bytes([a, b, c, d, e, f, g, h]),
            (Clock::TimeUuid, &[low_3, low_2, low_1, low_0, mid_1, mid_0, high_1, high_0, ..]) => {
                let ticks = [high_1 & 0x0f, high_0, mid_1, mid_0, low_3, low_2, low_1, low_0];
                (i64::from_be_bytes(ticks) - GREGORIAN_TICKS).div_euclid(TICKS_PER_MS)
            }
            // An empty value sorts before all others.
            _ => i64::MIN,
        };
        Epoch(ms.div_euclid(self.span_ms))
    }

    /// Where the epoch begins in a partition: its rows lie at or after this position, and before that where the next one in the
    /// order of rows begins. `None` if no key can lie so early (or, descending, so late) that anything stands before it.
    pub fn start(&self, epoch: Epoch) -> Option<Vec<u8>> {
        let first_ms = |epoch: i64| epoch.checked_mul(self.span_ms);
        // Descending, an epoch begins with its last key.
        let value = if self.descending {
            let end = self.key_at(first_ms(epoch.0.checked_add(1)?)?)?;
            self.value(end.checked_sub(1)?, true)
        } else {
            self.value(self.key_at(first_ms(epoch.0)?)?, false)
        };
        let position = self.schema.encode_clustering(&[&value]);
        Some(position.expect("a value of the column's type"))
    }

    /// The smallest number of a key at or after a millisecond; `None` if there is none, or if it is the very first.
    fn key_at(&self, ms: i64) -> Option<i64> {
        match self.clock {
            Clock::Snowflake { .. } => ms.checked_mul(1 << SNOWFLAKE_SHIFT),
            Clock::Timestamp => Some(ms),
            Clock::TimeUuid => {
                let ticks = ms.checked_mul(TICKS_PER_MS)?.checked_add(GREGORIAN_TICKS)?;
                (1..=TICKS_MAX).contains(&ticks).then_some(ticks)
            }
        }
    }

    /// The value of a number; of a timeuuid the last one of its time, or the first.
    fn value(&self, number: i64, last: bool) -> Vec<u8> {
        if self.clock != Clock::TimeUuid {
            return number.to_be_bytes().to_vec();
        }
        let [high_1, high_0, mid_1, mid_0, low @ ..] = number.to_be_bytes();
        let mut value = low.to_vec();
        value.extend([mid_1, mid_0, 0x10 | high_1, high_0]);
        // The lower half sorts as signed bytes.
        value.extend([if last { 0x7f } else { 0x80 }; 8]);
        value
    }
}

/// Counts what a file holds of each epoch, while it is written.
#[derive(Debug)]
pub struct EpochTally<'a> {
    epochs: &'a Epochs,
    /// Ascending.
    counts: Vec<Count>,
    /// The one that the last row was of, and where it lies.
    last: Option<usize>,
    start: Option<Vec<u8>>,
    end: Option<Vec<u8>>,
}

#[derive(Clone, Copy, Debug)]
struct Count {
    epoch: Epoch,
    bytes: u64,
    shadowed_rows: u64,
    shadowed_bytes: u64,
}

impl<'a> EpochTally<'a> {
    /// Nothing yet.
    pub fn new(epochs: &'a Epochs) -> EpochTally<'a> {
        EpochTally {
            epochs,
            counts: Vec::new(),
            last: None,
            start: None,
            end: None,
        }
    }

    /// Counts a row of so many bytes; `is_dead`: a row tombstone, which makes a row elsewhere useless; `is_update`: it was not inserted,
    /// and makes as much useless as it has itself.
    #[inline]
    pub fn row(&mut self, clustering: &[u8], bytes: usize, is_dead: bool, is_update: bool) {
        let is_same = self.start.as_deref().is_none_or(|start| start <= clustering)
            && self.end.as_deref().is_none_or(|end| clustering < end);
        let at = match self.last.filter(|_| is_same) {
            Some(at) => at,
            None => self.find(clustering),
        };
        let count = &mut self.counts[at];
        count.bytes += bytes as u64;
        count.shadowed_rows += u64::from(is_dead);
        count.shadowed_bytes += if is_update && !is_dead { bytes as u64 } else { 0 };
    }

    /// Counts bytes of other files that a deletion of a partition makes useless.
    pub fn shadowed(&mut self, epoch: Epoch, bytes: u64) {
        let at = self.index(epoch);
        self.counts[at].shadowed_bytes += bytes;
    }

    fn index(&mut self, epoch: Epoch) -> usize {
        let found = self.counts.binary_search_by_key(&epoch, |count| count.epoch);
        found.unwrap_or_else(|at| {
            let none = Count {
                epoch,
                bytes: 0,
                shadowed_rows: 0,
                shadowed_bytes: 0,
            };
            self.counts.insert(at, none);
            self.last = None;
            at
        })
    }

    #[cold]
    fn find(&mut self, clustering: &[u8]) -> usize {
        let epoch = self.epochs.of(clustering);
        let at = self.index(epoch);
        let after = if self.epochs.descending { -1 } else { 1 };
        self.start = self.epochs.start(epoch);
        self.end = epoch
            .0
            .checked_add(after)
            .and_then(|next| self.epochs.start(Epoch(next)));
        self.last = Some(at);
        at
    }

    /// What the file holds of each epoch, ascending. `file_bytes` are divided as the counted ones lie; a row elsewhere has
    /// `row_bytes` on average.
    pub fn shares(&self, file_bytes: u64, row_bytes: u64) -> Vec<EpochShare> {
        let counted: u64 = self.counts.iter().map(|count| count.bytes).sum();
        let share = |count: &Count| EpochShare {
            epoch: count.epoch,
            bytes: (u128::from(count.bytes) * u128::from(file_bytes) / u128::from(counted.max(1))) as u64,
            shadowed_bytes: count
                .shadowed_bytes
                .saturating_add(count.shadowed_rows.saturating_mul(row_bytes)),
        };
        self.counts.iter().map(share).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn table(ty: CqlType, descending: bool) -> Schema {
        let builder = Schema::builder("k", "t").partition_key("p", CqlType::Int);
        let builder = match descending {
            true => builder.clustering_desc("c", ty),
            false => builder.clustering("c", ty),
        };
        builder.clustering("d", CqlType::Int).build().expect("legal")
    }

    fn epochs(ty: CqlType, descending: bool, hours: u32) -> Epochs {
        let tiered = TimeTiered {
            epoch_hours: hours,
            ..TimeTiered::default()
        };
        Epochs::new(&table(ty, descending), &tiered).expect("has a time")
    }

    fn key(epochs: &Epochs, value: &[u8]) -> Vec<u8> {
        epochs
            .schema
            .encode_clustering(&[value, &7_i32.to_be_bytes()])
            .expect("legal")
    }

    #[test]
    fn a_moment_and_a_key_of_it_have_one_epoch() {
        let now_ms = 1_700_000_000_123_i64;
        let snowflake = epochs(CqlType::BigInt, true, 240);
        let id = (now_ms - 1_420_070_400_000) << 22 | 77;
        assert_eq!(snowflake.of(&key(&snowflake, &id.to_be_bytes())), snowflake.at(now_ms));
        assert_eq!(snowflake.at(1_420_070_400_000), Epoch(0), "the epoch of the ids");
        for of in [&snowflake, &epochs(CqlType::Timestamp, false, 24)] {
            let epoch = of.at(now_ms);
            let (first, after) = (of.first_ms(epoch), of.first_ms(Epoch(epoch.0 + 1)));
            assert_eq!((of.at(first), of.at(first - 1)), (epoch, Epoch(epoch.0 - 1)));
            assert!((first..after).contains(&now_ms));
        }
        assert_eq!(snowflake.at(1_420_070_399_999), Epoch(-1));
        let timestamp = epochs(CqlType::Timestamp, false, 24);
        assert_eq!(
            timestamp.of(&key(&timestamp, &now_ms.to_be_bytes())),
            timestamp.at(now_ms)
        );
        let uuid = epochs(CqlType::TimeUuid, true, 1);
        // 2023-11-14T22:13:20.123Z, as another program made it.
        let value = 0xf2e7_4fb0_833a_11ee_8080_8080_8080_8080_u128.to_be_bytes();
        let ticks = i64::from_be_bytes([0x01, 0xee, 0x83, 0x3a, 0xf2, 0xe7, 0x4f, 0xb0]);
        let ms = (ticks - GREGORIAN_TICKS) / 10_000;
        assert_eq!(uuid.of(&key(&uuid, &value)), uuid.at(ms));
        assert_eq!(uuid.of(&key(&uuid, &[])), Epoch(i64::MIN.div_euclid(3_600_000)));
    }

    #[test]
    fn a_table_without_a_time_is_refused() {
        let told = Epochs::new(&table(CqlType::Text, false), &TimeTiered::default()).expect_err("refused");
        assert!(told.to_string().contains("c is of type text"), "{told}");
        let flat = Schema::builder("k", "t").partition_key("p", CqlType::Int).build();
        let told = Epochs::new(&flat.expect("legal"), &TimeTiered::default()).expect_err("refused");
        assert!(told.to_string().contains("k.t has none"), "{told}");
    }

    #[test]
    fn shares_are_of_what_was_counted() {
        let epochs = epochs(CqlType::Timestamp, false, 1);
        let mut tally = EpochTally::new(&epochs);
        for (hour, bytes, is_dead, is_update) in [
            (3, 10, false, false),
            (3, 20, false, true),
            (5, 30, true, true),
            (4, 40, false, false),
            (3, 0, true, true),
        ] {
            tally.row(
                &key(&epochs, &(hour * 3_600_000_i64 + 9).to_be_bytes()),
                bytes,
                is_dead,
                is_update,
            );
        }
        tally.shadowed(Epoch(1), 11);
        let share = |epoch, bytes, shadowed_bytes| EpochShare {
            epoch: Epoch(epoch),
            bytes,
            shadowed_bytes,
        };
        assert_eq!(
            tally.shares(1000, 7),
            [share(1, 0, 11), share(3, 300, 27), share(4, 400, 0), share(5, 300, 7)]
        );
    }

    proptest! {
        /// Rows of an epoch lie between its start and the next one's.
        #[test]
        fn prop_starts_divide_keys(
            ty in prop_oneof![Just(CqlType::BigInt), Just(CqlType::Timestamp), Just(CqlType::TimeUuid)],
            descending in any::<bool>(),
            hours in 1..1000_u32,
            numbers in proptest::collection::vec(prop_oneof![any::<i64>(), -1_000_000_000_000..2_000_000_000_000_i64], 1..20),
            low in any::<u64>(),
        ) {
            let epochs = epochs(ty.clone(), descending, hours);
            let mut tally = EpochTally::new(&epochs);
            let mut expected = std::collections::BTreeMap::new();
            for number in numbers {
                let value = match ty {
                    CqlType::TimeUuid => {
                        let mut value = epochs.value(number & TICKS_MAX, false);
                        value[8..].copy_from_slice(&(low & 0x3fff_ffff_ffff_ffff | 1 << 63).to_be_bytes());
                        value
                    }
                    _ => number.to_be_bytes().to_vec(),
                };
                let key = key(&epochs, &value);
                let epoch = epochs.of(&key);
                tally.row(&key, 1, false, false);
                *expected.entry(epoch).or_insert(0) += 1_u64;
                for (other, before) in [(epoch.0 - 1, !descending), (epoch.0, false), (epoch.0 + 1, descending)] {
                    let Some(start) = epochs.start(Epoch(other)) else { continue };
                    let lies_in_or_after = start <= key;
                    let expected = other == epoch.0 || before;
                    prop_assert_eq!(lies_in_or_after, expected, "epoch {} of a key of {}", other, epoch.0);
                }
            }
            let counted: Vec<_> = tally.counts.iter().map(|count| (count.epoch, count.bytes)).collect();
            prop_assert_eq!(counted, expected.into_iter().collect::<Vec<_>>());
        }
    }
}
