//! `bench compaction`: weeks of a skewed load, and what a strategy writes and keeps for it.
//!
//! 1. *Load*: groups of messages to channels chosen by Zipf's law, while the store's clock runs through the days; some messages are
//!    imported late.
//! 2. *Changes*: some messages, chosen evenly, are edited or deleted within the day that follows.
//! 3. *Rest*: two hours pass, so that deletions have had their grace, and compaction comes to its end.
//!
//! *Write amplification* is what was written to the device for a byte of a user: content and 16 bytes of ids, edits included. *Space
//! amplification* is what the table files take, those included that are being written, for a byte that would be enough: as many as the
//! flushes have written for each message, times the messages that are left.

use super::{
    figures::{Figures, round},
    probe,
    workload::{Difference, compacted, config},
};
use crate::{
    cli::{self, Strategy},
    failure::{Done, Failure},
    in_flight::join_all,
    output::Format,
    progress, scratch, session,
};
use engine::{CompactionKind, Read, ShardStatistics};
use messages::{Import, Messages, Options, Window, import_id};
use model::Alteration;
use plotters::prelude::*;
use rand::{Rng, SeedableRng, distr::weighted::WeightedIndex, prelude::Distribution, rngs::SmallRng};
use runtime::{ShardId, TaskClass, time};
use std::{
    cell::{Cell, RefCell},
    collections::BTreeMap,
    path::Path,
    rc::Rc,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

const DAY_MS: f64 = 86_400_000.0;
/// The clock goes on this often during the load.
const STEPS_PER_DAY: u64 = 24;
/// Bytes of a message beside its content: its id and its author's.
const ID_BYTES: u64 = 16;
/// Moments at which the figures are taken for the plot, and the space is measured.
const SAMPLES: u64 = 400;
/// Channels of which a cold page is read.
const COLD_PAGES: usize = 200;

/// What the tasks of one part of the run share, all shards together.
struct Part {
    /// Messages, or changes, to be made.
    total: u64,
    done: AtomicU64,
    /// The clock when it begins, and how long it lasts.
    begins_ms: f64,
    lasts_ms: f64,
}

impl Part {
    fn new(total: u64, begins_ms: f64, lasts_ms: f64) -> Arc<Part> {
        Arc::new(Part {
            total,
            done: AtomicU64::new(0),
            begins_ms,
            lasts_ms,
        })
    }

    /// How far the clock is ahead, milliseconds: in whole steps.
    fn ahead_ms(&self, done: u64) -> f64 {
        let steps = (self.lasts_ms / DAY_MS * STEPS_PER_DAY as f64).max(1.0);
        let part = done as f64 / self.total.max(1) as f64;
        self.begins_ms + (part * steps).floor() / steps * self.lasts_ms
    }

    /// Takes up to `most` and sets the clock; 0 at the end.
    fn take(&self, most: u64) -> u64 {
        let before = self.done.fetch_add(most, Ordering::Relaxed);
        time::set_ahead(Duration::from_secs_f64(self.ahead_ms(before.min(self.total)) / 1000.0));
        self.total.saturating_sub(before).min(most)
    }
}

/// What was measured at one moment.
#[derive(Clone, Default)]
struct Sample {
    day: f64,
    user_bytes: u64,
    log_bytes: u64,
    flush_bytes: u64,
    by_kind: BTreeMap<CompactionKind, u64>,
    table_bytes: u64,
    stall_max_us: u64,
}

impl Sample {
    fn compaction_bytes(&self) -> u64 {
        self.by_kind.values().sum()
    }

    fn write_amplification(&self) -> f64 {
        ratio(
            self.log_bytes + self.flush_bytes + self.compaction_bytes(),
            self.user_bytes,
        )
    }
}

fn ratio(of: u64, to: u64) -> f64 {
    of as f64 / to.max(1) as f64
}

/// Runs and measures.
pub fn run(args: cli::BenchCompaction, format: Format) -> Done {
    let workload = &args.workload;
    let folder = scratch::Folder::new(workload.data.as_deref(), "bench")?;
    let mut config = config(workload, folder.path())?;
    config.compaction = args.strategy != Strategy::None;
    let window = Window::from_hours(args.epoch_hours).map_err(|error| Failure::usage(error.to_string()))?;
    let options = Options {
        window: Some(window),
        ..Options::default()
    };
    let tables = folder.path().join("tables");
    let again = config.clone();
    let (mut figures, samples, written) = session::with_config(config, options, async |messages| {
        set_strategy(&messages, args.strategy).await?;
        let run = Run {
            messages: &messages,
            args: &args,
            tables: &tables,
            user_bytes: Arc::default(),
            present: Arc::default(),
            samples: RefCell::default(),
            largest: Cell::default(),
        };
        run.whole().await
    })?;
    // With nothing in memory.
    let (files, blocks) = session::with_config(again, options, async |messages| {
        cold_pages(&messages, args.epoch_hours, &written).await
    })?;
    figures.put("cold_page_sstables", round(files));
    figures.put("cold_page_data_blocks", round(blocks));
    if let Some(file) = &args.plot {
        plot(file, &args, &samples)?;
    }
    figures.tell(format)
}

async fn set_strategy(messages: &Messages, strategy: Strategy) -> Done {
    let class = match strategy {
        Strategy::SizeTiered => "SizeTieredCompactionStrategy",
        Strategy::TimeWindow => "TimeWindowCompactionStrategy",
        Strategy::TimeTiered | Strategy::None => return Ok(()),
    };
    let store = messages.store();
    let schema = store.table("messages", "messages").expect("opening it made its tables");
    let mut options = schema.options.clone();
    options.compaction = BTreeMap::from([("class".to_owned(), class.to_owned())]);
    store
        .alter_table("messages", "messages", vec![Alteration::Options(options)])
        .await?;
    Ok(())
}

struct Run<'a> {
    messages: &'a Messages,
    args: &'a cli::BenchCompaction,
    tables: &'a Path,
    user_bytes: Arc<AtomicU64>,
    /// Messages that are there.
    present: Arc<AtomicU64>,
    samples: RefCell<Vec<Sample>>,
    /// The table files' bytes at most since changes began, and the messages then.
    largest: Cell<(u64, u64)>,
}

