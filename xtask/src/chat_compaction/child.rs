//! The child: it has the store open, does what it is asked on its standard input, and tells what was acknowledged. It is
//! there to be killed. When it hears nothing more it closes the store and ends.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, Sender};
use std::time::Duration;

use engine::{Config, ErrorKind};
use messages::{Error, History, Import, MessageId, Messages, NameKind, Window, block_on};
use model::Alteration;
use runtime::Break;

use super::wire::{Ask, Compacted, Order, Said, Told};
use crate::kill9::chat::Line;
use crate::kill9::store::parse;
use crate::sim::command::{parse_break, set_break};

/// How often a store that is full is asked again.
const TRIES_MAX: u32 = 10;
/// How often it looks at what was compacted.
const LOOK_EVERY: Duration = Duration::from_millis(20);
const PAGE: usize = 500;

/// How the store is opened.
#[derive(clap::Args)]
pub(crate) struct Options {
    #[arg(long)]
    data: PathBuf,
    /// Clients that can be asked, the numbers from 0 on.
    #[arg(long)]
    clients: usize,
    #[arg(long)]
    shards: usize,
    #[arg(long)]
    epoch_ms: i64,
    #[arg(long)]
    window_hours: u32,
    #[arg(long)]
    memtable_kib: usize,
    #[arg(long)]
    fragment_kib: u64,
    /// The table's option `compaction`, as JSON.
    #[arg(long)]
    compaction: String,
    /// How far the clock is ahead.
    #[arg(long)]
    ahead_s: u64,
    #[arg(long = "break", value_parser = parse_break)]
    broken: Option<Break>,
}

/// Does what it is asked; true if it came to a good end.
pub(crate) fn run(options: &Options) -> bool {
    set_break(options.broken);
    runtime::time::set_ahead(Duration::from_secs(options.ahead_s));
    match serve(options) {
        Ok(()) => true,
        Err(why) => {
            eprintln!("{}: {why}", options.data.display());
            false
        }
    }
}

fn tell(told: &Told) {
    println!("{}", serde_json::to_string(told).expect("names and numbers are JSON"));
}

fn serve(options: &Options) -> Result<(), String> {
    let messages = block_on(open(options))?;
    tell(&Told::Ready);
    let heard = std::thread::scope(|scope| {
        let mut clients: Vec<Sender<Ask>> = Vec::new();
        for client in 0..options.clients {
            let (sender, asks) = mpsc::channel();
            clients.push(sender);
            let messages = &messages;
            scope.spawn(move || Client::new(client, messages).serve(&asks));
        }
        let (end, ended) = mpsc::channel::<()>();
        let looking = &messages;
        scope.spawn(move || look(looking, &ended));
        let heard = hear(&clients);
        // The threads end when these are gone.
        drop((clients, end));
        heard
    });
    block_on(messages.close()).map_err(|e| e.to_string())?;
    heard
}

/// Gives each client what it is asked, until the parent says nothing more.
fn hear(clients: &[Sender<Ask>]) -> Result<(), String> {
    for line in std::io::stdin().lines() {
        let order: Order = parse(&line.map_err(|e| e.to_string())?)?;
        let client = clients.get(order.client).ok_or("there is no such client")?;
        client.send(order.ask).map_err(|_| "the client is gone")?;
    }
    Ok(())
}

async fn open(options: &Options) -> Result<Messages, String> {
    let config = Config::new(&options.data)
        .shards(Some(options.shards))
        .pin(false)
        .memtable_bytes(options.memtable_kib << 10)
        .block_cache_bytes(4 << 20)
        .row_cache_bytes(1 << 20)
        .log_segment_bytes(1 << 20)
        .log_bytes_max(16 << 20)
        .fragment_bytes(options.fragment_kib << 10)
        .free_bytes_min(Some(0))
        .statistics_socket(false);
    let compaction: BTreeMap<String, String> = parse(&options.compaction)?;
    let opened = async {
        let fixed = messages::Options {
            epoch_ms: Some(options.epoch_ms),
            window: Some(Window::from_hours(options.window_hours)?),
        };
        let messages = Messages::open_with(config, fixed).await?;
        let store = messages.store();
        let table = store.table("messages", "messages").expect("opening it made its tables");
        if table.options.compaction != compaction {
            let mut options = table.options.clone();
            options.compaction = compaction;
            store
                .alter_table("messages", "messages", vec![Alteration::Options(options)])
                .await?;
        }
        Ok::<_, Error>(messages)
    };
    opened.await.map_err(|e| e.to_string())
}

/// Tells what was compacted, every so often.
fn look(messages: &Messages, ended: &Receiver<()>) {
    let mut sum = Compacted::default();
    // Of each shard, how many have ended of whatever table.
    let mut seen: BTreeMap<u16, u64> = BTreeMap::new();
    while let Err(RecvTimeoutError::Timeout) = ended.recv_timeout(LOOK_EVERY) {
        let looked = block_on(async {
            let store = messages.store();
            Ok::<_, engine::Error>((store.statistics().await?, store.compactions().await?))
        });
        // It is being closed.
        let Ok((statistics, compactions)) = looked else { return };
        sum.runs = false;
        for (shard, of_shard) in statistics.iter().zip(&compactions) {
            let new = shard.compactions - seen.insert(shard.shard, shard.compactions).unwrap_or(0);
            for record in of_shard.history.iter().rev().take(new as usize) {
                if record.table == "messages.messages" {
                    *sum.kinds.entry(record.kind.to_string()).or_default() += 1;
                    sum.purged += record.purged;
                }
            }
            sum.runs |= of_shard.running.is_some();
        }
        tell(&Told::Compacted(sum.clone()));
    }
}

