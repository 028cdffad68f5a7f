//! Calls from shard to shard, and from plain threads and other runtimes into shards.

use std::cell::{Cell, RefCell};
use std::future::Future;
use std::pin::pin;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll, Waker};
use std::thread;
use std::time::Duration;

use scrollback_runtime as runtime;

use super::common::{A, B, eventually, start};
use runtime::time::sleep;
use runtime::{ShardId, Stopped, TaskClass, block_on, spawn};

#[test]
fn calls_reach_every_shard_and_come_back() {
    let node = start(3);
    let sum = node.handle().call(A, || async {
        let mut sum = 0;
        for to in 0..3 {
            sum += runtime::call(ShardId(to), || async { u64::from(runtime::shard().0) + 1 })
                .await
                .unwrap();
        }
        sum
    });
    assert_eq!(sum.wait(), Ok(6));
    node.stop().unwrap();
}

#[test]
fn a_call_to_the_own_shard_makes_no_hop() {
    let node = start(1);
    let stats = node.handle().call(A, || async {
        let local = Rc::new(Cell::new(0));
        let before = runtime::stats();
        // Not a task either: it runs within this one.
        let name = runtime::call(A, || async { runtime::task_name() }).await.unwrap();
        assert_eq!(name, runtime::task_name());
        local.set(1);
        let after = runtime::stats();
        (after.messages - before.messages, after.spawned - before.spawned)
    });
    assert_eq!(stats.wait(), Ok((0, 0)));
    node.stop().unwrap();
}

#[test]
fn calls_begin_in_the_order_they_were_made() {
    let node = start(2);
    let in_order = node.handle().call(A, || async {
        let tasks: Vec<_> = (0..5000u64)
            .map(|i| {
                spawn(TaskClass::Request, "caller", async move {
                    runtime::call(B, move || async move {
                        let seen = runtime::root::<RefCell<Vec<u64>>>().unwrap_or_default();
                        seen.borrow_mut().push(i);
                        runtime::set_root(seen);
                    })
                    .await
                    .unwrap();
                })
            })
            .collect();
        for task in tasks {
            task.await;
        }
        runtime::call(B, || async {
            let seen = runtime::root::<RefCell<Vec<u64>>>().unwrap();
            seen.take().into_iter().eq(0..5000)
        })
        .await
        .unwrap()
    });
    assert_eq!(in_order.wait(), Ok(true));
    node.stop().unwrap();
}

/// Far more calls at once than fit into the channels, in both directions, with answers that take their time.
#[test]
fn cross_shard_calls_under_load_all_answer() {
    const CALLS: u64 = 12_000;
    let node = start(2);
    let handle = node.handle();
    let from = |shard: ShardId, to: ShardId| {
        handle.call(shard, move || async move {
            let tasks: Vec<_> = (0..CALLS)
                .map(|i| {
                    spawn(TaskClass::Request, "caller", async move {
                        runtime::call(to, move || async move {
                            match i % 100 {
                                0 => sleep(Duration::from_millis(i % 13)).await,
                                1 => runtime::call(shard, || async {}).await.unwrap(),
                                _ => runtime::breathe().await,
                            }
                            vec![i; 3]
                        })
                        .await
                        .unwrap()
                    })
                })
                .collect();
            let mut sum = 0;
            for task in tasks {
                sum += task.await.iter().sum::<u64>();
            }
            sum
        })
    };
    let (one, other) = (from(A, B), from(B, A));
    let expected = 3 * CALLS * (CALLS - 1) / 2;
    assert_eq!(one.wait(), Ok(expected));
    assert_eq!(other.wait(), Ok(expected));
    node.stop().unwrap();
}

/// Callers that give up: their calls run on the other shard, the answers are dropped, and places are not mixed up.
#[test]
fn abandoned_calls_run_to_their_end() {
    let node = start(2);
    let handle = node.handle();
    let started = Arc::new(AtomicUsize::new(0));
    let ended = Arc::new(AtomicUsize::new(0));
    let counters = (Arc::clone(&started), Arc::clone(&ended));
    let kept = handle.call(A, move || async move {
        let mut right = 0;
        for i in 0..500u64 {
            let (started, ended) = (Arc::clone(&counters.0), Arc::clone(&counters.1));
            {
                let call = runtime::call(B, move || async move {
                    started.fetch_add(1, Ordering::Relaxed);
                    sleep(Duration::from_millis(5)).await;
                    ended.fetch_add(1, Ordering::Relaxed);
                    "dropped"
                });
                let mut call = pin!(call);
                assert!(call.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_pending());
            }
            right += u64::from(runtime::call(B, move || async move { i }).await.unwrap() == i);
        }
        right
    });
    assert_eq!(kept.wait(), Ok(500));
    assert!(eventually(|| ended.load(Ordering::Relaxed) == 500));
    assert_eq!(started.load(Ordering::Relaxed), 500);
    node.stop().unwrap();
}

