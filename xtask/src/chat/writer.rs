//! What one writer does: every call of `messages`, drawn from the seed.

use super::truth::{Mark, Truth};
use crate::rng::Rng;
use messages::{Error, Event, History, Import, MessageId, Messages, Window, import_id};
use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::time::Duration;

/// Channels that all writers send to.
pub(super) const SHARED: [i64; 3] = [1, 2, 3];
/// The first of the channels that one writer has for itself.
const OWN: i64 = 100;
/// Follows this one.
pub(super) const FOLLOWED: i64 = SHARED[0];
/// Ids of the longest bucket: the parts below the milliseconds take 22 bits.
const BUCKET_IDS_MAX: i64 = (24 * 3_600_000) << 22;
/// What the harness says when the writers of a life are done begins with this.
const END: &str = "end of life ";

/// The channel that a writer has for itself: it imports there, deletes widely, changes windows.
pub(super) fn own_channel(writer: usize) -> i64 {
    OWN + writer as i64
}

/// A writer, for one life of the store.
pub(super) struct Writer {
    pub number: usize,
    pub rng: Rng,
    pub kept: Rc<RefCell<Kept>>,
}

/// What a writer keeps over restarts.
#[derive(Default)]
pub(super) struct Kept {
    /// A nonce that was sent and not answered: channel, mark, nonce, content.
    pub unanswered: Option<(i64, Mark, String, String)>,
    /// Nonces and places of imports given so far.
    given: u64,
}

/// What all of a life share.
#[derive(Clone)]
pub(super) struct Stage {
    pub messages: Messages,
    pub truth: Rc<RefCell<Truth>>,
    pub life: u64,
    pub snapshots: Rc<Cell<u64>>,
    /// Snapshots that were made, with what was known before and after.
    pub made: Rc<RefCell<Vec<Made>>>,
}

/// A snapshot: its name, and the moments between which it was taken.
#[derive(Clone)]
pub(super) struct Made {
    pub name: String,
    pub from: u64,
    pub to: u64,
    pub truth: Truth,
}

impl Stage {
    fn violate(&self, what: String) {
        self.truth.borrow_mut().violate(what);
    }

    /// All messages of a channel, in the order of their ids.
    pub async fn walk(&self, channel: i64, rng: &mut Rng) -> Result<Vec<(MessageId, i64, String)>, Error> {
        let limit = *rng.pick(&[1, 3, 7, 100]);
        let oldest_first = rng.chance(1, 2);
        let mut found = Vec::new();
        let mut next = Some(match oldest_first {
            true => History::oldest(limit),
            false => History::newest(limit),
        });
        while let Some(history) = next {
            let page = self.messages.history(channel, history).await?;
            for message in page.messages() {
                let message = message?;
                found.push((message.id, message.author, message.content.to_owned()));
            }
            next = page.next()?;
        }
        if !oldest_first {
            found.reverse();
        }
        found.retain(|(_, _, content)| !content.starts_with(END));
        Ok(found)
    }

    /// Walks a channel and judges it.
    pub async fn look(&self, channel: i64, rng: &mut Rng) -> Result<(), Error> {
        let from = self.truth.borrow_mut().tick();
        let found = self.walk(channel, rng).await?;
        let to = self.truth.borrow_mut().tick();
        self.truth.borrow_mut().judge("a walk", channel, &found, from, to);
        Ok(())
    }

    /// Counts a channel in both ways.
    async fn count(&self, channel: i64) -> Result<(), Error> {
        let from = self.truth.borrow_mut().tick();
        let buckets = self.messages.bucket_counts(channel).await?;
        let to = self.truth.borrow_mut().tick();
        let (least, most) = self.truth.borrow().bounds(channel, from, to);
        let counted: u64 = buckets.iter().map(|bucket| bucket.messages).sum();
        // The followed channel has the harness's own messages, too.
        if channel != FOLLOWED && !(least..=most).contains(&counted) {
            self.violate(format!(
                "channel {channel} has {counted} messages by bucket, {least} to {most} are right"
            ));
        }
        if !buckets.is_sorted_by(|a, b| a.bucket.id > b.bucket.id) {
            self.violate(format!(
                "buckets of channel {channel} are not newest first: {buckets:?}"
            ));
        }
        Ok(())
    }

