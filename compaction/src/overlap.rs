//! Whether what is dead in one file may be needed because of another one.

use crate::File;

/// Whether `other` may hold something that a tombstone, or an expired cell, of `file` shadows. If not, nothing of `other` comes back
/// when what is dead in `file` goes.
///
/// No if they have no token in common; if nothing in `other` is as old as the newest of `file`; or if their clustering bounds are
/// apart and `file` has no partition tombstone and no static row, which reach beyond them. (Cassandra asks for the tokens alone
/// when it judges a file by its tombstones, and for tokens and timestamps when it judges one by its expiry.)
pub(crate) fn may_shadow(file: &File<'_>, other: &File<'_>) -> bool {
    let (a, b) = (file.statistics, other.statistics);
    if other.last < file.first || file.last < other.first || b.min_timestamp > a.max_timestamp {
        return false;
    }
    if a.partition_heads {
        return true;
    }
    match (&a.clustering, &b.clustering) {
        (Some((a_min, a_max)), Some((b_min, b_max))) => a_min <= b_max && b_min <= a_max,
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{Made, file};
    use model::Token;

    #[test]
    fn a_file_shadows_where_tokens_times_and_clustering_meet() {
        let base = || file(1).tokens(-10, 10).timestamps(100, 200).positions(5, 9);
        let shadows = |other: Made| {
            let dead = base();
            may_shadow(&dead.file(), &other.file())
        };
        assert!(shadows(file(2).tokens(10, 20).timestamps(0, 500).positions(9, 12)));
        assert!(!shadows(file(2).tokens(11, 20).timestamps(0, 500).positions(9, 12)));
        assert!(!shadows(file(2).tokens(-20, -11).timestamps(0, 500).positions(9, 12)));
        assert!(
            shadows(file(2).tokens(0, 0).timestamps(200, 500).positions(0, 5)),
            "a deletion wins ties"
        );
        assert!(!shadows(file(2).tokens(0, 0).timestamps(201, 500).positions(0, 5)));
        assert!(!shadows(file(2).tokens(0, 0).timestamps(0, 500).positions(0, 4)));
        assert!(!shadows(file(2).tokens(0, 0).timestamps(0, 500).positions(10, 11)));
    }

    #[test]
    fn partition_tombstones_reach_beyond_clustering_bounds() {
        let mut dead = file(1).tokens(0, 0).timestamps(0, 9).positions(5, 9);
        let other = file(2).tokens(0, 0).timestamps(0, 9).positions(1, 2);
        assert!(!may_shadow(&dead.file(), &other.file()));
        dead.statistics.partition_heads = true;
        assert!(may_shadow(&dead.file(), &other.file()));
        dead.statistics.clustering = None;
        assert!(may_shadow(&dead.file(), &other.file()));
        dead.last = Token(-1);
        assert!(!may_shadow(&dead.file(), &other.file()));
    }
}
