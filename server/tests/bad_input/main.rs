//! Bad input over the real command line, in tables: one clear sentence, status 1 or 2, and nothing stored is harmed.

#![allow(clippy::unwrap_used, reason = "helpers of tests")]

mod backups;
#[path = "../common/mod.rs"]
mod common;
mod directories;
mod files;
mod lines;

use common::{folder, history, scrollback, stdout_of, text, write};
use std::{
    ffi::{OsStr, OsString},
    io::Write,
    path::{Path, PathBuf},
    process::Output,
};

/// A time after the default epoch.
const T: i64 = 1_600_000_000_000;

/// One bad input: what is run, its status, and what its sentence says.
struct Row {
    args: Vec<OsString>,
    status: i32,
    says: &'static str,
}

fn row<A: AsRef<OsStr>>(status: i32, says: &'static str, args: impl IntoIterator<Item = A>) -> Row {
    let args = args.into_iter().map(|arg| arg.as_ref().to_owned()).collect();
    Row { args, status, says }
}

impl Row {
    /// Runs it and judges what came.
    fn check(&self) {
        self.judge(&scrollback(&self.args));
    }

    /// Runs it where it applies.
    fn check_if(&self, applies: bool) {
        if applies {
            self.check();
        }
    }

    fn judge(&self, output: &Output) {
        let stderr = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(self.status), "{:?}: {stderr}", self.args);
        // Lines of the log stand beside the sentence.
        let told: Vec<&str> = stderr.lines().filter(|line| !line.contains(" WARN ")).collect();
        assert_eq!(told.len(), 1, "{:?}: {stderr}", self.args);
        assert!(told[0].starts_with("scrollback: "), "{:?}: {stderr}", self.args);
        assert!(
            told[0].contains(self.says),
            "{:?}: {stderr:?} says nothing of {:?}",
            self.args,
            self.says
        );
    }
}

