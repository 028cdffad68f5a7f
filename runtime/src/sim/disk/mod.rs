//! The simulated disk: files, directories, and operations in flight.
//!
//! 1. [`Disk::issue`] takes an operation, decides by the seed how long it takes and whether it fails, and keeps it in flight.
//! 2. The scheduler calls [`Disk::complete`] at a moment of its choice after that time: only then it takes effect. The task
//!    that waits is woken and takes the result with [`Disk::poll`]. A task that gave up changes nothing: operations are
//!    never cancelled.
//! 3. [`Disk::crash`] (power) or [`Disk::exit`] (the process alone) decides about what is in flight; a crash also about all
//!    that was completed and is not durable.
//!
//! What survives a crash: [`contents`] for bytes, [`names`] for directory entries, [`fate`] for the dice.

mod contents;
mod fate;
mod file;
mod names;
mod op;
mod outside;

use std::cell::{Cell, RefCell};
use std::ops::Range;
use std::rc::Rc;
use std::task::{Poll, Waker};

pub(crate) use file::{File, create_dir_all, exists, link, list, remove, rename, space, sync_dir};
pub use outside::SimDisk;

use self::contents::{Contents, PAGE};
use self::fate::Mood;
use self::names::Names;
pub(super) use self::op::Op;
use self::op::{Fault, Output};
use super::Tear;
use super::rng::{Rng, Trace};
use super::stats::SimStats;

/// How often, and how, the disk misbehaves. Set with [`Sim::set_faults`](super::Sim::set_faults).
#[derive(Clone, PartialEq, Debug)]
pub struct Faults {
    /// How long an operation takes, in microseconds of virtual time.
    pub io_delay_us: Range<u64>,
    /// How often an operation takes up to 50 times as long.
    pub p_delay: f64,
    /// How often a read, a write, or a sync of a file or directory fails with EIO.
    pub p_io_error: f64,
    /// How often an operation that needs space fails with ENOSPC: creating, linking, growing a file.
    pub p_no_space: f64,
}

/// A file's bytes, shared by its names, its handles and the operations on it. Gone with the last of them.
pub(super) struct Inode {
    id: u64,
    contents: RefCell<Contents>,
    /// Bytes for which space is taken.
    reserved: Cell<u64>,
    used: Rc<Cell<u64>>,
}

impl Inode {
    fn reserve(&self, bytes: u64) {
        self.used.set(self.used.get() + bytes - self.reserved.get());
        self.reserved.set(bytes);
    }
}

impl Drop for Inode {
    fn drop(&mut self) {
        self.used.set(self.used.get() - self.reserved.get());
    }
}

fn whole_pages(bytes: u64) -> u64 {
    bytes.next_multiple_of(PAGE as u64)
}

pub(super) struct Disk {
    rng: Rng,
    crash_rng: Rng,
    trace: Rc<Trace>,
    state: RefCell<State>,
}

struct State {
    names: Names,
    faults: Faults,
    targeted: Vec<Targeted>,
    /// Counts completed changes, so that a sync covers those before its issue.
    seq: u64,
    next_inode: u64,
    used: Rc<Cell<u64>>,
    capacity: Option<u64>,
    flights: Vec<Flight>,
    free: Vec<u32>,
    stats: SimStats,
}

/// An operation that is to fail: set by [`SimDisk::fail_next`].
struct Targeted {
    op: String,
    path: String,
    pass: u64,
    fail: u64,
    errno: i32,
}

impl Targeted {
    fn means(&self, path: &str) -> bool {
        // Paths stand here without their leading slash.
        let from_root = self.path.strip_prefix('/').is_some_and(|rest| path.starts_with(rest));
        from_root || path.contains(&self.path)
    }
}

enum Flight {
    Free,
    Issued {
        op: Op,
        fails: Option<i32>,
        waker: Option<Waker>,
        abandoned: bool,
    },
    Done(Result<Output, Fault>),
}

