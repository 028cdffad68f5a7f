//! What an operator sees and asks for: all of a table compacted, what lies on the disk, large partitions, and the same through the
//! socket of a running store.

#![allow(clippy::disallowed_methods, reason = "threads of a test, outside every shard")]

use crate::common::{chat, delete, history, key, message};
use model::Schema;
use runtime::block_on;
use scrollback_engine::{
    CompactionKind, Config, Error, Request, STATISTICS_SOCKET, Store, TableUsage, ask, read_statistics,
};
use std::io::{Read as _, Write as _};
use std::net::Shutdown;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

fn config(dir: &Path) -> Config {
    Config::new(dir)
        .shards(Some(2))
        .log_segment_bytes(1 << 20)
        .log_bytes_max(8 << 20)
        .pin(false)
}

/// A store with `files` files on each shard: channel 7 and fifty others, each message in one of them.
fn with_files(config: Config, files: i64) -> (Store, Arc<Schema>) {
    let store = block_on(Store::open(config)).expect("the store opens");
    let mut schema = chat();
    schema.options.gc_grace_seconds = 0;
    let schema = block_on(store.create_table(schema, true)).expect("a table");
    for round in 0..files {
        let mut all = Vec::new();
        for n in 0..200 {
            let id = round * 1000 + n;
            let channel = if n % 4 == 0 { 100 + n } else { 7 };
            all.push(message(&schema, channel, id, id + 1, &format!("{:<300}", id * 77_777)));
        }
        block_on(store.apply_all(all)).expect("written");
        block_on(store.flush()).expect("flushed");
    }
    (store, schema)
}

fn usage(store: &Store) -> TableUsage {
    let mut usage = block_on(store.disk_usage()).expect("told");
    assert_eq!(usage.len(), 1);
    usage.remove(0)
}

/// What a peer that sends this is answered.
fn told(dir: &Path, sent: &[u8], ends: bool) -> String {
    let mut peer = UnixStream::connect(dir.join(STATISTICS_SOCKET)).expect("connected");
    peer.set_read_timeout(Some(Duration::from_secs(30))).expect("set");
    peer.write_all(sent).expect("sent");
    if ends {
        peer.shutdown(Shutdown::Write).expect("ended");
    }
    let mut answer = String::new();
    peer.read_to_string(&mut answer).expect("answered");
    answer
}

#[test]
fn all_of_a_table_becomes_one_file_on_each_shard() {
    let folder = tempfile::tempdir().expect("a folder");
    let (store, schema) = with_files(config(folder.path()).compaction(false), 3);
    assert_eq!(usage(&store).files, 6);
    let before = block_on(history(&store, &schema, 7, 100));
    // In memory when it is asked for: it is flushed first.
    for id in 0..100 {
        block_on(store.apply(delete(&schema, 7, id, 5000))).expect("deleted");
    }
    block_on(store.compact(Some(schema.id))).expect("compacted");
    let after = usage(&store);
    assert_eq!((after.files, after.tombstones), (2, 0), "{after:?}");
    let left = block_on(history(&store, &schema, 7, 100));
    let expected: Vec<_> = before.into_iter().filter(|(id, _)| *id >= 100).collect();
    assert_eq!(left, expected);
    let shards = block_on(store.compactions()).expect("told");
    for shard in &shards {
        let last = shard.history.last().expect("it has compacted");
        assert_eq!(
            (last.kind, last.table.as_str()),
            (CompactionKind::Major, "chat.messages")
        );
        assert!(last.written_bytes > 0 && last.written_bytes < last.bytes_in, "{last:?}");
        assert!(shard.running.is_none() && shard.asked.is_empty());
    }
    // It is as compact as can be.
    block_on(store.compact(None)).expect("compacted");
    let again = block_on(store.compactions()).expect("told");
    assert_eq!(again, shards);
    let nothing = block_on(store.compact(Some(model::TableId(99)))).expect_err("no such table");
    assert!(matches!(nothing, Error::Invalid { .. }), "{nothing:?}");
    block_on(store.close()).expect("closed");
    let closed = block_on(store.compact(None)).expect_err("closed");
    assert!(matches!(closed, Error::Closed), "{closed:?}");
}

