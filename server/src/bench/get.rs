//! `bench get`: one message by its id, or ids that no message has.

use super::{
    figures::{Figures, round},
    page::load,
    workload::{Task, config, measure},
};
use crate::{cli, failure::Done, output::Format, scratch, session};
use messages::{History, MessageId, Messages, Options};
use rand::Rng;
use runtime::time::Instant;
use std::collections::BTreeSet;

/// Messages of each channel that are asked for: those that a service looks up are new ones.
const KNOWN_OF_EACH: usize = 1_000;

/// Measures.
pub fn run(args: cli::BenchGet, format: Format) -> Done {
    let workload = &args.workload;
    let folder = scratch::Folder::new(workload.data.as_deref(), "bench")?;
    let config = config(workload, folder.path())?;
    let figures = session::with_config(config, Options::default(), async |messages| {
        load(&messages, workload).await?;
        if args.flushed {
            messages.store().flush().await?;
        }
        read(&messages, &args).await
    });
    figures?.tell(format)
}

async fn read(messages: &Messages, args: &cli::BenchGet) -> Done<Figures> {
    let (workload, absent) = (&args.workload, args.absent);
    let task = move |task| lookups(task, absent);
    measure(messages, workload, (args.lookups / 20).max(1), 1, task, async {
        Ok(())
    })
    .await?;
    let phase = measure(messages, workload, args.lookups, 2, task, async { Ok(()) }).await?;
    // What a task spends before its first lookup, on its list of ids, is no lookup's.
    let idle = measure(messages, workload, 1, 2, task, async { Ok(()) }).await?;
    let shards = messages.store().shards();
    let mut figures = Figures::new("get", workload, ("lookups", args.lookups), &phase, shards);
    let cpu = phase.cpu.saturating_sub(idle.cpu);
    figures.put("cpu_us", round(cpu.as_secs_f64() * 1e6 / args.lookups as f64));
    figures.put("absent", absent);
    figures.put("flushed", args.flushed);
    Ok(figures)
}

async fn lookups(mut task: Task, absent: bool) -> messages::Result<()> {
    let channel = task.channel();
    let page = task.local.history(channel, History::newest(KNOWN_OF_EACH)).await?;
    let known = page.messages().map(|message| message.map(|message| message.id));
    let mut ids: Vec<MessageId> = known.collect::<messages::Result<_>>()?;
    if absent {
        // The next number of the same millisecond and shard: between messages, and never given.
        let given: BTreeSet<MessageId> = ids.iter().copied().collect();
        let next = |id: MessageId| MessageId::new(id.get() + 1).ok();
        ids = ids
            .into_iter()
            .filter_map(next)
            .filter(|id| !given.contains(id))
            .collect();
    }
    while task.take(1) == 1 {
        let id = ids[task.random.random_range(0..ids.len())];
        let began = Instant::now();
        let found = task.local.get(channel, id).await?;
        assert!(found.is_none() == absent, "message {id} of channel {channel}");
        task.took(began);
        runtime::breathe().await;
    }
    Ok(())
}
