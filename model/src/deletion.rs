//! What a deletion says: everything written at or before its timestamp is gone.

use crate::varint;

/// A deletion of a row, a range, a partition or a whole collection.
///
/// It shadows everything in its reach whose timestamp is at most its own: a deletion wins ties
/// (`docs/semantics/conflicts.md`, rule 1).
///
/// [`MutationBuilder`](crate::MutationBuilder) and [`RowBuilder`](crate::RowBuilder) take it.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Deletion {
    /// Microseconds since the Unix epoch, as the client or the server stamped the delete; `i64::MIN` for none.
    pub timestamp: i64,
    /// When the deletion was made by the deleting node's clock, in seconds since the Unix epoch; grace is counted from here.
    pub local_deletion_time: u32,
}

impl Deletion {
    /// No deletion.
    pub const LIVE: Deletion = Deletion {
        timestamp: i64::MIN,
        local_deletion_time: u32::MAX,
    };

    /// Bytes of [`put`](Self::put).
    pub(crate) const ENCODED_LEN: usize = 12;

    /// A deletion at `timestamp` microseconds, made at `local_deletion_time` seconds.
    pub const fn new(timestamp: i64, local_deletion_time: u32) -> Deletion {
        Deletion {
            timestamp,
            local_deletion_time,
        }
    }

    /// Whether nothing is deleted.
    #[inline]
    pub const fn is_live(&self) -> bool {
        self.timestamp == i64::MIN
    }

    /// Whether data written at `timestamp` is deleted.
    #[inline]
    pub const fn covers(&self, timestamp: i64) -> bool {
        timestamp <= self.timestamp
    }

    /// The stronger of two: the higher timestamp, then the later local time.
    #[inline]
    pub fn max(self, other: Deletion) -> Deletion {
        if self.is_live() {
            return other;
        }
        if other.is_live() {
            return self;
        }
        let rank = |d: Deletion| (d.timestamp, d.local_deletion_time);
        if rank(other) > rank(self) { other } else { self }
    }

    /// Appends timestamp and local time, both little-endian.
    #[inline]
    pub(crate) fn put(self, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.timestamp.to_le_bytes());
        out.extend_from_slice(&self.local_deletion_time.to_le_bytes());
    }

    /// Takes what [`put`](Self::put) appended; `None` if it is cut or is not a deletion.
    #[inline]
    pub(crate) fn get(input: &mut &[u8]) -> Option<Deletion> {
        let bytes: [u8; Self::ENCODED_LEN] = varint::get_array(input)?;
        let mut rest = &bytes[..];
        let timestamp = i64::from_le_bytes(varint::get_array(&mut rest)?);
        let local_deletion_time = u32::from_le_bytes(varint::get_array(&mut rest)?);
        (timestamp != i64::MIN).then_some(Deletion {
            timestamp,
            local_deletion_time,
        })
    }
}

impl Default for Deletion {
    fn default() -> Self {
        Deletion::LIVE
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn covers_its_own_timestamp() {
        let deletion = Deletion::new(10, 1);
        assert!(deletion.covers(10) && deletion.covers(9) && !deletion.covers(11));
        assert!(!Deletion::LIVE.covers(i64::MIN + 1));
    }

    #[test]
    fn max_prefers_timestamp_then_local_time() {
        let (a, b, c) = (Deletion::new(10, 9), Deletion::new(11, 1), Deletion::new(11, 2));
        assert_eq!((a.max(b), b.max(a)), (b, b));
        assert_eq!((b.max(c), c.max(b)), (c, c));
        assert_eq!((Deletion::LIVE.max(a), a.max(Deletion::LIVE)), (a, a));
    }
}
