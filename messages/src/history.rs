//! Scrolling through a channel.
//!
//! 1. The directory says which buckets can hold messages between the cursors; no other is looked at.
//! 2. The nearest bucket is read first, for one row more than the page takes: `has_more` is a row seen, not a guess.
//! 3. If it does not fill the page, the next ones are read at once, 2, 4, then 8 of them: quiet channels have many small buckets.
//!
//! A bucket's rows are one moment, and a message becomes visible only when all before it in its channel are. Read newest
//! first, an older bucket is the later moment: it has all that was sent before what has been seen. Read oldest first it is
//! the earlier one, and messages may be on their way into it still; then the rest of it is read once more before anything of
//! the next bucket is taken. So pages that follow each other by cursor give each message once and in order, whatever is
//! sent, edited and deleted meanwhile.
//!
//! A page that meets more tombstones than the table allows ends there, short or even empty, with a cursor behind them.

use crate::{
    Bucket, Error, MessageId, Result,
    bucket::hour_of,
    local::{Local, is_message},
    tables,
};
use engine::{Cost, Page, PastTombstones, Read};
use model::{Direction, Slice};
use runtime::TaskClass;
use std::rc::Rc;

/// Buckets read at once at most.
const BUCKETS_AT_ONCE: usize = 8;
/// A page ends after the message that exceeds this many bytes, whatever its limit.
const PAGE_BYTES_MAX: usize = 8 << 20;
/// Bytes of one read of the engine.
const READ_BYTES: usize = 1 << 20;

/// Which messages of a channel, and in which order.
///
/// ```no_run
/// # async fn example(messages: scrollback_messages::Messages) -> scrollback_messages::Result<()> {
/// use scrollback_messages::History;
///
/// // A channel from its newest message to its first, page by page.
/// let mut next = Some(History::newest(50));
/// while let Some(history) = next {
///     let page = messages.history(7, history).await?;
///     for message in page.messages() {
///         println!("{}", message?.content);
///     }
///     next = page.next()?;
/// }
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Copy, Debug)]
pub struct History {
    /// Only messages with ids before this one.
    pub before: Option<MessageId>,
    /// Only messages with ids after this one.
    pub after: Option<MessageId>,
    /// Oldest first instead of newest first.
    pub oldest_first: bool,
    /// At most this many; the page is shorter if its messages exceed 8 MiB, or behind very many deleted ones. At least 1.
    pub limit: usize,
}

impl History {
    /// The newest messages of a channel.
    pub fn newest(limit: usize) -> History {
        History {
            before: None,
            after: None,
            oldest_first: false,
            limit,
        }
    }

    /// The oldest messages of a channel, oldest first.
    pub fn oldest(limit: usize) -> History {
        History {
            oldest_first: true,
            ..History::newest(limit)
        }
    }

    /// Of those, only messages with ids before this one.
    pub fn before(self, id: MessageId) -> History {
        History {
            before: Some(id),
            ..self
        }
    }

    /// Of those, only messages with ids after this one.
    pub fn after(self, id: MessageId) -> History {
        History {
            after: Some(id),
            ..self
        }
    }

    /// The page after one that ended with this message.
    pub fn from(self, last: MessageId) -> History {
        match self.oldest_first {
            true => self.after(last),
            false => self.before(last),
        }
    }

    pub(crate) fn slice(&self) -> Slice {
        let position = |id: MessageId| tables::message_position(id);
        Slice {
            start: self.before.map_or(Vec::new(), |id| tables::after(&position(id))),
            end: self.after.map_or(vec![0xFF], |id| position(id).to_vec()),
        }
    }

    pub(crate) fn direction(&self) -> Direction {
        if self.oldest_first {
            Direction::Reverse
        } else {
            Direction::Forward
        }
    }

    /// The part of the directory that can have buckets between the cursors. Where the last of them begins is known only
    /// from its window, so this reaches back a longest window further.
    pub(crate) fn directory_slice(&self) -> Slice {
        let hour = |id: MessageId| hour_of(id);
        let oldest = |id| hour(id).saturating_sub(crate::Window::HOURS_MAX as i32);
        Slice {
            start: self
                .before
                .map_or(Vec::new(), |id| tables::bucket_position(hour(id)).to_vec()),
            end: self
                .after
                .map_or(vec![0xFF], |id| tables::after(&tables::bucket_position(oldest(id)))),
        }
    }

