//! Walks a slice of a partition's snapshot, in either direction.
//!
//! Rows are walked by rank: the slice's bounds are turned into ranks once, so no key is compared on the way, unless range tombstones have to
//! be put between the rows. Leaves are fetched by rank as well, each holding its rows for the walk.

use model::{DeadRows, Deletion, Direction, Item, Peek, RowRef, RowSource, Slice};

use crate::arena::{Arena, Record};
use crate::partition::Partition;
use crate::ranges::RangeTree;
use crate::rows::{RowEntry, Run, Wanted};
use crate::tree::key_of;

/// The rows and range changes of a slice of one partition, as they were when the snapshot was taken.
///
/// Never [`Peek::Pending`]: all of it is in memory.
pub struct Rows {
    partition: Partition,
    direction: Direction,
    /// The ranks of the rows still to come.
    low: u64,
    high: u64,
    /// Where the next row lies, if there is one.
    run: Run,
    /// `None` if the partition has no range tombstones.
    changes: Option<Changes>,
    next: Next,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Next {
    Row,
    Change,
    End,
}

/// The range changes still to come.
#[derive(Debug)]
struct Changes {
    slice: Slice,
    next: Option<(Place, Deletion)>,
}

/// Where a change lies.
#[derive(Debug, Clone, Copy)]
enum Place {
    SliceStart,
    SliceEnd,
    At(Record),
}

impl Changes {
    fn new(partition: &Partition, slice: &Slice, direction: Direction) -> Option<Self> {
        let ranges = ranges(partition)?;
        let (arena, meter) = (&partition.shared.arena, &*partition.shared.meter);
        let mut changes = Self {
            slice: slice.clone(),
            next: None,
        };
        if slice.is_empty() {
            return Some(changes);
        }
        let (first, open) = match direction {
            Direction::Forward => (Place::SliceStart, ranges.deletion_at(&slice.start, arena, meter)),
            Direction::Reverse => (Place::SliceEnd, ranges.deletion_before(&slice.end, arena, meter)),
        };
        changes.next = Some((first, open));
        if open.is_live() {
            changes.advance(partition, direction);
        }
        Some(changes)
    }

    fn position<'a>(&'a self, place: Place, arena: &'a Arena) -> &'a [u8] {
        match place {
            Place::SliceStart => &self.slice.start,
            Place::SliceEnd => &self.slice.end,
            // SAFETY: the record is a boundary of the partition's own tree, and `arena` its memtable's.
            Place::At(record) => unsafe { arena.key(record) },
        }
    }

    /// Goes on from the change at `next`, which is given or gives nothing.
    fn advance(&mut self, partition: &Partition, direction: Direction) {
        let Some((place, current)) = self.next else { return };
        let (arena, meter) = (&partition.shared.arena, &*partition.shared.meter);
        let (last, inside) = match (direction, place) {
            (Direction::Forward, Place::SliceEnd) | (Direction::Reverse, Place::SliceStart) => {
                self.next = None;
                return;
            }
            (Direction::Forward, _) => {
                let found = ranges(partition)
                    .and_then(|ranges| ranges.next_change(self.position(place, arena), current, arena, meter));
                (
                    Place::SliceEnd,
                    found.filter(|found| self.position(Place::At(found.position), arena) < &self.slice.end[..]),
                )
            }
            (Direction::Reverse, _) => {
                let found = ranges(partition)
                    .and_then(|ranges| ranges.previous_change(self.position(place, arena), current, arena, meter));
                (
                    Place::SliceStart,
                    found.filter(|found| self.position(Place::At(found.position), arena) > &self.slice.start[..]),
                )
            }
        };
        self.next = match inside {
            Some(change) => Some((Place::At(change.position), change.deletion)),
            None => (!current.is_live()).then_some((last, Deletion::LIVE)),
        };
    }
}

fn ranges(partition: &Partition) -> Option<&RangeTree> {
    partition
        .entry
        .extras
        .as_ref()
        .map(|extras| &extras.ranges)
        .filter(|ranges| !ranges.is_empty())
}

impl Rows {
    pub(crate) fn new(partition: Partition, slice: &Slice, direction: Direction) -> Self {
        let arena = &partition.shared.arena;
        let tree = &partition.entry.rows;
        let low = if slice.start.is_empty() {
            0
        } else {
            tree.rank_of(&slice.start, arena)
        };
        let high = if slice.end.first() == Some(&0xff) {
            tree.row_count()
        } else {
            tree.rank_of(&slice.end, arena)
        };
        let changes = Changes::new(&partition, slice, direction);
        let mut rows = Self {
            partition,
            direction,
            low,
            high,
            run: Run::default(),
            changes,
            next: Next::End,
        };
        rows.settle();
        rows
    }

    /// The snapshot that is walked.
    pub fn partition(&self) -> &Partition {
        &self.partition
    }

    /// How many rows are still to come.
    pub fn rows_left(&self) -> u64 {
        self.high.saturating_sub(self.low)
    }

    #[inline]
    fn row(&self) -> Option<&RowEntry> {
        if self.low >= self.high {
            return None;
        }
        self.run.row(match self.direction {
            Direction::Forward => self.low,
            Direction::Reverse => self.high - 1,
        })
    }

