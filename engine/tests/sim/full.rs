//! What is full refuses, and takes again: the disk, at each operation of a flush, a snapshot and the growing log; the space kept
//! back; memory and the queue of readers, for as long as the caller waits.

use crate::common::{history, key, message};
use crate::simulated::{both, open, run, simulator, small};
use model::Schema;
use runtime::sim::{self, SimDisk, client_now, client_sleep};
use scrollback_engine::{Config, Error, Page, Read, Result, Store};
use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::task::Poll;
use std::time::Duration;

const SECOND: Duration = Duration::from_secs(1);
const PAGE: u64 = 4096;

/// Writes messages of channel 1 from `first` on until one is refused, 100 at most; the first that is not there.
async fn fill(store: &Store, schema: &Schema, first: i64) -> (i64, Option<Error>) {
    for id in first..first + 100 {
        if let Err(error) = store.apply(message(schema, 1, id, id, &"x".repeat(1000))).await {
            return (id, Some(error));
        }
    }
    (first + 100, None)
}

/// Tries until it is done, 10 s at most.
async fn at_last<T>(mut attempt: impl AsyncFnMut() -> Result<T>) -> T {
    for _ in 0..100 {
        if let Ok(value) = attempt().await {
            return value;
        }
        client_sleep(Duration::from_millis(100)).await;
    }
    panic!("there is space again, and it is not taken")
}

#[derive(Clone, Copy, PartialEq, Debug)]
enum Work {
    Flush,
    Snapshot,
    LogGrowth,
}

/// Does the work; whether the disk was too full for it.
async fn work_on_full_disk(work: Work, store: &Store, schema: &Schema, disk: &SimDisk, next: &mut i64) -> bool {
    match work {
        Work::Flush => {
            let space_returns = async {
                client_sleep(3 * SECOND).await;
                let failed = store.statistics().await.expect("figures")[0].flush_failures > 0;
                disk.set_capacity(None);
                failed
            };
            let (flushed, failed) = both(store.flush(), space_returns).await;
            if let Err(error) = flushed {
                assert!(error.is_no_space(), "{error}");
            }
            failed
        }
        Work::Snapshot => match store.snapshot("one").await {
            Ok(_) => false,
            Err(error) => {
                assert!(error.is_no_space(), "{error}");
                let is_whole = disk.list().contains(&"/store/snapshots/one/MANIFEST".into());
                assert!(!is_whole, "a snapshot that was given up has no manifest");
                true
            }
        },
        Work::LogGrowth => {
            let (refused, error) = fill(store, schema, *next).await;
            *next = refused;
            if let Some(error) = &error {
                let says = error.to_string();
                assert!(matches!(error, Error::Overloaded { .. }), "{says}");
                assert!(
                    says.contains("No space left on device") || says.contains("are full"),
                    "{says}"
                );
            }
            error.is_some()
        }
    }
}

#[test]
fn a_disk_full_at_any_point_loses_nothing_and_serves_again() {
    for work in [Work::Flush, Work::Snapshot, Work::LogGrowth] {
        let mut full = 0;
        for pages in 0..400 {
            let mut sim = simulator(pages, 1);
            let handle = sim.start();
            let disk = sim.disk();
            let config = move || Config {
                free_bytes_min: Some(0),
                memtable_bytes: 1 << 20,
                admission_timeout: SECOND,
                // A log that may grow is not made smaller by flushes.
                log_bytes_max: if work == Work::LogGrowth { 16 << 20 } else { 512 << 10 },
                ..small("/store")
            };
            let (was_full, expected) = run(&mut sim, async move {
                let (store, schema) = open(handle, config()).await;
                let (mut next, error) = fill(&store, &schema, 1).await;
                assert!(error.is_none(), "{error:?}");
                disk.set_capacity(Some(disk.used_bytes() + pages * PAGE));
                let was_full = work_on_full_disk(work, &store, &schema, &disk, &mut next).await;
                let read = history(&store, &schema, 1, 500).await;
                assert_eq!(read.len() as i64, next - 1, "{work:?}, {pages} pages: reads are served");
                disk.set_capacity(None);
                at_last(|| store.apply(message(&schema, 1, next, next, "again"))).await;
                at_last(|| store.flush()).await;
                at_last(|| store.snapshot(if was_full { "one" } else { "two" })).await;
                (was_full, next)
            });
            sim.crash();
            let handle = sim.start();
            let name = if was_full { "one" } else { "two" };
            for dir in ["/store".to_owned(), format!("/store/snapshots/{name}")] {
                let handle = handle.clone();
                run(&mut sim, async move {
                    let (store, schema) = open(
                        handle,
                        Config {
                            dir: dir.as_str().into(),
                            ..config()
                        },
                    )
                    .await;
                    let read = history(&store, &schema, 1, 500).await;
                    assert_eq!(read.len() as i64, expected, "{work:?}, {pages} pages, {dir}");
                    store.close().await.expect("closed");
                });
            }
            full += u64::from(was_full);
            if !was_full {
                break;
            }
        }
        assert!((1..400).contains(&full), "{work:?}: full {full} times");
    }
}

