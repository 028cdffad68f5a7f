//! The crates `scylla-cql` and `scylla-cql-core`, which the Rust driver is made of: their requests read by us, our answers read by
//! them, the bytes of values included.

use std::borrow::Cow;
use std::net::IpAddr;

use bytes::Bytes;
use model::{CqlType, Duration, UserType, Value as CqlValueOfOurs};
use proptest::collection::vec;
use proptest::prelude::*;
use scrollback_cql::frame::client::Send;
use scrollback_cql::frame::{
    BatchStatement, BatchType, Compressor, Consistency, ErrorBody, Frames, Header, Metadata, Reply, Request, Value,
    WriteType, decompress,
};
use scylla_cql::Consistency as TheirConsistency;
use scylla_cql::frame::protocol_features::ProtocolFeatures;
use scylla_cql::frame::request::batch::{self, Batch};
use scylla_cql::frame::request::execute::ExecuteV2;
use scylla_cql::frame::request::prepare::Prepare;
use scylla_cql::frame::request::query::{PagingState, PagingStateResponse, Query, QueryParameters};
use scylla_cql::frame::request::register::RegisterV2;
use scylla_cql::frame::request::startup::Startup;
use scylla_cql::frame::request::{DeserializableRequest, Options, SerializableRequest};
use scylla_cql::frame::response::error::{DbError, WriteType as TheirWriteType};
use scylla_cql::frame::response::event::{EventV2, SchemaChangeEvent};
use scylla_cql::frame::response::result::{CollectionType, ColumnSpec, ColumnType, NativeType, Result as TheirResult};
use scylla_cql::frame::response::{ResponseOpcode, ResponseV2};
use scylla_cql::frame::server_event_type::EventTypeV2;
use scylla_cql::frame::types::SerialConsistency;
use scylla_cql::frame::{Compression, SerializedRequest, parse_response_body_extensions};
use scylla_cql::serialize::row::SerializedValues;
use scylla_cql::value::Row;

use crate::one;
use crate::strategies::{Answered, Bound, Sent, answered, cases, metadata, page, sent};

fn their_consistency(of: Consistency) -> TheirConsistency {
    TheirConsistency::try_from(of.code()).expect("the same codes")
}

