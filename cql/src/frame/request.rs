//! What clients ask (specification, section 4.1), read where it lies: nothing but the names of unknown events is allocated.
//!
//! Bytes after the end of a message are passed over: Cassandra and ScyllaDB do so, too, and extensions of the protocol stand there.

use super::read::Reader;
use super::values::{flags, page_size};
use super::{Batch, Consistency, Error, Header, Opcode, Result, Values};

/// A request.
///
/// ```
/// use scrollback_cql::frame::{Frames, Request, Step, client};
///
/// let mut received = Vec::new();
/// client::Send::on(7).query(&mut received, "SELECT * FROM t WHERE k = ?", &client::Parameters {
///     values: client::Values::Positional(&[client::Value::Bytes(b"key")]),
///     ..client::Parameters::default()
/// });
/// let mut frames = Frames::of_requests(16 << 20);
/// let Step::Frame { header, body } = frames.next(&received) else { panic!("is whole") };
/// let Ok(Request::Query { text, parameters }) = Request::parse(&header, &received[body]) else { panic!("is one") };
/// assert_eq!((header.stream, text, parameters.values.len()), (7, "SELECT * FROM t WHERE k = ?", 1));
/// ```
#[derive(Clone, Copy, Debug)]
pub enum Request<'a> {
    /// Begins the session.
    Startup(Startup<'a>),
    /// Asks what is supported.
    Options,
    /// The token of an authentication, or null.
    AuthResponse(Option<&'a [u8]>),
    /// Asks for events.
    Register(Events),
    /// Runs a text.
    Query {
        /// The statement.
        text: &'a str,
        /// What it is run with.
        parameters: Parameters<'a>,
    },
    /// Prepares a text.
    Prepare {
        /// The statement.
        text: &'a str,
    },
    /// Runs what was prepared.
    Execute {
        /// What `Prepared` named it.
        id: &'a [u8],
        /// What it is run with.
        parameters: Parameters<'a>,
    },
    /// Runs several statements as one.
    Batch(Batch<'a>),
}

impl<'a> Request<'a> {
    /// Reads the body of a request; one that was compressed, after [`decompress`](super::decompress). A custom payload is passed over.
    /// Whether it is to be traced stands in the header.
    ///
    /// # Errors
    /// Answer with the [code](Error::code) and text of the error on the request's stream; the connection goes on.
    pub fn parse(header: &Header, body: &'a [u8]) -> Result<Request<'a>> {
        let mut reader = Reader::new(body);
        if header.flags.payload() {
            reader.skip_bytes_map()?;
        }
        let reader = &mut reader;
        Ok(match header.opcode {
            Opcode::Execute => Request::Execute {
                id: reader.short_bytes()?,
                parameters: Parameters::parse(reader)?,
            },
            Opcode::Query => Request::Query {
                text: reader.long_string()?,
                parameters: Parameters::parse(reader)?,
            },
            Opcode::Batch => Request::Batch(Batch::parse(reader)?),
            Opcode::Prepare => Request::Prepare {
                text: reader.long_string()?,
            },
            Opcode::Startup => Request::Startup(Startup::parse(reader)?),
            Opcode::Options => Request::Options,
            Opcode::AuthResponse => Request::AuthResponse(reader.bytes()?),
            Opcode::Register => Request::Register(Events::parse(reader)?),
            other => return Err(Error::Direction(other as u8)),
        })
    }
}

/// What a statement is run with.
#[derive(Clone, Copy, Debug)]
pub struct Parameters<'a> {
    /// The consistency level.
    pub consistency: Consistency,
    /// The values of its markers.
    pub values: Values<'a>,
    /// The client knows the columns of the result.
    pub skip_metadata: bool,
    /// Rows of a page, at least 1; none: all rows at once.
    pub page_size: Option<u32>,
    /// Where the page before ended.
    pub paging_state: Option<&'a [u8]>,
    /// The level of a conditional write; none was named: `SERIAL`. Any level can stand here, and only the two serial ones are right.
    pub serial_consistency: Option<Consistency>,
    /// The timestamp of statements that name none, microseconds; never `i64::MIN`.
    pub timestamp: Option<i64>,
}

impl<'a> Parameters<'a> {
    #[inline]
    pub(super) fn parse(reader: &mut Reader<'a>) -> Result<Parameters<'a>> {
        let consistency = reader.consistency()?;
        let of = reader.u8("the flags of a query")?;
        let mut parameters = Parameters {
            consistency,
            values: Values::default(),
            skip_metadata: of & flags::SKIP_METADATA != 0,
            page_size: None,
            paging_state: None,
            serial_consistency: None,
            timestamp: None,
        };
        if of & flags::VALUES != 0 {
            parameters.values = Values::parse(reader, of & flags::NAMES != 0)?;
        }
        if of & flags::PAGE_SIZE != 0 {
            parameters.page_size = page_size(reader.i32("a page size")?)?;
        }
        if of & flags::PAGING_STATE != 0 {
            parameters.paging_state = reader.bytes()?;
        }
        if of & flags::SERIAL_CONSISTENCY != 0 {
            parameters.serial_consistency = Some(reader.consistency()?);
        }
        if of & flags::TIMESTAMP != 0 {
            match reader.i64("a timestamp")? {
                i64::MIN => return Err(Error::Timestamp),
                timestamp => parameters.timestamp = Some(timestamp),
            }
        }
        Ok(parameters)
    }
}

/// The options of a `STARTUP`.
#[derive(Clone, Copy, Debug)]
pub struct Startup<'a> {
    count: u16,
    bytes: &'a [u8],
}

impl<'a> Startup<'a> {
    fn parse(reader: &mut Reader<'a>) -> Result<Startup<'a>> {
        let count = reader.u16("the number of options")?;
        let before = *reader;
        for _ in 0..count {
            reader.string()?;
            reader.string()?;
        }
        Ok(Startup {
            count,
            bytes: reader.since(&before),
        })
    }

    /// Names and values as they were sent.
    pub fn options(&self) -> impl Iterator<Item = (&'a str, &'a str)> + use<'a> {
        let mut reader = Reader::new(self.bytes);
        (0..self.count).map_while(move |_| Some((reader.string().ok()?, reader.string().ok()?)))
    }

    /// The value of an option, whatever the case of its letters; of several the last, as in Cassandra.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&'a str> {
        let same = self.options().filter(|(key, _)| key.eq_ignore_ascii_case(name));
        same.last().map(|(_, value)| value)
    }

    /// `CQL_VERSION`, which must be there.
    #[must_use]
    pub fn cql_version(&self) -> Option<&'a str> {
        self.get("CQL_VERSION")
    }

    /// `COMPRESSION`: what bodies are compressed with, if at all.
    #[must_use]
    pub fn compression(&self) -> Option<&'a str> {
        self.get("COMPRESSION").filter(|name| !name.is_empty())
    }

    /// Whether the client would rather have `Overloaded` than wait.
    #[must_use]
    pub fn throw_on_overload(&self) -> bool {
        self.get("THROW_ON_OVERLOAD").is_some_and(|value| value == "1")
    }
}

