//! What a channel must hold, and what it may hold of what was in flight at a kill.

use std::collections::BTreeMap;

use messages::MessageId;

use super::wire::{Ask, Said};

/// One channel.
pub(super) struct Channel {
    pub name: String,
    window_ms: u64,
    messages: BTreeMap<i64, Said>,
    /// Every message that was ever there: for whoever looks for one to change.
    pub ids: Vec<i64>,
    /// How many messages of each bucket are still to be imported.
    pending: BTreeMap<u64, usize>,
}

/// What an operation makes of the messages that it touches: `None` is gone.
struct Touched {
    messages: BTreeMap<i64, Option<Said>>,
    /// What was sent, whose id only the store knows.
    sent: Option<Said>,
}

impl Channel {
    pub(super) fn new(name: String, window_hours: u32) -> Self {
        Self {
            name,
            window_ms: u64::from(window_hours) * 3_600_000,
            messages: BTreeMap::new(),
            ids: Vec::new(),
            pending: BTreeMap::new(),
        }
    }

    fn bucket_of(&self, id: i64) -> u64 {
        let id = MessageId::new(id).expect("the store gave it, or we made it");
        id.time_ms() / self.window_ms
    }

    /// This message will be imported.
    pub(super) fn will_have(&mut self, id: i64) {
        *self.pending.entry(self.bucket_of(id)).or_default() += 1;
    }

    /// Whether nothing more is imported: deletions of all of it hide what is imported after them.
    pub(super) fn is_complete(&self) -> bool {
        self.pending.is_empty()
    }

    /// The same of the bucket of this message.
    pub(super) fn is_bucket_complete(&self, id: i64) -> bool {
        !self.pending.contains_key(&self.bucket_of(id))
    }

    pub(super) fn has(&self, id: i64) -> bool {
        self.messages.contains_key(&id)
    }

    fn touched(&self, ask: &Ask) -> Touched {
        let mut touched = Touched {
            messages: BTreeMap::new(),
            sent: None,
        };
        let mut gone = |which: &dyn Fn(i64) -> bool| {
            let ids = self.messages.keys().filter(|id| which(**id));
            touched.messages.extend(ids.map(|id| (*id, None)));
        };
        match ask {
            Ask::Delete { id, .. } => gone(&|other| other == *id),
            Ask::DeleteBucket { id, .. } => gone(&|other| self.bucket_of(other) == self.bucket_of(*id)),
            Ask::DeleteChannel { .. } => gone(&|_| true),
            Ask::Import { lines } => touched.messages.extend(lines.iter().map(|(id, line)| {
                let said = Said {
                    author: line.author.clone(),
                    content: line.content.clone(),
                };
                (*id, Some(said))
            })),
            Ask::Edit { id, content, .. } => {
                let edited = self.messages.get(id).map(|said| Said {
                    content: content.clone(),
                    ..said.clone()
                });
                touched.messages.insert(*id, edited);
            }
            Ask::Send { author, content, .. } => {
                touched.sent = Some(Said {
                    author: author.clone(),
                    content: content.clone(),
                });
            }
            Ask::Read { .. } | Ask::Compact => {}
        }
        touched
    }

    /// The operation was acknowledged, a message sent with its id.
    pub(super) fn acknowledged(&mut self, ask: &Ask, sent: Option<i64>) {
        let touched = self.touched(ask);
        for (id, said) in touched.messages {
            self.set(id, said);
        }
        if let Some((id, said)) = sent.zip(touched.sent) {
            self.set(id, Some(said));
        }
        if let Ask::Import { lines } = ask {
            lines.iter().for_each(|(id, _)| self.arrived(*id));
        }
    }

    fn set(&mut self, id: i64, said: Option<Said>) {
        match said {
            Some(said) => {
                if self.messages.insert(id, said).is_none() {
                    self.ids.push(id);
                }
            }
            None => drop(self.messages.remove(&id)),
        }
    }

    fn arrived(&mut self, id: i64) {
        let bucket = self.bucket_of(id);
        let left = self.pending.get_mut(&bucket).expect("it was to be imported");
        *left -= 1;
        if *left == 0 {
            self.pending.remove(&bucket);
        }
    }

