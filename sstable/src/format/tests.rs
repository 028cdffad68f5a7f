//! Properties of the codecs.

use model::{Deletion, KeyDigest, KeySeed, Token};
use proptest::collection::vec;
use proptest::prelude::*;

use super::data::{DataBlock, DataBuilder, Run, Walk};
use super::filter::Filter;
use super::footer::{Footer, Place};
use super::frame::{CHUNK_BYTES, Compression, Identity, Kind, Packer, unpack};
use super::index::{First, IndexBlock, IndexBuilder, IndexEntry};
use super::statistics::{EpochShare, EpochShares, Statistics};
use super::tally::Tally;

const IDENTITY: &[u8; 16] = b"0123456789abcdef";

fn pack(first: &[u8], second: &[u8], compression: Compression, offset: u64) -> Vec<u8> {
    let mut packer = Packer::new();
    let (mut first, mut second) = (first.to_vec(), second.to_vec());
    packer.start(Kind::Data, &mut first, &mut second);
    loop {
        if let Some(frame) = packer.step(compression, Identity::new(IDENTITY, 3), offset) {
            return frame.to_vec();
        }
    }
}

/// Sections around the borders of chunks and of steps.
#[test]
fn sections_of_any_length_come_back() {
    let lens = [
        0,
        1,
        100,
        CHUNK_BYTES - 1,
        CHUNK_BYTES,
        CHUNK_BYTES + 1,
        3 * CHUNK_BYTES,
        700_001,
    ];
    for compression in [Compression::None, Compression::Lz4] {
        for random in [false, true] {
            for first in lens {
                for second in lens {
                    let mut state = 1u32;
                    let mut bytes = |len: usize| -> Vec<u8> {
                        let mut next = || {
                            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                            if random { (state >> 24) as u8 } else { 7 }
                        };
                        (0..len).map(|_| next()).collect()
                    };
                    let (a, b) = (bytes(first), bytes(second));
                    let frame = pack(&a, &b, compression, 99);
                    if compression == Compression::Lz4 && !random && first + second > 1000 {
                        assert!(frame.len() < (first + second) / 4);
                    }
                    let back = unpack(&frame, Kind::Data, Identity::new(IDENTITY, 3), 99);
                    assert!(back == Ok((a, b)), "{first} and {second} bytes");
                    let elsewhere = unpack(&frame, Kind::Data, Identity::new(IDENTITY, 3), 98);
                    assert_eq!(elsewhere, Err("a frame's checksum is wrong"));
                    let other_file = unpack(&frame, Kind::Data, Identity::new(IDENTITY, 4), 99);
                    assert_eq!(other_file, Err("a frame's checksum is wrong"));
                    assert!(unpack(&frame, Kind::Index, Identity::new(IDENTITY, 3), 99).is_err());
                }
            }
        }
    }
}

/// Everything that a reader does with a block.
fn exercise(block: &DataBlock, probe: &[u8]) {
    let mut run = Run::default();
    for restart in 0..block.restarts() + 1 {
        run.load(block, restart);
        for i in 0..run.items.len() {
            run.position(i);
        }
        block.force_before(0, restart, Deletion::LIVE);
        block.static_row(restart);
    }
    for inclusive in [false, true] {
        block.seek(0..block.restarts(), probe, inclusive);
        block.seek(block.continued(), probe, inclusive);
    }
    block.find(Token(0), probe);
    block.partition_after(Token(0), probe);
}

fn any_deletion() -> impl Strategy<Value = Deletion> {
    prop_oneof![
        Just(Deletion::LIVE),
        (i64::MIN + 1..=i64::MAX, any::<u32>()).prop_map(|(t, l)| Deletion::new(t, l))
    ]
}

