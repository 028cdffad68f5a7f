//! `scrollback status`, `compact`, `flush`, `compaction-stats` and `disk-usage`: through the socket of a store that runs, or on one that is closed,
//! which is opened for it.

use super::live::{Live, partition};
use crate::{
    cli,
    failure::{Done, Failure},
    output::{Format, Output, visible},
    progress, session,
    time_text::Timestamp,
};
use engine::{Config, Request, ShardCompactions, Size, Store, TableUsage, ask};
use indicatif::ProgressBar;
use messages::{Messages, NameKind};
use serde::Serialize;
use serde_json::{Value, json};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

/// How often the bar of a compaction moves.
const LOOK_EVERY: Duration = Duration::from_millis(250);
/// Compactions shown of each shard.
const HISTORY: usize = 20;
/// The key of this table is a channel and a bucket.
const MESSAGES: &str = "messages.messages";

#[derive(Serialize)]
struct Flushed {
    flushed: bool,
    running: bool,
}

#[derive(Serialize)]
struct Begun {
    begun: bool,
    running: bool,
}

#[derive(Serialize)]
struct Compacted {
    compacted: bool,
    running: bool,
    sstables_before: u64,
    sstable_bytes_before: u64,
    sstables: u64,
    sstable_bytes: u64,
}

/// The configuration of a store that is there.
fn of_store(data: &cli::Data) -> Done<Config> {
    let config = session::config(data)?;
    engine::must_be_store(&config.dir)?;
    Ok(config)
}

/// Runs `command` over a store that does not run.
pub(super) fn closed<T, F: Future<Output = Done<T>>>(data: &cli::Data, command: impl FnOnce(Messages) -> F) -> Done<T> {
    session::with_store(data, command).map_err(|failure| match failure.sentence {
        Some(sentence) if sentence.contains("in use by another process") => Failure::new(format_args!(
            "{sentence} (it could not be asked: it has no {}, which the setting statistics_socket decides, or is opening or closing)",
            engine::STATISTICS_SOCKET
        )),
        _ => failure,
    })
}

/// What a running store answers, line by line; `None`: none runs.
pub(super) fn lines(dir: &Path, request: &Request) -> Done<Option<Vec<Value>>> {
    let mut told = Vec::new();
    let answered = ask(dir, request, |line| {
        told.push(line.to_owned());
        true
    })?;
    if answered.is_none() {
        return Ok(None);
    }
    // What takes long says so before the first line, and each second an object with nothing in it.
    let objects = told.iter().filter(|line| !matches!(line.as_str(), "begun" | "{}"));
    objects.map(|line| object(line)).collect::<Done<Vec<_>>>().map(Some)
}

fn object(line: &str) -> Done<Value> {
    let odd = |_| {
        Failure::new(format_args!(
            "the store tells {line:?}, which this version does not understand"
        ))
    };
    serde_json::from_str(line).map_err(odd)
}

/// Says whether a store runs.
pub fn status(args: cli::Status, format: Format) -> Done {
    let config = of_store(&args.data)?;
    let told = lines(&config.dir, &Request::Status)?.and_then(|lines| lines.into_iter().next());
    let Some(Value::Object(told)) = told else {
        return Err(Failure::new(format_args!(
            "no store runs in {}, or it has no {}; `scrollback serve` starts one",
            config.dir.display(),
            engine::STATISTICS_SOCKET
        )));
    };
    let running = std::iter::once(("running".to_owned(), Value::Bool(true)));
    let told: serde_json::Map<String, Value> = running.chain(told).collect();
    let mut output = Output::new();
    match format {
        Format::Jsonl => output.object(&told)?,
        Format::Table => {
            let shown = |value: &Value| value.as_str().map_or_else(|| value.to_string(), visible);
            let rows: Vec<_> = told
                .iter()
                .map(|(name, value)| vec![name.clone(), shown(value)])
                .collect();
            output.table(&["store", ""], &rows)?;
        }
    }
    output.flush()
}

/// Flushes what is in memory.
pub fn flush(args: cli::Flush, format: Format) -> Done {
    let config = of_store(&args.data)?;
    let running = lines(&config.dir, &Request::Flush)?.is_some();
    if !running {
        // Whatever the log had is in table files when it is open.
        closed(&args.data, async |messages| Ok(messages.store().flush().await?))?;
    }
    let mut output = Output::new();
    match format {
        Format::Jsonl => output.object(&Flushed { flushed: true, running })?,
        Format::Table => output.line("everything that was written is in table files")?,
    }
    output.flush()
}

/// Table files of the store, and their bytes.
#[derive(Clone, Copy)]
struct Files(u64, u64);

