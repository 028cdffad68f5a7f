//! Builds one mutation from entries in any order.

use bytes::Bytes;

use super::{
    Entry, Mutation, MutationRef, TAG_PARTITION, TAG_RANGE, TAG_ROW, TAG_STATIC, VERSION, is_key, is_position,
};
use crate::{Deletion, RowRef, TableId, merge_rows, varint};

/// Collects what one statement (or batch) writes into one partition; reusable, so that a busy writer allocates only the
/// mutation itself.
///
/// Entries may come in any order; in the order of the format (partition deletion, static row, rows by key, ranges) they
/// are appended and never moved. Two entries for one place are reconciled by `docs/semantics/conflicts.md`.
///
/// ```
/// use scrollback_model::{ColumnId, MutationBuilder, RowBuilder, TableId};
///
/// let mut row = RowBuilder::new();
/// row.liveness(7).cell(ColumnId(2), 7, b"hello");
/// let mut builder = MutationBuilder::new(TableId(1), b"key");
/// let mutation = builder.row(&[4, 1], row.finish()).build();
/// assert_eq!(mutation.as_ref().rows().count(), 1);
/// ```
pub struct MutationBuilder {
    /// The header, then the entries as they came.
    out: Vec<u8>,
    entries_at: usize,
    /// Where the last entry begins; `entries_at == out.len()` if there is none.
    last_at: usize,
    sorted: bool,
}

impl MutationBuilder {
    /// An empty mutation of one partition.
    ///
    /// # Panics
    /// If the key is empty: no table accepts it, the statement's check refuses it earlier.
    pub fn new(table: TableId, partition_key: &[u8]) -> MutationBuilder {
        let mut builder = MutationBuilder {
            out: Vec::new(),
            entries_at: 0,
            last_at: 0,
            sorted: true,
        };
        builder.reset(table, partition_key);
        builder
    }

    /// Starts a new mutation; the memory is kept.
    ///
    /// # Panics
    /// If the key is empty.
    pub fn reset(&mut self, table: TableId, partition_key: &[u8]) -> &mut Self {
        assert!(!partition_key.is_empty(), "a partition key is not empty");
        self.out.clear();
        self.out.push(VERSION);
        varint::put_u64(&mut self.out, u64::from(table.0));
        varint::put_bytes(&mut self.out, partition_key);
        self.entries_at = self.out.len();
        self.last_at = self.out.len();
        self.sorted = true;
        self
    }

    /// Deletes the whole partition, static row included. A `LIVE` deletion changes nothing.
    pub fn delete_partition(&mut self, deletion: Deletion) -> &mut Self {
        if !deletion.is_live() {
            let at = self.begin(TAG_PARTITION);
            deletion.put(&mut self.out);
            self.end(at);
        }
        self
    }

    /// Writes the static row; `body` is a row as [`RowBuilder`](crate::RowBuilder) gives it.
    pub fn static_row(&mut self, body: &[u8]) -> &mut Self {
        let at = self.begin(TAG_STATIC);
        varint::put_bytes(&mut self.out, body);
        self.end(at);
        self
    }

    /// Writes a row; `body` is a row as [`RowBuilder`](crate::RowBuilder) gives it.
    ///
    /// # Panics
    /// If `clustering` is not a key as `Schema::encode_clustering` gives it (the first byte tells).
    #[inline]
    pub fn row(&mut self, clustering: &[u8], body: &[u8]) -> &mut Self {
        assert!(is_key(clustering), "a row stands at a clustering key, not at a bound");
        let at = self.begin(TAG_ROW);
        varint::put_bytes(&mut self.out, clustering);
        varint::put_bytes(&mut self.out, body);
        self.end(at);
        self
    }

    /// Deletes all rows from `start` to before `end`, both positions. An empty range and a `LIVE` deletion change nothing.
    ///
    /// # Panics
    /// If `start` or `end` is not a position (the first byte tells).
    pub fn delete_range(&mut self, start: &[u8], end: &[u8], deletion: Deletion) -> &mut Self {
        assert!(is_position(start) && is_position(end), "a range lies between positions");
        if start < end && !deletion.is_live() {
            let at = self.begin(TAG_RANGE);
            varint::put_bytes(&mut self.out, start);
            varint::put_bytes(&mut self.out, end);
            deletion.put(&mut self.out);
            self.end(at);
        }
        self
    }

    #[inline]
    fn begin(&mut self, tag: u8) -> usize {
        let at = self.out.len();
        self.out.push(tag);
        at
    }

    /// Notes whether the entry at `at` comes after the one before it.
    #[inline]
    fn end(&mut self, at: usize) {
        if at > self.entries_at && self.sorted {
            let last = Entry::take(&mut &self.out[self.last_at..]);
            let this = Entry::take(&mut &self.out[at..]);
            self.sorted = matches!((last, this), (Some(last), Some(this)) if last.place() < this.place());
        }
        self.last_at = at;
    }

    /// Whether nothing is written.
    pub fn is_empty(&self) -> bool {
        self.entries_at == self.out.len()
    }

    /// The mutation, in memory of its own; the builder can be added to, built again, or reset.
    #[inline]
    pub fn build(&mut self) -> Mutation {
        Mutation(Bytes::copy_from_slice(self.view().bytes()))
    }

    /// The mutation, borrowed from the builder: for a writer that copies it on at once.
    #[inline]
    pub fn view(&mut self) -> MutationRef<'_> {
        if !self.sorted {
            self.sort();
        }
        MutationRef::trusted(&self.out)
    }

    /// Sorts the entries and reconciles those of one place.
    #[cold]
    fn sort(&mut self) {
        let mut entries = Vec::new();
        let mut rest = &self.out[self.entries_at..];
        while !rest.is_empty() {
            entries.push(Entry::take(&mut rest).expect("the builder wrote the entry"));
        }
        entries.sort_by(|a, b| a.place().cmp(&b.place()));
        let mut sorted = MutationBuilder {
            out: self.out[..self.entries_at].to_vec(),
            entries_at: self.entries_at,
            last_at: self.entries_at,
            sorted: true,
        };
        let (mut row, mut merged) = (Vec::new(), Vec::new());
        for group in entries.chunk_by(|a, b| a.place() == b.place()) {
            let mut deletion = Deletion::LIVE;
            row.clear();
            for entry in group {
                match *entry {
                    Entry::Partition(by) | Entry::Range(_, _, by) => deletion = deletion.max(by),
                    Entry::Static(body) | Entry::Row(_, body) => {
                        merge_rows(RowRef::trusted(&row), RowRef::trusted(body), &mut merged);
                        std::mem::swap(&mut row, &mut merged);
                    }
                }
            }
            match group[0] {
                Entry::Partition(_) => sorted.delete_partition(deletion),
                Entry::Static(_) => sorted.static_row(&row),
                Entry::Row(clustering, _) => sorted.row(clustering, &row),
                Entry::Range(start, end, _) => sorted.delete_range(start, end, deletion),
            };
        }
        assert!(sorted.sorted, "sorted entries are in order");
        *self = sorted;
    }
}

impl std::fmt::Debug for MutationBuilder {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("MutationBuilder")
            .field("bytes", &self.out.len())
            .field("sorted", &self.sorted)
            .finish()
    }
}
