//! `bench reshard`: opening a store with another number of shards than it was written with, as after a crash, and what the first
//! writers and readers see of it, beside later ones.

use super::{
    figures::{Figures, round},
    flush::{QUIET, Sum, Writers, on_all},
    page, workload,
};
use crate::{cli, failure::Done, output::Format, scratch};
use engine::Config;
use messages::{History, Messages};
use runtime::time::Instant;

/// Measures.
pub fn run(args: cli::BenchReshard, format: Format) -> Done {
    let (workload, from, readers) = (&args.workload, args.from, args.readers);
    let folder = scratch::Folder::new(workload.data.as_deref(), "bench")?;
    let config = workload::config(workload, folder.path())?;
    let half = cli::Workload {
        messages: workload.messages.div_ceil(2),
        ..workload.clone()
    };
    runtime::block_on(async {
        let before = Config {
            shards: Some(usize::from(from)),
            ..config.clone()
        };
        let messages = Messages::open(before).await?;
        page::load(&messages, &half).await?;
        messages.store().flush().await?;
        page::load(&messages, &half).await
        // Dropped without being closed: half of them are in the logs alone.
    })?;
    let figures = runtime::block_on(async {
        let began = Instant::now();
        let messages = Messages::open(config).await?;
        let opened = began.elapsed();
        let channel = workload::channels_of(&messages, runtime::ShardId(0))[0];
        let page = messages.history(channel, History::newest(50)).await?;
        let first_page = began.elapsed();
        messages.send(channel, 1, "hello").await?;
        let first_insert = began.elapsed();
        let (mut after, mut later) = (Sum::new(), Sum::new());
        for (number, sum) in [&mut after, &mut later].into_iter().enumerate() {
            let measured = |on: Writers| async move { on.measure(runtime::time::sleep(QUIET)).await };
            let parts = on_all(&messages, (workload, readers), number as u64, measured).await?;
            parts.iter().for_each(|part| sum.add(part));
            messages.store().flush().await?;
        }
        let shards = messages.store().shards();
        let mut figures = Figures::bare("reshard", workload, ("messages", workload.messages), shards);
        let ms = |time: std::time::Duration| round(time.as_secs_f64() * 1000.0);
        figures.put("from", from);
        figures.put("opened_ms", ms(opened));
        figures.put("first_page_ms", ms(first_page));
        figures.put("first_page_messages", page.len());
        figures.put("first_insert_ms", ms(first_insert));
        for (name, sum) in [("after", &after), ("later", &later)] {
            figures.put(&format!("{name}_per_s"), sum.per_s(shards));
            figures.put(&format!("{name}_p50_us"), sum.us(0.5));
            figures.put(&format!("{name}_p99_us"), sum.us(0.99));
            figures.put(&format!("{name}_pages_p50_us"), sum.pages_us(0.5));
            figures.put(&format!("{name}_pages_p99_us"), sum.pages_us(0.99));
        }
        figures.put("p99_ratio", round(after.us(0.99) / later.us(0.99)));
        figures.put("pages_p99_ratio", round(after.pages_us(0.99) / later.pages_us(0.99)));
        messages.close().await?;
        Done::Ok(figures)
    })?;
    figures.tell(format)
}
