//! Files that are rewritten alone, for what is dead in them.
//!
//! As Cassandra's `AbstractCompactionStrategy.worthDroppingTombstones`:
//!
//! 1. The file is older than `tombstone_compaction_interval`: the estimate may be wrong, and the same file would come up for ever.
//! 2. More than `tombstone_threshold` of what is in it is dead, with its grace passed.
//! 3. `unchecked_tombstone_compaction`, or no other file may need what is dead, or enough of it lies where no other file has tokens.
//!
//! Differences, each because more is known here: which files overlap is also a matter of timestamps and clustering keys
//! (`overlap`), so that the epochs of a table do not hold each other back; and keys are taken as spread evenly over the tokens of a
//! file, as hashes are, where Cassandra asks a sample of the index.
//!
//! Of several files the largest is first, in time windows the smallest, as in Cassandra.

use model::Token;
use sstable::Statistics;

use crate::overlap::may_shadow;
use crate::{File, Job, JobKind, Now, Options, Output, Strategy};

pub(crate) fn jobs(files: &[File<'_>], options: &Options, now: &Now) -> Vec<Job> {
    if !options.tombstones.enabled || options.only_purge_repaired_tombstones {
        return Vec::new();
    }
    let mut worth: Vec<&File<'_>> = files
        .iter()
        .filter(|file| is_worth(file, files, options, now))
        .collect();
    worth.sort_by_key(|file| (file.bytes, file.id));
    if !matches!(options.strategy, Strategy::TimeWindow(_)) {
        worth.reverse();
    }
    let jobs = worth.into_iter().map(|file| Job {
        kind: JobKind::Tombstones,
        inputs: vec![file.id],
        bytes: file.bytes,
        output: Output::InPlace,
    });
    jobs.collect()
}

fn is_worth(file: &File<'_>, files: &[File<'_>], options: &Options, now: &Now) -> bool {
    let of = &options.tombstones;
    let old_s = u64::from(file.created_s) + of.interval_s;
    if file.busy || u64::from(now.seconds) < old_s {
        return false;
    }
    let droppable = droppable_ratio(file.statistics, now.gc_before());
    if droppable <= of.threshold {
        return false;
    }
    if of.unchecked {
        return true;
    }
    lies_alone(file, files) * droppable > of.threshold
}

/// Which part of a file's tokens lies where no other file may need what is dead in it, 0 to 1.
pub(crate) fn lies_alone(file: &File<'_>, files: &[File<'_>]) -> f64 {
    let others = files
        .iter()
        .filter(|other| other.id != file.id && may_shadow(file, other));
    1.0 - covered(file, others)
}

/// Which part of what a file holds can go before `gc_before`, 0 to 1: tombstones and expired cells, of them and of cells and rows
/// that live. At least; see [`DropTimes::before`](sstable::DropTimes::before).
pub(crate) fn droppable_ratio(s: &Statistics, gc_before: u32) -> f64 {
    let all =
        s.cells + s.row_tombstones + s.range_tombstones + s.partition_tombstones + (s.rows - s.dead_rows.min(s.rows));
    if all == 0 {
        return 0.0;
    }
    (s.drop_times.before(gc_before) as f64 / all as f64).min(1.0)
}

