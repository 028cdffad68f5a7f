//! The merge against what went into it.
//!
//! A history is a set of *facts*: rows, and deletions of partitions, of ranges and of static rows. They are dealt out to files, some of
//! which are merged, as far as their tokens are in force. What a reader sees of all facts in force, now and later, must be what he sees
//! of those that came out and of those in the other files.
//!
//! `SCROLLBACK_SEED=17 cargo test -p scrollback-compaction --test merge` repeats one seed.
#![allow(clippy::unwrap_used, reason = "tests")]

use std::collections::{BTreeMap, BTreeSet};
use std::ops::RangeInclusive;
use std::path::PathBuf;
use std::rc::Rc;

use memtable::Memtable;
use model::{
    Columns, CqlType, Deletion, Direction, Fragment, Item, Live, MutationBuilder, Peek, PurgeRule, ReadTime,
    RowBuilder, RowRef, RowSource, Schema, Shadowed, Slice, TableId, Token, live_row, merge_rows, shadow_row, token_of,
};
use rand::{Rng, SeedableRng, rngs::SmallRng};
use runtime::ShardId;
use runtime::sim::{Config, Sim};
use scrollback_compaction::{Merger, Router, Routes, Sink};
use sstable::{BlockCache, Scan, Table, Writer, WriterOptions};

type Tokens = RangeInclusive<Token>;
type Key = (Token, Vec<u8>);

const ALL: Tokens = Token::MIN..=Token::MAX;

/// Something that was written to a partition.
#[derive(Clone, PartialEq, Debug)]
enum Fact {
    Deleted(Deletion),
    Static(Vec<u8>),
    Row(Vec<u8>, Vec<u8>),
    /// From a position to before another one.
    Range(Vec<u8>, Vec<u8>, Deletion),
}

impl Fact {
    fn min_timestamp(&self) -> i64 {
        match self {
            Fact::Static(body) | Fact::Row(_, body) => RowRef::trusted(body).min_timestamp(),
            Fact::Deleted(deletion) | Fact::Range(_, _, deletion) => deletion.timestamp,
        }
    }
}

type Facts = Vec<(Key, Fact)>;

/// What a reader sees at a time: by partition, its static row and its rows.
type View = BTreeMap<Key, (Option<Vec<u8>>, BTreeMap<Vec<u8>, Vec<u8>>)>;

/// By the definitions alone: every deletion is held against every row.
fn view(facts: &Facts, now_s: u32) -> View {
    let mut of_partition: BTreeMap<&Key, Vec<&Fact>> = BTreeMap::new();
    facts
        .iter()
        .for_each(|(key, fact)| of_partition.entry(key).or_default().push(fact));
    let mut view = View::new();
    for (key, facts) in of_partition {
        let mut deletion = Deletion::LIVE;
        let mut static_row: Option<Vec<u8>> = None;
        let mut rows: BTreeMap<Vec<u8>, Vec<u8>> = BTreeMap::new();
        for fact in &facts {
            match fact {
                Fact::Deleted(by) => deletion = deletion.max(*by),
                Fact::Static(body) => static_row = Some(merged(static_row, body)),
                Fact::Row(at, body) => {
                    let before = rows.remove(at);
                    rows.insert(at.clone(), merged(before, body));
                }
                Fact::Range(..) => {}
            }
        }
        let by = |at: &[u8]| {
            let ranges = facts.iter().filter_map(|fact| match fact {
                Fact::Range(start, end, by) if start.as_slice() <= at && at < end.as_slice() => Some(*by),
                _ => None,
            });
            ranges.fold(deletion, Deletion::max)
        };
        let static_row = static_row.and_then(|row| seen(&row, deletion, now_s));
        let rows: BTreeMap<_, _> = rows
            .into_iter()
            .filter_map(|(at, row)| Some((at.clone(), seen(&row, by(&at), now_s)?)))
            .collect();
        if static_row.is_some() || !rows.is_empty() {
            view.insert(key.clone(), (static_row, rows));
        }
    }
    view
}

fn merged(before: Option<Vec<u8>>, row: &[u8]) -> Vec<u8> {
    let Some(before) = before else {
        return row.to_vec();
    };
    let mut out = Vec::new();
    merge_rows(RowRef::trusted(&before), RowRef::trusted(row), &mut out);
    out
}

fn seen(row: &[u8], by: Deletion, now_s: u32) -> Option<Vec<u8>> {
    let (mut left, mut part) = (Vec::new(), Vec::new());
    let left = match shadow_row(RowRef::trusted(row), by, &mut left) {
        Shadowed::Unchanged => row,
        Shadowed::Changed => &left,
        Shadowed::Gone => return None,
    };
    match live_row(RowRef::trusted(left), ReadTime::at(now_s), Columns::All, &mut part).live {
        Live::Dead => None,
        Live::Whole => Some(left.to_vec()),
        Live::Part => Some(part),
    }
}

