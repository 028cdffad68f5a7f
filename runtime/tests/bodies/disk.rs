//! The disk of a real body: what is written is read, ends are ends, nothing is cancelled.

use std::path::{Path, PathBuf};
use std::pin::pin;
use std::rc::Rc;
use std::task::{Context, Waker};

use scrollback_runtime as runtime;

use super::common::{direct_io, directory, on_a_shard};
use runtime::disk::{self, BLOCK, Buf, CreateOptions, File};
use runtime::{TaskClass, spawn};

/// A byte for each place of a file.
fn byte_at(offset: u64) -> u8 {
    (offset % 251) as u8
}

fn filled(offset: u64, len: usize) -> Rc<Buf> {
    let mut buf = Buf::zeroed(len);
    for (i, byte) in buf.iter_mut().enumerate() {
        *byte = byte_at(offset + i as u64);
    }
    Rc::new(buf)
}

/// A new file with `blocks` blocks of known content.
async fn file_of(path: &Path, blocks: usize) -> File {
    let file = File::create(path, CreateOptions::default()).await.unwrap();
    file.write(0, filled(0, blocks * BLOCK)).await.unwrap();
    file
}

/// Polls once and drops: what a cancelled caller does.
fn poll_once(future: impl Future) {
    let mut future = pin!(future);
    let _ = future.as_mut().poll(&mut Context::from_waker(Waker::noop()));
}

#[test]
fn a_relative_path_begins_at_the_working_directory() {
    let here = std::env::current_dir().unwrap();
    let dir = tempfile::tempdir_in(&here).unwrap();
    let relative = dir.path().strip_prefix(&here).unwrap().to_owned();
    on_a_shard(move || async move {
        let path = relative.join("file");
        file_of(&path, 1).await.close().await.unwrap();
        disk::sync_dir(&relative).await.unwrap();
        let file = File::open_read(&path).await.unwrap();
        assert_eq!(file.path(), path);
        file.close().await.unwrap();
        disk::rename(&path, &relative.join("other")).await.unwrap();
        assert_eq!(disk::list(&relative).await.unwrap()[0].name, "other");
    });
}

#[test]
fn round_trips_at_any_alignment() {
    let dir = directory();
    let path = dir.path().join("file");
    on_a_shard(move || async move {
        let file = file_of(&path, 8).await;
        let size = 8 * BLOCK as u64;
        for (offset, len) in [
            (0, 1),
            (1, 1),
            (4095, 2),
            (4096, 4096),
            (5, 20_000),
            (0, 8 * BLOCK),
            (size - 1, 1),
            (7, 0),
        ] {
            let read = file.read(offset, len).await.unwrap();
            assert_eq!(read.len(), len);
            let wrong = read
                .iter()
                .enumerate()
                .find(|(i, byte)| **byte != byte_at(offset + *i as u64));
            assert_eq!(wrong, None, "read {len} at {offset}");
        }
        // Overwriting a block in the middle leaves the others.
        file.write(2 * BLOCK as u64, Rc::new(Buf::zeroed(BLOCK))).await.unwrap();
        let read = file.read(2 * BLOCK as u64 - 1, BLOCK + 2).await.unwrap();
        assert_eq!(read[0], byte_at(2 * BLOCK as u64 - 1));
        assert!(read[1..=BLOCK].iter().all(|b| *b == 0));
        assert_eq!(read[BLOCK + 1], byte_at(3 * BLOCK as u64));
        file.sync().await.unwrap();
        let stats = runtime::stats();
        assert_eq!(stats.device_writes, 2);
        assert_eq!(stats.syncs, 1);
        file.close().await.unwrap();
    });
}

#[test]
fn reads_past_the_end_are_errors() {
    let dir = directory();
    let path = dir.path().join("file");
    on_a_shard(move || async move {
        let file = file_of(&path, 2).await;
        file.set_len(5000).await.unwrap();
        assert_eq!(file.len().await.unwrap(), 5000);
        // Up to the last byte, and not one more, whatever the rounding.
        assert_eq!(file.read(0, 5000).await.unwrap().len(), 5000);
        assert_eq!(file.read(4999, 1).await.unwrap()[0], byte_at(4999));
        for (offset, len) in [
            (0, 5001),
            (5000, 1),
            (4096, 905),
            (4096, 4096),
            (8192, 1),
            (1 << 40, 1),
            (u64::MAX - 1, 9),
        ] {
            let error = file.read(offset, len).await.unwrap_err();
            assert!(error.is_unexpected_eof(), "read {len} at {offset}: {error}");
        }
        file.close().await.unwrap();
    });
}