impl Files {
    fn running(config: &Config) -> Done<Option<Files>> {
        let Some(live) = Live::ask(config)? else {
            return Ok(None);
        };
        let sum = |name: &str| {
            (0..live.shards.len())
                .map(|shard| live.figure(shard, name) as u64)
                .sum()
        };
        Ok(Some(Files(sum("sstables"), sum("sstable_bytes"))))
    }

    async fn of(store: &Store) -> Done<Files> {
        let shards = store.statistics().await?;
        Ok(Files(
            shards.iter().map(|of| of.sstables).sum(),
            shards.iter().map(|of| of.sstable_bytes).sum(),
        ))
    }
}

/// Compacts all of a table, or of all tables.
pub fn compact(args: cli::Compact, format: Format) -> Done {
    let config = of_store(&args.data)?;
    let before = Files::running(&config)?;
    let (running, before, after) = match before {
        Some(before) => match compact_running(&args, &config)? {
            Asked::Begun => return begun(&args, &config, format),
            Asked::Done => (true, before, Files::running(&config)?.unwrap_or(before)),
            // It has closed since.
            Asked::Nobody => compact_closed(&args).map(|(before, after)| (false, before, after))?,
        },
        None => compact_closed(&args).map(|(before, after)| (false, before, after))?,
    };
    let mut output = Output::new();
    match format {
        Format::Jsonl => output.object(&Compacted {
            compacted: true,
            running,
            sstables_before: before.0,
            sstable_bytes_before: before.1,
            sstables: after.0,
            sstable_bytes: after.1,
        })?,
        Format::Table => output.line(format_args!(
            "compacted: the store had {} table files, {} bytes, and has {}, {} bytes",
            before.0, before.1, after.0, after.1
        ))?,
    }
    output.flush()
}

/// What became of what a running store was asked.
enum Asked {
    Nobody,
    Begun,
    Done,
}

fn compact_running(args: &cli::Compact, config: &Config) -> Done<Asked> {
    let request = Request::Compact {
        table: args.table.clone(),
    };
    let bar = progress::bytes("compacting", 0);
    let answered = ask(&config.dir, &request, |line| {
        if let Ok(told) = serde_json::from_str::<Value>(line) {
            let sum = |name: &str| {
                let running = told["running"].as_array().into_iter().flatten();
                running.filter_map(|of| of[name].as_u64()).sum()
            };
            move_bar(&bar, sum("read_bytes"), sum("bytes_in"));
        }
        args.wait
    });
    bar.finish_and_clear();
    Ok(match (answered?, args.wait) {
        (None, _) => Asked::Nobody,
        (Some(()), false) => Asked::Begun,
        (Some(()), true) => Asked::Done,
    })
}

fn begun(args: &cli::Compact, config: &Config, format: Format) -> Done {
    let mut output = Output::new();
    match format {
        Format::Jsonl => output.object(&Begun {
            begun: true,
            running: true,
        })?,
        Format::Table => output.line(format_args!(
            "the store compacts {}; how far it is: scrollback compaction-stats --data {}",
            args.table.as_deref().unwrap_or("all tables"),
            config.dir.display()
        ))?,
    }
    output.flush()
}

#[expect(
    clippy::disallowed_methods,
    reason = "a thread beside those of the shards, for the bar"
)]
fn compact_closed(args: &cli::Compact) -> Done<(Files, Files)> {
    let bar = progress::bytes("compacting", 0);
    let done = Arc::new(AtomicBool::new(false));
    let compacted = closed(&args.data, async |messages| {
        let store = messages.store();
        let table = args.table.as_deref().map(|name| store.table_called(name)).transpose()?;
        let before = Files::of(store).await?;
        let (watched, bar, ended) = (store.clone(), bar.clone(), Arc::clone(&done));
        let watcher = thread::spawn(move || {
            while !ended.load(Ordering::Acquire) {
                let Ok(shards) = runtime::block_on(watched.compactions()) else {
                    return;
                };
                let running = || shards.iter().filter_map(|shard| shard.running.as_ref());
                let read = running().map(|of| of.read_bytes).sum();
                move_bar(&bar, read, running().map(|of| of.bytes_in).sum());
                thread::sleep(LOOK_EVERY);
            }
        });
        let compacted = store.compact(table.map(|table| table.id)).await;
        done.store(true, Ordering::Release);
        let _panicked = watcher.join();
        compacted?;
        Ok((before, Files::of(store).await?))
    });
    bar.finish_and_clear();
    compacted
}

fn move_bar(bar: &ProgressBar, read: u64, of: u64) {
    bar.set_length(of.max(read));
    bar.set_position(read);
}

