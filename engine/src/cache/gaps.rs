//! Gaps that a read has found dead, over all sources: memtables, the row cache's run, sstables. The next read of the partition
//! passes over them without looking (DESIGN §7.3).
//!
//! 1. A read that has worked its way through dead rows, from one live row to the next, [learns](DeadGaps::learn) the gap between
//!    them, unless the partition was written to since it took its snapshot. What only the clock has ended is not dead enough:
//!    a clock can be set back.
//! 2. Nothing but a write can bring a row of a gap back to life: a flush moves rows, it adds none. So every mutation that is
//!    applied [cuts](DeadGaps::written) its rows out of its partition's gaps. Deletions leave them whole.
//! 3. Gaps are forgotten freely: they say nothing that the sources do not say.

use super::run::after;
use super::{Key, KeyRef, Mix};
use model::{Direction, MutationRef, Slice, TableId, Token};
use quick_cache::unsync::{Cache, DefaultLifecycle};
use quick_cache::{OptionsBuilder, Weighter};
use runtime::Break;
use std::cell::{Cell, RefCell};
use std::hash::BuildHasherDefault;
use std::rc::Rc;

/// Gaps of one partition, at most; the oldest rows' are forgotten first.
const GAPS_MAX: usize = 16;
/// Fewer rows are as soon looked at as passed over.
const GAP_ROWS_MIN: u64 = 8;
/// What a partition takes beyond its key and its gaps' positions.
const ENTRY_BYTES: usize = 128;
/// What a partition takes on average, for the cache's first table.
const ENTRY_BYTES_GUESS: usize = 256;
/// Partitions are told apart by so many counters of writes.
const VERSIONS: usize = 256;

/// What is known to be dead of one partition: by position, apart from one another.
pub(crate) type Known = Rc<[Slice]>;

#[derive(Clone)]
struct Bytes;

impl Weighter<Key, Known> for Bytes {
    fn weight(&self, key: &Key, known: &Known) -> u64 {
        let of = |gap: &Slice| size_of::<Slice>() + gap.start.len() + gap.end.len();
        (ENTRY_BYTES + key.key.len() + known.iter().map(of).sum::<usize>()) as u64
    }
}

type Partitions = Cache<Key, Known, Bytes, BuildHasherDefault<Mix>, DefaultLifecycle<Key, Known>>;

/// The gaps of a shard's partitions that are known to be dead. See the module's page.
pub(crate) struct DeadGaps {
    capacity: usize,
    partitions: RefCell<Partitions>,
    /// Mutations applied, by what their tokens end with.
    versions: [Cell<u64>; VERSIONS],
}

impl DeadGaps {
    /// At most `capacity` bytes; of 0, none.
    pub(crate) fn new(capacity: usize) -> DeadGaps {
        let options = OptionsBuilder::new()
            .estimated_items_capacity((capacity / ENTRY_BYTES_GUESS).max(16))
            .weight_capacity(capacity as u64)
            .build()
            .expect("both capacities are given");
        let partitions = Cache::with_options(
            options,
            Bytes,
            BuildHasherDefault::default(),
            DefaultLifecycle::default(),
        );
        DeadGaps {
            capacity,
            partitions: RefCell::new(partitions),
            versions: [const { Cell::new(0) }; VERSIONS],
        }
    }

    /// Bytes held.
    pub(crate) fn bytes(&self) -> u64 {
        self.partitions.borrow().weight()
    }

    /// What is known of a partition.
    pub(crate) fn get(&self, table: TableId, token: Token, key: &[u8]) -> Option<Known> {
        let partitions = self.partitions.borrow();
        if partitions.is_empty() {
            return None;
        }
        partitions.get(&KeyRef(table, token, key)).cloned()
    }

    /// Changes whenever the partition is written to; as others are, now and then.
    pub(crate) fn version(&self, token: Token) -> u64 {
        self.versions[slot(token)].get()
    }

    /// Learns what a read found dead whose snapshot was taken at `version`.
    pub(crate) fn learn(&self, key: Key, found: Vec<Slice>, version: u64) {
        if self.capacity == 0 {
            return;
        }
        if self.version(key.token) != version && !runtime::broken(Break::LearnsStaleGaps) {
            return;
        }
        let mut partitions = self.partitions.borrow_mut();
        let known = partitions.get(&key).map_or(&[][..], |known| known);
        let known = joined(known.iter().cloned().chain(found).collect());
        partitions.insert(key, known.into());
    }

    /// Forgets all of a table.
    pub(crate) fn forget(&self, table: TableId) {
        self.partitions.borrow_mut().retain(|key, _| key.table != table);
    }

