//! What the simulated disk keeps, drops and tears, and how it fails.

#![allow(clippy::unwrap_used, reason = "helpers of tests")]

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::rc::Rc;

use runtime::disk::{self, BLOCK, Buf, CreateOptions, Entry, File};
use runtime::sim::{Config, Outcome, Sim, Tear};
use runtime::sync::oneshot;
use runtime::{Error, ShardId, TaskClass, spawn};
use scrollback_runtime as runtime;

const SECTOR: usize = 512;
const DSYNC: CreateOptions = CreateOptions {
    dsync: true,
    preallocate_bytes: 0,
};
const PLAIN: CreateOptions = CreateOptions {
    dsync: false,
    preallocate_bytes: 0,
};

fn sim(seed: u64, tear: Tear) -> Sim {
    let sim = Sim::new(Config {
        seed,
        shards: 1,
        tear,
        ..Config::default()
    });
    sim.disk().create_dir_all("/db");
    sim
}

/// Boots, runs `f` on shard 0.
fn run<R, Fut>(sim: &mut Sim, f: impl FnOnce() -> Fut + Send + 'static) -> Outcome<R>
where
    R: Send + 'static,
    Fut: Future<Output = R> + 'static,
{
    let node = sim.start();
    sim.run(async move { node.call(ShardId(0), f).await.unwrap() })
}

fn blocks(byte: u8, count: usize) -> Rc<Buf> {
    let mut buf = Buf::zeroed(BLOCK * count);
    buf.fill(byte);
    Rc::new(buf)
}

async fn create(path: &str, o: CreateOptions) -> File {
    File::create(Path::new(path), o).await.unwrap()
}

async fn sync_dir(path: &str) {
    disk::sync_dir(Path::new(path)).await.unwrap();
}

fn is_eio(result: Result<(), Error>) -> bool {
    matches!(result, Err(Error::Io { source, .. }) if source.raw_os_error() == Some(libc_eio()))
}

fn libc_eio() -> i32 {
    5
}

/// Writes eight blocks of 1, durable, and then four blocks of 2 in the middle, by `o`, synced or not.
async fn write_over(o: CreateOptions, sync: bool) {
    let file = create("/db/f", o).await;
    file.write(0, blocks(1, 8)).await.unwrap();
    file.sync().await.unwrap();
    sync_dir("/db").await;
    file.write(2 * BLOCK as u64, blocks(2, 4)).await.unwrap();
    if sync {
        file.sync().await.unwrap();
    }
}

/// How many sectors of the middle hold the new bytes; everything else is as it was.
fn new_sectors(bytes: &[u8]) -> usize {
    assert_eq!(bytes.len(), 8 * BLOCK);
    let (before, rest) = bytes.split_at(2 * BLOCK);
    let (middle, after) = rest.split_at(4 * BLOCK);
    assert!(
        before.iter().chain(after).all(|byte| *byte == 1),
        "durable bytes changed"
    );
    for sector in middle.chunks(SECTOR) {
        assert!(sector.iter().all(|byte| *byte == sector[0]), "a sector is torn within");
    }
    middle.chunks(SECTOR).filter(|sector| sector[0] == 2).count()
}

fn survived(seed: u64, tear: Tear, o: CreateOptions, sync: bool) -> usize {
    let mut sim = sim(seed, tear);
    run(&mut sim, move || write_over(o, sync)).done();
    sim.crash();
    new_sectors(&sim.disk().read_file("/db/f").unwrap())
}

#[test]
fn unsynced_writes_follow_the_mode() {
    let mut seen = BTreeSet::new();
    for seed in 0..200 {
        assert_eq!(survived(seed, Tear::KeepAll, PLAIN, false), 32);
        assert_eq!(survived(seed, Tear::DropAll, PLAIN, false), 0);
        let torn = survived(seed, Tear::TornSectors, PLAIN, false);
        assert!(
            (1..32).contains(&torn),
            "a torn write keeps and loses something: {torn}"
        );
        seen.insert(survived(seed, Tear::Seeded, PLAIN, false));
    }
    assert!(seen.contains(&0) && seen.contains(&32) && seen.len() > 6, "{seen:?}");
}

#[test]
fn synced_and_dsync_writes_survive() {
    for seed in 0..50 {
        for tear in [Tear::KeepAll, Tear::DropAll, Tear::TornSectors, Tear::Seeded] {
            assert_eq!(survived(seed, tear, PLAIN, true), 32, "a synced write, {tear:?}");
            assert_eq!(survived(seed, tear, DSYNC, false), 32, "a dsync write, {tear:?}");
        }
    }
}

#[test]
fn a_sync_covers_what_was_complete_when_it_began() {
    for seed in 0..200 {
        let mut sim = sim(seed, Tear::DropAll);
        run(&mut sim, || async {
            let file = create("/db/f", PLAIN).await;
            file.write(0, blocks(1, 8)).await.unwrap();
            sync_dir("/db").await;
            let late = file.clone();
            let late = spawn(TaskClass::Request, "late write", async move {
                late.write(2 * BLOCK as u64, blocks(2, 4)).await.unwrap();
            });
            file.sync().await.unwrap();
            late.await;
        })
        .done();
        sim.crash();
        // The sync began before the other task first ran.
        let new = new_sectors(&sim.disk().read_file("/db/f").unwrap());
        assert_eq!(
            new, 0,
            "seed {seed}: a sync covered a write that was not complete when it began"
        );
    }
}

#[test]
fn writes_in_flight_are_kept_dropped_or_torn_in_every_mode() {
    for tear in [Tear::KeepAll, Tear::DropAll, Tear::TornSectors, Tear::Seeded] {
        for o in [PLAIN, DSYNC] {
            let mut seen = BTreeSet::new();
            for seed in 0..100 {
                let mut sim = sim(seed, tear);
                // create, write, sync, sync_dir, and the write at which it crashes.
                sim.crash_at_op(Some(5));
                assert!(run(&mut sim, move || write_over(o, false)).is_crashed());
                seen.insert(new_sectors(&sim.disk().read_file("/db/f").unwrap()));
            }
            let all = seen.contains(&0) && seen.contains(&32) && seen.len() > 6;
            assert!(all, "{tear:?}: only {seen:?} sectors of 32 survived");
        }
    }
}

#[test]
fn a_write_is_visible_when_it_is_complete_and_not_before() {
    let mut saw_old = 0;
    for seed in 0..100 {
        let mut sim = sim(seed, Tear::KeepAll);
        saw_old += run(&mut sim, || async {
            let file = create("/db/f", DSYNC).await;
            file.write(0, blocks(1, 1)).await.unwrap();
            let (done, complete) = oneshot();
            let writer = file.clone();
            spawn(TaskClass::Request, "writer", async move {
                writer.write(0, blocks(2, 1)).await.unwrap();
                let _ = done.send(());
            });
            let early = file.read(0, 1).await.unwrap()[0];
            complete.await.unwrap();
            assert_eq!(file.read(0, 1).await.unwrap()[0], 2);
            u32::from(early == 1)
        })
        .done();
    }
    assert!(
        (20..100).contains(&saw_old),
        "{saw_old} of 100 readers were before the writer"
    );
}

#[test]
fn a_failed_sync_is_not_made_good_by_the_next() {
    for tear in [Tear::KeepAll, Tear::DropAll] {
        let mut seen = BTreeSet::new();
        for seed in 0..100 {
            let mut sim = sim(seed, tear);
            let disk = sim.disk();
            disk.fail_after("sync", "/db/f", 1, 1, libc_eio());
            run(&mut sim, || async {
                let file = create("/db/f", PLAIN).await;
                file.write(0, blocks(1, 8)).await.unwrap();
                file.sync().await.unwrap();
                sync_dir("/db").await;
                file.write(2 * BLOCK as u64, blocks(2, 4)).await.unwrap();
                assert!(is_eio(file.sync().await));
                file.sync().await.unwrap();
                assert_eq!(
                    file.read(2 * BLOCK as u64, 1).await.unwrap()[0],
                    2,
                    "the page cache still has it"
                );
            })
            .done();
            sim.crash();
            seen.insert(new_sectors(&disk.read_file("/db/f").unwrap()));
            assert_eq!(sim.stats().sync_errors, 1);
        }
        assert!(
            seen.contains(&0) && seen.contains(&32) && seen.len() > 6,
            "{tear:?}: {seen:?}"
        );
    }
}

#[test]
fn a_failed_write_leaves_anything() {
    let mut seen = BTreeSet::new();
    for seed in 0..200 {
        let mut sim = sim(seed, Tear::Seeded);
        let disk = sim.disk();
        disk.fail_after("write", "f", 1, 1, libc_eio());
        run(&mut sim, || async {
            let file = create("/db/f", DSYNC).await;
            file.write(0, blocks(1, 8)).await.unwrap();
            sync_dir("/db").await;
            assert!(is_eio(file.write(2 * BLOCK as u64, blocks(2, 4)).await));
        })
        .done();
        let seen_by_readers = new_sectors(&disk.read_file("/db/f").unwrap());
        assert!(seen_by_readers.is_multiple_of(8), "readers see whole blocks");
        sim.crash();
        seen.insert(new_sectors(&disk.read_file("/db/f").unwrap()));
    }
    assert!(seen.contains(&0) && seen.contains(&32) && seen.len() > 6, "{seen:?}");
}

#[test]
fn a_durable_write_stays_over_an_older_one_that_is_not() {
    for seed in 0..200 {
        let mut sim = sim(seed, Tear::Seeded);
        run(&mut sim, || async {
            let plain = create("/db/f", PLAIN).await;
            plain.write(0, blocks(1, 8)).await.unwrap();
            sync_dir("/db").await;
            let dsync = File::open_write(Path::new("/db/f"), true).await.unwrap();
            dsync.write(2 * BLOCK as u64, blocks(2, 4)).await.unwrap();
        })
        .done();
        sim.crash();
        let bytes = sim.disk().read_file("/db/f").unwrap();
        assert!(bytes.len() >= 6 * BLOCK);
        assert!(
            bytes[2 * BLOCK..6 * BLOCK].iter().all(|byte| *byte == 2),
            "seed {seed}: an older write came through"
        );
    }
}

#[test]
fn entries_need_a_sync_of_their_directory() {
    let exists_after = |tear, synced: bool| {
        let mut sim = sim(11, tear);
        run(&mut sim, move || async move {
            let file = create("/db/f", PLAIN).await;
            file.write(0, blocks(1, 1)).await.unwrap();
            file.sync().await.unwrap();
            if synced {
                sync_dir("/db").await;
            }
        })
        .done();
        sim.crash();
        sim.disk().read_file("/db/f").map(|bytes| bytes.len())
    };
    assert_eq!(exists_after(Tear::DropAll, false), None);
    assert_eq!(exists_after(Tear::KeepAll, false), Some(BLOCK));
    assert_eq!(exists_after(Tear::DropAll, true), Some(BLOCK));
}

#[test]
fn a_synced_entry_of_an_unsynced_file_is_an_empty_file() {
    let mut sim = sim(12, Tear::DropAll);
    run(&mut sim, || async {
        let file = create(
            "/db/f",
            CreateOptions {
                dsync: false,
                preallocate_bytes: 1 << 20,
            },
        )
        .await;
        file.write(0, blocks(1, 1)).await.unwrap();
        assert_eq!(file.len().await.unwrap(), 1 << 20);
        assert!(file.read(BLOCK as u64, 10).await.unwrap().iter().all(|byte| *byte == 0));
        sync_dir("/db").await;
    })
    .done();
    sim.crash();
    assert_eq!(sim.disk().read_file("/db/f"), Some(Vec::new()));
}

#[test]
fn a_rename_replaces_as_one() {
    let mut seen = BTreeMap::<_, u32>::new();
    for seed in 0..300 {
        for tear in [Tear::Seeded, Tear::TornSectors, Tear::KeepAll, Tear::DropAll] {
            let mut sim = sim(seed, tear);
            sim.disk().write_file("/db/current", vec![1; 100]);
            let crash_in_flight = seed % 2 == 0;
            // create, write, sync, sync_dir, rename.
            sim.crash_at_op(crash_in_flight.then_some(5));
            let outcome = run(&mut sim, || async {
                let file = create("/db/new", PLAIN).await;
                file.write(0, blocks(2, 1)).await.unwrap();
                file.sync().await.unwrap();
                sync_dir("/db").await;
                disk::rename(Path::new("/db/new"), Path::new("/db/current"))
                    .await
                    .unwrap();
            });
            assert_eq!(outcome.is_crashed(), crash_in_flight);
            if !crash_in_flight {
                sim.crash();
            }
            let disk = sim.disk();
            let current = disk.read_file("/db/current").expect("one of both is always there");
            let renamed = match disk.read_file("/db/new") {
                Some(new) => {
                    assert!(
                        new.len() == BLOCK && current == vec![1; 100],
                        "both halves of the rename"
                    );
                    false
                }
                None => {
                    assert!(current == vec![2; BLOCK], "seed {seed}: a half of the rename");
                    true
                }
            };
            *seen.entry((format!("{tear:?}"), crash_in_flight, renamed)).or_default() += 1;
        }
    }
    let (kept, dropped) = ("KeepAll".to_owned(), "DropAll".to_owned());
    assert!(
        !seen.contains_key(&(kept, false, false)) && !seen.contains_key(&(dropped, false, true)),
        "{seen:?}"
    );
    assert_eq!(
        seen.len(),
        14,
        "every mode decides both ways about a rename in flight: {seen:?}"
    );
}

#[test]
fn a_later_operation_never_survives_an_earlier_one_on_the_same_name() {
    let mut states = BTreeSet::new();
    for seed in 0..500 {
        let mut sim = sim(seed, Tear::Seeded);
        run(&mut sim, || async {
            create("/db/a", PLAIN).await.close().await.unwrap();
            disk::rename(Path::new("/db/a"), Path::new("/db/b")).await.unwrap();
            disk::rename(Path::new("/db/b"), Path::new("/db/c")).await.unwrap();
            create("/db/other", PLAIN).await.close().await.unwrap();
            disk::link(Path::new("/db/c"), Path::new("/db/d")).await.unwrap();
            disk::remove(Path::new("/db/c")).await.unwrap();
        })
        .done();
        sim.crash();
        let names: Vec<String> = sim
            .disk()
            .list()
            .iter()
            .map(|path| path.file_name().unwrap().to_str().unwrap().to_owned())
            .filter(|name| name != "other")
            .collect();
        states.insert(names.concat());
    }
    // After 0, 1, 2, 3 operations; the link needs nothing (its name is new), the removal needs the second rename.
    let possible: BTreeSet<_> = ["", "a", "b", "c", "cd", "d", "ad", "bd"].map(String::from).into();
    assert!(states.is_subset(&possible), "{states:?}");
    assert!(states.len() >= 6, "{states:?}");
}

#[test]
fn nothing_is_safe_below_a_directory_that_is_not() {
    for (sync_parent, expected) in [(false, None), (true, Some(BLOCK))] {
        let mut sim = sim(13, Tear::DropAll);
        run(&mut sim, move || async move {
            disk::create_dir_all(Path::new("/db/new/deep")).await.unwrap();
            let file = create("/db/new/deep/f", DSYNC).await;
            file.write(0, blocks(1, 1)).await.unwrap();
            sync_dir("/db/new/deep").await;
            sync_dir("/db/new").await;
            if sync_parent {
                sync_dir("/db").await;
            }
        })
        .done();
        sim.crash();
        assert_eq!(
            sim.disk().read_file("/db/new/deep/f").map(|bytes| bytes.len()),
            expected
        );
        let there = run(&mut sim, || async { disk::exists(Path::new("/db/new")).await.unwrap() }).done();
        assert_eq!(there, sync_parent);
    }
}

#[test]
fn a_file_is_never_lost_between_two_directories() {
    let mut seen = BTreeSet::new();
    for seed in 0..300 {
        let mut sim = sim(seed, Tear::Seeded);
        sim.disk().write_file("/db/live/f", vec![7; 10]);
        let sync = seed % 4;
        run(&mut sim, move || async move {
            disk::create_dir_all(Path::new("/db/orphans")).await.unwrap();
            disk::rename(Path::new("/db/live/f"), Path::new("/db/orphans/f"))
                .await
                .unwrap();
            if sync & 1 > 0 {
                sync_dir("/db/orphans").await;
            }
            if sync & 2 > 0 {
                sync_dir("/db").await;
            }
        })
        .done();
        sim.crash();
        let files = sim.disk().list();
        assert_eq!(files.len(), 1, "seed {seed}: {files:?}");
        assert_eq!(sim.disk().read_file(&files[0]), Some(vec![7; 10]));
        seen.insert((sync, files));
    }
    assert_eq!(seen.len(), 7, "all but both synced go either way: {seen:?}");
}

#[test]
fn a_failed_sync_of_a_directory_is_not_made_good_by_the_next() {
    let mut seen = BTreeSet::new();
    for seed in 0..50 {
        let mut sim = sim(seed, Tear::DropAll);
        sim.disk().fail_next("sync_dir", "db", 1, libc_eio());
        run(&mut sim, || async {
            create("/db/f", PLAIN).await;
            assert!(is_eio(disk::sync_dir(Path::new("/db")).await));
            sync_dir("/db").await;
        })
        .done();
        sim.crash();
        seen.insert(sim.disk().list().len());
    }
    assert_eq!(seen, [0, 1].into());
}

#[test]
fn a_removed_file_stays_readable_and_comes_back_if_the_removal_was_not_synced() {
    for (tear, sync, back) in [
        (Tear::DropAll, false, true),
        (Tear::KeepAll, false, false),
        (Tear::DropAll, true, false),
    ] {
        let mut sim = sim(14, tear);
        sim.disk().write_file("/db/f", vec![9; 3 * BLOCK]);
        let disk = sim.disk();
        let outside = disk.clone();
        let used = Rc::new(RefCell::new(Vec::new()));
        let node = sim.start();
        let (step, ours) = (Rc::clone(&used), outside.clone());
        sim.run(async move {
            let remove = move || async move {
                let file = File::open_read(Path::new("/db/f")).await.unwrap();
                disk::remove(Path::new("/db/f")).await.unwrap();
                assert!(!disk::exists(Path::new("/db/f")).await.unwrap());
                assert!(File::open_read(Path::new("/db/f")).await.unwrap_err().is_not_found());
                assert_eq!(file.read(BLOCK as u64, 5).await.unwrap()[..], [9; 5]);
                if sync {
                    sync_dir("/db").await;
                }
                runtime::set_root(Rc::new(file));
            };
            node.call(ShardId(0), remove).await.unwrap();
            step.borrow_mut().push(ours.used_bytes());
            node.call(ShardId(0), || async { runtime::clear_root() }).await.unwrap();
            step.borrow_mut().push(ours.used_bytes());
        })
        .done();
        let held = 3 * BLOCK as u64;
        assert_eq!(
            *used.borrow(),
            [held, if sync { 0 } else { held }],
            "space of a file is held while it can be read"
        );
        sim.crash();
        assert_eq!(disk.read_file("/db/f"), back.then(|| vec![9; 3 * BLOCK]));
        assert_eq!(disk.used_bytes(), if back { held } else { 0 });
    }
}

#[test]
fn sizes_change_like_a_files() {
    let mut sim = sim(15, Tear::DropAll);
    run(&mut sim, || async {
        let file = create("/db/f", PLAIN).await;
        file.write(0, blocks(3, 4)).await.unwrap();
        file.sync().await.unwrap();
        sync_dir("/db").await;
        file.set_len(5000).await.unwrap();
        file.set_len(9000).await.unwrap();
        let bytes = file.read(0, 9000).await.unwrap();
        assert!(bytes[..5000].iter().all(|b| *b == 3) && bytes[5000..].iter().all(|b| *b == 0));
        assert!(file.read(0, 9001).await.unwrap_err().is_unexpected_eof());
    })
    .done();
    sim.crash();
    assert_eq!(
        sim.disk().read_file("/db/f").unwrap(),
        vec![3; 4 * BLOCK],
        "sizes were not synced"
    );

    run(&mut sim, || async {
        let file = File::open_write(Path::new("/db/f"), false).await.unwrap();
        file.set_len(5000).await.unwrap();
        file.set_len(9000).await.unwrap();
        file.sync().await.unwrap();
    })
    .done();
    sim.crash();
    let bytes = sim.disk().read_file("/db/f").unwrap();
    assert_eq!((bytes.len(), &bytes[4999..5001]), (9000, &[3u8, 0][..]));
}

#[test]
fn a_killed_process_loses_nothing_but_makes_nothing_safe() {
    let mut sim = sim(16, Tear::DropAll);
    run(&mut sim, || async {
        let file = create("/db/f", PLAIN).await;
        file.write(0, blocks(4, 1)).await.unwrap();
    })
    .done();
    sim.stop();
    assert_eq!(
        sim.disk().read_file("/db/f"),
        Some(vec![4; BLOCK]),
        "the page cache outlives the process"
    );
    sim.crash();
    assert_eq!(sim.disk().list().len(), 0);
}

#[test]
fn names_behave() {
    let mut sim = sim(17, Tear::Seeded);
    let entries = run(&mut sim, || async {
        let path = Path::new;
        create("/db/b", PLAIN).await.write(0, blocks(1, 1)).await.unwrap();
        create("db/a", PLAIN).await;
        disk::create_dir_all(path("/db/./x/../c/d")).await.unwrap();
        disk::create_dir_all(path("/db/c/d")).await.unwrap();
        disk::link(path("/db/b"), path("/db/c/e")).await.unwrap();
        assert!(
            File::create(path("/db/a"), PLAIN)
                .await
                .unwrap_err()
                .is_already_exists()
        );
        assert!(
            disk::link(path("/db/b"), path("/db/a"))
                .await
                .unwrap_err()
                .is_already_exists()
        );
        assert!(File::create(path("/no/a"), PLAIN).await.unwrap_err().is_not_found());
        assert!(File::open_write(path("/db/no"), true).await.unwrap_err().is_not_found());
        assert!(
            disk::rename(path("/db/no"), path("/db/a"))
                .await
                .unwrap_err()
                .is_not_found()
        );
        assert!(disk::remove(path("/db/no")).await.unwrap_err().is_not_found());
        assert!(disk::list(path("/no")).await.unwrap_err().is_not_found());
        assert!(disk::sync_dir(path("/no")).await.unwrap_err().is_not_found());
        for error in [
            disk::remove(path("/db/c")).await.unwrap_err(),
            disk::create_dir_all(path("/db/a/z")).await.unwrap_err(),
            disk::list(path("/db/a")).await.map(drop).unwrap_err(),
            File::open_read(path("/db")).await.map(drop).unwrap_err(),
        ] {
            assert!(!error.is_not_found() && error.io_kind().is_some(), "{error}");
        }
        let read_only = File::open_read(path("/db/a")).await.unwrap();
        assert!(read_only.write(0, blocks(1, 1)).await.is_err());
        assert!(disk::exists(path("/db/c/d")).await.unwrap() && !disk::exists(path("/db/x")).await.unwrap());
        // Both names are one file.
        File::open_write(path("/db/c/e"), false)
            .await
            .unwrap()
            .write(0, blocks(8, 2))
            .await
            .unwrap();
        assert_eq!(
            File::open_read(path("/db/b")).await.unwrap().read(0, 1).await.unwrap()[0],
            8
        );
        disk::list(path("/db")).await.unwrap()
    });
    let entry = |name: &str, len, is_dir| Entry {
        name: name.to_owned(),
        len,
        is_dir,
    };
    let b = 2 * BLOCK as u64;
    assert_eq!(
        entries.done(),
        [entry("a", 0, false), entry("b", b, false), entry("c", 0, true)]
    );
    assert_eq!(sim.disk().list(), ["/db/a", "/db/b", "/db/c/e"].map(Path::new));
}

#[test]
fn the_capacity_is_the_end() {
    let mut sim = sim(18, Tear::Seeded);
    let disk = sim.disk();
    disk.set_capacity(Some(10 * BLOCK as u64));
    run(&mut sim, || async {
        let size = |blocks: usize| CreateOptions {
            dsync: true,
            preallocate_bytes: (blocks * BLOCK) as u64,
        };
        let log = create("/db/log", size(8)).await;
        let space = disk::space(Path::new("/db")).await.unwrap();
        let (total_bytes, free_bytes) = (10 * BLOCK as u64, 2 * BLOCK as u64);
        assert_eq!(
            space,
            disk::Space {
                total_bytes,
                free_bytes
            }
        );
        let table = create("/db/table", PLAIN).await;
        table.write(0, blocks(1, 2)).await.unwrap();
        assert!(
            table
                .write(2 * BLOCK as u64, blocks(1, 1))
                .await
                .unwrap_err()
                .is_no_space()
        );
        table.write(0, blocks(2, 2)).await.unwrap();
        log.write(0, blocks(1, 8)).await.unwrap();
        assert!(
            File::create(Path::new("/db/more"), size(1))
                .await
                .unwrap_err()
                .is_no_space()
        );
        assert!(!disk::exists(Path::new("/db/more")).await.unwrap());
        assert!(log.set_len(9 * BLOCK as u64).await.unwrap_err().is_no_space());
        log.sync().await.unwrap();
        table.sync().await.unwrap();
        sync_dir("/db").await;
        disk::remove(Path::new("/db/table")).await.unwrap();
        drop(table);
        assert!(
            log.set_len(9 * BLOCK as u64).await.unwrap_err().is_no_space(),
            "a crash could bring it back"
        );
        sync_dir("/db").await;
        log.set_len(9 * BLOCK as u64).await.unwrap();
    })
    .done();
    assert_eq!((disk.used_bytes(), sim.stats().no_space_errors), (9 * BLOCK as u64, 4));
    sim.crash();
    assert!([8, 9].contains(&(disk.used_bytes() / BLOCK as u64)));
}

#[test]
fn faults_come_by_chance_and_by_order() {
    let mut sim = sim(19, Tear::Seeded);
    let (disk, mut faults) = (sim.disk(), sim.faults());
    faults.p_io_error = 0.1;
    faults.p_no_space = 0.1;
    faults.p_delay = 0.1;
    sim.set_faults(faults.clone());
    run(&mut sim, || async {
        for round in 0..400u64 {
            let path = format!("/db/{round}");
            let Ok(file) = File::create(Path::new(&path), PLAIN).await else {
                continue;
            };
            let _ = file.write(round % 2 * BLOCK as u64, blocks(1, 1)).await;
            let _ = file.read(0, 1).await;
            let _ = file.sync().await;
            let _ = disk::sync_dir(Path::new("/db")).await;
            disk::exists(Path::new(&path)).await.unwrap();
        }
    })
    .done();
    let stats = sim.stats();
    for (what, count) in [
        ("reads", stats.read_errors),
        ("writes", stats.write_errors),
        ("syncs", stats.sync_errors / 2),
        ("space", stats.no_space_errors / 2),
        ("delays", stats.delays / 5),
    ] {
        assert!((15..80).contains(&count), "{count} failures of {what}: {stats:?}");
    }
    assert_eq!(stats.other_errors, 0);
    assert_eq!(
        stats.errors(),
        stats.read_errors + stats.write_errors + stats.sync_errors + stats.no_space_errors
    );

    (faults.p_io_error, faults.p_no_space) = (0.0, 0.0);
    sim.set_faults(faults);
    disk.fail_next("create", "/t/x", 2, 28);
    disk.fail_after("", "/t/y", 1, 1, 13);
    let codes = run(&mut sim, || async {
        disk::create_dir_all(Path::new("/t")).await.unwrap();
        let mut codes = Vec::new();
        for path in ["/t/x1", "/t/z", "/t/x2", "/t/x3", "/t/y1", "/t/y2", "/t/y3"] {
            let result = File::create(Path::new(path), PLAIN).await;
            codes.push(result.err().map(|error| match error {
                Error::Io { source, op, .. } => (source.raw_os_error().unwrap(), op),
                other => panic!("{other}"),
            }));
        }
        codes
    });
    let full = Some((28, "create"));
    assert_eq!(codes.done(), [full, None, full, None, None, Some((13, "create")), None]);
}

#[test]
fn an_operation_goes_on_when_nobody_waits_for_it() {
    for seed in 0..50 {
        let mut sim = sim(seed, Tear::Seeded);
        run(&mut sim, || async {
            let file = create("/db/f", DSYNC).await;
            {
                let mut write = Box::pin(file.write(0, blocks(6, 1)));
                std::future::poll_fn(|cx| {
                    assert!(write.as_mut().poll(cx).is_pending());
                    std::task::Poll::Ready(())
                })
                .await;
            }
            // Another operation may use the abandoned one's place; it must get its own result.
            for _ in 0..20 {
                assert!(disk::exists(Path::new("/db/f")).await.unwrap());
            }
            runtime::time::sleep(std::time::Duration::from_secs(1)).await;
            assert_eq!(file.read(0, 1).await.unwrap()[0], 6, "a dropped write did not land");
        })
        .done();
    }
}

/// A file as plain bytes: what readers see, and what is durable.
#[derive(Clone, Default)]
struct Model {
    seen: Vec<u8>,
    durable: Vec<u8>,
}

fn lay(bytes: &mut Vec<u8>, offset: usize, byte: u8, len: usize) {
    bytes.resize(bytes.len().max(offset + len), 0);
    bytes[offset..offset + len].fill(byte);
}

#[test]
fn agrees_with_plain_bytes() {
    for seed in 0..100u64 {
        for tear in [Tear::KeepAll, Tear::DropAll] {
            let mut sim = sim(seed, tear);
            sim.disk().write_file("/db/f", Vec::new());
            let mut expected = Vec::new();
            for _ in 0..3 {
                let model = run(&mut sim, move || async move {
                    let mut model = Model {
                        seen: expected.clone(),
                        durable: expected,
                    };
                    let plain = File::open_write(Path::new("/db/f"), false).await.unwrap();
                    let random = |n: usize| runtime::random::below(n as u64) as usize;
                    for _ in 0..random(40) {
                        let (at, len) = (random(12) * BLOCK, (1 + random(4)) * BLOCK);
                        let byte = 1 + random(255) as u8;
                        match random(6) {
                            0..=2 => {
                                plain.write(at as u64, blocks(byte, len / BLOCK)).await.unwrap();
                                lay(&mut model.seen, at, byte, len);
                            }
                            3 => {
                                let len = random(12 * BLOCK);
                                plain.set_len(len as u64).await.unwrap();
                                model.seen.resize(len, 0);
                            }
                            4 => {
                                plain.sync().await.unwrap();
                                model.durable = model.seen.clone();
                            }
                            _ => {
                                let len = random(model.seen.len() + 1);
                                let from = random(model.seen.len() - len + 1);
                                let read = plain.read(from as u64, len).await.unwrap();
                                assert!(
                                    read[..] == model.seen[from..from + len],
                                    "seed {seed}: readers see another file"
                                );
                            }
                        }
                    }
                    model
                })
                .done();
                assert_eq!(sim.disk().read_file("/db/f").unwrap(), model.seen, "seed {seed}");
                sim.crash();
                expected = if tear == Tear::KeepAll {
                    model.seen
                } else {
                    model.durable
                };
                assert_eq!(
                    sim.disk().read_file("/db/f").unwrap(),
                    expected,
                    "seed {seed}, {tear:?}"
                );
            }
        }
    }
}

#[test]
fn damage_at_rest_is_what_the_next_boot_reads() {
    let mut sim = sim(20, Tear::Seeded);
    let disk = sim.disk();
    disk.write_file("/db/deep/f", vec![1, 2, 3]);
    disk.write_file("/db/deep/f", vec![1, 2, 4, 5]);
    assert!(disk.remove("/db/none") || !disk.remove("/db/none"));
    disk.write_file("db/g", vec![1]);
    assert!(disk.remove("/db/g") && !disk.remove("/db/g"));
    sim.crash();
    let read = || async {
        File::open_read(Path::new("/db/deep/f"))
            .await
            .unwrap()
            .read(0, 4)
            .await
            .unwrap()
            .to_vec()
    };
    assert_eq!(run(&mut sim, read).done(), [1, 2, 4, 5]);
    assert_eq!(disk.list(), [Path::new("/db/deep/f")]);
}