    /// Follows a channel until its end is said.
    pub async fn follow(self, after: Option<MessageId>) {
        let mut told: Vec<MessageId> = Vec::new();
        let end = self.end_of_life();
        let followed = async {
            let mut subscription = self.messages.subscribe(FOLLOWED, after).await?;
            loop {
                match subscription.next().await? {
                    Some(Event::Sent(sent)) if *sent.content == *end => return Ok(()),
                    Some(Event::Sent(sent)) if sent.content.starts_with(END) => {}
                    Some(Event::Sent(sent)) => told.push(sent.id),
                    Some(Event::Gap) => self.truth.borrow_mut().counts.gaps += 1,
                    Some(_) => {}
                    None => {
                        self.violate("the feed of an open store ends".to_owned());
                        return Ok(());
                    }
                }
            }
        };
        if let Err(error) = followed.await {
            let error: Error = error;
            self.violate(format!("a subscription: {error}"));
        }
        let mut truth = self.truth.borrow_mut();
        truth.counts.told += told.len() as u64;
        if !told.is_sorted_by(|a, b| a < b) {
            truth.violate(format!("a follower was told {told:?}"));
        }
        let missing: Vec<MessageId> = truth
            .to_be_told(FOLLOWED, after)
            .into_iter()
            .filter(|id| !told.contains(id))
            .collect();
        // Without a place to begin, only what comes later is told.
        if after.is_some() && !missing.is_empty() {
            let known: Vec<String> = missing.iter().map(|id| truth.known_as(*id)).collect();
            truth.violate(format!("a follower after {after:?} was told {told:?}, not {known:?}"));
        }
    }

    fn end_of_life(&self) -> String {
        format!("{END}{}", self.life)
    }

    /// Says the end to the followers.
    pub async fn end(&self) {
        if let Err(error) = self.messages.send(FOLLOWED, -1, self.end_of_life()).await {
            self.violate(format!("the end could not be said: {error}"));
        }
    }
}

impl Writer {
    /// Asks again for what was sent with a nonce and not answered.
    pub async fn ask_again(&mut self, stage: &Stage) -> Result<(), Error> {
        let unanswered = self.kept.borrow().unanswered.clone();
        if let Some((channel, mark, nonce, content)) = unanswered {
            let id = stage
                .messages
                .send_once(channel, self.number as i64, nonce, content)
                .await?;
            self.kept.borrow_mut().unanswered = None;
            stage.truth.borrow_mut().answered(mark, id);
        }
        Ok(())
    }

    fn next(&self) -> u64 {
        let mut kept = self.kept.borrow_mut();
        kept.given += 1;
        kept.given
    }

    /// So many things one after the other. The power may fail in each.
    pub async fn work(&mut self, stage: &Stage, steps: usize) {
        for _ in 0..steps {
            if stage.truth.borrow().violation().is_some() {
                return;
            }
            if let Err(error) = self.step(stage).await {
                stage.violate(format!("writer {}: {error}", self.number));
            }
        }
    }

    async fn step(&mut self, stage: &Stage) -> Result<(), Error> {
        let own = own_channel(self.number);
        let shared = *self.rng.pick(&SHARED);
        let channel = if self.rng.chance(1, 3) { own } else { shared };
        match self.rng.below(24) {
            0..6 => self.send(stage, channel).await,
            6..8 => self.send_once(stage, channel).await,
            8 => self.send_many(stage, channel).await,
            9..12 => self.edit(stage, channel).await,
            12 => self.delete(stage, channel).await,
            13 => self.delete_many(stage, channel).await,
            14 => self.delete_widely(stage, own).await,
            15..17 => self.import(stage, own).await,
            17 => self.set_window(stage, own).await,
            18..20 => stage.look(channel, &mut self.rng).await,
            20 => self.look_around(stage, channel).await,
            21 => stage.count(channel).await,
            22 => self.snapshot(stage).await,
            _ => {
                let micros = self.rng.below(3_000) as u64;
                runtime::sim::client_sleep(Duration::from_micros(micros)).await;
                Ok(())
            }
        }
    }

    fn padding(&mut self) -> String {
        let letters = *self.rng.pick(&[0, 10, 200, 1_500]);
        "x".repeat(letters)
    }

    async fn send(&mut self, stage: &Stage, channel: i64) -> Result<(), Error> {
        let padding = self.padding();
        let (mark, content) = stage.truth.borrow_mut().begins(channel, self.number, None, &padding);
        let id = stage.messages.send(channel, self.number as i64, content).await?;
        let mut truth = stage.truth.borrow_mut();
        truth.answered(mark, id);
        truth.counts.sent += 1;
        Ok(())
    }

    async fn send_once(&mut self, stage: &Stage, channel: i64) -> Result<(), Error> {
        let padding = self.padding();
        let (mark, content) = stage.truth.borrow_mut().begins(channel, self.number, None, &padding);
        let nonce = format!("{}-{}", self.number, self.next());
        self.kept.borrow_mut().unanswered = Some((channel, mark, nonce.clone(), content.clone()));
        let id = stage
            .messages
            .send_once(channel, self.number as i64, nonce.clone(), content.clone())
            .await?;
        self.kept.borrow_mut().unanswered = None;
        stage.truth.borrow_mut().answered(mark, id);
        let again = stage
            .messages
            .send_once(channel, self.number as i64, nonce, content)
            .await?;
        if again != id {
            stage.violate(format!("a nonce gave the id {id}, and then {again}"));
        }
        stage.truth.borrow_mut().counts.sent += 1;
        Ok(())
    }

