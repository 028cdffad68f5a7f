//! A model of a table: files made of amounts, not of rows. Flushes add some, jobs replace some, and what is written is counted.
//!
//! A file has *pieces*: so many bytes of an epoch that expire at a certain hour, and that delete so many bytes of that epoch elsewhere.
//! Merging adds pieces up; where the base of an epoch meets what deletes from it, both amounts are taken off; what has expired is
//! left out when its grace has passed. Runs are cut by tokens into fragments of 160 MiB.
//!
//! Each job is judged before it is done, by the rules that hold whatever the strategy: see [`Table::judge`].

use std::collections::{BTreeMap, BTreeSet};

use model::Token;
use scrollback_compaction::*;
use sstable::Statistics;

pub const MIB: u64 = 1 << 20;
pub const HOUR_S: u32 = 3600;
/// Never expires.
pub const FOR_EVER: u32 = u32::MAX;

const FRAGMENT_BYTES: u64 = 160 * MIB;
/// What a cell takes, bytes.
const CELL_BYTES: u64 = 1024;

#[derive(Clone, Copy, Default, PartialEq, Debug)]
pub struct Piece {
    pub bytes: u64,
    pub shadowed_bytes: u64,
}

/// By epoch and by the second of expiry.
pub type Pieces = BTreeMap<(i64, u32), Piece>;

#[derive(Clone, Debug)]
pub struct ModelFile {
    pub id: u64,
    pub run: u64,
    pub created_s: u32,
    pub first: Token,
    pub last: Token,
    pub late: bool,
    pub busy: bool,
    pub pieces: Pieces,
    pub shares: Vec<EpochShare>,
    pub statistics: Statistics,
}

impl ModelFile {
    pub fn bytes(&self) -> u64 {
        self.pieces.values().map(|piece| piece.bytes).sum()
    }

    pub fn file(&self) -> File<'_> {
        File {
            id: FileId(self.id),
            run: Some(RunId(self.run)),
            bytes: self.bytes(),
            created_s: self.created_s,
            first: self.first,
            last: self.last,
            late: self.late,
            epochs: &self.shares,
            deleted: false,
            flushed: false,
            busy: self.busy,
            statistics: &self.statistics,
        }
    }
}

/// Why something was written, and how many bytes.
#[derive(Default, Debug)]
pub struct Written {
    pub flush: u64,
    pub by_kind: BTreeMap<&'static str, u64>,
}

pub struct Table {
    pub options: Options,
    pub files: Vec<ModelFile>,
    pub now: Now,
    pub written: Written,
    pub jobs: u64,
    /// Bytes of closed epochs' bases that were rewritten, by epoch, with the epoch that was open.
    pub rewritten: Vec<(i64, i64, u64)>,
    pub expired_checked_s: Option<u32>,
    next_id: u64,
}

impl Table {
    pub fn new(options: Options) -> Table {
        let now = Now {
            seconds: 0,
            gc_grace_s: HOUR_S,
            min_timestamp_outside: i64::MAX,
            check_expired: false,
            first_open_epoch: Epoch(0),
            bytes_max: u64::MAX,
        };
        Table {
            options,
            files: Vec::new(),
            now,
            written: Written::default(),
            jobs: 0,
            rewritten: Vec::new(),
            expired_checked_s: None,
            next_id: 1,
        }
    }

    pub fn bytes(&self) -> u64 {
        self.files.iter().map(ModelFile::bytes).sum()
    }

    /// Runs, by number.
    pub fn units(&self) -> BTreeMap<u64, Vec<&ModelFile>> {
        let mut units: BTreeMap<u64, Vec<&ModelFile>> = BTreeMap::new();
        for file in &self.files {
            units.entry(file.run).or_default().push(file);
        }
        units
    }

    /// All that was written for a byte that was flushed.
    pub fn write_amplification(&self) -> f64 {
        let compaction: u64 = self.written.by_kind.values().sum();
        (self.written.flush + compaction) as f64 / self.written.flush as f64
    }

    /// Writes a file with the timestamps of now.
    pub fn flush(&mut self, pieces: Pieces, late: bool) {
        let at = i64::from(self.now.seconds) * 1_000_000;
        self.written.flush += self.add(pieces, late, (at, at), None);
    }

