//! A connection with its socket: bytes to requests, answers to bytes.
//!
//! 1. The reader takes frames from what has come, and begins their [`Requests`]: a plain write is in the log then, what memory answers is
//!    answered, writes for another shard go there together, and anything else gets a task. It stops while too many are under way, or
//!    while answers wait that the client does not take.
//! 2. Answers go to the [`Outbox`] in the order in which they are ready; the writer answers the writes that are applied, and sends what has
//!    gathered there with one write.
//! 3. [`Deadline`]s are looked at once a second for all connections of the shard: whoever is late is shut down, which ends its reader.
//!
//! A client that sends half a frame holds the memory of that half, until its deadline; frames above [`LARGE_FRAME`] share a budget of
//! the shard.

use super::local::Local;
use super::session::{Session, Write};
use cql::frame::{Frames, Reply, Step};
use runtime::net::{Accepted, Stream};
use runtime::sync::{Notify, Semaphore};
use runtime::time::Instant;
use runtime::{ShardId, TaskClass};
use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, VecDeque};
use std::future::{Future, poll_fn};
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

/// Bounds of connections.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// The most bytes of a frame, header included, and of a body once it is unpacked.
    pub frame_bytes: usize,
    /// Connections of one shard; further ones are closed at once.
    pub connections: usize,
    /// Requests of one connection that are under way at once; further ones wait in its socket.
    pub requests: usize,
    /// How long a connection has for its `STARTUP`, and for a frame that has begun (and a second more for each 64 KiB of it).
    pub startup: Duration,
    /// How long a connection may say nothing; zero: for ever.
    pub idle: Duration,
}

impl Default for Limits {
    fn default() -> Limits {
        Limits {
            frame_bytes: 16 << 20,
            connections: 25_000,
            requests: 1024,
            startup: Duration::from_secs(10),
            idle: Duration::ZERO,
        }
    }
}

/// Bytes that are asked for at once.
const READ_BYTES: usize = 64 << 10;
/// A receive buffer that has grown beyond this is let go of when it is empty.
const BUFFER_KEPT: usize = 32 << 10;
/// Answers above this are not copied if nothing else waits.
const SENT_IN_PLACE: usize = 4 << 10;
/// Buffers of answers that a shard keeps for the next ones, and how large each may be.
const SPARE_BUFFERS: usize = 64;
const SPARE_BYTES: std::ops::RangeInclusive<usize> = 256..=(512 << 10);
/// Frames above this take their memory from a budget of the shard.
const LARGE_FRAME: usize = 256 << 10;
/// That budget, bytes.
const LARGE_FRAMES_BYTES: usize = 256 << 20;
/// With more bytes of answers waiting, no further requests of the connection are read.
const WAITING_BYTES: usize = 1 << 20;
/// With more bytes waiting for all connections of a shard, those that have any wait.
const WAITING_BYTES_OF_SHARD: usize = 256 << 20;
/// With more bytes waiting, a client that is to be told of an event has stopped reading.
const WAITING_BYTES_OF_EVENTS: usize = 4 << 20;
/// The fewest bytes per second of a frame that has begun, beyond [`Limits::startup`].
const FRAME_BYTES_PER_SECOND: usize = 64 << 10;
/// How long a draining connection has to send what waits.
const DRAIN: Duration = Duration::from_secs(5);
/// How often a draining shard looks for connections that have nothing more to do.
const DRAIN_LOOK: Duration = Duration::from_millis(10);

/// The connections of a shard.
pub(super) struct Connections {
    all: RefCell<BTreeMap<u64, Rc<Connection>>>,
    draining: Cell<bool>,
    /// Somebody has gone, or answers have been sent.
    changed: Notify,
    /// Bytes of answers that wait to be sent.
    waiting_bytes: Cell<usize>,
    large_frames: Semaphore,
    /// Empty buffers, for answers.
    spare: RefCell<Vec<Vec<u8>>>,
}

