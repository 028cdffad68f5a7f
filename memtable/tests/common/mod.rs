//! A memtable as simple as it can be, to compare with.

#![allow(dead_code, reason = "each test program uses its own part of this module")]

use std::collections::BTreeMap;

use model::{
    ColumnId, Deletion, Direction, Item, Mutation, MutationBuilder, MutationRef, Peek, RowBuilder, RowRef, RowSource,
    Slice, TableId, Token, merge_rows, token_of,
};
use rand::rngs::SmallRng;
use rand::seq::IndexedRandom;
use rand::{Rng, SeedableRng};
use scrollback_memtable::Partition;

pub const TABLE: TableId = TableId(1);

/// Runs `test` for each seed; a failure names the seed, and `MEMTABLE_SEED` repeats it alone.
pub fn for_seeds(name: &str, seeds: u64, test: impl Fn(u64, &mut SmallRng)) {
    let only = std::env::var("MEMTABLE_SEED")
        .ok()
        .map(|seed| seed.parse().expect("MEMTABLE_SEED is a number"));
    for seed in only.map_or(0..seeds, |seed: u64| seed..seed + 1) {
        struct Told<'a>(&'a str, u64);
        impl Drop for Told<'_> {
            fn drop(&mut self) {
                if std::thread::panicking() {
                    eprintln!(
                        "repeat with: MEMTABLE_SEED={} cargo test -p scrollback-memtable {}",
                        self.1, self.0
                    );
                }
            }
        }
        let _told = Told(name, seed);
        test(seed, &mut SmallRng::seed_from_u64(seed));
    }
}

/// An item of a walk, owned.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Seen {
    Row(Vec<u8>, Vec<u8>),
    Change(Vec<u8>, Deletion),
}

impl Seen {
    pub fn of(item: Item<'_>) -> Self {
        match item {
            Item::Row { clustering, row } => Self::Row(clustering.to_vec(), row.bytes().to_vec()),
            Item::RangeChange { position, deletion } => Self::Change(position.to_vec(), deletion),
        }
    }
}

/// All that is left of a source.
pub fn drain(source: &mut impl RowSource) -> Vec<Seen> {
    let mut seen = Vec::new();
    loop {
        match source.peek() {
            Peek::Item(item) => seen.push(Seen::of(item)),
            Peek::Pending { .. } => panic!("a memtable is never pending"),
            Peek::End => return seen,
        }
        source.advance();
    }
}

/// One partition, naively.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct NaivePartition {
    pub deletion: Deletion,
    pub static_row: Option<Vec<u8>>,
    pub rows: BTreeMap<Vec<u8>, Vec<u8>>,
    pub ranges: Vec<(Vec<u8>, Vec<u8>, Deletion)>,
}

fn merged(old: Option<&Vec<u8>>, new: RowRef<'_>) -> Vec<u8> {
    let mut out = Vec::new();
    merge_rows(old.map_or(RowRef::EMPTY, |old| RowRef::trusted(old)), new, &mut out);
    out
}

impl NaivePartition {
    fn apply(&mut self, mutation: MutationRef<'_>) {
        self.deletion = self.deletion.max(mutation.partition_deletion());
        if let Some(row) = mutation.static_row().filter(|row| !row.is_empty()) {
            self.static_row = Some(merged(self.static_row.as_ref(), row));
        }
        for (clustering, row) in mutation.rows().filter(|(_, row)| !row.is_empty()) {
            let body = merged(self.rows.get(clustering), row);
            self.rows.insert(clustering.to_vec(), body);
        }
        self.ranges.extend(
            mutation
                .ranges()
                .map(|(start, end, deletion)| (start.to_vec(), end.to_vec(), deletion)),
        );
    }

    /// What is in force from `position` on, up to the next bound of a range.
    pub fn deletion_at(&self, position: &[u8]) -> Deletion {
        let over = self
            .ranges
            .iter()
            .filter(|(start, end, _)| &start[..] <= position && position < &end[..]);
        over.fold(Deletion::LIVE, |strongest, (_, _, deletion)| strongest.max(*deletion))
    }

