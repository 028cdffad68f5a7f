//! A shard's thread from its first line to its last.
//!
//! 1. Start the pool with its first thread. Report that the shard is there.
//! 2. Serve: pass, poll what is runnable, sleep if nothing is. One task empties the inbox, one takes messages in.
//! 3. When the node stops, or a task has panicked: refuse further jobs, let every task drop its future, wait for the disk
//!    operations in flight, and only then join the pool's threads.

use std::rc::Rc;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use super::Shard;
use super::front::Front;
use super::pool::Pool;
use crate::body::Body;
use crate::checks;
use crate::context::{self, Context};
use crate::cross;
use crate::handle::Stopped;
use crate::node::Node;
use crate::pass::next_pass;
use crate::real::{BATCH, Ending, Ready, RealShard, Seed, Settings};
use crate::slots::Slots;
use crate::task::TaskClass;
use crate::time::real_monotonic_ns;

/// The shards of a node.
pub(crate) fn seeds(shards: usize) -> Vec<Seed> {
    let fronts: Arc<[Arc<Front>]> = (0..shards).map(|_| Arc::new(Front::new(shards))).collect();
    let seed = |number: usize| {
        let front = Arc::clone(&fronts[number]);
        let fronts = Arc::clone(&fronts);
        Seed {
            nudge: Box::new(move || front.nudge()),
            live: Box::new(move |settings, node, ready| live(&settings, fronts, node, ready)),
        }
    };
    (0..shards).map(seed).collect()
}

/// The whole life of a shard.
fn live(settings: &Settings, fronts: Arc<[Arc<Front>]>, node: &Arc<Node>, ready: &Ready) -> Ending {
    let id = settings.id;
    let front = &fronts[usize::from(id.0)];
    front.attach();
    let cpus = checks::cpus();
    if let Some(cpu) = settings.cpu {
        checks::run_on(&[cpu]);
    }
    let pool = match Pool::start(&settings.name, Arc::clone(front), cpus) {
        Ok(pool) => pool,
        Err(error) => {
            let _ = ready.send(Err(format!("a thread beside shard {id} can't be started: {error}")));
            return Ending::Stopped;
        }
    };
    let real = RealShard::new(id, Arc::clone(node));
    let shard = Rc::new(Shard::new(real, settings.direct_io, Arc::clone(&fronts), pool));
    let context = Context::new(id, node.shards(), Body::Threads(Rc::clone(&shard)));
    shard.real.set_context(&context);
    let _entered = context::enter(&context);
    let _end = End(Rc::clone(&shard));
    context.spawn_unit(TaskClass::Request, "inbox", take_jobs(Rc::clone(&shard)));
    context.spawn_unit(
        TaskClass::Request,
        "messages from other shards",
        take_messages(Rc::clone(&shard)),
    );
    let _ = ready.send(Ok(()));

    let spin = settings.spin_before_park;
    let ending = loop {
        shard.turn(&context);
        if let Some(ending) = shard.real.ending() {
            break ending;
        }
        shard.rest(spin);
    };

    // A panic has closed it already.
    shard.real.inbox().close(Stopped::Stopped);
    context.close_tasks();
    shard.finish(&context);
    context::clear_root();
    // Files that the root held are being closed.
    shard.finish(&context);
    drop(shard.front().close());
    shard.incoming.borrow_mut().messages.clear();
    shard.finish(&context);
    ending
}

impl Shard {
    fn turn(&self, context: &Context) {
        self.make_pass(context);
        self.run_tasks(context);
    }

    /// Sleeps if there is nothing to do, after looking for something for as long as `spin`.
    fn rest(&self, spin: Duration) {
        if !self.is_idle() {
            return;
        }
        if !spin.is_zero() {
            let end = real_monotonic_ns() + u64::try_from(spin.as_nanos()).unwrap_or(u64::MAX);
            while real_monotonic_ns() < end {
                if self.front().has_left() {
                    return;
                }
                std::hint::spin_loop();
            }
        }
        let armed = self.armed.get();
        let longest = (armed != u64::MAX).then(|| Duration::from_nanos(armed.saturating_sub(real_monotonic_ns())));
        self.front().sleep(longest);
    }

    /// Works on until no task is left and no operation is in flight.
    fn finish(&self, context: &Context) {
        loop {
            self.turn(context);
            if context.tasks.live() > 0 {
                // What was spawned by a destructor.
                context.close_tasks();
            } else if self.flights.borrow().in_flight() == 0 {
                return;
            } else {
                self.rest(Duration::ZERO);
            }
        }
    }
}

/// Takes in the messages of other shards, for the life of the shard.
async fn take_messages(shard: Rc<Shard>) {
    let mut taken = 0;
    loop {
        let next = shard.incoming.borrow_mut().messages.pop_front();
        if let Some(message) = next {
            cross::deliver(message);
            taken += 1;
            if taken % BATCH == 0 {
                next_pass().await;
            }
            continue;
        }
        std::future::poll_fn(|cx| {
            if !shard.incoming.borrow().messages.is_empty() {
                return Poll::Ready(());
            }
            shard.messages_waker.set(Some(cx.waker().clone()));
            Poll::Pending
        })
        .await;
    }
}

/// Empties the inbox whenever the shard is nudged, and learns what all shards must learn.
async fn take_jobs(shard: Rc<Shard>) {
    let inbox = Arc::clone(shard.real.inbox());
    loop {
        shard.real.look_around(|_| ());
        while inbox.drain(BATCH, |job| job()) == BATCH {
            next_pass().await;
        }
        // A nudge that came while this waited for a pass counts.
        std::future::poll_fn(|cx| {
            if shard.nudged.replace(false) {
                return Poll::Ready(());
            }
            shard.inbox_waker.set(Some(cx.waker().clone()));
            Poll::Pending
        })
        .await;
    }
}

/// Ends a shard's tasks and threads however its thread gets there.
struct End(Rc<Shard>);

impl Drop for End {
    fn drop(&mut self) {
        // None, unless a panic came out of the loop. They hold the shard that holds them.
        let front = Arc::clone(&self.0.fronts[usize::from(self.0.real.id.0)]);
        let tasks = self.0.tasks.replace(Slots::new(front));
        drop(tasks);
        let watcher = self.0.watcher.take();
        drop(watcher);
        self.0.pool.close();
    }
}
