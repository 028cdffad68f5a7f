//! The real server in a process of its own, and a client of raw frames that waits for each answer.

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::time::Duration;

use cql::frame::client::{Answer, BatchParameters, Message, Parameters, Send, Value, Values};
use cql::frame::{BatchStatement, BatchType, HEADER_LEN, Header};

use crate::clock::Stopwatch;
use crate::kill9::program::{Process, Program};

const READY_WITHIN: Duration = Duration::from_secs(60);

/// Starts the server on a port that is free, and waits until it listens.
pub(crate) fn serve(program: &Program, folder: &Path, shards: usize) -> Result<(Process, u16), String> {
    let free = TcpListener::bind("127.0.0.1:0").and_then(|listener| listener.local_addr());
    let port = free.map_err(|error| format!("no port is free: {error}"))?.port();
    let data = folder.join("store").to_string_lossy().into_owned();
    let (listen, shards) = (format!("127.0.0.1:{port}"), shards.to_string());
    let arguments = [
        "serve",
        "--data",
        &data,
        "--listen",
        &listen,
        "--shard-aware-port",
        "0",
        "--shards",
        &shards,
    ];
    let mut process = program.start(&arguments)?;
    let clock = Stopwatch::start();
    while clock.elapsed() < READY_WITHIN {
        let open = process.fill(Duration::from_millis(100))?;
        while let Some(line) = process.line() {
            if line.starts_with("listening") {
                return Ok((process, port));
            }
        }
        if !open {
            break;
        }
    }
    Err("the server does not come to listen".to_owned())
}

/// A connection with one request under way at most.
pub(crate) struct Connection {
    stream: TcpStream,
    ids: BTreeMap<String, Vec<u8>>,
}

/// What is answered: rows, or nothing.
pub(crate) type Rows = Vec<Vec<Option<Vec<u8>>>>;

/// Why there is no answer.
pub(crate) enum Trouble {
    /// The connection ended.
    Gone,
    Wrong(String),
}

impl From<Trouble> for String {
    fn from(trouble: Trouble) -> String {
        match trouble {
            Trouble::Gone => "the server has ended a connection".to_owned(),
            Trouble::Wrong(what) => what,
        }
    }
}

impl Connection {
    pub(crate) fn open(port: u16) -> Result<Self, String> {
        let opened = TcpStream::connect(("127.0.0.1", port)).and_then(|stream| {
            stream.set_nodelay(true)?;
            stream.set_read_timeout(Some(READY_WITHIN))?;
            Ok(stream)
        });
        let mut connection = Connection {
            stream: opened.map_err(|error| format!("a connection: {error}"))?,
            ids: BTreeMap::new(),
        };
        let mut frame = Vec::new();
        Send::on(0).startup(&mut frame, &[("CQL_VERSION", "3.0.0")]);
        connection.ask(&frame)?;
        Ok(connection)
    }

    fn ask(&mut self, frame: &[u8]) -> Result<Rows, Trouble> {
        let gone = |_| Trouble::Gone;
        let wrong = |error: cql::frame::Error| Trouble::Wrong(format!("a malformed answer: {error}"));
        self.stream.write_all(frame).map_err(gone)?;
        let mut header = [0; HEADER_LEN];
        self.stream.read_exact(&mut header).map_err(gone)?;
        let header = Header::parse_answer(&header).map_err(wrong)?;
        let mut body = vec![0; header.length as usize];
        self.stream.read_exact(&mut body).map_err(gone)?;
        match Answer::parse(&header, &body).map_err(wrong)?.message {
            Message::Error { message, body } => Err(Trouble::Wrong(format!("refused: {body:?} {message}"))),
            Message::Prepared(prepared) => Ok(vec![vec![Some(prepared.id.to_vec())]]),
            Message::Rows(rows) => Ok(rows
                .iter()
                .map(|cells| cells.map(|cell| cell.map(<[u8]>::to_vec)).collect())
                .collect()),
            _ => Ok(Rows::new()),
        }
    }

    pub(crate) fn query(&mut self, text: &str) -> Result<Rows, Trouble> {
        let mut frame = Vec::new();
        Send::on(1).query(&mut frame, text, &Parameters::default());
        self.ask(&frame)
    }

    fn id(&mut self, text: &str) -> Result<Vec<u8>, Trouble> {
        if let Some(id) = self.ids.get(text) {
            return Ok(id.clone());
        }
        let mut frame = Vec::new();
        Send::on(2).prepare(&mut frame, text);
        let id = self.ask(&frame)?.into_iter().flatten().flatten().next();
        let id = id.ok_or_else(|| Trouble::Wrong("no id of a prepared statement".to_owned()))?;
        self.ids.insert(text.to_owned(), id.clone());
        Ok(id)
    }

    pub(crate) fn execute(&mut self, text: &str, values: &[i32]) -> Result<Rows, Trouble> {
        let id = self.id(text)?;
        let bytes: Vec<[u8; 4]> = values.iter().map(|value| value.to_be_bytes()).collect();
        let values: Vec<Value<'_>> = bytes.iter().map(|bytes| Value::Bytes(bytes)).collect();
        let parameters = Parameters {
            values: Values::Positional(&values),
            ..Parameters::default()
        };
        let mut frame = Vec::new();
        Send::on(3).execute(&mut frame, &id, &parameters);
        self.ask(&frame)
    }

    /// A logged batch of one statement with several rows of values.
    pub(crate) fn batch(&mut self, text: &str, rows: &[[i32; 3]]) -> Result<Rows, Trouble> {
        let id = self.id(text)?;
        let bytes: Vec<Vec<[u8; 4]>> = rows.iter().map(|row| row.map(i32::to_be_bytes).to_vec()).collect();
        let values: Vec<Vec<Value<'_>>> = bytes
            .iter()
            .map(|row| row.iter().map(|bytes| Value::Bytes(bytes)).collect())
            .collect();
        let statements = values
            .iter()
            .map(|values| (BatchStatement::Prepared(&id), values.as_slice()));
        let mut frame = Vec::new();
        Send::on(4).batch(&mut frame, BatchType::Logged, statements, &BatchParameters::default());
        self.ask(&frame)
    }
}
