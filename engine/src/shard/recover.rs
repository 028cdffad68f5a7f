//! How a shard comes to life and how it ends.
//!
//! Opening: the sstables that the manifest names are opened and checked; the log is synced and replayed from the manifest's floor,
//! less what "flushed up to" covers; everything replayed is flushed; then (by the node) the floor is raised past the old log, and
//! the shard serves with fresh segments. So an old log never meets new records.
//!
//! With another number of shards than before, the old logs are dealt out, and whoever replays one hands each record to the shard
//! that owns its token now. Nothing counts as flushed until all of it is: after a crash all is replayed again, over what was
//! flushed, which changes nothing.

use super::applied::Applied;
use super::clock::Clock;
use super::joined::{JoinedReads, Turns};
use super::pace::Pace;
use super::{Counters, READS_MAX, Shard};
use crate::cache::RowCache;
use crate::config::Config;
use crate::definitions::Definitions;
use crate::error::{Error, Result};
use crate::hot::Hot;
use crate::layout;
use crate::manifest::state::{FileRecord, LogRecord, State};
use crate::node::{DirFaults, Node};
use crate::stats::Recovery;
use crate::store::on_shard;
use crate::table::{LiveFile, TableState};
use commitlog::{Log, LogPosition};
use model::{MutationRef, TableId};
use runtime::sync::{Gate, Mutex, Notify, Semaphore};
use runtime::{ShardId, TaskClass, disk};
use sstable::BlockCache;
use std::cell::{Cell, OnceCell, RefCell};
use std::collections::BTreeMap;
use std::rc::Rc;
use std::sync::Arc;

/// What a shard needs to know to come to life.
pub(crate) struct Boot {
    pub config: Arc<Config>,
    pub host_id: [u8; 16],
    pub shards: u16,
    pub dir_faults: DirFaults,
    pub definitions: Arc<Definitions>,
    pub files: Vec<FileRecord>,
    /// The largest generations in the store and among its orphans.
    pub generations: Vec<u64>,
    pub log: LogRecord,
    /// No timestamp above this one was given before.
    pub given_up_to: i64,
    /// None above this one may be given yet.
    pub timestamps_up_to: i64,
}

/// A log that was replayed.
pub(crate) struct Recovered {
    pub recovery: Recovery,
    /// Once everything is flushed, everything in segments below is in sstables.
    pub next_segment: u64,
}

/// Records on their way to the shard that owns them.
#[derive(Default)]
struct Handed {
    bytes: Vec<u8>,
    ends: Vec<usize>,
}

impl Handed {
    fn push(&mut self, record: &[u8]) {
        self.bytes.extend_from_slice(record);
        self.ends.push(self.bytes.len());
    }

    fn records(&self) -> impl Iterator<Item = &[u8]> {
        let starts = std::iter::once(0).chain(self.ends.iter().copied());
        starts.zip(&self.ends).map(|(start, &end)| &self.bytes[start..end])
    }
}

/// What is handed over at once, bytes.
const HANDED_BYTES: usize = 64 << 10;

impl Shard {
    /// Builds the shard on the running thread, with its sstables open.
    pub(crate) async fn create(boot: Boot, node: Option<Rc<Node>>) -> Result<()> {
        let id = runtime::shard();
        let cache = Rc::new(BlockCache::new(boot.config.block_cache_bytes));
        let mut files: BTreeMap<TableId, Vec<Rc<LiveFile>>> = BTreeMap::new();
        let mut newest = 0;
        for record in boot.files {
            let file = open_file(&boot.config, &cache, boot.host_id, record).await?;
            newest = file.table.statistics().max_timestamp.max(newest);
            files.entry(file.record.table).or_default().push(Rc::new(file));
        }
        let seed = model::KeySeed::of_host(&boot.host_id);
        let tables = boot.definitions.tables().map(|schema| {
            let files = files.remove(&schema.id).unwrap_or_default();
            (schema.id, Rc::new(TableState::new(Arc::clone(schema), files, seed)))
        });
        let tables = RefCell::new(tables.collect());
        let shard = Rc::new(Shard {
            id,
            count: boot.shards,
            dir_faults: boot.dir_faults,
            host_id: boot.host_id,
            tables,
            definitions: RefCell::new(boot.definitions),
            schema_epoch: Cell::new(1),
            locks: Rc::default(),
            dropped: super::Dropped::default(),
            work_ended: Notify::new(),
            removals: Gate::new(),
            log: OnceCell::new(),
            applied: Rc::new(Applied::default()),
            cache,
            rows: Rc::new(RowCache::new(boot.config.row_cache_bytes)),
            fills: Gate::new(),
            memory: Cell::new(0),
            active_memory: Cell::new(0),
            reserved: Cell::new(0),
            waiting_writers: Cell::new(0),
            room: Notify::new(),
            admission: Mutex::new(()),
            flush_wanted: Notify::new(),
            flushed: Notify::new(),
            compaction_wanted: Notify::new(),
            compaction_idle: Notify::new(),
            compaction_running: RefCell::default(),
            compaction_history: RefCell::default(),
            compaction_written: RefCell::default(),
            pace: Pace::new(boot.config.compaction_backlog_bytes),
            majors: super::Majors::default(),
            large_partitions: RefCell::default(),
            flush_trouble: RefCell::new(None),
            shortage: Cell::new(None),
            closing: Cell::new(false),
            close_begins: Notify::new(),
            ended: Cell::new(false),
            resharding: Cell::new(false),
            writers: Gate::new(),
            readers: Gate::new(),
            reads: Semaphore::new(READS_MAX),
            waiting_readers: Cell::new(0),
            joined: Rc::new(JoinedReads::new(boot.config.hot_page_bytes)),
            turns: Rc::new(Turns::new()),
            poisoned: RefCell::new(None),
            clock: Clock::new(boot.timestamps_up_to),
            next_generation: Cell::new(layout::first_generation(id.0, boot.generations.into_iter())),
            log_floor: Cell::new(LogPosition {
                segment: boot.log.floor,
                offset: 0,
            }),
            counters: Counters::default(),
            hot: Hot::default(),
            read_us: RefCell::default(),
            write_us: RefCell::default(),
            warned_of_tombstones: Cell::default(),
            workers: RefCell::default(),
            extensions: RefCell::new(Some(Vec::new())),
            node,
            config: boot.config,
        });
        shard.clock.go_on_after(newest.min(boot.given_up_to));
        shard.put_to_use();
        let flusher = runtime::spawn(TaskClass::Flush, "flush", Rc::clone(&shard).flush_sealed());
        shard.workers.borrow_mut().push(flusher);
        Ok(())
    }

