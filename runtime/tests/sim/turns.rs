//! Turns and shares are the runtime's own, so they hold in the simulator as on the real bodies; there exactly, by the seed.

#![allow(clippy::unwrap_used, reason = "helpers of tests")]

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::time::Duration;

use runtime::sim::{Config, Outcome, Sim};
use runtime::time::{Instant, sleep, sleep_until};
use runtime::{ShardId, TaskClass, breathe, spawn};
use scrollback_runtime as runtime;

/// Runs `f` on the one shard of a simulated node.
fn simulated<R: Send + 'static, F, Fut>(seed: u64, f: F) -> R
where
    F: FnOnce() -> Fut + Send + 'static,
    Fut: Future<Output = R> + 'static,
{
    let config = Config {
        seed,
        shards: 1,
        ..Config::default()
    };
    let mut sim = Sim::new(config);
    let node = sim.start();
    match sim.run(async move { node.call(ShardId(0), f).await.unwrap() }) {
        Outcome::Done(result) => result,
        Outcome::Crashed => panic!("seed {seed}: nobody asked for a crash"),
        Outcome::Stuck(why) => panic!("seed {seed}: {why}"),
    }
}

/// How often each of a flush, a compaction and a maintenance task breathed in 200 ms of virtual time.
async fn shares() -> [u64; 3] {
    let classes = [TaskClass::Flush, TaskClass::Compaction, TaskClass::Maintenance];
    for (class, shares) in classes.into_iter().zip([900, 300, 100]) {
        runtime::set_shares(class, shares);
    }
    let stop = Rc::new(Cell::new(false));
    let breaths: Rc<[Cell<u64>; 3]> = Rc::default();
    let mut tasks = Vec::new();
    for (i, class) in classes.into_iter().enumerate() {
        let (stop, breaths) = (Rc::clone(&stop), Rc::clone(&breaths));
        tasks.push(spawn(class, "busy", async move {
            while !stop.get() {
                breaths[i].set(breaths[i].get() + 1);
                breathe().await;
            }
        }));
    }
    sleep(Duration::from_millis(200)).await;
    stop.set(true);
    for task in tasks {
        task.await;
    }
    [0, 1, 2].map(|i| breaths[i].get())
}

#[test]
fn shares_divide_virtual_time() {
    for seed in 0..10 {
        let [flush, compaction, maintenance] = simulated(seed, shares);
        let ratio = |a: u64, b: u64| a as f64 / b as f64;
        let counted = format!("seed {seed}: flush {flush}, compaction {compaction}, maintenance {maintenance}");
        assert!((2.3..3.9).contains(&ratio(flush, compaction)), "{counted}");
        assert!((2.3..3.9).contains(&ratio(compaction, maintenance)), "{counted}");
        assert_eq!(
            [flush, compaction, maintenance],
            simulated(seed, shares),
            "seed {seed} has two histories"
        );
    }
}

#[test]
fn one_slice_at_most_between_two_passes() {
    for seed in 0..10 {
        let (stall_us, turns, passes) = simulated(seed, || async {
            let tasks: Vec<_> = (0..6)
                .map(|_| {
                    spawn(TaskClass::Compaction, "busy", async {
                        for _ in 0..500 {
                            breathe().await;
                        }
                    })
                })
                .collect();
            for task in tasks {
                task.await;
            }
            let stats = runtime::stats();
            (stats.stall_max_us, stats.turns, stats.passes)
        });
        // A slice, and the breath that ends it.
        assert!((5..=110).contains(&stall_us), "seed {seed}: {stall_us} us");
        assert!(
            turns > 100 && passes > 100,
            "seed {seed}: {turns} turns, {passes} passes"
        );
    }
}

#[test]
fn sleeps_end_in_the_order_of_their_deadlines() {
    for seed in 0..10 {
        let order = simulated(seed, || async {
            let order = Rc::new(RefCell::new(Vec::new()));
            let start = Instant::now();
            let tasks: Vec<_> = (0..40u64)
                .map(|i| {
                    let order = Rc::clone(&order);
                    // Ticks apart, because the scheduler picks at will among those that share one.
                    let deadline = start + Duration::from_millis(10 + i * 17 % 40 * 20);
                    spawn(TaskClass::Request, "sleeper", async move {
                        sleep_until(deadline).await;
                        assert!(Instant::now() >= deadline);
                        order.borrow_mut().push(deadline);
                    })
                })
                .collect();
            for task in tasks {
                task.await;
            }
            order.take()
        });
        assert!(order.len() == 40 && order.is_sorted(), "seed {seed}");
    }
}
