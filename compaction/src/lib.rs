//! Compaction of Scrollback: which files to merge next, as pure functions, and the merge ([`Merger`]).
//!
//! [`next_job`] looks at what is known of a table's files, the table's [`Options`] and the time, and says what to do next, or that
//! nothing is to be done. It does nothing itself, and remembers nothing: a table's strategy can be changed while it runs, and each
//! decision can be repeated.
//!
//! 1. Files in which everything is deleted, or is dead and shadows nothing, are dropped, unread (`expired`).
//! 2. Fragments of one run are put together to a unit, which counts as one file (`unit`).
//! 3. The strategy lists the jobs that it would have, the most urgent first: [size-tiered](Strategy::SizeTiered),
//!    [time-tiered](Strategy::TimeTiered) or [time-window](Strategy::TimeWindow).
//! 4. If it has none, files worth rewriting for their tombstones alone follow (`tombstones`).
//! 5. The first of them that is not larger than [`Now::bytes_max`] is the answer.
//!
//! [`major_job`] says the same for whoever asks that all of a table be compacted, whether it is worth it or not (`major`).
//!
//! What is written goes through a [`Router`], which gives each epoch files of its own ([`Epochs`]).
//!
//! **Invariants** of the strategies. No I/O, no async, no clock, no randomness. The inputs of a job are files that were given, each once, none of them
//! busy; of a run all fragments, except where files are dropped or rewritten one by one. A merge has at least two units, at most
//! `max_threshold`, and leaves fewer behind: applied again and again to files that do not change otherwise, [`next_job`] ends, unless
//! [`TombstoneOptions::interval_s`] is 0.

mod epochs;
mod expired;
mod major;
mod merge;
mod options;
mod overlap;
mod route;
mod size_tiered;
mod time_tiered;
mod time_window;
mod tombstones;
mod unit;

#[cfg(test)]
mod testing;

pub use epochs::{EpochTally, Epochs};
pub use major::major_job;
pub use merge::{MergeProgress, Merger};
pub use options::{
    OptionError, Options, OverlappingTombstones, SIZE_TIERED, Strategy, TIME_TIERED, TIME_WINDOW, Tiers, TimeTiered,
    TimeWindow, TombstoneOptions,
};
pub use route::{Router, Routes, Sink};

use model::Token;
use sstable::Statistics;

/// The number of a file, as its owner counts: a later file has a larger one.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct FileId(pub u64);

/// The number of a run: files that were cut from one sorted stream, so that no two have a partition in common.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct RunId(pub u64);

/// The number of an epoch: a span of the clustering key's own time, [`TimeTiered::epoch_hours`] long. A later one is larger.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Epoch(pub i64);

/// What a file holds of one epoch.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct EpochShare {
    /// Which epoch.
    pub epoch: Epoch,
    /// Bytes of the file that belong to it.
    pub bytes: u64,
    /// Bytes that other files hold of the epoch and that what is deleted or overwritten here makes useless: an estimate, such as the
    /// number of row tombstones times the mean size of a row, and the size of the partitions that were deleted, less that of [deleted](File::deleted) files. 0 if unknown.
    pub shadowed_bytes: u64,
}

/// One sstable of the table, as far as a strategy needs to know it.
///
/// All files of the table on the shard are given, also those that a running job reads or writes, and those that are damaged: what is
/// dead may go only if none of them needs it.
#[derive(Clone, Copy, Debug)]
pub struct File<'a> {
    /// Its number, which no other one has.
    pub id: FileId,
    /// The run that it is a fragment of; `None`: it stands alone.
    pub run: Option<RunId>,
    /// Its size on disk, bytes; of a file whose tokens were narrowed, what of it is still in force, as well as it is known.
    pub bytes: u64,
    /// When it was written, seconds since the Unix epoch.
    pub created_s: u32,
    /// First token in force.
    pub first: Token,
    /// Last token in force.
    pub last: Token,
    /// Whether it was written as late: by a flush that found its rows in closed epochs, or by a job with such an output.
    pub late: bool,
    /// What it holds of which epoch, ascending, each epoch once. Only the time-tiered strategy looks at it; where it is not
    /// known, empty.
    pub epochs: &'a [EpochShare],
    /// Whether a partition deletion in another file or in a memtable covers all of it: it holds one partition, and nothing newer
    /// than that deletion. It is dropped unread, whatever it shadows, since the deletion shadows that too.
    pub deleted: bool,
    /// Whether a flush has written it, as far as is known: then nothing was left out of it that could have gone. Only a major job looks at it.
    pub flushed: bool,
    /// Whether it is no input for a new job: another one has it, or it is damaged.
    pub busy: bool,
    /// What its writer counted.
    pub statistics: &'a Statistics,
}

