//! What a memtable and its readers share, and the yard where trees are taken apart by steps.
//!
//! Freeing a tree of a million rows takes milliseconds, which no single step of a shard may. So whoever holds the last handle of a large
//! tree (the memtable that is given up, or a reader that outlived the nodes it saw) puts it into the yard instead, and later steps take it
//! apart node by node: [`Memtable::drop_step`](crate::Memtable::drop_step), and each write a little.

use std::cell::RefCell;
use std::rc::Rc;

use model::KeySeed;

use crate::arena::Arena;
use crate::meter::{Meter, RC_HEADER_BYTES};
use crate::partition::PartitionEntry;
use crate::ranges::RangeEntry;
use crate::rows::RowEntry;
use crate::tree::{Child, Part};

/// Something to be taken apart.
pub(crate) enum Dead {
    Partitions(Child<PartitionEntry>),
    Partition(PartitionEntry),
    Rows(Child<RowEntry>),
    Ranges(Child<RangeEntry>),
}

/// Held by the memtable and by each of its readers.
pub(crate) struct Shared {
    pub(crate) meter: Rc<Meter>,
    pub(crate) arena: Arena,
    yard: RefCell<Vec<Dead>>,
}

impl Shared {
    pub(crate) fn new(seed: KeySeed) -> Rc<Self> {
        let meter = Rc::new(Meter::default());
        meter.add(RC_HEADER_BYTES + size_of::<Meter>());
        meter.add(RC_HEADER_BYTES + size_of::<Self>());
        Rc::new(Self {
            arena: Arena::new(Rc::clone(&meter), seed),
            yard: RefCell::new(Vec::new()),
            meter,
        })
    }

    pub(crate) fn bury(&self, dead: Dead) {
        let mut yard = self.yard.borrow_mut();
        let capacity = yard.capacity();
        yard.push(dead);
        self.meter.resized::<Dead>(capacity, yard.capacity());
    }

    /// Takes nodes apart until at least `entries` slots are done; returns what is left of `entries`.
    #[inline]
    pub(crate) fn reap(&self, entries: usize) -> usize {
        if self.yard.borrow().is_empty() {
            entries
        } else {
            self.reap_some(entries)
        }
    }

    #[cold]
    fn reap_some(&self, mut entries: usize) -> usize {
        while entries > 0 {
            let popped = self.yard.borrow_mut().pop();
            let Some(dead) = popped else {
                let empty = self.yard.replace(Vec::new());
                self.meter.resized::<Dead>(empty.capacity(), 0);
                return entries;
            };
            let cost = match dead {
                Dead::Partitions(child) => child.dismantle(|part| {
                    self.bury(match part {
                        Part::Child(child) => Dead::Partitions(child),
                        Part::Entry(partition) => Dead::Partition(partition),
                    });
                }),
                Dead::Partition(mut partition) => {
                    partition.bury_trees(self);
                    1
                }
                Dead::Rows(child) => child.dismantle(|part| {
                    if let Part::Child(child) = part {
                        self.bury(Dead::Rows(child));
                    }
                }),
                Dead::Ranges(child) => child.dismantle(|part| {
                    if let Part::Child(child) = part {
                        self.bury(Dead::Ranges(child));
                    }
                }),
            };
            entries = entries.saturating_sub(cost);
        }
        entries
    }

    pub(crate) fn yard_is_empty(&self) -> bool {
        self.yard.borrow().is_empty()
    }
}
