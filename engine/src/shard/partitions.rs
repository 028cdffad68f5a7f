//! Which partitions a shard has, in the order of their tokens.
//!
//! In rounds: in one step the next keys of each memtable and the list of files are taken, then each file gives its next keys as the merge
//! comes to them. So a round is one moment, whatever is flushed or compacted meanwhile, and a file is asked only for keys that are given,
//! and for one more.

use super::Shard;
use crate::error::{Error, Result};
use crate::table::{LiveFile, TableState};
use memtable::Memtable;
use model::{TableId, Token};
use runtime::ShardId;
use std::collections::VecDeque;
use std::rc::Rc;

/// Keys of a round: as many as memtables are asked for in one step.
const ROUND: usize = 32;

/// Where a walk through the partitions of a table goes on: partitions are ordered by token, and there by key.
///
/// [`Shard::partitions_from`] takes it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum TokenPosition {
    /// Before all partitions of this token.
    Before(Token),
    /// After all partitions of this token.
    After(Token),
    /// After the partition of this token and key.
    AfterKey(Token, Vec<u8>),
}

impl TokenPosition {
    /// Before all partitions.
    pub const START: TokenPosition = TokenPosition::Before(Token(i64::MIN));

    /// What lies behind this; no partition has an empty key. `None` if nothing does.
    fn into_last(self) -> Option<Found> {
        match self {
            TokenPosition::Before(token) => Some((token, Vec::new())),
            TokenPosition::After(token) => Some((Token(token.0.checked_add(1)?), Vec::new())),
            TokenPosition::AfterKey(token, key) => Some((token, key)),
        }
    }
}

/// A partition.
type Found = (Token, Vec<u8>);

/// Keys in order, of a memtable or a file.
enum Source {
    Memory(VecDeque<Found>),
    /// The next one, once it was asked for.
    File(Rc<LiveFile>, Option<Option<Found>>),
}

impl Source {
    /// The next one.
    fn head(&self) -> Option<&Found> {
        match self {
            Source::Memory(keys) => keys.front(),
            Source::File(_, head) => head.as_ref()?.as_ref(),
        }
    }

    fn pass(&mut self) {
        match self {
            Source::Memory(keys) => drop(keys.pop_front()),
            Source::File(_, head) => *head = None,
        }
    }
}

impl Shard {
    /// The tokens and keys of up to `limit` partitions of shard `to` that lie behind `after` and have no larger token than `up_to`, in
    /// order: those that have anything, live or dead. What is written meanwhile is given if it lies ahead. Pages of all shards, merged,
    /// are pages in the order of the ring.
    ///
    /// Each file and each memtable is asked for at most as many keys as are given, and a few more.
    ///
    /// # Errors
    /// [`Error::Invalid`]: there is no such table. [`Error::Corrupt`] and [`Error::Io`] name the file. [`Error::Closed`],
    /// [`Error::Panicked`].
    ///
    /// # Cancellation
    /// Changes nothing.
    pub async fn partitions_from(
        to: ShardId,
        table: TableId,
        after: TokenPosition,
        up_to: Token,
        limit: usize,
    ) -> Result<Vec<(Token, Vec<u8>)>> {
        let walk = move |shard: Rc<Shard>| async move { shard.partitions_from_here(table, after, up_to, limit).await };
        crate::store::on_shard(to, walk).await?
    }

    pub(crate) async fn partitions_from_here(
        &self,
        table: TableId,
        after: TokenPosition,
        up_to: Token,
        limit: usize,
    ) -> Result<Vec<Found>> {
        let _pass = self.readers.enter().ok_or(Error::Closed)?;
        let table = self.table(table)?;
        let mut found = Vec::new();
        let Some(mut last) = after.into_last() else {
            return Ok(found);
        };
        while found.len() < limit && last.0 <= up_to {
            let most = ROUND.min(limit - found.len());
            let before = found.len();
            self.round(&table, &last, up_to, most, &mut found).await?;
            if found.len() - before < most {
                break;
            }
            last.clone_from(found.last().expect("a full round gives keys"));
        }
        Ok(found)
    }

    /// The next `most` partitions behind `last`; fewer only if there are no more.
    async fn round(
        &self,
        table: &TableState,
        last: &Found,
        up_to: Token,
        most: usize,
        found: &mut Vec<Found>,
    ) -> Result<()> {
        // In one step: what is flushed meanwhile is in the memtable's keys or in a file.
        let mut sources = vec![Source::Memory(next_of(&table.active.borrow(), last, up_to, most))];
        for sealed in table.sealed.borrow().iter() {
            sources.push(Source::Memory(next_of(&sealed.memtable.borrow(), last, up_to, most)));
        }
        let files = Rc::clone(&table.files.borrow());
        let is_within = |file: &&Rc<LiveFile>| file.first_token() <= up_to && file.last_token() >= last.0;
        let of_files = files.iter().filter(is_within);
        sources.extend(of_files.map(|file| Source::File(Rc::clone(file), None)));
        let mut last = last.clone();
        for _ in 0..most {
            let mut next: Option<Found> = None;
            for source in &mut sources {
                if let Source::File(file, head @ None) = source {
                    let of_file = self.next_owned(file, Some((last.0, &last.1))).await?;
                    *head = Some(of_file.filter(|(token, _)| *token <= up_to));
                }
                if let Some(head) = source.head()
                    && next.as_ref().is_none_or(|next| head < next)
                {
                    next = Some(head.clone());
                }
            }
            let Some(next) = next else { return Ok(()) };
            for source in &mut sources {
                if source.head() == Some(&next) {
                    source.pass();
                }
            }
            found.push(next.clone());
            last = next;
            runtime::breathe().await;
        }
        Ok(())
    }

    /// The keys of up to `limit` partitions of this shard after `after`, in token order, that have anything at all, dead or
    /// live.
    pub(crate) async fn partitions_here(
        &self,
        table: TableId,
        after: Option<Vec<u8>>,
        limit: usize,
    ) -> Result<Vec<Vec<u8>>> {
        let after = match after {
            Some(key) => TokenPosition::AfterKey(model::token_of(&key), key),
            None => TokenPosition::START,
        };
        let found = self.partitions_from_here(table, after, Token(i64::MAX), limit).await?;
        Ok(found.into_iter().map(|(_, key)| key).collect())
    }

    /// The next partition of a file that is this shard's and in force: the file may be shared with others, and its tokens narrowed.
    async fn next_owned(&self, file: &LiveFile, after: Option<(Token, &[u8])>) -> Result<Option<Found>> {
        let tokens = file.record.tokens();
        // No partition has an empty key.
        let after = after.max(Some((*tokens.start(), &[])));
        let mut found = file.table.next_partition(after).await?;
        while let Some((token, _)) = found {
            match model::next_token_of(token, self.id.0, self.count) {
                Some(owned) if owned == token => break,
                // No partition has an empty key: all of this token come after it.
                Some(owned) => found = file.table.next_partition(Some((owned, &[]))).await?,
                None => found = None,
            }
        }
        Ok(found.filter(|(token, _)| token <= tokens.end()))
    }
}

/// The next keys of a memtable.
fn next_of(memtable: &Memtable, last: &Found, up_to: Token, most: usize) -> VecDeque<Found> {
    let mut keys = VecDeque::new();
    let mut partition = memtable.next_partition(Some((last.0, &last.1)));
    while let Some(found) = partition.filter(|found| found.token() <= up_to) {
        keys.push_back((found.token(), found.key().to_vec()));
        if keys.len() == most {
            break;
        }
        partition = memtable.next_partition(Some((found.token(), found.key())));
    }
    keys
}
