//! What reading costs: blocks and device reads are counted, and the promises about them held.
#![allow(clippy::unwrap_used, reason = "tests")]

use crate::common;
use std::path::Path;
use std::rc::Rc;

use crate::common::{Owned, Partition, Rng};
use model::{ColumnId, Deletion, Direction, Item, Merge, Peek, RowBuilder, RowSource, Slice, Step};
use scrollback_sstable::{BlockCache, Cost, Cursor, Summary, Table, Writer, WriterOptions};

/// A chat row: author, about `len` bytes of text, all at one timestamp.
fn message(id: u64, len: usize) -> Vec<u8> {
    let mut rng = Rng(id);
    let text: Vec<u8> = (0..len).map(|_| b"etaoin shrdlu"[rng.below(13) as usize]).collect();
    let timestamp = 1_700_000_000_000_000 + id as i64;
    let mut row = RowBuilder::new();
    row.liveness(timestamp)
        .cell(ColumnId(1), timestamp, &id.to_be_bytes())
        .cell(ColumnId(2), timestamp, &text);
    row.finish().to_vec()
}

/// A clustering key that sorts the newest id first, as `message_id DESC` does.
fn clustering(id: u64) -> Vec<u8> {
    [&[0x7F][..], &(!id).to_be_bytes()].concat()
}

/// A channel of `count` messages of about `len` bytes, newest first.
fn channel(key: &[u8], count: u64, len: usize) -> Partition {
    let mut p = Partition::new(key);
    p.rows = (0..count).rev().map(|id| (clustering(id), message(id, len))).collect();
    p
}

async fn write(path: &Path, options: WriterOptions, partitions: &[Partition]) -> Summary {
    let mut writer = Writer::create(path, options, 8 << 20).await.unwrap();
    for p in partitions {
        for fragment in p.fragments() {
            writer.append(fragment.fragment()).await.unwrap();
        }
    }
    writer.seal().await.unwrap()
}

/// A fresh cache, so that every block comes from the device.
async fn open(path: &Path, summary: &Summary) -> Table {
    Table::open(
        path,
        summary.generation,
        summary.file_bytes,
        Rc::new(BlockCache::new(4 << 20)),
    )
    .await
    .unwrap()
}

/// Takes up to `rows` rows.
async fn take(cursor: &mut Cursor, rows: usize) -> Vec<Vec<u8>> {
    let mut out = Vec::new();
    while out.len() < rows {
        match cursor.peek() {
            Peek::End => break,
            Peek::Pending { .. } => cursor.fill().await.unwrap(),
            Peek::Item(item) => {
                out.push(item.position().to_vec());
                cursor.advance();
            }
        }
    }
    out
}

#[test]
fn a_page_of_fifty_reads_at_most_two_data_blocks() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("t.sst");
    common::on_shard(move || async move {
        // Row bodies of about 150, 200, 250 and 300 bytes; a small channel between large ones.
        for len in [110, 160, 210, 260] {
            let mut partitions = vec![
                channel(b"first", 3000, len),
                channel(b"second", 40, len),
                channel(b"third", 3000, len),
                channel(b"fourth", 300, len),
            ];
            partitions.sort_by(|a, b| (a.token, &a.key).cmp(&(b.token, &b.key)));
            let summary = write(&path, common::options(), &partitions).await;
            let bytes = summary.statistics.sizes.raw_value_bytes / summary.statistics.rows;
            let mut most = 0;
            for p in &partitions {
                for direction in [Direction::Forward, Direction::Reverse] {
                    for skip in (0..p.rows.len()).step_by(37) {
                        let key = &p.rows[skip].0;
                        let slice = match direction {
                            Direction::Forward => Slice {
                                start: key.clone(),
                                ..Slice::all()
                            },
                            Direction::Reverse => Slice {
                                end: key.clone(),
                                ..Slice::all()
                            },
                        };
                        let table = open(&path, &summary).await;
                        assert_eq!(table.open_reads(), 1);
                        let mut cursor = table.cursor(p.token, &p.key, slice, direction);
                        assert_eq!(cursor.cost(), Cost::default());
                        let page = take(&mut cursor, 50).await;
                        let rows: Vec<_> = p.rows.iter().map(|(key, _)| key.clone()).collect();
                        let expected: Vec<_> = match direction {
                            Direction::Forward => rows[skip..].iter().take(50).cloned().collect(),
                            Direction::Reverse => rows[..skip].iter().rev().take(50).cloned().collect(),
                        };
                        assert_eq!(page, expected);
                        let cost = cursor.cost();
                        most = most.max(cost.data_blocks);
                        assert!(
                            cost.data_blocks <= 2,
                            "rows of {bytes} bytes, {direction:?} from {skip}: {cost:?}"
                        );
                        assert!(cost.index_blocks <= 2, "{cost:?}");
                        assert_eq!(cost.device_reads, cost.data_blocks + cost.index_blocks);
                        drop(cursor);
                        table.close().await.unwrap();
                    }
                }
            }
            assert_eq!(most, 2, "rows of {bytes} bytes fill more than one block");
            runtime::disk::remove(&path).await.unwrap();
        }
    });
}

