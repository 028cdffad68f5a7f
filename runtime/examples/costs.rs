//! What the runtime's own operations cost on this machine: `cargo run --release -p scrollback-runtime --example costs`.
//!
//! Wall time per operation and CPU time of the process per operation, user and system together. A look for those who
//! change the runtime; nothing checks it.

use std::path::PathBuf;
use std::rc::Rc;
use std::time::{Duration, Instant};

use scrollback_runtime as runtime;

use runtime::disk::{BLOCK, Buf, CreateOptions, File};
use runtime::{Handle, Options, Runtime, ShardId, TaskClass, spawn};

const A: ShardId = ShardId(0);
const B: ShardId = ShardId(1);

/// CPU time of this process so far.
fn cpu() -> Duration {
    let mut spec = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: `spec` is valid and writable.
    unsafe { libc::clock_gettime(libc::CLOCK_PROCESS_CPUTIME_ID, &raw mut spec) };
    Duration::new(spec.tv_sec as u64, spec.tv_nsec as u32)
}

fn measure<F, Fut>(handle: &Handle, name: &str, count: u64, f: F)
where
    F: FnOnce(u64) -> Fut + Send + 'static,
    Fut: Future<Output = ()> + 'static,
{
    let (start, cpu_start) = (Instant::now(), cpu());
    handle.call(A, move || f(count)).wait().expect("the shard runs");
    let (wall, used) = (start.elapsed(), cpu() - cpu_start);
    let per = |d: Duration| d.as_nanos() as f64 / count as f64 / 1000.0;
    println!("{name:48} {:10.3} us wall {:10.3} us cpu", per(wall), per(used));
}

fn main() {
    let dir = std::env::args().nth(1).map_or_else(std::env::temp_dir, PathBuf::from);
    let path = dir.join(format!("scrollback-costs-{}", std::process::id()));
    let node = Runtime::start(Options {
        shards: 2,
        ..Options::default()
    })
    .expect("this machine can run shards");
    let handle = node.handle();

    measure(&handle, "breathe, nothing to do", 10_000_000, |n| async move {
        for _ in 0..n {
            runtime::breathe().await;
        }
    });
    measure(&handle, "spawn and await", 1_000_000, |n| async move {
        for _ in 0..n {
            spawn(TaskClass::Request, "small", async {}).await;
        }
    });
    measure(&handle, "timeout set and dropped", 1_000_000, |n| async move {
        for _ in 0..n {
            let mut polled = false;
            let ready = std::future::poll_fn(move |cx| {
                if std::mem::replace(&mut polled, true) {
                    return std::task::Poll::Ready(());
                }
                cx.waker().wake_by_ref();
                std::task::Poll::Pending
            });
            runtime::time::timeout(Duration::from_secs(10), ready)
                .await
                .expect("in time");
        }
    });
    measure(
        &handle,
        "request slices of 100 us: time per slice",
        10_000,
        |n| async move {
            slices(n).await;
        },
    );
    measure(
        &handle,
        "background slices of 100 us: time per slice",
        10_000,
        |n| async move {
            spawn(TaskClass::Compaction, "slices", slices(n)).await;
        },
    );
    measure(
        &handle,
        "call to the other shard, one at a time",
        50_000,
        |n| async move {
            for i in 0..n {
                runtime::call(B, move || async move { i }).await.expect("it runs");
            }
        },
    );
    measure(
        &handle,
        "call to the other shard, 64 at a time",
        2_000_000,
        |n| async move {
            let tasks: Vec<_> = (0..64)
                .map(|_| {
                    spawn(TaskClass::Request, "caller", async move {
                        for i in 0..n / 64 {
                            runtime::call(B, move || async move { i }).await.expect("it runs");
                        }
                    })
                })
                .collect();
            for task in tasks {
                task.await;
            }
        },
    );

    let count = 50_000u64;
    let (start, cpu_start) = (Instant::now(), cpu());
    for i in 0..count {
        handle.call(A, move || async move { i }).wait().expect("it runs");
    }
    let per = |d: Duration| d.as_nanos() as f64 / count as f64 / 1000.0;
    println!(
        "{:48} {:10.3} us wall {:10.3} us cpu",
        "call from a plain thread, one at a time",
        per(start.elapsed()),
        per(cpu() - cpu_start)
    );
    let (start, cpu_start) = (Instant::now(), cpu());
    let mut calls = std::collections::VecDeque::new();
    for i in 0..count * 10 {
        calls.push_back(handle.call(A, move || async move { i }));
        if calls.len() == 64 {
            calls.pop_front().expect("there are 64").wait().expect("it runs");
        }
    }
    while let Some(call) = calls.pop_front() {
        call.wait().expect("it runs");
    }
    let per = |d: Duration| d.as_nanos() as f64 / count as f64 / 10_000.0;
    println!(
        "{:48} {:10.3} us wall {:10.3} us cpu",
        "call from a plain thread, 64 at a time",
        per(start.elapsed()),
        per(cpu() - cpu_start)
    );

    let name = path.clone();
    measure(
        &handle,
        "write 4 KiB, dsync, one at a time",
        2_000,
        move |n| async move {
            let o = CreateOptions {
                dsync: true,
                preallocate_bytes: 8 << 20,
            };
            let file = File::create(&name, o).await.expect("it can be created");
            let zeros = Rc::new(Buf::zeroed(1 << 20));
            for i in 0..8 {
                file.write(i << 20, Rc::clone(&zeros)).await.expect("it can be written");
            }
            let buf = Rc::new(Buf::zeroed(BLOCK));
            for i in 0..n {
                file.write((i % 2048) * BLOCK as u64, Rc::clone(&buf))
                    .await
                    .expect("it can be written");
            }
            file.close().await.expect("it can be closed");
        },
    );
    for depth in [1, 32] {
        let name = path.clone();
        measure(
            &handle,
            &format!("read 4 KiB, {depth} at a time"),
            64_000,
            move |n| async move {
                let file = File::open_read(&name).await.expect("it can be opened");
                let tasks: Vec<_> = (0..depth)
                    .map(|t| {
                        let file = file.clone();
                        spawn(TaskClass::Request, "reader", async move {
                            for i in 0..n / depth {
                                let at = (i * 37 + t * 11) % 2048 * BLOCK as u64;
                                file.read(at, BLOCK).await.expect("it can be read");
                            }
                        })
                    })
                    .collect();
                for task in tasks {
                    task.await;
                }
                file.close().await.expect("it can be closed");
            },
        );
    }
    let _ = std::fs::remove_file(&path);
    node.stop().expect("no shard panicked");
}

/// Computes for `n` slices of 100 us.
async fn slices(n: u64) {
    let mut done = 0;
    let mut since = runtime::time::Instant::now();
    while done < n {
        if since.elapsed() >= Duration::from_micros(100) {
            done += 1;
            runtime::breathe().await;
            since = runtime::time::Instant::now();
        }
        runtime::breathe().await;
    }
}
