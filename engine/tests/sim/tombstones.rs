//! Reads that meet many tombstones: they fail, or their pages are cut.

use crate::common::{chat, clustering, column, delete, key, message, messages};
use crate::simulated::{open, run, simulator, small};
use model::{Deletion, Direction, Mutation, MutationBuilder, RowBuilder, Schema};
use runtime::sim::client_sleep;
use scrollback_engine::{Config, Error, PastTombstones, Read, Store};
use std::time::Duration;

/// The simulator's wall clock at its start, seconds.
const NOW_S: u32 = 1_704_067_200;
const LIMIT: u32 = 20;

fn limited() -> Config {
    Config {
        tombstone_warn_threshold: 5,
        tombstone_failure_threshold: LIMIT,
        ..small("/store")
    }
}

/// Deletions of the channel's messages 1 to 100 but for every 25th, just now.
async fn fill(store: &Store, schema: &Schema, delete: fn(&Schema, i64) -> Mutation) {
    for id in 1..=100 {
        let write = match id % 25 {
            0 => message(schema, 1, id, id, "x"),
            _ => delete(schema, id),
        };
        store.apply(write).await.expect("written");
    }
}

/// A deletion of one column, where there is nothing else.
fn cell_deleted_now(schema: &Schema, id: i64) -> Mutation {
    let mut row = RowBuilder::new();
    row.tombstone(column(schema, "content"), 1000, NOW_S);
    let mut mutation = MutationBuilder::new(schema.id, &key(1));
    mutation.row(&clustering(schema, id), row.finish());
    mutation.build()
}

fn deletion(timestamp: i64) -> Deletion {
    Deletion {
        timestamp,
        local_deletion_time: NOW_S,
    }
}

fn deleted_now(schema: &Schema, id: i64) -> Mutation {
    let mut row = RowBuilder::new();
    row.deletion(deletion(1000));
    let mut mutation = MutationBuilder::new(schema.id, &key(1));
    mutation.row(&clustering(schema, id), row.finish());
    mutation.build()
}

fn read(schema: &Schema) -> Read {
    Read::partition(schema.id, key(1))
}

#[test]
fn a_read_that_meets_too_many_tells_table_partition_and_position() {
    let mut sim = simulator(1, 1);
    let handle = sim.start();
    run(&mut sim, async move {
        let (store, schema) = open(handle, limited()).await;
        fill(&store, &schema, deleted_now).await;
        for _ in ["from memory", "from a file"] {
            let error = store.read(read(&schema)).await.expect_err("too many");
            // From 99 downwards: the 21st is 79.
            match &error {
                Error::TooManyTombstones {
                    table,
                    key: partition,
                    position,
                    tombstones: 21,
                    limit: 20,
                } => {
                    assert_eq!((table.as_str(), &partition[..]), ("chat.messages", &key(1)[..]));
                    assert_eq!(*position, clustering(&schema, 79));
                }
                other => panic!("{other:?}"),
            }
            assert!(
                error.to_string().starts_with(
                    "a page of chat.messages, partition 0x0000000000000001, met 21 tombstones up to position 0x"
                ),
                "{error}"
            );
            // A page of what comes before them does not meet them.
            let few = Read {
                limit_rows: 1,
                ..read(&schema)
            };
            assert_eq!(store.read(few).await.expect("a page").cost().tombstones, 0);
            store.flush().await.expect("flushed");
        }
        let stat = &store.statistics().await.expect("figures")[0];
        assert_eq!((stat.tombstone_failures, stat.tombstone_warnings), (2, 2));
        assert_eq!(stat.tombstones, 42);
        store.close().await.expect("closed");
    });
}

#[test]
fn pages_that_are_cut_give_every_row_once() {
    for (flushed, direction) in [
        (false, Direction::Forward),
        (false, Direction::Reverse),
        (true, Direction::Forward),
        (true, Direction::Reverse),
    ] {
        let mut sim = simulator(1, 1);
        let handle = sim.start();
        run(&mut sim, async move {
            let (store, schema) = open(handle, limited()).await;
            fill(&store, &schema, cell_deleted_now).await;
            if flushed {
                store.flush().await.expect("flushed");
            }
            // Twice: what a run of the row cache knows to be dead is no more met.
            for _ in 0..2 {
                let mut rest = Read {
                    direction,
                    past_tombstones: PastTombstones::Cut,
                    ..read(&schema)
                };
                let (mut ids, mut cuts) = (Vec::new(), 0);
                loop {
                    let page = store.read(rest.clone()).await.expect("a page");
                    assert!(page.cost().tombstones <= u64::from(LIMIT) + 1);
                    assert_eq!(page.cut_at().is_some(), page.cost().tombstones > u64::from(LIMIT));
                    cuts += u32::from(page.cut_at().is_some());
                    ids.extend(messages(&schema, &page).into_iter().map(|(id, _)| id));
                    match page.more() {
                        Some(more) => rest.slice = more.clone(),
                        None => break,
                    }
                }
                let mut all = vec![100, 75, 50, 25];
                if direction == Direction::Reverse {
                    all.reverse();
                }
                assert_eq!(ids, all);
                assert!(cuts <= 4, "96 tombstones, 21 at a time");
            }
            store.close().await.expect("closed");
        });
    }
}

