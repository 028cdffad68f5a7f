//! A run: the rows of one partition from its first position down to a floor, with nothing missing in between.
//!
//! ```text
//! []            a        d              m           floor            [0xFF]
//! |-- gap: 7 ---| row a  | range change | row m ... |  (not known here)
//! |<--- chunk 0 ------------------>|<--- chunk 1 -->|
//! ```
//!
//! A run equals the merge of the partition's sstables above the floor, less the rows that are dead whatever the clock says:
//! of those a *gap* keeps the largest timestamp only. What is written later and is as old as that, or older, cannot be judged
//! by the run ([`Run::dropped_at`]). A row that was written into a gap keeps the gap's timestamp for its own key.
//!
//! Runs are never changed: those that read one keep it as it is. A longer or a shorter one shares its chunks.

use model::{CellKind, Columns, Deletion, Live, ReadTime, RowRef, Slice, live_row};
use runtime::Break;
use std::rc::Rc;

/// No deletion was dropped.
pub(crate) const NOTHING_DROPPED: i64 = i64::MIN;

/// Deletions of any timestamp may have been dropped.
const EVERYTHING_DROPPED: i64 = i64::MAX;

/// What a chunk takes beyond its bytes: headers, the allocator's share.
const CHUNK_OVERHEAD: usize = size_of::<Chunk>() + 64;

/// An item of a chunk: its position stands in the chunk's bytes, a row's body behind it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Slot {
    pub at: u32,
    pub position_len: u32,
    /// The largest timestamp dropped between the item before and this one.
    pub gap: i64,
    pub what: What,
}

#[derive(Clone, Copy, Debug)]
pub(super) enum What {
    Row {
        body_len: u32,
        max_timestamp: i64,
        /// The largest timestamp that may have been dropped at the row's own key.
        own: i64,
    },
    /// In the chunk's list of changes.
    Change(u32),
}

/// Some of a run's items, in one piece of memory.
#[derive(Debug)]
pub(super) struct Chunk {
    /// Everything from here to the next chunk's start, or to the run's floor, is in this chunk.
    pub start: Box<[u8]>,
    /// The range deletion in force just before `start`.
    pub open: Deletion,
    pub bytes: Box<[u8]>,
    pub slots: Box<[Slot]>,
    /// The range deletions before and from each change on.
    pub changes: Box<[(Deletion, Deletion)]>,
    /// The largest timestamp dropped behind the last item.
    pub gap: i64,
}

impl Chunk {
    pub fn position(&self, slot: &Slot) -> &[u8] {
        &self.bytes[slot.at as usize..][..slot.position_len as usize]
    }

    pub fn body(&self, slot: &Slot, body_len: u32) -> RowRef<'_> {
        let start = slot.at as usize + slot.position_len as usize;
        RowRef::trusted(&self.bytes[start..start + body_len as usize])
    }

    fn memory_bytes(&self) -> usize {
        self.start.len() + self.bytes.len() + size_of_val(&*self.slots) + size_of_val(&*self.changes) + CHUNK_OVERHEAD
    }

    /// The first slot that does not lie before `position`; of a change and a row there, the change.
    fn first_at(&self, position: &[u8]) -> usize {
        self.slots.partition_point(|slot| self.position(slot) < position)
    }
}

/// The newest rows of a partition. See the module's page.
#[derive(Debug)]
pub(crate) struct Run {
    pub(super) chunks: Vec<Rc<Chunk>>,
    floor: Vec<u8>,
    /// The range deletion in force just before the floor.
    open: Deletion,
    deletion: Deletion,
    static_row: Option<Box<[u8]>>,
    bytes: usize,
    /// The largest timestamp dropped anywhere.
    dropped: i64,
}

/// The place of a slot in a run.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(super) struct Place {
    pub chunk: usize,
    pub slot: usize,
}

