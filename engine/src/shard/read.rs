//! The life of a read on its shard (DESIGN §7):
//!
//! 1. Snapshots of the memtables' partition and of the list of sstables are taken in one step: a page is one moment,
//!    whatever is written or flushed while it is read.
//! 2. Sstables with `partition_heads` are asked for the partition's deletion and static row first.
//! 3. The others become lazy cursors: the merge asks for the first block of a file only when its newest possible row is
//!    the next one, so that a newest-first page leaves older files closed.
//! 4. The merge passes over what deletions cover, reconciles, and the live cells go to the page.

use super::{Shard, add};
use crate::error::{Error, Result};
use crate::page::{Cost, Page, Read, rest_after};
use crate::table::{LiveFile, TableState};
use memtable::Partition;
use model::{
    Columns, Deletion, Direction, Item, Live, Merge, Peek, RowRef, RowSource, Slice, Step, TableId, Token, live_row,
    merge_rows,
};
use runtime::Break;
use std::rc::Rc;

/// Rows merged between two looks at the clock.
const ROWS_PER_BREATH: u32 = 16;

/// Where a merged row comes from.
enum Source {
    Memory(memtable::Rows),
    File(sstable::Cursor),
}

impl RowSource for Source {
    fn peek(&self) -> Peek<'_> {
        match self {
            Source::Memory(rows) => rows.peek(),
            Source::File(cursor) => cursor.peek(),
        }
    }

    fn advance(&mut self) {
        match self {
            Source::Memory(rows) => rows.advance(),
            Source::File(cursor) => cursor.advance(),
        }
    }

    fn skip_covered(&mut self, timestamp: i64, until: Option<&[u8]>) -> u64 {
        match self {
            Source::Memory(rows) => rows.skip_covered(timestamp, until),
            Source::File(cursor) => cursor.skip_covered(timestamp, until),
        }
    }
}

/// One partition at one moment.
struct Snapshot {
    token: Token,
    memory: Vec<Partition>,
    files: Vec<Rc<LiveFile>>,
}

impl Snapshot {
    fn take(table: &TableState, token: Token, key: &[u8]) -> Snapshot {
        let active = table.active.borrow().partition(token, key);
        let sealed = table.sealed.borrow();
        let sealed = sealed
            .iter()
            .filter_map(|sealed| sealed.memtable.borrow().partition(token, key));
        let memory = active.into_iter().chain(sealed).collect();
        let files = table.files.borrow();
        let files = files.iter().filter(|file| file.admits(token, key)).cloned().collect();
        Snapshot { token, memory, files }
    }

    /// The partition's deletion and static row, of all sources.
    async fn head(&self, key: &[u8]) -> Result<(Deletion, Option<Vec<u8>>)> {
        let mut deletion = Deletion::LIVE;
        let mut static_row: Option<Vec<u8>> = None;
        let mut add = |of: Deletion, row: Option<RowRef<'_>>| {
            deletion = deletion.max(of);
            let Some(row) = row else { return };
            let mut merged = Vec::new();
            match &static_row {
                Some(present) => merge_rows(RowRef::trusted(present), row, &mut merged),
                None => merged.extend_from_slice(row.bytes()),
            }
            static_row = Some(merged);
        };
        for partition in &self.memory {
            add(partition.deletion(), partition.static_row());
        }
        for file in &self.files {
            if !file.table.statistics().partition_heads || runtime::broken(Break::NoPartitionHeads) {
                continue;
            }
            if let Some(head) = file.table.head(self.token, key).await? {
                add(head.deletion, head.static_row.as_deref().map(RowRef::trusted));
            }
        }
        Ok((deletion, static_row))
    }

    fn sources(&self, key: &[u8], slice: &Slice, direction: Direction, deletion: Deletion) -> Vec<Source> {
        let mut sources = Vec::with_capacity(self.memory.len() + self.files.len());
        sources.extend(
            self.memory
                .iter()
                .map(|partition| Source::Memory(partition.rows(slice, direction))),
        );
        // The youngest first: of those that begin at one position, the merge opens the first. If that one holds a deletion,
        // the others pass over what it covers.
        for file in self.files.iter().rev() {
            let statistics = file.table.statistics();
            let bounds = statistics.clustering.as_ref();
            let within = bounds.is_some_and(|(first, last)| *first < slice.end && *last >= slice.start);
            if within && !deletion.covers(statistics.max_timestamp) {
                sources.push(Source::File(file.table.cursor(
                    self.token,
                    key,
                    slice.clone(),
                    direction,
                )));
            }
        }
        sources
    }
}

/// What a reader sees of a row at `now_s`: the row itself, or its live cells in `scratch`, or nothing.
fn live_part<'a>(row: RowRef<'a>, now_s: u32, scratch: &'a mut Vec<u8>) -> Option<RowRef<'a>> {
    match live_row(row, now_s, Columns::All, scratch).live {
        Live::Dead => None,
        Live::Whole => Some(row),
        Live::Part => Some(RowRef::trusted(scratch)),
    }
}