impl Run<'_> {
    async fn whole(&self) -> Done<(Figures, Vec<Sample>, Arc<Vec<Vec<Written>>>)> {
        let (args, workload) = (self.args, &self.args.workload);
        let shards = self.messages.store().shards();
        let difference = Difference::start(self.messages).await?;
        let (cpu, began) = (probe::cpu(), time::Instant::now());
        let load_ms = f64::from(args.days) * DAY_MS;
        let load = Part::new(workload.messages, 0.0, load_ms);
        let written = self.part("load", &load, shards, write).await?;
        let (cpu_load, wall_load) = (probe::cpu() - cpu, began.elapsed());
        self.messages.store().flush().await?;
        let flushed: u64 = self.statistics().await?.iter().map(|of| of.flushed_bytes).sum();
        let message_bytes = ratio(flushed, workload.messages);
        let settled_peak = self.peak(message_bytes);
        let changes = Part::new(workload.messages * u64::from(args.changed) / 100, load_ms, DAY_MS);
        let written: Arc<Vec<Vec<Written>>> = Arc::new(written);
        let change = {
            let written = Arc::clone(&written);
            move |task: Task| change(task, Arc::clone(&written))
        };
        self.part("changes", &changes, shards, change).await?;
        self.messages.store().flush().await?;
        // Twice: what comes due by the first is done by the second.
        for hours in [2, 4] {
            time::set_ahead(Duration::from_secs_f64((load_ms + DAY_MS) / 1000.0) + Duration::from_secs(hours * 3600));
            if args.strategy != Strategy::None {
                self.settle().await?;
            }
        }
        let (cpu, wall) = (probe::cpu() - cpu, began.elapsed());
        let grown = difference.end(self.messages).await?;
        let last = self.sample((load_ms + DAY_MS) / DAY_MS).await?;
        let messages_left = self.present.load(Ordering::Relaxed);
        let enough = message_bytes * messages_left as f64;
        let mut figures = Figures::bare("compaction", workload, ("messages", workload.messages), shards);
        figures.put("strategy", format!("{:?}", args.strategy));
        figures.put("days", args.days);
        figures.put("late_percent", args.late);
        figures.put("changed_percent", args.changed);
        figures.put("load_per_s", round(workload.messages as f64 / wall_load.as_secs_f64()));
        figures.put(
            "load_cpu_us",
            round(cpu_load.as_secs_f64() * 1e6 / workload.messages as f64),
        );
        figures.put("cpu_us", round(cpu.as_secs_f64() * 1e6 / workload.messages as f64));
        figures.put("wall_s", round(wall.as_secs_f64()));
        figures.put("user_bytes", last.user_bytes);
        figures.put("log_bytes", last.log_bytes);
        figures.put("flush_bytes", last.flush_bytes);
        for (kind, bytes) in &last.by_kind {
            figures.put(&format!("{kind}_bytes"), *bytes);
        }
        figures.put("write_amplification", round(last.write_amplification()));
        figures.put("predicted_write_amplification", round(self.prediction(&last)));
        figures.put("device_bytes", grown.sum(|of| of.runtime.written_bytes));
        figures.put("space_amplification", round(last.table_bytes as f64 / enough));
        figures.put(
            "space_amplification_peak",
            round(self.peak(message_bytes).max(settled_peak)),
        );
        figures.put("sstables", grown.sum(|of| of.sstables));
        figures.put("stall_max_us", grown.stall().0);
        figures.put("computed_max_us", grown.computed().0);
        figures.put("computed_max_task", grown.computed().1);
        Ok((figures, self.samples.take(), written))
    }

    /// Table files for each byte that would be enough, at most so far.
    fn peak(&self, message_bytes: f64) -> f64 {
        let (bytes, messages) = self.largest.get();
        bytes as f64 / (message_bytes * messages.max(1) as f64)
    }

    async fn statistics(&self) -> Done<Vec<ShardStatistics>> {
        Ok(self.messages.store().statistics().await?)
    }

    /// Runs one part on all shards, and takes samples meanwhile. Gives what each shard has written.
    async fn part<F, Fut>(&self, what: &'static str, part: &Arc<Part>, shards: u16, task: F) -> Done<Vec<Vec<Written>>>
    where
        F: Fn(Task) -> Fut + Clone + Send + 'static,
        Fut: Future<Output = messages::Result<Vec<Written>>> + 'static,
    {
        let progress = progress::lines(what, part.total);
        let per_shard = (self.args.workload.writers / u32::from(shards)).max(1);
        let shared = Shared {
            group: u64::from(self.args.group),
            content_bytes: self.args.workload.content_bytes.as_usize(),
            late: self.args.late,
            days: self.args.days,
            epoch_hours: self.args.epoch_hours,
            channels: self.args.channels,
            skew: self.args.skew,
            seed: self.args.workload.seed,
            epoch: self.messages.epoch(),
        };
        let calls = (0..shards).map(|shard| {
            let (task, part, shared) = (task.clone(), Arc::clone(part), shared.clone());
            let (user_bytes, present) = (Arc::clone(&self.user_bytes), Arc::clone(&self.present));
            self.messages.call(ShardId(shard), move |local| async move {
                let channels: Vec<i64> = (1..=i64::from(shared.channels))
                    .filter(|channel| local.home_of(*channel) == ShardId(shard))
                    .collect();
                let weights = channels.iter().map(|channel| (*channel as f64).powf(-shared.skew));
                let Ok(weights) = WeightedIndex::new(weights) else {
                    return Ok(Vec::new());
                };
                let (channels, weights) = (Rc::new(channels), Rc::new(weights));
                let running: Vec<_> = (0..per_shard)
                    .map(|number| {
                        let task = task(Task {
                            local: local.clone(),
                            part: Arc::clone(&part),
                            shared: shared.clone(),
                            channels: Rc::clone(&channels),
                            weights: Rc::clone(&weights),
                            random: SmallRng::seed_from_u64(
                                shared.seed ^ (u64::from(shard) << 40) ^ (u64::from(number) << 20) ^ part.total,
                            ),
                            user_bytes: Arc::clone(&user_bytes),
                            present: Arc::clone(&present),
                        });
                        runtime::spawn(TaskClass::Request, "bench", task)
                    })
                    .collect();
                let mut written = Vec::new();
                for running in running {
                    written.extend(running.await?);
                }
                Ok(written)
            })
        });
        let ended = Cell::new(false);
        let work = async {
            let written = join_all(calls).await;
            ended.set(true);
            written
        };
        let watch = async {
            let mut next = 0;
            loop {
                let done = part.done.load(Ordering::Relaxed).min(part.total);
                progress.set_position(done);
                if done >= next {
                    self.sample(part.ahead_ms(done) / DAY_MS).await?;
                    next = done + part.total / SAMPLES + 1;
                }
                self.measure_space();
                if ended.get() {
                    progress.finish_and_clear();
                    return Done::Ok(());
                }
                pause().await;
            }
        };
        let (written, watched) = futures_lite::future::zip(work, watch).await;
        watched?;
        Ok(written?)
    }

    /// Waits until nothing is left to be compacted.
    async fn settle(&self) -> Done {
        let ended = Cell::new(false);
        let wait = async {
            let waited = compacted(self.messages).await;
            ended.set(true);
            waited
        };
        let watch = async {
            while !ended.get() {
                self.measure_space();
                pause().await;
            }
        };
        let (waited, ()) = futures_lite::future::zip(wait, watch).await;
        waited
    }

    /// What the table files take now, those that are being written included.
    #[expect(clippy::disallowed_methods, reason = "on the main thread, on which no shard runs")]
    fn table_bytes(&self) -> u64 {
        let entries = |dir: &Path| std::fs::read_dir(dir).into_iter().flatten().flatten();
        let files = entries(self.tables).flat_map(|table| entries(&table.path()).collect::<Vec<_>>());
        let bytes = files.filter_map(|file| Some(file.metadata().ok()?.len()));
        bytes.sum()
    }

    fn measure_space(&self) {
        let messages = self.present.load(Ordering::Relaxed);
        let (bytes, of) = self.largest.get();
        let now = self.table_bytes();
        // Where few are there, memtables and the room for the first files are all that is seen.
        let is_enough = messages >= self.args.workload.messages / 4;
        if is_enough && ratio(now, messages) > ratio(bytes, of) {
            self.largest.set((now, messages));
        }
    }

    async fn sample(&self, day: f64) -> Done<Sample> {
        let statistics = self.statistics().await?;
        let mut sample = Sample {
            day,
            user_bytes: self.user_bytes.load(Ordering::Relaxed),
            log_bytes: statistics.iter().map(|of| of.log.written_bytes).sum(),
            flush_bytes: statistics.iter().map(|of| of.flushed_bytes).sum(),
            table_bytes: self.table_bytes(),
            stall_max_us: statistics.iter().map(|of| of.runtime.stall_max_us).max().unwrap_or(0),
            ..Sample::default()
        };
        for (kind, bytes) in statistics.iter().flat_map(|of| &of.compaction_written_by_kind) {
            *sample.by_kind.entry(*kind).or_default() += bytes;
        }
        self.samples.borrow_mut().push(sample.clone());
        Ok(sample)
    }

    /// What the formulas say: the log and the flush each write everything once. Time-tiered: each epoch is settled once, and late data
    /// and changes once more with their epoch for each quarter, or fifth, that they make. Size-tiered: each byte once for each tier.
    fn prediction(&self, last: &Sample) -> f64 {
        let user = last.user_bytes.max(1) as f64;
        let (log, flush) = (last.log_bytes as f64 / user, last.flush_bytes as f64 / user);
        let args = self.args;
        match args.strategy {
            Strategy::None => log + flush,
            Strategy::TimeTiered => {
                let (late, changed) = (f64::from(args.late) / 100.0, f64::from(args.changed) / 100.0);
                // Late data are split once and merged once with what they belong to; deletions of a fifth rewrite the epoch.
                let rewritten = (late / 0.25).floor() + (changed / 2.0 / 0.2).ceil();
                log + flush * (2.0 + late + rewritten)
            }
            Strategy::SizeTiered | Strategy::TimeWindow => {
                let memtable = args.workload.memtable_bytes.as_usize() as f64;
                let of_shard = last.flush_bytes as f64 / f64::from(self.messages.store().shards());
                let tiers = (of_shard / memtable).max(1.0).ln() / 4.0_f64.ln();
                log + flush * (1.0 + tiers.floor())
            }
        }
    }
}

