//! What a flush makes of the runs of its partitions, before its sstable is visible.
//!
//! The runs are made while the memtable is written out, in turns, and set in one step (rule d). Until then no fill touches
//! them: a fill of a partition that a sealed memtable has is thrown away (rule e), so the run that was brought up to date is
//! still the partition's, or was evicted.

use super::run::{Builder, Built, Gaps, NOTHING_DROPPED, Run, look};
use super::{Key, RowCache, RunRows};
use crate::table::TableState;
use memtable::Partition;
use model::{Deletion, Direction, Item, Merge, RowRef, RowSource, Slice, Step, merge_rows};
use runtime::Break;
use std::collections::BTreeMap;
use std::rc::Rc;

/// Rows taken between two looks at the clock.
const ROWS_PER_BREATH: u32 = 32;

/// The runs that a flush will publish.
#[derive(Default)]
pub(crate) struct Stage {
    runs: BTreeMap<Key, Option<Rc<Run>>>,
    bytes: usize,
}

impl Stage {
    pub(super) fn into_runs(self) -> BTreeMap<Key, Option<Rc<Run>>> {
        self.runs
    }

    /// Takes a partition that is being flushed: brings its run up to date, or starts one.
    pub(crate) async fn take(&mut self, cache: &RowCache, table: &TableState, partition: &Partition) {
        if !cache.is_on() || runtime::broken(Break::CacheIgnoresFlush) {
            return;
        }
        let (token, key) = (partition.token(), partition.key());
        let present = cache.get(table.id, token, key);
        // What is staged is not in the budget yet; past half of it, runs are given up.
        let room = self.bytes < cache.capacity / 2;
        let run = match &present {
            Some(run) if room => updated(cache, run, partition).await,
            None if room => match floor_of_start(table, partition) {
                Some(floor) => started(cache, partition, floor).await,
                None => None,
            },
            _ => None,
        };
        let run = run.and_then(|run| run.trimmed(cache.run_bytes_max()));
        if run.is_none() && present.is_none() {
            return;
        }
        let key = Key::new(table.id, token, key);
        self.bytes += run.as_ref().map_or(0, Run::memory_bytes) + size_of::<Key>() + key.key.len();
        self.runs.insert(key, run.map(Rc::new));
    }

    /// Frees what was staged for a flush that failed, in turns.
    pub(crate) async fn discard(mut self) {
        while self.runs.pop_first().is_some() {
            runtime::breathe().await;
        }
    }
}

/// Down to where a flush alone knows a partition that has no run; `None` if nowhere.
fn floor_of_start(table: &TableState, partition: &Partition) -> Option<Vec<u8>> {
    let mut floor = vec![0xFF];
    if runtime::broken(Break::CacheStartsAnywhere) {
        return Some(floor);
    }
    let files = table.files.borrow();
    for file in files
        .iter()
        .filter(|file| file.admits(partition.token(), partition.key()))
    {
        let statistics = file.table.statistics();
        if statistics.partition_heads {
            return None;
        }
        if let Some((first, _)) = &statistics.clustering
            && *first < floor
        {
            floor.clone_from(first);
        }
    }
    (!floor.is_empty()).then_some(floor)
}

/// The run of a partition that only a flush knows above `floor`; `None` if it knows nothing there.
async fn started(cache: &RowCache, partition: &Partition, floor: Vec<u8>) -> Option<Run> {
    let slice = Slice {
        start: Vec::new(),
        end: floor,
    };
    let rows = partition.rows(&slice, Direction::Forward);
    let merge = Merge::new(vec![rows], Direction::Forward, partition.deletion());
    let built = rebuilt(cache, merge, None, &slice.end).await;
    let static_row = partition.static_row().map(|row| row.bytes());
    let run = Run::new(built, partition.deletion(), static_row);
    run.has_items().then_some(run)
}

