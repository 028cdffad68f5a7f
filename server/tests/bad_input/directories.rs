//! Directories that are no store, or cannot be used as one.

use super::{Row, T, check_rows, closed_store, line, row};
use crate::common::{PROGRAM, copy, folder, history, is_read_only, read, rename, text, write};
use std::{
    ffi::OsString,
    fs,
    io::{BufRead, BufReader, Write},
    os::unix::{fs::PermissionsExt, net::UnixListener},
    path::Path,
    process::{Command, Output, Stdio},
    thread,
};

/// The status of a script that could not mount what it needs.
const NO_MOUNT: i32 = 77;

/// Tells that a test could not do its work; `cargo xtask ci` counts such lines. Past the harness, which would keep it from
/// the log of a test that passes.
fn skipped(what: &str, why: &str) {
    let line = format!("SKIPPED: {what}: {why}\n");
    std::io::stdout().write_all(line.as_bytes()).unwrap();
}

/// Runs a shell script in mounts of its own, with `args` as its own; `None`, told, where that is impossible.
fn with_mounts(what: &str, script: &str, args: &[&str]) -> Option<Output> {
    let mut why = "unshare is not installed".to_owned();
    for flags in ["-m", "-rm"] {
        let output = Command::new("unshare")
            .args([flags, "sh", "-c", script, "sh"])
            .args(args)
            .output();
        let Ok(output) = output else { break };
        let stderr = String::from_utf8_lossy(&output.stderr);
        // Older kernels have no direct I/O on the file system in memory.
        let possible = output.status.code() != Some(NO_MOUNT) && !stderr.contains("no direct I/O");
        if possible && !stderr.starts_with("unshare:") {
            return Some(output);
        }
        why = stderr.lines().next().unwrap_or("a mount failed").to_owned();
    }
    skipped(what, &why);
    None
}

#[test]
fn directories_that_are_no_store() {
    let folder = folder("bad-directories-");
    let dir = folder.path();
    let (store, chat) = closed_store(dir, "store");
    let chat = text(&chat);
    let (empty, other, lost) = (dir.join("empty"), dir.join("other"), dir.join("lost"));
    fs::create_dir(&empty).unwrap();
    fs::create_dir(&other).unwrap();
    let notes = write(other.join("notes.txt"), b"mine");
    copy(&store, &lost);
    rename(&lost.join("MANIFEST"), &dir.join("aside"));
    let nowhere = dir.join("nowhere");

    let mut rows = Vec::new();
    for (data, says) in [
        (&empty, "there is no store in this directory"),
        (&other, "there is no store in this directory"),
        (&notes, "not a directory"),
        (&nowhere, "there is no such directory"),
        (
            &lost,
            "lost/MANIFEST is missing, and the store needs it; restore it from a backup",
        ),
    ] {
        rows.push(row(
            1,
            says,
            ["history", "--data", text(data), "--channel", "#c", "--all"],
        ));
        rows.push(row(1, says, ["channels", "--data", text(data)]));
        rows.push(row(1, says, ["stats", "--data", text(data)]));
        rows.push(row(1, says, ["check", "--data", text(data)]));
        for command in ["compact", "flush", "compaction-stats", "disk-usage"] {
            rows.push(row(1, says, [command, "--data", text(data)]));
        }
        let message = ["--channel", "#c", "--author", "a", "--content", "x"];
        rows.push(row(1, says, [&["send", "--data", text(data)], &message[..]].concat()));
    }
    let import = |data: &'_ Path| {
        [
            "import".to_owned(),
            "--data".to_owned(),
            text(data).to_owned(),
            chat.to_owned(),
        ]
    };
    rows.push(row(1, "other is not a store: it holds notes.txt", import(&other)));
    rows.push(row(1, "not a directory", import(&notes)));
    rows.push(row(1, "MANIFEST is missing", import(&lost)));
    rows.push(row(1, "not empty", ["demo", "--data", text(&other), "--seconds", "1"]));
    rows.push(row(1, "not an sstable", ["sstable", "dump", chat]));
    rows.push(row(1, "not an sstable", ["sstable", "verify", chat]));
    rows.push(row(1, "not an sstable", ["sstable", "stats", chat]));
    rows.push(row(1, "not a plain file", ["sstable", "verify", text(&other)]));
    rows.push(row(1, "cannot be opened", ["sstable", "verify", text(&nowhere)]));
    check_rows(&store, &rows);

    assert_eq!(fs::metadata(&empty).unwrap().len(), fs::metadata(&other).unwrap().len());
    assert_eq!(
        crate::common::files_below(&other),
        [notes],
        "nothing was put beside somebody's files"
    );
    assert_eq!(crate::common::files_below(&empty).len(), 0);
    assert!(!nowhere.exists());
    rename(&dir.join("aside"), &lost.join("MANIFEST"));
    assert_eq!(
        history(&lost, "#c"),
        history(&store, "#c"),
        "with its manifest it is a store again"
    );
}

