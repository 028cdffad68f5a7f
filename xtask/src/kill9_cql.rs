//! `cargo xtask kill9-cql`: the real server, killed with SIGKILL under a load of CQL; then it is started again and asked.
//!
//! 1. Writers, each with a connection and keys of its own, insert, edit and delete by prepared statements and write logged batches over two
//!    partitions. All of them advance one counter by `IF n = ?`.
//! 2. The server is killed at a moment that the seed draws, and started again, with another number of shards at times.
//! 3. Each key must be as its writer was last told, or as the one request left it that was under way; the two partitions of a batch must
//!    agree; and the counter has each acknowledged step once.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use serde_json::json;

use crate::clock::Stopwatch;
use crate::kill9::program::Program;
use crate::rng::Rng;
use crate::served::{Connection, Rows, Trouble, serve};

const WRITERS: i32 = 4;
const KEYS: i32 = 50;
/// The second partition of a writer's batches.
const TWIN: i32 = 1_000;

/// What `cargo xtask kill9-cql` is asked.
#[derive(clap::Args)]
pub(crate) struct Options {
    /// Kills.
    #[arg(long, value_name = "N", default_value_t = 20)]
    rounds: u32,
    /// Draws load and moments.
    #[arg(long, value_name = "S", default_value_t = 1)]
    seed: u64,
}

/// What a key may hold: a value, or nothing.
type Held = Option<i32>;

/// What a writer knows.
#[derive(Default)]
struct Known {
    keys: BTreeMap<i32, Held>,
    /// The key and what it was to hold, of the request under way.
    pending: Option<(i32, Held)>,
    /// Steps of the counter that were acknowledged, and the one under way.
    steps: Vec<i32>,
    step: Option<i32>,
    next: i32,
    counts: Counts,
}

#[derive(Clone, Copy, Default)]
struct Counts {
    acknowledged: u64,
    steps: u64,
    batches: u64,
    under_way: u64,
}

/// Runs what was asked; true if nothing was lost or came back.
pub(crate) fn run(options: &Options) -> bool {
    let clock = Stopwatch::start();
    let mut counts = Counts::default();
    let outcome = Program::build().and_then(|program| {
        let folder = program.folder()?;
        rounds(options, &program, folder.path(), &mut counts)
            .map_err(|why| format!("{why}; the store is in {}", folder.keep().display()))
    });
    if let Err(why) = &outcome {
        eprintln!("{why}");
        eprintln!(
            "the same load again: cargo xtask kill9-cql --rounds {} --seed {}",
            options.rounds, options.seed
        );
    }
    let line = json!({
        "rounds": options.rounds,
        "acknowledged": counts.acknowledged,
        "batches": counts.batches,
        "counter_steps": counts.steps,
        "requests_under_way": counts.under_way,
        "seed": options.seed,
        "seconds": (clock.elapsed().as_secs_f64() * 10.0).round() / 10.0,
        "status": if outcome.is_ok() { "ok" } else { "failed" },
    });
    println!("{line}");
    outcome.is_ok()
}

