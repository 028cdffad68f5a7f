//! Flush: a sealed memtable becomes an sstable.
//!
//! 1. The memtable streams into a new file; the file is synced and cut to its size.
//! 2. The log is durable up to the memtable's end (it always is, but in periodic mode).
//! 3. The directory is synced: the file's name is durable.
//! 4. One manifest edit adds the file, raises "flushed up to" and the log's floor.
//! 5. In one step without an await the file becomes visible and the memtable goes.
//! 6. Only then log segments are released; the memtable's memory is freed in turns.
//!
//! A crash between any two leaves the records in the log or the file in the manifest. A failed table file is given up, removed
//! and tried again under a new generation; a failed manifest edit poisons the shard, because it may have happened.

use super::{Shard, add};
use crate::cache::Stage;
use crate::error::Result;
use crate::layout;
use crate::manifest::state::{Edit, FileRecord, LogRecord};
use crate::node::NotAdded;
use crate::store::on_shard;
use crate::table::{LiveFile, Sealed, TableState};
use commitlog::LogPosition;
use model::{Direction, Fragment, Item, Peek, RowSource, Slice};
use runtime::disk;
use runtime::{Break, ShardId, TaskClass};
use std::rc::Rc;
use std::sync::atomic::Ordering;
use std::time::Duration;

/// First wait after a failed flush; doubled up to [`RETRY_MAX`].
const RETRY_MIN: Duration = Duration::from_millis(50);
const RETRY_MAX: Duration = Duration::from_secs(2);
/// Entries of a memtable freed between two looks at the clock.
const DROP_ENTRIES: usize = 256;
/// Until the next look at a memtable that somebody still reads.
const READERS_WAIT: Duration = Duration::from_millis(20);

impl Shard {
    /// Seals a table's memtable, whose records end at or before `end`, and has it flushed.
    pub(super) fn seal(&self, table: &TableState, end: LogPosition) {
        if let Some(bytes) = table.seal(end) {
            self.active_memory.set(self.active_memory.get() - bytes);
            self.flush_wanted.notify_all();
        }
    }

    /// Seals the memtables that keep the log from being released below `position`.
    pub(super) fn seal_pinning(&self, position: LogPosition) {
        for table in self.all_tables() {
            if table.active_start.get().is_some_and(|start| start < position) {
                self.seal(&table, self.applied.position());
            }
        }
    }

    /// Flushes all that is in memory, and returns when it is in sstables.
    ///
    /// # Errors
    /// [`Error::Poisoned`](crate::Error::Poisoned); or the last failure, if flushes fail for want of space or otherwise.
    ///
    /// # Cancellation
    /// What has begun is flushed all the same.
    pub async fn flush(&self) -> Result<()> {
        for table in self.all_tables() {
            self.seal(&table, self.applied.position());
        }
        let mut failures = self.counters.flush_failures.get();
        while self.all_tables().iter().any(|table| !table.sealed.borrow().is_empty()) {
            if let Some(error) = self.poisoned.borrow().as_ref() {
                return Err(error.clone());
            }
            self.flushed.notified().await;
            if self.counters.flush_failures.get() > failures + 3 {
                failures = self.counters.flush_failures.get();
                if let Some(error) = self.flush_trouble.borrow().as_ref() {
                    return Err(error.clone());
                }
            }
        }
        Ok(())
    }

    /// Flushes what is sealed, oldest first, until the shard closes and nothing is left.
    pub(super) async fn flush_sealed(self: Rc<Self>) {
        let mut retry = RETRY_MIN;
        loop {
            let Some((table, sealed)) = self.next_sealed() else {
                if self.ended.get() {
                    return;
                }
                self.flush_wanted.notified().await;
                continue;
            };
            if self.poisoned.borrow().is_some() {
                return;
            }
            match self.flush_one(&table, &sealed).await {
                Ok(()) => {
                    *self.flush_trouble.borrow_mut() = None;
                    retry = RETRY_MIN;
                }
                Err(NotAdded::Unknown(error)) => return self.poison(&error),
                Err(NotAdded::GivenUp(error)) => {
                    // Told once, not at every try.
                    match self.flush_trouble.borrow().is_some() {
                        true => tracing::debug!(shard = self.id.0, %error, "a flush failed again"),
                        false => tracing::warn!(shard = self.id.0, %error, "a flush failed and is tried again"),
                    }
                    add(&self.counters.flush_failures, 1);
                    *self.flush_trouble.borrow_mut() = Some(error);
                    self.flushed.notify_all();
                    runtime::time::sleep(retry).await;
                    retry = (2 * retry).min(RETRY_MAX);
                }
            }
        }
    }

