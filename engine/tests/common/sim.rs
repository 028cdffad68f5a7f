//! A simulated store.

use super::common::chat;
use model::Schema;
use runtime::{Handle, sim};
use scrollback_engine::{Config, Store};
use std::future::poll_fn;
use std::pin::pin;
use std::sync::Arc;
use std::task::Poll;

#[allow(dead_code, reason = "each test binary uses a part")]
/// Settings that make a simulated store flush and recycle often.
pub fn small(dir: &str) -> Config {
    Config {
        memtable_bytes: 64 << 10,
        block_cache_bytes: 256 << 10,
        log_segment_bytes: 64 << 10,
        log_bytes_max: 512 << 10,
        mutation_bytes_max: Some(16 << 10),
        block_bytes: 1 << 10,
        // Tests count what a read does; `joined` keeps pages, as the histories of `xtask` do.
        hot_page_bytes: 0,
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

#[allow(dead_code, reason = "each test binary uses a part")]
pub async fn open(handle: Handle, config: Config) -> (Store, Arc<Schema>) {
    let store = Store::open_on(handle, config).await.expect("the store opens");
    let schema = store.create_table(chat(), true).await.expect("the table is made");
    (store, schema)
}

#[allow(dead_code, reason = "each test binary uses a part")]
/// Runs a client to its end.
pub fn run<T: 'static>(sim: &mut sim::Sim, client: impl Future<Output = T> + 'static) -> T {
    match sim.run(client) {
        sim::Outcome::Done(value) => value,
        sim::Outcome::Crashed => panic!("no crash was asked for"),
        sim::Outcome::Stuck(why) => panic!("stuck: {why}"),
    }
}

#[allow(dead_code, reason = "each test binary uses a part")]
/// Runs two futures side by side.
pub async fn both<A, B>(one: impl Future<Output = A>, other: impl Future<Output = B>) -> (A, B) {
    let (mut one, mut other) = (pin!(one), pin!(other));
    let (mut a, mut b) = (None, None);
    poll_fn(move |cx| {
        if a.is_none()
            && let Poll::Ready(value) = one.as_mut().poll(cx)
        {
            a = Some(value);
        }
        if b.is_none()
            && let Poll::Ready(value) = other.as_mut().poll(cx)
        {
            b = Some(value);
        }
        match (a.take(), b.take()) {
            (Some(a), Some(b)) => Poll::Ready((a, b)),
            (one, other) => {
                (a, b) = (one, other);
                Poll::Pending
            }
        }
    })
    .await
}
