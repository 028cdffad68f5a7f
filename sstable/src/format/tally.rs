//! What is counted while a file is written, per block and over all: one pass over each row.
//!
//! A block's tally becomes its index entry; the tallies of a group of blocks, absorbed in order, become the entry of their
//! index frame; all of them the file's statistics. `verify` counts again with the same code.

use model::{CellKind, Deletion, KeyDigest, KeySeed, RowRef};

use super::statistics::DropTimes;

/// Counts and bounds of one block, of a group of them, or of a file.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Tally {
    pub(crate) partitions: u64,
    pub(crate) rows: u64,
    pub(crate) dead_rows: u64,
    /// Of the keys of those, and of the keys of all other rows.
    pub(crate) dead_digest: KeyDigest,
    pub(crate) alive_digest: KeyDigest,
    pub(crate) static_rows: u64,
    pub(crate) cells: u64,
    pub(crate) expiring_cells: u64,
    pub(crate) cell_tombstones: u64,
    pub(crate) row_tombstones: u64,
    pub(crate) range_tombstones: u64,
    pub(crate) partition_tombstones: u64,
    pub(crate) min_timestamp: i64,
    pub(crate) max_timestamp: i64,
    pub(crate) min_local_deletion_time: u32,
    pub(crate) max_local_deletion_time: u32,
    /// The largest of each among deletions; `i64::MIN` if there is none.
    pub(crate) deletion_timestamp: i64,
    pub(crate) deletion_local_time: u32,
    pub(crate) range_changes: bool,
    /// Partitions of which something lies in the block.
    pub(crate) parts: u64,
    pub(crate) rows_first: u64,
    pub(crate) rows_last: u64,
}

impl Tally {
    /// `continues`: the block begins in the middle of a partition.
    pub(crate) fn new(continues: bool) -> Self {
        Tally {
            partitions: 0,
            rows: 0,
            dead_rows: 0,
            dead_digest: KeyDigest::EMPTY,
            alive_digest: KeyDigest::EMPTY,
            static_rows: 0,
            cells: 0,
            expiring_cells: 0,
            cell_tombstones: 0,
            row_tombstones: 0,
            range_tombstones: 0,
            partition_tombstones: 0,
            min_timestamp: i64::MAX,
            max_timestamp: i64::MIN,
            min_local_deletion_time: u32::MAX,
            max_local_deletion_time: 0,
            deletion_timestamp: i64::MIN,
            deletion_local_time: 0,
            range_changes: false,
            parts: u64::from(continues),
            rows_first: 0,
            rows_last: 0,
        }
    }

    /// Row, cell, collection, range and partition tombstones.
    pub(crate) fn tombstones(&self) -> u64 {
        self.cell_tombstones + self.row_tombstones + self.range_tombstones + self.partition_tombstones
    }

    #[inline]
    fn timestamp(&mut self, timestamp: i64) {
        self.min_timestamp = self.min_timestamp.min(timestamp);
        self.max_timestamp = self.max_timestamp.max(timestamp);
    }

    #[inline]
    fn local_time(&mut self, seconds: u32) {
        self.min_local_deletion_time = self.min_local_deletion_time.min(seconds);
        self.max_local_deletion_time = self.max_local_deletion_time.max(seconds);
    }

    fn deletion(&mut self, deletion: Deletion, drops: &mut DropTimes) {
        self.timestamp(deletion.timestamp);
        self.local_time(deletion.local_deletion_time);
        drops.add(deletion.local_deletion_time, 1);
        self.deletion_timestamp = self.deletion_timestamp.max(deletion.timestamp);
        self.deletion_local_time = self.deletion_local_time.max(deletion.local_deletion_time);
    }

    pub(crate) fn partition_start(&mut self, deletion: Deletion, drops: &mut DropTimes) {
        self.partitions += 1;
        self.parts += 1;
        self.rows_last = 0;
        if !deletion.is_live() {
            self.partition_tombstones += 1;
            self.deletion(deletion, drops);
        }
    }

    pub(crate) fn static_row(&mut self, row: RowRef<'_>, drops: &mut DropTimes) {
        self.static_rows += 1;
        self.row_body(row, drops);
    }