impl Default for Connections {
    fn default() -> Connections {
        Connections {
            all: RefCell::default(),
            draining: Cell::new(false),
            changed: Notify::new(),
            waiting_bytes: Cell::new(0),
            large_frames: Semaphore::new(LARGE_FRAMES_BYTES),
            spare: RefCell::default(),
        }
    }
}

impl Connections {
    pub fn len(&self) -> usize {
        self.all.borrow().len()
    }

    /// An empty buffer: one that was used before, if there is one.
    fn buffer(&self) -> Vec<u8> {
        self.spare.borrow_mut().pop().unwrap_or_default()
    }

    /// A buffer is needed no more.
    fn give_back(&self, mut buffer: Vec<u8>) {
        let mut spare = self.spare.borrow_mut();
        if spare.len() < SPARE_BUFFERS && SPARE_BYTES.contains(&buffer.capacity()) {
            buffer.clear();
            spare.push(buffer);
        }
    }

    /// Shuts down those whose deadline has passed. Called once a second.
    pub fn look_at_deadlines(&self) {
        let now = Instant::now();
        // At rest they are gone within seconds.
        let kept = self.spare.borrow().len() / 2;
        self.spare.borrow_mut().truncate(kept);
        for connection in self.all.borrow().values() {
            if connection.deadline.get().is_some_and(|deadline| deadline <= now) {
                connection.stream.shutdown();
            }
        }
    }

    /// Takes no more requests, and waits until all that were taken are answered and sent; what takes too long is cut off.
    pub async fn drain(&self) {
        self.draining.set(true);
        let cut_off = Instant::now() + DRAIN;
        while self.len() > 0 && Instant::now() < cut_off + DRAIN {
            let is_late = Instant::now() >= cut_off;
            for connection in self.all.borrow().values() {
                connection.idle.notify_all();
                // Its reader waits for bytes that nobody will look at.
                if is_late || connection.is_at_rest() {
                    connection.stream.shutdown();
                }
            }
            let _later = runtime::time::timeout(DRAIN_LOOK, self.changed.notified()).await;
        }
    }
}

/// Answers that wait to be sent.
struct Outbox {
    bytes: RefCell<Vec<u8>>,
    /// Writes that are in the log, in its order, and are answered once they are applied: a task for each would cost more than the write.
    writes: RefCell<VecDeque<Write>>,
    /// With those that are being sent.
    waiting: Cell<usize>,
    filled: Notify,
    /// Nothing more will be put in.
    ended: Cell<bool>,
}

impl Outbox {
    /// A write will be answered.
    fn expect(&self, write: Write) {
        let mut writes = self.writes.borrow_mut();
        writes.push_back(write);
        // For the others whoever sends waits already.
        if writes.len() == 1 {
            drop(writes);
            self.filled.notify_all();
        }
    }
}

struct Connection {
    stream: Stream,
    outbox: Outbox,
    /// Requests under way.
    requests: Cell<usize>,
    /// A request has ended, answers have been sent, or it is to be drained.
    idle: Notify,
    /// By when bytes are to come.
    deadline: Cell<Option<Instant>>,
    /// The socket takes nothing any more.
    broken: Cell<bool>,
}

impl Connection {
    fn put(&self, connections: &Connections, answer: &[u8]) {
        self.put_with(connections, |waiting| waiting.extend_from_slice(answer));
        self.outbox.filled.notify_all();
    }

    /// Has `put` append to what waits to be sent. What the socket does not take any more is thrown away.
    fn put_with(&self, connections: &Connections, put: impl FnOnce(&mut Vec<u8>)) {
        let mut waiting = self.outbox.bytes.borrow_mut();
        if waiting.capacity() == 0 {
            *waiting = connections.buffer();
        }
        let before = waiting.len();
        put(&mut waiting);
        if self.broken.get() {
            waiting.clear();
            return;
        }
        let bytes = waiting.len() - before;
        self.outbox.waiting.set(self.outbox.waiting.get() + bytes);
        let of_shard = &connections.waiting_bytes;
        of_shard.set(of_shard.get() + bytes);
    }

