//! Connections, over real sockets of this machine.
use std::cell::{Cell, RefCell};
use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::rc::Rc;
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use scrollback_runtime as runtime;

use super::common::{A, B, on_a_shard, start};
use runtime::net::{Accepted, Listener, Stream};
use runtime::time::{Instant, sleep, timeout};
use runtime::{Error, Runtime, ShardId, TaskClass, spawn};

/// Long enough for anything on a busy machine; a test that waits so long has failed.
const LONG: Duration = Duration::from_secs(20);
/// Long enough for something to begin that will not end by itself.
const MOMENT: Duration = Duration::from_millis(50);

fn anywhere() -> SocketAddr {
    "127.0.0.1:0".parse().unwrap()
}

async fn accept(listener: &Listener) -> Accepted {
    let accepted = timeout(LONG, listener.accept()).await;
    accepted.unwrap().unwrap().expect("the listener is open")
}

/// Sends back what comes, until the end.
async fn echo(stream: Stream) -> Result<(), Error> {
    let mut buf = Vec::new();
    while stream.read(&mut buf, 64 << 10).await? > 0 {
        stream.write_all(&buf).await?;
        buf.clear();
    }
    Ok(())
}

/// A server on `shard` that hands each connection to `serve`, in a task of its own.
fn serve<F, Fut>(node: &Runtime, shard: ShardId, addr: SocketAddr, serve: F) -> SocketAddr
where
    F: Fn(Accepted) -> Fut + Send + 'static,
    Fut: Future<Output = ()> + 'static,
{
    let bound = node.handle().call(shard, move || async move {
        let listener = Listener::bind(addr).unwrap();
        let bound = listener.local_addr();
        drop(spawn(TaskClass::Request, "accepts", async move {
            while let Some(accepted) = listener.accept().await.unwrap() {
                drop(spawn(TaskClass::Request, "serves", serve(accepted)));
            }
        }));
        bound
    });
    bound.wait().unwrap()
}

fn echo_server(node: &Runtime, shard: ShardId, addr: SocketAddr) -> SocketAddr {
    serve(node, shard, addr, |accepted| async move {
        // Clients go as they like.
        let _ = echo(accepted.attach().unwrap()).await;
    })
}

fn connect(addr: SocketAddr) -> TcpStream {
    let client = TcpStream::connect(addr).unwrap();
    client.set_nodelay(true).unwrap();
    client.set_read_timeout(Some(LONG)).unwrap();
    client.set_write_timeout(Some(LONG)).unwrap();
    client
}

/// Closes the connection with a reset.
fn reset(client: TcpStream) {
    socket2::SockRef::from(&client)
        .set_linger(Some(Duration::ZERO))
        .unwrap();
    drop(client);
}

fn ask(client: &mut TcpStream, bytes: &[u8]) -> Vec<u8> {
    client.write_all(bytes).unwrap();
    let mut answer = vec![0; bytes.len()];
    client.read_exact(&mut answer).unwrap();
    answer
}

/// Bytes that are not the same anywhere.
fn pattern(len: usize) -> Vec<u8> {
    (0..len as u32)
        .flat_map(|word| word.wrapping_mul(0x9e37_79b9).to_le_bytes())
        .take(len)
        .collect()
}

/// A connection, this shard's end and the other; the other's is used by threads.
async fn pair() -> (Stream, TcpStream) {
    let listener = Listener::bind(anywhere()).unwrap();
    let client = connect(listener.local_addr());
    let stream = accept(&listener).await.attach().unwrap();
    assert_eq!(stream.peer_addr(), client.local_addr().unwrap());
    (stream, client)
}

#[test]
fn what_is_sent_comes_back() {
    let node = start(1);
    let addr = echo_server(&node, A, anywhere());
    assert_ne!(addr.port(), 0);
    let mut client = connect(addr);
    for round in 0..100 {
        let question = format!("question {round}");
        assert_eq!(ask(&mut client, question.as_bytes()), question.as_bytes());
    }
    client.shutdown(Shutdown::Write).unwrap();
    assert_eq!(client.read(&mut [0]).unwrap(), 0);
    node.stop().unwrap();
}

