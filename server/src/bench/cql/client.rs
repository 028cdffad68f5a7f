//! A client of raw frames: one connection with two threads, one that sends at the times that are due, one that takes the answers.

use crate::failure::{Done, Failure};
use cql::frame::client::{Answer, Message, Parameters, Send, Values};
use cql::frame::{Frames, Step, Value};
use hdrhistogram::Histogram;
use socket2::{Domain, Protocol, Socket, Type};
use std::io::{ErrorKind, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

/// Answers are at most so long.
const FRAME_BYTES: usize = 64 << 20;
/// An answer that does not come within this is an error.
const PATIENCE: Duration = Duration::from_secs(30);
/// A receiver looks so often whether all is answered.
const LOOK: Duration = Duration::from_millis(50);
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
    received.resize(before + (64 << 10), 0);
    let count = stream.read(&mut received[before..]);
    received.truncate(before + *count.as_ref().unwrap_or(&0));
    count.map_err(io("receive"))
}

/// As [`receive`]; `None`: nothing came for a moment.
fn receive_within(stream: &mut TcpStream, received: &mut Vec<u8>) -> Done<Option<usize>> {
    let before = received.len();
    received.resize(before + (64 << 10), 0);
    let count = stream.read(&mut received[before..]);
    received.truncate(before + *count.as_ref().unwrap_or(&0));
    match count {
        Ok(count) => Ok(Some(count)),
        Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => Ok(None),
        Err(error) => Err(io("receive")(error)),
    }
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

/// How requests are sent.
#[derive(Clone, Copy)]
pub enum Pace {
    /// So many are under way at all times.
    Closed(usize),
    /// So many a second, whether or not earlier ones were answered: latencies count from when they were due.
    Open(f64),
}

/// What a connection has seen.
pub struct Seen {
    pub answered: u64,
    pub errors: u64,
    pub latency_ns: Histogram<u64>,
}

/// Streams of a connection that are used in turn; more than can be under way.
const STREAMS: usize = 16_384;

/// Sends what `request` writes (its number, its stream) for `time`, and waits for all answers.
#[expect(clippy::disallowed_methods, reason = "threads of a client, beside no shard")]
pub fn drive(
    client: Client,
    pace: Pace,
    time: Duration,
    mut request: impl FnMut(u64, i16, &mut Vec<u8>) + std::marker::Send,
) -> Done<Seen> {
    let Client {
        mut stream,
        mut frames,
        mut received,
    } = client;
    let mut writer = stream.try_clone().map_err(io("connection"))?;
    let due: Vec<AtomicU64> = (0..STREAMS).map(|_| AtomicU64::new(0)).collect();
    let (sent, answered, ended) = (AtomicU64::new(0), AtomicU64::new(0), AtomicBool::new(false));
    let start = std::time::Instant::now();
    let now_ns = || u64::try_from(start.elapsed().as_nanos()).unwrap_or(u64::MAX);
    let time_ns = u64::try_from(time.as_nanos()).unwrap_or(u64::MAX);
    std::thread::scope(|scope| -> Done<Seen> {
        let sender = scope.spawn(|| -> Done<()> {
            let mut out = Vec::new();
            let mut count = 0_u64;
            loop {
                let now = now_ns();
                if now >= time_ns {
                    break;
                }
                out.clear();
                let room = match pace {
                    Pace::Closed(window) => (window as u64).saturating_sub(count - answered.load(Ordering::Acquire)),
                    Pace::Open(per_s) => ((now as f64 * per_s / 1e9) as u64 + 1).saturating_sub(count),
                };
                let room = room.min(STREAMS as u64 / 2);
                for _ in 0..room {
                    let at = (count % STREAMS as u64) as usize;
                    let moment = match pace {
                        Pace::Closed(_) => now,
                        Pace::Open(per_s) => (count as f64 * 1e9 / per_s) as u64,
                    };
                    due[at].store(moment, Ordering::Release);
                    request(count, at as i16, &mut out);
                    count += 1;
                }
                if room > 0 {
                    writer.write_all(&out).map_err(io("send"))?;
                    sent.store(count, Ordering::Release);
                } else {
                    let nap = match pace {
                        Pace::Closed(_) => Duration::from_micros(20),
                        Pace::Open(_) => Duration::from_micros(50),
                    };
                    std::thread::sleep(nap);
                }
            }
            sent.store(count, Ordering::Release);
            ended.store(true, Ordering::Release);
            Ok(())
        });
        stream.set_read_timeout(Some(LOOK)).map_err(io("connection"))?;
        let mut last = 0;
        let mut seen = Seen {
            answered: 0,
            errors: 0,
            latency_ns: Histogram::new(3).expect("three digits"),
        };
        loop {
            let mut used = 0;
            loop {
                let step = frames.next(&received[used..]);
                let start = used;
                used += step.used();
                let Step::Frame { header, body } = step else { break };
                let body = &received[start + body.start..start + body.end];
                let at = usize::try_from(header.stream).unwrap_or(0) % STREAMS;
                seen.latency_ns
                    .record(now_ns().saturating_sub(due[at].load(Ordering::Acquire)).max(1))
                    .expect("it grows by itself");
                let answer = Answer::parse(&header, body);
                seen.errors +=
                    u64::from(!matches!(answer, Ok(answer) if !matches!(answer.message, Message::Error { .. })));
                seen.answered += 1;
            }
            received.drain(..used);
            answered.store(seen.answered, Ordering::Release);
            if ended.load(Ordering::Acquire) && seen.answered >= sent.load(Ordering::Acquire) {
                break;
            }
            // The sender may have ended since: so nothing is waited for long.
            match receive_within(&mut stream, &mut received)? {
                Some(0) => return Err(Failure::new(format_args!("the server has closed the connection"))),
                Some(_) => last = now_ns(),
                None if now_ns() - last > PATIENCE.as_nanos() as u64 => {
                    return Err(Failure::new(format_args!("no answer within {PATIENCE:?}")));
                }
                None => {}
            }
        }
        sender.join().expect("the sender does not panic")?;
        Ok(seen)
    })
}
