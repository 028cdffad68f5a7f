//! A table of a snapshot or backup, written into an open store as a new table.
//!
//! Each sstable is streamed into mutations of the new table: rows, tombstones and their timestamps as they are. Mutations commute, so
//! the files need not be merged, and those of another number of shards need nothing more.

use crate::error::{Error, Result};
use crate::layout;
use crate::manifest::Manifest;
use crate::shard::Shard;
use crate::store::Store;
use model::{Deletion, Direction, Item, MutationBuilder, Peek, RowSource, Slice, TableId, Token};
use runtime::ShardId;
use sstable::BlockCache;
use std::ops::RangeInclusive;
use std::path::Path;
use std::rc::Rc;

/// A mutation is sent when it has as much, bytes; one row may make it longer.
const MUTATION_BYTES: usize = 32 << 10;
/// Blocks of the snapshot that are kept, bytes: each is read once.
const CACHE_BYTES: usize = 1 << 20;
/// Mutations that are sent together, to one shard.
const MUTATIONS: usize = 16;

/// A table that was copied.
///
/// [`Store::copy_table`](crate::Store::copy_table) gives it.
#[derive(Clone, Copy, Default, Debug, PartialEq, Eq)]
pub struct CopiedTable {
    /// Partitions, counted once in each table file that has something of them.
    pub partitions: u64,
    /// Rows and tombstones of rows, counted likewise.
    pub rows: u64,
}

impl Store {
    /// Copies the table `keyspace`.`name` of the snapshot or backup in `from` into this store, as a new table called `new_name`. What is
    /// copied is durable when this returns. `progress` is told, on a thread of the store, how many rows have been read.
    ///
    /// # Errors
    /// [`Error::Refused`]: there is no snapshot in `from`, or it has no such table. [`Error::Invalid`]: a table of the new name exists.
    /// [`Error::Corrupt`], [`Error::Missing`]: the snapshot is damaged, with the file; the new table then has a part of it.
    ///
    /// # Cancellation
    /// The new table may or may not exist, with any part of the rows.
    pub async fn copy_table(
        &self,
        from: &Path,
        (keyspace, name): (&str, &str),
        new_name: &str,
        progress: impl Fn(u64) + Send + 'static,
    ) -> Result<CopiedTable> {
        let (from, of) = (from.to_owned(), (keyspace.to_owned(), name.to_owned()));
        let new_name = new_name.to_owned();
        self.call(ShardId(0), move |shard| async move {
            copy(&shard, &from, of, new_name, progress).await
        })
        .await?
    }
}

async fn copy(
    shard: &Rc<Shard>,
    from: &Path,
    (keyspace, name): (String, String),
    new_name: String,
    progress: impl Fn(u64),
) -> Result<CopiedTable> {
    let refused = |what: String| Error::Refused {
        what: format!("{}: {what}", from.display()),
    };
    let found = Manifest::read(from).await?;
    let (state, _) = found.ok_or_else(|| refused("there is no snapshot and no backup here".to_owned()))?;
    if !state.logs.values().all(|log| log.clean) {
        return Err(refused("it was not closed; make a snapshot of it".to_owned()));
    }
    let mut schemas = state.tables.values();
    let schema = schemas.find(|schema| schema.keyspace == keyspace && schema.name == name);
    let schema = schema.ok_or_else(|| refused(format!("it has no table {keyspace}.{name}")))?;
    let old = schema.id;
    let mut new = schema.clone();
    new.name = new_name;
    let new = shard.node().create_table(new, false).await?.id;
    let mut copying = Copying {
        shard: Rc::clone(shard),
        mutation: MutationBuilder::new(new, &[0]),
        bytes: 0,
        bytes_max: MUTATION_BYTES.min(shard.config.largest_mutation() / 2),
        ready: Vec::new(),
        copied: CopiedTable::default(),
        progress,
    };
    let cache = Rc::new(BlockCache::new(CACHE_BYTES));
    for file in state.files.values().filter(|file| file.table == old) {
        let path = layout::table_file(from, old, file.generation);
        if !runtime::disk::exists(&path).await? {
            return Err(Error::Missing { path });
        }
        let table = sstable::Table::open(&path, file.generation, file.bytes, Rc::clone(&cache)).await?;
        let copied = match (table.host_id(), table.table()) == (state.host_id, old) {
            true => copying.file(&table, file.tokens(), new).await,
            false => Err(Error::foreign(&path)),
        };
        table.close().await?;
        copied?;
    }
    Ok(copying.copied)
}

