//! Message ids: positive snowflakes.
//!
//! ```text
//! bit 63   62 ....................... 22   21 ...... 12   11 ........ 0
//!   0      milliseconds since the epoch     worker         sequence
//! ```
//!
//! Ids sort as their times do, so the clustering order of a partition is the order of time, and a cursor is an id.
//! 0 and 2^63-1 are not ids: so that for every id there is a cursor before and after it.

use crate::{Error, Result};
use std::{fmt, str::FromStr};

const SEQUENCE_BITS: u32 = 12;
const WORKER_BITS: u32 = 10;
const TIME_BITS: u32 = 41;

/// Workers are numbered 0 up to, not including, this.
pub(crate) const WORKERS: u16 = 1 << WORKER_BITS;
/// Sequence numbers within a millisecond of one worker: 0 up to, not including, this.
pub(crate) const SEQUENCES: u16 = 1 << SEQUENCE_BITS;
/// The last millisecond after the epoch that an id can hold: about 69.7 years.
pub const TIME_MS_MAX: u64 = (1 << TIME_BITS) - 1;

const _: () = assert!(TIME_BITS + WORKER_BITS + SEQUENCE_BITS == 63);

/// The instant from which a store's ids count, fixed when the store is created.
///
/// [`MessageId`] shows what it is for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Epoch(i64);

impl Epoch {
    /// 2015-01-01T00:00:00Z, the usual one.
    pub const DEFAULT: Epoch = Epoch(1_420_070_400_000);

    /// An epoch at `unix_ms`, to be used at the time `now_unix_ms`.
    ///
    /// # Errors
    /// [`Error::BadEpoch`] if it lies before 1970, in the future, or so long ago that no id is left for `now_unix_ms`.
    pub fn new(unix_ms: i64, now_unix_ms: i64) -> Result<Epoch> {
        let epoch = Epoch(unix_ms);
        if unix_ms < 0 || epoch.since(now_unix_ms).is_err() {
            return Err(Error::BadEpoch { epoch_ms: unix_ms });
        }
        Ok(epoch)
    }

    /// The epoch that a store has recorded.
    pub(crate) fn from_record(unix_ms: i64) -> Epoch {
        Epoch(unix_ms)
    }

    /// Unix milliseconds.
    pub const fn unix_ms(self) -> i64 {
        self.0
    }

    /// Milliseconds from the epoch to `unix_ms`, as an id holds them.
    ///
    /// # Errors
    /// [`Error::BeforeEpoch`], [`Error::BeyondIds`].
    pub fn since(self, unix_ms: i64) -> Result<u64> {
        let Some(ms) = unix_ms.checked_sub(self.0) else {
            return Err(Error::BeyondIds {
                unix_ms,
                epoch_ms: self.0,
            });
        };
        if ms < 0 {
            return Err(Error::BeforeEpoch {
                unix_ms,
                epoch_ms: self.0,
            });
        }
        match ms as u64 {
            ms if ms <= TIME_MS_MAX => Ok(ms),
            _ => Err(Error::BeyondIds {
                unix_ms,
                epoch_ms: self.0,
            }),
        }
    }
}

/// The id of one message: its time, the worker that gave it, and its place within the millisecond.
///
/// ```
/// use scrollback_messages::{Epoch, MessageId};
///
/// let id = MessageId::new(1_192_007_775_073_337_345)?;
/// assert_eq!(id.get(), 1_192_007_775_073_337_345);
/// assert!(id.unix_ms(Epoch::DEFAULT) > 1_600_000_000_000);
/// assert!(MessageId::new(0).is_err());
/// # Ok::<(), scrollback_messages::Error>(())
/// ```
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct MessageId(i64);

impl MessageId {
    /// The smallest id, 1.
    pub const MIN: MessageId = MessageId(1);
    /// The largest id, 2^63-2.
    pub const MAX: MessageId = MessageId(i64::MAX - 1);

    /// The id with this value.
    ///
    /// # Errors
    /// [`Error::BadId`] outside [`MIN`](Self::MIN)`..=`[`MAX`](Self::MAX).
    pub fn new(value: i64) -> Result<MessageId> {
        if (Self::MIN.0..=Self::MAX.0).contains(&value) {
            Ok(MessageId(value))
        } else {
            Err(Error::BadId(value.to_string()))
        }
    }

    /// The id of these parts; none if a part is out of its bits, or the value is not an id.
    pub(crate) fn from_parts(time_ms: u64, worker: u16, sequence: u16) -> Option<MessageId> {
        if time_ms > TIME_MS_MAX || worker >= WORKERS || sequence >= SEQUENCES {
            return None;
        }
        let value =
            (time_ms << (WORKER_BITS + SEQUENCE_BITS)) | (u64::from(worker) << SEQUENCE_BITS) | u64::from(sequence);
        MessageId::new(value as i64).ok()
    }

