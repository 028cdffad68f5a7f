//! The messages of a store, from any thread and any async runtime.

use crate::{
    Answer, Around, BucketCount, Epoch, Error, History, HistoryPage, Import, Imported, Local, MessageId, NameKind,
    OneMessage, Result, Subscription, TableRole, Window, Windows, local,
    tables::{self, Tables},
};
use engine::{Config, Shard, Store};
use model::{Schema, TableId};
use runtime::ShardId;
use std::{future::Future, rc::Rc, sync::Arc};

/// Where the store keeps its epoch: 8 bytes, little-endian, Unix milliseconds.
const EPOCH_PROPERTY: &str = "messages.epoch_ms";
/// Where it keeps its window: 4 bytes, little-endian, hours.
const WINDOW_PROPERTY: &str = "messages.window_hours";

/// How messages are kept. What is not given is taken from the store, and for a new store from the defaults.
///
/// ```no_run
/// # async fn example(config: engine::Config) -> scrollback_messages::Result<()> {
/// use scrollback_messages::{Messages, Options, Window};
///
/// let options = Options {
///     window: Some(Window::from_hours(24)?),
///     ..Options::default()
/// };
/// let messages = Messages::open_with(config, options).await?;
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Copy, Default, Debug)]
pub struct Options {
    /// The instant from which ids count, Unix milliseconds; fixed when the store is created. Default: 2015-01-01.
    pub epoch_ms: Option<i64>,
    /// How long a channel's bucket lasts; fixed when the store is created, and changed for a channel with
    /// [`Messages::set_window`]. Default: 10 days.
    pub window: Option<Window>,
}

/// The messages of an open store, from any thread and any async runtime. Cheap to clone; every clone is the same.
///
/// Channels and authors are numbers, stored as a Cassandra `bigint`: those that your program has already, or those that
/// [`channel`](Self::channel) and [`author`](Self::author) give to names. One store should keep to one of the two.
///
/// [`close`](Self::close) it when done. Dropped without, it has lost nothing, and the next opening replays the log.
#[derive(Clone)]
pub struct Messages {
    store: Store,
    tables: Tables,
}

/// What a channel holds.
///
/// ```no_run
/// # async fn example(messages: scrollback_messages::Messages) -> scrollback_messages::Result<()> {
/// let channel = messages.channel("general").await?;
/// println!("{} messages", messages.summary(channel).await?.messages);
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct ChannelSummary {
    /// Live messages.
    pub messages: u64,
    /// The oldest of them.
    pub first: Option<MessageId>,
    /// The newest of them.
    pub last: Option<MessageId>,
}

