//! The messages of a store as a task on one of its shards sees them.

use crate::{
    Bucket, CONTENT_BYTES_MAX, Error, Event, MessageId, Result, Sent,
    home::{Home, LockKey},
    tables::{self, Tables},
};
use engine::{Read, Shard};
use model::{Deletion, Direction, Mutation, MutationBuilder, RowBuilder, RowRef, Slice};
use runtime::{ShardId, TaskClass};
use std::{future::Future, rc::Rc};

/// Message history, on a shard's own thread. Calls go to the channel's home shard by themselves.
///
/// ```no_run
/// # async fn example(messages: scrollback_messages::Messages) -> scrollback_messages::Result<()> {
/// // A task on the channel's own shard: its calls hop nowhere.
/// let page = messages.call(messages.home_of(7), |local| async move {
///     local.send(7, 1, "hello".to_owned()).await?;
///     local.history(7, scrollback_messages::History::newest(50)).await
/// });
/// println!("{} messages", page.await?.len());
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct Local {
    pub(crate) shard: Rc<Shard>,
    pub(crate) home: Rc<Home>,
    pub(crate) tables: Tables,
}

impl Local {
    pub(crate) fn new(shard: Rc<Shard>, tables: Tables) -> Local {
        let home = shard.extension(|| {
            let now_ms = id_time(&tables, shard.last_timestamp()).unwrap_or(0);
            Rc::new(Home::new(shard.id().0, now_ms))
        });
        Local {
            home: Rc::clone(&home),
            shard,
            tables,
        }
    }

    /// The shard that is the home of a channel.
    pub fn home_of(&self, channel: i64) -> ShardId {
        self.shard.owner(model::token_of(&tables::channel_key(channel)))
    }

    /// Runs `f` on the channel's home shard.
    pub(crate) async fn at_home<R, F, Fut>(&self, channel: i64, f: F) -> Result<R>
    where
        F: FnOnce(Local) -> Fut + Send + 'static,
        Fut: Future<Output = Result<R>> + 'static,
        R: Send + 'static,
    {
        let home = self.home_of(channel);
        if home == self.shard.id() {
            return f(self.clone()).await;
        }
        let tables = self.tables;
        Shard::call(home, move |shard| f(Local::new(shard, tables))).await?
    }

    /// Sends a message; when this returns it is on disk and every later page shows it. Messages of a channel become visible
    /// in the order of their ids.
    ///
    /// # Errors
    /// [`Error::ContentTooLong`]; [`Error::Engine`].
    ///
    /// # Cancellation
    /// Dropped, the message may have been sent or not.
    pub async fn send(&self, channel: i64, author: i64, content: String) -> Result<MessageId> {
        check_content(&content)?;
        self.at_home(channel, move |home| async move {
            let nonce = None;
            let content = &content;
            home.send_here(channel, New { author, content, nonce }).await
        })
        .await
    }

    /// Sends messages to one channel, each with its author, and gives their ids: those of one bucket in one write. When this
    /// returns all are on disk.
    ///
    /// # Errors
    /// [`Error::ContentTooLong`]: none was sent. [`Error::Engine`]: some may have been sent.
    ///
    /// # Cancellation
    /// Dropped, some may have been sent.
    pub async fn send_many(&self, channel: i64, messages: Vec<(i64, String)>) -> Result<Vec<MessageId>> {
        messages.iter().try_for_each(|(_, content)| check_content(content))?;
        let send = move |home: Local| async move {
            let mut ids = Vec::with_capacity(messages.len());
            while let Some(rest) = messages.get(ids.len()..).filter(|rest| !rest.is_empty()) {
                home.send_some(
                    channel,
                    rest.iter().map(|(author, content)| New {
                        author: *author,
                        content,
                        nonce: None,
                    }),
                    &mut ids,
                )
                .await?;
            }
            Ok(ids)
        };
        self.at_home(channel, send).await
    }

    pub(crate) async fn send_here(&self, channel: i64, message: New<'_>) -> Result<MessageId> {
        let mut ids = One(None);
        loop {
            self.send_some(channel, std::iter::once(message), &mut ids).await?;
            if let One(Some(id)) = ids {
                return Ok(id);
            }
        }
    }

