//! Following a channel while it is written to.
//!
//! The home of a followed channel keeps a *feed*: the last things that happened there, in the order of the ids, each told when it was
//! acknowledged. Every subscription reads it at its own pace, from any thread, and nobody who is slow holds anything up: what it has
//! not read when there is no more room is a *gap*. After a gap, and at the beginning, a subscription reads the channel's history from
//! the last id that it has told, so every message is told exactly once; what a gap may hide is edits and deletes of messages told before.
//!
//! - A message may become visible a moment before it is told: ids decide, what is not newer than the last told is passed over.
//! - Sends of a followed channel have a place in the order from their ids on ([`Home::begin_send`](crate::home::Home::begin_send)), and are
//!   told in it, however their writes end. Who joins waits for those that are under way without a place.

use crate::{Answer, Bucket, History, Message, MessageId, Messages, Result, local::Local};
use parking_lot::Mutex;
use runtime::TaskClass;
use std::{
    cell::RefCell,
    collections::{BTreeMap, VecDeque},
    future::poll_fn,
    sync::{Arc, Weak},
    task::{Poll, Waker},
};

/// Events that a feed keeps for slow subscribers.
const EVENTS_MAX: usize = 4096;
/// Their contents, bytes.
const BYTES_MAX: usize = 4 << 20;
/// What an event takes beside its content, about, bytes.
const EVENT_BYTES: usize = 96;
/// Subscribers woken between two looks at the clock.
const WAKES_PER_BREATH: usize = 32;
/// Messages read at once by a subscription that is behind.
const PAGE: usize = 100;

/// What happened in a channel.
///
/// ```no_run
/// # async fn example(messages: scrollback_messages::Messages) -> scrollback_messages::Result<()> {
/// use scrollback_messages::Event;
///
/// // From now on; with the id of the last one seen, from there on.
/// let mut following = messages.subscribe(7, None).await?;
/// while let Some(event) = following.next().await? {
///     match event {
///         Event::Sent(sent) => println!("{}: {}", sent.author, sent.content),
///         Event::Gap => println!("edits and deletes may have gone by"),
///         _ => {}
///     }
/// }
/// # Ok(())
/// # }
/// ```
#[derive(Clone, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum Event {
    /// A message was sent. Ids rise from one to the next.
    Sent(Sent),
    /// A message has another content.
    Edited {
        /// The message.
        id: MessageId,
        /// Its content now.
        content: Arc<str>,
        /// When it was edited, Unix milliseconds.
        edited_ms: i64,
    },
    /// A message was deleted.
    Deleted {
        /// The message.
        id: MessageId,
    },
    /// All messages between two ids were deleted.
    DeletedBetween {
        /// Those after this one; `None`: from the first on.
        after: Option<MessageId>,
        /// Those before this one; `None`: to the last.
        before: Option<MessageId>,
    },
    /// The subscriber was too slow, and edits and deletes may have gone by. Messages have not: they follow, read from the store.
    Gap,
}

/// A message that was sent.
///
/// [`Event`] shows how to come by it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Sent {
    /// Its id.
    pub id: MessageId,
    /// Who wrote it.
    pub author: i64,
    /// What.
    pub content: Arc<str>,
    /// The nonce that it was sent with, if any.
    pub nonce: Option<Arc<str>>,
    /// When it was last edited, Unix milliseconds; only of a message that was read from the store.
    pub edited_ms: Option<i64>,
}

impl Sent {
    fn of(message: &Message<'_>) -> Sent {
        Sent {
            id: message.id,
            author: message.author,
            content: message.content.into(),
            nonce: message.nonce.map(Arc::from),
            edited_ms: message.edited_ms,
        }
    }
}

impl Event {
    fn bytes(&self) -> usize {
        EVENT_BYTES
            + match self {
                Event::Sent(sent) => sent.content.len() + sent.nonce.as_ref().map_or(0, |nonce| nonce.len()),
                Event::Edited { content, .. } => content.len(),
                _ => 0,
            }
    }

    pub(crate) fn deleted_bucket(bucket: Bucket) -> Event {
        let (after, before) = bucket.between();
        Event::DeletedBetween { after, before }
    }
}

/// The last events of a channel.
#[derive(Default)]
struct Feed(Mutex<State>);

#[derive(Default)]
struct State {
    events: VecDeque<Event>,
    bytes: usize,
    /// Number of the first event kept.
    first: u64,
    readers: u64,
    waiting: BTreeMap<u64, Waker>,
    closed: bool,
}

enum Told {
    Event(Event),
    Gap,
    Closed,
}

impl Feed {
    /// Adds events and gives those who wait for them.
    fn push(&self, events: Vec<Event>) -> BTreeMap<u64, Waker> {
        let mut state = self.0.lock();
        for event in events {
            state.bytes += event.bytes();
            state.events.push_back(event);
        }
        while state.events.len() > EVENTS_MAX || (state.bytes > BYTES_MAX && state.events.len() > 1) {
            let gone = state.events.pop_front().expect("more than one");
            state.bytes -= gone.bytes();
            state.first += 1;
        }
        std::mem::take(&mut state.waiting)
    }

    fn poll(&self, reader: u64, cursor: &mut u64, waker: &Waker) -> Poll<Told> {
        let mut state = self.0.lock();
        if *cursor < state.first {
            *cursor = state.first + state.events.len() as u64;
            return Poll::Ready(Told::Gap);
        }
        let at = usize::try_from(*cursor - state.first).expect("as many as are in memory");
        if let Some(event) = state.events.get(at) {
            *cursor += 1;
            return Poll::Ready(Told::Event(event.clone()));
        }
        if state.closed {
            return Poll::Ready(Told::Closed);
        }
        state.waiting.insert(reader, waker.clone());
        Poll::Pending
    }

