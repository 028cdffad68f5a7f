//! `SELECT`: partition after partition, slice after slice, until the page is full.
//!
//! [`walk`] goes through the rows and gives them to a [`Taker`]: one that writes a page, one that counts, one that keeps rows to be
//! merged. A page ends when a row comes that has no room any more; so the last one knows that it is the last.

use super::fail::{Doing, Done, Failure};
use super::local::Local;
use super::rows::{Chunk, Keys, Source};
use cql::frame::{Metadata, Reply, RowsWriter};
use cql::language::{Cells, PagingState, Query, RowView, Selected};
use engine::Read;
use model::{Direction, RowRef, Schema, Slice};
use runtime::time::Instant;
use std::borrow::Cow;
use std::cmp::Ordering;
use std::collections::{BinaryHeap, VecDeque};
use std::rc::Rc;
use std::time::Duration;

/// The most bytes of a page that is bounded by rows; the answer then says where to go on.
const PAGE_BYTES: usize = 2 << 20;
/// The most bytes of an answer: a cell more is far below the 256 MiB of a frame.
const ANSWER_BYTES_MAX: usize = 128 << 20;
/// Rows that are read at once where more are wanted.
const READ_ROWS: usize = 1000;
/// Bytes of rows that are sorted together at most.
const SORTED_BYTES_MAX: usize = 64 << 20;
/// Of rows that are sorted together so many bytes lie in one piece, about.
const RUN_BYTES: usize = 256 << 10;
/// Rows between two looks at the clock.
const ROWS_PER_BREATH: usize = 16;

/// How much the client wants, and from where on.
#[derive(Clone, Copy, Default)]
pub(super) struct Wanted<'a> {
    pub page_size: Option<u32>,
    pub paging_state: Option<&'a [u8]>,
    pub skip_metadata: bool,
}

/// What a `SELECT` met.
#[derive(Default)]
pub(super) struct Met {
    pub tombstones: u64,
    pub rows: u64,
}

/// Executes a `SELECT`, and writes its answer to the end of `out`.
pub(super) async fn execute(
    local: &Rc<Local>,
    query: &Query<'_>,
    metadata: &Metadata,
    wanted: Wanted<'_>,
    reply: &Reply<'_>,
    out: &mut Vec<u8>,
) -> Done<Met> {
    let select = query.select;
    let source = Source::of(local, &select.table).await?;
    let mut met = Met::default();
    if select.is_aggregate() {
        let mut count = Count {
            query,
            rows: 0,
            columns: vec![0; select.columns.len()],
            first: None,
        };
        walk(local, query, &source, None, &mut count, &mut met).await?;
        let mut rows = reply.rows(out, metadata, wanted.skip_metadata);
        count.write(&mut rows);
        rows.finish(None);
        met.rows = 1;
        return Ok(met);
    }
    // As Cassandra: no pages where all rows fit one.
    let page_size = wanted
        .page_size
        .filter(|size| query.limit.is_none_or(|limit| limit > *size));
    if select.orders && query.keys.as_ref().is_some_and(|keys| keys.len() > 1) {
        if page_size.is_some() {
            return Err(Failure::invalid(
                "Cannot page queries with both ORDER BY and a IN restriction on the partition key; you must either remove the ORDER BY \
                 or the IN and sort client side, or disable paging for this query",
            ));
        }
        let mut keep = Keep::default();
        walk(local, query, &source, None, &mut keep, &mut met).await?;
        let mut rows = reply.rows(out, metadata, wanted.skip_metadata);
        Box::pin(keep.write(query, &mut rows)).await?;
        met.rows = rows.rows();
        rows.finish(None);
        return Ok(met);
    }
    let mut page = PageTaker {
        query,
        rows: reply.rows(out, metadata, wanted.skip_metadata),
        rows_max: page_size.map_or(usize::MAX, |size| size as usize),
        pages: page_size.is_some(),
    };
    let state = walk(local, query, &source, wanted.paging_state, &mut page, &mut met).await?;
    met.rows = page.rows.rows();
    page.rows.finish(state.map(|state| state.to_bytes()).as_deref());
    Ok(met)
}

