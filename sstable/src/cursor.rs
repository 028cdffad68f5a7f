//! Reads one partition's rows and range changes, in either direction, block by block.
//!
//! A cursor goes down in steps, one for each [`Cursor::fill`], so that between them its reader may pass over what it need not
//! see ([`RowSource::skip_covered`]):
//!
//! 1. *Start*: pending at the best bound that the statistics give. A fill reads the index frame that the slice begins in.
//! 2. *Block*: pending at a data frame, unread. Its index entry may be enough to pass over it, or to know which range deletion
//!    is open at the slice's first position. A fill reads it.
//! 3. *Rows*: items, decoded from one restart to the next into memory that is kept. Nothing is allocated per row.
//! 4. *Group*: pending at the next index frame, unread. The top index's entry may be enough to pass over it.
//!
//! Stored range changes carry the deletion before and after them, so both directions are alike: forward the deletion from a
//! position on is `after`, backward it is `before`.

use std::fmt;
use std::ops::Range;
use std::rc::Rc;

use model::{DeadRows, Deletion, Direction, Item, KeyDigest, Peek, RowSource, Slice, Token};

use crate::error::Result;
use crate::format::PARTITION_END;
use crate::format::data::{DataBlock, Run, RunWhat, row_of};
use crate::format::index::{First, IndexBlock, IndexEntry};
use crate::table::{Cost, Table};

/// A cursor over one partition of a table. See [`Table::cursor`].
#[derive(Clone)]
pub struct Cursor {
    table: Table,
    token: Token,
    key: Vec<u8>,
    slice: Slice,
    direction: Direction,
    at: At,
    front: Front,
    /// The deletion in force at the slice's first position is known.
    opened: bool,
    /// It is not live and still to be given, before `front`.
    opening: bool,
    /// The range deletion in force, as the reader was told.
    force: Deletion,
    /// Where the cursor is pending.
    bound: Vec<u8>,
    run: Run,
    /// Forward: the item in `run` that comes next. Reverse: one past it.
    item: usize,
    cost: Cost,
}

#[derive(Clone)]
enum At {
    Start,
    Group(usize),
    Block {
        group: usize,
        index: Rc<IndexBlock>,
        i: usize,
    },
    Rows(Rows),
    Done,
}

#[derive(Clone)]
struct Rows {
    group: usize,
    index: Rc<IndexBlock>,
    i: usize,
    block: Rc<DataBlock>,
    /// The largest timestamp in the block.
    max_timestamp: i64,
    /// The partition's restarts in the block, and the one that is in `run`.
    restarts: Range<usize>,
    restart: usize,
    /// Whether the partition goes on in the block before, and in the one after.
    from_before: bool,
    goes_on: bool,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Front {
    Pending,
    /// The item of `run`.
    Item,
    /// A range deletion is open at the slice's last position.
    Closing,
    End,
}

/// What is known of the block, or of the group of blocks, that a cursor is pending at. All of it is of the cursor's partition, and
/// nothing but rows lies inside. Where the slice begins or ends inside, the rows outside it are counted, too.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Unread {
    /// Rows that are more than a row tombstone.
    pub alive: u64,
    /// Of the keys of those.
    pub alive_digest: KeyDigest,
    /// Nothing of any row is younger.
    pub max_timestamp: i64,
    /// The other rows.
    pub dead: DeadRows,
    /// It ends before this in the order of travel (Forward: its keys are below; Reverse: at or above), and so does the slice.
    pub until: Vec<u8>,
}

impl Unread {
    /// Adds what comes next.
    fn add(&mut self, next: Unread) {
        self.alive = self.alive.saturating_add(next.alive);
        self.alive_digest.add(next.alive_digest);
        self.max_timestamp = self.max_timestamp.max(next.max_timestamp);
        self.dead.add(&next.dead);
        self.until = next.until;
    }
}