prop_compose! {
    fn any_entry()(
        token in any::<i64>(),
        key in vec(any::<u8>(), 0..20),
        position in proptest::option::of(vec(any::<u8>(), 0..20)),
        offset in any::<u64>(),
        len in any::<u32>(),
        numbers in vec(any::<u64>(), 7),
        several in any::<bool>(),
        flags in any::<[bool; 3]>(),
        times in (i64::MIN + 1..=i64::MAX, i64::MIN + 1..=i64::MAX),
        deletion in proptest::option::of((any::<i64>(), any::<u32>())),
        open in any_deletion(),
        partition_deletion in any_deletion(),
        digests in any::<[[u8; 16]; 2]>(),
    ) -> (Token, Vec<u8>, Option<Vec<u8>>, IndexEntry<'static>) {
        let mut entry = IndexEntry {
            first: First { token: Token(token), key: &[], position: None },
            place: Place { offset, len },
            raw_len: numbers[0],
            partitions: numbers[1],
            rows: numbers[2],
            dead_rows: if flags[1] { numbers[3] % (numbers[2] / 2 + 1) } else { numbers[2] * u64::from(flags[0]) },
            tombstones: numbers[4],
            range_changes: flags[0],
            static_row: flags[1] && position.is_none(),
            several: several.then_some((numbers[5], numbers[6])),
            timestamps: flags[2].then_some((times.0.min(times.1), times.0.max(times.1))),
            deletion,
            open,
            partition_deletion,
            alive_digest: KeyDigest::EMPTY,
            dead_digest: KeyDigest::EMPTY,
        };
        if entry.has_digests() && entry.alive_rows() > 0 {
            entry.alive_digest = KeyDigest::from_bytes(digests[0]);
        }
        if entry.has_digests() && entry.dead_rows > 0 {
            entry.dead_digest = KeyDigest::from_bytes(digests[1]);
        }
        (Token(token), key, position, entry)
    }
}

