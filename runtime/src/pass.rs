//! Breathing: passes of the reactor, asked for by tasks that have computed long enough.
//!
//! Disk completions, messages of other shards and timers are only looked at in a pass of the reactor, and glommio makes
//! one when nothing is runnable. So tasks that want one all wait: [`Passes`] keeps their wakers, and one task per shard,
//! the passer, waits for a timer of a few microseconds and wakes them. When passes happen by themselves, because the
//! shard had nothing to do, that is noticed (once per poll of a task), so that nobody asks for one in vain.

use std::cell::{Cell, RefCell};
use std::future::Future;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Poll, Waker};

use crate::context::{self, Context};
use crate::task::TaskClass;

/// The longest a shard computes between two passes, in nanoseconds.
pub(crate) const SLICE_NS: u64 = 100_000;

pub(crate) struct Passes {
    /// Counts passes.
    number: Cell<u64>,
    /// When the last one was.
    last_ns: Cell<u64>,
    /// When the last poll of a task ended, or the last pass was.
    seen_ns: Cell<u64>,
    /// The thread's CPU time as it was looked at last, before a poll, and when.
    cpu: Cell<(u64, u64)>,
    asked: Cell<bool>,
    passer: RefCell<Passer>,
    waiters: RefCell<Vec<Waker>>,
}

enum Passer {
    NotYet,
    Idle(Waker),
    Awake,
}

impl Passes {
    pub(crate) fn new(now: u64) -> Self {
        Self {
            number: Cell::new(0),
            last_ns: Cell::new(now),
            seen_ns: Cell::new(now),
            cpu: Cell::new((0, 0)),
            asked: Cell::new(false),
            passer: RefCell::new(Passer::NotYet),
            waiters: RefCell::new(Vec::new()),
        }
    }
}

impl Context {
    /// How long ago the last pass was.
    pub(crate) fn pass_age(&self, now: u64) -> u64 {
        now.saturating_sub(self.passes.last_ns.get())
    }

    /// When the last poll of a task ended, or the last pass was.
    pub(crate) fn last_seen_ns(&self) -> u64 {
        self.passes.seen_ns.get()
    }

    /// Called at the start of each poll of a task; returns the time.
    #[inline]
    pub(crate) fn poll_starts(&self) -> u64 {
        let now = self.body.now_ns();
        if self.body.passed_meanwhile(self.passes.seen_ns.get(), now) {
            self.passed(now);
        }
        if now.saturating_sub(self.passes.cpu.get().1) >= SLICE_NS {
            self.passes.cpu.set((self.body.cpu_ns(), now));
        }
        now
    }

    /// Called at the end of each poll of a task; returns the time.
    #[inline]
    pub(crate) fn poll_ends(&self) -> u64 {
        let now = self.body.now_ns();
        self.passes.seen_ns.set(now);
        now
    }

    /// How much of a poll that took `used` was computing: all of it, or what the thread's clock says that the machine has given it
    /// since at most a slice before the poll. That clock costs a system call, so short polls are believed.
    #[inline]
    pub(crate) fn computed(&self, used: u64) -> u64 {
        if used <= SLICE_NS {
            return used;
        }
        used.min(self.body.cpu_ns().saturating_sub(self.passes.cpu.get().0))
    }

    fn passed(&self, now: u64) {
        self.passes.number.set(self.passes.number.get() + 1);
        self.passes.last_ns.set(now);
        self.counters.passes.add(1);
        self.turns.passed();
    }

    /// Sees to it that the reactor is passed soon.
    pub(crate) fn ask_for_pass(self: &Rc<Self>) {
        if self.passes.asked.replace(true) {
            return;
        }
        let passer = std::mem::replace(&mut *self.passes.passer.borrow_mut(), Passer::Awake);
        match passer {
            Passer::Idle(waker) => waker.wake(),
            Passer::Awake => {}
            Passer::NotYet => {
                let context = Rc::clone(self);
                self.spawn_unit(TaskClass::Request, "reactor pass", async move {
                    context.keep_passing().await
                });
            }
        }
    }

