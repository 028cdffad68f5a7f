//! What ends by itself: seen until the second of its end, by the node's clock, wherever it lies.

use crate::common::{clustering, column, key, messages};
use crate::simulated::{open, run, simulator, small};
use model::{Expiry, MutationBuilder, RowBuilder, Schema};
use runtime::sim::client_sleep;
use scrollback_engine::{Read, Store};
use std::time::Duration;

/// The simulator's wall clock at its start, seconds.
const NOW_S: u32 = 1_704_067_200;

/// An insert of one message, or without liveness an update; its cells end.
async fn write(store: &Store, schema: &Schema, id: i64, timestamp: i64, insert: bool, content: &str, end: Expiry) {
    let Expiry { ttl, expires_at } = end;
    let mut row = RowBuilder::new();
    if insert {
        row.liveness_ttl(timestamp, ttl, expires_at);
    }
    row.cell_ttl(
        column(schema, "content"),
        timestamp,
        content.as_bytes(),
        ttl,
        expires_at,
    );
    let mut mutation = MutationBuilder::new(schema.id, &key(1));
    mutation.row(&clustering(schema, id), row.finish());
    store.apply(mutation.build()).await.expect("written");
}

#[test]
fn what_ends_is_seen_until_the_second_of_its_end() {
    for flushed in [false, true] {
        let mut sim = simulator(1, 1);
        let handle = sim.start();
        run(&mut sim, async move {
            let (store, schema) = open(handle, small("/store")).await;
            let of_table = |default_ttl| model::TableOptions {
                default_ttl,
                ..schema.options.clone()
            };
            let ten = of_table(10).expiry(None, NOW_S).expect("legal");
            let never = of_table(10).expiry(Some(0), NOW_S).expect("legal");
            write(&store, &schema, 5, 1, true, "never", never).await;
            write(&store, &schema, 4, 1, true, "ends", ten).await;
            // The update ends, the insert does not: the row stays, without the content that was overwritten.
            write(&store, &schema, 3, 1, true, "old", never).await;
            write(&store, &schema, 3, 2, false, "new", ten).await;
            // The insert ends, the update does not: its cell keeps the row.
            write(&store, &schema, 2, 1, true, "old", ten).await;
            write(&store, &schema, 2, 2, false, "stays", never).await;
            if flushed {
                store.flush().await.expect("flushed");
            }
            let page = async || {
                let page = store.read(Read::partition(schema.id, key(1))).await.expect("a page");
                (messages(&schema, &page), page.cost().tombstones)
            };
            let rows = |rows: &[(i64, &str)]| {
                rows.iter()
                    .map(|(id, text)| (*id, (*text).to_owned()))
                    .collect::<Vec<_>>()
            };
            let before = rows(&[(5, "never"), (4, "ends"), (3, "new"), (2, "stays")]);
            let after = rows(&[(5, "never"), (3, ""), (2, "stays")]);
            assert_eq!(page().await, (before.clone(), 0));
            // To the last millisecond before the end, as far as the run itself has not moved the clock.
            client_sleep(Duration::from_millis(8_900)).await;
            assert_eq!(page().await, (before, 0));
            client_sleep(Duration::from_millis(1_100)).await;
            // Of 4 the cell counts, of 3 the cell, of 2 nothing: the row lives, and no cell of it has ended.
            assert_eq!(page().await, (after.clone(), 2), "flushed: {flushed}");
            store.close().await.expect("closed");
        });
        // A clock that is set back brings it back, until compaction drops it: the end stands in the write.
        let handle = sim.start();
        sim.step_wall_clock(-100_000_000);
        run(&mut sim, async move {
            let (store, schema) = open(handle, small("/store")).await;
            let page = store.read(Read::partition(schema.id, key(1))).await.expect("a page");
            assert_eq!(page.len(), 4);
            store.close().await.expect("closed");
        });
    }
}
