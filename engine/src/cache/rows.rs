//! Walks a slice of a run, in either direction.

use super::run::{Place, Run, What};
use model::{Deletion, Direction, Item, Peek, RowSource, Slice};
use std::rc::Rc;

/// The rows and range changes of a slice of a run. Never [`Peek::Pending`]: all of it is in memory.
pub(crate) struct RunRows {
    run: Rc<Run>,
    slice: Slice,
    direction: Direction,
    /// The slots still to come: from `low` on, before `high`.
    low: Place,
    high: Place,
    /// Forward `low`, Reverse the one before `high`.
    at: Place,
    front: Front,
    /// The deletion in force at the slice's last position, in the order of travel.
    closing: bool,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Front {
    /// A range is open where the slice begins.
    Opening(Deletion),
    Slot,
    /// A range is open where the slice ends.
    Closing,
    End,
}

impl RunRows {
    /// # Panics
    /// If the slice goes beyond the run's floor.
    pub(crate) fn new(run: Rc<Run>, slice: Slice, direction: Direction) -> RunRows {
        assert!(*slice.end <= *run.floor(), "a run knows nothing below its floor");
        let (low, high) = if slice.is_empty() {
            let start = Place { chunk: 0, slot: 0 };
            (start, start)
        } else {
            // A change at the start is in force from there on; one at the end counts no more.
            let low = run.place_of(&slice.start, false);
            (low, run.place_from(low, &slice.end))
        };
        let (at_start, at_end) = match slice.is_empty() {
            true => (Deletion::LIVE, Deletion::LIVE),
            false => (run.force_before(low), run.force_before(high)),
        };
        let (opening, closing) = match direction {
            Direction::Forward => (at_start, at_end),
            Direction::Reverse => (at_end, at_start),
        };
        let mut rows = RunRows {
            run,
            slice,
            direction,
            low,
            high,
            at: low,
            front: Front::Opening(opening),
            closing: !closing.is_live(),
        };
        if opening.is_live() {
            rows.settle();
        }
        rows
    }

    /// Decides what comes next: a slot, or the end.
    fn settle(&mut self) {
        let last = if self.closing { Front::Closing } else { Front::End };
        self.front = last;
        if self.low >= self.high {
            return;
        }
        let at = match self.direction {
            Direction::Forward => Some(self.low),
            Direction::Reverse => self.run.before(self.high).filter(|at| *at >= self.low),
        };
        if let Some(at) = at {
            self.at = at;
            self.front = Front::Slot;
        }
    }

    fn pass_slot(&mut self) {
        match self.direction {
            Direction::Forward => {
                let next = Place {
                    slot: self.at.slot + 1,
                    ..self.at
                };
                self.low = self.run.settled(next);
            }
            Direction::Reverse => self.high = self.at,
        }
    }

    /// Whether the row at `at` is as old as `timestamp` and comes before `until`.
    fn is_covered(&self, timestamp: i64, until: Option<&[u8]>) -> bool {
        let chunk = &self.run.chunks[self.at.chunk];
        let slot = &chunk.slots[self.at.slot];
        let What::Row { max_timestamp, .. } = slot.what else {
            return false;
        };
        let clustering = chunk.position(slot);
        max_timestamp <= timestamp
            && until.is_none_or(|until| match self.direction {
                Direction::Forward => clustering < until,
                Direction::Reverse => clustering >= until,
            })
    }
}

impl RowSource for RunRows {
    #[inline]
    fn peek(&self) -> Peek<'_> {
        match self.front {
            Front::End => Peek::End,
            Front::Opening(deletion) => Peek::Item(Item::RangeChange {
                position: self.slice.first(self.direction),
                deletion,
            }),
            Front::Closing => Peek::Item(Item::RangeChange {
                position: self.slice.last(self.direction),
                deletion: Deletion::LIVE,
            }),
            Front::Slot => {
                let chunk = &self.run.chunks[self.at.chunk];
                let slot = &chunk.slots[self.at.slot];
                let position = chunk.position(slot);
                Peek::Item(match slot.what {
                    What::Row { body_len, .. } => Item::Row {
                        clustering: position,
                        row: chunk.body(slot, body_len),
                    },
                    What::Change(change) => {
                        let (before, from) = chunk.changes[change as usize];
                        Item::RangeChange {
                            position,
                            deletion: match self.direction {
                                Direction::Forward => from,
                                Direction::Reverse => before,
                            },
                        }
                    }
                })
            }
        }
    }

    #[inline]
    fn advance(&mut self) {
        match self.front {
            Front::End => {}
            Front::Closing => self.front = Front::End,
            Front::Opening(_) => self.settle(),
            Front::Slot => {
                self.pass_slot();
                self.settle();
            }
        }
    }

    fn skip_covered(&mut self, timestamp: i64, until: Option<&[u8]>) -> u64 {
        let mut skipped = 0;
        while self.front == Front::Slot && self.is_covered(timestamp, until) {
            self.pass_slot();
            self.settle();
            skipped += 1;
        }
        skipped
    }
}
