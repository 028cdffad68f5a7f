//! What the writers have said and heard, and the judge of what is read.
//!
//! Every message has a *mark* of its own in its content, so that it is known again whatever id it got. Moments are counted: each begin
//! and each answer of a call is one. A read that begins at `from` and ends at `to` must show what was answered before `from` and not
//! being deleted at `to`, must not show what was deleted before `from`, and shows one of the contents that an edit may have left.

use messages::MessageId;
use std::collections::BTreeMap;

/// A moment: calls begun and answered before it.
pub(super) type Moment = u64;
/// Names a message for ever.
pub(super) type Mark = u64;

/// One content that a message has or may have had.
#[derive(Clone, Debug)]
struct Content {
    text: String,
    begun: Moment,
    answered: Option<Moment>,
    /// A reader has seen it: no crash takes it back.
    seen: bool,
}

/// What is known of a message.
#[derive(Clone, Debug)]
pub(super) struct Known {
    pub channel: i64,
    pub author: usize,
    /// Not from an import: its id tells when it was sent.
    sent: bool,
    id: Option<MessageId>,
    begun: Moment,
    /// It was there at this moment.
    answered: Option<Moment>,
    /// Somebody is deleting it, or has.
    deleting: Option<Moment>,
    /// It was not there at this moment, and never will be.
    deleted: Option<Moment>,
    /// A reader has seen it: no crash takes it back.
    seen: bool,
    contents: Vec<Content>,
}

impl Known {
    fn must_be(&self, from: Moment, to: Moment) -> bool {
        self.answered.is_some_and(|answered| answered < from) && self.deleting.is_none_or(|deleting| deleting > to)
    }

    fn must_not_be(&self, from: Moment, to: Moment) -> bool {
        self.deleted.is_some_and(|deleted| deleted < from) || self.begun > to
    }

    /// Whether it may have this content at a moment between the two.
    fn may_say(&self, text: &str, from: Moment, to: Moment) -> bool {
        let last = self
            .contents
            .iter()
            .rposition(|content| content.answered.is_some_and(|answered| answered < from));
        let possible = &self.contents[last.unwrap_or(0)..];
        possible
            .iter()
            .any(|content| content.text == text && content.begun <= to)
    }

    /// Whether it is there, by all that is known, and nobody deletes it.
    fn is_there(&self) -> bool {
        self.answered.is_some() && self.deleting.is_none()
    }
}

/// Everything that the writers know.
#[derive(Clone, Default)]
pub(super) struct Truth {
    now: Moment,
    /// Deletions from before it may have been purged.
    grace_begins: Moment,
    marks: BTreeMap<Mark, Known>,
    /// By channel: ids between which all was deleted, or is being.
    buried: Vec<(i64, std::ops::RangeInclusive<MessageId>)>,
    violation: Option<String>,
    pub counts: Counts,
}

/// What was done and judged.
#[derive(Clone, Copy, Default, Debug)]
pub(super) struct Counts {
    pub sent: u64,
    pub imported: u64,
    pub edits: u64,
    pub deletes: u64,
    pub wide_deletes: u64,
    pub windows: u64,
    pub walks: u64,
    pub messages_read: u64,
    pub told: u64,
    pub gaps: u64,
    pub snapshots: u64,
    pub unknown: u64,
    pub lost_unanswered: u64,
}

impl Counts {
    pub fn add(&mut self, other: Counts) {
        let Counts {
            sent,
            imported,
            edits,
            deletes,
            wide_deletes,
            windows,
            walks,
            messages_read,
            told,
            gaps,
            snapshots,
            unknown,
            lost_unanswered,
        } = other;
        self.sent += sent;
        self.imported += imported;
        self.edits += edits;
        self.deletes += deletes;
        self.wide_deletes += wide_deletes;
        self.windows += windows;
        self.walks += walks;
        self.messages_read += messages_read;
        self.told += told;
        self.gaps += gaps;
        self.snapshots += snapshots;
        self.unknown += unknown;
        self.lost_unanswered += lost_unanswered;
    }
}

/// The mark in a content.
fn mark_of(content: &str) -> Option<Mark> {
    content.split(' ').next()?.parse().ok()
}

impl Truth {
    pub fn violate(&mut self, what: String) {
        self.violation.get_or_insert(what);
    }

    pub fn violation(&self) -> Option<&String> {
        self.violation.as_ref()
    }

    /// A further moment.
    pub fn tick(&mut self) -> Moment {
        self.now += 1;
        self.now
    }

