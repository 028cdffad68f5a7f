//! The laws of rows: one form for equal rows, decoding without a panic, and the merge rule.

use proptest::prelude::*;

use super::testing::{self, Kind, Write};
use super::*;

fn merged(a: &[u8], b: &[u8]) -> Vec<u8> {
    let mut out = vec![1, 2, 3];
    merge_rows(RowRef::parse(a).unwrap(), RowRef::parse(b).unwrap(), &mut out);
    RowRef::parse(&out).expect("a merged row is canonical");
    out
}

fn shadowed(row: &[u8], by: Deletion) -> Vec<u8> {
    let mut out = vec![1, 2, 3];
    match shadow_row(RowRef::parse(row).unwrap(), by, &mut out) {
        Shadowed::Unchanged => {
            assert!(out.is_empty(), "an unchanged row is not written");
            row.to_vec()
        }
        Shadowed::Changed => {
            RowRef::parse(&out).expect("what is left is canonical");
            assert_ne!(out, row, "a changed row differs");
            out
        }
        Shadowed::Gone => RowRef::EMPTY.bytes().to_vec(),
    }
}

/// A row as its parts: a second, slow implementation of the rule, straight from `docs/semantics/conflicts.md`.
mod slow {
    use std::collections::BTreeMap;

    use super::*;

    type Place = (u32, Option<Vec<u8>>);
    /// Timestamp; 0 plain, 1 expiring, 2 tombstone; local time or expiry; the smaller TTL first; value.
    type Cell = (i64, u8, u32, u32, Vec<u8>);

    #[derive(Clone, Default, PartialEq, Debug)]
    pub(super) struct Row {
        /// Timestamp; 0 plain, 1 expiring, 2 marked expired; expiry; the smaller TTL first.
        liveness: Option<(i64, u8, u32, u32)>,
        deletion: Option<(i64, u32)>,
        complex: BTreeMap<u32, (i64, u32)>,
        cells: BTreeMap<Place, Cell>,
    }

    impl Row {
        pub(super) fn write(&mut self, write: &Write) {
            match write {
                Write::Liveness(l) => {
                    let class = if l.ttl == 0 {
                        0
                    } else if l.ttl == Liveness::EXPIRED_TTL {
                        2
                    } else {
                        1
                    };
                    self.liveness = self
                        .liveness
                        .max(Some((l.timestamp, class, l.expires_at, u32::MAX - l.ttl)));
                }
                Write::Deletion(d) => self.deletion = self.deletion.max(Some((d.timestamp, d.local_deletion_time))),
                Write::Cell {
                    column,
                    path,
                    timestamp,
                    kind,
                    value,
                } => {
                    let cell = match *kind {
                        Kind::Live => (*timestamp, 0, 0, 0, value.clone()),
                        Kind::Expiring(ttl, at) => (*timestamp, 1, at, u32::MAX - ttl, value.clone()),
                        Kind::Tombstone(local) => (*timestamp, 2, local, 0, Vec::new()),
                        Kind::Complex(local) => {
                            let entry = self.complex.entry(*column).or_insert((i64::MIN, 0));
                            *entry = (*entry).max((*timestamp, local));
                            return;
                        }
                    };
                    let entry = self
                        .cells
                        .entry((*column, path.clone()))
                        .or_insert_with(|| cell.clone());
                    *entry = entry.clone().max(cell);
                }
            }
        }

        pub(super) fn shadow(&mut self, timestamp: i64) {
            self.liveness = self.liveness.filter(|l| l.0 > timestamp);
            self.deletion = self.deletion.filter(|d| d.0 > timestamp);
            self.complex.retain(|_, d| d.0 > timestamp);
            self.cells.retain(|_, cell| cell.0 > timestamp);
        }

        pub(super) fn read(row: RowRef<'_>) -> Row {
            let mut slow = Row::default();
            if let Some(l) = row.liveness() {
                slow.write(&Write::Liveness(l));
            }
            if !row.deletion().is_live() {
                slow.write(&Write::Deletion(row.deletion()));
            }
            for cell in row.cells() {
                let (kind, value) = match cell.kind {
                    CellKind::Live(value) => (Kind::Live, value),
                    CellKind::Expiring { value, ttl, expires_at } => (Kind::Expiring(ttl, expires_at), value),
                    CellKind::Tombstone { local_deletion_time } => (Kind::Tombstone(local_deletion_time), &[][..]),
                    CellKind::ComplexDeletion(deletion) => (Kind::Complex(deletion.local_deletion_time), &[][..]),
                };
                let (path, value) = (cell.path.map(<[u8]>::to_vec), value.to_vec());
                slow.write(&Write::Cell {
                    column: cell.column.0,
                    path,
                    timestamp: cell.timestamp,
                    kind,
                    value,
                });
            }
            slow
        }

