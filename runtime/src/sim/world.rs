//! The scheduler: one thread, virtual time, and a seed that decides what comes next.
//!
//! 1. What can run stands in one list: woken tasks, inboxes with jobs, messages that have arrived, operations of the disk
//!    whose time has come, timers. A step takes one of them, chosen by the seed.
//! 2. What lies ahead stands in a heap by time. Each step takes a little virtual time; with nothing to run, time jumps to the
//!    next event.
//! 3. The task that is polled is out of its slot meanwhile, and nothing is borrowed: it may spawn, wake, send, crash.
//! 4. A crash takes effect after the step in which it was due. Until then the dead node issues no further operations.

use std::cell::{Cell, RefCell};
use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap, VecDeque};
use std::fmt::Write as _;
use std::rc::Rc;
use std::sync::Arc;
use std::task::Waker;

use super::Tear;
use super::disk::Disk;
use super::rng::{Rng, Trace};
use super::shard::Shard;
use super::stats::SimStats;
use super::tasks::{Owner, Tasks, Unit, Woken, WokenList};
use crate::context::{self, Context, ShardId};
use crate::handle::{Inbox, Stopped};

/// Virtual time that a step takes, in nanoseconds.
const STEP_NS: u64 = 200;
/// Where the monotonic clock starts, so that nothing is tempted to think that 0 is special.
const START_NS: u64 = 1_000_000_000;
/// Where the wall clock starts: 2024-01-01, in microseconds since the Unix epoch.
const START_MICROS: i64 = 1_704_067_200_000_000;
/// How long a message to another shard may be on its way; one in 64 takes up to 50 times as long.
const MESSAGE_NS_MAX: u64 = 20_000;
/// How late a timer may fire.
const TIMER_LATE_NS_MAX: u64 = 100_000;

pub(super) type Message = Box<dyn FnOnce() + Send>;

#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Runnable {
    Task {
        slot: u32,
        id: u64,
    },
    Inbox {
        shard: u16,
    },
    /// The first message of a pair of shards.
    Deliver {
        from: u16,
        to: u16,
    },
    Io {
        slot: u32,
    },
    Timer {
        shard: u16,
        due: u64,
    },
    Alarm {
        id: u64,
    },
}

#[derive(PartialEq, Eq, PartialOrd, Ord)]
struct Event {
    due: u64,
    number: u64,
    what: Runnable,
}

/// A boot of the node.
pub(super) struct Node {
    pub(super) shards: Vec<NodeShard>,
    /// Messages on their way, by `from * shards + to`.
    pairs: Vec<Pair>,
}

pub(super) struct NodeShard {
    pub(super) context: Rc<Context>,
    pub(super) body: Rc<Shard>,
    pub(super) inbox: Arc<Inbox>,
}

#[derive(Default)]
struct Pair {
    messages: VecDeque<Message>,
    last_due: u64,
}

impl Node {
    pub(super) fn new(shards: Vec<NodeShard>) -> Self {
        let pairs = (0..shards.len() * shards.len()).map(|_| Pair::default()).collect();
        Node { shards, pairs }
    }
}

pub(super) struct World {
    pub(super) seed: u64,
    pub(super) tear: Cell<Tear>,
    pub(super) trace: Rc<Trace>,
    pub(super) disk: Rc<Disk>,
    pub(super) woken: Arc<WokenList>,
    pub(super) boot: Cell<u64>,
    /// Disk operations issued.
    pub(super) ops: Cell<u64>,
    /// Crash when `ops` reaches this.
    pub(super) crash_at: Cell<u64>,
    /// A crash is to happen after this step.
    pub(super) crash_due: Cell<bool>,
    /// The crash at `crash_at` takes the process alone.
    pub(super) crash_kills: Cell<bool>,
    pub(super) wall_offset: Cell<i64>,
    now: Cell<u64>,
    rng: Rng,
    pub(super) shard_rng: Rng,
    tasks: RefCell<Tasks>,
    runnable: RefCell<Vec<Runnable>>,
    arrivals: RefCell<Vec<Woken>>,
    events: RefCell<BinaryHeap<Reverse<Event>>>,
    event_number: Cell<u64>,
    alarms: RefCell<BTreeMap<u64, Waker>>,
    node: RefCell<Option<Node>>,
    polls: Cell<u64>,
    steps: Cell<u64>,
    messages: Cell<u64>,
    spawned: Cell<u64>,
    starts: Cell<u64>,
}

