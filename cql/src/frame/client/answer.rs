//! Answers and events, read where they lie; rows are walked in place.

use uuid::Uuid;

use super::super::columns::{flags, read_columns, read_count};
use super::super::read::Reader;
use super::super::reply::kind;
use super::super::{ErrorBody, Event, Header, NamedColumn, Opcode, SchemaChange};
use super::{Error, Result};

/// What a server sent.
#[derive(Clone, Debug)]
pub struct Answer<'a> {
    /// What stood before the message.
    pub before: Before<'a>,
    /// The message.
    pub message: Message<'a>,
}

/// What stands before the message in a body.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub struct Before<'a> {
    /// The trace of the request.
    pub tracing: Option<Uuid>,
    /// What the server would have the client know.
    pub warnings: Vec<&'a str>,
    /// Keys and values of extensions.
    pub payload: Vec<(&'a str, Option<&'a [u8]>)>,
}

/// The message of an answer, or an event.
#[derive(Clone, Debug)]
pub enum Message<'a> {
    /// The request failed.
    Error {
        /// In words.
        message: &'a str,
        /// Its code, and what goes with it.
        body: ErrorBody<'a>,
    },
    /// Go on.
    Ready,
    /// Say who you are, to this class.
    Authenticate(&'a str),
    /// Authentication goes on.
    AuthChallenge(Option<&'a [u8]>),
    /// Authenticated.
    AuthSuccess(Option<&'a [u8]>),
    /// Options with their values.
    Supported(Vec<(&'a str, Vec<&'a str>)>),
    /// Done.
    Void,
    /// Rows.
    Rows(Rows<'a>),
    /// The keyspace is in use.
    SetKeyspace(&'a str),
    /// The statement is prepared.
    Prepared(PreparedAnswer<'a>),
    /// The schema has changed.
    SchemaChange(SchemaChange<'a>),
    /// Something happened.
    Event(Event<'a>),
}

impl<'a> Answer<'a> {
    /// Reads the body of an answer or event; one that was compressed, after [`decompress`](super::super::decompress).
    ///
    /// # Errors
    /// If it is none.
    pub fn parse(header: &Header, body: &'a [u8]) -> Result<Answer<'a>> {
        let mut reader = Reader::new(body);
        let reader = &mut reader;
        let mut before = Before::default();
        if header.flags.tracing() {
            before.tracing = Some(Uuid::from_bytes(reader.array("the id of a trace")?));
        }
        if header.flags.warnings() {
            before.warnings = reader.string_list()?;
        }
        if header.flags.payload() {
            for _ in 0..reader.u16("a custom payload")? {
                before.payload.push((reader.string()?, reader.bytes()?));
            }
        }
        let message = match header.opcode {
            Opcode::Error => {
                let (message, body) = ErrorBody::parse(reader)?;
                Message::Error { message, body }
            }
            Opcode::Ready => Message::Ready,
            Opcode::Authenticate => Message::Authenticate(reader.string()?),
            Opcode::AuthChallenge => Message::AuthChallenge(reader.bytes()?),
            Opcode::AuthSuccess => Message::AuthSuccess(reader.bytes()?),
            Opcode::Supported => {
                let count = reader.u16("the number of options")?;
                let options = (0..count).map(|_| Ok((reader.string()?, reader.string_list()?)));
                Message::Supported(options.collect::<Result<_>>()?)
            }
            Opcode::Event => Message::Event(Event::parse(reader)?),
            Opcode::Result => match reader.i32("the kind of a result")? {
                kind::VOID => Message::Void,
                kind::ROWS => Message::Rows(Rows::parse(reader)?),
                kind::SET_KEYSPACE => Message::SetKeyspace(reader.string()?),
                kind::PREPARED => Message::Prepared(PreparedAnswer::parse(reader)?),
                kind::SCHEMA_CHANGE => Message::SchemaChange(SchemaChange::parse(reader)?),
                _ => return Err(Error::Malformed("a result of an unknown kind")),
            },
            other => return Err(Error::Direction(other as u8)),
        };
        Ok(Answer { before, message })
    }
}

/// The columns of a result, and where the next page begins.
#[derive(Clone, Default, Debug)]
struct ResultColumns<'a> {
    count: u32,
    columns: Vec<NamedColumn<'a>>,
    skipped: bool,
    paging_state: Option<&'a [u8]>,
}

impl<'a> ResultColumns<'a> {
    fn parse(reader: &mut Reader<'a>) -> Result<ResultColumns<'a>> {
        let of = reader.i32("the flags of a result")?;
        let count = read_count(reader, "the number of columns")?;
        let paging_state = if of & flags::MORE != 0 {
            Some(reader.bytes()?.unwrap_or_default())
        } else {
            None
        };
        let skipped = of & flags::NO_METADATA != 0;
        let columns = if skipped {
            Vec::new()
        } else {
            read_columns(reader, count, of & flags::GLOBAL != 0)?
        };
        Ok(ResultColumns {
            count,
            columns,
            skipped,
            paging_state,
        })
    }
}

/// A page of rows.
#[derive(Clone, Debug)]
pub struct Rows<'a> {
    /// The columns; none if they were left out.
    pub columns: Option<Vec<NamedColumn<'a>>>,
    /// How many columns there are.
    pub column_count: usize,
    /// Where the next page begins, if there is one.
    pub paging_state: Option<&'a [u8]>,
    row_count: u32,
    cells: &'a [u8],
}

impl<'a> Rows<'a> {
    fn parse(reader: &mut Reader<'a>) -> Result<Rows<'a>> {
        let of = ResultColumns::parse(reader)?;
        let row_count = read_count(reader, "the number of rows")?;
        if of.count == 0 && row_count > 0 {
            return Err(Error::Malformed("rows without columns"));
        }
        let before = *reader;
        for _ in 0..u64::from(row_count) * u64::from(of.count) {
            reader.bytes()?;
        }
        Ok(Rows {
            columns: (!of.skipped).then_some(of.columns),
            column_count: of.count as usize,
            paging_state: of.paging_state,
            row_count,
            cells: reader.since(&before),
        })
    }

    /// How many rows there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.row_count as usize
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.row_count == 0
    }

    /// The rows, each as its cells.
    #[must_use]
    pub fn iter(&self) -> RowsIter<'a> {
        RowsIter {
            left: self.row_count,
            columns: self.column_count,
            reader: Reader::new(self.cells),
        }
    }
}

impl<'a> IntoIterator for &Rows<'a> {
    type Item = Cells<'a>;
    type IntoIter = RowsIter<'a>;

    fn into_iter(self) -> RowsIter<'a> {
        self.iter()
    }
}

/// Walks the rows of a page.
#[derive(Clone, Debug)]
pub struct RowsIter<'a> {
    left: u32,
    columns: usize,
    reader: Reader<'a>,
}

impl<'a> Iterator for RowsIter<'a> {
    type Item = Cells<'a>;

    fn next(&mut self) -> Option<Cells<'a>> {
        self.left = self.left.checked_sub(1)?;
        let cells = Cells {
            left: self.columns,
            reader: self.reader,
        };
        for _ in 0..self.columns {
            self.reader.bytes().ok()?; // does not fail: `parse` has read the same bytes
        }
        Some(cells)
    }
}

/// Walks the cells of a row: the bytes of each, or null.
#[derive(Clone, Debug)]
pub struct Cells<'a> {
    left: usize,
    reader: Reader<'a>,
}

impl<'a> Iterator for Cells<'a> {
    type Item = Option<&'a [u8]>;

    fn next(&mut self) -> Option<Option<&'a [u8]>> {
        self.left = self.left.checked_sub(1)?;
        self.reader.bytes().ok() // does not fail: `parse` has read the same bytes
    }
}

/// What is known of a prepared statement.
#[derive(Clone, Debug)]
pub struct PreparedAnswer<'a> {
    /// What `EXECUTE` names it.
    pub id: &'a [u8],
    /// Its markers.
    pub markers: Vec<NamedColumn<'a>>,
    /// Which marker is which column of the partition key.
    pub key: Vec<u16>,
    /// The columns of its result.
    pub result: Vec<NamedColumn<'a>>,
    /// All flags of the markers.
    pub flags: i32,
}

impl<'a> PreparedAnswer<'a> {
    fn parse(reader: &mut Reader<'a>) -> Result<PreparedAnswer<'a>> {
        let id = reader.short_bytes()?;
        let of = reader.i32("the flags of the markers")?;
        let count = read_count(reader, "the number of markers")?;
        let key_count = read_count(reader, "the number of columns of the key")?;
        let key = (0..key_count).map(|_| reader.u16("a marker of the key"));
        let key = key.collect::<Result<_>>()?;
        let markers = if of & flags::NO_METADATA != 0 {
            Vec::new()
        } else {
            read_columns(reader, count, of & flags::GLOBAL != 0)?
        };
        let result = ResultColumns::parse(reader)?;
        Ok(PreparedAnswer {
            id,
            markers,
            key,
            result: result.columns,
            flags: of,
        })
    }
}
