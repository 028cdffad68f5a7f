//! `scrollback history`

use crate::{
    cli,
    failure::{Done, Failure},
    in_flight::join_all,
    output::{Format, Output, visible},
    session,
    time_text::Timestamp,
};
use messages::{History, HistoryPage, Messages, NameKind};
use serde::Serialize;
use std::collections::{BTreeMap, BTreeSet};

/// Authors whose names are remembered; then all are forgotten, and looked up again.
const NAMES_REMEMBERED: usize = 100_000;

#[derive(Serialize)]
struct Shown<'a> {
    id: String,
    ts_ms: i64,
    channel: &'a str,
    author: &'a str,
    content: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    edited_ms: Option<i64>,
}

#[derive(Serialize)]
struct Explained {
    page: u64,
    messages: usize,
    has_more: bool,
    sstables_opened: u64,
    data_blocks: u64,
    index_blocks: u64,
    device_reads: u64,
    rows_merged: u64,
    rows_dead: u64,
    rows_skipped: u64,
    tombstones: u64,
}

/// Scrolls through a channel.
pub fn run(args: cli::History, format: Format) -> Done {
    session::with_store(&args.data, async |messages| {
        let channel = find(&messages, &args.channel).await?;
        let mut output = Output::new();
        let mut authors = Authors::default();
        let mut left = args.limit.unwrap_or(u64::MAX);
        let mut history = History {
            before: args.before,
            after: args.after,
            oldest_first: args.oldest_first,
            limit: 0,
        };
        let mut pages = 0;
        loop {
            history.limit = usize::try_from(left.min(u64::from(args.page_size))).unwrap_or(usize::MAX);
            let page = messages.history(channel, history).await?;
            pages += 1;
            left -= page.len() as u64;
            authors.learn(&messages, &page).await?;
            show(&messages, &page, &args.channel, &authors, format, &mut output)?;
            if args.explain {
                output.flush()?;
                explain(pages, &page);
            }
            match page.next()? {
                Some(next) if left > 0 => history = next,
                next => {
                    output.flush()?;
                    if let Some(next) = next.filter(|_| format == Format::Table) {
                        let (cursor, id) = match args.oldest_first {
                            true => ("--after", next.after),
                            false => ("--before", next.before),
                        };
                        eprintln!("there are more: {cursor} {}", id.expect("the next page has a cursor"));
                    }
                    return Ok(());
                }
            }
        }
    })
}

/// The id of a channel that must be there.
pub async fn find(messages: &Messages, channel: &str) -> Done<i64> {
    let found = messages.find(NameKind::Channel, channel.to_owned()).await?;
    found.ok_or_else(|| Failure::new(format_args!("there is no channel named {channel:?}")))
}

fn show(
    messages: &Messages,
    page: &HistoryPage,
    channel: &str,
    authors: &Authors,
    format: Format,
    output: &mut Output,
) -> Done {
    for message in page.messages() {
        let message = message?;
        let author = authors.name(message.author);
        let ts_ms = message.id.unix_ms(messages.epoch());
        match format {
            Format::Jsonl => output.object(&Shown {
                id: message.id.to_string(),
                ts_ms,
                channel,
                author: &author,
                content: message.content,
                edited_ms: message.edited_ms,
            })?,
            Format::Table => {
                let edited = if message.edited_ms.is_some() { "  (edited)" } else { "" };
                let (author, content) = (visible(&author), visible(message.content));
                output.line(format_args!(
                    "{}  {}  {author}: {content}{edited}",
                    message.id,
                    Timestamp(ts_ms)
                ))?;
            }
        }
    }
    Ok(())
}

fn explain(number: u64, page: &HistoryPage) {
    let cost = page.cost();
    let explained = Explained {
        page: number,
        messages: page.len(),
        has_more: page.has_more(),
        sstables_opened: cost.sstables_opened,
        data_blocks: cost.data_blocks,
        index_blocks: cost.index_blocks,
        device_reads: cost.device_reads,
        rows_merged: cost.rows_merged,
        rows_dead: cost.rows_dead,
        rows_skipped: cost.rows_skipped,
        tombstones: cost.tombstones,
    };
    eprintln!("{}", serde_json::to_string(&explained).expect("numbers become JSON"));
}

/// The names of authors met so far.
#[derive(Default)]
struct Authors {
    names: BTreeMap<i64, String>,
}

impl Authors {
    /// Looks up the authors of a page that are not known, all at the same time.
    async fn learn(&mut self, messages: &Messages, page: &HistoryPage) -> Done {
        if self.names.len() > NAMES_REMEMBERED {
            self.names.clear();
        }
        let mut unknown = BTreeSet::new();
        for message in page.messages() {
            let author = message?.author;
            if !self.names.contains_key(&author) {
                unknown.insert(author);
            }
        }
        let names = join_all(unknown.iter().map(|author| messages.name(NameKind::Author, *author))).await?;
        let named = |(author, name): (i64, Option<String>)| (author, name.unwrap_or_else(|| author.to_string()));
        self.names.extend(unknown.into_iter().zip(names).map(named));
        Ok(())
    }

    fn name(&self, author: i64) -> std::borrow::Cow<'_, str> {
        self.names
            .get(&author)
            .map_or_else(|| author.to_string().into(), |name| name.as_str().into())
    }
}