    /// A message is about to be sent or, with an id, imported; gives its mark and content.
    pub fn begins(&mut self, channel: i64, author: usize, id: Option<MessageId>, padding: &str) -> (Mark, String) {
        let begun = self.tick();
        let mark = self.marks.len() as Mark;
        let text = format!("{mark} {padding}");
        let content = Content {
            text: text.clone(),
            begun,
            answered: None,
            seen: false,
        };
        let known = Known {
            channel,
            author,
            sent: id.is_none(),
            id,
            begun,
            answered: None,
            // Imported under a deletion of many, it may be dead from the start.
            deleting: id.filter(|id| self.is_buried(channel, *id)).map(|_| begun),
            deleted: None,
            seen: false,
            contents: vec![content],
        };
        self.marks.insert(mark, known);
        (mark, text)
    }

    /// It is there.
    pub fn answered(&mut self, mark: Mark, id: MessageId) {
        let now = self.tick();
        let known = self.known(mark);
        known.answered = Some(now);
        known.contents[0].answered = Some(now);
        if *known.id.get_or_insert(id) != id {
            let what = format!("message {mark} was given the id {id}, and had {:?}", known.id);
            self.violate(what);
        }
    }

    fn known(&mut self, mark: Mark) -> &mut Known {
        self.marks.get_mut(&mark).expect("a mark that was given")
    }

    /// An edit begins; gives the content.
    pub fn edit_begins(&mut self, mark: Mark, padding: &str) -> String {
        let begun = self.tick();
        let known = self.known(mark);
        let text = format!("{mark} {} {padding}", known.contents.len());
        known.contents.push(Content {
            text: text.clone(),
            begun,
            answered: None,
            seen: false,
        });
        text
    }

    pub fn edit_answered(&mut self, mark: Mark) {
        let now = self.tick();
        let last = self.known(mark).contents.last_mut();
        last.expect("an edit has begun").answered = Some(now);
    }

    /// All messages of a channel between two ids are being deleted, those of a former time that are imported later included.
    pub fn buries(&mut self, channel: i64, ids: std::ops::RangeInclusive<MessageId>) {
        self.buried.push((channel, ids));
    }

    fn is_buried(&self, channel: i64, id: MessageId) -> bool {
        self.buried.iter().any(|(of, ids)| *of == channel && ids.contains(&id))
    }

    /// Messages are being deleted.
    pub fn delete_begins(&mut self, marks: &[Mark]) {
        let now = self.tick();
        for mark in marks {
            self.known(*mark).deleting.get_or_insert(now);
        }
    }

    pub fn delete_answered(&mut self, marks: &[Mark]) {
        let now = self.tick();
        for mark in marks {
            self.known(*mark).deleted.get_or_insert(now);
        }
    }

    /// What an author may edit and delete in a channel: mark and id.
    pub fn own(&self, channel: i64, author: usize) -> Vec<(Mark, MessageId)> {
        let own = self
            .marks
            .iter()
            .filter(|(_, known)| known.channel == channel && known.author == author && known.is_there());
        own.filter_map(|(mark, known)| Some((*mark, known.id?))).collect()
    }

    /// What was imported into a channel and was there, by mark and id, with the first content: importing it again changes nothing.
    pub fn imports(&self, channel: i64) -> Vec<(Mark, MessageId, String)> {
        let of_channel = self
            .marks
            .iter()
            .filter(|(_, known)| known.channel == channel && !known.sent && known.answered.is_some())
            .filter(|(_, known)| known.deleting.is_none_or(|deleting| deleting >= self.grace_begins));
        of_channel
            .filter_map(|(mark, known)| Some((*mark, known.id?, known.contents[0].text.clone())))
            .collect()
    }

    /// So much time passes that deletions of before may be purged: what they are of is not imported again, for it would be written.
    pub fn time_passes(&mut self) {
        self.grace_begins = self.tick();
    }

    /// An import of what may be deleted already changes nothing for it; otherwise it is there now.
    pub fn import_answered(&mut self, mark: Mark) {
        let now = self.tick();
        let known = self.known(mark);
        if known.answered.is_none() && known.deleted.is_none() {
            known.answered = Some(now);
            known.contents[0].answered.get_or_insert(now);
        }
    }

    /// Judges all messages of a channel, in the order of their ids, as they were read between two moments.
    pub fn judge(&mut self, what: &str, channel: i64, found: &[(MessageId, i64, String)], from: Moment, to: Moment) {
        if let Err(wrong) = self.judged(channel, found, from, to) {
            self.violate(format!("{what} of channel {channel}: {wrong}"));
        }
        self.counts.walks += 1;
        self.counts.messages_read += found.len() as u64;
    }