/// Takes fragments apart into facts, and checks that they are sorted and whole.
#[derive(Default)]
struct Collected {
    facts: Facts,
    partition: Option<Key>,
    before: Option<Key>,
    at: Vec<u8>,
    open: Option<(Vec<u8>, Deletion)>,
}

impl Collected {
    fn take(&mut self, fragment: Fragment<'_>) {
        let mut add = |fact| {
            self.facts
                .push((self.partition.clone().expect("within a partition"), fact))
        };
        match fragment {
            Fragment::PartitionStart { token, key, deletion } => {
                assert_eq!(self.partition, None, "the partition before has ended");
                let key = (token, key.to_vec());
                assert!(
                    self.before.as_ref().is_none_or(|before| *before < key),
                    "partitions ascend"
                );
                self.partition = Some(key.clone());
                self.at.clear();
                if !deletion.is_live() {
                    self.facts.push((key, Fact::Deleted(deletion)));
                }
            }
            Fragment::StaticRow(row) => add(Fact::Static(row.bytes().to_vec())),
            Fragment::Row { clustering, row } => {
                assert!(self.at.as_slice() < clustering || self.at.is_empty(), "rows ascend");
                self.at = clustering.to_vec();
                add(Fact::Row(clustering.to_vec(), row.bytes().to_vec()));
            }
            Fragment::RangeChange { position, deletion } => {
                assert!(self.at.as_slice() <= position, "changes ascend");
                if let Some((start, by)) = self.open.take() {
                    assert_ne!(by, deletion, "a change changes");
                    add(Fact::Range(start, position.to_vec(), by));
                }
                if !deletion.is_live() {
                    self.open = Some((position.to_vec(), deletion));
                }
            }
            Fragment::PartitionEnd => {
                assert_eq!(self.open, None, "what a partition opens it closes");
                self.before = self.partition.take();
            }
        }
    }
}

impl Sink for Collected {
    type Error = sstable::Error;

    async fn append(&mut self, _: usize, fragment: Fragment<'_>) -> Result<(), sstable::Error> {
        self.take(fragment);
        Ok(())
    }
}

/// What a file has of these tokens.
async fn facts_of(mut scan: Scan) -> Facts {
    let mut all = Collected::default();
    while scan.next_partition().await.unwrap() {
        all.take(Fragment::PartitionStart {
            token: scan.token(),
            key: scan.key(),
            deletion: scan.deletion(),
        });
        if let Some(row) = scan.static_row() {
            all.take(Fragment::StaticRow(row));
        }
        loop {
            match scan.peek() {
                Peek::End => break,
                Peek::Pending { .. } => {
                    scan.fill().await.unwrap();
                    continue;
                }
                Peek::Item(Item::Row { clustering, row }) => all.take(Fragment::Row { clustering, row }),
                Peek::Item(Item::RangeChange { position, deletion }) => {
                    all.take(Fragment::RangeChange { position, deletion });
                }
            }
            scan.advance();
        }
        all.take(Fragment::PartitionEnd);
    }
    all.facts
}

fn schema() -> Schema {
    Schema::builder("k", "t")
        .partition_key("p", CqlType::Int)
        .clustering("c", CqlType::Int)
        .static_column("s", CqlType::Blob)
        .regular("a", CqlType::Blob)
        .regular("b", CqlType::Blob)
        .build()
        .expect("legal")
}

/// Makes up facts of a few partitions, small enough that they meet.
struct Author {
    schema: Schema,
    rng: SmallRng,
    keys: Vec<Key>,
}

impl Author {
    fn new(seed: u64) -> Author {
        let mut rng = SmallRng::seed_from_u64(seed);
        let key = |p: i32| {
            let key = [&[0, 4][..], &p.to_be_bytes(), &[0]].concat();
            (token_of(&key), key)
        };
        let mut keys: Vec<Key> = (0..rng.random_range(1..12)).map(key).collect();
        keys.sort();
        Author {
            schema: schema(),
            rng,
            keys,
        }
    }

    fn position(&mut self) -> Vec<u8> {
        let value = self.rng.random_range(0..8_i32).to_be_bytes();
        self.schema.encode_clustering(&[&value]).expect("legal")
    }

    fn deletion(&mut self) -> Deletion {
        Deletion::new(self.rng.random_range(1..20), self.rng.random_range(0..60))
    }