    /// Replays the shard's log, and those of shards that there are no more as they are dealt out.
    pub(crate) async fn recover(self: &Rc<Self>, state: &State, given_up_to: i64) -> Result<Vec<Recovered>> {
        self.resharding.set(state.shards != self.count);
        let logs = 0..state.log_shards().end.max(self.count);
        let mut recovered = Vec::new();
        for log in logs.skip(usize::from(self.id.0)).step_by(usize::from(self.count)) {
            let started = runtime::time::Instant::now();
            let report = self.replay(log, state, given_up_to).await?;
            let recovery = Recovery {
                shard: log,
                records: report.records,
                bytes: report.bytes,
                torn: report.torn.map(|torn| (torn.path, torn.offset)),
                micros: u64::try_from(started.elapsed().as_micros()).unwrap_or(u64::MAX),
            };
            recovered.push(Recovered {
                recovery,
                next_segment: report.next_segment.max(state.log(log).floor),
            });
        }
        Ok(recovered)
    }

    async fn replay(self: &Rc<Self>, of: u16, state: &State, given_up_to: i64) -> Result<commitlog::replay::Report> {
        let dir = layout::log_dir(&self.config.dir, of);
        let log = state.log(of);
        let mut handed: BTreeMap<ShardId, Handed> = BTreeMap::new();
        let report = commitlog::replay::replay(&dir, log.floor, async |end: LogPosition, record: &[u8]| {
            let damaged = |what: String| Error::Corrupt {
                path: dir.clone(),
                offset: u64::from(end.offset),
                what,
            };
            let mutation = MutationRef::parse(record)
                .map_err(|error| damaged(format!("a record of segment {} cannot be read: {error}", end.segment)))?;
            let table = mutation.table();
            let was_dropped = state.was_dropped(table);
            if !was_dropped && !self.tables.borrow().contains_key(&table) {
                let what = format!(
                    "a record of segment {} is of table {}, which does not exist",
                    end.segment, table.0
                );
                return Err(damaged(what));
            }
            if !was_dropped && end > state.flushed_up_to(of, table) {
                let owner = self.owner(mutation.token());
                if owner == self.id {
                    self.apply_replayed(end, record).await?;
                } else {
                    let batch = handed.entry(owner).or_default();
                    batch.push(record);
                    if batch.bytes.len() >= HANDED_BYTES {
                        hand_over(owner, std::mem::take(batch)).await?;
                    }
                }
                self.clock.go_on_after(mutation.max_timestamp().min(given_up_to));
            }
            if !self.resharding.get() {
                self.applied.start_at(end);
            }
            runtime::breathe().await;
            Ok(())
        });
        let report = report.await?;
        for (owner, batch) in handed {
            hand_over(owner, batch).await?;
        }
        if !log.clean && report.segments == 0 {
            return Err(Error::Missing {
                path: dir.join(format!("segment {}", log.floor)),
            });
        }
        Ok(report)
    }

