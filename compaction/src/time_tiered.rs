//! Time-tiered: the files of one epoch become one run when the epoch is over, and then are left alone.
//!
//! An *epoch* is a span of the clustering key's own time. A flush writes a file for each open epoch and one *late* file for all rows of
//! closed ones; so a unit (a file, or a run) holds either one epoch or, if it is late or was written under another strategy,
//! several: a *mixed* one. In the order of urgency:
//!
//! 1. An **open** epoch's units are tiered by size (`size_tiered`), `open_threshold` at a time.
//! 2. A **closed** epoch *settles*: if more than one unit of it was not written as late, all of them become one run, `max_threshold`
//!    at a time, without waiting for `min_threshold`. Late units of it alone are taken along.
//! 3. What is left, one unit or, if there is none, the largest late one, is the epoch's **base**. *Late data* are all other units of the
//!    epoch, and its shares of mixed ones. They are *due* when their bytes reach `late_threshold` of the base, or when what they
//!    delete and overwrite reaches `freed_threshold` of it. If the late units of this epoch alone are due, they are merged with the base.
//!    An epoch that has late units only is being *imported* until none of them is younger than ten minutes. Until then nothing of it is
//!    merged by this rule, so that the import does not rewrite it for each quarter that it grows by.
//! 4. If they are due only with its shares of mixed units, those are *split*: each epoch that is due or has a MiB gets a late
//!    file of its own, the rest stays together. 3 follows. A mixed unit is split only if a twentieth of it is due.
//! 5. **Late units** are tiered by size, those below 4 MiB as one: those of each closed epoch, the mixed ones; `open_threshold` at a time those of an epoch that is
//!    being imported, `min_threshold` the others.
//!
//! Why splitting is apart from merging: `docs/decisions/0006-late-data-are-split-before-they-are-merged.md`. The twentieth bounds what
//! waits: less than that of each mixed unit is due and not merged.
//!
//! A base is an input of 2 and 3 only, and of the tombstone rule: an epoch without late data is never rewritten once it has settled.

use std::collections::BTreeMap;

use crate::options::{Options, Tiers, TimeTiered};
use crate::unit::{Unit, job, merge};
use crate::{Epoch, Job, JobKind, Now, Output, size_tiered};

/// Late files below this size are of one size, bytes: with `min_sstable_size` each would be merged with all before it.
const LATE_SIZE_MIN: u64 = 4 << 20;
/// A share of a mixed unit gets a file of its own from this size on, bytes.
const OWN_FILE_BYTES_MIN: u64 = 1 << 20;
/// A mixed unit is split if one part in so many is due.
const DUE_PARTS: u64 = 20;
/// An epoch of late units alone is being imported until this long after the last was written, seconds.
const QUIET_S: u32 = 600;

/// What lies in one epoch.
#[derive(Default)]
struct State<'b, 'a> {
    /// Units of this epoch alone, not busy, the smallest first: those that were not written as late, and those that were.
    settled: Vec<&'b Unit<'a>>,
    late: Vec<&'b Unit<'a>>,
    /// Whether a unit of this epoch alone is busy: what becomes of it is to be seen first.
    busy: bool,
    /// Of mixed units that are not busy.
    mixed: Amount,
}

/// How much late data there is.
#[derive(Clone, Copy, Default)]
struct Amount {
    bytes: u64,
    shadowed_bytes: u64,
}

impl Amount {
    fn add(&mut self, unit: &Unit<'_>, epoch: Epoch) {
        if let Some(share) = unit.share(epoch) {
            self.bytes += share.bytes;
            self.shadowed_bytes += share.shadowed_bytes;
        }
    }

    fn is_due(self, base_bytes: u64, options: &TimeTiered) -> bool {
        let reaches = |bytes: u64, threshold: f64| bytes > 0 && bytes as f64 >= threshold * base_bytes as f64;
        reaches(self.bytes, options.late_threshold) || reaches(self.shadowed_bytes, options.freed_threshold)
    }
}

impl<'b, 'a> State<'b, 'a> {
    /// The base of a closed epoch of which at most one unit was not written as late, and its late units.
    fn base(&self) -> (Option<&'b Unit<'a>>, &[&'b Unit<'a>]) {
        match (self.settled.first(), self.late.split_last()) {
            (Some(base), _) => (Some(base), &self.late),
            (None, Some((largest, others))) => (Some(largest), others),
            (None, None) => (None, &[]),
        }
    }

