//! Shards, task turns, disk, TCP, clock, randomness and cross-shard calls of Scrollback: the only crate that names glommio.
//!
//! A shard is one thread (or, in the simulator, one of several shards on one thread) that owns its data. Its body is
//! `Uring` (glommio, io_uring, direct I/O), `Threads` (plain threads, where io_uring is not to be had) or `Sim` (the
//! deterministic twin); the code above sees one concrete API.
//! `docs/runtime.md` tells what each body promises.

#![cfg_attr(
    not(target_os = "linux"),
    allow(
        dead_code,
        reason = "without io_uring, its side of what the real bodies share has no user"
    )
)]

mod aligned;
mod body;
pub mod breaks;
pub mod checks;
mod context;
mod cross;
pub mod disk;
mod error;
mod handle;
mod names;
pub mod net;
mod node;
mod park;
mod pass;
pub mod random;
mod real;
pub mod sim;
mod slots;
mod start;
mod stats;
pub mod sync;
mod task;
mod threads;
pub mod time;
mod turns;
#[cfg(target_os = "linux")]
mod uring;
#[cfg(not(target_os = "linux"))]
#[path = "no_uring.rs"]
mod uring;
mod wheel;

pub use breaks::{Break, broken};
#[cfg(feature = "breaks")]
pub use breaks::{set_break, with_break};
pub use context::{ShardId, clear_root, root, set_root, shard, shard_count, try_shard};
pub use cross::call;
pub use error::Error;
pub use handle::{Call, Handle, Stopped};
pub use park::block_on;
pub use pass::{Breathe, breathe, next_pass};
pub use real::BodyKind;
pub use start::{Options, Runtime};
pub use stats::{ShardStats, reset_stall, stats};
pub use task::{Task, TaskClass, set_shares, spawn, task_class, task_name};
