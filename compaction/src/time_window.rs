//! Time-window: files whose newest timestamps lie in one window become one, so that what expires together lies together.
//!
//! As Cassandra's `TimeWindowCompactionStrategy`:
//!
//! 1. A file belongs to the **window** of its newest timestamp.
//! 2. Windows are looked at from the newest on. The newest one that any file has is tiered by size; in each older one all files
//!    are merged as soon as there are two, at most `max_threshold` at a time, the smallest first.
//! 3. Files that expired are a job of their own (`expired`), which comes first.
//!
//! Cassandra remembers the newest window that it has seen; here it is the newest of the files that there are. Windows before 1970
//! are of the same length as all others.

use std::collections::BTreeMap;

use crate::options::{Options, TimeWindow};
use crate::unit::{Unit, merge};
use crate::{Job, JobKind, size_tiered};

/// The window that a unit belongs to.
pub(crate) fn number(unit: &Unit<'_>, window: &TimeWindow) -> i64 {
    let seconds = unit.max_timestamp.div_euclid(window.timestamps_per_second);
    seconds.div_euclid(i64::try_from(window.window_s).unwrap_or(i64::MAX))
}

/// All jobs that could be done, the most urgent first.
pub(crate) fn jobs(units: &[Unit<'_>], window: &TimeWindow, options: &Options) -> Vec<Job> {
    let number = |unit: &Unit<'_>| number(unit, window);
    let Some(newest) = units.iter().map(number).max() else {
        return Vec::new();
    };
    let mut windows: BTreeMap<i64, Vec<&Unit<'_>>> = BTreeMap::new();
    for unit in units.iter().filter(|unit| !unit.busy) {
        windows.entry(number(unit)).or_default().push(unit);
    }
    let mut jobs = Vec::new();
    for (window_number, mut units) in windows.into_iter().rev() {
        if window_number == newest {
            jobs.extend(size_tiered::of(
                units,
                &window.tiers,
                (options.min_threshold, options.max_threshold),
            ));
        } else if units.len() >= 2 {
            units.sort_by_key(|unit| unit.size_order());
            units.truncate(options.max_threshold);
            jobs.push(merge(JobKind::Window, &units));
        }
    }
    jobs
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Strategy;
    use crate::testing::{Made, file, inputs, now};

    const DAY_US: i64 = 86_400_000_000;

    fn next(files: &[Made]) -> Vec<u64> {
        inputs(
            files,
            &Options::of(Strategy::TimeWindow(TimeWindow::default())),
            &now(1000, 100),
        )
    }

    fn of_day(id: u64, day: i64) -> Made {
        file(id).timestamps(0, day * DAY_US + 5)
    }

    #[test]
    fn an_old_window_is_merged_from_two_files_on() {
        assert_eq!(next(&[of_day(1, 7), of_day(2, 7), of_day(3, 8)]), [1, 2]);
        assert_eq!(next(&[of_day(1, 7), of_day(2, 6), of_day(3, 8)]), [0; 0]);
        assert_eq!(next(&[of_day(1, 7), of_day(2, 7).busy(), of_day(3, 8)]), [0; 0]);
        let edges = [
            of_day(1, 7).timestamps(0, 7 * DAY_US),
            of_day(2, 7).timestamps(0, 8 * DAY_US - 1),
            of_day(3, 8),
        ];
        assert_eq!(next(&edges), [1, 2]);
    }

    #[test]
    fn the_newest_window_is_tiered() {
        let mut files: Vec<Made> = (1..=3).map(|id| of_day(id, 8)).collect();
        assert_eq!(next(&files), [0; 0]);
        files.push(of_day(4, 8));
        assert_eq!(next(&files), [1, 2, 3, 4]);
        files[3].bytes = 1 << 30;
        assert_eq!(next(&files), [0; 0], "not of one size");
        files.push(of_day(5, 9).busy());
        assert_eq!(next(&files), [1, 2, 3, 4], "a busy file has a window, too");
    }

    #[test]
    fn newer_windows_are_first() {
        assert_eq!(
            next(&[of_day(1, 3), of_day(2, 3), of_day(3, 5), of_day(4, 5), of_day(5, 9)]),
            [3, 4]
        );
    }

    #[test]
    fn the_smallest_files_of_a_window_are_first() {
        let mut files: Vec<Made> = (1..=40).map(|id| of_day(id, 3).bytes(1000 - id)).collect();
        files.push(of_day(41, 4));
        assert_eq!(next(&files), Vec::from_iter(9..=40));
    }

    #[test]
    fn a_run_belongs_to_the_window_of_its_newest_fragment() {
        let files = [of_day(1, 3).run(1), of_day(2, 4).run(1), of_day(3, 4), of_day(4, 5)];
        assert_eq!(next(&files), [1, 2, 3]);
    }

    #[test]
    fn windows_and_timestamps_may_have_other_units() {
        let window = TimeWindow {
            window_s: 7200,
            timestamps_per_second: 1000,
            ..TimeWindow::default()
        };
        let options = Options::of(Strategy::TimeWindow(window));
        let at = |id, seconds: i64| file(id).timestamps(0, seconds * 1000);
        let of = |a, b| inputs(&[at(1, a), at(2, b), at(3, 100_000)], &options, &now(1000, 100));
        assert_eq!(of(7200, 14_399), [1, 2]);
        assert_eq!(of(7199, 7200), [0; 0]);
        assert_eq!(of(-1, -7200), [1, 2]);
        assert_eq!(of(-1, 0), [0; 0]);
    }
}
