//! `bench buckets`: a channel with large buckets is deleted, beside small ones in the same epochs.
//!
//! The channels are imported, a bucket of each for each window before now, and everything settles; then the one with large buckets is
//! deleted, and with `--small` one with small buckets. What that has written, and what its files have cost, is told: files that went
//! unread, bytes that compactions have read and written, bytes of table files before and after.

use super::{
    figures::{Figures, round},
    workload::{compacted, config},
};
use crate::{cli, failure::Done, output::Format, scratch, session};
use engine::{CompactionKind, ShardStatistics};
use messages::{Import, Messages, Options, Window, import_id};
use rand::{Rng, SeedableRng, rngs::SmallRng};
use runtime::time;
use std::time::Duration;

/// Channels with small buckets.
const SMALL_CHANNELS: i64 = 20;
/// Messages in each of their buckets.
const SMALL_MESSAGES: u64 = 200;
/// Messages in one write.
const BATCH: u64 = 500;
const WINDOW_HOURS: u32 = 24;
const HOUR_MS: i64 = 3_600_000;

/// Measures.
pub fn run(args: cli::BenchBuckets, format: Format) -> Done {
    let workload = &args.workload;
    let folder = scratch::Folder::new(workload.data.as_deref(), "bench")?;
    let config = config(workload, folder.path())?;
    let window = Window::from_hours(WINDOW_HOURS).expect("a whole day");
    let options = Options {
        window: Some(window),
        ..Options::default()
    };
    let figures = session::with_config(config, options, async |messages| {
        let large = args.bucket_bytes.0 / workload.content_bytes.0.max(1);
        let mut random = SmallRng::seed_from_u64(workload.seed);
        for channel in 1..=1 + SMALL_CHANNELS {
            let count = if channel == 1 { large } else { SMALL_MESSAGES };
            for bucket in 1..=i64::from(args.buckets) {
                import(&messages, channel, bucket, count, workload, &mut random).await?;
            }
        }
        let mut hours = 0;
        let mut later = async |messages: &Messages| {
            // Twice: what comes due by the first is done by the second.
            for _ in 0..2 {
                hours += 2;
                time::set_ahead(Duration::from_secs(hours * 3600));
                messages.store().flush().await?;
                compacted(messages).await?;
            }
            Done::Ok(())
        };
        later(&messages).await?;
        let before = Sum::of(&messages).await?;
        messages.delete_channel(if args.small { 2 } else { 1 }).await?;
        let deleted = Sum::of(&messages).await?;
        messages.store().flush().await?;
        compacted(&messages).await?;
        let at_once = Sum::of(&messages).await?;
        later(&messages).await?;
        let after = Sum::of(&messages).await?;
        let shards = messages.store().shards();
        let mut figures = Figures::bare("buckets", workload, ("buckets", u64::from(args.buckets)), shards);
        figures.put("bucket_bytes", args.bucket_bytes.0);
        figures.put("small", args.small);
        let writes = deleted.writes - before.writes;
        figures.put("writes", writes);
        figures.put("writes_per_bucket", round(writes as f64 / f64::from(args.buckets)));
        figures.put("sstables_before", before.sstables);
        figures.put("sstables", at_once.sstables);
        figures.put("sstable_bytes_before", before.sstable_bytes);
        figures.put("sstable_bytes", at_once.sstable_bytes);
        figures.put("sstable_bytes_later", after.sstable_bytes);
        figures.put("unread_jobs", at_once.deleted);
        figures.put("compaction_read_bytes", at_once.read_bytes - deleted.read_bytes);
        figures.put(
            "compaction_written_bytes",
            at_once.written_bytes - deleted.written_bytes,
        );
        figures.put("compaction_read_bytes_later", after.read_bytes - at_once.read_bytes);
        figures.put(
            "compaction_written_bytes_later",
            after.written_bytes - at_once.written_bytes,
        );
        Done::Ok(figures)
    });
    figures?.tell(format)
}

/// What all shards have, and have done.
struct Sum {
    writes: u64,
    sstables: u64,
    sstable_bytes: u64,
    read_bytes: u64,
    written_bytes: u64,
    /// Jobs that dropped files of which everything was deleted with its partition.
    deleted: u64,
}

impl Sum {
    async fn of(messages: &Messages) -> Done<Sum> {
        let statistics = messages.store().statistics().await?;
        let sum = |of: &dyn Fn(&ShardStatistics) -> u64| statistics.iter().map(of).sum();
        let done = messages.store().compactions().await?;
        let jobs = done.iter().flat_map(|shard| &shard.history);
        Ok(Sum {
            writes: sum(&|of| of.writes),
            sstables: sum(&|of| of.sstables),
            sstable_bytes: sum(&|of| of.sstable_bytes),
            read_bytes: sum(&|of| of.compaction_read_bytes),
            written_bytes: sum(&|of| of.compaction_written_bytes),
            deleted: jobs.filter(|job| job.kind == CompactionKind::Deleted).count() as u64,
        })
    }
}

/// Imports messages into the middle of a channel's `bucket`th window before this one.
async fn import(
    messages: &Messages,
    channel: i64,
    bucket: i64,
    count: u64,
    workload: &cli::Workload,
    random: &mut SmallRng,
) -> Done {
    let window_ms = i64::from(WINDOW_HOURS) * HOUR_MS;
    let now_ms = time::unix_micros() / 1000;
    let at_ms = (now_ms.div_euclid(window_ms) - bucket) * window_ms + window_ms / 2;
    let epoch = messages.epoch();
    let mut left = 0..count;
    while !left.is_empty() {
        let content = |random: &mut SmallRng| {
            let text = (0..workload.content_bytes.0).map(|_| char::from(random.random_range(b' '..=b'~')));
            text.collect()
        };
        let some = left.by_ref().take(BATCH as usize).map(|nth| {
            let unix_ms = at_ms + nth as i64;
            Ok(Import {
                id: import_id(epoch, unix_ms, 0)?,
                unix_ms,
                author: 1,
                content: content(random),
            })
        });
        let some = some.collect::<messages::Result<Vec<_>>>()?;
        let write = move |local: messages::Local| async move { local.import(channel, some).await };
        messages.call(messages.home_of(channel), write).await?;
    }
    Ok(())
}
