//! A small store on the simulated disk: what its files hold after a power cut, and whether it opens on other bytes.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use engine::{Config, Error, Read, Store};
use model::{CqlType, Deletion, Direction, Mutation, MutationBuilder, RowBuilder, Schema, Slice};
use runtime::Handle;
use runtime::sim::{self, Outcome, Sim, Tear};

const DIRECTORY: &str = "/store";
const KEYSPACE: &str = "flips";
const CHANNELS: i64 = 3;
/// The deleting client's clock, seconds.
const DELETED_AT: u32 = 1_700_000_000;
/// No opening takes so many steps.
const STEPS_MAX: u64 = 2_000_000;

/// Files by path.
pub(crate) type Files = Vec<(PathBuf, Vec<u8>)>;

/// Everything that can be read in a store: one entry a row, as bytes, in both directions.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Contents {
    rows: Vec<Vec<u8>>,
}

/// What came of opening a store and reading everything in it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum Opened {
    /// Bytes were found that contradict themselves: the error names them.
    Refused(String),
    /// All was read; whether replay has reported a torn tail.
    Whole { contents: Contents, torn: bool },
    /// Neither: another error, a panic of its own, no end.
    Wrong(String),
}

fn config() -> Config {
    Config {
        shards: Some(1),
        memtable_bytes: 64 << 10,
        block_cache_bytes: 0,
        log_segment_bytes: 64 << 10,
        log_bytes_max: 1 << 20,
        mutation_bytes_max: Some(16 << 10),
        block_bytes: 256,
        ..Config::new(DIRECTORY)
    }
}

fn machine() -> Sim {
    let mut sim = Sim::new(sim::Config {
        seed: 1,
        shards: 1,
        tear: Tear::KeepAll,
        ..sim::Config::default()
    });
    sim.set_step_limit(STEPS_MAX);
    sim
}

fn schema() -> Schema {
    Schema::builder(KEYSPACE, "messages")
        .partition_key("channel", CqlType::BigInt)
        .clustering_desc("id", CqlType::BigInt)
        .static_column("topic", CqlType::Text)
        .regular("author", CqlType::BigInt)
        .regular("content", CqlType::Text)
        .build()
        .expect("a well defined table")
}

/// Writes mutations of the table, each with the next timestamp.
struct Hand {
    schema: Arc<Schema>,
    timestamp: i64,
}

impl Hand {
    fn begin(&mut self, channel: i64) -> MutationBuilder {
        self.timestamp += 1;
        MutationBuilder::new(self.schema.id, &channel.to_be_bytes())
    }

    fn deletion(&self) -> Deletion {
        Deletion {
            timestamp: self.timestamp,
            local_deletion_time: DELETED_AT,
        }
    }

    fn clustering(&self, id: i64) -> Vec<u8> {
        self.schema
            .encode_clustering(&[&id.to_be_bytes()])
            .expect("a bigint is a clustering key of the table")
    }

    fn send(&mut self, channel: i64, id: i64) -> Mutation {
        let mut mutation = self.begin(channel);
        let mut row = RowBuilder::new();
        row.liveness(self.timestamp);
        row.cell(self.schema.regulars[0].id, self.timestamp, &id.to_be_bytes());
        let content = format!(
            "message {id} of channel {channel}, {}",
            "and so on ".repeat(id as usize % 4)
        );
        row.cell(self.schema.regulars[1].id, self.timestamp, content.as_bytes());
        mutation.row(&self.clustering(id), row.finish());
        mutation.build()
    }

    fn delete(&mut self, channel: i64, id: i64) -> Mutation {
        let mut mutation = self.begin(channel);
        let mut row = RowBuilder::new();
        row.deletion(self.deletion());
        mutation.row(&self.clustering(id), row.finish());
        mutation.build()
    }

    fn delete_content(&mut self, channel: i64, id: i64) -> Mutation {
        let mut mutation = self.begin(channel);
        let mut row = RowBuilder::new();
        row.tombstone(self.schema.regulars[1].id, self.timestamp, DELETED_AT);
        mutation.row(&self.clustering(id), row.finish());
        mutation.build()
    }

    fn delete_range(&mut self, channel: i64, newest: i64, oldest: i64) -> Mutation {
        let mut mutation = self.begin(channel);
        let (start, mut end) = (self.clustering(newest), self.clustering(oldest));
        end.push(0xFF);
        mutation.delete_range(&start, &end, self.deletion());
        mutation.build()
    }