    /// Whether all of the bucket lies between the cursors, or only a part; `None` if nothing.
    pub(crate) fn covers(&self, bucket: Bucket) -> Option<bool> {
        let ends = [self.before, self.after];
        let whole = ends.into_iter().flatten().all(|id| !bucket.contains(id));
        self.admits(&bucket).then_some(whole)
    }

    fn admits(&self, bucket: &Bucket) -> bool {
        !self.before.is_some_and(|id| bucket.is_after(id)) && !self.after.is_some_and(|id| bucket.is_before(id))
    }
}

/// One message.
///
/// [`History`] shows how to come by it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Message<'a> {
    /// Its id.
    pub id: MessageId,
    /// Who wrote it; 0 if its row, which somebody wrote by other means, does not say.
    pub author: i64,
    /// What.
    pub content: &'a str,
    /// When it was last edited, Unix milliseconds.
    pub edited_ms: Option<i64>,
    /// The nonce that it was sent with, if any.
    pub nonce: Option<&'a str>,
}

/// A page of a channel's messages.
///
/// [`History`] shows how to read it, and how to go on.
#[derive(Clone, Debug)]
pub struct HistoryPage {
    tables: tables::Tables,
    history: History,
    parts: Vec<Part>,
    len: usize,
    has_more: bool,
    cut_at: Option<MessageId>,
    cost: Cost,
}

/// Rows of one page of the engine, up to, not including, `to`.
#[derive(Clone, Debug)]
struct Part {
    page: Page,
    to: usize,
}

impl HistoryPage {
    /// Number of messages.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Whether there are more messages after the last of this page, up to the other cursor; behind very many deleted ones:
    /// whether there may be.
    pub fn has_more(&self) -> bool {
        self.has_more
    }

    /// What the page cost.
    pub fn cost(&self) -> Cost {
        self.cost
    }

    /// What to ask for next: the page after this one, none if this is the last.
    ///
    /// # Errors
    /// [`Error::Malformed`].
    pub fn next(&self) -> Result<Option<History>> {
        if !self.has_more {
            return Ok(None);
        }
        let last = match self.cut_at {
            None => self.last_id()?,
            cut_at => cut_at,
        };
        Ok(last.map(|last| self.history.from(last)))
    }

    /// The messages, in the order that was asked for. A malformed row is an [`Error::Malformed`].
    pub fn messages(&self) -> impl Iterator<Item = Result<Message<'_>>> {
        let rows = self.parts.iter().flat_map(|part| part.page.rows().take(part.to));
        rows.filter(|(_, row)| is_message(*row))
            .map(|(position, row)| message(&self.tables, position, row))
    }

    /// The id of the last message. The cursor of the next page is this or, behind very many deleted messages, a later one
    /// ([`next`](Self::next)).
    ///
    /// # Errors
    /// [`Error::Malformed`].
    pub fn last_id(&self) -> Result<Option<MessageId>> {
        let rows = self
            .parts
            .iter()
            .rev()
            .flat_map(|part| part.page.rows().take(part.to).rev());
        let mut messages = rows.filter(|(_, row)| is_message(*row));
        messages
            .next()
            .map(|(position, _)| tables::message_at(position))
            .transpose()
    }
}

/// Reads a message from its live row.
pub(crate) fn message<'a>(tables: &tables::Tables, position: &[u8], row: model::RowRef<'a>) -> Result<Message<'a>> {
    let id = tables::message_at(position)?;
    let (mut author, mut content, mut edited_ms, mut nonce) = (0, Some(""), None, None);
    for cell in row.cells() {
        let (model::CellKind::Live(value) | model::CellKind::Expiring { value, .. }) = cell.kind else {
            continue;
        };
        if cell.column == tables.content {
            content = std::str::from_utf8(value).ok();
        } else if cell.column == tables.author_id {
            author = value.try_into().map_or(0, i64::from_be_bytes);
        } else if cell.column == tables.edited_at {
            edited_ms = value.try_into().ok().map(i64::from_be_bytes);
        } else if cell.column == tables.nonce {
            nonce = std::str::from_utf8(value).ok();
        }
    }
    let malformed = || Error::Malformed {
        what: format!("the content of message {id} is not text"),
    };
    Ok(Message {
        id,
        author,
        content: content.ok_or_else(malformed)?,
        edited_ms,
        nonce,
    })
}

