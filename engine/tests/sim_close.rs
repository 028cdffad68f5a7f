//! A store that is closed while it is read.

mod common;
#[path = "common/sim.rs"]
mod simulated;

use common::{key, message};
use runtime::{ShardId, TaskClass};
use scrollback_engine::{Config, Error, Read};
use simulated::{both, open, run, simulator, small};
use std::rc::Rc;

/// Found in review: a read found no memtable and no file any more, and said that there was nothing; or its shard was gone, and
/// its task panicked.
#[test]
fn a_read_beside_a_close_gives_the_rows_or_says_that_the_store_is_closed() {
    let (mut given, mut refused) = (0, 0);
    for seed in 0..40 {
        let mut sim = simulator(seed, 3);
        let handle = sim.start();
        let counts = run(&mut sim, async move {
            let config = Config {
                row_cache_bytes: 0,
                ..small("/store")
            };
            let (store, schema) = open(handle, config).await;
            let channels: Vec<i64> = (0..3)
                .map(|shard| {
                    let on_it = |channel: &i64| store.shard_of(&key(*channel)).0 == shard;
                    (1..).find(on_it).expect("a channel of each shard")
                })
                .collect();
            // Several files, so that closing them takes a while.
            for timestamp in 1..=20 {
                for &channel in &channels {
                    let write = message(&schema, channel, 1, timestamp, "hello");
                    store.apply(write).await.expect("written");
                }
                store.flush().await.expect("flushed");
            }
            let table = schema.id;
            let reads = store.call(ShardId(0), move |shard| async move {
                // From shard 0, which is closed last, to all of them, until they are closed.
                let readers = channels.into_iter().flat_map(|channel| [channel; 4]).map(|channel| {
                    let shard = Rc::clone(&shard);
                    runtime::spawn(TaskClass::Request, "read", async move {
                        for given in 0..3000 {
                            match shard.read(Read::partition(table, key(channel))).await {
                                Ok(page) => assert_eq!(page.len(), 1, "seed {seed}: an acknowledged row is missing"),
                                Err(Error::Closed) => return (given, 1),
                                Err(error) => panic!("seed {seed}: {error}"),
                            }
                        }
                        (3000, 0)
                    })
                });
                let mut counts = (0, 0);
                for reader in readers.collect::<Vec<_>>() {
                    let (given, refused) = reader.await;
                    counts = (counts.0 + given, counts.1 + refused);
                }
                counts
            });
            let (reads, closed) = both(reads, store.close()).await;
            closed.expect("closed");
            reads.expect("the shard serves until its tasks have ended")
        });
        given += counts.0;
        refused += counts.1;
    }
    assert!(
        given > 40 && refused > 40,
        "{given} pages, {refused} refusals: no race was seen"
    );
}