    /// Fetches the next row's leaf if need be, and decides whether the row or a range change comes next.
    #[inline]
    fn settle(&mut self) {
        if self.low < self.high && self.row().is_none() {
            self.run = self.partition.entry.rows.run_at(match self.direction {
                Direction::Forward => self.low,
                Direction::Reverse => self.high - 1,
            });
        }
        let change = self
            .changes
            .as_ref()
            .and_then(|changes| changes.next.map(|(place, _)| (changes, place)));
        self.next = match (self.row(), change) {
            (None, None) => Next::End,
            (Some(_), None) => Next::Row,
            (None, Some(_)) => Next::Change,
            (Some(row), Some((changes, place))) => {
                let arena = &self.partition.shared.arena;
                let (key, position) = (key_of(row, arena), changes.position(place, arena));
                // At one position the change comes first going forward, and the row first going back.
                let row_first = match self.direction {
                    Direction::Forward => key < position,
                    Direction::Reverse => key >= position,
                };
                if row_first { Next::Row } else { Next::Change }
            }
        };
    }
}

impl Rows {
    /// Passes over what is not wanted, up to `until` or the next range change.
    fn skip(&mut self, wanted: Wanted, until: Option<&[u8]>) -> u64 {
        if self.next != Next::Row || self.row().is_none_or(|row| wanted.is(row)) {
            return 0;
        }
        let Partition { shared, entry } = &self.partition;
        let change = self
            .changes
            .as_ref()
            .and_then(|changes| Some(changes.position(changes.next?.0, &shared.arena)));
        // In both directions, rows with ranks on the near side of both positions come before them.
        let bounds = [until, change]
            .into_iter()
            .flatten()
            .map(|position| entry.rows.rank_of(position, &shared.arena));
        let before = self.rows_left();
        match self.direction {
            Direction::Forward => {
                let to = bounds.fold(self.high, u64::min);
                self.low = entry.rows.first(self.low, to, wanted, &shared.meter).max(self.low);
            }
            Direction::Reverse => {
                let from = bounds.fold(self.low, u64::max);
                self.high = entry.rows.last(from, self.high, wanted, &shared.meter).min(self.high);
            }
        }
        let skipped = before - self.rows_left();
        if skipped > 0 {
            self.settle();
        }
        skipped
    }
}

impl Rows {
    /// What lies before `until` in the order of travel (Forward: keys below it; Reverse: keys at or above it), if that is row
    /// tombstones and nothing else: neither other rows nor a range change. Looks at nodes along both ends alone.
    pub fn dead_until(&self, until: &[u8]) -> Option<DeadRows> {
        let Partition { shared, entry } = &self.partition;
        let change = self
            .changes
            .as_ref()
            .and_then(|changes| Some(changes.position(changes.next?.0, &shared.arena)));
        let change_within = change.is_some_and(|position| match self.direction {
            Direction::Forward => position < until,
            Direction::Reverse => position > until,
        });
        if change_within {
            return None;
        }
        let Some(next) = self.row() else {
            return Some(DeadRows::NONE);
        };
        let (from, to) = match self.direction {
            Direction::Forward if key_of(next, &shared.arena) >= until => return Some(DeadRows::NONE),
            Direction::Reverse if key_of(next, &shared.arena) < until => return Some(DeadRows::NONE),
            _ if !next.is_dead => return None,
            Direction::Forward => (self.low, self.high.min(entry.rows.rank_of(until, &shared.arena))),
            Direction::Reverse => (self.low.max(entry.rows.rank_of(until, &shared.arena)), self.high),
        };
        entry.rows.dead(from, to, &shared.arena, &shared.meter)
    }
}

impl std::fmt::Debug for Rows {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Rows")
            .field("partition", &self.partition)
            .field("direction", &self.direction)
            .field("rows_left", &self.rows_left())
            .field("next", &self.peek())
            .finish()
    }
}

impl RowSource for Rows {
    #[inline]
    fn peek(&self) -> Peek<'_> {
        let arena = &self.partition.shared.arena;
        match self.next {
            Next::End => Peek::End,
            Next::Row => {
                let record = self.row().expect("a row comes next").record;
                // SAFETY: the row is one of the partition's own tree, and `arena` its memtable's.
                let (clustering, body) = unsafe { (arena.key(record), arena.body(record)) };
                Peek::Item(Item::Row {
                    clustering,
                    row: RowRef::trusted(body),
                })
            }
            Next::Change => {
                let changes = self.changes.as_ref().expect("a change comes next");
                let (place, deletion) = changes.next.expect("a change comes next");
                Peek::Item(Item::RangeChange {
                    position: changes.position(place, arena),
                    deletion,
                })
            }
        }
    }

    #[inline]
    fn advance(&mut self) {
        match (self.next, &mut self.changes) {
            (Next::Row, _) => match self.direction {
                Direction::Forward => self.low += 1,
                Direction::Reverse => self.high -= 1,
            },
            (Next::Change, Some(changes)) => changes.advance(&self.partition, self.direction),
            (Next::Change | Next::End, _) => return,
        }
        self.settle();
    }

    fn skip_covered(&mut self, timestamp: i64, until: Option<&[u8]>) -> u64 {
        self.skip(Wanted::Newer(timestamp), until)
    }

    fn skip_dead(&mut self, until: Option<&[u8]>) -> u64 {
        self.skip(Wanted::Alive, until)
    }
}