impl Local {
    /// A page of a channel's messages.
    ///
    /// # Errors
    /// [`Error::Engine`].
    ///
    /// # Cancellation
    /// Changes nothing.
    pub async fn history(&self, channel: i64, history: History) -> Result<HistoryPage> {
        self.at_home(
            channel,
            move |home| async move { home.history_here(channel, history).await },
        )
        .await
    }

    async fn history_here(&self, channel: i64, history: History) -> Result<HistoryPage> {
        let mut page = Filling {
            history,
            limit: history.limit.max(1),
            bytes: 0,
            parts: Vec::new(),
            len: 0,
            has_more: false,
            cut_at: None,
            cost: Cost::default(),
            unsettled: None,
        };
        if history
            .before
            .zip(history.after)
            .is_none_or(|(before, after)| after < before)
        {
            self.fill(channel, &mut page).await?;
        }
        let Filling {
            parts,
            len,
            has_more,
            cut_at,
            cost,
            ..
        } = page;
        Ok(HistoryPage {
            tables: self.tables,
            history,
            parts,
            len,
            has_more,
            cut_at,
            cost,
        })
    }

    async fn fill(&self, channel: i64, page: &mut Filling) -> Result<()> {
        let mut directory = Some(page.history.directory_slice());
        let mut at_once = 1;
        let history = page.history;
        while let Some(slice) = directory.take() {
            let (buckets, more) = self.buckets(channel, &slice, history.direction()).await?;
            directory = more;
            let mut buckets = buckets.into_iter().filter(|bucket| history.admits(bucket)).peekable();
            let unsettled = |bucket| history.oldest_first && !self.is_settled(channel, bucket);
            while let Some(bucket) = buckets.next() {
                let mut last = unsettled(bucket);
                let is_full = if at_once == 1 || last || buckets.peek().is_none() {
                    let first = self.shard.read(page.read(self, channel, bucket, None)).await?;
                    self.fill_from_bucket(channel, bucket, last, first, page).await?
                } else {
                    let mut some = vec![(bucket, last)];
                    // What follows an unsettled one is to be a later moment.
                    while !last
                        && some.len() < at_once
                        && let Some(bucket) = buckets.next()
                    {
                        last = unsettled(bucket);
                        some.push((bucket, last));
                    }
                    self.fill_from(channel, some, page).await?
                };
                if is_full {
                    return Ok(());
                }
                at_once = (2 * at_once).min(BUCKETS_AT_ONCE);
            }
        }
        Ok(())
    }

