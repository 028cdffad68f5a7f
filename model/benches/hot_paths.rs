//! What every message and every page of history pay: building and reading a mutation, merging a page of rows, and leaving
//! what is live. The message has 6 columns and 200 bytes of content, as in the workloads.
//!
//! `cargo bench -p scrollback-model`; goals: a mutation built, checked and read under 0.3 us, a page of 50 rows merged
//! from one or two sources under 3 us, no allocation but the mutation itself (`tests/allocations.rs` holds that).

use std::hint::black_box;

use criterion::{BatchSize, Criterion};
use scrollback_model::{
    ColumnId, Columns, CqlType, Deletion, Direction, Item, Live, Merge, MutationBuilder, MutationRef, Peek, ReadTime,
    RowBuilder, RowRef, RowSource, Schema, Step, TableId, live_row, merge_rows, token_of,
};

const NOW: i64 = 1_700_000_000_000_000;

fn message(builder: &mut RowBuilder, id: u64, timestamp: i64) -> &[u8] {
    let content = [b'm'; 200];
    builder.clear().liveness(timestamp);
    builder.cell(ColumnId(3), timestamp, &id.to_be_bytes());
    builder.cell(ColumnId(4), timestamp, &content[..168]);
    builder.cell(ColumnId(5), timestamp, &[0, 0, 0, 0]);
    builder.cell(ColumnId(6), timestamp, &id.to_be_bytes());
    builder.cell(ColumnId(7), timestamp, &[1]);
    builder.cell(ColumnId(8), timestamp, &content[..11]);
    builder.finish()
}

fn clustering(id: u64) -> [u8; 9] {
    let mut key = [0xfb; 9];
    key[1..].copy_from_slice(&(!(id ^ 1 << 63)).to_be_bytes());
    key
}

/// A sorted run of rows in memory.
#[derive(Clone)]
struct Rows<'a> {
    rows: &'a [([u8; 9], Vec<u8>)],
}

impl RowSource for Rows<'_> {
    #[inline]
    fn peek(&self) -> Peek<'_> {
        match self.rows.first() {
            Some((key, row)) => Peek::Item(Item::Row {
                clustering: key,
                row: RowRef::trusted(row),
            }),
            None => Peek::End,
        }
    }

    #[inline]
    fn advance(&mut self) {
        self.rows = &self.rows[1..];
    }

    fn skip_covered(&mut self, _: i64, _: Option<&[u8]>) -> u64 {
        0
    }
}

fn run(ids: impl Iterator<Item = u64>, timestamp: i64) -> Vec<([u8; 9], Vec<u8>)> {
    let mut builder = RowBuilder::new();
    let mut rows: Vec<_> = ids
        .map(|id| (clustering(id), message(&mut builder, id, timestamp).to_vec()))
        .collect();
    rows.sort();
    rows
}

