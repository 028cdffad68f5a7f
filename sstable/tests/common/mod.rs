//! What the tests share: seeded random partitions, the naive model that slices are compared with, a shard to run on.
#![allow(dead_code, reason = "each test file uses a part")]
#![allow(clippy::unwrap_used, reason = "tests")]

use std::future::Future;

use model::{ColumnId, Deletion, Direction, Fragment, RowBuilder, RowRef, Slice, TableId, Token, token_of};
use runtime::{Options, Runtime, ShardId};
use scrollback_sstable::{self as sstable, Compression, WriterOptions};

/// SplitMix64.
pub struct Rng(pub u64);

impl Rng {
    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    pub fn below(&mut self, n: u64) -> u64 {
        self.next() % n
    }

    pub fn one_in(&mut self, n: u64) -> bool {
        self.below(n) == 0
    }

    pub fn bytes(&mut self, len: usize) -> Vec<u8> {
        (0..len).map(|_| self.next() as u8).collect()
    }
}

/// A fragment that owns its bytes.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Owned {
    Start {
        token: Token,
        key: Vec<u8>,
        deletion: Deletion,
    },
    Static(Vec<u8>),
    Row(Vec<u8>, Vec<u8>),
    Change(Vec<u8>, Deletion),
    End,
}

impl Owned {
    pub fn of(fragment: Fragment<'_>) -> Owned {
        match fragment {
            Fragment::PartitionStart { token, key, deletion } => Owned::Start {
                token,
                key: key.to_vec(),
                deletion,
            },
            Fragment::StaticRow(row) => Owned::Static(row.bytes().to_vec()),
            Fragment::Row { clustering, row } => Owned::Row(clustering.to_vec(), row.bytes().to_vec()),
            Fragment::RangeChange { position, deletion } => Owned::Change(position.to_vec(), deletion),
            Fragment::PartitionEnd => Owned::End,
        }
    }

    pub fn fragment(&self) -> Fragment<'_> {
        match self {
            Owned::Start { token, key, deletion } => Fragment::PartitionStart {
                token: *token,
                key,
                deletion: *deletion,
            },
            Owned::Static(body) => Fragment::StaticRow(RowRef::parse(body).unwrap()),
            Owned::Row(clustering, body) => Fragment::Row {
                clustering,
                row: RowRef::parse(body).unwrap(),
            },
            Owned::Change(position, deletion) => Fragment::RangeChange {
                position,
                deletion: *deletion,
            },
            Owned::End => Fragment::PartitionEnd,
        }
    }
}

/// A row or range change.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Thing {
    Row(Vec<u8>, Vec<u8>),
    Change(Vec<u8>, Deletion),
}

/// One partition as the naive model keeps it.
#[derive(Clone, Debug)]
pub struct Partition {
    pub token: Token,
    pub key: Vec<u8>,
    pub deletion: Deletion,
    pub static_row: Option<Vec<u8>>,
    /// By clustering.
    pub rows: Vec<(Vec<u8>, Vec<u8>)>,
    /// By position; the deletion from there on. No two neighbours are equal, the last is live.
    pub changes: Vec<(Vec<u8>, Deletion)>,
}

impl Partition {
    pub fn new(key: &[u8]) -> Self {
        Partition {
            token: token_of(key),
            key: key.to_vec(),
            deletion: Deletion::LIVE,
            static_row: None,
            rows: Vec::new(),
            changes: Vec::new(),
        }
    }

    pub fn fragments(&self) -> Vec<Owned> {
        let mut out = vec![Owned::Start {
            token: self.token,
            key: self.key.clone(),
            deletion: self.deletion,
        }];
        out.extend(self.static_row.clone().map(Owned::Static));
        for thing in self.read(&Slice::all(), Direction::Forward) {
            out.push(match thing {
                Thing::Row(clustering, body) => Owned::Row(clustering, body),
                Thing::Change(position, deletion) => Owned::Change(position, deletion),
            });
        }
        // A change at the partition's very end closes; a slice of everything closes there too.
        out.push(Owned::End);
        out
    }

