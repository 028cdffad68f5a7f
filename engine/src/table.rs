//! One table on one shard: the memtable that takes writes, those being flushed, the sstables.

use crate::manifest::state::FileRecord;
use commitlog::LogPosition;
use compaction::{Epoch, EpochShare, Epochs, Strategy};
use memtable::Memtable;
use model::{ColumnId, Columns, Deletion, KeySeed, MutationRef, Schema, TableId, Token};
use runtime::Break;
use runtime::time::Instant;
use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::ops::RangeInclusive;
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
    /// What was found out about it.
    pub marks: Rc<Marks>,
}

/// What is known of a file beside what it holds; lost when the store is closed.
#[derive(Default)]
pub(crate) struct Marks {
    /// A partition deletion in another file covers all of it.
    pub deleted: Cell<bool>,
    /// Some of it cannot be read: it is left alone.
    pub damaged: Cell<bool>,
    /// A flush has written it.
    pub flushed: Cell<bool>,
    /// A compaction has it.
    pub busy: Cell<bool>,
    /// It could not be read: until then it is left alone.
    pub rests_until: Cell<Option<Instant>>,
}

impl Marks {
    /// Whether a compaction may take it.
    pub fn is_free(&self) -> bool {
        let rests = self.rests_until.get().is_some_and(|until| Instant::now() < until);
        !self.busy.get() && !self.damaged.get() && !rests
    }
}

impl LiveFile {
    pub fn new(record: FileRecord, table: sstable::Table) -> LiveFile {
        LiveFile {
            record,
            table,
            marks: Rc::default(),
        }
    }

    /// The same file with these tokens in force.
    fn narrowed(&self, tokens: &RangeInclusive<i64>) -> LiveFile {
        let record = FileRecord {
            token_first: *tokens.start(),
            token_last: *tokens.end(),
            ..self.record.clone()
        };
        LiveFile {
            record,
            table: self.table.clone(),
            marks: Rc::clone(&self.marks),
        }
    }

    /// Its bytes, as far as its tokens are in force.
    pub fn bytes_in_force(&self) -> u64 {
        match (self.record.token_first, self.record.token_last) {
            (i64::MIN, i64::MAX) => self.record.bytes,
            (first, last) => self.table.bytes_between(Token(first), Token(last)),
        }
    }

    /// Before this token nothing of it is in force.
    pub fn first_token(&self) -> Token {
        let own = self.table.statistics().first.as_ref();
        own.map_or(Token(i64::MIN), |(token, _)| *token)
            .max(Token(self.record.token_first))
    }

    /// After this token nothing of it is in force.
    pub fn last_token(&self) -> Token {
        let own = self.table.statistics().last.as_ref();
        own.map_or(Token(i64::MAX), |(token, _)| *token)
            .min(Token(self.record.token_last))
    }

    /// The one partition that it has, if it has no more.
    pub fn only_partition(&self) -> Option<(Token, &[u8])> {
        let statistics = self.table.statistics();
        let (token, key) = statistics.first.as_ref()?;
        (statistics.partitions == 1).then_some((*token, key))
    }

    /// Whether the deletion of a partition, which is in another file, covers everything in this one. The same deletion may be in both:
    /// that does not cover itself, or each file would go for the other's sake.
    pub fn is_covered(&self, token: Token, key: &[u8], deletion: Deletion) -> bool {
        let statistics = self.table.statistics();
        let is_all = self.only_partition() == Some((token, key));
        let is_older = deletion.timestamp > statistics.max_timestamp
            || (deletion.covers(statistics.max_timestamp) && statistics.partition_tombstones == 0);
        is_all && (is_older || runtime::broken(Break::DropsLiveFiles))
    }

    /// Whether the file may say something of the partition.
    pub fn admits(&self, token: Token, key: &[u8]) -> bool {
        (self.record.token_first..=self.record.token_last).contains(&token.0) && self.table.may_contain(token, key)
    }
}

/// Files that are asked for a partition between two looks at the clock.
const FILES_PER_BREATH: usize = 64;
/// An epoch takes rows of its own for so long after its end, and no longer than a quarter of it.
const OPEN_FOR_MS: i64 = 3_600_000;

/// How a table's files are compacted.
///
/// # Errors
/// What is wrong with its options, in Cassandra's words.
pub(crate) fn compaction_options(
    schema: &Schema,
    unsafe_expiration_allowed: bool,
) -> std::result::Result<compaction::Options, compaction::OptionError> {
    let map = &schema.options.compaction;
    if map.is_empty() {
        return Ok(compaction::Options::default());
    }
    let options = compaction::Options::parse(map, unsafe_expiration_allowed)?;
    if let Strategy::TimeTiered(tiered) = &options.strategy {
        Epochs::new(schema, tiered)?;
    }
    Ok(options)
}

/// What a table is at one moment: `ALTER TABLE` puts another one in its place.
pub(crate) struct Definition {
    pub schema: Arc<Schema>,
    /// Columns whose cells are passed over; ascending.
    dropped: Vec<ColumnId>,
    /// How its files are compacted.
    pub compaction: compaction::Options,
    /// How its clustering key is divided, if its files are.
    pub epochs: Option<Epochs>,
    /// The first epoch for which flushes still write files of its own; see [`compaction::Now::first_open_epoch`].
    pub first_open: Cell<Epoch>,
    /// When files were last looked through for what has expired wholly, seconds since the Unix epoch.
    pub expired_checked: Cell<Option<u32>>,
}

