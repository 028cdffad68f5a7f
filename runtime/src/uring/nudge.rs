//! Waking a shard from any thread.
//!
//! A channel leads from the shard to itself; its sending end is lent to the other threads. glommio has a sender for that,
//! `ForeignSender`, but making one leaks the executor's eventfd (0.12.0, `into_foreign` forgets what it was made from), so
//! a process that opens and closes stores would run out of descriptors. What that sender does is done here.
//!
//! Until that channel is connected, the waker of the shard's main future is lent: a shard that a busy machine keeps off its core
//! at the wrong moment parks with work to do (glommio-ng 0.12.0, executor/mod.rs:1455), and nobody else would wake it.

use std::sync::Arc;
use std::task::Waker;

use glommio::channels::shared_channel::ConnectedSender;
use parking_lot::Mutex;

/// Wakes a shard, once it is there and until it ends.
#[derive(Clone, Default)]
pub(crate) struct Nudge(Arc<Mutex<Option<Lent>>>);

/// What other threads wake the shard with, by reference.
struct Lent(Wakes);

enum Wakes {
    /// The shard's main future, while it connects the channels. It is cloned by other threads, into the shard's queue of wakers,
    /// and dropped on the shard's thread alone: dropped elsewhere it can touch a task that is gone (task/raw.rs:358).
    Main(Waker),
    /// A sending end.
    Channel(ConnectedSender<()>),
}

// SAFETY: the sender is put in and taken out, and so dropped, on its shard's thread ([`Nudge::connecting`], [`Nudge::set`],
// [`Nudge::clear`], and [`ClearNudge`] in case of a panic). Other threads only reach `try_send`, one at a time because of the
// mutex; it touches the atomic queue and the shard's eventfd, which are made for two threads, and not the sender's weak pointer
// to its reactor, which is not (glommio-ng 0.12.0, channels/shared_channel.rs:313; `ForeignSender::try_send` is the same). The
// waker is `Send` by itself.
unsafe impl Send for Lent {}

impl Nudge {
    /// Wakes the shard if it is there.
    pub(crate) fn nudge(&self) {
        match &*self.0.lock() {
            Some(Lent(Wakes::Main(waker))) => waker.wake_by_ref(),
            // Full: the shard has not looked at the last ones yet. Closed: it has ended.
            Some(Lent(Wakes::Channel(sender))) => drop(sender.try_send(())),
            None => {}
        }
    }

    /// On the shard's thread: the shard connects its channels, in the task of this waker.
    pub(super) fn connecting(&self, main: Waker) {
        self.put(Some(Wakes::Main(main)));
    }

    /// On the shard's thread: the shard is there.
    pub(super) fn set(&self, sender: ConnectedSender<()>) {
        self.put(Some(Wakes::Channel(sender)));
    }

    /// On the shard's thread: the shard ends.
    pub(super) fn clear(&self) {
        self.put(None);
    }

    fn put(&self, wakes: Option<Wakes>) {
        let before = std::mem::replace(&mut *self.0.lock(), wakes.map(Lent));
        drop(before);
    }
}

/// Clears on drop, however the shard's thread gets there.
pub(super) struct ClearNudge(pub(super) Nudge);

impl Drop for ClearNudge {
    fn drop(&mut self) {
        self.0.clear();
    }
}
