//! Frames by laws and against others: what our client writes our server reads, whatever arrives nothing panics, and two independent
//! implementations of the protocol agree.

mod cassandra_protocol_oracle;
mod properties;
mod scylla_oracle;
mod strategies;

use scrollback_cql::frame::client::{Answer, Message};
use scrollback_cql::frame::{Frames, Header, Request, Step};

/// The one frame of `bytes`.
fn one(mut frames: Frames, bytes: &[u8]) -> (Header, &[u8]) {
    match frames.next(bytes) {
        Step::Frame { header, body } => {
            assert_eq!(body.end, bytes.len());
            (header, &bytes[body])
        }
        other => panic!("no frame: {other:?}"),
    }
}

fn request(bytes: &[u8]) -> Request<'_> {
    let (header, body) = one(Frames::of_requests(usize::MAX), bytes);
    Request::parse(&header, body).expect("a request")
}

fn message(bytes: &[u8]) -> Message<'_> {
    let (header, body) = one(Frames::of_answers(usize::MAX), bytes);
    Answer::parse(&header, body).expect("an answer").message
}
