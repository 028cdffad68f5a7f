//! The simulator's scheduler: one seed, one history; virtual time; order between shards; crashes with everything in flight.

#![allow(clippy::unwrap_used, reason = "helpers of tests")]

use std::cell::{Cell, RefCell};
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::time::Duration;

use runtime::disk::{self, BLOCK, Buf, CreateOptions, File};
use runtime::sim::{Config, Outcome, Sim, Tear, client_now, client_sleep};
use runtime::time::{Instant, sleep, timeout};
use runtime::{Handle, ShardId, Stopped, TaskClass, breathe, call, shard, spawn};
use scrollback_runtime as runtime;

fn sim(seed: u64, shards: usize) -> Sim {
    Sim::new(Config {
        seed,
        shards,
        ..Config::default()
    })
}

fn block(byte: u8) -> Rc<Buf> {
    let mut buf = Buf::zeroed(BLOCK);
    buf.fill(byte);
    Rc::new(buf)
}

/// A bit of everything: tasks of all classes, files, calls, timers.
async fn busy(rounds: u64) -> u64 {
    let dir = PathBuf::from(format!("/db/{}", shard()));
    disk::create_dir_all(&dir).await.unwrap();
    let file = File::create(&dir.join("data"), CreateOptions::default()).await.unwrap();
    let sum = Rc::new(Cell::new(0));
    let mut tasks = Vec::new();
    for class in [
        TaskClass::Request,
        TaskClass::Flush,
        TaskClass::Compaction,
        TaskClass::Maintenance,
    ] {
        for n in 0..3u64 {
            let (file, sum) = (file.clone(), Rc::clone(&sum));
            tasks.push(spawn(class, "worker", async move {
                for round in 0..rounds {
                    let offset = (runtime::random::below(64)) * BLOCK as u64;
                    file.write(offset, block((n + round) as u8)).await.unwrap();
                    breathe().await;
                    if round % 4 == 0 {
                        file.sync().await.unwrap();
                        sleep(Duration::from_millis(n)).await;
                    }
                    let to = ShardId(((u64::from(shard().0) + 1) % runtime::shard_count() as u64) as u16);
                    let answer = call(to, move || async move { round }).await.unwrap();
                    sum.set(sum.get() + answer + u64::from(file.read(offset, 8).await.unwrap()[0]));
                }
            }));
        }
    }
    for task in tasks {
        task.await;
    }
    disk::sync_dir(&dir).await.unwrap();
    sum.get()
}

/// One whole history with crashes; its hash, its counts, and what was left on the disk.
fn history(seed: u64) -> (u64, String) {
    let mut sim = Sim::new(Config {
        seed,
        shards: 3,
        p_io_error: 0.0,
        ..Config::default()
    });
    for round in 0..3 {
        let node = sim.start();
        sim.crash_at_op(Some(200 + round * 100));
        let outcome = sim.run(async move {
            for shard in 0..3 {
                let _ = node
                    .call(ShardId(shard), move || async move {
                        disk::remove(Path::new(&format!("/db/{shard}/data"))).await
                    })
                    .await;
            }
            let calls: Vec<_> = (0..3).map(|shard| node.call(ShardId(shard), || busy(20))).collect();
            let mut sum = 0;
            for call in calls {
                sum += call.await.unwrap();
            }
            sum
        });
        assert!(outcome.is_crashed(), "{outcome:?}");
    }
    let files: Vec<_> = sim
        .disk()
        .list()
        .iter()
        .map(|path| (path.clone(), sim.disk().read_file(path).unwrap()))
        .collect();
    (
        sim.history_hash(),
        format!(
            "{:?} {:?}",
            sim.stats(),
            files.iter().map(|(p, b)| (p, b.len())).collect::<Vec<_>>()
        ),
    )
}

#[test]
fn one_seed_is_one_history() {
    for seed in 0..20 {
        assert_eq!(history(seed), history(seed), "seed {seed}");
    }
}

#[test]
fn seeds_differ() {
    let mut hashes: Vec<_> = (0..30).map(|seed| history(seed).0).collect();
    hashes.sort_unstable();
    hashes.dedup();
    assert_eq!(hashes.len(), 30);
}

