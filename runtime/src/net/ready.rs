//! Sockets, and when they are ready: what is the same in both real bodies.
//!
//! 1. Every socket of a shard is registered once, with one poller (epoll, kqueue), edge-triggered and for both directions.
//! 2. Each direction has a flag, *ready*. An operation is tried only while the flag is set; when the kernel answers that it would
//!    have to wait, the flag is cleared and the task waits.
//! 3. Whoever waits for the poller (a task over the ring, or a thread beside the shard) brings its events to the shard's
//!    thread, where [`Net::tell`] sets flags and wakes tasks.
//!
//! No readiness is lost: a flag is cleared only after the kernel's answer, so what happens after that answer makes an event
//! that has yet to be told. An event may be told late, when its flag says nothing new: then an operation is tried in vain.
//!
//! No operation is ever in flight, so nothing has to outlive a future, and a socket that waits costs no buffer.

use std::cell::{Cell, RefCell};
use std::io;
use std::os::fd::AsRawFd;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};

use mio::unix::SourceFd;
use mio::{Interest, Registry, Token};
use socket2::Socket;

/// Sockets that are told ready at a time; the kernel keeps the others.
pub(crate) const EVENTS_PER_LOOK: usize = 1024;
/// No socket's token.
pub(crate) const NOBODY: Token = Token(usize::MAX);
/// The most that one call moves, in bytes: some 20 us of copying.
pub(super) const PIECE_BYTES: usize = 64 << 10;

const _: () = assert!(usize::BITS == 64, "a token is a place and its generation");

/// What the poller says of one socket.
#[derive(Clone, Copy)]
pub(crate) struct Event {
    token: Token,
    readable: bool,
    writable: bool,
    read_ended: bool,
    write_ended: bool,
}

#[cfg(test)]
impl Event {
    /// Something to read at the socket of this token.
    pub(crate) fn readable(token: usize) -> Self {
        Event {
            token: Token(token),
            readable: true,
            writable: false,
            read_ended: false,
            write_ended: false,
        }
    }

    pub(crate) fn token(&self) -> usize {
        self.token.0
    }
}

impl From<&mio::event::Event> for Event {
    fn from(event: &mio::event::Event) -> Self {
        Event {
            token: event.token(),
            readable: event.is_readable(),
            writable: event.is_writable(),
            read_ended: event.is_read_closed() || event.is_error(),
            write_ended: event.is_write_closed() || event.is_error(),
        }
    }
}

/// The sockets of one shard.
pub(crate) struct Net {
    registry: Registry,
    sources: RefCell<Sources>,
    /// Where input lands whose length is not known before; used within one poll.
    scratch: RefCell<Vec<u8>>,
}

#[derive(Default)]
struct Sources {
    places: Vec<Place>,
    free: Vec<u32>,
}

struct Place {
    generation: u32,
    flags: Option<Rc<Flags>>,
}

impl Net {
    pub(crate) fn new(registry: Registry) -> Self {
        Self {
            registry,
            sources: RefCell::default(),
            scratch: RefCell::default(),
        }
    }

    /// Sets the flags that an event is about, and wakes who waits for them.
    pub(crate) fn tell(&self, event: Event) {
        let (index, generation) = (event.token.0 as u32, (event.token.0 >> 32) as u32);
        let sources = self.sources.borrow();
        // Told late, of a socket that is gone.
        let Some(place) = sources.places.get(index as usize) else {
            return;
        };
        let Some(flags) = place.flags.clone().filter(|_| place.generation == generation) else {
            return;
        };
        drop(sources);
        flags.read.tell(event.readable, event.read_ended);
        flags.write.tell(event.writable, event.write_ended);
    }

    fn enter(&self, flags: &Rc<Flags>) -> Token {
        let sources = &mut *self.sources.borrow_mut();
        let flags = Some(Rc::clone(flags));
        let index = match sources.free.pop() {
            Some(index) => {
                sources.places[index as usize].flags = flags;
                index
            }
            None => {
                sources.places.push(Place { generation: 0, flags });
                u32::try_from(sources.places.len() - 1).expect("fewer than 2^32 sockets")
            }
        };
        let generation = sources.places[index as usize].generation;
        Token(index as usize | (generation as usize) << 32)
    }

    fn leave(&self, token: Token) {
        let sources = &mut *self.sources.borrow_mut();
        let index = token.0 as u32;
        let place = &mut sources.places[index as usize];
        place.generation = place.generation.wrapping_add(1);
        let flags = place.flags.take();
        sources.free.push(index);
        drop(flags);
    }

