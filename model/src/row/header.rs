//! What stands before the cells of a row: its flags, liveness and deletion.

use super::{CELLS, DELETION, EXPIRING, LIVENESS, PLAIN, UNIFORM};
use crate::{Deletion, varint};

/// That a row exists although it may have no cells: what `INSERT` writes and `UPDATE` does not.
///
/// [`RowRef::liveness`](crate::RowRef::liveness) gives it.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Liveness {
    /// Microseconds since the Unix epoch.
    pub timestamp: i64,
    /// Seconds to live as asked for by the writer; 0 for ever.
    pub ttl: u32,
    /// When it ends, in seconds since the Unix epoch; `u32::MAX` if `ttl` is 0.
    pub expires_at: u32,
}

impl Liveness {
    /// The `ttl` that marks a liveness as expired from the start: it beats others of its timestamp and is never live.
    /// (Cassandra's marker for rows of materialised views; nothing here writes it yet, the merge rule knows it.)
    pub const EXPIRED_TTL: u32 = i32::MAX as u32;

    /// A liveness that does not expire.
    pub const fn new(timestamp: i64) -> Liveness {
        Liveness {
            timestamp,
            ttl: 0,
            expires_at: u32::MAX,
        }
    }

    /// A liveness that ends at `expires_at`; with `ttl` 0 it does not expire.
    pub const fn expiring(timestamp: i64, ttl: u32, expires_at: u32) -> Liveness {
        if ttl == 0 {
            Liveness::new(timestamp)
        } else {
            Liveness {
                timestamp,
                ttl,
                expires_at,
            }
        }
    }

    /// Whether it holds at `now_s`.
    #[inline]
    pub const fn is_live(&self, now_s: u32) -> bool {
        self.ttl == 0 || (self.ttl != Self::EXPIRED_TTL && now_s < self.expires_at)
    }
}

/// What stands before the cells.
#[derive(Clone, Copy)]
pub(crate) struct Header {
    pub(crate) flags: u8,
    pub(crate) liveness: Option<Liveness>,
    pub(crate) deletion: Deletion,
    pub(crate) base: i64,
}

impl Header {
    /// Of the row with nothing in it.
    pub(super) const EMPTY: Header = Header {
        flags: 0,
        liveness: None,
        deletion: Deletion::LIVE,
        base: 0,
    };

    /// Whether the cells, if there are any, all have the base's timestamp.
    #[inline]
    pub(crate) fn is_uniform(&self) -> bool {
        self.flags & (CELLS | UNIFORM) != CELLS
    }

    /// Whether the cells, if there are any, are all live without expiry.
    #[inline]
    pub(crate) fn is_plain(&self) -> bool {
        self.flags & (CELLS | PLAIN) != CELLS
    }

    /// Reads the header and leaves the cells in `input`; `None` if the bytes are not one.
    #[inline]
    pub(super) fn read(input: &mut &[u8]) -> Option<Header> {
        let [flags] = varint::get_array(input)?;
        let mut header = Header { flags, ..Header::EMPTY };
        if flags == 0 {
            return input.is_empty().then_some(header);
        }
        header.base = i64::from_le_bytes(varint::get_array(input)?);
        let impossible = flags & !(LIVENESS | EXPIRING | DELETION | CELLS | UNIFORM | PLAIN) != 0
            || flags & (LIVENESS | EXPIRING) == EXPIRING
            || (flags & CELLS == 0 && flags & (UNIFORM | PLAIN) != 0)
            || header.base == i64::MIN;
        if impossible {
            return None;
        }
        if flags & LIVENESS != 0 {
            let mut liveness = Liveness::new(header.base);
            if flags & EXPIRING != 0 {
                liveness.ttl = varint::get_u32(input)?;
                liveness.expires_at = u32::from_le_bytes(varint::get_array(input)?);
                if liveness.ttl == 0 {
                    return None;
                }
            }
            header.liveness = Some(liveness);
        }
        if flags & DELETION != 0 {
            let timestamp = match header.liveness {
                Some(_) => header.base.wrapping_add(varint::get_i64(input)?),
                None => header.base,
            };
            let local_deletion_time = u32::from_le_bytes(varint::get_array(input)?);
            if timestamp == i64::MIN {
                return None;
            }
            header.deletion = Deletion {
                timestamp,
                local_deletion_time,
            };
        }
        Some(header)
    }
}
