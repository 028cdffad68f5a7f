//! The parent's side of one strategy: lives of children that are killed, what they acknowledged, and what must be there.

use std::collections::{BTreeMap, VecDeque};
use std::path::PathBuf;
use std::time::Duration;

use serde_json::{Value, json};

use super::plan::{self, Batch, Span};
use super::truth::Channel;
use super::wire::{Ask, Compacted, Order, Said, Told};
use super::{Options, Strategy};
use crate::clock::Stopwatch;
use crate::kill9::chat::Chat;
use crate::kill9::program::{Process, Program};
use crate::kill9::store::parse;
use crate::rng::Rng;

/// Clients of a child. A channel has the same one always, which does one thing after the other.
const CLIENTS: usize = 16;
/// Has everything compacted.
const COMPACTOR: usize = CLIENTS;
const SHARDS: usize = 2;
/// A child that acknowledges nothing for so long is given up.
const SILENCE_MAX: Duration = Duration::from_secs(120);
/// Longer than the grace of deletions, an hour.
const GRACE_S: u64 = 2 * 3600;
/// After that an import's files are at rest (time-tiered).
const QUIET_S: u64 = 11 * 60;
/// The clock is not set ahead by epochs of the files any more when it is so far ahead: ids have 69 years.
const AHEAD_MAX_S: u64 = 15 * 365 * 86_400;

/// What was met.
#[derive(Default)]
struct Counts {
    lives: u64,
    killed: u64,
    killed_compacting: u64,
    killed_in_recovery: u64,
    acknowledged: u64,
    imported: u64,
    sent: u64,
    edited: u64,
    deleted: u64,
    buckets_deleted: u64,
    channels_deleted: u64,
    compared: u64,
}

/// One strategy's course.
pub(super) struct Course<'a> {
    program: &'a Program,
    options: &'a Options,
    arguments: Vec<String>,
    files_hours: u32,
    rng: Rng,
    channels: Vec<Channel>,
    numbers: BTreeMap<String, usize>,
    plan: Vec<VecDeque<Batch>>,
    /// Changes that a client makes before its next batch, and the channel of its last one.
    changes: Vec<(usize, usize)>,
    batches_left: usize,
    in_flight: Vec<Option<Ask>>,
    /// What was in flight when the last child was killed, as long as nobody has looked.
    in_doubt: Vec<Option<Ask>>,
    /// A client's history as far as it was read.
    pages: Vec<Vec<(i64, Said)>>,
    nonces: u64,
    ahead_s: u64,
    /// Of the children before, and of this one.
    compacted: Compacted,
    compacting: Compacted,
    counts: Counts,
}

impl<'a> Course<'a> {
    pub(super) fn new(
        program: &'a Program,
        options: &'a Options,
        chat: &Chat,
        dir: PathBuf,
        strategy: Strategy,
    ) -> Result<Self, String> {
        let mut rng = Rng::new(options.seed);
        let span = Span::of(chat);
        let (messages, channels) = (options.messages as usize, options.channels as usize);
        let (plan, truths) = plan::make(chat, messages, channels, CLIENTS, span, &mut rng.fork())?;
        let compaction = serde_json::to_string(&strategy.compaction(span)).map_err(|e| e.to_string())?;
        let mut arguments = vec!["chat-compaction-child".to_owned()];
        for (name, value) in [
            ("--data", dir.to_string_lossy().into_owned()),
            ("--clients", (CLIENTS + 1).to_string()),
            ("--shards", SHARDS.to_string()),
            ("--epoch-ms", span.epoch_ms.to_string()),
            ("--window-hours", span.bucket_hours.to_string()),
            ("--memtable-kib", options.memtable_kib.to_string()),
            ("--fragment-kib", options.fragment_kib.to_string()),
            ("--compaction", compaction),
        ] {
            arguments.extend([name.to_owned(), value]);
        }
        if let Some(broken) = options.broken {
            arguments.extend(["--break".to_owned(), broken.name().to_owned()]);
        }
        Ok(Self {
            program,
            options,
            arguments,
            files_hours: span.files_hours,
            rng,
            numbers: (truths.iter().enumerate())
                .map(|(nth, channel)| (channel.name.clone(), nth))
                .collect(),
            channels: truths,
            batches_left: plan.iter().map(VecDeque::len).sum(),
            plan,
            changes: vec![(0, 0); CLIENTS],
            in_flight: none(),
            in_doubt: none(),
            pages: vec![Vec::new(); CLIENTS],
            nonces: 0,
            ahead_s: 0,
            compacted: Compacted::default(),
            compacting: Compacted::default(),
            counts: Counts::default(),
        })
    }

