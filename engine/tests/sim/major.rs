//! All of a table is compacted when somebody asks: it ends while others write, it is over when the store closes, and epochs are taken
//! apart.

use crate::common::{chat, history, message};
use crate::simulated::{both, open, run, simulator, small};
use runtime::sim::client_sleep;
use scrollback_engine::{CompactionKind, Config, Error, Store};
use std::cell::Cell;
use std::time::Duration;

const HOUR_MS: i64 = 3_600_000;

async fn files(store: &Store) -> u64 {
    store
        .disk_usage()
        .await
        .expect("told")
        .iter()
        .map(|table| table.files)
        .sum()
}

#[test]
fn it_ends_while_others_write() {
    let mut sim = simulator(3, 1);
    let handle = sim.start();
    run(&mut sim, async move {
        let (store, schema) = open(handle, small("/store")).await;
        let write = async |id: i64, flush_every: i64| {
            let written = message(&schema, 1, id, id, &"x".repeat(500));
            store.apply(written).await.expect("written");
            if id % flush_every == flush_every - 1 {
                store.flush().await.expect("flushed");
            }
        };
        for id in 0..3000 {
            write(id, 100).await;
        }
        let done = Cell::new(false);
        let compact = async {
            store.compact(Some(schema.id)).await.expect("compacted");
            done.set(true);
        };
        // Each flush makes a file more for as long as it runs.
        let load = async {
            let mut id = 3000;
            while !done.get() && id < 20_000 {
                write(id, 20).await;
                id += 1;
            }
            id
        };
        let ((), last) = both(compact, load).await;
        assert!(
            (3040..20_000).contains(&last),
            "it ended at {last}: too soon to meet flushes, or only when nothing more was written"
        );
        let all = history(&store, &schema, 1, 1000).await;
        assert_eq!(all.len() as i64, last);
        let shards = store.compactions().await.expect("told");
        assert!(shards[0].asked.is_empty());
        let of_kind = |kind| shards[0].history.iter().filter(move |of| of.kind == kind).count();
        assert!(of_kind(CompactionKind::Major) >= 1, "{:?}", shards[0].history);
        store.close().await.expect("closed");
    });
}

#[test]
fn closing_ends_it_and_says_so() {
    let mut sim = simulator(4, 2);
    let handle = sim.start();
    run(&mut sim, async move {
        let config = Config {
            compaction: false,
            ..small("/store")
        };
        let (store, schema) = open(handle.clone(), config.clone()).await;
        for id in 0..2000 {
            let written = message(&schema, id % 9, id, id, &"x".repeat(500));
            store.apply(written).await.expect("written");
        }
        let close = async {
            while store
                .compactions()
                .await
                .expect("told")
                .iter()
                .all(|shard| shard.running.is_none())
            {
                client_sleep(Duration::from_micros(200)).await;
            }
            store.close().await.expect("closed");
        };
        let (compacted, ()) = both(store.compact(None), close).await;
        let error = compacted.expect_err("it was under way");
        assert!(matches!(error, Error::Closed), "{error:?}");
        let (store, schema) = open(handle, config).await;
        assert_eq!(history(&store, &schema, 5, 1000).await.len(), 222);
        // Asked of both: one file on each shard.
        let (one, other) = both(store.compact(None), store.compact(None)).await;
        one.expect("compacted");
        other.expect("compacted");
        assert_eq!(files(&store).await, 2);
        assert_eq!(history(&store, &schema, 5, 1000).await.len(), 222);
        store.close().await.expect("closed");
    });
}

#[test]
fn epochs_are_taken_apart_and_told() {
    let mut sim = simulator(5, 1);
    let handle = sim.start();
    run(&mut sim, async move {
        let config = Config {
            compaction: false,
            ..small("/store")
        };
        let store = Store::open_on(handle, config).await.expect("the store opens");
        let mut schema = chat();
        let option = |name: &str, value: &str| (name.to_owned(), value.to_owned());
        schema.options.compaction = [
            option("class", "TimeTieredCompactionStrategy"),
            option("epoch_hours", "24"),
            option("snowflake_epoch_ms", "0"),
        ]
        .into_iter()
        .collect();
        let schema = store.create_table(schema, true).await.expect("a table");
        // Ten days in each of three files, long ago.
        for n in 0..300 {
            let at_ms = (n % 10) * 24 * HOUR_MS + n;
            let written = message(&schema, 1, at_ms << 22, n, &"x".repeat(100));
            store.apply(written).await.expect("written");
            if n % 100 == 99 {
                store.flush().await.expect("flushed");
            }
        }
        assert!((3..10).contains(&files(&store).await), "days lie together");
        store.compact(None).await.expect("compacted");
        let usage = &store.disk_usage().await.expect("told")[0];
        assert_eq!(
            (usage.files, usage.rows, usage.epoch_hours),
            (10, 300, Some(24)),
            "{usage:?}"
        );
        let days: Vec<i64> = usage.epochs.iter().map(|epoch| epoch.first_ms / HOUR_MS / 24).collect();
        assert_eq!(days, Vec::from_iter(0..10));
        let day = usage.epochs[0].bytes;
        assert!(
            day > 0 && usage.epochs.iter().all(|epoch| epoch.bytes.abs_diff(day) < day / 10),
            "{usage:?}"
        );
        assert_eq!(history(&store, &schema, 1, 1000).await.len(), 300);
        let before = store.compactions().await.expect("told");
        store.compact(None).await.expect("compacted");
        assert_eq!(
            store.compactions().await.expect("told"),
            before,
            "it was as compact as can be"
        );
        store.close().await.expect("closed");
    });
}