#[test]
fn time_is_virtual_and_skips_ahead() {
    let mut sim = sim(1, 2);
    let node = sim.start();
    let (shard_time, client_time) = sim
        .run(async move {
            let start = client_now();
            let slept = node.call(ShardId(1), || async {
                let start = Instant::now();
                let unix = runtime::time::unix_seconds();
                sleep(Duration::from_secs(86_400 * 10)).await;
                assert_eq!(runtime::time::unix_seconds() - unix, 86_400 * 10);
                start.elapsed()
            });
            let slept = slept.await.unwrap();
            client_sleep(Duration::from_secs(5)).await;
            assert_eq!(Instant::now(), client_now(), "clients see virtual time too");
            (slept, client_now().duration_since(start))
        })
        .done();
    let days = Duration::from_secs(86_400 * 10);
    assert!(
        shard_time >= days && shard_time < days + Duration::from_millis(10),
        "{shard_time:?}"
    );
    assert!(client_time >= days + Duration::from_secs(5));
    assert!(sim.stats().steps < 100, "{:?}", sim.stats());
    assert!(matches!(sim.run_for(Duration::from_secs(1)), Outcome::Done(())));
}

#[test]
fn a_timeout_ends_what_takes_too_long() {
    let mut sim = sim(2, 1);
    let node = sim.start();
    let ended = sim.run(async move {
        let on_shard = || async {
            let early = timeout(Duration::from_secs(2), sleep(Duration::from_secs(1)))
                .await
                .is_ok();
            let late = timeout(Duration::from_secs(1), sleep(Duration::from_secs(2)))
                .await
                .is_ok();
            (early, late)
        };
        node.call(ShardId(0), on_shard).await.unwrap()
    });
    assert_eq!(ended.done(), (true, false));
}

#[test]
fn the_wall_clock_can_step_back() {
    let mut sim = sim(3, 1);
    let node = sim.start();
    let micros = |sim: &mut Sim, node: &Handle| {
        let node = node.clone();
        sim.run(async move {
            node.call(ShardId(0), || async { runtime::time::unix_micros() })
                .await
                .unwrap()
        })
        .done()
    };
    let before = micros(&mut sim, &node);
    sim.step_wall_clock(-3_600_000_000);
    let after = micros(&mut sim, &node);
    assert!(after < before - 3_599_000_000, "{before} then {after}");
}

#[test]
fn calls_of_one_pair_arrive_in_order() {
    for seed in 0..200 {
        let mut sim = sim(seed, 3);
        let node = sim.start();
        let seen = sim.run(async move {
            let from_zero = || async {
                let mut calls = Vec::new();
                for n in 0..50u32 {
                    // The call is sent at the first poll; each runs in a task of its own.
                    calls.push(spawn(TaskClass::Request, "caller", async move {
                        for to in [1, 2] {
                            call(ShardId(to), move || {
                                let seen = runtime::root::<RefCell<Vec<u32>>>().unwrap_or_else(|| {
                                    runtime::set_root(Rc::new(RefCell::new(Vec::<u32>::new())));
                                    runtime::root::<RefCell<Vec<u32>>>().unwrap()
                                });
                                seen.borrow_mut().push(n);
                                async {}
                            })
                            .await
                            .unwrap();
                        }
                    }));
                    calls.pop().unwrap().await;
                }
                // And many at once, polled in order.
                let mut many: Vec<_> = (100..150u32)
                    .map(|n| {
                        Box::pin(call(ShardId(1), move || {
                            runtime::root::<RefCell<Vec<u32>>>().unwrap().borrow_mut().push(n);
                            async {}
                        }))
                    })
                    .collect();
                let mut left = many.len();
                std::future::poll_fn(|cx| {
                    many.retain_mut(|call| call.as_mut().poll(cx).is_pending());
                    left = many.len();
                    if left == 0 {
                        std::task::Poll::Ready(())
                    } else {
                        std::task::Poll::Pending
                    }
                })
                .await;
                call(ShardId(1), || async {
                    runtime::root::<RefCell<Vec<u32>>>().unwrap().take()
                })
                .await
                .unwrap()
            };
            node.call(ShardId(0), from_zero).await.unwrap()
        });
        let expected: Vec<u32> = (0..50).chain(100..150).collect();
        assert_eq!(seen.done(), expected, "seed {seed}");
    }
}