    /// A run with these pieces, and its bytes.
    fn add(&mut self, pieces: Pieces, late: bool, timestamps: (i64, i64), run: Option<u64>) -> u64 {
        let bytes: u64 = pieces.values().map(|piece| piece.bytes).sum();
        let shadowed: u64 = pieces.values().map(|piece| piece.shadowed_bytes).sum();
        if bytes + shadowed == 0 {
            return 0;
        }
        let fragments = if run.is_some() {
            1
        } else {
            bytes.div_ceil(FRAGMENT_BYTES).max(1)
        };
        let run = run.unwrap_or(self.next_id);
        let width = u64::MAX / fragments;
        for nth in 0..fragments {
            let part = |amount: u64| amount / fragments + u64::from(nth < amount % fragments);
            let pieces: Pieces = pieces
                .iter()
                .map(|(key, piece)| {
                    let bytes = part(piece.bytes);
                    let shadowed_bytes = part(piece.shadowed_bytes);
                    (*key, Piece { bytes, shadowed_bytes })
                })
                .collect();
            let first = i64::MIN.wrapping_add((width * nth) as i64);
            let last = first.wrapping_add((width - 1) as i64);
            self.files.push(ModelFile {
                id: self.next_id,
                run,
                created_s: self.now.seconds,
                first: Token(first),
                last: Token(last),
                late,
                busy: false,
                shares: shares(&pieces),
                statistics: statistics(&pieces, timestamps),
                pieces,
            });
            self.next_id += 1;
        }
        bytes
    }

    pub fn next_job(&mut self) -> Option<Job> {
        self.now.check_expired = self
            .options
            .expired_check_is_due(self.expired_checked_s, self.now.seconds);
        let files: Vec<File<'_>> = self.files.iter().map(ModelFile::file).collect();
        next_job(&files, &self.options, &self.now)
    }

    pub fn major_job(&self) -> Option<Job> {
        let files: Vec<File<'_>> = self.files.iter().map(ModelFile::file).collect();
        major_job(&files, &self.options, &self.now)
    }

    /// Does major jobs until there is none. Each leaves fewer units, or epochs in units, or rewrites a file once.
    pub fn compact_all(&mut self) {
        let shares: usize = self.files.iter().map(|file| file.shares.len()).sum();
        let jobs_max = 8 + 3 * (self.files.len() + shares);
        for _ in 0..jobs_max {
            let Some(job) = self.major_job() else { return };
            self.judge(&job);
            self.apply(&job);
        }
        panic!("{jobs_max} jobs, and still {:?}", self.major_job());
    }

    /// Does jobs until there is none. Every one leaves fewer units, or fewer late bytes, or less that is dead: more jobs than files
    /// and epochs together are a job that goes round in a circle.
    pub fn compact(&mut self) {
        let epochs: BTreeSet<Epoch> = self
            .files
            .iter()
            .flat_map(|file| &file.shares)
            .map(|share| share.epoch)
            .collect();
        let jobs_max = 8 + 2 * (self.files.len() + epochs.len());
        for _ in 0..jobs_max {
            let Some(job) = self.next_job() else {
                self.expired_checked_s = Some(self.now.seconds);
                return;
            };
            self.judge(&job);
            self.apply(&job);
        }
        panic!("{jobs_max} jobs, and still {:?}", self.next_job());
    }

    /// Panics if a job breaks a rule: inputs exist, are distinct and not busy; runs are whole; a merge has 2 to `max_threshold`
    /// units, tiers at least `min_threshold`; nothing that lives is dropped; bases of closed epochs are touched with reason only.
    pub fn judge(&self, job: &Job) {
        let inputs: BTreeSet<u64> = job.inputs.iter().map(|id| id.0).collect();
        assert_eq!(inputs.len(), job.inputs.len(), "an input twice: {job:?}");
        let files: Vec<&ModelFile> = self.files.iter().filter(|file| inputs.contains(&file.id)).collect();
        assert_eq!(files.len(), inputs.len(), "an input that is not there: {job:?}");
        assert!(files.iter().all(|file| !file.busy), "an input is busy: {job:?}");
        assert_eq!(job.bytes, files.iter().map(|file| file.bytes()).sum::<u64>());
        assert!(job.bytes <= self.now.bytes_max || job.output == Output::Nothing);
        let runs: BTreeSet<u64> = files.iter().map(|file| file.run).collect();
        match job.kind {
            JobKind::Expired => {
                let is_dead = |file: &&ModelFile| file.pieces.keys().all(|(_, end)| *end < self.now.gc_before());
                assert!(files.iter().all(is_dead), "a live file is dropped: {job:?}");
                return;
            }
            JobKind::Tombstones => {
                assert_eq!(files.len(), 1);
                return;
            }
            _ => {}
        }
        let fragments = self.files.iter().filter(|file| runs.contains(&file.run)).count();
        assert_eq!(fragments, files.len(), "a run is not whole: {job:?}");
        let (least, most) = match job.kind {
            JobKind::Tier => (self.options.min_threshold, self.options.max_threshold),
            JobKind::Split => (1, self.options.max_threshold),
            JobKind::Major if matches!(job.output, Output::ByEpoch(_)) => (1, usize::MAX),
            JobKind::Major => (2, usize::MAX),
            _ => (2, self.options.max_threshold),
        };
        assert!((least..=most).contains(&runs.len()), "{} units: {job:?}", runs.len());
        if let Strategy::TimeTiered(tiered) = &self.options.strategy {
            self.judge_epochs(job, &files, tiered);
        }
    }

