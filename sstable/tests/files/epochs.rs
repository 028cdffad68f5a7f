//! Epoch shares: what a writer was told is in the file, and in nobody's way.
#![allow(clippy::unwrap_used, reason = "tests")]

use std::path::Path;
use std::rc::Rc;

use runtime::ShardId;
use runtime::sim::{Config, Sim};
use scrollback_sstable::{BlockCache, EpochShare, EpochShares, Statistics, Summary, Table, Writer, offline};

use crate::common::{self, Rng};

fn shares(epochs: &[i64]) -> EpochShares {
    let share = |epoch: &i64| EpochShare {
        epoch: *epoch,
        bytes: 1000,
        shadowed_bytes: 70,
    };
    EpochShares {
        epoch_hours: 168,
        shares: epochs.iter().map(share).collect(),
    }
}

/// Writes a file with each of `told` in turn; gives what the writer and an open table say of it, and its bytes.
fn write(told: Vec<EpochShares>) -> (Summary, Statistics, Vec<u8>) {
    let mut sim = Sim::new(Config {
        seed: 1,
        shards: 1,
        ..Config::default()
    });
    let node = sim.start();
    let path = Path::new("/t.sst");
    let job = move || async move {
        let mut writer = Writer::create(path, common::options(), 0).await.unwrap();
        for fragment in common::fragments(&common::partitions(&mut Rng(3))) {
            writer.append(fragment.fragment()).await.unwrap();
        }
        for shares in told {
            writer.set_epochs(shares);
        }
        let summary = writer.seal().await.unwrap();
        let cache = Rc::new(BlockCache::new(0));
        let table = Table::open(path, summary.generation, summary.file_bytes, cache)
            .await
            .unwrap();
        let statistics = table.statistics().clone();
        table.close().await.unwrap();
        (summary, statistics)
    };
    let (summary, statistics) = sim.run(async move { node.call(ShardId(0), job).await.unwrap() }).done();
    let bytes = sim.disk().read_file(path).unwrap();
    (summary, statistics, bytes)
}

#[test]
fn a_files_epoch_shares_are_what_its_writer_was_told() {
    let (plain, ..) = write(Vec::new());
    for (told, expected) in [
        (vec![], None),
        (vec![shares(&[])], Some(shares(&[]))),
        (vec![shares(&[-3, 0, 2800])], Some(shares(&[-3, 0, 2800]))),
        (vec![shares(&[1]), shares(&[2, 3])], Some(shares(&[2, 3]))),
    ] {
        let (summary, statistics, bytes) = write(told);
        assert_eq!(summary.statistics.epochs, expected);
        assert_eq!(statistics, summary.statistics);
        // The rest is as without, and `verify`, which counts again, has nothing to say.
        let rest = Statistics {
            epochs: None,
            ..statistics
        };
        assert_eq!(rest, plain.statistics);
        assert_eq!(offline::verify(&bytes).unwrap().file_bytes, summary.file_bytes);
        let text = offline::stats(&bytes).unwrap().to_string();
        let lines: Vec<&str> = text.lines().filter(|line| line.starts_with("epoch")).collect();
        match expected {
            None => assert_eq!(lines, [] as [&str; 0]),
            Some(expected) => {
                assert_eq!(lines[0], "epoch_hours: 168");
                assert_eq!(lines.len(), 1 + expected.shares.len());
                for (line, share) in lines[1..].iter().zip(expected.shares) {
                    assert_eq!(*line, format!("epoch: 1000 bytes of {}, 70 shadowed", share.epoch));
                }
            }
        }
    }
}
