//! `bench recovery`: opening a store whose log has everything and whose tables have nothing, as after a crash.

use super::{
    figures::{Figures, round},
    page, probe, workload,
};
use crate::{
    cli,
    failure::{Done, Failure},
    output::Format,
    scratch,
};
use engine::{Config, Store};
use messages::Messages;
use runtime::time::Instant;

/// Bytes of log for a byte of content, at most: so much log is kept.
const LOG_FACTOR: u64 = 4;
/// What a gigabyte is here.
const GB: f64 = 1e9;

/// Measures.
pub fn run(args: cli::Workload, format: Format) -> Done {
    let folder = scratch::Folder::new(args.data.as_deref(), "bench")?;
    let config = workload::config(&args, folder.path())?;
    let content_bytes = args.messages * args.content_bytes.as_usize() as u64;
    let log_bytes = (LOG_FACTOR * content_bytes).max(config.log_bytes_max);
    // Nothing is flushed while the log is written.
    let writing = Config {
        memtable_bytes: usize::try_from(log_bytes).unwrap_or(usize::MAX),
        log_bytes_max: log_bytes,
        ..config.clone()
    };
    writing.validate().map_err(Failure::usage)?;
    runtime::block_on(async {
        let messages = Messages::open(writing).await?;
        page::load(&messages, &args).await
        // Dropped without being closed: that flushes nothing.
    })?;
    let figures = runtime::block_on(async {
        let (cpu, began) = (probe::cpu(), Instant::now());
        let store = Store::open(config).await?;
        let (took, cpu) = (began.elapsed(), probe::cpu() - cpu);
        let statistics = store.statistics().await?;
        let recoveries = store.recoveries();
        let bytes: u64 = recoveries.iter().map(|of| of.bytes).sum();
        let stall = statistics.iter().max_by_key(|of| of.runtime.stall_max_us);
        let mut figures = Figures::bare("recovery", &args, ("messages", args.messages), store.shards());
        figures.put("open_s", round(took.as_secs_f64()));
        figures.put("s_per_gb", round(took.as_secs_f64() / (bytes as f64 / GB)));
        figures.put("cpu_us", round(cpu.as_secs_f64() * 1e6 / args.messages as f64));
        figures.put("log_bytes", bytes);
        figures.put("records", recoveries.iter().map(|of| of.records).sum::<u64>());
        figures.put("flushes", statistics.iter().map(|of| of.flushes).sum::<u64>());
        figures.put(
            "flushed_bytes",
            statistics.iter().map(|of| of.flushed_bytes).sum::<u64>(),
        );
        figures.put("stall_max_us", stall.map_or(0, |of| of.runtime.stall_max_us));
        figures.put("stall_max_task", stall.map_or("", |of| of.runtime.stall_max_task));
        store.close().await?;
        Done::Ok(figures)
    })?;
    figures.tell(format)
}
