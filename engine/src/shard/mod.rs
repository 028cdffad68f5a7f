//! One shard: its tables, its log, its memory, the tasks that serve them.
//!
//! A [`Shard`] lives on one thread and is shared by the tasks there. Its parts: [`write`](self) appends, applies and
//! acknowledges; `flush` turns sealed memtables into sstables; `read` merges; `recover` builds the shard when the store is
//! opened. No borrow is held over an await.

mod applied;
mod cancelled;
mod clock;
mod compact;
mod define;
mod erase;
mod fill;
mod flush;
mod joined;
mod locks;
mod major;
mod pace;
mod partitions;
mod read;
mod recover;
mod space;
mod write;

pub(crate) use clock::BOUND_AHEAD;
pub(crate) use compact::shares_of;
pub use locks::PartitionGuard;
pub use partitions::TokenPosition;
pub(crate) use recover::{Boot, Recovered};
pub use write::Applying;

use crate::cache::RowCache;
use crate::compactions::{CompactionKind, CompactionRecord, RunningCompaction};
use crate::config::Config;
use crate::definitions::Definitions;
use crate::error::{Error, Result};
use crate::hot::Hot;
use crate::large::LargePartitions;
use crate::node::{DirFaults, Node};
use crate::stats::ShardStatistics;
use crate::table::TableState;
use applied::Applied;
use clock::Clock;
use commitlog::{Latency, Log, LogPosition};
use erase::Dropped;
use joined::{JoinedReads, Turns};
use locks::Locks;
use major::Majors;
use model::{Schema, TableId, Token};
use pace::Pace;
use runtime::ShardId;
use runtime::sync::{Gate, Mutex, Notify, Semaphore};
use space::Shortage;
use sstable::BlockCache;
use std::any::Any;
use std::cell::{Cell, OnceCell, RefCell};
use std::collections::{BTreeMap, VecDeque};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

/// Writers that may wait for room in one shard before further ones are refused at once.
const WAITING_WRITERS_MAX: usize = 10_000;
/// Pages that one shard reads at once; those that are joined to another one's do not count. Further ones wait.
const READS_MAX: usize = 1024;
/// Pages that may wait for that before further ones are refused at once.
const WAITING_READERS_MAX: usize = 10_000;

/// The face of the engine on a shard's own thread. Outside, use [`Store`](crate::Store).
pub struct Shard {
    pub(crate) config: Arc<Config>,
    pub(crate) host_id: [u8; 16],
    id: ShardId,
    count: u16,
    tables: RefCell<BTreeMap<TableId, Rc<TableState>>>,
    definitions: RefCell<Arc<Definitions>>,
    schema_epoch: Cell<u64>,
    locks: Rc<Locks>,
    dropped: Dropped,
    /// A flush or a compaction has ended, well or not.
    work_ended: Notify,
    /// Removals of files under way.
    removals: Gate,
    log: OnceCell<Log>,
    applied: Rc<Applied>,
    cache: Rc<BlockCache>,
    rows: Rc<RowCache>,
    /// Fills of the row cache under way.
    fills: Gate,
    /// Bytes of all memtables, sealed ones included.
    memory: Cell<usize>,
    /// Bytes of the memtables that take writes.
    active_memory: Cell<usize>,
    /// Bytes of writes admitted and not yet applied.
    reserved: Cell<usize>,
    waiting_writers: Cell<usize>,
    room: Notify,
    /// Held by the writer that waits for room: those behind it wait in its queue.
    admission: Mutex<()>,
    dir_faults: DirFaults,
    flush_wanted: Notify,
    flushed: Notify,
    /// Files have come or gone, or something else may have made a compaction due.
    compaction_wanted: Notify,
    /// Nothing is to be compacted.
    compaction_idle: Notify,
    compaction_running: RefCell<Option<Rc<RunningCompaction>>>,
    /// The last ones, oldest first.
    compaction_history: RefCell<VecDeque<CompactionRecord>>,
    compaction_written: RefCell<BTreeMap<CompactionKind, u64>>,
    /// How fast writers may be.
    pace: Pace,
    /// Tables of which all is to be compacted.
    majors: Majors,
    pub(crate) large_partitions: RefCell<LargePartitions>,
    /// Why flushes fail at present.
    flush_trouble: RefCell<Option<Error>>,
    /// The disk has less space than is to be kept back.
    shortage: Cell<Option<Shortage>>,
    closing: Cell<bool>,
    close_begins: Notify,
    /// Nothing more will be sealed.
    ended: Cell<bool>,
    /// The shard comes to life with another number of shards than before: its memtables have records of several logs.
    resharding: Cell<bool>,
    writers: Gate,
    readers: Gate,
    reads: Semaphore,
    waiting_readers: Cell<usize>,
    joined: Rc<JoinedReads>,
    turns: Rc<Turns>,
    poisoned: RefCell<Option<Error>>,
    clock: Clock,
    next_generation: Cell<u64>,
    /// Below this the log is released; raised by flushes.
    log_floor: Cell<LogPosition>,
    counters: Counters,
    hot: Hot,
    /// Times of pages, and of writes from their admission to their acknowledgement.
    read_us: RefCell<Latency>,
    write_us: RefCell<Latency>,
    warned_of_tombstones: Cell<Option<runtime::time::Instant>>,
    workers: RefCell<Vec<runtime::Task<()>>>,
    /// `None`: the shard is no longer in use.
    extensions: RefCell<Option<Vec<Rc<dyn Any>>>>,
    node: Option<Rc<Node>>,
}