/// The run with what a flush has above its floor.
async fn updated(cache: &RowCache, run: &Rc<Run>, partition: &Partition) -> Option<Run> {
    let slice = Slice {
        start: Vec::new(),
        end: run.floor().to_vec(),
    };
    let deletion = run.deletion().max(partition.deletion());
    let sources = vec![
        Source::Run(RunRows::new(Rc::clone(run), slice.clone(), Direction::Forward)),
        Source::Memory(partition.rows(&slice, Direction::Forward)),
    ];
    let merge = Merge::new(sources, Direction::Forward, deletion);
    let built = rebuilt(cache, merge, Some(run), &slice.end).await;
    let static_row = match (run.static_row(), partition.static_row()) {
        (Some(one), Some(other)) => {
            let mut merged = Vec::new();
            merge_rows(one, other, &mut merged);
            Some(merged)
        }
        (one, other) => one.or(other).map(|row| row.bytes().to_vec()),
    };
    Some(Run::new(built, deletion, static_row.as_deref()))
}

enum Source {
    Run(RunRows),
    Memory(memtable::Rows),
}

impl RowSource for Source {
    fn peek(&self) -> model::Peek<'_> {
        match self {
            Source::Run(rows) => rows.peek(),
            Source::Memory(rows) => rows.peek(),
        }
    }

    fn advance(&mut self) {
        match self {
            Source::Run(rows) => rows.advance(),
            Source::Memory(rows) => rows.advance(),
        }
    }

    fn skip_covered(&mut self, timestamp: i64, until: Option<&[u8]>) -> u64 {
        match self {
            Source::Run(rows) => rows.skip_covered(timestamp, until),
            Source::Memory(rows) => rows.skip_covered(timestamp, until),
        }
    }
}

/// Takes a merge in which nothing is pending, down to `floor` or to where the run has all that it may take. `old` is the run
/// that is in the merge: its gaps are kept, and the new floor is where it cannot judge what is merged with it.
async fn rebuilt<S: RowSource>(cache: &RowCache, mut merge: Merge<S>, old: Option<&Rc<Run>>, floor: &[u8]) -> Built {
    let mut builder = Builder::new(&[], Deletion::LIVE, cache.chunk_bytes());
    let mut gaps = old.cloned().map(Gaps::new);
    let mut steps = 0;
    loop {
        match merge.step() {
            Step::Pending(_) => unreachable!("runs and memtables are in memory"),
            Step::End => break,
            Step::Item => {}
        }
        let item = merge.item();
        let position = item.position();
        if builder.bytes() >= cache.run_bytes_max() {
            return builder.finish(position);
        }
        match item {
            Item::Row { clustering, row } => {
                let own = old.map_or(NOTHING_DROPPED, |run| run.dropped_at(clustering));
                if let Some(gaps) = &mut gaps {
                    builder.dropped(gaps.up_to(clustering, true));
                }
                if !is_judged(row, own) {
                    return builder.finish(clustering);
                }
                builder.row(clustering, row, own);
            }
            Item::RangeChange { position, deletion } => {
                // What is closed at the floor may go on below it.
                if position < floor {
                    if let Some(gaps) = &mut gaps {
                        builder.dropped(gaps.up_to(position, false));
                    }
                    builder.change(position, deletion);
                }
            }
        }
        steps += 1;
        if steps % ROWS_PER_BREATH == 0 && !runtime::broken(Break::NoBreatheInFlush) {
            runtime::breathe().await;
        }
    }
    if let Some(gaps) = gaps {
        builder.dropped(gaps.up_to_floor());
    }
    builder.finish(floor)
}

/// Whether all of a row is newer than what was dropped at its key. Over a row that is dead a tombstone changes nothing.
pub(crate) fn is_judged(row: RowRef<'_>, dropped: i64) -> bool {
    dropped == NOTHING_DROPPED
        || row.is_row_tombstone()
        || look(row).min_timestamp > dropped
        || runtime::broken(Break::CacheIgnoresDropped)
}
