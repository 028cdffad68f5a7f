//! `bench flush`: durable writes, and pages, while a memtable of a given size is flushed, a snapshot is taken or everything is
//! compacted, beside the same without.
//!
//! Each round fills the memtables, measures the writers alone, then while every shard flushes. What the writers add meanwhile is
//! flushed in the next round. Before a compaction everything is flushed, so that it is the compaction that is measured; each has all
//! rounds before it to read.

use super::{
    figures::{Figures, round},
    workload::{channels_of, config, histogram},
};
use crate::{
    cli,
    failure::{Done, Failure},
    in_flight::join_all,
    output::Format,
    scratch, session,
};
use engine::{Config, Shard};
use hdrhistogram::Histogram;
use messages::{History, Local, Messages, Options};
use rand::{Rng, SeedableRng, rngs::SmallRng};
use runtime::{ShardId, TaskClass, time::Instant};
use std::{
    cell::{Cell, RefCell},
    future::{Future, poll_fn},
    pin::pin,
    rc::Rc,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    task::Poll,
    time::Duration,
};

const ROUNDS: u64 = 3;
/// How long the writers are measured without a flush, each round.
pub(super) const QUIET: Duration = Duration::from_millis(1500);
/// Messages of a page.
const PAGE: usize = 50;
/// Between two pages of a reader.
const READERS_PAUSE: Duration = Duration::from_millis(1);
/// Messages in one write that fills the memtable.
const FILL_BATCH: usize = 500;