impl Run {
    /// A run of what a builder has taken, down to `floor`.
    pub(crate) fn new(built: Built, deletion: Deletion, static_row: Option<&[u8]>) -> Run {
        let Built { chunks, floor, open } = built;
        Run::of(chunks, floor, open, deletion, static_row.map(Box::from))
    }

    fn of(
        chunks: Vec<Rc<Chunk>>,
        floor: Vec<u8>,
        open: Deletion,
        deletion: Deletion,
        static_row: Option<Box<[u8]>>,
    ) -> Run {
        let own = |slot: &Slot| match slot.what {
            What::Row { own, .. } => own,
            What::Change(_) => NOTHING_DROPPED,
        };
        let dropped_in = |chunk: &Rc<Chunk>| {
            let of_slots = chunk.slots.iter().map(|slot| slot.gap.max(own(slot))).max();
            of_slots.unwrap_or(NOTHING_DROPPED).max(chunk.gap)
        };
        Run {
            bytes: size_of::<Run>()
                + floor.len()
                + static_row.as_ref().map_or(0, |row| row.len())
                + chunks.iter().map(|chunk| chunk.memory_bytes()).sum::<usize>(),
            dropped: chunks.iter().map(dropped_in).max().unwrap_or(NOTHING_DROPPED),
            chunks,
            floor,
            open,
            deletion,
            static_row,
        }
    }

    /// The same run with what lies below its floor, down to the floor of `built`, which began where this ends.
    pub(crate) fn extended(&self, built: Built) -> Run {
        let chunks = self.chunks.iter().cloned().chain(built.chunks).collect();
        Run::of(chunks, built.floor, built.open, self.deletion, self.static_row.clone())
    }

    /// The run with its floor raised until it takes at most `bytes_max`; `None` if nothing is left.
    pub(crate) fn trimmed(mut self, bytes_max: usize) -> Option<Run> {
        while self.bytes > bytes_max {
            let chunk = self.chunks.pop()?;
            self.bytes -= chunk.memory_bytes();
            if !runtime::broken(Break::CacheTrimKeepsFloor) {
                self.bytes -= self.floor.len();
                self.floor = chunk.start.to_vec();
                self.bytes += self.floor.len();
                self.open = chunk.open;
            }
        }
        (!self.chunks.is_empty()).then_some(self)
    }

    /// Whether it has any row or range.
    pub(crate) fn has_items(&self) -> bool {
        self.chunks.iter().any(|chunk| !chunk.slots.is_empty())
    }

    /// Everything before this position is known here.
    pub(crate) fn floor(&self) -> &[u8] {
        &self.floor
    }

    /// The range deletion in force just before the floor.
    pub(crate) fn open_at_floor(&self) -> Deletion {
        self.open
    }

    /// The deletion of the partition, of all sstables.
    pub(crate) fn deletion(&self) -> Deletion {
        self.deletion
    }

