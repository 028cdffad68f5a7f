//! Ids for messages that come with a time but without an id.
//!
//! The id follows from the time and from the message's place among all messages of that millisecond in its file, so a
//! file imported twice gives the same ids twice. The place spills from the 12 bits of the sequence into the workers
//! 992..=1023, which nothing else uses. In a file sorted by time the places are counted with one counter; in any other,
//! [`OrderScan`] finds in a first pass how late a line can come, and [`ImportIds`] forgets a millisecond when no line of
//! it can follow.

use crate::{
    Epoch, Error, MessageId, Result,
    snowflake::{SEQUENCES, WORKERS},
};
use std::{collections::BTreeMap, ops::Range};

/// The workers that only import ids carry.
pub const IMPORT_WORKERS: Range<u16> = 992..WORKERS;
/// How many messages of one millisecond get an id: all places of all import workers but the last, which would give
/// 2^63-1, not an id, in the last millisecond of all.
pub const IMPORTS_PER_MILLISECOND: u32 = (IMPORT_WORKERS.end - IMPORT_WORKERS.start) as u32 * SEQUENCES as u32 - 1;
/// Milliseconds with their counts that are kept at most, about 100 MiB.
const MILLISECONDS_KEPT_MAX: usize = 4 << 20;

/// The id of the message that comes as number `place` (from 0) among those of its millisecond.
///
/// # Errors
/// [`Error::BeforeEpoch`], [`Error::BeyondIds`], [`Error::MillisecondFull`].
pub fn import_id(epoch: Epoch, unix_ms: i64, place: u32) -> Result<MessageId> {
    let time_ms = epoch.since(unix_ms)?;
    if place >= IMPORTS_PER_MILLISECOND {
        return Err(Error::MillisecondFull { unix_ms });
    }
    let worker = IMPORT_WORKERS.start + (place / u32::from(SEQUENCES)) as u16;
    let sequence = (place % u32::from(SEQUENCES)) as u16;
    Ok(MessageId::from_parts(time_ms, worker, sequence).expect("time, place and worker are within their bits"))
}

/// Finds how late a line of a file comes at most.
///
/// [`ImportIds`] takes what it has found.
#[derive(Debug, Default)]
pub struct OrderScan {
    latest_ms: u64,
    lateness_ms: u64,
}

impl OrderScan {
    /// Looks at the next line's time, milliseconds since the epoch.
    pub fn line(&mut self, time_ms: u64) {
        self.lateness_ms = self.lateness_ms.max(self.latest_ms.saturating_sub(time_ms));
        self.latest_ms = self.latest_ms.max(time_ms);
    }

    /// How far, in milliseconds, a line lies behind the latest before it: 0 in a sorted file.
    pub fn lateness_ms(&self) -> u64 {
        self.lateness_ms
    }
}

/// Counts the places of a file's messages within their milliseconds, line by line.
///
/// [`Messages::import`](crate::Messages::import) takes messages with ids of its making.
#[derive(Debug)]
pub struct ImportIds {
    epoch: Epoch,
    lateness_ms: u64,
    latest_ms: u64,
    counts: BTreeMap<u64, u32>,
    kept_max: usize,
}

impl ImportIds {
    /// For a file of which no line comes later than `lateness_ms` ([`OrderScan`]).
    pub fn new(epoch: Epoch, lateness_ms: u64) -> ImportIds {
        ImportIds {
            epoch,
            lateness_ms,
            latest_ms: 0,
            counts: BTreeMap::new(),
            kept_max: MILLISECONDS_KEPT_MAX,
        }
    }

