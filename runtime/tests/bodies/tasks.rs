//! Tasks, turns, breath and time on a real body. Nothing here measures how long something takes: only counts, orders,
//! and ratios with wide margins.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::time::Duration;

use scrollback_runtime as runtime;

use super::common::{A, B, on_a_shard, start};
use runtime::sync::Notify;
use runtime::time::{Instant, sleep, sleep_until, timeout};
use runtime::{TaskClass, breathe, spawn};

#[test]
fn spawn_does_not_poll_within_the_call() {
    on_a_shard(|| async {
        let polled = Rc::new(Cell::new(false));
        let ours = Rc::clone(&polled);
        let task = spawn(TaskClass::Request, "child", async move {
            ours.set(true);
            assert_eq!(runtime::task_name(), "child");
            5
        });
        assert!(!polled.get());
        assert_eq!(task.await, 5);
        assert!(polled.get());
        assert_eq!(runtime::task_class(), TaskClass::Request);
    });
}

#[test]
fn dropped_handles_let_tasks_run_on() {
    on_a_shard(|| async {
        let done = Rc::new(Notify::new());
        let ours = Rc::clone(&done);
        drop(spawn(TaskClass::Maintenance, "child", async move {
            sleep(Duration::from_millis(20)).await;
            ours.notify_one();
        }));
        done.notified().await;
    });
}

#[test]
fn tasks_of_one_class_begin_in_order() {
    on_a_shard(|| async {
        for class in [TaskClass::Request, TaskClass::Compaction] {
            let order = Rc::new(RefCell::new(Vec::new()));
            let tasks: Vec<_> = (0..100)
                .map(|i| {
                    let order = Rc::clone(&order);
                    spawn(class, "numbered", async move { order.borrow_mut().push(i) })
                })
                .collect();
            for task in tasks {
                task.await;
            }
            assert_eq!(*order.borrow(), (0..100).collect::<Vec<_>>());
        }
    });
}

#[test]
fn the_root_is_found_by_type() {
    on_a_shard(|| async {
        assert!(runtime::root::<u32>().is_none());
        runtime::set_root(Rc::new(7u32));
        assert_eq!(runtime::root::<u32>().as_deref(), Some(&7));
        assert!(runtime::root::<u64>().is_none());
        runtime::clear_root();
        assert!(runtime::root::<u32>().is_none());
    });
}

/// Computes, breathing, until told to stop; counts its work.
async fn busy(work: Rc<Cell<u64>>, stop: Rc<Cell<bool>>) {
    while !stop.get() {
        for i in 0..2000u64 {
            std::hint::black_box(i);
        }
        work.set(work.get() + 1);
        breathe().await;
    }
}

#[test]
fn background_classes_share_by_their_shares() {
    on_a_shard(|| async {
        runtime::set_shares(TaskClass::Flush, 900);
        runtime::set_shares(TaskClass::Compaction, 300);
        runtime::set_shares(TaskClass::Maintenance, 100);
        let stop = Rc::new(Cell::new(false));
        let classes = [TaskClass::Flush, TaskClass::Compaction, TaskClass::Maintenance];
        // Two tasks of compaction share what compaction has.
        let work: Vec<_> = (0..4).map(|_| Rc::new(Cell::new(0))).collect();
        let mut tasks = Vec::new();
        for (i, work) in work.iter().enumerate() {
            tasks.push(spawn(classes[i % 3], "busy", busy(Rc::clone(work), Rc::clone(&stop))));
        }
        // A turn is at least half a slice, so after so many turns the ratios show.
        while runtime::stats().turns < 3000 {
            sleep(Duration::from_millis(10)).await;
        }
        stop.set(true);
        for task in tasks {
            task.await;
        }
        // Flush has two tasks here: numbers 0 and 3.
        let flush = (work[0].get() + work[3].get()) as f64;
        let compaction = work[1].get() as f64;
        let maintenance = work[2].get() as f64;
        assert!(
            (1.8..5.0).contains(&(flush / compaction)),
            "flush {flush}, compaction {compaction}"
        );
        assert!(
            (1.8..5.0).contains(&(compaction / maintenance)),
            "{compaction}, maintenance {maintenance}"
        );
        let (one, other) = (work[0].get() as f64, work[3].get() as f64);
        assert!(
            (0.5..2.0).contains(&(one / other)),
            "two tasks of flush: {one} and {other}"
        );
    });
}

