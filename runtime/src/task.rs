//! Tasks: spawned futures with a class and a name, metered, taking turns, watched for panics.

use std::cell::{Cell, RefCell};
use std::fmt;
use std::future::Future;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Poll, Waker};

use crate::context::{self, Context};
use crate::turns::Turn;

/// How urgent a task is.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum TaskClass {
    /// Requests and the commit log: runs whenever it can, takes no turns.
    Request,
    /// Writing memtables to sstables.
    Flush,
    /// Merging sstables.
    Compaction,
    /// Everything that can wait: deleting files, verifying, repairing.
    Maintenance,
}

impl TaskClass {
    pub(crate) const COUNT: usize = 4;
}

/// The task that is being polled on a shard.
#[derive(Clone, Copy)]
pub(crate) struct Running {
    pub(crate) class: TaskClass,
    pub(crate) name: &'static str,
    /// When the poll began.
    pub(crate) since_ns: u64,
    /// Tells the task's own waker from those of combinators within it.
    pub(crate) waker: *const (),
    /// Set by `breathe`: the task gives its turn back and wants another one.
    pub(crate) breathing: bool,
}

impl Running {
    /// Nothing is: code of the runtime itself, or a job straight from the inbox.
    pub(crate) const OUTSIDE: Running = Running {
        class: TaskClass::Request,
        name: "",
        since_ns: 0,
        waker: std::ptr::null(),
        breathing: false,
    };
}

/// The tasks that live on a shard.
#[derive(Default)]
pub(crate) struct Tasks {
    live: Cell<usize>,
    /// Set when the shard ends: every task drops its future at its next poll.
    closing: Cell<bool>,
    /// Wakers of tasks that have been polled and have not ended, so that [`Context::close_tasks`] reaches all.
    wakers: RefCell<Wakers>,
}

#[derive(Default)]
struct Wakers {
    places: Vec<Option<Waker>>,
    free: Vec<u32>,
}

impl Tasks {
    pub(crate) fn live(&self) -> usize {
        self.live.get()
    }

    fn register(&self, waker: &Waker) -> u32 {
        let mut wakers = self.wakers.borrow_mut();
        match wakers.free.pop() {
            Some(place) => {
                wakers.places[place as usize] = Some(waker.clone());
                place
            }
            None => {
                wakers.places.push(Some(waker.clone()));
                (wakers.places.len() - 1) as u32
            }
        }
    }

    fn unregister(&self, place: u32) {
        let mut wakers = self.wakers.borrow_mut();
        let waker = wakers.places[place as usize].take();
        wakers.free.push(place);
        drop(wakers);
        drop(waker);
    }
}

impl Context {
    /// Makes every task drop its future; each does so when it is polled next, which this sees to.
    pub(crate) fn close_tasks(&self) {
        self.tasks.closing.set(true);
        let wakers: Vec<Waker> = self.tasks.wakers.borrow().places.iter().flatten().cloned().collect();
        for waker in wakers {
            waker.wake();
        }
    }

    /// Spawns without a handle.
    pub(crate) fn spawn_unit(
        self: &Rc<Self>,
        class: TaskClass,
        name: &'static str,
        future: impl Future<Output = ()> + 'static,
    ) {
        self.counters.spawned.add(1);
        self.tasks.live.set(self.tasks.live.get() + 1);
        let life = Life {
            context: Rc::clone(self),
            class,
            id: if class == TaskClass::Request {
                0
            } else {
                self.turns.new_id()
            },
            turn: Cell::new(Turn::None),
            place: Cell::new(None),
        };
        self.body.spawn(
            name,
            Metered {
                life,
                name,
                slot: Some(future),
            },
        );
    }
}

/// A task's future with all that surrounds it. Written by hand because an `async` block would store the future twice.
struct Metered<F> {
    life: Life,
    name: &'static str,
    /// Pinned; `Some` until it ends or the shard closes.
    slot: Option<F>,
}

impl<F: Future<Output = ()>> Future for Metered<F> {
    type Output = ();

    fn poll(self: Pin<&mut Self>, cx: &mut std::task::Context<'_>) -> Poll<()> {
        // SAFETY: `slot` is never moved out of: it is only reached through the pin below, and `Metered` has no `Drop`
        // and is not `Unpin` unless `F` is.
        let this = unsafe { self.get_unchecked_mut() };
        // SAFETY: as above; `slot` is structurally pinned.
        let slot = unsafe { Pin::new_unchecked(&mut this.slot) };
        this.life.poll(this.name, slot, cx)
    }
}

/// What surrounds a task's future: ends its registrations however it ends.
struct Life {
    context: Rc<Context>,
    class: TaskClass,
    id: u64,
    turn: Cell<Turn>,
    place: Cell<Option<u32>>,
}

impl Drop for Life {
    fn drop(&mut self) {
        let context = &self.context;
        context.tasks.live.set(context.tasks.live.get() - 1);
        if let Some(place) = self.place.take() {
            context.tasks.unregister(place);
        }
        if self.class != TaskClass::Request {
            context.leave_turns(self.id);
        }
    }
}

