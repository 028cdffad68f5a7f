//! Data frames: keys apart from values.
//!
//! Keys section: entries, restarts (key offset and value offset, 4 bytes each), partitions (restart number, 4 bytes
//! each), `restart_count`, `partition_count` (4 bytes each).
//!
//! | entry | bytes |
//! |---|---|
//! | 1 partition start | token, key, flag 3: deletion |
//! | 2 static row | body length |
//! | 3 row | shared, rest, body length; flag 3: a row tombstone and nothing else |
//! | 4 range change | shared, rest; flag 3: deletion before; flag 4: deletion after |
//! | 5 partition end | |
//! | 6 dead run | reserved |
//!
//! [`DataBlock::parse`] walks all of it once, so that what comes later ([`Run`], [`DataBlock::find`]) can rely on it.

use std::cmp::Ordering;
use std::ops::Range;

use model::{Deletion, RowRef, Token, varint};

use super::index::First;
use super::{PARTITION_END, What, get_deletion, get_usize, put_deletion, take, u32_at, u64_at};
use crate::encoder::{KEY_BYTES_MAX, ROW_BYTES_MAX};

const PARTITION_START: u8 = 1;
const STATIC_ROW: u8 = 2;
const ROW: u8 = 3;
const RANGE_CHANGE: u8 = 4;
const END: u8 = 5;
const KIND_MASK: u8 = 0b111;
const FLAG_3: u8 = 1 << 3;
const FLAG_4: u8 = 1 << 4;

/// The writer puts a restart at least every this many entries.
pub(crate) const RESTART_INTERVAL: u32 = 16;

const RESTART_LEN: usize = 8;
const TRAILER_LEN: usize = 8;

/// Builds the two raw sections of one data frame. Knows nothing of order: its owner asserts it.
pub(crate) struct DataBuilder {
    pub(crate) keys: Vec<u8>,
    pub(crate) values: Vec<u8>,
    restarts: Vec<(u32, u32)>,
    partitions: Vec<u32>,
    since_restart: u32,
}

impl DataBuilder {
    pub(crate) fn new() -> Self {
        DataBuilder {
            keys: Vec::new(),
            values: Vec::new(),
            restarts: Vec::new(),
            partitions: Vec::new(),
            since_restart: 0,
        }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.restarts.is_empty()
    }

    /// Raw bytes of both sections.
    #[inline]
    pub(crate) fn raw_len(&self) -> usize {
        self.keys.len() + self.values.len() + self.restarts.len() * RESTART_LEN + self.partitions.len() * 4
    }

    #[inline]
    fn restart(&mut self) {
        self.restarts.push((self.keys.len() as u32, self.values.len() as u32));
        self.since_restart = 1;
    }

    /// Whether the next entry is a restart, which shares nothing with the one before.
    #[inline]
    fn entry(&mut self) -> bool {
        if self.since_restart == RESTART_INTERVAL || self.restarts.is_empty() {
            self.restart();
            return true;
        }
        self.since_restart += 1;
        false
    }

    pub(crate) fn partition_start(&mut self, token: Token, key: &[u8], deletion: Deletion) {
        self.partitions.push(self.restarts.len() as u32);
        self.restart();
        self.keys
            .push(PARTITION_START | if deletion.is_live() { 0 } else { FLAG_3 });
        self.keys.extend_from_slice(&token.0.to_le_bytes());
        varint::put_bytes(&mut self.keys, key);
        if !deletion.is_live() {
            put_deletion(&mut self.keys, deletion);
        }
    }

    pub(crate) fn static_row(&mut self, body: &[u8]) {
        self.entry();
        self.keys.push(STATIC_ROW);
        varint::put_u64(&mut self.keys, body.len() as u64);
        self.values.extend_from_slice(body);
    }

    /// `shared`: what `position` has in common with the partition's last position in this frame.
    #[inline]
    pub(crate) fn row(&mut self, position: &[u8], shared: usize, tombstone_only: bool, body: &[u8]) {
        let shared = if self.entry() { 0 } else { shared };
        self.keys.push(ROW | if tombstone_only { FLAG_3 } else { 0 });
        varint::put_u64(&mut self.keys, shared as u64);
        varint::put_bytes(&mut self.keys, &position[shared..]);
        varint::put_u64(&mut self.keys, body.len() as u64);
        self.values.extend_from_slice(body);
    }

