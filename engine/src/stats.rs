//! Figures of a store.

use crate::compactions::CompactionKind;
use crate::hot::Hottest;
use commitlog::Latency;
use std::collections::BTreeMap;
use std::path::PathBuf;

/// What one shard has done since the store was opened, and what it holds.
///
/// ```no_run
/// # async fn example(store: scrollback_engine::Store) -> scrollback_engine::Result<()> {
/// let shards = store.statistics().await?;
/// println!("{}", scrollback_engine::prometheus(&shards));
/// for shard in &shards {
///     println!("shard {}: {} writes, hottest {:?}", shard.shard, shard.writes, shard.hottest.writes.first());
/// }
/// # Ok(())
/// # }
/// ```
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
    /// Of these, hot pages: those of an identical read of the same second.
    pub reads_hot: u64,
    /// Reads and writes that were refused because memory, the log, a queue or the disk was full.
    pub overloaded: u64,
    /// Writes that waited because compaction, or the disk, does not keep up with the writers; those behind them in the queue left out.
    pub writes_slowed: u64,
    /// For how long, microseconds, all together.
    pub writes_slowed_us: u64,
    /// Bytes a second to which writers are slowed at this moment; 0: they are not.
    pub write_bytes_per_s_max: u64,
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
    /// Compactions that were done.
    pub compactions: u64,
    /// Compactions that failed.
    pub compaction_failures: u64,
    /// Bytes that compactions have read.
    pub compaction_read_bytes: u64,
    /// Bytes of the sstables that they have written.
    pub compaction_written_bytes: u64,
    /// Rows and deletions of which they have purged something.
    pub compaction_purged: u64,
    /// Bytes of the files that are to be compacted.
    pub compaction_backlog_bytes: u64,
    /// Bytes written by compactions that have ended, by kind.
    pub compaction_written_by_kind: BTreeMap<CompactionKind, u64>,
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
    /// Times of pages, from their arrival on the shard.
    pub read_us: Latency,
    /// Times of writes, from their arrival on the shard to their acknowledgement.
    pub write_us: Latency,
    /// The partitions that the shard works for most.
    pub hottest: Hottest,
    /// The log's own figures.
    pub log: commitlog::LogStats,
    /// The runtime's figures: device operations, passes of the reactor, the longest stall.
    pub runtime: runtime::ShardStats,
}

/// What opening found in one shard's log.
///
/// ```no_run
/// # async fn example(store: scrollback_engine::Store) -> scrollback_engine::Result<()> {
/// for of in store.recoveries() {
///     println!("{of:?}");
/// }
/// # Ok(())
/// # }
/// ```
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

/// What a figure is.
///
/// [`Figure`] has it as a field.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum FigureKind {
    /// It only grows.
    Counter,
    /// It is what it is now.
    Gauge,
    /// A time in microseconds that it is now.
    GaugeMicros,
}

/// One number of a shard.
///
/// [`ShardStatistics::figures`] gives all of them.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Figure {
    /// Its name, in small letters and underscores, with its unit.
    pub name: &'static str,
    /// What it is.
    pub kind: FigureKind,
    /// What it counts, in a sentence.
    pub help: &'static str,
    /// Its value.
    pub value: u64,
}

