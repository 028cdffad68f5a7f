//! Names of files and directories that are not as durable as they look: what the manifest names is there after any crash.

use crate::common;
use crate::common::{history, message};
use crate::simulated::{open, run, small};
use runtime::sim::{self, Sim, Tear};
use scrollback_engine::Store;

const EIO: i32 = 5;

/// A machine that loses all that is not durable.
fn forgetful(seed: u64) -> Sim {
    Sim::new(sim::Config {
        seed,
        shards: 2,
        tear: Tear::DropAll,
        ..sim::Config::default()
    })
}

/// Opens the store and reads what `channels` hold.
fn count(sim: &mut Sim, channels: i64) -> usize {
    let handle = sim.start();
    run(sim, async move {
        let (store, schema) = open(handle, small("/store")).await;
        let mut found = 0;
        for channel in 0..channels {
            found += history(&store, &schema, channel, 50).await.len();
        }
        store.close().await.expect("closed");
        found
    })
}

/// The sync of a directory failed for one shard, and with it the names that another shard had just put there; its own sync
/// then succeeded and proved nothing.
#[test]
fn a_failed_sync_of_a_directory_is_remembered_by_all_shards() {
    for seed in 0..60 {
        let mut sim = forgetful(seed);
        let disk = sim.disk();
        let handle = sim.start();
        run(&mut sim, async move {
            let (store, schema) = open(handle, small("/store")).await;
            for channel in 0..8 {
                store
                    .apply(message(&schema, channel, 1, 1, "x"))
                    .await
                    .expect("written");
            }
            disk.fail_next("sync_dir", "tables/", 1, EIO);
            store.flush().await.expect("flushed in the end");
        });
        assert_eq!(sim.stats().errors(), 1, "seed {seed}: one sync has failed");
        sim.crash();
        assert_eq!(count(&mut sim, 8), 8, "seed {seed}");
    }
}

/// The directory of a new table was made, its sync failed; the next to look found it there and took it for durable.
#[test]
fn a_table_lives_in_a_directory_whose_name_is_durable() {
    for failing in 0..4 {
        let mut sim = forgetful(failing);
        let disk = sim.disk();
        let handle = sim.start();
        run(&mut sim, async move {
            let store = Store::open_on(handle, small("/store")).await.expect("opened");
            disk.fail_next("sync_dir", "tables", failing, EIO);
            let mut schema = None;
            for _ in 0..=failing {
                schema = store.create_table(common::chat(), true).await.ok().or(schema);
            }
            let schema = schema.expect("the table is made in the end");
            for channel in 0..4 {
                store
                    .apply(message(&schema, channel, 1, 1, "x"))
                    .await
                    .expect("written");
            }
            store.flush().await.expect("flushed in the end");
        });
        sim.crash();
        assert_eq!(count(&mut sim, 4), 4, "{failing} failed syncs");
    }
}
