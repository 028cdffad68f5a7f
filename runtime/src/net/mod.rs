//! TCP for shards: connections that are accepted, moved between shards, read and written.
//!
//! Every shard listens to the port by itself ([`Listener::bind`]) and serves what the kernel gives it, or sends an
//! [`Accepted`] connection to another shard ([`crate::call`]), which makes a [`Stream`] of it there.
//!
//! Nothing here is ever in flight: an operation is tried when the kernel says that it will not wait, by the task that asked
//! for it. So every future may be dropped, and a connection that waits holds no buffer. The simulator has no network.

mod ready;

use std::cell::{Cell, RefCell};
use std::fmt;
use std::io;
use std::mem::MaybeUninit;
use std::net::{Shutdown, SocketAddr};
use std::rc::Rc;
use std::task::Poll;

use socket2::{Domain, Protocol, Socket, Type};

pub(crate) use ready::{EVENTS_PER_LOOK, Event, NOBODY, Net};

use crate::context;
use crate::error::Error;
use crate::pass::breathe;
use ready::{PIECE_BYTES, Side, Source};

/// Connections that may wait to be accepted, on each listener.
const BACKLOG: i32 = 1024;

/// A port that this shard listens to. Clones share it; it is closed by [`close`](Self::close) or with the last of them.
#[derive(Clone)]
pub struct Listener(Rc<Listening>);

struct Listening {
    /// `None` once it is closed.
    source: RefCell<Option<Source>>,
    local: SocketAddr,
}

impl Listener {
    /// Listens to `addr`; port 0 chooses one, which [`local_addr`](Self::local_addr) tells.
    ///
    /// Other shards may listen to the same port; the kernel gives each of them a share of the connections, by a hash. So may
    /// other processes of the same user: that none does is to be seen to by other means.
    ///
    /// # Errors
    /// [`Error::Net`]: the address is in use without that leave, or is not this machine's; or the shard is a simulated one.
    /// # Panics
    /// Off-shard.
    pub fn bind(addr: SocketAddr) -> Result<Listener, Error> {
        let open = || {
            let net = context::current().body.net()?;
            let socket = Socket::new(Domain::for_address(addr), Type::STREAM, Some(Protocol::TCP))?;
            // What is left of the connections of an earlier process is no hindrance.
            socket.set_reuse_address(true)?;
            socket.set_reuse_port(true)?;
            socket.set_nonblocking(true)?;
            socket.bind(&addr.into())?;
            socket.listen(BACKLOG)?;
            let local = address(&socket.local_addr()?)?;
            Ok((Source::new(net, socket)?, local))
        };
        let (source, local) = open().map_err(|source| Error::net("bind", addr, source))?;
        Ok(Listener(Rc::new(Listening {
            source: RefCell::new(Some(source)),
            local,
        })))
    }

    /// The address that it listens to.
    pub fn local_addr(&self) -> SocketAddr {
        self.0.local
    }

    /// The next connection; `None` once the listener is closed.
    ///
    /// # Errors
    /// [`Error::Net`]: this one could not be accepted (too many open files; the peer has gone already). The listener is as
    /// good as before: wait some milliseconds, then go on.
    /// # Cancellation
    /// No connection is lost.
    /// # Panics
    /// If another task is accepting.
    pub async fn accept(&self) -> Result<Option<Accepted>, Error> {
        let only = self.0.source.borrow().as_ref().map(|source| source.only(Side::Read));
        let Some(_only) = only else { return Ok(None) };
        // Whoever goes on without having waited still leaves the shard to others.
        breathe().await;
        let accepted = std::future::poll_fn(|cx| {
            let source = self.0.source.borrow();
            let Some(source) = &*source else {
                return Poll::Ready(Ok(None));
            };
            source.poll_with(Side::Read, cx, Socket::accept).map_ok(Some)
        });
        let ready = accepted.await.and_then(|accepted| match accepted {
            Some((socket, peer)) => {
                socket.set_nonblocking(true)?;
                let peer = address(&peer)?;
                Ok(Some(Accepted { socket, peer }))
            }
            None => Ok(None),
        });
        ready.map_err(|source| Error::net("accept", self.0.local, source))
    }

    /// Stops listening: a task that waits for a connection is told so. What has not been accepted is refused.
    pub fn close(&self) {
        let source = self.0.source.take();
        if let Some(source) = source {
            source.wake();
        }
    }
}

impl fmt::Debug for Listener {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Listener").field("local", &self.0.local).finish()
    }
}

fn address(addr: &socket2::SockAddr) -> io::Result<SocketAddr> {
    let other = || io::Error::new(io::ErrorKind::InvalidData, "not an address of IP");
    addr.as_socket().ok_or_else(other)
}

/// A connection that belongs to no shard yet: it can be sent to the one that will serve it. Dropping it closes it.
pub struct Accepted {
    socket: Socket,
    peer: SocketAddr,
}

impl Accepted {
    /// The address at the other end.
    pub fn peer_addr(&self) -> SocketAddr {
        self.peer
    }

    /// Gives the connection to this shard. What is written to it is sent at once (`TCP_NODELAY`).
    ///
    /// # Errors
    /// [`Error::Net`]: the connection is closed.
    /// # Panics
    /// Off-shard.
    pub fn attach(self) -> Result<Stream, Error> {
        let Accepted { socket, peer } = self;
        let attach = || {
            let net = context::current().body.net()?;
            socket.set_tcp_nodelay(true)?;
            Source::new(net, socket)
        };
        Ok(Stream {
            source: attach().map_err(|source| Error::net("attach", peer, source))?,
            peer,
            shut: Cell::new(false),
            torn: Cell::new(false),
        })
    }
}

