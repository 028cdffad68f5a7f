//! Cost of the memtable's operations in processor time, with criterion; `cargo bench -p scrollback-memtable`.
//!
//! The budget: a 200-byte chat message of six columns into a hot partition at most 0.4 us; a snapshot and the 50 newest rows at most 2 us.
//! With `-- --test` every bench runs once, as a smoke test.

mod cpu;

use std::hint::black_box;
use std::time::Duration;

use criterion::measurement::{Measurement, ValueFormatter, WallTime};
use criterion::{BatchSize, Criterion, Throughput};
use model::{
    ColumnId, Deletion, Direction, Item, Mutation, MutationBuilder, Peek, RowBuilder, RowSource, Slice, TableId,
    token_of,
};
use scrollback_memtable::Memtable;

use cpu::now;

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

struct CpuTime;

impl Measurement for CpuTime {
    type Intermediate = Duration;
    type Value = Duration;

    fn start(&self) -> Duration {
        now()
    }
    fn end(&self, start: Duration) -> Duration {
        now() - start
    }
    fn add(&self, a: &Duration, b: &Duration) -> Duration {
        *a + *b
    }
    fn zero(&self) -> Duration {
        Duration::ZERO
    }
    fn to_f64(&self, value: &Duration) -> f64 {
        value.as_nanos() as f64
    }
    fn formatter(&self) -> &dyn ValueFormatter {
        WallTime.formatter()
    }
}

fn apply(c: &mut Criterion<CpuTime>) {
    let count = 100_000;
    let mut group = c.benchmark_group("apply");
    group.throughput(Throughput::Elements(count)).sample_size(20);
    type Id = fn(u64) -> u64;
    let orders: [(&str, u64, Id); 5] = [
        ("one hot partition, newest first", 1, |i| i),
        ("one hot partition, oldest first", 1, |i| (1 << 40) - i),
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

fn page(c: &mut Criterion<CpuTime>) {
    let mutations = messages(200_000, 10, |i| i);
    let memtable = filled(&mutations);
    let key = mutations[0].as_ref().key().to_vec();
    let token = token_of(&key);
    let newest = |slice: &Slice, direction| {
        let mut rows = memtable
            .partition(token, &key)
            .expect("it was written")
            .rows(slice, direction);
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
    let partition = memtable.partition(token, &key).expect("it was written");
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

fn lookup(c: &mut Criterion<CpuTime>) {
    let hot = messages(100, 100, |i| i);
    let memtable = filled(&hot);
    let mut group = c.benchmark_group("100 hot partitions");
    let mut i = 0;
    let mut next = || {
        i = (i + 61) % 100;
        hot[i].as_ref()
    };
    group.bench_function("snapshot of one", |b| {
        b.iter(|| {
            let m = next();
            black_box(memtable.partition(m.token(), m.key()))
        })
    });
    group.finish();
}

fn main() {
    let mut criterion = Criterion::default().with_measurement(CpuTime).configure_from_args();
    apply(&mut criterion);
    page(&mut criterion);
    lookup(&mut criterion);
    criterion.final_summary();
}
