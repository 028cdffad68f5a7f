//! Counted permits, given in order of arrival.
//!
//! Fair: a waiter for many permits is not overtaken by later ones that need few. Permits that come back are granted to
//! the queue's front at once, before it is polled, so that nobody can snatch them in between.

use std::cell::{Cell, RefCell};
use std::future::Future;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};

use super::waiters::{Key, Waiters};

struct Waiting {
    need: usize,
    granted: bool,
}

/// The queue of permits itself, without ownership: the part that the channel and the mutex share.
pub(super) struct Tickets {
    free: Cell<usize>,
    closed: Cell<bool>,
    waiters: RefCell<Waiters<Waiting>>,
}

impl Tickets {
    pub(super) const fn new(free: usize) -> Self {
        Tickets {
            free: Cell::new(free),
            closed: Cell::new(false),
            waiters: RefCell::new(Waiters::new()),
        }
    }

    pub(super) fn free(&self) -> usize {
        self.free.get()
    }

    /// Takes `need` permits if they are free and nobody waits before.
    pub(super) fn try_take(&self, need: usize) -> bool {
        let free = self.free.get();
        if self.closed.get() || free < need || !self.waiters.borrow().is_empty() {
            return false;
        }
        self.free.set(free - need);
        true
    }

    pub(super) fn give(&self, count: usize) {
        self.free
            .set(self.free.get().checked_add(count).expect("permits fit in usize"));
        self.serve();
    }

    /// Everyone who waits, and everyone who comes later, gets nothing.
    pub(super) fn close(&self) {
        self.closed.set(true);
        while let Some(waker) = self.pop(|_, _| true) {
            waker.wake();
        }
    }

    pub(super) fn is_closed(&self) -> bool {
        self.closed.get()
    }

    /// Grants from the front as far as the free permits reach.
    fn serve(&self) {
        while let Some(waker) = self.pop(|free, waiting| {
            if waiting.need > free.get() {
                return false;
            }
            free.set(free.get() - waiting.need);
            waiting.granted = true;
            true
        }) {
            waker.wake();
        }
    }

    /// Unlinks the front if `admit` says so; its waker (a no-op one if it had none) is woken by the caller, after the borrow.
    fn pop(&self, admit: impl FnOnce(&Cell<usize>, &mut Waiting) -> bool) -> Option<Waker> {
        let mut waiters = self.waiters.borrow_mut();
        let (key, waiting) = waiters.front()?;
        if !admit(&self.free, waiting) {
            return None;
        }
        Some(waiters.unlink(key).unwrap_or_else(|| Waker::noop().clone()))
    }

    /// `Ready(true)`: taken. `Ready(false)`: closed. `key` is the waiter's place between polls.
    pub(super) fn poll_take(&self, need: usize, key: &mut Option<Key>, cx: &mut Context<'_>) -> Poll<bool> {
        let Some(held) = *key else {
            if self.try_take(need) {
                return Poll::Ready(true);
            }
            if self.closed.get() {
                return Poll::Ready(false);
            }
            let waker = cx.waker().clone();
            *key = Some(self.waiters.borrow_mut().push(Waiting { need, granted: false }, waker));
            return Poll::Pending;
        };
        if self.waiters.borrow().get(held).granted || self.closed.get() {
            *key = None;
            let (waiting, waker) = self.waiters.borrow_mut().remove(held);
            drop(waker);
            return Poll::Ready(waiting.granted);
        }
        let old = self.waiters.borrow_mut().set_waker(held, cx.waker());
        drop(old);
        Poll::Pending
    }

    /// The waiter gives up; what it was granted goes to the next.
    pub(super) fn forget(&self, key: Key) {
        let (waiting, waker) = self.waiters.borrow_mut().remove(key);
        drop(waker);
        if waiting.granted {
            self.free.set(self.free.get() + waiting.need);
        }
        self.serve();
    }
}

/// Permits counted among the tasks of one shard; clones share them.
#[derive(Clone)]
pub struct Semaphore(Rc<Tickets>);

/// Permits taken from a [`Semaphore`]; dropping gives them back.
#[must_use = "dropping a permit gives it back at once"]
pub struct Permit {
    tickets: Rc<Tickets>,
    count: usize,
}

/// Future of [`Semaphore::acquire`].
///
/// # Cancellation
/// Dropping it gives back what it was granted and leaves the queue.
pub struct Acquire {
    tickets: Rc<Tickets>,
    need: usize,
    key: Option<Key>,
}

impl Semaphore {
    /// A semaphore of so many permits.
    pub fn new(permits: usize) -> Self {
        Semaphore(Rc::new(Tickets::new(permits)))
    }

    /// Waits for `count` permits, in order of arrival. More than there will ever be waits for ever.
    pub fn acquire(&self, count: usize) -> Acquire {
        Acquire {
            tickets: Rc::clone(&self.0),
            need: count,
            key: None,
        }
    }

    /// Takes `count` permits if they are free and nobody waits.
    pub fn try_acquire(&self, count: usize) -> Option<Permit> {
        self.0.try_take(count).then(|| Permit {
            tickets: Rc::clone(&self.0),
            count,
        })
    }

    /// Permits that are free now.
    pub fn available(&self) -> usize {
        self.0.free()
    }

    /// Adds permits for good.
    pub fn add_permits(&self, count: usize) {
        self.0.give(count);
    }
}

impl Permit {
    /// How many permits this is.
    pub fn count(&self) -> usize {
        self.count
    }

    /// Splits `count` off into a permit of its own.
    ///
    /// # Panics
    /// If it holds fewer.
    pub fn split(&mut self, count: usize) -> Permit {
        assert!(count <= self.count, "cannot split {count} off {} permits", self.count);
        self.count -= count;
        Permit {
            tickets: Rc::clone(&self.tickets),
            count,
        }
    }

    /// Takes `other` in.
    ///
    /// # Panics
    /// If it is of another semaphore.
    pub fn merge(&mut self, mut other: Permit) {
        assert!(
            Rc::ptr_eq(&self.tickets, &other.tickets),
            "permits of two semaphores do not mix"
        );
        self.count += std::mem::take(&mut other.count);
    }

    /// Never gives the permits back.
    pub fn forget(mut self) {
        self.count = 0;
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        if self.count > 0 {
            self.tickets.give(self.count);
        }
    }
}

impl Future for Acquire {
    type Output = Permit;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Permit> {
        let this = &mut *self;
        match this.tickets.poll_take(this.need, &mut this.key, cx) {
            Poll::Ready(true) => Poll::Ready(Permit {
                tickets: Rc::clone(&this.tickets),
                count: this.need,
            }),
            Poll::Ready(false) => unreachable!("a semaphore is never closed"),
            Poll::Pending => Poll::Pending,
        }
    }
}

impl Drop for Acquire {
    fn drop(&mut self) {
        if let Some(key) = self.key.take() {
            self.tickets.forget(key);
        }
    }
}
