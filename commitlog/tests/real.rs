//! The log on a real shard: io_uring, direct I/O, a folder of the file system.
#![allow(clippy::unwrap_used, reason = "helpers of tests")]
#![expect(
    clippy::disallowed_methods,
    reason = "the tests look at the files from outside of shards"
)]

mod common;

use std::cell::RefCell;
use std::path::Path;
use std::rc::Rc;
use std::time::Duration;

use commitlog::format::{self, BLOCK, RECORD_HEADER_LEN, SegmentName};
use commitlog::inspect::{Entry, inspect};
use commitlog::replay::{Report, replay};
use commitlog::{AppendError, Error, Log, LogPosition, Options, SyncMode};
use runtime::{Runtime, ShardId, TaskClass};

/// Runs `test` on a shard of its own, in a folder of its own.
fn on_shard<Fut: Future<Output = ()> + 'static>(test: impl FnOnce(Options) -> Fut + Send + 'static) {
    let folder = tempfile::tempdir().unwrap();
    let node = Runtime::start(runtime::Options::default()).unwrap();
    let mut options = Options::new(folder.path().join("log"), 0);
    options.segment_bytes = 64 << 10;
    options.total_bytes_max = 16 * (64 << 10);
    options.host_id = *b"0123456789abcdef";
    node.handle().call(ShardId(0), move || test(options)).wait().unwrap();
    node.stop().unwrap();
}

type Taken = Rc<RefCell<Vec<(LogPosition, Vec<u8>)>>>;

/// Takes groups until the log ends; what they held.
fn consume(log: &Log) -> (runtime::Task<Result<(), Error>>, Taken) {
    let taken = Taken::default();
    let (log, into) = (log.clone(), Rc::clone(&taken));
    let periodic = log.options().sync != SyncMode::Group;
    let task = runtime::spawn(TaskClass::Request, "consumer", async move {
        while let Some(group) = log.next_group().await? {
            let shown = group.records().count();
            assert!(shown == group.record_count() || (shown == 0 && periodic));
            assert!(group.records().all(|(end, _)| end <= group.end()));
            into.borrow_mut()
                .extend(group.records().map(|(end, record)| (end, record.to_vec())));
        }
        Ok(())
    });
    (task, taken)
}

async fn append(log: &Log, record: &[u8]) -> LogPosition {
    loop {
        match log.append(record) {
            Ok(position) => return position,
            Err(AppendError::Full) => log.room(record.len()).await.unwrap(),
            Err(other) => panic!("{other}"),
        }
    }
}

async fn read_back(dir: &Path, from: u64) -> (Report, Vec<(LogPosition, Vec<u8>)>) {
    let mut records = Vec::new();
    let report = replay(
        dir,
        from,
        async |end, record: &[u8]| -> Result<(), std::convert::Infallible> {
            records.push((end, record.to_vec()));
            Ok(())
        },
    );
    (report.await.unwrap(), records)
}

fn record(i: usize) -> Vec<u8> {
    // Mostly small, at times longer than a group of small ones, at times empty.
    let len = if i.is_multiple_of(37) { 9000 + i } else { i * 7 % 500 };
    (0..len).map(|j| (i * 31 + j) as u8).collect()
}

#[test]
fn records_come_back_in_order_over_many_segments_and_lives() {
    on_shard(async |options| {
        let mut first_segment = 1;
        let mut all = Vec::new();
        for life in 0..4 {
            let log = Log::open(options.clone(), first_segment).await.unwrap();
            let (consumer, taken) = consume(&log);
            let mut ends = Vec::new();
            for i in 0..400 {
                ends.push((append(&log, &record(i)).await, record(i)));
                // The engine flushes at times.
                if let Some(below) = log.over_limit() {
                    log.wait_durable(LogPosition { offset: 0, ..below }).await.unwrap();
                    log.release(below);
                }
            }
            assert_eq!(log.appended(), ends.last().unwrap().0);
            log.close().await.unwrap();
            log.close().await.unwrap();
            consumer.await.unwrap();
            assert!(log.durable() >= log.appended());
            assert_eq!(*taken.borrow(), ends);
            assert!(matches!(log.append(b"late"), Err(AppendError::Closed)));
            assert!(matches!(log.room(4).await, Err(Error::Closed)));
            let stats = log.stats();
            assert_eq!(stats.records, 400);
            assert_eq!(stats.odsync_us.count, stats.groups + stats.fill_groups);
            assert!(life == 0 || stats.segments_recycled > 0, "{stats:?}");
            all.extend(ends);
            // Everything of this life that was not released is there.
            let (report, records) = read_back(&options.dir, first_segment).await;
            assert!(report.torn.is_none(), "{report:?}");
            assert_eq!(report.writer, Some((options.host_id, 0)));
            assert!(!records.is_empty() && all.ends_with(&records));
            assert_eq!(report.end, log.appended());
            assert_eq!(report.records, records.len() as u64);
            assert_eq!(report.next_segment, log.next_segment());
            first_segment = report.next_segment;
        }
    });
}

