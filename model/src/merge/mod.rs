//! The k-way merge of one partition's sources into one reconciled stream.
//!
//! # What comes in
//!
//! Each source gives rows and range changes in the order of travel (`stream.rs` has the rules). At one position:
//!
//! - **Forward**: a change at `p` comes before a row at `p` and applies to rows at `p` and after it.
//! - **Reverse**: a change at `p` comes after a row at `p` and applies to rows before `p`.
//!
//! So the order of items is (position, change before row) Forward and exactly its mirror Reverse. A source that is
//! `Pending` at `p` may hold a row or a change at `p`, so it is filled before a row at `p` is taken, whatever the direction,
//! and never earlier: a file that a page does not reach is not opened. It stands behind a change at `p` that is known
//! Forward: that change applies to all that the source has from `p` on, and may let it pass over its blocks unread. Reverse
//! the change applies only beyond `p`, and comes last.
//!
//! # What goes out
//!
//! 1. The smallest item decides. The deletion of a change becomes the one *in force* of its source.
//! 2. What is in force for a row is the strongest of all sources' (timestamp, then local time), and the partition's
//!    deletion. Ranges of one source may end while another's goes on, so each source's is kept apart.
//! 3. Rows of one key are reconciled (`docs/semantics/conflicts.md`), shadowed by what is in force, and given if
//!    anything is left.
//! 4. All changes at one position are taken together, then one is given if the deletion differs from the one given last. A
//!    range that the partition's deletion covers is not given. So the changes given are minimal: no two in a row are equal,
//!    the first is not `LIVE`, the last is.
//!
//! A worked example, Forward. Source A deletes `[b, e)` by 5, source B deletes `[c, d)` by 3 and `[d, f)` by 7, both have
//! rows; the partition's deletion is 2:
//!
//! ```text
//! A          a@9   {b: 5}         c@6                {e: LIVE}  e@8
//! B                        {c: 3} c@4         {d: 7}            e@6  {f: LIVE}  f@1
//! in force   2     5       5                  7      7               2
//! out        a@9   {b: 5}         c@6         {d: 7}            e@8  {f: LIVE}
//! ```
//!
//! B's range by 3 changes nothing, for A's by 5 is stronger; A's end at `e` changes nothing, for B's by 7 goes on; both rows
//! at `e` are reconciled to `e@8`, which 7 does not cover; `f@1` lies under the partition's deletion. The same, Reverse:
//!
//! ```text
//! B          f@1   {f: 7}  e@6         {d: 3}  c@4  {c: LIVE}
//! A                        e@8  {e: 5}         c@6             {b: LIVE}  a@9
//! in force   2     7                   5                       2
//! out              {f: 7}  e@8         {d: 5}  c@6             {b: LIVE}  a@9
//! ```
//!
//! # What is passed over
//!
//! While a deletion is in force, a source whose turn it is with a covered row, or pending, is first asked to pass over what
//! the deletion covers ([`RowSource::skip_covered`]), up to where the deletion may end. Only a change of the source that
//! holds the deletion can end it, so that bound is the holder's next position (of several holders the furthest), and there
//! is none for the holder itself (it stops at its own changes), nor for the partition's deletion.
//!
//! A reader that does not want dead rows ([`Merge::without_dead_runs`]) has a source whose turn it is with a row tombstone, or
//! pending, pass over its dead run ([`RowSource::skip_dead`]) up to what comes next in any other source. What another source has at one
//! of these keys is never passed over with it: a tombstone stands for its own key only, and its timestamp decides.

#[cfg(test)]
mod tests;

use std::cmp::Ordering;

use smallvec::{SmallVec, smallvec};

use crate::row::{Coverage, coverage, shadow_row_counted};
use crate::{Deletion, Direction, Item, Peek, RowRef, RowSource, Shadowed, merge_rows};

/// Dead runs that one step passes over at most: where two sources take turns they are short, and the reader is to breathe.
const DEAD_RUNS_MAX: u32 = 2;

/// Up to so many sources nothing is allocated for what is kept of each.
const SOURCES_INLINE: usize = 4;

/// What [`Merge::step`] came to.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Step {
    /// [`Merge::item`] has the next item.
    Item,
    /// This source is pending at the smallest position: fill it ([`Merge::source_mut`]) and step again.
    Pending(usize),
    /// Nothing more.
    End,
}

