//! `window`: the lengths of a channel's buckets, shown and changed by processes of their own.

#![allow(clippy::unwrap_used, reason = "helpers of tests")]

mod common;

use common::{folder, scrollback, stdout_of, text};
use serde_json::{Value, json};

const HOUR_MS: i64 = 3_600_000;
/// 2015-01-01T00:00:00Z, from which a store's buckets are counted if nothing else was asked for.
const EPOCH_MS: i64 = 1_420_070_400_000;

fn objects(text: &str) -> Vec<Value> {
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

#[test]
fn the_windows_of_a_channel_are_shown_and_change_at_a_border_to_come() {
    let folder = folder("window-");
    let store = folder.path().join("store");
    let chat = common::write(
        folder.path().join("chat.jsonl"),
        b"{\"ts_ms\":1600000000000,\"channel\":\"#c\",\"author\":\"a\",\"content\":\"hello\"}\n",
    );
    stdout_of(["import", "--data", text(&store), "--shards", "2", text(&chat)]);
    let command = |more: &[&str]| -> Vec<String> {
        let first = ["window", "--data", text(&store), "--channel", "#c"];
        first.iter().chain(more).map(|&arg| arg.to_owned()).collect()
    };
    let window = |more: &[&str]| objects(&stdout_of(command(more)));
    let refused = |more: &[&str]| {
        let output = scrollback(command(more));
        assert_eq!(output.status.code(), Some(1));
        String::from_utf8(output.stderr).unwrap()
    };

    let before = window(&[]);
    assert_eq!(before.len(), 2, "{before:?}");
    assert_eq!(before[0], json!({"from_ms": EPOCH_MS, "hours": 240, "in_force": true}));
    let border_ms = before[1]["next_border_ms"].as_i64().unwrap();
    assert_eq!((border_ms - EPOCH_MS) % (240 * HOUR_MS), 0, "{before:?}");
    assert!(border_ms > 1_780_000_000_000, "to come: {before:?}");
    let summary = |next_border_ms: i64| json!({"channel": "#c", "hours": 240, "store_hours": 240, "next_border_ms": next_border_ms});
    assert_eq!(before[1], summary(border_ms));

    // From the first border on, which stays one; what is in force stays until then.
    let to_come = json!({"from_ms": border_ms, "hours": 24, "in_force": false});
    let expected = [before[0].clone(), to_come, summary(border_ms)];
    assert_eq!(window(&["--hours", "24"]), expected);
    assert_eq!(window(&[]), expected, "it was kept");
    let shown = stdout_of(command(&["--format", "table"]));
    let lines: Vec<&str> = shown.lines().collect();
    assert_eq!(lines[1], "2015-01-01T00:00:00Z    240  in force", "{shown}");
    assert!(lines[2].ends_with("T00:00:00Z     24  to come"), "{shown}");
    assert!(
        lines[3].starts_with("the next border at which it can change: "),
        "{shown}"
    );

    // At a border of the new windows, named by its time; and one that is none, or too early.
    let day = lines[2].split_whitespace().next().unwrap();
    let inside = day.replace("T00:00", "T00:01");
    let says = refused(&["--hours", "1", "--from", &inside]);
    assert!(
        says.contains(&format!(
            "cannot change at {inside}, in the middle of a bucket; the next border is "
        )),
        "{says}"
    );
    let next = says.trim_end().rsplit(' ').next().unwrap();
    let changed = window(&["--hours", "1", "--from", next]);
    assert_eq!(
        changed[2],
        json!({"from_ms": border_ms + 24 * HOUR_MS, "hours": 1, "in_force": false})
    );
    let says = refused(&["--hours", "1", "--from", "2020-01-01T00:00:00Z"]);
    assert!(says.ends_with(&format!("the first border that is: {day}\n")), "{says}");

    // The window in force undoes what is to come.
    assert_eq!(window(&["--hours", "240"]), before);
    assert_eq!(common::history(&store, "#c").lines().count(), 1);
}