/// Sstables and data blocks of a page of a bucket from disk, on average.
async fn cold_pages(messages: &Messages, window_hours: u32, written: &[Vec<Written>]) -> Done<(f64, f64)> {
    let store = messages.store();
    let table = store.table("messages", "messages").expect("opening it made its tables");
    let (mut files, mut blocks, mut pages) = (0, 0, 0_u64);
    let all: usize = written.iter().map(Vec::len).sum();
    for of in written.iter().flatten().step_by((all / COLD_PAGES).max(1)) {
        let hours = (of.ids[0] >> 22) / 3_600_000;
        let bucket = hours / i64::from(window_hours) * i64::from(window_hours);
        let bucket = i32::try_from(bucket).expect("a bucket's hour");
        let key = table
            .partition_key_bytes(&[&of.channel.to_be_bytes(), &bucket.to_be_bytes()])
            .expect("a channel and a bucket");
        let read = Read {
            limit_rows: 50,
            ..Read::partition(table.id, key)
        };
        let page = store.read(read).await?;
        files += page.cost().sstables_opened;
        blocks += page.cost().data_blocks;
        pages += 1;
    }
    Ok((ratio(files, pages), ratio(blocks, pages)))
}

#[expect(clippy::disallowed_methods, reason = "the main thread, on which no shard runs")]
async fn pause() {
    std::thread::sleep(Duration::from_millis(50));
    futures_lite::future::yield_now().await;
}

