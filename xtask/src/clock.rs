//! The wall clock of the checks: they run on plain threads, beside no shard.

use std::time::{Duration, Instant};

/// A moment that a stage began at.
pub(crate) struct Stopwatch(Instant);

impl Stopwatch {
    #[expect(
        clippy::disallowed_methods,
        reason = "times how long a check takes for whoever waits for it, off every shard"
    )]
    pub(crate) fn start() -> Self {
        Self(Instant::now())
    }

    pub(crate) fn elapsed(&self) -> Duration {
        self.0.elapsed()
    }
}
