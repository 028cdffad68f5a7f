//! Requests, written to the end of a buffer, uncompressed.

use super::super::values::flags;
use super::super::write::{
    OpenFrame, open_frame, put_bytes, put_bytes_map, put_consistency, put_i32, put_long_string, put_short_bytes,
    put_string, put_string_list, put_u16, put_value, short_count,
};
use super::super::{BatchStatement, BatchType, Flags, Opcode, VERSION};
use super::{Consistency, Events, Value};

/// On which stream a request is sent, and how.
#[derive(Clone, Copy, Default, Debug)]
pub struct Send<'a> {
    /// The stream: the answer has it, too.
    pub stream: i16,
    /// Asks for a trace.
    pub tracing: bool,
    /// Keys and values of extensions.
    pub payload: &'a [(&'a str, Option<&'a [u8]>)],
}

/// Values for markers.
#[derive(Clone, Copy, Debug)]
pub enum Values<'a> {
    /// In the order of the markers.
    Positional(&'a [Value<'a>]),
    /// By the names of the markers.
    Named(&'a [(&'a str, Value<'a>)]),
}

impl Values<'_> {
    fn is_empty(&self) -> bool {
        match self {
            Values::Positional(values) => values.is_empty(),
            Values::Named(values) => values.is_empty(),
        }
    }
}

/// What a statement is run with.
#[derive(Clone, Copy, Debug)]
pub struct Parameters<'a> {
    /// The consistency level; `ONE` by default.
    pub consistency: Consistency,
    /// Values for its markers.
    pub values: Values<'a>,
    /// Leave the columns out of the answer.
    pub skip_metadata: bool,
    /// Rows of a page.
    pub page_size: Option<i32>,
    /// Where the page before ended.
    pub paging_state: Option<&'a [u8]>,
    /// The level of a conditional write.
    pub serial_consistency: Option<Consistency>,
    /// The timestamp of statements that name none, microseconds.
    pub timestamp: Option<i64>,
}

impl Default for Parameters<'_> {
    fn default() -> Self {
        Parameters {
            consistency: Consistency::One,
            values: Values::Positional(&[]),
            skip_metadata: false,
            page_size: None,
            paging_state: None,
            serial_consistency: None,
            timestamp: None,
        }
    }
}

impl Parameters<'_> {
    fn put(&self, out: &mut Vec<u8>) {
        let mut of = 0;
        let mut flag = |bit, is: bool| of |= if is { bit } else { 0 };
        flag(flags::VALUES, !self.values.is_empty());
        flag(
            flags::NAMES,
            matches!(self.values, Values::Named(values) if !values.is_empty()),
        );
        flag(flags::SKIP_METADATA, self.skip_metadata);
        flag(flags::PAGE_SIZE, self.page_size.is_some());
        flag(flags::PAGING_STATE, self.paging_state.is_some());
        flag(flags::SERIAL_CONSISTENCY, self.serial_consistency.is_some());
        flag(flags::TIMESTAMP, self.timestamp.is_some());
        put_consistency(out, self.consistency);
        out.push(of);
        match self.values {
            values if values.is_empty() => {}
            Values::Positional(values) => put_values(out, values),
            Values::Named(values) => {
                put_u16(out, short_count(values.len()));
                for (name, value) in values {
                    put_string(out, name);
                    put_value(out, *value);
                }
            }
        }
        if let Some(rows) = self.page_size {
            put_i32(out, rows);
        }
        if self.paging_state.is_some() {
            put_bytes(out, self.paging_state);
        }
        if let Some(serial) = self.serial_consistency {
            put_consistency(out, serial);
        }
        if let Some(timestamp) = self.timestamp {
            out.extend_from_slice(&timestamp.to_be_bytes());
        }
    }
}

/// What a batch is run with.
#[derive(Clone, Copy, Debug)]
pub struct BatchParameters {
    /// The consistency level; `ONE` by default.
    pub consistency: Consistency,
    /// The level of conditional writes.
    pub serial_consistency: Option<Consistency>,
    /// The timestamp of statements that name none, microseconds.
    pub timestamp: Option<i64>,
}