struct Copying<P> {
    shard: Rc<Shard>,
    mutation: MutationBuilder,
    /// What the mutation has so far.
    bytes: usize,
    bytes_max: usize,
    /// Mutations of one partition.
    ready: Vec<model::Mutation>,
    copied: CopiedTable,
    progress: P,
}

impl<P: Fn(u64)> Copying<P> {
    /// Copies a file as far as its tokens are in force: what it has beyond them is in other files, or was deleted.
    async fn file(&mut self, table: &sstable::Table, tokens: RangeInclusive<Token>, new: TableId) -> Result<()> {
        // No partition has an empty key.
        let mut last: Option<(Token, Vec<u8>)> = Some((*tokens.start(), Vec::new()));
        loop {
            let after = last.as_ref().map(|(token, key)| (*token, key.as_slice()));
            let Some((token, key)) = table.next_partition(after).await? else {
                return Ok(());
            };
            if token > *tokens.end() {
                return Ok(());
            }
            self.mutation.reset(new, &key);
            self.bytes = 0;
            self.partition(table, token, &key, new).await?;
            self.cut(new, &key);
            self.send().await?;
            self.copied.partitions += 1;
            (self.progress)(self.copied.rows);
            last = Some((token, key));
        }
    }

    async fn partition(&mut self, table: &sstable::Table, token: Token, key: &[u8], new: TableId) -> Result<()> {
        if let Some(head) = table.head(token, key).await? {
            self.mutation.delete_partition(head.deletion);
            if let Some(row) = &head.static_row {
                self.mutation.static_row(row);
                self.bytes += row.len();
            }
        }
        let everything = Slice {
            start: Vec::new(),
            end: vec![0xFF],
        };
        let mut rows = table.cursor(token, key, everything, Direction::Forward);
        // The range deletion in force, and since where.
        let mut open: Option<(Vec<u8>, Deletion)> = None;
        loop {
            match rows.peek() {
                Peek::Pending { .. } => {
                    rows.fill().await?;
                    continue;
                }
                Peek::End => break,
                Peek::Item(Item::Row { clustering, row }) => {
                    self.mutation.row(clustering, row.bytes());
                    self.bytes += clustering.len() + row.bytes().len();
                    self.copied.rows += 1;
                }
                Peek::Item(Item::RangeChange { position, deletion }) => {
                    if let Some((start, deletion)) = open.take() {
                        self.mutation.delete_range(&start, position, deletion);
                        self.bytes += start.len() + position.len();
                    }
                    open = (!deletion.is_live()).then(|| (position.to_vec(), deletion));
                }
            }
            rows.advance();
            if self.bytes >= self.bytes_max {
                self.cut(new, key);
                if self.ready.len() == MUTATIONS {
                    self.send().await?;
                    (self.progress)(self.copied.rows);
                }
            }
            runtime::breathe().await;
        }
        assert!(open.is_none(), "a file closes the ranges that it opens");
        Ok(())
    }

    /// Puts what the mutation has so far with those that are ready.
    fn cut(&mut self, new: TableId, key: &[u8]) {
        if !self.mutation.is_empty() {
            self.ready.push(self.mutation.build());
            self.mutation.reset(new, key);
            self.bytes = 0;
        }
    }

    async fn send(&mut self) -> Result<()> {
        self.shard.apply_all(std::mem::take(&mut self.ready)).await
    }
}
