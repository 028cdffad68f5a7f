//! What a page costs on disk: counters, not seconds.

use crate::common::{column, delete_channel, delete_range, key};
use crate::simulated::{open, run, simulator};
use model::{Deletion, Mutation, MutationBuilder, RowBuilder, Schema};
use scrollback_engine::{Config, Cost, Read, Store};

const MESSAGES: i64 = 1_000_000;
const BATCH: i64 = 500;

fn config() -> Config {
    Config {
        memtable_bytes: 8 << 20,
        row_cache_bytes: 0,
        log_segment_bytes: 4 << 20,
        log_bytes_max: 64 << 20,
        ..Config::new("/store")
    }
}

/// One mutation of consecutive messages, at their ids as timestamps.
fn batch(schema: &Schema, channel: i64, ids: impl DoubleEndedIterator<Item = i64>, bytes: usize) -> Mutation {
    let content = "x".repeat(bytes);
    let (author, column) = (column(schema, "author"), column(schema, "content"));
    let mut mutation = MutationBuilder::new(schema.id, &key(channel));
    let mut row = RowBuilder::new();
    // The clustering order is newest first, and so is the order of rows in a mutation.
    for id in ids.rev() {
        row.clear()
            .liveness(id)
            .cell(author, id, &7_i64.to_be_bytes())
            .cell(column, id, content.as_bytes());
        mutation.row(&crate::common::clustering(schema, id), row.finish());
    }
    mutation.build()
}

async fn fill(store: &Store, schema: &Schema, channel: i64, messages: i64, bytes: usize) {
    for first in (1..=messages).step_by(usize::try_from(BATCH).expect("small")) {
        store
            .apply(batch(schema, channel, first..first + BATCH, bytes))
            .await
            .expect("written");
    }
    store.flush().await.expect("flushed");
}

async fn newest(store: &Store, schema: &Schema, channel: i64) -> (usize, Cost) {
    let page = store
        .read(Read {
            limit_rows: 50,
            ..Read::partition(schema.id, key(channel))
        })
        .await
        .expect("read");
    (page.len(), page.cost())
}

#[test]
fn a_cold_page_after_import_in_time_order_opens_one_sstable_and_two_blocks() {
    let mut sim = simulator(1, 1);
    let handle = sim.start();
    run(&mut sim, async move {
        let (store, schema) = open(handle, config()).await;
        fill(&store, &schema, 1, 100_000, 200).await;
        let files = store.statistics().await.expect("figures")[0].sstables;
        assert!(files > 2, "several files, or there is nothing to leave closed: {files}");
        store.close().await.expect("closed");
    });
    sim.crash();
    let handle = sim.start();
    run(&mut sim, async move {
        let (store, schema) = open(handle, config()).await;
        let (rows, cost) = newest(&store, &schema, 1).await;
        assert_eq!(rows, 50);
        assert_eq!(cost.sstables_opened, 1, "{cost:?}");
        assert!(cost.data_blocks <= 2, "{cost:?}");
        // In the middle of the channel, too.
        let mut read = Read {
            limit_rows: 50,
            ..Read::partition(schema.id, key(1))
        };
        read.slice.start = crate::common::clustering(&schema, 33_333);
        let cost = store.read(read).await.expect("read").cost();
        assert_eq!(cost.sstables_opened, 1, "{cost:?}");
        assert!(cost.data_blocks <= 2, "{cost:?}");
        store.close().await.expect("closed");
    });
}

#[test]
fn a_page_behind_a_deletion_that_begins_at_the_newest_message_reads_none_of_their_blocks() {
    let mut sim = simulator(3, 1);
    let handle = sim.start();
    run(&mut sim, async move {
        let (store, schema) = open(handle, config()).await;
        fill(&store, &schema, 1, MESSAGES / 10, 20).await;
        let newest_message = MESSAGES / 10;
        store
            .apply(delete_range(&schema, 1, newest_message, 1, 2 * MESSAGES))
            .await
            .expect("deleted");
        // From the memtable, then from its own sstable, whose one block is all that is read.
        for blocks_of_the_deletion in [0, 1] {
            let (rows, cost) = newest(&store, &schema, 1).await;
            assert_eq!(rows, 0);
            assert_eq!(cost.data_blocks, blocks_of_the_deletion, "{cost:?}");
            store.flush().await.expect("flushed");
        }
        store.close().await.expect("closed");
    });
}

#[test]
fn a_page_behind_deletions_of_a_million_messages_reads_none_of_their_blocks() {
    let mut sim = simulator(2, 1);
    let handle = sim.start();
    run(&mut sim, async move {
        let (store, schema) = open(handle, config()).await;
        fill(&store, &schema, 1, MESSAGES, 20).await;
        let all = Deletion {
            timestamp: 2 * MESSAGES,
            local_deletion_time: 1,
        };
        store
            .apply(delete_range(&schema, 1, MESSAGES + 1, 1, all.timestamp))
            .await
            .expect("deleted");
        // From the memtable, then from its own sstable, whose one block is all that is read.
        for blocks_of_the_deletion in [0, 1] {
            let (rows, cost) = newest(&store, &schema, 1).await;
            assert_eq!(rows, 0);
            assert_eq!(cost.data_blocks, blocks_of_the_deletion, "{cost:?}");
            assert!(cost.rows_merged < 10, "{cost:?}");
            store.flush().await.expect("flushed");
        }
        store
            .apply(delete_channel(schema.id, 1, all.timestamp))
            .await
            .expect("deleted");
        for _ in 0..2 {
            let (rows, cost) = newest(&store, &schema, 1).await;
            assert_eq!(rows, 0);
            assert_eq!((cost.data_blocks, cost.rows_merged), (0, 0), "{cost:?}");
            store.flush().await.expect("flushed");
        }
        store.close().await.expect("closed");
    });
}
