//! How long what is written lives.

use crate::{ModelError, TableOptions};

/// The largest TTL, seconds: 20 years (Cassandra's bound, `Attributes.MAX_TTL`).
pub const TTL_MAX: u32 = 630_720_000;

/// When a write ends, as [`RowBuilder::cell_ttl`](crate::RowBuilder::cell_ttl) and its like take it.
///
/// ```
/// use scrollback_model::{ColumnId, RowBuilder, TableOptions};
///
/// let options = TableOptions { default_ttl: 3600, ..TableOptions::default() };
/// let now_s = 1_700_000_000;
/// let end = options.expiry(Some(60), now_s)?;
/// let mut row = RowBuilder::new();
/// row.liveness_ttl(1, end.ttl, end.expires_at);
/// row.cell_ttl(ColumnId(1), 1, b"gone in a minute", end.ttl, end.expires_at);
/// # assert!(row.finish().len() > 16);
/// # Ok::<(), scrollback_model::ModelError>(())
/// ```
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Expiry {
    /// Seconds; 0: it never ends.
    pub ttl: u32,
    /// The second since the Unix epoch in which it is no more seen; [`u32::MAX`] if it never ends.
    pub expires_at: u32,
}

impl Expiry {
    /// It never ends.
    pub const NEVER: Expiry = Expiry {
        ttl: 0,
        expires_at: u32::MAX,
    };
}

impl TableOptions {
    /// When what is written at `now_s` (seconds since the Unix epoch, by the node's clock) ends. `ttl`: what the write says, in
    /// seconds; 0 is for ever, whatever the table's default is; `None` is that default.
    ///
    /// # Errors
    /// [`ModelError::Value`]: negative, above [`TTL_MAX`], or the end would be after the last second that can be stored, in
    /// February 2106.
    pub fn expiry(&self, ttl: Option<i32>, now_s: u32) -> Result<Expiry, ModelError> {
        let refused = |what| ModelError::Value { ty: "ttl", what };
        let ttl = match ttl {
            None => self.default_ttl,
            Some(ttl) => u32::try_from(ttl).map_err(|_| refused("it is negative"))?,
        };
        if ttl == 0 {
            return Ok(Expiry::NEVER);
        }
        if ttl > TTL_MAX {
            return Err(refused("it is longer than 630720000 seconds, 20 years"));
        }
        let expires_at = now_s.checked_add(ttl).filter(|end| *end != u32::MAX);
        let expires_at = expires_at.ok_or_else(|| refused("it ends after February 2106, which cannot be stored"))?;
        Ok(Expiry { ttl, expires_at })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_write_may_end_by_its_own_ttl_or_by_the_tables() {
        let of = |default_ttl| TableOptions {
            default_ttl,
            ..TableOptions::default()
        };
        let at = |ttl, expires_at| Ok(Expiry { ttl, expires_at });
        assert_eq!(of(0).expiry(None, 1000), Ok(Expiry::NEVER));
        assert_eq!(of(0).expiry(Some(5), 1000), at(5, 1005));
        assert_eq!(of(7).expiry(None, 1000), at(7, 1007));
        assert_eq!(of(7).expiry(Some(5), 1000), at(5, 1005));
        assert_eq!(of(7).expiry(Some(0), 1000), Ok(Expiry::NEVER), "0 is for ever");
        let max = TTL_MAX as i32;
        assert_eq!(of(0).expiry(Some(max), 1000), at(TTL_MAX, TTL_MAX + 1000));
        for ttl in [-1, i32::MIN, max + 1, i32::MAX] {
            assert!(of(7).expiry(Some(ttl), 1000).is_err(), "{ttl}");
        }
        assert_eq!(of(0).expiry(Some(1), u32::MAX - 2), at(1, u32::MAX - 1));
        assert!(of(0).expiry(Some(1), u32::MAX - 1).is_err());
        assert!(of(0).expiry(Some(max), u32::MAX - 5).is_err());
    }
}