        /// Everything goes that a deletion in the row covers.
        pub(super) fn settle(mut self) -> Row {
            if let Some((timestamp, local)) = self.deletion.take() {
                self.shadow(timestamp);
                self.deletion = Some((timestamp, local));
            }
            for (column, (timestamp, _)) in &self.complex {
                self.cells
                    .retain(|place, cell| place.0 != *column || cell.0 > *timestamp);
            }
            self
        }
    }
}

fn slow(writes: &[Write]) -> slow::Row {
    let mut row = slow::Row::default();
    writes.iter().for_each(|write| row.write(write));
    row.settle()
}

fn cases() -> ProptestConfig {
    ProptestConfig::with_cases(if cfg!(debug_assertions) { 3_000 } else { 50_000 })
}

proptest! {
    #![proptest_config(cases())]

    #[test]
    fn prop_merge_is_the_written_rule(a in testing::writes(), b in testing::writes()) {
        let expected = slow(&[a.clone(), b.clone()].concat());
        let out = merged(&testing::build(&a), &testing::build(&b));
        prop_assert_eq!(slow::Row::read(RowRef::trusted(&out)), expected);
        prop_assert_eq!(out, testing::build(&[a, b].concat()), "merging is as good as writing into one row");
    }

    #[test]
    fn prop_merge_is_commutative(a in testing::row(), b in testing::row()) {
        prop_assert_eq!(merged(&a, &b), merged(&b, &a));
    }

    #[test]
    fn prop_merge_is_associative(a in testing::row(), b in testing::row(), c in testing::row()) {
        prop_assert_eq!(merged(&merged(&a, &b), &c), merged(&a, &merged(&b, &c)));
    }

    #[test]
    fn prop_merge_is_idempotent(a in testing::row(), b in testing::row()) {
        let ab = merged(&a, &b);
        prop_assert_eq!(merged(&ab, &a), ab.clone());
        prop_assert_eq!(merged(&ab, &ab), ab);
        prop_assert_eq!(merged(&a, RowRef::EMPTY.bytes()), a);
    }

    #[test]
    fn prop_shadow_distributes_over_merge(a in testing::row(), b in testing::row(), by in testing::deletion()) {
        prop_assert_eq!(shadowed(&merged(&a, &b), by), merged(&shadowed(&a, by), &shadowed(&b, by)));
    }

    #[test]
    fn prop_shadow_leaves_nothing_covered(writes in testing::writes(), by in testing::deletion()) {
        let left = shadowed(&testing::build(&writes), by);
        let mut expected = slow(&writes);
        expected.shadow(by.timestamp);
        prop_assert_eq!(slow::Row::read(RowRef::trusted(&left)), expected);
    }

    #[test]
    fn prop_one_form_for_equal_rows(writes in testing::writes(), seed in any::<u64>()) {
        let row = testing::build(&writes);
        let mut other = writes;
        for index in (1..other.len()).rev() {
            other.swap(index, (seed.rotate_left(index as u32 * 7) % (index as u64 + 1)) as usize);
        }
        prop_assert_eq!(&testing::build(&other), &row);
        // Read and built again, it is the same.
        let read = RowRef::parse(&row).unwrap();
        let mut builder = RowBuilder::new();
        if let Some(l) = read.liveness() {
            builder.liveness_ttl(l.timestamp, l.ttl, l.expires_at);
        }
        builder.deletion(read.deletion());
        read.cells().for_each(|cell| {
            builder.push_cell(&cell);
        });
        prop_assert_eq!(builder.finish(), row);
    }

    #[test]
    fn prop_parsed_bytes_are_canonical(mut row in prop_oneof![testing::row(), testing::plain_row()], at in any::<prop::sample::Index>(), bits in 1..=255u8) {
        let at = at.index(row.len());
        row[at] ^= bits;
        check_damaged(&row);
        row.truncate(at);
        check_damaged(&row);
    }

    #[test]
    fn prop_decode_never_panics(bytes in proptest::collection::vec(any::<u8>(), 0..40)) {
        check_damaged(&bytes);
    }

    #[test]
    fn prop_summaries_are_the_cells(writes in testing::writes()) {
        let row = testing::build(&writes);
        let row = RowRef::parse(&row).unwrap();
        let mut times: Vec<i64> = row.cells().map(|c| c.timestamp).collect();
        let mut ends: Vec<u32> = row.cells().map(|c| match c.kind {
            CellKind::Live(_) => u32::MAX,
            CellKind::Expiring { expires_at, .. } => expires_at,
            CellKind::Tombstone { local_deletion_time } => local_deletion_time,
            CellKind::ComplexDeletion(deletion) => deletion.local_deletion_time,
        }).collect();
        let data = row.liveness().is_some() || row.cells().any(|c| c.value().is_some());
        times.extend(row.liveness().map(|l| l.timestamp));
        ends.extend(row.liveness().map(|l| l.expires_at));
        if !row.deletion().is_live() {
            times.push(row.deletion().timestamp);
            ends.push(row.deletion().local_deletion_time);
        }
        prop_assert_eq!(row.min_timestamp(), times.iter().copied().min().unwrap_or(i64::MAX));
        prop_assert_eq!(row.max_timestamp(), times.iter().copied().max().unwrap_or(i64::MIN));
        prop_assert_eq!(row.min_local_deletion(), ends.iter().copied().min().unwrap_or(u32::MAX));
        prop_assert_eq!(row.max_local_deletion(), ends.iter().copied().max().unwrap_or(0));
        prop_assert_eq!(row.is_tombstone_only(), !data && !row.is_empty());
    }

    #[test]
    fn prop_live_row_is_what_a_reader_sees(
        writes in testing::writes(), now in 0..10u32, purge_before_s in 0..10u32, choice in 0..3
    ) {
        let row = testing::build(&writes);
        let row = RowRef::parse(&row).unwrap();
        let named = [ColumnId(1), ColumnId(3)];
        let is_named = |column| named.contains(&column);
        let (columns, dropped) = match choice {
            0 => (Columns::All, &[][..]),
            1 => (Columns::Of(&named), &[][..]),
            _ => (Columns::Except(&named), &named[..]),
        };
        let mut out = vec![9];
        let found = live_row(row, ReadTime { now_s: now, purge_before_s }, columns, &mut out);
        let asked = |column| match columns {
            Columns::All => true,
            Columns::Of(_) => is_named(column) || column.is_key_form(),
            Columns::Except(_) => !is_named(column),
        };
        let live: Vec<_> = row.cells().filter(|c| c.is_live(now) && asked(c.column)).collect();
        let exists = row.liveness().is_some_and(|l| l.is_live(now))
            || row.cells().any(|c| c.is_live(now) && !dropped.contains(&c.column) && !c.column.is_key_form());
        prop_assert_eq!(found.live == Live::Dead, !exists);
        let since = |c: crate::CellRef<'_>| match c.kind {
            CellKind::Live(_) => unreachable!(),
            CellKind::Expiring { ttl, expires_at, .. } => expires_at.saturating_sub(ttl),
            CellKind::Tombstone { local_deletion_time } => local_deletion_time,
            CellKind::ComplexDeletion(deletion) => deletion.local_deletion_time,
        };
        let dead: Vec<_> = row.cells().filter(|c| !c.is_live(now)).map(since).collect();
        let of_row = [
            row.liveness().map(|l| l.expires_at.saturating_sub(l.ttl)),
            Some(row.deletion()).filter(|d| !d.is_live()).map(|d| d.local_deletion_time),
        ];
        let counted = dead.iter().filter(|since| **since >= purge_before_s).count();
        let whole = found.live == Live::Dead && dead.is_empty() && of_row.iter().flatten().any(|t| *t >= purge_before_s);
        prop_assert_eq!(found.tombstones as usize, counted + usize::from(whole));
        let seen = match found.live {
            Live::Dead => return Ok(()),
            Live::Whole => row,
            Live::Part => RowRef::parse(&out).unwrap(),
        };
        prop_assert_eq!(seen.cells().collect::<Vec<_>>(), live);
        prop_assert_eq!(seen.liveness(), row.liveness().filter(|l| l.is_live(now)));
        prop_assert_eq!(seen.deletion(), Deletion::LIVE);
        prop_assert!(found.live == Live::Whole || seen != row, "a whole row is not written again");
    }
}

