//! Deliberate breaks: mistakes that the simulator and the crash tests must catch.
//!
//! Without the feature `breaks` every [`broken`] is `false` at compile time. With it, at most one break is on, for the
//! whole process or for one thread.

/// One deliberate mistake.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Break {
    /// The commit log does not sync its writes.
    SkipLogSync,
    /// A write is acknowledged before its log group is durable.
    AckBeforeSync,
    /// A write is visible before its log group is durable.
    ApplyBeforeSync,
    /// Log segments are released before the manifest names the sstable.
    ReleaseBeforeManifest,
    /// A directory is not synced after create, rename or remove.
    SkipDirSync,
    /// Replay delivers what a killed process wrote without syncing it.
    SkipReplaySync,
    /// Replay accepts records whose checksum is wrong.
    IgnoreReplayChecksum,
    /// Replay applies, out of order, what was flushed already.
    ReplayFlushedOutOfOrder,
    /// A read opens its sources without asking for partition heads.
    NoPartitionHeads,
    /// Flush computes without breathing.
    NoBreatheInFlush,
    /// A flush leaves the row cache's runs as they were.
    CacheIgnoresFlush,
    /// The row cache forgets the timestamps of the tombstones that it dropped.
    CacheIgnoresDropped,
    /// Rows in the row cache lose their tombstones.
    CacheForgetsTombstones,
    /// A flush starts a run in the row cache whatever older sstables hold.
    CacheStartsAnywhere,
    /// The row cache learns of a flush later than its sstable is visible.
    CachePublishesLate,
    /// A fill of the row cache is kept although its partition was flushed meanwhile.
    CacheSetsStaleFills,
    /// Eviction from a run of the row cache leaves its floor where it was.
    CacheTrimKeepsFloor,
    /// A gap found dead stays so although it was written to.
    GapsOutliveWrites,
    /// A read that has found a gap dead keeps it although its partition was written to meanwhile.
    LearnsStaleGaps,
    /// A run of row tombstones takes along what other sources have between its keys.
    DeadRunsSwallow,
    /// Rows are passed over unread for tombstones that are older.
    CancelsYounger,
    /// Rows are passed over unread for as many tombstones, of whatever keys.
    CancelsOthers,
    /// A page that was cut because of its tombstones says that nothing follows.
    CutEndsSlice,
    /// A read sees what has expired.
    ExpiredStays,
    /// A read joins an identical one that began before its partition was written to.
    JoinsStaleReads,
    /// A hot page is given although its partition was written to.
    KeepsStalePages,
    /// A store gets another number of shards before its logs are in sstables.
    ReshardsEarly,
    /// A table file from before the number of shards changed is opened by one shard only.
    ReshardedFilesUnshared,
    /// Reads follow a table's new definition before the manifest has it.
    AltersBeforeManifest,
    /// Reads join one, or are given a page, from before the table was altered.
    JoinsUnalteredReads,
    /// Rows that nothing else can change are copied as they lie, with what dropped columns hold.
    CopiesDroppedColumns,
    /// A snapshot is made without flushing first.
    SnapshotsUnflushed,
    /// A compaction purges what a memtable still needs.
    PurgesWithoutMemtables,
    /// A compaction purges what another sstable still needs.
    PurgesWithoutFiles,
    /// A compaction purges what a group of the log still needs that is not applied.
    PurgesWithoutLog,
    /// A compaction purges what is dead before its grace has passed.
    PurgesWithoutGrace,
    /// A compaction removes its inputs before the manifest says so.
    RemovesInputsEarly,
    /// A compaction leaves the tokens of its inputs in force when a fragment has them.
    NarrowsNothing,
    /// A file is dropped as deleted although it has what is younger.
    DropsLiveFiles,
    /// A compaction's fragment is not in the manifest.
    LosesFragments,
    /// A flush leaves its late file out of the manifest.
    ForgetsLateFiles,
    /// Fewer files than `min_threshold` are compacted.
    IgnoresMinThreshold,
    /// A truncation leaves in the log what replay brings back.
    TruncatesWithoutLog,
    /// A flush that is under way when its table is truncated goes on.
    FlushesOutliveTruncation,
    /// The row cache knows what was truncated.
    RunsOutliveTruncation,
    /// Shards drop a table, and its files, before the manifest says so.
    DropsBeforeManifest,
    /// The server applies logged batches without logging them.
    BatchesWithoutLog,
    /// The server looks at conditions without holding the partition.
    ConditionsUnlocked,
    /// The server answers writes before they are applied.
    AnswersBeforeApply,
    /// The server executes prepared statements as they were checked before the table was altered.
    StatementsOutliveAlterations,
}

