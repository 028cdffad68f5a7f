//! What connections cost, and that nothing of them is left behind.

#[path = "../common/mod.rs"]
mod common;

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use scrollback_runtime as runtime;

use crate::{ALONE, LIVE};
use common::{A, B, descriptors_and_threads, eventually, start};
use runtime::net::{Accepted, Listener, Stream};
use runtime::time::sleep;
use runtime::{Runtime, TaskClass, spawn};

fn anywhere() -> SocketAddr {
    "127.0.0.1:0".parse().unwrap()
}

fn connect(addr: SocketAddr) -> TcpStream {
    let client = TcpStream::connect(addr).unwrap();
    client.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    client
}

async fn echo(stream: Stream) {
    let mut buf = Vec::new();
    while stream.read(&mut buf, 64 << 10).await.is_ok_and(|len| len > 0) {
        if stream.write_all(&buf).await.is_err() {
            return;
        }
        buf.clear();
    }
}

/// Accepts on shard 0 for ever, waiting a moment after each error; counts them.
fn serve<F: Fn(Accepted) + Send + 'static>(node: &Runtime, errors: &'static AtomicI64, serve: F) -> SocketAddr {
    let addr = node.handle().call(A, move || async move {
        let listener = Listener::bind(anywhere()).unwrap();
        let addr = listener.local_addr();
        drop(spawn(TaskClass::Request, "accepts", async move {
            loop {
                match listener.accept().await {
                    Ok(Some(accepted)) => serve(accepted),
                    Ok(None) => return,
                    Err(_) => {
                        errors.fetch_add(1, Ordering::Relaxed);
                        sleep(Duration::from_millis(10)).await;
                    }
                }
            }
        }));
        addr
    });
    addr.wait().unwrap()
}

static NO_ERRORS: AtomicI64 = AtomicI64::new(0);

#[test]
fn no_descriptor_is_left_open() {
    let _alone = ALONE.lock();
    let before = descriptors_and_threads();
    let node = start(2);
    let addr = serve(&node, &NO_ERRORS, |accepted| {
        // Served here, served by the other shard, and not at all.
        match accepted.peer_addr().port() / 2 % 3 {
            0 => drop(spawn(TaskClass::Request, "serves", echo(accepted.attach().unwrap()))),
            1 => drop(spawn(TaskClass::Request, "moves", async move {
                let served = runtime::call(B, move || async move { echo(accepted.attach().unwrap()).await });
                let _ = served.await;
            })),
            _ => {}
        }
    });
    let mut serving = None;
    let mut answered = 0;
    for round in 0..1100 {
        let mut client = connect(addr);
        if client.write_all(b"hello").is_ok() && matches!(client.read(&mut [0; 5]), Ok(1..)) {
            answered += 1;
        }
        // By a reset, too.
        if round % 3 == 0 {
            let _ = socket2::SockRef::from(&client).set_linger(Some(Duration::ZERO));
        }
        drop(client);
        if round == 100 {
            serving = Some(descriptors_and_threads());
        }
    }
    assert!(answered > 100, "{answered} of 1100 were served");
    let (descriptors, threads) = serving.unwrap();
    let as_before = eventually(|| {
        let (now, threads_now) = descriptors_and_threads();
        // The last connections of either count may still be open.
        now <= descriptors + 3 && threads_now <= threads
    });
    assert!(
        as_before,
        "{:?} after {descriptors} descriptors, {threads} threads",
        descriptors_and_threads()
    );
    // Some are open when the shards stop.
    let clients: Vec<_> = (0..30).map(|_| connect(addr)).collect();
    for mut client in &clients {
        let _ = client.write_all(b"hello").is_ok() && client.read(&mut [0; 5]).is_ok();
    }
    node.stop().unwrap();
    drop(clients);
    // Threads of an earlier node may have ended since.
    assert!(
        eventually(|| descriptors_and_threads().0 <= before.0 && descriptors_and_threads().1 <= before.1),
        "{:?} after {before:?}",
        descriptors_and_threads()
    );
    assert_eq!(NO_ERRORS.load(Ordering::Relaxed), 0);
}

