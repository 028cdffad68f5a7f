//! Errors and full devices at chosen moments, in the simulator.

#![allow(clippy::unwrap_used, reason = "helpers of tests")]

use std::convert::Infallible;
use std::path::Path;
use std::time::Duration;

use crate::world::{DIR, small_options};
use commitlog::format::{BLOCK, SegmentName};
use commitlog::inspect::{Entry, inspect};
use commitlog::replay::{ReplayError, Report, replay};
use commitlog::{AppendError, Error, Log, LogPosition, Options, SyncMode};
use runtime::sim::{Config, Outcome, Sim, SimDisk, Tear, client_sleep};
use runtime::time::{sleep, timeout};
use runtime::{ShardId, TaskClass};

const EIO: i32 = 5;
const ENOSPC: i32 = 28;

fn machine(tear: Tear) -> (Sim, SimDisk) {
    let sim = Sim::new(Config {
        seed: 1,
        shards: 1,
        tear,
        ..Config::default()
    });
    let disk = sim.disk();
    disk.create_dir_all("/db");
    (sim, disk)
}

/// Runs `life` on the shard of a fresh node, and ends the node with a power cut.
fn live<T: Send + 'static, Fut: Future<Output = T> + 'static>(
    sim: &mut Sim,
    life: impl FnOnce() -> Fut + Send + 'static,
) -> T {
    let node = sim.start();
    let lived = match sim.run(async move { node.call(ShardId(0), life).await }) {
        Outcome::Done(Ok(lived)) => lived,
        Outcome::Stuck(text) => panic!("{text}"),
        _ => panic!("the life did not end"),
    };
    sim.crash();
    lived
}

async fn read_back(from: u64) -> Result<(Report, Vec<Vec<u8>>), Error> {
    let mut records = Vec::new();
    let report = replay(
        Path::new(DIR),
        from,
        async |_: LogPosition, record: &[u8]| -> Result<(), Infallible> {
            records.push(record.to_vec());
            Ok(())
        },
    );
    match report.await {
        Ok(report) => Ok((report, records)),
        Err(ReplayError::Log(error)) => Err(error),
        Err(ReplayError::Consumer(never)) => match never {},
    }
}

/// Takes groups until the log ends, and says how many records there were and how it ended.
fn consume(log: &Log) -> runtime::Task<(usize, Result<(), Error>)> {
    let log = log.clone();
    runtime::spawn(TaskClass::Request, "consumer", async move {
        let mut records = 0;
        loop {
            match log.next_group().await {
                Ok(Some(group)) => records += group.record_count(),
                Ok(None) => return (records, Ok(())),
                Err(error) => return (records, Err(error)),
            }
        }
    })
}

async fn append(log: &Log, record: &[u8]) -> Result<LogPosition, Error> {
    loop {
        match log.append(record) {
            Ok(end) => return Ok(end),
            Err(AppendError::Full) => log.room(record.len()).await?,
            Err(other) => return Err(other.into()),
        }
    }
}

/// A life of `records` appends, each waited for. How many were acknowledged, and what ended it.
async fn acknowledge(options: Options, records: usize) -> (usize, Option<String>) {
    let log = Log::open(options, 1).await.unwrap();
    let consumer = consume(&log);
    let mut acknowledged = 0;
    let mut failed = None;
    for i in 0..records {
        let end = append(&log, format!("record {i}").as_bytes()).await;
        match end {
            Err(error) => {
                failed = Some(error.to_string());
                break;
            }
            Ok(end) => match log.wait_durable(end).await {
                Ok(()) => acknowledged += 1,
                Err(error) => {
                    failed = Some(error.to_string());
                    break;
                }
            },
        }
    }
    if let Some(text) = &failed {
        // Nothing goes on, everything says why, and it stays so.
        for _ in 0..3 {
            assert!(matches!(log.append(b"more"), Err(AppendError::Poisoned(_))));
            assert!(matches!(log.room(1).await, Err(Error::Poisoned(_))));
            assert!(matches!(log.next_group().await, Err(Error::Poisoned(_))));
            assert_eq!(Error::Poisoned(log.poisoned().unwrap()).to_string(), *text);
            sleep(Duration::from_millis(100)).await;
        }
        assert!(matches!(log.close().await, Err(Error::Poisoned(_))));
    } else {
        // The last word can fail, too.
        failed = log.close().await.err().map(|error| error.to_string());
    }
    let (taken, ended) = consumer.await;
    assert!(taken <= records && ended.is_err() == failed.is_some());
    (acknowledged, failed)
}