#[test]
fn the_second_page_comes_from_the_cache() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("t.sst");
    common::on_shard(move || async move {
        let p = channel(b"channel", 1000, 160);
        let summary = write(&path, common::options(), std::slice::from_ref(&p)).await;
        let cache = Rc::new(BlockCache::new(1 << 20));
        let table = Table::open(&path, 42, summary.file_bytes, cache.clone()).await.unwrap();
        let mut first = table.cursor(p.token, &p.key, Slice::all(), Direction::Forward);
        take(&mut first, 50).await;
        assert_eq!(first.cost().device_reads, first.cost().data_blocks + 1);
        let mut second = table.cursor(p.token, &p.key, Slice::all(), Direction::Forward);
        take(&mut second, 50).await;
        let expected = Cost {
            device_reads: 0,
            ..first.cost()
        };
        assert_eq!(second.cost(), expected);
        assert_eq!(
            (cache.hits(), cache.misses()),
            (expected.data_blocks + 1, expected.data_blocks + 1)
        );
        assert!(
            cache.bytes() > 16 * 1024 && cache.bytes() < 100 * 1024,
            "{}",
            cache.bytes()
        );
        drop((first, second));
        table.close().await.unwrap();
        assert_eq!(cache.bytes(), 0);
    });
}

#[test]
fn a_file_of_covered_rows_is_passed_over_without_reading_its_data() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("t.sst");
    common::on_shard(move || async move {
        let count = 20_000;
        let mut partitions = vec![
            channel(b"before", 30, 160),
            channel(b"deleted", count, 160),
            channel(b"after", 30, 160),
        ];
        partitions.sort_by(|a, b| (a.token, &a.key).cmp(&(b.token, &b.key)));
        let p = partitions.iter().find(|p| p.key == b"deleted").unwrap().clone();
        // Small index blocks, so that whole ones are passed over by the top index.
        let options = WriterOptions {
            index_bytes: 2000,
            ..common::options()
        };
        let summary = write(&path, options, &partitions).await;
        assert!(summary.statistics.sizes.index_frames > 5);
        let newest = summary.statistics.max_timestamp;
        for direction in [Direction::Forward, Direction::Reverse] {
            for slice in [
                Slice::all(),
                Slice {
                    start: clustering(17_003),
                    end: clustering(2_990),
                },
            ] {
                let table = open(&path, &summary).await;
                let mut cursor = table.cursor(p.token, &p.key, slice.clone(), direction);
                let mut passed = 0;
                while !matches!(cursor.peek(), Peek::End) {
                    assert!(matches!(cursor.peek(), Peek::Pending { .. }));
                    passed += cursor.skip_covered(newest, None);
                    cursor.fill().await.unwrap();
                }
                let cost = cursor.cost();
                assert_eq!(cost.data_blocks, 0, "{cost:?}");
                assert!(cost.index_blocks <= 2, "{cost:?}");
                let inside = p.rows.iter().filter(|(key, _)| slice.contains(key)).count() as u64;
                // Blocks and groups at the edges of the slice are counted whole.
                assert!(
                    (inside..inside + 5000).contains(&passed),
                    "{passed} rows passed over of {inside}"
                );
                if slice == Slice::all() {
                    assert_eq!(passed, count);
                }
            }
        }
        // Nothing is passed over if one row is newer than the deletion.
        let table = open(&path, &summary).await;
        let mut cursor = table.cursor(p.token, &p.key, Slice::all(), Direction::Forward);
        cursor.fill().await.unwrap();
        assert_eq!(cursor.skip_covered(newest - 1, None), 0);
        assert_eq!(cursor.cost().data_blocks, 0);
        assert_eq!(take(&mut cursor, 1).await, [clustering(count - 1)]);
    });
}

/// A page behind a range tombstone in another file, and behind a partition's: through the merge, as the engine reads.
#[test]
fn a_page_behind_a_tombstone_reads_none_of_the_blocks_it_covers() {
    let dir = tempfile::tempdir().unwrap();
    let (path, over) = (dir.path().join("t.sst"), dir.path().join("over.sst"));
    common::on_shard(move || async move {
        let p = channel(b"channel", 30_000, 160);
        let summary = write(&path, common::options(), std::slice::from_ref(&p)).await;
        let deleted = Deletion::new(summary.statistics.max_timestamp, 1_700_000_000);
        // Everything is deleted but the 20 oldest messages.
        let mut tombstone = Partition::new(b"channel");
        tombstone.changes = vec![(Vec::new(), deleted), (clustering(19), Deletion::LIVE)];
        let options = WriterOptions {
            generation: 43,
            ..common::options()
        };
        let summary_over = write(&over, options, std::slice::from_ref(&tombstone)).await;

        for direction in [Direction::Forward, Direction::Reverse] {
            let (rows, range) = (open(&path, &summary).await, open(&over, &summary_over).await);
            let cursors = [&rows, &range].map(|t| t.cursor(p.token, &p.key, Slice::all(), direction));
            let (page, cost) = page(Merge::new(cursors.into(), direction, Deletion::LIVE), 50).await;
            let mut expected: Vec<_> = (0..20).rev().map(clustering).collect();
            if direction == Direction::Reverse {
                expected.reverse();
            }
            assert_eq!(page, expected);
            // The block with the oldest messages, and the range's.
            assert!(
                cost[0].data_blocks <= 1 && cost[1].data_blocks == 1,
                "{direction:?}: {cost:?}"
            );

            let cursors = vec![rows.cursor(p.token, &p.key, Slice::all(), direction)];
            let (page, cost) = self::page(Merge::new(cursors, direction, deleted), 50).await;
            assert!(page.is_empty());
            assert_eq!(cost[0].data_blocks, 0, "{direction:?}: {cost:?}");
        }
    });
}

