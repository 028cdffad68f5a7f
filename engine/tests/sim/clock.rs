//! A clock that is set back while the store is closed.

use crate::common::{key, message};
use crate::simulated::{open, run, simulator, small};

/// Found in review: the home shard of a channel gives a message its timestamp and its id, and another shard may hold it.
#[test]
fn every_shard_gives_timestamps_after_all_that_any_shard_holds() {
    for power_cut in [false, true] {
        let mut sim = simulator(1, 2);
        let handle = sim.start();
        let written = run(&mut sim, async move {
            let (store, schema) = open(handle, small("/store")).await;
            let channel = (1..)
                .find(|&channel| store.shard_of(&key(channel)).0 == 1)
                .expect("a channel of the second shard");
            let written = store.call(runtime::ShardId(0), move |shard| async move {
                let timestamp = shard.timestamp().await.expect("given");
                let write = message(&schema, channel, 1, timestamp, "hello");
                shard.apply(write).await.expect("written");
                timestamp
            });
            let written = written.await.expect("the shard serves");
            if !power_cut {
                store.close().await.expect("closed");
            }
            written
        });
        if power_cut {
            sim.crash();
        }
        sim.step_wall_clock(-10_000_000);
        let handle = sim.start();
        run(&mut sim, async move {
            let (store, _) = open(handle, small("/store")).await;
            for shard in [0, 1] {
                let next = store.call(runtime::ShardId(shard), |shard| async move { shard.timestamp().await });
                let next = next.await.flatten().expect("the shard serves");
                assert!(
                    next > written,
                    "shard {shard} gives {next}, and {written} is in the store"
                );
            }
            store.close().await.expect("closed");
        });
    }
}

/// Found by histories of CQL: a batch over several partitions has the timestamp of one of their owners, and what another gave to a write
/// after it could be less, so that the write was acknowledged and never seen.
#[test]
fn a_shard_goes_on_after_what_another_has_given() {
    let mut sim = simulator(2, 2);
    let handle = sim.start();
    run(&mut sim, async move {
        let (store, _) = open(handle, small("/store")).await;
        let given = store.call(runtime::ShardId(0), |shard| async move {
            shard.timestamps(50_000).await.map(|first| first + 49_999)
        });
        let given = given.await.flatten().expect("the shard serves");
        let next = store.call(runtime::ShardId(1), move |shard| async move {
            shard.go_on_after(given);
            shard.timestamp().await
        });
        let next = next.await.flatten().expect("the shard serves");
        assert!(next > given, "{next} is given after {given}");
        store.close().await.expect("closed");
    });
}
