//! A node that has ended leaves no memory behind.
//!
//! Alone in its file, because the allocator that counts is the whole process's.
#![allow(clippy::unwrap_used, reason = "helpers of tests")]

mod common;

use std::alloc::{GlobalAlloc, Layout, System};
use std::future::Future;
use std::pin::pin;
use std::sync::atomic::{AtomicI64, Ordering};
use std::task::{Context, Waker};
use std::time::Duration;

use scrollback_runtime as runtime;

use common::{A, B, start};
use runtime::TaskClass;
use runtime::time::sleep;

/// Counts what is allocated.
struct Counting;

static LIVE: AtomicI64 = AtomicI64::new(0);

#[global_allocator]
static ALLOCATOR: Counting = Counting;

// SAFETY: every call is passed on to the system's allocator as it is.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        LIVE.fetch_add(1, Ordering::Relaxed);
        // SAFETY: the caller's duties are those of `System`.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, ptr: *mut u8, layout: Layout) {
        LIVE.fetch_sub(1, Ordering::Relaxed);
        // SAFETY: as above.
        unsafe { System.dealloc(ptr, layout) }
    }
}

/// A node that has computed, waited, called and been left alone with all that when it ends.
fn round() {
    let node = start(2);
    let work = node.handle().call(A, || async {
        for class in [TaskClass::Request, TaskClass::Compaction] {
            drop(runtime::spawn(class, "waits for ever", async {
                loop {
                    runtime::breathe().await;
                    sleep(Duration::from_millis(1)).await;
                }
            }));
        }
        let computes = runtime::spawn(TaskClass::Flush, "computes", async {
            let until = std::time::Instant::now() + Duration::from_millis(2);
            while std::time::Instant::now() < until {
                runtime::breathe().await;
            }
        });
        runtime::call(B, || sleep(Duration::from_millis(1))).await.unwrap();
        let mut left = pin!(runtime::call(B, || sleep(Duration::from_secs(100))));
        assert!(left.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_pending());
        computes.await;
    });
    work.wait().unwrap();
    node.stop().unwrap();
}

#[test]
fn a_node_that_has_ended_leaves_no_memory_behind() {
    const ROUNDS: i64 = 20;
    (0..ROUNDS).for_each(|_| round());
    let before = LIVE.load(Ordering::Relaxed);
    (0..ROUNDS).for_each(|_| round());
    let kept = LIVE.load(Ordering::Relaxed) - before;
    // Tables of the process, of threads and of executors, grow now and then.
    assert!(kept < ROUNDS, "{kept} allocations in {ROUNDS} rounds");
}
