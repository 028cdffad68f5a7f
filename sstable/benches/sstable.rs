//! What the writer costs per message, the reader per page and a scan per row: chat rows of about 200 bytes.
//!
//! `cargo bench -p scrollback-sstable`. Times are of the CPU, of the thread that works, so that a busy machine hurts little. The encoder is measured alone (CPU only) and under the writer on a real shard; pages with
//! their blocks in the cache, and with an empty cache, so that every block is read from the device and decompressed.
#![allow(missing_docs, reason = "the macro makes a public function without")]
#![allow(clippy::unwrap_used, reason = "a bench ends where it fails")]

use std::hint::black_box;
use std::path::Path;
use std::rc::Rc;
use std::time::Duration;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use model::{
    ColumnId, Deletion, Direction, Fragment, Item, Peek, RowBuilder, RowRef, RowSource, Slice, TableId, Token,
};
use runtime::{Handle, Options, Runtime, ShardId};
use scrollback_sstable::{BlockCache, Table, Writer, WriterOptions, encode};

/// The time that this thread has had on a core.
fn cpu() -> Duration {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: the clock exists on every Linux, and `time` is a valid place for it to write to.
    let result = unsafe { libc::clock_gettime(libc::CLOCK_THREAD_CPUTIME_ID, &mut time) };
    assert_eq!(result, 0, "the thread's clock can be read");
    Duration::new(time.tv_sec as u64, time.tv_nsec as u32)
}

/// Messages of the file; 20 channels.
const MESSAGES: u64 = 100_000;
const CHANNELS: u64 = 20;

/// Words as they come in chat, so that LZ4 has what it has in life.
const WORDS: &str = "the a to I it is you and that of in for have on but not with this be so was just what if do like can are \
                     as my or at get your me there they we no all one would know think from good really when some people \
                     about then how out time more want see up make now work which could go only because who much need use";

struct Message {
    clustering: Vec<u8>,
    body: Vec<u8>,
}

struct Data {
    channels: Vec<(Token, Vec<u8>, Vec<Message>)>,
}

fn data() -> Data {
    let words: Vec<&str> = WORDS.split_whitespace().collect();
    let mut state = 7u64;
    let mut random = move |below: u64| {
        state = state
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        (state >> 33) % below
    };
    let mut row = RowBuilder::new();
    let mut channels: Vec<_> = (0..CHANNELS)
        .map(|channel| {
            let key = [&[0, 8][..], &channel.to_be_bytes(), &[0, 0, 4], &[0, 0, 1, 5], &[0]].concat();
            let rows = (0..MESSAGES / CHANNELS).rev().map(|n| {
                let id = (n * 1_000 + random(1_000)) << 12;
                let mut text = String::new();
                // About 150 bytes of text make a body of about 200 with author, ids and times.
                while text.len() < 140 + random(100) as usize {
                    text.push_str(words[random(words.len() as u64) as usize]);
                    text.push(' ');
                }
                let at = 1_700_000_000_000_000 + n as i64 * 1_000_003;
                row.clear()
                    .liveness(at)
                    .cell(ColumnId(1), at, &(random(5_000) << 20).to_be_bytes());
                row.cell(ColumnId(2), at, text.as_bytes())
                    .cell(ColumnId(3), at, &random(u64::MAX).to_be_bytes());
                Message {
                    clustering: [&[0x7F][..], &(!id).to_be_bytes()].concat(),
                    body: row.finish().to_vec(),
                }
            });
            (model::token_of(&key), key, rows.collect())
        })
        .collect();
    channels.sort_by(|a: &(Token, Vec<u8>, Vec<Message>), b| (a.0, &a.1).cmp(&(b.0, &b.1)));
    Data { channels }
}

impl Data {
    fn fragments(&self) -> impl Iterator<Item = Fragment<'_>> {
        self.channels.iter().flat_map(|(token, key, rows)| {
            let start = Fragment::PartitionStart {
                token: *token,
                key,
                deletion: Deletion::LIVE,
            };
            let rows = rows.iter().map(|m| Fragment::Row {
                clustering: &m.clustering,
                row: RowRef::trusted(&m.body),
            });
            std::iter::once(start)
                .chain(rows)
                .chain(std::iter::once(Fragment::PartitionEnd))
        })
    }
}

fn options() -> WriterOptions {
    WriterOptions::new(TableId(1), [7; 16], 1)
}

async fn write(path: &Path, data: &Data) -> u64 {
    let mut writer = Writer::create(path, options(), 16 << 20).await.unwrap();
    for fragment in data.fragments() {
        writer.append(fragment).await.unwrap();
    }
    writer.seal().await.unwrap().file_bytes
}

fn writer(c: &mut Criterion) {
    let data = data();
    let bytes: usize = data
        .channels
        .iter()
        .flat_map(|(_, _, rows)| rows)
        .map(|m| m.body.len())
        .sum();
    let file = encode(options(), data.fragments());
    eprintln!("{} bytes a body, file {} bytes", bytes as u64 / MESSAGES, file.len());
    let mut group = c.benchmark_group("write");
    group.sample_size(20).throughput(Throughput::Elements(MESSAGES));
    group.bench_function("encode", |b| {
        b.iter_custom(|n| {
            let start = cpu();
            for _ in 0..n {
                black_box(encode(options(), data.fragments()));
            }
            cpu() - start
        });
    });
    let plain = || WriterOptions {
        compression: scrollback_sstable::Compression::None,
        ..options()
    };
    group.bench_function("encode without compression", |b| {
        b.iter_custom(|n| {
            let start = cpu();
            for _ in 0..n {
                black_box(encode(plain(), data.fragments()));
            }
            cpu() - start
        });
    });

    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("w.sst");
    let node = Runtime::start(Options::default()).unwrap();
    let data = std::sync::Arc::new(data);
    group.bench_function("writer on a shard", |b| {
        b.iter_custom(|n| {
            let (path, data) = (path.clone(), data.clone());
            let job = move || async move {
                let mut total = Duration::ZERO;
                for _ in 0..n {
                    let start = cpu();
                    write(&path, &data).await;
                    total += cpu() - start;
                    runtime::disk::remove(&path).await.unwrap();
                }
                total
            };
            node.handle().call(ShardId(0), job).wait().unwrap()
        });
    });
    group.finish();
    node.stop().unwrap();
}

