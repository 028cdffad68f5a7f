//! The real server in a process of its own, and a client of raw frames.

use cql::frame::client::{Answer, Message, Parameters, Send, Values};
use cql::frame::{Frames, Header, Step, Value};
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

pub struct Server {
    child: Child,
    pub address: SocketAddr,
    folder: tempfile::TempDir,
}

impl Drop for Server {
    fn drop(&mut self) {
        let _gone = self.child.kill();
        let _ended = self.child.wait();
    }
}

fn free_port() -> u16 {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a port");
    listener.local_addr().expect("an address").port()
}

impl Server {
    pub fn start(arguments: &[&str]) -> Server {
        let folder = tempfile::Builder::new()
            .prefix("wire-")
            .tempdir_in(env!("CARGO_MANIFEST_DIR"))
            .expect("a folder");
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, free_port()));
        let child = Server::run(address, &folder, arguments);
        Server { child, address, folder }
    }

    /// Serves what is in the folder; gives the process when it listens.
    fn run(address: SocketAddr, folder: &tempfile::TempDir, arguments: &[&str]) -> Child {
        let mut child = Command::new(env!("CARGO_BIN_EXE_scrollback"))
            .args(["serve", "--shards", "2", "--data"])
            .arg(folder.path().join("store"))
            .args([
                "--listen",
                &address.to_string(),
                "--shard-aware-port",
                &free_port().to_string(),
            ])
            .args(arguments)
            .stdout(Stdio::piped())
            .spawn()
            .expect("the server starts");
        let mut line = String::new();
        let stdout = child.stdout.take().expect("it is piped");
        BufReader::new(stdout).read_line(&mut line).expect("a line");
        assert!(line.starts_with("listening"), "{line}");
        child
    }

    /// Kills the server as `kill -9` does, and starts it again on its data.
    pub fn kill_and_restart(&mut self) {
        self.child.kill().expect("it is ours");
        self.child.wait().expect("it is ours");
        self.child = Server::run(self.address, &self.folder, &[]);
    }

    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// What `scrollback status` tells of it.
    pub fn status(&self) -> String {
        let mut status = Command::new(env!("CARGO_BIN_EXE_scrollback"));
        let status = status
            .args(["status", "--format", "jsonl", "--data"])
            .arg(self.folder.path().join("store"));
        let told = status.output().expect("it starts");
        assert!(told.status.success(), "{told:?}");
        String::from_utf8(told.stdout).expect("text")
    }

    /// Ends the server as an operator does; gives its exit status.
    pub fn terminate(mut self) -> Option<i32> {
        // SAFETY: a signal to our own child, which has not been waited for.
        unsafe { libc::kill(self.child.id() as i32, libc::SIGTERM) };
        let until = Instant::now() + Duration::from_secs(30);
        while Instant::now() < until {
            if let Some(status) = self.child.try_wait().expect("it is ours") {
                return status.code();
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        None
    }

    /// Resident memory, bytes.
    pub fn resident_bytes(&self) -> u64 {
        let text = std::fs::read_to_string(format!("/proc/{}/statm", self.id())).expect("it runs");
        let pages: u64 = text
            .split(' ')
            .nth(1)
            .and_then(|pages| pages.parse().ok())
            .expect("a number");
        pages * 4096
    }
}

pub struct Client {
    pub stream: TcpStream,
    frames: Frames,
    received: Vec<u8>,
}

/// What came instead of an answer.
#[derive(Debug, PartialEq)]
pub enum Ended {
    Closed,
    Late,
}

impl Client {
    /// A connection that has said nothing yet.
    pub fn silent(server: &Server) -> Client {
        let stream = TcpStream::connect(server.address).expect("connected");
        stream.set_read_timeout(Some(Duration::from_secs(20))).expect("set");
        Client {
            stream,
            frames: Frames::of_answers(64 << 20),
            received: Vec::new(),
        }
    }

    /// A connection whose session has begun.
    pub fn new(server: &Server) -> Client {
        let mut client = Client::silent(server);
        let mut out = Vec::new();
        Send::on(0).startup(&mut out, &[("CQL_VERSION", "3.0.0")]);
        client.send(&out);
        assert_eq!(client.told(), "Ready");
        client
    }

    pub fn send(&mut self, bytes: &[u8]) {
        self.stream.write_all(bytes).expect("sent");
    }

    /// The next frame.
    pub fn frame(&mut self) -> Result<(Header, Vec<u8>), Ended> {
        loop {
            let step = self.frames.next(&self.received);
            let used = step.used();
            if let Step::Frame { header, body } = step {
                let body = self.received[body].to_vec();
                self.received.drain(..used);
                return Ok((header, body));
            }
            let mut buffer = [0; 8192];
            match self.stream.read(&mut buffer) {
                Ok(0) => return Err(Ended::Closed),
                Ok(count) => self.received.extend_from_slice(&buffer[..count]),
                Err(error)
                    if matches!(
                        error.kind(),
                        std::io::ErrorKind::WouldBlock | std::io::ErrorKind::TimedOut
                    ) =>
                {
                    return Err(Ended::Late);
                }
                Err(_) => return Err(Ended::Closed),
            }
        }
    }

    /// What the next answer says, in short.
    pub fn told(&mut self) -> String {
        match self.frame() {
            Ok((header, body)) => match Answer::parse(&header, &body) {
                Ok(answer) => match answer.message {
                    Message::Error { message, body } => format!("{:#06x} {message}", body.code() as i32),
                    Message::Rows(rows) => format!("Rows {}", rows.len()),
                    Message::Prepared(prepared) => format!("Prepared {:?}", prepared.id),
                    other => format!("{other:?}"),
                },
                Err(error) => format!("unreadable: {error}"),
            },
            Err(ended) => format!("{ended:?}"),
        }
    }

    pub fn ask(&mut self, text: &str) -> String {
        let mut out = Vec::new();
        Send::on(1).query(&mut out, text, &Parameters::default());
        self.send(&out);
        self.told()
    }

    /// Prepares a text; its id, and how many columns its rows are said to have.
    pub fn prepare(&mut self, text: &str) -> (Vec<u8>, usize) {
        let mut out = Vec::new();
        Send::on(1).prepare(&mut out, text);
        self.send(&out);
        let (header, body) = self.frame().expect("an answer");
        match Answer::parse(&header, &body).expect("an answer").message {
            Message::Prepared(prepared) => (prepared.id.to_vec(), prepared.result.len()),
            other => panic!("{text} is answered with {other:?}"),
        }
    }

    /// Executes a prepared statement without values, and does without the columns of its rows; how many came all the same.
    pub fn execute(&mut self, id: &[u8]) -> Result<Option<usize>, String> {
        let mut out = Vec::new();
        let parameters = Parameters {
            skip_metadata: true,
            ..Parameters::default()
        };
        Send::on(1).execute(&mut out, id, &parameters);
        self.send(&out);
        let (header, body) = self.frame().expect("an answer");
        match Answer::parse(&header, &body).expect("an answer").message {
            Message::Rows(rows) => Ok(rows.columns.map(|columns| columns.len())),
            Message::Error { body, .. } => Err(format!("{:#06x}", body.code() as i32)),
            other => panic!("rows are asked for, and the answer is {other:?}"),
        }
    }

    pub fn ask_with(&mut self, text: &str, values: &[Value<'_>], parameters: Parameters<'_>) -> String {
        let mut out = Vec::new();
        let parameters = Parameters {
            values: Values::Positional(values),
            ..parameters
        };
        Send::on(1).query(&mut out, text, &parameters);
        self.send(&out);
        self.told()
    }
}
