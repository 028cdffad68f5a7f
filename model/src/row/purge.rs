//! What compaction may leave out of a row for good.

use super::{Encoder, Liveness, RowRef, Shadowed};
use crate::{Columns, Deletion};

/// What of the dead may go: DESIGN §8, as Cassandra has it.
///
/// Something is purged if it is dead, its grace has passed, and nothing outside the compaction can be so old that it would come
/// back by it.
///
/// [`purge_row`] takes it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct PurgeRule {
    /// Seconds since the Unix epoch, by the node's clock.
    pub now_s: u32,
    /// What died before this second may go, `gc_grace_seconds` before `now_s`. What expires has its grace from its write on, for its
    /// end was known then.
    pub before_s: u32,
    /// What has a timestamp below this one may go: the smallest one of anything outside; `i64::MIN` if nothing may.
    pub below: i64,
}

impl PurgeRule {
    /// Nothing may go.
    pub const NEVER: PurgeRule = PurgeRule {
        now_s: 0,
        before_s: 0,
        below: i64::MIN,
    };

    /// Whether a deletion may go.
    #[inline]
    pub const fn purges(&self, deletion: Deletion) -> bool {
        !deletion.is_live() && self.admits(deletion.timestamp, deletion.local_deletion_time)
    }

    #[inline]
    const fn admits(&self, timestamp: i64, since: u32) -> bool {
        since < self.before_s && timestamp < self.below
    }

    const fn purges_liveness(&self, liveness: Liveness) -> bool {
        let since = match liveness.ttl {
            Liveness::EXPIRED_TTL => liveness.expires_at,
            ttl => liveness.expires_at.saturating_sub(ttl),
        };
        !liveness.is_live(self.now_s) && self.admits(liveness.timestamp, since)
    }
}

/// Leaves of `row` what `rule` does not purge, and no cell of a column that was dropped. Writes `out` (whose former content is
/// replaced) only for [`Shadowed::Changed`].
///
/// For every reader from `rule.now_s` on, and whatever the row is merged with later that is not older than `rule.below`, it makes
/// no difference; but the form in which a key was written goes with its row.
pub fn purge_row(row: RowRef<'_>, rule: &PurgeRule, columns: Columns<'_>, out: &mut Vec<u8>) -> Shadowed {
    out.clear();
    // Nearly all rows.
    if row.is_wholly_live() && columns == Columns::All {
        return Shadowed::Unchanged;
    }
    let (header, cells) = row.split();
    let deletion = match rule.purges(header.deletion) {
        true => Deletion::LIVE,
        false => header.deletion,
    };
    let liveness = header.liveness.filter(|liveness| !rule.purges_liveness(*liveness));
    let stays = |cell: &super::CellRef<'_>| {
        columns.has(cell.column)
            && !cell
                .dead_since(rule.now_s)
                .is_some_and(|since| rule.admits(cell.timestamp, since))
    };
    let (mut kept, mut gone, mut needless) = (0_u32, 0_u32, true);
    for cell in cells.clone() {
        if stays(&cell) {
            kept += 1;
            // The form of a key is of no use without the row.
            needless &= cell.column.is_key_form() && cell.timestamp < rule.below;
        } else {
            gone += 1;
        }
    }
    if liveness.is_none() && deletion.is_live() && needless {
        return Shadowed::Gone;
    }
    if gone == 0 && liveness == header.liveness && deletion == header.deletion {
        return Shadowed::Unchanged;
    }
    let mut encoder = Encoder::new(out, liveness, deletion);
    cells.filter(stays).for_each(|cell| encoder.cell(&cell));
    let _empty_is_legal = encoder.finish();
    debug_assert!(kept > 0 || liveness.is_some() || !deletion.is_live());
    Shadowed::Changed
}

#[cfg(test)]
mod tests {
    use super::super::testing;
    use super::*;
    use crate::row::RowBuilder;
    use crate::{ColumnId, ReadTime, live_row, merge_rows, shadow_row};
    use proptest::prelude::*;

    fn seen(row: RowRef<'_>, now_s: u32, columns: Columns<'_>) -> Option<Vec<u8>> {
        let mut part = Vec::new();
        match live_row(row, ReadTime::at(now_s), columns, &mut part).live {
            crate::Live::Dead => None,
            crate::Live::Whole => Some(row.bytes().to_vec()),
            crate::Live::Part => Some(part),
        }
    }