    fn delete_channel(&mut self, channel: i64) -> Mutation {
        let mut mutation = self.begin(channel);
        mutation.delete_partition(self.deletion());
        mutation.build()
    }

    fn topic(&mut self, channel: i64) -> Mutation {
        let mut mutation = self.begin(channel);
        let mut row = RowBuilder::new();
        row.cell(self.schema.statics[0].id, self.timestamp, b"what it is about");
        mutation.static_row(row.finish());
        mutation.build()
    }
}

/// Makes a store, writes all kinds of things, flushes some of them, and cuts the power behind the last acknowledgement.
///
/// # Errors
/// What the store has refused.
pub(crate) fn made() -> Result<Files, String> {
    let mut sim = machine();
    let handle = sim.start();
    match sim.run(async move { write(handle).await }) {
        Outcome::Done(done) => done.map_err(|e| format!("the store to be damaged cannot be made: {e}"))?,
        Outcome::Crashed => return Err("the power was cut, and nobody did it".to_owned()),
        Outcome::Stuck(what) => return Err(format!("the store to be damaged cannot be made: {what}")),
    }
    sim.crash();
    let disk = sim.disk();
    let files = disk
        .list()
        .into_iter()
        .filter_map(|path| Some((path.clone(), disk.read_file(&path)?)));
    Ok(files.collect())
}

async fn write(handle: Handle) -> engine::Result<()> {
    let store = Store::open_on(handle, config()).await?;
    let schema = store.create_table(schema(), false).await?;
    let mut hand = Hand { schema, timestamp: 0 };
    // Before the flush: every kind of thing that an sstable has a place for. No deletion covers a whole block, which a
    // reader would then pass over.
    let first = hand.delete_channel(2);
    store.apply(first).await?;
    for channel in 0..CHANNELS {
        let topic = hand.topic(channel);
        store.apply(topic).await?;
        for id in 1..=14 {
            let send = hand.send(channel, id);
            store.apply(send).await?;
        }
    }
    for mutation in [hand.delete(0, 3), hand.delete_content(0, 5), hand.delete_range(1, 9, 8)] {
        store.apply(mutation).await?;
    }
    store.flush().await?;
    // After it: a full log segment and a part of one, each record in a group of its own.
    for id in 15..=34 {
        let send = hand.send(id % CHANNELS, id);
        store.apply(send).await?;
    }
    let last = hand.delete(0, 12);
    store.apply(last).await
}

/// Opens the store on these files and reads everything in it.
pub(crate) fn open(files: &Files) -> Opened {
    let mut sim = machine();
    let disk = sim.disk();
    for (path, bytes) in files {
        disk.write_file(path, bytes.clone());
    }
    let handle = sim.start();
    match sim.run(async move { read_all(handle).await }) {
        Outcome::Done(Ok((contents, torn))) => Opened::Whole { contents, torn },
        Outcome::Done(Err(error @ (Error::Corrupt { .. } | Error::TooNew { .. } | Error::Missing { .. }))) => {
            Opened::Refused(error.to_string())
        }
        Outcome::Done(Err(error)) => Opened::Wrong(error.to_string()),
        Outcome::Crashed => Opened::Wrong("the power was cut, and nobody did it".to_owned()),
        Outcome::Stuck(what) => Opened::Wrong(what),
    }
}

async fn read_all(handle: Handle) -> engine::Result<(Contents, bool)> {
    let store = Store::open_on(handle, config()).await?;
    let torn = store.recoveries().iter().any(|recovery| recovery.torn.is_some());
    let mut rows = Vec::new();
    if let Some(schema) = store.table(KEYSPACE, "messages") {
        for channel in 0..CHANNELS {
            for direction in [Direction::Forward, Direction::Reverse] {
                let mut rest: Option<Slice> = None;
                loop {
                    let mut read = Read {
                        direction,
                        include_dead: true,
                        ..Read::partition(schema.id, channel.to_be_bytes())
                    };
                    read.slice = rest.unwrap_or(read.slice);
                    let page = store.read(read).await?;
                    rows.extend(page.static_row().map(|row| row.bytes().to_vec()));
                    rows.extend(page.rows().map(|(key, row)| [key, row.bytes()].concat()));
                    rest = page.more().cloned();
                    if rest.is_none() {
                        break;
                    }
                }
            }
        }
    }
    Ok((Contents { rows }, torn))
}

/// Where the store keeps its manifest.
pub(crate) fn manifest() -> PathBuf {
    Path::new(DIRECTORY).join(engine::manifest::FILE_NAME)
}
