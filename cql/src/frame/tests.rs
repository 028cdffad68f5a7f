//! Every message: its bytes, its round trip, and what is refused.

use model::{CqlType, UserType};
use uuid::Uuid;

use super::client::{self, Answer, Message, Send};
use super::*;

/// The one frame of `bytes`, as a server reads it.
fn request(bytes: &[u8]) -> (Header, &[u8]) {
    one(Frames::of_requests(1 << 20), bytes)
}

/// The one frame of `bytes`, as a client reads it.
fn answer(bytes: &[u8]) -> (Header, &[u8]) {
    one(Frames::of_answers(1 << 20), bytes)
}

fn one(mut frames: Frames, bytes: &[u8]) -> (Header, &[u8]) {
    match frames.next(bytes) {
        Step::Frame { header, body } => {
            assert_eq!(body.end, bytes.len());
            (header, &bytes[body])
        }
        other => panic!("no frame: {other:?}"),
    }
}

fn parsed(bytes: &[u8]) -> (Header, Request<'_>) {
    let (header, body) = request(bytes);
    (header, Request::parse(&header, body).unwrap())
}

fn message(bytes: &[u8]) -> Message<'_> {
    let (header, body) = answer(bytes);
    Answer::parse(&header, body).unwrap().message
}

fn written(write: impl FnOnce(&mut Vec<u8>)) -> Vec<u8> {
    // What is there before stays.
    let mut out = b"before".to_vec();
    write(&mut out);
    assert!(out.starts_with(b"before"));
    out.split_off(6)
}

/// Written out from the specification.
#[test]
fn golden_requests() {
    let bytes = written(|out| Send::on(0x0102).startup(out, &[("CQL_VERSION", "3.0.0")]));
    assert_eq!(
        bytes,
        b"\x04\x00\x01\x02\x01\x00\x00\x00\x16\x00\x01\x00\x0bCQL_VERSION\x00\x053.0.0"
    );
    let parameters = client::Parameters {
        consistency: Consistency::LocalQuorum,
        values: client::Values::Positional(&[Value::Bytes(b"v"), Value::Null, Value::Unset, Value::Bytes(b"")]),
        skip_metadata: true,
        page_size: Some(100),
        paging_state: Some(b"st"),
        serial_consistency: Some(Consistency::LocalSerial),
        timestamp: Some(-2),
    };
    let bytes = written(|out| Send::on(-3).execute(out, b"\xaa\xbb", &parameters));
    assert_eq!(
        bytes,
        b"\x04\x00\xff\xfd\x0a\x00\x00\x00\x2e\
          \x00\x02\xaa\xbb\x00\x06\x3f\
          \x00\x04\x00\x00\x00\x01v\xff\xff\xff\xff\xff\xff\xff\xfe\x00\x00\x00\x00\
          \x00\x00\x00\x64\x00\x00\x00\x02st\x00\x09\xff\xff\xff\xff\xff\xff\xff\xfe"
    );
    let (header, request) = parsed(&bytes);
    assert_eq!((header.stream, header.opcode), (-3, Opcode::Execute));
    let Request::Execute { id, parameters } = request else {
        panic!("{request:?}")
    };
    assert_eq!(id, b"\xaa\xbb");
    assert_eq!(parameters.consistency, Consistency::LocalQuorum);
    assert!(parameters.skip_metadata);
    assert_eq!(parameters.page_size, Some(100));
    assert_eq!(parameters.paging_state, Some(&b"st"[..]));
    assert_eq!(parameters.serial_consistency, Some(Consistency::LocalSerial));
    assert_eq!(parameters.timestamp, Some(-2));
    assert_eq!(
        parameters.values.iter().collect::<Vec<_>>(),
        [
            (None, Value::Bytes(b"v")),
            (None, Value::Null),
            (None, Value::Unset),
            (None, Value::Bytes(b""))
        ]
    );
}