    /// The static row, of all sstables.
    pub(crate) fn static_row(&self) -> Option<RowRef<'_>> {
        self.static_row.as_deref().map(RowRef::trusted)
    }

    /// Memory that the run takes, bytes.
    pub(crate) fn memory_bytes(&self) -> usize {
        self.bytes
    }

    /// Whether most of its memory holds rows of these gaps, which nobody will ask for.
    pub(crate) fn is_wasted_on(&self, gaps: &[Slice]) -> bool {
        let ends = self.chunks.iter().skip(1).map(|chunk| &*chunk.start);
        let chunks = self.chunks.iter().zip(ends.chain([&*self.floor]));
        let wasted = chunks.filter(|(chunk, end)| {
            let holds = |gap: &Slice| gap.start[..] <= chunk.start[..] && gap.end[..] >= **end;
            gaps.iter().any(holds)
        });
        2 * wasted.map(|(chunk, _)| chunk.memory_bytes()).sum::<usize>() > self.bytes
    }

    /// Whether tombstones of dead rows were dropped anywhere.
    pub(crate) fn has_dropped(&self) -> bool {
        self.dropped != NOTHING_DROPPED
    }

    /// The largest timestamp that may have been dropped at `clustering`: what was written at or before it, and is not in
    /// the run, may be dead.
    pub(crate) fn dropped_at(&self, clustering: &[u8]) -> i64 {
        if !self.has_dropped() {
            return NOTHING_DROPPED;
        }
        let after = self.chunks.partition_point(|chunk| *chunk.start <= *clustering);
        let Some(chunk) = after.checked_sub(1).and_then(|at| self.chunks.get(at)) else {
            return NOTHING_DROPPED;
        };
        for slot in &chunk.slots[chunk.first_at(clustering)..] {
            if chunk.position(slot) > clustering {
                return slot.gap;
            }
            if let What::Row { own, .. } = slot.what {
                return own;
            }
        }
        chunk.gap
    }

    /// The first slot at or behind `position`: a change there counts only as behind it if `with_change`.
    pub(super) fn place_of(&self, position: &[u8], with_change: bool) -> Place {
        // A page of the newest rows begins and ends here: no chunk is touched for it.
        if position.is_empty() {
            return self.settled(Place { chunk: 0, slot: 0 });
        }
        if *position >= *self.floor {
            return Place {
                chunk: self.chunks.len(),
                slot: 0,
            };
        }
        let after = self.chunks.partition_point(|chunk| *chunk.start <= *position);
        let Some(at) = after.checked_sub(1) else {
            return Place { chunk: 0, slot: 0 };
        };
        let chunk = &self.chunks[at];
        let mut slot = chunk.first_at(position);
        let is_change_here = |slot: &Slot| matches!(slot.what, What::Change(_)) && chunk.position(slot) == position;
        if !with_change && chunk.slots.get(slot).is_some_and(is_change_here) {
            slot += 1;
        }
        self.settled(Place { chunk: at, slot })
    }

    /// The first slot at or behind `position`, a change there included, when `low` is not behind it: near by, for a slice of one
    /// row.
    pub(super) fn place_from(&self, low: Place, position: &[u8]) -> Place {
        let mut place = low;
        for _ in 0..=1 {
            let Some(chunk) = self.chunks.get(place.chunk) else {
                return place;
            };
            if chunk.position(&chunk.slots[place.slot]) >= position {
                return place;
            }
            place = self.settled(Place {
                slot: place.slot + 1,
                ..place
            });
        }
        self.place_of(position, true)
    }

    /// The place itself, or the first one of a later chunk if this one ends before it.
    pub(super) fn settled(&self, mut place: Place) -> Place {
        while place.chunk < self.chunks.len() && place.slot >= self.chunks[place.chunk].slots.len() {
            place = Place {
                chunk: place.chunk + 1,
                slot: 0,
            };
        }
        place
    }

    /// The place before one; `None` before the first.
    pub(super) fn before(&self, mut place: Place) -> Option<Place> {
        loop {
            if let Some(slot) = place.slot.checked_sub(1) {
                return Some(Place { slot, ..place });
            }
            let chunk = place.chunk.checked_sub(1)?;
            place = Place {
                chunk,
                slot: self.chunks[chunk].slots.len(),
            };
        }
    }

    /// The range deletion in force just before the slot at `place`.
    pub(super) fn force_before(&self, place: Place) -> Deletion {
        let Some(chunk) = self.chunks.get(place.chunk) else {
            return self.open;
        };
        let changes = chunk.slots[..place.slot].iter().rev().find_map(|slot| match slot.what {
            What::Change(at) => Some(chunk.changes[at as usize].1),
            What::Row { .. } => None,
        });
        changes.unwrap_or(chunk.open)
    }
}

/// What [`look`] sees in a row.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Looks {
    pub min_timestamp: i64,
    pub max_timestamp: i64,
    /// There is nothing in it that could be live, whatever the clock says.
    pub dead: bool,
}

