//! Counters of one shard.

use std::cell::Cell;

use crate::context;

/// What a shard has done since it started.
#[derive(Clone, Copy, Debug, Default)]
#[non_exhaustive]
pub struct ShardStats {
    /// Reads sent to the device.
    pub device_reads: u64,
    /// Bytes they brought, whole blocks.
    pub read_bytes: u64,
    /// Writes sent to the device.
    pub device_writes: u64,
    /// Bytes they carried.
    pub written_bytes: u64,
    /// Syncs of files and directories (a write to a `dsync` file counts as a write).
    pub syncs: u64,
    /// Passes of the reactor that this shard noticed: those that tasks asked for and those between two tasks.
    pub passes: u64,
    /// Polls of tasks.
    pub polls: u64,
    /// Tasks spawned.
    pub spawned: u64,
    /// Turns given to background tasks.
    pub turns: u64,
    /// Messages sent to other shards, requests and replies.
    pub messages: u64,
    /// Calls to other shards that are under way, those included whose caller is gone and whose answer is not there yet.
    pub calls_under_way: usize,
    /// Jobs taken from the inbox (calls through a `Handle`).
    pub jobs: u64,
    /// Time spent computing for requests, in nanoseconds.
    pub request_ns: u64,
    /// Time spent computing for background classes, in nanoseconds.
    pub background_ns: u64,
    /// The longest time one task kept the shard without giving it back, in microseconds, by the clock: turns that the machine gave
    /// to other threads meanwhile are in it.
    pub stall_max_us: u64,
    /// The name of that task; empty if none has run.
    pub stall_max_task: &'static str,
    /// The longest time one task computed without giving the shard back, in microseconds of the thread's CPU. Above 100, what was
    /// computed in up to 100 us before may be in it.
    pub computed_max_us: u64,
    /// The name of that task; empty if none has run.
    pub computed_max_task: &'static str,
}

/// The counters behind [`ShardStats`], one cell each.
#[derive(Default)]
pub(crate) struct Counters {
    pub(crate) device_reads: Count,
    pub(crate) read_bytes: Count,
    pub(crate) device_writes: Count,
    pub(crate) written_bytes: Count,
    pub(crate) syncs: Count,
    pub(crate) passes: Count,
    pub(crate) polls: Count,
    pub(crate) spawned: Count,
    pub(crate) turns: Count,
    pub(crate) messages: Count,
    pub(crate) jobs: Count,
    pub(crate) request_ns: Count,
    pub(crate) background_ns: Count,
    stall_max: Longest,
    computed_max: Longest,
}

/// The longest of some times, and whose it was.
#[derive(Default)]
struct Longest {
    ns: Cell<u64>,
    task: Cell<&'static str>,
}

impl Longest {
    #[inline]
    fn see(&self, task: &'static str, ns: u64) {
        if ns > self.ns.get() {
            self.ns.set(ns);
            self.task.set(task);
        }
    }

    fn reset(&self) {
        self.ns.set(0);
        self.task.set("");
    }
}

/// One counter.
#[derive(Default)]
pub(crate) struct Count(Cell<u64>);

impl Count {
    #[inline]
    pub(crate) fn add(&self, n: u64) {
        self.0.set(self.0.get() + n);
    }

    #[inline]
    pub(crate) fn get(&self) -> u64 {
        self.0.get()
    }
}

impl Counters {
    /// Notes that `task` kept the shard for `ns`, `cpu_ns` of which it computed.
    #[inline]
    pub(crate) fn kept(&self, task: &'static str, ns: u64, cpu_ns: u64) {
        self.stall_max.see(task, ns);
        self.computed_max.see(task, cpu_ns);
    }

    fn snapshot(&self, calls_under_way: usize) -> ShardStats {
        ShardStats {
            device_reads: self.device_reads.get(),
            read_bytes: self.read_bytes.get(),
            device_writes: self.device_writes.get(),
            written_bytes: self.written_bytes.get(),
            syncs: self.syncs.get(),
            passes: self.passes.get(),
            polls: self.polls.get(),
            spawned: self.spawned.get(),
            turns: self.turns.get(),
            messages: self.messages.get(),
            calls_under_way,
            jobs: self.jobs.get(),
            request_ns: self.request_ns.get(),
            background_ns: self.background_ns.get(),
            stall_max_us: self.stall_max.ns.get() / 1000,
            stall_max_task: self.stall_max.task.get(),
            computed_max_us: self.computed_max.ns.get() / 1000,
            computed_max_task: self.computed_max.task.get(),
        }
    }
}

/// The counters of the current shard.
///
/// # Panics
/// Off-shard.
pub fn stats() -> ShardStats {
    let context = context::current();
    context.counters.snapshot(context.cross.under_way())
}

/// Forgets the longest stall, so that the next one shows.
///
/// # Panics
/// Off-shard.
pub fn reset_stall() {
    let context = context::current();
    context.counters.stall_max.reset();
    context.counters.computed_max.reset();
}