    fn judged(
        &mut self,
        channel: i64,
        found: &[(MessageId, i64, String)],
        from: Moment,
        to: Moment,
    ) -> Result<(), String> {
        let mut here = BTreeMap::new();
        let mut last = None;
        for (id, author, content) in found {
            if last.is_some_and(|last| last >= *id) {
                return Err(format!("id {id} comes after {last:?}"));
            }
            last = Some(*id);
            let mark = mark_of(content).ok_or_else(|| format!("a content that nobody sent: {content:?}"))?;
            let known = self
                .marks
                .get_mut(&mark)
                .ok_or_else(|| format!("a message that nobody sent: {content:?}"))?;
            if known.channel != channel || known.author as i64 != *author {
                return Err(format!("message {mark} of {known:?} is of {author} here"));
            }
            if known.must_not_be(from, to) {
                return Err(format!("message {mark} is there, read from {from} to {to}: {known:?}"));
            }
            if !known.may_say(content, from, to) {
                return Err(format!(
                    "message {mark} says {content:?}, read from {from} to {to}: {known:?}"
                ));
            }
            if known.id.is_some_and(|present| present != *id) || here.insert(mark, *id).is_some() {
                return Err(format!("message {mark} is there as {id}: {known:?}"));
            }
        }
        for (mark, known) in self.marks.iter().filter(|(_, known)| known.channel == channel) {
            if known.must_be(from, to) && !here.contains_key(mark) {
                return Err(format!(
                    "message {mark} is not there, read from {from} to {to}: {known:?}"
                ));
            }
        }
        // What was answered before another was begun has the smaller id.
        let mut latest_begun = 0;
        let mut in_order: Vec<(MessageId, &Known)> = here.iter().map(|(mark, id)| (*id, &self.marks[mark])).collect();
        in_order.sort_by_key(|(id, _)| *id);
        for (id, known) in in_order.iter().filter(|(_, known)| known.sent) {
            if known.answered.is_some_and(|answered| answered < latest_begun) {
                return Err(format!(
                    "{id} was answered before an earlier id's message was begun, at {latest_begun}: {known:?}"
                ));
            }
            latest_begun = latest_begun.max(known.begun);
        }
        for (id, _, text) in found {
            let known = mark_of(text)
                .and_then(|mark| self.marks.get_mut(&mark))
                .expect("looked at above");
            known.seen = true;
            known.id = Some(*id);
            if let Some(content) = known.contents.iter_mut().find(|content| content.text == *text) {
                content.seen = true;
            }
        }
        Ok(())
    }

    /// After a start, while nobody writes: what has no answer is there or not from now on. Of `asked_again` the writers will hear.
    pub fn settle(&mut self, channel: i64, found: &[(MessageId, i64, String)], asked_again: &[Mark]) {
        let now = self.tick();
        self.judge("the look after a start", channel, found, now, now);
        let there: BTreeMap<Mark, (MessageId, &String)> = found
            .iter()
            .filter_map(|(id, _, content)| Some((mark_of(content)?, (*id, content))))
            .collect();
        let mut counts = self.counts;
        let mut taken_back = None;
        for (mark, known) in self
            .marks
            .iter_mut()
            .filter(|(_, known)| known.channel == channel && known.deleted.is_none())
        {
            let unknown = known.answered.is_none() || known.deleting.is_some();
            counts.unknown += u64::from(unknown);
            match there.get(mark) {
                Some((_, content)) => {
                    known.answered.get_or_insert(now);
                    known.deleting = None;
                    // The others are gone for good: none of them is under way.
                    let at = known.contents.iter().rposition(|of| of.text == **content);
                    let seen = known.contents.iter().rposition(|of| of.seen);
                    if seen > at {
                        taken_back = Some(format!(
                            "an edit of message {mark} was read before the crash, and is not there: {known:?}"
                        ));
                    }
                    known.contents.truncate(at.map_or(usize::MAX, |at| at + 1));
                    if let Some(last) = known.contents.last_mut() {
                        last.answered.get_or_insert(now);
                    }
                }
                None if asked_again.contains(mark) => {}
                None => {
                    if known.seen && known.deleting.is_none() {
                        taken_back = Some(format!(
                            "message {mark} was read before the crash, and is not there: {known:?}"
                        ));
                    }
                    counts.lost_unanswered += u64::from(known.answered.is_none());
                    known.deleted = Some(now);
                }
            }
        }
        self.counts = counts;
        if let Some(what) = taken_back {
            self.violate(what);
        }
    }

