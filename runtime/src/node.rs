//! What all shards of a node and its handles share.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use crate::context::ShardId;
use crate::handle::{Inbox, Stopped};

/// The shards' inboxes, and the two facts that every shard must learn of.
pub(crate) struct Node {
    inboxes: Arc<[Arc<Inbox>]>,
    /// The node is being stopped.
    pub(crate) stopping: AtomicBool,
    /// How many shards have panicked.
    pub(crate) deaths: AtomicUsize,
}

impl Node {
    pub(crate) fn new(inboxes: Arc<[Arc<Inbox>]>) -> Self {
        Self {
            inboxes,
            stopping: AtomicBool::new(false),
            deaths: AtomicUsize::new(0),
        }
    }

    pub(crate) fn shards(&self) -> usize {
        self.inboxes.len()
    }

    pub(crate) fn inboxes(&self) -> &Arc<[Arc<Inbox>]> {
        &self.inboxes
    }

    pub(crate) fn inbox(&self, shard: ShardId) -> &Arc<Inbox> {
        &self.inboxes[usize::from(shard.0)]
    }

    /// Wakes every shard, whatever it waits for.
    pub(crate) fn nudge_all(&self) {
        for inbox in self.inboxes.iter() {
            inbox.nudge();
        }
    }

    /// Tells all shards to end.
    pub(crate) fn stop(&self) {
        self.stopping.store(true, Ordering::Release);
        self.nudge_all();
    }

    /// A shard has panicked: calls to it end, the other shards learn of it. Once is enough.
    pub(crate) fn poison(&self, shard: ShardId) {
        if self.inbox(shard).close(Stopped::Panicked(shard)) {
            self.deaths.fetch_add(1, Ordering::AcqRel);
            self.nudge_all();
        }
    }
}