/// Row tombstones walked between two looks at the clock.
const ROWS_PER_BREATH: u64 = 64;

/// What a reader has the cursor pass over.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Unwanted {
    /// Rows in which everything is as old as this, or older.
    Covered(i64),
    /// Row tombstones.
    Dead,
}

impl Unwanted {
    /// Whether all rows of a block are such.
    pub(crate) fn is_all_of(self, entry: &IndexEntry<'_>) -> bool {
        match self {
            Unwanted::Covered(timestamp) => entry.is_covered(timestamp),
            Unwanted::Dead => entry.dead_rows == entry.rows,
        }
    }
}

impl Cursor {
    pub(crate) fn new(table: Table, token: Token, key: &[u8], slice: Slice, direction: Direction) -> Self {
        let mut bound = slice.first(direction).to_vec();
        let mut front = Front::End;
        if let Some((min, max)) = &table.statistics().clustering
            && table.in_range(token, key)
            && slice.start < slice.end
            && slice.start <= *max
            && slice.end > *min
        {
            front = Front::Pending;
            match direction {
                Direction::Forward if *min > bound => bound.clone_from(min),
                Direction::Reverse if *max < bound => bound.clone_from(max),
                _ => {}
            }
        }
        Cursor {
            table,
            token,
            key: key.to_vec(),
            slice,
            direction,
            at: if front == Front::Pending { At::Start } else { At::Done },
            front,
            opened: false,
            opening: false,
            force: Deletion::LIVE,
            bound,
            run: Run::default(),
            item: 0,
            cost: Cost::default(),
        }
    }

    /// What the cursor has cost so far.
    pub fn cost(&self) -> Cost {
        self.cost
    }

    /// Takes one step towards the next item: reads at most one block. Does nothing if the cursor is not pending.
    ///
    /// # Errors
    /// The cursor stays where it was.
    /// # Cancellation
    /// Safe: the cursor stays where it was.
    pub async fn fill(&mut self) -> Result<()> {
        if self.opening || self.front != Front::Pending {
            return Ok(());
        }
        match &self.at {
            At::Start => {
                let first = First {
                    token: self.token,
                    key: &self.key,
                    position: Some(self.slice.first(self.direction)),
                };
                let find = |index: &IndexBlock| match self.direction {
                    Direction::Forward => index.last_at(first),
                    Direction::Reverse => index.last_before(first),
                };
                let Some(group) = find(self.table.top()) else {
                    self.finish();
                    return Ok(());
                };
                let index = self.table.index(group, &mut self.cost).await?;
                let i = find(&index).ok_or_else(|| self.table.inconsistent(group))?;
                self.enter(group, index, i, true);
            }
            At::Group(group) => {
                let group = *group;
                let index = self.table.index(group, &mut self.cost).await?;
                let i = match self.direction {
                    Direction::Forward => 0,
                    Direction::Reverse => index.len() - 1,
                };
                self.enter(group, index, i, false);
            }
            At::Block { group, index, i } => {
                let (group, index, i) = (*group, index.clone(), *i);
                let entry = index.get(i).ok_or_else(|| self.table.inconsistent(group))?;
                let block = self.table.data(entry.place, &mut self.cost).await?;
                self.load(group, &index, i, &entry, block);
            }
            At::Rows(_) | At::Done => unreachable!("a cursor with rows, or past them, is not pending"),
        }
        Ok(())
    }

    fn is_mine(&self, first: First<'_>) -> bool {
        first.is_of(self.token, &self.key)
    }