impl Messages {
    /// Opens the store of this configuration, or creates it with the default [`Options`]. Replays the logs before it returns:
    /// seconds per GB of log.
    ///
    /// # Errors
    /// [`Error::Engine`] says what to change, or names the damaged file; nothing is lost then, as [`Store::open`] tells.
    /// [`Error::OtherTable`].
    ///
    /// # Cancellation
    /// Dropped, it leaves the store as a crash would: nothing is lost.
    pub fn open(config: Config) -> Answer<'static, Messages> {
        Box::pin(async move { Self::open_with(config, Options::default()).await })
    }

    /// Opens the store of this configuration, or creates it with these options.
    ///
    /// # Errors
    /// As [`open`](Self::open). [`Error::OtherEpoch`], [`Error::OtherWindow`]: the store was created otherwise.
    /// [`Error::BadEpoch`].
    ///
    /// # Cancellation
    /// As [`open`](Self::open).
    pub fn open_with(config: Config, options: Options) -> Answer<'static, Messages> {
        Box::pin(async move {
            let store = Store::open(config).await?;
            match Self::over(store.clone(), options).await {
                Ok(messages) => Ok(messages),
                Err(error) => {
                    // The first error is the one that matters.
                    let _ = store.close().await;
                    Err(error)
                }
            }
        })
    }

    /// The messages of this store; makes their tables if it has none.
    ///
    /// # Errors
    /// [`Error::OtherEpoch`], [`Error::OtherWindow`]: the store was created otherwise. [`Error::BadEpoch`],
    /// [`Error::OtherTable`], [`Error::Engine`].
    ///
    /// # Cancellation
    /// Some of the tables may have been made; the next call makes the others.
    pub fn over(store: Store, options: Options) -> Answer<'static, Messages> {
        Box::pin(async move {
            let epoch = fixed_epoch(&store, options.epoch_ms).await?;
            let window = fixed_window(&store, options.window).await?;
            let mut tables = Vec::new();
            for schema in tables::schemas(epoch, window) {
                let present = store.table(tables::KEYSPACE, &schema.name);
                tables.push(match present {
                    Some(present) => present,
                    None => store.create_table(schema, true).await?,
                });
            }
            let tables: [Arc<Schema>; 5] = tables.try_into().expect("one table for each definition");
            let tables = Tables::new(epoch, window, tables.each_ref().map(|table| &**table))?;
            Ok(Messages { store, tables })
        })
    }

    /// Closes the store: calls under way end, everything is flushed, nothing is left to replay. Other clones then get
    /// [`engine::Error::Closed`]. A second call waits for the first to end, and gives what that gave.
    ///
    /// # Errors
    /// [`Error::Engine`]: what kept it from closing cleanly, as [`Store::close`]. Nothing acknowledged is lost: the next opening
    /// replays the logs.
    ///
    /// # Cancellation
    /// The store stays half closed. Call it again, and it goes on from there; or drop the store.
    pub fn close(&self) -> Answer<'_, ()> {
        Box::pin(async move { Ok(self.store.close().await?) })
    }

    /// The store below.
    pub fn store(&self) -> &Store {
        &self.store
    }

    #[cfg(test)]
    pub(crate) fn tables(&self) -> Tables {
        self.tables
    }

    /// What a table is to the messages; `None`: nothing.
    ///
    /// ```no_run
    /// # fn example(messages: scrollback_messages::Messages) {
    /// let table = messages.store().table("messages", "channel_buckets").expect("it was made");
    /// assert_eq!(messages.role_of(table.id), Some(scrollback_messages::TableRole::Kept));
    /// # }
    /// ```
    pub fn role_of(&self, table: TableId) -> Option<TableRole> {
        self.tables.role_of(table)
    }

    /// The instant from which ids count.
    pub fn epoch(&self) -> Epoch {
        self.tables.epoch
    }

    /// How long a channel's bucket lasts, unless that was [changed](Self::set_window).
    pub fn window(&self) -> Window {
        self.tables.window
    }

    /// The shard that is the home of a channel.
    pub fn home_of(&self, channel: i64) -> ShardId {
        self.store.shard_of(&tables::channel_key(channel))
    }

    /// The messages as a task on this shard sees them.
    pub fn on(&self, shard: Rc<Shard>) -> Local {
        Local::new(shard, self.tables)
    }

    /// Runs `f` on a shard.
    ///
    /// # Errors
    /// [`Error::Engine`], and what `f` gives.
    ///
    /// # Cancellation
    /// Once begun, `f` runs to its end, whether or not the future is dropped.
    pub fn call<R, F, Fut>(&self, to: ShardId, f: F) -> impl Future<Output = Result<R>> + Send + use<R, F, Fut>
    where
        F: FnOnce(Local) -> Fut + Send + 'static,
        Fut: Future<Output = Result<R>> + 'static,
        R: Send + 'static,
    {
        let tables = self.tables;
        let call = self.store.call(to, move |shard| f(Local::new(shard, tables)));
        async move { call.await? }
    }

    /// Sends a message, as [`Local::send`].
    ///
    /// # Errors
    /// As there.
    ///
    /// # Cancellation
    /// As there.
    pub fn send<C: Into<String>>(&self, channel: i64, author: i64, content: C) -> Answer<'static, MessageId> {
        self.send_text(channel, author, content.into())
    }

    fn send_text(&self, channel: i64, author: i64, content: String) -> Answer<'static, MessageId> {
        Box::pin(self.call(self.home_of(channel), move |home| async move {
            home.send(channel, author, content).await
        }))
    }

    /// Sends a message once, however often this is asked for with one nonce, as [`Local::send_once`].
    ///
    /// # Errors
    /// As there.
    ///
    /// # Cancellation
    /// As there.
    pub fn send_once<N: Into<String>, C: Into<String>>(
        &self,
        channel: i64,
        author: i64,
        nonce: N,
        content: C,
    ) -> Answer<'static, MessageId> {
        self.send_once_text(channel, author, nonce.into(), content.into())
    }

    fn send_once_text(&self, channel: i64, author: i64, nonce: String, content: String) -> Answer<'static, MessageId> {
        Box::pin(self.call(self.home_of(channel), move |home| async move {
            home.send_once(channel, author, nonce, content).await
        }))
    }

    /// Sends messages to one channel, as [`Local::send_many`].
    ///
    /// # Errors
    /// As there.
    ///
    /// # Cancellation
    /// As there.
    pub fn send_many(&self, channel: i64, messages: Vec<(i64, String)>) -> Answer<'static, Vec<MessageId>> {
        Box::pin(self.call(self.home_of(channel), move |home| async move {
            home.send_many(channel, messages).await
        }))
    }

    /// Edits a message, as [`Local::edit`].
    ///
    /// # Errors
    /// As there.
    ///
    /// # Cancellation
    /// As there.
    pub fn edit<C: Into<String>>(
        &self,
        channel: i64,
        id: MessageId,
        author: Option<i64>,
        content: C,
    ) -> Answer<'static, ()> {
        self.edit_text(channel, id, author, content.into())
    }

    fn edit_text(&self, channel: i64, id: MessageId, author: Option<i64>, content: String) -> Answer<'static, ()> {
        Box::pin(self.call(self.home_of(channel), move |home| async move {
            home.edit(channel, id, author, content).await
        }))
    }

    /// Deletes a message, as [`Local::delete`].
    ///
    /// # Errors
    /// As there.
    ///
    /// # Cancellation
    /// As there.
    pub fn delete(&self, channel: i64, id: MessageId, author: Option<i64>) -> Answer<'static, ()> {
        Box::pin(self.call(self.home_of(channel), move |home| async move {
            home.delete(channel, id, author).await
        }))
    }

    /// A page of a channel's messages, as [`Local::history`].
    ///
    /// # Errors
    /// As there.
    ///
    /// # Cancellation
    /// As there.
    pub fn history(&self, channel: i64, history: History) -> Answer<'static, HistoryPage> {
        Box::pin(self.call(self.home_of(channel), move |home| async move {
            home.history(channel, history).await
        }))
    }

    /// What lies around a message, as [`Local::around`].
    ///
    /// # Errors
    /// As there.
    ///
    /// # Cancellation
    /// As there.
    pub fn around(&self, channel: i64, id: MessageId, limit: usize) -> Answer<'static, Around> {
        Box::pin(self.call(self.home_of(channel), move |home| async move {
            home.around(channel, id, limit).await
        }))
    }

    /// A channel's buckets with what each holds, as [`Local::bucket_counts`].
    ///
    /// # Errors
    /// As there.
    ///
    /// # Cancellation
    /// As there.
    pub fn bucket_counts(&self, channel: i64) -> Answer<'static, Vec<BucketCount>> {
        Box::pin(self.call(self.home_of(channel), move |home| async move {
            home.bucket_counts(channel).await
        }))
    }

    /// Follows a channel from now on or, with an id, from the message after that one on. The first that come are read from the
    /// store, the others are told as they are sent.
    ///
    /// # Errors
    /// [`Error::Engine`].
    ///
    /// # Cancellation
    /// Changes nothing.
    pub fn subscribe(&self, channel: i64, after: Option<MessageId>) -> Answer<'_, Subscription> {
        Box::pin(async move {
            let join = move |home: Local| async move { home.join_feed(channel, after).await };
            let joined = self.call(self.home_of(channel), join).await?;
            Ok(Subscription::new(self.clone(), channel, joined))
        })
    }

    /// One message, as [`Local::get`].
    ///
    /// # Errors
    /// As there.
    ///
    /// # Cancellation
    /// As there.
    pub fn get(&self, channel: i64, id: MessageId) -> Answer<'static, Option<OneMessage>> {
        Box::pin(self.call(
            self.home_of(channel),
            move |home| async move { home.get(channel, id).await },
        ))
    }

    /// Deletes messages by their ids, and gives how many there were, as [`Local::delete_many`].
    ///
    /// # Errors
    /// As there.
    ///
    /// # Cancellation
    /// As there.
    pub fn delete_many(&self, channel: i64, ids: Vec<MessageId>, author: Option<i64>) -> Answer<'static, u64> {
        Box::pin(self.call(self.home_of(channel), move |home| async move {
            home.delete_many(channel, ids, author).await
        }))
    }

    /// Deletes all messages of a channel between two ids, as [`Local::delete_between`].
    ///
    /// # Errors
    /// As there.
    ///
    /// # Cancellation
    /// As there.
    pub fn delete_between(
        &self,
        channel: i64,
        after: Option<MessageId>,
        before: Option<MessageId>,
    ) -> Answer<'static, ()> {
        Box::pin(self.call(self.home_of(channel), move |home| async move {
            home.delete_between(channel, after, before).await
        }))
    }

    /// Deletes all messages of a channel, as [`Local::delete_between`] without ids.
    ///
    /// # Errors
    /// As there.
    ///
    /// # Cancellation
    /// As there.
    pub fn delete_channel(&self, channel: i64) -> Answer<'static, ()> {
        Box::pin(self.delete_between(channel, None, None))
    }

    /// Deletes all messages in the bucket of this one, as [`Local::delete_bucket`].
    ///
    /// # Errors
    /// As there.
    ///
    /// # Cancellation
    /// As there.
    pub fn delete_bucket(&self, channel: i64, of: MessageId) -> Answer<'static, ()> {
        Box::pin(self.call(self.home_of(channel), move |home| async move {
            home.delete_bucket(channel, of).await
        }))
    }

    /// Makes the buckets of a channel last this long from a border on, as [`Local::set_window`].
    ///
    /// # Errors
    /// As there.
    ///
    /// # Cancellation
    /// As there.
    pub fn set_window(&self, channel: i64, window: Window, from_unix_ms: i64) -> Answer<'static, ()> {
        Box::pin(self.call(self.home_of(channel), move |home| async move {
            home.set_window(channel, window, from_unix_ms).await
        }))
    }

    /// The first border at this time or later from which on the window of a channel can be changed, as [`Local::window_border`].
    ///
    /// # Errors
    /// As there.
    ///
    /// # Cancellation
    /// As there.
    pub fn window_border(&self, channel: i64, from_unix_ms: i64) -> Answer<'static, i64> {
        Box::pin(self.call(self.home_of(channel), move |home| async move {
            home.window_border(channel, from_unix_ms).await
        }))
    }

    /// How long the buckets of a channel last, at every time, as [`Local::windows`].
    ///
    /// # Errors
    /// As there.
    ///
    /// # Cancellation
    /// As there.
    pub fn windows(&self, channel: i64) -> Answer<'static, Windows> {
        Box::pin(self.call(
            self.home_of(channel),
            move |home| async move { home.windows(channel).await },
        ))
    }

    /// Imports messages of one channel, as [`Local::import`].
    ///
    /// # Errors
    /// As there.
    ///
    /// # Cancellation
    /// As there.
    pub fn import(&self, channel: i64, messages: Vec<Import>) -> Answer<'static, Imported> {
        Box::pin(self.call(self.home_of(channel), move |home| async move {
            home.import(channel, messages).await
        }))
    }

    /// The id of a channel's name, given now if it has none, as [`Local::intern`].
    ///
    /// # Errors
    /// As there.
    ///
    /// # Cancellation
    /// As there.
    pub fn channel<N: Into<String>>(&self, name: N) -> Answer<'static, i64> {
        self.intern(NameKind::Channel, name.into())
    }

    /// The id of an author's name, given now if it has none, as [`Local::intern`].
    ///
    /// # Errors
    /// As there.
    ///
    /// # Cancellation
    /// As there.
    pub fn author<N: Into<String>>(&self, name: N) -> Answer<'static, i64> {
        self.intern(NameKind::Author, name.into())
    }

    /// The id of a name, given now if it has none, as [`Local::intern`].
    ///
    /// # Errors
    /// As there.
    ///
    /// # Cancellation
    /// As there.
    pub fn intern(&self, kind: NameKind, name: String) -> Answer<'static, i64> {
        let to = self.store.shard_of(name.as_bytes());
        Box::pin(self.call(to, move |local| async move { local.intern(kind, &name).await }))
    }

    /// The id of a name, if it has one, as [`Local::find`].
    ///
    /// # Errors
    /// As there.
    ///
    /// # Cancellation
    /// As there.
    pub fn find(&self, kind: NameKind, name: String) -> Answer<'static, Option<i64>> {
        let to = self.store.shard_of(name.as_bytes());
        Box::pin(self.call(to, move |local| async move { local.find(kind, &name).await }))
    }

    /// The name that has this id, as [`Local::name`].
    ///
    /// # Errors
    /// As there.
    ///
    /// # Cancellation
    /// As there.
    pub fn name(&self, kind: NameKind, id: i64) -> Answer<'static, Option<String>> {
        let to = self.store.shard_of(&tables::name_key(kind, id));
        Box::pin(self.call(to, move |local| async move { local.name(kind, id).await }))
    }

    /// The channels of one shard after `after`, at most `limit`, in the order of the store.
    ///
    /// # Errors
    /// [`Error::Engine`].
    ///
    /// # Cancellation
    /// Changes nothing.
    pub fn channels(&self, shard: ShardId, after: Option<i64>, limit: usize) -> Answer<'_, Vec<i64>> {
        Box::pin(async move {
            let keys = self
                .store
                .partitions(
                    shard,
                    self.tables.buckets,
                    after.map(|channel| tables::channel_key(channel).to_vec()),
                    limit,
                )
                .await?;
            let malformed = || Error::Malformed {
                what: "a partition of the channel directory has no channel".to_owned(),
            };
            keys.iter()
                .map(|key| {
                    key.as_slice()
                        .try_into()
                        .map(i64::from_be_bytes)
                        .map_err(|_| malformed())
                })
                .collect()
        })
    }

    /// Counts a channel's messages, reading all of them once.
    ///
    /// # Errors
    /// [`Error::Engine`].
    ///
    /// # Cancellation
    /// Changes nothing.
    pub fn summary(&self, channel: i64) -> Answer<'_, ChannelSummary> {
        Box::pin(async move {
            let summary = move |home: Local| async move {
                let mut summary = ChannelSummary {
                    messages: 0,
                    first: None,
                    last: None,
                };
                let mut history = History::newest(local::SUMMARY_PAGE);
                loop {
                    let page = home.history(channel, history).await?;
                    let ids = page.messages().map(|message| message.map(|message| message.id));
                    for id in ids {
                        let id = id?;
                        summary.messages += 1;
                        summary.last = summary.last.or(Some(id));
                        summary.first = Some(id);
                    }
                    match page.next()? {
                        Some(next) => history = next,
                        None => return Ok(summary),
                    }
                    runtime::breathe().await;
                }
            };
            self.call(self.home_of(channel), summary).await
        })
    }
}

