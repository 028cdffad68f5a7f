//! `bench ingest`: messages sent by many writers, each acknowledged before its writer's next.

use super::{
    figures::{Figures, round},
    probe,
    workload::{Difference, Task, config, measure},
};
use crate::{alloc, cli, failure::Done, output::Format, scratch, session};
use messages::Options;
use rand::Rng;
use runtime::time::Instant;

/// Messages of the part in which allocations are counted.
const COUNTED_MAX: u64 = 20_000;

/// Measures.
pub fn run(args: cli::BenchIngest, format: Format) -> Done {
    let workload = &args.workload;
    let folder = scratch::Folder::new(workload.data.as_deref(), "bench")?;
    let (batch, content_bytes) = (args.batch, workload.content_bytes.as_usize());
    let config = config(workload, folder.path())?;
    let (mut figures, shards) = session::with_config(config, Options::default(), async |messages| {
        let shards = messages.store().shards();
        let task = move |task| write(task, batch, content_bytes);
        // The directory's rows, the log's first segments, the memory.
        measure(&messages, workload, (workload.messages / 20).max(1), 1, task, async {
            Ok(())
        })
        .await?;
        let difference = Difference::start(&messages).await?;
        let flush = async {
            if args.flush {
                messages.store().flush().await?;
            }
            if args.compact {
                messages.store().compact(None).await?;
            }
            Ok(())
        };
        let phase = measure(&messages, workload, workload.messages, 2, task, flush).await?;
        let grown = difference.end(&messages).await?;
        let counted = workload.messages.min(COUNTED_MAX);
        alloc::start();
        let counted_phase = measure(&messages, workload, counted, 3, task, async { Ok(()) }).await;
        let allocations = alloc::stop();
        counted_phase?;
        let mut figures = Figures::new("ingest", workload, ("messages", workload.messages), &phase, shards);
        let (stall_max_us, stall_max_task) = grown.stall();
        let (computed_max_us, computed_max_task) = grown.computed();
        figures.put("odsync_mean_us", grown.odsync_mean_us().map(round));
        figures.put("stall_max_us", stall_max_us);
        figures.put("computed_max_us", computed_max_us);
        figures.put("written_bytes", grown.sum(|of| of.runtime.written_bytes));
        figures.put("user_bytes", workload.messages * content_bytes as u64);
        figures.put("allocations_per_op", round(allocations as f64 / counted as f64));
        figures.put("stall_max_task", stall_max_task);
        figures.put("computed_max_task", computed_max_task);
        figures.put("body", messages.store().body().map(|body| body.to_string()));
        figures.put("batch", batch);
        figures.put("flushes", grown.sum(|of| of.flushes));
        figures.put("compactions", grown.sum(|of| of.compactions));
        figures.put("compaction_written_bytes", grown.sum(|of| of.compaction_written_bytes));
        figures.put("log_groups", grown.sum(|of| of.log.groups));
        Ok((figures, shards))
    })?;
    figures.put(
        "odsync_raw_us",
        round(probe::odsync_mean_us(folder.path(), usize::from(shards))?),
    );
    figures.tell(format)
}

async fn write(mut task: Task, batch: u32, content_bytes: usize) -> messages::Result<()> {
    let text: String = (0..2 * content_bytes)
        .map(|_| char::from(task.random.random_range(b'a'..=b'z')))
        .collect();
    loop {
        let taken = task.take(u64::from(batch));
        if taken == 0 {
            return Ok(());
        }
        let channel = task.channel();
        let mut content = || {
            let start = task.random.random_range(0..=content_bytes);
            text[start..start + content_bytes].to_owned()
        };
        if batch == 1 {
            let content = content();
            let began = Instant::now();
            task.local.send(channel, 1, content).await?;
            task.took(began);
        } else {
            let contents = (0..taken).map(|author| (author as i64, content())).collect();
            let began = Instant::now();
            task.local.send_many(channel, contents).await?;
            task.took(began);
        }
    }
}