    /// The position at which my partition goes on in a block that begins with `first`, if it does.
    fn goes_on<'a>(&self, first: First<'a>) -> Option<&'a [u8]> {
        first.position.filter(|_| self.is_mine(first))
    }

    fn finish(&mut self) {
        self.at = At::Done;
        self.front = if self.force.is_live() {
            Front::End
        } else {
            Front::Closing
        };
    }

    fn pending(&mut self, at: At, bound: Option<&[u8]>) {
        if let Some(bound) = bound {
            self.bound.clear();
            self.bound.extend_from_slice(bound);
        }
        self.at = at;
        self.front = Front::Pending;
    }

    /// The deletion in force at the slice's first position is `deletion`.
    fn open_with(&mut self, deletion: Deletion) {
        if !self.opened {
            self.opened = true;
            self.opening = !deletion.is_live();
            self.force = deletion;
        }
    }

    /// Goes to data frame `i` of an index frame, unread. `first`: of this cursor.
    fn enter(&mut self, group: usize, index: Rc<IndexBlock>, i: usize, first: bool) {
        let Some(entry) = index.get(i) else {
            return self.finish();
        };
        let mine = self.is_mine(entry.first);
        let mut bound = None;
        if first {
            if !mine && entry.several.is_none() {
                // The block has one partition, another one; mine would begin in it.
                return self.finish();
            }
        } else if self.direction == Direction::Forward {
            match self.goes_on(entry.first) {
                Some(position) if position < self.slice.end.as_slice() => bound = Some(position),
                _ => return self.finish(),
            }
        }
        if !entry.range_changes {
            self.open_with(if mine { entry.open } else { Deletion::LIVE });
        }
        let bound = bound.map(<[u8]>::to_vec);
        self.pending(At::Block { group, index, i }, bound.as_deref());
    }

    /// Leaves data frame `i` for the next one in the order of travel.
    fn leave(&mut self, group: usize, index: Rc<IndexBlock>, i: usize) {
        match self.direction {
            Direction::Forward if i + 1 < index.len() => self.enter(group, index, i + 1, false),
            Direction::Forward => self.next_group(group),
            Direction::Reverse => {
                let Some(first) = index.first(i) else {
                    return self.finish();
                };
                if !self.leave_backward(first) {
                    return;
                }
                match i.checked_sub(1) {
                    Some(i) => self.enter(group, index, i, false),
                    None => self.next_group(group),
                }
            }
        }
    }

    /// Backward, past a block that begins with `first`: whether there is more; the bound is set.
    fn leave_backward(&mut self, first: First<'_>) -> bool {
        match self.goes_on(first) {
            Some(position) if position > self.slice.start.as_slice() => {
                self.bound.clear();
                self.bound.extend_from_slice(position);
                true
            }
            _ => {
                self.finish();
                false
            }
        }
    }

    /// Goes to the index frame after `group` in the order of travel, unread.
    fn next_group(&mut self, group: usize) {
        match self.direction {
            Direction::Forward => {
                let table = self.table.clone();
                let position = table.top().first(group + 1).and_then(|first| self.goes_on(first));
                match position {
                    Some(position) if position < self.slice.end.as_slice() => {
                        self.pending(At::Group(group + 1), Some(position));
                    }
                    _ => self.finish(),
                }
            }
            Direction::Reverse => match group.checked_sub(1) {
                Some(group) => self.pending(At::Group(group), None),
                None => self.finish(),
            },
        }
    }

    /// Takes up a data frame that was read.
    fn load(&mut self, group: usize, index: &Rc<IndexBlock>, i: usize, entry: &IndexEntry<'_>, block: Rc<DataBlock>) {
        let from_before = self.goes_on(entry.first).is_some();
        let restarts = if from_before {
            block.continued()
        } else {
            match block.find(self.token, &self.key) {
                Some((restarts, _)) => restarts,
                None => return self.finish(),
            }
        };
        let open = if from_before { entry.open } else { Deletion::LIVE };
        let edge = self.slice.first(self.direction);
        let restart;
        let mut force = open;
        let changes = entry.range_changes && !self.opened;
        match self.direction {
            Direction::Forward => {
                // In later blocks everything is behind the slice's start, and this is their first restart.
                restart = block.seek(restarts.clone(), edge, true);
                self.run.load(&block, restart);
                self.item = 0;
                if changes {
                    force = block.force_before(restarts.start, restart, open);
                }
                for (n, item) in self.run.items.iter().enumerate() {
                    let position = self.run.position(n);
                    match item.what {
                        RunWhat::Change { after, .. } if position <= edge && !self.opened => force = after,
                        RunWhat::Row(_) if position < edge => {}
                        _ => break,
                    }
                    self.item = n + 1;
                }
            }
            Direction::Reverse => {
                restart = block.seek(restarts.clone(), edge, false);
                self.run.load(&block, restart);
                self.item = (0..self.run.items.len())
                    .take_while(|n| self.run.position(*n) < edge)
                    .count();
                if changes {
                    force = block.force_before(restarts.start, restart, open);
                    for item in &self.run.items[..self.item] {
                        if let RunWhat::Change { after, .. } = item.what {
                            force = after;
                        }
                    }
                }
            }
        }
        self.open_with(force);
        let goes_on = restarts.end == block.restarts() && !block.is_closed();
        self.at = At::Rows(Rows {
            group,
            index: index.clone(),
            i,
            block,
            max_timestamp: entry.timestamps.map_or(i64::MIN, |(_, max)| max),
            restarts,
            restart,
            from_before,
            goes_on,
        });
        self.settle();
    }

    /// Finds what comes next from `item` on: an item, the next run, the next block, or the end.
    fn settle(&mut self) {
        loop {
            let At::Rows(rows) = &mut self.at else {
                unreachable!("only a cursor with rows settles")
            };
            match self.direction {
                Direction::Forward => {
                    if self.item < self.run.items.len() {
                        if self.run.position(self.item) >= self.slice.end.as_slice() {
                            return self.finish();
                        }
                        self.front = Front::Item;
                        return;
                    }
                    if rows.restart + 1 < rows.restarts.end {
                        rows.restart += 1;
                        self.run.load(&rows.block, rows.restart);
                        self.item = 0;
                        continue;
                    }
                    if !rows.goes_on {
                        return self.finish();
                    }
                }
                Direction::Reverse => {
                    if let Some(n) = self.item.checked_sub(1) {
                        let (position, start) = (self.run.position(n), self.slice.start.as_slice());
                        let outside = match self.run.items[n].what {
                            RunWhat::Row(_) => position < start,
                            // At the slice's start: what is open there is closed by the end of the slice.
                            RunWhat::Change { .. } => position <= start,
                        };
                        if outside {
                            return self.finish();
                        }
                        self.front = Front::Item;
                        return;
                    }
                    if rows.restart > rows.restarts.start {
                        rows.restart -= 1;
                        self.run.load(&rows.block, rows.restart);
                        self.item = self.run.items.len();
                        continue;
                    }
                    if !rows.from_before {
                        return self.finish();
                    }
                }
            }
            let (group, index, i) = (rows.group, rows.index.clone(), rows.i);
            return self.leave(group, index, i);
        }
    }

    /// The item that comes next in `run`.
    fn current(&self) -> usize {
        match self.direction {
            Direction::Forward => self.item,
            Direction::Reverse => self.item - 1,
        }
    }

    fn step(&mut self) {
        match self.direction {
            Direction::Forward => self.item += 1,
            Direction::Reverse => self.item -= 1,
        }
        self.settle();
    }

    /// Whether a block with this entry, followed by one that begins with `next`, can be passed over unread; if so, how many rows
    /// my partition has in it.
    fn passable(
        &self,
        entry: &IndexEntry<'_>,
        next: Option<First<'_>>,
        unwanted: Unwanted,
        until: Option<&[u8]>,
    ) -> Option<u64> {
        if entry.range_changes || !unwanted.is_all_of(entry) {
            return None;
        }
        let mine = self.is_mine(entry.first);
        let next = next.and_then(|next| self.goes_on(next));
        let rows = match entry.several {
            None if mine => entry.rows,
            Some((first, _)) if mine => first,
            Some((_, last)) if next.is_some() => last,
            _ => return None,
        };
        // The partition's last block (backward: its first) ends nowhere; the bounds of the whole file still hold for it.
        let bounds = self.table.statistics().clustering.as_ref();
        let within = match (self.direction, until) {
            (_, None) => true,
            (Direction::Forward, Some(until)) => {
                next.unwrap_or(PARTITION_END).min(self.slice.end.as_slice()) <= until
                    || bounds.is_some_and(|(_, max)| max.as_slice() < until)
            }
            (Direction::Reverse, Some(until)) => {
                let start = if mine { entry.first.position.unwrap_or(&[]) } else { &[] };
                start.max(self.slice.start.as_slice()) >= until
                    || bounds.is_some_and(|(min, _)| min.as_slice() >= until)
            }
        };
        within.then_some(rows)
    }

    /// Passes over the unread block that the cursor is pending at, if it may.
    fn pass_block(&mut self, unwanted: Unwanted, until: Option<&[u8]>) -> Option<u64> {
        let (entry, next) = self.pending_at()?;
        let rows = self.passable(&entry, next, unwanted, until)?;
        self.leave_unread();
        Some(rows)
    }

    /// The entry of the block, or group of blocks, that the cursor is pending at, and where the next one begins.
    fn pending_at(&self) -> Option<(IndexEntry<'_>, Option<First<'_>>)> {
        if self.opening || self.front != Front::Pending {
            return None;
        }
        let top = self.table.top();
        match &self.at {
            At::Block { group, index, i } => {
                let next = index.first(i + 1).or_else(|| top.first(group + 1));
                Some((index.get(*i)?, next))
            }
            At::Group(group) => Some((top.get(*group)?, top.first(group + 1))),
            At::Start | At::Rows(_) | At::Done => None,
        }
    }

    /// Leaves the block, or group of blocks, that the cursor is pending at.
    fn leave_unread(&mut self) {
        match &self.at {
            At::Block { group, index, i } => {
                let (group, index, i) = (*group, index.clone(), *i);
                self.leave(group, index, i);
            }
            At::Group(group) => {
                let (group, table) = (*group, self.table.clone());
                let goes_on = match table.top().first(group) {
                    Some(first) => self.direction == Direction::Forward || self.leave_backward(first),
                    None => false,
                };
                if goes_on {
                    self.next_group(group);
                }
            }
            At::Start | At::Rows(_) | At::Done => {}
        }
    }

    /// What the index knows of what the cursor is pending at; `None` if that is not enough for [`Unread`].
    pub fn unread(&self) -> Option<Unread> {
        let (entry, next) = self.pending_at()?;
        if !entry.has_digests() || !self.is_mine(entry.first) {
            return None;
        }
        let until = match self.direction {
            Direction::Forward => {
                let next = next.and_then(|next| self.goes_on(next));
                next.unwrap_or(PARTITION_END).min(&self.slice.end)
            }
            Direction::Reverse => entry.first.position.unwrap_or(&[]).max(&self.slice.start),
        };
        let (min_timestamp, max_timestamp) = entry.timestamps.unwrap_or((i64::MAX, i64::MIN));
        Some(Unread {
            alive: entry.alive_rows(),
            alive_digest: entry.alive_digest,
            max_timestamp,
            dead: DeadRows {
                count: entry.dead_rows,
                digest: entry.dead_digest,
                min_timestamp,
            },
            until: until.to_vec(),
        })
    }

    /// As [`unread`](Self::unread), of up to `most` blocks, or groups of blocks, that follow one another; and a cursor that has
    /// passed over them.
    pub fn unread_run(&self, most: usize) -> Option<(Unread, Cursor)> {
        let mut all = self.unread()?;
        let mut ahead = self.clone();
        ahead.leave_unread();
        for _ in 1..most {
            let Some(next) = ahead.unread() else { break };
            all.add(next);
            ahead.leave_unread();
        }
        Some((all, ahead))
    }

    /// Passes over what [`unread`](Self::unread) tells of; does nothing where that is `None`.
    pub fn pass_unread(&mut self) {
        if self.pending_at().is_some() {
            self.leave_unread();
        }
    }

    /// Whether all that comes lies behind `until` in the order of travel.
    pub fn is_beyond(&self, until: &[u8]) -> bool {
        match (self.peek(), self.direction) {
            (Peek::End, _) => true,
            (Peek::Item(item), Direction::Forward) => item.position() >= until,
            (Peek::Pending { position }, Direction::Forward) => position >= until,
            (Peek::Item(Item::Row { clustering, .. }), Direction::Reverse) => clustering < until,
            // It applies to rows before it.
            (Peek::Item(Item::RangeChange { position, .. }), Direction::Reverse) => position <= until,
            // Before it has been filled, a row may lie at the position itself.
            (Peek::Pending { position }, Direction::Reverse) => position < until,
        }
    }

    /// Whether the file has row tombstones, of whatever partition.
    pub fn may_have_dead(&self) -> bool {
        self.table.statistics().dead_rows > 0
    }

    /// Draws `until` in to where this cursor may have something.
    pub fn draw_in(&self, until: &mut Vec<u8>) {
        let position = match self.peek() {
            _ if self.is_beyond(until) => return,
            Peek::End => return,
            Peek::Item(item) => item.position(),
            Peek::Pending { position } => position,
        };
        until.clear();
        until.extend_from_slice(position);
        if self.direction == Direction::Reverse {
            // A row may lie at the position itself: all that is behind it is above this.
            until.push(0xFF);
        }
    }

    /// What lies before `until` in the order of travel, if that is row tombstones and nothing else, `least` of them at the least and
    /// `most` at the most; and a cursor that has passed over them. Blocks that lie before it whole are told by their index
    /// entries; those at both ends are read, if it may still come to that.
    ///
    /// # Errors
    /// As of [`fill`](Self::fill).
    ///
    /// # Cancellation
    /// Safe.
    pub async fn dead_until(&mut self, until: &[u8], least: u64, most: u64) -> Result<Option<(DeadRows, Cursor)>> {
        let mut ahead = self.clone();
        let dead = ahead.pass_dead_until(until, least, most).await;
        self.cost = ahead.cost;
        Ok(dead?.map(|dead| (dead, ahead)))
    }

    async fn pass_dead_until(&mut self, until: &[u8], least: u64, most: u64) -> Result<Option<DeadRows>> {
        let seed = self.table.seed();
        let mut dead = DeadRows::NONE;
        let mut steps = 0;
        if self.table.statistics().dead_rows < least.max(1) {
            return Ok(None);
        }
        while !self.is_beyond(until) && dead.count <= most {
            match self.peek() {
                Peek::Item(Item::Row { clustering, row }) if row.is_row_tombstone() => {
                    dead.add(&DeadRows {
                        count: 1,
                        digest: seed.digest(clustering),
                        min_timestamp: row.max_timestamp(),
                    });
                    self.advance();
                }
                Peek::Item(_) | Peek::End => return Ok(None),
                Peek::Pending { .. } => {
                    let unread = self.unread();
                    let whole = unread.as_ref().is_some_and(|unread| match self.direction {
                        Direction::Forward => *unread.until <= *until,
                        Direction::Reverse => *unread.until >= *until,
                    });
                    match unread {
                        Some(unread) if whole && unread.alive == 0 => {
                            dead.add(&unread.dead);
                            self.leave_unread();
                        }
                        Some(_) if whole => return Ok(None),
                        Some(unread) if dead.count.saturating_add(unread.dead.count) < least => return Ok(None),
                        Some(unread) if unread.alive == 0 => self.fill().await?,
                        // To look into this block may be for nothing.
                        _ if matches!(self.at, At::Block { .. }) => return Ok(None),
                        _ => self.fill().await?,
                    }
                }
            }
            steps += 1;
            if steps % ROWS_PER_BREATH == 0 {
                runtime::breathe().await;
            }
        }
        Ok((least..=most).contains(&dead.count).then_some(dead))
    }
}

