//! Conditional writes: counters that go up by `IF n = ?`, and rows that are inserted `IF NOT EXISTS`.
//!
//! Each attempt has an id, which the row holds that it wrote. Of all attempts at one step at most one is ever applied or seen, and no step
//! that was applied or seen is ever missing.

use std::collections::{BTreeMap, BTreeSet};

/// The table. Row 0 of a partition is its counter; in every other partition each step has a row of its own, written in one batch with it.
pub(super) const TABLE: &str = "first.conditional";
pub(super) const COUNTERS: i32 = 4;
/// From here on a partition has a row that is inserted once.
pub(super) const ONCE: i32 = 100;

/// What is known of a partition: which attempt did which step; of a row that is inserted once there is one step.
#[derive(Default)]
struct Counter {
    /// By attempt: the step that it is to do.
    attempts: BTreeMap<i32, i32>,
    /// Not applied, as was answered.
    refused: BTreeSet<i32>,
    /// By step.
    done: BTreeMap<i32, i32>,
}

impl Counter {
    fn last(&self) -> i32 {
        self.done.last_key_value().map_or(0, |(step, _)| *step)
    }
}

#[derive(Default)]
pub(super) struct Counters(BTreeMap<i32, Counter>);

/// A row of a conditional partition.
#[derive(Clone, Copy, Debug)]
pub(super) struct Step {
    pub n: i32,
    /// `None`: not shown.
    pub by: Option<i32>,
}

impl Counters {
    fn of(&mut self, key: i32) -> &mut Counter {
        self.0.entry(key).or_default()
    }

    /// The last step that surely was done.
    pub fn last(&mut self, key: i32) -> i32 {
        self.of(key).last()
    }

    pub fn attempt(&mut self, key: i32, step: i32, id: i32) {
        self.of(key).attempts.insert(id, step);
    }

    /// An attempt was applied; `floor` is the last step that was known when it began.
    pub fn applied(&mut self, key: i32, id: i32, floor: i32) -> Result<(), String> {
        let step = self.of(key).attempts[&id];
        if floor >= step {
            return Err(format!("k={key}: step {step} is done a second time, after {floor}"));
        }
        self.sees(key, Step { n: step, by: Some(id) }, floor)
    }

    /// An attempt was not applied, because of what it found.
    pub fn refused(&mut self, key: i32, id: i32, found: Step, floor: i32) -> Result<(), String> {
        let step = self.of(key).attempts[&id];
        self.of(key).refused.insert(id);
        if found.n == step - 1 {
            return Err(format!("k={key}: step {step} was not applied to {}", found.n));
        }
        self.sees(key, found, floor)
    }

    /// What a partition is at was read, when it was at least at `floor`.
    pub fn sees(&mut self, key: i32, found: Step, floor: i32) -> Result<(), String> {
        let Step { n, by } = found;
        let of = self.of(key);
        if n < floor {
            return Err(format!("k={key}: step {n} is read after step {floor}"));
        }
        let Some(by) = by else { return Ok(()) };
        if n == 0 {
            return Ok(());
        }
        if of.attempts.get(&by) != Some(&n) || of.refused.contains(&by) {
            return Err(format!("k={key}: step {n} by {by}, which did not do it"));
        }
        match of.done.insert(n, by) {
            Some(other) if other != by => Err(format!("k={key}: step {n} was done by {other}, and by {by}")),
            _ => Ok(()),
        }
    }

    /// The rows of all steps of a partition that has them, read together with its counter.
    pub fn sees_all(&mut self, key: i32, now: Step, steps: &[Step], floor: i32) -> Result<(), String> {
        self.sees(key, now, floor)?;
        let numbers: Vec<i32> = steps.iter().map(|step| step.n).collect();
        if !numbers.iter().copied().eq(1..=now.n) {
            return Err(format!("k={key} is at step {}, and its rows are {numbers:?}", now.n));
        }
        steps.iter().try_for_each(|step| self.sees(key, *step, 0))
    }

    /// After a look at a node on which nothing is under way: attempts that were not seen never will be.
    pub fn settle(&mut self) {
        for of in self.0.values_mut() {
            let done: BTreeSet<i32> = of.done.values().copied().collect();
            let last = of.last();
            let of_past = of
                .attempts
                .iter()
                .filter(|(id, step)| !done.contains(id) && **step >= last);
            of.refused.extend(of_past.map(|(id, _)| *id).collect::<Vec<_>>());
        }
    }
}
