//! Slows writers who bring more than can be compacted, or more than there is room for on the disk.
//!
//! 1. What waits to be compacted is looked at whenever a flush or a compaction has ended, the space of the disk every second. Above
//!    `compaction_backlog_bytes`, or with less space than twice what is kept back, writers have a *rate*, bytes a second.
//! 2. The rate is half of what compactions have lately read in a second (most bytes are compacted about twice), the less the more waits,
//!    and the less the less space there is above what is kept back: below that writes are refused.
//! 3. Each write moves the moment of the next one on by its bytes. Who comes earlier waits in the queue of the admission, so that no
//!    write overtakes another, and for as long as any other wait for room takes at most.

use super::space::Shortage;
use runtime::time::Instant;
use std::cell::Cell;
use std::time::Duration;

/// Never slower, bytes a second: a store that stands still is of no use, and a wrong guess must not stop it.
const RATE_MIN: u64 = 1 << 20;
/// What compactions are taken to read in a second before one has ended.
const COMPACTED_PER_S: u64 = 64 << 20;
/// Shorter compactions say nothing about that.
const TELLING_BYTES: u64 = 1 << 20;
/// Timers have ticks of 5 ms, so whoever waits comes late: so much of that may be made up for.
const BURST: Duration = Duration::from_millis(10);
/// Space that is short: this many times what is kept back.
const SHORT_TIMES: u64 = 2;

/// How fast a shard's writers may be.
pub(super) struct Pace {
    backlog_max: u64,
    /// Bytes that are to be compacted.
    backlog: Cell<u64>,
    /// Space that is left, if it is short.
    space: Cell<Option<Shortage>>,
    /// Bytes that compactions read in a second.
    compacted_per_s: Cell<u64>,
    /// Bytes of writes a second; 0: as many as there are.
    rate: Cell<u64>,
    /// When the next write may be logged.
    next: Cell<Option<Instant>>,
}

impl Pace {
    pub(super) fn new(backlog_max: u64) -> Pace {
        Pace {
            backlog_max,
            backlog: Cell::new(0),
            space: Cell::new(None),
            compacted_per_s: Cell::new(COMPACTED_PER_S),
            rate: Cell::new(0),
            next: Cell::new(None),
        }
    }

    /// Bytes of writes a second; 0: as many as there are.
    pub(super) fn rate(&self) -> u64 {
        self.rate.get()
    }

    /// Bytes that are to be compacted.
    pub(super) fn backlog(&self) -> u64 {
        self.backlog.get()
    }

    /// How long the next write has to wait; `None`: not at all.
    #[inline]
    pub(super) fn wait(&self) -> Option<Duration> {
        match self.rate.get() {
            0 => None,
            _ => {
                let next = self.next.get()?;
                let wait = next.duration_since(Instant::now());
                (!wait.is_zero()).then_some(wait)
            }
        }
    }

    /// A write of so many bytes was logged.
    #[inline]
    pub(super) fn wrote(&self, bytes: usize) {
        // None if the rate is 0.
        if let Some(nanos) = (bytes as u64 * 1_000_000_000).checked_div(self.rate.get()) {
            let now = Instant::now();
            let earliest = Instant::from_nanos(now.as_nanos().saturating_sub(BURST.as_nanos() as u64));
            let from = self.next.get().map_or(now, |next| next.max(earliest));
            self.next.set(Some(from + Duration::from_nanos(nanos)));
        }
    }

    /// So much is to be compacted. Returns whether writers are slowed from now on, or no more.
    pub(super) fn set_backlog(&self, bytes: u64) -> bool {
        self.backlog.set(bytes);
        self.set_rate()
    }

    /// So much space is left, and so much of it is kept back. Returns whether writers are slowed from now on, or no more.
    pub(super) fn set_space(&self, space: Option<Shortage>) -> bool {
        self.space.set(space);
        self.set_rate()
    }

    /// A compaction has read so many bytes in so long.
    pub(super) fn compacted(&self, bytes: u64, took: Duration) {
        let micros = u64::try_from(took.as_micros()).unwrap_or(u64::MAX).max(1);
        if bytes >= TELLING_BYTES {
            let now = u128::from(bytes) * 1_000_000 / u128::from(micros);
            let now = u64::try_from(now).unwrap_or(u64::MAX);
            let before = self.compacted_per_s.get();
            self.compacted_per_s.set(before - before / 4 + now / 4);
        }
    }

    fn set_rate(&self) -> bool {
        let all = self.compacted_per_s.get() / 2;
        let part = |part: u64, whole: u64| {
            let part = u128::from(all) * u128::from(part) / u128::from(whole.max(1));
            u64::try_from(part).unwrap_or(u64::MAX).clamp(RATE_MIN, u64::MAX)
        };
        let backlog = self.backlog.get();
        let by_backlog = (backlog > self.backlog_max).then(|| part(self.backlog_max, backlog));
        let by_space = self.space.get().map(|space| {
            let above = space.free_bytes.saturating_sub(space.kept_bytes);
            part(above, space.kept_bytes)
        });
        let rate = by_backlog.into_iter().chain(by_space).min().unwrap_or(0);
        let before = self.rate.replace(rate);
        if rate == 0 {
            self.next.set(None);
        }
        (before == 0) != (rate == 0)
    }

    /// Why writers are slowed.
    pub(super) fn reason(&self) -> String {
        match self.space.get() {
            Some(space) => format!(
                "the disk has {} bytes free, of which {} are kept back",
                space.free_bytes, space.kept_bytes
            ),
            None => format!(
                "{} bytes are to be compacted (`compaction_backlog_bytes`: {})",
                self.backlog.get(),
                self.backlog_max
            ),
        }
    }
}

/// Whether writers are slowed with so much space.
pub(super) fn is_short(space: Shortage) -> bool {
    space.free_bytes < space.kept_bytes.saturating_mul(SHORT_TIMES)
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIB: u64 = 1 << 20;

    #[test]
    fn the_rate_follows_the_backlog_and_what_gets_compacted() {
        let pace = Pace::new(100 * MIB);
        for (backlog, rate, changes) in [
            (100 * MIB, 0, false),
            (100 * MIB + 1, 32 * MIB - 1, true),
            (200 * MIB, 16 * MIB, false),
            (u64::MAX, MIB, false),
            (0, 0, true),
        ] {
            assert_eq!(pace.set_backlog(backlog), changes, "{backlog}");
            assert_eq!(pace.rate(), rate, "{backlog}");
        }
        pace.compacted(TELLING_BYTES - 1, Duration::from_secs(100));
        pace.compacted(64 * MIB, Duration::from_secs(2));
        pace.set_backlog(200 * MIB);
        assert_eq!(pace.rate(), 14 * MIB, "a quarter of what was learned: 56 of 64");
        pace.compacted(64 * MIB, Duration::ZERO);
    }

    #[test]
    fn the_rate_follows_the_space() {
        let pace = Pace::new(u64::MAX);
        let space = |free_bytes| Shortage {
            free_bytes,
            kept_bytes: 100,
        };
        assert!(is_short(space(199)) && !is_short(space(200)));
        assert!(pace.set_space(Some(space(150))));
        assert_eq!(pace.rate(), 16 * MIB);
        assert!(!pace.set_space(Some(space(100))));
        assert_eq!(pace.rate(), RATE_MIN);
        assert!(pace.reason().contains("100 are kept back"), "{}", pace.reason());
        assert!(pace.set_space(None));
        assert_eq!(pace.rate(), 0);
    }
}
