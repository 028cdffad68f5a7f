//! Size-tiered: files of similar size are merged, so that there are few of each size.
//!
//! As Cassandra's `SizeTieredCompactionStrategy`:
//!
//! 1. Files, by size, go into **buckets** (`getBuckets`): one that is larger than `bucket_low` times a bucket's average and smaller
//!    than `bucket_high` times it joins it and changes the average; so does one smaller than `min_sstable_size` where the average is,
//!    too. Others begin a bucket.
//! 2. A bucket with `min_threshold` files can be merged, at most `max_threshold` of them at a time.
//! 3. Of several, one is **chosen** (`mostInterestingBucket`).
//!
//! Cassandra chooses the bucket, and in it the files, that are read most per key. Reads of a file are not counted here: the hot
//! end of a table is served from memory, whatever files it lies in. So it is the bucket with the smallest average, and in it the
//! smallest files: they take the fewest bytes for each file less. That is what Cassandra did before it counted reads, and what
//! its comment says where no reads were counted (its code takes the largest).
//!
//! With files of `f` bytes, a byte is written once for each tier: the flush, and log(total / f) to the base `min_threshold` merges.

use crate::options::{Options, Tiers};
use crate::unit::{Unit, merge};
use crate::{Job, JobKind};

/// All jobs that could be done, the most urgent first.
pub(crate) fn jobs(units: &[Unit<'_>], tiers: &Tiers, options: &Options) -> Vec<Job> {
    let thresholds = (options.min_threshold, options.max_threshold);
    of(units.iter().filter(|unit| !unit.busy).collect(), tiers, thresholds)
}

/// The same among some units, none of them busy, with at least and at most so many of them in a job.
pub(crate) fn of(units: Vec<&Unit<'_>>, tiers: &Tiers, (min, max): (usize, usize)) -> Vec<Job> {
    let buckets = buckets(units, tiers);
    let ready = buckets.into_iter().filter(|bucket| bucket.units.len() >= min);
    let mut ready: Vec<Bucket<'_, '_>> = ready
        .map(|mut bucket| {
            bucket.units.truncate(max);
            Bucket::new(bucket.units)
        })
        .collect();
    ready.sort_by_key(Bucket::average);
    ready.iter().map(|bucket| merge(JobKind::Tier, &bucket.units)).collect()
}

/// Units of similar size, the smallest first.
struct Bucket<'b, 'a> {
    units: Vec<&'b Unit<'a>>,
    bytes: u64,
}

impl<'b, 'a> Bucket<'b, 'a> {
    fn new(units: Vec<&'b Unit<'a>>) -> Self {
        let bytes = units.iter().map(|unit| unit.bytes).sum();
        Bucket { units, bytes }
    }

    fn average(&self) -> u64 {
        self.bytes / self.units.len() as u64
    }

    fn takes(&self, bytes: u64, tiers: &Tiers) -> bool {
        let (average, size) = (self.average(), bytes as f64);
        let similar = size > average as f64 * tiers.bucket_low && size < average as f64 * tiers.bucket_high;
        similar || (bytes < tiers.min_sstable_size && average < tiers.min_sstable_size)
    }
}

/// By size ascending. A unit that several buckets would take goes to the one of the largest average, which is nearest: in Cassandra
/// it is the one that a hash map happens to give first.
fn buckets<'b, 'a>(mut units: Vec<&'b Unit<'a>>, tiers: &Tiers) -> Vec<Bucket<'b, 'a>> {
    units.sort_by_key(|unit| unit.size_order());
    let mut buckets: Vec<Bucket<'b, 'a>> = Vec::new();
    for unit in units {
        match buckets.iter_mut().rev().find(|bucket| bucket.takes(unit.bytes, tiers)) {
            Some(bucket) => {
                bucket.units.push(unit);
                bucket.bytes += unit.bytes;
            }
            None => buckets.push(Bucket::new(vec![unit])),
        }
    }
    buckets
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{Made, file, inputs, now};
    use crate::{Output, Strategy, next_job};

    fn sizes(sizes: &[u64]) -> Vec<Made> {
        (1..).zip(sizes).map(|(id, bytes)| file(id).bytes(*bytes)).collect()
    }

    fn options(min_threshold: usize, max_threshold: usize, min_sstable_size: u64) -> Options {
        let tiers = Tiers {
            min_sstable_size,
            ..Tiers::default()
        };
        Options {
            min_threshold,
            max_threshold,
            ..Options::of(Strategy::SizeTiered(tiers))
        }
    }

    /// The sizes of the next job's inputs.
    fn chosen(files: &[u64], options: &Options) -> Vec<u64> {
        let inputs = inputs(&sizes(files), options, &now(1000, 100));
        inputs.iter().map(|id| files[*id as usize - 1]).collect()
    }

    fn bucketed(files: &[u64], low: f64, high: f64, min_sstable_size: u64) -> Vec<Vec<u64>> {
        let tiers = Tiers {
            bucket_low: low,
            bucket_high: high,
            min_sstable_size,
        };
        let made = sizes(files);
        let files: Vec<_> = made.iter().map(Made::file).collect();
        let units = crate::unit::units(&files);
        let buckets = buckets(units.iter().collect(), &tiers);
        buckets
            .iter()
            .map(|bucket| bucket.units.iter().map(|unit| unit.bytes).collect())
            .collect()
    }

    #[test]
    fn buckets_are_those_of_cassandra() {
        // SizeTieredCompactionStrategyTest.testGetBuckets has these two.
        assert_eq!(
            bucketed(&[1, 4, 8, 8, 4, 1], 0.5, 1.5, 2),
            [vec![1, 1], vec![4, 4], vec![8, 8]]
        );
        assert_eq!(
            bucketed(&[3, 8, 3, 8, 8, 3], 0.5, 1.5, 2),
            [vec![3, 3, 3], vec![8, 8, 8]]
        );
        assert_eq!(
            bucketed(&[1, 1, 1, 7, 8, 9], 0.5, 1.5, 0),
            [vec![1, 1, 1], vec![7, 8, 9]]
        );
        assert_eq!(
            bucketed(&[1, 1, 1, 7, 8, 9], 0.5, 1.5, 10).len(),
            1,
            "all of them are small"
        );
        // Bounds are exclusive.
        assert_eq!(bucketed(&[100, 150], 0.5, 1.5, 0).len(), 2);
        assert_eq!(bucketed(&[100, 149], 0.5, 1.5, 0).len(), 1);
        assert_eq!(bucketed(&[100, 199], 0.5, 2.0, 0).len(), 1);
        assert_eq!(bucketed(&[100, 120, 131], 0.5, 1.2, 0), [vec![100], vec![120, 131]]);
        // The average moves.
        assert_eq!(bucketed(&[100, 140, 170], 0.5, 1.5, 0).len(), 1);
        assert_eq!(
            bucketed(&[49, 50], 0.5, 1.01, 50).len(),
            2,
            "min_sstable_size itself is not small"
        );
    }

    #[test]
    fn nothing_is_merged_below_min_threshold() {
        assert_eq!(chosen(&[100, 100, 100], &options(4, 32, 0)), [0; 0]);
        assert_eq!(chosen(&[100, 100, 100, 100], &options(4, 32, 0)), [100; 4]);
        assert_eq!(chosen(&[100, 100, 100, 1000], &options(4, 32, 0)), [0; 0]);
        assert_eq!(chosen(&[100, 100], &options(2, 32, 0)), [100; 2]);
        assert_eq!(chosen(&[], &options(2, 32, 0)), [0; 0]);
    }

    #[test]
    fn no_more_than_max_threshold_are_merged_and_the_smallest_first() {
        assert_eq!(
            chosen(&[103, 100, 102, 101, 104], &options(4, 4, 0)),
            [103, 100, 102, 101]
        );
        assert_eq!(chosen(&[7; 40], &options(4, 32, 0)).len(), 32);
    }

    #[test]
    fn the_bucket_of_the_smallest_files_is_first() {
        assert_eq!(
            chosen(&[1000, 1000, 10, 10, 1000, 10, 1000, 10], &options(4, 32, 0)),
            [10; 4]
        );
    }

    #[test]
    fn a_run_counts_as_one_file() {
        let mut files = sizes(&[40, 60, 100, 100, 100]);
        let options = options(4, 4, 0);
        let of = |files: &[Made]| inputs(files, &options, &now(1000, 100));
        assert_eq!(of(&files), [0; 0]);
        for fragment in &mut files[..2] {
            fragment.run = Some(9);
        }
        assert_eq!(of(&files), [1, 2, 3, 4, 5]);
        files[1].busy = true;
        assert_eq!(of(&files), [0; 0], "a run is busy if a fragment is");
    }

    #[test]
    fn what_does_not_fit_is_passed_over() {
        let files = sizes(&[10, 10, 10, 10, 500, 500, 500, 500]);
        let options = options(4, 32, 0);
        let of = |bytes_max| {
            inputs(
                &files[4..],
                &options,
                &crate::Now {
                    bytes_max,
                    ..now(1000, 100)
                },
            )
        };
        assert_eq!(of(2000), [5, 6, 7, 8]);
        assert_eq!(of(1999), [0; 0]);
        let large_only = crate::Now {
            bytes_max: 39,
            ..now(1000, 100)
        };
        assert_eq!(inputs(&files, &options, &large_only), [0; 0]);
    }

    #[test]
    fn the_output_is_late_if_all_inputs_are() {
        let output = |files: Vec<Made>| {
            let files: Vec<_> = files.iter().map(Made::file).collect();
            next_job(&files, &options(2, 32, 0), &now(1000, 100)).unwrap().output
        };
        assert_eq!(output(vec![file(1).late(), file(2).late()]), Output::Run { late: true });
        assert_eq!(output(vec![file(1).late(), file(2)]), Output::Run { late: false });
    }

    #[test]
    #[should_panic(expected = "two files have one number")]
    fn rejects_a_file_given_twice() {
        inputs(&[file(1), file(1)], &Options::default(), &now(1000, 100));
    }
}
