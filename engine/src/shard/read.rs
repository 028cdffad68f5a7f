//! The life of a read on its shard (DESIGN §7):
//!
//! 1. If the same read is under way, or its page is hot, and the partition has not been written to since it began, its page is
//!    shared ([`super::joined`]).
//! 2. Snapshots of the memtables' partition and of the list of sstables are taken in one step: a page is one moment,
//!    whatever is written or flushed while it is read.
//! 3. Sstables with `partition_heads` are asked for the partition's deletion and static row first.
//! 4. What an earlier read found dead is passed over, and what the row cache's run of the partition knows is not asked of
//!    them ([`crate::cache`]).
//! 5. The others become lazy cursors: the merge asks for the first block of a file only when its newest possible row is
//!    the next one, so that a newest-first page leaves older files closed.
//! 6. Blocks of which each row has its tombstone elsewhere are passed over unread ([`super::cancelled`]).
//! 7. The merge passes over what deletions cover, reconciles, and the live cells go to the page. Tombstones met are counted;
//!    with too many the read fails, or its page is cut.

use super::cancelled::Stretch;
use super::fill::reached;
use super::joined::{Found, Leading};
use super::write::{Counted, check_key};
use super::{READS_MAX, Shard, WAITING_READERS_MAX, add, micros};
use crate::cache::{Between, Finder, Key, Parts, Run, RunRows, is_judged, look};
use crate::error::{Error, Hex, Result};
use crate::page::{Cost, Page, PageBuilder, PastTombstones, Read, rest_after};
use crate::table::{LiveFile, TableState};
use memtable::Partition;
use model::{
    Columns, Deletion, Direction, Item, Live, Merge, MergeCounts, Peek, ReadTime, RowRef, RowSource, Slice, Step,
    Token, live_row, merge_rows,
};
use runtime::Break;
use runtime::sync::Permit;
use runtime::time::Instant;
use std::cell::OnceCell;
use std::future::{Future, poll_fn};
use std::pin::pin;
use std::rc::Rc;
use std::time::Duration;

/// Rows merged between two looks at the clock.
const ROWS_PER_BREATH: u32 = 16;
/// Rows that are copied as they lie between two looks at the clock, and their bytes.
const LIVE_ROWS_PER_BREATH: u64 = 64;
const LIVE_BYTES_PER_BREATH: usize = 64 << 10;
/// Many tombstones are warned about once in this time.
const WARN_EVERY: Duration = Duration::from_secs(1);

/// Where a merged row comes from.
pub(super) enum Source {
    Memory(memtable::Rows),
    Run(RunRows),
    File(sstable::Cursor),
}

impl RowSource for Source {
    fn peek(&self) -> Peek<'_> {
        match self {
            Source::Memory(rows) => rows.peek(),
            Source::Run(rows) => rows.peek(),
            Source::File(cursor) => cursor.peek(),
        }
    }

    fn advance(&mut self) {
        match self {
            Source::Memory(rows) => rows.advance(),
            Source::Run(rows) => rows.advance(),
            Source::File(cursor) => cursor.advance(),
        }
    }

    fn skip_covered(&mut self, timestamp: i64, until: Option<&[u8]>) -> u64 {
        match self {
            Source::Memory(rows) => rows.skip_covered(timestamp, until),
            Source::Run(rows) => rows.skip_covered(timestamp, until),
            Source::File(cursor) => cursor.skip_covered(timestamp, until),
        }
    }

    fn skip_dead(&mut self, until: Option<&[u8]>) -> u64 {
        let until = until.filter(|_| !runtime::broken(Break::DeadRunsSwallow));
        match self {
            Source::Memory(rows) => rows.skip_dead(until),
            Source::Run(rows) => rows.skip_dead(until),
            Source::File(cursor) => cursor.skip_dead(until),
        }
    }

    fn give_live(
        &mut self,
        direction: Direction,
        until: Option<&[u8]>,
        give: &mut impl FnMut(&[u8], RowRef<'_>) -> bool,
    ) -> u64 {
        match self {
            Source::Memory(rows) => rows.give_live(direction, until, give),
            Source::Run(rows) => rows.give_live(direction, until, give),
            Source::File(cursor) => cursor.give_live(direction, until, give),
        }
    }
}

/// One partition at one moment.
pub(super) struct Snapshot {
    token: Token,
    memory: Vec<Partition>,
    all_files: Rc<Vec<Rc<LiveFile>>>,
    /// Those that may hold the partition, once it is asked.
    files: OnceCell<Vec<Rc<LiveFile>>>,
    /// What the row cache knows of the files.
    run: Option<Rc<Run>>,
}

