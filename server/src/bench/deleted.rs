//! `bench deleted`: the newest messages of a channel behind many that were deleted one by one.
//!
//! Four states: everything in memory; everything flushed; the messages flushed before they are deleted, so that each meets its
//! tombstone only when it is read; and the tombstones flushed after that, into a file of their own. The first page of each state is the
//! one that has to find its way; times are taken on the channel's shard.
//!
//! With `--settled` another state instead: everything flushed and compacted, before the messages and when the grace of their deletions
//! has passed; without a row cache, so that it shows what a page reads.

use super::{
    figures::{Figures, round},
    workload,
};
use crate::{cli, failure::Done, in_flight::InFlight, output::Format, scratch, session};
use messages::{History, MessageId, Messages, Options};
use runtime::time::{self, Instant};
use std::time::Duration;

/// Messages that stay, older than the deleted ones.
const KEPT: usize = 1_000;
/// Messages in one write of the load.
const LOAD_BATCH: usize = 500;
const AT_ONCE: usize = 256;
const LIMIT: usize = 50;
/// What the row cache learns from a page, it has learnt after this time.
const LEARNS: Duration = Duration::from_millis(200);
const LATER_PAGES: usize = 101;

#[derive(Clone, Copy, PartialEq)]
enum State {
    Memory,
    Flushed,
    FlushedBefore,
    FlushedApart,
    Settled,
}

/// By the store's clock, in each round once more: beyond the grace of deletions.
const LATER: Duration = Duration::from_secs(3 * 3600);

/// Measures.
pub fn run(args: cli::BenchDeleted, format: Format) -> Done {
    let workload = &args.workload;
    let folder = scratch::Folder::new(workload.data.as_deref(), "bench")?;
    let mut config = workload::config(workload, folder.path())?;
    let states = match args.settled {
        true => &[("settled", State::Settled)][..],
        false => &[
            ("memory", State::Memory),
            ("flushed", State::Flushed),
            ("flushed_before", State::FlushedBefore),
            ("flushed_apart", State::FlushedApart),
        ],
    };
    if args.settled {
        config.row_cache_bytes = 0;
    }
    let figures = session::with_config(config, Options::default(), async |messages| {
        let shards = messages.store().shards();
        let mut figures = Figures::bare("deleted", workload, ("deleted", args.deleted), shards);
        for &(name, state) in states {
            let mut times: [Vec<f64>; 3] = Default::default();
            for round in 0..args.rounds {
                let channel = messages.channel(format!("{name}-{round}")).await?;
                let pages = measure(&messages, channel, state, LATER * (round + 1), &args).await?;
                for (of, page) in times.iter_mut().zip(&pages) {
                    of.push(page.us);
                }
                if state == State::Settled && round + 1 == args.rounds {
                    let [plain, .., later] = pages;
                    figures.put("settled_plain_sstables", plain.sstables);
                    figures.put("settled_plain_data_blocks", plain.data_blocks);
                    figures.put("settled_later_sstables", later.sstables);
                    figures.put("settled_later_data_blocks", later.data_blocks);
                }
            }
            for (page, times) in ["plain", "first", "later"].into_iter().zip(&mut times) {
                times.sort_by(f64::total_cmp);
                figures.put(&format!("{name}_{page}_us"), round(times[times.len() / 2]));
                figures.put(&format!("{name}_{page}_max_us"), round(times[times.len() - 1]));
            }
        }
        figures.put("rounds", args.rounds);
        Done::Ok(figures)
    });
    figures?.tell(format)
}

/// What a page has cost.
#[derive(Clone, Copy)]
struct Page {
    us: f64,
    sstables: u64,
    data_blocks: u64,
}

/// A page without deleted messages, the first one behind them, and one of those that follow. `later`: how far the clock is ahead when
/// the deletions have had their grace.
async fn measure(
    messages: &Messages,
    channel: i64,
    state: State,
    later: Duration,
    args: &cli::BenchDeleted,
) -> Done<[Page; 3]> {
    let load = async |count: usize| -> Done<Vec<MessageId>> {
        let content = "x".repeat(args.workload.content_bytes.as_usize());
        let mut ids = Vec::new();
        while ids.len() < count {
            let some = vec![(1, content.clone()); LOAD_BATCH.min(count - ids.len())];
            ids.extend(messages.send_many(channel, some).await?);
        }
        Ok(ids)
    };
    load(KEPT).await?;
    if state != State::Memory {
        messages.store().flush().await?;
    }
    if state == State::Settled {
        messages.store().compact(None).await?;
    }
    let plain = later_page(messages, channel).await?;
    let gone = load(usize::try_from(args.deleted).unwrap_or(usize::MAX)).await?;
    if matches!(state, State::FlushedBefore | State::FlushedApart) {
        messages.store().flush().await?;
    }
    for some in gone.chunks(LOAD_BATCH * AT_ONCE) {
        let mut deletes = InFlight::new();
        for id in some {
            deletes.push(messages.delete(channel, *id, None));
            if deletes.len() == AT_ONCE {
                deletes.next().await.transpose()?;
            }
        }
        while deletes.next().await.transpose()?.is_some() {}
    }
    if matches!(state, State::Flushed | State::FlushedApart) {
        messages.store().flush().await?;
    }
    if state == State::Settled {
        messages.store().flush().await?;
        time::set_ahead(later);
        messages.store().compact(None).await?;
    }
    let first = page(messages, channel).await?;
    Ok([plain, first, later_page(messages, channel).await?])
}

/// A page after some others: the median.
async fn later_page(messages: &Messages, channel: i64) -> Done<Page> {
    page(messages, channel).await?;
    let wait = |_| async {
        time::sleep(LEARNS).await;
        Ok(())
    };
    messages.call(messages.home_of(channel), wait).await?;
    let mut times = pages(messages, channel, LATER_PAGES).await?;
    times.sort_by(|a, b| a.us.total_cmp(&b.us));
    Ok(times[LATER_PAGES / 2])
}

/// A newest page.
async fn page(messages: &Messages, channel: i64) -> Done<Page> {
    let mut pages = pages(messages, channel, 1).await?;
    Ok(pages.remove(0))
}

/// Newest pages one after the other, which must be full.
async fn pages(messages: &Messages, channel: i64, count: usize) -> Done<Vec<Page>> {
    let read = messages.call(messages.home_of(channel), move |local| async move {
        let mut pages = Vec::new();
        for _ in 0..count {
            let began = Instant::now();
            let page = local.history(channel, History::newest(LIMIT)).await?;
            let mut bytes = 0;
            for message in page.messages() {
                bytes += message?.content.len();
            }
            std::hint::black_box(bytes);
            let us = began.elapsed().as_secs_f64() * 1e6;
            let cost = page.cost();
            let read = Page {
                us,
                sstables: cost.sstables_opened,
                data_blocks: cost.data_blocks,
            };
            pages.push((page.len(), read));
        }
        Ok(pages)
    });
    let full = |(len, page)| {
        assert_eq!(len, LIMIT, "the page goes on behind what was deleted");
        page
    };
    Ok(read.await?.into_iter().map(full).collect())
}
