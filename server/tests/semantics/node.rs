//! The server.

use crate::common::{PROGRAM, folder, scrollback, text};
use std::io::{BufRead as _, BufReader};
use std::net::{SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use tempfile::TempDir;

/// A running server; it ends with this, however the test ends.
pub struct Node {
    child: Child,
    address: SocketAddr,
    shard_aware_port: u16,
    data: Option<TempDir>,
}

/// A port that nobody listens to.
fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

impl Node {
    pub fn start() -> Node {
        let (port, shard_aware_port) = (free_port(), free_port());
        Node::start_in(
            folder("semantics"),
            SocketAddr::from(([127, 0, 0, 1], port)),
            shard_aware_port,
        )
    }

    fn start_in(data: TempDir, address: SocketAddr, shard_aware_port: u16) -> Node {
        let mut child = Command::new(PROGRAM)
            .args(["serve", "--data", text(data.path()), "--shards", "2"])
            .args(["--listen", &address.to_string()])
            .args(["--shard-aware-port", &shard_aware_port.to_string()])
            .args(["--other-datacenters", "east"])
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut first = String::new();
        BufReader::new(child.stdout.take().unwrap())
            .read_line(&mut first)
            .unwrap();
        let node = Node {
            child,
            address,
            shard_aware_port,
            data: Some(data),
        };
        assert!(first.starts_with("listening on"), "the server says: {first}");
        node
    }

    /// Where it listens, and where its store is.
    pub fn place(&self) -> (SocketAddr, PathBuf) {
        (self.address, self.data.as_ref().unwrap().path().to_owned())
    }

    pub fn flush(&self) {
        let output = scrollback(["flush", "--data", text(self.data.as_ref().unwrap().path())]);
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    }

    /// The same store, without a farewell.
    pub fn killed_and_started_again(mut self) -> Node {
        self.kill();
        let data = self.data.take().unwrap();
        Node::start_in(data, self.address, self.shard_aware_port)
    }

    fn kill(&mut self) {
        let _ended_already = self.child.kill();
        self.child.wait().unwrap();
    }
}

/// Compacts a table of the running store there.
pub fn compact(data: &Path, table: &str) {
    let output = scrollback(["compact", "--data", text(data), "--table", table, "--wait"]);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

impl Drop for Node {
    fn drop(&mut self) {
        self.kill();
    }
}
