//! How much of a file belongs to some tokens, or to one partition, as well as the indexes know.

use std::ops::RangeInclusive;

use model::Token;

use crate::error::Result;
use crate::format::index::{First, IndexBlock, IndexEntry};
use crate::format::{HEAD, PARTITION_END};
use crate::table::{Cost, Table};

/// Index entries looked at between two looks at the clock.
const ENTRIES_PER_BREATH: usize = 64;

/// Where the partitions of a token begin.
pub(crate) fn start_of(token: Token) -> First<'static> {
    First {
        token,
        key: &[],
        position: None,
    }
}

impl Table {
    /// Bytes of the file that belong to the tokens from `first` to `last`, both included, as well as the top index knows, which is in
    /// memory: within an index frame tokens are taken to be spread evenly. All that there are: the whole file.
    pub fn bytes_between(&self, first: Token, last: Token) -> u64 {
        let (Some((lowest, _)), Some((highest, _))) = (&self.statistics().first, &self.statistics().last) else {
            return 0;
        };
        if first > last || *highest < first || last < *lowest {
            return 0;
        }
        if first <= *lowest && *highest <= last {
            return self.file_bytes();
        }
        let (Some(from), Some(to)) = (self.first_group(first), self.last_group(last)) else {
            return 0;
        };
        if from >= to {
            return self.group_share(from, first, last);
        }
        let between = self.group_start(to).saturating_sub(self.group_start(from + 1));
        self.group_share(from, first, last) + between + self.group_share(to, first, last)
    }

    /// The index frame under which the partitions of `token` begin, or would; `None` if there is no index frame at all.
    pub(crate) fn first_group(&self, token: Token) -> Option<usize> {
        let at = self.top().last_at(start_of(token)).unwrap_or(0);
        (at < self.top().len()).then_some(at)
    }

    /// The last index frame under which there may be something of `token` or of one before it.
    pub(crate) fn last_group(&self, token: Token) -> Option<usize> {
        self.top().last_up_to(token)
    }

    /// Where the first data frame under index frame number `group` begins.
    pub(crate) fn group_start(&self, group: usize) -> u64 {
        let before = group.checked_sub(1).and_then(|before| self.top().get(before));
        before.map_or(HEAD.len() as u64, |entry| entry.place.end())
    }

    /// Bytes of index frame number `group`, and of the data frames under it, that belong to the tokens from `first` to `last`.
    fn group_share(&self, group: usize, first: Token, last: Token) -> u64 {
        let Some(entry) = self.top().get(group) else {
            return 0;
        };
        let bytes = entry.place.end().saturating_sub(self.group_start(group));
        let low = i128::from(entry.first.token.0);
        let high = match (self.top().first(group + 1), &self.statistics().last) {
            // The next one begins with the first partition of its token.
            (Some(next), _) if next.position.is_none() => low.max(i128::from(next.token.0) - 1),
            (Some(next), _) => i128::from(next.token.0),
            (None, Some((highest, _))) => low.max(i128::from(highest.0)),
            (None, None) => low,
        };
        let within = high.min(i128::from(last.0)) - low.max(i128::from(first.0)) + 1;
        if within <= 0 {
            return 0;
        }
        // Both are below 2^65 and 2^63: this does not overflow.
        let share = i128::from(bytes >> 1) * within / (high - low + 1) * 2;
        u64::try_from(share).unwrap_or(bytes)
    }

    /// Bytes of one partition's data frames, as well as the index frames know; 0 if it is not in the file. Of a frame that it shares with
    /// others it has a part by its rows, where they are known, else as much as the others. In about one case of eighty not 0 although the
    /// partition is not in the file. Reads at most two index frames, through the block cache.
    ///
    /// # Errors
    /// [`Error::Corrupt`](crate::Error::Corrupt), [`Error::Io`](crate::Error::Io).
    pub async fn partition_bytes(&self, token: Token, key: &[u8]) -> Result<u64> {
        if !self.may_contain(token, key) {
            return Ok(0);
        }
        let first = |position| First { token, key, position };
        let (start, end) = (first(None), first(Some(PARTITION_END)));
        let (Some(from), Some(to)) = (self.top().last_at(start), self.top().last_at(end)) else {
            return Ok(0);
        };
        let mut cost = Cost::default();
        let index = self.index(from, &mut cost).await?;
        let begin = index.last_at(start).ok_or_else(|| self.inconsistent(from))?;
        let mut bytes = 0;
        for group in from..=to {
            if group > from && group < to {
                let place = self.top().get(group).map(|entry| entry.place);
                bytes += place.map_or(0, |place| place.offset.saturating_sub(self.group_start(group)));
            } else {
                let index = if group == from {
                    index.clone()
                } else {
                    self.index(group, &mut cost).await?
                };
                let begin = if group == from { begin } else { 0 };
                let end = index.last_at(end).ok_or_else(|| self.inconsistent(group))?;
                bytes += self.entries_share(group, &index, begin..=end, (token, key));
            }
            if (group - from) % ENTRIES_PER_BREATH == 0 {
                runtime::breathe().await;
            }
        }
        Ok(bytes)
    }