impl Break {
    /// Every break, in the order of declaration.
    pub const ALL: [Break; 50] = [
        Break::SkipLogSync,
        Break::AckBeforeSync,
        Break::ApplyBeforeSync,
        Break::ReleaseBeforeManifest,
        Break::SkipDirSync,
        Break::SkipReplaySync,
        Break::IgnoreReplayChecksum,
        Break::ReplayFlushedOutOfOrder,
        Break::NoPartitionHeads,
        Break::NoBreatheInFlush,
        Break::CacheIgnoresFlush,
        Break::CacheIgnoresDropped,
        Break::CacheForgetsTombstones,
        Break::CacheStartsAnywhere,
        Break::CachePublishesLate,
        Break::CacheSetsStaleFills,
        Break::CacheTrimKeepsFloor,
        Break::GapsOutliveWrites,
        Break::LearnsStaleGaps,
        Break::DeadRunsSwallow,
        Break::CancelsYounger,
        Break::CancelsOthers,
        Break::CutEndsSlice,
        Break::ExpiredStays,
        Break::JoinsStaleReads,
        Break::KeepsStalePages,
        Break::ReshardsEarly,
        Break::ReshardedFilesUnshared,
        Break::AltersBeforeManifest,
        Break::JoinsUnalteredReads,
        Break::CopiesDroppedColumns,
        Break::SnapshotsUnflushed,
        Break::PurgesWithoutMemtables,
        Break::PurgesWithoutFiles,
        Break::PurgesWithoutLog,
        Break::PurgesWithoutGrace,
        Break::RemovesInputsEarly,
        Break::NarrowsNothing,
        Break::DropsLiveFiles,
        Break::LosesFragments,
        Break::ForgetsLateFiles,
        Break::IgnoresMinThreshold,
        Break::TruncatesWithoutLog,
        Break::FlushesOutliveTruncation,
        Break::RunsOutliveTruncation,
        Break::DropsBeforeManifest,
        Break::BatchesWithoutLog,
        Break::ConditionsUnlocked,
        Break::AnswersBeforeApply,
        Break::StatementsOutliveAlterations,
    ];

    /// Those of the server, which the histories of `cargo xtask sim-cql` show.
    pub const OF_SERVER: [Break; 4] = [
        Break::BatchesWithoutLog,
        Break::ConditionsUnlocked,
        Break::AnswersBeforeApply,
        Break::StatementsOutliveAlterations,
    ];

