//! Writers are slowed while too much waits to be compacted, and while space is short.

use super::{AT_REST, compacted, config, open, start};
use crate::common::{history, message};
use crate::simulated::{run, simulator};
use model::{Mutation, Schema};
use runtime::sim::{client_now, client_sleep};
use runtime::{ShardId, TaskClass};
use scrollback_engine::{Config, Error, Shard, ShardStatistics, Store};
use std::future::{Future, poll_fn};
use std::pin::pin;
use std::rc::Rc;
use std::task::Poll;
use std::time::Duration;

const BYTES: usize = 8 << 10;

/// A message that does not compress.
fn large(schema: &Schema, id: i64) -> Mutation {
    let mut state = id as u64 + 1;
    let text = (0..BYTES).map(|_| {
        state = state
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        char::from(b' ' + (state >> 58) as u8)
    });
    message(schema, 1, id, 1000 + id, &text.collect::<String>())
}

async fn figures(store: &Store) -> ShardStatistics {
    store.statistics().await.expect("open").remove(0)
}

/// Writes these at the same time, each with so much time.
async fn write(store: &Store, mutations: Vec<Mutation>, within: Duration) -> Vec<scrollback_engine::Result<()>> {
    let write = move |shard: Rc<Shard>| async move {
        let begin = |mutation| {
            let shard = Rc::clone(&shard);
            let write = async move { shard.apply_within(mutation, within).await };
            runtime::spawn(TaskClass::Request, "writer", write)
        };
        let begun: Vec<_> = mutations.into_iter().map(begin).collect();
        let mut ended = Vec::new();
        for write in begun {
            ended.push(write.await);
        }
        ended
    };
    store.call(ShardId(0), write).await.expect("open")
}

#[test]
fn writers_wait_for_compactions_that_do_not_keep_up() {
    let mut sim = simulator(7, 1);
    let handle = sim.start();
    let config = Config {
        compaction_backlog_bytes: 1 << 20,
        ..config()
    };
    run(&mut sim, async move {
        let (store, schema) = open(handle, config, &AT_REST).await;
        let mut ids = 0..;
        for _ in 0..4 {
            for id in ids.by_ref().take(100) {
                store.apply(large(&schema, id)).await.expect("written");
            }
            store.flush().await.expect("flushed");
        }
        let before = figures(&store).await;
        assert_eq!(
            (before.writes_slowed, before.write_bytes_per_s_max),
            (0, 0),
            "nothing is to be compacted"
        );
        let schema = start(&store).await;
        while figures(&store).await.write_bytes_per_s_max == 0 {
            client_sleep(Duration::from_micros(10)).await;
        }
        let began = client_now();
        let (mut written, mut rates) = (0, Vec::new());
        while figures(&store).await.compactions == 0 {
            rates.push(figures(&store).await.write_bytes_per_s_max);
            let batch = ids.by_ref().take(16).map(|id| large(&schema, id)).collect();
            let ended = write(&store, batch, Duration::from_secs(10)).await;
            assert!(ended.iter().all(Result::is_ok), "{ended:?}");
            written += 16;
        }
        let took = began.elapsed();
        let highest = rates.iter().max().expect("some were written");
        let fastest = highest * took.as_micros() as u64 / 1_000_000 / BYTES as u64;
        // What waits for the last of them, and what is made up for.
        assert!(written <= fastest + 16, "{written} messages in {took:?} at {rates:?}");
        compacted(&store).await.expect("compacted");
        let after = figures(&store).await;
        assert_eq!(after.write_bytes_per_s_max, 0, "nothing waits");
        let slowed = Duration::from_micros(after.writes_slowed_us);
        assert!(
            after.writes_slowed > 0 && slowed > took / 4 && slowed <= took,
            "{} times, {slowed:?} of {took:?}",
            after.writes_slowed
        );
        assert_eq!(history(&store, &schema, 1, 100).await.len(), 400 + written as usize);
        store.close().await.expect("closed");
    });
}

/// However much somebody wants compacted, writers have not brought it.
#[test]
fn what_was_asked_for_slows_nobody() {
    let mut sim = simulator(9, 1);
    let handle = sim.start();
    let config = Config {
        compaction_backlog_bytes: 1 << 20,
        ..config()
    };
    run(&mut sim, async move {
        let (store, schema) = open(handle, config, &AT_REST).await;
        for first in [0, 200] {
            for id in first..first + 200 {
                store.apply(large(&schema, id)).await.expect("written");
            }
            store.flush().await.expect("flushed");
        }
        let mut asked = pin!(store.compact(None));
        let asks = poll_fn(|cx| Poll::Ready(asked.as_mut().poll(cx).is_pending()));
        assert!(asks.await, "it takes its time");
        let (mut looks, mut id) = (0, 1000);
        while figures(&store).await.compactions == 0 {
            // Each flush looks at the backlog.
            store.apply(large(&schema, id)).await.expect("written");
            store.flush().await.expect("flushed");
            assert_eq!(figures(&store).await.write_bytes_per_s_max, 0);
            (looks, id) = (looks + 1, id + 1);
        }
        asked.await.expect("compacted");
        assert!(looks > 1, "{looks} flushes beside it");
        store.close().await.expect("closed");
    });
}

#[test]
fn writers_are_slowed_before_the_disk_is_full() {
    let mut sim = simulator(8, 1);
    let handle = sim.start();
    let disk = sim.disk();
    const KEPT: u64 = 4 << 20;
    let config = Config {
        free_bytes_min: Some(KEPT),
        ..config()
    };
    run(&mut sim, async move {
        let (store, schema) = open(handle, config, &AT_REST).await;
        store.apply(large(&schema, 0)).await.expect("written");
        let rate_with = async |free: Option<u64>| {
            disk.set_capacity(free.map(|free| disk.used_bytes() + free));
            client_sleep(Duration::from_secs(2)).await;
            figures(&store).await.write_bytes_per_s_max
        };
        assert_eq!(rate_with(Some(2 * KEPT)).await, 0);
        let half = rate_with(Some(KEPT + KEPT / 2)).await;
        let tenth = rate_with(Some(KEPT + KEPT / 10)).await;
        assert!(tenth > 0 && tenth < half && half < 32 << 20, "{half}, then {tenth}");
        let batch = (1..17).map(|id| large(&schema, id)).collect();
        let ended = write(&store, batch, Duration::from_millis(10)).await;
        let refused = ended.iter().find_map(|ended| match ended {
            Err(Error::Overloaded { what }) => Some(what.clone()),
            _ => None,
        });
        assert!(ended.iter().any(Result::is_ok), "slowed, not refused");
        let what = refused.expect("16 messages take 39 ms");
        assert!(
            what.contains("are slowed to") && what.contains("are kept back"),
            "{what}"
        );
        assert_eq!(rate_with(None).await, 0);
        store.apply(large(&schema, 100)).await.expect("written");
        store.close().await.expect("closed");
    });
}
