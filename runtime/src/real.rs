//! What the real bodies, `Uring` and `Threads`, have in common: a shard's thread, its end, and the limits of its disk.

use std::any::Any;
use std::cell::{Cell, OnceCell, RefCell};
use std::fmt;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::rc::{Rc, Weak};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::sync::mpsc;
use std::task::{Poll, Waker};
use std::time::Duration;

use crate::context::{Context, ShardId};
use crate::handle::{Inbox, Stopped};
use crate::net::Net;
use crate::node::Node;
use crate::sync::{Permit, Semaphore};
use crate::task::TaskClass;

/// What real shards run on.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum BodyKind {
    /// io_uring and direct I/O. Linux only.
    Uring,
    /// Plain threads that read and write: for places where io_uring is not to be had. The same promises, at more CPU time.
    Threads,
}

impl fmt::Display for BodyKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            BodyKind::Uring => "io_uring",
            BodyKind::Threads => "plain threads",
        })
    }
}

/// Reads and writes in flight per class: requests and the log, flush, compaction, maintenance.
const IN_FLIGHT_MAX: [usize; TaskClass::COUNT] = [128, 16, 16, 4];
/// Jobs, and messages of other shards, taken in between two passes: they start tasks, whose time adds up.
pub(crate) const BATCH: usize = 128;

/// Why a shard ends.
#[derive(Clone, Debug)]
pub(crate) enum Ending {
    Stopped,
    Panicked(String),
}

/// What a shard's thread is started with.
pub(crate) struct Settings {
    pub(crate) id: ShardId,
    /// The processor that the shard stays on.
    pub(crate) cpu: Option<usize>,
    pub(crate) io_memory_bytes: usize,
    pub(crate) direct_io: bool,
    pub(crate) spin_before_park: Duration,
    pub(crate) name: String,
}

/// Hears once from each shard whether it could be started.
pub(crate) type Ready = mpsc::Sender<Result<(), String>>;

/// A shard's whole life, on its own thread.
pub(crate) type Life = Box<dyn FnOnce(Settings, &Arc<Node>, &Ready) -> Ending + Send>;

/// One shard before its thread runs.
pub(crate) struct Seed {
    /// Wakes the shard, once it is there and until it ends; callable from any thread.
    pub(crate) nudge: Box<dyn Fn() + Send + Sync>,
    pub(crate) live: Life,
}

