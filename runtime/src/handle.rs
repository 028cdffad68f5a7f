//! Calls into shards from outside: any thread, any async runtime.
//!
//! Each shard has an [`Inbox`], a bounded queue behind a mutex. A [`Call`] puts a job there and nudges the shard; the job
//! starts a task of class `Request`, whose result goes back through a small shared cell that wakes whoever polls the
//! `Call`. No waker of a shard is ever stored outside of it.

use std::collections::VecDeque;
use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use parking_lot::Mutex;

use crate::context::{self, ShardId};
use crate::park::block_on;
use crate::task::TaskClass;

/// Jobs that may wait in one inbox; further calls wait outside.
pub(crate) const INBOX_BOUND: usize = 4096;

/// What a shard is asked to run, inside its context.
pub(crate) type Job = Box<dyn FnOnce() + Send>;

/// Why a call got no answer.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Stopped {
    /// The node was stopped.
    Stopped,
    /// This shard panicked: the store is poisoned until it is opened again.
    Panicked(ShardId),
}

impl fmt::Display for Stopped {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Stopped::Stopped => f.write_str("the store is closed"),
            Stopped::Panicked(shard) => write!(f, "shard {shard} panicked; the store must be opened again"),
        }
    }
}

impl std::error::Error for Stopped {}

/// One shard's queue of jobs from outside.
pub(crate) struct Inbox {
    shard: ShardId,
    bound: usize,
    in_sim: bool,
    /// Wakes the shard; callable from any thread.
    nudge: Box<dyn Fn() + Send + Sync>,
    state: Mutex<State>,
    /// The empty queue that [`Inbox::drain`] swaps in, so that neither side allocates once both have grown.
    spare: Mutex<VecDeque<Job>>,
}

#[derive(Default)]
struct State {
    queue: VecDeque<Job>,
    /// Calls that found the queue full, in order.
    waiting: VecDeque<(u64, Waker)>,
    /// Places kept for calls that were woken and have not come back yet.
    reserved: Vec<u64>,
    next_ticket: u64,
    /// The shard was nudged and has not looked since.
    nudged: bool,
    closed: Option<Stopped>,
    /// Calls whose task is gone before the reason is known: the shard is about to close this inbox.
    bereft: Vec<Waker>,
}

enum Pushed {
    Done,
    Full(Job),
    Closed(Stopped),
}

impl Inbox {
    /// An inbox for at most `bound` jobs. `in_sim`: plain threads must not wait for it.
    pub(crate) fn new(shard: ShardId, bound: usize, in_sim: bool, nudge: Box<dyn Fn() + Send + Sync>) -> Self {
        Self {
            shard,
            bound,
            in_sim,
            nudge,
            state: Mutex::default(),
            spare: Mutex::default(),
        }
    }

    /// Takes up to `max` jobs out, in order, and runs each with `run`; then lets waiting calls in.
    pub(crate) fn drain(&self, max: usize, mut run: impl FnMut(Job)) -> usize {
        let mut jobs = std::mem::take(&mut *self.spare.lock());
        let mut woken = Vec::new();
        {
            let mut state = self.state.lock();
            state.nudged = false;
            if state.queue.len() <= max {
                std::mem::swap(&mut state.queue, &mut jobs);
            } else {
                jobs.extend(state.queue.drain(..max));
            }
            while state.queue.len() + state.reserved.len() < self.bound {
                let Some((ticket, waker)) = state.waiting.pop_front() else {
                    break;
                };
                state.reserved.push(ticket);
                woken.push(waker);
            }
        }
        for waker in woken {
            waker.wake();
        }
        let count = jobs.len();
        for job in jobs.drain(..) {
            run(job);
        }
        *self.spare.lock() = jobs;
        count
    }

    /// Whether no job waits.
    pub(crate) fn is_empty(&self) -> bool {
        self.state.lock().queue.is_empty()
    }

    /// Wakes the shard, whether there is a job or not.
    pub(crate) fn nudge(&self) {
        (self.nudge)();
    }

    /// Refuses further jobs and drops those that wait; their calls end with `reason`. The first reason stays; returns
    /// whether this was it.
    pub(crate) fn close(&self, reason: Stopped) -> bool {
        let (first, queue, waiting, bereft) = {
            let mut state = self.state.lock();
            let first = state.closed.is_none();
            state.closed.get_or_insert(reason);
            let state = &mut *state;
            (
                first,
                std::mem::take(&mut state.queue),
                std::mem::take(&mut state.waiting),
                std::mem::take(&mut state.bereft),
            )
        };
        drop(queue);
        for waker in waiting.into_iter().map(|(_, waker)| waker).chain(bereft) {
            waker.wake();
        }
        first
    }

