//! Rows of a table file whose tombstones lie elsewhere, passed over unread.
//!
//! Messages that were deleted after their flush have their tombstones in a memtable, or in a younger file. To merge each with its
//! tombstone costs a page behind very many of them milliseconds. An index entry has the sum of the hashes of its rows' keys, and
//! so has each node of a memtable's tree of its row tombstones' keys. So where the merge comes to an unread block, or group of
//! blocks, of a file:
//!
//! 1. Up to where that ends, the other sources must have row tombstones and nothing else: no other row, no range change.
//! 2. They must be as many as the block's rows, of the same keys, and none of them older than the youngest of those: a deletion
//!    wins a tie.
//! 3. Then each row of the block is dead, and each of the tombstones has nothing else to delete: all of them are passed over.
//!
//! If any of this fails, nothing has changed, and the block is read. A whole index frame is compared like one block, and several
//! frames like one as long as that succeeds, twice as many each time: so a run of 100,000 costs a few descents in memory, and in a
//! file a few blocks of tombstones, those in which the stretches end.

use super::read::Source;
use crate::error::Result;
use model::{DeadRows, RowSource};
use runtime::Break;

/// Blocks, or groups of them, compared as one, at most.
const BLOCKS_MAX: usize = 64;

/// How many blocks, or groups of them, a read compares as one.
pub(super) struct Stretch {
    blocks: usize,
    /// Once several were compared in vain, it is one at a time.
    grows: bool,
}

impl Stretch {
    pub(super) fn new() -> Stretch {
        Stretch { blocks: 1, grows: true }
    }

    /// Has all sources pass over the unread rows that `sources[at]` is pending at and the tombstones of just these, if that is what
    /// there is. Returns the number of rows passed over.
    ///
    /// # Errors
    /// Of reading a block of tombstones.
    ///
    /// # Cancellation
    /// Safe.
    pub(super) async fn pass(&mut self, sources: &mut [Source], at: usize) -> Result<u64> {
        let mut passed = pass(sources, at, self.blocks).await?;
        if passed == 0 && self.blocks > 1 {
            *self = Stretch {
                blocks: 1,
                grows: false,
            };
            passed = pass(sources, at, 1).await?;
        }
        if passed > 0 && self.grows {
            self.blocks = BLOCKS_MAX.min(2 * self.blocks);
        }
        Ok(passed)
    }
}

async fn pass(sources: &mut [Source], at: usize, blocks: usize) -> Result<u64> {
    let Source::File(cursor) = &sources[at] else {
        return Ok(0);
    };
    if sources.len() == 1 {
        return Ok(0);
    }
    let Some(mut unread) = cursor.unread().filter(|unread| unread.alive > 0) else {
        return Ok(0);
    };
    let mut behind = None;
    if blocks > 1 {
        let Some((all, cursor)) = cursor.unread_run(blocks) else {
            return Ok(0);
        };
        (unread, behind) = (all, Some(cursor));
    }
    // If the block has no tombstone of its own, it is enough to look as far as to a file that cannot have any: if the keys are
    // the same, they all lie before that.
    let mut until = unread.until.clone();
    if unread.dead.count == 0 {
        for (_, source) in sources.iter().enumerate().filter(|(index, _)| *index != at) {
            match source {
                Source::File(cursor) if !cursor.may_have_dead() => cursor.draw_in(&mut until),
                _ => {}
            }
        }
    }
    let until = &until[..];
    let mut dead = DeadRows::NONE;
    let mut files = Vec::new();
    for (index, source) in sources.iter().enumerate() {
        match source {
            _ if index == at => {}
            Source::Memory(rows) => match rows.dead_until(until) {
                Some(of) => dead.add(&of),
                None => return Ok(0),
            },
            Source::File(cursor) if cursor.is_beyond(until) => {}
            Source::File(_) => files.push(index),
            Source::Run(_) => return Ok(0),
        }
    }
    let may_do = |dead: &DeadRows| {
        let old_enough = dead.min_timestamp >= unread.max_timestamp || runtime::broken(Break::CancelsYounger);
        dead.count <= unread.alive && old_enough
    };
    let mut ahead = Vec::with_capacity(files.len());
    for &index in &files {
        if !may_do(&dead) {
            return Ok(0);
        }
        let Source::File(cursor) = &mut sources[index] else {
            continue;
        };
        let most = unread.alive - dead.count;
        let least = if files.len() == 1 { most } else { 0 };
        let Some((of, cursor)) = cursor.dead_until(until, least, most).await? else {
            return Ok(0);
        };
        dead.add(&of);
        ahead.push(cursor);
    }
    let same = dead.digest == unread.alive_digest || runtime::broken(Break::CancelsOthers);
    if dead.count != unread.alive || !same || !may_do(&dead) {
        return Ok(0);
    }
    for (index, cursor) in files.into_iter().zip(ahead) {
        sources[index] = Source::File(cursor);
    }
    for (index, source) in sources.iter_mut().enumerate() {
        match source {
            Source::File(cursor) if index == at => match behind.take() {
                Some(behind) => *cursor = behind,
                None => cursor.pass_unread(),
            },
            Source::Memory(rows) => {
                rows.skip_dead(Some(until));
            }
            Source::File(_) | Source::Run(_) => {}
        }
    }
    Ok(unread
        .alive
        .saturating_add(unread.dead.count)
        .saturating_add(dead.count))
}
