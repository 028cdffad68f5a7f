//! Starting, stopping and panicking.

#[path = "../common/mod.rs"]
mod common;

use std::cell::Cell;
use std::path::Path;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use scrollback_runtime as runtime;

use crate::ALONE;
use common::{A, B, body, descriptors_and_threads, directory, eventually, start};
use runtime::disk::{self, BLOCK, Buf, CreateOptions, File};
use runtime::time::sleep;
use runtime::{BodyKind, Error, Options, Runtime, ShardId, Stopped, TaskClass, checks, spawn};

/// Counts its drops.
struct Counted(Arc<AtomicUsize>);

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }
}

async fn write_a_file(path: &Path) -> File {
    let file = File::create(path, CreateOptions::default()).await.unwrap();
    file.write(0, Rc::new(Buf::zeroed(64 * BLOCK))).await.unwrap();
    file
}

#[test]
fn a_hundred_cycles_leak_nothing() {
    let _alone = ALONE.lock();
    let dir = directory();
    let dropped = Arc::new(AtomicUsize::new(0));
    let cycle = |round: usize| {
        let node = start(2);
        let root = dir.path().join(round.to_string());
        let dropped = Arc::clone(&dropped);
        let work = node.handle().call(A, move || async move {
            disk::create_dir_all(&root).await.unwrap();
            let file = write_a_file(&root.join("file")).await;
            // Left behind in every way: a file nobody closes, tasks that wait for ever, operations in flight.
            runtime::set_root(Rc::new((file.clone(), Counted(Arc::clone(&dropped)))));
            let other = Counted(Arc::clone(&dropped));
            drop(spawn(TaskClass::Compaction, "waits for ever", async move {
                let _other = other;
                std::future::pending::<()>().await;
            }));
            let other = Counted(Arc::clone(&dropped));
            drop(spawn(TaskClass::Flush, "computes for ever", async move {
                let _other = other;
                loop {
                    runtime::breathe().await;
                }
            }));
            for i in 0..8 {
                let (file, other) = (file.clone(), Counted(Arc::clone(&dropped)));
                drop(spawn(TaskClass::Request, "reads", async move {
                    let _other = other;
                    let _ = file.read(i, 100_000).await;
                    let _ = disk::exists(file.path()).await;
                }));
                drop(spawn(TaskClass::Request, "calls", async move {
                    let _ = runtime::call(B, || async { sleep(Duration::from_secs(100)).await }).await;
                }));
            }
            runtime::call(B, || async {}).await.unwrap();
        });
        work.wait().unwrap();
        node.stop().unwrap();
    };
    cycle(1000); // what the process needs once
    assert!(eventually(|| dropped.load(Ordering::Relaxed) == 11));
    assert!(eventually(|| descriptors_and_threads().1 == 0));
    let (descriptors, threads) = descriptors_and_threads();
    for round in 0..100 {
        cycle(round);
    }
    for fd in std::fs::read_dir("/proc/self/fd").unwrap() {
        println!("{:?}", std::fs::read_link(fd.unwrap().path()));
    }
    // The shards' threads are joined; those of their blocking pools end by themselves a moment later.
    let back = eventually(|| descriptors_and_threads() <= (descriptors, threads));
    assert!(
        back,
        "before: {descriptors} descriptors, {threads} threads; after: {:?}",
        descriptors_and_threads()
    );
    assert_eq!(
        dropped.load(Ordering::Relaxed),
        101 * 11,
        "tasks or roots were not dropped"
    );
}

#[test]
fn stopping_waits_for_the_disk() {
    let _alone = ALONE.lock();
    let dir = directory();
    for round in 0..10u8 {
        let node = start(1);
        let path = dir.path().join(round.to_string());
        let name = path.clone();
        let begun = node.handle().call(A, move || async move {
            let file = File::create(
                &name,
                CreateOptions {
                    dsync: true,
                    preallocate_bytes: 0,
                },
            )
            .await
            .unwrap();
            let mut buf = Buf::zeroed(256 * BLOCK);
            buf.fill(round + 1);
            let buf = Rc::new(buf);
            for i in 0..8u64 {
                let (file, buf) = (file.clone(), Rc::clone(&buf));
                drop(spawn(TaskClass::Request, "writes", async move {
                    file.write(i * 256 * BLOCK as u64, buf).await.unwrap();
                }));
            }
            sleep(Duration::from_millis(1)).await; // the tasks have begun their writes
        });
        begun.wait().unwrap();
        node.stop().unwrap();
        // Whatever was begun has its end, and nothing lands later.
        let bytes = std::fs::read(&path).unwrap();
        assert_eq!(bytes.len(), 8 * 256 * BLOCK);
        assert!(bytes.iter().all(|b| *b == round + 1));
    }
}

#[test]
fn dropping_the_runtime_stops_it() {
    let _alone = ALONE.lock();
    let node = start(2);
    let handle = node.handle();
    handle.call(B, || async {}).wait().unwrap();
    drop(node);
    assert!(handle.is_stopped());
    assert_eq!(handle.call(A, || async {}).wait(), Err(Stopped::Stopped));
}

/// Runs `f` without the panics of shards on standard error.
fn quietly(f: impl FnOnce()) {
    let before = std::panic::take_hook();
    std::panic::set_hook(Box::new(|info| {
        if !std::thread::current()
            .name()
            .is_some_and(|name| name.starts_with("test-"))
        {
            eprintln!("{info}");
        }
    }));
    f();
    std::panic::set_hook(before);
}