#[test]
fn shards_share_a_port() {
    const CONNECTIONS: usize = 300;
    let node = start(2);
    let addr = echo_server(&node, A, anywhere());
    let (sees, seen) = mpsc::channel();
    let same = serve(&node, B, addr, move |accepted| {
        let sees = sees.clone();
        async move {
            let _ = sees.send(());
            let _ = echo(accepted.attach().unwrap()).await;
        }
    });
    assert_eq!(same, addr);
    let mut clients: Vec<_> = (0..CONNECTIONS).map(|_| connect(addr)).collect();
    for round in 0..5u32 {
        for (number, client) in clients.iter_mut().enumerate() {
            client.write_all(&[round as u8, number as u8]).unwrap();
        }
        for (number, client) in clients.iter_mut().enumerate() {
            let mut answer = [0; 2];
            client.read_exact(&mut answer).unwrap();
            assert_eq!(answer, [round as u8, number as u8], "connection {number}");
        }
    }
    let of_b = seen.try_iter().count();
    assert!((1..CONNECTIONS).contains(&of_b), "shard 1 has {of_b} of {CONNECTIONS}");
    node.stop().unwrap();
}

/// More than the buffers of both ends hold, so that both directions wait in between.
#[test]
fn a_long_pipeline_comes_back_in_order() {
    let node = start(1);
    let mut client = connect(echo_server(&node, A, anywhere()));
    let sent = pattern(32 << 20);
    let mut writer = client.try_clone().unwrap();
    let bytes = sent.clone();
    let writes = thread::spawn(move || {
        writer.write_all(&bytes).unwrap();
        writer.shutdown(Shutdown::Write).unwrap();
    });
    // The buffers fill up first.
    thread::sleep(MOMENT);
    let mut received = Vec::new();
    client.read_to_end(&mut received).unwrap();
    writes.join().unwrap();
    assert!(received == sent, "{} of {} bytes", received.len(), sent.len());
    node.stop().unwrap();
}

#[test]
fn each_direction_ends_by_itself() {
    on_a_shard(|| async {
        let (stream, client) = pair().await;
        client.shutdown(Shutdown::Write).unwrap();
        let mut buf = Vec::new();
        assert_eq!(stream.read(&mut buf, 100).await.unwrap(), 0);
        assert_eq!(stream.read(&mut buf, 100).await.unwrap(), 0, "the end stays the end");
        let answer = pattern(8 << 20);
        let reads = thread::spawn(move || {
            let mut received = Vec::new();
            (&client).read_to_end(&mut received).unwrap();
            received
        });
        stream.write_all(&answer).await.unwrap();
        drop(stream);
        assert!(reads.join().unwrap() == answer, "all was sent before the end");

        let (stream, mut client) = pair().await;
        stream.end_writes();
        assert_eq!(client.read(&mut [0]).unwrap(), 0);
        client.write_all(b"still heard").unwrap();
        drop(client);
        while stream.read(&mut buf, 100).await.unwrap() > 0 {}
        assert_eq!(buf, b"still heard");
    });
}

/// The last bytes and the end are told at the same time, and a read that takes the bytes must not wait for the end for ever.
#[test]
fn bytes_and_their_end_may_come_together() {
    on_a_shard(|| async {
        for _ in 0..200 {
            let (stream, mut client) = pair().await;
            client.write_all(b"the last words").unwrap();
            drop(client);
            let mut buf = Vec::new();
            let all = timeout(LONG, async { while stream.read(&mut buf, 100).await.unwrap() > 0 {} });
            all.await.expect("the end is told");
            assert_eq!(buf, b"the last words");
        }
    });
}

