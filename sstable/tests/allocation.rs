//! Forged bytes under a right checksum never lead to an allocation of a length that nobody checked.
//!
//! Alone in its file, because the allocator that watches is the whole process's.
#![allow(clippy::unwrap_used, reason = "tests")]

mod common;

use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::atomic::{AtomicUsize, Ordering};

use common::{Rng, forge, sample};
use scrollback_sstable::{Compression, offline};

/// Remembers the largest allocation.
struct Largest;

static LARGEST: AtomicUsize = AtomicUsize::new(0);

#[global_allocator]
static ALLOCATOR: Largest = Largest;

// SAFETY: every call is passed on to the system's allocator as it is.
unsafe impl GlobalAlloc for Largest {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        LARGEST.fetch_max(layout.size(), Ordering::Relaxed);
        // SAFETY: the caller's duties are those of `System`.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, ptr: *mut u8, layout: Layout) {
        // SAFETY: as above.
        unsafe { System.dealloc(ptr, layout) }
    }
}

#[test]
fn forged_frames_are_errors_without_large_allocations() {
    let (mut refused, mut accepted) = (0, 0);
    for seed in common::seeds(30_000) {
        let mut rng = Rng(seed);
        let compression = if rng.one_in(4) {
            Compression::Lz4
        } else {
            Compression::None
        };
        let (options, _, bytes) = sample(compression);
        let forged = forge(&bytes, &options, &mut rng);
        match offline::verify(&forged) {
            Ok(_) => accepted += 1,
            Err(_) => refused += 1,
        }
        let _ = offline::stats(&forged);
    }
    // Bytes of a value may change without contradicting anything.
    assert!(refused > accepted, "{refused} refused, {accepted} accepted");
    // No section can be larger than 255 times its bytes, and the file has a few thousand.
    let largest = LARGEST.load(Ordering::Relaxed);
    assert!(largest < 4 << 20, "an allocation of {largest} bytes");
}
