//! A log in the simulator: lives that append, flush, crash and replay, and what must hold between them.
//!
//! The model stands outside of the node and survives its crashes: what was appended in a life, how much of it the log has said
//! to be durable, and the floor that a manifest would hold. After each crash replay must deliver a prefix of what was appended
//! (from the floor on) that holds everything durable.

#![allow(dead_code, reason = "each test uses its part")]
#![allow(clippy::unwrap_used, reason = "helpers of tests")]

use std::cell::Cell;
use std::path::PathBuf;
use std::rc::Rc;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use commitlog::format::SegmentName;
use commitlog::inspect::{Entry, inspect_log};
use commitlog::replay::{ReplayError, replay};
use commitlog::{AppendError, Error, Log, LogPosition, Options, SyncMode};
use runtime::sim::{Config, Outcome, Sim, SimStats, Tear};
use runtime::{Handle, ShardId, TaskClass};

/// What the outside knows.
#[derive(Default)]
pub struct Model {
    /// Records of this life in the order of their appends, with their ends.
    sent: Vec<(LogPosition, Vec<u8>)>,
    /// How many of them were handed over by `next_group`.
    handed: usize,
    /// Everything below was durable.
    durable: LogPosition,
    /// The manifest's floor, durable at once.
    floor: u64,
    /// The last life ended with a clean close.
    closed: bool,
    /// What went wrong; the first is kept.
    wrong: Option<String>,
    /// Counts for the report.
    pub counts: Counts,
}

#[derive(Clone, Copy, Debug, Default)]
pub struct Counts {
    pub lives: u64,
    pub records: u64,
    pub replayed: u64,
    pub torn_tails: u64,
    pub poisoned: u64,
    pub recycled: u64,
    pub clean_ends: u64,
    pub room_waits: u64,
    pub dropped_unacknowledged: u64,
}

impl Counts {
    pub fn add(&mut self, other: &Counts) {
        self.lives += other.lives;
        self.records += other.records;
        self.replayed += other.replayed;
        self.torn_tails += other.torn_tails;
        self.poisoned += other.poisoned;
        self.recycled += other.recycled;
        self.clean_ends += other.clean_ends;
        self.room_waits += other.room_waits;
        self.dropped_unacknowledged += other.dropped_unacknowledged;
    }
}

impl Model {
    fn wrong(&mut self, what: String) {
        self.wrong.get_or_insert(what);
    }

    /// Compares what a replay delivered with what was sent.
    fn judge(&mut self, replayed: &[(LogPosition, Vec<u8>)]) {
        let sent = std::mem::take(&mut self.sent);
        let kept: Vec<_> = sent.iter().filter(|(end, _)| end.segment >= self.floor).collect();
        let durable = kept.iter().filter(|(end, _)| *end <= self.durable).count();
        if replayed.len() < durable {
            let lost = kept[replayed.len()].0;
            let came = replayed.len();
            self.wrong(format!(
                "lost: {came} of {durable} durable records came back, the next ended at {lost}"
            ));
        }
        if replayed.len() > kept.len() {
            self.wrong(format!(
                "{} records came back, {} were sent",
                replayed.len(),
                kept.len()
            ));
        }
        if let Some(i) = kept.iter().zip(replayed).position(|(sent, came)| **sent != *came) {
            self.wrong(format!(
                "record {i} that came back ends at {}, the one sent at {}",
                replayed[i].0, kept[i].0
            ));
        }
        self.counts.replayed += replayed.len() as u64;
        self.counts.dropped_unacknowledged += kept.len().saturating_sub(replayed.len()) as u64;
    }
}

pub type Shared = Arc<Mutex<Model>>;

/// One life's plan.
#[derive(Clone)]
pub struct Plan {
    pub options: Options,
    pub writers: usize,
    pub records: usize,
    pub record_bytes_max: u64,
    /// How often a writer waits for its record: of 4.
    pub waits: u64,
    /// Closes at the end.
    pub close: bool,
    /// Flushes, that is raises the floor and releases.
    pub flushes: bool,
}

