//! Importing: many messages of one channel, with their ids, written as if they had been sent then.

use crate::{
    Bucket, MessageId, Result,
    home::LockKey,
    local::{Local, New, WRITE_BYTES_MAX, WRITE_ROWS_MAX, write_weight},
    tables,
};
use engine::ErrorKind;
use model::{Mutation, MutationBuilder, RowBuilder};
use runtime::TaskClass;
use std::{collections::BTreeSet, time::Duration};

/// Writes of a bucket under way at the same time.
const WRITES_AT_ONCE: usize = 8;
/// How often a full store is tried again before the import gives up; each try waits for the engine's admission as well.
const TRIES_MAX: u32 = 10;
const TRY_AGAIN_AFTER: Duration = Duration::from_millis(500);

/// A message to import.
///
/// ```no_run
/// # async fn example(messages: scrollback_messages::Messages) -> scrollback_messages::Result<()> {
/// use scrollback_messages::{Import, import_id};
///
/// let unix_ms = 1_600_000_000_000;
/// let message = Import {
///     id: import_id(messages.epoch(), unix_ms, 0)?, // the first of its millisecond
///     unix_ms,
///     author: messages.author("ada").await?,
///     content: "hello".to_owned(),
/// };
/// let done = messages.import(7, vec![message]).await?; // a second time it is there already
/// println!("{} new, {} there", done.added, done.present);
/// # Ok(())
/// # }
/// ```
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Import {
    /// Its id ([`import_id`](crate::import_id)).
    pub id: MessageId,
    /// When it was written, Unix milliseconds: the write timestamp follows from it.
    pub unix_ms: i64,
    /// Who wrote it.
    pub author: i64,
    /// What.
    pub content: String,
}

/// What an import has done.
///
/// [`Import`] shows how to come by it.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct Imported {
    /// Messages written.
    pub added: u64,
    /// Messages that were there, or whose deletion is still known, and that were left as they are.
    pub present: u64,
}

impl Local {
    /// Imports messages of one channel, in any order; when this returns all are on disk. A message whose id is there, or has
    /// been deleted, is not written again; of several with one id the first is taken. A deletion is known for an hour at least; once
    /// compaction has purged it, its message is as one that never was, and is written.
    ///
    /// # Errors
    /// [`Error::ContentTooLong`](crate::Error::ContentTooLong), [`Error::Engine`](crate::Error::Engine): some may have been
    /// written; import them again.
    ///
    /// # Cancellation
    /// Dropped, some may have been written.
    pub async fn import(&self, channel: i64, messages: Vec<Import>) -> Result<Imported> {
        messages
            .iter()
            .try_for_each(|message| crate::local::check_content(&message.content))?;
        self.at_home(
            channel,
            move |home| async move { home.import_here(channel, messages).await },
        )
        .await
    }

    async fn import_here(&self, channel: i64, mut messages: Vec<Import>) -> Result<Imported> {
        // In clustering order: newest first.
        messages.sort_by_key(|message| std::cmp::Reverse(message.id));
        let given = messages.len();
        messages.dedup_by_key(|message| message.id);
        let mut sum = Imported {
            added: 0,
            present: (given - messages.len()) as u64,
        };
        let windows = self.windows_here(channel).await?;
        let mut tasks = Vec::new();
        while let Some(newest) = messages.first() {
            let bucket = windows.bucket_of(newest.id);
            let rest = messages.split_off(messages.partition_point(|message| bucket.contains(message.id)));
            let of_bucket = std::mem::replace(&mut messages, rest);
            let home = self.clone();
            let import = async move { home.import_bucket(channel, bucket, of_bucket).await };
            tasks.push(runtime::spawn(TaskClass::Request, "import", import));
        }
        for task in tasks {
            let imported = task.await?;
            sum.added += imported.added;
            sum.present += imported.present;
        }
        Ok(sum)
    }

    /// Imports messages of one bucket, newest first. Imports into one bucket take turns, and each writes its oldest messages
    /// first: where a memtable is sealed in between, the newer messages are in the newer sstable and a page needs one of them.
    async fn import_bucket(&self, channel: i64, bucket: Bucket, messages: Vec<Import>) -> Result<Imported> {
        let turn = self.home.lock(LockKey::Import(channel, bucket.id)).await;
        if !self.ensure_bucket(channel, bucket).await? {
            // The channel's windows have just changed; as often as that happens, again.
            drop(turn);
            return Box::pin(self.import_here(channel, messages)).await;
        }
        let key = tables::bucket_key(channel, bucket.id);
        let present = self.present(&key, &messages).await?;
        let new: Vec<&Import> = messages
            .iter()
            .filter(|message| !present.contains(&message.id))
            .collect();
        let mut mutation = MutationBuilder::new(self.tables.messages, &key);
        let mut row = RowBuilder::new();
        let mut writes = Vec::new();
        let mut rest = &new[..];
        while !rest.is_empty() {
            let (older, write) = rest.split_at(rest.len() - rows_of_a_write(rest));
            rest = older;
            mutation.reset(self.tables.messages, &key);
            for message in write {
                let timestamp = message.unix_ms.saturating_mul(1000);
                let new = New {
                    author: message.author,
                    content: &message.content,
                    nonce: None,
                };
                self.put_message(&mut row, timestamp, new);
                mutation.row(&tables::message_position(message.id), row.finish());
                runtime::breathe().await;
            }
            writes.push(mutation.build());
            if writes.len() == WRITES_AT_ONCE || rest.is_empty() {
                self.apply_patiently(&writes).await?;
                writes.clear();
            }
        }
        Ok(Imported {
            added: new.len() as u64,
            present: present.len() as u64,
        })
    }

    /// Writes, all that are given at once; waits a while where the store is full.
    async fn apply_patiently(&self, writes: &[Mutation]) -> Result<()> {
        let mut tries = 0;
        loop {
            match self.shard.apply_all(writes.to_vec()).await {
                Err(error) if error.kind() == ErrorKind::Retry && tries < TRIES_MAX => tries += 1,
                done => return Ok(done?),
            }
            runtime::time::sleep(TRY_AGAIN_AFTER).await;
        }
    }

    /// Which of these messages, newest first, the partition has, live or dead.
    async fn present(&self, key: &[u8], messages: &[Import]) -> Result<BTreeSet<MessageId>> {
        let ids: Vec<MessageId> = messages.iter().map(|message| message.id).collect();
        let mut present = BTreeSet::new();
        self.look(key, &ids, true, |id, _| {
            present.insert(id);
        })
        .await?;
        Ok(present)
    }
}

/// How many of the last messages, at least one, fit one write.
fn rows_of_a_write(messages: &[&Import]) -> usize {
    let mut bytes = 0;
    let fits = |message: &&&Import| {
        bytes += write_weight(&message.content);
        bytes <= WRITE_BYTES_MAX
    };
    let rows = messages.iter().rev().take(WRITE_ROWS_MAX).take_while(fits).count();
    rows.max(1)
}
