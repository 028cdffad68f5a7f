//! What holds for any files and options: each job is one that may be done, and after enough of them nothing is to be done.

use super::model::*;
use proptest::prelude::{Just, any, prop_assert, prop_assert_eq, prop_oneof, proptest};
use proptest::strategy::Strategy as Generator;
use scrollback_compaction::*;

/// What a run is made of: pieces (epoch, expiry in hours or none, bytes, bytes shadowed), late, busy, hour of its writing.
type Run = (Vec<(i64, Option<u32>, u64, u64)>, bool, bool, u32);

fn runs() -> impl Generator<Value = Vec<Run>> {
    let bytes = prop_oneof![1..1000u64, 1..64 * MIB, 1..2000 * MIB];
    let piece = (
        0..12i64,
        proptest::option::of(0..2000u32),
        bytes,
        prop_oneof![3 => Just(0), 1 => 1..200 * MIB],
    );
    let pieces = prop_oneof![
        2 => proptest::collection::vec(piece.clone(), 1..=1),
        1 => proptest::collection::vec(piece, 1..8)
    ];
    let run = (pieces, any::<bool>(), proptest::bool::weighted(0.1), 0..1000u32);
    proptest::collection::vec(run, 0..60)
}

fn options() -> impl Generator<Value = Options> {
    let tiers =
        (0..100 * MIB, 0.1..1.0f64, 1.0..3.0f64).prop_map(|(min_sstable_size, bucket_low, bucket_high)| Tiers {
            bucket_low,
            bucket_high,
            min_sstable_size,
        });
    let tiered = (tiers.clone(), 2..20usize, 0.01..1.0f64, 0.01..1.0f64);
    let tiered = tiered.prop_map(|(tiers, open_threshold, late_threshold, freed_threshold)| TimeTiered {
        tiers,
        open_threshold,
        late_threshold,
        freed_threshold,
        ..TimeTiered::default()
    });
    let window = (tiers.clone(), 1..1_000_000u64).prop_map(|(tiers, window_s)| TimeWindow {
        tiers,
        window_s,
        ..TimeWindow::default()
    });
    let strategy = prop_oneof![
        tiers.prop_map(Strategy::SizeTiered),
        tiered.prop_map(Strategy::TimeTiered),
        window.prop_map(Strategy::TimeWindow),
    ];
    let tombstones = (any::<bool>(), 0.0..1.0f64, 0..1_000_000u64, any::<bool>());
    let tombstones = tombstones.prop_map(|(enabled, threshold, interval_s, unchecked)| TombstoneOptions {
        enabled,
        threshold,
        interval_s,
        unchecked,
    });
    (strategy, 2..6usize, 0..30usize, tombstones).prop_map(|(strategy, min_threshold, more, tombstones)| Options {
        min_threshold,
        max_threshold: min_threshold + more,
        tombstones,
        ..Options::of(strategy)
    })
}

fn table(runs: &[Run], options: Options, open: i64, bytes_max: u64) -> Table {
    let mut table = Table::new(options);
    for (pieces, late, busy, hour) in runs {
        table.now.seconds = hour * HOUR_S;
        let mut sums = Pieces::new();
        for (epoch, end, bytes, shadowed_bytes) in pieces {
            let end = end.map_or(FOR_EVER, |hours| hours * HOUR_S);
            let sum = sums.entry((*epoch, end)).or_default();
            sum.bytes += bytes;
            sum.shadowed_bytes += shadowed_bytes;
        }
        let before = table.files.len();
        table.flush(sums, *late);
        table.files[before..].iter_mut().for_each(|file| file.busy = *busy);
    }
    table.now.seconds = 1500 * HOUR_S;
    table.now.first_open_epoch = Epoch(open);
    table.now.bytes_max = bytes_max;
    table
}

proptest! {
    /// `compact` panics if a job breaks a rule, and if there is always another one.
    #[test]
    fn prop_jobs_may_be_done_and_come_to_an_end(
        runs in runs(),
        options in options(),
        open in 0..14i64,
        bytes_max in prop_oneof![Just(u64::MAX), 1..4000 * MIB]
    ) {
        let mut table = table(&runs, options, open, bytes_max);
        table.compact();
        prop_assert_eq!(table.next_job(), None);
        let busy = table.files.iter().filter(|file| file.busy).count();
        table.files.iter_mut().for_each(|file| file.busy = false);
        prop_assert!(table.files.len() >= busy, "busy files are still there");
        table.compact();
    }

    /// The order in which files are listed does not matter, nor does asking twice.
    #[test]
    fn prop_a_decision_depends_on_the_files_alone(runs in runs(), options in options(), open in 0..14i64, turn in 0..60usize) {
        let mut table = table(&runs, options, open, u64::MAX);
        let job = table.next_job();
        prop_assert_eq!(&table.next_job(), &job);
        let turn = turn % table.files.len().max(1);
        table.files.rotate_left(turn);
        prop_assert_eq!(table.next_job(), job);
    }

    /// Asked for as a whole, a table comes to one run for each epoch or window, or to one, but for what is busy or too large; and is
    /// left alone when it is asked for again.
    #[test]
    fn prop_a_major_compaction_leaves_one_run_of_each(
        runs in runs(),
        options in options(),
        open in 0..14i64,
        bytes_max in prop_oneof![3 => Just(u64::MAX), 1 => 1..4000 * MIB]
    ) {
        let mut table = table(&runs, options, open, bytes_max);
        table.compact_all();
        prop_assert_eq!(table.major_job(), None);
        if bytes_max == u64::MAX {
            let mut seen = std::collections::BTreeSet::new();
            for files in table.units().values().filter(|files| files.iter().all(|file| !file.busy)) {
                let newest = files.iter().map(|file| file.statistics.max_timestamp).max().unwrap_or(0);
                let of = match &table.options.strategy {
                    Strategy::SizeTiered(_) => 0,
                    Strategy::TimeWindow(window) => newest.div_euclid(1_000_000).div_euclid(window.window_s as i64),
                    Strategy::TimeTiered(_) => {
                        let epochs: std::collections::BTreeSet<i64> =
                            files.iter().flat_map(|file| &file.shares).map(|share| share.epoch.0).collect();
                        prop_assert_eq!(epochs.len(), 1, "taken apart");
                        epochs.into_iter().next().unwrap_or(0)
                    }
                };
                prop_assert!(seen.insert(of), "two runs of {}", of);
            }
        }
        table.files.iter_mut().for_each(|file| file.busy = false);
        table.compact_all();
    }
}