    async fn send_many(&mut self, stage: &Stage, channel: i64) -> Result<(), Error> {
        let count = self.rng.within(1..8);
        let (mut marks, mut contents) = (Vec::new(), Vec::new());
        for _ in 0..count {
            let padding = self.padding();
            let (mark, content) = stage.truth.borrow_mut().begins(channel, self.number, None, &padding);
            marks.push(mark);
            contents.push((self.number as i64, content));
        }
        let ids = stage.messages.send_many(channel, contents).await?;
        let mut truth = stage.truth.borrow_mut();
        for (mark, id) in marks.into_iter().zip(ids) {
            truth.answered(mark, id);
            truth.counts.sent += 1;
        }
        Ok(())
    }

    /// A message of its own in the channel.
    fn one(&mut self, stage: &Stage, channel: i64) -> Option<(Mark, MessageId)> {
        let own = stage.truth.borrow().own(channel, self.number);
        (!own.is_empty()).then(|| *self.rng.pick(&own))
    }

    async fn edit(&mut self, stage: &Stage, channel: i64) -> Result<(), Error> {
        let Some((mark, id)) = self.one(stage, channel) else {
            return Ok(());
        };
        let padding = self.padding();
        let content = stage.truth.borrow_mut().edit_begins(mark, &padding);
        let author = self.rng.chance(1, 2).then_some(self.number as i64);
        stage.messages.edit(channel, id, author, content).await?;
        let mut truth = stage.truth.borrow_mut();
        truth.edit_answered(mark);
        truth.counts.edits += 1;
        Ok(())
    }

    async fn delete(&mut self, stage: &Stage, channel: i64) -> Result<(), Error> {
        let Some((mark, id)) = self.one(stage, channel) else {
            return Ok(());
        };
        stage.truth.borrow_mut().delete_begins(&[mark]);
        stage.messages.delete(channel, id, Some(self.number as i64)).await?;
        let mut truth = stage.truth.borrow_mut();
        truth.delete_answered(&[mark]);
        truth.counts.deletes += 1;
        Ok(())
    }

    async fn delete_many(&mut self, stage: &Stage, channel: i64) -> Result<(), Error> {
        let mut own = stage.truth.borrow().own(channel, self.number);
        self.rng.shuffle(&mut own);
        own.truncate(self.rng.within(1..10));
        let (marks, ids): (Vec<Mark>, Vec<MessageId>) = own.into_iter().unzip();
        stage.truth.borrow_mut().delete_begins(&marks);
        let deleted = stage
            .messages
            .delete_many(channel, ids, Some(self.number as i64))
            .await?;
        if deleted != marks.len() as u64 {
            stage.violate(format!(
                "{deleted} messages of {} were there to be deleted",
                marks.len()
            ));
        }
        let mut truth = stage.truth.borrow_mut();
        truth.delete_answered(&marks);
        truth.counts.deletes += deleted;
        Ok(())
    }

    /// A bucket, a part or all of its own channel.
    async fn delete_widely(&mut self, stage: &Stage, channel: i64) -> Result<(), Error> {
        let own = stage.truth.borrow().own(channel, self.number);
        let marks_of = |which: &dyn Fn(MessageId) -> bool| {
            own.iter()
                .filter(|(_, id)| which(*id))
                .map(|(mark, _)| *mark)
                .collect::<Vec<_>>()
        };
        let bury = |from, to| stage.truth.borrow_mut().buries(channel, from..=to);
        let marks = match (self.rng.below(4), own.is_empty()) {
            (0, _) => {
                let marks = marks_of(&|_| true);
                bury(MessageId::MIN, MessageId::MAX);
                stage.truth.borrow_mut().delete_begins(&marks);
                stage.messages.delete_channel(channel).await?;
                marks
            }
            (_, true) => return Ok(()),
            (1 | 2, _) => {
                let (_, of) = *self.rng.pick(&own);
                let bucket = stage.messages.windows(channel).await?.bucket_of(of);
                let marks = marks_of(&|id| bucket.contains(id));
                // No more than the bucket's own day or less on both sides.
                let (from, to) = (
                    of.get().saturating_sub(BUCKET_IDS_MAX).max(1),
                    of.get().saturating_add(BUCKET_IDS_MAX),
                );
                bury(MessageId::new(from)?, MessageId::new(to.min(MessageId::MAX.get()))?);
                stage.truth.borrow_mut().delete_begins(&marks);
                stage.messages.delete_bucket(channel, of).await?;
                marks
            }
            _ => {
                let (_, one) = *self.rng.pick(&own);
                let (_, other) = *self.rng.pick(&own);
                let (after, before) = (one.min(other), one.max(other));
                let marks = marks_of(&|id| after < id && id < before);
                bury(after, before);
                stage.truth.borrow_mut().delete_begins(&marks);
                stage
                    .messages
                    .delete_between(channel, Some(after), Some(before))
                    .await?;
                marks
            }
        };
        let mut truth = stage.truth.borrow_mut();
        truth.delete_answered(&marks);
        truth.counts.wide_deletes += 1;
        Ok(())
    }