#[test]
fn failed_write_poisons_and_nothing_is_acknowledged_after() {
    // The k-th write of the log fails, for every k until the life needs fewer; then all is well.
    for k in 0.. {
        let (mut sim, disk) = machine(Tear::Seeded);
        disk.fail_after("write", ".log", k, 1, EIO);
        let (acknowledged, failed) = live(&mut sim, || acknowledge(small_options(), 12));
        let Some(failed) = failed else {
            assert!(k > 12 && acknowledged == 12);
            return;
        };
        assert!(
            failed.starts_with("commit log stopped after a failure: write /db/log/0000"),
            "{failed}"
        );
        // The fill at the end of a segment is a write of its own.
        assert!(
            acknowledged as u64 <= k && 2 * acknowledged as u64 + 2 >= k,
            "{acknowledged}, {k}"
        );
        let (_, records) = live(&mut sim, || read_back(1)).unwrap();
        assert!(records.len() >= acknowledged, "{} of {acknowledged}", records.len());
    }
}

#[test]
fn failed_sync_poisons_a_periodic_log() {
    for k in 0..6 {
        let (mut sim, disk) = machine(Tear::DropAll);
        let mut options = small_options();
        options.sync = SyncMode::Periodic {
            period: Duration::from_millis(20),
        };
        disk.fail_after("sync", ".log", k, 1, EIO);
        let (acknowledged, failed) = live(&mut sim, || acknowledge(options, 12));
        let failed = failed.expect("a sync fails");
        assert!(
            failed.starts_with("commit log stopped after a failure: sync /db/log/0000"),
            "{failed}"
        );
        // Vouching records are synced as well.
        assert!(acknowledged as u64 <= k && (k == 0 || acknowledged > 0));
        let (_, records) = live(&mut sim, || read_back(1)).unwrap();
        assert!(records.len() >= acknowledged);
    }
}

#[test]
fn failed_directory_sync_of_a_spare_poisons() {
    let (mut sim, disk) = machine(Tear::Seeded);
    // The parent's and the first segment's succeed; the spare's does not.
    disk.fail_after("sync_dir", "/db", 2, 1, EIO);
    let failed = live(&mut sim, || async {
        let log = Log::open(small_options(), 1).await.unwrap();
        let consumer = consume(&log);
        sleep(Duration::from_millis(100)).await;
        let failed = log.poisoned().map(|error| error.to_string());
        assert!(log.close().await.is_err() && consumer.await.1.is_err());
        failed
    });
    assert_eq!(failed.as_deref(), Some("commit log I/O failed"));
}

#[test]
fn full_device_makes_appends_wait_until_space_returns() {
    let (mut sim, disk) = machine(Tear::Seeded);
    let options = small_options();
    let segment_bytes = u64::from(options.segment_bytes);
    // Room for two segments, and a bit of a third.
    disk.set_capacity(Some(2 * segment_bytes + segment_bytes / 2));
    let outside = disk.clone();
    sim.spawn_client(async move {
        client_sleep(Duration::from_secs(10)).await;
        outside.set_capacity(None);
    });
    live(&mut sim, move || async move {
        let log = Log::open(options.clone(), 1).await.unwrap();
        let consumer = consume(&log);
        let record = vec![1; 3000];
        let mut appended = 0;
        while timeout(Duration::from_secs(1), log.room(record.len())).await.is_ok() {
            log.append(&record).unwrap();
            appended += 1;
            log.wait_durable(log.appended()).await.unwrap();
        }
        assert_eq!(appended, 2 * 2, "two such records in each of two segments");
        let blocked = log.blocked().expect("the device is full");
        assert!(blocked.is_no_space() && log.poisoned().is_none());
        // What was written can be read meanwhile.
        assert_eq!(read_back(1).await.unwrap().1.len(), appended);
        // The waiting append is let in by itself.
        timeout(Duration::from_secs(30), log.room(record.len()))
            .await
            .unwrap()
            .unwrap();
        log.append(&record).unwrap();
        assert!(log.blocked().is_none());
        log.close().await.unwrap();
        assert_eq!(consumer.await.0, appended + 1);
    });
}

