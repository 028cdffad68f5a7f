//! Waking tasks that wait for a condition they check themselves.

use std::cell::{Cell, RefCell};
use std::future::Future;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};

use super::waiters::{Key, Waiters};

struct Shared {
    /// One call of `notify_one` that met nobody.
    stored: Cell<bool>,
    /// Calls of `notify_all` so far.
    round: Cell<u64>,
    waiters: RefCell<Waiters<Waiting>>,
}

struct Waiting {
    round: u64,
    served: Served,
}

#[derive(Clone, Copy, PartialEq)]
enum Served {
    No,
    One,
    All,
}

/// Wakes waiting tasks of this shard; clones share it.
///
/// `notify_one` without a waiter is kept (once) for the next one; `notify_all` reaches everyone whose
/// [`notified`](Self::notified) was called before it, polled or not.
#[derive(Clone)]
pub struct Notify(Rc<Shared>);

/// Future of [`Notify::notified`].
///
/// # Cancellation
/// Dropped after it was woken by `notify_one` and before it was polled, the wake-up goes to the next waiter.
pub struct Notified {
    shared: Rc<Shared>,
    round: u64,
    key: Option<Key>,
}

impl Default for Notify {
    fn default() -> Self {
        Notify::new()
    }
}

impl Notify {
    /// A notifier that nobody waits for.
    pub fn new() -> Self {
        Notify(Rc::new(Shared {
            stored: Cell::new(false),
            round: Cell::new(0),
            waiters: RefCell::new(Waiters::new()),
        }))
    }

    /// Waits for the next call of `notify_one` meant for this waiter, or of `notify_all`.
    pub fn notified(&self) -> Notified {
        Notified {
            shared: Rc::clone(&self.0),
            round: self.0.round.get(),
            key: None,
        }
    }

    /// Wakes the longest waiting task, or the next one to come.
    pub fn notify_one(&self) {
        self.0.notify_one();
    }

    /// Wakes everyone who waits now.
    pub fn notify_all(&self) {
        let round = self.0.round.get() + 1;
        self.0.round.set(round);
        loop {
            let waker = {
                let mut waiters = self.0.waiters.borrow_mut();
                match waiters.front() {
                    // Whoever joins while we wake has seen this round already.
                    Some((key, waiting)) if waiting.round < round => {
                        waiting.served = Served::All;
                        waiters.unlink(key)
                    }
                    _ => break,
                }
            };
            if let Some(waker) = waker {
                waker.wake();
            }
        }
    }
}

impl Shared {
    fn notify_one(&self) {
        let waker = {
            let mut waiters = self.waiters.borrow_mut();
            match waiters.front() {
                Some((key, waiting)) => {
                    waiting.served = Served::One;
                    waiters.unlink(key)
                }
                None => {
                    self.stored.set(true);
                    None
                }
            }
        };
        if let Some(waker) = waker {
            waker.wake();
        }
    }
}

impl Future for Notified {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let this = &mut *self;
        let shared = &*this.shared;
        let Some(key) = this.key else {
            // `replace` only when not already reached by `notify_all`: the stored one is then left for another.
            if shared.round.get() > this.round || shared.stored.replace(false) {
                return Poll::Ready(());
            }
            let waiting = Waiting {
                round: this.round,
                served: Served::No,
            };
            let waker = cx.waker().clone();
            this.key = Some(shared.waiters.borrow_mut().push(waiting, waker));
            return Poll::Pending;
        };
        if shared.waiters.borrow().get(key).served != Served::No {
            this.key = None;
            // Polled again after completion it is a new wait.
            this.round = shared.round.get();
            let (_, waker) = shared.waiters.borrow_mut().remove(key);
            drop(waker);
            return Poll::Ready(());
        }
        let old = shared.waiters.borrow_mut().set_waker(key, cx.waker());
        drop(old);
        Poll::Pending
    }
}

impl Drop for Notified {
    fn drop(&mut self) {
        if let Some(key) = self.key.take() {
            let (waiting, waker) = self.shared.waiters.borrow_mut().remove(key);
            drop(waker);
            if waiting.served == Served::One {
                self.shared.notify_one();
            }
        }
    }
}
