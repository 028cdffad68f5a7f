//! What a running store tells other processes: `top`, `stats`, `stats --prometheus`; and how they end when none runs.

#![allow(clippy::unwrap_used, reason = "helpers of tests")]
#![allow(clippy::disallowed_methods, reason = "threads of a test, outside every shard")]

mod common;

use common::{folder, scrollback, stdout_of, text};
use engine::Config;
use messages::{History, Messages, Options};
use runtime::block_on;
use serde_json::Value;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

fn opened(dir: &Path) -> Messages {
    let config = Config::new(dir)
        .shards(Some(2))
        .log_segment_bytes(1 << 20)
        .log_bytes_max(8 << 20)
        .pin(false);
    block_on(Messages::open_with(config, Options::default())).unwrap()
}

fn objects(text: &str) -> Vec<Value> {
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

#[test]
fn a_running_store_is_watched_until_it_closes() {
    let folder = folder("top-");
    let dir = folder.path().join("store");
    let messages = opened(&dir);
    let channel = block_on(messages.channel("#busy")).unwrap();
    let data = ["--data", text(&dir)];
    let of = |command: &[&'static str], more: &[&'static str]| [command, &data[..], more].concat();

    let work = || {
        for n in 0..200 {
            block_on(messages.send(channel, 1, format!("message {n}"))).unwrap();
            block_on(messages.history(channel, History::newest(50))).unwrap();
        }
    };
    work();
    let stats = objects(&stdout_of(of(&["stats", "--format", "jsonl"], &[])));
    assert_eq!(stats.len(), 3, "two shards and their sum");
    assert_eq!(stats[2]["running"], true);
    let reads: u64 = stats[..2].iter().map(|shard| shard["reads"].as_u64().unwrap()).sum();
    assert!(reads >= 200, "{stats:?}");
    let prometheus = stdout_of(of(&["stats", "--prometheus"], &[]));
    assert!(
        prometheus.starts_with("# HELP scrollback_writes_total "),
        "{prometheus}"
    );

    // It watches while work is done.
    let top = of(&["top", "--format", "jsonl"], &["--interval-ms", "500"]);
    let mut top = Command::new(common::PROGRAM)
        .args(top)
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(top.stdout.take().unwrap()).lines();
    let done = AtomicBool::new(false);
    let mut seen: Vec<Value> = Vec::new();
    thread::scope(|scope| {
        scope.spawn(|| {
            while !done.load(Ordering::Relaxed) {
                work();
            }
        });
        for line in lines.by_ref().take(3) {
            seen.push(serde_json::from_str(&line.unwrap()).unwrap());
        }
        done.store(true, Ordering::Relaxed);
    });
    let once = stdout_of(of(&["top", "--once", "--format", "table"], &["--interval-ms", "10"]));
    for says in ["writes/s", "read p99 us", "longest stall us", "hot by reads, of late"] {
        assert!(once.contains(says), "{once}");
    }
    assert!(once.contains(&format!("channel {channel} bucket ")), "{once}");
    block_on(messages.close()).unwrap();
    lines.for_each(drop);
    assert!(top.wait().unwrap().success(), "it ends with the store");
    let busiest = |name: &str| {
        let shards = seen.iter().flat_map(|view| view["shards"].as_array().unwrap());
        shards
            .map(|shard| shard[name].as_f64().unwrap_or(0.0))
            .fold(0.0, f64::max)
    };
    for name in [
        "writes_s",
        "reads_s",
        "write_p99_us",
        "read_p50_us",
        "requests_CPU_percent",
    ] {
        assert!(busiest(name) > 0.0, "{name}: {seen:?}");
    }
    let hot = &seen.last().unwrap()["hot"][0];
    assert!(
        hot["partition"]
            .as_str()
            .unwrap()
            .starts_with(&format!("channel {channel} ")),
        "{hot}"
    );

    let none = scrollback(of(&["top"], &["--once"]));
    assert_eq!(none.status.code(), Some(1));
    let says = String::from_utf8_lossy(&none.stderr).into_owned();
    assert!(says.contains("no store runs there that tells its figures"), "{says}");
    // A closed store is opened for its figures.
    let prometheus = stdout_of(of(&["stats", "--prometheus"], &[]));
    assert!(
        prometheus.contains("scrollback_rows_on_disk{shard=\"1\"} "),
        "{prometheus}"
    );
}
