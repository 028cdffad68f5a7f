//! Shards, task turns, disk, clock, randomness and cross-shard calls of Scrollback: the only crate that names glommio.
//!
//! A shard is one thread (or, in the simulator, one of several shards on one thread) that owns its data. Its body is
//! either `Uring` (glommio, io_uring, direct I/O) or `Sim` (the deterministic twin); the code above sees one concrete API.
//! `docs/runtime.md` tells what each body promises.

mod body;
pub mod breaks;
pub mod checks;
mod context;
mod cross;
pub mod disk;
mod error;
mod handle;
mod node;
mod park;
mod pass;
pub mod random;
pub mod sim;
mod start;
mod stats;
pub mod sync;
mod task;
pub mod time;
mod turns;
mod uring;
mod wheel;

#[cfg(feature = "breaks")]
pub use breaks::set_break;
pub use breaks::{Break, broken};
pub use context::{ShardId, clear_root, root, set_root, shard, shard_count, try_shard};
pub use cross::call;
pub use error::Error;
pub use handle::{Call, Handle, Stopped};
pub use park::block_on;
pub use pass::{Breathe, breathe};
pub use start::{Options, Runtime};
pub use stats::{ShardStats, reset_stall, stats};
pub use task::{Task, TaskClass, set_shares, spawn, task_class, task_name};