#[test]
fn writes_what_the_codec_says_and_vouches_when_quiet() {
    on_shard(async |options| {
        let log = Log::open(options.clone(), 5).await.unwrap();
        let (consumer, _) = consume(&log);
        for i in 0..20 {
            append(&log, &record(i)).await;
        }
        log.wait_durable(log.appended()).await.unwrap();
        let records_end = log.durable();
        // Not closed, and yet the last group is vouched for a moment later.
        runtime::time::sleep(options.quiet * 5).await;
        let dir = options.dir.clone();
        let mut vouched = LogPosition::default();
        for entry in std::fs::read_dir(&dir).unwrap() {
            let path = entry.unwrap().path();
            let name = SegmentName::parse(path.file_name().unwrap().to_str().unwrap()).unwrap();
            let bytes = std::fs::read(&path).unwrap();
            let mut place = BLOCK;
            let found = inspect(name, &bytes, |entry| {
                // The same bytes as from the codec, one after the other without a gap.
                let (header, payload) = match entry {
                    Entry::Record(record) => (record.header, Some(record.payload)),
                    Entry::Fill(header) => (header, None),
                };
                assert_eq!(header.at.offset as usize, place);
                let mut want = vec![0xAA; RECORD_HEADER_LEN + header.payload_len as usize];
                match payload {
                    Some(payload) => format::encode_record(&mut want, name.salt, header.at, header.vouched, payload),
                    None => format::encode_fill(&mut want, name.salt, header.at, header.vouched),
                }
                assert!(bytes[place..place + want.len()] == want, "bytes of {name} at {place}");
                place += want.len();
            });
            assert_eq!((found.damage, found.torn), (None, false));
            assert!(bytes[found.end_offset as usize..].iter().all(|&b| b == 0));
            vouched = vouched.max(found.vouched);
        }
        assert_eq!(vouched, records_end);
        log.close().await.unwrap();
        consumer.await.unwrap();
        assert_eq!(log.stats().fill_groups, 1, "closing has nothing to add");
    });
}

#[test]
fn periodic_mode_syncs_in_time_and_at_once_when_asked() {
    on_shard(async |mut options| {
        options.sync = SyncMode::Periodic {
            period: Duration::from_millis(60),
        };
        let log = Log::open(options.clone(), 1).await.unwrap();
        let (consumer, taken) = consume(&log);
        let start = log.durable();
        append(&log, b"one").await;
        runtime::time::sleep(Duration::from_millis(15)).await;
        assert_eq!(log.durable(), start, "not synced before its time");
        runtime::time::sleep(Duration::from_millis(150)).await;
        assert!(log.durable() >= log.appended(), "synced after the period");
        let begun = runtime::time::Instant::now();
        for i in 0..300 {
            append(&log, &record(i)).await;
        }
        log.wait_durable(log.appended()).await.unwrap();
        assert!(begun.elapsed() < Duration::from_secs(2));
        if let Some(below) = log.over_limit() {
            log.release(below);
        }
        append(&log, b"last").await;
        log.close().await.unwrap();
        consumer.await.unwrap();
        assert!(taken.borrow().is_empty(), "records are applied when they are appended");
        let (report, records) = read_back(&options.dir, 1).await;
        assert_eq!(
            (report.torn, records.last().unwrap().1.as_slice()),
            (None, &b"last"[..])
        );
    });
}

