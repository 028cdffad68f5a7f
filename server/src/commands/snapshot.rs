//! `scrollback snapshot`, `backup` and `restore`

use super::operate;
use crate::{
    cli,
    failure::{Done, Failure},
    output::{Format, Output},
    progress, session,
};
use engine::Request;
use engine::snapshot::{Copied, Purpose, Snapshot, copy};
use serde::{Deserialize, Serialize};
use std::path::Path;

/// What a backup's snapshot is called while it is copied.
const OF_BACKUP: &str = "being-backed-up";

#[derive(Serialize, Deserialize)]
struct Made {
    snapshot: String,
    files: u64,
    bytes: u64,
}

#[derive(Serialize)]
struct Files {
    copied: u64,
    bytes: u64,
    present: u64,
    removed: u64,
}

#[derive(Serialize)]
struct Table {
    table: String,
    rows: u64,
}

/// Makes a snapshot.
pub fn take(args: cli::Snapshot, format: Format) -> Done {
    let dir = session::config(&args.data)?.dir;
    let request = Request::Snapshot {
        name: args.name.clone(),
    };
    let made = match operate::lines(&dir, &request)? {
        Some(told) => {
            let made = told.into_iter().next().map(serde_json::from_value);
            made.and_then(Result::ok)
                .ok_or_else(|| Failure::new("the store does not tell where its snapshot is"))?
        }
        None => {
            let made = operate::closed(&args.data, async |messages| {
                Ok(messages.store().snapshot(&args.name).await?)
            })?;
            Made {
                snapshot: made.path.display().to_string(),
                files: made.files,
                bytes: made.bytes,
            }
        }
    };
    let mut output = Output::new();
    match format {
        Format::Jsonl => output.object(&made)?,
        Format::Table => output.line(format_args!(
            "{}: {} table files, {} bytes",
            made.snapshot, made.files, made.bytes
        ))?,
    }
    output.flush()
}

/// Brings a backup up to date.
pub fn backup(args: cli::Backup, format: Format) -> Done {
    let snapshots = session::with_store(&args.data, async |messages| {
        // One that was cut off has left its snapshot.
        remove(&session::config(&args.data)?.dir.join("snapshots").join(OF_BACKUP))?;
        Ok(messages.store().snapshot(OF_BACKUP).await?)
    });
    let Snapshot { path, bytes, .. } = snapshots?;
    let bar = progress::bytes("copying", bytes);
    let copied = copy(&path, &args.to, Purpose::Backup, |_, len| bar.inc(len));
    bar.finish_and_clear();
    remove(&path)?;
    tell(copied?, format)
}

/// Makes a store, or a table, of a snapshot or backup.
pub fn restore(args: cli::Restore, format: Format) -> Done {
    if let (Some(table), Some(new_name)) = (&args.table, &args.new_name) {
        return restore_table(&args, table, new_name, format);
    }
    let bar = progress::read("copying");
    let to = session::config(&args.data)?.dir;
    let copied = copy(&args.from, &to, Purpose::Restore, |_, len| bar.inc(len));
    bar.finish_and_clear();
    let copied = copied?;
    if args.data.shards.is_some() {
        // A start with another number of shards writes it down.
        session::with_store(&args.data, async |_| Ok(()))?;
    }
    tell(copied, format)
}

fn restore_table(args: &cli::Restore, table: &str, new_name: &str, format: Format) -> Done {
    let of = table
        .split_once('.')
        .ok_or_else(|| Failure::usage(format!("{table:?} names no table: write it as KEYSPACE.TABLE")))?;
    let bar = progress::rows("copying");
    let rows = bar.clone();
    let copied = session::with_store(&args.data, async |messages| {
        let store = messages.store();
        Ok(store
            .copy_table(&args.from, of, new_name, move |n| rows.set_position(n))
            .await?)
    });
    bar.finish_and_clear();
    let told = Table {
        table: format!("{}.{new_name}", of.0),
        rows: copied?.rows,
    };
    let mut output = Output::new();
    match format {
        Format::Jsonl => output.object(&told)?,
        Format::Table => output.line(format_args!(
            "{}: {} rows and tombstones of rows",
            told.table, told.rows
        ))?,
    }
    output.flush()
}

fn tell(copied: Copied, format: Format) -> Done {
    let files = Files {
        copied: copied.files,
        bytes: copied.bytes,
        present: copied.present,
        removed: copied.removed,
    };
    let mut output = Output::new();
    match format {
        Format::Jsonl => output.object(&files)?,
        Format::Table => output.line(format_args!(
            "{} table files copied, {} bytes; {} were there, {} removed",
            files.copied, files.bytes, files.present, files.removed
        ))?,
    }
    output.flush()
}

/// Removes a snapshot's folder, if it is there.
fn remove(snapshot: &Path) -> Done {
    match std::fs::remove_dir_all(snapshot) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Err(Failure::file(snapshot, "cannot be removed", error))
        }
        _ => Ok(()),
    }
}
