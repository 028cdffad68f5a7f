//! The laws of mutations: one form whatever the order, decoding without a panic.

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;
use crate::row::testing;
use crate::{ColumnId, RowBuilder};

/// One call of the builder.
#[derive(Clone, Debug)]
enum Call {
    Partition(Deletion),
    Static(Vec<u8>),
    Row(Vec<u8>, Vec<u8>),
    Range(Vec<u8>, Vec<u8>, Deletion),
}

fn key() -> impl Strategy<Value = Vec<u8>> {
    proptest::collection::vec(4..7u8, 0..3)
}

fn position() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![4 => key(), 1 => Just(vec![0xff]), 1 => key().prop_map(|key| [key, vec![0xff]].concat())]
}

fn calls() -> impl Strategy<Value = Vec<Call>> {
    let call = prop_oneof![
        1 => testing::deletion().prop_map(Call::Partition),
        1 => testing::row().prop_map(Call::Static),
        6 => (key(), testing::row()).prop_map(|(key, row)| Call::Row(key, row)),
        3 => (position(), position(), testing::deletion()).prop_map(|(a, b, d)| Call::Range(a, b, d)),
    ];
    proptest::collection::vec(call, 0..8)
}

fn build(calls: &[Call]) -> Mutation {
    let mut builder = MutationBuilder::new(TableId(300), b"some key");
    for call in calls {
        match call {
            Call::Partition(deletion) => builder.delete_partition(*deletion),
            Call::Static(row) => builder.static_row(row),
            Call::Row(key, row) => builder.row(key, row),
            Call::Range(start, end, deletion) => builder.delete_range(start, end, *deletion),
        };
    }
    builder.build()
}

/// Reads everything; whatever the bytes, no panic.
fn walk(mutation: MutationRef<'_>) -> usize {
    let _ = (
        mutation.table(),
        mutation.token(),
        mutation.partition_deletion(),
        mutation.max_timestamp(),
        mutation.min_timestamp(),
    );
    let _ = format!("{mutation:?}");
    let cells = mutation.rows().map(|(_, row)| row.cells().count()).sum::<usize>();
    cells + mutation.ranges().count() + usize::from(mutation.static_row().is_some())
}

fn check_damaged(bytes: &[u8]) {
    walk(MutationRef::trusted(bytes));
    let Ok(mutation) = MutationRef::parse(bytes) else {
        return;
    };
    walk(mutation);
    // What parses is what the builder gives for the same content.
    let mut builder = MutationBuilder::new(mutation.table(), mutation.key());
    builder.delete_partition(mutation.partition_deletion());
    if let Some(row) = mutation.static_row() {
        builder.static_row(row.bytes());
    }
    mutation.rows().for_each(|(key, row)| {
        builder.row(key, row.bytes());
    });
    mutation.ranges().for_each(|(start, end, deletion)| {
        builder.delete_range(start, end, deletion);
    });
    assert_eq!(builder.view().bytes(), bytes);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(if cfg!(debug_assertions) { 3_000 } else { 50_000 }))]

    #[test]
    fn prop_any_order_gives_one_mutation(calls in calls(), seed in any::<u64>()) {
        let mutation = build(&calls);
        let read = MutationRef::parse(mutation.bytes()).unwrap();
        prop_assert_eq!((read.table(), read.key(), read.token()), (TableId(300), &b"some key"[..], token_of(b"some key")));
        // The content, by a map.
        let mut deletion = Deletion::LIVE;
        let mut rows: BTreeMap<Option<Vec<u8>>, Vec<u8>> = BTreeMap::new();
        let mut ranges: BTreeMap<(Vec<u8>, Vec<u8>), Deletion> = BTreeMap::new();
        for call in &calls {
            let (place, row) = match call {
                Call::Partition(by) => {
                    deletion = deletion.max(*by);
                    continue;
                }
                Call::Range(start, end, by) => {
                    if start < end {
                        let entry = ranges.entry((start.clone(), end.clone())).or_default();
                        *entry = entry.max(*by);
                    }
                    continue;
                }
                Call::Static(row) => (None, row),
                Call::Row(key, row) => (Some(key.clone()), row),
            };
            let mut merged = Vec::new();
            let before = rows.get(&place).map_or(RowRef::EMPTY, |row| RowRef::trusted(row));
            crate::merge_rows(before, RowRef::trusted(row), &mut merged);
            rows.insert(place, merged);
        }
        prop_assert_eq!(read.partition_deletion(), deletion);
        prop_assert_eq!(read.static_row().map(|row| row.bytes().to_vec()), rows.remove(&None));
        let read_rows: Vec<_> = read.rows().map(|(key, row)| (Some(key.to_vec()), row.bytes().to_vec())).collect();
        prop_assert_eq!(read_rows, rows.into_iter().collect::<Vec<_>>());
        let read_ranges: Vec<_> = read.ranges().map(|(s, e, d)| ((s.to_vec(), e.to_vec()), d)).collect();
        prop_assert_eq!(read_ranges, ranges.into_iter().collect::<Vec<_>>());
        // Another order, the same bytes.
        let mut other = calls.clone();
        for index in (1..other.len()).rev() {
            other.swap(index, (seed.rotate_left(index as u32 * 7) % (index as u64 + 1)) as usize);
        }
        prop_assert_eq!(build(&other), mutation);
    }

    #[test]
    fn prop_parsed_bytes_are_canonical(calls in calls(), at in any::<prop::sample::Index>(), bits in 1..=255u8) {
        let mut bytes = build(&calls).bytes().to_vec();
        let at = at.index(bytes.len());
        bytes[at] ^= bits;
        check_damaged(&bytes);
        check_damaged(&bytes[..at]);
    }

    #[test]
    fn prop_decode_never_panics(bytes in proptest::collection::vec(any::<u8>(), 0..60)) {
        check_damaged(&bytes);
        check_damaged(&[&[VERSION, 1, 1, 7][..], &bytes].concat());
    }
}

