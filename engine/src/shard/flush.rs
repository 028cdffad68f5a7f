//! Flush: a sealed memtable becomes an sstable.
//!
//! 1. The memtable streams into a new file, or into several ([`Routes`], fragments); each is synced and cut to its size.
//! 2. The log is durable up to the memtable's end (it always is, but in periodic mode).
//! 3. The directory is synced: the file's name is durable.
//! 4. One manifest edit adds the files, raises "flushed up to" and the log's floor.
//! 5. In one step without an await the files become visible and the memtable goes.
//! 6. Only then log segments are released; the memtable's memory is freed in turns.
//!
//! A crash between any two leaves the records in the log or the file in the manifest. A failed table file is given up, removed
//! and tried again under a new generation; a failed manifest edit poisons the shard, because it may have happened.

use super::erase::Working;
use super::{Shard, add};
use crate::cache::Stage;
use crate::error::Result;
use crate::layout;
use crate::manifest::state::{Edit, FileRecord, LogRecord};
use crate::node::NotAdded;
use crate::outputs::{Kind, Outputs};
use crate::store::on_shard;
use crate::table::{Definition, LiveFile, Sealed, TableState};
use commitlog::LogPosition;
use compaction::{Epoch, Epochs, Router, Routes};
use model::{Direction, Item, Peek, RowSource, Slice, TableId};
use runtime::disk;
use runtime::{Break, ShardId};
use std::rc::Rc;
use std::sync::atomic::Ordering;
use std::time::Duration;

