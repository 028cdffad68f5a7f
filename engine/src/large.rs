//! Partitions that were found large, or full of tombstones, when they were written to a table file: by a flush, a compaction, or the
//! division of a file.
//!
//! What is counted is what goes into the files of one flush or compaction, so that a partition which lies in several files is larger
//! than any of its records. The shard remembers the [`REMEMBERED`] heaviest since it was opened.

use crate::json::Object;
use crate::shard::Shard;
use crate::table::Definition;
use model::{Fragment, TableId, Token};

/// Partitions that a shard remembers.
const REMEMBERED: usize = 100;
/// Of a longer key so much is kept, bytes.
const KEY_BYTES_MAX: usize = 1024;

/// A partition that was found large, or full of tombstones.
///
/// [`ShardCompactions`](crate::ShardCompactions) has them.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct LargePartition {
    /// Keyspace and name of its table.
    pub table: String,
    /// Its key's bytes, the first 1,024 at most.
    pub key: Vec<u8>,
    /// Bytes of its rows, before compression.
    pub bytes: u64,
    /// Its rows, those that are deleted included.
    pub rows: u64,
    /// Tombstones of rows, ends of range tombstones, and its own. Those of single cells are not counted.
    pub tombstones: u64,
    /// When it was written last, seconds since the Unix epoch.
    pub written_s: u32,
}

impl LargePartition {
    pub(crate) fn to_json(&self) -> String {
        Object::new()
            .text("table", &self.table)
            .bytes("key", &self.key)
            .number("bytes", self.bytes)
            .number("rows", self.rows)
            .number("tombstones", self.tombstones)
            .number("written_s", self.written_s)
            .end()
    }
}

impl Shard {
    /// From when on a partition is remembered.
    pub(crate) fn large_limits(&self) -> Limits {
        Limits {
            bytes: self.config.large_partition_bytes,
            tombstones: u64::from(self.config.large_partition_tombstones),
        }
    }

    /// Remembers a partition that was written, and tells it once.
    pub(crate) fn note_large(&self, table: TableId, definition: &Definition, counted: Counted) {
        let name = definition.schema.qualified_name();
        let limits = self.large_limits();
        let mut partitions = self.large_partitions.borrow_mut();
        let key = key_text(&counted.key);
        let (bytes, rows, tombstones) = (counted.bytes, counted.rows, counted.tombstones);
        if partitions.remember(table, name.clone(), counted, limits) {
            tracing::warn!(
                shard = self.id().0,
                table = name,
                key,
                bytes,
                rows,
                tombstones,
                "a large partition was written"
            );
        }
    }
}

/// A key for the log, its first 128 bytes at most.
fn key_text(key: &[u8]) -> String {
    let digits = key.iter().take(128).map(|byte| format!("{byte:02x}"));
    std::iter::once("0x".to_owned()).chain(digits).collect()
}

/// From when on a partition is remembered.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Limits {
    pub bytes: u64,
    pub tombstones: u64,
}

impl Limits {
    /// How far above a limit a partition is: a part of it, 1 for just as much.
    fn weight(self, bytes: u64, tombstones: u64) -> f64 {
        let part = |amount: u64, limit: u64| amount as f64 / limit.max(1) as f64;
        part(bytes, self.bytes).max(part(tombstones, self.tombstones))
    }

    fn are_passed(self, of: &Counted) -> bool {
        of.bytes >= self.bytes || of.tombstones > self.tombstones
    }
}

/// What a partition that is being written has so far.
#[derive(Default)]
pub(crate) struct Counted {
    token: Option<Token>,
    key: Vec<u8>,
    bytes: u64,
    rows: u64,
    tombstones: u64,
}

impl Counted {
    /// Counts a fragment. Where one begins another partition, the partition before it is given, if it passed a limit.
    #[inline]
    pub fn count(&mut self, fragment: &Fragment<'_>, limits: Limits) -> Option<Counted> {
        match fragment {
            Fragment::Row { clustering, row } => {
                self.rows += 1;
                self.bytes += (clustering.len() + row.bytes().len()) as u64;
                self.tombstones += u64::from(row.is_row_tombstone());
            }
            Fragment::RangeChange { position, deletion } => {
                self.bytes += position.len() as u64;
                self.tombstones += u64::from(!deletion.is_live());
            }
            Fragment::StaticRow(row) => self.bytes += row.bytes().len() as u64,
            // Of several targets each has the partition.
            Fragment::PartitionStart { token, key, .. } if self.token == Some(*token) && self.key == *key => {}
            Fragment::PartitionStart { token, key, deletion } => {
                let before = self.end(limits);
                self.token = Some(*token);
                self.key.clear();
                self.key.extend_from_slice(key);
                self.tombstones = u64::from(!deletion.is_live());
                return before;
            }
            Fragment::PartitionEnd => {}
        }
        None
    }

    /// The last partition, if it passed a limit; nothing is counted then.
    pub fn end(&mut self, limits: Limits) -> Option<Counted> {
        let passed = self.token.is_some() && limits.are_passed(self);
        if passed {
            return Some(std::mem::take(self));
        }
        (self.token, self.bytes, self.rows, self.tombstones) = (None, 0, 0, 0);
        None
    }
}

/// The heaviest partitions of a shard.
#[derive(Default)]
pub(crate) struct LargePartitions {
    /// The heaviest first.
    list: Vec<(TableId, LargePartition)>,
}

impl LargePartitions {
    /// Remembers a partition; returns whether it was not known before.
    pub fn remember(&mut self, table: TableId, name: String, counted: Counted, limits: Limits) -> bool {
        let mut key = counted.key;
        key.truncate(KEY_BYTES_MAX);
        let known = self
            .list
            .iter()
            .position(|(of, large)| *of == table && large.key == key);
        if let Some(at) = known {
            self.list.remove(at);
        }
        let large = LargePartition {
            table: name,
            key,
            bytes: counted.bytes,
            rows: counted.rows,
            tombstones: counted.tombstones,
            written_s: runtime::time::unix_seconds(),
        };
        let weight = |of: &LargePartition| limits.weight(of.bytes, of.tombstones);
        let at = self.list.partition_point(|(_, other)| weight(other) >= weight(&large));
        self.list.insert(at, (table, large));
        self.list.truncate(REMEMBERED);
        known.is_none()
    }

    /// Forgets those of a table.
    pub fn forget(&mut self, table: TableId) {
        self.list.retain(|(of, _)| *of != table);
    }

    /// The heaviest first.
    pub fn list(&self) -> Vec<LargePartition> {
        self.list.iter().map(|(_, large)| large.clone()).collect()
    }
}