    /// What a walk over the slice must give.
    pub fn walk(&self, slice: &Slice, direction: Direction) -> Vec<Seen> {
        if slice.is_empty() {
            return Vec::new();
        }
        // The pieces of the slice between bounds of ranges, each with the deletion in force in all of it.
        let mut cuts: Vec<&[u8]> = self
            .ranges
            .iter()
            .flat_map(|(start, end, _)| [&start[..], &end[..]])
            .collect();
        cuts.retain(|cut| &slice.start[..] < *cut && *cut < &slice.end[..]);
        cuts.push(&slice.start);
        cuts.sort();
        cuts.dedup();
        let pieces: Vec<(&[u8], &[u8], Deletion)> = cuts
            .iter()
            .enumerate()
            .map(|(i, cut)| {
                (
                    *cut,
                    cuts.get(i + 1).copied().unwrap_or(&slice.end),
                    self.deletion_at(cut),
                )
            })
            .collect();
        let mut seen = Vec::new();
        let mut current = Deletion::LIVE;
        let mut visit = |from: &[u8], start: &[u8], end: &[u8], deletion: Deletion| {
            if deletion != current {
                seen.push(Seen::Change(from.to_vec(), deletion));
                current = deletion;
            }
            let mut rows: Vec<Seen> = self
                .rows
                .range(start.to_vec()..end.to_vec())
                .map(|(key, body)| Seen::Row(key.clone(), body.clone()))
                .collect();
            if direction == Direction::Reverse {
                rows.reverse();
            }
            seen.append(&mut rows);
        };
        match direction {
            Direction::Forward => pieces.iter().for_each(|(start, end, d)| visit(start, start, end, *d)),
            Direction::Reverse => pieces
                .iter()
                .rev()
                .for_each(|(start, end, d)| visit(end, start, end, *d)),
        }
        visit(slice.last(direction), &[], &[], Deletion::LIVE);
        seen
    }

    /// Everything of a snapshot that can be compared.
    pub fn of(partition: &Partition) -> (Deletion, Option<Vec<u8>>, Vec<Seen>, Vec<Seen>) {
        (
            partition.deletion(),
            partition.static_row().map(|row| row.bytes().to_vec()),
            drain(&mut partition.rows(&Slice::all(), Direction::Forward)),
            drain(&mut partition.rows(&Slice::all(), Direction::Reverse)),
        )
    }

    pub fn whole(&self) -> (Deletion, Option<Vec<u8>>, Vec<Seen>, Vec<Seen>) {
        (
            self.deletion,
            self.static_row.clone(),
            self.walk(&Slice::all(), Direction::Forward),
            self.walk(&Slice::all(), Direction::Reverse),
        )
    }
}

/// The whole memtable, naively.
#[derive(Clone, Debug, Default)]
pub struct Naive {
    pub partitions: BTreeMap<(Token, Vec<u8>), NaivePartition>,
}

impl Naive {
    pub fn apply(&mut self, mutation: MutationRef<'_>) {
        let key = (token_of(mutation.key()), mutation.key().to_vec());
        let mut partition = self.partitions.remove(&key).unwrap_or_default();
        partition.apply(mutation);
        // A mutation of empty rows writes nothing.
        if partition != NaivePartition::default() {
            self.partitions.insert(key, partition);
        }
    }
}

/// How ids arrive.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Arrival {
    Ascending,
    Descending,
    /// Newest first, slightly out of order.
    Shuffled,
    Random,
}

/// Makes random mutations of a table with clustering keys of one kind.
pub struct Source {
    pub ids: u64,
    pub arrival: Arrival,
    long_keys: bool,
    partitions: u64,
    ranges: f64,
    /// Ranges reach over a few ids only, so that there are many of them.
    narrow: bool,
    timestamps: i64,
    next: u64,
}

impl Source {
    pub fn new(rng: &mut SmallRng) -> Self {
        Self {
            ids: *[6, 40, 3000].choose(rng).expect("a choice"),
            arrival: *[
                Arrival::Ascending,
                Arrival::Descending,
                Arrival::Shuffled,
                Arrival::Random,
            ]
            .choose(rng)
            .expect("a choice"),
            long_keys: rng.random(),
            partitions: *[1, 3, 60].choose(rng).expect("a choice"),
            ranges: *[0.0, 0.05, 0.6].choose(rng).expect("a choice"),
            narrow: rng.random(),
            timestamps: *[30, 100_000].choose(rng).expect("a choice"),
            next: 0,
        }
    }

