//! A store is opened with another number of shards than before: what the logs and the shared files hold is there, once.

use crate::common::{history, message};
use crate::simulated::{open, run, simulator, small};
use model::TableId;
use runtime::ShardId;
use scrollback_engine::{Config, Store};
use std::collections::BTreeSet;

const CHANNELS: i64 = 40;
const EACH: i64 = 5;

/// The channels that the shards list, each with the shard that lists it.
async fn listed(store: &Store, table: TableId) -> Vec<(i64, ShardId)> {
    let mut all = Vec::new();
    for shard in (0..store.shards()).map(ShardId) {
        let mut after: Option<Vec<u8>> = None;
        loop {
            let keys = store.partitions(shard, table, after.take(), 3).await.expect("listed");
            let Some(last) = keys.last() else { break };
            after = Some(last.clone());
            all.extend(
                keys.iter()
                    .map(|key| (i64::from_be_bytes(key[..].try_into().expect("a bigint")), shard)),
            );
        }
    }
    all
}

/// Opens the store with each number of shards in turn; each time every channel gets messages, half of them are flushed, and
/// the machine loses its power or is shut down.
#[test]
fn every_number_of_shards_finds_what_the_others_wrote() {
    for seed in 1..=4 {
        let mut sim = simulator(seed, 2);
        let counts = [2, 1, 7, 3, 64, 2];
        for (round, shards) in (0_i64..).zip(counts) {
            sim.set_shards(shards);
            let handle = sim.start();
            run(&mut sim, async move {
                let (store, schema) = open(handle, small("/store")).await;
                assert_eq!(usize::from(store.shards()), shards);
                for channel in 0..CHANNELS {
                    let ids: Vec<i64> = history(&store, &schema, channel, 7)
                        .await
                        .into_iter()
                        .map(|(id, _)| id)
                        .collect();
                    let sent: Vec<i64> = (0..round * EACH).rev().collect();
                    assert_eq!(ids, sent, "channel {channel} with {shards} shards");
                }
                if round > 0 {
                    let listed = listed(&store, schema.id).await;
                    for &(channel, shard) in &listed {
                        assert_eq!(shard, store.shard_of(&channel.to_be_bytes()), "channel {channel}");
                    }
                    let channels: BTreeSet<i64> = listed.iter().map(|(channel, _)| *channel).collect();
                    assert_eq!(
                        (listed.len() as i64, channels.len() as i64),
                        (CHANNELS, CHANNELS),
                        "each once"
                    );
                }
                for channel in 0..CHANNELS {
                    for id in round * EACH..(round + 1) * EACH {
                        let sent = message(&schema, channel, id, 1_000 + id, "x");
                        store.apply(sent).await.expect("written");
                    }
                    if channel == CHANNELS / 2 {
                        store.flush().await.expect("flushed");
                    }
                }
                if round % 2 == 1 {
                    store.close().await.expect("closed");
                }
            });
            sim.crash();
        }
    }
}

/// A row of a shared file is counted by one shard.
#[test]
fn shared_files_are_counted_once() {
    let mut sim = simulator(9, 3);
    // Nothing is merged before it is counted.
    let config = || Config {
        compaction: false,
        ..small("/store")
    };
    for shards in [3, 7, 1] {
        sim.set_shards(shards);
        let handle = sim.start();
        run(&mut sim, async move {
            let (store, schema) = open(handle, config()).await;
            for channel in 0..CHANNELS {
                store
                    .apply(message(&schema, channel, 1, 1, "x"))
                    .await
                    .expect("written");
            }
            if shards == 3 {
                store.flush().await.expect("flushed");
            }
            let statistics = store.statistics().await.expect("open");
            let rows: u64 = statistics.iter().map(|of| of.rows_on_disk).sum();
            // What was written over in between is flushed when the store closes.
            let flushes = if shards == 1 { 2 } else { 1 };
            assert_eq!(rows, CHANNELS as u64 * flushes, "{shards} shards");
            store.close().await.expect("closed");
        });
    }
}
