//! Thousands of seeds of a tiny write-ahead log, right and wrong: the simulator must accept the one and find the other.
//!
//! The log is a file of blocks, each with a number and a checksum. A writer appends, makes it durable, and says so
//! (acknowledges) outside of the node; every so often it starts a new file and removes the old one. After a crash the
//! blocks are read back until one is not valid. What was acknowledged must be there.

#![allow(clippy::unwrap_used, reason = "helpers of tests")]

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use runtime::disk::{self, BLOCK, Buf, CreateOptions, File};
use runtime::sim::{Config, Outcome, Sim, SimStats, Tear};
use runtime::{Error, ShardId};
use scrollback_runtime as runtime;

/// Blocks in a file.
const FILE_BLOCKS: u64 = 5;

/// Which line the protocol loses.
#[derive(Clone, Copy, PartialEq, Debug)]
enum Mistake {
    None,
    /// The write is not synced.
    NoSync,
    /// The new file's name is not synced before it is used.
    NoDirSync,
    /// Acknowledged before the sync.
    EarlyAck,
    /// After a failed sync it syncs again and goes on.
    RetriedSync,
    /// The old file is removed before the new one holds what replaces it.
    EarlyRemove,
    /// Replay believes every block.
    NoChecksum,
}

fn checksum(number: u64) -> u64 {
    (number ^ 0x5CA1_AB1E).wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1
}

/// Number in front, checksum at the end: a torn block has one without the other.
fn block(number: u64) -> std::rc::Rc<Buf> {
    let mut buf = Buf::zeroed(BLOCK);
    buf[..8].copy_from_slice(&number.to_le_bytes());
    buf[BLOCK - 8..].copy_from_slice(&checksum(number).to_le_bytes());
    std::rc::Rc::new(buf)
}

fn name(first: u64) -> PathBuf {
    PathBuf::from(format!("/log/{first:08}"))
}

/// Reads all files and gives the last number that is believed, and whether every block that is believed is whole.
async fn replay(mistake: Mistake) -> Result<(u64, bool), Error> {
    let mut last = 0;
    let mut whole = true;
    for entry in disk::list(Path::new("/log")).await? {
        let file = File::open_read(&Path::new("/log").join(&entry.name)).await?;
        for at in 0..entry.len / BLOCK as u64 {
            let bytes = file.read(at * BLOCK as u64, BLOCK).await?;
            let number = u64::from_le_bytes(bytes[..8].try_into().unwrap());
            let sum = u64::from_le_bytes(bytes[BLOCK - 8..].try_into().unwrap());
            if mistake != Mistake::NoChecksum && sum != checksum(number) || number == 0 {
                break;
            }
            whole &= sum == checksum(number);
            last = number.max(last);
        }
    }
    Ok((last, whole))
}

async fn append(from: u64, mistake: Mistake, acknowledged: Arc<AtomicU64>) -> Result<(), Error> {
    let mut number = from;
    let mut older: Vec<PathBuf> = disk::list(Path::new("/log"))
        .await?
        .into_iter()
        .map(|e| Path::new("/log").join(e.name))
        .collect();
    loop {
        let path = name(number + 1);
        if mistake == Mistake::EarlyRemove {
            remove(&mut older).await?;
        }
        // A leftover of an earlier attempt, of which nothing was acknowledged.
        older.retain(|old| *old != path);
        if disk::exists(&path).await? {
            disk::remove(&path).await?;
        }
        let file = File::create(&path, CreateOptions::default()).await?;
        for at in 0..FILE_BLOCKS {
            number += 1;
            file.write(at * BLOCK as u64, block(number)).await?;
            if mistake == Mistake::EarlyAck {
                acknowledged.store(number, Ordering::Relaxed);
            }
            if mistake != Mistake::NoSync {
                match file.sync().await {
                    Err(_) if mistake == Mistake::RetriedSync => file.sync().await?,
                    result => result?,
                }
            }
            if at == 0 {
                if mistake != Mistake::NoDirSync {
                    disk::sync_dir(Path::new("/log")).await?;
                }
                acknowledged.fetch_max(number, Ordering::Relaxed);
                remove(&mut older).await?;
            }
            acknowledged.fetch_max(number, Ordering::Relaxed);
        }
        older.push(path);
    }
}

