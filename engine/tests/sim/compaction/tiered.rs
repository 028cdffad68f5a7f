//! Time-tiered tables: epochs have files of their own, settle, take late data in when there is enough of it, and rest.

use super::statistics;
use super::{GRACE_S, Messages, Verdict, compacted, config, done, files_match, histories, manifest_of, must_be, open};
use crate::common::{column, delete_channel, key, message};
use crate::simulated::{run, simulator};
use model::{Mutation, MutationBuilder, RowBuilder, Schema};
use runtime::sim::{SimDisk, client_sleep};
use scrollback_engine::{CompactionKind, Config, Store};
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

const TIERED: [(&str, &str); 2] = [("class", "TimeTieredCompactionStrategy"), ("epoch_hours", "1")];
/// The epoch that begins with the simulation.
const PRESENT: i64 = 78_888;
const CHANNELS: std::ops::RangeInclusive<i64> = 1..=4;

/// A snowflake of an epoch.
fn id(epoch: i64, nth: i64) -> i64 {
    (epoch * 3_600_000 + nth) << 22
}

async fn wait_minutes(minutes: u64) {
    client_sleep(Duration::from_secs(60 * minutes)).await;
}

/// A store under test, and what must be in it.
struct Chat {
    store: Store,
    schema: std::sync::Arc<Schema>,
    /// Contents by channel and id.
    sent: BTreeMap<i64, BTreeMap<i64, String>>,
    timestamp: i64,
}

impl Chat {
    async fn open(handle: runtime::Handle, config: Config) -> Chat {
        let (store, schema) = open(handle, config, &TIERED).await;
        Chat {
            store,
            schema,
            sent: CHANNELS.map(|channel| (channel, BTreeMap::new())).collect(),
            timestamp: 1000,
        }
    }

    async fn apply(&self, mutation: Mutation) {
        self.store.apply(mutation).await.expect("written");
    }

    async fn send(&mut self, channel: i64, id: i64) {
        self.timestamp += 1;
        let text = format!("{} {}", self.timestamp, "x".repeat(200));
        self.apply(message(&self.schema, channel, id, self.timestamp, &text))
            .await;
        self.sent.entry(channel).or_default().insert(id, text);
    }

    /// So many messages of an epoch in each channel, from `first` on.
    async fn send_each(&mut self, epoch: i64, first: i64, count: i64) {
        for channel in CHANNELS {
            for nth in first..first + count {
                self.send(channel, id(epoch, nth)).await;
            }
        }
    }

    async fn delete(&mut self, channel: i64) {
        self.timestamp += 1;
        self.apply(delete_channel(self.schema.id, channel, self.timestamp))
            .await;
        self.sent.insert(channel, BTreeMap::new());
    }

    /// Flushes, and compacts what there is to be.
    async fn flush(&self) {
        self.store.flush().await.expect("flushed");
        compacted(&self.store).await.expect("compacted");
    }

    async fn kinds(&self) -> Vec<CompactionKind> {
        done(&self.store).await.into_iter().map(|done| done.kind).collect()
    }

    async fn written_bytes(&self) -> u64 {
        self.store.statistics().await.expect("open")[0].compaction_written_bytes
    }

    fn expected(&self) -> Messages {
        let newest_first = |of: &BTreeMap<i64, String>| of.iter().rev().map(|(id, text)| (*id, text.clone())).collect();
        self.sent
            .iter()
            .map(|(channel, of)| (*channel, newest_first(of)))
            .collect()
    }

    async fn all_is_there(&self, when: &str) -> Verdict {
        let expected = self.expected();
        let found = histories(&self.store, &self.schema, expected.keys().copied()).await;
        for (channel, of_channel) in &expected {
            let ids = |messages: &[(i64, String)]| messages.iter().map(|(id, _)| *id).collect::<Vec<_>>();
            must_be(
                &format!("{when}, channel {channel}"),
                &ids(&found[channel]),
                &ids(of_channel),
            )?;
        }
        must_be(&format!("{when}: contents"), &(found == expected), &true)
    }
}

