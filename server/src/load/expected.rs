//! What must be in the store, as far as the acknowledgements tell.

use super::{
    client::{Client, Op, content_of},
    line::Told,
};
use messages::MessageId;
use std::{
    cmp::Ordering,
    collections::{BTreeMap, BTreeSet},
};

/// What is known of one message.
#[derive(Clone, Copy, Debug)]
struct Known {
    client: u32,
    content: u64,
    deleted: bool,
    /// An operation under way when the worker was killed.
    perhaps: Option<Perhaps>,
}

#[derive(Clone, Copy, Debug)]
enum Perhaps {
    Edited(u64),
    Deleted,
}

/// A send under way when the worker was killed: no one knows its id.
#[derive(Clone, Copy, Debug)]
struct Unknown {
    channel: u32,
    client: u32,
    content: u64,
}

/// All that was acknowledged.
#[derive(Default)]
pub struct Expected {
    messages: BTreeMap<(u32, MessageId), Known>,
    unknown: Vec<Unknown>,
    /// Client and content of every message that there is or was.
    sent: BTreeSet<(u32, u64)>,
    /// The same of sends that a check has not found after a kill: they never happened, and must not turn up later.
    never: BTreeSet<(u32, u64)>,
    /// Acknowledged sends, edits and deletes.
    pub acknowledged: u64,
}

/// What a check has found.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct Verdict {
    /// Acknowledged messages that are not there, or without an acknowledged edit.
    pub missing: u64,
    /// Messages that are there twice.
    pub duplicated: u64,
    /// Messages that are there although they were deleted, or although an earlier check has found them lost.
    pub revived: u64,
    /// Messages that nobody sent, or out of order.
    pub unexpected: u64,
}

impl Verdict {
    /// Whether nothing is wrong.
    #[must_use]
    pub fn is_clean(&self) -> bool {
        *self == Verdict::default()
    }
}

impl std::ops::AddAssign for Verdict {
    fn add_assign(&mut self, other: Verdict) {
        self.missing += other.missing;
        self.duplicated += other.duplicated;
        self.revived += other.revived;
        self.unexpected += other.unexpected;
    }
}

/// The clients of one run of the worker, as its recorder follows them.
pub struct Run {
    clients: Vec<(Client, Option<Op>)>,
}

impl Run {
    /// The clients of the worker's run `start`, on so many channels.
    pub fn new(seed: u64, start: u32, clients: u32, channels: u32) -> Run {
        Run {
            clients: (0..clients)
                .map(|number| (Client::new(seed, start, number, channels), None))
                .collect(),
        }
    }

    /// Takes a line of the worker, and gives the operation that it acknowledges; none if the worker is ready.
    ///
    /// # Errors
    /// One sentence: the line makes no sense.
    pub fn hear(&mut self, expected: &mut Expected, line: &str) -> Result<Option<Op>, String> {
        let told: Told = line.parse()?;
        let Told::Done { client, id, .. } = told else {
            return Ok(None);
        };
        let op = self.acknowledge(expected, client, id);
        op.filter(|op| Told::done(client, *op, id) == told)
            .map(Some)
            .ok_or_else(|| format!("the worker said {line:?}, which is not what its client does next"))
    }

    fn acknowledge(&mut self, expected: &mut Expected, number: u32, id: Option<MessageId>) -> Option<Op> {
        let (client, pending) = self.clients.get_mut(number as usize)?;
        let op = pending.take().unwrap_or_else(|| client.next());
        match op {
            Op::Send { channel, content } => {
                let known = Known {
                    client: number,
                    content,
                    deleted: false,
                    perhaps: None,
                };
                if expected.messages.insert((channel, id?), known).is_some() {
                    return None;
                }
                expected.sent.insert((number, content));
            }
            Op::Edit { channel, id, content } => expected.messages.get_mut(&(channel, id))?.content = content,
            Op::Delete { channel, id } => expected.messages.get_mut(&(channel, id))?.deleted = true,
            Op::Scroll { .. } => {}
        }
        client.done(op, id);
        expected.acknowledged += u64::from(!matches!(op, Op::Scroll { .. }));
        Some(op)
    }

    /// The worker was killed: each client's next operation may have happened.
    pub fn killed(mut self, expected: &mut Expected) {
        for (number, (client, pending)) in (0..).zip(&mut self.clients) {
            match pending.take().unwrap_or_else(|| client.next()) {
                Op::Send { channel, content } => expected.unknown.push(Unknown {
                    channel,
                    client: number,
                    content,
                }),
                Op::Edit { channel, id, content } => expected.perhaps(channel, id, Perhaps::Edited(content)),
                Op::Delete { channel, id } => expected.perhaps(channel, id, Perhaps::Deleted),
                Op::Scroll { .. } => {}
            }
        }
    }
}

impl Expected {
    fn perhaps(&mut self, channel: u32, id: MessageId, perhaps: Perhaps) {
        let known = self
            .messages
            .get_mut(&(channel, id))
            .expect("a client changes its own messages");
        known.perhaps = Some(perhaps);
    }

