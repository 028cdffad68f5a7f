//! The writer on a disk that fails, that is full, and that loses what was not synced.
#![allow(clippy::unwrap_used, reason = "tests")]

use crate::common;
use std::path::Path;

use crate::common::{Partition, Rng};
use model::{ColumnId, RowBuilder};
use runtime::ShardId;
use runtime::sim::{Config, Sim, Tear};
use scrollback_sstable::{Error, Summary, Writer, offline};

const ENOSPC: i32 = 28;
const EIO: i32 = 5;

/// About 400 KB that do not compress: several writes of the writer's size for small files.
fn large() -> Vec<Partition> {
    let mut rng = Rng(1);
    let mut row = RowBuilder::new();
    let mut p = Partition::new(b"channel");
    p.rows = (0..400u32)
        .map(|n| {
            row.clear().liveness(5).cell(ColumnId(1), 5, &rng.bytes(1000));
            ([&[0x10][..], &n.to_be_bytes()].concat(), row.finish().to_vec())
        })
        .collect();
    vec![p]
}

/// Writes the file; on an error gives up as a flush does.
async fn write(path: &Path, partitions: &[Partition], estimate: u64) -> Result<Summary, Error> {
    let mut writer = Writer::create(path, common::options(), estimate).await?;
    for fragment in common::fragments(partitions) {
        if let Err(error) = writer.append(fragment.fragment()).await {
            let again = writer.append(fragment.fragment()).await;
            assert!(
                matches!(again, Err(Error::Failed { .. })),
                "a failed writer stays failed: {again:?}"
            );
            writer.abort().await.unwrap();
            return Err(error);
        }
    }
    writer.seal().await
}

/// Bytes in use after a crash: what was removed must not come back.
fn used(sim: &mut Sim) -> u64 {
    sim.set_tear(Tear::KeepAll);
    sim.crash();
    sim.disk().used_bytes()
}

fn sim(seed: u64) -> Sim {
    Sim::new(Config {
        seed,
        shards: 1,
        ..Config::default()
    })
}

fn run(sim: &mut Sim, estimate: u64) -> Result<Summary, Error> {
    let node = sim.start();
    let write = move || async move { write(Path::new("/t.sst"), &large(), estimate).await };
    sim.run(async move { node.call(ShardId(0), write).await.unwrap() })
        .done()
}

#[test]
fn an_error_at_any_operation_leaves_no_file() {
    for errno in [ENOSPC, EIO] {
        for estimate in [0, 100_000, 1 << 20] {
            let mut failures = 0;
            for n in 0.. {
                let mut sim = sim(n);
                sim.disk().fail_after("", "t.sst", n, 1, errno);
                match run(&mut sim, estimate) {
                    Ok(summary) => {
                        let bytes = sim.disk().read_file("/t.sst").unwrap();
                        assert_eq!(bytes.len() as u64, summary.file_bytes);
                        assert_eq!(bytes, common::encode(common::options(), &large()));
                        // The operations are fewer: at least create, write, cut, sync.
                        assert!(n >= 4, "operation {n} failed unnoticed");
                        break;
                    }
                    Err(Error::Io(error)) => {
                        assert_eq!(error.is_no_space(), errno == ENOSPC, "{error}");
                        failures += 1;
                    }
                    Err(error) => panic!("operation {n}: {error}"),
                }
                assert_eq!(sim.disk().list(), [] as [&Path; 0], "operation {n}");
            }
            assert!(failures >= 4, "{failures} operations");
        }
    }
}

#[test]
fn a_full_disk_is_an_error_and_space_comes_back() {
    let mut sim = sim(1);
    sim.disk().set_capacity(Some(200_000));
    let error = run(&mut sim, 0).unwrap_err();
    assert!(matches!(&error, Error::Io(e) if e.is_no_space()), "{error}");
    assert_eq!(used(&mut sim), 0);
    let error = run(&mut sim, 1 << 20).unwrap_err();
    assert!(matches!(&error, Error::Io(e) if e.is_no_space()), "{error}");
    sim.disk().set_capacity(None);
    run(&mut sim, 0).unwrap();
}

#[test]
fn a_sealed_file_survives_a_crash() {
    for seed in common::seeds(6) {
        for tear in [Tear::DropAll, Tear::TornSectors, Tear::Seeded] {
            let mut sim = sim(seed);
            sim.set_tear(tear);
            let node = sim.start();
            let job = move || async move {
                let summary = write(Path::new("/t.sst"), &large(), seed * 40_000).await.unwrap();
                runtime::disk::sync_dir(Path::new("/")).await.unwrap();
                summary
            };
            let summary = sim.run(async move { node.call(ShardId(0), job).await.unwrap() }).done();
            sim.crash();
            let bytes = sim.disk().read_file("/t.sst").unwrap();
            assert_eq!(bytes.len() as u64, summary.file_bytes);
            let verified = offline::verify(&bytes);
            assert_eq!(verified.map(|v| v.rows), Ok(400), "seed {seed}, {tear:?}");
        }
    }
}

#[test]
fn a_crash_at_any_operation_leaves_a_whole_file_or_one_that_is_found_out() {
    let (mut whole, mut broken, mut gone) = (0, 0, 0);
    for seed in common::seeds(4) {
        for n in 1..30 {
            let mut sim = sim(seed);
            sim.crash_at_op(Some(n));
            let node = sim.start();
            let job = move || async move { write(Path::new("/t.sst"), &large(), seed * 60_000).await };
            let _ = sim.run(async move { node.call(ShardId(0), job).await });
            sim.crash();
            match sim.disk().read_file("/t.sst") {
                None => gone += 1,
                Some(bytes) => match offline::verify(&bytes) {
                    Ok(_) => {
                        assert_eq!(bytes, common::encode(common::options(), &large()));
                        whole += 1;
                    }
                    Err(_) => broken += 1,
                },
            }
        }
    }
    eprintln!("{whole} whole, {broken} broken, {gone} gone");
    assert!(whole > 0 && broken > 0 && gone > 0);
}

#[test]
fn an_aborted_file_is_gone() {
    let mut sim = sim(3);
    let node = sim.start();
    let job = || async {
        for count in [0, 1, 100, 300] {
            let mut writer = Writer::create(Path::new("/t.sst"), common::options(), 1 << 20)
                .await
                .unwrap();
            for fragment in common::fragments(&large()).iter().take(count) {
                writer.append(fragment.fragment()).await.unwrap();
            }
            writer.abort().await.unwrap();
        }
    };
    sim.run(async move { node.call(ShardId(0), job).await.unwrap() }).done();
    assert_eq!(sim.disk().list(), [] as [&Path; 0]);
    assert_eq!(used(&mut sim), 0);
}
