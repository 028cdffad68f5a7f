//! The clock of the benches.

use std::time::Duration;

/// The processor time of this thread: what other processes take of a busy machine is not the memtable's.
pub fn now() -> Duration {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: the call writes one `timespec`, which `time` is.
    let failed = unsafe { libc::clock_gettime(libc::CLOCK_THREAD_CPUTIME_ID, &mut time) };
    assert_eq!(failed, 0, "Linux keeps the time of a thread");
    Duration::new(time.tv_sec as u64, time.tv_nsec as u32)
}