#[test]
fn files_that_shards_share_are_divided_first() {
    let folder = tempfile::tempdir().expect("a folder");
    let (store, schema) = with_files(config(folder.path()).compaction(false), 2);
    let before = block_on(history(&store, &schema, 7, 100));
    block_on(store.close()).expect("closed");
    let more = config(folder.path()).shards(Some(3)).compaction(false);
    let store = block_on(Store::open(more)).expect("the store opens");
    block_on(store.compact(None)).expect("compacted");
    assert_eq!(usage(&store).files, 3, "one on each");
    assert_eq!(block_on(history(&store, &schema, 7, 100)), before);
    block_on(store.close()).expect("closed");
}

#[test]
fn the_disk_is_told_by_table_and_partition() {
    let folder = tempfile::tempdir().expect("a folder");
    let (store, _) = with_files(config(folder.path()).compaction(false), 2);
    let usage = usage(&store);
    assert_eq!(
        (usage.table.as_str(), usage.files, usage.rows),
        ("chat.messages", 4, 400)
    );
    assert_eq!((usage.tombstones, usage.epoch_hours), (0, None));
    let largest = &usage.largest_partitions[0];
    assert_eq!(largest.key, key(7), "{usage:?}");
    assert!(
        largest.bytes > usage.bytes / 3 && largest.bytes < usage.bytes,
        "{usage:?}"
    );
    assert!(usage.largest_partitions.len() <= 20);
    assert!(usage.largest_prefixes.is_empty(), "the key has one column");
    assert!(usage.small_bytes > 0);
    block_on(store.close()).expect("closed");
}

#[test]
fn large_partitions_are_remembered() {
    let folder = tempfile::tempdir().expect("a folder");
    let limits = config(folder.path())
        .large_partition_bytes(30_000)
        .large_partition_tombstones(40)
        .compaction(false);
    let (store, schema) = with_files(limits, 1);
    for id in 0..50 {
        block_on(store.apply(delete(&schema, 9, id, 5000))).expect("deleted");
    }
    block_on(store.flush()).expect("flushed");
    let large = || {
        let shards = block_on(store.compactions()).expect("told");
        let mut all: Vec<_> = shards.into_iter().flat_map(|shard| shard.large_partitions).collect();
        all.sort_by(|a, b| a.key.cmp(&b.key));
        all
    };
    let [seven, nine] = &large()[..] else {
        panic!("{:?}", large())
    };
    assert_eq!((&seven.key[..], seven.rows, seven.tombstones), (&key(7)[..], 150, 0));
    assert!(seven.bytes > 150 * 300 && seven.table == "chat.messages", "{seven:?}");
    assert_eq!((&nine.key[..], nine.rows, nine.tombstones), (&key(9)[..], 50, 50));
    // A compaction that writes it again tells what it is then.
    block_on(store.apply(message(&schema, 7, 9999, 1, "more"))).expect("written");
    block_on(store.compact(None)).expect("compacted");
    assert_eq!(large()[0].rows, 151);
    block_on(store.close()).expect("closed");
}

#[test]
fn a_running_store_does_what_its_socket_is_asked() {
    let folder = tempfile::tempdir().expect("a folder");
    let dir = folder.path();
    assert!(
        ask(dir, &Request::Flush, |_| true).expect("asked").is_none(),
        "nothing runs there"
    );
    let (store, schema) = with_files(config(dir).compaction(false), 2);
    block_on(store.apply(message(&schema, 7, 9999, 1, "in memory"))).expect("written");

    let mut lines = Vec::new();
    let mut take = |line: &str| {
        lines.push(line.to_owned());
        true
    };
    ask(dir, &Request::Flush, &mut take).expect("asked").expect("it runs");
    assert_eq!(usage(&store).files, 5);
    let table = Some("chat.messages".to_owned());
    ask(dir, &Request::Compact { table }, &mut take)
        .expect("asked")
        .expect("it runs");
    assert_eq!(usage(&store).files, 2);
    assert_eq!(lines[0], "begun");
    lines.clear();
    let mut take = |line: &str| {
        lines.push(line.to_owned());
        true
    };
    ask(dir, &Request::Compactions, &mut take)
        .expect("asked")
        .expect("it runs");
    ask(dir, &Request::DiskUsage, &mut take)
        .expect("asked")
        .expect("it runs");
    let shards = block_on(store.compactions()).expect("told");
    assert_eq!(lines[..2], [shards[0].to_json(), shards[1].to_json()]);
    assert_eq!(lines[2..], ["begun".to_owned(), usage(&store).to_json()]);
    assert!(
        lines[0].starts_with("{\"shard\":0,\"running\":null,\"asked\":[],"),
        "{lines:?}"
    );

    let table = Some("chat.none".to_owned());
    let refused = ask(dir, &Request::Compact { table }, |_| true).expect_err("no such table");
    assert_eq!(
        refused.to_string(),
        "there is no table \"chat.none\"; there are chat.messages"
    );
    block_on(store.close()).expect("closed");
}