impl RowSource for Cursor {
    fn peek(&self) -> Peek<'_> {
        if self.opening {
            let position = self.slice.first(self.direction);
            return Peek::Item(Item::RangeChange {
                position,
                deletion: self.force,
            });
        }
        match self.front {
            Front::End => Peek::End,
            Front::Pending => Peek::Pending { position: &self.bound },
            Front::Closing => {
                let position = self.slice.last(self.direction);
                Peek::Item(Item::RangeChange {
                    position,
                    deletion: Deletion::LIVE,
                })
            }
            Front::Item => {
                let At::Rows(rows) = &self.at else {
                    unreachable!("an item without rows")
                };
                let n = self.current();
                let position = self.run.position(n);
                Peek::Item(match &self.run.items[n].what {
                    RunWhat::Row(body) => Item::Row {
                        clustering: position,
                        row: row_of(rows.block.value(body)),
                    },
                    RunWhat::Change { before, after } => {
                        let deletion = match self.direction {
                            Direction::Forward => *after,
                            Direction::Reverse => *before,
                        };
                        Item::RangeChange { position, deletion }
                    }
                })
            }
        }
    }

    fn advance(&mut self) {
        if self.opening {
            self.opening = false;
            return;
        }
        match self.front {
            Front::Item => {
                if let RunWhat::Change { before, after } = self.run.items[self.current()].what {
                    self.force = match self.direction {
                        Direction::Forward => after,
                        Direction::Reverse => before,
                    };
                }
                self.step();
            }
            Front::Closing => {
                self.force = Deletion::LIVE;
                self.front = Front::End;
            }
            Front::Pending | Front::End => panic!("a cursor that shows no item is advanced"),
        }
    }

    fn skip_covered(&mut self, timestamp: i64, until: Option<&[u8]>) -> u64 {
        self.skip(Unwanted::Covered(timestamp), until)
    }

    fn skip_dead(&mut self, until: Option<&[u8]>) -> u64 {
        self.skip(Unwanted::Dead, until)
    }
}

