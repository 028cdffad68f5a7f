//! A client of the server's sessions: frames in, frames out.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::rc::Rc;
use std::sync::Arc;

use cql::frame::client::{Answer, BatchParameters, Message, Parameters, Send, Value, Values};
use cql::frame::{BatchStatement, BatchType, ErrorBody, Events, HEADER_LEN, Header, decompress};
use engine::Store;
use runtime::ShardId;
use scrollback_server::protocol::{Local, Node, Session};

use super::truth::Shared;

const LIMIT: usize = 16 << 20;

/// Where a connection lives.
#[derive(Clone, Copy)]
pub(super) struct Connection {
    pub number: u64,
    pub shard: u16,
    pub lz4: bool,
}

/// A running server.
pub(super) struct Server {
    pub store: Store,
    pub node: Arc<Node>,
    pub connections: Vec<Connection>,
    pub truth: Shared,
    stream: Cell<i16>,
}

/// What a client knows of a prepared statement: its id, and the columns of its result.
#[derive(Clone)]
pub(super) struct Known {
    id: Vec<u8>,
    columns: Vec<String>,
}

/// Cells of a row, or null.
pub(super) type Cells = Vec<Option<Vec<u8>>>;

/// A page, its columns known.
#[derive(Default)]
pub(super) struct Page {
    pub columns: Vec<String>,
    /// How many there are in each row.
    pub width: usize,
    pub rows: Vec<Cells>,
    pub next: Option<Vec<u8>>,
}

impl Page {
    /// An `int` of a row; `None`: no such column, or null.
    pub fn int(&self, row: &Cells, name: &str) -> Option<i32> {
        let at = self.columns.iter().position(|column| column == name)?;
        row[at].as_deref().map(int_of)
    }

    pub fn has(&self, name: &str) -> bool {
        self.columns.iter().any(|column| column == name)
    }

    /// A `set<int>` of a row.
    pub fn set(&self, row: &Cells, name: &str) -> Vec<i32> {
        let at = self.columns.iter().position(|column| column == name);
        let Some(bytes) = at.and_then(|at| row[at].as_deref()) else {
            return Vec::new();
        };
        bytes[4..].chunks(8).map(|element| int_of(&element[4..])).collect()
    }

    /// `[applied]`.
    pub fn applied(&self) -> Option<bool> {
        let at = self.columns.iter().position(|column| column == "[applied]")?;
        Some(self.rows.first()?[at].as_deref()? == [1])
    }
}

fn int_of(bytes: &[u8]) -> i32 {
    i32::from_be_bytes(bytes.try_into().expect("an int has four bytes"))
}

pub(super) fn int(value: i32) -> Vec<u8> {
    value.to_be_bytes().to_vec()
}

/// A `set<int>` of one.
pub(super) fn set_of(value: i32) -> Vec<u8> {
    [int(1), int(4), int(value)].concat()
}

/// What the server says.
pub(super) enum Said {
    Void,
    Rows { columns: Option<Vec<String>>, page: Page },
    Prepared(Known),
    Changed,
    Ready,
    Refused { why: Why, message: String },
}

/// Why a request was refused.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Why {
    Invalid,
    Unprepared,
    AlreadyExists,
    Protocol,
    Other,
}

/// A statement with values for its markers.
#[derive(Clone, Default)]
pub(super) struct Statement {
    pub text: String,
    pub values: Vec<Vec<u8>>,
}

/// How a statement is sent.
#[derive(Clone, Copy, Default)]
pub(super) struct How {
    pub prepared: bool,
    pub prepare_again: bool,
    pub timestamp: Option<i64>,
    pub page_size: Option<i32>,
}

/// The sessions of a shard, by number.
#[derive(Default)]
struct Sessions(RefCell<BTreeMap<u64, Rc<Session>>>);

impl Server {
    pub fn new(store: Store, node: Arc<Node>, connections: Vec<Connection>, truth: Shared) -> Self {
        Self {
            store,
            node,
            connections,
            truth,
            stream: Cell::new(0),
        }
    }

    /// Starts all connections.
    pub async fn start(&self) -> Result<(), String> {
        for connection in &self.connections {
            let mut options = vec![("CQL_VERSION", "3.0.0")];
            if connection.lz4 {
                options.push(("COMPRESSION", "lz4"));
            }
            let mut frame = Vec::new();
            Send::on(1).startup(&mut frame, &options);
            let ready = self.ask(*connection, 1, frame).await?;
            let mut frame = Vec::new();
            let events = Events {
                schema_change: true,
                ..Events::default()
            };
            Send::on(2).register(&mut frame, events);
            let registered = self.ask(*connection, 2, frame).await?;
            if !matches!((ready, registered), (Said::Ready, Said::Ready)) {
                return Err("STARTUP and REGISTER are not answered with READY".to_owned());
            }
        }
        Ok(())
    }