    /// The name on command lines.
    pub fn name(self) -> &'static str {
        match self {
            Break::SkipLogSync => "skip-log-sync",
            Break::AckBeforeSync => "ack-before-sync",
            Break::ApplyBeforeSync => "apply-before-sync",
            Break::ReleaseBeforeManifest => "release-before-manifest",
            Break::SkipDirSync => "skip-dir-sync",
            Break::SkipReplaySync => "skip-replay-sync",
            Break::IgnoreReplayChecksum => "ignore-replay-checksum",
            Break::ReplayFlushedOutOfOrder => "replay-flushed-out-of-order",
            Break::NoPartitionHeads => "no-partition-heads",
            Break::NoBreatheInFlush => "no-breathe-in-flush",
            Break::CacheIgnoresFlush => "cache-ignores-flush",
            Break::CacheIgnoresDropped => "cache-ignores-dropped",
            Break::CacheForgetsTombstones => "cache-forgets-tombstones",
            Break::CacheStartsAnywhere => "cache-starts-anywhere",
            Break::CachePublishesLate => "cache-publishes-late",
            Break::CacheSetsStaleFills => "cache-sets-stale-fills",
            Break::CacheTrimKeepsFloor => "cache-trim-keeps-floor",
            Break::GapsOutliveWrites => "gaps-outlive-writes",
            Break::LearnsStaleGaps => "learns-stale-gaps",
            Break::DeadRunsSwallow => "dead-runs-swallow",
            Break::CancelsYounger => "cancels-younger",
            Break::CancelsOthers => "cancels-others",
            Break::CutEndsSlice => "cut-ends-slice",
            Break::ExpiredStays => "expired-stays",
            Break::JoinsStaleReads => "joins-stale-reads",
            Break::KeepsStalePages => "keeps-stale-pages",
            Break::ReshardsEarly => "reshards-early",
            Break::ReshardedFilesUnshared => "resharded-files-unshared",
            Break::AltersBeforeManifest => "alters-before-manifest",
            Break::JoinsUnalteredReads => "joins-unaltered-reads",
            Break::CopiesDroppedColumns => "copies-dropped-columns",
            Break::SnapshotsUnflushed => "snapshots-unflushed",
            Break::PurgesWithoutMemtables => "purges-without-memtables",
            Break::PurgesWithoutFiles => "purges-without-files",
            Break::PurgesWithoutLog => "purges-without-log",
            Break::PurgesWithoutGrace => "purges-without-grace",
            Break::RemovesInputsEarly => "removes-inputs-early",
            Break::NarrowsNothing => "narrows-nothing",
            Break::DropsLiveFiles => "drops-live-files",
            Break::LosesFragments => "loses-fragments",
            Break::ForgetsLateFiles => "forgets-late-files",
            Break::IgnoresMinThreshold => "ignores-min-threshold",
            Break::TruncatesWithoutLog => "truncates-without-log",
            Break::FlushesOutliveTruncation => "flushes-outlive-truncation",
            Break::RunsOutliveTruncation => "runs-outlive-truncation",
            Break::DropsBeforeManifest => "drops-before-manifest",
            Break::BatchesWithoutLog => "batches-without-log",
            Break::ConditionsUnlocked => "conditions-unlocked",
            Break::AnswersBeforeApply => "answers-before-apply",
            Break::StatementsOutliveAlterations => "statements-outlive-alterations",
        }
    }

    /// One sentence: what the code does wrong under this break.
    pub fn describe(self) -> &'static str {
        match self {
            Break::SkipLogSync => "the commit log writes its groups without syncing them",
            Break::AckBeforeSync => "a write is acknowledged before its log group is durable",
            Break::ApplyBeforeSync => "a write becomes visible before its log group is durable",
            Break::ReleaseBeforeManifest => "log segments are released before the manifest names the sstable",
            Break::SkipDirSync => "directories are not synced after create, rename and remove",
            Break::SkipReplaySync => "replay delivers what a killed process wrote without syncing it",
            Break::IgnoreReplayChecksum => "replay accepts records whose checksum is wrong",
            Break::ReplayFlushedOutOfOrder => "replay applies what was flushed already, out of order",
            Break::NoPartitionHeads => "reads open their sources without asking for partition heads",
            Break::NoBreatheInFlush => "flush computes without breathing",
            Break::CacheIgnoresFlush => "a flush leaves the row cache's runs as they were",
            Break::CacheIgnoresDropped => "the row cache forgets the timestamps of the tombstones that it dropped",
            Break::CacheForgetsTombstones => "rows in the row cache lose their tombstones",
            Break::CacheStartsAnywhere => "a flush starts a run in the row cache whatever older sstables hold",
            Break::CachePublishesLate => "the row cache learns of a flush later than its sstable is visible",
            Break::CacheSetsStaleFills => {
                "a fill of the row cache is kept although its partition was flushed meanwhile"
            }
            Break::CacheTrimKeepsFloor => "eviction from a run of the row cache leaves its floor where it was",
            Break::GapsOutliveWrites => "a gap found dead stays so although it was written to",
            Break::LearnsStaleGaps => "a gap found dead is kept although its partition was written to meanwhile",
            Break::DeadRunsSwallow => {
                "a run of row tombstones takes along what other sources have at and between its keys"
            }
            Break::CancelsYounger => "rows are passed over unread for tombstones that are older",
            Break::CancelsOthers => "rows are passed over unread for as many tombstones, of whatever keys",
            Break::CutEndsSlice => "a page that was cut because of its tombstones says that nothing follows",
            Break::ExpiredStays => "a read sees what has expired",
            Break::JoinsStaleReads => "a read joins an identical one that began before its partition was written to",
            Break::KeepsStalePages => "a page is kept for identical reads although its partition was written to",
            Break::ReshardsEarly => "a store gets another number of shards before its logs are in sstables",
            Break::ReshardedFilesUnshared => {
                "a table file from before the number of shards changed is opened by one shard only"
            }
            Break::AltersBeforeManifest => "reads follow a table's new definition before the manifest has it",
            Break::JoinsUnalteredReads => "a read joins one, or is given a page, from before its table was altered",
            Break::PurgesWithoutMemtables => "a compaction purges what a memtable still needs",
            Break::PurgesWithoutFiles => "a compaction purges what another sstable still needs",
            Break::PurgesWithoutLog => "a compaction purges what a group of the log still needs that is not applied",
            Break::PurgesWithoutGrace => "a compaction purges what is dead before its grace has passed",
            Break::RemovesInputsEarly => "a compaction removes its inputs before the manifest says so",
            Break::DropsLiveFiles => "a file is dropped as deleted although it has what is younger",
            Break::LosesFragments => "a compaction's fragment is not in the manifest",
            Break::ForgetsLateFiles => "a flush leaves its late file out of the manifest",
            Break::IgnoresMinThreshold => "fewer files than min_threshold are compacted",
            Break::TruncatesWithoutLog => "a truncation leaves in the log what replay brings back",
            Break::FlushesOutliveTruncation => "a flush that is under way when its table is truncated goes on",
            Break::RunsOutliveTruncation => "the row cache knows what was truncated",
            Break::DropsBeforeManifest => "shards drop a table, and its files, before the manifest says so",
            Break::BatchesWithoutLog => "the server applies logged batches without logging them",
            Break::ConditionsUnlocked => "the server looks at conditions without holding the partition",
            Break::AnswersBeforeApply => "the server answers writes before they are applied",
            Break::StatementsOutliveAlterations => {
                "the server executes prepared statements as they were checked before the table was altered"
            }
            Break::NarrowsNothing => "a compaction leaves tokens of its inputs in force that a fragment has",
            Break::CopiesDroppedColumns => {
                "rows that nothing else can change are copied with what dropped columns hold"
            }
            Break::SnapshotsUnflushed => "a snapshot is made of the table files that there are, without flushing first",
        }
    }

    /// The break of this name.
    pub fn from_name(name: &str) -> Option<Break> {
        Self::ALL.into_iter().find(|b| b.name() == name)
    }
}

