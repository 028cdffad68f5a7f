//! One value, once, from one task to another of the same shard.

use std::cell::Cell;
use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};

struct Shared<T> {
    value: Cell<Option<T>>,
    waker: Cell<Option<Waker>>,
    sender_gone: Cell<bool>,
    receiver_gone: Cell<bool>,
}

/// The sending half of [`oneshot`]. Dropped without sending, the receiver gets [`Canceled`].
pub struct Sender<T>(Rc<Shared<T>>);

/// The receiving half of [`oneshot`]: a future of the value.
///
/// # Cancellation
/// Polling it by reference and dropping that future loses nothing.
pub struct Receiver<T>(Rc<Shared<T>>);

/// The sender was dropped without sending.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Canceled;

impl fmt::Display for Canceled {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the sender was dropped without sending")
    }
}

impl std::error::Error for Canceled {}

/// A channel for exactly one value.
pub fn oneshot<T>() -> (Sender<T>, Receiver<T>) {
    let shared = Rc::new(Shared {
        value: Cell::new(None),
        waker: Cell::new(None),
        sender_gone: Cell::new(false),
        receiver_gone: Cell::new(false),
    });
    (Sender(Rc::clone(&shared)), Receiver(shared))
}

impl<T> Sender<T> {
    /// Hands the value over.
    ///
    /// # Errors
    /// The value itself, if nobody waits for it any more.
    pub fn send(self, value: T) -> Result<(), T> {
        if self.0.receiver_gone.get() {
            return Err(value);
        }
        self.0.value.set(Some(value));
        Ok(()) // The drop of `self` wakes the receiver.
    }

    /// Whether the receiver is gone, so that computing the value would be in vain.
    pub fn is_canceled(&self) -> bool {
        self.0.receiver_gone.get()
    }
}

impl<T> Drop for Sender<T> {
    fn drop(&mut self) {
        self.0.sender_gone.set(true);
        if let Some(waker) = self.0.waker.take() {
            waker.wake();
        }
    }
}

impl<T> Receiver<T> {
    /// Waits for the value; the same as awaiting the receiver.
    ///
    /// # Errors
    /// [`Canceled`]: the sender was dropped without sending.
    pub async fn recv(self) -> Result<T, Canceled> {
        self.await
    }

    /// The value, if it is there already.
    pub fn try_recv(&mut self) -> Option<T> {
        self.0.value.take()
    }
}

impl<T> Future for Receiver<T> {
    type Output = Result<T, Canceled>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        if let Some(value) = self.0.value.take() {
            return Poll::Ready(Ok(value));
        }
        if self.0.sender_gone.get() {
            return Poll::Ready(Err(Canceled));
        }
        let kept = match self.0.waker.take() {
            Some(old) if old.will_wake(cx.waker()) => old,
            _ => cx.waker().clone(),
        };
        self.0.waker.set(Some(kept));
        Poll::Pending
    }
}

impl<T> Drop for Receiver<T> {
    fn drop(&mut self) {
        self.0.receiver_gone.set(true);
        drop(self.0.value.take());
        drop(self.0.waker.take());
    }
}