    fn close(&self) {
        let waiting = {
            let mut state = self.0.lock();
            state.closed = true;
            std::mem::take(&mut state.waiting)
        };
        waiting.into_values().for_each(Waker::wake);
    }
}

/// The feeds of the channels whose home a shard is. Dropped, with the store, it ends every subscription.
#[derive(Default)]
pub(crate) struct Feeds(RefCell<BTreeMap<i64, Weak<Feed>>>);

impl Feeds {
    /// Whether somebody follows the channel.
    pub fn is_followed(&self, channel: i64) -> bool {
        self.of(channel).is_some()
    }

    fn of(&self, channel: i64) -> Option<Arc<Feed>> {
        let mut feeds = self.0.borrow_mut();
        let feed = feeds.get(&channel)?.upgrade();
        if feed.is_none() {
            feeds.remove(&channel);
        }
        feed
    }

    /// Tells those who follow the channel.
    pub fn tell(&self, channel: i64, events: Vec<Event>) {
        let Some(feed) = self.of(channel).filter(|_| !events.is_empty()) else {
            return;
        };
        let mut waiting = feed.push(events).into_values();
        waiting.by_ref().take(WAKES_PER_BREATH).for_each(Waker::wake);
        if waiting.len() > 0 {
            drop(runtime::spawn(TaskClass::Request, "tell subscribers", async move {
                while waiting.len() > 0 {
                    runtime::breathe().await;
                    waiting.by_ref().take(WAKES_PER_BREATH).for_each(Waker::wake);
                }
            }));
        }
    }

    fn join(&self, channel: i64) -> Joined {
        let feed = self.of(channel).unwrap_or_default();
        self.0.borrow_mut().insert(channel, Arc::downgrade(&feed));
        let (reader, cursor) = {
            let mut state = feed.0.lock();
            state.readers += 1;
            (state.readers, state.first + state.events.len() as u64)
        };
        Joined {
            feed,
            reader,
            cursor,
            last: None,
            behind: false,
        }
    }
}

impl Drop for Feeds {
    fn drop(&mut self) {
        let feeds = self.0.get_mut().values();
        feeds.filter_map(Weak::upgrade).for_each(|feed| feed.close());
    }
}

/// A place in a feed.
pub(crate) struct Joined {
    feed: Arc<Feed>,
    reader: u64,
    /// Number of the next event.
    cursor: u64,
    /// All messages up to this one count as told.
    last: Option<MessageId>,
    behind: bool,
}

impl Local {
    /// Joins the feed of a channel from now on, or after a message. On the channel's home.
    pub(crate) async fn join_feed(&self, channel: i64, after: Option<MessageId>) -> Result<Joined> {
        let mut joined = self.home.feeds.join(channel);
        // Sends that began before have no place in the feed: they are seen by what is read from here on.
        self.home.all_have_places(channel).await;
        joined.behind = after.is_some();
        joined.last = match after {
            Some(after) => Some(after),
            None => self.history(channel, History::newest(1)).await?.last_id()?,
        };
        Ok(joined)
    }
}

/// A channel that is followed ([`Messages::subscribe`]). Works on any thread and in any async runtime; dropped, it is over.
pub struct Subscription {
    messages: Messages,
    channel: i64,
    place: Joined,
    /// What to read from the store before the feed counts again.
    behind: Option<History>,
    ready: VecDeque<Event>,
}

impl Subscription {
    pub(crate) fn new(messages: Messages, channel: i64, place: Joined) -> Subscription {
        let behind = place.behind.then(|| after(place.last));
        Subscription {
            messages,
            channel,
            place,
            behind,
            ready: VecDeque::new(),
        }
    }

    /// The id of the last message that was told, to [subscribe](Messages::subscribe) after it again later.
    pub fn last(&self) -> Option<MessageId> {
        self.place.last
    }

    /// The next event; `None` once the store is closed.
    ///
    /// # Errors
    /// [`Error::Engine`](crate::Error::Engine): messages could not be read; call it again.
    ///
    /// # Cancellation
    /// Dropped, nothing is lost: the next call gives what this one would have given.
    #[allow(clippy::should_implement_trait, reason = "it is asynchronous, and may fail")]
    pub fn next(&mut self) -> Answer<'_, Option<Event>> {
        Box::pin(async move {
            loop {
                if let Some(event) = self.ready.pop_front() {
                    return Ok(Some(self.told(event)));
                }
                if let Some(history) = self.behind {
                    let page = self.messages.history(self.channel, history).await?;
                    let mut ready = VecDeque::new();
                    for message in page.messages() {
                        ready.push_back(Event::Sent(Sent::of(&message?)));
                    }
                    self.behind = page.next()?;
                    self.ready = ready;
                    continue;
                }
                let place = &mut self.place;
                let told = poll_fn(|context| place.feed.poll(place.reader, &mut place.cursor, context.waker())).await;
                match told {
                    Told::Closed => return Ok(None),
                    Told::Gap => {
                        self.behind = Some(after(self.place.last));
                        return Ok(Some(Event::Gap));
                    }
                    Told::Event(Event::Sent(sent)) if self.place.last.is_some_and(|last| sent.id <= last) => {}
                    Told::Event(event) => return Ok(Some(self.told(event))),
                }
            }
        })
    }

    fn told(&mut self, event: Event) -> Event {
        if let Event::Sent(sent) = &event {
            self.place.last = Some(sent.id);
        }
        event
    }
}

impl Drop for Subscription {
    fn drop(&mut self) {
        self.place.feed.0.lock().waiting.remove(&self.place.reader);
    }
}

fn after(last: Option<MessageId>) -> History {
    History {
        after: last,
        ..History::oldest(PAGE)
    }
}
