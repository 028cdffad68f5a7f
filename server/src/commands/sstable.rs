//! `scrollback sstable`: a table file from outside every store, memory-mapped.

use super::fragment::{self, hex};
use crate::{
    cli,
    failure::{Done, Failure},
    output::{Format, Output},
};
use serde_json::{Value, json};
use sstable::{
    Damage, EpochShare, EpochShares,
    offline::{self, Map, Stats, Verified},
};
use std::{io, path::Path};

/// Runs one of the three.
pub fn run(command: cli::Sstable, format: Format) -> Done {
    match command {
        cli::Sstable::Dump(args) => dump(&args.file, format),
        cli::Sstable::Stats(args) => stats(&args.file, format),
        cli::Sstable::Verify(args) => verify(&args.file, format),
    }
}

fn open(file: &Path) -> Done<Map> {
    let refuse = |error| Failure::file(file, "cannot be opened", error);
    match std::fs::metadata(file) {
        Ok(metadata) if !metadata.is_file() => Err(Failure::new(format_args!("{}: not a plain file", file.display()))),
        Ok(_) => Map::open(file).map_err(refuse),
        Err(error) => Err(refuse(error)),
    }
}

fn damaged(file: &Path, damage: Damage) -> Failure {
    Failure::new(damage.at(file))
}

fn dump(file: &Path, format: Format) -> Done {
    let map = open(file)?;
    let mut output = Output::new();
    let verified = match format {
        Format::Jsonl => dump_objects(&map, &mut output)?,
        Format::Table => match offline::dump(&map, &mut output) {
            Ok(written) => written,
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => return Err(Failure::told()),
            Err(error) => return Err(Failure::new(format_args!("standard output: {error}"))),
        },
    };
    output.flush()?;
    let verified = verified.map_err(|damage| damaged(file, damage))?;
    if format == Format::Jsonl {
        output.object(&counts(&verified))?;
    }
    output.flush()
}

/// One object for each fragment; what was written before damage is sound.
fn dump_objects(map: &Map, output: &mut Output) -> Done<Result<Verified, Damage>> {
    let mut written = Ok(());
    let verified = offline::scan(map, &mut |_, fragment| {
        if written.is_ok() {
            written = output.object(&fragment::object(fragment));
        }
    });
    written.map(|()| verified)
}

fn counts(verified: &Verified) -> Value {
    json!({
        "bytes": verified.file_bytes,
        "partitions": verified.partitions,
        "rows": verified.rows,
        "frames": verified.frames,
    })
}

fn verify(file: &Path, format: Format) -> Done {
    let verified = offline::verify(&open(file)?).map_err(|damage| damaged(file, damage))?;
    let mut output = Output::new();
    match format {
        Format::Jsonl => output.object(&counts(&verified))?,
        Format::Table => output.line(format_args!(
            "sound: {} bytes, {} partitions, {} rows, {} frames",
            verified.file_bytes, verified.partitions, verified.rows, verified.frames
        ))?,
    }
    output.flush()
}

fn stats(file: &Path, format: Format) -> Done {
    let figures = figures(&offline::stats(&open(file)?).map_err(|damage| damaged(file, damage))?);
    let mut output = Output::new();
    match format {
        Format::Jsonl => output.object(&figures)?,
        Format::Table => {
            let text = |value: &Value| value.as_str().map_or_else(|| value.to_string(), str::to_owned);
            let rows: Vec<_> = figures
                .as_object()
                .into_iter()
                .flatten()
                .map(|(k, v)| vec![k.clone(), text(v)])
                .collect();
            output.table(&["figure", "value"], &rows)?;
        }
    }
    output.flush()
}

fn epochs(of: &EpochShares) -> Value {
    let share = |share: &EpochShare| {
        json!({
            "epoch": share.epoch,
            "bytes": share.bytes,
            "shadowed_bytes": share.shadowed_bytes,
        })
    };
    of.shares.iter().map(share).collect()
}

fn figures(of: &Stats) -> Value {
    let s = &of.statistics;
    // The markers that stand for "none" in the file are null here.
    let time = |micros: i64| (micros != i64::MIN && micros != i64::MAX).then_some(micros);
    let seconds = |seconds: u32| (seconds != u32::MAX).then_some(seconds);
    json!({
        "generation": of.generation,
        "host_id": hex(&of.host_id),
        "table": of.table.0,
        "compression": format!("{:?}", of.compression).to_lowercase(),
        "file_bytes": of.file_bytes,
        "raw_bytes": s.raw_bytes(),
        "partitions": s.partitions,
        "rows": s.rows,
        "dead_rows": s.dead_rows,
        "static_rows": s.static_rows,
        "cells": s.cells,
        "expiring_cells": s.expiring_cells,
        "cell_tombstones": s.cell_tombstones,
        "row_tombstones": s.row_tombstones,
        "range_tombstones": s.range_tombstones,
        "partition_tombstones": s.partition_tombstones,
        "partition_heads": s.partition_heads,
        "min_timestamp": time(s.min_timestamp),
        "max_timestamp": time(s.max_timestamp),
        "max_deletion_timestamp": time(s.max_deletion_timestamp),
        "min_local_deletion_time": seconds(s.min_local_deletion_time),
        "max_local_deletion_time": seconds(s.max_local_deletion_time),
        "first_token": s.first.as_ref().map(|(token, _)| token.0),
        "first_key": s.first.as_ref().map(|(_, key)| hex(key)),
        "last_token": s.last.as_ref().map(|(token, _)| token.0),
        "last_key": s.last.as_ref().map(|(_, key)| hex(key)),
        "min_clustering": s.clustering.as_ref().map(|(min, _)| hex(min)),
        "max_clustering": s.clustering.as_ref().map(|(_, max)| hex(max)),
        "data_frames": s.sizes.data_frames,
        "data_bytes": s.sizes.data_bytes,
        "index_frames": s.sizes.index_frames,
        "index_bytes": s.sizes.index_bytes,
        "top_bytes": s.sizes.top_bytes,
        "filter_bytes": s.sizes.filter_bytes,
        "epoch_hours": s.epochs.as_ref().map(|epochs| epochs.epoch_hours),
        "epochs": s.epochs.as_ref().map(epochs),
    })
}
