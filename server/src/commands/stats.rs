//! `scrollback stats`

use crate::{
    cli,
    failure::Done,
    output::{Format, Output},
    session,
    time_text::Timestamp,
};
use engine::{Recovery, ShardStatistics};
use serde_json::{Value, json};

/// Shows a store's figures.
pub fn run(args: cli::Stats, format: Format) -> Done {
    session::with_store(&args.data, async |messages| {
        let store = messages.store();
        let statistics = store.statistics().await?;
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
                // Figures down, shards across.
                let names: Vec<&String> = shards
                    .first()
                    .and_then(Value::as_object)
                    .into_iter()
                    .flat_map(|o| o.keys())
                    .collect();
                let row = |name: &String| {
                    std::iter::once(name.clone())
                        .chain(shards.iter().map(|shard| text(&shard[name])))
                        .collect()
                };
                let rows: Vec<Vec<String>> = names.into_iter().filter(|name| *name != "shard").map(row).collect();
                let header: Vec<String> = statistics.iter().map(|of| format!("shard {}", of.shard)).collect();
                let header: Vec<&str> = std::iter::once("figure")
                    .chain(header.iter().map(String::as_str))
                    .collect();
                output.table(&header, &rows)?;
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

fn text(value: &Value) -> String {
    match value {
        Value::Null => "-".to_owned(),
        Value::String(text) => text.clone(),
        value => value.to_string(),
    }
}

fn shard(of: &ShardStatistics, recoveries: &[Recovery]) -> Value {
    let recovery = recoveries.iter().find(|recovery| recovery.shard == of.shard);
    json!({
        "shard": of.shard,
        "sstables": of.sstables,
        "sstable_bytes": of.sstable_bytes,
        "rows_on_disk": of.rows_on_disk,
        "memtable_bytes": of.memtable_bytes,
        "log_bytes": of.log_bytes,
        "writes": of.writes,
        "written_bytes": of.written_bytes,
        "reads": of.reads,
        "reads_joined": of.reads_joined,
        "overloaded": of.overloaded,
        "tombstones": of.tombstones,
        "tombstone_warnings": of.tombstone_warnings,
        "tombstone_failures": of.tombstone_failures,
        "flushes": of.flushes,
        "flushed_bytes": of.flushed_bytes,
        "flush_failures": of.flush_failures,
        "cache_bytes": of.cache_bytes,
        "cache_hits": of.cache_hits,
        "cache_misses": of.cache_misses,
        "row_cache_bytes": of.row_cache_bytes,
        "row_cache_partitions": of.row_cache_partitions,
        "row_cache_hits": of.row_cache_hits,
        "row_cache_misses": of.row_cache_misses,
        "row_cache_fills": of.row_cache_fills,
        "row_cache_fills_stale": of.row_cache_fills_stale,
        "replayed_records": recovery.map(|recovery| recovery.records),
        "replayed_bytes": recovery.map(|recovery| recovery.bytes),
        "recovery_us": recovery.map(|recovery| recovery.micros),
        "torn": recovery.and_then(|r| r.torn.as_ref()).map(|(path, offset)| format!("{} at {offset}", path.display())),
        "device_reads": of.runtime.device_reads,
        "device_writes": of.runtime.device_writes,
        "syncs": of.runtime.syncs,
        "stall_max_us": of.runtime.stall_max_us,
        "stall_max_task": of.runtime.stall_max_task,
    })
}