    pub(crate) fn closed(&self) -> Option<Stopped> {
        self.state.lock().closed
    }

    /// Why a call's task was dropped; `None`: `waker` is woken when that is known.
    fn why_gone(&self, waker: &Waker) -> Option<Stopped> {
        let mut state = self.state.lock();
        if state.closed.is_none() {
            state.bereft.push(waker.clone());
        }
        state.closed
    }

    /// Puts a job into the queue. `wait` is the call's waker, if it would rather wait than be told.
    fn push(&self, job: Job, ticket: &mut Option<u64>, wait: Option<&Waker>) -> Pushed {
        let nudge = {
            let mut state = self.state.lock();
            if let Some(reason) = state.closed {
                return Pushed::Closed(reason);
            }
            let reserved = ticket.and_then(|t| state.reserved.iter().position(|r| *r == t));
            if let Some(at) = reserved {
                state.reserved.swap_remove(at);
                *ticket = None;
            } else if !state.waiting.is_empty() || state.queue.len() + state.reserved.len() >= self.bound {
                if let Some(waker) = wait {
                    let known = ticket.and_then(|t| state.waiting.iter_mut().find(|(w, _)| *w == t));
                    match known {
                        Some((_, kept)) => kept.clone_from(waker),
                        None => {
                            state.next_ticket += 1;
                            let new = state.next_ticket;
                            state.waiting.push_back((new, waker.clone()));
                            *ticket = Some(new);
                        }
                    }
                }
                return Pushed::Full(job);
            }
            state.queue.push_back(job);
            !std::mem::replace(&mut state.nudged, true)
        };
        if nudge {
            (self.nudge)();
        }
        Pushed::Done
    }

    /// A call that waited gives up; what was kept for it goes to the next.
    fn leave(&self, ticket: u64) {
        let next = {
            let mut state = self.state.lock();
            state.waiting.retain(|(t, _)| *t != ticket);
            match state.reserved.iter().position(|r| *r == ticket) {
                Some(at) => {
                    state.reserved.swap_remove(at);
                    state.waiting.pop_front().map(|(next, waker)| {
                        state.reserved.push(next);
                        waker
                    })
                }
                None => None,
            }
        };
        if let Some(waker) = next {
            waker.wake();
        }
    }
}

/// A handle to a node, usable from any thread and any async runtime, but not on a shard (there is [`crate::call`]).
#[derive(Clone)]
pub struct Handle {
    inboxes: Arc<[Arc<Inbox>]>,
}

impl fmt::Debug for Handle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Handle").field("shards", &self.inboxes.len()).finish()
    }
}

impl Handle {
    pub(crate) fn new(inboxes: Arc<[Arc<Inbox>]>) -> Self {
        Self { inboxes }
    }

    /// How many shards the node has.
    pub fn shard_count(&self) -> usize {
        self.inboxes.len()
    }

    /// Runs `f` and the future that it gives on shard `to`, in class `Request`.
    ///
    /// The queue into the shard is bounded: while it is full the `Call` waits when it is polled. Once queued the call
    /// runs to its end, whether the `Call` is kept or dropped.
    ///
    /// # Panics
    /// If the node has no such shard.
    pub fn call<R, F, Fut>(&self, to: ShardId, f: F) -> Call<R>
    where
        F: FnOnce() -> Fut + Send + 'static,
        Fut: Future<Output = R> + 'static,
        R: Send + 'static,
    {
        let inbox = self.inboxes.get(usize::from(to.0));
        let inbox = Arc::clone(inbox.unwrap_or_else(|| panic!("there is no shard {to}, only {}", self.inboxes.len())));
        let reply = Arc::new(Mutex::new(Reply {
            value: None,
            gone: false,
            waker: None,
        }));
        let sender = ReplySender(Some(Arc::clone(&reply)));
        let job: Job = Box::new(move || {
            let context = context::current();
            context.counters.jobs.add(1);
            context.spawn_unit(TaskClass::Request, "call", Answer { future: f(), sender });
        });
        let mut call = Call {
            inbox,
            reply,
            job: None,
            ticket: None,
            refused: None,
        };
        match call.inbox.push(job, &mut call.ticket, None) {
            Pushed::Done => {}
            Pushed::Full(job) => call.job = Some(job),
            Pushed::Closed(reason) => call.refused = Some(reason),
        }
        call
    }

