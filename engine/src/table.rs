//! One table on one shard: the memtable that takes writes, those being flushed, the sstables.

use crate::manifest::state::FileRecord;
use commitlog::LogPosition;
use memtable::Memtable;
use model::{ColumnId, Columns, KeySeed, MutationRef, Schema, TableId, Token};
use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::rc::Rc;
use std::sync::Arc;

/// A memtable that takes no more writes, until its sstable is part of the store.
pub(crate) struct Sealed {
    pub memtable: RefCell<Memtable>,
    /// Every record it holds begins at or after this position.
    pub start: LogPosition,
    /// Every record of the table that ends at or before this position is in it or in something older.
    pub end: LogPosition,
    pub bytes: usize,
}

/// An sstable of the store, open.
pub(crate) struct LiveFile {
    pub record: FileRecord,
    pub table: sstable::Table,
}

impl LiveFile {
    /// Whether the file may say something of the partition.
    pub fn admits(&self, token: Token, key: &[u8]) -> bool {
        (self.record.token_first..=self.record.token_last).contains(&token.0) && self.table.may_contain(token, key)
    }
}

/// What a table is at one moment: `ALTER TABLE` puts another one in its place.
pub(crate) struct Definition {
    pub schema: Arc<Schema>,
    /// Columns whose cells are passed over; ascending.
    dropped: Vec<ColumnId>,
}

impl Definition {
    fn new(schema: Arc<Schema>) -> Definition {
        let dropped = schema.dropped_columns();
        Definition { schema, dropped }
    }

    /// What a reader sees.
    pub fn columns(&self) -> Columns<'_> {
        match &self.dropped[..] {
            [] => Columns::All,
            dropped => Columns::Except(dropped),
        }
    }
}

/// A table's data on this shard.
///
/// Invariant: `sealed` is ordered oldest first, and flushed in that order, so that "flushed up to" is true of all that
/// came before.
pub(crate) struct TableState {
    pub id: TableId,
    /// A shard's own, so that shards do not share a counter of references.
    definition: RefCell<Rc<Definition>>,
    pub active: RefCell<Memtable>,
    /// What the digests of the memtables' keys depend on.
    seed: KeySeed,
    /// Where the first record of `active` begins.
    pub active_start: Cell<Option<LogPosition>>,
    pub active_bytes: Cell<usize>,
    pub sealed: RefCell<VecDeque<Rc<Sealed>>>,
    /// Shared with the reads in flight: replaced as a whole, never changed.
    pub files: RefCell<Rc<Vec<Rc<LiveFile>>>>,
}

impl TableState {
    pub fn new(schema: Arc<Schema>, files: Vec<Rc<LiveFile>>, seed: KeySeed) -> TableState {
        TableState {
            id: schema.id,
            definition: RefCell::new(Rc::new(Definition::new(schema))),
            active: RefCell::new(Memtable::with_seed(seed)),
            seed,
            active_start: Cell::new(None),
            active_bytes: Cell::new(0),
            sealed: RefCell::default(),
            files: RefCell::new(Rc::new(files)),
        }
    }

    /// What the table is now.
    pub fn definition(&self) -> Rc<Definition> {
        Rc::clone(&self.definition.borrow())
    }

    /// The table is this from now on.
    pub fn redefine(&self, schema: Arc<Schema>) {
        assert!(schema.id == self.id, "another table's definition");
        *self.definition.borrow_mut() = Rc::new(Definition::new(schema));
    }

    /// Its keyspace and name, for people.
    pub fn name(&self) -> String {
        self.definition.borrow().schema.qualified_name()
    }

    /// Merges a record that begins at `start` into the active memtable; returns the bytes of memory added.
    pub fn apply(&self, mutation: MutationRef<'_>, start: LogPosition) -> usize {
        let added = self.active.borrow_mut().apply(mutation);
        if self.active_start.get().is_none() {
            self.active_start.set(Some(start));
        }
        self.active_bytes.set(self.active_bytes.get() + added);
        added
    }

    /// Moves the active memtable to the sealed ones; everything applied so far ends at or before `applied`. Returns its
    /// bytes, or `None` if it is empty.
    pub fn seal(&self, applied: LogPosition) -> Option<usize> {
        let start = self.active_start.take()?;
        let mut memtable = self.active.replace(Memtable::with_seed(self.seed));
        memtable.seal();
        let bytes = self.active_bytes.take();
        let sealed = Sealed {
            memtable: RefCell::new(memtable),
            start,
            end: applied,
            bytes,
        };
        self.sealed.borrow_mut().push_back(Rc::new(sealed));
        Some(bytes)
    }

    /// The position before which the table needs nothing of the log, leaving `without` out of account; `None` if it needs
    /// nothing of it at all.
    pub fn log_pin(&self, without: Option<&Rc<Sealed>>) -> Option<LogPosition> {
        let sealed = self.sealed.borrow();
        let oldest = sealed
            .iter()
            .filter(|sealed| without.is_none_or(|other| !Rc::ptr_eq(sealed, other)));
        oldest.map(|sealed| sealed.start).chain(self.active_start.get()).min()
    }

    /// Makes an sstable part of the table and drops the memtable it was written from: one step, so that every read finds
    /// the rows exactly once.
    pub fn publish(&self, file: LiveFile, from: &Rc<Sealed>) {
        let mut files = self.files.borrow().as_ref().clone();
        files.push(Rc::new(file));
        *self.files.borrow_mut() = Rc::new(files);
        self.sealed.borrow_mut().retain(|sealed| !Rc::ptr_eq(sealed, from));
    }
}