#[test]
fn golden_answers() {
    assert_eq!(
        written(|out| Reply::to(1).ready(out)),
        b"\x84\x00\x00\x01\x02\x00\x00\x00\x00"
    );
    assert_eq!(
        written(|out| Reply::to(1).void(out)),
        b"\x84\x00\x00\x01\x08\x00\x00\x00\x04\x00\x00\x00\x01"
    );
    let id = ErrorBody::Unprepared { id: b"\x01\x02" };
    assert_eq!(
        written(|out| Reply::to(2).error(out, "no", &id)),
        b"\x84\x00\x00\x02\x00\x00\x00\x00\x0c\x00\x00\x25\x00\x00\x02no\x00\x02\x01\x02"
    );
    let up = Event::Up("127.0.0.1:9042".parse().unwrap());
    assert_eq!(
        written(|out| up.put(out)),
        b"\x84\x00\xff\xff\x0c\x00\x00\x00\x1c\x00\x0dSTATUS_CHANGE\x00\x02UP\x04\x7f\x00\x00\x01\x00\x00\x23\x52"
    );
    let metadata = Metadata::new([
        Column {
            keyspace: "k",
            table: "t",
            name: "a",
            ty: &CqlType::Int,
        },
        Column {
            keyspace: "k",
            table: "t",
            name: "b",
            ty: &CqlType::Text.set(),
        },
    ]);
    let page = written(|out| {
        let mut rows = Reply::to(3).rows(out, &metadata, false);
        rows.value(Some(&[0, 0, 0, 9]));
        rows.value(None);
        rows.finish(Some(b"ps"));
    });
    assert_eq!(
        page,
        b"\x84\x00\x00\x03\x08\x00\x00\x00\x34\x00\x00\x00\x02\x00\x00\x00\x03\x00\x00\x00\x02\x00\x00\x00\x02ps\
          \x00\x01k\x00\x01t\x00\x01a\x00\x09\x00\x01b\x00\x22\x00\x0d\
          \x00\x00\x00\x01\x00\x00\x00\x04\x00\x00\x00\x09\xff\xff\xff\xff"
    );
}

/// In the order of the specification: trace, warnings, payload.
#[test]
fn what_stands_before_the_message() {
    let warnings = ["one".to_owned(), "two".to_owned()];
    let payload = [("key", Some(&b"bytes"[..])), ("null", None)];
    let reply = Reply {
        stream: 4,
        tracing: Some(Uuid::from_bytes([7; 16])),
        warnings: &warnings,
        payload: &payload,
    };
    let bytes = written(|out| reply.void(out));
    assert_eq!(bytes[1], 0x02 | 0x04 | 0x08);
    assert_eq!(bytes[9..25], [7; 16]);
    assert_eq!(&bytes[25..37], b"\x00\x02\x00\x03one\x00\x03two");
    let (header, body) = answer(&bytes);
    let parsed = Answer::parse(&header, body).unwrap();
    assert_eq!(parsed.before.tracing, Some(Uuid::from_bytes([7; 16])));
    assert_eq!(parsed.before.warnings, ["one", "two"]);
    assert_eq!(parsed.before.payload, payload);
    assert!(matches!(parsed.message, Message::Void));
}

#[test]
fn a_payload_of_a_request_is_passed_over() {
    let send = Send {
        stream: 1,
        tracing: true,
        payload: &[("a", Some(b"xyz")), ("b", None)],
    };
    let bytes = written(|out| send.prepare(out, "SELECT"));
    let (header, request) = parsed(&bytes);
    assert!(header.flags.tracing() && header.flags.payload());
    assert!(matches!(request, Request::Prepare { text: "SELECT" }));
}

#[test]
fn startup_options_are_found_whatever_their_case() {
    let bytes = written(|out| {
        Send::on(0).startup(
            out,
            &[
                ("cql_version", "3.0.0"),
                ("CQL_VERSION", "3.4.5"),
                ("COMPRESSION", "lz4"),
                ("THROW_ON_OVERLOAD", "1"),
            ],
        );
    });
    let (_, Request::Startup(startup)) = parsed(&bytes) else {
        panic!("no startup")
    };
    assert_eq!(startup.cql_version(), Some("3.4.5"), "the last counts");
    assert_eq!(startup.compression(), Some("lz4"));
    assert!(startup.throw_on_overload());
    assert_eq!(startup.get("DRIVER_NAME"), None);
    assert_eq!(startup.options().count(), 4);
}

#[test]
fn events_are_registered_for() {
    let all = Events {
        topology_change: true,
        status_change: true,
        schema_change: true,
        trace_complete: true,
    };
    let (status, schema) = (
        Events {
            status_change: true,
            ..Events::default()
        },
        Events {
            schema_change: true,
            ..Events::default()
        },
    );
    for events in [all, status, Events::default()] {
        let bytes = written(|out| Send::on(0).register(out, events));
        assert!(matches!(parsed(&bytes).1, Request::Register(found) if found == events));
    }
    let both = status.and(schema);
    assert!(both.status_change && both.schema_change && !both.topology_change);

    let body = b"\x00\x02\x00\x0dschema_change\x00\x05OTHER";
    let header = Header {
        flags: Flags::default(),
        stream: 0,
        opcode: Opcode::Register,
        length: body.len() as u32,
    };
    let refused = Request::parse(&header, body).unwrap_err();
    assert_eq!(refused.to_string(), "Invalid value 'OTHER' for Type");
}

#[test]
fn named_values() {
    let named = [("a", Value::Bytes(b"1")), ("", Value::Null)];
    let parameters = client::Parameters {
        values: client::Values::Named(&named),
        ..client::Parameters::default()
    };
    let bytes = written(|out| Send::on(0).query(out, "Q", &parameters));
    let (_, Request::Query { text: "Q", parameters }) = parsed(&bytes) else {
        panic!("no query")
    };
    assert!(parameters.values.is_named() && parameters.values.len() == 2);
    let found = parameters.values.iter().map(|(name, value)| (name.unwrap(), value));
    assert_eq!(found.collect::<Vec<_>>(), named);
}