/// Whatever the bytes: no panic; and what parses is canonical.
fn check_damaged(bytes: &[u8]) {
    let row = RowRef::trusted(bytes);
    let mut out = Vec::new();
    let _ = (
        row.liveness(),
        row.deletion(),
        row.is_live(3),
        row.is_tombstone_only(),
        row.is_empty(),
    );
    let _ = (
        row.min_timestamp(),
        row.max_timestamp(),
        row.min_local_deletion(),
        row.max_local_deletion(),
    );
    let _ = (row.cells().count(), row.cell(ColumnId(1)), format!("{row:?}"));
    for by in [Deletion::LIVE, Deletion::new(2, 2), Deletion::new(i64::MAX, 2)] {
        shadow_row(row, by, &mut out);
    }
    let other = RowBuilder::new()
        .liveness(3)
        .cell(ColumnId(2), 3, b"x")
        .deletion(Deletion::new(1, 1))
        .finish()
        .to_vec();
    merge_rows(row, RowRef::trusted(&other), &mut out);
    merge_rows(RowRef::trusted(&other), row, &mut out);
    live_row(row, ReadTime::at(3), Columns::Of(&[ColumnId(1)]), &mut out);
    if let Ok(row) = RowRef::parse(bytes) {
        let mut builder = RowBuilder::new();
        if let Some(l) = row.liveness() {
            builder.liveness_ttl(l.timestamp, l.ttl, l.expires_at);
        }
        builder.deletion(row.deletion());
        row.cells().for_each(|cell| {
            builder.push_cell(&cell);
        });
        assert_eq!(builder.finish(), bytes, "what parses has the one form of its row");
        shadow_row(row, Deletion::new(2, 2), &mut out);
        merge_rows(row, RowRef::EMPTY, &mut out);
        assert_eq!(out, bytes);
        live_row(row, ReadTime::at(3), Columns::All, &mut out);
    }
}