    fn next_stream(&self) -> i16 {
        let stream = (self.stream.get() + 1) & i16::MAX;
        self.stream.set(stream);
        stream
    }

    /// Sends a frame to the connection's shard; its answer is one whole frame on the same stream.
    async fn ask(&self, to: Connection, stream: i16, frame: Vec<u8>) -> Result<Said, String> {
        let node = Arc::clone(&self.node);
        let answered = self.store.call(ShardId(to.shard), move |shard| async move {
            let session = session(&shard, &node, to.number);
            let (header, body) = frame.split_at(HEADER_LEN);
            let header = Header::parse(header.try_into().expect("a whole header")).expect("our own frame");
            let mut out = Vec::new();
            // As a connection does.
            match session.begin_write(&header, body) {
                Some(write) => session.end_write(write, &mut out).await,
                None => session.answer(&header, body, LIMIT, &mut out).await,
            }
            out
        });
        let bytes = answered
            .await
            .map_err(|error| format!("a shard gives no answer: {error}"))?;
        let malformed = |what: &dyn std::fmt::Display| format!("a malformed answer: {what}");
        let Some((header, body)) = bytes.split_first_chunk::<HEADER_LEN>() else {
            return Err(malformed(&format_args!("{} bytes", bytes.len())));
        };
        let header = Header::parse_answer(header).map_err(|error| malformed(&error))?;
        if header.stream != stream || header.length as usize != body.len() {
            return Err(malformed(&format_args!(
                "stream {} for {stream}, {} bytes for {}",
                header.stream,
                body.len(),
                header.length
            )));
        }
        let mut unpacked = Vec::new();
        let body = match header.flags.compressed() {
            true => {
                decompress(body, LIMIT, &mut unpacked).map_err(|error| malformed(&error))?;
                unpacked.as_slice()
            }
            false => body,
        };
        let answer = Answer::parse(&header, body).map_err(|error| malformed(&error))?;
        self.truth.borrow_mut().counts.answers += 1;
        said(answer)
    }

    /// Prepares a text on a connection. Its id is the same wherever and whenever it is prepared.
    async fn prepare(&self, to: Connection, text: &str) -> Result<Result<Known, (Why, String)>, String> {
        let (stream, mut frame) = (self.next_stream(), Vec::new());
        Send::on(stream).prepare(&mut frame, text);
        match self.ask(to, stream, frame).await? {
            Said::Prepared(known) => {
                let mut truth = self.truth.borrow_mut();
                truth.counts.prepared += 1;
                match truth.prepared.insert(text.to_owned(), known.clone()) {
                    Some(before) if before.id != known.id => Err(format!("{text:?} has two ids")),
                    _ => Ok(Ok(known)),
                }
            }
            Said::Refused { why, message } => Ok(Err((why, message))),
            _ => Err(format!("PREPARE of {text:?} is answered with something else")),
        }
    }

    /// The statement's id; prepared on any connection if it is not yet, in this life or one before.
    async fn known(
        &self,
        text: &str,
        again: bool,
        elsewhere: Connection,
    ) -> Result<Result<Known, (Why, String)>, String> {
        let known = self.truth.borrow().prepared.get(text).cloned();
        match known {
            Some(known) if !again => Ok(Ok(known)),
            _ => self.prepare(elsewhere, text).await,
        }
    }

    /// Executes a statement on one connection; prepared, where it must be, on another.
    ///
    /// # Errors
    /// Only what no answer may be.
    pub async fn execute(
        &self,
        to: Connection,
        elsewhere: Connection,
        statement: &Statement,
        how: How,
        paging_state: Option<&[u8]>,
    ) -> Result<Said, String> {
        let values: Vec<Value<'_>> = statement.values.iter().map(|value| Value::Bytes(value)).collect();
        let parameters = Parameters {
            values: Values::Positional(&values),
            timestamp: how.timestamp,
            page_size: how.page_size,
            paging_state,
            ..Parameters::default()
        };
        if !how.prepared {
            let (stream, mut frame) = (self.next_stream(), Vec::new());
            Send::on(stream).query(&mut frame, &statement.text, &parameters);
            return with_columns(self.ask(to, stream, frame).await?, &[]);
        }
        let mut again = how.prepare_again;
        let mut times = 0;
        loop {
            let known = match self.known(&statement.text, again, elsewhere).await? {
                Ok(known) => known,
                Err((why, message)) => return Ok(Said::Refused { why, message }),
            };
            let (stream, mut frame) = (self.next_stream(), Vec::new());
            let skipping = Parameters {
                skip_metadata: true,
                ..parameters
            };
            Send::on(stream).execute(&mut frame, &known.id, &skipping);
            let said = self.ask(to, stream, frame).await?;
            let unprepared = matches!(
                said,
                Said::Refused {
                    why: Why::Unprepared,
                    ..
                }
            );
            times += 1;
            if !unprepared || times > 4 {
                return with_columns(said, &known.columns);
            }
            // As drivers do.
            again = true;
        }
    }