    /// Compares all of one channel's messages, newest first, with what must be there.
    ///
    /// What was under way is settled by it: an operation that has happened must show from now on, one that has not must
    /// never.
    pub fn check(&mut self, channel: u32, found: &[(MessageId, String)]) -> Verdict {
        let mut verdict = Verdict::default();
        for pair in found.windows(2) {
            match pair[0].0.cmp(&pair[1].0) {
                Ordering::Greater => {}
                Ordering::Equal => verdict.duplicated += 1,
                Ordering::Less => verdict.unexpected += 1,
            }
        }
        let found: BTreeMap<MessageId, &str> = found.iter().map(|(id, content)| (*id, content.as_str())).collect();
        for (id, content) in &found {
            match self.messages.get_mut(&(channel, *id)) {
                Some(known) if known.deleted => verdict.revived += 1,
                Some(known) => {
                    match known.perhaps.take() {
                        Some(Perhaps::Edited(to)) if content_of(known.client, to) == *content => known.content = to,
                        _ => {}
                    }
                    verdict.missing += u64::from(content_of(known.client, known.content) != *content);
                }
                None => self.judge_unknown(channel, *id, content, &mut verdict),
            }
        }
        let of_channel = (channel, MessageId::MIN)..=(channel, MessageId::MAX);
        for ((_, id), known) in self.messages.range_mut(of_channel) {
            if known.deleted || found.contains_key(id) {
                continue;
            }
            match known.perhaps.take() {
                Some(Perhaps::Deleted) => known.deleted = true,
                _ => verdict.missing += 1,
            }
        }
        let never = &mut self.never;
        self.unknown.retain(|unknown| {
            if unknown.channel == channel {
                never.insert((unknown.client, unknown.content));
            }
            unknown.channel != channel
        });
        verdict
    }

    /// A message with an id that nobody was told.
    fn judge_unknown(&mut self, channel: u32, id: MessageId, content: &str, verdict: &mut Verdict) {
        let fits = |u: &Unknown| u.channel == channel && content_of(u.client, u.content) == content;
        if let Some(place) = self.unknown.iter().position(fits) {
            let Unknown { client, content, .. } = self.unknown.swap_remove(place);
            self.sent.insert((client, content));
            let known = Known {
                client,
                content,
                deleted: false,
                perhaps: None,
            };
            self.messages.insert((channel, id), known);
            return;
        }
        let one_of = |those: &BTreeSet<(u32, u64)>| {
            numbers_of(content)
                .is_some_and(|(client, no)| those.contains(&(client, no)) && content_of(client, no) == content)
        };
        if one_of(&self.never) {
            verdict.revived += 1;
        } else if one_of(&self.sent) {
            verdict.duplicated += 1;
        } else {
            verdict.unexpected += 1;
        }
    }
}

