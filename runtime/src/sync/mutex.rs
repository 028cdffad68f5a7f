//! A value that one task at a time may hold over an await.

use std::cell::{RefCell, RefMut};
use std::fmt;
use std::future::Future;
use std::ops::{Deref, DerefMut};
use std::pin::Pin;
use std::task::{Context, Poll};

use super::semaphore::Tickets;
use super::waiters::Key;

/// A fair lock among the tasks of one shard: whoever asked first gets it first.
pub struct Mutex<T> {
    turn: Tickets,
    value: RefCell<T>,
}

/// The lock held; dropping it lets the next one in.
#[must_use = "dropping the guard unlocks at once"]
pub struct Guard<'a, T> {
    // Fields drop in this order: the value is free before the next one is woken.
    value: RefMut<'a, T>,
    _turn: Turn<'a>,
}

struct Turn<'a>(&'a Tickets);

/// Future of [`Mutex::lock`].
///
/// # Cancellation
/// Dropping it leaves the queue; a lock already given to it goes to the next.
pub struct Lock<'a, T> {
    mutex: &'a Mutex<T>,
    key: Option<Key>,
}

impl<T> Mutex<T> {
    /// An unlocked mutex around `value`.
    pub const fn new(value: T) -> Self {
        Mutex {
            turn: Tickets::new(1),
            value: RefCell::new(value),
        }
    }

    /// Waits for the lock, in order of arrival.
    pub fn lock(&self) -> Lock<'_, T> {
        Lock { mutex: self, key: None }
    }

    /// The lock, if it is free and nobody waits.
    pub fn try_lock(&self) -> Option<Guard<'_, T>> {
        self.turn.try_take(1).then(|| self.guard())
    }

    /// The value of a mutex that nobody else knows any more.
    pub fn into_inner(self) -> T {
        self.value.into_inner()
    }

    fn guard(&self) -> Guard<'_, T> {
        Guard {
            value: self.value.borrow_mut(),
            _turn: Turn(&self.turn),
        }
    }
}

impl<T: fmt::Debug> fmt::Debug for Mutex<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Mutex").field("value", &self.value).finish()
    }
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        self.0.give(1);
    }
}

impl<T> Deref for Guard<'_, T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.value
    }
}

impl<T> DerefMut for Guard<'_, T> {
    fn deref_mut(&mut self) -> &mut T {
        &mut self.value
    }
}

impl<'a, T> Future for Lock<'a, T> {
    type Output = Guard<'a, T>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let mutex = self.mutex;
        mutex.turn.poll_take(1, &mut self.key, cx).map(|taken| {
            assert!(taken, "a mutex is never closed");
            mutex.guard()
        })
    }
}

impl<T> Drop for Lock<'_, T> {
    fn drop(&mut self) {
        if let Some(key) = self.key.take() {
            self.mutex.turn.forget(key);
        }
    }
}
