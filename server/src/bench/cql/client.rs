//! A client of raw frames. Each connection has one thread, which takes the answers that have come and sends as many new requests, or those
//! that are due, in one write, as drivers do.

use crate::failure::{Done, Failure};
use cql::frame::client::{Answer, Message, Parameters, Send, Values};
use cql::frame::{Frames, Step, Value};
use hdrhistogram::Histogram;
use socket2::{Domain, Protocol, Socket, Type};
use std::io::{ErrorKind, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::time::Duration;

/// Answers are at most so long.
const FRAME_BYTES: usize = 64 << 20;
/// An answer that does not come within this is an error.
const PATIENCE: Duration = Duration::from_secs(30);
/// Bytes that are asked for at once.
const READ_BYTES: usize = 64 << 10;
/// Local ports that are tried for a shard, from here on.
const FIRST_PORT: u16 = 40_000;

/// One connection.
pub struct Client {
    stream: TcpStream,
    frames: Frames,
    received: Vec<u8>,
}

fn io(what: &'static str) -> impl Fn(std::io::Error) -> Failure {
    move |error| Failure::new(format_args!("{what}: {error}"))
}

impl Client {
    /// Connects; with `shard`, from a local port that the server places there.
    pub fn connect(address: SocketAddr, shard: Option<(u16, u16)>) -> Done<Client> {
        let stream = match shard {
            None => TcpStream::connect(address).map_err(io("connect"))?,
            Some((shard, shards)) => from_port_of(address, shard, shards)?,
        };
        stream.set_nodelay(true).map_err(io("connect"))?;
        stream.set_read_timeout(Some(PATIENCE)).map_err(io("connect"))?;
        let mut client = Client {
            stream,
            frames: Frames::of_answers(FRAME_BYTES),
            received: Vec::new(),
        };
        let mut out = Vec::new();
        Send::on(0).startup(&mut out, &[("CQL_VERSION", "3.0.0")]);
        client.ask(&out, |message| matches!(message, Message::Ready).then_some(()))?;
        Ok(client)
    }

    /// Sends a request and gives what `take` makes of its answer.
    pub fn ask<T>(&mut self, request: &[u8], take: impl Fn(&Message<'_>) -> Option<T>) -> Done<T> {
        self.stream.write_all(request).map_err(io("send"))?;
        loop {
            let step = self.frames.next(&self.received);
            let used = step.used();
            if let Step::Frame { header, body } = step {
                let answer = Answer::parse(&header, &self.received[body])
                    .map_err(|error| Failure::new(format_args!("{error}")))?;
                let taken = take(&answer.message);
                let told = format!("{:?}", answer.message);
                self.received.drain(..used);
                return taken.ok_or_else(|| Failure::new(format_args!("the server answers {told}")));
            }
            if receive(&mut self.stream, &mut self.received)? == 0 {
                return Err(Failure::new(format_args!("the server has closed the connection")));
            }
        }
    }

    /// Runs a text that gives no rows.
    pub fn run(&mut self, text: &str) -> Done<()> {
        let mut out = Vec::new();
        Send::on(0).query(&mut out, text, &Parameters::default());
        self.ask(&out, |message| {
            (!matches!(message, Message::Error { .. })).then_some(())
        })
    }

    /// Prepares a text; gives its id.
    pub fn prepare(&mut self, text: &str) -> Done<Vec<u8>> {
        let mut out = Vec::new();
        Send::on(0).prepare(&mut out, text);
        self.ask(&out, |message| match message {
            Message::Prepared(prepared) => Some(prepared.id.to_vec()),
            _ => None,
        })
    }
}

fn receive(stream: &mut TcpStream, received: &mut Vec<u8>) -> Done<usize> {
    let before = received.len();
    received.resize(before + READ_BYTES, 0);
    let count = stream.read(&mut received[before..]);
    received.truncate(before + *count.as_ref().unwrap_or(&0));
    count.map_err(io("receive"))
}

fn from_port_of(address: SocketAddr, shard: u16, shards: u16) -> Done<TcpStream> {
    let mut last = None;
    for port in (FIRST_PORT..u16::MAX).filter(|port| port % shards == shard) {
        let socket = Socket::new(Domain::IPV4, Type::STREAM, Some(Protocol::TCP)).map_err(io("socket"))?;
        let bound = socket.bind(&SocketAddr::from((Ipv4Addr::LOCALHOST, port)).into());
        match bound.and_then(|()| socket.connect(&address.into())) {
            Ok(()) => return Ok(socket.into()),
            Err(error) => last = Some(error),
        }
    }
    Err(Failure::new(format_args!("no local port for shard {shard}: {last:?}")))
}

/// Writes one request's values: the statement's id and parameters are the caller's.
pub fn execute(out: &mut Vec<u8>, stream: i16, id: &[u8], values: &[Value<'_>], timestamp: Option<i64>) {
    let parameters = Parameters {
        values: Values::Positional(values),
        timestamp,
        ..Parameters::default()
    };
    Send::on(stream).execute(out, id, &parameters);
}

/// What a connection has seen.
pub struct Seen {
    pub answered: u64,
    pub errors: u64,
    pub latency_ns: Histogram<u64>,
}

impl Default for Seen {
    fn default() -> Seen {
        Seen {
            answered: 0,
            errors: 0,
            latency_ns: Histogram::new(3).expect("three digits"),
        }
    }
}

/// How long one rests that has nothing to send and nothing to take.
const NAP: Duration = Duration::from_micros(100);
/// Streams of a connection that are used in turn; more than can be under way.
const STREAMS: usize = 16_384;

/// Takes the answers that have come, whole, out of `received`. `due_ns`: when the request on a stream was due.
fn take(frames: &mut Frames, received: &mut Vec<u8>, seen: &mut Seen, now_ns: u64, due_ns: impl Fn(usize) -> u64) {
    let mut used = 0;
    loop {
        let step = frames.next(&received[used..]);
        let start = used;
        used += step.used();
        let Step::Frame { header, body } = step else { break };
        let body = &received[start + body.start..start + body.end];
        let at = usize::try_from(header.stream).unwrap_or(0) % STREAMS;
        let latency_ns = now_ns.saturating_sub(due_ns(at)).max(1);
        seen.latency_ns.record(latency_ns).expect("it grows by itself");
        let answer = Answer::parse(&header, body);
        seen.errors += u64::from(!matches!(answer, Ok(answer) if !matches!(answer.message, Message::Error { .. })));
        seen.answered += 1;
    }
    received.drain(..used);
}

/// Has `window` requests under way for `time`, each what `request` writes (its number, its stream), and waits for all answers.
#[expect(clippy::disallowed_methods, reason = "threads of a client, beside no shard")]
pub fn drive_closed(
    client: Client,
    window: usize,
    time: Duration,
    mut request: impl FnMut(u64, i16, &mut Vec<u8>),
) -> Done<Seen> {
    let Client {
        mut stream,
        mut frames,
        mut received,
    } = client;
    let start = std::time::Instant::now();
    let now_ns = || u64::try_from(start.elapsed().as_nanos()).unwrap_or(u64::MAX);
    let mut due_ns = vec![0; STREAMS];
    let (mut sent, mut seen, mut out) = (0_u64, Seen::default(), Vec::new());
    loop {
        let now = now_ns();
        take(&mut frames, &mut received, &mut seen, now, |at| due_ns[at]);
        let under_way = sent - seen.answered;
        if start.elapsed() < time {
            out.clear();
            for _ in under_way..window as u64 {
                let at = (sent % STREAMS as u64) as usize;
                due_ns[at] = now;
                request(sent, at as i16, &mut out);
                sent += 1;
            }
            stream.write_all(&out).map_err(io("send"))?;
        } else if under_way == 0 {
            return Ok(seen);
        }
        if receive(&mut stream, &mut received)? == 0 {
            return Err(Failure::new(format_args!("the server has closed the connection")));
        }
    }
}

/// Sends what `request` writes (its number, its stream) `per_s` times a second for `time`, whether or not earlier ones were answered, and
/// waits for all answers: latencies count from when the requests were due. What is due is sent, and what has come is taken, every
/// [`NAP`]; by so much latencies are overstated.
#[expect(clippy::disallowed_methods, reason = "threads of a client, beside no shard")]
pub fn drive_open(
    client: Client,
    per_s: f64,
    time: Duration,
    mut request: impl FnMut(u64, i16, &mut Vec<u8>),
) -> Done<Seen> {
    let Client {
        mut stream,
        mut frames,
        mut received,
    } = client;
    stream.set_nonblocking(true).map_err(io("connection"))?;
    let start = std::time::Instant::now();
    let due_ns = |at: u64| (at as f64 * 1e9 / per_s) as u64;
    let mut due_of = vec![0; STREAMS];
    let (mut sent, mut seen, mut out) = (0_u64, Seen::default(), Vec::new());
    let mut last = start;
    loop {
        let elapsed = start.elapsed();
        let now_ns = u64::try_from(elapsed.as_nanos()).unwrap_or(u64::MAX);
        let answered = seen.answered;
        take(&mut frames, &mut received, &mut seen, now_ns, |at| due_of[at]);
        if seen.answered > answered {
            last = std::time::Instant::now();
        }
        if elapsed < time {
            while due_ns(sent) <= now_ns && sent - seen.answered < STREAMS as u64 / 2 {
                let at = (sent % STREAMS as u64) as usize;
                due_of[at] = due_ns(sent);
                request(sent, at as i16, &mut out);
                sent += 1;
            }
        } else if sent == seen.answered {
            return Ok(seen);
        } else if last.elapsed() > PATIENCE {
            return Err(Failure::new(format_args!("no answer within {PATIENCE:?}")));
        }
        let written = if_ready(stream.write(&out)).map_err(io("send"))?.unwrap_or(0);
        out.drain(..written);
        let before = received.len();
        received.resize(before + READ_BYTES, 0);
        let read = if_ready(stream.read(&mut received[before..])).map_err(io("receive"))?;
        received.truncate(before + read.unwrap_or(0));
        match read {
            Some(0) => return Err(Failure::new(format_args!("the server has closed the connection"))),
            Some(_) => {}
            None => std::thread::sleep(NAP),
        }
    }
}

/// `None`: the socket is not ready.
fn if_ready(done: std::io::Result<usize>) -> std::io::Result<Option<usize>> {
    match done {
        Err(error) if error.kind() == ErrorKind::WouldBlock => Ok(None),
        done => done.map(Some),
    }
}