    /// Promise 5, from the amounts alone: what is in a closed epoch's base is rewritten when it was not one run yet, or when late data
    /// reach a quarter, or their deletions a fifth, of it.
    fn judge_epochs(&self, job: &Job, files: &[&ModelFile], tiered: &TimeTiered) {
        let is_closed = |file: &&&ModelFile| {
            let of_run = files.iter().filter(|other| other.run == file.run);
            let mut epochs = of_run.flat_map(|other| &other.shares).map(|share| share.epoch);
            let epoch = epochs.next().expect("a file has shares");
            !file.late && epoch < self.now.first_open_epoch && epochs.all(|other| other == epoch)
        };
        let bases: Vec<&&ModelFile> = files.iter().filter(is_closed).collect();
        let of_epoch = |file: &ModelFile, epoch: Epoch| file.shares.iter().all(|share| share.epoch == epoch);
        match job.kind {
            JobKind::Settle(epoch) => {
                assert!(
                    files.iter().all(|file| of_epoch(file, epoch)),
                    "epochs are mixed: {job:?}"
                );
                let runs: BTreeSet<u64> = bases.iter().map(|file| file.run).collect();
                assert!(runs.len() >= 2, "it had settled: {job:?}");
            }
            JobKind::Late(epoch) => {
                assert!(
                    files.iter().all(|file| of_epoch(file, epoch)),
                    "epochs are mixed: {job:?}"
                );
                let runs: BTreeSet<u64> = files.iter().map(|file| file.run).collect();
                let sum = |run: &u64| {
                    files
                        .iter()
                        .filter(|file| file.run == *run)
                        .map(|file| file.bytes())
                        .sum::<u64>()
                };
                let base = bases.first().map(|file| file.run);
                let base = base
                    .or_else(|| runs.iter().copied().max_by_key(sum))
                    .expect("a job has inputs");
                let late: u64 = runs.iter().filter(|run| **run != base).map(sum).sum();
                let shadows = files
                    .iter()
                    .filter(|file| file.run != base)
                    .flat_map(|file| &file.shares);
                let shadowed: u64 = shadows.map(|share| share.shadowed_bytes).sum();
                let is_due = late as f64 >= tiered.late_threshold * sum(&base) as f64
                    || shadowed as f64 >= tiered.freed_threshold * sum(&base) as f64;
                assert!(is_due, "{late} late and {shadowed} shadowed of {}: {job:?}", sum(&base));
            }
            JobKind::Major => {
                let mixes = files.iter().flat_map(|file| &file.shares).map(|share| share.epoch);
                let epochs: BTreeSet<Epoch> = mixes.collect();
                assert!(
                    epochs.len() <= 1 || matches!(job.output, Output::ByEpoch(_)),
                    "epochs are mixed: {job:?}"
                );
            }
            _ => assert!(bases.is_empty(), "a closed epoch is rewritten: {job:?}"),
        }
    }