    /// So many requests are answered.
    fn end(&self, connections: &Connections, mut answer: Vec<u8>, count: usize) {
        // A long one that is alone is sent from where it lies.
        let is_long = answer.len() > SENT_IN_PLACE;
        self.put_with(connections, |waiting| match waiting.is_empty() && is_long {
            true => std::mem::swap(waiting, &mut answer),
            false => waiting.extend_from_slice(&answer),
        });
        self.outbox.filled.notify_all();
        connections.give_back(answer);
        self.requests.set(self.requests.get() - count);
        self.idle.notify_all();
    }

    /// Answers the writes that are applied, and has the task woken when the next one is.
    fn end_writes(&self, session: &Session, connections: &Connections, context: &mut Context<'_>) {
        let mut writes = self.outbox.writes.borrow_mut();
        if writes.is_empty() {
            return;
        }
        let mut ended = 0;
        self.put_with(connections, |waiting| {
            while let Some(first) = writes.front_mut()
                && session.poll_write(first, context, waiting).is_ready()
            {
                writes.pop_front();
                ended += 1;
            }
        });
        if ended > 0 {
            self.requests.set(self.requests.get() - ended);
            self.idle.notify_all();
        }
    }

    fn sent(&self, connections: &Connections, bytes: usize) {
        self.outbox.waiting.set(self.outbox.waiting.get() - bytes);
        connections.waiting_bytes.set(connections.waiting_bytes.get() - bytes);
        self.idle.notify_all();
    }

    /// Whether nothing is under way and nothing waits to be sent.
    fn is_at_rest(&self) -> bool {
        self.requests.get() == 0 && self.outbox.waiting.get() == 0
    }

    /// Tells the client of an event. One that does not read is cut off: events come without being asked for, so that nothing else
    /// would bound what waits.
    fn push(&self, connections: &Connections, event: &[u8]) {
        match self.outbox.waiting.get() > WAITING_BYTES_OF_EVENTS {
            true => self.stream.shutdown(),
            false => self.put(connections, event),
        }
    }

    /// Whether no further request may be read now.
    fn is_busy(&self, connections: &Connections, limits: &Limits) -> bool {
        let waiting = self.outbox.waiting.get();
        self.requests.get() >= limits.requests
            || waiting > WAITING_BYTES
            || (waiting > 0 && connections.waiting_bytes.get() > WAITING_BYTES_OF_SHARD)
    }
}

/// Serves a connection on the running shard until it ends.
pub(super) async fn serve(local: Rc<Local>, accepted: Accepted, limits: Limits) {
    let connections = Rc::clone(&local.connections);
    if connections.draining.get() || connections.len() >= limits.connections {
        return; // Closed by being dropped.
    }
    let stream = match accepted.attach() {
        Ok(stream) => stream,
        Err(error) => {
            tracing::debug!(%error, "a connection was gone before it was served");
            return;
        }
    };
    let connection = Rc::new(Connection {
        stream,
        outbox: Outbox {
            bytes: RefCell::default(),
            writes: RefCell::default(),
            waiting: Cell::new(0),
            filled: Notify::new(),
            ended: Cell::new(false),
        },
        requests: Cell::new(0),
        idle: Notify::new(),
        deadline: Cell::new(Some(Instant::now() + limits.startup)),
        broken: Cell::new(false),
    });
    let push = {
        let (connection, connections) = (Rc::downgrade(&connection), Rc::clone(&connections));
        Rc::new(move |bytes: &[u8]| {
            if let Some(connection) = connection.upgrade() {
                connection.push(&connections, bytes);
            }
        })
    };
    let session = Session::new(&local, push);
    let number = session.number();
    connections.all.borrow_mut().insert(number, Rc::clone(&connection));
    let writer = runtime::spawn(TaskClass::Request, "write answers", {
        let session = Rc::clone(&session);
        let (connection, connections) = (Rc::clone(&connection), Rc::clone(&connections));
        async move { write(&session, &connection, &connections).await }
    });
    read(&session, &connection, &connections, &limits).await;
    // What was begun is answered, if anybody still listens.
    while connection.requests.get() > 0 {
        connection.idle.notified().await;
    }
    connection.outbox.ended.set(true);
    connection.outbox.filled.notify_all();
    connection.deadline.set(Some(Instant::now() + DRAIN));
    writer.await;
    if !connections.draining.get() {
        read_to_end(&connection.stream).await;
    }
    connection.stream.shutdown();
    connections.all.borrow_mut().remove(&number);
    connections.changed.notify_all();
}

