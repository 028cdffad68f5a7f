//! The threads beside a shard that may block: a few per kind of work, started when they are first needed.
//!
//! Each kind has a lane of its own with a bound of its own, and there are as many threads as all bounds together: so a long
//! unlink holds up no rename, compaction no read, and a burst of reads not the log.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::thread::{self, JoinHandle};

use parking_lot::{Condvar, Mutex};

use super::front::Front;
use super::op::{Ended, Op};
use crate::checks;

/// A kind of work.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Lane {
    /// Requests and the log: writes, syncs, opening, closing.
    Urgent,
    /// Reads of requests.
    Reads,
    Flush,
    Compaction,
    Maintenance,
    /// Names: rename, link, remove, listing.
    Names,
}

/// Operations of each lane that run at the same time.
const RUNNING_MAX: [usize; 6] = [4, 10, 3, 3, 2, 2];
/// Threads of one shard.
pub(super) const THREADS_MAX: usize = {
    let [a, b, c, d, e, f] = RUNNING_MAX;
    a + b + c + d + e + f
};
/// They only call the kernel.
pub(super) const STACK_BYTES: usize = 256 << 10;

struct Job {
    slot: u32,
    op: Op,
}

#[derive(Default)]
struct State {
    /// Bounded by what the shard lets be in flight.
    waiting: [VecDeque<Job>; RUNNING_MAX.len()],
    running: [usize; RUNNING_MAX.len()],
    /// Threads that wait for work.
    idle: usize,
    closing: bool,
}

impl State {
    /// How many jobs could start now.
    fn startable(&self) -> usize {
        let lanes = self.waiting.iter().zip(self.running).zip(RUNNING_MAX);
        lanes
            .map(|((waiting, running), max)| waiting.len().min(max - running))
            .sum()
    }

    /// The next job, and its lane.
    fn next(&mut self) -> Option<(usize, Job)> {
        for (lane, max) in RUNNING_MAX.into_iter().enumerate() {
            if self.running[lane] < max
                && let Some(job) = self.waiting[lane].pop_front()
            {
                self.running[lane] += 1;
                return Some((lane, job));
            }
        }
        None
    }
}

struct Shared {
    state: Mutex<State>,
    work: Condvar,
    front: Arc<Front>,
    /// Where the threads may run: not only on the shard's processor.
    cpus: Vec<usize>,
}

/// The threads beside one shard.
pub(super) struct Pool {
    shared: Arc<Shared>,
    closed: Cell<bool>,
    threads: RefCell<Vec<JoinHandle<()>>>,
    name: String,
}

impl Pool {
    /// A pool with its first thread.
    pub(super) fn start(name: &str, front: Arc<Front>, cpus: Vec<usize>) -> io::Result<Pool> {
        let pool = Pool {
            shared: Arc::new(Shared {
                state: Mutex::default(),
                work: Condvar::new(),
                front,
                cpus,
            }),
            closed: Cell::new(false),
            threads: RefCell::default(),
            name: name.to_owned(),
        };
        pool.add_thread()?;
        Ok(pool)
    }

    /// What a thread beside the shard is called.
    pub(super) fn name_beside(&self, kind: &str) -> String {
        format!("{}-{kind}", self.name)
    }

    /// Where threads beside the shard may run.
    pub(super) fn cpus(&self) -> &[usize] {
        &self.shared.cpus
    }

    fn add_thread(&self) -> io::Result<()> {
        let shared = Arc::clone(&self.shared);
        let thread = thread::Builder::new()
            .name(self.name_beside("io"))
            .stack_size(STACK_BYTES);
        let thread = thread.spawn(move || work(&shared))?;
        self.threads.borrow_mut().push(thread);
        Ok(())
    }

    /// Runs the operation; the shard's front hears of its end under `slot`.
    pub(super) fn submit(&self, lane: Lane, slot: u32, op: Op) {
        assert!(!self.is_closed(), "an operation after the end of the shard");
        let short = {
            let mut state = self.shared.state.lock();
            state.waiting[lane as usize].push_back(Job { slot, op });
            state.startable() > state.idle
        };
        let threads = self.threads.borrow().len();
        // Without a further thread the ones that are there come to it in time.
        if !short || threads == THREADS_MAX || self.add_thread().is_err() {
            self.shared.work.notify_one();
        }
    }

    /// Whether nothing can be asked for any more.
    pub(super) fn is_closed(&self) -> bool {
        self.closed.get()
    }

    /// Lets the threads finish what was asked for, and joins them.
    pub(super) fn close(&self) {
        self.closed.set(true);
        self.shared.state.lock().closing = true;
        self.shared.work.notify_all();
        for thread in self.threads.take() {
            // What it runs can't panic outside of its own catch.
            let _ = thread.join();
        }
    }
}

impl Drop for Pool {
    fn drop(&mut self) {
        self.close();
    }
}

/// The life of a thread.
fn work(shared: &Shared) {
    checks::run_on(&shared.cpus);
    let mut ran = None;
    loop {
        let (lane, Job { slot, op }) = {
            let mut state = shared.state.lock();
            if let Some(lane) = ran.take() {
                state.running[lane] -= 1;
            }
            loop {
                if let Some((lane, job)) = state.next() {
                    break (lane, job);
                }
                if state.closing {
                    return;
                }
                state.idle += 1;
                shared.work.wait(&mut state);
                state.idle -= 1;
            }
        };
        ran = Some(lane);
        let result = catch_unwind(AssertUnwindSafe(|| op.run()));
        shared.front.ended(Ended { slot, result });
    }
}
