//! Reads a file from front to back past the block cache, for compaction: partition after partition, each a
//! [`RowSource`] of its own.
//!
//! 1. [`Scan::next_partition`] goes to the next partition that begins in the data frame at hand, or in one of those that follow.
//!    Frames in which none begins are passed over unread.
//! 2. Within a partition: *items*, decoded from one restart to the next into memory that is kept; *pending* at a data frame, or at an
//!    index frame for all under it, which [`Scan::fill`] reads, or the reader passes over ([`RowSource::skip_covered`]); the *end*.
//! 3. The device is read in large pieces, one after the other and one ahead (`pieces.rs`). Index frames come after their data
//!    frames, so each is read by itself, one ahead too; the pieces have their bytes once more, about one in two hundred.
//!
//! Each frame passes the same checks as in [`Table`]. Beyond them, what one frame alone can't show is compared: that it begins where
//! its index entry says, that partitions and positions ascend from frame to frame, that range deletions go on as they were left.
//! So bytes that contradict themselves are an error here, and not an unsorted stream for the writer behind it.

use std::fmt;
use std::ops::{Range, RangeInclusive};
use std::rc::Rc;

use model::{Deletion, Direction, Item, Peek, RowRef, RowSource, Token};
use runtime::Task;

use crate::cursor::Unwanted;
use crate::error::{Error, Result};
use crate::format::PARTITION_END;
use crate::format::data::{DataBlock, Run, RunWhat, row_of};
use crate::format::footer::Place;
use crate::format::frame::Kind;
use crate::format::index::{First, IndexBlock, IndexEntry};
use crate::pieces::{Pieces, keep};
use crate::share::start_of;
use crate::table::{Table, unpack, unpack_into};

/// A table's partitions in order, past the block cache. See [`Table::scan`].
///
/// After an error only dropping it makes sense: what was given before it was sound.
///
/// # Cancellation
/// A method whose future was dropped is to be called again: the scan is on its way to where that leads. A read then ends by itself.
pub struct Scan {
    table: Table,
    tokens: RangeInclusive<Token>,
    pieces: Pieces,
    /// The index frames of the tokens: the next one, or the one at hand, and the last.
    group: usize,
    last_group: usize,
    index: Option<Rc<IndexBlock>>,
    index_ahead: Option<(usize, Task<IndexRead>)>,
    index_bytes: u64,
    /// The data frame at hand, of `index`.
    i: usize,
    /// It is not in `block`.
    unread: bool,
    done: bool,
    block: Option<DataBlock>,
    block_at: u64,
    /// The largest timestamp in it.
    max_timestamp: i64,
    /// The memory of the block before.
    spare: [Vec<u8>; 2],
    /// How many of the block's own partitions have been begun.
    own: usize,

    // The partition, if there was one.
    present: bool,
    token: Token,
    key: Vec<u8>,
    deletion: Deletion,
    static_row: Option<Vec<u8>>,
    /// Its restarts in the block, and the one that is in `run`.
    restarts: Range<usize>,
    restart: usize,
    run: Run,
    item: usize,
    front: Front,
    /// Where the scan is pending.
    bound: Vec<u8>,
    /// The last position of the blocks before, if their last rows were seen.
    last: Vec<u8>,
    /// The range deletion in force.
    force: Deletion,
}

type IndexRead = std::result::Result<runtime::disk::ReadBuf, runtime::Error>;

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Front {
    Pending,
    /// The item of `run`.
    Item,
    End,
}

impl Scan {
    pub(crate) fn new(table: Table, tokens: RangeInclusive<Token>) -> Self {
        let groups = match (table.first_group(*tokens.start()), table.last_group(*tokens.end())) {
            (Some(first), Some(last)) if first <= last && !tokens.is_empty() => Some((first, last)),
            _ => None,
        };
        let (group, last_group) = groups.unwrap_or((0, 0));
        let mut pieces = Pieces::new(table.file().clone());
        // Nothing beyond the tokens is read; within the last index frame it is not known yet where they end.
        pieces.end = table.group_start(last_group).min(table.file_bytes());
        Scan {
            table,
            tokens,
            pieces,
            group,
            last_group,
            index: None,
            index_ahead: None,
            index_bytes: 0,
            i: 0,
            unread: true,
            done: groups.is_none(),
            block: None,
            block_at: 0,
            max_timestamp: i64::MIN,
            spare: [Vec::new(), Vec::new()],
            own: 0,
            present: false,
            token: Token::MIN,
            key: Vec::new(),
            deletion: Deletion::LIVE,
            static_row: None,
            restarts: 0..0,
            restart: 0,
            run: Run::default(),
            item: 0,
            front: Front::End,
            bound: Vec::new(),
            last: Vec::new(),
            force: Deletion::LIVE,
        }
    }

