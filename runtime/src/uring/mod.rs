//! The real body: one glommio executor per shard. Everything that names glommio is in this folder.
//!
//! The rules that bind every line here were measured: file operations are never cancelled, one task per channel receives
//! and never drops its `recv`, few timers, no waker of ours is ever stored in another thread.

mod file;
mod nudge;
mod serve;

use std::any::Any;
use std::cell::{Cell, OnceCell, RefCell};
use std::collections::VecDeque;
use std::future::Future;
use std::pin::Pin;
use std::rc::{Rc, Weak};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::{Poll, Waker};
use std::time::Duration;

use glommio::channels::shared_channel::ConnectedSender;
use glommio::timer::Timer;
use parking_lot::Mutex;

pub(crate) use file::{DmaBuf, DmaRead, File, create_dir_all, exists, link, list, remove, rename, sync_dir};
pub(crate) use nudge::Nudge;
pub(crate) use serve::{Settings, run, wire};

use crate::context::{Context, ShardId};
use crate::cross::Message;
use crate::handle::{Inbox, Stopped};
use crate::node::Node;
use crate::sync::{Permit, Semaphore};
use crate::task::TaskClass;

/// Reads and writes in flight per class: requests and the log, flush, compaction, maintenance.
const IN_FLIGHT_MAX: [usize; TaskClass::COUNT] = [128, 16, 16, 4];

/// One shard's part of the real body.
pub(crate) struct Shard {
    context: OnceCell<Weak<Context>>,
    id: ShardId,
    node: Arc<Node>,
    random: Cell<u64>,
    permits: [Semaphore; TaskClass::COUNT],
    in_flight: Cell<usize>,
    /// To each shard, by number; nothing to itself.
    outgoing: RefCell<Vec<Option<Rc<Outgoing>>>>,
    /// Shards that were seen to have panicked.
    gone: RefCell<Vec<Option<Stopped>>>,
    deaths_seen: Cell<usize>,
    /// What the ticker is to wake for.
    armed: Cell<u64>,
    ticker: Cell<Option<Waker>>,
    ending: RefCell<Option<Ending>>,
    main: Cell<Option<Waker>>,
}

/// Why a shard ends.
#[derive(Clone, Debug)]
pub(crate) enum Ending {
    Stopped,
    Panicked(String),
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
            context: OnceCell::new(),
            id,
            random: Cell::new(crate::random::os_u64()),
            permits: IN_FLIGHT_MAX.map(Semaphore::new),
            in_flight: Cell::new(0),
            outgoing: RefCell::new((0..node.shards()).map(|_| None).collect()),
            gone: RefCell::new(vec![None; node.shards()]),
            deaths_seen: Cell::new(0),
            armed: Cell::new(u64::MAX),
            ticker: Cell::new(None),
            ending: RefCell::new(None),
            main: Cell::new(None),
            node,
        }
    }

    fn context(&self) -> Option<Rc<Context>> {
        self.context.get()?.upgrade()
    }

    fn inbox(&self) -> &Arc<Inbox> {
        self.node.inbox(self.id)
    }

    /// wyrand: fast, and good enough for jitter and names.
    pub(crate) fn random_u64(&self) -> u64 {
        let state = self.random.get().wrapping_add(0xa076_1d64_78bd_642f);
        self.random.set(state);
        let product = u128::from(state) * u128::from(state ^ 0xe703_7ed1_a0b4_28db);
        (product >> 64) as u64 ^ product as u64
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

    /// Waits until the running task's class may have one more read or write in flight.
    async fn io_permit(&self) -> Permit {
        let class = self
            .context()
            .map_or(TaskClass::Request, |context| context.running.get().class);
        let permits = &self.permits[class as usize];
        match permits.try_acquire(1) {
            Some(permit) => permit,
            None => permits.acquire(1).await,
        }
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
        if let Some(context) = self.context() {
            context.spawn_unit(TaskClass::Request, "messages to another shard", outgoing.flush());
        }
    }

    /// Ends the shard: its main future tears it down.
    fn end(&self, ending: Ending) {
        self.ending.borrow_mut().get_or_insert(ending);
        if let Some(waker) = self.main.take() {
            waker.wake();
        }
    }

    pub(crate) fn panicked(&self, task: &'static str, payload: &(dyn Any + Send)) {
        self.node.poison(self.id);
        self.end(Ending::Panicked(format!("task \"{task}\": {}", panic_message(payload))));
    }

    pub(crate) fn is_gone(&self, shard: ShardId) -> Option<Stopped> {
        self.gone.borrow()[usize::from(shard.0)]
    }

    /// Ends the calls to shards that have panicked since the last look.
    fn look_for_deaths(&self, context: &Context) {
        let deaths = self.node.deaths.load(Ordering::Acquire);
        if deaths == self.deaths_seen.replace(deaths) {
            return;
        }
        for number in 0..self.node.shards() {
            let shard = ShardId(number as u16);
            let reason = self.node.inbox(shard).closed();
            if let Some(Stopped::Panicked(_)) = reason {
                self.gone.borrow_mut()[number] = reason;
                let outgoing = self.outgoing.borrow_mut()[number].take();
                drop(outgoing);
                context.cross.fail(shard, Stopped::Panicked(shard));
            }
        }
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

/// The message of a panic, as far as it has one.
pub(crate) fn panic_message(payload: &(dyn Any + Send)) -> String {
    if let Some(message) = payload.downcast_ref::<&str>() {
        (*message).to_owned()
    } else if let Some(message) = payload.downcast_ref::<String>() {
        message.clone()
    } else {
        "a panic without a message".to_owned()
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
