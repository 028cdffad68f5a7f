//! Tasks, calls, the disk and connections on each real body. One program: each further one costs the checks its own compiling.

#![allow(clippy::unwrap_used, reason = "helpers of tests")]
#![allow(clippy::duplicate_mod, reason = "its own name tells each what to run on")]

#[path = "buffered.rs"]
mod buffered_on_threads;
#[path = "each.rs"]
mod on_threads;
#[path = "each.rs"]
mod on_uring;
mod threads;