#[test]
fn with_too_little_space_writes_are_refused_and_flushes_go_on() {
    let mut sim = simulator(7, 2);
    let handle = sim.start();
    let disk = sim.disk();
    run(&mut sim, async move {
        const KEPT: u64 = 4 << 20;
        let config = Config {
            free_bytes_min: Some(KEPT),
            ..small("/store")
        };
        let (store, schema) = open(handle, config).await;
        let send = |id: i64| store.apply(message(&schema, id % 10, id, id, "x"));
        for id in 0..10 {
            send(id).await.expect("written");
        }
        disk.set_capacity(Some(disk.used_bytes() + KEPT - 1));
        client_sleep(2 * SECOND).await;
        for id in 10..20 {
            let error = send(id).await.expect_err("short of space");
            let says = error.to_string();
            assert!(matches!(error, Error::Overloaded { .. }), "{says}");
            assert!(
                says.contains(&format!("{KEPT} are kept back (`free_bytes_min`)")),
                "{says}"
            );
        }
        store.flush().await.expect("what is kept back is for flushes");
        for channel in 0..10 {
            assert_eq!(history(&store, &schema, channel, 10).await.len(), 1);
        }
        let refused: u64 = store
            .statistics()
            .await
            .expect("figures")
            .iter()
            .map(|of| of.overloaded)
            .sum();
        assert_eq!(refused, 10);
        disk.set_capacity(Some(disk.used_bytes() + KEPT + (1 << 20)));
        client_sleep(2 * SECOND).await;
        for id in 20..30 {
            send(id).await.expect("written");
        }
        store.close().await.expect("closed");
    });
}

#[test]
fn a_writer_waits_for_room_as_long_as_it_says() {
    const EIO: i32 = 5;
    let mut sim = simulator(8, 1);
    let handle = sim.start();
    let disk = sim.disk();
    run(&mut sim, async move {
        let (store, schema) = open(handle, small("/store")).await;
        // No flush makes room.
        disk.fail_next("create", "/tables/", 1_000_000, EIO);
        let mut within = SECOND;
        let mut id = 0;
        let error = loop {
            id += 1;
            let started = client_now();
            match store
                .apply_within(message(&schema, 1, id, id, &"x".repeat(1000)), within)
                .await
            {
                Ok(()) => assert!(id < 1000, "memory is never full"),
                Err(error) => {
                    let took = client_now().duration_since(started);
                    assert!(
                        took >= within && took < within + SECOND / 10,
                        "{took:?} instead of {within:?}"
                    );
                    if within.is_zero() {
                        break error;
                    }
                    within = if within == SECOND { SECOND / 20 } else { Duration::ZERO };
                }
            }
        };
        let says = error.to_string();
        assert!(
            says.contains("the memtables or the log of shard 0 are full, and flushes fail: "),
            "{says}"
        );
    });
}

/// Waits for all.
async fn all<T>(futures: Vec<Pin<Box<dyn Future<Output = T> + '_>>>) -> Vec<T> {
    let mut futures: Vec<_> = futures.into_iter().map(|future| (future, None)).collect();
    poll_fn(|cx| {
        let mut ready = true;
        for (future, value) in &mut futures {
            if value.is_none()
                && let Poll::Ready(done) = future.as_mut().poll(cx)
            {
                *value = Some(done);
            }
            ready &= value.is_some();
        }
        if ready { Poll::Ready(()) } else { Poll::Pending }
    })
    .await;
    futures.into_iter().filter_map(|(_, value)| value).collect()
}

#[test]
fn more_readers_than_a_shard_serves_at_once_take_turns_or_are_refused() {
    const READERS: usize = 2_000;
    // A slow disk: all readers come before the first of them ends.
    let mut sim = sim::Sim::new(sim::Config {
        shards: 1,
        io_delay_us: 100_000..200_000,
        ..sim::Config::default()
    });
    let handle = sim.start();
    run(&mut sim, async move {
        let config = Config {
            block_cache_bytes: 0,
            row_cache_bytes: 0,
            ..small("/store")
        };
        let (store, schema) = open(handle, config).await;
        for id in 1..=20 {
            store.apply(message(&schema, 1, id, id, "x")).await.expect("written");
        }
        store.flush().await.expect("flushed");
        let read_all = async |within: Duration| {
            let pages = (0..READERS).map(|reader| {
                let read = Read {
                    // No two are the same.
                    limit_rows: 1000 + reader,
                    ..Read::partition(schema.id, key(1))
                };
                Box::pin(store.read_within(read, within)) as Pin<Box<dyn Future<Output = Result<Page>>>>
            });
            all(pages.collect()).await
        };
        for page in read_all(10 * SECOND).await {
            assert_eq!(page.expect("a page").len(), 20);
        }
        let (pages, refused): (Vec<_>, Vec<_>) = read_all(Duration::ZERO).await.into_iter().partition(Result::is_ok);
        assert!(!pages.is_empty() && !refused.is_empty(), "{} pages", pages.len());
        for refused in refused {
            let error = refused.expect_err("refused");
            assert!(
                error.to_string().contains("shard 0 reads 1024 pages at once"),
                "{error}"
            );
        }
        let stat = &store.statistics().await.expect("figures")[0];
        assert_eq!(stat.overloaded as usize, READERS - pages.len());
        store.close().await.expect("closed");
    });
}
