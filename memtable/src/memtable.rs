//! One table's recent writes.

use std::rc::Rc;

use model::{CellKind, Deletion, KeySeed, MutationRef, RowRef, Token, merge_rows};

use crate::arena::Record;
use crate::meter::Work;
use crate::partition::{Partition, PartitionEntry, partition_key};
use crate::rows::RowEntry;
use crate::tree::{Key, Part, Tree};
use crate::yard::{Dead, Shared};

/// A merge buffer that grew beyond this is freed after the write.
const SCRATCH_BYTES_KEPT: usize = 64 << 10;
/// Slots of nodes given up by readers that each write takes apart.
const REAP_PER_WRITE: usize = 2 * crate::tree::LEAF_SLOTS;

/// One table's recent writes in order, with exact memory accounting.
///
/// Partitions are ordered by (token, key), rows by their encoded clustering key. Per row, all writes are merged by `docs/semantics/conflicts.md`;
/// rows under a range or partition tombstone are kept, and left out by the merge at reading. No single operation takes time in the number of
/// rows held: nothing is rehashed, freeing goes by steps ([`drop_step`](Self::drop_step)).
///
/// ```
/// use scrollback_memtable::Memtable;
/// use model::{ColumnId, Direction, Item, MutationBuilder, Peek, RowBuilder, RowSource, Slice, TableId, token_of};
///
/// let mut row = RowBuilder::new();
/// row.liveness(7).cell(ColumnId(2), 7, b"hello");
/// let mutation = MutationBuilder::new(TableId(1), b"channel").row(&[4, 1], row.finish()).build();
///
/// let mut memtable = Memtable::new();
/// memtable.apply(mutation.as_ref());
/// let partition = memtable.partition(token_of(b"channel"), b"channel").expect("it was just written");
/// let rows = partition.rows(&Slice::all(), Direction::Forward);
/// assert!(matches!(rows.peek(), Peek::Item(Item::Row { clustering: [4, 1], .. })));
/// ```
pub struct Memtable {
    shared: Rc<Shared>,
    partitions: Tree<PartitionEntry>,
    /// Merged rows, before they are copied into the arena.
    scratch: Vec<u8>,
    counts: Counts,
    /// The most that `memory_bytes` was at the end of a write.
    reported_bytes: usize,
    sealed: bool,
    dropping: bool,
}

#[derive(Debug)]
struct Counts {
    rows: u64,
    partitions: u64,
    tombstones: u64,
    min_timestamp: i64,
    max_timestamp: i64,
    /// Positions at or before, and at or behind, every row and range bound; meaningless if there is none.
    first: Vec<u8>,
    last: Vec<u8>,
    bounded: bool,
}

impl Counts {
    fn timestamps(&mut self, min: i64, max: i64) {
        self.min_timestamp = self.min_timestamp.min(min);
        self.max_timestamp = self.max_timestamp.max(max);
    }

    fn deletion(&mut self, deletion: Deletion) {
        self.tombstones += 1;
        self.timestamps(deletion.timestamp, deletion.timestamp);
    }

    /// Counts a row that is written; returns its largest timestamp.
    #[inline]
    fn row(&mut self, row: RowRef<'_>) -> i64 {
        let (mut min, mut max) = (i64::MAX, i64::MIN);
        let mut see = |timestamp: i64| {
            min = min.min(timestamp);
            max = max.max(timestamp);
        };
        if let Some(liveness) = row.liveness() {
            see(liveness.timestamp);
        }
        let deletion = row.deletion();
        if !deletion.is_live() {
            see(deletion.timestamp);
            self.tombstones += 1;
        }
        for cell in row.cells() {
            see(cell.timestamp);
            self.tombstones += u64::from(matches!(
                cell.kind,
                CellKind::Tombstone { .. } | CellKind::ComplexDeletion(_)
            ));
        }
        self.timestamps(min, max);
        max
    }

    #[inline]
    fn positions(&mut self, first: &[u8], last: &[u8], shared: &Shared) {
        if !self.bounded || first < &self.first[..] {
            set(&mut self.first, first, shared);
        }
        if !self.bounded || last > &self.last[..] {
            set(&mut self.last, last, shared);
        }
        self.bounded = true;
    }
}

fn set(to: &mut Vec<u8>, bytes: &[u8], shared: &Shared) {
    let capacity = to.capacity();
    to.clear();
    to.extend_from_slice(bytes);
    shared.meter.resized::<u8>(capacity, to.capacity());
}

impl std::fmt::Debug for Memtable {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Memtable")
            .field("partitions", &self.counts.partitions)
            .field("rows", &self.counts.rows)
            .field("memory_bytes", &self.memory_bytes())
            .field("sealed", &self.sealed)
            .finish()
    }
}

impl Default for Memtable {
    fn default() -> Self {
        Self::new()
    }
}