/// Reads and throws away what the client still sends: closing a socket with unread bytes resets the connection, and the client may
/// lose the answer that tells it why. It ends by the deadline at the latest.
async fn read_to_end(stream: &Stream) {
    stream.end_writes();
    let mut bytes = Vec::new();
    while matches!(stream.read(&mut bytes, READ_BYTES).await, Ok(1..)) {
        bytes.clear();
    }
}

/// Sends what is answered, and answers the writes that are in the log, until there is nothing more to come. What cannot be sent any more
/// goes nowhere.
async fn write(session: &Session, connection: &Connection, connections: &Connections) {
    let outbox = &connection.outbox;
    loop {
        let mut filled = pin!(outbox.filled.notified());
        let is_done = poll_fn(|context| {
            connection.end_writes(session, connections, context);
            let has_ended = outbox.ended.get() && outbox.writes.borrow().is_empty();
            match outbox.bytes.borrow().is_empty() {
                false => Poll::Ready(false),
                true if has_ended => Poll::Ready(true),
                true => filled.as_mut().poll(context).map(|()| false),
            }
        });
        if is_done.await {
            return;
        }
        let bytes = std::mem::take(&mut *outbox.bytes.borrow_mut());
        if bytes.is_empty() {
            continue;
        }
        let sent = connection.stream.write_all(&bytes).await;
        connection.sent(connections, bytes.len());
        connections.give_back(bytes);
        if sent.is_err() {
            connection.broken.set(true);
            let left = std::mem::take(&mut *outbox.bytes.borrow_mut());
            connection.sent(connections, left.len());
            // The reader learns it, too.
            connection.stream.shutdown();
        }
    }
}

