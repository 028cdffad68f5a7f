//! What the memtable says it holds, against what the allocator gave it, to the byte.
//!
//! The counters are of the test's own thread: the test harness allocates as it likes on others.

#![expect(
    clippy::disallowed_macros,
    reason = "an allocator has no other place for the counters of a thread"
)]

mod common;

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;

use common::{Source, TABLE};
use model::{ColumnId, Deletion, Direction, MutationBuilder, RowBuilder, RowSource, Slice, token_of};
use rand::rngs::SmallRng;
use rand::{Rng, SeedableRng};
use scrollback_memtable::{Memtable, Partition};

struct Counting;

mod counters {
    use super::Cell;

    std::thread_local! {
        pub(super) static HELD: Cell<usize> = const { Cell::new(0) };
        pub(super) static ALLOCATIONS: Cell<u64> = const { Cell::new(0) };
    }
}

use counters::{ALLOCATIONS, HELD};

fn given(bytes: usize) {
    HELD.set(HELD.get().wrapping_add(bytes));
    ALLOCATIONS.set(ALLOCATIONS.get() + 1);
}

fn taken(bytes: usize) {
    HELD.set(HELD.get().wrapping_sub(bytes));
}

// SAFETY: every call goes to the system's allocator unchanged; the counters do not touch memory that it hands out.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        given(layout.size());
        // SAFETY: the caller's promise is passed on.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, ptr: *mut u8, layout: Layout) {
        taken(layout.size());
        // SAFETY: as in `alloc`.
        unsafe { System.dealloc(ptr, layout) }
    }

    unsafe fn realloc(&self, ptr: *mut u8, layout: Layout, new_size: usize) -> *mut u8 {
        given(new_size);
        taken(layout.size());
        // SAFETY: as in `alloc`.
        unsafe { System.realloc(ptr, layout, new_size) }
    }
}

#[global_allocator]
static COUNTING: Counting = Counting;

/// Asserts that the memtable says what the allocator gave since `before`. Both are exact, so nothing is allowed for.
fn compare(memtable: &Memtable, before: usize, what: &str) {
    let given = HELD.get() - before;
    assert_eq!(
        memtable.memory_bytes(),
        given,
        "{what}: what the memtable says, what the allocator gave"
    );
}

/// A table of `partitions` written to in turn, `rows` in all: the newest id first, 200 bytes, six columns.
fn messages(partitions: u64, rows: u64) {
    let (mut builder, mut row) = (MutationBuilder::new(TABLE, b"-"), RowBuilder::new());
    let content = [b'x'; 160];
    // The builders' own memory is there before counting starts.
    let mut write = |i: u64, memtable: &mut Memtable| {
        let at = i as i64 + 1;
        row.clear().liveness(at);
        for column in 1..6 {
            row.cell(ColumnId(column), at, &i.to_be_bytes());
        }
        row.cell(ColumnId(6), at, &content);
        let id = [&[0x80][..], &(u64::MAX - i / partitions).to_be_bytes()].concat();
        builder
            .reset(TABLE, &(i % partitions).to_be_bytes())
            .row(&id, row.finish());
        let mutation = builder.view();
        let before = ALLOCATIONS.get();
        let added = memtable.apply(mutation);
        (added, ALLOCATIONS.get() - before)
    };
    write(0, &mut Memtable::new());
    let before = HELD.get();
    let mut memtable = Memtable::new();
    let empty = memtable.memory_bytes();
    compare(&memtable, before, "empty");
    let (mut added, mut allocations) = (0, 0);
    for i in 0..rows {
        let (bytes, count) = write(i, &mut memtable);
        added += bytes;
        allocations += count;
        if i % 1009 == 0 {
            compare(&memtable, before, "messages");
        }
    }
    compare(&memtable, before, "messages");
    assert_eq!(
        empty + added,
        memtable.memory_bytes(),
        "what the writes said, what is held"
    );
    assert!(
        allocations <= rows,
        "{allocations} allocations for {rows} writes to {partitions} partitions"
    );
    while !memtable.drop_step(500) {
        compare(&memtable, before, "dropping");
    }
    compare(&memtable, before, "dropped");
    assert_eq!(memtable.memory_bytes(), empty);
    drop(memtable);
    assert_eq!(HELD.get(), before);
    // Printing fills the harness's buffer, which counts: so it comes last.
    println!(
        "{rows} rows in {partitions} partitions: {:.1} bytes each, {:.3} allocations each",
        added as f64 / rows as f64,
        allocations as f64 / rows as f64
    );
}

