//! Snapshots on the simulated disk: they hold what was acknowledged before them, whatever comes after, and are whole or none.

use crate::common::{column, delete, delete_channel, delete_range, history, key, message};
use crate::simulated::{open, run, simulator, small};
use model::{MutationBuilder, RowBuilder};
use runtime::sim::Tear;
use scrollback_engine::{Error, Read, Store};
use std::path::Path;

const SNAPSHOT: &str = "/store/snapshots/one";

#[test]
fn a_snapshot_keeps_what_the_store_changes_later() {
    let mut sim = simulator(1, 2);
    let handle = sim.start();
    run(&mut sim, async move {
        let (store, schema) = open(handle, small("/store")).await;
        for id in 1..=60 {
            store
                .apply(message(&schema, id % 5, id, id, "x"))
                .await
                .expect("written");
        }
        let made = store.snapshot("one").await.expect("made");
        assert_eq!(
            (made.path.as_path(), made.files),
            (Path::new(SNAPSHOT), 2),
            "a file of each shard"
        );
        for channel in 0..5 {
            store
                .apply(delete_channel(schema.id, channel, 1_000))
                .await
                .expect("written");
        }
        for name in ["one", "", ".", "../one", "a/b", "snow ball"] {
            let refused = store.snapshot(name).await;
            assert!(matches!(refused, Err(Error::Invalid { .. })), "{name:?}: {refused:?}");
        }
        store.close().await.expect("closed");
    });
    sim.crash();
    sim.set_shards(3);
    let handle = sim.start();
    run(&mut sim, async move {
        let (store, schema) = open(handle, small(SNAPSHOT)).await;
        let mut found = 0;
        for channel in 0..5 {
            found += history(&store, &schema, channel, 7).await.len();
        }
        assert_eq!(found, 60);
        store.close().await.expect("closed");
    });
}

/// The power is cut at each operation while a snapshot is made.
#[test]
fn a_snapshot_is_whole_or_none() {
    let (mut cut_midway, mut whole) = (0, 0);
    for ops in 1.. {
        let mut sim = simulator(ops, 1);
        sim.set_tear(if ops % 2 == 0 { Tear::DropAll } else { Tear::Seeded });
        let handle = sim.start();
        let store = run(&mut sim, async move {
            let (store, schema) = open(handle, small("/store")).await;
            for id in 1..=20 {
                store.apply(message(&schema, 1, id, id, "x")).await.expect("written");
                if id == 10 {
                    store.flush().await.expect("flushed");
                }
            }
            store
        });
        sim.crash_at_op(Some(ops));
        let outcome = sim.run(async move { store.snapshot("one").await.map(drop).expect("made") });
        let is_made = !outcome.is_crashed();
        cut_midway += u32::from(!is_made);
        if is_made {
            sim.crash();
        }
        let is_there = sim.disk().list().contains(&Path::new(SNAPSHOT).join("MANIFEST"));
        assert!(is_there || !is_made, "what was said to be made is there");
        if is_there {
            whole += 1;
            let handle = sim.start();
            run(&mut sim, async move {
                let (store, schema) = open(handle, small(SNAPSHOT)).await;
                assert_eq!(
                    history(&store, &schema, 1, 7).await.len(),
                    20,
                    "cut after {ops} operations"
                );
                store.close().await.expect("closed");
            });
            sim.stop();
        }
        let handle = sim.start();
        run(&mut sim, async move {
            let (store, schema) = open(handle, small("/store")).await;
            assert_eq!(history(&store, &schema, 1, 7).await.len(), 20);
            if !is_there {
                store
                    .snapshot("one")
                    .await
                    .expect("what is left of the first is in nobody's way");
            }
            store.close().await.expect("closed");
        });
        if is_made {
            break;
        }
    }
    assert!(cut_midway > 15 && whole > 1, "{cut_midway} cut midway, {whole} whole");
}

#[test]
fn a_table_is_copied_with_its_tombstones() {
    let mut sim = simulator(3, 2);
    let handle = sim.start();
    run(&mut sim, async move {
        let (store, schema) = open(handle, small("/store")).await;
        for id in 1..=200 {
            store
                .apply(message(&schema, id % 4, id, id, &"x".repeat(900)))
                .await
                .expect("written");
            if id % 90 == 0 {
                store.flush().await.expect("flushed");
            }
        }
        let topic = |channel: i64| {
            let mut row = RowBuilder::new();
            row.cell(column(&schema, "topic"), 500, b"history");
            let mut mutation = MutationBuilder::new(schema.id, &key(channel));
            mutation.static_row(row.finish());
            mutation.build()
        };
        store.apply(topic(1)).await.expect("written");
        store.apply(delete(&schema, 1, 5, 1_000)).await.expect("written");
        store
            .apply(delete_range(&schema, 1, 150, 101, 1_000))
            .await
            .expect("written");
        store.apply(delete_channel(schema.id, 2, 1_000)).await.expect("written");
        store.snapshot("one").await.expect("made");
        let copied = store
            .copy_table(Path::new(SNAPSHOT), ("chat", "messages"), "copy", |_| {})
            .await
            .expect("copied");
        assert!(copied.rows > 200 && copied.partitions >= 4, "{copied:?}");
        let copy = store.table("chat", "copy").expect("made");
        for channel in 0..4 {
            let rows = history(&store, &schema, channel, 9).await;
            assert_eq!(rows, history(&store, &copy, channel, 9).await, "channel {channel}");
            assert_eq!(rows.is_empty(), channel == 2);
            let page = |id| Read::partition(id, key(channel));
            let [of, other] = [schema.id, copy.id].map(page);
            let [of, other] = [
                store.read(of).await.expect("read"),
                store.read(other).await.expect("read"),
            ];
            let bytes = |page: &scrollback_engine::Page| page.static_row().map(|row| row.bytes().to_vec());
            assert_eq!(bytes(&of), bytes(&other));
            assert_eq!(bytes(&of).is_some(), channel == 1);
        }
        // What comes late stays deleted.
        for (channel, id) in [(1, 5), (1, 121), (2, 2), (2, 3)] {
            let before = history(&store, &copy, channel, 9).await;
            store
                .apply(message(&copy, channel, id, 999, "late"))
                .await
                .expect("written");
            assert_eq!(
                history(&store, &copy, channel, 9).await,
                before,
                "channel {channel}, {id}"
            );
        }
        let refused = |error: Error, what: &str| assert!(error.to_string().contains(what), "{error}");
        let copy = |from: &'static str, name: &'static str, new: &'static str| {
            let store: Store = store.clone();
            async move { store.copy_table(Path::new(from), ("chat", name), new, |_| {}).await }
        };
        refused(
            copy(SNAPSHOT, "messages", "copy").await.expect_err("refused"),
            "exists already",
        );
        refused(
            copy(SNAPSHOT, "letters", "x").await.expect_err("refused"),
            "no table chat.letters",
        );
        refused(
            copy("/elsewhere", "messages", "x").await.expect_err("refused"),
            "no snapshot",
        );
        refused(
            copy("/store", "messages", "x").await.expect_err("refused"),
            "not closed",
        );
        store.close().await.expect("closed");
    });
}
