//! What one client of the load does: drawn from a seed, so that whoever knows the seed and the acknowledgements knows
//! everything.

use messages::MessageId;
use rand::{Rng, SeedableRng, rngs::SmallRng};

/// Channels of the demo's load. The first have most of the traffic.
pub const CHANNELS: u32 = 64;
/// Own messages that a client still edits and deletes: its latest.
const REMEMBERED: usize = 512;

const WORDS: [&str; 16] = [
    "the",
    "shard",
    "and",
    "a",
    "message",
    "is",
    "that",
    "history",
    "we",
    "scroll",
    "lol",
    "ok",
    "why",
    "disk",
    "again",
    "\u{1f642}",
];

/// One operation.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Op {
    /// Send the content of this number.
    Send {
        /// Its number.
        channel: u32,
        /// Its number.
        content: u64,
    },
    /// Replace a message's content by that of this number.
    Edit {
        /// Its number.
        channel: u32,
        /// The message.
        id: MessageId,
        /// Its number.
        content: u64,
    },
    /// Delete a message.
    Delete {
        /// Its number.
        channel: u32,
        /// The message.
        id: MessageId,
    },
    /// Read a page.
    Scroll {
        /// Its number.
        channel: u32,
        /// From the first message instead of the last.
        oldest_first: bool,
        /// Messages asked for.
        limit: u32,
    },
}

/// A client between two operations.
pub struct Client {
    number: u32,
    channels: u32,
    random: SmallRng,
    /// Its latest messages that are not deleted: channel and id.
    mine: Vec<(u32, MessageId)>,
    contents: u64,
}

impl Client {
    /// The client of this number, in the worker's run `start`, on so many channels.
    pub fn new(seed: u64, start: u32, number: u32, channels: u32) -> Client {
        let own = (u64::from(start) << 32) | u64::from(number);
        let random = SmallRng::seed_from_u64(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) ^ own);
        Client {
            number,
            channels,
            random,
            mine: Vec::new(),
            contents: u64::from(start) << 40,
        }
    }

    /// The next operation. Follow it with [`done`](Self::done) before asking for another.
    #[expect(
        clippy::should_implement_trait,
        reason = "it never ends, and waits for `done` in between"
    )]
    pub fn next(&mut self) -> Op {
        let dice = self.random.random_range(0..100);
        let own = (!self.mine.is_empty()).then(|| self.mine[self.random.random_range(0..self.mine.len())]);
        let content = self.contents + 1;
        match (dice, own) {
            (80..88, Some((channel, id))) => Op::Edit { channel, id, content },
            (88..93, Some((channel, id))) => Op::Delete { channel, id },
            (93..100, _) => {
                let (oldest_first, limit) = (self.random.random_range(0..4) == 0, self.random.random_range(1..=50));
                Op::Scroll {
                    channel: self.channel(),
                    oldest_first,
                    limit,
                }
            }
            _ => Op::Send {
                channel: self.channel(),
                content,
            },
        }
    }

    /// A few channels have most of the traffic.
    fn channel(&mut self) -> u32 {
        let unit: f64 = self.random.random();
        (unit.powi(4) * f64::from(self.channels)) as u32
    }

    /// The operation was acknowledged; a send with its id.
    pub fn done(&mut self, op: Op, id: Option<MessageId>) {
        match op {
            Op::Send { channel, content } => {
                self.contents = content;
                if self.mine.len() == REMEMBERED {
                    self.mine.remove(0);
                }
                self.mine.extend(id.map(|id| (channel, id)));
            }
            Op::Edit { content, .. } => self.contents = content,
            Op::Delete { channel, id } => self.mine.retain(|own| *own != (channel, id)),
            Op::Scroll { .. } => {}
        }
    }

    /// The text of a content's number.
    pub fn content(&self, content: u64) -> String {
        content_of(self.number, content)
    }
}

/// The text of a client's content of this number: all differ, most are short, a few are long.
pub fn content_of(client: u32, content: u64) -> String {
    let mut random = SmallRng::seed_from_u64(content.wrapping_mul(0x9E37_79B9_7F4A_7C15) ^ u64::from(client));
    let mut text = format!("{client}/{content}");
    let words = if random.random_range(0..200) == 0 {
        2000
    } else {
        random.random_range(0..24)
    };
    for _ in 0..words {
        text.push(' ');
        text.push_str(WORDS[random.random_range(0..WORDS.len())]);
    }
    text
}

/// The name of a channel of the load.
pub fn channel_name(channel: u32) -> String {
    format!("#demo-{channel}")
}

/// The name of a client.
pub fn author_name(client: u32) -> String {
    format!("client-{client}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_seed_and_acknowledgements_give_the_same_operations() {
        let (mut one, mut two) = (Client::new(7, 1, 3, CHANNELS), Client::new(7, 1, 3, CHANNELS));
        let mut kinds = [0; 4];
        for n in 1..20_000 {
            let op = one.next();
            assert_eq!(op, two.next());
            kinds[match op {
                Op::Send { .. } => 0,
                Op::Edit { .. } => 1,
                Op::Delete { .. } => 2,
                Op::Scroll { .. } => 3,
            }] += 1;
            let id = matches!(op, Op::Send { .. }).then(|| MessageId::new(n).unwrap());
            one.done(op, id);
            two.done(op, id);
        }
        assert!(kinds.iter().all(|kind| *kind > 500), "{kinds:?}");
        assert_ne!(
            Client::new(7, 1, 3, CHANNELS).next(),
            Client::new(7, 2, 4, CHANNELS).next()
        );
        assert_eq!(content_of(3, 9), content_of(3, 9));
        assert_ne!(content_of(3, 9), content_of(4, 9));
    }
}
