//! What connections cost, and that nothing of them is left behind, on each real body.
//!
//! Apart from the other tests: these count what the process has.

#![allow(clippy::unwrap_used, reason = "helpers of tests")]
#![allow(clippy::duplicate_mod, reason = "its own name tells each what to run on")]

#[path = "tests.rs"]
mod on_threads;
#[path = "tests.rs"]
mod on_uring;

use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::atomic::{AtomicI64, Ordering};

/// One test at a time.
static ALONE: parking_lot::Mutex<()> = parking_lot::Mutex::new(());

/// Counts the bytes that are allocated.
struct Counting;

static LIVE: AtomicI64 = AtomicI64::new(0);

#[global_allocator]
static ALLOCATOR: Counting = Counting;

// SAFETY: every call is passed on to the system's allocator as it is.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        LIVE.fetch_add(layout.size() as i64, Ordering::Relaxed);
        // SAFETY: the caller's duties are those of `System`.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, ptr: *mut u8, layout: Layout) {
        LIVE.fetch_sub(layout.size() as i64, Ordering::Relaxed);
        // SAFETY: as above.
        unsafe { System.dealloc(ptr, layout) }
    }
}