#[test]
fn batches_are_walked_in_place() {
    let values = [Value::Bytes(b"1"), Value::Unset];
    let statements = [
        (BatchStatement::Query("INSERT"), &values[..]),
        (BatchStatement::Prepared(b"id"), &[]),
    ];
    let parameters = client::BatchParameters {
        consistency: Consistency::Two,
        serial_consistency: Some(Consistency::Serial),
        timestamp: Some(5),
    };
    let bytes = written(|out| Send::on(0).batch(out, BatchType::Unlogged, statements.into_iter(), &parameters));
    let (_, Request::Batch(batch)) = parsed(&bytes) else {
        panic!("no batch")
    };
    assert_eq!((batch.batch_type, batch.len()), (BatchType::Unlogged, 2));
    assert_eq!(batch.consistency, Consistency::Two);
    assert_eq!(batch.serial_consistency, Some(Consistency::Serial));
    assert_eq!(batch.timestamp, Some(5));
    let found = batch.statements().map(|(statement, bound)| {
        let bound = bound.iter().map(|(name, value)| {
            assert_eq!(name, None);
            value
        });
        (statement, bound.collect::<Vec<_>>())
    });
    let sent = statements.map(|(statement, bound)| (statement, bound.to_vec()));
    assert_eq!(found.collect::<Vec<_>>(), sent);

    // No statements are a batch, too.
    let bytes = written(|out| {
        Send::on(0).batch(
            out,
            BatchType::Logged,
            [].into_iter(),
            &client::BatchParameters::default(),
        );
    });
    assert!(matches!(parsed(&bytes).1, Request::Batch(batch) if batch.is_empty()));
}

/// A header before a body that was written by hand.
fn refused(opcode: Opcode, body: &[u8]) -> Error {
    let header = Header {
        flags: Flags::default(),
        stream: 0,
        opcode,
        length: body.len() as u32,
    };
    Request::parse(&header, body).expect_err("is no request")
}

#[test]
fn what_is_refused_in_requests() {
    let query = |after: &[u8]| [b"\x00\x00\x00\x01Q\x00\x01", after].concat();
    let cases: [(Opcode, Vec<u8>, Error, &str); 13] = [
        (
            Opcode::Query,
            query(b"\x01\x00\x01\xff\xff\xff\xfd"),
            Error::ValueLength(-3),
            "Invalid ByteBuf length -3",
        ),
        (
            Opcode::Query,
            query(b"\x04\x00\x00\x00\x00"),
            Error::PageSize,
            "The page size cannot be 0",
        ),
        (
            Opcode::Query,
            query(b"\x20\x80\x00\x00\x00\x00\x00\x00\x00"),
            Error::Timestamp,
            "Out of bound timestamp, must be in [-9223372036854775807, 9223372036854775807] (got -9223372036854775808)",
        ),
        (
            Opcode::Query,
            b"\x00\x00\x00\x01Q\x00\x0b\x00".to_vec(),
            Error::Consistency(11),
            "Unknown code 11 for a consistency level",
        ),
        (
            Opcode::Query,
            b"\x00\x00\x00\x01\xff\x00\x01\x00".to_vec(),
            Error::Utf8,
            "Cannot decode string as UTF8",
        ),
        (
            Opcode::Query,
            b"\xff\xff\xff\xff\x00\x01\x00".to_vec(),
            Error::Short("an UTF8 serialized string preceded by its 4 bytes length"),
            "Not enough bytes to read an UTF8 serialized string preceded by its 4 bytes length",
        ),
        (
            Opcode::Query,
            query(b"\x01\xff\xff"),
            Error::Short("a value preceded by its 4 bytes length"),
            "Not enough bytes to read a value preceded by its 4 bytes length",
        ),
        (
            Opcode::Query,
            query(b"\x41\x00\x01\x00\x01\xff\x00\x00\x00\x00"),
            Error::Utf8,
            "Cannot decode string as UTF8",
        ),
        (
            Opcode::Batch,
            b"\x03\x00\x00\x00\x01\x00".to_vec(),
            Error::BatchType(3),
            "Invalid BATCH message type 3",
        ),
        (
            Opcode::Batch,
            b"\x00\x00\x01\x02".to_vec(),
            Error::BatchKind(2),
            "Invalid query kind in BATCH messages. Must be 0 or 1 but got 2",
        ),
        (
            Opcode::Batch,
            b"\x00\x00\x01\x01\x00\x01i\x00\x01\x00\x00\x00\x00\x00\x01\x40".to_vec(),
            Error::BatchNames,
            "Named values are not supported in BATCH messages",
        ),
        (
            Opcode::Batch,
            b"\x00\x00\x00\x00\x01\x20\x80\x00\x00\x00\x00\x00\x00\x00".to_vec(),
            Error::Timestamp,
            "Out of bound timestamp, must be in [-9223372036854775807, 9223372036854775807] (got -9223372036854775808)",
        ),
        (
            Opcode::Ready,
            Vec::new(),
            Error::Direction(2),
            "Wrong protocol direction for opcode 2",
        ),
    ];
    for (opcode, body, error, text) in cases {
        let found = refused(opcode, &body);
        assert_eq!(found, error);
        assert_eq!(found.to_string(), text);
        assert_eq!(found.code(), ErrorCode::Protocol);
    }
}