impl Disk {
    pub(super) fn new(seed: u64, faults: Faults, trace: Rc<Trace>) -> Self {
        Disk {
            rng: Rng::new(seed, 2),
            crash_rng: Rng::new(seed, 3),
            trace,
            state: RefCell::new(State {
                names: Names::new(),
                faults,
                targeted: Vec::new(),
                seq: 0,
                next_inode: 0,
                used: Rc::new(Cell::new(0)),
                capacity: None,
                flights: Vec::new(),
                free: Vec::new(),
                stats: SimStats::default(),
            }),
        }
    }

    pub(super) fn stats(&self) -> SimStats {
        self.state.borrow().stats
    }

    pub(super) fn faults(&self) -> Faults {
        self.state.borrow().faults.clone()
    }

    pub(super) fn set_faults(&self, faults: Faults) {
        self.state.borrow_mut().faults = faults;
    }

    /// Takes an operation in; gives its number and how many nanoseconds it will take.
    pub(super) fn issue(&self, mut op: Op, shard: u16, path: &str) -> (u32, u64) {
        let state = &mut *self.state.borrow_mut();
        op.count(&mut state.stats);
        op.fix(state.seq);
        self.trace.note(0x0155_0000 | u64::from(shard), op.kind() as u64);
        self.trace.note_bytes(op.place(), path.as_bytes());
        if let Op::Write { data, .. } = &op {
            self.trace.note_bytes(data.len() as u64, data);
        }
        let fails = state.failure(&op, path, &self.rng);
        let mut delay_us = self.rng.range(&state.faults.io_delay_us);
        if self.rng.chance(state.faults.p_delay) {
            delay_us = (delay_us + 1) * (2 + self.rng.below(49));
            state.stats.delays += 1;
        }
        // Nanoseconds below the microsecond, so that two operations rarely end at once.
        let delay_ns = delay_us * 1000 + self.rng.below(1000);
        let flight = Flight::Issued {
            op,
            fails,
            waker: None,
            abandoned: false,
        };
        let slot = match state.free.pop() {
            Some(slot) => {
                state.flights[slot as usize] = flight;
                slot
            }
            None => {
                state.flights.push(flight);
                u32::try_from(state.flights.len() - 1).expect("fewer than 2^32 operations in flight")
            }
        };
        (slot, delay_ns)
    }

    /// The operation takes effect; its waiter is to be woken.
    pub(super) fn complete(&self, slot: u32) -> Option<Waker> {
        let state = &mut *self.state.borrow_mut();
        let flight = std::mem::replace(&mut state.flights[slot as usize], Flight::Free);
        let Flight::Issued {
            op,
            fails,
            waker,
            abandoned,
        } = flight
        else {
            unreachable!("an operation completes once");
        };
        let result = state.run(op, fails, false, &self.rng);
        let outcome = match &result {
            Ok(Output::Bytes(bytes)) => bytes.len() as u64,
            Ok(Output::Entries(entries)) => entries.len() as u64,
            Ok(Output::Found(found)) => u64::from(*found),
            Ok(Output::Space(space)) => space.free_bytes,
            Ok(Output::Unit | Output::Opened(_)) => 0,
            Err(Fault::Errno(errno)) => 1 << 32 | *errno as u64,
            Err(Fault::Eof) => 2 << 32,
        };
        self.trace.note(0xD0_0000 | u64::from(slot), outcome);
        if abandoned {
            state.free.push(slot);
        } else {
            state.flights[slot as usize] = Flight::Done(result);
        }
        waker
    }

    fn poll(&self, slot: u32, waker: &Waker) -> Poll<Result<Output, Fault>> {
        let state = &mut *self.state.borrow_mut();
        match &mut state.flights[slot as usize] {
            Flight::Issued { waker: kept, .. } => {
                if !kept.as_ref().is_some_and(|kept| kept.will_wake(waker)) {
                    *kept = Some(waker.clone());
                }
                Poll::Pending
            }
            done @ Flight::Done(_) => {
                let Flight::Done(result) = std::mem::replace(done, Flight::Free) else {
                    unreachable!()
                };
                state.free.push(slot);
                Poll::Ready(result)
            }
            Flight::Free => unreachable!("an operation is polled by its own waiter"),
        }
    }