/// Whether its caller took the answer, left before it was there, or with it there: a call's place is free again.
#[test]
fn calls_leave_nothing_behind() {
    let node = start(2);
    let under_way = node.handle().call(A, || async {
        for _ in 0..1000 {
            runtime::call(B, || async {}).await.unwrap();
            for waits in [false, true] {
                let mut call = pin!(runtime::call(B, || async {}));
                assert!(call.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_pending());
                if waits {
                    // Calls are answered in their order.
                    runtime::call(B, || async {}).await.unwrap();
                }
            }
        }
        runtime::call(B, || async {}).await.unwrap();
        runtime::stats().calls_under_way
    });
    assert_eq!(under_way.wait(), Ok(0));
    node.stop().unwrap();
}

#[test]
fn plain_threads_call_at_the_same_time() {
    let node = start(2);
    let threads: Vec<_> = (0..8u64)
        .map(|t| {
            let handle = node.handle();
            thread::spawn(move || {
                let mut sum = 0;
                for i in 0..500 {
                    let to = ShardId((i % 2) as u16);
                    sum += handle.call(to, move || async move { t * 1000 + i }).wait().unwrap();
                }
                sum
            })
        })
        .collect();
    let sum: u64 = threads.into_iter().map(|t| t.join().unwrap()).sum();
    let expected: u64 = (0..8u64).map(|t| t * 1000 * 500 + 499 * 500 / 2).sum();
    assert_eq!(sum, expected);
    node.stop().unwrap();
}

/// More calls than the inbox holds, made before any is polled: the rest waits outside and gets its turn.
#[test]
fn a_full_inbox_makes_calls_wait() {
    const CALLS: usize = 20_000;
    let node = start(1);
    let handle = node.handle();
    let ran = Arc::new(AtomicUsize::new(0));
    // Keeps the shard from emptying its inbox.
    let (release, held) = std::sync::mpsc::channel::<()>();
    let (holds, holding_now) = std::sync::mpsc::channel::<()>();
    let holding = handle.call(A, move || async move {
        holds.send(()).unwrap();
        held.recv().is_err()
    });
    holding_now.recv().unwrap();
    let mut calls = Vec::new();
    for i in 0..CALLS {
        let ran = Arc::clone(&ran);
        calls.push(handle.call(A, move || async move { ran.fetch_add(1, Ordering::Relaxed).min(i) }));
    }
    // Some that wait give up; their places go to others.
    let mut kept = Vec::new();
    let mut given_up = 0;
    for (i, mut call) in calls.into_iter().enumerate() {
        let polled = std::pin::Pin::new(&mut call).poll(&mut Context::from_waker(Waker::noop()));
        assert!(polled.is_pending());
        if format!("{call:?}").contains("queued: false") && i % 3 == 0 {
            given_up += 1;
        } else {
            kept.push(call);
        }
    }
    assert!(given_up > 0, "the inbox has no bound");
    drop(release);
    assert_eq!(holding.wait(), Ok(true));
    for call in kept {
        call.wait().unwrap();
    }
    assert_eq!(ran.load(Ordering::Relaxed), CALLS - given_up);
    node.stop().unwrap();
}

/// A call is a future of any runtime: here of a plain thread's `block_on`, joined with others.
#[test]
fn calls_are_futures_of_any_runtime() {
    let node = start(2);
    let handle = node.handle();
    let sum = block_on(async move {
        let mut calls: Vec<_> = (0..200u64)
            .map(|i| {
                Some(handle.call(ShardId((i % 2) as u16), move || async move {
                    sleep(Duration::from_millis(i % 10)).await;
                    i
                }))
            })
            .collect();
        let mut sum = 0;
        std::future::poll_fn(move |cx| {
            for call in &mut calls {
                if let Some(pending) = call
                    && let Poll::Ready(value) = std::pin::Pin::new(pending).poll(cx)
                {
                    sum += value.unwrap();
                    *call = None;
                }
            }
            if calls.iter().all(Option::is_none) {
                Poll::Ready(sum)
            } else {
                Poll::Pending
            }
        })
        .await
    });
    assert_eq!(sum, 199 * 200 / 2);
    node.stop().unwrap();
}

#[test]
fn dropped_calls_run_unheard() {
    let node = start(1);
    let ran = Arc::new(AtomicUsize::new(0));
    for _ in 0..100 {
        let ran = Arc::clone(&ran);
        drop(node.handle().call(A, move || async move {
            sleep(Duration::from_millis(5)).await;
            ran.fetch_add(1, Ordering::Relaxed);
        }));
    }
    assert!(eventually(|| ran.load(Ordering::Relaxed) == 100));
    node.stop().unwrap();
}

#[test]
fn calls_end_when_the_node_stops() {
    let node = start(2);
    let handle = node.handle();
    let never: Vec<_> = (0..10)
        .map(|i| {
            handle.call(ShardId(i % 2), move || async move {
                if i < 5 {
                    std::future::pending::<()>().await;
                }
                let _ = runtime::call(ShardId((i + 1) % 2), std::future::pending::<()>).await;
            })
        })
        .collect();
    thread::sleep(Duration::from_millis(20));
    assert!(!handle.is_stopped());
    node.stop().unwrap();
    for call in never {
        assert_eq!(call.wait(), Err(Stopped::Stopped));
    }
    assert!(handle.is_stopped());
    assert_eq!(handle.call(B, || async { 1 }).wait(), Err(Stopped::Stopped));
}
