//! Turns: background tasks compute one after the other, one slice per pass of the reactor.
//!
//! 1. A task of a background class is only polled while it holds the turn. Its wrapper asks for it before the poll and
//!    gives it back after the poll, whatever the poll did: a task that waits for the disk holds no turn.
//! 2. In each pass of the reactor at least one turn is given, and more only while less than a slice has gone by since
//!    the pass and nobody has used a slice up. So background work never adds up between two passes.
//! 3. Which class comes next is decided by virtual time: what a class has used, divided by its shares. A class that was
//!    away comes back at the time of the others, it saves nothing up. Within a class tasks follow in order of arrival.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::rc::Rc;
use std::task::Waker;

use crate::context::Context;
use crate::pass::SLICE_NS;
use crate::task::TaskClass;

const CLASSES: usize = 3;

/// The most that one turn is charged with. A task that breathes can only have had the shard for longer if the operating
/// system ran something else meanwhile, which is not the task's doing.
const CHARGE_MAX_NS: u64 = 2 * SLICE_NS;

pub(crate) struct Turns(RefCell<State>);

struct State {
    classes: [Class; CLASSES],
    /// The task that has the turn.
    granted: Option<u64>,
    /// Whether this pass has had a turn.
    taken: bool,
    /// Whether a turn of this pass was used up.
    closed: bool,
    /// The virtual time of the class that was served last.
    floor: u64,
    next_id: u64,
}

struct Class {
    shares: u32,
    /// Nanoseconds used, times 1000, divided by shares.
    virtual_time: u64,
    waiting: VecDeque<(u64, Waker)>,
}

fn place(class: TaskClass) -> usize {
    match class {
        TaskClass::Request => unreachable!("requests take no turns"),
        TaskClass::Flush => 0,
        TaskClass::Compaction => 1,
        TaskClass::Maintenance => 2,
    }
}

impl State {
    fn open(&self, age: u64) -> bool {
        !self.taken || (!self.closed && age < SLICE_NS)
    }

    fn enqueue(&mut self, class: usize, id: u64, waker: &Waker) {
        let floor = self.floor;
        let class = &mut self.classes[class];
        if class.waiting.is_empty() {
            class.virtual_time = class.virtual_time.max(floor);
        }
        class.waiting.push_back((id, waker.clone()));
    }

    /// Gives the turn to the next in line, if there is one.
    fn grant(&mut self) -> Option<Waker> {
        let class = self
            .classes
            .iter_mut()
            .filter(|c| !c.waiting.is_empty())
            .min_by_key(|c| c.virtual_time)?;
        let (id, waker) = class.waiting.pop_front()?;
        self.floor = self.floor.max(class.virtual_time);
        self.granted = Some(id);
        self.taken = true;
        Some(waker)
    }

    fn anyone_waits(&self) -> bool {
        self.classes.iter().any(|c| !c.waiting.is_empty())
    }
}

impl Turns {
    pub(crate) fn new() -> Self {
        let class = |shares| Class {
            shares,
            virtual_time: 0,
            waiting: VecDeque::new(),
        };
        Self(RefCell::new(State {
            // Flush is what keeps writers from waiting; maintenance can always wait.
            classes: [class(500), class(250), class(100)],
            granted: None,
            taken: false,
            closed: false,
            floor: 0,
            next_id: 1,
        }))
    }

    pub(crate) fn set_shares(&self, class: TaskClass, shares: u32) {
        self.0.borrow_mut().classes[place(class)].shares = shares;
    }

    /// A name for a background task.
    pub(crate) fn new_id(&self) -> u64 {
        let mut state = self.0.borrow_mut();
        state.next_id += 1;
        state.next_id
    }

    pub(crate) fn passed(&self) {
        let mut state = self.0.borrow_mut();
        state.taken = false;
        state.closed = false;
    }
}

/// What a background task knows of its turn.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Turn {
    /// It has not asked.
    None,
    /// It is queued; polls before the turn comes are in vain.
    Queued,
}

impl Context {
    /// Whether the task may be polled now. If not, it is queued and will be woken.
    pub(crate) fn take_turn(
        self: &Rc<Self>,
        class: TaskClass,
        id: u64,
        turn: &mut Turn,
        waker: &Waker,
        now: u64,
    ) -> bool {
        let mut state = self.turns.0.borrow_mut();
        if state.granted == Some(id) {
            *turn = Turn::None;
            self.counters.turns.add(1);
            return true;
        }
        if *turn == Turn::None {
            state.enqueue(place(class), id, waker);
            *turn = Turn::Queued;
        }
        if state.granted.is_some() {
            return false;
        }
        if !state.open(self.pass_age(now)) {
            drop(state);
            self.ask_for_pass();
            return false;
        }
        let next = state.grant();
        if state.granted == Some(id) {
            *turn = Turn::None;
            self.counters.turns.add(1);
            return true;
        }
        drop(state);
        if let Some(waker) = next {
            waker.wake();
        }
        false
    }

    /// Gives the turn back after `used` nanoseconds. `again`: the task wants another one, in a later pass.
    pub(crate) fn end_turn(
        self: &Rc<Self>,
        class: TaskClass,
        id: u64,
        turn: &mut Turn,
        again: Option<&Waker>,
        used: u64,
        now: u64,
    ) {
        let mut state = self.turns.0.borrow_mut();
        state.granted = None;
        let charged = &mut state.classes[place(class)];
        charged.virtual_time += used.clamp(1, CHARGE_MAX_NS) * 1000 / u64::from(charged.shares);
        if let Some(waker) = again {
            state.closed = true;
            state.enqueue(place(class), id, waker);
            *turn = Turn::Queued;
        }
        drop(state);
        self.next_turn(now);
    }

    /// Wakes whoever has the next turn, or asks for the pass in which it can be given.
    pub(crate) fn next_turn(self: &Rc<Self>, now: u64) {
        let mut state = self.turns.0.borrow_mut();
        if state.granted.is_some() || !state.anyone_waits() {
            return;
        }
        if state.open(self.pass_age(now)) {
            let next = state.grant();
            drop(state);
            if let Some(waker) = next {
                waker.wake();
            }
        } else {
            drop(state);
            self.ask_for_pass();
        }
    }

    /// Takes a task that ends without having been polled out of line.
    pub(crate) fn leave_turns(self: &Rc<Self>, id: u64) {
        let mut state = self.turns.0.borrow_mut();
        let mut gone = None;
        for class in &mut state.classes {
            if let Some(at) = class.waiting.iter().position(|(waiting, _)| *waiting == id) {
                gone = class.waiting.remove(at);
            }
        }
        let had_it = state.granted == Some(id);
        if had_it {
            state.granted = None;
        }
        drop(state);
        drop(gone);
        if had_it {
            self.next_turn(self.body.now_ns());
        }
    }
}