    /// The clustering key of an id; prefix-free, the first byte a marker.
    pub fn key(&self, id: u64) -> Vec<u8> {
        let mut key = if self.long_keys {
            b"\x80long common".to_vec()
        } else {
            vec![0x80]
        };
        key.extend_from_slice(&(id as u16).to_be_bytes());
        key
    }

    pub fn position(&self, rng: &mut SmallRng) -> Vec<u8> {
        let mut position = self.key(rng.random_range(0..self.ids));
        match rng.random_range(0..8) {
            0 => return Vec::new(),
            1 => return vec![0xff],
            2 => position.truncate(position.len() - 1),
            _ => {}
        }
        if rng.random_bool(0.4) {
            position.push(0xff);
        }
        position
    }

    pub fn slice(&self, rng: &mut SmallRng) -> Slice {
        let (a, b) = (self.position(rng), self.position(rng));
        if a <= b {
            Slice { start: a, end: b }
        } else {
            Slice { start: b, end: a }
        }
    }

    pub fn timestamp(&self, rng: &mut SmallRng) -> i64 {
        rng.random_range(1..self.timestamps)
    }

    pub fn partition_key(&self, rng: &mut SmallRng) -> Vec<u8> {
        rng.random_range(0..self.partitions).to_be_bytes().to_vec()
    }

    fn id(&mut self, rng: &mut SmallRng) -> u64 {
        self.next += 1;
        let at = self.next % self.ids;
        match self.arrival {
            Arrival::Ascending => at,
            Arrival::Descending => self.ids - 1 - at,
            Arrival::Shuffled => (self.ids - 1 - at + rng.random_range(0..4)) % self.ids,
            Arrival::Random => rng.random_range(0..self.ids),
        }
    }

    pub fn mutation(&mut self, rng: &mut SmallRng) -> Mutation {
        let mut builder = MutationBuilder::new(TABLE, &self.partition_key(rng));
        let mut row = RowBuilder::new();
        if rng.random_bool(0.02) {
            builder.delete_partition(deletion(self.timestamps, rng));
        }
        if rng.random_bool(0.1) {
            fill(&mut row, self.timestamps, rng);
            builder.static_row(row.finish());
        }
        let mut ids: Vec<u64> = (0..*[0, 1, 1, 1, 2, 20].choose(rng).expect("a choice"))
            .map(|_| self.id(rng))
            .collect();
        ids.sort();
        ids.dedup();
        for id in ids {
            fill(&mut row, self.timestamps, rng);
            builder.row(&self.key(id), row.finish());
        }
        while rng.random_bool(self.ranges) {
            let mut slice = self.slice(rng);
            if self.narrow {
                let id = rng.random_range(0..self.ids);
                slice = Slice {
                    start: self.key(id),
                    end: self.key(id + rng.random_range(1..5)),
                };
            }
            if !slice.is_empty() {
                builder.delete_range(&slice.start, &slice.end, deletion(self.timestamps, rng));
            }
        }
        builder.build()
    }
}

/// Of few timestamps, ties happen.
fn deletion(timestamps: i64, rng: &mut SmallRng) -> Deletion {
    Deletion::new(rng.random_range(1..timestamps), rng.random_range(1..4))
}

fn fill(row: &mut RowBuilder, timestamps: i64, rng: &mut SmallRng) {
    let timestamp = |rng: &mut SmallRng| rng.random_range(1..timestamps);
    row.clear();
    let at = timestamp(rng);
    if rng.random_bool(0.5) {
        row.liveness(at);
    }
    if rng.random_bool(0.1) {
        row.deletion(deletion(timestamps, rng));
    }
    for column in 0..rng.random_range(0..4) {
        match rng.random_range(0..5) {
            0 => row.tombstone(ColumnId(column), timestamp(rng), 7),
            1 => row.cell_ttl(ColumnId(column), timestamp(rng), b"ends", 10, 100),
            2 => row.complex_deletion(ColumnId(column + 10), deletion(timestamps, rng)),
            3 => row.element(
                ColumnId(column + 10),
                &[rng.random_range(1..5)],
                timestamp(rng),
                b"element",
            ),
            _ => row.cell(ColumnId(column), timestamp(rng), &vec![b'v'; rng.random_range(0..40)]),
        };
    }
}
