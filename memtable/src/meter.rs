//! What one memtable holds of the heap, to the byte.
//!
//! Every allocation of a memtable (arena chunks, tree nodes with their reference counts, its few vectors) is added here with the size that
//! the allocator is asked for, and taken off when it is freed. Nodes that only a reader still holds stay counted until the reader goes:
//! they are memory that this table costs. Both sides are tested against a counting allocator (`tests/accounting.rs`).

use std::cell::Cell;
use std::rc::Rc;

/// The strong and the weak count that stand before every value behind an [`Rc`].
pub(crate) const RC_HEADER_BYTES: usize = 2 * size_of::<usize>();

/// Counts bytes held, and the work done on nodes.
#[derive(Debug, Default)]
pub(crate) struct Meter {
    bytes: Cell<usize>,
    nodes_made: Cell<u64>,
    nodes_copied: Cell<u64>,
    nodes_visited: Cell<u64>,
}

/// What the trees of a memtable have done since it was made: the measure of the tests that hold each operation to a bound.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub struct Work {
    /// Nodes allocated, copies included.
    pub nodes_made: u64,
    /// Nodes copied because a reader held the older one.
    pub nodes_copied: u64,
    /// Nodes that skips over rows, and reads and writes of range tombstones, looked into.
    pub nodes_visited: u64,
}

impl Meter {
    pub(crate) fn bytes(&self) -> usize {
        self.bytes.get()
    }

    pub(crate) fn add(&self, bytes: usize) {
        self.bytes.set(self.bytes.get() + bytes);
    }

    pub(crate) fn sub(&self, bytes: usize) {
        let held = self.bytes.get();
        assert!(held >= bytes, "a memtable gave back {bytes} bytes of {held}");
        self.bytes.set(held - bytes);
    }

    /// Follows a vector from one capacity to another.
    pub(crate) fn resized<T>(&self, capacity_before: usize, capacity_now: usize) {
        self.add(capacity_now * size_of::<T>());
        self.sub(capacity_before * size_of::<T>());
    }

    pub(crate) fn copied_node(&self) {
        self.nodes_copied.set(self.nodes_copied.get() + 1);
    }

    pub(crate) fn visited_node(&self) {
        self.nodes_visited.set(self.nodes_visited.get() + 1);
    }

    pub(crate) fn work(&self) -> Work {
        Work {
            nodes_made: self.nodes_made.get(),
            nodes_copied: self.nodes_copied.get(),
            nodes_visited: self.nodes_visited.get(),
        }
    }
}

/// The head of an allocation: the number of items in it, and its bytes on the meter for as long as it lives.
#[derive(Debug)]
pub(crate) struct Head {
    meter: Rc<Meter>,
    bytes: u32,
    /// Slots in use, from the first.
    pub(crate) len: u32,
}

impl Head {
    /// Puts an allocation of `bytes` on the meter.
    pub(crate) fn new(meter: &Rc<Meter>, bytes: usize, len: usize) -> Self {
        meter.add(bytes);
        meter.nodes_made.set(meter.nodes_made.get() + 1);
        Self {
            meter: Rc::clone(meter),
            bytes: bytes as u32,
            len: len as u32,
        }
    }

    pub(crate) fn meter(&self) -> &Rc<Meter> {
        &self.meter
    }
}

impl Drop for Head {
    fn drop(&mut self) {
        self.meter.sub(self.bytes as usize);
    }
}
