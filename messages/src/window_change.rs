//! Changing the window of a channel at a border to come.
//!
//! No message may ever lie in a bucket in which it is not looked for. So:
//!
//! 1. Before its first message a bucket is added to the directory. Who adds has a share of the channel's lock, and looks
//!    whether the bucket is still one of the channel's.
//! 2. Who changes the windows has the lock alone: nothing is being added. The border must lie behind every bucket of the
//!    directory, whoever filled it, and a minute ahead of the ids.
//! 3. The change is one write to the home's own log, behind those of the directory. When it is on disk, it is remembered.
//!
//! A crash before the write leaves the old windows, one after it the new; no bucket is different between the two.

use crate::{
    Bucket, Error, MessageId, Result, WINDOW_CHANGES_MAX, Window, Windows,
    bucket::HOUR_MS,
    home::LockKey,
    local::{Local, id_time},
    tables,
    windows::unix_ms_of,
};
use engine::Read;
use model::{Deletion, Direction, MutationBuilder, RowBuilder, Slice};
use runtime::TaskClass;

/// How far the border of a change lies ahead of the ids at least, milliseconds.
const MARGIN_MS: u64 = 60_000;

impl Local {
    /// Makes the buckets of a channel last this long from a time on, which is to be the border of two of its buckets
    /// ([`window_border`](Self::window_border) finds one). What lies before stays as it is. Changes for a later time that have
    /// been asked for before are dropped: so the window that is in force already undoes them. When this returns the change is on
    /// disk.
    ///
    /// # Errors
    /// [`Error::BorderTooEarly`], [`Error::NoBorder`]: take the border that it names. [`Error::BeforeEpoch`],
    /// [`Error::BeyondIds`]: no id has such a time. [`Error::TooManyWindows`]: it stays as it is. [`Error::Engine`].
    ///
    /// # Cancellation
    /// Dropped, the window may have been changed or not.
    pub async fn set_window(&self, channel: i64, window: Window, from_unix_ms: i64) -> Result<()> {
        let from_ms = self.tables.epoch.since(from_unix_ms)?;
        let set = move |home: Local| {
            // A task of its own: the lock is held until the outcome is known, also if nobody waits for it any more.
            let set = async move { home.set_window_here(channel, window, from_ms).await };
            runtime::spawn(TaskClass::Request, "set a window", set)
        };
        self.at_home(channel, set).await
    }

    /// The first border of two buckets at this time or later, Unix milliseconds, from which on the window of the channel can be
    /// changed now.
    ///
    /// # Errors
    /// [`Error::BeyondIds`]: no id has such a time. [`Error::Engine`].
    ///
    /// # Cancellation
    /// Changes nothing.
    pub async fn window_border(&self, channel: i64, from_unix_ms: i64) -> Result<i64> {
        let epoch = self.tables.epoch;
        let from_ms = epoch.since(from_unix_ms.max(epoch.unix_ms()))?;
        let border = move |home: Local| async move {
            let _shared = home.home.share(LockKey::Windows(channel)).await;
            let windows = home.windows_locked(channel).await?;
            let free_ms = home.free_from(channel).await?;
            Ok(unix_ms_of(epoch, border_from(&windows, from_ms.max(free_ms))))
        };
        self.at_home(channel, border).await
    }

    /// How long the buckets of a channel last, at every time.
    ///
    /// # Errors
    /// [`Error::Engine`].
    ///
    /// # Cancellation
    /// Changes nothing.
    pub async fn windows(&self, channel: i64) -> Result<Windows> {
        self.at_home(channel, move |home| async move { home.windows_here(channel).await })
            .await
    }

    /// The bucket in which a message of the channel lies. On the channel's home.
    pub(crate) async fn bucket_of(&self, channel: i64, id: MessageId) -> Result<Bucket> {
        match self.home.directory.bucket_of(channel, id) {
            Some((bucket, _)) => Ok(bucket),
            None => Ok(self.windows_here(channel).await?.bucket_of(id)),
        }
    }

    /// The windows of a channel. On its home.
    pub(crate) async fn windows_here(&self, channel: i64) -> Result<Windows> {
        if let Some(windows) = self.home.directory.windows(channel) {
            return Ok(windows);
        }
        // What is read while a change is written would be remembered after it.
        let _shared = self.home.share(LockKey::Windows(channel)).await;
        self.windows_locked(channel).await
    }

    /// The windows of a channel, for who has its lock or a share of it.
    async fn windows_locked(&self, channel: i64) -> Result<Windows> {
        if let Some(windows) = self.home.directory.windows(channel) {
            return Ok(windows);
        }
        let read = Read {
            direction: Direction::Reverse,
            limit_rows: WINDOW_CHANGES_MAX + 1,
            ..Read::partition(self.tables.windows, tables::channel_key(channel))
        };
        let page = self.shard.read(read).await?;
        let changes = page
            .rows()
            .map(|(position, row)| tables::change_of_row(&self.tables, position, row));
        let windows = Windows::with_changes(self.tables.window, &changes.collect::<Result<Vec<_>>>()?)?;
        self.home.directory.set_windows(channel, Some(windows.clone()));
        Ok(windows)
    }

