//! A shard's thread from its first line to its last.
//!
//! 1. Make the executor; connect one channel to and from every other shard, and one from this shard to itself whose
//!    sending end is given to plain threads, to wake the shard with. Report that the shard is there.
//! 2. Serve: one task per channel receives, one empties the inbox, one keeps the wheel's timer.
//! 3. When the node stops, or a task has panicked: refuse further jobs, let every task drop its future, wait for the disk
//!    operations in flight, pass the reactor so that queued closes are submitted, and only then end the executor.

use std::cell::RefCell;
use std::rc::Rc;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use glommio::channels::shared_channel::{ConnectedReceiver, SharedReceiver, SharedSender, new_bounded};
use glommio::{LocalExecutorBuilder, Placement, PoolPlacement};

use super::nudge::{ClearNudge, Nudge};
use super::{Outgoing, Parcel, Shard, Ticker, pass};
use crate::body::Body;
use crate::checks::PATIENCE;
use crate::context::{self, Context};
use crate::cross;
use crate::handle::Stopped;
use crate::node::Node;
use crate::pass::next_pass;
use crate::real::{BATCH, Ending, Ready, Seed, Settings};
use crate::task::TaskClass;

/// Messages that fit into the channel of one ordered pair; more wait on the sender's side.
const CHANNEL_BOUND: usize = 1024;
/// After so long the executor leaves its run loop whatever is runnable. Our turns leave it every 100 us; this only bounds how long
/// the machine may keep the thread off its core before it parks with work to do (see [`Nudge`]). glommio's own 100 ms are too few
/// for a machine with a load of ten: 2 of some 1,500 openings hung there.
const QUANTUM: Duration = Duration::from_secs(1);
/// One shard's ends of the channels, by the number of the other shard.
struct Wiring {
    to: Vec<Option<SharedSender<Parcel>>>,
    from: Vec<Option<SharedReceiver<Parcel>>>,
}

/// The channels between `shards` shards.
fn wire(shards: usize) -> Vec<Wiring> {
    let empty = || Wiring {
        to: (0..shards).map(|_| None).collect(),
        from: (0..shards).map(|_| None).collect(),
    };
    let mut all: Vec<Wiring> = (0..shards).map(|_| empty()).collect();
    for sender in 0..shards {
        for receiver in 0..shards {
            if sender != receiver {
                let (to, from) = new_bounded(CHANNEL_BOUND);
                all[sender].to[receiver] = Some(to);
                all[receiver].from[sender] = Some(from);
            }
        }
    }
    all
}

/// The shards of a node.
pub(crate) fn seeds(shards: usize) -> Vec<Seed> {
    let seed = |wiring| {
        let nudge = Nudge::default();
        let ours = nudge.clone();
        Seed {
            nudge: Box::new(move || ours.nudge()),
            live: Box::new(move |settings, node, ready| run_executor(settings, wiring, nudge, node, ready)),
        }
    };
    wire(shards).into_iter().map(seed).collect()
}

fn run_executor(settings: Settings, wiring: Wiring, nudge: Nudge, node: &Arc<Node>, ready: &Ready) -> Ending {
    let make = || {
        LocalExecutorBuilder::new(settings.cpu.map_or(Placement::Unbound, Placement::Fixed))
            .name(&settings.name)
            .io_memory(settings.io_memory_bytes)
            .spin_before_park(settings.spin_before_park)
            .preempt_timer(QUANTUM)
            // Not on the shard's core, and a long unlink must not hold up a rename.
            .blocking_thread_pool_placement(PoolPlacement::Unbound(2))
            .make()
    };
    let mut executor = make();
    for _ in 0..PATIENCE {
        match &executor {
            Err(error) if error.raw_os_error() == Some(libc::ENOMEM) => std::thread::sleep(Duration::from_millis(10)),
            _ => break,
        }
        executor = make();
    }
    let executor = match executor {
        Ok(executor) => executor,
        Err(error) => {
            // Drops the channels' ends, so that the other shards' connecting ends too.
            drop(wiring);
            let _ = ready.send(Err(format!("shard {} can't be started: {error}", settings.id)));
            return Ending::Stopped;
        }
    };
    let shard = Rc::new(Shard::new(settings.id, Arc::clone(node)));
    let context = Context::new(settings.id, node.shards(), Body::Uring(Rc::clone(&shard)));
    shard.real.set_context(&context);
    let _entered = context::enter(&context);
    // Also if a panic comes out of the executor; before the executor is dropped.
    let _clear = ClearNudge(nudge.clone());
    executor.run(live(Rc::clone(&context), shard, wiring, nudge, ready.clone()))
}