#[test]
fn full_log_waits_for_a_release() {
    on_shard(async |mut options| {
        options.segment_bytes = 16 << 10;
        options.total_bytes_max = 4 * (16 << 10);
        let log = Log::open(options.clone(), 1).await.unwrap();
        let (consumer, _) = consume(&log);
        let record = vec![7; 3000];
        assert_eq!(log.over_limit(), None);
        let mut appended = 0;
        // The log fills up: no release, no room.
        while runtime::time::timeout(Duration::from_millis(300), log.room(record.len()))
            .await
            .is_ok()
        {
            match log.append(&record) {
                Ok(_) => appended += 1,
                Err(AppendError::Full) => {}
                Err(other) => panic!("{other}"),
            }
        }
        assert_eq!(
            (appended, log.bytes_in_use()),
            (4 * 2, 4 * (16 << 10)),
            "two such records in each of four segments"
        );
        assert!(matches!(log.append(&record), Err(AppendError::Full)));
        // Whoever waits is let in by the release.
        let waiting = {
            let (log, record) = (log.clone(), record.clone());
            runtime::spawn(TaskClass::Request, "writer", async move { append(&log, &record).await })
        };
        let below = log.over_limit().expect("over its limit");
        assert_eq!(below, LogPosition { segment: 3, offset: 0 });
        log.release(below);
        assert_eq!(log.over_limit(), None);
        let position = waiting.await;
        assert_eq!(position.segment, 5);
        log.wait_durable(position).await.unwrap();
        log.close().await.unwrap();
        consumer.await.unwrap();
        let (report, records) = read_back(&options.dir, 3).await;
        assert_eq!((report.records, records.len()), (5, 5));
    });
}

#[test]
fn replay_reads_records_that_lie_in_several_windows() {
    on_shard(async |mut options| {
        options.segment_bytes = 4 << 20;
        options.total_bytes_max = 40 << 20;
        let log = Log::open(options.clone(), 1).await.unwrap();
        let (consumer, taken) = consume(&log);
        for i in 0..40 {
            let len = [100, 5000, 300_000, 1_100_000, 2_000_000, options.record_bytes_max()][i % 6] + i * 7 % 100;
            let record: Vec<u8> = (0..len.min(options.record_bytes_max()))
                .map(|j| (i * 31 + j * 7) as u8)
                .collect();
            append(&log, &record).await;
            if let Some(below) = log.over_limit() {
                log.wait_durable(LogPosition { offset: 0, ..below }).await.unwrap();
                log.release(below);
            }
        }
        log.close().await.unwrap();
        consumer.await.unwrap();
        let from = log.appended().segment + 1 - log.bytes_in_use() / (4 << 20);
        let (report, records) = read_back(&options.dir, from).await;
        assert!(records.len() > 10 && taken.borrow().ends_with(&records), "{report:?}");
        // Damage early in a window of the last segment but one: what vouches for it is found far behind.
        let path = std::fs::read_dir(&options.dir)
            .unwrap()
            .map(|entry| entry.unwrap().path());
        let prefix = format!("{:016x}-", log.appended().segment - 1);
        let path = { path }
            .find(|path| path.file_name().unwrap().to_str().unwrap().starts_with(&prefix))
            .unwrap();
        let mut bytes = std::fs::read(&path).unwrap();
        bytes[5000] ^= 4;
        std::fs::write(&path, &bytes).unwrap();
        let each = async |_: LogPosition, _: &[u8]| -> Result<(), std::convert::Infallible> { Ok(()) };
        let damaged = replay(&options.dir, from, each).await.unwrap_err().to_string();
        assert!(
            damaged.contains(&prefix) && damaged.contains("is damaged at offset"),
            "{damaged}"
        );
    });
}

#[test]
fn replay_reads_a_header_that_lies_in_two_windows() {
    on_shard(async |mut options| {
        options.segment_bytes = 8 << 20;
        options.total_bytes_max = 40 << 20;
        options.group_bytes_max = 8 << 20;
        for (life, rest) in [0, 1, 10, 31, 32, 33, 40].into_iter().enumerate() {
            let first_segment = 1 + 10 * life as u64;
            let log = Log::open(options.clone(), first_segment).await.unwrap();
            let (consumer, taken) = consume(&log);
            // The first window ends a megabyte after the first record begins, `rest` bytes after the second one does.
            log.append(&vec![5; (1 << 20) - RECORD_HEADER_LEN - rest]).unwrap();
            log.append(&(0..=255).collect::<Vec<u8>>()).unwrap();
            log.append(&[7; 3000]).unwrap();
            log.close().await.unwrap();
            consumer.await.unwrap();
            assert_eq!(taken.borrow().len(), 3);
            assert_eq!(read_back(&options.dir, first_segment).await.1, *taken.borrow());
        }
    });
}