#[test]
fn a_deadlock_names_those_who_wait() {
    let mut sim = sim(4, 2);
    let node = sim.start();
    let outcome = sim.run(async move {
        let on_shard = || async {
            let lock = runtime::sync::Mutex::new(());
            let _held = lock.lock().await;
            let _again = lock.lock().await;
        };
        let stuck = move || async move {
            spawn(TaskClass::Maintenance, "the one that waits for ever", on_shard()).await;
        };
        node.call(ShardId(1), stuck).await
    });
    let Outcome::Stuck(text) = outcome else {
        panic!("{outcome:?}")
    };
    for part in [
        "seed 4",
        "`the one that waits for ever` of shard 1",
        "`run` of the clients",
    ] {
        assert!(text.contains(part), "{part:?} is missing in: {text}");
    }
    // The simulation is usable afterwards.
    let node = sim.start();
    assert_eq!(
        sim.run(async move { node.call(ShardId(0), || async { 5 }).await })
            .done(),
        Ok(5)
    );
}

#[test]
fn an_endless_run_is_stuck() {
    let mut sim = sim(5, 1);
    sim.set_step_limit(10_000);
    let node = sim.start();
    let endless = || async {
        loop {
            sleep(Duration::from_millis(10)).await;
        }
    };
    let outcome = sim.run(async move { node.call(ShardId(0), endless).await });
    let Outcome::Stuck::<Result<(), Stopped>>(text) = outcome else {
        panic!("{outcome:?}")
    };
    assert!(text.contains("after 10000 steps"), "{text}");
}

#[test]
#[should_panic(expected = "of our own making")]
fn a_panic_of_a_task_is_the_tests_panic() {
    let mut sim = sim(6, 2);
    let node = sim.start();
    let bad = || async {
        spawn(TaskClass::Flush, "bad", async {
            panic!("a panic {}", "of our own making")
        })
        .await
    };
    let _: Outcome<Result<(), Stopped>> = sim.run(async move { node.call(ShardId(1), bad).await });
}

/// Counts how many are alive, and in which shard they were dropped.
struct Life(Rc<RefCell<Vec<Option<u16>>>>);

impl Drop for Life {
    fn drop(&mut self) {
        self.0.borrow_mut().push(runtime::try_shard().map(|shard| shard.0));
    }
}

thread_local! {
    /// Where the destructors of shard tasks leave their mark: what crosses to a shard must be `Send`.
    static MARKS: Rc<RefCell<Vec<Option<u16>>>> = Rc::default();
}