/// Of each file: whether it is late, and the epochs of its rows, relative to the present one.
fn epochs(disk: &SimDisk) -> Vec<(bool, Vec<i64>)> {
    let statistics = statistics(disk);
    let of = |generation: &u64| {
        let shares = statistics[generation].epochs.clone().unwrap_or_default().shares;
        // What a deletion makes useless elsewhere has a share without bytes.
        let own = shares.iter().filter(|share| share.bytes > 0);
        own.map(|share| share.epoch - PRESENT).collect()
    };
    let files = manifest_of(disk).files;
    let mut all: Vec<(bool, Vec<i64>)> = files.values().map(|file| (file.late, of(&file.generation))).collect();
    all.sort();
    all
}

/// Files that have rows of an epoch.
fn files_of(disk: &SimDisk, epoch: i64) -> BTreeSet<u64> {
    let has = |of: &sstable::Statistics| {
        of.epochs
            .iter()
            .flat_map(|of| &of.shares)
            .any(|share| share.epoch == epoch)
    };
    let statistics = statistics(disk).into_iter();
    statistics
        .filter(|(_, of)| has(of))
        .map(|(generation, _)| generation)
        .collect()
}

fn flushed_by_epoch() -> Verdict {
    let mut sim = simulator(1, 1);
    let handle = sim.start();
    let disk = sim.disk();
    let chat = run(&mut sim, async move {
        let mut chat = Chat::open(handle, config()).await;
        for epoch in [-6, -5, -1, 0, 1, 2] {
            chat.send(1, id(PRESENT + epoch, 7)).await;
        }
        let mut row = RowBuilder::new();
        row.cell(column(&chat.schema, "topic"), 1, b"weather");
        let mut topic = MutationBuilder::new(chat.schema.id, &key(1));
        topic.static_row(row.finish());
        chat.apply(topic.build()).await;
        chat.flush().await;
        chat
    });
    let late = (true, vec![-6, -5, 2]);
    let of_epochs = [-1, 0, 1].map(|epoch| (false, vec![epoch]));
    must_be("files", &epochs(&disk), &of_epochs.into_iter().chain([late]).collect())?;
    sim.crash();
    let handle = sim.start();
    run(&mut sim, async move {
        let (store, _) = open(handle, config(), &TIERED).await;
        Chat { store, ..chat }.all_is_there("after a power cut").await
    })
}

#[test]
fn a_flush_writes_a_file_for_each_open_epoch_and_one_for_all_else() {
    flushed_by_epoch().unwrap_or_else(|what| panic!("{what}"));
}

#[test]
fn an_epoch_settles_takes_late_data_when_there_is_enough_and_rests() {
    let mut sim = simulator(2, 1);
    let disk = sim.disk();
    let handle = sim.start();
    run(&mut sim, async move {
        let mut chat = Chat::open(handle, config()).await;
        for round in 0..2 {
            chat.send_each(PRESENT, 100 * round, 25).await;
            chat.flush().await;
        }
        assert_eq!(chat.kinds().await, [], "an open epoch with two files");
        wait_minutes(70).await;
        compacted(&chat.store).await.expect("compacted");
        assert_eq!(chat.kinds().await, [], "it still takes rows of its own");
        wait_minutes(10).await;
        compacted(&chat.store).await.expect("compacted");
        assert_eq!(chat.kinds().await, [CompactionKind::Settle]);
        chat.all_is_there("settled").await.expect("whole");
        let runs: BTreeSet<_> = manifest_of(&disk)
            .files
            .values()
            .map(|file| (file.run, file.late))
            .collect();
        assert_eq!(runs.len(), 1, "one run");
        let settled = files_of(&disk, PRESENT);
        assert!(settled.len() >= 4, "{} fragments", settled.len());
        // A tenth waits. With more than a quarter it goes in.
        chat.send_each(PRESENT, 300, 5).await;
        chat.flush().await;
        assert_eq!(chat.kinds().await, [CompactionKind::Settle]);
        assert!(files_of(&disk, PRESENT).is_superset(&settled));
        chat.send_each(PRESENT, 400, 15).await;
        chat.flush().await;
        assert_eq!(chat.kinds().await, [CompactionKind::Settle, CompactionKind::Late]);
        chat.all_is_there("with late data").await.expect("whole");
        let (files, written) = (files_of(&disk, PRESENT), chat.written_bytes().await);
        assert!(manifest_of(&disk).files.values().all(|file| !file.late));
        // Others come and go.
        for hours in 1..=12 {
            chat.send_each(PRESENT + 1 + hours, 0, 1).await;
            chat.flush().await;
            wait_minutes(60).await;
            compacted(&chat.store).await.expect("compacted");
        }
        assert_eq!(
            (files_of(&disk, PRESENT), chat.written_bytes().await),
            (files, written),
            "at rest"
        );
        chat.all_is_there("at rest").await.expect("whole");
        chat.store.close().await.expect("closed");
    });
    files_match(&sim.disk()).expect("no file is left over");
}

