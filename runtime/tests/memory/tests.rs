//! A node that has ended leaves no memory behind.

#[path = "../common/mod.rs"]
mod common;

use std::future::Future;
use std::pin::pin;
use std::sync::atomic::Ordering;
use std::task::{Context, Waker};
use std::time::Duration;

use scrollback_runtime as runtime;

use crate::{ALONE, LIVE};
use common::{A, B, start};
use runtime::TaskClass;
use runtime::time::sleep;

/// A node that has computed, waited, called and been left alone with all that when it ends.
fn round() {
    let node = start(2);
    let work = node.handle().call(A, || async {
        for class in [TaskClass::Request, TaskClass::Compaction] {
            drop(runtime::spawn(class, "waits for ever", async {
                loop {
                    runtime::breathe().await;
                    sleep(Duration::from_millis(1)).await;
                }
            }));
        }
        let computes = runtime::spawn(TaskClass::Flush, "computes", async {
            let until = std::time::Instant::now() + Duration::from_millis(2);
            while std::time::Instant::now() < until {
                runtime::breathe().await;
            }
        });
        runtime::call(B, || sleep(Duration::from_millis(1))).await.unwrap();
        let mut left = pin!(runtime::call(B, || sleep(Duration::from_secs(100))));
        assert!(left.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_pending());
        computes.await;
    });
    work.wait().unwrap();
    node.stop().unwrap();
}

#[test]
fn a_node_that_has_ended_leaves_no_memory_behind() {
    let _alone = ALONE.lock();
    const ROUNDS: i64 = 20;
    (0..ROUNDS).for_each(|_| round());
    let before = LIVE.load(Ordering::Relaxed);
    (0..ROUNDS).for_each(|_| round());
    let kept = LIVE.load(Ordering::Relaxed) - before;
    // Tables of the process, of threads and of executors, grow now and then.
    assert!(kept < ROUNDS, "{kept} allocations in {ROUNDS} rounds");
}
