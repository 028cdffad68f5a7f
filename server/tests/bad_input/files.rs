//! Files of a store that are cut, flipped, missing, foreign or of a newer release. Each is refused by name, and when the right
//! bytes are back, so is everything that was stored.

use super::{closed_store, row};
use crate::common::{PROGRAM, copy, files_below, folder, history, read, remove, scrollback, text, write};
use std::{
    fs,
    io::{BufRead, BufReader},
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

/// A store that was killed with writes in its log, and a channel that it has.
fn killed_store(dir: &Path, name: &str) -> (PathBuf, &'static str) {
    let store = dir.join(name);
    let mut worker = Command::new(PROGRAM)
        .args([
            "demo-worker",
            "--data",
            text(&store),
            "--seed",
            "1",
            "--clients",
            "4",
            "--shards",
            "1",
        ])
        .args(["--memtable-bytes", "64MiB"])
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let lines = BufReader::new(worker.stdout.take().unwrap()).lines();
    assert_eq!(
        lines
            .take(400)
            .filter(|line| line.as_ref().is_ok_and(|line| line.starts_with('s')))
            .count()
            / 100,
        3
    );
    // Without its pipe it may have ended by itself.
    let _ = worker.kill();
    worker.wait().unwrap();
    (store, "#demo-0")
}

/// What happens to a file.
enum Change<'a> {
    /// It is cut to this length.
    Cut(u64),
    /// A bit of this byte flips.
    Flip(usize),
    /// It is gone.
    Remove,
    /// This is in its place.
    Replace(Vec<u8>),
    /// It is gone, and this file of another store is beside its place.
    Beside(&'a Path),
    /// It is of the next format version: the number at the first place, its checksum from the second place on over the third.
    Newer {
        version: usize,
        checksum: usize,
        covers: std::ops::Range<usize>,
    },
}

/// The file of the store whose path has this part; of several the largest, and of several such the first.
fn file_of(store: &Path, part: &str) -> PathBuf {
    let mut files = files_below(store);
    files.retain(|path| text(path).contains(part));
    files.sort_by_key(|path| std::cmp::Reverse(fs::metadata(path).unwrap().len()));
    files.swap_remove(0)
}

fn apply(change: &Change<'_>, path: &Path) -> Option<PathBuf> {
    let mut bytes = read(path);
    match change {
        Change::Cut(len) => bytes.truncate(usize::try_from(*len).unwrap()),
        Change::Flip(at) => bytes[*at] ^= 1,
        Change::Replace(other) => bytes.clone_from(other),
        Change::Remove => {
            remove(path);
            return None;
        }
        Change::Beside(other) => {
            remove(path);
            let beside = path.with_file_name(other.file_name().unwrap());
            fs::copy(other, &beside).unwrap();
            return Some(beside);
        }
        Change::Newer {
            version,
            checksum,
            covers,
        } => {
            bytes[*version] += 1;
            let sum = crc32fast::hash(&bytes[covers.clone()]);
            bytes[*checksum..checksum + 4].copy_from_slice(&sum.to_le_bytes());
        }
    }
    write(path.to_owned(), &bytes);
    Some(path.to_owned())
}

#[test]
fn damaged_missing_and_foreign_files() {
    let folder = folder("bad-files-");
    let dir = folder.path();
    let (closed, _) = closed_store(dir, "closed");
    let (killed, channel) = killed_store(dir, "killed");
    // Twins: the same data in other stores.
    let (killed_twin, _) = killed_store(dir, "killed-twin");
    let table_of = |store: &Path| read(&file_of(store, "tables/00001/"));
    let table = table_of(&closed);
    // Told apart by the store's mark alone. Digests depend on the store, and with them a byte of the file's length.
    let mut twins = (0..64).map(|number| closed_store(dir, &format!("closed-twin-{number}")).0);
    let closed_twin = twins.find(|twin| table_of(twin).len() == table.len());
    let closed_twin = closed_twin.expect("one of 64 twins is as long");
    let twin_table = table_of(&closed_twin);
    let footer = table.len() - 104;
    let twin_manifest = read(&closed_twin.join("MANIFEST"));
    let twin_segment = file_of(&killed_twin, ".log");
    let manifest = |of: &Path| read(&of.join("MANIFEST"));
    let first_record = u32::from_le_bytes(manifest(&closed)[12..16].try_into().unwrap()) as usize;
    let text_file = b"dear diary\n".repeat(1000);

    let table_file = "tables/00001/";
    let rows: Vec<(&Path, &str, &str, Change<'_>, &str)> = vec![
        (
            &closed,
            "#c",
            table_file,
            Change::Cut(1000),
            "the file's length is not what is expected",
        ),
        (
            &closed,
            "#c",
            table_file,
            Change::Cut(0),
            "the file's length is not what is expected",
        ),
        (&closed, "#c", table_file, Change::Flip(300), "is damaged at byte"),
        (
            &closed,
            "#c",
            table_file,
            Change::Flip(footer + 20),
            "is damaged at byte",
        ),
        (
            &closed,
            "#c",
            table_file,
            Change::Remove,
            "is missing, and the store needs it",
        ),
        (
            &closed,
            "#c",
            table_file,
            Change::Replace(text_file.clone()),
            "is damaged at byte",
        ),
        (
            &closed,
            "#c",
            table_file,
            Change::Replace(twin_table),
            "belongs to another store",
        ),
        (
            &closed,
            "#c",
            table_file,
            Change::Newer {
                version: footer + 90,
                checksum: footer + 92,
                covers: footer..footer + 92,
            },
            "has format version 2",
        ),
        (&closed, "#c", "MANIFEST", Change::Cut(2048), "is damaged at byte 0"),
        (&closed, "#c", "MANIFEST", Change::Cut(0), "is damaged at byte 0"),
        (&closed, "#c", "MANIFEST", Change::Flip(60), "is damaged at byte 0"),
        (
            &closed,
            "#c",
            "MANIFEST",
            Change::Remove,
            "is missing, and the store needs it",
        ),
        (
            &closed,
            "#c",
            "MANIFEST",
            Change::Replace(text_file.clone()),
            "is damaged at byte 0",
        ),
        (
            &closed,
            "#c",
            "MANIFEST",
            Change::Replace(twin_manifest),
            "belongs to another store",
        ),
        (
            &closed,
            "#c",
            "MANIFEST",
            Change::Newer {
                version: 8,
                checksum: 0,
                covers: 4..first_record,
            },
            "has format version 2",
        ),
        (&killed, channel, ".log", Change::Cut(100_000), "the file is cut short"),
        (&killed, channel, ".log", Change::Cut(0), "is damaged at byte 0"),
        (
            &killed,
            channel,
            ".log",
            Change::Flip(4096 + 40),
            "is damaged at byte 4096",
        ),
        (&killed, channel, ".log", Change::Flip(100), "is damaged at byte 0"),
        (
            &killed,
            channel,
            ".log",
            Change::Remove,
            "is missing, and the store needs it",
        ),
        (
            &killed,
            channel,
            ".log",
            Change::Replace(text_file),
            "is damaged at byte 0: not a commit log segment",
        ),
        (
            &killed,
            channel,
            ".log",
            Change::Beside(&twin_segment),
            "belongs to another store",
        ),
        (
            &killed,
            channel,
            ".log",
            Change::Newer {
                version: 8,
                checksum: 60,
                covers: 0..60,
            },
            "has format version 2",
        ),
    ];
    for (n, (store, channel, ending, change, says)) in rows.into_iter().enumerate() {
        let copied = dir.join(format!("copy-{n}"));
        copy(store, &copied);
        let (path, whole) = {
            // Opening it recovers it, so what it holds is read from a copy of its own.
            let sound = dir.join("sound");
            copy(store, &sound);
            let whole = history(&sound, channel);
            fs::remove_dir_all(&sound).unwrap();
            (file_of(&copied, ending), whole)
        };
        let sound = read(&path);
        let changed = apply(&change, &path);
        let bytes = changed.as_ref().map(|path| read(path));
        let read_all = ["history", "--data", text(&copied), "--channel", channel, "--all"];
        row(1, says, read_all).check();
        row(
            1,
            says,
            [
                "send",
                "--data",
                text(&copied),
                "--channel",
                "#c",
                "--author",
                "a",
                "--content",
                "x",
            ],
        )
        .check_if(!matches!(change, Change::Flip(300)));
        check_finds(&copied, changed.as_deref().unwrap_or(&path));
        let after = changed.as_ref().map(|path| read(path));
        assert!(after == bytes, "{says}: what is damaged is left as it is");
        if let Some(beside) = changed.filter(|beside| *beside != path) {
            remove(&beside);
        }
        write(path, &sound);
        assert_eq!(
            history(&copied, channel),
            whole,
            "{says}: with the right bytes everything is there again"
        );
        fs::remove_dir_all(&copied).unwrap();
    }
}

/// `check` finds the damage, or refuses the store, and names the file.
fn check_finds(store: &Path, path: &Path) {
    let output = scrollback(["check", "--data", text(store), "--format", "jsonl"]);
    let stderr = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(1), "{stderr}");
    // With the manifest of another store, all the others are foreign, and may differ in length.
    let folder = path.strip_prefix(store).unwrap().parent().unwrap().to_str().unwrap();
    let named = match folder {
        "" => [
            "MANIFEST",
            "another store than the manifest",
            "bytes long, the manifest says",
        ]
        .iter()
        .any(|says| stderr.contains(says)),
        folder => stderr.contains(folder),
    };
    assert!(named, "{stderr}");
    assert_eq!(stderr.lines().count(), 1, "{stderr}");
    if let Some(report) = String::from_utf8(output.stdout).unwrap().lines().last() {
        let report: serde_json::Value = serde_json::from_str(report).unwrap();
        let damaged = report["damaged"].as_array().unwrap();
        assert!(
            !damaged.is_empty() && damaged.iter().all(|of| of["offset"].is_u64()),
            "{report}"
        );
    }
}