/// Ties, as `docs/semantics/conflicts.md` lists them: the first of each pair wins.
#[test]
fn ties() {
    let build = |f: &dyn Fn(&mut RowBuilder) -> &mut RowBuilder| {
        let mut builder = RowBuilder::new();
        f(&mut builder);
        builder.finish().to_vec()
    };
    let column = ColumnId(1);
    let cases: Vec<(&str, Vec<u8>, Vec<u8>)> = vec![
        (
            "the higher timestamp, whatever the kinds",
            build(&|b| b.cell(column, 2, b"a")),
            build(&|b| b.tombstone(column, 1, 9)),
        ),
        (
            "expiring over plain",
            build(&|b| b.cell_ttl(column, 1, b"a", 1, 1)),
            build(&|b| b.cell(column, 1, b"b")),
        ),
        (
            "tombstone over expiring",
            build(&|b| b.tombstone(column, 1, 0)),
            build(&|b| b.cell_ttl(column, 1, b"b", 9, 9)),
        ),
        (
            "the later tombstone",
            build(&|b| b.tombstone(column, 1, 2)),
            build(&|b| b.tombstone(column, 1, 1)),
        ),
        (
            "the later expiry, even with the smaller value",
            build(&|b| b.cell_ttl(column, 1, b"a", 1, 2)),
            build(&|b| b.cell_ttl(column, 1, b"b", 1, 1)),
        ),
        (
            "the smaller TTL of equal expiries, even with the smaller value",
            build(&|b| b.cell_ttl(column, 1, b"a", 1, 5)),
            build(&|b| b.cell_ttl(column, 1, b"b", 2, 5)),
        ),
        (
            "the larger value, unsigned",
            build(&|b| b.cell(column, 1, b"\x80")),
            build(&|b| b.cell(column, 1, b"\x7f\xff")),
        ),
        (
            "the longer value of equal beginnings",
            build(&|b| b.cell(column, 1, b"ab")),
            build(&|b| b.cell(column, 1, b"a")),
        ),
        (
            "a deletion over data of its timestamp",
            build(&|b| b.deletion(Deletion::new(1, 0))),
            build(&|b| b.liveness(1).cell(column, 1, b"a")),
        ),
        (
            "a collection's deletion over its elements",
            build(&|b| b.complex_deletion(column, Deletion::new(1, 0))),
            build(&|b| b.element(column, b"e", 1, b"a")),
        ),
        (
            "the later of two deletions",
            build(&|b| b.deletion(Deletion::new(1, 2))),
            build(&|b| b.deletion(Deletion::new(1, 1))),
        ),
        (
            "expiring liveness over plain",
            build(&|b| b.liveness_ttl(1, 5, 5)),
            build(&|b| b.liveness(1)),
        ),
        (
            "the later liveness",
            build(&|b| b.liveness_ttl(1, 5, 6)),
            build(&|b| b.liveness_ttl(1, 5, 5)),
        ),
        (
            "a liveness marked expired",
            build(&|b| b.liveness_ttl(1, Liveness::EXPIRED_TTL, 1)),
            build(&|b| b.liveness_ttl(1, 5, 5)),
        ),
        (
            "the smaller TTL of livenesses",
            build(&|b| b.liveness_ttl(1, 4, 5)),
            build(&|b| b.liveness_ttl(1, 5, 5)),
        ),
    ];
    for (rule, winner, loser) in cases {
        assert_eq!(merged(&winner, &loser), winner, "{rule}");
        assert_eq!(merged(&loser, &winner), winner, "{rule}");
    }
}