#[test]
fn background_turns_never_add_up_between_two_passes() {
    on_a_shard(|| async {
        let stop = Rc::new(Cell::new(false));
        let mut tasks = Vec::new();
        for class in [TaskClass::Flush, TaskClass::Compaction, TaskClass::Maintenance] {
            for _ in 0..5 {
                tasks.push(spawn(class, "busy", busy(Rc::default(), Rc::clone(&stop))));
            }
        }
        sleep(Duration::from_millis(50)).await;
        let before = runtime::stats();
        while runtime::stats().turns < before.turns + 1000 {
            sleep(Duration::from_millis(10)).await;
        }
        let after = runtime::stats();
        stop.set(true);
        for task in tasks {
            task.await;
        }
        let (turns, passes) = (after.turns - before.turns, after.passes - before.passes);
        // Busy tasks use their turns up, so there is one turn per pass; a few passes have none.
        assert!(turns <= passes + passes / 10 + 2, "{turns} turns in {passes} passes");
    });
}

#[test]
fn requests_run_beside_busy_background_tasks() {
    on_a_shard(|| async {
        let stop = Rc::new(Cell::new(false));
        let background: Vec<_> = (0..4)
            .map(|_| spawn(TaskClass::Compaction, "busy", busy(Rc::default(), Rc::clone(&stop))))
            .collect();
        // Each of these needs a pass of the reactor, and so would never come back if background work kept it away.
        let started = runtime::stats().turns;
        for _ in 0..100 {
            sleep(Duration::from_millis(1)).await;
        }
        let turns = runtime::stats().turns - started;
        stop.set(true);
        for task in background {
            task.await;
        }
        assert!(turns > 100, "background got only {turns} turns while requests slept");
    });
}

/// A background task that waits holds no turn: another one computes meanwhile.
#[test]
fn a_waiting_task_holds_no_turn() {
    on_a_shard(|| async {
        let gate = Rc::new(Notify::new());
        let ours = Rc::clone(&gate);
        let waiting = spawn(TaskClass::Flush, "waiting", async move { ours.notified().await });
        let work = Rc::new(Cell::new(0));
        let counted = Rc::clone(&work);
        let working = spawn(TaskClass::Maintenance, "working", async move {
            for _ in 0..1000 {
                counted.set(counted.get() + 1);
                breathe().await;
            }
        });
        working.await;
        assert_eq!(work.get(), 1000);
        assert!(!waiting.is_finished());
        gate.notify_one();
        waiting.await;
    });
}

#[test]
fn breathing_asks_for_a_pass_only_after_a_slice() {
    on_a_shard(|| async {
        // Right after an idle moment: a thousand breaths, each a clock read, fit into a few slices.
        sleep(Duration::from_millis(10)).await;
        let before = runtime::stats().passes;
        for _ in 0..1000 {
            breathe().await;
        }
        let passes = runtime::stats().passes - before;
        assert!(passes < 200, "{passes} passes in 1000 breaths");
        // And a long computation does pass.
        let before = runtime::stats().passes;
        let start = Instant::now();
        while start.elapsed() < Duration::from_millis(20) {
            breathe().await;
        }
        let passes = runtime::stats().passes - before;
        assert!(passes > 5, "only {passes} passes in 20 ms of work");
    });
}

/// Breathing inside a combinator that only polls what was woken.
#[test]
fn breath_wakes_the_waker_it_was_polled_with() {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicBool, Ordering};
    use std::task::{Context, Poll, Wake, Waker};

    struct Inner {
        woken: AtomicBool,
        outer: Waker,
    }
    impl Wake for Inner {
        fn wake(self: Arc<Self>) {
            self.woken.store(true, Ordering::Relaxed);
            self.outer.wake_by_ref();
        }
    }

    on_a_shard(|| async {
        for class in [TaskClass::Request, TaskClass::Flush] {
            let task = spawn(class, "combined", async {
                let mut work = Box::pin(async {
                    for _ in 0..5 {
                        let start = Instant::now();
                        while start.elapsed() < Duration::from_micros(200) {}
                        breathe().await;
                    }
                });
                let mut inner: Option<Arc<Inner>> = None;
                std::future::poll_fn(move |cx| {
                    let inner = inner.get_or_insert_with(|| {
                        Arc::new(Inner {
                            woken: AtomicBool::new(true),
                            outer: cx.waker().clone(),
                        })
                    });
                    if !inner.woken.swap(false, Ordering::Relaxed) {
                        return Poll::Pending;
                    }
                    let waker = Waker::from(Arc::clone(inner));
                    work.as_mut().poll(&mut Context::from_waker(&waker))
                })
                .await;
            });
            timeout(Duration::from_secs(20), task)
                .await
                .expect("a breath was never woken");
        }
    });
}

