//! Answers (specification, section 4.2), written to the end of a buffer, uncompressed.

use uuid::Uuid;

use super::header::ANSWER_BIT;
use super::write::{
    OpenFrame, open_frame, put_bytes, put_bytes_map, put_i32, put_short_bytes, put_string, put_string_list, put_u16,
    short_count,
};
use super::{Error, ErrorBody, Flags, HEADER_LEN, Metadata, Opcode, RowsWriter, SchemaChange, VERSION};

/// What a result is.
pub(super) mod kind {
    pub(crate) const VOID: i32 = 0x0001;
    pub(crate) const ROWS: i32 = 0x0002;
    pub(crate) const SET_KEYSPACE: i32 = 0x0003;
    pub(crate) const PREPARED: i32 = 0x0004;
    pub(crate) const SCHEMA_CHANGE: i32 = 0x0005;
}

/// Whom an answer is for, and what stands before the message in its body.
///
/// ```
/// use scrollback_cql::frame::{ErrorBody, Reply};
///
/// let mut out = Vec::new();
/// Reply::to(5).error(&mut out, "No keyspace has been specified", &ErrorBody::Invalid);
/// assert_eq!(out[..9], [0x84, 0, 0, 5, 0, 0, 0, 0, 36]);
/// ```
#[derive(Clone, Copy, Default, Debug)]
pub struct Reply<'a> {
    /// The stream of the request.
    pub stream: i16,
    /// The trace of the request, if it asked for one.
    pub tracing: Option<Uuid>,
    /// What the client should know; at most 65535.
    pub warnings: &'a [String],
    /// Keys and values of extensions.
    pub payload: &'a [(&'a str, Option<&'a [u8]>)],
}

/// What a `PREPARE` is answered with.
#[derive(Clone, Copy, Debug)]
pub struct Prepared<'a> {
    /// What the client sends to run it, at most 65535 bytes.
    pub id: &'a [u8],
    /// Its markers.
    pub markers: &'a Metadata,
    /// Which marker is which column of the partition key; empty unless all of them are markers.
    pub key: &'a [u16],
    /// The columns of its result; none if it has no rows.
    pub result: Option<&'a Metadata>,
    /// Further bits of the markers' flags, for extensions; 0 otherwise.
    pub marks: i32,
}

