//! `scrollback stats`

use super::live::Live;
use crate::{
    cli,
    failure::Done,
    output::{Format, Output},
    session,
    time_text::Timestamp,
};
use engine::{FigureKind, Recovery, ShardStatistics, prometheus};
use serde_json::{Map, Value, json};

/// Shows a store's figures.
pub fn run(args: cli::Stats, format: Format) -> Done {
    let config = session::config(&args.data)?;
    engine::must_be_store(&config.dir)?;
    if args.prometheus
        && let Some(text) = engine::read_statistics(&config.dir)?
    {
        let mut output = Output::new();
        output.line(text.trim_end())?;
        return output.flush();
    }
    if let Some(live) = Live::ask(&config)? {
        return running(&live, format);
    }
    session::with_store(&args.data, async |messages| {
        let store = messages.store();
        let statistics = store.statistics().await?;
        if args.prometheus {
            let mut output = Output::new();
            output.line(prometheus(&statistics).trim_end())?;
            return output.flush();
        }
        let shards: Vec<Value> = statistics.iter().map(|of| shard(of, store.recoveries())).collect();
        let sum = |of: fn(&ShardStatistics) -> u64| statistics.iter().map(of).sum::<u64>();
        let summary = json!({
            "shards": statistics.len(),
            "tables": store.tables().len(),
            "epoch": Timestamp(messages.epoch().unix_ms()).to_string(),
            "window_hours": messages.window().hours(),
            "sstables": sum(|of| of.sstables),
            "sstable_bytes": sum(|of| of.sstable_bytes),
            "rows_on_disk": sum(|of| of.rows_on_disk),
            "log_bytes": sum(|of| of.log_bytes),
            "stall_max_us": statistics.iter().map(|of| of.runtime.stall_max_us).max(),
        });
        let mut output = Output::new();
        match format {
            Format::Jsonl => {
                shards.iter().try_for_each(|shard| output.object(shard))?;
                output.object(&summary)?;
            }
            Format::Table => {
                shards_table(&mut output, &shards)?;
                output.line("")?;
                let rows: Vec<_> = summary
                    .as_object()
                    .into_iter()
                    .flatten()
                    .map(|(k, v)| vec![k.clone(), text(v)])
                    .collect();
                output.table(&["store", ""], &rows)?;
            }
        }
        output.flush()
    })
}

/// Shows what a store that runs has told.
fn running(live: &Live, format: Format) -> Done {
    let shards = live.shards.iter().enumerate().map(|(at, _)| {
        let figures = live
            .names
            .iter()
            .map(|name| (name.clone(), json!(live.figure(at, name) as u64)));
        Value::Object(
            std::iter::once(("shard".to_owned(), json!(at)))
                .chain(figures)
                .collect(),
        )
    });
    let shards: Vec<Value> = shards.collect();
    let mut output = Output::new();
    match format {
        Format::Jsonl => {
            shards.iter().try_for_each(|shard| output.object(shard))?;
            output.object(&json!({"shards": shards.len(), "running": true}))?;
        }
        Format::Table => {
            shards_table(&mut output, &shards)?;
            output.line("the store runs: this is what it has done since it was opened")?;
        }
    }
    output.flush()
}

/// Figures down, shards across.
fn shards_table(output: &mut Output, shards: &[Value]) -> Done {
    let names = shards
        .first()
        .and_then(Value::as_object)
        .into_iter()
        .flat_map(|of| of.keys());
    let row = |name: &String| {
        let cells = shards.iter().map(|shard| text(&shard[name]));
        std::iter::once(name.clone()).chain(cells).collect()
    };
    let rows: Vec<Vec<String>> = names.filter(|name| *name != "shard").map(row).collect();
    let header: Vec<String> = shards.iter().map(|shard| format!("shard {}", shard["shard"])).collect();
    let header: Vec<&str> = std::iter::once("figure")
        .chain(header.iter().map(String::as_str))
        .collect();
    output.table(&header, &rows)
}

fn text(value: &Value) -> String {
    match value {
        Value::Null => "-".to_owned(),
        Value::String(text) => text.clone(),
        value => value.to_string(),
    }
}

fn shard(of: &ShardStatistics, recoveries: &[Recovery]) -> Value {
    let recovery = recoveries.iter().find(|recovery| recovery.shard == of.shard);
    let figures = of.figures().into_iter().map(|figure| {
        let name = match figure.kind {
            FigureKind::GaugeMicros => format!("{}_us", figure.name),
            FigureKind::Counter | FigureKind::Gauge => figure.name.to_owned(),
        };
        (name, json!(figure.value))
    });
    let mut told: Map<String, Value> = std::iter::once(("shard".to_owned(), json!(of.shard)))
        .chain(figures)
        .collect();
    let torn = recovery.and_then(|recovery| recovery.torn.as_ref());
    let more = [
        ("stall_max_task", json!(of.runtime.stall_max_task)),
        ("computed_max_task", json!(of.runtime.computed_max_task)),
        ("replayed_records", json!(recovery.map(|recovery| recovery.records))),
        ("replayed_bytes", json!(recovery.map(|recovery| recovery.bytes))),
        ("recovery_us", json!(recovery.map(|recovery| recovery.micros))),
        (
            "torn",
            json!(torn.map(|(path, offset)| format!("{} at {offset}", path.display()))),
        ),
    ];
    told.extend(more.into_iter().map(|(name, value)| (name.to_owned(), value)));
    Value::Object(told)
}