#[test]
fn sizes_are_preallocated_and_cut() {
    let dir = directory();
    let path = dir.path().join("file");
    on_a_shard(move || async move {
        let options = CreateOptions {
            dsync: false,
            preallocate_bytes: 1 << 20,
        };
        let file = File::create(&path, options).await.unwrap();
        assert_eq!(file.len().await.unwrap(), 1 << 20);
        assert!(
            file.read(0, 1 << 20).await.unwrap().iter().all(|b| *b == 0),
            "preallocated space is not zero"
        );
        file.set_len(10 * BLOCK as u64).await.unwrap();
        assert_eq!(file.len().await.unwrap(), 10 * BLOCK as u64);
        file.close().await.unwrap();

        let error = File::create(&path, CreateOptions::default()).await.unwrap_err();
        assert!(error.is_already_exists(), "{error}");
        let missing = path.with_extension("missing");
        assert!(File::open_read(&missing).await.unwrap_err().is_not_found());
        assert!(File::open_write(&missing, true).await.unwrap_err().is_not_found());
        // What can't be had leaves nothing behind.
        let huge = CreateOptions {
            dsync: false,
            preallocate_bytes: 1 << 60,
        };
        let error = File::create(&missing, huge).await.unwrap_err();
        assert!(error.to_string().starts_with("preallocate"), "{error}");
        assert!(!disk::exists(&missing).await.unwrap());
        assert!(disk::space(&missing).await.unwrap_err().is_not_found());
        let space = disk::space(path.parent().unwrap()).await.unwrap();
        assert!(space.total_bytes >= 10 * BLOCK as u64, "{space:?}");
        assert!(space.free_bytes <= space.total_bytes, "{space:?}");
    });
}

/// The flags of this process's descriptor of `path`.
fn flags_of(path: &Path) -> i32 {
    for entry in std::fs::read_dir("/proc/self/fd").unwrap() {
        let fd = entry.unwrap().path();
        if std::fs::read_link(&fd).is_ok_and(|target| target == path) {
            let number = fd.file_name().unwrap().to_str().unwrap();
            let info = std::fs::read_to_string(format!("/proc/self/fdinfo/{number}")).unwrap();
            let flags = info.lines().find_map(|line| line.strip_prefix("flags:")).unwrap();
            return i32::from_str_radix(flags.trim(), 8).unwrap();
        }
    }
    panic!("{} is not open", path.display());
}

#[test]
fn descriptors_have_the_flags_asked_for() {
    let dir = directory();
    let path = dir.path().canonicalize().unwrap().join("file");
    on_a_shard(move || async move {
        let direct = |flags| (flags & libc::O_DIRECT != 0) == direct_io();
        let dsync = |flags| flags & libc::O_DSYNC != 0;
        let file = File::create(
            &path,
            CreateOptions {
                dsync: true,
                preallocate_bytes: 0,
            },
        )
        .await
        .unwrap();
        assert!(direct(flags_of(&path)) && dsync(flags_of(&path)));
        file.close().await.unwrap();
        for wanted in [true, false] {
            let file = File::open_write(&path, wanted).await.unwrap();
            assert!(direct(flags_of(&path)));
            assert_eq!(dsync(flags_of(&path)), wanted);
            file.close().await.unwrap();
        }
        let file = File::open_read(&path).await.unwrap();
        assert!(direct(flags_of(&path)) && !dsync(flags_of(&path)));
        let error = file.write(0, Rc::new(Buf::zeroed(BLOCK))).await.unwrap_err();
        assert!(error.io_kind().is_some(), "{error}");
        file.close().await.unwrap();
    });
}

#[test]
fn names_are_made_moved_and_removed() {
    let dir = directory();
    let root = dir.path().to_path_buf();
    on_a_shard(move || async move {
        let deep = root.join("a/b/c");
        disk::create_dir_all(&deep).await.unwrap();
        disk::create_dir_all(&deep).await.unwrap();
        let at = |name: &str| deep.join(name);
        file_of(&at("one"), 1).await.close().await.unwrap();
        disk::rename(&at("one"), &at("two")).await.unwrap();
        disk::link(&at("two"), &at("three")).await.unwrap();
        assert!(
            disk::link(&at("two"), &at("three"))
                .await
                .unwrap_err()
                .is_already_exists()
        );
        disk::sync_dir(&deep).await.unwrap();
        disk::create_dir_all(&at("sub")).await.unwrap();
        let entries = disk::list(&deep).await.unwrap();
        let names: Vec<_> = entries.iter().map(|e| (e.name.as_str(), e.len, e.is_dir)).collect();
        assert_eq!(names[1..], [("three", 4096, false), ("two", 4096, false)]);
        assert!(names[0].0 == "sub" && names[0].2);
        disk::remove(&at("two")).await.unwrap();
        assert!(disk::remove(&at("two")).await.unwrap_err().is_not_found());
        assert!(!disk::exists(&at("two")).await.unwrap());
        assert!(disk::exists(&at("three")).await.unwrap());
        assert!(disk::list(&root.join("missing")).await.unwrap_err().is_not_found());
        assert!(disk::rename(&at("two"), &at("four")).await.unwrap_err().is_not_found());
    });
}