    /// What a source clipped to `slice` must give, written from the definition: the partition is cut into segments, each with the
    /// deletion in force, and travelled.
    pub fn read(&self, slice: &Slice, direction: Direction) -> Vec<Thing> {
        if slice.start >= slice.end {
            return Vec::new();
        }
        let mut edges = vec![(Vec::new(), Deletion::LIVE)];
        edges.extend(self.changes.iter().cloned());
        let mut segments = Vec::new();
        for (n, (from, deletion)) in edges.iter().enumerate() {
            let to = edges.get(n + 1).map_or(vec![0xFF, 0xFF], |(to, _)| to.clone());
            let (from, to) = (from.max(&slice.start).clone(), to.min(slice.end.clone()));
            if from < to {
                segments.push((from, to, *deletion));
            }
        }
        let mut out = Vec::new();
        let mut rows: Vec<_> = self
            .rows
            .iter()
            .filter(|(key, _)| slice.contains(key))
            .cloned()
            .collect();
        let mut force = Deletion::LIVE;
        match direction {
            Direction::Forward => {
                rows.reverse();
                for (from, to, deletion) in segments {
                    if deletion != force {
                        out.push(Thing::Change(from, deletion));
                        force = deletion;
                    }
                    while rows.last().is_some_and(|(key, _)| *key < to) {
                        out.extend(rows.pop().map(|(key, body)| Thing::Row(key, body)));
                    }
                }
                if !force.is_live() {
                    out.push(Thing::Change(slice.end.clone(), Deletion::LIVE));
                }
            }
            Direction::Reverse => {
                for (from, to, deletion) in segments.into_iter().rev() {
                    if deletion != force {
                        out.push(Thing::Change(to, deletion));
                        force = deletion;
                    }
                    while rows.last().is_some_and(|(key, _)| *key >= from) {
                        out.extend(rows.pop().map(|(key, body)| Thing::Row(key, body)));
                    }
                }
                if !force.is_live() {
                    out.push(Thing::Change(slice.start.clone(), Deletion::LIVE));
                }
            }
        }
        assert!(rows.is_empty());
        out
    }
}

pub fn fragments(partitions: &[Partition]) -> Vec<Owned> {
    partitions.iter().flat_map(Partition::fragments).collect()
}

pub fn encode(options: WriterOptions, partitions: &[Partition]) -> Vec<u8> {
    let fragments = fragments(partitions);
    sstable::encode(options, fragments.iter().map(Owned::fragment))
}

pub fn options() -> WriterOptions {
    WriterOptions::new(TableId(7), *b"host-of-the-test", 42)
}

/// Options with blocks so small that everything spans several.
pub fn tiny_options(rng: &mut Rng) -> WriterOptions {
    let sizes = [1, 30, 100, 300, 1000, 16 * 1024];
    WriterOptions {
        block_bytes: sizes[rng.below(sizes.len() as u64) as usize],
        index_bytes: [1, 100, 500, 16 * 1024][rng.below(4) as usize],
        compression: if rng.one_in(3) {
            Compression::None
        } else {
            Compression::Lz4
        },
        ..options()
    }
}

pub fn deletion(rng: &mut Rng) -> Deletion {
    Deletion::new(1 + rng.below(100) as i64, 1_700_000_000 + rng.below(100_000) as u32)
}

/// A row body of any kind.
pub fn body(rng: &mut Rng, value_max: u64) -> Vec<u8> {
    let mut row = RowBuilder::new();
    let at = |rng: &mut Rng| 1 + rng.below(100) as i64;
    if rng.one_in(4) {
        row.deletion(deletion(rng));
        if rng.one_in(2) {
            return row.finish().to_vec();
        }
    }
    if rng.one_in(2) {
        row.liveness(at(rng) + 100);
    } else if rng.one_in(4) {
        row.liveness_ttl(at(rng), 60, 1_700_000_000 + rng.below(1000) as u32);
    }
    for column in 0..rng.below(4) as u32 {
        let column = ColumnId(column * 3);
        let len = rng.below(value_max + 1) as usize;
        let value = if rng.one_in(2) { rng.bytes(len) } else { vec![b'x'; len] };
        let time = at(rng) + 100;
        match rng.below(6) {
            0 => row.tombstone(column, time, 1_600_000_000 + rng.below(1 << 20) as u32),
            1 => row.cell_ttl(column, time, &value, 60, 1_700_000_000 + rng.below(1 << 26) as u32),
            2 => row
                .complex_deletion(column, deletion(rng))
                .element(column, b"path", time, &value),
            _ => row.cell(column, time, &value),
        };
    }
    row.finish().to_vec()
}