    /// Room for one piece.
    pub(super) fn with_scratch<R>(&self, f: impl FnOnce(&mut Vec<u8>) -> R) -> R {
        let mut scratch = self.scratch.borrow_mut();
        scratch.clear();
        scratch.reserve_exact(PIECE_BYTES);
        f(&mut scratch)
    }
}

struct Flags {
    read: Half,
    write: Half,
}

/// One direction of a socket.
struct Half {
    ready: Cell<bool>,
    /// There will be no waiting any more: every operation ends at once.
    ended: Cell<bool>,
    /// An operation is under way.
    busy: Cell<bool>,
    waker: Cell<Option<Waker>>,
}

impl Half {
    fn new(ready: bool) -> Self {
        Self {
            ready: Cell::new(ready),
            ended: Cell::new(false),
            busy: Cell::new(false),
            waker: Cell::new(None),
        }
    }

    fn tell(&self, ready: bool, ended: bool) {
        if ended {
            self.ended.set(true);
        }
        if ready || ended {
            self.ready.set(true);
            self.wake();
        }
    }

    fn wake(&self) {
        if let Some(waker) = self.waker.take() {
            waker.wake();
        }
    }

    fn wait(&self, waker: &Waker) {
        let waker = match self.waker.take() {
            Some(old) if old.will_wake(waker) => old,
            _ => waker.clone(),
        };
        self.waker.set(Some(waker));
    }
}

/// A direction of a socket, or of its waiting.
#[derive(Clone, Copy)]
pub(super) enum Side {
    Read,
    Write,
}

/// A registered socket. Dropping it closes it.
pub(super) struct Source {
    net: Rc<Net>,
    flags: Rc<Flags>,
    token: Token,
    socket: Socket,
}

impl Source {
    /// Registers a socket, which does not block, with this shard.
    pub(super) fn new(net: Rc<Net>, socket: Socket) -> io::Result<Source> {
        let flags = Rc::new(Flags {
            // If there is something already, registering makes an event of it.
            read: Half::new(false),
            write: Half::new(true),
        });
        let token = net.enter(&flags);
        let both = Interest::READABLE | Interest::WRITABLE;
        let registered = net.registry.register(&mut SourceFd(&socket.as_raw_fd()), token, both);
        if let Err(error) = registered {
            net.leave(token);
            return Err(error);
        }
        Ok(Source {
            net,
            flags,
            token,
            socket,
        })
    }

    pub(super) fn socket(&self) -> &Socket {
        &self.socket
    }

    pub(super) fn net(&self) -> &Net {
        &self.net
    }

    fn half(&self, side: Side) -> &Half {
        match side {
            Side::Read => &self.flags.read,
            Side::Write => &self.flags.write,
        }
    }

    /// Tries an operation whenever the socket is ready for it, until the kernel does not ask to wait.
    pub(super) fn poll_with<T>(
        &self,
        side: Side,
        cx: &mut Context<'_>,
        mut try_it: impl FnMut(&Socket) -> io::Result<T>,
    ) -> Poll<io::Result<T>> {
        let half = self.half(side);
        loop {
            if !half.ready.get() {
                half.wait(cx.waker());
                return Poll::Pending;
            }
            match try_it(&self.socket) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => half.ready.set(false),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                result => return Poll::Ready(result),
            }
        }
    }

    /// An operation has moved less than it was asked for: the next one would wait, unless the socket has ended. Saves the
    /// call that would say so. True of epoll; not known of others, where that call is made.
    pub(super) fn drained(&self, side: Side) {
        let half = self.half(side);
        if cfg!(target_os = "linux") && !half.ended.get() {
            half.ready.set(false);
        }
    }

    /// Wakes whoever waits, to look anew.
    pub(super) fn wake(&self) {
        self.flags.read.wake();
        self.flags.write.wake();
    }

    /// Begins an operation that may be the only one of its side.
    ///
    /// # Panics
    /// If there is another one.
    pub(super) fn only(&self, side: Side) -> Only {
        let other = self.half(side).busy.replace(true);
        assert!(!other, "a socket has one reader and one writer at a time");
        Only {
            flags: Rc::clone(&self.flags),
            side,
        }
    }
}

impl Drop for Source {
    fn drop(&mut self) {
        // Closing does it as well, unless another process has the socket, too.
        let _ = self.net.registry.deregister(&mut SourceFd(&self.socket.as_raw_fd()));
        self.net.leave(self.token);
    }
}

/// An operation under way, which no other one may join.
pub(super) struct Only {
    flags: Rc<Flags>,
    side: Side,
}

impl Drop for Only {
    fn drop(&mut self) {
        let half = match self.side {
            Side::Read => &self.flags.read,
            Side::Write => &self.flags.write,
        };
        half.busy.set(false);
        let waker = half.waker.take();
        drop(waker);
    }
}
