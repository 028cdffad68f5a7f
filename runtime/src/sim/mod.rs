//! The simulator: shards, clients, time and a disk on one thread, all decided by a seed.
//!
//! It is the deterministic twin of the real bodies, not a mock: the same code runs on it, through the same calls. The same
//! seed gives the same history, to the last operation ([`Sim::history_hash`]). What is modelled, and what is not, stands in
//! `docs/simulator.md`.
//!
//! ```
//! use std::time::Duration;
//! use runtime::sim::{Config, Outcome, Sim};
//! # use scrollback_runtime as runtime;
//!
//! let mut sim = Sim::new(Config { seed: 7, shards: 2, ..Config::default() });
//! let node = sim.start();
//! let answer = sim.run(async move {
//!     let on_shard = || async {
//!         runtime::time::sleep(Duration::from_secs(3600)).await; // no time at all
//!         runtime::shard().0
//!     };
//!     node.call(runtime::ShardId(1), on_shard).await
//! });
//! assert!(matches!(answer, Outcome::Done(Ok(1))));
//! ```

mod client;
mod disk;
mod driver;
mod rng;
mod shard;
mod stats;
mod tasks;
mod world;

use std::ops::Range;

pub use client::{ClientSleep, client_now, client_sleep};
pub(crate) use client::{now_ns, random_u64, unix_micros};
pub use disk::{Faults, SimDisk};
pub(crate) use disk::{File, create_dir_all, exists, link, list, remove, rename, space, sync_dir};
pub use driver::Sim;
pub(crate) use shard::Shard;
pub use stats::SimStats;

/// What a crash does to what was completed but is not durable.
///
/// Operations that were in flight, or whose sync failed, are kept, dropped or torn by the seed in every mode.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Tear {
    /// Each change is kept, dropped or torn by the seed; some crashes keep all, some nothing.
    #[default]
    Seeded,
    /// Everything survives.
    KeepAll,
    /// Nothing survives.
    DropAll,
    /// Of each write some sectors survive and some do not; directory entries by the seed.
    TornSectors,
}

/// How a simulation is set up. What can be changed later has its own method on [`Sim`].
#[derive(Clone, PartialEq, Debug)]
pub struct Config {
    /// Decides everything.
    pub seed: u64,
    /// Shards of the node; at least one.
    pub shards: usize,
    /// How long an operation of the disk takes, in microseconds of virtual time.
    pub io_delay_us: Range<u64>,
    /// How often a read, a write or a sync fails with EIO.
    pub p_io_error: f64,
    /// How often an operation that needs space fails with ENOSPC.
    pub p_no_space: f64,
    /// What crashes do.
    pub tear: Tear,
}

impl Default for Config {
    /// Two shards, operations of 20 to 200 us, no errors.
    fn default() -> Self {
        Config {
            seed: 0,
            shards: 2,
            io_delay_us: 20..200,
            p_io_error: 0.0,
            p_no_space: 0.0,
            tear: Tear::Seeded,
        }
    }
}

/// How a run ended.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Outcome<T> {
    /// The client finished.
    Done(T),
    /// The node crashed first, where [`Sim::crash_at_op`] or [`Sim::kill_at_op`] said; the client is dropped.
    Crashed,
    /// Nothing can go on, or it goes on for ever: names the tasks that wait. The client is dropped.
    Stuck(String),
}

impl<T> Outcome<T> {
    /// What the client gave.
    ///
    /// # Panics
    /// If it did not finish.
    #[track_caller]
    pub fn done(self) -> T {
        match self {
            Outcome::Done(value) => value,
            Outcome::Crashed => panic!("the node crashed before the client was done"),
            Outcome::Stuck(text) => panic!("{text}"),
        }
    }

    /// Whether the node crashed.
    pub fn is_crashed(&self) -> bool {
        matches!(self, Outcome::Crashed)
    }
}
