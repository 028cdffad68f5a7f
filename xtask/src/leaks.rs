//! `cargo xtask leaks`: a store is opened, written to and closed again and again in this process. Descriptors and threads are
//! counted, and memory is measured, when a tenth of the rounds is done and at the end: nothing may have grown.

use std::path::Path;

use clap::Args;
use engine::{Config, Store};
use model::{CqlType, Insert, Schema};
use serde_json::json;

/// A folder serves so many rounds: each close adds a table file.
const ROUNDS_A_FOLDER: u32 = 50;
/// What the allocator may keep more at the end than after a tenth, bytes.
const SLACK_BYTES: u64 = 16 << 20;

/// Looks at what is left at the end, at most, a tenth of a second apart.
const WAITS_MAX: u32 = 50;

#[derive(Args)]
pub(crate) struct Options {
    /// Rounds with a small store of two shards: open, write, close.
    #[arg(long, value_name = "N", default_value_t = 10_000, value_parser = clap::value_parser!(u32).range(10..=10_000_000))]
    rounds: u32,
    /// Rounds with the default configuration: open and close.
    #[arg(long, value_name = "N", default_value_t = 100, value_parser = clap::value_parser!(u32).range(10..=100_000))]
    cycles: u32,
}

/// What a process has.
#[derive(Clone, Copy, Debug)]
struct Holds {
    descriptors: usize,
    threads: usize,
    memory_bytes: u64,
}

#[expect(clippy::disallowed_methods, reason = "off the shards")]
impl Holds {
    fn now() -> Holds {
        let entries = |dir: &str| std::fs::read_dir(dir).map_or(0, Iterator::count);
        let memory = std::fs::read_to_string("/proc/self/statm").unwrap_or_default();
        let pages: u64 = memory
            .split(' ')
            .nth(1)
            .and_then(|pages| pages.parse().ok())
            .unwrap_or(0);
        Holds {
            descriptors: entries("/proc/self/fd"),
            threads: entries("/proc/self/task"),
            memory_bytes: pages * 4096,
        }
    }

    fn wait() {
        std::thread::sleep(std::time::Duration::from_millis(100));
    }
}

/// Runs both; true if nothing leaks.
pub(crate) fn run(options: &Options) -> bool {
    let small = |dir: &Path| {
        Config::new(dir)
            .shards(Some(2))
            .memtable_bytes(1 << 20)
            .block_cache_bytes(1 << 20)
            .row_cache_bytes(1 << 20)
            .log_segment_bytes(64 << 10)
            .log_bytes_max(1 << 20)
    };
    let rounds = repeat("open, write, close", options.rounds, true, small);
    let cycles = repeat("open, close", options.cycles, false, |dir| Config::new(dir));
    match (rounds, cycles) {
        (Ok(rounds), Ok(cycles)) => {
            let tell = |n: u32, [then, now]: [Holds; 2]| {
                json!({
                    "rounds": n,
                    "descriptors": [then.descriptors, now.descriptors],
                    "threads": [then.threads, now.threads],
                    "memory_bytes": [then.memory_bytes, now.memory_bytes],
                })
            };
            println!(
                "{}",
                json!({"small": tell(options.rounds, rounds), "default": tell(options.cycles, cycles)})
            );
            [rounds, cycles].into_iter().all(|[then, now]| {
                now.descriptors <= then.descriptors
                    && now.threads <= then.threads
                    && now.memory_bytes <= then.memory_bytes + SLACK_BYTES
            })
        }
        (rounds, cycles) => {
            for error in [rounds.err(), cycles.err()].into_iter().flatten() {
                eprintln!("leaks: {error}");
            }
            false
        }
    }
}

/// What the process has after a tenth of the rounds, and after all.
fn repeat(name: &str, rounds: u32, write: bool, config: impl Fn(&Path) -> Config) -> Result<[Holds; 2], String> {
    let mut then = None;
    let mut folder = None;
    for round in 0..rounds {
        if round % ROUNDS_A_FOLDER == 0 {
            folder = Some(tempfile::tempdir().map_err(|error| error.to_string())?);
        }
        let dir = folder
            .as_ref()
            .map(tempfile::TempDir::path)
            .unwrap_or_else(|| Path::new("."));
        let config = config(dir);
        let done = runtime::block_on(async {
            let store = Store::open(config).await?;
            if write {
                let schema = Schema::builder("leaks", "rounds")
                    .partition_key("round", CqlType::Int)
                    .clustering_desc("id", CqlType::Int)
                    .regular("text", CqlType::Text)
                    .build();
                let schema = store.create_table(schema.expect("a legal table"), true).await?;
                for id in 0..4 {
                    let row = Insert::into(&schema)
                        .set("round", round as i32)
                        .and_then(|row| row.set("id", id));
                    let row = row
                        .and_then(|row| row.set("text", "x".repeat(100)))
                        .and_then(|row| row.at(1));
                    store.apply(row.expect("a legal row")).await?;
                }
            }
            store.close().await
        });
        done.map_err(|error: engine::Error| format!("{name}, round {round}: {error}"))?;
        if round + 1 == rounds / 10 {
            then = Some(Holds::now());
        }
        if (round + 1) % (rounds / 10).max(1) == 0 {
            eprintln!("leaks: {name}: {} of {rounds}: {:?}", round + 1, Holds::now());
        }
    }
    drop(folder);
    let then = then.ok_or_else(|| format!("{name}: too few rounds"))?;
    // The kernel's workers of a ring that is gone end a little later.
    let mut now = Holds::now();
    for _ in 0..WAITS_MAX {
        if now.threads <= then.threads && now.descriptors <= then.descriptors {
            break;
        }
        Holds::wait();
        now = Holds::now();
    }
    Ok([then, now])
}
