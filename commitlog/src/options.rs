//! Settings of a log.

use std::path::PathBuf;
use std::time::Duration;

use crate::error::{Error, Result};
use crate::format::{BLOCK, RECORD_HEADER_LEN};

/// When a record becomes durable.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum SyncMode {
    /// Every group is written synchronously; whoever waits for it waits for the device. The default.
    Group,
    /// Groups are written at once and synced together, at most `period` later: a crash may take back that much.
    Periodic {
        /// The longest time from the write to its sync.
        period: Duration,
    },
}

/// Settings of one shard's log.
#[derive(Clone, Debug)]
pub struct Options {
    /// The log's own folder; made if it is not there. The folder that it lies in is there, for good.
    pub dir: PathBuf,
    /// The shard, noted in each segment.
    pub shard: u16,
    /// The node, noted in each segment. All segments of a log have the same one.
    pub host_id: [u8; 16],
    /// Length of a segment in bytes; a multiple of 4096, at least 16 KiB. A record takes at most half of it. Default 32 MiB.
    pub segment_bytes: u32,
    /// All segments together, the spare and those waiting to be used again included; at least four segments. Default 1 GiB.
    pub total_bytes_max: u64,
    /// A group that grew to this size is closed even if it has to wait for its write. Default 1 MiB.
    pub group_bytes_max: usize,
    /// Records that are not durable yet, or that [`Log::next_group`](crate::Log::next_group) has not taken yet, in bytes;
    /// beyond it [`append`](crate::Log::append) answers `Full`. Bounds the log's memory. Default 8 MiB.
    pub unsynced_bytes_max: usize,
    /// When records become durable. Default [`SyncMode::Group`].
    pub sync: SyncMode,
    /// A log that took no record for so long writes a small record that vouches for the last group. Default 20 ms.
    pub quiet: Duration,
}

impl Options {
    /// The defaults for `shard`'s log in `dir`; set `host_id`.
    pub fn new(dir: impl Into<PathBuf>, shard: u16) -> Options {
        Options {
            dir: dir.into(),
            shard,
            host_id: [0; 16],
            segment_bytes: 32 << 20,
            total_bytes_max: 1 << 30,
            group_bytes_max: 1 << 20,
            unsynced_bytes_max: 8 << 20,
            sync: SyncMode::Group,
            quiet: Duration::from_millis(20),
        }
    }

    /// The longest record that is taken, in bytes: with its header and that of the fill behind it, half a segment.
    pub fn record_bytes_max(&self) -> usize {
        self.segment_bytes as usize / 2 - 2 * RECORD_HEADER_LEN
    }

    /// How many segment files there may be.
    pub(crate) fn files_max(&self) -> usize {
        usize::try_from(self.total_bytes_max / u64::from(self.segment_bytes)).unwrap_or(usize::MAX)
    }

    /// How many segments may be in use before tables must be flushed: three quarters, so that flushes have time.
    pub(crate) fn held_max(&self) -> usize {
        self.files_max() * 3 / 4 - 1
    }

    pub(crate) fn check(&self) -> Result<()> {
        let refuse = |sentence: String| Err(Error::Options(sentence));
        let segment_bytes = self.segment_bytes as usize;
        if !segment_bytes.is_multiple_of(BLOCK) || !(4 * BLOCK..=1 << 30).contains(&segment_bytes) {
            return refuse(format!(
                "log segments of {segment_bytes} bytes: want a multiple of 4096 from 16 KiB to 1 GiB"
            ));
        }
        // The vouched position names its segment by a distance of 16 bits.
        if !(4..=60_000).contains(&self.files_max()) {
            return refuse(format!(
                "a log of at most {} bytes has {} segments of {segment_bytes}: want 4 to 60000",
                self.total_bytes_max,
                self.files_max()
            ));
        }
        if self.group_bytes_max < BLOCK {
            return refuse(format!(
                "log groups of at most {} bytes: want at least 4096",
                self.group_bytes_max
            ));
        }
        Ok(())
    }
}
