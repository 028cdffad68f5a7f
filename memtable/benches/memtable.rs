//! Cost of the memtable's operations, with criterion; `cargo bench -p scrollback-memtable`.
//!
//! The budget: a 200-byte chat message of six columns into a hot partition at most 0.4 us; a snapshot and the 50 newest rows at most 2 us.
//! `docs/decisions/0002-memtable-partitions-in-a-tree.md` has the figures of `partitions`, which compares the outer tree with a hash table.
//! With `-- --test` every bench runs once, as a smoke test.

use std::collections::HashMap;
use std::hash::{BuildHasherDefault, Hasher};
use std::hint::black_box;
use std::time::{Duration, Instant};

use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};
use model::{
    ColumnId, Deletion, Direction, Item, Mutation, MutationBuilder, MutationRef, Peek, RowBuilder, RowSource, Slice,
    TableId, token_of,
};
use scrollback_memtable::Memtable;

const TABLE: TableId = TableId(1);

/// A descending bigint, as the messages table clusters.
fn clustering(id: u64) -> [u8; 9] {
    let mut key = [0x7f; 9];
    key[1..].copy_from_slice(&(!id).to_be_bytes());
    key
}

/// A chat message of about 200 bytes: liveness and six columns.
fn message(builder: &mut MutationBuilder, row: &mut RowBuilder, channel: u64, id: u64) {
    let at = 1_700_000_000_000_000 + id as i64;
    row.clear().liveness(at);
    row.cell(ColumnId(1), at, &id.to_be_bytes());
    row.cell(ColumnId(2), at, &[b'm'; 140]);
    row.cell(ColumnId(3), at, &[0, 0, 0, 1]);
    row.cell(ColumnId(4), at, &at.to_be_bytes());
    row.cell(ColumnId(5), at, &[1]);
    row.cell(ColumnId(6), at, b"nonce-16-bytes..");
    let mut key = [0; 22];
    key[..2].copy_from_slice(&8_u16.to_be_bytes());
    key[2..10].copy_from_slice(&channel.wrapping_mul(0x9e37_79b9_7f4a_7c15).to_be_bytes());
    key[11..13].copy_from_slice(&8_u16.to_be_bytes());
    builder.reset(TABLE, &key).row(&clustering(id), row.finish());
}

fn messages(count: u64, channels: u64, id: impl Fn(u64) -> u64) -> Vec<Mutation> {
    let (mut builder, mut row) = (MutationBuilder::new(TABLE, b"-"), RowBuilder::new());
    (0..count)
        .map(|i| {
            message(&mut builder, &mut row, i % channels, id(i));
            builder.build()
        })
        .collect()
}

fn filled(mutations: &[Mutation]) -> Memtable {
    let mut memtable = Memtable::new();
    for mutation in mutations {
        memtable.apply(mutation.as_ref());
    }
    memtable
}

fn mix(n: u64) -> u64 {
    let n = (n ^ (n >> 31)).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    (n ^ (n >> 29)).wrapping_mul(0xbf58_476d_1ce4_e5b9) >> 16
}

#[expect(clippy::disallowed_methods, reason = "a bench measures real time, off any shard")]
fn now() -> Instant {
    Instant::now()
}

