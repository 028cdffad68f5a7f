//! The format, held by files: today's codec writes exactly the bytes of `tests/golden/commitlog/v1`, and reads them.
//!
//! To write the files anew (a new version of the format, never a change of an old one):
//! `SCROLLBACK_GOLDEN=write cargo test -p scrollback-commitlog --test golden`.
#![allow(clippy::unwrap_used, reason = "helpers of tests")]
#![expect(
    clippy::disallowed_methods,
    reason = "the golden files lie in the source tree, and no shard runs here"
)]

mod common;

use std::path::PathBuf;

use commitlog::format::SegmentName;
use commitlog::inspect::{Entry, dump, inspect_log};
use common::closed_log;

fn folder() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../tests/golden/commitlog/v1")
}

/// The files of version 1 and their dump.
fn files() -> Vec<(String, Vec<u8>)> {
    let (images, _, _) = closed_log();
    let mut text = Vec::new();
    let mut files = Vec::new();
    for image in &images {
        dump(image.name(), &image.bytes, &mut text).unwrap();
        files.push((image.name().to_string(), image.bytes.clone()));
    }
    files.push(("dump.txt".into(), text));
    files
}

#[test]
fn writer_gives_the_golden_bytes() {
    let folder = folder();
    let write = std::env::var("SCROLLBACK_GOLDEN").is_ok_and(|v| v == "write");
    if write {
        std::fs::create_dir_all(&folder).unwrap();
    }
    for (name, bytes) in files() {
        let path = folder.join(&name);
        if write {
            std::fs::write(&path, &bytes).unwrap();
        }
        let golden = std::fs::read(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        let differs = golden.iter().zip(&bytes).position(|(a, b)| a != b);
        assert_eq!(
            (golden.len(), differs),
            (bytes.len(), None),
            "{name} differs from what is written today"
        );
    }
}

#[test]
fn reader_reads_the_golden_files() {
    let names = ["0000000000000007-9f03a1c4.log", "0000000000000008-000000b7.log"];
    let files = names.map(|name| {
        let path = folder().join(name);
        (SegmentName::parse(name).unwrap(), std::fs::read(&path).unwrap())
    });
    let segments: Vec<_> = files.iter().map(|(name, bytes)| (*name, bytes.as_slice())).collect();
    let mut read = Vec::new();
    let log = inspect_log(&segments, 7, |_, entry| {
        if let Entry::Record(record) = entry {
            read.push(record.payload.to_vec());
        }
    });
    let (_, records, vouched) = closed_log();
    assert_eq!(read, records);
    let log = log.unwrap();
    assert_eq!((log.segments, log.records, log.torn), (2, records.len() as u64, false));
    assert_eq!(log.vouched, vouched);
    let mut text = Vec::new();
    for (name, bytes) in &files {
        dump(*name, bytes, &mut text).unwrap();
    }
    assert_eq!(
        String::from_utf8(text).unwrap(),
        std::fs::read_to_string(folder().join("dump.txt")).unwrap()
    );
}
