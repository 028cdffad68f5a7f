//! What servers send, as our own client reads it.
#![no_main]

use cql::frame::client::{Answer, Message};
use cql::frame::{Column, Event, Flags, Frames, Header, Metadata, NamedColumn, Opcode, Reply, Step, decompress};
use libfuzzer_sys::fuzz_target;

const LIMIT: usize = 8 << 10;
const ANSWERS: [Opcode; 8] = [
    Opcode::Result,
    Opcode::Error,
    Opcode::Event,
    Opcode::Supported,
    Opcode::Ready,
    Opcode::Authenticate,
    Opcode::AuthChallenge,
    Opcode::AuthSuccess,
];

fuzz_target!(|bytes: &[u8]| {
    stream(bytes);
    // The body of an answer alone.
    if let [opcode, flags, body @ ..] = bytes {
        let header = Header {
            flags: Flags(flags & !Flags::COMPRESSED),
            stream: 0,
            opcode: ANSWERS[usize::from(*opcode) % ANSWERS.len()],
            length: body.len() as u32,
        };
        answer(&header, body);
    }
});

fn stream(mut bytes: &[u8]) {
    let (mut frames, mut body_buffer) = (Frames::of_answers(LIMIT), Vec::new());
    loop {
        let step = frames.next(bytes);
        match &step {
            Step::Need(_) => return,
            Step::Frame { header, body } => {
                let body = &bytes[body.clone()];
                if header.flags.compressed() {
                    if decompress(body, LIMIT, &mut body_buffer).is_ok() {
                        answer(header, &body_buffer);
                    }
                } else {
                    answer(header, body);
                }
            }
            Step::Refused { error, .. } if error.is_fatal() => return,
            Step::Refused { .. } | Step::Skip(_) => {}
        }
        assert!(step.used() > 0);
        bytes = &bytes[step.used()..];
    }
}

/// Columns written again.
fn metadata(columns: &[NamedColumn<'_>]) -> Metadata {
    Metadata::new(columns.iter().map(|of| Column {
        keyspace: of.keyspace,
        table: of.table,
        name: of.name,
        ty: &of.ty,
    }))
}

fn answer(header: &Header, body: &[u8]) {
    let Ok(answer) = Answer::parse(header, body) else {
        return;
    };
    let reply = Reply::to(header.stream);
    let mut out = Vec::new();
    match &answer.message {
        Message::Error { message, body } => reply.error(&mut out, message, body),
        Message::SchemaChange(change) => reply.schema_change(&mut out, change),
        Message::Event(event) => Event::put(event, &mut out),
        Message::Rows(rows) => {
            assert_eq!(rows.iter().count(), rows.len());
            let Some(columns) = &rows.columns else { return };
            let mut again = reply.rows(&mut out, &metadata(columns), false);
            for row in rows {
                let before = again.rows();
                row.for_each(|cell| again.value(cell));
                assert_eq!(again.rows(), before + 1, "a row is whole");
            }
            again.finish(rows.paging_state);
        }
        Message::Prepared(prepared) => {
            let _ = metadata(&prepared.markers);
            return;
        }
        _ => return,
    }
    let Step::Frame { header, body } = Frames::of_answers(usize::MAX).next(&out) else {
        panic!("our own frame")
    };
    let again = Answer::parse(&header, &out[body]).expect("our own answer");
    assert_eq!(shown(&again.message), shown(&answer.message));
}

fn shown(message: &Message<'_>) -> String {
    match message {
        Message::Rows(rows) => {
            let cells: Vec<Vec<_>> = rows.iter().map(Iterator::collect).collect();
            format!("{:?} {cells:?} {:?}", rows.columns, rows.paging_state)
        }
        other => format!("{other:?}"),
    }
}
