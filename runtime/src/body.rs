//! One branch per operation: a real body or the simulator's.

use std::future::Future;
use std::io;
use std::rc::Rc;

use crate::context::ShardId;
use crate::cross::Message;
use crate::net::Net;
use crate::sim;
use crate::threads;
use crate::uring;

/// What a shard runs on.
pub(crate) enum Body {
    /// glommio: a thread with io_uring.
    Uring(Rc<uring::Shard>),
    /// Plain threads that read and write beside a small executor.
    Threads(Rc<threads::Shard>),
    /// The simulator: one of several shards on one thread, with virtual time.
    Sim(Rc<sim::Shard>),
}

impl Body {
    #[inline]
    pub(crate) fn now_ns(&self) -> u64 {
        match self {
            Body::Uring(_) | Body::Threads(_) => crate::time::real_monotonic_ns(),
            Body::Sim(shard) => shard.now_ns(),
        }
    }

    /// CPU time of the shard's thread; virtual in a simulation.
    pub(crate) fn cpu_ns(&self) -> u64 {
        match self {
            Body::Uring(_) | Body::Threads(_) => crate::time::real_thread_cpu_ns(),
            Body::Sim(shard) => shard.now_ns(),
        }
    }

    pub(crate) fn unix_micros(&self) -> i64 {
        match self {
            Body::Uring(_) | Body::Threads(_) => crate::time::real_unix_micros(),
            Body::Sim(shard) => shard.unix_micros(),
        }
    }

    pub(crate) fn random_u64(&self) -> u64 {
        match self {
            Body::Uring(shard) => shard.real.random_u64(),
            Body::Threads(shard) => shard.real.random_u64(),
            Body::Sim(shard) => shard.random_u64(),
        }
    }

    /// Starts a future that is already wrapped by [`crate::task`]; it is first polled later, not within this call.
    pub(crate) fn spawn(&self, name: &'static str, future: impl Future<Output = ()> + 'static) {
        match self {
            Body::Uring(shard) => shard.spawn(future),
            Body::Threads(shard) => shard.spawn(name, Box::pin(future)),
            Body::Sim(shard) => shard.spawn(name, Box::pin(future)),
        }
    }

    /// Lets the reactor (or the simulator's scheduler) have its way once.
    pub(crate) async fn pass(&self) {
        match self {
            Body::Uring(_) => uring::pass().await,
            Body::Threads(shard) => shard.pass().await,
            Body::Sim(shard) => shard.pass().await,
        }
    }

    /// Asks for [`crate::context::Context::on_time`] at `deadline_ns`; replaces what was asked before.
    pub(crate) fn arm(&self, deadline_ns: u64) {
        match self {
            Body::Uring(shard) => shard.arm(deadline_ns),
            Body::Threads(shard) => shard.arm(deadline_ns),
            Body::Sim(shard) => shard.arm(deadline_ns),
        }
    }

    /// Sends a message to another shard. First in, first out between two shards.
    pub(crate) fn send(&self, to: ShardId, message: Message) {
        match self {
            Body::Uring(shard) => shard.send(to, message),
            Body::Threads(shard) => shard.send(to, message),
            Body::Sim(shard) => shard.send(to, Box::new(move || crate::cross::deliver(message))),
        }
    }

    /// Whether the reactor was passed since the last question, other than by [`Body::pass`].
    #[inline]
    pub(crate) fn passed_meanwhile(&self, last_ns: u64, now_ns: u64) -> bool {
        match self {
            Body::Uring(_) => uring::passed_meanwhile(),
            Body::Threads(shard) => shard.passed_meanwhile(),
            // The scheduler moves time only between polls.
            Body::Sim(_) => now_ns > last_ns,
        }
    }

    /// Whether [`Body::pass`] is a pass in itself; the reactor's are seen by [`Body::passed_meanwhile`].
    pub(crate) fn passes_by_itself(&self) -> bool {
        matches!(self, Body::Sim(_))
    }

    /// The cost of one breath. In the simulator it takes virtual time and, on a seeded coin, asks for a pass early.
    #[inline]
    pub(crate) fn breath(&self) -> bool {
        match self {
            Body::Uring(_) | Body::Threads(_) => false,
            Body::Sim(shard) => {
                shard.charge(5_000);
                shard.random_u64() % 8 == 0
            }
        }
    }
}

impl Body {
    /// The shard's sockets.
    pub(crate) fn net(&self) -> io::Result<Rc<Net>> {
        match self {
            Body::Uring(shard) => shard.net(),
            Body::Threads(shard) => shard.net(),
            Body::Sim(_) => Err(io::Error::new(
                io::ErrorKind::Unsupported,
                "the simulator has no network; drive sessions directly",
            )),
        }
    }

    /// Whether this shard will never answer again, and why.
    pub(crate) fn is_gone(&self, shard: ShardId) -> Option<crate::handle::Stopped> {
        match self {
            Body::Uring(body) => body.real.is_gone(shard),
            Body::Threads(body) => body.real.is_gone(shard),
            Body::Sim(_) => None,
        }
    }

    /// A task's panic: ends the shard, or in the simulator the whole run, with the test that drives it.
    pub(crate) fn panicked(&self, task: &'static str, payload: Box<dyn std::any::Any + Send>) {
        match self {
            Body::Uring(shard) => shard.real.panicked(task, &*payload),
            Body::Threads(shard) => shard.real.panicked(task, &*payload),
            Body::Sim(_) => std::panic::resume_unwind(payload),
        }
    }
}
