//! Space that is kept back on the disk, for flushes and for whoever makes room: with less than twice as much writes are slowed
//! (`pace`), with less they are refused, and taken again when space returns. Reads go on.

use super::{Shard, pace};
use crate::config::Config;
use runtime::disk::{self, Space};
use runtime::time::timeout;
use std::rc::Rc;
use std::time::Duration;

/// Shard 0 looks this often, for all.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// Of a file system, one part in so many is kept back if the configuration does not say how much.
const KEPT_PART: u64 = 20;
/// And never more than this.
const KEPT_MAX: u64 = 1 << 30;

/// Little space.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Shortage {
    pub free_bytes: u64,
    pub kept_bytes: u64,
}

/// What is kept back, bytes.
pub(super) fn kept_bytes(config: &Config, space: Space) -> u64 {
    let of_all = (space.total_bytes / KEPT_PART).min(KEPT_MAX);
    config.free_bytes_min.unwrap_or(of_all)
}

fn shortage(config: &Config, space: Space) -> Option<Shortage> {
    let shortage = Shortage {
        free_bytes: space.free_bytes,
        kept_bytes: kept_bytes(config, space),
    };
    pace::is_short(shortage).then_some(shortage)
}

impl Shortage {
    /// What is kept back is touched.
    fn refuses_writes(self) -> bool {
        self.free_bytes < self.kept_bytes
    }
}

impl Shard {
    /// Has all shards know whether space is short; ends with the shard.
    pub(super) async fn watch_space(self: Rc<Self>) {
        if self.config.free_bytes_min == Some(0) {
            return;
        }
        let mut known: Option<Shortage> = None;
        while !self.closing.get() {
            // A disk that does not tell is taken to be as it was.
            if let Ok(space) = disk::space(&self.config.dir).await {
                let found = shortage(&self.config, space);
                let refused = found.filter(|found| found.refuses_writes());
                if refused.is_some() != known.is_some_and(Shortage::refuses_writes) {
                    match refused {
                        Some(Shortage { free_bytes, kept_bytes }) => {
                            tracing::warn!(
                                free_bytes,
                                kept_bytes,
                                "space is short: writes are refused until there is more"
                            );
                        }
                        None => tracing::info!("there is space again: writes are taken"),
                    }
                }
                if found != known {
                    self.tell_shortage(found).await;
                    known = found;
                }
            }
            let closing = self.close_begins.notified();
            if self.closing.get() {
                return;
            }
            // Either is a reason to look again.
            let _ended_early = timeout(LOOK_EVERY, closing).await;
        }
    }

    /// Writers are slowed from now on, or no more.
    pub(super) fn tell_pace(&self) {
        match self.pace.rate() {
            0 => tracing::info!(shard = self.id.0, "writers are slowed no more"),
            rate => {
                let reason = self.pace.reason();
                tracing::warn!(
                    shard = self.id.0,
                    rate,
                    reason,
                    "writers are slowed to this rate, bytes a second"
                );
            }
        }
        self.room.notify_all();
    }

    async fn tell_shortage(&self, found: Option<Shortage>) {
        for to in 0..self.count {
            let set = move |shard: Rc<Shard>| async move {
                shard.shortage.set(found.filter(|found| found.refuses_writes()));
                if shard.pace.set_space(found) {
                    shard.tell_pace();
                }
                shard.room.notify_all();
            };
            // A shard that has closed takes no writes anyway.
            drop(Shard::call(runtime::ShardId(to), set).await);
        }
    }
}