impl Snapshot {
    fn take(table: &TableState, token: Token, key: &[u8], run: Option<Rc<Run>>) -> Snapshot {
        let active = table.active.borrow().partition(token, key);
        let sealed = table.sealed.borrow();
        let sealed = sealed
            .iter()
            .filter_map(|sealed| sealed.memtable.borrow().partition(token, key));
        let memory = active.into_iter().chain(sealed).collect();
        Snapshot {
            memory,
            run,
            ..Snapshot::of_files(table, token)
        }
    }

    /// The sstables alone.
    pub(super) fn of_files(table: &TableState, token: Token) -> Snapshot {
        Snapshot {
            token,
            memory: Vec::new(),
            all_files: Rc::clone(&table.files.borrow()),
            files: OnceCell::new(),
            run: None,
        }
    }

    /// The sstables that may hold the partition: their filters are looked at only by a read that the run does not serve.
    fn files(&self, key: &[u8]) -> &[Rc<LiveFile>] {
        let admits = |file: &&Rc<LiveFile>| file.admits(self.token, key);
        self.files
            .get_or_init(|| self.all_files.iter().filter(admits).cloned().collect())
    }

    /// The partition's deletion and static row, of all sources.
    pub(super) async fn head(&self, key: &[u8]) -> Result<(Deletion, Option<Vec<u8>>)> {
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
        if let Some(run) = &self.run {
            add(run.deletion(), run.static_row());
            return Ok((deletion, static_row));
        }
        for file in self.files(key) {
            if !file.table.statistics().partition_heads || runtime::broken(Break::NoPartitionHeads) {
                continue;
            }
            if let Some(head) = file.table.head(self.token, key).await? {
                add(head.deletion, head.static_row.as_deref().map(RowRef::trusted));
            }
        }
        Ok((deletion, static_row))
    }

