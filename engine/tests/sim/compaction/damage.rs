//! A block of an input is damaged on the disk: the file is named and kept, and everything else goes on.

use super::{AT_REST, compacted, compacts_by, config, done, manifest_of, open, start};
use crate::common::{chat, history, key, message};
use crate::simulated::{run, simulator};
use runtime::sim::client_sleep;
use scrollback_engine::{Error, Read, Store};
use std::collections::BTreeSet;
use std::fmt::{self, Write};
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tracing::field::{Field, Visit};
use tracing::span;

const CHANNELS: i64 = 12;

/// Keeps what is logged as errors.
#[derive(Clone, Default)]
struct Errors(Arc<Mutex<Vec<String>>>);

struct Line(String);

impl Visit for Line {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        write!(self.0, " {}={value:?}", field.name()).expect("a string");
    }
}

impl tracing::Subscriber for Errors {
    fn enabled(&self, metadata: &tracing::Metadata<'_>) -> bool {
        *metadata.level() == tracing::Level::ERROR
    }

    fn new_span(&self, _: &span::Attributes<'_>) -> span::Id {
        span::Id::from_u64(1)
    }

    fn record(&self, _: &span::Id, _: &span::Record<'_>) {}

    fn record_follows_from(&self, _: &span::Id, _: &span::Id) {}

    fn event(&self, event: &tracing::Event<'_>) {
        let mut line = Line(String::new());
        event.record(&mut line);
        self.0.lock().expect("no panic").push(line.0);
    }

    fn enter(&self, _: &span::Id) {}

    fn exit(&self, _: &span::Id) {}
}

#[test]
fn a_damaged_input_is_named_and_kept_and_everything_else_goes_on() {
    let errors = Errors::default();
    let logged = Arc::clone(&errors.0);
    tracing::subscriber::with_default(errors, damaged);
    let logged = logged.lock().expect("no panic");
    assert_eq!(logged.len(), 1, "{logged:?}");
    for part in [
        "000000001024.sst",
        "damaged at byte",
        "chat.messages",
        "restore it from a backup",
    ] {
        assert!(logged[0].contains(part), "{part}: {logged:?}");
    }
}

fn damaged() {
    let mut sim = simulator(1, 1);
    let disk = sim.disk();
    let handle = sim.start();
    run(&mut sim, async move {
        let (store, schema) = open(handle, config(), &AT_REST).await;
        for timestamp in 1..=2 {
            for channel in 0..CHANNELS {
                for id in 1..=8 {
                    let text = format!("channel {channel} {timestamp} {}", "x".repeat(200));
                    let write = message(&schema, channel, id, timestamp, &text);
                    store.apply(write).await.expect("written");
                }
            }
            store.flush().await.expect("flushed");
        }
        store.close().await.expect("closed");
    });
    let named: Vec<u64> = manifest_of(&disk).files.into_keys().collect();
    let path = PathBuf::from(format!("/store/tables/00001/{:012}.sst", named[0]));
    let mut bytes = disk.read_file(&path).expect("a file");
    let wanted = b"channel 7 1 ";
    let at = bytes
        .windows(wanted.len())
        .position(|window| window == wanted)
        .expect("its text");
    bytes[at] ^= 0x10;
    disk.write_file(&path, bytes.clone());
    let handle = sim.start();
    let after = sim.disk();
    run(&mut sim, async move {
        let (store, schema) = open(handle, config(), &AT_REST).await;
        start(&store).await;
        compacted(&store).await.expect("nothing else is left");
        let figures = async |store: &Store| store.statistics().await.expect("open")[0].clone();
        assert_eq!(figures(&store).await.compaction_failures, 1);
        let files = || manifest_of(&after).files.into_keys().collect::<BTreeSet<u64>>();
        assert!(files().contains(&named[0]), "it is kept");
        // Others can be read; it, no more than before.
        let mut unreadable = Vec::new();
        for channel in 0..CHANNELS {
            match store.read(Read::partition(schema.id, key(channel))).await {
                Ok(page) => assert_eq!(page.len(), 8, "channel {channel}"),
                Err(Error::Corrupt { path: of, .. }) => {
                    assert_eq!(of, path);
                    unreadable.push(channel);
                }
                Err(error) => panic!("{error}"),
            }
        }
        assert!(unreadable.contains(&7) && unreadable.len() < 4, "{unreadable:?}");
        // Flushes and compactions of the table go on without it, and those of others.
        let mut other = chat();
        other.name = "other".to_owned();
        other.options = compacts_by(&AT_REST[..2]);
        let other = store.create_table(other, true).await.expect("made");
        for timestamp in 3..=6 {
            for schema in [&schema, &other] {
                let write = message(schema, 100, timestamp, timestamp, "later");
                store.apply(write).await.expect("written");
            }
            store.flush().await.expect("flushed");
        }
        client_sleep(Duration::from_secs(7200)).await;
        compacted(&store).await.expect("compacted");
        let tables: BTreeSet<String> = done(&store).await.into_iter().map(|done| done.table).collect();
        assert_eq!(tables.len(), 2, "{tables:?}");
        assert_eq!(figures(&store).await.compaction_failures, 1, "it is not tried again");
        let of_other = manifest_of(&after)
            .files
            .into_values()
            .filter(|file| file.table == other.id);
        assert_eq!(of_other.count(), 1);
        assert!(files().contains(&named[0]));
        for schema in [&schema, &other] {
            assert_eq!(history(&store, schema, 100, 3).await.len(), 4);
        }
        store.close().await.expect("closed");
    });
    let path = format!(
        "/store/tables/00001/{:012}.sst",
        manifest_of(&disk).files.into_keys().next().expect("files")
    );
    assert!(disk.read_file(path) == Some(bytes), "as it was found");
}

/// Found in review: the job with the file was the smallest, failed, and was the smallest again.
#[test]
fn an_input_that_cannot_be_read_keeps_no_other_from_being_compacted() {
    let mut sim = simulator(2, 1);
    let disk = sim.disk();
    let handle = sim.start();
    run(&mut sim, async move {
        let (store, schema) = open(handle.clone(), config(), &AT_REST).await;
        let mut other = chat();
        other.name = "other".to_owned();
        other.options = compacts_by(&AT_REST);
        let other = store.create_table(other, true).await.expect("made");
        for timestamp in 1..=2 {
            for id in 1..=20 {
                let write = message(&other, 1, id, timestamp, &"x".repeat(200));
                store.apply(write).await.expect("written");
            }
            let write = message(&schema, 1, 1, timestamp, "x");
            store.apply(write).await.expect("written");
            store.flush().await.expect("flushed");
        }
        let named = manifest_of(&disk).files;
        let bad = named
            .values()
            .find(|file| file.table == schema.id)
            .expect("flushed")
            .generation;
        store.close().await.expect("closed");
        let store = Store::open_on(handle, config()).await.expect("opens");
        disk.fail_next("read", &format!("{bad:012}.sst"), u64::MAX, 5);
        for name in ["messages", "other"] {
            let options = model::Alteration::Options(compacts_by(&AT_REST[..2]));
            store.alter_table("chat", name, vec![options]).await.expect("altered");
        }
        let tables = async || {
            done(&store)
                .await
                .into_iter()
                .map(|done| done.table)
                .collect::<Vec<_>>()
        };
        client_sleep(Duration::from_secs(1800)).await;
        assert_eq!(tables().await, ["chat.other"]);
        let failures = store.statistics().await.expect("open")[0].compaction_failures;
        assert!((2..20).contains(&failures), "tried again now and then: {failures}");
        disk.clear_failures();
        client_sleep(Duration::from_secs(1800)).await;
        assert_eq!(tables().await, ["chat.other", "chat.messages"]);
        for schema in [&schema, &other] {
            assert!(!history(&store, schema, 1, 30).await.is_empty());
        }
        store.close().await.expect("closed");
    });
}
