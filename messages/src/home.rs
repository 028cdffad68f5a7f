//! What a shard knows of the channels whose home it is.
//!
//! - It gives their messages ids, and hands the messages to the log in the order of the ids.
//! - It remembers their directory: which buckets have ever held a message, and how long they last.
//! - It lets one conditional edit or delete of a message run at a time.

use crate::{Bucket, Event, Generator, MessageId, Windows, feed::Feeds};
use model::{MutationBuilder, RowBuilder, TableId};
use runtime::sync::{Notify, Permit, Semaphore};
use std::{
    cell::{Cell, RefCell},
    collections::{BTreeMap, VecDeque, btree_map::Entry},
    rc::Rc,
};

/// Those who share one lock at most.
const SHARERS: usize = 1 << 20;
/// Buckets remembered, in each of the two halves of the memory.
const BUCKETS_REMEMBERED: usize = 100_000;

/// The state of one shard.
pub(crate) struct Home {
    ids: RefCell<Generator>,
    sending: RefCell<BTreeMap<i64, Sending>>,
    pub directory: Directory,
    pub feeds: Feeds,
    /// Kept so that a send allocates little.
    builders: RefCell<(MutationBuilder, RowBuilder)>,
    /// One lock for each key that somebody holds or waits for.
    locks: RefCell<BTreeMap<LockKey, Semaphore>>,
}

/// What a lock is for.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(crate) enum LockKey {
    /// A conditional edit or delete of a message.
    Message(i64, MessageId),
    /// Writing the directory's row of a bucket.
    Bucket(i64, i32),
    /// Giving a name an id.
    Name(u8, i64),
    /// Importing into a bucket.
    Import(i64, i32),
    /// Sending to a channel, by an author, with a nonce of this hash.
    Nonce(i64, i64, u64),
    /// The windows of a channel: shared by those who add to its directory, alone by who changes them.
    Windows(i64),
}

impl LockKey {
    /// Permits of the lock: who has it alone has all of them.
    fn permits(self) -> usize {
        match self {
            LockKey::Windows(_) => SHARERS,
            _ => 1,
        }
    }
}

/// Sends of a channel that are under way, all into one bucket.
struct Sending {
    bucket_id: i32,
    under_way: usize,
    /// Tells those who wait for the end of all, if anybody does.
    ended: Option<Notify>,
    /// Sends that began while nobody followed the channel.
    without_place: usize,
    /// Tells those who wait for the end of these.
    all_have_places: Option<Notify>,
    /// What came of the sends of a followed channel, in their order; `None` of those that are under way.
    told: VecDeque<Option<Vec<Event>>>,
    /// Place of the first of these.
    first_place: u64,
}

impl Home {
    /// The home state of the shard with this number; ids lie after the millisecond `time_ms`.
    pub fn new(worker: u16, time_ms: u64) -> Home {
        Home {
            ids: RefCell::new(Generator::new(worker, time_ms)),
            sending: RefCell::default(),
            directory: Directory::default(),
            feeds: Feeds::default(),
            builders: RefCell::new((MutationBuilder::new(TableId(0), &[0]), RowBuilder::new())),
            locks: RefCell::default(),
        }
    }

    /// The id that the next message gets at this time.
    pub fn next_id(&self, now_ms: u64) -> crate::Result<MessageId> {
        self.ids.borrow().peek(now_ms)
    }

    /// Takes the id that [`next_id`](Self::next_id) gave, without an await in between.
    pub fn take_id(&self, id: MessageId) {
        self.ids.borrow_mut().take(id);
    }