    fn row(&mut self, columns: &[&str]) -> Vec<u8> {
        let rng = &mut self.rng;
        let mut row = RowBuilder::new();
        let (timestamp, ttl) = (rng.random_range(1..20), rng.random_range(1..60));
        let expires_at = rng.random_range(0..60) + ttl;
        if columns.len() > 1 {
            match rng.random_range(0..4) {
                0 => row.liveness(timestamp),
                1 => row.liveness_ttl(timestamp, ttl, expires_at),
                2 => row.deletion(Deletion::new(timestamp, rng.random_range(0..60))),
                _ => &mut row,
            };
        }
        for name in columns {
            let column = self.schema.column(name).expect("it has it").id;
            let timestamp = rng.random_range(1..20);
            let value = [rng.random(); 3];
            match rng.random_range(0..4) {
                0 => row.cell(column, timestamp, &value),
                1 => row.cell_ttl(column, timestamp, &value, ttl, expires_at),
                2 => row.tombstone(column, timestamp, rng.random_range(0..60)),
                _ => &mut row,
            };
        }
        row.finish().to_vec()
    }

    fn fact(&mut self) -> (Key, Fact) {
        let key = self.keys[self.rng.random_range(0..self.keys.len())].clone();
        let fact = match self.rng.random_range(0..10) {
            0 => Fact::Deleted(self.deletion()),
            1 => Fact::Static(self.row(&["s"])),
            2 => {
                let (a, b) = (self.position(), self.position());
                Fact::Range(a.clone().min(b.clone()), a.max(b), self.deletion())
            }
            _ => Fact::Row(self.position(), self.row(&["a", "b"])),
        };
        (key, fact)
    }

    fn tokens(&mut self) -> Tokens {
        let mut border = || {
            let token = self.keys[self.rng.random_range(0..self.keys.len())].0;
            Token(token.0 + self.rng.random_range(-1..=1))
        };
        let (a, b) = (border(), border());
        match self.rng.random_range(0..3) {
            0 => ALL,
            1 => Token::MIN..=a,
            _ => a.min(b)..=a.max(b),
        }
    }
}

/// A file of these facts.
async fn write(generation: u64, facts: &Facts) -> Table {
    let table = TableId(1);
    let mut memtable = Memtable::new();
    for ((_, key), fact) in facts {
        let mut mutation = MutationBuilder::new(table, key);
        match fact {
            Fact::Deleted(deletion) => mutation.delete_partition(*deletion),
            Fact::Static(body) => mutation.static_row(body),
            Fact::Row(at, body) => mutation.row(at, body),
            Fact::Range(start, end, deletion) => mutation.delete_range(start, end, *deletion),
        };
        memtable.apply(mutation.view());
    }
    let path = PathBuf::from(format!("/{generation}.sst"));
    let mut options = WriterOptions::new(table, [7; 16], generation);
    options.block_bytes = 200;
    let mut writer = Writer::create(&path, options, 0).await.unwrap();
    let mut next = memtable.next_partition(None);
    while let Some(partition) = next {
        let (token, key, deletion) = (partition.token(), partition.key(), partition.deletion());
        writer
            .append(Fragment::PartitionStart { token, key, deletion })
            .await
            .unwrap();
        if let Some(row) = partition.static_row() {
            writer.append(Fragment::StaticRow(row)).await.unwrap();
        }
        let mut rows = partition.rows(&Slice::all(), Direction::Forward);
        loop {
            let fragment = match rows.peek() {
                Peek::Item(Item::Row { clustering, row }) => Fragment::Row { clustering, row },
                Peek::Item(Item::RangeChange { position, deletion }) => Fragment::RangeChange { position, deletion },
                Peek::Pending { .. } => unreachable!("it is in memory"),
                Peek::End => break,
            };
            writer.append(fragment).await.unwrap();
            rows.advance();
        }
        writer.append(Fragment::PartitionEnd).await.unwrap();
        next = memtable.next_partition(Some((token, key)));
    }
    let summary = writer.seal().await.unwrap();
    let cache = Rc::new(BlockCache::new(1 << 20));
    Table::open(&path, generation, summary.file_bytes, cache).await.unwrap()
}

/// Runs on the one shard of a simulated node.
fn on_shard<Fut: Future<Output = ()> + 'static>(seed: u64, f: impl FnOnce() -> Fut + Send + 'static) {
    let mut sim = Sim::new(Config {
        seed,
        shards: 1,
        ..Config::default()
    });
    let node = sim.start();
    sim.run(async move { node.call(ShardId(0), f).await.unwrap() }).done();
}