impl ShardStatistics {
    /// All numbers, in the order in which they are told.
    #[must_use]
    pub fn figures(&self) -> Vec<Figure> {
        use FigureKind::{Counter, Gauge, GaugeMicros};
        let of = |name, kind, help, value| Figure {
            name,
            kind,
            help,
            value,
        };
        let runtime = &self.runtime;
        vec![
            of("writes", Counter, "Mutations logged.", self.writes),
            of(
                "written_bytes",
                Counter,
                "Bytes of mutations logged.",
                self.written_bytes,
            ),
            of(
                "writers_waiting",
                Gauge,
                "Writers that wait for room, the log or the apply.",
                self.writers_waiting,
            ),
            of("reads", Counter, "Pages read.", self.reads),
            of(
                "reads_joined",
                Counter,
                "Pages of an identical read that was under way.",
                self.reads_joined,
            ),
            of(
                "reads_hot",
                Counter,
                "Pages of an identical read of the same second.",
                self.reads_hot,
            ),
            of(
                "overloaded",
                Counter,
                "Reads and writes refused because something was full.",
                self.overloaded,
            ),
            of(
                "writes_slowed",
                Counter,
                "Writes that waited because compaction or the disk does not keep up.",
                self.writes_slowed,
            ),
            of(
                "writes_slowed_us",
                Counter,
                "For how long, microseconds.",
                self.writes_slowed_us,
            ),
            of(
                "write_bytes_per_s_max",
                Gauge,
                "Bytes a second to which writers are slowed; 0: they are not.",
                self.write_bytes_per_s_max,
            ),
            of("tombstones", Counter, "Tombstones that pages met.", self.tombstones),
            of(
                "tombstone_warnings",
                Counter,
                "Pages that met many tombstones.",
                self.tombstone_warnings,
            ),
            of(
                "tombstone_failures",
                Counter,
                "Pages that failed, or were cut, by too many.",
                self.tombstone_failures,
            ),
            of("memtable_bytes", Gauge, "Memory of the memtables.", self.memtable_bytes),
            of("flushes", Counter, "Memtables flushed.", self.flushes),
            of(
                "flushed_bytes",
                Counter,
                "Bytes of the sstables that flushes wrote.",
                self.flushed_bytes,
            ),
            of(
                "flush_failures",
                Counter,
                "Flushes that failed and were tried again.",
                self.flush_failures,
            ),
            of("compactions", Counter, "Compactions done.", self.compactions),
            of(
                "compaction_failures",
                Counter,
                "Compactions that failed.",
                self.compaction_failures,
            ),
            of(
                "compaction_read_bytes",
                Counter,
                "Bytes that compactions have read.",
                self.compaction_read_bytes,
            ),
            of(
                "compaction_written_bytes",
                Counter,
                "Bytes of the sstables that compactions wrote.",
                self.compaction_written_bytes,
            ),
            of(
                "compaction_purged",
                Counter,
                "Rows and deletions of which compactions purged something.",
                self.compaction_purged,
            ),
            of(
                "compaction_backlog_bytes",
                Gauge,
                "Bytes of files that are to be compacted.",
                self.compaction_backlog_bytes,
            ),
            of("sstables", Gauge, "Sstables.", self.sstables),
            of("sstable_bytes", Gauge, "Their bytes.", self.sstable_bytes),
            of("rows_on_disk", Gauge, "Rows in them.", self.rows_on_disk),
            of(
                "cache_hits",
                Counter,
                "Blocks found in the block cache.",
                self.cache_hits,
            ),
            of("cache_misses", Counter, "Blocks not found there.", self.cache_misses),
            of("cache_bytes", Gauge, "Bytes in the block cache.", self.cache_bytes),
            of(
                "row_cache_hits",
                Counter,
                "Pages for which no sstable was asked.",
                self.row_cache_hits,
            ),
            of(
                "row_cache_misses",
                Counter,
                "Pages that had to ask sstables.",
                self.row_cache_misses,
            ),
            of(
                "row_cache_bytes",
                Gauge,
                "Bytes in the row cache.",
                self.row_cache_bytes,
            ),
            of(
                "row_cache_partitions",
                Gauge,
                "Partitions in the row cache.",
                self.row_cache_partitions,
            ),
            of(
                "row_cache_fills",
                Counter,
                "Pages whose rows went into it.",
                self.row_cache_fills,
            ),
            of(
                "row_cache_fills_stale",
                Counter,
                "Pages whose rows did not.",
                self.row_cache_fills_stale,
            ),
            of("log_bytes", Gauge, "Bytes of the log's segments.", self.log_bytes),
            of(
                "log_groups",
                Counter,
                "Groups of records written to the log.",
                self.log.groups,
            ),
            of(
                "log_written_bytes",
                Counter,
                "Bytes of these groups.",
                self.log.written_bytes,
            ),
            of(
                "device_reads",
                Counter,
                "Reads sent to the device.",
                runtime.device_reads,
            ),
            of(
                "device_read_bytes",
                Counter,
                "Bytes that they brought.",
                runtime.read_bytes,
            ),
            of(
                "device_writes",
                Counter,
                "Writes sent to the device.",
                runtime.device_writes,
            ),
            of(
                "device_written_bytes",
                Counter,
                "Bytes that they carried.",
                runtime.written_bytes,
            ),
            of("syncs", Counter, "Syncs of files and directories.", runtime.syncs),
            of(
                "request_cpu_us",
                Counter,
                "Microseconds of computing for requests.",
                runtime.request_ns / 1000,
            ),
            of(
                "background_cpu_us",
                Counter,
                "Microseconds of computing in the background.",
                runtime.background_ns / 1000,
            ),
            of(
                "stall_max",
                GaugeMicros,
                "The longest time that a task has kept the shard.",
                runtime.stall_max_us,
            ),
            of(
                "computed_max",
                GaugeMicros,
                "The longest time that a task has computed without giving the shard back.",
                runtime.computed_max_us,
            ),
        ]
    }
}

