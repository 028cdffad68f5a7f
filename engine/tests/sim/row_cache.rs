//! The rules of the row cache (DESIGN §7): each is kept, and without the line that keeps it a reader sees it.

use crate::common::{clustering, column, delete, history, key, message};
use crate::simulated::{both, open, simulator, small};
use model::{Mutation, MutationBuilder, RowBuilder, Schema};
use runtime::sim::client_sleep;
use scrollback_engine::{Config, Read, Store};
use std::sync::Arc;
use std::time::Duration;

fn config() -> Config {
    Config {
        row_cache_bytes: 1 << 20,
        ..small("/store")
    }
}

/// What readers see of a channel at several moments: ids and contents.
type Seen = Vec<Vec<(i64, String)>>;

async fn write(store: &Store, mutation: Mutation) {
    store.apply(mutation).await.expect("written");
}

async fn send(store: &Store, schema: &Schema, ids: impl Iterator<Item = i64>) {
    for id in ids {
        write(store, message(schema, 1, id, 100, &format!("message {id}"))).await;
    }
}

async fn flush(store: &Store) {
    store.flush().await.expect("flushed");
    // What follows a flush in the background.
    client_sleep(Duration::from_millis(20)).await;
}

/// All of the channel, after which the cache has had time to take it.
async fn look(store: &Store, schema: &Schema) -> Vec<(i64, String)> {
    let seen = history(store, schema, 1, 1000).await;
    client_sleep(Duration::from_millis(20)).await;
    seen
}

fn told(ids: impl Iterator<Item = i64>) -> Vec<(i64, String)> {
    ids.map(|id| (id, format!("message {id}"))).collect()
}

/// (a) A run is the merge of all sstables above its floor.
fn run_is_brought_up_to_date() -> (Seen, Seen) {
    let seen = run(&mut simulator(1, 1), async |store: Store, schema| {
        send(&store, &schema, 1..=3).await;
        flush(&store).await;
        look(&store, &schema).await;
        send(&store, &schema, 4..=4).await;
        flush(&store).await;
        vec![look(&store, &schema).await]
    });
    (seen, vec![told((1..=4).rev())])
}

/// (b) A gap keeps the largest timestamp that was dropped there.
fn late_write_of_a_dropped_row_stays_dead() -> (Seen, Seen) {
    let seen = run(&mut simulator(2, 1), async |store: Store, schema| {
        send(&store, &schema, 1..=5).await;
        flush(&store).await;
        write(&store, delete(&schema, 1, 5, 200)).await;
        flush(&store).await;
        let mut seen = vec![look(&store, &schema).await];
        write(&store, message(&schema, 1, 5, 150, "late")).await;
        seen.push(look(&store, &schema).await);
        flush(&store).await;
        seen.push(look(&store, &schema).await);
        write(&store, message(&schema, 1, 5, 300, "message 5")).await;
        seen.push(look(&store, &schema).await);
        seen
    });
    let without = || told((1..=4).rev());
    (seen, vec![without(), without(), without(), told((1..=5).rev())])
}

/// (b) Rows that are kept keep their tombstones.
fn late_cell_of_a_row_that_was_deleted_and_written_again_stays_dead() -> (Seen, Seen) {
    let seen = run(&mut simulator(3, 1), async |store: Store, schema: Arc<Schema>| {
        write(&store, delete(&schema, 1, 1, 150)).await;
        let cell = |name: &str, timestamp: i64, value: &[u8]| {
            let mut row = RowBuilder::new();
            row.cell(column(&schema, name), timestamp, value);
            let mut mutation = MutationBuilder::new(schema.id, &key(1));
            mutation.row(&clustering(&schema, 1), row.finish());
            mutation.build()
        };
        write(&store, cell("author", 200, &7_i64.to_be_bytes())).await;
        flush(&store).await;
        look(&store, &schema).await;
        write(&store, cell("content", 120, b"late")).await;
        vec![look(&store, &schema).await]
    });
    (seen, vec![vec![(1, String::new())]])
}

/// (c) A flush starts a run only above the newest bound of all other sstables.
fn flush_knows_nothing_of_older_sstables() -> (Seen, Seen) {
    let mut sim = simulator(4, 1);
    run(&mut sim, async |store: Store, schema| {
        send(&store, &schema, 10..=20).await;
        store.close().await.expect("closed");
        Seen::new()
    });
    sim.crash();
    let seen = run(&mut sim, async |store: Store, schema| {
        send(&store, &schema, 5..=5).await;
        send(&store, &schema, 30..=30).await;
        flush(&store).await;
        vec![look(&store, &schema).await]
    });
    (seen, vec![told([30].into_iter().chain((10..=20).rev()).chain([5]))])
}

/// (d) The sstable becomes visible and the run changes in one step.
fn readers_beside_a_flush_see_every_message() -> (Seen, Seen) {
    let seen = run(&mut simulator(5, 1), async |store: Store, schema| {
        send(&store, &schema, 1..=3).await;
        flush(&store).await;
        look(&store, &schema).await;
        send(&store, &schema, 4..=8).await;
        let reads = async {
            let mut seen = Seen::new();
            for _ in 0..200 {
                seen.push(history(&store, &schema, 1, 1000).await);
                client_sleep(Duration::from_micros(50)).await;
            }
            seen
        };
        both(flush(&store), reads).await.1
    });
    let expected = vec![told((1..=8).rev()); seen.len()];
    (seen, expected)
}