impl fmt::Debug for Accepted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Accepted").field("peer", &self.peer).finish()
    }
}

/// A connection of this shard, for one reader and one writer: share it by an `Rc`. Dropping it closes it.
///
/// What was written before is still sent, unless input was left unread: then the kernel resets the connection.
pub struct Stream {
    source: Source,
    peer: SocketAddr,
    shut: Cell<bool>,
    /// A write has ended in the midst of its bytes.
    torn: Cell<bool>,
}

impl Stream {
    /// The address at the other end.
    pub fn peer_addr(&self) -> SocketAddr {
        self.peer
    }

    /// Appends what has come to `buf`, at least one byte and at most `max` and 64 KiB; 0: there will be no more.
    ///
    /// While it waits it holds nothing but `buf`. If `buf` has room for `max` bytes they land there directly; else they come
    /// by way of a buffer of the shard, and `buf` grows by what has come: so hand in an empty one while nothing is expected,
    /// and one with room for the rest of a long frame.
    ///
    /// # Errors
    /// [`Error::Net`]: the connection is gone; drop it.
    /// # Cancellation
    /// Nothing is lost: what was not appended is there for the next read.
    /// # Panics
    /// If `max` is 0, and if another task reads.
    pub async fn read(&self, buf: &mut Vec<u8>, max: usize) -> Result<usize, Error> {
        assert!(max > 0, "a read of no bytes looks like the end");
        let _only = self.source.only(Side::Read);
        // Whoever is never made to wait still leaves the shard to others.
        breathe().await;
        let max = max.min(PIECE_BYTES);
        let read = std::future::poll_fn(|cx| {
            if self.shut.get() {
                return Poll::Ready(Ok(0));
            }
            self.source.poll_with(Side::Read, cx, |socket| {
                if buf.capacity() - buf.len() >= max {
                    return receive(socket, buf, max);
                }
                self.source.net().with_scratch(|scratch| {
                    let len = receive(socket, scratch, max)?;
                    buf.extend_from_slice(scratch);
                    Ok(len)
                })
            })
        });
        let len = read.await.map_err(|source| Error::net("receive", self.peer, source))?;
        if len < max {
            self.source.drained(Side::Read);
        }
        Ok(len)
    }

    /// Sends all of `bytes`; waits while the peer does not take them.
    ///
    /// # Errors
    /// [`Error::Net`]: the connection is gone, or was shut down, or an earlier write was cut off; drop it.
    /// # Cancellation
    /// Any part may have been sent. Further writes fail, so that the peer does not take their bytes for the missing ones.
    /// # Panics
    /// If another task writes.
    pub async fn write_all(&self, bytes: &[u8]) -> Result<(), Error> {
        let _only = self.source.only(Side::Write);
        let mut sending = Sending {
            stream: self,
            sent: 0,
            len: bytes.len(),
        };
        while sending.sent < bytes.len() {
            if sending.sent > 0 {
                breathe().await;
            }
            let rest = &bytes[sending.sent..];
            let piece = &rest[..rest.len().min(PIECE_BYTES)];
            let sent = std::future::poll_fn(|cx| {
                if self.shut.get() || self.torn.get() {
                    return Poll::Ready(Err(io::ErrorKind::BrokenPipe.into()));
                }
                self.source.poll_with(Side::Write, cx, |socket| send(socket, piece))
            });
            sending.sent += sent.await.map_err(|source| Error::net("send", self.peer, source))?;
        }
        Ok(())
    }

    /// Tells the peer that nothing more will be written; what it sends can still be read.
    pub fn end_writes(&self) {
        // It fails if the connection is gone, which reads will tell.
        let _ = self.source.socket().shutdown(Shutdown::Write);
    }

    /// Ends the connection in both directions: a read, under way or new, gives 0, and a write fails. What was written before
    /// is still sent. For deadlines, for draining, and before the last [`Rc`] is dropped.
    pub fn shutdown(&self) {
        if !self.shut.replace(true) {
            // It fails if the connection is gone.
            let _ = self.source.socket().shutdown(Shutdown::Both);
            self.source.wake();
        }
    }
}

impl fmt::Debug for Stream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Stream").field("peer", &self.peer).finish()
    }
}

/// Marks the stream if a write ends, or is dropped, before its last byte.
struct Sending<'a> {
    stream: &'a Stream,
    sent: usize,
    len: usize,
}

impl Drop for Sending<'_> {
    fn drop(&mut self) {
        if self.sent > 0 && self.sent < self.len {
            self.stream.torn.set(true);
        }
    }
}

/// Receives at most `max` bytes into the room behind those of `buf`, which is there.
fn receive(socket: &Socket, buf: &mut Vec<u8>, max: usize) -> io::Result<usize> {
    let before = buf.len();
    let room: &mut [MaybeUninit<u8>] = &mut buf.spare_capacity_mut()[..max];
    let len = socket.recv(room)?;
    assert!(len <= max, "the kernel gives no more than it was asked for");
    // SAFETY: the kernel has written the first `len` bytes of `room`, which lie behind the first `before` ones.
    unsafe { buf.set_len(before + len) };
    Ok(len)
}

/// Sends, without a signal if the peer is gone.
fn send(socket: &Socket, bytes: &[u8]) -> io::Result<usize> {
    #[cfg(not(target_vendor = "apple"))]
    let flags = libc::MSG_NOSIGNAL;
    // There the socket has an option instead, which is set when it is accepted.
    #[cfg(target_vendor = "apple")]
    let flags = 0;
    socket.send_with_flags(bytes, flags)
}
