//! 64 writers that are tokio tasks, beside 64 that are tasks on the shards: what the way in costs.
//!
//! `cargo bench -p scrollback --bench outside [-- MESSAGES]`: durable sends, one under way for each writer, both kinds in turn on a new store each,
//! three times. A line a run: messages a second, CPU of the process for each, latencies.

#![expect(
    clippy::disallowed_methods,
    reason = "a measurement by the wall clock, most of it off the shards"
)]

use scrollback::{Config, Messages, Result};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

const WRITERS: u64 = 64;
const CHANNELS: u64 = 128;
const ROUNDS: usize = 3;

/// CPU time of this process, user and system.
fn cpu() -> Duration {
    let stat = std::fs::read_to_string("/proc/self/stat").expect("Linux tells it");
    // Behind the name, which may have spaces: the 12th and the 13th field, in hundredths of a second.
    let fields: Vec<&str> = stat.rsplit(')').next().unwrap_or_default().split_whitespace().collect();
    let ticks: u64 = [11, 12]
        .iter()
        .map(|at| fields[*at].parse::<u64>().expect("a number"))
        .sum();
    Duration::from_millis(ticks * 10)
}

fn content() -> String {
    "x".repeat(200)
}

/// Counts down to 0; each writer takes from it.
#[derive(Clone)]
struct Left(Arc<AtomicU64>);

impl Left {
    fn take(&self) -> bool {
        self.0
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| left.checked_sub(1))
            .is_ok()
    }
}

async fn outside(store: &Messages, left: Left) -> Result<Vec<u64>> {
    let mut tasks = tokio::task::JoinSet::new();
    for writer in 0..WRITERS {
        let (store, left) = (store.clone(), left.clone());
        tasks.spawn(async move {
            let (mut took, mut channel) = (Vec::new(), writer);
            while left.take() {
                channel = (channel + WRITERS) % CHANNELS;
                let began = Instant::now();
                store.send(channel as i64, 1, content()).await?;
                took.push(began.elapsed().as_micros() as u64);
            }
            Result::Ok(took)
        });
    }
    let mut all = Vec::new();
    while let Some(took) = tasks.join_next().await {
        all.extend(took.expect("no panic")?);
    }
    Ok(all)
}

async fn inside(store: &Messages, left: Left) -> Result<Vec<u64>> {
    let shards = store.store().shards();
    let mut calls = tokio::task::JoinSet::new();
    for shard in 0..shards {
        let left = left.clone();
        let channels: Vec<i64> = (0..CHANNELS as i64)
            .filter(|of| store.home_of(*of).0 == shard)
            .collect();
        calls.spawn(store.call(runtime::ShardId(shard), move |local| async move {
            let writers = (0..WRITERS / u64::from(shards)).map(|writer| {
                let (local, left, channels) = (local.clone(), left.clone(), channels.clone());
                runtime::spawn(runtime::TaskClass::Request, "writer", async move {
                    let (mut took, mut at) = (Vec::new(), writer as usize);
                    while left.take() {
                        at += 1;
                        let began = Instant::now();
                        local.send(channels[at % channels.len()], 1, content()).await?;
                        took.push(began.elapsed().as_micros() as u64);
                    }
                    Result::Ok(took)
                })
            });
            let mut all = Vec::new();
            for writer in writers.collect::<Vec<_>>() {
                all.extend(writer.await?);
            }
            Ok(all)
        }));
    }
    let mut all = Vec::new();
    while let Some(took) = calls.join_next().await {
        all.extend(took.expect("no panic")?);
    }
    Ok(all)
}

#[tokio::main]
async fn main() -> Result<()> {
    let asked = std::env::args().skip(1).find_map(|arg| arg.parse().ok());
    let messages: u64 = asked.unwrap_or(200_000);
    for _ in 0..ROUNDS {
        for name in ["inside", "outside"] {
            let dir = tempfile::tempdir().expect("a folder");
            let store = Messages::open(Config::new(dir.path()).shards(Some(2))).await?;
            for part in [messages / 20, messages] {
                let left = Left(Arc::new(AtomicU64::new(part)));
                let (before, began) = (cpu(), Instant::now());
                let mut took = match name {
                    "inside" => inside(&store, left).await?,
                    _ => outside(&store, left).await?,
                };
                let (spent, wall) = (cpu() - before, began.elapsed());
                if part < messages {
                    continue; // files and channels come to be
                }
                took.sort_unstable();
                println!(
                    "{name:8} {:8.0} messages/s {:6.2} us CPU a message, p50 {} us, p99 {} us",
                    messages as f64 / wall.as_secs_f64(),
                    spent.as_secs_f64() * 1e6 / messages as f64,
                    took[took.len() / 2],
                    took[took.len() * 99 / 100],
                );
            }
            store.close().await?;
        }
    }
    Ok(())
}
