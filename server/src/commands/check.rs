//! `scrollback check`

use crate::{
    cli,
    failure::{Done, Failure},
    output::{Format, Output},
    progress,
};
use serde::Serialize;

#[derive(Serialize)]
struct Report {
    files: u64,
    bytes: u64,
    damaged: Vec<Damaged>,
}

#[derive(Serialize)]
struct Damaged {
    file: String,
    offset: u64,
    what: String,
}

/// Verifies every byte of a closed store.
pub fn run(args: cli::Check, format: Format) -> Done {
    let dir = &args.place.data;
    let bar = progress::read("checking");
    let checked = engine::check::check(dir, |_, len| bar.inc(len))?;
    bar.finish_and_clear();
    let damaged = checked.damaged.into_iter().map(|damaged| Damaged {
        file: damaged.path.display().to_string(),
        offset: damaged.offset,
        what: damaged.what,
    });
    let report = Report {
        files: checked.files,
        bytes: checked.bytes,
        damaged: damaged.collect(),
    };
    let mut output = Output::new();
    match format {
        Format::Jsonl => output.object(&report)?,
        Format::Table => {
            for damaged in &report.damaged {
                output.line(format_args!(
                    "{} is damaged at byte {}: {}",
                    damaged.file, damaged.offset, damaged.what
                ))?;
            }
            output.line(format_args!(
                "{} files, {} bytes, {} damaged",
                report.files,
                report.bytes,
                report.damaged.len()
            ))?;
        }
    }
    output.flush()?;
    let Some(first) = report.damaged.first() else {
        return Ok(());
    };
    let others = match report.damaged.len() {
        1 => String::new(),
        n => format!(", and {} more places", n - 1),
    };
    Err(Failure::new(format_args!(
        "{} is damaged at byte {}: {}{others}",
        first.file, first.offset, first.what
    )))
}
