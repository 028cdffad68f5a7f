//! The thread that waits for a shard's sockets: started with the first of them, joined when the shard ends.
//!
//! It knows neither sockets nor tasks: it leaves what the kernel tells it at the shard's [`front`](super::front), and the
//! shard's own thread does the rest.

use std::io;
use std::sync::Arc;
use std::thread::{self, JoinHandle};

use super::front::Front;
use super::pool::STACK_BYTES;
use crate::checks;
use crate::net::{EVENTS_PER_LOOK, Event, NOBODY};

/// The thread, for the shard.
pub(super) struct Watcher {
    front: Arc<Front>,
    waker: mio::Waker,
    thread: Option<JoinHandle<()>>,
}

impl Watcher {
    /// `cpus`: where the thread may run; not only on the shard's processor.
    pub(super) fn start(name: String, front: Arc<Front>, cpus: Vec<usize>, mut poll: mio::Poll) -> io::Result<Watcher> {
        let waker = mio::Waker::new(poll.registry(), NOBODY)?;
        let tells = Arc::clone(&front);
        let thread = thread::Builder::new().name(name).stack_size(STACK_BYTES);
        let thread = thread.spawn(move || {
            checks::run_on(&cpus);
            let mut events = mio::Events::with_capacity(EVENTS_PER_LOOK);
            loop {
                match poll.poll(&mut events, None) {
                    Ok(()) => {}
                    Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                    Err(error) => panic!("sockets can't be waited for: {error}"),
                }
                if !tells.tell(events.iter().map(Event::from)) {
                    return;
                }
            }
        })?;
        Ok(Watcher {
            front,
            waker,
            thread: Some(thread),
        })
    }
}

impl Drop for Watcher {
    fn drop(&mut self) {
        self.front.unwatch();
        // It fails only where the thread's own waiting does.
        let _ = self.waker.wake();
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}
