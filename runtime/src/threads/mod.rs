//! The body for places without io_uring: a small executor per shard, and plain threads that read and write.
//!
//! 1. A shard's thread ([`serve`]) polls its own tasks, in the order in which they were woken, and makes a *pass* when none
//!    is left or a slice has gone by: it takes in what other threads have left at its [`front`], and fires timers.
//! 2. An operation of the disk ([`op`]) is handed to a thread of the shard's [`pool`]. The shard keeps its buffer and its
//!    place until the end is there, whether or not anybody still waits: nothing is cancelled.
//! 3. Sockets are read and written by the shard's thread; one thread beside it ([`watch`]), started with the first socket,
//!    tells when they are ready.
//! 4. Turns, classes, the wheel, calls between shards and the inbox are those of every body.

mod file;
mod flights;
mod front;
mod op;
mod pool;
mod serve;
mod watch;

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::io;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Poll, Waker};

pub(crate) use file::{File, create_dir_all, exists, link, list, remove, rename, space, sync_dir};
pub(crate) use op::make_direct;
pub(crate) use serve::seeds;

use flights::{Flight, Flights};
use front::{Front, Incoming};
use op::{Failure, Op, Output};
use pool::{Lane, Pool};
use watch::Watcher;

use crate::context::{Context, ShardId};
use crate::cross::Message;
use crate::net::Net;
use crate::pass::SLICE_NS;
use crate::real::RealShard;
use crate::slots::{Slots, Unit};
use crate::sync::Semaphore;
use crate::task::TaskClass;
use crate::time::real_monotonic_ns;

/// Operations in flight that are neither reads nor writes, which have their own bounds, nor closings of dropped files.
const OTHERS_MAX: usize = 1024;

/// One shard of this body.
pub(crate) struct Shard {
    pub(crate) real: RealShard,
    direct_io: bool,
    /// Of each shard, by number.
    fronts: Arc<[Arc<Front>]>,
    pool: Pool,
    /// Once there was a socket.
    watcher: RefCell<Option<Watcher>>,
    flights: RefCell<Flights>,
    others: Semaphore,
    tasks: RefCell<Slots<(), Front>>,
    runnable: RefCell<VecDeque<(u32, u64)>>,
    /// Taken from the front; its messages may take several passes.
    incoming: RefCell<Incoming>,
    /// When timers are to be looked at.
    armed: Cell<u64>,
    passes: Cell<u64>,
    /// There was a pass since the last question.
    passed: Cell<bool>,
    pass_waiters: RefCell<Vec<Waker>>,
    /// Somebody wants this shard to look at its inbox and around.
    nudged: Cell<bool>,
    /// Of the tasks that take in jobs, and messages.
    inbox_waker: Cell<Option<Waker>>,
    messages_waker: Cell<Option<Waker>>,
}

impl Shard {
    fn new(real: RealShard, direct_io: bool, fronts: Arc<[Arc<Front>]>, pool: Pool) -> Self {
        let front = Arc::clone(&fronts[usize::from(real.id.0)]);
        Self {
            real,
            direct_io,
            fronts,
            pool,
            watcher: RefCell::new(None),
            flights: RefCell::default(),
            others: Semaphore::new(OTHERS_MAX),
            tasks: RefCell::new(Slots::new(front)),
            runnable: RefCell::default(),
            incoming: RefCell::default(),
            armed: Cell::new(u64::MAX),
            passes: Cell::new(0),
            passed: Cell::new(false),
            pass_waiters: RefCell::default(),
            nudged: Cell::new(false),
            inbox_waker: Cell::new(None),
            messages_waker: Cell::new(None),
        }
    }

    fn front(&self) -> &Front {
        &self.fronts[usize::from(self.real.id.0)]
    }

    pub(crate) fn spawn(&self, name: &'static str, future: Unit) {
        self.tasks.borrow_mut().add((), name, future);
    }

    pub(crate) fn arm(&self, deadline_ns: u64) {
        self.armed.set(deadline_ns);
    }

    pub(crate) fn send(&self, to: ShardId, message: Message) {
        self.fronts[usize::from(to.0)].send(message);
    }

    pub(crate) fn net(&self) -> io::Result<Rc<Net>> {
        self.real.net(|_, poll| {
            let front = Arc::clone(&self.fronts[usize::from(self.real.id.0)]);
            let (name, cpus) = (self.pool.name_beside("net"), self.pool.cpus().to_vec());
            let watcher = Watcher::start(name, front, cpus, poll)?;
            self.watcher.replace(Some(watcher));
            Ok(())
        })
    }

    #[inline]
    pub(crate) fn passed_meanwhile(&self) -> bool {
        self.passed.replace(false)
    }

    /// Comes back after the next pass.
    pub(crate) async fn pass(&self) {
        let since = self.passes.get();
        std::future::poll_fn(|cx| {
            if self.passes.get() > since {
                return Poll::Ready(());
            }
            self.pass_waiters.borrow_mut().push(cx.waker().clone());
            Poll::Pending
        })
        .await;
    }

    /// Takes in what has come: ends of operations, readiness of sockets, nudges, messages, timers.
    fn make_pass(&self, context: &Context) {
        self.passes.set(self.passes.get() + 1);
        self.passed.set(true);
        let mut incoming = self.incoming.take();
        self.front().take(&mut incoming);
        for ended in incoming.ended.drain(..) {
            self.land(ended.slot, ended.result);
        }
        if let Some(net) = self.real.known_net() {
            for event in incoming.events.drain(..) {
                net.tell(event);
            }
        }
        if std::mem::take(&mut incoming.nudged) {
            self.nudged.set(true);
        }
        let messages = !incoming.messages.is_empty();
        self.incoming.replace(incoming);
        if self.nudged.get()
            && let Some(waker) = self.inbox_waker.take()
        {
            waker.wake();
        }
        if messages && let Some(waker) = self.messages_waker.take() {
            waker.wake();
        }
        if self.armed.get() <= real_monotonic_ns() {
            self.armed.set(u64::MAX);
            context.on_time(); // arms what is next
        }
        let mut waiters = self.pass_waiters.take();
        for waker in waiters.drain(..) {
            waker.wake();
        }
        let mut place = self.pass_waiters.borrow_mut();
        if place.is_empty() {
            *place = waiters; // keeps the allocation
        }
    }

