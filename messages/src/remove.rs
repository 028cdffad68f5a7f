//! Deleting many messages: by their ids, or all between two of them.

use crate::{
    Bucket, Event, History, MessageId, Result,
    home::LockKey,
    local::{Local, WRITE_ROWS_MAX, is_message},
    tables,
};
use engine::{PastTombstones, Read};
use model::{Deletion, MutationBuilder, RowBuilder, RowRef, Slice};

/// Rows read at once when looking which messages are there.
const LOOK_ROWS: usize = 512;

impl Local {
    /// Deletes messages by their ids, and gives how many there were. With an author, only those that this one wrote. When this
    /// returns none of them is seen any more, and none comes back.
    ///
    /// # Errors
    /// [`Error::Engine`](crate::Error::Engine): some may have been deleted; delete them again.
    ///
    /// # Cancellation
    /// Dropped, some may have been deleted.
    pub async fn delete_many(&self, channel: i64, ids: Vec<MessageId>, author: Option<i64>) -> Result<u64> {
        self.at_home(channel, move |home| async move {
            home.delete_many_here(channel, ids, author).await
        })
        .await
    }

    async fn delete_many_here(&self, channel: i64, mut ids: Vec<MessageId>, author: Option<i64>) -> Result<u64> {
        ids.sort_unstable_by_key(|id| std::cmp::Reverse(*id));
        ids.dedup();
        let (mut deleted, mut rest) = (0, &ids[..]);
        while let Some(first) = rest.first() {
            let bucket = self.bucket_of(channel, *first).await?;
            let of_one_write = rest.iter().take(WRITE_ROWS_MAX);
            let (some, later) = rest.split_at(of_one_write.take_while(|id| bucket.contains(**id)).count());
            deleted += self.delete_some(channel, bucket, some, author).await?;
            rest = later;
        }
        Ok(deleted)
    }

    /// Messages of one bucket, newest first, as many as one write takes.
    async fn delete_some(&self, channel: i64, bucket: Bucket, ids: &[MessageId], author: Option<i64>) -> Result<u64> {
        // In the order of the ids, as everybody takes them who takes several: nobody waits in a circle.
        let mut locks = Vec::with_capacity(ids.len());
        for id in ids {
            locks.push(self.home.lock(LockKey::Message(channel, *id)).await);
        }
        let key = tables::bucket_key(channel, bucket.id);
        let author = author.map(i64::to_be_bytes);
        let mut found = Vec::with_capacity(ids.len());
        self.look(&key, ids, false, |id, row| {
            let is_theirs = |author: &[u8; 8]| tables::value(row, self.tables.author_id) == Some(&author[..]);
            if is_message(row) && author.as_ref().is_none_or(is_theirs) {
                found.push((id, row.max_timestamp()));
            }
        })
        .await?;
        if found.is_empty() {
            return Ok(0);
        }
        let (now, now_s) = (self.shard.timestamp().await?, runtime::time::unix_seconds());
        let mut mutation = MutationBuilder::new(self.tables.messages, &key);
        let mut row = RowBuilder::new();
        for (id, newest) in &found {
            // Later than everything in the row, also where that was written by another clock.
            row.clear()
                .deletion(Deletion::new(now.max(newest.saturating_add(1)), now_s));
            mutation.row(&tables::message_position(*id), row.finish());
        }
        self.shard.apply(mutation.build()).await?;
        self.home.tell(channel, || {
            found.iter().map(|(id, _)| Event::Deleted { id: *id }).collect()
        });
        Ok(found.len() as u64)
    }

    /// Deletes all messages of a channel, those with ids between two others if such are given, without looking at each; nothing, if
    /// nothing lies between them. What is sent after this has returned stays, whatever its id.
    ///
    /// # Errors
    /// [`Error::Engine`](crate::Error::Engine): some may have been deleted; delete them again.
    ///
    /// # Cancellation
    /// Dropped, some may have been deleted.
    pub async fn delete_between(
        &self,
        channel: i64,
        after: Option<MessageId>,
        before: Option<MessageId>,
    ) -> Result<()> {
        if after.zip(before).is_some_and(|(after, before)| after >= before) {
            return Ok(());
        }
        let range = History {
            after,
            before,
            ..History::newest(1)
        };
        self.at_home(channel, move |home| async move {
            home.delete_range(channel, range, |bucket| range.covers(bucket)).await?;
            home.home
                .tell(channel, || vec![Event::DeletedBetween { after, before }]);
            Ok(())
        })
        .await
    }