#[test]
fn release_helps_a_full_device() {
    let (mut sim, disk) = machine(Tear::Seeded);
    let options = small_options();
    disk.set_capacity(Some(3 * u64::from(options.segment_bytes)));
    let records = live(&mut sim, move || async move {
        let log = Log::open(options, 1).await.unwrap();
        let consumer = consume(&log);
        for _ in 0..40 {
            let record = [3; 3000];
            while timeout(Duration::from_millis(500), log.room(record.len()))
                .await
                .is_err()
            {
                // The device is full, and the log far from its own limit: what is flushed is used again.
                assert!(log.blocked().is_some_and(|error| error.is_no_space()) && log.over_limit().is_none());
                log.release(LogPosition {
                    segment: log.durable().segment,
                    offset: 0,
                });
            }
            log.append(&record).unwrap();
            log.wait_durable(log.appended()).await.unwrap();
        }
        assert!(log.stats().segments_recycled >= 10, "{:?}", log.stats());
        log.close().await.unwrap();
        consumer.await.0
    });
    assert_eq!(records, 40);
    assert!(disk.used_bytes() <= 3 * (16 << 10));
}

#[test]
fn error_while_a_spare_is_prepared_leaves_the_log_readable() {
    // Every operation of the first moments fails once, with EIO and with ENOSPC.
    for errno in [EIO, ENOSPC] {
        for k in 0..40 {
            let (mut sim, disk) = machine(Tear::Seeded);
            disk.fail_after("", "/db/log", k, 1, errno);
            let acknowledged = live(&mut sim, || async {
                let Ok(log) = Log::open(small_options(), 1).await else {
                    return 0;
                };
                let consumer = consume(&log);
                let mut acknowledged = 0;
                for i in 0..20u8 {
                    let Ok(end) = append(&log, &[i; 2000]).await else { break };
                    if log.wait_durable(end).await.is_err() {
                        break;
                    }
                    acknowledged += 1;
                    if let Some(below) = log.over_limit() {
                        log.release(below);
                        // The floor is not raised here: all that was released may be missing afterwards.
                        break;
                    }
                }
                let _ = log.close().await;
                let _ = consumer.await;
                acknowledged
            });
            disk.clear_failures();
            let (report, records) = live(&mut sim, || read_back(1)).unwrap();
            assert!(
                records.len() >= acknowledged,
                "{} of {acknowledged}, {report:?}",
                records.len()
            );
            // And the log goes on there.
            let next = report.next_segment;
            live(&mut sim, move || async move {
                let log = Log::open(small_options(), next).await.unwrap();
                let consumer = consume(&log);
                append(&log, b"again").await.unwrap();
                log.close().await.unwrap();
                assert_eq!(consumer.await.0, 1);
            });
        }
    }
}

#[test]
fn damage_of_the_last_acknowledged_record_is_told_from_a_torn_tail_once_the_log_is_quiet() {
    let (mut sim, disk) = machine(Tear::DropAll);
    let end = live(&mut sim, || async {
        let mut options = small_options();
        options.segment_bytes = 64 << 10;
        options.total_bytes_max = 4 * (64 << 10);
        let log = Log::open(options, 1).await.unwrap();
        let consumer = consume(&log);
        for i in 0..3u8 {
            let end = append(&log, &[i; 100]).await.unwrap();
            log.wait_durable(end).await.unwrap();
        }
        sleep(Duration::from_millis(50)).await;
        drop(consumer);
        log.appended()
        // No close: the power goes.
    });
    let path = disk
        .list()
        .into_iter()
        .find(|path| path.to_string_lossy().contains("/0000000000000001-"))
        .unwrap();
    let whole = disk.read_file(&path).unwrap();
    let mut bytes = whole.clone();
    bytes[end.offset as usize - 1] ^= 1;
    disk.write_file(&path, bytes);
    let error = live(&mut sim, || async { read_back(1).await.unwrap_err().to_string() });
    assert!(
        error.contains("is damaged at offset 12288: wrong checksum of a record"),
        "{error}"
    );
    // The vouching record itself is past the last vouched position.
    let mut bytes = whole;
    bytes[16384 + 5] ^= 1;
    disk.write_file(&path, bytes);
    let (report, records) = live(&mut sim, || read_back(1)).unwrap();
    assert_eq!(
        (records.len(), report.torn.map(|torn| (torn.offset, torn.bytes))),
        (3, Some((16384, 4096)))
    );
}