/// Takes rows.
trait Taker {
    /// How many rows it has room for; 0: the page is full.
    fn room(&self) -> usize;
    /// Whether no more bytes fit, with an error if the client cannot go on.
    fn is_full(&self) -> Done<bool>;
    /// So many bytes of rows are about to come.
    fn expect(&mut self, _: usize) {}
    /// Takes a row.
    fn give(&mut self, row: &RowView<'_>, key: &[u8], clustering: &[u8]) -> Done<()>;
}

/// Writes a page.
struct PageTaker<'q, 'o> {
    query: &'q Query<'q>,
    rows: RowsWriter<'o>,
    rows_max: usize,
    pages: bool,
}

impl Taker for PageTaker<'_, '_> {
    fn room(&self) -> usize {
        self.rows_max.saturating_sub(self.rows.rows() as usize)
    }

    fn expect(&mut self, bytes: usize) {
        // Lengths of cells and columns of the key come on top.
        self.rows.buffer().reserve(bytes + bytes / 4);
    }

    fn is_full(&self) -> Done<bool> {
        if self.room() == 0 {
            return Ok(true);
        }
        Ok(self.pages && self.rows.len() > PAGE_BYTES)
    }

    fn give(&mut self, row: &RowView<'_>, _: &[u8], _: &[u8]) -> Done<()> {
        put_row(self.query, row, &mut self.rows)
    }
}

/// Appends a row to an answer.
fn put_row(query: &Query<'_>, row: &RowView<'_>, out: &mut RowsWriter<'_>) -> Done<()> {
    let mut cells = Cells::of(row.row);
    for column in &query.select.columns {
        column.selected.write(row, &mut cells, &query.execution, out)?;
        // A column may be selected many times: so each is looked at, and no answer comes near to what the protocol can carry.
        must_fit(out.len())?;
    }
    Ok(())
}

fn must_fit(bytes: usize) -> Done<()> {
    match bytes > ANSWER_BYTES_MAX {
        true => Err(Failure::invalid(
            "the result is longer than 128 MiB; ask for it in pages, or for less of it",
        )),
        false => Ok(()),
    }
}

/// Counts rows.
struct Count<'q> {
    query: &'q Query<'q>,
    rows: i64,
    /// Of how many rows each column is not null.
    columns: Vec<i64>,
    /// What stands beside the counts: the values of the first row.
    first: Option<Vec<Option<Vec<u8>>>>,
}

impl Taker for Count<'_> {
    fn room(&self) -> usize {
        usize::MAX
    }

    fn is_full(&self) -> Done<bool> {
        Ok(false)
    }

    fn give(&mut self, row: &RowView<'_>, _: &[u8], _: &[u8]) -> Done<()> {
        self.rows += 1;
        let execution = &self.query.execution;
        let columns = &self.query.select.columns;
        for (count, column) in self.columns.iter_mut().zip(columns) {
            if let Selected::CountOf(of) = &column.selected {
                *count += i64::from(of.evaluate(row, execution)?.is_some());
            }
        }
        if self.first.is_none() {
            let (mut values, mut bytes) = (Vec::new(), 0);
            for column in columns {
                let value = column.selected.evaluate(row, execution)?.map(Cow::into_owned);
                bytes += value.as_ref().map_or(0, Vec::len);
                must_fit(bytes)?;
                values.push(value);
            }
            self.first = Some(values);
        }
        Ok(())
    }
}

impl Count<'_> {
    fn write(&self, out: &mut RowsWriter<'_>) {
        for (at, column) in self.query.select.columns.iter().enumerate() {
            match column.selected {
                Selected::Count => out.value(Some(&self.rows.to_be_bytes())),
                Selected::CountOf(_) => out.value(Some(&self.columns[at].to_be_bytes())),
                _ => out.value(self.first.as_ref().and_then(|first| first[at].as_deref())),
            }
        }
    }
}