/// Which events a connection wants to be told of.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct Events {
    /// Nodes that come and go.
    pub topology_change: bool,
    /// Nodes up and down.
    pub status_change: bool,
    /// What DDL did.
    pub schema_change: bool,
    /// Traces that are complete; Cassandra knows the name.
    pub trace_complete: bool,
}

impl Events {
    fn parse(reader: &mut Reader<'_>) -> Result<Events> {
        let mut events = Events::default();
        for _ in 0..reader.u16("the number of events")? {
            let name = reader.string()?;
            let is = |known: &str| name.eq_ignore_ascii_case(known);
            if is("TOPOLOGY_CHANGE") {
                events.topology_change = true;
            } else if is("STATUS_CHANGE") {
                events.status_change = true;
            } else if is("SCHEMA_CHANGE") {
                events.schema_change = true;
            } else if is("TRACE_COMPLETE") {
                events.trace_complete = true;
            } else {
                return Err(Error::EventType(name.to_owned()));
            }
        }
        Ok(events)
    }

    /// What was wanted before and what is wanted more.
    #[must_use]
    pub fn and(self, more: Events) -> Events {
        Events {
            topology_change: self.topology_change | more.topology_change,
            status_change: self.status_change | more.status_change,
            schema_change: self.schema_change | more.schema_change,
            trace_complete: self.trace_complete | more.trace_complete,
        }
    }
}