    /// Whether there are late units only, and a young one among them.
    fn is_imported(&self, now: &Now) -> bool {
        let mut files = self.late.iter().flat_map(|unit| &unit.files);
        self.settled.is_empty() && files.any(|file| now.seconds < file.created_s.saturating_add(QUIET_S))
    }

    /// Whether late data are due if mixed units are counted, too.
    fn is_due(&self, epoch: Epoch, options: &TimeTiered) -> bool {
        let (base, late) = self.base();
        let mut amount = self.mixed;
        late.iter().for_each(|unit| amount.add(unit, epoch));
        !self.busy && self.settled.len() < 2 && amount.is_due(base.map_or(0, |base| base.bytes), options)
    }
}

/// All jobs that could be done, the most urgent first.
pub(crate) fn jobs(units: &[Unit<'_>], tiered: &TimeTiered, options: &Options, now: &Now) -> Vec<Job> {
    let mut by_size: Vec<&Unit<'_>> = units.iter().collect();
    by_size.sort_by_key(|unit| unit.size_order());
    let mut epochs: BTreeMap<Epoch, State<'_, '_>> = BTreeMap::new();
    let mut mixed: Vec<&Unit<'_>> = Vec::new();
    for unit in by_size {
        match unit.epochs.as_slice() {
            [share] => {
                let state = epochs.entry(share.epoch).or_default();
                match unit {
                    _ if unit.busy => state.busy = true,
                    _ if unit.late => state.late.push(unit),
                    _ => state.settled.push(unit),
                }
            }
            _ if unit.busy => {}
            shares => {
                for share in shares {
                    epochs.entry(share.epoch).or_default().mixed.add(unit, share.epoch);
                }
                mixed.push(unit);
            }
        }
    }
    let open = epochs.split_off(&now.first_open_epoch);
    let closed = epochs;
    let thresholds = (options.min_threshold, options.max_threshold);
    let open_min = tiered
        .open_threshold
        .clamp(options.min_threshold, options.max_threshold);
    let late_by_size = Tiers {
        min_sstable_size: tiered.tiers.min_sstable_size.min(LATE_SIZE_MIN),
        ..tiered.tiers.clone()
    };
    let (mut tiers, mut settle, mut late, mut late_tiers) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
    for state in open.into_values().rev() {
        let units = state.settled.into_iter().chain(state.late).collect();
        tiers.extend(size_tiered::of(units, &tiered.tiers, (open_min, options.max_threshold)));
    }
    for (epoch, state) in closed.iter().rev() {
        let imported = state.is_imported(now);
        if !state.busy {
            settle.extend(settling(*epoch, state, options));
        }
        if !state.busy && !imported {
            late.extend(merging(*epoch, state, tiered, options));
        }
        let units = if state.settled.len() < 2 { state.base().1 } else { &[] };
        let min = if imported { open_min } else { options.min_threshold };
        late_tiers.extend(size_tiered::of(
            units.to_vec(),
            &late_by_size,
            (min, options.max_threshold),
        ));
    }
    let split = splitting(&closed, &mixed, tiered, options);
    late_tiers.extend(size_tiered::of(mixed, &late_by_size, thresholds));
    let split = split.into_iter().collect();
    [tiers, settle, late, split, late_tiers].concat()
}

/// Rule 2.
fn settling(epoch: Epoch, state: &State<'_, '_>, options: &Options) -> Option<Job> {
    if state.settled.len() < 2 {
        return None;
    }
    let units = state.settled.iter().chain(&state.late).take(options.max_threshold);
    Some(merge(JobKind::Settle(epoch), &units.copied().collect::<Vec<_>>()))
}

/// Rule 3. With more late units than one job takes, the largest are looked at.
fn merging(epoch: Epoch, state: &State<'_, '_>, tiered: &TimeTiered, options: &Options) -> Option<Job> {
    let (Some(base), late) = state.base() else {
        return None;
    };
    let late = &late[late.len() - late.len().min(options.max_threshold - 1)..];
    let mut amount = Amount::default();
    late.iter().for_each(|unit| amount.add(unit, epoch));
    if state.settled.len() > 1 || !amount.is_due(base.bytes, tiered) {
        return None;
    }
    let units: Vec<&Unit<'_>> = [base].into_iter().chain(late.iter().copied()).collect();
    Some(job(JobKind::Late(epoch), &units, Output::Run { late: false }))
}

/// Rule 4. The smallest units that are worth it, `max_threshold` at a time.
fn splitting(
    closed: &BTreeMap<Epoch, State<'_, '_>>,
    mixed: &[&Unit<'_>],
    tiered: &TimeTiered,
    options: &Options,
) -> Option<Job> {
    let due: Vec<Epoch> = closed
        .iter()
        .filter(|(epoch, state)| state.mixed.bytes + state.mixed.shadowed_bytes > 0 && state.is_due(**epoch, tiered))
        .map(|(epoch, _)| *epoch)
        .collect();
    let due_bytes = |unit: &Unit<'_>| -> u64 {
        let shares = unit
            .epochs
            .iter()
            .filter(|share| due.binary_search(&share.epoch).is_ok());
        shares.map(|share| share.bytes + share.shadowed_bytes).sum()
    };
    let units: Vec<&Unit<'_>> = mixed
        .iter()
        .filter(|unit| due_bytes(unit) > 0 && due_bytes(unit) >= unit.bytes / DUE_PARTS)
        .take(options.max_threshold)
        .copied()
        .collect();
    if units.is_empty() {
        return None;
    }
    let mut own: BTreeMap<Epoch, u64> = BTreeMap::new();
    for share in units.iter().flat_map(|unit| &unit.epochs) {
        *own.entry(share.epoch).or_default() += share.bytes;
    }
    own.retain(|epoch, bytes| *bytes >= OWN_FILE_BYTES_MIN || due.binary_search(epoch).is_ok());
    Some(job(JobKind::Split, &units, Output::ByEpoch(own.into_keys().collect())))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{Made, file, now};
    use crate::{File, Strategy, next_job};

    const MIB: u64 = 1 << 20;

    /// The next job's kind, inputs and output, in short, with epochs below 10 closed.
    fn next(files: &[Made]) -> String {
        next_with(files, &Options::of(Strategy::TimeTiered(TimeTiered::default())))
    }

    fn next_with(files: &[Made], options: &Options) -> String {
        let files: Vec<File<'_>> = files.iter().map(Made::file).collect();
        let now = Now {
            first_open_epoch: Epoch(10),
            ..now(1000, 100)
        };
        let Some(job) = next_job(&files, options, &now) else {
            return "none".to_owned();
        };
        let kind = match job.kind {
            JobKind::Settle(epoch) => format!("settle {}", epoch.0),
            JobKind::Late(epoch) => format!("late {}", epoch.0),
            other => format!("{other:?}").to_lowercase(),
        };
        let inputs: Vec<u64> = job.inputs.iter().map(|id| id.0).collect();
        let output = match job.output {
            Output::Run { late: false } => String::new(),
            Output::Run { late: true } => " -> late".to_owned(),
            Output::ByEpoch(epochs) => format!(" -> {:?}", epochs.iter().map(|epoch| epoch.0).collect::<Vec<_>>()),
            other => format!(" -> {other:?}"),
        };
        format!("{kind} {inputs:?}{output}")
    }

    /// Of one epoch.
    fn of(id: u64, epoch: i64, mib: u64) -> Made {
        file(id).bytes(mib * MIB).epoch(epoch, mib * MIB, 0)
    }

    /// Late, with so many MiB of each epoch.
    fn mixed(id: u64, shares: &[(i64, u64)]) -> Made {
        let bytes = shares.iter().map(|(_, mib)| mib * MIB).sum();
        let empty = file(id).bytes(bytes).late();
        shares
            .iter()
            .fold(empty, |file, (epoch, mib)| file.epoch(*epoch, mib * MIB, 0))
    }

    fn deleting(id: u64, epoch: i64, bytes: u64, shadowed_mib: u64) -> Made {
        file(id).bytes(bytes).late().epoch(epoch, bytes, shadowed_mib * MIB)
    }

    #[test]
    fn open_epochs_are_tiered_each_by_itself() {
        let tiered = TimeTiered {
            open_threshold: 3,
            ..TimeTiered::default()
        };
        let options = Options::of(Strategy::TimeTiered(tiered));
        let next = |files: &[Made]| next_with(files, &options);
        let mut files = vec![of(1, 10, 8), of(2, 10, 8), of(3, 10, 8), of(4, 11, 8)];
        assert_eq!(next(&files), "none", "min_threshold is more");
        files.push(of(5, 10, 8));
        assert_eq!(next(&files), "tier [1, 2, 3, 5]");
        files.extend([of(6, 11, 8), of(7, 11, 8), of(8, 11, 8)]);
        assert_eq!(next(&files), "tier [4, 6, 7, 8]", "the newest first");
        files[3].bytes = 400 * MIB;
        assert_eq!(next(&files), "tier [1, 2, 3, 5]", "not of one size");
    }

    #[test]
    fn open_epochs_wait_for_more_files_of_a_size() {
        let mut files: Vec<Made> = (1..=15).map(|id| of(id, 10, 8).late()).collect();
        assert_eq!(next(&files), "none");
        files.push(of(16, 10, 8));
        assert_eq!(next(&files), format!("tier {:?}", Vec::from_iter(1..=16)));
        let options = Options {
            max_threshold: 8,
            ..Options::of(Strategy::TimeTiered(TimeTiered::default()))
        };
        assert_eq!(next_with(&files[..7], &options), "none");
        assert_eq!(
            next_with(&files[8..], &options),
            format!("tier {:?}", Vec::from_iter(9..=16))
        );
    }

    #[test]
    fn a_closed_epoch_settles_from_two_files_on() {
        assert_eq!(next(&[of(1, 9, 900), of(2, 9, 1)]), "settle 9 [1, 2]");
        assert_eq!(next(&[of(1, 9, 900)]), "none");
        assert_eq!(next(&[of(1, 9, 900), of(2, 8, 1)]), "none");
        assert_eq!(next(&[of(1, 9, 900), of(2, 10, 1)]), "none");
        assert_eq!(next(&[of(1, 9, 900), of(2, 9, 1).busy(), of(3, 9, 1)]), "none");
        assert_eq!(next(&[of(1, 9, 9).run(1), of(2, 9, 9).run(1)]), "none", "it is one run");
        assert_eq!(
            next(&[of(1, 7, 9), of(2, 7, 9), of(3, 9, 9), of(4, 9, 9)]),
            "settle 9 [3, 4]"
        );
    }

    #[test]
    fn settling_takes_late_data_of_the_epoch_along() {
        let late = || of(3, 9, 1).late();
        assert_eq!(next(&[of(1, 9, 900), of(2, 9, 1), late()]), "settle 9 [1, 2, 3]");
        assert_eq!(
            next(&[of(1, 9, 900), of(2, 9, 1), mixed(3, &[(8, 1), (9, 1)])]),
            "settle 9 [1, 2]"
        );
    }

    #[test]
    fn settling_takes_max_threshold_files_at_a_time() {
        let options = Options {
            max_threshold: 4,
            ..Options::of(Strategy::TimeTiered(TimeTiered::default()))
        };
        let files: Vec<Made> = (1..=6).map(|id| of(id, 9, 10 - id)).collect();
        assert_eq!(next_with(&files, &options), "settle 9 [3, 4, 5, 6]");
    }

    #[test]
    fn late_data_wait_for_a_quarter() {
        let with = |late: Made| next(&[of(1, 9, 100), late]);
        assert_eq!(with(of(2, 9, 24).late()), "none");
        assert_eq!(with(of(2, 9, 25).late()), "late 9 [1, 2]");
        assert_eq!(with(of(2, 9, 25).late().busy()), "none");
        assert_eq!(next(&[of(1, 9, 100).busy(), of(2, 9, 25).late()]), "none");
        let sum = [of(1, 9, 100), of(2, 9, 12).late(), of(3, 9, 13).late(), of(4, 8, 1000)];
        assert_eq!(next(&sum), "late 9 [1, 2, 3]");
    }

    #[test]
    fn deletions_wait_for_a_fifth() {
        let with = |shadowed_mib| next(&[of(1, 9, 100), deleting(2, 9, 10, shadowed_mib)]);
        assert_eq!(with(19), "none");
        assert_eq!(with(20), "late 9 [1, 2]");
        let sum = [of(1, 9, 100), deleting(2, 9, 10, 10), deleting(3, 9, 10, 10)];
        assert_eq!(next(&sum), "late 9 [1, 2, 3]");
    }

    #[test]
    fn thresholds_are_options() {
        let tiered = TimeTiered {
            late_threshold: 0.5,
            freed_threshold: 0.01,
            ..TimeTiered::default()
        };
        let options = Options::of(Strategy::TimeTiered(tiered));
        assert_eq!(next_with(&[of(1, 9, 100), of(2, 9, 49).late()], &options), "none");
        assert_eq!(
            next_with(&[of(1, 9, 100), of(2, 9, 50).late()], &options),
            "late 9 [1, 2]"
        );
        assert_eq!(
            next_with(&[of(1, 9, 100), deleting(2, 9, 10, 1)], &options),
            "late 9 [1, 2]"
        );
    }

    #[test]
    fn late_files_tier_among_themselves() {
        let small = |id| of(id, 9, 1).late();
        let files = [of(1, 9, 100), small(2), small(3), small(4), small(5)];
        assert_eq!(next(&files[..4]), "none");
        assert_eq!(next(&files), "tier [2, 3, 4, 5] -> late");
        let base = |id, epoch| of(id, epoch, 1000);
        let both = |id| mixed(id, &[(8, 1), (9, 1)]);
        let files = [base(1, 8), base(2, 9), both(3), both(4), both(5), both(6), small(7)];
        assert_eq!(next(&files[..5]), "none");
        assert_eq!(next(&files), "tier [3, 4, 5, 6] -> late");
    }

    #[test]
    fn an_epoch_of_late_data_alone_has_the_largest_as_its_base() {
        let late = |id, mib| of(id, 3, mib).late();
        assert_eq!(next(&[late(1, 100)]), "none");
        assert_eq!(next(&[late(1, 100), late(2, 24)]), "none");
        assert_eq!(next(&[late(1, 25), late(2, 100)]), "late 3 [1, 2]");
    }

    #[test]
    fn an_imported_epoch_waits_until_nothing_comes() {
        let late = |id, created_s| of(id, 3, 10).late().created(created_s);
        assert_eq!(next(&[late(1, 0), late(2, 401)]), "none", "it is second 1000");
        assert_eq!(next(&[late(1, 0), late(2, 400)]), "late 3 [1, 2]");
        assert_eq!(next(&[of(1, 3, 10), late(2, 401)]), "late 3 [1, 2]", "it had settled");
        let files: Vec<Made> = (1..=17).map(|id| late(id, 401)).collect();
        assert_eq!(next(&files[..16]), "none");
        assert_eq!(next(&files), format!("tier {:?} -> late", Vec::from_iter(1..=16)));
    }

    #[test]
    fn mixed_files_are_split_when_an_epoch_of_theirs_is_due() {
        let bases = [of(1, 7, 100), of(2, 8, 100), of(3, 9, 100)];
        let with = |more: &[Made]| next(&[&bases, more].concat());
        assert_eq!(with(&[mixed(4, &[(8, 24), (9, 24)])]), "none");
        assert_eq!(with(&[mixed(4, &[(8, 24), (9, 25)])]), "split [4] -> [8, 9]");
        assert_eq!(
            with(&[mixed(4, &[(8, 20), (9, 10)]), of(5, 9, 15).late()]),
            "split [4] -> [8, 9]"
        );
        assert_eq!(
            with(&[mixed(4, &[(8, 20), (9, 10)]), of(5, 9, 25).late()]),
            "late 9 [3, 5]",
            "no need to"
        );
        assert_eq!(with(&[mixed(4, &[(8, 20), (9, 25)]).busy()]), "none");
        let deleting = mixed(4, &[(8, 20)]).epoch(9, 0, 20 * MIB);
        assert_eq!(with(&[deleting]), "split [4] -> [8, 9]");
        let large = mixed(4, &[(6, 100), (7, 24), (8, 24), (9, 24), (12, 5)]);
        assert_eq!(
            with(&[large]),
            "split [4] -> [6, 7, 8, 9, 12]",
            "there is nothing else of epoch 6"
        );
    }

    #[test]
    fn small_shares_stay_together() {
        let shares = file(4).late().bytes(25 * MIB);
        let shares = shares.epoch(7, MIB - 1, 0).epoch(8, MIB, 0).epoch(9, 25 * MIB, 0);
        let files = [of(1, 7, 100), of(2, 8, 100), of(3, 9, 100), shares];
        assert_eq!(next(&files), "split [4] -> [8, 9]");
    }

    #[test]
    fn what_is_hardly_due_waits() {
        let bases = [of(1, 7, 4), of(2, 9, 10_000)];
        let with = |mixed: Made| next(&[&bases[..], &[mixed]].concat());
        assert_eq!(with(mixed(3, &[(7, 5), (9, 95)])), "split [3] -> [7, 9]");
        assert_eq!(with(mixed(3, &[(7, 5), (9, 99)])), "none");
    }

    #[test]
    fn files_of_another_strategy_are_taken_apart() {
        let files = [mixed(1, &[(7, 100), (8, 100), (10, 3)]), mixed(2, &[(8, 1), (9, 100)])];
        let as_written = files.map(|file| Made { late: false, ..file });
        assert_eq!(next(&as_written), "split [1, 2] -> [7, 8, 9, 10]");
        let unknown = |id| file(id);
        assert_eq!(next(&[unknown(1), unknown(2), unknown(3)]), "none");
        assert_eq!(
            next(&[unknown(1), unknown(2), unknown(3), unknown(4)]),
            "tier [1, 2, 3, 4]"
        );
    }
}