fn rounds(options: &Options, program: &Program, folder: &Path, counts: &mut Counts) -> Result<(), String> {
    let mut rng = Rng::new(options.seed);
    let mut writers: Vec<Known> = (0..WRITERS).map(|_| Known::default()).collect();
    let (mut owners, mut shards) = (BTreeMap::new(), 2);
    for round in 0..=options.rounds {
        let (mut process, port) = serve(program, folder, shards)?;
        if round == 0 {
            define(&mut Connection::open(port)?)?;
        } else {
            check(&mut Connection::open(port)?, &mut writers, &mut owners)
                .map_err(|why| format!("after round {round}: {why}"))?;
        }
        if round == options.rounds {
            break;
        }
        let after = Duration::from_micros(200_000 + rng.below(800_000) as u64);
        let dead = AtomicBool::new(false);
        let results: Vec<Result<(), String>> = std::thread::scope(|scope| {
            let threads: Vec<_> = (0..)
                .zip(&mut writers)
                .map(|(number, known)| {
                    let (rng, dead) = (rng.fork(), &dead);
                    scope.spawn(move || write(port, number, known, rng, dead))
                })
                .collect();
            let killed = process.listen(after).and_then(|()| {
                dead.store(true, Ordering::SeqCst);
                match process.kill()? {
                    true => Ok(()),
                    false => Err("the server ended by itself".to_owned()),
                }
            });
            let written = threads
                .into_iter()
                .map(|thread| thread.join().unwrap_or_else(|_| Err("a writer panicked".to_owned())));
            written.chain([killed]).collect()
        });
        results.into_iter().collect::<Result<(), String>>()?;
        *counts = Counts::default();
        for known in &writers {
            counts.acknowledged += known.counts.acknowledged;
            counts.batches += known.counts.batches;
            counts.steps += known.counts.steps;
            counts.under_way += known.counts.under_way + u64::from(known.pending.is_some() || known.step.is_some());
        }
        eprintln!("round {}: {} acknowledged", round + 1, counts.acknowledged);
        if rng.chance(1, 3) {
            shards = rng.within(1..4);
        }
    }
    Ok(())
}

fn define(connection: &mut Connection) -> Result<(), String> {
    for text in [
        "CREATE KEYSPACE k WITH replication = {'class': 'SimpleStrategy', 'replication_factor': 1}",
        "CREATE TABLE k.held (w int, c int, v int, PRIMARY KEY (w, c))",
        "CREATE TABLE k.counter (k int, c int, who int, n int, PRIMARY KEY (k, c))",
        "INSERT INTO k.counter (k, c, n) VALUES (0, 0, 0)",
    ] {
        connection.query(text)?;
    }
    Ok(())
}

const INSERT: &str = "INSERT INTO k.held (w, c, v) VALUES (?, ?, ?)";
const UPDATE: &str = "UPDATE k.held SET v = ? WHERE w = ? AND c = ?";
const DELETE: &str = "DELETE FROM k.held WHERE w = ? AND c = ?";
/// A step and its row are one batch on one partition.
const STEP: &str = "BEGIN BATCH UPDATE k.counter SET n = ? WHERE k = 0 AND c = 0 IF n = ?; \
                    INSERT INTO k.counter (k, c, who) VALUES (0, ?, ?); APPLY BATCH";

/// Writes until the server is killed.
fn write(port: u16, number: i32, known: &mut Known, mut rng: Rng, dead: &AtomicBool) -> Result<(), String> {
    let mut connection = Connection::open(port)?;
    loop {
        match one(&mut connection, number, known, &mut rng) {
            Ok(()) => {}
            Err(Trouble::Gone) if dead.load(Ordering::SeqCst) => return Ok(()),
            Err(trouble) => return Err(trouble.into()),
        }
    }
}

fn one(connection: &mut Connection, number: i32, known: &mut Known, rng: &mut Rng) -> Result<(), Trouble> {
    known.next += 1;
    let value = known.next;
    // Some keys are written in pairs alone.
    let (single, twin) = (rng.below(KEYS as usize) as i32, KEYS + rng.below(KEYS as usize) as i32);
    match rng.below(10) {
        0..4 => {
            known.pending = Some((single, Some(value)));
            match rng.chance(1, 2) {
                true => connection.execute(INSERT, &[number, single, value])?,
                false => connection.execute(UPDATE, &[value, number, single])?,
            };
        }
        4..6 => {
            known.pending = Some((single, None));
            connection.execute(DELETE, &[number, single])?;
        }
        6..9 => {
            known.pending = Some((twin, Some(value)));
            connection.batch(INSERT, &[[number, twin, value], [number + TWIN, twin, value]])?;
            known.counts.batches += 1;
        }
        _ => return step(connection, number, known),
    }
    if let Some((key, held)) = known.pending.take() {
        known.keys.insert(key, held);
    }
    known.counts.acknowledged += 1;
    Ok(())
}