    /// Begins a send into a bucket of the channel. Sends into one bucket reach its log in order by themselves; before the
    /// first send into another bucket, perhaps on another shard, those into the one before must have ended.
    pub fn begin_send(self: &Rc<Self>, channel: i64, bucket_id: i32) -> Result<SendPass, runtime::sync::Notified> {
        let mut sending = self.sending.borrow_mut();
        let entry = sending.entry(channel).or_insert_with(|| Sending {
            bucket_id,
            under_way: 0,
            ended: None,
            without_place: 0,
            all_have_places: None,
            told: VecDeque::new(),
            first_place: 0,
        });
        if entry.bucket_id != bucket_id && entry.under_way > 0 {
            return Err(entry.ended.get_or_insert_with(Notify::new).notified());
        }
        entry.bucket_id = bucket_id;
        entry.under_way += 1;
        let place = if self.feeds.is_followed(channel) {
            entry.told.push_back(None);
            Some(entry.first_place + entry.told.len() as u64 - 1)
        } else {
            entry.without_place += 1;
            None
        };
        Ok(SendPass {
            home: Rc::clone(self),
            channel,
            place,
        })
    }

    /// Waits until no send of a followed channel is under way that began when it was not followed.
    pub async fn all_have_places(&self, channel: i64) {
        let ended = {
            let mut sending = self.sending.borrow_mut();
            let entry = sending.get_mut(&channel).filter(|entry| entry.without_place > 0);
            entry.map(|entry| entry.all_have_places.get_or_insert_with(Notify::new).notified())
        };
        if let Some(ended) = ended {
            ended.await;
        }
    }

    /// Tells those who follow the channel what has happened, behind the sends that are under way.
    pub fn tell(&self, channel: i64, event: impl FnOnce() -> Vec<Event>) {
        if !self.feeds.is_followed(channel) {
            return;
        }
        let event = event();
        let mut sending = self.sending.borrow_mut();
        match sending.get_mut(&channel).filter(|entry| !entry.told.is_empty()) {
            Some(entry) => entry.told.push_back(Some(event)),
            None => {
                drop(sending);
                self.feeds.tell(channel, event);
            }
        }
    }

    /// Whether no message can come into the bucket any more at this time or later: the ids go past it, and no send into it is
    /// under way.
    pub fn is_settled(&self, channel: i64, bucket: Bucket, now_ms: u64) -> bool {
        self.ids.borrow_mut().not_before(now_ms);
        let sending = self.sending.borrow();
        let into_it = sending
            .get(&channel)
            .is_some_and(|sending| sending.bucket_id == bucket.id);
        !into_it && self.next_id(now_ms).is_ok_and(|next| bucket.is_before(next))
    }

    /// Builds something with builders whose memory is kept.
    pub fn with_builders<R>(&self, build: impl FnOnce(&mut MutationBuilder, &mut RowBuilder) -> R) -> R {
        let mut builders = self.builders.borrow_mut();
        let (mutation, row) = &mut *builders;
        build(mutation, row)
    }

    /// Waits for the lock of `key`, in order of arrival.
    pub async fn lock(self: &Rc<Self>, key: LockKey) -> Locked {
        self.take_lock(key, key.permits()).await
    }

    /// Waits for a share of the lock of `key`, in order of arrival.
    pub async fn share(self: &Rc<Self>, key: LockKey) -> Locked {
        self.take_lock(key, 1).await
    }

    async fn take_lock(self: &Rc<Self>, key: LockKey, permits: usize) -> Locked {
        let semaphore = self
            .locks
            .borrow_mut()
            .entry(key)
            .or_insert_with(|| Semaphore::new(key.permits()))
            .clone();
        // Made before the wait: dropped in it, it takes the lock off the list.
        let mut locked = Locked {
            home: Rc::clone(self),
            key,
            permit: None,
        };
        locked.permit = Some(semaphore.acquire(permits).await);
        locked
    }
}

/// A lock held, or waited for.
pub(crate) struct Locked {
    home: Rc<Home>,
    key: LockKey,
    permit: Option<Permit>,
}

impl Drop for Locked {
    fn drop(&mut self) {
        self.permit = None;
        let mut locks = self.home.locks.borrow_mut();
        // A lock that somebody waits for has been handed on by now.
        if locks
            .get(&self.key)
            .is_some_and(|lock| lock.available() == self.key.permits())
        {
            locks.remove(&self.key);
        }
    }
}

/// A send under way.
pub(crate) struct SendPass {
    home: Rc<Home>,
    channel: i64,
    /// Its place among the sends of a followed channel.
    place: Option<u64>,
}