    pub(crate) fn range_change(&mut self, position: &[u8], shared: usize, before: Deletion, after: Deletion) {
        let shared = if self.entry() { 0 } else { shared };
        let flags = if before.is_live() { 0 } else { FLAG_3 } | if after.is_live() { 0 } else { FLAG_4 };
        self.keys.push(RANGE_CHANGE | flags);
        varint::put_u64(&mut self.keys, shared as u64);
        varint::put_bytes(&mut self.keys, &position[shared..]);
        for deletion in [before, after] {
            if !deletion.is_live() {
                put_deletion(&mut self.keys, deletion);
            }
        }
    }

    pub(crate) fn partition_end(&mut self) {
        self.entry();
        self.keys.push(END);
    }

    /// Appends restarts and partitions; `keys` and `values` are then the sections.
    pub(crate) fn finish(&mut self) {
        for (key, value) in &self.restarts {
            self.keys.extend_from_slice(&key.to_le_bytes());
            self.keys.extend_from_slice(&value.to_le_bytes());
        }
        for restart in &self.partitions {
            self.keys.extend_from_slice(&restart.to_le_bytes());
        }
        self.keys.extend_from_slice(&(self.restarts.len() as u32).to_le_bytes());
        self.keys
            .extend_from_slice(&(self.partitions.len() as u32).to_le_bytes());
    }

    /// Ready for the next frame; `keys` and `values` have been taken.
    pub(crate) fn clear(&mut self) {
        self.keys.clear();
        self.values.clear();
        self.restarts.clear();
        self.partitions.clear();
        self.since_restart = 0;
    }
}

/// One entry as it stands.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Entry<'a> {
    PartitionStart {
        token: Token,
        key: &'a [u8],
        deletion: Deletion,
    },
    StaticRow {
        len: usize,
    },
    Row {
        shared: usize,
        rest: &'a [u8],
        len: usize,
        tombstone_only: bool,
    },
    RangeChange {
        shared: usize,
        rest: &'a [u8],
        before: Deletion,
        after: Deletion,
    },
    PartitionEnd,
}

#[inline]
fn entry<'a>(input: &mut &'a [u8]) -> Result<Entry<'a>, What> {
    const CUT: What = "an entry is cut off";
    let (&first, rest) = input.split_first().ok_or(CUT)?;
    *input = rest;
    let (kind, flags) = (first & KIND_MASK, first & !KIND_MASK);
    let allowed = match kind {
        PARTITION_START | ROW => FLAG_3,
        RANGE_CHANGE => FLAG_3 | FLAG_4,
        _ => 0,
    };
    if flags & !allowed != 0 {
        return Err("an entry has an unknown flag");
    }
    match kind {
        ROW => Ok(Entry::Row {
            shared: get_usize(input).ok_or(CUT)?,
            rest: varint::get_bytes(input).ok_or(CUT)?,
            len: get_usize(input).ok_or(CUT)?,
            tombstone_only: flags & FLAG_3 != 0,
        }),
        PARTITION_START => {
            let token = Token(i64::from_le_bytes(take(input).ok_or(CUT)?));
            let key = varint::get_bytes(input).ok_or(CUT)?;
            let deletion = optional(input, flags & FLAG_3 != 0).ok_or("a deletion is not one")?;
            Ok(Entry::PartitionStart { token, key, deletion })
        }
        STATIC_ROW => Ok(Entry::StaticRow {
            len: get_usize(input).ok_or(CUT)?,
        }),
        RANGE_CHANGE => Ok(Entry::RangeChange {
            shared: get_usize(input).ok_or(CUT)?,
            rest: varint::get_bytes(input).ok_or(CUT)?,
            before: optional(input, flags & FLAG_3 != 0).ok_or("a deletion is not one")?,
            after: optional(input, flags & FLAG_4 != 0).ok_or("a deletion is not one")?,
        }),
        END => Ok(Entry::PartitionEnd),
        _ => Err("an entry of an unknown kind"),
    }
}

fn optional(input: &mut &[u8], there: bool) -> Option<Deletion> {
    if there {
        get_deletion(input)
    } else {
        Some(Deletion::LIVE)
    }
}

/// A decompressed and checked data frame.
pub(crate) struct DataBlock {
    keys: Vec<u8>,
    values: Vec<u8>,
    entries_len: usize,
    restarts: usize,
    partitions: usize,
    /// Whether the last entry ends a partition.
    closed: bool,
    /// What the frame's first range change says was in force before it, if it is of the partition that is open at the frame's start.
    first_before: Option<Deletion>,
}