/// Says on which seed a panic happened.
struct Blame<'a> {
    world: &'a World,
    owner: Owner,
    name: &'static str,
}

impl Drop for Blame<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let World { seed, steps, ops, .. } = self.world;
            let (name, owner) = (self.name, describe(self.owner));
            let (steps, ops) = (steps.get(), ops.get());
            eprintln!("simulation: panic with seed {seed} in `{name}` of {owner}, at step {steps}, operation {ops}");
        }
    }
}

fn describe(owner: Owner) -> String {
    match owner {
        Owner::Shard(shard) => format!("shard {shard}"),
        Owner::Client => "the clients".to_owned(),
    }
}

impl World {
    pub(super) fn new(seed: u64, tear: Tear, disk: Rc<Disk>, trace: Rc<Trace>) -> Rc<World> {
        let woken = Arc::new(WokenList::default());
        Rc::new(World {
            seed,
            tear: Cell::new(tear),
            trace,
            disk,
            tasks: RefCell::new(Tasks::new(Arc::clone(&woken))),
            woken,
            boot: Cell::new(0),
            ops: Cell::new(0),
            crash_at: Cell::new(u64::MAX),
            crash_due: Cell::new(false),
            crash_kills: Cell::new(false),
            wall_offset: Cell::new(0),
            now: Cell::new(START_NS),
            rng: Rng::new(seed, 0),
            shard_rng: Rng::new(seed, 1),
            runnable: RefCell::default(),
            arrivals: RefCell::default(),
            events: RefCell::default(),
            event_number: Cell::new(0),
            alarms: RefCell::default(),
            node: RefCell::new(None),
            polls: Cell::new(0),
            steps: Cell::new(0),
            messages: Cell::new(0),
            spawned: Cell::new(0),
            starts: Cell::new(0),
        })
    }

    pub(super) fn now(&self) -> u64 {
        self.now.get()
    }

    pub(super) fn unix_micros(&self) -> i64 {
        let passed = i64::try_from((self.now.get() - START_NS) / 1000).unwrap_or(i64::MAX);
        START_MICROS + passed + self.wall_offset.get()
    }

    /// Lets virtual time go by within a step.
    pub(super) fn charge(&self, ns: u64) {
        self.now.set(self.now.get() + ns);
    }

    pub(super) fn steps(&self) -> u64 {
        self.steps.get()
    }

    pub(super) fn stats(&self) -> SimStats {
        SimStats {
            polls: self.polls.get(),
            steps: self.steps.get(),
            messages: self.messages.get(),
            spawned: self.spawned.get(),
            starts: self.starts.get(),
            virtual_ns: self.now.get() - START_NS,
            ..self.disk.stats()
        }
    }

    pub(super) fn spawn(&self, owner: Owner, name: &'static str, future: Unit) -> (u32, u64) {
        self.spawned.set(self.spawned.get() + 1);
        self.tasks.borrow_mut().add(owner, name, future)
    }

    pub(super) fn at(&self, due: u64, what: Runnable) {
        let number = self.event_number.get();
        self.event_number.set(number + 1);
        self.events.borrow_mut().push(Reverse(Event { due, number, what }));
    }

    pub(super) fn timer_at(&self, shard: u16, deadline: u64) -> u64 {
        let due = deadline.max(self.now.get()) + self.rng.below(TIMER_LATE_NS_MAX);
        self.at(due, Runnable::Timer { shard, due });
        due
    }