/// CQL: what `INSERT` wrote stays a row when its columns are deleted; what `UPDATE` wrote vanishes.
#[test]
fn rows_live_by_liveness_or_cells() {
    let mut builder = RowBuilder::new();
    let inserted = builder.liveness(1).tombstone(ColumnId(1), 2, 0).finish().to_vec();
    let updated = builder.clear().tombstone(ColumnId(1), 2, 0).finish().to_vec();
    assert!(RowRef::parse(&inserted).unwrap().is_live(0));
    assert!(!RowRef::parse(&updated).unwrap().is_live(0));
    assert!(RowRef::parse(&updated).unwrap().is_tombstone_only());
    let mut out = Vec::new();
    let found = live_row(RowRef::trusted(&inserted), ReadTime::at(0), Columns::All, &mut out);
    assert_eq!(
        found,
        LiveRow {
            live: Live::Part,
            tombstones: 1
        }
    );
    let expiring = builder
        .clear()
        .cell_ttl(ColumnId(1), 1, b"a", 10, 100)
        .finish()
        .to_vec();
    assert!(RowRef::trusted(&expiring).is_live(99) && !RowRef::trusted(&expiring).is_live(100));
    assert!(!RowRef::EMPTY.is_live(0) && !RowRef::EMPTY.is_tombstone_only() && RowRef::EMPTY.is_empty());
}

#[test]
fn chat_row_is_compact_and_reads_back() {
    let mut builder = RowBuilder::new();
    builder.liveness(1_700_000_000_000_000);
    for column in 2..8 {
        builder.cell(ColumnId(column), 1_700_000_000_000_000, &[7; 8]);
    }
    let row = RowRef::parse(builder.finish()).unwrap();
    assert_eq!(row.bytes().len(), 9 + 6 * (1 + 1 + 8));
    assert_eq!(row.liveness(), Some(Liveness::new(1_700_000_000_000_000)));
    assert_eq!(row.cells().count(), 6);
    assert_eq!(row.cell(ColumnId(7)).and_then(|c| c.value()), Some(&[7; 8][..]));
    assert_eq!(row.cell(ColumnId(8)), None);
    assert_eq!(
        (row.min_timestamp(), row.max_timestamp()),
        (1_700_000_000_000_000, 1_700_000_000_000_000)
    );
}

#[test]
fn builder_leaves_out_what_the_row_shadows() {
    let mut builder = RowBuilder::new();
    builder
        .cell(ColumnId(1), 10, b"old")
        .cell(ColumnId(1), 12, b"new")
        .liveness(10)
        .deletion(Deletion::new(10, 1));
    builder
        .element(ColumnId(3), b"a", 14, b"")
        .complex_deletion(ColumnId(3), Deletion::new(14, 2));
    let row = RowRef::parse(builder.finish()).unwrap();
    assert_eq!(row.liveness(), None);
    assert_eq!(row.deletion(), Deletion::new(10, 1));
    let cells: Vec<_> = row.cells().map(|c| (c.column.0, c.value())).collect();
    assert_eq!(cells, [(1, Some(&b"new"[..])), (3, None)]);
}