    /// Whether the node takes no more calls, on all shards or on one that panicked.
    pub fn is_stopped(&self) -> bool {
        self.inboxes.iter().any(|inbox| inbox.closed().is_some())
    }

    /// The shard that panicked, if one did.
    pub fn panicked(&self) -> Option<ShardId> {
        self.inboxes.iter().find_map(|inbox| match inbox.closed() {
            Some(Stopped::Panicked(shard)) => Some(shard),
            _ => None,
        })
    }
}

/// The task of a call: its future, and where its output goes.
struct Answer<F: Future> {
    /// Pinned.
    future: F,
    sender: ReplySender<F::Output>,
}

impl<F: Future> Future for Answer<F> {
    type Output = ();

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        // SAFETY: `future` is never moved; `Answer` has no `Drop` and is not `Unpin` unless `F` is.
        let this = unsafe { self.get_unchecked_mut() };
        // SAFETY: as above; `future` is structurally pinned.
        let Poll::Ready(value) = unsafe { Pin::new_unchecked(&mut this.future) }.poll(cx) else {
            return Poll::Pending;
        };
        this.sender.finish(Some(value));
        Poll::Ready(())
    }
}

struct Reply<R> {
    value: Option<R>,
    gone: bool,
    waker: Option<Waker>,
}

struct ReplySender<R>(Option<Arc<Mutex<Reply<R>>>>);

impl<R> ReplySender<R> {
    fn finish(&mut self, value: Option<R>) {
        let Some(reply) = self.0.take() else { return };
        let waker = {
            let mut reply = reply.lock();
            reply.gone = value.is_none();
            reply.value = value;
            reply.waker.take()
        };
        if let Some(waker) = waker {
            waker.wake();
        }
    }
}

impl<R> Drop for ReplySender<R> {
    fn drop(&mut self) {
        self.finish(None);
    }
}

/// A call on its way: a future of the result, for any async runtime, or for a plain thread with [`wait`](Self::wait).
///
/// # Cancellation
/// Dropping it before it was queued cancels the call; afterwards the call runs to its end unheard.
#[must_use = "a call that is not awaited may never be queued"]
pub struct Call<R> {
    inbox: Arc<Inbox>,
    reply: Arc<Mutex<Reply<R>>>,
    /// Present until it is in the queue.
    job: Option<Job>,
    ticket: Option<u64>,
    refused: Option<Stopped>,
}

impl<R> Unpin for Call<R> {}

impl<R> fmt::Debug for Call<R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Call")
            .field("to", &self.inbox.shard)
            .field("queued", &self.job.is_none())
            .finish()
    }
}

impl<R> Call<R> {
    /// Blocks this thread until the result is there.
    ///
    /// # Errors
    /// [`Stopped`]: the node was stopped or the shard panicked before it answered.
    /// # Panics
    /// On a shard (it would block the shard), and in the simulator (nobody would drive it).
    pub fn wait(self) -> Result<R, Stopped> {
        assert!(!self.inbox.in_sim, "a plain thread can't wait for the simulator");
        block_on(self)
    }
}

impl<R> Future for Call<R> {
    type Output = Result<R, Stopped>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = &mut *self;
        assert!(
            this.inbox.in_sim || context::try_current().is_none(),
            "a handle's call is polled on shard {:?}; use runtime::call there",
            context::try_current().map(|c| c.id)
        );
        if let Some(job) = this.job.take() {
            match this.inbox.push(job, &mut this.ticket, Some(cx.waker())) {
                Pushed::Done => {}
                Pushed::Full(job) => {
                    this.job = Some(job);
                    return Poll::Pending;
                }
                Pushed::Closed(reason) => this.refused = Some(reason),
            }
        }
        if let Some(reason) = this.refused {
            return Poll::Ready(Err(reason));
        }
        let mut reply = this.reply.lock();
        if let Some(value) = reply.value.take() {
            return Poll::Ready(Ok(value));
        }
        if reply.gone {
            drop(reply);
            return match this.inbox.why_gone(cx.waker()) {
                Some(reason) => Poll::Ready(Err(reason)),
                None => Poll::Pending,
            };
        }
        match &mut reply.waker {
            Some(kept) if kept.will_wake(cx.waker()) => {}
            other => *other = Some(cx.waker().clone()),
        }
        Poll::Pending
    }
}

impl<R> Drop for Call<R> {
    fn drop(&mut self) {
        if let Some(ticket) = self.ticket.take() {
            self.inbox.leave(ticket);
        }
    }
}