impl Definition {
    fn new(schema: Arc<Schema>) -> Definition {
        let dropped = schema.dropped_columns();
        // They were checked before they became the table's.
        let compaction = compaction_options(&schema, true).unwrap_or_default();
        let epochs = match &compaction.strategy {
            Strategy::TimeTiered(tiered) => Epochs::new(&schema, tiered).ok(),
            Strategy::SizeTiered(_) | Strategy::TimeWindow(_) => None,
        };
        Definition {
            schema,
            dropped,
            compaction,
            epochs,
            first_open: Cell::new(Epoch(i64::MIN)),
            expired_checked: Cell::new(None),
        }
    }

    /// Moves on to the first epoch that is open now; called while no flush of the table is under way.
    pub fn open_epoch(&self, epochs: &Epochs) -> Epoch {
        let span_ms = i64::from(epochs.hours()) * 3_600_000;
        let now_ms = runtime::time::unix_micros() / 1000;
        let open = epochs.at(now_ms - OPEN_FOR_MS.min(span_ms / 4));
        self.first_open.set(self.first_open.get().max(open));
        self.first_open.get()
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
    /// A flush of the table is under way.
    pub flushing: Cell<bool>,
    /// A compaction of the table is under way.
    pub compacting: Cell<bool>,
    /// The table is being dropped or truncated: no flush and no compaction of it begins, and those under way end.
    pub stopped: Cell<bool>,
    /// How often all of it has gone.
    pub erasures: Cell<u64>,
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
            flushing: Cell::new(false),
            compacting: Cell::new(false),
            stopped: Cell::new(false),
            erasures: Cell::new(0),
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

    /// Whoever writes files of it asks, now and then, whether to go on.
    pub fn check_goes_on(&self) -> crate::Result<()> {
        match self.stopped.get() {
            true => Err(crate::Error::invalid(format!(
                "table {} is being dropped or truncated",
                self.name()
            ))),
            false => Ok(()),
        }
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

    /// Makes sstables part of the table and drops the memtable that they were written from: one step, so that every read finds
    /// the rows exactly once.
    pub fn publish(&self, new: Vec<LiveFile>, from: &Rc<Sealed>) {
        let mut files = self.files.borrow().as_ref().clone();
        new.iter().for_each(|file| file.marks.flushed.set(true));
        files.extend(new.into_iter().map(Rc::new));
        *self.files.borrow_mut() = Rc::new(files);
        self.sealed.borrow_mut().retain(|sealed| !Rc::ptr_eq(sealed, from));
    }

    /// Makes sstables part of the table, and takes from others what they hold now: one step, so that every read finds the rows
    /// exactly once. Returns the files that are no longer part of the table.
    pub fn replace(&self, new: Vec<LiveFile>, changes: &[Change]) -> Vec<Rc<LiveFile>> {
        let mut files = Vec::new();
        let mut gone = Vec::new();
        for file in self.files.borrow().iter() {
            match changes
                .iter()
                .find(|change| change.generation == file.record.generation)
            {
                None => files.push(Rc::clone(file)),
                Some(Change { left: Some(left), .. }) => files.push(Rc::new(file.narrowed(left))),
                Some(Change { left: None, .. }) => gone.push(Rc::clone(file)),
            }
        }
        files.extend(new.into_iter().map(Rc::new));
        // A read asks the youngest first.
        files.sort_by_key(|file| file.record.generation);
        *self.files.borrow_mut() = Rc::new(files);
        gone
    }
}

impl TableState {
    /// Bytes of a row in the table's files, on average.
    pub fn row_bytes(&self) -> u64 {
        let (mut bytes, mut rows) = (0, 0);
        for file in self.files.borrow().iter() {
            bytes += file.record.bytes;
            rows += file.table.statistics().rows;
        }
        bytes / u64::max(rows, 1)
    }

    /// These files hold nothing but what is deleted.
    pub fn mark_deleted(&self, generations: &[u64]) {
        let files = self.files.borrow();
        let of_them = files
            .iter()
            .filter(|file| generations.contains(&file.record.generation));
        of_them.for_each(|file| file.marks.deleted.set(true));
    }

    /// What the deletion of a partition makes useless in the table's files, `without` some.
    ///
    /// # Errors
    /// [`Error::Corrupt`](crate::Error::Corrupt) or [`Error::Io`](crate::Error::Io): an index cannot be read.
    pub async fn shadow(
        &self,
        token: Token,
        key: &[u8],
        deletion: Deletion,
        without: impl Fn(u64) -> bool,
    ) -> crate::Result<Shadow> {
        let mut shadow = Shadow::default();
        let files = Rc::clone(&self.files.borrow());
        for (at, file) in files.iter().enumerate() {
            if at % FILES_PER_BREATH == FILES_PER_BREATH - 1 {
                runtime::breathe().await;
            }
            let statistics = file.table.statistics();
            let concerns = !without(file.record.generation) && file.admits(token, key);
            if !concerns || !deletion.covers(statistics.min_timestamp) {
                continue;
            }
            if file.is_covered(token, key, deletion) {
                shadow.covered.push(file.record.generation);
                continue;
            }
            let [share] = statistics.epochs.as_ref().map_or(&[][..], |epochs| &epochs.shares) else {
                continue;
            };
            let shadowed_bytes = file.table.partition_bytes(token, key).await?;
            shadow.shares.push(EpochShare {
                epoch: Epoch(share.epoch),
                bytes: 0,
                shadowed_bytes,
            });
        }
        Ok(shadow)
    }
}

/// What a deletion makes useless.
#[derive(Default)]
pub(crate) struct Shadow {
    /// Files that it covers wholly.
    pub covered: Vec<u64>,
    /// Of others.
    pub shares: Vec<EpochShare>,
}

/// What becomes of a file's tokens.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Change {
    pub generation: u64,
    /// Those that stay in force; `None`: the file goes.
    pub left: Option<RangeInclusive<i64>>,
}