#[test]
fn shutdown_ends_a_read_that_waits() {
    on_a_shard(|| async {
        let (stream, mut client) = pair().await;
        let stream = Rc::new(stream);
        let reads = {
            let stream = Rc::clone(&stream);
            spawn(TaskClass::Request, "reads", async move {
                let mut buf = Vec::new();
                stream.read(&mut buf, 1000).await.unwrap()
            })
        };
        sleep(MOMENT).await;
        assert!(!reads.is_finished());
        stream.shutdown();
        assert_eq!(timeout(LONG, reads).await.expect("the read ends"), 0);
        assert_eq!(client.read(&mut [0]).unwrap(), 0, "the peer is told");
        assert_eq!(stream.read(&mut Vec::new(), 1).await.unwrap(), 0);
        assert!(stream.write_all(b"too late").await.is_err());
    });
}

/// Writes without end to a peer that does not read; gives the error that it ended with.
fn write_to_nobody(stream: &Rc<Stream>) -> runtime::Task<Error> {
    let stream = Rc::clone(stream);
    spawn(TaskClass::Request, "writes", async move {
        let bytes = pattern(1 << 20);
        loop {
            if let Err(error) = stream.write_all(&bytes).await {
                return error;
            }
        }
    })
}

#[test]
fn shutdown_ends_a_write_to_a_peer_that_never_reads() {
    on_a_shard(|| async {
        let (stream, client) = pair().await;
        let stream = Rc::new(stream);
        let writes = write_to_nobody(&stream);
        sleep(2 * MOMENT).await;
        assert!(!writes.is_finished());
        stream.shutdown();
        let error = timeout(LONG, writes).await.expect("the write ends");
        assert_eq!(error.io_kind(), Some(ErrorKind::BrokenPipe), "{error}");
        drop(client);
    });
}

#[test]
fn a_reset_ends_reads_and_writes() {
    on_a_shard(|| async {
        let (stream, client) = pair().await;
        let stream = Rc::new(stream);
        let writes = write_to_nobody(&stream);
        let reads = {
            let stream = Rc::clone(&stream);
            spawn(TaskClass::Request, "reads", async move {
                stream.read(&mut Vec::new(), 1000).await
            })
        };
        sleep(2 * MOMENT).await;
        assert!(!writes.is_finished() && !reads.is_finished());
        reset(client);
        let error = timeout(LONG, writes).await.expect("the write ends");
        assert!(error.to_string().starts_with("send 127.0.0.1:"), "{error}");
        // One of the two is told of the reset, the other one that there is nothing more.
        let read = timeout(LONG, reads).await.expect("the read ends");
        assert!(matches!(&read, Ok(0) | Err(_)), "{read:?}");
    });
}

#[test]
fn a_read_that_is_dropped_loses_nothing() {
    on_a_shard(|| async {
        let (stream, mut client) = pair().await;
        let mut buf = Vec::new();
        for round in 0..20u8 {
            let early = timeout(Duration::from_millis(5), stream.read(&mut buf, 1000)).await;
            assert!(early.is_err(), "nothing was sent");
            client.write_all(&[round]).unwrap();
            assert_eq!(stream.read(&mut buf, 1000).await.unwrap(), 1);
        }
        assert_eq!(buf, (0..20).collect::<Vec<u8>>());
    });
}

#[test]
fn after_a_write_that_was_cut_off_there_is_no_other() {
    on_a_shard(|| async {
        let (stream, client) = pair().await;
        let bytes = pattern(32 << 20);
        let cut = timeout(2 * MOMENT, stream.write_all(&bytes)).await;
        assert!(cut.is_err(), "nobody reads");
        let late = timeout(LONG, stream.write_all(b"as if nothing were missing")).await;
        let error = late.expect("it does not even wait").unwrap_err();
        assert_eq!(error.io_kind(), Some(ErrorKind::BrokenPipe));
        let reads = thread::spawn(move || {
            let mut received = Vec::new();
            (&client).read_to_end(&mut received).unwrap();
            received
        });
        stream.end_writes();
        let mut buf = Vec::new();
        assert_eq!(stream.read(&mut buf, 1).await.unwrap(), 0);
        let received = reads.join().unwrap();
        assert!(bytes.starts_with(&received), "{} bytes", received.len());
    });
}