/// Shows what is compacted, what waits, what was done, and large partitions.
pub fn compaction_stats(args: cli::CompactionStats, format: Format) -> Done {
    let config = of_store(&args.data)?;
    let told = lines(&config.dir, &Request::Compactions)?;
    let running = told.is_some();
    let shards = match told {
        Some(shards) => shards,
        None => closed(&args.data, async |messages| {
            let shards = messages.store().compactions().await?;
            shards.iter().map(|of| object(&ShardCompactions::to_json(of))).collect()
        })?,
    };
    let mut output = Output::new();
    match format {
        Format::Jsonl => {
            shards.iter().try_for_each(|shard| output.object(shard))?;
            output.object(&json!({"shards": shards.len(), "running": running}))?;
        }
        Format::Table => compactions_table(&mut output, &shards, running)?,
    }
    output.flush()
}

fn list<'a>(of: &'a Value, name: &str) -> impl DoubleEndedIterator<Item = &'a Value> + use<'a> {
    of[name].as_array().map(Vec::as_slice).unwrap_or_default().iter()
}

fn text(value: &Value) -> String {
    match value {
        Value::Null => "-".to_owned(),
        Value::String(text) => visible(text),
        value => value.to_string(),
    }
}

fn seconds(value: &Value) -> String {
    let ms = value.as_i64().and_then(|seconds| seconds.checked_mul(1000));
    ms.map_or("-".to_owned(), |ms| Timestamp(ms).to_string())
}

fn size(value: &Value) -> String {
    value.as_u64().map_or("-".to_owned(), readable)
}

/// A size for people: exact below a KiB, with one digit after the point above.
fn readable(bytes: u64) -> String {
    let units = ["KiB", "MiB", "GiB", "TiB"];
    let mut amount = bytes as f64;
    let mut unit = "B";
    for next in units {
        if amount < 1024.0 {
            break;
        }
        amount /= 1024.0;
        unit = next;
    }
    match unit {
        "B" => Size(bytes).to_string(),
        unit => format!("{amount:.1} {unit}"),
    }
}

fn compactions_table(output: &mut Output, shards: &[Value], running: bool) -> Done {
    let now = shards.iter().filter(|shard| shard["running"].is_object()).map(|shard| {
        let of = &shard["running"];
        let (read, all) = (
            of["read_bytes"].as_u64().unwrap_or(0),
            of["bytes_in"].as_u64().unwrap_or(0),
        );
        vec![
            text(&shard["shard"]),
            text(&of["table"]),
            text(&of["kind"]),
            seconds(&of["began_s"]),
            format!("{:.0}", 100.0 * read.min(all) as f64 / all.max(1) as f64),
            readable(all.saturating_sub(read)),
            size(&of["bytes_in"]),
            size(&of["written_bytes"]),
        ]
    });
    let now: Vec<_> = now.collect();
    if now.is_empty() {
        output.line("nothing is being compacted")?;
    } else {
        output.table(
            &["shard", "running", "why", "began", "read %", "left", "in", "out so far"],
            &now,
        )?;
    }
    output.line("")?;
    let waiting = shards.iter().map(|shard| {
        let asked: Vec<String> = list(shard, "asked").map(text).collect();
        vec![
            text(&shard["shard"]),
            text(&shard["waiting_jobs"]),
            size(&shard["waiting_bytes"]),
            if asked.is_empty() {
                "-".to_owned()
            } else {
                asked.join(", ")
            },
        ]
    });
    output.table(
        &["shard", "jobs waiting", "bytes", "asked for"],
        &waiting.collect::<Vec<_>>(),
    )?;
    let done = shards.iter().flat_map(|shard| {
        list(shard, "history").rev().take(HISTORY).map(|of| {
            vec![
                text(&shard["shard"]),
                text(&of["table"]),
                text(&of["kind"]),
                seconds(&of["began_s"]),
                format!("{:.1}", of["micros"].as_f64().unwrap_or(0.0) / 1e6),
                text(&of["files_in"]),
                size(&of["bytes_in"]),
                size(&of["written_bytes"]),
                text(&of["purged"]),
            ]
        })
    });
    let done: Vec<_> = done.collect();
    if !done.is_empty() {
        output.line("")?;
        output.table(
            &[
                "shard", "done", "why", "began", "seconds", "files", "in", "out", "purged",
            ],
            &done,
        )?;
    }
    let mut large: Vec<&Value> = shards
        .iter()
        .flat_map(|shard| list(shard, "large_partitions"))
        .collect();
    large.sort_by_key(|of| std::cmp::Reverse(of["bytes"].as_u64()));
    let large: Vec<Vec<String>> = large
        .into_iter()
        .map(|of| {
            vec![
                key_text(of),
                size(&of["bytes"]),
                text(&of["rows"]),
                text(&of["tombstones"]),
                seconds(&of["written_s"]),
            ]
        })
        .collect();
    if !large.is_empty() {
        output.line("")?;
        output.table(&["large partition", "bytes", "rows", "tombstones", "written"], &large)?;
    }
    if !running {
        output.line("")?;
        output.line("the store was closed: it remembers nothing of what was compacted before")?;
    }
    Ok(())
}

