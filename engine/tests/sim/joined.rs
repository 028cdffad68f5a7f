//! A read that is under way, or whose page is hot, is shared by whoever asks for the same, as long as its partition is not
//! written to.

use crate::common::{clustering, key, message, messages};
use crate::simulated::{open, run, simulator, small};
use model::Schema;
use runtime::ShardId;
use scrollback_engine::{Page, Read, Store};
use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

const READERS: u64 = 1_000;

type Reading<'a> = Pin<Box<dyn Future<Output = scrollback_engine::Result<Page>> + 'a>>;

/// All of them, begun at the same time.
async fn together(mut readings: Vec<Reading<'_>>) -> Vec<Page> {
    let mut pages = Vec::new();
    poll_fn(|context| {
        readings.retain_mut(|reading| match reading.as_mut().poll(context) {
            Poll::Ready(page) => {
                pages.push(page.expect("a page"));
                false
            }
            Poll::Pending => true,
        });
        if readings.is_empty() {
            Poll::Ready(())
        } else {
            Poll::Pending
        }
    })
    .await;
    pages
}

/// A store without a row cache and hot pages, whose channel 1 has 100 messages in an sstable.
async fn flushed(handle: runtime::Handle) -> (Store, Arc<Schema>) {
    flushed_with(handle, 0).await
}

async fn flushed_with(handle: runtime::Handle, hot_page_bytes: usize) -> (Store, Arc<Schema>) {
    let config = scrollback_engine::Config {
        row_cache_bytes: 0,
        hot_page_bytes,
        ..small("/store")
    };
    let (store, schema) = open(handle, config).await;
    for id in 1..=100 {
        store
            .apply(message(&schema, 1, id, id, "as it was"))
            .await
            .expect("written");
    }
    store.flush().await.expect("flushed");
    (store, schema)
}

fn newest(schema: &Schema) -> Read {
    Read {
        limit_rows: 50,
        ..Read::partition(schema.id, key(1))
    }
}

/// Pages read in all, those of them that were another's, and blocks read from the device.
async fn figures(store: &Store) -> (u64, u64, u64) {
    let of_shards = store.statistics().await.expect("figures");
    let of = &of_shards[0];
    (of.reads, of.reads_joined, of.cache_misses)
}

