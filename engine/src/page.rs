//! What a read asks for, and the page it gives back.

use model::{Direction, RowRef, Slice, TableId};
use std::sync::Arc;

/// A read of one partition's rows.
///
/// ```no_run
/// # async fn example(store: scrollback_engine::Store) -> scrollback_engine::Result<()> {
/// use scrollback_engine::Read;
///
/// let table = store.table("chat", "messages").expect("it was created");
/// let newest = Read {
///     limit_rows: 50,
///     ..Read::partition(table.id, b"general")
/// };
/// let page = store.read(newest).await?;
/// for (clustering, row) in page.rows() {
///     println!("{:?} has {} cells", clustering, row.cells().count());
/// }
/// println!("{} blocks were read", page.cost().data_blocks);
/// # Ok(())
/// # }
/// ```
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Read {
    /// The table.
    pub table: TableId,
    /// The partition key's bytes.
    pub key: Vec<u8>,
    /// Which rows, as positions in clustering order whatever the direction.
    pub slice: Slice,
    /// In which order.
    pub direction: Direction,
    /// The page ends after this many rows, at least 1.
    pub limit_rows: usize,
    /// The page ends after the row that exceeds this many bytes.
    pub limit_bytes: usize,
    /// Also gives rows that are deleted, with their tombstones.
    pub include_dead: bool,
    /// What happens behind more tombstones than the table's `tombstone_failure_threshold`.
    pub past_tombstones: PastTombstones,
}

/// What a read does that has met more tombstones than it may.
///
/// [`Read`] has it as a field.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub enum PastTombstones {
    /// It fails with [`Error::TooManyTombstones`](crate::Error::TooManyTombstones).
    #[default]
    Fail,
    /// Its page ends behind the row at which it has met them, [cut](Page::cut_at), and says where to go on. Runs of row
    /// tombstones to which no other file or memtable adds anything are passed over, and not counted.
    Cut,
}

impl Read {
    /// All live rows of a partition, in clustering order, in pages of at most 1 MiB.
    #[must_use]
    pub fn partition(table: TableId, key: impl Into<Vec<u8>>) -> Read {
        Read::slice(table, key, Slice::all())
    }

    /// The live rows of a slice of a partition, in clustering order, in pages of at most 1 MiB.
    #[must_use]
    pub fn slice(table: TableId, key: impl Into<Vec<u8>>, slice: Slice) -> Read {
        Read {
            table,
            key: key.into(),
            slice,
            direction: Direction::Forward,
            limit_rows: usize::MAX,
            limit_bytes: 1 << 20,
            include_dead: false,
            past_tombstones: PastTombstones::Fail,
        }
    }
}

/// What a read cost.
///
/// [`Read`] shows how to come by it.
#[derive(Clone, Copy, Default, Debug, PartialEq, Eq)]
pub struct Cost {
    /// Sstables of which at least one block was looked at.
    pub sstables_opened: u64,
    /// Data blocks looked at, from the cache or from the device.
    pub data_blocks: u64,
    /// Index blocks looked at, from the cache or from the device.
    pub index_blocks: u64,
    /// Reads from the device.
    pub device_reads: u64,
    /// Rows that the merge met.
    pub rows_merged: u64,
    /// Rows met and found dead.
    pub rows_dead: u64,
    /// Rows passed over without being looked at, because a deletion covers them or they are a run of row tombstones.
    pub rows_skipped: u64,
    /// Tombstones met, counted as Cassandra counts them: dead cells, bounds of range deletions, and deleted rows without a dead
    /// cell; not those whose grace has passed.
    pub tombstones: u64,
}

impl std::ops::AddAssign for Cost {
    fn add_assign(&mut self, other: Cost) {
        self.sstables_opened += other.sstables_opened;
        self.data_blocks += other.data_blocks;
        self.index_blocks += other.index_blocks;
        self.device_reads += other.device_reads;
        self.rows_merged += other.rows_merged;
        self.rows_dead += other.rows_dead;
        self.rows_skipped += other.rows_skipped;
        self.tombstones += other.tombstones;
    }
}

/// What a page makes room for at its first row, at most.
const ROWS_EXPECTED_MAX: usize = 64;
const BYTES_EXPECTED_MAX: usize = 32 << 10;

#[derive(Clone, Copy, Debug)]
struct Slot {
    start: usize,
    clustering_len: u32,
    body_len: u32,
}

/// Rows of one partition, in one buffer that its clones share.
///
/// [`Read`] shows how to come by it; [`Pages`](crate::Pages), how to go on behind it.
#[derive(Clone, Debug)]
pub struct Page {
    content: Arc<Content>,
    cost: Cost,
}

#[derive(Default, Debug)]
struct Content {
    bytes: Vec<u8>,
    slots: Vec<Slot>,
    static_row: Option<Vec<u8>>,
    more: Option<Slice>,
    cut_at: Option<Vec<u8>>,
}

impl Content {
    #[inline]
    fn row_in(&self, slot: &Slot) -> (&[u8], RowRef<'_>) {
        let both = &self.bytes[slot.start..][..slot.clustering_len as usize + slot.body_len as usize];
        let (clustering, body) = both.split_at(slot.clustering_len as usize);
        (clustering, RowRef::trusted(body))
    }
}

