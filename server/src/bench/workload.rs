//! What the workloads share: a new store, its channels, tasks spread over the shards, and what they cost.

use super::probe;
use crate::{
    cli::{self, Sync, Workload},
    failure::{Done, Failure},
    in_flight::join_all,
};
use engine::{Body, Config, ShardStatistics, SyncMode};
use hdrhistogram::Histogram;
use messages::{Local, Messages};
use rand::{Rng, SeedableRng, rngs::SmallRng};
use runtime::{ShardId, TaskClass, time::Instant};
use std::{cell::Cell, future::Future, path::Path, rc::Rc, time::Duration};

/// Channels homed on each shard.
const CHANNELS_PER_SHARD: usize = 64;
/// A periodic sync comes at least this often.
const PERIOD: Duration = Duration::from_millis(500);

/// The configuration of a workload's store.
pub fn config(args: &Workload, dir: &Path) -> Done<Config> {
    let config = Config {
        shards: args.shards.map(usize::from),
        body: args.body.map(|body| match body {
            cli::Body::Uring => Body::Uring,
            cli::Body::Threads => Body::Threads,
        }),
        memtable_bytes: args.memtable_bytes.as_usize(),
        sync: match args.sync {
            Sync::Group => SyncMode::Group,
            Sync::Periodic => SyncMode::Periodic { period: PERIOD },
        },
        // What is measured is how pages are read, not how they are kept: `crowd` measures that.
        hot_page_bytes: 0,
        ..Config::new(dir)
    };
    config.validate().map_err(Failure::usage)?;
    Ok(config)
}

/// Channels whose home is this shard.
pub fn channels_of(messages: &Messages, shard: ShardId) -> Vec<i64> {
    (1..)
        .filter(|channel| messages.home_of(*channel) == shard)
        .take(CHANNELS_PER_SHARD)
        .collect()
}

/// One part of a run, measured.
pub struct Phase {
    /// How long it took.
    pub wall: Duration,
    /// CPU time of the process.
    pub cpu: Duration,
    /// How long each operation took, nanoseconds.
    pub latency_ns: Histogram<u64>,
}

/// What a task of a workload needs.
pub struct Task {
    /// The messages, on the task's shard.
    pub local: Local,
    /// Channels whose home is this shard.
    pub channels: Rc<Vec<i64>>,
    /// Its own random source.
    pub random: SmallRng,
    left: Rc<Cell<u64>>,
    latency_ns: Rc<std::cell::RefCell<Histogram<u64>>>,
}

impl Task {
    /// Takes up to `most` of the operations that are left on this shard; 0 when none is.
    pub fn take(&self, most: u64) -> u64 {
        let taken = self.left.get().min(most);
        self.left.set(self.left.get() - taken);
        taken
    }

    /// One of the shard's channels.
    pub fn channel(&mut self) -> i64 {
        self.channels[self.random.random_range(0..self.channels.len())]
    }

    /// Notes how long an operation took.
    pub fn took(&self, began: Instant) {
        let ns = u64::try_from(began.elapsed().as_nanos()).unwrap_or(u64::MAX);
        self.latency_ns.borrow_mut().saturating_record(ns);
    }
}

/// Of nanoseconds.
pub fn histogram() -> Histogram<u64> {
    Histogram::new_with_bounds(100, 100_000_000_000, 3).expect("constant bounds are legal")
}