    /// A client's alarm; gives its number.
    pub(super) fn set_alarm(&self, due: u64, waker: Waker) -> u64 {
        let id = self.event_number.get();
        self.alarms.borrow_mut().insert(id, waker);
        self.at(due, Runnable::Alarm { id });
        id
    }

    /// Whether the alarm has yet to ring; it wakes `waker` from now on.
    pub(super) fn keep_alarm(&self, id: u64, waker: &Waker) -> bool {
        let mut alarms = self.alarms.borrow_mut();
        let Some(kept) = alarms.get_mut(&id) else { return false };
        let old = (!kept.will_wake(waker)).then(|| std::mem::replace(kept, waker.clone()));
        drop(alarms);
        drop(old);
        true
    }

    pub(super) fn drop_alarm(&self, id: u64) {
        let waker = self.alarms.borrow_mut().remove(&id);
        drop(waker);
    }

    pub(super) fn send(&self, from: u16, to: ShardId, message: Message) {
        let slow = if self.rng.below(64) == 0 { 50 } else { 1 };
        let due = self.now.get() + self.rng.below(MESSAGE_NS_MAX * slow);
        let due = {
            let mut node = self.node.borrow_mut();
            let Some(node) = node.as_mut() else { return };
            let pair = &mut node.pairs[usize::from(from) * node.shards.len() + usize::from(to.0)];
            pair.messages.push_back(message);
            pair.last_due = pair.last_due.max(due);
            pair.last_due
        };
        self.messages.set(self.messages.get() + 1);
        self.at(due, Runnable::Deliver { from, to: to.0 });
    }

    pub(super) fn boot(&self, node: Node) {
        self.starts.set(self.starts.get() + 1);
        self.trace.note(0xB007, node.shards.len() as u64);
        *self.node.borrow_mut() = Some(node);
    }

    pub(super) fn is_running(&self) -> bool {
        self.node.borrow().is_some()
    }

    pub(super) fn lives(&self, task: (u32, u64)) -> bool {
        self.tasks.borrow().lives(task.0, task.1)
    }

    /// Whether a message or an operation of the disk is under way.
    pub(super) fn is_moving(&self) -> bool {
        let messages = self
            .node
            .borrow()
            .as_ref()
            .is_some_and(|n| n.pairs.iter().any(|p| !p.messages.is_empty()));
        messages || self.disk.in_flight() > 0
    }

    /// Moves what was woken, and what is due, to what can run. False if nothing can, even later.
    fn gather(&self, wait: bool) -> bool {
        let mut runnable = self.runnable.borrow_mut();
        let mut arrivals = self.arrivals.borrow_mut();
        self.woken.take(&mut arrivals);
        for woken in arrivals.drain(..) {
            match woken {
                Woken::Task { slot, id } => runnable.push(Runnable::Task { slot, id }),
                Woken::Inbox { shard, boot } if boot == self.boot.get() => runnable.push(Runnable::Inbox { shard }),
                Woken::Inbox { .. } => {}
            }
        }
        let mut events = self.events.borrow_mut();
        if runnable.is_empty()
            && wait
            && let Some(Reverse(next)) = events.peek()
        {
            self.now.set(self.now.get().max(next.due));
        }
        while let Some(Reverse(next)) = events.peek() {
            if next.due > self.now.get() {
                break;
            }
            runnable.push(next.what);
            events.pop();
        }
        !runnable.is_empty()
    }

