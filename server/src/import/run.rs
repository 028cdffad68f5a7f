//! Writing a checked file into the store: many lines under way, in memory that does not grow with the file.
//!
//! 1. Lines are read into chunks; a limited number of chunks is under way at the same time.
//! 2. A chunk gives ids to names it meets first, on disk before any message uses them.
//! 3. Its messages go to their channels' homes, in the order of the chunks; the homes write those that are not there.
//! 4. Chunks end in the order of the file: what is acknowledged is always the first N lines.

use super::{
    check::{Checked, Entry, Reader, check},
    line::ChatLine,
};
use crate::{
    cli,
    failure::{Done, Failure},
    in_flight::{InFlight, join_all},
    output::{Format, Output},
    progress, session,
};
use engine::is_store;
use messages::{Epoch, Import, MessageId, Messages, NameKind, Options};
use runtime::{
    sync::{OneshotReceiver, OneshotSender, oneshot},
    time::Instant,
};
use serde::Serialize;
use std::{
    cell::RefCell,
    collections::{BTreeMap, BTreeSet},
    path::Path,
    time::Duration,
};

/// Lines of a chunk at most.
const CHUNK_LINES: usize = 512;
/// A chunk ends with the line that exceeds this many bytes.
const CHUNK_BYTES: usize = 256 << 10;
/// Chunks under way at the same time.
const CHUNKS_AT_ONCE: usize = 16;
/// Names whose ids are remembered; then all are forgotten, and looked up again.
const NAMES_REMEMBERED: usize = 500_000;
/// How often the acknowledged lines are told.
const TELL_EVERY: Duration = Duration::from_millis(150);

#[derive(Serialize)]
struct Acknowledged {
    acknowledged: u64,
}

#[derive(Serialize)]
struct Summary {
    read: u64,
    added: u64,
    present: u64,
    bad: u64,
}

/// `scrollback import`
pub fn run(args: cli::Import, format: Format) -> Done {
    let mut config = session::config(&args.data)?;
    if let Some(size) = args.memtable_bytes {
        config.memtable_bytes = size.as_usize();
    }
    config.validate().map_err(Failure::usage)?;
    let options = Options {
        epoch_ms: args.epoch.map(|epoch| epoch.0),
        window: None,
    };
    // A store that is there knows its epoch; a new one is not made before its first file has been found good.
    if is_store(&config.dir) {
        return session::with_config(config, options, async |messages| {
            let checked = checked(&args, messages.epoch())?;
            write(&messages, &args.file, &checked, format).await
        });
    }
    let now_ms = runtime::time::unix_micros() / 1000;
    let epoch = Epoch::new(options.epoch_ms.unwrap_or(Epoch::DEFAULT.unix_ms()), now_ms)?;
    let checked = checked(&args, epoch)?;
    session::with_config(config, options, async |messages| {
        write(&messages, &args.file, &checked, format).await
    })
}

/// Checks the file; refuses it for bad lines, unless they are to be left out.
fn checked(args: &cli::Import, epoch: Epoch) -> Done<Checked> {
    let file = args.file.display();
    let bar = progress::bytes("checking", 0);
    let checked = check(&args.file, epoch, |done, len| {
        bar.set_length(len);
        bar.set_position(done);
    })?;
    bar.finish_and_clear();
    let Some((number, reason)) = checked.named.first() else {
        return Ok(checked);
    };
    if args.skip_bad {
        for (number, reason) in &checked.named {
            eprintln!("{file}: line {number} is left out: {reason}");
        }
        let more = checked.bad - checked.named.len() as u64;
        if more > 0 {
            eprintln!("{file}: {more} more lines are left out");
        }
        return Ok(checked);
    }
    let others = match checked.bad {
        1 => String::new(),
        bad => format!(
            " (and {} more bad lines, {} the next)",
            bad - 1,
            checked.named.get(1).map_or(0, |(number, _)| *number)
        ),
    };
    Err(Failure::new(format_args!(
        "{file}: line {number}: {reason}{others}; nothing was imported, --skip-bad leaves bad lines out"
    )))
}

async fn write(messages: &Messages, file: &Path, checked: &Checked, format: Format) -> Done {
    let started = Instant::now();
    let mut told = Instant::now();
    let bar = progress::lines("importing", checked.lines);
    let mut output = Output::new();
    let mut reader = Reader::open(file, messages.epoch(), Some(checked.lateness_ms))?;
    let names = Names {
        messages,
        ids: RefCell::default(),
    };
    let mut chunks = InFlight::new();
    let mut before = None;
    let mut summary = Summary {
        read: 0,
        added: 0,
        present: 0,
        bad: 0,
    };
    let mut ended = false;
    loop {
        while !ended && chunks.len() < CHUNKS_AT_ONCE {
            let chunk = Chunk::read(&mut reader)?;
            ended = chunk.lines == 0;
            if !ended {
                let (set_out, after) = oneshot();
                chunks.push(chunk.write(&names, before.replace(after), set_out));
            }
        }
        let Some(written) = chunks.next().await else { break };
        let written = written.map_err(|failure| Failure {
            sentence: failure.sentence.map(|sentence| {
                format!(
                    "the import stopped at line {} (what came before is on disk; run it again to go on): {sentence}",
                    summary.read
                )
            }),
            ..failure
        })?;
        summary.read += written.lines;
        summary.added += written.added;
        summary.present += written.present;
        summary.bad += written.bad;
        bar.set_position(summary.read);
        if told.elapsed() >= TELL_EVERY {
            told = Instant::now();
            if format == Format::Jsonl {
                output.object(&Acknowledged {
                    acknowledged: summary.read,
                })?;
                output.flush()?;
            }
        }
    }
    bar.finish_and_clear();
    if reader.digest() != checked.digest {
        return Err(Failure::new(format_args!(
            "{}: it changed between being checked and being imported; import it again",
            file.display()
        )));
    }
    match format {
        Format::Jsonl => {
            output.object(&Acknowledged {
                acknowledged: summary.read,
            })?;
            output.object(&summary)?;
        }
        Format::Table => output.line(format_args!(
            "{} lines: {} messages added, {} present, {} lines bad, in {:.1} s",
            summary.read,
            summary.added,
            summary.present,
            summary.bad,
            started.elapsed().as_secs_f64()
        ))?,
    }
    output.flush()
}