/// The figures in Prometheus' text format, version 0.0.4, with the shard as a label: figures, times as histograms, and the hottest
/// partitions. Times are in seconds.
///
/// [`read_statistics`](crate::read_statistics) reads what this writes.
#[must_use]
pub fn prometheus(shards: &[ShardStatistics]) -> String {
    let mut text = String::new();
    let figures: Vec<Vec<Figure>> = shards.iter().map(ShardStatistics::figures).collect();
    for (at, figure) in figures.first().into_iter().flatten().enumerate() {
        let (suffix, kind) = match figure.kind {
            FigureKind::Counter => ("_total", "counter"),
            FigureKind::Gauge => ("", "gauge"),
            FigureKind::GaugeMicros => ("_seconds", "gauge"),
        };
        let name = format!("scrollback_{}{suffix}", figure.name);
        head(&mut text, &name, figure.help, kind);
        for (shard, figures) in shards.iter().zip(&figures) {
            let value = figures[at].value;
            let value = match figure.kind {
                FigureKind::GaugeMicros => seconds(value),
                FigureKind::Counter | FigureKind::Gauge => value.to_string(),
            };
            line(&mut text, &name, &format!("shard=\"{}\"", shard.shard), &value);
        }
    }
    histogram(
        &mut text,
        "scrollback_read_seconds",
        "Pages, from their arrival on the shard.",
        shards,
        |of| &of.read_us,
    );
    let help = "Writes, from their arrival on the shard to their acknowledgement.";
    histogram(&mut text, "scrollback_write_seconds", help, shards, |of| &of.write_us);
    let help = "Writes of the log's groups, to the device and back.";
    histogram(&mut text, "scrollback_log_write_seconds", help, shards, |of| {
        &of.log.odsync_us
    });
    let name = "scrollback_hot_partition";
    head(
        &mut text,
        name,
        "What the hottest partitions took of late, estimated from a sample.",
        "gauge",
    );
    for of in shards {
        let lists = [
            ("reads", &of.hottest.reads),
            ("writes", &of.hottest.writes),
            ("bytes", &of.hottest.bytes),
        ];
        for (by, list) in lists {
            for hot in list {
                let labels = format!(
                    "shard=\"{}\",by=\"{by}\",table=\"{}\",key=\"0x{}\"",
                    of.shard,
                    escaped(&hot.table),
                    crate::error::Hex(&hot.key)
                );
                line(&mut text, name, &labels, &hot.amount.to_string());
            }
        }
    }
    text
}

fn head(text: &mut String, name: &str, help: &str, kind: &str) {
    text.extend(["# HELP ", name, " ", help, "\n# TYPE ", name, " ", kind, "\n"]);
}

fn line(text: &mut String, name: &str, labels: &str, value: &str) {
    text.extend([name, "{", labels, "} ", value, "\n"]);
}

fn histogram(
    text: &mut String,
    name: &str,
    help: &str,
    shards: &[ShardStatistics],
    of: fn(&ShardStatistics) -> &Latency,
) {
    head(text, name, help, "histogram");
    for shard in shards {
        let latency = of(shard);
        let mut below = 0;
        let bucket = format!("{name}_bucket");
        let last = latency.buckets.len() - 1;
        for (at, count) in latency.buckets.iter().enumerate() {
            below += count;
            // The last one takes all that are longer.
            let bound = if at == last {
                "+Inf".to_owned()
            } else {
                seconds(1 << at)
            };
            line(
                text,
                &bucket,
                &format!("shard=\"{}\",le=\"{bound}\"", shard.shard),
                &below.to_string(),
            );
        }
        let labels = format!("shard=\"{}\"", shard.shard);
        line(text, &format!("{name}_sum"), &labels, &seconds(latency.total_us));
        line(text, &format!("{name}_count"), &labels, &latency.count.to_string());
    }
}

/// Microseconds as seconds.
fn seconds(us: u64) -> String {
    format!("{}.{:06}", us / 1_000_000, us % 1_000_000)
}

/// A label's value.
fn escaped(value: &str) -> String {
    value.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n")
}
