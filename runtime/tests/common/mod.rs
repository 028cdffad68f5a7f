//! What the tests of the real bodies share. The same tests run on each: the name of the module that has this one says on which.

#![allow(dead_code, reason = "each test file uses a part of it")]

use std::time::{Duration, Instant};

use scrollback_runtime as runtime;

use runtime::{BodyKind, Options, Runtime, ShardId};

pub const A: ShardId = ShardId(0);
pub const B: ShardId = ShardId(1);

/// What the tests of this crate run on.
pub fn body() -> BodyKind {
    match module_path!().contains("on_threads") {
        true => BodyKind::Threads,
        false => BodyKind::Uring,
    }
}

/// Whether files are opened for direct I/O.
pub fn direct_io() -> bool {
    !module_path!().contains("buffered")
}

/// A directory with direct I/O.
pub fn directory() -> tempfile::TempDir {
    tempfile::tempdir().unwrap()
}

/// A node of `shards` shards, unpinned, with small arenas.
pub fn start(shards: usize) -> Runtime {
    let node = Runtime::start(Options {
        shards,
        body: Some(body()),
        direct_io: direct_io(),
        io_memory_bytes: 1 << 20,
        name: "test".to_owned(),
        ..Options::default()
    })
    .unwrap();
    assert_eq!(node.body(), body());
    node
}

/// Runs `f` on shard 0 of a node of its own.
pub fn on_a_shard<R, F, Fut>(f: F) -> R
where
    F: FnOnce() -> Fut + Send + 'static,
    Fut: Future<Output = R> + 'static,
    R: Send + 'static,
{
    let node = start(1);
    let result = node.handle().call(A, f).wait();
    node.stop().unwrap();
    result.unwrap()
}

/// Open descriptors of this process, and threads of nodes: shards, the threads beside them (whose names begin with the
/// shard's), and pingers. The test harness has threads of its own.
pub fn descriptors_and_threads() -> (usize, usize) {
    let descriptors = std::fs::read_dir("/proc/self/fd").unwrap().count();
    let tasks = std::fs::read_dir("/proc/self/task").unwrap();
    let names = tasks.filter_map(|task| std::fs::read_to_string(task.unwrap().path().join("comm")).ok());
    (descriptors, names.filter(|name| name.starts_with("test-")).count())
}

/// Waits, for at most 20 s, until `condition` holds. Threads of the blocking pool end a moment after their shard.
pub fn eventually(condition: impl Fn() -> bool) -> bool {
    let start = Instant::now();
    while !condition() {
        if start.elapsed() > Duration::from_secs(20) {
            return false;
        }
        std::thread::sleep(Duration::from_millis(5));
    }
    true
}
