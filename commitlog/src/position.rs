//! Places in a log.

use std::fmt;

/// A place in one shard's log: the end of a record, which is the start of the next.
///
/// Ordered as the log is: by segment, then by offset.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
pub struct LogPosition {
    /// The segment's id; ids rise without a gap.
    pub segment: u64,
    /// Bytes from the start of the segment's file.
    pub offset: u32,
}

impl fmt::Display for LogPosition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.segment, self.offset)
    }
}
