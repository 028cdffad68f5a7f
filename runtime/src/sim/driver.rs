//! [`Sim`]: what a test holds and drives.

use std::cell::RefCell;
use std::future::Future;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use super::client::{self, drive};
use super::disk::{Disk, Faults, SimDisk};
use super::rng::Trace;
use super::shard::Shard;
use super::stats::SimStats;
use super::tasks::{Owner, Woken};
use super::world::{Node, NodeShard, World};
use super::{Config, Outcome, Tear};
use crate::body::Body;
use crate::context::{Context, ShardId};
use crate::handle::{Handle, INBOX_BOUND, Inbox};

/// Steps after which a run counts as stuck, unless [`Sim::set_step_limit`] says otherwise.
const STEPS_MAX: u64 = 20_000_000;
/// How often an operation takes much longer, unless [`Sim::set_faults`] says otherwise.
const P_DELAY: f64 = 1.0 / 64.0;

/// A simulated machine: a disk, a node that can be started, crashed and started again, and clients.
///
/// It is driven only by [`run`](Self::run) and its kin, on the thread that calls them. Dropping it drops everything.
pub struct Sim {
    world: Rc<World>,
    shards: usize,
    steps_max: u64,
}

enum End {
    Reached,
    Crashed,
    Stuck(String),
}

impl Sim {
    /// A machine with an empty disk, powered on, with no node running.
    ///
    /// # Panics
    /// If there is no shard.
    pub fn new(c: Config) -> Sim {
        assert!(c.shards > 0, "a node has at least one shard");
        let trace = Rc::new(Trace::new());
        let faults = Faults {
            io_delay_us: c.io_delay_us,
            p_delay: P_DELAY,
            p_io_error: c.p_io_error,
            p_no_space: c.p_no_space,
        };
        let disk = Rc::new(Disk::new(c.seed, faults, Rc::clone(&trace)));
        Sim {
            world: World::new(c.seed, c.tear, disk, trace),
            shards: c.shards,
            steps_max: STEPS_MAX,
        }
    }

    /// Boots the shards on the disk as it is. A node that runs is [stopped](Self::stop) first.
    pub fn start(&mut self) -> Handle {
        if self.world.is_running() {
            self.stop();
        }
        let boot = self.world.boot.get() + 1;
        self.world.boot.set(boot);
        let shards: Vec<NodeShard> = (0..self.shards)
            .map(|number| {
                let shard = u16::try_from(number).expect("fewer than 65536 shards");
                let body = Shard::new(Rc::clone(&self.world), shard);
                let woken = Arc::clone(&self.world.woken);
                let nudge = Box::new(move || woken.push(Woken::Inbox { shard, boot }));
                NodeShard {
                    context: Context::new(ShardId(shard), self.shards, Body::Sim(Rc::clone(&body))),
                    body,
                    inbox: Arc::new(Inbox::new(ShardId(shard), INBOX_BOUND, true, nudge)),
                }
            })
            .collect();
        let inboxes: Vec<_> = shards.iter().map(|shard| Arc::clone(&shard.inbox)).collect();
        self.world.boot(Node::new(shards));
        Handle::new(inboxes.into())
    }

    /// How many shards the next [`start`](Self::start) boots.
    ///
    /// # Panics
    /// If there is none.
    pub fn set_shards(&mut self, n: usize) {
        assert!(n > 0, "a node has at least one shard");
        self.shards = n;
    }

