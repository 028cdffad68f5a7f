//! The whole engine over the simulated disk: what is acknowledged survives, what is flushed is found, files that are missing or
//! foreign are named.

use crate::common;
use crate::common::{clustering, delete, delete_channel, delete_range, history, message};
use crate::simulated::{both, open, run, simulator, small};
use model::Direction;
use runtime::ShardId;
use scrollback_engine::{Error, Read, Store};

#[test]
fn acknowledged_writes_survive_a_crash_without_a_flush() {
    let mut sim = simulator(1, 2);
    let handle = sim.start();
    run(&mut sim, async move {
        let (store, schema) = open(handle, small("/store")).await;
        for id in 1..=100 {
            store
                .apply(message(&schema, id % 7, id, id, "hello"))
                .await
                .expect("written");
        }
    });
    sim.crash();
    let handle = sim.start();
    run(&mut sim, async move {
        let (store, schema) = open(handle, small("/store")).await;
        assert_eq!(store.recoveries().iter().map(|r| r.records).sum::<u64>(), 100);
        let mut found = 0;
        for channel in 0..7 {
            let rows = history(&store, &schema, channel, 9).await;
            assert!(rows.windows(2).all(|pair| pair[0].0 > pair[1].0), "newest first");
            found += rows.len();
        }
        assert_eq!(found, 100);
        store.close().await.expect("closed");
    });
}

#[test]
fn a_clean_shutdown_leaves_nothing_to_replay() {
    let mut sim = simulator(2, 2);
    let handle = sim.start();
    run(&mut sim, async move {
        let (store, schema) = open(handle, small("/store")).await;
        for id in 1..=500 {
            store
                .apply(message(&schema, 3, id, id, &format!("message {id}")))
                .await
                .expect("written");
        }
        store.close().await.expect("closed");
        assert!(matches!(
            store.apply(message(&schema, 3, 1, 1, "late")).await,
            Err(Error::Closed)
        ));
    });
    let handle = sim.start();
    run(&mut sim, async move {
        let (store, schema) = open(handle, small("/store")).await;
        assert_eq!(store.recoveries().iter().map(|r| r.records).sum::<u64>(), 0);
        let rows = history(&store, &schema, 3, 50).await;
        assert_eq!(rows.len(), 500);
        assert_eq!(rows[0], (500, "message 500".to_owned()));
        store.close().await.expect("closed");
    });
}

#[test]
fn pages_of_both_directions_meet_every_row_once() {
    let mut sim = simulator(3, 1);
    let handle = sim.start();
    run(&mut sim, async move {
        let (store, schema) = open(handle, small("/store")).await;
        for id in 1..=300 {
            store.apply(message(&schema, 1, id, id, "x")).await.expect("written");
            if id % 60 == 0 {
                store.flush().await.expect("flushed");
            }
        }
        let mut read = Read {
            limit_rows: 7,
            direction: Direction::Reverse,
            ..Read::partition(schema.id, common::key(1))
        };
        read.slice.end = clustering(&schema, 11);
        let mut ids = Vec::new();
        loop {
            let page = store.read(read.clone()).await.expect("read");
            ids.extend(common::messages(&schema, &page).into_iter().map(|(id, _)| id));
            let Some(rest) = page.more() else { break };
            read.slice = rest.clone();
        }
        assert_eq!(ids, (12..=300).collect::<Vec<_>>(), "oldest first, after 11");
        assert_eq!(history(&store, &schema, 1, 7).await.len(), 300);
        store.close().await.expect("closed");
    });
}

#[test]
fn deletions_of_all_kinds_hold_across_flush_and_crash() {
    let mut sim = simulator(4, 2);
    let handle = sim.start();
    run(&mut sim, async move {
        let (store, schema) = open(handle, small("/store")).await;
        for channel in [1, 2, 3] {
            for id in 1..=50 {
                store
                    .apply(message(&schema, channel, id, id, "x"))
                    .await
                    .expect("written");
            }
        }
        store.flush().await.expect("flushed");
        store.apply(delete(&schema, 1, 25, 1000)).await.expect("deleted");
        store
            .apply(delete_range(&schema, 2, 40, 11, 1000))
            .await
            .expect("deleted");
        store.apply(delete_channel(schema.id, 3, 1000)).await.expect("deleted");
        store.flush().await.expect("flushed");
        // Late arrivals with old timestamps stay dead.
        store.apply(message(&schema, 2, 20, 20, "late")).await.expect("written");
        store.apply(message(&schema, 3, 20, 20, "late")).await.expect("written");
    });
    sim.crash();
    let handle = sim.start();
    run(&mut sim, async move {
        let (store, schema) = open(handle, small("/store")).await;
        assert_eq!(history(&store, &schema, 1, 10).await.len(), 49);
        let ids: Vec<i64> = history(&store, &schema, 2, 10)
            .await
            .into_iter()
            .map(|(id, _)| id)
            .collect();
        assert_eq!(ids, (1..=10).chain(41..=50).rev().collect::<Vec<_>>());
        assert!(history(&store, &schema, 3, 10).await.is_empty());
        store.close().await.expect("closed");
    });
}

