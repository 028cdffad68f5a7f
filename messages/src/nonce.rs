//! Sending a message once, however often it is asked for.
//!
//! A client that has heard nothing of its send sends again, with the same nonce. For ten minutes it then gets the id of the message
//! that is there:
//!
//! 1. The *claim*, a row of `nonces` in the channel's home, says after which moment the message was sent. It is on disk before the
//!    message, and ends by itself.
//! 2. The message carries its nonce.
//! 3. Then the claim gets the message's id; nobody waits for that.
//!
//! Asked again, a claim with an id is the answer. One without is of a send that a crash or an error has ended: the channel's messages
//! since that moment are looked through for the nonce, and only if it is not there the message is sent.

use crate::{
    Error, History, MessageId, NONCE_BYTES_MAX, Result,
    home::LockKey,
    local::{Local, New, check_content},
    tables,
};
use engine::Read;
use model::{MutationBuilder, RowBuilder};
use runtime::TaskClass;
use xxhash_rust::xxh3::xxh3_64;

/// How long a nonce is remembered, seconds.
pub const NONCE_SECONDS: u32 = 600;
/// Messages looked through at once.
const LOOK_ROWS: usize = 1000;

/// What the claim of a nonce says.
struct Claim {
    /// A timestamp that was given before the message's.
    sent_after: i64,
    message: Option<MessageId>,
}

impl Local {
    /// Sends a message, unless this author has sent one to this channel with this nonce within ten minutes
    /// ([`NONCE_SECONDS`]): then the id of that one is given, whatever its content. When this returns the message is on disk. Two
    /// writes in turn: twice what [`send`](Self::send) takes.
    ///
    /// A message that was sent, then deleted together with others of a range before a crash, is sent anew.
    ///
    /// # Errors
    /// [`Error::BadNonce`], [`Error::ContentTooLong`]; [`Error::Engine`]: it may have been sent; ask again with the same nonce.
    ///
    /// # Cancellation
    /// Dropped, it may have been sent or not; ask again with the same nonce.
    pub async fn send_once(&self, channel: i64, author: i64, nonce: String, content: String) -> Result<MessageId> {
        check_content(&content)?;
        if !(1..=NONCE_BYTES_MAX).contains(&nonce.len()) {
            return Err(Error::BadNonce { bytes: nonce.len() });
        }
        let send = move |home: Local| {
            // A task of its own: the lock is held until the outcome is known, also if nobody waits for it any more.
            let send = async move { home.send_once_here(channel, author, &nonce, &content).await };
            runtime::spawn(TaskClass::Request, "send once", send)
        };
        self.at_home(channel, send).await
    }

    async fn send_once_here(&self, channel: i64, author: i64, nonce: &str, content: &str) -> Result<MessageId> {
        let key = LockKey::Nonce(channel, author, xxh3_64(nonce.as_bytes()));
        let _locked = self.home.lock(key).await;
        let position = tables::nonce_position(author, nonce);
        match self.claim(channel, &position).await? {
            Some(Claim { message: Some(id), .. }) => return Ok(id),
            Some(Claim { sent_after, .. }) => {
                if let Some(id) = self.sent_with(channel, author, nonce, sent_after).await? {
                    self.settle_claim(channel, position, id);
                    return Ok(id);
                }
            }
            None => {
                let sent_after = self.shard.timestamp().await?;
                let value = (self.tables.sent_after, sent_after);
                self.write_claim(channel, &position, value, true).await?;
            }
        }
        let nonce = Some(nonce);
        let id = self.send_here(channel, New { author, content, nonce }).await?;
        self.settle_claim(channel, position, id);
        Ok(id)
    }

    async fn claim(&self, channel: i64, position: &[u8]) -> Result<Option<Claim>> {
        let read = Read {
            slice: tables::only(position),
            limit_rows: 1,
            ..Read::partition(self.tables.nonces, tables::channel_key(channel))
        };
        let page = self.shard.read(read).await?;
        let Some((_, row)) = page.row(0) else { return Ok(None) };
        let number =
            |column| tables::value(row, column).and_then(|value| value.try_into().ok().map(i64::from_be_bytes));
        Ok(Some(Claim {
            // What has an id only has outlived its beginning.
            sent_after: number(self.tables.sent_after).unwrap_or(i64::MIN),
            message: number(self.tables.message_id).and_then(|id| MessageId::new(id).ok()),
        }))
    }

    async fn write_claim(
        &self,
        channel: i64,
        position: &[u8],
        (column, value): (model::ColumnId, i64),
        is_new: bool,
    ) -> Result<()> {
        let timestamp = self.shard.timestamp().await?;
        let expires_at = runtime::time::unix_seconds().saturating_add(NONCE_SECONDS);
        let mut row = RowBuilder::new();
        if is_new {
            row.liveness_ttl(timestamp, NONCE_SECONDS, expires_at);
        }
        row.cell_ttl(column, timestamp, &value.to_be_bytes(), NONCE_SECONDS, expires_at);
        let mut mutation = MutationBuilder::new(self.tables.nonces, &tables::channel_key(channel));
        mutation.row(position, row.finish());
        Ok(self.shard.apply(mutation.build()).await?)
    }

    /// Writes the message's id into its claim, in the background: without it the message is looked for.
    fn settle_claim(&self, channel: i64, position: Vec<u8>, id: MessageId) {
        let home = self.clone();
        let settle = async move {
            let value = (home.tables.message_id, id.get());
            drop(home.write_claim(channel, &position, value, false).await);
        };
        drop(runtime::spawn(TaskClass::Request, "settle a nonce", settle));
    }

    /// The message of this author and nonce among those sent after a timestamp.
    async fn sent_with(&self, channel: i64, author: i64, nonce: &str, sent_after: i64) -> Result<Option<MessageId>> {
        let mut next = Some(History {
            after: self.id_before(sent_after)?,
            ..History::oldest(LOOK_ROWS)
        });
        while let Some(history) = next {
            let page = self.history(channel, history).await?;
            for message in page.messages() {
                let message = message?;
                if message.author == author && message.nonce == Some(nonce) {
                    return Ok(Some(message.id));
                }
            }
            runtime::breathe().await;
            next = page.next()?;
        }
        Ok(None)
    }
}
