//! A store that is closed: while it is read, after a failure, twice.

use crate::common;
use crate::common::{key, message};
use crate::simulated::{both, open, run, simulator, small};
use runtime::{ShardId, TaskClass};
use scrollback_engine::{Config, Error, Read, Shard, Store};
use std::future::poll_fn;
use std::pin::pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

/// Found by histories of CQL, which took megabytes each: the shard held what a layer above kept there, and that held the shard.
#[test]
fn what_a_layer_keeps_on_a_shard_ends_with_the_store() {
    struct Kept {
        _shard: Rc<Shard>,
        _life: Arc<()>,
    }
    async fn keep(handle: runtime::Handle, life: Arc<()>) -> Store {
        let (store, _) = open(handle, small("/store")).await;
        let kept = store.call(ShardId(1), |shard| async move {
            shard.extension(|| Kept {
                _shard: Rc::clone(&shard),
                _life: life,
            });
        });
        kept.await.expect("kept");
        store
    }
    let life = Arc::new(());
    let mut sim = simulator(11, 2);
    let handle = sim.start();
    let store = run(&mut sim, keep(handle, Arc::clone(&life)));
    assert_eq!(Arc::strong_count(&life), 2);
    sim.crash();
    assert_eq!(Arc::strong_count(&life), 1, "after a power cut");
    drop(store);
    let handle = sim.start();
    run(&mut sim, async move {
        let store = keep(handle, Arc::clone(&life)).await;
        assert_eq!(Arc::strong_count(&life), 2);
        store.close().await.expect("closed");
        assert_eq!(Arc::strong_count(&life), 1, "after a close");
    });
}

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

/// Found in review: a shard that takes no writes any more had nothing to flush, and its close said that all was well.
#[test]
fn a_close_after_a_failed_write_of_the_manifest_or_of_the_log_says_so() {
    for (shards, file) in [(1, "MANIFEST"), (3, "MANIFEST"), (1, ".log"), (3, ".log")] {
        let mut sim = simulator(7, shards);
        let disk = sim.disk();
        let handle = sim.start();
        run(&mut sim, async move {
            let (store, schema) = open(handle, small("/store")).await;
            for channel in 0..9 {
                let write = message(&schema, channel, 1, 1, "hello");
                store.apply(write).await.expect("written");
            }
            disk.fail_next("write", file, 1, 5);
            let write = message(&schema, 1, 2, 2, "hello");
            let failed = store.apply(write).await.and(store.flush().await);
            failed.expect_err("the device refuses");
            let closed = store.close().await;
            let said = closed.expect_err("a store that cannot be flushed is not closed cleanly");
            assert!(
                matches!(said, Error::Poisoned { .. }),
                "{shards} shards, {file}: {said:?}"
            );
            let again = store.close().await.expect_err("a second close");
            assert_eq!(again.to_string(), said.to_string(), "says the same");
        });
        let handle = sim.start();
        run(&mut sim, async move {
            let (store, schema) = open(handle, small("/store")).await;
            for channel in 0..9 {
                let rows = common::history(&store, &schema, channel, 9).await;
                assert!(rows.contains(&(1, "hello".to_owned())), "nothing acknowledged is lost");
            }
            store.close().await.expect("closed");
        });
    }
}

async fn open_with_rows(handle: runtime::Handle) -> Store {
    let (store, schema) = open(handle, small("/store")).await;
    for channel in 0..99 {
        let write = message(&schema, channel, 1, 1, "hello");
        store.apply(write).await.expect("written");
    }
    store
}

/// Found in review: the second close said that the store was closed while the first still flushed.
#[test]
fn a_second_close_waits_for_the_first() {
    for seed in 0..20 {
        let mut sim = simulator(seed, 3);
        let disk = sim.disk();
        let handle = sim.start();
        let (seen, ended) = run(&mut sim, async move {
            let store = open_with_rows(handle).await;
            let (first, second) = (store.clone(), store.clone());
            let manifest = || disk.read_file("/store/MANIFEST");
            let close = |store: Store| async move { (store.close().await, manifest()) };
            let ((one, of_one), (other, of_other)) = both(close(first), close(second)).await;
            one.and(other).expect("closed");
            assert!(of_one == of_other, "seed {seed}: one of them came too early");
            store.close().await.expect("closed long ago");
            (of_other, manifest())
        });
        assert!(
            seen == ended,
            "seed {seed}: a close said that it was done before it was"
        );
    }
}

#[test]
fn a_close_that_nobody_waits_for_any_more_is_ended_by_the_next() {
    for polls in 0..5 {
        let mut sim = simulator(1, 3);
        let handle = sim.start();
        run(&mut sim, async move {
            let store = open_with_rows(handle).await;
            {
                let mut given_up = pin!(store.close());
                for _ in 0..polls {
                    let once = poll_fn(|cx| Poll::Ready(Future::poll(given_up.as_mut(), cx).is_pending()));
                    assert!(once.await, "it takes a while");
                    runtime::sim::client_sleep(Duration::from_micros(10)).await;
                }
            }
            store.close().await.expect("closed");
        });
        let handle = sim.start();
        run(&mut sim, async move {
            let (store, _) = open(handle, small("/store")).await;
            assert_eq!(store.recoveries().iter().map(|r| r.records).sum::<u64>(), 0, "cleanly");
            store.close().await.expect("closed");
        });
    }
}
