//! The same over io_uring and on plain threads: this is two modules, and their names say which.

use crate::common::{delete, history, message};
use scrollback_engine::{Body, Config, Error, Store};
use std::path::{Path, PathBuf};

fn config(dir: &Path) -> Config {
    let body = match module_path!().ends_with("on_threads") {
        true => Body::Threads,
        false => Body::Uring,
    };
    Config {
        body: Some(body),
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
        assert_eq!(store.body(), config(&dir).body);
        let schema = store.create_table(crate::common::chat(), true).await.expect("table");
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

/// Writes a store of one table file, one segment of the log in use and a manifest.
fn killed_store(dir: &Path) {
    runtime::block_on(async {
        let config = Config {
            shards: Some(1),
            ..config(dir)
        };
        let store = Store::open(config).await.expect("opens");
        let schema = store.create_table(crate::common::chat(), true).await.expect("table");
        store
            .apply(message(&schema, 1, 1, 1, "flushed"))
            .await
            .expect("written");
        store.flush().await.expect("flushed");
        store.apply(message(&schema, 1, 2, 2, "logged")).await.expect("written");
    });
}

#[expect(clippy::disallowed_methods, reason = "a test's own files")]
fn files_below(dir: &Path) -> Vec<PathBuf> {
    let mut files = Vec::new();
    for entry in std::fs::read_dir(dir).expect("a directory") {
        let path = entry.expect("an entry").path();
        match path.is_dir() {
            true => files.extend(files_below(&path)),
            false => files.push(path),
        }
    }
    files.sort();
    files
}

/// Found in review: the manifest was read whole, whatever its length, and before the directory was locked.
#[test]
fn a_manifest_is_read_under_the_lock_and_only_if_it_can_be_one() {
    let root = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).expect("a directory");
    killed_store(root.path());
    set_len(&root.path().join("MANIFEST"), 1 << 40);
    let open = || {
        let config = Config {
            shards: None,
            ..config(root.path())
        };
        let opened = runtime::block_on(Store::open(config));
        opened.err().expect("refused").to_string()
    };
    let lock = runtime::checks::lock_directory(root.path()).expect("nobody has it open");
    let refused = open();
    assert!(refused.contains("in use by another process"), "{refused}");
    drop(lock);
    let refused = open();
    assert!(refused.contains("it is never longer than 1073741824"), "{refused}");
}

/// Found in review: each file was read whole into memory.
#[test]
fn a_check_names_files_of_absurd_lengths_without_reading_them() {
    let root = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).expect("a directory");
    killed_store(root.path());
    let check = || {
        scrollback_engine::check::check(root.path(), |_, _| {})
            .expect("readable")
            .damaged
    };
    assert_eq!(check(), []);
    let files = files_below(root.path());
    for (ending, says) in [
        (".sst", "1099511627776 bytes long, the manifest says"),
        (".log", "the file is longer than its header says"),
        ("MANIFEST", "a manifest of 1099511627776 bytes"),
    ] {
        // Of the log's segments the one with the record.
        let path = files
            .iter()
            .find(|path| path.to_string_lossy().ends_with(ending))
            .expect("there");
        let len = std::fs::metadata(path).expect("there").len();
        set_len(path, 1 << 40);
        let damaged = check();
        assert_eq!(damaged.len(), 1, "{damaged:?}");
        assert!(
            damaged[0].path == *path && damaged[0].what.starts_with(says),
            "{damaged:?}"
        );
        set_len(path, len);
        assert_eq!(check(), []);
    }
}

#[expect(clippy::disallowed_methods, reason = "a test's own file")]
fn set_len(path: &Path, len: u64) {
    let file = std::fs::OpenOptions::new().write(true).open(path).expect("a file");
    file.set_len(len).expect("its length");
}

/// Found in review: the next generation and the next segment were computed with an overflow.
#[test]
#[expect(clippy::disallowed_methods, reason = "a test's own files")]
fn a_name_with_the_last_number_that_there_is_does_no_harm() {
    let root = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).expect("a directory");
    killed_store(root.path());
    let stray = root.path().join("tables/00001/18446744073709551615.sst");
    std::fs::write(&stray, "not ours").expect("written");
    let open = || {
        Store::open(Config {
            shards: None,
            ..config(root.path())
        })
    };
    runtime::block_on(async {
        let store = open().await.expect("opens");
        let schema = store.tables().pop().expect("a table");
        store.apply(message(&schema, 1, 3, 3, "new")).await.expect("written");
        store.close().await.expect("closed");
        let store = open().await.expect("opens");
        assert_eq!(history(&store, &schema, 1, 10).await.len(), 3);
        store.close().await.expect("closed");
    });
    let aside = root.path().join("orphans/00001-18446744073709551615.sst");
    assert_eq!(std::fs::read(aside).expect("set aside"), b"not ours");

    let segment = files_below(&root.path().join("log")).pop().expect("a segment");
    let name = segment.file_name().expect("a name").to_string_lossy().into_owned();
    let stray = segment.with_file_name(name.replacen(&name[..16], "ffffffffffffffff", 1));
    std::fs::copy(&segment, &stray).expect("copied");
    let refused = runtime::block_on(open()).err().expect("refused").to_string();
    assert!(refused.contains("ffffffffffffffff"), "{refused}");
}