impl SendPass {
    /// Whether somebody waits to be told of the send.
    pub fn is_followed(&self) -> bool {
        self.place.is_some()
    }

    /// Ends the send well, and tells what was sent once all before it are told.
    pub fn sent(self, events: Vec<Event>) {
        self.settle(events);
    }

    fn settle(&self, events: Vec<Event>) {
        let ready = {
            let mut sending = self.home.sending.borrow_mut();
            let entry = sending.get_mut(&self.channel);
            let (Some(entry), Some(place)) = (entry, self.place) else {
                return;
            };
            let Some(at) = place.checked_sub(entry.first_place) else {
                return;
            };
            let slot = &mut entry.told[usize::try_from(at).expect("as many as are in memory")];
            slot.get_or_insert(events);
            let mut ready = Vec::new();
            while let Some(Some(events)) = entry.told.front_mut() {
                ready.append(events);
                entry.told.pop_front();
                entry.first_place += 1;
            }
            ready
        };
        self.home.feeds.tell(self.channel, ready);
    }
}

impl Drop for SendPass {
    fn drop(&mut self) {
        // If it has not been told of, it has failed, and those behind it go on.
        self.settle(Vec::new());
        let mut sending = self.home.sending.borrow_mut();
        let entry = sending
            .get_mut(&self.channel)
            .expect("a channel with a send under way is listed");
        entry.under_way -= 1;
        if self.place.is_none() {
            entry.without_place -= 1;
            if entry.without_place == 0
                && let Some(all_have_places) = entry.all_have_places.take()
            {
                all_have_places.notify_all();
            }
        }
        if entry.under_way == 0
            && let Some(ended) = sending.remove(&self.channel).and_then(|entry| entry.ended)
        {
            ended.notify_all();
        }
    }
}

/// The buckets that have ever held a message and the windows of the channels, as far as they are remembered: two generations,
/// of which the elder is forgotten when the younger is full.
#[derive(Default)]
pub(crate) struct Directory {
    young: RefCell<BTreeMap<i64, Known>>,
    /// What the younger weighs.
    young_weight: Cell<usize>,
    old: RefCell<BTreeMap<i64, Known>>,
    /// Buckets added so far.
    additions: Cell<u64>,
}

/// What is known of a channel.
#[derive(Clone, Default)]
struct Known {
    /// Newest first.
    buckets: Rc<Vec<Bucket>>,
    /// There are no others.
    complete: bool,
    /// How long they last, if that is known.
    windows: Option<Windows>,
}

impl Directory {
    /// Whether the directory on disk has this bucket, of this length; if not known, look there.
    pub fn has(&self, channel: i64, bucket: Bucket) -> bool {
        self.with(channel, |known| known.is_some_and(|known| known.has(bucket)))
    }

    /// The bucket in which a message of the channel lies, and whether the directory has it; `None` if the channel's windows are
    /// not remembered.
    pub fn bucket_of(&self, channel: i64, id: MessageId) -> Option<(Bucket, bool)> {
        self.with(channel, |known| {
            let known = known?;
            let bucket = known.windows.as_ref()?.bucket_of(id);
            Some((bucket, known.has(bucket)))
        })
    }

    /// The windows of the channel, if they are remembered.
    pub fn windows(&self, channel: i64) -> Option<Windows> {
        self.with(channel, |known| known.and_then(|known| known.windows.clone()))
    }

    /// Remembers the windows of a channel as they are on disk, or that they are not known.
    pub fn set_windows(&self, channel: i64, windows: Option<Windows>) {
        self.change(channel, |known| known.windows = windows);
    }

    /// All buckets of the channel, newest first, if they are remembered.
    pub fn all(&self, channel: i64) -> Option<Rc<Vec<Bucket>>> {
        self.with(channel, |known| {
            known
                .filter(|known| known.complete)
                .map(|known| Rc::clone(&known.buckets))
        })
    }

    /// Remembers a bucket that is now in the directory on disk.
    pub fn add(&self, channel: i64, bucket: Bucket) {
        self.additions.set(self.additions.get() + 1);
        self.change(channel, |known| {
            if let Err(place) = known.find(bucket.id) {
                Rc::make_mut(&mut known.buckets).insert(place, bucket);
            }
        });
    }