/// Looks through all of a row.
pub(crate) fn look(row: RowRef<'_>) -> Looks {
    let mut looks = Looks {
        min_timestamp: i64::MAX,
        max_timestamp: i64::MIN,
        dead: true,
    };
    let mut see = |timestamp: i64, dead: bool| {
        looks.min_timestamp = looks.min_timestamp.min(timestamp);
        looks.max_timestamp = looks.max_timestamp.max(timestamp);
        looks.dead &= dead;
    };
    if let Some(liveness) = row.liveness() {
        see(liveness.timestamp, false);
    }
    let deletion = row.deletion();
    if !deletion.is_live() {
        see(deletion.timestamp, true);
    }
    for cell in row.cells() {
        let dead = matches!(cell.kind, CellKind::Tombstone { .. } | CellKind::ComplexDeletion(_));
        see(cell.timestamp, dead);
    }
    looks
}

/// What a [`Builder`] has made.
pub(crate) struct Built {
    chunks: Vec<Rc<Chunk>>,
    floor: Vec<u8>,
    open: Deletion,
}

/// Takes a partition's merged items, Forward, and makes chunks of them.
pub(crate) struct Builder {
    chunk_bytes: usize,
    chunks: Vec<Rc<Chunk>>,
    done_bytes: usize,
    start: Vec<u8>,
    open: Deletion,
    force: Deletion,
    bytes: Vec<u8>,
    slots: Vec<Slot>,
    changes: Vec<(Deletion, Deletion)>,
    gap: i64,
}

impl Builder {
    /// A builder that begins at `start`, where the range deletion in force so far is `open`; chunks are closed when they
    /// have `chunk_bytes`.
    pub(crate) fn new(start: &[u8], open: Deletion, chunk_bytes: usize) -> Builder {
        Builder {
            chunk_bytes,
            chunks: Vec::new(),
            done_bytes: 0,
            start: start.to_vec(),
            open,
            force: open,
            bytes: Vec::new(),
            slots: Vec::new(),
            changes: Vec::new(),
            gap: NOTHING_DROPPED,
        }
    }

    /// Bytes taken so far, about.
    pub(crate) fn bytes(&self) -> usize {
        self.done_bytes + self.bytes.len() + self.slots.len() * size_of::<Slot>()
    }

    /// Deletions up to this timestamp were dropped before the next item.
    pub(crate) fn dropped(&mut self, timestamp: i64) {
        self.gap = self.gap.max(timestamp);
    }

    /// Up to the next item nothing is alive, by deletions that are not in the run: what is written there goes round it.
    pub(crate) fn unknown(&mut self, from: &[u8]) {
        self.change(from, Deletion::LIVE);
        self.dropped(EVERYTHING_DROPPED);
    }

    /// The next row; up to `own` something may have been dropped at its key. A row that is dead for ever becomes a gap.
    pub(crate) fn row(&mut self, clustering: &[u8], row: RowRef<'_>, own: i64) {
        let looks = look(row);
        if looks.dead {
            self.dropped(looks.max_timestamp.max(own));
            return;
        }
        let mut stripped = Vec::new();
        let row = match runtime::broken(Break::CacheForgetsTombstones) {
            true => match live_row(row, ReadTime::at(0), Columns::All, &mut stripped).live {
                Live::Part => RowRef::trusted(&stripped),
                Live::Whole | Live::Dead => row,
            },
            false => row,
        };
        self.make_room(clustering);
        let body_len = u32::try_from(row.bytes().len()).expect("a row is at most 16 MiB");
        let what = What::Row {
            body_len,
            max_timestamp: looks.max_timestamp,
            own,
        };
        self.push(clustering, what);
        self.bytes.extend_from_slice(row.bytes());
    }

    /// From `position` on, `deletion` is in force; nothing if it is already.
    pub(crate) fn change(&mut self, position: &[u8], deletion: Deletion) {
        if deletion == self.force {
            return;
        }
        self.make_room(position);
        let what = What::Change(u32::try_from(self.changes.len()).expect("a chunk is short"));
        self.push(position, what);
        self.changes.push((self.force, deletion));
        self.force = deletion;
    }

