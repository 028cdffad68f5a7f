//! What must be in the store, as far as the acknowledgements tell.

use super::client::{Client, Op, content_of};
use messages::MessageId;
use std::collections::BTreeMap;

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
    /// Acknowledged sends, edits and deletes.
    pub acknowledged: u64,
}

/// What a check has found.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct Verdict {
    /// Acknowledged messages that are not there, or without an acknowledged edit.
    pub missing: u64,
    /// Deleted messages that are there.
    pub revived: u64,
    /// Messages that nobody sent, or twice, or out of order.
    pub unexpected: u64,
}

/// The clients of one run of the worker, as the parent follows them.
pub struct Run {
    clients: Vec<(Client, Option<Op>)>,
}

impl Run {
    /// The clients of the worker's run `start`.
    pub fn new(seed: u64, start: u32, clients: u32) -> Run {
        Run {
            clients: (0..clients)
                .map(|number| (Client::new(seed, start, number), None))
                .collect(),
        }
    }

    /// Takes an acknowledgement, and gives the operation; none if it makes no sense.
    pub fn acknowledge(&mut self, expected: &mut Expected, number: u32, id: Option<MessageId>) -> Option<Op> {
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

    /// Compares one channel's messages, newest first, with what must be there.
    pub fn check(&mut self, channel: u32, found: &[(MessageId, String)]) -> Verdict {
        let mut verdict = Verdict::default();
        verdict.unexpected += found.windows(2).filter(|pair| pair[0].0 <= pair[1].0).count() as u64;
        let found: BTreeMap<MessageId, &str> = found.iter().map(|(id, content)| (*id, content.as_str())).collect();
        for (id, content) in &found {
            match self.messages.get(&(channel, *id)) {
                Some(known) if known.deleted => verdict.revived += 1,
                Some(known) => {
                    let edited = match known.perhaps {
                        Some(Perhaps::Edited(to)) => Some(to),
                        _ => None,
                    };
                    let right = std::iter::once(known.content)
                        .chain(edited)
                        .any(|no| content_of(known.client, no) == *content);
                    verdict.missing += u64::from(!right);
                }
                None => {
                    let fits = |u: &Unknown| u.channel == channel && content_of(u.client, u.content) == *content;
                    match self.unknown.iter().position(fits) {
                        Some(place) => drop(self.unknown.swap_remove(place)),
                        None => verdict.unexpected += 1,
                    }
                }
            }
        }
        let of_channel = self
            .messages
            .range((channel, MessageId::MIN)..=(channel, MessageId::MAX));
        let must = of_channel.filter(|(_, known)| !known.deleted && !matches!(known.perhaps, Some(Perhaps::Deleted)));
        verdict.missing += must.filter(|((_, id), _)| !found.contains_key(id)).count() as u64;
        verdict
    }
}

#[cfg(test)]
mod tests {
    use super::super::client::CHANNELS;
    use super::*;

    /// What a run leaves in the store if everything acknowledged is there, and nothing else.
    fn run(expected: &mut Expected) -> BTreeMap<(u32, MessageId), String> {
        let mut run = Run::new(1, 0, 4);
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
        (0..CHANNELS).fold(Verdict::default(), |sum, channel| {
            let of_channel = store.iter().rev().filter(|((of, _), _)| *of == channel);
            let found: Vec<_> = of_channel.map(|((_, id), content)| (*id, content.clone())).collect();
            let of = expected.check(channel, &found);
            Verdict {
                missing: sum.missing + of.missing,
                revived: sum.revived + of.revived,
                unexpected: sum.unexpected + of.unexpected,
            }
        })
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
    fn what_was_under_way_may_have_happened_once() {
        let mut expected = Expected::default();
        let mut store = run(&mut expected);
        expected.unknown.push(Unknown {
            channel: 5,
            client: 1,
            content: 77,
        });
        store.insert((5, MessageId::new(1 << 40).unwrap()), content_of(1, 77));
        assert_eq!(check(&mut expected, &store), Verdict::default());
        assert_eq!(
            check(&mut expected, &store),
            Verdict {
                unexpected: 1,
                ..Verdict::default()
            }
        );
    }
}
