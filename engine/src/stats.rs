//! Figures of a store.

use std::path::PathBuf;

/// What one shard has done since the store was opened, and what it holds.
#[derive(Clone, Debug)]
pub struct ShardStatistics {
    /// The shard.
    pub shard: u16,
    /// Mutations logged.
    pub writes: u64,
    /// Their bytes.
    pub written_bytes: u64,
    /// Pages read.
    pub reads: u64,
    /// Of these, pages of an identical read that was under way.
    pub reads_joined: u64,
    /// Reads and writes that were refused because memory, the log, a queue or the disk was full.
    pub overloaded: u64,
    /// Tombstones that they met ([`Cost::tombstones`](crate::Cost::tombstones)).
    pub tombstones: u64,
    /// Pages with more than `tombstone_warn_threshold` of them.
    pub tombstone_warnings: u64,
    /// Pages that failed, or were cut, by more than `tombstone_failure_threshold` of them.
    pub tombstone_failures: u64,
    /// Memtables flushed.
    pub flushes: u64,
    /// Bytes of the sstables written by flushes.
    pub flushed_bytes: u64,
    /// Flushes that failed and were tried again.
    pub flush_failures: u64,
    /// Memory of the memtables, bytes.
    pub memtable_bytes: u64,
    /// Sstables.
    pub sstables: u64,
    /// Their bytes.
    pub sstable_bytes: u64,
    /// Rows in them; a row that stands in several files counts several times.
    pub rows_on_disk: u64,
    /// Writers that wait at this moment: for room, for the log, for the apply.
    pub writers_waiting: u64,
    /// Blocks found in the block cache.
    pub cache_hits: u64,
    /// Blocks not found there.
    pub cache_misses: u64,
    /// Bytes in the block cache.
    pub cache_bytes: u64,
    /// Pages of partitions that sstables may have, given without asking one: the row cache knew all.
    pub row_cache_hits: u64,
    /// Pages that had to ask sstables.
    pub row_cache_misses: u64,
    /// Bytes in the row cache.
    pub row_cache_bytes: u64,
    /// Partitions of which it has rows.
    pub row_cache_partitions: u64,
    /// Pages whose rows went into it.
    pub row_cache_fills: u64,
    /// Pages whose rows did not, because the partition was flushed meanwhile.
    pub row_cache_fills_stale: u64,
    /// Bytes of the log's segments.
    pub log_bytes: u64,
    /// The log's own figures.
    pub log: commitlog::LogStats,
    /// The runtime's figures: device operations, passes of the reactor, the longest stall.
    pub runtime: runtime::ShardStats,
}

/// What opening found in one shard's log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Recovery {
    /// The shard.
    pub shard: u16,
    /// Records replayed, those already in sstables included.
    pub records: u64,
    /// Their bytes.
    pub bytes: u64,
    /// A group that a crash cut off, never acknowledged: file and offset.
    pub torn: Option<(PathBuf, u64)>,
    /// Time it took, flush included, microseconds.
    pub micros: u64,
}