impl Life {
    fn poll<F: Future<Output = ()>>(
        &self,
        name: &'static str,
        mut slot: Pin<&mut Option<F>>,
        cx: &mut std::task::Context<'_>,
    ) -> Poll<()> {
        let context = &self.context;
        if context.tasks.closing.get() {
            // A destructor's panic has nobody left to tell.
            let _ = catch_unwind(AssertUnwindSafe(|| slot.set(None)));
            return Poll::Ready(());
        }
        if self.place.get().is_none() {
            self.place.set(Some(context.tasks.register(cx.waker())));
        }
        let start = context.poll_starts();
        let background = self.class != TaskClass::Request;
        if background {
            let mut turn = self.turn.get();
            let granted = context.take_turn(self.class, self.id, &mut turn, cx.waker(), start);
            self.turn.set(turn);
            if !granted {
                return Poll::Pending;
            }
        }
        context.counters.polls.add(1);
        let before = context.running.replace(Running {
            class: self.class,
            name,
            since_ns: start,
            waker: cx.waker().data(),
            breathing: false,
        });
        let result = catch_unwind(AssertUnwindSafe(|| match slot.as_mut().as_pin_mut() {
            Some(future) => future.poll(cx),
            None => Poll::Ready(()),
        }));
        let after = context.running.replace(before);
        let end = context.poll_ends();
        let used = end.saturating_sub(start);
        context.counters.kept(name, used, context.computed(used));
        if background {
            context.counters.background_ns.add(used);
            let mut turn = self.turn.get();
            let again = (after.breathing && matches!(result, Ok(Poll::Pending))).then(|| cx.waker());
            context.end_turn(self.class, self.id, &mut turn, again, used, end);
            self.turn.set(turn);
        } else {
            context.counters.request_ns.add(used);
        }
        match result {
            Ok(poll) => poll,
            Err(payload) => {
                context.body.panicked(name, payload);
                let _ = catch_unwind(AssertUnwindSafe(|| slot.set(None)));
                Poll::Ready(())
            }
        }
    }
}

struct Join<T> {
    value: Cell<Option<T>>,
    waker: Cell<Option<Waker>>,
    done: Cell<bool>,
}

/// A spawned future that leaves its output for the [`Task`].
struct Joined<F: Future> {
    /// Pinned.
    future: F,
    join: Rc<Join<F::Output>>,
}

impl<F: Future> Future for Joined<F> {
    type Output = ();

    fn poll(self: Pin<&mut Self>, cx: &mut std::task::Context<'_>) -> Poll<()> {
        // SAFETY: `future` is never moved; `Joined` has no `Drop` and is not `Unpin` unless `F` is.
        let this = unsafe { self.get_unchecked_mut() };
        // SAFETY: as above; `future` is structurally pinned.
        let Poll::Ready(value) = unsafe { Pin::new_unchecked(&mut this.future) }.poll(cx) else {
            return Poll::Pending;
        };
        this.join.value.set(Some(value));
        this.join.done.set(true);
        if let Some(waker) = this.join.waker.take() {
            waker.wake();
        }
        Poll::Ready(())
    }
}

/// A spawned task: await it for its output, drop it to let it run on by itself.
///
/// If the task panics its shard ends, and whoever awaits it with it.
pub struct Task<T>(Rc<Join<T>>);

impl<T> Task<T> {
    /// Whether the task has ended.
    pub fn is_finished(&self) -> bool {
        self.0.done.get()
    }
}

impl<T> fmt::Debug for Task<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Task").field("finished", &self.is_finished()).finish()
    }
}

impl<T> Future for Task<T> {
    type Output = T;

    fn poll(self: Pin<&mut Self>, cx: &mut std::task::Context<'_>) -> Poll<T> {
        if let Some(value) = self.0.value.take() {
            return Poll::Ready(value);
        }
        assert!(!self.0.done.get(), "a task's output was taken already");
        let kept = match self.0.waker.take() {
            Some(old) if old.will_wake(cx.waker()) => old,
            _ => cx.waker().clone(),
        };
        self.0.waker.set(Some(kept));
        Poll::Pending
    }
}

/// Starts `f` on this shard and returns its handle; `f` is first polled later, not within this call.
///
/// The task is detached: dropping the handle does not cancel it. `name` shows in stall reports and panics.
///
/// # Panics
/// Off-shard.
pub fn spawn<T: 'static>(class: TaskClass, name: &'static str, f: impl Future<Output = T> + 'static) -> Task<T> {
    let join = Rc::new(Join {
        value: Cell::new(None),
        waker: Cell::new(None),
        done: Cell::new(false),
    });
    let ours = Rc::clone(&join);
    context::current().spawn_unit(class, name, Joined { future: f, join: ours });
    Task(join)
}

/// The class of the running task.
///
/// # Panics
/// Off-shard.
pub fn task_class() -> TaskClass {
    context::current().running.get().class
}

/// The name of the running task; empty outside one.
///
/// # Panics
/// Off-shard.
pub fn task_name() -> &'static str {
    context::current().running.get().name
}

/// Sets the shares, 1 to 1000, by which a background class takes its turns on this shard.
///
/// The defaults are 500 for flush, 250 for compaction and 100 for maintenance.
///
/// # Panics
/// Off-shard, for `Request` (which takes no turns), and for shares out of range.
pub fn set_shares(class: TaskClass, shares: u32) {
    assert!((1..=1000).contains(&shares), "shares are 1 to 1000, not {shares}");
    assert!(class != TaskClass::Request, "requests take no turns and have no shares");
    context::current().turns.set_shares(class, shares);
}
