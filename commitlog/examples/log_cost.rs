//! What the log costs: CPU and allocations per append, the latency of a synchronous write, the rate of a replay.
//!
//! `cargo run --release -p scrollback-commitlog --example log_cost -- [FOLDER]` (default: a folder in `TMPDIR`, which must lie
//! on a file system with direct I/O). One line per figure, as JSON; the last line says what was measured on.
#![allow(clippy::unwrap_used, reason = "a measurement ends with the first error")]

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use commitlog::replay::replay;
use commitlog::{AppendError, Latency, Log, LogPosition, Options, SyncMode, format};
use runtime::time::Instant;
use runtime::{Runtime, ShardId, TaskClass};

struct Counting;

static ALLOCATIONS: AtomicU64 = AtomicU64::new(0);

// SAFETY: everything is left to the system's allocator; only a counter is added.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        ALLOCATIONS.fetch_add(1, Ordering::Relaxed);
        // SAFETY: as promised by the caller.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, at: *mut u8, layout: Layout) {
        // SAFETY: as promised by the caller.
        unsafe { System.dealloc(at, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// CPU time of this process, user and system, in nanoseconds.
fn cpu_ns() -> u64 {
    // SAFETY: a plain struct of numbers, for which zeros are a value.
    let mut usage: libc::rusage = unsafe { std::mem::zeroed() };
    // SAFETY: the pointer is to a live struct of the right type.
    let result = unsafe { libc::getrusage(libc::RUSAGE_SELF, &mut usage) };
    assert_eq!(result, 0, "getrusage of this process works");
    let ns = |t: libc::timeval| t.tv_sec as u64 * 1_000_000_000 + t.tv_usec as u64 * 1000;
    ns(usage.ru_utime) + ns(usage.ru_stime)
}

const RECORD: [u8; 200] = [0x5C; 200];

fn consume(log: &Log) -> runtime::Task<u64> {
    let log = log.clone();
    runtime::spawn(TaskClass::Request, "consumer", async move {
        let mut records = 0;
        while let Some(group) = log.next_group().await.unwrap() {
            records += group.records().count() as u64;
            // What a flush would do.
            if let Some(below) = log.over_limit() {
                log.release(LogPosition {
                    segment: below.segment.min(log.durable().segment),
                    offset: 0,
                });
            }
        }
        records
    })
}

async fn append(log: &Log) -> LogPosition {
    loop {
        match log.append(&RECORD) {
            Ok(end) => return end,
            Err(AppendError::Full) => log.room(RECORD.len()).await.unwrap(),
            Err(other) => panic!("{other}"),
        }
    }
}

fn percentile(latency: &Latency, of_hundred: u64) -> u64 {
    let mut left = latency.count * of_hundred / 100;
    for (i, &count) in latency.buckets.iter().enumerate() {
        if count > left {
            return 1 << i;
        }
        left -= count;
    }
    latency.max_us
}

fn encode() {
    let mut out = vec![0; RECORD.len() + format::RECORD_HEADER_LEN];
    let rounds = 2_000_000u32;
    let begun = Instant::now();
    for i in 0..rounds {
        let at = LogPosition { segment: 7, offset: i };
        format::encode_record(&mut out, 0x9f03_a1c4, at, LogPosition::default().max(at), &RECORD);
        std::hint::black_box(&out);
    }
    let ns = begun.elapsed().as_nanos() as f64 / f64::from(rounds);
    println!(r#"{{"what":"encode","record_bytes":{},"ns":{ns:.1}}}"#, RECORD.len());
}

async fn bulk(options: Options, records: u64) {
    let log = Log::open(options, 1).await.unwrap();
    let consumer = consume(&log);
    // The buffers grow to their size first.
    for _ in 0..100_000 {
        append(&log).await;
    }
    log.wait_durable(log.appended()).await.unwrap();
    let (cpu, allocations) = (cpu_ns(), ALLOCATIONS.load(Ordering::Relaxed));
    let (begun, mut inside) = (Instant::now(), Duration::ZERO);
    let before = log.stats();
    let mut done = 0;
    while done < records {
        let batch = Instant::now();
        let mut taken = 0;
        while taken < 100 && log.append(&RECORD).is_ok() {
            taken += 1;
        }
        inside += batch.elapsed();
        done += taken;
        if taken < 100 {
            log.room(RECORD.len()).await.unwrap();
        } else {
            runtime::breathe().await;
        }
    }
    log.wait_durable(log.appended()).await.unwrap();
    let wall = begun.elapsed();
    let per = |total: u64| total as f64 / done as f64;
    let stats = log.stats();
    println!(
        r#"{{"what":"bulk","records":{done},"append_ns":{:.1},"cpu_ns":{:.1},"allocations_per_record":{:.4},"per_s":{:.0},"mb_s":{:.0},"groups":{},"overhead":{:.3}}}"#,
        inside.as_nanos() as f64 / done as f64,
        per(cpu_ns() - cpu),
        per(ALLOCATIONS.load(Ordering::Relaxed) - allocations),
        done as f64 / wall.as_secs_f64(),
        done as f64 * RECORD.len() as f64 / 1e6 / wall.as_secs_f64(),
        stats.groups - before.groups,
        (stats.written_bytes - before.written_bytes) as f64 / (stats.bytes - before.bytes) as f64,
    );
    log.close().await.unwrap();
    consumer.await;
}

async fn waiting(options: Options, writers: u64, records: u64) {
    let log = Log::open(options, 1).await.unwrap();
    let consumer = consume(&log);
    // The spare is made before anything is measured.
    runtime::time::sleep(Duration::from_millis(300)).await;
    let (begun, cpu, left) = (Instant::now(), cpu_ns(), Rc::new(Cell::new(records)));
    let tasks: Vec<_> = (0..writers)
        .map(|_| {
            let (log, left) = (log.clone(), Rc::clone(&left));
            runtime::spawn(TaskClass::Request, "writer", async move {
                while left.get() > 0 {
                    left.set(left.get() - 1);
                    let end = append(&log).await;
                    log.wait_durable(end).await.unwrap();
                }
            })
        })
        .collect();
    for task in tasks {
        task.await;
    }
    let wall = begun.elapsed();
    let (stats, cpu) = (log.stats(), cpu_ns() - cpu);
    println!(
        r#"{{"what":"durable","writers":{writers},"records":{records},"per_s":{:.0},"bound_per_s":{:.0},"cpu_us":{:.2},"groups":{},"odsync_mean_us":{:.0},"odsync_p50_us_below":{},"odsync_p99_us_below":{},"odsync_max_us":{}}}"#,
        records as f64 / wall.as_secs_f64(),
        writers as f64 / (2.0 * stats.odsync_us.mean_us()) * 1e6,
        cpu as f64 / 1000.0 / records as f64,
        stats.groups,
        stats.odsync_us.mean_us(),
        percentile(&stats.odsync_us, 50),
        percentile(&stats.odsync_us, 99),
        stats.odsync_us.max_us,
    );
    log.close().await.unwrap();
    consumer.await;
}

async fn recovery(dir: &Path) {
    let (begun, cpu) = (Instant::now(), cpu_ns());
    let mut bytes = 0;
    let report = replay(
        dir,
        0,
        async |_: LogPosition, record: &[u8]| -> Result<(), std::convert::Infallible> {
            bytes += record.len() as u64;
            Ok(())
        },
    );
    let report = report.await.unwrap();
    let wall = begun.elapsed().as_secs_f64();
    let gb = bytes as f64 / 1e9;
    println!(
        r#"{{"what":"replay","records":{},"segments":{},"gb":{gb:.3},"s_per_gb":{:.2},"cpu_s_per_gb":{:.2},"torn":{}}}"#,
        report.records,
        report.segments,
        wall / gb,
        (cpu_ns() - cpu) as f64 / 1e9 / gb,
        report.torn.is_some()
    );
}

fn main() {
    let folder = match std::env::args().nth(1) {
        Some(folder) => tempfile::tempdir_in(folder),
        None => tempfile::tempdir(),
    };
    let folder = folder.unwrap();
    encode();
    let node = Runtime::start(runtime::Options::default()).unwrap();
    let base: PathBuf = folder.path().into();
    let measure = move || async move {
        let options = |name: &str| Options::new(base.join(name), 0);
        let mut limited = options("bulk");
        limited.total_bytes_max = 512 << 20;
        bulk(limited.clone(), 2_000_000).await;
        recovery(&limited.dir).await;
        let mut periodic = options("periodic");
        periodic.total_bytes_max = 512 << 20;
        periodic.sync = SyncMode::Periodic {
            period: Duration::from_secs(1),
        };
        bulk(periodic, 2_000_000).await;
        for writers in [1, 2, 64] {
            waiting(options(&format!("writers-{writers}")), writers, 3000 * writers.min(16)).await;
        }
    };
    node.handle().call(ShardId(0), measure).wait().unwrap();
    node.stop().unwrap();
    let cores = std::thread::available_parallelism().map_or(0, std::num::NonZero::get);
    println!(
        r#"{{"what":"machine","cores":{cores},"folder":"{}"}}"#,
        folder.path().display()
    );
}
