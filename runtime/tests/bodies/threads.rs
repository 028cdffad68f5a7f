//! What only plain threads have to show.

use std::cell::Cell;
use std::ffi::CString;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::pin::pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use scrollback_runtime as runtime;

use super::on_threads::common::{A, directory, eventually, on_a_shard};
use runtime::disk::{BLOCK, Buf, CreateOptions, File};
use runtime::time::{Instant, sleep, timeout};
use runtime::{BodyKind, Options, Runtime, TaskClass, spawn};

async fn one_block(path: &Path) -> File {
    let file = File::create(path, CreateOptions::default()).await.unwrap();
    file.write(0, Rc::new(Buf::zeroed(BLOCK))).await.unwrap();
    file
}

/// Opening a pipe that nobody writes to lasts until somebody does: more of that than compaction has threads for.
#[test]
fn slow_operations_of_one_class_hold_up_no_other() {
    let dir = directory();
    let (path, pipe) = (dir.path().join("file"), dir.path().join("pipe"));
    let name = CString::new(pipe.as_os_str().as_bytes()).unwrap();
    // SAFETY: `name` ends with a zero byte and lives for the whole call.
    assert_eq!(unsafe { libc::mkfifo(name.as_ptr(), 0o600) }, 0);
    on_a_shard(move || async move {
        let file = one_block(&path).await;
        let slow: Vec<_> = (0..20)
            .map(|_| {
                let pipe = pipe.clone();
                spawn(TaskClass::Compaction, "slow", async move {
                    File::open_read(&pipe).await.unwrap();
                })
            })
            .collect();
        sleep(Duration::from_millis(20)).await;
        // A write that can't begin, given up: its buffer is not the caller's alone before it has landed.
        let mut buf = Buf::zeroed(BLOCK);
        buf.fill(7);
        let buf = Rc::new(buf);
        let (writes, ours) = (file.clone(), Rc::clone(&buf));
        spawn(TaskClass::Compaction, "gives up", async move {
            let mut write = pin!(writes.write(BLOCK as u64, ours));
            let polled = write.as_mut().poll(&mut Context::from_waker(Waker::noop()));
            assert!(polled.is_pending());
        })
        .await;
        let kept = Rc::strong_count(&buf);
        let others = async {
            for class in [TaskClass::Request, TaskClass::Flush, TaskClass::Maintenance] {
                let (file, path) = (file.clone(), path.clone());
                spawn(class, "other", async move {
                    file.write(0, Rc::new(Buf::zeroed(BLOCK))).await.unwrap();
                    file.sync().await.unwrap();
                    assert_eq!(file.read(1, 7).await.unwrap().len(), 7);
                    assert!(runtime::disk::exists(&path).await.unwrap());
                })
                .await;
            }
        };
        let done = timeout(Duration::from_secs(20), others).await;
        assert!(
            slow.iter().all(|task| !task.is_finished()),
            "a pipe was opened by nobody"
        );
        // A writer, until all have been let in.
        let writer = std::fs::OpenOptions::new().read(true).write(true).open(&pipe).unwrap();
        for task in slow {
            task.await;
        }
        drop(writer);
        done.expect("a class waits for another one's disk");
        assert_eq!(kept, 2, "the buffer of a write in flight was let go of");
        while Rc::strong_count(&buf) > 1 {
            sleep(Duration::from_millis(5)).await;
        }
        assert_eq!(*file.read(BLOCK as u64, BLOCK).await.unwrap(), [7; BLOCK]);
    });
}

/// Tasks that wake one another without end, and never breathe, keep neither the disk nor the clock away for ever.
#[test]
fn a_shard_with_something_to_do_always_still_passes() {
    let dir = directory();
    let path = dir.path().join("file");
    on_a_shard(move || async move {
        let done = Rc::new(Cell::new(false));
        let ours = Rc::clone(&done);
        let reader = spawn(TaskClass::Request, "reader", async move {
            let file = one_block(&path).await;
            file.read(0, 9).await.unwrap();
            sleep(Duration::from_millis(10)).await;
            ours.set(true);
        });
        let begin = Instant::now();
        std::future::poll_fn(|cx| {
            if done.get() || begin.elapsed() > Duration::from_secs(20) {
                return Poll::Ready(());
            }
            cx.waker().wake_by_ref();
            Poll::Pending
        })
        .await;
        assert!(done.get(), "no pass in 20 s");
        reader.await;
    });
}

/// The processors that each thread of this process whose name begins with `name` may run on.
fn processors_of(name: &str) -> Vec<(String, String)> {
    let tasks = std::fs::read_dir("/proc/self/task").unwrap();
    let read = |task: std::io::Result<std::fs::DirEntry>| {
        let path = task.unwrap().path();
        let comm = std::fs::read_to_string(path.join("comm")).ok()?;
        let status = std::fs::read_to_string(path.join("status")).ok()?;
        let allowed = status
            .lines()
            .find_map(|line| line.strip_prefix("Cpus_allowed_list:"))?;
        comm.starts_with(name)
            .then(|| (comm.trim().to_owned(), allowed.trim().to_owned()))
    };
    tasks.filter_map(read).collect()
}

/// A pinned shard's threads for the disk would wait for it if they were pinned with it.
#[test]
fn only_the_shard_is_pinned() {
    let dir = directory();
    let path = dir.path().join("file");
    let node = Runtime::start(Options {
        body: Some(BodyKind::Threads),
        pin: true,
        name: "pinned".to_owned(),
        ..Options::default()
    });
    let node = node.unwrap();
    let work = node.handle().call(A, move || async move {
        // Several threads.
        let file = one_block(&path).await;
        let reads = (0..8).map(|_| {
            let file = file.clone();
            spawn(TaskClass::Request, "reads", async move {
                file.read(0, BLOCK).await.map(drop)
            })
        });
        for read in reads.collect::<Vec<_>>() {
            read.await.unwrap();
        }
    });
    work.wait().unwrap();
    // Threads take their names, and leave the processor they were born on, with their first steps.
    let apart = || {
        let ping = processors_of("pinned-ping");
        let threads = processors_of("pinned-0");
        let free = |processors: &String| ping.iter().any(|(_, everywhere)| everywhere == processors);
        let right = |(name, processors): &(String, String)| match name == "pinned-0" {
            true => processors.parse::<usize>().is_ok(),
            false => free(processors), // On a machine with one processor that is the same.
        };
        threads.len() > 2 && threads.iter().all(right)
    };
    assert!(eventually(apart), "{:?}", processors_of("pinned"));
    node.stop().unwrap();
    assert!(eventually(|| processors_of("pinned").is_empty()));
}
