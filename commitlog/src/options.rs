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

/// The shortest segment, bytes. Lengths are multiples of [`SEGMENT_BYTES_STEP`].
pub const SEGMENT_BYTES_MIN: u64 = 4 * SEGMENT_BYTES_STEP;
/// The longest segment, bytes.
pub const SEGMENT_BYTES_MAX: u64 = 1 << 30;
/// What a segment's length is a multiple of, bytes.
pub const SEGMENT_BYTES_STEP: u64 = BLOCK as u64;
/// The fewest segments that a log has room for.
pub const SEGMENTS_MIN: u64 = 4;
/// The most: a vouched position names its segment by a distance of 16 bits.
pub const SEGMENTS_MAX: u64 = 60_000;

/// The longest record, in bytes, that a log of such segments takes: with its header and that of the fill behind it, half a
/// segment.
pub const fn record_bytes_max(segment_bytes: u32) -> usize {
    segment_bytes as usize / 2 - 2 * RECORD_HEADER_LEN
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
    /// Length of a segment in bytes; a multiple of 4096, from 16 KiB to 1 GiB. A record takes at most half of it, headers
    /// included. Default 32 MiB.
    pub segment_bytes: u32,
    /// All segments together, the spare and those waiting to be used again included; from 4 to 60,000 segments. Default 1 GiB.
    pub total_bytes_max: u64,
    /// A group that grew to this size is closed even if it has to wait for its write; at least 4096. Default 1 MiB.
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

    /// The longest record that is taken, in bytes.
    pub fn record_bytes_max(&self) -> usize {
        record_bytes_max(self.segment_bytes)
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
        let segment_bytes = u64::from(self.segment_bytes);
        if !segment_bytes.is_multiple_of(SEGMENT_BYTES_STEP)
            || !(SEGMENT_BYTES_MIN..=SEGMENT_BYTES_MAX).contains(&segment_bytes)
        {
            return refuse(format!(
                "log segments of {segment_bytes} bytes: want a multiple of {SEGMENT_BYTES_STEP} from {SEGMENT_BYTES_MIN} to \
                 {SEGMENT_BYTES_MAX}"
            ));
        }
        if !(SEGMENTS_MIN..=SEGMENTS_MAX).contains(&(self.files_max() as u64)) {
            return refuse(format!(
                "a log of at most {} bytes has {} segments of {segment_bytes}: want {SEGMENTS_MIN} to {SEGMENTS_MAX}",
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