/// Runs a shard on this thread until it ends, and says how it did.
pub(crate) fn run(live: Life, settings: Settings, node: &Arc<Node>, ready: &Ready) -> Ending {
    let id = settings.id;
    let ending = catch_unwind(AssertUnwindSafe(|| live(settings, node, ready)));
    let ending = ending.unwrap_or_else(|payload| Ending::Panicked(panic_message(&*payload)));
    if let Ending::Panicked(message) = &ending {
        node.poison(id);
        // In case the panic came before the report; a second one is not read.
        let _ = ready.send(Err(format!("shard {id} panicked while it started: {message}")));
    }
    ending
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

/// One shard of a real body, as far as the bodies do not differ.
pub(crate) struct RealShard {
    pub(crate) context: OnceCell<Weak<Context>>,
    pub(crate) id: ShardId,
    pub(crate) node: Arc<Node>,
    random: Cell<u64>,
    permits: [Semaphore; TaskClass::COUNT],
    /// Shards that were seen to have panicked.
    gone: RefCell<Vec<Option<Stopped>>>,
    deaths_seen: Cell<usize>,
    ending: RefCell<Option<Ending>>,
    /// Who waits for the end.
    main: Cell<Option<Waker>>,
    /// The sockets, once there was one.
    net: OnceCell<Rc<Net>>,
}

impl RealShard {
    pub(crate) fn new(id: ShardId, node: Arc<Node>) -> Self {
        Self {
            context: OnceCell::new(),
            id,
            random: Cell::new(crate::random::os_u64()),
            permits: IN_FLIGHT_MAX.map(Semaphore::new),
            gone: RefCell::new(vec![None; node.shards()]),
            deaths_seen: Cell::new(0),
            ending: RefCell::new(None),
            main: Cell::new(None),
            net: OnceCell::new(),
            node,
        }
    }

    /// Tells the shard its context, once.
    pub(crate) fn set_context(&self, context: &Rc<Context>) {
        let set = self.context.set(Rc::downgrade(context));
        assert!(set.is_ok(), "a shard has one context");
    }

    pub(crate) fn context(&self) -> Option<Rc<Context>> {
        self.context.get()?.upgrade()
    }

    pub(crate) fn inbox(&self) -> &Arc<Inbox> {
        self.node.inbox(self.id)
    }

    /// wyrand: fast, and good enough for jitter and names.
    pub(crate) fn random_u64(&self) -> u64 {
        let state = self.random.get().wrapping_add(0xa076_1d64_78bd_642f);
        self.random.set(state);
        let product = u128::from(state) * u128::from(state ^ 0xe703_7ed1_a0b4_28db);
        (product >> 64) as u64 ^ product as u64
    }

    /// The shard's sockets; at first use `watch` is to see to it that their readiness is told.
    pub(crate) fn net(&self, watch: impl FnOnce(&Rc<Net>, mio::Poll) -> io::Result<()>) -> io::Result<Rc<Net>> {
        if let Some(net) = self.net.get() {
            return Ok(Rc::clone(net));
        }
        let poll = mio::Poll::new()?;
        let net = Rc::new(Net::new(poll.registry().try_clone()?));
        watch(&net, poll)?;
        let first = self.net.set(Rc::clone(&net));
        assert!(first.is_ok(), "a shard begins to watch its sockets once");
        Ok(net)
    }

    /// The shard's sockets, if there ever was one.
    pub(crate) fn known_net(&self) -> Option<&Rc<Net>> {
        self.net.get()
    }

    /// The class of the running task.
    pub(crate) fn class(&self) -> TaskClass {
        self.context()
            .map_or(TaskClass::Request, |context| context.running.get().class)
    }

    /// Waits until the running task's class may have one more read or write in flight.
    pub(crate) async fn io_permit(&self) -> Permit {
        let permits = &self.permits[self.class() as usize];
        match permits.try_acquire(1) {
            Some(permit) => permit,
            None => permits.acquire(1).await,
        }
    }

    /// Ends the shard: its main loop tears it down.
    pub(crate) fn end(&self, ending: Ending) {
        self.ending.borrow_mut().get_or_insert(ending);
        if let Some(waker) = self.main.take() {
            waker.wake();
        }
    }

    /// How the shard is to end, as soon as it is.
    pub(crate) fn ending(&self) -> Option<Ending> {
        self.ending.borrow().clone()
    }

    /// Waits until the shard is to end.
    pub(crate) async fn ended(&self) -> Ending {
        std::future::poll_fn(|cx| match self.ending() {
            Some(ending) => Poll::Ready(ending),
            None => {
                self.main.set(Some(cx.waker().clone()));
                Poll::Pending
            }
        })
        .await
    }

    pub(crate) fn panicked(&self, task: &str, payload: &(dyn Any + Send)) {
        self.node.poison(self.id);
        self.end(Ending::Panicked(format!("task \"{task}\": {}", panic_message(payload))));
    }

    pub(crate) fn is_gone(&self, shard: ShardId) -> Option<Stopped> {
        self.gone.borrow()[usize::from(shard.0)]
    }

    /// Learns what all shards must learn: that the node stops, and which shards have panicked since the last look. Their
    /// calls end; `gone` is told of each.
    pub(crate) fn look_around(&self, gone: impl Fn(ShardId)) {
        if self.node.stopping.load(Ordering::Acquire) {
            self.end(Ending::Stopped);
        }
        let deaths = self.node.deaths.load(Ordering::Acquire);
        if deaths == self.deaths_seen.replace(deaths) {
            return;
        }
        let Some(context) = self.context() else { return };
        for number in 0..self.node.shards() {
            let shard = ShardId(number as u16);
            let reason = self.node.inbox(shard).closed();
            if let Some(Stopped::Panicked(_)) = reason {
                self.gone.borrow_mut()[number] = reason;
                gone(shard);
                context.cross.fail(shard, Stopped::Panicked(shard));
            }
        }
    }
}