/// What a merge has met so far.
///
/// [`Merge::counts`] gives them.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct MergeCounts {
    /// Rows taken from the sources, those found dead included, those passed over not.
    pub rows_merged: u64,
    /// Of those, rows of which a deletion covers everything.
    pub rows_dead: u64,
    /// Cells that a deletion covers in rows of which something is left.
    pub cells_dead: u64,
    /// Rows that sources passed over unread.
    pub rows_skipped: u64,
    /// Range changes given.
    pub range_bounds: u64,
}

/// What [`Merge::item`] shows.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Current {
    Nothing,
    /// The change at `change_at` to `given`.
    Change,
    /// The row of the first source of `group`, as it is.
    SourceRow,
    /// The key of the first source of `group`, with the row in `row`.
    BufferRow,
}

/// The merged, reconciled stream of one partition's sources in one direction. See the module's page.
///
/// [`Step`] says what to do after each step.
pub struct Merge<S> {
    sources: Vec<S>,
    direction: Direction,
    skips_dead: bool,
    partition_deletion: Deletion,
    /// The range deletion in force of each source.
    open: SmallVec<[Deletion; SOURCES_INLINE]>,
    /// The strongest of `open`.
    open_max: Deletion,
    /// The deletion of the change given last.
    given: Deletion,
    /// Where changes are being taken together, if `changing`; afterwards, where the current change is.
    change_at: Vec<u8>,
    changing: bool,
    /// The sources whose row at the current key is in the current item; advanced at the next step.
    group: SmallVec<[usize; SOURCES_INLINE]>,
    current: Current,
    /// The source that was smallest, and the smallest of the others, as long as those others have not moved.
    run: Option<(usize, Option<usize>)>,
    row: Vec<u8>,
    spare: Vec<u8>,
    /// The place just above a source's position.
    above: Vec<u8>,
    counts: MergeCounts,
}

impl<S: RowSource> Merge<S> {
    /// A merge of sources that all travel in `direction` over the same slice.
    pub fn new(sources: Vec<S>, direction: Direction, partition_deletion: Deletion) -> Merge<S> {
        Merge {
            open: smallvec![Deletion::LIVE; sources.len()],
            group: SmallVec::with_capacity(sources.len()),
            sources,
            direction,
            skips_dead: false,
            partition_deletion,
            open_max: Deletion::LIVE,
            given: Deletion::LIVE,
            change_at: Vec::new(),
            changing: false,
            current: Current::Nothing,
            run: None,
            row: Vec::new(),
            spare: Vec::new(),
            above: Vec::new(),
            counts: MergeCounts::default(),
        }
    }

    /// Leaves out row tombstones that come in runs of one source. They are counted as skipped; others are given.
    #[must_use]
    pub fn without_dead_runs(self) -> Merge<S> {
        Merge {
            skips_dead: true,
            ..self
        }
    }

    /// The sources.
    pub fn sources(&self) -> &[S] {
        &self.sources
    }

    /// A source, to fill it after [`Step::Pending`]. The current item is gone.
    pub fn source_mut(&mut self, index: usize) -> &mut S {
        self.retire();
        self.run = None;
        &mut self.sources[index]
    }

    /// All sources, to have several pass over the same stretch after [`Step::Pending`]: over nothing but rows that cancel out.
    /// The current item is gone.
    pub fn sources_mut(&mut self) -> &mut [S] {
        self.retire();
        self.run = None;
        &mut self.sources
    }

    /// What was met so far.
    pub fn counts(&self) -> MergeCounts {
        self.counts
    }

