//! Runs as one: what a strategy counts.

use std::collections::BTreeMap;

use crate::{Epoch, EpochShare, File, Job, JobKind, Output, RunId};

/// A file that stands alone, or all fragments of a run.
#[derive(Debug)]
pub(crate) struct Unit<'a> {
    /// By number, ascending.
    pub(crate) files: Vec<File<'a>>,
    pub(crate) bytes: u64,
    /// Whether all of it was written as late.
    pub(crate) late: bool,
    /// Whether some of it is no input for a job.
    pub(crate) busy: bool,
    /// Largest timestamp.
    pub(crate) max_timestamp: i64,
    /// By epoch, ascending, each once; none in which nothing is.
    pub(crate) epochs: Vec<EpochShare>,
}

impl<'a> Unit<'a> {
    fn new(files: Vec<File<'a>>) -> Unit<'a> {
        let mut epochs: Vec<EpochShare> = Vec::new();
        let shares = files.iter().flat_map(|file| file.epochs);
        for share in shares.filter(|share| share.bytes + share.shadowed_bytes > 0) {
            match epochs.binary_search_by_key(&share.epoch, |known| known.epoch) {
                Ok(at) => {
                    epochs[at].bytes += share.bytes;
                    epochs[at].shadowed_bytes += share.shadowed_bytes;
                }
                Err(at) => epochs.insert(at, *share),
            }
        }
        let timestamps = files.iter().map(|file| file.statistics.max_timestamp);
        Unit {
            bytes: files.iter().map(|file| file.bytes).sum(),
            late: files.iter().all(|file| file.late),
            busy: files.iter().any(|file| file.busy),
            max_timestamp: timestamps.max().unwrap_or(i64::MIN),
            epochs,
            files,
        }
    }

    /// Smaller ones first; equal ones by age.
    pub(crate) fn size_order(&self) -> impl Ord {
        (self.bytes, self.files[0].id)
    }

    /// What it holds of an epoch.
    pub(crate) fn share(&self, epoch: Epoch) -> Option<&EpochShare> {
        let at = self.epochs.binary_search_by_key(&epoch, |share| share.epoch).ok()?;
        Some(&self.epochs[at])
    }
}

/// The units of `files`, which are ascending by number: those of runs and those alone, by the number of their first file.
pub(crate) fn units<'a>(files: &[File<'a>]) -> Vec<Unit<'a>> {
    let mut groups: Vec<Vec<File<'a>>> = Vec::new();
    let mut runs: BTreeMap<RunId, usize> = BTreeMap::new();
    for file in files {
        let at = file
            .run
            .map_or(groups.len(), |run| *runs.entry(run).or_insert(groups.len()));
        if at == groups.len() {
            groups.push(Vec::new());
        }
        groups[at].push(*file);
    }
    groups.into_iter().map(Unit::new).collect()
}

/// The job that merges `units` into one run; late if all of them are.
pub(crate) fn merge(kind: JobKind, units: &[&Unit<'_>]) -> Job {
    let late = units.iter().all(|unit| unit.late);
    job(kind, units, Output::Run { late })
}

/// The job that replaces `units` by `output`.
pub(crate) fn job(kind: JobKind, units: &[&Unit<'_>], output: Output) -> Job {
    let mut inputs: Vec<_> = units.iter().flat_map(|unit| &unit.files).map(|file| file.id).collect();
    inputs.sort_unstable();
    Job {
        kind,
        inputs,
        bytes: units.iter().map(|unit| unit.bytes).sum(),
        output,
    }
}