impl<'a> Reply<'a> {
    /// An answer on a stream, with nothing before the message.
    #[must_use]
    pub fn to(stream: i16) -> Reply<'a> {
        Reply {
            stream,
            ..Reply::default()
        }
    }

    fn open(&self, out: &mut Vec<u8>, opcode: Opcode) -> OpenFrame {
        let mut flags = 0;
        let mut flag = |bit, is: bool| flags |= if is { bit } else { 0 };
        flag(Flags::TRACING, self.tracing.is_some());
        flag(Flags::WARNINGS, !self.warnings.is_empty());
        flag(Flags::PAYLOAD, !self.payload.is_empty());
        let frame = open_frame(out, ANSWER_BIT | VERSION, flags, self.stream, opcode);
        if let Some(tracing) = &self.tracing {
            out.extend_from_slice(tracing.as_bytes());
        }
        if !self.warnings.is_empty() {
            put_string_list(out, self.warnings);
        }
        if !self.payload.is_empty() {
            put_bytes_map(out, self.payload);
        }
        frame
    }

    fn result(&self, out: &mut Vec<u8>, kind: i32) -> OpenFrame {
        let frame = self.open(out, Opcode::Result);
        put_i32(out, kind);
        frame
    }

    /// `READY`: to `STARTUP` without authentication, and to `REGISTER`.
    pub fn ready(&self, out: &mut Vec<u8>) {
        self.open(out, Opcode::Ready).close(out);
    }

    /// `SUPPORTED`: each option with its values.
    pub fn supported<K: AsRef<str>, V: AsRef<str>>(&self, out: &mut Vec<u8>, options: &[(K, &[V])]) {
        let frame = self.open(out, Opcode::Supported);
        put_u16(out, short_count(options.len()));
        for (name, values) in options {
            put_string(out, name.as_ref());
            put_string_list(out, values);
        }
        frame.close(out);
    }

    /// `AUTHENTICATE`: with the class that drivers know, as `org.apache.cassandra.auth.PasswordAuthenticator`.
    pub fn authenticate(&self, out: &mut Vec<u8>, class: &str) {
        let frame = self.open(out, Opcode::Authenticate);
        put_string(out, class);
        frame.close(out);
    }

    /// `AUTH_CHALLENGE`.
    pub fn auth_challenge(&self, out: &mut Vec<u8>, token: Option<&[u8]>) {
        let frame = self.open(out, Opcode::AuthChallenge);
        put_bytes(out, token);
        frame.close(out);
    }

    /// `AUTH_SUCCESS`.
    pub fn auth_success(&self, out: &mut Vec<u8>, token: Option<&[u8]>) {
        let frame = self.open(out, Opcode::AuthSuccess);
        put_bytes(out, token);
        frame.close(out);
    }

    /// `ERROR`; of the message the first 65535 bytes.
    pub fn error(&self, out: &mut Vec<u8>, message: &str, body: &ErrorBody<'_>) {
        let frame = self.open(out, Opcode::Error);
        body.put(out, message);
        frame.close(out);
    }

    /// `ERROR`, for bytes that are no request.
    pub fn refuse(&self, out: &mut Vec<u8>, error: &Error) {
        self.error(out, &error.to_string(), &ErrorBody::from(error));
    }

    /// A result without rows.
    pub fn void(&self, out: &mut Vec<u8>) {
        self.result(out, kind::VOID).close(out);
    }

    /// The answer to `USE`.
    pub fn set_keyspace(&self, out: &mut Vec<u8>, keyspace: &str) {
        let frame = self.result(out, kind::SET_KEYSPACE);
        put_string(out, keyspace);
        frame.close(out);
    }

    /// The answer to DDL.
    pub fn schema_change(&self, out: &mut Vec<u8>, change: &SchemaChange<'_>) {
        let frame = self.result(out, kind::SCHEMA_CHANGE);
        change.put(out);
        frame.close(out);
    }

    /// The answer to `PREPARE`.
    pub fn prepared(&self, out: &mut Vec<u8>, prepared: &Prepared<'_>) {
        let frame = self.result(out, kind::PREPARED);
        put_short_bytes(out, prepared.id);
        prepared.markers.put_markers(out, prepared.key, prepared.marks);
        match prepared.result {
            Some(result) => result.put(out, false),
            None => {
                put_i32(out, super::columns::flags::NO_METADATA);
                put_i32(out, 0);
            }
        }
        frame.close(out);
    }

    /// Begins a page of rows. `skip_metadata` leaves the columns out: only if the request asked for it, and the client has seen the
    /// very same ones.
    pub fn rows<'o>(&self, out: &'o mut Vec<u8>, metadata: &Metadata, skip_metadata: bool) -> RowsWriter<'o> {
        let frame = self.open(out, Opcode::Result);
        RowsWriter::new(out, frame, metadata, skip_metadata)
    }
}

/// Puts warnings into an answer that is written already: the frame that begins at `frame` and is the last in `out`. For what is known
/// only when the rows have been read.
///
/// # Panics
/// If no answer begins there, it has warnings, or it becomes longer than 256 MiB.
pub fn add_warnings(out: &mut Vec<u8>, frame: usize, warnings: &[String]) {
    let flags = out[frame + 1];
    assert_eq!(
        flags & (Flags::WARNINGS | Flags::COMPRESSED),
        0,
        "the answer has no warnings and is not compressed"
    );
    let mut list = Vec::new();
    put_string_list(&mut list, warnings);
    // The trace comes first, then warnings.
    let trace = if flags & Flags::TRACING != 0 { 16 } else { 0 };
    let at = frame + HEADER_LEN + trace;
    out.splice(at..at, list);
    out[frame + 1] |= Flags::WARNINGS;
    OpenFrame { start: frame }.close(out);
}