fn write(c: &mut Criterion) {
    let mut group = c.benchmark_group("write");
    let (mut row, mut mutation) = (RowBuilder::new(), MutationBuilder::new(TableId(9), b"key"));
    let key = [0, 8, 1, 2, 3, 4, 5, 6, 7, 8, 0, 0, 4, 1, 2, 3, 4, 0];
    group.bench_function("row", |b| b.iter(|| message(&mut row, black_box(7), NOW).len()));
    let body = message(&mut row, 7, NOW).to_vec();
    group.bench_function("mutation", |b| {
        b.iter(|| {
            mutation
                .reset(TableId(9), &key)
                .row(&clustering(black_box(7)), &body)
                .build()
        });
    });
    group.bench_function("row and mutation", |b| {
        b.iter(|| {
            let body = message(&mut row, black_box(7), NOW);
            mutation.reset(TableId(9), &key).row(&clustering(7), body).build()
        });
    });
    let built = mutation.reset(TableId(9), &key).row(&clustering(7), &body).build();
    group.bench_function("parse", |b| {
        b.iter(|| MutationRef::parse(black_box(built.bytes())).map(|m| m.key().len()))
    });
    group.bench_function("trusted, rows", |b| {
        b.iter(|| {
            let read = MutationRef::trusted(black_box(built.bytes()));
            read.rows()
                .map(|(key, row)| key.len() + row.bytes().len())
                .sum::<usize>()
        });
    });
    group.bench_function("trusted, every cell", |b| {
        b.iter(|| {
            let read = MutationRef::trusted(black_box(built.bytes()));
            read.rows()
                .flat_map(|(_, row)| row.cells())
                .filter_map(|cell| cell.value())
                .map(<[u8]>::len)
                .sum::<usize>()
        });
    });
    group.bench_function("token", |b| b.iter(|| token_of(black_box(&key))));
    let schema = Schema::builder("k", "messages")
        .partition_key("channel_id", CqlType::BigInt)
        .clustering_desc("message_id", CqlType::BigInt)
        .build()
        .expect("a legal table");
    let mut out = Vec::new();
    group.bench_function("clustering key", |b| {
        b.iter(|| {
            out.clear();
            schema
                .put_clustering(&[&black_box(7u64).to_be_bytes()], &mut out)
                .map(|()| out.len())
        });
    });
}

fn page(c: &mut Criterion) {
    let mut group = c.benchmark_group("page of 50");
    let all = run(0..50, NOW);
    let (newer, older) = (run(25..50, NOW), run(0..25, NOW));
    let (even, odd) = (run((0..50).step_by(2), NOW), run((1..50).step_by(2), NOW));
    let edits: Vec<_> = all
        .iter()
        .map(|(key, _)| {
            (
                *key,
                RowBuilder::new()
                    .cell(ColumnId(4), NOW + 5, b"edited")
                    .finish()
                    .to_vec(),
            )
        })
        .collect();
    let drain = |sources: Vec<Rows<'_>>, deletion| {
        let mut merge = Merge::new(sources, Direction::Forward, deletion);
        let mut bytes = 0;
        while merge.step() == Step::Item {
            if let Item::Row { row, .. } = merge.item() {
                bytes += row.bytes().len();
            }
        }
        bytes
    };
    for (name, parts) in [
        ("one source", vec![&all]),
        ("two sources, one after the other", vec![&newer, &older]),
        ("two sources, in turn", vec![&even, &odd]),
        ("two sources, each row in both", vec![&all, &edits]),
    ] {
        let sources: Vec<Rows<'_>> = parts.iter().map(|rows| Rows { rows }).collect();
        group.bench_function(name, |b| {
            b.iter_batched(
                || sources.clone(),
                |sources| drain(sources, Deletion::LIVE),
                BatchSize::SmallInput,
            );
        });
    }
    let sources = vec![Rows { rows: &all }];
    group.bench_function("one source under an old deletion", |b| {
        b.iter_batched(
            || sources.clone(),
            |sources| drain(sources, Deletion::new(NOW - 1, 1)),
            BatchSize::SmallInput,
        );
    });
    let mut out = Vec::new();
    group.bench_function("live_row", |b| {
        b.iter(|| {
            let live = |row: &Vec<u8>, out: &mut Vec<u8>| {
                live_row(RowRef::trusted(row), ReadTime::at(1), Columns::All, out).live
            };
            all.iter()
                .filter(|(_, row)| live(black_box(row), &mut out) == Live::Whole)
                .count()
        });
    });
    group.bench_function("merge_rows", |b| {
        b.iter(|| {
            for ((_, row), (_, edit)) in all.iter().zip(&edits) {
                merge_rows(RowRef::trusted(row), RowRef::trusted(edit), &mut out);
            }
            out.len()
        });
    });
}

fn main() {
    let mut criterion = Criterion::default().configure_from_args();
    write(&mut criterion);
    page(&mut criterion);
    criterion.final_summary();
}