impl Shard {
    /// Reads one page. Goes to the owner shard by itself.
    ///
    /// # Errors
    /// [`Error::Invalid`], [`Error::Corrupt`] naming the file, [`Error::Io`].
    ///
    /// # Cancellation
    /// Dropping it changes nothing; a block on its way is still put into the cache.
    pub async fn read(self: &Rc<Self>, read: Read) -> Result<Page> {
        let owner = self.owner(model::token_of(&read.key));
        if owner == self.id {
            return self.read_here(&read).await;
        }
        crate::store::on_shard(owner, move |shard| async move { shard.read_here(&read).await }).await?
    }

    pub(crate) async fn read_here(&self, read: &Read) -> Result<Page> {
        if read.limit_rows == 0 {
            return Err(Error::invalid("a page of no rows"));
        }
        if read.slice.start > read.slice.end {
            return Err(Error::invalid("a slice that ends before it starts"));
        }
        let table = self.table(read.table)?;
        add(&self.counters.reads, 1);
        let token = model::token_of(&read.key);
        let snapshot = Snapshot::take(&table, token, &read.key);
        let now = runtime::time::unix_seconds();
        let (deletion, static_row) = snapshot.head(&read.key).await?;
        let mut page = Page::default();
        let mut scratch = Vec::new();
        if let Some(body) = static_row {
            let mut unshadowed = Vec::new();
            let row = match model::shadow_row(RowRef::trusted(&body), deletion, &mut unshadowed) {
                model::Shadowed::Unchanged => Some(RowRef::trusted(&body)),
                model::Shadowed::Changed => Some(RowRef::trusted(&unshadowed)),
                model::Shadowed::Gone => None,
            };
            if let Some(live) = row.and_then(|row| live_part(row, now, &mut scratch)) {
                page.set_static_row(live.bytes().to_vec());
            }
        }
        let sources = snapshot.sources(&read.key, &read.slice, read.direction, deletion);
        let mut merge = Merge::new(sources, read.direction, deletion);
        let mut more = false;
        let mut dead = 0;
        let mut steps = 0;
        loop {
            let full = page.len() >= read.limit_rows || page.bytes_len() >= read.limit_bytes;
            match merge.step() {
                Step::Item => {
                    if let Item::Row { clustering, row } = merge.item() {
                        let live = live_part(row, now, &mut scratch);
                        dead += u64::from(live.is_none());
                        let given = if read.include_dead { Some(row) } else { live };
                        if full && given.is_some() {
                            more = true;
                            break;
                        }
                        if let Some(row) = given {
                            let more = read.limit_rows - 1 - page.len();
                            page.push(clustering, row.bytes(), more);
                        }
                    }
                }
                Step::Pending(_) if full => {
                    more = true;
                    break;
                }
                Step::Pending(index) => match merge.source_mut(index) {
                    Source::File(cursor) => cursor.fill().await?,
                    Source::Memory(_) => unreachable!("a memtable is in memory"),
                },
                Step::End => break,
            }
            steps += 1;
            if steps % ROWS_PER_BREATH == 0 {
                runtime::breathe().await;
            }
        }
        let counts = merge.counts();
        let mut cost = Cost {
            rows_merged: counts.rows_merged,
            rows_dead: counts.rows_dead + dead,
            rows_skipped: counts.rows_skipped,
            ..Cost::default()
        };
        for source in merge.sources() {
            if let Source::File(cursor) = source {
                let of = cursor.cost();
                cost.sstables_opened += u64::from(of.opened);
                cost.data_blocks += of.data_blocks;
                cost.index_blocks += of.index_blocks;
                cost.device_reads += of.device_reads;
            }
        }
        let rest = page
            .last_clustering()
            .filter(|_| more)
            .map(|last| rest_after(&read.slice, last, read.direction));
        page.finish(rest, cost);
        Ok(page)
    }

    /// The keys of up to `limit` partitions of this shard after `after`, in token order, that have anything at all, dead or
    /// live.
    pub(crate) async fn partitions_here(
        &self,
        table: TableId,
        after: Option<Vec<u8>>,
        limit: usize,
    ) -> Result<Vec<Vec<u8>>> {
        let table = self.table(table)?;
        let mut keys: Vec<Vec<u8>> = Vec::new();
        let mut last = after.map(|key| (model::token_of(&key), key));
        while keys.len() < limit {
            // In one step with the look at the memtables: what is flushed meanwhile is in the one or in the other.
            let files = Rc::clone(&table.files.borrow());
            let from = last.as_ref().map(|(token, key)| (*token, key.as_slice()));
            let of = |partition: Option<Partition>| partition.map(|found| (found.token(), found.key().to_vec()));
            let mut next = of(table.active.borrow().next_partition(from));
            let mut consider = |found: Option<(Token, Vec<u8>)>| {
                if let Some(found) = found
                    && next.as_ref().is_none_or(|next| found < *next)
                {
                    next = Some(found);
                }
            };
            for sealed in table.sealed.borrow().iter() {
                consider(of(sealed.memtable.borrow().next_partition(from)));
            }
            for file in files.iter() {
                consider(file.table.next_partition(from).await?);
            }
            let Some(found) = next else { break };
            keys.push(found.1.clone());
            last = Some(found);
            runtime::breathe().await;
        }
        Ok(keys)
    }
}