/// First wait after a failed flush; doubled up to [`RETRY_MAX`].
const RETRY_MIN: Duration = Duration::from_millis(50);
const RETRY_MAX: Duration = Duration::from_secs(2);
/// Deletions of partitions of which a flush looks up what they make useless; of more it does not know.
const LOOKUPS_MAX: u32 = 4096;

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
                    // What pinned the log when the flush asked may have been erased since.
                    if let Err(error) = self.release_unpinned().await {
                        return self.poison(&error);
                    }
                    self.look_at_backlog().await;
                }
                Err(NotAdded::Unknown(error)) => return self.poison(&error),
                Err(NotAdded::GivenUp(_)) if table.stopped.get() => {}
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
        let oldest = tables
            .values()
            .filter(|table| !table.stopped.get())
            .filter_map(|table| {
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
        let faults_seen = self.dir_faults.load(Ordering::Acquire);
        let definition = table.definition();
        let mut stage = Stage::default();
        let working = Working::begin(self, &table.flushing);
        let written = self.write_files(table, &definition, sealed, &mut stage).await;
        let flushed = match written {
            Ok(written) => self.add_flushed(table, sealed, written, faults_seen, &mut stage).await,
            Err(error) => Err(NotAdded::GivenUp(error)),
        };
        drop(working);
        if let Err(error) = flushed {
            stage.discard().await;
            return Err(error);
        }
        self.rows.settle().await;
        super::erase::free(Rc::clone(sealed));
        Ok(())
    }

    /// Makes the files that a memtable was written to part of the store, in its place.
    async fn add_flushed(
        &self,
        table: &TableState,
        sealed: &Rc<Sealed>,
        flushed: Flushed,
        faults_seen: u64,
        stage: &mut Stage,
    ) -> std::result::Result<(), NotAdded> {
        let floor = self.log_pin(Some(sealed));
        if runtime::broken(Break::ReleaseBeforeManifest) {
            self.release_log(floor);
        }
        // During a resharding nothing of a log is covered before all shards have flushed.
        let edits = match self.resharding.get() {
            true => Vec::new(),
            false => self.flushed_edits(table, sealed, floor),
        };
        let mut records: Vec<FileRecord> = flushed.files.iter().map(|file| file.record.clone()).collect();
        let bytes: u64 = records.iter().map(|record| record.bytes).sum();
        if runtime::broken(Break::ForgetsLateFiles) {
            records.retain(|record| !record.late);
        }
        if let Err(error) = self.add_files(table.id, records, faults_seen, edits).await {
            for file in flushed.files {
                drop(file.table.close().await);
                if matches!(error, NotAdded::GivenUp(_)) {
                    self.remove_table_file(table.id, file.record.generation).await;
                }
            }
            return Err(error);
        }
        add(&self.counters.flushes, 1);
        add(&self.counters.flushed_bytes, bytes);
        table.publish(flushed.files, sealed);
        table.mark_deleted(&flushed.covered);
        if runtime::broken(Break::CachePublishesLate) {
            runtime::time::sleep(Duration::from_millis(1)).await;
        }
        self.rows.publish(std::mem::take(stage));
        self.memory.set(self.memory.get() - sealed.bytes);
        self.release_log(floor);
        self.room.notify_all();
        self.flushed.notify_all();
        self.compaction_wanted.notify_all();
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

    /// Writes a memtable to files: one for each epoch that is open, and one for everything else. All of them are whole when this
    /// returns, and the log is durable as far as they reach.
    async fn write_files(
        &self,
        table: &TableState,
        definition: &Definition,
        sealed: &Sealed,
        stage: &mut Stage,
    ) -> Result<Flushed> {
        let (routes, late) = match &definition.epochs {
            None => (Routes::one(), false),
            Some(epochs) => (Routes::by_epoch(epochs, &open_epochs(definition, epochs)), true),
        };
        let kind = |target| Kind {
            shard: self.id.0,
            late: late && target == routes.rest(),
            shadows: late && target == routes.rest(),
            is_run: true,
            run: None,
        };
        let kinds: Vec<Kind> = (0..routes.targets()).map(kind).collect();
        let estimate = (sealed.bytes as u64 / kinds.len() as u64).min(self.config.fragment_bytes);
        let mut outputs = Outputs::new(self, table, definition, kinds, estimate, table.row_bytes());
        let written = async {
            let covered = self.write_memtable(table, sealed, routes, &mut outputs, stage).await?;
            outputs.seal_all().await?;
            if let Some(log) = self.log.get() {
                log.wait_durable(sealed.end).await?;
            }
            let files = outputs.open_sealed().await?;
            Ok(Flushed { files, covered })
        };
        let written = written.await;
        if written.is_err() {
            outputs.abandon().await;
        }
        written
    }

    /// Opens a table file that this shard, or another one, has written.
    pub(crate) async fn open_written(&self, record: FileRecord) -> Result<LiveFile> {
        let path = layout::table_file(&self.config.dir, record.table, record.generation);
        let table = sstable::Table::open(&path, record.generation, record.bytes, Rc::clone(&self.cache)).await?;
        Ok(LiveFile::new(record, table))
    }

    /// Removes a table file that is not part of the store. One that stays is set aside by the next opening.
    pub(crate) async fn remove_table_file(&self, table: TableId, generation: u64) -> bool {
        let path = layout::table_file(&self.config.dir, table, generation);
        disk::remove(&path).await.is_ok()
    }

    /// The generation of a new file.
    pub(crate) fn draw_generation(&self) -> u64 {
        let generation = self.next_generation.get();
        self.next_generation.set(layout::generation_after(generation));
        generation
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

    pub(super) fn release_log(&self, floor: LogPosition) {
        self.log_floor.set(floor.max(self.log_floor.get()));
        if let Some(log) = self.log.get() {
            log.release(floor);
        }
    }

    pub(super) async fn add_files(
        &self,
        table: TableId,
        files: Vec<FileRecord>,
        faults_seen: u64,
        edits: Vec<Edit>,
    ) -> std::result::Result<(), NotAdded> {
        let added = on_shard(ShardId(0), move |shard| async move {
            shard.node().add_files(table, files, faults_seen, edits).await
        });
        added.await.unwrap_or_else(|error| Err(NotAdded::Unknown(error)))
    }

    /// Streams a memtable into files, and makes of the row cache's runs what they will be. Gives the files of the table of which its
    /// deletions cover all.
    async fn write_memtable(
        &self,
        table: &TableState,
        sealed: &Sealed,
        routes: Routes,
        outputs: &mut Outputs<'_>,
        stage: &mut Stage,
    ) -> Result<Vec<u64>> {
        let mut covered = Vec::new();
        let everything = Slice::all();
        let rest = routes.rest();
        // An epoch settles out of all its flushes at once: their space comes back bit by bit. Elsewhere what is merged first is little.
        let is_cut = routes.targets() > 1;
        let mut router = Router::new(routes);
        let (mut looked_up, mut last) = (0, None);
        let mut partition = sealed.memtable.borrow().next_partition(None);
        while let Some(found) = partition {
            let (token, key, deletion) = (found.token(), found.key(), found.deletion());
            if is_cut && last.is_some_and(|last| last < token) {
                outputs.seal_from(self.config.fragment_bytes, token.0 - 1).await?;
            }
            last = Some(token);
            router.partition(token, key, deletion, &[], outputs).await?;
            if !deletion.is_live() && looked_up < LOOKUPS_MAX {
                looked_up += 1;
                // What cannot be read is told to whoever needs it.
                if let Ok(shadow) = table.shadow(token, key, deletion, |_| false).await {
                    covered.extend(shadow.covered);
                    shadow
                        .shares
                        .into_iter()
                        .for_each(|share| outputs.shadowed(rest, share));
                }
            }
            if let Some(row) = found.static_row() {
                router.static_row(row, outputs).await?;
            }
            let mut rows = found.rows(&everything, Direction::Forward);
            loop {
                match rows.peek() {
                    Peek::Item(Item::Row { clustering, row }) => router.row(clustering, row, outputs).await?,
                    Peek::Item(Item::RangeChange { position, deletion }) => {
                        router.range_change(position, deletion, outputs).await?;
                    }
                    Peek::Pending { .. } => unreachable!("a memtable is in memory"),
                    Peek::End => break,
                }
                rows.advance();
            }
            router.end(outputs).await?;
            stage.take(&self.rows, table, &found).await;
            partition = sealed.memtable.borrow().next_partition(Some((token, key)));
        }
        Ok(covered)
    }
}

/// What a memtable was written to.
struct Flushed {
    files: Vec<LiveFile>,
    /// Files of the table of which its deletions cover all.
    covered: Vec<u64>,
}

/// The epochs that get files of their own: those from the first that is open up to the next one. What lies beyond has ids from the
/// future.
fn open_epochs(definition: &Definition, epochs: &Epochs) -> Vec<Epoch> {
    let first = definition.open_epoch(epochs);
    let now = epochs.at(runtime::time::unix_micros() / 1000);
    (first.0..=now.0.saturating_add(1)).map(Epoch).collect()
}