    /// The id as the integer that is stored.
    pub fn get(self) -> i64 {
        self.0
    }

    /// Milliseconds since the store's epoch.
    pub fn time_ms(self) -> u64 {
        self.0 as u64 >> (WORKER_BITS + SEQUENCE_BITS)
    }

    /// Unix milliseconds, in a store of this epoch.
    pub fn unix_ms(self, epoch: Epoch) -> i64 {
        epoch.0 + self.time_ms() as i64
    }

    /// The worker that gave the id: the number of a shard, or one of those kept for imports.
    pub fn worker(self) -> u16 {
        (self.0 >> SEQUENCE_BITS) as u16 & (WORKERS - 1)
    }

    /// The place within the worker's millisecond.
    pub fn sequence(self) -> u16 {
        self.0 as u16 & (SEQUENCES - 1)
    }
}

impl fmt::Display for MessageId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl FromStr for MessageId {
    type Err = Error;

    fn from_str(text: &str) -> Result<MessageId> {
        text.parse()
            .ok()
            .and_then(|value| MessageId::new(value).ok())
            .ok_or_else(|| Error::BadId(text.to_owned()))
    }
}

/// Gives one worker's ids, each larger than the one before, whatever the clock does.
///
/// While the clock stands or steps back the last millisecond goes on being used; when its 4096 ids are given, the next
/// millisecond is taken ahead of the clock, which catches up.
///
/// [`MessageId`] shows what is in an id.
#[derive(Debug)]
pub struct Generator {
    worker: u16,
    time_ms: u64,
    next_sequence: u16,
}

impl Generator {
    /// The generator of `worker`, whose ids all lie after the millisecond `time_ms`: in that one, ids may have been given
    /// before a restart.
    ///
    /// # Panics
    /// If `worker` is not below 992: the others are kept for imports.
    pub fn new(worker: u16, time_ms: u64) -> Generator {
        assert!(
            worker < crate::IMPORT_WORKERS.start,
            "worker {worker} is kept for imports"
        );
        Generator {
            worker,
            time_ms,
            next_sequence: SEQUENCES,
        }
    }

    /// The id that comes next at the time `now_ms`, milliseconds since the store's epoch.
    ///
    /// # Errors
    /// [`Error::BeyondIds`], relative to the epoch, once 41 bits of milliseconds are over.
    pub fn peek(&self, now_ms: u64) -> Result<MessageId> {
        let (time_ms, sequence) = if now_ms > self.time_ms {
            (now_ms, 0)
        } else if self.next_sequence < SEQUENCES {
            (self.time_ms, self.next_sequence)
        } else {
            (self.time_ms + 1, 0)
        };
        let sequence = if (time_ms, self.worker, sequence) == (0, 0, 0) {
            1
        } else {
            sequence
        }; // 0 is not an id
        let beyond = || Error::BeyondIds {
            unix_ms: i64::try_from(time_ms).unwrap_or(i64::MAX),
            epoch_ms: 0,
        };
        MessageId::from_parts(time_ms, self.worker, sequence).ok_or_else(beyond)
    }

    /// Gives no id of an earlier millisecond than this one from now on.
    pub fn not_before(&mut self, time_ms: u64) {
        if time_ms > self.time_ms {
            (self.time_ms, self.next_sequence) = (time_ms, 0);
        }
    }

    /// Gives the id that [`peek`](Self::peek) has shown.
    ///
    /// # Panics
    /// If the generator has given it, or one after it, before.
    pub fn take(&mut self, id: MessageId) {
        let last = (self.time_ms, self.next_sequence);
        assert!(
            id.worker() == self.worker && (id.time_ms(), id.sequence()) >= last,
            "an id is given once"
        );
        (self.time_ms, self.next_sequence) = (id.time_ms(), id.sequence() + 1);
    }