    /// The item that the last [`step`](Self::step) found. Borrowed, without allocation.
    ///
    /// # Panics
    /// If the last step was not [`Step::Item`].
    #[inline]
    pub fn item(&self) -> Item<'_> {
        match self.current {
            Current::Nothing => panic!("item() follows a step that gave Step::Item"),
            Current::Change => Item::RangeChange {
                position: &self.change_at,
                deletion: self.given,
            },
            Current::SourceRow | Current::BufferRow => match self.sources[self.group[0]].peek() {
                Peek::Item(Item::Row { clustering, row }) => {
                    let row = if self.current == Current::BufferRow {
                        RowRef::trusted(&self.row)
                    } else {
                        row
                    };
                    Item::Row { clustering, row }
                }
                _ => panic!("a source's row stays until it is advanced"),
            },
        }
    }

    /// The sources that the row of the current item is made of, in no order; none of a range change.
    #[inline]
    pub fn item_sources(&self) -> &[usize] {
        &self.group
    }

    /// Goes on to the next item.
    pub fn step(&mut self) -> Step {
        self.retire();
        // The source that was asked to pass over what is covered, and had nothing to pass over.
        let mut asked = None;
        let mut dead_runs_left = if self.skips_dead { DEAD_RUNS_MAX } else { 0 };
        loop {
            let smallest = self.smallest();
            if self.changing && !self.is_change_at_hand(smallest) {
                self.changing = false;
                if let Some(step) = self.give_change() {
                    return step;
                }
            }
            let Some(first) = smallest else {
                return Step::End;
            };
            match self.sources[first].peek() {
                Peek::End => return Step::End,
                Peek::Pending { .. } => {
                    if asked != Some(first) && (dead_runs_left > 0 || !self.in_force().is_live()) {
                        let covered = if self.in_force().is_live() { 0 } else { self.skip(first) };
                        let dead = if dead_runs_left > 0 { self.skip_dead(first) } else { 0 };
                        dead_runs_left -= u32::from(dead > 0);
                        let skipped = covered + dead;
                        asked = (skipped == 0).then_some(first);
                        continue;
                    }
                    return Step::Pending(first);
                }
                Peek::Item(Item::RangeChange { position, deletion }) => {
                    if !self.changing {
                        self.change_at.clear();
                        self.change_at.extend_from_slice(position);
                        self.changing = true;
                    }
                    self.open[first] = deletion;
                    self.open_max = self.open.iter().fold(Deletion::LIVE, |max, &open| max.max(open));
                    self.sources[first].advance();
                }
                Peek::Item(Item::Row { row, .. }) => {
                    if dead_runs_left > 0 && row.is_row_tombstone() && self.skip_dead(first) > 0 {
                        dead_runs_left -= 1;
                        continue;
                    }
                    if let Some(step) = self.give_row(first) {
                        return step;
                    }
                }
            }
        }
    }

    /// Gives the rows that come next as they lie, without a look at each for what might change it: of one source that `of` admits,
    /// [wholly live](RowRef::is_wholly_live), before anything of the others, with no deletion in force; as long as `give` asks
    /// for more. Returns their number, and is to be followed by a [`step`](Self::step): the current item is gone.
    pub fn give_live(
        &mut self,
        of: impl FnOnce(usize) -> bool,
        mut give: impl FnMut(&[u8], RowRef<'_>) -> bool,
    ) -> u64 {
        self.retire();
        if self.changing || !self.given.is_live() || !self.in_force().is_live() {
            return 0;
        }
        let Some(first) = self.smallest().filter(|first| of(*first)) else {
            return 0;
        };
        let given = match self.run.and_then(|(_, second)| second) {
            None => self.sources[first].give_live(self.direction, None, &mut give),
            Some(second) => {
                let [source, second] = self
                    .sources
                    .get_disjoint_mut([first, second])
                    .expect("the smallest source is none of the others");
                let until = place(&second.peek()).map(|(position, _)| position);
                source.give_live(self.direction, until, &mut give)
            }
        };
        self.counts.rows_merged += given;
        given
    }

    /// Passes over the current item.
    #[inline]
    fn retire(&mut self) {
        if self.group.len() > 1 {
            self.run = None;
        }
        for &index in &self.group {
            self.sources[index].advance();
        }
        self.group.clear();
        self.current = Current::Nothing;
    }

    /// The source with the smallest item, or pending there; `None` if all are at their end.
    #[inline]
    fn smallest(&mut self) -> Option<usize> {
        // A run: only `first` has moved, and it still comes before the smallest of the others.
        if let Some((first, second)) = self.run {
            let peek = self.sources[first].peek();
            let still = !matches!(peek, Peek::End)
                && second.is_none_or(|second| self.compare(&peek, &self.sources[second].peek()) == Ordering::Less);
            if still {
                return Some(first);
            }
        }
        let mut best: Option<(usize, Peek<'_>)> = None;
        let mut second: Option<(usize, Peek<'_>)> = None;
        for (index, source) in self.sources.iter().enumerate() {
            let peek = source.peek();
            if matches!(peek, Peek::End) {
                continue;
            }
            match best {
                Some((_, ref least)) if self.compare(&peek, least) != Ordering::Less => {
                    if second
                        .as_ref()
                        .is_none_or(|(_, least)| self.compare(&peek, least) == Ordering::Less)
                    {
                        second = Some((index, peek));
                    }
                }
                _ => second = best.replace((index, peek)),
            }
        }
        let run = best.map(|(first, _)| (first, second.map(|(second, _)| second)));
        self.run = run;
        run.map(|(first, _)| first)
    }

    /// The order in which items are taken.
    #[inline]
    fn compare(&self, a: &Peek<'_>, b: &Peek<'_>) -> Ordering {
        let (Some((a, a_class)), Some((b, b_class))) = (place(a), place(b)) else {
            return matches!(a, Peek::End).cmp(&matches!(b, Peek::End));
        };
        let reversed = |order: Ordering| match self.direction {
            Direction::Forward => order,
            Direction::Reverse => order.reverse(),
        };
        reversed(a.cmp(b)).then_with(|| a_class.rank(self.direction).cmp(&b_class.rank(self.direction)))
    }

    /// Whether the smallest item is, or may turn out to be, one more change at the place where changes are being taken.
    #[inline]
    fn is_change_at_hand(&self, smallest: Option<usize>) -> bool {
        let peek = smallest.map_or(Peek::End, |index| self.sources[index].peek());
        place(&peek).is_some_and(|(position, class)| class != Class::Row && position == self.change_at)
    }

    /// Gives the change at `change_at` if it is one.
    fn give_change(&mut self) -> Option<Step> {
        let hidden = self.partition_deletion.covers(self.open_max.timestamp);
        let deletion = if hidden { Deletion::LIVE } else { self.open_max };
        if deletion == self.given {
            return None;
        }
        self.given = deletion;
        self.counts.range_bounds += 1;
        self.current = Current::Change;
        Some(Step::Item)
    }

    /// The deletion that applies to the next row.
    #[inline]
    fn in_force(&self) -> Deletion {
        self.open_max.max(self.partition_deletion)
    }

    /// Gives what is left of the rows at the smallest key, if anything is.
    #[inline]
    fn give_row(&mut self, first: usize) -> Option<Step> {
        let in_force = self.in_force();
        self.gather(first);
        self.counts.rows_merged += self.group.len() as u64;
        let touched = !in_force.is_live() && self.pass_covered(in_force);
        match self.group[..] {
            [] => return None,
            [_] => self.current = Current::SourceRow,
            _ => {
                self.merge_group();
                self.current = Current::BufferRow;
            }
        }
        if touched {
            let mut left = std::mem::take(&mut self.spare);
            let row = match self.item() {
                Item::Row { row, .. } => row,
                Item::RangeChange { .. } => unreachable!("the item is a row"),
            };
            let (shadowed, cells) = shadow_row_counted(row, in_force, &mut left);
            self.counts.cells_dead += cells;
            match shadowed {
                Shadowed::Unchanged => self.spare = left,
                Shadowed::Changed => {
                    self.spare = std::mem::replace(&mut self.row, left);
                    self.current = Current::BufferRow;
                }
                Shadowed::Gone => {
                    self.spare = left;
                    self.retire();
                    return None;
                }
            }
        }
        Some(Step::Item)
    }

    /// Collects the sources that have a row at the smallest key.
    #[inline]
    fn gather(&mut self, first: usize) {
        self.group.clear();
        self.group.push(first);
        let Some((_, Some(second))) = self.run else {
            return;
        };
        let place_of = |index: usize| place_of_row(&self.sources[index]);
        let key = place_of(first);
        if place_of(second) != key {
            return; // the smallest of the others is further on
        }
        for index in 0..self.sources.len() {
            if index != first && place_of_row(&self.sources[index]) == key {
                self.group.push(index);
            }
        }
    }

    /// Passes over those of the group's rows that are wholly covered, and takes their sources out of the group. Whether
    /// any of those left is covered in part.
    fn pass_covered(&mut self, in_force: Deletion) -> bool {
        let mut index = 0;
        let mut touched = false;
        while index < self.group.len() {
            let source = self.group[index];
            let covered = match self.sources[source].peek() {
                Peek::Item(Item::Row { row, .. }) => coverage(row, in_force),
                _ => Coverage::Nothing,
            };
            if covered != Coverage::Everything {
                touched |= covered == Coverage::Part;
                index += 1;
                continue;
            }
            if self.group.len() > 1 {
                self.run = None;
            }
            self.group.remove(index);
            if self.skip(source) == 0 {
                self.sources[source].advance();
                self.counts.rows_dead += 1;
            } else {
                self.counts.rows_merged -= 1; // it was among those passed over
            }
        }
        touched
    }

    /// Reconciles the rows of the group into `row`.
    fn merge_group(&mut self) {
        let (mut merged, mut spare) = (std::mem::take(&mut self.row), std::mem::take(&mut self.spare));
        let row_of = |index: usize| match self.sources[index].peek() {
            Peek::Item(Item::Row { row, .. }) => row,
            _ => RowRef::EMPTY,
        };
        merge_rows(row_of(self.group[0]), row_of(self.group[1]), &mut merged);
        for &index in &self.group[2..] {
            merge_rows(RowRef::trusted(&merged), row_of(index), &mut spare);
            std::mem::swap(&mut merged, &mut spare);
        }
        (self.row, self.spare) = (merged, spare);
    }

    /// Has the smallest source pass over its dead run, up to the smallest of the others.
    fn skip_dead(&mut self, source: usize) -> u64 {
        let Some((_, second)) = self.run else {
            return 0;
        };
        let skipped = match second {
            None => self.sources[source].skip_dead(None),
            Some(second) => {
                let [source, second] = self
                    .sources
                    .get_disjoint_mut([source, second])
                    .expect("the smallest source is none of the others");
                match (place(&second.peek()), self.direction) {
                    (None, _) => source.skip_dead(None),
                    (Some((position, _)), Direction::Forward) => source.skip_dead(Some(position)),
                    (Some((position, _)), Direction::Reverse) => {
                        // A row at the position itself is not passed over: all that is behind it is above this.
                        self.above.clear();
                        self.above.extend_from_slice(position);
                        self.above.push(0xFF);
                        source.skip_dead(Some(&self.above))
                    }
                }
            }
        };
        self.counts.rows_skipped += skipped;
        skipped
    }

    /// Has a source pass over what the deletion in force covers, up to where that may end.
    fn skip(&mut self, source: usize) -> u64 {
        let timestamp = self.in_force().timestamp;
        let ranges_decide = self.open_max.timestamp > self.partition_deletion.timestamp;
        let mut bound: Option<usize> = None;
        if ranges_decide && self.open[source].timestamp < timestamp {
            // The furthest of the holders' next positions; a holder at its end has no change left.
            for holder in (0..self.sources.len()).filter(|&i| self.open[i].timestamp == timestamp) {
                let Some((position, _)) = place(&self.sources[holder].peek()) else {
                    bound = None;
                    break;
                };
                let further = bound
                    .and_then(|bound| place(&self.sources[bound].peek()))
                    .is_none_or(|(furthest, _)| self.direction.compare(position, furthest) == Ordering::Greater);
                if further {
                    bound = Some(holder);
                }
            }
        }
        let skipped = match bound {
            None => self.sources[source].skip_covered(timestamp, None),
            Some(bound) => {
                let [source, holder] = self
                    .sources
                    .get_disjoint_mut([source, bound])
                    .expect("a source that holds the deletion is not bounded by itself");
                match holder.peek() {
                    Peek::Item(item) => source.skip_covered(timestamp, Some(item.position())),
                    Peek::Pending { position } => source.skip_covered(timestamp, Some(position)),
                    Peek::End => 0,
                }
            }
        };
        self.counts.rows_skipped += skipped;
        skipped
    }
}

/// What stands at a position.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Class {
    Pending,
    Change,
    Row,
}

impl Class {
    /// Which of those at one position is taken first.
    #[inline]
    fn rank(self, direction: Direction) -> u8 {
        match (direction, self) {
            (Direction::Forward, Class::Change) | (Direction::Reverse, Class::Pending) => 0,
            (Direction::Forward, Class::Pending) | (Direction::Reverse, Class::Row) => 1,
            (Direction::Forward, Class::Row) | (Direction::Reverse, Class::Change) => 2,
        }
    }
}

#[inline]
fn place<'a>(peek: &Peek<'a>) -> Option<(&'a [u8], Class)> {
    match *peek {
        Peek::Item(Item::Row { clustering, .. }) => Some((clustering, Class::Row)),
        Peek::Item(Item::RangeChange { position, .. }) => Some((position, Class::Change)),
        Peek::Pending { position } => Some((position, Class::Pending)),
        Peek::End => None,
    }
}

#[inline]
fn place_of_row<S: RowSource>(source: &S) -> Option<&[u8]> {
    match source.peek() {
        Peek::Item(Item::Row { clustering, .. }) => Some(clustering),
        _ => None,
    }
}