/// With both ends in this process, an idle connection takes two descriptors and what is counted here.
#[test]
fn an_idle_connection_costs_little() {
    const CONNECTIONS: i64 = 2000;
    const BYTES_MAX: i64 = 1024;
    let _alone = ALONE.lock();
    let node = start(1);
    let addr = serve(&node, &NO_ERRORS, |accepted| {
        drop(spawn(TaskClass::Request, "serves", echo(accepted.attach().unwrap())))
    });
    let mut clients = Vec::with_capacity(CONNECTIONS as usize + 1);
    let greet = |clients: &mut Vec<TcpStream>| {
        let mut client = connect(addr);
        client.write_all(b"hello").unwrap();
        client.read_exact(&mut [0; 5]).unwrap();
        clients.push(client);
    };
    greet(&mut clients);
    let before = LIVE.load(Ordering::Relaxed);
    (0..CONNECTIONS).for_each(|_| greet(&mut clients));
    let each = (LIVE.load(Ordering::Relaxed) - before) / CONNECTIONS;
    println!("{each} bytes for each idle connection, {:?}", common::body());
    assert!(each < BYTES_MAX, "{each} bytes for each idle connection");
    drop(clients);
    let gone = eventually(|| LIVE.load(Ordering::Relaxed) - before < CONNECTIONS * BYTES_MAX / 4);
    assert!(gone, "{} bytes are left", LIVE.load(Ordering::Relaxed) - before);
    node.stop().unwrap();
}

/// Without descriptors nothing is accepted, the shard does not spin, and afterwards everybody is served.
#[test]
fn too_many_open_files_pass() {
    static ERRORS: AtomicI64 = AtomicI64::new(0);
    const WAITING: usize = 20;
    let _alone = ALONE.lock();
    let node = start(1);
    let addr = serve(&node, &ERRORS, |accepted| {
        drop(spawn(TaskClass::Request, "serves", echo(accepted.attach().unwrap())))
    });
    // Anything that opens a descriptor at first use.
    drop(connect(addr));
    let clients: Vec<socket2::Socket> = (0..WAITING)
        .map(|_| socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap())
        .collect();
    let mut hoard = Vec::new();
    let limit = limit_descriptors(descriptors_and_threads().0 as u64 + 10);
    while let Ok(file) = std::net::UdpSocket::bind(anywhere()) {
        hoard.push(file);
    }
    for client in &clients {
        client.connect(&addr.into()).unwrap(); // Taken by the kernel alone.
    }
    std::thread::sleep(Duration::from_millis(300));
    let errors = ERRORS.load(Ordering::Relaxed);
    drop(hoard);
    limit_descriptors(limit);
    assert!((5..=60).contains(&errors), "{errors} errors in 300 ms");
    for client in clients {
        let mut client = TcpStream::from(client);
        client.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        client.write_all(b"hello").unwrap();
        client.read_exact(&mut [0; 5]).unwrap();
    }
    node.stop().unwrap();
}

/// Sets how many descriptors this process may have; gives what it was.
fn limit_descriptors(to: u64) -> u64 {
    let mut limit = libc::rlimit {
        rlim_cur: 0,
        rlim_max: 0,
    };
    // SAFETY: `limit` is valid and writable.
    assert_eq!(unsafe { libc::getrlimit(libc::RLIMIT_NOFILE, &raw mut limit) }, 0);
    let before = std::mem::replace(&mut limit.rlim_cur, to);
    // SAFETY: `limit` is valid.
    assert_eq!(unsafe { libc::setrlimit(libc::RLIMIT_NOFILE, &raw const limit) }, 0);
    before
}

/// Many sockets become ready, again and again, while their shard stands still: afterwards all are served.
#[test]
fn a_shard_that_stood_still_goes_on_with_all() {
    const CONNECTIONS: usize = 1500;
    let _alone = ALONE.lock();
    let node = start(1);
    let addr = serve(&node, &NO_ERRORS, |accepted| {
        drop(spawn(TaskClass::Request, "serves", echo(accepted.attach().unwrap())))
    });
    let mut clients: Vec<_> = (0..CONNECTIONS).map(|_| connect(addr)).collect();
    for client in &mut clients {
        client.write_all(b"x").unwrap();
        client.read_exact(&mut [0]).unwrap();
    }
    let (keeps, kept) = std::sync::mpsc::channel();
    let done = node.handle().call(A, move || async move {
        // As nobody should: the shard stands still.
        kept.recv().unwrap();
    });
    for round in 0..8u8 {
        for client in &mut clients {
            client.write_all(&[round]).unwrap();
        }
    }
    keeps.send(()).unwrap();
    done.wait().unwrap();
    for client in &mut clients {
        let mut answer = [9; 8];
        client.read_exact(&mut answer).unwrap();
        assert_eq!(answer, [0, 1, 2, 3, 4, 5, 6, 7]);
    }
    node.stop().unwrap();
}