async fn read(session: &Rc<Session>, connection: &Rc<Connection>, connections: &Rc<Connections>, limits: &Limits) {
    let mut frames = Frames::of_requests(limits.frame_bytes);
    let mut received: Vec<u8> = Vec::new();
    let mut large = None;
    let mut requests = Requests {
        session,
        connection,
        connections,
        away: BTreeMap::new(),
    };
    let accepted = Instant::now();
    // When the frame began of which a part has come: a byte now and then does not keep it alive.
    let (mut has_part, mut begun) = (false, accepted);
    loop {
        let mut used = 0;
        let mut need = 0;
        // All frames that are whole.
        while need == 0 {
            // Each is a few microseconds of work, and a read may bring thousands.
            runtime::breathe().await;
            while connection.is_busy(connections, limits) && !connections.draining.get() && !connection.broken.get() {
                requests.send();
                connection.idle.notified().await;
            }
            if connections.draining.get() || connection.broken.get() {
                return requests.send();
            }
            let step = frames.next(&received[used..]);
            let start = used;
            used += step.used();
            match step {
                Step::Need(bytes) => need = bytes.max(1),
                Step::Skip(_) => {}
                Step::Frame { header, body } => {
                    let body = &received[start + body.start..start + body.end];
                    requests.begin(header, body, limits.frame_bytes);
                }
                Step::Refused { stream, error, .. } => {
                    let mut answer = Vec::new();
                    Reply::to(stream).refuse(&mut answer, &error);
                    connection.put(connections, &answer);
                    if error.is_fatal() {
                        return requests.send();
                    }
                }
            }
        }
        requests.send();
        received.drain(..used);
        if received.is_empty() {
            large = None;
            if received.capacity() > BUFFER_KEPT {
                received = Vec::new();
            }
        } else if received.len() + need > LARGE_FRAME && large.is_none() {
            large = Some(
                connections
                    .large_frames
                    .acquire((received.len() + need).min(LARGE_FRAMES_BYTES))
                    .await,
            );
        }
        // Before the session has begun there is one request at a time: whether there is a deadline is known once it is answered.
        while !session.has_started() && connection.requests.get() > 0 {
            connection.idle.notified().await;
        }
        let now = Instant::now();
        if used > 0 || !has_part {
            begun = now;
        }
        has_part = !received.is_empty();
        let allowed = match limits.idle {
            _ if !session.has_started() => Some(accepted + limits.startup),
            _ if has_part => {
                let seconds = (received.len() + need) / FRAME_BYTES_PER_SECOND;
                Some(begun + limits.startup + Duration::from_secs(seconds as u64))
            }
            Duration::ZERO => None,
            idle => Some(now + idle),
        };
        connection.deadline.set(allowed);
        if !received.is_empty() {
            received.reserve(need);
        }
        let read = connection.stream.read(&mut received, need.max(READ_BYTES)).await;
        // While its requests wait, nothing is asked of the client.
        connection.deadline.set(None);
        match read {
            Ok(1..) => {}
            Ok(0) | Err(_) => return,
        }
    }
}

/// Begins the requests of a connection.
struct Requests<'a> {
    session: &'a Rc<Session>,
    connection: &'a Rc<Connection>,
    connections: &'a Rc<Connections>,
    /// Writes that other shards have to apply: those that came together [go there](Self::send) together.
    away: BTreeMap<ShardId, Vec<Write>>,
}

impl Requests<'_> {
    /// Begins one. Its body may have `limit` bytes once it is unpacked.
    fn begin(&mut self, header: cql::frame::Header, body: &[u8], limit: usize) {
        let (session, connection, connections) = (
            Rc::clone(self.session),
            Rc::clone(self.connection),
            Rc::clone(self.connections),
        );
        connection.requests.set(connection.requests.get() + 1);
        if let Some(write) = session.begin_write(&header, body) {
            if write.is_logged() {
                return connection.outbox.expect(write);
            }
            if let Some(owner) = session.other_owner(&write) {
                return self.away.entry(owner).or_default().push(write);
            }
            let write = async move {
                let mut answer = connections.buffer();
                session.end_write(write, &mut answer).await;
                connection.end(&connections, answer, 1);
            };
            return drop(runtime::spawn(TaskClass::Request, "a write", write));
        }
        let body = body.to_vec();
        let mut request: Pin<Box<dyn Future<Output = ()>>> = Box::pin(async move {
            let mut answer = connections.buffer();
            session.answer(&header, &body, limit, &mut answer).await;
            connection.end(&connections, answer, 1);
        });
        // What is answered from memory ends here. Anything else is polled again by its own task, and told to that one when it can go on.
        if request
            .as_mut()
            .poll(&mut Context::from_waker(Waker::noop()))
            .is_pending()
        {
            drop(runtime::spawn(TaskClass::Request, "a request", request));
        }
    }

    /// Sends writes to their shards.
    fn send(&mut self) {
        while let Some((owner, writes)) = self.away.pop_first() {
            let session = Rc::clone(self.session);
            let (connection, connections) = (Rc::clone(self.connection), Rc::clone(self.connections));
            let send = async move {
                let (mut answers, count) = (connections.buffer(), writes.len());
                session.end_writes_of(owner, writes, &mut answers).await;
                connection.end(&connections, answers, count);
            };
            drop(runtime::spawn(TaskClass::Request, "writes of another shard", send));
        }
    }
}
