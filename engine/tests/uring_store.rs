//! The engine over io_uring and a real disk.

mod common;

use common::{delete, history, message};
use scrollback_engine::{Config, Error, Store};
use std::path::Path;

fn config(dir: &Path) -> Config {
    Config {
        shards: Some(2),
        pin: false,
        memtable_bytes: 256 << 10,
        log_segment_bytes: 1 << 20,
        log_bytes_max: 8 << 20,
        ..Config::new(dir)
    }
}

#[test]
fn what_was_written_is_there_after_closing_and_after_dropping() {
    let root = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).expect("a directory");
    let dir = root.path().join("made/by/opening");
    runtime::block_on(async {
        let store = Store::open(config(&dir)).await.expect("opens");
        let schema = store.create_table(common::chat(), true).await.expect("table");
        for batch in 0..40 {
            let ids = batch * 100 + 1..=(batch + 1) * 100;
            let mutations =
                ids.map(|id| message(&schema, id % 5, id, id, &format!("message {id} {}", "x".repeat(150))));
            store.apply_all(mutations.collect()).await.expect("written");
        }
        let statistics = store.statistics().await.expect("figures");
        assert!(
            statistics.iter().any(|shard| shard.flushes > 0),
            "the memtable is small enough to be flushed"
        );
        assert!(
            matches!(Store::open(config(&dir)).await, Err(Error::Refused { .. })),
            "open elsewhere"
        );
        store.apply(delete(&schema, 1, 1, 10_000)).await.expect("deleted");
        store.close().await.expect("closed");
        let store = Store::open(config(&dir)).await.expect("opens again");
        assert_eq!(
            store.recoveries().iter().map(|r| r.records).sum::<u64>(),
            0,
            "closed cleanly"
        );
        store
            .apply(message(&schema, 1, 5001, 5001, "after"))
            .await
            .expect("written");
        drop(store);
        let store = Store::open(Config {
            shards: None,
            ..config(&dir)
        })
        .await
        .expect("opens after a drop");
        assert_eq!(store.recoveries().iter().map(|r| r.records).sum::<u64>(), 1, "replayed");
        let mut count = 0;
        for channel in 0..5 {
            let rows = history(&store, &schema, channel, 50).await;
            assert!(
                rows.windows(2).all(|pair| pair[0].0 > pair[1].0),
                "newest first, once each"
            );
            count += rows.len();
        }
        assert_eq!(count, 4000);
        store.close().await.expect("closed");
    });
    let checked = scrollback_engine::check::check(&dir, |_, _| {}).expect("a closed store");
    assert_eq!(checked.damaged, []);
}