#[test]
fn refuses_too_large_records_and_impossible_options() {
    on_shard(async |options| {
        let log = Log::open(options.clone(), 1).await.unwrap();
        let (consumer, taken) = consume(&log);
        let bytes_max = options.record_bytes_max();
        let refused = log.append(&vec![1; bytes_max + 1]);
        assert!(matches!(refused, Err(AppendError::TooLarge { bytes, bytes_max: max }) if bytes == max + 1));
        for _ in 0..5 {
            append(&log, &vec![1; bytes_max]).await;
        }
        log.close().await.unwrap();
        consumer.await.unwrap();
        assert_eq!(taken.borrow().len(), 5);
        // A segment at or above the first one: the caller did not replay, or took the wrong floor.
        let again = Log::open(options.clone(), 3).await;
        assert!(matches!(again, Err(Error::Options(_))), "{:?}", again.err());
        for wrong in [
            Options {
                segment_bytes: 12 << 10,
                ..options.clone()
            },
            Options {
                segment_bytes: (64 << 10) + 1,
                ..options.clone()
            },
            Options {
                total_bytes_max: 3 * (64 << 10),
                ..options.clone()
            },
            Options {
                total_bytes_max: 60_001 * (64 << 10),
                ..options.clone()
            },
            Options {
                group_bytes_max: 100,
                ..options.clone()
            },
        ] {
            assert!(matches!(Log::open(wrong, 100).await, Err(Error::Options(_))));
        }
    });
}

#[test]
fn groups_are_shared_by_those_who_come_meanwhile() {
    on_shard(async |options| {
        let log = Log::open(options.clone(), 1).await.unwrap();
        let (consumer, _) = consume(&log);
        let writers: Vec<_> = (0..64)
            .map(|i| {
                let log = log.clone();
                runtime::spawn(TaskClass::Request, "writer", async move {
                    for j in 0..20 {
                        let position = append(&log, &[i as u8, j]).await;
                        log.wait_durable(position).await.unwrap();
                    }
                })
            })
            .collect();
        for writer in writers {
            writer.await;
        }
        log.close().await.unwrap();
        consumer.await.unwrap();
        let stats = log.stats();
        // Two in flight, 64 writers that each wait: some 32 records in a group.
        assert!(
            stats.groups <= 64 * 20 / 8,
            "{} groups for {} records",
            stats.groups,
            stats.records
        );
    });
}

#[test]
fn damaged_and_missing_files_are_named() {
    on_shard(async |options| {
        let log = Log::open(options.clone(), 1).await.unwrap();
        let (consumer, _) = consume(&log);
        for _ in 0..5 {
            append(&log, &[9; 30_000]).await;
        }
        log.close().await.unwrap();
        consumer.await.unwrap();
        let refuse = async |dir: &Path| {
            let each = async |_: LogPosition, _: &[u8]| -> Result<(), std::convert::Infallible> { Ok(()) };
            replay(dir, 1, each).await.unwrap_err().to_string()
        };
        let path_of = |id: u64| {
            let mut entries = std::fs::read_dir(&options.dir)
                .unwrap()
                .map(|entry| entry.unwrap().path());
            let prefix = format!("{id:016x}-");
            entries
                .find(|path| path.file_name().unwrap().to_str().unwrap().starts_with(&prefix))
                .unwrap()
        };
        let path = path_of(2);
        let whole = std::fs::read(&path).unwrap();
        let mut bytes = whole.clone();
        bytes[BLOCK + 100] ^= 1;
        std::fs::write(&path, &bytes).unwrap();
        let want = format!(
            "commit log segment {} is damaged at offset 4096: wrong checksum of a record",
            path.display()
        );
        assert_eq!(refuse(&options.dir).await, want);
        std::fs::write(&path, &whole[..50_000]).unwrap();
        let want = format!(
            "commit log segment {} is damaged at offset 50000: the file is cut short",
            path.display()
        );
        assert_eq!(refuse(&options.dir).await, want);
        std::fs::write(&path, b"").unwrap();
        let want = format!(
            "commit log segment {} is damaged at offset 0: shorter than its header block",
            path.display()
        );
        assert_eq!(refuse(&options.dir).await, want);
        std::fs::remove_file(&path).unwrap();
        let want = format!(
            "commit log segment 0000000000000002 is missing from {}",
            options.dir.display()
        );
        assert_eq!(refuse(&options.dir).await, want);
        std::fs::write(&path, &whole).unwrap();
        assert_eq!(read_back(&options.dir, 1).await.1.len(), 5);
        // A folder that is not there is an empty log.
        let report = read_back(&options.dir.join("none"), 3).await.0;
        assert_eq!(
            (report.records, report.next_segment, report.end),
            (0, 3, LogPosition { segment: 3, offset: 0 })
        );
    });
}