/// Some consecutive lines.
struct Chunk {
    lines: u64,
    bad: u64,
    chat: Vec<Chat>,
}

struct Chat {
    channel: String,
    author: String,
    unix_ms: i64,
    id: MessageId,
    content: String,
}

/// What came of a chunk.
struct Written {
    lines: u64,
    bad: u64,
    added: u64,
    present: u64,
}

impl Chunk {
    /// The next lines; none at the end of the file.
    fn read(reader: &mut Reader) -> Done<Chunk> {
        let mut chunk = Chunk {
            lines: 0,
            bad: 0,
            chat: Vec::new(),
        };
        let mut bytes = 0;
        while (chunk.lines as usize) < CHUNK_LINES && bytes < CHUNK_BYTES {
            match reader.next()? {
                None => break,
                Some(Entry::Bad(_)) => chunk.bad += 1,
                Some(Entry::Chat(
                    ChatLine {
                        ts_ms,
                        channel,
                        author,
                        content,
                    },
                    id,
                )) => {
                    bytes += content.len() + channel.len() + author.len();
                    let id = id.expect("the check has found how late lines come");
                    let (channel, author, content) = (channel.into_owned(), author.into_owned(), content.into_owned());
                    chunk.chat.push(Chat {
                        channel,
                        author,
                        unix_ms: ts_ms,
                        id,
                        content,
                    });
                }
            }
            chunk.lines += 1;
        }
        Ok(chunk)
    }

    /// Writes it. Its messages set out after those of the chunk before, which says so through `before`.
    async fn write(
        self,
        names: &Names<'_>,
        before: Option<OneshotReceiver<()>>,
        set_out: OneshotSender<()>,
    ) -> Done<Written> {
        names
            .learn(NameKind::Channel, self.chat.iter().map(|chat| chat.channel.as_str()))
            .await?;
        names
            .learn(NameKind::Author, self.chat.iter().map(|chat| chat.author.as_str()))
            .await?;
        let mut channels: BTreeMap<i64, Vec<Import>> = BTreeMap::new();
        for Chat {
            channel,
            author,
            unix_ms,
            id,
            content,
        } in self.chat
        {
            let channel = names.id(NameKind::Channel, &channel).await?;
            let author = names.id(NameKind::Author, &author).await?;
            channels.entry(channel).or_default().push(Import {
                id,
                unix_ms,
                author,
                content,
            });
        }
        let imports = channels
            .into_iter()
            .map(|(channel, chat)| names.messages.import(channel, chat));
        if let Some(before) = before {
            before.recv().await.unwrap_or(()); // It has set out, or failed: then the import ends.
        }
        // The next chunk is told now, and polled after this one.
        drop(set_out);
        let imported = join_all(imports).await?;
        let (added, present) = imported
            .iter()
            .fold((0, 0), |(a, p), of| (a + of.added, p + of.present));
        Ok(Written {
            lines: self.lines,
            bad: self.bad,
            added,
            present,
        })
    }
}

/// The ids of names met so far.
struct Names<'a> {
    messages: &'a Messages,
    ids: RefCell<BTreeMap<(NameKind, String), i64>>,
}

impl Names<'_> {
    /// Sees to it that these names have ids, asking for all that are not known at the same time.
    async fn learn(&self, kind: NameKind, names: impl Iterator<Item = &str>) -> Done {
        let unknown: BTreeSet<&str> = {
            let ids = self.ids.borrow();
            let mut last = "";
            let names = names.filter(|name| std::mem::replace(&mut last, name) != *name);
            names
                .filter(|name| !ids.contains_key(&(kind, (*name).to_owned())))
                .collect()
        };
        let asked = join_all(
            unknown
                .iter()
                .map(|name| self.messages.intern(kind, (*name).to_owned())),
        )
        .await?;
        let mut ids = self.ids.borrow_mut();
        if ids.len() + asked.len() > NAMES_REMEMBERED {
            ids.clear();
        }
        ids.extend(unknown.iter().map(|name| (kind, (*name).to_owned())).zip(asked));
        Ok(())
    }

    async fn id(&self, kind: NameKind, name: &str) -> Done<i64> {
        let known = self.ids.borrow().get(&(kind, name.to_owned())).copied();
        match known {
            Some(id) => Ok(id),
            // Forgotten since it was learnt.
            None => Ok(self.messages.intern(kind, name.to_owned()).await?),
        }
    }
}
