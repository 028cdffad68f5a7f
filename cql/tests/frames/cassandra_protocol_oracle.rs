//! The crate `cassandra-protocol` reads and writes requests and answers: what it reads of ours and writes again is the same, byte for
//! byte.

use cassandra_protocol::compression::Compression;
use cassandra_protocol::frame::message_request::RequestBody;
use cassandra_protocol::frame::message_response::ResponseBody;
use cassandra_protocol::frame::message_result::{ColType, ColTypeOption, ColTypeOptionValue, ResResultBody};
use cassandra_protocol::frame::{Envelope, Serialize, Version};
use model::CqlType;
use proptest::prelude::*;
use scrollback_cql::frame::client::Send;
use scrollback_cql::frame::{Compressor, ErrorBody, Frames, HEADER_LEN, Reply, Request, WriteType, decompress};
use uuid::Uuid;

use crate::strategies::{Answered, Sent, answered, cases, page, sent};
use crate::{one, request};

fn read(bytes: &[u8], compression: Compression) -> Envelope {
    let parsed = Envelope::from_buffer(bytes, compression).expect("an envelope");
    assert_eq!(parsed.envelope_len, bytes.len());
    parsed.envelope
}

/// What it reads of a request and writes again.
fn again(body: &RequestBody) -> Vec<u8> {
    body.serialize_to_vec(Version::V4)
}

/// Its type, and ours.
fn assert_type(found: &ColTypeOption, sent: &CqlType) {
    let simple = |id: ColType| {
        assert_eq!(found.id, id);
        assert_eq!(found.value, None);
    };
    match (sent, &found.value) {
        (CqlType::BigInt, _) => simple(ColType::Bigint),
        (CqlType::Int, _) => simple(ColType::Int),
        (CqlType::SmallInt, _) => simple(ColType::Smallint),
        (CqlType::TinyInt, _) => simple(ColType::Tinyint),
        (CqlType::Boolean, _) => simple(ColType::Boolean),
        (CqlType::Float, _) => simple(ColType::Float),
        (CqlType::Double, _) => simple(ColType::Double),
        (CqlType::Text, _) => simple(ColType::Varchar),
        (CqlType::Ascii, _) => simple(ColType::Ascii),
        (CqlType::Blob, _) => simple(ColType::Blob),
        (CqlType::Uuid, _) => simple(ColType::Uuid),
        (CqlType::TimeUuid, _) => simple(ColType::Timeuuid),
        (CqlType::Timestamp, _) => simple(ColType::Timestamp),
        (CqlType::Date, _) => simple(ColType::Date),
        (CqlType::Time, _) => simple(ColType::Time),
        (CqlType::Inet, _) => simple(ColType::Inet),
        (CqlType::Varint, _) => simple(ColType::Varint),
        (CqlType::Decimal, _) => simple(ColType::Decimal),
        (CqlType::Duration, Some(ColTypeOptionValue::CString(class))) => {
            assert_eq!(found.id, ColType::Custom);
            assert_eq!(class, "org.apache.cassandra.db.marshal.DurationType");
        }
        (CqlType::List(of), Some(ColTypeOptionValue::CList(found))) => assert_type(found, of),
        (CqlType::Set(of), Some(ColTypeOptionValue::CSet(found))) => assert_type(found, of),
        (CqlType::Map(key, value), Some(ColTypeOptionValue::CMap(found_key, found_value))) => {
            assert_type(found_key, key);
            assert_type(found_value, value);
        }
        (CqlType::Tuple(types), Some(ColTypeOptionValue::TupleType(found))) => {
            assert_eq!(found.types.len(), types.len());
            found
                .types
                .iter()
                .zip(types)
                .for_each(|(found, sent)| assert_type(found, sent));
        }
        (CqlType::Udt(of), Some(ColTypeOptionValue::UdtType(found))) => {
            assert_eq!((&found.ks, &found.udt_name), (&of.keyspace, &of.name));
            assert_eq!(found.descriptions.len(), of.fields.len());
            for ((name, found), field) in found.descriptions.iter().zip(&of.fields) {
                assert_eq!(*name, field.name);
                assert_type(found, &field.ty);
            }
        }
        (sent, found) => panic!("{sent:?} came as {found:?}"),
    }
}

