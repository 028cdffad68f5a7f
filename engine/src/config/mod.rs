//! How a store is opened.

mod file;
mod setting;
mod size;

pub use size::Size;

pub use commitlog::SyncMode;
use commitlog::{SEGMENT_BYTES_MAX, SEGMENT_BYTES_MIN, SEGMENT_BYTES_STEP, SEGMENTS_MAX, SEGMENTS_MIN};
pub use runtime::BodyKind as Body;
use setting::{Said, Setting};
use std::path::PathBuf;
use std::time::Duration;

/// No store has more shards.
pub(crate) const SHARDS_MAX: u16 = 64;
/// No mutation is larger, whatever the log takes.
const MUTATION_BYTES_MAX: usize = 16 << 20;

/// Declares the settings once: fields with their defaults, the methods that set them, and what a configuration file calls them.
macro_rules! settings {
    ($($(#[doc = $doc:literal])+ $name:ident: $kind:ty = $default:expr,)+) => {
        /// Settings of a store. Sizes are in bytes.
        ///
        /// Made in code, field by field or by the methods of the same names, or read from a [file](Config::from_toml):
        ///
        /// ```
        /// use scrollback_engine::Config;
        ///
        /// let config = Config::new("./store").shards(Some(2)).memtable_bytes(32 << 20);
        /// let same = Config::from_toml("dir = './store'\nshards = 2\nmemtable_bytes = '32MiB'")?;
        /// assert_eq!(config, same);
        /// # Ok::<(), scrollback_engine::Error>(())
        /// ```
        #[derive(Clone, PartialEq, Eq, Debug)]
        pub struct Config {
            /// The store's directory; created if it does not exist.
            pub dir: PathBuf,
            $($(#[doc = $doc])+ pub $name: $kind,)+
        }

        impl Config {
            /// The defaults, for the store in `dir`.
            #[must_use]
            pub fn new(dir: impl Into<PathBuf>) -> Config {
                Config { dir: dir.into(), $($name: $default,)+ }
            }

            $($(#[doc = $doc])+ #[must_use] pub fn $name(mut self, $name: $kind) -> Config {
                self.$name = $name;
                self
            })+
        }

        /// What a configuration file calls the settings, `dir` excepted, in their order.
        const NAMES: &[&str] = &[$(stringify!($name)),+];

        /// What is said about each, line by line.
        #[cfg(test)]
        const DOCS: &[&[&str]] = &[$(&[$($doc),+]),+];

        /// Sets what a file calls `name` to what it says; `None`: there is no such setting.
        fn set(config: &mut Config, name: &str, said: &Said<'_>) -> Option<Result<(), String>> {
            match name {
                $(stringify!($name) => Some(Setting::read(said).map(|value| config.$name = value)),)+
                _ => None,
            }
        }

        /// The settings as a file says them, in their order; `None`: only by leaving them out.
        #[cfg(test)]
        fn said(config: &Config) -> Vec<Option<String>> {
            vec![$(config.$name.say()),+]
        }
    };
}

settings! {
    /// Number of shards, 1 to 64; left out: as many as the store has, and for a new one as many as there are CPU cores that the
    /// process may use. With another number than before, opening replays and flushes the logs of all shards, and the shards
    /// share the older table files.
    shards: Option<usize> = None,
    /// Whether each shard's thread is pinned to a core of its own. Default: true.
    pin: bool = true,
    /// What the shards run on, "uring" or "threads"; left out: io_uring, or plain threads where io_uring or direct I/O is not to be
    /// had. The log says so then. Plain threads make the same promises, and take more CPU to read from disk.
    body: Option<Body> = None,
    /// Memory of a shard's memtables before one is flushed. Default 64 MiB, minimum 64 KiB. Twice as much is the most that
    /// unflushed rows may take: then writers wait.
    memtable_bytes: usize = 64 << 20,
    /// Memory of a shard's cache of decompressed sstable blocks. Default 64 MiB.
    block_cache_bytes: usize = 64 << 20,
    /// Memory of a shard's cache of merged rows: the newest of its active partitions, which a flush keeps there. Default 64 MiB;
    /// 0: none. One partition takes an eighth of it at most, and never more than 256 KiB.
    row_cache_bytes: usize = 64 << 20,
    /// Memory of a shard's hot pages: those that are asked for more than once within a second are given to whoever asks for the
    /// same before it is over, until their partition is written to; 256 of them at most. Default 1 MiB; 0: none.
    hot_page_bytes: usize = 1 << 20,
    /// When a write is acknowledged: after its group's synchronous write, "group", the default; or at once, with a sync at least
    /// every so often, "periodic 10ms": a crash may take back that much.
    sync: SyncMode = SyncMode::Group,
    /// Length of a log segment: a multiple of 4096, from 16 KiB to 1 GiB. Default 32 MiB.
    log_segment_bytes: u32 = 32 << 20,
    /// What a shard's log takes on disk at most: 4 to 60,000 segments. Tables are flushed when three quarters of it are in use.
    /// Default 512 MiB.
    log_bytes_max: u64 = 512 << 20,
    /// Largest mutation: from 1 KiB to half a log segment less 64 bytes, and to 16 MiB. Left out: as large as a segment of the
    /// log takes, 16 MiB less 64 bytes with the default one.
    mutation_bytes_max: Option<usize> = None,
    /// A page that meets more tombstones than this is warned about, in tables that have no threshold of their own. Default
    /// 1,000. What is counted: [`Cost::tombstones`](crate::Cost::tombstones).
    tombstone_warn_threshold: u32 = 1000,
    /// A page that meets more tombstones than this ends ([`PastTombstones`](crate::PastTombstones)), in tables that have no
    /// threshold of their own. Default 100,000, minimum 1.
    tombstone_failure_threshold: u32 = 100_000,
    /// Space of the store's file system that is kept back: with less of it free, writes are refused as overloaded, until there is
    /// more, and with less than twice as much they are slowed. Left out: a twentieth of the file system, 1 GiB at most. 0: none.
    free_bytes_min: Option<u64> = None,
    /// Whether a running store tells its figures on the Unix socket `statistics.sock` in its directory, which `scrollback top` and
    /// `scrollback stats` ask, and takes what `scrollback compact` and `scrollback flush` want of it. Default: true.
    statistics_socket: bool = true,
    /// How long a writer waits for room, and a reader for its turn, before it is refused as overloaded. Default 10 s.
    admission_timeout: Duration = Duration::from_secs(10),
    /// Bytes of rows in an sstable's data block before compression, 256 bytes to 1 MiB. Default 16 KiB.
    block_bytes: usize = 16 << 10,
    /// Whether table files are compacted in the background, as each table's `compaction` option says. Default: true.
    compaction: bool = true,
    /// A table file ends with the partition with which it reaches this size, 4 KiB to 1 TiB, so that a later compaction gives its
    /// space back bit by bit; of a large compaction with the one with which it has a sixteenth of the whole. Default 16 MiB.
    fragment_bytes: u64 = 16 << 20,
    /// What may wait to be compacted, bytes of each shard: above it writers are slowed to what compaction gets done. Default 16 GiB,
    /// minimum 1 MiB.
    compaction_backlog_bytes: u64 = 16 << 30,
    /// A partition of which a flush or a compaction writes so much, before compression, is told in the log and remembered:
    /// `scrollback compaction-stats` shows it. Default 100 MiB, minimum 1.
    large_partition_bytes: u64 = 100 << 20,
    /// The same of a partition with more tombstones than this, of rows, ranges and its own. Default 100,000.
    large_partition_tombstones: u32 = 100_000,
    /// Whether a table may ask for `unsafe_aggressive_sstable_expiration`, with which what was deleted or overwritten can come back.
    /// Default: false.
    allow_unsafe_aggressive_sstable_expiration: bool = false,
    /// Memory of a shard that the kernel reads into and writes from, 256 KiB to 16 MiB; less where the limit of locked memory
    /// allows less. Default 16 MiB. Plain threads do without.
    io_memory_bytes: usize = 16 << 20,
}

impl Config {
    /// The largest mutation that a store of this configuration takes, bytes.
    #[must_use]
    pub fn largest_mutation(&self) -> usize {
        let in_log = commitlog::record_bytes_max(self.log_segment_bytes).min(MUTATION_BYTES_MAX);
        self.mutation_bytes_max.unwrap_or(in_log)
    }

    /// Checks the settings against their bounds and against one another.
    ///
    /// # Errors
    /// One sentence naming the first setting that is out of bounds, and its bounds.
    pub fn validate(&self) -> Result<(), String> {
        let bound = |name: &str, value: u64, min: u64, max: u64| {
            let fits = (min..=max).contains(&value);
            fits.then_some(())
                .ok_or_else(|| format!("{name} is {value}; it must lie between {min} and {max}"))
        };
        if let Some(shards) = self.shards {
            bound("the number of shards", shards as u64, 1, u64::from(SHARDS_MAX))?;
        }
        bound("memtable_bytes", self.memtable_bytes as u64, 64 << 10, 64 << 30)?;
        bound("block_cache_bytes", self.block_cache_bytes as u64, 0, 1 << 40)?;
        bound("row_cache_bytes", self.row_cache_bytes as u64, 0, 1 << 40)?;
        bound("hot_page_bytes", self.hot_page_bytes as u64, 0, 1 << 40)?;
        let segment = u64::from(self.log_segment_bytes);
        bound("log_segment_bytes", segment, SEGMENT_BYTES_MIN, SEGMENT_BYTES_MAX)?;
        if !segment.is_multiple_of(SEGMENT_BYTES_STEP) {
            return Err(format!(
                "log_segment_bytes is {segment}; it must be a multiple of {SEGMENT_BYTES_STEP}, the next is {}",
                segment.next_multiple_of(SEGMENT_BYTES_STEP)
            ));
        }
        let of_segments = |refused| format!("{refused}: {SEGMENTS_MIN} to {SEGMENTS_MAX} segments of {segment} bytes");
        let (least, most) = (SEGMENTS_MIN * segment, SEGMENTS_MAX * segment);
        bound("log_bytes_max", self.log_bytes_max, least, most).map_err(of_segments)?;
        if let Some(bytes) = self.mutation_bytes_max {
            bound("mutation_bytes_max", bytes as u64, 1 << 10, MUTATION_BYTES_MAX as u64)?;
            let in_log = commitlog::record_bytes_max(self.log_segment_bytes);
            if bytes > in_log {
                return Err(format!(
                    "mutation_bytes_max is {bytes}; a log segment of {segment} bytes takes mutations of at most {in_log}: lower \
                     it, or raise log_segment_bytes to {}",
                    segment_for(bytes)
                ));
            }
        }
        bound(
            "tombstone_failure_threshold",
            u64::from(self.tombstone_failure_threshold),
            1,
            u64::from(u32::MAX),
        )?;
        bound("fragment_bytes", self.fragment_bytes, 4 << 10, 1 << 40)?;
        bound(
            "compaction_backlog_bytes",
            self.compaction_backlog_bytes,
            1 << 20,
            u64::MAX,
        )?;
        bound("large_partition_bytes", self.large_partition_bytes, 1, u64::MAX)?;
        bound("block_bytes", self.block_bytes as u64, 256, 1 << 20)?;
        bound("io_memory_bytes", self.io_memory_bytes as u64, 256 << 10, 16 << 20)
    }
}

/// The shortest log segment that takes a mutation of so many bytes.
fn segment_for(mutation_bytes: usize) -> u64 {
    let beside = SEGMENT_BYTES_MIN as usize / 2 - commitlog::record_bytes_max(SEGMENT_BYTES_MIN as u32);
    (2 * (mutation_bytes + beside) as u64).next_multiple_of(SEGMENT_BYTES_STEP)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refusal(change: impl FnOnce(&mut Config)) -> Option<String> {
        let mut config = Config::new("/store");
        change(&mut config);
        let refused = config.validate().err();
        if refused.is_none() {
            let segment = config.log_segment_bytes;
            assert!(
                config.largest_mutation() <= commitlog::record_bytes_max(segment),
                "the log takes it"
            );
        }
        refused
    }

    /// A change of the defaults, and the bounds that its refusal names.
    type Refused = (fn(&mut Config), &'static [&'static str]);

    #[test]
    fn what_is_out_of_bounds_is_refused_with_its_name_and_its_bounds() {
        const REFUSED: &[Refused] = &[
            (|c| c.shards = Some(0), &["shards is 0", "1 and 64"]),
            (|c| c.shards = Some(65), &["shards is 65", "1 and 64"]),
            (|c| c.memtable_bytes = 65_535, &["memtable_bytes is 65535", "65536 and"]),
            (
                |c| c.log_segment_bytes = 12 << 10,
                &["log_segment_bytes is 12288", "16384 and"],
            ),
            (
                |c| c.log_segment_bytes = (1 << 30) + 4096,
                &["log_segment_bytes is", "and 1073741824"],
            ),
            (
                |c| c.log_segment_bytes = 1_000_000,
                &[
                    "log_segment_bytes is 1000000",
                    "multiple of 4096",
                    "the next is 1003520",
                ],
            ),
            (
                |c| c.log_bytes_max = (128 << 20) - 1,
                &[
                    "log_bytes_max is 134217727",
                    "134217728 and",
                    "4 to 60000 segments of 33554432 bytes",
                ],
            ),
            (
                |c| c.log_segment_bytes = 256 << 20,
                &["log_bytes_max is 536870912", "1073741824 and"],
            ),
            (
                |c| (c.log_segment_bytes, c.log_bytes_max) = (16 << 10, (60_000 << 14) + 1),
                &[
                    "log_bytes_max is 983040001",
                    "and 983040000",
                    "60000 segments of 16384 bytes",
                ],
            ),
            (
                |c| c.mutation_bytes_max = Some(1023),
                &["mutation_bytes_max is 1023", "1024 and"],
            ),
            (
                |c| (c.log_segment_bytes, c.mutation_bytes_max) = (64 << 20, Some((16 << 20) + 1)),
                &["mutation_bytes_max is 16777217", "and 16777216"],
            ),
            (
                |c| c.mutation_bytes_max = Some(16 << 20),
                &[
                    "mutation_bytes_max is 16777216",
                    "at most 16777152",
                    "raise log_segment_bytes to 33558528",
                ],
            ),
            (|c| c.block_bytes = 255, &["block_bytes is 255", "256 and"]),
            (
                |c| c.large_partition_bytes = 0,
                &["large_partition_bytes is 0", "1 and"],
            ),
            (
                |c| c.io_memory_bytes = 32 << 20,
                &["io_memory_bytes is", "262144 and 16777216"],
            ),
        ];
        for (change, says) in REFUSED {
            let refused = refusal(change).unwrap_or_else(|| panic!("{says:?}: not refused"));
            assert!(
                says.iter().all(|part| refused.contains(part)),
                "{refused:?} lacks some of {says:?}"
            );
        }
    }

    #[test]
    fn what_is_within_bounds_is_taken() {
        const TAKEN: &[fn(&mut Config)] = &[
            |_| {},
            |c| c.mutation_bytes_max = Some((16 << 20) - 64),
            |c| (c.log_segment_bytes, c.mutation_bytes_max) = (33_558_528, Some(16 << 20)),
            |c| c.log_segment_bytes = 16 << 10,
            |c| (c.log_segment_bytes, c.log_bytes_max) = (16 << 10, 60_000 << 14),
            |c| (c.log_segment_bytes, c.log_bytes_max) = (1 << 30, 60_000 << 30),
        ];
        for (at, change) in TAKEN.iter().enumerate() {
            assert_eq!(refusal(change), None, "{at}");
        }
    }
}