#[test]
fn a_thousand_readers_of_one_channel_read_it_once() {
    let mut sim = simulator(1, 1);
    let handle = sim.start();
    run(&mut sim, async move {
        let (store, schema) = flushed(handle).await;
        let readers = (0..READERS).map(|_| -> Reading<'_> { Box::pin(store.read(newest(&schema))) });
        let pages = together(readers.collect()).await;
        assert_eq!(pages.len() as u64, READERS);
        let first = messages(&schema, &pages[0]);
        assert_eq!(first.len(), 50);
        assert!(pages.iter().all(|page| messages(&schema, page) == first));
        assert!(pages.iter().all(|page| page.more() == pages[0].more()));
        let (reads, joined, blocks) = figures(&store).await;
        let own = reads - joined;
        // Time passes: a second leader is allowed where a second has ended.
        assert!(
            reads == READERS && own <= READERS / 500,
            "{own} of {reads} read by themselves"
        );
        assert!(blocks < 10, "{blocks} blocks");
        let at_a_cost = pages.iter().filter(|page| page.cost().rows_merged > 0).count();
        assert_eq!(at_a_cost as u64, own, "whoever shares a page has not merged it");
        store.close().await.expect("closed");
    });
}

#[test]
fn other_reads_are_not_joined() {
    let mut sim = simulator(1, 1);
    let handle = sim.start();
    run(&mut sim, async move {
        let (store, schema) = flushed(handle).await;
        let read = newest(&schema);
        let mut oldest = read.clone();
        oldest.direction = model::Direction::Reverse;
        let mut dead = read.clone();
        dead.include_dead = true;
        let mut behind = read.clone();
        behind.slice.start = clustering(&schema, 70);
        let mut short = read.clone();
        short.limit_rows = 3;
        let reads = [read, oldest, dead, behind, short];
        let readings = reads
            .iter()
            .map(|read| -> Reading<'_> { Box::pin(store.read(read.clone())) });
        let pages = together(readings.collect()).await;
        assert_eq!(pages.len(), reads.len());
        assert_eq!(figures(&store).await.1, 0);
        store.close().await.expect("closed");
    });
}

/// Polls once; it has to wait.
async fn begin(reading: &mut Reading<'_>) {
    poll_fn(|context| {
        assert!(reading.as_mut().poll(context).is_pending(), "it waits for the device");
        Poll::Ready(())
    })
    .await;
}

#[test]
fn who_comes_after_a_write_sees_it_and_who_waits_is_not_left_alone() {
    let mut sim = simulator(1, 1);
    let handle = sim.start();
    run(&mut sim, async move {
        let (store, schema) = flushed(handle).await;
        let shown = Arc::clone(&schema);
        let texts = move |page: Page| messages(&shown, &page)[0].1.clone();
        let seen = store
            .call(ShardId(0), move |shard| async move {
                let reading = || -> Reading<'_> { Box::pin(shard.read(newest(&schema))) };
                let (mut first, mut second) = (reading(), reading());
                begin(&mut first).await;
                begin(&mut second).await;
                shard
                    .apply(message(&schema, 1, 100, 1_000, "edited"))
                    .await
                    .expect("written");
                let third = reading().await.expect("a page");
                // The one that reads goes; the one that waits for its page reads by itself, and sees the write.
                drop(first);
                let second = second.await.expect("a page");
                (second, third)
            })
            .await
            .expect("called");
        assert_eq!((texts(seen.0).as_str(), texts(seen.1).as_str()), ("edited", "edited"));
        assert_eq!(figures(&store).await.1, 0);
        store.close().await.expect("closed");
    });
}

/// Reads the newest page so many times; its first text, and how many of the pages were hot.
async fn read_times(store: &Store, schema: &Schema, times: usize) -> (String, u64) {
    let hot = async || store.statistics().await.expect("figures")[0].reads_hot;
    let before = hot().await;
    let mut first = String::new();
    for _ in 0..times {
        let page = store.read(newest(schema)).await.expect("a page");
        first.clone_from(&messages(schema, &page)[0].1);
    }
    (first, hot().await - before)
}

#[test]
fn a_page_is_hot_until_the_second_ends_or_its_partition_is_written_to() {
    let mut sim = simulator(1, 1);
    let handle = sim.start();
    run(&mut sim, async move {
        let (store, schema) = flushed_with(handle, 64 << 10).await;
        let next_second = async || {
            store
                .call(ShardId(0), |_| async {
                    let second = runtime::time::unix_seconds();
                    while runtime::time::unix_seconds() == second {
                        runtime::time::sleep(Duration::from_millis(10)).await;
                    }
                })
                .await
                .expect("called");
        };
        next_second().await;
        assert_eq!(read_times(&store, &schema, 5).await, ("as it was".to_owned(), 3));
        next_second().await;
        assert_eq!(read_times(&store, &schema, 5).await, ("as it was".to_owned(), 3));
        // Another partition's write changes nothing.
        let other = message(&schema, 2, 100, 1_000, "elsewhere");
        store.apply(other).await.expect("written");
        assert_eq!(read_times(&store, &schema, 2).await, ("as it was".to_owned(), 2));
        let edit = message(&schema, 1, 100, 1_000, "edited");
        store.apply(edit).await.expect("written");
        // It is known to be asked for, so the first page after the write is kept.
        assert_eq!(read_times(&store, &schema, 3).await, ("edited".to_owned(), 2));
        store.close().await.expect("closed");
    });
}

#[test]
fn hot_pages_stay_within_their_memory() {
    let mut sim = simulator(1, 1);
    let handle = sim.start();
    run(&mut sim, async move {
        // A page of 50 takes more than this.
        let (store, schema) = flushed_with(handle, 1_000).await;
        assert_eq!(read_times(&store, &schema, 20).await.1, 0);
        store.close().await.expect("closed");
    });
}

#[test]
fn a_page_that_others_waited_for_is_hot_at_once() {
    let mut sim = simulator(1, 1);
    let handle = sim.start();
    run(&mut sim, async move {
        let (store, schema) = flushed_with(handle, 64 << 10).await;
        let costs = store.call(ShardId(0), move |shard| async move {
            let reading = || -> Reading<'_> { Box::pin(shard.read(newest(&schema))) };
            let (mut first, mut second) = (reading(), reading());
            begin(&mut first).await;
            begin(&mut second).await;
            let pages = [first.await, second.await, reading().await];
            pages.map(|page| page.expect("a page").cost().rows_merged)
        });
        let [first, second, third] = costs.await.expect("called");
        assert!(
            first > 0 && second == 0 && third == 0,
            "{first}, {second}, {third} rows merged"
        );
        store.close().await.expect("closed");
    });
}

/// What a hot page takes is its key and its slice, too, and one partition has few of them.
#[test]
fn hot_pages_of_long_keys_and_of_many_slices_are_few() {
    let mut sim = simulator(1, 1);
    let handle = sim.start();
    run(&mut sim, async move {
        let (store, schema) = flushed_with(handle, 32 << 10).await;
        let hot = async || store.statistics().await.expect("figures")[0].reads_hot;
        let long = Read::partition(schema.id, vec![7; 40_000]);
        for _ in 0..4 {
            store.read(long.clone()).await.expect("an empty page");
        }
        assert_eq!(hot().await, 0, "the key alone is longer than what there is for all");
        let one = |id| Read {
            limit_rows: 1,
            ..Read::slice(schema.id, key(1), model::Slice::prefix(&clustering(&schema, id)))
        };
        // Three times each, one slice after the other, until they have met in one second.
        for id in (1..=40).cycle().take(120) {
            store.read(one(id)).await.expect("a page");
        }
        assert!(hot().await <= 16, "{} of 40 slices are kept", hot().await);
        store.close().await.expect("closed");
    });
}