#[test]
fn refuses_what_the_format_forbids() {
    let base = [5, 0, 0, 0, 0, 0, 0, 0];
    let with = |flags: u8, rest: &[u8]| [&[flags][..], &base, rest].concat();
    let insert = LIVENESS | CELLS | UNIFORM | PLAIN;
    assert!(RowRef::parse(&with(insert, &[0x24, 0, 0x24, 0])).is_ok());
    for (bytes, says) in [
        (vec![], "header"),
        (vec![0, 0], "header"),
        (vec![0x40], "header"),
        (with(EXPIRING, &[1, 0, 0, 0, 0]), "header"),
        (with(LIVENESS | UNIFORM, &[]), "header"),
        (with(LIVENESS | EXPIRING, &[0, 0, 0, 0, 0]), "header"),
        ([&[LIVENESS][..], &i64::MIN.to_le_bytes()].concat(), "header"),
        (
            with(LIVENESS | DELETION, &[0, 0, 0, 0, 0]),
            "under the row's own deletion",
        ),
        (with(LIVENESS | CELLS, &[]), "disagree"),
        (with(LIVENESS, &[0x24, 0]), "disagree"),
        (with(LIVENESS | CELLS, &[0x24, 0]), "disagree"),
        (with(insert, &[0x24, 0, 0x04, 0]), "out of order"),
        (with(insert, &[0x24, 1]), "row cell"),
        (with(insert, &[0x20, 0, 0]), "row cell"),
        (with(insert, &[0x20, 2, 0]), "disagree"),
        (with(insert, &[0x34, 0]), "row cell"),
        (with(insert, &[0xe4, 0x80, 0x00, 0]), "row cell"),
        (with(CELLS | PLAIN, &[0x20, 2, 0]), "base is not the first"),
        (
            with(DELETION | CELLS | UNIFORM | PLAIN, &[0, 0, 0, 0, 0x24, 0]),
            "under the row's own deletion",
        ),
        (
            with(LIVENESS | CELLS | UNIFORM, &[0x27, 0, 0, 0, 0, 0x0c, 0, 0]),
            "under the row's own deletion",
        ),
        (with(LIVENESS | CELLS | UNIFORM, &[0x2f, 0, 0, 0, 0, 0]), "row cell"),
    ] {
        let error = RowRef::parse(&bytes).expect_err(says).to_string();
        assert!(error.contains(says), "{bytes:02x?}: {error:?} does not say {says:?}");
    }
}

/// The form of a key rides in a row that exists; alone it makes none.
#[test]
fn a_key_form_makes_no_row() {
    let form = ColumnId::key_form(1);
    let mut out = Vec::new();
    let mut seen = |columns: Columns<'_>, row: &mut RowBuilder| {
        let row = row.finish().to_vec();
        let row = RowRef::parse(&row).unwrap();
        let live = live_row(row, ReadTime::at(0), columns, &mut out).live;
        assert_eq!(live != Live::Dead, row.is_live(0), "{columns:?} {row:?}");
        let part = RowRef::trusted(&out);
        let seen = if live == Live::Whole { row } else { part };
        (live, seen.cell(form).is_some())
    };
    let dropped = [ColumnId(0), ColumnId(2)];
    for columns in [
        Columns::All,
        Columns::Of(&[ColumnId(1)]),
        Columns::Except(&dropped[..1]),
    ] {
        assert_eq!(seen(columns, RowBuilder::new().cell(form, 1, b"1.00")).0, Live::Dead);
        let (live, has_form) = seen(columns, RowBuilder::new().liveness(1).cell(form, 1, b"1.00"));
        assert_eq!((live, has_form), (Live::Whole, true), "{columns:?}");
        let (live, has_form) = seen(
            columns,
            RowBuilder::new().cell(ColumnId(1), 1, b"x").cell(form, 1, b"1.00"),
        );
        assert_eq!((live, has_form), (Live::Whole, true), "{columns:?}");
    }
}