/// What one shard measured in a part of a round.
pub(super) struct Part {
    latency_ns: Histogram<u64>,
    pages_ns: Histogram<u64>,
    took: Duration,
    /// Memory of the memtables when it began.
    memtable_bytes: u64,
    /// The log's synchronous writes: how many, and their time together.
    odsync: (u64, u64),
    stall_us: u64,
    stall_task: &'static str,
    computed: (u64, &'static str),
}

/// All rounds and shards together.
pub(super) struct Sum {
    latency_ns: Histogram<u64>,
    pages_ns: Histogram<u64>,
    took: Duration,
    parts: u64,
    memtable_bytes: u64,
    odsync: (u64, u64),
    stall: (u64, &'static str),
    computed: (u64, &'static str),
}

impl Sum {
    pub(super) fn new() -> Sum {
        Sum {
            latency_ns: histogram(),
            pages_ns: histogram(),
            took: Duration::ZERO,
            parts: 0,
            memtable_bytes: 0,
            odsync: (0, 0),
            stall: (0, ""),
            computed: (0, ""),
        }
    }

    pub(super) fn add(&mut self, part: &Part) {
        self.latency_ns.add(&part.latency_ns).expect("all have the same bounds");
        self.pages_ns.add(&part.pages_ns).expect("all have the same bounds");
        self.took += part.took;
        self.parts += 1;
        self.memtable_bytes += part.memtable_bytes;
        self.odsync.0 += part.odsync.0;
        self.odsync.1 += part.odsync.1;
        self.stall = self.stall.max((part.stall_us, part.stall_task));
        self.computed = self.computed.max(part.computed);
    }

    pub(super) fn us(&self, quantile: f64) -> f64 {
        round(self.latency_ns.value_at_quantile(quantile) as f64 / 1000.0)
    }

    pub(super) fn pages_us(&self, quantile: f64) -> f64 {
        round(self.pages_ns.value_at_quantile(quantile) as f64 / 1000.0)
    }

    /// Mean of the log's synchronous writes, microseconds.
    fn odsync_mean_us(&self) -> f64 {
        round(self.odsync.1 as f64 / self.odsync.0.max(1) as f64)
    }

    /// Messages a second, all shards together.
    pub(super) fn per_s(&self, shards: u16) -> f64 {
        round(self.latency_ns.len() as f64 / self.took.as_secs_f64() * f64::from(shards))
    }
}

/// Measures.
pub fn run(bench: cli::BenchFlush, format: Format) -> Done {
    let cli::BenchFlush {
        workload: args,
        readers,
        snapshot,
        compact,
    } = bench;
    let folder = scratch::Folder::new(args.data.as_deref(), "bench")?;
    let flush_bytes = args.memtable_bytes.as_usize();
    let config = config(&args, folder.path())?;
    // Nothing is flushed but by us.
    let config = Config {
        memtable_bytes: flush_bytes.saturating_mul(8),
        log_bytes_max: (flush_bytes as u64).saturating_mul(32).max(config.log_bytes_max),
        ..config
    };
    config.validate().map_err(Failure::usage)?;
    let figures = session::with_config(config, Options::default(), async |messages| {
        let (mut quiet, mut flushing) = (Sum::new(), Sum::new());
        for number in 0..ROUNDS {
            let fill = move |on: Writers| async move { on.fill(flush_bytes).await };
            on_all(&messages, (&args, readers), number, fill).await?;
            let alone = |on: Writers| async move { on.measure(runtime::time::sleep(QUIET)).await };
            let parts = on_all(&messages, (&args, readers), number, alone).await?;
            parts.iter().for_each(|part| quiet.add(part));
            let flush = |on: Writers| async move {
                let shard = Rc::clone(&on.shard);
                let mut flushed = Ok(());
                let part = on.measure(async { flushed = shard.flush().await }).await?;
                flushed?;
                Ok(part)
            };
            let of = (&args, readers);
            let store = messages.store();
            let parts = if snapshot {
                let snapshot = async {
                    store.snapshot(&format!("round-{number}")).await?;
                    Ok(())
                };
                during(&messages, of, number, snapshot).await?
            } else if compact {
                store.flush().await?;
                during(&messages, of, number, store.compact(None)).await?
            } else {
                on_all(&messages, of, number, flush).await?
            };
            parts.iter().for_each(|part| flushing.add(part));
        }
        let shards = messages.store().shards();
        let mut figures = Figures::bare("flush", &args, ("messages", flushing.latency_ns.len()), shards);
        figures.put("per_s", flushing.per_s(shards));
        figures.put("p50_us", flushing.us(0.5));
        figures.put("p99_us", flushing.us(0.99));
        figures.put("max_us", flushing.us(1.0));
        figures.put("odsync_mean_us", flushing.odsync_mean_us());
        figures.put("stall_max_us", flushing.stall.0);
        figures.put("stall_max_task", flushing.stall.1);
        figures.put("computed_max_us", flushing.computed.0);
        figures.put("computed_max_task", flushing.computed.1);
        figures.put("quiet_per_s", quiet.per_s(shards));
        figures.put("quiet_p50_us", quiet.us(0.5));
        figures.put("quiet_p99_us", quiet.us(0.99));
        figures.put("quiet_max_us", quiet.us(1.0));
        figures.put("quiet_odsync_mean_us", quiet.odsync_mean_us());
        figures.put("quiet_stall_max_us", quiet.stall.0);
        figures.put("quiet_stall_max_task", quiet.stall.1);
        figures.put("quiet_computed_max_us", quiet.computed.0);
        figures.put("quiet_computed_max_task", quiet.computed.1);
        figures.put("p99_ratio", round(flushing.us(0.99) / quiet.us(0.99)));
        if readers > 0 {
            figures.put("readers", readers);
            figures.put("pages", flushing.pages_ns.len());
            figures.put("pages_p50_us", flushing.pages_us(0.5));
            figures.put("pages_p99_us", flushing.pages_us(0.99));
            figures.put("quiet_pages_p50_us", quiet.pages_us(0.5));
            figures.put("quiet_pages_p99_us", quiet.pages_us(0.99));
            figures.put("pages_p99_ratio", round(flushing.pages_us(0.99) / quiet.pages_us(0.99)));
        }
        figures.put("snapshot", snapshot);
        figures.put("compact", compact);
        figures.put("flushes", flushing.parts);
        figures.put("flush_bytes", flushing.memtable_bytes / flushing.parts);
        let flush_ms = flushing.took.as_secs_f64() * 1000.0 / flushing.parts as f64;
        figures.put("flush_ms", round(flush_ms));
        Ok(figures)
    })?;
    figures.tell(format)
}

/// Measures on every shard until `work` is done.
async fn during(
    messages: &Messages,
    of: (&cli::Workload, u32),
    number: u64,
    work: impl Future<Output = engine::Result<()>>,
) -> Done<Vec<Part>> {
    let done = Arc::new(AtomicBool::new(false));
    let until = Arc::clone(&done);
    let measure = move |on: Writers| {
        let until = Arc::clone(&until);
        async move {
            let done = async {
                while !until.load(Ordering::Acquire) {
                    runtime::time::sleep(Duration::from_millis(1)).await;
                }
            };
            on.measure(done).await
        }
    };
    let mut measured = pin!(on_all(messages, of, number, measure));
    let mut work = pin!(work);
    let mut result = None;
    poll_fn(|context| {
        if result.is_none()
            && let Poll::Ready(ended) = work.as_mut().poll(context)
        {
            result = Some(ended);
            done.store(true, Ordering::Release);
        }
        measured.as_mut().poll(context)
    })
    .await
    .and_then(|parts| {
        result.expect("the shards wait for it")?;
        Ok(parts)
    })
}

/// Runs `f` on every shard at the same time.
pub(super) async fn on_all<R, F, Fut>(
    messages: &Messages,
    (args, readers): (&cli::Workload, u32),
    number: u64,
    f: F,
) -> Done<Vec<R>>
where
    F: FnOnce(Writers) -> Fut + Clone + Send + 'static,
    Fut: Future<Output = messages::Result<R>> + 'static,
    R: Send + 'static,
{
    let shards = messages.store().shards();
    let calls = (0..shards).map(|shard| {
        let f = f.clone();
        let channels = channels_of(messages, ShardId(shard));
        let (content_bytes, writers) = (args.content_bytes.as_usize(), args.writers / u32::from(shards));
        let seed = args.seed ^ (number << 40) ^ (u64::from(shard) << 20);
        let messages = messages.clone();
        let store = messages.store().clone();
        let nth = shard;
        store.call(ShardId(shard), move |shard| {
            f(Writers {
                local: messages.on(Rc::clone(&shard)),
                shard,
                channels: Rc::new(channels),
                content_bytes,
                count: u64::from(writers.max(1)),
                readers: u64::from(share(readers, shards, nth)),
                seed,
            })
        })
    });
    let results = join_all(calls).await?;
    Ok(results.into_iter().collect::<messages::Result<_>>()?)
}

/// How many of so many things this shard gets, when all are dealt out.
fn share(of: u32, shards: u16, nth: u16) -> u32 {
    let (each, left) = (of / u32::from(shards), of % u32::from(shards));
    each + u32::from(u32::from(nth) < left)
}

/// The writers of one shard.
pub(super) struct Writers {
    shard: Rc<Shard>,
    local: Local,
    channels: Rc<Vec<i64>>,
    content_bytes: usize,
    count: u64,
    readers: u64,
    seed: u64,
}

impl Writers {
    /// Sends in batches until the shard's memtables have this much.
    async fn fill(self, bytes: usize) -> messages::Result<()> {
        let mut random = SmallRng::seed_from_u64(self.seed);
        while self.shard.statistics().memtable_bytes < bytes as u64 {
            let channel = self.channels[random.random_range(0..self.channels.len())];
            let contents = (0..FILL_BATCH).map(|author| (author as i64, content(&mut random, self.content_bytes)));
            self.local.send_many(channel, contents.collect()).await?;
        }
        Ok(())
    }

    /// The writers at work, until `meanwhile` is done.
    pub(super) async fn measure(self, meanwhile: impl Future<Output = ()>) -> messages::Result<Part> {
        let at_work = Rc::new(Cell::new(true));
        let latency_ns = Rc::new(RefCell::new(histogram()));
        runtime::reset_stall();
        let before = self.shard.statistics();
        let began = Instant::now();
        let running = (0..self.count).map(|number| {
            let (local, channels) = (self.local.clone(), Rc::clone(&self.channels));
            let (at_work, latency_ns) = (Rc::clone(&at_work), Rc::clone(&latency_ns));
            let (content_bytes, mut random) = (self.content_bytes, SmallRng::seed_from_u64(self.seed ^ number));
            runtime::spawn(TaskClass::Request, "bench", async move {
                while at_work.get() {
                    let channel = channels[random.random_range(0..channels.len())];
                    let content = content(&mut random, content_bytes);
                    let began = Instant::now();
                    local.send(channel, 1, content).await?;
                    let ns = u64::try_from(began.elapsed().as_nanos()).unwrap_or(u64::MAX);
                    latency_ns.borrow_mut().saturating_record(ns);
                }
                Ok::<(), messages::Error>(())
            })
        });
        let mut running: Vec<_> = running.collect();
        let pages_ns = Rc::new(RefCell::new(histogram()));
        running.extend((0..self.readers).map(|number| {
            let (local, channels) = (self.local.clone(), Rc::clone(&self.channels));
            let (at_work, pages_ns) = (Rc::clone(&at_work), Rc::clone(&pages_ns));
            let mut random = SmallRng::seed_from_u64(self.seed ^ number ^ (1 << 60));
            runtime::spawn(TaskClass::Request, "bench pages", async move {
                while at_work.get() {
                    let channel = channels[random.random_range(0..channels.len())];
                    let began = Instant::now();
                    local.history(channel, History::newest(PAGE)).await?;
                    let ns = u64::try_from(began.elapsed().as_nanos()).unwrap_or(u64::MAX);
                    pages_ns.borrow_mut().saturating_record(ns);
                    runtime::time::sleep(READERS_PAUSE).await;
                }
                Ok::<(), messages::Error>(())
            })
        }));
        meanwhile.await;
        let took = began.elapsed();
        at_work.set(false);
        for running in running {
            running.await?;
        }
        let stats = runtime::stats();
        let log = self.shard.statistics().log.odsync_us;
        Ok(Part {
            latency_ns: latency_ns.replace(histogram()),
            pages_ns: pages_ns.replace(histogram()),
            took,
            memtable_bytes: before.memtable_bytes,
            odsync: (
                log.count - before.log.odsync_us.count,
                log.total_us - before.log.odsync_us.total_us,
            ),
            stall_us: stats.stall_max_us,
            stall_task: stats.stall_max_task,
            computed: (stats.computed_max_us, stats.computed_max_task),
        })
    }
}

/// Letters, as little compressible as letters are.
fn content(random: &mut SmallRng, bytes: usize) -> String {
    (0..bytes.div_ceil(8))
        .flat_map(|_| random.random::<u64>().to_le_bytes())
        .take(bytes)
        .map(|byte| char::from(b'a' + byte % 26))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::share;

    /// Found in review: one reader for two shards was none, and the ratio of its pages empty.
    #[test]
    fn all_are_dealt_out() {
        for (of, shards, shares) in [
            (0, 2, &[0, 0][..]),
            (1, 2, &[1, 0]),
            (16, 3, &[6, 5, 5]),
            (4, 4, &[1, 1, 1, 1]),
        ] {
            let dealt: Vec<u32> = (0..shards).map(|nth| share(of, shards, nth)).collect();
            assert_eq!(dealt, shares, "{of} among {shards}");
        }
    }
}