async fn page(mut merge: Merge<Cursor>, limit: usize) -> (Vec<Vec<u8>>, Vec<Cost>) {
    let mut out = Vec::new();
    while out.len() < limit {
        match merge.step() {
            Step::End => break,
            Step::Pending(i) => merge.source_mut(i).fill().await.unwrap(),
            Step::Item => {
                if let Item::Row { clustering, .. } = merge.item() {
                    out.push(clustering.to_vec());
                }
            }
        }
    }
    (out, merge.sources().iter().map(Cursor::cost).collect())
}

#[test]
fn what_is_not_in_the_file_costs_nothing_or_little() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("t.sst");
    common::on_shard(move || async move {
        let mut partitions: Vec<_> = (0..200u32).map(|n| channel(&n.to_be_bytes(), 20, 100)).collect();
        partitions.sort_by(|a, b| (a.token, &a.key).cmp(&(b.token, &b.key)));
        let summary = write(&path, common::options(), &partitions).await;
        let table = open(&path, &summary).await;
        let absent = (1000..5000u32).map(|n| n.to_be_bytes());
        let maybe = absent
            .filter(|key| table.may_contain(model::token_of(key), key))
            .count();
        assert!(maybe < 100, "{maybe} of 4000 absent partitions may be there");
        assert!(partitions.iter().all(|p| table.may_contain(p.token, &p.key)));
        // Slices that lie beyond the file's positions end at once.
        let p = &partitions[7];
        for slice in [
            Slice {
                start: vec![0x80],
                end: vec![0xFF],
            },
            Slice {
                start: Vec::new(),
                end: clustering(19),
            },
            Slice {
                start: clustering(3),
                end: clustering(3),
            },
        ] {
            for direction in [Direction::Forward, Direction::Reverse] {
                let cursor = table.cursor(p.token, &p.key, slice.clone(), direction);
                assert!(matches!(cursor.peek(), Peek::End), "{slice:02x?}");
                assert!(!cursor.cost().opened);
            }
        }
        // A cursor is pending at the file's bound, not at the slice's, before anything is read.
        let cursor = table.cursor(p.token, &p.key, Slice::all(), Direction::Forward);
        assert_eq!(
            cursor.peek(),
            Peek::Pending {
                position: &clustering(19)
            }
        );
        let cursor = table.cursor(p.token, &p.key, Slice::all(), Direction::Reverse);
        assert_eq!(
            cursor.peek(),
            Peek::Pending {
                position: &clustering(0)
            }
        );
    });
}

#[test]
fn a_fragment_is_kept_as_it_came() {
    let p = channel(b"channel", 3, 20);
    let bytes = common::encode(common::options(), std::slice::from_ref(&p));
    let mut again = Vec::new();
    scrollback_sstable::offline::scan(&bytes, &mut |_, fragment| again.push(Owned::of(fragment))).unwrap();
    assert_eq!(again, p.fragments());
}

#[test]
fn rows_of_any_size_come_back() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("t.sst");
    common::on_shard(move || async move {
        let mut p = Partition::new(b"channel");
        let lens = [0, 1, 16_000, 32_767, 32_768, 32_769, 65_536, 1 << 20, 5 << 20, 3];
        let mut row = RowBuilder::new();
        let mut rng = Rng(9);
        for (n, len) in lens.into_iter().enumerate() {
            let text = if n % 2 == 0 { rng.bytes(len) } else { vec![b'z'; len] };
            row.clear().liveness(5).cell(ColumnId(1), 5, &text);
            p.rows.push((vec![0x10, n as u8 + 1], row.finish().to_vec()));
        }
        let summary = write(&path, common::options(), std::slice::from_ref(&p)).await;
        let table = open(&path, &summary).await;
        for direction in [Direction::Forward, Direction::Reverse] {
            let mut cursor = table.cursor(p.token, &p.key, Slice::all(), direction);
            let mut found = Vec::new();
            loop {
                match cursor.peek() {
                    Peek::End => break,
                    Peek::Pending { .. } => cursor.fill().await.unwrap(),
                    Peek::Item(Item::Row { clustering, row }) => {
                        found.push((clustering.to_vec(), row.bytes().to_vec()));
                        cursor.advance();
                    }
                    Peek::Item(other) => panic!("{other:?}"),
                }
            }
            if direction == Direction::Reverse {
                found.reverse();
            }
            assert!(found == p.rows);
        }
    });
}
