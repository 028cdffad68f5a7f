//! What a page finds dead is passed over by the next one, in whatever files it is, and never hides what is written there later.

use crate::common::{clustering, column, delete, history, key, message, messages};
use crate::simulated::{open, run, simulator, small};
use model::{Direction, MutationBuilder, RowBuilder, Schema};
use runtime::ShardId;
use runtime::sim::client_sleep;
use scrollback_engine::{Config, Cost, Read, Shard, Store};
use std::future::{Future, poll_fn};
use std::pin::pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

/// Messages 1 to 50 stay, 51 to 400 are deleted after they were flushed.
const KEPT: i64 = 50;
const LAST: i64 = 400;

async fn deleted_after_a_flush(handle: runtime::Handle, row_cache_bytes: usize) -> (Store, Arc<Schema>) {
    let config = Config {
        row_cache_bytes,
        memtable_bytes: 1 << 20,
        log_bytes_max: 16 << 20,
        ..small("/store")
    };
    let (store, schema) = open(handle, config).await;
    for id in 1..=LAST {
        store
            .apply(message(&schema, 1, id, 100, "sent"))
            .await
            .expect("written");
    }
    store.flush().await.expect("flushed");
    for id in KEPT + 1..=LAST {
        store.apply(delete(&schema, 1, id, 200)).await.expect("written");
    }
    (store, schema)
}

fn newest(schema: &Schema, rows: usize) -> Read {
    Read {
        limit_rows: rows,
        ..Read::partition(schema.id, key(1))
    }
}

/// A page, which has these ids; and what it cost. What is learnt from it is known when this returns.
async fn page(store: &Store, schema: &Schema, read: Read, ids: impl Iterator<Item = i64>) -> Cost {
    let page = store.read(read).await.expect("a page");
    let found: Vec<i64> = messages(schema, &page).into_iter().map(|(id, _)| id).collect();
    assert_eq!(found, ids.collect::<Vec<_>>());
    client_sleep(Duration::from_millis(20)).await;
    page.cost()
}

#[test]
fn the_second_page_does_not_look_at_what_the_first_found_dead() {
    let mut sim = simulator(1, 1);
    let handle = sim.start();
    run(&mut sim, async move {
        let (store, schema) = deleted_after_a_flush(handle, 1 << 20).await;
        let ten = || (KEPT - 9..=KEPT).rev();
        let first = page(&store, &schema, newest(&schema, 10), ten()).await;
        assert!(first.rows_merged >= 2 * (LAST - KEPT) as u64, "{first:?}");
        let second = page(&store, &schema, newest(&schema, 10), ten()).await;
        let looked_at = |cost: Cost| cost.rows_merged + cost.rows_skipped;
        assert!(looked_at(second) <= 20 && second.tombstones == 0, "{second:?}");
        // By now the run of the row cache goes on behind the gap.
        let third = page(&store, &schema, newest(&schema, 10), ten()).await;
        assert!(looked_at(third) <= 20 && third.sstables_opened == 0, "{third:?}");
        let oldest_first = Read {
            direction: Direction::Reverse,
            ..newest(&schema, 100)
        };
        let reverse = page(&store, &schema, oldest_first, 1..=KEPT).await;
        assert!(looked_at(reverse) <= 2 * KEPT as u64, "{reverse:?}");
        // Dead rows are asked for: they are given.
        let dead = Read {
            include_dead: true,
            ..newest(&schema, 1000)
        };
        let page = store.read(dead).await.expect("a page");
        assert_eq!(page.len() as i64, LAST);
        store.close().await.expect("closed");
    });
}

#[test]
fn a_run_of_dead_rows_gives_way_to_one_of_what_lies_behind_them() {
    let mut sim = simulator(3, 1);
    let handle = sim.start();
    run(&mut sim, async move {
        // A run has an eighth of this at most: fewer rows than were deleted.
        let (store, schema) = deleted_after_a_flush(handle, 64 << 10).await;
        let ten = || (KEPT - 9..=KEPT).rev();
        page(&store, &schema, newest(&schema, 10), ten()).await;
        page(&store, &schema, newest(&schema, 10), ten()).await;
        let third = page(&store, &schema, newest(&schema, 10), ten()).await;
        assert_eq!((third.sstables_opened, third.rows_merged), (0, 10), "{third:?}");
        store.close().await.expect("closed");
    });
}

/// Writes a column of a message, as an edit does.
fn edit(schema: &Schema, id: i64, timestamp: i64) -> model::Mutation {
    let mut row = RowBuilder::new();
    row.cell(column(schema, "content"), timestamp, b"edited");
    let mut mutation = MutationBuilder::new(schema.id, &key(1));
    mutation.row(&clustering(schema, id), row.finish());
    mutation.build()
}

#[test]
fn what_is_written_into_a_gap_is_seen_before_and_after_a_flush() {
    let mut sim = simulator(2, 1);
    let handle = sim.start();
    run(&mut sim, async move {
        let (store, schema) = deleted_after_a_flush(handle, 1 << 20).await;
        let kept: Vec<_> = (1..=KEPT).rev().map(|id| (id, "sent".to_owned())).collect();
        let look = async |more: &[(i64, &str)]| {
            let mut expected: Vec<_> = more.iter().map(|(id, text)| (*id, (*text).to_owned())).collect();
            expected.extend(kept.iter().cloned());
            for rows in [1000, 7] {
                assert_eq!(history(&store, &schema, 1, rows).await, expected, "{rows}");
                client_sleep(Duration::from_millis(20)).await;
            }
        };
        look(&[]).await;
        look(&[]).await;
        // Older than the deletion: dead. Newer: alive, alone and with what was there before.
        store
            .apply(message(&schema, 1, 300, 150, "late"))
            .await
            .expect("written");
        look(&[]).await;
        store.apply(edit(&schema, 200, 300)).await.expect("written");
        store
            .apply(message(&schema, 1, 400, 300, "anew"))
            .await
            .expect("written");
        look(&[(400, "anew"), (200, "edited")]).await;
        store.flush().await.expect("flushed");
        look(&[(400, "anew"), (200, "edited")]).await;
        store.apply(edit(&schema, 100, 150)).await.expect("written");
        store.apply(edit(&schema, 101, 400)).await.expect("written");
        look(&[(400, "anew"), (200, "edited"), (101, "edited")]).await;
        store.flush().await.expect("flushed");
        look(&[(400, "anew"), (200, "edited"), (101, "edited")]).await;
        store.close().await.expect("closed");
    });
}

#[test]
fn a_page_does_not_hide_what_was_written_while_it_was_read() {
    let mut sim = simulator(3, 1);
    let handle = sim.start();
    run(&mut sim, async move {
        let (store, schema) = deleted_after_a_flush(handle, 1 << 20).await;
        let shown = Arc::clone(&schema);
        let newest_of = store
            .call(ShardId(0), move |shard: Rc<Shard>| async move {
                let mut reading = pin!(shard.read(newest(&schema, 10)));
                poll_fn(|context| {
                    assert!(reading.as_mut().poll(context).is_pending(), "it waits for the device");
                    Poll::Ready(())
                })
                .await;
                shard
                    .apply(message(&schema, 1, 300, 300, "anew"))
                    .await
                    .expect("written");
                reading.await.expect("a page");
                shard.read(newest(&schema, 10)).await.expect("a page")
            })
            .await
            .expect("called");
        assert_eq!(messages(&shown, &newest_of)[0], (300, "anew".to_owned()));
        store.close().await.expect("closed");
    });
}
