//! The body over io_uring: one glommio executor per shard. Everything that names glommio is in this folder.
//!
//! The rules that bind every line here were measured: file operations are never cancelled, one task per channel receives
//! and never drops its `recv`, few timers, no waker of ours is ever stored in another thread.

mod file;
mod nudge;
mod serve;
mod watch;

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::future::Future;
use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Poll, Waker};
use std::time::Duration;

use glommio::channels::shared_channel::ConnectedSender;
use glommio::timer::Timer;
use parking_lot::Mutex;

pub(crate) use file::{DmaBuf, DmaRead, File, create_dir_all, exists, link, list, remove, rename, space, sync_dir};
pub(crate) use serve::seeds;

use crate::context::{Context, ShardId};
use crate::cross::Message;
use crate::net::Net;
use crate::node::Node;
use crate::real::RealShard;
use crate::task::TaskClass;

/// One shard of this body.
pub(crate) struct Shard {
    pub(crate) real: RealShard,
    in_flight: Cell<usize>,
    /// To each shard, by number; nothing to itself.
    outgoing: RefCell<Vec<Option<Rc<Outgoing>>>>,
    /// What the ticker is to wake for.
    armed: Cell<u64>,
    ticker: Cell<Option<Waker>>,
}

/// What the channels carry. They ask for `Sync`, which a mutex gives; it is never locked, only unpacked.
type Parcel = Mutex<Message>;

struct Outgoing {
    sender: ConnectedSender<Parcel>,
    /// What did not fit; while there is anything, or the task that sends it is on its way, everything goes here.
    overflow: RefCell<VecDeque<Message>>,
    flushing: Cell<bool>,
}

/// Counts an operation of the disk until it ends.
pub(crate) struct InFlight(Rc<Shard>);

impl Drop for InFlight {
    fn drop(&mut self) {
        self.0.in_flight.set(self.0.in_flight.get() - 1);
    }
}

impl Shard {
    pub(crate) fn new(id: ShardId, node: Arc<Node>) -> Self {
        Self {
            in_flight: Cell::new(0),
            outgoing: RefCell::new((0..node.shards()).map(|_| None).collect()),
            armed: Cell::new(u64::MAX),
            ticker: Cell::new(None),
            real: RealShard::new(id, node),
        }
    }

    /// The default queue: not within this call.
    pub(crate) fn spawn(&self, future: impl Future<Output = ()> + 'static) {
        let task = glommio::spawn_local_into(future, glommio::TaskQueueHandle::default());
        task.expect("every executor has the default queue").detach();
    }

    fn begin_io(self: &Rc<Self>) -> InFlight {
        self.in_flight.set(self.in_flight.get() + 1);
        InFlight(Rc::clone(self))
    }

    pub(crate) fn arm(&self, deadline_ns: u64) {
        let earlier = deadline_ns < self.armed.get();
        self.armed.set(deadline_ns);
        if earlier && let Some(waker) = self.ticker.take() {
            waker.wake();
        }
    }

    pub(crate) fn send(&self, to: ShardId, message: Message) {
        let outgoing = self.outgoing.borrow()[usize::from(to.0)].clone();
        // Nobody is there any more: the message is dropped, and its call with it.
        let Some(outgoing) = outgoing else { return };
        if outgoing.flushing.get() {
            outgoing.overflow.borrow_mut().push_back(message);
            return;
        }
        let Err(error) = outgoing.sender.try_send(Mutex::new(message)) else {
            return;
        };
        let full = matches!(error, glommio::GlommioError::WouldBlock(_));
        let (true, Some(message)) = (full, error.into_inner()) else {
            return;
        };
        outgoing.overflow.borrow_mut().push_back(message.into_inner());
        outgoing.flushing.set(true);
        if let Some(context) = self.real.context() {
            context.spawn_unit(TaskClass::Request, "messages to another shard", outgoing.flush());
        }
    }

    pub(crate) fn net(&self) -> io::Result<Rc<Net>> {
        self.real.net(|net, poll| {
            let context = self.real.context().expect("sockets are opened on a shard");
            context.spawn_unit(TaskClass::Request, "network", watch::watch(Rc::clone(net), poll));
            Ok(())
        })
    }

    /// Sends nothing more to a shard that has panicked.
    fn forget(&self, shard: ShardId) {
        let outgoing = self.outgoing.borrow_mut()[usize::from(shard.0)].take();
        drop(outgoing);
    }
}

impl Outgoing {
    /// Sends what did not fit, in order, until there is nothing left.
    async fn flush(self: Rc<Self>) {
        loop {
            let next = self.overflow.borrow_mut().pop_front();
            let Some(message) = next else { break };
            if self.sender.send(Mutex::new(message)).await.is_err() {
                break; // The other shard is gone.
            }
        }
        self.flushing.set(false);
    }
}

/// A pass of the reactor: a timer short enough not to make the shard sleep, and long enough not to be due at once. It is
/// due when the executor has looked at its rings; 5 us would cost 10 us more per pass, half of it asleep.
pub(crate) async fn pass() {
    glommio::timer::sleep(Duration::from_micros(2)).await;
}

/// Whether the executor's run loop was left since the last question. With a single queue it enters that queue exactly
/// once per pass of the reactor, and counts it.
#[inline]
pub(crate) fn passed_meanwhile() -> bool {
    glommio::executor().executor_stats().scheduler_runs() > 0
}

/// The one timer of the shard, for the wheel. A pending timer is never polled again: each poll would leave an entry
/// behind until its deadline.
struct Ticker {
    shard: Rc<Shard>,
    context: Rc<Context>,
    timer: Option<(u64, Timer)>,
}

impl Drop for Ticker {
    fn drop(&mut self) {
        // Dropped after the executor, it would leave the task's memory behind.
        self.shard.ticker.set(None);
    }
}

impl Future for Ticker {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut std::task::Context<'_>) -> Poll<()> {
        let this = &mut *self;
        this.shard.ticker.set(Some(cx.waker().clone()));
        loop {
            let target = this.shard.armed.get();
            let now = crate::time::real_monotonic_ns();
            if target <= now {
                this.shard.armed.set(u64::MAX);
                this.context.on_time(); // arms what is next
                continue;
            }
            match &this.timer {
                // It wakes this task in time; if it wakes it too early, nothing is lost.
                Some((at, _)) if *at <= target && *at > now => return Poll::Pending,
                _ => this.timer = None,
            }
            if target == u64::MAX {
                return Poll::Pending;
            }
            let mut timer = Timer::new(Duration::from_nanos(target - now));
            if Pin::new(&mut timer).poll(cx).is_pending() {
                this.timer = Some((target, timer));
                return Poll::Pending;
            }
        }
    }
}