    async fn keep_passing(self: Rc<Self>) {
        let _passing = Passing(&self);
        loop {
            std::future::poll_fn(|cx| {
                if self.passes.asked.get() {
                    *self.passes.passer.borrow_mut() = Passer::Awake;
                    return Poll::Ready(());
                }
                *self.passes.passer.borrow_mut() = Passer::Idle(cx.waker().clone());
                Poll::Pending
            })
            .await;
            let before = self.passes.number.get();
            self.body.pass().await;
            let now = self.body.now_ns();
            // The poll that continues here, or another one since, has noticed the pass.
            if self.passes.number.get() == before {
                if !self.body.passes_by_itself() {
                    continue; // The timer was due at once.
                }
                self.passed(now);
            }
            self.passes.asked.set(false);
            let mut waiters = self.passes.waiters.take();
            for waker in waiters.drain(..) {
                waker.wake();
            }
            let mut place = self.passes.waiters.borrow_mut();
            if place.is_empty() {
                *place = waiters; // keeps the allocation
            }
            drop(place);
            self.next_turn(now);
        }
    }
}

/// Takes the passer's waker along when the passer ends: dropped after the executor, it would leave the task's memory behind.
struct Passing<'a>(&'a Context);

impl Drop for Passing<'_> {
    fn drop(&mut self) {
        let waker = std::mem::replace(&mut *self.0.passes.passer.borrow_mut(), Passer::NotYet);
        drop(waker);
    }
}

/// Gives the shard back if this task, or all since the last pass together, have computed long enough.
///
/// Call it every few microseconds of work in every loop over user data: it costs a clock read until 100 us have gone by
/// since the last pass of the reactor, and then awaits one. Background classes also take turns: one turn of 100 us per
/// pass, dealt out among flush, compaction and maintenance by virtual time and shares ([`crate::set_shares`]).
///
/// No borrow may be held over it. Allocates nothing.
///
/// # Panics
/// When polled off-shard.
pub fn breathe() -> Breathe {
    Breathe {
        since: None,
        anyway: false,
    }
}

/// Awaits a pass of the reactor, however short the time since the last one: for what is to be done a little of in each pass.
///
/// # Panics
/// When polled off-shard.
pub fn next_pass() -> Breathe {
    Breathe {
        since: None,
        anyway: true,
    }
}

/// The future of [`breathe`] and [`next_pass`].
#[must_use = "futures do nothing unless awaited"]
pub struct Breathe {
    /// The number of the pass in which the wait began.
    since: Option<u64>,
    anyway: bool,
}

impl Future for Breathe {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut std::task::Context<'_>) -> Poll<()> {
        let context = context::current();
        let running = context.running.get();
        let background = running.class != TaskClass::Request;
        match self.since {
            None => {
                let early = context.body.breath() || self.anyway;
                let now = context.body.now_ns();
                let age = context.pass_age(now);
                let slice = now.saturating_sub(running.since_ns);
                // A background turn that begins late in a pass still gets half a slice, so that requests can't starve it.
                let over = if background {
                    slice >= SLICE_NS || (age >= SLICE_NS && slice >= SLICE_NS / 2)
                } else {
                    age >= SLICE_NS
                };
                if !over && !early {
                    return Poll::Ready(());
                }
                self.since = Some(context.passes.number.get());
            }
            Some(since) if context.passes.number.get() > since => return Poll::Ready(()),
            Some(_) => {}
        }
        context.ask_for_pass();
        if background {
            // The wrapper of the task queues it for a turn; the turn wakes it.
            context.running.set(crate::task::Running {
                breathing: true,
                ..running
            });
        }
        if !background || cx.waker().data() != running.waker {
            context.passes.waiters.borrow_mut().push(cx.waker().clone());
        }
        Poll::Pending
    }
}