impl Memtable {
    /// An empty memtable, whose digests can be compared with none.
    pub fn new() -> Self {
        Self::with_seed(KeySeed::default())
    }

    /// An empty memtable, whose digests of keys depend on `seed`.
    pub fn with_seed(seed: KeySeed) -> Self {
        let shared = Shared::new(seed);
        let reported_bytes = shared.meter.bytes();
        Self {
            shared,
            partitions: Tree::default(),
            scratch: Vec::new(),
            counts: Counts {
                rows: 0,
                partitions: 0,
                tombstones: 0,
                min_timestamp: i64::MAX,
                max_timestamp: i64::MIN,
                first: Vec::new(),
                last: Vec::new(),
                bounded: false,
            },
            reported_bytes,
            sealed: false,
            dropping: false,
        }
    }

    /// Merges `mutation` and returns the bytes of memory it added.
    ///
    /// Synchronous on purpose: no reader on this shard ever meets half a mutation. Applying a mutation again, or mutations in another order,
    /// gives the same content. The returned bytes add up to the growth of [`memory_bytes`](Self::memory_bytes); where it shrank, because a
    /// write or a reader gave nodes up, as much less is returned by the writes that follow.
    ///
    /// # Panics
    /// If the memtable is sealed: what is written now would be lost with the log that its flush releases.
    pub fn apply(&mut self, mutation: MutationRef<'_>) -> usize {
        assert!(!self.sealed, "a sealed memtable is only read");
        let has_content = !mutation.partition_deletion().is_live()
            || mutation.static_row().is_some_and(|row| !row.is_empty())
            || mutation.rows().any(|(_, row)| !row.is_empty())
            || mutation.ranges().next().is_some();
        if has_content {
            self.merge(mutation);
        }
        let added = self.memory_bytes().saturating_sub(self.reported_bytes);
        self.reported_bytes += added;
        added
    }

    fn merge(&mut self, mutation: MutationRef<'_>) {
        let Self {
            shared,
            partitions,
            scratch,
            counts,
            ..
        } = self;
        let (arena, meter) = (&shared.arena, &shared.meter);
        shared.reap(REAP_PER_WRITE);

        let key = partition_key(mutation.token(), mutation.key());
        let partition = match partitions.get_mut(key, arena) {
            Some(partition) => partition,
            None => {
                let record = arena.add(key.bytes, &[]);
                partitions.upsert(key, arena, meter, |_| {
                    Some(PartitionEntry {
                        prefix: key.prefix,
                        record,
                        ..PartitionEntry::default()
                    })
                });
                counts.partitions += 1;
                partitions.get_mut(key, arena).expect("the partition was just added")
            }
        };

        let deletion = mutation.partition_deletion();
        if !deletion.is_live() {
            counts.deletion(deletion);
            let extras = partition.extras_mut(meter);
            extras.deletion = extras.deletion.max(deletion);
        }
        if let Some(row) = mutation.static_row().filter(|row| !row.is_empty()) {
            counts.row(row);
            let extras = partition.extras_mut(meter);
            if extras.static_row.is_null() {
                extras.static_row = arena.add(&[], row.bytes());
            } else if let Some(merged) = merge_into(extras.static_row, row, scratch, shared) {
                extras.static_row = arena.add(&[], merged);
            }
        }
        for (clustering, row) in mutation.rows().filter(|(_, row)| !row.is_empty()) {
            let max_timestamp = counts.row(row);
            counts.positions(clustering, clustering, shared);
            let key = Key::of(clustering);
            let new = partition.rows.upsert(key, arena, meter, |there| {
                let Some(old) = there else {
                    let record = arena.add(clustering, row.bytes());
                    return Some(RowEntry {
                        prefix: key.prefix,
                        max_timestamp,
                        is_dead: row.is_row_tombstone(),
                        record,
                    });
                };
                let merged = merge_into(old.record, row, scratch, shared)?;
                let max_timestamp = max_timestamp.max(old.max_timestamp);
                debug_assert_eq!(
                    max_timestamp,
                    RowRef::trusted(merged).max_timestamp(),
                    "a merge keeps the newest timestamp"
                );
                Some(RowEntry {
                    prefix: key.prefix,
                    max_timestamp,
                    is_dead: RowRef::trusted(merged).is_row_tombstone(),
                    record: arena.add(clustering, merged),
                })
            });
            counts.rows += u64::from(new);
        }
        for (start, end, deletion) in mutation.ranges() {
            counts.deletion(deletion);
            counts.positions(start, end, shared);
            partition
                .extras_mut(meter)
                .ranges
                .delete(start, end, deletion, arena, meter);
        }
        if scratch.capacity() > SCRATCH_BYTES_KEPT {
            meter.resized::<u8>(scratch.capacity(), 0);
            *scratch = Vec::new();
        }
    }

    /// The bytes of heap held: arena chunks whole, tree nodes, and what readers keep of older nodes.
    pub fn memory_bytes(&self) -> usize {
        self.shared.meter.bytes()
    }