#[test]
fn a_store_that_is_open_elsewhere() {
    let folder = folder("open-elsewhere-");
    let (store, chat) = closed_store(folder.path(), "store");
    let whole = history(&store, "#c");
    let mut other = Command::new(PROGRAM)
        .args(["demo-worker", "--data", text(&store), "--seed", "1", "--clients", "1"])
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    // Kept open: a worker whose pipe is closed ends.
    let mut worker = BufReader::new(other.stdout.take().unwrap());
    let mut ready = String::new();
    worker.read_line(&mut ready).unwrap();
    assert_eq!(ready, "ready\n");
    for args in [
        vec!["history", "--data", text(&store), "--channel", "#c", "--all"],
        vec!["import", "--data", text(&store), text(&chat)],
        vec!["check", "--data", text(&store)],
    ] {
        row(1, "is in use by another process", args).check();
    }
    // Without its socket it cannot be asked either.
    rename(&store.join("statistics.sock"), &store.join("aside.sock"));
    for command in ["compact", "flush", "compaction-stats", "disk-usage"] {
        let says = "is in use by another process";
        row(1, says, [command, "--data", text(&store)]).check();
        let says = "it could not be asked: it has no statistics.sock";
        row(1, says, [command, "--data", text(&store)]).check();
    }
    other.kill().unwrap();
    other.wait().unwrap();
    assert_eq!(history(&store, "#c"), whole);
}

#[test]
#[expect(clippy::disallowed_methods, reason = "a thread of a test, outside every shard")]
fn sockets_that_no_store_answers_on() {
    let folder = folder("bad-sockets-");
    let (store, _) = closed_store(folder.path(), "store");
    let whole = history(&store, "#c");
    let socket = store.join("statistics.sock");
    // Somebody listens, and says nothing.
    let silent = UnixListener::bind(&socket).unwrap();
    let says = "nobody answers; if no store runs there, remove this file";
    row(1, says, ["flush", "--data", text(&store)]).check();
    drop(silent);
    crate::common::remove(&socket);
    // Somebody says something else.
    let other = UnixListener::bind(&socket).unwrap();
    let answers = thread::spawn(move || {
        for peer in other.incoming().take(2) {
            let mut peer = BufReader::new(peer.unwrap());
            peer.read_line(&mut String::new()).unwrap();
            peer.get_mut().write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n").unwrap();
        }
    });
    let says = "is no store of this version";
    row(1, says, ["flush", "--data", text(&store)]).check();
    row(1, says, ["disk-usage", "--data", text(&store)]).check();
    answers.join().unwrap();
    // Nobody listens any more: it is as if it were not there.
    assert_eq!(
        crate::common::stdout_of(["flush", "--data", text(&store)]),
        "{\"flushed\":true,\"running\":false}\n"
    );
    assert_eq!(history(&store, "#c"), whole);
}

#[test]
fn a_directory_that_is_read_only() {
    let folder = folder("read-only-");
    let dir = folder.path();
    let (store, chat) = closed_store(dir, "store");
    let whole = history(&store, "#c");
    let script =
        format!("mount --bind \"$1\" \"$1\" && mount -o remount,bind,ro \"$1\" || exit {NO_MOUNT}; shift; exec \"$@\"");
    let new = store.join("new");
    for (says, args) in [
        (
            "can't be written: Read-only file system",
            vec!["history", "--data", text(&store), "--channel", "#c", "--all"],
        ),
        (
            "can't be written: Read-only file system",
            vec!["import", "--data", text(&store), text(&chat)],
        ),
        (
            "can't be written: Read-only file system",
            vec!["check", "--data", text(&store)],
        ),
        (
            "Read-only file system",
            vec!["import", "--data", text(&new), text(&chat)],
        ),
    ] {
        let mut all = vec![text(&store), PROGRAM];
        all.extend(&args);
        let Some(output) = with_mounts("a read-only directory", &script, &all) else {
            return;
        };
        row(1, says, args).judge(&output);
    }
    assert_eq!(history(&store, "#c"), whole);
}

/// The user that has no rights beyond those of all.
const NOBODY: &str = "65534";