    /// Gives the next id at the time `now_ms`, milliseconds since the store's epoch.
    ///
    /// # Errors
    /// As [`peek`](Self::peek).
    pub fn next(&mut self, now_ms: u64) -> Result<MessageId> {
        let id = self.peek(now_ms)?;
        self.take(id);
        Ok(id)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn parts_lie_where_the_picture_says() {
        let id = MessageId::from_parts(0x1_2345_6789, 0x3A5, 0xBCD).unwrap();
        assert_eq!(id.get(), (0x1_2345_6789 << 22) | (0x3A5 << 12) | 0xBCD);
        assert_eq!(
            (id.time_ms(), id.worker(), id.sequence()),
            (0x1_2345_6789, 0x3A5, 0xBCD)
        );
        // The published example of the format: 2016-04-30 11:18:25.796 UTC, worker 1 in process 0, increment 7.
        let published: MessageId = "175928847299117063".parse().unwrap();
        assert_eq!(published.unix_ms(Epoch::DEFAULT), 1_462_015_105_796);
        assert_eq!((published.worker(), published.sequence()), (1 << 5, 7));
    }

    #[test]
    fn rejects_what_is_no_id() {
        for text in [
            "0",
            "-1",
            "-9223372036854775808",
            "9223372036854775807",
            "9223372036854775808",
            "",
            "x",
            "1.0",
            "1e3",
        ] {
            let error = text.parse::<MessageId>().unwrap_err();
            assert!(matches!(error, Error::BadId(bad) if bad == text));
        }
        assert_eq!("1".parse::<MessageId>().unwrap(), MessageId::MIN);
        assert_eq!("9223372036854775806".parse::<MessageId>().unwrap(), MessageId::MAX);
        assert_eq!(MessageId::from_parts(0, 0, 0), None);
        assert_eq!(MessageId::from_parts(TIME_MS_MAX, WORKERS - 1, SEQUENCES - 1), None);
        assert_eq!(MessageId::from_parts(TIME_MS_MAX + 1, 0, 0), None);
        assert_eq!(MessageId::from_parts(1, WORKERS, 0), None);
        assert_eq!(MessageId::from_parts(1, 0, SEQUENCES), None);
    }

    #[test]
    fn an_epoch_bounds_the_times() {
        let now = 1_700_000_000_000;
        let epoch = Epoch::new(1_072_915_200_000, now).unwrap();
        assert_eq!(epoch.since(1_072_915_200_000).unwrap(), 0);
        let early = epoch.since(1_072_915_199_999);
        assert!(matches!(
            early,
            Err(Error::BeforeEpoch {
                unix_ms: 1_072_915_199_999,
                epoch_ms: 1_072_915_200_000
            })
        ));
        let last = 1_072_915_200_000 + TIME_MS_MAX as i64;
        assert_eq!(epoch.since(last).unwrap(), TIME_MS_MAX);
        assert!(matches!(epoch.since(last + 1), Err(Error::BeyondIds { .. })));
        assert!(matches!(epoch.since(i64::MAX), Err(Error::BeyondIds { .. })));
        assert!(matches!(
            epoch.since(i64::MIN),
            Err(Error::BeforeEpoch { .. } | Error::BeyondIds { .. })
        ));
        for bad in [-1, i64::MIN, i64::MAX, now + 1] {
            assert!(matches!(Epoch::new(bad, now), Err(Error::BadEpoch { epoch_ms }) if epoch_ms == bad));
        }
        assert!(Epoch::new(0, now).is_ok());
        assert!(Epoch::new(0, TIME_MS_MAX as i64 + 1).is_err());
    }

    #[test]
    fn a_generator_starts_after_the_millisecond_before_it() {
        let mut before = Generator::new(3, 10);
        let last = (0..5).map(|_| before.next(20).unwrap()).last().unwrap();
        let mut after = Generator::new(3, 20);
        assert!(
            after.next(20).unwrap() > last,
            "ids of one millisecond given twice, before and after a restart"
        );
    }

    #[test]
    fn a_generator_never_gives_0_and_ends_with_the_bits() {
        let mut first = Generator::new(0, 0);
        assert_eq!(first.next(0).unwrap().time_ms(), 1);
        let mut last = Generator::new(0, TIME_MS_MAX - 1);
        let ids: Vec<_> = (0..SEQUENCES).map(|_| last.next(TIME_MS_MAX).unwrap()).collect();
        assert!(ids.is_sorted_by(|a, b| a < b));
        assert!(matches!(last.next(TIME_MS_MAX), Err(Error::BeyondIds { .. })));
        assert!(matches!(last.next(u64::MAX), Err(Error::BeyondIds { .. })));
    }

    proptest! {
        #[test]
        fn prop_ids_rise_whatever_the_clock_does(worker in 0u16..992, clock in prop::collection::vec((0u64..50, 1usize..6000), 1..12)) {
            let mut generator = Generator::new(worker, 0);
            let mut last = None;
            for (now_ms, count) in clock {
                for _ in 0..count {
                    let id = generator.next(now_ms).unwrap();
                    prop_assert!(Some(id) > last);
                    prop_assert!(id.time_ms() >= now_ms);
                    prop_assert_eq!(id.worker(), worker);
                    prop_assert!(id.get() > 0);
                    last = Some(id);
                }
            }
        }
    }
}
