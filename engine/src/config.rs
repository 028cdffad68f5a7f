//! How a store is opened.

pub use commitlog::SyncMode;
use std::path::PathBuf;

/// Settings of a store. Sizes are in bytes.
#[derive(Clone, Debug)]
pub struct Config {
    /// The store's directory; created if it does not exist.
    pub dir: PathBuf,
    /// Number of shards of a store that is created now, 1 to 64; `None`: one per CPU core that the process may use. A store
    /// that exists keeps its number; another one is refused.
    pub shards: Option<usize>,
    /// Whether each shard's thread is pinned to a core of its own. Default: true.
    pub pin: bool,
    /// Memory of a shard's memtables before one is flushed. Default 64 MiB, minimum 64 KiB. Twice as much is the most that
    /// unflushed rows may take: then writers wait.
    pub memtable_bytes: usize,
    /// Memory of a shard's cache of decompressed sstable blocks. Default 64 MiB.
    pub block_cache_bytes: usize,
    /// Memory of a shard's cache of merged rows: the newest of its active partitions, which a flush keeps there. Default 64 MiB;
    /// 0: none. One partition takes an eighth of it at most, and never more than 256 KiB.
    pub row_cache_bytes: usize,
    /// When a write is acknowledged. Default: after its group's synchronous write.
    pub sync: SyncMode,
    /// Length of a log segment. Default 32 MiB, minimum 64 KiB.
    pub log_segment_bytes: u32,
    /// Length of a shard's log past which tables are flushed. Default 512 MiB, minimum four segments.
    pub log_bytes_max: u64,
    /// Largest mutation. Default and maximum 16 MiB.
    pub mutation_bytes_max: usize,
    /// How long a writer waits for room before it is refused as overloaded. Default 10 s.
    pub admission_timeout: std::time::Duration,
    /// Bytes of rows in an sstable's data block before compression. Default 16 KiB.
    pub block_bytes: usize,
    /// Memory of a shard that the kernel reads into and writes from. Default 16 MiB.
    pub io_memory_bytes: usize,
}

impl Config {
    /// The defaults, for the store in `dir`.
    #[must_use]
    pub fn new(dir: impl Into<PathBuf>) -> Config {
        Config {
            dir: dir.into(),
            shards: None,
            pin: true,
            memtable_bytes: 64 << 20,
            block_cache_bytes: 64 << 20,
            row_cache_bytes: 64 << 20,
            sync: SyncMode::Group,
            log_segment_bytes: 32 << 20,
            log_bytes_max: 512 << 20,
            mutation_bytes_max: 16 << 20,
            admission_timeout: std::time::Duration::from_secs(10),
            block_bytes: 16 << 10,
            io_memory_bytes: 16 << 20,
        }
    }

    /// Checks the settings against their bounds.
    ///
    /// # Errors
    /// One sentence naming the first setting that is out of bounds.
    pub fn validate(&self) -> Result<(), String> {
        let bound = |name: &str, value: u64, min: u64, max: u64| {
            let fits = (min..=max).contains(&value);
            fits.then_some(())
                .ok_or_else(|| format!("{name} is {value}; it must lie between {min} and {max}"))
        };
        if let Some(shards) = self.shards {
            bound("the number of shards", shards as u64, 1, 64)?;
        }
        bound("memtable_bytes", self.memtable_bytes as u64, 64 << 10, 64 << 30)?;
        bound("block_cache_bytes", self.block_cache_bytes as u64, 0, 1 << 40)?;
        bound("row_cache_bytes", self.row_cache_bytes as u64, 0, 1 << 40)?;
        bound(
            "log_segment_bytes",
            u64::from(self.log_segment_bytes),
            16 << 10,
            1 << 30,
        )?;
        bound(
            "log_bytes_max",
            self.log_bytes_max,
            4 * u64::from(self.log_segment_bytes),
            1 << 40,
        )?;
        bound("mutation_bytes_max", self.mutation_bytes_max as u64, 1 << 10, 16 << 20)?;
        bound("block_bytes", self.block_bytes as u64, 256, 1 << 20)?;
        bound("io_memory_bytes", self.io_memory_bytes as u64, 256 << 10, 1 << 30)
    }
}