#[test]
fn a_panicking_shard_poisons_and_the_others_serve_on() {
    let _alone = ALONE.lock();
    let dir = directory();
    let path = dir.path().join("file");
    quietly(|| {
        let node = start(3);
        let handle = node.handle();
        let dropped = Arc::new(AtomicUsize::new(0));
        // Waiting for shard 1, from outside and from another shard, when it panics.
        let guard = Counted(Arc::clone(&dropped));
        let outside = handle.call(B, move || async move {
            let _guard = guard;
            let file = write_a_file(&path).await;
            loop {
                let _ = file.read(0, 64 * BLOCK).await;
            }
        });
        let guard = Counted(Arc::clone(&dropped));
        let across = handle.call(A, move || async move {
            runtime::call(B, move || async move {
                let _guard = guard;
                std::future::pending::<()>().await;
            })
            .await
        });
        let culprit = handle.call(B, || async {
            sleep(Duration::from_millis(20)).await;
            spawn(TaskClass::Flush, "the culprit", async {
                assert_eq!(runtime::shard(), A, "on purpose");
            })
            .await;
        });
        let gone = Stopped::Panicked(B);
        assert_eq!(culprit.wait(), Err(gone));
        assert_eq!(outside.wait(), Err::<(), _>(gone));
        assert_eq!(across.wait(), Ok(Err(gone)));
        assert!(
            eventually(|| dropped.load(Ordering::Relaxed) == 2),
            "tasks of the shard were not dropped"
        );
        // New calls are refused, on and off shards; the others serve on.
        assert_eq!(handle.call(B, || async {}).wait(), Err(gone));
        let third = ShardId(2);
        let others = handle.call(A, move || async move {
            assert_eq!(runtime::call(B, || async {}).await, Err(Stopped::Panicked(B)));
            runtime::call(third, || async { 5 }).await
        });
        assert_eq!(others.wait(), Ok(Ok(5)));
        assert_eq!(handle.panicked(), Some(B));
        let error = node.stop().unwrap_err();
        let Error::Panicked { shard, message } = &error else {
            panic!("{error}")
        };
        assert_eq!(*shard, B);
        assert!(
            message.contains("the culprit") && message.contains("on purpose"),
            "{message}"
        );
    });
}

#[test]
fn panics_of_many_kinds_end_the_shard_only() {
    let _alone = ALONE.lock();
    let before = descriptors_and_threads();
    quietly(|| {
        for kind in 0..3 {
            let node = start(2);
            let handle = node.handle();
            let call = handle.call(B, move || {
                assert!(kind != 0, "while the call is made");
                async move {
                    struct Bad(Cell<bool>);
                    impl Drop for Bad {
                        fn drop(&mut self) {
                            assert!(!self.0.get(), "in a destructor");
                        }
                    }
                    // One that panics again when it is dropped with the rest.
                    drop(spawn(TaskClass::Request, "bad", async {
                        let _bad = Bad(Cell::new(true));
                        std::future::pending::<()>().await;
                    }));
                    sleep(Duration::from_millis(10)).await;
                    assert!(kind != 1, "in a request");
                    runtime::time::sleep(Duration::from_millis(1)).await;
                    panic!("{}", String::from("with a string"));
                }
            });
            assert_eq!(call.wait(), Err::<(), _>(Stopped::Panicked(B)));
            assert_eq!(handle.call(A, || async { 1 }).wait(), Ok(1));
            assert!(matches!(node.stop(), Err(Error::Panicked { .. })));
        }
    });
    assert!(
        eventually(|| descriptors_and_threads() <= before),
        "{before:?} {:?}",
        descriptors_and_threads()
    );
}

#[test]
fn shards_can_be_pinned() {
    let _alone = ALONE.lock();
    let options = Options {
        pin: true,
        body: Some(body()),
        spin_before_park: Duration::from_micros(20),
        io_memory_bytes: 0,
        ..Options::default()
    };
    let node = Runtime::start(options).unwrap();
    let cpus = node
        .handle()
        .call(A, || async { std::thread::available_parallelism().unwrap().get() });
    assert_eq!(cpus.wait(), Ok(1));
    node.stop().unwrap();
}

#[test]
fn this_machine_passes_the_checks() {
    let _alone = ALONE.lock();
    let dir = directory();
    let root = dir.path().join("new/store");
    let report = checks::startup(&root, 2, Some(body())).unwrap();
    assert!(root.is_dir());
    assert_eq!((report.body, report.why_threads), (body(), None));
    assert!(!report.kernel.is_empty() && report.files_max >= 192 && report.direct_io);
    let arena = report.io_memory_bytes;
    assert_eq!(
        arena >= 64 << 10,
        body() == BodyKind::Uring,
        "an arena of {arena} bytes"
    );
    assert_eq!(
        std::fs::read_dir(&root).unwrap().count(),
        0,
        "a check left something behind"
    );
    let sentence = |path: &Path| checks::startup(path, 1, Some(body())).unwrap_err().to_string();
    let file = dir.path().join("file");
    std::fs::write(&file, b"x").unwrap();
    assert!(
        sentence(&file.join("below")).contains("can't be created"),
        "{}",
        sentence(&file.join("below"))
    );
    // A file system without direct I/O, and one that can't be written.
    let proc = sentence(Path::new("/proc/self"));
    assert!(proc.contains("/proc/self"), "{proc}");
}

#[test]
fn one_store_per_directory() {
    let _alone = ALONE.lock();
    let dir = directory();
    let lock = checks::lock_directory(dir.path()).unwrap();
    assert!(lock.path().starts_with(dir.path()));
    let error = checks::lock_directory(dir.path()).unwrap_err().to_string();
    assert!(error.contains("in use"), "{error}");
    drop(lock);
    drop(checks::lock_directory(dir.path()).unwrap());
    let error = checks::lock_directory(&dir.path().join("missing"))
        .unwrap_err()
        .to_string();
    assert!(error.contains("can't be opened"), "{error}");
}