#[cfg(feature = "breaks")]
mod switch {
    use std::cell::Cell;
    use std::sync::atomic::{AtomicU8, Ordering};

    use super::Break;

    /// 0 = none, else the break's place in [`Break::ALL`] + 1.
    static CURRENT: AtomicU8 = AtomicU8::new(0);

    thread_local! {
        /// As [`CURRENT`], of this thread alone.
        static OF_THREAD: Cell<u8> = const { Cell::new(0) };
    }

    /// Turns one break on for the whole process, or all off.
    pub fn set_break(which: Option<Break>) {
        CURRENT.store(which.map_or(0, |b| b as u8 + 1), Ordering::Relaxed);
    }

    /// Runs `f` with one break on for this thread alone: enough for a history, which the simulator plays on one thread.
    pub fn with_break<T>(which: Break, f: impl FnOnce() -> T) -> T {
        struct Off(u8);
        impl Drop for Off {
            fn drop(&mut self) {
                OF_THREAD.set(self.0);
            }
        }
        let _off = Off(OF_THREAD.replace(which as u8 + 1));
        f()
    }

    /// Whether this break is on.
    #[inline]
    pub fn broken(b: Break) -> bool {
        let b = b as u8 + 1;
        CURRENT.load(Ordering::Relaxed) == b || OF_THREAD.get() == b
    }
}

#[cfg(feature = "breaks")]
pub use switch::{broken, set_break, with_break};

/// Whether this break is on: never, in a build without the feature `breaks`.
#[cfg(not(feature = "breaks"))]
#[inline(always)]
pub fn broken(_: Break) -> bool {
    false
}