#[test]
fn a_read_appends_what_fits() {
    on_a_shard(|| async {
        let (stream, mut client) = pair().await;
        let sent = pattern(300_000);
        let bytes = sent.clone();
        let writes = thread::spawn(move || {
            client.write_all(&bytes).unwrap();
            client
        });
        let mut buf = b"before ".to_vec();
        // By way of the shard's buffer: one that is handed in grows by what has come.
        assert!(stream.read(&mut buf, 10).await.unwrap() <= 10);
        assert!(buf.capacity() < 1000);
        while buf.len() < 150_000 {
            let len = stream.read(&mut buf, 1 << 20).await.unwrap();
            assert!((1..=64 << 10).contains(&len));
        }
        // Into the buffer itself.
        buf.reserve_exact(300_007 - buf.len());
        let place = buf.as_ptr();
        while buf.len() < 300_007 {
            let max = 300_007 - buf.len();
            assert!(stream.read(&mut buf, max).await.unwrap() <= max);
        }
        assert_eq!(buf.as_ptr(), place);
        assert!(buf.starts_with(b"before ") && buf[7..] == sent);
        drop(writes.join().unwrap());
        assert_eq!(stream.read(&mut buf, 1).await.unwrap(), 0);
    });
}

#[test]
fn a_connection_moves_to_another_shard() {
    let node = start(2);
    let count = Cell::new(0);
    let addr = serve(&node, A, anywhere(), move |accepted| {
        let to = ShardId(count.get() % 2);
        count.set(count.get() + 1);
        async move {
            let served = runtime::call(to, move || async move {
                let peer = accepted.peer_addr();
                let stream = accepted.attach().unwrap();
                let shard = runtime::shard().0 as u8;
                stream.write_all(&[shard]).await.unwrap();
                stream.write_all(&peer.port().to_le_bytes()).await.unwrap();
                echo(stream).await.unwrap();
            });
            served.await.unwrap();
        }
    });
    for round in 0..40u32 {
        let mut client = connect(addr);
        let mut greeting = [0; 3];
        client.read_exact(&mut greeting).unwrap();
        assert_eq!(u32::from(greeting[0]), round % 2);
        let port = client.local_addr().unwrap().port();
        assert_eq!(greeting[1..], port.to_le_bytes());
        assert_eq!(ask(&mut client, &round.to_le_bytes()), round.to_le_bytes());
    }
    node.stop().unwrap();
}

#[test]
fn a_connection_that_is_not_served_is_closed() {
    on_a_shard(|| async {
        let listener = Listener::bind(anywhere()).unwrap();
        let mut client = connect(listener.local_addr());
        drop(accept(&listener).await);
        assert_eq!(client.read(&mut [0]).unwrap(), 0);
    });
}

#[test]
fn a_listener_is_closed_under_a_task_that_accepts() {
    on_a_shard(|| async {
        let listener = Listener::bind(anywhere()).unwrap();
        let addr = listener.local_addr();
        let accepts = {
            let listener = listener.clone();
            spawn(TaskClass::Request, "accepts", async move {
                let mut accepted = 0;
                while listener.accept().await.unwrap().is_some() {
                    accepted += 1;
                }
                accepted
            })
        };
        drop(connect(addr));
        sleep(MOMENT).await;
        listener.close();
        assert_eq!(timeout(LONG, accepts).await.expect("it ends"), 1);
        assert!(listener.accept().await.unwrap().is_none());
        assert_eq!(
            TcpStream::connect(addr).unwrap_err().kind(),
            ErrorKind::ConnectionRefused
        );
        // The port is free again at once.
        let again = Listener::bind(addr).unwrap();
        let client = connect(addr);
        assert_eq!(accept(&again).await.peer_addr(), client.local_addr().unwrap());
    });
}