    /// The sealed memtable whose records are oldest.
    pub(super) fn next_sealed(&self) -> Option<(Rc<TableState>, Rc<Sealed>)> {
        let tables = self.tables.borrow();
        let oldest = tables.values().filter_map(|table| {
            let sealed = table.sealed.borrow();
            let next = if runtime::broken(Break::ReplayFlushedOutOfOrder) {
                sealed.back()
            } else {
                sealed.front()
            };
            Some((Rc::clone(table), Rc::clone(next?)))
        });
        oldest.min_by_key(|(_, sealed)| sealed.start)
    }

    async fn flush_one(&self, table: &Rc<TableState>, sealed: &Rc<Sealed>) -> std::result::Result<(), NotAdded> {
        let generation = self.next_generation.get();
        self.next_generation.set(layout::generation_after(generation));
        let path = layout::table_file(&self.config.dir, table.id, generation);
        let faults_seen = self.dir_faults.load(Ordering::Acquire);
        let mut stage = Stage::default();
        let written = self.write_table(table, sealed, generation, &path, &mut stage).await;
        let file = match written {
            Ok(file) => file,
            Err(error) => {
                stage.discard().await;
                return Err(NotAdded::GivenUp(error));
            }
        };
        let floor = self.log_pin(Some(sealed));
        if runtime::broken(Break::ReleaseBeforeManifest) {
            self.release_log(floor);
        }
        // During a resharding nothing of a log is covered before all shards have flushed.
        let edits = match self.resharding.get() {
            true => Vec::new(),
            false => self.flushed_edits(table, sealed, floor),
        };
        if let Err(error) = self.add_file(file.record.clone(), faults_seen, edits).await {
            drop(file.table.close().await);
            stage.discard().await;
            if matches!(error, NotAdded::GivenUp(_)) {
                drop(disk::remove(&path).await);
            }
            return Err(error);
        }
        add(&self.counters.flushes, 1);
        add(&self.counters.flushed_bytes, file.record.bytes);
        table.publish(file, sealed);
        if runtime::broken(Break::CachePublishesLate) {
            runtime::time::sleep(Duration::from_millis(1)).await;
        }
        self.rows.publish(stage);
        self.memory.set(self.memory.get() - sealed.bytes);
        self.release_log(floor);
        self.room.notify_all();
        self.flushed.notify_all();
        self.rows.settle().await;
        let sealed = Rc::clone(sealed);
        drop(runtime::spawn(TaskClass::Maintenance, "free memtable", async move {
            while !sealed.memtable.borrow_mut().drop_step(DROP_ENTRIES) {
                if sealed.memtable.borrow().reader_count() > 0 {
                    runtime::time::sleep(READERS_WAIT).await;
                } else {
                    runtime::breathe().await;
                }
            }
        }));
        Ok(())
    }

    /// What the log needs no more once a memtable's file is part of the store.
    fn flushed_edits(&self, table: &TableState, sealed: &Sealed, floor: LogPosition) -> Vec<Edit> {
        vec![
            Edit::FlushedUpTo {
                shard: self.id.0,
                table: table.id,
                position: sealed.end,
            },
            Edit::Log {
                shard: self.id.0,
                log: LogRecord {
                    floor: floor.segment,
                    clean: false,
                },
            },
        ]
    }