#[test]
fn an_epoch_that_settles_gives_its_space_back_bit_by_bit() {
    let mut sim = simulator(5, 1);
    let disk = sim.disk();
    let handle = sim.start();
    let (before, most) = run(&mut sim, async move {
        let mut chat = Chat::open(handle.clone(), config()).await;
        for channel in 1..=40 {
            chat.sent.entry(channel).or_default();
        }
        for round in 0..3 {
            for channel in 1..=40 {
                for nth in 0..25 {
                    chat.send(channel, id(PRESENT, 100 * round + nth)).await;
                }
            }
            chat.store.flush().await.expect("flushed");
        }
        let bytes = |disk: &SimDisk| -> u64 {
            let paths = disk.list().into_iter();
            let tables = paths.filter(|path| path.extension().is_some_and(|of| of == "sst"));
            tables
                .map(|path| disk.read_file(path).map_or(0, |bytes| bytes.len() as u64))
                .sum()
        };
        chat.store.close().await.expect("closed");
        wait_minutes(80).await;
        let (before, mut most) = (bytes(&disk), 0);
        chat.store = Store::open_on(handle, config()).await.expect("opens");
        while chat.kinds().await.is_empty() {
            most = most.max(bytes(&disk));
            client_sleep(Duration::from_micros(200)).await;
        }
        compacted(&chat.store).await.expect("compacted");
        assert_eq!(chat.kinds().await, [CompactionKind::Settle]);
        chat.all_is_there("settled").await.expect("whole");
        chat.store.close().await.expect("closed");
        (before, most)
    });
    // Three flushes have fragments each: of the largest, less than half is there twice.
    assert!(
        most > before && most < before * 3 / 2,
        "{before} bytes before, {most} at most"
    );
    files_match(&sim.disk()).expect("no file is left over");
}

#[test]
fn late_files_of_several_epochs_are_taken_apart() {
    let mut sim = simulator(3, 1);
    let disk = sim.disk();
    let handle = sim.start();
    run(&mut sim, async move {
        let mut chat = Chat::open(handle, config()).await;
        // Imported.
        for epoch in [-6, -5] {
            chat.send_each(PRESENT + epoch, 0, 25).await;
            chat.flush().await;
        }
        wait_minutes(11).await;
        for epoch in [-6, -5] {
            chat.send_each(PRESENT + epoch, 100, 25).await;
        }
        chat.flush().await;
        assert_eq!(chat.kinds().await, [CompactionKind::Split]);
        for epoch in [-6, -5] {
            let fragments = files_of(&disk, PRESENT + epoch).len();
            assert_eq!(fragments, 8, "two for each channel, of the flush and of the split");
        }
        // So a channel's go unread with it.
        chat.delete(2).await;
        chat.flush().await;
        let deleted = &done(&chat.store).await[1];
        assert_eq!(
            (deleted.kind, deleted.files_in, deleted.read_bytes),
            (CompactionKind::Deleted, 4, 0)
        );
        // Nothing but late files: that looks like an import, until they are older.
        wait_minutes(11).await;
        compacted(&chat.store).await.expect("compacted");
        assert!(chat.kinds().await[3..].contains(&CompactionKind::Late));
        chat.all_is_there("taken apart").await.expect("whole");
        // The deletion waits for its grace.
        for (late, of) in epochs(&disk).into_iter().filter(|(_, of)| !of.is_empty()) {
            assert!(!late && of.len() == 1, "late: {late}, epochs {of:?}");
        }
        chat.store.close().await.expect("closed");
    });
    files_match(&sim.disk()).expect("no file is left over");
}