fn random(seed: u64) {
    let rng = &mut SmallRng::seed_from_u64(seed);
    let mut source = Source::new(rng);
    let mutations: Vec<_> = (0..600).map(|_| source.mutation(rng)).collect();
    let slices: Vec<_> = (0..600).map(|_| source.slice(rng)).collect();
    let mut snapshots: Vec<Partition> = Vec::with_capacity(8);
    let before = HELD.get();
    let mut memtable = Memtable::new();
    let (mut reported, mut most) = (memtable.memory_bytes(), memtable.memory_bytes());
    for (mutation, slice) in mutations.iter().zip(&slices) {
        reported += memtable.apply(mutation.as_ref());
        most = most.max(memtable.memory_bytes());
        compare(&memtable, before, "random writes");
        assert_eq!(reported, most, "what the writes said, the most that was held");
        let key = mutation.as_ref().key();
        if rng.random_bool(0.2)
            && let Some(partition) = memtable.partition(token_of(key), key)
        {
            let mut rows = partition.rows(slice, Direction::Reverse);
            rows.advance();
            drop(rows);
            snapshots.push(partition);
        }
        if snapshots.len() > 6 {
            snapshots.swap_remove(rng.random_range(0..snapshots.len()));
        }
        compare(&memtable, before, "snapshots");
    }
    let readers = snapshots.len();
    assert_eq!(memtable.reader_count(), readers);
    for _ in 0..100 {
        memtable.drop_step(100);
        compare(&memtable, before, "dropping under readers");
    }
    for (at, snapshot) in snapshots.drain(..).enumerate() {
        assert!(!memtable.drop_step(10), "{} readers still hold it", readers - at);
        drop(snapshot);
        compare(&memtable, before, "readers going");
    }
    while !memtable.drop_step(10) {
        compare(&memtable, before, "dropping");
    }
    drop((memtable, snapshots));
}

#[test]
fn says_what_the_allocator_gave() {
    for (partitions, rows) in [(1, 30_000), (100, 30_000), (30_000, 30_000), (15_000, 30_000)] {
        messages(partitions, rows);
    }
    for seed in 0..40 {
        random(seed);
    }
    // A row far larger than a chunk, merged: the merge buffer is given back.
    let mut row = RowBuilder::new();
    row.cell(ColumnId(1), 5, &vec![1; 1 << 20]);
    let mut other = RowBuilder::new();
    other.cell(ColumnId(2), 5, b"more");
    let large = MutationBuilder::new(TABLE, b"k").row(&[0x80], row.finish()).build();
    let small = MutationBuilder::new(TABLE, b"k").row(&[0x80], other.finish()).build();
    let gone = MutationBuilder::new(TABLE, b"k")
        .delete_range(&[], &[0xff], Deletion::new(9, 9))
        .build();
    let before = HELD.get();
    let mut memtable = Memtable::new();
    for mutation in [&large, &small, &gone] {
        memtable.apply(mutation.as_ref());
        compare(&memtable, before, "a large row");
    }
    assert!(
        memtable.memory_bytes() < (2 << 20) + 10_000,
        "{} bytes",
        memtable.memory_bytes()
    );
    let partition = memtable.partition(token_of(b"k"), b"k").unwrap();
    assert_eq!(partition.rows(&Slice::all(), Direction::Forward).rows_left(), 1);
}