struct Client<'a> {
    number: usize,
    messages: &'a Messages,
    ids: BTreeMap<(u8, String), i64>,
    names: BTreeMap<i64, String>,
}

impl<'a> Client<'a> {
    fn new(number: usize, messages: &'a Messages) -> Self {
        Self {
            number,
            messages,
            ids: BTreeMap::new(),
            names: BTreeMap::new(),
        }
    }

    fn serve(mut self, asks: &Receiver<Ask>) {
        while let Ok(ask) = asks.recv() {
            let client = self.number;
            tell(&match block_on(self.patiently(&ask)) {
                Ok(id) => Told::Done {
                    client,
                    id: id.map(MessageId::get),
                },
                Err(error) => Told::Failed {
                    client,
                    why: error.to_string(),
                },
            });
        }
    }

    /// Everything that is asked may be asked again: what was sent has a nonce.
    async fn patiently(&mut self, ask: &Ask) -> Result<Option<MessageId>, Error> {
        let mut tries = 0;
        loop {
            match self.answer(ask).await {
                Err(Error::Engine(error)) if error.kind() == ErrorKind::Retry && tries < TRIES_MAX => tries += 1,
                done => return done,
            }
        }
    }

    async fn id_of(&mut self, kind: NameKind, name: &str) -> Result<i64, Error> {
        let key = (kind as u8, name.to_owned());
        if let Some(id) = self.ids.get(&key) {
            return Ok(*id);
        }
        let id = self.messages.intern(kind, name.to_owned()).await?;
        self.ids.insert(key, id);
        Ok(id)
    }

    async fn author_of(&mut self, id: i64) -> Result<String, Error> {
        if let Some(name) = self.names.get(&id) {
            return Ok(name.clone());
        }
        let name = self.messages.name(NameKind::Author, id).await?;
        let name = name.unwrap_or_else(|| format!("(author {id} has no name)"));
        self.names.insert(id, name.clone());
        Ok(name)
    }

    async fn answer(&mut self, ask: &Ask) -> Result<Option<MessageId>, Error> {
        let messages = self.messages;
        match ask {
            Ask::Import { lines } => self.import(lines).await?,
            Ask::Send {
                channel,
                author,
                nonce,
                content,
            } => {
                let channel = self.id_of(NameKind::Channel, channel).await?;
                let author = self.id_of(NameKind::Author, author).await?;
                let sent = messages.send_once(channel, author, nonce.as_str(), content.as_str());
                return Ok(Some(sent.await?));
            }
            Ask::Edit { channel, id, content } => {
                let channel = self.id_of(NameKind::Channel, channel).await?;
                messages
                    .edit(channel, MessageId::new(*id)?, None, content.as_str())
                    .await?;
            }
            Ask::Delete { channel, id } => {
                let channel = self.id_of(NameKind::Channel, channel).await?;
                messages.delete(channel, MessageId::new(*id)?, None).await?;
            }
            Ask::DeleteBucket { channel, id } => {
                let channel = self.id_of(NameKind::Channel, channel).await?;
                messages.delete_bucket(channel, MessageId::new(*id)?).await?;
            }
            Ask::DeleteChannel { channel } => {
                let channel = self.id_of(NameKind::Channel, channel).await?;
                messages.delete_channel(channel).await?;
            }
            Ask::Read { channel } => self.read(channel).await?,
            Ask::Compact => messages.store().compact(None).await?,
        }
        Ok(None)
    }

    async fn import(&mut self, lines: &[(i64, Line)]) -> Result<(), Error> {
        let Some((_, first)) = lines.first() else { return Ok(()) };
        let channel = self.id_of(NameKind::Channel, &first.channel).await?;
        let mut imports = Vec::with_capacity(lines.len());
        for (id, line) in lines {
            imports.push(Import {
                id: MessageId::new(*id)?,
                unix_ms: line.ts_ms,
                author: self.id_of(NameKind::Author, &line.author).await?,
                content: line.content.clone(),
            });
        }
        self.messages.import(channel, imports).await?;
        Ok(())
    }

    async fn read(&mut self, channel: &str) -> Result<(), Error> {
        let channel = self.id_of(NameKind::Channel, channel).await?;
        let mut next = Some(History::newest(PAGE));
        while let Some(history) = next {
            let page = self.messages.history(channel, history).await?;
            let mut messages = Vec::with_capacity(page.len());
            for message in page.messages() {
                let message = message?;
                let said = Said {
                    author: self.author_of(message.author).await?,
                    content: message.content.to_owned(),
                };
                messages.push((message.id.get(), said));
            }
            let client = self.number;
            tell(&Told::Page { client, messages });
            next = page.next()?;
        }
        Ok(())
    }
}