/// A position out of a small set, so that keys, bounds and slices meet.
pub fn position(rng: &mut Rng) -> Vec<u8> {
    let mut p = vec![0x10, 1 + rng.below(6) as u8, 1 + rng.below(12) as u8];
    match rng.below(8) {
        0 => p.truncate(2),
        1 => p = vec![0x10, p[1], 0xFF],
        2 => p.push(0xFF),
        3 if rng.one_in(2) => p.clear(),
        4 if rng.one_in(2) => p = vec![0xFF],
        _ => {}
    }
    p
}

pub fn key(rng: &mut Rng) -> Vec<u8> {
    vec![0x10, 1 + rng.below(6) as u8, 1 + rng.below(12) as u8]
}

/// Partitions in order, of a few to some dozen rows and range changes.
pub fn partitions(rng: &mut Rng) -> Vec<Partition> {
    let count = 1 + rng.below(6);
    let mut out: Vec<Partition> = Vec::new();
    for n in 0..count {
        let key_len = 1 + rng.below(20) as usize;
        let mut p = Partition::new(&[&[n as u8][..], &rng.bytes(key_len)].concat());
        if rng.one_in(4) {
            p.deletion = deletion(rng);
        }
        if rng.one_in(4) {
            p.static_row = Some(body(rng, 40));
        }
        let rows = if rng.one_in(5) { 0 } else { rng.below(70) };
        let mut keys: Vec<_> = (0..rows).map(|_| key(rng)).collect();
        if rng.one_in(10) {
            keys = vec![Vec::new()]; // a table without clustering columns
        }
        keys.sort();
        keys.dedup();
        // In some nearly all were deleted.
        let alive_in = [1, 1, 20][rng.below(3) as usize];
        let row = |rng: &mut Rng| match rng.one_in(alive_in) {
            true => body(rng, 60),
            false => RowBuilder::new().deletion(deletion(rng)).finish().to_vec(),
        };
        p.rows = keys.into_iter().map(|k| (k, row(rng))).collect();
        if rng.one_in(2) {
            let bounds = 2 * (1 + rng.below(6));
            let mut at: Vec<_> = (0..bounds).map(|_| position(rng)).collect();
            at.sort();
            at.dedup();
            for position in at {
                let before = p.changes.last().map_or(Deletion::LIVE, |(_, d)| *d);
                let after = if rng.one_in(2) { Deletion::LIVE } else { deletion(rng) };
                // Nothing can be deleted from the partition's end on.
                let after = if position == [0xFF] { Deletion::LIVE } else { after };
                if after != before {
                    p.changes.push((position, after));
                }
            }
            if p.changes.last().is_some_and(|(_, d)| !d.is_live()) {
                p.changes.push((vec![0xFF], Deletion::LIVE));
            }
        }
        out.push(p);
    }
    out.sort_by(|a, b| (a.token, &a.key).cmp(&(b.token, &b.key)));
    out
}

pub fn slice(rng: &mut Rng) -> Slice {
    if rng.one_in(6) {
        return Slice::all();
    }
    Slice {
        start: position(rng),
        end: position(rng),
    }
}

/// Runs on the one shard of a real node.
pub fn on_shard<T, F, Fut>(f: F) -> T
where
    T: Send + 'static,
    F: FnOnce() -> Fut + Send + 'static,
    Fut: Future<Output = T> + 'static,
{
    let runtime = Runtime::start(Options::default()).unwrap();
    let out = runtime.handle().call(ShardId(0), f).wait().unwrap();
    runtime.stop().unwrap();
    out
}