    fn purged(row: RowRef<'_>, rule: &PurgeRule, columns: Columns<'_>) -> Vec<u8> {
        let mut out = Vec::new();
        match purge_row(row, rule, columns, &mut out) {
            Shadowed::Unchanged => row.bytes().to_vec(),
            Shadowed::Changed => out,
            Shadowed::Gone => RowRef::EMPTY.bytes().to_vec(),
        }
    }

    fn merged(a: &[u8], b: &[u8]) -> Vec<u8> {
        let mut out = Vec::new();
        merge_rows(RowRef::trusted(a), RowRef::trusted(b), &mut out);
        out
    }

    /// What `row` has that is not older than `below`.
    fn young(row: &[u8], below: i64) -> Vec<u8> {
        let mut out = Vec::new();
        let older = Deletion::new(below - 1, 0);
        let young = match shadow_row(RowRef::trusted(row), older, &mut out) {
            Shadowed::Unchanged => row.to_vec(),
            Shadowed::Changed => out,
            Shadowed::Gone => RowRef::EMPTY.bytes().to_vec(),
        };
        assert!(RowRef::trusted(&young).min_timestamp() >= below);
        young
    }

    #[test]
    fn what_is_dead_goes_after_its_grace() {
        let rule = PurgeRule {
            now_s: 100,
            before_s: 50,
            below: 10,
        };
        let build = |fill: &dyn Fn(&mut RowBuilder)| {
            let mut builder = RowBuilder::new();
            fill(&mut builder);
            builder.finish().to_vec()
        };
        let gone = RowRef::EMPTY.bytes().to_vec();
        let of = |row: Vec<u8>| purged(RowRef::trusted(&row), &rule, Columns::All);
        let deleted = |timestamp, since| build(&move |row| _ = row.deletion(Deletion::new(timestamp, since)));
        assert_eq!(of(deleted(9, 49)), gone);
        assert_eq!(of(deleted(9, 50)), deleted(9, 50), "its grace has not passed");
        assert_eq!(of(deleted(10, 49)), deleted(10, 49), "something outside is as old");
        let ends = |expires_at, ttl| build(&move |row| _ = row.liveness_ttl(5, ttl, expires_at));
        assert_eq!(of(ends(60, 20)), gone, "written at 40, ended at 60");
        assert_eq!(of(ends(60, 10)), ends(60, 10), "written at 50");
        assert_eq!(of(ends(101, 90)), ends(101, 90), "it lives");
        let half = build(&|row| _ = row.cell(ColumnId(1), 5, b"x").tombstone(ColumnId(2), 5, 7));
        assert_eq!(of(half), build(&|row| _ = row.cell(ColumnId(1), 5, b"x")));
        let dropped = build(&|row| _ = row.liveness(5).cell(ColumnId(1), 50, b"x"));
        let without = Columns::Except(&[ColumnId(1)]);
        let row = purged(RowRef::trusted(&dropped), &PurgeRule::NEVER, without);
        assert_eq!(row, build(&|row| _ = row.liveness(5)));
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 2000, ..ProptestConfig::default() })]

        #[test]
        fn prop_purging_makes_no_difference(
            row in testing::row(),
            later in testing::row(),
            now_s in 0..9u32,
            grace in 0..6u32,
            below in prop_oneof![0..7i64, Just(i64::MAX)],
            after in 0..3u32,
            drops in any::<bool>(),
        ) {
            let rule = PurgeRule { now_s, before_s: now_s.saturating_sub(grace), below };
            let dropped = [ColumnId(1), ColumnId(20)];
            let columns = if drops { Columns::Except(&dropped) } else { Columns::All };
            let row = RowRef::trusted(&row);
            let left = purged(row, &rule, columns);
            prop_assert!(left == row.bytes() || RowRef::parse(&left).is_ok());
            // The form of a key goes with its row: what is written later brings its own.
            prop_assume!(left != RowRef::EMPTY.bytes() || row.cells().all(|cell| !cell.column.is_key_form()));
            let later = young(&later, below);
            let before = merged(row.bytes(), &later);
            let after_purge = merged(&left, &later);
            let at = now_s + after;
            prop_assert_eq!(seen(RowRef::trusted(&before), at, columns), seen(RowRef::trusted(&after_purge), at, columns));
        }
    }
}