/// What is to be known besides files and options.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Now {
    /// Seconds since the Unix epoch.
    pub seconds: u32,
    /// `gc_grace_seconds` of the table: what was deleted or has expired longer ago than this may go.
    pub gc_grace_s: u32,
    /// The smallest timestamp in memtables of the table and in log groups that are not applied yet; `i64::MAX` if nothing is there.
    pub min_timestamp_outside: i64,
    /// Whether to look for files that can be dropped; [`Options::expired_check_is_due`] says when it is time to.
    pub check_expired: bool,
    /// The first epoch for which flushes still write files of its own: all before it are closed. It never goes back, and moves on
    /// when no flush is under way that began before: such a file would make an epoch settle twice. Only the time-tiered
    /// strategy looks at it.
    pub first_open_epoch: Epoch,
    /// Jobs that read more than this are passed over, bytes: what the disk has room for. `u64::MAX` for no limit. Dropping takes no room.
    pub bytes_max: u64,
}

impl Now {
    /// Before this second, what is dead may go.
    pub fn gc_before(&self) -> u32 {
        self.seconds.saturating_sub(self.gc_grace_s)
    }
}

/// What is to be done.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Job {
    /// Why.
    pub kind: JobKind,
    /// Files that are replaced, ascending, each once.
    pub inputs: Vec<FileId>,
    /// Their size together.
    pub bytes: u64,
    /// What replaces them.
    pub output: Output,
}

/// Why something is done.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum JobKind {
    /// Files of one size: the size-tiered strategy, also among the files of the newest window, of an open epoch, and among late ones.
    Tier,
    /// Files of a past time window.
    Window,
    /// The files of a closed epoch become one run.
    Settle(Epoch),
    /// Late data go into their epoch, which has settled.
    Late(Epoch),
    /// Late files of several epochs are taken apart, so that what is late can go into its epochs.
    Split,
    /// All that there is of a table, a window or an epoch, because somebody asked for it: [`major_job`].
    Major,
    /// One file, for its tombstones.
    Tombstones,
    /// Everything in the files is dead, and nothing needs it.
    Expired,
    /// Everything in the files is [deleted](File::deleted).
    Deleted,
}

/// What replaces a job's inputs.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Output {
    /// Nothing: the inputs are dropped unread.
    Nothing,
    /// A new run, written as [late](File::late) or not.
    Run {
        /// See [`File::late`].
        late: bool,
    },
    /// Files that take the place of the one input: in its run, and late if it was.
    InPlace,
    /// For each of these epochs, ascending, a run with its rows and with what else may concern them (partition and range deletions,
    /// the latter cut at the epoch's ends), and one run with all the rest. All of them late.
    ByEpoch(Vec<Epoch>),
}

/// What is to be done next for a table; `None` if nothing is.
///
/// It is cheap to ask: no input is read. The answer depends on the arguments alone, not on the order of `files`. Several jobs can
/// run at once: ask again with the inputs of the first marked [`busy`](File::busy), and its outputs, as they come, too. Ask again
/// each few minutes as well: what waits for time to pass is not announced.
///
/// # Panics
/// If two files have one number: one would be merged and the other removed.
pub fn next_job(files: &[File<'_>], options: &Options, now: &Now) -> Option<Job> {
    if !options.enabled {
        return None;
    }
    let mut files = files.to_vec();
    files.sort_by_key(|file| file.id);
    let distinct = files.windows(2).all(|pair| pair[0].id != pair[1].id);
    assert!(distinct, "two files have one number");
    if let Some(job) = expired::deleted(&files) {
        return Some(job);
    }
    if now.check_expired
        && let Some(job) = expired::job(&files, options, now)
    {
        return Some(job);
    }
    let units = unit::units(&files);
    let jobs = match &options.strategy {
        Strategy::SizeTiered(tiers) => size_tiered::jobs(&units, tiers, options),
        Strategy::TimeTiered(tiered) => time_tiered::jobs(&units, tiered, options, now),
        Strategy::TimeWindow(window) => time_window::jobs(&units, window, options),
    };
    let fits = |job: &Job| job.bytes <= now.bytes_max;
    let merge = jobs.into_iter().find(fits);
    merge.or_else(|| tombstones::jobs(&files, options, now).into_iter().find(fits))
}
