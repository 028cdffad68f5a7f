//! The program's allocator: mimalloc (`docs/decisions/0005-allocator.md`), which counts while a benchmark asks for it.

use mimalloc::MiMalloc;
use std::{
    alloc::{GlobalAlloc, Layout},
    sync::atomic::{AtomicBool, AtomicU64, Ordering},
};

static COUNTING: AtomicBool = AtomicBool::new(false);
static ALLOCATIONS: AtomicU64 = AtomicU64::new(0);

/// mimalloc, with a count.
pub struct Counting;

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// `mi_option_purge_delay` of mimalloc 2 and 3.
const PURGE_DELAY: std::ffi::c_int = 15;

/// What is freed stays with this process: a memtable given back to the kernel in one call stops its shard for milliseconds, and the
/// next one has to be faulted in again. Memory is budgeted, so no more is kept than was allowed.
pub fn keep_freed_memory() {
    // SAFETY: it sets a number.
    unsafe { libmimalloc_sys::mi_option_set(PURGE_DELAY, -1) };
}

fn count() {
    if COUNTING.load(Ordering::Relaxed) {
        ALLOCATIONS.fetch_add(1, Ordering::Relaxed);
    }
}

// SAFETY: every call goes to mimalloc as it came.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count();
        // SAFETY: the caller's own promise.
        unsafe { MiMalloc.alloc(layout) }
    }

    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        // SAFETY: the caller's own promise.
        unsafe { MiMalloc.dealloc(block, layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        count();
        // SAFETY: the caller's own promise.
        unsafe { MiMalloc.alloc_zeroed(layout) }
    }

    unsafe fn realloc(&self, block: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        count();
        // SAFETY: the caller's own promise.
        unsafe { MiMalloc.realloc(block, layout, size) }
    }
}

/// Begins to count allocations.
pub fn start() {
    ALLOCATIONS.store(0, Ordering::Relaxed);
    COUNTING.store(true, Ordering::Relaxed);
}

/// Ends counting and gives the allocations of all threads since.
pub fn stop() -> u64 {
    COUNTING.store(false, Ordering::Relaxed);
    ALLOCATIONS.load(Ordering::Relaxed)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn freed_memory_is_kept_by_the_option_that_is_meant() {
        // SAFETY: it reads a number.
        let delay = || unsafe { libmimalloc_sys::mi_option_get(PURGE_DELAY) };
        assert!(delay() > 0, "milliseconds, by default");
        keep_freed_memory();
        assert_eq!(delay(), -1);
    }
}