    /// Merges a record that a replay has found, when there is room for it.
    async fn apply_replayed(&self, end: LogPosition, record: &[u8]) -> Result<()> {
        while self.is_full(record.len()) && self.memory.get() > 0 {
            if let Some(error) = self.poisoned.borrow().as_ref() {
                return Err(error.clone());
            }
            if let Some(error) = self.flush_trouble.borrow().as_ref() {
                return Err(error.clone());
            }
            self.seal_for_room();
            self.flushed.notified().await;
        }
        self.apply_record(end, record);
        Ok(())
    }

    /// Opens a fresh log and takes requests. New timestamps exceed `given`, which is that of all shards: what another shard
    /// holds may have been given its timestamp, and its id, by this one.
    pub(crate) async fn serve(self: &Rc<Self>, first_segment: u64, given: i64) -> Result<()> {
        self.clock.go_on_after(given);
        let dir = layout::log_dir(&self.config.dir, self.id.0);
        self.resharding.set(false);
        let options = commitlog::Options {
            host_id: self.host_id,
            segment_bytes: self.config.log_segment_bytes,
            total_bytes_max: self.config.log_bytes_max,
            sync: self.config.sync,
            ..commitlog::Options::new(dir, self.id.0)
        };
        let log = Log::open(options, first_segment).await?;
        self.applied.start_at(log.appended());
        self.log_floor.set(LogPosition {
            segment: first_segment,
            offset: 0,
        });
        assert!(self.log.set(log).is_ok(), "the log is opened once");
        if self.id == ShardId(0) {
            let watch = runtime::spawn(
                TaskClass::Maintenance,
                "watch the free space",
                Rc::clone(self).watch_space(),
            );
            self.workers.borrow_mut().push(watch);
        }
        let compactor = runtime::spawn(TaskClass::Compaction, "compact", Rc::clone(self).compact_tables());
        self.workers.borrow_mut().push(compactor);
        let applier = runtime::spawn(TaskClass::Request, "apply", Rc::clone(self).apply_groups());
        self.workers.borrow_mut().push(applier);
        Ok(())
    }

    /// Ends the shard: no new writes, those under way are finished, everything is flushed (unless `flush` is false), the log
    /// is closed, the tasks have ended. Returns the log's floor if nothing of it is needed any more.
    ///
    /// # Errors
    /// Why not everything is flushed: the shard has ended all the same.
    pub(crate) async fn close_here(self: &Rc<Self>, flush: bool) -> Result<Option<u64>> {
        self.closing.set(true);
        self.close_begins.notify_all();
        self.room.notify_all();
        self.compaction_wanted.notify_all();
        self.writers.close().await;
        self.fills.close().await;
        self.removals.close().await;
        let mut result = Ok(None);
        let mut end = None;
        if let Some(log) = self.log.get() {
            // The log first: what is in flight is applied, and then flushed.
            match log.close().await {
                Ok(()) => end = Some(log.appended()),
                Err(error) => result = Err(error.into()),
            }
        }
        // The last to be started, if the shard has served at all.
        let applier = self.log.get().and_then(|_| self.workers.borrow_mut().pop());
        if let Some(applier) = applier {
            applier.await;
        }
        if flush && result.is_ok() {
            let poisoned = self.poisoned.borrow().clone();
            result = match poisoned {
                None => self.flush().await.map(|()| end.map(|end| end.segment + 1)),
                Some(error) => Err(error),
            };
        }
        if result.is_err() || !flush {
            // Nothing more is flushed; what is in memory is in the log.
            self.poisoned.borrow_mut().get_or_insert(Error::Closed);
        }
        self.ended.set(true);
        self.flush_wanted.notify_all();
        let workers = std::mem::take(&mut *self.workers.borrow_mut());
        for worker in workers {
            worker.await;
        }
        // A read that began later would find no file, and say that nothing is there.
        self.readers.close().await;
        for table in self.all_tables() {
            let files = table.files.take();
            drop(table);
            for file in files.iter() {
                // The file closes with its last handle.
                drop(file.table.clone().close().await);
            }
        }
        runtime::clear_root();
        result
    }
}

/// Gives records to the shard that owns them, and returns when they are in its memory.
async fn hand_over(to: ShardId, batch: Handed) -> Result<()> {
    let apply = move |shard: Rc<Shard>| async move {
        for record in batch.records() {
            // Where it ended in another log says nothing here.
            shard.apply_replayed(LogPosition::default(), record).await?;
            runtime::breathe().await;
        }
        Ok(())
    };
    on_shard(to, apply).await?
}

async fn open_file(config: &Config, cache: &Rc<BlockCache>, host_id: [u8; 16], record: FileRecord) -> Result<LiveFile> {
    let path = layout::table_file(&config.dir, record.table, record.generation);
    if !disk::exists(&path).await? {
        return Err(Error::Missing { path });
    }
    let table = sstable::Table::open(&path, record.generation, record.bytes, Rc::clone(cache)).await?;
    if (table.host_id(), table.table()) != (host_id, record.table) {
        // The first error is the one that matters.
        drop(table.close().await);
        return Err(Error::foreign(&path));
    }
    Ok(LiveFile::new(record, table))
}
