//! A simulated store.

use super::common::chat;
use model::Schema;
use runtime::{Handle, sim};
use scrollback_engine::{Config, Store};
use std::sync::Arc;

#[allow(dead_code, reason = "each test binary uses a part")]
/// Settings that make a simulated store flush and recycle often.
pub fn small(dir: &str) -> Config {
    Config {
        memtable_bytes: 64 << 10,
        block_cache_bytes: 256 << 10,
        log_segment_bytes: 64 << 10,
        log_bytes_max: 512 << 10,
        mutation_bytes_max: 16 << 10,
        block_bytes: 1 << 10,
        ..Config::new(dir)
    }
}

#[allow(dead_code, reason = "each test binary uses a part")]
pub fn simulator(seed: u64, shards: usize) -> sim::Sim {
    sim::Sim::new(sim::Config {
        seed,
        shards,
        ..sim::Config::default()
    })
}

pub async fn open(handle: Handle, config: Config) -> (Store, Arc<Schema>) {
    let store = Store::open_on(handle, config).await.expect("the store opens");
    let schema = store.create_table(chat(), true).await.expect("the table is made");
    (store, schema)
}

/// Runs a client to its end.
pub fn run<T: 'static>(sim: &mut sim::Sim, client: impl Future<Output = T> + 'static) -> T {
    match sim.run(client) {
        sim::Outcome::Done(value) => value,
        sim::Outcome::Crashed => panic!("no crash was asked for"),
        sim::Outcome::Stuck(why) => panic!("stuck: {why}"),
    }
}
