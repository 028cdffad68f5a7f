//! What a dropped or truncated table leaves, and what it does not.

use super::{config, files_match, ids, other};
use crate::common::{chat, message};
use crate::simulated::{both, run, simulator};
use model::Keyspace;
use runtime::sim::client_sleep;
use scrollback_engine::{Config, DefinitionKind, Error, Read, Store};
use std::time::Duration;

/// The log is short: what a table pins that is gone must be let go of, or nobody writes any more.
#[test]
fn the_log_is_not_pinned_by_what_is_gone() {
    for is_dropped in [true, false] {
        let config = || Config {
            memtable_bytes: 4 << 20,
            ..config()
        };
        let mut sim = simulator(1, 1);
        let handle = sim.start();
        run(&mut sim, async move {
            let store = Store::open_on(handle, config()).await.expect("opened");
            let other = store.create_table(other(), false).await.expect("a table");
            for _ in 0..20 {
                let schema = store.create_table(chat(), true).await.expect("a table");
                for id in 0..40 {
                    let text = "x".repeat(5_000);
                    store.apply(message(&schema, 1, id, id, &text)).await.expect("written");
                }
                let files: u64 = store.disk_usage().await.expect("told").iter().map(|of| of.files).sum();
                assert!(files <= 4, "{files}");
                match is_dropped {
                    true => drop(store.drop_table("chat", "messages", false).await.expect("dropped")),
                    false => store.truncate(schema.id).await.expect("truncated"),
                }
                let statistics = &store.statistics().await.expect("told")[0];
                assert!(
                    statistics.log_bytes <= 256 << 10,
                    "{} bytes of log",
                    statistics.log_bytes
                );
                assert!(
                    statistics.memtable_bytes < 64 << 10,
                    "{} bytes",
                    statistics.memtable_bytes
                );
            }
            store.apply(message(&other, 1, 1, 1, "x")).await.expect("written");
            assert_eq!(ids(&store, &other, 2).await[&1].len(), 1);
            store.close().await.expect("closed");
        });
        files_match(&sim.disk()).expect("no file is left over");
    }
}

/// Found by histories of CQL: a flush gives the log back as far as it was pinned when its file was written. What was erased between
/// then and the flush's entry in the manifest pinned the log for ever: with a short log no write found room any more.
#[test]
fn the_log_is_not_pinned_by_what_goes_while_another_table_is_flushed() {
    for pause_us in (6_000..12_000).step_by(100) {
        let mut sim = simulator(pause_us, 1);
        let handle = sim.start();
        let log_bytes = run(&mut sim, async move {
            let store = Store::open_on(handle, config()).await.expect("opened");
            let other = store.create_table(other(), false).await.expect("a table");
            let schema = store.create_table(chat(), true).await.expect("a table");
            store.apply(message(&schema, 1, 1, 1, "pins")).await.expect("written");
            let fill = async {
                for id in 0..14 {
                    let text = "x".repeat(5_000);
                    store.apply(message(&other, 1, id, id, &text)).await.expect("written");
                }
            };
            let erase = async {
                client_sleep(Duration::from_micros(pause_us)).await;
                store.truncate(schema.id).await.expect("truncated");
            };
            both(fill, erase).await;
            client_sleep(Duration::from_millis(50)).await;
            let statistics = store.statistics().await.expect("told");
            store.close().await.expect("closed");
            statistics[0].log_bytes
        });
        assert_eq!(log_bytes, 64 << 10, "truncated after {pause_us} us: segments are held");
    }
}

