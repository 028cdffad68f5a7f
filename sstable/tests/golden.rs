//! The golden files of each version: today's writer gives exactly version 1's bytes, today's reader reads every version.
//!
//! `SCROLLBACK_GOLDEN=write cargo test -p scrollback-sstable --test golden` writes them anew.
#![allow(clippy::unwrap_used, reason = "tests")]
#![allow(clippy::disallowed_methods, reason = "golden files are compared outside a shard")]

#[path = "../../tests/golden/sstable/v1/generate.rs"]
mod v1;

use std::fs;
use std::path::{Path, PathBuf};

use scrollback_sstable::offline;

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/golden/sstable/v1")
}

fn text(bytes: &[u8]) -> String {
    let mut out = Vec::new();
    offline::dump(bytes, &mut out).unwrap().unwrap();
    let stats = offline::stats(bytes).unwrap();
    let text = String::from_utf8(out).unwrap();
    // Long values are cut for the reader's eyes.
    let lines = text
        .lines()
        .map(|line| line.chars().take(400).collect::<String>() + "\n");
    lines.collect::<String>() + &format!("\n{stats}")
}

#[test]
fn version_1_is_written_and_read_as_ever() {
    let mut wrong = Vec::new();
    for (name, bytes) in v1::files() {
        let (file, dump) = (
            folder().join(format!("{name}.sst")),
            folder().join(format!("{name}.txt")),
        );
        if std::env::var("SCROLLBACK_GOLDEN").is_ok_and(|v| v == "write") {
            fs::write(&file, &bytes).unwrap();
            fs::write(&dump, text(&bytes)).unwrap();
        }
        let golden = fs::read(&file).unwrap();
        if bytes != golden {
            let at = bytes
                .iter()
                .zip(&golden)
                .position(|(a, b)| a != b)
                .unwrap_or(bytes.len().min(golden.len()));
            wrong.push(format!("the writer's {name}.sst differs from byte {at} on"));
        }
        // The reader's part does not depend on the writer.
        match offline::verify(&golden) {
            Ok(_) if text(&golden) == fs::read_to_string(&dump).unwrap() => {}
            Ok(_) => wrong.push(format!("the dump of {name}.sst is not {name}.txt")),
            Err(damage) => wrong.push(format!("the reader finds {name}.sst damaged: {damage}")),
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("; "));
}