    /// Whether nothing was written.
    pub fn is_empty(&self) -> bool {
        self.partitions.is_empty()
    }

    /// Ends writing; the memtable is flushed from now on.
    pub fn seal(&mut self) {
        self.sealed = true;
    }

    /// Whether [`seal`](Self::seal) was called.
    pub fn is_sealed(&self) -> bool {
        self.sealed
    }

    /// Rows held, row tombstones included, static rows not.
    pub fn row_count(&self) -> u64 {
        self.counts.rows
    }

    /// Partitions held.
    pub fn partition_count(&self) -> u64 {
        self.counts.partitions
    }

    /// Tombstones written, of all kinds: for a cell, a collection, a row, a range, a partition. Those that were replaced or written twice count.
    pub fn tombstone_count(&self) -> u64 {
        self.counts.tombstones
    }

    /// The smallest timestamp of anything written; `i64::MAX` if nothing was.
    pub fn min_timestamp(&self) -> i64 {
        self.counts.min_timestamp
    }

    /// The largest timestamp of anything written; `i64::MIN` if nothing was.
    pub fn max_timestamp(&self) -> i64 {
        self.counts.max_timestamp
    }

    /// A position at or before every row and range bound of any partition; `None` if there are neither.
    pub fn min_clustering(&self) -> Option<&[u8]> {
        self.counts.bounded.then_some(&self.counts.first)
    }

    /// A position at or behind every row and range bound of any partition; `None` if there are neither.
    pub fn max_clustering(&self) -> Option<&[u8]> {
        self.counts.bounded.then_some(&self.counts.last)
    }

    /// A snapshot of one partition.
    pub fn partition(&self, token: Token, key: &[u8]) -> Option<Partition> {
        let entry = self.partitions.get(partition_key(token, key), &self.shared.arena)?;
        Some(Partition::new(&self.shared, entry))
    }

    /// A snapshot of the first partition behind `after` in the order of (token, key), or of the very first.
    pub fn next_partition(&self, after: Option<(Token, &[u8])>) -> Option<Partition> {
        let after = after.map(|(token, key)| partition_key(token, key));
        let entry = self.partitions.first_after(after, &self.shared.arena)?;
        Some(Partition::new(&self.shared, entry))
    }

    /// How many snapshots of partitions, and walks over them, are alive.
    pub fn reader_count(&self) -> usize {
        Rc::strong_count(&self.shared) - 1
    }

    /// What the trees did since the memtable was made.
    pub fn work(&self) -> Work {
        self.shared.meter.work()
    }

    /// Frees a part of the memtable, which is over with the first call; returns true when all is freed.
    ///
    /// `entries` bounds the step: 1,000 take some ten microseconds, a step of 1 frees one node or one chunk of the arena. Readers keep
    /// what they hold: while there are any ([`reader_count`](Self::reader_count)) the answer stays false, and what they give up is freed
    /// by later steps.
    pub fn drop_step(&mut self, entries: usize) -> bool {
        self.sealed = true;
        if !self.dropping {
            self.dropping = true;
            self.counts.partitions = 0;
            self.counts.rows = 0;
            for buffer in [&mut self.scratch, &mut self.counts.first, &mut self.counts.last] {
                self.shared.meter.resized::<u8>(buffer.capacity(), 0);
                *buffer = Vec::new();
            }
            self.counts.bounded = false;
            std::mem::take(&mut self.partitions).dismantle(|part| {
                self.shared.bury(match part {
                    Part::Child(child) => Dead::Partitions(child),
                    Part::Entry(partition) => Dead::Partition(partition),
                });
            });
        }
        let mut left = self.shared.reap(entries.max(1));
        if !self.shared.yard_is_empty() || self.reader_count() > 0 {
            return false;
        }
        while left > 0 {
            // SAFETY: the trees are gone and there are no readers, so no record is known to anyone any more.
            let Some(bytes) = (unsafe { self.shared.arena.free_chunk() }) else {
                return true;
            };
            left = left.saturating_sub(bytes / CHUNK_BYTES_PER_ENTRY);
        }
        false
    }
}

/// Giving back this much of a chunk takes as long as taking apart one entry.
const CHUNK_BYTES_PER_ENTRY: usize = 64;

/// Merges `row` with the body of `old`; `None` if that changes nothing.
fn merge_into<'s>(old: Record, row: RowRef<'_>, scratch: &'s mut Vec<u8>, shared: &Shared) -> Option<&'s [u8]> {
    // SAFETY: `old` comes from a tree of the memtable whose arena `shared` holds.
    let old = RowRef::trusted(unsafe { shared.arena.body(old) });
    let capacity = scratch.capacity();
    merge_rows(old, row, scratch);
    shared.meter.resized::<u8>(capacity, scratch.capacity());
    (scratch.as_slice() != old.bytes()).then_some(scratch)
}