impl Default for BatchParameters {
    fn default() -> Self {
        BatchParameters {
            consistency: Consistency::One,
            serial_consistency: None,
            timestamp: None,
        }
    }
}

fn put_values(out: &mut Vec<u8>, values: &[Value<'_>]) {
    put_u16(out, short_count(values.len()));
    for value in values {
        put_value(out, *value);
    }
}

impl Send<'_> {
    /// On a stream, without tracing or payload.
    #[must_use]
    pub fn on(stream: i16) -> Self {
        Send {
            stream,
            ..Send::default()
        }
    }

    fn open(&self, out: &mut Vec<u8>, opcode: Opcode) -> OpenFrame {
        let tracing = if self.tracing { Flags::TRACING } else { 0 };
        let payload = if self.payload.is_empty() { 0 } else { Flags::PAYLOAD };
        let frame = open_frame(out, VERSION, tracing | payload, self.stream, opcode);
        if !self.payload.is_empty() {
            put_bytes_map(out, self.payload);
        }
        frame
    }

    /// `STARTUP`; `CQL_VERSION` must be among the options.
    pub fn startup(&self, out: &mut Vec<u8>, options: &[(&str, &str)]) {
        let frame = self.open(out, Opcode::Startup);
        put_u16(out, short_count(options.len()));
        for (name, value) in options {
            put_string(out, name);
            put_string(out, value);
        }
        frame.close(out);
    }

    /// `OPTIONS`.
    pub fn options(&self, out: &mut Vec<u8>) {
        self.open(out, Opcode::Options).close(out);
    }

    /// `AUTH_RESPONSE`.
    pub fn auth_response(&self, out: &mut Vec<u8>, token: Option<&[u8]>) {
        let frame = self.open(out, Opcode::AuthResponse);
        put_bytes(out, token);
        frame.close(out);
    }

    /// `REGISTER`.
    pub fn register(&self, out: &mut Vec<u8>, events: Events) {
        let frame = self.open(out, Opcode::Register);
        let mut names = Vec::new();
        let mut name = |is: bool, name| names.extend(is.then_some(name));
        name(events.topology_change, "TOPOLOGY_CHANGE");
        name(events.status_change, "STATUS_CHANGE");
        name(events.schema_change, "SCHEMA_CHANGE");
        name(events.trace_complete, "TRACE_COMPLETE");
        put_string_list(out, &names);
        frame.close(out);
    }

    /// `QUERY`.
    pub fn query(&self, out: &mut Vec<u8>, text: &str, parameters: &Parameters<'_>) {
        let frame = self.open(out, Opcode::Query);
        put_long_string(out, text);
        parameters.put(out);
        frame.close(out);
    }

    /// `PREPARE`.
    pub fn prepare(&self, out: &mut Vec<u8>, text: &str) {
        let frame = self.open(out, Opcode::Prepare);
        put_long_string(out, text);
        frame.close(out);
    }

    /// `EXECUTE`.
    pub fn execute(&self, out: &mut Vec<u8>, id: &[u8], parameters: &Parameters<'_>) {
        let frame = self.open(out, Opcode::Execute);
        put_short_bytes(out, id);
        parameters.put(out);
        frame.close(out);
    }

    /// `BATCH`; the iterator's length is asked first.
    pub fn batch<'s>(
        &self,
        out: &mut Vec<u8>,
        batch_type: BatchType,
        statements: impl ExactSizeIterator<Item = (BatchStatement<'s>, &'s [Value<'s>])>,
        parameters: &BatchParameters,
    ) {
        let frame = self.open(out, Opcode::Batch);
        out.push(batch_type as u8);
        put_u16(out, short_count(statements.len()));
        for (statement, values) in statements {
            match statement {
                BatchStatement::Query(text) => {
                    out.push(0);
                    put_long_string(out, text);
                }
                BatchStatement::Prepared(id) => {
                    out.push(1);
                    put_short_bytes(out, id);
                }
            }
            put_values(out, values);
        }
        Parameters {
            consistency: parameters.consistency,
            serial_consistency: parameters.serial_consistency,
            timestamp: parameters.timestamp,
            ..Parameters::default()
        }
        .put(out);
        frame.close(out);
    }
}