impl DataBlock {
    /// Checks the sections' structure: after this, every entry of every run can be read.
    pub(crate) fn parse(keys: Vec<u8>, values: Vec<u8>) -> Result<DataBlock, What> {
        let trailer = keys
            .len()
            .checked_sub(TRAILER_LEN)
            .ok_or("a data frame has no trailer")?;
        let restarts = u32_at(&keys, trailer).unwrap_or(0) as usize;
        let partitions = u32_at(&keys, trailer + 4).unwrap_or(0) as usize;
        let tables = restarts as u64 * RESTART_LEN as u64 + partitions as u64 * 4;
        let entries_len = (trailer as u64)
            .checked_sub(tables)
            .ok_or("a data frame's tables do not fit it")? as usize;
        if restarts == 0 || entries_len == 0 {
            return Err("a data frame is empty");
        }
        let mut block = DataBlock {
            keys,
            values,
            entries_len,
            restarts,
            partitions,
            closed: false,
            first_before: None,
        };
        let mut walk = Walk::new();
        let (mut closed, mut first_before, mut continues) = (false, None, true);
        while let Some(step) = walk.next(&block)? {
            closed = matches!(step, Step::PartitionEnd);
            match step {
                Step::PartitionStart { .. } => continues = false,
                Step::RangeChange { before, .. } if continues && first_before.is_none() => first_before = Some(before),
                _ => {}
            }
        }
        (block.closed, block.first_before) = (closed, first_before);
        Ok(block)
    }

    /// Both sections, for their memory.
    pub(crate) fn into_sections(self) -> [Vec<u8>; 2] {
        [self.keys, self.values]
    }

    /// How many partitions begin in the frame.
    pub(crate) fn partitions(&self) -> usize {
        self.partitions
    }

    /// Whether the frame begins as its index entry says: with this partition's start, or in it with this position.
    pub(crate) fn begins_with(&self, first: First<'_>) -> bool {
        match (first.position, self.partition_restart(0)) {
            (None, Some(0)) => self.partition(0).is_some_and(|(token, key, _)| first.is_of(token, key)),
            (Some(position), restart) if restart != Some(0) => self.restart_position(0) == Some(position),
            _ => false,
        }
    }

    /// Whether `open` fits what the frame says of the partition that is open at its start.
    pub(crate) fn fits_open(&self, open: Deletion) -> bool {
        let ends = self.partitions > 0 || self.closed;
        match self.first_before {
            Some(before) => before == open,
            // Without a change it is in force up to the end.
            None => open.is_live() || !ends,
        }
    }

    /// Bytes of memory, for the cache.
    pub(crate) fn memory_bytes(&self) -> usize {
        self.keys.capacity() + self.values.capacity() + size_of::<Self>()
    }

    pub(crate) fn raw_lens(&self) -> (usize, usize) {
        (self.keys.len(), self.values.len())
    }

    /// How many restarts there are.
    pub(crate) fn restarts(&self) -> usize {
        self.restarts
    }

    /// Whether the frame's last partition ends in it.
    pub(crate) fn is_closed(&self) -> bool {
        self.closed
    }

    fn restart(&self, i: usize) -> Option<(usize, usize)> {
        if i >= self.restarts {
            return None;
        }
        let both = u64_at(&self.keys, self.entries_len + i * RESTART_LEN)?;
        Some((both as u32 as usize, (both >> 32) as usize))
    }

    /// The number of the restart at which the frame's `i`th own partition begins.
    pub(crate) fn partition_restart(&self, i: usize) -> Option<usize> {
        if i >= self.partitions {
            return None;
        }
        u32_at(&self.keys, self.entries_len + self.restarts * RESTART_LEN + i * 4).map(|r| r as usize)
    }

    fn entries(&self, from: usize) -> &[u8] {
        self.keys.get(from..self.entries_len).unwrap_or(&[])
    }

    /// Token, key and deletion of the frame's `i`th own partition.
    pub(crate) fn partition(&self, i: usize) -> Option<(Token, &[u8], Deletion)> {
        let (at, _) = self.restart(self.partition_restart(i)?)?;
        match entry(&mut self.entries(at)) {
            Ok(Entry::PartitionStart { token, key, deletion }) => Some((token, key, deletion)),
            _ => None,
        }
    }