    /// Polls what is runnable until nothing is, or until a slice has gone by.
    fn run_tasks(&self, context: &Context) {
        let begin = real_monotonic_ns();
        loop {
            let next = self.runnable.borrow_mut().pop_front();
            let Some((slot, id)) = next else {
                self.front().take_woken(&mut self.runnable.borrow_mut());
                if self.runnable.borrow().is_empty() {
                    return;
                }
                continue;
            };
            let taken = self.tasks.borrow_mut().take(slot, id);
            let Some(mut task) = taken else { continue };
            let mut cx = std::task::Context::from_waker(&task.waker);
            match task.future.as_mut().poll(&mut cx) {
                Poll::Pending => {
                    let left = self.tasks.borrow_mut().put_back(slot, id, task.future);
                    drop(left);
                }
                Poll::Ready(()) => {
                    let removed = self.tasks.borrow_mut().remove(slot, id);
                    drop(removed);
                }
            }
            // Every task notes when its poll ends.
            if context.last_seen_ns().saturating_sub(begin) >= SLICE_NS {
                return;
            }
        }
    }

    /// Whether only other threads, or the clock, can give this shard something to do.
    fn is_idle(&self) -> bool {
        self.runnable.borrow().is_empty()
            && self.pass_waiters.borrow().is_empty()
            && self.incoming.borrow().messages.is_empty()
    }

    /// Hands an operation to the pool. `keep` lives until it has ended.
    fn begin(&self, op: Op, keep: flights::Keep) -> u32 {
        let class = self.real.class();
        let slot = self.flights.borrow_mut().begin(keep);
        self.pool.submit(lane(&op, class), slot, op);
        slot
    }

    /// The operation has ended.
    fn land(&self, slot: u32, result: std::thread::Result<Result<Output, Failure>>) {
        let result = match result {
            Ok(result) => result,
            Err(payload) => {
                self.real.panicked("file operation", &*payload);
                // Whoever waits is dropped with the shard.
                let flight = self.flights.borrow_mut().end(slot);
                drop(flight);
                return;
            }
        };
        let flight = self.flights.borrow_mut().land(slot, result);
        match flight {
            Flight::Heard { keep, waker } => {
                drop(keep);
                if let Some(waker) = waker {
                    waker.wake();
                }
            }
            Flight::Abandoned { keep, result } => {
                drop(keep);
                // A file that nobody waits for any more.
                if let Ok(Output::Opened(file)) = result {
                    self.close_later(file);
                }
            }
        }
    }

    /// Closes a file that was dropped. Closing may block: the blocks of a removed file are freed.
    fn close_later(&self, file: Arc<op::Descriptor>) {
        if self.pool.is_closed() {
            return; // The shard has ended: it is closed here.
        }
        let slot = self.begin(Op::Close { file }, flights::Keep::default());
        let nothing = self.flights.borrow_mut().abandon(slot);
        drop(nothing);
    }

    /// Runs an operation to its end, whatever becomes of the caller.
    async fn run(&self, op: Op, keep: flights::Keep) -> Result<Output, Failure> {
        let slot = self.begin(op, keep);
        Waiting {
            shard: self,
            slot: Some(slot),
        }
        .await
    }

    /// As [`Shard::run`], for what is neither a read nor a write.
    async fn run_other(&self, op: Op) -> Result<Output, Failure> {
        let permit = match self.others.try_acquire(1) {
            Some(permit) => permit,
            None => self.others.acquire(1).await,
        };
        self.run(op, flights::Keep::permit(permit)).await
    }
}

/// An operation in flight, for the task that waits for it. Dropping it gives up the result, not the operation.
struct Waiting<'a> {
    shard: &'a Shard,
    slot: Option<u32>,
}

impl Future for Waiting<'_> {
    type Output = Result<Output, Failure>;

    fn poll(mut self: std::pin::Pin<&mut Self>, cx: &mut std::task::Context<'_>) -> Poll<Self::Output> {
        let slot = self.slot.expect("a future is not polled after its end");
        let (polled, old) = self.shard.flights.borrow_mut().poll(slot, cx.waker());
        drop(old);
        if polled.is_ready() {
            self.slot = None;
        }
        polled
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        let Some(slot) = self.slot else { return };
        let (unheard, waker) = self.shard.flights.borrow_mut().abandon(slot);
        drop(waker);
        if let Some(Ok(Output::Opened(file))) = unheard {
            self.shard.close_later(file);
        }
    }
}

/// Where an operation of a task of this class runs.
fn lane(op: &Op, class: TaskClass) -> Lane {
    let names = matches!(
        op,
        Op::Rename { .. }
            | Op::Link { .. }
            | Op::Remove { .. }
            | Op::CreateDirs { .. }
            | Op::Exists { .. }
            | Op::List { .. }
            | Op::Close { .. }
    );
    match class {
        _ if names => Lane::Names,
        TaskClass::Request if matches!(op, Op::Read { .. }) => Lane::Reads,
        TaskClass::Request => Lane::Urgent,
        TaskClass::Flush => Lane::Flush,
        TaskClass::Compaction => Lane::Compaction,
        TaskClass::Maintenance => Lane::Maintenance,
    }
}
