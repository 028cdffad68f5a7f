//! The engine on the simulated disk. One program: each further one costs the checks its own linking.

#[path = "../common/mod.rs"]
mod common;
#[path = "../common/sim.rs"]
mod simulated;

mod alter;
mod bad_input;
mod cancelled;
mod check;
mod clock;
mod close;
mod cold_pages;
mod compaction;
mod definitions;
mod erasing;
mod full;
mod gaps;
mod joined;
mod kill;
mod large;
mod major;
mod names;
mod order;
mod row_cache;
mod scan;
mod shards;
mod snapshot;
mod store;
mod tombstones;
mod ttl;