    /// Counts a row; true if it is a row tombstone and nothing else.
    #[inline]
    pub(crate) fn row(&mut self, clustering: &[u8], row: RowRef<'_>, seed: KeySeed, drops: &mut DropTimes) -> bool {
        self.rows += 1;
        self.rows_last += 1;
        if self.parts <= 1 {
            self.rows_first += 1;
        }
        let dead = self.row_body(row, drops);
        self.dead_rows += u64::from(dead);
        let digest = if dead {
            &mut self.dead_digest
        } else {
            &mut self.alive_digest
        };
        digest.add(seed.digest(clustering));
        dead
    }

    #[inline]
    fn row_body(&mut self, row: RowRef<'_>, drops: &mut DropTimes) -> bool {
        let mut dead = true;
        if let Some(liveness) = row.liveness() {
            dead = false;
            self.timestamp(liveness.timestamp);
            self.local_time(liveness.expires_at);
            if liveness.ttl != 0 {
                drops.add(liveness.expires_at, 1);
            }
        }
        let deletion = row.deletion();
        if deletion.is_live() {
            dead = false;
        } else {
            self.row_tombstones += 1;
            self.deletion(deletion, drops);
        }
        for cell in row.cells() {
            dead = false;
            self.timestamp(cell.timestamp);
            let local_deletion_time = match cell.kind {
                CellKind::Live(_) => {
                    self.cells += 1;
                    self.local_time(u32::MAX);
                    continue;
                }
                CellKind::Expiring { expires_at, .. } => {
                    self.cells += 1;
                    self.expiring_cells += 1;
                    self.local_time(expires_at);
                    drops.add(expires_at, 1);
                    continue;
                }
                CellKind::Tombstone { local_deletion_time } => {
                    self.cells += 1;
                    local_deletion_time
                }
                CellKind::ComplexDeletion(deletion) => deletion.local_deletion_time,
            };
            self.cell_tombstones += 1;
            self.deletion(
                Deletion {
                    timestamp: cell.timestamp,
                    local_deletion_time,
                },
                drops,
            );
        }
        dead
    }

    pub(crate) fn range_change(&mut self, after: Deletion, drops: &mut DropTimes) {
        self.range_changes = true;
        if !after.is_live() {
            self.range_tombstones += 1;
            self.deletion(after, drops);
        }
    }

    /// Adds the block that follows. `continues`: that block begins in the middle of a partition.
    pub(crate) fn absorb(&mut self, next: &Tally, continues: bool) {
        if self.parts == 0 {
            self.parts = next.parts;
            self.rows_first = next.rows_first;
            self.rows_last = next.rows_last;
        } else if continues {
            if self.parts == 1 {
                self.rows_first += next.rows_first;
            }
            self.rows_last = if next.parts == 1 {
                self.rows_last + next.rows_last
            } else {
                next.rows_last
            };
            self.parts += next.parts - 1;
        } else {
            self.rows_last = next.rows_last;
            self.parts += next.parts;
        }
        self.partitions += next.partitions;
        self.rows += next.rows;
        self.dead_rows += next.dead_rows;
        self.dead_digest.add(next.dead_digest);
        self.alive_digest.add(next.alive_digest);
        self.static_rows += next.static_rows;
        self.cells += next.cells;
        self.expiring_cells += next.expiring_cells;
        self.cell_tombstones += next.cell_tombstones;
        self.row_tombstones += next.row_tombstones;
        self.range_tombstones += next.range_tombstones;
        self.partition_tombstones += next.partition_tombstones;
        self.min_timestamp = self.min_timestamp.min(next.min_timestamp);
        self.max_timestamp = self.max_timestamp.max(next.max_timestamp);
        self.min_local_deletion_time = self.min_local_deletion_time.min(next.min_local_deletion_time);
        self.max_local_deletion_time = self.max_local_deletion_time.max(next.max_local_deletion_time);
        self.deletion_timestamp = self.deletion_timestamp.max(next.deletion_timestamp);
        self.deletion_local_time = self.deletion_local_time.max(next.deletion_local_time);
        self.range_changes |= next.range_changes;
    }
}
