//! `bench page`: the newest messages of a channel, from memtables or, flushed, from the row cache; or, cold, some of its older
//! ones.

use super::{
    figures::{Figures, round},
    workload::{Difference, Task, channels_of, config, measure},
};
use crate::{alloc, cli, failure::Done, in_flight::InFlight, output::Format, scratch, session};
use engine::Config;
use messages::{History, MessageId, Messages, Options};
use rand::{Rng, SeedableRng, rngs::SmallRng};
use runtime::{ShardId, time::Instant};

/// Pages of the part in which allocations are counted.
const COUNTED_MAX: u64 = 20_000;
/// Messages in one write of the load, at most.
const LOAD_BATCH: u64 = 500;
const LOAD_AT_ONCE: usize = 16;

/// Measures.
pub fn run(args: cli::BenchPage, format: Format) -> Done {
    let workload = &args.workload;
    let folder = scratch::Folder::new(workload.data.as_deref(), "bench")?;
    let config = config(workload, folder.path())?;
    if args.cold {
        session::with_config(config.clone(), Options::default(), async |messages| {
            load(&messages, workload).await
        })?;
        // No cache: every page goes to the device.
        let config = Config {
            block_cache_bytes: 0,
            row_cache_bytes: 0,
            ..config
        };
        session::with_config(config, Options::default(), async |messages| {
            read(&messages, &args).await
        })?
        .tell(format)
    } else {
        let figures = session::with_config(config, Options::default(), async |messages| {
            load(&messages, workload).await?;
            if args.flushed {
                messages.store().flush().await?;
            }
            read(&messages, &args).await
        });
        figures?.tell(format)
    }
}

/// Fills the channels of all shards evenly.
pub(super) async fn load(messages: &Messages, workload: &cli::Workload) -> Done {
    let shards = messages.store().shards();
    let channels: Vec<i64> = (0..shards)
        .flat_map(|shard| channels_of(messages, ShardId(shard)))
        .collect();
    // No channel stays empty while there are messages for all: pages of nothing would be measured.
    let batch = (workload.messages / channels.len() as u64).clamp(1, LOAD_BATCH);
    let mut random = SmallRng::seed_from_u64(workload.seed);
    let mut writes = InFlight::new();
    let (mut left, mut turn) = (workload.messages, 0);
    while left > 0 {
        let count = left.min(batch);
        left -= count;
        let content = |random: &mut SmallRng| {
            (0..workload.content_bytes.0)
                .map(|_| char::from(random.random_range(b'a'..=b'z')))
                .collect()
        };
        let contents = (0..count).map(|n| ((n % 7) as i64, content(&mut random))).collect();
        writes.push(messages.send_many(channels[turn % channels.len()], contents));
        turn += 1;
        if writes.len() == LOAD_AT_ONCE {
            writes.next().await.transpose()?;
        }
    }
    while writes.next().await.transpose()?.is_some() {}
    Ok(())
}

async fn read(messages: &Messages, args: &cli::BenchPage) -> Done<Figures> {
    let (workload, limit, cold) = (&args.workload, args.limit as usize, args.cold);
    let task = move |task| pages(task, limit, cold);
    measure(messages, workload, (args.pages / 20).max(1), 1, task, async { Ok(()) }).await?;
    let difference = Difference::start(messages).await?;
    let phase = measure(messages, workload, args.pages, 2, task, async { Ok(()) }).await?;
    let grown = difference.end(messages).await?;
    let counted = args.pages.min(COUNTED_MAX);
    alloc::start();
    let counted_phase = measure(messages, workload, counted, 3, task, async { Ok(()) }).await;
    let allocations = alloc::stop();
    counted_phase?;
    let mut figures = Figures::new(
        "page",
        workload,
        ("pages", args.pages),
        &phase,
        messages.store().shards(),
    );
    let (stall_max_us, stall_max_task) = grown.stall();
    let (computed_max_us, computed_max_task) = grown.computed();
    figures.put("stall_max_us", stall_max_us);
    figures.put("computed_max_us", computed_max_us);
    figures.put("allocations_per_op", round(allocations as f64 / counted as f64));
    figures.put("device_reads", grown.sum(|of| of.runtime.device_reads));
    figures.put("row_cache_hits", grown.sum(|of| of.row_cache_hits));
    figures.put("row_cache_misses", grown.sum(|of| of.row_cache_misses));
    figures.put("messages", workload.messages);
    figures.put("limit", args.limit);
    figures.put("cold", cold);
    figures.put("flushed", args.flushed);
    figures.put("stall_max_task", stall_max_task);
    figures.put("computed_max_task", computed_max_task);
    Ok(figures)
}

async fn pages(mut task: Task, limit: usize, cold: bool) -> messages::Result<()> {
    let ends = if cold { ends(&mut task).await? } else { None };
    while task.take(1) == 1 {
        let channel = task.channel();
        let mut history = History::newest(limit);
        if let Some((oldest, newest)) = ends {
            history.before = MessageId::new(task.random.random_range(oldest.get()..=newest.get())).ok();
        }
        let began = Instant::now();
        let page = task.local.history(channel, history).await?;
        // A page is read, not only fetched.
        let mut bytes = 0;
        for message in page.messages() {
            bytes += message?.content.len();
        }
        std::hint::black_box(bytes);
        task.took(began);
        runtime::breathe().await;
    }
    Ok(())
}

/// The oldest and the newest message of one channel: those of the others lie as far apart.
async fn ends(task: &mut Task) -> messages::Result<Option<(MessageId, MessageId)>> {
    let channel = task.channel();
    let newest = task.local.history(channel, History::newest(1)).await?.last_id()?;
    let oldest_first = History {
        oldest_first: true,
        ..History::newest(1)
    };
    let oldest = task.local.history(channel, oldest_first).await?.last_id()?;
    Ok(oldest.zip(newest))
}