    /// The sources of a slice that the run does not know.
    pub(super) fn sources(&self, key: &[u8], slice: &Slice, direction: Direction, deletion: Deletion) -> Vec<Source> {
        let files = self.files(key);
        let mut sources = Vec::with_capacity(self.memory.len() + files.len());
        sources.extend(self.of_memory(slice, direction));
        // The youngest first: of those that begin at one position, the merge opens the first. If that one holds a deletion,
        // the others pass over what it covers.
        for file in files.iter().rev() {
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

    /// The sources of a slice that the run knows.
    fn sources_with_run(&self, run: &Rc<Run>, slice: &Slice, direction: Direction) -> Vec<Source> {
        let run = RunRows::new(Rc::clone(run), slice.clone(), direction);
        self.of_memory(slice, direction)
            .chain(std::iter::once(Source::Run(run)))
            .collect()
    }

    fn of_memory(&self, slice: &Slice, direction: Direction) -> impl Iterator<Item = Source> {
        self.memory
            .iter()
            .map(move |partition| Source::Memory(partition.rows(slice, direction)))
    }
}

/// What a merge has cost.
fn cost_of(merge: &Merge<Source>) -> Cost {
    let counts = merge.counts();
    let mut cost = Cost {
        rows_merged: counts.rows_merged,
        rows_dead: counts.rows_dead,
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
    cost
}

/// Rows met so far, those passed over included: in earlier parts of a page, and by the merge of this one.
fn work(cost: &Cost, counts: MergeCounts) -> u64 {
    cost.rows_merged + cost.rows_skipped + counts.rows_merged + counts.rows_skipped
}

/// What a reader sees of a row: the row itself, or its live cells in `scratch`, or nothing; and the tombstones in it.
fn live_part<'a>(
    row: RowRef<'a>,
    time: ReadTime,
    columns: Columns<'_>,
    scratch: &'a mut Vec<u8>,
) -> (Option<RowRef<'a>>, u64) {
    let found = live_row(row, time, columns, scratch);
    let live = match found.live {
        Live::Dead => None,
        Live::Whole => Some(row),
        Live::Part => Some(RowRef::trusted(scratch)),
    };
    (live, u64::from(found.tombstones))
}

impl Shard {
    /// Reads one page. Goes to the owner shard by itself.
    ///
    /// # Errors
    /// [`Error::Invalid`], [`Error::Overloaded`], [`Error::Corrupt`] naming the file, [`Error::Io`],
    /// [`Error::TooManyTombstones`].
    ///
    /// # Cancellation
    /// Dropping it changes nothing; a block on its way is still put into the cache.
    pub async fn read(self: &Rc<Self>, read: Read) -> Result<Page> {
        self.read_within(read, self.config.admission_timeout).await
    }

    /// As [`read`](Self::read), but it waits for its turn for at most `within`. Once it is read, it takes as long as it takes.
    ///
    /// # Errors
    /// As [`read`](Self::read).
    ///
    /// # Cancellation
    /// As [`read`](Self::read).
    pub async fn read_within(self: &Rc<Self>, read: Read, within: Duration) -> Result<Page> {
        let token = model::token_of(&read.key);
        let owner = self.owner(token);
        if owner == self.id {
            return self.read_here(&read, token, within).await;
        }
        let page = move |shard: Rc<Shard>| async move { shard.read_here(&read, token, within).await };
        crate::store::on_shard(owner, page).await?
    }

    /// Reads a page of a partition of this shard, whose token is `token`.
    pub(crate) async fn read_here(&self, read: &Read, token: Token, within: Duration) -> Result<Page> {
        if read.limit_rows == 0 {
            return Err(Error::invalid("a page of no rows"));
        }
        if read.slice.start > read.slice.end {
            return Err(Error::invalid("a slice that ends before it starts"));
        }
        check_key(&read.key)?;
        let _pass = self.readers.enter().ok_or(Error::Closed)?;
        let started = Instant::now();
        add(&self.counters.reads, 1);
        let page = self.read_or_join(read, token, within).await;
        if let Ok(page) = &page {
            self.hot.read(read.table, token, &read.key, page.bytes());
        }
        self.read_us.borrow_mut().add(micros(started.elapsed()));
        page
    }

    async fn read_or_join(&self, read: &Read, token: Token, within: Duration) -> Result<Page> {
        let mut has_turn = false;
        loop {
            let now_s = runtime::time::unix_seconds();
            let outcome = match self.joined.find(token, read, now_s) {
                None => return self.read_leading(read, token, now_s, within).await,
                Some(Found::Page(page)) => {
                    if !has_turn && self.turns.take().await {
                        has_turn = true;
                        continue; // The page may have been struck off meanwhile.
                    }
                    add(&self.counters.reads_hot, 1);
                    return Ok(page);
                }
                Some(Found::UnderWay(same)) => same.outcome().await,
            };
            if let Some(outcome) = outcome {
                add(&self.counters.reads_joined, 1);
                if !has_turn {
                    self.turns.take().await;
                }
                return outcome.map(Page::shared);
            }
        }
    }

    /// Reads a page; others may join once this has to wait.
    async fn read_leading(&self, read: &Read, token: Token, now_s: u32, within: Duration) -> Result<Page> {
        let mut page = pin!(async {
            let turn = match self.reads.try_acquire(1) {
                Some(turn) => turn,
                None => self.count_refusal(self.turn_to_read(within).await)?,
            };
            let page = self.read_alone(read, token, now_s).await;
            drop(turn);
            page
        });
        let mut leading = None;
        let outcome = poll_fn(|context| {
            let polled = page.as_mut().poll(context);
            if polled.is_pending() && leading.is_none() {
                leading = Some(self.joined.begin(token, read, now_s));
            }
            polled
        });
        let outcome = outcome.await;
        if let Ok(page) = &outcome
            && leading.as_ref().is_none_or(Leading::is_current)
        {
            let is_awaited = leading.as_ref().is_some_and(Leading::is_awaited);
            self.joined.keep(token, read, now_s, page, is_awaited);
        }
        if let Some(leading) = leading {
            leading.end(&outcome);
        }
        outcome
    }

    /// Waits until fewer pages are being read.
    async fn turn_to_read(&self, within: Duration) -> Result<Permit> {
        let refused = |what: &str| Error::Overloaded {
            what: format!("shard {} reads {READS_MAX} pages at once, {what}", self.id.0),
        };
        if self.waiting_readers.get() >= WAITING_READERS_MAX {
            return Err(refused(&format!("and {WAITING_READERS_MAX} wait for that already")));
        }
        let _waiting = Counted::enter(&self.waiting_readers);
        let turn = runtime::time::timeout(within, self.reads.acquire(1)).await;
        turn.map_err(|_| refused("and none of them ended in time"))
    }

    async fn read_alone(&self, read: &Read, token: Token, now_s: u32) -> Result<Page> {
        let table = self.table(read.table)?;
        let run = self.rows.get(read.table, token, &read.key);
        // Only a run that has dropped no tombstone knows what is dead.
        let run = run.filter(|run| !read.include_dead || !run.has_dropped());
        let snapshot = Snapshot::take(&table, token, &read.key, run);
        // In one step with the snapshot: a gap that is found later may be dead later only.
        let known = self.rows.gaps.get(read.table, token, &read.key);
        let known = known.filter(|_| !read.include_dead);
        let version = self.rows.gaps.version(token);
        let definition = table.definition();
        let (options, columns) = (&definition.schema.options, definition.columns());
        let time = ReadTime {
            now_s: if runtime::broken(Break::ExpiredStays) { 0 } else { now_s },
            purge_before_s: now_s.saturating_sub(options.gc_grace_seconds),
        };
        let of_node = self.config.tombstone_failure_threshold;
        let tombstones_max = u64::from(options.tombstone_failure_threshold.unwrap_or(of_node));
        let (deletion, static_row) = snapshot.head(&read.key).await?;
        let mut page = PageBuilder::default();
        let mut scratch = Vec::new();
        if let Some(body) = static_row {
            let mut unshadowed = Vec::new();
            let row = match model::shadow_row(RowRef::trusted(&body), deletion, &mut unshadowed) {
                model::Shadowed::Unchanged => Some(RowRef::trusted(&body)),
                model::Shadowed::Changed => Some(RowRef::trusted(&unshadowed)),
                model::Shadowed::Gone => None,
            };
            if let Some(live) = row.and_then(|row| live_part(row, time, columns, &mut scratch).0) {
                page.set_static_row(live.bytes().to_vec());
            }
        }
        let mut finder = Finder::new(&read.slice, read.direction);
        let mut between = Between::new(read.slice.clone(), read.direction, known);
        let (mut more, mut cut) = (false, None);
        let (mut steps, mut asked_files) = (0, false);
        let mut cost = Cost::default();
        let mut stretch = Stretch::new();
        'page: while let Some(slice) = between.next() {
            let mut parts = Parts::new(slice, read.direction, snapshot.run.clone());
            while let Some(part) = parts.next() {
                if page.is_full(read) {
                    more = true;
                    break 'page;
                }
                let sources = match &part.run {
                    Some(run) => snapshot.sources_with_run(run, &part.slice, read.direction),
                    None => snapshot.sources(&read.key, &part.slice, read.direction, deletion),
                };
                asked_files |= part.run.is_none() && !snapshot.files(&read.key).is_empty();
                let judge = part
                    .run
                    .as_ref()
                    .filter(|run| run.has_dropped() && !snapshot.memory.is_empty());
                // What the run alone has needs no judgement.
                let run_at = sources.len().wrapping_sub(1);
                let mut merge = Merge::new(sources, read.direction, deletion);
                let skips_dead = read.past_tombstones == PastTombstones::Cut && !read.include_dead;
                if skips_dead {
                    merge = merge.without_dead_runs();
                }
                let mut range = Deletion::LIVE;
                loop {
                    let full = page.is_full(read);
                    if !full && (columns == Columns::All || runtime::broken(Break::CopiesDroppedColumns)) {
                        let (base, mut given) = (work(&cost, merge.counts()), 0);
                        let bytes_max = page.bytes() + LIVE_BYTES_PER_BREATH;
                        let give = |clustering: &[u8], row: RowRef<'_>| {
                            given += 1;
                            if given == 1 {
                                finder.live(clustering, base + 1);
                            }
                            let more = read.limit_rows - 1 - page.len();
                            page.push(clustering, row.bytes(), more);
                            given < LIVE_ROWS_PER_BREATH && page.bytes() < bytes_max && !page.is_full(read)
                        };
                        let given = merge.give_live(|source| judge.is_none() || source == run_at, give);
                        if given > 0 {
                            let last = page.last_clustering().expect("the rows given are in it");
                            finder.went_on(last, base + given);
                            runtime::breathe().await;
                            continue;
                        }
                    }
                    match merge.step() {
                        // A full page does not look whether what comes is alive: there may be very much that is not.
                        Step::Item | Step::Pending(_) if full => {
                            more = true;
                            break;
                        }
                        Step::Item => match merge.item() {
                            Item::Row { clustering, row } => {
                                let judge = judge.filter(|_| merge.item_sources() != [run_at]);
                                if judge.is_some_and(|run| !is_judged(row, run.dropped_at(clustering))) {
                                    parts.go_round(&part, clustering);
                                    break;
                                }
                                let (live, tombstones) = live_part(row, time, columns, &mut scratch);
                                cost.rows_dead += u64::from(live.is_none());
                                cost.tombstones += tombstones;
                                match live {
                                    Some(_) => finder.live(clustering, work(&cost, merge.counts())),
                                    None if !row.is_row_tombstone() && !look(row).dead => finder.ended_by_clock(),
                                    None => {}
                                }
                                let given = if read.include_dead { Some(row) } else { live };
                                if let Some(row) = given {
                                    let more = read.limit_rows - 1 - page.len();
                                    page.push(clustering, row.bytes(), more);
                                }
                                if cost.tombstones > tombstones_max {
                                    cut = Some(clustering.to_vec());
                                    more = !runtime::broken(Break::CutEndsSlice);
                                    break;
                                }
                            }
                            Item::RangeChange { position, deletion } => {
                                let counts =
                                    |of: Deletion| !of.is_live() && of.local_deletion_time >= time.purge_before_s;
                                cost.tombstones += u64::from(counts(range) || counts(deletion));
                                range = deletion;
                                if cost.tombstones > tombstones_max && read.past_tombstones == PastTombstones::Fail {
                                    cut = Some(position.to_vec());
                                    more = true;
                                    break;
                                }
                            }
                        },
                        Step::Pending(index) => {
                            let passed = if skips_dead {
                                stretch.pass(merge.sources_mut(), index).await?
                            } else {
                                0
                            };
                            cost.rows_skipped += passed;
                            match merge.source_mut(index) {
                                _ if passed > 0 => {}
                                Source::File(cursor) => cursor.fill().await?,
                                Source::Memory(_) | Source::Run(_) => unreachable!("it is in memory"),
                            }
                        }
                        Step::End => break,
                    }
                    steps += 1;
                    if steps % ROWS_PER_BREATH == 0 {
                        runtime::breathe().await;
                    }
                }
                cost += cost_of(&merge);
                if more {
                    break 'page;
                }
            }
        }
        self.count_tombstones(&table, &read.key, cost.tombstones, cut.is_some());
        if let Some(position) = cut.take_if(|_| read.past_tombstones == PastTombstones::Fail) {
            return Err(Error::TooManyTombstones {
                table: table.name(),
                key: read.key.clone(),
                position,
                tombstones: cost.tombstones,
                limit: tombstones_max,
            });
        }
        // A read that fails teaches nothing: the next one fails at the same place.
        if !read.include_dead {
            let worked = work(&cost, MergeCounts::default());
            match &cut {
                Some(position) => finder.live(position, worked),
                None if !more => finder.end(worked),
                None => {}
            }
            if let Some(found) = finder.found() {
                let key = Key::new(read.table, token, &read.key);
                self.rows.gaps.learn(key, found, version);
            }
        }
        let counters = &self.rows.counters;
        add(&counters.misses, u64::from(asked_files));
        add(&counters.hits, u64::from(!asked_files && snapshot.run.is_some()));
        let floor = snapshot.run.as_ref().map_or(&[][..], |run| run.floor());
        if asked_files && read.direction == Direction::Forward && *read.slice.start <= *floor {
            // What is wanted is known by now; the run may have grown since.
            if let Some(floor) = reached(&read.slice, cut.as_deref().or(page.last_clustering()), more) {
                self.fill_down_to(&table, token, &read.key, floor);
            }
        }
        let rest = cut
            .as_deref()
            .or(page.last_clustering())
            .filter(|_| more)
            .map(|last| rest_after(&read.slice, last, read.direction));
        Ok(page.finish(rest, cut, cost))
    }

    /// Counts the tombstones that a read has met; warns, at most once a second, if they are many.
    fn count_tombstones(&self, table: &TableState, key: &[u8], tombstones: u64, is_cut: bool) {
        let counters = &self.counters;
        add(&counters.tombstones, tombstones);
        add(&counters.tombstone_failures, u64::from(is_cut));
        let of_table = table.definition().schema.options.tombstone_warn_threshold;
        if tombstones <= u64::from(of_table.unwrap_or(self.config.tombstone_warn_threshold)) {
            return;
        }
        add(&counters.tombstone_warnings, 1);
        let now = Instant::now();
        let last = self.warned_of_tombstones.replace(Some(now));
        if last.is_some_and(|last| now.duration_since(last) < WARN_EVERY) {
            return self.warned_of_tombstones.set(last);
        }
        let (table, key) = (table.name(), Hex(key));
        tracing::warn!(shard = self.id.0, table, %key, tombstones, "a page met many tombstones");
    }
}