#[test]
fn a_missing_sstable_is_named_and_a_foreign_one_set_aside() {
    let mut sim = simulator(6, 1);
    let handle = sim.start();
    run(&mut sim, async move {
        let (store, schema) = open(handle, small("/store")).await;
        store.apply(message(&schema, 1, 1, 1, "x")).await.expect("written");
        store.close().await.expect("closed");
    });
    sim.crash();
    let disk = sim.disk();
    let table = disk
        .list()
        .into_iter()
        .find(|path| path.extension().is_some_and(|e| e == "sst"))
        .expect("one sstable");
    let bytes = disk.read_file(&table).expect("its bytes");
    disk.write_file(table.with_file_name("000000009999.sst"), bytes.clone());
    disk.remove(&table);
    let handle = sim.start();
    let path = table.clone();
    run(&mut sim, async move {
        let error = Store::open_on(handle, small("/store")).await.err().expect("refused");
        assert!(
            matches!(&error, Error::Missing { path: missing } if *missing == path),
            "{error}"
        );
    });
    sim.crash();
    disk.write_file(&table, bytes);
    let handle = sim.start();
    run(&mut sim, async move {
        let (store, schema) = open(handle, small("/store")).await;
        assert_eq!(history(&store, &schema, 1, 10).await.len(), 1);
        store.close().await.expect("closed");
    });
    let orphans = disk
        .list()
        .into_iter()
        .filter(|path| path.starts_with("/store/orphans"))
        .count();
    assert_eq!(orphans, 1, "the file that the manifest does not name was set aside");
}

#[test]
fn a_full_disk_refuses_writes_serves_reads_and_recovers() {
    let mut sim = simulator(7, 1);
    let handle = sim.start();
    let disk = sim.disk();
    run(&mut sim, async move {
        let (store, schema) = open(handle, small("/store")).await;
        store.apply(message(&schema, 1, 1, 1, "first")).await.expect("written");
        disk.set_capacity(Some(0));
        let mut refused = None;
        for id in 2..20_000 {
            if let Err(error) = store.apply(message(&schema, 1, id, id, &"x".repeat(100))).await {
                refused = Some((id, error));
                break;
            }
        }
        let (first_refused, error) = refused.expect("a full disk stops the writers");
        assert!(matches!(error, Error::Overloaded { .. }), "{error}");
        assert_eq!(
            history(&store, &schema, 1, 500).await.len() as i64,
            first_refused - 1,
            "reads are served"
        );
        disk.set_capacity(None);
        let mut tries = 0;
        while store
            .apply(message(&schema, 1, first_refused, first_refused, "again"))
            .await
            .is_err()
        {
            tries += 1;
            assert!(tries < 100, "writes resume when space returns");
            runtime::sim::client_sleep(std::time::Duration::from_millis(200)).await;
        }
        store.close().await.expect("closed");
    });
}

#[test]
fn a_listing_of_partitions_beside_a_flush_meets_each_of_them() {
    for seed in 0..40 {
        let mut sim = simulator(seed, 1);
        let handle = sim.start();
        run(&mut sim, async move {
            let (store, schema) = open(handle, small("/store")).await;
            for channel in 0..60 {
                store
                    .apply(message(&schema, channel, 1, 1, "x"))
                    .await
                    .expect("written");
                if channel == 20 {
                    store.flush().await.expect("flushed");
                }
            }
            let listing = store.partitions(ShardId(0), schema.id, None, 1000);
            let (listed, flushed) = both(listing, store.flush()).await;
            flushed.expect("flushed");
            assert_eq!(listed.expect("listed").len(), 60, "seed {seed}");
        });
    }
}
