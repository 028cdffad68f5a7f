//! Cuts the slice of a read into parts: what the run knows, and what the sstables must be asked for.
//!
//! Memtables are merged over every part. A row of a memtable that the run cannot judge goes round it, alone: its key becomes
//! a part that the sstables are asked for.

use super::run::{Run, after};
use model::{Direction, Slice};
use std::rc::Rc;

const NOTHING: Slice = Slice {
    start: Vec::new(),
    end: Vec::new(),
};

/// What is left of a slice to be read.
pub(crate) struct Parts {
    rest: Slice,
    direction: Direction,
    run: Option<Rc<Run>>,
    round: Option<Vec<u8>>,
}

/// A part of a slice.
pub(crate) struct Part {
    pub slice: Slice,
    /// The run that knows all of it.
    pub run: Option<Rc<Run>>,
}

impl Parts {
    pub(crate) fn new(slice: Slice, direction: Direction, run: Option<Rc<Run>>) -> Parts {
        Parts {
            rest: slice,
            direction,
            run,
            round: None,
        }
    }

    /// Whether nothing is left.
    pub(crate) fn is_done(&self) -> bool {
        self.rest.is_empty()
    }

    /// The next part, in the order of travel.
    pub(crate) fn next(&mut self) -> Option<Part> {
        if self.is_done() {
            return None;
        }
        let round = self.round.take();
        let border = match (&round, self.direction) {
            (Some(key), Direction::Forward) => Some(after(key)),
            (Some(key), Direction::Reverse) => Some(key.clone()),
            (None, _) => {
                let floor = self.run.as_ref().map(|run| run.floor());
                floor
                    .filter(|floor| *self.rest.start < **floor && **floor < *self.rest.end)
                    .map(<[u8]>::to_vec)
            }
        };
        let rest = &mut self.rest;
        let slice = match (border, self.direction) {
            (Some(border), Direction::Forward) => Slice {
                end: if border < rest.end {
                    border.clone()
                } else {
                    rest.end.clone()
                },
                start: std::mem::replace(&mut rest.start, border),
            },
            (Some(border), Direction::Reverse) => Slice {
                start: if border > rest.start {
                    border.clone()
                } else {
                    rest.start.clone()
                },
                end: std::mem::replace(&mut rest.end, border),
            },
            (None, _) => std::mem::replace(rest, NOTHING),
        };
        let run = self
            .run
            .as_ref()
            .filter(|run| round.is_none() && *slice.end <= *run.floor());
        Some(Part {
            run: run.cloned(),
            slice,
        })
    }

    /// Gives back what is left of `part` from the row at `clustering` on: that row goes round the run.
    pub(crate) fn go_round(&mut self, part: &Part, clustering: &[u8]) {
        match self.direction {
            Direction::Forward => {
                if self.rest.is_empty() {
                    self.rest.end.clone_from(&part.slice.end);
                }
                self.rest.start = clustering.to_vec();
            }
            Direction::Reverse => {
                if self.rest.is_empty() {
                    self.rest.start.clone_from(&part.slice.start);
                }
                self.rest.end = after(clustering);
            }
        }
        self.round = Some(clustering.to_vec());
    }
}