/// The store's epoch, which becomes the one asked for if it has none.
async fn fixed_epoch(store: &Store, asked_ms: Option<i64>) -> Result<Epoch> {
    if store.property(EPOCH_PROPERTY).is_none() {
        let now_ms = runtime::time::unix_micros() / 1000;
        let epoch = Epoch::new(asked_ms.unwrap_or(Epoch::DEFAULT.unix_ms()), now_ms)?;
        store
            .set_property_if_absent(EPOCH_PROPERTY, epoch.unix_ms().to_le_bytes().to_vec())
            .await?;
    }
    let present_ms = store
        .property(EPOCH_PROPERTY)
        .and_then(|bytes| bytes.try_into().ok())
        .map(i64::from_le_bytes);
    let present_ms = present_ms.ok_or_else(|| Error::Malformed {
        what: "its epoch is not 8 bytes".to_owned(),
    })?;
    match asked_ms {
        Some(asked_ms) if asked_ms != present_ms => Err(Error::OtherEpoch { present_ms, asked_ms }),
        _ => Ok(Epoch::from_record(present_ms)),
    }
}

/// The store's window, which becomes the one asked for if it has none.
async fn fixed_window(store: &Store, asked: Option<Window>) -> Result<Window> {
    if store.property(WINDOW_PROPERTY).is_none() {
        let hours = asked.unwrap_or(Window::DEFAULT).hours();
        store
            .set_property_if_absent(WINDOW_PROPERTY, hours.to_le_bytes().to_vec())
            .await?;
    }
    let present = store
        .property(WINDOW_PROPERTY)
        .and_then(|bytes| bytes.try_into().ok())
        .map(u32::from_le_bytes);
    let present = present.ok_or_else(|| Error::Malformed {
        what: "its bucket window is not 4 bytes".to_owned(),
    })?;
    match asked {
        Some(asked) if asked.hours() != present => Err(Error::OtherWindow {
            present_hours: present,
            asked_hours: asked.hours(),
        }),
        _ => Window::from_hours(present),
    }
}