/// Reads a page; gives the sum of its bodies' lengths.
async fn page(table: &Table, token: Token, key: &[u8], slice: Slice, limit: usize) -> usize {
    let mut cursor = table.cursor(token, key, slice, Direction::Forward);
    let (mut rows, mut bytes) = (0, 0);
    while rows < limit {
        match cursor.peek() {
            Peek::End => break,
            Peek::Pending { .. } => cursor.fill().await.unwrap(),
            Peek::Item(item) => {
                if let Item::Row { row, .. } = item {
                    bytes += row.bytes().len();
                    rows += 1;
                }
                cursor.advance();
            }
        }
    }
    assert_eq!(rows, limit);
    bytes
}

fn pages(node: &Handle, path: &Path, len: u64, cache_bytes: usize, n: u64) -> Duration {
    let path = path.to_path_buf();
    let job = move || async move {
        let data = data();
        let table = Table::open(&path, 1, len, Rc::new(BlockCache::new(cache_bytes)))
            .await
            .unwrap();
        let mut state = 1u64;
        let mut targets = Vec::new();
        for _ in 0..n.min(1000) {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            let (token, key, rows) = &data.channels[(state >> 33) as usize % data.channels.len()];
            let from = &rows[(state >> 40) as usize % (rows.len() - 50)];
            targets.push((
                *token,
                key.clone(),
                Slice {
                    start: from.clustering.clone(),
                    ..Slice::all()
                },
            ));
        }
        // The cache is warm, or of no use.
        for (token, key, slice) in &targets {
            page(&table, *token, key, slice.clone(), 50).await;
        }
        let start = cpu();
        for i in 0..n {
            let (token, key, slice) = &targets[i as usize % targets.len()];
            black_box(page(&table, *token, key, slice.clone(), 50).await);
        }
        cpu() - start
    };
    node.call(ShardId(0), job).wait().unwrap()
}

fn reader(c: &mut Criterion) {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("r.sst");
    let node = Runtime::start(Options::default()).unwrap();
    let at = path.clone();
    let len = node
        .handle()
        .call(ShardId(0), move || async move { write(&at, &data()).await })
        .wait()
        .unwrap();
    let mut group = c.benchmark_group("page of 50");
    group.sample_size(20);
    let handle = node.handle();
    group.bench_function("from the cache", |b| {
        b.iter_custom(|n| pages(&handle, &path, len, 64 << 20, n))
    });
    group.bench_function("from the device", |b| {
        b.iter_custom(|n| pages(&handle, &path, len, 0, n))
    });
    group.finish();
    node.stop().unwrap();
}

/// Reads the whole file, with a scan or with a cursor for each partition; gives the sum of its bodies' lengths.
async fn read_whole(table: &Table, data: &Data, by: By) -> usize {
    let mut bytes = 0;
    match by {
        By::Scan => {
            let mut scan = table.scan(Token(i64::MIN)..=Token(i64::MAX));
            while scan.next_partition().await.unwrap() {
                loop {
                    match scan.peek() {
                        Peek::End => break,
                        Peek::Pending { .. } => scan.fill().await.unwrap(),
                        Peek::Item(item) => {
                            if let Item::Row { row, .. } = item {
                                bytes += row.bytes().len();
                            }
                            scan.advance();
                        }
                    }
                }
            }
        }
        By::ScanRuns => {
            let mut scan = table.scan(Token(i64::MIN)..=Token(i64::MAX));
            while scan.next_partition().await.unwrap() {
                while scan.peek() != Peek::End {
                    scan.give_live(Direction::Forward, None, &mut |_, row| {
                        bytes += row.bytes().len();
                        true
                    });
                    scan.fill().await.unwrap();
                }
            }
        }
        By::Cursor => {
            for (token, key, rows) in &data.channels {
                bytes += page(table, *token, key, Slice::all(), rows.len()).await;
            }
        }
    }
    bytes
}

#[derive(Clone, Copy)]
enum By {
    Scan,
    ScanRuns,
    Cursor,
}

fn whole(c: &mut Criterion) {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("s.sst");
    let node = Runtime::start(Options::default()).unwrap();
    let at = path.clone();
    let len = node
        .handle()
        .call(ShardId(0), move || async move { write(&at, &data()).await })
        .wait()
        .unwrap();
    let mut group = c.benchmark_group("whole file");
    group.sample_size(20).throughput(Throughput::Elements(MESSAGES));
    for (name, by) in [
        ("scan", By::Scan),
        ("scan, live rows in runs", By::ScanRuns),
        ("cursors", By::Cursor),
    ] {
        group.bench_function(name, |b| {
            b.iter_custom(|n| {
                let path = path.clone();
                let job = move || async move {
                    let data = data();
                    let table = Table::open(&path, 1, len, Rc::new(BlockCache::new(0))).await.unwrap();
                    let start = cpu();
                    for _ in 0..n {
                        black_box(read_whole(&table, &data, by).await);
                    }
                    cpu() - start
                };
                node.handle().call(ShardId(0), job).wait().unwrap()
            });
        });
    }
    group.finish();
    node.stop().unwrap();
}

criterion_group!(benches, writer, reader, whole);
criterion_main!(benches);