/// (e) A fill whose partition was flushed meanwhile is thrown away.
fn fills_beside_flushes_are_not_stale() -> (Seen, Seen) {
    let (mut seen, mut expected) = (Seen::new(), Seen::new());
    // Without a block cache a fill waits for the device; the flush knows too little to start a run of its own.
    let config = || Config {
        block_cache_bytes: 0,
        ..config()
    };
    for seed in 0..40 {
        let mut sim = simulator(seed, 1);
        run_with(&mut sim, config(), async |store: Store, schema| {
            send(&store, &schema, [1, 2, 3, 10].into_iter()).await;
            store.close().await.expect("closed");
            Seen::new()
        });
        sim.crash();
        seen.extend(run_with(&mut sim, config(), async move |store: Store, schema| {
            send(&store, &schema, 4..=5).await;
            let read = async {
                client_sleep(Duration::from_micros(20 * seed)).await;
                history(&store, &schema, 1, 1000).await
            };
            both(flush(&store), read).await;
            vec![look(&store, &schema).await]
        }));
        expected.push(told([10].into_iter().chain((1..=5).rev())));
    }
    (seen, expected)
}

/// (f) Eviction only raises the floor.
fn run_that_is_cut_gives_its_rows_back_to_the_sstables() -> (Seen, Seen) {
    let small_cache = Config {
        row_cache_bytes: 32 << 10,
        ..config()
    };
    let seen = run_with(&mut simulator(6, 1), small_cache, async |store: Store, schema| {
        for first in (1..200).step_by(20) {
            send(&store, &schema, first..first + 20).await;
            flush(&store).await;
        }
        let seen = vec![look(&store, &schema).await, look(&store, &schema).await];
        let figures = &store.statistics().await.expect("figures")[0];
        assert!(figures.row_cache_bytes <= 32 << 10, "{figures:?}");
        seen
    });
    (seen, vec![told((1..=200).rev()); 2])
}

fn run<F>(sim: &mut runtime::sim::Sim, client: F) -> Seen
where
    F: AsyncFnOnce(Store, Arc<Schema>) -> Seen + 'static,
{
    run_with(sim, config(), client)
}

fn run_with<F>(sim: &mut runtime::sim::Sim, config: Config, client: F) -> Seen
where
    F: AsyncFnOnce(Store, Arc<Schema>) -> Seen + 'static,
{
    let handle = sim.start();
    crate::simulated::run(sim, async move {
        let (store, schema) = open(handle, config).await;
        client(store, schema).await
    })
}

#[test]
fn the_rules_are_kept_and_each_is_missed_when_it_is_left_out() {
    type Rule = (fn() -> (Seen, Seen), &'static str);
    let rules: [Rule; 7] = [
        (run_is_brought_up_to_date, "cache-ignores-flush"),
        (late_write_of_a_dropped_row_stays_dead, "cache-ignores-dropped"),
        (
            late_cell_of_a_row_that_was_deleted_and_written_again_stays_dead,
            "cache-forgets-tombstones",
        ),
        (flush_knows_nothing_of_older_sstables, "cache-starts-anywhere"),
        (readers_beside_a_flush_see_every_message, "cache-publishes-late"),
        (fills_beside_flushes_are_not_stale, "cache-sets-stale-fills"),
        (
            run_that_is_cut_gives_its_rows_back_to_the_sstables,
            "cache-trim-keeps-floor",
        ),
    ];
    for (rule, name) in rules {
        let (seen, expected) = rule();
        assert_eq!(seen, expected, "without {name}");
        #[cfg(feature = "breaks")]
        {
            let which = runtime::Break::from_name(name).expect("a break");
            let (seen, expected) = runtime::with_break(which, rule);
            assert_ne!(seen, expected, "with {name}");
        }
    }
}

#[test]
fn pages_after_a_flush_read_nothing_from_the_device() {
    run(&mut simulator(7, 1), async |store: Store, schema| {
        send(&store, &schema, 1..=300).await;
        flush(&store).await;
        let before = store.statistics().await.expect("figures")[0].clone();
        for _ in 0..10 {
            let read = Read {
                limit_rows: 50,
                ..Read::partition(schema.id, key(1))
            };
            let page = store.read(read).await.expect("read");
            assert_eq!(page.len(), 50);
            assert_eq!((page.cost().sstables_opened, page.cost().device_reads), (0, 0));
        }
        let after = store.statistics().await.expect("figures")[0].clone();
        assert_eq!(after.runtime.device_reads, before.runtime.device_reads);
        assert_eq!(after.row_cache_hits - before.row_cache_hits, 10);
        assert_eq!(after.row_cache_misses, before.row_cache_misses);
        Seen::new()
    });
}

#[test]
fn a_gap_found_dead_is_not_looked_at_again() {
    let mut sim = simulator(8, 1);
    run(&mut sim, async |store: Store, schema| {
        send(&store, &schema, 1..=2000).await;
        flush(&store).await;
        for id in 11..=2000 {
            write(&store, delete(&schema, 1, id, 200)).await;
        }
        store.close().await.expect("closed");
        Seen::new()
    });
    sim.crash();
    run(&mut sim, async |store: Store, schema| {
        let mut merged = Vec::new();
        for _ in 0..2 {
            let read = Read {
                limit_rows: 50,
                ..Read::partition(schema.id, key(1))
            };
            let page = store.read(read).await.expect("read");
            assert_eq!(page.len(), 10);
            merged.push(page.cost().rows_merged);
            client_sleep(Duration::from_millis(100)).await;
        }
        assert!(merged[0] >= 1990, "{merged:?}");
        assert_eq!(merged[1], 10, "{merged:?}");
        Seen::new()
    });
}