    /// Fills the page from these buckets, in order; true when it is full and known whether there is more.
    async fn fill_from(&self, channel: i64, buckets: Vec<(Bucket, bool)>, page: &mut Filling) -> Result<bool> {
        let tasks = buckets.into_iter().map(|(bucket, unsettled)| {
            let (shard, read) = (Rc::clone(&self.shard), page.read(self, channel, bucket, None));
            (
                (bucket, unsettled),
                runtime::spawn(
                    TaskClass::Request,
                    "read a bucket",
                    async move { shard.read(read).await },
                ),
            )
        });
        for ((bucket, unsettled), task) in tasks.collect::<Vec<_>>() {
            let first = task.await?;
            if self.fill_from_bucket(channel, bucket, unsettled, first, page).await? {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Fills the page from a bucket, of which this is the first page of rows.
    async fn fill_from_bucket(
        &self,
        channel: i64,
        bucket: Bucket,
        unsettled: bool,
        first: Page,
        page: &mut Filling,
    ) -> Result<bool> {
        let mut rows = first;
        loop {
            if let Some(before) = page.unsettled
                && !rows.is_empty()
                && self.fill_late(channel, before, page).await?
            {
                return Ok(true);
            }
            let more = match page.take(rows)? {
                Taken::Full => return Ok(true),
                Taken::All(None) => {
                    page.unsettled = unsettled.then_some(bucket).or(page.unsettled);
                    return Ok(false);
                }
                Taken::All(Some(more)) => more,
            };
            let read = page.read(self, channel, bucket, Some(more));
            rows = self.shard.read(read).await?;
        }
    }

    /// Oldest first, with rows of a later bucket read: fills the page with what has come into the bucket before since that was
    /// read.
    async fn fill_late(&self, channel: i64, bucket: Bucket, page: &mut Filling) -> Result<bool> {
        let settled = self.is_settled(channel, bucket);
        if let Some(last) = page.last_id()? {
            page.history = page.history.from(last);
        }
        let mut rest = None;
        loop {
            let read = page.read(self, channel, bucket, rest);
            match page.take(self.shard.read(read).await?)? {
                Taken::Full => return Ok(true),
                Taken::All(None) => break,
                Taken::All(more) => rest = more,
            }
        }
        if settled {
            page.unsettled = None;
        }
        Ok(false)
    }

    /// One message, if it is there.
    ///
    /// # Errors
    /// [`Error::Engine`].
    ///
    /// # Cancellation
    /// Changes nothing.
    pub async fn get(&self, channel: i64, id: MessageId) -> Result<Option<OneMessage>> {
        let get = move |home: Local| async move {
            let bucket = home.bucket_of(channel, id).await?;
            let key = tables::bucket_key(channel, bucket.id);
            let read = crate::local::one(&home.tables, &key, &tables::message_position(id));
            Ok(OneMessage::of(home.tables, home.shard.read(read).await?))
        };
        self.at_home(channel, get).await
    }
}

/// A page being filled.
struct Filling {
    history: History,
    limit: usize,
    bytes: usize,
    parts: Vec<Part>,
    len: usize,
    has_more: bool,
    /// Where the page ends because of the tombstones that were met.
    cut_at: Option<MessageId>,
    cost: Cost,
    /// Oldest first: the bucket last read, if messages could still come into it then.
    unsettled: Option<Bucket>,
}

impl Filling {
    fn is_full(&self) -> bool {
        self.len >= self.limit || self.bytes >= PAGE_BYTES_MAX
    }

    /// Rows that the next read asks for: one more than there is room for.
    fn wanted(&self) -> usize {
        if self.is_full() {
            1
        } else {
            (self.limit - self.len).saturating_add(1)
        }
    }

    /// The read of a bucket, from its beginning or of the rest of it.
    fn read(&self, local: &Local, channel: i64, bucket: Bucket, rest: Option<Slice>) -> Read {
        Read {
            direction: self.history.direction(),
            limit_rows: self.wanted(),
            limit_bytes: READ_BYTES,
            past_tombstones: PastTombstones::Cut,
            ..Read::slice(
                local.tables.messages,
                tables::bucket_key(channel, bucket.id),
                rest.unwrap_or_else(|| self.history.slice()),
            )
        }
    }

    /// The message that stands at the end of the page so far.
    fn last_id(&self) -> Result<Option<MessageId>> {
        let last = self.parts.last().and_then(|part| part.page.row(part.to - 1));
        last.map(|(position, _)| tables::message_at(position)).transpose()
    }

    /// Takes rows as far as there is room.
    fn take(&mut self, page: Page) -> Result<Taken> {
        self.cost += page.cost();
        let mut to = 0;
        for (position, row) in page.rows() {
            if is_message(row) {
                if self.is_full() {
                    self.has_more = true;
                    break;
                }
                self.len += 1;
                self.bytes += position.len() + row.bytes().len();
            }
            to += 1;
        }
        if let Some(position) = page.cut_at().filter(|_| !self.has_more) {
            self.cut_at = Some(tables::message_at(position)?);
            self.has_more = true;
        }
        let taken = if self.has_more {
            Taken::Full
        } else {
            Taken::All(page.more().cloned())
        };
        if to > 0 {
            self.parts.push(Part { page, to });
        }
        Ok(taken)
    }
}

/// What [`Filling::take`] has done.
enum Taken {
    /// A message was left over, or the page was cut: it is done.
    Full,
    /// All rows were taken; here more of the bucket follow.
    All(Option<Slice>),
}

/// One message, with its bytes.
///
/// ```no_run
/// # async fn example(messages: scrollback_messages::Messages) -> scrollback_messages::Result<()> {
/// use scrollback_messages::MessageId;
///
/// if let Some(one) = messages.get(7, MessageId::new(1_192_007_775_073_337_345)?).await? {
///     println!("{}", one.message()?.content);
/// }
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug)]
pub struct OneMessage {
    tables: tables::Tables,
    page: Page,
}

impl OneMessage {
    fn of(tables: tables::Tables, page: Page) -> Option<OneMessage> {
        let present = page.row(0).is_some_and(|(_, row)| is_message(row));
        present.then_some(OneMessage { tables, page })
    }

    /// The message.
    ///
    /// # Errors
    /// [`Error::Malformed`].
    pub fn message(&self) -> Result<Message<'_>> {
        let (position, row) = self.page.row(0).expect("made of a page with a row");
        message(&self.tables, position, row)
    }
}
