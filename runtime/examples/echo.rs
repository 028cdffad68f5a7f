//! What a small request over TCP costs on this machine: `cargo run --release -p scrollback-runtime --example echo`.
//!
//! A request is a length and 64 bytes, an answer a length and 256 bytes. The shard serves from the first processor, the clients ask
//! from the second: as many connections as said, each with as many requests under way. A look for those who change the
//! runtime; nothing checks it.

use std::collections::VecDeque;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::os::fd::AsRawFd;
use std::time::{Duration, Instant};

use scrollback_runtime as runtime;

use runtime::net::{Listener, Stream};
use runtime::{BodyKind, Options, Runtime, ShardId, TaskClass, spawn};

const REQUEST: usize = 4 + 64;
const ANSWER: usize = 4 + 256;
/// Connections, and requests under way on each.
const LOADS: [(usize, usize); 6] = [(1, 1), (1, 16), (16, 1), (16, 16), (128, 1), (128, 16)];
const LASTS: Duration = Duration::from_secs(3);

fn main() {
    for body in [BodyKind::Uring, BodyKind::Threads] {
        println!("{body}\nconnections x under way    answers/s    p50 us   p99 us    server's CPU us each");
        for (connections, under_way) in LOADS {
            measure(body, connections, under_way);
        }
    }
}

fn measure(body: BodyKind, connections: usize, under_way: usize) {
    let node = Runtime::start(Options {
        body: Some(body),
        pin: true,
        ..Options::default()
    });
    let node = node.expect("this machine can run shards");
    let addr = node.handle().call(ShardId(0), serve).wait().expect("the shard serves");
    // All of the process but the client.
    let cpu = || clock(libc::CLOCK_PROCESS_CPUTIME_ID) - clock(libc::CLOCK_THREAD_CPUTIME_ID);
    let client = move || {
        on_second_processor();
        let start = (Instant::now(), cpu());
        let mut waits = ask(addr, connections, under_way);
        let (wall, used) = (start.0.elapsed(), cpu() - start.1);
        waits.sort_unstable();
        let at = |part: usize| waits[(waits.len() - 1) * part / 100] as f64 / 1e3;
        println!(
            "{connections:>11} x {under_way:<9} {:14.0} {:9.0} {:8.0} {:14.2}",
            waits.len() as f64 / wall.as_secs_f64(),
            at(50),
            at(99),
            used.as_secs_f64() * 1e6 / waits.len() as f64,
        );
    };
    std::thread::scope(|scope| scope.spawn(client).join()).expect("the client ends");
    node.stop().expect("the node stops");
}

async fn serve() -> SocketAddr {
    let listener = Listener::bind(SocketAddr::from(([127, 0, 0, 1], 0))).expect("a port is free");
    let addr = listener.local_addr();
    drop(spawn(TaskClass::Request, "accepts", async move {
        while let Ok(Some(accepted)) = listener.accept().await {
            let stream = accepted.attach().expect("a connection is attached");
            drop(spawn(TaskClass::Request, "serves", answer(stream)));
        }
    }));
    addr
}

async fn answer(stream: Stream) {
    let (mut input, mut output) = (Vec::new(), Vec::new());
    while stream.read(&mut input, 64 << 10).await.is_ok_and(|len| len > 0) {
        let whole = input.chunks_exact(REQUEST).count();
        for request in input.chunks_exact(REQUEST) {
            output.extend_from_slice(&256u32.to_le_bytes());
            output.resize(output.len() + 256, request[4]);
        }
        input.drain(..whole * REQUEST);
        if stream.write_all(&output).await.is_err() {
            return;
        }
        output.clear();
    }
}

/// Asks for a while; gives how long each answer took, in nanoseconds.
fn ask(addr: SocketAddr, connections: usize, under_way: usize) -> Vec<u32> {
    struct Asker {
        socket: TcpStream,
        /// When the requests under way were sent.
        sent: VecDeque<Instant>,
        /// Bytes of an answer whose rest is to come.
        part: usize,
    }
    let mut poll = mio::Poll::new().expect("a poller");
    let mut askers: Vec<Asker> = Vec::new();
    let request = [1; REQUEST];
    let requests = request.repeat(under_way);
    for number in 0..connections {
        let socket = TcpStream::connect(addr).expect("the server is there");
        socket.set_nodelay(true).expect("an option of TCP");
        let source = &mut mio::unix::SourceFd(&socket.as_raw_fd());
        poll.registry()
            .register(source, mio::Token(number), mio::Interest::READABLE)
            .expect("a socket can be waited for");
        askers.push(Asker {
            socket,
            sent: VecDeque::new(),
            part: 0,
        });
    }
    let mut waits = Vec::new();
    let mut events = mio::Events::with_capacity(connections);
    let mut room = vec![0; 64 << 10];
    let start = Instant::now();
    for asker in &mut askers {
        asker.socket.write_all(&requests).expect("requests are taken");
        asker.sent.extend(std::iter::repeat_n(start, under_way));
        asker.socket.set_nonblocking(true).expect("an option of sockets");
    }
    while start.elapsed() < LASTS {
        poll.poll(&mut events, Some(LASTS)).expect("sockets can be waited for");
        for event in &events {
            let asker = &mut askers[event.token().0];
            let Ok(len) = asker.socket.read(&mut room) else {
                continue;
            };
            assert!(len > 0, "the server goes on");
            let now = Instant::now();
            let answers = (asker.part + len) / ANSWER;
            asker.part = (asker.part + len) % ANSWER;
            for sent in asker.sent.drain(..answers) {
                waits.push(u32::try_from((now - sent).as_nanos()).unwrap_or(u32::MAX));
            }
            asker.sent.extend(std::iter::repeat_n(now, answers));
            // It has room for all that may be under way.
            asker
                .socket
                .write_all(&requests[..answers * REQUEST])
                .expect("requests are taken");
        }
    }
    waits
}

fn clock(which: libc::clockid_t) -> Duration {
    let mut spec = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: `spec` is valid and writable.
    unsafe { libc::clock_gettime(which, &raw mut spec) };
    Duration::new(spec.tv_sec as u64, spec.tv_nsec as u32)
}

/// Keeps the client off the shard's processor, where that can be said.
fn on_second_processor() {
    #[cfg(target_os = "linux")]
    // SAFETY: a set of no processors is all zeros, and `set` is readable for the size given.
    unsafe {
        let mut set = std::mem::zeroed::<libc::cpu_set_t>();
        libc::CPU_SET(1, &mut set);
        libc::sched_setaffinity(0, size_of::<libc::cpu_set_t>(), &raw const set);
    }
}