/// The shard of a thread. Extensions hold their shard: they go with this, or neither would ever.
struct InUse(Rc<Shard>);

impl Drop for InUse {
    fn drop(&mut self) {
        let extensions = self.0.extensions.take();
        drop(extensions);
    }
}

/// What the shard has done since it was opened.
#[derive(Default)]
pub(crate) struct Counters {
    pub writes: Cell<u64>,
    pub written_bytes: Cell<u64>,
    pub reads: Cell<u64>,
    pub reads_joined: Cell<u64>,
    pub reads_hot: Cell<u64>,
    pub overloaded: Cell<u64>,
    pub writes_slowed: Cell<u64>,
    pub writes_slowed_us: Cell<u64>,
    pub tombstones: Cell<u64>,
    pub tombstone_warnings: Cell<u64>,
    pub tombstone_failures: Cell<u64>,
    pub flushes: Cell<u64>,
    pub flushed_bytes: Cell<u64>,
    pub flush_failures: Cell<u64>,
    pub compactions: Cell<u64>,
    pub compaction_failures: Cell<u64>,
    pub compaction_read_bytes: Cell<u64>,
    pub compaction_written_bytes: Cell<u64>,
    pub compaction_purged: Cell<u64>,
}

pub(crate) fn add(counter: &Cell<u64>, n: u64) {
    counter.set(counter.get() + n);
}

/// Whole microseconds.
pub(crate) fn micros(time: Duration) -> u64 {
    u64::try_from(time.as_micros()).unwrap_or(u64::MAX)
}

impl Shard {
    /// The shard of the running task.
    ///
    /// # Panics
    /// Off a shard of a store.
    #[must_use]
    pub fn current() -> Rc<Shard> {
        Self::running().expect("a task of the store's shard")
    }

    /// As [`current`](Self::current); `None`: the store was closed, or this thread is none of its shards.
    pub(crate) fn running() -> Option<Rc<Shard>> {
        runtime::root::<InUse>().map(|shard| Rc::clone(&shard.0))
    }

    /// Makes it the shard of the running thread.
    fn put_to_use(self: &Rc<Self>) {
        runtime::set_root(Rc::new(InUse(Rc::clone(self))));
    }

    /// Runs `f` on a shard, from a task of any shard of the store.
    ///
    /// # Errors
    /// [`Error::Closed`], [`Error::Panicked`].
    ///
    /// # Cancellation
    /// Once begun, `f` runs to its end, whether or not the future is dropped.
    pub async fn call<R, F, Fut>(to: ShardId, f: F) -> Result<R>
    where
        F: FnOnce(Rc<Shard>) -> Fut + Send + 'static,
        Fut: Future<Output = R> + 'static,
        R: Send + 'static,
    {
        crate::store::on_shard(to, f).await
    }

    /// The id of the store, drawn when it was created; it stands in every file.
    #[must_use]
    pub fn host_id(&self) -> [u8; 16] {
        self.host_id
    }

    /// How many shards the store has.
    pub(crate) fn count(&self) -> u16 {
        self.count
    }

    /// This shard.
    #[must_use]
    pub fn id(&self) -> ShardId {
        self.id
    }

    /// The shard that owns a token.
    #[must_use]
    pub fn owner(&self, token: Token) -> ShardId {
        ShardId(model::shard_of(token, self.count))
    }

    /// Schema of a table, by name.
    #[must_use]
    pub fn schema(&self, keyspace: &str, name: &str) -> Option<Arc<Schema>> {
        self.definitions.borrow().table(keyspace, name).cloned()
    }