#[test]
fn sleeps_end_in_the_order_of_their_deadlines() {
    on_a_shard(|| async {
        let order = Rc::new(RefCell::new(Vec::new()));
        let start = Instant::now();
        let tasks: Vec<_> = (0..50u64)
            .map(|i| {
                let order = Rc::clone(&order);
                // Set out of order, 3 ms apart, so that some share a tick.
                let deadline = start + Duration::from_millis(5 + i * 17 % 50 * 3);
                spawn(TaskClass::Request, "sleeper", async move {
                    sleep_until(deadline).await;
                    assert!(Instant::now() >= deadline, "woken early");
                    order.borrow_mut().push(deadline);
                })
            })
            .collect();
        for task in tasks {
            task.await;
        }
        assert!(order.borrow().is_sorted());
        assert_eq!(order.borrow().len(), 50);
    });
}

#[test]
fn timeouts_drop_what_is_late_and_keep_what_is_not() {
    on_a_shard(|| async {
        struct Dropped(Rc<Cell<bool>>);
        impl Drop for Dropped {
            fn drop(&mut self) {
                self.0.set(true);
            }
        }
        let dropped = Rc::new(Cell::new(false));
        let guard = Dropped(Rc::clone(&dropped));
        let never = async move {
            let _guard = guard;
            std::future::pending::<()>().await;
        };
        assert!(timeout(Duration::from_millis(15), never).await.is_err());
        assert!(dropped.get());
        assert_eq!(timeout(Duration::from_secs(3600), async { 3 }).await, Ok(3));
        assert_eq!(timeout(Duration::ZERO, async { 4 }).await, Ok(4));
        sleep(Duration::ZERO).await;
        // Thousands of timers at once are one timer of the reactor's.
        let tasks: Vec<_> = (0..5000u64)
            .map(|i| {
                spawn(TaskClass::Request, "sleeper", async move {
                    let short = sleep(Duration::from_millis(10 + i % 20));
                    timeout(Duration::from_secs(600), short)
                        .await
                        .expect("a short sleep within a long timeout");
                })
            })
            .collect();
        for task in tasks {
            task.await;
        }
    });
}

#[test]
fn an_earlier_deadline_is_not_held_up_by_a_later_one() {
    on_a_shard(|| async {
        let late = spawn(TaskClass::Request, "late", sleep(Duration::from_secs(1000)));
        sleep(Duration::from_millis(30)).await; // the wheel's timer is armed for the late one
        sleep(Duration::from_millis(5)).await;
        assert!(!late.is_finished());
    });
}

#[test]
fn stalls_are_reported_with_the_name_of_their_task() {
    on_a_shard(|| async {
        runtime::reset_stall();
        spawn(TaskClass::Flush, "the culprit", async {
            let start = Instant::now();
            while start.elapsed() < Duration::from_millis(300) {}
        })
        .await;
        let stats = runtime::stats();
        assert_eq!(stats.stall_max_task, "the culprit");
        assert!(stats.stall_max_us >= 300_000);
        assert_eq!(stats.computed_max_task, "the culprit");
        // Others' turns on the core are not in it.
        assert!(
            (50_000..=stats.stall_max_us).contains(&stats.computed_max_us),
            "{stats:?}"
        );
        assert!(stats.background_ns >= 300_000_000);
        runtime::reset_stall();
        assert!(runtime::stats().stall_max_us < 300_000);
    });
}

#[test]
fn time_that_a_task_did_not_compute_is_a_stall_only() {
    on_a_shard(|| async {
        sleep(Duration::from_millis(5)).await;
        runtime::reset_stall();
        spawn(TaskClass::Request, "the sleeper", async {
            // As if the machine had given the core to another.
            std::thread::sleep(Duration::from_millis(50));
        })
        .await;
        let stats = runtime::stats();
        assert_eq!(stats.stall_max_task, "the sleeper");
        assert!(
            stats.stall_max_us >= 50_000 && stats.computed_max_us < 25_000,
            "{stats:?}"
        );
    });
}

#[test]
fn shards_know_who_they_are() {
    assert_eq!(runtime::try_shard(), None);
    // Off-shard the clock and randomness are the machine's.
    let now = Instant::now();
    assert!(Instant::now() >= now && runtime::time::unix_micros() > 1_600_000_000_000_000);
    assert_ne!(runtime::random::u64(), runtime::random::u64());
    assert!(runtime::random::below(10) < 10);
    let node = start(2);
    for shard in [A, B] {
        let seen = node.handle().call(shard, || async {
            let mut bytes = [0; 33];
            runtime::random::fill(&mut bytes);
            (runtime::shard(), runtime::try_shard(), runtime::shard_count(), bytes)
        });
        let (id, tried, count, bytes) = seen.wait().unwrap();
        assert_eq!((id, tried, count), (shard, Some(shard), 2));
        assert_ne!(bytes, [0; 33]);
    }
    node.stop().unwrap();
}