/// Replays with the model's judgement, then raises the floor: what an engine does at its start.
async fn recover(dir: PathBuf, model: Shared) -> Result<u64, Error> {
    let floor = model.lock().unwrap().floor;
    let mut replayed = Vec::new();
    let report = replay(
        &dir,
        floor,
        async |end, record: &[u8]| -> Result<(), std::convert::Infallible> {
            replayed.push((end, record.to_vec()));
            Ok(())
        },
    );
    let report = match report.await {
        Ok(report) => report,
        Err(ReplayError::Log(error)) => return Err(error),
        Err(ReplayError::Consumer(never)) => match never {},
    };
    let mut model = model.lock().unwrap();
    model.judge(&replayed);
    model.counts.torn_tails += u64::from(report.torn.is_some());
    if report.records != replayed.len() as u64 {
        model.wrong(format!(
            "the report counts {} of {} records",
            report.records,
            replayed.len()
        ));
    }
    model.handed = 0;
    model.closed = false;
    model.floor = report.next_segment;
    Ok(report.next_segment)
}

/// What a life does after recovery. Ends with the log closed, or poisoned.
async fn live(plan: Plan, first_segment: u64, model: Shared) -> Result<(), Error> {
    model.lock().unwrap().durable = LogPosition::default();
    let log = Log::open(plan.options.clone(), first_segment).await?;
    let consumer = {
        let (log, model) = (log.clone(), Arc::clone(&model));
        runtime::spawn(TaskClass::Request, "consumer", consume(log, model))
    };
    let done = Rc::new(Cell::new(false));
    let flusher = {
        let (log, model, done) = (log.clone(), Arc::clone(&model), Rc::clone(&done));
        runtime::spawn(TaskClass::Flush, "flusher", flush(log, model, done, plan.flushes))
    };
    let writers: Vec<_> = (0..plan.writers)
        .map(|_| {
            let (log, model, plan) = (log.clone(), Arc::clone(&model), plan.clone());
            runtime::spawn(TaskClass::Request, "writer", write(log, model, plan))
        })
        .collect();
    let mut result = Ok(());
    for writer in writers {
        result = result.and(writer.await);
    }
    done.set(true);
    flusher.await;
    if !plan.close && result.is_ok() {
        // Crashes while it is quiet, too.
        runtime::time::sleep(Duration::from_millis(runtime::random::below(60))).await;
        note_end(&log, &model);
        return Ok(());
    }
    let closed = log.close().await;
    let consumed = consumer.await;
    note_end(&log, &model);
    let mut model = model.lock().unwrap();
    if log.poisoned().is_some() {
        model.counts.poisoned += 1;
        if closed.is_ok() || consumed.is_ok() || !matches!(log.append(b"x"), Err(AppendError::Poisoned(_))) {
            model.wrong("a poisoned log went on".into());
        }
        return Err(log.poisoned().map(Error::Poisoned).expect("it is poisoned"));
    }
    model.counts.clean_ends += 1;
    if model.handed != model.sent.len() && plan.options.sync == SyncMode::Group {
        let text = format!(
            "closed, but {} of {} records were handed over",
            model.handed,
            model.sent.len()
        );
        model.wrong(text);
    }
    if log.durable() < log.appended() {
        model.wrong("closed, but not durable".into());
    }
    model.closed = closed.is_ok();
    result.and(closed).and(consumed)
}

fn note_end(log: &Log, model: &Shared) {
    let (stats, mut model) = (log.stats(), model.lock().unwrap());
    model.counts.recycled += stats.segments_recycled;
    model.counts.room_waits += stats.room_waits;
}

