//! The figures of a running store, on its socket: what they say, who may ask, and that nobody holds the store up.

use crate::common::{chat, key, message};
use runtime::block_on;
use scrollback_engine::{Config, Read, STATISTICS_SOCKET, Store, read_statistics};
use std::collections::{BTreeMap, BTreeSet};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;

/// Of the samples of a text in Prometheus' format: name, labels and value. What is no such text panics.
fn samples(text: &str) -> Vec<(String, BTreeMap<String, String>, f64)> {
    let (mut typed, mut samples) = (BTreeSet::new(), Vec::new());
    for line in text.lines() {
        if let Some(kind) = line.strip_prefix("# TYPE ") {
            let (name, kind) = kind.split_once(' ').expect("a name and a kind");
            assert!(["counter", "gauge", "histogram"].contains(&kind), "{line}");
            assert!(typed.insert(name.to_owned()), "{name} comes once");
            assert_eq!(name.ends_with("_total"), kind == "counter", "{line}");
            continue;
        }
        if line.starts_with("# HELP ") {
            continue;
        }
        let (name, rest) = line.split_once('{').expect("labels");
        let (labels, value) = rest.split_once("} ").expect("a value");
        let base = ["_bucket", "_sum", "_count"]
            .iter()
            .find_map(|end| name.strip_suffix(end))
            .unwrap_or(name);
        assert!(typed.contains(name) || typed.contains(base), "{line} has a type");
        let label = |label: &str| {
            let (name, value) = label.split_once('=').expect("a label");
            let value = value
                .strip_prefix('"')
                .and_then(|value| value.strip_suffix('"'))
                .expect("quotes");
            (name.to_owned(), value.to_owned())
        };
        let value = value.parse().expect("a number");
        samples.push((name.to_owned(), labels.split(',').map(label).collect(), value));
    }
    samples
}

fn sum(text: &str, name: &str) -> f64 {
    samples(text)
        .iter()
        .filter(|(of, ..)| of == name)
        .map(|(.., value)| value)
        .sum()
}

fn opened(dir: &Path) -> Store {
    let config = Config::new(dir)
        .shards(Some(2))
        .log_segment_bytes(1 << 20)
        .log_bytes_max(8 << 20)
        .pin(false);
    block_on(Store::open(config)).expect("the store opens")
}

#[test]
fn a_running_store_tells_what_it_does_and_a_closed_one_nothing() {
    let folder = tempfile::tempdir().expect("a folder");
    let dir = folder.path();
    assert!(read_statistics(dir).expect("asked").is_none(), "nothing runs there");
    let store = opened(dir);
    let schema = block_on(store.create_table(chat(), true)).expect("a table");
    for id in 0..500 {
        // Channel 7 has most of it.
        let channel = if id % 5 == 0 { id } else { 7 };
        block_on(store.apply(message(&schema, channel, id, id, "x"))).expect("written");
        block_on(store.read(Read {
            limit_rows: 3,
            ..Read::partition(schema.id, key(7))
        }))
        .expect("read");
    }
    let text = read_statistics(dir).expect("asked").expect("it runs");
    for (name, value) in [
        ("scrollback_writes_total", 500.0),
        ("scrollback_reads_total", 500.0),
        ("scrollback_read_seconds_count", 500.0),
        ("scrollback_write_seconds_count", 500.0),
        ("scrollback_sstables", 0.0),
    ] {
        assert_eq!(sum(&text, name), value, "{name}\n{text}");
    }
    assert!(sum(&text, "scrollback_write_seconds_sum") > 0.0);
    for by in ["reads", "writes", "bytes"] {
        let samples = samples(&text);
        let of_list = samples
            .iter()
            .filter(|(name, labels, _)| name == "scrollback_hot_partition" && labels["by"] == by);
        let hottest = of_list
            .max_by(|(.., a), (.., b)| a.total_cmp(b))
            .expect("a hot partition");
        assert_eq!(hottest.1["table"], "chat.messages");
        assert_eq!(hottest.1["key"], "0x0000000000000007", "{by}");
        let expected = match by {
            "reads" => 500.0,
            "writes" => 400.0,
            _ => continue,
        };
        assert!((hottest.2 - expected).abs() < expected / 3.0, "{by}: {hottest:?}");
    }
    let socket = dir.join(STATISTICS_SOCKET);
    let mode = socket.metadata().expect("it is there").permissions().mode();
    assert_eq!(mode & 0o777, 0o600, "for the store's user alone");
    block_on(store.close()).expect("closed");
    assert!(!socket.exists());
    assert!(read_statistics(dir).expect("asked").is_none());
}

#[test]
fn a_deep_folder_a_left_socket_and_slow_peers_are_no_trouble() {
    let folder = tempfile::tempdir().expect("a folder");
    let dir = folder.path().join("a-long-name-".repeat(12));
    assert!(dir.as_os_str().len() > 108, "longer than a socket's name may be");
    let store = opened(&dir);
    assert!(read_statistics(&dir).expect("asked").is_some());
    block_on(store.close()).expect("closed");

    // A kill leaves the socket.
    let dir = folder.path().join("killed");
    block_on(opened(&dir).close()).expect("closed");
    let socket = dir.join(STATISTICS_SOCKET);
    drop(UnixListener::bind(&socket).expect("bound"));
    assert!(read_statistics(&dir).expect("asked").is_none(), "nobody answers there");
    let store = opened(&dir);
    let silent: Vec<_> = (0..20)
        .map(|_| UnixStream::connect(&socket).expect("connected"))
        .collect();
    assert!(read_statistics(&dir).expect("asked").is_some());
    block_on(store.close()).expect("closed, whoever is connected");
    drop(silent);
    assert!(!socket.exists());

    // One that is merely dropped leaves none either.
    drop(opened(&dir));
    assert!(!socket.exists());
}

#[test]
fn without_the_setting_there_is_no_socket() {
    let folder = tempfile::tempdir().expect("a folder");
    let config = Config::new(folder.path())
        .shards(Some(1))
        .log_segment_bytes(1 << 20)
        .log_bytes_max(8 << 20)
        .statistics_socket(false);
    let store = block_on(Store::open(config)).expect("the store opens");
    assert!(!folder.path().join(STATISTICS_SOCKET).exists());
    assert!(read_statistics(folder.path()).expect("asked").is_none());
    block_on(store.close()).expect("closed");
}