    /// Adds a bucket to the directory, on disk when this returns; false if it is none of the channel's any more.
    pub(crate) async fn add_bucket(&self, channel: i64, bucket: Bucket) -> Result<bool> {
        let _locked = self.home.lock(LockKey::Bucket(channel, bucket.id)).await;
        let _shared = self.home.share(LockKey::Windows(channel)).await;
        if self.home.directory.has(channel, bucket) {
            return Ok(true);
        }
        if self.windows_locked(channel).await?.bucket_at(bucket.id) != bucket {
            return Ok(false);
        }
        let position = tables::bucket_position(bucket.id);
        let key = tables::channel_key(channel);
        let read = Read {
            slice: tables::only(&position),
            ..Read::partition(self.tables.buckets, key)
        };
        let page = self.shard.read(read).await?;
        if let Some((position, row)) = page.row(0) {
            let present = tables::bucket_of_row(&self.tables, position, row)?;
            if present != bucket {
                return Err(Error::Malformed {
                    what: format!(
                        "bucket {} of channel {channel} lasts {} hours in the directory, and {} by the channel's windows",
                        bucket.id,
                        present.window.hours(),
                        bucket.window.hours()
                    ),
                });
            }
        } else {
            let timestamp = self.shard.timestamp().await?;
            let mut row = RowBuilder::new();
            row.liveness(timestamp);
            row.cell(
                self.tables.window_hours,
                timestamp,
                &bucket.window.hours().to_be_bytes(),
            );
            let mut mutation = MutationBuilder::new(self.tables.buckets, &key);
            mutation.row(&position, row.finish());
            self.shard.apply(mutation.build()).await?;
        }
        self.home.directory.add(channel, bucket);
        Ok(true)
    }

    async fn set_window_here(&self, channel: i64, window: Window, from_ms: u64) -> Result<()> {
        let _alone = self.home.lock(LockKey::Windows(channel)).await;
        let windows = self.windows_locked(channel).await?;
        let free_ms = self.free_from(channel).await?;
        let (unix_ms, next) = (
            self.tables.epoch.unix_ms() + from_ms as i64,
            border_from(&windows, from_ms.max(free_ms)),
        );
        let next_ms = unix_ms_of(self.tables.epoch, next);
        if from_ms < free_ms {
            return Err(Error::BorderTooEarly { unix_ms, next_ms });
        }
        if unix_ms != next_ms {
            return Err(Error::NoBorder { unix_ms, next_ms });
        }
        let changed = windows.changed(next, window);
        if changed == windows {
            return Ok(());
        }
        if changed.changes().len() > WINDOW_CHANGES_MAX {
            return Err(Error::TooManyWindows);
        }
        let written = self.write_change(channel, &windows, &changed, next).await;
        // What failed is looked up on disk when it is asked for.
        let known = written.is_ok().then_some(changed);
        self.home.directory.set_windows(channel, known);
        written
    }

    /// One write: drops the changes from this hour on, and adds the one that begins with it, if any does.
    async fn write_change(&self, channel: i64, windows: &Windows, changed: &Windows, from_hour: i32) -> Result<()> {
        let dropped = self.shard.timestamps(2).await?;
        let added = dropped + 1;
        let mut mutation = MutationBuilder::new(self.tables.windows, &tables::channel_key(channel));
        if windows.changes().iter().any(|change| change.from_hour >= from_hour) {
            let from = tables::bucket_position(i32::MAX);
            let to = tables::after(&tables::bucket_position(from_hour));
            mutation.delete_range(&from, &to, Deletion::new(dropped, runtime::time::unix_seconds()));
        }
        if let Some(change) = changed.changes().last().filter(|change| change.from_hour == from_hour) {
            let mut row = RowBuilder::new();
            row.liveness(added);
            let hours = change.window.hours().to_be_bytes();
            row.cell(self.tables.new_window_hours, added, &hours);
            mutation.row(&tables::bucket_position(from_hour), row.finish());
        }
        Ok(self.shard.apply(mutation.build()).await?)
    }

    /// The millisecond since the epoch from which on no bucket of the directory has anything, and which lies ahead of the ids. For
    /// who has the channel's lock or a share of it.
    async fn free_from(&self, channel: i64) -> Result<u64> {
        let now = runtime::time::unix_micros().max(self.shard.last_timestamp());
        let next = self.home.next_id(id_time(&self.tables, now)?)?;
        let everything = Slice::all();
        let (newest, _) = self.read_buckets(channel, everything, Direction::Forward, 1).await?;
        let end_ms = newest.first().map_or(0, |bucket| bucket.end_ms());
        Ok(end_ms.max(next.time_ms() + MARGIN_MS))
    }
}

/// The hour of the first border at this millisecond since the epoch, or later.
fn border_from(windows: &Windows, ms: u64) -> i32 {
    windows.border_from(ms.div_ceil(HOUR_MS) as i32)
}
