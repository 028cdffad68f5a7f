//! A shard's side that other threads see: what they leave for it, and how it is woken.
//!
//! The shard's thread sleeps only after it has said so ([`Front::asleep`]) and has then found both lists empty. Whoever
//! leaves something puts it on its list first and looks at `asleep` afterwards. Both go through the list's mutex, so one of
//! the two sees the other: either the shard finds the thing, or the thread finds the shard asleep and wakes it.

use std::collections::VecDeque;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, Thread};
use std::time::Duration;

use parking_lot::{Condvar, Mutex};

use super::op::Ended;
use crate::cross::{Message, OUTSTANDING_MAX};
use crate::net::Event;
use crate::slots::WokenList;

/// Once so many events of sockets wait for the shard, the thread that tells them waits, too. The kernel keeps one per socket.
const EVENTS_MAX: usize = 4096;

/// What one shard and the threads around it share.
#[derive(Default)]
pub(super) struct Front {
    /// Tasks that were woken, on the shard or elsewhere.
    woken: Mutex<Vec<(u32, u64)>>,
    incoming: Mutex<Incoming>,
    /// Told when there is room for events again.
    room: Condvar,
    /// Whether `incoming` was left anything since the shard took it; set and cleared under its mutex.
    left: AtomicBool,
    asleep: AtomicBool,
    thread: OnceLock<Thread>,
    /// How many shards may send messages.
    senders: usize,
}

/// What other threads leave for a shard.
#[derive(Default)]
pub(super) struct Incoming {
    /// Operations of the disk that have ended. At most as many as are in flight.
    pub(super) ended: Vec<Ended>,
    /// Messages of other shards, in order. At most a request and a reply for each call under way.
    pub(super) messages: VecDeque<Message>,
    /// Readiness of sockets.
    pub(super) events: Vec<Event>,
    /// Nobody takes events any more.
    unwatched: bool,
    pub(super) nudged: bool,
    /// The shard has ended: messages are dropped.
    closed: bool,
}

impl WokenList for Front {
    fn woken(&self, slot: u32, id: u64) {
        self.woken.lock().push((slot, id));
        self.rouse();
    }
}

impl Front {
    /// The front of one of `shards` shards.
    pub(super) fn new(shards: usize) -> Self {
        Self {
            senders: shards - 1,
            ..Self::default()
        }
    }

    /// On the shard's thread, before it first sleeps.
    pub(super) fn attach(&self) {
        let attached = self.thread.set(thread::current());
        assert!(attached.is_ok(), "a front has one shard");
    }

    fn rouse(&self) {
        if self.asleep.load(Ordering::SeqCst)
            && self.asleep.swap(false, Ordering::SeqCst)
            && let Some(thread) = self.thread.get()
        {
            thread.unpark();
        }
    }

    fn leave(&self, leave: impl FnOnce(&mut Incoming)) {
        let mut incoming = self.incoming.lock();
        leave(&mut incoming);
        self.left.store(true, Ordering::Release);
        drop(incoming);
        self.rouse();
    }

    /// Wakes the shard.
    pub(super) fn nudge(&self) {
        self.leave(|incoming| incoming.nudged = true);
    }

    /// An operation has ended.
    pub(super) fn ended(&self, ended: Ended) {
        self.leave(|incoming| incoming.ended.push(ended));
    }

    /// Readiness of sockets. Waits while too much of it waits for the shard. Whether to go on.
    pub(super) fn tell(&self, events: impl Iterator<Item = Event>) -> bool {
        let mut incoming = self.incoming.lock();
        while incoming.events.len() >= EVENTS_MAX && !incoming.unwatched {
            self.room.wait(&mut incoming);
        }
        if incoming.unwatched {
            return false;
        }
        incoming.events.extend(events);
        self.left.store(true, Ordering::Release);
        drop(incoming);
        self.rouse();
        true
    }

    /// Ends [`Front::tell`], now and for ever.
    pub(super) fn unwatch(&self) {
        self.incoming.lock().unwatched = true;
        self.room.notify_all();
    }

    /// A message of another shard; dropped if this one has ended.
    pub(super) fn send(&self, message: Message) {
        let mut refused = None;
        self.leave(|incoming| match incoming.closed {
            true => refused = Some(message),
            false => {
                let max = 2 * OUTSTANDING_MAX * self.senders;
                assert!(incoming.messages.len() < max, "more messages than calls under way");
                incoming.messages.push_back(message);
            }
        });
        drop(refused);
    }

    /// On the shard: moves what was left to `to`, behind what is there.
    pub(super) fn take(&self, to: &mut Incoming) {
        if !self.left.load(Ordering::Acquire) {
            return;
        }
        let mut incoming = self.incoming.lock();
        self.left.store(false, Ordering::Release);
        to.ended.append(&mut incoming.ended);
        let full = incoming.events.len() >= EVENTS_MAX;
        to.events.append(&mut incoming.events);
        if full {
            self.room.notify_all();
        }
        if to.messages.is_empty() {
            std::mem::swap(&mut to.messages, &mut incoming.messages);
        } else {
            to.messages.append(&mut incoming.messages);
        }
        to.nudged |= std::mem::take(&mut incoming.nudged);
    }