#[test]
fn buffers_are_shared_shortened_and_reused() {
    let dir = directory();
    let path = dir.path().join("file");
    on_a_shard(move || async move {
        let file = File::create(&path, CreateOptions::default()).await.unwrap();
        let mut buf = Buf::zeroed(4 * BLOCK);
        for round in 0..4u64 {
            let len = (round as usize + 1) * BLOCK;
            buf.set_len(len);
            assert_eq!((buf.len(), buf.capacity()), (len, 4 * BLOCK));
            buf.fill(round as u8 + 1);
            let shared = Rc::new(buf);
            let write = file.write(round * 4 * BLOCK as u64, Rc::clone(&shared));
            write.await.unwrap();
            assert_eq!(shared[len - 1], round as u8 + 1);
            buf = Rc::try_unwrap(shared).expect("after the write the buffer is the caller's alone");
        }
        assert_eq!(file.len().await.unwrap(), 16 * BLOCK as u64);
        for round in 0..4u64 {
            let read = file
                .read(round * 4 * BLOCK as u64, (round as usize + 1) * BLOCK)
                .await
                .unwrap();
            assert!(read.iter().all(|b| *b == round as u8 + 1));
        }
        // Memory made off-shard is written as well.
        let made_elsewhere = runtime::disk::Buf::zeroed(BLOCK);
        file.write(0, Rc::new(made_elsewhere)).await.unwrap();
        file.close().await.unwrap();
    });
}

/// Drops the futures of many operations after their first poll, and looks at what became of the operations.
#[test]
fn dropped_futures_cancel_nothing() {
    let dir = directory();
    let root: PathBuf = dir.path().to_path_buf();
    let leaked = on_a_shard(move || async move {
        let path = root.join("file");
        let innocent = root.join("innocent");
        let file = file_of(&path, 64).await;
        file_of(&innocent, 64).await.close().await.unwrap();
        file_of(&root.join("moved"), 1).await.close().await.unwrap();
        let before = open_files(&root);
        for i in 0..64u64 {
            let buf = Rc::new(Buf::zeroed(BLOCK));
            poll_once(file.write(i * BLOCK as u64, Rc::clone(&buf)));
            poll_once(file.read(i * BLOCK as u64, BLOCK));
            poll_once(File::open_read(&innocent));
            poll_once(File::create(&root.join(format!("new-{i}")), CreateOptions::default()));
            poll_once(file.set_len(64 * BLOCK as u64));
        }
        poll_once(disk::rename(&root.join("moved"), &root.join("renamed")));
        // Each operation has its end; then every write has landed and every file that was opened is closed again.
        let landed = async {
            loop {
                let read = file.read(0, 64 * BLOCK).await.unwrap();
                let created = disk::list(&root).await.unwrap().len();
                if read.iter().all(|b| *b == 0) && created == 67 && open_files(&root) == before {
                    return;
                }
                runtime::time::sleep(std::time::Duration::from_millis(5)).await;
            }
        };
        runtime::time::timeout(std::time::Duration::from_secs(30), landed)
            .await
            .expect("every operation lands");
        assert!(disk::exists(&root.join("renamed")).await.unwrap());
        let innocent = File::open_read(&innocent).await.unwrap();
        let len = innocent.len().await.unwrap();
        assert_eq!(len, 64 * BLOCK as u64, "a truncation hit another file");
        assert_eq!(&*innocent.read(9, 100).await.unwrap(), &filled(0, BLOCK)[9..109]);
        innocent.close().await.unwrap();
        file.close().await.unwrap();
        open_files(&root)
    });
    assert_eq!(leaked, 0);
}

/// Descriptors of this process below `root`.
fn open_files(root: &Path) -> usize {
    let root = root.canonicalize().unwrap();
    let entries = std::fs::read_dir("/proc/self/fd").unwrap();
    entries
        .filter(|e| std::fs::read_link(e.as_ref().unwrap().path()).is_ok_and(|t| t.starts_with(&root)))
        .count()
}

/// More operations at once than any class may have in flight, from every class.
#[test]
fn many_operations_at_once_all_end() {
    let dir = directory();
    let path = dir.path().join("file");
    on_a_shard(move || async move {
        let file = file_of(&path, 256).await;
        let classes = [
            TaskClass::Request,
            TaskClass::Flush,
            TaskClass::Compaction,
            TaskClass::Maintenance,
        ];
        let mut tasks = Vec::new();
        for i in 0..1200u64 {
            let file = file.clone();
            tasks.push(spawn(classes[i as usize % 4], "reader", async move {
                let offset = i * 797 % (250 * BLOCK as u64);
                let read = file.read(offset, 9000).await.unwrap();
                read.iter()
                    .enumerate()
                    .all(|(k, byte)| *byte == byte_at(offset + k as u64))
            }));
        }
        for task in tasks {
            assert!(task.await);
        }
        let stats = runtime::stats();
        assert_eq!(stats.device_reads, 1200);
        file.close().await.unwrap();
    });
}

/// A file that is dropped, not closed, is closed all the same, also by a node that ends right then.
#[test]
fn dropped_files_are_closed_when_the_shard_ends() {
    let dir = directory();
    let root = dir.path().to_path_buf();
    for _ in 0..5 {
        let path = root.join("file");
        on_a_shard(move || async move {
            let file = file_of(&path, 1).await;
            runtime::set_root(Rc::new(file.clone()));
            drop(file);
            disk::remove(&path).await.unwrap();
        });
        assert_eq!(open_files(&root), 0);
    }
}