    /// A mark to give to [`remember`](Self::remember) with what is read from now on.
    pub fn mark(&self) -> u64 {
        self.additions.get()
    }

    /// Remembers all buckets of a channel, newest first, read since `mark`; unless something was added meanwhile.
    pub fn remember(&self, channel: i64, buckets: Rc<Vec<Bucket>>, mark: u64) {
        if mark == self.additions.get() && buckets.len() <= BUCKETS_REMEMBERED / 8 {
            self.change(channel, |known| {
                known.buckets = buckets;
                known.complete = true;
            });
        }
    }

    fn with<R>(&self, channel: i64, f: impl FnOnce(Option<&Known>) -> R) -> R {
        if let Some(known) = self.young.borrow().get(&channel) {
            return f(Some(known));
        }
        let Some(known) = self.old.borrow_mut().remove(&channel) else {
            return f(None);
        };
        self.make_room();
        self.young_weight.set(self.young_weight.get() + known.weight());
        f(Some(self.young.borrow_mut().entry(channel).or_insert(known)))
    }

    fn change(&self, channel: i64, f: impl FnOnce(&mut Known)) {
        self.make_room();
        let mut young = self.young.borrow_mut();
        let (known, counted) = match young.entry(channel) {
            Entry::Occupied(known) => {
                let known = known.into_mut();
                let counted = known.weight();
                (known, counted)
            }
            Entry::Vacant(place) => (
                place.insert(self.old.borrow_mut().remove(&channel).unwrap_or_default()),
                0,
            ),
        };
        f(known);
        self.young_weight
            .set(self.young_weight.get() - counted + known.weight());
    }

    fn make_room(&self) {
        if self.young_weight.get() >= BUCKETS_REMEMBERED {
            *self.old.borrow_mut() = self.young.take();
            self.young_weight.set(0);
        }
    }
}

impl Known {
    fn has(&self, bucket: Bucket) -> bool {
        self.find(bucket.id).is_ok_and(|place| self.buckets[place] == bucket)
    }

    /// What it takes, counted in buckets.
    fn weight(&self) -> usize {
        1 + self.buckets.len() + self.windows.as_ref().map_or(0, |windows| windows.changes().len())
    }