impl Cursor {
    /// Rows of blocks that are passed over unread are counted whole, also where the slice begins or ends inside such a block.
    fn skip(&mut self, unwanted: Unwanted, until: Option<&[u8]>) -> u64 {
        let mut passed = 0;
        while !self.opening {
            match (self.front, &self.at) {
                (Front::Pending, _) => match self.pass_block(unwanted, until) {
                    Some(rows) => passed += rows,
                    None => break,
                },
                (Front::Item, At::Rows(rows)) => {
                    let n = self.current();
                    let RunWhat::Row(body) = &self.run.items[n].what else {
                        break;
                    };
                    let position = self.run.position(n);
                    let within = until.is_none_or(|until| match self.direction {
                        Direction::Forward => position < until,
                        Direction::Reverse => position >= until,
                    });
                    let row = || row_of(rows.block.value(body));
                    let is_unwanted = match unwanted {
                        Unwanted::Covered(by) => rows.max_timestamp <= by || row().max_timestamp() <= by,
                        Unwanted::Dead => row().is_row_tombstone(),
                    };
                    if !within || !is_unwanted {
                        break;
                    }
                    passed += 1;
                    self.step();
                }
                _ => break,
            }
        }
        passed
    }
}

impl fmt::Debug for Cursor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Cursor")
            .field("table", &self.table)
            .field("key", &self.key)
            .field("direction", &self.direction)
            .field("front", &self.front)
            .field("cost", &self.cost)
            .finish()
    }
}