async fn consume(log: Log, model: Shared) -> Result<(), Error> {
    let mut last = LogPosition::default();
    loop {
        let group = log.next_group().await?;
        let mut model = model.lock().unwrap();
        let Some(group) = group else { return Ok(()) };
        if group.end() <= last {
            model.wrong(format!("a group that ends at {} came after {last}", group.end()));
        }
        last = group.end();
        for (end, record) in group.records() {
            let (handed, sent) = (model.handed, model.sent.len());
            if handed >= sent || model.sent[handed] != (end, record.to_vec()) {
                model.wrong(format!(
                    "record {handed} of {sent} was handed over out of order, at {end}"
                ));
            }
            model.handed += 1;
        }
        model.durable = model.durable.max(group.end());
    }
}

/// Raises the floor, then releases, when the log asks for it and at other times.
async fn flush(log: Log, model: Shared, done: Rc<Cell<bool>>, at_will: bool) {
    while !done.get() && log.poisoned().is_none() {
        runtime::time::sleep(Duration::from_millis(1 + runtime::random::below(10))).await;
        let durable = log.durable();
        let below = match log.over_limit() {
            Some(below) => below,
            None if at_will && runtime::random::below(4) == 0 => LogPosition {
                segment: durable.segment,
                offset: 0,
            },
            None => continue,
        };
        if log
            .wait_durable(LogPosition { offset: 0, ..below }.min(log.appended()))
            .await
            .is_err()
        {
            return;
        }
        let below = LogPosition {
            segment: below.segment.min(log.durable().segment),
            offset: 0,
        };
        {
            let mut model = model.lock().unwrap();
            model.floor = model.floor.max(below.segment);
        }
        log.release(below);
    }
}

async fn write(log: Log, model: Shared, plan: Plan) -> Result<(), Error> {
    for _ in 0..plan.records {
        let len = match runtime::random::below(16) {
            0 => 0,
            1 => runtime::random::below(plan.record_bytes_max),
            _ => runtime::random::below(plan.record_bytes_max / 20 + 1),
        };
        let mut record = vec![0; len as usize];
        runtime::random::fill(&mut record);
        let end = loop {
            let mut outside = model.lock().unwrap();
            match log.append(&record) {
                Ok(end) => {
                    outside.sent.push((end, record));
                    outside.counts.records += 1;
                    break end;
                }
                Err(AppendError::Full) => {
                    drop(outside);
                    log.room(record.len()).await?;
                }
                Err(other) => return Err(other.into()),
            }
        };
        match runtime::random::below(4) {
            n if n < plan.waits => {
                log.wait_durable(end).await?;
                let mut outside = model.lock().unwrap();
                outside.durable = outside.durable.max(end);
            }
            3 => runtime::time::sleep(Duration::from_micros(runtime::random::below(3000))).await,
            _ => runtime::breathe().await,
        }
    }
    Ok(())
}

/// A generator outside of the simulation: what a scenario is, decided by its seed alone.
pub struct Dice(u64);

impl Dice {
    pub fn new(seed: u64) -> Dice {
        Dice(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) ^ 0x5bd1_e995)
    }

    pub fn below(&mut self, n: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        (z ^ (z >> 31)) % n
    }

    fn of<T: Copy>(&mut self, choices: &[T]) -> T {
        choices[self.below(choices.len() as u64) as usize]
    }
}

pub const DIR: &str = "/db/log";

pub fn small_options() -> Options {
    let mut options = Options::new(DIR, 0);
    options.segment_bytes = 16 << 10;
    options.total_bytes_max = 6 * (16 << 10);
    options.group_bytes_max = 8 << 10;
    options.unsynced_bytes_max = 32 << 10;
    options.quiet = Duration::from_millis(5);
    options
}

/// What a seed gave.
pub struct Played {
    pub counts: Counts,
    pub sim: SimStats,
    pub hash: u64,
}

