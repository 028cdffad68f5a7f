//! The scripted run of `cargo xtask crash-points`: open, write, edit, delete in all four ways, flush, reopen, alter.

use std::sync::Arc;

use super::data::{CellEdit, Change, Edge, Key, Part, PartitionIndex, PartitionKey, RowEdit, Span, TABLES, Val};
use super::layout::Wish;
use super::node::Homes;
use super::plan::{NODE_TIME_BEGINS_S, Step, Stretch};
use super::run::Course;

/// Two channels, a page with statics and collections, a row without a clustering key.
const CHANNEL: PartitionIndex = 0;
const OTHER: PartitionIndex = 1;
const PAGE: PartitionIndex = 2;
const SETTING: PartitionIndex = 3;

fn universe() -> Vec<PartitionKey> {
    let messages = |id| PartitionKey {
        table: 0,
        key: vec![Val::Big(id), Val::Int(0)],
    };
    let page = PartitionKey {
        table: 1,
        key: vec![Val::Text("front".to_owned())],
    };
    vec![
        messages(1),
        messages(2),
        page,
        PartitionKey {
            table: 2,
            key: vec![Val::Big(7)],
        },
    ]
}

/// Numbers and stamps changes as they are written down.
struct Script {
    changes: u32,
    shard_of: Vec<usize>,
}

fn put(column: usize, timestamp: i64, value: &str) -> CellEdit {
    CellEdit::Put {
        column,
        element: None,
        timestamp,
        value: value.as_bytes().to_vec(),
        ends: None,
    }
}

fn message(id: i64) -> Key {
    vec![Part {
        val: Val::Big(id),
        descending: true,
    }]
}

fn section(number: i32, name: &str) -> Key {
    let part = |val, descending| Part { val, descending };
    vec![part(Val::Int(number), false), part(Val::Text(name.to_owned()), true)]
}

impl Script {
    fn change(&mut self, partition: PartitionIndex, say: impl FnOnce(&mut Change, i64)) -> Arc<Change> {
        self.changes += 1;
        let timestamp = 1_700_000_000_000_000 + i64::from(self.changes) * 1_000;
        let (id, deleted, statics) = (self.changes, None, None);
        let mut change = Change {
            id,
            partition,
            at_s: NODE_TIME_BEGINS_S,
            deleted,
            statics,
            rows: Vec::new(),
            ranges: Vec::new(),
        };
        say(&mut change, timestamp);
        Arc::new(change)
    }

    fn send(&mut self, partition: PartitionIndex, id: i64) -> Arc<Change> {
        self.change(partition, |change, now| {
            let text = format!("message {id}");
            let author = CellEdit::Put {
                column: 0,
                element: None,
                timestamp: now,
                value: id.to_be_bytes().to_vec(),
                ends: None,
            };
            let edit = RowEdit {
                inserted: Some(now),
                cells: vec![author, put(1, now, &text)],
                ..RowEdit::default()
            };
            change.rows.push((message(id), edit));
        })
    }

    fn edit(&mut self, partition: PartitionIndex, key: Key, cell: impl FnOnce(i64) -> CellEdit) -> Arc<Change> {
        self.change(partition, |change, now| {
            change.rows.push((
                key,
                RowEdit {
                    cells: vec![cell(now)],
                    ..RowEdit::default()
                },
            ));
        })
    }

    fn burst(&self, changes: Vec<Arc<Change>>) -> Step {
        Step::Burst {
            shard: self.shard_of[changes[0].partition],
            changes,
        }
    }