#[test]
fn runs_of_row_tombstones_are_passed_over() {
    for (flushed, direction) in [
        (false, Direction::Forward),
        (false, Direction::Reverse),
        (true, Direction::Forward),
        (true, Direction::Reverse),
    ] {
        let config = || Config {
            row_cache_bytes: 0,
            ..limited()
        };
        let mut sim = simulator(1, 1);
        let handle = sim.start();
        run(&mut sim, async move {
            let (store, schema) = open(handle, config()).await;
            fill(&store, &schema, deleted_now).await;
            if flushed {
                store.flush().await.expect("flushed");
            }
            let read = Read {
                direction,
                past_tombstones: PastTombstones::Cut,
                ..read(&schema)
            };
            let ids = async || {
                let page = store.read(read.clone()).await.expect("a page");
                assert_eq!(page.more(), None);
                let mut ids: Vec<_> = messages(&schema, &page).into_iter().map(|(id, _)| id).collect();
                ids.sort_unstable();
                (ids, page.cost())
            };
            let (found, cost) = ids().await;
            assert_eq!(found, [25, 50, 75, 100]);
            assert_eq!((cost.rows_skipped, cost.tombstones), (96, 0));
            // What comes late between two deleted ones lives, and at a deleted one only if it is younger.
            for (id, timestamp) in [(10, 999), (11, 1001), (99, 1001), (1, 999)] {
                store
                    .apply(message(&schema, 1, id, timestamp, "late"))
                    .await
                    .expect("written");
            }
            let (found, _) = ids().await;
            assert_eq!(found, [11, 25, 50, 75, 99, 100]);
            store.close().await.expect("closed");
        });
    }
}

#[test]
fn what_counts_is_what_counts_in_cassandra() {
    let mut sim = simulator(1, 1);
    let handle = sim.start();
    run(&mut sim, async move {
        let (store, schema) = open(handle, small("/store")).await;
        let met = async || store.read(read(&schema)).await.expect("a page").cost().tombstones;
        let mut mutation = MutationBuilder::new(schema.id, &key(1));
        store.apply(message(&schema, 1, 10, 1, "x")).await.expect("written");
        assert_eq!(met().await, 0);
        // Each dead cell, in a row that lives and in one that does not.
        for (id, cells) in [(10, 1), (9, 2)] {
            let mut row = RowBuilder::new();
            for name in ["author", "content"].into_iter().take(cells) {
                row.tombstone(column(&schema, name), 5, NOW_S);
            }
            mutation.row(&clustering(&schema, id), row.finish());
        }
        store.apply(mutation.build()).await.expect("written");
        assert_eq!(met().await, 3);
        // A deleted row without a dead cell.
        store.apply(deleted_now(&schema, 8)).await.expect("deleted");
        assert_eq!(met().await, 4);
        // Both bounds of a range.
        let (newest, mut oldest) = (clustering(&schema, 7), clustering(&schema, 5));
        oldest.push(0xFF);
        mutation.reset(schema.id, &key(1));
        mutation.delete_range(&newest, &oldest, deletion(7));
        store.apply(mutation.build()).await.expect("written");
        assert_eq!(met().await, 6);
        // Of one that could be purged, as of those above after their grace, nothing.
        store.apply(delete(&schema, 1, 4, 9)).await.expect("deleted");
        assert_eq!(met().await, 6);
        client_sleep(Duration::from_secs(864_001)).await;
        assert_eq!(met().await, 0);
        store.close().await.expect("closed");
    });
}

#[test]
fn a_table_may_have_its_own_thresholds() {
    let mut sim = simulator(1, 1);
    let handle = sim.start();
    run(&mut sim, async move {
        let (store, schema) = open(handle.clone(), limited()).await;
        fill(&store, &schema, deleted_now).await;
        let mut roomy = chat();
        roomy.name = "roomy".to_owned();
        roomy.options.tombstone_failure_threshold = Some(96);
        let roomy = store.create_table(roomy, true).await.expect("made");
        fill(&store, &roomy, deleted_now).await;
        store.close().await.expect("closed");
        // Also after a reopening.
        let store = Store::open_on(handle, limited()).await.expect("opens");
        let page = store.read(read(&roomy)).await.expect("allowed");
        assert_eq!((page.len(), page.cost().tombstones), (4, 96));
        assert!(store.read(read(&schema)).await.is_err());
        store.close().await.expect("closed");
    });
}
