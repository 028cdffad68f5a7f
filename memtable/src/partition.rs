//! One partition: as the memtable keeps it, and as a reader holds it.

use std::rc::Rc;

use model::{Deletion, Direction, RowRef, Slice, Token};

use crate::arena::{Arena, Record};
use crate::meter::{Head, Meter, RC_HEADER_BYTES};
use crate::ranges::RangeTree;
use crate::reader::Rows;
use crate::rows::RowTree;
use crate::tree::{Entry, Key, Keyed, Part};
use crate::yard::{Dead, Shared};

/// A partition in the memtable's outer tree, which is ordered by (token, key).
#[derive(Clone, Default)]
pub(crate) struct PartitionEntry {
    /// The token, its sign flipped so that unsigned order is token order.
    pub(crate) prefix: u64,
    /// The partition key.
    pub(crate) record: Record,
    pub(crate) rows: RowTree,
    /// What few partitions have.
    pub(crate) extras: Option<Rc<Extras>>,
}

/// What few partitions have: a tombstone, a static row, range tombstones.
pub(crate) struct Extras {
    /// Puts this on the meter.
    _head: Head,
    pub(crate) deletion: Deletion,
    /// The static row, as the body of a record without a key; null if there is none.
    pub(crate) static_row: Record,
    pub(crate) ranges: RangeTree,
}

impl Extras {
    fn new(meter: &Rc<Meter>) -> Self {
        Self {
            _head: Head::new(meter, RC_HEADER_BYTES + size_of::<Self>(), 1),
            deletion: Deletion::LIVE,
            static_row: Record::NULL,
            ranges: RangeTree::default(),
        }
    }
}

impl Keyed for PartitionEntry {
    #[inline]
    fn prefix(&self) -> u64 {
        self.prefix
    }
    #[inline]
    fn record(&self) -> Record {
        self.record
    }
}

impl Entry for PartitionEntry {
    type Note = ();
    fn note(&self, _: Option<&Self>, _: &Arena) {}
}

/// The place of a partition in the outer tree.
#[inline]
pub(crate) fn partition_key(token: Token, key: &[u8]) -> Key<'_> {
    Key {
        prefix: (token.0 as u64) ^ (1 << 63),
        bytes: key,
    }
}

impl PartitionEntry {
    /// What few partitions have, for changing: made if absent, copied if a reader holds it.
    pub(crate) fn extras_mut(&mut self, meter: &Rc<Meter>) -> &mut Extras {
        let extras = self.extras.get_or_insert_with(|| Rc::new(Extras::new(meter)));
        if Rc::strong_count(extras) != 1 {
            meter.copied_node();
            let copy = Extras {
                deletion: extras.deletion,
                static_row: extras.static_row,
                ranges: extras.ranges.clone(),
                ..Extras::new(meter)
            };
            *extras = Rc::new(copy);
        }
        Rc::get_mut(extras).expect("no one else holds the extras")
    }

    /// Leaves the trees to the yard, where they are taken apart as far as no one else holds them.
    pub(crate) fn bury_trees(&mut self, shared: &Shared) {
        std::mem::take(&mut self.rows).dismantle(|part| {
            if let Part::Child(child) = part {
                shared.bury(Dead::Rows(child));
            }
        });
        if let Some(extras) = self.extras.take().and_then(Rc::into_inner) {
            extras.ranges.dismantle(|part| {
                if let Part::Child(child) = part {
                    shared.bury(Dead::Ranges(child));
                }
            });
        }
    }
}

/// A snapshot of one partition.
///
/// It stays as it was when it was taken, whatever is written later, and borrows nothing: it can be kept across an `await`. Taking and cloning
/// it costs a few reference counts. What it holds stays in memory, and counted in
/// [`Memtable::memory_bytes`](crate::Memtable::memory_bytes), until it is dropped.
#[derive(Clone)]
pub struct Partition {
    pub(crate) shared: Rc<Shared>,
    pub(crate) entry: PartitionEntry,
}

impl Partition {
    pub(crate) fn new(shared: &Rc<Shared>, entry: &PartitionEntry) -> Self {
        Self {
            shared: Rc::clone(shared),
            entry: entry.clone(),
        }
    }

    /// The token of the key.
    pub fn token(&self) -> Token {
        Token((self.entry.prefix ^ (1 << 63)) as i64)
    }

    /// The partition key's bytes.
    pub fn key(&self) -> &[u8] {
        // SAFETY: the entry comes from the memtable whose arena `shared` holds.
        unsafe { self.shared.arena.key(self.entry.record) }
    }

    /// The partition's tombstone, or [`Deletion::LIVE`].
    pub fn deletion(&self) -> Deletion {
        self.entry
            .extras
            .as_ref()
            .map_or(Deletion::LIVE, |extras| extras.deletion)
    }

    /// The static row, all writes merged.
    pub fn static_row(&self) -> Option<RowRef<'_>> {
        let record = self.entry.extras.as_ref()?.static_row;
        // SAFETY: as in `key`.
        (!record.is_null()).then(|| RowRef::trusted(unsafe { self.shared.arena.body(record) }))
    }

    /// How many rows there are, tombstones among them.
    pub fn row_count(&self) -> u64 {
        self.entry.rows.row_count()
    }

    /// Whether there are range tombstones.
    pub fn has_ranges(&self) -> bool {
        self.entry
            .extras
            .as_ref()
            .is_some_and(|extras| !extras.ranges.is_empty())
    }

    /// The rows and range changes of `slice`, in order of travel.
    pub fn rows(&self, slice: &Slice, direction: Direction) -> Rows {
        Rows::new(self.clone(), slice, direction)
    }
}

impl std::fmt::Debug for Partition {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Partition")
            .field("token", &self.token())
            .field("key", &self.key())
            .field("deletion", &self.deletion())
            .field("static_row", &self.static_row())
            .field("row_count", &self.row_count())
            .field("has_ranges", &self.has_ranges())
            .finish()
    }
}

impl Drop for Partition {
    fn drop(&mut self) {
        // Nodes that only this reader still saw are freed by later steps, not all at once here.
        let extras = self.entry.extras.as_ref();
        let last_of_ranges = extras.is_some_and(|e| Rc::strong_count(e) == 1 && e.ranges.is_last_of_many());
        if self.entry.rows.is_last_of_many() || last_of_ranges {
            self.entry.bury_trees(&self.shared);
        }
    }
}
