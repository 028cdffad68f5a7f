//! Major: all that there is of a table, at once, because somebody asks for it.
//!
//! As Cassandra's `nodetool compact`, by the table's strategy:
//!
//! 1. What can go unread goes first (`expired`), as always.
//! 2. **Size-tiered**: all units become one run.
//! 3. **Time-window**: the units of each window become one run, the newest window first.
//! 4. **Time-tiered**: units that hold several epochs are taken apart by all of them, [`EPOCHS_MAX`] at a time, and then the units of each
//!    epoch become one run, the newest first, whether it is open or closed. What is of no epoch, deletions of partitions mostly, becomes
//!    one run at last, when the data that it deletes are gone.
//! 5. A unit that is alone is rewritten, file by file, if something in it has become droppable since it was written, and no other file may
//!    need that. So a table that was compacted a moment ago is not compacted again.
//!
//! It ends: 2 to 4 leave fewer units or fewer epochs in one unit behind, and of what 5 leaves nothing has become droppable since.
//! `min_threshold` and `max_threshold` say nothing here. [`Now::bytes_max`] does: of more than that the smallest units are merged.

use std::collections::BTreeMap;

use crate::unit::{Unit, job, merge, units};
use crate::{Epoch, File, Job, JobKind, Now, Options, Output, Strategy, expired, time_window, tombstones};

/// A job gives so many epochs files of their own at most: all of them are written at the same time.
const EPOCHS_MAX: usize = 128;

