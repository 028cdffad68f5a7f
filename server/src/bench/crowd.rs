//! `bench crowd`: many readers ask for the newest page of one channel at once.
//!
//! 1. Without caches, all at the same moment: what the device is asked for, beside one reader alone.
//! 2. With caches, again and again: how long readers of other channels on the same shard take, with the crowd and without.

use super::{
    figures::{Figures, round},
    page::load,
    workload::{Difference, channels_of, config, histogram},
};
use crate::{cli, failure::Done, output::Format, scratch, session};
use engine::Config;
use hdrhistogram::Histogram;
use messages::{History, Local, Messages, Options};
use runtime::{
    ShardId, TaskClass,
    time::{Instant, sleep},
};
use std::{cell::Cell, cell::RefCell, rc::Rc, time::Duration};

const LIMIT: usize = 50;
/// Readers of other channels.
const OTHERS: usize = 16;
/// Between two pages of such a reader.
const OTHERS_PAUSE: Duration = Duration::from_millis(1);
/// How long they are measured, with the crowd and without.
const MEASURED: Duration = Duration::from_secs(3);

/// Measures.
pub fn run(args: cli::BenchCrowd, format: Format) -> Done {
    let workload = &args.workload;
    let folder = scratch::Folder::new(workload.data.as_deref(), "bench")?;
    let cached = Config {
        hot_page_bytes: Config::new(folder.path()).hot_page_bytes,
        ..config(workload, folder.path())?
    };
    session::with_config(cached.clone(), Options::default(), async |messages| {
        load(&messages, workload).await
    })?;
    let bare = Config {
        block_cache_bytes: 0,
        row_cache_bytes: 0,
        ..cached.clone()
    };
    let readers = args.readers as usize;
    let (alone, together, joined) = session::with_config(bare, Options::default(), async |messages| {
        let channel = channels_of(&messages, ShardId(0))[0];
        let mut counted = Vec::new();
        for readers in [1, readers] {
            let difference = Difference::start(&messages).await?;
            messages
                .call(ShardId(0), move |local| async move {
                    burst(&local, channel, readers, false).await
                })
                .await?;
            let grown = difference.end(&messages).await?;
            counted.push((grown.sum(|of| of.runtime.device_reads), grown.sum(|of| of.reads_joined)));
        }
        Done::Ok((counted[0].0, counted[1].0, counted[1].1))
    })?;
    let pause = Duration::from_millis(u64::from(args.every_ms));
    let figures = session::with_config(cached, Options::default(), async |messages| {
        let shards = messages.store().shards();
        let mut figures = Figures::bare("crowd", workload, ("readers", readers as u64), shards);
        figures.put("device_reads_alone", alone);
        figures.put("device_reads_together", together);
        figures.put("reads_joined", joined);
        figures.put("storage_reads_ratio", round(together as f64 / alone.max(1) as f64));
        let mut p99 = Vec::new();
        for (name, readers) in [("warm", 0), ("quiet", 0), ("crowded", readers)] {
            let latency_ns = others(&messages, readers, pause).await?;
            let us = |quantile| round(latency_ns.value_at_quantile(quantile) as f64 / 1000.0);
            if name == "warm" {
                continue; // the caches fill
            }
            figures.put(&format!("{name}_pages"), latency_ns.len());
            figures.put(&format!("{name}_p50_us"), us(0.5));
            figures.put(&format!("{name}_p99_us"), us(0.99));
            figures.put(&format!("{name}_max_us"), us(1.0));
            p99.push(us(0.99));
        }
        figures.put("p99_ratio", round(p99[1] / p99[0]));
        figures.put("every_ms", args.every_ms);
        Done::Ok(figures)
    });
    figures?.tell(format)
}

/// Readers ask, in the same moment or as fast as a shard may start them that breathes, and have read when this returns.
async fn burst(local: &Local, channel: i64, readers: usize, breathes: bool) -> messages::Result<()> {
    let read = |local: Local| async move {
        let page = local.history(channel, History::newest(LIMIT)).await?;
        let mut bytes = 0;
        for message in page.messages() {
            bytes += message?.content.len();
        }
        std::hint::black_box(bytes);
        Ok::<(), messages::Error>(())
    };
    let mut running = Vec::with_capacity(readers);
    for _ in 0..readers {
        running.push(runtime::spawn(TaskClass::Request, "bench crowd", read(local.clone())));
        if breathes {
            runtime::breathe().await;
        }
    }
    for running in running {
        running.await?;
    }
    Ok(())
}

/// Times of readers of other channels of shard 0, while a crowd of `readers` comes to one every `pause`.
async fn others(messages: &Messages, readers: usize, pause: Duration) -> Done<Histogram<u64>> {
    let channels = channels_of(messages, ShardId(0));
    let measured = messages.call(ShardId(0), move |local| async move {
        let at_work = Rc::new(Cell::new(true));
        let latency_ns = Rc::new(RefCell::new(histogram()));
        let running = (0..OTHERS).map(|number| {
            let (local, channel) = (local.clone(), channels[1 + number % (channels.len() - 1)]);
            let (at_work, latency_ns) = (Rc::clone(&at_work), Rc::clone(&latency_ns));
            runtime::spawn(TaskClass::Request, "bench", async move {
                while at_work.get() {
                    let began = Instant::now();
                    local.history(channel, History::newest(LIMIT)).await?;
                    let ns = u64::try_from(began.elapsed().as_nanos()).unwrap_or(u64::MAX);
                    latency_ns.borrow_mut().saturating_record(ns);
                    sleep(OTHERS_PAUSE).await;
                }
                Ok::<(), messages::Error>(())
            })
        });
        let running: Vec<_> = running.collect();
        let began = Instant::now();
        while began.elapsed() < MEASURED {
            sleep(pause).await;
            burst(&local, channels[0], readers, true).await?;
        }
        at_work.set(false);
        for running in running {
            running.await?;
        }
        Ok(latency_ns.replace(histogram()))
    });
    Ok(measured.await?)
}