    /// Cuts what is written in this step out of the gaps.
    pub(crate) fn written(&self, mutation: MutationRef<'_>) {
        let token = mutation.token();
        let version = &self.versions[slot(token)];
        version.set(version.get() + 1);
        let mut partitions = self.partitions.borrow_mut();
        if partitions.is_empty() || runtime::broken(Break::GapsOutliveWrites) {
            return;
        }
        let key = KeyRef(mutation.table(), token, mutation.key());
        let Some(known) = partitions.get(&key) else { return };
        let mut left: Option<Vec<Slice>> = None;
        for (clustering, row) in mutation.rows() {
            let gaps = left.as_deref().unwrap_or(known);
            let hit = gaps.iter().position(|gap| gap.contains(clustering));
            if let Some(at) = hit.filter(|_| !row.is_row_tombstone()) {
                cut(left.get_or_insert_with(|| known.to_vec()), at, clustering);
            }
        }
        match left {
            Some(left) if left.is_empty() => drop(partitions.remove(&key)),
            Some(left) => {
                let owned = Key::new(mutation.table(), token, mutation.key());
                partitions.insert(owned, left.into());
            }
            None => {}
        }
    }
}

fn slot(token: Token) -> usize {
    token.0 as usize % VERSIONS
}

/// Takes the row at `clustering` out of the gap at `at`.
fn cut(gaps: &mut Vec<Slice>, at: usize, clustering: &[u8]) {
    let whole = gaps.remove(at);
    let before = Slice {
        start: whole.start,
        end: clustering.to_vec(),
    };
    let behind = Slice {
        start: after(clustering),
        end: whole.end,
    };
    for part in [behind, before].into_iter().filter(|part| !part.is_empty()) {
        gaps.insert(at, part);
    }
    gaps.truncate(GAPS_MAX);
}

/// Gaps in order, those that meet made one.
fn joined(mut gaps: Vec<Slice>) -> Vec<Slice> {
    gaps.sort_by(|a, b| a.start.cmp(&b.start));
    let mut joined: Vec<Slice> = Vec::with_capacity(gaps.len());
    for gap in gaps {
        match joined.last_mut() {
            Some(last) if gap.start <= last.end => last.end = gap.end.max(std::mem::take(&mut last.end)),
            _ => joined.push(gap),
        }
    }
    joined.truncate(GAPS_MAX);
    joined
}

/// Notes the gaps that a page finds dead on its way.
pub(crate) struct Finder<'a> {
    slice: &'a Slice,
    /// Where the rest of it begins, in the order of travel: behind the last live row.
    behind: Option<Vec<u8>>,
    direction: Direction,
    /// Rows met up to the last live row.
    worked: u64,
    /// Something there has only ended, by the clock.
    ended_by_clock: bool,
    found: Vec<Slice>,
}

impl Finder<'_> {
    pub(crate) fn new(slice: &Slice, direction: Direction) -> Finder<'_> {
        Finder {
            slice,
            behind: None,
            direction,
            worked: 0,
            ended_by_clock: false,
            found: Vec::new(),
        }
    }

    /// A row was met that only the clock has ended.
    pub(crate) fn ended_by_clock(&mut self) {
        self.ended_by_clock = true;
    }

    /// A live row, when `worked` rows have been met in all, this one included.
    pub(crate) fn live(&mut self, clustering: &[u8], worked: u64) {
        if self.is_gap(worked) {
            let to = match self.direction {
                Direction::Forward => clustering.to_vec(),
                Direction::Reverse => after(clustering),
            };
            self.note(to);
        }
        self.went_on(clustering, worked);
    }

    /// Live rows have followed one another up to this one.
    pub(crate) fn went_on(&mut self, clustering: &[u8], worked: u64) {
        self.worked = worked;
        let behind = self.behind.get_or_insert_default();
        behind.clear();
        behind.extend_from_slice(clustering);
        if self.direction == Direction::Forward {
            behind.push(0xFF);
        }
    }

    /// The slice ends; so many rows have been met in all.
    pub(crate) fn end(&mut self, worked: u64) {
        if self.is_gap(worked) {
            self.note(self.slice.last(self.direction).to_vec());
        }
    }

    /// The gaps, if there are any.
    pub(crate) fn found(self) -> Option<Vec<Slice>> {
        Some(self.found).filter(|found| !found.is_empty())
    }

    fn is_gap(&mut self, worked: u64) -> bool {
        let met = worked - std::mem::replace(&mut self.worked, worked);
        !std::mem::take(&mut self.ended_by_clock) && met > GAP_ROWS_MIN
    }

    /// Notes the gap from behind the last live row to here.
    fn note(&mut self, to: Vec<u8>) {
        let from = self.behind.as_deref().unwrap_or(self.slice.first(self.direction));
        let from = from.to_vec();
        let (start, end) = match self.direction {
            Direction::Forward => (from, to),
            Direction::Reverse => (to, from),
        };
        let gap = Slice { start, end };
        if self.found.len() < GAPS_MAX && !gap.is_empty() {
            self.found.push(gap);
        }
    }
}

/// What of a slice lies between the gaps, in the order of travel.
pub(crate) struct Between {
    /// `None` once all of it has been given.
    rest: Option<Slice>,
    direction: Direction,
    known: Option<Known>,
}

impl Between {
    pub(crate) fn new(slice: Slice, direction: Direction, known: Option<Known>) -> Between {
        Between {
            rest: Some(slice).filter(|slice| !slice.is_empty()),
            direction,
            known,
        }
    }