    /// Sends a `BATCH`, its statements prepared or as texts.
    pub async fn batch(
        &self,
        to: Connection,
        elsewhere: Connection,
        kind: BatchType,
        statements: &[Statement],
        how: How,
    ) -> Result<Said, String> {
        let mut ids = Vec::new();
        for statement in statements.iter().filter(|_| how.prepared) {
            match self.known(&statement.text, how.prepare_again, elsewhere).await? {
                Ok(known) => ids.push(known.id),
                Err((why, message)) => return Ok(Said::Refused { why, message }),
            }
        }
        let values: Vec<Vec<Value<'_>>> = statements
            .iter()
            .map(|statement| statement.values.iter().map(|value| Value::Bytes(value)).collect())
            .collect();
        let each = (0..statements.len()).map(|at| {
            let statement = match how.prepared {
                true => BatchStatement::Prepared(&ids[at]),
                false => BatchStatement::Query(&statements[at].text),
            };
            (statement, values[at].as_slice())
        });
        let parameters = BatchParameters {
            timestamp: how.timestamp,
            ..BatchParameters::default()
        };
        let (stream, mut frame) = (self.next_stream(), Vec::new());
        Send::on(stream).batch(&mut frame, kind, each, &parameters);
        with_columns(self.ask(to, stream, frame).await?, &[])
    }
}

fn session(shard: &Rc<engine::Shard>, node: &Arc<Node>, number: u64) -> Rc<Session> {
    let sessions = shard.extension(Sessions::default);
    let mut sessions = sessions.0.borrow_mut();
    let made = sessions.entry(number).or_insert_with(|| {
        let push = |bytes: &[u8]| {
            let (header, body) = bytes.split_first_chunk::<HEADER_LEN>().expect("an event has a header");
            let header = Header::parse_answer(header).expect("an event's header");
            let event = Answer::parse(&header, body).expect("an event");
            assert!(matches!(event.message, Message::Event(_)), "an event that is none");
        };
        Session::new(&Local::of(shard, node), Rc::new(push))
    });
    Rc::clone(made)
}

fn said(answer: Answer<'_>) -> Result<Said, String> {
    let names = |columns: &[cql::frame::NamedColumn<'_>]| columns.iter().map(|of| of.name.to_owned()).collect();
    Ok(match answer.message {
        Message::Void => Said::Void,
        Message::Ready => Said::Ready,
        Message::SchemaChange(_) | Message::SetKeyspace(_) => Said::Changed,
        Message::Prepared(prepared) => Said::Prepared(Known {
            id: prepared.id.to_vec(),
            columns: names(&prepared.result),
        }),
        Message::Rows(rows) => {
            let cells = rows
                .iter()
                .map(|cells| cells.map(|cell| cell.map(<[u8]>::to_vec)).collect());
            Said::Rows {
                columns: rows.columns.as_deref().map(names),
                page: Page {
                    columns: Vec::new(),
                    width: rows.column_count,
                    rows: cells.collect(),
                    next: rows.paging_state.map(<[u8]>::to_vec),
                },
            }
        }
        Message::Error { message, body } => Said::Refused {
            why: match body {
                ErrorBody::Invalid => Why::Invalid,
                ErrorBody::Unprepared { .. } => Why::Unprepared,
                ErrorBody::AlreadyExists { .. } => Why::AlreadyExists,
                ErrorBody::Protocol => Why::Protocol,
                _ => Why::Other,
            },
            message: message.to_owned(),
        },
        other => return Err(format!("an answer that nothing asks for: {other:?}")),
    })
}

/// Columns that the answer leaves out are those that the client was told when it prepared the statement.
fn with_columns(mut said: Said, known: &[String]) -> Result<Said, String> {
    if let Said::Rows { columns, page } = &mut said {
        page.columns = columns.take().unwrap_or_else(|| known.to_vec());
        if page.columns.len() != page.width {
            return Err(format!(
                "rows of {} columns, told apart from {:?} by nothing",
                page.width, page.columns
            ));
        }
    }
    Ok(said)
}