/// Keeps rows of several partitions, to be merged. Those of each come in order.
#[derive(Default)]
struct Keep {
    runs: Vec<Run>,
    bytes: usize,
}

/// Rows of one partition, in few allocations, none of them large: to move or to free much at once would keep the shard.
struct Run {
    key: Vec<u8>,
    statics: Vec<u8>,
    /// Clustering key and cells of each row, one after the other.
    bytes: Vec<u8>,
    /// Where these end.
    ends: Vec<(usize, usize)>,
}

impl Run {
    /// The clustering key and the cells of a row.
    fn row(&self, at: usize) -> Option<(&[u8], RowRef<'_>)> {
        let &(key_end, end) = self.ends.get(at)?;
        let start = at.checked_sub(1).map_or(0, |before| self.ends[before].1);
        Some((&self.bytes[start..key_end], RowRef::trusted(&self.bytes[key_end..end])))
    }
}

impl Taker for Keep {
    fn room(&self) -> usize {
        usize::MAX
    }

    fn is_full(&self) -> Done<bool> {
        match self.bytes > SORTED_BYTES_MAX {
            true => Err(Failure::invalid(
                "more than 64 MiB of rows would have to be sorted; ask for fewer partitions or rows",
            )),
            false => Ok(false),
        }
    }

    fn give(&mut self, row: &RowView<'_>, key: &[u8], clustering: &[u8]) -> Done<()> {
        let begun = self
            .runs
            .last()
            .filter(|run| run.key == key && run.bytes.len() < RUN_BYTES);
        if begun.is_none() {
            let statics = row.statics.bytes().to_vec();
            self.bytes += key.len() + statics.len() + size_of::<Run>();
            self.runs.push(Run {
                key: key.to_vec(),
                statics,
                bytes: Vec::new(),
                ends: Vec::new(),
            });
        }
        let run = self.runs.last_mut().expect("there is one now");
        let before = run.bytes.len();
        run.bytes.extend_from_slice(clustering);
        let key_end = run.bytes.len();
        run.bytes.extend_from_slice(row.row.bytes());
        run.ends.push((key_end, run.bytes.len()));
        self.bytes += run.bytes.len() - before + size_of::<(usize, usize)>();
        Ok(())
    }
}

/// The first row of a run that was not written yet. The greatest is written next.
struct Head<'k> {
    direction: Direction,
    clustering: &'k [u8],
    run: usize,
    at: usize,
}

impl Ord for Head<'_> {
    fn cmp(&self, other: &Self) -> Ordering {
        let order = self.direction.compare(self.clustering, other.clustering);
        // Rows of equal keys come in the order of their partitions.
        order.then(self.run.cmp(&other.run)).reverse()
    }
}

impl PartialOrd for Head<'_> {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Head<'_> {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other).is_eq()
    }
}

impl Eq for Head<'_> {}

impl Keep {
    async fn write(self, query: &Query<'_>, out: &mut RowsWriter<'_>) -> Done<()> {
        let table = &query.select.table;
        let direction = direction_of(query);
        let head = |run: usize, at: usize| {
            self.runs[run].row(at).map(|(clustering, _)| Head {
                direction,
                clustering,
                run,
                at,
            })
        };
        let mut heads: BinaryHeap<Head<'_>> = (0..self.runs.len()).filter_map(|run| head(run, 0)).collect();
        let limit = query.limit.map_or(usize::MAX, |limit| limit as usize);
        let mut written = 0;
        while written < limit
            && let Some(Head { run, at, .. }) = heads.pop()
        {
            heads.extend(head(run, at + 1));
            let run = &self.runs[run];
            let (clustering, row) = run.row(at).expect("its head was there");
            let parts = table
                .split_partition_key(&run.key)
                .map_err(cql::language::Error::from)?;
            let clustering = values_of(table, clustering, row)?;
            let view = RowView {
                key: &parts,
                clustering: &clustering,
                row,
                statics: RowRef::trusted(&run.statics),
            };
            put_row(query, &view, out)?;
            written += 1;
            if written % ROWS_PER_BREATH == 0 {
                runtime::breathe().await;
            }
        }
        Ok(())
    }
}