proptest! {
    #[test]
    fn prop_index_entries_come_back(mut entries in vec(any_entry(), 0..20)) {
        let order = |e: &(Token, Vec<u8>, Option<Vec<u8>>, IndexEntry<'static>)| (e.0, e.1.clone(), e.2.clone());
        entries.sort_by_key(order);
        entries.dedup_by_key(|e| order(e));
        let full: Vec<IndexEntry<'_>> = entries
            .iter()
            .map(|(token, key, position, entry)| {
                IndexEntry { first: First { token: *token, key, position: position.as_deref() }, ..*entry }
            })
            .collect();
        let mut builder = IndexBuilder::default();
        full.iter().for_each(|entry| builder.push(entry));
        builder.finish();
        let block = IndexBlock::parse(builder.bytes).map_err(TestCaseError::fail)?;
        prop_assert_eq!(block.len(), full.len());
        for (i, entry) in full.iter().enumerate() {
            prop_assert_eq!(block.get(i), Some(*entry));
            prop_assert_eq!(block.first(i), Some(entry.first));
            prop_assert_eq!(block.last_at(entry.first), Some(i));
            prop_assert_eq!(block.last_before(entry.first), i.checked_sub(1));
        }
        prop_assert_eq!(block.get(full.len()), None);
    }

    #[test]
    fn prop_epoch_shares_come_back(
        epoch_hours in 1..=u32::MAX,
        shares in proptest::collection::btree_map(any::<i64>(), any::<(u64, u64)>(), 0..50),
        changed in any::<prop::sample::Index>(),
        value in any::<u8>(),
    ) {
        let share = |(epoch, (bytes, shadowed_bytes))| EpochShare { epoch, bytes, shadowed_bytes };
        let shares = shares.into_iter().map(share).collect();
        let s = Statistics { epochs: Some(EpochShares { epoch_hours, shares }), ..Statistics::default() };
        let mut bytes = s.encode();
        prop_assert_eq!(Statistics::decode(&bytes, false), Ok(s));
        let at = changed.index(bytes.len());
        bytes[at] = value;
        if let Ok(Statistics { epochs: Some(epochs), .. }) = Statistics::decode(&bytes, false) {
            prop_assert!(epochs.is_sound());
        }
    }

    #[test]
    fn prop_decoders_never_panic(bytes in vec(any::<u8>(), 0..300), probe in vec(any::<u8>(), 0..5)) {
        for kind in [Kind::Data, Kind::Index, Kind::Top, Kind::Filter, Kind::Statistics] {
            let _ = unpack(&bytes, kind, Identity::new(IDENTITY, 1), 0);
        }
        let _ = Footer::decode(&bytes, bytes.len() as u64);
        let _ = Statistics::decode(&bytes, false);
        let _ = Filter::parse(bytes.clone()).map(|f| f.may_contain(7));
        let _ = IndexBlock::parse(bytes.clone());
        if let Ok(block) = DataBlock::parse(bytes, Vec::new()) {
            exercise(&block, &probe);
        }
    }

    /// A sound block with some bytes changed, so that more than the first check is met.
    #[test]
    fn prop_changed_blocks_never_panic(
        rows in vec((vec(1u8..4, 1..4), vec(any::<u8>(), 0..6)), 1..60),
        changes in vec((any::<prop::sample::Index>(), any::<u8>()), 0..4),
        probe in vec(1u8..4, 0..4),
    ) {
        let mut builder = DataBuilder::new();
        let mut rows = rows;
        rows.sort();
        rows.dedup_by(|a, b| a.0 == b.0);
        builder.partition_start(Token(0), &probe, Deletion::LIVE);
        builder.static_row(b"static");
        let mut last: &[u8] = &[];
        for (n, (position, body)) in rows.iter().enumerate() {
            let shared = last.iter().zip(position).take_while(|(a, b)| a == b).count();
            if n == 3 {
                builder.range_change(position, shared, Deletion::LIVE, Deletion::new(1, 1));
                builder.row(position, position.len(), false, body);
            } else {
                builder.row(position, shared, n % 5 == 0, body);
            }
            last = position;
        }
        if rows.len() > 3 {
            builder.range_change(&[0xFF], 0, Deletion::new(1, 1), Deletion::LIVE);
        }
        builder.partition_end();
        builder.finish();
        let (mut keys, values) = (builder.keys, builder.values);
        let sound = DataBlock::parse(keys.clone(), values.clone()).map_err(TestCaseError::fail)?;
        exercise(&sound, &probe);
        let mut walk = Walk::new();
        let mut found = 0;
        while walk.next(&sound).map_err(TestCaseError::fail)?.is_some() {
            found += 1;
        }
        prop_assert_eq!(found, rows.len() + 3 + if rows.len() > 3 { 2 } else { 0 });
        for (at, value) in changes {
            let at = at.index(keys.len());
            keys[at] = value;
        }
        if let Ok(block) = DataBlock::parse(keys, values) {
            exercise(&block, &probe);
        }
    }
}

/// What no writer gives is refused by its own reader, so that a compaction can't be handed it.
#[test]
fn what_is_beyond_the_limits_is_refused() {
    use crate::encoder::{KEY_BYTES_MAX, ROW_BYTES_MAX};
    let parse = |key: &[u8], position: &[u8], body: &[u8]| {
        let mut builder = DataBuilder::new();
        builder.partition_start(Token(0), key, Deletion::LIVE);
        builder.row(position, 0, false, body);
        builder.partition_end();
        builder.finish();
        DataBlock::parse(builder.keys, builder.values).map(|_| ()).err()
    };
    let key = vec![0; KEY_BYTES_MAX + 1];
    let body = vec![0; ROW_BYTES_MAX + 1];
    for (key, position, body, what) in [
        (&key[1..], &key[1..], &body[1..], None),
        (&[], &[0xFF], &[], None),
        (&[], &[0xFF, 0], &[], Some("a position lies beyond its partition's end")),
        (&key, &[1], &[], Some("a partition key is too long")),
        (&[], &key, &[], Some("a position is too long")),
        (&[], &[1], &body, Some("a row is too long")),
    ] {
        assert_eq!(parse(key, position, body), what);
    }
}

/// A group's tally is the same however its rows are cut into blocks.
#[test]
fn tallies_of_blocks_add_up() {
    use model::{ColumnId, RowBuilder};
    let mut builder = RowBuilder::new();
    let row = builder.liveness(5).cell(ColumnId(1), 9, b"x").finish().to_vec();
    let row = model::RowRef::trusted(&row);
    let seed = KeySeed::of_host(IDENTITY);
    // Partitions of 3, 1, 4, 0 and 2 rows, in blocks of `size` rows.
    for size in 1..12 {
        let mut drops = Default::default();
        let mut group = Tally::new(false);
        let (mut block, mut continues, mut in_block) = (Tally::new(false), false, 0);
        for rows in [3u64, 1, 4, 0, 2] {
            block.partition_start(Deletion::LIVE, &mut drops);
            for n in 0..rows {
                if in_block == size {
                    group.absorb(&block, continues);
                    (block, continues, in_block) = (Tally::new(true), true, 0);
                }
                block.row(&[rows as u8, n as u8], row, seed, &mut drops);
                in_block += 1;
            }
        }
        group.absorb(&block, continues);
        let mut keys = KeyDigest::EMPTY;
        for rows in [3u8, 1, 4, 0, 2] {
            (0..rows).for_each(|n| keys.add(seed.digest(&[rows, n])));
        }
        assert_eq!((group.alive_digest, group.dead_digest), (keys, KeyDigest::EMPTY));
        assert_eq!(
            (group.partitions, group.parts, group.rows),
            (5, 5, 10),
            "{size} rows a block"
        );
        assert_eq!((group.rows_first, group.rows_last), (3, 2), "{size} rows a block");
        assert_eq!((group.min_timestamp, group.max_timestamp, group.cells), (5, 9, 10));
    }
}
