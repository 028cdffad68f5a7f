//! Local synchronisation: what tasks of one shard use among themselves.
//!
//! Everything here is single-threaded (`!Send`) and knows nothing of a body: it stores the wakers it is polled with and
//! wakes them. Three rules hold in every file:
//!
//! 1. **Cancel-safe.** Dropping a future that waits loses nothing: what was already granted to it goes to the next one.
//! 2. **No allocation on the fast path.** Taking a free permit, a message or an unlocked mutex allocates nothing; waiting
//!    reuses the slots of earlier waiters.
//! 3. **No borrow while foreign code runs.** Wakers are woken and values are dropped after the inner borrow has ended, so
//!    that a destructor may use the same primitive again.

mod channel;
mod gate;
mod mutex;
mod notify;
mod oneshot;
mod semaphore;
#[cfg(test)]
mod tests;
mod waiters;

pub use channel::{Closed, Receiver, Recv, Send, Sender, TrySendError, channel};
pub use gate::{Close, Gate, Pass};
pub use mutex::{Guard, Lock, Mutex};
pub use notify::{Notified, Notify};
pub use oneshot::{Canceled, Receiver as OneshotReceiver, Sender as OneshotSender, oneshot};
pub use semaphore::{Acquire, Permit, Semaphore};
