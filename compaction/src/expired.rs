//! Files that are dropped without being read: everything in them is dead, and nothing outside would come back.
//!
//! As Cassandra's `CompactionController.getFullyExpiredSSTables`, but for each file by what it may shadow itself:
//!
//! 1. A candidate holds tombstones and expired cells only, and their grace has passed.
//! 2. It stays if something at or below its newest timestamp may lie in a memtable or in a log group that is not applied: what was
//!    sent twice, or late, is still to meet it.
//! 3. It stays if another file may hold something that it shadows. Busy files count, whatever happens to them; other candidates do
//!    not, since nothing in them can be seen any more, also if they stay.
//!
//! With `unsafe_aggressive_sstable_expiration` 1 is enough.

use crate::overlap::may_shadow;
use crate::{File, Job, JobKind, Now, Options, Output, Strategy};

pub(crate) fn job(files: &[File<'_>], options: &Options, now: &Now) -> Option<Job> {
    if options.only_purge_repaired_tombstones {
        return None;
    }
    let anyway = match &options.strategy {
        Strategy::TimeWindow(window) => window.unsafe_aggressive_sstable_expiration,
        _ => false,
    };
    let is_dead = |file: &File<'_>| file.statistics.max_local_deletion_time < now.gc_before();
    let is_needed = |file: &File<'_>| {
        file.statistics.max_timestamp >= now.min_timestamp_outside
            || files.iter().any(|other| !is_dead(other) && may_shadow(file, other))
    };
    let dropped: Vec<&File<'_>> = files
        .iter()
        .filter(|file| !file.busy && is_dead(file) && (anyway || !is_needed(file)))
        .collect();
    dropping(JobKind::Expired, &dropped)
}

/// Files whose one partition was deleted. Needs no grace: the deletion stays where it is, until nothing is left that it shadows.
pub(crate) fn deleted(files: &[File<'_>]) -> Option<Job> {
    let dropped: Vec<&File<'_>> = files.iter().filter(|file| file.deleted && !file.busy).collect();
    dropping(JobKind::Deleted, &dropped)
}

fn dropping(kind: JobKind, files: &[&File<'_>]) -> Option<Job> {
    (!files.is_empty()).then(|| Job {
        kind,
        inputs: files.iter().map(|file| file.id).collect(),
        bytes: files.iter().map(|file| file.bytes).sum(),
        output: Output::Nothing,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{Made, file, inputs, now};
    use crate::{TimeWindow, next_job};

    const GRACE_PASSED: u32 = 899_999;

    fn window() -> Options {
        Options::of(Strategy::TimeWindow(TimeWindow::default()))
    }

    /// At second 1,000,000, with a grace of 100,000 seconds.
    fn dropped(files: &[Made], min_timestamp_outside: i64) -> Vec<u64> {
        let now = Now {
            min_timestamp_outside,
            ..now(1_000_000, 100_000)
        };
        inputs(files, &window(), &now)
    }

    fn dead(id: u64) -> Made {
        file(id).ends(GRACE_PASSED).timestamps(10, 20)
    }

    #[test]
    fn what_is_dead_is_dropped_when_its_grace_has_passed() {
        assert_eq!(dropped(&[dead(1)], i64::MAX), [1]);
        assert_eq!(dropped(&[dead(1).ends(900_000)], i64::MAX), [0; 0]);
        assert_eq!(dropped(&[dead(1).ends(u32::MAX)], i64::MAX), [0; 0]);
        assert_eq!(dropped(&[dead(1).busy()], i64::MAX), [0; 0]);
        assert_eq!(
            dropped(&[dead(1), dead(2), file(3).timestamps(21, 30)], i64::MAX),
            [1, 2]
        );
    }

    #[test]
    fn what_memtables_or_the_log_may_need_stays() {
        assert_eq!(dropped(&[dead(1)], 21), [1]);
        assert_eq!(dropped(&[dead(1)], 20), [0; 0], "a deletion wins ties");
        assert_eq!(dropped(&[dead(1), dead(2).timestamps(1, 5)], 20), [2]);
    }

    #[test]
    fn what_another_file_may_need_stays() {
        let alive = || file(2).timestamps(20, 30);
        assert_eq!(dropped(&[dead(1), alive()], i64::MAX), [0; 0]);
        assert_eq!(dropped(&[dead(1), alive().busy()], i64::MAX), [0; 0]);
        assert_eq!(dropped(&[dead(1).tokens(0, 5), alive().tokens(6, 9)], i64::MAX), [1]);
        assert_eq!(dropped(&[dead(1), alive().timestamps(21, 30)], i64::MAX), [1]);
        assert_eq!(
            dropped(&[dead(1), alive().ends(900_000)], i64::MAX),
            [0; 0],
            "its grace has not passed"
        );
        let chain = [dead(1).timestamps(5, 40), dead(2).timestamps(1, 9), alive().id(3)];
        assert_eq!(
            dropped(&chain, i64::MAX),
            [2],
            "1 stays, and has nothing that can come back"
        );
    }

    #[test]
    fn options_decide_too() {
        let files = [dead(1), file(2).timestamps(0, 30)];
        let of = |options: &Options, now: &Now| inputs(&files, options, now);
        let mut options = window();
        let now = now(1_000_000, 100_000);
        assert_eq!(of(&options, &now), [0; 0]);
        let unsafe_window = TimeWindow {
            unsafe_aggressive_sstable_expiration: true,
            ..TimeWindow::default()
        };
        options.strategy = Strategy::TimeWindow(unsafe_window);
        assert_eq!(of(&options, &now), [1]);
        let not_now = Now {
            check_expired: false,
            ..now
        };
        assert_eq!(of(&options, &not_now), [0; 0]);
        options.only_purge_repaired_tombstones = true;
        assert_eq!(of(&options, &now), [0; 0]);
        options.only_purge_repaired_tombstones = false;
        options.enabled = false;
        assert_eq!(of(&options, &now), [0; 0]);
    }

    #[test]
    fn deleted_files_are_dropped_whatever_the_clock_says() {
        let gone = |id| Made {
            deleted: true,
            ..file(id)
        };
        let files = [gone(1), file(2), gone(3).busy(), gone(4).run(7), file(5).run(7)];
        let now = Now {
            check_expired: false,
            min_timestamp_outside: 0,
            ..now(10, 100_000)
        };
        assert_eq!(inputs(&files, &Options::default(), &now), [1, 4]);
    }

    #[test]
    fn other_strategies_drop_too() {
        let files = [dead(1)];
        let files: Vec<File<'_>> = files.iter().map(Made::file).collect();
        let job = next_job(&files, &Options::default(), &now(1_000_000, 100_000)).unwrap();
        assert_eq!(
            (job.kind, job.output, job.bytes),
            (JobKind::Expired, Output::Nothing, files[0].bytes)
        );
    }
}