/// Found in review: a flush that found a file under the name it had drawn removed it.
#[test]
#[expect(clippy::disallowed_methods, reason = "a test's own files")]
fn a_flush_leaves_a_file_alone_that_it_has_not_made() {
    let root = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).expect("a directory");
    let config = Config {
        shards: Some(1),
        ..config(root.path())
    };
    runtime::block_on(async {
        let store = Store::open(config).await.expect("opens");
        let schema = store.create_table(crate::common::chat(), true).await.expect("table");
        let taken = root.path().join("tables/00001/000000001024.sst");
        std::fs::write(&taken, "not ours").expect("written");
        store
            .apply(message(&schema, 1, 1, 1, "flushed"))
            .await
            .expect("written");
        store.flush().await.expect("flushed under the next name");
        assert_eq!(std::fs::read(&taken).expect("there"), b"not ours");
        assert!(root.path().join("tables/00001/000000002048.sst").exists());
        store.close().await.expect("closed");
    });
}

/// Found in review: a manifest from a backup, beside a log that had gone on, lost what the tables held that it does not name.
#[test]
#[expect(clippy::disallowed_methods, reason = "a test's own files")]
fn a_manifest_that_is_older_than_the_log_is_refused() {
    let root = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).expect("a directory");
    killed_store(root.path());
    let manifest = root.path().join("MANIFEST");
    let old = std::fs::read(&manifest).expect("there");
    killed_store(root.path());
    std::fs::write(&manifest, old).expect("restored");
    let opened = runtime::block_on(Store::open(Config {
        shards: None,
        ..config(root.path())
    }));
    let refused = opened.err().expect("refused").to_string();
    assert!(
        refused.contains("the manifest is older than the commit log"),
        "{refused}"
    );
    let checked = scrollback_engine::check::check(root.path(), |_, _| {}).expect("readable");
    assert!(
        checked
            .damaged
            .iter()
            .any(|damaged| damaged.what.contains("the manifest is older than the log")),
        "{:?}",
        checked.damaged
    );
}

#[test]
fn what_was_dropped_or_truncated_is_gone_from_the_disk() {
    let root = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).expect("a directory");
    let dir = root.path().join("store");
    #[expect(clippy::disallowed_methods, reason = "a look at the disk from outside")]
    let files = |dir: &Path| {
        let tables = std::fs::read_dir(dir.join("tables")).expect("tables").flatten();
        let files = tables.flat_map(|table| std::fs::read_dir(table.path()).expect("files").flatten());
        files.count()
    };
    runtime::block_on(async {
        let store = Store::open(config(&dir)).await.expect("opens");
        let other = model::Schema {
            name: "other".to_owned(),
            ..crate::common::chat()
        };
        let schema = store.create_table(crate::common::chat(), false).await.expect("table");
        let other = store.create_table(other, false).await.expect("table");
        let write = async |schema: &model::Schema, from: i64| {
            let ids = from..from + 2000;
            let text = "x".repeat(200);
            let mutations = ids.map(|id| message(schema, id % 7, id, id, &text));
            store.apply_all(mutations.collect()).await.expect("written");
        };
        write(&schema, 0).await;
        write(&other, 0).await;
        store.flush().await.expect("flushed");
        write(&schema, 2000).await;
        store.truncate(schema.id).await.expect("truncated");
        assert_eq!(history(&store, &schema, 3, 100).await, []);
        store.apply(message(&schema, 3, 1, 1, "kept")).await.expect("written");
        assert!(
            store
                .drop_table("chat", "other", false)
                .await
                .expect("dropped")
                .is_some()
        );
        store.close().await.expect("closed");
        assert!((1..=2).contains(&files(&dir)), "one file, or one of each shard");
        for shards in [3, 1] {
            let config = Config {
                shards: Some(shards),
                ..config(&dir)
            };
            let store = Store::open(config).await.expect("opens");
            assert_eq!(store.table("chat", "other").is_none(), shards == 3, "created again");
            assert_eq!(history(&store, &schema, 3, 100).await, [(1, "kept".to_owned())]);
            assert_eq!(history(&store, &schema, 4, 100).await, []);
            let again = model::Schema {
                name: "other".to_owned(),
                ..crate::common::chat()
            };
            let again = store.create_table(again, true).await.expect("table");
            assert!(again.id > other.id);
            assert_eq!(history(&store, &again, 4, 100).await, []);
            // As a crash would end it.
            drop(store);
        }
    });
}