/// Client and content, as every content begins with them.
fn numbers_of(content: &str) -> Option<(u32, u64)> {
    let (client, no) = content.split(' ').next()?.split_once('/')?;
    Some((client.parse().ok()?, no.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::super::client::CHANNELS;
    use super::*;

    /// What a run leaves in the store if everything acknowledged is there, and nothing else.
    fn run(expected: &mut Expected) -> BTreeMap<(u32, MessageId), String> {
        let mut run = Run::new(1, 0, 4, CHANNELS);
        let mut store = BTreeMap::new();
        for n in 1..4000 {
            let number = n as u32 % 4;
            let id = MessageId::new(n).unwrap();
            match run.acknowledge(expected, number, Some(id)).unwrap() {
                Op::Send { channel, content } => drop(store.insert((channel, id), content_of(number, content))),
                Op::Edit { channel, id, content } => drop(store.insert((channel, id), content_of(number, content))),
                Op::Delete { channel, id } => drop(store.remove(&(channel, id)).unwrap()),
                Op::Scroll { .. } => {}
            }
        }
        run.killed(expected);
        store
    }

    fn check(expected: &mut Expected, store: &BTreeMap<(u32, MessageId), String>) -> Verdict {
        let mut sum = Verdict::default();
        for channel in 0..CHANNELS {
            let of_channel = store.iter().rev().filter(|((of, _), _)| *of == channel);
            let found: Vec<_> = of_channel.map(|((_, id), content)| (*id, content.clone())).collect();
            sum += expected.check(channel, &found);
        }
        sum
    }

    #[test]
    fn finds_what_is_missing_revived_and_made_up() {
        let mut expected = Expected::default();
        let store = run(&mut expected);
        assert!(expected.acknowledged > 3000);
        assert_eq!(check(&mut expected, &store), Verdict::default());

        let settled = |expected: &Expected, deleted: bool| {
            let mut known = expected
                .messages
                .iter()
                .filter(|(_, known)| known.deleted == deleted && known.perhaps.is_none());
            known.next().map(|(key, known)| (*key, *known)).unwrap()
        };
        let (alive, known) = settled(&expected, false);
        let mut less = store.clone();
        less.remove(&alive);
        assert_eq!(
            check(&mut expected, &less),
            Verdict {
                missing: 1,
                ..Verdict::default()
            }
        );
        let mut older = store.clone();
        older.insert(alive, content_of(known.client, known.content - 1));
        assert_eq!(
            check(&mut expected, &older),
            Verdict {
                missing: 1,
                ..Verdict::default()
            }
        );
        let (dead, known) = settled(&expected, true);
        let mut more = store.clone();
        more.insert(dead, content_of(known.client, known.content));
        assert_eq!(
            check(&mut expected, &more),
            Verdict {
                revived: 1,
                ..Verdict::default()
            }
        );
        let mut made_up = store.clone();
        made_up.insert((0, MessageId::MAX), "x".to_owned());
        assert_eq!(
            check(&mut expected, &made_up),
            Verdict {
                unexpected: 1,
                ..Verdict::default()
            }
        );
    }

    #[test]
    fn finds_what_is_there_twice() {
        let mut expected = Expected::default();
        let store = run(&mut expected);
        let duplicated = Verdict {
            duplicated: 1,
            ..Verdict::default()
        };
        // The same text under another id, in its own channel and in another.
        let (key, content) = store
            .iter()
            .next()
            .map(|(key, content)| (*key, content.clone()))
            .unwrap();
        for channel in [key.0, CHANNELS - 1] {
            let mut more = store.clone();
            more.insert((channel, MessageId::new(1 << 41).unwrap()), content.clone());
            assert_eq!(check(&mut expected, &more), duplicated);
        }
        // The same id twice, and two messages in the wrong order.
        let of_channel = store.iter().rev().filter(|((of, _), _)| *of == key.0);
        let mut found: Vec<_> = of_channel.map(|((_, id), content)| (*id, content.clone())).collect();
        assert!(expected.check(key.0, &found).is_clean());
        found.insert(3, found[3].clone());
        assert_eq!(expected.check(key.0, &found), duplicated);
        found.remove(3);
        found.swap(3, 4);
        assert_eq!(expected.check(key.0, &found).unexpected, 1);
    }

    #[test]
    fn what_was_under_way_may_have_happened_once() {
        let mut expected = Expected::default();
        let mut store = run(&mut expected);
        let under_way = Unknown {
            channel: 5,
            client: 1,
            content: 77 << 20,
        };
        expected.unknown.push(under_way);
        let id = |n| MessageId::new(n).unwrap();
        store.insert((5, id(1 << 40)), content_of(1, 77 << 20));
        assert_eq!(check(&mut expected, &store), Verdict::default());
        // It has happened: from now on it must be there, and once.
        assert_eq!(check(&mut expected, &store), Verdict::default());
        let mut twice = store.clone();
        twice.insert((5, id(1 << 41)), content_of(1, 77 << 20));
        assert_eq!(check(&mut expected, &twice).duplicated, 1);
        store.remove(&(5, id(1 << 40)));
        assert_eq!(check(&mut expected, &store).missing, 1);
    }

    #[test]
    fn what_was_found_lost_must_not_come_back() {
        let mut expected = Expected::default();
        let mut store = run(&mut expected);
        expected.unknown.push(Unknown {
            channel: 5,
            client: 1,
            content: 77 << 20,
        });
        let (edited, known) = expected
            .messages
            .iter()
            .find(|(_, known)| !known.deleted && known.perhaps.is_none())
            .map(|(key, known)| (*key, *known))
            .unwrap();
        expected.perhaps(edited.0, edited.1, Perhaps::Edited(1 << 30));
        assert_eq!(check(&mut expected, &store), Verdict::default());
        store.insert((5, MessageId::new(1 << 40).unwrap()), content_of(1, 77 << 20));
        assert_eq!(check(&mut expected, &store).revived, 1);
        store.remove(&(5, MessageId::new(1 << 40).unwrap()));
        store.insert(edited, content_of(known.client, 1 << 30));
        assert_eq!(check(&mut expected, &store).missing, 1);
    }

    #[test]
    fn a_line_that_is_not_of_the_next_operation_is_refused() {
        let first = |seed| Client::new(seed, 0, 0, CHANNELS).next();
        let begins_with = |fits: fn(&Op) -> bool| (1..1000).find(|seed| fits(&first(*seed))).unwrap();
        let send = begins_with(|op| matches!(op, Op::Send { .. }));
        let scroll = begins_with(|op| matches!(op, Op::Scroll { .. }));
        let hear = |seed, line: &str| {
            let (mut run, mut expected) = (Run::new(seed, 0, 1, CHANNELS), Expected::default());
            assert_eq!(run.hear(&mut expected, "ready"), Ok(None));
            run.hear(&mut expected, line).map(|op| (op, expected.acknowledged))
        };
        assert_eq!(hear(send, "s 0 7"), Ok((Some(first(send)), 1)));
        assert_eq!(hear(scroll, "p 0"), Ok((Some(first(scroll)), 0)));
        for (seed, line) in [
            (send, "c 0"),
            (send, "p 0"),
            (scroll, "c 0"),
            (scroll, "s 0 7"),
            (send, "s 1 7"),
        ] {
            assert!(hear(seed, line).is_err(), "{line}");
        }
        assert!(hear(send, "nonsense").is_err());
    }
}