proptest! {
    #![proptest_config(cases())]

    #[test]
    fn prop_requests_are_read_and_written_as_ours(sent in sent(), stream: i16) {
        // It never asks for metadata to be left out.
        let mut sent = sent;
        if let Sent::Query(_, run) | Sent::Execute(_, run) = &mut sent {
            run.skip_metadata = false;
        }
        // It knows no other options and keeps options and names in maps: of those with more than one the order is lost.
        let several = match &sent {
            Sent::Startup(options) => options.len() > 1,
            Sent::Query(_, run) | Sent::Execute(_, run) => run.names.as_ref().is_some_and(|names| names.len() > 1),
            _ => false,
        };
        let bytes = sent.bytes(&Send::on(stream));
        let envelope = read(&bytes, Compression::None);
        prop_assert_eq!(envelope.stream_id, stream);
        let body = envelope.request_body().unwrap();
        if !several {
            prop_assert_eq!(again(&body), &bytes[HEADER_LEN..]);
        }

        // What it has compressed, we read.
        let theirs = Envelope { body: again(&body), ..envelope };
        let theirs = theirs.encode_with(Compression::Lz4).unwrap();
        let (header, body) = one(Frames::of_requests(usize::MAX), &theirs);
        prop_assert!(header.flags.compressed());
        let mut plain = Vec::new();
        decompress(body, 1 << 16, &mut plain).unwrap();
        let found = Request::parse(&header, &plain).unwrap();
        if !several {
            sent.assert_is(&found);
        }
    }

    #[test]
    fn prop_answers_are_read_and_written_as_ours(
        sent in answered(), stream: i16, trace: Option<u128>, warnings in proptest::collection::vec("[a-z]{0,9}", 0..3),
    ) {
        // It reads a number more there, which only version 5 has.
        let cas_timeout = |of: &ErrorBody<'_>| matches!(of, ErrorBody::WriteTimeout { write_type: WriteType::Cas, .. });
        prop_assume!(!matches!(&sent, Answered::Error(_, body) if cas_timeout(body)));
        let reply = Reply { stream, tracing: trace.map(Uuid::from_u128), warnings: &warnings, ..Reply::default() };
        let bytes = sent.bytes(&reply);
        let envelope = read(&bytes, Compression::None);
        let is_event = matches!(sent, Answered::Event(_));
        prop_assert_eq!(envelope.stream_id, if is_event { -1 } else { stream });
        if !is_event {
            prop_assert_eq!(envelope.tracing_id, reply.tracing);
            prop_assert_eq!(&envelope.warnings, &warnings);
        }
        let body = envelope.response_body().unwrap();
        let written = match &body {
            ResponseBody::Error(error) => error.serialize_to_vec(Version::V4),
            ResponseBody::Result(result) => result.serialize_to_vec(Version::V4),
            ResponseBody::Event(event) => event.event.serialize_to_vec(Version::V4),
            other => {
                let known = match (other, &sent) {
                    (ResponseBody::Ready, Answered::Ready) => true,
                    (ResponseBody::Authenticate(found), Answered::Authenticate(sent)) => found.data == *sent,
                    (ResponseBody::AuthChallenge(found), Answered::AuthChallenge(sent)) => {
                        found.data.clone().into_bytes() == *sent
                    }
                    (ResponseBody::AuthSuccess(found), Answered::AuthSuccess(sent)) => {
                        found.data.clone().into_bytes() == *sent
                    }
                    (ResponseBody::Supported(found), Answered::Supported(sent)) => {
                        // A map again; the last of two of one name stays.
                        let last = sent.iter().rev();
                        found.data.iter().all(|(key, values)| {
                            last.clone().find(|(name, _)| name == key).is_some_and(|(_, sent)| sent == values)
                        })
                    }
                    _ => false,
                };
                prop_assert!(known, "{:?} came as {:?}", sent, other);
                return Ok(());
            }
        };
        prop_assert_eq!(written, envelope.body);
    }

    #[test]
    fn prop_pages_come_as_they_were_written(page in page()) {
        let mut bytes = Vec::new();
        page.put(&Reply::to(1), &mut bytes);
        let is_compressed = Compressor::new().compress(&mut bytes, 0);
        let compression = if is_compressed { Compression::Lz4 } else { Compression::None };
        let Ok(ResponseBody::Result(ResResultBody::Rows(rows))) = read(&bytes, compression).response_body() else {
            panic!("no rows")
        };
        let cells = rows.rows_content.iter().map(|row| row.iter().map(|cell| cell.clone().into_bytes()).collect::<Vec<_>>());
        prop_assert_eq!(cells.collect::<Vec<_>>(), page.cells);
        prop_assert_eq!(rows.metadata.paging_state.and_then(|state| state.into_bytes()), page.more);
        prop_assert_eq!(rows.metadata.columns_count as usize, page.columns.len());
        if page.skip {
            return Ok(());
        }
        let global = rows.metadata.global_table_spec;
        prop_assert_eq!(rows.metadata.col_specs.len(), page.columns.len());
        for (found, sent) in rows.metadata.col_specs.iter().zip(&page.columns) {
            let table = found.table_spec.as_ref().or(global.as_ref()).expect("a table");
            prop_assert_eq!((&table.ks_name, &table.table_name), (&sent.keyspace, &sent.table));
            prop_assert_eq!(&found.name, &sent.name);
            assert_type(&found.col_type, &sent.ty);
        }
    }
}

/// It writes the options of a real client.
#[test]
fn its_startup_is_read() {
    let startup = Envelope::new_req_startup(Some("lz4".to_owned()), Version::V4);
    let bytes = startup.encode_with(Compression::None).unwrap();
    let Request::Startup(startup) = request(&bytes) else {
        panic!("no startup")
    };
    assert_eq!(startup.compression(), Some("lz4"));
    assert!(startup.cql_version().is_some());
}

/// A version that we do not speak is refused so that it comes again with another.
#[test]
fn it_knows_the_refusal_of_a_version() {
    let refusal = crate::strategies::written(|out| {
        Reply::to(1).refuse(out, &scrollback_cql::frame::Error::Version(5));
    });
    let Ok(ResponseBody::Error(error)) = read(&refusal, Compression::None).response_body() else {
        panic!("no error")
    };
    assert!(error.is_bad_protocol());
}