#[test]
fn what_is_allowed_in_requests() {
    let parse = |body: &[u8]| -> Option<(Option<u32>, Option<i64>, usize, bool)> {
        let header = Header {
            flags: Flags::default(),
            stream: 0,
            opcode: Opcode::Query,
            length: body.len() as u32,
        };
        match Request::parse(&header, body).ok()? {
            Request::Query { parameters: of, .. } => {
                Some((of.page_size, of.timestamp, of.values.len(), of.paging_state.is_some()))
            }
            _ => None,
        }
    };
    let query = |after: &[u8]| [b"\x00\x00\x00\x01Q\x00\x01", after].concat();
    // A negative page size: no pages. A null paging state: none.
    assert_eq!(parse(&query(b"\x04\xff\xff\xff\x9c")), Some((None, None, 0, false)));
    assert_eq!(parse(&query(b"\x08\xff\xff\xff\xff")), Some((None, None, 0, false)));
    // Names without values; bytes after the end; flags that nobody knows.
    assert_eq!(parse(&query(b"\x40")), Some((None, None, 0, false)));
    assert_eq!(parse(&query(b"\x00more")), Some((None, None, 0, false)));
    assert_eq!(parse(&query(b"\x80")), Some((None, None, 0, false)));
    assert_eq!(
        parse(&query(b"\x21\x00\x00\x80\x00\x00\x00\x00\x00\x00\x01")),
        Some((None, Some(i64::MIN + 1), 0, false))
    );
    // Names in a batch without values, as there are none to be named.
    let header = Header {
        flags: Flags::default(),
        stream: 0,
        opcode: Opcode::Batch,
        length: 6,
    };
    assert!(Request::parse(&header, b"\x00\x00\x00\x00\x01\x40").is_ok());
}

/// The bytes of a request of every kind.
fn all_requests() -> Vec<Vec<u8>> {
    let send = Send {
        stream: 3,
        tracing: false,
        payload: &[("k", Some(b"v"))],
    };
    let values = [Value::Bytes(b"abc"), Value::Null, Value::Unset];
    let parameters = client::Parameters {
        values: client::Values::Positional(&values),
        page_size: Some(7),
        paging_state: Some(b"state"),
        serial_consistency: Some(Consistency::Serial),
        timestamp: Some(1),
        ..client::Parameters::default()
    };
    let named = client::Parameters {
        values: client::Values::Named(&[("n", Value::Bytes(b"x")), ("m", Value::Null)]),
        ..parameters
    };
    let statements = [
        (BatchStatement::Query("A"), &values[..]),
        (BatchStatement::Prepared(b"i"), &values[..1]),
    ];
    let batch = client::BatchParameters {
        timestamp: Some(1),
        serial_consistency: Some(Consistency::Serial),
        ..client::BatchParameters::default()
    };
    let events = Events {
        schema_change: true,
        status_change: true,
        ..Events::default()
    };
    vec![
        written(|out| send.startup(out, &[("CQL_VERSION", "3.0.0"), ("A", "B")])),
        written(|out| Send::on(0).auth_response(out, Some(b"\0u\0p"))),
        written(|out| send.register(out, events)),
        written(|out| send.query(out, "SELECT", &parameters)),
        written(|out| send.query(out, "SELECT", &named)),
        written(|out| send.prepare(out, "SELECT")),
        written(|out| send.execute(out, b"id", &parameters)),
        written(|out| send.batch(out, BatchType::Counter, statements.into_iter(), &batch)),
    ]
}

/// Every type that can be sent, and one of each kind of nesting.
fn all_types() -> Vec<CqlType> {
    let address = UserType::new("k", "address", [("street", CqlType::Text), ("nr", CqlType::Int.list())]);
    vec![
        CqlType::Ascii,
        CqlType::BigInt,
        CqlType::Blob,
        CqlType::Boolean,
        CqlType::Decimal,
        CqlType::Double,
        CqlType::Float,
        CqlType::Int,
        CqlType::Timestamp,
        CqlType::Uuid,
        CqlType::Text,
        CqlType::Varint,
        CqlType::TimeUuid,
        CqlType::Inet,
        CqlType::Date,
        CqlType::Time,
        CqlType::SmallInt,
        CqlType::TinyInt,
        CqlType::Duration,
        CqlType::Int.list(),
        CqlType::Text.set(),
        CqlType::Text.map(CqlType::Duration.list()),
        CqlType::tuple([CqlType::Int, CqlType::tuple([CqlType::Blob])]),
        CqlType::udt(address),
    ]
}