#[test]
fn requests_are_judged_and_peers_wait_for_nobody() {
    let folder = tempfile::tempdir().expect("a folder");
    let dir = folder.path();
    let (store, _) = with_files(config(dir).compaction(false), 1);
    let figures = "# scrollback statistics 1\n# HELP ";
    // As ever: nothing sent, an empty line, an end.
    for (sent, ends) in [
        (&b""[..], false),
        (b"\n", false),
        (b"", true),
        (b"\r\n", false),
        (b"  \nx", false),
    ] {
        assert!(told(dir, sent, ends).starts_with(figures), "{sent:?}");
    }
    let long = [b'x'; 600];
    for (sent, says) in [
        (
            &b"compactor\n"[..],
            "error there is no request \"compactor\"; there are status, compact",
        ),
        (b"status\n", "{\"version\":\""),
        (b"snapshot one\n", "begun\n{\"snapshot\":\""),
        (
            b"snapshot ../two\n",
            "begun\nerror a snapshot cannot be called \"../two\"",
        ),
        (
            b"compact chat.none\n",
            "error there is no table \"chat.none\"; there are chat.messages",
        ),
        (b"compact \n", "begun\nok"),
        (b"flush now\n", "error there is no request \"flush now\""),
        (b"\xff\n", "error a request is text"),
        (&long, "error a request is no longer than 512 bytes"),
        (b"compactions", "{\"shard\":0,"),
        (b"flush\nand more\n", "begun\nok\n"),
    ] {
        let answer = told(dir, sent, true);
        let says = format!("# scrollback answer 1\n{says}");
        assert!(answer.starts_with(&says), "{sent:?}: {answer}");
        assert_eq!(
            answer
                .lines()
                .filter(|line| *line == "ok" || line.starts_with("error "))
                .count(),
            1
        );
    }
    // More of them than are served at a time: silent ones, such as begin and do not end, such as take nothing.
    let mut peers = Vec::new();
    for sent in [&b""[..], b"compac", b"disk-usage\n"].iter().cycle().take(60) {
        let mut peer = UnixStream::connect(dir.join(STATISTICS_SOCKET)).expect("connected");
        peer.write_all(sent).expect("sent");
        peers.push(peer);
    }
    let asked = Instant::now();
    assert!(read_statistics(dir).expect("asked").is_some());
    assert!(asked.elapsed() < Duration::from_secs(9), "{:?}", asked.elapsed());
    block_on(store.close()).expect("closed, whoever is connected");
    drop(peers);
}

#[test]
fn what_was_asked_for_goes_on_without_whoever_asked() {
    let folder = tempfile::tempdir().expect("a folder");
    let dir = folder.path();
    let (store, _) = with_files(config(dir).compaction(false), 4);
    let mut heard = Vec::new();
    let take = |line: &str| {
        heard.push(line.to_owned());
        false
    };
    ask(dir, &Request::Compact { table: None }, take)
        .expect("asked")
        .expect("it runs");
    assert_eq!(heard, ["begun"]);
    let began = Instant::now();
    while usage(&store).files > 2 {
        assert!(began.elapsed() < Duration::from_secs(30), "it goes on");
        std::thread::sleep(Duration::from_millis(20));
    }
    block_on(store.close()).expect("closed");
}
