//! Laws that hold for all frames.

use proptest::collection::vec;
use proptest::prelude::*;
use scrollback_cql::frame::client::{Answer, Message, Send};
use scrollback_cql::frame::{
    Compressor, Flags, Frames, HEADER_LEN, Header, NamedColumn, Opcode, Reply, Request, Step, decompress,
};
use uuid::Uuid;

use crate::strategies::{Answered, OwnColumn, answered, cases, damage, damaged, sent};
use crate::{message, one, request};

fn assert_columns(found: &[NamedColumn<'_>], sent: &[OwnColumn]) {
    let found = found.iter().map(|of| OwnColumn {
        keyspace: of.keyspace.to_owned(),
        table: of.table.to_owned(),
        name: of.name.to_owned(),
        ty: of.ty.clone(),
    });
    assert_eq!(found.collect::<Vec<_>>(), sent);
}

fn assert_is(found: &Message<'_>, sent: &Answered) {
    match (found, sent) {
        (Message::Error { message, body }, Answered::Error(text, sent)) => {
            assert_eq!((message, body), (&&**text, sent));
        }
        (Message::Ready, Answered::Ready) | (Message::Void, Answered::Void) => {}
        (Message::Supported(found), Answered::Supported(sent)) => {
            let found = found.iter().map(|(key, values)| {
                let values = values.iter().map(|value| (*value).to_owned());
                ((*key).to_owned(), values.collect::<Vec<_>>())
            });
            assert_eq!(found.collect::<Vec<_>>(), *sent);
        }
        (Message::Authenticate(found), Answered::Authenticate(sent)) => assert_eq!(found, sent),
        (Message::SetKeyspace(found), Answered::SetKeyspace(sent)) => assert_eq!(found, sent),
        (Message::AuthChallenge(found), Answered::AuthChallenge(sent))
        | (Message::AuthSuccess(found), Answered::AuthSuccess(sent)) => assert_eq!(*found, sent.as_deref()),
        (Message::SchemaChange(found), Answered::SchemaChange(sent)) => assert_eq!(found, sent),
        (Message::Event(found), Answered::Event(sent)) => assert_eq!(found, sent),
        (Message::Prepared(found), Answered::Prepared(id, markers, key, result)) => {
            assert_eq!((found.id, &found.key), (&id[..], key));
            assert_columns(&found.markers, markers);
            assert_columns(&found.result, result.as_deref().unwrap_or_default());
        }
        (Message::Rows(found), Answered::Rows(page)) => {
            assert_eq!(found.column_count, page.columns.len());
            assert_eq!(found.paging_state, page.more.as_deref());
            assert_eq!(found.columns.is_none(), page.skip);
            if let Some(columns) = &found.columns {
                assert_columns(columns, &page.columns);
            }
            let cells: Vec<Vec<_>> = found.iter().map(Iterator::collect).collect();
            let sent = page.cells.iter().map(|row| row.iter().map(Option::as_deref).collect());
            assert_eq!(cells, sent.collect::<Vec<Vec<_>>>());
        }
        (found, sent) => panic!("{sent:?} came as {found:?}"),
    }
}

/// Reads everything that can be read; what it is does not matter.
fn read_all(request: &Request<'_>) -> usize {
    match request {
        Request::Startup(startup) => startup.options().map(|(key, value)| key.len() + value.len()).sum(),
        Request::Query { parameters, .. } | Request::Execute { parameters, .. } => {
            assert_eq!(parameters.values.iter().count(), parameters.values.len());
            parameters.values.len()
        }
        Request::Batch(batch) => {
            assert_eq!(batch.statements().count(), batch.len());
            let values = batch.statements().map(|(_, values)| {
                assert_eq!(values.iter().count(), values.len());
                values.len()
            });
            values.sum()
        }
        _ => 0,
    }
}

fn read_as_anything(body: &[u8], flags: u8) {
    for opcode in (0..=u8::MAX).filter_map(Opcode::from_code) {
        let header = Header {
            flags: Flags(flags),
            stream: 0,
            opcode,
            length: body.len() as u32,
        };
        if let Ok(request) = Request::parse(&header, body) {
            read_all(&request);
        }
        if let Ok(Answer {
            message: Message::Rows(rows),
            ..
        }) = Answer::parse(&header, body)
        {
            assert_eq!(rows.iter().count(), rows.len());
            assert!(rows.iter().all(|cells| cells.count() == rows.column_count));
        }
    }
}

/// Steps over a stream to its end; gives the bodies that were found in it.
fn walk(mut frames: Frames, mut bytes: &[u8]) -> Vec<Vec<u8>> {
    let mut bodies = Vec::new();
    loop {
        let step = frames.next(bytes);
        match &step {
            Step::Need(more) => {
                assert!(*more > 0 && *more <= frames.limit());
                return bodies;
            }
            Step::Frame { body, .. } => bodies.push(bytes[body.clone()].to_vec()),
            Step::Refused { error, .. } if error.is_fatal() => return bodies,
            Step::Refused { .. } | Step::Skip(_) => {}
        }
        assert!(step.used() > 0);
        bytes = &bytes[step.used()..];
    }
}

proptest! {
    #![proptest_config(cases())]

    #[test]
    fn prop_requests_come_as_they_were_sent(
        sent in sent(), stream: i16, tracing: bool, payload in proptest::option::of(vec(any::<u8>(), 0..9)),
    ) {
        let entry = [("key", payload.as_deref())];
        let send = Send { stream, tracing, payload: if payload.is_some() { &entry } else { &[] } };
        let bytes = sent.bytes(&send);
        let (header, body) = one(Frames::of_requests(usize::MAX), &bytes);
        prop_assert_eq!(header.stream, stream);
        prop_assert_eq!(header.flags.tracing(), tracing);
        sent.assert_is(&Request::parse(&header, body).unwrap());
        // What comes after the end is passed over.
        let longer = [body, b"and more"].concat();
        sent.assert_is(&Request::parse(&header, &longer).unwrap());
    }

    #[test]
    fn prop_answers_come_as_they_were_written(
        sent in answered(), stream: i16, tracing: Option<u128>, warnings in vec("[a-z]{0,9}", 0..3),
        payload in proptest::option::of(vec(any::<u8>(), 0..9)),
    ) {
        let entry = [("key", payload.as_deref())];
        let payload = if payload.is_some() { &entry[..] } else { &[] };
        let reply = Reply { stream, tracing: tracing.map(Uuid::from_u128), warnings: &warnings, payload };
        let bytes = sent.bytes(&reply);
        let (header, body) = one(Frames::of_answers(usize::MAX), &bytes);
        let found = Answer::parse(&header, body).unwrap();
        assert_is(&found.message, &sent);
        if !matches!(sent, Answered::Event(_)) {
            prop_assert_eq!(header.stream, stream);
            prop_assert_eq!(found.before.tracing, reply.tracing);
            prop_assert_eq!(found.before.payload, payload);
            prop_assert_eq!(found.before.warnings, warnings);
        }
    }

    #[test]
    fn prop_cut_anywhere_it_is_refused(sent in sent(), answered in answered()) {
        let bytes = sent.bytes(&Send::on(1));
        let (header, body) = one(Frames::of_requests(usize::MAX), &bytes);
        for len in 0..body.len() {
            prop_assert!(Request::parse(&header, &body[..len]).is_err(), "{} of {}", len, body.len());
        }
        let bytes = answered.bytes(&Reply::to(1));
        let (header, body) = one(Frames::of_answers(usize::MAX), &bytes);
        for len in 0..body.len() {
            prop_assert!(Answer::parse(&header, &body[..len]).is_err(), "{} of {}", len, body.len());
        }
    }

    #[test]
    fn prop_random_bytes_never_panic(bytes in vec(any::<u8>(), 0..200), flags: u8) {
        read_as_anything(&bytes, flags);
        walk(Frames::of_requests(100), &bytes);
        walk(Frames::of_answers(100), &bytes);
        let mut out = Vec::new();
        let _ = decompress(&bytes, 1 << 16, &mut out);
        prop_assert!(out.len() <= 1 << 16);
    }

    #[test]
    fn prop_damaged_frames_never_panic(sent in sent(), answered in answered(), damage in damage(), flags: u8) {
        for bytes in [sent.bytes(&Send::on(1)), answered.bytes(&Reply::to(1))] {
            let bytes = damaged(bytes, &damage);
            for body in walk(Frames::of_requests(1 << 16), &bytes) {
                read_as_anything(&body, flags);
            }
            walk(Frames::of_answers(1 << 16), &bytes);
            if let Some(body) = bytes.get(HEADER_LEN..) {
                read_as_anything(body, 0);
                read_as_anything(body, flags);
            }
        }
    }

    #[test]
    fn prop_streams_are_cut_into_the_same_frames_however_they_arrive(
        sent in vec(sent(), 1..6), limit in 20usize..200, pieces in vec(1usize..40, 1..20),
    ) {
        let frames: Vec<_> = sent.iter().map(|sent| sent.bytes(&Send::on(3))).collect();
        let stream = frames.concat();
        let allowed = frames.iter().filter(|frame| frame.len() <= limit);
        let bodies: Vec<_> = allowed.map(|frame| frame[HEADER_LEN..].to_vec()).collect();
        prop_assert_eq!(&walk(Frames::of_requests(limit), &stream), &bodies);

        let (mut state, mut buffer, mut found) = (Frames::of_requests(limit), Vec::new(), Vec::new());
        let (mut rest, mut pieces) = (&stream[..], pieces.iter().cycle());
        while !rest.is_empty() {
            let len = (*pieces.next().unwrap()).min(rest.len());
            buffer.extend_from_slice(&rest[..len]);
            rest = &rest[len..];
            loop {
                let step = state.next(&buffer);
                if let Step::Frame { body, .. } = &step {
                    found.push(buffer[body.clone()].to_vec());
                }
                if step.used() == 0 {
                    break;
                }
                buffer.drain(..step.used());
            }
        }
        prop_assert!(buffer.is_empty());
        prop_assert_eq!(found, bodies);
    }

    #[test]
    fn prop_compressed_bodies_come_back(page in crate::strategies::page(), times in 1usize..40) {
        let mut page = page;
        page.cells = page.cells.iter().cycle().take(page.cells.len() * times).cloned().collect();
        let mut bytes = b"before".to_vec();
        page.put(&Reply::to(1), &mut bytes);
        let plain = bytes.split_off(6);
        bytes.extend_from_slice(&plain);
        let compressed = Compressor::new().compress(&mut bytes, 6);
        let bytes = bytes.split_off(6);
        let (header, body) = one(Frames::of_answers(usize::MAX), &bytes);
        prop_assert_eq!(header.flags.compressed(), compressed);
        if compressed {
            prop_assert!(bytes.len() < plain.len());
            let mut out = Vec::new();
            decompress(body, plain.len(), &mut out).unwrap();
            prop_assert_eq!(&out, &plain[HEADER_LEN..]);
            prop_assert!(decompress(body, out.len() - 1, &mut Vec::new()).is_err());
        } else {
            prop_assert_eq!(bytes, plain);
        }
    }
}

#[test]
fn the_helpers_of_these_tests_see_a_difference() {
    let bytes = Answered::SetKeyspace("a".to_owned()).bytes(&Reply::to(1));
    let other = Answered::SetKeyspace("b".to_owned());
    assert!(std::panic::catch_unwind(|| assert_is(&message(&bytes), &other)).is_err());
    let bytes = crate::strategies::Sent::Options.bytes(&Send::on(1));
    let other = crate::strategies::Sent::Prepare(String::new());
    assert!(std::panic::catch_unwind(|| other.assert_is(&request(&bytes))).is_err());
}
