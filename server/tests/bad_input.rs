//! Bad input over the real command line: one clear sentence, status 1 or 2, and a store that is as it was.

#![expect(clippy::unwrap_used, reason = "helpers of tests")]

use std::{
    fs,
    io::Write,
    path::Path,
    process::{Command, Output},
};

fn scrollback(args: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_scrollback"))
        .args(args)
        .output()
        .unwrap()
}

fn line(ts_ms: i64, content: &str) -> String {
    format!("{{\"ts_ms\":{ts_ms},\"channel\":\"#c\",\"author\":\"a\",\"content\":\"{content}\"}}\n")
}

#[expect(clippy::disallowed_methods, reason = "a test's own file")]
fn file(dir: &Path, name: &str, bytes: &[u8]) -> String {
    let path = dir.join(name);
    fs::write(&path, bytes).unwrap();
    path.to_str().unwrap().to_owned()
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

#[test]
fn every_bad_input_is_refused_with_one_sentence() {
    const T: i64 = 1_600_000_000_000;
    let folder = tempfile::Builder::new()
        .prefix("bad-input-")
        .tempdir_in(env!("CARGO_TARGET_TMPDIR"))
        .unwrap();
    let dir = folder.path();
    let store = dir.join("store").to_str().unwrap().to_owned();
    fs::create_dir(&store).unwrap();
    let history = || {
        scrollback(&[
            "history",
            "--data",
            &store,
            "--channel",
            "#c",
            "--all",
            "--format",
            "jsonl",
        ])
        .stdout
    };

    // Contents of 0 bytes and of 1 MiB are legal.
    let good = [line(T, ""), line(T, &"x".repeat(1 << 20)), line(T + 1, "y")].concat();
    let good = file(dir, "good.jsonl", good.as_bytes());
    let imported = scrollback(&["import", "--data", &store, "--shards", "1", &good]);
    assert!(
        imported.status.success(),
        "{}",
        String::from_utf8_lossy(&imported.stderr)
    );
    let whole = history();
    assert_eq!(whole.iter().filter(|b| **b == b'\n').count(), 3);

    let text: String = (0..500).map(|i| line(T + i, "z")).collect();
    let packed = gzip(text.as_bytes());
    let files = [
        ("malformed", "malformed.jsonl", b"{\"ts_ms\":1]\n".to_vec()),
        ("JSON cut short", "cut.jsonl", line(T, "x").as_bytes()[..40].to_vec()),
        (
            "line 2: empty",
            "empty-line.jsonl",
            [line(T, "x").as_bytes(), b"\n"].concat(),
        ),
        ("not gzip", "not.jsonl.gz", b"hello hello hello".to_vec()),
        ("cut short", "cut.jsonl.gz", packed[..packed.len() - 4].to_vec()),
        ("before the store's epoch", "early.jsonl", line(1, "x").into_bytes()),
        ("beyond the 41 bits", "late.jsonl", line(i64::MAX, "x").into_bytes()),
        (
            "more than 1 MiB",
            "long.jsonl",
            line(T, &"x".repeat((1 << 20) + 1)).into_bytes(),
        ),
        (
            "not UTF-8",
            "latin.jsonl",
            [&line(T, "x").into_bytes()[..], b"\xe9\n"].concat(),
        ),
    ];
    let files = files.map(|(expected, name, bytes)| (expected, file(dir, name, &bytes)));
    let empty = dir.join("empty").to_str().unwrap().to_owned();
    fs::create_dir(&empty).unwrap();

    let mut rows: Vec<(&str, i32, Vec<&str>)> = Vec::new();
    for (expected, path) in &files {
        rows.push((expected, 1, vec!["import", "--data", &store, path]));
    }
    for id in ["0", "-1", "9223372036854775807", "9223372036854775808", "x"] {
        rows.push((
            "not a message id",
            2,
            vec!["history", "--data", &store, "--channel", "#c", "--all", "--before", id],
        ));
        rows.push((
            "not a message id",
            2,
            vec!["delete", "--data", &store, "--channel", "#c", "--id", id],
        ));
        rows.push((
            "not a message id",
            2,
            vec![
                "edit",
                "--data",
                &store,
                "--channel",
                "#c",
                "--id",
                id,
                "--content",
                "x",
            ],
        ));
    }
    rows.push((
        "there is no message 5",
        1,
        vec!["delete", "--data", &store, "--channel", "#c", "--id", "5"],
    ));
    rows.push((
        "there is no channel",
        1,
        vec!["history", "--data", &store, "--channel", "#d", "--all"],
    ));
    rows.push((
        "name may not be empty",
        1,
        vec!["history", "--data", &store, "--channel", "", "--all"],
    ));
    rows.push((
        "epoch is 2015-01-01T00:00:00Z",
        1,
        vec!["import", "--data", &store, "--epoch", "2004-01-01T00:00:00Z", &good],
    ));
    rows.push((
        "cannot be opened with 2",
        1,
        vec!["import", "--data", &store, "--shards", "2", &good],
    ));
    rows.push((
        "a time is written as",
        2,
        vec!["import", "--data", &store, "--epoch", "yesterday", &good],
    ));
    rows.push((
        "a size",
        2,
        vec!["import", "--data", &store, "--memtable-bytes", "lots", &good],
    ));
    rows.push((
        "no store in this directory",
        1,
        vec!["history", "--data", &empty, "--channel", "#c", "--all"],
    ));
    rows.push(("not a directory", 1, vec!["stats", "--data", &good]));
    rows.push(("no such directory", 1, vec!["check", "--data", "/nowhere/at/all"]));
    rows.push(("good.jsonl", 1, vec!["sstable", "verify", &good]));
    rows.push(("--limit", 2, vec!["history", "--data", &store, "--channel", "#c"]));
    for (expected, status, args) in rows {
        let output = scrollback(&args);
        let sentence = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(status), "{args:?}: {sentence}");
        assert!(
            sentence.contains(expected),
            "{args:?}: {sentence:?} says nothing of {expected:?}"
        );
        assert_eq!(sentence.lines().count(), 1, "{args:?}: {sentence:?}");
        assert!(output.stdout.is_empty(), "{args:?}");
    }
    assert_eq!(history(), whole, "the store is as it was");
    let check = scrollback(&["check", "--data", &store]);
    assert!(check.status.success(), "{}", String::from_utf8_lossy(&check.stdout));
}