async fn check(mut author: Author) {
    let mut files: Vec<(Table, Tokens)> = Vec::new();
    for generation in 1..author.rng.random_range(2..8) {
        let count = author.rng.random_range(0..40);
        let facts: Facts = (0..count).map(|_| author.fact()).collect();
        files.push((write(generation, &facts).await, author.tokens()));
    }
    let (mut inside, mut outside) = (Vec::new(), Vec::new());
    for (table, tokens) in files {
        let facts = facts_of(table.scan(tokens.clone())).await;
        match author.rng.random_bool(0.7) {
            true => inside.push((table, tokens, facts)),
            false => outside.push(facts),
        }
    }
    let outside: Facts = outside.concat();
    let before: Facts = inside
        .iter()
        .flat_map(|(_, _, facts)| facts.clone())
        .chain(outside.clone())
        .collect();
    let now_s = 60;
    let rule = PurgeRule {
        now_s,
        before_s: author.rng.random_range(0..=now_s),
        below: match author.rng.random_bool(0.2) {
            true => i64::MIN,
            false => outside
                .iter()
                .map(|(_, fact)| fact.min_timestamp())
                .min()
                .unwrap_or(i64::MAX),
        },
    };
    let keys: BTreeSet<Key> = inside
        .iter()
        .flat_map(|(_, _, facts)| facts.iter().map(|(key, _)| key.clone()))
        .collect();

    let mut merger = Merger::new(inside.into_iter().map(|(table, tokens, _)| (table, tokens)));
    let (mut out, mut router) = (Collected::default(), Router::new(Routes::one()));
    let (mut taken, mut left_out) = (Vec::new(), Vec::new());
    while merger.next_partition().await.unwrap() {
        let key = (merger.token(), merger.key().to_vec());
        taken.push(key.clone());
        // What is not given is passed over.
        if author.rng.random_bool(0.02) {
            left_out.push(key);
            continue;
        }
        merger
            .give(&rule, Columns::All, &[], &mut router, &mut out)
            .await
            .unwrap();
    }
    assert!(
        keys.iter().all(|key| taken.contains(key)) && taken.is_sorted(),
        "each partition, in order"
    );
    assert_eq!(merger.progress().partitions, taken.len() as u64);
    let after: Facts = out.facts.into_iter().chain(outside).collect();
    for at in [now_s, now_s + 7, now_s + 1000] {
        let (mut before, mut after) = (view(&before, at), view(&after, at));
        for key in &left_out {
            before.remove(key);
            after.remove(key);
        }
        assert_eq!(after, before, "at {at}");
    }
    assert!(!merger.next_partition().await.unwrap(), "the end stays the end");
}

#[test]
fn what_comes_out_reads_like_what_went_in() {
    let seeds = match std::env::var("SCROLLBACK_SEED") {
        Ok(seed) => seed.parse().map(|seed| seed..=seed).expect("a number"),
        Err(_) => 0..=1500,
    };
    for seed in seeds {
        println!("seed {seed}");
        on_shard(seed, move || check(Author::new(seed)));
    }
}

/// A run: files whose tokens follow each other.
async fn one_at_a_time() {
    let row = RowBuilder::new().liveness(1).finish().to_vec();
    let mut keys = Author::new(0).keys;
    keys.extend((100..130).map(|p: i32| {
        let key = [&[0, 4][..], &p.to_be_bytes(), &[0]].concat();
        (token_of(&key), key)
    }));
    keys.sort();
    let at = schema().encode_clustering(&[&[0; 4]]).expect("legal");
    let mut run = Vec::new();
    for (generation, keys) in keys.chunks(3).enumerate() {
        let facts = keys.iter().map(|key| (key.clone(), Fact::Row(at.clone(), row.clone())));
        run.push((write(generation as u64, &facts.collect()).await, keys.to_vec()));
    }
    // What is read of all of a file.
    let mut bytes = Vec::new();
    for (table, _) in &run {
        let mut scan = table.scan(ALL);
        while scan.next_partition().await.unwrap() {}
        bytes.push(scan.device_bytes());
    }
    // Their order does not matter.
    let mut merger = Merger::new(run.iter().rev().map(|(table, _)| (table.clone(), ALL)));
    for (nth, (table, keys)) in run.iter().enumerate() {
        for key in keys {
            assert!(merger.next_partition().await.unwrap());
            assert_eq!((merger.token(), merger.key()), (key.0, key.1.as_slice()));
            let read: u64 = bytes[..=nth].iter().sum();
            assert_eq!(merger.device_bytes(), read, "at file {nth}");
        }
        let before = nth.checked_sub(1).map(|before| &run[before].0);
        assert!(table.is_shared(), "file {nth} is being read");
        assert!(
            before.is_none_or(|before| !before.is_shared()),
            "the file before {nth} is not held"
        );
    }
    assert!(!merger.next_partition().await.unwrap());
    assert!(run.iter().all(|(table, _)| !table.is_shared()));
}

#[test]
fn of_files_that_follow_each_other_one_is_read_at_a_time() {
    on_shard(1, one_at_a_time);
}