    /// Reads so many bytes at once, 64 to 512 KiB (512 otherwise): two such pieces are held, which is much where many files are read.
    pub fn in_pieces(mut self, bytes: u64) -> Scan {
        self.pieces.set_piece_bytes(bytes);
        self
    }

    /// Goes to the next partition; what was not taken of the present one is passed over. False at the end, and from then on.
    ///
    /// # Errors
    /// [`Error::Corrupt`] with the offset; [`Error::Io`].
    pub async fn next_partition(&mut self) -> Result<bool> {
        self.front = Front::End;
        while !self.done {
            if !self.unread {
                if self.begin_next()? {
                    return Ok(true);
                }
                if !self.done {
                    self.leave_block()?;
                }
                continue;
            }
            if self.group > self.last_group {
                self.done = true;
                continue;
            }
            let Some(index) = self.index.clone() else {
                let nothing_begins = self.top_entry()?.partitions == 0;
                if nothing_begins {
                    self.leave();
                } else {
                    self.load_index().await?;
                }
                continue;
            };
            let entry = index.get(self.i).ok_or_else(|| self.table.inconsistent(self.group))?;
            if entry.first.token > *self.tokens.end() {
                self.done = true;
            } else if entry.partitions == 0 || (entry.several.is_none() && entry.first.token < *self.tokens.start()) {
                self.leave();
            } else {
                self.load(&entry).await?;
            }
            runtime::breathe().await;
        }
        self.present = false;
        self.block = None;
        self.pieces.clear();
        Ok(false)
    }

    /// Of the present partition.
    ///
    /// # Panics
    /// If there is none.
    pub fn token(&self) -> Token {
        self.assert_present();
        self.token
    }

    /// Of the present partition.
    ///
    /// # Panics
    /// If there is none.
    pub fn key(&self) -> &[u8] {
        self.assert_present();
        &self.key
    }

    /// The present partition's tombstone, or `LIVE`.
    ///
    /// # Panics
    /// If there is none.
    pub fn deletion(&self) -> Deletion {
        self.assert_present();
        self.deletion
    }