    /// The next part.
    pub(crate) fn next(&mut self) -> Option<Slice> {
        let Some(known) = self.known.clone() else {
            return self.rest.take();
        };
        let rest = self.rest.as_mut()?;
        let meets = |gap: &&Slice, rest: &Slice| gap.start < rest.end && gap.end > rest.start;
        loop {
            let gap = match self.direction {
                Direction::Forward => known.iter().find(|gap| meets(gap, rest)),
                Direction::Reverse => known.iter().rev().find(|gap| meets(gap, rest)),
            };
            let Some(gap) = gap else {
                return self.rest.take().filter(|part| !part.is_empty());
            };
            let part = match self.direction {
                Direction::Forward => Slice {
                    start: std::mem::replace(&mut rest.start, gap.end.clone()),
                    end: gap.start.clone(),
                },
                Direction::Reverse => Slice {
                    end: std::mem::replace(&mut rest.end, gap.start.clone()),
                    start: gap.end.clone(),
                },
            };
            if !part.is_empty() {
                return Some(part);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use model::{Deletion, MutationBuilder, RowBuilder};

    const KEY: &[u8] = b"channel";
    const TABLE: TableId = TableId(1);
    const DELETION: Deletion = Deletion {
        timestamp: 9,
        local_deletion_time: 9,
    };

    fn slice(start: &[u8], end: &[u8]) -> Slice {
        Slice {
            start: start.to_vec(),
            end: end.to_vec(),
        }
    }

    fn gaps_of(gaps: &DeadGaps) -> Vec<Slice> {
        let known = gaps.get(TABLE, model::token_of(KEY), KEY);
        known.map(|known| known.to_vec()).unwrap_or_default()
    }

    fn learn(gaps: &DeadGaps, found: Vec<Slice>) {
        let token = model::token_of(KEY);
        gaps.learn(Key::new(TABLE, token, KEY), found, gaps.version(token));
    }

    fn write(gaps: &DeadGaps, row: fn(&mut RowBuilder) -> &mut RowBuilder, clustering: &[u8]) {
        let mut builder = RowBuilder::new();
        row(&mut builder);
        let mut mutation = MutationBuilder::new(TABLE, KEY);
        mutation.row(clustering, builder.finish());
        gaps.written(mutation.build().as_ref());
    }

    #[test]
    fn gaps_that_meet_become_one() {
        let gaps = DeadGaps::new(1 << 16);
        learn(&gaps, vec![slice(b"m", b"p"), slice(b"b", b"d")]);
        learn(&gaps, vec![slice(b"d", b"f"), slice(b"o", b"q")]);
        assert_eq!(gaps_of(&gaps), [slice(b"b", b"f"), slice(b"m", b"q")]);
    }

    #[test]
    fn a_write_is_cut_out_and_a_deletion_is_not() {
        let gaps = DeadGaps::new(1 << 16);
        learn(&gaps, vec![slice(b"b", b"f")]);
        write(&gaps, |row| row.deletion(DELETION), b"c");
        assert_eq!(gaps_of(&gaps), [slice(b"b", b"f")]);
        write(&gaps, |row| row.liveness(1), b"f");
        assert_eq!(gaps_of(&gaps), [slice(b"b", b"f")]);
        write(&gaps, |row| row.liveness(1), b"c");
        assert_eq!(gaps_of(&gaps), [slice(b"b", b"c"), slice(b"c\xFF", b"f")]);
    }

    #[test]
    fn what_was_written_to_since_is_not_learnt() {
        let gaps = DeadGaps::new(1 << 16);
        let token = model::token_of(KEY);
        let version = gaps.version(token);
        write(&gaps, |row| row.liveness(1), b"z");
        gaps.learn(Key::new(TABLE, token, KEY), vec![slice(b"b", b"f")], version);
        assert_eq!(gaps_of(&gaps), []);
    }

    #[test]
    fn parts_between_gaps_go_both_ways() {
        let known: Known = [slice(b"b", b"d"), slice(b"f", b"h")].into();
        let parts = |start: &[u8], end: &[u8], direction| {
            let mut between = Between::new(slice(start, end), direction, Some(Rc::clone(&known)));
            std::iter::from_fn(|| between.next()).collect::<Vec<_>>()
        };
        let forward = |start: &[u8], end: &[u8]| parts(start, end, Direction::Forward);
        assert_eq!(
            forward(b"a", b"z"),
            [slice(b"a", b"b"), slice(b"d", b"f"), slice(b"h", b"z")]
        );
        assert_eq!(forward(b"c", b"g"), [slice(b"d", b"f")]);
        assert_eq!(forward(b"b", b"d"), []);
        assert_eq!(forward(b"d", b"e"), [slice(b"d", b"e")]);
        for (start, end) in [("a", "z"), ("c", "g"), ("b", "d"), ("d", "e"), ("g", "z")] {
            let (start, end) = (start.as_bytes(), end.as_bytes());
            let mut reverse = parts(start, end, Direction::Reverse);
            reverse.reverse();
            assert_eq!(reverse, forward(start, end));
        }
    }
}