    /// The first of the frame's own partitions that is not before (`Ordering::Less`) what `compare` looks for.
    pub(crate) fn partition_point(&self, mut before: impl FnMut(Token, &[u8]) -> bool) -> usize {
        let (mut low, mut high) = (0, self.partitions);
        while low < high {
            let mid = low + (high - low) / 2;
            match self.partition(mid) {
                Some((token, key, _)) if before(token, key) => low = mid + 1,
                _ => high = mid,
            }
        }
        low
    }

    /// The restarts of a partition that begins in this frame, and its deletion.
    pub(crate) fn find(&self, token: Token, key: &[u8]) -> Option<(Range<usize>, Deletion)> {
        let i = self.partition_point(|t, k| (t, k) < (token, key));
        let (t, k, deletion) = self.partition(i)?;
        if (t, k) != (token, key) {
            return None;
        }
        let end = self.partition_restart(i + 1).unwrap_or(self.restarts);
        Some((self.partition_restart(i)?..end, deletion))
    }

    /// The restarts of the partition that is open at the frame's start.
    pub(crate) fn continued(&self) -> Range<usize> {
        0..self.partition_restart(0).unwrap_or(self.restarts)
    }

    /// The first partition that begins in this frame and comes after (token, key).
    pub(crate) fn partition_after(&self, token: Token, key: &[u8]) -> Option<(Token, &[u8])> {
        let i = self.partition_point(|t, k| (t, k) <= (token, key));
        self.partition(i).map(|(t, k, _)| (t, k))
    }

    /// The static row of a partition that begins in this frame, whose first restart is `restart`.
    pub(crate) fn static_row(&self, restart: usize) -> Option<&[u8]> {
        let (at, value) = self.restart(restart)?;
        let mut input = self.entries(at);
        entry(&mut input).ok()?;
        match entry(&mut input) {
            Ok(Entry::StaticRow { len }) => self.values.get(value..value.checked_add(len)?),
            _ => None,
        }
    }

    /// The position of the entry at restart `i`; `None` for entries that have none.
    fn restart_position(&self, i: usize) -> Option<&[u8]> {
        let (at, _) = self.restart(i)?;
        match entry(&mut self.entries(at)) {
            Ok(Entry::Row { rest, .. } | Entry::RangeChange { rest, .. }) => Some(rest),
            _ => None,
        }
    }

    /// The last of `restarts` whose entry's position is below `position` (or at it, if `inclusive`); the first if none is.
    /// A partition start counts as before everything, an end as after everything.
    pub(crate) fn seek(&self, restarts: Range<usize>, position: &[u8], inclusive: bool) -> usize {
        let (first, mut low, mut high) = (restarts.start, restarts.start + 1, restarts.end);
        while low < high {
            let mid = low + (high - low) / 2;
            let before = match self.restart_position(mid) {
                Some(p) if inclusive => p <= position,
                Some(p) => p < position,
                // In the middle of a partition only its end has no position, or a static row that a restart fell on.
                None => self.is_static(mid),
            };
            if before {
                low = mid + 1;
            } else {
                high = mid;
            }
        }
        first.max(low - 1)
    }

    fn is_static(&self, restart: usize) -> bool {
        let Some((at, _)) = self.restart(restart) else {
            return false;
        };
        matches!(entry(&mut self.entries(at)), Ok(Entry::StaticRow { .. }))
    }

    /// The range deletion in force just before restart `to`, when `open` is in force at restart `from`.
    pub(crate) fn force_before(&self, from: usize, to: usize, open: Deletion) -> Deletion {
        let mut force = open;
        let (Some((at, _)), Some((end, _))) = (self.restart(from), self.restart(to)) else {
            return force;
        };
        let mut input = self.keys.get(at..end).unwrap_or(&[]);
        while !input.is_empty() {
            match entry(&mut input) {
                Ok(Entry::RangeChange { after, .. }) => force = after,
                Ok(_) => {}
                Err(_) => break,
            }
        }
        force
    }

    /// The body at `range` of the values.
    #[inline]
    pub(crate) fn value(&self, range: &Range<u32>) -> &[u8] {
        self.values.get(range.start as usize..range.end as usize).unwrap_or(&[])
    }
}