async fn remove(older: &mut Vec<PathBuf>) -> Result<(), Error> {
    for old in older.drain(..) {
        disk::remove(&old).await?;
    }
    Ok(())
}

/// One seed: a few boots with a crash each. `Err`: what was found.
fn history(seed: u64, mistake: Mistake, p_io_error: f64, stats: &mut SimStats) -> Result<(), String> {
    let mut sim = Sim::new(Config {
        seed,
        shards: 1,
        p_io_error,
        tear: Tear::Seeded,
        ..Config::default()
    });
    sim.disk().create_dir_all("/log");
    let acknowledged = Arc::new(AtomicU64::new(0));
    let mut result = Ok(());
    for boot in 0..4 {
        let node = sim.start();
        // A short way to the crash for most, so that few operations stand between the mistake and its punishment.
        sim.crash_at_op(Some(1 + (seed.wrapping_mul(0x9E37_79B9) >> (boot * 7)) % 60));
        let before = acknowledged.load(Ordering::Relaxed);
        let ours = Arc::clone(&acknowledged);
        let outcome = sim.run(async move {
            let work = move || async move {
                // An error of a read may be tried again; one of the log ends the process.
                let (last, whole) = loop {
                    match replay(mistake).await {
                        Ok(found) => break found,
                        Err(error) if error.is_not_found() => panic!("{error}"),
                        Err(_) => {}
                    }
                };
                if last < before {
                    return Err(format!("{before} was acknowledged, {last} is there"));
                }
                if !whole {
                    return Err("a torn block was believed".to_owned());
                }
                let _io_error = append(last, mistake, ours).await;
                Ok(())
            };
            node.call(ShardId(0), work).await.unwrap()
        });
        match outcome {
            Outcome::Crashed => {}
            Outcome::Done(Ok(())) => sim.crash(),
            Outcome::Done(Err(lost)) => {
                result = Err(format!("seed {seed}, boot {boot}: {lost}"));
                break;
            }
            Outcome::Stuck(text) => panic!("{text}"),
        }
    }
    stats.add(&sim.stats());
    result
}

fn first_found(mistake: Mistake, p_io_error: f64, seeds: u64) -> Option<String> {
    let mut stats = SimStats::default();
    (0..seeds).find_map(|seed| history(seed, mistake, p_io_error, &mut stats).err())
}

#[test]
fn a_right_protocol_survives_thousands_of_seeds() {
    let mut stats = SimStats::default();
    for seed in 0..2000 {
        let p_io_error = if seed % 2 == 0 { 0.0 } else { 0.02 };
        history(seed, Mistake::None, p_io_error, &mut stats).unwrap();
    }
    assert!(
        stats.crashes > 6_000 && stats.writes_torn > 500 && stats.writes_dropped > 1000,
        "{stats:?}"
    );
    assert!(
        stats.writes_kept > 1000 && stats.entries_dropped > 1000 && stats.sync_errors > 200,
        "{stats:?}"
    );
}

#[test]
fn each_mistake_is_found() {
    for mistake in [
        Mistake::NoSync,
        Mistake::NoDirSync,
        Mistake::EarlyAck,
        Mistake::RetriedSync,
        Mistake::EarlyRemove,
        Mistake::NoChecksum,
    ] {
        let p_io_error = if mistake == Mistake::RetriedSync { 0.05 } else { 0.0 };
        match first_found(mistake, p_io_error, 3000) {
            Some(found) => println!("{mistake:?}: {found}"),
            None => panic!("{mistake:?} was not found in 3000 seeds"),
        }
    }
}
