//! `cargo xtask crowd-cql`: the real server with a crowd of connections, most of which rest.
//!
//! 1. Connections that rest begin a session and say nothing more. Those that are busy write a message to a channel of their own and read
//!    its newest ones back, so many times a second, each a thread that waits for its answers.
//! 2. An answer that is an error, or rows that are not what was written, is the end. Memory is looked at every few seconds.
//! 3. At the end each connection that rested is asked something, and the server ends on SIGTERM while they are still there.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use hdrhistogram::Histogram;
use serde_json::json;

use crate::clock::Stopwatch;
use crate::kill9::program::{Process, Program};
use crate::served::{Connection, serve};

/// Memory is looked at so often.
const LOOK_EVERY: Duration = Duration::from_secs(5);
/// Rows that are read back.
const PAGE: i32 = 10;
/// Stack of a busy connection's thread, bytes.
const STACK_BYTES: usize = 256 << 10;

/// What `cargo xtask crowd-cql` is asked.
#[derive(clap::Args)]
pub(crate) struct Options {
    /// Connections that rest.
    #[arg(long, value_name = "N", default_value_t = 10_000)]
    idle: usize,
    /// Connections that write and read.
    #[arg(long, value_name = "N", default_value_t = 1_000)]
    busy: u16,
    /// Writes of each of these in a second, and reads.
    #[arg(long, value_name = "N", default_value_t = 2)]
    pace: u32,
    /// How long.
    #[arg(long, value_name = "N", default_value_t = 600)]
    seconds: u32,
    /// Shards of the server.
    #[arg(long, value_name = "N", default_value_t = 2)]
    shards: usize,
    /// A server that is built already.
    #[arg(long, value_name = "FILE")]
    program: Option<std::path::PathBuf>,
}

/// What was seen.
#[derive(Default)]
struct Seen {
    requests: u64,
    /// Resident memory: at rest, with all who rest, the most, at the end.
    resident_bytes: [u64; 4],
    latency_us: Option<Histogram<u64>>,
}

/// Runs what was asked; true if every request was answered as it must be.
pub(crate) fn run(options: &Options) -> bool {
    let clock = Stopwatch::start();
    let mut seen = Seen::default();
    let outcome = crowd(options, &mut seen);
    if let Err(why) = &outcome {
        eprintln!("{why}");
    }
    let us = |quantile| {
        let latency = seen.latency_us.as_ref();
        latency.map_or(0, |latency| latency.value_at_quantile(quantile))
    };
    let [at_rest, with_idle, most, end] = seen.resident_bytes;
    let line = json!({
        "idle": options.idle,
        "busy": options.busy,
        "requests": seen.requests,
        "p50_us": us(0.5),
        "p99_us": us(0.99),
        "max_us": us(1.0),
        "resident_bytes_at_rest": at_rest,
        "resident_bytes_with_idle": with_idle,
        "resident_bytes_most": most,
        "resident_bytes_end": end,
        "bytes_an_idle_connection": with_idle.saturating_sub(at_rest) / options.idle.max(1) as u64,
        "seconds": (clock.elapsed().as_secs_f64() * 10.0).round() / 10.0,
        "status": if outcome.is_ok() { "ok" } else { "failed" },
    });
    println!("{line}");
    outcome.is_ok()
}

fn crowd(options: &Options, seen: &mut Seen) -> Result<(), String> {
    let program = match &options.program {
        Some(path) => Program::at(path)?,
        None => Program::build()?,
    };
    let folder = program.folder()?;
    let (mut process, port) = serve(&program, folder.path(), options.shards)?;
    let mut first = Connection::open(port)?;
    for text in [
        "CREATE KEYSPACE k WITH replication = {'class': 'SimpleStrategy', 'replication_factor': 1}",
        "CREATE TABLE k.messages (channel int, id int, content int, PRIMARY KEY (channel, id)) \
         WITH CLUSTERING ORDER BY (id DESC)",
    ] {
        first.query(text)?;
    }
    seen.resident_bytes = [process.resident_bytes()?; 4];
    let mut resting = Vec::with_capacity(options.idle);
    for nth in 0..options.idle {
        let opened = Connection::open(port);
        resting.push(opened.map_err(|why| format!("connection {nth} of those that rest: {why} (see `ulimit -n`)"))?);
        if (nth + 1) % 1_000 == 0 {
            eprintln!("{} rest", nth + 1);
        }
    }
    seen.resident_bytes[1..].fill(process.resident_bytes()?);
    drive(options, &mut process, port, seen)?;
    for (nth, connection) in resting.iter_mut().enumerate() {
        let rows = connection.query("SELECT key FROM system.local");
        let rows =
            rows.map_err(|trouble| format!("connection {nth} of those that rested: {}", String::from(trouble)))?;
        if rows.len() != 1 {
            return Err(format!("connection {nth} of those that rested is told {rows:?}"));
        }
    }
    process.terminate()
}