/// Seeds 0 to `count`; `SCROLLBACK_SEED` names one, so that a failure can be repeated alone, `SCROLLBACK_SEEDS` another count.
pub fn seeds(count: u64) -> std::ops::Range<u64> {
    let number = |name| std::env::var(name).ok().and_then(|s| s.parse::<u64>().ok());
    match number("SCROLLBACK_SEED") {
        Some(seed) => seed..seed + 1,
        None => 0..number("SCROLLBACK_SEEDS").unwrap_or(count),
    }
}

const FOOTER_LEN: usize = 104;

fn u32_at(bytes: &[u8], at: usize) -> usize {
    u32::from_le_bytes(bytes[at..at + 4].try_into().unwrap()) as usize
}

/// Offsets and lengths of a sound file's frames, in order.
pub fn frames(bytes: &[u8]) -> Vec<(usize, usize)> {
    let mut out = Vec::new();
    let mut at = 8;
    while at < bytes.len() - FOOTER_LEN {
        let len = 24 + u32_at(bytes, at + 12) + u32_at(bytes, at + 20);
        out.push((at, len));
        at += len;
    }
    assert_eq!(at, bytes.len() - FOOTER_LEN);
    out
}

pub fn checksum(bytes: &[u8], (at, len): (usize, usize), options: &WriterOptions) -> [u8; 4] {
    let mut crc = crc32fast::Hasher::new();
    crc.update(&options.host_id);
    crc.update(&options.generation.to_le_bytes());
    crc.update(&(at as u64).to_le_bytes());
    crc.update(&bytes[at + 4..at + len]);
    crc.finalize().to_le_bytes()
}

/// A small file that has one of everything.
pub fn sample(compression: Compression) -> (WriterOptions, Vec<Partition>, Vec<u8>) {
    let mut row = RowBuilder::new();
    let mut a = Partition::new(b"channel-1");
    a.deletion = Deletion::new(3, 1_600_000_000);
    a.static_row = Some(row.cell(ColumnId(9), 4, b"topic").finish().to_vec());
    for n in 0..6u8 {
        row.clear().liveness(100 + i64::from(n));
        row.cell(ColumnId(1), 100 + i64::from(n), &[n; 8])
            .cell(ColumnId(2), 100, &[b'a'; 40]);
        a.rows.push((vec![0x10, n], row.finish().to_vec()));
    }
    row.clear().deletion(Deletion::new(50, 1_700_000_000));
    a.rows.push((vec![0x10, 7], row.finish().to_vec()));
    a.changes = vec![
        (vec![0x10, 2], Deletion::new(60, 1_700_000_001)),
        (vec![0x10, 4, 0xFF], Deletion::LIVE),
    ];
    let mut b = Partition::new(b"channel-2");
    row.clear()
        .liveness_ttl(5, 60, 1_700_000_002)
        .cell(ColumnId(1), 5, b"hello");
    b.rows.push((vec![0x10, 1], row.finish().to_vec()));
    let mut partitions = vec![a, b];
    partitions.sort_by(|a, b| (a.token, &a.key).cmp(&(b.token, &b.key)));
    let options = WriterOptions {
        block_bytes: 150,
        index_bytes: 100,
        compression,
        ..options()
    };
    let bytes = encode(options.clone(), &partitions);
    (options, partitions, bytes)
}

/// Changes some bytes of one frame and seals it again, so that what reads it can't rely on the checksum.
pub fn forge(bytes: &[u8], options: &WriterOptions, rng: &mut Rng) -> Vec<u8> {
    let all = frames(bytes);
    let (at, len) = all[rng.below(all.len() as u64) as usize];
    let mut forged = bytes.to_vec();
    for _ in 0..1 + rng.below(3) {
        let target = if rng.one_in(3) {
            4 + rng.below(20)
        } else {
            4 + rng.below(len as u64 - 4)
        } as usize;
        forged[at + target] = match rng.below(4) {
            0 => 0xFF,
            1 => 0,
            2 => forged[at + target].wrapping_add(1),
            _ => rng.next() as u8,
        };
    }
    let seal = checksum(&forged, (at, len), options);
    forged[at..at + 4].copy_from_slice(&seal);
    forged
}
