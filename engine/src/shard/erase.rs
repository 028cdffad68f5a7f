//! `DROP TABLE` and `TRUNCATE` on a shard; the node leads (`node/ddl.rs`).
//!
//! 1. Flushes and compactions of the table are *stopped* on all shards: none begins, and one that is under way gives up, or has ended. So
//!    nothing is on its way into the manifest that the edit would not know of.
//! 2. To truncate, each shard seals the active memtable at the end of what is applied, and waits until the log is durable up to there. That
//!    memtable and those sealed before have all that was acknowledged, and nothing behind the position.
//! 3. One manifest edit makes the table's files obsolete, on all shards. With a truncated table it raises "flushed up to" of each log to the
//!    shard's position, so that replay brings nothing back; records of a dropped table are passed over.
//! 4. In one step without an await files, memtables and what is remembered of the table go. What is written meanwhile lies behind the
//!    position, in a younger memtable, and stays.
//! 5. Files are removed when those who read them are done, memtables freed in turns, and the log is released as far as the table pinned it.

use super::Shard;
use crate::error::{Error, Result};
use crate::manifest::state::{Edit, LogRecord};
use crate::store::on_shard;
use crate::table::{LiveFile, Sealed, TableState};
use commitlog::LogPosition;
use model::{Schema, TableId};
use runtime::{Break, ShardId, TaskClass};
use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::rc::Rc;
use std::sync::Arc;

/// Dropped tables whose names are remembered, for whoever still asks for them.
const NAMES: usize = 1000;

/// The names of tables that were dropped of late.
#[derive(Default)]
pub(super) struct Dropped(RefCell<VecDeque<(TableId, String)>>);

impl Dropped {
    fn add(&self, table: TableId, name: String) {
        let mut names = self.0.borrow_mut();
        if names.len() == NAMES {
            names.pop_front();
        }
        names.push_back((table, name));
    }

    /// There is no such table.
    pub(super) fn error(&self, table: TableId) -> Error {
        let names = self.0.borrow();
        match names.iter().find(|(id, _)| *id == table) {
            Some((_, name)) => Error::invalid(format!("table {name} was dropped")),
            None => Error::invalid(format!("table {} does not exist", table.0)),
        }
    }
}

/// Set as long as it lives; told when it ends.
pub(super) struct Working<'a> {
    shard: &'a Shard,
    is_working: &'a Cell<bool>,
}

impl<'a> Working<'a> {
    pub(super) fn begin(shard: &'a Shard, is_working: &'a Cell<bool>) -> Working<'a> {
        is_working.set(true);
        Working { shard, is_working }
    }
}

impl Drop for Working<'_> {
    fn drop(&mut self) {
        self.is_working.set(false);
        self.shard.work_ended.notify_all();
    }
}

impl Shard {
    /// As [`Store::drop_table`](crate::Store::drop_table).
    ///
    /// # Errors
    /// As there.
    ///
    /// # Cancellation
    /// As there.
    pub async fn drop_table(&self, keyspace: &str, name: &str, if_exists: bool) -> Result<Option<Arc<Schema>>> {
        let (keyspace, name) = (keyspace.to_owned(), name.to_owned());
        let drop = move |shard: Rc<Shard>| async move { shard.node().drop_table(&keyspace, &name, if_exists).await };
        on_shard(ShardId(0), drop).await?
    }

    /// As [`Store::truncate`](crate::Store::truncate).
    ///
    /// # Errors
    /// As there.
    ///
    /// # Cancellation
    /// As there.
    pub async fn truncate(&self, table: TableId) -> Result<()> {
        let truncate = move |shard: Rc<Shard>| async move { shard.node().truncate(table).await };
        on_shard(ShardId(0), truncate).await?
    }

    /// Of a table that is not there.
    pub(crate) fn dropped_or_unknown<T>(&self, table: TableId) -> Result<T> {
        Err(self.dropped.error(table))
    }

    /// Ends flushes and compactions of the table, and lets none begin until it is [resumed](Self::resume_table) or gone.
    pub(crate) async fn stop_table(&self, id: TableId) -> Result<()> {
        let table = self.table(id)?;
        table.stopped.set(true);
        loop {
            let ended = self.work_ended.notified();
            if !table.flushing.get() && !table.compacting.get() {
                return Ok(());
            }
            ended.await;
        }
    }

    /// Flushes and compactions of the table go on.
    pub(crate) fn resume_table(&self, id: TableId) {
        let Ok(table) = self.table(id) else { return };
        table.stopped.set(false);
        self.flush_wanted.notify_all();
        self.compaction_wanted.notify_all();
    }