    async fn write_table(
        &self,
        table: &TableState,
        sealed: &Sealed,
        generation: u64,
        path: &std::path::Path,
        stage: &mut Stage,
    ) -> Result<LiveFile> {
        let options = sstable::WriterOptions {
            block_bytes: self.config.block_bytes,
            ..sstable::WriterOptions::new(table.id, self.host_id, generation)
        };
        // A file that is there under this name is not ours to remove: nothing is, before this.
        let mut writer = sstable::Writer::create(path, options, sealed.bytes as u64).await?;
        if let Err(error) = self.write_memtable(table, sealed, &mut writer, stage).await {
            // The first error is the one to tell. What abort leaves is in no manifest: the next opening sets it aside.
            drop(writer.abort().await);
            return Err(error);
        }
        let summary = writer.seal().await?;
        let opened = self.open_written(table, sealed, path, &summary).await;
        if opened.is_err() {
            drop(disk::remove(path).await);
        }
        opened
    }

    async fn open_written(
        &self,
        table: &TableState,
        sealed: &Sealed,
        path: &std::path::Path,
        summary: &sstable::Summary,
    ) -> Result<LiveFile> {
        if let Some(log) = self.log.get() {
            log.wait_durable(sealed.end).await?;
        }
        let record = FileRecord {
            table: table.id,
            shard: self.id.0,
            shards: self.count,
            generation: summary.generation,
            bytes: summary.file_bytes,
            token_first: i64::MIN,
            token_last: i64::MAX,
        };
        let table = sstable::Table::open(path, summary.generation, summary.file_bytes, Rc::clone(&self.cache)).await?;
        Ok(LiveFile { record, table })
    }

    /// Below this position nothing of the log is needed, `without` being in an sstable.
    pub(super) fn log_pin(&self, without: Option<&Rc<Sealed>>) -> LogPosition {
        if self.log.get().is_none() {
            // Recovery: the old segments stay until all of them are in sstables.
            return self.log_floor.get();
        }
        let pins = self.all_tables();
        let pins = pins.iter().filter_map(|table| table.log_pin(without));
        pins.min().unwrap_or(self.applied.position()).max(self.log_floor.get())
    }

    fn release_log(&self, floor: LogPosition) {
        self.log_floor.set(floor);
        if let Some(log) = self.log.get() {
            log.release(floor);
        }
    }

    async fn add_file(
        &self,
        file: FileRecord,
        faults_seen: u64,
        edits: Vec<Edit>,
    ) -> std::result::Result<(), NotAdded> {
        let added = on_shard(ShardId(0), move |shard| async move {
            shard.node().add_file(file, faults_seen, edits).await
        });
        added.await.unwrap_or_else(|error| Err(NotAdded::Unknown(error)))
    }

    /// Streams a memtable into a writer, and makes of the row cache's runs what they will be.
    async fn write_memtable(
        &self,
        table: &TableState,
        sealed: &Sealed,
        writer: &mut sstable::Writer,
        stage: &mut Stage,
    ) -> Result<()> {
        let everything = Slice {
            start: Vec::new(),
            end: vec![0xFF],
        };
        let mut partition = sealed.memtable.borrow().next_partition(None);
        while let Some(found) = partition {
            let (token, key) = (found.token(), found.key());
            writer
                .append(Fragment::PartitionStart {
                    token,
                    key,
                    deletion: found.deletion(),
                })
                .await?;
            if let Some(row) = found.static_row() {
                writer.append(Fragment::StaticRow(row)).await?;
            }
            let mut rows = found.rows(&everything, Direction::Forward);
            loop {
                match rows.peek() {
                    Peek::Item(Item::Row { clustering, row }) => {
                        writer.append(Fragment::Row { clustering, row }).await?
                    }
                    Peek::Item(Item::RangeChange { position, deletion }) => {
                        writer.append(Fragment::RangeChange { position, deletion }).await?;
                    }
                    Peek::Pending { .. } => unreachable!("a memtable is in memory"),
                    Peek::End => break,
                }
                rows.advance();
            }
            writer.append(Fragment::PartitionEnd).await?;
            stage.take(&self.rows, table, &found).await;
            partition = sealed.memtable.borrow().next_partition(Some((token, key)));
        }
        Ok(())
    }
}