#[test]
fn refuses_what_the_format_forbids() {
    let header = [VERSION, 1, 1, b'k'];
    let with = |entries: &[u8]| [&header[..], entries].concat();
    let row = [TAG_ROW, 1, 4, 1, 0];
    assert!(MutationRef::parse(&with(&row)).is_ok());
    for (bytes, says) in [
        (vec![], "version"),
        (vec![0, 1, 1, b'k'], "version"),
        (vec![VERSION, 1], "header"),
        (vec![VERSION, 1, 0], "empty partition key"),
        (with(&[9]), "entry"),
        (with(&[TAG_ROW, 1, 4, 2, 0]), "entry"),
        (with(&[row, row].concat()), "out of order"),
        (with(&[TAG_ROW, 1, 5, 1, 0, TAG_ROW, 1, 4, 1, 0]), "out of order"),
        (with(&[TAG_ROW, 1, 0xff, 1, 0]), "no key"),
        (with(&[TAG_ROW, 1, 0x00, 1, 0]), "no key"),
        (with(&[TAG_ROW, 1, 4, 0]), "row header"),
        (
            with(&[TAG_RANGE, 1, 5, 1, 4, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]),
            "range bounds",
        ),
        (with(&[TAG_PARTITION, 0, 0, 0, 0, 0, 0, 0, 0x80, 0, 0, 0, 0]), "entry"),
    ] {
        let error = MutationRef::parse(&bytes).expect_err(says).to_string();
        assert!(error.contains(says), "{bytes:?}: {error:?} does not say {says:?}");
    }
    assert_eq!(
        MutationRef::parse(&[2, 1, 1, b'k']),
        Err(ModelError::TooNew {
            what: "mutation",
            found: 2,
            newest_known: 1
        })
    );
}

/// The bytes of `docs/format/mutation.md`'s example.
#[test]
fn known_bytes() {
    let mut row = RowBuilder::new();
    row.liveness(0x0102_0304_0506_0708)
        .cell(ColumnId(2), 0x0102_0304_0506_0708, b"hi");
    let mut builder = MutationBuilder::new(TableId(7), b"k");
    let mutation = builder.row(&[0x04, 0x80, 0x05], row.finish()).build();
    assert_eq!(
        mutation.bytes()[..],
        [
            1, 7, 1, b'k', // version, table, key
            3, 3, 0x04, 0x80, 0x05, 13, // row, clustering key, length
            0x39, 8, 7, 6, 5, 4, 3, 2, 1, // liveness, cells, uniform, plain; base
            0x44, 2, b'h', b'i', // column 2, live, at base
        ]
    );
}

#[test]
fn entries_in_any_order_give_one_mutation() {
    let mut row = RowBuilder::new();
    row.liveness(5).cell(ColumnId(1), 5, b"x");
    let body = row.finish();
    let mut builder = MutationBuilder::new(TableId(3), b"key");
    builder
        .delete_range(&[4], &[5], Deletion::new(9, 1))
        .row(&[5], body)
        .row(&[4], body)
        .static_row(body);
    builder.row(&[5], body).delete_partition(Deletion::new(1, 1));
    let mutation = builder.build();
    let read = MutationRef::parse(mutation.bytes()).unwrap();
    assert_eq!((read.table(), read.key()), (TableId(3), &b"key"[..]));
    assert_eq!(read.partition_deletion(), Deletion::new(1, 1));
    assert_eq!(read.static_row().unwrap().bytes(), body);
    assert_eq!(read.rows().map(|(key, _)| key).collect::<Vec<_>>(), [[4], [5]]);
    assert_eq!(
        read.ranges().collect::<Vec<_>>(),
        [(&[4][..], &[5][..], Deletion::new(9, 1))]
    );
    assert_eq!((read.min_timestamp(), read.max_timestamp()), (1, 9));
}
