//! The current shard: one thread-local that the runtime sets and, in the simulator, switches at each poll.

use std::any::Any;
use std::cell::{Cell, RefCell};
use std::fmt;
use std::rc::Rc;
use std::task::Waker;

use crate::body::Body;
use crate::cross::Cross;
use crate::pass::Passes;
use crate::stats::Counters;
use crate::task::{Running, Tasks};
use crate::turns::Turns;
use crate::wheel::{TimerId, Wheel};

/// The number of a shard, from 0.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct ShardId(pub u16);

impl fmt::Display for ShardId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// Everything the runtime keeps for one shard, whatever its body.
pub(crate) struct Context {
    pub(crate) id: ShardId,
    pub(crate) count: usize,
    pub(crate) body: Body,
    pub(crate) counters: Counters,
    pub(crate) passes: Passes,
    pub(crate) turns: Turns,
    pub(crate) tasks: Tasks,
    pub(crate) cross: Cross,
    /// The task that is being polled.
    pub(crate) running: Cell<Running>,
    wheel: RefCell<Wheel>,
    /// What the body was last asked to call [`Context::on_time`] for; `u64::MAX`: nothing.
    armed: Cell<u64>,
    root: RefCell<Option<Rc<dyn Any>>>,
}

thread_local! {
    static CURRENT: RefCell<Option<Rc<Context>>> = const { RefCell::new(None) };
}

impl Context {
    /// A fresh shard of `count`, on `body`.
    pub(crate) fn new(id: ShardId, count: usize, body: Body) -> Rc<Context> {
        let now = body.now_ns();
        Rc::new(Context {
            id,
            count,
            counters: Counters::default(),
            passes: Passes::new(now),
            turns: Turns::new(),
            tasks: Tasks::default(),
            cross: Cross::new(count),
            running: Cell::new(Running::OUTSIDE),
            wheel: RefCell::new(Wheel::new(now)),
            armed: Cell::new(u64::MAX),
            root: RefCell::new(None),
            body,
        })
    }

    /// Fires every timer that is due; the body calls it at the time it was armed for (or later, or in vain).
    pub(crate) fn on_time(&self) {
        let mut due = Vec::new();
        self.armed.set(u64::MAX);
        self.wheel.borrow_mut().expire(self.body.now_ns(), &mut due);
        for waker in due {
            waker.wake();
        }
        let next = self.wheel.borrow().next();
        if let Some(next) = next {
            self.arm(next);
        }
    }

    fn arm(&self, at: u64) {
        if at < self.armed.get() {
            self.armed.set(at);
            self.body.arm(at);
        }
    }

    pub(crate) fn set_timer(&self, deadline: u64, waker: &Waker) -> TimerId {
        let (timer, due) = self.wheel.borrow_mut().insert(deadline, waker.clone());
        self.arm(due);
        timer
    }

    /// Whether the timer still waits; it wakes `waker` from now on.
    pub(crate) fn keep_timer(&self, timer: TimerId, waker: &Waker) -> bool {
        let kept = self.wheel.borrow_mut().update(timer, waker);
        kept.is_some()
    }

    pub(crate) fn drop_timer(&self, timer: TimerId) {
        let waker = self.wheel.borrow_mut().remove(timer);
        drop(waker);
    }
}

/// Restores the shard that was current before.
pub(crate) struct Entered(Option<Rc<Context>>);

impl Drop for Entered {
    fn drop(&mut self) {
        let before = self.0.take();
        let left = CURRENT.with(|current| current.replace(before));
        drop(left);
    }
}

/// Makes `context` the current shard of this thread until the guard is dropped. Nests.
pub(crate) fn enter(context: &Rc<Context>) -> Entered {
    Entered(CURRENT.with(|current| current.replace(Some(Rc::clone(context)))))
}

pub(crate) fn try_current() -> Option<Rc<Context>> {
    CURRENT.with(|current| current.borrow().clone())
}

pub(crate) fn current() -> Rc<Context> {
    try_current().expect("this is called on a shard")
}

#[inline]
pub(crate) fn with_current<R>(f: impl FnOnce(Option<&Rc<Context>>) -> R) -> R {
    let current = try_current();
    f(current.as_ref())
}

/// The current shard.
///
/// # Panics
/// Off-shard.
pub fn shard() -> ShardId {
    current().id
}

/// The current shard, if this runs on one.
pub fn try_shard() -> Option<ShardId> {
    with_current(|c| c.map(|c| c.id))
}

/// How many shards the node has.
///
/// # Panics
/// Off-shard.
pub fn shard_count() -> usize {
    current().count
}

/// Sets the shard's root: the one value that any task of the shard can find, in place of a thread-local.
///
/// # Panics
/// Off-shard.
pub fn set_root<T: 'static>(root: Rc<T>) {
    let old = current().root.borrow_mut().replace(root);
    drop(old);
}

/// The shard's root, if one of this type is set.
///
/// # Panics
/// Off-shard.
pub fn root<T: 'static>() -> Option<Rc<T>> {
    let root = current().root.borrow().clone();
    root?.downcast().ok()
}

/// Drops the shard's root.
///
/// # Panics
/// Off-shard.
pub fn clear_root() {
    let old = current().root.borrow_mut().take();
    drop(old);
}