/// The executor's main future: the whole life of the shard.
async fn live(context: Rc<Context>, shard: Rc<Shard>, wiring: Wiring, nudge: Nudge, ready: Ready) -> Ending {
    std::future::poll_fn(|cx| {
        nudge.connecting(cx.waker().clone());
        Poll::Ready(())
    })
    .await;
    let nudged = connect(&context, &shard, wiring, &nudge).await;
    context.spawn_unit(TaskClass::Request, "inbox", take_jobs(Rc::clone(&shard), nudged));
    let ticker = Ticker {
        shard: Rc::clone(&shard),
        context: Rc::clone(&context),
        timer: None,
    };
    context.spawn_unit(TaskClass::Request, "ticker", ticker);
    let _ = ready.send(Ok(()));

    let ending = shard.real.ended().await;

    // A panic has closed it already.
    shard.real.inbox().close(Stopped::Stopped);
    context.close_tasks();
    let mut passes = 0u32;
    while context.tasks.live() > 0 || shard.in_flight.get() > 0 {
        passes += 1;
        if passes < 100 {
            pass().await;
        } else {
            glommio::timer::sleep(Duration::from_millis(1)).await;
        }
        // What was spawned by a destructor.
        context.close_tasks();
    }
    context::clear_root();
    shard.outgoing.borrow_mut().clear();
    nudge.clear();
    // Files that were dropped are closed by the next passes.
    while shard.in_flight.get() > 0 || context.tasks.live() > 0 {
        context.close_tasks();
        pass().await;
    }
    pass().await;
    pass().await;
    ending
}

/// Connects all channels; returns the receiving end of the nudges.
async fn connect(context: &Rc<Context>, shard: &Rc<Shard>, wiring: Wiring, nudge: &Nudge) -> ConnectedReceiver<()> {
    // Each connection waits for its other end, so all are begun before any is awaited.
    let (nudge_to, nudge_from) = new_bounded(16);
    let nudge_to = glommio::spawn_local(nudge_to.connect());
    let nudge_from = glommio::spawn_local(nudge_from.connect());
    let connecting = |channel: Option<SharedSender<Parcel>>| channel.map(|c| glommio::spawn_local(c.connect()));
    let to: Vec<_> = wiring.to.into_iter().map(connecting).collect();
    let connecting = |channel: Option<SharedReceiver<Parcel>>| channel.map(|c| glommio::spawn_local(c.connect()));
    let from: Vec<_> = wiring.from.into_iter().map(connecting).collect();
    for (number, task) in to.into_iter().enumerate() {
        if let Some(task) = task {
            let sender = task.await;
            let outgoing = Outgoing {
                sender,
                overflow: RefCell::default(),
                flushing: false.into(),
            };
            shard.outgoing.borrow_mut()[number] = Some(Rc::new(outgoing));
        }
    }
    for task in from.into_iter().flatten() {
        let receiver = task.await;
        context.spawn_unit(
            TaskClass::Request,
            "messages from another shard",
            take_messages(receiver),
        );
    }
    nudge.set(nudge_to.await);
    nudge_from.await
}

/// Receives from one shard, for the life of both.
async fn take_messages(receiver: ConnectedReceiver<Parcel>) {
    let mut taken = 0;
    while let Some(message) = receiver.recv().await {
        cross::deliver(message.into_inner());
        taken += 1;
        if taken % BATCH == 0 {
            next_pass().await;
        }
    }
}

/// Empties the inbox whenever the shard is nudged, and learns what all shards must learn.
async fn take_jobs(shard: Rc<Shard>, nudged: ConnectedReceiver<()>) {
    let inbox = Arc::clone(shard.real.inbox());
    loop {
        shard.real.look_around(|gone| shard.forget(gone));
        while inbox.drain(BATCH, |job| job()) == BATCH {
            next_pass().await;
        }
        if nudged.recv().await.is_none() {
            return;
        }
    }
}
