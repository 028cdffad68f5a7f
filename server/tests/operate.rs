//! `compact`, `flush`, `compaction-stats` and `disk-usage`, by processes of their own: of a store that runs in this one, and of a closed one.

#![allow(clippy::unwrap_used, reason = "helpers of tests")]
#![allow(clippy::disallowed_methods, reason = "sleeps of a test, outside every shard")]

mod common;

use common::{folder, history, scrollback, stdout_of, text, write};
use engine::{Config, STATISTICS_SOCKET};
use messages::{Messages, Options};
use runtime::block_on;
use serde_json::{Value, json};
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

const FIRST_MS: i64 = 1_600_000_000_000;

fn objects(text: &str) -> Vec<Value> {
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

/// A closed store with three channels, one of them large, within three epochs.
fn imported(dir: &Path) -> PathBuf {
    let line = |n: i64| {
        let channel = if n % 50 == 0 { n % 100 } else { 7 };
        let ts_ms = FIRST_MS + n * 500_000;
        format!(
            "{{\"ts_ms\":{ts_ms},\"channel\":\"#{channel}\",\"author\":\"a\",\"content\":\"{}\"}}\n",
            (n * 7_919_777).to_string().repeat(9)
        )
    };
    let chat: String = (0..4000).map(line).collect();
    let chat = write(dir.join("chat.jsonl"), chat.as_bytes());
    let store = dir.join("store");
    stdout_of(["import", "--data", text(&store), "--shards", "2", text(&chat)]);
    store
}

fn opened(dir: &Path) -> Messages {
    let config = Config::new(dir)
        .log_segment_bytes(1 << 20)
        .log_bytes_max(8 << 20)
        .large_partition_bytes(10_000)
        .pin(false);
    block_on(Messages::open_with(config, Options::default())).unwrap()
}

/// What a command tells, last the summary.
fn told(command: &str, store: &Path, more: &[&str]) -> Vec<Value> {
    let args = [&[command, "--data", text(store), "--format", "jsonl"], more].concat();
    objects(&stdout_of(args))
}

fn table(command: &str, store: &Path) -> String {
    stdout_of([command, "--data", text(store), "--format", "table"])
}

fn messages_of(usage: &[Value]) -> &Value {
    usage.iter().find(|of| of["table"] == "messages.messages").unwrap()
}

#[test]
fn a_closed_store_is_opened_for_them() {
    let folder = folder("operate-closed-");
    let store = imported(folder.path());
    let whole = history(&store, "#7");
    assert_eq!(told("flush", &store, &[]), [json!({"flushed": true, "running": false})]);

    let compacted = &told("compact", &store, &[])[0];
    assert_eq!(
        (&compacted["compacted"], &compacted["running"]),
        (&json!(true), &json!(false))
    );
    assert!(compacted["sstables"].as_u64().unwrap() > 0, "{compacted}");
    let again = &told("compact", &store, &["--table", "messages.messages", "--wait"])[0];
    assert_eq!(again["sstables"], compacted["sstables"], "it was as compact as can be");
    assert_eq!(again["sstables_before"], compacted["sstables"]);
    assert_eq!(history(&store, "#7"), whole);

    let usage = told("disk-usage", &store, &[]);
    let of = messages_of(&usage);
    assert_eq!(
        (&of["rows"], &of["tombstones"], &of["epoch_hours"]),
        (&json!(4000), &json!(0), &json!(240))
    );
    let epochs: Vec<i64> = of["epochs"]
        .as_array()
        .unwrap()
        .iter()
        .map(|of| of["first_ms"].as_i64().unwrap())
        .collect();
    assert!(epochs.len() >= 3 && epochs[0] <= FIRST_MS, "{epochs:?}");
    assert!(
        epochs.windows(2).all(|pair| pair[1] - pair[0] == 240 * 3_600_000),
        "{epochs:?}"
    );
    assert_eq!(
        of["largest_prefixes"][0]["channel"], "#7",
        "a closed store knows the names"
    );
    let summary = usage.last().unwrap();
    assert_eq!(summary["tables"], usage.len() - 1);
    let shown = table("disk-usage", &store);
    for says in [
        "messages.messages, epochs of 240 hours from",
        "2020-09-",
        "largest channels",
        "#7 ",
        " bucket ",
    ] {
        assert!(shown.contains(says), "{says}: {shown}");
    }
    let stats = told("compaction-stats", &store, &[]);
    assert_eq!(stats[2], json!({"shards": 2, "running": false}));
    assert!(
        table("compaction-stats", &store).contains("the store was closed"),
        "it says why it knows little"
    );
}

#[test]
fn a_running_store_is_asked() {
    let folder = folder("operate-running-");
    let dir = imported(folder.path());
    let whole = history(&dir, "#7");
    let messages = opened(&dir);
    let channel = block_on(messages.channel("#7")).unwrap();
    // Two files of one epoch.
    for _ in 0..2 {
        for n in 0..100 {
            block_on(messages.send(channel, 1, format!("message {n} {}", "x".repeat(200)))).unwrap();
        }
        assert_eq!(told("flush", &dir, &[]), [json!({"flushed": true, "running": true})]);
    }
    let shards = block_on(messages.store().statistics()).unwrap();
    assert_eq!(
        shards.iter().map(|of| of.memtable_bytes).sum::<u64>(),
        0,
        "all is flushed"
    );

    let compacted = &told("compact", &dir, &["--wait", "--table", "messages.messages"])[0];
    assert_eq!(
        (&compacted["compacted"], &compacted["running"]),
        (&json!(true), &json!(true))
    );
    let stats = told("compaction-stats", &dir, &[]);
    assert_eq!(stats[2], json!({"shards": 2, "running": true}));
    let all = |name: &str| -> Vec<Value> {
        let lists = stats[..2].iter().map(|shard| shard[name].as_array().unwrap().clone());
        lists.flatten().collect()
    };
    let majors: Vec<Value> = all("history").into_iter().filter(|of| of["kind"] == "major").collect();
    assert!(!majors.is_empty(), "{stats:?}");
    for of in &majors {
        assert_eq!(of["table"], "messages.messages");
        assert!(
            of["bytes_in"].as_u64() > Some(0) && of["written_bytes"].as_u64() > Some(0),
            "{of}"
        );
    }
    let large = all("large_partitions");
    assert!(large.iter().any(|of| of["rows"].as_u64() >= Some(200)), "{large:?}");
    let shown = table("compaction-stats", &dir);
    for says in [
        "jobs waiting",
        "major",
        "large partition",
        &format!("channel {channel} bucket "),
    ] {
        assert!(shown.contains(says), "{says}: {shown}");
    }
    let usage = told("disk-usage", &dir, &[]);
    assert_eq!(messages_of(&usage)["rows"], 4200);
    assert!(table("disk-usage", &dir).contains(&format!("channel {channel} ")));

    // It does not wait unless it is asked to, and the store does it all the same.
    let before = block_on(messages.store().compactions()).unwrap();
    let done = |shards: &[engine::ShardCompactions]| shards.iter().map(|of| of.history.len()).sum::<usize>();
    for n in 0..200 {
        block_on(messages.send(channel, 1, format!("another {n}"))).unwrap();
    }
    assert_eq!(told("compact", &dir, &[]), [json!({"begun": true, "running": true})]);
    let began = Instant::now();
    while done(&block_on(messages.store().compactions()).unwrap()) == done(&before) {
        assert!(began.elapsed() < Duration::from_secs(30), "it goes on");
        std::thread::sleep(Duration::from_millis(20));
    }
    let says = stdout_of(["compact", "--data", text(&dir), "--format", "table"]);
    assert!(
        says.contains("the store compacts all tables; how far it is: scrollback compaction-stats --data "),
        "{says}"
    );
    let refused = scrollback(["compact", "--data", text(&dir), "--table", "messages.none"]);
    let says = String::from_utf8(refused.stderr).unwrap();
    assert!(
        says.starts_with("scrollback: there is no table \"messages.none\"; there are messages."),
        "{says}"
    );

    messages.store().announce("listen", "127.0.0.1:9042");
    let status = &told("status", &dir, &[])[0];
    for (name, value) in [
        ("running", json!(true)),
        ("shards", json!(2)),
        ("pid", json!(std::process::id())),
        ("listen", json!("127.0.0.1:9042")),
    ] {
        assert_eq!(status[name], value, "{status}");
    }
    assert!(table("status", &dir).contains("127.0.0.1:9042"));
    let snapshot = &told("snapshot", &dir, &["of-one-that-runs"])[0];
    assert!(snapshot["files"].as_u64() > Some(0), "{snapshot}");
    assert_eq!(
        snapshot["snapshot"],
        text(&dir.join("snapshots/of-one-that-runs")),
        "where it is"
    );
    for (name, says) in [
        ("of-one-that-runs", "there is a snapshot in "),
        ("../x", "a snapshot cannot be called"),
    ] {
        let refused = scrollback(["snapshot", "--data", text(&dir), name]);
        let told = String::from_utf8(refused.stderr).unwrap();
        assert!(told.contains(says), "{told}");
    }
    block_on(messages.close()).unwrap();
    assert!(history(&dir, "#7").ends_with(&whole), "the newest came first");
    let refused = scrollback(["status", "--data", text(&dir)]);
    assert_eq!(refused.status.code(), Some(1));
    let says = String::from_utf8(refused.stderr).unwrap();
    assert!(says.starts_with("scrollback: no store runs in "), "{says}");
    // What the snapshot has is what there was.
    let restored = dir.with_file_name("restored");
    let from = dir.join("snapshots/of-one-that-runs");
    stdout_of(["restore", "--data", text(&restored), "--from", text(&from)]);
    assert_eq!(history(&restored, "#7"), history(&dir, "#7"));
}

#[test]
fn a_socket_that_a_kill_has_left_is_stale() {
    let folder = folder("operate-killed-");
    let store = imported(folder.path());
    for command in ["compact", "flush", "compaction-stats", "disk-usage"] {
        let mut worker = Command::new(common::PROGRAM)
            .args(["demo-worker", "--data", text(&store), "--seed", "1", "--clients", "1"])
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        // Kept open: a worker whose pipe is closed ends.
        let mut pipe = BufReader::new(worker.stdout.take().unwrap());
        pipe.read_line(&mut String::new()).unwrap();
        assert_eq!(
            told("flush", &store, &[])[0]["running"],
            true,
            "it is asked while it runs"
        );
        worker.kill().unwrap();
        worker.wait().unwrap();
        assert!(store.join(STATISTICS_SOCKET).exists(), "a kill leaves it");
        let told = told(command, &store, &[]);
        assert_ne!(told.last().unwrap()["running"], true, "{told:?}");
    }
}
