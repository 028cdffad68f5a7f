//! What the parent asks of the child, and what that tells: each a line of JSON.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::kill9::chat::Line;

/// Something to be done by one of the child's clients, each of which does one thing after the other.
#[derive(Serialize, Deserialize, Debug)]
pub(super) struct Order {
    pub client: usize,
    pub ask: Ask,
}

/// What is asked. Channels and authors have names, messages their ids.
#[derive(Clone, Serialize, Deserialize, Debug)]
pub(super) enum Ask {
    /// Lines with their ids, all of one channel.
    Import {
        lines: Vec<(i64, Line)>,
    },
    Send {
        channel: String,
        author: String,
        nonce: String,
        content: String,
    },
    Edit {
        channel: String,
        id: i64,
        content: String,
    },
    Delete {
        channel: String,
        id: i64,
    },
    /// All in the bucket of this message.
    DeleteBucket {
        channel: String,
        id: i64,
    },
    DeleteChannel {
        channel: String,
    },
    /// The whole history, told in [`Told::Page`]s.
    Read {
        channel: String,
    },
    /// Everything that there is.
    Compact,
}

impl Ask {
    /// The channel that it is about.
    pub(super) fn channel(&self) -> Option<&str> {
        match self {
            Ask::Compact => None,
            Ask::Import { lines } => lines.first().map(|(_, line)| &*line.channel),
            Ask::Send { channel, .. }
            | Ask::Edit { channel, .. }
            | Ask::Delete { channel, .. }
            | Ask::DeleteBucket { channel, .. }
            | Ask::DeleteChannel { channel }
            | Ask::Read { channel } => Some(channel),
        }
    }
}

/// A message as it is read, and as it must be.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize, Debug)]
pub(super) struct Said {
    pub author: String,
    pub content: String,
}

/// What the child tells.
#[derive(Serialize, Deserialize, Debug)]
pub(super) enum Told {
    /// The store is open.
    Ready,
    /// What the client was asked last is done; a message that was sent has this id.
    Done { client: usize, id: Option<i64> },
    /// A part of a history, newest first.
    Page { client: usize, messages: Vec<(i64, Said)> },
    /// What the client was asked last failed.
    Failed { client: usize, why: String },
    /// What was compacted since the store was opened.
    Compacted(Compacted),
}

/// Compactions of the table of messages.
#[derive(Clone, Default, Serialize, Deserialize, Debug)]
pub(super) struct Compacted {
    /// Those that have ended, by their kind.
    pub kinds: BTreeMap<String, u64>,
    /// Rows and deletions of which they purged something.
    pub purged: u64,
    /// Whether one runs on any shard.
    pub runs: bool,
}

impl Compacted {
    pub(super) fn add(&mut self, other: &Compacted) {
        for (kind, count) in &other.kinds {
            *self.kinds.entry(kind.clone()).or_default() += count;
        }
        self.purged += other.purged;
    }

    pub(super) fn count(&self) -> u64 {
        self.kinds.values().sum()
    }
}
