//! `scrollback window`

use super::history::find;
use crate::{
    cli,
    failure::Done,
    output::{Format, Output},
    session,
    time_text::Timestamp,
};
use messages::{Messages, Window};
use serde::Serialize;

#[derive(Serialize)]
struct Length {
    from_ms: i64,
    hours: u32,
    in_force: bool,
}

#[derive(Serialize)]
struct Summary<'a> {
    channel: &'a str,
    hours: u32,
    store_hours: u32,
    next_border_ms: i64,
}

/// Shows how long the buckets of a channel last, after having changed it if that is asked for.
pub fn run(args: cli::Window, format: Format) -> Done {
    session::with_store(&args.data, async |messages| {
        let channel = find(&messages, &args.channel).await?;
        if let Some(hours) = args.hours {
            let from_ms = match args.from {
                Some(Timestamp(from_ms)) => from_ms,
                None => messages.window_border(channel, 0).await?,
            };
            messages
                .set_window(channel, Window::from_hours(hours)?, from_ms)
                .await?;
        }
        let lengths = lengths(&messages, channel).await?;
        let next_border_ms = messages.window_border(channel, 0).await?;
        let mut output = Output::new();
        match format {
            Format::Jsonl => {
                lengths.iter().try_for_each(|length| output.object(length))?;
                let in_force = lengths.iter().find(|length| length.in_force);
                let store_hours = messages.window().hours();
                output.object(&Summary {
                    channel: &args.channel,
                    hours: in_force.map_or(store_hours, |length| length.hours),
                    store_hours,
                    next_border_ms,
                })?;
            }
            Format::Table => {
                let now = lengths.iter().position(|length| length.in_force);
                let row = |(nth, length): (usize, &Length)| {
                    vec![
                        Timestamp(length.from_ms).to_string(),
                        length.hours.to_string(),
                        match Some(nth).cmp(&now) {
                            std::cmp::Ordering::Less => "past",
                            std::cmp::Ordering::Equal => "in force",
                            std::cmp::Ordering::Greater => "to come",
                        }
                        .to_owned(),
                    ]
                };
                let rows: Vec<_> = lengths.iter().enumerate().map(row).collect();
                output.table(&["from", "hours", "is"], &rows)?;
                let border = Timestamp(next_border_ms);
                output.line(format_args!("the next border at which it can change: {border}"))?;
            }
        }
        output.flush()
    })
}

/// The store's own from its epoch on, and each change, oldest first.
async fn lengths(messages: &Messages, channel: i64) -> Done<Vec<Length>> {
    let windows = messages.windows(channel).await?;
    let now_ms = runtime::time::unix_micros() / 1000;
    let epoch_ms = messages.epoch().unix_ms();
    let changes = windows
        .changes()
        .iter()
        .map(|change| (change.unix_ms(messages.epoch()), change.window));
    let mut lengths: Vec<Length> = std::iter::once((epoch_ms, windows.first()))
        .chain(changes)
        .map(|(from_ms, window)| Length {
            from_ms,
            hours: window.hours(),
            in_force: false,
        })
        .collect();
    let past = lengths.partition_point(|length| length.from_ms <= now_ms);
    // An epoch is not in the future, but a clock may be set back.
    lengths[past.saturating_sub(1)].in_force = true;
    Ok(lengths)
}