fn direction_of(query: &Query<'_>) -> Direction {
    match query.select.reversed {
        true => Direction::Reverse,
        false => Direction::Forward,
    }
}

fn values_of(table: &Schema, clustering: &[u8], row: RowRef<'_>) -> Done<Vec<Vec<u8>>> {
    Ok(table
        .clustering_values(clustering, row)
        .map_err(cql::language::Error::from)?)
}

fn refused_state() -> Failure {
    cql::language::Error::Protocol("Invalid value for the paging state".to_owned()).into()
}

/// Where the page before ended, if it belongs to the statement.
fn resumed(query: &Query<'_>, state: Option<&[u8]>) -> Done<Option<PagingState>> {
    let Some(bytes) = state else { return Ok(None) };
    let state = PagingState::from_bytes(bytes, query.select.table.id)?;
    let belongs = match &query.keys {
        Some(keys) => keys.contains(&state.key),
        None => query.tokens.contains(model::token_of(&state.key)),
    };
    match belongs {
        true => Ok(Some(state)),
        false => Err(refused_state()),
    }
}

/// The keys of the partitions that are left.
enum Left {
    Named(VecDeque<Vec<u8>>),
    /// The one that the page before ended in, and all others.
    All(Option<Vec<u8>>, Keys),
}

impl Left {
    fn of(local: &Rc<Local>, query: &Query<'_>, source: &Source, resume: Option<&PagingState>) -> Left {
        let within = resume
            .filter(|state| state.position.is_some())
            .map(|state| state.key.clone());
        match &query.keys {
            Some(keys) => {
                let first = resume.map_or(0, |state| {
                    let at = keys.iter().position(|key| *key == state.key).unwrap_or(keys.len());
                    at + usize::from(within.is_none())
                });
                Left::Named(keys.iter().skip(first).cloned().collect())
            }
            None => {
                let after = resume.map(|state| state.key.clone());
                Left::All(within, source.keys(local, &query.select.table, query.tokens, after))
            }
        }
    }

    async fn next(&mut self) -> Done<Option<Vec<u8>>> {
        match self {
            Left::Named(keys) => Ok(keys.pop_front()),
            Left::All(first, keys) => match first.take() {
                Some(first) => Ok(Some(first)),
                None => keys.next().await,
            },
        }
    }
}

/// What is left of one partition.
struct Partition {
    key: Vec<u8>,
    /// In the order in which they are read.
    slices: VecDeque<Slice>,
    statics: Option<Vec<u8>>,
    /// Rows that it may still give.
    remaining: Option<u32>,
    has_given: bool,
}

impl Partition {
    fn new(query: &Query<'_>, key: Vec<u8>, resume: Option<PagingState>) -> Done<Partition> {
        let direction = direction_of(query);
        let mut slices: VecDeque<Slice> = query.slices.iter().cloned().collect();
        if direction == Direction::Reverse {
            slices.make_contiguous().reverse();
        }
        let (mut remaining, mut has_given) = (query.per_partition_limit, false);
        if let Some(state) = resume {
            has_given = state.has_given;
            remaining = match (state.remaining_in_partition, remaining) {
                (Some(left), Some(limit)) => Some(left.min(limit)),
                (_, limit) => limit,
            };
            let position = state.position.expect("only a partition that is not done goes on");
            if !query.select.table.clustering.is_empty() && query.select.table.decode_position(&position).is_err() {
                return Err(refused_state());
            }
            for slice in &mut slices {
                match direction {
                    Direction::Forward => slice.start = position.clone().max(std::mem::take(&mut slice.start)),
                    Direction::Reverse => slice.end = position.clone().min(std::mem::take(&mut slice.end)),
                }
            }
            slices.retain(|slice| slice.start < slice.end || (slice.start.is_empty() && slice.end.is_empty()));
        }
        Ok(Partition {
            key,
            slices,
            statics: None,
            remaining,
            has_given,
        })
    }