#[test]
fn a_dropped_table_is_gone_and_its_name_is_free() {
    let mut sim = simulator(2, 2);
    let handle = sim.start();
    let last = run(&mut sim, async move {
        let store = Store::open_on(handle, config()).await.expect("opened");
        store
            .create_keyspace(Keyspace::new("chat"), false)
            .await
            .expect("created");
        let (first, other) = (
            store.create_table(chat(), false).await.expect("a table"),
            store.create_table(other(), false).await.expect("a table"),
        );
        for id in 0..50 {
            store
                .apply(message(&first, id % 5, id, id, "x"))
                .await
                .expect("written");
        }
        let absent = store.drop_table("chat", "none", false).await;
        assert!(
            matches!(
                &absent,
                Err(Error::NotFound {
                    what: DefinitionKind::Table,
                    ..
                })
            ),
            "{absent:?}"
        );
        assert_eq!(store.drop_table("chat", "none", true).await.expect("absent"), None);
        let gone = store.drop_table("chat", "messages", false).await.expect("dropped");
        assert_eq!(gone, Some(std::sync::Arc::clone(&first)));
        let told = "table chat.messages was dropped";
        let written = store.apply(message(&first, 1, 1, 1, "late")).await.expect_err("gone");
        let read = store.read(Read::partition(first.id, crate::common::key(1))).await;
        let truncated = store.truncate(first.id).await;
        for error in [written, read.expect_err("gone"), truncated.expect_err("gone")] {
            assert_eq!(error.to_string(), told);
        }
        let again = store.create_table(chat(), false).await.expect("a table");
        assert!(again.id > other.id);
        assert!(ids(&store, &again, 5).await.values().all(|ids| ids.is_empty()));
        // The highest id goes, and a start lies between.
        store.drop_table("chat", "messages", false).await.expect("dropped");
        assert!(store.drop_keyspace("chat", false).await.expect("dropped"));
        assert!(store.tables().is_empty() && store.keyspaces().is_empty());
        let written = store.apply(message(&other, 1, 1, 1, "late")).await;
        assert!(matches!(written, Err(Error::Invalid { .. })), "{written:?}");
        store.close().await.expect("closed");
        again.id
    });
    let handle = sim.start();
    run(&mut sim, async move {
        let store = Store::open_on(handle, config()).await.expect("opened");
        assert!(store.tables().is_empty());
        assert!(store.create_table(chat(), false).await.expect("a table").id > last);
        store.close().await.expect("closed");
    });
}

#[test]
fn a_truncated_table_takes_what_is_older_than_what_is_gone() {
    let mut sim = simulator(3, 2);
    let handle = sim.start();
    run(&mut sim, async move {
        let store = Store::open_on(handle, config()).await.expect("opened");
        let schema = store.create_table(chat(), false).await.expect("a table");
        for round in 0..3 {
            for id in 0..20 {
                store
                    .apply(message(&schema, id % 4, id, 1_000, "old"))
                    .await
                    .expect("written");
            }
            if round > 0 {
                store.flush().await.expect("flushed");
            }
            // Read twice: the row cache has it then.
            for _ in 0..2 {
                let expected = if round > 0 { 6 } else { 5 };
                assert_eq!(ids(&store, &schema, 4).await[&1].len(), expected);
                client_sleep(Duration::from_millis(5)).await;
            }
            store.truncate(schema.id).await.expect("truncated");
            assert!(
                ids(&store, &schema, 4).await.values().all(|ids| ids.is_empty()),
                "round {round}"
            );
            store.apply(message(&schema, 1, 7, 1, "older")).await.expect("written");
            assert_eq!(Vec::from_iter(&ids(&store, &schema, 4).await[&1]), [&7]);
        }
        store.close().await.expect("closed");
    });
    files_match(&sim.disk()).expect("no file is left over");
}

/// A fill reads from files that a truncation takes away; what it makes of them is thrown away.
#[test]
fn the_row_cache_learns_nothing_of_what_is_gone() {
    let config = || Config {
        memtable_bytes: 4 << 20,
        block_cache_bytes: 64 << 10,
        compaction: false,
        ..config()
    };
    let mut stale = 0;
    for after_us in (0..4_000).step_by(100) {
        let mut sim = simulator(after_us, 1);
        let handle = sim.start();
        run(&mut sim, async move {
            let store = Store::open_on(handle, config()).await.expect("opened");
            let schema = store.create_table(chat(), false).await.expect("a table");
            let text = "x".repeat(200);
            for ids in 0..20 {
                let written = (ids * 50..ids * 50 + 50).map(|id| message(&schema, 1, id, id, &text));
                store.apply_all(written.collect()).await.expect("written");
            }
            store.close().await.expect("closed");
        });
        let handle = sim.start();
        stale += run(&mut sim, async move {
            let store = Store::open_on(handle, config()).await.expect("opened");
            let schema = store.table("chat", "messages").expect("there");
            let page = Read {
                limit_rows: 900,
                ..Read::partition(schema.id, crate::common::key(1))
            };
            assert_eq!(store.read(page).await.expect("a page").len(), 900);
            client_sleep(Duration::from_micros(after_us)).await;
            store.truncate(schema.id).await.expect("truncated");
            client_sleep(Duration::from_millis(100)).await;
            assert!(ids(&store, &schema, 2).await[&1].is_empty(), "after {after_us} us");
            let stale = store.statistics().await.expect("told")[0].row_cache_fills_stale;
            store.close().await.expect("closed");
            stale
        });
    }
    assert!(stale > 0, "no fill was under way");
}