/// The bytes of an answer of every kind.
fn all_answers() -> Vec<Vec<u8>> {
    let warnings = ["careful".to_owned()];
    let payload = [("k", Some(&b"v"[..]))];
    let before = Reply {
        stream: 9,
        tracing: Some(Uuid::from_bytes([1; 16])),
        warnings: &warnings,
        payload: &payload,
    };
    let reply = Reply::to(1);
    let types = all_types();
    let names: Vec<String> = (0..types.len()).map(|n| format!("c{n}")).collect();
    let column = |(ty, name)| Column {
        keyspace: "k",
        table: "t",
        name,
        ty,
    };
    let metadata = Metadata::new(types.iter().zip(names.iter().map(String::as_str)).map(column));
    let two = Metadata::new(types[..2].iter().zip(["a", "b"]).map(|(ty, name)| Column {
        keyspace: "k",
        table: name,
        name,
        ty,
    }));
    let mut all = vec![
        written(|out| before.ready(out)),
        written(|out| reply.supported(out, &[("CQL_VERSION", &["3.4.7"][..]), ("COMPRESSION", &[])])),
        written(|out| reply.authenticate(out, "a.Class")),
        written(|out| reply.auth_challenge(out, Some(b"c"))),
        written(|out| reply.auth_success(out, None)),
        written(|out| before.void(out)),
        written(|out| reply.set_keyspace(out, "ks")),
        written(|out| {
            reply.prepared(
                out,
                &Prepared {
                    id: b"0123456789abcdef",
                    markers: &two,
                    key: &[1, 0],
                    result: Some(&metadata),
                    marks: 0,
                },
            );
        }),
        written(|out| {
            let mut rows = before.rows(out, &two, false);
            for cell in [Some(&b"a"[..]), None, Some(b""), Some(b"longer")] {
                rows.value(cell);
            }
            rows.finish(Some(b"more"));
        }),
        written(|out| {
            let mut rows = reply.rows(out, &two, true);
            rows.value(None);
            rows.value(None);
            rows.finish(None);
        }),
    ];
    all.extend(
        all_errors()
            .iter()
            .map(|body| written(|out| before.error(out, "why", body))),
    );
    for change in all_changes() {
        all.push(written(|out| reply.schema_change(out, &change)));
        all.push(written(|out| Event::SchemaChange(change).put(out)));
    }
    all
}

fn all_errors() -> Vec<ErrorBody<'static>> {
    let consistency = Consistency::Quorum;
    vec![
        ErrorBody::Server,
        ErrorBody::Protocol,
        ErrorBody::BadCredentials,
        ErrorBody::Unavailable {
            consistency,
            required: 2,
            alive: 1,
        },
        ErrorBody::Overloaded,
        ErrorBody::IsBootstrapping,
        ErrorBody::Truncate,
        ErrorBody::WriteTimeout {
            consistency,
            received: 1,
            block_for: 2,
            write_type: WriteType::Cas,
        },
        ErrorBody::ReadTimeout {
            consistency,
            received: 1,
            block_for: 2,
            data_present: true,
        },
        ErrorBody::ReadFailure {
            consistency,
            received: 0,
            block_for: 1,
            failures: 1,
            data_present: false,
        },
        ErrorBody::FunctionFailure {
            keyspace: "k",
            function: "f",
            arguments: vec!["int", "text"],
        },
        ErrorBody::WriteFailure {
            consistency,
            received: 0,
            block_for: 1,
            failures: 1,
            write_type: WriteType::UnloggedBatch,
        },
        ErrorBody::Syntax,
        ErrorBody::Unauthorized,
        ErrorBody::Invalid,
        ErrorBody::Config,
        ErrorBody::AlreadyExists {
            keyspace: "k",
            table: "",
        },
        ErrorBody::Unprepared { id: b"id" },
    ]
}

fn all_changes() -> Vec<SchemaChange<'static>> {
    let of = |change, target| SchemaChange {
        change,
        keyspace: "ks",
        target,
    };
    vec![
        of(Change::Created, Target::Keyspace),
        of(Change::Updated, Target::Table("t")),
        of(Change::Dropped, Target::Type("ty")),
        of(Change::Created, Target::Function("f", vec!["int"])),
        of(Change::Dropped, Target::Aggregate("a", Vec::new())),
    ]
}