    /// Where a page that ends before this row has the next one begin.
    fn before(&self, clustering: &[u8], direction: Direction) -> Vec<u8> {
        match direction {
            Direction::Forward => clustering.to_vec(),
            Direction::Reverse => [clustering, &[0xFF]].concat(),
        }
    }

    fn state(&self, query: &Query<'_>, position: Vec<u8>, remaining: Option<u32>) -> PagingState {
        PagingState {
            table: query.select.table.id,
            key: self.key.clone(),
            position: Some(position),
            has_given: self.has_given,
            remaining,
            remaining_in_partition: self.remaining,
        }
    }
}

/// Goes through the rows of a statement, from where a page ended, and gives where this one ends; `None`: there are no more.
async fn walk(
    local: &Rc<Local>,
    query: &Query<'_>,
    source: &Source,
    state: Option<&[u8]>,
    taker: &mut dyn Taker,
    met: &mut Met,
) -> Done<Option<PagingState>> {
    let select = query.select;
    let table = &select.table;
    let direction = direction_of(query);
    let mut resume = resumed(query, state)?;
    // What is aggregated or sorted is limited afterwards.
    let mut remaining =
        match select.is_aggregate() || select.orders && query.keys.as_ref().is_some_and(|keys| keys.len() > 1) {
            true => None,
            false => query.limit,
        };
    if let Some(left) = resume.as_ref().and_then(|state| state.remaining) {
        remaining = remaining.map(|limit| limit.min(left));
    }
    let mut left = Left::of(local, query, source, resume.as_ref());
    let filters = !select.restrictions.filters.is_empty();
    let bound = match select.timeout {
        Some(_) => Duration::ZERO,
        None => local.node.read_timeout,
    };
    let began = Instant::now();
    let mut since_breath = 0;
    while remaining != Some(0)
        && let Some(key) = left.next().await?
    {
        let resume = resume
            .take()
            .filter(|state| state.position.is_some() && state.key == key);
        let parts: Vec<Vec<u8>> = table
            .split_partition_key(&key)
            .map_err(cql::language::Error::from)?
            .into_iter()
            .map(<[u8]>::to_vec)
            .collect();
        let parts: Vec<&[u8]> = parts.iter().map(Vec::as_slice).collect();
        let mut partition = Partition::new(query, key, resume)?;
        let mut is_read = false;
        'rows: while let Some(slice) = partition.slices.front().cloned() {
            let wanted = match (select.distinct, filters) {
                (true, _) => 1,
                (_, true) => READ_ROWS,
                _ => taker
                    .room()
                    .saturating_add(1)
                    .min(remaining.map_or(usize::MAX, |left| left as usize))
                    .min(partition.remaining.map_or(usize::MAX, |left| left as usize))
                    .clamp(1, READ_ROWS),
            };
            let read = Read {
                direction,
                limit_rows: wanted,
                ..Read::slice(table.id, partition.key.clone(), slice)
            };
            if !bound.is_zero() && began.elapsed() > bound {
                return Err(Failure::TimedOut(Doing::Read));
            }
            let chunk = source.read(local, read).await?;
            is_read = true;
            met.tombstones += chunk.tombstones();
            taker.expect(chunk.bytes());
            if let Some(statics) = chunk.statics() {
                partition.statics = Some(statics.bytes().to_vec());
            }
            let statics = partition
                .statics
                .clone()
                .unwrap_or_else(|| RowRef::EMPTY.bytes().to_vec());
            let statics = RowRef::trusted(&statics);
            if select.distinct {
                let exists = chunk.row(0).is_some() || partition.statics.is_some();
                if exists {
                    let view = RowView {
                        key: &parts,
                        clustering: &[],
                        row: RowRef::EMPTY,
                        statics,
                    };
                    if query.admits(&view) {
                        if taker.is_full()? {
                            let start = partition.before(&[], direction);
                            return Ok(Some(partition.state(query, start, remaining)));
                        }
                        taker.give(&view, &partition.key, &[])?;
                        remaining = remaining.map(|left| left - 1);
                    }
                    break;
                }
                match chunk.more().cloned() {
                    Some(rest) => *partition.slices.front_mut().expect("it is being read") = rest,
                    None => drop(partition.slices.pop_front()),
                }
                continue;
            }
            if let Some(end) = rows_of(
                &mut partition,
                query,
                &chunk,
                &parts,
                statics,
                taker,
                &mut remaining,
                &mut since_breath,
            )
            .await?
            {
                match end {
                    RowsEnd::Page(position) => return Ok(Some(partition.state(query, position, remaining))),
                    RowsEnd::Partition => break 'rows,
                }
            }
            match chunk.more().cloned() {
                Some(rest) => *partition.slices.front_mut().expect("it is being read") = rest,
                None => drop(partition.slices.pop_front()),
            }
            runtime::breathe().await;
        }
        let statics_alone = select.gives_statics_alone() && !select.distinct && !partition.has_given && is_read;
        if statics_alone
            && remaining != Some(0)
            && let Some(statics) = &partition.statics
        {
            let view = RowView {
                key: &parts,
                clustering: &[],
                row: RowRef::EMPTY,
                statics: RowRef::trusted(statics),
            };
            if query.admits(&view) {
                if taker.is_full()? {
                    let start = partition.before(&[], direction);
                    return Ok(Some(partition.state(query, start, remaining)));
                }
                taker.give(&view, &partition.key, &[])?;
                remaining = remaining.map(|left| left - 1);
            }
        }
        since_breath += 1;
        if since_breath >= ROWS_PER_BREATH {
            since_breath = 0;
            runtime::breathe().await;
        }
    }
    Ok(None)
}