/// Which part of the tokens of `file` the `others` cover, 0 to 1.
fn covered<'a>(file: &File<'_>, others: impl Iterator<Item = &'a File<'a>>) -> f64 {
    let width = |first: Token, last: Token| i128::from(last.0) - i128::from(first.0) + 1;
    let mut spans: Vec<(Token, Token)> = others
        .map(|other| (other.first.max(file.first), other.last.min(file.last)))
        .collect();
    spans.sort_unstable();
    let (mut sum, mut up_to) = (0, None);
    for (first, last) in spans {
        let first = up_to.map_or(first, |up_to: Token| first.max(Token(up_to.0.saturating_add(1))));
        if first <= last && up_to != Some(Token::MAX) {
            sum += width(first, last);
            up_to = Some(last);
        }
    }
    sum as f64 / width(file.first, file.last) as f64
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{Made, file, inputs, now};
    use crate::{TimeWindow, TombstoneOptions};

    /// 1000 cells, `dead` of them deleted at second 100,000.
    fn cells(id: u64, dead: u64) -> Made {
        let mut made = file(id).tokens(0, 999).timestamps(10, 20);
        made.statistics.cells = 1000;
        made.statistics.cell_tombstones = dead;
        made.statistics.drop_times.add(100_000, dead);
        made
    }

    fn of(files: &[Made], options: &Options, seconds: u32) -> Vec<u64> {
        inputs(files, options, &now(seconds, 10_000))
    }

    /// At second 200,000 with a grace of 10,000 seconds.
    fn worth(files: &[Made]) -> Vec<u64> {
        of(files, &Options::default(), 200_000)
    }

    #[test]
    fn more_than_the_threshold_must_be_droppable() {
        assert_eq!(worth(&[cells(1, 200)]), [0; 0]);
        assert_eq!(worth(&[cells(1, 201)]), [1]);
        assert_eq!(worth(&[cells(1, 201).busy()]), [0; 0]);
        let mut options = Options::default();
        options.tombstones.threshold = 0.5;
        assert_eq!(of(&[cells(1, 500)], &options, 200_000), [0; 0]);
        assert_eq!(of(&[cells(1, 501)], &options, 200_000), [1]);
        options.tombstones.threshold = 0.0;
        assert_eq!(of(&[cells(1, 0)], &options, 200_000), [0; 0]);
        assert_eq!(of(&[file(1)], &options, 200_000), [0; 0], "nothing is in it");
    }

    #[test]
    fn grace_and_interval_must_have_passed() {
        let options = Options::default();
        assert_eq!(
            of(&[cells(1, 500)], &options, 111_600),
            [1],
            "a bucket of an hour ends at 100,800"
        );
        assert_eq!(of(&[cells(1, 500)], &options, 110_700), [0; 0]);
        assert_eq!(of(&[cells(1, 500).created(200_000)], &options, 286_399), [0; 0]);
        assert_eq!(of(&[cells(1, 500).created(200_000)], &options, 286_400), [1]);
    }

    #[test]
    fn what_others_may_need_is_not_worth_it() {
        let other = |first, last| file(2).tokens(first, last).timestamps(0, 30);
        assert_eq!(worth(&[cells(1, 400), other(0, 999)]), [0; 0]);
        assert_eq!(worth(&[cells(1, 400), other(0, 999).busy()]), [0; 0]);
        assert_eq!(worth(&[cells(1, 400), other(0, 499)]), [0; 0], "0.2 is left");
        assert_eq!(worth(&[cells(1, 402), other(0, 499)]), [1]);
        assert_eq!(
            worth(&[cells(1, 402), other(0, 399), other(300, 499).id(3)]),
            [1],
            "counted once"
        );
        assert_eq!(worth(&[cells(1, 402), other(0, 499), other(600, 999).id(3)]), [0; 0]);
        assert_eq!(worth(&[cells(1, 400), other(1000, 2000)]), [1]);
        assert_eq!(
            worth(&[cells(1, 400), other(0, 999).timestamps(21, 30)]),
            [1],
            "all of it is younger"
        );
        let mut options = Options::default();
        options.tombstones.unchecked = true;
        assert_eq!(of(&[cells(1, 400), other(0, 999)], &options, 200_000), [1]);
    }

    #[test]
    fn the_whole_ring_has_a_width() {
        let all = cells(1, 400).tokens(i64::MIN, i64::MAX);
        let other = |id, first, last| file(id).tokens(first, last).timestamps(0, 30);
        assert_eq!(
            worth(&[all, other(2, i64::MIN, i64::MAX), other(3, i64::MIN, i64::MAX)]),
            [0; 0]
        );
        let all = cells(1, 500).tokens(i64::MIN, i64::MAX);
        assert_eq!(worth(&[all, other(2, 0, i64::MAX)]), [1]);
    }

    #[test]
    fn the_largest_is_first_and_in_time_windows_the_smallest() {
        let files = || [cells(1, 400).bytes(10), cells(2, 400).bytes(20).tokens(1000, 1001)];
        assert_eq!(worth(&files()), [2]);
        let mut options = Options::of(Strategy::TimeWindow(TimeWindow::default()));
        let second = [
            files()[0].clone(),
            files()[1].clone().timestamps(86_400_000_000, 86_400_000_000),
        ];
        assert_eq!(of(&second, &options, 200_000), [0; 0], "only if asked for");
        options.tombstones = TombstoneOptions::default();
        assert_eq!(of(&second, &options, 200_000), [1]);
    }

    #[test]
    fn the_output_takes_its_place_in_the_run() {
        let files = [cells(1, 400).run(7).tokens(0, 9), cells(2, 0).run(7).tokens(10, 19)];
        let files: Vec<File<'_>> = files.iter().map(Made::file).collect();
        let job = crate::next_job(&files, &Options::default(), &now(200_000, 10_000)).unwrap();
        assert_eq!((job.inputs, job.output), (vec![crate::FileId(1)], Output::InPlace));
    }
}