#[test]
fn errors_and_changes_come_back() {
    for body in all_errors() {
        let bytes = written(|out| Reply::to(1).error(out, "why", &body));
        let Message::Error {
            message: text,
            body: found,
        } = message(&bytes)
        else {
            panic!("no error")
        };
        assert_eq!((text, &found), ("why", &body));
    }
    for change in all_changes() {
        let bytes = written(|out| Reply::to(1).schema_change(out, &change));
        assert!(matches!(message(&bytes), Message::SchemaChange(found) if found == change));
        let event = Event::SchemaChange(change);
        let bytes = written(|out| event.put(out));
        assert!(matches!(message(&bytes), Message::Event(found) if found == event));
        assert_eq!(answer(&bytes).0.stream, EVENT_STREAM);
    }
    let (v4, v6) = ("10.0.0.1:9042".parse().unwrap(), "[::1]:19042".parse().unwrap());
    for event in [
        Event::NewNode(v4),
        Event::RemovedNode(v6),
        Event::Up(v6),
        Event::Down(v4),
    ] {
        let bytes = written(|out| event.put(out));
        assert!(matches!(message(&bytes), Message::Event(found) if found == event));
    }
}

#[test]
fn types_come_back() {
    for ty in all_types() {
        let mut out = Vec::new();
        put_type(&mut out, &ty);
        let mut reader = read::Reader::new(&out);
        assert_eq!(types::read_type(&mut reader).unwrap(), ty);
        assert_eq!(reader.rest(), b"");
        // Frozen is not seen.
        let mut frozen = Vec::new();
        put_type(&mut frozen, &ty.frozen());
        assert_eq!(frozen, out);
    }
}

#[test]
fn a_type_nested_for_ever_is_refused() {
    let deep = [0x00, 0x20].repeat(1 << 16);
    let error = types::read_type(&mut read::Reader::new(&deep)).unwrap_err();
    assert_eq!(error, Error::Malformed("a type is nested too deeply"));
}

#[test]
fn prepared_statements_come_back() {
    let markers = Metadata::new(
        [("k", "t", "a"), ("k", "u", "b")].map(|(keyspace, table, name)| Column {
            keyspace,
            table,
            name,
            ty: &CqlType::Int,
        }),
    );
    let prepared = Prepared {
        id: b"id",
        markers: &markers,
        key: &[1, 0],
        result: None,
        marks: i32::MIN,
    };
    let bytes = written(|out| Reply::to(1).prepared(out, &prepared));
    let Message::Prepared(found) = message(&bytes) else {
        panic!("not prepared")
    };
    assert_eq!((found.id, &found.key[..]), (&b"id"[..], &[1, 0][..]));
    assert_eq!(found.flags, i32::MIN, "two tables: none is global");
    assert!(found.result.is_empty());
    let names = found.markers.iter().map(|of| (of.keyspace, of.table, of.name));
    assert_eq!(names.collect::<Vec<_>>(), [("k", "t", "a"), ("k", "u", "b")]);
}

#[test]
fn rows_come_back() {
    let ty = CqlType::Text.list();
    let metadata = Metadata::new(["a", "b"].map(|name| Column {
        keyspace: "k",
        table: "t",
        name,
        ty: &ty,
    }));
    for (skip, more) in [
        (false, None),
        (true, None),
        (false, Some(&b"next"[..])),
        (true, Some(b"")),
    ] {
        let bytes = written(|out| {
            let mut rows = Reply::to(1).rows(out, &metadata, skip);
            assert!(rows.is_empty());
            rows.value(Some(b"1"));
            let open = rows.open_value();
            put_bytes(rows.buffer(), Some(b"in place"));
            open.close(rows.buffer());
            assert_eq!(rows.rows(), 1);
            let open = rows.open_value();
            put_bytes(rows.buffer(), Some(b"never mind"));
            open.close_as_null(rows.buffer());
            assert_eq!(rows.rows(), 1);
            rows.value(Some(b""));
            rows.finish(more);
        });
        let Message::Rows(rows) = message(&bytes) else {
            panic!("no rows")
        };
        assert_eq!(rows.columns.is_none(), skip);
        assert_eq!(rows.paging_state, more);
        assert_eq!((rows.len(), rows.column_count), (2, 2));
        let found: Vec<Vec<_>> = rows.iter().map(Iterator::collect).collect();
        assert_eq!(
            found,
            [[Some(&b"1"[..]), Some(b"\x00\x00\x00\x08in place")], [None, Some(b"")]]
        );
        for column in rows.columns.unwrap_or_default() {
            assert_eq!((column.keyspace, column.table, &column.ty), ("k", "t", &ty));
        }
    }
}

#[test]
fn a_page_that_is_not_finished_takes_itself_back() {
    let metadata = Metadata::new([Column {
        keyspace: "k",
        table: "t",
        name: "a",
        ty: &CqlType::Int,
    }]);
    let mut out = Vec::new();
    Reply::to(1).ready(&mut out);
    let before = out.clone();
    let mut rows = Reply::to(2).rows(&mut out, &metadata, false);
    rows.value(Some(b"cell"));
    drop(rows);
    assert_eq!(out, before);
}