fn key_text(of: &Value) -> String {
    let part = |name: &str| of[name].as_str().unwrap_or("");
    visible(&partition(part("table"), part("key")))
}

/// Shows what lies on the disk.
pub fn disk_usage(args: cli::DiskUsage, format: Format) -> Done {
    let config = of_store(&args.data)?;
    let tables = match lines(&config.dir, &Request::DiskUsage)? {
        Some(tables) => tables,
        None => closed(&args.data, async |messages| {
            let tables = messages.store().disk_usage().await?;
            let mut told = tables
                .iter()
                .map(|of| object(&TableUsage::to_json(of)))
                .collect::<Done<Vec<_>>>()?;
            name_channels(&messages, &mut told).await?;
            Ok(told)
        })?,
    };
    let mut output = Output::new();
    let sum = |name: &str| tables.iter().filter_map(|of| of[name].as_u64()).sum::<u64>();
    match format {
        Format::Jsonl => {
            tables.iter().try_for_each(|table| output.object(table))?;
            output.object(&json!({"tables": tables.len(), "files": sum("files"), "bytes": sum("bytes")}))?;
        }
        Format::Table => usage_table(&mut output, &tables)?,
    }
    output.flush()
}

/// Says the names of the largest channels, where the store can be asked for them.
async fn name_channels(messages: &Messages, tables: &mut [Value]) -> Done {
    for table in tables.iter_mut().filter(|table| table["table"] == MESSAGES) {
        for of in table["largest_prefixes"].as_array_mut().into_iter().flatten() {
            if let Some(channel) = of["key"].as_str().and_then(channel)
                && let Some(name) = messages.name(NameKind::Channel, channel).await?
            {
                of["channel"] = name.into();
            }
        }
    }
    Ok(())
}

/// The channel in a key's first column.
fn channel(key: &str) -> Option<i64> {
    let digits = key.strip_prefix("0x")?;
    let number = u64::from_str_radix(digits, 16).ok().filter(|_| digits.len() == 16)?;
    Some(number.cast_signed())
}

fn usage_table(output: &mut Output, tables: &[Value]) -> Done {
    let rows = tables.iter().map(|of| {
        vec![
            text(&of["table"]),
            text(&of["files"]),
            size(&of["bytes"]),
            text(&of["rows"]),
            text(&of["partitions"]),
            text(&of["tombstones"]),
        ]
    });
    output.table(
        &["table", "files", "bytes", "rows", "partitions", "tombstones"],
        &rows.collect::<Vec<_>>(),
    )?;
    for of in tables {
        let name = text(&of["table"]);
        let epochs = list(of, "epochs").map(|epoch| {
            let from = epoch["first_ms"].as_i64();
            vec![
                from.map_or("-".to_owned(), |ms| Timestamp(ms).to_string()),
                size(&epoch["bytes"]),
            ]
        });
        let hours = text(&of["epoch_hours"]);
        section(
            output,
            &format!("{name}, epochs of {hours} hours from"),
            epochs.collect(),
        )?;
        let prefixes = list(of, "largest_prefixes").map(|prefix| {
            let key = prefix["key"].as_str().unwrap_or("");
            let what = match (prefix["channel"].as_str(), channel(key)) {
                (Some(name), _) => name.to_owned(),
                (None, Some(channel)) if name == MESSAGES => format!("channel {channel}"),
                _ => key.to_owned(),
            };
            vec![visible(&what), size(&prefix["bytes"])]
        });
        let of_what = if name == MESSAGES {
            "channels"
        } else {
            "by the key's first column"
        };
        section(output, &format!("{name}, largest {of_what}"), prefixes.collect())?;
        let largest = list(of, "largest_partitions").map(|large| {
            let key = large["key"].as_str().unwrap_or("");
            vec![visible(&partition(&name, key)), size(&large["bytes"])]
        });
        section(output, &format!("{name}, largest partitions"), largest.collect())?;
    }
    Ok(())
}

fn section(output: &mut Output, title: &str, rows: Vec<Vec<String>>) -> Done {
    if rows.is_empty() {
        return Ok(());
    }
    output.line("")?;
    output.table(&[title, "bytes"], &rows)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_readable() {
        for (bytes, expected) in [
            (0, "0"),
            (1023, "1023"),
            (1024, "1.0 KiB"),
            (1_600_000, "1.5 MiB"),
            (u64::MAX, "16777216.0 TiB"),
        ] {
            assert_eq!(readable(bytes), expected);
        }
    }

    #[test]
    fn a_channel_is_eight_bytes() {
        assert_eq!(channel("0x0000000000000007"), Some(7));
        assert_eq!(channel("0xffffffffffffffff"), Some(-1));
        for odd in ["0x07", "0000000000000007", "0x000000000000000g", ""] {
            assert_eq!(channel(odd), None, "{odd}");
        }
    }
}
