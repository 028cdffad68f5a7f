//! A fill: what a page had to ask the sstables for becomes part of the partition's run in the row cache.
//!
//! It runs in the background, after the page was given, over blocks that the page has just read: the sstables alone are
//! merged, from the run's floor to where the page ended, because memtables are merged over runs when they are read. If the
//! partition was flushed meanwhile, or is being flushed, the fill is thrown away (rule e of the cache).

use super::read::{Snapshot, Source};
use super::{Shard, add};
use crate::cache::{Between, Builder, Filling, Key, Run, after};
use crate::error::Result;
use crate::table::TableState;
use model::{Deletion, Direction, Item, Merge, Slice, Step, Token};
use runtime::{Break, TaskClass};
use std::rc::Rc;

/// Rows taken between two looks at the clock.
const ROWS_PER_BREATH: u32 = 32;

impl Shard {
    /// Has the partition's run extended down to `floor`, in the background, if it is not being done already.
    pub(super) fn fill_down_to(&self, table: &Rc<TableState>, token: Token, key: &[u8], floor: Vec<u8>) {
        let Some(pass) = self.fills.enter() else { return };
        let Some(filling) = self.rows.begin_fill(Key::new(table.id, token, key)) else {
            return;
        };
        let Some(shard) = Shard::running() else { return };
        let (table, key) = (Rc::clone(table), key.to_vec());
        drop(runtime::spawn(
            TaskClass::Maintenance,
            "fill the row cache",
            async move {
                // What cannot be read is told to the next reader.
                drop(shard.fill(&table, token, &key, floor, &filling).await);
                drop(pass);
            },
        ));
    }

    async fn fill(
        &self,
        table: &TableState,
        token: Token,
        key: &[u8],
        floor: Vec<u8>,
        filling: &Filling,
    ) -> Result<()> {
        let (id, erasures) = (table.id, table.erasures.get());
        let known = self.rows.gaps.get(id, token, key);
        let found = self.rows.get(id, token, key);
        // A run of dead rows gives way to one of what lies behind them.
        let is_of_use = |run: &&Rc<Run>| known.as_ref().is_none_or(|gaps| !run.is_wasted_on(gaps));
        let old = found.as_ref().filter(is_of_use);
        let files_known = Rc::clone(&table.files.borrow());
        let snapshot = Snapshot::of_files(table, token);
        let (start, open) = match old {
            Some(run) => (run.floor().to_vec(), run.open_at_floor()),
            None => (Vec::new(), Deletion::LIVE),
        };
        let bytes_max = self.rows.run_bytes_max();
        let bytes_old = old.map_or(0, |run| run.memory_bytes());
        if start >= floor || bytes_old >= bytes_max {
            return Ok(());
        }
        let (deletion, static_row) = match old {
            Some(run) => (run.deletion(), None),
            None => snapshot.head(key).await?,
        };
        let slice = Slice { start, end: floor };
        let mut builder = Builder::new(&slice.start, open, self.rows.chunk_bytes());
        let mut between = Between::new(slice.clone(), Direction::Forward, known.clone());
        let mut known_to = slice.start.clone();
        let mut reached = None;
        let mut steps = 0_u32;
        while let Some(part) = between.next()
            && reached.is_none()
        {
            if part.start > known_to {
                builder.unknown(&known_to);
            }
            known_to.clone_from(&part.end);
            let sources = snapshot.sources(key, &part, Direction::Forward, deletion);
            let mut merge = Merge::new(sources, Direction::Forward, deletion);
            // What is open where the last part ended ends there, unless the sstables say that it goes on.
            let mut at_start = true;
            while reached.is_none() {
                match merge.step() {
                    Step::Pending(index) => match merge.source_mut(index) {
                        Source::File(cursor) => cursor.fill().await?,
                        Source::Memory(_) | Source::Run(_) => unreachable!("a fill merges sstables alone"),
                    },
                    Step::End => break,
                    Step::Item => {
                        let item = merge.item();
                        let is_opening = matches!(item, Item::RangeChange { position, .. } if *position == *part.start);
                        if std::mem::take(&mut at_start) && !is_opening {
                            builder.change(&part.start, Deletion::LIVE);
                        }
                        match item {
                            _ if bytes_old + builder.bytes() >= bytes_max => reached = Some(item.position().to_vec()),
                            Item::Row { clustering, row } => builder.row(clustering, row, i64::MIN),
                            Item::RangeChange { position, deletion } if *position < *part.end => {
                                builder.change(position, deletion);
                            }
                            // It is closed because the part ends; it may go on.
                            Item::RangeChange { .. } => {}
                        }
                        steps += 1;
                        if steps.is_multiple_of(ROWS_PER_BREATH) {
                            runtime::breathe().await;
                        }
                    }
                }
            }
            if at_start {
                builder.change(&part.start, Deletion::LIVE);
            }
        }
        if known_to < slice.end && reached.is_none() {
            builder.unknown(&known_to);
        }
        let built = builder.finish(reached.as_deref().unwrap_or(&slice.end));
        let run = match old {
            Some(run) => run.extended(built),
            None => Run::new(built, deletion, static_row.as_deref()),
        };
        // From here on nothing waits: what is checked still holds when the run is set.
        let now = self.rows.get(id, token, key);
        let same_run = match (&found, &now) {
            (Some(found), Some(now)) => Rc::ptr_eq(found, now),
            (None, None) => true,
            _ => false,
        };
        let files = table.files.borrow();
        let is_new = |file: &Rc<crate::table::LiveFile>| !files_known.iter().any(|known| Rc::ptr_eq(known, file));
        let flushed =
            !Rc::ptr_eq(&files_known, &files) && files.iter().any(|file| is_new(file) && file.admits(token, key));
        let sealed = table.sealed.borrow();
        let being_flushed = sealed
            .iter()
            .any(|sealed| sealed.memtable.borrow().partition(token, key).is_some());
        let erased = table.erasures.get() != erasures;
        if (!same_run || flushed || being_flushed || erased) && !runtime::broken(Break::CacheSetsStaleFills) {
            add(&self.rows.counters.fills_stale, 1);
            return Ok(());
        }
        add(&self.rows.counters.fills, 1);
        filling.set(run.trimmed(bytes_max).map(Rc::new));
        Ok(())
    }
}

/// Down to where a page that went forward knows its partition: behind its last row if there is more, else the slice's end.
pub(super) fn reached(slice: &Slice, last: Option<&[u8]>, more: bool) -> Option<Vec<u8>> {
    match (more, last) {
        (false, _) => Some(slice.end.clone()),
        (true, Some(last)) => Some(after(last)),
        (true, None) => None,
    }
}