#[test]
#[should_panic(expected = "the last row is not whole")]
fn half_a_row_is_our_own_mistake() {
    let metadata = Metadata::new(["a", "b"].map(|name| Column {
        keyspace: "k",
        table: "t",
        name,
        ty: &CqlType::Int,
    }));
    let mut out = Vec::new();
    let mut rows = Reply::to(2).rows(&mut out, &metadata, false);
    rows.value(None);
    rows.finish(None);
}

#[test]
fn long_messages_are_cut_between_characters() {
    let long = "é".repeat(40_000);
    let bytes = written(|out| Reply::to(1).error(out, &long, &ErrorBody::Syntax));
    let Message::Error { message: text, .. } = message(&bytes) else {
        panic!("no error")
    };
    assert_eq!(text, "é".repeat(32_767));
}

#[test]
fn bodies_cut_anywhere_are_refused() {
    for bytes in all_requests() {
        let (header, body) = request(&bytes);
        assert!(Request::parse(&header, body).is_ok());
        for len in 0..body.len() {
            Request::parse(&header, &body[..len]).expect_err("is cut");
        }
    }
    for bytes in all_answers() {
        let (header, body) = answer(&bytes);
        Answer::parse(&header, body).unwrap();
        for len in 0..body.len() {
            Answer::parse(&header, &body[..len]).expect_err("is cut");
        }
    }
}

#[test]
fn other_versions_are_refused_in_words_that_drivers_know() {
    for (version, stream) in [(66, 5i16), (65, 0), (5, -1), (3, 7)] {
        let [high, low] = stream.to_be_bytes();
        let bytes = [version, 0, high, low, 5, 0, 0, 0, 0];
        let Step::Refused {
            stream: found,
            error,
            used,
        } = Frames::of_requests(1024).next(&bytes)
        else {
            panic!("not refused")
        };
        // gocql 2.1 stays with the version that was refused, unless it is told so on stream 0.
        assert_eq!((found, used), (0, 9));
        assert!(error.is_fatal());
        let answered = written(|out| Reply::to(found).refuse(out, &error));
        assert_eq!(answered[..5], [0x84, 0, 0, 0, 0]);
        let Message::Error { message: text, body } = message(&answered) else {
            panic!("no error")
        };
        assert_eq!(body, ErrorBody::Protocol);
        assert_eq!(
            text,
            format!("Invalid or unsupported protocol version ({version}); supported versions are (4/v4)")
        );
    }
    // Eight bytes were a header once.
    assert_eq!(
        Frames::of_requests(1024).next(&[2, 0, 0xfe, 5, 0, 0, 0, 0]),
        Step::Refused {
            stream: -2,
            error: Error::Version(2),
            used: 8
        }
    );
}

#[test]
fn headers_that_are_none() {
    let refused = |bytes: [u8; 9]| Header::parse(&bytes).expect_err("is none");
    assert_eq!(refused([0x84, 0, 0, 0, 7, 0, 0, 0, 0]), Error::Direction(7));
    assert_eq!(refused([4, 0, 0, 0, 8, 0, 0, 0, 0]), Error::Direction(8));
    assert_eq!(refused([4, 0, 0, 0, 4, 0, 0, 0, 0]), Error::Opcode(4));
    assert_eq!(refused([4, 0, 0, 0, 7, 0xff, 0xff, 0xff, 0xff]), Error::BodyLength(-1));
    assert_eq!(
        refused([4, 0, 0, 0, 7, 0x10, 0, 0, 1]),
        Error::BodyLength((256 << 20) + 1)
    );
    assert!(Header::parse(&[4, 0, 0, 0, 7, 0x10, 0, 0, 0]).is_ok());
    assert!(Header::parse_answer(&[0x84, 0, 0, 0, 8, 0, 0, 0, 0]).is_ok());
    for code in 0..=u8::MAX {
        assert_eq!(Opcode::from_code(code).map_or(code, |of| of as u8), code);
    }
    for code in 0..20 {
        assert_eq!(Consistency::from_code(code).map_or(code, Consistency::code), code);
    }
    for of in WriteType::ALL {
        assert_eq!(WriteType::from_name(of.name()), Some(of));
    }
}

type Found = Vec<(i16, Vec<u8>)>;

/// Feeds `stream` in pieces of `piece` bytes; gives the frames and refusals.
fn fed(limit: usize, stream: &[u8], piece: usize) -> (Found, Vec<(i16, Error)>) {
    let (mut frames, mut buffer) = (Frames::of_requests(limit), Vec::new());
    let (mut found, mut refused) = (Vec::new(), Vec::new());
    for piece in stream.chunks(piece) {
        buffer.extend_from_slice(piece);
        loop {
            let step = frames.next(&buffer);
            match &step {
                Step::Need(more) => {
                    assert!((1..=limit).contains(more));
                    break;
                }
                Step::Frame { header, body } => found.push((header.stream, buffer[body.clone()].to_vec())),
                Step::Refused { stream, error, .. } => refused.push((*stream, error.clone())),
                Step::Skip(used) => assert!(*used > 0),
            }
            buffer.drain(..step.used());
        }
    }
    assert!(buffer.is_empty());
    (found, refused)
}