/// A frame as they send it: read, and read when it was compressed.
fn sent_by_them<R: SerializableRequest>(request: &R, check: impl Fn(&Request<'_>)) {
    for compression in [None, Some(Compression::Lz4)] {
        let mut serialized = SerializedRequest::make(request, compression, true).expect("a request");
        serialized.set_stream(77);
        let (header, body) = one(Frames::of_requests(usize::MAX), serialized.get_data());
        assert_eq!((header.stream, header.flags.tracing()), (77, true));
        let mut plain = Vec::new();
        let body = if header.flags.compressed() {
            decompress(body, 1 << 16, &mut plain).expect("a block");
            &plain
        } else {
            body
        };
        check(&Request::parse(&header, body).expect("a request"));
    }
}

/// What they read of an answer.
fn read_by_them(bytes: &[u8]) -> (ResponseV2, Option<uuid::Uuid>, Vec<String>) {
    let (header, body) = one(Frames::of_answers(usize::MAX), bytes);
    let Header { flags, opcode, .. } = header;
    let body = Bytes::copy_from_slice(body);
    let body = parse_response_body_extensions(flags.0, Some(Compression::Lz4), body).expect("extensions");
    let opcode = ResponseOpcode::try_from(opcode as u8).expect("an opcode");
    let response = ResponseV2::deserialize(&ProtocolFeatures::default(), opcode, body.body, None).expect("a response");
    (response, body.trace_id, body.warnings)
}

fn assert_type(found: &ColumnType<'_>, sent: &CqlType) {
    let native = |of: NativeType| assert_eq!(*found, ColumnType::Native(of));
    match (sent, found) {
        (CqlType::BigInt, _) => native(NativeType::BigInt),
        (CqlType::Int, _) => native(NativeType::Int),
        (CqlType::SmallInt, _) => native(NativeType::SmallInt),
        (CqlType::TinyInt, _) => native(NativeType::TinyInt),
        (CqlType::Boolean, _) => native(NativeType::Boolean),
        (CqlType::Float, _) => native(NativeType::Float),
        (CqlType::Double, _) => native(NativeType::Double),
        (CqlType::Text, _) => native(NativeType::Text),
        (CqlType::Ascii, _) => native(NativeType::Ascii),
        (CqlType::Blob, _) => native(NativeType::Blob),
        (CqlType::Uuid, _) => native(NativeType::Uuid),
        (CqlType::TimeUuid, _) => native(NativeType::Timeuuid),
        (CqlType::Timestamp, _) => native(NativeType::Timestamp),
        (CqlType::Date, _) => native(NativeType::Date),
        (CqlType::Time, _) => native(NativeType::Time),
        (CqlType::Inet, _) => native(NativeType::Inet),
        (CqlType::Varint, _) => native(NativeType::Varint),
        (CqlType::Decimal, _) => native(NativeType::Decimal),
        (CqlType::Duration, _) => native(NativeType::Duration),
        (
            CqlType::List(of),
            ColumnType::Collection {
                typ: CollectionType::List(found),
                ..
            },
        )
        | (
            CqlType::Set(of),
            ColumnType::Collection {
                typ: CollectionType::Set(found),
                ..
            },
        ) => assert_type(found, of),
        (
            CqlType::Map(key, value),
            ColumnType::Collection {
                typ: CollectionType::Map(found_key, found_value),
                ..
            },
        ) => {
            assert_type(found_key, key);
            assert_type(found_value, value);
        }
        (CqlType::Tuple(types), ColumnType::Tuple(found)) => {
            assert_eq!(found.len(), types.len());
            found
                .iter()
                .zip(types)
                .for_each(|(found, sent)| assert_type(found, sent));
        }
        (CqlType::Udt(of), ColumnType::UserDefinedType { definition, .. }) => {
            assert_eq!((&*definition.keyspace, &*definition.name), (&*of.keyspace, &*of.name));
            assert_eq!(definition.field_types.len(), of.fields.len());
            for ((name, found), field) in definition.field_types.iter().zip(&of.fields) {
                assert_eq!(*name, field.name);
                assert_type(found, &field.ty);
            }
        }
        (sent, found) => panic!("{sent:?} came as {found:?}"),
    }
}

fn assert_columns(found: &[ColumnSpec<'_>], sent: &[crate::strategies::OwnColumn]) {
    assert_eq!(found.len(), sent.len());
    for (found, sent) in found.iter().zip(sent) {
        assert_eq!(found.table_spec().ks_name(), sent.keyspace);
        assert_eq!(found.table_spec().table_name(), sent.table);
        assert_eq!(found.name(), sent.name);
        assert_type(found.typ(), &sent.ty);
    }
}

fn their_write_type(of: WriteType) -> TheirWriteType {
    TheirWriteType::from(of.name())
}

/// The error as they have it.
fn their_error(of: &ErrorBody<'_>) -> DbError {
    let owned = |list: &[&str]| list.iter().map(|of| (*of).to_owned()).collect();
    match *of {
        ErrorBody::Server => DbError::ServerError,
        ErrorBody::Protocol => DbError::ProtocolError,
        ErrorBody::BadCredentials => DbError::AuthenticationError,
        ErrorBody::Unavailable {
            consistency,
            required,
            alive,
        } => DbError::Unavailable {
            consistency: their_consistency(consistency),
            required,
            alive,
        },
        ErrorBody::Overloaded => DbError::Overloaded,
        ErrorBody::IsBootstrapping => DbError::IsBootstrapping,
        ErrorBody::Truncate => DbError::TruncateError,
        ErrorBody::WriteTimeout {
            consistency,
            received,
            block_for,
            write_type,
        } => DbError::WriteTimeout {
            consistency: their_consistency(consistency),
            received,
            required: block_for,
            write_type: their_write_type(write_type),
        },
        ErrorBody::ReadTimeout {
            consistency,
            received,
            block_for,
            data_present,
        } => DbError::ReadTimeout {
            consistency: their_consistency(consistency),
            received,
            required: block_for,
            data_present,
        },
        ErrorBody::ReadFailure {
            consistency,
            received,
            block_for,
            failures,
            data_present,
        } => DbError::ReadFailure {
            consistency: their_consistency(consistency),
            received,
            required: block_for,
            numfailures: failures,
            data_present,
        },
        ErrorBody::FunctionFailure {
            keyspace,
            function,
            ref arguments,
        } => DbError::FunctionFailure {
            keyspace: keyspace.to_owned(),
            function: function.to_owned(),
            arg_types: owned(arguments),
        },
        ErrorBody::WriteFailure {
            consistency,
            received,
            block_for,
            failures,
            write_type,
        } => DbError::WriteFailure {
            consistency: their_consistency(consistency),
            received,
            required: block_for,
            numfailures: failures,
            write_type: their_write_type(write_type),
        },
        ErrorBody::Syntax => DbError::SyntaxError,
        ErrorBody::Unauthorized => DbError::Unauthorized,
        ErrorBody::Invalid => DbError::Invalid,
        ErrorBody::Config => DbError::ConfigError,
        ErrorBody::AlreadyExists { keyspace, table } => DbError::AlreadyExists {
            keyspace: keyspace.to_owned(),
            table: table.to_owned(),
        },
        ErrorBody::Unprepared { id } => DbError::Unprepared {
            statement_id: Bytes::copy_from_slice(id),
        },
    }
}

/// Our own words for a change of the schema, from theirs.
fn shown_change(of: &SchemaChangeEvent) -> String {
    match of {
        SchemaChangeEvent::KeyspaceChange {
            change_type,
            keyspace_name,
        } => {
            format!("{change_type:?} {keyspace_name} Keyspace")
        }
        SchemaChangeEvent::TableChange {
            change_type,
            keyspace_name,
            object_name,
        } => {
            format!("{change_type:?} {keyspace_name} Table({object_name:?})")
        }
        SchemaChangeEvent::TypeChange {
            change_type,
            keyspace_name,
            type_name,
        } => {
            format!("{change_type:?} {keyspace_name} Type({type_name:?})")
        }
        SchemaChangeEvent::FunctionChange {
            change_type,
            keyspace_name,
            function_name,
            arguments,
        } => {
            format!("{change_type:?} {keyspace_name} Function({function_name:?}, {arguments:?})")
        }
        SchemaChangeEvent::AggregateChange {
            change_type,
            keyspace_name,
            aggregate_name,
            arguments,
        } => {
            format!("{change_type:?} {keyspace_name} Aggregate({aggregate_name:?}, {arguments:?})")
        }
    }
}

fn shown(of: &scrollback_cql::frame::SchemaChange<'_>) -> String {
    format!("{:?} {} {:?}", of.change, of.keyspace, of.target)
}

fn values_of(bound: &[Bound]) -> SerializedValues {
    // They cannot be told of bytes: they read them as a frame has them.
    let mut frame = (bound.len() as u16).to_be_bytes().to_vec();
    for value in bound {
        match value.value() {
            Value::Null => frame.extend_from_slice(&(-1i32).to_be_bytes()),
            Value::Unset => frame.extend_from_slice(&(-2i32).to_be_bytes()),
            Value::Bytes(bytes) => {
                frame.extend_from_slice(&(bytes.len() as i32).to_be_bytes());
                frame.extend_from_slice(bytes);
            }
        }
    }
    SerializedValues::new_from_frame(&mut &frame[..]).expect("values")
}

fn their_serial(of: Option<Consistency>) -> Option<SerialConsistency> {
    of.map(|of| match of {
        Consistency::LocalSerial => SerialConsistency::LocalSerial,
        _ => SerialConsistency::Serial,
    })
}

fn parameters_of(run: &crate::strategies::Run) -> QueryParameters<'static> {
    QueryParameters {
        consistency: their_consistency(run.consistency),
        serial_consistency: their_serial(run.serial),
        timestamp: run.timestamp,
        page_size: run.page_size,
        paging_state: match &run.paging_state {
            Some(state) => PagingState::new_from_raw_bytes(&state[..]),
            None => PagingState::start(),
        },
        skip_metadata: run.skip_metadata,
        values: Cow::Owned(values_of(&run.values)),
    }
}

proptest! {
    #![proptest_config(cases())]

    #[test]
    fn prop_their_requests_are_read(sent in sent()) {
        let check = |found: &Request<'_>| sent.assert_is(found);
        match &sent {
            Sent::Options => sent_by_them(&Options, check),
            Sent::Prepare(query) => sent_by_them(&Prepare { query }, check),
            // They have no names.
            Sent::Query(text, run) if run.names.is_none() => {
                sent_by_them(&Query { contents: text.into(), parameters: parameters_of(run) }, check);
            }
            Sent::Execute(id, run) if run.names.is_none() => {
                let execute = ExecuteV2 {
                    id: id[..].into(),
                    result_metadata_id: None,
                    parameters: parameters_of(run),
                    tablet_version_block: None,
                };
                sent_by_them(&execute, check);
                // A byte of an extension at the end.
                sent_by_them(&ExecuteV2 { tablet_version_block: Some(9), ..execute }, check);
            }
            Sent::Startup(options) if options.len() < 2 => {
                let options = options.iter().map(|(key, value)| (key.into(), value.into())).collect();
                sent_by_them(&Startup { options }, check);
            }
            Sent::Register(events) => {
                let all = [
                    (events.topology_change, EventTypeV2::TopologyChange),
                    (events.status_change, EventTypeV2::StatusChange),
                    (events.schema_change, EventTypeV2::SchemaChange),
                ];
                let event_types_to_register_for = all.into_iter().filter(|of| of.0).map(|of| of.1).collect();
                sent_by_them(&RegisterV2 { event_types_to_register_for }, check);
            }
            _ => {}
        }
    }

    #[test]
    fn prop_they_read_our_requests(sent in sent()) {
        let bytes = sent.bytes(&Send::on(1));
        let (_, body) = one(Frames::of_requests(usize::MAX), &bytes);
        let (features, mut again) = (ProtocolFeatures::default(), Vec::new());
        match &sent {
            Sent::Query(_, run) if run.names.is_none() => {
                Query::deserialize_with_features(&mut &body[..], &features).unwrap().serialize(&mut again).unwrap();
            }
            Sent::Batch(..) => {
                let batch: Batch<'_, batch::BatchStatement<'_>, Vec<SerializedValues>> =
                    DeserializableRequest::deserialize_with_features(&mut &body[..], &features).unwrap();
                batch.serialize(&mut again).unwrap();
            }
            _ => return Ok(()),
        }
        prop_assert_eq!(again, body);
    }

    #[test]
    fn prop_they_read_our_answers(
        sent in answered(), trace: Option<u128>, warnings in vec("[a-z]{0,9}", 0..3),
    ) {
        let tracing = trace.map(uuid::Uuid::from_u128);
        let reply = Reply { stream: 5, tracing, warnings: &warnings, ..Reply::default() };
        let bytes = sent.bytes(&reply);
        let (found, found_trace, found_warnings) = read_by_them(&bytes);
        if !matches!(sent, Answered::Event(_)) {
            prop_assert_eq!(found_trace, tracing);
            prop_assert_eq!(&found_warnings, &warnings);
        }
        match (found, &sent) {
            (ResponseV2::Error(found), Answered::Error(message, body)) => {
                prop_assert_eq!(&found.reason, message);
                prop_assert_eq!(found.error, their_error(body));
            }
            (ResponseV2::Ready, Answered::Ready) => {}
            (ResponseV2::Supported(found), Answered::Supported(sent)) => {
                for (key, values) in &found.options {
                    let sent = sent.iter().rfind(|of| of.0 == *key);
                    prop_assert_eq!(Some(values), sent.map(|of| &of.1));
                }
            }
            (ResponseV2::Authenticate(found), Answered::Authenticate(sent)) => {
                prop_assert_eq!(&found.authenticator_name, sent);
            }
            (ResponseV2::AuthChallenge(found), Answered::AuthChallenge(sent)) => {
                prop_assert_eq!(&found.authenticate_message, sent);
            }
            (ResponseV2::AuthSuccess(found), Answered::AuthSuccess(sent)) => {
                prop_assert_eq!(&found.success_message, sent);
            }
            (ResponseV2::Event(EventV2::SchemaChange(found)), Answered::Event(sent)) => {
                let scrollback_cql::frame::Event::SchemaChange(sent) = sent else { panic!("{sent:?}") };
                prop_assert_eq!(shown_change(&found), shown(sent));
            }
            (ResponseV2::Event(found), Answered::Event(sent)) => {
                let found = format!("{found:?}").replace("TopologyChange(", "").replace("StatusChange(", "");
                prop_assert_eq!(found.replace("))", ")"), format!("{sent:?}"));
            }
            (ResponseV2::Result(TheirResult::Void), Answered::Void) => {}
            (ResponseV2::Result(TheirResult::SetKeyspace(found)), Answered::SetKeyspace(sent)) => {
                prop_assert_eq!(&found.keyspace_name, sent);
            }
            (ResponseV2::Result(TheirResult::SchemaChange(found)), Answered::SchemaChange(sent)) => {
                prop_assert_eq!(shown_change(&found.event), shown(sent));
            }
            (ResponseV2::Result(TheirResult::Prepared(found)), Answered::Prepared(id, markers, key, result)) => {
                prop_assert_eq!(&found.id[..], &id[..]);
                assert_columns(&found.prepared_metadata.col_specs, markers);
                // They sort them, and keep where each belongs.
                let mut indexes = found.prepared_metadata.pk_indexes.clone();
                indexes.sort_by_key(|of| of.sequence);
                prop_assert_eq!(&indexes.iter().map(|of| of.index).collect::<Vec<_>>(), key);
                assert_columns(found.result_metadata.col_specs(), result.as_deref().unwrap_or_default());
            }
            (ResponseV2::Result(TheirResult::Rows((raw, _))), Answered::Rows(page)) => {
                prop_assert_eq!(raw.no_metadata(), page.skip);
            }
            (found, sent) => panic!("{sent:?} came as {found:?}"),
        }
    }

    #[test]
    fn prop_they_read_our_pages(page in page()) {
        let mut bytes = Vec::new();
        page.put(&Reply::to(1), &mut bytes);
        Compressor::new().compress(&mut bytes, 0);
        let (ResponseV2::Result(TheirResult::Rows((raw, paging))), ..) = read_by_them(&bytes) else {
            panic!("no rows")
        };
        let more = match paging {
            PagingStateResponse::HasMorePages { state } => state.as_bytes_slice().map(|state| state.to_vec()),
            PagingStateResponse::NoMorePages => None,
        };
        prop_assert_eq!(more, page.more);
        if page.skip {
            return Ok(());
        }
        let rows = raw.deserialize_metadata().unwrap();
        assert_columns(rows.metadata().col_specs(), &page.columns);
        prop_assert_eq!(rows.rows_count(), page.cells.len());
    }
}

/// A value of each type, and of each kind of nesting.
fn values() -> Vec<(CqlType, CqlValueOfOurs)> {
    use CqlValueOfOurs as V;
    let udt = CqlType::udt(UserType::new(
        "ks",
        "address",
        [("street", CqlType::Text), ("number", CqlType::Int)],
    ));
    let uuid = uuid::Uuid::from_u128(0x0123_4567_89ab_1def_8123_4567_89ab_cdef);
    vec![
        (CqlType::BigInt, V::BigInt(i64::MIN)),
        (CqlType::Int, V::Int(-5)),
        (CqlType::SmallInt, V::SmallInt(300)),
        (CqlType::TinyInt, V::TinyInt(-128)),
        (CqlType::Boolean, V::Boolean(true)),
        (CqlType::Float, V::Float(1.5)),
        (CqlType::Double, V::Double(-0.0)),
        (CqlType::Text, V::Text("é".to_owned())),
        (CqlType::Ascii, V::Ascii("ascii".to_owned())),
        (CqlType::Blob, V::Blob(vec![0, 255])),
        (CqlType::Uuid, V::Uuid(uuid)),
        (CqlType::TimeUuid, V::TimeUuid(uuid)),
        (CqlType::Timestamp, V::Timestamp(-1)),
        (CqlType::Date, V::Date(1 << 31)),
        (CqlType::Time, V::Time(86_399_999_999_999)),
        (CqlType::Inet, V::Inet(IpAddr::from([127, 0, 0, 1]))),
        (CqlType::Inet, V::Inet(IpAddr::from([9; 16]))),
        (CqlType::Varint, V::Varint(vec![0x80, 0, 0, 0, 0, 0, 0, 0, 1])),
        (
            CqlType::Decimal,
            V::Decimal {
                scale: -3,
                unscaled: vec![0x7f, 1],
            },
        ),
        (
            CqlType::Duration,
            V::Duration(Duration {
                months: -1,
                days: -300,
                nanos: i64::MIN,
            }),
        ),
        (CqlType::Int.list(), V::List(vec![V::Int(1), V::Int(1)])),
        (
            CqlType::Text.set(),
            V::Set(vec![V::Text("a".to_owned()), V::Text("b".to_owned())]),
        ),
        (
            CqlType::Int.map(CqlType::Text.list().frozen()),
            V::Map(vec![(V::Int(1), V::List(vec![V::Text("x".to_owned())]))]),
        ),
        (
            CqlType::tuple([CqlType::Int, CqlType::Text]),
            V::Tuple(vec![Some(V::Int(1)), None]),
        ),
        (udt, V::Tuple(vec![Some(V::Text("s".to_owned())), Some(V::Int(3))])),
    ]
}

/// Cells that they read by the types that we told them, and write again, are the same bytes.
#[test]
fn cells_of_every_type_are_read_and_written_again() {
    let values = values();
    let columns: Vec<_> = values.iter().map(|(ty, _)| ty.clone()).collect();
    let columns: Vec<_> = columns
        .into_iter()
        .enumerate()
        .map(|(nth, ty)| crate::strategies::OwnColumn {
            keyspace: "ks".to_owned(),
            table: "t".to_owned(),
            name: format!("c{nth}"),
            ty,
        })
        .collect();
    let metadata: Metadata = metadata(&columns);
    let cells: Vec<_> = values
        .iter()
        .map(|(ty, value)| value.encode(ty).expect("a value of its type"))
        .collect();
    let mut bytes = Vec::new();
    let mut rows = Reply::to(1).rows(&mut bytes, &metadata, false);
    cells.iter().for_each(|cell| rows.value(Some(cell)));
    cells.iter().for_each(|_| rows.value(None));
    rows.finish(None);

    let (ResponseV2::Result(TheirResult::Rows((raw, _))), ..) = read_by_them(&bytes) else {
        panic!("no rows")
    };
    let found = raw.deserialize_metadata().expect("metadata");
    let types: Vec<_> = found.metadata().col_specs().iter().map(|of| of.typ().clone()).collect();
    let rows: Vec<Row> = found
        .rows_iter::<Row>()
        .expect("any types")
        .map(|row| row.expect("a row"))
        .collect();
    assert_eq!(rows.len(), 2);
    for ((cell, ty), (own, value)) in rows[0].columns.iter().zip(&types).zip(&values) {
        let mut again = SerializedValues::new();
        again.add_value(cell, ty).expect("its own value");
        let sent = value.encode(own).expect("a value");
        let mut expected = (sent.len() as i32).to_be_bytes().to_vec();
        expected.extend_from_slice(&sent);
        let mut written = Vec::new();
        again.write_to_request(&mut written);
        assert_eq!(written[2..], expected, "{own:?} {cell:?}");
    }
    assert!(rows[1].columns.iter().all(Option::is_none));
}

/// Batches of theirs, with their own types of statements.
#[test]
fn their_batch_is_read() {
    let statements = [
        batch::BatchStatement::Query { text: "INSERT".into() },
        batch::BatchStatement::Prepared {
            id: Cow::Borrowed(b"0123456789abcdef"),
        },
    ];
    let bound = [vec![Bound::Bytes(vec![1]), Bound::Null], vec![Bound::Unset]];
    let batch = Batch {
        statements: Cow::Borrowed(&statements),
        batch_type: batch::BatchType::Counter,
        consistency: TheirConsistency::EachQuorum,
        serial_consistency: Some(SerialConsistency::LocalSerial),
        timestamp: Some(-1),
        values: bound.iter().map(|bound| values_of(bound)).collect::<Vec<_>>(),
    };
    sent_by_them(&batch, |found| {
        let Request::Batch(found) = found else {
            panic!("{found:?}")
        };
        assert_eq!((found.batch_type, found.len()), (BatchType::Counter, 2));
        assert_eq!(found.consistency, Consistency::EachQuorum);
        assert_eq!(found.serial_consistency, Some(Consistency::LocalSerial));
        assert_eq!(found.timestamp, Some(-1));
        let found: Vec<_> = found.statements().collect();
        assert_eq!(found[0].0, BatchStatement::Query("INSERT"));
        assert_eq!(found[1].0, BatchStatement::Prepared(b"0123456789abcdef"));
        let values = found
            .iter()
            .map(|of| of.1.iter().map(|(_, value)| value).collect::<Vec<_>>());
        let sent = bound.iter().map(|of| of.iter().map(Bound::value).collect());
        assert_eq!(values.collect::<Vec<_>>(), sent.collect::<Vec<Vec<_>>>());
    });
}