    /// What was met.
    pub(super) fn json(&self) -> Value {
        let counts = &self.counts;
        json!({
            "lives": counts.lives,
            "killed": counts.killed,
            "killed_compacting": counts.killed_compacting,
            "killed_in_recovery": counts.killed_in_recovery,
            "acknowledged": counts.acknowledged,
            "imported": counts.imported,
            "sent": counts.sent,
            "edited": counts.edited,
            "deleted": counts.deleted,
            "buckets_deleted": counts.buckets_deleted,
            "channels_deleted": counts.channels_deleted,
            "compared": counts.compared,
            "compactions": self.compacted.kinds,
            "purged": self.compacted.purged,
        })
    }

    /// The whole course.
    ///
    /// # Errors
    /// The first difference, or what kept it from being found.
    pub(super) fn run(&mut self) -> Result<(), String> {
        let kills = self.options.kills as usize;
        let all = self.batches_left;
        let mut left_at: Vec<usize> = (0..kills).map(|_| self.rng.below(all.max(1))).collect();
        left_at.sort_unstable_by_key(|left| std::cmp::Reverse(*left));
        for left in left_at {
            self.time_passes();
            self.kill_in_recovery()?;
            let mut child = self.start()?;
            self.read_all(&mut child)?;
            self.work(&mut child, left)?;
            self.kill(child)?;
        }
        self.time_passes();
        let mut child = self.start()?;
        self.read_all(&mut child)?;
        self.work(&mut child, 0)?;
        self.read_all(&mut child)?;
        self.end(child)?;
        let by_itself = self.compacted.count();
        self.ahead_s += GRACE_S;
        let mut child = self.start()?;
        self.ask(&mut child, COMPACTOR, Ask::Compact)?;
        self.drive(&mut child, |_, _| None, |_| false)?;
        self.read_all(&mut child)?;
        self.end(child)?;
        let mut child = self.start()?;
        self.read_all(&mut child)?;
        self.end(child)?;
        // Those that were asked for are not counted: they are of other kinds.
        let asked = ["major", "divide"].map(|kind| self.compacted.kinds.get(kind).copied().unwrap_or(0));
        if by_itself == 0 || self.compacted.count() == asked.iter().sum::<u64>() || self.compacted.purged == 0 {
            return Err("nothing was compacted by itself, or nothing purged: this shows nothing".to_owned());
        }
        if kills > 0 && self.counts.killed == 0 {
            return Err("no child was killed midway: this shows nothing".to_owned());
        }
        Ok(())
    }

    /// No time, until an import is at rest, until deletions can be purged, or until another epoch has begun.
    fn time_passes(&mut self) {
        let epoch_s = match self.ahead_s < AHEAD_MAX_S {
            true => u64::from(self.files_hours) * 3600,
            false => 0,
        };
        self.ahead_s += *self.rng.pick(&[0, QUIET_S, GRACE_S, epoch_s]);
    }

    fn spawn(&self) -> Result<Process, String> {
        let ahead = ["--ahead-s".to_owned(), self.ahead_s.to_string()];
        self.program.start_to_listen(&[&self.arguments[..], &ahead].concat())
    }

    fn kill_in_recovery(&mut self) -> Result<(), String> {
        if self.counts.lives > 0 && self.rng.chance(1, 2) {
            let mut child = self.spawn()?;
            child.listen(Duration::from_micros(self.rng.below(80_000) as u64))?;
            self.counts.killed_in_recovery += u64::from(child.kill()?);
        }
        Ok(())
    }

    fn start(&mut self) -> Result<Process, String> {
        self.counts.lives += 1;
        let mut child = self.spawn()?;
        let waiting = Stopwatch::start();
        loop {
            let open = child.fill(Duration::from_millis(100))?;
            match child.line().map(parse).transpose()? {
                Some(Told::Ready) => return Ok(child),
                Some(other) => return Err(format!("a child began with {other:?}")),
                None if !open => return Err("a child could not open the store".to_owned()),
                None if waiting.elapsed() > SILENCE_MAX => return Err("a child does not open the store".to_owned()),
                None => {}
            }
        }
    }

