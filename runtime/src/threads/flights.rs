//! Operations in flight: who waits for them, and what they need until they end.

use std::rc::Rc;
use std::task::{Poll, Waker};

use super::op::{Failure, Output};
use crate::disk::Buf;
use crate::sync::Permit;

/// What lives until an operation has ended.
#[derive(Default)]
pub(super) struct Keep {
    _permit: Option<Permit>,
    /// The caller's buffer, shared while it is written.
    _buf: Option<Rc<Buf>>,
}

impl Keep {
    pub(super) fn permit(permit: Permit) -> Keep {
        Keep {
            _permit: Some(permit),
            _buf: None,
        }
    }

    pub(super) fn permit_and(permit: Permit, buf: Rc<Buf>) -> Keep {
        Keep {
            _permit: Some(permit),
            _buf: Some(buf),
        }
    }
}

enum State {
    /// In flight; the waker is that of whoever waits, once it was polled.
    Waited(Keep, Option<Waker>),
    /// In flight, and nobody waits any more.
    Unheard(Keep),
    /// Ended, not yet collected.
    Ended(Result<Output, Failure>),
    Free,
}

/// What the end of an operation leaves to do.
pub(super) enum Flight {
    /// Its result waits to be collected.
    Heard { keep: Keep, waker: Option<Waker> },
    /// Nobody collects it.
    Abandoned {
        keep: Keep,
        result: Result<Output, Failure>,
    },
}

/// The operations of one shard, by the number of their slot.
#[derive(Default)]
pub(super) struct Flights {
    slots: Vec<State>,
    free: Vec<u32>,
    in_flight: usize,
}

impl Flights {
    /// Operations that have not ended.
    pub(super) fn in_flight(&self) -> usize {
        self.in_flight
    }

    pub(super) fn begin(&mut self, keep: Keep) -> u32 {
        self.in_flight += 1;
        let state = State::Waited(keep, None);
        match self.free.pop() {
            Some(slot) => {
                self.slots[slot as usize] = state;
                slot
            }
            None => {
                self.slots.push(state);
                u32::try_from(self.slots.len() - 1).expect("operations in flight are bounded")
            }
        }
    }

    /// An operation has ended with this result. What it kept is the caller's to drop, after the borrow.
    pub(super) fn land(&mut self, slot: u32, result: Result<Output, Failure>) -> Flight {
        self.in_flight -= 1;
        let place = &mut self.slots[slot as usize];
        match std::mem::replace(place, State::Free) {
            State::Waited(keep, waker) => {
                *place = State::Ended(result);
                Flight::Heard { keep, waker }
            }
            State::Unheard(keep) => {
                self.free.push(slot);
                Flight::Abandoned { keep, result }
            }
            State::Ended(_) | State::Free => unreachable!("an operation ends once"),
        }
    }

    /// An operation has panicked: nobody will ever be told.
    pub(super) fn end(&mut self, slot: u32) -> Option<Keep> {
        self.in_flight -= 1;
        // Its slot is not used again: whoever waits may still poll it.
        match &mut self.slots[slot as usize] {
            State::Waited(keep, _) | State::Unheard(keep) => Some(std::mem::take(keep)),
            State::Ended(_) | State::Free => unreachable!("an operation ends once"),
        }
    }

    /// The result if it is there, else `waker` is woken when it is. The waker that was kept before is the caller's to drop,
    /// after the borrow.
    pub(super) fn poll(&mut self, slot: u32, waker: &Waker) -> (Poll<Result<Output, Failure>>, Option<Waker>) {
        let place = &mut self.slots[slot as usize];
        match std::mem::replace(place, State::Free) {
            State::Ended(result) => {
                self.free.push(slot);
                (Poll::Ready(result), None)
            }
            State::Waited(keep, Some(kept)) if kept.will_wake(waker) => {
                *place = State::Waited(keep, Some(kept));
                (Poll::Pending, None)
            }
            State::Waited(keep, old) => {
                *place = State::Waited(keep, Some(waker.clone()));
                (Poll::Pending, old)
            }
            State::Unheard(_) | State::Free => unreachable!("who waits for an operation polls it"),
        }
    }

    /// Nobody waits any more. Gives the result if it is there, and the waker that was kept, for the caller to drop after the
    /// borrow.
    pub(super) fn abandon(&mut self, slot: u32) -> (Option<Result<Output, Failure>>, Option<Waker>) {
        let place = &mut self.slots[slot as usize];
        match std::mem::replace(place, State::Free) {
            State::Waited(keep, waker) => {
                *place = State::Unheard(keep);
                (None, waker)
            }
            State::Ended(result) => {
                self.free.push(slot);
                (Some(result), None)
            }
            State::Unheard(_) | State::Free => unreachable!("an operation is given up once"),
        }
    }
}
