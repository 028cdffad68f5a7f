//! A bounded queue from many senders to one receiver of the same shard. Senders that wait are served in order.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};

use super::semaphore::Tickets;
use super::waiters::Key;

/// Longer queues grow to their bound as they fill.
const RESERVED_MAX: usize = 1024;

struct Shared<T> {
    queue: RefCell<VecDeque<T>>,
    /// Free places; closed when the receiver is gone.
    places: Tickets,
    senders: Cell<usize>,
    receiver: Cell<Option<Waker>>,
}

/// The sending half of [`channel`]; clones send into the same queue.
pub struct Sender<T>(Rc<Shared<T>>);

/// The receiving half of [`channel`].
pub struct Receiver<T>(Rc<Shared<T>>);

/// Nobody receives any more; the message comes back.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Closed<T>(pub T);

/// Why [`Sender::try_send`] gave the message back.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum TrySendError<T> {
    /// The queue is full, or others wait for a place.
    Full(T),
    /// Nobody receives any more.
    Closed(T),
}

/// Future of [`Sender::send`].
///
/// # Cancellation
/// Dropped before it is ready, the message was not sent.
pub struct Send<'a, T> {
    shared: &'a Shared<T>,
    message: Option<T>,
    key: Option<Key>,
}

/// Future of [`Receiver::recv`].
///
/// # Cancellation
/// Dropping it loses no message.
pub struct Recv<'a, T>(&'a Shared<T>);

/// A queue of at most `bound` messages.
///
/// # Panics
/// If `bound` is 0.
pub fn channel<T>(bound: usize) -> (Sender<T>, Receiver<T>) {
    assert!(bound > 0, "a channel needs room for at least one message");
    let shared = Rc::new(Shared {
        queue: RefCell::new(VecDeque::with_capacity(bound.min(RESERVED_MAX))),
        places: Tickets::new(bound),
        senders: Cell::new(1),
        receiver: Cell::new(None),
    });
    (Sender(Rc::clone(&shared)), Receiver(shared))
}

impl<T> Shared<T> {
    fn push(&self, message: T) {
        self.queue.borrow_mut().push_back(message);
        self.wake_receiver();
    }

    fn pop(&self) -> Option<T> {
        let message = self.queue.borrow_mut().pop_front()?;
        self.places.give(1);
        Some(message)
    }

    fn wake_receiver(&self) {
        if let Some(waker) = self.receiver.take() {
            waker.wake();
        }
    }
}

impl<T> Sender<T> {
    /// Puts `message` into the queue, waiting for a place in order of arrival.
    ///
    /// # Errors
    /// [`Closed`] with the message: the receiver is gone.
    pub fn send(&self, message: T) -> Send<'_, T> {
        Send {
            shared: &self.0,
            message: Some(message),
            key: None,
        }
    }

    /// Puts `message` into the queue if there is a place now.
    ///
    /// # Errors
    /// The message comes back.
    pub fn try_send(&self, message: T) -> Result<(), TrySendError<T>> {
        if self.0.places.is_closed() {
            return Err(TrySendError::Closed(message));
        }
        if !self.0.places.try_take(1) {
            return Err(TrySendError::Full(message));
        }
        self.0.push(message);
        Ok(())
    }

    /// Whether the receiver is gone.
    pub fn is_closed(&self) -> bool {
        self.0.places.is_closed()
    }
}

impl<T> Clone for Sender<T> {
    fn clone(&self) -> Self {
        self.0.senders.set(self.0.senders.get() + 1);
        Sender(Rc::clone(&self.0))
    }
}

impl<T> Drop for Sender<T> {
    fn drop(&mut self) {
        let left = self.0.senders.get() - 1;
        self.0.senders.set(left);
        if left == 0 {
            self.0.wake_receiver();
        }
    }
}

impl<T> Receiver<T> {
    /// Waits for the next message; `None` once every sender is gone and the queue is empty.
    pub fn recv(&mut self) -> Recv<'_, T> {
        Recv(&self.0)
    }

    /// The next message, if one is there.
    pub fn try_recv(&mut self) -> Option<T> {
        self.0.pop()
    }

    /// Messages in the queue.
    pub fn len(&self) -> usize {
        self.0.queue.borrow().len()
    }

    /// Whether the queue is empty.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

impl<T> Drop for Receiver<T> {
    fn drop(&mut self) {
        self.0.places.close();
        drop(self.0.receiver.take());
        let messages = std::mem::take(&mut *self.0.queue.borrow_mut());
        drop(messages);
    }
}

// The message is never pinned: it is only moved out.
impl<T> Unpin for Send<'_, T> {}

impl<T> Future for Send<'_, T> {
    type Output = Result<(), Closed<T>>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = &mut *self;
        let Poll::Ready(taken) = this.shared.places.poll_take(1, &mut this.key, cx) else {
            return Poll::Pending;
        };
        let message = this
            .message
            .take()
            .expect("a send is polled until it is ready, and not after");
        // A place granted just before the receiver went away leads nowhere.
        if !taken || this.shared.places.is_closed() {
            return Poll::Ready(Err(Closed(message)));
        }
        this.shared.push(message);
        Poll::Ready(Ok(()))
    }
}

impl<T> Drop for Send<'_, T> {
    fn drop(&mut self) {
        if let Some(key) = self.key.take() {
            self.shared.places.forget(key);
        }
    }
}

impl<T> Future for Recv<'_, T> {
    type Output = Option<T>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<T>> {
        if let Some(message) = self.0.pop() {
            return Poll::Ready(Some(message));
        }
        if self.0.senders.get() == 0 {
            return Poll::Ready(None);
        }
        let kept = match self.0.receiver.take() {
            Some(old) if old.will_wake(cx.waker()) => old,
            _ => cx.waker().clone(),
        };
        self.0.receiver.set(Some(kept));
        Poll::Pending
    }
}

impl<T> fmt::Debug for Closed<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Closed(..)")
    }
}

impl<T> fmt::Display for Closed<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the receiver is gone")
    }
}

impl<T> std::error::Error for Closed<T> {}

impl<T> fmt::Debug for TrySendError<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            TrySendError::Full(_) => "Full(..)",
            TrySendError::Closed(_) => "Closed(..)",
        })
    }
}

impl<T> fmt::Display for TrySendError<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            TrySendError::Full(_) => "the channel is full",
            TrySendError::Closed(_) => "the receiver is gone",
        })
    }
}

impl<T> std::error::Error for TrySendError<T> {}