/// The busy ones, side by side.
fn drive(options: &Options, process: &mut Process, port: u16, seen: &mut Seen) -> Result<(), String> {
    let time = Duration::from_secs(u64::from(options.seconds));
    let failed = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let mut threads = Vec::new();
        for number in 0..i32::from(options.busy) {
            let failed = &failed;
            let work = move || {
                let worked = work(port, number, options.pace, time, failed);
                failed.fetch_or(worked.is_err(), Ordering::SeqCst);
                worked.map_err(|why| format!("busy connection {number}: {why}"))
            };
            let thread = std::thread::Builder::new().stack_size(STACK_BYTES);
            match thread.spawn_scoped(scope, work) {
                Ok(thread) => threads.push(thread),
                Err(error) => {
                    // Those that work already are not waited for till the end.
                    failed.store(true, Ordering::SeqCst);
                    return Err(format!("thread {number}: {error}"));
                }
            }
        }
        let clock = Stopwatch::start();
        while clock.elapsed() < time && !failed.load(Ordering::SeqCst) {
            process.listen(LOOK_EVERY.min(time - clock.elapsed().min(time)))?;
            let now = process.resident_bytes()?;
            seen.resident_bytes[2] = seen.resident_bytes[2].max(now);
            seen.resident_bytes[3] = now;
            if clock.elapsed().as_secs() % 60 < LOOK_EVERY.as_secs() {
                eprintln!("{:.0} s: {} MiB resident", clock.elapsed().as_secs_f64(), now >> 20);
            }
        }
        let mut all = Histogram::new(3).expect("three digits");
        let mut first = Ok(());
        for thread in threads {
            match thread
                .join()
                .unwrap_or_else(|_| Err("a busy connection panicked".to_owned()))
            {
                Ok(latency) => all.add(&latency).expect("histograms of one kind"),
                Err(why) => first = first.and(Err(why)),
            }
        }
        seen.requests = all.len();
        seen.latency_us = Some(all);
        first
    })
}

/// One of them: writes a message and reads the newest, at its pace.
#[expect(clippy::disallowed_methods, reason = "a thread of a client, beside no shard")]
fn work(port: u16, channel: i32, pace: u32, time: Duration, failed: &AtomicBool) -> Result<Histogram<u64>, String> {
    let mut latency = Histogram::new(3).expect("three digits");
    let mut connection = Connection::open(port)?;
    let every = Duration::from_secs(1) / pace.max(1);
    // They do not all come at once.
    std::thread::sleep(every.mul_f64(f64::from(channel % 100) / 100.0));
    let clock = Stopwatch::start();
    for id in 0..i32::MAX {
        if clock.elapsed() >= time || failed.load(Ordering::SeqCst) {
            break;
        }
        let one = Stopwatch::start();
        connection.execute(
            "INSERT INTO k.messages (channel, id, content) VALUES (?, ?, ?)",
            &[channel, id, channel ^ id],
        )?;
        let written = one.elapsed();
        let rows = connection.execute(
            "SELECT id, content FROM k.messages WHERE channel = ? LIMIT ?",
            &[channel, PAGE],
        )?;
        let read = one.elapsed() - written;
        for took in [written, read] {
            let us = u64::try_from(took.as_micros()).unwrap_or(u64::MAX);
            latency.record(us.max(1)).expect("it grows by itself");
        }
        let expected = (0..=id).rev().take(PAGE as usize).map(|id| {
            let cell = |value: i32| Some(value.to_be_bytes().to_vec());
            vec![cell(id), cell(channel ^ id)]
        });
        if !rows.iter().cloned().eq(expected) {
            return Err(format!("after message {id} the newest are {rows:?}"));
        }
        std::thread::sleep((every * (id as u32 + 1)).saturating_sub(clock.elapsed()));
    }
    Ok(latency)
}
