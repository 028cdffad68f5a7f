//! The server that clients talk to, on ports of its own, with a store in a folder of its own.

use std::net::TcpListener;
use std::time::Duration;

use crate::clock::Stopwatch;
use crate::kill9::program::{Process, Program};

/// Shards of the store.
pub(super) const SHARDS: u16 = 2;
/// The data center's name, unless another is asked for.
pub(super) const DATACENTER: &str = "dc1";
/// How long a start may take, recovery included.
const START_MAX: Duration = Duration::from_secs(60);
/// Where free ports are looked for: below those that the system gives to clients. One of them could otherwise take the port of a
/// server that is being restarted, or connect to itself.
const PORTS: std::ops::Range<u16> = 20_000..32_000;

/// A server that runs. It ends with whoever started it.
pub(super) struct Server {
    process: Option<Process>,
    folder: tempfile::TempDir,
    /// Where clients connect, on 127.0.0.1.
    pub port: u16,
    shard_aware_port: u16,
    further: Vec<String>,
}

impl Server {
    /// Starts one with an empty store; `further` are arguments beyond the usual ones, which they win over.
    pub fn start(program: &Program, further: &[&str]) -> Result<Self, String> {
        let mut ports = free_ports();
        let mut port = || ports.next().ok_or("no port of the loopback is free");
        let mut server = Self {
            process: None,
            folder: program.folder()?,
            port: port()?,
            shard_aware_port: port()?,
            further: further.iter().map(|argument| (*argument).to_owned()).collect(),
        };
        if !further.contains(&"--datacenter") {
            server
                .further
                .extend(["--datacenter".to_owned(), DATACENTER.to_owned()]);
        }
        server.begin(program)?;
        Ok(server)
    }

    /// Ends it, gently or with SIGKILL, and starts it again with the same store.
    pub fn restart(&mut self, program: &Program, gently: bool) -> Result<(), String> {
        if let Some(mut process) = self.process.take() {
            if gently {
                process.terminate()?;
            } else if !process.kill()? {
                return Err("the server had ended by itself".to_owned());
            }
        }
        self.begin(program)
    }

    /// Ends it, and starts it again with an empty store.
    pub fn renew(&mut self, program: &Program) -> Result<(), String> {
        self.process.take().map_or(Ok(()), Process::terminate)?;
        let store = self.folder.path().join("store");
        std::fs::remove_dir_all(&store).map_err(|e| format!("{}: {e}", store.display()))?;
        self.begin(program)
    }

    /// Ends it gently.
    pub fn end(mut self) -> Result<(), String> {
        self.process.take().map_or(Ok(()), Process::terminate)
    }

    fn begin(&mut self, program: &Program) -> Result<(), String> {
        let store = self.folder.path().join("store").to_string_lossy().into_owned();
        let (listen, shard_aware) = (format!("127.0.0.1:{}", self.port), self.shard_aware_port.to_string());
        let shards = SHARDS.to_string();
        let mut arguments = vec!["serve", "--data", &store, "--shards", &shards];
        arguments.extend(["--listen", &listen, "--shard-aware-port", &shard_aware]);
        arguments.extend(self.further.iter().map(String::as_str));
        let mut process = program.start(&arguments)?;
        let clock = Stopwatch::start();
        loop {
            let open = process.fill(Duration::from_millis(100))?;
            while let Some(line) = process.line() {
                if line.starts_with("listening on ") {
                    self.process = Some(process);
                    return Ok(());
                }
            }
            if !open {
                return Err("the server ended at its start".to_owned());
            }
            if clock.elapsed() > START_MAX {
                return Err("the server does not start".to_owned());
            }
        }
    }
}

/// Ports that nobody listens to, from a place that this process draws.
fn free_ports() -> impl Iterator<Item = u16> {
    let count = PORTS.end - PORTS.start;
    let first = u16::try_from(std::process::id() * 16 % u32::from(count)).unwrap_or(0);
    (0..count)
        .map(move |at| PORTS.start + (first + at) % count)
        .filter(|port| TcpListener::bind(("127.0.0.1", *port)).is_ok())
}
