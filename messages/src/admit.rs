//! Messages that are written by other means than this crate's calls: as rows of their table.
//!
//! The directory must list the bucket before its first row is there, and a row must lie in the bucket that its id says: elsewhere no
//! history would find it.

use crate::tables::{self, Tables};
use crate::{Error, Local, MessageId, Result};
use model::{MutationRef, RowRef, Schema, TableId};

/// What a table is to this crate.
///
/// [`Messages::role_of`](crate::Messages::role_of) gives it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum TableRole {
    /// Messages: whoever writes their rows asks [`Local::admit`] first.
    Messages,
    /// Names, which anybody may write.
    Names,
    /// What the crate keeps of its own, and nobody else may write.
    Kept,
}

impl Tables {
    pub(crate) fn role_of(&self, table: TableId) -> Option<TableRole> {
        match table {
            _ if table == self.messages => Some(TableRole::Messages),
            _ if table == self.names => Some(TableRole::Names),
            _ if [self.buckets, self.windows, self.nonces].contains(&table) => Some(TableRole::Kept),
            _ => None,
        }
    }
}

/// Whether a row brings something, and does not only delete.
fn brings(row: RowRef<'_>) -> bool {
    row.has_liveness() || row.cells().any(|cell| cell.value().is_some())
}

/// The channel and the bucket of a partition of messages.
fn channel_and_bucket(schema: &Schema, key: &[u8]) -> Option<(i64, i32)> {
    let parts = schema.split_partition_key(key).ok()?;
    let [channel, bucket] = parts.as_slice() else {
        return None;
    };
    let channel = i64::from_be_bytes((*channel).try_into().ok()?);
    Some((channel, i32::from_be_bytes((*bucket).try_into().ok()?)))
}

impl Local {
    /// Sees to it that a mutation of the table of messages may be applied: that its rows lie in the bucket that their ids say, and that
    /// the channel's directory has that bucket. What only deletes needs nothing. Applied at any time after this has returned, what it
    /// brings is found by every history.
    ///
    /// # Errors
    /// [`Error::BadId`], [`Error::OtherBucket`]: nothing was done. [`Error::Engine`].
    ///
    /// # Cancellation
    /// The directory may have the bucket or not.
    pub async fn admit(&self, schema: &Schema, mutation: MutationRef<'_>) -> Result<()> {
        let mut ids = Vec::new();
        for (position, _) in mutation.rows().filter(|(_, row)| brings(*row)) {
            ids.push(tables::message_at(position).map_err(|error| Error::BadId(error.to_string()))?);
        }
        if ids.is_empty() {
            return Ok(());
        }
        let (channel, bucket_id) = channel_and_bucket(schema, mutation.key()).ok_or_else(|| Error::Malformed {
            what: "a partition of messages without a channel and a bucket".to_owned(),
        })?;
        self.at_home(channel, move |home| async move {
            home.admit_here(channel, bucket_id, &ids).await
        })
        .await
    }

    async fn admit_here(&self, channel: i64, bucket_id: i32, ids: &[MessageId]) -> Result<()> {
        loop {
            let first = self.bucket_of(channel, ids[0]).await?;
            for id in ids {
                let belongs = if first.contains(*id) {
                    first
                } else {
                    self.bucket_of(channel, *id).await?
                };
                if belongs.id != bucket_id {
                    return Err(Error::OtherBucket {
                        id: *id,
                        bucket_id,
                        belongs: belongs.id,
                    });
                }
            }
            // False: the windows have changed meanwhile, so that the bucket is another one.
            if self.ensure_bucket(channel, first).await? {
                return Ok(());
            }
        }
    }
}