#[test]
fn addresses_in_use_are_refused() {
    on_a_shard(|| async {
        let other = std::net::TcpListener::bind(anywhere()).unwrap();
        let error = Listener::bind(other.local_addr().unwrap()).unwrap_err();
        assert_eq!(error.io_kind(), Some(ErrorKind::AddrInUse));
        assert!(error.to_string().starts_with("bind 127.0.0.1:"), "{error}");
    });
}

#[test]
fn other_tasks_run_beside_a_flood() {
    on_a_shard(|| async {
        let (stream, client) = pair().await;
        let floods = thread::spawn(move || {
            let bytes = vec![7; 1 << 20];
            let mut client = client;
            while client.write_all(&bytes).is_ok() {}
        });
        let stream = Rc::new(stream);
        let reads = {
            let stream = Rc::clone(&stream);
            spawn(TaskClass::Request, "reads", async move {
                let mut buf = Vec::new();
                // Byte by byte there is always one more.
                while stream.read(&mut buf, 1).await.is_ok_and(|len| len > 0) {
                    buf.clear();
                }
            })
        };
        let begin = Instant::now();
        for _ in 0..20 {
            sleep(Duration::from_millis(5)).await;
        }
        assert!(begin.elapsed() < LONG, "{:?}", begin.elapsed());
        assert!(!reads.is_finished());
        stream.shutdown();
        reads.await;
        drop(stream);
        floods.join().unwrap();
    });
}

#[test]
fn a_socket_has_one_reader_at_a_time() {
    let node = start(1);
    let reads = node.handle().call(A, || async {
        let (stream, _client) = pair().await;
        let (mut a, mut b) = (Vec::new(), Vec::new());
        let (first, second) = (stream.read(&mut a, 1), stream.read(&mut b, 1));
        let mut first = std::pin::pin!(first);
        let begun = std::future::poll_fn(|cx| std::task::Poll::Ready(first.as_mut().poll(cx).is_pending()));
        assert!(begun.await);
        timeout(LONG, second).await.unwrap().unwrap();
    });
    assert!(reads.wait().is_err());
    let error = node.stop().unwrap_err();
    assert!(error.to_string().contains("one reader and one writer"), "{error}");
}

/// What a task of the shard, its root and the task that ends it hold are all closed with it.
#[test]
fn connections_are_closed_when_the_node_stops() {
    let node = start(1);
    let addr = node.handle().call(A, || async {
        let listener = Listener::bind(anywhere()).unwrap();
        let addr = listener.local_addr();
        let kept: Rc<RefCell<Vec<Stream>>> = Rc::default();
        runtime::set_root(Rc::clone(&kept));
        let count = Cell::new(0);
        drop(spawn(TaskClass::Request, "accepts", async move {
            while let Some(accepted) = listener.accept().await.unwrap() {
                let stream = accepted.attach().unwrap();
                stream.write_all(b"x").await.unwrap();
                count.set(count.get() + 1);
                match count.get() % 2 {
                    0 => kept.borrow_mut().push(stream),
                    _ => drop(spawn(TaskClass::Request, "serves", async move { echo(stream).await })),
                }
            }
        }));
        addr
    });
    let addr = addr.wait().unwrap();
    let mut clients: Vec<_> = (0..10).map(|_| connect(addr)).collect();
    for client in &mut clients {
        client.read_exact(&mut [0]).unwrap();
    }
    node.stop().unwrap();
    for client in &mut clients {
        assert_eq!(client.read(&mut [0]).unwrap(), 0);
    }
    assert_eq!(
        TcpStream::connect(addr).unwrap_err().kind(),
        ErrorKind::ConnectionRefused
    );
}

#[test]
fn the_simulator_has_no_network() {
    let mut sim = runtime::sim::Sim::new(runtime::sim::Config::default());
    let node = sim.start();
    let refused = sim.run(async move {
        node.call(A, || async { Listener::bind(anywhere()).unwrap_err().to_string() })
            .await
    });
    let error = refused.done().unwrap();
    assert!(
        error.ends_with("the simulator has no network; drive sessions directly"),
        "{error}"
    );
}