    /// Seals what the table has in memory, and returns up to which place of the log it reaches, which is durable then.
    pub(crate) async fn seal_to_truncate(&self, id: TableId) -> Result<LogPosition> {
        let table = self.table(id)?;
        let position = self.applied.position();
        self.seal(&table, position);
        self.log().wait_durable(position).await?;
        Ok(position)
    }

    /// What the table had up to the position is gone; the manifest says so.
    pub(crate) fn truncate_here(self: &Rc<Self>, id: TableId, position: LogPosition) -> Result<()> {
        let table = self.table(id)?;
        self.erase(&table, position);
        self.resume_table(id);
        Ok(())
    }

    /// The table is gone; the manifest says so.
    pub(super) fn drop_here(self: &Rc<Self>, table: &Rc<TableState>) {
        // All of it, whatever comes: its records are passed over from now on.
        self.seal(table, self.applied.position());
        self.tables.borrow_mut().remove(&table.id);
        self.dropped.add(table.id, table.name());
        table.stopped.set(true);
        let everything = LogPosition {
            segment: u64::MAX,
            offset: u32::MAX,
        };
        self.erase(table, everything);
    }

    /// Takes from the table its files, and the memtables whose records end at or before the position. One step.
    fn erase(self: &Rc<Self>, table: &Rc<TableState>, position: LogPosition) {
        let gone = table.files.take();
        table.erasures.set(table.erasures.get() + 1);
        let mut memtables = Vec::new();
        table.sealed.borrow_mut().retain(|sealed| {
            let stays = sealed.end > position;
            if !stays {
                memtables.push(Rc::clone(sealed));
            }
            stays
        });
        if !runtime::broken(Break::RunsOutliveTruncation) {
            self.rows.forget(table.id);
        }
        self.joined.strike_off_table(table.id);
        self.large_partitions.borrow_mut().forget(table.id);
        for sealed in memtables {
            self.memory.set(self.memory.get() - sealed.bytes);
            free(sealed);
        }
        self.remove_erased(table.id, gone);
        self.room.notify_all();
        self.flushed.notify_all();
    }

    /// Removes files that are no longer part of the store, in the background. One that shards share is removed by one of them.
    fn remove_erased(self: &Rc<Self>, table: TableId, gone: Rc<Vec<Rc<LiveFile>>>) {
        if gone.is_empty() {
            return;
        }
        let Some(pass) = self.removals.enter() else { return };
        let shard = Rc::clone(self);
        drop(runtime::spawn(TaskClass::Maintenance, "remove files", async move {
            // Reads that have the list have the files.
            let gone = Rc::unwrap_or_clone(gone);
            let is_own = |file: &Rc<LiveFile>| file.record.is_counted_by(shard.id.0, shard.count);
            let (own, others) = gone.into_iter().partition(is_own);
            shard.close_gone(others, || false).await;
            shard.remove_gone(table, own, || false).await;
            drop(pass);
        }));
    }

    /// Releases the log as far as nothing needs it any more. Whoever takes something away that pins it does so afterwards: of two who
    /// do at the same time the first still finds what the second takes.
    pub(crate) async fn release_unpinned(&self) -> Result<()> {
        let floor = self.log_pin(None);
        // During a resharding nothing of a log is covered before all shards have flushed.
        if floor.segment <= self.log_floor.get().segment || self.resharding.get() {
            return Ok(());
        }
        let log = LogRecord {
            floor: floor.segment,
            clean: false,
        };
        let edits = vec![Edit::Log { shard: self.id.0, log }];
        let told = on_shard(ShardId(0), move |shard| async move { shard.node().edit(edits).await });
        match told.await.flatten() {
            Ok(()) => self.release_log(floor),
            // The next flush releases it; what it is about has happened.
            Err(error) if error.is_no_space() => {}
            Err(error) => {
                self.poison(&error);
                return Err(error);
            }
        }
        Ok(())
    }
}

/// Entries of a memtable freed between two looks at the clock.
const DROP_ENTRIES: usize = 256;
/// Until the next look at a memtable that somebody still reads.
const READERS_WAIT: std::time::Duration = std::time::Duration::from_millis(20);

/// Frees a memtable in turns.
pub(super) fn free(sealed: Rc<Sealed>) {
    drop(runtime::spawn(TaskClass::Maintenance, "free memtable", async move {
        while !sealed.memtable.borrow_mut().drop_step(DROP_ENTRIES) {
            if sealed.memtable.borrow().reader_count() > 0 {
                runtime::time::sleep(READERS_WAIT).await;
            } else {
                runtime::breathe().await;
            }
        }
    }));
}