    /// Has the child work until no more than `left` batches are left, and what they bring along.
    fn work(&mut self, child: &mut Process, left: usize) -> Result<(), String> {
        self.drive(child, Self::next, |course| left > 0 && course.batches_left <= left)
    }

    /// Goes on with the work, or with a compaction of everything, for some milliseconds more, and kills the child.
    fn kill(&mut self, mut child: Process) -> Result<(), String> {
        let mut most_us = 30_000;
        if self.rng.chance(1, 3) {
            self.ask(&mut child, COMPACTOR, Ask::Compact)?;
            most_us = 300_000;
        }
        let time = Duration::from_micros(self.rng.below(most_us) as u64);
        let clock = Stopwatch::start();
        self.drive(&mut child, Self::next, |_| clock.elapsed() >= time)?;
        let killed = child.kill()?;
        self.hear(&mut child)?;
        self.counts.killed += u64::from(killed);
        self.counts.killed_compacting += u64::from(killed && self.compacting.runs);
        self.is_gone();
        self.in_doubt = std::mem::replace(&mut self.in_flight, none());
        Ok(())
    }

    /// Has the child close the store.
    fn end(&mut self, child: Process) -> Result<(), String> {
        child.hear_out(|line| {
            if let Told::Compacted(compacted) = parse(line)? {
                self.compacting = compacted;
            }
            Ok(())
        })?;
        self.is_gone();
        Ok(())
    }

    fn is_gone(&mut self) {
        self.compacted.add(&std::mem::take(&mut self.compacting));
        self.pages.iter_mut().for_each(Vec::clear);
    }

    /// Compares every channel.
    fn read_all(&mut self, child: &mut Process) -> Result<(), String> {
        let mut unread: Vec<VecDeque<usize>> = vec![VecDeque::new(); CLIENTS];
        for nth in 0..self.channels.len() {
            unread[nth % CLIENTS].push_back(nth);
        }
        let next = |course: &mut Self, client: usize| {
            let nth = unread[client].pop_front()?;
            let channel = course.channels[nth].name.clone();
            Some(Ask::Read { channel })
        };
        self.drive(child, next, |_| false)?;
        match self.in_doubt.iter().flatten().find(|ask| !matches!(ask, Ask::Compact)) {
            Some(ask) => Err(format!("nobody has looked what became of {ask:?}")),
            None => Ok(()),
        }
    }

    /// Gives every client what is next for it, until there is nothing left to do, or `until`.
    fn drive(
        &mut self,
        child: &mut Process,
        mut next: impl FnMut(&mut Self, usize) -> Option<Ask>,
        until: impl Fn(&Self) -> bool,
    ) -> Result<(), String> {
        let mut heard = Stopwatch::start();
        loop {
            for client in 0..CLIENTS {
                if self.in_flight[client].is_none()
                    && let Some(ask) = next(self, client)
                {
                    self.ask(child, client, ask)?;
                }
            }
            if until(self) || self.in_flight.iter().all(Option::is_none) {
                return Ok(());
            }
            let open = child.fill(Duration::from_millis(1))?;
            if self.hear(child)? {
                heard = Stopwatch::start();
            }
            if !open {
                return Err("the child ended by itself".to_owned());
            }
            if heard.elapsed() > SILENCE_MAX {
                return Err(format!(
                    "the child does not answer; it was asked for {:?}",
                    self.in_flight
                ));
            }
        }
    }

    fn ask(&mut self, child: &mut Process, client: usize, ask: Ask) -> Result<(), String> {
        let order = Order { client, ask };
        child.say(&serde_json::to_string(&order).map_err(|e| e.to_string())?)?;
        self.in_flight[client] = Some(order.ask);
        Ok(())
    }