/// A run with a fragment for each channel; one of them is deleted. `restarts`: what is known of it is forgotten before anything is done.
fn deleted_channel(restarts: bool, writes_again: bool) -> Verdict {
    let mut sim = simulator(4, 1);
    let disk = sim.disk();
    let handle = sim.start();
    let mut chat = run(&mut sim, async move {
        let mut chat = Chat::open(handle, config()).await;
        for round in 0..2 {
            chat.send_each(PRESENT, 100 * round, 25).await;
            chat.flush().await;
        }
        wait_minutes(80).await;
        compacted(&chat.store).await.expect("compacted");
        if writes_again {
            // Younger than the deletion that follows.
            chat.timestamp += 1000;
            chat.send(2, id(PRESENT, 30)).await;
            chat.timestamp -= 1000;
            for nth in 500..530 {
                for channel in [1, 3, 4] {
                    chat.send(channel, id(PRESENT, nth)).await;
                }
            }
            chat.flush().await;
        }
        chat.store.close().await.expect("closed");
        chat
    });
    let before = files_of(&disk, PRESENT);
    let handle = sim.start();
    let off = Config {
        compaction: false,
        ..config()
    };
    let (chat, kinds) = run(&mut sim, async move {
        let first = if restarts { off } else { config() };
        chat.store = Store::open_on(handle.clone(), first).await.expect("opens");
        let kept = chat.sent[&2].get(&id(PRESENT, 30)).cloned();
        chat.delete(2).await;
        if writes_again {
            let kept = kept.expect("written");
            chat.sent.entry(2).or_default().insert(id(PRESENT, 30), kept);
        }
        chat.store.flush().await.expect("flushed");
        if restarts {
            chat.store.close().await.expect("closed");
            chat.store = Store::open_on(handle, config()).await.expect("opens");
        }
        compacted(&chat.store).await.expect("compacted");
        let done = done(&chat.store).await;
        (chat, done)
    });
    let deleted = kinds.iter().filter(|done| done.kind == CompactionKind::Deleted);
    let bytes: Vec<_> = deleted.map(|done| (done.read_bytes, done.written_bytes)).collect();
    let after = files_of(&disk, PRESENT);
    let gone = before.difference(&after).count();
    if writes_again {
        must_be("dropped unread", &bytes, &Vec::new())?;
    } else {
        must_be("read and written for it", &bytes, &vec![(0, 0)])?;
        must_be(
            "fragments gone, and new ones",
            &(gone, after.difference(&before).count()),
            &(1, 0),
        )?;
    }
    run(&mut sim, async move {
        chat.all_is_there("deleted").await?;
        // The deletion goes, too, when its grace has passed.
        wait_minutes(u64::from(GRACE_S) / 60 + 20).await;
        compacted(&chat.store).await.expect("compacted");
        chat.all_is_there("when its grace has passed").await?;
        chat.store.close().await.map_err(|error| error.to_string())
    })?;
    if !writes_again {
        let deletions: u64 = statistics(&disk).values().map(|of| of.partition_tombstones).sum();
        must_be("deletions left", &deletions, &0)?;
    }
    files_match(&disk)
}

#[test]
fn a_deleted_partition_takes_its_own_fragment_along_unread() {
    for restarts in [false, true] {
        for writes_again in [false, true] {
            let seen = deleted_channel(restarts, writes_again);
            seen.unwrap_or_else(|what| panic!("restarts: {restarts}, writes again: {writes_again}: {what}"));
        }
    }
}

#[cfg(feature = "breaks")]
#[test]
fn a_break_of_time_tiered_tables_is_noticed() {
    use runtime::Break;
    let what = runtime::with_break(Break::ForgetsLateFiles, flushed_by_epoch);
    println!("ForgetsLateFiles: {}", what.expect_err("noticed"));
    for restarts in [false, true] {
        let what = runtime::with_break(Break::DropsLiveFiles, || deleted_channel(restarts, true));
        println!("DropsLiveFiles: {}", what.expect_err("noticed"));
    }
}
