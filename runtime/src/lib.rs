//! Shards, task turns, disk, clock, randomness and cross-shard calls of Scrollback: the only crate that names glommio.

pub mod sync;