/// What the tasks of a part are told.
#[derive(Clone)]
struct Shared {
    group: u64,
    content_bytes: usize,
    late: u32,
    days: u32,
    epoch_hours: u32,
    channels: u32,
    skew: f64,
    seed: u64,
    epoch: messages::Epoch,
}

struct Task {
    local: messages::Local,
    part: Arc<Part>,
    shared: Shared,
    channels: Rc<Vec<i64>>,
    weights: Rc<WeightedIndex<f64>>,
    random: SmallRng,
    user_bytes: Arc<AtomicU64>,
    present: Arc<AtomicU64>,
}

/// A group of messages that was written: an entry for each message would be so long that moving it takes a shard's time.
struct Written {
    channel: i64,
    ids: Vec<i64>,
}

impl Task {
    fn content(&mut self) -> String {
        let text = (0..self.shared.content_bytes).map(|_| char::from(self.random.random_range(b' '..=b'~')));
        text.collect()
    }

    fn wrote(&self, messages: u64) {
        let bytes = messages * (self.shared.content_bytes as u64 + ID_BYTES);
        self.user_bytes.fetch_add(bytes, Ordering::Relaxed);
    }
}

/// Writes groups of messages, some of them late.
async fn write(mut task: Task) -> messages::Result<Vec<Written>> {
    let mut written = Vec::new();
    loop {
        let taken = task.part.take(task.shared.group);
        if taken == 0 {
            return Ok(written);
        }
        let channel = task.channels[task.weights.sample(&mut task.random)];
        let contents: Vec<String> = (0..taken).map(|_| task.content()).collect();
        let is_late = task.random.random_range(0..100) < task.shared.late;
        let ids: Vec<i64> = if is_late {
            let now_ms = time::unix_micros() / 1000;
            let begun_ms = task.part.ahead_ms(task.part.done.load(Ordering::Relaxed)) as i64;
            let epoch_ms = i64::from(task.shared.epoch_hours) * 3_600_000;
            let longest_ms = match task.random.random_bool(0.5) {
                true => begun_ms.min(epoch_ms),
                false => begun_ms.min(i64::from(task.shared.days) * DAY_MS as i64),
            };
            let at_ms = now_ms - task.random.random_range(0..=longest_ms);
            // Of one moment: the writers' share of its places is the writer's alone, as far as chance goes.
            let first = task.random.random_range(0..100_000);
            let messages = (0..).zip(contents).map(|(at, content)| {
                let id = import_id(task.shared.epoch, at_ms, first + at)?;
                Ok(Import {
                    id,
                    unix_ms: at_ms,
                    author: 1,
                    content,
                })
            });
            let messages = messages.collect::<messages::Result<Vec<_>>>()?;
            let ids = messages.iter().map(|message| message.id.get()).collect();
            task.local.import(channel, messages).await?;
            ids
        } else {
            let messages = contents.into_iter().map(|content| (1, content)).collect();
            let ids = task.local.send_many(channel, messages).await?;
            ids.into_iter().map(|id| id.get()).collect()
        };
        task.wrote(taken);
        task.present.fetch_add(taken, Ordering::Relaxed);
        written.push(Written { channel, ids });
    }
}

