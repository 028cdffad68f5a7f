//! `scrollback channels`

use crate::{
    cli,
    failure::Done,
    in_flight::InFlight,
    output::{Format, Output, visible},
    session,
    time_text::Timestamp,
};
use messages::{ChannelSummary, Messages, NameKind};
use runtime::ShardId;
use serde::Serialize;

/// Channels counted at the same time.
const AT_ONCE: usize = 8;
/// Channels listed at once.
const LISTED: usize = 1000;

#[derive(Serialize)]
struct Channel {
    channel: String,
    messages: u64,
    first_ms: Option<i64>,
    last_ms: Option<i64>,
}

#[derive(Serialize)]
struct Summary {
    channels: u64,
    messages: u64,
}

/// Lists the channels.
pub fn run(args: cli::Channels, format: Format) -> Done {
    session::with_store(&args.data, async |messages| {
        let mut channels = list(&messages).await?;
        channels.sort_by(|a, b| a.channel.cmp(&b.channel));
        let summary = Summary {
            channels: channels.len() as u64,
            messages: channels.iter().map(|c| c.messages).sum(),
        };
        let mut output = Output::new();
        match format {
            Format::Jsonl => {
                channels.iter().try_for_each(|channel| output.object(channel))?;
                output.object(&summary)?;
            }
            Format::Table => {
                let time = |ms: Option<i64>| ms.map_or("-".to_owned(), |ms| Timestamp(ms).to_string());
                let row = |c: &Channel| {
                    vec![
                        visible(&c.channel),
                        c.messages.to_string(),
                        time(c.first_ms),
                        time(c.last_ms),
                    ]
                };
                let rows: Vec<_> = channels.iter().map(row).collect();
                output.table(&["channel", "messages", "first", "last"], &rows)?;
            }
        }
        output.flush()
    })
}

async fn list(messages: &Messages) -> Done<Vec<Channel>> {
    let mut all = Vec::new();
    let mut counting = InFlight::new();
    for shard in 0..messages.store().shards() {
        let mut after = None;
        loop {
            let some = messages.channels(ShardId(shard), after, LISTED).await?;
            for channel in &some {
                if counting.len() == AT_ONCE {
                    all.extend(counting.next().await.transpose()?);
                }
                counting.push(count(messages, *channel));
            }
            match some.last() {
                Some(last) => after = Some(*last),
                None => break,
            }
        }
    }
    while let Some(counted) = counting.next().await {
        all.push(counted?);
    }
    Ok(all)
}

async fn count(messages: &Messages, channel: i64) -> Done<Channel> {
    let ChannelSummary {
        messages: count,
        first,
        last,
    } = messages.summary(channel).await?;
    let name = messages.name(NameKind::Channel, channel).await?;
    let ms = |id: messages::MessageId| id.unix_ms(messages.epoch());
    Ok(Channel {
        channel: name.unwrap_or_else(|| channel.to_string()),
        messages: count,
        first_ms: first.map(ms),
        last_ms: last.map(ms),
    })
}