    /// Compares the channel with its history, newest first. What was in flight when the child was killed may be there in part;
    /// from now on it is as it was found. Gives the lines of it that are not there.
    ///
    /// # Errors
    /// The first difference.
    pub(super) fn judge(&mut self, found: Vec<(i64, Said)>, in_flight: Option<&Ask>) -> Result<Vec<i64>, String> {
        let mut touched = in_flight.map(|ask| self.touched(ask));
        let is_late = |pair: &&[(i64, Said)]| pair[0].0 <= pair[1].0;
        if let Some(pair) = found.windows(2).find(is_late) {
            return Err(self.difference(pair[1].0, &format!("it after {}", pair[0].0), "it before that"));
        }
        let found: BTreeMap<i64, Said> = found.into_iter().collect();
        for (id, said) in &found {
            let expected = self.messages.get(id);
            let perhaps = touched.as_mut().is_some_and(|touched| {
                touched.messages.get(id).and_then(Option::as_ref) == Some(said)
                    || (expected.is_none() && touched.sent.take_if(|sent| sent == said).is_some())
            });
            if expected != Some(said) && !perhaps {
                let expected = expected.map_or_else(|| "nothing".to_owned(), |said| format!("{said:?}"));
                return Err(self.difference(*id, &expected, &format!("{said:?}")));
            }
        }
        let perhaps_gone = |id| {
            let touched = touched.as_ref();
            touched.is_some_and(|touched| touched.messages.get(id) == Some(&None))
        };
        if let Some((id, said)) = (self.messages.iter()).find(|(id, _)| !found.contains_key(id) && !perhaps_gone(id)) {
            return Err(self.difference(*id, &format!("{said:?}"), "nothing"));
        }
        let mut absent = Vec::new();
        if let Some(Ask::Import { lines }) = in_flight {
            for (id, _) in lines {
                match found.contains_key(id) {
                    true => self.arrived(*id),
                    false => absent.push(*id),
                }
            }
        }
        let new = found.keys().filter(|id| !self.messages.contains_key(id));
        self.ids.extend(new);
        self.messages = found;
        Ok(absent)
    }

    fn difference(&self, id: i64, expected: &str, found: &str) -> String {
        format!(
            "channel {:?}, message {id}: expected {expected}, found {found}",
            self.name
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kill9::chat::Line;

    fn said(content: &str) -> Said {
        Said {
            author: "ada".to_owned(),
            content: content.to_owned(),
        }
    }

    fn import(ids: &[i64]) -> Ask {
        let line = |content: String| Line {
            ts_ms: 0,
            channel: "#a".to_owned(),
            author: "ada".to_owned(),
            content,
        };
        Ask::Import {
            lines: ids.iter().map(|id| (*id, line(id.to_string()))).collect(),
        }
    }

    /// Messages 1 to 3, of which nothing is in doubt.
    fn channel() -> Channel {
        let mut channel = Channel::new("#a".to_owned(), 1);
        (1..=5).for_each(|id| channel.will_have(id));
        channel.acknowledged(&import(&[1, 2, 3]), None);
        channel
    }

    fn history(messages: &[(i64, &str)]) -> Vec<(i64, Said)> {
        messages.iter().map(|(id, content)| (*id, said(content))).collect()
    }

    #[test]
    fn whatever_differs_is_found() {
        for (found, says) in [
            (vec![(3, "3"), (1, "1")], "message 2: expected Said"),
            (vec![(3, "3"), (2, "x"), (1, "1")], "message 2: expected Said"),
            (
                vec![(4, "4"), (3, "3"), (2, "2"), (1, "1")],
                "message 4: expected nothing",
            ),
            (
                vec![(3, "3"), (2, "2"), (2, "2"), (1, "1")],
                "message 2: expected it after 2",
            ),
            (vec![(2, "2"), (3, "3"), (1, "1")], "message 3: expected it after 2"),
        ] {
            let error = channel().judge(history(&found), None).unwrap_err();
            assert!(error.contains(says), "{found:?}: {error}");
        }
        assert_eq!(
            channel().judge(history(&[(3, "3"), (2, "2"), (1, "1")]), None),
            Ok(vec![])
        );
    }

    #[test]
    fn what_was_in_flight_may_be_there_and_stays_as_it_was_found() {
        let all = [(3, "3"), (2, "2"), (1, "1")];
        let mut imported = channel();
        let found = [&[(5, "5")][..], &all].concat();
        assert_eq!(imported.judge(history(&found), Some(&import(&[4, 5]))), Ok(vec![4]));
        assert!(imported.judge(history(&all), None).is_err());
        assert!(!imported.is_complete());

        let delete = Ask::Delete {
            channel: "#a".to_owned(),
            id: 2,
        };
        let mut deleted = channel();
        let found = [(3, "3"), (1, "1")];
        assert_eq!(deleted.judge(history(&found), Some(&delete)), Ok(vec![]));
        assert!(deleted.judge(history(&all), None).is_err());
        assert!(channel().judge(history(&all[1..]), Some(&delete)).is_err());

        let send = Ask::Send {
            channel: "#a".to_owned(),
            author: "ada".to_owned(),
            nonce: "n".to_owned(),
            content: "new".to_owned(),
        };
        let once = [&[(9, "new")][..], &all].concat();
        let twice = [&[(10, "new")][..], &once].concat();
        assert_eq!(channel().judge(history(&once), Some(&send)), Ok(vec![]));
        assert!(channel().judge(history(&twice), Some(&send)).is_err());
    }
}