    /// New messages of former times, and some that were imported before.
    async fn import(&mut self, stage: &Stage, channel: i64) -> Result<(), Error> {
        let epoch = stage.messages.epoch();
        let mut batch: Vec<(Mark, Import)> = Vec::new();
        let import = |id: MessageId, author: usize, content: String| Import {
            id,
            unix_ms: id.unix_ms(epoch),
            author: author as i64,
            content,
        };
        let again = stage.truth.borrow().imports(channel);
        for (mark, id, content) in again {
            if self.rng.chance(1, 4) {
                batch.push((mark, import(id, self.number, content)));
            }
        }
        for _ in 0..self.rng.below(8) {
            let padding = self.padding();
            // Hours of a few days, long before the first message that is sent.
            let unix_ms = 1_600_000_000_000 + self.rng.below(72 * 3_600) as i64 * 1_000;
            let place = (self.next() % 100_000) as u32;
            let id = import_id(epoch, unix_ms, place)?;
            let (mark, content) = stage
                .truth
                .borrow_mut()
                .begins(channel, self.number, Some(id), &padding);
            batch.push((mark, import(id, self.number, content)));
        }
        let (marks, imports): (Vec<Mark>, Vec<Import>) = batch.into_iter().unzip();
        let given = imports.len() as u64;
        let done = stage.messages.import(channel, imports).await?;
        if done.added + done.present != given {
            stage.violate(format!("of {given} imports {done:?}"));
        }
        let mut truth = stage.truth.borrow_mut();
        for mark in marks {
            truth.import_answered(mark);
            truth.counts.imported += 1;
        }
        Ok(())
    }

    async fn set_window(&mut self, stage: &Stage, channel: i64) -> Result<(), Error> {
        let hours = *self.rng.pick(&[1, 2, 3, 5, 24]);
        let window = Window::from_hours(hours)?;
        let border = stage.messages.window_border(channel, 0).await?;
        match stage.messages.set_window(channel, window, border).await {
            Ok(()) => stage.truth.borrow_mut().counts.windows += 1,
            // Since it was asked for, the clock went on; or there were enough.
            Err(Error::BorderTooEarly { .. } | Error::TooManyWindows) => {}
            Err(error) => return Err(error),
        }
        Ok(())
    }

    async fn look_around(&mut self, stage: &Stage, channel: i64) -> Result<(), Error> {
        let Some((mark, id)) = self.one(stage, channel) else {
            return Ok(());
        };
        let from = stage.truth.borrow_mut().tick();
        let around = stage.messages.around(channel, id, 7).await?;
        let one = stage.messages.get(channel, id).await?;
        let to = stage.truth.borrow_mut().tick();
        let mut older = Vec::new();
        for message in around.older.messages() {
            older.push(message?.id);
        }
        let mut newer = Vec::new();
        for message in around.newer.messages() {
            newer.push(message?.id);
        }
        let in_order = older.is_sorted_by(|a, b| a > b) && newer.is_sorted_by(|a, b| a < b);
        if !in_order || older.first() != Some(&id) || newer.first().is_some_and(|first| *first <= id) {
            stage.violate(format!("around {id} of channel {channel}: {older:?} and {newer:?}"));
        }
        // It is the writer's own, and nobody else deletes it.
        let there = one
            .as_ref()
            .map(|one| one.message())
            .transpose()?
            .is_some_and(|message| message.id == id);
        if !there {
            stage.violate(format!(
                "message {mark}, {id} of channel {channel}, is not there, from {from} to {to}"
            ));
        }
        Ok(())
    }

    async fn snapshot(&mut self, stage: &Stage) -> Result<(), Error> {
        let number = stage.snapshots.get();
        if number >= 3 {
            stage.messages.store().flush().await?;
            return Ok(());
        }
        stage.snapshots.set(number + 1);
        let name = format!("snapshot-{number}");
        let from = stage.truth.borrow_mut().tick();
        stage.messages.store().snapshot(&name).await?;
        let to = stage.truth.borrow_mut().tick();
        let truth = stage.truth.borrow().clone();
        stage.truth.borrow_mut().counts.snapshots += 1;
        stage.made.borrow_mut().push(Made { name, from, to, truth });
        Ok(())
    }
}