    /// The ids of a channel's messages that a follower from `after` on must have been told: all that are there and were sent.
    pub fn to_be_told(&self, channel: i64, after: Option<MessageId>) -> Vec<MessageId> {
        let sent = self
            .marks
            .values()
            .filter(|known| known.channel == channel && known.sent && known.is_there());
        sent.filter_map(|known| known.id)
            .filter(|id| after.is_none_or(|after| *id > after))
            .collect()
    }

    /// What is known of the message of an id, for a report.
    pub fn known_as(&self, id: MessageId) -> String {
        let known = self.marks.iter().find(|(_, known)| known.id == Some(id));
        known.map_or_else(String::new, |(mark, known)| format!("message {mark}: {known:?}"))
    }

    /// How many messages of a channel there are at least and at most, read between two moments.
    pub fn bounds(&self, channel: i64, from: Moment, to: Moment) -> (u64, u64) {
        let of_channel = self.marks.values().filter(|known| known.channel == channel);
        of_channel.fold((0, 0), |(least, most), known| {
            let (must, may) = (known.must_be(from, to), !known.must_not_be(from, to));
            (least + u64::from(must), most + u64::from(may))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(value: i64) -> MessageId {
        MessageId::new(value).expect("an id")
    }

    /// Two messages of one channel, the second edited; what a walk gives is judged.
    fn judged(change: impl FnOnce(&mut Truth, [Mark; 2]), found: &[(i64, &str)]) -> Option<String> {
        let mut truth = Truth::default();
        let marks = [1, 2].map(|value| {
            let (mark, _) = truth.begins(7, 0, None, "");
            truth.answered(mark, id(value));
            mark
        });
        truth.edit_begins(marks[1], "edited");
        truth.edit_answered(marks[1]);
        change(&mut truth, marks);
        let (from, to) = (truth.tick(), truth.tick());
        let found: Vec<_> = found
            .iter()
            .map(|(value, text)| (id(*value), 0, (*text).to_owned()))
            .collect();
        truth.judge("a walk", 7, &found, from, to);
        truth.violation
    }

    #[test]
    fn what_is_wrong_is_noticed() {
        let nothing = |_: &mut Truth, _: [Mark; 2]| {};
        let both = [(1, "0 "), (2, "1 1 edited")];
        assert_eq!(judged(nothing, &both), None);
        let delete = |truth: &mut Truth, marks: [Mark; 2]| truth.delete_begins(&marks[..1]);
        assert_eq!(judged(delete, &both), None, "it may be there");
        assert_eq!(judged(delete, &both[1..]), None, "or not");
        let deleted = |truth: &mut Truth, marks: [Mark; 2]| {
            truth.delete_begins(&marks[..1]);
            truth.delete_answered(&marks[..1]);
        };
        assert_eq!(judged(deleted, &both[1..]), None);
        for (wrong, says) in [
            (judged(nothing, &both[1..]), "message 0 is not there"),
            (judged(deleted, &both), "message 0 is there"),
            (judged(nothing, &[(1, "0 "), (2, "1 ")]), "message 1 says"),
            (judged(nothing, &[(2, "1 1 edited"), (1, "0 ")]), "comes after"),
            (judged(nothing, &[(1, "0 "), (3, "1 1 edited")]), "is there as 3"),
            (
                judged(nothing, &[(1, "0 "), (2, "1 1 edited"), (9, "5 ")]),
                "nobody sent",
            ),
        ] {
            let wrong = wrong.expect("noticed");
            assert!(wrong.contains(says), "{wrong:?} does not say {says:?}");
        }
    }

    #[test]
    fn a_crash_takes_back_only_what_nobody_has_seen() {
        let settled = |seen: bool, found: &[(MessageId, i64, String)]| {
            let mut truth = Truth::default();
            let (_, text) = truth.begins(7, 0, None, "");
            let there = [(id(1), 0, text)];
            if seen {
                let (from, to) = (truth.tick(), truth.tick());
                truth.judge("a walk", 7, &there, from, to);
            }
            truth.settle(7, found, &[]);
            truth.violation
        };
        assert_eq!(settled(false, &[]), None);
        let lost = settled(true, &[]).expect("noticed");
        assert!(lost.contains("was read before the crash"), "{lost}");
        assert_eq!(settled(true, &[(id(1), 0, "0 ".to_owned())]), None);
    }
}