    /// Nobody waits for this operation any more; it goes on.
    pub(super) fn abandon(&self, slot: u32) {
        let mut state = self.state.borrow_mut();
        let waker = match &mut state.flights[slot as usize] {
            Flight::Issued { waker, abandoned, .. } => {
                *abandoned = true;
                waker.take()
            }
            done @ Flight::Done(_) => {
                *done = Flight::Free;
                state.free.push(slot);
                None
            }
            Flight::Free => unreachable!("an operation is given up by its own waiter"),
        };
        drop(state);
        drop(waker);
    }

    /// How many operations are in flight.
    pub(super) fn in_flight(&self) -> usize {
        let state = self.state.borrow();
        state
            .flights
            .iter()
            .filter(|flight| matches!(flight, Flight::Issued { .. }))
            .count()
    }

    /// The process ends, the machine goes on: completed changes stay visible, none of them more durable than before.
    pub(super) fn exit(&self) {
        let state = &mut *self.state.borrow_mut();
        state.stats.stops += 1;
        state.land_flights(false, &self.crash_rng);
        self.trace.note(0xE417, state.seq);
    }

    /// The power goes. What is left is durable.
    pub(super) fn crash(&self, tear: Tear) {
        let state = &mut *self.state.borrow_mut();
        let rng = &self.crash_rng;
        state.stats.crashes += 1;
        state.land_flights(true, rng);
        let mood = Mood::new(tear, rng);
        state.names.crash(&mood, rng, &mut state.stats);
        let mut inodes: Vec<_> = state.names.durable_files().map(Rc::clone).collect();
        inodes.sort_unstable_by_key(|inode| inode.id);
        inodes.dedup_by_key(|inode| inode.id);
        for inode in inodes {
            let mut contents = inode.contents.borrow_mut();
            contents.crash(&mood, rng, &mut state.stats);
            inode.reserve(whole_pages(contents.len()));
            self.trace.note(inode.id, contents.len());
        }
        self.trace
            .note(0xC4A5, state.stats.writes_torn + (state.stats.writes_dropped << 32));
    }
}

impl State {
    /// Whether the operation is to fail, by order or by chance.
    fn failure(&mut self, op: &Op, path: &str, rng: &Rng) -> Option<i32> {
        let ordered = self.targeted.iter_mut().find_map(|target| {
            let meant = target.op.is_empty() || target.op == op.name();
            if !meant || !(target.means(path) || target.means(op.other_path())) {
                return None;
            }
            if target.pass > 0 {
                target.pass -= 1;
                return None;
            }
            target.fail -= 1;
            Some(target.errno)
        });
        self.targeted.retain(|target| target.fail > 0);
        if ordered.is_some() {
            return ordered;
        }
        if op.may_fail() && rng.chance(self.faults.p_io_error) {
            return Some(libc::EIO);
        }
        (op.needs_space() && rng.chance(self.faults.p_no_space)).then_some(libc::ENOSPC)
    }

    /// Decides about what was in flight when the process ended: it happened or not, and is doubtful if the power went.
    fn land_flights(&mut self, power: bool, rng: &Rng) {
        let mut flights: Vec<(Op, Option<i32>)> = Vec::new();
        for flight in std::mem::take(&mut self.flights) {
            if let Flight::Issued { op, fails, .. } = flight {
                flights.push((op, fails));
            }
        }
        self.free.clear();
        self.stats.in_flight_at_crash += flights.len() as u64;
        while !flights.is_empty() {
            let (mut op, fails) = flights.swap_remove(rng.index(flights.len()));
            if let Op::Write { dsync, .. } = &mut op {
                // The bytes may have arrived, and their flush not.
                *dsync = false;
            }
            // A sync in flight makes nothing sure; a write may be torn even if half of it is all that arrived.
            if op.changes() && fails.is_none() && rng.coin() {
                let _nobody_asks = self.run(op, None, power, rng);
            }
        }
    }
}