    fn written(&mut self) -> Vec<Step> {
        let burst: Vec<_> = (1..=6).map(|id| self.send(CHANNEL, id)).collect();
        let mut steps = vec![self.burst(burst), self.one(|s| s.send(OTHER, 1))];
        steps.push(self.one(|s| {
            s.change(PAGE, |change, now| {
                let statics = RowEdit {
                    cells: vec![put(0, now, "title")],
                    ..RowEdit::default()
                };
                let tag = |name: &str| CellEdit::Put {
                    column: 1,
                    element: Some(Val::Text(name.to_owned())),
                    timestamp: now,
                    value: Vec::new(),
                    ends: None,
                };
                let whole = CellEdit::DeleteCollection {
                    column: 1,
                    timestamp: now - 1,
                };
                let cells = vec![put(0, now, "text"), whole, tag("a"), tag("b")];
                change.statics = Some(statics);
                change.rows.push((
                    section(1, "intro"),
                    RowEdit {
                        inserted: Some(now),
                        cells,
                        ..RowEdit::default()
                    },
                ));
            })
        }));
        steps.push(self.one(|s| s.edit(SETTING, Key::new(), |now| put(0, now, "on"))));
        steps.push(Step::Flush);
        // An edit; then each of the four deletes, of what the flush wrote.
        steps.push(self.one(|s| s.edit(CHANNEL, message(3), |now| put(1, now, "edited"))));
        steps.push(self.one(|s| {
            s.edit(CHANNEL, message(5), |now| CellEdit::Delete {
                column: 1,
                element: None,
                timestamp: now,
            })
        }));
        steps.push(self.one(|s| {
            s.change(CHANNEL, |change, now| {
                change.rows.push((
                    message(6),
                    RowEdit {
                        deleted: Some(now),
                        ..RowEdit::default()
                    },
                ));
            })
        }));
        steps.push(self.one(|s| {
            s.change(CHANNEL, |change, now| {
                let (from, to) = (
                    Edge {
                        prefix: message(2),
                        after: false,
                    },
                    Edge::END,
                );
                change.ranges.push((Span { from, to }, now));
            })
        }));
        steps.push(self.one(|s| s.change(OTHER, |change, now| change.deleted = Some(now))));
        let burst: Vec<_> = (7..=9).map(|id| self.send(CHANNEL, id)).collect();
        steps.push(self.burst(burst));
        steps
    }

    fn one(&mut self, say: impl FnOnce(&mut Self) -> Arc<Change>) -> Step {
        let change = say(self);
        self.burst(vec![change])
    }

    fn reopened(&mut self) -> Vec<Step> {
        let remove_tag = |now| {
            let element = Some(Val::Text("a".to_owned()));
            CellEdit::Delete {
                column: 1,
                element,
                timestamp: now,
            }
        };
        let mut steps = vec![self.one(|s| s.edit(PAGE, section(1, "intro"), remove_tag))];
        steps.push(self.one(|s| s.send(OTHER, 2)));
        steps.push(Step::Flush);
        steps.push(self.one(|s| s.change(PAGE, |change, now| change.deleted = Some(now))));
        let burst: Vec<_> = (10..=14).map(|id| self.send(CHANNEL, id)).collect();
        steps.push(self.burst(burst));
        // A column is dropped and added again: what it had is gone, and what is written to it since is not.
        let renewed = Wish::Column {
            is_static: false,
            name: 1,
            renewed: true,
            as_blob: true,
        };
        steps.push(Step::Alter {
            table: 0,
            wishes: vec![renewed],
        });
        steps.push(self.one(|s| s.edit(CHANNEL, message(10), |now| put(1, now, "anew"))));
        // An edit of what is gone does not bring the rest of it back.
        steps.push(self.one(|s| s.edit(CHANNEL, message(6), |now| put(2, now, "late"))));
        steps
    }
}

/// The script, without any crash but the power cuts before its third start and before the last look; at both the number of
/// shards changes, while the logs have records.
pub(crate) fn course(shard_of: impl Fn(&PartitionKey, usize) -> usize) -> Course {
    let universe = universe();
    let homes = Homes::new(&universe, shard_of);
    let mut script = Script {
        changes: 0,
        shard_of: Vec::new(),
    };
    let mut stretch = |shards, steps: fn(&mut Script) -> Vec<Step>, close| {
        script.shard_of = homes.among(shards).to_vec();
        Stretch {
            shards: Some(shards),
            clients: vec![steps(&mut script)],
            close,
            ..Stretch::last_look()
        }
    };
    let stretches = vec![
        stretch(2, Script::written, true),
        stretch(2, Script::reopened, false),
        stretch(3, |script| vec![script.one(|s| s.send(CHANNEL, 15))], false),
        Stretch {
            shards: Some(1),
            ..Stretch::last_look()
        },
    ];
    Course {
        universe,
        homes,
        options: [0; TABLES.len()],
        durable_acks: true,
        stretches,
    }
}