/// Edits and deletes messages: each is a write of its own, a group of them is under way at the same time.
async fn change(mut task: Task, of: Arc<Vec<Vec<Written>>>) -> messages::Result<Vec<Written>> {
    let own = &of[usize::from(task.local.home_of(task.channels[0]).0)];
    loop {
        let taken = task.part.take(task.shared.group);
        if taken == 0 || own.is_empty() {
            return Ok(Vec::new());
        }
        let changes: Vec<_> = (0..taken)
            .map(|_| {
                let of = &own[task.random.random_range(0..own.len())];
                let (channel, id) = (of.channel, of.ids[task.random.random_range(0..of.ids.len())]);
                let content = task.random.random_bool(0.5).then(|| task.content());
                let local = task.local.clone();
                runtime::spawn(TaskClass::Request, "bench", change_one(local, channel, id, content))
            })
            .collect();
        for change in changes {
            match change.await? {
                Some(Changed::Edited) => task.wrote(1),
                Some(Changed::Deleted) => drop(task.present.fetch_sub(1, Ordering::Relaxed)),
                // It was deleted before.
                None => {}
            }
        }
    }
}

enum Changed {
    Edited,
    Deleted,
}

/// Gives a message another content, or deletes it.
async fn change_one(
    local: messages::Local,
    channel: i64,
    id: i64,
    content: Option<String>,
) -> messages::Result<Option<Changed>> {
    let id = messages::MessageId::new(id).expect("it was an id");
    let (done, changed) = match content {
        Some(content) => (local.edit(channel, id, None, content).await, Changed::Edited),
        None => (local.delete(channel, id, None).await, Changed::Deleted),
    };
    match done {
        Ok(()) => Ok(Some(changed)),
        Err(messages::Error::NotFound { .. }) => Ok(None),
        Err(error) => Err(error),
    }
}