fn apply(c: &mut Criterion) {
    let count = 100_000;
    let mut group = c.benchmark_group("apply");
    group.throughput(Throughput::Elements(count)).sample_size(20);
    let orders: [(&str, u64, fn(u64) -> u64); 5] = [
        ("one hot partition, newest first", 1, |i| i),
        ("one hot partition, oldest first", 1, |i| 1 << 40 | (1 << 30) - i),
        ("one hot partition, random ids", 1, mix),
        ("100 hot partitions", 100, |i| i),
        ("a partition each", 1 << 62, |i| i),
    ];
    for (name, channels, id) in orders {
        let mutations = messages(count, channels, id);
        group.bench_function(name, |b| b.iter_with_large_drop(|| filled(&mutations)));
    }
    let mutations = messages(count, 1, |i| i);
    group.bench_function("one hot partition, a reader at each write", |b| {
        b.iter_with_large_drop(|| {
            let mut memtable = Memtable::new();
            let mut reader = None;
            for mutation in &mutations {
                memtable.apply(mutation.as_ref());
                let m = mutation.as_ref();
                reader = memtable.partition(m.token(), m.key());
            }
            drop(reader);
            memtable
        })
    });
    group.bench_function("the same row again and again", |b| {
        let mutations = messages(count, 1, |_| 7);
        b.iter_with_large_drop(|| filled(&mutations))
    });
    group.finish();
}

fn page(c: &mut Criterion) {
    let mutations = messages(200_000, 10, |i| i);
    let memtable = filled(&mutations);
    let key = mutations[0].as_ref().key().to_vec();
    let token = token_of(&key);
    let newest = |slice: &Slice, direction| {
        let mut rows = memtable.partition(token, &key).unwrap().rows(slice, direction);
        let mut bytes = 0;
        for _ in 0..50 {
            let Peek::Item(Item::Row { clustering, row }) = rows.peek() else {
                panic!("rows are missing")
            };
            bytes += clustering.len() + row.bytes().len();
            rows.advance();
        }
        bytes
    };
    let mut group = c.benchmark_group("page of 50");
    group.bench_function("newest", |b| {
        b.iter(|| newest(black_box(&Slice::all()), Direction::Forward))
    });
    let before = Slice {
        start: clustering(100_000).to_vec(),
        end: vec![0xff],
    };
    group.bench_function("before an id", |b| {
        b.iter(|| newest(black_box(&before), Direction::Forward))
    });
    group.bench_function("oldest first", |b| {
        b.iter(|| newest(black_box(&Slice::all()), Direction::Reverse))
    });
    group.bench_function("snapshot alone", |b| {
        b.iter(|| black_box(memtable.partition(token, &key)))
    });
    group.finish();

    let mut group = c.benchmark_group("skip");
    let mut memtable = filled(&messages(1_000_000, 1, |i| i));
    let all = MutationBuilder::new(TABLE, mutations[0].as_ref().key())
        .delete_range(&[], &clustering(10), Deletion::new(i64::MAX, 1))
        .build();
    let partition = memtable.partition(token, &key).unwrap();
    group.bench_function("1,000,000 covered rows", |b| {
        b.iter_batched_ref(
            || partition.rows(&Slice::all(), Direction::Forward),
            |rows| assert_eq!(rows.skip_covered(i64::MAX, Some(&clustering(10))), 1_000_000 - 11),
            BatchSize::SmallInput,
        )
    });
    drop(partition);
    group.bench_function("delete a range of 1,000,000 rows", |b| {
        b.iter(|| memtable.apply(all.as_ref()))
    });
    group.finish();
}

/// Tokens are hashes already.
#[derive(Default)]
struct TokenHasher(u64);

impl Hasher for TokenHasher {
    fn finish(&self) -> u64 {
        self.0
    }
    fn write(&mut self, _: &[u8]) {}
    fn write_i64(&mut self, token: i64) {
        self.0 = token as u64;
    }
}

/// The rival of the outer tree: a hash table from token to the partitions' places (collisions of tokens left out, in its favour),
/// sorted when the memtable is sealed.
type Hashed = HashMap<i64, (Vec<u8>, u64), BuildHasherDefault<TokenHasher>>;