/// Rows and range changes from one restart to the next, decoded; its memory is kept from run to run.
#[derive(Clone, Default)]
pub(crate) struct Run {
    keys: Vec<u8>,
    pub(crate) items: Vec<RunItem>,
}

/// One row or range change of a [`Run`].
#[derive(Clone, Debug)]
pub(crate) struct RunItem {
    key: Range<u32>,
    pub(crate) what: RunWhat,
}

#[derive(Clone, Debug)]
pub(crate) enum RunWhat {
    Row(Range<u32>),
    Change { before: Deletion, after: Deletion },
}

impl Run {
    pub(crate) fn position(&self, i: usize) -> &[u8] {
        let key = &self.items[i].key;
        &self.keys[key.start as usize..key.end as usize]
    }

    /// Decodes the run at `restart` of a block that [`DataBlock::parse`] accepted.
    pub(crate) fn load(&mut self, block: &DataBlock, restart: usize) {
        self.keys.clear();
        self.items.clear();
        let Some((at, value)) = block.restart(restart) else {
            return;
        };
        let end = block.restart(restart + 1).map_or(block.entries_len, |(end, _)| end);
        let mut input = block.keys.get(at..end).unwrap_or(&[]);
        let mut value = value as u32;
        let mut last = 0..0;
        while !input.is_empty() {
            let (shared, rest, what) = match entry(&mut input) {
                Ok(Entry::Row { shared, rest, len, .. }) => {
                    let body = value..value + len as u32;
                    value = body.end;
                    (shared, rest, RunWhat::Row(body))
                }
                Ok(Entry::RangeChange {
                    shared,
                    rest,
                    before,
                    after,
                }) => (shared, rest, RunWhat::Change { before, after }),
                Ok(Entry::StaticRow { len }) => {
                    value += len as u32;
                    continue;
                }
                Ok(Entry::PartitionStart { .. } | Entry::PartitionEnd) => continue,
                Err(_) => break,
            };
            let start = self.keys.len();
            self.keys
                .extend_from_within(last.start..last.start + shared.min(last.end - last.start));
            self.keys.extend_from_slice(rest);
            last = start..self.keys.len();
            self.items.push(RunItem {
                key: last.start as u32..last.end as u32,
                what,
            });
        }
    }
}

/// One entry met by a [`Walk`], complete.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Step<'a> {
    PartitionStart {
        token: Token,
        key: &'a [u8],
        deletion: Deletion,
    },
    StaticRow(&'a [u8]),
    Row {
        position: &'a [u8],
        body: &'a [u8],
        tombstone_only: bool,
    },
    RangeChange {
        position: &'a [u8],
        before: Deletion,
        after: Deletion,
    },
    PartitionEnd,
}

/// What a partition has had so far, for its order.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Stage {
    Outside,
    Started,
    Static,
    Change,
    Row,
}

/// Goes through a data frame from its first entry to its last and checks everything that one frame can show: structure,
/// restarts, order, bounds.
pub(crate) struct Walk {
    at: usize,
    value: usize,
    restart: usize,
    own: usize,
    stage: Stage,
    position: Vec<u8>,
    /// The last partition start, as a range of the keys section.
    partition: Option<(Token, Range<usize>)>,
    /// The range deletion in force; not known at the start of a frame that continues a partition.
    force: Option<Deletion>,
}

impl Walk {
    pub(crate) fn new() -> Self {
        Walk {
            at: 0,
            value: 0,
            restart: 0,
            own: 0,
            stage: Stage::Outside,
            position: Vec::new(),
            partition: None,
            force: None,
        }
    }