/// Runs tasks on all shards until `operations` are done, each shard its part of them, and measures; `after` is part of it.
pub async fn measure<F, Fut>(
    messages: &Messages,
    args: &Workload,
    operations: u64,
    salt: u64,
    task: F,
    after: impl Future<Output = Done>,
) -> Done<Phase>
where
    F: Fn(Task) -> Fut + Copy + Send + 'static,
    Fut: Future<Output = messages::Result<()>> + 'static,
{
    let shards = u64::from(messages.store().shards());
    let part = |total: u64, shard: u64| total * (shard + 1) / shards - total * shard / shards;
    let (cpu, began) = (probe::cpu(), Instant::now());
    let calls = (0..shards).map(|shard| {
        let to = ShardId(shard as u16);
        let (operations, tasks) = (part(operations, shard), part(u64::from(args.writers), shard).max(1));
        let (channels, seed) = (channels_of(messages, to), args.seed ^ (salt << 40) ^ (shard << 20));
        messages.call(to, move |local| async move {
            let (left, latency_ns) = (
                Rc::new(Cell::new(operations)),
                Rc::new(std::cell::RefCell::new(histogram())),
            );
            let channels = Rc::new(channels);
            let running = (0..tasks).map(|number| {
                let (local, channels, left, latency_ns) =
                    (local.clone(), channels.clone(), left.clone(), latency_ns.clone());
                let random = SmallRng::seed_from_u64(seed ^ number);
                runtime::spawn(
                    TaskClass::Request,
                    "bench",
                    task(Task {
                        local,
                        channels,
                        random,
                        left,
                        latency_ns,
                    }),
                )
            });
            for running in running.collect::<Vec<_>>() {
                running.await?;
            }
            Ok(latency_ns.take_histogram())
        })
    });
    let mut latency_ns = histogram();
    for of_shard in join_all(calls).await? {
        latency_ns.add(of_shard).expect("all have the same bounds");
    }
    after.await?;
    Ok(Phase {
        wall: began.elapsed(),
        cpu: probe::cpu() - cpu,
        latency_ns,
    })
}

/// Waits until nothing is left to be compacted.
pub async fn compacted(messages: &Messages) -> Done {
    let store = messages.store();
    let calls =
        (0..store.shards()).map(|shard| store.call(ShardId(shard), |shard| async move { shard.compacted().await }));
    let ended = join_all(calls).await?;
    Ok(ended.into_iter().collect::<engine::Result<()>>()?)
}

trait TakeHistogram {
    fn take_histogram(&self) -> Histogram<u64>;
}

impl TakeHistogram for Rc<std::cell::RefCell<Histogram<u64>>> {
    fn take_histogram(&self) -> Histogram<u64> {
        self.replace(histogram())
    }
}

/// What the shards have done between two moments.
pub struct Difference {
    before: Vec<ShardStatistics>,
}

impl Difference {
    /// From now on; the longest stall is forgotten.
    pub async fn start(messages: &Messages) -> Done<Difference> {
        for shard in 0..messages.store().shards() {
            let reset = |_: Local| async {
                runtime::reset_stall();
                Ok(())
            };
            messages.call(ShardId(shard), reset).await?;
        }
        Ok(Difference {
            before: messages.store().statistics().await?,
        })
    }

    /// Until now: the sum of a figure's growth, and the statistics as they are.
    pub async fn end(self, messages: &Messages) -> Done<Grown> {
        Ok(Grown {
            before: self.before,
            after: messages.store().statistics().await?,
        })
    }
}

/// Two moments compared.
pub struct Grown {
    before: Vec<ShardStatistics>,
    after: Vec<ShardStatistics>,
}

impl Grown {
    /// By how much a figure has grown, all shards together.
    pub fn sum(&self, of: impl Fn(&ShardStatistics) -> u64) -> u64 {
        self.after.iter().map(&of).sum::<u64>() - self.before.iter().map(&of).sum::<u64>()
    }

    /// Mean of the log's synchronous writes, microseconds; none if there were none.
    pub fn odsync_mean_us(&self) -> Option<f64> {
        let count = self.sum(|of| of.log.odsync_us.count);
        (count > 0).then(|| self.sum(|of| of.log.odsync_us.total_us) as f64 / count as f64)
    }

    /// The longest stall, microseconds, and what caused it.
    pub fn stall(&self) -> (u64, &'static str) {
        let longest = self.after.iter().max_by_key(|of| of.runtime.stall_max_us);
        longest.map_or((0, ""), |of| (of.runtime.stall_max_us, of.runtime.stall_max_task))
    }

    /// The longest time that a task has computed, microseconds, and which.
    pub fn computed(&self) -> (u64, &'static str) {
        let longest = self.after.iter().max_by_key(|of| of.runtime.computed_max_us);
        longest.map_or((0, ""), |of| (of.runtime.computed_max_us, of.runtime.computed_max_task))
    }
}
