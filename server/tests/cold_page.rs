//! What a page of older messages costs, as `history --explain` tells it. Each page is asked for by a process of its own, which
//! opens the closed store: nothing is in a cache.

#![allow(clippy::unwrap_used, reason = "helpers of tests")]

mod common;

use common::{folder, scrollback, stdout_of, text, write};
use serde_json::Value;

const MESSAGES: usize = 30_000;

#[test]
fn an_older_page_after_import_in_time_order_opens_one_sstable_and_reads_two_blocks() {
    let folder = folder("cold-page-");
    let line = |n: usize| {
        let (ts_ms, content) = (
            1_600_000_000_000 + n * 10_000,
            format!("message {n} {}", "x".repeat(80)),
        );
        format!("{{\"ts_ms\":{ts_ms},\"channel\":\"#c\",\"author\":\"a\",\"content\":\"{content}\"}}\n")
    };
    let chat: String = (0..MESSAGES).map(line).collect();
    let chat = write(folder.path().join("chat.jsonl"), chat.as_bytes());
    let store = folder.path().join("store");
    let import = [
        "import",
        "--data",
        text(&store),
        "--shards",
        "1",
        "--memtable-bytes",
        "2MiB",
        text(&chat),
    ];
    stdout_of(import);
    let stats = stdout_of(["stats", "--data", text(&store), "--format", "jsonl"]);
    let stats: Value = serde_json::from_str(stats.lines().next().unwrap()).unwrap();
    assert!(
        stats["sstables"].as_u64().unwrap() > 4,
        "several files, or there is nothing to leave closed: {stats}"
    );

    let ids: Vec<String> = common::history(&store, "#c")
        .lines()
        .map(|line| {
            serde_json::from_str::<Value>(line).unwrap()["id"]
                .as_str()
                .unwrap()
                .to_owned()
        })
        .collect();
    assert_eq!(ids.len(), MESSAGES);
    let mut one_file = 0;
    for place in (500..MESSAGES).step_by(3000) {
        let args = [
            "history",
            "--data",
            text(&store),
            "--channel",
            "#c",
            "--limit",
            "50",
            "--explain",
            "--before",
        ];
        let output = scrollback(args.into_iter().chain([ids[place].as_str(), "--format", "jsonl"]));
        let shown = String::from_utf8(output.stdout).unwrap();
        assert!(
            shown
                .lines()
                .zip(&ids[place + 1..])
                .all(|(line, id)| line.contains(&format!("\"id\":\"{id}\"")))
        );
        assert_eq!(shown.lines().count(), 50);
        let cost: Value = serde_json::from_slice(&output.stderr).unwrap();
        let figure = |name: &str| cost[name].as_u64().unwrap();
        let opened = figure("sstables_opened");
        one_file += u64::from(opened == 1);
        // Where one file ends and the next begins a page needs both.
        assert!(
            opened <= 2 && figure("data_blocks") <= 1 + opened,
            "page at {place}: {cost}"
        );
        assert!(figure("device_reads") <= 1 + 2 * opened, "page at {place}: {cost}");
        assert_eq!(
            (figure("page"), figure("messages"), figure("rows_dead")),
            (1, 50, 0),
            "{cost}"
        );
    }
    assert!(one_file >= 8, "of 10 pages {one_file} opened one file only");
}