    /// The next entry, or `None` after the last.
    pub(crate) fn next<'a>(&'a mut self, block: &'a DataBlock) -> Result<Option<Step<'a>>, What> {
        let mut input = block.entries(self.at);
        if input.is_empty() {
            if self.restart != block.restarts || self.own != block.partitions {
                return Err("a restart points past the entries");
            }
            if self.value != block.values.len() {
                return Err("the values section is longer than its rows");
            }
            return Ok(None);
        }
        let first = self.at == 0;
        let begin = self.at;
        let is_restart = match block.restart(self.restart) {
            Some((at, value)) if at == begin => {
                if value != self.value {
                    return Err("a restart points to the wrong value");
                }
                self.restart += 1;
                true
            }
            Some((at, _)) if at < begin => return Err("a restart points into an entry"),
            _ => false,
        };
        if first && !is_restart {
            return Err("the first entry is not a restart");
        }
        let entry = entry(&mut input)?;
        self.at = block.entries_len - input.len();
        match entry {
            Entry::PartitionStart { token, key, deletion } => {
                if self.stage != Stage::Outside {
                    return Err("a partition starts inside another");
                }
                if !is_restart || block.partition_restart(self.own) != Some(self.restart - 1) {
                    return Err("a partition start is not in the frame's list");
                }
                if key.len() > KEY_BYTES_MAX {
                    return Err("a partition key is too long");
                }
                self.own += 1;
                if let Some((t, k)) = &self.partition
                    && (*t, &block.keys[k.clone()]) >= (token, key)
                {
                    return Err("partitions are out of order");
                }
                let start = begin + 1 + 8 + varint::len_u64(key.len() as u64);
                self.partition = Some((token, start..start + key.len()));
                self.stage = Stage::Started;
                self.force = Some(Deletion::LIVE);
                self.position.clear();
                Ok(Some(Step::PartitionStart { token, key, deletion }))
            }
            Entry::StaticRow { len } => {
                if self.stage != Stage::Started {
                    return Err("a static row is not at its partition's start");
                }
                self.stage = Stage::Static;
                Ok(Some(Step::StaticRow(self.body(block, len)?)))
            }
            Entry::Row {
                shared,
                rest,
                len,
                tombstone_only,
            } => {
                self.positioned(first, is_restart, shared, rest, Stage::Row)?;
                let body = Self::body_at(&mut self.value, block, len)?;
                Ok(Some(Step::Row {
                    position: &self.position,
                    body,
                    tombstone_only,
                }))
            }
            Entry::RangeChange {
                shared,
                rest,
                before,
                after,
            } => {
                self.positioned(first, is_restart, shared, rest, Stage::Change)?;
                if before == after {
                    return Err("a range change changes nothing");
                }
                if self.force.is_some_and(|force| force != before) {
                    return Err("a range change contradicts the one before it");
                }
                self.force = Some(after);
                Ok(Some(Step::RangeChange {
                    position: &self.position,
                    before,
                    after,
                }))
            }
            Entry::PartitionEnd => {
                if self.stage == Stage::Outside {
                    return Err("a partition ends that was not open");
                }
                if self.force.is_some_and(|force| !force.is_live()) {
                    return Err("a range deletion is left open");
                }
                self.stage = Stage::Outside;
                Ok(Some(Step::PartitionEnd))
            }
        }
    }

    fn positioned(
        &mut self,
        first: bool,
        is_restart: bool,
        shared: usize,
        rest: &[u8],
        stage: Stage,
    ) -> Result<(), What> {
        if self.stage == Stage::Outside && !first {
            return Err("a row or range change lies outside a partition");
        }
        if shared > self.position.len() || (is_restart && shared != 0) {
            return Err("a position shares more than there is");
        }
        let had_position = matches!(self.stage, Stage::Row | Stage::Change);
        let order = rest.cmp(&self.position[shared..]);
        let in_order = match order {
            Ordering::Greater => true,
            Ordering::Equal => self.stage == Stage::Change && stage == Stage::Row,
            Ordering::Less => false,
        };
        if had_position && !in_order {
            return Err("positions are out of order");
        }
        self.position.truncate(shared);
        self.position.extend_from_slice(rest);
        if self.position.as_slice() > PARTITION_END {
            return Err("a position lies beyond its partition's end");
        }
        if self.position.len() > KEY_BYTES_MAX {
            return Err("a position is too long");
        }
        self.stage = stage;
        Ok(())
    }

    fn body<'a>(&mut self, block: &'a DataBlock, len: usize) -> Result<&'a [u8], What> {
        Self::body_at(&mut self.value, block, len)
    }

    fn body_at<'a>(value: &mut usize, block: &'a DataBlock, len: usize) -> Result<&'a [u8], What> {
        if len > ROW_BYTES_MAX {
            return Err("a row is too long");
        }
        let end = value.checked_add(len).filter(|end| *end <= block.values.len());
        let end = end.ok_or("a row is longer than the values section")?;
        let body = &block.values[*value..end];
        *value = end;
        Ok(body)
    }
}

/// The row of a body that lies in a checked block.
#[inline]
pub(crate) fn row_of(body: &[u8]) -> RowRef<'_> {
    RowRef::trusted(body)
}