fn plan(dice: &mut Dice, periodic: bool) -> Plan {
    let mut options = small_options();
    options.segment_bytes = dice.of(&[16 << 10, 16 << 10, 32 << 10, 64 << 10]);
    options.total_bytes_max = dice.of(&[4, 5, 8]) * u64::from(options.segment_bytes);
    options.group_bytes_max = dice.of(&[4 << 10, 8 << 10, 1 << 20]);
    options.unsynced_bytes_max = dice.of(&[4 << 10, 32 << 10, 1 << 20]);
    options.quiet = Duration::from_millis(1 + dice.below(20));
    if periodic {
        options.sync = SyncMode::Periodic {
            period: Duration::from_millis(dice.of(&[5, 20, 100])),
        };
    }
    Plan {
        record_bytes_max: options.record_bytes_max() as u64,
        options,
        writers: dice.of(&[1, 2, 5, 12]),
        records: 1 + dice.below(40) as usize,
        waits: dice.below(4),
        close: dice.below(3) == 0,
        flushes: dice.below(2) == 0,
    }
}

/// Plays the history of one seed: a few lives of one log, crashes and errors, a replay after each.
///
/// # Errors
/// What does not hold, in words.
pub fn play(seed: u64) -> Result<Played, String> {
    let mut dice = Dice::new(seed);
    let tear = dice.of(&[
        Tear::Seeded,
        Tear::Seeded,
        Tear::KeepAll,
        Tear::DropAll,
        Tear::TornSectors,
    ]);
    let mut sim = Sim::new(Config {
        seed,
        shards: 1,
        tear,
        ..Config::default()
    });
    sim.disk().create_dir_all("/db");
    let model = Shared::default();
    model.lock().unwrap().floor = 1;
    // One mode per history: the segments' options may change, what their records promise may not.
    let periodic = dice.below(5) == 0;
    let with_errors = dice.below(3) == 0;
    if with_errors {
        // A failed sync leaves a name in doubt for good, whatever later syncs say. Segments never use a name twice; the folder
        // has only one, so with errors it is there from the beginning.
        sim.disk().create_dir_all(DIR);
    }
    for _ in 0..2 + dice.below(3) {
        let plan = plan(&mut dice, periodic);
        let node = sim.start();
        recover_at(&mut sim, &node, &model)?;
        if with_errors {
            let mut faults = sim.faults();
            faults.p_io_error = dice.of(&[0.0, 0.002, 0.02]);
            faults.p_no_space = dice.of(&[0.0, 0.01]);
            sim.set_faults(faults);
        }
        let crash = match dice.below(4) {
            0 => None,
            1 => Some(1 + dice.below(40)),
            _ => Some(1 + dice.below(400)),
        };
        sim.crash_at_op(crash);
        let first_segment = model.lock().unwrap().floor;
        let lived = {
            let model = Arc::clone(&model);
            sim.run(async move { node.call(ShardId(0), move || live(plan, first_segment, model)).await })
        };
        sim.crash_at_op(None);
        let mut faults = sim.faults();
        (faults.p_io_error, faults.p_no_space) = (0.0, 0.0);
        sim.set_faults(faults);
        {
            let mut model = model.lock().unwrap();
            model.counts.lives += 1;
            match lived {
                Outcome::Crashed | Outcome::Done(Ok(Ok(()))) => {}
                // I/O errors end a life: opening failed, or the log is poisoned. Both may be.
                Outcome::Done(Ok(Err(Error::Io(_) | Error::Poisoned(_)))) if with_errors => {}
                other => model.wrong(format!("a life ended with {other:?}")),
            }
            if let Some(wrong) = model.wrong.take() {
                return Err(wrong);
            }
        }
        if sim.is_running() {
            // The power goes, or only the process.
            if dice.below(3) == 0 { sim.stop() } else { sim.crash() }
        }
    }
    let node = sim.start();
    recover_at(&mut sim, &node, &model)?;
    let counts = model.lock().unwrap().counts;
    Ok(Played {
        counts,
        sim: sim.stats(),
        hash: sim.history_hash(),
    })
}

