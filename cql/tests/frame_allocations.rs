//! What is allocated on the way of an EXECUTE, counted: nothing to find it, to read it and to walk its values, nothing to write a page
//! into a buffer that has room.

use std::alloc::{GlobalAlloc, Layout, System};
use std::hint::black_box;
use std::sync::atomic::{AtomicU64, Ordering};

use model::CqlType;
use scrollback_cql::frame::client::{self, Send};
use scrollback_cql::frame::{
    BatchStatement, BatchType, Column, Compressor, Frames, Metadata, Reply, Request, Step, Value, decompress,
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

/// Reads the frame, and gives the bytes of its values.
fn read(received: &[u8]) -> usize {
    let Step::Frame { header, body } = Frames::of_requests(16 << 20).next(received) else {
        panic!("no frame")
    };
    let len = |value| match value {
        Value::Bytes(bytes) => bytes.len(),
        Value::Null | Value::Unset => 0,
    };
    match Request::parse(&header, &received[body]).expect("a request") {
        Request::Execute { parameters, .. } | Request::Query { parameters, .. } => {
            parameters.values.iter().map(|(_, value)| len(value)).sum()
        }
        Request::Batch(batch) => {
            let values = batch.statements().flat_map(|(_, values)| values);
            values.map(|(_, value)| len(value)).sum()
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn the_way_of_an_execute_allocates_nothing() {
    let values = [
        Value::Bytes(&[7; 8]),
        Value::Bytes(&[1; 4]),
        Value::Bytes(&[2; 200]),
        Value::Null,
        Value::Unset,
    ];
    let named = values.map(|value| ("name", value));
    let positional = client::Parameters {
        values: client::Values::Positional(&values),
        page_size: Some(5000),
        paging_state: Some(&[3; 40]),
        timestamp: Some(1),
        ..client::Parameters::default()
    };
    let named = client::Parameters {
        values: client::Values::Named(&named),
        ..positional
    };
    let [mut execute, mut query, mut batch] = [const { Vec::new() }; 3];
    Send::on(1).execute(&mut execute, &[9; 16], &positional);
    Send::on(1).query(&mut query, "SELECT * FROM t", &named);
    let statements = [(BatchStatement::Prepared(&[9; 16]), &values[..]); 3];
    let of_batch = client::BatchParameters::default();
    Send::on(1).batch(&mut batch, BatchType::Unlogged, statements.into_iter(), &of_batch);
    for (bytes, sum) in [(&execute, 212), (&query, 212), (&batch, 636)] {
        let (found, allocations) = count(|| read(black_box(bytes)));
        assert_eq!((found, allocations), (sum, 0));
    }

    // Answers, into buffers that have been used before.
    let metadata = Metadata::new(["a", "b", "c"].map(|name| Column {
        keyspace: "ks",
        table: "t",
        name,
        ty: &CqlType::Text,
    }));
    let (mut out, mut compressor, mut plain) = (Vec::new(), Compressor::new(), Vec::new());
    let mut page = |out: &mut Vec<u8>| {
        out.clear();
        let mut rows = Reply::to(1).rows(out, &metadata, false);
        for _ in 0..50 {
            rows.value(Some(&[b'x'; 100]));
            rows.value(None);
            let cell = rows.open_value();
            rows.buffer().extend_from_slice(&[1; 30]);
            cell.close(rows.buffer());
        }
        rows.finish(Some(&[5; 40]));
        let len = out.len();
        assert!(compressor.compress(out, 0));
        decompress(&out[9..], 1 << 20, &mut plain).expect("our own block");
        assert_eq!(plain.len(), len - 9);
    };
    page(&mut out);
    let ((), allocations) = count(|| page(&mut out));
    assert_eq!(allocations, 0);
}
