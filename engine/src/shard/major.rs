//! Tables of which all is to be compacted, because somebody asks for it.
//!
//! 1. Whoever asks is put into a queue, by table. Who comes before the table's turn shares it with those who asked before.
//! 2. The compactor takes the first of the queue before what the strategies want, and does [`compaction::major_job`] with the files that
//!    are there at that moment, and with what becomes of them, until there is no job: what is flushed later is left out, so that it ends
//!    under load.
//! 3. All who asked are told the end. Those who have gone away meanwhile are not missed.

use super::Shard;
use crate::compactions::ShardCompactions;
use crate::error::{Error, Result};
use crate::table::LiveFile;
use model::TableId;
use runtime::sync::{OneshotSender, oneshot};
use std::cell::{Cell, RefCell};
use std::collections::{BTreeSet, VecDeque};
use std::rc::Rc;

/// A table of which all is to be compacted.
pub(super) struct Major {
    pub table: TableId,
    /// The files that were there when its turn came.
    files: RefCell<Option<Rc<BTreeSet<u64>>>>,
    /// Whether a file was divided among shards: those are to look again.
    pub has_divided: Cell<bool>,
    asking: RefCell<Vec<OneshotSender<Result<bool>>>>,
}

impl Major {
    /// Its files: those that are there at the first call.
    pub fn begin(&self, files: &[Rc<LiveFile>]) -> Rc<BTreeSet<u64>> {
        let present = || Rc::new(files.iter().map(|file| file.record.generation).collect());
        Rc::clone(self.files.borrow_mut().get_or_insert_with(present))
    }
}

/// What is asked of a shard.
#[derive(Default)]
pub(super) struct Majors(RefCell<VecDeque<Rc<Major>>>);

impl Majors {
    /// The one whose turn it is.
    pub fn first(&self) -> Option<Rc<Major>> {
        self.0.borrow().front().cloned()
    }

    fn ask(&self, table: TableId, asking: OneshotSender<Result<bool>>) {
        let mut queue = self.0.borrow_mut();
        let waiting = queue
            .iter()
            .find(|major| major.table == table && major.files.borrow().is_none());
        if let Some(waiting) = waiting {
            let mut all = waiting.asking.borrow_mut();
            all.retain(|asking| !asking.is_canceled());
            all.push(asking);
            return;
        }
        queue.push_back(Rc::new(Major {
            table,
            files: RefCell::default(),
            has_divided: Cell::new(false),
            asking: RefCell::new(vec![asking]),
        }));
    }

    /// The first is done, and whether it has divided files, or why it is not.
    pub fn end_first(&self, end: Result<bool>) {
        let Some(major) = self.0.borrow_mut().pop_front() else {
            return;
        };
        for asking in major.asking.take() {
            // Whoever has gone away need not be told.
            drop(asking.send(end.clone()));
        }
    }

    /// None is done any more.
    pub fn fail_all(&self, error: &Error) {
        while self.first().is_some() {
            self.end_first(Err(error.clone()));
        }
    }

    fn tables(&self) -> Vec<TableId> {
        self.0.borrow().iter().map(|major| major.table).collect()
    }
}

impl Shard {
    /// Flushes what is in memory, and compacts all of a table, or of all tables, as far as it belongs to this shard. Returns whether files
    /// were divided among the shards: then what the others have is not compacted yet.
    pub(crate) async fn compact_here(&self, table: Option<TableId>) -> Result<bool> {
        let tables: Vec<TableId> = match table {
            Some(id) => vec![self.table(id)?.id],
            None => self.tables.borrow().keys().copied().collect(),
        };
        self.check_open()?;
        self.flush().await?;
        let mut ends = Vec::new();
        for table in tables {
            self.check_open()?;
            let (asking, end) = oneshot();
            self.majors.ask(table, asking);
            self.compaction_wanted.notify_all();
            ends.push(end);
        }
        let mut result = Ok(false);
        for end in ends {
            let end = end.recv().await.map_err(|_| Error::Closed).flatten();
            result = match (result, end) {
                (Ok(before), Ok(has_divided)) => Ok(before || has_divided),
                (Err(error), _) | (_, Err(error)) => Err(error),
            };
        }
        result
    }

    /// What is compacted, what waits, what was done.
    pub(crate) async fn compactions_here(&self) -> ShardCompactions {
        let (running, history) = self.compactions();
        let name = |id| self.table(id).map_or_else(|_| format!("{id:?}"), |table| table.name());
        let (waiting_jobs, waiting_bytes) = self.waiting().await;
        ShardCompactions {
            shard: self.id.0,
            asked: self.majors.tables().into_iter().map(name).collect(),
            waiting_jobs,
            waiting_bytes,
            running,
            history,
            large_partitions: self.large_partitions.borrow().list(),
        }
    }
}