fn step(connection: &mut Connection, number: i32, known: &mut Known) -> Result<(), Trouble> {
    let n = int(&connection.query("SELECT n FROM k.counter WHERE k = 0 AND c = 0")?, 0);
    let n = n.ok_or_else(|| Trouble::Wrong("the counter is gone".to_owned()))?;
    known.step = Some(n + 1);
    let answer = connection.execute(STEP, &[n + 1, n, n + 1, number])?;
    if answer.first().and_then(|row| row[0].as_deref()) == Some(&[1]) {
        known.steps.push(n + 1);
        known.counts.steps += 1;
        known.counts.acknowledged += 1;
    }
    known.step = None;
    Ok(())
}

fn int(rows: &Rows, at: usize) -> Option<i32> {
    let bytes = rows.first()?.get(at)?.as_deref()?;
    Some(i32::from_be_bytes(bytes.try_into().ok()?))
}

/// Looks at everything; `owners` are the writers of the counter's steps.
fn check(connection: &mut Connection, writers: &mut [Known], owners: &mut BTreeMap<i32, i32>) -> Result<(), String> {
    let cell = |cell: &Option<Vec<u8>>| {
        cell.as_deref()
            .and_then(|bytes| bytes.try_into().ok())
            .map(i32::from_be_bytes)
    };
    for (number, known) in (0..).zip(writers.iter_mut()) {
        let mut read = [number, number + TWIN].map(|w| {
            let rows = connection.query(&format!("SELECT c, v FROM k.held WHERE w = {w}"))?;
            let pairs = rows.iter().map(|row| (cell(&row[0]).unwrap_or(-1), cell(&row[1])));
            Ok::<BTreeMap<i32, Held>, String>(pairs.collect())
        });
        let [first, second] = &mut read;
        let (first, second) = (
            first.as_mut().map_err(|e| e.clone())?,
            second.as_mut().map_err(|e| e.clone())?,
        );
        let pending = known.pending.take();
        known.counts.under_way += u64::from(pending.is_some());
        for key in 0..2 * KEYS {
            let held = first.get(&key).copied().flatten();
            let was = known.keys.get(&key).copied().flatten();
            let may_be = pending.filter(|(of, _)| *of == key).map(|(_, held)| held);
            if held != was && Some(held) != may_be {
                return Err(format!(
                    "writer {number}, key {key}: {held:?}, acknowledged was {was:?}, under way {may_be:?}"
                ));
            }
            if key >= KEYS && second.get(&key).copied().flatten() != held {
                return Err(format!(
                    "writer {number}, key {key}: half a batch: {held:?} and {:?}",
                    second.get(&key)
                ));
            }
            known.keys.insert(key, held);
        }
    }
    let rows = connection.query("SELECT c, n, who FROM k.counter WHERE k = 0")?;
    let n = rows
        .first()
        .and_then(|row| cell(&row[1]))
        .ok_or("the counter is gone")?;
    let steps: BTreeMap<i32, i32> = rows[1..]
        .iter()
        .filter_map(|row| Some((cell(&row[0])?, cell(&row[2])?)))
        .collect();
    if !steps.keys().copied().eq(1..=n) {
        return Err(format!("the counter is at {n} and has {} steps", steps.len()));
    }
    for (number, known) in (0..).zip(writers) {
        let under_way = known.step.take();
        known.counts.under_way += u64::from(under_way.is_some());
        for step in known.steps.drain(..) {
            if let Some(other) = owners.insert(step, number) {
                return Err(format!("step {step} was acknowledged to writers {other} and {number}"));
            }
        }
        if let Some(step) = under_way.filter(|step| steps.get(step) == Some(&number)) {
            owners.entry(step).or_insert(number);
        }
    }
    match steps == *owners {
        true => Ok(()),
        false => Err(format!(
            "the counter's steps are {steps:?}, and were done by {owners:?}"
        )),
    }
}