    /// Of the present partition.
    ///
    /// # Panics
    /// If there is none.
    pub fn static_row(&self) -> Option<RowRef<'_>> {
        self.assert_present();
        self.static_row.as_deref().map(row_of)
    }

    fn assert_present(&self) {
        assert!(
            self.present,
            "a scan before its first partition, or behind its last, has none"
        );
    }

    /// Takes one step towards the partition's next item: reads at most one frame. Does nothing if the scan is not pending.
    ///
    /// # Errors
    /// [`Error::Corrupt`] with the offset; [`Error::Io`].
    pub async fn fill(&mut self) -> Result<()> {
        if self.front != Front::Pending {
            return Ok(());
        }
        if self.group > self.last_group {
            return Err(self.unfinished());
        }
        let Some(index) = self.index.clone() else {
            // Its entries may be enough to pass over some of it.
            return self.load_index().await;
        };
        let entry = index.get(self.i).ok_or_else(|| self.table.inconsistent(self.group))?;
        if self.goes_on(entry.first).is_none() {
            return Err(self.unfinished());
        }
        let offset = entry.place.offset;
        if entry.open != self.force {
            return Err(self
                .table
                .corrupt(offset, "a range deletion does not go on as it was left"));
        }
        if entry
            .first
            .position
            .is_some_and(|position| !self.last.is_empty() && position <= self.last.as_slice())
        {
            return Err(self.table.corrupt(offset, "positions are out of order"));
        }
        self.load(&entry).await?;
        let Some(block) = &self.block else {
            unreachable!("a block was loaded")
        };
        self.restarts = block.continued();
        self.enter(self.restarts.start);
        Ok(())
    }

    /// Bytes read from the device so far, and being read ahead.
    pub fn device_bytes(&self) -> u64 {
        self.index_bytes + self.pieces.bytes
    }

    /// The partition is open at the end of a frame, and does not go on in the next.
    fn unfinished(&self) -> Error {
        self.table
            .corrupt(self.block_at, "a partition does not end where its last block does")
    }

    /// The position at which the present partition goes on in a block that begins with `first`, if it does.
    fn goes_on<'a>(&self, first: First<'a>) -> Option<&'a [u8]> {
        first.position.filter(|_| first.is_of(self.token, &self.key))
    }

    fn top_entry(&self) -> Result<IndexEntry<'_>> {
        let entry = self.table.top().get(self.group);
        entry.ok_or_else(|| self.table.inconsistent(self.group))
    }

    /// The present index frame's data frames lie here.
    fn span(&self) -> Result<Range<u64>> {
        Ok(self.table.group_start(self.group)..self.top_entry()?.place.offset)
    }

    /// Reads the index frame at hand; goes to the first data frame in it that may have something of the tokens.
    async fn load_index(&mut self) -> Result<()> {
        let (group, place) = (self.group, self.top_entry()?.place);
        if place.end() > self.table.file_bytes() {
            return Err(self.table.corrupt(place.offset, "a frame lies beyond the file"));
        }
        if self.index_ahead.as_ref().is_none_or(|(ahead, _)| *ahead != group) {
            self.read_index(group, place);
        }
        let Some((_, read)) = &mut self.index_ahead else {
            unreachable!("an index frame is being read")
        };
        let read = read.await;
        self.index_ahead = None;
        let (kind, identity) = (Kind::Index, self.table.identity());
        let unpacked = unpack(&read?, kind, identity, place.offset).await;
        let (raw, _) = unpacked.map_err(|what| self.table.corrupt(place.offset, what))?;
        let index = self.table.parse_index(group, place, raw)?;
        self.i = index.last_at(start_of(*self.tokens.start())).unwrap_or(0);
        if group == self.last_group {
            let last = index.last_up_to(*self.tokens.end()).and_then(|last| index.get(last));
            let end = last.map_or(self.pieces.end, |last| last.place.end().min(place.offset));
            self.pieces.end = end.min(self.table.file_bytes());
        } else if let Some(next) = self.table.top().get(group + 1)
            && next.place.end() <= self.table.file_bytes()
        {
            self.read_index(group + 1, next.place);
        }
        self.index = Some(Rc::new(index));
        Ok(())
    }

    /// Begins to read an index frame.
    fn read_index(&mut self, group: usize, place: Place) {
        self.index_bytes += u64::from(place.len);
        let file = self.table.file().clone();
        let read = async move { file.read(place.offset, place.len as usize).await };
        let task = runtime::spawn(runtime::task_class(), "sstable scan index", read);
        self.index_ahead = Some((group, task));
    }

    /// Reads the data frame at hand, which has this entry.
    async fn load(&mut self, entry: &IndexEntry<'_>) -> Result<()> {
        let (place, span) = (entry.place, self.span()?);
        let at = place.offset;
        if at < span.start || span.end.min(self.pieces.end) < place.end() {
            return Err(self.table.corrupt(at, "a data frame is not where its index entry says"));
        }
        let frame = self.pieces.frame(place).await?;
        let memory = std::mem::take(&mut self.spare);
        let unpacked = unpack_into(frame, Kind::Data, self.table.identity(), at, memory).await;
        let corrupt = |what| self.table.corrupt(at, what);
        let (keys, values) = unpacked.map_err(corrupt)?;
        let block = DataBlock::parse(keys, values).map_err(corrupt)?;
        if !block.begins_with(entry.first) || block.partitions() as u64 != entry.partitions {
            return Err(corrupt("a block is not what its index entry says"));
        }
        if !block.fits_open(entry.open) {
            return Err(corrupt("a range deletion does not go on as it was left"));
        }
        let before = self.block.replace(block).map(DataBlock::into_sections);
        self.spare = before.unwrap_or_default();
        self.spare.iter_mut().for_each(keep);
        self.block_at = at;
        self.max_timestamp = entry.timestamps.map_or(i64::MIN, |(_, max)| max);
        self.own = 0;
        self.unread = false;
        runtime::breathe().await;
        Ok(())
    }

    /// Leaves the block at hand, of which nothing is left.
    fn leave_block(&mut self) -> Result<()> {
        let closed = self.block.as_ref().is_some_and(DataBlock::is_closed);
        self.leave();
        let begins = self.first_at_hand().is_none_or(|first| first.position.is_none());
        if closed != begins {
            return Err(self.unfinished());
        }
        Ok(())
    }

    /// Leaves the data frame at hand, or the index frame if it was not read, for the next one.
    fn leave(&mut self) {
        self.unread = true;
        match &self.index {
            Some(index) if self.i + 1 < index.len() => self.i += 1,
            _ => {
                self.index = None;
                self.i = 0;
                self.group += 1;
            }
        }
    }

    /// Begins the next partition that begins in the block at hand; false if there is none.
    fn begin_next(&mut self) -> Result<bool> {
        let Some(block) = &self.block else {
            return Ok(false);
        };
        if self.own == 0 {
            let start = *self.tokens.start();
            self.own = block.partition_point(|token, _| token < start);
        }
        let (Some((token, key, deletion)), Some(begin)) =
            (block.partition(self.own), block.partition_restart(self.own))
        else {
            return Ok(false);
        };
        if token > *self.tokens.end() {
            self.done = true;
            return Ok(false);
        }
        if self.present && (self.token, self.key.as_slice()) >= (token, key) {
            return Err(self.table.corrupt(self.block_at, "partitions are out of order"));
        }
        (self.present, self.token, self.deletion) = (true, token, deletion);
        self.key.clear();
        self.key.extend_from_slice(key);
        let mut memory = self.static_row.take().unwrap_or_default();
        self.static_row = block.static_row(begin).map(|body| {
            memory.clear();
            memory.extend_from_slice(body);
            memory
        });
        self.own += 1;
        self.restarts = begin..block.partition_restart(self.own).unwrap_or(block.restarts());
        self.force = Deletion::LIVE;
        self.last.clear();
        self.bound.clear();
        self.enter(begin);
        Ok(true)
    }

    /// Goes to the first item from a restart of the block on.
    fn enter(&mut self, restart: usize) {
        if let Some(block) = &self.block {
            self.run.load(block, restart);
        }
        self.restart = restart;
        self.item = 0;
        self.settle();
    }

    /// Finds what comes next from `item` on: an item, the next run, the next block, or the end.
    fn settle(&mut self) {
        while self.item >= self.run.items.len() {
            let Some(block) = &self.block else {
                unreachable!("only a scan with a block settles")
            };
            if let Some(last) = self.run.items.len().checked_sub(1) {
                self.last.clear();
                self.last.extend_from_slice(self.run.position(last));
            }
            if self.restart + 1 < self.restarts.end {
                self.restart += 1;
                self.run.load(block, self.restart);
                self.item = 0;
                continue;
            }
            if self.restarts.end < block.restarts() || block.is_closed() {
                self.front = Front::End;
                return;
            }
            self.leave();
            self.pend();
            return;
        }
        self.front = Front::Item;
    }

    /// Pending at what is at hand, unread.
    fn pend(&mut self) {
        self.front = Front::Pending;
        let mut bound = std::mem::take(&mut self.bound);
        // A partition that does not go on is damage, which `fill` tells.
        if let Some(position) = self.first_at_hand().and_then(|first| self.goes_on(first)) {
            bound.clear();
            bound.extend_from_slice(position);
        }
        self.bound = bound;
    }

    fn first_at_hand(&self) -> Option<First<'_>> {
        match &self.index {
            Some(index) => index.first(self.i),
            None => self.table.top().first(self.group),
        }
    }

    /// The entry of what is at hand, unread, and where the next one begins.
    fn at_hand(&self) -> Option<(IndexEntry<'_>, Option<First<'_>>)> {
        let top = self.table.top();
        match &self.index {
            Some(index) => {
                let next = index.first(self.i + 1).or_else(|| top.first(self.group + 1));
                Some((index.get(self.i)?, next))
            }
            None => Some((top.get(self.group)?, top.first(self.group + 1))),
        }
    }

    /// Passes over what the scan is pending at, unread, if it may; gives the number of rows.
    fn pass_unread(&mut self, unwanted: Unwanted, until: Option<&[u8]>) -> Option<u64> {
        let (entry, next) = self.at_hand()?;
        self.goes_on(entry.first)?;
        if entry.range_changes || !unwanted.is_all_of(&entry) || entry.open != self.force {
            return None;
        }
        let next = next.and_then(|next| self.goes_on(next));
        // The partition's last block ends nowhere; the bounds of the whole file still hold for it.
        let bounds = self.table.statistics().clustering.as_ref();
        let within = until.is_none_or(|until| {
            next.unwrap_or(PARTITION_END) <= until || bounds.is_some_and(|(_, max)| max.as_slice() < until)
        });
        if !within || (next.is_none() && !self.force.is_live()) {
            return None;
        }
        let rows = entry.several.map_or(entry.rows, |(first, _)| first);
        let (others, goes_on) = (entry.several.is_some(), next.is_some());
        self.last.clear();
        if others {
            // The partition ends among others: `next_partition` reads them.
            self.front = Front::End;
            return Some(rows);
        }
        self.leave();
        if goes_on {
            self.pend();
        } else {
            self.front = Front::End;
        }
        Some(rows)
    }

    fn skip(&mut self, unwanted: Unwanted, until: Option<&[u8]>) -> u64 {
        let mut passed = 0;
        loop {
            match self.front {
                Front::End => return passed,
                Front::Pending => match self.pass_unread(unwanted, until) {
                    Some(rows) => passed += rows,
                    None => return passed,
                },
                Front::Item => {
                    let (Some(block), RunWhat::Row(body)) = (&self.block, &self.run.items[self.item].what) else {
                        return passed;
                    };
                    let row = || row_of(block.value(body));
                    let is_unwanted = match unwanted {
                        Unwanted::Covered(by) => self.max_timestamp <= by || row().max_timestamp() <= by,
                        Unwanted::Dead => row().is_row_tombstone(),
                    };
                    let within = until.is_none_or(|until| self.run.position(self.item) < until);
                    if !within || !is_unwanted {
                        return passed;
                    }
                    passed += 1;
                    self.step();
                }
            }
        }
    }

    #[inline]
    fn step(&mut self) {
        self.item += 1;
        if self.item >= self.run.items.len() {
            self.settle();
        }
    }
}