#[test]
fn a_crash_drops_everything_where_it_belongs() {
    for seed in 0..100 {
        MARKS.with(|marks| marks.borrow_mut().clear());
        let mut sim = Sim::new(Config {
            seed,
            shards: 2,
            tear: Tear::Seeded,
            ..Config::default()
        });
        let node = sim.start();
        let keep = node.clone();
        sim.crash_at_op(Some(40 + seed % 50));
        let outcome: Outcome<()> = sim.run(async move {
            let on_shard = || async {
                let root = (MARKS.with(|marks| Life(Rc::clone(marks))), Cell::new(0u32));
                runtime::set_root(Rc::new(root));
                let path = PathBuf::from(format!("/{}", shard()));
                let file = File::create(
                    &path,
                    CreateOptions {
                        dsync: true,
                        preallocate_bytes: 0,
                    },
                )
                .await
                .unwrap();
                for _ in 0..20 {
                    let file = file.clone();
                    spawn(TaskClass::Flush, "in flight", async move {
                        let life = MARKS.with(|marks| Life(Rc::clone(marks)));
                        struct Respawn(File);
                        impl Drop for Respawn {
                            // A destructor that wants everything a dead node must not do.
                            fn drop(&mut self) {
                                let file = self.0.clone();
                                let mut write = Box::pin(file.write(0, block(0xDD)));
                                let mut cx = std::task::Context::from_waker(std::task::Waker::noop());
                                assert!(write.as_mut().poll(&mut cx).is_pending());
                                drop(write);
                                spawn(TaskClass::Request, "after death", async move {
                                    let _ = file.write(0, block(0xDD)).await;
                                });
                            }
                        }
                        let _respawn = Respawn(file.clone());
                        loop {
                            file.write(BLOCK as u64, block(1)).await.unwrap();
                            let other = ShardId(1 - shard().0);
                            call(other, || async {
                                let _life = MARKS.with(|marks| Life(Rc::clone(marks)));
                                sleep(Duration::from_millis(1)).await;
                            })
                            .await
                            .unwrap();
                            let _ = &life;
                        }
                    });
                }
                std::future::pending::<()>().await;
            };
            let calls = [node.call(ShardId(0), on_shard), node.call(ShardId(1), on_shard)];
            for call in calls {
                call.await.unwrap();
            }
        });
        assert!(outcome.is_crashed(), "{outcome:?}");
        let marks = MARKS.with(|marks| marks.borrow().clone());
        let on = |shard| marks.iter().filter(|mark| **mark == Some(shard)).count();
        assert!(on(0) > 0 && on(1) > 0, "seed {seed}: {marks:?}");
        assert!(
            marks.iter().all(Option::is_some),
            "dropped outside of its shard, seed {seed}: {marks:?}"
        );
        MARKS.with(|marks| {
            assert_eq!(
                Rc::strong_count(marks),
                1,
                "seed {seed}: something of the dead node lives"
            )
        });
        let ops = sim.ops();

        // The old handle says so, and a new boot works on the same disk.
        let old = sim.run(async move { keep.call(ShardId(0), || async {}).await });
        assert_eq!(old.done(), Err(Stopped::Stopped));
        let node = sim.start();
        let again = sim.run(async move {
            node.call(ShardId(0), || async {
                match File::open_read(Path::new("/0")).await {
                    Ok(file) if file.len().await.unwrap() > 0 => file.read(0, BLOCK).await.unwrap()[0],
                    _ => 0,
                }
            })
            .await
        });
        assert_ne!(again.done(), Ok(0xDD), "a destructor of the dead node wrote");
        assert!(sim.ops() > ops);
    }
}

#[test]
fn a_pending_call_ends_when_the_node_goes() {
    let mut sim = sim(7, 1);
    let node = sim.start();
    let seen = Rc::new(Cell::new(None));
    let ours = Rc::clone(&seen);
    sim.spawn_client(async move {
        ours.set(Some(node.call(ShardId(0), std::future::pending::<()>).await));
    });
    assert_eq!(sim.run_until_idle(), Outcome::Done(()));
    assert_eq!(seen.get(), None);
    sim.crash();
    assert_eq!(sim.run_until_idle(), Outcome::Done(()));
    assert_eq!(seen.get(), Some(Err(Stopped::Stopped)));
}

#[test]
fn a_full_inbox_makes_calls_wait_and_loses_none() {
    let mut sim = sim(8, 1);
    let node = sim.start();
    let count = sim.run(async move {
        let mut calls: Vec<_> = (0..5000u32)
            .map(|n| node.call(ShardId(0), move || async move { n }))
            .collect();
        let mut sum = 0u64;
        std::future::poll_fn(|cx| {
            calls.retain_mut(|call| match std::pin::Pin::new(call).poll(cx) {
                std::task::Poll::Ready(n) => {
                    sum += u64::from(n.unwrap());
                    false
                }
                std::task::Poll::Pending => true,
            });
            if calls.is_empty() {
                std::task::Poll::Ready(())
            } else {
                std::task::Poll::Pending
            }
        })
        .await;
        sum
    });
    assert_eq!(count.done(), 4999 * 5000 / 2);
}

#[test]
fn another_shard_count_at_the_next_start() {
    let mut sim = sim(9, 2);
    assert_eq!(sim.start().shard_count(), 2);
    sim.set_shards(5);
    let node = sim.start();
    let count = sim.run(async move { node.call(ShardId(4), || async { runtime::shard_count() }).await });
    assert_eq!(count.done(), Ok(5));
    assert_eq!((sim.stats().starts, sim.stats().stops), (2, 1));
}