impl Page {
    /// Number of rows.
    #[must_use]
    pub fn len(&self) -> usize {
        self.content.slots.len()
    }

    /// Whether the page holds no row; there may be [`more`](Self::more) all the same.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.content.slots.is_empty()
    }

    /// Bytes of its rows: clustering keys and bodies.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.content.bytes.len()
    }

    /// The row at `index`: its clustering bytes and its live cells.
    #[must_use]
    pub fn row(&self, index: usize) -> Option<(&[u8], RowRef<'_>)> {
        self.content.slots.get(index).map(|slot| self.content.row_in(slot))
    }

    /// The rows, in the order that was asked for.
    pub fn rows(&self) -> impl DoubleEndedIterator<Item = (&[u8], RowRef<'_>)> + ExactSizeIterator {
        let content = &*self.content;
        content.slots.iter().map(|slot| content.row_in(slot))
    }

    /// The partition's static row, if it has a live one.
    #[must_use]
    pub fn static_row(&self) -> Option<RowRef<'_>> {
        self.content.static_row.as_deref().map(RowRef::trusted)
    }

    /// The slice that the next page begins with; `None` if this page ends the slice asked for. A page may be the last one
    /// although it says more: then the next is empty.
    #[must_use]
    pub fn more(&self) -> Option<&Slice> {
        self.content.more.as_ref()
    }

    /// The clustering bytes of the row behind which the page ends because of the tombstones that it met
    /// ([`PastTombstones::Cut`]); `None` if it ends for another reason.
    #[must_use]
    pub fn cut_at(&self) -> Option<&[u8]> {
        self.content.cut_at.as_deref()
    }

    /// What the page cost.
    #[must_use]
    pub fn cost(&self) -> Cost {
        self.cost
    }

    /// The page of another read, at no cost but what it counts towards warnings.
    pub(crate) fn shared(mut self) -> Page {
        self.cost = Cost {
            tombstones: self.cost.tombstones,
            ..Cost::default()
        };
        self
    }

    /// What it takes in memory, bytes.
    pub(crate) fn memory_bytes(&self) -> usize {
        let content = &*self.content;
        let more = content.more.as_ref();
        size_of::<Content>()
            + content.bytes.capacity()
            + content.slots.capacity() * size_of::<Slot>()
            + content.static_row.as_ref().map_or(0, Vec::capacity)
            + content.cut_at.as_ref().map_or(0, Vec::capacity)
            + more.map_or(0, |more| more.start.capacity() + more.end.capacity())
    }
}

/// A page being filled.
#[derive(Default)]
pub(crate) struct PageBuilder {
    content: Content,
}

impl PageBuilder {
    pub(crate) fn len(&self) -> usize {
        self.content.slots.len()
    }

    pub(crate) fn bytes(&self) -> usize {
        self.content.bytes.len()
    }

    /// Whether the page has as much as `read` allows.
    pub(crate) fn is_full(&self, read: &Read) -> bool {
        self.len() >= read.limit_rows || self.bytes() >= read.limit_bytes
    }

    /// Adds a row; `more` rows at most may follow. The first row makes room for those that are as long.
    pub(crate) fn push(&mut self, clustering: &[u8], body: &[u8], more: usize) {
        let Content { bytes, slots, .. } = &mut self.content;
        let start = bytes.len();
        if slots.is_empty() {
            let rows = more.saturating_add(1).min(ROWS_EXPECTED_MAX);
            slots.reserve(rows);
            // A quarter more, because the others may be longer.
            let expected = rows * (clustering.len() + body.len()) * 5 / 4;
            bytes.reserve(expected.min(BYTES_EXPECTED_MAX));
        }
        bytes.extend_from_slice(clustering);
        bytes.extend_from_slice(body);
        let clustering_len = u32::try_from(clustering.len()).expect("a clustering key is short");
        let body_len = u32::try_from(body.len()).expect("a row is at most 16 MiB");
        slots.push(Slot {
            start,
            clustering_len,
            body_len,
        });
    }

    pub(crate) fn set_static_row(&mut self, body: Vec<u8>) {
        self.content.static_row = Some(body);
    }

    pub(crate) fn last_clustering(&self) -> Option<&[u8]> {
        self.content.slots.last().map(|slot| self.content.row_in(slot).0)
    }

    pub(crate) fn finish(mut self, more: Option<Slice>, cut_at: Option<Vec<u8>>, cost: Cost) -> Page {
        self.content.more = more;
        self.content.cut_at = cut_at;
        Page {
            content: Arc::new(self.content),
            cost,
        }
    }
}

/// What is left of `slice` after the row at `last` was given.
pub(crate) fn rest_after(slice: &Slice, last: &[u8], direction: Direction) -> Slice {
    match direction {
        // The position after everything with the prefix `last`: a full key is no prefix of another one.
        Direction::Forward => Slice {
            start: [last, &[0xFF]].concat(),
            end: slice.end.clone(),
        },
        Direction::Reverse => Slice {
            start: slice.start.clone(),
            end: last.to_vec(),
        },
    }
}