    /// Drives shards and clients until `client` is done, the node crashes, or nothing can go on.
    ///
    /// In each case but the first, `client` is dropped. Clients of [`spawn_client`](Self::spawn_client) live on.
    ///
    /// # Panics
    /// With the panic of a task or a client; the seed is printed.
    pub fn run<T: 'static>(&mut self, client: impl Future<Output = T> + 'static) -> Outcome<T> {
        let result = Rc::new(RefCell::new(None));
        let ours = Rc::clone(&result);
        let future = Box::pin(async move {
            let value = client.await;
            *ours.borrow_mut() = Some(value);
        });
        let world = Rc::clone(&self.world);
        let task = world.spawn(Owner::Client, "run", future);
        let end = self.drive(true, |world| !world.lives(task));
        let _driving = drive(&world);
        world.cancel(task);
        match end {
            End::Reached => Outcome::Done(result.take().expect("a client that is done left its result")),
            End::Crashed => Outcome::Crashed,
            End::Stuck(text) => Outcome::Stuck(text),
        }
    }

    /// Adds a client that is driven along by every run, over crashes too. Its handle of a dead node only says so.
    pub fn spawn_client(&mut self, f: impl Future<Output = ()> + 'static) {
        self.world.spawn(Owner::Client, "client", Box::pin(f));
    }

    /// Drives until nothing can run and no operation or message is under way. Does not wait for timers.
    pub fn run_until_idle(&mut self) -> Outcome<()> {
        loop {
            // Without waiting first; then only as far as to the end of what is under way.
            match self.drive(false, |_| false) {
                End::Reached => {}
                End::Crashed => return Outcome::Crashed,
                End::Stuck(text) => return Outcome::Stuck(text),
            }
            if !self.world.is_moving() {
                return Outcome::Done(());
            }
            let _driving = drive(&self.world);
            self.world.step(true);
            if self.crash_if_due() {
                return Outcome::Crashed;
            }
        }
    }

    /// Drives for so long in virtual time.
    pub fn run_for(&mut self, duration: Duration) -> Outcome<()> {
        self.run(client::client_sleep(duration))
    }

    /// Steps until `reached`. Without `wait` it is also reached when nothing can run now.
    fn drive(&mut self, wait: bool, reached: impl Fn(&World) -> bool) -> End {
        let _driving = drive(&self.world);
        let last = self.world.steps().saturating_add(self.steps_max);
        while !reached(&self.world) {
            if !self.world.step(wait) {
                if wait {
                    return End::Stuck(self.world.report("nothing can go on"));
                }
                return End::Reached;
            }
            if self.crash_if_due() {
                return End::Crashed;
            }
            if self.world.steps() >= last {
                let why = format!("still going on after {} steps", self.steps_max);
                return End::Stuck(self.world.report(&why));
            }
        }
        End::Reached
    }

    fn crash_if_due(&self) -> bool {
        let due = self.world.crash_due.get();
        if due {
            let power = (!self.world.crash_kills.get()).then(|| self.world.tear.get());
            self.world.take_down(power);
        }
        due
    }

    /// Crashes when `n` more operations of the disk have been issued; the last of them is in flight then. `None`: not.
    pub fn crash_at_op(&mut self, n: Option<u64>) {
        let at = n.map_or(u64::MAX, |n| self.world.ops.get().saturating_add(n.max(1)));
        self.world.crash_at.set(at);
        self.world.crash_kills.set(false);
    }

    /// As [`crash_at_op`](Self::crash_at_op), but only the process ends, as by [`stop`](Self::stop).
    pub fn kill_at_op(&mut self, n: Option<u64>) {
        self.crash_at_op(n);
        self.world.crash_kills.set(true);
    }

    /// Cuts the power now: tasks, queues and memory of the node are gone, the disk keeps what was synced, the rest by
    /// [`Tear`]. Without a node it is the disk's unsynced rest alone that is decided.
    pub fn crash(&mut self) {
        let _driving = drive(&self.world);
        self.world.take_down(Some(self.world.tear.get()));
    }

    /// Ends the node's process, as at its end or by a kill: what it had written stays in the page cache, visible and not
    /// one bit more durable than before. Operations in flight may or may not happen.
    pub fn stop(&mut self) {
        let _driving = drive(&self.world);
        self.world.take_down(None);
    }

    /// Whether a node runs.
    pub fn is_running(&self) -> bool {
        self.world.is_running()
    }

    /// What further crashes do.
    pub fn set_tear(&mut self, tear: Tear) {
        self.world.tear.set(tear);
    }

    /// How the disk misbehaves now.
    pub fn faults(&self) -> Faults {
        self.world.disk.faults()
    }

    /// How the disk misbehaves from now on, for operations that are yet to be issued.
    pub fn set_faults(&mut self, faults: Faults) {
        self.world.disk.set_faults(faults);
    }

    /// How many steps one run may take before it counts as stuck.
    pub fn set_step_limit(&mut self, steps: u64) {
        self.steps_max = steps;
    }

    /// Steps the wall clock, forwards or backwards; the monotonic clock goes on.
    pub fn step_wall_clock(&mut self, micros: i64) {
        self.world.wall_offset.set(self.world.wall_offset.get() + micros);
    }

    /// The disk, to look at and to damage.
    pub fn disk(&self) -> SimDisk {
        SimDisk::new(Rc::clone(&self.world.disk))
    }

    /// What it has met so far.
    pub fn stats(&self) -> SimStats {
        self.world.stats()
    }

    /// A hash over every choice and every operation so far: two runs of one seed agree.
    pub fn history_hash(&self) -> u64 {
        self.world.trace.get()
    }

    /// Operations of the disk issued so far.
    pub fn ops(&self) -> u64 {
        self.world.ops.get()
    }

    /// The seed.
    pub fn seed(&self) -> u64 {
        self.world.seed
    }
}

impl Drop for Sim {
    fn drop(&mut self) {
        // In a panic the tasks are in no state to be dropped: a second panic would abort, and hide the first.
        if std::thread::panicking() {
            return;
        }
        let _driving = drive(&self.world);
        self.world.take_down(None);
        self.world.clear_clients();
    }
}

#[cfg(test)]
mod tests {
    use std::rc::Rc;
    use std::time::Duration;

    use super::*;
    use crate::{TaskClass, breathe, call, disk, spawn};

    #[test]
    fn nothing_is_left_of_a_simulation() {
        for seed in 0..20 {
            let mut sim = Sim::new(Config {
                seed,
                ..Config::default()
            });
            let world = Rc::downgrade(&sim.world);
            for boot in 0..3 {
                let node = sim.start();
                sim.spawn_client(std::future::pending());
                sim.spawn_client(client::client_sleep(Duration::from_secs(1_000_000)));
                sim.crash_at_op((boot < 2).then_some(20));
                let _outcome = sim.run(async move {
                    let work = || async {
                        let file = disk::File::create("/f".as_ref(), disk::CreateOptions::default()).await;
                        let file = Rc::new(file);
                        crate::set_root(Rc::clone(&file));
                        for class in [TaskClass::Request, TaskClass::Flush, TaskClass::Maintenance] {
                            let file = Rc::clone(&file);
                            spawn(class, "endless", async move {
                                loop {
                                    breathe().await;
                                    let _ = disk::sync_dir("/".as_ref()).await;
                                    let _ = call(ShardId(1), || crate::time::sleep(Duration::from_millis(3))).await;
                                    let _ = &file;
                                }
                            });
                        }
                        crate::time::sleep(Duration::from_millis(50)).await;
                    };
                    node.call(ShardId(0), work).await
                });
            }
            drop(sim);
            assert!(
                world.upgrade().is_none(),
                "seed {seed}: something still holds the simulation"
            );
        }
    }
}