fn line(ts_ms: i64, content: &str) -> String {
    format!("{{\"ts_ms\":{ts_ms},\"channel\":\"#c\",\"author\":\"a\",\"content\":\"{content}\"}}\n")
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

/// A closed store of one shard with messages of `#c`, and the file that they came from.
fn closed_store(dir: &Path, name: &str) -> (PathBuf, PathBuf) {
    let chat: String = (0..2000)
        .map(|n| line(T + n * 1000, &format!("message {n} {}", "x".repeat(60))))
        .collect();
    let chat = write(dir.join(format!("{name}.jsonl")), chat.as_bytes());
    let store = dir.join(name);
    let args = ["import", "--data", text(&store), "--shards", "1", text(&chat)];
    stdout_of(args);
    (store, chat)
}

/// Runs the rows against a store whose channel `#c` must stay what it is.
fn check_rows(store: &Path, rows: &[Row]) {
    let whole = history(store, "#c");
    rows.iter().for_each(Row::check);
    assert_eq!(history(store, "#c"), whole, "the store is as it was");
    stdout_of(["check", "--data", text(store)]);
}

#[test]
fn bad_arguments() {
    let folder = folder("bad-arguments-");
    let (store, chat) = closed_store(folder.path(), "store");
    let (store_arg, chat) = (text(&store), text(&chat));
    let history = |more: &[&'static str]| {
        let mut args = vec!["history", "--data", store_arg, "--channel", "#c"];
        args.extend(more);
        args.into_iter().map(OsString::from).collect::<Vec<_>>()
    };
    let window = |more: &[&'static str]| {
        let first = ["window", "--data", store_arg, "--channel", "#c"];
        [&first[..], more].concat()
    };
    let mut rows = Vec::new();
    for id in [
        "0",
        "-1",
        "-9223372036854775808",
        "9223372036854775807",
        "9223372036854775808",
        "1e3",
        "x",
        "",
    ] {
        let says = "is not a message id: ids are whole numbers from 1 to 9223372036854775806";
        rows.push(row(2, says, history(&["--all", "--before", id])));
        rows.push(row(2, says, history(&["--all", "--after", id])));
        let change = ["--data", store_arg, "--channel", "#c", "--id", id];
        rows.push(row(2, says, [&["delete"], &change[..]].concat()));
        rows.push(row(2, says, [&["edit"], &change[..], &["--content", "x"]].concat()));
    }
    let not_utf8 = std::os::unix::ffi::OsStrExt::from_bytes;
    let not_utf8: &OsStr = not_utf8(b"caf\xe9");
    let send = [
        "send",
        "--data",
        store_arg,
        "--channel",
        "#c",
        "--author",
        "a",
        "--content",
    ]
    .map(OsString::from);
    for name in [
        "",
        "messages",
        "messages.",
        "messages.none",
        "nope.messages",
        "messages.messages.x",
        "a\nb",
    ] {
        let says = "; there are messages.messages, ";
        let args = ["compact", "--data", store_arg, "--table", name];
        rows.push(row(1, says, args));
        rows.push(row(1, "there is no table ", args));
    }
    rows.push(row(
        2,
        "unexpected argument '--table'",
        ["flush", "--data", store_arg, "--table", "messages.messages"],
    ));
    rows.push(row(
        2,
        "a value is required for '--table",
        ["compact", "--data", store_arg, "--table"],
    ));
    rows.extend([
        row(
            1,
            "there is no message 5",
            ["delete", "--data", store_arg, "--channel", "#c", "--id", "5"],
        ),
        row(
            1,
            "there is no message 9223372036854775806",
            [
                "edit",
                "--data",
                store_arg,
                "--channel",
                "#c",
                "--id",
                "9223372036854775806",
                "--content",
                "x",
            ],
        ),
        row(
            1,
            "there is no channel named \"#d\"",
            ["history", "--data", store_arg, "--channel", "#d", "--all"],
        ),
        row(
            1,
            "name may not be empty",
            ["history", "--data", store_arg, "--channel", "", "--all"],
        ),
        row(
            1,
            "name may not be empty",
            [
                "send",
                "--data",
                store_arg,
                "--channel",
                "#c",
                "--author",
                "",
                "--content",
                "x",
            ],
        ),
        row(2, "invalid UTF-8", [&send[..], &[not_utf8.to_owned()]].concat()),
        row(2, "--limit", history(&[])),
        row(2, "cannot be used with", history(&["--limit", "1", "--all"])),
        row(2, "0 is not in 1..", history(&["--limit", "0"])),
        row(2, "0 is not in 1..", history(&["--all", "--page-size", "0"])),
        row(
            2,
            "possible values: table, jsonl",
            history(&["--all", "--format", "xml"]),
        ),
        row(2, "unexpected argument '--newest'", history(&["--all", "--newest"])),
        row(
            2,
            "a time is written as",
            ["import", "--data", store_arg, "--epoch", "yesterday", chat],
        ),
        row(
            2,
            "a size",
            ["import", "--data", store_arg, "--memtable-bytes", "lots", chat],
        ),
        row(
            2,
            "memtable_bytes is 1",
            ["import", "--data", store_arg, "--memtable-bytes", "1", chat],
        ),
        row(
            2,
            "0 is not in 1..=64",
            ["import", "--data", store_arg, "--shards", "0", chat],
        ),
        row(2, "unrecognized subcommand 'scroll'", ["scroll"]),
        row(
            2,
            "1000 is not in 1..=64",
            ["stats", "--data", store_arg, "--shards", "1000"],
        ),
        row(2, "0 is not in 1..=87660", window(&["--hours", "0"])),
        row(2, "87661 is not in 1..=87660", window(&["--hours", "87661"])),
        row(
            2,
            "a time is written as",
            window(&["--hours", "1", "--from", "tomorrow"]),
        ),
        row(2, "--hours", window(&["--from", "2030-01-01T00:00:00Z"])),
        row(
            1,
            "lies before the store's epoch",
            window(&["--hours", "1", "--from", "2014-01-01T00:00:00Z"]),
        ),
        row(
            1,
            "there is no channel named \"#d\"",
            ["window", "--data", store_arg, "--channel", "#d", "--hours", "1"],
        ),
        row(
            1,
            "the store's epoch is 2015-01-01T00:00:00Z, fixed when it was created",
            ["import", "--data", store_arg, "--epoch", "2004-01-01T00:00:00Z", chat],
        ),
    ]);
    check_rows(&store, &rows);

    // An epoch that no store can have makes none.
    let new = folder.path().join("new");
    for epoch in ["1969-12-31T23:59:59Z", "2999-01-01T00:00:00Z"] {
        row(
            1,
            "cannot be used",
            ["import", "--data", text(&new), "--epoch", epoch, chat],
        )
        .check();
        assert!(!new.exists());
    }
}

#[test]
fn bad_configurations() {
    let folder = folder("bad-configurations-");
    let (store, _) = closed_store(folder.path(), "store");
    let dir = format!("dir = {:?}\n", text(&store));
    let of_store = |settings: &str| (dir.clone() + settings).into_bytes();
    let files: [(&str, Vec<u8>, &'static str); 12] = [
        ("empty", Vec::new(), "dir, the store's directory, is missing"),
        ("no-utf8", b"dir = \"\xff\"".to_vec(), "read of the configuration"),
        ("no-toml", of_store("shards 3"), "line 2: "),
        ("twice", of_store("pin = true\npin = true"), "line 3: "),
        ("huge", vec![b'#'; (1 << 20) + 1], "this is no configuration"),
        (
            "deep",
            of_store(&("pin = ".to_owned() + &"[".repeat(100_000))),
            "line 2: ",
        ),
        (
            "unknown",
            of_store("colour = 1"),
            "line 2: there is no setting \"colour\"; there are shards, ",
        ),
        ("near", of_store("log_bytes = 1"), "did you mean \"log_bytes_max\"?"),
        (
            "no-shards",
            of_store("shards = 0"),
            "the number of shards is 0; it must lie between 1 and 64",
        ),
        ("many-shards", of_store("shards = 1000"), "the number of shards is 1000"),
        ("kind", of_store("pin = 1"), "line 2: pin: it is true or false"),
        (
            "segment",
            of_store("log_segment_bytes = 1000000"),
            "log_segment_bytes is 1000000; it must be a multiple of 4096, the next is 1003520",
        ),
    ];
    let mut rows = Vec::new();
    for (name, bytes, says) in &files {
        let file = write(folder.path().join(name).with_extension("toml"), bytes);
        rows.push(row(
            1,
            says,
            ["history", "--config", text(&file), "--channel", "#c", "--all"].map(OsString::from),
        ));
    }
    let missing = folder.path().join("missing.toml");
    rows.push(row(
        1,
        "read of the configuration",
        ["history", "--config", text(&missing), "--channel", "#c", "--all"].map(OsString::from),
    ));
    rows.push(row(
        2,
        "--data <DIR>",
        ["history", "--channel", "#c", "--all"].map(OsString::from),
    ));
    check_rows(&store, &rows);

    // A good one says where the store is; what the command line says wins.
    let said = of_store("shards = 2\nlog_segment_bytes = \"1MiB\"\nlog_bytes_max = \"64MiB\"\n");
    let good = write(folder.path().join("good.toml"), &said);
    let shards = |more: &[&str]| {
        let told = stdout_of([&["stats", "--config", text(&good), "--format", "jsonl"], more].concat());
        told.matches("\"shard\":").count()
    };
    assert_eq!(shards(&[]), 2);
    assert_eq!(shards(&["--shards", "3"]), 3);
}
