//! Deliberate breaks: mistakes that the simulator and the crash tests must catch.
//!
//! Without the feature `breaks` every [`broken`] is `false` at compile time. With it, at most one break is on, for the
//! whole process.

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
    /// Replay accepts records whose checksum is wrong.
    IgnoreReplayChecksum,
    /// Replay applies, out of order, what was flushed already.
    ReplayFlushedOutOfOrder,
    /// A read opens its sources without asking for partition heads.
    NoPartitionHeads,
    /// Flush computes without breathing.
    NoBreatheInFlush,
}

impl Break {
    /// Every break, in the order of declaration.
    pub const ALL: [Break; 9] = [
        Break::SkipLogSync,
        Break::AckBeforeSync,
        Break::ApplyBeforeSync,
        Break::ReleaseBeforeManifest,
        Break::SkipDirSync,
        Break::IgnoreReplayChecksum,
        Break::ReplayFlushedOutOfOrder,
        Break::NoPartitionHeads,
        Break::NoBreatheInFlush,
    ];

    /// The name on command lines.
    pub fn name(self) -> &'static str {
        match self {
            Break::SkipLogSync => "skip-log-sync",
            Break::AckBeforeSync => "ack-before-sync",
            Break::ApplyBeforeSync => "apply-before-sync",
            Break::ReleaseBeforeManifest => "release-before-manifest",
            Break::SkipDirSync => "skip-dir-sync",
            Break::IgnoreReplayChecksum => "ignore-replay-checksum",
            Break::ReplayFlushedOutOfOrder => "replay-flushed-out-of-order",
            Break::NoPartitionHeads => "no-partition-heads",
            Break::NoBreatheInFlush => "no-breathe-in-flush",
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
            Break::IgnoreReplayChecksum => "replay accepts records whose checksum is wrong",
            Break::ReplayFlushedOutOfOrder => "replay applies what was flushed already, out of order",
            Break::NoPartitionHeads => "reads open their sources without asking for partition heads",
            Break::NoBreatheInFlush => "flush computes without breathing",
        }
    }

    /// The break of this name.
    pub fn from_name(name: &str) -> Option<Break> {
        Self::ALL.into_iter().find(|b| b.name() == name)
    }
}

#[cfg(feature = "breaks")]
mod switch {
    use std::sync::atomic::{AtomicU8, Ordering};

    use super::Break;

    /// 0 = none, else the break's place in [`Break::ALL`] + 1.
    static CURRENT: AtomicU8 = AtomicU8::new(0);

    /// Turns one break on for the whole process, or all off.
    pub fn set_break(which: Option<Break>) {
        CURRENT.store(which.map_or(0, |b| b as u8 + 1), Ordering::Relaxed);
    }

    /// Whether this break is on.
    #[inline]
    pub fn broken(b: Break) -> bool {
        CURRENT.load(Ordering::Relaxed) == b as u8 + 1
    }
}

#[cfg(feature = "breaks")]
pub use switch::{broken, set_break};

/// Whether this break is on: never, in a build without the feature `breaks`.
#[cfg(not(feature = "breaks"))]
#[inline(always)]
pub fn broken(_: Break) -> bool {
    false
}