    /// Deletes all messages of a channel that lie in the bucket of this one, whether it is there or not.
    ///
    /// # Errors
    /// As [`delete_between`](Self::delete_between).
    ///
    /// # Cancellation
    /// Dropped, they may have been deleted.
    pub async fn delete_bucket(&self, channel: i64, of: MessageId) -> Result<()> {
        self.at_home(channel, move |home| async move {
            let wanted = home.bucket_of(channel, of).await?;
            let all = History::newest(1);
            home.delete_range(channel, all, |bucket| (bucket == wanted).then_some(true))
                .await?;
            home.home.tell(channel, || vec![Event::deleted_bucket(wanted)]);
            Ok(())
        })
        .await
    }

    /// Deletes what lies in the range. `covers`: whether the range has all of a bucket, or a part; `None` if nothing.
    async fn delete_range(&self, channel: i64, range: History, covers: impl Fn(Bucket) -> Option<bool>) -> Result<()> {
        let timestamp = self.shard.timestamp().await?;
        // What was sent or imported with a smaller id than this was written before `timestamp`. What was imported with a later one
        // was, as it says, written later: each of those gets a deletion of its own.
        let later = self.first_id_after(timestamp)?;
        let mut late = Vec::new();
        let mut directory = Some(range.directory_slice());
        while let Some(slice) = directory.take() {
            let (buckets, more) = self.buckets(channel, &slice, range.direction()).await?;
            directory = more;
            for bucket in buckets {
                let Some(whole) = covers(bucket) else { continue };
                let key = tables::bucket_key(channel, bucket.id);
                if let Some(later) = later.filter(|later| !bucket.is_before(*later)) {
                    self.ids_from(&key, later, range, &mut late).await?;
                }
                let deletion = Deletion::new(timestamp, runtime::time::unix_seconds());
                let mut mutation = MutationBuilder::new(self.tables.messages, &key);
                match whole {
                    true => mutation.delete_partition(deletion),
                    false => {
                        let Slice { mut start, end } = range.slice();
                        if start.is_empty() {
                            start.extend_from_slice(&tables::message_position(MessageId::MAX));
                        }
                        mutation.delete_range(&start, &end, deletion)
                    }
                };
                if !mutation.is_empty() {
                    self.shard.apply(mutation.build()).await?;
                }
            }
        }
        self.delete_many_here(channel, late, None).await?;
        Ok(())
    }

    /// The messages of a partition in the range with ids from `first` on.
    async fn ids_from(&self, key: &[u8], first: MessageId, range: History, ids: &mut Vec<MessageId>) -> Result<()> {
        let mut slice = range.slice();
        slice.end = slice.end.min(tables::after(&tables::message_position(first)));
        while slice.start < slice.end {
            let read = Read {
                slice: slice.clone(),
                limit_rows: LOOK_ROWS,
                past_tombstones: PastTombstones::Cut,
                ..Read::partition(self.tables.messages, key)
            };
            let page = self.shard.read(read).await?;
            for (position, _) in page.rows() {
                ids.push(tables::message_at(position)?);
            }
            match page.more() {
                Some(more) => slice = more.clone(),
                None => break,
            }
        }
        Ok(())
    }

    /// Gives those of these messages, newest first, that the partition has, with `include_dead` also deleted ones. Reads
    /// slices, and leaps over what lies between two of the messages when that is more than a slice.
    pub(crate) async fn look(
        &self,
        key: &[u8],
        ids: &[MessageId],
        include_dead: bool,
        mut each: impl FnMut(MessageId, RowRef<'_>),
    ) -> Result<()> {
        let Some(last) = ids.last() else { return Ok(()) };
        let end = tables::after(&tables::message_position(*last));
        let mut wanted = ids;
        let mut from = Vec::new();
        while let Some(next) = wanted.first() {
            let slice = Slice {
                start: from.max(tables::message_position(*next).to_vec()),
                end: end.clone(),
            };
            let read = Read {
                slice,
                limit_rows: LOOK_ROWS,
                include_dead,
                past_tombstones: PastTombstones::Cut,
                ..Read::partition(self.tables.messages, key)
            };
            let page = self.shard.read(read).await?;
            for (position, row) in page.rows() {
                let id = tables::message_at(position)?;
                wanted = &wanted[wanted.partition_point(|wanted| *wanted > id)..];
                if wanted.first() == Some(&id) {
                    each(id, row);
                    wanted = &wanted[1..];
                }
            }
            let Some(more) = page.more() else { return Ok(()) };
            from = more.start.clone();
            // Those before are not there.
            wanted = &wanted[wanted.partition_point(|wanted| tables::message_position(*wanted)[..] < from[..])..];
        }
        Ok(())
    }
}