    /// State that a layer above keeps on this shard: one value per type, made at the first call, dropped when the store is closed. It may
    /// hold the shard.
    pub fn extension<T: 'static>(&self, make: impl FnOnce() -> T) -> Rc<T> {
        let present = self.extensions.borrow().iter().flatten().find_map(|value| {
            let value = Rc::clone(value);
            value.downcast::<T>().ok()
        });
        present.unwrap_or_else(|| {
            let value = Rc::new(make());
            if let Some(extensions) = &mut *self.extensions.borrow_mut() {
                extensions.push(Rc::<T>::clone(&value));
            }
            value
        })
    }

    /// The store's node: on shard 0 only.
    pub(crate) fn node(&self) -> Rc<Node> {
        Rc::clone(self.node.as_ref().expect("asked of shard 0"))
    }

    fn table(&self, id: TableId) -> Result<Rc<TableState>> {
        let table = self.tables.borrow().get(&id).cloned();
        table.ok_or_else(|| self.dropped.error(id))
    }

    pub(crate) fn all_tables(&self) -> Vec<Rc<TableState>> {
        self.tables.borrow().values().cloned().collect()
    }

    fn log(&self) -> &Log {
        self.log.get().expect("the log is open once the shard serves")
    }

    /// Stops taking writes for good and tells those who wait.
    fn poison(&self, error: &Error) {
        let what = error.to_string();
        tracing::error!(shard = self.id.0, %error, "the shard takes no more writes; reopen the store");
        self.poisoned
            .borrow_mut()
            .get_or_insert(Error::Poisoned { what: what.clone() });
        self.applied.fail(Error::OutcomeUnknown { what });
        self.room.notify_all();
        self.flush_wanted.notify_all();
        self.flushed.notify_all();
    }

    fn check_open(&self) -> Result<()> {
        if let Some(error) = self.poisoned.borrow().as_ref() {
            return Err(error.clone());
        }
        if self.closing.get() { Err(Error::Closed) } else { Ok(()) }
    }

    /// Figures of the shard.
    #[must_use]
    pub fn statistics(&self) -> ShardStatistics {
        let tables = self.all_tables();
        let files: Vec<_> = tables
            .iter()
            .flat_map(|table| table.files.borrow().iter().cloned().collect::<Vec<_>>())
            .filter(|file| file.record.is_counted_by(self.id.0, self.count))
            .collect();
        let log = self.log().stats();
        ShardStatistics {
            shard: self.id.0,
            writes: self.counters.writes.get(),
            written_bytes: self.counters.written_bytes.get(),
            reads: self.counters.reads.get(),
            reads_joined: self.counters.reads_joined.get(),
            reads_hot: self.counters.reads_hot.get(),
            overloaded: self.counters.overloaded.get(),
            writes_slowed: self.counters.writes_slowed.get(),
            writes_slowed_us: self.counters.writes_slowed_us.get(),
            write_bytes_per_s_max: self.pace.rate(),
            tombstones: self.counters.tombstones.get(),
            tombstone_warnings: self.counters.tombstone_warnings.get(),
            tombstone_failures: self.counters.tombstone_failures.get(),
            flushes: self.counters.flushes.get(),
            flushed_bytes: self.counters.flushed_bytes.get(),
            flush_failures: self.counters.flush_failures.get(),
            compactions: self.counters.compactions.get(),
            compaction_failures: self.counters.compaction_failures.get(),
            compaction_read_bytes: self.counters.compaction_read_bytes.get(),
            compaction_written_bytes: self.counters.compaction_written_bytes.get(),
            compaction_purged: self.counters.compaction_purged.get(),
            compaction_backlog_bytes: self.pace.backlog(),
            compaction_written_by_kind: self.compaction_written.borrow().clone(),
            memtable_bytes: self.memory.get() as u64,
            sstables: files.len() as u64,
            sstable_bytes: files.iter().map(|file| file.bytes_in_force()).sum(),
            rows_on_disk: files.iter().map(|file| file.table.statistics().rows).sum(),
            writers_waiting: (self.applied.waiting() + self.waiting_writers.get()) as u64,
            cache_hits: self.cache.hits(),
            cache_misses: self.cache.misses(),
            cache_bytes: self.cache.bytes(),
            row_cache_hits: self.rows.counters.hits.get(),
            row_cache_misses: self.rows.counters.misses.get(),
            row_cache_bytes: self.rows.bytes(),
            row_cache_partitions: self.rows.partitions(),
            row_cache_fills: self.rows.counters.fills.get(),
            row_cache_fills_stale: self.rows.counters.fills_stale.get(),
            log_bytes: self.log().bytes_in_use(),
            read_us: *self.read_us.borrow(),
            write_us: *self.write_us.borrow(),
            hottest: self.hot.hottest(|table| self.table(table).ok().map(|of| of.name())),
            log,
            runtime: runtime::stats(),
        }
    }
}