/// Draws the samples over the days: what was written for each byte of a user, by cause; what the table files take.
fn plot(file: &Path, args: &cli::BenchCompaction, samples: &[Sample]) -> Done {
    let drawn = draw(file, args, samples);
    drawn.map_err(|error| Failure::new(format_args!("{}: the plot cannot be written: {error}", file.display())))
}

fn draw(file: &Path, args: &cli::BenchCompaction, samples: &[Sample]) -> Result<(), Box<dyn std::error::Error>> {
    let area = SVGBackend::new(file, (960, 900)).into_drawing_area();
    area.fill(&WHITE)?;
    let parts = area.split_evenly((3, 1));
    let [amplification, space, stalls] = &parts[..] else {
        unreachable!("it was split into three")
    };
    let last = samples.last().map_or(1.0, |sample| sample.day);
    let title = format!(
        "{:?}, {} messages, {} days: bytes written for a byte of a user",
        args.strategy, args.workload.messages, args.days
    );
    let highest = samples.iter().map(Sample::write_amplification).fold(1.0, f64::max);
    let mut chart = ChartBuilder::on(amplification)
        .caption(title, ("sans-serif", 18))
        .margin(12)
        .x_label_area_size(24)
        .y_label_area_size(48)
        .build_cartesian_2d(0.0..last, 0.0..highest * 1.1)?;
    chart.configure_mesh().x_desc("day").light_line_style(WHITE).draw()?;
    let kinds: std::collections::BTreeSet<CompactionKind> = samples
        .iter()
        .flat_map(|sample| sample.by_kind.keys().copied())
        .collect();
    let names: Vec<String> = ["log".to_owned(), "flush".to_owned()]
        .into_iter()
        .chain(kinds.iter().map(|kind| format!("+ {kind}")))
        .collect();
    let bytes = |sample: &Sample, upto: usize| -> u64 {
        let of_kinds = kinds.iter().map(|kind| sample.by_kind.get(kind).copied().unwrap_or(0));
        let all = [sample.log_bytes, sample.flush_bytes].into_iter().chain(of_kinds);
        all.take(upto + 1).sum()
    };
    // One above the other: the topmost line is the sum.
    for (upto, name) in names.into_iter().enumerate() {
        let line = samples
            .iter()
            .map(|sample| (sample.day, ratio(bytes(sample, upto), sample.user_bytes)));
        let colour = Palette99::pick(upto).to_rgba();
        chart
            .draw_series(LineSeries::new(line, colour.stroke_width(2)))?
            .label(name)
            .legend(move |(x, y)| PathElement::new([(x, y), (x + 16, y)], colour.stroke_width(2)));
    }
    chart
        .configure_series_labels()
        .background_style(WHITE.mix(0.8))
        .border_style(BLACK)
        .draw()?;
    line(
        space,
        "MB of table files",
        last,
        samples.iter().map(|of| (of.day, of.table_bytes as f64 / 1e6)).collect(),
    )?;
    line(
        stalls,
        "longest stall so far, ms",
        last,
        samples
            .iter()
            .map(|of| (of.day, of.stall_max_us as f64 / 1e3))
            .collect(),
    )?;
    area.present()?;
    Ok(())
}

type Area<'a> = DrawingArea<SVGBackend<'a>, plotters::coord::Shift>;

fn line(area: &Area<'_>, what: &str, last: f64, points: Vec<(f64, f64)>) -> Result<(), Box<dyn std::error::Error>> {
    let highest = points.iter().map(|(_, y)| *y).fold(0.0, f64::max).max(1.0);
    let mut chart = ChartBuilder::on(area)
        .caption(what, ("sans-serif", 16))
        .margin(12)
        .x_label_area_size(24)
        .y_label_area_size(48)
        .build_cartesian_2d(0.0..last, 0.0..highest * 1.1)?;
    chart.configure_mesh().x_desc("day").light_line_style(WHITE).draw()?;
    chart.draw_series(LineSeries::new(points, BLUE.stroke_width(2)))?;
    Ok(())
}