impl RowSource for Scan {
    #[inline]
    fn peek(&self) -> Peek<'_> {
        match self.front {
            Front::End => Peek::End,
            Front::Pending => Peek::Pending { position: &self.bound },
            Front::Item => {
                let Some(block) = &self.block else {
                    unreachable!("an item without a block")
                };
                let position = self.run.position(self.item);
                Peek::Item(match &self.run.items[self.item].what {
                    RunWhat::Row(body) => Item::Row {
                        clustering: position,
                        row: row_of(block.value(body)),
                    },
                    RunWhat::Change { after, .. } => Item::RangeChange {
                        position,
                        deletion: *after,
                    },
                })
            }
        }
    }

    #[inline]
    fn advance(&mut self) {
        assert!(self.front == Front::Item, "a scan that shows no item is advanced");
        if let RunWhat::Change { after, .. } = self.run.items[self.item].what {
            self.force = after;
        }
        self.step();
    }

    fn skip_covered(&mut self, timestamp: i64, until: Option<&[u8]>) -> u64 {
        self.skip(Unwanted::Covered(timestamp), until)
    }

    fn skip_dead(&mut self, until: Option<&[u8]>) -> u64 {
        self.skip(Unwanted::Dead, until)
    }

    fn give_live(
        &mut self,
        direction: Direction,
        until: Option<&[u8]>,
        give: &mut impl FnMut(&[u8], RowRef<'_>) -> bool,
    ) -> u64 {
        assert!(direction == Direction::Forward, "a scan goes forward only");
        let mut given = 0;
        while self.front == Front::Item {
            let (Some(block), RunWhat::Row(body)) = (&self.block, &self.run.items[self.item].what) else {
                break;
            };
            let (position, row) = (self.run.position(self.item), row_of(block.value(body)));
            if !row.is_wholly_live() || until.is_some_and(|until| position >= until) {
                break;
            }
            let more = give(position, row);
            given += 1;
            self.step();
            if !more {
                break;
            }
        }
        given
    }
}

impl fmt::Debug for Scan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Scan")
            .field("table", &self.table)
            .field("tokens", &self.tokens)
            .field("key", &self.key)
            .field("front", &self.front)
            .field("device_bytes", &self.device_bytes())
            .finish()
    }
}
