//! What is told of compactions: those that run, and those that have ended.

use crate::json::Object;
use crate::large::LargePartition;
use compaction::JobKind;
use std::cell::Cell;
use std::fmt;

/// Why files were compacted.
///
/// [`CompactionRecord`] has it as a field.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
#[non_exhaustive]
pub enum CompactionKind {
    /// Files of one size became one.
    Tier,
    /// Files of a past time window became one.
    Window,
    /// The files of a closed epoch became one run.
    Settle,
    /// Late data went into their epoch.
    Late,
    /// Late files were taken apart by epoch.
    Split,
    /// All files of a table, a window or an epoch became one run, as somebody had asked.
    Major,
    /// A file was rewritten for its tombstones.
    Tombstones,
    /// Everything in the files was dead; they were not read.
    Expired,
    /// Everything in the files was deleted with its partition; they were not read.
    Deleted,
    /// A file that several shards shared was divided among them.
    Divide,
}

impl From<JobKind> for CompactionKind {
    fn from(kind: JobKind) -> CompactionKind {
        match kind {
            JobKind::Tier => CompactionKind::Tier,
            JobKind::Window => CompactionKind::Window,
            JobKind::Settle(_) => CompactionKind::Settle,
            JobKind::Late(_) => CompactionKind::Late,
            JobKind::Split => CompactionKind::Split,
            JobKind::Major => CompactionKind::Major,
            JobKind::Tombstones => CompactionKind::Tombstones,
            JobKind::Expired => CompactionKind::Expired,
            JobKind::Deleted => CompactionKind::Deleted,
        }
    }
}

impl fmt::Display for CompactionKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            CompactionKind::Tier => "tier",
            CompactionKind::Window => "window",
            CompactionKind::Settle => "settle",
            CompactionKind::Late => "late",
            CompactionKind::Split => "split",
            CompactionKind::Major => "major",
            CompactionKind::Tombstones => "tombstones",
            CompactionKind::Expired => "expired",
            CompactionKind::Deleted => "deleted",
            CompactionKind::Divide => "divide",
        })
    }
}

/// A compaction that has ended, or how far one is that runs.
///
/// [`Shard::compactions`](crate::Shard::compactions) gives them.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct CompactionRecord {
    /// Keyspace and name of the table.
    pub table: String,
    /// Why.
    pub kind: CompactionKind,
    /// When it began, seconds since the Unix epoch.
    pub began_s: u32,
    /// How long it has taken, microseconds.
    pub micros: u64,
    /// Files that it replaced or replaces.
    pub files_in: u32,
    /// Their bytes, as far as they were in force.
    pub bytes_in: u64,
    /// Bytes read so far.
    pub read_bytes: u64,
    /// Bytes written so far.
    pub written_bytes: u64,
    /// Rows and deletions of which something was purged, once it has ended.
    pub purged: u64,
}

impl CompactionRecord {
    pub(crate) fn to_json(&self) -> String {
        Object::new()
            .text("table", &self.table)
            .text("kind", &self.kind.to_string())
            .number("began_s", self.began_s)
            .number("micros", self.micros)
            .number("files_in", self.files_in)
            .number("bytes_in", self.bytes_in)
            .number("read_bytes", self.read_bytes)
            .number("written_bytes", self.written_bytes)
            .number("purged", self.purged)
            .end()
    }
}

/// What a shard compacts, what waits, and what it has done since the store was opened.
///
/// ```no_run
/// # async fn example(store: scrollback_engine::Store) -> scrollback_engine::Result<()> {
/// for shard in store.compactions().await? {
///     if let Some(running) = &shard.running {
///         println!("shard {}: {} of {} bytes read", shard.shard, running.read_bytes, running.bytes_in);
///     }
///     println!("shard {}: {} jobs of {} bytes wait", shard.shard, shard.waiting_jobs, shard.waiting_bytes);
/// }
/// # Ok(())
/// # }
/// ```
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ShardCompactions {
    /// The shard.
    pub shard: u16,
    /// The compaction that runs, if one does.
    pub running: Option<CompactionRecord>,
    /// The last hundred that have ended, oldest first.
    pub history: Vec<CompactionRecord>,
    /// Tables of which all is to be compacted, because somebody asked for it: the one that is under way first.
    pub asked: Vec<String>,
    /// Jobs that the strategies want done, the one that runs left out; sixteen at most are counted.
    pub waiting_jobs: u64,
    /// Bytes of their files.
    pub waiting_bytes: u64,
    /// The largest partitions that were written since the store was opened, and those with most tombstones: the heaviest first, a hundred
    /// at most. See [`Config::large_partition_bytes`](crate::Config::large_partition_bytes).
    pub large_partitions: Vec<LargePartition>,
}

impl ShardCompactions {
    /// As one line of JSON: what the socket of a running store tells.
    #[must_use]
    pub fn to_json(&self) -> String {
        let running = self
            .running
            .as_ref()
            .map_or("null".to_owned(), CompactionRecord::to_json);
        let asked = self.asked.iter().map(|table| format!("\"{table}\""));
        Object::new()
            .number("shard", self.shard)
            .raw("running", &running)
            .list("asked", asked)
            .number("waiting_jobs", self.waiting_jobs)
            .number("waiting_bytes", self.waiting_bytes)
            .list("history", self.history.iter().map(CompactionRecord::to_json))
            .list(
                "large_partitions",
                self.large_partitions.iter().map(LargePartition::to_json),
            )
            .end()
    }
}

/// A compaction that runs.
pub(crate) struct RunningCompaction {
    table: String,
    pub kind: CompactionKind,
    began_s: u32,
    began: runtime::time::Instant,
    files_in: u32,
    bytes_in: u64,
    pub read_bytes: Cell<u64>,
    pub written_bytes: Cell<u64>,
    pub purged: Cell<u64>,
}

impl RunningCompaction {
    /// One that begins now.
    pub fn new(table: String, kind: CompactionKind, files_in: usize, bytes_in: u64) -> RunningCompaction {
        RunningCompaction {
            table,
            kind,
            began_s: runtime::time::unix_seconds(),
            began: runtime::time::Instant::now(),
            files_in: u32::try_from(files_in).unwrap_or(u32::MAX),
            bytes_in,
            read_bytes: Cell::new(0),
            written_bytes: Cell::new(0),
            purged: Cell::new(0),
        }
    }

    /// What it has yet to read, bytes.
    pub fn left_bytes(&self) -> u64 {
        self.bytes_in.saturating_sub(self.read_bytes.get())
    }

    /// How far it is.
    pub fn record(&self) -> CompactionRecord {
        CompactionRecord {
            table: self.table.clone(),
            kind: self.kind,
            began_s: self.began_s,
            micros: u64::try_from(self.began.elapsed().as_micros()).unwrap_or(u64::MAX),
            files_in: self.files_in,
            bytes_in: self.bytes_in,
            read_bytes: self.read_bytes.get(),
            written_bytes: self.written_bytes.get(),
            purged: self.purged.get(),
        }
    }
}