/// Needs no mount: where permissions do not bind the one who runs the tests, another user does it.
#[test]
fn a_directory_that_is_someone_elses() {
    let folder = folder("someone-elses-");
    let dir = folder.path();
    let (store, chat) = closed_store(dir, "store");
    let whole = history(&store, "#c");
    let modes = |dir_mode, file_mode| {
        for file in crate::common::files_below(&store) {
            fs::set_permissions(file, fs::Permissions::from_mode(file_mode)).unwrap();
        }
        fs::set_permissions(&store, fs::Permissions::from_mode(dir_mode)).unwrap();
    };
    fs::set_permissions(dir, fs::Permissions::from_mode(0o755)).unwrap();
    modes(0o555, 0o444);
    let bound = is_read_only(&store.join("LOCK"));
    let new = store.join("new");
    for (says, args) in [
        (
            "can't be written: Permission denied",
            vec!["history", "--data", text(&store), "--channel", "#c", "--all"],
        ),
        (
            "can't be written: Permission denied",
            vec!["import", "--data", text(&store), text(&chat)],
        ),
        (
            "can't be written: Permission denied",
            vec!["check", "--data", text(&store)],
        ),
        ("Permission denied", vec!["import", "--data", text(&new), text(&chat)]),
    ] {
        let mut command = match bound {
            true => Command::new(PROGRAM),
            false => {
                let mut setpriv = Command::new("setpriv");
                setpriv.args(["--reuid", NOBODY, "--regid", NOBODY, "--clear-groups", PROGRAM]);
                setpriv
            }
        };
        let output = command.args(&args).output();
        let stderr = |output: &Output| String::from_utf8_lossy(&output.stderr).into_owned();
        match output {
            Ok(output) if !stderr(&output).starts_with("setpriv:") => row(1, says, args).judge(&output),
            Ok(output) => return skipped("a directory of someone else", stderr(&output).trim()),
            Err(_) => return skipped("a directory of someone else", "setpriv is not installed"),
        }
    }
    modes(0o755, 0o644);
    assert_eq!(history(&store, "#c"), whole);
}

#[test]
fn a_directory_that_is_full() {
    let folder = folder("full-");
    let dir = folder.path();
    let mount = dir.join("mount");
    fs::create_dir(&mount).unwrap();
    let store = mount.join("store");
    // Letters that do not compress well, 12 MB of them.
    let mut state = 1_u64;
    let mut letters = |_| {
        state = state
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        char::from(b'0' + (state >> 33) as u8 % 64 % 75)
    };
    let chat: String = (0..6000)
        .map(|n| {
            line(
                T + n,
                &(0..2000).map(&mut letters).collect::<String>().replace('\\', "_"),
            )
        })
        .collect();
    let chat = write(dir.join("chat.jsonl"), chat.as_bytes());
    let import = [
        "import",
        "--data",
        text(&store),
        "--shards",
        "1",
        "--memtable-bytes",
        "1MiB",
        text(&chat),
    ];
    // No room for a manifest, for a segment of the log, for a table file. Then there is room.
    for megabytes in ["512k", "3m", "10m"] {
        let (first, told) = (dir.join("first"), dir.join("told"));
        let script = format!(
            "mount -t tmpfs -o size={megabytes} none \"$1\" || exit {NO_MOUNT}; shift
             told=$1; first=$2; shift 2
             \"$@\" >\"$first\" 2>\"$told\"; status=$?
             grep -q 'no direct I/O' \"$told\" && cat \"$told\" >&2 && exit 1
             mount -o remount,size=200m none {mount} || exit {NO_MOUNT}
             \"$@\" || exit 78
             {PROGRAM} check --data {store} || exit 79
             {PROGRAM} history --data {store} --channel '#c' --all --oldest-first --format jsonl || exit 80
             exit $status",
            mount = text(&mount),
            store = text(&store),
        );
        let mut args = vec![text(&mount), text(&told), text(&first), PROGRAM];
        args.extend(import);
        let Some(output) = with_mounts("a full directory", &script, &args) else {
            return;
        };
        let refused = Output {
            stderr: read(&told),
            status: output.status,
            stdout: Vec::new(),
        };
        Row {
            args: import.map(OsString::from).into(),
            status: 1,
            // The disk says so, or what is left is kept back: it depends on who writes last.
            says: "try again",
        }
        .judge(&refused);
        let stdout = String::from_utf8(output.stdout).unwrap();
        let shown = stdout.lines().filter(|line| line.starts_with("{\"id\""));
        let contents = |text: &str| text.split("\"content\":\"").nth(1).map(str::to_owned);
        let sent = String::from_utf8(read(&chat)).unwrap();
        assert!(
            shown.map(contents).eq(sent.lines().map(contents)),
            "{megabytes}: the import, run again, is exact"
        );
    }
}
