//! What each request and each page pays at the wire: an EXECUTE with 5 values found, read and its values walked; a page of 50 rows of 5
//! columns written.
//!
//! `cargo bench -p scrollback-cql`; goals: the EXECUTE under 100 ns, the page under 3 us, nothing allocated
//! (`tests/frame_allocations.rs` holds that).

use std::hint::black_box;

use criterion::{Criterion, Throughput};
use model::CqlType;
use scrollback_cql::frame::client::{self, Answer, Message, Send};
use scrollback_cql::frame::{
    Column, Compressor, Frames, Metadata, Reply, Request, Step, Value, decompress, open_bytes,
};

/// Reads the frame, and gives the bytes of its values.
fn read(received: &[u8]) -> usize {
    let Step::Frame { header, body } = Frames::of_requests(16 << 20).next(received) else {
        panic!("no frame")
    };
    let Ok(Request::Execute { id, parameters }) = Request::parse(&header, &received[body]) else {
        panic!("no execute")
    };
    let len = |(_, value)| match value {
        Value::Bytes(bytes) => bytes.len(),
        Value::Null | Value::Unset => 0,
    };
    id.len() + parameters.values.iter().map(len).sum::<usize>()
}

fn requests(criterion: &mut Criterion) {
    let values = [
        Value::Bytes(&[7; 8]),
        Value::Bytes(&[1; 4]),
        Value::Bytes(&[3; 8]),
        Value::Bytes(&[4; 8]),
        Value::Bytes(&[b'm'; 200]),
    ];
    let parameters = client::Parameters {
        values: client::Values::Positional(&values),
        page_size: Some(5000),
        timestamp: Some(1_700_000_000_000_000),
        ..client::Parameters::default()
    };
    let mut bytes = Vec::new();
    Send::on(1).execute(&mut bytes, &[9; 16], &parameters);
    let mut group = criterion.benchmark_group("request");
    group.bench_function("EXECUTE with 5 values", |b| b.iter(|| read(black_box(&bytes))));
}

fn metadata() -> Metadata {
    let attachments = CqlType::Text.list();
    let columns = [
        ("channel_id", &CqlType::BigInt),
        ("bucket_id", &CqlType::Int),
        ("message_id", &CqlType::BigInt),
        ("content", &CqlType::Text),
        ("attachments", &attachments),
    ];
    Metadata::new(columns.map(|(name, ty)| Column {
        keyspace: "messages",
        table: "messages",
        name,
        ty,
    }))
}

fn page(out: &mut Vec<u8>, metadata: &Metadata, content: &[u8]) {
    out.clear();
    let mut rows = Reply::to(1).rows(out, metadata, false);
    for id in 0..50u64 {
        rows.value(Some(&7u64.to_be_bytes()));
        rows.value(Some(&3u32.to_be_bytes()));
        rows.value(Some(&id.to_be_bytes()));
        rows.value(Some(content));
        // A list of one element, in place.
        let cell = rows.open_value();
        let buffer = rows.buffer();
        buffer.extend_from_slice(&1i32.to_be_bytes());
        let element = open_bytes(buffer);
        buffer.extend_from_slice(b"a.png");
        element.close(buffer);
        cell.close(buffer);
    }
    rows.finish(Some(&[5; 40]));
}

fn answers(criterion: &mut Criterion) {
    let metadata = metadata();
    let words = "the quick brown fox jumps over the lazy dog; ".repeat(5);
    let content = &words.as_bytes()[..200];
    let mut out = Vec::new();
    page(&mut out, &metadata, content);
    let mut group = criterion.benchmark_group("page of 50 rows, 5 columns");
    group.throughput(Throughput::Bytes(out.len() as u64));
    group.bench_function("write", |b| {
        b.iter(|| page(black_box(&mut out), &metadata, black_box(content)));
    });
    group.bench_function("read", |b| {
        page(&mut out, &metadata, content);
        b.iter(|| {
            let Step::Frame { header, body } = Frames::of_answers(16 << 20).next(black_box(&out)) else {
                panic!("no frame")
            };
            let Ok(Answer {
                message: Message::Rows(rows),
                ..
            }) = Answer::parse(&header, &out[body])
            else {
                panic!("no rows")
            };
            rows.iter().flatten().flatten().map(<[u8]>::len).sum::<usize>()
        });
    });
    let mut compressor = Compressor::new();
    group.bench_function("write and compress", |b| {
        b.iter(|| {
            page(black_box(&mut out), &metadata, black_box(content));
            compressor.compress(&mut out, 0)
        });
    });
    let mut plain = Vec::new();
    group.bench_function("decompress", |b| {
        b.iter(|| decompress(black_box(&out[9..]), 16 << 20, &mut plain).expect("our own block"));
    });
}

fn main() {
    let mut criterion = Criterion::default().configure_from_args();
    requests(&mut criterion);
    answers(&mut criterion);
    criterion.final_summary();
}
