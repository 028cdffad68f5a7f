//! Importing: many messages of one channel, with their ids, written as if they had been sent then.

use crate::{
    Bucket, MessageId, Result,
    local::{Local, WRITE_BYTES_MAX, write_weight},
    tables,
};
use engine::{ErrorKind, Read};
use model::{Mutation, MutationBuilder, RowBuilder, Slice};
use runtime::TaskClass;
use std::{collections::BTreeSet, time::Duration};

/// Rows read at once when looking which messages are there.
const LOOK_ROWS: usize = 512;
/// How often a full store is tried again before the import gives up; each try waits for the engine's admission as well.
const TRIES_MAX: u32 = 10;
const TRY_AGAIN_AFTER: Duration = Duration::from_millis(500);

/// A message to import.
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
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct Imported {
    /// Messages written.
    pub added: u64,
    /// Messages that were there, or had been deleted, and were left as they are.
    pub present: u64,
}

impl Local {
    /// Imports messages of one channel, in any order; when this returns all are on disk. A message whose id is there, or has
    /// been deleted, is not written again; of several with one id the first is taken.
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
        let mut tasks = Vec::new();
        while let Some(newest) = messages.first() {
            let bucket = Bucket::of(newest.id, self.tables.window);
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

    async fn import_bucket(&self, channel: i64, bucket: Bucket, messages: Vec<Import>) -> Result<Imported> {
        self.ensure_bucket(channel, bucket).await?;
        let key = tables::bucket_key(channel, bucket.id);
        let present = self.present(&key, &messages).await?;
        let mut mutation = MutationBuilder::new(self.tables.messages, &key);
        let mut row = RowBuilder::new();
        let mut bytes = 0;
        for message in messages.iter().filter(|message| !present.contains(&message.id)) {
            let weight = write_weight(&message.content);
            if bytes + weight > WRITE_BYTES_MAX && !mutation.is_empty() {
                self.apply_patiently(mutation.build()).await?;
                mutation.reset(self.tables.messages, &key);
                bytes = 0;
            }
            bytes += weight;
            self.put_message(
                &mut row,
                message.unix_ms.saturating_mul(1000),
                message.author,
                &message.content,
            );
            mutation.row(&tables::message_position(message.id), row.finish());
            runtime::breathe().await;
        }
        if !mutation.is_empty() {
            self.apply_patiently(mutation.build()).await?;
        }
        let present = present.len() as u64;
        Ok(Imported {
            added: messages.len() as u64 - present,
            present,
        })
    }

    /// Writes; waits a while where the store is full.
    async fn apply_patiently(&self, mutation: Mutation) -> Result<()> {
        let mut tries = 0;
        loop {
            match self.shard.apply(mutation.clone()).await {
                Err(error) if error.kind() == ErrorKind::Retry && tries < TRIES_MAX => tries += 1,
                done => return Ok(done?),
            }
            runtime::time::sleep(TRY_AGAIN_AFTER).await;
        }
    }

    /// Which of these messages, newest first, the partition has, live or dead. Reads slices, and leaps over what lies
    /// between two of the messages when that is more than a slice.
    async fn present(&self, key: &[u8], messages: &[Import]) -> Result<BTreeSet<MessageId>> {
        let mut present = BTreeSet::new();
        let Some(last) = messages.last() else {
            return Ok(present);
        };
        let end = tables::after(&tables::message_position(last.id));
        let mut wanted = messages;
        while let Some(next) = wanted.first() {
            let slice = Slice {
                start: tables::message_position(next.id).to_vec(),
                end: end.clone(),
            };
            let read = Read {
                slice,
                limit_rows: LOOK_ROWS,
                include_dead: true,
                ..Read::partition(self.tables.messages, key)
            };
            let page = self.shard.read(read).await?;
            let mut oldest_seen = None;
            for (position, _) in page.rows() {
                let id = tables::message_at(position)?;
                oldest_seen = Some(id);
                while wanted.first().is_some_and(|message| message.id > id) {
                    wanted = &wanted[1..];
                }
                if wanted.first().is_some_and(|message| message.id == id) {
                    present.insert(id);
                    wanted = &wanted[1..];
                }
            }
            match oldest_seen {
                Some(_) if page.more().is_some() => {}
                _ => break,
            }
        }
        Ok(present)
    }
}