/// Why the rows of a partition are not gone through any further.
enum RowsEnd {
    /// The page is full; the next one begins here.
    Page(Vec<u8>),
    /// The partition or the statement has given as many as it may.
    Partition,
}

#[expect(clippy::too_many_arguments, reason = "the inner loop of `walk`")]
async fn rows_of(
    partition: &mut Partition,
    query: &Query<'_>,
    chunk: &Chunk,
    parts: &[&[u8]],
    statics: RowRef<'_>,
    taker: &mut dyn Taker,
    remaining: &mut Option<u32>,
    since_breath: &mut usize,
) -> Done<Option<RowsEnd>> {
    let table = &query.select.table;
    let shows_clustering = query.select.shows_clustering();
    let mut values = Vec::new();
    let mut at = 0;
    while let Some((clustering, row)) = chunk.row(at) {
        at += 1;
        if *remaining == Some(0) || partition.remaining == Some(0) {
            return Ok(Some(RowsEnd::Partition));
        }
        if shows_clustering {
            table
                .put_clustering_values(clustering, row, &mut values)
                .map_err(cql::language::Error::from)?;
        }
        let view = RowView {
            key: parts,
            clustering: &values,
            row,
            statics,
        };
        // It has a row, whether or not that is given.
        if query.admits(&view) {
            if taker.is_full()? {
                let position = partition.before(clustering, direction_of(query));
                return Ok(Some(RowsEnd::Page(position)));
            }
            taker.give(&view, &partition.key, clustering)?;
            *remaining = remaining.map(|left| left - 1);
            partition.remaining = partition.remaining.map(|left| left - 1);
        }
        partition.has_given = true;
        *since_breath += 1;
        if *since_breath >= ROWS_PER_BREATH {
            *since_breath = 0;
            runtime::breathe().await;
        }
    }
    match *remaining == Some(0) || partition.remaining == Some(0) {
        true => Ok(Some(RowsEnd::Partition)),
        false => Ok(None),
    }
}
