//! The real body, end to end.

use std::path::PathBuf;
use std::rc::Rc;
use std::time::Duration;

use scrollback_runtime as runtime;

use runtime::disk::{self, BLOCK, Buf, CreateOptions, File};
use runtime::{Options, Runtime, ShardId, TaskClass, spawn};

fn directory() -> tempfile::TempDir {
    tempfile::tempdir().unwrap()
}

fn start(shards: usize) -> Runtime {
    Runtime::start(Options { shards, io_memory_bytes: 1 << 20, ..Options::default() }).unwrap()
}

#[test]
fn disk_round_trip() {
    let dir = directory();
    let path: PathBuf = dir.path().join("file");
    let node = start(1);
    let result = node.handle().call(ShardId(0), move || async move {
        let file = File::create(&path, CreateOptions { dsync: true, preallocate_bytes: 64 << 10 }).await.unwrap();
        let mut buf = Buf::zeroed(2 * BLOCK);
        for (i, byte) in buf.iter_mut().enumerate() {
            *byte = (i % 251) as u8;
        }
        let buf = Rc::new(buf);
        file.write(BLOCK as u64, Rc::clone(&buf)).await.unwrap();
        let read = file.read(BLOCK as u64 + 5, 5000).await.unwrap();
        assert_eq!(&*read, &buf[5..5005]);
        let zeros = file.read(0, 10).await.unwrap();
        assert_eq!(&*zeros, &[0; 10]);
        assert_eq!(file.len().await.unwrap(), 64 << 10);
        disk::sync_dir(path.parent().unwrap()).await.unwrap();
        drop(read);
        drop(zeros);
        file.close().await.unwrap();
        let entries = disk::list(path.parent().unwrap()).await.unwrap();
        assert_eq!(entries.len(), 1);
        runtime::stats()
    });
    let stats = result.wait().unwrap();
    assert_eq!(stats.device_writes, 1);
    node.stop().unwrap();
}

#[test]
fn tasks_timers_and_calls() {
    let node = start(2);
    let handle = node.handle();
    let sum = handle.call(ShardId(0), || async {
        let mut sum = 0;
        for i in 0..1000u64 {
            sum += runtime::call(ShardId(1), move || async move { i + u64::from(runtime::shard().0) }).await.unwrap();
        }
        let background = spawn(TaskClass::Flush, "busy", async {
            for _ in 0..10_000 {
                std::hint::black_box(runtime::random::u64());
                runtime::breathe().await;
            }
            7
        });
        runtime::time::sleep(Duration::from_millis(20)).await;
        sum + background.await
    });
    assert_eq!(sum.wait().unwrap(), 999 * 1000 / 2 + 1000 + 7);
    node.stop().unwrap();
    assert!(handle.is_stopped());
}
