//! A message with what lies around it, and what each bucket of a channel holds.

use crate::{
    Bucket, History, HistoryPage, MessageId, Result,
    local::{Local, SUMMARY_PAGE},
};
use model::{Direction, Slice};

/// What lies around a message.
///
/// ```no_run
/// # async fn example(messages: scrollback_messages::Messages) -> scrollback_messages::Result<()> {
/// use scrollback_messages::MessageId;
///
/// // Somebody follows a link to a message: it, 25 before it and 25 after it.
/// let around = messages.around(7, MessageId::new(1_192_007_775_073_337_345)?, 25).await?;
/// println!("{} before, {} after", around.older.len(), around.newer.len());
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug)]
pub struct Around {
    /// The message, if it is there, and those before it, newest first.
    pub older: HistoryPage,
    /// Those after it, oldest first.
    pub newer: HistoryPage,
}

/// A bucket of a channel and what it holds.
///
/// ```no_run
/// # async fn example(messages: scrollback_messages::Messages) -> scrollback_messages::Result<()> {
/// for of in messages.bucket_counts(7).await? {
///     println!("{} hours from hour {}: {} messages", of.bucket.window.hours(), of.bucket.id, of.messages);
/// }
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct BucketCount {
    /// The bucket.
    pub bucket: Bucket,
    /// Messages in it; a bucket that has held messages may hold none any more.
    pub messages: u64,
}

impl Local {
    /// What lies around a message, whether it is there or not: at most `limit` messages and itself, half of them older, half newer.
    /// Either page goes on with its [`next`](HistoryPage::next).
    ///
    /// # Errors
    /// [`Error::Engine`](crate::Error::Engine).
    ///
    /// # Cancellation
    /// Changes nothing.
    pub async fn around(&self, channel: i64, id: MessageId, limit: usize) -> Result<Around> {
        let (newer, older) = (limit / 2, limit - limit / 2);
        let up_to = History {
            before: MessageId::new(id.get() + 1).ok(),
            ..History::newest(older + 1)
        };
        Ok(Around {
            older: self.history(channel, up_to).await?,
            newer: self.history(channel, History::oldest(newer).after(id)).await?,
        })
    }

    /// The buckets of a channel, newest first, each with its messages. Reads every message once.
    ///
    /// # Errors
    /// [`Error::Engine`](crate::Error::Engine).
    ///
    /// # Cancellation
    /// Changes nothing.
    pub async fn bucket_counts(&self, channel: i64) -> Result<Vec<BucketCount>> {
        let count = move |home: Local| async move {
            let mut counts = Vec::new();
            let mut directory = Some(Slice::all());
            while let Some(slice) = directory.take() {
                let (buckets, more) = home.buckets(channel, &slice, Direction::Forward).await?;
                directory = more;
                for bucket in buckets {
                    let messages = home.count_of_bucket(channel, bucket).await?;
                    counts.push(BucketCount { bucket, messages });
                }
            }
            Ok(counts)
        };
        self.at_home(channel, count).await
    }

    async fn count_of_bucket(&self, channel: i64, bucket: Bucket) -> Result<u64> {
        let (after, before) = bucket.between();
        let mut next = Some(History {
            after,
            before,
            ..History::newest(SUMMARY_PAGE)
        });
        let mut messages = 0;
        while let Some(history) = next {
            let page = self.history(channel, history).await?;
            messages += page.len() as u64;
            next = page.next()?;
            runtime::breathe().await;
        }
        Ok(messages)
    }
}