    /// Does one thing, chosen by the seed. False if there is nothing to do; with `wait`, not even later.
    pub(super) fn step(&self, wait: bool) -> bool {
        if !self.gather(wait) {
            return false;
        }
        let (picked, of, at) = {
            let mut runnable = self.runnable.borrow_mut();
            let of = runnable.len();
            let at = if of == 1 { 0 } else { self.rng.index(of) };
            (runnable.swap_remove(at), of, at)
        };
        self.steps.set(self.steps.get() + 1);
        self.charge(STEP_NS);
        let detail = match picked {
            Runnable::Task { id, .. } => 1 << 60 | id,
            Runnable::Inbox { shard } => 2 << 60 | u64::from(shard),
            Runnable::Deliver { from, to } => 3 << 60 | u64::from(from) << 16 | u64::from(to),
            Runnable::Io { slot } => 4 << 60 | u64::from(slot),
            Runnable::Timer { shard, .. } => 5 << 60 | u64::from(shard),
            Runnable::Alarm { id } => 6 << 60 | id,
        };
        self.trace
            .note((of as u64) << 32 | at as u64, detail ^ self.now.get() << 8);
        match picked {
            Runnable::Task { slot, id } => self.poll(slot, id),
            Runnable::Inbox { shard } => self.drain(shard),
            Runnable::Deliver { from, to } => self.deliver(from, to),
            Runnable::Io { slot } => {
                if let Some(waker) = self.disk.complete(slot) {
                    waker.wake();
                }
            }
            Runnable::Timer { shard, due } => self.ring(shard, due),
            Runnable::Alarm { id } => {
                let waker = self.alarms.borrow_mut().remove(&id);
                if let Some(waker) = waker {
                    waker.wake();
                }
            }
        }
        true
    }

    fn context(&self, shard: u16) -> Option<Rc<Context>> {
        let node = self.node.borrow();
        node.as_ref()
            .map(|node| Rc::clone(&node.shards[usize::from(shard)].context))
    }

    fn enter(&self, owner: Owner) -> Option<context::Entered> {
        match owner {
            Owner::Shard(shard) => Some(context::enter(&self.context(shard).expect("a task's node is running"))),
            Owner::Client => None,
        }
    }

    fn poll(&self, slot: u32, id: u64) {
        let Some(mut taken) = self.tasks.borrow_mut().take(slot, id) else {
            return;
        };
        self.polls.set(self.polls.get() + 1);
        let entered = self.enter(taken.owner);
        let blame = Blame {
            world: self,
            owner: taken.owner,
            name: taken.name,
        };
        let polled = taken
            .future
            .as_mut()
            .poll(&mut std::task::Context::from_waker(&taken.waker));
        let rest = if polled.is_ready() {
            // The slot goes first, so that what the future's destructors wake is not this task.
            let removed = self.tasks.borrow_mut().remove(slot, id);
            drop(removed);
            Some(taken.future)
        } else {
            self.tasks.borrow_mut().put_back(slot, id, taken.future)
        };
        drop(rest);
        drop(blame);
        drop(entered);
    }

    /// Runs code of the runtime itself on a shard.
    fn on_shard(&self, shard: u16, name: &'static str, run: impl FnOnce(&Rc<Context>)) {
        let Some(context) = self.context(shard) else { return };
        let entered = context::enter(&context);
        let blame = Blame {
            world: self,
            owner: Owner::Shard(shard),
            name,
        };
        run(&context);
        drop(blame);
        drop(entered);
    }

    fn drain(&self, shard: u16) {
        let inbox = {
            let node = self.node.borrow();
            let Some(node) = node.as_ref() else { return };
            Arc::clone(&node.shards[usize::from(shard)].inbox)
        };
        let max = 1 + self.rng.index(8);
        self.on_shard(shard, "a job of the inbox", |context| {
            let taken = inbox.drain(max, |job| job());
            context.counters.jobs.add(taken as u64);
        });
        if !inbox.is_empty() {
            self.woken.push(Woken::Inbox {
                shard,
                boot: self.boot.get(),
            });
        }
    }