    /// The place of a bucket among the others, newest first.
    fn find(&self, id: i32) -> Result<usize, usize> {
        self.buckets.binary_search_by(|bucket| id.cmp(&bucket.id))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Window;

    fn bucket(id: i32) -> Bucket {
        Bucket {
            id,
            window: Window::DEFAULT,
        }
    }

    #[test]
    fn the_directory_forgets_the_longest_unused_and_never_lies() {
        let directory = Directory::default();
        for channel in 0..1000 {
            directory.add(channel, bucket(240));
            for id in (0..200).rev() {
                directory.add(channel, bucket(240 * id));
            }
            assert!(directory.has(0, bucket(480)), "a channel in use is kept");
            assert_eq!(directory.all(channel), None);
        }
        assert!(!directory.has(1, bucket(240)));
        assert!(directory.young.borrow().len() + directory.old.borrow().len() <= 2 * BUCKETS_REMEMBERED / 200 + 2);
        assert!(directory.young.borrow()[&999].buckets.is_sorted_by(|a, b| a.id > b.id));
    }

    #[test]
    fn what_was_read_before_an_addition_is_not_taken_for_complete() {
        let directory = Directory::default();
        let mark = directory.mark();
        let read = Rc::new(vec![bucket(240)]);
        directory.add(1, bucket(480));
        directory.remember(1, Rc::clone(&read), mark);
        assert_eq!(directory.all(1), None);
        assert!(directory.has(1, bucket(480)));
        directory.remember(1, Rc::new(vec![bucket(480), bucket(240)]), directory.mark());
        directory.add(1, bucket(720));
        assert_eq!(
            directory.all(1).unwrap().iter().map(|b| b.id).collect::<Vec<_>>(),
            [720, 480, 240]
        );
    }

    #[test]
    fn a_lock_is_listed_only_while_someone_holds_or_awaits_it() {
        use std::{
            future::Future,
            pin::pin,
            task::{Context, Poll, Waker},
        };
        let home = Rc::new(Home::new(0, 0));
        let key = LockKey::Bucket(1, 2);
        let mut context = Context::from_waker(Waker::noop());
        let mut first = Box::pin(home.lock(key));
        let Poll::Ready(held) = first.as_mut().poll(&mut context) else {
            panic!("a free lock is given at once")
        };
        let mut second = Box::pin(home.lock(key));
        let mut third = Box::pin(home.lock(key));
        assert!(second.as_mut().poll(&mut context).is_pending() && third.as_mut().poll(&mut context).is_pending());
        drop(second);
        drop(held);
        assert_eq!(home.locks.borrow().len(), 1);
        let Poll::Ready(held) = third.as_mut().poll(&mut context) else {
            panic!("the next in line has it")
        };
        assert!(pin!(home.lock(key)).poll(&mut context).is_pending());
        drop(held);
        assert!(home.locks.borrow().is_empty());
    }

    #[test]
    fn a_lock_is_shared_or_held_alone() {
        use std::{
            future::Future,
            pin::Pin,
            task::{Context, Poll, Waker},
        };
        let home = Rc::new(Home::new(0, 0));
        let key = LockKey::Windows(1);
        let poll = |future: &mut Pin<Box<dyn Future<Output = Locked> + '_>>| match future
            .as_mut()
            .poll(&mut Context::from_waker(Waker::noop()))
        {
            Poll::Ready(locked) => Some(locked),
            Poll::Pending => None,
        };
        let share = || -> Pin<Box<dyn Future<Output = Locked> + '_>> { Box::pin(home.share(key)) };
        let one = poll(&mut share()).unwrap();
        let two = poll(&mut share()).unwrap();
        let mut alone: Pin<Box<dyn Future<Output = Locked> + '_>> = Box::pin(home.lock(key));
        assert!(poll(&mut alone).is_none());
        let mut later = share();
        assert!(poll(&mut later).is_none(), "in order of arrival");
        drop(one);
        assert!(poll(&mut alone).is_none());
        drop(two);
        let held = poll(&mut alone).unwrap();
        assert!(poll(&mut later).is_none());
        drop(held);
        let later = poll(&mut later).unwrap();
        assert_eq!(home.locks.borrow().len(), 1);
        drop(later);
        assert!(home.locks.borrow().is_empty());
    }

    #[test]
    fn a_bucket_of_another_length_is_not_known() {
        let directory = Directory::default();
        let id = MessageId::MAX;
        assert_eq!(directory.bucket_of(1, id), None);
        let windows = Windows::unchanged(Window::DEFAULT);
        directory.set_windows(1, Some(windows.clone()));
        let long = windows.bucket_of(id);
        assert_eq!(directory.bucket_of(1, id), Some((long, false)));
        directory.add(1, long);
        assert_eq!(directory.bucket_of(1, id), Some((long, true)));
        let short = Bucket {
            window: Window::from_hours(1).unwrap(),
            ..long
        };
        assert!(directory.has(1, long) && !directory.has(1, short));
        // Read anew, the directory takes no windows away.
        directory.remember(1, Rc::new(vec![long]), directory.mark());
        assert_eq!(directory.windows(1), Some(windows));
        directory.set_windows(1, None);
        assert_eq!(directory.bucket_of(1, id), None);
        assert!(directory.has(1, long));
    }

    #[test]
    fn another_bucket_waits_for_the_sends_into_the_one_before() {
        let home = Rc::new(Home::new(0, 0));
        let first = home.begin_send(7, 0).ok().unwrap();
        let second = home.begin_send(7, 0).ok().unwrap();
        assert!(home.begin_send(7, 240).is_err() && home.begin_send(8, 240).is_ok());
        drop(first);
        assert!(home.begin_send(7, 240).is_err());
        drop(second);
        assert!(home.begin_send(7, 240).is_ok());
        assert!(home.sending.borrow().is_empty());
    }
}