/// Not criterion's: what counts is the longest single operation, and one run of a million.
fn partitions(c: &mut Criterion) {
    let smoke = std::env::args().any(|arg| arg == "--test");
    let count: u64 = if smoke { 1000 } else { 1_000_000 };
    let longest = |each: &mut dyn FnMut(u64)| {
        let (mut longest, start) = (Duration::ZERO, now());
        for i in 0..count {
            let one = now();
            each(i);
            longest = longest.max(one.elapsed());
        }
        let total = start.elapsed();
        format!(
            "{:.0} ns each, longest {:.1} us",
            total.as_nanos() as f64 / count as f64,
            longest.as_nanos() as f64 / 1e3
        )
    };
    let (mut builder, mut row) = (MutationBuilder::new(TABLE, b"-"), RowBuilder::new());
    row.cell(ColumnId(1), 1, b"small");
    let body = row.finish();
    let keys: Vec<Mutation> = (0..count)
        .map(|i| builder.reset(TABLE, &mix(i).to_be_bytes()).row(&[0x80], body).build())
        .collect();
    let key = |i: u64| -> MutationRef<'_> { keys[i as usize].as_ref() };

    let mut memtable = Memtable::new();
    println!(
        "partitions/{count} new ones/tree (whole apply): {}",
        longest(&mut |i| drop(black_box(Some(memtable.apply(key(i))))))
    );
    println!(
        "partitions/{count} new ones/tree: {:.1} bytes each",
        memtable.memory_bytes() as f64 / count as f64
    );
    let mut hashed = Hashed::default();
    println!(
        "partitions/{count} new ones/hash (key only): {}",
        longest(&mut |i| drop(hashed.insert(key(i).token().0, (key(i).key().to_vec(), i))))
    );
    println!(
        "partitions/{count} looked up/tree: {}",
        longest(&mut |i| drop(black_box(
            memtable.partition(key(mix(i) % count).token(), key(mix(i) % count).key())
        )))
    );
    println!(
        "partitions/{count} looked up/hash: {}",
        longest(&mut |i| drop(black_box(hashed.get(&key(mix(i) % count).token().0))))
    );
    let start = now();
    let mut order: Vec<(i64, &(Vec<u8>, u64))> = hashed.iter().map(|(token, place)| (*token, place)).collect();
    order.sort_unstable();
    println!(
        "partitions/{count} sorted at seal/hash: {:.1} us in one piece",
        start.elapsed().as_nanos() as f64 / 1e3
    );
    black_box(order);
    let mut after: Option<scrollback_memtable::Partition> = None;
    println!(
        "partitions/{count} in order/tree: {}",
        longest(&mut |_| {
            after = memtable.next_partition(after.as_ref().map(|p| (p.token(), p.key())));
        })
    );
    assert!(after.is_some());
    drop(after);
    let (mut longest_step, mut steps, start) = (Duration::ZERO, 0, now());
    loop {
        let one = now();
        let done = memtable.drop_step(1000);
        longest_step = longest_step.max(one.elapsed());
        steps += 1;
        if done {
            break;
        }
    }
    println!(
        "partitions/{count} dropped/tree: {:.1} ms in {steps} steps of 1000, longest {:.1} us",
        start.elapsed().as_nanos() as f64 / 1e6,
        longest_step.as_nanos() as f64 / 1e3
    );

    let hot = messages(100, 100, |i| i);
    let memtable = filled(&hot);
    let hashed: Hashed = hot
        .iter()
        .map(|m| (m.as_ref().token().0, (m.as_ref().key().to_vec(), 0)))
        .collect();
    let mut group = c.benchmark_group("100 hot partitions, one looked up");
    let mut i = 0;
    let mut next = || {
        i = (i + 61) % 100;
        hot[i].as_ref()
    };
    group.bench_function("tree, with its snapshot", |b| {
        b.iter(|| {
            let m = next();
            black_box(memtable.partition(m.token(), m.key()))
        })
    });
    group.bench_function("hash, key alone", |b| {
        b.iter(|| {
            let m = next();
            let (key, place) = hashed.get(&m.token().0).unwrap();
            assert_eq!(key, m.key());
            *place
        })
    });
    group.finish();
}

criterion_group!(benches, apply, page, partitions);
criterion_main!(benches);