    fn deliver(&self, from: u16, to: u16) {
        let message = {
            let mut node = self.node.borrow_mut();
            let Some(node) = node.as_mut() else { return };
            let at = usize::from(from) * node.shards.len() + usize::from(to);
            node.pairs[at].messages.pop_front()
        };
        if let Some(message) = message {
            self.on_shard(to, "a message of another shard", |_| message());
        }
    }

    fn ring(&self, shard: u16, due: u64) {
        let body = {
            let node = self.node.borrow();
            let Some(node) = node.as_ref() else { return };
            Rc::clone(&node.shards[usize::from(shard)].body)
        };
        if body.timer_fired(due) {
            self.on_shard(shard, "timers", |context| context.on_time());
        }
    }

    /// Ends a task that is not being polled, and drops its future where it belongs.
    pub(super) fn cancel(&self, task: (u32, u64)) {
        let removed = self.tasks.borrow_mut().remove(task.0, task.1);
        if let Some((owner, future)) = removed {
            let entered = self.enter(owner);
            drop(future);
            drop(entered);
        }
    }

    /// Takes the node down: power cut (`Some`) or end of the process (`None`).
    ///
    /// Destructors run, because memory must be freed, but a dead machine runs none: the shards are marked dead first, so
    /// that nothing a destructor does reaches the disk, another shard or a client.
    pub(super) fn take_down(&self, power: Option<Tear>) {
        self.crash_due.set(false);
        self.crash_at.set(u64::MAX);
        {
            let node = self.node.borrow();
            for shard in node.iter().flat_map(|node| &node.shards) {
                shard.body.die();
            }
        }
        self.boot.set(self.boot.get() + 1);
        let mut from = 0;
        loop {
            let next = self.tasks.borrow().next_of(from, |owner| owner != Owner::Client);
            let Some((slot, id)) = next else { break };
            from = slot;
            self.cancel((slot, id));
        }
        // Events and runnables of the node go; alarms of clients and the clients stay.
        self.runnable
            .borrow_mut()
            .retain(|runnable| matches!(runnable, Runnable::Task { .. } | Runnable::Alarm { .. }));
        self.events
            .borrow_mut()
            .retain(|Reverse(event)| matches!(event.what, Runnable::Alarm { .. }));
        let node = self.node.borrow_mut().take();
        if let Some(Node { shards, pairs }) = node {
            for (at, pair) in pairs.into_iter().enumerate() {
                let entered = context::enter(&shards[at % shards.len()].context);
                drop(pair);
                drop(entered);
            }
            for NodeShard { context, body, inbox } in shards {
                let entered = context::enter(&context);
                context::clear_root();
                inbox.close(Stopped::Stopped);
                drop(entered);
                drop((context, body));
            }
        }
        match power {
            Some(tear) => self.disk.crash(tear),
            None => self.disk.exit(),
        }
    }

    /// Who waits, and for what, when nothing goes on.
    pub(super) fn report(&self, why: &str) -> String {
        let mut text = format!(
            "{why} (seed {}, step {}, operation {})",
            self.seed,
            self.steps.get(),
            self.ops.get()
        );
        let mut waiting: BTreeMap<(Owner, &'static str), usize> = BTreeMap::new();
        for key in self.tasks.borrow().living() {
            *waiting.entry(key).or_default() += 1;
        }
        for ((owner, name), count) in waiting {
            let times = if count > 1 {
                format!(" ({count} times)")
            } else {
                String::new()
            };
            let _ = write!(text, "\n  waiting: `{name}` of {}{times}", describe(owner));
        }
        let flights = self.disk.in_flight();
        if flights > 0 {
            let _ = write!(text, "\n  in flight: {flights} operations of the disk");
        }
        text
    }

    /// Lets go of everything that clients hold.
    pub(super) fn clear_clients(&self) {
        let tasks = std::mem::replace(&mut *self.tasks.borrow_mut(), Tasks::new(Arc::clone(&self.woken)));
        drop(tasks);
        let alarms = self.alarms.take();
        drop(alarms);
    }
}
