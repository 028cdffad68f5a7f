//! A scan allocates a little per piece and per frame, and nothing per row.
//!
//! Alone in its file, because the allocator that counts is the whole process's.
#![allow(clippy::unwrap_used, reason = "tests")]

mod common;

use std::alloc::{GlobalAlloc, Layout, System};
use std::rc::Rc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use common::{Partition, Rng};
use model::{ColumnId, Peek, RowBuilder, RowSource, Token};
use scrollback_sstable::{BlockCache, Table, Writer, WriterOptions};

/// Counts allocations.
struct Counting;

static COUNT: AtomicU64 = AtomicU64::new(0);

#[global_allocator]
static ALLOCATOR: Counting = Counting;

// SAFETY: every call is passed on to the system's allocator as it is.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        COUNT.fetch_add(1, Relaxed);
        // SAFETY: the caller's duties are those of `System`.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, ptr: *mut u8, layout: Layout) {
        // SAFETY: as above.
        unsafe { System.dealloc(ptr, layout) }
    }
}

#[test]
fn a_scan_allocates_nothing_per_row() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("t.sst");
    common::on_shard(move || async move {
        let mut rng = Rng(7);
        let mut row = RowBuilder::new();
        let mut p = Partition::new(b"channel");
        p.rows = (0..40_000u32)
            .map(|n| {
                row.clear().liveness(5).cell(ColumnId(1), 5, &rng.bytes(60));
                ([&[0x10][..], &n.to_be_bytes()].concat(), row.finish().to_vec())
            })
            .collect();
        let options = WriterOptions {
            index_bytes: 4096,
            ..common::options()
        };
        let mut writer = Writer::create(&path, options, 0).await.unwrap();
        for fragment in p.fragments() {
            writer.append(fragment.fragment()).await.unwrap();
        }
        let summary = writer.seal().await.unwrap();
        let sizes = summary.statistics.sizes;
        let table = Table::open(
            &path,
            summary.generation,
            summary.file_bytes,
            Rc::new(BlockCache::new(0)),
        )
        .await
        .unwrap();

        let before = COUNT.load(Relaxed);
        let mut scan = table.scan(Token(i64::MIN)..=Token(i64::MAX));
        let mut rows = 0;
        while scan.next_partition().await.unwrap() {
            loop {
                match scan.peek() {
                    Peek::End => break,
                    Peek::Pending { .. } => scan.fill().await.unwrap(),
                    Peek::Item(_) => {
                        rows += 1;
                        scan.advance();
                    }
                }
            }
        }
        let count = COUNT.load(Relaxed) - before;
        eprintln!(
            "{count} allocations, {} data frames, {} index frames",
            sizes.data_frames, sizes.index_frames
        );
        assert_eq!(rows, 40_000);
        assert!(sizes.data_frames > 150 && rows / sizes.data_frames > 100, "{sizes:?}");
        // Nearly all are the reactor's, between frames.
        assert!(count * 4 < rows, "{count} allocations for {rows} rows");
        drop(scan);
        table.close().await.unwrap();
    });
}
