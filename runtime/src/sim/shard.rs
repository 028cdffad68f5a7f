//! The body of one simulated shard, for one boot.

use std::cell::Cell;
use std::future::Future;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};

use super::disk::{Disk, Op};
use super::tasks::{Owner, Unit};
use super::world::{Message, Runnable, World};
use crate::context::ShardId;

/// Virtual time that a pass of the reactor takes, in nanoseconds.
const PASS_NS: u64 = 5_000;

/// One of the shards that share the simulator's thread.
///
/// After a crash it is dead: it issues nothing, sends nothing, spawns nothing, whatever destructors ask of it.
pub(crate) struct Shard {
    world: Rc<World>,
    id: u16,
    dead: Cell<bool>,
    /// The deadline that the shard's wheel waits for.
    armed: Cell<u64>,
    /// The earliest event that is set for it.
    event: Cell<u64>,
}

impl Shard {
    pub(super) fn new(world: Rc<World>, id: u16) -> Rc<Shard> {
        let never = Cell::new(u64::MAX);
        Rc::new(Shard {
            world,
            id,
            dead: Cell::new(false),
            armed: never.clone(),
            event: never,
        })
    }

    pub(crate) fn now_ns(&self) -> u64 {
        self.world.now()
    }

    pub(crate) fn unix_micros(&self) -> i64 {
        self.world.unix_micros()
    }

    pub(crate) fn random_u64(&self) -> u64 {
        self.world.shard_rng.u64()
    }

    pub(crate) fn charge(&self, ns: u64) {
        self.world.charge(ns);
    }

    pub(crate) fn spawn(&self, name: &'static str, future: Unit) {
        if self.lives() {
            self.world.spawn(Owner::Shard(self.id), name, future);
        }
    }

    /// Comes back after others had their chance.
    pub(crate) fn pass(&self) -> Pass {
        self.charge(PASS_NS);
        Pass { passed: false }
    }

    pub(crate) fn arm(&self, deadline_ns: u64) {
        self.armed.set(deadline_ns);
        if deadline_ns < self.event.get() && self.lives() {
            self.event.set(self.world.timer_at(self.id, deadline_ns));
        }
    }

    /// An event that was set for the timers is there: whether they are to be looked at.
    pub(super) fn timer_fired(&self, due: u64) -> bool {
        if self.event.get() == due {
            self.event.set(u64::MAX);
        }
        let armed = self.armed.get();
        if armed <= self.world.now() {
            self.armed.set(u64::MAX);
            return true;
        }
        if armed < self.event.get() {
            self.event.set(self.world.timer_at(self.id, armed));
        }
        false
    }

    pub(crate) fn send(&self, to: ShardId, message: Message) {
        if self.lives() {
            self.world.send(self.id, to, message);
        }
    }

    pub(super) fn die(&self) {
        self.dead.set(true);
    }

    /// False once the node is down, and from the operation on at which it crashes.
    pub(super) fn lives(&self) -> bool {
        !self.dead.get() && !self.world.crash_due.get()
    }

    pub(super) fn disk(&self) -> &Disk {
        &self.world.disk
    }

    /// Issues an operation of the disk; `None` if the node is dead.
    pub(super) fn issue(&self, op: Op, path: &str) -> Option<u32> {
        if !self.lives() {
            return None;
        }
        let world = &*self.world;
        let (slot, delay_ns) = world.disk.issue(op, self.id, path);
        world.at(world.now() + delay_ns, Runnable::Io { slot });
        let ops = world.ops.get() + 1;
        world.ops.set(ops);
        if ops >= world.crash_at.get() {
            world.crash_due.set(true);
        }
        Some(slot)
    }
}

/// Future of [`Shard::pass`].
pub(crate) struct Pass {
    passed: bool,
}

impl Future for Pass {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        if std::mem::replace(&mut self.passed, true) {
            return Poll::Ready(());
        }
        cx.waker().wake_by_ref();
        Poll::Pending
    }
}
