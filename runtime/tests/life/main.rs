//! Starting, stopping and panicking, on each real body. Apart from the other tests: these count what the process has.

#![allow(clippy::unwrap_used, reason = "helpers of tests")]
#![allow(clippy::duplicate_mod, reason = "its own name tells each what to run on")]

#[path = "tests.rs"]
mod on_threads;
#[path = "tests.rs"]
mod on_uring;

/// One test at a time.
static ALONE: parking_lot::Mutex<()> = parking_lot::Mutex::new(());
