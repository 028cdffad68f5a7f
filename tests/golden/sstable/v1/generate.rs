//! Makes the golden sstables of version 1. Included by `sstable/tests/golden.rs`, which compares them with the files here, and
//! writes those anew with `SCROLLBACK_GOLDEN=write cargo test -p scrollback-sstable --test golden`.
//!
//! Once version 1 is frozen, what is here never changes; until then a change of bytes comes with a change of
//! `docs/format/sstable.md`.

use model::{ColumnId, Deletion, Fragment, RowBuilder, RowRef, TableId, token_of};
use scrollback_sstable::{Compression, WriterOptions, encode};

/// The files by name.
pub fn files() -> Vec<(&'static str, Vec<u8>)> {
    vec![
        ("empty", empty()),
        ("messages", messages()),
        ("everything", everything()),
    ]
}

fn options() -> WriterOptions {
    WriterOptions::new(TableId(1), *b"golden host id 1", 1)
}

fn empty() -> Vec<u8> {
    encode(options(), [])
}

/// The newest id first.
fn descending(id: u64) -> Vec<u8> {
    [&[0x7F][..], &(!id).to_be_bytes()].concat()
}

/// Chat as it is: two channels, short rows, one of 70,000 bytes (three chunks), LZ4, several blocks.
fn messages() -> Vec<u8> {
    let words = [
        "hello", "there", "did", "anyone", "see", "the", "build", "fail", "again", "yes", "rerun", "it",
    ];
    let mut row = RowBuilder::new();
    let mut keys: Vec<Vec<u8>> = [1u64, 2].map(|channel| channel.to_be_bytes().to_vec()).into();
    keys.sort_by_key(|key| token_of(key));
    let mut rows = Vec::new();
    for (c, _) in keys.iter().enumerate() {
        for id in (0..40u64).rev() {
            let n = (id * 7 + c as u64) as usize;
            let mut text: String = (0..n % 9 + 1)
                .map(|w| words[(n + w) % words.len()])
                .collect::<Vec<_>>()
                .join(" ");
            if c == 1 && id == 20 {
                text = "scroll back for ever ".repeat(3334)[..70_000].to_string();
            }
            let at = 1_700_000_000_000_000 + id as i64 * 1_000;
            row.clear().liveness(at);
            row.cell(ColumnId(1), at, &(900 + id % 3).to_be_bytes())
                .cell(ColumnId(2), at, text.as_bytes());
            rows.push((c, descending(id), row.finish().to_vec()));
        }
    }
    let mut fragments = Vec::new();
    for (c, key) in keys.iter().enumerate() {
        fragments.push(Fragment::PartitionStart {
            token: token_of(key),
            key,
            deletion: Deletion::LIVE,
        });
        for (_, clustering, body) in rows.iter().filter(|row| row.0 == c) {
            fragments.push(Fragment::Row {
                clustering,
                row: RowRef::trusted(body),
            });
        }
        fragments.push(Fragment::PartitionEnd);
    }
    encode(
        WriterOptions {
            block_bytes: 1024,
            ..options()
        },
        fragments,
    )
}

/// One of everything, uncompressed, in blocks so small that partitions and range deletions span them.
fn everything() -> Vec<u8> {
    let column = ColumnId;
    let mut builder = RowBuilder::new();
    let mut body = |build: &dyn Fn(&mut RowBuilder)| {
        builder.clear();
        build(&mut builder);
        builder.finish().to_vec()
    };
    let topic = body(&|b| {
        b.cell(column(9), 11, b"topic");
    });
    let plain = body(&|b| {
        b.liveness(20)
            .cell(column(1), 20, b"plain")
            .cell(column(2), 21, &[0xFF, 0]);
    });
    let expiring = body(&|b| {
        b.liveness_ttl(30, 60, 1_700_000_060)
            .cell_ttl(column(1), 30, b"soon gone", 60, 1_700_000_060);
        b.cell_ttl(column(2), 31, b"later", 3600, 1_700_003_600);
    });
    let dead = body(&|b| {
        b.deletion(Deletion::new(40, 1_700_000_001));
    });
    let revived = body(&|b| {
        b.deletion(Deletion::new(50, 1_700_000_002))
            .liveness(51)
            .tombstone(column(1), 52, 1_700_000_003);
    });
    let collection = body(&|b| {
        b.complex_deletion(column(3), Deletion::new(59, 1_700_000_004));
        b.element(column(3), b"a", 60, b"1")
            .element_tombstone(column(3), b"b", 61, 1_700_000_005);
    });
    let update = body(&|b| {
        b.cell(column(1), -5, b"");
    });
    let deleted = Deletion::new(15, 1_700_000_010);
    let (early, late) = (Deletion::new(25, 1_700_000_011), Deletion::new(35, 1_700_000_012));
    let row = |clustering: &'static [u8], body: &'static [u8]| Fragment::Row {
        clustering,
        row: RowRef::trusted(body),
    };
    let leak = |body: Vec<u8>| -> &'static [u8] { body.leak() };
    let (plain, expiring, dead) = (leak(plain), leak(expiring), leak(dead));
    let (revived, collection, update, topic) = (leak(revived), leak(collection), leak(update), leak(topic));

    let mut partitions: Vec<(&'static [u8], Deletion, Vec<Fragment<'static>>)> = vec![
        (
            b"rows of all kinds",
            Deletion::LIVE,
            vec![
                Fragment::StaticRow(RowRef::trusted(topic)),
                row(b"\x10\x01", plain),
                row(b"\x10\x02", expiring),
                row(b"\x10\x03", dead),
                row(b"\x10\x04", revived),
                row(b"\x10\x05", collection),
                row(b"\x10\x06", update),
            ],
        ),
        (
            b"ranges",
            Deletion::LIVE,
            vec![
                Fragment::RangeChange {
                    position: b"",
                    deletion: early,
                },
                row(b"\x10\x01", plain),
                row(b"\x10\x02", plain),
                Fragment::RangeChange {
                    position: b"\x10\x03",
                    deletion: late,
                },
                row(b"\x10\x03", plain),
                row(b"\x10\x03\x01", plain),
                Fragment::RangeChange {
                    position: b"\x10\x03\xFF",
                    deletion: Deletion::LIVE,
                },
                row(b"\x10\x04", plain),
                Fragment::RangeChange {
                    position: b"\x10\x04\xFF",
                    deletion: early,
                },
                row(b"\x10\x05", dead),
                Fragment::RangeChange {
                    position: b"\xFF",
                    deletion: Deletion::LIVE,
                },
            ],
        ),
        (b"deleted and written again", deleted, vec![row(b"\x10\x01", plain)]),
        (b"deleted", deleted, vec![]),
        (
            b"only a static row",
            Deletion::LIVE,
            vec![Fragment::StaticRow(RowRef::trusted(topic))],
        ),
        (b"no clustering columns", Deletion::LIVE, vec![row(b"", plain)]),
        (b"empty", Deletion::LIVE, vec![]),
    ];
    for n in 0..5u8 {
        partitions.push((vec![n].leak(), Deletion::LIVE, vec![row(b"\x10", plain)]));
    }
    partitions.sort_by_key(|(key, _, _)| (token_of(key), *key));
    let mut fragments = Vec::new();
    for (key, deletion, content) in partitions {
        fragments.push(Fragment::PartitionStart {
            token: token_of(key),
            key,
            deletion,
        });
        fragments.extend(content);
        fragments.push(Fragment::PartitionEnd);
    }
    let small = WriterOptions {
        compression: Compression::None,
        block_bytes: 96,
        index_bytes: 400,
        ..options()
    };
    encode(small, fragments)
}