    pub fn apply(&mut self, job: &Job) {
        self.jobs += 1;
        let is_input = |file: &ModelFile| job.inputs.contains(&FileId(file.id));
        let (inputs, others): (Vec<ModelFile>, Vec<ModelFile>) = self.files.drain(..).partition(is_input);
        self.files = others;
        let open = self.now.first_open_epoch.0;
        for file in inputs.iter().filter(|file| !file.late && file.shares.len() == 1) {
            let epoch = file.shares[0].epoch.0;
            if epoch < open && job.output != Output::Nothing {
                self.rewritten.push((epoch, open, file.bytes()));
            }
        }
        let mut pieces = Pieces::new();
        for (key, piece) in inputs.iter().flat_map(|file| &file.pieces) {
            let sum = pieces.entry(*key).or_default();
            sum.bytes += piece.bytes;
            sum.shadowed_bytes += piece.shadowed_bytes;
        }
        let gc_before = self.now.gc_before();
        pieces.retain(|(_, end), _| *end >= gc_before);
        let timestamps = |of: fn(&Statistics) -> i64| inputs.iter().map(move |file| of(&file.statistics));
        let bounds = (
            timestamps(|s| s.min_timestamp).min().unwrap_or(0),
            timestamps(|s| s.max_timestamp).max().unwrap_or(0),
        );
        let written = match &job.output {
            Output::Nothing => 0,
            Output::InPlace => {
                let (late, run) = (inputs[0].late, inputs[0].run);
                let written = self.add(pieces, late, bounds, Some(run));
                if let Some(file) = self.files.last_mut().filter(|_| written > 0) {
                    (file.first, file.last) = (inputs[0].first, inputs[0].last);
                }
                written
            }
            Output::Run { late } => {
                if matches!(job.kind, JobKind::Settle(_) | JobKind::Late(_) | JobKind::Major) {
                    for piece in pieces.values_mut() {
                        piece.bytes -= piece.shadowed_bytes.min(piece.bytes);
                        piece.shadowed_bytes = 0;
                    }
                }
                self.add(pieces, *late, bounds, None)
            }
            Output::ByEpoch(epochs) => {
                let mut written = 0;
                for epoch in epochs {
                    let (own, rest) = pieces.into_iter().partition(|((of, _), _)| *of == epoch.0);
                    pieces = rest;
                    written += self.add(own, true, bounds, None);
                }
                written + self.add(pieces, true, bounds, None)
            }
        };
        let kind = match job.kind {
            JobKind::Tier => "tier",
            JobKind::Window => "window",
            JobKind::Settle(_) => "settle",
            JobKind::Late(_) => "late",
            JobKind::Split => "split",
            JobKind::Major => "major",
            JobKind::Tombstones => "tombstones",
            JobKind::Expired | JobKind::Deleted => "drop",
        };
        *self.written.by_kind.entry(kind).or_default() += written;
    }
}

fn shares(pieces: &Pieces) -> Vec<EpochShare> {
    let mut shares: Vec<EpochShare> = Vec::new();
    for ((epoch, _), piece) in pieces {
        let epoch = Epoch(*epoch);
        match shares.last_mut().filter(|share| share.epoch == epoch) {
            Some(share) => {
                share.bytes += piece.bytes;
                share.shadowed_bytes += piece.shadowed_bytes;
            }
            None => shares.push(EpochShare {
                epoch,
                bytes: piece.bytes,
                shadowed_bytes: piece.shadowed_bytes,
            }),
        }
    }
    shares
}

fn statistics(pieces: &Pieces, (min_timestamp, max_timestamp): (i64, i64)) -> Statistics {
    let mut statistics = Statistics {
        min_timestamp,
        max_timestamp,
        max_local_deletion_time: pieces.keys().map(|(_, end)| *end).max().unwrap_or(0),
        ..Statistics::default()
    };
    let position = |epoch: i64| (epoch as u64 ^ 1 << 63).to_be_bytes().to_vec();
    if let (Some(((first, _), _)), Some(((last, _), _))) = (pieces.first_key_value(), pieces.last_key_value()) {
        statistics.clustering = Some((position(*first), position(*last)));
    }
    for ((_, end), piece) in pieces {
        let cells = piece.bytes.div_ceil(CELL_BYTES);
        statistics.cells += cells;
        if *end != FOR_EVER {
            statistics.expiring_cells += cells;
            statistics.drop_times.add(*end, cells);
        }
    }
    statistics
}

/// A small generator of numbers that look random: SplitMix64 (Steele, Lea, Flood, 2014).
pub struct Numbers(pub u64);

impl Numbers {
    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    /// From `low` up to and without `high`.
    pub fn between(&mut self, low: u64, high: u64) -> u64 {
        low + self.next() % (high - low)
    }
}
