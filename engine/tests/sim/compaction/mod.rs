//! Compaction on the simulated disk: nothing is lost and nothing comes back, whatever happens when.

mod alter;
mod crash;
mod damage;
mod gone;
mod levels;
mod pace;
mod purge;
mod shards;
mod threshold;
mod tiered;

use crate::common::{chat, history};
use crate::simulated::small;
use model::{Alteration, Compression, Schema, TableOptions};
use runtime::{Handle, ShardId};
use scrollback_engine::manifest::{self, state::State};
use scrollback_engine::{CompactionRecord, Config, Store};
use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::Arc;

/// The simulator's wall clock at its start, seconds.
const NOW_S: u32 = 1_704_067_200;
/// Grace of the tables here.
const GRACE_S: u32 = 3600;

/// What must hold, or why it does not.
type Verdict = Result<(), String>;

fn must_be<T: PartialEq + std::fmt::Debug>(what: &str, found: &T, expected: &T) -> Verdict {
    match found == expected {
        true => Ok(()),
        false => Err(format!("{what}: {found:?}, expected {expected:?}")),
    }
}

fn compacts_by(compaction: &[(&str, &str)]) -> TableOptions {
    let own = |&(name, value): &(&str, &str)| (name.to_owned(), value.to_owned());
    TableOptions {
        gc_grace_seconds: GRACE_S,
        compaction: compaction.iter().map(own).collect(),
        compression: Compression::None,
        ..TableOptions::default()
    }
}

/// Size-tiered, and only when it is [told to](start).
const AT_REST: [(&str, &str); 3] = [
    ("class", "SizeTieredCompactionStrategy"),
    ("min_threshold", "2"),
    ("enabled", "false"),
];

fn config() -> Config {
    Config {
        fragment_bytes: 4 << 10,
        memtable_bytes: 1 << 20,
        // No flush but those that are asked for.
        log_segment_bytes: 1 << 20,
        log_bytes_max: 16 << 20,
        ..small("/store")
    }
}

/// A store with the chat table, compacted like this.
async fn open(handle: Handle, config: Config, compaction: &[(&str, &str)]) -> (Store, Arc<Schema>) {
    let store = Store::open_on(handle, config).await.expect("the store opens");
    let mut schema = chat();
    schema.options = compacts_by(compaction);
    let schema = store.create_table(schema, true).await.expect("the table is made");
    (store, schema)
}

/// Compacts the table like this from now on.
async fn alter(store: &Store, compaction: &[(&str, &str)]) -> Arc<Schema> {
    let options = Alteration::Options(compacts_by(compaction));
    let altered = store.alter_table("chat", "messages", vec![options]).await;
    altered.expect("altered")
}

/// What was [at rest](AT_REST) is compacted.
async fn start(store: &Store) -> Arc<Schema> {
    alter(store, &AT_REST[..2]).await
}

/// Waits until nothing is left to be compacted.
async fn compacted(store: &Store) -> scrollback_engine::Result<()> {
    for shard in (0..store.shards()).map(ShardId) {
        store
            .call(shard, |shard| async move { shard.compacted().await })
            .await??;
    }
    Ok(())
}

/// Compactions that were done, of all shards.
async fn done(store: &Store) -> Vec<CompactionRecord> {
    let mut all = Vec::new();
    for shard in (0..store.shards()).map(ShardId) {
        let (_, ended) = store
            .call(shard, |shard| async move { shard.compactions() })
            .await
            .expect("open");
        all.extend(ended);
    }
    all
}

/// All messages, by channel, newest first.
async fn histories(store: &Store, schema: &Schema, channels: impl Iterator<Item = i64>) -> Messages {
    let mut all = Messages::new();
    for channel in channels {
        all.insert(channel, history(store, schema, channel, 5).await);
    }
    all
}

/// Ids and contents by channel.
type Messages = BTreeMap<i64, Vec<(i64, String)>>;

/// What the manifest says.
fn manifest_of(disk: &runtime::sim::SimDisk) -> State {
    let bytes = disk.read_file("/store/MANIFEST").expect("a store");
    manifest::parse(&bytes).expect("a whole manifest").0
}

/// Table files that the manifest names and that are not there, or the other way round.
fn files_match(disk: &runtime::sim::SimDisk) -> Verdict {
    let named = manifest_of(disk).files.into_values();
    let path = |table: u32, generation: u64| PathBuf::from(format!("/store/tables/{table:05}/{generation:012}.sst"));
    let named: BTreeSet<PathBuf> = named.map(|file| path(file.table.0, file.generation)).collect();
    let present: BTreeSet<PathBuf> = disk
        .list()
        .into_iter()
        .filter(|path| path.starts_with("/store/tables"))
        .collect();
    must_be("files on disk", &present, &named)
}

/// The statistics of the table files, by generation.
fn statistics(disk: &runtime::sim::SimDisk) -> BTreeMap<u64, sstable::Statistics> {
    let of = |path: PathBuf| {
        let bytes = disk.read_file(&path).expect("a file");
        let stats = sstable::offline::stats(&bytes).expect("a whole file");
        (stats.generation, stats.statistics)
    };
    let files = disk.list().into_iter().filter(|path| path.starts_with("/store/tables"));
    files.map(of).collect()
}