#[test]
fn unfinished_spares_and_foreign_files_are_left_out() {
    let (mut sim, disk) = machine(Tear::Seeded);
    disk.write_file("/db/log/0000000000000009-00000001.spare", vec![7; 5000]);
    disk.write_file("/db/log/notes.txt", b"of the operator".to_vec());
    // An old segment of another length: not to be recycled.
    disk.write_file("/db/log/0000000000000002-00000001.log", vec![7; 5000]);
    live(&mut sim, || async {
        assert_eq!(read_back(5).await.unwrap().0.next_segment, 5);
        let log = Log::open(small_options(), 5).await.unwrap();
        let consumer = consume(&log);
        append(&log, b"one").await.unwrap();
        log.close().await.unwrap();
        assert_eq!(consumer.await.0, 1);
        assert_eq!(read_back(5).await.unwrap().1, [b"one"]);
    });
    let mut names = disk.list();
    names.retain(|path| path.extension().is_some_and(|ending| ending != "txt"));
    let names: Vec<_> = names
        .iter()
        .map(|path| path.to_string_lossy()[..24].to_owned())
        .collect();
    assert_eq!(names, ["/db/log/0000000000000005", "/db/log/0000000000000006"]);
    assert!(disk.read_file("/db/log/notes.txt").is_some());
}

#[test]
fn release_keeps_what_is_not_durable() {
    let (mut sim, _) = machine(Tear::DropAll);
    live(&mut sim, || async {
        let log = Log::open(small_options(), 1).await.unwrap();
        let consumer = consume(&log);
        sleep(Duration::from_millis(50)).await;
        for i in 0..3 {
            log.append(&[i; 4000]).unwrap();
        }
        assert_eq!((log.appended().segment, log.durable().segment), (2, 1));
        log.release(LogPosition { segment: 2, offset: 0 });
        assert_eq!(log.bytes_in_use(), 2 * (16 << 10));
        log.close().await.unwrap();
        assert_eq!(consumer.await.0, 3);
        assert_eq!(read_back(1).await.unwrap().1.len(), 3);
        // Now it is.
        log.release(LogPosition { segment: 2, offset: 0 });
        assert_eq!(log.bytes_in_use(), 16 << 10);
    });
}

/// A group that would have grown too large was closed, and the record put behind it, where it did not fit any more: into the last block, or
/// past the end of the segment.
#[test]
fn record_that_would_fit_only_into_the_open_group_stays_in_the_segment() {
    for len in (6000..8100).step_by(100) {
        let (mut sim, disk) = machine(Tear::DropAll);
        live(&mut sim, move || async move {
            let mut options = small_options();
            options.group_bytes_max = 4096;
            let log = Log::open(options, 1).await.unwrap();
            let consumer = consume(&log);
            sleep(Duration::from_millis(50)).await;
            log.append(&[1; 300]).unwrap();
            log.append(&vec![2; len]).unwrap();
            log.close().await.unwrap();
            assert_eq!(consumer.await.0, 2);
        });
        let (report, records) = live(&mut sim, || read_back(1)).unwrap();
        assert_eq!((records.len(), report.torn), (2, None), "{len} bytes");
        let path = disk
            .list()
            .into_iter()
            .find(|path| path.to_string_lossy().contains("/0000000000000001-"))
            .unwrap();
        let name = SegmentName::parse(path.file_name().unwrap().to_str().unwrap()).unwrap();
        let bytes = disk.read_file(&path).unwrap();
        inspect(name, &bytes, |entry| {
            if let Entry::Record(record) = entry {
                assert!(
                    record.end().offset as usize <= bytes.len() - BLOCK,
                    "{len} bytes: the last block is a fill's"
                );
            }
        });
    }
}
