//! Mutations larger than a memtable's budget.

use crate::common::{history, message};
use crate::simulated::{open, run, simulator, small};
use runtime::ShardId;
use scrollback_engine::Config;

/// More than twice the smallest budget, less the first message.
const LARGE: usize = 130 << 10;

fn config(memtable_bytes: usize) -> Config {
    Config {
        memtable_bytes,
        mutation_bytes_max: None,
        log_segment_bytes: 1 << 20,
        log_bytes_max: 8 << 20,
        ..small("/store")
    }
}

/// Found in review: a write that fits only an empty shard waited for a flush that nobody had begun.
#[test]
fn a_large_write_behind_a_small_one_is_not_kept_waiting() {
    let mut sim = simulator(1, 1);
    let handle = sim.start();
    run(&mut sim, async move {
        let (store, schema) = open(handle, config(64 << 10)).await;
        let written = store.call(ShardId(0), move |shard| async move {
            let began = runtime::time::Instant::now();
            for (id, bytes) in [(1, 1000), (2, LARGE), (3, 1000), (4, LARGE)] {
                let write = message(&schema, 1, id, id, &"x".repeat(bytes));
                shard.apply(write).await.expect("written");
            }
            began.elapsed()
        });
        let took = written.await.expect("the shard serves");
        assert!(took.as_secs() < 1, "the writes took {took:?}");
        store.close().await.expect("closed");
    });
}

/// Found in review: replay waited for ever.
#[test]
fn a_log_with_a_large_record_is_replayed_into_small_memtables() {
    let mut sim = simulator(1, 1);
    let handle = sim.start();
    run(&mut sim, async move {
        let (store, schema) = open(handle, config(4 << 20)).await;
        let written = store.call(ShardId(0), move |shard| async move {
            for (id, bytes) in [(1, 1000), (2, LARGE), (3, 1000), (4, LARGE)] {
                let write = message(&schema, 1, id, id, &"x".repeat(bytes));
                shard.apply(write).await.expect("written");
            }
        });
        written.await.expect("the shard serves");
    });
    sim.crash();
    let handle = sim.start();
    run(&mut sim, async move {
        let (store, schema) = open(handle, config(64 << 10)).await;
        let ids: Vec<i64> = history(&store, &schema, 1, 50)
            .await
            .into_iter()
            .map(|(id, _)| id)
            .collect();
        assert_eq!(ids, [4, 3, 2, 1]);
        store.close().await.expect("closed");
    });
}
