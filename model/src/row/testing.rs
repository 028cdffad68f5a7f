//! Random rows, for the property tests of this crate.

use proptest::prelude::*;

use super::{CellKind, CellRef, Liveness, RowBuilder};
use crate::{ColumnId, Deletion};

/// One thing that a statement writes into a row. Numbers are few, so that ties are frequent.
#[derive(Clone, Debug)]
pub(crate) enum Write {
    Liveness(Liveness),
    Deletion(Deletion),
    Cell {
        column: u32,
        path: Option<Vec<u8>>,
        timestamp: i64,
        kind: Kind,
        value: Vec<u8>,
    },
}

/// The kind of a written cell.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Kind {
    Live,
    Expiring(u32, u32),
    Tombstone(u32),
    Complex(u32),
}

/// Timestamps: few and close, or the extremes.
pub(crate) fn timestamp() -> impl Strategy<Value = i64> {
    prop_oneof![8 => 0..6i64, 1 => Just(i64::MIN + 1), 1 => Just(i64::MAX), 1 => Just(1_700_000_000_000_000)]
}

pub(crate) fn deletion() -> impl Strategy<Value = Deletion> {
    (timestamp(), 0..3u32).prop_map(|(timestamp, local)| Deletion::new(timestamp, local))
}

fn ttl() -> impl Strategy<Value = u32> {
    prop_oneof![4 => 1..4u32, 1 => Just(Liveness::EXPIRED_TTL), 1 => Just(u32::MAX)]
}

fn expiry() -> impl Strategy<Value = u32> {
    prop_oneof![4 => 5..8u32, 1 => Just(u32::MAX)]
}

fn write() -> impl Strategy<Value = Write> {
    let liveness = (timestamp(), prop_oneof![Just(0), ttl()], expiry())
        .prop_map(|(timestamp, ttl, at)| Write::Liveness(Liveness::expiring(timestamp, ttl, at)));
    let kind = prop_oneof![
        3 => Just(Kind::Live),
        2 => (ttl(), expiry()).prop_map(|(ttl, at)| Kind::Expiring(ttl, at)),
        2 => (0..3u32).prop_map(Kind::Tombstone),
    ];
    let column = prop_oneof![4 => 0..4u32, 1 => Just(20), 1 => Just(u32::MAX)];
    let path = proptest::option::of(proptest::collection::vec(0..3u8, 0..3));
    let value = prop_oneof![Just(Vec::new()), Just(vec![0]), Just(vec![0xff]), Just(vec![7; 200])];
    let cell =
        (column, path, timestamp(), kind, value).prop_map(|(column, path, timestamp, kind, value)| Write::Cell {
            column,
            path,
            timestamp,
            kind,
            value,
        });
    let complex = (0..4u32, timestamp(), 0..3u32).prop_map(|(column, timestamp, local)| Write::Cell {
        column,
        path: None,
        timestamp,
        kind: Kind::Complex(local),
        value: Vec::new(),
    });
    prop_oneof![2 => liveness, 1 => deletion().prop_map(Write::Deletion), 8 => cell, 2 => complex]
}

/// What statements write into one row.
pub(crate) fn writes() -> impl Strategy<Value = Vec<Write>> {
    proptest::collection::vec(write(), 0..10)
}

pub(crate) fn apply(builder: &mut RowBuilder, write: &Write) {
    match write {
        Write::Liveness(l) => {
            builder.liveness_ttl(l.timestamp, l.ttl, l.expires_at);
        }
        Write::Deletion(deletion) => {
            builder.deletion(*deletion);
        }
        Write::Cell {
            column,
            path,
            timestamp,
            kind,
            value,
        } => {
            let kind = match *kind {
                Kind::Live => CellKind::Live(value),
                Kind::Expiring(ttl, expires_at) => CellKind::Expiring { value, ttl, expires_at },
                Kind::Tombstone(local_deletion_time) => CellKind::Tombstone { local_deletion_time },
                Kind::Complex(local) => CellKind::ComplexDeletion(Deletion::new(*timestamp, local)),
            };
            let path = path.as_deref();
            builder.push_cell(&CellRef {
                column: ColumnId(*column),
                path,
                timestamp: *timestamp,
                kind,
            });
        }
    }
}

/// The row that the writes give.
pub(crate) fn build(writes: &[Write]) -> Vec<u8> {
    let mut builder = RowBuilder::new();
    for write in writes {
        apply(&mut builder, write);
    }
    builder.finish().to_vec()
}

/// A row's bytes.
pub(crate) fn row() -> impl Strategy<Value = Vec<u8>> {
    writes().prop_map(|writes| build(&writes))
}

/// A row as an `INSERT` gives it: simple live cells of one timestamp.
pub(crate) fn plain_row() -> impl Strategy<Value = Vec<u8>> {
    let columns = proptest::collection::btree_map(0..9u32, proptest::collection::vec(any::<u8>(), 0..3), 0..5);
    (columns, any::<bool>(), proptest::option::of(Just(Deletion::new(3, 1)))).prop_map(|(cells, insert, deletion)| {
        let mut builder = RowBuilder::new();
        if insert {
            builder.liveness(5);
        }
        builder.deletion(deletion.unwrap_or_default());
        for (column, value) in cells {
            builder.cell(ColumnId(column), 5, &value);
        }
        builder.finish().to_vec()
    })
}