    fn push(&mut self, position: &[u8], what: What) {
        let at = u32::try_from(self.bytes.len()).expect("a chunk is short");
        let position_len = u32::try_from(position.len()).expect("a clustering key is short");
        self.bytes.extend_from_slice(position);
        self.slots.push(Slot {
            at,
            position_len,
            gap: std::mem::replace(&mut self.gap, NOTHING_DROPPED),
            what,
        });
    }

    /// Closes the chunk if it is full and the next item lies behind its last one: a change and a row at one position stay
    /// together, because a chunk is found by its start.
    fn make_room(&mut self, next: &[u8]) {
        if self.bytes.len() + self.slots.len() * size_of::<Slot>() < self.chunk_bytes {
            return;
        }
        let last = self
            .slots
            .last()
            .map(|slot| &self.bytes[slot.at as usize..][..slot.position_len as usize]);
        if last.is_some_and(|last| last < next) {
            self.close(next.to_vec());
        }
    }

    fn close(&mut self, next_start: Vec<u8>) {
        let chunk = Chunk {
            start: std::mem::replace(&mut self.start, next_start).into(),
            open: std::mem::replace(&mut self.open, self.force),
            bytes: std::mem::take(&mut self.bytes).into(),
            slots: std::mem::take(&mut self.slots).into(),
            changes: std::mem::take(&mut self.changes).into(),
            gap: std::mem::replace(&mut self.gap, NOTHING_DROPPED),
        };
        self.done_bytes += chunk.memory_bytes();
        self.chunks.push(Rc::new(chunk));
    }

    /// What was taken; everything down to `floor` is known.
    pub(crate) fn finish(mut self, floor: &[u8]) -> Built {
        let open = self.force;
        self.close(floor.to_vec());
        Built {
            chunks: self.chunks,
            floor: floor.to_vec(),
            open,
        }
    }
}

/// The position behind everything that begins with `clustering`: a full key is no prefix of another one.
pub(crate) fn after(clustering: &[u8]) -> Vec<u8> {
    [clustering, &[0xFF]].concat()
}

/// Goes through the gaps of a run beside a merge of it, so that a run made of the merge keeps them.
pub(crate) struct Gaps {
    run: Rc<Run>,
    at: Place,
    /// The slot at `at` is the item that was met last.
    met: bool,
}

impl Gaps {
    pub(crate) fn new(run: Rc<Run>) -> Gaps {
        Gaps {
            run,
            at: Place { chunk: 0, slot: 0 },
            met: false,
        }
    }

    /// Goes on to the item at `position`: the largest timestamp dropped between it and the item before.
    pub(crate) fn up_to(&mut self, position: &[u8], is_row: bool) -> i64 {
        let mut dropped = NOTHING_DROPPED;
        if std::mem::take(&mut self.met) {
            self.at.slot += 1;
        }
        while let Some(chunk) = self.run.chunks.get(self.at.chunk) {
            let Some(slot) = chunk.slots.get(self.at.slot) else {
                dropped = dropped.max(chunk.gap);
                let next = self.run.chunks.get(self.at.chunk + 1);
                if next.is_none_or(|next| *next.start > *position) {
                    break;
                }
                self.at = Place {
                    chunk: self.at.chunk + 1,
                    slot: 0,
                };
                continue;
            };
            dropped = dropped.max(slot.gap);
            let here = chunk.position(slot);
            let is_row_here = matches!(slot.what, What::Row { .. });
            if here > position || (here == position && (is_row_here || !is_row)) {
                self.met = here == position && is_row_here == is_row;
                break;
            }
            // An item of the run that the merge has left out.
            if let What::Row { own, .. } = slot.what {
                dropped = dropped.max(own);
            }
            self.at.slot += 1;
        }
        dropped
    }

    /// Goes on to the floor: the largest timestamp dropped on the way.
    pub(crate) fn up_to_floor(mut self) -> i64 {
        let floor = self.run.floor.clone();
        self.up_to(&floor, true)
    }
}