/// Reads the files from outside as `scrollback check` does: the verdict must be that of the replay which follows.
fn inspect_disk(sim: &Sim, floor: u64, closed: bool) -> Result<u64, String> {
    let disk = sim.disk();
    let named = |path: &PathBuf| SegmentName::parse(path.file_name()?.to_str()?);
    let files: Vec<_> = disk
        .list()
        .iter()
        .filter_map(|path| Some((named(path)?, disk.read_file(path)?)))
        .collect();
    let segments: Vec<_> = files.iter().map(|(name, bytes)| (*name, bytes.as_slice())).collect();
    let mut last = LogPosition::default();
    let inspected = inspect_log(&segments, floor, |_, entry| {
        if let Entry::Record(record) = entry {
            last = record.end();
        }
    });
    let inspected = inspected.map_err(|damage| format!("read from outside: {damage:?}"))?;
    if closed && (inspected.torn || inspected.vouched < last) {
        return Err(format!("closed, but not vouched for up to {last}: {inspected:?}"));
    }
    Ok(inspected.records)
}

/// Replays on a fresh node; no errors are injected.
pub fn recover_at(sim: &mut Sim, node: &Handle, model: &Shared) -> Result<u64, String> {
    let (before, inspected) = {
        let model = model.lock().unwrap();
        (model.counts.replayed, inspect_disk(sim, model.floor, model.closed)?)
    };
    let (node, on_shard) = (node.clone(), Arc::clone(model));
    let recovered = sim.run(async move {
        node.call(ShardId(0), move || recover(PathBuf::from(DIR), on_shard))
            .await
    });
    let next = match recovered {
        Outcome::Done(Ok(Ok(next))) => next,
        other => return Err(format!("replay ended with {other:?}")),
    };
    let mut model = model.lock().unwrap();
    let replayed = model.counts.replayed - before;
    match model.wrong.take() {
        None if replayed == inspected => Ok(next),
        None => Err(format!("read from outside {inspected} records, replayed {replayed}")),
        Some(wrong) => Err(wrong),
    }
}

/// A scripted life on a fresh log, crashed when operation `crash` has been issued. Returns how many operations it took, or
/// what does not hold.
///
/// # Errors
/// In words.
pub fn crash_point(seed: u64, tear: Tear, crash: Option<u64>) -> Result<(u64, Counts), String> {
    let mut sim = Sim::new(Config {
        seed,
        shards: 1,
        tear,
        ..Config::default()
    });
    sim.disk().create_dir_all("/db");
    let model = Shared::default();
    model.lock().unwrap().floor = 1;
    let plan = Plan {
        options: small_options(),
        writers: 2,
        records: 12,
        record_bytes_max: 6000,
        waits: 2,
        close: true,
        flushes: true,
    };
    let mut left = crash;
    let mut ops = 0;
    // Two lives, so that the second recycles; the crash may fall into recovery or opening as well.
    for _ in 0..2 {
        let node = sim.start();
        let before = sim.ops();
        sim.crash_at_op(left);
        let life = {
            let (plan, model) = (plan.clone(), Arc::clone(&model));
            sim.run(async move {
                let one_life = || async move {
                    let first_segment = recover(PathBuf::from(DIR), Arc::clone(&model)).await?;
                    live(plan, first_segment, model).await
                };
                node.call(ShardId(0), one_life).await
            })
        };
        let used = sim.ops() - before;
        ops += used;
        left = left.map(|n| n.saturating_sub(used));
        if let Some(wrong) = model.lock().unwrap().wrong.take() {
            return Err(wrong);
        }
        match life {
            Outcome::Done(Ok(Ok(()))) => sim.stop(),
            Outcome::Crashed => break,
            other => return Err(format!("a life ended with {other:?}")),
        }
    }
    sim.crash_at_op(None);
    let node = sim.start();
    recover_at(&mut sim, &node, &model)?;
    // And what was found is a log that goes on.
    let first_segment = model.lock().unwrap().floor;
    let again = {
        let model = Arc::clone(&model);
        sim.run(async move { node.call(ShardId(0), move || live(plan, first_segment, model)).await })
    };
    if !matches!(again, Outcome::Done(Ok(Ok(())))) {
        return Err(format!("the log did not go on: {again:?}"));
    }
    sim.crash();
    let node = sim.start();
    recover_at(&mut sim, &node, &model)?;
    let counts = model.lock().unwrap().counts;
    Ok((ops, counts))
}