    /// Gives `take` bytes of data frames by partition, as [`partition_bytes`](Self::partition_bytes) counts them, and in order: of each
    /// partition with a token in `tokens` that begins a data frame or goes on in the next one, in several parts if it has several
    /// frames. Returns the bytes of the others, which are smaller than a frame and not named. Reads the index frames, through the
    /// block cache, and nothing else.
    ///
    /// # Errors
    /// [`Error::Corrupt`](crate::Error::Corrupt), [`Error::Io`](crate::Error::Io).
    pub async fn partition_shares(
        &self,
        tokens: RangeInclusive<Token>,
        mut take: impl FnMut(&[u8], u64),
    ) -> Result<u64> {
        let (Some(from), Some(to)) = (self.first_group(*tokens.start()), self.last_group(*tokens.end())) else {
            return Ok(0);
        };
        let mut others = 0;
        for group in from..=to {
            let index = self.index(group, &mut Cost::default()).await?;
            for i in 0..index.len() {
                let entry = index.get(i).ok_or_else(|| self.inconsistent(group))?;
                let next = index.first(i + 1).or_else(|| self.top().first(group + 1));
                let first = entry.first;
                // The one that goes on in the next frame, if it is another one.
                let last = next.filter(|next| next.position.is_some() && !next.is_of(first.token, first.key));
                let mut named = 0;
                for of in [Some(first), last].into_iter().flatten() {
                    let share = entry_share(&entry, next, of.token, of.key);
                    named += share;
                    if tokens.contains(&of.token) && share > 0 {
                        take(of.key, share);
                    }
                }
                if tokens.contains(&first.token) {
                    others += u64::from(entry.place.len).saturating_sub(named);
                }
                if i % ENTRIES_PER_BREATH == 0 {
                    runtime::breathe().await;
                }
            }
        }
        Ok(others)
    }

    fn entries_share(
        &self,
        group: usize,
        index: &IndexBlock,
        entries: RangeInclusive<usize>,
        (token, key): (Token, &[u8]),
    ) -> u64 {
        let share = |i| {
            let next = index.first(i + 1).or_else(|| self.top().first(group + 1));
            index.get(i).map_or(0, |entry| entry_share(&entry, next, token, key))
        };
        entries.map(share).sum()
    }
}

/// Bytes of a data frame, followed by one that begins with `next`, that belong to a partition which may lie in it.
fn entry_share(entry: &IndexEntry<'_>, next: Option<First<'_>>, token: Token, key: &[u8]) -> u64 {
    let is_first = entry.first.is_of(token, key);
    // The last one, if it is known: it goes on in the next frame.
    let last = next.filter(|next| next.position.is_some());
    let bytes = u64::from(entry.place.len);
    let Some((rows_first, rows_last)) = entry.several else {
        return if is_first { bytes } else { 0 };
    };
    let parts = entry
        .partitions
        .saturating_add(u64::from(entry.first.position.is_some()));
    // A partition without rows has its key at least: each counts as one row more.
    let of_rows = |rows: u64| {
        let all = u128::from(entry.rows) + u128::from(parts.max(1));
        let share = u128::from(bytes) * (u128::from(rows) + 1) / all;
        u64::try_from(share).unwrap_or(bytes).min(bytes)
    };
    if is_first {
        return of_rows(rows_first);
    }
    match last {
        Some(last) if last.is_of(token, key) => of_rows(rows_last),
        Some(_) => bytes.saturating_sub(of_rows(rows_first) + of_rows(rows_last)) / parts.saturating_sub(2).max(1),
        None => (bytes - of_rows(rows_first)) / parts.saturating_sub(1).max(1),
    }
}