    /// Sends as many of the messages as lie in one bucket and fit into one write.
    async fn send_some<'a>(
        &self,
        channel: i64,
        messages: impl ExactSizeIterator<Item = New<'a>> + Clone,
        ids: &mut impl Extend<MessageId>,
    ) -> Result<()> {
        let count = messages.len().min(WRITE_ROWS_MAX) as u32;
        let (bucket, pass, timestamps) = loop {
            let timestamp = self.shard.timestamps(count).await?;
            let id = self.home.next_id(id_time(&self.tables, timestamp)?)?;
            let Some((bucket, is_listed)) = self.home.directory.bucket_of(channel, id) else {
                self.windows_here(channel).await?;
                continue;
            };
            if !is_listed {
                self.ensure_bucket(channel, bucket).await?;
                continue;
            }
            match self.home.begin_send(channel, bucket.id) {
                Ok(pass) => break (bucket, pass, timestamp..timestamp + i64::from(count)),
                Err(ended) => ended.await,
            }
        };
        // From the timestamps to the log there is no await: messages get there in the order of their ids.
        let mut sent = Vec::new();
        let mutation = self.home.with_builders(|mutation, row| -> Result<Mutation> {
            mutation.reset(self.tables.messages, &tables::bucket_key(channel, bucket.id));
            let mut bytes = 0;
            for (message, timestamp) in messages.clone().zip(timestamps) {
                let id = self.home.next_id(id_time(&self.tables, timestamp)?)?;
                let weight = message.weight();
                if !bucket.contains(id) || (bytes > 0 && bytes + weight > WRITE_BYTES_MAX) {
                    break;
                }
                self.home.take_id(id);
                if pass.is_followed() {
                    sent.push(message.event(id));
                }
                ids.extend(std::iter::once(id));
                bytes += weight;
                self.put_message(row, timestamp, message);
                mutation.row(&tables::message_position(id), row.finish());
            }
            Ok(mutation.build())
        })?;
        if mutation.as_ref().is_empty() {
            return Ok(()); // The bucket ended a moment ago.
        }
        self.shard.apply(mutation).await?;
        pass.sent(sent);
        Ok(())
    }

    /// The row of a new message.
    pub(crate) fn put_message(&self, row: &mut RowBuilder, timestamp: i64, message: New<'_>) {
        row.clear().liveness(timestamp);
        row.cell(self.tables.author_id, timestamp, &message.author.to_be_bytes());
        row.cell(self.tables.content, timestamp, message.content.as_bytes());
        if let Some(nonce) = message.nonce {
            row.cell(self.tables.nonce, timestamp, nonce.as_bytes());
        }
    }

    /// Sees to it that the directory on disk has the bucket; false if the channel's windows have changed meanwhile, and it is none
    /// of its buckets. On the channel's home.
    pub(crate) async fn ensure_bucket(&self, channel: i64, bucket: Bucket) -> Result<bool> {
        if self.home.directory.has(channel, bucket) {
            return Ok(true);
        }
        // A task of its own: the lock is held until the outcome is known, also if nobody waits for it any more.
        let home = self.clone();
        let add = async move { home.add_bucket(channel, bucket).await };
        runtime::spawn(TaskClass::Request, "add a bucket", add).await
    }

    /// Gives a message another content. With an author, only if that one wrote it.
    ///
    /// # Errors
    /// [`Error::NotFound`], also if it was deleted: an edit brings nothing back. [`Error::OtherAuthor`],
    /// [`Error::ContentTooLong`], [`Error::Engine`].
    ///
    /// # Cancellation
    /// Dropped, the message may have been edited or not.
    pub async fn edit(&self, channel: i64, id: MessageId, author: Option<i64>, content: String) -> Result<()> {
        check_content(&content)?;
        self.at_home(channel, move |home| async move {
            let now_ms = runtime::time::unix_micros() / 1000;
            home.change(channel, id, author, |row, timestamp| {
                row.cell(home.tables.content, timestamp, content.as_bytes());
                row.cell(home.tables.edited_at, timestamp, &now_ms.to_be_bytes());
            })
            .await?;
            home.home.tell(channel, || {
                let (content, edited_ms) = (content.into(), now_ms);
                vec![Event::Edited { id, content, edited_ms }]
            });
            Ok(())
        })
        .await
    }

    /// Deletes a message. With an author, only if that one wrote it.
    ///
    /// # Errors
    /// [`Error::NotFound`], also if it was deleted before; [`Error::OtherAuthor`], [`Error::Engine`].
    ///
    /// # Cancellation
    /// Dropped, the message may have been deleted or not.
    pub async fn delete(&self, channel: i64, id: MessageId, author: Option<i64>) -> Result<()> {
        self.at_home(channel, move |home| async move {
            home.change(channel, id, author, |row, timestamp| {
                row.deletion(Deletion::new(timestamp, runtime::time::unix_seconds()));
            })
            .await?;
            home.home.tell(channel, || vec![Event::Deleted { id }]);
            Ok(())
        })
        .await
    }

    /// Changes a message if it is there; changes of one message take turns, here at home.
    async fn change(
        &self,
        channel: i64,
        id: MessageId,
        author: Option<i64>,
        write: impl FnOnce(&mut RowBuilder, i64),
    ) -> Result<()> {
        let _locked = self.home.lock(LockKey::Message(channel, id)).await;
        let bucket = self.bucket_of(channel, id).await?;
        let (key, position) = (tables::bucket_key(channel, bucket.id), tables::message_position(id));
        let page = self.shard.read(one(&self.tables, &key, &position)).await?;
        let row = page
            .row(0)
            .map(|(_, row)| row)
            .filter(|row| is_message(*row))
            .ok_or(Error::NotFound { id })?;
        if author.is_some_and(|author| tables::value(row, self.tables.author_id) != Some(&author.to_be_bytes())) {
            return Err(Error::OtherAuthor { id });
        }
        // Later than everything in the row, also where that was written by another clock.
        let timestamp = self.shard.timestamp().await?.max(row.max_timestamp().saturating_add(1));
        let mut change = RowBuilder::new();
        write(&mut change, timestamp);
        let mut mutation = MutationBuilder::new(self.tables.messages, &key);
        mutation.row(&position, change.finish());
        Ok(self.shard.apply(mutation.build()).await?)
    }

    /// An id before all that are given at this timestamp or later; `None` if there is none.
    pub(crate) fn id_before(&self, timestamp: i64) -> Result<Option<MessageId>> {
        let time_ms = match timestamp {
            i64::MIN => 0,
            timestamp => id_time(&self.tables, timestamp)?,
        };
        let first = MessageId::from_parts(time_ms, 0, 0);
        Ok(first.and_then(|id| MessageId::new(id.get() - 1).ok()))
    }

    /// The first id after the millisecond of this timestamp; none if there is none.
    pub(crate) fn first_id_after(&self, timestamp: i64) -> Result<Option<MessageId>> {
        Ok(MessageId::from_parts(id_time(&self.tables, timestamp)? + 1, 0, 0))
    }

    /// Whether every message that will ever be sent into the bucket can be read now. On the channel's home.
    pub(crate) fn is_settled(&self, channel: i64, bucket: Bucket) -> bool {
        let now = runtime::time::unix_micros().max(self.shard.last_timestamp());
        id_time(&self.tables, now).is_ok_and(|now_ms| self.home.is_settled(channel, bucket, now_ms))
    }

    /// The buckets of the channel's directory in this slice of it, in this order of clustering, and where to go on if there
    /// are more. On the channel's home.
    pub(crate) async fn buckets(
        &self,
        channel: i64,
        slice: &Slice,
        direction: Direction,
    ) -> Result<(Vec<Bucket>, Option<Slice>)> {
        let all = match self.home.directory.all(channel) {
            Some(all) => all,
            None => {
                let mark = self.home.directory.mark();
                let everything = Slice::all();
                let (all, more) = self
                    .read_buckets(channel, everything, Direction::Forward, DIRECTORY_PAGE)
                    .await?;
                if more.is_some() {
                    // Too long to be remembered.
                    return self
                        .read_buckets(channel, slice.clone(), direction, DIRECTORY_PAGE)
                        .await;
                }
                let all = Rc::new(all);
                self.home.directory.remember(channel, Rc::clone(&all), mark);
                all
            }
        };
        let within = |bucket: &&Bucket| {
            let position = tables::bucket_position(bucket.id);
            slice.start.as_slice() <= &position[..] && &position[..] < slice.end.as_slice()
        };
        let buckets = match direction {
            Direction::Forward => all.iter().filter(within).copied().collect(),
            Direction::Reverse => all.iter().rev().filter(within).copied().collect(),
        };
        Ok((buckets, None))
    }

    pub(crate) async fn read_buckets(
        &self,
        channel: i64,
        slice: Slice,
        direction: Direction,
        limit: usize,
    ) -> Result<(Vec<Bucket>, Option<Slice>)> {
        let read = Read {
            direction,
            limit_rows: limit,
            ..Read::slice(self.tables.buckets, tables::channel_key(channel), slice)
        };
        let page = self.shard.read(read).await?;
        let rows = page
            .rows()
            .map(|(position, row)| tables::bucket_of_row(&self.tables, position, row));
        Ok((rows.collect::<Result<_>>()?, page.more().cloned()))
    }
}