    /// On the shard: moves the woken to `to`, behind what is there.
    pub(super) fn take_woken(&self, to: &mut VecDeque<(u32, u64)>) {
        to.extend(self.woken.lock().drain(..));
    }

    /// On the shard: no further messages are taken; gives those that are there.
    pub(super) fn close(&self) -> VecDeque<Message> {
        let mut incoming = self.incoming.lock();
        incoming.closed = true;
        std::mem::take(&mut incoming.messages)
    }

    fn is_empty(&self) -> bool {
        self.woken.lock().is_empty() && {
            let incoming = self.incoming.lock();
            incoming.ended.is_empty() && incoming.events.is_empty() && incoming.messages.is_empty() && !incoming.nudged
        }
    }

    /// On the shard: whether other threads have left something, without a lock. Misses what was woken elsewhere.
    pub(super) fn has_left(&self) -> bool {
        self.left.load(Ordering::Acquire)
    }

    /// On the shard: sleeps until something is there, at most `longest`. May end early.
    pub(super) fn sleep(&self, longest: Option<Duration>) {
        self.asleep.store(true, Ordering::SeqCst);
        if self.is_empty() {
            match longest {
                Some(longest) => thread::park_timeout(longest),
                None => thread::park(),
            }
        }
        self.asleep.store(false, Ordering::SeqCst);
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::AtomicU32;
    use std::time::Instant;

    use super::*;

    /// Each round races with the shard's falling asleep, and nobody else wakes it.
    #[test]
    fn nothing_that_was_left_is_slept_over() {
        const ROUNDS: u32 = 50_000;
        let front = Arc::new(Front::new(1));
        let seen = Arc::new(AtomicU32::new(0));
        let (ours, sees) = (Arc::clone(&front), Arc::clone(&seen));
        let shard = thread::spawn(move || {
            ours.attach();
            let (mut incoming, mut woken) = (Incoming::default(), VecDeque::new());
            for round in 0..ROUNDS {
                while woken.is_empty() && !incoming.nudged {
                    ours.sleep(None);
                    ours.take(&mut incoming);
                    ours.take_woken(&mut woken);
                }
                incoming.nudged = false;
                woken.clear();
                sees.store(round + 1, Ordering::Release);
            }
        });
        for round in 0..ROUNDS {
            // Sooner and later than the shard's last look.
            for _ in 0..round % 50 {
                std::hint::spin_loop();
            }
            match round % 2 {
                0 => front.nudge(),
                _ => front.woken(round, 1),
            }
            let begin = Instant::now();
            while seen.load(Ordering::Acquire) == round {
                if begin.elapsed() > Duration::from_micros(50) {
                    thread::yield_now();
                }
                assert!(
                    begin.elapsed() < Duration::from_secs(20),
                    "round {round}: the shard sleeps over what was left for it"
                );
            }
        }
        shard.join().expect("the shard ends");
    }

    /// The thread that tells waits while too much waits for the shard, drops nothing, and ends when it is told to.
    #[test]
    fn events_wait_for_room_and_none_is_dropped() {
        const BATCH: usize = 1000;
        const BATCHES: usize = 20;
        let front = Arc::new(Front::new(1));
        let told = Arc::new(AtomicU32::new(0));
        let (tells, counts) = (Arc::clone(&front), Arc::clone(&told));
        let watcher = thread::spawn(move || {
            let mut batches = 0;
            while tells.tell((batches * BATCH..(batches + 1) * BATCH).map(Event::readable)) {
                batches += 1;
                counts.fetch_add(1, Ordering::AcqRel);
            }
        });
        let within = |done: &dyn Fn() -> bool| {
            let begin = Instant::now();
            while !done() && begin.elapsed() < Duration::from_secs(20) {
                thread::sleep(Duration::from_millis(1));
            }
            done()
        };
        let mut incoming = Incoming::default();
        while incoming.events.len() < BATCHES * BATCH {
            assert!(
                within(&|| front.incoming.lock().events.len() >= EVENTS_MAX),
                "it goes on"
            );
            thread::sleep(Duration::from_millis(1));
            let waiting = front.incoming.lock().events.len();
            assert!(waiting < EVENTS_MAX + BATCH, "{waiting} events wait");
            front.take(&mut incoming);
        }
        let tokens = incoming.events.iter().map(Event::token);
        assert!(tokens.eq(0..incoming.events.len()), "every one, in order");
        front.unwatch();
        assert!(within(&|| watcher.is_finished()), "it ends");
        watcher.join().expect("it ends in order");
        assert!(told.load(Ordering::Acquire) as usize >= BATCHES);
    }
}