#[test]
fn a_frame_too_long_is_passed_over_and_the_next_is_read() {
    let text = "x".repeat(100);
    let mut stream = Vec::new();
    Send::on(1).prepare(&mut stream, "short");
    Send::on(2).prepare(&mut stream, &text);
    Send::on(3).prepare(&mut stream, "short, too");
    // No such message, and no header to be closed for.
    stream.extend_from_slice(&[4, 0, 0, 4, 0x20, 0, 0, 0, 3, 1, 2, 3]);
    Send::on(5).options(&mut stream);
    for piece in 1..stream.len() {
        let (found, refused) = fed(64, &stream, piece);
        assert_eq!(found.iter().map(|of| of.0).collect::<Vec<_>>(), [1, 3, 5]);
        assert_eq!(found[1].1, b"\x00\x00\x00\x0ashort, too");
        let error = Error::TooBig { length: 113, limit: 64 };
        assert_eq!(error.code(), ErrorCode::Invalid);
        assert_eq!(
            error.to_string(),
            "Request is too big: length 113 exceeds maximum allowed length 64."
        );
        assert_eq!(refused, [(2, error), (4, Error::Opcode(0x20))]);
    }
    // The limit itself is allowed.
    assert_eq!(fed(113, &stream, 50).0.len(), 4);
}

#[test]
fn compressed_frames_come_back() {
    let (mut compressor, mut body) = (Compressor::new(), b"old".to_vec());
    for text in ["x".repeat(1000), "abcdefghij".repeat(50)] {
        let bytes = written(|out| {
            let frame = out.len();
            Send::on(1).prepare(out, &text);
            let whole = out.len();
            assert!(compressor.compress(out, frame));
            assert!(out.len() < whole / 2);
        });
        let (header, compressed) = request(&bytes);
        assert!(header.flags.compressed());
        decompress(compressed, 2000, &mut body).unwrap();
        assert!(matches!(Request::parse(&header, &body), Ok(Request::Prepare { text: found }) if found == text));
        assert!(matches!(
            decompress(compressed, 100, &mut body),
            Err(Error::TooBig { .. })
        ));
    }
    // Short and random bodies stay as they are.
    let mut out = Vec::new();
    Send::on(1).options(&mut out);
    assert!(!compressor.compress(&mut out, 0));
    assert!(!request(&out).0.flags.compressed());
    let mut random = 1u32;
    let noise: Vec<u8> = std::iter::repeat_with(|| {
        random ^= random << 13;
        random ^= random >> 17;
        random ^= random << 5;
        random as u8
    })
    .take(500)
    .collect();
    let mut out = Vec::new();
    Send::on(1).auth_response(&mut out, Some(&noise));
    let before = out.clone();
    assert!(!compressor.compress(&mut out, 0));
    assert_eq!(out, before);
}

#[test]
fn what_a_compressed_body_claims_is_not_believed() {
    let mut out = Vec::new();
    let mut refused = |body: &[u8]| {
        let error = decompress(body, 16 << 20, &mut out).expect_err("is none");
        assert!(
            out.is_empty() && out.capacity() < 1 << 20,
            "allocated {}",
            out.capacity()
        );
        error
    };
    assert!(matches!(refused(b"\x00\x00\x00"), Error::Short(_)));
    assert!(matches!(refused(b"\x7f\xff\xff\xff\x00\x00"), Error::TooBig { .. }));
    assert_eq!(
        refused(b"\x00\xff\xff\xff\x00\x00"),
        Error::Compressed("less than was claimed")
    );
    assert_eq!(
        refused(b"\x00\x00\x00\x02\x10a"),
        Error::Compressed("less than was claimed")
    );
    assert_eq!(
        refused(b"\x00\x00\x00\x00\x10a"),
        Error::Compressed("more than was claimed")
    );
    assert_eq!(
        refused(b"\x00\x00\x00\x01\x20ab"),
        Error::Compressed("not a block of LZ4")
    );
    assert_eq!(
        refused(b"\x00\x00\x00\x09\x10a\x09\x00"),
        Error::Compressed("not a block of LZ4")
    );
    assert_eq!(decompress(b"\x00\x00\x00\x00", 0, &mut out), Ok(()));
    assert_eq!(decompress(b"\x00\x00\x00\x00\x00", 0, &mut out), Ok(()));
    decompress(b"\x00\x00\x00\x02\x20ab", 2, &mut out).unwrap();
    assert_eq!(out, b"ab");
}
