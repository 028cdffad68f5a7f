//! What clients send: frames in a stream, compressed bodies, requests with their values.
#![no_main]

use cql::frame::client::{self, Send};
use cql::frame::{
    BatchStatement, Error, Flags, Frames, Header, Opcode, Parameters, Reply, Request, Step, Value, Values, decompress,
};
use libfuzzer_sys::fuzz_target;

const LIMIT: usize = 8 << 10;
const REQUESTS: [Opcode; 8] = [
    Opcode::Execute,
    Opcode::Query,
    Opcode::Batch,
    Opcode::Startup,
    Opcode::Register,
    Opcode::Prepare,
    Opcode::AuthResponse,
    Opcode::Options,
];

fuzz_target!(|bytes: &[u8]| {
    stream(bytes);
    // The body of a request alone.
    if let [opcode, flags, body @ ..] = bytes {
        let header = Header {
            flags: Flags(flags & Flags::PAYLOAD),
            stream: 0,
            opcode: REQUESTS[usize::from(*opcode) % REQUESTS.len()],
            length: body.len() as u32,
        };
        request(&header, body);
    }
    let mut body = Vec::new();
    match decompress(bytes, LIMIT, &mut body) {
        Ok(()) => assert_eq!(bytes[..4], (body.len() as u32).to_be_bytes()),
        Err(_) => assert!(body.is_empty()),
    }
    assert!(body.len() <= LIMIT);
});

fn stream(mut bytes: &[u8]) {
    let (mut frames, mut body_buffer) = (Frames::of_requests(LIMIT), Vec::new());
    loop {
        let step = frames.next(bytes);
        match &step {
            Step::Need(more) => {
                assert!((1..=LIMIT).contains(more));
                return;
            }
            Step::Frame { header, body } => {
                let body = &bytes[body.clone()];
                if header.flags.compressed() {
                    if decompress(body, LIMIT, &mut body_buffer).is_ok() {
                        request(header, &body_buffer);
                    }
                } else {
                    request(header, body);
                }
            }
            Step::Refused { stream, error, .. } => {
                refuse(*stream, error);
                if error.is_fatal() {
                    return;
                }
            }
            Step::Skip(_) => {}
        }
        assert!(step.used() > 0);
        bytes = &bytes[step.used()..];
    }
}

fn refuse(stream: i16, error: &Error) {
    let mut out = Vec::new();
    Reply::to(stream).refuse(&mut out, error);
    assert!(matches!(Frames::of_answers(1 << 17).next(&out), Step::Frame { .. }));
}

fn request(header: &Header, body: &[u8]) {
    let request = match Request::parse(header, body) {
        Ok(request) => request,
        Err(error) => return refuse(header.stream, &error),
    };
    // Written again and read again, it is the same.
    let mut out = Vec::new();
    let send = Send::on(header.stream);
    match request {
        Request::Query { text, parameters } => with(&parameters, |again| send.query(&mut out, text, again)),
        Request::Execute { id, parameters } => with(&parameters, |again| send.execute(&mut out, id, again)),
        Request::Batch(batch) => {
            let statements: Vec<_> = batch
                .statements()
                .map(|(of, values)| (of, positional(&values)))
                .collect();
            assert_eq!(statements.len(), batch.len());
            let parameters = client::BatchParameters {
                consistency: batch.consistency,
                serial_consistency: batch.serial_consistency,
                timestamp: batch.timestamp,
            };
            let of = statements.iter().map(|(of, values)| (*of, &values[..]));
            send.batch(&mut out, batch.batch_type, of, &parameters);
        }
        Request::Startup(startup) => {
            let options: Vec<_> = startup.options().collect();
            let _ = (
                startup.cql_version(),
                startup.compression(),
                startup.throw_on_overload(),
            );
            send.startup(&mut out, &options);
        }
        Request::Register(events) => send.register(&mut out, events),
        Request::Prepare { text } => send.prepare(&mut out, text),
        Request::AuthResponse(token) => send.auth_response(&mut out, token),
        Request::Options => send.options(&mut out),
    }
    let Step::Frame { header, body } = Frames::of_requests(usize::MAX).next(&out) else {
        panic!("our own frame")
    };
    let again = Request::parse(&header, &out[body]).expect("our own request");
    assert_eq!(shown(&again), shown(&request));
}

fn positional<'a>(values: &Values<'a>) -> Vec<Value<'a>> {
    let found: Vec<_> = values.iter().map(|(_, value)| value).collect();
    assert_eq!(found.len(), values.len());
    found
}

fn with(of: &Parameters<'_>, send: impl FnOnce(&client::Parameters<'_>)) {
    let values = positional(&of.values);
    let names = of.values.iter().filter_map(|(name, value)| Some((name?, value)));
    let named: Vec<_> = names.collect();
    send(&client::Parameters {
        consistency: of.consistency,
        values: if of.values.is_named() {
            assert_eq!(named.len(), values.len());
            client::Values::Named(&named)
        } else {
            client::Values::Positional(&values)
        },
        skip_metadata: of.skip_metadata,
        page_size: of.page_size.map(|rows| rows as i32),
        paging_state: of.paging_state,
        serial_consistency: of.serial_consistency,
        timestamp: of.timestamp,
    });
}

/// All there is in a request.
fn shown(request: &Request<'_>) -> String {
    let parameters = |of: &Parameters<'_>| {
        let values: Vec<_> = of.values.iter().collect();
        let rest = (of.page_size, of.paging_state, of.serial_consistency, of.timestamp);
        format!("{:?} {values:?} {} {rest:?}", of.consistency, of.skip_metadata)
    };
    match request {
        Request::Query { text, parameters: of } => format!("{text} {}", parameters(of)),
        Request::Execute { id, parameters: of } => format!("{id:?} {}", parameters(of)),
        Request::Batch(of) => {
            let statements: Vec<(BatchStatement<'_>, Vec<Value<'_>>)> = of
                .statements()
                .map(|(statement, values)| (statement, positional(&values)))
                .collect();
            let rest = (of.batch_type, of.consistency, of.serial_consistency, of.timestamp);
            format!("{statements:?} {rest:?}")
        }
        Request::Startup(of) => format!("{:?}", of.options().collect::<Vec<_>>()),
        other => format!("{other:?}"),
    }
}