    /// Takes the lines that are there; whether any was an answer.
    fn hear(&mut self, child: &mut Process) -> Result<bool, String> {
        let mut answered = false;
        while let Some(line) = child.line() {
            match parse(line)? {
                Told::Ready => return Err("the child opened the store twice".to_owned()),
                Told::Compacted(compacted) => {
                    self.compacting = compacted;
                    continue;
                }
                Told::Page { client, messages } => self.pages[client].extend(messages),
                Told::Done { client, id } => {
                    let ask = self.in_flight[client].take().ok_or("an answer to nothing")?;
                    self.done(client, &ask, id)?;
                }
                Told::Failed { client, why } => {
                    let asked = &self.in_flight[client];
                    return Err(format!("it was asked for {asked:?}, which is legal: {why}"));
                }
            }
            answered = true;
        }
        Ok(answered)
    }

    fn done(&mut self, client: usize, ask: &Ask, id: Option<i64>) -> Result<(), String> {
        let Some(channel) = ask.channel() else { return Ok(()) };
        let nth = self.numbers[channel];
        let truth = &mut self.channels[nth];
        let counts = &mut self.counts;
        if let Ask::Read { .. } = ask {
            let found = std::mem::take(&mut self.pages[client]);
            counts.compared += found.len() as u64;
            let in_doubt = self.in_doubt[client].take_if(|ask| ask.channel() == Some(channel));
            let absent = truth.judge(found, in_doubt.as_ref())?;
            if let Some(Ask::Import { mut lines }) = in_doubt {
                lines.retain(|(id, _)| absent.contains(id));
                if !lines.is_empty() {
                    self.batches_left += 1;
                    let (channel, changes) = (nth, false);
                    self.plan[client].push_front(Batch {
                        channel,
                        lines,
                        changes,
                    });
                }
            }
            return Ok(());
        }
        counts.acknowledged += 1;
        match ask {
            Ask::Import { lines } => counts.imported += lines.len() as u64,
            Ask::Send { .. } => counts.sent += 1,
            Ask::Edit { .. } => counts.edited += 1,
            Ask::Delete { .. } => counts.deleted += 1,
            Ask::DeleteBucket { .. } => counts.buckets_deleted += 1,
            Ask::DeleteChannel { .. } => counts.channels_deleted += 1,
            Ask::Read { .. } | Ask::Compact => {}
        }
        truth.acknowledged(ask, id);
        Ok(())
    }

    /// What a client does next: a batch, then some changes.
    fn next(&mut self, client: usize) -> Option<Ask> {
        while self.changes[client].0 > 0 {
            self.changes[client].0 -= 1;
            let last = self.changes[client].1;
            // Of its last batch's channel, or of any of the client's.
            let places = (self.channels.len() - client).div_ceil(CLIENTS);
            let nth = match self.rng.chance(1, 2) {
                true => last,
                false => client + CLIENTS * self.rng.below(places),
            };
            if let Some(change) = self.change(nth) {
                return Some(change);
            }
        }
        let batch = self.plan[client].pop_front()?;
        self.batches_left -= 1;
        let changes = match batch.changes {
            true => self.rng.below(batch.lines.len() / 2 + 2),
            false => 0,
        };
        self.changes[client] = (changes, batch.channel);
        Some(Ask::Import { lines: batch.lines })
    }

    /// A change to a channel; none if it has nothing to change.
    fn change(&mut self, nth: usize) -> Option<Ask> {
        let rng = &mut self.rng;
        let truth = &self.channels[nth];
        let channel = truth.name.clone();
        let dice = rng.below(1000);
        let id = (!truth.ids.is_empty()).then(|| *rng.pick(&truth.ids));
        let id = id.filter(|id| truth.has(*id));
        match (dice, id) {
            (0..450, Some(id)) => Some(Ask::Edit {
                channel,
                id,
                content: format!("{} edited {}", "more ".repeat(rng.below(20)), rng.below(1_000_000)),
            }),
            (450..880, Some(id)) => Some(Ask::Delete { channel, id }),
            (880..900, Some(id)) if truth.is_bucket_complete(id) => Some(Ask::DeleteBucket { channel, id }),
            (900..905, _) if nth > 0 && truth.is_complete() => Some(Ask::DeleteChannel { channel }),
            (905.., _) => {
                self.nonces += 1;
                Some(Ask::Send {
                    channel,
                    author: format!("author {}", rng.below(50)),
                    nonce: self.nonces.to_string(),
                    content: format!("sent as number {}", self.nonces),
                })
            }
            _ => None,
        }
    }
}

fn none() -> Vec<Option<Ask>> {
    vec![None; CLIENTS + 1]
}
