//! Waiting for a shard's sockets.
//!
//! All sockets of a shard are in one epoll instance, and the ring polls that: one request per round of readiness, however
//! many sockets have become ready in it, and nothing at all per idle socket. The executor's own streams arm a poll per
//! socket and message.
//!
//! The executor polls descriptors only for streams of its own. So the instance is lent to one as if it were a socket; nothing
//! is ever read from it: whoever is woken looks at the instance itself, and then lends it anew.

use std::io;
use std::os::fd::{AsRawFd, FromRawFd, IntoRawFd, RawFd};
use std::pin::Pin;
use std::rc::Rc;
use std::task::Poll;
use std::time::Duration;

use futures_lite::AsyncRead;
use glommio::net::TcpStream;

use crate::net::{EVENTS_PER_LOOK, Event, Net};

/// Tells the shard's sockets of their readiness, until the shard ends.
pub(super) async fn watch(net: Rc<Net>, mut poll: mio::Poll) {
    let mut events = mio::Events::with_capacity(EVENTS_PER_LOOK);
    loop {
        something(poll.as_raw_fd()).await;
        match poll.poll(&mut events, Some(Duration::ZERO)) {
            Ok(()) => {}
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => panic!("sockets can't be waited for: {error}"),
        }
        for event in &events {
            net.tell(Event::from(event));
        }
    }
}

/// Comes back when the epoll instance has events, or for another reason.
async fn something(instance: RawFd) {
    let mut lent = Lent::new(instance);
    let mut polled = false;
    std::future::poll_fn(|cx| {
        if std::mem::replace(&mut polled, true) {
            return Poll::Ready(());
        }
        // Made by `Lent::new`, the ring's poll is not even submitted yet, so this only leaves the waker. If it ever did more it
        // would fail, the instance being no socket, and the instance be looked at in vain.
        let stream = lent.0.as_mut().expect("lent until it is dropped");
        Pin::new(stream).poll_read(cx, &mut [0]).map(drop)
    })
    .await;
}

/// The epoll instance as a stream of the executor, which must not close it.
struct Lent(Option<TcpStream>);

impl Lent {
    fn new(instance: RawFd) -> Self {
        // SAFETY: the descriptor is open, and `Lent` takes it out again before the stream is dropped, so that its owner alone
        // closes it.
        Lent(Some(unsafe { TcpStream::from_raw_fd(instance) }))
    }
}

impl Drop for Lent {
    fn drop(&mut self) {
        if let Some(stream) = self.0.take() {
            let _ = stream.into_raw_fd();
        }
    }
}