    /// The id of the next line. A line that is refused has its place all the same.
    ///
    /// # Errors
    /// [`Error::BeforeEpoch`], [`Error::BeyondIds`], [`Error::MillisecondFull`]: of this line alone.
    /// [`Error::OutOfOrder`]: nothing more can be counted. [`Error::FileChanged`]: the line comes later than promised.
    pub fn next(&mut self, unix_ms: i64) -> Result<MessageId> {
        let time_ms = self.epoch.since(unix_ms)?;
        if time_ms < self.latest_ms.saturating_sub(self.lateness_ms) {
            return Err(Error::FileChanged);
        }
        if time_ms > self.latest_ms {
            self.latest_ms = time_ms;
            let floor = time_ms.saturating_sub(self.lateness_ms);
            while let Some(oldest) = self.counts.first_entry()
                && *oldest.key() < floor
            {
                oldest.remove();
            }
        }
        if self.counts.len() >= self.kept_max && !self.counts.contains_key(&time_ms) {
            return Err(Error::OutOfOrder {
                lateness_ms: self.lateness_ms,
            });
        }
        let count = self.counts.entry(time_ms).or_default();
        let place = *count;
        *count = count.saturating_add(1);
        import_id(self.epoch, unix_ms, place)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::{HashMap, HashSet};

    const E: i64 = Epoch::DEFAULT.unix_ms();

    #[test]
    fn places_spill_into_the_import_workers() {
        for (place, worker, sequence) in [(0, 992, 0), (4095, 992, 4095), (4096, 993, 0), (131_070, 1023, 4094)] {
            let id = import_id(Epoch::DEFAULT, E + 5, place).unwrap();
            assert_eq!((id.time_ms(), id.worker(), id.sequence()), (5, worker, sequence));
        }
        let full = import_id(Epoch::DEFAULT, E + 5, 131_071);
        assert!(matches!(full, Err(Error::MillisecondFull { unix_ms }) if unix_ms == E + 5));
        assert!(import_id(Epoch::DEFAULT, E + crate::TIME_MS_MAX as i64, 131_070).is_ok());
        assert!(import_id(Epoch::DEFAULT, E - 1, 0).is_err());
    }

    #[test]
    fn a_refused_line_keeps_its_place() {
        let mut ids = ImportIds::new(Epoch::DEFAULT, 0);
        for place in 0..IMPORTS_PER_MILLISECOND {
            assert!(ids.next(E + 1).is_ok(), "{place}");
        }
        assert!(matches!(ids.next(E + 1), Err(Error::MillisecondFull { .. })));
        assert!(ids.next(E - 1).is_err());
        assert_eq!(ids.next(E + 2).unwrap(), import_id(Epoch::DEFAULT, E + 2, 0).unwrap());
    }

    #[test]
    fn a_sorted_file_keeps_one_counter_and_a_wild_one_is_refused() {
        let mut sorted = ImportIds::new(Epoch::DEFAULT, 0);
        (0..10_000).for_each(|i| assert!(sorted.next(E + i / 3).is_ok()));
        assert_eq!(sorted.counts.len(), 1);
        let mut wild = ImportIds::new(Epoch::DEFAULT, 1_000);
        wild.kept_max = 100;
        assert!((0..100).all(|i| wild.next(E + 1_000 - i).is_ok()));
        assert!(matches!(
            wild.next(E + 1),
            Err(Error::OutOfOrder { lateness_ms: 1_000 })
        ));
        assert!(wild.next(E + 1_000).is_ok());
    }

    /// Found in review: it panicked.
    #[test]
    fn a_line_later_than_the_scan_found_tells_that_the_file_changed() {
        let mut ids = ImportIds::new(Epoch::DEFAULT, 2);
        assert!(ids.next(E + 10).is_ok());
        assert!(ids.next(E + 8).is_ok());
        assert!(matches!(ids.next(E + 7), Err(Error::FileChanged)));
        assert!(ids.next(E + 10).is_ok());
    }

    proptest! {
        /// Whatever the order, a line's id is that of its place among the lines of its millisecond before it.
        #[test]
        fn prop_ids_follow_from_the_place_in_the_file(times in prop::collection::vec(0i64..60, 1..300)) {
            let mut scan = OrderScan::default();
            times.iter().for_each(|t| scan.line(*t as u64));
            let mut ids = ImportIds::new(Epoch::DEFAULT, scan.lateness_ms());
            let (mut places, mut given) = (HashMap::new(), HashSet::new());
            for t in &times {
                let place = places.entry(*t).or_insert(0u32);
                let id = ids.next(E + t).unwrap();
                prop_assert_eq!(id, import_id(Epoch::DEFAULT, E + t, *place).unwrap());
                prop_assert!(given.insert(id.get()));
                *place += 1;
            }
        }
    }
}
