//! Snapshots and backups that are not there, damaged or somebody else's: refused by name, and nothing is written over.

use super::{check_rows, closed_store, row};
use crate::common::{files_below, folder, history, make_dir, read, remove, stdout_of, text, write};
use std::path::{Path, PathBuf};

/// The largest table file below a folder.
fn table_file(dir: &Path) -> PathBuf {
    let files = files_below(dir).into_iter();
    let tables = files.filter(|path| path.extension().is_some_and(|extension| extension == "sst"));
    tables.max_by_key(|path| read(path).len()).expect("a table file")
}

fn number(json: &str, name: &str) -> u64 {
    let json: serde_json::Value = serde_json::from_str(json.trim()).expect("one object");
    json[name].as_u64().unwrap_or_else(|| panic!("{name} of {json}"))
}

#[test]
fn a_backup_grows_by_what_is_new_and_is_restored() {
    let folder = folder("backups-");
    let (store, _) = closed_store(folder.path(), "store");
    let (backup, restored) = (folder.path().join("backup"), folder.path().join("restored"));
    let of_store = ["--data", text(&store)];
    let back_up = || stdout_of([&["backup"], &of_store[..], &["--to", text(&backup)]].concat());
    let first = number(&back_up(), "copied");
    assert!(first > 0);
    let again = back_up();
    assert_eq!((number(&again, "copied"), number(&again, "present")), (0, first));
    stdout_of(
        [
            &["send"],
            &of_store[..],
            &["--channel", "#c", "--author", "a", "--content", "new"],
        ]
        .concat(),
    );
    let whole = history(&store, "#c");
    let third = back_up();
    assert!(
        number(&third, "copied") > 0 && number(&third, "present") == first,
        "{third}"
    );
    // A file of the backup that was damaged meanwhile is copied again.
    let file = table_file(&backup);
    let mut bytes = read(&file);
    bytes[70] ^= 1;
    write(file, &bytes);
    assert_eq!(number(&back_up(), "copied"), 1);
    assert!(
        !store.join("snapshots/being-backed-up").exists(),
        "a backup leaves no snapshot"
    );

    stdout_of(["restore", "--from", text(&backup), "--data", text(&restored)]);
    stdout_of(["check", "--data", text(&restored)]);
    assert_eq!(history(&restored, "#c"), whole);
    let table = [
        "restore",
        "--from",
        text(&backup),
        "--data",
        text(&restored),
        "--table",
        "messages.messages",
    ];
    let rows = number(&stdout_of([&table[..], &["--as", "yesterday"]].concat()), "rows");
    assert_eq!(rows, 2001);
    assert_eq!(history(&restored, "#c"), whole);
    stdout_of([&["snapshot"], &of_store[..], &["monday"]].concat());
    let monday = store.join("snapshots/monday");
    let other = folder.path().join("of-monday");
    let with_shards = ["--data", text(&other), "--shards", "3"];
    stdout_of([&["restore", "--from", text(&monday)], &with_shards[..]].concat());
    let stats = stdout_of(["stats", "--data", text(&other)]);
    assert_eq!(
        stats.lines().filter(|line| line.contains("\"shard\":")).count(),
        3,
        "{stats}"
    );
    assert_eq!(history(&other, "#c"), whole);
}

#[test]
fn bad_backups() {
    let folder = folder("bad-backups-");
    let (store, _) = closed_store(folder.path(), "store");
    let (other, _) = closed_store(folder.path(), "other");
    let path = |name: &str| folder.path().join(name);
    let (backup, of_other, new) = (path("backup"), path("of-other"), path("new"));
    for (store, backup) in [(&store, &backup), (&other, &of_other)] {
        stdout_of(["backup", "--data", text(store), "--to", text(backup)]);
    }
    let (empty, letters) = (make_dir(path("empty")), make_dir(path("letters")));
    write(letters.join("letter.txt"), b"dear");
    let restore = |from: &Path, to: &Path| ["restore", "--from", text(from), "--data", text(to)].map(str::to_owned);
    let back_up = |to: &Path| ["backup", "--data", text(&store), "--to", text(to)].map(str::to_owned);
    let snapshot = |name: &str| ["snapshot", "--data", text(&store), name].map(str::to_owned);
    let table = |more: &[&str]| {
        [
            &restore(&backup, &store)[..],
            &more.iter().map(|&arg| arg.to_owned()).collect::<Vec<_>>(),
        ]
        .concat()
    };
    stdout_of(snapshot("monday"));
    check_rows(
        &store,
        &[
            row(
                1,
                "is not empty; restore into an empty or a new directory",
                restore(&backup, &store),
            ),
            row(1, "there is no snapshot and no backup here", restore(&empty, &new)),
            row(
                1,
                "there is no snapshot and no backup here",
                restore(&path("nowhere"), &new),
            ),
            row(
                1,
                "is a backup of another store; name another directory",
                back_up(&of_other),
            ),
            row(
                1,
                "is a store of its own, no backup; name another directory",
                back_up(&other),
            ),
            row(1, "it holds letter.txt and no manifest", back_up(&letters)),
            row(1, "there is a snapshot in", snapshot("monday")),
            row(1, "a snapshot cannot be called \"../monday\"", snapshot("../monday")),
            row(
                1,
                "it has no table messages.letters",
                table(&["--table", "messages.letters", "--as", "x"]),
            ),
            row(
                1,
                "table messages.messages exists already",
                table(&["--table", "messages.messages", "--as", "messages"]),
            ),
            row(
                2,
                "write it as KEYSPACE.TABLE",
                table(&["--table", "messages", "--as", "x"]),
            ),
            row(2, "--as <NAME>", table(&["--table", "messages.messages"])),
        ],
    );

    // Damaged, cut, missing, of another store: the file is named, and what was restored so far is no store.
    let file = table_file(&backup);
    let (whole, manifest) = (read(&file), read(&backup.join("MANIFEST")));
    let mut flipped = whole.clone();
    flipped[100] ^= 4;
    let foreign = read(&table_file(&of_other));
    for (nth, (bytes, says)) in [
        (Some(flipped), "damaged at byte"),
        (Some(whole[..whole.len() - 1].to_vec()), "bytes long, the manifest says"),
        (Some(foreign), "the manifest"),
        (None, "is missing"),
    ]
    .into_iter()
    .enumerate()
    {
        match bytes {
            Some(bytes) => drop(write(file.clone(), &bytes)),
            None => remove(&file),
        }
        let to = path(&format!("restored-{nth}"));
        row(1, says, restore(&backup, &to)).check();
        row(1, ".sst", restore(&backup, &path(&format!("again-{nth}")))).check();
        assert!(!to.join("MANIFEST").exists(), "what was cut off is no store");
        write(file.clone(), &whole);
    }
    let mut bytes = manifest.clone();
    bytes[60] ^= 1;
    write(backup.join("MANIFEST"), &bytes);
    row(1, "MANIFEST", restore(&backup, &path("restored-manifest"))).check();
    write(backup.join("MANIFEST"), &manifest);
    stdout_of(restore(&backup, &new));
    assert_eq!(history(&new, "#c"), history(&store, "#c"));
}
