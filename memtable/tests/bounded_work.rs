//! No operation takes work in the number of rows or range tombstones held: counted in nodes, not in time.

mod common;

use common::TABLE;
use model::{
    ColumnId, Deletion, Direction, Item, Mutation, MutationBuilder, Peek, RowBuilder, RowSource, Slice, token_of,
};
use scrollback_memtable::{Memtable, Partition, Work};

const KEY: &[u8] = b"channel";

fn clustering(id: u64) -> Vec<u8> {
    [&[0x80][..], &id.to_be_bytes()].concat()
}

fn message(id: u64, timestamp: i64) -> Mutation {
    let mut row = RowBuilder::new();
    row.liveness(timestamp).cell(ColumnId(1), timestamp, b"text");
    MutationBuilder::new(TABLE, KEY)
        .row(&clustering(id), row.finish())
        .build()
}

fn partition(memtable: &Memtable) -> Partition {
    memtable.partition(token_of(KEY), KEY).expect("it was written")
}

fn since(memtable: &Memtable, before: Work) -> Work {
    let now = memtable.work();
    Work {
        nodes_made: now.nodes_made - before.nodes_made,
        nodes_copied: now.nodes_copied - before.nodes_copied,
        nodes_visited: now.nodes_visited - before.nodes_visited,
    }
}

/// Rows of ids 0, 2, 4 …, written newest first; the timestamp is the id plus one.
fn filled(rows: u64) -> Memtable {
    let mut memtable = Memtable::new();
    for id in (0..rows).rev() {
        memtable.apply(message(2 * id, 2 * id as i64 + 1).as_ref());
    }
    memtable
}

/// More than the height of any tree here, in nodes of both edges of a search.
const PATHS: u64 = 24;

#[test]
fn writes_copy_a_path_at_most_and_only_under_readers() {
    let mut memtable = filled(100_000);
    assert_eq!(memtable.work().nodes_copied, 0, "without readers nothing is copied");
    assert!(memtable.work().nodes_made < 100_000 / 24, "{:?}", memtable.work());
    let mut held = Vec::new();
    for i in 0..300 {
        held.push(partition(&memtable));
        let before = memtable.work();
        memtable.apply(message((i * 7919) % 200_000, 500_000 + i as i64).as_ref());
        let work = since(&memtable, before);
        assert!(work.nodes_copied <= 6 && work.nodes_made <= 12, "{work:?}");
    }
}

#[test]
fn a_deletion_over_a_million_rows_touches_a_path() {
    let rows = 1_000_000;
    let mut memtable = filled(rows);
    let before = memtable.work();
    let deletion = Deletion::new(i64::MAX, 1);
    let range = MutationBuilder::new(TABLE, KEY)
        .delete_range(&clustering(100), &clustering(1_999_900), deletion)
        .build();
    memtable.apply(range.as_ref());
    assert!(
        since(&memtable, before).nodes_visited < PATHS,
        "{:?}",
        since(&memtable, before)
    );

    for direction in [Direction::Forward, Direction::Reverse] {
        let mut source = partition(&memtable).rows(&Slice::all(), direction);
        let before = memtable.work();
        let (mut given, mut skipped) = (0, 0);
        let mut in_force = Deletion::LIVE;
        while let Peek::Item(item) = source.peek() {
            match item {
                Item::RangeChange { deletion, .. } => in_force = deletion,
                Item::Row { .. } => {
                    let passed = if in_force.is_live() {
                        0
                    } else {
                        source.skip_covered(in_force.timestamp, None)
                    };
                    skipped += passed;
                    if passed > 0 {
                        continue;
                    }
                    given += 1;
                }
            }
            source.advance();
        }
        assert_eq!((given, skipped), (100, rows - 100));
        assert!(
            since(&memtable, before).nodes_visited < PATHS,
            "{:?}",
            since(&memtable, before)
        );
    }

    // A partition deletion in the middle of time: the newer rows lie at one end, the older half is passed over from either side.
    let partition = partition(&memtable);
    for direction in [Direction::Forward, Direction::Reverse] {
        let mut source = partition.rows(
            &Slice {
                start: clustering(200),
                end: clustering(1_999_800),
            },
            direction,
        );
        source.advance();
        let before = memtable.work();
        let skipped = source.skip_covered(1_000_000, None);
        assert_eq!(
            skipped,
            if direction == Direction::Forward {
                500_000 - 100
            } else {
                0
            }
        );
        assert!(since(&memtable, before).nodes_visited < PATHS);
    }
}

#[test]
fn readers_and_freeing_go_by_steps() {
    let mut memtable = filled(200_000);
    let snapshot = partition(&memtable);
    for id in 0..200_000 {
        memtable.apply(message(2 * id, 1_000_000).as_ref());
    }
    // The reader alone holds the older nodes now. Dropping it frees none of them at once; writes free a few each.
    let held = memtable.memory_bytes();
    drop(snapshot);
    let after_drop = memtable.memory_bytes();
    assert!(
        held.abs_diff(after_drop) < 4096,
        "a reader freed {} bytes at once",
        held - after_drop
    );
    let mut most = 0;
    let before_writes = memtable.memory_bytes();
    for _ in 0..4000 {
        let before = memtable.memory_bytes();
        memtable.apply(message(0, 1).as_ref());
        most = most.max(before.saturating_sub(memtable.memory_bytes()));
    }
    assert!(most < 16 << 10, "a write freed {most} bytes at once");
    let freed = before_writes - memtable.memory_bytes();
    assert!(
        freed > 200_000 * 24,
        "writes freed {freed} bytes of what the reader gave up"
    );

    let mut steps = 0;
    loop {
        let before = memtable.memory_bytes();
        let done = memtable.drop_step(1000);
        steps += 1;
        let freed = before - memtable.memory_bytes();
        assert!(freed < 300 << 10, "a step freed {freed} bytes");
        if done {
            break;
        }
    }
    assert!(steps > 200, "{steps} steps");
}

#[test]
fn a_reader_that_outlives_the_memtable_is_freed_by_its_steps() {
    let mut memtable = filled(50_000);
    let snapshot = partition(&memtable);
    let expected = common::drain(&mut snapshot.rows(&Slice::all(), Direction::Forward));
    for _ in 0..1000 {
        assert!(!memtable.drop_step(1000), "a reader holds its rows");
    }
    assert_eq!(
        common::drain(&mut snapshot.rows(&Slice::all(), Direction::Forward)),
        expected
    );
    drop(snapshot);
    let before = memtable.memory_bytes();
    assert!(!memtable.drop_step(1));
    assert!(before - memtable.memory_bytes() < 16 << 10);
    while !memtable.drop_step(1000) {}
    assert!(memtable.memory_bytes() < 1000);
}