/// What is to be done next, until a table is as compact as can be; `None`: it is.
///
/// As [`next_job`](crate::next_job), whose arguments it has. It is asked for, so [`Options::enabled`] does not matter; files that
/// are written meanwhile are given as [`busy`](File::busy), or it goes on for as long as somebody writes.
///
/// # Panics
/// If two files have one number.
pub fn major_job(files: &[File<'_>], options: &Options, now: &Now) -> Option<Job> {
    let mut files = files.to_vec();
    files.sort_by_key(|file| file.id);
    let distinct = files.windows(2).all(|pair| pair[0].id != pair[1].id);
    assert!(distinct, "two files have one number");
    let dropped = expired::deleted(&files).or_else(|| expired::job(&files, options, now));
    if dropped.is_some() {
        return dropped;
    }
    let all = units(&files);
    let free = all.iter().filter(|unit| !unit.busy);
    let merged = match &options.strategy {
        Strategy::SizeTiered(_) => one_run(free.collect(), None, now),
        Strategy::TimeWindow(window) => {
            let mut windows: BTreeMap<i64, Vec<&Unit<'_>>> = BTreeMap::new();
            for unit in free {
                windows.entry(time_window::number(unit, window)).or_default().push(unit);
            }
            windows.into_values().rev().find_map(|units| one_run(units, None, now))
        }
        Strategy::TimeTiered(_) => by_epochs(free.collect(), now),
    };
    merged.or_else(|| rewritten(&files, options, now))
}

/// Merges units into one run, the smallest that fit, if these are more than one; late if `late` says so, else if all of them are.
fn one_run(mut units: Vec<&Unit<'_>>, late: Option<bool>, now: &Now) -> Option<Job> {
    take_fitting(&mut units, now);
    (units.len() > 1).then(|| match late {
        Some(late) => job(JobKind::Major, &units, Output::Run { late }),
        None => merge(JobKind::Major, &units),
    })
}

/// Leaves the smallest units, as many as a job may read.
fn take_fitting(units: &mut Vec<&Unit<'_>>, now: &Now) {
    units.sort_by_key(|unit| unit.size_order());
    let mut bytes = 0_u64;
    units.retain(|unit| {
        bytes = bytes.saturating_add(unit.bytes);
        bytes <= now.bytes_max
    });
}

fn by_epochs(units: Vec<&Unit<'_>>, now: &Now) -> Option<Job> {
    let mut mixed: Vec<&Unit<'_>> = Vec::new();
    let mut none: Vec<&Unit<'_>> = Vec::new();
    let mut epochs: BTreeMap<Epoch, Vec<&Unit<'_>>> = BTreeMap::new();
    for unit in units {
        match unit.epochs.as_slice() {
            [] => none.push(unit),
            [share] => epochs.entry(share.epoch).or_default().push(unit),
            _ => mixed.push(unit),
        }
    }
    take_fitting(&mut mixed, now);
    if !mixed.is_empty() {
        let mut own: Vec<Epoch> = mixed
            .iter()
            .flat_map(|unit| unit.epochs.iter().map(|share| share.epoch))
            .collect();
        own.sort_unstable();
        own.dedup();
        // The newest: they are read most.
        own.drain(..own.len().saturating_sub(EPOCHS_MAX));
        return Some(job(JobKind::Major, &mixed, Output::ByEpoch(own)));
    }
    let of_epoch = |(epoch, units)| {
        let is_closed = epoch < now.first_open_epoch;
        one_run(units, is_closed.then_some(false), now)
    };
    let merged = epochs.into_iter().rev().find_map(of_epoch);
    merged.or_else(|| one_run(none, None, now))
}

/// The largest file in which something has become droppable since it was written.
fn rewritten(files: &[File<'_>], options: &Options, now: &Now) -> Option<Job> {
    if options.only_purge_repaired_tombstones {
        return None;
    }
    let has_droppable = |file: &&File<'_>| {
        let before = |seconds| file.statistics.drop_times.before(seconds);
        // A flush leaves nothing out; a compaction left out what it could.
        let seen = match file.flushed {
            true => 0,
            false => before(file.created_s.saturating_sub(now.gc_grace_s)),
        };
        before(now.gc_before()) > seen
    };
    let worth = files
        .iter()
        .filter(|file| !file.busy && file.bytes <= now.bytes_max)
        .filter(has_droppable)
        .filter(|file| tombstones::lies_alone(file, files) > 0.0);
    let largest = worth.max_by_key(|file| (file.bytes, file.id))?;
    Some(Job {
        kind: JobKind::Tombstones,
        inputs: vec![largest.id],
        bytes: largest.bytes,
        output: Output::InPlace,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{Made, file, now};
    use crate::{Tiers, TimeTiered, TimeWindow};

    const MIB: u64 = 1 << 20;
    const DAY_US: i64 = 86_400_000_000;

    fn size_tiered() -> Options {
        Options::of(Strategy::SizeTiered(Tiers::default()))
    }

    fn time_tiered() -> Options {
        Options::of(Strategy::TimeTiered(TimeTiered::default()))
    }

    /// At second 200,000 with a grace of 10,000 seconds, with epochs below 10 closed.
    fn at() -> Now {
        Now {
            first_open_epoch: Epoch(10),
            ..now(200_000, 10_000)
        }
    }

    /// The job in short.
    fn next_at(files: &[Made], options: &Options, now: &Now) -> String {
        let files: Vec<File<'_>> = files.iter().map(Made::file).collect();
        let Some(job) = major_job(&files, options, now) else {
            return "none".to_owned();
        };
        let inputs: Vec<u64> = job.inputs.iter().map(|id| id.0).collect();
        let output = match job.output {
            Output::Run { late: false } => String::new(),
            Output::Run { late: true } => " -> late".to_owned(),
            Output::ByEpoch(epochs) => format!(" -> {:?}", epochs.iter().map(|epoch| epoch.0).collect::<Vec<_>>()),
            other => format!(" -> {other:?}"),
        };
        format!("{:?} {inputs:?}{output}", job.kind).to_lowercase()
    }

    fn next(files: &[Made], options: &Options) -> String {
        next_at(files, options, &at())
    }

    fn of(id: u64, epoch: i64) -> Made {
        file(id).epoch(epoch, MIB, 0)
    }

    fn mixed(id: u64, epochs: &[i64]) -> Made {
        let made = file(id).late();
        epochs
            .iter()
            .fold(made, |made, epoch| made.epoch(*epoch, MIB / epochs.len() as u64, 0))
    }

    /// With something that may go from second `from_s` + 10,000 on.
    fn dying(id: u64, from_s: u32) -> Made {
        let mut made = file(id);
        made.statistics.cells = 1000;
        made.statistics.drop_times.add(from_s, 1);
        made
    }

    #[test]
    fn all_units_become_one_run() {
        let all: Vec<Made> = (1..=40).map(|id| file(id).bytes(id * MIB)).collect();
        let whole = format!("major {:?}", Vec::from_iter(1..=40));
        assert_eq!(next(&all, &size_tiered()), whole, "max_threshold does not bound it");
        let off = Options {
            enabled: false,
            ..size_tiered()
        };
        assert_eq!(next(&all, &off), whole, "it is asked for");
        for (files, expected) in [
            (vec![], "none"),
            (vec![file(1)], "none"),
            (vec![file(1), file(2)], "major [1, 2]"),
            (vec![file(1), file(2).busy(), file(3)], "major [1, 3]"),
            (vec![file(1), file(2).busy()], "none"),
            (vec![file(1).run(7), file(2).run(7)], "none"),
            (vec![file(1).run(7), file(2).run(7).busy(), file(3)], "none"),
            (vec![file(1).run(7), file(2).run(7), file(3)], "major [1, 2, 3]"),
            (vec![file(1).late(), file(2).late()], "major [1, 2] -> late"),
        ] {
            assert_eq!(next(&files, &size_tiered()), expected, "{files:?}");
        }
    }

    #[test]
    fn what_does_not_fit_is_left_out() {
        let files = [
            file(1).bytes(50),
            file(2).bytes(10),
            file(3).bytes(20),
            file(4).bytes(30),
        ];
        for (bytes_max, expected) in [
            (110, "major [1, 2, 3, 4]"),
            (109, "major [2, 3, 4]"),
            (59, "major [2, 3]"),
            (29, "none"),
        ] {
            let now = Now { bytes_max, ..at() };
            assert_eq!(next_at(&files, &size_tiered(), &now), expected, "{bytes_max}");
        }
        let now = Now { bytes_max: MIB, ..at() };
        let files = [mixed(1, &[7, 8]).bytes(2 * MIB), mixed(2, &[8, 9])];
        assert_eq!(next_at(&files, &time_tiered(), &now), "major [2] -> [8, 9]");
    }

    #[test]
    fn each_window_becomes_one_run() {
        let options = Options::of(Strategy::TimeWindow(TimeWindow::default()));
        let of_day = |id, day: i64| file(id).timestamps(0, day * DAY_US + 5);
        let mut files = vec![of_day(1, 3), of_day(2, 5), of_day(3, 5), of_day(4, 3)];
        assert_eq!(next(&files, &options), "major [2, 3]", "the newest, too");
        files[1].busy = true;
        assert_eq!(next(&files, &options), "major [1, 4]");
        files.truncate(3);
        assert_eq!(next(&files, &options), "none");
    }

    #[test]
    fn mixed_units_are_taken_apart_before_epochs_become_runs() {
        for (files, expected) in [
            (vec![mixed(1, &[7, 8]), of(2, 7), of(3, 8)], "major [1] -> [7, 8]"),
            (
                vec![mixed(1, &[7, 8]), mixed(2, &[8, 12]), of(3, 8)],
                "major [1, 2] -> [7, 8, 12]",
            ),
            (
                vec![mixed(1, &[7, 8]).busy(), of(2, 7), of(3, 7).late()],
                "major [2, 3]",
            ),
            (vec![of(1, 7), of(2, 7), of(3, 9), of(4, 9)], "major [3, 4]"),
            (vec![of(1, 7), of(2, 9)], "none"),
            // A closed epoch's run is its base, an open one's stays late.
            (vec![of(1, 7).late(), of(2, 7).late()], "major [1, 2]"),
            (vec![of(1, 10).late(), of(2, 10).late()], "major [1, 2] -> late"),
            (vec![of(1, 10), of(2, 10).late()], "major [1, 2]"),
            (vec![of(1, 7).late()], "none"),
            // Deletions are no epoch's, and come last.
            (vec![file(1).late(), file(2).late(), of(3, 7), of(4, 7)], "major [3, 4]"),
            (vec![file(1).late(), file(2).late(), of(3, 7)], "major [1, 2] -> late"),
            (
                vec![file(1).late().epoch(7, 0, 9).epoch(8, 0, 9)],
                "major [1] -> [7, 8]",
            ),
        ] {
            assert_eq!(next(&files, &time_tiered()), expected, "{files:?}");
        }
    }

    #[test]
    fn epochs_are_taken_out_some_at_a_time() {
        let all = Vec::from_iter(-200..9);
        assert_eq!(
            next(&[mixed(1, &all)], &time_tiered()),
            format!("major [1] -> {:?}", Vec::from_iter(-119..9))
        );
    }

    #[test]
    fn what_is_alone_is_rewritten_if_something_has_become_droppable() {
        let run = |id, from_s| dying(id, from_s).run(id);
        for (files, expected) in [
            (vec![run(1, 100_000).created(50_000)], "tombstones [1] -> inplace"),
            (vec![run(1, 195_000).created(50_000)], "none"),
            (vec![run(1, 100_000).created(50_000).busy()], "none"),
            // It was there when the run was written, and had to stay.
            (vec![run(1, 100_000).created(150_000)], "none"),
            (vec![run(1, 100_000).created(105_000)], "tombstones [1] -> inplace"),
            (vec![dying(1, 100_000).created(150_000)], "none"),
            (
                vec![dying(1, 100_000).created(150_000).flushed()],
                "tombstones [1] -> inplace",
            ),
            (vec![run(1, 100_000).created(9), file(2).busy()], "none"),
            (
                vec![
                    run(1, 100_000).created(9).tokens(0, 4),
                    run(2, 100_000).run(1).created(9).bytes(2 * MIB).tokens(5, 9),
                ],
                "tombstones [2] -> inplace",
            ),
        ] {
            assert_eq!(next(&files, &size_tiered()), expected, "{files:?}");
        }
        let kept = Options {
            only_purge_repaired_tombstones: true,
            ..size_tiered()
        };
        assert_eq!(next(&[run(1, 100_000).created(50_000)], &kept), "none");
    }

    #[test]
    fn what_is_dead_goes_unread_first() {
        let dead = file(1).ends(100_000).timestamps(0, 1);
        let files = [dead, file(2).timestamps(5, 9), file(3).timestamps(5, 9)];
        assert_eq!(next(&files, &size_tiered()), "expired [1] -> nothing");
        assert_eq!(next(&files[1..], &size_tiered()), "major [2, 3]");
    }
}
