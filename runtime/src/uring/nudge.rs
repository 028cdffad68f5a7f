//! Waking a shard from any thread.
//!
//! A channel leads from the shard to itself; its sending end is lent to the other threads. glommio has a sender for that,
//! `ForeignSender`, but making one leaks the executor's eventfd (0.12.0, `into_foreign` forgets what it was made from), so
//! a process that opens and closes stores would run out of descriptors. What that sender does is done here.

use std::sync::Arc;

use glommio::channels::shared_channel::ConnectedSender;
use parking_lot::Mutex;

/// Wakes a shard, once it is there and until it ends.
#[derive(Clone, Default)]
pub(crate) struct Nudge(Arc<Mutex<Option<Lent>>>);

/// A sending end that other threads use by reference.
struct Lent(ConnectedSender<()>);

// SAFETY: the sender is put in and taken out, and so dropped, on its shard's thread ([`Nudge::set`], [`Nudge::clear`],
// and [`ClearNudge`] in case of a panic). Other threads only reach `try_send`, one at a time because of the mutex; it
// touches the atomic queue and the shard's eventfd, which are made for two threads, and not the sender's weak pointer to
// its reactor, which is not (glommio-ng 0.12.0, channels/shared_channel.rs:313; `ForeignSender::try_send` is the same).
unsafe impl Send for Lent {}

impl Nudge {
    /// Wakes the shard if it is there.
    pub(crate) fn nudge(&self) {
        if let Some(Lent(sender)) = &*self.0.lock() {
            // Full: the shard has not looked at the last ones yet. Closed: it has ended.
            let _ = sender.try_send(());
        }
    }

    /// On the shard's thread: the shard is there.
    pub(super) fn set(&self, sender: ConnectedSender<()>) {
        *self.0.lock() = Some(Lent(sender));
    }

    /// On the shard's thread: the shard ends.
    pub(super) fn clear(&self) {
        let sender = self.0.lock().take();
        drop(sender);
    }
}

/// Clears on drop, however the shard's thread gets there.
pub(super) struct ClearNudge(pub(super) Nudge);

impl Drop for ClearNudge {
    fn drop(&mut self) {
        self.0.clear();
    }
}
