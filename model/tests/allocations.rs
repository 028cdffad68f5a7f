//! What allocates on the hot paths, counted: one allocation for a mutation, none to read it, none per row of a page.

use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::atomic::{AtomicU64, Ordering};

use scrollback_model::{
    ColumnId, Columns, Deletion, Direction, Item, Live, Merge, MutationBuilder, MutationRef, Peek, ReadTime,
    RowBuilder, RowRef, RowSource, Step, TableId, live_row,
};

/// The system's allocator, with a count. This file has one test, so no other counts with it.
struct Counting;

static ALLOCATIONS: AtomicU64 = AtomicU64::new(0);

// SAFETY: every call goes to `System` as it came.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        ALLOCATIONS.fetch_add(1, Ordering::Relaxed);
        // SAFETY: the caller's promise is `System`'s.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        // SAFETY: the caller's promise is `System`'s.
        unsafe { System.dealloc(block, layout) }
    }

    unsafe fn realloc(&self, block: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        ALLOCATIONS.fetch_add(1, Ordering::Relaxed);
        // SAFETY: the caller's promise is `System`'s.
        unsafe { System.realloc(block, layout, size) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// The allocations of `work`.
fn count<T>(work: impl FnOnce() -> T) -> (T, u64) {
    let before = ALLOCATIONS.load(Ordering::Relaxed);
    let result = work();
    (result, ALLOCATIONS.load(Ordering::Relaxed) - before)
}

struct Rows {
    rows: Vec<([u8; 2], Vec<u8>)>,
    next: usize,
}

impl RowSource for Rows {
    fn peek(&self) -> Peek<'_> {
        match self.rows.get(self.next) {
            Some((key, row)) => Peek::Item(Item::Row {
                clustering: key,
                row: RowRef::trusted(row),
            }),
            None => Peek::End,
        }
    }

    fn advance(&mut self) {
        self.next += 1;
    }

    fn skip_covered(&mut self, _: i64, _: Option<&[u8]>) -> u64 {
        0
    }
}

fn message(builder: &mut RowBuilder, timestamp: i64) -> &[u8] {
    builder.clear().liveness(timestamp);
    for column in 3..9 {
        builder.cell(ColumnId(column), timestamp, &[7; 33]);
    }
    builder.finish()
}

fn rows(ids: impl Iterator<Item = u8>) -> Rows {
    let mut builder = RowBuilder::new();
    Rows {
        rows: ids.map(|id| ([4, id], message(&mut builder, 5).to_vec())).collect(),
        next: 0,
    }
}

#[test]
fn hot_paths_do_not_allocate() {
    let (mut row, mut mutation) = (RowBuilder::new(), MutationBuilder::new(TableId(1), b"key"));
    let mut write = || {
        let body = message(&mut row, 5);
        mutation.reset(TableId(1), b"some other key").row(&[4, 7], body).build()
    };
    write();
    let (built, allocations) = count(&mut write);
    assert_eq!(allocations, 1, "a mutation is one allocation");

    let (bytes, allocations) = count(|| {
        let read = MutationRef::parse(built.bytes()).unwrap();
        let cells = read
            .rows()
            .flat_map(|(_, row)| row.cells())
            .filter_map(|cell| cell.value())
            .map(<[u8]>::len);
        cells.sum::<usize>() + read.ranges().count() + read.token().0 as usize % 2
    });
    assert!(bytes > 0);
    assert_eq!(allocations, 0, "a mutation is checked and read without allocation");

    for deletion in [Deletion::LIVE, Deletion::new(4, 4)] {
        for sources in [
            vec![rows(0..100)],
            vec![rows(0..50), rows(50..100)],
            vec![rows((0..100).step_by(2)), rows((1..100).step_by(2))],
        ] {
            let mut merge = Merge::new(sources, Direction::Forward, deletion);
            let mut out = Vec::new();
            let (whole, allocations) = count(|| {
                let mut whole = 0;
                while merge.step() == Step::Item {
                    if let Item::Row { row, .. } = merge.item() {
                        whole += u32::from(live_row(row, ReadTime::at(1), Columns::All, &mut out).live == Live::Whole);
                    }
                }
                whole
            });
            assert_eq!(whole, 100);
            assert_eq!(allocations, 0, "a row that one source has is given as it is");
        }
    }

    // Rows of several sources are reconciled in buffers that grow once.
    let mut merge = Merge::new(
        vec![rows(0..100), rows(0..100), rows(0..100)],
        Direction::Forward,
        Deletion::LIVE,
    );
    assert_eq!(merge.step(), Step::Item);
    assert_eq!(merge.step(), Step::Item);
    let (rows, allocations) = count(|| std::iter::from_fn(|| (merge.step() == Step::Item).then_some(())).count());
    assert_eq!((rows, allocations), (98, 0));
}
