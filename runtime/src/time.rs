//! The clock and everything that waits for it.
//!
//! All sleeps and timeouts of a shard lie on one wheel with ticks of 5 ms: they never end early and at most one tick
//! late (plus whatever keeps the shard busy).

use std::fmt;
use std::future::Future;
use std::ops::Add;
use std::pin::{Pin, pin};
use std::sync::atomic::{AtomicI64, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use crate::context;
use crate::wheel::TimerId;

/// A point of the monotonic clock, in nanoseconds from an arbitrary start.
///
/// On a simulated shard, and in the clients of a simulation, this is virtual time; everywhere else the real clock.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Instant(u64);

impl Instant {
    /// Now.
    #[inline]
    pub fn now() -> Self {
        Self(context::with_current(|c| {
            c.map_or_else(off_shard_ns, |c| c.body.now_ns())
        }))
    }

    /// The time since this point; zero if it lies ahead.
    #[inline]
    pub fn elapsed(&self) -> Duration {
        Self::now().duration_since(*self)
    }

    /// The time from `earlier` to this point; zero if `earlier` is later.
    #[inline]
    pub fn duration_since(&self, earlier: Instant) -> Duration {
        Duration::from_nanos(self.0.saturating_sub(earlier.0))
    }

    /// Nanoseconds from the clock's start.
    #[inline]
    pub fn as_nanos(&self) -> u64 {
        self.0
    }

    /// The point so many nanoseconds from the clock's start.
    #[inline]
    pub fn from_nanos(ns: u64) -> Self {
        Self(ns)
    }
}

impl Add<Duration> for Instant {
    type Output = Instant;

    fn add(self, duration: Duration) -> Instant {
        Instant(
            self.0
                .saturating_add(u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)),
        )
    }
}

/// Microseconds since the Unix epoch.
pub fn unix_micros() -> i64 {
    context::with_current(|c| c.map_or_else(off_shard_micros, |c| c.body.unix_micros()))
}

/// Seconds since the Unix epoch.
pub fn unix_seconds() -> u32 {
    u32::try_from(unix_micros().max(0) / 1_000_000).unwrap_or(u32::MAX)
}

fn read_clock(clock: libc::clockid_t) -> libc::timespec {
    let mut spec = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: `spec` is a valid, writable timespec.
    let result = unsafe { libc::clock_gettime(clock, &raw mut spec) };
    assert!(result == 0, "the clock {clock} can't be read");
    spec
}

/// Off-shard: virtual in the clients of a simulation.
fn off_shard_ns() -> u64 {
    crate::sim::now_ns().unwrap_or_else(real_monotonic_ns)
}

fn off_shard_micros() -> i64 {
    crate::sim::unix_micros().unwrap_or_else(real_unix_micros)
}

#[inline]
pub(crate) fn real_monotonic_ns() -> u64 {
    let spec = read_clock(libc::CLOCK_MONOTONIC);
    spec.tv_sec as u64 * 1_000_000_000 + spec.tv_nsec as u64
}

/// CPU time of the calling thread.
pub(crate) fn real_thread_cpu_ns() -> u64 {
    let spec = read_clock(libc::CLOCK_THREAD_CPUTIME_ID);
    spec.tv_sec as u64 * 1_000_000_000 + spec.tv_nsec as u64
}

pub(crate) fn real_unix_micros() -> i64 {
    let spec = read_clock(libc::CLOCK_REALTIME);
    spec.tv_sec * 1_000_000 + spec.tv_nsec / 1000 + AHEAD_MICROS.load(Ordering::Relaxed)
}

/// How far this process's wall clock is ahead of the machine's.
static AHEAD_MICROS: AtomicI64 = AtomicI64::new(0);

/// Sets the wall clock of this process ahead of the machine's by at least so much, so that a benchmark lives through weeks in minutes.
/// It never goes back, and sleeps and timeouts know nothing of it. Simulated shards have a clock of their own.
///
/// ```
/// use std::time::Duration;
///
/// let before = scrollback_runtime::time::unix_seconds();
/// scrollback_runtime::time::set_ahead(Duration::from_secs(1000));
/// assert!(scrollback_runtime::time::unix_seconds() >= before + 1000);
/// ```
pub fn set_ahead(by: Duration) {
    let micros = i64::try_from(by.as_micros()).unwrap_or(i64::MAX);
    AHEAD_MICROS.fetch_max(micros, Ordering::Relaxed);
}

/// Waits for so long, in ticks of 5 ms.
///
/// # Panics
/// When polled off-shard.
pub async fn sleep(duration: Duration) {
    Sleep {
        deadline: Instant::now() + duration,
        timer: None,
    }
    .await;
}

/// Waits until the clock shows `deadline`, in ticks of 5 ms.
///
/// # Panics
/// When polled off-shard.
pub async fn sleep_until(deadline: Instant) {
    Sleep { deadline, timer: None }.await;
}

/// A wait that leaves the wheel when it is dropped.
struct Sleep {
    deadline: Instant,
    timer: Option<TimerId>,
}

impl Future for Sleep {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        context::with_current(|c| {
            let context = c.expect("a sleep is polled on a shard");
            match self.timer {
                Some(timer) => {
                    if context.keep_timer(timer, cx.waker()) {
                        Poll::Pending
                    } else {
                        self.timer = None;
                        Poll::Ready(())
                    }
                }
                None if self.deadline.0 <= context.body.now_ns() => Poll::Ready(()),
                None => {
                    self.timer = Some(context.set_timer(self.deadline.0, cx.waker()));
                    Poll::Pending
                }
            }
        })
    }
}

impl Drop for Sleep {
    fn drop(&mut self) {
        if let Some(timer) = self.timer {
            context::with_current(|c| {
                if let Some(context) = c {
                    context.drop_timer(timer);
                }
            });
        }
    }
}

/// The time given to [`timeout`] was over first.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Elapsed;

impl fmt::Display for Elapsed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("timed out")
    }
}

impl std::error::Error for Elapsed {}

/// Awaits `f`, but not longer than `duration` (in ticks of 5 ms); then `f` is dropped.
///
/// A future that ends in the same moment as the time wins.
///
/// # Errors
/// [`Elapsed`]: the time was over first.
/// # Panics
/// When polled off-shard.
pub async fn timeout<F: Future>(duration: Duration, f: F) -> Result<F::Output, Elapsed> {
    let mut future = pin!(f);
    let mut sleep = pin!(Sleep {
        deadline: Instant::now() + duration,
        timer: None
    });
    std::future::poll_fn(|cx| {
        if let Poll::Ready(output) = future.as_mut().poll(cx) {
            return Poll::Ready(Ok(output));
        }
        sleep.as_mut().poll(cx).map(|()| Err(Elapsed))
    })
    .await
}