/// Messages of one write: as many as are written, and later applied, between two breaths.
pub(crate) const WRITE_ROWS_MAX: usize = 100;
/// Messages of one write, bytes; a single message may have more. Far below the engine's largest mutation.
pub(crate) const WRITE_BYTES_MAX: usize = CONTENT_BYTES_MAX;
/// What a message adds to a write beside its content: its key, its author, its times, at most.
const ROW_BYTES: usize = 64;

/// What a message adds to a write, bytes.
pub(crate) fn write_weight(content: &str) -> usize {
    content.len() + ROW_BYTES
}

/// A message to send.
#[derive(Clone, Copy)]
pub(crate) struct New<'a> {
    pub author: i64,
    pub content: &'a str,
    pub nonce: Option<&'a str>,
}

impl New<'_> {
    fn weight(&self) -> usize {
        write_weight(self.content) + self.nonce.map_or(0, str::len)
    }

    fn event(&self, id: MessageId) -> Event {
        Event::Sent(Sent {
            id,
            author: self.author,
            content: self.content.into(),
            nonce: self.nonce.map(Into::into),
            edited_ms: None,
        })
    }
}

/// The one id of a single send.
struct One(Option<MessageId>);

impl Extend<MessageId> for One {
    fn extend<I: IntoIterator<Item = MessageId>>(&mut self, ids: I) {
        self.0 = ids.into_iter().last().or(self.0);
    }
}

/// Rows of a directory read at once, and the most that a remembered one has.
const DIRECTORY_PAGE: usize = 4096;
/// Messages read at once when a channel is counted.
pub(crate) const SUMMARY_PAGE: usize = 20_000;

/// The read of one message.
pub(crate) fn one(tables: &Tables, key: &[u8], position: &[u8]) -> Read {
    Read {
        limit_rows: 1,
        ..Read::slice(tables.messages, key, tables::only(position))
    }
}

/// Whether a live row is a message, and not only cells that an `UPDATE` left where there is none.
pub(crate) fn is_message(row: RowRef<'_>) -> bool {
    row.has_liveness()
}

pub(crate) fn check_content(content: &str) -> Result<()> {
    match content.len() {
        bytes if bytes > CONTENT_BYTES_MAX => Err(Error::ContentTooLong { bytes }),
        _ => Ok(()),
    }
}

/// The milliseconds since the epoch that an id gets at this timestamp of the engine, which never steps back, also across
/// a restart.
pub(crate) fn id_time(tables: &Tables, timestamp: i64) -> Result<u64> {
    tables.epoch.since(timestamp.div_euclid(1000))
}
